//! Whether this is a pod whose rules may be written: our rights, whose network it is, and what
//! IPv6 there is. Decides nothing about rules.

use std::net::{IpAddr, UdpSocket};
use std::{env, fs, io};

use sparkmesh_policy::names::{
    HOST_IP_VARIABLE, INJECTION_DISABLED, INJECTION_LABEL, POD_IP_VARIABLE,
};

/// Bits of `CapEff`, see `capabilities(7)`.
const CAP_NET_ADMIN: u32 = 12;
const CAP_NET_RAW: u32 = 13;

/// What of the pod matters to the programming of rules.
#[derive(Debug)]
pub(super) struct Pod {
    /// Whether raw sockets may be opened, as legacy iptables needs.
    pub(super) net_raw: bool,
    pub(super) ipv6: Ipv6,
}

/// How far IPv6 reaches in the pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ipv6 {
    /// The kernel has none.
    Absent,
    /// No device but loopback has an address.
    Loopback,
    /// Peers can be reached, be it by a link-local address.
    Reachable,
}

/// Why no rule is written here.
#[derive(Debug, thiserror::Error)]
pub(super) enum Refusal {
    #[error(
        "the capability NET_ADMIN is missing, without which no rule can be written: give the init \
         container `securityContext.capabilities.add: [NET_ADMIN, NET_RAW]`; Pod Security permits \
         that only in a namespace labelled `pod-security.kubernetes.io/enforce: privileged`, and \
         OpenShift only by a SecurityContextConstraints object granted to the pod's service account"
    )]
    NoNetAdmin,
    #[error(
        "user {0} has no capability NET_ADMIN, without which no rule can be written: Kubernetes \
         gives added capabilities to root alone, so the init container needs `runAsUser: 0` and \
         `runAsNonRoot: false` beside `capabilities.add: [NET_ADMIN, NET_RAW]`; on OpenShift that \
         takes a SecurityContextConstraints object with `runAsUser: RunAsAny`"
    )]
    NotRoot(u32),
    #[error(
        "the variable {HOST_IP_VARIABLE} is {found}: it must hold the node's address, so that the \
         node's own rules are never touched by mistake; take it from `status.hostIP` by a fieldRef"
    )]
    HostAddressUnknown { found: String },
    #[error(
        "this is the node's own network ({node} is our address), whose rules are never touched: \
         the pod has `hostNetwork: true`; take that away, or label it \
         `{INJECTION_LABEL}: {INJECTION_DISABLED}`"
    )]
    HostNetwork { node: IpAddr },
    #[error("whether {node} is our own address cannot be found out: {source}")]
    HostNetworkUnclear { node: IpAddr, source: io::Error },
    #[error("{path} cannot be read: {source}")]
    Unreadable {
        path: &'static str,
        source: io::Error,
    },
}

impl Pod {
    /// Looks around, and refuses where nothing may be written.
    pub(super) fn observe() -> Result<Pod, Refusal> {
        let rights = Rights::read()?;
        rights.permit_rules()?;
        let node = node_address(env::var(HOST_IP_VARIABLE).ok().as_deref())?;
        let own = env::var(POD_IP_VARIABLE).ok();
        if own.and_then(|it| it.parse().ok()) == Some(node) || is_own_address(node)? {
            return Err(Refusal::HostNetwork { node });
        }
        Ok(Pod {
            net_raw: rights.has(CAP_NET_RAW),
            ipv6: Ipv6::read()?,
        })
    }
}

#[derive(Debug, PartialEq, Eq)]
struct Rights {
    user: u32,
    effective: u64,
}

impl Rights {
    fn read() -> Result<Rights, Refusal> {
        let path = "/proc/self/status";
        let unreadable = |source| Refusal::Unreadable { path, source };
        let status = fs::read_to_string(path).map_err(unreadable)?;
        Rights::parse(&status).ok_or_else(|| unreadable(io::ErrorKind::InvalidData.into()))
    }

    fn parse(status: &str) -> Option<Rights> {
        let field = |name: &str| {
            let mut lines = status.lines();
            lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))
        };
        Some(Rights {
            // Real, effective, saved and file system user.
            user: field("Uid")?.split_whitespace().nth(1)?.parse().ok()?,
            effective: u64::from_str_radix(field("CapEff")?.trim(), 16).ok()?,
        })
    }

    fn has(&self, capability: u32) -> bool {
        self.effective >> capability & 1 == 1
    }

    fn permit_rules(&self) -> Result<(), Refusal> {
        match self.user {
            _ if self.has(CAP_NET_ADMIN) => Ok(()),
            0 => Err(Refusal::NoNetAdmin),
            user => Err(Refusal::NotRoot(user)),
        }
    }
}

fn node_address(variable: Option<&str>) -> Result<IpAddr, Refusal> {
    let unknown = |found: String| Refusal::HostAddressUnknown { found };
    let text = variable.ok_or_else(|| unknown("not set".to_owned()))?;
    text.parse().map_err(|_| unknown(format!("`{text}`")))
}

/// Whether the address is one of this network namespace: only to those can a socket be bound.
fn is_own_address(address: IpAddr) -> Result<bool, Refusal> {
    match UdpSocket::bind((address, 0)) {
        Ok(_) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::AddrNotAvailable => Ok(false),
        Err(source) => Err(Refusal::HostNetworkUnclear {
            node: address,
            source,
        }),
    }
}

impl Ipv6 {
    fn read() -> Result<Ipv6, Refusal> {
        let path = "/proc/net/if_inet6";
        match fs::read_to_string(path) {
            Ok(addresses) => Ok(Ipv6::parse(&addresses)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Ipv6::Absent),
            Err(source) => Err(Refusal::Unreadable { path, source }),
        }
    }

    /// Reads lines of address, index, prefix length, scope, flags and device name.
    fn parse(addresses: &str) -> Ipv6 {
        let mut devices = addresses.lines().map(|it| it.split_whitespace().last());
        if devices.all(|device| device == Some("lo")) {
            Ipv6::Loopback
        } else {
            Ipv6::Reachable
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rights_are_the_effective_ones() {
        let status = "Name:\tsh\nUid:\t1000\t0\t0\t0\nCapPrm:\t0\nCapEff:\t0000000000003000\n";
        let rights = Rights::parse(status).expect("well formed");
        assert_eq!(rights.user, 0);
        assert!(rights.has(CAP_NET_ADMIN) && rights.has(CAP_NET_RAW) && !rights.has(0));
        assert_eq!(Rights::parse("Uid:\t0\nCapEff:\t0\n"), None);
        assert_eq!(Rights::parse(""), None);
    }

    #[test]
    fn the_remedy_for_missing_rights_depends_on_the_user() {
        let rights = |user, effective| Rights { user, effective }.permit_rules();
        assert!(matches!(rights(0, 0), Err(Refusal::NoNetAdmin)));
        assert!(matches!(rights(1000, 0), Err(Refusal::NotRoot(1000))));
        assert!(rights(1000, 1 << CAP_NET_ADMIN).is_ok());
    }

    #[test]
    fn the_node_address_must_be_given_and_be_one() {
        for bad in [None, Some(""), Some("node-1"), Some("10.0.0.0/8")] {
            let error = node_address(bad).expect_err("it is refused").to_string();
            assert!(error.contains("HOST_IP"), "{error}");
        }
        assert!(node_address(Some("2001:db8::1")).is_ok());
    }

    #[test]
    fn an_address_of_ours_is_told_from_others() {
        let own = |text: &str| is_own_address(text.parse().expect("an address")).expect("clear");
        assert!(own("127.0.0.1") && own("127.1.2.3"));
        assert!(!own("192.0.2.1"));
    }

    #[test]
    fn ipv6_on_loopback_alone_reaches_nobody() {
        let lo = "00000000000000000000000000000001 01 80 10 80       lo\n";
        let eth0 = "fe800000000000000000000000000001 02 40 20 80     eth0\n";
        assert_eq!(Ipv6::parse(""), Ipv6::Loopback);
        assert_eq!(Ipv6::parse(lo), Ipv6::Loopback);
        assert_eq!(Ipv6::parse(&format!("{lo}{eth0}")), Ipv6::Reachable);
    }
}
