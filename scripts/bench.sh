#!/usr/bin/env bash
# The benchmarks: both services and the bare baselines in one interleaved run, as ratios.
# Services and baselines on core 0, load generator and upstream on core 1; loopback only.
#   ROUNDS=5 SECS=3 scripts/bench.sh [NAME…]     names: tokens pages code logins gateway latency start
set -euo pipefail
# shellcheck source=scripts/lib.sh
. "$(dirname "$0")/lib.sh"
cd "$root"
need_build_tools
command -v python3 >/dev/null || install_packages "the benchmarks" python3
[[ $(nproc) -ge 2 ]] || die "the benchmarks need two cores: one for the server, one for the load"

say "building (thin LTO: some minutes the first time) …"
cargo build --profile dist -p auth-server -p resource-gateway
for part in loadgen limits mock-upstream; do
  (cd "bench/$part" && cargo build --release --locked --target-dir "$root/target/bench")
done
exec python3 bench/run.py --services "${CARGO_TARGET_DIR:-$root/target}/dist" --kit "$root/target/bench/release" "$@"
