//! What a run makes of the tables it finds, and in which format.

use std::io::{Read, Write};
use std::net::TcpStream;

use crate::pod::{PEER, Pod, heard_on, output_of};
use crate::tools::{Format, Tools};
use crate::{APP, answer, can_choose_format, in_each_format};

#[test]
fn a_second_run_changes_nothing() {
    in_each_format(|pod, format, tools| {
        let arguments = [
            "--exclude-inbound-ports=22",
            "--exclude-outbound-cidrs=10.0.0.0/8",
        ];
        tools.init(&pod.inside, &arguments);
        let tables = || ["iptables", "ip6tables"].map(|it| format.saved(&pod.inside, it));
        let first = tables();
        assert!(first.iter().all(|it| it.contains("SPARKMESH_OUT")));

        let said = tools.init(&pod.inside, &arguments);
        assert_eq!(tables(), first);
        assert_eq!(said.matches("were already in").count(), 2, "{said}");
    });
}

#[test]
fn other_exclusions_replace_the_old_ones_and_live_connections_stay() {
    in_each_format(|pod, format, tools| {
        let _proxy = pod.proxy();
        let _peer = pod.peer_listens(&[22, 7077]);
        tools.init(&pod.inside, &["--exclude-outbound-ports=22"]);
        let mut live = [22, 7077].map(|port| {
            let connect = || TcpStream::connect((PEER[0], port)).expect("a connection");
            let stream = pod.inside.enter(connect);
            heard_on(&stream).expect("its first line");
            stream
        });

        tools.init(&pod.inside, &["--exclude-outbound-ports=7077"]);
        for address in PEER {
            let included = pod.inside.connect(APP, address, 22);
            assert_eq!(included, answer("proxy", 15001, address, 22));
            let excluded = pod.inside.connect(APP, address, 7077);
            assert_eq!(excluded, answer("peer", 7077, address, 7077));
        }
        for stream in &mut live {
            stream.write_all(b"still here?").expect("sending");
            let mut echo = [0; 11];
            stream.read_exact(&mut echo).expect("an echo");
            assert_eq!(&echo, b"still here?");
        }

        tools.init(&pod.inside, &[]);
        let fresh = Pod::new();
        tools.init(&fresh.inside, &[]);
        for family in ["iptables", "ip6tables"] {
            let changed = format.saved(&pod.inside, family);
            assert_eq!(changed, format.saved(&fresh.inside, family));
        }
    });
}

#[test]
fn a_half_done_run_is_completed_and_foreign_rules_stay_behind_ours() {
    in_each_format(|pod, format, tools| {
        let _proxy = pod.proxy();
        let _peer = pod.peer_listens(&[7077]);
        for family in ["iptables", "ip6tables"] {
            format.write(
                &pod.inside,
                family,
                ":FOREIGN - [0:0]\n:SPARKMESH_OUT - [0:0]\n\
                 -A FOREIGN -p tcp -m comment --comment \"two words\" -j RETURN\n\
                 -A OUTPUT -p tcp -j ACCEPT\n-A PREROUTING -p tcp -j FOREIGN\n\
                 -A OUTPUT -j SPARKMESH_OUT\n-A OUTPUT -p tcp -j SPARKMESH_OUT\n\
                 -A SPARKMESH_OUT -p tcp -j REDIRECT --to-ports 9",
            );
        }
        tools.init(&pod.inside, &[]);
        for address in PEER {
            let found = pod.inside.connect(APP, address, 7077);
            assert_eq!(found, answer("proxy", 15001, address, 7077));
        }
        let table = format.saved(&pod.inside, "ip6tables");
        let of = |start: &str| -> Vec<String> {
            let lines = table.lines().filter(|line| line.starts_with(start));
            lines.map(str::to_owned).collect()
        };
        assert_eq!(
            of("-A OUTPUT"),
            [
                "-A OUTPUT -p tcp -j SPARKMESH_OUT",
                "-A OUTPUT -p tcp -j ACCEPT"
            ]
        );
        assert_eq!(
            of("-A PREROUTING"),
            [
                "-A PREROUTING -p tcp -j SPARKMESH_IN",
                "-A PREROUTING -p tcp -j FOREIGN"
            ]
        );
        assert_eq!(of("-A FOREIGN").len(), 1);
    });
}

#[test]
fn plain_program_names_serve_where_no_others_are() {
    in_each_format(|pod, format, _| {
        let said = Tools::plain(format).init(&pod.inside, &[]);
        assert_eq!(said.matches(format.spoken()).count(), 2, "{said}");
        assert!(
            format
                .saved(&pod.inside, "iptables")
                .contains("SPARKMESH_IN")
        );
    });
}

#[test]
fn the_format_that_holds_rules_is_kept_to() {
    if !can_choose_format() {
        return;
    }
    let all = || {
        Tools::of(Format::Nft)
            .with(Format::Legacy, "iptables")
            .with(Format::Legacy, "ip6tables")
    };

    let untouched = Pod::new();
    let said = all().init(&untouched.inside, &[]);
    assert_eq!(said.matches("nf_tables").count(), 2, "{said}");
    // Asking must not have created legacy tables either.
    let names = untouched.inside.run("cat /proc/net/ip_tables_names", "");
    assert_eq!(names, "");

    let legacy = Pod::new();
    Format::Legacy.write(&legacy.inside, "iptables", "-A OUTPUT -p udp -j ACCEPT");
    let said = all().init(&legacy.inside, &[]);
    let lines: Vec<&str> = said.lines().collect();
    assert!(lines[0].contains("legacy iptables"), "{said}");
    assert!(lines[1].contains("nf_tables"), "{said}");
    let nft = Format::Nft.saved(&legacy.inside, "iptables");
    assert!(!nft.contains("SPARKMESH"), "{nft}");

    // Rules of ours stay where they are, even if legacy rules have come since.
    Format::Legacy.write(&untouched.inside, "iptables", "-A OUTPUT -p udp -j ACCEPT");
    let said = all().init(&untouched.inside, &["--exclude-outbound-ports=22"]);
    assert_eq!(said.matches("nf_tables").count(), 2, "{said}");

    let ours = Pod::new();
    Tools::of(Format::Legacy).init(&ours.inside, &[]);
    let said = all().init(&ours.inside, &["--exclude-outbound-ports=22"]);
    assert_eq!(
        said.matches("written to legacy iptables").count(),
        2,
        "{said}"
    );

    Tools::of(Format::Nft).init(&legacy.inside, &[]);
    let said = all().init_refused(&legacy.inside);
    assert!(said.contains("IPv4 is not redirected"), "{said}");
    assert!(
        said.contains("both nf_tables and legacy iptables"),
        "{said}"
    );
}

#[test]
fn a_format_that_the_kernel_refuses_gives_way_to_the_other() {
    if !can_choose_format() {
        return;
    }
    let broken = "echo 'Could not fetch rule set generation id: Invalid argument' >&2; exit 1";
    let tools = || {
        Tools::of(Format::Nft)
            .with_script("iptables-nft-restore", broken)
            .with_script("ip6tables-nft-save", broken)
    };
    let pod = Pod::new();
    let said = tools().init_refused(&pod.inside);
    assert!(
        said.contains("took the rules in no format (nf_tables: "),
        "{said}"
    );
    assert!(said.contains("generation id: Invalid argument"), "{said}");

    let both = tools()
        .with(Format::Legacy, "iptables")
        .with(Format::Legacy, "ip6tables");
    let said = both.init(&pod.inside, &[]);
    assert_eq!(
        said.matches("written to legacy iptables").count(),
        2,
        "{said}"
    );
    assert_eq!(
        said.matches("before that, nf_tables: ").count(),
        2,
        "{said}"
    );
}

#[test]
fn rules_that_are_not_there_when_read_back_are_an_error() {
    in_each_format(|pod, format, _| {
        let restore = match format {
            Format::Nft => "iptables-nft-restore",
            Format::Legacy => "iptables-legacy-restore",
        };
        let tools = Tools::of(format).with_script(restore, "exit 0");
        let said = tools.init_refused(&pod.inside);
        assert!(said.contains("not what is read back"), "{said}");
        assert!(said.contains("chain SPARKMESH_IN should be"), "{said}");
    });
}

#[test]
fn two_runs_at_once_leave_one_set_of_rules() {
    in_each_format(|pod, format, tools| {
        std::thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| {
                    // One may find the other's rules beside its own and fail; a restarted init
                    // container then puts that right.
                    let run = || output_of(&mut tools.command(&[]), "");
                    pod.inside.enter(run)
                });
            }
        });
        tools.init(&pod.inside, &[]);
        let table = format.saved(&pod.inside, "iptables");
        assert_eq!(table.matches("-j SPARKMESH_OUT").count(), 1, "{table}");
    });
}
