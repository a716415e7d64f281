#!/usr/bin/env bash
# Known vulnerabilities of the locked dependencies, from the RustSec database. A verb of its own
# because it needs the network and changes its answer without a change of ours.
set -euo pipefail
# shellcheck source=scripts/lib.sh
. "$(dirname "$0")/lib.sh"
cd "$root"
need_cargo
cargo audit --version >/dev/null 2>&1 || die "cargo-audit is missing; run:  cargo install --locked cargo-audit"
exec cargo audit --deny warnings
