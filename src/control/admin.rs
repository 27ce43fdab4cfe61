//! Health and metrics over plain HTTP. Decides only whether this replica is ready; everything it
//! shows belongs to others.

use std::sync::Arc;

use axum::Router;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use prometheus_client::encoding::text::encode;
use prometheus_client::registry::Registry;
use tokio::sync::watch;

use super::lease::Role;

/// `/livez`, `/readyz` and `/metrics`. Ready is who knows whether it leads: it reached the API server.
pub(crate) fn router(registry: Registry, role: watch::Receiver<Role>) -> Router {
    let registry = Arc::new(registry);
    Router::new()
        .route("/livez", get(|| async { "ok\n" }))
        .route(
            "/readyz",
            get(move || async move { readiness(&role.borrow()) }),
        )
        .route("/metrics", get(move || async move { metrics(&registry) }))
}

fn readiness(role: &Role) -> (StatusCode, String) {
    match role {
        Role::Leads => (StatusCode::OK, "ok: leads\n".to_owned()),
        Role::Follows(leader) => (StatusCode::OK, format!("ok: follows {leader}\n")),
        Role::Unknown => (
            StatusCode::SERVICE_UNAVAILABLE,
            "not ready: it is not known who leads; is the API server reached?\n".to_owned(),
        ),
    }
}

fn metrics(registry: &Registry) -> impl IntoResponse + use<> {
    let mut text = String::new();
    match encode(&mut text, registry) {
        Ok(()) => (
            [(
                header::CONTENT_TYPE,
                "application/openmetrics-text; version=1.0.0; charset=utf-8",
            )],
            text,
        )
            .into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ready_is_who_knows_whether_it_leads() {
        for (role, status) in [
            (Role::Unknown, StatusCode::SERVICE_UNAVAILABLE),
            (Role::Follows("other".to_owned()), StatusCode::OK),
            (Role::Leads, StatusCode::OK),
        ] {
            assert_eq!(readiness(&role).0, status);
        }
    }
}
