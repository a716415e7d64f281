#!/usr/bin/env bash
# Everything the tests use besides Rust: PostgreSQL, Redis, Chromium, Apache, nginx, Caddy, Tesseract, eSpeak NG, PocketSphinx,
# and the client libraries that nobody here wrote, at pinned versions. Quick when it is all there already.
set -euo pipefail
# shellcheck source=scripts/lib.sh
. "$(dirname "$0")/lib.sh"
cd "$root"

need_build_tools
packages=()
compgen -G '/usr/lib/postgresql/*/bin/initdb' >/dev/null || command -v initdb >/dev/null || packages+=(postgresql)
command -v redis-server >/dev/null || packages+=(redis-server)
command -v chromium >/dev/null || command -v google-chrome >/dev/null || packages+=(chromium)
python3 -c 'import ensurepip, venv' 2>/dev/null || packages+=(python3 python3-venv)
[[ -e /usr/lib/apache2/modules/mod_auth_openidc.so ]] || packages+=(apache2-bin libapache2-mod-auth-openidc)
[[ -x /usr/sbin/nginx ]] || packages+=(nginx-light)
[[ -x /usr/bin/caddy ]] || packages+=(caddy)
command -v espeak-ng >/dev/null || packages+=(espeak-ng)
command -v pocketsphinx_continuous >/dev/null || packages+=(pocketsphinx)
compgen -G '/usr/share/pocketsphinx/model/en-us/en-us.lm.bin' >/dev/null || packages+=(pocketsphinx-en-us)
languages=$(tesseract --list-langs 2>/dev/null) || true
[[ $languages == *eng* && $languages == *chi_sim* ]] || packages+=(tesseract-ocr tesseract-ocr-eng tesseract-ocr-chi-sim)
((${#packages[@]} == 0)) || install_packages "the tests" "${packages[@]}"

node_major=$(node --version 2>/dev/null | sed 's/^v\([0-9]*\).*/\1/') || true
[[ -n $node_major && $node_major -ge 20 ]] || die "the tests need Node.js 20 or later (found: ${node_major:-none}); see https://nodejs.org"

mkdir -p .tools
# stamp FILE WORK…: runs WORK unless it was done for this very content of FILE.
stamp() {
  local file=$1 mark
  mark=.tools/$(basename "$file").sum
  shift
  if [[ ! -f $mark ]] || ! cksum "$file" | cmp -s - "$mark"; then
    "$@"
    cksum "$file" >"$mark"
  fi
}
python_packages() {
  say "installing the Python client libraries …"
  rm -rf .tools/python
  python3 -m venv .tools/python
  .tools/python/bin/python -m pip install --quiet --disable-pip-version-check --requirement tests/python/requirements.txt
}
node_packages() {
  say "installing the Node client libraries …"
  (cd tests/node && npm ci --silent --no-audit --no-fund --ignore-scripts)
}
[[ -x .tools/python/bin/python ]] || rm -f .tools/requirements.txt.sum
[[ -d tests/node/node_modules ]] || rm -f .tools/package-lock.json.sum
stamp tests/python/requirements.txt python_packages
stamp tests/node/package-lock.json node_packages
