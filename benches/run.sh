#!/bin/sh
# Runs all benchmarks on the release build, and prints one table of all ratios at the end.
set -eu
cd "$(dirname "$0")/.."

rows=$(mktemp)
trap 'rm -f "$rows"' EXIT
SPARKMESH_BENCH_ROWS=$rows
export SPARKMESH_BENCH_ROWS

cargo bench --locked --bench handler
cargo bench --locked --bench https

printf '\n%s\n' "Medians of $(nproc) processors, both sides of each ratio in the same run:"
awk -F '\t' '
    { for (i = 1; i <= NF; i++) { cell[NR, i] = $i; if (length($i) > width[i]) width[i] = length($i) } }
    END {
        for (n = 1; n <= NR; n++) {
            line = ""
            for (i = 1; i <= 5; i++) line = line sprintf("%-" width[i] + 2 "s", cell[n, i])
            sub(/ +$/, "", line)
            print line
        }
    }' "$rows"
