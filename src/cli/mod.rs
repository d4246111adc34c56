//! The command line: one command for each role of the executable.

mod codex_login;
mod containers;
#[cfg(feature = "emulator")]
mod dev;
mod doctor;
mod egress;
mod healthcheck;
mod help;
mod lines;
mod logs;
#[cfg(feature = "emulator")]
mod seed;
mod serve;
mod server;
mod traces;
mod version;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Heading in `--help` of the settings that commands on containers share with `serve`; a command's own options come first.
const SETTINGS: &str = "Settings, as those of serve";

/// Gives every user of a web app a private, always-on OpenClaw container on AWS ECS Fargate.
#[derive(Debug, Parser)]
#[command(version, about, max_term_width = 110)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve the HTTP API against AWS
    Serve(Box<serve::ServeArgs>),
    /// Serve the HTTP API against an embedded AWS emulator: no account, no Docker, no configuration
    #[cfg(feature = "emulator")]
    Dev(Box<dev::DevArgs>),
    /// Check openclaw-version.json, the settings and the resources that they name; with --egress also the network path to ChatGPT
    Doctor(Box<doctor::DoctorArgs>),
    /// Check that the service on this machine is alive: for a container's health check
    Healthcheck(healthcheck::HealthcheckArgs),
    /// Show what is known about OpenClaw releases
    Version(version::VersionArgs),
    /// Print the OpenAPI document of the HTTP API, as `/openapi.json` serves it
    Openapi,
    /// Print completions for a shell, to load from its start file
    Completions(help::CompletionsArgs),
    /// Write manual pages
    Man(help::ManArgs),
    #[command(flatten)]
    Container(Box<containers::ContainerCommand>),
    /// Print, or run, the command that signs a user in from inside their container through ECS Exec
    CodexLogin(Box<codex_login::CodexLoginArgs>),
}

impl Cli {
    /// Runs the command. Exit codes: 0 done, 1 failed, 2 wrong usage, 3 not found, 4 timed out.
    #[must_use]
    pub fn run(self) -> ExitCode {
        let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
            Ok(runtime) => runtime,
            Err(error) => return failed(&error.into()),
        };
        let result = runtime.block_on(async {
            match self.command {
                Command::Serve(args) => serve::run(*args).await.map(|()| ExitCode::SUCCESS),
                #[cfg(feature = "emulator")]
                Command::Dev(args) => dev::run(*args).await.map(|()| ExitCode::SUCCESS),
                Command::Doctor(args) => doctor::run(*args).await,
                Command::Healthcheck(args) => healthcheck::run(args).await.map(|()| ExitCode::SUCCESS),
                Command::Version(args) => version::run(args).map(|()| ExitCode::SUCCESS),
                Command::Openapi => help::openapi().map(|()| ExitCode::SUCCESS),
                Command::Completions(args) => help::completions(&args).map(|()| ExitCode::SUCCESS),
                Command::Man(args) => help::man(&args).map(|()| ExitCode::SUCCESS),
                Command::Container(command) => containers::run(*command).await,
                Command::CodexLogin(args) => codex_login::run(*args).await.map(|()| ExitCode::SUCCESS),
            }
        });
        // A file operation that a hanging NFS server never answers must not keep the process from exiting.
        runtime.shutdown_timeout(std::time::Duration::from_secs(2));
        result.unwrap_or_else(|error| failed(&error))
    }
}

/// An error in arguments or standard input that clap cannot find.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct WrongInput(String);

impl WrongInput {
    fn of(error: &anyhow::Error) -> anyhow::Error {
        Self(format!("{error:#}")).into()
    }
}

#[expect(clippy::print_stderr, reason = "a command line program prints its last error to the terminal")]
fn failed(error: &anyhow::Error) -> ExitCode {
    eprintln!("error: {error:#}");
    if error.is::<WrongInput>() { ExitCode::from(2) } else { ExitCode::FAILURE }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    #[test]
    fn the_command_line_holds_together() {
        super::Cli::command().debug_assert();
    }
}
