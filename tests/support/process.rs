//! The `sparkmesh` binary as a process of a test.

use std::ffi::OsString;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::{Arc, Mutex};

use serde_json::Value;
use tempfile::TempDir;

use super::certificates::{Authority, Pair};
use super::mount::Mount;
use super::{CONFIG, NAMESPACES, eventually};

pub(crate) fn sparkmesh() -> Command {
    Command::new(env!("CARGO_BIN_EXE_sparkmesh"))
}

/// The files of one webhook, each mounted as the kubelet does.
pub(crate) struct Files {
    pub(crate) authority: Authority,
    pub(crate) pair: Mount,
    pub(crate) config: Mount,
    pub(crate) facts: TempDir,
}

impl Files {
    pub(crate) fn new() -> Files {
        let authority = Authority::new();
        let pair = authority.issue();
        let facts = tempfile::tempdir().expect("a folder");
        std::fs::write(facts.path().join("namespaces.yaml"), NAMESPACES).expect("written");
        Files {
            pair: Mount::new(&pair_files(&pair)),
            config: Mount::new(&[("config.yaml", CONFIG)]),
            facts,
            authority,
        }
    }

    /// Puts another serving pair in place.
    pub(crate) fn swap_pair(&self, pair: &Pair) {
        self.pair.swap(&pair_files(pair));
    }

    /// Arguments of `sparkmesh webhook` on free ports of loop-back, with short times.
    pub(crate) fn arguments(&self) -> Vec<OsString> {
        let mut all: Vec<OsString> = ["webhook", "--listen", "127.0.0.1:0"]
            .map(Into::into)
            .into();
        all.extend(["--admin-listen", "127.0.0.1:0"].map(Into::into));
        all.extend(["--poll", "50", "--drain-grace", "1000"].map(Into::into));
        let files = [
            ("--config", self.config.path("config.yaml")),
            ("--tls-cert", self.pair.path("tls.crt")),
            ("--tls-key", self.pair.path("tls.key")),
            ("--from-files", self.facts.path().to_owned()),
        ];
        for (flag, path) in files {
            all.extend([flag.into(), path.into()]);
        }
        all
    }

    /// Runs the webhook where it is expected to refuse to start; `instead` replaces flags and
    /// their values.
    pub(crate) fn refused(&self, instead: &[&str]) -> Output {
        let mut arguments = self.arguments();
        for flag in instead.iter().filter(|word| word.starts_with("--")) {
            if let Some(place) = arguments.iter().position(|word| word == flag) {
                arguments.drain(place..place + 2);
            }
        }
        let mut command = sparkmesh();
        command.args(arguments).args(instead);
        command.output().expect("it runs")
    }

    /// Starts the webhook and waits until it is ready.
    pub(crate) async fn start(&self) -> Webhook {
        Webhook::start(self.arguments()).await
    }
}

fn pair_files(pair: &Pair) -> [(&'static str, &str); 2] {
    [("tls.crt", &pair.certificate), ("tls.key", &pair.key)]
}

/// A running webhook; it is killed when dropped.
pub(crate) struct Webhook {
    child: Child,
    log: Arc<Mutex<Vec<String>>>,
    pub(crate) listen: SocketAddr,
    pub(crate) admin: SocketAddr,
}

impl Webhook {
    pub(crate) async fn start(arguments: Vec<OsString>) -> Webhook {
        let mut command = sparkmesh();
        command.args(arguments).stderr(Stdio::piped());
        let mut child = command.spawn().expect("it starts");
        let stderr = child.stderr.take().expect("piped");
        let log = Arc::new(Mutex::new(Vec::new()));
        let lines = log.clone();
        std::thread::spawn(move || {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                lines.lock().expect("no writer panics").push(line);
            }
        });
        let (listen, admin) = eventually("it says where it listens", async || {
            if let Some(status) = child.try_wait().expect("it can be asked") {
                panic!("it ended with {status}: {:?}", log.lock());
            }
            let lines = log.lock().expect("no writer panics");
            lines.iter().find_map(|line| addresses(line))
        })
        .await;
        let webhook = Webhook {
            child,
            log,
            listen,
            admin,
        };
        eventually("it is ready", async || {
            (webhook.admin("/readyz").await.0 == 200).then_some(())
        })
        .await;
        webhook
    }

    /// Status and body of a path of the admin server.
    pub(crate) async fn admin(&self, path: &str) -> (u16, String) {
        let url = format!("http://{}{path}", self.admin);
        let Ok(response) = super::client::plain().get(url).send().await else {
            return (0, String::new());
        };
        let status = response.status().as_u16();
        (status, response.text().await.unwrap_or_default())
    }

    /// The value of one line of the metrics, such as `name{label="value"}`; 0 where there is none.
    pub(crate) async fn metric(&self, line: &str) -> u64 {
        let (_, text) = self.admin("/metrics").await;
        text.lines()
            .find_map(|found| found.strip_prefix(line)?.trim().parse().ok())
            .unwrap_or(0)
    }

    /// Waits until a metric has at least that value.
    pub(crate) async fn metric_reaches(&self, line: &str, least: u64) {
        eventually(line, async || {
            (self.metric(line).await >= least).then_some(())
        })
        .await;
    }

    /// The log so far, one JSON object per line.
    pub(crate) fn log(&self) -> Vec<Value> {
        let lines = self.log.lock().expect("no writer panics");
        let json = |line: &String| serde_json::from_str(line).expect("a JSON line");
        lines.iter().map(json).collect()
    }

    /// The process's id.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn terminate(&self) {
        let id = self.child.id().to_string();
        let status = Command::new("kill").args(["-TERM", &id]).status();
        assert!(status.expect("kill runs").success());
    }

    pub(crate) async fn ended(&mut self) -> ExitStatus {
        let child = &mut self.child;
        eventually("it ends", async || {
            child.try_wait().expect("it can be asked")
        })
        .await
    }
}

impl Drop for Webhook {
    fn drop(&mut self) {
        // Both fail only if it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn addresses(line: &str) -> Option<(SocketAddr, SocketAddr)> {
    let line: Value = serde_json::from_str(line).ok()?;
    let address = |key: &str| line[key].as_str()?.parse().ok();
    Some((address("listen")?, address("admin")?))
}
