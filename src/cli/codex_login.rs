//! `codex-login`: prints or runs the command that signs a user in from inside their container.

use std::os::unix::process::CommandExt;
use std::process::Command;

use anyhow::{Context, bail, ensure};
use clap::Args;
use openclaw::{Invalid, NativeLogin, Provider, native_login_command, shell_quoted};
use serde::Serialize;

use super::SETTINGS;
use super::logs::{LogArgs, LogFormat};
use crate::aws::{self, Aws, Ecs, ListedTasks};
use crate::config::{AwsArgs, CoordinatesArgs, Source};
use crate::domain::service::{Service, ServiceStatus, Task};
use crate::domain::{CurrentDefinition, UserId};
use crate::metrics::Metrics;

/// `codex-login`.
#[derive(Debug, Args)]
pub(super) struct CodexLoginArgs {
    /// User id
    #[arg(long, value_name = "ID", value_parser = user_id)]
    user: UserId,
    /// Run the command instead of printing it; needs the AWS CLI with its session-manager-plugin, and a terminal
    #[arg(long, conflicts_with = "json")]
    run: bool,
    /// Print one JSON object; its "command" is the one to run inside the container
    #[arg(long)]
    json: bool,
    #[command(flatten, next_help_heading = SETTINGS)]
    coordinates: CoordinatesArgs,
    #[command(flatten, next_help_heading = SETTINGS)]
    aws: AwsArgs,
    #[command(flatten, next_help_heading = SETTINGS)]
    logs: LogArgs,
}

/// The parameters of ExecuteCommand, and the directory of the sign-in.
#[derive(Debug, Serialize)]
struct Login {
    cluster: String,
    task: String,
    container: String,
    command: String,
    codex_home: String,
}

#[expect(clippy::print_stdout, reason = "the command is this command's output")]
pub(super) async fn run(args: CodexLoginArgs) -> anyhow::Result<()> {
    let _exports_nothing = args.logs.start(LogFormat::Text)?;
    let config = aws::load(args.aws.timeouts()).await;
    ensure!(config.region().is_some(), "no AWS region: set AWS_REGION");
    let aws = Aws::new(&config, &args.aws.limits.share(), &Metrics::default());
    let source = Source { args: args.coordinates, ssm: aws.ssm.clone() };
    let at = source.read().await.map_err(anyhow::Error::msg).context("settings")?;
    let login = find(&aws.ecs, &at.cluster, &args.user).await?;
    if args.run {
        return Err(login.run());
    }
    if args.json {
        println!("{}", serde_json::to_string_pretty(&login)?);
    } else {
        let words: Vec<String> = login.words().map(shell_quoted).into();
        println!("{}", words.join(" "));
    }
    Ok(())
}

fn user_id(text: &str) -> Result<UserId, Invalid> {
    UserId::parse(text)
}

/// Finds the user's running task, or returns the reason why no shell can start in it.
async fn find(ecs: &Ecs, cluster: &str, user: &UserId) -> anyhow::Result<Login> {
    let found = ecs.describe_service(cluster, &user.service_name()).await?;
    let service = match found {
        Some(service) if service.status == ServiceStatus::Active => service,
        Some(Service { status: ServiceStatus::Draining, .. }) => {
            bail!("the container of {user} is being deleted: provision it again when it is gone (POST /provision)")
        }
        Some(_) | None => {
            bail!("cluster {cluster} has no container of user {user}: provision it first (POST /provision)")
        }
    };
    ensure!(
        service.execute_command,
        "ECS Exec is not enabled on service {}, and an existing service keeps what it was made with: set \
         PROVISIONER_ENABLE_EXECUTE_COMMAND=true for `serve`, then make the container again (DELETE \
         /containers/{user}?data=keep until it answers 404, and POST /provision)",
        service.name
    );
    let tasks = ecs.tasks_of(cluster, &service.name, ListedTasks::Running).await?;
    let running = tasks.into_iter().filter(|task| task.last_status == "RUNNING" && task.desired_status == "RUNNING");
    let Some(task) = running.max_by_key(|task| task.created_at_seconds) else {
        match service.desired {
            0 => bail!("the container of {user} is stopped: start it first (POST /containers/{user}/start)"),
            _ => {
                bail!("no task of {user} runs at this moment: GET /containers/{user} says why; try again when it does")
            }
        }
    };
    ensure!(
        task.execute_command,
        "ECS Exec was enabled after {} had started: redeploy first (POST /containers/{user}/redeploy with \
         {{\"force\":true}})",
        task.arn
    );
    login(ecs, cluster, user, task).await
}

/// Reads container and CODEX_HOME from the revision that the task runs: it may be older than the service's.
async fn login(ecs: &Ecs, cluster: &str, user: &UserId, task: Task) -> anyhow::Result<Login> {
    let found = ecs.describe_task_definition(&task.task_definition).await?;
    let found = found.with_context(|| format!("{} is not there any more: redeploy {user}", task.task_definition))?;
    let current = CurrentDefinition::parse(&found.document, user)?;
    let kind = current.spec.provider;
    ensure!(
        kind == Provider::Chatgpt,
        "{user} uses provider {}, and a sign-in is taken away again: change to provider chatgpt first (POST /provision)",
        kind.name()
    );
    let codex_home =
        current.codex_home.with_context(|| format!("{} sets no CODEX_HOME: redeploy {user}", found.arn))?;
    let login = NativeLogin::of(&crate::domain::release_of(&found.document).plan());
    // Not as root: it reads configuration that the user has written, and root could reach the task role's credentials.
    let words = current.drop.iter().map(|word| shell_quoted(word));
    let command = words.chain([native_login_command(login, &codex_home)]).collect::<Vec<_>>().join(" ");
    Ok(Login { cluster: cluster.to_owned(), task: task.arn, container: current.container, command, codex_home })
}

impl Login {
    /// The words of the whole command.
    fn words(&self) -> [&str; 12] {
        let Self { cluster, task, container, command, .. } = self;
        [
            "aws",
            "ecs",
            "execute-command",
            "--cluster",
            cluster,
            "--task",
            task,
            "--container",
            container,
            "--interactive",
            "--command",
            command,
        ]
    }

    /// Replaces this process by the AWS CLI, so that the CLI has the terminal, the signals and the exit code. Returns only on failure,
    /// with the reason.
    fn run(&self) -> anyhow::Error {
        let [program, arguments @ ..] = self.words();
        let error = Command::new(program).args(arguments).exec();
        let is_missing = error.kind() == std::io::ErrorKind::NotFound;
        let error = anyhow::Error::new(error);
        match is_missing {
            true => error.context(
                "--run needs the AWS CLI and its session-manager-plugin, and there is no `aws` on the PATH: install \
                 both, or run without --run and take the command to where they are",
            ),
            false => error.context("aws"),
        }
    }
}
