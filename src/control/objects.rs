//! What the objects of the API server should look like, and what they say. Decides from what was
//! read; reads and writes nothing itself.
//!
//! Changes are as narrow as they can be, and refused by the API server if somebody else wrote since
//! the object was read: merge patches name the `resourceVersion`, JSON patches test it.

use json_patch::jsonptr::PointerBuf;
use json_patch::{AddOperation, Patch, PatchOperation, TestOperation};
use k8s_openapi::ByteString;
use k8s_openapi::api::admissionregistration::v1::{MutatingWebhook, MutatingWebhookConfiguration};
use k8s_openapi::api::authentication::v1::UserInfo;
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use serde_json::{Value, json};

use super::names::{CA_CERTIFICATE, CERTIFICATE, PRIVATE_KEY, TRUST_CONFIG_MAP};
use super::pair::TlsPair;

/// What a TLS Secret holds. An absent entry is empty, of an absent Secret all are.
pub(crate) fn stored_pair(secret: Option<&Secret>) -> TlsPair {
    let data = secret.and_then(|secret| secret.data.as_ref());
    let entry = |key: &str| {
        let bytes = data.and_then(|data| data.get(key));
        bytes.map(|bytes| bytes.0.clone()).unwrap_or_default()
    };
    TlsPair {
        certificate: entry(CERTIFICATE),
        key: entry(PRIVATE_KEY),
        ca: entry(CA_CERTIFICATE),
    }
}

/// A new TLS Secret.
pub(crate) fn new_secret(name: &str, pair: &TlsPair, owner: Option<OwnerReference>) -> Secret {
    Secret {
        metadata: metadata(name, owner),
        type_: Some("kubernetes.io/tls".to_owned()),
        data: Some(
            [
                (CERTIFICATE, &pair.certificate),
                (PRIVATE_KEY, &pair.key),
                (CA_CERTIFICATE, &pair.ca),
            ]
            .map(|(key, bytes)| (key.to_owned(), ByteString(bytes.clone())))
            .into(),
        ),
        ..Secret::default()
    }
}

/// Merge patch that puts this pair into a Secret that was read.
pub(crate) fn secret_patch(read: &Secret, pair: &TlsPair) -> Value {
    json!({
        "metadata": {"resourceVersion": read.metadata.resource_version},
        "data": {
            CERTIFICATE: ByteString(pair.certificate.clone()),
            PRIVATE_KEY: ByteString(pair.key.clone()),
            CA_CERTIFICATE: ByteString(pair.ca.clone()),
        },
    })
}

/// A new `ConfigMap` with the public roots.
pub(crate) fn new_trust(bundle: &str, owner: Option<OwnerReference>) -> ConfigMap {
    ConfigMap {
        metadata: metadata(TRUST_CONFIG_MAP, owner),
        data: Some([(CA_CERTIFICATE.to_owned(), bundle.to_owned())].into()),
        ..ConfigMap::default()
    }
}

/// Merge patch that puts the roots into a `ConfigMap` that was read; nothing if they are there.
pub(crate) fn trust_patch(read: &ConfigMap, bundle: &str) -> Option<Value> {
    let present = read.data.as_ref().and_then(|data| data.get(CA_CERTIFICATE));
    (present.map(String::as_str) != Some(bundle)).then(|| {
        json!({
            "metadata": {"resourceVersion": read.metadata.resource_version},
            "data": {CA_CERTIFICATE: bundle},
        })
    })
}

/// What the webhook configuration says of our Service's certificate.
#[derive(Debug, PartialEq)]
pub(crate) enum CaBundle {
    /// No webhook of this configuration calls our Service.
    NotOurs,
    InPlace,
    /// Sets the bundle of the webhooks that call our Service, and nothing else.
    Wrong(Patch),
}

/// Compares the bundle of every webhook that calls this Service.
pub(crate) fn ca_bundle(
    read: &MutatingWebhookConfiguration,
    service: &str,
    namespace: &str,
    bundle: &[u8],
) -> CaBundle {
    let all = read.webhooks.as_deref().unwrap_or_default();
    let ours: Vec<_> = all
        .iter()
        .enumerate()
        .filter(|(_, webhook)| calls(webhook, service, namespace))
        .collect();
    if ours.is_empty() {
        return CaBundle::NotOurs;
    }
    let mut operations = Vec::new();
    for (index, webhook) in ours {
        if webhook
            .client_config
            .ca_bundle
            .as_ref()
            .is_some_and(|present| present.0 == bundle)
        {
            continue;
        }
        let index = index.to_string();
        let path = |rest: &[&str]| {
            let whole = ["webhooks", &index].into_iter().chain(rest.iter().copied());
            PointerBuf::from_tokens(whole)
        };
        operations.push(test(path(&["name"]), json!(webhook.name)));
        let value = json!(ByteString(bundle.to_vec()));
        // "add" replaces what is there.
        operations.push(PatchOperation::Add(AddOperation {
            path: path(&["clientConfig", "caBundle"]),
            value,
        }));
    }
    if operations.is_empty() {
        return CaBundle::InPlace;
    }
    let version = PointerBuf::from_tokens(["metadata", "resourceVersion"]);
    operations.insert(0, test(version, json!(read.metadata.resource_version)));
    CaBundle::Wrong(Patch(operations))
}

/// The service account that a `SelfSubjectReview` shows, as owner of what this process makes; nothing
/// where it is somebody else's, or no service account. It outlives Deployments, which an upgrade may
/// have to make anew: the authority must not go with one.
pub(crate) fn owner(user: &UserInfo, namespace: &str) -> Option<OwnerReference> {
    let prefix = format!("system:serviceaccount:{namespace}:");
    Some(OwnerReference {
        api_version: "v1".to_owned(),
        kind: "ServiceAccount".to_owned(),
        name: user.username.as_deref()?.strip_prefix(&prefix)?.to_owned(),
        uid: user.uid.clone()?,
        ..OwnerReference::default()
    })
}

fn test(path: PointerBuf, value: Value) -> PatchOperation {
    PatchOperation::Test(TestOperation { path, value })
}

fn calls(webhook: &MutatingWebhook, service: &str, namespace: &str) -> bool {
    webhook
        .client_config
        .service
        .as_ref()
        .is_some_and(|it| it.name == service && it.namespace == namespace)
}

fn metadata(name: &str, owner: Option<OwnerReference>) -> ObjectMeta {
    ObjectMeta {
        name: Some(name.to_owned()),
        labels: Some(
            [
                ("app.kubernetes.io/part-of", "sparkmesh"),
                ("app.kubernetes.io/component", "control"),
            ]
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .into(),
        ),
        owner_references: owner.map(|owner| vec![owner]),
        ..ObjectMeta::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_openapi::api::admissionregistration::v1::{ServiceReference, WebhookClientConfig};

    fn pair() -> TlsPair {
        TlsPair {
            certificate: b"certificate".to_vec(),
            key: b"key".to_vec(),
            ca: b"ca".to_vec(),
        }
    }

    fn webhook(
        name: &str,
        service: Option<(&str, &str)>,
        bundle: Option<&[u8]>,
    ) -> MutatingWebhook {
        MutatingWebhook {
            name: name.to_owned(),
            client_config: WebhookClientConfig {
                ca_bundle: bundle.map(|it| ByteString(it.to_vec())),
                service: service.map(|(name, namespace)| ServiceReference {
                    name: name.to_owned(),
                    namespace: namespace.to_owned(),
                    ..ServiceReference::default()
                }),
                url: service.is_none().then(|| "https://example.test".to_owned()),
            },
            ..MutatingWebhook::default()
        }
    }

    fn configuration(webhooks: Vec<MutatingWebhook>) -> MutatingWebhookConfiguration {
        MutatingWebhookConfiguration {
            metadata: ObjectMeta {
                resource_version: Some("7".to_owned()),
                ..ObjectMeta::default()
            },
            webhooks: Some(webhooks),
        }
    }

    const OURS: Option<(&str, &str)> = Some(("sparkmesh-webhook", "sparkmesh"));

    fn compared(webhooks: Vec<MutatingWebhook>) -> CaBundle {
        ca_bundle(
            &configuration(webhooks),
            "sparkmesh-webhook",
            "sparkmesh",
            b"root",
        )
    }

    #[test]
    fn a_pair_is_read_from_a_secret_as_it_was_written() {
        let secret = new_secret("s", &pair(), None);
        assert_eq!(stored_pair(Some(&secret)), pair());
        assert_eq!(secret.type_.as_deref(), Some("kubernetes.io/tls"));
        assert_eq!(stored_pair(Some(&Secret::default())), TlsPair::default());
    }

    #[test]
    fn a_patched_secret_keeps_what_is_not_ours_and_names_the_version_that_was_read() {
        let mut read = new_secret("s", &TlsPair::default(), None);
        read.metadata.resource_version = Some("41".to_owned());
        let mut document = serde_json::to_value(&read).expect("JSON");
        document["data"]["theirs"] = json!("eA==");
        json_patch::merge(&mut document, &secret_patch(&read, &pair()));
        assert_eq!(document["metadata"]["resourceVersion"], "41");
        assert_eq!(document["data"]["theirs"], "eA==");
        assert_eq!(
            stored_pair(Some(&serde_json::from_value(document).expect("a Secret"))),
            pair()
        );
    }

    #[test]
    fn only_the_bundle_of_webhooks_that_call_our_service_is_written() {
        let webhooks = vec![
            webhook("theirs", Some(("other", "sparkmesh")), None),
            webhook("elsewhere", Some(("sparkmesh-webhook", "other")), None),
            webhook("by-url", None, None),
            webhook("right", OURS, Some(b"root")),
            webhook("wrong", OURS, Some(b"else")),
            webhook("empty", OURS, None),
        ];
        let CaBundle::Wrong(patch) = compared(webhooks.clone()) else {
            panic!("it is wrong")
        };
        let mut document = serde_json::to_value(configuration(webhooks.clone())).expect("JSON");
        json_patch::patch(&mut document, &patch).expect("it applies");

        let mut expected = webhooks;
        for index in [4, 5] {
            expected[index].client_config.ca_bundle = Some(ByteString(b"root".to_vec()));
        }
        assert_eq!(
            document,
            serde_json::to_value(configuration(expected)).expect("JSON")
        );
    }

    #[test]
    fn a_patch_does_not_apply_to_another_webhook_or_version() {
        let CaBundle::Wrong(patch) = compared(vec![webhook("a", OURS, None)]) else {
            panic!("it is wrong")
        };
        let moved = configuration(vec![webhook("b", OURS, None)]);
        let mut newer = configuration(vec![webhook("a", OURS, None)]);
        newer.metadata.resource_version = Some("8".to_owned());
        for other in [moved, newer] {
            let mut document = serde_json::to_value(other).expect("JSON");
            assert!(json_patch::patch(&mut document, &patch).is_err());
        }
    }

    #[test]
    fn nothing_is_written_where_nothing_is_wrong_or_nothing_is_ours() {
        assert_eq!(
            compared(vec![webhook("a", OURS, Some(b"root"))]),
            CaBundle::InPlace
        );
        assert_eq!(compared(vec![webhook("a", None, None)]), CaBundle::NotOurs);
        assert_eq!(compared(vec![]), CaBundle::NotOurs);
    }

    #[test]
    fn the_owner_is_a_service_account_of_this_namespace_or_nobody() {
        let user = |name: &str| UserInfo {
            username: Some(name.to_owned()),
            uid: Some("1-2-3".to_owned()),
            ..UserInfo::default()
        };
        let found = owner(
            &user("system:serviceaccount:sparkmesh:sparkmesh-control"),
            "sparkmesh",
        )
        .expect("an owner");
        assert_eq!(
            (found.kind.as_str(), found.name.as_str(), found.uid.as_str()),
            ("ServiceAccount", "sparkmesh-control", "1-2-3")
        );
        for other in [
            "kubernetes-admin",
            "system:serviceaccount:elsewhere:sparkmesh-control",
            "",
        ] {
            assert_eq!(owner(&user(other), "sparkmesh"), None, "{other}");
        }
    }

    #[test]
    fn roots_are_written_only_where_they_differ() {
        let present = new_trust("root", None);
        assert_eq!(trust_patch(&present, "root"), None);
        for read in [new_trust("else", None), ConfigMap::default()] {
            assert_eq!(
                trust_patch(&read, "root").expect("differs")["data"][CA_CERTIFICATE],
                "root"
            );
        }
    }
}
