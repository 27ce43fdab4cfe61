//! The `sparkmesh` command: parse, run, and turn the outcome into an exit code.

use std::process::ExitCode;

use clap::Parser;
use sparkmesh::cli::Cli;

fn main() -> ExitCode {
    match Cli::parse().run() {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
