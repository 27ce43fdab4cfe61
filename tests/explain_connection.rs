//! `sparkmesh explain connection` on the standalone example and policies for it.

use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use serde_json::{Value, json};
use sparkmesh::yaml;

const STANDALONE: &str = "examples/spark-standalone";
const POLICIES: &str = "examples/policies";
const MASTER: &str = "spark/spark-master:7077";

/// Asks about the example with further manifests on standard input.
fn ask(further: &str, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sparkmesh"));
    command.current_dir(env!("CARGO_MANIFEST_DIR"));
    command.args(["explain", "connection", "-f", STANDALONE, "-f", POLICIES]);
    if !further.is_empty() {
        command.args(["-f", "-"]);
    }
    command.args(arguments);
    command.stdin(Stdio::piped());
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("it runs");
    let mut stdin = child.stdin.take().expect("a pipe");
    // It may end without reading, over its arguments.
    let _ = stdin.write_all(further.as_bytes());
    drop(stdin);
    child.wait_with_output().expect("it ends")
}

fn text(further: &str, arguments: &[&str]) -> String {
    let output = ask(further, arguments);
    assert!(output.status.success(), "{}", stderr(&output));
    String::from_utf8(output.stdout).expect("UTF-8")
}

fn answer(further: &str, arguments: &[&str]) -> Value {
    let arguments = [arguments, &["-o", "json"]].concat();
    serde_json::from_str(&text(further, &arguments)).expect("JSON")
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).expect("UTF-8")
}

fn failure(further: &str, arguments: &[&str]) -> String {
    let output = ask(further, arguments);
    assert_eq!(output.status.code(), Some(1));
    assert!(output.stdout.is_empty());
    stderr(&output)
}

/// What the answer is and which rule of which file gave it.
fn essence(answer: &Value) -> (bool, &str, Option<(&str, &str)>) {
    let rule = answer["rule"].as_object();
    (
        answer["allowed"].as_bool().expect("a yes or no"),
        answer["reason"].as_str().expect("a reason"),
        rule.map(|rule| {
            let text = |key: &str| rule[key].as_str().expect("a text");
            (text("rule"), text("source"))
        }),
    )
}

const DRIVER: [&str; 4] = ["--from", "spark/spark-driver@spark-1", "--to", MASTER];

#[test]
fn an_allowed_connection_is_told_with_its_rule_and_file() {
    let allow = Some(("workers-and-drivers", "examples/policies/spark-master.yaml"));
    assert_eq!(essence(&answer("", &DRIVER)), (true, "allow", allow));
    let text = text("", &DRIVER);
    for line in [
        "from  ServiceAccount spark/spark-driver, as \
         spiffe://cluster.local/ns/spark/sa/spark-driver/app/spark-1",
        "to    Deployment spark/spark-master, port 7077",
        "allowed: Allow rule workers-and-drivers of AccessPolicy spark/spark-master \
         (examples/policies/spark-master.yaml) matches [allow]",
        "  - Allow rule web-ui of AccessPolicy spark/spark-master \
         (examples/policies/spark-master.yaml): is about other ports",
    ] {
        assert!(
            text.lines().any(|found| found == line),
            "{line}\nin\n{text}"
        );
    }
}

#[test]
fn a_pod_connects_as_its_service_account_and_the_shared_one_is_pointed_out() {
    let worker = answer("", &["--from", "spark/spark-worker", "--to", MASTER]);
    assert_eq!(essence(&worker), (false, "no-rule", None));
    let from = worker["from"].as_str().expect("a text");
    assert!(
        from.ends_with("as spiffe://cluster.local/ns/spark/sa/default"),
        "{from}"
    );
    let first = worker["otherwise"][0].as_str().expect("a step");
    assert!(first.contains("a service account of their own"), "{first}");
}

#[test]
fn a_deny_is_told_with_the_allow_that_it_overrules() {
    let notebook = [
        "--from",
        "monitoring/notebook",
        "--to",
        "spark/spark-master:8080",
    ];
    let deny = Some(("notebooks", "examples/policies/no-notebooks.yaml"));
    assert_eq!(essence(&answer("", &notebook)), (false, "deny", deny));
    let text = text("", &notebook);
    assert!(text.contains("Allow rule web-ui of"), "{text}");
    assert!(
        text.contains("matches, but the deciding rule counts before it"),
        "{text}"
    );
}

#[test]
fn a_policy_under_audit_is_reported_beside_the_answer() {
    let driver = [
        "--from",
        "spark/spark-driver",
        "--to",
        "spark/spark-worker:7078",
    ];
    let answer = answer("", &driver);
    assert_eq!(answer["audited"][0]["policy"], "spark/spark-worker");
    assert_eq!(answer["audited"][0]["allowed"], false);
}

/// A policy document of namespace `spark` with one rule, written as it was advised.
fn with_rule(rule: &str, tls: &str) -> String {
    format!(
        "apiVersion: sparkmesh.dev/v1alpha1\nkind: AccessPolicy\n\
         metadata: {{name: advised, namespace: spark}}\n\
         spec:\n  podSelector: {{}}\n  tls: {tls}\n  rules:\n  - {rule}\n"
    )
}

fn advised_rule(answer: &Value) -> String {
    let steps = answer["otherwise"].as_array().expect("a list");
    let last = steps.last().and_then(Value::as_str).expect("a step");
    let (_, rule) = last.split_once("the rule {").expect("a rule is advised");
    let end = rule.rfind('}').expect("it ends");
    format!("{{{}", &rule[..=end])
}

#[test]
fn who_follows_the_advice_gets_the_other_answer() {
    for arguments in [
        DRIVER,
        ["--from", "spark/spark-worker", "--to", MASTER],
        [
            "--from",
            "monitoring/ServiceAccount/grafana",
            "--to",
            "spark/spark-master:8080",
        ],
        [
            "--from",
            "other/ServiceAccount/x",
            "--to",
            "spark/spark-worker:7078",
        ],
    ] {
        let before = answer("", &arguments);
        let policy = with_rule(&advised_rule(&before), "{}");
        let after = answer(&policy, &arguments);
        assert_ne!(
            before["allowed"], after["allowed"],
            "{arguments:?}\n{policy}"
        );
        assert_eq!(after["rule"]["policy"], "spark/advised", "{arguments:?}");
    }
}

#[test]
fn a_new_rule_is_advised_where_it_opens_the_least() {
    let worker = answer("", &["--from", "spark/spark-worker", "--to", MASTER]);
    let steps = worker["otherwise"].as_array().expect("a list");
    let last = steps.last().and_then(Value::as_str).expect("a step");
    assert!(
        last.starts_with("write into AccessPolicy spark/spark-master ("),
        "{last}"
    );
}

#[test]
fn plaintext_needs_the_baseline_a_port_and_a_rule_and_ends_with_its_date() {
    let scraper = ["--plaintext", "10.0.0.7", "--to", "spark/spark-master:8080"];
    let at = |moment| [&scraper[..], &["--at", moment]].concat();
    let before = answer("", &at("2026-06-01T00:00:00Z"));
    assert_eq!(essence(&before), (false, "tls", None));
    let steps = before["otherwise"].to_string();
    assert!(steps.contains("tls.permissive: UntilExpiry"), "{steps}");

    let modes = "{portModes: [{port: 8080, mode: Permissive, until: 2026-07-01T00:00:00Z}]}";
    let policy = with_rule(&advised_rule(&before), modes);
    assert_eq!(
        answer(&policy, &at("2026-06-01T00:00:00Z"))["reason"],
        "tls"
    );

    let folder = tempfile::tempdir().expect("a folder");
    let baseline = "apiVersion: sparkmesh.dev/v1alpha1\nkind: MeshBaseline\n\
                    metadata: {name: default}\nspec: {tls: {permissive: UntilExpiry}}\n";
    std::fs::write(folder.path().join("baseline.yaml"), baseline).expect("written");
    let folder = folder.path().display().to_string();
    let with_baseline = |moment| {
        let arguments = [&at(moment)[..], &["--from-files", &folder]].concat();
        answer(&policy, &arguments)
    };
    let allowed = with_baseline("2026-06-30T23:59:59Z");
    assert_eq!(
        essence(&allowed),
        (true, "allow", Some(("allow-8080", "-")))
    );
    let ended = with_baseline("2026-07-01T00:00:00Z");
    assert_eq!(essence(&ended), (false, "tls", None));
    let steps = ended["otherwise"].to_string();
    assert!(
        steps.contains("which ended at 2026-07-01T00:00:00Z"),
        "{steps}"
    );
}

#[test]
fn policies_count_wherever_they_are_and_a_file_named_twice_counts_once() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(POLICIES);
    let mut command = Command::new(env!("CARGO_BIN_EXE_sparkmesh"));
    command.current_dir(env!("CARGO_MANIFEST_DIR"));
    command.args(["explain", "connection", "-f", STANDALONE]);
    command
        .args(DRIVER)
        .args(["-o", "json", "--from-files"])
        .arg(&folder);
    let output = command.output().expect("it runs");
    let from_folder: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(
        (from_folder["allowed"].clone(), &from_folder["reason"]),
        (json!(true), &json!("allow"))
    );
    let twice = answer("", &[&DRIVER[..], &["-f", POLICIES]].concat());
    assert_eq!(twice["reason"], "allow");
}

#[test]
fn one_policy_in_two_versions_is_an_error() {
    let other = "apiVersion: sparkmesh.dev/v1alpha1\nkind: AccessPolicy\n\
                 metadata: {name: spark-master, namespace: spark}\nspec: {podSelector: {}}\n";
    let said = failure(other, &DRIVER);
    assert!(
        said.contains("AccessPolicy spark/spark-master is also in"),
        "{said}"
    );
}

#[test]
fn a_policy_that_cannot_be_read_closes_what_it_selects_and_is_complained_about() {
    let broken = "apiVersion: sparkmesh.dev/v1alpha1\nkind: AccessPolicy\n\
                  metadata: {name: broken, namespace: spark}\n\
                  spec: {podSelector: {}, rulez: []}\n";
    let output = ask(broken, &[&DRIVER[..], &["-o", "json"]].concat());
    let said = stderr(&output);
    assert!(
        said.contains("-: AccessPolicy spark/broken: spec.rulez:"),
        "{said}"
    );
    let answer: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(
        essence(&answer),
        (false, "deny", Some(("(unreadable)", "-")))
    );
    assert_eq!(answer["rule"]["readable"], false);
    let steps = answer["otherwise"].to_string();
    assert!(steps.contains("correct"), "{steps}");
}

#[test]
fn a_name_that_is_not_there_is_told_with_those_near_it() {
    let source = failure("", &["--from", "spark/spark-wroker", "--to", MASTER]);
    assert!(
        source.contains("near it are spark/spark-worker"),
        "{source}"
    );
    assert!(
        source.contains("spark/ServiceAccount/spark-wroker"),
        "{source}"
    );
    let destination = failure(
        "",
        &["--from", "spark/spark-worker", "--to", "spark/master:7077"],
    );
    assert!(
        destination.contains("near it are spark/spark-"),
        "{destination}"
    );
}

const SAME_NAME: &str = "apiVersion: v1\nkind: Pod\n\
                         metadata: {name: spark-master, namespace: spark}\n\
                         spec: {serviceAccountName: other, containers: [{name: a}]}\n";

#[test]
fn a_name_of_two_workloads_needs_its_kind() {
    let said = failure(SAME_NAME, &DRIVER);
    assert!(
        said.contains("write spark/Deployment/spark-master or spark/Pod/spark-master"),
        "{said}"
    );
    let pod = [
        "--from",
        "spark/spark-driver",
        "--to",
        "spark/pod/spark-master:7077",
    ];
    assert_eq!(answer(SAME_NAME, &pod)["to"], "Pod spark/spark-master");
}

#[test]
fn a_pod_without_a_proxy_is_pointed_out() {
    let outside = "apiVersion: v1\nkind: Namespace\nmetadata: {name: plain}\n---\n\
                   apiVersion: v1\nkind: Pod\nmetadata: {name: web, namespace: plain}\n\
                   spec: {containers: [{name: a}]}\n";
    let to = answer(
        outside,
        &["--from", "spark/spark-worker", "--to", "plain/web:80"],
    );
    let note = to["notes"][0].as_str().expect("a note");
    assert!(note.contains("nothing enforces this"), "{note}");
    let from = answer(outside, &["--from", "plain/web", "--to", MASTER]);
    let note = from["notes"][0].as_str().expect("a note");
    assert!(note.contains("comes without TLS"), "{note}");
    assert_eq!(answer("", &DRIVER)["notes"], json!([]));
}

#[test]
fn arguments_that_say_nothing_sensible_are_refused() {
    for arguments in [
        &["--to", MASTER][..],
        &[
            "--from",
            "spark/a",
            "--plaintext",
            "10.0.0.1",
            "--to",
            MASTER,
        ],
        &["--from", "spark", "--to", MASTER],
        &["--from", "spark/a@", "--to", MASTER],
        &["--from", "spark/a", "--to", "spark/spark-master"],
        &["--from", "spark/a", "--to", "spark/spark-master:0"],
        &["--from", "SPARK/a", "--to", MASTER],
        &["--plaintext", "10.0.0.0/8", "--to", MASTER],
        &["--from", "spark/a", "--to", MASTER, "--at", "tomorrow"],
    ] {
        let output = ask("", arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
    }
}

#[test]
fn the_example_policies_are_valid() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(POLICIES);
    let mut count = 0;
    for entry in std::fs::read_dir(folder).expect("a folder") {
        let file = entry.expect("an entry").path();
        let text = std::fs::read_to_string(&file).expect("readable");
        for document in yaml::documents(&text).expect("YAML") {
            let parsed = sparkmesh_policy::access::Policy::parse(&document);
            assert!(parsed.is_ok(), "{}: {parsed:?}", file.display());
            count += 1;
        }
    }
    assert_eq!(count, 3);
}
