//! What a structural schema says of a value: its defaults, and whether it accepts the value.
//!
//! Does what the API server does with the same schema, and tells every violation, each with a
//! remedy. Knows only the parts of a schema that our definitions use; a test sees to it that
//! they use no others. Knows no kind of object.

use std::str::FromStr;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    JSONSchemaProps, JSONSchemaPropsOrArray, JSONSchemaPropsOrBool,
};
use k8s_openapi::jiff::Timestamp;
use serde_json::{Map, Value};

use super::Invariant;
use crate::cidr::{Cidr, CidrError};
use crate::violation::{Code, FieldPath, Segment, Violation, clip, shown};

/// Gives every field that is left out, or null without being nullable, its default.
///
/// The API server also drops nulls that have no default. They are left in here, to be complained
/// about: who wrote one in a file may have meant something.
pub(super) fn fill_defaults(schema: &JSONSchemaProps, value: &mut Value) {
    match value {
        Value::Object(fields) => {
            for (name, property) in schema.properties.iter().flatten() {
                let absent = match fields.get(name) {
                    None => true,
                    Some(value) => value.is_null() && property.nullable != Some(true),
                };
                if let Some(default) = property.default.as_ref().filter(|_| absent) {
                    fields.insert(name.clone(), default.0.clone());
                }
                if let Some(value) = fields.get_mut(name) {
                    fill_defaults(property, value);
                }
            }
        }
        Value::Array(items) => {
            if let Some(schema) = item_schema(schema) {
                for item in items {
                    fill_defaults(schema, item);
                }
            }
        }
        _ => {}
    }
}

/// Holds a value against its schema, and the complaints that come of it.
#[derive(Debug, Default)]
pub(super) struct Check {
    pub(super) violations: Vec<Violation>,
}

impl Check {
    /// Complains about everything in the value that the schema does not accept.
    pub(super) fn value(&mut self, schema: &JSONSchemaProps, value: &Value, path: &FieldPath) {
        let before = self.violations.len();
        match (schema.type_.as_deref(), value) {
            (Some("object"), Value::Object(fields)) => self.object(schema, fields, path),
            (Some("array"), Value::Array(items)) => self.list(schema, items, path),
            (Some("string"), Value::String(text)) => self.text(schema, text, path),
            (Some("integer"), Value::Number(_)) => self.integer(schema, value, path),
            (expected, _) => {
                let expected = match expected {
                    Some("object") => "an object",
                    Some("array") => "a list",
                    Some("string") => "a text",
                    _ => "a whole number",
                };
                self.wrong_type(path, value, expected);
            }
        }
        let broken = self.violations[before..].iter().any(|v| v.is_of(path));
        // What is misshapen itself needs no second complaint about how it fits together.
        if !broken {
            self.invariants(schema, value, path, value);
        }
    }

    /// Complains about the rules that the schema states at this very value; `culprit`, at `path`,
    /// is what the complaints show.
    pub(super) fn invariants(
        &mut self,
        schema: &JSONSchemaProps,
        value: &Value,
        path: &FieldPath,
        culprit: &Value,
    ) {
        let rules = schema.x_kubernetes_validations.iter().flatten();
        for invariant in rules.filter_map(|rule| Invariant::of_cel(&rule.rule)) {
            if !invariant.holds(value) {
                self.violations.push(invariant.violation(path, culprit));
            }
        }
    }

    fn object(&mut self, schema: &JSONSchemaProps, fields: &Map<String, Value>, path: &FieldPath) {
        for field in schema.required.iter().flatten() {
            if !fields.contains_key(field) {
                self.missing(path, field);
            }
        }
        if let Some(values) = map_schema(schema) {
            self.not_empty(schema.min_properties, fields.is_empty(), path);
            self.at_most(schema.max_properties, fields.len(), path);
            for (key, value) in fields {
                self.value(values, value, &path.to(Segment::Key(key.clone())));
            }
            return;
        }
        for (name, value) in fields {
            let property = schema.properties.as_ref().and_then(|known| known.get(name));
            if let Some(property) = property {
                self.value(property, value, &path.field(name));
            } else {
                let known = schema.properties.iter().flatten();
                let known: Vec<&str> = known.map(|(name, _)| name.as_str()).collect();
                self.unknown(path, name, &known);
            }
        }
    }

    fn list(&mut self, schema: &JSONSchemaProps, items: &[Value], path: &FieldPath) {
        self.not_empty(schema.min_items, items.is_empty(), path);
        self.at_most(schema.max_items, items.len(), path);
        self.duplicates(schema, items, path);
        for (index, item) in items.iter().enumerate() {
            if let Some(schema) = item_schema(schema) {
                self.value(schema, item, &path.to(Segment::Item(index)));
            }
        }
    }

    /// Items of a set are all different; items of a list that is a map differ in its key.
    fn duplicates(&mut self, schema: &JSONSchemaProps, items: &[Value], path: &FieldPath) {
        let key = schema.x_kubernetes_list_map_keys.iter().flatten().next();
        let identity = |item: &Value| match (schema.x_kubernetes_list_type.as_deref(), key) {
            (Some("set"), _) => Some(item.clone()),
            (Some("map"), Some(key)) => item.get(key).cloned(),
            _ => None,
        };
        let mut seen = std::collections::HashSet::new();
        for (index, item) in items.iter().enumerate() {
            let Some(identity) = identity(item) else {
                continue;
            };
            let at = path.to(Segment::Item(index));
            if !seen.insert(identity.to_string()) {
                self.add(
                    Code::Duplicate,
                    key.map_or(at.clone(), |key| at.field(key)),
                    format!("{} is there twice", shown(&identity)),
                    "remove one of the two, or name it otherwise".to_owned(),
                );
            }
        }
    }

    fn text(&mut self, schema: &JSONSchemaProps, text: &str, path: &FieldPath) {
        let choices: Vec<&str> = schema
            .enum_
            .iter()
            .flatten()
            .filter_map(|choice| choice.0.as_str())
            .collect();
        if !choices.is_empty() && !choices.contains(&text) {
            self.add(
                Code::UnsupportedValue,
                path.clone(),
                format!("\"{}\" is not one of its values", clip(text)),
                format!("write {}", choices.join(" or ")),
            );
        }
        self.at_most(schema.max_length, text.chars().count(), path);
        match schema.format.as_deref() {
            Some("cidr") => {
                if let Err(error) = Cidr::from_str(text) {
                    let remedy = match &error {
                        CidrError::HostBits { network, .. } => format!("write {network}"),
                        CidrError::Malformed(_) => "write it like 10.0.0.0/8".to_owned(),
                    };
                    self.add(
                        Code::Malformed,
                        path.clone(),
                        format!("\"{}\" is not a network without host bits", clip(text)),
                        remedy,
                    );
                }
            }
            Some("date-time") if !is_rfc3339(text) => self.add(
                Code::Malformed,
                path.clone(),
                format!("\"{}\" is not a date and time of RFC 3339", clip(text)),
                "write it like 2027-01-31T00:00:00Z".to_owned(),
            ),
            _ => {}
        }
    }

    fn integer(&mut self, schema: &JSONSchemaProps, value: &Value, path: &FieldPath) {
        if !value.is_i64() && !value.is_u64() {
            self.wrong_type(path, value, "a whole number");
            return;
        }
        let number = value.as_i64().and_then(|n| i32::try_from(n).ok());
        let (least, most) = (schema.minimum, schema.maximum);
        let fits = number.map(f64::from).is_some_and(|n| {
            least.is_none_or(|least| n >= least) && most.is_none_or(|most| n <= most)
        });
        if !fits {
            let least = least.unwrap_or(f64::from(i32::MIN));
            let most = most.unwrap_or(f64::from(i32::MAX));
            self.add(
                Code::OutOfRange,
                path.clone(),
                format!("{value} is out of range"),
                format!("write a number from {least} to {most}"),
            );
        }
    }

    fn not_empty(&mut self, least: Option<i64>, empty: bool, path: &FieldPath) {
        if empty && least.is_some_and(|least| least > 0) {
            self.add(
                Code::Empty,
                path.clone(),
                "is empty, which does not mean everything".to_owned(),
                "name at least one".to_owned(),
            );
        }
    }

    fn at_most(&mut self, limit: Option<i64>, count: usize, path: &FieldPath) {
        let within = |limit| i64::try_from(count).is_ok_and(|count| count <= limit);
        if let Some(limit) = limit.filter(|limit| !within(*limit)) {
            self.add(
                Code::TooLong,
                path.clone(),
                format!("is longer than its limit, {count} instead of {limit} at most"),
                "shorten it, or use several objects".to_owned(),
            );
        }
    }

    /// Complains that the value is of another type than expected, such as `a text`.
    pub(super) fn wrong_type(&mut self, path: &FieldPath, value: &Value, expected: &str) {
        self.add(
            Code::WrongType,
            path.clone(),
            format!("{} is not {expected}", shown(value)),
            match value {
                Value::Null => "remove the field, or give it a value".to_owned(),
                _ => format!("write {expected}"),
            },
        );
    }

    /// Complains that the object at the path lacks a field.
    pub(super) fn missing(&mut self, path: &FieldPath, field: &str) {
        self.add(
            Code::MissingField,
            path.field(field),
            "is missing".to_owned(),
            "add it".to_owned(),
        );
    }

    /// Complains about a field that the object at the path cannot have.
    pub(super) fn unknown(&mut self, path: &FieldPath, field: &str, known: &[&str]) {
        let plain = |name: &str| -> String {
            let letters = name.chars().filter(char::is_ascii_alphanumeric);
            letters.map(|c| c.to_ascii_lowercase()).collect()
        };
        let meant = known.iter().find(|known| plain(known) == plain(field));
        self.add(
            Code::UnknownField,
            path.to(Segment::Field(clip(field))),
            "is not a field here".to_owned(),
            match meant {
                Some(meant) => format!("write {meant}"),
                None if known.is_empty() => "remove it; nothing can be said here".to_owned(),
                None => format!("remove it; the fields here are {}", known.join(", ")),
            },
        );
    }

    /// Adds a complaint.
    pub(super) fn add(&mut self, code: Code, path: FieldPath, message: String, remedy: String) {
        self.violations.push(Violation {
            code,
            path,
            message,
            remedy,
        });
    }
}

fn item_schema(schema: &JSONSchemaProps) -> Option<&JSONSchemaProps> {
    match &schema.items {
        Some(JSONSchemaPropsOrArray::Schema(items)) => Some(items),
        _ => None,
    }
}

/// The schema of a map's values, where the object is a map.
fn map_schema(schema: &JSONSchemaProps) -> Option<&JSONSchemaProps> {
    match &schema.additional_properties {
        Some(JSONSchemaPropsOrBool::Schema(values)) => Some(values),
        _ => None,
    }
}

/// Whether the text is a date and time as RFC 3339, section 5.6, writes it. The parser of
/// timestamps takes more than that: a space for the T, or no seconds.
fn is_rfc3339(text: &str) -> bool {
    let like = |text: &str, picture: &str| {
        text.len() == picture.len()
            && text.bytes().zip(picture.bytes()).all(|(b, p)| match p {
                b'0' => b.is_ascii_digit(),
                literal => b == literal,
            })
    };
    let date_time = "0000-00-00T00:00:00";
    let (Some(start), Some(rest)) = (text.get(..date_time.len()), text.get(date_time.len()..))
    else {
        return false;
    };
    let offset = match rest.strip_prefix('.') {
        Some(fraction) => {
            let offset = fraction.trim_start_matches(|c: char| c.is_ascii_digit());
            if offset.len() == fraction.len() {
                return false;
            }
            offset
        }
        None => rest,
    };
    like(start, date_time)
        && (offset == "Z" || like(offset, "+00:00") || like(offset, "-00:00"))
        && text.parse::<Timestamp>().is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_date_and_time_has_all_its_parts() {
        for text in [
            "2026-12-31T00:00:00Z",
            "2026-12-31T23:59:59.5+01:00",
            "2024-02-29T00:00:00-05:30",
        ] {
            assert!(is_rfc3339(text), "{text:?}");
        }
        for text in [
            "",
            "2026-12-31",
            "2026-12-31T00:00Z",
            "2026-12-31T00:00:00",
            "2026-12-31 00:00:00Z",
            "2026-12-31T00:00:00.Z",
            "2026-12-31T00:00:00+01",
            "2026-02-30T00:00:00Z",
            "2026-12-31T24:00:00Z",
            "+002026-12-31T00:00:00Z",
            "2026-12-31T00:00:00Z[UTC]",
            "2026-12-31T00:00:0\u{ff10}Z",
        ] {
            assert!(!is_rfc3339(text), "{text:?}");
        }
    }
}
