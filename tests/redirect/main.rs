//! `sparkmesh init` in network namespaces, shown by real connections.
//!
//! Needs root, and the packages iptables and iproute2. Each test makes its own namespaces, and
//! runs for each format of tables that the kernel takes, nf_tables and legacy.

mod pod;
mod refusals;
mod tables;
mod tools;
mod traffic;

use std::io::Write as _;
use std::net::{IpAddr, SocketAddr};
use std::{env, fs};

use pod::Pod;
use tools::{Format, Tools};

/// Users of the pod, with their group.
const APP: (u32, u32) = (65534, 65534);
const PROXY: (u32, u32) = (1337, 1337);

/// Whether network namespaces can be made.
fn can_make_namespaces() -> bool {
    let status = fs::read_to_string("/proc/self/status").expect("is there");
    let root = status.lines().any(|line| line.starts_with("Uid:\t0\t0"));
    or_skipped(root, "making network namespaces needs root")
}

/// Whether the choice between formats of tables can be tested.
fn can_choose_format() -> bool {
    can_make_namespaces()
        && or_skipped(
            Format::taken().len() == 2,
            "this kernel takes one format of tables alone",
        )
}

/// Says what is skipped, which CI does not accept.
fn or_skipped(possible: bool, why: &str) -> bool {
    if !possible {
        assert!(env::var_os("CI").is_none(), "CI skips no test: {why}");
        // Onto stderr itself: what macros print is shown only when a test fails.
        let _ = writeln!(std::io::stderr(), "SKIPPED: {why}");
    }
    possible
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

/// What a listener says: who it is, its port, and where the client wanted to go.
fn answer(name: &str, port: u16, meant: IpAddr, meant_port: u16) -> String {
    let meant = SocketAddr::from((meant, meant_port));
    format!("{name} {port}, meant {meant}")
}
