//! A plan's way through the init container: as arguments and back, as rules, against tables that
//! may hold anything.

#![no_main]

use arbitrary::{Result, Unstructured};
use clap::Parser;
use libfuzzer_sys::fuzz_target;
use sparkmesh::init;
use sparkmesh_injection::redirect::{Family, NatTable, RedirectPlan, Ruleset, holds_rules};
use sparkmesh_policy::cidr::Cidr;
use sparkmesh_policy::port::Port;

/// The subcommand on its own; its name stands where a program's name does.
#[derive(Debug, Parser)]
struct Init {
    #[command(flatten)]
    args: init::Args,
}

fuzz_target!(|bytes: &[u8]| {
    let mut bytes = Unstructured::new(bytes);
    let Ok(plan) = plan(&mut bytes) else {
        return;
    };
    let read = Init::try_parse_from(plan.to_args()).expect("our own arguments are understood");
    assert_eq!(read.args.into_plan(), plan);

    let saved = String::from_utf8_lossy(bytes.take_rest()).into_owned();
    arguments(&saved);
    let _ = holds_rules(&saved);
    let table = NatTable::parse(&saved);
    let _ = Ruleset::traces_in(&table);
    for family in Family::ALL {
        let rules = plan.rules(family);
        let _ = rules.deviations(&table);
        restored(&rules, &rules.restore_input(&table));
    }
});

/// Any text as an argument is a plan or an error; a plan comes back the same.
fn arguments(text: &str) {
    let args = std::iter::once("init").chain(text.split('\n').take(4));
    if let Ok(read) = Init::try_parse_from(args) {
        let plan = read.args.into_plan();
        let again = Init::try_parse_from(plan.to_args()).expect("our own arguments are understood");
        assert_eq!(again.args.into_plan(), plan);
    }
}

/// The input is one transaction on one table, a line for each step, that holds every rule.
fn restored(rules: &Ruleset, input: &str) {
    assert!(
        input.starts_with("*nat\n") && input.ends_with("\nCOMMIT\n"),
        "{input}"
    );
    let steps = input
        .lines()
        .filter(|line| line.starts_with("-A ") || line.starts_with("-I "));
    assert_eq!(steps.count(), rules.count(), "{input}");
    for line in input.lines() {
        let known = [
            "*nat",
            ":SPARKMESH_",
            "-D ",
            "-A SPARKMESH_",
            "-I ",
            "COMMIT",
        ];
        assert!(known.iter().any(|start| line.starts_with(start)), "{line}");
    }
}

fn plan(bytes: &mut Unstructured<'_>) -> Result<RedirectPlan> {
    Ok(RedirectPlan {
        exclude_inbound_ports: ports(bytes)?,
        exclude_outbound_ports: ports(bytes)?,
        exclude_outbound_cidrs: cidrs(bytes)?,
    })
}

fn ports(bytes: &mut Unstructured<'_>) -> Result<Vec<Port>> {
    let numbers: std::collections::BTreeSet<u16> = bytes.arbitrary()?;
    Ok(numbers.into_iter().filter_map(Port::new).collect())
}

fn cidrs(bytes: &mut Unstructured<'_>) -> Result<Vec<Cidr>> {
    let mut cidrs = std::collections::BTreeSet::new();
    for _ in 0..bytes.int_in_range(0..=4)? {
        let (address, length): (std::net::IpAddr, u8) = match bytes.arbitrary()? {
            true => (
                bytes.arbitrary::<[u8; 4]>()?.into(),
                bytes.int_in_range(0..=32)?,
            ),
            false => (
                bytes.arbitrary::<[u8; 16]>()?.into(),
                bytes.int_in_range(0..=128)?,
            ),
        };
        // Most have bits behind the prefix, which is an error.
        cidrs.extend(format!("{address}/{length}").parse::<Cidr>().ok());
    }
    Ok(cidrs.into_iter().collect())
}
