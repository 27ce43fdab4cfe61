//! What people see. Colour is for terminals alone.

use std::fmt::Write as _;
use std::io::{IsTerminal as _, Stdout, Write as _};
use std::time::Duration;

use crate::injected::Injected;
use crate::pods::Group;
use crate::review::{Outcome, Reviewed};

const BOLD: &str = "1";
const GREEN: &str = "32";
const YELLOW: &str = "33";
const RED: &str = "31";

/// Writes to stdout as the demo goes on.
pub(crate) struct Report {
    out: Stdout,
    colour: bool,
}

impl Report {
    pub(crate) fn to_stdout() -> Report {
        let out = std::io::stdout();
        let colour = out.is_terminal() && std::env::var_os("NO_COLOR").is_none();
        Report { out, colour }
    }

    /// Where nobody reads on, the demo is still a check and goes through to its end.
    fn say(&self, text: &str) {
        let _ = writeln!(self.out.lock(), "{text}");
    }

    pub(crate) fn step(&self, title: &str) {
        self.say(&format!("\n{}", self.paint(BOLD, title)));
    }

    pub(crate) fn line(&self, text: &str) {
        self.say(&format!("  {text}"));
    }

    pub(crate) fn group(&self, group: &Group) {
        self.step(&format!("{} ({})", group.title, group.source));
        if !group.unreviewed.is_empty() {
            self.line(&format!(
                "no review, since no pod is in them: {}",
                group.unreviewed.join(", ")
            ));
        }
    }

    /// One pod; `before` is the pod shown last, which need not be told twice.
    pub(crate) fn reviewed(&self, reviewed: &Reviewed, before: Option<&Reviewed>) {
        let title = self.paint(BOLD, &reviewed.title);
        self.say(&format!("\n  {title}, created {}", reviewed.origin));
        self.item("decision", &self.decision(&reviewed.outcome));
        match &reviewed.outcome {
            Outcome::Injected(injected) => {
                let same = before.is_some_and(
                    |before| matches!(&before.outcome, Outcome::Injected(other) if other == injected),
                );
                if same {
                    self.item("added", "the same as to the pod before");
                } else {
                    self.injected(injected);
                }
                self.item("second pass", "already injected, nothing to change");
            }
            Outcome::Skipped { message, .. } => self.item("why", message),
            Outcome::Rejected { message, .. } => {
                for problem in message.trim_start_matches("sparkmesh: ").split(" | ") {
                    self.item("why", problem);
                }
            }
        }
        let (round_trip, in_webhook) = (spoken(reviewed.round_trip), spoken(reviewed.in_webhook));
        self.item(
            "took",
            &format!("{round_trip}, {in_webhook} of it in the webhook"),
        );
    }

    fn injected(&self, injected: &Injected) {
        self.item(
            "containers",
            &format!("+ {}", injected.containers.join(", ")),
        );
        self.item("volumes", &format!("+ {}", injected.volumes.join(", ")));
        self.item("HTTP ports", &ports(injected));
        for (place, before, after) in &injected.probes {
            self.item("probe", &format!("{place}: {before}, now {after}"));
        }
        let (before, after) = (injected.bytes_before, injected.bytes_after);
        self.item("bytes", &format!("{before} + {} = {after}", after - before));
    }

    fn item(&self, what: &str, text: &str) {
        self.say(&format!("    {what:<13}{text}"));
    }

    fn decision(&self, outcome: &Outcome) -> String {
        match outcome {
            Outcome::Injected(injected) => {
                self.paint(GREEN, &format!("injected, role {}", injected.role))
            }
            Outcome::Skipped { reason, .. } => self.paint(YELLOW, &format!("skipped, {reason}")),
            Outcome::Rejected { reasons, .. } => self.paint(RED, &format!("refused, {reasons}")),
        }
    }

    /// All pods, a line each.
    pub(crate) fn table(&self, all: &[Reviewed]) {
        let width = all
            .iter()
            .map(|reviewed| reviewed.title.len())
            .max()
            .unwrap_or(0);
        let heading = format!(
            "{:<width$}  {:<9} {:<27} {:<11} {:>7} {:>11} {:>9}",
            "POD", "DECISION", "ROLE OR REASON", "HTTP PORTS", "BYTES", "ROUND TRIP", "WEBHOOK"
        );
        self.line(&self.paint(BOLD, &heading));
        for reviewed in all {
            let (decision, colour, why, ports, bytes) = match &reviewed.outcome {
                Outcome::Injected(injected) => (
                    "injected",
                    GREEN,
                    &injected.role,
                    ports(injected),
                    format!("+{}", injected.bytes_after - injected.bytes_before),
                ),
                Outcome::Skipped { reason, .. } => {
                    ("skipped", YELLOW, reason, "-".to_owned(), "0".to_owned())
                }
                Outcome::Rejected { reasons, .. } => {
                    ("refused", RED, reasons, "-".to_owned(), "-".to_owned())
                }
            };
            let mut line = format!("{:<width$}  ", reviewed.title);
            line += &self.paint(colour, &format!("{decision:<9}"));
            let (round_trip, webhook) = (spoken(reviewed.round_trip), spoken(reviewed.in_webhook));
            write!(
                line,
                " {why:<27} {ports:<11} {bytes:>7} {round_trip:>11} {webhook:>9}"
            )
            .expect("writing to a String cannot fail");
            self.line(&line);
        }
        self.say("");
    }

    pub(crate) fn done(&self, pods: usize) {
        let text = format!("demo: {pods} pods, every answer as expected");
        self.say(&format!("\n{}", self.paint(GREEN, &text)));
    }

    fn paint(&self, code: &str, text: &str) -> String {
        if self.colour {
            format!("\u{1b}[{code}m{text}\u{1b}[0m")
        } else {
            text.to_owned()
        }
    }
}

fn ports(injected: &Injected) -> String {
    if injected.http_ports.is_empty() {
        return "none".to_owned();
    }
    let ports: Vec<String> = injected.http_ports.iter().map(u64::to_string).collect();
    ports.join(", ")
}

fn spoken(took: Duration) -> String {
    format!("{:.2} ms", took.as_secs_f64() * 1000.0)
}
