#!/bin/sh
# Runs every fuzz target for SECONDS each (60 unless told): fuzz/run.sh [SECONDS].
# What it finds on the way (corpus, crashes) and what it needs (cargo-fuzz) stays outside of the
# checkout, in the cache folder.
set -eu
cd "$(dirname "$0")"

seconds=${1:-60}
version=0.13.2
cache=${SPARKMESH_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/sparkmesh}
tools=$cache/tools/cargo-fuzz-$version
work=$cache/fuzz

if ! rustc +nightly --version >/dev/null 2>&1; then
    echo "fuzz: a nightly Rust toolchain is needed: rustup toolchain install nightly" >&2
    exit 2
fi
if ! [ -x "$tools/bin/cargo-fuzz" ]; then
    cargo install cargo-fuzz --version "$version" --locked --root "$tools"
fi
PATH=$tools/bin:$PATH

# All of it is safe Rust: without the address sanitizer it runs several times as often.
# `--target` is this machine's own, since a cargo-fuzz linked against musl would take that.
host=$(rustc +nightly -vV | sed -n 's/^host: //p')
options="--sanitizer none --target $host"
# shellcheck disable=SC2086 # several words on purpose
cargo +nightly fuzz build $options

seed() { # seed TARGET: what people write is where mutation begins
    mkdir -p "$work/corpus/$1" "$work/artifacts/$1"
    case $1 in
        pod_yaml) find ../tests ../examples -type f \( -name '*.yaml' -o -name '*.json' \) ;;
        admission_review) find ../tests -type f -name '*.json' ;;
        redirect_plan) find ../crates/injection/tests/snapshots -type f ;;
    esac | while read -r file; do
        name=$(echo "$file" | tr -c 'A-Za-z0-9.\n' '-')
        cp "$file" "$work/corpus/$1/seed-$name"
    done
}

failed=
for target in admission_review pod_yaml redirect_plan; do
    seed "$target"
    case $target in
        redirect_plan) dictionary=redirect.dict ;;
        *) dictionary=pod.dict ;;
    esac
    log=$work/$target.log
    # shellcheck disable=SC2086 # as above
    if cargo +nightly fuzz run $options "$target" "$work/corpus/$target" -- \
        -max_total_time="$seconds" -timeout=10 -rss_limit_mb=4096 -max_len=65536 \
        -dict="$dictionary" -artifact_prefix="$work/artifacts/$target/" \
        -print_final_stats=1 >"$log" 2>&1
    then
        runs=$(sed -n 's/^stat::number_of_executed_units: *//p' "$log")
        cover=$(sed -n 's/.* cov: \([0-9]*\) .*/\1/p' "$log" | tail -n 1)
        echo "fuzz: $target: $runs executions in $seconds s, $cover edges covered, nothing found"
    else
        failed="$failed $target"
        grep -E 'panicked at|^==[0-9]+==|ERROR' "$log" | head -n 5 >&2 || true
        artifact=$(sed -n 's/.*Test unit written to //p' "$log" | tail -n 1)
        echo "fuzz: $target FAILED; log: $log" >&2
        if [ -n "$artifact" ]; then
            echo "fuzz: again: cd fuzz && cargo +nightly fuzz run $options $target $artifact" >&2
        fi
    fi
done
[ -z "$failed" ]
