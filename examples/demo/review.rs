//! One review: what is sent over HTTPS, and whether the answer is the one expected.

use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use reqwest::tls::{TlsInfo, Version};
use reqwest::{Certificate, ClientBuilder, Response};
use serde_json::{Value, json};
use x509_parser::parse_x509_certificate;
use x509_parser::pem::parse_x509_pem;

use crate::injected::Injected;
use crate::pods::{Case, Expected};
use crate::webhook::{Files, Webhook};

/// What came of one pod.
pub(crate) struct Reviewed {
    pub(crate) title: String,
    pub(crate) origin: String,
    pub(crate) outcome: Outcome,
    /// From sending the review to having the answer.
    pub(crate) round_trip: Duration,
    /// The webhook's own part of it, by its log.
    pub(crate) in_webhook: Duration,
}

pub(crate) enum Outcome {
    Injected(Injected),
    Skipped { reason: String, message: String },
    Rejected { reasons: String, message: String },
}

/// An HTTPS client that trusts the demo's authority and nobody else.
pub(crate) struct Client {
    https: reqwest::Client,
    url: String,
    authority: String,
}

impl Client {
    pub(crate) fn new(listen: SocketAddr, files: &Files) -> anyhow::Result<Client> {
        let authority = files.authority()?;
        Ok(Client {
            https: builder(&authority)?.tls_info(true).build()?,
            url: format!("https://{listen}/inject?timeout=5s"),
            authority,
        })
    }

    /// Connects, and tells by what and whom the connection is protected.
    pub(crate) async fn connection(&self) -> anyhow::Result<String> {
        let response = self.https.get(&self.url).send().await;
        let response = response.context("no TLS connection to the webhook")?;
        let tls = tls_of(&response)?;
        let served = tls
            .peer_certificate()
            .context("no certificate was served")?;
        let (_, served) = parse_x509_certificate(served)?;
        let (_, authority) = parse_x509_pem(self.authority.as_bytes())?;
        let (_, authority) = parse_x509_certificate(&authority.contents)?;
        ensure!(
            served.issuer() == authority.subject(),
            "the served certificate is of {}",
            served.issuer()
        );
        Ok(format!(
            "TLS 1.3; the certificate \"{}\" was verified by \"{}\", the only CA that the client trusts",
            served.subject(),
            authority.subject()
        ))
    }

    pub(crate) async fn outdated_is_refused(&self) -> anyhow::Result<String> {
        let outdated = builder(&self.authority)?.tls_version_max(Version::TLS_1_2);
        ensure!(
            outdated.build()?.get(&self.url).send().await.is_err(),
            "a client without TLS 1.3 was served"
        );
        Ok("a client that knows TLS 1.2 alone gets no connection".to_owned())
    }

    /// Has one pod reviewed and holds the answer against what is expected.
    pub(crate) async fn review(
        &self,
        case: &Case,
        webhook: &Webhook,
        program: &Path,
        files: &Files,
    ) -> anyhow::Result<Reviewed> {
        let offline = Offline { program, files };
        self.reviewed(case, webhook, &offline)
            .await
            .with_context(|| case.title.clone())
    }

    async fn reviewed(
        &self,
        case: &Case,
        webhook: &Webhook,
        offline: &Offline<'_>,
    ) -> anyhow::Result<Reviewed> {
        let (answer, uid, round_trip) = self.send(&case.pod).await?;
        let explained = offline.explain(&case.pod)?;
        let audit = &answer["auditAnnotations"];
        let reasons = audit["reasons"].as_str().unwrap_or_default().to_owned();
        let outcome = match (audit["decision"].as_str(), case.expected) {
            (Some("inject"), Expected::Inject(role)) if reasons == role => {
                Outcome::Injected(self.injected(&case.pod, &answer, role, &explained).await?)
            }
            (Some("skip"), Expected::Skip(reason)) if reasons == reason => {
                ensure!(answer["allowed"] == true && answer["patch"].is_null());
                Outcome::Skipped {
                    reason: reasons,
                    message: text(&explained["message"]),
                }
            }
            (Some("reject"), Expected::Reject(expected)) if reasons == expected => {
                ensure!(answer["allowed"] == false, "refused, and yet allowed");
                Outcome::Rejected {
                    reasons,
                    message: text(&answer["status"]["message"]),
                }
            }
            _ => bail!("this is not the answer expected: {answer}"),
        };
        Ok(Reviewed {
            title: case.title.clone(),
            origin: case.origin.clone(),
            outcome,
            round_trip,
            in_webhook: webhook.took(&uid).await?,
        })
    }

    async fn injected(
        &self,
        pod: &Value,
        answer: &Value,
        role: &str,
        explained: &Value,
    ) -> anyhow::Result<Injected> {
        ensure!(answer["allowed"] == true, "injected, and yet not allowed");
        let patch = answer["patch"].as_str().context("there is no patch")?;
        let patch: Value = serde_json::from_slice(&STANDARD.decode(patch)?)?;
        ensure!(
            patch == explained["patch"],
            "`sparkmesh explain` gives another patch than the webhook"
        );
        let mut patched = pod.clone();
        let patch: json_patch::Patch = serde_json::from_value(patch)?;
        json_patch::patch(&mut patched, &patch).context("the patch does not apply")?;
        let (again, _, _) = self.send(&patched).await?;
        ensure!(
            again["auditAnnotations"]["reasons"] == "already-injected" && again["patch"].is_null(),
            "the second pass is not \"already injected\": {again}"
        );
        Ok(Injected::read(role, explained, pod, &patched))
    }

    /// The answer, the review's uid, and how long it took.
    async fn send(&self, pod: &Value) -> anyhow::Result<(Value, String, Duration)> {
        let review = review_of(pod)?;
        let uid = text(&review["request"]["uid"]);
        let started = Instant::now();
        let sent = self.https.post(&self.url).json(&review).send().await;
        let response = sent.context("no answer")?.error_for_status()?;
        tls_of(&response)?;
        let mut answer: Value = response.json().await.context("no review in the answer")?;
        let round_trip = started.elapsed();
        ensure!(answer["response"]["uid"] == *uid, "another review's answer");
        Ok((answer["response"].take(), uid, round_trip))
    }
}

fn builder(authority: &str) -> anyhow::Result<ClientBuilder> {
    sparkmesh::tls::install_provider();
    let authority = Certificate::from_pem(authority.as_bytes())?;
    Ok(reqwest::Client::builder()
        .no_proxy()
        .timeout(Duration::from_secs(20))
        .tls_certs_only([authority]))
}

fn tls_of(response: &Response) -> anyhow::Result<&TlsInfo> {
    let tls = response.extensions().get::<TlsInfo>();
    let tls = tls.context("the connection is not TLS")?;
    ensure!(
        tls.version() == Some(Version::TLS_1_3),
        "the connection is {:?}, not TLS 1.3",
        tls.version()
    );
    Ok(tls)
}

/// The `AdmissionReview` that an API server sends when the pod is created.
fn review_of(pod: &Value) -> anyhow::Result<Value> {
    let kind = json!({"group": "", "version": "v1", "kind": "Pod"});
    let resource = json!({"group": "", "version": "v1", "resource": "pods"});
    Ok(json!({
        "apiVersion": "admission.k8s.io/v1",
        "kind": "AdmissionReview",
        "request": {
            "uid": uid()?,
            "kind": kind,
            "resource": resource,
            "requestKind": kind,
            "requestResource": resource,
            "name": pod["metadata"]["name"].as_str().unwrap_or_default(),
            "namespace": pod["metadata"]["namespace"],
            "operation": "CREATE",
            "userInfo": {"username": "demo", "groups": ["system:authenticated"]},
            "object": pod,
            "oldObject": null,
            "dryRun": false,
            "options": {"apiVersion": "meta.k8s.io/v1", "kind": "CreateOptions"},
        }
    }))
}

/// A fresh one for every review, from the kernel.
fn uid() -> anyhow::Result<String> {
    let path = "/proc/sys/kernel/random/uuid";
    let uid = std::fs::read_to_string(path).with_context(|| format!("cannot read {path}"))?;
    Ok(uid.trim().to_owned())
}

/// `sparkmesh explain pod`, with the webhook's configuration.
struct Offline<'a> {
    program: &'a Path,
    files: &'a Files,
}

impl Offline<'_> {
    fn explain(&self, pod: &Value) -> anyhow::Result<Value> {
        let mut child = Command::new(self.program)
            .args(["explain", "pod", "-f", "-", "--output", "json"])
            .args(self.files.arguments())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("`sparkmesh explain` cannot be started")?;
        let input = child.stdin.take().context("it has an input")?;
        serde_json::to_writer(input, pod)?;
        let output = child.wait_with_output()?;
        ensure!(output.status.success(), "`sparkmesh explain` failed");
        let mut explained: Value = serde_json::from_slice(&output.stdout)?;
        Ok(explained[0].take())
    }
}

pub(crate) fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}
