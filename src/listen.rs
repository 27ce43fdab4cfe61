//! Taking a TCP port, with an error that says what to do where it cannot be had.

use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};

use anyhow::{Context, anyhow};

/// Listens on `address`, which came from the command line's `flag`.
///
/// `[::]` takes IPv4 too; on a machine without IPv6 it falls back to `0.0.0.0`.
pub fn bind(address: SocketAddr, flag: &str) -> anyhow::Result<TcpListener> {
    let error = match TcpListener::bind(address) {
        Ok(listener) => return Ok(listener),
        Err(error) => error,
    };
    let any_v6 = address.is_ipv6() && address.ip().is_unspecified();
    match error.kind() {
        ErrorKind::AddrInUse => Err(anyhow!(
            "cannot listen on {address}: another process has the port; \
             stop it or choose another port with {flag}"
        )),
        ErrorKind::PermissionDenied => Err(anyhow!(
            "cannot listen on {address}: no permission; \
             choose a port of 1024 or above with {flag}"
        )),
        ErrorKind::AddrNotAvailable if !any_v6 => Err(anyhow!(
            "cannot listen on {address}: this machine does not have the address; \
             choose one of its own, or [::], with {flag}"
        )),
        _ if any_v6 => {
            let v4 = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), address.port());
            TcpListener::bind(v4).with_context(|| format!("cannot listen on {address} or {v4}"))
        }
        _ => Err(error).with_context(|| format!("cannot listen on {address} ({flag})")),
    }
}
