//! What a run needs of its surroundings, and how it refuses where that is missing.

use std::fs;
use std::process::Command;

use crate::pod::{POD, output_of};
use crate::tools::{Format, Tools, program, said};
use crate::{in_a_pod, in_each_format};

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
        pod.inside.run("ip address add 198.18.0.3/24 dev eth0", "");
        let further = refused(&[("HOST_IP", "198.18.0.3"), ("POD_IP", "192.0.2.9")]);
        for said in [same, v4, v6, further] {
            assert!(said.contains("this is the node's own network"), "{said}");
            assert!(said.contains("hostNetwork"), "{said}");
        }
        let unknown = refused(&[("HOST_IP", "")]);
        assert!(unknown.contains("the variable HOST_IP is ``"), "{unknown}");
        assert!(!format.saved(&pod.inside, "iptables").contains("SPARKMESH"));
    });
}

#[test]
fn the_init_containers_narrow_rights_are_enough() {
    in_each_format(|pod, format, tools| {
        // Whoever has run legacy iptables here before has left a lock file, which would help.
        let (mount, touch) = (program("mount"), program("touch"));
        let read_only = format!(
            "{mount} -o bind,remount,ro / && {mount} -t tmpfs -o ro none /run && \
             ! {touch} /run/xtables.lock 2>/dev/null && exec \"$@\""
        );
        let shell = ["unshare", "--mount", "/bin/sh", "-c", &read_only, "sh"];
        let setpriv = program("setpriv");
        let capabilities = "--bounding-set=-all,+net_admin,+net_raw";
        let wrapper = [&shell[..], &[&setpriv, capabilities, "--no-new-privs"]].concat();
        let output = pod
            .inside
            .enter(|| output_of(&mut tools.command(&wrapper), ""));
        assert!(output.status.success(), "{}", said(&output));
        for family in ["iptables", "ip6tables"] {
            assert!(format.saved(&pod.inside, family).contains("SPARKMESH_IN"));
        }
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
