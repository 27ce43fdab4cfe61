//! The custom resources as the API server takes them: `crds/README.md` tells the table.

use std::fs;
use std::path::PathBuf;

use serde_json::{Value, json};

use crate::api::Kind;
use crate::cluster::{eventually, repository};
use crate::installation::Installation;

const KIND: (&str, &str) = ("sparkmesh.dev/v1alpha1", "MeshBaseline");

pub(crate) fn the_server_writes_the_defaults_out(mesh: &Installation<'_>) {
    mesh.api
        .create(&baseline(&json!({})))
        .expect("an empty baseline");
    let kind = Kind::new(KIND.0, KIND.1);
    let stored = mesh.api.find(&kind, "", "default").expect("it is there");
    let defaults = json!({
        "trustDomain": "cluster.local",
        "tls": {"minVersion": "TLS13", "permissive": "Never"},
        "access": {"default": "SameNamespace"},
        "identities": {"serviceAccounts": "Any"},
        "injection": {
            "optOut": "Deny",
            "exclusions": {"inboundPorts": [], "outboundPorts": [], "outboundCIDRs": []},
        },
    });
    assert_eq!(stored["spec"], defaults);
    forget_baseline(mesh);
}

pub(crate) fn the_table_of_what_is_accepted_and_refused(mesh: &Installation<'_>) {
    let mut wrong = Vec::new();
    for file in cases("accept") {
        let output = apply(mesh, &file);
        if let Err(said) = output {
            wrong.push(format!("{} is refused: {said}", file.display()));
        }
    }
    for file in cases("refuse") {
        let text = fs::read_to_string(&file).expect("readable");
        let expected = text
            .lines()
            .next()
            .and_then(|line| line.strip_prefix("# refused: "));
        let expected = expected.unwrap_or_else(|| panic!("{}: no reason", file.display()));
        match apply(mesh, &file) {
            Ok(()) => wrong.push(format!("{} is accepted", file.display())),
            Err(said) if said.contains(expected) => {}
            Err(said) => wrong.push(format!("{}: no {expected:?} in: {said}", file.display())),
        }
    }
    forget_baseline(mesh);
    assert!(
        wrong.is_empty(),
        "{} wrong:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
}

fn apply(mesh: &Installation<'_>, file: &std::path::Path) -> Result<(), String> {
    let file = file.to_str().expect("UTF-8");
    let output = mesh.cluster.try_kubectl(&["apply", "--filename", file]);
    if output.status.success() {
        Ok(())
    } else {
        Err(String::from_utf8_lossy(&output.stderr).into_owned())
    }
}

fn cases(folder: &str) -> Vec<PathBuf> {
    let folder = repository().join("tests/apiserver/crds").join(folder);
    let entries = fs::read_dir(&folder).expect("the folder is there");
    let mut files: Vec<PathBuf> = entries
        .map(|entry| entry.expect("readable").path())
        .collect();
    files.sort();
    assert!(!files.is_empty(), "no cases in {}", folder.display());
    files
}

fn baseline(spec: &Value) -> Value {
    json!({"apiVersion": KIND.0, "kind": KIND.1, "metadata": {"name": "default"}, "spec": spec})
}

/// Later steps are about the defaults.
fn forget_baseline(mesh: &Installation<'_>) {
    let kind = Kind::new(KIND.0, KIND.1);
    mesh.api.delete(&kind, "", "default").expect("deleted");
    eventually("the baseline is gone", || {
        mesh.api.find(&kind, "", "default").is_none().then_some(())
    });
}
