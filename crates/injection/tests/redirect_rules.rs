//! The rules rendered for a plan: golden texts, and properties over any plan and any tables found.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use proptest::collection::{btree_set, vec};
use proptest::prelude::*;
use sparkmesh_injection::redirect::{Family, NatTable, RedirectPlan, Ruleset};
use sparkmesh_policy::cidr::Cidr;
use sparkmesh_policy::port::Port;

#[test]
fn a_default_plan_for_ipv4() {
    insta::assert_snapshot!(fresh(&RedirectPlan::default(), Family::V4));
}

#[test]
fn a_default_plan_for_ipv6() {
    insta::assert_snapshot!(fresh(&RedirectPlan::default(), Family::V6));
}

#[test]
fn exclusions_for_ipv4() {
    insta::assert_snapshot!(fresh(&exclusions(), Family::V4));
}

#[test]
fn exclusions_for_ipv6() {
    insta::assert_snapshot!(fresh(&exclusions(), Family::V6));
}

#[test]
fn what_an_older_run_left_is_replaced_and_foreign_rules_stay() {
    let found = NatTable::parse(
        "*nat\n:PREROUTING ACCEPT [0:0]\n:OUTPUT ACCEPT [0:0]\n:SPARKMESH_OUT - [0:0]\n\
         -A OUTPUT -d 127.0.0.11/32 -j DOCKER_OUTPUT\n\
         -A OUTPUT -p tcp -j SPARKMESH_OUT\n-A OUTPUT -j SPARKMESH_OUT\n\
         -A SPARKMESH_OUT -p tcp -j REDIRECT --to-ports 15001\nCOMMIT\n",
    );
    insta::assert_snapshot!(
        RedirectPlan::default()
            .rules(Family::V4)
            .restore_input(&found)
    );
}

#[test]
fn a_foreign_rule_before_our_jump_is_a_deviation() {
    let rules = RedirectPlan::default().rules(Family::V4);
    let mut model = Model::of(&NatTable::default());
    model.restore(&rules.restore_input(&NatTable::default()));
    assert!(rules.deviations(&model.table()).is_empty());

    model.restore("-I OUTPUT 1 -p tcp -j ACCEPT\n");
    let deviations = rules.deviations(&model.table());
    assert_eq!(deviations.len(), 1, "{deviations:?}");
    assert!(
        deviations[0]
            .to_string()
            .starts_with("chain OUTPUT should begin with"),
        "{}",
        deviations[0]
    );
}

#[test]
fn an_address_that_c_and_rust_spell_differently_is_the_same() {
    let plan = RedirectPlan {
        exclude_outbound_cidrs: vec!["::102:304/128".parse().expect("a network")],
        ..RedirectPlan::default()
    };
    let rules = plan.rules(Family::V6);
    let written = rules.restore_input(&NatTable::default());
    let mut model = Model::of(&NatTable::default());
    model.restore(&written.replace("::102:304/128", "::1.2.3.4/128"));
    assert!(written.contains("::102:304/128"));
    assert_eq!(rules.deviations(&model.table()), []);
}

proptest! {
    #[test]
    fn any_tables_become_as_planned_at_once_and_keep_foreign_rules(
        plan in plans(), before in plans(), family in families(), found in foreign_tables(),
        half_done in 0usize..12,
    ) {
        let mut model = Model::of(&NatTable::parse(&found));
        let foreign = model.foreign();
        let older = before.rules(family).restore_input(&model.table());
        let part: Vec<&str> = older.lines().take(half_done).collect();
        model.restore(&part.join("\n"));

        let rules = plan.rules(family);
        model.restore(&rules.restore_input(&model.table()));
        prop_assert_eq!(rules.deviations(&model.table()), []);
        prop_assert_eq!(model.foreign(), foreign);
        prop_assert!(Ruleset::traces_in(&model.table()));

        let settled = model.table();
        model.restore(&rules.restore_input(&settled));
        prop_assert_eq!(model.table(), settled);
    }

    #[test]
    fn another_plan_is_never_taken_for_this_one(
        plan in plans(), other in plans(), family in families(),
    ) {
        let mut model = Model::of(&NatTable::default());
        model.restore(&other.rules(family).restore_input(&model.table()));
        let same = plan.rules(family) == other.rules(family);
        prop_assert_eq!(plan.rules(family).deviations(&model.table()).is_empty(), same);
    }

    #[test]
    fn every_excluded_port_is_in_one_rule_of_at_most_fifteen(plan in plans()) {
        let text = fresh(&plan, Family::V6);
        for (chain, own, excluded) in [
            ("SPARKMESH_IN", vec![Port::HEALTH, Port::METRICS], &plan.exclude_inbound_ports),
            ("SPARKMESH_OUT", Vec::new(), &plan.exclude_outbound_ports),
        ] {
            let lists: Vec<Vec<Port>> = text
                .lines()
                .filter_map(|line| line.strip_prefix(&format!("-A {chain} -p tcp -m multiport --dports ")))
                .filter_map(|rest| rest.strip_suffix(" -j RETURN"))
                .map(|ports| ports.split(',').map(|it| it.parse().expect("a port")).collect())
                .collect();
            prop_assert!(lists.iter().all(|ports| ports.len() <= 15));
            prop_assert_eq!(lists.concat(), [own, excluded.clone()].concat());
        }
    }

    #[test]
    fn reading_tables_never_panics(text in "(?s).{0,200}", lines in vec("(\\*nat|:|-A|-A |:A|-A OUTPUT|-A OUTPUT -j)?[ -~]{0,20}", 0..8)) {
        for saved in [text, lines.join("\n"), format!("*nat\n{}", lines.join("\n"))] {
            let table = NatTable::parse(&saved);
            let rules = RedirectPlan::default().rules(Family::V4);
            prop_assert!(!rules.restore_input(&table).is_empty());
            let _ = rules.deviations(&table);
        }
    }
}

fn fresh(plan: &RedirectPlan, family: Family) -> String {
    plan.rules(family).restore_input(&NatTable::default())
}

fn exclusions() -> RedirectPlan {
    let port = |number| Port::new(number).expect("not 0");
    let cidr = |text: &str| -> Cidr { text.parse().expect("a network") };
    RedirectPlan {
        exclude_inbound_ports: vec![port(22), port(23)],
        exclude_outbound_ports: (9000..9016).map(port).collect(),
        exclude_outbound_cidrs: vec![
            cidr("0.0.0.0/0"),
            cidr("10.0.0.0/8"),
            cidr("192.0.2.7/32"),
            cidr("::/0"),
            cidr("fd00:1::/64"),
        ],
    }
}

fn families() -> impl Strategy<Value = Family> {
    prop_oneof![Just(Family::V4), Just(Family::V6)]
}

fn plans() -> impl Strategy<Value = RedirectPlan> {
    let ports = || {
        btree_set(1..=u16::MAX, 0..40).prop_map(|ports| {
            let ports = ports.into_iter();
            ports
                .map(|it| Port::new(it).expect("not 0"))
                .collect::<Vec<_>>()
        })
    };
    let cidrs = btree_set(cidrs(), 0..6).prop_map(|it| it.into_iter().collect());
    (ports(), ports(), cidrs).prop_map(|(inbound, outbound, cidrs)| RedirectPlan {
        exclude_inbound_ports: inbound,
        exclude_outbound_ports: outbound,
        exclude_outbound_cidrs: cidrs,
    })
}

fn cidrs() -> impl Strategy<Value = Cidr> {
    let v4 = (any::<u32>(), 0..=32u8).prop_map(|(address, length)| {
        IpNet::V4(Ipv4Net::new(Ipv4Addr::from(address), length).expect("at most 32"))
    });
    let v6 = (any::<u128>(), 0..=128u8).prop_map(|(address, length)| {
        IpNet::V6(Ipv6Net::new(Ipv6Addr::from(address), length).expect("at most 128"))
    });
    prop_oneof![v4, v6].prop_map(|net| {
        net.trunc()
            .to_string()
            .parse()
            .expect("no host bits are set")
    })
}

/// The output of `iptables-save` in a namespace where others have written.
fn foreign_tables() -> impl Strategy<Value = String> {
    let rule = prop_oneof![
        Just("-A OUTPUT -d 127.0.0.11/32 -j OTHER"),
        Just("-A OUTPUT -p tcp -j ACCEPT"),
        Just("-A PREROUTING -p tcp -m comment --comment \"-j SPARKMESH_INN\" -j OTHER"),
        Just("-A PREROUTING -i eth0 -j RETURN"),
        Just("-A OTHER -p tcp -j REDIRECT --to-ports 9"),
        Just("-A POSTROUTING -o eth0 -j MASQUERADE"),
    ];
    vec(rule, 0..8).prop_map(|rules| {
        format!(
            "*nat\n:PREROUTING ACCEPT [0:0]\n:OUTPUT ACCEPT [0:0]\n:POSTROUTING ACCEPT [0:0]\n\
             :OTHER - [0:0]\n{}\nCOMMIT\n",
            rules.join("\n")
        )
    })
}

/// What `iptables-restore --noflush` does with the few kinds of line that we write.
struct Model(BTreeMap<String, Vec<String>>);

const CHAINS: [&str; 6] = [
    "PREROUTING",
    "OUTPUT",
    "POSTROUTING",
    "OTHER",
    "SPARKMESH_IN",
    "SPARKMESH_OUT",
];

impl Model {
    fn of(table: &NatTable) -> Model {
        let present = CHAINS
            .into_iter()
            .filter(|chain| table.has_chain(chain) || !chain.starts_with("SPARKMESH"));
        Model(
            present
                .map(|chain| (chain.to_owned(), table.rules(chain).to_vec()))
                .collect(),
        )
    }

    fn restore(&mut self, input: &str) {
        for line in input.lines() {
            if let Some(chain) = line.strip_prefix(':') {
                let chain = chain.split(' ').next().expect("a name");
                self.0.insert(chain.to_owned(), Vec::new());
            } else if line.starts_with('-') {
                let mut words = line.splitn(3, ' ');
                let (verb, chain, rule) = (words.next(), words.next(), words.next());
                let (chain, rule) = (chain.expect("a chain"), rule.expect("a rule"));
                let rules = self.0.get_mut(chain).expect("the chain exists");
                match verb {
                    Some("-A") => rules.push(rule.to_owned()),
                    Some("-I") => {
                        let rule = rule.strip_prefix("1 ").expect("goes to the head");
                        rules.insert(0, rule.to_owned());
                    }
                    Some("-D") => {
                        let at = rules.iter().position(|it| it == rule).expect("is there");
                        rules.remove(at);
                    }
                    _ => panic!("the model does not know {line:?}"),
                }
            }
        }
    }

    fn table(&self) -> NatTable {
        let lines = self.0.iter().flat_map(|(chain, rules)| {
            let rules = rules.iter().map(move |rule| format!("-A {chain} {rule}"));
            std::iter::once(format!(":{chain} - [0:0]")).chain(rules)
        });
        let saved = format!("*nat\n{}", lines.collect::<Vec<_>>().join("\n"));
        NatTable::parse(&saved)
    }

    /// Every rule that is not ours.
    fn foreign(&self) -> Vec<String> {
        let foreign = self.0.iter().filter(|(it, _)| !it.starts_with("SPARKMESH"));
        foreign
            .flat_map(|(chain, rules)| rules.iter().map(move |rule| format!("{chain} {rule}")))
            .filter(|rule| {
                !rule.ends_with("-j SPARKMESH_IN") && !rule.ends_with("-j SPARKMESH_OUT")
            })
            .collect()
    }
}
