//! Reads an object by its definition.
//!
//! Decides whether an object is one of ours and valid. What it means is not decided here, and
//! nothing of its metadata but name and namespace is looked at: that is the API server's.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::JSONSchemaProps;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::definition::Defined;
use super::structure::{self, Check};
use crate::violation::{Code, FieldPath, Violation, shown};

/// A valid object: what of its head matters, and its specification with the defaults filled in.
#[derive(Debug)]
pub(crate) struct Object<S> {
    pub(crate) namespace: Option<String>,
    pub(crate) name: String,
    pub(crate) spec: S,
}

/// The object of kind `K`, or every violation in it.
pub(crate) fn read<K>(object: &Value) -> Result<Object<K::Spec>, Vec<Violation>>
where
    K: Defined,
    K::Spec: DeserializeOwned,
{
    let mut check = Check::default();
    let head = check_head::<K>(object, &mut check);
    let spec = check_spec(K::schema(), object, &mut check);
    let (Some((name, namespace)), Some(spec)) = (head, spec) else {
        return Err(check.violations);
    };
    if !check.violations.is_empty() {
        return Err(check.violations);
    }
    match serde_json::from_value(spec) {
        Ok(spec) => Ok(Object {
            namespace,
            name,
            spec,
        }),
        // The schema is derived from the type, so only a gap in the check leads here.
        Err(error) => Err(vec![Violation {
            code: Code::Malformed,
            path: FieldPath::root().field("spec"),
            message: error.to_string(),
            remedy: "correct the value".to_owned(),
        }]),
    }
}

/// Name and namespace of an object of the right kind.
fn check_head<K: Defined>(object: &Value, check: &mut Check) -> Option<(String, Option<String>)> {
    let root = FieldPath::root();
    let Some(fields) = object.as_object() else {
        check.wrong_type(&root, object, "an object");
        return None;
    };
    for (field, expected) in [("apiVersion", K::api_version(&())), ("kind", K::kind(&()))] {
        match fields.get(field) {
            Some(Value::String(given)) if *given == expected => {}
            Some(given) => check.add(
                Code::WrongKind,
                root.field(field),
                format!("{} is not `{expected}`", shown(given)),
                format!("write {field}: {expected}"),
            ),
            None => check.missing(&root, field),
        }
    }
    for field in fields.keys() {
        const KNOWN: [&str; 5] = ["apiVersion", "kind", "metadata", "spec", "status"];
        if !KNOWN.contains(&field.as_str()) {
            check.unknown(&root, field, &KNOWN);
        }
    }
    let at = root.field("metadata");
    let metadata = fields.get("metadata").unwrap_or(&Value::Null);
    let name = text(metadata, &at, "name", check);
    let namespace = text(metadata, &at, "namespace", check);
    // The server makes a name up where `generateName` asks for one.
    if name.is_none() && text(metadata, &at, "generateName", check).is_none() {
        check.missing(&at, "name");
    }
    check.invariants(K::schema(), object, &at.field("name"), &metadata["name"]);
    Some((name.unwrap_or_default(), namespace))
}

fn text(metadata: &Value, at: &FieldPath, field: &str, check: &mut Check) -> Option<String> {
    match metadata.get(field) {
        None | Some(Value::Null) => None,
        Some(Value::String(text)) => Some(text.clone()),
        Some(other) => {
            check.wrong_type(&at.field(field), other, "a text");
            Some(String::new())
        }
    }
}

/// The specification with its defaults.
fn check_spec(root: &JSONSchemaProps, object: &Value, check: &mut Check) -> Option<Value> {
    let schema = root.properties.as_ref()?.get("spec")?;
    let path = FieldPath::root();
    let Some(spec) = object.get("spec") else {
        if object.is_object() {
            check.missing(&path, "spec");
        }
        return None;
    };
    let mut spec = spec.clone();
    structure::fill_defaults(schema, &mut spec);
    check.value(schema, &spec, &path.field("spec"));
    Some(spec)
}
