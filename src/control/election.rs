//! Who leads. Decides from what the Lease says and from when this process saw it change, on its own
//! monotonic clock alone: the clocks of two machines are never compared. The I/O is in `lease`.
//!
//! The rules are those of client-go's leader election, so that any mixture of versions agrees:
//! a Lease that did not change for as long as it says may be taken, and its holder stops acting well
//! before that.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::LeaseSpec;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use tokio::time::Instant;

/// How long others wait for a silent leader before one of them takes over.
const LEASE: Duration = Duration::from_secs(15);
/// How long a leader acts after the last renewal that is known to have succeeded. What it began just
/// before has the rest of [`LEASE`] to come to an end.
const ACT: Duration = Duration::from_secs(10);
/// How often the Lease is looked at.
pub(crate) const RETRY: Duration = Duration::from_secs(2);

/// One replica standing for election.
#[derive(Debug)]
pub(crate) struct Candidate {
    identity: String,
    seen: Option<Sighting>,
    /// Until when it may act.
    leads_until: Option<Instant>,
}

/// A Lease as it was first seen to be.
#[derive(Debug)]
struct Sighting {
    holder: Option<String>,
    renewed: Option<MicroTime>,
    patience: Duration,
    at: Instant,
}

/// What a candidate has to do about the Lease it just read.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Step {
    /// There is none: create it with this.
    Create(LeaseSpec),
    /// Write this, unless it changed meanwhile.
    Write(LeaseSpec),
    /// Another one holds it.
    Wait,
}

impl Candidate {
    /// `identity` must be another one in each process.
    pub(crate) fn new(identity: String) -> Candidate {
        Candidate {
            identity,
            seen: None,
            leads_until: None,
        }
    }

    /// What to do about the Lease, `None` where there is none. `wall` is only written for people.
    pub(crate) fn step(
        &mut self,
        lease: Option<&LeaseSpec>,
        now: Instant,
        wall: Timestamp,
    ) -> Step {
        let Some(lease) = lease else {
            self.seen = None;
            return Step::Create(self.claim(&LeaseSpec::default(), wall));
        };
        self.look_at(lease, now);
        let free = holder(lease).is_none_or(|holder| holder == self.identity) || self.is_stale(now);
        if free {
            Step::Write(self.claim(lease, wall))
        } else {
            Step::Wait
        }
    }

    /// The Lease was written as [`step`](Candidate::step) said; `asked` is when it was asked for.
    pub(crate) fn won(&mut self, asked: Instant) {
        self.leads_until = Some(asked + ACT);
    }

    /// Another one is known to hold the Lease.
    pub(crate) fn lost(&mut self) {
        self.leads_until = None;
    }

    /// Until when it may act, if it may now.
    pub(crate) fn leads_until(&self, now: Instant) -> Option<Instant> {
        self.leads_until.filter(|until| now < *until)
    }

    /// The Lease given back, if it is ours: the next candidate need not wait.
    pub(crate) fn release(&self, lease: &LeaseSpec, wall: Timestamp) -> Option<LeaseSpec> {
        (holder(lease) == Some(&self.identity)).then(|| LeaseSpec {
            // Not absent: client-go takes that for a broken record.
            holder_identity: Some(String::new()),
            lease_duration_seconds: Some(1),
            renew_time: Some(MicroTime(wall)),
            ..lease.clone()
        })
    }

    /// Remembers when the Lease was first seen as it is.
    fn look_at(&mut self, lease: &LeaseSpec, now: Instant) {
        let holder = holder(lease).map(str::to_owned);
        let same = self
            .seen
            .as_ref()
            .is_some_and(|seen| seen.holder == holder && seen.renewed == lease.renew_time);
        if !same {
            let seconds = lease
                .lease_duration_seconds
                .and_then(|it| u64::try_from(it).ok());
            self.seen = Some(Sighting {
                holder,
                renewed: lease.renew_time.clone(),
                patience: seconds.map_or(LEASE, Duration::from_secs),
                at: now,
            });
        }
    }

    fn is_stale(&self, now: Instant) -> bool {
        self.seen
            .as_ref()
            .is_some_and(|seen| now >= seen.at + seen.patience)
    }

    fn claim(&self, lease: &LeaseSpec, wall: Timestamp) -> LeaseSpec {
        let ours = holder(lease) == Some(&self.identity);
        LeaseSpec {
            holder_identity: Some(self.identity.clone()),
            lease_duration_seconds: i32::try_from(LEASE.as_secs()).ok(),
            acquire_time: if ours {
                lease.acquire_time.clone()
            } else {
                Some(MicroTime(wall))
            },
            renew_time: Some(MicroTime(wall)),
            lease_transitions: if ours {
                lease.lease_transitions
            } else {
                Some(lease.lease_transitions.unwrap_or(-1).saturating_add(1))
            },
            ..lease.clone()
        }
    }
}

/// Who holds the Lease; an empty name is nobody.
pub(crate) fn holder(lease: &LeaseSpec) -> Option<&str> {
    lease
        .holder_identity
        .as_deref()
        .filter(|name| !name.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn wall(second: i64) -> Timestamp {
        Timestamp::from_second(1_780_000_000 + second).expect("in range")
    }

    /// The Lease after the step, where it was written.
    fn written(step: Step) -> LeaseSpec {
        match step {
            Step::Create(lease) | Step::Write(lease) => lease,
            Step::Wait => panic!("nothing was written"),
        }
    }

    fn taken_by(name: &str, at: Instant) -> LeaseSpec {
        written(Candidate::new(name.to_owned()).step(None, at, wall(0)))
    }

    #[test]
    fn the_first_creates_the_lease_and_leads_for_less_than_others_wait() {
        let now = Instant::now();
        let mut a = Candidate::new("a".to_owned());
        let Step::Create(lease) = a.step(None, now, wall(0)) else {
            panic!("not created")
        };
        assert_eq!(holder(&lease), Some("a"));
        assert_eq!(lease.lease_transitions, Some(0));
        assert_eq!(a.leads_until(now), None, "asking is not yet leading");
        a.won(now);
        let until = a.leads_until(now).expect("leads");
        assert!(
            until
                < now
                    + Duration::from_secs(
                        lease
                            .lease_duration_seconds
                            .expect("set")
                            .unsigned_abs()
                            .into()
                    )
        );
        assert_eq!(
            a.leads_until(until),
            None,
            "without renewal it ends by itself"
        );
    }

    #[test]
    fn a_lease_that_is_renewed_is_never_taken() {
        let start = Instant::now();
        let mut a = Candidate::new("a".to_owned());
        let mut b = Candidate::new("b".to_owned());
        let mut lease = written(a.step(None, start, wall(0)));
        for second in 1..200_u32 {
            let now = start + second * SECOND;
            if second % 10 == 0 {
                lease = written(a.step(Some(&lease), now, wall(second.into())));
                assert_eq!(
                    lease.lease_transitions,
                    Some(0),
                    "renewing is no transition"
                );
                assert_eq!(lease.acquire_time, Some(MicroTime(wall(0))));
            }
            assert_eq!(b.step(Some(&lease), now, wall(second.into())), Step::Wait);
        }
    }

    #[test]
    fn a_silent_leaders_lease_is_taken_after_its_duration_and_not_before() {
        let start = Instant::now();
        let lease = taken_by("a", start);
        let mut b = Candidate::new("b".to_owned());
        let first_seen = start + 60 * SECOND;
        assert_eq!(
            b.step(Some(&lease), first_seen, wall(60)),
            Step::Wait,
            "it counts from when it saw it"
        );
        assert_eq!(
            b.step(Some(&lease), first_seen + 14 * SECOND, wall(74)),
            Step::Wait
        );
        let taken = written(b.step(Some(&lease), first_seen + 15 * SECOND, wall(75)));
        assert_eq!(holder(&taken), Some("b"));
        assert_eq!(taken.lease_transitions, Some(1));
        assert_eq!(taken.acquire_time, Some(MicroTime(wall(75))));
    }

    #[test]
    fn clocks_that_differ_by_years_change_nothing() {
        let start = Instant::now();
        let lease = taken_by("a", start);
        for clock in [-300_000_000, 300_000_000] {
            let mut b = Candidate::new("b".to_owned());
            assert_eq!(b.step(Some(&lease), start, wall(clock)), Step::Wait);
            assert_eq!(
                b.step(Some(&lease), start + 14 * SECOND, wall(clock)),
                Step::Wait
            );
        }
    }

    #[test]
    fn a_released_lease_is_taken_at_once_and_only_its_holder_can_release_it() {
        let now = Instant::now();
        let lease = taken_by("a", now);
        let a = Candidate::new("a".to_owned());
        let mut b = Candidate::new("b".to_owned());
        assert_eq!(b.release(&lease, wall(1)), None);
        let released = a.release(&lease, wall(1)).expect("its own");
        assert_eq!(
            holder(&written(b.step(Some(&released), now, wall(1)))),
            Some("b")
        );
    }

    #[test]
    fn who_is_told_of_another_holder_stops_at_once() {
        let now = Instant::now();
        let mut a = Candidate::new("a".to_owned());
        a.won(now);
        a.lost();
        assert_eq!(a.leads_until(now), None);
    }

    #[test]
    fn a_lease_without_a_holder_or_duration_is_no_obstacle() {
        let now = Instant::now();
        let mut a = Candidate::new("a".to_owned());
        assert!(matches!(
            a.step(Some(&LeaseSpec::default()), now, wall(0)),
            Step::Write(_)
        ));

        let broken = LeaseSpec {
            holder_identity: Some("b".to_owned()),
            ..LeaseSpec::default()
        };
        assert_eq!(a.step(Some(&broken), now, wall(0)), Step::Wait);
        assert!(matches!(
            a.step(Some(&broken), now + LEASE, wall(0)),
            Step::Write(_)
        ));
    }
}
