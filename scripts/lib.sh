# Shared by the scripts beside this file (sourced, not run).
# shellcheck shell=bash

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)

say() { printf '%s\n' "$*" >&2; }
die() {
  say "error: $*"
  exit 1
}

# Runs a command as root: directly, or by sudo where there is one.
as_root() {
  if [[ $(id -u) == 0 ]]; then
    "$@"
  elif command -v sudo >/dev/null; then
    sudo "$@"
  else
    return 127
  fi
}

# install_packages PURPOSE PACKAGE…: Debian packages that are not there yet are installed;
# anywhere else the exact list is printed and the run fails: nothing is skipped in silence.
install_packages() {
  local purpose=$1 package missing=()
  shift
  if ! command -v dpkg-query >/dev/null || ! command -v apt-get >/dev/null; then
    die "$purpose needs what Debian calls: $* (this is not a Debian system: install their equivalents and run again)"
  fi
  for package in "$@"; do
    # shellcheck disable=SC2016 # the field name is dpkg's, not the shell's
    [[ $(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null) == installed ]] || missing+=("$package")
  done
  ((${#missing[@]})) || return 0
  say "installing for $purpose: ${missing[*]}"
  as_root env DEBIAN_FRONTEND=noninteractive apt-get -qq update >&2 &&
    as_root env DEBIAN_FRONTEND=noninteractive apt-get -qq install -y --no-install-recommends "${missing[@]}" >&2 ||
    die "could not install; run:  apt-get install --no-install-recommends ${missing[*]}"
}

need_cargo() {
  command -v cargo >/dev/null && return
  [[ -x $HOME/.cargo/bin/cargo ]] && PATH=$HOME/.cargo/bin:$PATH && return
  die "Rust is missing: install rustup from https://rustup.rs; the toolchain itself is read from rust-toolchain.toml"
}

# What a build needs besides Rust. Checked by what the compiler would look for, so that a
# system other than Debian that has it all is not asked for anything.
need_build_tools() {
  need_cargo
  if ! command -v cc >/dev/null || ! command -v pkg-config >/dev/null || ! pkg-config --exists openssl; then
    install_packages "the build" gcc libc6-dev pkg-config libssl-dev
  fi
}

# A TCP port of 127.0.0.1 on which nobody listens, below the range from which the kernel takes
# the ports of outgoing connections.
free_port() {
  local port
  while :; do
    port=$((RANDOM % 12000 + 20000))
    if ! port_in_use 127.0.0.1 "$port"; then
      echo "$port"
      return
    fi
  done
}

port_in_use() { (exec 3<>"/dev/tcp/$1/$2") 2>/dev/null; }

# http_status HOST:PORT PATH: the status of a GET, by nothing but the shell; empty when nobody answers.
http_status() {
  (
    exec 3<>"/dev/tcp/${1%:*}/${1##*:}" || exit 0
    printf 'GET %s HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n\r\n' "$2" "$1" >&3
    IFS=' ' read -r -t 5 -u 3 _ status _ && echo "$status"
  ) 2>/dev/null || true
}

# runs PID WORD: whether that process lives and is what it should be, for numbers are used again.
runs() { tr '\0' ' ' 2>/dev/null <"/proc/$1/cmdline" | grep -q -- "$2"; }

# Secrets of letters, digits, `-` and `_` only: raw and form-encoded HTTP Basic then coincide.
random_secret() { head -c 24 /dev/urandom | base64 | tr '+/' '-_' | tr -d '=\n'; }
