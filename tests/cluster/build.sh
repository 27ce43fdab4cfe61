#!/usr/bin/env bash
# Builds the programs of the bench from the Go modules beside this script.
#
#   bin=$(tests/cluster/build.sh)
#
# They land in a cache outside the checkout, in a folder named by a hash of
# everything that decides what they are; what is there already is not built
# again. Progress goes to stderr, the folder alone to stdout.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
cache=${SPARKMESH_CACHE:-${XDG_CACHE_HOME:-${HOME:?set HOME or SPARKMESH_CACHE}/.cache}/sparkmesh}/cluster

# module folder, package. The program is named by its package's last element,
# but for etcd, whose server is the root package of a versioned module.
programs=(
  "etcd go.etcd.io/etcd/server/v3 etcd"
  "kubernetes k8s.io/kubernetes/cmd/kube-apiserver kube-apiserver"
  "kubernetes k8s.io/kubernetes/cmd/kube-controller-manager kube-controller-manager"
  "kubernetes k8s.io/kubernetes/cmd/kubectl kubectl"
  "kubernetes k8s.io/kubernetes/cmd/kubeadm kubeadm"
  "helm helm.sh/helm/v4/cmd/helm helm"
)

say() { printf '%s\n' "$*" >&2; }

die() {
  say "build.sh: $*"
  exit 1
}

# The version a module folder's go.mod pins for a module path.
pinned() { awk -v path="$2" '$1 == "require" && $2 == path { print $3 } $1 == path && $2 ~ /^v/ { print $2 }' "$here/$1/go.mod" | head -n 1; }

# Without these a self-built Kubernetes calls itself v0.0.0-master+$Format, and
# whatever asks for the server's version (a chart's kubeVersion, kubeadm) fails.
linker_flags() {
  local version
  version=$(pinned kubernetes k8s.io/kubernetes)
  local major=${version%%.*} minor=${version#*.}
  local stamp=k8s.io/component-base/version
  printf '%s' "-s -w -X $stamp.gitVersion=$version -X $stamp.gitMajor=${major#v} -X $stamp.gitMinor=${minor%%.*}" \
    " -X $stamp.gitTreeState=clean -X helm.sh/helm/v4/internal/version.version=$(pinned helm helm.sh/helm/v4)"
}

fingerprint() {
  {
    go env GOVERSION GOOS GOARCH
    linker_flags
    for module in etcd kubernetes helm; do cat "$here/$module/go.mod" "$here/$module/go.sum"; done
  } | sha256sum | cut -c 1-16
}

# Into a temporary name first: an interrupted build leaves nothing that looks
# like a program.
build() {
  local module=$1 package=$2 target=$3
  (
    cd "$here/$module"
    CGO_ENABLED=0 GOWORK=off go build -trimpath -buildvcs=false -ldflags "$(linker_flags)" -o "$target.part" "$package" >&2
  ) || die "building $package failed: see the lines above"
  mv "$target.part" "$target"
}

main() {
  command -v go >/dev/null || die "go is not on PATH. Install Go 1.26 or later and put its bin folder on PATH"
  cd "$here/kubernetes" # so that go chooses its toolchain by this go.mod
  local bin
  bin=$cache/$(fingerprint)/bin
  mkdir -p "$bin"
  exec 9>"$bin/.lock"
  flock 9 # a second build waits here and then finds everything made

  local number=0 module package name started
  for program in "${programs[@]}"; do
    read -r module package name <<<"$program"
    number=$((number + 1))
    [[ -x $bin/$name ]] && continue
    say "[$number/${#programs[@]}] $name ..."
    started=$SECONDS
    build "$module" "$package" "$bin/$name"
    say "[$number/${#programs[@]}] $name built in $((SECONDS - started)) s"
  done
  printf '%s\n' "$bin"
}

main "$@"
