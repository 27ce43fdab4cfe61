#!/usr/bin/env bash
# Ends what up.sh started. May be run again, and after an up.sh that failed.
#
#   tests/cluster/down.sh DIR
#
# Logs and everything else in DIR stay. What a test itself started in the namespace
# is the test's to end, and keeps the network in existence until then.
set -euo pipefail

readonly patience=10 # seconds for a program to end by itself

die() {
  printf 'down.sh: %s\n' "$*" >&2
  exit 1
}

stat_field() { sed 's/^.*) //' "/proc/$1/stat" 2>/dev/null | cut -d ' ' -f "$2"; }

# A process id alone may belong to another program by now; with the start time it
# names one process. A zombie has ended: in a container nobody may collect it.
running() {
  local pid=$1 started=$2
  [[ -n $started && $(stat_field "$pid" 20) == "$started" && $(stat_field "$pid" 1) != Z ]]
}

stop() {
  local pid=$1 started=$2 deadline=$((SECONDS + patience))
  running "$pid" "$started" || return 0
  kill "$pid" 2>/dev/null || true
  while running "$pid" "$started"; do
    ((SECONDS < deadline)) || kill -KILL "$pid" 2>/dev/null || true
    sleep 0.1
  done
}

stop_processes() {
  local pid started name
  # Last started, first ended: nothing then complains of a server that is gone.
  while read -r pid started name; do
    stop "$pid" "$started"
    printf 'down.sh: %s is down\n' "$name" >&2
  done < <(tac "$1/processes")
}

remove_namespace() {
  local name
  name=$(<"$1/netns")
  [[ -e /run/netns/$name ]] || return 0
  ip netns delete "$name"
}

main() {
  (($# == 1)) || die "usage: down.sh DIR"
  [[ -d $1 ]] || die "$1: no such folder"
  ((EUID == 0)) || die "must run as root, as up.sh did"
  [[ -f $1/processes ]] && stop_processes "$1"
  [[ -f $1/netns ]] && remove_namespace "$1"
  return 0
}

main "$@"
