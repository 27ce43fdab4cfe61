//! `sparkmesh init`: programs a pod's redirection, from inside the pod and before anything else
//! of it runs.
//!
//! What the rules are is decided in `sparkmesh_injection::redirect`; here they are put into the
//! kernel and read back. Whatever is in doubt is refused: a pod that does not start is seen, one
//! whose traffic slips past its proxy is not.

mod arguments;
mod netfilter;
mod pod;
mod program;

use std::io::{self, ErrorKind, Write};
use std::process::ExitCode;

use anyhow::Context;
use sparkmesh_injection::redirect::{Family, NatTable, RedirectPlan};

pub use arguments::Args;
use pod::Pod;

/// Programs the redirection, or prints it with `--dry-run`.
pub fn run(args: Args) -> anyhow::Result<ExitCode> {
    let dry_run = args.dry_run;
    let plan = args.into_plan();
    if dry_run {
        print_rules(&plan)?;
    } else {
        let pod = Pod::observe()?;
        for family in Family::ALL {
            let outcome = program::family(&plan, family, &pod)
                .with_context(|| format!("{family} is not redirected"))?;
            log(&format!("{family}: {outcome}"));
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn print_rules(plan: &RedirectPlan) -> anyhow::Result<()> {
    let texts = Family::ALL.map(|family| {
        let rules = plan.rules(family).restore_input(&NatTable::default());
        format!("# {family}\n{rules}")
    });
    match io::stdout().write_all(texts.concat().as_bytes()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => {
            Err(error).context("the rules could not be printed")
        }
        _ => Ok(()),
    }
}

fn log(line: &str) {
    // The redirection is in place whether or not anybody can be told.
    let _ = writeln!(io::stderr(), "{line}");
}
