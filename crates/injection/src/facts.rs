//! What a decision may know of the world beside the pod itself: its namespace and the request.
//!
//! Facts are gathered by others (watches or files) and arrive complete; this module refuses to
//! know where from.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use sparkmesh_policy::baseline::Baseline;
use sparkmesh_policy::names;

/// Everything known of the mesh at one moment; replaced whole, never changed in place.
#[derive(Clone, Debug, Default)]
pub struct MeshFacts {
    /// The platform's floor.
    pub baseline: Arc<Baseline>,
    /// Every namespace by its name.
    pub namespaces: HashMap<String, Arc<NamespaceFacts>>,
}

/// What of a namespace matters to its pods.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamespaceFacts {
    /// The namespace's name.
    pub name: String,
    /// Whether its label asks for the mesh.
    pub injection: bool,
    /// The Pod Security level that the API server enforces there, as far as labels tell.
    pub pod_security: PodSecurity,
    /// Whether `OpenShift` assigns user ids there.
    pub openshift_uid_range: bool,
}

/// Pod Security levels, see <https://kubernetes.io/docs/concepts/security/pod-security-standards/>.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PodSecurity {
    /// No label names a level.
    Unset,
    /// Everything is permitted.
    Privileged,
    /// `NET_ADMIN` is forbidden, also in init containers.
    Baseline,
    /// As baseline and stricter.
    Restricted,
}

const POD_SECURITY_LABEL: &str = "pod-security.kubernetes.io/enforce";
const OPENSHIFT_UID_RANGE: &str = "openshift.io/sa.scc.uid-range";

impl NamespaceFacts {
    /// Reads the facts off a namespace's metadata.
    #[must_use]
    pub fn from_metadata(
        name: &str,
        labels: Option<&BTreeMap<String, String>>,
        annotations: Option<&BTreeMap<String, String>>,
    ) -> NamespaceFacts {
        let label = |key: &str| labels.and_then(|all| all.get(key)).map(String::as_str);
        NamespaceFacts {
            name: name.to_owned(),
            injection: label(names::INJECTION_LABEL) == Some(names::INJECTION_ENABLED),
            pod_security: match label(POD_SECURITY_LABEL) {
                Some("privileged") => PodSecurity::Privileged,
                Some("baseline") => PodSecurity::Baseline,
                Some("restricted") => PodSecurity::Restricted,
                _ => PodSecurity::Unset,
            },
            openshift_uid_range: annotations
                .is_some_and(|all| all.contains_key(OPENSHIFT_UID_RANGE)),
        }
    }
}
