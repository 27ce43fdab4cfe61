//! A serving certificate and its key: whether they may be served with, and until when.

use std::sync::Arc;

use jiff::Timestamp;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::ResolvesServerCert;
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{Error, InconsistentKeys};
use x509_parser::prelude::{FromDer, X509Certificate};

/// A certificate chain that is valid now, with the key that belongs to it.
#[derive(Debug)]
pub struct Pair {
    certified: Arc<CertifiedKey>,
    not_after: Timestamp,
}

/// Why a certificate and key cannot be served with.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PairError {
    /// The certificate file holds no PEM certificate, or one that is damaged.
    #[error("the certificate file holds no readable PEM certificate: {0}")]
    Certificate(String),
    /// The key file holds no PEM key, or one of an unknown kind.
    #[error("the key file holds no readable PEM private key (PKCS#8, PKCS#1 or SEC1)")]
    Key,
    /// The key is of another certificate.
    #[error("the key does not belong to the certificate; take both from the same issue")]
    Mismatch,
    /// The certificate's time is over.
    #[error("the certificate expired at {0}; renew it")]
    Expired(Timestamp),
    /// The certificate's time has not begun.
    #[error("the certificate is not valid before {0}; check the clock of this machine")]
    NotYetValid(Timestamp),
}

impl PairError {
    /// The reason as metrics name it.
    #[must_use]
    pub fn reason(&self) -> &'static str {
        match self {
            PairError::Certificate(_) => "certificate",
            PairError::Key => "key",
            PairError::Mismatch => "mismatch",
            PairError::Expired(_) => "expired",
            PairError::NotYetValid(_) => "not-yet-valid",
        }
    }
}

impl Pair {
    /// Reads a chain (leaf first) and a key, both PEM, and checks that they belong together and
    /// hold at `now`.
    pub fn parse(certificate: &[u8], key: &[u8], now: Timestamp) -> Result<Pair, PairError> {
        let chain = CertificateDer::pem_slice_iter(certificate)
            .collect::<Result<Vec<_>, _>>()
            .map_err(|error| PairError::Certificate(error.to_string()))?;
        let leaf = chain
            .first()
            .ok_or_else(|| PairError::Certificate("the file has none".to_owned()))?;
        let (not_before, not_after) = validity(leaf)?;
        // The reason of a failure is left out: it could quote the key.
        let key = PrivateKeyDer::from_pem_slice(key).map_err(|_| PairError::Key)?;
        let certified = CertifiedKey::from_der(chain, key, &super::provider()).map_err(
            |error| match error {
                Error::InconsistentKeys(InconsistentKeys::KeyMismatch) => PairError::Mismatch,
                Error::InvalidCertificate(error) => PairError::Certificate(format!("{error:?}")),
                _ => PairError::Key,
            },
        )?;
        if now >= not_after {
            return Err(PairError::Expired(not_after));
        }
        if now < not_before {
            return Err(PairError::NotYetValid(not_before));
        }
        Ok(Pair {
            certified: Arc::new(certified),
            not_after,
        })
    }

    /// When the leaf certificate expires.
    #[must_use]
    pub fn not_after(&self) -> Timestamp {
        self.not_after
    }

    pub(super) fn resolver(&self) -> Arc<dyn ResolvesServerCert> {
        Arc::new(SingleCertAndKey::from(self.certified.clone()))
    }
}

fn validity(leaf: &CertificateDer<'_>) -> Result<(Timestamp, Timestamp), PairError> {
    let bad = |what: &str| PairError::Certificate(what.to_owned());
    let (_, leaf) = X509Certificate::from_der(leaf).map_err(|_| bad("it is no X.509"))?;
    let at = |seconds| Timestamp::from_second(seconds).map_err(|_| bad("its validity is absurd"));
    let validity = leaf.validity();
    Ok((
        at(validity.not_before.timestamp())?,
        at(validity.not_after.timestamp())?,
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use rcgen::{CertificateParams, KeyPair, date_time_ymd};

    fn issue(from: i32, to: i32) -> (String, String) {
        let key = KeyPair::generate().expect("a key");
        let mut params = CertificateParams::new(vec!["localhost".to_owned()]).expect("a name");
        params.not_before = date_time_ymd(from, 1, 1);
        params.not_after = date_time_ymd(to, 1, 1);
        let certificate = params.self_signed(&key).expect("a certificate");
        (certificate.pem(), key.serialize_pem())
    }

    fn now() -> Timestamp {
        "2026-06-01T00:00:00Z".parse().expect("a time")
    }

    fn refusal(certificate: &str, key: &str) -> &'static str {
        Pair::parse(certificate.as_bytes(), key.as_bytes(), now())
            .expect_err("must be refused")
            .reason()
    }

    #[test]
    fn a_pair_that_is_valid_now_is_taken_with_its_expiry() {
        let (certificate, key) = issue(2026, 2027);
        let pair = Pair::parse(certificate.as_bytes(), key.as_bytes(), now()).expect("valid");
        assert_eq!(pair.not_after().to_string(), "2027-01-01T00:00:00Z");
    }

    #[test]
    fn what_cannot_be_served_with_is_refused_by_reason() {
        let (certificate, key) = issue(2026, 2027);
        let (_, other_key) = issue(2026, 2027);
        let (old, old_key) = issue(2024, 2026);
        let (coming, coming_key) = issue(2027, 2028);
        assert_eq!(refusal(&certificate, &other_key), "mismatch");
        assert_eq!(refusal(&old, &old_key), "expired");
        assert_eq!(refusal(&coming, &coming_key), "not-yet-valid");
        assert_eq!(refusal("", &key), "certificate");
        assert_eq!(refusal(&key, &key), "certificate");
        assert_eq!(refusal(&certificate, ""), "key");
        assert_eq!(refusal(&certificate, &certificate), "key");
        let cut = &certificate[..certificate.len() / 2];
        assert_eq!(refusal(cut, &key), "certificate");
    }

    #[test]
    fn no_error_quotes_the_key() {
        let (certificate, key) = issue(2026, 2027);
        let secret = key.lines().nth(1).expect("base64 text").to_owned();
        let broken = key.replacen(&secret, &format!("{secret}!"), 1);
        let error =
            Pair::parse(certificate.as_bytes(), broken.as_bytes(), now()).expect_err("damaged key");
        assert!(
            !format!("{error} {error:?}").contains(&secret[..16]),
            "{error}"
        );
    }
}
