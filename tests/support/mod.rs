//! What tests of the running binary share: certificates, folders as the kubelet mounts them, the
//! process itself, and clients that trust its certificate.

#![allow(dead_code)] // each test file is a crate of its own and uses another part

pub(crate) mod certificates;
pub(crate) mod client;
pub(crate) mod mount;
pub(crate) mod process;

use std::time::{Duration, Instant};

/// A mesh configuration that is accepted.
pub(crate) const CONFIG: &str = "control: {}\n";
/// A namespace in the mesh, `team`, and one outside, `elsewhere`.
pub(crate) const NAMESPACES: &str = "\
apiVersion: v1
kind: Namespace
metadata: {name: team, labels: {sparkmesh.dev/injection: enabled}}
---
apiVersion: v1
kind: Namespace
metadata: {name: elsewhere}
";

/// Long enough for any machine; nothing here passes by being slow.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// Looks again and again until `look` finds something.
///
/// # Panics
/// When it finds nothing for too long; `what` says what was awaited.
pub(crate) async fn eventually<T>(what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let end = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = look().await {
            return found;
        }
        assert!(Instant::now() < end, "never: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
