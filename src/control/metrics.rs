//! What `control` counts. Decides nothing; the names here are what dashboards and alerts are built on.

use std::sync::atomic::AtomicU64;

use jiff::Timestamp;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use super::serving::IssueReason;

/// What is kept as it should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kept {
    Root,
    Trust,
    CaBundle,
    Serving,
}

impl Kept {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Kept::Root => "root",
            Kept::Trust => "trust",
            Kept::CaBundle => "ca-bundle",
            Kept::Serving => "serving",
        }
    }
}

/// How one look at it ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    Unchanged,
    /// It was not there.
    Created,
    /// It was not as it should be.
    Corrected,
    /// Another serving certificate is in place.
    Issued(IssueReason),
    /// Something else has to be there first.
    Waiting,
    Failed,
}

impl Outcome {
    fn as_str(self) -> &'static str {
        match self {
            Outcome::Unchanged => "unchanged",
            Outcome::Created => "created",
            Outcome::Corrected => "corrected",
            Outcome::Issued(_) => "issued",
            Outcome::Waiting => "waiting",
            Outcome::Failed => "failed",
        }
    }

    fn reason(self) -> &'static str {
        match self {
            Outcome::Issued(reason) => reason.as_str(),
            _ => "",
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Reconcile {
    object: &'static str,
    outcome: &'static str,
    reason: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Certificate {
    certificate: &'static str,
}

/// Shared by all that counts; a clone counts to the same numbers.
#[derive(Clone, Debug, Default)]
pub(crate) struct Metrics {
    leader: Gauge,
    reconciles: Family<Reconcile, Counter>,
    expiry: Family<Certificate, Gauge<f64, AtomicU64>>,
}

impl Metrics {
    /// The registry's prefix is to be `sparkmesh_control`.
    pub(crate) fn register(&self, registry: &mut Registry) {
        registry.register(
            "leader",
            "Whether this replica leads (1) or not (0)",
            self.leader.clone(),
        );
        registry.register(
            "reconciles",
            "Looks at what is kept, by object, outcome and, for certificates, why they were issued",
            self.reconciles.clone(),
        );
        registry.register(
            "certificate_expiry_timestamp_seconds",
            "When the certificate expires, in seconds since 1970; reported by the leader",
            self.expiry.clone(),
        );
    }

    pub(crate) fn leads(&self, leads: bool) {
        self.leader.set(i64::from(leads));
        if !leads {
            // The next leader renews them unseen by this one.
            self.expiry.clear();
        }
    }

    pub(crate) fn count(&self, object: Kept, outcome: Outcome) {
        let labels = Reconcile {
            object: object.as_str(),
            outcome: outcome.as_str(),
            reason: outcome.reason(),
        };
        self.reconciles.get_or_create(&labels).inc();
    }

    pub(crate) fn expires(&self, object: Kept, at: Timestamp) {
        // Exact for thousands of years: seconds are far below 2^53.
        let seconds = at.as_duration().as_secs_f64();
        self.expiry
            .get_or_create(&Certificate {
                certificate: object.as_str(),
            })
            .set(seconds);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use prometheus_client::encoding::text::encode;

    fn text(metrics: &Metrics) -> String {
        let mut registry = Registry::with_prefix("sparkmesh_control");
        metrics.register(&mut registry);
        let mut text = String::new();
        encode(&mut text, &registry).expect("text can be written to a string");
        text
    }

    #[test]
    fn what_is_counted_reads_as_documented() {
        let metrics = Metrics::default();
        metrics.leads(true);
        metrics.count(Kept::Serving, Outcome::Issued(IssueReason::Due));
        metrics.count(Kept::CaBundle, Outcome::Corrected);
        metrics.expires(
            Kept::Root,
            Timestamp::from_second(1_800_000_000).expect("in range"),
        );
        let text = text(&metrics);
        for line in [
            "sparkmesh_control_leader 1\n",
            "sparkmesh_control_reconciles_total{object=\"serving\",outcome=\"issued\",reason=\"due\"} 1\n",
            "sparkmesh_control_reconciles_total{object=\"ca-bundle\",outcome=\"corrected\",reason=\"\"} 1\n",
            "sparkmesh_control_certificate_expiry_timestamp_seconds{certificate=\"root\"} 1800000000.0\n",
        ] {
            assert!(text.contains(line), "{line:?} should be in:\n{text}");
        }
    }

    #[test]
    fn a_follower_reports_no_expiry() {
        let metrics = Metrics::default();
        metrics.expires(Kept::Root, Timestamp::UNIX_EPOCH);
        metrics.leads(false);
        let text = text(&metrics);
        assert!(!text.contains("timestamp_seconds{"), "{text}");
        assert!(text.contains("sparkmesh_control_leader 0\n"), "{text}");
    }
}
