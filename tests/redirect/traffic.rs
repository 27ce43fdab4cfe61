//! Where connections go once the rules are in place.

use crate::pod::{FAR, LOOPBACK, PEER, POD};
use crate::{APP, PROXY, answer, in_each_format};

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
