//! The programs that read and write the kernel's tables, and what they answer.
//!
//! There are two formats of tables side by side in the kernel, nf_tables and legacy, each with
//! programs of its own; a distribution calls one of them plain `iptables`. Which to use is
//! decided in [`super::program`].

use std::env;
use std::fmt;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};

use sparkmesh_injection::redirect::{Family, NatTable, holds_rules};

/// Legacy iptables takes a lock on a file, `/run/xtables.lock` if not told otherwise, which a
/// read-only root file system does not let it create. The namespace's own file is always there,
/// and what it stands for is just what has to be locked.
const LOCK_FILE: (&str, &str) = ("XTABLES_LOCKFILE", "/proc/self/ns/net");

/// How long to wait for that lock.
const LOCK_SECONDS: &str = "30";

/// A format of tables in the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    NfTables,
    Legacy,
}

impl Format {
    const ALL: [Format; 2] = [Format::NfTables, Format::Legacy];

    fn infix(self) -> &'static str {
        match self {
            Format::NfTables => "nft",
            Format::Legacy => "legacy",
        }
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Format::NfTables => "nf_tables",
            Format::Legacy => "legacy iptables",
        })
    }
}

/// The pair of programs for one address family and one format.
#[derive(Debug)]
pub(super) struct Tool {
    pub(super) format: Format,
    restore: PathBuf,
    save: PathBuf,
}

/// What stands in the tables of one family and format.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) nat: NatTable,
    /// Whether any table, `nat` or other, holds a rule.
    pub(super) rules: bool,
}

/// A program did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub(super) enum ToolError {
    #[error("{} could not be run: {source}", program.display())]
    Run { program: PathBuf, source: io::Error },
    #[error("{} ended with {status}: {stderr}", program.display())]
    Failed {
        program: PathBuf,
        status: ExitStatus,
        stderr: String,
    },
}

/// The base name of the programs of an address family.
pub(super) fn program_name(family: Family) -> &'static str {
    match family {
        Family::V4 => "iptables",
        Family::V6 => "ip6tables",
    }
}

impl Tool {
    /// The tools on PATH for an address family: at most one for each format, nf_tables first.
    pub(super) fn find(family: Family) -> Vec<Tool> {
        let named = |format: Format| {
            let prefix = format!("{}-{}", program_name(family), format.infix());
            Tool::of(format, &prefix)
        };
        let plain = |format| {
            let tool = Tool::of(format, program_name(family))?;
            let version = run(&tool.restore, &["--version"], "").ok()?;
            // Versions before 1.8 knew one format and did not name it.
            let found = if version.contains("nf_tables") {
                Format::NfTables
            } else {
                Format::Legacy
            };
            (found == format).then_some(tool)
        };
        let formats = Format::ALL.into_iter();
        formats
            .filter_map(|format| named(format).or_else(|| plain(format)))
            .collect()
    }

    fn of(format: Format, prefix: &str) -> Option<Tool> {
        Some(Tool {
            format,
            restore: on_path(&format!("{prefix}-restore"))?,
            save: on_path(&format!("{prefix}-save"))?,
        })
    }

    /// What stands in the tables. No table is named, for to name one would create it where the
    /// format is legacy.
    pub(super) fn found(&self) -> Result<Found, ToolError> {
        let saved = run(&self.save, &[], "")?;
        Ok(Found {
            nat: NatTable::parse(&saved),
            rules: holds_rules(&saved),
        })
    }

    /// The `nat` table as it stands.
    pub(super) fn nat(&self) -> Result<NatTable, ToolError> {
        run(&self.save, &["-t", "nat"], "").map(|saved| NatTable::parse(&saved))
    }

    /// Carries the input out in one transaction, all of it or nothing.
    pub(super) fn restore(&self, input: &str) -> Result<(), ToolError> {
        run(&self.restore, &["--noflush", "--wait", LOCK_SECONDS], input).map(drop)
    }
}

fn on_path(program: &str) -> Option<PathBuf> {
    let folders = env::var_os("PATH")?;
    env::split_paths(&folders)
        .map(|folder| folder.join(program))
        .find(|path| path.is_file())
}

fn run(program: &Path, arguments: &[&str], input: &str) -> Result<String, ToolError> {
    let failed_to_run = |source| ToolError::Run {
        program: program.to_owned(),
        source,
    };
    let mut child = Command::new(program)
        .args(arguments)
        .env(LOCK_FILE.0, LOCK_FILE.1)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(failed_to_run)?;
    if let Some(mut stdin) = child.stdin.take() {
        // A program that ends before it has read everything says why by itself.
        let _ = stdin.write_all(input.as_bytes());
    }
    let output = child.wait_with_output().map_err(failed_to_run)?;
    if output.status.success() {
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    } else {
        let stderr = String::from_utf8_lossy(&output.stderr);
        let lines: Vec<&str> = stderr.lines().map(str::trim).collect();
        Err(ToolError::Failed {
            program: program.to_owned(),
            status: output.status,
            stderr: lines.join(" "),
        })
    }
}
