//! The real Envoy, and what Kubernetes does to its arguments before it starts.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::thread;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;

use sparkmesh_injection::bootstrap::NO_HOT_RESTART;

use crate::sandbox::{POD_IP, run};

/// Where the pinned binary lies; installed by the first test that asks.
pub(crate) fn binary() -> &'static Path {
    static BINARY: OnceLock<PathBuf> = OnceLock::new();
    BINARY.get_or_init(|| {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/tools/envoy.sh");
        let output = Command::new(script)
            .stderr(Stdio::inherit())
            .output()
            .expect("tests/tools/envoy.sh");
        assert!(
            output.status.success(),
            "tests/tools/envoy.sh installs Envoy"
        );
        let printed = String::from_utf8(output.stdout).expect("a path");
        PathBuf::from(printed.lines().last().expect("a path"))
    })
}

/// Container arguments as Kubernetes expands them: `$(NAME)` of a known variable is replaced, `$$`
/// is one `$`, anything else stays as it is.
pub(crate) fn expand(text: &str, variables: &[(&str, &str)]) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('$') {
        out.push_str(before);
        let reference = after
            .strip_prefix('(')
            .and_then(|inner| inner.split_once(')'));
        if let Some(behind) = after.strip_prefix('$') {
            out.push('$');
            rest = behind;
        } else if let Some((name, behind)) = reference {
            match variables.iter().find(|(known, _)| *known == name) {
                Some((_, value)) => out.push_str(value),
                None => out.extend(["$(", name, ")"]),
            }
            rest = behind;
        } else {
            out.push('$');
            rest = after;
        }
    }
    out + rest
}

pub(crate) fn expanded_for_a_pod(text: &str, pod_ip: &str) -> String {
    expand(
        text,
        &[
            ("POD_IP", pod_ip),
            ("POD_NAME", "1"),
            ("POD_NAMESPACE", "5"),
        ],
    )
}

/// A running proxy; it ends with this value.
pub(crate) struct Envoy {
    child: Child,
}

const LOG: &str = "/run/envoy.log";

impl Envoy {
    /// Starts the proxy in a pod whose address is [`POD_IP`], as the proxy's user.
    pub(crate) fn start(text: &str) -> Envoy {
        let user = sparkmesh_policy::names::PROXY_UID.to_string();
        for folder in [
            sparkmesh_policy::names::RUN_FOLDER,
            sparkmesh_policy::names::TOKEN_FOLDER,
        ] {
            fs::create_dir_all(folder).expect("a folder for the proxy");
            run("chown", &[&user, folder]);
        }
        fs::write(
            format!(
                "{}/{}",
                sparkmesh_policy::names::TOKEN_FOLDER,
                sparkmesh_policy::names::TOKEN_FILE
            ),
            "the-token",
        )
        .expect("the token");
        // The cache may lie where the proxy's user may not look.
        let binary_here = "/run/envoy";
        if !Path::new(binary_here).exists() {
            File::create(binary_here).expect("a place to mount");
            run(
                "mount",
                &[
                    "--bind",
                    binary().to_str().expect("a plain path"),
                    binary_here,
                ],
            );
        }
        let log = File::create(LOG).expect("the log");
        let child = Command::new("setpriv")
            .args([
                "--reuid",
                &user,
                "--regid",
                &user,
                "--clear-groups",
                "--inh-caps=-all",
                "--bounding-set=-all",
                binary_here,
            ])
            .args([
                NO_HOT_RESTART,
                "--concurrency",
                "1",
                "-l",
                "info",
                "--config-yaml",
                &expanded_for_a_pod(text, POD_IP),
            ])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("setpriv");
        Envoy { child }
    }

    /// What the admin interface answers on its socket.
    pub(crate) async fn admin(&self, path: &str) -> String {
        let socket = format!("{}/admin.sock", sparkmesh_policy::names::RUN_FOLDER);
        let mut stream = UnixStream::connect(&socket)
            .await
            .expect("the admin socket");
        let request = format!("GET {path} HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n");
        stream
            .write_all(request.as_bytes())
            .await
            .expect("a request");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.expect("an answer");
        answer
    }

    /// The sum of a counter over the names that end so.
    pub(crate) async fn counter(&self, name_end: &str) -> u64 {
        let stats = self.admin("/stats").await;
        let values = stats.lines().filter_map(|line| line.split_once(": "));
        values
            .filter(|(name, _)| name.ends_with(name_end))
            .filter_map(|(_, value)| value.trim().parse::<u64>().ok())
            .sum()
    }
}

impl Drop for Envoy {
    fn drop(&mut self) {
        // It may have ended by itself; then there is nothing to end.
        let _ = self.child.kill();
        let _ = self.child.wait();
        if thread::panicking() {
            eprintln!("{}", fs::read_to_string(LOG).unwrap_or_default());
        }
    }
}
