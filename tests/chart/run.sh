#!/usr/bin/env bash
# Checks the chart without a cluster: lint, renderings, refusals.
#
#   tests/chart/run.sh            compare with tests/chart/golden
#   tests/chart/run.sh --bless    write what is rendered now as the golden renderings
#
# Each file in tests/chart/values is one way to install the chart and has one golden
# rendering. lifecycle.sh, beside this, tries the chart on a real API server.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$here/../.." && pwd)
chart=$root/charts/sparkmesh
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
failures=0

# Neither program may find a cluster by accident.
export KUBECONFIG=/dev/null

pass() { printf 'ok    %s\n' "$*"; }

fail() {
  printf 'FAIL  %s\n' "$*" >&2
  failures=$((failures + 1))
}

helm() { "$bin/helm" "$@"; }

# render VALUES [ARGUMENT...]
render() {
  local values=$1
  shift
  helm template release "$chart" --namespace mesh --values "$here/values/$values.yaml" "$@"
}

lint() {
  local values
  for values in "${cases[@]}"; do
    if helm lint --strict "$chart" --values "$here/values/$values.yaml" >"$work/lint" 2>&1; then
      pass "lint $values"
    else
      fail "lint $values: $(cat "$work/lint")"
    fi
  done
}

renderings() {
  local values golden
  for values in "${cases[@]}"; do
    golden=$here/golden/$values.yaml
    if ! render "$values" >"$work/$values.yaml" 2>"$work/error"; then
      fail "render $values: $(cat "$work/error")"
      continue
    fi
    render "$values" >"$work/again"
    if cmp -s "$work/$values.yaml" "$work/again"; then
      pass "render $values twice: byte-equal"
    else
      fail "render $values twice: they differ, so GitOps would see drift without a change"
    fi
    if [[ $bless ]]; then
      cp "$work/$values.yaml" "$golden"
      pass "render $values: blessed"
    elif diff -u "$golden" "$work/$values.yaml" >"$work/diff" 2>&1; then
      pass "render $values: as golden"
    else
      fail "render $values: not as $golden. If the change is meant: tests/chart/run.sh --bless, and review the diff"
      cat "$work/diff" >&2
    fi
  done
  local golden_name
  for golden in "$here"/golden/*.yaml; do
    golden_name=$(basename "$golden")
    [[ -f $here/values/$golden_name ]] || fail "golden/$golden_name has no values/$golden_name: remove it"
  done
}

# kubectl turns the YAML into JSON as the API server would read it.
properties() {
  local values
  for values in "${cases[@]}"; do
    [[ -f $work/$values.yaml ]] || continue
    "$bin/kubectl" label --local --dry-run=client --filename "$work/$values.yaml" --output json seen=yes >"$work/$values.json"
    if python3 "$here/properties.py" "$work/$values.json"; then
      pass "properties $values"
    else
      fail "properties $values: see the lines above"
    fi
  done
}

# refuses WHY PATTERN ARGUMENT...: rendering with the arguments must fail, and the
# message must hold the pattern, so that it is refused for the reason meant.
refuses() {
  local why=$1 pattern=$2
  shift 2
  if render default "$@" >"$work/out" 2>"$work/error"; then
    fail "refuse $why: it was rendered"
  elif grep -Eq -- "$pattern" "$work/error"; then
    pass "refuse $why"
  else
    fail "refuse $why: refused, but without \"$pattern\": $(cat "$work/error")"
  fi
}

refusals() {
  refuses "an unknown key at the top" "imagee" --set imagee.repository=x
  refuses "a typo in a nested key" "replica'? ?not allowed|additional properties 'replica'" --set webhook.replica=3
  refuses "replicas that are no number" "/webhook/replicas" --set webhook.replicas=two
  refuses "no replica at all" "/webhook/replicas" --set webhook.replicas=0
  refuses "a time-out beyond 5 s" "/webhook/timeoutSeconds" --set webhook.timeoutSeconds=6
  refuses "an unknown certificate provider" "/certificates/provider" --set certificates.provider=certmanager
  refuses "an issuer without a name" "issuerRef" --set certificates.certManager.issuerRef.kind=ClusterIssuer
  refuses "a log level that Envoy does not know" "/proxy/logLevel" --set proxy.logLevel=warn
  refuses "a digest that is none" "/image/digest" --set image.digest=sha256:abc
  refuses "a namespace that cannot exist" "/injection/excludedNamespaces" --set 'injection.excludedNamespaces={Not_A_Namespace}'
  refuses "a policy peer of another shape" "/networkPolicy/metricsFrom" --set networkPolicy.metricsFrom[0].namespace=monitoring
  refuses "a quantity that is none" "/webhook/resources" --set webhook.resources.limits.memory=lots
  refuses "Kubernetes 1.29, saying why" "native\.sidecars\.and\.matchConditions" --kube-version 1.29.9
  if render default --kube-version 1.30.0-gke.1 >/dev/null 2>"$work/error"; then
    pass "take a pre-release of a distribution, 1.30.0-gke.1"
  else
    fail "take 1.30.0-gke.1: $(cat "$work/error")"
  fi
}

# The comments are the documentation: a value without one is a value nobody understands.
values_are_documented() {
  local undocumented
  undocumented=$(awk '
    /^ *#/ { commented = 1; next }
    /^ *[A-Za-z]+:/ {
      indent = match($0, /[^ ]/) - 1
      key = $1
      # Headings and keys beneath a commented one that speak for themselves.
      if (!commented && key !~ /^(image|injection|webhook|control|networkPolicy|certManager|resources|requests|limits|tolerations):$/) print key
    }
    { commented = 0 }' "$chart/values.yaml")
  if [[ -z $undocumented ]]; then
    pass "every value has a comment"
  else
    fail "values.yaml: no comment above $undocumented"
  fi
}

notes() {
  helm install release "$chart" --namespace mesh --dry-run=client 2>"$work/error" | sed -n '/^NOTES:/,$p' >"$work/notes"
  local phrase
  for phrase in "kubectl label namespace NAMESPACE sparkmesh.dev/injection=enabled" \
    "helm uninstall release --namespace mesh" "enforce=privileged" "mutatingwebhookconfiguration sparkmesh-mesh"; do
    if grep -qF -- "$phrase" "$work/notes"; then
      pass "notes say: $phrase"
    else
      fail "notes do not say \"$phrase\": $(cat "$work/error" "$work/notes")"
    fi
  done
}

main() {
  case ${1-} in
  "") bless= ;;
  --bless) bless=yes ;;
  *)
    echo "usage: run.sh [--bless]" >&2
    exit 2
    ;;
  esac
  bin=$("$root/tests/cluster/build.sh" | tail -n 1)
  local file
  cases=()
  for file in "$here"/values/*.yaml; do cases+=("$(basename "$file" .yaml)"); done

  lint
  renderings
  properties
  refusals
  values_are_documented
  notes
  ((failures == 0)) || {
    printf '%s of the checks of the chart failed\n' "$failures" >&2
    exit 1
  }
}

main "$@"
