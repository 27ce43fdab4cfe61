//! The definitions of the custom resources: what the chart ships is what the binary prints, and
//! the objects that a real API server accepts and refuses by them are those that our own parser
//! accepts and refuses.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;
use sparkmesh_policy::access::Policy;
use sparkmesh_policy::baseline::Baseline;
use sparkmesh_policy::violation::Violation;

const SHIPPED: &str = "charts/sparkmesh/crds/sparkmesh.yaml";

#[test]
fn the_chart_ships_what_the_binary_prints() {
    let shipped = fs::read_to_string(root().join(SHIPPED)).unwrap_or_default();
    assert!(
        shipped == printed("yaml"),
        "{SHIPPED} is not what `sparkmesh crds` prints. Run `make crds` and commit the result"
    );
}

#[test]
fn yaml_and_json_say_the_same() {
    let documents: Vec<Value> =
        serde_saphyr::from_multiple(&printed("yaml")).expect("the output is YAML");
    let list: Value = serde_json::from_str(&printed("json")).expect("the output is JSON");
    assert_eq!(list["items"], Value::from(documents));
    assert_eq!(list["kind"], "List");
}

#[test]
fn what_the_api_server_accepts_the_parser_accepts() {
    for file in cases("accept") {
        if let Err(violations) = parse(&file) {
            panic!("{}: {}", file.display(), lines(&violations));
        }
    }
}

#[test]
fn what_the_api_server_refuses_the_parser_refuses_for_the_same_reason() {
    for file in cases("refuse") {
        let parsed = parse(&file);
        let text = fs::read_to_string(&file).expect("readable");
        let expected = text
            .lines()
            .find_map(|line| line.strip_prefix("# violation: "));
        match (expected, parsed) {
            (Some(expected), Err(violations)) => {
                let found: Vec<String> = violations
                    .iter()
                    .map(|violation| format!("{} [{}]", violation.path, violation.code))
                    .collect();
                assert_eq!(found, [expected], "{}", file.display());
            }
            (Some(expected), Ok(())) => panic!("{}: accepted: {expected}", file.display()),
            (None, Ok(())) => {}
            (None, Err(violations)) => panic!("{}: {}", file.display(), lines(&violations)),
        }
    }
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn printed(form: &str) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_sparkmesh"))
        .args(["crds", "--output", form])
        .output()
        .expect("the binary runs");
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).expect("UTF-8")
}

fn cases(folder: &str) -> Vec<PathBuf> {
    let folder = root().join("tests/apiserver/crds").join(folder);
    let mut files: Vec<PathBuf> = fs::read_dir(&folder)
        .expect("the folder is there")
        .map(|entry| entry.expect("readable").path())
        .collect();
    files.sort();
    assert!(!files.is_empty(), "no cases in {}", folder.display());
    files
}

fn parse(file: &Path) -> Result<(), Vec<Violation>> {
    let text = fs::read_to_string(file).expect("readable");
    let object: Value = serde_saphyr::from_str(&text).expect("YAML");
    match object["kind"].as_str() {
        Some("MeshBaseline") => Baseline::parse(&object).map(drop),
        Some("AccessPolicy") => Policy::parse(&object).map(drop),
        other => panic!("{}: a case of kind {other:?}", file.display()),
    }
}

fn lines(violations: &[Violation]) -> String {
    let lines: Vec<String> = violations.iter().map(ToString::to_string).collect();
    lines.join("\n")
}
