//! The chart, installed by helm, and its processes.
//!
//! The bench has no nodes, so the test is scheduler and kubelet to the chart's own pods: it runs what
//! their containers say, on the bench's addresses, with the rights of their service accounts, and
//! with their volumes as files. What the API server knows of them is what a kubelet would tell.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use reqwest::Client;
use serde_json::{Value, json};

use crate::api::{Api, Kind};
use crate::cluster::{Cluster, Process, eventually, repository, succeeded};
use crate::volumes::Volumes;

pub(crate) const NAMESPACE: &str = "sparkmesh-system";
/// The release's webhook configuration.
pub(crate) const CONFIGURATION: &str = "sparkmesh-sparkmesh-system";
/// The name by which the API server calls the webhook.
pub(crate) const WEBHOOK_HOST: &str = "sparkmesh-webhook.sparkmesh-system.svc";
/// Where the webhook's container has its configuration.
const CONFIG: &str = "/etc/sparkmesh/config/config.yaml";
const SPARKMESH: &str = env!("CARGO_BIN_EXE_sparkmesh");
const NODE: &str = "hollow";
const CONTROL: &str = "198.51.100.21";
const REPLICAS: [&str; 2] = ["198.51.100.11", "198.51.100.12"];

/// A release of the chart whose processes run.
pub(crate) struct Installation<'a> {
    pub(crate) cluster: &'a Cluster,
    pub(crate) api: &'a Api,
    replicas: [Replica; 2],
    volumes: Volumes,
    control: Process,
}

/// One pod of the webhook and the process that is its container.
struct Replica {
    pod: String,
    address: &'static str,
    arguments: Vec<String>,
    process: Option<Process>,
    starts: usize,
}

impl<'a> Installation<'a> {
    pub(crate) fn new(cluster: &'a Cluster, api: &'a Api) -> Installation<'a> {
        // The label must do nothing here.
        make_namespace(api, NAMESPACE, true);
        let mut helm = cluster.command("helm");
        helm.args(["install", "sparkmesh", "--namespace", NAMESPACE]);
        helm.arg(repository().join("charts/sparkmesh"));
        succeeded(helm.output().expect("helm can be run"), "helm install");
        api.create(&json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": NODE}}))
            .expect("a node");

        let [control, _] = pods_of(api, "control");
        let rights = cluster.kubeconfig_of(NAMESPACE, "sparkmesh-control");
        let mut command = cluster.command_as(&rights, SPARKMESH);
        command.args(arguments(&control));
        command.args(["--admin-listen", &format!("{CONTROL}:9090")]);
        let process = cluster.start_process("control", command);

        let webhooks = pods_of(api, "webhook");
        let volumes = Volumes::mount(api, NAMESPACE, &webhooks[0]);
        let replica = |pod: &Value, address| Replica {
            pod: name_of(pod),
            address,
            arguments: arguments(pod),
            process: None,
            starts: 0,
        };
        let replicas = [
            replica(&webhooks[0], REPLICAS[0]),
            replica(&webhooks[1], REPLICAS[1]),
        ];
        let mut installation = Installation {
            cluster,
            api,
            replicas,
            volumes,
            control: process,
        };
        for number in [0, 1] {
            installation.bind(number);
            installation.start(number);
        }
        installation.wait_until_admitting();
        installation
    }

    /// `sparkmesh` with these arguments and the configuration of the webhook's container.
    pub(crate) fn offline(&self, subcommand: &[&str]) -> Command {
        let nobody = Path::new("/dev/null");
        let mut command = self.volumes.command(self.cluster, nobody, SPARKMESH);
        command.args(subcommand).args(["--config", CONFIG]);
        command
    }

    /// Starts a replica and tells the API server when it is ready.
    pub(crate) fn start(&mut self, number: usize) {
        let replica = &mut self.replicas[number];
        replica.starts += 1;
        let name = format!("webhook-{number}-{}", replica.starts);
        let rights = self.cluster.kubeconfig_of(NAMESPACE, "sparkmesh-webhook");
        let mut command = self.volumes.command(self.cluster, &rights, SPARKMESH);
        command.args(&replica.arguments);
        command.args(["--listen", &format!("{}:10250", replica.address)]);
        command.args(["--admin-listen", &format!("{}:9090", replica.address)]);
        replica.process = Some(self.cluster.start_process(&name, command));
        eventually(&format!("{name} is ready"), || {
            self.replicas[number].process.as_mut()?.assert_running();
            self.admin(number, "/readyz")
        });
        self.tell_readiness(number, true);
    }

    /// SIGKILL. The API server does not know yet.
    pub(crate) fn kill(&mut self, number: usize) {
        if let Some(mut process) = self.replicas[number].process.take() {
            process.kill();
        }
    }

    /// Takes a replica's process away, to end it in another way than by [`kill`](Self::kill).
    pub(crate) fn take(&mut self, number: usize) -> Process {
        let process = self.replicas[number].process.take();
        process.expect("it runs")
    }

    /// What the kubelet of a pod's node tells the API server.
    pub(crate) fn tell_readiness(&self, number: usize, ready: bool) {
        let Replica { pod, address, .. } = &self.replicas[number];
        let status = json!({"status": {
            "phase": "Running", "podIP": address, "podIPs": [{"ip": address}],
            "conditions": [{"type": "Ready", "status": if ready { "True" } else { "False" }}],
        }});
        self.cluster.kubectl(&[
            "patch",
            "pod",
            pod,
            "--namespace",
            NAMESPACE,
            "--subresource",
            "status",
            "--patch",
            &status.to_string(),
        ]);
    }

    /// Waits until a pod in a labelled namespace is let through by the webhook.
    pub(crate) fn wait_until_admitting(&self) {
        let pod = crate::admission::pod(crate::TEAM, "first");
        eventually("the webhook answers the API server", || {
            self.api.create_dry(&pod).ok()
        });
    }

    /// The addresses on which the running replicas take reviews.
    pub(crate) fn reviewers(&self) -> Vec<SocketAddr> {
        let running = self.replicas.iter().filter(|it| it.process.is_some());
        running
            .map(|it| SocketAddr::new(it.address.parse().expect("an address"), 10250))
            .collect()
    }

    /// Reviews that the running replicas have answered.
    pub(crate) fn reviews(&self) -> u64 {
        self.count("sparkmesh_webhook_reviews_total{")
    }

    /// The sum of a metric, over labels and running replicas.
    pub(crate) fn count(&self, line: &str) -> u64 {
        (0..self.replicas.len())
            .filter_map(|number| self.admin(number, "/metrics"))
            .map(|metrics| {
                let lines = metrics.lines().filter(|found| found.starts_with(line));
                lines
                    .filter_map(|found| found.rsplit(' ').next()?.parse::<u64>().ok())
                    .sum::<u64>()
            })
            .sum()
    }

    /// All that control and the replicas logged, in all their lives.
    pub(crate) fn logs(&self) -> String {
        let mut all = self.control.log();
        for (number, replica) in self.replicas.iter().enumerate() {
            for start in 1..=replica.starts {
                let log = self
                    .cluster
                    .folder()
                    .join(format!("webhook-{number}-{start}.log"));
                all.push_str(&std::fs::read_to_string(log).unwrap_or_default());
            }
        }
        all
    }

    /// The authorities by which the API server knows the webhook, PEM; empty where there are none.
    pub(crate) fn ca_bundle(&self) -> String {
        let kind = Kind::new(
            "admissionregistration.k8s.io/v1",
            "MutatingWebhookConfiguration",
        );
        let configuration = self.api.find(&kind, "", CONFIGURATION).unwrap_or_default();
        let bundle = &configuration["webhooks"][0]["clientConfig"]["caBundle"];
        decoded(bundle.as_str().unwrap_or_default())
    }

    /// What a replica's admin server answers, if that is 200.
    fn admin(&self, number: usize, path: &str) -> Option<String> {
        let replica = &self.replicas[number];
        replica.process.as_ref()?;
        let url = format!("http://{}:9090{path}", replica.address);
        self.api.runtime().block_on(async {
            let plain = Client::builder().no_proxy().build().expect("a client");
            let response = plain.get(url).send().await.ok()?;
            let response = response.error_for_status().ok()?;
            response.text().await.ok()
        })
    }

    fn bind(&self, number: usize) {
        let pod = &self.replicas[number].pod;
        let binding = json!({"apiVersion": "v1", "kind": "Binding", "metadata": {"name": pod},
            "target": {"apiVersion": "v1", "kind": "Node", "name": NODE}});
        self.api.bind(NAMESPACE, pod, &binding).expect("bound");
    }
}

/// The chart's Deployments and the controllers' work on them are there.
fn pods_of(api: &Api, component: &str) -> [Value; 2] {
    let labels = format!("app.kubernetes.io/component={component}");
    eventually(&format!("two pods of {component}"), || {
        let pods = api.list(&Kind::core("Pod"), NAMESPACE, &labels);
        pods.try_into().ok()
    })
}

fn arguments(pod: &Value) -> Vec<String> {
    let list = pod["spec"]["containers"][0]["args"].as_array();
    let words = list.into_iter().flatten().filter_map(Value::as_str);
    words.map(str::to_owned).collect()
}

pub(crate) fn name_of(object: &Value) -> String {
    let name = object["metadata"]["name"].as_str();
    name.expect("an object of the API server").to_owned()
}

pub(crate) fn decoded(base64: &str) -> String {
    let bytes = STANDARD.decode(base64).expect("base64");
    String::from_utf8(bytes).expect("text")
}

/// Makes a namespace in which pods can be created at once.
pub(crate) fn make_namespace(api: &Api, name: &str, labelled: bool) {
    let labels = if labelled {
        json!({"sparkmesh.dev/injection": "enabled"})
    } else {
        json!({})
    };
    api.create(&json!({"apiVersion": "v1", "kind": "Namespace",
        "metadata": {"name": name, "labels": labels}}))
        .expect("a new namespace");
    for account in ["spark", "spark-operator-spark"] {
        api.create(
            &json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": account, "namespace": name}}),
        )
        .expect("a service account");
    }
    eventually("the namespace's service account", || {
        api.find(&Kind::core("ServiceAccount"), name, "default")
    });
}
