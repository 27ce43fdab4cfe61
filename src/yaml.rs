//! YAML as kubectl reads it, and YAML that kubectl reads back as what was meant.
//!
//! kubectl turns YAML into JSON with `sigs.k8s.io/yaml`: YAML 1.1 booleans (`yes`, `on`, `y`),
//! octal by a leading zero (`0644` is 420), numbers and booleans as keys become text. This module
//! decides only what the text says as data; it refuses to know what any document is about.

use std::fmt;

use serde::de::{self, Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};
use serde_saphyr::options::DuplicateKeyPolicy;

/// Why a text is no YAML that kubectl would take, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct YamlError {
    /// Line in the whole text, from 1; 0 where the place is unknown.
    pub line: usize,
    /// Column in characters, from 1; 0 where the place is unknown.
    pub column: usize,
    /// What is wrong, in one line.
    pub message: String,
}

impl fmt::Display for YamlError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.line > 0 {
            write!(f, "line {}, column {}: ", self.line, self.column)?;
        }
        f.write_str(&self.message)
    }
}

impl std::error::Error for YamlError {}

/// The documents of a YAML or JSON text in their order; empty ones are left out.
///
/// Anchors, aliases and merge keys are resolved, within limits that keep a small text from
/// growing into a large value. A repeated key is an error.
pub fn documents(text: &str) -> Result<Vec<Value>, YamlError> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let found = match json_documents(text) {
        Some(found) => found,
        None => yaml_documents(text)?,
    };
    Ok(found
        .into_iter()
        .map(|Node(value)| value)
        .filter(|value| !value.is_null())
        .collect())
}

/// One document as a value of a type; an error tells the place of a key or value that the type
/// does not take.
pub fn typed<T: de::DeserializeOwned>(text: &str) -> Result<T, YamlError> {
    let options = serde_saphyr::options! {
        legacy_octal_numbers: true,
        duplicate_keys: DuplicateKeyPolicy::Error,
        with_snippet: false,
    };
    serde_saphyr::from_str_with_options(text, options).map_err(|error| located(&error))
}

/// One document as YAML text, ending in a line feed. Every string that kubectl would take for
/// something else is quoted.
#[must_use]
pub fn to_string(value: &Value) -> String {
    serde_saphyr::to_string(value).expect("a JSON value has nothing that YAML cannot say")
}

/// JSON may be indented by tabs, which YAML forbids, so kubectl tries it first.
fn json_documents(text: &str) -> Option<Vec<Node>> {
    if !text.trim_start().starts_with('{') {
        return None;
    }
    serde_json::Deserializer::from_str(text)
        .into_iter()
        .collect::<Result<_, _>>()
        .ok()
}

fn yaml_documents(text: &str) -> Result<Vec<Node>, YamlError> {
    let options = serde_saphyr::options! {
        legacy_octal_numbers: true,
        duplicate_keys: DuplicateKeyPolicy::Error,
        with_snippet: false,
    };
    serde_saphyr::from_multiple_with_options(text, options).map_err(|error| located(&error))
}

fn located(error: &serde_saphyr::Error) -> YamlError {
    let (line, column) = error
        .location()
        .map_or((0, 0), |at| (at.line(), at.column()));
    let message = error.to_string();
    let place = format!(" at line {line}, column {column}");
    YamlError {
        line: usize::try_from(line).unwrap_or(usize::MAX),
        column: usize::try_from(column).unwrap_or(usize::MAX),
        message: message.strip_suffix(&place).unwrap_or(&message).to_owned(),
    }
}

/// A value in which every key is text and every whole number an integer, as in kubectl's JSON.
struct Node(Value);

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Node, D::Error> {
        deserializer.deserialize_any(NodeVisitor).map(Node)
    }
}

struct NodeVisitor;

impl<'de> Visitor<'de> for NodeVisitor {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value that JSON can say")
    }

    fn visit_unit<E: de::Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E: de::Error>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E: de::Error>(self, value: i64) -> Result<Value, E> {
        Ok(Value::from(value))
    }

    fn visit_u64<E: de::Error>(self, value: u64) -> Result<Value, E> {
        Ok(Value::from(value))
    }

    fn visit_f64<E: de::Error>(self, value: f64) -> Result<Value, E> {
        // Go writes 1.0 and 1e3 into JSON without a fraction, and reads them back as integers.
        if let Some(whole) = whole(value) {
            return Ok(Value::from(whole));
        }
        Number::from_f64(value)
            .map(Value::Number)
            .ok_or_else(|| E::custom(format!("the number {value} cannot be said in JSON")))
    }

    fn visit_str<E: de::Error>(self, value: &str) -> Result<Value, E> {
        Ok(Value::from(value))
    }

    fn visit_string<E: de::Error>(self, value: String) -> Result<Value, E> {
        Ok(Value::from(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut all = Vec::new();
        while let Some(Node(item)) = items.next_element()? {
            all.push(item);
        }
        Ok(Value::Array(all))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let mut all = Map::new();
        while let Some(Node(key)) = entries.next_key()? {
            let key = text_of_key(key)?;
            if all.contains_key(&key) {
                return Err(de::Error::custom(format!("the key `{key}` is repeated")));
            }
            let Node(value) = entries.next_value()?;
            all.insert(key, value);
        }
        Ok(Value::Object(all))
    }
}

/// The integer that a float stands for, where both say exactly the same.
fn whole(value: f64) -> Option<i64> {
    const EXACT: f64 = 9_007_199_254_740_992.0; // 2^53
    #[allow(clippy::cast_possible_truncation)] // the range is checked first
    (value.fract() == 0.0 && value.abs() <= EXACT).then_some(value as i64)
}

fn text_of_key<E: de::Error>(key: Value) -> Result<String, E> {
    match key {
        Value::String(text) => Ok(text),
        Value::Bool(value) => Ok(value.to_string()),
        Value::Number(number) => Ok(number.to_string()),
        Value::Null => Err(E::custom("a key is empty; write it or quote it")),
        Value::Array(_) | Value::Object(_) => Err(E::custom(
            "a key is a list or mapping; only text can be one",
        )),
    }
}
