//! The webhook as a process of its own, and the files it is given.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, anyhow, bail, ensure};
use serde_json::Value;
use tempfile::TempDir;

/// Long enough for a busy machine.
const PATIENCE: Duration = Duration::from_secs(30);
const PAUSE: Duration = Duration::from_millis(5);
/// The CA stands in for that of the control plane too, whose certificate each proxy is given.
const CONFIG: &str = "control: {caFile: ca.crt}\n";

/// Certificates and configuration, in a folder that goes with this value.
pub(crate) struct Files {
    folder: TempDir,
    facts: PathBuf,
}

impl Files {
    pub(crate) fn make(repository: &Path) -> anyhow::Result<Files> {
        let folder = tempfile::Builder::new()
            .prefix("sparkmesh-demo-")
            .tempdir()
            .context("no temporary folder can be made")?;
        let script = repository.join("certs/dev.sh");
        let output = Command::new(&script)
            .arg(folder.path())
            .output()
            .with_context(|| format!("{} cannot be run; is bash installed?", script.display()))?;
        ensure!(
            output.status.success(),
            "no certificates: {}",
            String::from_utf8_lossy(&output.stderr).trim()
        );
        let config = folder.path().join("config.yaml");
        std::fs::write(&config, CONFIG)
            .with_context(|| format!("{} cannot be written", config.display()))?;
        Ok(Files {
            folder,
            facts: repository.join("examples/mesh"),
        })
    }

    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The certificate of the one authority that the client trusts, PEM.
    pub(crate) fn authority(&self) -> anyhow::Result<String> {
        let path = self.folder.path().join("ca.crt");
        std::fs::read_to_string(&path).with_context(|| format!("{} is missing", path.display()))
    }

    /// What decisions depend on, as arguments of any subcommand that decides.
    pub(crate) fn arguments(&self) -> Vec<String> {
        let config = self.folder.path().join("config.yaml");
        [("--config", &config), ("--from-files", &self.facts)]
            .into_iter()
            .flat_map(|(flag, path)| [flag.to_owned(), path.display().to_string()])
            .collect()
    }
}

/// A running webhook; it is killed when dropped.
pub(crate) struct Webhook {
    child: Child,
    log: Arc<Mutex<Vec<String>>>,
    listen: SocketAddr,
    admin: SocketAddr,
    command_line: String,
}

impl Webhook {
    /// Starts it on free ports of loop-back and waits until it is ready.
    pub(crate) async fn start(program: &Path, files: &Files) -> anyhow::Result<Webhook> {
        let mut arguments = vec!["webhook".to_owned()];
        arguments.extend(files.arguments());
        for (flag, file) in [("--tls-cert", "tls.crt"), ("--tls-key", "tls.key")] {
            let path = files.folder().join(file).display().to_string();
            arguments.extend([flag.to_owned(), path]);
        }
        let local = ["--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0"];
        arguments.extend(local.map(str::to_owned));
        let command_line = format!("sparkmesh {}", arguments.join(" "));
        // In a cluster it serves on until the end of readiness got about; nobody else asks here.
        arguments.extend(["--drain-grace", "0"].map(str::to_owned));
        let mut child = Command::new(program)
            .args(&arguments)
            .stdin(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .with_context(|| format!("{} cannot be started", program.display()))?;
        let log = follow(&mut child)?;
        let nowhere = SocketAddr::from(([127, 0, 0, 1], 0));
        let mut webhook = Webhook {
            child,
            log,
            listen: nowhere,
            admin: nowhere,
            command_line,
        };
        let ready = webhook.wait_until_ready().await;
        webhook.explained(ready)?;
        Ok(webhook)
    }

    async fn wait_until_ready(&mut self) -> anyhow::Result<()> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.child.try_wait()? {
                bail!("the webhook ended with {status} before it was ready");
            }
            if let Some((listen, admin)) = self.line(addresses) {
                (self.listen, self.admin) = (listen, admin);
                if matches!(self.admin("/readyz").await, Ok((200, _))) {
                    return Ok(());
                }
            }
            ensure!(Instant::now() < deadline, "the webhook did not get ready");
            tokio::time::sleep(PAUSE).await;
        }
    }

    pub(crate) fn listen(&self) -> SocketAddr {
        self.listen
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// As a person would type it.
    pub(crate) fn command_line(&self) -> &str {
        &self.command_line
    }

    /// How long the webhook itself says that a review took, by the review's uid.
    pub(crate) async fn took(&self, uid: &str) -> anyhow::Result<Duration> {
        let deadline = Instant::now() + PATIENCE;
        let of_review = |line: &Value| {
            let microseconds = line["took_us"].as_u64()?;
            (line["uid"] == uid).then(|| Duration::from_micros(microseconds))
        };
        loop {
            if let Some(took) = self.line(of_review) {
                return Ok(took);
            }
            ensure!(
                Instant::now() < deadline,
                "the webhook logged no line about review {uid}"
            );
            tokio::time::sleep(PAUSE).await;
        }
    }

    pub(crate) async fn metrics(&self) -> anyhow::Result<String> {
        let (status, text) = self.admin("/metrics").await?;
        ensure!(status == 200, "/metrics answered {status}");
        Ok(text)
    }

    async fn admin(&self, path: &str) -> reqwest::Result<(u16, String)> {
        sparkmesh::tls::install_provider();
        let client = reqwest::Client::builder()
            .no_proxy()
            .timeout(PATIENCE)
            .build()?;
        let url = format!("http://{}{path}", self.admin);
        let response = client.get(url).send().await?;
        Ok((response.status().as_u16(), response.text().await?))
    }

    /// Asks it to end, and waits until it has.
    pub(crate) async fn terminate(&mut self) -> anyhow::Result<ExitStatus> {
        let id = self.child.id().to_string();
        let sent = Command::new("sh")
            .args(["-c", "kill -TERM $0", &id])
            .status();
        ensure!(
            sent.context("sh cannot be run")?.success(),
            "SIGTERM could not be sent to process {id}"
        );
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.child.try_wait()? {
                return Ok(status);
            }
            ensure!(
                Instant::now() < deadline,
                "the webhook did not end after SIGTERM"
            );
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// A failure with the end of the webhook's log, which mostly says why.
    pub(crate) fn explained<T>(&self, result: anyhow::Result<T>) -> anyhow::Result<T> {
        result.map_err(|error| {
            let log = self.log.lock().unwrap_or_else(PoisonError::into_inner);
            let end = &log[log.len().saturating_sub(5)..];
            anyhow!(
                "{error:#}\nThe webhook's log ends with:\n{}",
                end.join("\n")
            )
        })
    }

    /// The first line of the log in which something is found.
    fn line<T>(&self, found: impl Fn(&Value) -> Option<T>) -> Option<T> {
        let log = self.log.lock().unwrap_or_else(PoisonError::into_inner);
        log.iter()
            .filter_map(|line| serde_json::from_str(line).ok())
            .find_map(|line| found(&line))
    }
}

impl Drop for Webhook {
    fn drop(&mut self) {
        // Both fail only if it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Gathers what a process writes to stderr, line by line.
fn follow(child: &mut Child) -> anyhow::Result<Arc<Mutex<Vec<String>>>> {
    let stderr = child.stderr.take().context("its log cannot be read")?;
    let log = Arc::new(Mutex::new(Vec::new()));
    let lines = log.clone();
    std::thread::spawn(move || {
        for line in BufReader::new(stderr).lines().map_while(Result::ok) {
            lines
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .push(line);
        }
    });
    Ok(log)
}

fn addresses(line: &Value) -> Option<(SocketAddr, SocketAddr)> {
    let address = |key: &str| line[key].as_str()?.parse().ok();
    Some((address("listen")?, address("admin")?))
}
