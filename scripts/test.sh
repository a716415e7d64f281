#!/usr/bin/env bash
# Fresh machine to green tests: installs what is missing, starts a private PostgreSQL and a
# private Redis on free ports, builds both services and runs every test. Arguments go to `cargo test`, for instance
#   scripts/test.sh -p e2e --test e2e gateway::
# Nothing is skipped: a server or client library that cannot be had is a failure.
set -euo pipefail
# shellcheck source=scripts/lib.sh
. "$(dirname "$0")/lib.sh"
cd "$root"
started=$SECONDS

scripts/install-test-tools.sh

pg_bin=$(dirname "$(command -v initdb || compgen -G '/usr/lib/postgresql/*/bin/initdb' | sort -V | tail -n 1)")
scratch=$(mktemp -d "${TMPDIR:-/tmp}/hexgate-test.XXXXXX")
chmod 755 "$scratch"
# PostgreSQL refuses to run as root.
if [[ $(id -u) == 0 ]]; then
  id postgres >/dev/null 2>&1 || die "running as root, and there is no user 'postgres' to run the private PostgreSQL as"
  chown postgres "$scratch"
  as_owner() { setpriv --reuid=postgres --regid=postgres --init-groups -- "$@"; }
else
  as_owner() { "$@"; }
fi
cleanup() {
  local code=$?
  if [[ -f $scratch/data/postmaster.pid ]]; then
    (cd "$scratch" && as_owner "$pg_bin/pg_ctl" -D "$scratch/data" -m immediate -w stop >/dev/null 2>&1) || true
  fi
  [[ -z ${redis_pid:-} ]] || kill "$redis_pid" 2>/dev/null || true
  rm -rf "$scratch"
  exit "$code"
}
trap cleanup EXIT
trap 'exit 130' INT TERM

say "starting a private PostgreSQL …"
pg_port=$(free_port)
(
  cd "$scratch"
  as_owner "$pg_bin/initdb" -D "$scratch/data" -A trust -U postgres -E UTF8 --locale=C.UTF-8 >"$scratch/initdb.log" 2>&1 ||
    { cat "$scratch/initdb.log" >&2; exit 1; }
  as_owner "$pg_bin/pg_ctl" -D "$scratch/data" -l "$scratch/data/server.log" -w start >/dev/null \
    -o "-p $pg_port -k $scratch -c listen_addresses=127.0.0.1 -c max_connections=400" ||
    { cat "$scratch/data/server.log" >&2; exit 1; }
)
export HEXGATE_TEST_POSTGRES_URL=postgres://postgres@127.0.0.1:$pg_port/postgres

say "starting a private Redis …"
redis_port=$(free_port)
redis-server --port "$redis_port" --bind 127.0.0.1 --save '' --appendonly no --dir "$scratch" >"$scratch/redis.log" 2>&1 &
redis_pid=$!
for _ in {1..100}; do
  # shellcheck disable=SC2188 # opening the port is the test
  (: <>"/dev/tcp/127.0.0.1/$redis_port") 2>/dev/null && break
  kill -0 "$redis_pid" 2>/dev/null || { cat "$scratch/redis.log" >&2; die "the private Redis did not start"; }
  sleep 0.1
done
export HEXGATE_TEST_REDIS_URL=redis://127.0.0.1:$redis_port

say "building …"
cargo build -p auth-server -p resource-gateway
# The black-box tests run these binaries and use these tools; see tests/e2e/world.rs.
export HEXGATE_BIN_DIR=${CARGO_TARGET_DIR:-$root/target}/debug
export HEXGATE_PYTHON=$root/.tools/python/bin/python
HEXGATE_CHROMIUM=$(command -v chromium || command -v google-chrome)
export HEXGATE_CHROMIUM

say "testing …"
(($#)) || set -- --workspace
log=$scratch/tests.log
touch "$log"
code=0
cargo test --no-fail-fast "$@" 2>&1 | tee "$log" || code=$?

awk -v seconds=$((SECONDS - started)) '
  /^test result:/ { passed += $4; failed += $6; ignored += $8; binaries++ }
  END { printf "\n%d passed, %d failed, %d ignored in %d test binaries; %d s in all\n", passed, failed, ignored, binaries, seconds; exit ignored > 0 }
' "$log" || { say "ignored tests are not allowed"; code=1; }
exit "$code"
