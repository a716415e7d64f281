#!/usr/bin/env bash
# What needs no running server: format, lints, documentation, dependency policy, generated files.
set -euo pipefail
# shellcheck source=scripts/lib.sh
. "$(dirname "$0")/lib.sh"
cd "$root"
need_build_tools
command -v python3 >/dev/null || install_packages "the dependency policy" python3

step() {
  say "── $*"
  "$@"
}
# The generated references must be what the code says now.
no_drift() {
  local package now drifted=no
  for package in auth-server resource-gateway; do
    now=$(cargo run -q -p "$package" -- config-reference)
    diff -u "docs/config/$package.md" - <<<"$now" || drifted=yes
  done
  [[ $drifted == no ]] || die "generated files are stale: run scripts/generate.sh and commit the result"
}

step cargo fmt --all -- --check
step cargo clippy -q --workspace --all-targets -- -D warnings
RUSTDOCFLAGS='-D warnings' step cargo doc -q --workspace --no-deps --document-private-items
step python3 scripts/dependency_policy.py
step no_drift
say "all checks passed"
