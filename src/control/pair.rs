//! What a `kubernetes.io/tls` Secret holds, and how PEM text becomes certificates and keys. Decides
//! whether text can be read; knows nothing of trust, of names or of the present time.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use rcgen::KeyPair;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use x509_parser::prelude::{FromDer, X509Certificate};

/// The three entries of a TLS Secret as they are stored: PEM, or empty where there is none.
#[derive(Clone, Default, PartialEq, Eq)]
pub(crate) struct TlsPair {
    /// The certificate, followed by its intermediates.
    pub(crate) certificate: Vec<u8>,
    /// The certificate's private key.
    pub(crate) key: Vec<u8>,
    /// The roots that vouch for the certificate.
    pub(crate) ca: Vec<u8>,
}

// Never shows the key.
impl fmt::Debug for TlsPair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsPair")
            .field("certificate", &String::from_utf8_lossy(&self.certificate))
            .field("ca", &String::from_utf8_lossy(&self.ca))
            .finish_non_exhaustive()
    }
}

/// Why a pair cannot be read. No message holds any of the text itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum PairError {
    #[error("tls.crt holds no certificate in PEM")]
    NoCertificate,
    #[error("tls.crt is not a valid X.509 certificate")]
    BadCertificate,
    #[error("ca.crt holds something else than X.509 certificates in PEM")]
    BadCa,
    #[error("tls.key holds no private key in PEM (PKCS#8, SEC1 or PKCS#1; not encrypted)")]
    NoKey,
    #[error("tls.key is of no supported kind: use ECDSA P-256, P-384 or P-521, RSA, or Ed25519")]
    BadKey,
    #[error("tls.key is not the key of the certificate in tls.crt")]
    KeyMismatch,
}

/// A pair that was read: the key belongs to the first certificate.
pub(crate) struct OpenPair {
    /// At least one: the certificate itself, then its intermediates.
    pub(crate) chain: Vec<CertificateDer<'static>>,
    pub(crate) facts: CertificateFacts,
    pub(crate) key: KeyPair,
}

impl TlsPair {
    pub(crate) fn open(&self) -> Result<OpenPair, PairError> {
        let chain = certificates(&self.certificate).ok_or(PairError::BadCertificate)?;
        let first = chain.first().ok_or(PairError::NoCertificate)?;
        let facts = CertificateFacts::of(first).ok_or(PairError::BadCertificate)?;
        let key = PrivateKeyDer::from_pem_slice(&self.key).map_err(|_| PairError::NoKey)?;
        let key = KeyPair::try_from(&key).map_err(|_| PairError::BadKey)?;
        if facts.public_key != key.public_key_raw() {
            return Err(PairError::KeyMismatch);
        }
        Ok(OpenPair { chain, facts, key })
    }

    /// When the certificate expires, if there is one.
    pub(crate) fn expiry(&self) -> Option<Timestamp> {
        let first = CertificateDer::from_pem_slice(&self.certificate).ok()?;
        Some(CertificateFacts::of(&first)?.validity.not_after)
    }

    /// The certificates of `ca.crt`; none where the entry is empty.
    pub(crate) fn roots(&self) -> Result<Vec<CertificateDer<'static>>, PairError> {
        let roots = certificates(&self.ca).ok_or(PairError::BadCa)?;
        let only_blank = self.ca.iter().all(u8::is_ascii_whitespace);
        let readable = roots
            .iter()
            .all(|root| CertificateFacts::of(root).is_some());
        if readable && (only_blank || !roots.is_empty()) {
            Ok(roots)
        } else {
            Err(PairError::BadCa)
        }
    }
}

/// Every certificate of a PEM text in its order, or nothing where one is malformed.
fn certificates(pem: &[u8]) -> Option<Vec<CertificateDer<'static>>> {
    CertificateDer::pem_slice_iter(pem)
        .collect::<Result<_, _>>()
        .ok()
}

/// PEM text of certificates, always spelled the same way.
pub(crate) fn pem(certificates: &[CertificateDer<'_>]) -> Vec<u8> {
    let mut text = String::new();
    for certificate in certificates {
        text.push_str("-----BEGIN CERTIFICATE-----\n");
        let encoded = STANDARD.encode(certificate);
        for line in encoded.as_bytes().chunks(64) {
            text.extend(line.iter().map(|&byte| char::from(byte)));
            text.push('\n');
        }
        text.push_str("-----END CERTIFICATE-----\n");
    }
    text.into_bytes()
}

/// What one certificate says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct CertificateFacts {
    pub(crate) validity: Validity,
    /// `CA:TRUE`; and the usages, where there are any, allow signing certificates of servers. Go's
    /// verifier, so the API server's, wants the latter of every certificate of the chain.
    pub(crate) may_issue: bool,
    public_key: Vec<u8>,
}

impl CertificateFacts {
    pub(crate) fn of(certificate: &CertificateDer<'_>) -> Option<CertificateFacts> {
        let (rest, x509) = X509Certificate::from_der(certificate).ok()?;
        if !rest.is_empty() {
            return None;
        }
        let authority = x509.basic_constraints().ok()?.is_some_and(|it| it.value.ca);
        let signing = x509
            .key_usage()
            .ok()?
            .is_none_or(|it| it.value.key_cert_sign());
        let servers = x509
            .extended_key_usage()
            .ok()?
            .is_none_or(|it| it.value.server_auth || it.value.any);
        Some(CertificateFacts {
            validity: Validity {
                not_before: Timestamp::from_second(x509.validity().not_before.timestamp()).ok()?,
                not_after: Timestamp::from_second(x509.validity().not_after.timestamp()).ok()?,
            },
            may_issue: authority && signing && servers,
            public_key: x509.public_key().subject_public_key.data.to_vec(),
        })
    }
}

/// From when until when a certificate is to be accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Validity {
    pub(crate) not_before: Timestamp,
    pub(crate) not_after: Timestamp,
}

impl Validity {
    pub(crate) fn covers(&self, now: Timestamp) -> bool {
        self.not_before <= now && now < self.not_after
    }

    /// Two thirds of the way to the end: the last third is for whoever has to repair renewal.
    pub(crate) fn renewal(&self) -> Timestamp {
        let life = self.not_after.duration_since(self.not_before);
        self.not_before + life * 2 / 3
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::root::Root;

    fn time(text: &str) -> Timestamp {
        text.parse().expect("a timestamp written in this file")
    }

    #[test]
    fn renewal_is_due_at_two_thirds_of_the_life() {
        for (from, to, due) in [
            (
                "2026-01-01T00:00:00Z",
                "2026-01-31T00:00:00Z",
                "2026-01-21T00:00:00Z",
            ),
            (
                "2026-01-01T00:00:00Z",
                "2026-01-01T03:00:00Z",
                "2026-01-01T02:00:00Z",
            ),
        ] {
            let validity = Validity {
                not_before: time(from),
                not_after: time(to),
            };
            assert_eq!(validity.renewal(), time(due));
        }
    }

    #[test]
    fn validity_includes_its_first_instant_and_not_its_last() {
        let validity = Validity {
            not_before: time("2026-01-01T00:00:00Z"),
            not_after: time("2026-01-02T00:00:00Z"),
        };
        for (now, covered) in [
            ("2025-12-31T23:59:59Z", false),
            ("2026-01-01T00:00:00Z", true),
            ("2026-01-01T23:59:59Z", true),
            ("2026-01-02T00:00:00Z", false),
        ] {
            assert_eq!(validity.covers(time(now)), covered, "{now}");
        }
    }

    #[test]
    fn what_cannot_be_read_is_named() {
        let now = time("2026-06-01T00:00:00Z");
        let good = Root::make(now).expect("a root can be made");
        let other = Root::make(now).expect("a root can be made");
        let broken_certificate = b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        for (pair, error) in [
            (TlsPair::default(), PairError::NoCertificate),
            (
                TlsPair {
                    certificate: vec![],
                    ..good.clone()
                },
                PairError::NoCertificate,
            ),
            (
                TlsPair {
                    certificate: broken_certificate.to_vec(),
                    ..good.clone()
                },
                PairError::BadCertificate,
            ),
            (
                TlsPair {
                    key: b"no key".to_vec(),
                    ..good.clone()
                },
                PairError::NoKey,
            ),
            (
                TlsPair {
                    key: b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n".to_vec(),
                    ..good.clone()
                },
                PairError::BadKey,
            ),
            (
                TlsPair {
                    key: other.key.clone(),
                    ..good.clone()
                },
                PairError::KeyMismatch,
            ),
        ] {
            assert_eq!(pair.open().err(), Some(error));
        }
        for ca in [&b"no certificate"[..], broken_certificate] {
            let pair = TlsPair {
                ca: ca.to_vec(),
                ..good.clone()
            };
            assert_eq!(pair.roots(), Err(PairError::BadCa));
        }
        assert_eq!(
            TlsPair {
                ca: b"\n".to_vec(),
                ..good
            }
            .roots(),
            Ok(vec![])
        );
    }

    #[test]
    fn a_pair_never_shows_its_key() {
        let pair = Root::make(time("2026-06-01T00:00:00Z")).expect("a root can be made");
        let shown = format!("{pair:?}");
        assert!(shown.contains("BEGIN CERTIFICATE"));
        assert!(!shown.contains("PRIVATE"), "{shown}");
    }

    #[test]
    fn pem_text_is_read_back_as_it_was() {
        let pair = Root::make(time("2026-06-01T00:00:00Z")).expect("a root can be made");
        let roots = pair.roots().expect("it was just made");
        assert_eq!(pem(&roots), pair.ca);
    }
}
