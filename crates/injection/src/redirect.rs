//! Which TCP connections of a pod go through its proxy.

use sparkmesh_policy::cidr::Cidr;
use sparkmesh_policy::port::Port;

/// The redirection of one pod, as `sparkmesh init` programs it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RedirectPlan {
    /// Ports whose inbound connections go past the proxy, ascending, without repeats.
    pub exclude_inbound_ports: Vec<Port>,
    /// Ports to which outbound connections go past the proxy, ascending, without repeats.
    pub exclude_outbound_ports: Vec<Port>,
    /// Networks to which outbound connections go past the proxy, ascending, without repeats.
    pub exclude_outbound_cidrs: Vec<Cidr>,
}
