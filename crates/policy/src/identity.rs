//! Names that identities are made of, and the identities that policies name.
//!
//! Decides what is well formed. Does not know which of them exist.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

use crate::crd::Invariant;

/// Whether the text can be the name of a namespace: a DNS label (RFC 1123).
#[must_use]
pub fn is_dns_label(text: &str) -> bool {
    let inner = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    text.len() <= 63
        && text.bytes().all(|b| inner(b) || b == b'-')
        && text.bytes().next().is_some_and(inner)
        && text.bytes().last().is_some_and(inner)
}

/// Whether the text can be the name of a service account, or a trust domain: DNS labels joined
/// by dots (RFC 1123). The limit of 63 characters is on namespaces' names, not on each label.
#[must_use]
pub fn is_dns_subdomain(text: &str) -> bool {
    let edge = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let label = |label: &str| {
        label.bytes().all(|b| edge(b) || b == b'-')
            && label.bytes().next().is_some_and(edge)
            && label.bytes().last().is_some_and(edge)
    };
    text.len() <= 253 && text.split('.').all(label)
}

/// Whether the text can be the key of a label: a name of at most 63 characters, with or without
/// a DNS subdomain and a slash before it.
#[must_use]
pub fn is_label_key(text: &str) -> bool {
    match text.split_once('/') {
        Some((prefix, name)) => is_dns_subdomain(prefix) && is_label_name(name),
        None => is_label_name(text),
    }
}

/// Whether the text can be the value of a label.
#[must_use]
pub fn is_label_value(text: &str) -> bool {
    text.is_empty() || is_label_name(text)
}

fn is_label_name(text: &str) -> bool {
    let edge = |b: u8| b.is_ascii_alphanumeric();
    text.len() <= 63
        && text.bytes().all(|b| edge(b) || b"-_.".contains(&b))
        && text.bytes().next().is_some_and(edge)
        && text.bytes().last().is_some_and(edge)
}

/// The identity of a workload, of this mesh or another: `spiffe://trust.domain/path`.
///
/// Well formed as the SPIFFE-ID standard has it (section 2): no wildcard, no query, no port, no
/// empty or relative path segment, at most 2,048 bytes; and with a path, because one without is a
/// trust domain and no workload.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct SpiffeId(String);

impl SpiffeId {
    /// The most bytes that an identity may have.
    pub const LONGEST: usize = 2048;

    /// The identity as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for SpiffeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The text is no workload's SPIFFE ID.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not an identity like spiffe://cluster.local/ns/spark/sa/driver")]
pub struct SpiffeIdError(String);

impl FromStr for SpiffeId {
    type Err = SpiffeIdError;

    fn from_str(text: &str) -> Result<SpiffeId, SpiffeIdError> {
        let domain = |domain: &str| {
            !domain.is_empty()
                && domain
                    .bytes()
                    .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"._-".contains(&b))
        };
        let segment = |segment: &str| {
            !matches!(segment, "" | "." | "..")
                && segment
                    .bytes()
                    .all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b))
        };
        let parts = text
            .strip_prefix("spiffe://")
            .and_then(|rest| rest.split_once('/'));
        match parts {
            Some((trust, path))
                if text.len() <= SpiffeId::LONGEST
                    && domain(trust)
                    && path.split('/').all(segment) =>
            {
                Ok(SpiffeId(text.to_owned()))
            }
            _ => Err(SpiffeIdError(text.to_owned())),
        }
    }
}

impl TryFrom<String> for SpiffeId {
    type Error = SpiffeIdError;

    fn try_from(text: String) -> Result<SpiffeId, SpiffeIdError> {
        text.parse()
    }
}

impl From<SpiffeId> for String {
    fn from(id: SpiffeId) -> String {
        id.0
    }
}

impl JsonSchema for SpiffeId {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "SpiffeId".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "maxLength": SpiffeId::LONGEST,
            "x-kubernetes-validations": [Invariant::SpiffeId.to_schema()],
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_that_kubernetes_takes() {
        assert!(is_dns_label("spark-jobs") && is_dns_label("0"));
        assert!(is_dns_subdomain("a.b-c.d") && is_dns_subdomain(&"a".repeat(253)));
        assert!(is_label_key("app.kubernetes.io/name") && is_label_key("Spark_Role.v1"));
        assert!(is_label_value("") && is_label_value("Driver"));
        for text in ["", "-a", "a-", "A", "a_b", "a b", "ä", "*", "a\0"] {
            assert!(!is_dns_label(text) && !is_dns_subdomain(text), "{text:?}");
        }
        assert!(!is_dns_label("a.b") && !is_dns_label(&"a".repeat(64)));
        assert!(!is_dns_subdomain("a..b") && !is_dns_subdomain("a.") && !is_dns_subdomain(".a"));
        for text in ["", "/a", "a/", "a/b/c", "A/b", "-a", "a-", "a b"] {
            assert!(!is_label_key(text), "{text:?}");
        }
    }

    #[test]
    fn an_identity_names_one_workload() {
        for text in [
            "spiffe://cluster.local/ns/spark/sa/driver",
            "spiffe://other_mesh/Workload.1",
        ] {
            assert!(text.parse::<SpiffeId>().is_ok(), "{text:?}");
        }
        for text in [
            "",
            "spiffe://",
            "spiffe://cluster.local",
            "spiffe://cluster.local/",
            "spiffe://cluster.local/ns//sa/x",
            "spiffe://cluster.local/ns/../sa/x",
            "spiffe://cluster.local/ns/*/sa/x",
            "spiffe://Cluster.local/ns/a",
            "spiffe://cluster.local:443/ns/a",
            "spiffe://cluster.local/ns/a?b",
            "https://cluster.local/ns/a",
            "spiffe://cluster.local/ns/a\0",
        ] {
            assert!(text.parse::<SpiffeId>().is_err(), "{text:?}");
        }
    }
}
