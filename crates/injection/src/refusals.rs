//! What no injected pod may be or ask for, because redirection would harm its node or the pod
//! could step around its proxy.
//!
//! Each check adds every place it finds; nothing here stops at the first.

use std::collections::HashSet;

use sparkmesh_policy::names;

use crate::facts::{NamespaceFacts, PodSecurity};
use crate::pod::{Container, ContainerList, Field, SecurityContext, Spec};
use crate::violation::{Refusal, Violation};

/// Everything about the pod's spec that refuses it.
pub(crate) fn check_spec(spec: &Spec<'_>, found: &mut Vec<Violation>) {
    check_containers_exist(spec, found);
    check_shared_namespaces(spec, found);
    check_os(spec, found);
    check_user(&spec.security_context, "/spec/securityContext", found);
    check_volumes(spec, found);
    check_names_differ(spec, found);
    for (list, index, container) in spec.all_containers() {
        let at = Place { list, index };
        check_name(container, at, found);
        check_security(container, at, found);
        check_ports(container, at, found);
        check_mounts(container, at, found);
    }
}

/// What of the namespace would refuse the injected pod later and less clearly.
pub(crate) fn check_namespace(namespace: &NamespaceFacts, found: &mut Vec<Violation>) {
    let level = match namespace.pod_security {
        PodSecurity::Baseline => Some("baseline"),
        PodSecurity::Restricted => Some("restricted"),
        PodSecurity::Unset | PodSecurity::Privileged => None,
    };
    if let Some(level) = level {
        found.push(Violation {
            reason: Refusal::PodSecurity,
            pointer: "/metadata/namespace".to_owned(),
            message: format!(
                "namespace {} enforces Pod Security level {level}, which forbids the NET_ADMIN \
                 capability of the redirecting init container",
                namespace.name
            ),
            remedy: "label the namespace pod-security.kubernetes.io/enforce=privileged".to_owned(),
        });
    }
    if namespace.openshift_uid_range && namespace.pod_security != PodSecurity::Privileged {
        found.push(Violation {
            reason: Refusal::OpenShiftScc,
            pointer: "/metadata/namespace".to_owned(),
            message: format!(
                "OpenShift assigns user ids in namespace {}, and the proxy needs user {} and its \
                 init container NET_ADMIN",
                namespace.name,
                names::PROXY_UID
            ),
            remedy: format!(
                "grant the namespace's service accounts an SCC that permits both (for example \
                 `oc adm policy add-scc-to-group privileged system:serviceaccounts:{}`) and label \
                 it pod-security.kubernetes.io/enforce=privileged",
                namespace.name
            ),
        });
    }
}

/// Where a container stands.
#[derive(Clone, Copy)]
struct Place {
    list: ContainerList,
    index: usize,
}

impl Place {
    fn pointer(self, rest: &str) -> String {
        format!("/spec/{}/{}{rest}", self.list.field(), self.index)
    }
}

fn check_containers_exist(spec: &Spec<'_>, found: &mut Vec<Violation>) {
    if spec.containers.items().is_empty() {
        found.push(no_containers());
    }
}

pub(crate) fn no_containers() -> Violation {
    Violation {
        reason: Refusal::NoContainers,
        pointer: "/spec/containers".to_owned(),
        message: "the pod has no container".to_owned(),
        remedy: "give it at least one".to_owned(),
    }
}

fn check_shared_namespaces(spec: &Spec<'_>, found: &mut Vec<Violation>) {
    if spec.host_network.is_true() {
        found.push(Violation {
            reason: Refusal::HostNetwork,
            pointer: "/spec/hostNetwork".to_owned(),
            message: "a pod in its node's network cannot be in the mesh: redirecting it would \
                      redirect the node"
                .to_owned(),
            remedy: "remove hostNetwork, or run the pod in a namespace without the label \
                     sparkmesh.dev/injection"
                .to_owned(),
        });
    }
    for (field, name) in [
        (&spec.share_process_namespace, "shareProcessNamespace"),
        (&spec.host_pid, "hostPID"),
    ] {
        if field.is_true() {
            found.push(Violation {
                reason: Refusal::SharedProcesses,
                pointer: format!("/spec/{name}"),
                message: format!(
                    "with {name} the application could reach the proxy's process and its keys"
                ),
                remedy: format!("remove {name}"),
            });
        }
    }
}

fn check_os(spec: &Spec<'_>, found: &mut Vec<Violation>) {
    let os = spec.os.value().map(|os| os.name.as_str());
    let selected = spec
        .node_selector
        .value()
        .and_then(|labels| labels.lookup("kubernetes.io/os"));
    let (pointer, os) = match (os, selected) {
        (Some(os), _) if os != "linux" => ("/spec/os/name", os),
        (_, Some(os)) if os != "linux" => ("/spec/nodeSelector/kubernetes.io~1os", os),
        _ => return,
    };
    found.push(Violation {
        reason: Refusal::UnsupportedOs,
        pointer: pointer.to_owned(),
        message: format!(
            "redirection exists for Linux only, not for `{}`",
            os.escape_debug()
        ),
        remedy: "run the pod in a namespace without the label sparkmesh.dev/injection".to_owned(),
    });
}

fn check_user(context: &Field<SecurityContext<'_>>, pointer: &str, found: &mut Vec<Violation>) {
    let user = context
        .value()
        .and_then(|context| context.run_as_user.value());
    if user == Some(&i64::from(names::PROXY_UID)) {
        found.push(Violation {
            reason: Refusal::ProxyUid,
            pointer: format!("{pointer}/runAsUser"),
            message: format!(
                "user {} is the proxy's, whose traffic is not redirected",
                names::PROXY_UID
            ),
            remedy: "choose another user id".to_owned(),
        });
    }
}

/// Containers that other meshes put into pods.
const FOREIGN: [(&str, &str); 8] = [
    ("istio-proxy", "Istio"),
    ("istio-init", "Istio"),
    ("linkerd-proxy", "Linkerd"),
    ("linkerd-init", "Linkerd"),
    ("kuma-sidecar", "Kuma"),
    ("kuma-init", "Kuma"),
    ("consul-dataplane", "Consul"),
    ("consul-connect-inject-init", "Consul"),
];

fn check_name(container: &Container<'_>, at: Place, found: &mut Vec<Violation>) {
    let name = container.name.as_str();
    if [names::INIT_CONTAINER, names::PROXY_CONTAINER].contains(&name) {
        found.push(Violation {
            reason: Refusal::ReservedName,
            pointer: at.pointer("/name"),
            message: format!("the container name {name} is sparkmesh's own"),
            remedy: "rename the container".to_owned(),
        });
    }
    if let Some((_, mesh)) = FOREIGN.iter().find(|(foreign, _)| *foreign == name) {
        found.push(Violation {
            reason: Refusal::ForeignMesh,
            pointer: at.pointer("/name"),
            message: format!(
                "{mesh} has already put {name} into this pod; two meshes cannot both redirect it"
            ),
            remedy: format!("take the namespace or the pod out of {mesh}"),
        });
    }
}

/// The API server demands it too, but only after us.
fn check_names_differ(spec: &Spec<'_>, found: &mut Vec<Violation>) {
    let mut seen = HashSet::new();
    for (list, index, container) in spec.all_containers() {
        let name = container.name.as_str();
        if !seen.insert(name) {
            found.push(Violation {
                reason: Refusal::RepeatedName,
                pointer: Place { list, index }.pointer("/name"),
                message: format!("another container of the pod has the name {name}, too"),
                remedy: "give every container and init container a name of its own".to_owned(),
            });
        }
    }
}

fn check_security(container: &Container<'_>, at: Place, found: &mut Vec<Violation>) {
    check_user(
        &container.security_context,
        &at.pointer("/securityContext"),
        found,
    );
    let Some(context) = container.security_context.value() else {
        return;
    };
    if context.privileged.is_true() {
        found.push(Violation {
            reason: Refusal::Privileged,
            pointer: at.pointer("/securityContext/privileged"),
            message: format!(
                "the privileged container {} could undo the redirection",
                container.name
            ),
            remedy: "remove privileged".to_owned(),
        });
    }
    let Some(capabilities) = context.capabilities.value() else {
        return;
    };
    for (i, capability) in capabilities.add.items().iter().enumerate() {
        let name = capability.as_str().to_ascii_uppercase();
        let name = name.strip_prefix("CAP_").unwrap_or(&name);
        if ["NET_ADMIN", "NET_RAW", "ALL"].contains(&name) {
            found.push(Violation {
                reason: Refusal::NetworkCapability,
                pointer: at.pointer(&format!("/securityContext/capabilities/add/{i}")),
                message: format!(
                    "with the capability {name} the container {} could step around its proxy",
                    container.name
                ),
                remedy: format!("remove {name}"),
            });
        }
    }
}

fn check_ports(container: &Container<'_>, at: Place, found: &mut Vec<Violation>) {
    for (i, port) in container.ports.items().iter().enumerate() {
        let reserved = port
            .container_port
            .value()
            .and_then(|number| u16::try_from(*number).ok())
            .and_then(sparkmesh_policy::port::Port::new)
            .filter(|port| port.is_reserved());
        if let Some(number) = reserved.filter(|_| port.is_tcp()) {
            found.push(Violation {
                reason: Refusal::ReservedPort,
                pointer: at.pointer(&format!("/ports/{i}/containerPort")),
                message: format!("port {number} is the proxy's own in every pod of the mesh"),
                remedy: "let the application listen on another port".to_owned(),
            });
        }
    }
}

fn is_our_volume(name: &str) -> bool {
    [names::TOKEN_VOLUME, names::RUN_VOLUME].contains(&name)
}

fn check_mounts(container: &Container<'_>, at: Place, found: &mut Vec<Violation>) {
    for (i, mount) in container.volume_mounts.items().iter().enumerate() {
        if is_our_volume(mount.name.as_str()) {
            found.push(Violation {
                reason: Refusal::ReservedName,
                pointer: at.pointer(&format!("/volumeMounts/{i}/name")),
                message: format!(
                    "the volume {} is for the proxy alone; {} may not mount it",
                    mount.name, container.name
                ),
                remedy: "remove the mount".to_owned(),
            });
        }
    }
}

fn check_volumes(spec: &Spec<'_>, found: &mut Vec<Violation>) {
    for (i, volume) in spec.volumes.items().iter().enumerate() {
        if is_our_volume(volume.name.as_str()) {
            found.push(Violation {
                reason: Refusal::ReservedName,
                pointer: format!("/spec/volumes/{i}/name"),
                message: format!("the volume name {} is sparkmesh's own", volume.name),
                remedy: "rename the volume".to_owned(),
            });
        }
        let sources = volume
            .projected
            .value()
            .map_or(&[][..], |projected| projected.sources.items());
        for (j, source) in sources.iter().enumerate() {
            let audience = source
                .service_account_token
                .value()
                .and_then(|token| token.audience.value());
            if audience.is_some_and(|audience| audience.as_str() == names::TOKEN_AUDIENCE) {
                found.push(Violation {
                    reason: Refusal::TokenAudience,
                    pointer: format!(
                        "/spec/volumes/{i}/projected/sources/{j}/serviceAccountToken/audience"
                    ),
                    message: format!(
                        "a token for the audience `{}` would let the application pose as its proxy",
                        names::TOKEN_AUDIENCE
                    ),
                    remedy: "ask for another audience".to_owned(),
                });
            }
        }
    }
}
