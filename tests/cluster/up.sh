#!/usr/bin/env bash
# Brings up a Kubernetes control plane in a network namespace of its own.
#
#   tests/cluster/up.sh DIR       DIR: absent or empty; holds everything about the run
#   tests/cluster/down.sh DIR
#
# Afterwards: DIR/kubeconfig (cluster administrator), DIR/netns (name of the
# network namespace), DIR/bin (kubectl, helm, ...), DIR/logs, DIR/pki.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)

# Documentation and benchmark ranges (RFC 5737, RFC 2544): they can be nobody's
# real network. The extra addresses are for what a test runs beside the cluster.
readonly node=198.51.100.1
readonly addresses=("$node" 198.51.100.11 198.51.100.12 198.51.100.21)
readonly services=198.19.0.0/16

readonly patience=120 # seconds for any one step, on a machine that is busy otherwise

say() { printf '%s\n' "$*" >&2; }

die() {
  say "up.sh: $*"
  exit 1
}

check_machine() {
  [[ $(uname -s) == Linux ]] || die "network namespaces exist on Linux only"
  ((EUID == 0)) || die "must run as root, because it makes a network namespace. Run it with sudo, or in a container as root"
  local tool
  for tool in ip nsenter setsid; do
    command -v "$tool" >/dev/null || die "$tool is missing: install iproute2 and util-linux"
  done
}

make_folder() {
  mkdir -p "$1"
  dir=$(cd "$1" && pwd)
  [[ -z $(ls -A "$dir") ]] || die "$dir is not empty. Name a new folder; an old run is ended by down.sh and its folder is yours to remove"
  mkdir "$dir/logs" "$dir/etcd"
  : >"$dir/processes"
}

# A namespace without a link to the host's: nothing in it can leave the machine,
# and two runs may use the same addresses and ports.
make_namespace() {
  local name address
  name=sparkmesh-$(od -An -N4 -tx4 /dev/urandom | tr -d ' ')
  printf '%s\n' "$name" >"$dir/netns" # first, so that down.sh finds it whatever happens
  ip netns add "$name" || die "cannot make a network namespace: root lacks CAP_SYS_ADMIN here (a container needs to be privileged)"

  ip -n "$name" link set lo up
  # Both ends stay inside. A dummy device would do, but not every kernel has it.
  ip -n "$name" link add node0 type veth peer name node0-peer
  for address in "${addresses[@]}"; do
    ip -n "$name" address add "$address/24" dev node0
  done
  ip -n "$name" link set node0-peer up
  ip -n "$name" link set node0 up
  # Leads nowhere. Without one, programs refuse to choose an address and
  # connections to an unknown one fail in another way than on a real node.
  ip -n "$name" route add default dev node0
}

# Runs a program of the bench inside the namespace. Its environment starts empty:
# the API server would send webhook calls through an HTTPS_PROXY of the caller.
inside() { nsenter --net="/run/netns/$(<"$dir/netns")" -- env -i PATH="$PATH" HOME="$dir" "$@"; }

kubectl() { inside "$dir/bin/kubectl" --kubeconfig "$dir/kubeconfig" --request-timeout 10s "$@"; }

# Fields after the program's name, which may hold blanks: state is the first,
# the start time the twentieth.
stat_field() { sed 's/^.*) //' "/proc/$1/stat" 2>/dev/null | cut -d ' ' -f "$2"; }

# start NAME ARGUMENT...: in the background, in a session of its own so that an
# interrupt typed at a later command does not reach it. setsid, nsenter and env
# replace themselves, so the process id is the program's.
start() {
  local name=$1 pid started
  shift
  say "starting $name"
  setsid nsenter --net="/run/netns/$(<"$dir/netns")" -- env -i PATH="$PATH" "$dir/bin/$name" "$@" \
    >"$dir/logs/$name.log" 2>&1 </dev/null &
  pid=$!
  started=$(stat_field "$pid" 20) || started=gone
  printf '%s %s %s\n' "$pid" "$started" "$name" >>"$dir/processes"
}

# wait_for NAME COMMAND...: until the command succeeds, while NAME is running.
wait_for() {
  local name=$1 pid deadline=$((SECONDS + patience))
  shift
  pid=$(awk -v name="$name" '$3 == name { print $1 }' "$dir/processes")
  until "$@" >/dev/null 2>"$dir/logs/last-probe"; do
    kill -0 "$pid" 2>/dev/null || die_with_log "$name" "$name ended"
    ((SECONDS < deadline)) || die_with_log "$name" "$name is not ready after $patience s: $(tail -n 1 "$dir/logs/last-probe")"
    sleep 0.2
  done
}

die_with_log() {
  say "--- end of $dir/logs/$1.log"
  tail -n 25 "$dir/logs/$1.log" >&2
  say "---"
  die "$2"
}

make_certificates() {
  say "making certificates"
  umask 077
  # The version is named because kubeadm otherwise asks the Internet for it.
  cat >"$dir/kubeadm.yaml" <<EOF
apiVersion: kubeadm.k8s.io/v1beta4
kind: InitConfiguration
localAPIEndpoint: {advertiseAddress: $node, bindPort: 6443}
nodeRegistration: {name: node}
---
apiVersion: kubeadm.k8s.io/v1beta4
kind: ClusterConfiguration
kubernetesVersion: $("$dir/bin/kubeadm" version --output short)
certificatesDir: "$dir/pki"
encryptionAlgorithm: ECDSA-P256
networking: {serviceSubnet: $services, dnsDomain: cluster.local}
EOF
  local part
  for part in "certs ca" "certs apiserver" "certs sa" "kubeconfig super-admin" "kubeconfig controller-manager"; do
    kubeadm_phase "$part"
  done
  # Not kubeconfig "admin": its group gets its rights in a later phase of kubeadm.
  mv "$dir/super-admin.conf" "$dir/kubeconfig"
}

kubeadm_phase() {
  local arguments
  read -ra arguments <<<"$1"
  [[ ${arguments[0]} == kubeconfig ]] && arguments+=(--kubeconfig-dir "$dir")
  inside "$dir/bin/kubeadm" init phase "${arguments[@]}" --config "$dir/kubeadm.yaml" \
    >>"$dir/logs/kubeadm.log" 2>&1 || die_with_log kubeadm "kubeadm init phase $1 failed"
}

start_etcd() {
  # Plain HTTP: only this namespace reaches it. No fsync: the data is thrown away.
  start etcd \
    --data-dir "$dir/etcd" \
    --unsafe-no-fsync \
    --listen-client-urls http://127.0.0.1:2379 \
    --advertise-client-urls http://127.0.0.1:2379 \
    --listen-peer-urls http://127.0.0.1:2380
  wait_for etcd inside bash -c '</dev/tcp/127.0.0.1/2379'
}

start_apiserver() {
  # Aggregator routing: a Service that a webhook configuration names is resolved
  # to an address of its EndpointSlices. Otherwise the API server dials the
  # cluster IP, which only kube-proxy could redirect.
  # Privileged pods are let through so that it is our guard that refuses them.
  start kube-apiserver \
    --etcd-servers http://127.0.0.1:2379 \
    --advertise-address "$node" \
    --service-cluster-ip-range "$services" \
    --enable-aggregator-routing=true \
    --allow-privileged=true \
    --authorization-mode Node,RBAC \
    --enable-admission-plugins NodeRestriction \
    --client-ca-file "$dir/pki/ca.crt" \
    --tls-cert-file "$dir/pki/apiserver.crt" \
    --tls-private-key-file "$dir/pki/apiserver.key" \
    --service-account-issuer https://kubernetes.default.svc.cluster.local \
    --service-account-key-file "$dir/pki/sa.pub" \
    --service-account-signing-key-file "$dir/pki/sa.key"
  wait_for kube-apiserver kubectl get --raw /readyz
}

start_controller_manager() {
  # Without node-lifecycle-controller: no kubelet sends heartbeats, and it would
  # take the nodes a test makes up for dead and their pods for not ready.
  # It must not start before the API server is ready: it exits on the first refusal.
  start kube-controller-manager \
    --kubeconfig "$dir/controller-manager.conf" \
    --bind-address 127.0.0.1 \
    --leader-elect=false \
    --controllers '*,-node-lifecycle-controller' \
    --use-service-account-credentials=true \
    --service-account-private-key-file "$dir/pki/sa.key" \
    --root-ca-file "$dir/pki/ca.crt" \
    --cluster-signing-cert-file "$dir/pki/ca.crt" \
    --cluster-signing-key-file "$dir/pki/ca.key" \
    --service-cluster-ip-range "$services"
  # Pods can be created in a namespace once its default service account exists.
  wait_for kube-controller-manager kubectl get serviceaccount default
}

main() {
  (($# == 1)) || die "usage: up.sh DIR"
  check_machine
  local bin
  bin=$("$here/build.sh")
  make_folder "$1"
  trap '"$here/down.sh" "$dir" >&2' EXIT # taken back once everything is up
  trap 'exit 130' INT                    # else one that hits this script alone is lost
  ln -s "$bin" "$dir/bin"
  make_namespace
  start_etcd
  make_certificates
  start_apiserver
  start_controller_manager
  rm -f "$dir/logs/last-probe"
  trap - EXIT
  say "ready after $SECONDS s. Next: $here/enter.sh $dir kubectl get namespaces"
}

main "$@"
