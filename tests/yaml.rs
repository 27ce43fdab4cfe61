//! YAML means what kubectl takes it to mean, shown against what kubectl's own library answers.

use serde_json::{Value, json};
use sparkmesh::yaml::{documents, to_string};

/// Each line of the table: a text (`\n` stands for a line feed), a tab, and what
/// `sigs.k8s.io/yaml` 1.6 made of it in strict mode: JSON, or `ERR` and its message.
const TABLE: &str = include_str!("yaml/kubectl.tsv");

fn one(text: &str) -> Value {
    let mut all = documents(text).expect(text);
    assert_eq!(all.len(), 1, "{text:?}");
    all.remove(0)
}

#[test]
fn every_text_of_the_table_means_what_kubectl_says() {
    let wrong: Vec<String> = TABLE.lines().filter_map(difference).collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

fn difference(line: &str) -> Option<String> {
    let (text, expected) = line.split_once('\t').expect("two columns");
    let found = documents(&text.replace("\\n", "\n"));
    match (&found, expected.starts_with("ERR ")) {
        (Err(_), true) => None,
        (Ok(found), false) => {
            let expected: Value = serde_json::from_str(expected).expect("JSON");
            (found.as_slice() != std::slice::from_ref(&expected))
                .then(|| format!("{text:?}: {found:?} not {expected}"))
        }
        _ => Some(format!("{text:?}: {found:?} not {expected}")),
    }
}

/// Where we still differ from kubectl, so that a change of the parser that closes or widens the
/// gap is seen. kubectl's answer is in the comment.
#[test]
fn the_known_differences_are_these() {
    assert_eq!(one("a: yEs")["a"], json!(true)); // "yEs"
    assert_eq!(one("a: 1__0")["a"], json!("1__0")); // 10
    assert_eq!(one("a: !foo 5")["a"], json!(5)); // "5"
    assert_eq!(one("a: |\n  x")["a"], json!("x\n")); // "x": no line feed ends the file
    documents("a: 1e999").expect_err("no JSON number"); // "1e999"
    documents("1: a\n\"1\": b").expect_err("one of the two would be lost"); // the last
}

#[test]
fn merge_keys_and_anchors_are_resolved() {
    let value = one("base: &base {a: 1, b: 2}\nuse: {<<: *base, b: 3}\nagain: *base\n");
    assert_eq!(value["use"], json!({"a": 1, "b": 3}));
    assert_eq!(value["again"], json!({"a": 1, "b": 2}));
}

#[test]
fn a_small_text_cannot_grow_into_a_large_value() {
    let mut text = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
    for level in 1..12 {
        use std::fmt::Write;
        let inner = format!("*a{}, ", level - 1).repeat(10);
        writeln!(text, "a{level}: &a{level} [{inner}]").expect("to memory");
    }
    documents(&text).expect_err("ten to the twelfth");
}

#[test]
fn deep_nesting_is_an_error_and_no_overflow() {
    for (open, close) in [("[", "]"), ("{a: ", "}")] {
        let text = open.repeat(100_000) + &close.repeat(100_000);
        documents(&text).expect_err("too deep");
    }
}

#[test]
fn documents_keep_their_order_and_empty_ones_are_left_out() {
    let text = "# only a comment\n---\na: 1\n---\n---\n# nothing\n---\nb: 2\n...\n";
    assert_eq!(documents(text), Ok(vec![json!({"a": 1}), json!({"b": 2})]));
    assert_eq!(documents(""), Ok(vec![]));
    assert_eq!(
        documents("\u{feff}a: 1\r\nb: 2\r\n").map(|all| all.len()),
        Ok(1)
    );
}

#[test]
fn json_is_read_also_where_tabs_indent_it() {
    let text = "{\n\t\"a\": 1.0,\n\t\"b\": \"yes\"\n}\n{\"c\": 2}";
    assert_eq!(
        documents(text),
        Ok(vec![json!({"a": 1, "b": "yes"}), json!({"c": 2})])
    );
    documents(r#"{"a": 1, "a": 2}"#).expect_err("a repeated key");
}

#[test]
fn an_error_says_where_in_the_whole_text() {
    let error = documents("a: 1\n---\nb: 1\nc: [\n").expect_err("not closed");
    assert!(error.line >= 4, "{error}");
    let error = documents("a: 1\nb:\n  c: 1\n  c: 2\n").expect_err("a repeated key");
    assert_eq!((error.line, error.column), (4, 3), "{error}");
    assert!(
        error.to_string().starts_with("line 4, column 3: "),
        "{error}"
    );
    assert_eq!(error.to_string().matches("line").count(), 1, "{error}");
}

#[test]
fn what_is_written_is_read_back_as_the_same_data() {
    let texts = [
        "yes",
        "on",
        "y",
        "n",
        "No",
        "true",
        "null",
        "~",
        "",
        " ",
        "0644",
        "0o17",
        "0x1F",
        "1e3",
        "1_000",
        "1.0",
        ".5",
        "+5",
        "-",
        "- a",
        "a: b",
        "#a",
        "a #b",
        "190:20:30",
        "2026-12-31",
        "<<",
        "=",
        "*a",
        "&a",
        "!a",
        "%a",
        "@a",
        "`a`",
        "'a'",
        "\"a\"",
        "a\nb",
        "a\nb\n",
        "\na\n\n",
        "a\tb",
        "\u{1}",
        "é",
        "{a}",
        "[a]",
        "? a",
        "| a",
        "> a",
        ".inf",
        ".nan",
        "a\\b",
        " lead",
        "trail ",
        "---",
        "...",
        "08",
    ];
    let value = json!({
        "texts": texts.to_vec(),
        "keys": texts.iter().map(|text| ((*text).to_owned(), json!(1))).collect::<serde_json::Map<_, _>>(),
        "numbers": [0, -1, 1.5, u64::MAX, i64::MIN, 1e300],
        "empty": {"list": [], "map": {}, "null": null},
        "long": "word ".repeat(60),
        "lines": "first\n  second\n".repeat(30),
    });
    let text = to_string(&value);
    assert_eq!(documents(&text), Ok(vec![value]), "{text}");
    assert!(text.ends_with('\n'));
}
