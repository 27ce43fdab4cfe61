//! `make demo`: the real webhook, on this machine alone, asked about the pods in `examples/`.
//!
//! It shows what each pod gets and why, and is a check as well: it fails when an answer is not the
//! one expected. It needs no cluster and no root, and leaves nothing behind.

mod injected;
mod pods;
mod report;
mod review;
mod webhook;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, ensure};

use pods::Group;
use report::Report;
use review::{Client, Outcome, Reviewed};
use webhook::{Files, Webhook};

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    match demo().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("\ndemo: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn demo() -> anyhow::Result<()> {
    let repository = Path::new(env!("CARGO_MANIFEST_DIR"));
    let program = program()?;
    let groups = pods::groups(repository)?;
    let report = Report::to_stdout();

    report.step("certificates");
    let files = Files::make(repository)?;
    report.line(&format!(
        "a development CA and a serving pair for 127.0.0.1, by certs/dev.sh, in {}",
        files.folder().display()
    ));

    report.step("webhook");
    let mut webhook = Webhook::start(&program, &files).await?;
    let result = ask(&webhook, &program, &files, &groups, &report).await;
    let reviewed = webhook.explained(result)?;

    report.step("summary");
    report.table(&reviewed);
    webhook.explained(count(&webhook, &reviewed).await)?;
    report.line(
        "times are of development builds on this machine: `make bench` measures release builds",
    );
    report.line("metrics: the webhook has counted the same reviews");

    let status = webhook.terminate().await?;
    ensure!(
        status.success(),
        "the webhook ended with {status} after SIGTERM, not with exit code 0"
    );
    report.line("SIGTERM: the webhook ended with exit code 0");
    report.done(reviewed.len());
    Ok(())
}

async fn ask(
    webhook: &Webhook,
    program: &Path,
    files: &Files,
    groups: &[Group],
    report: &Report,
) -> anyhow::Result<Vec<Reviewed>> {
    report.line(webhook.command_line());
    report.line(&format!(
        "ready on https://{}, process {}",
        webhook.listen(),
        webhook.id()
    ));
    let client = Client::new(webhook.listen(), files)?;
    report.line(&client.connection().await?);
    report.line(&client.outdated_is_refused().await?);

    let mut all = Vec::new();
    for group in groups {
        report.group(group);
        for case in &group.cases {
            let reviewed = client.review(case, webhook, program, files).await?;
            report.reviewed(&reviewed, all.last());
            all.push(reviewed);
        }
    }
    Ok(all)
}

/// What the webhook says that it counted must be what it was asked.
async fn count(webhook: &Webhook, reviewed: &[Reviewed]) -> anyhow::Result<()> {
    let metrics = webhook.metrics().await?;
    let number = |of: fn(&Outcome) -> bool| reviewed.iter().filter(|r| of(&r.outcome)).count();
    let injected = number(|outcome| matches!(outcome, Outcome::Injected(_)));
    let skipped = number(|outcome| matches!(outcome, Outcome::Skipped { .. }));
    let rejected = number(|outcome| matches!(outcome, Outcome::Rejected { .. }));
    // Each injected pod was asked about twice.
    let expected = [
        ("inject", injected),
        ("skip", skipped + injected),
        ("reject", rejected),
    ];
    for (outcome, number) in expected {
        let line = format!("sparkmesh_webhook_reviews_total{{outcome=\"{outcome}\"}} {number}");
        ensure!(
            metrics.lines().any(|found| found == line),
            "the webhook's metrics have no line `{line}`"
        );
    }
    Ok(())
}

/// The binary that was built beside this program.
fn program() -> anyhow::Result<PathBuf> {
    let this = std::env::current_exe().context("where this program is cannot be told")?;
    let folder = this.parent().and_then(Path::parent);
    let program = folder.unwrap_or(Path::new(".")).join("sparkmesh");
    ensure!(
        program.is_file(),
        "{} is not there. Run `make demo`, which builds it first",
        program.display()
    );
    Ok(program)
}
