//! The webhook's serving certificate: what it looks like, and when another one is due. Decides from
//! the stored pair, the authority, the names and the time; does not know where any of them is kept.

use jiff::{SignedDuration, Timestamp};
use rcgen::{ExtendedKeyUsagePurpose, KeyPair, KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, SanType};
use rustls::client::verify_server_name;
use rustls::server::ParsedCertificate;
use rustls_pki_types::{CertificateDer, ServerName};

use super::pair::{TlsPair, Validity, pem};
use super::root::{CLOCK_SKEW, Root, parameters};
use super::trust::Trust;

const LIFE: SignedDuration = SignedDuration::from_hours(30 * 24);

/// What is to be done about the serving certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It is good; look again at this time.
    Keep { until: Timestamp },
    /// Another one is needed.
    Issue(IssueReason),
}

/// Why another serving certificate is needed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum IssueReason {
    Missing,
    Unreadable,
    NotValidNow,
    WrongNames,
    /// The only reason for which the present certificate works as long as its root is trusted.
    OtherRoot,
    Due,
}

impl IssueReason {
    /// The reason as metrics and logs name it.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            IssueReason::Missing => "missing",
            IssueReason::Unreadable => "unreadable",
            IssueReason::NotValidNow => "not-valid-now",
            IssueReason::WrongNames => "wrong-names",
            IssueReason::OtherRoot => "other-root",
            IssueReason::Due => "due",
        }
    }
}

/// Judges the stored pair; an empty one is a missing one.
pub(crate) fn judge(stored: &TlsPair, root: &Root, names: &[String], now: Timestamp) -> Verdict {
    if *stored == TlsPair::default() {
        return Verdict::Issue(IssueReason::Missing);
    }
    let Ok(pair) = stored.open() else {
        return Verdict::Issue(IssueReason::Unreadable);
    };
    let validity = pair.facts.validity;
    if !validity.covers(now) {
        return Verdict::Issue(IssueReason::NotValidNow);
    }
    if !names.iter().all(|name| is_for(&pair.chain[0], name)) {
        return Verdict::Issue(IssueReason::WrongNames);
    }
    if root.vouches_for(&pair.chain, now).is_err() {
        return Verdict::Issue(IssueReason::OtherRoot);
    }
    let gains = validity_from(root, now).not_after > validity.not_after;
    if validity.renewal() > now {
        Verdict::Keep {
            until: validity.renewal(),
        }
    } else if gains {
        Verdict::Issue(IssueReason::Due)
    } else {
        // It lives as long as its root does. Another one would not live longer.
        Verdict::Keep {
            until: validity.not_after,
        }
    }
}

/// A new pair for these names, with the roots that are to be trusted beside it.
pub(crate) fn issue(
    root: &Root,
    trust: &Trust,
    names: &[String],
    now: Timestamp,
) -> Result<TlsPair, rcgen::Error> {
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
    let mut params = parameters("sparkmesh webhook", validity_from(root, now));
    for name in names {
        params
            .subject_alt_names
            .push(SanType::DnsName(name.as_str().try_into()?));
    }
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    params.use_authority_key_identifier_extension = true;

    let mut chain: Vec<CertificateDer<'_>> = vec![root.sign(&params, &key)?.into()];
    chain.extend_from_slice(root.intermediates());
    Ok(TlsPair {
        certificate: pem(&chain),
        key: key.serialize_pem().into_bytes(),
        ca: trust.pem(),
    })
}

fn validity_from(root: &Root, now: Timestamp) -> Validity {
    Validity {
        not_before: now - CLOCK_SKEW,
        not_after: (now + LIFE).min(root.validity().not_after),
    }
}

fn is_for(certificate: &CertificateDer<'_>, name: &str) -> bool {
    let Ok(parsed) = ParsedCertificate::try_from(certificate) else {
        return false;
    };
    ServerName::try_from(name).is_ok_and(|name| verify_server_name(&parsed, &name).is_ok())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use rustls::client::WebPkiServerVerifier;
    use rustls::client::danger::ServerCertVerifier;
    use rustls::{RootCertStore, crypto::aws_lc_rs};
    use rustls_pki_types::UnixTime;

    use super::*;
    use crate::control::names::service_names;
    use crate::control::root::tests::{made, noon};
    use crate::control::trust::trusted;

    fn names() -> Vec<String> {
        service_names("sparkmesh-webhook", "sparkmesh").to_vec()
    }

    fn days(count: i64) -> SignedDuration {
        SignedDuration::from_hours(24 * count)
    }

    fn issued(root: &Root, names: &[String], now: Timestamp) -> TlsPair {
        issue(root, &trusted(root, &TlsPair::default(), now), names, now).expect("it can be issued")
    }

    #[test]
    fn a_client_that_trusts_the_bundle_accepts_the_webhook_under_each_of_its_names() {
        let root = Root::open(&made(), noon()).expect("usable");
        let trust = trusted(&root, &TlsPair::default(), noon());
        let chain = issued(&root, &names(), noon())
            .open()
            .expect("readable")
            .chain;

        let mut roots = RootCertStore::empty();
        let bundle = TlsPair {
            ca: trust.pem(),
            ..TlsPair::default()
        };
        roots.add_parsable_certificates(bundle.roots().expect("PEM"));
        let provider = Arc::new(aws_lc_rs::default_provider());
        let client = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider)
            .build()
            .expect("a verifier");
        let verify = |name: &str| {
            let at = u64::try_from(noon().as_second()).expect("after 1970");
            let at = UnixTime::since_unix_epoch(std::time::Duration::from_secs(at));
            client.verify_server_cert(
                &chain[0],
                &chain[1..],
                &name.try_into().expect("a name"),
                &[],
                at,
            )
        };
        for name in names() {
            assert!(verify(&name).is_ok(), "{name}");
        }
        assert!(verify("sparkmesh-webhook.elsewhere.svc").is_err());
    }

    #[test]
    fn a_serving_certificate_is_for_servers_only_and_shorter_than_ninety_days() {
        use x509_parser::prelude::{FromDer, X509Certificate};

        let root = Root::open(&made(), noon()).expect("usable");
        let open = issued(&root, &names(), noon()).open().expect("readable");
        let (_, x509) = X509Certificate::from_der(&open.chain[0]).expect("X.509");
        let usage = x509
            .extended_key_usage()
            .expect("parsable")
            .expect("present")
            .value;
        assert!(usage.server_auth && !usage.client_auth && !usage.any);
        assert!(!open.facts.may_issue);
        let validity = open.facts.validity;
        assert!(validity.not_after.duration_since(validity.not_before) < days(90));
    }

    #[test]
    fn another_certificate_is_issued_for_each_reason_and_for_no_other() {
        let pair = made();
        let root = Root::open(&pair, noon()).expect("usable");
        let good = issued(&root, &names(), noon());
        let open = good.open().expect("readable").facts.validity;
        let other_root = Root::open(&made(), noon()).expect("usable");
        let other_key = issued(&root, &names(), noon()).key;

        let keep = Verdict::Keep {
            until: open.renewal(),
        };
        let second = SignedDuration::from_secs(1);
        let cases = [
            ("fresh", good.clone(), noon(), keep),
            (
                "one second before two thirds",
                good.clone(),
                open.renewal() - second,
                keep,
            ),
            (
                "at two thirds",
                good.clone(),
                open.renewal(),
                Verdict::Issue(IssueReason::Due),
            ),
            (
                "expired",
                good.clone(),
                open.not_after,
                Verdict::Issue(IssueReason::NotValidNow),
            ),
            (
                "before its time",
                good.clone(),
                open.not_before - second,
                Verdict::Issue(IssueReason::NotValidNow),
            ),
            (
                "none",
                TlsPair::default(),
                noon(),
                Verdict::Issue(IssueReason::Missing),
            ),
            (
                "no certificate",
                TlsPair {
                    certificate: vec![],
                    ..good.clone()
                },
                noon(),
                Verdict::Issue(IssueReason::Unreadable),
            ),
            (
                "another key",
                TlsPair {
                    key: other_key,
                    ..good.clone()
                },
                noon(),
                Verdict::Issue(IssueReason::Unreadable),
            ),
            (
                "one name missing",
                issued(&root, &names()[..2], noon()),
                noon(),
                Verdict::Issue(IssueReason::WrongNames),
            ),
            (
                "another root",
                issued(&other_root, &names(), noon()),
                noon(),
                Verdict::Issue(IssueReason::OtherRoot),
            ),
        ];
        for (case, stored, now, verdict) in cases {
            assert_eq!(judge(&stored, &root, &names(), now), verdict, "{case}");
        }
    }

    #[test]
    fn near_the_roots_end_a_certificate_lives_as_long_as_the_root_and_is_not_renewed_in_vain() {
        let pair = made();
        let end = pair.open().expect("readable").facts.validity.not_after;
        let late = end - days(6);
        let root = Root::open(&pair, late).expect("usable");
        let short = issued(&root, &names(), late);
        assert_eq!(
            short.open().expect("readable").facts.validity.not_after,
            end
        );
        assert_eq!(
            judge(&short, &root, &names(), end - days(1)),
            Verdict::Keep { until: end }
        );
    }
}
