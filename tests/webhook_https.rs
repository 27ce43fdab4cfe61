//! The real binary over real HTTPS: renewal under load, misfits kept out, hostile clients, the end.

mod support;

use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use serde_json::Value;
use support::certificates::Authority;
use support::client::{allowed, connect, outdated, reconnecting, review, trusting};
use support::process::{Files, Webhook};
use support::{CONFIG, eventually};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// DER of the certificate that a new connection is served with.
async fn served(webhook: &Webhook, authority: &str) -> Vec<u8> {
    let stream = connect(webhook.listen, authority).await;
    let chain = stream.get_ref().1.peer_certificates().expect("verified");
    chain[0].to_vec()
}

/// Writes `request` on a fresh connection and gives the answer's head and body so far.
async fn raw(webhook: &Webhook, authority: &str, request: &str) -> String {
    let mut stream = connect(webhook.listen, authority).await;
    stream.write_all(request.as_bytes()).await.expect("written");
    let mut answer = vec![0; 4096];
    let length = stream.read(&mut answer).await.expect("an answer");
    String::from_utf8_lossy(&answer[..length]).into_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn renewal_under_load_fails_no_request_and_each_new_pair_is_served() {
    let files = Files::new();
    let webhook = files.start().await;
    let stop = Arc::new(AtomicBool::new(false));
    let done = Arc::new(AtomicUsize::new(0));
    let clients = (0..4).map(|number| {
        let client = match number % 2 {
            0 => reconnecting(&files.authority.pem),
            _ => trusting(&files.authority.pem),
        };
        let (stop, done, listen) = (stop.clone(), done.clone(), webhook.listen);
        tokio::spawn(async move {
            while !stop.load(Ordering::Relaxed) {
                assert!(allowed(&client, listen, "team").await.expect("answered"));
                done.fetch_add(1, Ordering::Relaxed);
            }
        })
    });
    let clients: Vec<_> = clients.collect();
    let mut last = served(&webhook, &files.authority.pem).await;
    for _ in 0..5 {
        files.swap_pair(&files.authority.issue());
        last = eventually("the new certificate is served", async || {
            let now = served(&webhook, &files.authority.pem).await;
            (now != last).then_some(now)
        })
        .await;
    }
    stop.store(true, Ordering::Relaxed);
    for client in clients {
        client.await.expect("no request failed");
    }
    assert!(done.load(Ordering::Relaxed) > 20, "too little load to tell");
    let taken = "sparkmesh_webhook_reloads_total{subject=\"certificate\",outcome=\"taken\"}";
    webhook.metric_reaches(taken, 5).await;
}

#[tokio::test]
async fn a_pair_that_cannot_be_used_is_kept_out_and_counted_by_reason() {
    let files = Files::new();
    let webhook = files.start().await;
    let expiry = "sparkmesh_webhook_certificate_expiry_timestamp_seconds";
    let (first, expires) = (
        served(&webhook, &files.authority.pem).await,
        webhook.metric(expiry).await,
    );
    assert!(expires > 4_000_000_000, "a certificate of 2120: {expires}");
    let good = files.authority.issue();
    let mut mismatch = good.clone();
    mismatch.key = files.authority.issue().key;
    let mut garbage = good.clone();
    garbage.certificate = "no PEM".to_owned();
    let misfits = [
        (files.authority.issue_expired(), "expired"),
        (mismatch, "mismatch"),
        (garbage, "certificate"),
    ];
    for (pair, reason) in misfits {
        files.swap_pair(&pair);
        let line = format!(
            "sparkmesh_webhook_reloads_total{{subject=\"certificate\",outcome=\"{reason}\"}}"
        );
        webhook.metric_reaches(&line, 1).await;
        assert_eq!(
            served(&webhook, &files.authority.pem).await,
            first,
            "{reason}"
        );
        assert_eq!(webhook.metric(expiry).await, expires, "{reason}");
        // It is looked at every 50 ms, but counted and said once.
        tokio::time::sleep(std::time::Duration::from_millis(300)).await;
        assert_eq!(webhook.metric(&line).await, 1, "{reason}");
        let said = |line: &&Value| line["level"] == "ERROR" && line["reason"] == reason;
        assert_eq!(webhook.log().iter().filter(said).count(), 1, "{reason}");
    }
    assert_eq!(webhook.admin("/readyz").await.0, 200);
    files.swap_pair(&good);
    eventually("the next good pair is served", async || {
        (served(&webhook, &files.authority.pem).await != first).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_configuration_with_a_typo_is_refused_at_start_and_kept_out_later() {
    let files = Files::new();
    let typo = format!("{CONFIG}tpyo: true\n");
    let webhook = files.start().await;
    files.config.swap(&[("config.yaml", &typo)]);
    let line = "sparkmesh_webhook_reloads_total{subject=\"configuration\",outcome=\"invalid\"}";
    webhook.metric_reaches(line, 1).await;
    let client = trusting(&files.authority.pem);
    assert!(
        allowed(&client, webhook.listen, "team")
            .await
            .expect("answered")
    );

    let refused = files.refused(&[]);
    let error = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert_eq!(refused.status.code(), Some(1), "{error}");
    let number = typo.lines().count();
    assert!(
        error.contains("tpyo") && error.contains(&format!("line {number}, column 1")),
        "{error}"
    );

    files
        .config
        .swap(&[("config.yaml", &format!("{CONFIG}# the same again\n"))]);
    eventually("the log says what was wrong", async || {
        let log = webhook.log();
        let said = log
            .iter()
            .any(|line| line["error"].to_string().contains("tpyo"));
        said.then_some(())
    })
    .await;
}

#[tokio::test]
async fn what_keeps_it_from_starting_is_one_clear_error() {
    let files = Files::new();
    let error = |more: &[&str]| {
        let refused = files.refused(more);
        assert_eq!(refused.status.code(), Some(1));
        let error = String::from_utf8(refused.stderr).expect("text");
        assert_eq!(error.lines().count(), 1, "{error}");
        error
    };
    let holder = TcpListener::bind("127.0.0.1:0").expect("a port");
    let taken = holder.local_addr().expect("bound").to_string();
    for flag in ["--listen", "--admin-listen"] {
        let error = error(&[flag, &taken]);
        assert!(error.contains(&taken) && error.contains(flag), "{error}");
        assert!(error.contains("another process has the port"), "{error}");
    }
    let level = error(&["--log-level", "sparkmesh=loud"]);
    assert!(level.contains("loud"), "{level}");
    for flag in ["--config", "--tls-cert", "--tls-key", "--from-files"] {
        let error = error(&[flag, "/no/such/place"]);
        assert!(
            error.contains("/no/such/place") && error.contains(flag),
            "{error}"
        );
    }
    files.swap_pair(&files.authority.issue_expired());
    let expired = error(&[]);
    assert!(expired.contains("expired at 2021-01-01"), "{expired}");
    assert!(expired.contains("--tls-cert"), "{expired}");
}

#[tokio::test]
async fn handshakes_that_fail_are_counted_by_reason() {
    let files = Files::new();
    let webhook = files.start().await;
    let counted = |reason: &str| {
        format!("sparkmesh_webhook_tls_handshake_failures_total{{reason=\"{reason}\"}}")
    };
    let old = outdated(&files.authority.pem);
    allowed(&old, webhook.listen, "team")
        .await
        .expect_err("TLS 1.2");
    webhook.metric_reaches(&counted("version"), 1).await;

    let stranger = trusting(&Authority::new().pem);
    allowed(&stranger, webhook.listen, "team")
        .await
        .expect_err("untrusted");
    webhook.metric_reaches(&counted("client-alert"), 1).await;

    let mut plain = TcpStream::connect(webhook.listen).await.expect("connected");
    plain
        .write_all(b"POST /inject HTTP/1.1\r\nHost: x\r\n\r\n")
        .await
        .expect("written");
    webhook.metric_reaches(&counted("not-tls"), 1).await;

    drop(TcpStream::connect(webhook.listen).await.expect("connected"));
    webhook.metric_reaches(&counted("closed"), 1).await;

    let client = trusting(&files.authority.pem);
    assert!(
        allowed(&client, webhook.listen, "team")
            .await
            .expect("answered")
    );
    webhook
        .metric_reaches("sparkmesh_webhook_connections", 1)
        .await;
}

#[tokio::test]
async fn half_open_connections_and_slow_bodies_block_nobody() {
    let files = Files::new();
    let webhook = files.start().await;
    let mut silent = Vec::new();
    for _ in 0..100 {
        silent.push(TcpStream::connect(webhook.listen).await.expect("connected"));
    }
    let mut slow = Vec::new();
    for _ in 0..50 {
        let mut stream = connect(webhook.listen, &files.authority.pem).await;
        let head = "POST /inject HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n\
                    Content-Length: 100\r\n\r\n{";
        stream.write_all(head.as_bytes()).await.expect("written");
        slow.push(stream);
    }
    webhook
        .metric_reaches("sparkmesh_webhook_requests_in_flight", 50)
        .await;
    let client = reconnecting(&files.authority.pem);
    for _ in 0..20 {
        assert!(
            allowed(&client, webhook.listen, "team")
                .await
                .expect("answered")
        );
    }
    assert_eq!(
        webhook.metric("sparkmesh_webhook_requests_in_flight").await,
        50
    );
    for mut stream in slow {
        let mut answer = String::new();
        // The connection is closed without a farewell, which counts as an error here.
        let _ = stream.read_to_string(&mut answer).await;
        assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
    }
    let refused = "sparkmesh_webhook_refusals_total{reason=\"slow\"}";
    webhook.metric_reaches(refused, 50).await;
    let timed_out = "sparkmesh_webhook_tls_handshake_failures_total{reason=\"timeout\"}";
    webhook.metric_reaches(timed_out, 100).await;
}

#[tokio::test]
async fn wrong_methods_and_bodies_are_answered_over_the_wire() {
    let files = Files::new();
    let webhook = files.start().await;
    let client = trusting(&files.authority.pem);
    let url = format!("https://{}/inject", webhook.listen);

    let get = client.get(&url).send().await.expect("answered");
    assert_eq!(
        (get.status().as_u16(), &get.headers()["allow"]),
        (405, &"POST".parse().expect("text"))
    );
    let connected = raw(
        &webhook,
        &files.authority.pem,
        "CONNECT example.org:443 HTTP/1.1\r\nHost: example.org:443\r\n\r\n",
    )
    .await;
    assert!(connected.starts_with("HTTP/1.1 405 "), "{connected}");
    let garbage = raw(&webhook, &files.authority.pem, "no HTTP at all\r\n\r\n").await;
    assert!(garbage.starts_with("HTTP/1.1 400 "), "{garbage}");

    let large = "x".repeat(8 << 20);
    let sized = client
        .post(&url)
        .header("content-type", "application/json")
        .body(large.clone());
    let sized = sized
        .send()
        .await
        .expect("answered, although it was still writing");
    assert_eq!(sized.status().as_u16(), 413);
    assert!(sized.text().await.expect("text").contains("4194304 bytes"));

    let mut stream = connect(webhook.listen, &files.authority.pem).await;
    let head = "POST /inject HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n\
                Transfer-Encoding: chunked\r\n\r\n";
    stream.write_all(head.as_bytes()).await.expect("written");
    let chunk = format!("{:x}\r\n{large}\r\n0\r\n\r\n", large.len());
    stream.write_all(chunk.as_bytes()).await.expect("written");
    let mut answer = vec![0; 4096];
    let length = stream.read(&mut answer).await.expect("an answer");
    let answer = String::from_utf8_lossy(&answer[..length]);
    assert!(answer.starts_with("HTTP/1.1 413 "), "{answer}");

    let too_large = "sparkmesh_webhook_refusals_total{reason=\"too-large\"}";
    assert_eq!(webhook.metric(too_large).await, 2);
}

#[tokio::test]
async fn facts_in_files_are_followed_and_a_mistake_changes_nothing() {
    let files = Files::new();
    let webhook = files.start().await;
    let client = trusting(&files.authority.pem);
    assert!(
        !allowed(&client, webhook.listen, "late")
            .await
            .expect("answered")
    );

    let file = files.facts.path().join("late.yaml");
    std::fs::write(&file, "apiVersion: v1\nkind: Namespace\nmetadata: [\n").expect("written");
    webhook
        .metric_reaches("sparkmesh_facts_refused_total{subject=\"facts\"}", 1)
        .await;
    assert!(
        allowed(&client, webhook.listen, "team")
            .await
            .expect("answered")
    );

    let late = "apiVersion: v1\nkind: Namespace\n\
                metadata: {name: late, labels: {sparkmesh.dev/injection: enabled}}\n";
    std::fs::write(&file, late).expect("written");
    eventually("the new namespace is known", async || {
        let now = allowed(&client, webhook.listen, "late")
            .await
            .expect("answered");
        now.then_some(())
    })
    .await;
}

#[tokio::test]
async fn each_decision_is_one_line_of_the_log_without_the_object() {
    let files = Files::new();
    let webhook = files.start().await;
    let client = trusting(&files.authority.pem);
    assert!(
        allowed(&client, webhook.listen, "team")
            .await
            .expect("answered")
    );
    let line = eventually("the line is there", async || {
        let mut log = webhook.log().into_iter();
        log.find(|line| line["message"] == "review")
    })
    .await;
    assert_eq!(line["uid"], review("team")["request"]["uid"]);
    assert_eq!(
        (&line["namespace"], &line["outcome"]),
        (&"team".into(), &"inject".into())
    );
    assert!(
        line["took_us"].is_u64() && line["name"] == "worker",
        "{line}"
    );
    assert!(!line.to_string().contains("example.org/spark"), "{line}");
}

#[tokio::test]
async fn sigterm_ends_readiness_at_once_and_requests_under_way_in_peace() {
    let files = Files::new();
    let mut webhook = files.start().await;
    let client = trusting(&files.authority.pem);
    assert!(
        allowed(&client, webhook.listen, "team")
            .await
            .expect("answered")
    );

    let mut stream = connect(webhook.listen, &files.authority.pem).await;
    let body = review("team").to_string();
    let head = format!(
        "POST /inject HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n\
         Content-Length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes()).await.expect("written");
    webhook
        .metric_reaches("sparkmesh_webhook_requests_in_flight", 1)
        .await;

    webhook.terminate();
    let reason = eventually("readiness ends", async || {
        let (status, body) = webhook.admin("/readyz").await;
        (status == 503).then_some(body)
    })
    .await;
    assert!(reason.contains("stopping"), "{reason}");
    assert_eq!(webhook.admin("/livez").await.0, 200);
    // The API server may not have heard of it yet.
    assert!(
        allowed(&client, webhook.listen, "team")
            .await
            .expect("answered")
    );

    eventually("no new connection is taken", async || {
        TcpStream::connect(webhook.listen)
            .await
            .is_err()
            .then_some(())
    })
    .await;
    stream.write_all(body.as_bytes()).await.expect("written");
    let mut answer = String::new();
    let _ = stream.read_to_string(&mut answer).await;
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    assert!(answer.contains("\"allowed\":true"), "{answer}");
    assert_eq!(webhook.ended().await.code(), Some(0));
}
