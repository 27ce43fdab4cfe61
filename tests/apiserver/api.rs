//! The API server as the cluster's administrator sees it, many requests at a time.

use std::fmt;
use std::sync::Arc;

use futures_util::StreamExt;
use futures_util::stream;
use http_body_util::BodyExt;
use kube::api::{ApiResource, DynamicObject, GroupVersionKind};
use kube::client::Body;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::core::Request;
use kube::core::params::{DeleteParams, GetParams, ListParams, Patch, PatchParams, PostParams};
use kube::{Client, Config, Resource};
use serde_json::{Value, json};
use sparkmesh::tls;
use tokio::runtime::{Builder, Runtime};

use crate::cluster::Cluster;

/// What the API server answers to what it does not do.
#[derive(Clone, Debug)]
pub(crate) struct Refused {
    pub(crate) code: u16,
    pub(crate) message: String,
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.code, self.message)
    }
}

pub(crate) type Answer<T = Value> = Result<T, Refused>;

/// Clones share the connections.
#[derive(Clone)]
pub(crate) struct Api {
    runtime: Arc<Runtime>,
    client: Client,
}

impl Api {
    /// Must be called inside the cluster's network.
    pub(crate) fn new(cluster: &Cluster) -> Api {
        tls::install_provider();
        let runtime = Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .expect("a runtime");
        let client = runtime.block_on(async {
            let file = Kubeconfig::read_from(cluster.run().join("kubeconfig")).expect("readable");
            let config = Config::from_custom_kubeconfig(file, &KubeConfigOptions::default()).await;
            Client::try_from(config.expect("a kubeconfig")).expect("a client")
        });
        Api {
            runtime: Arc::new(runtime),
            client,
        }
    }

    /// Where what a test serves itself can run.
    pub(crate) fn runtime(&self) -> &Arc<Runtime> {
        &self.runtime
    }

    /// Creates an object of any kind.
    pub(crate) fn create(&self, object: &Value) -> Answer {
        self.runtime
            .block_on(create(&self.client, object, PostParams::default()))
    }

    /// Goes through all of a creation but the storing.
    pub(crate) fn create_dry(&self, object: &Value) -> Answer {
        let dry = PostParams {
            dry_run: true,
            ..PostParams::default()
        };
        self.runtime.block_on(create(&self.client, object, dry))
    }

    /// Creates them all, some at a time; `after` is called with the number of answers so far. The
    /// answers are in the order of the objects.
    pub(crate) fn create_all(
        &self,
        objects: &[Value],
        at_once: usize,
        mut after: impl FnMut(usize),
    ) -> Vec<Answer> {
        self.runtime.block_on(async {
            let mut answers = stream::iter(objects)
                .map(|object| create(&self.client, object, PostParams::default()))
                .buffered(at_once);
            let mut all = Vec::with_capacity(objects.len());
            while let Some(answer) = answers.next().await {
                all.push(answer);
                after(all.len());
            }
            all
        })
    }

    /// The object, if it is there.
    pub(crate) fn find(&self, kind: &Kind, namespace: &str, name: &str) -> Option<Value> {
        let request = kind.at(namespace).get(name, &GetParams::default());
        match self.send(request) {
            Ok(object) => Some(object),
            Err(refused) if refused.code == 404 => None,
            Err(refused) => panic!("{} {name}: {refused}", kind.0.kind),
        }
    }

    /// All objects of a kind in a namespace with these labels.
    pub(crate) fn list(&self, kind: &Kind, namespace: &str, labels: &str) -> Vec<Value> {
        let mut of = ListParams::default();
        if !labels.is_empty() {
            of = of.labels(labels);
        }
        let list = self.send(kind.at(namespace).list(&of));
        let mut list = list.unwrap_or_else(|refused| panic!("{}: {refused}", kind.0.kind));
        let Value::Array(mut items) = list["items"].take() else {
            return Vec::new();
        };
        // Items of a list are sent without these two.
        for item in &mut items {
            item["apiVersion"] = json!(kind.0.api_version);
            item["kind"] = json!(kind.0.kind);
        }
        items
    }

    pub(crate) fn merge(&self, kind: &Kind, namespace: &str, name: &str, patch: &Value) -> Answer {
        let patch = Patch::Merge(patch);
        let request = kind.at(namespace);
        self.send(request.patch(name, &PatchParams::default(), &patch))
    }

    /// Says on which node a pod runs.
    pub(crate) fn bind(&self, namespace: &str, pod: &str, binding: &Value) -> Answer {
        let body = serde_json::to_vec(binding).expect("JSON");
        let request = Kind::core("Pod").at(namespace);
        self.send(request.create_subresource("binding", pod, &PostParams::default(), body))
    }

    /// Begins the end of an object, without grace.
    pub(crate) fn delete(&self, kind: &Kind, namespace: &str, name: &str) -> Answer {
        let now = DeleteParams::default().grace_period(0);
        self.send(kind.at(namespace).delete(name, &now))
    }

    /// How many bytes an object has in the form in which it is stored.
    pub(crate) fn stored_size(&self, kind: &Kind, namespace: &str, name: &str) -> usize {
        let request = kind.at(namespace).get(name, &GetParams::default());
        let mut request = request.expect("a legal request").map(Body::from);
        let stored = "application/vnd.kubernetes.protobuf".parse();
        request
            .headers_mut()
            .insert(http::header::ACCEPT, stored.expect("a media type"));
        self.runtime.block_on(async {
            let response = self.client.send(request).await.expect("an answer");
            assert_eq!(response.status(), 200);
            let body = response.into_body().collect().await.expect("a body");
            body.to_bytes().len()
        })
    }

    fn send(&self, request: Result<http::Request<Vec<u8>>, kube::core::request::Error>) -> Answer {
        let request = request.expect("a legal request");
        self.runtime
            .block_on(self.client.request(request))
            .map_err(refused)
    }
}

async fn create(client: &Client, object: &Value, how: PostParams) -> Answer {
    let text = |pointer| object.pointer(pointer).and_then(Value::as_str);
    let kind = Kind::new(
        text("/apiVersion").unwrap_or_default(),
        text("/kind").unwrap_or_default(),
    );
    let namespace = text("/metadata/namespace").unwrap_or_default();
    let body = serde_json::to_vec(object).expect("JSON");
    let request = kind.at(namespace).create(&how, body);
    client
        .request(request.expect("a legal request"))
        .await
        .map_err(refused)
}

fn refused(error: kube::Error) -> Refused {
    match error {
        kube::Error::Api(status) => Refused {
            code: status.code,
            message: status.message.clone(),
        },
        other => Refused {
            code: 0,
            message: other.to_string(),
        },
    }
}

/// A kind of objects, and under which address the API server has them.
pub(crate) struct Kind(ApiResource);

impl Kind {
    pub(crate) fn new(api_version: &str, kind: &str) -> Kind {
        let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
        Kind(ApiResource::from_gvk(&GroupVersionKind::gvk(
            group, version, kind,
        )))
    }

    pub(crate) fn core(kind: &str) -> Kind {
        Kind::new("v1", kind)
    }

    /// Empty is for kinds of the whole cluster.
    fn at(&self, namespace: &str) -> Request {
        let namespace = Some(namespace).filter(|name| !name.is_empty());
        Request::new(DynamicObject::url_path(&self.0, namespace))
    }
}
