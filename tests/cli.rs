//! The commands as people type them and pipe them.

use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use serde_json::{Value, json};
use sparkmesh::yaml;

fn sparkmesh(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sparkmesh"));
    command.args(arguments);
    command.current_dir(env!("CARGO_MANIFEST_DIR"));
    command
}

fn run(arguments: &[&str]) -> Output {
    sparkmesh(arguments).output().expect("it runs")
}

/// Runs a command that reads standard input.
fn piped(arguments: &[&str], input: &str) -> Output {
    let mut child = sparkmesh(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("it runs");
    let mut stdin = child.stdin.take().expect("a pipe");
    stdin.write_all(input.as_bytes()).expect("written");
    drop(stdin);
    child.wait_with_output().expect("it ends")
}

fn stdout(output: &Output) -> String {
    assert!(output.status.success(), "{}", stderr(output));
    String::from_utf8(output.stdout.clone()).expect("UTF-8")
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).expect("UTF-8")
}

fn documents(text: &str) -> Vec<Value> {
    yaml::documents(text).expect("YAML")
}

const POD: &str = "apiVersion: v1\nkind: Pod\nmetadata: {name: a}\nspec: {containers: [{name: app, image: app:1}]}\n";
const SERVICE: &str =
    "apiVersion: v1\nkind: Service\nmetadata: {name: s}\nspec: {ports: [{port: 80}]}\n";
const HOST: &str = "apiVersion: v1\nkind: Pod\nmetadata: {name: h}\nspec: {hostNetwork: true, containers: [{name: app}]}\n";

#[test]
fn a_pipe_keeps_documents_in_order_and_others_as_they_are() {
    let input = format!("{SERVICE}---\n{POD}---\n# nothing\n---\n{SERVICE}");
    let found = documents(&stdout(&piped(&["inject", "-f", "-"], &input)));
    let kinds: Vec<_> = found
        .iter()
        .map(|d| d["kind"].as_str().expect("a kind"))
        .collect();
    assert_eq!(kinds, ["Service", "Pod", "Service"]);
    assert_eq!(found[0], documents(SERVICE)[0]);
    assert_eq!(
        found[1]["spec"]["initContainers"][1]["name"],
        "sparkmesh-proxy"
    );
}

#[test]
fn uninject_gives_back_what_inject_was_given() {
    for folder in ["examples/spark-standalone", "examples/spark-submit"] {
        let injected = stdout(&run(&["inject", "-f", folder]));
        assert_ne!(documents(&injected), given(folder));
        let back = stdout(&piped(&["uninject", "-f", "-"], &injected));
        assert_eq!(documents(&back), given(folder), "{folder}");
    }
}

fn given(folder: &str) -> Vec<Value> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
    let mut files: Vec<_> = std::fs::read_dir(folder)
        .expect("a folder")
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| {
            path.extension()
                .is_some_and(|extension| extension == "yaml")
        })
        .collect();
    files.sort();
    files
        .iter()
        .flat_map(|file| documents(&std::fs::read_to_string(file).expect("readable")))
        .collect()
}

#[test]
fn json_is_written_as_objects_in_a_row_that_kubectl_and_we_read_again() {
    let text = stdout(&piped(
        &["inject", "-f", "-", "--output", "json"],
        &format!("{POD}---\n{SERVICE}"),
    ));
    let objects: Vec<Value> = serde_json::Deserializer::from_str(&text)
        .into_iter()
        .collect::<Result<_, _>>()
        .expect("JSON");
    assert_eq!(objects.len(), 2);
    let yaml = stdout(&piped(
        &["inject", "-f", "-"],
        &format!("{POD}---\n{SERVICE}"),
    ));
    assert_eq!(documents(&yaml), objects);
}

#[test]
fn one_refused_pod_keeps_everything_back_and_each_reason_is_told() {
    let output = piped(&["inject", "-f", "-"], &format!("{POD}---\n{HOST}"));
    assert_eq!(output.status.code(), Some(1));
    assert!(output.stdout.is_empty());
    let said = stderr(&output);
    assert!(
        said.contains("-: Pod default/h: refused: spec.hostNetwork"),
        "{said}"
    );
    assert!(said.contains("[host-network]"), "{said}");
    assert!(said.contains("nothing was written"), "{said}");
}

#[test]
fn a_skip_is_told_on_stderr_and_the_document_written_as_it_is() {
    let plain = "apiVersion: v1\nkind: Namespace\nmetadata: {name: default}\n";
    let output = piped(&["inject", "-f", "-"], &format!("{plain}---\n{POD}"));
    assert_eq!(documents(&stdout(&output))[1], documents(POD)[0]);
    assert!(
        stderr(&output).contains("[namespace-not-enabled]"),
        "{}",
        stderr(&output)
    );
}

#[test]
fn injecting_twice_is_injecting_once() {
    let once = stdout(&piped(&["inject", "-f", "-"], POD));
    let output = piped(&["inject", "-f", "-"], &once);
    assert_eq!(stdout(&output), once);
    assert!(stderr(&output).contains("[already-injected]"));
}

#[test]
fn the_configuration_and_the_baseline_reach_the_result() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = |name: &str| folder.path().join(name).display().to_string();
    std::fs::write(path("config.yaml"), "proxy: {image: 'mirror/envoy:v9'}\n").expect("written");
    std::fs::write(
        path("baseline.yaml"),
        "apiVersion: sparkmesh.dev/v1alpha1\nkind: MeshBaseline\nmetadata: {name: default}\nspec: {injection: {exclusions: {inboundPorts: [22]}}}\n",
    )
    .expect("written");
    let pod = POD.replace(
        "{name: a}",
        "{name: a, annotations: {sparkmesh.dev/exclude-inbound-ports: '22'}}",
    );
    let refused = piped(&["inject", "-f", "-"], &pod);
    assert!(stderr(&refused).contains("[exclusion-denied]"));
    let facts = folder.path().display().to_string();
    std::fs::remove_file(path("config.yaml")).expect("removed");
    let elsewhere = tempfile::tempdir().expect("a folder");
    let config = elsewhere.path().join("config.yaml");
    std::fs::write(&config, "proxy: {image: 'mirror/envoy:v9'}\n").expect("written");
    let config = config.display().to_string();
    let text = stdout(&piped(
        &[
            "inject",
            "-f",
            "-",
            "--config",
            &config,
            "--from-files",
            &facts,
        ],
        &pod,
    ));
    let injected = &documents(&text)[0]["spec"]["initContainers"];
    assert_eq!(injected[1]["image"], "mirror/envoy:v9");
    assert_eq!(
        injected[0]["args"],
        json!(["init", "--exclude-inbound-ports=22"])
    );
}

#[test]
fn a_mistake_in_the_configuration_is_told_with_its_place() {
    let folder = tempfile::tempdir().expect("a folder");
    let config = folder.path().join("config.yaml");
    for (text, words) in [
        ("proxy:\n  imge: x:1\n", "line 2"),
        ("proxy: {logLevel: loud}\n", "proxy.logLevel"),
        ("control: {caFile: nowhere.pem}\n", "nowhere.pem"),
        ("", "empty"),
    ] {
        std::fs::write(&config, text).expect("written");
        let output = piped(
            &[
                "inject",
                "-f",
                "-",
                "--config",
                &config.display().to_string(),
            ],
            POD,
        );
        assert_eq!(output.status.code(), Some(1), "{text}");
        let said = stderr(&output);
        assert!(
            said.contains("config.yaml") && said.contains(words),
            "{said}"
        );
    }
}

#[test]
fn explain_tells_decision_and_reason_as_text_and_json() {
    let text = stdout(&run(&["explain", "pod", "-f", "examples/spark-standalone"]));
    for words in [
        "Deployment spark/spark-master",
        "role            master",
        "tcp :7077 through",
    ] {
        assert!(text.contains(words), "{words} is missing in:\n{text}");
    }
    let refused = stdout(&piped(&["explain", "pod", "-f", "-", "-o", "json"], HOST));
    let refused: Value = serde_json::from_str(&refused).expect("JSON");
    assert_eq!(refused[0]["decision"], "reject");
    assert_eq!(refused[0]["violations"][0]["reason"], "host-network");
    assert_eq!(refused[0]["violations"][0]["path"], "spec.hostNetwork");
    let none = piped(&["explain", "pod", "-f", "-"], SERVICE);
    assert_eq!(none.status.code(), Some(1));
    assert!(stderr(&none).contains("no pod"), "{}", stderr(&none));
}

#[test]
fn a_missing_file_an_empty_folder_and_a_wrong_flag_are_told_apart() {
    let missing = run(&["inject", "-f", "no/such/file.yaml"]);
    assert_eq!(missing.status.code(), Some(1));
    assert!(stderr(&missing).contains("no/such/file.yaml"));
    let folder = tempfile::tempdir().expect("a folder");
    let empty = run(&["inject", "-f", &folder.path().display().to_string()]);
    assert!(stderr(&empty).contains("no .yaml, .yml or .json file"));
    assert_eq!(run(&["inject"]).status.code(), Some(2));
    assert_eq!(run(&["inject", "--wrong"]).status.code(), Some(2));
}

#[test]
fn a_reader_that_has_seen_enough_is_no_error() {
    let mut child = sparkmesh(&["inject", "-f", "tests/pods/spark"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("it runs");
    drop(child.stdout.take());
    let output = child.wait_with_output().expect("it ends");
    assert!(output.status.success(), "{}", stderr(&output));
    assert!(!stderr(&output).contains("panicked"));
}

#[test]
fn every_shell_gets_its_completions() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        assert!(
            stdout(&run(&["completions", shell])).contains("uninject"),
            "{shell}"
        );
    }
}
