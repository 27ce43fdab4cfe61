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

/// Makes a derived schema fit for people and for a strict reading.
///
/// A field that may be left out may not be null instead: what null means would depend on who
/// reads it. Lines of a documentation comment are joined to paragraphs, because `kubectl explain`
/// wraps them itself.
fn finish(schema: &mut JSONSchemaProps) {
    schema.nullable = None;
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
