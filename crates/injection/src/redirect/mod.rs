//! Which TCP connections of a pod go through its proxy.
//!
//! A [`RedirectPlan`] travels as the init container's arguments and becomes netfilter rules, one
//! [`Ruleset`] for each address family. This module decides what the rules are, what has to be
//! fed to `iptables-restore` to get from the tables found to those wanted, and whether tables
//! read back are as wanted. It refuses to know how the tables are read and written, and which of
//! the kernel's two table formats holds them.

mod rules;
mod table;

use std::fmt::Display;

use sparkmesh_policy::cidr::Cidr;
use sparkmesh_policy::port::Port;

pub use rules::{Deviation, Family, Ruleset};
pub use table::{NatTable, holds_rules};

/// The subcommand that reads the arguments back.
pub const SUBCOMMAND: &str = "init";
/// Argument for [`RedirectPlan::exclude_inbound_ports`], without its dashes.
pub const EXCLUDE_INBOUND_PORTS: &str = "exclude-inbound-ports";
/// Argument for [`RedirectPlan::exclude_outbound_ports`], without its dashes.
pub const EXCLUDE_OUTBOUND_PORTS: &str = "exclude-outbound-ports";
/// Argument for [`RedirectPlan::exclude_outbound_cidrs`], without its dashes.
pub const EXCLUDE_OUTBOUND_CIDRS: &str = "exclude-outbound-cidrs";

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

impl RedirectPlan {
    /// The init container's arguments: [`SUBCOMMAND`], and one `--name=a,b` for each list that is
    /// not empty.
    #[must_use]
    pub fn to_args(&self) -> Vec<String> {
        let lists = [
            list_argument(EXCLUDE_INBOUND_PORTS, &self.exclude_inbound_ports),
            list_argument(EXCLUDE_OUTBOUND_PORTS, &self.exclude_outbound_ports),
            list_argument(EXCLUDE_OUTBOUND_CIDRS, &self.exclude_outbound_cidrs),
        ];
        std::iter::once(SUBCOMMAND.to_owned())
            .chain(lists.into_iter().flatten())
            .collect()
    }

    /// The rules by which the kernel carries the plan out for one address family.
    #[must_use]
    pub fn rules(&self, family: Family) -> Ruleset {
        Ruleset::new(self, family)
    }
}

fn list_argument<T: Display>(name: &str, values: &[T]) -> Option<String> {
    (!values.is_empty()).then(|| format!("--{name}={}", comma_separated(values)))
}

fn comma_separated<T: Display>(values: &[T]) -> String {
    let values: Vec<String> = values.iter().map(T::to_string).collect();
    values.join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_default_plan_needs_no_argument() {
        assert_eq!(RedirectPlan::default().to_args(), ["init"]);
    }

    #[test]
    fn only_lists_that_hold_something_become_arguments() {
        let plan = RedirectPlan {
            exclude_inbound_ports: vec![port(22), port(23)],
            exclude_outbound_ports: Vec::new(),
            exclude_outbound_cidrs: vec![cidr("10.0.0.0/8"), cidr("fd00::/8")],
        };
        assert_eq!(
            plan.to_args(),
            [
                "init",
                "--exclude-inbound-ports=22,23",
                "--exclude-outbound-cidrs=10.0.0.0/8,fd00::/8",
            ]
        );
    }

    fn port(number: u16) -> Port {
        Port::new(number).expect("not 0")
    }

    fn cidr(text: &str) -> Cidr {
        text.parse().expect("a network")
    }
}
