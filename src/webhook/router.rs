//! The webhook's HTTP side: which requests get a review, and what everyone else is told.
//!
//! Per request it does no I/O and waits for nobody, except, for a bounded time, for the watch to
//! tell of a namespace that was only just labelled.

use std::any::Any;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::header::{CONNECTION, CONTENT_TYPE};
use axum::http::{HeaderValue, Method, StatusCode};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use prometheus_client::metrics::gauge::Gauge;
use sparkmesh_injection::config::MeshConfig;
use tokio::sync::Semaphore;
use tower_http::catch_panic::CatchPanicLayer;

use super::body::{self, Memory};
use super::events::Outbox;
use super::metrics::{Metrics, outcome};
use super::refusal::Refusal;
use super::review::{Answer, Mesh, Outcome, Question, Record};
use crate::facts::Board;

/// What one webhook takes on at a time.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Bytes of one body.
    pub body: usize,
    /// Bytes of all bodies in memory.
    pub memory: usize,
    /// Requests at a time; more are refused at once, so that the API server asks another replica.
    pub requests: usize,
    /// Until a body is complete.
    pub body_within: Duration,
    /// Until the watch has told of a namespace.
    pub namespace_within: Duration,
}

impl Default for Limits {
    /// Together the times stay below the 5 seconds after which the API server gives up.
    fn default() -> Limits {
        Limits {
            body: 4 << 20,
            memory: 64 << 20,
            requests: 512,
            body_within: Duration::from_secs(3),
            namespace_within: Duration::from_secs(1),
        }
    }
}

/// Everything that answering a review needs.
pub struct Webhook {
    config: ArcSwap<MeshConfig>,
    facts: Board,
    events: Option<Outbox>,
    metrics: Metrics,
    limits: Limits,
    places: Semaphore,
    memory: Memory,
    draining: AtomicBool,
}

impl Webhook {
    /// A webhook that decides by `config` and `facts`.
    #[must_use]
    pub fn new(config: MeshConfig, facts: Board, limits: Limits, metrics: Metrics) -> Webhook {
        Webhook {
            config: ArcSwap::from_pointee(config),
            facts,
            events: None,
            metrics,
            limits,
            places: Semaphore::new(limits.requests),
            memory: Memory::new(limits.memory),
            draining: AtomicBool::new(false),
        }
    }

    /// Rejections are told to `events`.
    #[must_use]
    pub(super) fn with_events(mut self, events: Option<Outbox>) -> Webhook {
        self.events = events;
        self
    }

    /// Decides by `config` from the next request on; tells whether that is a change.
    pub fn reconfigure(&self, config: MeshConfig) -> bool {
        let changed = **self.config.load() != config;
        if changed {
            self.config.store(Arc::new(config));
        }
        changed
    }

    /// Asks clients, with every answer from now on, to go elsewhere.
    pub fn drain(&self) {
        self.draining.store(true, Ordering::Release);
    }

    /// Whether [`Webhook::drain`] was called.
    #[must_use]
    pub fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Acquire)
    }

    fn mesh(&self) -> Mesh {
        Mesh {
            config: self.config.load_full(),
            facts: self.facts.snapshot(),
        }
    }
}

/// The routes, also for use without a socket.
pub fn router(webhook: Arc<Webhook>) -> Router {
    let metrics = webhook.metrics.clone();
    Router::new()
        .route("/inject", post(inject).fallback(wrong_method))
        .fallback(wrong_path)
        .layer(CatchPanicLayer::custom(
            move |panic: Box<dyn Any + Send>| on_panic(panic.as_ref(), &metrics),
        ))
        .layer(middleware::from_fn_with_state(
            webhook.clone(),
            close_while_draining,
        ))
        .with_state(webhook)
}

async fn inject(State(webhook): State<Arc<Webhook>>, request: Request) -> Response {
    let started = Instant::now();
    match review(&webhook, request).await {
        Ok(answer) => {
            let took = started.elapsed();
            webhook.metrics.count_review(&answer.record, took);
            log(&answer.record, took);
            tell(&webhook, &answer.record);
            respond(answer.status, answer.body)
        }
        Err(refusal) => refuse(&webhook, refusal),
    }
}

async fn review(webhook: &Webhook, request: Request) -> Result<Answer, Refusal> {
    let _place = webhook.places.try_acquire().map_err(|_| Refusal::Busy)?;
    let _counted = Counted::new(&webhook.metrics.in_flight);
    let limits = &webhook.limits;
    let body = body::read(request, &webhook.memory, limits.body, limits.body_within).await?;
    let question = Question::read(&body.bytes);
    namespace_known(webhook, question.namespace()).await;
    Ok(question.answer(&webhook.mesh()))
}

/// Waits until the watch has told that the request's namespace is in the mesh, or time is over.
///
/// The API server sends us only pods of labelled namespaces, so if we do not know of the label,
/// our watch is behind. What holds after the time is for the review to decide.
async fn namespace_known(webhook: &Webhook, namespace: Option<&str>) {
    if !webhook.facts.lags() {
        return;
    }
    let Some(name) = namespace else {
        return;
    };
    let known = || {
        let facts = webhook.facts.snapshot();
        facts.namespaces.get(name).is_some_and(|n| n.injection)
    };
    if known() {
        return;
    }
    webhook.metrics.count_namespace_wait();
    let mut changes = webhook.facts.changes();
    let told = async { while !known() && changes.changed().await.is_ok() {} };
    // Either way the review goes on with what there is.
    let _ = tokio::time::timeout(webhook.limits.namespace_within, told).await;
}

fn respond(status: u16, body: Vec<u8>) -> Response {
    let mut response = Response::new(Body::from(body));
    *response.status_mut() =
        StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let json = HeaderValue::from_static("application/json");
    response.headers_mut().insert(CONTENT_TYPE, json);
    response
}

fn refuse(webhook: &Webhook, refusal: Refusal) -> Response {
    webhook.metrics.count_refusal(refusal.reason());
    tracing::debug!(reason = refusal.reason(), "request refused");
    refusal.into_response()
}

async fn wrong_method(State(webhook): State<Arc<Webhook>>) -> Response {
    refuse(&webhook, Refusal::Method)
}

async fn wrong_path(State(webhook): State<Arc<Webhook>>, method: Method) -> Response {
    // CONNECT names a host, not a path.
    let refusal = match method {
        Method::CONNECT => Refusal::Method,
        _ => Refusal::Path,
    };
    refuse(&webhook, refusal)
}

fn on_panic(panic: &(dyn Any + Send), metrics: &Metrics) -> Response {
    let text = panic
        .downcast_ref::<String>()
        .map(String::as_str)
        .or_else(|| panic.downcast_ref::<&str>().copied())
        .unwrap_or("without a message");
    tracing::error!(panic = text, "the review panicked; please report this");
    metrics.count_refusal(Refusal::Panic.reason());
    Refusal::Panic.into_response()
}

/// A client that keeps its connection until we close it may lose a request on the way.
async fn close_while_draining(
    State(webhook): State<Arc<Webhook>>,
    request: Request,
    next: Next,
) -> Response {
    let mut response = next.run(request).await;
    if webhook.is_draining() {
        let close = HeaderValue::from_static("close");
        response.headers_mut().insert(CONNECTION, close);
    }
    response
}

/// One line per decision, never the object.
fn log(record: &Record, took: Duration) {
    let owner = record.owner.as_ref();
    let owner = owner.map(|owner| format!("{}/{}", owner.kind, owner.name));
    let outcome_name = outcome(record.outcome);
    let reasons = record.reasons.join(",");
    let took_us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
    macro_rules! line {
        ($level:ident $(, $field:ident = $value:expr)*) => {
            tracing::$level!(
                uid = record.uid,
                namespace = record.namespace,
                name = record.name,
                owner,
                outcome = outcome_name,
                reasons,
                dry_run = record.dry_run,
                took_us,
                $($field = $value,)*
                "review"
            )
        };
    }
    match record.outcome {
        Outcome::Inject | Outcome::Skip => line!(info),
        Outcome::Reject | Outcome::Invalid => line!(warn, detail = record.message),
    }
}

fn tell(webhook: &Webhook, record: &Record) {
    if let Some(events) = &webhook.events
        && matches!(record.outcome, Outcome::Reject)
        && !record.dry_run
    {
        events.rejection(record);
    }
}

/// Counts one more for as long as it lives, also where the request is given up half-way.
struct Counted<'a>(&'a Gauge);

impl Counted<'_> {
    fn new(gauge: &Gauge) -> Counted<'_> {
        gauge.inc();
        Counted(gauge)
    }
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.0.dec();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sparkmesh_injection::facts::{NamespaceFacts, PodSecurity};

    const FOREVER: Duration = Duration::from_hours(1);

    fn team(injection: bool) -> NamespaceFacts {
        NamespaceFacts {
            name: "team".to_owned(),
            injection,
            pod_security: PodSecurity::Unset,
            openshift_uid_range: false,
        }
    }

    fn webhook(facts: Board, namespace_within: Duration) -> Webhook {
        let limits = Limits {
            namespace_within,
            ..Limits::default()
        };
        Webhook::new(MeshConfig::default(), facts, limits, Metrics::default())
    }

    const TEAM: Option<&str> = Some("team");

    #[tokio::test]
    async fn a_review_waits_for_the_watch_to_tell_of_the_namespace_and_its_label() {
        let facts = Board::empty(true);
        let webhook = webhook(facts.clone(), FOREVER);
        let waiting = namespace_known(&webhook, TEAM);
        let telling = async {
            tokio::task::yield_now().await;
            facts.put_namespace(team(false));
            tokio::task::yield_now().await;
            facts.put_namespace(team(true));
        };
        tokio::join!(waiting, telling);
        namespace_known(&webhook, TEAM).await;
        assert!(webhook.facts.snapshot().namespaces["team"].injection);
    }

    #[tokio::test]
    async fn it_does_not_wait_longer_than_it_may_nor_for_what_no_watch_will_tell() {
        let behind = webhook(Board::empty(true), Duration::from_millis(1));
        namespace_known(&behind, TEAM).await;
        let from_files = webhook(Board::empty(false), FOREVER);
        namespace_known(&from_files, TEAM).await;
        let no_review = webhook(Board::empty(true), FOREVER);
        namespace_known(&no_review, None).await;
    }
}
