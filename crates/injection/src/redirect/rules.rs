//! The netfilter rules of a plan: what stands in our two chains, and how to get there from the
//! tables as they are found.
//!
//! Connections, not packets: the kernel asks the `nat` table once, for the first packet that it
//! knows of a connection. So connections that are known live on through a change of the rules,
//! and a connection that is older than the first rules may be cut; matching only SYN would spare
//! it, and would also let a peer slip past the proxy by opening with another packet.

use std::fmt;
use std::iter;

use ipnet::IpNet;
use sparkmesh_policy::cidr::Cidr;
use sparkmesh_policy::names::PROXY_UID;
use sparkmesh_policy::port::Port;

use super::{NatTable, RedirectPlan, comma_separated};

/// Most ports that one `multiport` match of netfilter holds (`XT_MULTI_PORTS`).
const PORTS_PER_RULE: usize = 15;

/// An address family; each has tables of its own in the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// IPv4, the tables of `iptables`.
    V4,
    /// IPv6, the tables of `ip6tables`.
    V6,
}

impl Family {
    /// Both, in the order in which they are programmed.
    pub const ALL: [Family; 2] = [Family::V4, Family::V6];

    /// Addresses by which a pod speaks to itself.
    fn loopback(self) -> &'static str {
        match self {
            Family::V4 => "127.0.0.0/8",
            Family::V6 => "::1/128",
        }
    }

    fn includes(self, cidr: &Cidr) -> bool {
        match cidr.network() {
            IpNet::V4(_) => self == Family::V4,
            IpNet::V6(_) => self == Family::V6,
        }
    }
}

impl fmt::Display for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Family::V4 => "IPv4",
            Family::V6 => "IPv6",
        })
    }
}

/// Where a connection comes from, seen from the pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Direction {
    Inbound,
    Outbound,
}

impl Direction {
    /// The kernel's chain from which ours is reached.
    fn hook(self) -> &'static str {
        match self {
            Direction::Inbound => "PREROUTING",
            Direction::Outbound => "OUTPUT",
        }
    }

    fn chain(self) -> &'static str {
        match self {
            Direction::Inbound => "SPARKMESH_IN",
            Direction::Outbound => "SPARKMESH_OUT",
        }
    }

    fn jump(self) -> String {
        format!("-p tcp -j {}", self.chain())
    }
}

const DIRECTIONS: [Direction; 2] = [Direction::Inbound, Direction::Outbound];

/// The rules of one plan for one address family.
///
/// Each is written as `iptables-save` prints it, so that what was written can be compared with
/// what is read back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ruleset {
    inbound: Vec<String>,
    outbound: Vec<String>,
}

impl Ruleset {
    pub(super) fn new(plan: &RedirectPlan, family: Family) -> Ruleset {
        Ruleset {
            inbound: inbound(plan),
            outbound: outbound(plan, family),
        }
    }

    /// What to feed to `iptables-restore --noflush` so that `present` becomes as planned.
    ///
    /// One transaction on the `nat` table: our chains are emptied and filled, every jump to them
    /// is replaced by one at the head of its hook, where no foreign rule can take a connection
    /// away before. Foreign rules stay.
    #[must_use]
    pub fn restore_input(&self, present: &NatTable) -> String {
        let declared = DIRECTIONS.map(|it| format!(":{} - [0:0]", it.chain()));
        let removed = DIRECTIONS.into_iter().flat_map(|it| {
            jumps_to_ours(present, it.hook()).map(move |rule| format!("-D {} {rule}", it.hook()))
        });
        let filled = DIRECTIONS.into_iter().flat_map(|it| {
            let rules = self.of(it).iter();
            rules.map(move |rule| format!("-A {} {rule}", it.chain()))
        });
        let hooked = DIRECTIONS.map(|it| format!("-I {} 1 {}", it.hook(), it.jump()));

        let mut input = String::new();
        for line in iter::once("*nat".to_owned())
            .chain(declared)
            .chain(removed)
            .chain(filled)
            .chain(hooked)
            .chain(iter::once("COMMIT".to_owned()))
        {
            input.push_str(&line);
            input.push('\n');
        }
        input
    }

    /// Where `present` differs from what is planned; nothing if the plan is in place.
    #[must_use]
    pub fn deviations(&self, present: &NatTable) -> Vec<Deviation> {
        let chains = DIRECTIONS.into_iter().filter_map(|it| {
            let (expected, found) = (self.of(it), present.rules(it.chain()));
            let same = canonical_all(expected).eq(canonical_all(found));
            (!same).then(|| Deviation::Rules {
                chain: it.chain(),
                expected: expected.to_vec(),
                found: found.to_vec(),
            })
        });
        let hooks = DIRECTIONS.into_iter().filter_map(|it| {
            let rules = present.rules(it.hook());
            let first = rules.first().is_some_and(|rule| *rule == it.jump());
            let jumps = jumps_to_ours(present, it.hook()).count();
            (!first || jumps != 1).then(|| Deviation::Hook {
                hook: it.hook(),
                jump: it.jump(),
                found: rules.to_vec(),
            })
        });
        chains.chain(hooks).collect()
    }

    /// Whether a plan of ours, this or another, has been written to the table, wholly or in part.
    #[must_use]
    pub fn traces_in(present: &NatTable) -> bool {
        DIRECTIONS.iter().any(|it| present.has_chain(it.chain()))
    }

    /// How many rules there are, the two jumps to our chains included.
    #[must_use]
    pub fn count(&self) -> usize {
        self.inbound.len() + self.outbound.len() + DIRECTIONS.len()
    }

    fn of(&self, direction: Direction) -> &[String] {
        match direction {
            Direction::Inbound => &self.inbound,
            Direction::Outbound => &self.outbound,
        }
    }
}

/// A place where the tables are not as planned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Deviation {
    /// One of our chains holds other rules.
    Rules {
        /// Our chain.
        chain: &'static str,
        /// The rules planned.
        expected: Vec<String>,
        /// The rules there.
        found: Vec<String>,
    },
    /// Our chain is not reached first of all, or more than once.
    Hook {
        /// The kernel's chain.
        hook: &'static str,
        /// The rule that should be its first, and its only one that leads to us.
        jump: String,
        /// The rules there.
        found: Vec<String>,
    },
}

impl fmt::Display for Deviation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Deviation::Rules {
                chain,
                expected,
                found,
            } => write!(f, "chain {chain} should be {expected:?} and is {found:?}"),
            Deviation::Hook { hook, jump, found } => write!(
                f,
                "chain {hook} should begin with `{jump}`, as its only jump there, and is {found:?}"
            ),
        }
    }
}

fn inbound(plan: &RedirectPlan) -> Vec<String> {
    // Kubelets and scrapers speak to the proxy itself on these two.
    let own = past_proxy(&[Port::HEALTH, Port::METRICS]);
    let excluded = past_proxy(&plan.exclude_inbound_ports);
    own.chain(excluded)
        .chain(iter::once(redirect_to(Port::INBOUND)))
        .collect()
}

fn outbound(plan: &RedirectPlan, family: Family) -> Vec<String> {
    let networks = plan.exclude_outbound_cidrs.iter();
    // By user alone: a group is anybody's to run as (`runAsGroup`).
    iter::once(format!("-m owner --uid-owner {PROXY_UID} -j RETURN"))
        // A pod that speaks to its own address, too, speaks through the loopback device.
        .chain(iter::once("-o lo -j RETURN".to_owned()))
        .chain(iter::once(format!("-d {} -j RETURN", family.loopback())))
        .chain(past_proxy(&plan.exclude_outbound_ports))
        .chain(
            networks
                .filter(|cidr| family.includes(cidr))
                .map(past_proxy_to),
        )
        .chain(iter::once(redirect_to(Port::OUTBOUND)))
        .collect()
}

fn past_proxy(ports: &[Port]) -> impl Iterator<Item = String> {
    ports.chunks(PORTS_PER_RULE).map(|ports| {
        let ports = comma_separated(ports);
        format!("-p tcp -m multiport --dports {ports} -j RETURN")
    })
}

fn past_proxy_to(cidr: &Cidr) -> String {
    // The kernel knows no match for "any address", and `iptables-save` prints none.
    if cidr.network().prefix_len() == 0 {
        "-j RETURN".to_owned()
    } else {
        format!("-d {cidr} -j RETURN")
    }
}

fn redirect_to(port: Port) -> String {
    format!("-p tcp -j REDIRECT --to-ports {port}")
}

/// Rules of a hook that lead to a chain of ours, as an earlier run may have left them.
fn jumps_to_ours<'a>(present: &'a NatTable, hook: &str) -> impl Iterator<Item = &'a String> {
    present.rules(hook).iter().filter(|rule| {
        let words: Vec<&str> = rule.split_whitespace().collect();
        words.windows(2).any(|pair| {
            matches!(pair[0], "-j" | "-g") && DIRECTIONS.iter().any(|it| it.chain() == pair[1])
        })
    })
}

fn canonical_all(rules: &[String]) -> impl Iterator<Item = String> {
    rules.iter().map(|rule| canonical(rule))
}

/// The rule with networks spelled one way: C and Rust print some IPv6 addresses differently.
fn canonical(rule: &str) -> String {
    let words: Vec<String> = rule
        .split_whitespace()
        .map(|word| {
            word.parse::<IpNet>()
                .map_or_else(|_| word.to_owned(), |net| net.to_string())
        })
        .collect();
    words.join(" ")
}
