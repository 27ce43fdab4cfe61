//! Logs: one line per event on stderr, JSON or text. What is worth a line is each module's.

use std::io::IsTerminal;

use anyhow::Context;
use clap::ValueEnum;
use tracing_appender::non_blocking::{NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::EnvFilter;

/// Lines that may wait for a slow reader of stderr; more are lost rather than waited for, since
/// whoever waits here keeps pods from being admitted.
const LINES_WAITING: usize = 8192;

/// How a long-running subcommand logs.
#[derive(Clone, Debug, clap::Args)]
pub struct LogArgs {
    /// Form of the log lines on stderr.
    #[arg(long, value_enum, default_value = "json", value_name = "FORMAT")]
    pub log_format: LogFormat,
    /// Least level that is logged (error, warn, info, debug, trace), or a filter such as
    /// `info,kube=debug`.
    #[arg(long, default_value = "info", value_name = "LEVEL")]
    pub log_level: String,
}

/// Form of the log lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// One JSON object per line, for machines.
    Json,
    /// Plain text, for people.
    Text,
}

/// Starts logging for the whole process. Lines still waiting are written when the guard drops.
pub fn start(args: &LogArgs) -> anyhow::Result<WorkerGuard> {
    let filter = EnvFilter::try_new(&args.log_level).with_context(|| {
        format!(
            "`--log-level {}` is no level; use error, warn, info, debug or trace",
            args.log_level
        )
    })?;
    let (writer, guard) = NonBlockingBuilder::default()
        .buffered_lines_limit(LINES_WAITING)
        .lossy(true)
        .finish(std::io::stderr());
    let lines = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(writer)
        .with_ansi(args.log_format == LogFormat::Text && std::io::stderr().is_terminal());
    let started = match args.log_format {
        LogFormat::Json => lines.json().flatten_event(true).try_init(),
        LogFormat::Text => lines.try_init(),
    };
    started.map_err(|error| anyhow::anyhow!("logging cannot start: {error}"))?;
    Ok(guard)
}
