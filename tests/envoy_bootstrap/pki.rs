//! Certificates of a mesh and of strangers to it.

use rcgen::string::Ia5String;
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, SanType};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

pub(crate) struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pub(crate) pem: String,
}

pub(crate) struct Identity {
    pub(crate) chain_pem: String,
    pub(crate) key_pem: String,
}

impl Authority {
    pub(crate) fn new() -> Authority {
        let key = KeyPair::generate().expect("a key");
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, "root");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let pem = params.self_signed(&key).expect("a root").pem();
        Authority {
            issuer: Issuer::new(params, key),
            pem,
        }
    }

    /// A certificate for `spiffe://…` or for a DNS name.
    pub(crate) fn issue(&self, name: &str) -> Identity {
        let name_ia5 = Ia5String::try_from(name).expect("ASCII");
        let san = if name.contains("://") {
            SanType::URI(name_ia5)
        } else {
            SanType::DnsName(name_ia5)
        };
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, "leaf");
        params.subject_alt_names = vec![san];
        let key = KeyPair::generate().expect("a key");
        let chain_pem = params
            .signed_by(&key, &self.issuer)
            .expect("a certificate")
            .pem();
        Identity {
            chain_pem,
            key_pem: key.serialize_pem(),
        }
    }
}

impl Identity {
    pub(crate) fn for_rustls(&self) -> (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>) {
        let chain = CertificateDer::pem_slice_iter(self.chain_pem.as_bytes())
            .collect::<Result<_, _>>()
            .expect("a chain");
        (
            chain,
            PrivateKeyDer::from_pem_slice(self.key_pem.as_bytes()).expect("a key"),
        )
    }
}
