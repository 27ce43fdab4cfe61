#!/usr/bin/env bash
# Runs one command inside the namespace of a bench that is up, with kubectl and
# helm on PATH and KUBECONFIG set.
#
#   tests/cluster/enter.sh DIR COMMAND [ARGUMENT...]
#
# The command replaces this script: its process id and exit code are the caller's.
set -euo pipefail

(($# >= 2)) || {
  echo "usage: enter.sh DIR COMMAND [ARGUMENT...]" >&2
  exit 2
}
dir=$(cd "$1" && pwd)
shift
name=$(<"$dir/netns")

# kubectl and helm keep what they learn of an API server under its address, which
# is the same in every bench: the cache must be the run's own. Proxies are of the
# network outside.
export PATH=$dir/bin:$PATH KUBECONFIG=$dir/kubeconfig KUBECACHEDIR=$dir/cache
unset HTTP_PROXY HTTPS_PROXY NO_PROXY ALL_PROXY http_proxy https_proxy no_proxy all_proxy

# Not `ip netns exec`, which mounts another /sys and so hides the cgroups.
exec nsenter --net="/run/netns/$name" -- "$@"
