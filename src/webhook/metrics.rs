//! What the webhook counts, under the names that dashboards and alerts use.

use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Registry, Unit};

use super::review::{Outcome, Record};

/// Upper bounds in seconds, from 50 us to 1 s.
const LATENCY_BUCKETS: [f64; 14] = [
    0.000_05, 0.000_1, 0.000_2, 0.000_5, 0.001, 0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5,
    1.0,
];

/// Every count of the webhook; clones share them.
#[derive(Clone)]
pub struct Metrics {
    reviews: Family<OutcomeLabels, Counter>,
    reasons: Family<ReasonLabels, Counter>,
    latency: Histogram,
    refusals: Family<Labels, Counter>,
    namespace_waits: Counter,
    handshake_failures: Family<Labels, Counter>,
    accept_failures: Counter,
    reloads: Family<ReloadLabels, Counter>,
    events: Family<OutcomeLabels, Counter>,
    /// Connections closed at once because too many were open.
    pub(super) connections_refused: Counter,
    /// Requests being read or answered.
    pub(super) in_flight: Gauge,
    /// Connections that are open, also before their handshake.
    pub(super) connections: Gauge,
    /// When the certificate in use expires, in seconds since 1970.
    pub(super) certificate_expiry: Gauge,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct OutcomeLabels {
    outcome: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct ReasonLabels {
    outcome: &'static str,
    reason: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Labels {
    reason: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct ReloadLabels {
    subject: &'static str,
    outcome: &'static str,
}

impl Default for Metrics {
    fn default() -> Metrics {
        Metrics {
            reviews: Family::default(),
            reasons: Family::default(),
            latency: Histogram::new(LATENCY_BUCKETS),
            refusals: Family::default(),
            namespace_waits: Counter::default(),
            handshake_failures: Family::default(),
            connections_refused: Counter::default(),
            accept_failures: Counter::default(),
            reloads: Family::default(),
            events: Family::default(),
            in_flight: Gauge::default(),
            connections: Gauge::default(),
            certificate_expiry: Gauge::default(),
        }
    }
}

impl Metrics {
    /// Registers all of them; the registry carries the program's prefix.
    pub fn register(&self, registry: &mut Registry) {
        let build = Info::new([("version", env!("CARGO_PKG_VERSION"))]);
        registry.register("build", "The running program", build);
        let webhook = registry.sub_registry_with_prefix("webhook");
        webhook.register(
            "reviews",
            "Reviews answered, by outcome",
            self.reviews.clone(),
        );
        webhook.register(
            "review_reasons",
            "Reasons given in reviews; a review may give several or none",
            self.reasons.clone(),
        );
        webhook.register_with_unit(
            "review_duration",
            "From a request's head to its answer",
            Unit::Seconds,
            self.latency.clone(),
        );
        webhook.register(
            "refusals",
            "Requests answered without a review, by reason",
            self.refusals.clone(),
        );
        webhook.register(
            "namespace_waits",
            "Reviews that waited for the watch to tell of their namespace",
            self.namespace_waits.clone(),
        );
        webhook.register(
            "tls_handshake_failures",
            "Connections that ended before TLS was agreed, by reason",
            self.handshake_failures.clone(),
        );
        webhook.register(
            "connections_refused",
            "Connections closed at once because too many were open",
            self.connections_refused.clone(),
        );
        webhook.register(
            "accept_failures",
            "Connections that the operating system did not hand over",
            self.accept_failures.clone(),
        );
        webhook.register(
            "reloads",
            "Changes of certificate and configuration on disk, by what came of them",
            self.reloads.clone(),
        );
        webhook.register(
            "events",
            "Events about rejections, by what came of them",
            self.events.clone(),
        );
        webhook.register(
            "requests_in_flight",
            "Requests being read or answered",
            self.in_flight.clone(),
        );
        webhook.register("connections", "Open connections", self.connections.clone());
        webhook.register_with_unit(
            "certificate_expiry_timestamp",
            "When the serving certificate in use expires, since 1970",
            Unit::Seconds,
            self.certificate_expiry.clone(),
        );
    }

    pub(super) fn count_review(&self, record: &Record, took: Duration) {
        let outcome = outcome(record.outcome);
        self.reviews.get_or_create(&OutcomeLabels { outcome }).inc();
        for (place, &reason) in record.reasons.iter().enumerate() {
            if !record.reasons[..place].contains(&reason) {
                let labels = ReasonLabels { outcome, reason };
                self.reasons.get_or_create(&labels).inc();
            }
        }
        self.latency.observe(took.as_secs_f64());
    }

    pub(super) fn count_refusal(&self, reason: &'static str) {
        self.refusals.get_or_create(&Labels { reason }).inc();
    }

    pub(super) fn count_namespace_wait(&self) {
        self.namespace_waits.inc();
    }

    pub(super) fn count_handshake_failure(&self, reason: &'static str) {
        self.handshake_failures
            .get_or_create(&Labels { reason })
            .inc();
    }

    pub(super) fn count_accept_failure(&self) {
        self.accept_failures.inc();
    }

    pub(super) fn count_reload(&self, subject: &'static str, outcome: &'static str) {
        self.reloads
            .get_or_create(&ReloadLabels { subject, outcome })
            .inc();
    }

    pub(super) fn count_event(&self, outcome: &'static str) {
        self.events.get_or_create(&OutcomeLabels { outcome }).inc();
    }
}

/// An outcome as metrics and logs name it.
pub(super) fn outcome(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Inject => "inject",
        Outcome::Skip => "skip",
        Outcome::Reject => "reject",
        Outcome::Invalid => "invalid",
    }
}
