//! Envoy accepts every variation (`--mode validate`), and reads back what was written.

use std::process::Command;

use sparkmesh_injection::bootstrap::{AppProbe, BootstrapSpec, Check, Control, Template, render};

use crate::envoy::{binary, expand, expanded_for_a_pod};
use crate::mesh::{bootstrap, control, port};
use crate::pki::Authority;

const ODD: [&str; 9] = [
    "\"\nadmin: {}\n\"",
    "'}]}, #",
    "back\\slash\\",
    "$(POD_IP)$$(POD_IP)$",
    "line\nbreak\r\ttab\0nul\u{7f}\u{85}\u{2028}\u{feff}",
    "unicode ☃ 𝄞 é",
    "*alias &anchor !tag %percent @at `tick`",
    "",
    "true",
];

#[test]
fn a_pod_without_probes() {
    assert_eq!(
        refusal(&bootstrap(&Authority::new(), &[], &[]), "10.0.0.1"),
        None
    );
}

#[test]
fn every_kind_of_probe_beside_http_ports() {
    let text = bootstrap(
        &Authority::new(),
        &[4040, 8080, 8081],
        &probes("/healthz?a=b", Some("spark")),
    );
    assert_eq!(refusal(&text, "10.0.0.1"), None);
}

#[test]
fn ipv6_addresses() {
    let text = bootstrap(&Authority::new(), &[8080], &probes("/", None));
    for address in ["fd00::1", "fe80::", "::1"] {
        assert_eq!(refusal(&text, address), None, "{address}");
    }
}

#[test]
fn a_mesh_without_an_authority() {
    let control = Control {
        ca_pem: None,
        ..control(&Authority::new())
    };
    assert_eq!(
        refusal(&Template::new(&control).render(&[], &[]), "10.0.0.1"),
        None
    );
}

// Abuse case 1: text of a manifest must stay one string, whatever it holds.
#[test]
fn odd_paths_and_services() {
    for odd in ODD {
        let text = bootstrap(&Authority::new(), &[], &probes(odd, Some(odd)));
        assert_eq!(refusal(&text, "10.0.0.1"), None, "{odd:?}");
    }
}

#[test]
fn odd_names_of_the_control_plane() {
    for odd in ODD {
        let control = Control {
            host: odd.to_owned(),
            port: port(1),
            ca_pem: Some(odd.to_owned()),
        };
        let spec = BootstrapSpec {
            control: &control,
            http_ports: &[],
            probes: &[],
        };
        assert_eq!(refusal(&render(&spec), "10.0.0.1"), None, "{odd:?}");
    }
}

#[test]
fn the_longest_time_out() {
    let mut probes = probes("/", None);
    for probe in &mut probes {
        probe.timeout_seconds = u32::MAX;
    }
    assert_eq!(
        refusal(&bootstrap(&Authority::new(), &[], &probes), "10.0.0.1"),
        None
    );
}

// So that the tests above can fail.
#[test]
fn a_misspelt_field_is_refused() {
    let text = bootstrap(&Authority::new(), &[], &[])
        .replace("requireClientCertificate", "requireClientCertificat");
    let refusal = refusal(&text, "10.0.0.1").expect("a refusal");
    assert!(refusal.contains("requireClientCertificat"), "{refusal}");
}

#[test]
fn expansion_here_is_as_in_kubernetes() {
    let expanded = |text: &str| expand(text, &[("A", "1")]);
    for (text, expected) in [
        ("$(A) $$(A) $$$(A)", "1 $(A) $1"),
        ("$(B) $A $ $(A", "$(B) $A $ $(A"),
        ("$$$$", "$$"),
    ] {
        assert_eq!(expanded(text), expected, "{text}");
    }
}

fn probes(path: &str, service: Option<&str>) -> Vec<AppProbe> {
    let http = |tls| Check::Http {
        tls,
        port: port(8080),
        path: path.to_owned(),
    };
    let grpc = Check::Grpc {
        port: port(50051),
        service: service.map(str::to_owned),
    };
    let checks = [
        http(false),
        http(true),
        Check::Tcp { port: port(7077) },
        grpc,
    ];
    let probe = |(index, check)| AppProbe {
        path: format!("/probe/{index}/{path}"),
        check,
        timeout_seconds: 1,
    };
    checks.into_iter().enumerate().map(probe).collect()
}

/// Why Envoy does not take it.
fn refusal(text: &str, pod_ip: &str) -> Option<String> {
    let output = Command::new(binary())
        .args([
            "--mode",
            "validate",
            "-l",
            "error",
            "--config-yaml",
            &expanded_for_a_pod(text, pod_ip),
        ])
        .output()
        .expect("Envoy runs");
    (!output.status.success()).then(|| String::from_utf8_lossy(&output.stderr).into_owned())
}
