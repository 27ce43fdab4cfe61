//! A container's volumes as files, kept as a kubelet keeps them: a change of a Secret or `ConfigMap`
//! replaces all its files in one step.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

use crate::api::{Api, Kind};
use crate::cluster::{Cluster, eventually};
use crate::mount::Mount;

/// A kubelet takes up to a minute; nothing may depend on that.
const LOOK_EVERY: Duration = Duration::from_millis(300);

/// Runs a program that sees the volumes where the container would, and nothing else in `/etc`.
const ENTER: &str = r#"
mount -t tmpfs none /etc
while [ "$1" != -- ]; do
  mkdir -p "$2"
  mount --bind "$1" "$2"
  shift 2
done
shift
exec "$@"
"#;

/// The volumes of a pod's first container.
pub(crate) struct Volumes {
    all: Arc<Vec<Volume>>,
    stop: Arc<AtomicBool>,
    follower: Option<JoinHandle<()>>,
}

struct Volume {
    mount_path: String,
    source: Source,
    mount: Mount,
}

/// The object that a volume shows.
struct Source {
    kind: &'static str,
    namespace: String,
    object: String,
    /// Keys and paths; empty stands for all of them.
    items: Vec<(String, String)>,
}

type Files = BTreeMap<String, String>;

impl Volumes {
    /// Waits for the sources, as the pod would, writes their files, and follows the sources.
    pub(crate) fn mount(api: &Api, namespace: &str, pod: &Value) -> Volumes {
        let volumes = pod["spec"]["volumes"].as_array().expect("volumes");
        let mounts = pod["spec"]["containers"][0]["volumeMounts"].as_array();
        let mut all = Vec::new();
        for mount in mounts.expect("mounts") {
            let volume = volumes.iter().find(|it| it["name"] == mount["name"]);
            let Some(source) = Source::of(volume.expect("it is there"), namespace) else {
                continue;
            };
            let what = format!("{} {}", source.kind, source.object);
            let files = eventually(&what, || source.files(api));
            all.push(Volume {
                mount_path: text(&mount["mountPath"]),
                mount: Mount::new(&pairs(&files)),
                source,
            });
        }
        let all = Arc::new(all);
        let stop = Arc::new(AtomicBool::new(false));
        let follower = thread::spawn({
            let (api, all, stop) = (api.clone(), all.clone(), stop.clone());
            move || follow(&api, &all, &stop)
        });
        Volumes {
            all,
            stop,
            follower: Some(follower),
        }
    }

    /// `program` as a process of the cluster's network that sees the volumes.
    pub(crate) fn command(&self, cluster: &Cluster, kubeconfig: &Path, program: &str) -> Command {
        let mut command = cluster.command_as(kubeconfig, "unshare");
        command.args(["--mount", "sh", "-e", "-c", ENTER, "sh"]);
        for volume in self.all.iter() {
            command.arg(volume.mount.folder()).arg(&volume.mount_path);
        }
        command.args(["--", program]);
        command
    }
}

impl Drop for Volumes {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(follower) = self.follower.take() {
            // Its panic has been printed; another one here would hide the first.
            let _ = follower.join();
        }
    }
}

impl Source {
    /// Nothing for volumes of other kinds, such as the token of the service account.
    fn of(volume: &Value, namespace: &str) -> Option<Source> {
        let (kind, named, of) = match (volume.get("secret"), volume.get("configMap")) {
            (Some(of), _) => ("Secret", "secretName", of),
            (_, Some(of)) => ("ConfigMap", "name", of),
            _ => return None,
        };
        let items = of["items"].as_array().into_iter().flatten();
        Some(Source {
            kind,
            namespace: namespace.to_owned(),
            object: text(&of[named]),
            items: items
                .map(|item| (text(&item["key"]), text(&item["path"])))
                .collect(),
        })
    }

    /// Nothing while the object, or an item of it, is not there.
    fn files(&self, api: &Api) -> Option<Files> {
        let object = api.find(&Kind::core(self.kind), &self.namespace, &self.object)?;
        let data = object["data"].as_object()?;
        let content = |value: &Value| match self.kind {
            "Secret" => {
                let bytes = STANDARD.decode(text(value)).expect("base64");
                String::from_utf8(bytes).expect("text")
            }
            _ => text(value),
        };
        if self.items.is_empty() {
            let all = data.iter();
            return Some(
                all.map(|(key, value)| (key.clone(), content(value)))
                    .collect(),
            );
        }
        let items = self.items.iter();
        items
            .map(|(key, path)| Some((path.clone(), content(data.get(key)?))))
            .collect()
    }
}

fn follow(api: &Api, volumes: &[Volume], stop: &AtomicBool) {
    let mut shown: Vec<Option<Files>> = volumes.iter().map(|_| None).collect();
    while !stop.load(Ordering::Relaxed) {
        for (volume, shown) in volumes.iter().zip(&mut shown) {
            // What is gone stays as it was, as on a node.
            if let Some(files) = volume.source.files(api)
                && shown.as_ref() != Some(&files)
            {
                volume.mount.swap(&pairs(&files));
                *shown = Some(files);
            }
        }
        thread::sleep(LOOK_EVERY);
    }
}

fn pairs(files: &Files) -> Vec<(&str, &str)> {
    let pairs = files.iter();
    pairs
        .map(|(name, text)| (name.as_str(), text.as_str()))
        .collect()
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}
