//! The real `sparkmesh webhook` over HTTPS beside a bare echo: the same library's server, the same
//! TLS 1.3, that reads the same body and answers as many bytes.
//!
//! One client on the same machine loads both in turns. It takes its share of the processors, which
//! pulls the ratio of throughputs towards 1; that of processor time per request tells more.

mod client;
mod echo;
mod process;
#[path = "../support/mod.rs"]
mod support;
#[path = "../../tests/support/mod.rs"]
mod tests;

use std::time::Duration;

use client::Load;
use process::Usage;
use support::reviews;
use support::table::{self, Row, median};
use tests::process::Files;

const CONNECTIONS: usize = 8;
/// The goal: this part of the echo's throughput.
const AT_LEAST: f64 = 0.9;
/// The goal for memory under load, in KiB.
const MEMORY: u64 = 20 * 1024;

fn main() {
    sparkmesh::tls::install_provider();
    let arguments: Vec<String> = std::env::args().collect();
    if let [_, flag, folder, answer] = &arguments[..]
        && flag == echo::FLAG
    {
        return echo::serve(folder.as_ref(), answer.parse().expect("a number"));
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    table::print(&runtime.block_on(compare()));
}

async fn compare() -> Vec<Row> {
    let files = Files::new();
    // As in production, where nothing of it is hurried.
    let mut arguments = files.arguments();
    let poll = arguments.iter().position(|it| it == "--poll").expect("set");
    arguments[poll + 1] = "2000".into();
    let webhook = tests::process::Webhook::start(arguments).await;
    let webhook = Subject {
        load: Load::new(webhook.listen, &files.authority.pem),
        process: webhook.id(),
        idle: Usage::of(webhook.id()),
        _running: webhook,
    };

    let mut rows = Vec::new();
    for (name, review) in [
        ("small pod", reviews::small()),
        ("2,000 variables", reviews::variables(2000)),
    ] {
        let body = reviews::bytes(&review);
        let answer = webhook.load.once(&body).await;
        let allowed = answer.windows(14).any(|it| it == b"\"allowed\":true");
        assert!(allowed, "{}", String::from_utf8_lossy(&answer));
        let echo = echo::start(&files, answer.len());
        let echo = Subject {
            load: Load::new(echo.listen, &files.authority.pem),
            process: echo.id(),
            idle: Usage::of(echo.id()),
            _running: echo,
        };
        rows.extend(rounds(name, &body, &webhook, &echo).await);
    }
    rows
}

/// One of the two servers.
struct Subject<R> {
    load: Load,
    process: u32,
    idle: Usage,
    _running: R,
}

impl<R> Subject<R> {
    async fn round(&self, body: &[u8], time: Duration) -> Round {
        let before = Usage::of(self.process);
        let requests = self.load.run(body, CONNECTIONS, time).await;
        let after = Usage::of(self.process);
        Round {
            requests: f64::from(requests) / time.as_secs_f64(),
            processor: (after.processor - before.processor) / f64::from(requests),
            resident: after.resident,
        }
    }
}

/// What one server did in one round.
struct Round {
    /// Requests per second.
    requests: f64,
    /// Processor time per request, in seconds.
    processor: f64,
    /// Resident memory afterwards, in KiB.
    resident: u64,
}

async fn rounds<A, B>(
    name: &str,
    body: &[u8],
    webhook: &Subject<A>,
    echo: &Subject<B>,
) -> Vec<Row> {
    let (number, time) = if support::is_measuring() {
        (10, Duration::from_secs(1))
    } else {
        (2, Duration::from_millis(50))
    };
    let mut ours = Vec::new();
    let mut bare = Vec::new();
    // The first round of each warms up and is not counted.
    for index in 0..=number {
        let round = (
            webhook.round(body, time).await,
            echo.round(body, time).await,
        );
        if index > 0 {
            ours.push(round.0);
            bare.push(round.1);
        }
    }
    vec![
        compared(
            name,
            "requests/s",
            ours.iter()
                .zip(&bare)
                .map(|(a, b)| (a.requests, b.requests)),
            1.0,
            format!(">= {AT_LEAST}"),
        ),
        compared(
            name,
            "us of processor per request",
            ours.iter()
                .zip(&bare)
                .map(|(a, b)| (a.processor, b.processor)),
            1e6,
            String::new(),
        ),
        memory(
            name,
            "webhook",
            webhook,
            &ours,
            format!("< {MEMORY} KiB, flat"),
        ),
        memory(name, "bare echo", echo, &bare, String::new()),
    ]
}

/// Medians of both, and of their ratio round by round.
fn compared(
    name: &str,
    unit: &str,
    pairs: impl Iterator<Item = (f64, f64)>,
    scale: f64,
    goal: String,
) -> Row {
    let (ours, bare): (Vec<f64>, Vec<f64>) = pairs.unzip();
    let ratios = ours.iter().zip(&bare).map(|(a, b)| a / b).collect();
    Row::new(
        format!("HTTPS, {name}, {unit}"),
        format!("{:.0}", median(ours) * scale),
        format!("{:.0} bare axum + rustls", median(bare) * scale),
        format!("{:.2}", median(ratios)),
        goal,
    )
}

/// Resident memory: idle, at its peak, and how it moved from the first round to the last.
fn memory<R>(name: &str, who: &str, subject: &Subject<R>, rounds: &[Round], goal: String) -> Row {
    let (first, last) = (
        rounds.first().expect("a round").resident,
        rounds.last().expect("a round").resident,
    );
    #[allow(clippy::cast_precision_loss)] // KiB of one process
    let grown = last as f64 / first as f64;
    Row::new(
        format!("memory of the {who}, {name}, KiB"),
        format!("{} peak", Usage::of(subject.process).peak),
        format!(
            "{} idle, {first} to {last} over rounds",
            subject.idle.resident
        ),
        format!("{grown:.2} grown"),
        goal,
    )
}
