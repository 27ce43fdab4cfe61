//! `sparkmesh init` in network namespaces, shown by real connections.
//!
//! Needs root, and the packages iptables and iproute2. Each test makes its own namespaces, and
//! runs for each format of tables that the kernel takes, nf_tables and legacy.

mod pod;
mod tools;

use std::io::{Read, Write};
use std::net::{IpAddr, TcpStream};
use std::process::Command;
use std::{env, fs};

use pod::{FAR, LOOPBACK, PEER, POD, Pod, heard_on, output_of};
use tools::{Format, Tools, program, said};

/// Users of the pod, with their group.
const APP: (u32, u32) = (65534, 65534);
const PROXY: (u32, u32) = (1337, 1337);

/// Whether the tests of this file can run; says so if not, and does not accept it in CI.
fn can_make_namespaces() -> bool {
    let status = fs::read_to_string("/proc/self/status").expect("is there");
    let root = status.lines().any(|line| line.starts_with("Uid:\t0\t0"));
    if !root {
        assert!(env::var_os("CI").is_none(), "CI must run this as root");
        eprintln!("SKIPPED: making network namespaces needs root");
    }
    root
}

/// Runs the test once for each format of tables that the kernel takes, in a pod of its own.
fn in_each_format(test: impl Fn(&Pod, Format, &Tools)) {
    if can_make_namespaces() {
        for format in Format::taken() {
            eprintln!("with {format:?}");
            test(&Pod::new(), format, &Tools::of(format));
        }
    }
}

/// Runs the test in a pod of its own, with the format that the kernel prefers.
fn in_a_pod(test: impl FnOnce(&Pod, Format)) {
    if can_make_namespaces() {
        test(&Pod::new(), Format::taken()[0]);
    }
}

fn answer(name: &str, port: u16, meant: IpAddr, meant_port: u16) -> String {
    let meant = std::net::SocketAddr::from((meant, meant_port));
    format!("{name} {port}, meant {meant}")
}

#[test]
fn outbound_connections_land_on_the_proxy_and_it_learns_the_destination() {
    in_each_format(|pod, format, tools| {
        let _proxy = pod.proxy();
        let _peer = pod.peer_listens(&[7077, 53]);
        for address in PEER {
            let direct = pod.inside.connect(APP, address, 7077);
            assert_eq!(direct, answer("peer", 7077, address, 7077));
        }

        let said = tools.init(&pod.inside, &[]);
        let expected = format!("8 rules written to {} and read back", format.spoken());
        assert_eq!(
            said,
            format!("IPv4: redirected: {expected}\nIPv6: redirected: {expected}\n")
        );
        for address in [PEER, FAR].concat() {
            // DNS over TCP is a connection like any other, and nobody need listen where it goes.
            for port in [7077, 53, 9] {
                let found = pod.inside.connect(APP, address, port);
                assert_eq!(found, answer("proxy", 15001, address, port));
            }
            let root = pod.inside.connect((0, 0), address, 7077);
            assert_eq!(root, answer("proxy", 15001, address, 7077));
        }
    });
}

#[test]
fn the_proxys_own_connections_go_straight_out_by_its_user_alone() {
    in_each_format(|pod, _, tools| {
        let _proxy = pod.proxy();
        let _peer = pod.peer_listens(&[7077]);
        tools.init(&pod.inside, &[]);
        for address in PEER {
            let own = pod.inside.connect(PROXY, address, 7077);
            assert_eq!(own, answer("peer", 7077, address, 7077));
            let other_group = pod.inside.connect((PROXY.0, APP.1), address, 7077);
            assert_eq!(other_group, answer("peer", 7077, address, 7077));
            let group_alone = pod.inside.connect((APP.0, PROXY.1), address, 7077);
            assert_eq!(group_alone, answer("proxy", 15001, address, 7077));
        }
    });
}

#[test]
fn inbound_connections_land_on_the_proxy_but_for_health_and_metrics() {
    in_each_format(|pod, _, tools| {
        let _proxy = pod.proxy();
        let _app = pod.inside.listen("app", 8080);
        tools.init(&pod.inside, &[]);
        for address in POD {
            // 9: no port is open to the outside because nobody listens on it.
            for port in [8080, 9, 15001, 15006] {
                let found = pod.peer.connect(APP, address, port);
                assert_eq!(found, answer("proxy", 15006, address, port));
            }
            for port in [15021, 15090] {
                let found = pod.peer.connect(APP, address, port);
                assert_eq!(found, answer("proxy", port, address, port));
            }
        }
    });
}

#[test]
fn what_a_pod_says_to_itself_stays_as_it_is() {
    in_each_format(|pod, _, tools| {
        let _proxy = pod.proxy();
        let _app = pod.inside.listen("app", 8080);
        tools.init(&pod.inside, &[]);
        for address in [POD, LOOPBACK].concat() {
            for user in [APP, PROXY] {
                let found = pod.inside.connect(user, address, 8080);
                assert_eq!(found, answer("app", 8080, address, 8080));
            }
        }
    });
}

#[test]
fn excluded_ports_and_networks_go_past_the_proxy() {
    in_each_format(|pod, _, tools| {
        let _proxy = pod.proxy();
        let _peer = pod.peer_listens(&[22, 7077]);
        let _app = [22, 8080].map(|port| pod.inside.listen("app", port));
        tools.init(
            &pod.inside,
            &[
                "--exclude-inbound-ports=22",
                "--exclude-outbound-ports=22",
                "--exclude-outbound-cidrs=198.51.100.0/24,2001:db8::7/128",
            ],
        );
        for (peer, far) in PEER.into_iter().zip(FAR) {
            let excluded_port = pod.inside.connect(APP, peer, 22);
            assert_eq!(excluded_port, answer("peer", 22, peer, 22));
            let other_port = pod.inside.connect(APP, peer, 7077);
            assert_eq!(other_port, answer("proxy", 15001, peer, 7077));
            let excluded_network = pod.inside.connect(APP, far, 7077);
            assert_eq!(excluded_network, answer("peer", 7077, far, 7077));
        }
        for address in POD {
            let excluded_port = pod.peer.connect(APP, address, 22);
            assert_eq!(excluded_port, answer("app", 22, address, 22));
            let other_port = pod.peer.connect(APP, address, 8080);
            assert_eq!(other_port, answer("proxy", 15006, address, 8080));
        }
    });
}

#[test]
fn more_ports_can_be_excluded_than_one_rule_holds() {
    in_each_format(|pod, _, tools| {
        let _proxy = pod.proxy();
        let excluded: Vec<String> = (9001..=9040).map(|port: u16| port.to_string()).collect();
        let edges = [9001, 9015, 9016, 9040];
        let _peer = pod.peer_listens(&edges);
        let _app = edges.map(|port| pod.inside.listen("app", port));
        let excluded = excluded.join(",");
        tools.init(
            &pod.inside,
            &[
                &format!("--exclude-inbound-ports={excluded}"),
                &format!("--exclude-outbound-ports={excluded}"),
            ],
        );
        for (peer, own) in PEER.into_iter().zip(POD) {
            for port in edges {
                let out = pod.inside.connect(APP, peer, port);
                assert_eq!(out, answer("peer", port, peer, port));
                let into = pod.peer.connect(APP, own, port);
                assert_eq!(into, answer("app", port, own, port));
            }
            let out = pod.inside.connect(APP, peer, 9041);
            assert_eq!(out, answer("proxy", 15001, peer, 9041));
        }
    });
}

#[test]
fn every_network_can_be_excluded_by_its_widest_name() {
    in_each_format(|pod, _, tools| {
        let _proxy = pod.proxy();
        let _peer = pod.peer_listens(&[7077]);
        // The last is an address that C prints as ::1.2.3.4 and Rust does not.
        tools.init(
            &pod.inside,
            &["--exclude-outbound-cidrs=0.0.0.0/0,::/0,::102:304/128"],
        );
        for address in PEER {
            let found = pod.inside.connect(APP, address, 7077);
            assert_eq!(found, answer("peer", 7077, address, 7077));
        }
    });
}

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
    if !can_make_namespaces() || Format::taken().len() < 2 {
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
    if !can_make_namespaces() || Format::taken().len() < 2 {
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
fn ipv6_that_cannot_be_redirected_is_an_error_only_where_it_reaches_anybody() {
    in_a_pod(|pod, format| {
        let ipv4_only = Tools::none().with(format, "iptables");
        let said = ipv4_only.init_refused(&pod.inside);
        assert!(said.contains("IPv6 is not redirected"), "{said}");
        assert!(said.contains("ip6tables-legacy-restore"), "{said}");

        let setting = "/proc/sys/net/ipv6/conf/all/disable_ipv6";
        pod.inside
            .enter(|| fs::write(setting, "1").expect("a sysctl of the namespace"));
        let said = ipv4_only.init(&pod.inside, &[]);
        assert!(said.contains("IPv6: nothing to redirect"), "{said}");

        // Where it can be done it is done all the same.
        let said = Tools::of(format).init(&pod.inside, &[]);
        assert!(said.contains("IPv6: redirected"), "{said}");
    });
}

#[test]
fn without_iptables_the_error_names_what_is_missing() {
    in_a_pod(|pod, _| {
        let said = Tools::none().init_refused(&pod.inside);
        assert!(
            said.starts_with("error: IPv4 is not redirected: "),
            "{said}"
        );
        assert!(said.contains("package iptables"), "{said}");
    });
}

#[test]
fn without_the_capability_the_error_names_it_and_the_remedy() {
    in_a_pod(|pod, format| {
        let tools = Tools::of(format);
        let run = |wrapper: &[&str]| {
            let output = pod
                .inside
                .enter(|| output_of(&mut tools.command(wrapper), ""));
            assert_eq!(output.status.code(), Some(1), "{}", said(&output));
            said(&output)
        };
        let root = run(&["setpriv", "--bounding-set=-net_admin"]);
        assert!(
            root.contains("the capability NET_ADMIN is missing"),
            "{root}"
        );
        assert!(
            root.contains("pod-security.kubernetes.io/enforce"),
            "{root}"
        );
        assert!(root.contains("OpenShift"), "{root}");
        assert!(!format.saved(&pod.inside, "iptables").contains("SPARKMESH"));

        let legacy = Tools::of(Format::Legacy);
        let output = pod.inside.enter(|| {
            let wrapper = ["setpriv", "--bounding-set=-net_raw"];
            output_of(&mut legacy.command(&wrapper), "")
        });
        assert!(
            said(&output).contains("needs the capability NET_RAW"),
            "{}",
            said(&output)
        );
    });
}

#[test]
fn the_nodes_own_network_is_never_touched() {
    in_each_format(|pod, format, tools| {
        let refused = |variables: &[(&str, &str)]| {
            let output = pod.inside.enter(|| {
                let mut command = tools.command(&[]);
                output_of(command.envs(variables.iter().copied()), "")
            });
            assert_eq!(output.status.code(), Some(1), "{}", said(&output));
            said(&output)
        };
        // A pod whose address is the node's, and pods that have the node's address on a device.
        let same = refused(&[("HOST_IP", "192.0.2.9"), ("POD_IP", "192.0.2.9")]);
        let v4 = refused(&[("HOST_IP", &POD[0].to_string()), ("POD_IP", "192.0.2.9")]);
        let v6 = refused(&[("HOST_IP", &POD[1].to_string()), ("POD_IP", "192.0.2.9")]);
        for said in [same, v4, v6] {
            assert!(said.contains("this is the node's own network"), "{said}");
            assert!(said.contains("hostNetwork"), "{said}");
        }
        let unknown = refused(&[("HOST_IP", "")]);
        assert!(unknown.contains("the variable HOST_IP is ``"), "{unknown}");
        assert!(!format.saved(&pod.inside, "iptables").contains("SPARKMESH"));
    });
}

#[test]
fn a_read_only_root_file_system_is_enough() {
    in_each_format(|pod, format, tools| {
        // Whoever has run legacy iptables here before has left a lock file, which would help.
        let (mount, touch) = (program("mount"), program("touch"));
        let script = format!(
            "{mount} -o bind,remount,ro / && {mount} -t tmpfs -o ro none /run && \
             ! {touch} /run/xtables.lock 2>/dev/null && exec \"$@\""
        );
        let wrapper = ["unshare", "--mount", "/bin/sh", "-c", &script, "sh"];
        let output = pod.inside.enter(|| {
            let mut command = tools.command(&wrapper);
            output_of(&mut command, "")
        });
        assert!(output.status.success(), "{}", said(&output));
        assert!(
            format
                .saved(&pod.inside, "ip6tables")
                .contains("SPARKMESH_IN")
        );
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

#[test]
fn a_dry_run_prints_what_the_kernel_takes_and_touches_nothing() {
    let arguments = ["--dry-run", "--exclude-outbound-cidrs=10.0.0.0/8,fd00::/8"];
    // No right, no variable, no program is needed for it.
    let output = Command::new(env!("CARGO_BIN_EXE_sparkmesh"))
        .arg("init")
        .args(arguments)
        .env_clear()
        .output()
        .expect("it runs");
    assert!(output.status.success(), "{}", said(&output));
    let printed = String::from_utf8(output.stdout).expect("UTF-8");
    let (v4, v6) = printed.split_once("# IPv6\n").expect("both families");
    assert!(v4.starts_with("# IPv4\n*nat\n"), "{printed}");
    assert!(v4.contains("-d 10.0.0.0/8") && !v4.contains("fd00"), "{v4}");
    assert!(
        v6.contains("-d fd00::/8") && !v6.contains("10.0.0.0"),
        "{v6}"
    );

    in_each_format(|pod, format, tools| {
        tools.init(&pod.inside, &arguments);
        for (family, rules) in [("iptables", v4), ("ip6tables", v6)] {
            assert!(!format.saved(&pod.inside, family).contains("SPARKMESH"));
            let restore = match format {
                Format::Nft => program(&format!("{family}-nft-restore")),
                Format::Legacy => program(&format!("{family}-legacy-restore")),
            };
            pod.inside.run(&format!("{restore} --noflush"), rules);
        }
        // What was fed by hand is what a run would have written.
        let said = tools.init(&pod.inside, &arguments[1..]);
        assert_eq!(said.matches("were already in").count(), 2, "{said}");
    });
}

#[test]
fn a_bad_argument_is_refused_before_anything_is_done() {
    let output = Command::new(env!("CARGO_BIN_EXE_sparkmesh"))
        .args(["init", "--exclude-inbound-ports=22,http,0"])
        .output()
        .expect("it runs");
    let said = said(&output);
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(said.contains("`http` is not a port number"), "{said}");
    assert!(said.contains("`0` is not a port number"), "{said}");
}
