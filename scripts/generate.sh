#!/usr/bin/env bash
# Writes the generated references; `make check` fails when they are stale.
set -euo pipefail
# shellcheck source=scripts/lib.sh
. "$(dirname "$0")/lib.sh"
cd "$root"
mkdir -p docs/config
for package in auth-server resource-gateway; do
  cargo run -q -p "$package" -- config-reference >"docs/config/$package.md"
done
