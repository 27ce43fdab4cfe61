//! The handler alone: a review's bytes in, its answer's bytes out, beside the least that any
//! handler of JSON would do: parse the same bytes into values and write them out again.
//!
//! Criterion measures one after the other and gives the absolute figures. The table's ratios come
//! from rounds in which both take turns, so that a noisy neighbour disturbs both alike.

mod support;

use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use criterion::{Criterion, Throughput};
use serde_json::Value;
use sparkmesh::webhook::review::{Mesh, answer};
use sparkmesh_injection::facts::{MeshFacts, NamespaceFacts, PodSecurity};
use support::reviews;
use support::table::{self, Row, median};

/// The goal for every case, as a multiple of the limit.
const WITHIN: f64 = 1.5;
/// The goal for what a pod gains.
const BYTES: usize = 6 << 10;

fn main() {
    let mesh = mesh();
    let cases = cases();
    for case in &cases {
        case.check(&mesh);
    }
    let mut criterion = Criterion::default()
        .sample_size(50)
        .warm_up_time(Duration::from_secs(1))
        .measurement_time(Duration::from_secs(2))
        .configure_from_args();
    for case in &cases {
        let mut group = criterion.benchmark_group(case.name);
        group.throughput(Throughput::Bytes(case.body.len() as u64));
        group.bench_function("handler", |b| b.iter(|| answer(&case.body, &mesh)));
        group.bench_function("limit", |b| b.iter(|| limit(&case.body)));
        group.finish();
    }
    criterion.final_summary();
    table::print(&rows(&cases, &mesh));
}

struct Case {
    name: &'static str,
    body: Vec<u8>,
    /// Name and milliseconds of the fastest other injector, and how many times faster to be.
    rival: Option<(&'static str, f64, f64)>,
}

fn cases() -> [Case; 6] {
    let case = |name, review: &Value, rival| Case {
        name,
        body: reviews::bytes(review),
        rival,
    };
    [
        case("small pod", &reviews::small(), Some(("Kuma", 1.15, 20.0))),
        case("20 containers", &reviews::containers(20), None),
        case("20 variables", &reviews::variables(20), None),
        case("200 variables", &reviews::variables(200), None),
        case(
            "2,000 variables",
            &reviews::variables(2000),
            Some(("Kuma", 15.0, 30.0)),
        ),
        case("64 KiB of annotations", &reviews::annotations(), None),
    ]
}

fn mesh() -> Mesh {
    let namespace = NamespaceFacts {
        name: reviews::NAMESPACE.to_owned(),
        injection: true,
        pod_security: PodSecurity::Unset,
        openshift_uid_range: false,
    };
    let mut facts = MeshFacts::default();
    facts
        .namespaces
        .insert(namespace.name.clone(), Arc::new(namespace));
    Mesh {
        facts: Arc::new(facts),
        ..Mesh::default()
    }
}

fn limit(body: &[u8]) -> Vec<u8> {
    let value: Value = serde_json::from_slice(body).expect("JSON");
    serde_json::to_vec(&value).expect("a value serialises")
}

impl Case {
    /// The pod before and after.
    fn pods(&self, mesh: &Mesh) -> (Value, Value) {
        let review: Value = serde_json::from_slice(&self.body).expect("JSON");
        let before = review["request"]["object"].clone();
        let review: Value = serde_json::from_slice(&answer(&self.body, mesh).body).expect("JSON");
        let patch = review["response"]["patch"].as_str().expect("a patch");
        let patch = STANDARD.decode(patch).expect("base64");
        let patch: json_patch::Patch = serde_json::from_slice(&patch).expect("a JSON patch");
        let mut after = before.clone();
        json_patch::patch(&mut after, &patch).expect("the patch applies");
        (before, after)
    }

    /// Nothing is worth measuring that does not inject.
    fn check(&self, mesh: &Mesh) {
        let (_, after) = self.pods(mesh);
        let first = &after["spec"]["initContainers"][0]["name"];
        assert_eq!(first, "sparkmesh-init", "{}", self.name);
    }
}

fn rows(cases: &[Case], mesh: &Mesh) -> Vec<Row> {
    let mut rows = Vec::new();
    let mut handled = Vec::new();
    for case in cases {
        let [ours, limit, ratio] = in_turns(
            || drop(black_box(answer(&case.body, mesh))),
            || drop(black_box(limit(&case.body))),
        );
        handled.push(ours);
        rows.push(Row::new(
            format!("handler, {} ({} bytes)", case.name, case.body.len()),
            micros(ours),
            format!("{} parse and serialise", micros(limit)),
            format!("{ratio:.2}"),
            format!("<= {WITHIN}"),
        ));
        if let Some((rival, millis, goal)) = case.rival {
            rows.push(Row::new(
                format!("handler, {}, fastest rival", case.name),
                micros(ours),
                format!("{millis} ms {rival}, measured elsewhere"),
                format!("{:.0} x faster", millis / 1000.0 / ours),
                format!(">= {goal} x"),
            ));
        }
    }
    rows.push(linearity(&handled[2..5]));
    rows.extend(growth(&cases[0], mesh));
    rows
}

/// Seconds per call of each, and the ratio: medians over rounds in which both take turns.
fn in_turns(ours: impl Fn(), other: impl Fn()) -> [f64; 3] {
    let rounds = if support::is_measuring() { 400 } else { 2 };
    let calls = calls_in(Duration::from_millis(2), &other);
    let mut seconds = [Vec::new(), Vec::new(), Vec::new()];
    for _ in 0..rounds {
        let (a, b) = (timed(calls, &ours), timed(calls, &other));
        for (all, value) in seconds.iter_mut().zip([a, b, a / b]) {
            all.push(value);
        }
    }
    seconds.map(median)
}

/// How often `call` fits into `time`, roughly.
fn calls_in(time: Duration, call: &impl Fn()) -> u32 {
    call();
    let calls = time.as_secs_f64() / timed(3, call);
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // clamped just before
    let calls = calls.clamp(1.0, 10_000.0) as u32;
    calls
}

fn timed(calls: u32, call: &impl Fn()) -> f64 {
    let start = Instant::now();
    for _ in 0..calls {
        call();
    }
    start.elapsed().as_secs_f64() / f64::from(calls)
}

fn micros(seconds: f64) -> String {
    format!("{:.1} us", seconds * 1e6)
}

/// What a variable costs between 200 and 2,000 of them, beside between 20 and 200.
fn linearity(seconds: &[f64]) -> Row {
    let few = (seconds[1] - seconds[0]) / 180.0;
    let many = (seconds[2] - seconds[1]) / 1800.0;
    Row::new(
        "handler, each variable from 200 to 2,000",
        format!("{:.1} ns", many * 1e9),
        format!("{:.1} ns from 20 to 200", few * 1e9),
        format!("{:.2}", many / few),
        "1: linear",
    )
}

/// What the cluster's store pays for.
fn growth(case: &Case, mesh: &Mesh) -> [Row; 2] {
    let (before, after) = case.pods(mesh);
    let json = reviews::bytes(&after).len() - reviews::bytes(&before).len();
    let protobuf = stored(&after) - stored(&before);
    let row = |what: &str, bytes: usize| {
        #[allow(clippy::cast_precision_loss)] // a few thousand
        let ratio = bytes as f64 / BYTES as f64;
        Row::new(
            format!("bytes added to the {}, {what}", case.name),
            bytes.to_string(),
            format!("{BYTES} at most"),
            format!("{ratio:.2}"),
            "<= 1",
        )
    };
    [
        row("as JSON", json),
        row("as protobuf (estimate)", protobuf),
    ]
}

/// Bytes of a value in protobuf, where keys are numbers: its strings, and two bytes of tag and
/// length for each field. Keys of annotations are strings there, too.
fn stored(value: &Value) -> usize {
    match value {
        Value::Null => 0,
        Value::Bool(_) => 2,
        Value::Number(_) => 3,
        Value::String(text) => text.len() + 2,
        Value::Array(items) => items.iter().map(stored).sum(),
        Value::Object(fields) => {
            let one = |(key, value): (&String, &Value)| {
                let key = if key.contains('/') { key.len() + 4 } else { 0 };
                key + stored(value)
            };
            2 + fields.iter().map(one).sum::<usize>()
        }
    }
}
