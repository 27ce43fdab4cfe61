#!/usr/bin/env bash
# Checks the dependencies: bans, licences and sources of deny.toml, and that the pure crates stay
# pure. cargo-deny is built once, into the cache that all checkouts share.
set -euo pipefail

readonly version=0.20.2
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
tool=${SPARKMESH_CACHE:-${XDG_CACHE_HOME:-${HOME:?set HOME or SPARKMESH_CACHE}/.cache}/sparkmesh}/tools/cargo-deny-$version
cd "$root"

if [[ ! -x $tool/bin/cargo-deny ]]; then
  echo "==> building cargo-deny $version: once, in some 4 minutes" >&2
  # Not into this checkout's target, which may be another's as well.
  CARGO_TARGET_DIR=$tool/target cargo install --quiet --locked --root "$tool" "cargo-deny@$version"
  rm -rf "$tool/target"
fi
"$tool/bin/cargo-deny" --locked --log-level error check bans licenses sources

# They decide alike in the webhook, in the control plane and in CI because they know no network,
# no clock and no client.
for crate in sparkmesh-policy sparkmesh-injection; do
  tree=$(cargo tree --quiet --locked --package "$crate" --edges normal --prefix none)
  if grep -E '^(tokio|hyper|rustls|reqwest|kube-client|axum) ' <<<"$tree"; then
    echo "deny.sh: $crate depends on the crates above: it must stay pure, so I/O belongs in src/" >&2
    exit 1
  fi
  echo "$crate stays pure ok"
done
