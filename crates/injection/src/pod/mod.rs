//! A read-only view of a pod: the parts that decide about injection, and where they stand.
//!
//! The view borrows from the JSON it was read from and passes over everything else, so that
//! reading stays linear and cheap, and fields this release does not know survive untouched.
//! It refuses to know what is allowed; that is `decide`'s.

mod object;
mod probe;
mod scalar;

use serde::Deserialize;

use crate::read_from_objects;

pub use probe::{GrpcAction, HttpGetAction, Probe, TcpSocketAction};
pub use scalar::{Field, IntOrStr, Quantity, Str, StrMap};

/// A pod, or the template of one.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(remote = "Self")]
pub struct PodView<'a> {
    /// Name, labels, annotations, owners.
    #[serde(borrow, default)]
    pub metadata: Field<Metadata<'a>>,
    /// What runs and how.
    #[serde(borrow, default)]
    pub spec: Field<Spec<'a>>,
}

/// The part of `ObjectMeta` that matters here.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(remote = "Self", rename_all = "camelCase")]
pub struct Metadata<'a> {
    /// The pod's own name; a pod that a controller makes may have only `generate_name`.
    #[serde(borrow, default)]
    pub name: Field<Str<'a>>,
    /// Prefix from which the API server makes the name.
    #[serde(borrow, default)]
    pub generate_name: Field<Str<'a>>,
    /// Labels.
    #[serde(borrow, default)]
    pub labels: Field<StrMap<'a>>,
    /// Annotations.
    #[serde(borrow, default)]
    pub annotations: Field<StrMap<'a>>,
    /// Who made the pod.
    #[serde(borrow, default)]
    pub owner_references: Field<Vec<OwnerReference<'a>>>,
    /// Set once the pod's end has begun.
    #[serde(borrow, default)]
    pub deletion_timestamp: Field<Str<'a>>,
}

/// One owner of a pod.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(remote = "Self", rename_all = "camelCase")]
pub struct OwnerReference<'a> {
    /// Group and version.
    #[serde(borrow, default)]
    pub api_version: Str<'a>,
    /// Kind.
    #[serde(borrow, default)]
    pub kind: Str<'a>,
    /// Name.
    #[serde(borrow, default)]
    pub name: Str<'a>,
    /// UID.
    #[serde(borrow, default)]
    pub uid: Str<'a>,
    /// Whether this owner manages the pod.
    #[serde(default)]
    pub controller: Field<bool>,
}

/// The part of `PodSpec` that matters here.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(remote = "Self", rename_all = "camelCase")]
pub struct Spec<'a> {
    /// The application's containers.
    #[serde(borrow, default)]
    pub containers: Field<Vec<Container<'a>>>,
    /// Init containers and native sidecars.
    #[serde(borrow, default)]
    pub init_containers: Field<Vec<Container<'a>>>,
    /// Volumes.
    #[serde(borrow, default)]
    pub volumes: Field<Vec<Volume<'a>>>,
    /// Whether the pod lives in the node's network.
    #[serde(default)]
    pub host_network: Field<bool>,
    /// Whether the pod sees the node's processes.
    #[serde(default, rename = "hostPID")]
    pub host_pid: Field<bool>,
    /// Whether the pod's containers see each other's processes.
    #[serde(default)]
    pub share_process_namespace: Field<bool>,
    /// Defaults for the containers' security contexts.
    #[serde(borrow, default)]
    pub security_context: Field<SecurityContext<'a>>,
    /// Resources of the pod as a whole.
    #[serde(borrow, default)]
    pub resources: Field<Resources<'a>>,
    /// Operating system.
    #[serde(borrow, default)]
    pub os: Field<Os<'a>>,
    /// Labels of the nodes the pod may run on.
    #[serde(borrow, default)]
    pub node_selector: Field<StrMap<'a>>,
    /// Seconds the pod has to end; 30 where nothing is said.
    #[serde(default)]
    pub termination_grace_period_seconds: Field<i64>,
}

/// The operating system a pod asks for.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(remote = "Self")]
pub struct Os<'a> {
    /// `linux` or `windows`.
    #[serde(borrow, default)]
    pub name: Str<'a>,
}

/// A container of any kind.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(remote = "Self", rename_all = "camelCase")]
pub struct Container<'a> {
    /// Its name, unique in the pod.
    #[serde(borrow, default)]
    pub name: Str<'a>,
    /// Entry point.
    #[serde(borrow, default)]
    pub command: Field<Vec<Str<'a>>>,
    /// Arguments.
    #[serde(borrow, default)]
    pub args: Field<Vec<Str<'a>>>,
    /// Declared ports.
    #[serde(borrow, default)]
    pub ports: Field<Vec<ContainerPort<'a>>>,
    /// Requests and limits.
    #[serde(borrow, default)]
    pub resources: Field<Resources<'a>>,
    /// Security context.
    #[serde(borrow, default)]
    pub security_context: Field<SecurityContext<'a>>,
    /// `Always` on an init container makes it a native sidecar.
    #[serde(borrow, default)]
    pub restart_policy: Field<Str<'a>>,
    /// Is it ready?
    #[serde(borrow, default)]
    pub readiness_probe: Field<Probe<'a>>,
    /// Is it alive?
    #[serde(borrow, default)]
    pub liveness_probe: Field<Probe<'a>>,
    /// Has it started?
    #[serde(borrow, default)]
    pub startup_probe: Field<Probe<'a>>,
    /// Hooks; the kubelet calls those over HTTP as plaintext.
    #[serde(default)]
    pub lifecycle: Field<Lifecycle>,
    /// Mounted volumes.
    #[serde(borrow, default)]
    pub volume_mounts: Field<Vec<VolumeMount<'a>>>,
}

/// Hooks of a container, as far as the kubelet calls them over the network.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(remote = "Self", rename_all = "camelCase")]
pub struct Lifecycle {
    /// After the container's start.
    #[serde(default)]
    pub post_start: Field<Hook>,
    /// Before its end.
    #[serde(default)]
    pub pre_stop: Field<Hook>,
}

/// One hook.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(remote = "Self", rename_all = "camelCase")]
pub struct Hook {
    /// An HTTP call by the kubelet.
    #[serde(default)]
    pub http_get: Field<serde::de::IgnoredAny>,
}

/// A declared port of a container.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(remote = "Self", rename_all = "camelCase")]
pub struct ContainerPort<'a> {
    /// Name by which probes and Services speak of it.
    #[serde(borrow, default)]
    pub name: Field<Str<'a>>,
    /// The number.
    #[serde(default)]
    pub container_port: Field<i64>,
    /// `TCP` where nothing is said.
    #[serde(borrow, default)]
    pub protocol: Field<Str<'a>>,
}

impl ContainerPort<'_> {
    /// Whether the port is TCP.
    #[must_use]
    pub fn is_tcp(&self) -> bool {
        self.protocol
            .value()
            .is_none_or(|protocol| matches!(protocol.as_str(), "TCP" | ""))
    }
}

/// Requests and limits, of a container or of a whole pod.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(remote = "Self")]
pub struct Resources<'a> {
    /// What is reserved.
    #[serde(borrow, default)]
    pub requests: Field<ResourceList<'a>>,
    /// What is the most.
    #[serde(borrow, default)]
    pub limits: Field<ResourceList<'a>>,
}

/// The two resources that a proxy uses.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(remote = "Self")]
pub struct ResourceList<'a> {
    /// Processor time.
    #[serde(borrow, default)]
    pub cpu: Field<Quantity<'a>>,
    /// Memory.
    #[serde(borrow, default)]
    pub memory: Field<Quantity<'a>>,
}

/// The part of a security context, of a pod or of a container, that could break the mesh.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(remote = "Self", rename_all = "camelCase")]
pub struct SecurityContext<'a> {
    /// User id of the processes.
    #[serde(default)]
    pub run_as_user: Field<i64>,
    /// Whether the container is not confined at all.
    #[serde(default)]
    pub privileged: Field<bool>,
    /// Added and dropped capabilities.
    #[serde(borrow, default)]
    pub capabilities: Field<Capabilities<'a>>,
}

/// Capabilities of a container.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(remote = "Self")]
pub struct Capabilities<'a> {
    /// Those added to the runtime's default.
    #[serde(borrow, default)]
    pub add: Field<Vec<Str<'a>>>,
}

/// A volume, as far as it could stand in for the proxy's own.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(remote = "Self")]
pub struct Volume<'a> {
    /// Name, unique in the pod.
    #[serde(borrow, default)]
    pub name: Str<'a>,
    /// A projected volume.
    #[serde(borrow, default)]
    pub projected: Field<Projected<'a>>,
}

/// A projected volume's sources.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(remote = "Self")]
pub struct Projected<'a> {
    /// The sources.
    #[serde(borrow, default)]
    pub sources: Field<Vec<ProjectedSource<'a>>>,
}

/// One source of a projected volume.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(remote = "Self", rename_all = "camelCase")]
pub struct ProjectedSource<'a> {
    /// A service account token.
    #[serde(borrow, default)]
    pub service_account_token: Field<TokenSource<'a>>,
}

/// A projected service account token.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(remote = "Self")]
pub struct TokenSource<'a> {
    /// For whom the token is.
    #[serde(borrow, default)]
    pub audience: Field<Str<'a>>,
}

/// A mount of a volume.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(remote = "Self")]
pub struct VolumeMount<'a> {
    /// The volume's name.
    #[serde(borrow, default)]
    pub name: Str<'a>,
}

read_from_objects! {
    PodView<'a>, Metadata<'a>, OwnerReference<'a>, Spec<'a>, Os<'a>, Container<'a>, Lifecycle, Hook, ContainerPort<'a>, Resources<'a>, ResourceList<'a>, SecurityContext<'a>, Capabilities<'a>, Volume<'a>, Projected<'a>, ProjectedSource<'a>, TokenSource<'a>, VolumeMount<'a>
}

/// The three probes a container can have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ProbeKind {
    /// `readinessProbe`
    Readiness,
    /// `livenessProbe`
    Liveness,
    /// `startupProbe`
    Startup,
}

impl ProbeKind {
    /// All of them.
    pub const ALL: [ProbeKind; 3] = [
        ProbeKind::Readiness,
        ProbeKind::Liveness,
        ProbeKind::Startup,
    ];

    /// The probe's field in a container.
    #[must_use]
    pub fn field(self) -> &'static str {
        match self {
            ProbeKind::Readiness => "readinessProbe",
            ProbeKind::Liveness => "livenessProbe",
            ProbeKind::Startup => "startupProbe",
        }
    }

    /// The probe's word in a path.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            ProbeKind::Readiness => "readiness",
            ProbeKind::Liveness => "liveness",
            ProbeKind::Startup => "startup",
        }
    }
}

impl<'a> Container<'a> {
    /// The probe of this kind, where there is one.
    #[must_use]
    pub fn probe(&self, kind: ProbeKind) -> Option<&Probe<'a>> {
        match kind {
            ProbeKind::Readiness => self.readiness_probe.value(),
            ProbeKind::Liveness => self.liveness_probe.value(),
            ProbeKind::Startup => self.startup_probe.value(),
        }
    }

    /// Whether this init container keeps running beside the application.
    #[must_use]
    pub fn is_native_sidecar(&self) -> bool {
        self.restart_policy
            .value()
            .is_some_and(|policy| policy.as_str() == "Always")
    }
}

/// Which list a container stands in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ContainerList {
    /// `/spec/containers`
    Containers,
    /// `/spec/initContainers`
    InitContainers,
}

impl ContainerList {
    /// The list's field in a pod's spec.
    #[must_use]
    pub fn field(self) -> &'static str {
        match self {
            ContainerList::Containers => "containers",
            ContainerList::InitContainers => "initContainers",
        }
    }
}

/// A pod that cannot be read: where, and what stands there.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{path}: {message}")]
pub struct UnreadablePod {
    /// Field path of the offending value.
    pub path: String,
    /// What is wrong with it.
    pub message: String,
}

impl<'a> PodView<'a> {
    /// Reads a pod from JSON text.
    pub fn from_json(text: &'a str) -> Result<PodView<'a>, UnreadablePod> {
        serde_json::from_str(text).map_err(|_| {
            // Only a pod that failed pays for the search for the place.
            let again: Result<PodView<'_>, _> =
                serde_path_to_error::deserialize(&mut serde_json::Deserializer::from_str(text));
            unreadable(again)
        })
    }

    /// Reads a pod from a JSON value.
    pub fn from_value(value: &'a serde_json::Value) -> Result<PodView<'a>, UnreadablePod> {
        Deserialize::deserialize(value).map_err(|_| {
            let again: Result<PodView<'_>, _> = serde_path_to_error::deserialize(value);
            unreadable(again)
        })
    }

    /// The metadata, empty where there is none.
    #[must_use]
    pub fn meta(&self) -> &Metadata<'a> {
        static EMPTY: Metadata<'static> = Metadata::EMPTY;
        self.metadata.value().unwrap_or(&EMPTY)
    }

    /// The spec, where there is one.
    #[must_use]
    pub fn spec(&self) -> Option<&Spec<'a>> {
        self.spec.value()
    }

    /// The owner that manages this pod.
    #[must_use]
    pub fn controller(&self) -> Option<&OwnerReference<'a>> {
        let owners = self.meta().owner_references.value()?;
        owners
            .iter()
            .find(|owner| owner.controller.value() == Some(&true))
            .or_else(|| owners.first())
    }
}

fn unreadable(
    again: Result<PodView<'_>, serde_path_to_error::Error<serde_json::Error>>,
) -> UnreadablePod {
    match again {
        Ok(_) => UnreadablePod {
            path: ".".to_owned(),
            message: "text behind the pod's end".to_owned(),
        },
        Err(error) => UnreadablePod {
            path: error.path().to_string(),
            message: error.into_inner().to_string(),
        },
    }
}

impl Metadata<'_> {
    const EMPTY: Metadata<'static> = Metadata {
        name: Field::Absent,
        generate_name: Field::Absent,
        labels: Field::Absent,
        annotations: Field::Absent,
        owner_references: Field::Absent,
        deletion_timestamp: Field::Absent,
    };

    /// The label's value.
    #[must_use]
    pub fn label(&self, key: &str) -> Option<&str> {
        self.labels.value()?.lookup(key)
    }

    /// The annotation's value.
    #[must_use]
    pub fn annotation(&self, key: &str) -> Option<&str> {
        self.annotations.value()?.lookup(key)
    }
}

impl<'a> Spec<'a> {
    /// Every container that the author wrote, with where it stands: applications first, then init
    /// containers in order.
    pub fn all_containers(&self) -> impl Iterator<Item = (ContainerList, usize, &Container<'a>)> {
        self.containers
            .items()
            .iter()
            .enumerate()
            .map(|(i, c)| (ContainerList::Containers, i, c))
            .chain(
                self.init_containers
                    .items()
                    .iter()
                    .enumerate()
                    .map(|(i, c)| (ContainerList::InitContainers, i, c)),
            )
    }
}
