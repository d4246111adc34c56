//! `openclaw-provisioner`: parses the command line and dispatches.

use std::process::ExitCode;

use clap::Parser;
use openclaw_provisioner::cli::Cli;

fn main() -> ExitCode {
    Cli::parse().run()
}
