//! The definitions of the custom resources as the API server is given them.
//!
//! Decides how the derived schemas are finished. Knows no object.

use std::sync::LazyLock;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    CustomResourceDefinition, JSONSchemaProps, JSONSchemaPropsOrArray, JSONSchemaPropsOrBool,
    ValidationRule,
};
use kube::core::{CustomResourceExt, object::HasSpec};

use super::{AccessPolicy, Invariant, MeshBaseline};

/// The definitions of all custom resources, for API servers from Kubernetes 1.30 on.
#[must_use]
pub fn definitions() -> [CustomResourceDefinition; 2] {
    [mesh_baseline(), access_policy()]
}

/// A custom resource of ours.
pub(crate) trait Defined: kube::Resource<DynamicType = ()> + HasSpec {
    /// The schema of its objects.
    fn schema() -> &'static JSONSchemaProps;
}

impl Defined for MeshBaseline {
    fn schema() -> &'static JSONSchemaProps {
        static SCHEMA: LazyLock<JSONSchemaProps> =
            LazyLock::new(|| schema_mut(&mut mesh_baseline()).clone());
        &SCHEMA
    }
}

impl Defined for AccessPolicy {
    fn schema() -> &'static JSONSchemaProps {
        static SCHEMA: LazyLock<JSONSchemaProps> =
            LazyLock::new(|| schema_mut(&mut access_policy()).clone());
        &SCHEMA
    }
}

fn mesh_baseline() -> CustomResourceDefinition {
    let mut definition = MeshBaseline::crd();
    let schema = schema_mut(&mut definition);
    finish(schema);
    // The name is no part of the specification, from which the schema is derived.
    schema.x_kubernetes_validations = Some(vec![Invariant::BaselineName.to_rule()]);
    definition
}

fn access_policy() -> CustomResourceDefinition {
    let mut definition = AccessPolicy::crd();
    finish(schema_mut(&mut definition));
    definition
}

fn schema_mut(definition: &mut CustomResourceDefinition) -> &mut JSONSchemaProps {
    definition
        .spec
        .versions
        .first_mut()
        .and_then(|version| version.schema.as_mut())
        .and_then(|schema| schema.open_api_v3_schema.as_mut())
        .expect("a derived definition has one version with a schema")
}

/// Makes a derived schema fit for people: lines of a documentation comment are joined to
/// paragraphs, because `kubectl explain` wraps them itself.
fn finish(schema: &mut JSONSchemaProps) {
    // Of the enum of peers: `Invariant::OnePeer` says the same in words.
    schema.one_of = None;
    schema.title = None;
    if let Some(text) = &mut schema.description {
        *text = paragraphs(text);
    }
    for property in schema.properties.iter_mut().flat_map(|p| p.values_mut()) {
        finish(property);
    }
    if let Some(JSONSchemaPropsOrArray::Schema(items)) = &mut schema.items {
        finish(items);
    }
    if let Some(JSONSchemaPropsOrBool::Schema(values)) = &mut schema.additional_properties {
        finish(values);
    }
}

fn paragraphs(text: &str) -> String {
    text.split("\n\n")
        .map(|paragraph| {
            paragraph
                .split('\n')
                .map(str::trim)
                .collect::<Vec<_>>()
                .join(" ")
        })
        .collect::<Vec<_>>()
        .join("\n\n")
}

impl Invariant {
    fn to_rule(self) -> ValidationRule {
        serde_json::from_value(self.to_schema()).expect("a rule is written as the API has it")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::names;
    use serde_json::Value;

    /// What `structure` knows how to check. Anything else in a schema would be the API server's
    /// alone to enforce.
    const CHECKED: [&str; 20] = [
        "additionalProperties",
        "default",
        "description",
        "enum",
        "format",
        "items",
        "maxItems",
        "maxLength",
        "maxProperties",
        "maximum",
        "minItems",
        "minProperties",
        "minimum",
        "nullable",
        "properties",
        "required",
        "type",
        "x-kubernetes-list-map-keys",
        "x-kubernetes-list-type",
        "x-kubernetes-map-type",
    ];

    fn each_schema(schema: &Value, path: &str, visit: &mut impl FnMut(&str, &Value)) {
        visit(path, schema);
        for (name, property) in schema["properties"].as_object().into_iter().flatten() {
            each_schema(property, &format!("{path}.{name}"), visit);
        }
        for part in ["items", "additionalProperties"] {
            if schema[part].is_object() {
                each_schema(&schema[part], &format!("{path}.{part}"), visit);
            }
        }
    }

    fn each_of_ours(visit: &mut impl FnMut(&str, &Value)) {
        for schema in [MeshBaseline::schema(), AccessPolicy::schema()] {
            let schema = serde_json::to_value(schema).expect("a schema is JSON");
            each_schema(&schema["properties"]["spec"], "spec", visit);
        }
    }

    #[test]
    fn the_schemas_say_nothing_that_only_the_api_server_checks() {
        each_of_ours(&mut |path, schema| {
            for keyword in schema.as_object().expect("an object").keys() {
                let checked = CHECKED.contains(&keyword.as_str())
                    || keyword.as_str() == "x-kubernetes-validations";
                assert!(checked, "{path}: {keyword}");
            }
            let format = schema["format"].as_str();
            assert!(
                matches!(format, None | Some("int32" | "cidr" | "date-time")),
                "{path}: {format:?}"
            );
        });
    }

    #[test]
    fn each_cel_rule_has_its_twin_and_one_line_of_message() {
        each_of_ours(&mut |path, schema| {
            let rules = schema["x-kubernetes-validations"].as_array();
            for rule in rules.into_iter().flatten() {
                let text = rule["rule"].as_str().expect("a text");
                assert!(Invariant::of_cel(text).is_some(), "{path}: {text}");
                let message = rule["message"].as_str().expect("a text");
                assert_eq!(message.lines().count(), 1, "{path}: {message}");
            }
        });
    }

    /// The derive macro takes no constant for a name.
    #[test]
    fn the_definitions_are_of_our_group_and_version() {
        for definition in definitions() {
            assert_eq!(definition.spec.group, names::GROUP);
            assert_eq!(definition.spec.versions[0].name, names::VERSION);
        }
    }

    #[test]
    fn every_field_is_explained() {
        each_of_ours(&mut |path, schema| {
            let last = path.rsplit('.').next();
            let part = matches!(last, Some("items" | "additionalProperties"));
            assert!(part || schema["description"].is_string(), "{path}");
        });
    }

    #[test]
    fn lists_maps_and_texts_have_limits() {
        each_of_ours(&mut |path, schema| {
            let limit = match schema["type"].as_str() {
                Some("array") => "maxItems",
                Some("object") if schema["additionalProperties"].is_object() => "maxProperties",
                Some("string") if schema["enum"].is_null() && schema["format"] != "date-time" => {
                    "maxLength"
                }
                _ => return,
            };
            assert!(schema[limit].is_number(), "{path} has no {limit}");
        });
    }
}
