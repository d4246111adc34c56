//! The HTTP API without a socket: requests go to its router inside this process.

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::Request;
use serde_json::Value;
use tokio::sync::watch;
use tower::ServiceExt as _;

use super::show;
use super::{LogFormat, SettingsArgs};
use crate::aws::{self, Aws};
use crate::cli::server::Server;
use crate::config::{Source, Tokens};
use crate::domain::UserId;
use crate::fleet;
use crate::http::query::with_query;
use crate::http::requests::{Seconds, WaitQuery};
use crate::metrics::Metrics;
use crate::reconcile::{Options, Reconciler};
use crate::rollout::Rollouts;
use crate::staging::Initialize;
use crate::storage;

/// How long a command waits for its answer: longer than any operation takes.
const ANSWER_WITHIN: Duration = Duration::from_secs(3_600);
/// How often it prints the container's progress meanwhile.
const TELLS_EVERY: Duration = Duration::from_secs(2);

/// Exit codes besides 0 and 1, which every command has.
const USAGE: u8 = 2;
const NOT_FOUND: u8 = 3;
const TIMED_OUT: u8 = 4;

pub(super) struct Api {
    router: Router,
    reconciler: Arc<Reconciler>,
    rollouts: Rollouts,
    token: String,
    region: String,
    json: bool,
}

/// A response of the API.
pub(super) struct ApiResponse {
    status: u16,
    pub(super) body: Value,
}

impl ApiResponse {
    pub(super) const fn is_success(&self) -> bool {
        matches!(self.status, 200..=299)
    }

    pub(super) const fn is_timeout(&self) -> bool {
        self.status == 408
    }

    const fn exit_code(&self) -> u8 {
        match self.status {
            200..=299 => 0,
            400 | 413 | 415 | 422 => USAGE,
            404 => NOT_FOUND,
            408 | 504 => TIMED_OUT,
            _ => 1,
        }
    }
}

impl Api {
    /// Puts the application together, with the settings of `serve`.
    pub(super) async fn open(settings: SettingsArgs) -> anyhow::Result<Self> {
        let SettingsArgs { coordinates, files, containers, directories, aws, logs, json } = settings;
        logs.start_at(LogFormat::Text, "warn")?;
        let config = aws::load(aws.timeouts()).await;
        let region = config.region().map(ToString::to_string).context("no AWS region: set AWS_REGION")?;
        let metrics = Metrics::default();
        let max_queue = aws.limits.max_queue();
        let aws = Aws::new(&config, &aws.limits.share(), &metrics);
        let source = Source { args: coordinates, ssm: aws.ssm.clone() };
        let options = Options {
            owner: files.owner.owner,
            enable_execute_command: containers.enable_execute_command,
            failure_threshold: containers.failed_tasks_threshold,
            rollout_order: containers.rollout_order,
            gateway_probe: containers.probe(),
            // A command ends when the work ends, and its exit code says how.
            answer_within: ANSWER_WITHIN,
            answers_early: false,
            max_queue,
            ..Options::default()
        };
        // Known to this process alone.
        let token = format!("{:032x}", fastrand::u128(..));
        let tokens = watch::channel(Tokens::single("command-line", &token)).1;
        let (initialize, fleet) = (Initialize::No, fleet::Options::default());
        let storage = storage::Options { soft_limit: directories.soft_limit(), ..storage::Options::default() };
        let app =
            Server { aws, source, files, initialize, tokens, options, fleet, storage, metrics }.assemble().await?;
        let (reconciler, rollouts) = (Arc::clone(&app.reconciler), app.rollouts.clone());
        Ok(Self { router: crate::http::router(app), reconciler, rollouts, token, region, json })
    }

    /// The AWS Region of all calls.
    pub(super) fn region(&self) -> &str {
        &self.region
    }

    /// Runs rollouts in this process, too, so that a job needs no `serve`.
    pub(super) fn run_rollouts(&self) {
        self.rollouts.run_in_background();
    }

    /// Sends one request.
    pub(super) async fn call(&self, method: &str, path: &str, body: Option<Value>) -> anyhow::Result<ApiResponse> {
        let request = Request::builder().method(method).uri(path);
        let request = request.header("authorization", format!("Bearer {}", self.token));
        let request = request.header("content-type", "application/json");
        let body = body.map_or_else(Body::empty, |body| Body::from(body.to_string()));
        let Ok(response) = self.router.clone().oneshot(request.body(body)?).await;
        let (parts, body) = response.into_parts();
        let bytes = to_bytes(body, usize::MAX).await?;
        Ok(ApiResponse { status: parts.status.as_u16(), body: serde_json::from_slice(&bytes).unwrap_or_default() })
    }

    /// Changes a user's container, and returns when the change is done. Prints progress of long work on standard error.
    pub(super) async fn change(
        &self,
        user: &UserId,
        method: &str,
        path: &str,
        body: Option<Value>,
    ) -> anyhow::Result<ApiResponse> {
        tokio::select! {
            answer = self.call(method, path, body) => answer,
            failed = self.tell_of(user) => failed,
        }
    }

    /// Prints the progress of the user's container. Returns only on failure.
    async fn tell_of(&self, user: &UserId) -> anyhow::Result<ApiResponse> {
        let mut told = String::new();
        let query = WaitQuery { timeout_seconds: Some(Seconds(0)), ..WaitQuery::default() };
        let path = with_query(&format!("/containers/{user}/wait"), &query)?;
        loop {
            tokio::time::sleep(TELLS_EVERY).await;
            let seen = self.call("GET", &path, None).await?;
            if let Some(message) = seen.body["message"].as_str() {
                self.tell(message, &mut told);
            }
        }
    }

    /// Waits until background work has ended, then prints the answer.
    pub(super) async fn finish(&self, answer: ApiResponse) -> anyhow::Result<ExitCode> {
        let words = show::in_words(&answer.body);
        self.finish_in_words(answer, &words).await
    }

    /// As [`Self::finish`], but prints `words` unless JSON was asked for.
    #[expect(clippy::print_stderr, reason = "the answer is this command's output")]
    pub(super) async fn finish_in_words(&self, answer: ApiResponse, words: &str) -> anyhow::Result<ExitCode> {
        self.rollouts.shut_down();
        self.reconciler.finish().await;
        if self.json {
            anstream::println!("{}", serde_json::to_string_pretty(&answer.body)?);
        } else if answer.is_success() || answer.is_timeout() {
            anstream::print!("{words}");
        } else {
            eprintln!("{}", show::problem(&answer.body));
        }
        let left_something = answer.body["not_removed"].as_array().is_some_and(|left| !left.is_empty());
        let failed = answer.is_success() && (answer.body["state"] == "failed" || left_something);
        Ok(ExitCode::from(if failed { 1 } else { answer.exit_code() }))
    }

    pub(super) const fn is_json(&self) -> bool {
        self.json
    }

    pub(super) const fn reconciler(&self) -> &Arc<Reconciler> {
        &self.reconciler
    }

    /// Waits until background work has ended, then prints its result.
    pub(super) async fn finish_work(&self, body: &Value, words: &str) -> anyhow::Result<()> {
        self.reconciler.finish().await;
        match self.json {
            true => anstream::println!("{}", serde_json::to_string_pretty(body)?),
            false => anstream::print!("{words}"),
        }
        Ok(())
    }

    /// Prints on standard error what differs from a plan.
    #[expect(clippy::print_stderr, reason = "the reason why nothing was done")]
    pub(super) fn complain_of(&self, differences: &[String]) {
        if !differences.is_empty() {
            eprintln!("error: what would be done now is not what was planned (rollout_plan_changed):");
        }
        for difference in differences {
            eprintln!("  {difference}");
        }
    }

    /// Prints a line on standard error when the message has changed.
    #[expect(clippy::print_stderr, reason = "progress is for people")]
    pub(super) fn tell(&self, message: &str, told: &mut String) {
        if !self.json && message != told {
            message.clone_into(told);
            eprintln!("{message} …");
        }
    }
}
