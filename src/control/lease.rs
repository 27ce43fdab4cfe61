//! Holds the Lease for this replica and tells the others here who leads. When that is, `election`
//! decides; this module only reads, writes and waits.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use kube::api::{ObjectMeta, PostParams};
use kube::{Api, Client};
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until, timeout_at};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::election::{Candidate, RETRY, Step, holder};
use super::names::{FIELD_MANAGER, LEASE};
use super::store::in_words;

/// For one look at the Lease, reading and writing.
const PATIENCE: Duration = Duration::from_secs(5);
/// Silence of the API server after which nobody is known to lead.
const SILENCE: Duration = Duration::from_secs(10);

/// What this replica is, as far as it knows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// The API server was not reached yet, or not lately.
    Unknown,
    /// The other is named, and acts.
    Follows(String),
    /// This one acts.
    Leads,
}

/// One replica's part in the election.
pub(crate) struct Elector {
    leases: Api<Lease>,
    candidate: Candidate,
    role: watch::Sender<Role>,
    reached: Option<Instant>,
}

impl Elector {
    /// `identity` must be another one in each process.
    pub(crate) fn new(
        client: Client,
        namespace: &str,
        identity: String,
    ) -> (Elector, watch::Receiver<Role>) {
        let (role, receiver) = watch::channel(Role::Unknown);
        let elector = Elector {
            leases: Api::namespaced(client, namespace),
            candidate: Candidate::new(identity),
            role,
            reached: None,
        };
        (elector, receiver)
    }

    /// Stands for election until `stop`. The role's receivers then see their sender gone.
    pub(crate) async fn run(mut self, stop: CancellationToken) -> Hold {
        while !stop.is_cancelled() {
            let asked = Instant::now();
            match timeout_at(self.must_know_by(asked), self.look(asked)).await {
                Ok(Ok(role)) => {
                    self.reached = Some(Instant::now());
                    self.publish(role);
                }
                // Somebody else wrote at the same time. The next look shows who won.
                Ok(Err(kube::Error::Api(status))) if status.code == 409 => {
                    self.reached = Some(Instant::now());
                }
                Ok(Err(error)) => warn!(
                    error = %in_words(&error),
                    lease = LEASE,
                    "the Lease cannot be read or written"
                ),
                Err(_) => warn!(
                    lease = LEASE,
                    "the API server does not answer about the Lease"
                ),
            }
            self.notice_silence();
            tokio::select! {
                () = sleep_until(self.must_know_by(asked).min(Instant::now() + RETRY)) => self.notice_silence(),
                () = stop.cancelled() => (),
            }
        }
        self.publish(Role::Unknown);
        Hold {
            leases: self.leases,
            candidate: self.candidate,
        }
    }

    /// A leader has to know whether its renewal succeeded while it still may act.
    fn must_know_by(&self, asked: Instant) -> Instant {
        let patience = asked + PATIENCE;
        self.candidate
            .leads_until(asked)
            .map_or(patience, |until| patience.min(until))
    }

    /// Reads the Lease and does what is to be done about it.
    async fn look(&mut self, asked: Instant) -> kube::Result<Role> {
        let lease = self.leases.get_opt(LEASE).await?;
        let spec = lease.as_ref().map(|it| it.spec.clone().unwrap_or_default());
        match self.candidate.step(spec.as_ref(), asked, Timestamp::now()) {
            Step::Wait => {
                self.candidate.lost();
                let leader = spec.as_ref().and_then(holder).unwrap_or_default();
                return Ok(Role::Follows(leader.to_owned()));
            }
            Step::Create(spec) => self.leases.create(&writing(), &new_lease(spec)).await?,
            Step::Write(spec) => replace(&self.leases, lease.unwrap_or_default(), spec).await?,
        };
        self.candidate.won(asked);
        Ok(Role::Leads)
    }

    /// Takes back what is not known to be true any more.
    fn notice_silence(&self) {
        let now = Instant::now();
        let still_known = match *self.role.borrow() {
            Role::Leads => self.candidate.leads_until(now).is_some(),
            Role::Follows(_) => self.reached.is_some_and(|reached| now < reached + SILENCE),
            Role::Unknown => true,
        };
        if !still_known {
            self.publish(Role::Unknown);
        }
    }

    fn publish(&self, role: Role) {
        self.role.send_if_modified(|present| {
            if *present == role {
                return false;
            }
            match &role {
                Role::Leads => info!("leads"),
                Role::Follows(leader) => info!(%leader, "follows"),
                Role::Unknown if *present == Role::Leads => info!("leads no more"),
                Role::Unknown => warn!("does not know who leads"),
            }
            *present = role;
            true
        });
    }
}

/// The Lease after the election, held or not.
pub(crate) struct Hold {
    leases: Api<Lease>,
    candidate: Candidate,
}

impl Hold {
    /// Gives the Lease back if it is ours, so that the next leader need not wait.
    pub(crate) async fn release(self) {
        match timeout_at(Instant::now() + PATIENCE, self.try_release()).await {
            Ok(Ok(true)) => info!("the Lease is released"),
            Ok(Ok(false)) => (),
            Ok(Err(error)) => {
                warn!(
                    error = %in_words(&error),
                    "the Lease was not released; it expires"
                );
            }
            Err(_) => warn!("the Lease was not released, it expires: the API server is silent"),
        }
    }

    async fn try_release(&self) -> kube::Result<bool> {
        let Some(lease) = self.leases.get_opt(LEASE).await? else {
            return Ok(false);
        };
        let released = |spec| self.candidate.release(spec, Timestamp::now());
        let Some(spec) = lease.spec.as_ref().and_then(released) else {
            return Ok(false);
        };
        replace(&self.leases, lease, spec).await?;
        Ok(true)
    }
}

/// Refused by the API server if anybody wrote since `lease` was read.
async fn replace(leases: &Api<Lease>, lease: Lease, spec: LeaseSpec) -> kube::Result<Lease> {
    let lease = Lease {
        spec: Some(spec),
        ..lease
    };
    leases.replace(LEASE, &writing(), &lease).await
}

fn writing() -> PostParams {
    PostParams {
        field_manager: Some(FIELD_MANAGER.to_owned()),
        ..PostParams::default()
    }
}

/// Where the chart's is gone, and creating another is allowed.
fn new_lease(spec: LeaseSpec) -> Lease {
    Lease {
        metadata: ObjectMeta {
            name: Some(LEASE.to_owned()),
            ..ObjectMeta::default()
        },
        spec: Some(spec),
    }
}
