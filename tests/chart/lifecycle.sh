#!/usr/bin/env bash
# Installs, upgrades, rolls back and removes the chart on a real API server, and looks
# at what the cluster then holds.
#
#   KUBECONFIG=... tests/chart/lifecycle.sh
#   tests/cluster/enter.sh DIR tests/chart/lifecycle.sh      on the bench
#
# kubectl and helm come from PATH; HELM names another helm. It needs no nodes: pods stay
# Pending, and what control would do is done here by kubectl, with control's rights
# and no more. The cluster must have no sparkmesh; afterwards it has none again.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$here/../.." && pwd)
chart=$root/charts/sparkmesh
readonly release=lifecycle own=chart-lifecycle inside=chart-lifecycle-in outside=chart-lifecycle-out
readonly configuration=sparkmesh-$own node=chart-lifecycle-node
readonly webhook=system:serviceaccount:$own:sparkmesh-webhook
readonly control=system:serviceaccount:$own:sparkmesh-control
readonly patience=60 # seconds, for what controllers do in their own time

work=$(mktemp -d)
failures=0
watchers=()

pass() { printf 'ok    %s\n' "$*"; }

fail() {
  printf 'FAIL  %s\n' "$*" >&2
  failures=$((failures + 1))
}

# expect WHAT COMMAND...
expect() {
  local what=$1
  shift
  if "$@" >"$work/out" 2>&1; then pass "$what"; else fail "$what: $(tail -n 3 "$work/out")"; fi
}

# refuse WHAT PATTERN COMMAND...: the command must fail, and for this reason.
refuse() {
  local what=$1 pattern=$2
  shift 2
  if "$@" >"$work/out" 2>&1; then
    fail "$what: it was let through"
  elif grep -q -- "$pattern" "$work/out"; then
    pass "$what"
  else
    fail "$what: not for the reason \"$pattern\": $(tail -n 3 "$work/out")"
  fi
}

# equal WHAT WANTED FOUND
equal() { if [[ $2 == "$3" ]]; then pass "$1"; else fail "$1: expected \"$2\", found \"$3\""; fi; }

# eventually WHAT COMMAND...: before patience ends.
eventually() {
  local what=$1 deadline=$((SECONDS + patience))
  shift
  until "$@" >"$work/out" 2>&1; do
    if ((SECONDS >= deadline)); then
      fail "$what: not after $patience s: $(tail -n 3 "$work/out")"
      return
    fi
    sleep 0.3
  done
  pass "$what"
}

helm() { command "${HELM:-helm}" --kubeconfig "$KUBECONFIG" "$@"; }

end_watchers() {
  local pid
  for pid in "${watchers[@]}"; do kill "$pid" 2>/dev/null || true; done
  watchers=()
}

clean() {
  end_watchers
  helm uninstall "$release" --namespace "$own" >/dev/null 2>&1 || true
  kubectl delete mutatingwebhookconfiguration "$configuration" --ignore-not-found >/dev/null 2>&1 || true
  kubectl delete node "$node" --ignore-not-found >/dev/null 2>&1 || true
  kubectl delete namespace "$own" "$inside" "$outside" --ignore-not-found >/dev/null 2>&1 || true
  rm -rf "$work"
}

make_namespaces() {
  local name
  for name in "$own" "$inside" "$outside"; do kubectl create namespace "$name" >/dev/null; done
  # The own namespace is labelled too: the label must do nothing there.
  kubectl label namespace "$inside" "$own" sparkmesh.dev/injection=enabled >/dev/null
  kubectl label namespace "$own" pod-security.kubernetes.io/enforce=restricted >/dev/null
  # Pods are refused until the namespace's service account is there.
  for name in "$own" "$inside" "$outside"; do
    eventually "service account in $name" kubectl --namespace "$name" get serviceaccount default
  done
}

create_pod() {
  kubectl --namespace "$1" create --dry-run=server --filename - <<EOF
{apiVersion: v1, kind: Pod, metadata: {generateName: try-}, spec: {containers: [{name: app, image: example}]}}
EOF
}

pods_of() { kubectl --namespace "$own" get pods --selector "app.kubernetes.io/component=$1" --output name; }

two_pods_of() { [[ $(pods_of "$1" | wc -l) == 2 ]]; }

install() {
  expect "install $*" helm install "$release" "$chart" --namespace "$own" "$@"
  eventually "two pods of the webhook, in a namespace that is labelled and restricted" two_pods_of webhook
  eventually "two pods of control" two_pods_of control
}

nothing_but_the_labelled_namespace_is_held_up() {
  refuse "without a certificate a labelled namespace fails closed" "failed calling webhook \"inject.sparkmesh.dev\"" create_pod "$inside"
  expect "without a certificate another namespace is untouched" create_pod "$outside"
  expect "without a certificate kube-system is untouched" create_pod kube-system
  kubectl label namespace kube-system sparkmesh.dev/injection=enabled >/dev/null
  eventually "even with the label" create_pod kube-system
  kubectl label namespace kube-system sparkmesh.dev/injection- >/dev/null
}

# A kubelet tells the API server of a static pod, which runs already, by a mirror of it.
mirror_pod() {
  kubectl create --dry-run=server --filename - "$@" <<EOF
apiVersion: v1
kind: Pod
metadata:
  name: static
  namespace: $inside
  annotations: {kubernetes.io/config.mirror: hash, kubernetes.io/config.source: file}
  ownerReferences: [{apiVersion: v1, kind: Node, name: $node, uid: "$node_uid", controller: true}]
spec:
  nodeName: $node
  containers: [{name: app, image: example}]
EOF
}

mirror_pods() {
  kubectl create --filename - >/dev/null <<EOF
{apiVersion: v1, kind: Node, metadata: {name: $node}}
EOF
  node_uid=$(kubectl get node "$node" --output jsonpath='{.metadata.uid}')
  expect "a kubelet's mirror pod passes by" mirror_pod --as "system:node:$node" --as-group system:nodes --as-group system:authenticated
  refuse "the same from anybody else does not" "failed calling webhook" mirror_pod
  kubectl delete node "$node" >/dev/null
}

the_test_pod_is_admitted() {
  helm template "$release" "$chart" --namespace "$own" --kube-version 1.30.0 --show-only templates/tests/webhook-reachable.yaml >"$work/test.yaml"
  expect "the pod of helm test is admitted" kubectl create --dry-run=server --filename "$work/test.yaml"
}

may() { kubectl auth can-i "$@"; }

# Not just a failure: kubectl fails too when it is asked something that makes no sense.
may_not() { [[ $(kubectl auth can-i "$@" 2>/dev/null) == no ]]; }

# kubectl would only ask this once the custom resource definition is there.
may_watch_baseline() {
  kubectl create --output jsonpath='{.status.allowed}' --filename - <<EOF
{apiVersion: authorization.k8s.io/v1, kind: SubjectAccessReview, spec: {user: "$webhook",
 resourceAttributes: {group: sparkmesh.dev, resource: meshbaselines, name: $1, verb: watch}}}
EOF
}

rights() {
  expect "the webhook may watch namespaces" may watch namespaces --as "$webhook"
  equal "the webhook may watch the baseline" true "$(may_watch_baseline default)"
  equal "the webhook may watch no other baseline" false "$(may_watch_baseline other)"
  expect "the webhook may write events anywhere" may create events.events.k8s.io --namespace "$inside" --as "$webhook"
  local verb
  for verb in get list watch create; do
    expect "the webhook may not $verb Secrets, its own namespace's included" may_not "$verb" secrets --namespace "$own" --as "$webhook"
  done
  expect "the webhook may not read its serving Secret by name" may_not get secrets/sparkmesh-webhook-tls --namespace "$own" --as "$webhook"
  expect "the webhook may not touch webhook configurations" may_not patch "mutatingwebhookconfigurations/$configuration" --as "$webhook"

  expect "control may not read a Secret that is not its own" may_not get secrets/other --namespace "$own" --as "$control"
  expect "control may not list Secrets" may_not list secrets --namespace "$own" --as "$control"
  expect "control may not make Secrets elsewhere" may_not create secrets --namespace "$inside" --as "$control"
  expect "control may not touch another webhook configuration" may_not patch mutatingwebhookconfigurations/other --as "$control"
  expect "control may not make a webhook configuration" may_not create mutatingwebhookconfigurations --as "$control"
  expect "control may not delete its webhook configuration" may_not delete "mutatingwebhookconfigurations/$configuration" --as "$control"
}

as_control() { kubectl --as "$control" "$@"; }

# What control does at its start, with its rights.
stand_in_for_control() {
  "$root/certs/dev.sh" "$work/certs" "sparkmesh-webhook.$own.svc" 2>/dev/null
  local uid
  uid=$(kubectl --namespace "$own" get serviceaccount sparkmesh-control --output jsonpath='{.metadata.uid}')
  {
    kubectl create secret tls sparkmesh-ca --cert "$work/certs/ca.crt" --key "$work/certs/ca.key" --dry-run=client --output yaml
    echo ---
    kubectl create secret tls sparkmesh-webhook-tls --cert "$work/certs/tls.crt" --key "$work/certs/tls.key" --dry-run=client --output yaml
    echo ---
    kubectl create configmap sparkmesh-trust --from-file "$work/certs/ca.crt" --dry-run=client --output yaml
  } | sed "s/^metadata:/metadata:\n  ownerReferences: [{apiVersion: v1, kind: ServiceAccount, name: sparkmesh-control, uid: $uid}]/" >"$work/made.yaml"
  expect "control may make its Secrets and its ConfigMap" as_control --namespace "$own" create --filename "$work/made.yaml"
  expect "control may watch its Secret by name" as_control --namespace "$own" get secrets --field-selector metadata.name=sparkmesh-ca
  expect "control may watch its webhook configuration by name" as_control get mutatingwebhookconfigurations --field-selector "metadata.name=$configuration"

  as_control --namespace "$own" get lease sparkmesh-control --output yaml >"$work/lease.yaml"
  printf 'spec: {holderIdentity: stand-in}\n' >>"$work/lease.yaml"
  expect "control may hold its Lease" as_control --namespace "$own" replace --filename "$work/lease.yaml"

  bundle=$(base64 -w 0 "$work/certs/ca.crt")
  expect "control may write the caBundle" as_control patch mutatingwebhookconfiguration "$configuration" --type json \
    --field-manager sparkmesh-control --patch "[{op: add, path: /webhooks/0/clientConfig/caBundle, value: $bundle}]"
}

live() { kubectl get mutatingwebhookconfiguration "$configuration" --output "jsonpath={.webhooks[0].$1}"; }

upgrade_and_rollback() {
  equal "the caBundle is there" "$bundle" "$(live clientConfig.caBundle)"
  expect "upgrade $*" helm upgrade "$release" "$chart" --namespace "$own" --set webhook.timeoutSeconds=3 "$@"
  equal "the upgrade came through" 3 "$(live timeoutSeconds)"
  equal "the caBundle survives an upgrade" "$bundle" "$(live clientConfig.caBundle)"
  equal "the Lease is still held" stand-in "$(kubectl --namespace "$own" get lease sparkmesh-control --output jsonpath='{.spec.holderIdentity}')"
  expect "roll back" helm rollback "$release" 1 --namespace "$own"
  equal "the rollback came through" 5 "$(live timeoutSeconds)"
  equal "the caBundle survives a rollback" "$bundle" "$(live clientConfig.caBundle)"
}

# As a GitOps tool would ask: apply the rendering, dry, and compare with what is live.
no_drift() {
  helm template "$release" "$chart" --namespace "$own" --no-hooks --kube-version 1.30.0 >"$work/rendered.yaml"
  expect "no drift, by server-side apply" kubectl diff --server-side --force-conflicts --field-manager gitops --filename "$work/rendered.yaml"
  expect "no drift, by client-side apply" kubectl diff --filename "$work/rendered.yaml"
}

# watch NAME ARGUMENT...: events into a file, until end_watchers.
watch() {
  local name=$1
  shift
  kubectl get "$@" --watch --output-watch-events --output json >"$work/$name.watch" 2>/dev/null &
  watchers+=($!)
}

seen_deleted() { grep -q '"type": *"DELETED"' "$work/$1.watch"; }

# The revision at which the first object in a watch was deleted: one counter for the
# whole cluster, so that two of them tell which was first.
first_deletion() {
  python3 - "$work/$1.watch" <<'EOF'
import json, sys
text, at, revisions = open(sys.argv[1]).read(), 0, []
decoder = json.JSONDecoder()
while text[at:].strip():
    at += len(text[at:]) - len(text[at:].lstrip())
    event, at = decoder.raw_decode(text, at)
    if event["type"] == "DELETED":
        revisions.append(int(event["object"]["metadata"]["resourceVersion"]))
print(min(revisions))
EOF
}

removal() {
  watch configuration mutatingwebhookconfigurations --field-selector "metadata.name=$configuration"
  watch deployments deployments --namespace "$own"
  watch services services --namespace "$own"
  local name
  for name in configuration deployments services; do
    eventually "watching $name" test -s "$work/$name.watch"
  done
  if [[ $(helm version --template '{{.Version}}') =~ ^v3\.1[4-7]\. ]]; then
    # These remove webhook configurations last. The notes of the chart say what to do.
    expect "remove the webhook configuration, as the notes say" kubectl delete mutatingwebhookconfiguration "$configuration"
  fi
  expect "uninstall" helm uninstall "$release" --namespace "$own"
  for name in configuration deployments services; do
    eventually "$name: deleted" seen_deleted "$name"
  done
  end_watchers

  local first
  first=$(first_deletion configuration)
  for name in deployments services; do
    if ((first < $(first_deletion "$name"))); then
      pass "webhook configuration deleted before the $name"
    else
      fail "webhook configuration deleted after the $name: pods would be refused in between"
    fi
  done
}

# Objects that Helm made, of any kind there is.
left_of_the_release() {
  local kinds
  kinds=$(kubectl api-resources --verbs list,delete --output name | grep -v '^events' | paste -sd ,)
  kubectl get "$kinds" --all-namespaces --selector "app.kubernetes.io/instance=$release" --output name --ignore-not-found 2>/dev/null
}

nothing_left_of_the_release() { [[ -z $(left_of_the_release) ]]; }

# Objects that control made. kube-root-ca.crt is every namespace's.
nothing_left_of_control() {
  local left
  left=$(kubectl --namespace "$own" get secrets,configmaps,leases --output name | grep -v kube-root-ca.crt || true)
  printf '%s\n' "$left"
  [[ -z $left ]]
}

nothing_is_left() {
  eventually "nothing is left of the release" nothing_left_of_the_release
  eventually "nothing is left of what control made" nothing_left_of_control
  equal "no webhook configuration is left" "" "$(kubectl get mutatingwebhookconfiguration "$configuration" --ignore-not-found --output name)"
  expect "pods in the labelled namespace are created as before" create_pod "$inside"
}

# once [HELM ARGUMENT...]: the whole life, with one of Helm's ways to update objects.
once() {
  install "$@"
  nothing_but_the_labelled_namespace_is_held_up
  mirror_pods
  the_test_pod_is_admitted
  rights
  stand_in_for_control
  upgrade_and_rollback "$@"
  no_drift
  removal
  nothing_is_left
}

main() {
  : "${KUBECONFIG:?names the cluster to use: set it, or run this through tests/cluster/enter.sh}"
  trap clean EXIT
  make_namespaces
  if [[ $(helm version --template '{{.Version}}') == v3.* ]]; then
    once
  else
    once --server-side=true
    once --server-side=false # as Helm 3 does: a three-way merge
  fi
  ((failures == 0)) || {
    printf '%s checks of the life of a release failed\n' "$failures" >&2
    exit 1
  }
}

main "$@"
