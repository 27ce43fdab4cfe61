//! The platform team's floor: what every pod of the mesh keeps to.
//!
//! Stands in until the custom resource types arrive in this module.

use crate::cidr::Cidr;
use crate::port::Port;

/// A validated `MeshBaseline`; its default is what holds where there is none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Baseline {
    /// SPIFFE trust domain of every identity.
    pub trust_domain: String,
    /// What a pod that asks to stay out gets.
    pub opt_out: OptOut,
    /// Traffic that pods may ask to take past the proxy.
    pub exclusions: Exclusions,
}

impl Default for Baseline {
    fn default() -> Baseline {
        Baseline {
            trust_domain: "cluster.local".to_owned(),
            opt_out: OptOut::Deny,
            exclusions: Exclusions::default(),
        }
    }
}

/// What a pod labelled `sparkmesh.dev/injection: disabled` gets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OptOut {
    /// The pod is rejected.
    #[default]
    Deny,
    /// The pod is admitted without a proxy.
    Allow,
}

/// Traffic that pods may exclude by annotation; nothing by default.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Exclusions {
    /// Ports on which pods may take plaintext past the proxy.
    pub inbound_ports: Vec<Port>,
    /// Ports to which pods may connect past the proxy.
    pub outbound_ports: Vec<Port>,
    /// Networks to which pods may connect past the proxy.
    pub outbound_cidrs: Vec<Cidr>,
}
