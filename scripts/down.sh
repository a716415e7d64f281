#!/usr/bin/env bash
# Stops what `make up` started here, gracefully, and waits for its end.
set -euo pipefail
# shellcheck source=scripts/lib.sh
. "$(dirname "$0")/lib.sh"
cd "${HEXGATE_HOME:-$root}"

# stop PIDFILE WORD: the process of that number, if its command line holds WORD.
stop() {
  local pid
  [[ -s $1 ]] || return 1
  pid=$(<"$1")
  if ! runs "$pid" "$2"; then
    rm -f "$1"
    return 1
  fi
  kill -TERM "$pid" 2>/dev/null || true
  for ((i = 0; i < 300; i++)); do
    # Not kill -0: that also finds a process that has ended and that nobody has waited for.
    runs "$pid" "$2" || {
      rm -f "$1"
      return 0
    }
    sleep 0.1
  done
  die "process $pid ($2) does not end"
}

if stop .run/up.pid up.sh; then
  say "stopped"
  exit
fi
# `make up` itself was killed: its services may have outlived it.
found=no
for name in resource-gateway auth-server; do
  if stop ".run/$name.pid" "$name"; then found=yes; fi
done
[[ $found == yes ]] && say "stopped" || say "nothing was running"
