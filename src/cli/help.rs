//! Completions for shells, manual pages and the OpenAPI document: each is generated from the definition that it describes.

use std::io::{ErrorKind, Write as _};
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
    /// Existing directory to write the pages to, one for each command
    #[arg(value_name = "DIRECTORY")]
    directory: PathBuf,
}

pub(super) fn completions(args: &CompletionsArgs) -> anyhow::Result<()> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), NAME, &mut script);
    print(&script)
}

pub(super) fn openapi() -> anyhow::Result<()> {
    let mut document = serde_json::to_vec_pretty(&crate::http::openapi_document())?;
    document.push(b'\n');
    print(&document)
}

/// Prints text. A reader that closes the pipe early is no error, and must not cause a panic.
fn print(text: &[u8]) -> anyhow::Result<()> {
    match std::io::stdout().write_all(text) {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        written => written.context("standard output"),
    }
}

pub(super) fn man(args: &ManArgs) -> anyhow::Result<()> {
    let directory = &args.directory;
    clap_mangen::generate_to(Cli::command(), directory).with_context(|| directory.display().to_string())
}
