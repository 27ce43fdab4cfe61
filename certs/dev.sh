#!/usr/bin/env bash
# Makes a development CA and a serving pair that it signed.
#
#   certs/dev.sh OUTDIR [NAME...]
#
# NAME: what the server is called by its clients, a DNS name or an IP address;
# localhost, 127.0.0.1 and ::1 where none is given. OUTDIR then holds ca.crt,
# ca.key, tls.crt and tls.key; what was there by these names is replaced. All end
# after days, and ca.key is for nobody but this machine: not for a cluster that matters.
set -euo pipefail

readonly ca_days=7 serving_days=2

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
export OPENSSL_CONF=$here/ca.cnf # and not the machine's

die() {
  printf 'dev.sh: %s\n' "$*" >&2
  exit 1
}

# subject_alternative_names NAME...: as openssl writes them.
subject_alternative_names() {
  local name list=
  for name in "$@"; do
    case $name in
    *[!A-Za-z0-9.:*-]* | "") die "\"$name\" is neither a DNS name nor an IP address" ;;
    *:* | [0-9]*.[0-9]*.[0-9]*.[0-9]*) list+=,IP:$name ;;
    *) list+=,DNS:$name ;;
    esac
  done
  printf '%s' "${list#,}"
}

run() {
  openssl "$@" 2>"$work/openssl" || die "openssl $1 failed: $(cat "$work/openssl")"
}

make_key() { run genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out "$1"; }

make_ca() {
  make_key "$work/ca.key"
  run req -x509 -new -key "$work/ca.key" -sha256 -days "$ca_days" \
    -subj "/CN=sparkmesh development CA" -extensions ca -out "$work/ca.crt"
}

make_serving_pair() {
  make_key "$work/tls.key"
  run req -new -key "$work/tls.key" -subj "/CN=sparkmesh development webhook" -out "$work/tls.csr"
  run x509 -req -in "$work/tls.csr" -CA "$work/ca.crt" -CAkey "$work/ca.key" \
    -set_serial "0x$(openssl rand -hex 16)" -sha256 -days "$serving_days" \
    -extfile "$here/ca.cnf" -extensions serving -out "$work/tls.crt"
}

main() {
  (($# >= 1)) || die "usage: dev.sh OUTDIR [NAME...]"
  command -v openssl >/dev/null || die "openssl is missing: install it"
  local out=$1
  shift
  (($# > 0)) || set -- localhost 127.0.0.1 ::1

  umask 077 # keys are 0600 from their first byte on
  mkdir -p "$out"
  work=$(mktemp -d "$out/.making.XXXXXX") # beside the target, so that mv replaces and never copies
  trap 'rm -rf "$work"' EXIT

  NAMES=$(subject_alternative_names "$@")
  export NAMES # read by ca.cnf
  make_ca
  make_serving_pair
  chmod 0644 "$work/ca.crt" "$work/tls.crt"
  mv "$work/ca.key" "$work/ca.crt" "$work/tls.key" "$work/tls.crt" "$out"
  printf 'ca.crt, ca.key, tls.crt and tls.key are in %s, for %s\n' "$out" "$NAMES" >&2
}

main "$@"
