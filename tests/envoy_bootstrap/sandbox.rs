//! A pod's surroundings: network and mount namespaces of the test's own.

use std::env;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::process::Command;
use std::time::Duration;

pub(crate) const POD_IP: &str = "10.9.0.1";
pub(crate) const POD_IP6: &str = "fd00:9::1";
/// A server outside of the pod.
pub(crate) const SERVER_IP: &str = "10.8.0.2";
pub(crate) const SERVER_IP6: &str = "fd00:8::2";

const MARK: &str = "SPARKMESH_TEST_SANDBOX";

/// Runs `body`, which must be a test's only statement, in a pod of its own.
pub(crate) fn in_a_pod<F: AsyncFnOnce()>(body: F) {
    if env::var_os(MARK).is_some() {
        prepare();
        return tokio::runtime::Runtime::new()
            .expect("a runtime")
            .block_on(body());
    }
    let test = test_name::<F>();
    if fs::metadata("/proc/self").expect("procfs").uid() != 0 {
        assert!(env::var_os("CI").is_none(), "{test} needs root");
        eprintln!("SKIPPED: {test} needs root for a network namespace");
        return;
    }
    let output = Command::new("unshare")
        .args(["--net", "--mount", "--"])
        .arg(env::current_exe().expect("this binary"))
        .args([&test, "--exact", "--nocapture", "--test-threads=1"])
        .env(MARK, "1")
        .output()
        .expect("unshare");
    let stdout = String::from_utf8_lossy(&output.stdout);
    let ran = stdout.contains("1 passed");
    assert!(
        output.status.success() && ran,
        "{stdout}{}",
        String::from_utf8_lossy(&output.stderr)
    );
}

/// A closure's type is named after the function that holds it.
fn test_name<F>() -> String {
    let name = std::any::type_name::<F>();
    let (_crate, path) = name.split_once("::").expect("a path");
    path.trim_end_matches("::{{closure}}").to_owned()
}

/// The pod's addresses lie on `lo`, and so does the server's; what `sparkmesh init` does for
/// connections from and to other hosts is done here for local ones.
fn prepare() {
    run("ip", &["link", "set", "lo", "up"]);
    for address in [POD_IP, SERVER_IP] {
        run(
            "ip",
            &["address", "add", &format!("{address}/32"), "dev", "lo"],
        );
    }
    for address in [POD_IP6, SERVER_IP6] {
        run(
            "ip",
            &[
                "-6",
                "address",
                "add",
                &format!("{address}/128"),
                "dev",
                "lo",
                "nodad",
            ],
        );
    }
    for (iptables, pod, server) in [
        ("iptables", POD_IP, SERVER_IP),
        ("ip6tables", POD_IP6, SERVER_IP6),
    ] {
        let nat = |rule: &[&str]| {
            run(
                iptables,
                &[&["-w", "-t", "nat", "-A", "OUTPUT", "-p", "tcp"], rule].concat(),
            );
        };
        nat(&["-m", "owner", "--uid-owner", "1337", "-j", "RETURN"]);
        nat(&[
            "-d",
            pod,
            "-m",
            "multiport",
            "!",
            "--dports",
            "15001,15021,15090",
            "-j",
            "REDIRECT",
            "--to-ports",
            "15006",
        ]);
        nat(&["-d", server, "-j", "REDIRECT", "--to-ports", "15001"]);
    }
    run("mount", &["-t", "tmpfs", "none", "/run"]);
}

pub(crate) fn run(program: &str, args: &[&str]) {
    let output = Command::new(program).args(args).output().expect(program);
    assert!(
        output.status.success(),
        "{program} {args:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
}

/// What `look` finds, once it finds something.
pub(crate) async fn eventually<T>(what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    for _ in 0..600 {
        if let Some(found) = look().await {
            return found;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("never: {what}");
}
