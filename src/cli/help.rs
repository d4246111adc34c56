//! Completions for shells, and manual pages: both from the very definition of the command line.

use std::io::Write as _;
use std::path::PathBuf;

use anyhow::Context;
use clap::{Args, CommandFactory};
use clap_complete::Shell;

use super::Cli;

const NAME: &str = env!("CARGO_PKG_NAME");

/// `completions`.
#[derive(Debug, Args)]
pub(super) struct CompletionsArgs {
    /// Which shell
    shell: Shell,
}

/// `man`.
#[derive(Debug, Args)]
pub(super) struct ManArgs {
    /// Directory to write the pages to, one a command; it must be there
    #[arg(value_name = "DIRECTORY")]
    directory: PathBuf,
}

pub(super) fn completions(args: &CompletionsArgs) -> anyhow::Result<()> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), NAME, &mut script);
    // A reader that has had enough is none of our business, but no reason to panic either.
    std::io::stdout().write_all(&script).context("standard output")
}

pub(super) fn man(args: &ManArgs) -> anyhow::Result<()> {
    let directory = &args.directory;
    clap_mangen::generate_to(Cli::command(), directory).with_context(|| directory.display().to_string())
}
