//! The webhook's routes without a socket: who gets a review, and what everybody else is told.

mod support;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::{Method, Request, Response, StatusCode, header};
use http_body_util::BodyExt;
use prometheus_client::registry::Registry;
use serde_json::Value;
use sparkmesh::config;
use sparkmesh::facts::Board;
use sparkmesh::webhook::{Limits, Metrics, Webhook, router};
use sparkmesh_injection::facts::{MeshFacts, NamespaceFacts};
use tower::ServiceExt;

struct Setup {
    webhook: Arc<Webhook>,
    metrics: Metrics,
}

impl Setup {
    fn new(limits: Limits) -> Setup {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("config.yaml");
        std::fs::write(&file, support::CONFIG).expect("written");
        let config = config::load(&file).expect("valid");
        let label = ("sparkmesh.dev/injection".to_owned(), "enabled".to_owned());
        let labels = [label].into();
        let team = NamespaceFacts::from_metadata("team", Some(&labels), None);
        let facts = MeshFacts {
            namespaces: [("team".to_owned(), Arc::new(team))].into(),
            ..MeshFacts::default()
        };
        let metrics = Metrics::default();
        let board = Board::fixed(facts);
        Setup {
            webhook: Arc::new(Webhook::new(config, board, limits, metrics.clone())),
            metrics,
        }
    }

    fn router(&self) -> Router {
        router(self.webhook.clone())
    }

    async fn send(&self, request: Request<Body>) -> Response<Body> {
        self.router().oneshot(request).await.expect("infallible")
    }

    fn counts(&self, line: &str) -> bool {
        let mut registry = Registry::default();
        self.metrics.register(&mut registry);
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry).expect("text");
        text.lines().any(|found| found == line)
    }
}

fn post(body: impl Into<Body>) -> Request<Body> {
    Request::post("/inject?timeout=5s")
        .header(header::CONTENT_TYPE, "application/json")
        .body(body.into())
        .expect("a request")
}

async fn text(response: Response<Body>) -> String {
    let bytes = response.into_body().collect().await.expect("a body");
    String::from_utf8(bytes.to_bytes().to_vec()).expect("text")
}

/// A body that never ends.
fn endless() -> Body {
    Body::from_stream(futures_util::stream::pending::<
        Result<&'static [u8], std::io::Error>,
    >())
}

#[tokio::test]
async fn a_review_is_answered_as_a_review_and_counted() {
    let setup = Setup::new(Limits::default());
    let body = support::client::review("team").to_string();
    let response = setup.send(post(body)).await;
    assert_eq!(response.status(), StatusCode::OK);
    assert_eq!(response.headers()[header::CONTENT_TYPE], "application/json");
    let review: Value = serde_json::from_str(&text(response).await).expect("JSON");
    assert_eq!(review["kind"], "AdmissionReview");
    assert_eq!(review["response"]["allowed"], true);
    assert!(setup.counts("webhook_reviews_total{outcome=\"inject\"} 1"));
    assert!(setup.counts("webhook_review_duration_seconds_count 1"));
    assert!(setup.counts("webhook_requests_in_flight 0"));
}

#[tokio::test]
async fn only_post_on_inject_is_answered() {
    let setup = Setup::new(Limits::default());
    for method in [
        Method::GET,
        Method::PUT,
        Method::DELETE,
        Method::OPTIONS,
        Method::HEAD,
    ] {
        let mut request = post("{}");
        *request.method_mut() = method.clone();
        let response = setup.send(request).await;
        assert_eq!(
            response.status(),
            StatusCode::METHOD_NOT_ALLOWED,
            "{method}"
        );
        assert_eq!(response.headers()[header::ALLOW], "POST", "{method}");
    }
    for target in ["example.org:443", "/inject"] {
        let mut request = post("");
        *request.method_mut() = Method::CONNECT;
        *request.uri_mut() = target.parse().expect("a target");
        let response = setup.send(request).await;
        assert_eq!(
            response.status(),
            StatusCode::METHOD_NOT_ALLOWED,
            "{target}"
        );
    }
    for path in [
        "/",
        "/inject/",
        "/injection",
        "/metrics",
        "//inject",
        "/inject/..",
    ] {
        let mut request = post("{}");
        *request.uri_mut() = path.parse().expect("a path");
        let response = setup.send(request).await;
        assert_eq!(response.status(), StatusCode::NOT_FOUND, "{path}");
        assert!(text(response).await.contains("/inject"), "{path}");
    }
    assert!(setup.counts("webhook_refusals_total{reason=\"method\"} 7"));
    assert!(setup.counts("webhook_refusals_total{reason=\"path\"} 6"));
}

#[tokio::test]
async fn a_body_that_is_not_said_to_be_json_is_refused() {
    let setup = Setup::new(Limits::default());
    for content_type in [
        Some("text/plain"),
        Some("application/jsonp"),
        Some(""),
        None,
    ] {
        let mut request = post(support::client::review("team").to_string());
        match content_type {
            Some(value) => {
                let value = value.parse().expect("a header");
                request.headers_mut().insert(header::CONTENT_TYPE, value);
            }
            None => drop(request.headers_mut().remove(header::CONTENT_TYPE)),
        }
        let response = setup.send(request).await;
        assert_eq!(
            response.status(),
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "{content_type:?}"
        );
    }
}

#[tokio::test]
async fn a_body_above_the_limit_is_refused_whatever_its_announced_length() {
    let limits = Limits {
        body: 1000,
        ..Limits::default()
    };
    let setup = Setup::new(limits);
    let chunks = || {
        let chunks = (0..20).map(|_| Ok::<_, std::io::Error>(vec![b' '; 100]));
        Body::from_stream(futures_util::stream::iter(chunks))
    };
    let mut lying = post(chunks());
    let length = "10".parse().expect("a header");
    lying.headers_mut().insert(header::CONTENT_LENGTH, length);
    for request in [post(vec![b' '; 1001]), post(chunks()), lying] {
        let response = setup.send(request).await;
        assert_eq!(response.status(), StatusCode::PAYLOAD_TOO_LARGE);
        assert!(text(response).await.contains("1000 bytes"));
    }
    assert!(setup.counts("webhook_refusals_total{reason=\"too-large\"} 3"));
}

#[tokio::test]
async fn a_body_that_does_not_come_is_given_up() {
    let setup = Setup::new(Limits {
        body_within: Duration::from_millis(50),
        ..Limits::default()
    });
    let response = setup.send(post(endless())).await;
    assert_eq!(response.status(), StatusCode::REQUEST_TIMEOUT);
    assert!(setup.counts("webhook_refusals_total{reason=\"slow\"} 1"));
}

#[tokio::test]
async fn more_requests_than_places_are_told_to_come_again() {
    let limits = Limits {
        requests: 1,
        body_within: Duration::from_mins(10),
        ..Limits::default()
    };
    let setup = Setup::new(limits);
    let slow = tokio::spawn(setup.router().oneshot(post(endless())));
    support::eventually("the slow request is in", async || {
        setup.counts("webhook_requests_in_flight 1").then_some(())
    })
    .await;
    let response = setup.send(post("{}")).await;
    assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(response.headers()[header::RETRY_AFTER], "1");
    slow.abort();
    assert!(
        slow.await
            .expect_err("given up by its client")
            .is_cancelled()
    );
    let body = support::client::review("team").to_string();
    assert_eq!(setup.send(post(body)).await.status(), StatusCode::OK);
    assert!(setup.counts("webhook_refusals_total{reason=\"busy\"} 1"));
}

#[tokio::test]
async fn while_draining_every_answer_asks_to_go_elsewhere() {
    let setup = Setup::new(Limits::default());
    let review = || post(support::client::review("team").to_string());
    assert!(
        !setup
            .send(review())
            .await
            .headers()
            .contains_key(header::CONNECTION)
    );
    setup.webhook.drain();
    let response = setup.send(review()).await;
    assert_eq!(response.status(), StatusCode::OK);
    assert_eq!(response.headers()[header::CONNECTION], "close");
}

#[tokio::test]
async fn what_is_no_review_is_answered_clearly_and_counted() {
    let setup = Setup::new(Limits::default());
    let deep = "[".repeat(200_000);
    for body in ["", "no json", "{}", "[]", "null", "{\"request\": 1}", &deep] {
        let response = setup.send(post(body.to_owned())).await;
        assert!(!response.status().is_server_error(), "{body:.20}");
        let answer = text(response).await;
        assert!(
            !answer.is_empty() && !answer.contains("\"allowed\":true"),
            "{body:.20}"
        );
    }
    assert!(setup.counts("webhook_reviews_total{outcome=\"invalid\"} 7"));
}
