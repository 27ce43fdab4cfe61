//! A real Kubernetes control plane for one test binary: etcd, API server and controller-manager in a
//! network namespace of their own (`tests/cluster`), so nothing of it leaves the machine.
//!
//! A bench takes some twenty seconds to start, so a test binary has one `#[test]` that starts it and
//! then goes through its cases in order:
//!
//! ```ignore
//! #[test]
//! fn something_on_an_api_server() {
//!     let Some(cluster) = Cluster::start() else { return };
//!     cluster.apply("{apiVersion: v1, kind: Namespace, metadata: {name: team}}");
//!     let pods = cluster.object("pods", "team", "driver");
//! }
//! ```
//!
//! Dropping the [`Cluster`] ends everything, after a panic too. Then its folder, with the logs, stays.
//! Processes that a test starts inside are [`Process`]es: dropped, they are ended as well. Declare
//! them after the cluster, so that they go first.

#![allow(dead_code)] // each test file is a crate of its own and uses another part

use std::fs::File;
use std::io::Write;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::time::{Duration, Instant};

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use serde_json::{Value, json};
use tempfile::TempDir;

/// Long enough for a machine that is busy otherwise; no test passes by being slow.
const PATIENCE: Duration = Duration::from_mins(2);
const PAUSE: Duration = Duration::from_millis(100);

/// A control plane that is up.
pub(crate) struct Cluster {
    folder: Option<TempDir>,
}

impl Cluster {
    /// Starts one. Without root it says so and gives nothing; where `CI` is set it panics instead.
    ///
    /// # Panics
    /// When the bench does not come up; its own messages are on stderr.
    pub(crate) fn start() -> Option<Cluster> {
        if !is_root() {
            skip("a real API server needs root, for a network namespace of its own: run as root");
            return None;
        }
        let folder = tempfile::Builder::new()
            .prefix("sparkmesh-cluster-")
            .tempdir()
            .expect("a folder");
        let cluster = Cluster {
            folder: Some(folder),
        };
        let up = Command::new(bench("up.sh"))
            .arg(cluster.run())
            .status()
            .expect("up.sh can be run");
        assert!(up.success(), "the cluster did not start: {up}");
        Some(cluster)
    }

    /// The folder of this test: whatever is put here goes with the cluster, logs included.
    pub(crate) fn folder(&self) -> &Path {
        self.folder
            .as_ref()
            .expect("taken only when dropped")
            .path()
    }

    /// The bench's own folder: `kubeconfig`, `logs`, `pki`, `bin`.
    pub(crate) fn run(&self) -> PathBuf {
        self.folder().join("bench")
    }

    /// A command inside the cluster's network, as its administrator: `kubectl` and `helm` are on its
    /// `PATH`, `KUBECONFIG` is set.
    pub(crate) fn command(&self, program: &str) -> Command {
        self.command_as(&self.run().join("kubeconfig"), program)
    }

    /// As [`command`](Cluster::command), with another kubeconfig.
    pub(crate) fn command_as(&self, kubeconfig: &Path, program: &str) -> Command {
        let mut command = Command::new(bench("enter.sh"));
        command
            .arg(self.run())
            .arg("env")
            .arg(assignment("KUBECONFIG", kubeconfig))
            .arg(program);
        command
    }

    /// Does `work` on a thread inside the cluster's network; threads that it starts are inside, too.
    ///
    /// # Panics
    /// As `work` does.
    pub(crate) fn enter<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        let name = std::fs::read_to_string(self.run().join("netns")).expect("the bench wrote it");
        let network = File::open(Path::new("/run/netns").join(name.trim())).expect("it is there");
        std::thread::scope(|scope| {
            let inside = scope.spawn(|| {
                move_into_link_name_space(network.as_fd(), Some(LinkNameSpaceType::Network))
                    .expect("root may enter it");
                work()
            });
            inside
                .join()
                .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }

    /// Runs kubectl and gives its output, whatever came of it.
    pub(crate) fn try_kubectl(&self, arguments: &[&str]) -> Output {
        self.command("kubectl")
            .args(arguments)
            .output()
            .expect("kubectl can be run")
    }

    /// Runs kubectl and gives what it printed.
    ///
    /// # Panics
    /// When kubectl fails, with what it said.
    pub(crate) fn kubectl(&self, arguments: &[&str]) -> String {
        succeeded(
            self.try_kubectl(arguments),
            &format!("kubectl {}", arguments.join(" ")),
        )
    }

    /// Applies manifests, YAML or JSON.
    ///
    /// # Panics
    /// When they are refused, with the reason.
    pub(crate) fn apply(&self, manifests: &str) {
        let mut kubectl = self
            .command("kubectl")
            .args(["apply", "--server-side", "--filename", "-"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("kubectl can be run");
        let mut input = kubectl.stdin.take().expect("it is piped");
        input
            .write_all(manifests.as_bytes())
            .expect("kubectl reads its input");
        drop(input);
        succeeded(
            kubectl.wait_with_output().expect("kubectl ends"),
            "kubectl apply",
        );
    }

    /// An object as the API server has it, if it does. `namespace` is empty for cluster-wide kinds.
    pub(crate) fn object(&self, kind: &str, namespace: &str, name: &str) -> Option<Value> {
        let mut arguments = vec!["get", kind, name, "--output", "json", "--ignore-not-found"];
        if !namespace.is_empty() {
            arguments.extend(["--namespace", namespace]);
        }
        let text = self.kubectl(&arguments);
        (!text.trim().is_empty()).then(|| serde_json::from_str(&text).expect("kubectl prints JSON"))
    }

    /// Changes an object by a JSON merge patch.
    ///
    /// # Panics
    /// When it is refused, with the reason.
    pub(crate) fn merge(&self, kind: &str, namespace: &str, name: &str, patch: &Value) {
        let patch = patch.to_string();
        let mut arguments = vec!["patch", kind, name, "--type", "merge", "--patch", &patch];
        if !namespace.is_empty() {
            arguments.extend(["--namespace", namespace]);
        }
        self.kubectl(&arguments);
    }

    /// The chart of this repository, rendered for a namespace; `arguments` are further ones of
    /// `helm template`.
    ///
    /// # Panics
    /// When it cannot be rendered, with the reason.
    pub(crate) fn rendered_chart(&self, namespace: &str, arguments: &[&str]) -> String {
        let mut helm = self.command("helm");
        helm.args(["template", "sparkmesh", "--namespace", namespace])
            .args(arguments);
        helm.arg(repository().join("charts/sparkmesh"));
        succeeded(helm.output().expect("helm can be run"), "helm template")
    }

    /// A kubeconfig with the rights of a service account and no others.
    ///
    /// # Panics
    /// When the service account is not there.
    pub(crate) fn kubeconfig_of(&self, namespace: &str, service_account: &str) -> PathBuf {
        let token = self.kubectl(&["create", "token", service_account, "--namespace", namespace]);
        let own = self.kubectl(&["config", "view", "--raw", "--minify", "--output", "json"]);
        let mut config: Value = serde_json::from_str(&own).expect("kubectl prints JSON");
        config["users"][0]["user"] = json!({"token": token.trim()});
        config["contexts"][0]["context"]["namespace"] = json!(namespace);
        let path = self
            .folder()
            .join(format!("{namespace}-{service_account}.kubeconfig"));
        std::fs::write(&path, config.to_string()).expect("the folder can be written");
        path
    }

    /// Suspends a program of the bench, as `kube-apiserver`, until what this gives is dropped.
    ///
    /// # Panics
    /// When the bench has no such program.
    pub(crate) fn suspend(&self, program: &str) -> Suspended {
        let processes =
            std::fs::read_to_string(self.run().join("processes")).expect("the bench wrote it");
        let of_program = |line: &&str| line.ends_with(&format!(" {program}"));
        let line = processes
            .lines()
            .find(of_program)
            .expect("a program of the bench");
        let id = line.split(' ').next().expect("a process id").to_owned();
        signal("STOP", &id);
        Suspended { id }
    }

    /// Starts a program that runs until it is dropped. `name` is for its log.
    pub(crate) fn start_process(&self, name: &str, mut command: Command) -> Process {
        let log = self.folder().join(format!("{name}.log"));
        let output = File::create(&log).expect("the folder can be written");
        let child = command
            .stdin(Stdio::null())
            .stdout(output.try_clone().expect("a file can be opened twice"))
            .stderr(output)
            .spawn()
            .unwrap_or_else(|error| panic!("{name} cannot be started: {error}"));
        Process {
            name: name.to_owned(),
            child,
            log,
        }
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        let down = Command::new(bench("down.sh")).arg(self.run()).status();
        let folder = self.folder.take().expect("dropped once");
        if std::thread::panicking() || !down.is_ok_and(|status| status.success()) {
            say(&format!(
                "logs and everything else: {}",
                folder.keep().display()
            ));
        }
    }
}

/// A program that a test started. It is killed when this is dropped.
pub(crate) struct Process {
    name: String,
    child: Child,
    log: PathBuf,
}

impl Process {
    /// What it wrote so far, both outputs.
    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// SIGKILL: it has no chance to say goodbye.
    pub(crate) fn kill(&mut self) {
        self.child.kill().expect("it is our child");
        self.child.wait().expect("it is our child");
    }

    /// SIGTERM, as the kubelet sends it, and how the program ended.
    ///
    /// # Panics
    /// When it does not end.
    pub(crate) fn terminate(&mut self) -> ExitStatus {
        self.assert_running();
        signal("TERM", &self.child.id().to_string());
        eventually(&format!("{} ends", self.name), || {
            self.child.try_wait().expect("it is our child")
        })
    }

    /// # Panics
    /// When it has ended, with its log.
    pub(crate) fn assert_running(&mut self) {
        let ended = self.child.try_wait().expect("it is our child");
        assert!(
            ended.is_none(),
            "{} ended: {ended:?}\n{}",
            self.name,
            self.log()
        );
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // An error means that it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            say(&format!("--- log of {}\n{}---", self.name, self.log()));
        }
    }
}

/// A program that goes on when this is dropped.
pub(crate) struct Suspended {
    id: String,
}

impl Drop for Suspended {
    fn drop(&mut self) {
        signal("CONT", &self.id);
    }
}

fn signal(name: &str, id: &str) {
    let sent = Command::new("kill")
        .args(["-s", name, id])
        .status()
        .expect("kill can be run");
    assert!(sent.success(), "no process {id} to send {name} to");
}

/// Looks again and again until `look` finds something.
///
/// # Panics
/// When it finds nothing for too long; `what` says what was awaited.
pub(crate) fn eventually<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < end, "never: {what}");
        std::thread::sleep(PAUSE);
    }
}

/// Says that a test did not run, and why.
///
/// # Panics
/// Where `CI` is set: there, nothing may be left out.
pub(crate) fn skip(why: &str) {
    assert!(
        std::env::var_os("CI").is_none(),
        "CI accepts no skipped test: {why}"
    );
    say(&format!("SKIPPED: {why}"));
}

/// Onto stderr itself: what is printed by macros is shown only when a test fails.
pub(crate) fn say(text: &str) {
    let _ = writeln!(std::io::stderr(), "{text}");
}

fn is_root() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let ids = status
        .lines()
        .find_map(|line| line.strip_prefix("Uid:"))
        .unwrap_or_default();
    ids.split_whitespace().nth(1) == Some("0")
}

/// What a program printed.
///
/// # Panics
/// When it failed, with what it said.
pub(crate) fn succeeded(output: Output, what: &str) -> String {
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{what}: {}\n{said}", output.status);
    String::from_utf8(output.stdout).expect("text")
}

fn assignment(name: &str, path: &Path) -> std::ffi::OsString {
    let mut text = std::ffi::OsString::from(format!("{name}="));
    text.push(path);
    text
}

pub(crate) fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn bench(script: &str) -> PathBuf {
    repository().join("tests/cluster").join(script)
}
