//! Port 15001: where the application's connections go.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::app::App;
use crate::client::read_all;
use crate::mesh::Mesh;
use crate::sandbox::{SERVER_IP, SERVER_IP6, in_a_pod};

#[test]
fn a_destination_is_asked_for_by_its_address() {
    in_a_pod(async || {
        let mesh = Mesh::ready(&[], &[]).await;
        for (name, host) in [
            (SERVER_IP, SERVER_IP.to_owned()),
            (SERVER_IP6, format!("[{SERVER_IP6}]")),
        ] {
            let first = format!("{host}:40001");
            let second = format!("{host}:40002");
            let (_a, _b) = (App::echo(&first).await, App::echo(&second).await);
            mesh.control.give_plaintext_destination(name);
            for address in [first, second] {
                let mut stream = TcpStream::connect(&address).await.expect("a connection");
                stream.write_all(b"hi").await.expect("bytes");
                let mut heard = [0; 9];
                stream.read_exact(&mut heard).await.expect("an echo");
                assert_eq!(&heard, b"banner hi", "{address}");
            }
        }
    });
}

#[test]
fn a_destination_that_nobody_names_is_refused() {
    in_a_pod(async || {
        let app = App::echo(&format!("{SERVER_IP}:40001")).await;
        let _mesh = Mesh::ready(&[], &[]).await;
        let mut stream = TcpStream::connect(format!("{SERVER_IP}:40001"))
            .await
            .expect("a connection");
        assert!(read_all(&mut stream).await.is_empty());
        assert_eq!(app.accepts(), 0);
    });
}
