"""What must hold in every rendering of the chart, whatever the values.

    properties.py RENDERING.json     objects one behind the other, or in a List

Prints one line for each thing that does not hold and then exits with 1. It knows
no values file: what a rendering says of itself is enough.
"""

import json
import re
import sys

SYSTEM_NAMESPACES = {"kube-system", "kube-public", "kube-node-lease"}
COMPONENTS = ("sparkmesh-webhook", "sparkmesh-control")


def objects(text):
    decoder, at = json.JSONDecoder(), 0
    while at < len(text):
        if text[at].isspace():
            at += 1
            continue
        value, at = decoder.raw_decode(text, at)
        yield from value["items"] if value["kind"] == "List" else [value]


class Rendering:
    def __init__(self, rendered):
        self.all = rendered

    def of(self, kind):
        return [o for o in self.all if o["kind"] == kind]

    def one(self, kind, name=None):
        found = [o for o in self.of(kind) if name in (None, o["metadata"]["name"])]
        if len(found) != 1:
            raise SystemExit(f"expected one {kind} {name or ''}, found {len(found)}")
        return found[0]

    def pods(self):
        """(name, metadata, spec) of whatever becomes a pod."""
        for o in self.of("Deployment"):
            template = o["spec"]["template"]
            yield o["metadata"]["name"], template["metadata"], template["spec"]
        for o in self.of("Pod"):
            yield o["metadata"]["name"], o["metadata"], o["spec"]

    def rules_of(self, account):
        """Every rule that a service account is bound to."""
        for binding in self.of("RoleBinding") + self.of("ClusterRoleBinding"):
            if any(s["name"] == account for s in binding["subjects"]):
                yield from self.one(binding["roleRef"]["kind"], binding["roleRef"]["name"])["rules"]


def name_of(o):
    return f'{o["kind"]} {o["metadata"]["name"]}'


def labels_say_whose_it_is(r):
    wanted = {"name", "instance", "component", "part-of", "version", "managed-by"}
    for o in r.all:
        labels = o["metadata"].get("labels", {})
        for key in sorted(wanted):
            if not labels.get(f"app.kubernetes.io/{key}"):
                yield f"{name_of(o)}: no label app.kubernetes.io/{key}"


def both_components_are_there(r):
    for component in COMPONENTS:
        r.one("Deployment", component)
        r.one("ServiceAccount", component)
        r.one("PodDisruptionBudget", component)


def names_refer_to_what_is_there(r):
    accounts = {o["metadata"]["name"] for o in r.of("ServiceAccount")}
    pods = {name: meta["labels"] for name, meta, _ in r.pods()}
    selectors = [(o, o["spec"]["selector"]) for o in r.of("Service")]
    selectors += [(o, o["spec"]["selector"]["matchLabels"]) for o in r.of("Deployment") + r.of("PodDisruptionBudget")]
    selectors += [(o, o["spec"]["podSelector"]["matchLabels"]) for o in r.of("NetworkPolicy")]
    for o, selector in selectors:
        chosen = [name for name, labels in pods.items() if selector.items() <= labels.items()]
        if chosen != [o["metadata"]["name"]]:
            yield f"{name_of(o)}: selects the pods of {chosen}"
    for o in r.of("Deployment"):
        spec = o["spec"]["template"]["spec"]
        labels = o["spec"]["template"]["metadata"]["labels"]
        if spec["serviceAccountName"] not in accounts:
            yield f"{name_of(o)}: no service account {spec['serviceAccountName']}"
        spread = [c["labelSelector"] for c in spec["topologySpreadConstraints"]]
        terms = spec["affinity"]["podAntiAffinity"]["preferredDuringSchedulingIgnoredDuringExecution"]
        spread += [t["podAffinityTerm"]["labelSelector"] for t in terms]
        if not spread or any(not s["matchLabels"].items() <= labels.items() for s in spread):
            yield f"{name_of(o)}: spreads over pods that are not its own"


def the_service_leads_to_the_webhook(r):
    port = r.one("Service")["spec"]["ports"][0]
    container = r.one("Deployment", "sparkmesh-webhook")["spec"]["template"]["spec"]["containers"][0]
    ports = {p["name"]: p["containerPort"] for p in container["ports"]}
    if (port["port"], ports.get(port["targetPort"])) != (443, 10250):
        yield f"Service: {port} does not lead from 443 to 10250"
    called = r.one("MutatingWebhookConfiguration")["webhooks"][0]["clientConfig"]["service"]
    service = r.one("Service")["metadata"]
    if (called["name"], called["namespace"]) != (service["name"], service["namespace"]):
        yield f"webhook configuration calls {called}"


def no_port_is_open_that_nothing_serves(r):
    for name, _, spec in r.pods():
        for container in spec["containers"]:
            for port in container.get("ports", []):
                if port["containerPort"] not in (10250, 9090):
                    yield f"{name}: port {port['containerPort']}"


def pods_pass_restricted(r):
    for name, _, spec in r.pods():
        security = spec["securityContext"]
        if not security.get("runAsNonRoot") or security["seccompProfile"]["type"] != "RuntimeDefault":
            yield f"{name}: may run as root, or without seccomp"
        for key in ("hostNetwork", "hostPID", "hostIPC"):
            if spec.get(key):
                yield f"{name}: {key}"
        for volume in spec.get("volumes", []):
            if not {"configMap", "secret"} & volume.keys():
                yield f"{name}: volume {volume}"
        for container in spec["containers"]:
            context = container["securityContext"]
            if (
                context.get("allowPrivilegeEscalation") is not False
                or context.get("readOnlyRootFilesystem") is not True
                or context["capabilities"] != {"drop": ["ALL"]}
            ):
                yield f"{name}/{container['name']}: {context}"


def deployments_can_be_probed_and_end(r):
    for o in r.of("Deployment"):
        spec = o["spec"]["template"]["spec"]
        container = spec["containers"][0]
        ports = {p["name"] for p in container["ports"]}
        for probe, path in (("livenessProbe", "/livez"), ("readinessProbe", "/readyz")):
            get = container[probe]["httpGet"]
            if get["path"] != path or get["port"] not in ports:
                yield f"{name_of(o)}: {probe} {get}"
        if spec["terminationGracePeriodSeconds"] < 30:
            yield f"{name_of(o)}: too little time to drain"
        if any("checksum" in key for key in o["spec"]["template"]["metadata"]["annotations"]):
            yield f"{name_of(o)}: a checksum rolls the pods where a reload is enough"


def rights_are_the_least(r):
    for o in r.of("Role") + r.of("ClusterRole"):
        for rule in o["rules"]:
            if "*" in rule["apiGroups"] + rule["resources"] + rule["verbs"]:
                yield f"{name_of(o)}: a wildcard in {rule}"
            limited = not {"create"} >= set(rule["verbs"])
            guarded = {"secrets", "configmaps", "leases", "deployments", "mutatingwebhookconfigurations"}
            if limited and guarded & set(rule["resources"]) and not rule.get("resourceNames"):
                yield f"{name_of(o)}: {rule['verbs']} on every one of {rule['resources']}"
            if {"delete", "deletecollection", "escalate", "bind", "impersonate"} & set(rule["verbs"]):
                yield f"{name_of(o)}: {rule['verbs']} on {rule['resources']}"
    for rule in r.rules_of("sparkmesh-webhook"):
        if "secrets" in rule["resources"]:
            yield f"the webhook has rights on Secrets: {rule}"
    for rule in r.rules_of("sparkmesh-control"):
        if "mutatingwebhookconfigurations" in rule["resources"] and "create" in rule["verbs"]:
            yield "control may make webhook configurations: an uninstall could be undone"
    for o in r.of("ServiceAccount"):
        if o["automountServiceAccountToken"] is not False:
            yield f"{name_of(o)}: whoever names it gets its token"


def the_webhook_fails_closed_and_blocks_nothing_else(r):
    configuration = r.one("MutatingWebhookConfiguration")
    own = r.one("Service")["metadata"]["namespace"]
    for webhook in configuration["webhooks"]:
        fixed = {
            "failurePolicy": "Fail",
            "matchPolicy": "Equivalent",
            "reinvocationPolicy": "IfNeeded",
            "sideEffects": "NoneOnDryRun",
            "admissionReviewVersions": ["v1"],
            "objectSelector": {},
        }
        for key, value in fixed.items():
            if webhook.get(key) != value:
                yield f"webhook: {key} is {webhook.get(key)}"
        if not 1 <= webhook["timeoutSeconds"] <= 5:
            yield f"webhook: {webhook['timeoutSeconds']} s"
        if webhook["rules"] != [
            {"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["pods"], "scope": "Namespaced"}
        ]:
            yield f"webhook: rules {webhook['rules']}"
        expressions = {(e["key"], e["operator"]): set(e["values"]) for e in webhook["namespaceSelector"]["matchExpressions"]}
        if expressions.get(("sparkmesh.dev/injection", "In")) != {"enabled"}:
            yield "webhook: namespaces do not opt in"
        excluded = expressions.get(("kubernetes.io/metadata.name", "NotIn"), set())
        if not SYSTEM_NAMESPACES | {own} <= excluded:
            yield f"webhook: only {sorted(excluded)} are excluded"
        if set(configured_exclusions(r)) != excluded:
            yield f"config.yaml excludes {configured_exclusions(r)}, the selector {sorted(excluded)}"


def configured_exclusions(r):
    text = r.one("ConfigMap", "sparkmesh-config")["data"]["config.yaml"]
    listed = text.split("excludedNamespaces:\n", 1)[1]
    return re.findall(r'^- "(.+)"$', listed, re.MULTILINE)


def one_keeper_of_the_trust_bundle(r):
    configuration = r.one("MutatingWebhookConfiguration")
    if any("caBundle" in w["clientConfig"] for w in configuration["webhooks"]):
        yield "a rendered caBundle would be put back at each upgrade, over the keeper's"
    by_cert_manager = "cert-manager.io/inject-ca-from" in configuration["metadata"].get("annotations", {})
    by_control = any("mutatingwebhookconfigurations" in rule["resources"] for rule in r.rules_of("sparkmesh-control"))
    args = r.one("Deployment", "sparkmesh-control")["spec"]["template"]["spec"]["containers"][0]["args"]
    told = args[args.index("--serving-certificates") + 1] == "sparkmesh"
    if not by_control == told == (not by_cert_manager):
        yield f"caBundle: cert-manager keeps it: {by_cert_manager}, control may: {by_control}, control is told to: {told}"
    if by_cert_manager != bool(r.of("Certificate")):
        yield "cert-manager is asked to inject a CA, but for no certificate; or the other way round"
    if r.of("Secret"):
        yield "a Secret in the rendering: keys are made in the cluster"


PROPERTIES = [
    labels_say_whose_it_is,
    both_components_are_there,
    names_refer_to_what_is_there,
    the_service_leads_to_the_webhook,
    no_port_is_open_that_nothing_serves,
    pods_pass_restricted,
    deployments_can_be_probed_and_end,
    rights_are_the_least,
    the_webhook_fails_closed_and_blocks_nothing_else,
    one_keeper_of_the_trust_bundle,
]


def main(path):
    with open(path, encoding="utf-8") as file:
        rendering = Rendering(list(objects(file.read())))
    broken = [f"{p.__name__}: {line}" for p in PROPERTIES for line in p(rendering) or []]
    print("\n".join(broken), end="\n" if broken else "", file=sys.stderr)
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
