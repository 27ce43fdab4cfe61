//! The redirect plan as arguments: the inverse of `RedirectPlan::to_args`, strict, and with every
//! bad element of a list named at once.

use std::collections::BTreeSet;
use std::fmt::Display;
use std::str::FromStr;

use sparkmesh_injection::redirect::{
    EXCLUDE_INBOUND_PORTS, EXCLUDE_OUTBOUND_CIDRS, EXCLUDE_OUTBOUND_PORTS, RedirectPlan,
};
use sparkmesh_policy::cidr::Cidr;
use sparkmesh_policy::port::Port;

/// Arguments of the subcommand.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Ports whose inbound connections go past the proxy, such as 22,9100.
    #[arg(long = EXCLUDE_INBOUND_PORTS, value_name = "PORTS")]
    exclude_inbound_ports: Option<List<Port>>,
    /// Ports to which outbound connections go past the proxy, such as 22,9100.
    #[arg(long = EXCLUDE_OUTBOUND_PORTS, value_name = "PORTS")]
    exclude_outbound_ports: Option<List<Port>>,
    /// Networks to which outbound connections go past the proxy, such as 10.0.0.0/8,fd00::/8.
    #[arg(long = EXCLUDE_OUTBOUND_CIDRS, value_name = "CIDRS")]
    exclude_outbound_cidrs: Option<List<Cidr>>,
    /// Print the rules as for a pod without any, and touch nothing; needs no rights.
    #[arg(long)]
    pub(super) dry_run: bool,
}

impl Args {
    /// The plan that was asked for.
    #[must_use]
    pub fn into_plan(self) -> RedirectPlan {
        RedirectPlan {
            exclude_inbound_ports: ascending(self.exclude_inbound_ports),
            exclude_outbound_ports: ascending(self.exclude_outbound_ports),
            exclude_outbound_cidrs: ascending(self.exclude_outbound_cidrs),
        }
    }
}

fn ascending<T>(list: Option<List<T>>) -> Vec<T> {
    list.map_or_else(Vec::new, |list| list.0.into_iter().collect())
}

/// A comma-separated list of at least one element, without spaces.
#[derive(Clone, Debug)]
struct List<T>(BTreeSet<T>);

impl<T> FromStr for List<T>
where
    T: FromStr<Err: Display> + Ord,
{
    type Err = String;

    fn from_str(text: &str) -> Result<List<T>, String> {
        if text.is_empty() {
            return Err("the list is empty; leave the argument out".to_owned());
        }
        let mut elements = BTreeSet::new();
        let mut wrong = Vec::new();
        for element in text.split(',') {
            match element.parse::<T>() {
                Ok(element) => drop(elements.insert(element)),
                Err(error) => wrong.push(error.to_string()),
            }
        }
        if wrong.is_empty() {
            Ok(List(elements))
        } else {
            Err(wrong.join("; "))
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;
    use proptest::collection::btree_set;
    use proptest::prelude::*;

    use super::*;

    /// The subcommand on its own; its name stands where a program's name does.
    #[derive(Debug, Parser)]
    struct Init {
        #[command(flatten)]
        args: Args,
    }

    fn parse(args: &[String]) -> Result<RedirectPlan, String> {
        let parsed = Init::try_parse_from(args).map_err(|error| error.to_string())?;
        Ok(parsed.args.into_plan())
    }

    fn refusal(argument: &str) -> String {
        parse(&["init".to_owned(), argument.to_owned()]).expect_err("it is refused")
    }

    proptest! {
        #[test]
        fn arguments_of_any_plan_give_the_plan_back(
            inbound in btree_set(1..=u16::MAX, 0..40),
            outbound in btree_set(1..=u16::MAX, 0..40),
            v4 in btree_set((any::<[u8; 4]>(), 0..=32u8), 0..4),
            v6 in btree_set((any::<[u8; 16]>(), 0..=128u8), 0..4),
        ) {
            let ports = |numbers: BTreeSet<u16>| numbers.into_iter().filter_map(Port::new).collect();
            let v4 = v4.into_iter().map(|(address, length)| cidr(address.into(), length));
            let v6 = v6.into_iter().map(|(address, length)| cidr(address.into(), length));
            let cidrs: BTreeSet<Cidr> = v4.chain(v6).collect();
            let plan = RedirectPlan {
                exclude_inbound_ports: ports(inbound),
                exclude_outbound_ports: ports(outbound),
                exclude_outbound_cidrs: cidrs.into_iter().collect(),
            };
            prop_assert_eq!(parse(&plan.to_args()), Ok(plan));
        }

        #[test]
        fn any_text_is_a_plan_or_an_error(text in "\\PC{0,40}") {
            for name in [EXCLUDE_INBOUND_PORTS, EXCLUDE_OUTBOUND_PORTS, EXCLUDE_OUTBOUND_CIDRS] {
                let _ = parse(&["init".to_owned(), format!("--{name}={text}")]);
            }
        }
    }

    fn cidr(address: std::net::IpAddr, length: u8) -> Cidr {
        match format!("{address}/{length}").parse::<Cidr>() {
            Ok(cidr) => cidr,
            Err(sparkmesh_policy::cidr::CidrError::HostBits { network, .. }) => network
                .to_string()
                .parse()
                .expect("its host bits are cut off"),
            Err(error) => panic!("{error}"),
        }
    }

    #[test]
    fn every_bad_element_is_named_with_its_argument() {
        let error = refusal("--exclude-inbound-ports=22,http,,70000, 80");
        for part in [
            "--exclude-inbound-ports",
            "`http`",
            "``",
            "`70000`",
            "` 80`",
        ] {
            assert!(error.contains(part), "{part} is not in: {error}");
        }
        let error = refusal("--exclude-outbound-cidrs=10.0.0.1/8,all");
        assert!(
            error.contains("write `10.0.0.0/8`") && error.contains("`all`"),
            "{error}"
        );
    }

    #[test]
    fn empty_lists_and_repeated_arguments_are_refused() {
        assert!(refusal("--exclude-outbound-ports=").contains("leave the argument out"));
        let twice = [
            "init",
            "--exclude-inbound-ports=22",
            "--exclude-inbound-ports=23",
        ];
        let error = parse(&twice.map(str::to_owned)).expect_err("it is refused");
        assert!(error.contains("cannot be used multiple times"), "{error}");
    }

    #[test]
    fn order_and_repeats_in_a_list_do_not_matter() {
        let given = ["init", "--exclude-inbound-ports=23,22,23"].map(str::to_owned);
        let plan = parse(&given).expect("a plan");
        assert_eq!(plan.to_args(), ["init", "--exclude-inbound-ports=22,23"]);
    }
}
