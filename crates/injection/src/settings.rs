//! What a pod's author asks of the proxy, by annotations under our prefix.
//!
//! Strict on purpose: a key or value that is not understood refuses the pod, and one answer names
//! all that is wrong, because an annotation that is silently ignored is a setting that somebody
//! believes in.

use std::str::FromStr;

use sparkmesh_policy::baseline::{Baseline, Exclusions};
use sparkmesh_policy::cidr::Cidr;
use sparkmesh_policy::names::{self, annotation};
use sparkmesh_policy::port::Port;

use crate::config::LogLevel;
use crate::pod::{Field, PodView};
use crate::quantity::Amount;
use crate::role::Role;
use crate::violation::{Refusal, Violation};

/// Every annotation of one pod, parsed; nothing where the author said nothing.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// CPU request of the proxy.
    pub cpu_request: Option<Amount>,
    /// CPU limit of the proxy.
    pub cpu_limit: Option<Amount>,
    /// Memory request of the proxy.
    pub memory_request: Option<Amount>,
    /// Memory limit of the proxy.
    pub memory_limit: Option<Amount>,
    /// Envoy's log level.
    pub log_level: Option<LogLevel>,
    /// Inbound ports past the proxy, ascending.
    pub exclude_inbound_ports: Vec<Port>,
    /// Outbound ports past the proxy, ascending.
    pub exclude_outbound_ports: Vec<Port>,
    /// Outbound networks past the proxy, ascending.
    pub exclude_outbound_cidrs: Vec<Cidr>,
    /// Seconds that the proxy stays.
    pub drain_seconds: Option<u32>,
    /// The Spark role.
    pub role: Option<Role>,
}

/// Memory amounts below this are a slip of the suffix (`128m` is an eighth of a byte).
const LEAST_MEMORY_BYTES: u64 = 1 << 20;
/// The longest drain: an hour.
const LONGEST_DRAIN_SECONDS: u32 = 3600;
/// What Kubernetes takes where a pod names no grace period.
const DEFAULT_GRACE_SECONDS: i64 = 30;

impl Settings {
    /// Parses all annotations and labels under our prefix; every mistake is added to `violations`.
    pub fn parse(
        pod: &PodView<'_>,
        baseline: &Baseline,
        violations: &mut Vec<Violation>,
    ) -> Settings {
        let mut settings = Settings::default();
        if let Some(annotations) = pod.meta().annotations.value() {
            for (key, text) in annotations.iter().filter(|(key, _)| is_ours(key)) {
                let mut reader = Reader {
                    key,
                    text,
                    violations,
                };
                settings.read(&mut reader, &baseline.exclusions);
            }
        }
        check_labels(pod, violations);
        settings.check_together(pod, violations);
        settings
    }

    fn read(&mut self, reader: &mut Reader<'_, '_>, permitted: &Exclusions) {
        match reader.key {
            annotation::PROXY_CPU_REQUEST => self.cpu_request = reader.amount(),
            annotation::PROXY_CPU_LIMIT => self.cpu_limit = reader.amount(),
            annotation::PROXY_MEMORY_REQUEST => self.memory_request = reader.memory(),
            annotation::PROXY_MEMORY_LIMIT => self.memory_limit = reader.memory(),
            annotation::PROXY_LOG_LEVEL => self.log_level = reader.log_level(),
            annotation::EXCLUDE_INBOUND_PORTS => {
                self.exclude_inbound_ports = reader.ports(&permitted.inbound_ports);
            }
            annotation::EXCLUDE_OUTBOUND_PORTS => {
                self.exclude_outbound_ports = reader.ports(&permitted.outbound_ports);
            }
            annotation::EXCLUDE_OUTBOUND_CIDRS => {
                self.exclude_outbound_cidrs = reader.cidrs(&permitted.outbound_cidrs);
            }
            annotation::DRAIN_SECONDS => self.drain_seconds = reader.drain(),
            annotation::ROLE => self.role = reader.role(),
            // Ours to write: overwritten if the pod is injected, and never believed.
            names::INJECTED_ANNOTATION | names::RESTORE_ANNOTATION => {}
            names::INJECTION_LABEL => reader.refuse(
                Refusal::UnknownKey,
                "this key is a label, not an annotation".to_owned(),
                "move it to metadata.labels".to_owned(),
            ),
            _ => reader.refuse(
                Refusal::UnknownKey,
                "there is no such annotation".to_owned(),
                format!("the annotations are {}", known_annotations()),
            ),
        }
    }

    fn check_together(&self, pod: &PodView<'_>, violations: &mut Vec<Violation>) {
        let pairs = [
            (
                &self.cpu_request,
                &self.cpu_limit,
                annotation::PROXY_CPU_LIMIT,
            ),
            (
                &self.memory_request,
                &self.memory_limit,
                annotation::PROXY_MEMORY_LIMIT,
            ),
        ];
        for (request, limit, key) in pairs {
            if let (Some(request), Some(limit)) = (request, limit)
                && limit < request
            {
                violations.push(Violation {
                    reason: Refusal::InvalidValue,
                    pointer: annotation_pointer(key),
                    message: format!("the limit {limit} is less than the request {request}"),
                    remedy: "raise the limit or lower the request".to_owned(),
                });
            }
        }
        let grace = grace_seconds(pod);
        if let Some(drain) = self.drain_seconds
            && i64::from(drain) > grace
        {
            violations.push(Violation {
                reason: Refusal::InvalidValue,
                pointer: annotation_pointer(annotation::DRAIN_SECONDS),
                message: format!(
                    "{drain} s of draining do not fit into the pod's grace period of {grace} s"
                ),
                remedy: format!(
                    "raise spec.terminationGracePeriodSeconds to {drain} or drain for less"
                ),
            });
        }
    }
}

/// Seconds the pod has for its end.
#[must_use]
pub fn grace_seconds(pod: &PodView<'_>) -> i64 {
    pod.spec()
        .and_then(|spec| spec.termination_grace_period_seconds.value().copied())
        .unwrap_or(DEFAULT_GRACE_SECONDS)
}

fn is_ours(key: &str) -> bool {
    key.starts_with(names::PREFIX)
}

fn known_annotations() -> String {
    let keys = annotation::ALL.map(|key| key.trim_start_matches(names::PREFIX));
    format!("{}{{{}}}", names::PREFIX, keys.join(","))
}

fn annotation_pointer(key: &str) -> String {
    pointer("annotations", key)
}

fn pointer(map: &str, key: &str) -> String {
    format!(
        "/metadata/{map}/{}",
        key.replace('~', "~0").replace('/', "~1")
    )
}

fn check_labels(pod: &PodView<'_>, violations: &mut Vec<Violation>) {
    let Field::Value(labels) = &pod.meta().labels else {
        return;
    };
    for (key, value) in labels.iter().filter(|(key, _)| is_ours(key)) {
        let (message, remedy) = if key != names::INJECTION_LABEL {
            (
                "there is no such label".to_owned(),
                format!("the only label of pods is {}", names::INJECTION_LABEL),
            )
        } else if [names::INJECTION_ENABLED, names::INJECTION_DISABLED].contains(&value) {
            continue;
        } else {
            (
                format!("`{}` is not a value of this label", shown(value)),
                "it takes `enabled` or `disabled`".to_owned(),
            )
        };
        violations.push(Violation {
            reason: if key == names::INJECTION_LABEL {
                Refusal::InvalidValue
            } else {
                Refusal::UnknownKey
            },
            pointer: pointer("labels", key),
            message,
            remedy,
        });
    }
}

/// A value as an error message shows it: no control characters, not longer than a line.
fn shown(value: &str) -> String {
    const LONGEST: usize = 80;
    let mut text: String = value.escape_debug().take(LONGEST).collect();
    if value.escape_debug().nth(LONGEST).is_some() {
        text.push('…');
    }
    text
}

/// Reads one annotation and takes note of what is wrong with it.
struct Reader<'a, 'v> {
    key: &'a str,
    text: &'a str,
    violations: &'v mut Vec<Violation>,
}

impl Reader<'_, '_> {
    fn refuse(&mut self, reason: Refusal, message: String, remedy: String) {
        self.violations.push(Violation {
            reason,
            pointer: annotation_pointer(self.key),
            message,
            remedy,
        });
    }

    fn invalid(&mut self, accepted: &str) {
        let message = format!("`{}` is not accepted", shown(self.text));
        self.refuse(Refusal::InvalidValue, message, format!("write {accepted}"));
    }

    fn amount(&mut self) -> Option<Amount> {
        let amount = self.text.parse().ok();
        if amount.is_none() {
            self.invalid("a quantity above zero like 100m or 2");
        }
        amount
    }

    fn memory(&mut self) -> Option<Amount> {
        match self.text.parse::<Amount>() {
            Ok(amount) if !amount.is_below(LEAST_MEMORY_BYTES) => Some(amount),
            _ => {
                self.invalid("a quantity of at least 1Mi, like 64Mi or 1Gi");
                None
            }
        }
    }

    fn log_level(&mut self) -> Option<LogLevel> {
        let level = LogLevel::from_word(self.text);
        if level.is_none() {
            let words = LogLevel::ALL.map(LogLevel::word);
            self.invalid(&format!("one of {}", words.join(", ")));
        }
        level
    }

    fn drain(&mut self) -> Option<u32> {
        let plain = self.text.bytes().all(|b| b.is_ascii_digit());
        let seconds = plain.then(|| self.text.parse().ok()).flatten();
        let seconds = seconds.filter(|seconds| *seconds <= LONGEST_DRAIN_SECONDS);
        if seconds.is_none() {
            self.invalid("whole seconds from 0 to 3600");
        }
        seconds
    }

    fn role(&mut self) -> Option<Role> {
        let role = Role::from_word(self.text);
        if role.is_none() {
            let words = Role::ALL.map(Role::word);
            self.invalid(&format!("one of {}", words.join(", ")));
        }
        role
    }

    fn ports(&mut self, permitted: &[Port]) -> Vec<Port> {
        let ports: Vec<Port> = self.list("ports separated by commas like 22,5432, each once");
        for port in &ports {
            if port.is_reserved() {
                self.refuse(
                    Refusal::InvalidValue,
                    format!("port {port} is the proxy's own"),
                    "leave it out".to_owned(),
                );
            } else if !permitted.contains(port) {
                self.denied(&port.to_string(), &listed(permitted));
            }
        }
        ports
    }

    fn cidrs(&mut self, permitted: &[Cidr]) -> Vec<Cidr> {
        let cidrs: Vec<Cidr> =
            self.list("networks separated by commas like 10.0.0.0/8,2001:db8::/32, each once");
        for cidr in &cidrs {
            if !permitted.iter().any(|wide| wide.covers(cidr)) {
                self.denied(&cidr.to_string(), &listed(permitted));
            }
        }
        cidrs
    }

    fn denied(&mut self, item: &str, permitted: &str) {
        self.refuse(
            Refusal::ExclusionDenied,
            format!("the mesh's baseline does not permit to exclude {item}"),
            format!(
                "leave it out, or ask the platform team to add it to MeshBaseline \
                 spec.injection.exclusions (permitted now: {permitted})"
            ),
        );
    }

    /// Items separated by commas, sorted; nothing at all if one of them is wrong.
    fn list<T: FromStr + Ord>(&mut self, accepted: &str) -> Vec<T> {
        let mut items: Vec<T> = Vec::new();
        for text in self.text.split(',') {
            match text.parse() {
                Ok(item) if !items.contains(&item) => items.push(item),
                _ => {
                    self.invalid(accepted);
                    return Vec::new();
                }
            }
        }
        items.sort();
        items
    }
}

fn listed<T: ToString>(items: &[T]) -> String {
    if items.is_empty() {
        return "none".to_owned();
    }
    let texts: Vec<String> = items.iter().map(T::to_string).collect();
    texts.join(", ")
}
