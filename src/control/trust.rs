//! Which roots are to be trusted: the authority's own and, while servers may still show certificates
//! of a former one, that too. Decides from what is stored; does not know who will be told.

use jiff::{SignedDuration, Timestamp};
use rustls_pki_types::CertificateDer;

use super::pair::{TlsPair, pem};
use super::root::{CLOCK_SKEW, Root, is_authority};

/// How long a former root stays trusted after the serving certificate is of the new one. The kubelet
/// takes a minute or two to bring a changed Secret into a pod; the rest is for slow nodes.
const OVERLAP: SignedDuration = SignedDuration::from_hours(1);

/// The roots to trust, the authority's own first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Trust {
    anchors: Vec<CertificateDer<'static>>,
    /// When a former root is to be left out, where that is settled.
    pub(crate) until: Option<Timestamp>,
}

impl Trust {
    /// The bundle as PEM text.
    pub(crate) fn pem(&self) -> Vec<u8> {
        pem(&self.anchors)
    }
}

/// The roots to trust now. The record of former roots is `ca.crt` beside the serving certificate:
/// who could forge that could as well replace the authority itself.
pub(crate) fn trusted(root: &Root, serving: &TlsPair, now: Timestamp) -> Trust {
    let mut anchors = root.anchors().to_vec();
    let former = former_roots(root, serving, now);
    let until = overlap_end(root, serving, now);
    if former.is_empty() || until.is_some_and(|until| until <= now) {
        return Trust {
            anchors,
            until: None,
        };
    }
    anchors.extend(former);
    Trust { anchors, until }
}

fn former_roots(root: &Root, serving: &TlsPair, now: Timestamp) -> Vec<CertificateDer<'static>> {
    let mut former = serving.roots().unwrap_or_default();
    former.retain(|it| !root.anchors().contains(it) && is_authority(it, now));
    former.dedup();
    former
}

/// Nothing as long as the serving certificate is not of the new root.
fn overlap_end(root: &Root, serving: &TlsPair, now: Timestamp) -> Option<Timestamp> {
    let pair = serving.open().ok()?;
    root.vouches_for(&pair.chain, now).ok()?;
    Some(pair.facts.validity.not_before + CLOCK_SKEW + OVERLAP)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::root::tests::{made, noon};
    use crate::control::serving::issue;

    fn names() -> Vec<String> {
        vec!["sparkmesh-webhook.sparkmesh.svc".to_owned()]
    }

    fn bundle(roots: &[&TlsPair]) -> Vec<u8> {
        roots.iter().flat_map(|it| it.certificate.clone()).collect()
    }

    #[test]
    fn a_replaced_root_stays_trusted_until_the_overlap_after_its_last_certificate_is_over() {
        let (old, new) = (made(), made());
        let old_root = Root::open(&old, noon()).expect("usable");
        let new_root = Root::open(&new, noon()).expect("usable");

        let alone = trusted(&old_root, &TlsPair::default(), noon());
        assert_eq!(
            alone,
            Trust {
                anchors: old_root.anchors().to_vec(),
                until: None
            }
        );
        let of_old = issue(&old_root, &alone, &names(), noon()).expect("issued");
        assert_eq!(trusted(&old_root, &of_old, noon()), alone);

        // The user replaced the authority: both, for as long as the old certificate serves.
        let week = noon() + SignedDuration::from_hours(7 * 24);
        let both = trusted(&new_root, &of_old, week);
        assert_eq!(both.pem(), bundle(&[&new, &old]));
        assert_eq!(both.until, None);

        // The serving certificate is of the new one: both, for the overlap.
        let of_new = issue(&new_root, &both, &names(), week).expect("issued");
        let end = week + OVERLAP;
        let before = end - SignedDuration::from_secs(1);
        for now in [week, before] {
            assert_eq!(
                trusted(&new_root, &of_new, now),
                Trust {
                    until: Some(end),
                    ..both.clone()
                }
            );
        }
        assert_eq!(trusted(&new_root, &of_new, end).pem(), bundle(&[&new]));
    }

    #[test]
    fn what_is_no_valid_authority_is_not_taken_for_a_former_root() {
        let (old, new) = (made(), made());
        let new_root = Root::open(&new, noon()).expect("usable");
        let leaf = issue(
            &new_root,
            &trusted(&new_root, &TlsPair::default(), noon()),
            &names(),
            noon(),
        )
        .expect("issued");
        let years = SignedDuration::from_hours(9 * 365 * 24);
        let expired = Root::make(noon() - years - years).expect("made");
        for ca in [
            bundle(&[&leaf]),
            bundle(&[&expired]),
            b"garbage".to_vec(),
            vec![],
        ] {
            let serving = TlsPair { ca, ..old.clone() };
            assert_eq!(trusted(&new_root, &serving, noon()).pem(), bundle(&[&new]));
        }
    }
}
