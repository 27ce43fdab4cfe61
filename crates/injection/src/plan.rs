//! Everything that one pod gets, as values: what people are told and what the patch is built from.
//!
//! A plan holds only what differs from pod to pod; images and the control plane stay in the
//! configuration. Whether a pod may have it has been decided before.

use std::fmt::Write as _;

use sha2::{Digest, Sha256};
use sparkmesh_policy::names;
use sparkmesh_policy::port::Port;

use crate::config::{LogLevel, MeshConfig};
use crate::pod::{Field, PodView, Quantity, Resources, Spec};
use crate::probes::{self, ProbeRewrite};
use crate::quantity::Amount;
use crate::redirect::RedirectPlan;
use crate::restore::Restore;
use crate::role::Role;
use crate::settings::{self, Settings};

/// What one pod gets.
#[derive(Clone, Debug)]
pub struct InjectionPlan {
    /// The pod's part in Spark.
    pub role: Role,
    /// What goes past the proxy.
    pub redirect: RedirectPlan,
    /// Inbound ports known to speak HTTP, ascending.
    pub http_ports: Vec<Port>,
    /// The probes that pass through the proxy.
    pub probes: Vec<ProbeRewrite>,
    /// The proxy's resources.
    pub proxy_resources: Bounds,
    /// The init container's resources.
    pub init_resources: Bounds,
    /// Envoy's log level.
    pub log_level: LogLevel,
    /// Envoy's worker threads.
    pub threads: u8,
    /// Seconds that the proxy stays; none where it need not or cannot.
    pub drain_seconds: Option<u32>,
    /// The container that kubectl chooses, where the author has not said.
    pub default_container: Option<String>,
    /// What the undoing of this plan must know.
    pub restore: Restore,
    /// What is legal and may still surprise.
    pub warnings: Vec<String>,
}

/// Requests and limits of one of our containers, as quantities.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Bounds {
    /// CPU request.
    pub cpu_request: Option<String>,
    /// CPU limit.
    pub cpu_limit: Option<String>,
    /// Memory request.
    pub memory_request: Option<String>,
    /// Memory limit.
    pub memory_limit: Option<String>,
}

impl InjectionPlan {
    /// The plan for a pod that is as its author wrote it.
    #[must_use]
    pub fn new(
        pod: &PodView<'_>,
        spec: &Spec<'_>,
        settings: Settings,
        config: &MeshConfig,
    ) -> InjectionPlan {
        let role = settings.role.unwrap_or_else(|| Role::detect(pod));
        let (rewrites, unresolved) = probes::rewrites(spec, &settings.exclude_inbound_ports);
        let mut warnings: Vec<String> = unresolved
            .iter()
            .map(|probe| {
                format!(
                    "sparkmesh: container {}: the {} names a port that the container does not \
                     declare; it was left as it is and cannot succeed",
                    probe.container,
                    probe.kind.field()
                )
            })
            .collect();
        warnings.extend(hook_warnings(spec));
        let written_default = pod.meta().annotation(names::DEFAULT_CONTAINER_ANNOTATION);
        InjectionPlan {
            http_ports: http_ports(role, spec, &settings.exclude_inbound_ports),
            proxy_resources: proxy_resources(role, spec, &settings),
            init_resources: init_resources(spec),
            log_level: settings.log_level.unwrap_or(config.log_level),
            threads: if role.is_heavy() { 2 } else { 1 },
            drain_seconds: drain_seconds(role, pod, &settings),
            default_container: written_default
                .is_none()
                .then(|| default_container(spec))
                .flatten(),
            restore: Restore::of(pod, spec, &rewrites, written_default.is_some()),
            redirect: RedirectPlan {
                exclude_inbound_ports: settings.exclude_inbound_ports,
                exclude_outbound_ports: settings.exclude_outbound_ports,
                exclude_outbound_cidrs: settings.exclude_outbound_cidrs,
            },
            role,
            probes: rewrites,
            warnings,
        }
    }

    /// The proxy's whole configuration.
    #[must_use]
    pub fn bootstrap(&self, config: &MeshConfig) -> String {
        let probes: Vec<_> = self.probes.iter().map(|p| p.probe.clone()).collect();
        config.bootstrap(&self.http_ports, &probes)
    }

    /// A short hash that differs whenever what the pod gets does; people compare it, nothing
    /// decides by it.
    #[must_use]
    pub fn hash(&self, config: &MeshConfig) -> String {
        let mut hasher = Sha256::new();
        hasher.update(config.digest());
        hasher.update(format!(
            "{:?}{:?}{:?}{:?}{:?}{:?}{}{:?}",
            self.http_ports,
            self.probes,
            self.redirect,
            self.proxy_resources,
            self.init_resources,
            self.log_level,
            self.threads,
            self.drain_seconds
        ));
        let mut text = String::with_capacity(16);
        for byte in hasher.finalize().iter().take(8) {
            write!(text, "{byte:02x}").expect("writing to a String cannot fail");
        }
        text
    }
}

fn hook_warnings(spec: &Spec<'_>) -> Vec<String> {
    let calls = |hook: &Field<crate::pod::Hook>| {
        hook.value()
            .is_some_and(|hook| hook.http_get.value().is_some())
    };
    spec.all_containers()
        .filter(|(_, _, container)| {
            container
                .lifecycle
                .value()
                .is_some_and(|hooks| calls(&hooks.post_start) || calls(&hooks.pre_stop))
        })
        .map(|(_, _, container)| {
            format!(
                "sparkmesh: container {}: a lifecycle hook by httpGet comes from the node as \
                 plaintext and will be refused on a port of the mesh; use exec, or exclude its port",
                container.name
            )
        })
        .collect()
}

/// Spark's own container where there is one (a pod template's sidecars stand before it), else the
/// first.
fn default_container(spec: &Spec<'_>) -> Option<String> {
    let containers = spec.containers.items();
    let sparks = containers
        .iter()
        .find(|container| SPARK_CONTAINERS.contains(&container.name.as_str()));
    let container = sparks.or_else(|| containers.first())?;
    Some(container.name.as_str().to_owned())
}

/// What Spark on Kubernetes calls its containers, see
/// <https://spark.apache.org/docs/latest/running-on-kubernetes.html#pod-template>.
const SPARK_CONTAINERS: [&str; 2] = ["spark-kubernetes-driver", "spark-kubernetes-executor"];

/// The role's ports and those whose declared name says HTTP (`http`, `http-ui`), unless excluded.
fn http_ports(role: Role, spec: &Spec<'_>, excluded: &[Port]) -> Vec<Port> {
    let named = spec
        .all_containers()
        .flat_map(|(_, _, container)| container.ports.items())
        .filter(|port| port.is_tcp())
        .filter(|port| {
            port.name
                .value()
                .is_some_and(|name| name.as_str() == "http" || name.as_str().starts_with("http-"))
        })
        .filter_map(|port| u16::try_from(*port.container_port.value()?).ok())
        .filter_map(Port::new);
    let mut ports: Vec<Port> = role.http_ports().iter().copied().chain(named).collect();
    ports.sort_unstable();
    ports.dedup();
    ports.retain(|port| !excluded.contains(port) && !port.is_reserved());
    ports
}

/// The preStop sleep that Kubernetes accepts must not be longer than the pod's grace period.
fn drain_seconds(role: Role, pod: &PodView<'_>, settings: &Settings) -> Option<u32> {
    let wanted = settings.drain_seconds.unwrap_or(role.drain_seconds());
    let longest = settings::grace_seconds(pod).max(0);
    let drain = wanted.min(u32::try_from(longest).unwrap_or(u32::MAX));
    (drain > 0).then_some(drain)
}

fn proxy_resources(role: Role, spec: &Spec<'_>, settings: &Settings) -> Bounds {
    let heavy = role.is_heavy();
    let (cpu, memory) = if heavy {
        ("100m", "96Mi")
    } else {
        ("50m", "64Mi")
    };
    let budget = PodBudget::of(spec);
    let guaranteed = is_guaranteed(spec);
    let (cpu_request, cpu_limit) = bounds(
        settings.cpu_request.as_ref(),
        settings.cpu_limit.as_ref(),
        match (budget.cpu, guaranteed) {
            (true, _) => Usual::Nothing,
            (false, true) => Usual::Exactly("100m"),
            (false, false) => Usual::Between(cpu, None),
        },
    );
    let (memory_request, memory_limit) = bounds(
        settings.memory_request.as_ref(),
        settings.memory_limit.as_ref(),
        match (budget.memory, guaranteed) {
            (true, _) => Usual::Nothing,
            (false, true) => Usual::Exactly("128Mi"),
            (false, false) => Usual::Between(memory, Some("256Mi")),
        },
    );
    Bounds {
        cpu_request,
        cpu_limit,
        memory_request,
        memory_limit,
    }
}

/// The init container runs for milliseconds before anything else does: it adds nothing to what the
/// pod needs. It has limits because quotas ask for them.
fn init_resources(spec: &Spec<'_>) -> Bounds {
    let budget = PodBudget::of(spec);
    let guaranteed = is_guaranteed(spec);
    let owned = |text: &str| Some(text.to_owned());
    let cpu = (!budget.cpu).then_some(());
    let memory = (!budget.memory).then_some(());
    Bounds {
        cpu_request: cpu.and_then(|()| owned(if guaranteed { "100m" } else { "10m" })),
        cpu_limit: cpu.and_then(|()| owned("100m")),
        memory_request: memory.and_then(|()| owned(if guaranteed { "64Mi" } else { "16Mi" })),
        memory_limit: memory.and_then(|()| owned("64Mi")),
    }
}

/// What a container gets of one resource where its author says nothing.
#[derive(Clone, Copy)]
enum Usual {
    /// Nothing: the pod as a whole has a budget of it, which its containers share.
    Nothing,
    /// The same as request and limit, so that the pod keeps its Guaranteed class.
    Exactly(&'static str),
    /// A request and perhaps a limit.
    Between(&'static str, Option<&'static str>),
}

/// Request and limit: the author's, completed so that the request never exceeds the limit.
fn bounds(
    request: Option<&Amount>,
    limit: Option<&Amount>,
    usual: Usual,
) -> (Option<String>, Option<String>) {
    let text = |amount: &Amount| amount.as_str().to_owned();
    match usual {
        Usual::Nothing => (request.map(text), limit.map(text)),
        Usual::Exactly(amount) => {
            let only = limit.or(request).map_or(amount.to_owned(), text);
            (
                Some(request.map_or(only.clone(), text)),
                Some(limit.map_or(only, text)),
            )
        }
        Usual::Between(least, most) => {
            let least: Amount = least.parse().expect("a constant quantity");
            let most: Option<Amount> = most.map(|most| most.parse().expect("a constant quantity"));
            let limit = limit.cloned().or_else(|| match (most, request) {
                (Some(most), Some(request)) if most < *request => Some(request.clone()),
                (most, _) => most,
            });
            let request = request.cloned().unwrap_or_else(|| match &limit {
                Some(limit) if *limit < least => limit.clone(),
                _ => least,
            });
            (Some(text(&request)), limit.as_ref().map(text))
        }
    }
}

/// Which resources the pod as a whole has a budget of (`spec.resources`).
struct PodBudget {
    cpu: bool,
    memory: bool,
}

impl PodBudget {
    fn of(spec: &Spec<'_>) -> PodBudget {
        let lists = || {
            let resources = spec.resources.value();
            resources
                .into_iter()
                .flat_map(|r| [&r.requests, &r.limits])
                .filter_map(Field::value)
        };
        PodBudget {
            cpu: lists().any(|list| list.cpu.value().is_some()),
            memory: lists().any(|list| list.memory.value().is_some()),
        }
    }
}

/// Whether the pod is of the Guaranteed class: every container's requests equal its limits; see
/// <https://kubernetes.io/docs/concepts/workloads/pods/pod-qos/>.
fn is_guaranteed(spec: &Spec<'_>) -> bool {
    spec.all_containers().all(|(_, _, container)| {
        container
            .resources
            .value()
            .is_some_and(requests_equal_limits)
    })
}

fn requests_equal_limits(resources: &Resources<'_>) -> bool {
    let Some(limits) = resources.limits.value() else {
        return false;
    };
    let requests = resources.requests.value();
    let amount = |quantity: &Quantity<'_>| quantity.0.as_str().parse::<Amount>().ok();
    let equal = |limit: &Field<Quantity<'_>>, request: Option<&Quantity<'_>>| {
        let limit = limit.value().and_then(amount);
        limit.is_some() && request.is_none_or(|request| amount(request) == limit)
    };
    equal(&limits.cpu, requests.and_then(|list| list.cpu.value()))
        && equal(
            &limits.memory,
            requests.and_then(|list| list.memory.value()),
        )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn amount(text: &str) -> Amount {
        text.parse().expect("a quantity")
    }

    #[test]
    fn what_the_author_leaves_open_is_completed_so_that_it_fits() {
        let usual = || Usual::Between("64Mi", Some("256Mi"));
        let some = |text: &str| Some(text.to_owned());
        assert_eq!(bounds(None, None, usual()), (some("64Mi"), some("256Mi")));
        let big = amount("1Gi");
        assert_eq!(
            bounds(Some(&big), None, usual()),
            (some("1Gi"), some("1Gi"))
        );
        let small = amount("32Mi");
        assert_eq!(
            bounds(None, Some(&small), usual()),
            (some("32Mi"), some("32Mi"))
        );
        assert_eq!(bounds(None, None, Usual::Nothing), (None, None));
        assert_eq!(
            bounds(None, Some(&small), Usual::Exactly("128Mi")),
            (some("32Mi"), some("32Mi"))
        );
    }
}
