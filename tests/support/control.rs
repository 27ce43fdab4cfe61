//! What the tests of `sparkmesh control` on an API server share: one installation of the chart's
//! rights and webhook configuration, replicas that run with those rights, and TLS as the API server
//! speaks it.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, KeyPair, PKCS_ECDSA_P384_SHA384};
use rustls::crypto::aws_lc_rs;
use rustls::{ClientConfig, ClientConnection, RootCertStore, ServerConfig, ServerConnection};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use serde_json::{Value, json};

use super::cluster::{Cluster, Process, eventually};

/// One namespace with control's rights, its Lease and a webhook configuration.
pub(crate) struct Installation<'a> {
    pub(crate) cluster: &'a Cluster,
    pub(crate) namespace: &'static str,
    kubeconfig: PathBuf,
}

impl<'a> Installation<'a> {
    pub(crate) fn new(
        cluster: &'a Cluster,
        namespace: &'static str,
        values: &[&str],
    ) -> Installation<'a> {
        cluster.apply(
            &json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}})
                .to_string(),
        );
        for template in [
            "templates/control-rbac.yaml",
            "templates/control-lease.yaml",
            "templates/webhook-configuration.yaml",
        ] {
            let arguments = [&["--show-only", template], values].concat();
            cluster.apply(&cluster.rendered_chart(namespace, &arguments));
        }
        let kubeconfig = cluster.kubeconfig_of(namespace, "sparkmesh-control");
        Installation {
            cluster,
            namespace,
            kubeconfig,
        }
    }

    /// Starts two replicas.
    pub(crate) fn start_two(&self, arguments: &[&str]) -> [Replica<'a>; 2] {
        [0, 1].map(|number| self.start(number, arguments))
    }

    /// Starts the replica of this number.
    pub(crate) fn start(&self, number: usize, arguments: &[&str]) -> Replica<'a> {
        let port = [9091, 9092][number];
        let mut command = self
            .cluster
            .command_as(&self.kubeconfig, env!("CARGO_BIN_EXE_sparkmesh"));
        command.args(["control", "--admin-listen", &format!("127.0.0.1:{port}")]);
        command.args(["--log-level", "debug"]).args(arguments);
        let name = format!("control-{}-{number}", self.namespace);
        Replica {
            cluster: self.cluster,
            process: self.cluster.start_process(&name, command),
            port,
        }
    }

    /// Waits until the API server, as it is configured, would accept the webhook.
    pub(crate) fn wait_until_trusted(&self) {
        let name = self.service_name();
        eventually("the API server trusts the webhook", || {
            let secret = self
                .cluster
                .object("secret", self.namespace, "sparkmesh-webhook-tls")?;
            handshake(&self.ca_bundle(), &Pair::of(&secret), &name).ok()
        });
    }

    pub(crate) fn service_name(&self) -> String {
        format!("sparkmesh-webhook.{}.svc", self.namespace)
    }

    pub(crate) fn object(&self, kind: &str, name: &str) -> Value {
        self.cluster
            .object(kind, self.namespace, name)
            .unwrap_or_else(|| panic!("there is no {kind} {name}"))
    }

    pub(crate) fn merge(&self, kind: &str, name: &str, patch: &Value) {
        self.cluster.merge(kind, self.namespace, name, patch);
    }

    /// An entry of a Secret, as text.
    pub(crate) fn entry(&self, secret: &str, key: &str) -> String {
        text(&self.object("secret", secret)["data"][key])
    }

    pub(crate) fn pair(&self) -> Pair {
        Pair::of(&self.object("secret", "sparkmesh-webhook-tls"))
    }

    pub(crate) fn trust(&self) -> String {
        self.try_trust().expect("the root is published")
    }

    pub(crate) fn try_trust(&self) -> Option<String> {
        let config_map = self
            .cluster
            .object("configmap", self.namespace, "sparkmesh-trust")?;
        config_map["data"]["ca.crt"].as_str().map(str::to_owned)
    }

    pub(crate) fn configuration(&self) -> Value {
        let name = format!("sparkmesh-{}", self.namespace);
        let found = self
            .cluster
            .object("mutatingwebhookconfiguration", "", &name);
        found.expect("the installation made it")
    }

    /// Empty where there is none.
    pub(crate) fn ca_bundle(&self) -> String {
        text(&self.configuration()["webhooks"][0]["clientConfig"]["caBundle"])
    }

    pub(crate) fn set_ca_bundle(&self, bundle: &str) {
        self.change_ca_bundle(&json!({"op": "replace", "value": STANDARD.encode(bundle)}));
    }

    pub(crate) fn remove_ca_bundle(&self) {
        self.change_ca_bundle(&json!({"op": "remove"}));
    }

    fn change_ca_bundle(&self, operation: &Value) {
        let mut operation = operation.clone();
        operation["path"] = json!("/webhooks/0/clientConfig/caBundle");
        let name = format!("sparkmesh-{}", self.namespace);
        let patch = json!([operation]).to_string();
        self.cluster.kubectl(&[
            "patch",
            "mutatingwebhookconfiguration",
            &name,
            "--type",
            "json",
            "--patch",
            &patch,
        ]);
    }

    /// Puts an authority in place as a user would.
    pub(crate) fn replace_authority(&self, authority: &Authority) {
        let entries = json!({"tls.crt": authority.certificate, "tls.key": authority.key, "ca.crt": authority.certificate});
        self.merge("secret", "sparkmesh-ca", &json!({"stringData": entries}));
    }

    pub(crate) fn lease_holder(&self) -> Value {
        self.object("lease", "sparkmesh-control")["spec"]["holderIdentity"].clone()
    }
}

/// Waits until both are ready and exactly one leads; gives which.
pub(crate) fn one_leader(replicas: &mut [Replica<'_>; 2]) -> usize {
    let leader = eventually("both are ready and one leads", || {
        for replica in &mut *replicas {
            replica.process.assert_running();
            replica.admin("/readyz")?;
        }
        replicas.iter().position(Replica::leads)
    });
    assert!(!replicas[1 - leader].leads(), "both lead");
    leader
}

/// Nothing was refused to these replicas.
pub(crate) fn assert_rights_suffice(replicas: &[Replica<'_>]) {
    for replica in replicas {
        let log = replica.process.log();
        assert!(!log.to_lowercase().contains("forbidden"), "{log}");
    }
}

/// One process of `sparkmesh control`.
pub(crate) struct Replica<'a> {
    cluster: &'a Cluster,
    pub(crate) process: Process,
    port: u16,
}

impl Replica<'_> {
    /// What its admin server answers, if that is 200.
    pub(crate) fn admin(&self, path: &str) -> Option<String> {
        let server = format!("http://127.0.0.1:{}", self.port);
        let mut kubectl = self.cluster.command_as(Path::new("/dev/null"), "kubectl");
        let output = kubectl
            .args(["get", "--raw", path, "--server", &server])
            .output()
            .expect("kubectl can be run");
        output
            .status
            .success()
            .then(|| String::from_utf8_lossy(&output.stdout).into_owned())
    }

    pub(crate) fn leads(&self) -> bool {
        self.admin("/metrics")
            .is_some_and(|metrics| metrics.contains("sparkmesh_control_leader 1\n"))
    }
}

/// The serving pair as PEM text.
#[derive(PartialEq, Eq)]
pub(crate) struct Pair {
    certificate: String,
    key: String,
}

// Never shows the key.
impl std::fmt::Debug for Pair {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.certificate)
    }
}

impl Pair {
    fn of(secret: &Value) -> Pair {
        Pair {
            certificate: text(&secret["data"]["tls.crt"]),
            key: text(&secret["data"]["tls.key"]),
        }
    }
}

/// A certificate authority as an administrator may bring it.
pub(crate) struct Authority {
    pub(crate) certificate: String,
    pub(crate) key: String,
}

impl Authority {
    pub(crate) fn new(name: &str) -> Authority {
        let key = KeyPair::generate_for(&PKCS_ECDSA_P384_SHA384).expect("a key can be made");
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let certificate = params.self_signed(&key).expect("it can sign itself");
        Authority {
            certificate: certificate.pem(),
            key: key.serialize_pem(),
        }
    }
}

/// TLS 1.3 between a server with this pair and a client that trusts this bundle and asks for this
/// name: as between the webhook and the API server, without the network.
pub(crate) fn handshake(bundle: &str, pair: &Pair, name: &str) -> Result<(), String> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let mut roots = RootCertStore::empty();
    for root in CertificateDer::pem_slice_iter(bundle.as_bytes()) {
        roots.add(root.map_err(shown)?).map_err(shown)?;
    }
    let client = ClientConfig::builder_with_provider(provider.clone())
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(shown)?
        .with_root_certificates(roots)
        .with_no_client_auth();
    let chain: Result<Vec<_>, _> =
        CertificateDer::pem_slice_iter(pair.certificate.as_bytes()).collect();
    let key = PrivateKeyDer::from_pem_slice(pair.key.as_bytes()).map_err(shown)?;
    let server = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(shown)?
        .with_no_client_auth()
        .with_single_cert(chain.map_err(shown)?, key)
        .map_err(shown)?;

    let name = ServerName::try_from(name.to_owned()).map_err(shown)?;
    let mut client = ClientConnection::new(Arc::new(client), name).map_err(shown)?;
    let mut server = ServerConnection::new(Arc::new(server)).map_err(shown)?;
    while client.is_handshaking() || server.is_handshaking() {
        let mut sent = Vec::new();
        client.write_tls(&mut sent).map_err(shown)?;
        server
            .read_tls(&mut sent.as_slice().by_ref())
            .map_err(shown)?;
        server.process_new_packets().map_err(shown)?;
        sent.clear();
        server.write_tls(&mut sent).map_err(shown)?;
        client
            .read_tls(&mut sent.as_slice().by_ref())
            .map_err(shown)?;
        client.process_new_packets().map_err(shown)?;
    }
    Ok(())
}

fn shown(error: impl std::fmt::Display) -> String {
    error.to_string()
}

/// What a Secret's entry says; empty where there is none.
fn text(encoded: &Value) -> String {
    let bytes = STANDARD
        .decode(encoded.as_str().unwrap_or_default())
        .expect("base64");
    String::from_utf8(bytes).expect("text")
}
