//! Port 15006: who comes in, and what an application sees of who does not. U1 to U6 are the unsafe
//! defaults of Envoy that the bootstrap must undo.

use rustls::{HandshakeKind, NamedGroup};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use sparkmesh_policy::port::Port;

use crate::app::App;
use crate::client::{connect, first_flight, read_all, tls};
use crate::mesh::{Mesh, STRANGER, at, bootstrap, port};
use crate::pki::Authority;
use crate::sandbox::{POD_IP, POD_IP6, eventually, in_a_pod};

const APP: &str = "10.9.0.1:7077";

#[test]
fn a_friend_reaches_the_application() {
    in_a_pod(async || {
        let _app = App::echo(APP).await;
        let _app6 = App::echo(&format!("[{POD_IP6}]:7077")).await;
        let mesh = Mesh::ready(&[], &[]).await;
        for address in [APP.to_owned(), format!("[{POD_IP6}]:7077")] {
            let mut peer = connect(&tls(Some(&mesh.friend())), &address)
                .await
                .expect("TLS");
            assert_eq!(
                echoed(&mut peer, b"hello").await,
                b"banner hello",
                "{address}"
            );
            let group = peer
                .get_ref()
                .1
                .negotiated_key_exchange_group()
                .expect("a group")
                .name();
            assert_eq!(group, NamedGroup::X25519MLKEM768);
        }
    });
}

#[test]
fn u1_the_application_sees_no_connection_of_who_is_refused() {
    in_a_pod(async || {
        let app = App::echo(APP).await;
        let mesh = Mesh::ready(&[], &[]).await;
        let stranger = mesh.authority.issue(STRANGER);
        let forger = Authority::new().issue(crate::mesh::FRIEND);
        for (who, identity) in [
            ("a stranger", Some(&stranger)),
            ("a forger", Some(&forger)),
            ("nobody", None),
        ] {
            if let Ok(mut peer) = connect(&tls(identity), APP).await {
                // Refused while it writes or after.
                let _ = peer.write_all(b"hello").await;
                assert!(read_all(&mut peer).await.is_empty(), "{who}");
            }
        }
        let mut plain = TcpStream::connect(APP).await.expect("a connection");
        plain
            .write_all(b"GET / HTTP/1.1\r\n\r\n")
            .await
            .expect("bytes");
        assert!(read_all(&mut plain).await.is_empty(), "plaintext");
        assert_eq!(app.accepts(), 0);
    });
}

#[test]
fn u2_who_says_nothing_hears_nothing() {
    in_a_pod(async || {
        let app = App::echo(APP).await;
        let mesh = Mesh::ready(&[], &[]).await;
        let stranger = mesh.authority.issue(STRANGER);
        let mut peer = connect(&tls(Some(&stranger)), APP).await.expect("TLS");
        eventually("the proxy knows the peer", async || {
            (mesh.envoy.counter("ssl.handshake").await > 0).then_some(())
        })
        .await;
        let heard = tokio::time::timeout(std::time::Duration::from_secs(1), peer.read_u8()).await;
        assert!(
            heard.is_err() || heard.is_ok_and(|end| end.is_err()),
            "a stranger heard something"
        );
        assert_eq!(app.accepts(), 0);
    });
}

#[test]
fn u3_no_session_is_resumed() {
    in_a_pod(async || {
        let _app = App::echo(APP).await;
        let mesh = Mesh::ready(&[], &[]).await;
        let tls = tls(Some(&mesh.friend()));
        for _ in 0..3 {
            let mut peer = connect(&tls, APP).await.expect("TLS");
            echoed(&mut peer, b"hello").await;
            assert_eq!(peer.get_ref().1.tls13_tickets_received(), 0);
            assert_eq!(peer.get_ref().1.handshake_kind(), Some(HandshakeKind::Full));
        }
    });
}

#[test]
fn u4_a_redirected_port_leads_nowhere() {
    in_a_pod(async || {
        let mesh = Mesh::ready(&[], &[]).await;
        for address in ["127.0.0.1", "::1", POD_IP, POD_IP6] {
            mesh.control.give_plaintext_destination(address);
        }
        for host in ["127.0.0.1", "[::1]", POD_IP, "[fd00:9::1]"] {
            for port in [Port::OUTBOUND, Port::INBOUND] {
                poke(&format!("{host}:{port}")).await;
                if let Ok(mut peer) =
                    connect(&tls(Some(&mesh.friend())), &format!("{host}:{port}")).await
                {
                    // It is cut off while it writes or after.
                    let _ = peer.write_all(b"hello").await;
                    read_all(&mut peer).await;
                }
            }
        }
        assert_eq!(mesh.envoy.counter("15001.downstream_cx_total").await, 8);
        assert_eq!(mesh.envoy.counter("15006.downstream_cx_total").await, 8);
    });
}

// So that the test above can fail.
#[test]
fn u4_without_its_chain_the_port_leads_back_to_itself() {
    in_a_pod(async || {
        let authority = Authority::new();
        let guard = "{filterChainMatch: {destinationPort: 15001}},";
        let text = bootstrap(&authority, &[], &[]);
        assert!(text.contains(guard));
        let mesh = Mesh::ready_with(authority, &text.replace(guard, "")).await;
        mesh.control.give_plaintext_destination("127.0.0.1");
        poke("127.0.0.1:15001").await;
        eventually("a loop", async || {
            (mesh.envoy.counter("15001.downstream_cx_total").await > 500).then_some(())
        })
        .await;
    });
}

#[test]
fn u5_a_new_policy_leaves_connections_alone() {
    in_a_pod(async || {
        let _app = App::echo(APP).await;
        let mesh = Mesh::ready(&[], &[]).await;
        let tls = tls(Some(&mesh.friend()));
        let mut established = connect(&tls, APP).await.expect("TLS");
        assert_eq!(echoed(&mut established, b"before").await, b"banner before");

        mesh.control.give_policy(STRANGER);
        mesh.control.give_certificate(
            &mesh
                .authority
                .issue("spiffe://cluster.local/ns/jobs/sa/app"),
        );
        eventually("the friend is refused", async || {
            let mut peer = connect(&tls, APP).await.ok()?;
            let _ = peer.write_all(b"hello").await;
            let mut first = [0];
            matches!(peer.read(&mut first).await, Ok(0) | Err(_)).then_some(())
        })
        .await;
        assert_eq!(echoed(&mut established, b"after").await, b"after");
        assert_eq!(
            mesh.envoy
                .counter("listener_manager.listener_modified")
                .await,
            0
        );
    });
}

#[test]
fn u6_connections_are_many_and_last() {
    in_a_pod(async || {
        let mesh = Mesh::ready(&[], &[]).await;
        let clusters = mesh.envoy.admin("/clusters").await;
        assert!(
            clusters.contains("in::default_priority::max_connections::1000000"),
            "{clusters}"
        );
        let config = mesh
            .envoy
            .admin("/config_dump?resource=static_listeners")
            .await;
        assert_eq!(
            config.matches("\"idle_timeout\": \"0s\"").count(),
            2,
            "{config}"
        );
    });
}

#[test]
fn u6_an_unfinished_handshake_is_cut_off() {
    in_a_pod(async || {
        let mesh = Mesh::ready(&[], &[]).await;
        let hello = first_flight(&mesh.friend());
        let mut after_hello = TcpStream::connect(APP).await.expect("a connection");
        after_hello.write_all(&hello).await.expect("bytes");
        let mut within_hello = TcpStream::connect(APP).await.expect("a connection");
        within_hello.write_all(&hello[..20]).await.expect("bytes");
        let mut silent = TcpStream::connect(APP).await.expect("a connection");
        tokio::join!(
            read_all(&mut after_hello),
            read_all(&mut within_hello),
            read_all(&mut silent)
        );
    });
}

#[test]
fn tls_1_2_is_refused() {
    in_a_pod(async || {
        let _mesh = Mesh::ready(&[], &[]).await;
        let mut peer = TcpStream::connect(APP).await.expect("a connection");
        peer.write_all(&client_hello_of_tls_1_2())
            .await
            .expect("bytes");
        let (alert, fatal, protocol_version) = (21, 2, 70);
        let answer = read_all(&mut peer).await;
        assert_eq!(answer.first(), Some(&alert), "{answer:?}");
        assert_eq!(answer[5..], [fatal, protocol_version]);
    });
}

#[test]
fn an_http_port_is_measured_and_passed_on_as_it_is() {
    in_a_pod(async || {
        let app = App::http(&format!("{POD_IP}:8080")).await;
        let mesh = Mesh::ready(&[4040, 8080], &[]).await;
        let mut peer = connect(&tls(Some(&mesh.friend())), &format!("{POD_IP}:8080"))
            .await
            .expect("TLS");
        peer.write_all(
            b"GET /a%2Fb/../c?d HTTP/1.1\r\nHost: ui.example\r\nConnection: close\r\n\r\n",
        )
        .await
        .expect("bytes");
        let answer = String::from_utf8(read_all(&mut peer).await).expect("text");
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        assert!(answer.contains(crate::app::SECRET), "{answer}");
        let head = app.heads().remove(0);
        assert!(
            head.starts_with("get /a%2fb/../c?d http/1.1\r\nhost: ui.example\r\n"),
            "{head}"
        );
        let metrics = crate::client::ask(&at(Port::METRICS), "GET /stats/prometheus")
            .await
            .body;
        assert!(
            metrics.contains(
                "envoy_http_downstream_rq_time_bucket{envoy_http_conn_manager_prefix=\"in\""
            ),
            "{metrics}"
        );

        let stranger = mesh.authority.issue(STRANGER);
        if let Ok(mut peer) = connect(&tls(Some(&stranger)), &format!("{POD_IP}:8080")).await {
            let _ = peer.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").await;
            assert!(read_all(&mut peer).await.is_empty());
        }
        assert_eq!(app.accepts(), 1);
        assert_eq!(port(8080).number(), 8080);
    });
}

/// Connects, says something, and waits for the end.
async fn poke(address: &str) {
    let mut stream = TcpStream::connect(address).await.expect(address);
    // It may be cut off while it writes.
    let _ = stream.write_all(b"hello").await;
    read_all(&mut stream).await;
}

/// What comes back, up to and with the echo of `said`.
async fn echoed(peer: &mut (impl AsyncReadExt + AsyncWriteExt + Unpin), said: &[u8]) -> Vec<u8> {
    peer.write_all(said).await.expect("bytes");
    let mut heard = Vec::new();
    while !heard.ends_with(said) {
        heard.push(peer.read_u8().await.expect("an echo"));
    }
    heard
}

/// A client that knows no newer version.
fn client_hello_of_tls_1_2() -> Vec<u8> {
    let groups = [0, 10, 0, 4, 0, 2, 0, 23];
    let signatures = [0, 13, 0, 4, 0, 2, 4, 3];
    let extensions = [&groups[..], &signatures].concat();
    let extensions_size = u8::try_from(extensions.len()).expect("few");
    let body = [
        &[3, 3][..],
        &[7; 32],
        &[0, 0, 2, 0xc0, 0x2b, 1, 0, 0, extensions_size],
        &extensions,
    ]
    .concat();
    let size = u8::try_from(body.len()).expect("short");
    [&[22, 3, 1, 0, size + 4, 1, 0, 0, size][..], &body].concat()
}
