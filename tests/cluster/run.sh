#!/usr/bin/env bash
# Runs one command inside a cluster of its own and takes the cluster down again.
#
#   tests/cluster/run.sh COMMAND...
#
# Without root it says so and runs nothing; where CI is set it fails instead. When the command
# fails, the cluster's logs stay.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)

if ((EUID != 0)); then
  echo "SKIPPED: $* needs root, for a network namespace of its own: run as root" >&2
  [[ -z ${CI+set} ]]
  exit
fi

dir=$(mktemp -d)
trap '"$here/down.sh" "$dir/bench"' EXIT
"$here/up.sh" "$dir/bench"
if ! "$here/enter.sh" "$dir/bench" "$@"; then
  echo "run.sh: $* failed. The cluster's logs: $dir/bench/logs" >&2
  exit 1
fi
"$here/down.sh" "$dir/bench"
trap - EXIT
rm -rf "$dir"
