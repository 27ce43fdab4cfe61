//! What the text itself must satisfy. What Envoy makes of it is shown by the root package's test
//! `envoy_bootstrap`.

use proptest::prelude::*;

use super::*;

/// As long as the certificate of an ECDSA P-256 authority is.
fn control() -> Control {
    Control {
        host: "sparkmesh-control.sparkmesh-system.svc".to_owned(),
        port: Port::new(15012).expect("a port"),
        ca_pem: Some(format!(
            "-----BEGIN CERTIFICATE-----\n{}-----END CERTIFICATE-----\n",
            format!("{}\n", "A".repeat(64)).repeat(9)
        )),
    }
}

fn port(number: u16) -> Port {
    Port::new(number).expect("a port")
}

fn probe(index: usize, check: Check) -> AppProbe {
    AppProbe {
        path: format!("/probe/app/{index}"),
        check,
        timeout_seconds: 1,
    }
}

fn http(index: usize, port_number: u16) -> AppProbe {
    probe(
        index,
        Check::Http {
            tls: false,
            port: port(port_number),
            path: "/healthz".to_owned(),
        },
    )
}

fn grpc(service: &str) -> AppProbe {
    probe(
        0,
        Check::Grpc {
            port: port(50051),
            service: Some(service.to_owned()),
        },
    )
}

#[test]
fn a_plain_bootstrap_stays_small() {
    let text = Template::new(&control()).render(&[], &[]);
    assert!(text.len() < 4_500, "{} bytes", text.len());
}

#[test]
fn ports_and_probes_add_little() {
    let template = Template::new(&control());
    let plain = template.render(&[], &[]).len();
    let added = |ports: &[Port], probes: &[AppProbe]| template.render(ports, probes).len() - plain;
    for (what, bytes, bound) in [
        ("an HTTP port", added(&[port(8080)], &[]), 800),
        ("two HTTP ports", added(&[port(8080), port(4040)], &[]), 950),
        ("an HTTP probe", added(&[], &[http(0, 8080)]), 1_020),
        (
            "two HTTP probes",
            added(&[], &[http(0, 8080), http(1, 8080)]),
            1_120,
        ),
        (
            "a TCP probe",
            added(&[], &[probe(0, Check::Tcp { port: port(7077) })]),
            600,
        ),
        ("a gRPC probe", added(&[], &[grpc("")]), 800),
    ] {
        assert!(bytes < bound, "{what} adds {bytes} bytes");
    }
}

#[test]
fn cost_is_linear_in_probes() {
    let template = Template::new(&control());
    let bytes = |count: usize| {
        let probes: Vec<_> = (0..count).map(|index| http(100 + index, 8080)).collect();
        template.render(&[], &probes).len()
    };
    assert_eq!(bytes(300) - bytes(200), bytes(200) - bytes(100));
}

#[test]
fn probes_of_one_target_share_a_cluster() {
    let clusters = |probes: &[AppProbe]| {
        render(&spec(&control(), probes))
            .matches("{name: p")
            .count()
    };
    assert_eq!(clusters(&[http(0, 8080), http(1, 8080)]), 1);
    assert_eq!(clusters(&[http(0, 8080), http(1, 8081)]), 2);
}

#[test]
fn without_probes_their_filters_and_clusters_are_absent() {
    let text = render(&spec(&control(), &[]));
    for part in ["CustomResponse", "HealthCheck", "$(POD_IP)"] {
        assert!(!text.contains(part), "{part}");
    }
}

// U5: a listener or cluster that the control plane may change would cut connections.
#[test]
fn listeners_and_clusters_are_static() {
    let text = render(&spec(&control(), &[]));
    for part in ["ldsConfig", " cdsConfig", "rds:"] {
        assert!(!text.contains(part), "{part}");
    }
}

#[test]
fn without_an_authority_none_is_named() {
    let text = Template::new(&Control {
        ca_pem: None,
        ..control()
    })
    .render(&[], &[]);
    assert!(text.contains("sslCredentials: {}"), "{text}");
}

#[test]
fn only_our_references_are_left_to_kubernetes() {
    let odd = grpc("$(POD_IP) $$ $(HOME)");
    let text = render(&spec(&control(), &[odd])).replace("$$", "");
    let references: Vec<_> = text
        .match_indices('$')
        .map(|(at, _)| &text[at..at + 6])
        .collect();
    assert_eq!(references, ["$(POD_", "$(POD_", "$(POD_"]);
}

#[test]
fn names_of_the_template_mean_nothing_in_other_peoples_text() {
    let control = Control {
        host: "@PROBE_ROUTES@.@HTTP_CHAINS@@PORT@".to_owned(),
        ..control()
    };
    let text = render(&spec(&control, &[grpc("@HTTP_CHAINS@")]));
    assert!(text.contains("\"@PROBE_ROUTES@.@HTTP_CHAINS@@PORT@:15012\""));
    assert!(text.contains("serviceName: \"@HTTP_CHAINS@\""));
}

proptest! {
    #[test]
    fn every_path_and_service_is_one_string(path in any::<String>(), service in any::<String>()) {
        let app = Check::Http { tls: true, port: port(8443), path: path.clone() };
        let probes = [AppProbe { path, check: app, timeout_seconds: 0 }, grpc(&service)];
        let text = render(&spec(&control(), &probes));
        // Outside of quotes nothing of it is left but brackets that match.
        let skeleton = text.replace("\\\\", "").replace("\\\"", "");
        let outside: String = skeleton.split('"').step_by(2).collect();
        prop_assert_eq!(skeleton.matches('"').count() % 2, 0);
        prop_assert_eq!(outside.matches('{').count(), outside.matches('}').count());
        prop_assert!(outside.is_ascii());
        prop_assert!(!text.contains('\n'));
    }
}

fn spec<'a>(control: &'a Control, probes: &'a [AppProbe]) -> BootstrapSpec<'a> {
    BootstrapSpec {
        control,
        http_ports: &[],
        probes,
    }
}
