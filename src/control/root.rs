//! The certificate authority: how one is made, and whether the one in the Secret can be used.
//! Decides nothing about when, and never replaces what is there: a user may have brought it.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use rcgen::{
    BasicConstraints, Certificate, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair, KeyUsagePurpose, PKCS_ECDSA_P256_SHA256,
};
use rustls::RootCertStore;
use rustls::client::verify_server_cert_signed_by_trust_anchor;
use rustls::crypto::aws_lc_rs;
use rustls::server::ParsedCertificate;
use rustls_pki_types::{CertificateDer, UnixTime};

use super::pair::{CertificateFacts, PairError, TlsPair, Validity, pem};

const LIFE: SignedDuration = SignedDuration::from_hours(10 * 365 * 24);

/// What we make is valid a little before it was made: the clocks of a cluster differ.
pub(crate) const CLOCK_SKEW: SignedDuration = SignedDuration::from_mins(5);

/// An authority that can issue: its key fits, it may sign, it is valid now, and what it signs is
/// accepted by whoever trusts its anchors.
#[derive(Debug)]
pub(crate) struct Root {
    issuer: Issuer<'static, KeyPair>,
    validity: Validity,
    intermediates: Vec<CertificateDer<'static>>,
    anchors: Vec<CertificateDer<'static>>,
}

/// Why the authority in the Secret cannot be used.
#[derive(Debug, PartialEq, thiserror::Error)]
pub(crate) enum RootError {
    #[error(transparent)]
    Unreadable(#[from] PairError),
    #[error(
        "tls.crt is not an authority for servers: it needs CA:TRUE, and usages, where it has any, that include Certificate Sign and TLS Web Server Authentication"
    )]
    NotAnAuthority,
    #[error("tls.crt is not valid before {0}")]
    NotYetValid(Timestamp),
    #[error("tls.crt expired at {0}")]
    Expired(Timestamp),
    #[error("what it signs would not be accepted by those who trust its ca.crt: {0}")]
    NotTrusted(rustls::Error),
    #[error("it cannot sign: {0}")]
    CannotSign(#[from] rcgen::Error),
}

impl Root {
    /// A new authority, self-signed: ECDSA P-256, ten years, with no further authority below it.
    pub(crate) fn make(now: Timestamp) -> Result<TlsPair, rcgen::Error> {
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
        let validity = Validity {
            not_before: now - CLOCK_SKEW,
            not_after: now + LIFE,
        };
        let mut params = parameters("sparkmesh root", validity);
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let certificate = pem(&[params.self_signed(&key)?.into()]);
        Ok(TlsPair {
            key: key.serialize_pem().into_bytes(),
            ca: certificate.clone(),
            certificate,
        })
    }

    /// The authority of a Secret in cert-manager's form: `ca.crt` holds the anchors to trust; where
    /// it is empty, that is the issuing certificate itself.
    pub(crate) fn open(stored: &TlsPair, now: Timestamp) -> Result<Root, RootError> {
        let pair = stored.open()?;
        let validity = pair.facts.validity;
        if !pair.facts.may_issue {
            return Err(RootError::NotAnAuthority);
        }
        if now < validity.not_before {
            return Err(RootError::NotYetValid(validity.not_before));
        }
        if !validity.covers(now) {
            return Err(RootError::Expired(validity.not_after));
        }
        let mut anchors = stored.roots()?;
        if anchors.is_empty() {
            anchors.push(pair.chain[0].clone());
        }
        anchors.retain(|it| is_authority(it, now));
        let root = Root {
            issuer: Issuer::from_ca_cert_der(&pair.chain[0], pair.key)?,
            validity,
            intermediates: pair
                .chain
                .into_iter()
                .filter(|it| !anchors.contains(it))
                .collect(),
            anchors,
        };
        root.try_out(now)?;
        Ok(root)
    }

    /// A certificate for this key, valid no longer than the authority itself.
    pub(crate) fn sign(
        &self,
        params: &CertificateParams,
        key: &KeyPair,
    ) -> Result<Certificate, rcgen::Error> {
        params.signed_by(key, &self.issuer)
    }

    /// Whether a server showing this chain is accepted by those who trust the anchors, its name
    /// aside.
    pub(crate) fn vouches_for(
        &self,
        chain: &[CertificateDer<'_>],
        now: Timestamp,
    ) -> Result<(), rustls::Error> {
        let (first, intermediates) = chain
            .split_first()
            .ok_or(rustls::Error::NoCertificatesPresented)?;
        let mut anchors = RootCertStore::empty();
        for anchor in &self.anchors {
            anchors.add(anchor.clone())?;
        }
        verify_server_cert_signed_by_trust_anchor(
            &ParsedCertificate::try_from(first)?,
            &anchors,
            intermediates,
            UnixTime::since_unix_epoch(since_epoch(now)),
            aws_lc_rs::default_provider()
                .signature_verification_algorithms
                .all,
        )
    }

    /// The certificates to trust.
    pub(crate) fn anchors(&self) -> &[CertificateDer<'static>] {
        &self.anchors
    }

    /// What a server has to send along with its own certificate.
    pub(crate) fn intermediates(&self) -> &[CertificateDer<'static>] {
        &self.intermediates
    }

    pub(crate) fn validity(&self) -> Validity {
        self.validity
    }

    /// Signs something and looks whether it is believed. Finds what no check of single fields does:
    /// a broken chain, path lengths, restricted usages, names that cannot be written again.
    fn try_out(&self, now: Timestamp) -> Result<(), RootError> {
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
        let mut params = parameters("sparkmesh trial", self.validity);
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        let trial = self.sign(&params, &key)?.into();
        let chain: Vec<_> = std::iter::once(trial)
            .chain(self.intermediates.iter().cloned())
            .collect();
        self.vouches_for(&chain, now).map_err(RootError::NotTrusted)
    }
}

/// Whether a certificate may be trusted as a root at this time. Verifiers ask less of a root.
pub(crate) fn is_authority(certificate: &CertificateDer<'_>, now: Timestamp) -> bool {
    CertificateFacts::of(certificate).is_some_and(|it| it.may_issue && it.validity.covers(now))
}

/// A certificate's common name and validity; everything else is empty.
pub(crate) fn parameters(common_name: &str, validity: Validity) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params
        .distinguished_name
        .push(DnType::CommonName, common_name);
    let epoch = rcgen::date_time_ymd(1970, 1, 1);
    params.not_before = epoch + since_epoch(validity.not_before);
    params.not_after = epoch + since_epoch(validity.not_after);
    params
}

/// Zero for times before 1970.
fn since_epoch(time: Timestamp) -> Duration {
    Duration::from_secs(u64::try_from(time.as_second()).unwrap_or(0))
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn noon() -> Timestamp {
        "2026-06-01T12:00:00Z".parse().expect("a timestamp")
    }

    pub(crate) fn made() -> TlsPair {
        Root::make(noon()).expect("a root can be made")
    }

    fn years(count: i64) -> SignedDuration {
        SignedDuration::from_hours(count * 365 * 24)
    }

    /// An authority as somebody else may have made it.
    fn brought(adjust: impl FnOnce(&mut CertificateParams), key: &KeyPair) -> TlsPair {
        let mut params = parameters(
            "Example Corp CA",
            Validity {
                not_before: noon() - years(1),
                not_after: noon() + years(1),
            },
        );
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        adjust(&mut params);
        let certificate = params.self_signed(key).expect("it can sign itself");
        TlsPair {
            certificate: certificate.pem().into_bytes(),
            key: key.serialize_pem().into_bytes(),
            ca: vec![],
        }
    }

    fn p256() -> KeyPair {
        KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).expect("a key can be made")
    }

    #[test]
    fn a_made_root_is_a_p256_authority_for_ten_years_with_none_below() {
        use x509_parser::prelude::{FromDer, X509Certificate};

        let pair = made();
        let open = pair.open().expect("it is readable");
        let (_, x509) = X509Certificate::from_der(&open.chain[0]).expect("X.509");
        let constraints = x509
            .basic_constraints()
            .expect("parsable")
            .expect("present");
        assert!(constraints.critical && constraints.value.ca);
        assert_eq!(constraints.value.path_len_constraint, Some(0));
        assert!(
            x509.key_usage()
                .expect("parsable")
                .expect("present")
                .value
                .key_cert_sign()
        );
        assert!(std::ptr::eq(
            open.key.algorithm(),
            &raw const PKCS_ECDSA_P256_SHA256
        ));
        assert_eq!(open.facts.validity.not_after, noon() + years(10));
        assert_eq!(pair.ca, pair.certificate);
    }

    #[test]
    fn two_made_roots_differ() {
        assert_ne!(made().key, made().key);
        assert_ne!(made().certificate, made().certificate);
    }

    #[test]
    fn a_made_root_can_be_used_at_once_and_until_its_end() {
        let pair = made();
        for now in [
            noon() - CLOCK_SKEW,
            noon(),
            noon() + years(10) - SignedDuration::from_secs(1),
        ] {
            assert!(Root::open(&pair, now).is_ok(), "{now}");
        }
    }

    #[test]
    fn a_brought_authority_of_any_common_key_is_used() {
        use rcgen::{PKCS_ECDSA_P384_SHA384, PKCS_ED25519};

        for algorithm in [
            &PKCS_ECDSA_P256_SHA256,
            &PKCS_ECDSA_P384_SHA384,
            &PKCS_ED25519,
        ] {
            let key = KeyPair::generate_for(algorithm).expect("a key can be made");
            let pair = brought(|_| (), &key);
            let root = Root::open(&pair, noon()).expect("it is usable");
            assert_eq!(pem(root.anchors()), pair.certificate);
        }
    }

    #[test]
    fn an_intermediate_is_used_and_sent_along_and_its_root_is_the_anchor() {
        let (top_key, key) = (p256(), p256());
        let top = brought(|_| (), &top_key);
        let top_der = top.open().expect("readable").chain[0].clone();
        let top_issuer = Issuer::from_ca_cert_der(&top_der, top_key).expect("an authority");
        let mut params = parameters(
            "Example Corp Spark",
            Validity {
                not_before: noon(),
                not_after: noon() + years(1),
            },
        );
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        let middle = params.signed_by(&key, &top_issuer).expect("signed");
        let pair = TlsPair {
            certificate: middle.pem().into_bytes(),
            key: key.serialize_pem().into_bytes(),
            ca: top.certificate.clone(),
        };

        let root = Root::open(&pair, noon()).expect("it is usable");
        assert_eq!(root.anchors(), [top_der]);
        assert_eq!(root.intermediates(), [middle.der().clone()]);
    }

    #[test]
    fn an_unusable_authority_is_refused_with_the_reason() {
        let foreign = made().certificate;
        let mut leaf = brought(|params| params.is_ca = IsCa::ExplicitNoCa, &p256());
        leaf.ca.clone_from(&leaf.certificate);
        let cases = [
            (leaf, "not an authority for servers"),
            (
                brought(
                    |params| params.key_usages = vec![KeyUsagePurpose::DigitalSignature],
                    &p256(),
                ),
                "not an authority for servers",
            ),
            (
                brought(
                    |params| params.not_after = rcgen::date_time_ymd(2026, 1, 1),
                    &p256(),
                ),
                "expired at 2026-01-01T00:00:00Z",
            ),
            (
                brought(
                    |params| params.not_before = rcgen::date_time_ymd(2027, 1, 1),
                    &p256(),
                ),
                "not valid before 2027-01-01T00:00:00Z",
            ),
            (
                brought(
                    |params| params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth],
                    &p256(),
                ),
                "not an authority for servers",
            ),
            (
                TlsPair {
                    ca: foreign,
                    ..made()
                },
                "would not be accepted",
            ),
            (
                TlsPair {
                    ca: b"?".to_vec(),
                    ..made()
                },
                "ca.crt holds something else",
            ),
            (
                TlsPair {
                    key: p256().serialize_pem().into_bytes(),
                    ..made()
                },
                "not the key of the certificate",
            ),
            (TlsPair::default(), "no certificate"),
        ];
        for (pair, expected) in cases {
            let error = Root::open(&pair, noon()).expect_err(expected).to_string();
            assert!(
                error.contains(expected),
                "{error:?} should say {expected:?}"
            );
        }
    }
}
