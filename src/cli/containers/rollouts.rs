//! Rollouts from a terminal, and jobs: a job is a rollout of several users without waves, and the command waits for its end.

use std::io::Read as _;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use super::api::{Api, ApiResponse};
use super::args::UsersArgs;
use super::rollout_args::{OfRolloutArgs, RolloutCommand, StartArgs, WhatArgs};
use super::rollout_plan::{self, PlanFile};
use super::rollout_progress::Progress;
use super::{SettingsArgs, show};
use crate::cli::WrongInput;
use crate::domain::UserId;
use crate::http::requests::{ChangeBody, NoFields, Object, RolloutRequest, SelectBody, ShareBody, StrategyBody};

/// How often the command looks at a rollout that it waits for.
const LOOKS_EVERY: Duration = Duration::from_secs(1);
/// Largest list of users, in bytes.
const MOST_BYTES: u64 = 4 * 1024 * 1024;
const FAILED: u8 = 1;
const TIMED_OUT: u8 = 4;

pub(super) async fn run(command: RolloutCommand) -> anyhow::Result<ExitCode> {
    let (args, action) = match command {
        RolloutCommand::Plan(args) => {
            let api = Api::open(args.settings).await?;
            return planned(&api, &args.what, args.out.as_deref()).await;
        }
        RolloutCommand::Start(args) => {
            let StartArgs { what, dry_run, wait, settings } = *args;
            let api = Api::open(settings).await?;
            if dry_run {
                return planned(&api, &what, None).await;
            }
            let body = match &what.plan {
                None => json!(what.request()?),
                Some(path) => match held_to(&api, PlanFile::read(path)?).await? {
                    Ok(body) => body,
                    Err(code) => return Ok(code),
                },
            };
            let answer = once_read(&api, "/rollouts", &body).await?;
            return match answer.body["id"].as_str().filter(|_| wait.wait) {
                Some(id) => until_over(&api, id, wait.timeout_seconds, false).await,
                None => api.finish(answer).await,
            };
        }
        RolloutCommand::Users(args) => {
            let path = format!("/rollouts/{}/users", args.id);
            return super::get(args.settings, path).await;
        }
        RolloutCommand::List(args) => return super::get(args.settings, "/rollouts".into()).await,
        RolloutCommand::Show(args) => (args, None),
        RolloutCommand::Pause(args) => (args, Some("pause")),
        RolloutCommand::Resume(args) => (args, Some("resume")),
        RolloutCommand::Abort(args) => (args, Some("abort")),
        RolloutCommand::Rollback(args) => (args, Some("rollback")),
    };
    let OfRolloutArgs { id, wait, settings } = args;
    let api = Api::open(settings).await?;
    let answer = match action {
        Some(action) => api.call("POST", &format!("/rollouts/{id}/{action}"), Some(json!(NoFields {}))).await?,
        None => api.call("GET", &format!("/rollouts/{id}"), None).await?,
    };
    if wait.wait && answer.is_success() {
        return until_over(&api, &id, wait.timeout_seconds, false).await;
    }
    api.finish(answer).await
}

/// Sends a change, again and again until this new process has read all users' definitions.
async fn once_read(api: &Api, path: &str, body: &Value) -> anyhow::Result<ApiResponse> {
    let deadline = Instant::now() + super::DEFINITIONS_WITHIN;
    let mut told = String::new();
    loop {
        let answer = api.call("POST", path, Some(body.clone())).await?;
        if answer.body["code"] != "fleet_being_read" || Instant::now() >= deadline {
            return Ok(answer);
        }
        api.tell("reading everybody's definition", &mut told);
        sleep(LOOKS_EVERY).await;
    }
}

async fn dry(api: &Api, request: &Value) -> anyhow::Result<ApiResponse> {
    let mut body = request.clone();
    body["dry_run"] = json!(true);
    once_read(api, "/rollouts", &body).await
}

/// Makes a plan, prints it and writes it to `out`; prints what differs from an earlier plan, if one is given.
async fn planned(api: &Api, what: &WhatArgs, out: Option<&Path>) -> anyhow::Result<ExitCode> {
    let before = what.plan.as_deref().map(PlanFile::read).transpose()?;
    let request = match &before {
        Some(before) => before.request.clone(),
        None => json!(what.request()?),
    };
    let answer = dry(api, &request).await?;
    if !answer.is_success() {
        return api.finish(answer).await;
    }
    let differs = before.map_or_else(Vec::new, |before| rollout_plan::differences(&before.answer, &answer.body));
    if let Some(path) = out {
        PlanFile::new(request, answer.body.clone()).write(path)?;
    }
    let words = rollout_plan::in_words(&answer.body);
    let code = api.finish_in_words(answer, &words).await?;
    api.complain_of(&differs);
    Ok(if differs.is_empty() { code } else { ExitCode::from(FAILED) })
}

/// The request of a plan, if it would still do the same; otherwise prints the differences.
async fn held_to(api: &Api, plan: PlanFile) -> anyhow::Result<Result<Value, ExitCode>> {
    let now = dry(api, &plan.request).await?;
    if !now.is_success() {
        return Ok(Err(api.finish(now).await?));
    }
    let differs = rollout_plan::differences(&plan.answer, &now.body);
    if !differs.is_empty() {
        api.complain_of(&differs);
        return Ok(Err(ExitCode::from(FAILED)));
    }
    let mut body = plan.request;
    body["plan"] = now.body["plan"]["digest"].clone();
    Ok(Ok(body))
}

/// The users named as arguments or on standard input, each once.
pub(super) fn users(args: &UsersArgs) -> anyhow::Result<Vec<UserId>> {
    read_users(args).map_err(|error| WrongInput::of(&error))
}

fn read_users(args: &UsersArgs) -> anyhow::Result<Vec<UserId>> {
    let mut users = args.named.clone();
    if args.users.is_some() {
        let mut text = String::new();
        std::io::stdin().take(MOST_BYTES + 1).read_to_string(&mut text).context("--users -")?;
        ensure!(text.len() as u64 <= MOST_BYTES, "--users -: there are more than {MOST_BYTES} bytes");
        for (at, line) in text.lines().map(str::trim).enumerate().filter(|(_, line)| !line.is_empty()) {
            users.push(UserId::parse(line).with_context(|| format!("--users -, line {}", at + 1))?);
        }
        ensure!(!users.is_empty(), "--users -: there is no user id; write one a line");
    }
    users.sort();
    users.dedup();
    Ok(users)
}

/// One change of several users: a rollout without waves that tries every user. Safe to run again: users who have the change
/// already stay as they are.
pub(super) async fn job(
    settings: SettingsArgs,
    users: &[UserId],
    change: ChangeBody,
    seconds: u64,
) -> anyhow::Result<ExitCode> {
    let api = Api::open(settings).await?;
    let select = SelectBody { users: Some(users.iter().map(UserId::to_string).collect()), ..SelectBody::default() };
    let strategy = StrategyBody {
        canaries: Some(0),
        soak_seconds: Some(0),
        max_failures: Some(ShareBody::Percent("100%".to_owned())),
        ..StrategyBody::default()
    };
    let request =
        RolloutRequest { select: Some(Object(select)), strategy: Some(Object(strategy)), ..RolloutRequest::of(change) };
    let answer = api.call("POST", "/rollouts", Some(json!(request))).await?;
    match answer.body["id"].as_str() {
        Some(id) if answer.is_success() => until_over(&api, id, seconds, true).await,
        Some(_) | None => api.finish(answer).await,
    }
}

/// Prints the result of the rollout and of each user; of many users only those who are not done.
async fn finish_with_users(api: &Api, id: &str, mut answer: ApiResponse) -> anyhow::Result<ExitCode> {
    let users = api.call("GET", &format!("/rollouts/{id}/users"), None).await?;
    let all = users.body["users"].as_array().cloned().unwrap_or_default();
    let words = [show::in_words(&answer.body), show::outcomes(&all)].concat();
    answer.body["users"] = all.into();
    api.finish_in_words(answer, &words).await
}

/// Runs and follows a rollout until it is over or paused, and prints the result. `names_all`: all users were given by name, so
/// it is a failure when one is left out who does not have the change already.
async fn until_over(api: &Api, id: &str, seconds: u64, names_all: bool) -> anyhow::Result<ExitCode> {
    api.run_rollouts();
    let deadline = Instant::now() + Duration::from_secs(seconds);
    let mut progress = Progress::new(api);
    loop {
        let answer = api.call("GET", &format!("/rollouts/{id}"), None).await?;
        if !answer.is_success() {
            progress.end();
            return api.finish(answer).await;
        }
        let users = &answer.body["progress"]["users"];
        let state = answer.body["state"].as_str().unwrap_or_default().to_owned();
        let failed = users["failed"].as_u64().unwrap_or(0);
        if state != "running" {
            progress.end();
            let skipped = answer.body["progress"]["skipped"].as_object();
            let leaves_out = skipped.is_some_and(|skipped| skipped.keys().any(|why| why != "unchanged"));
            let is_good = failed == 0 && matches!(state.as_str(), "done" | "rolled_back") && !(names_all && leaves_out);
            let code = finish_with_users(api, id, answer).await?;
            return Ok(if is_good { code } else { ExitCode::from(FAILED) });
        }
        if Instant::now() >= deadline {
            progress.end();
            finish_with_users(api, id, answer).await?;
            api.tell(&format!("a running serve continues it; so does: rollout show {id} --wait"), &mut String::new());
            return Ok(ExitCode::from(TIMED_OUT));
        }
        progress.tell(api, &answer.body);
        sleep(LOOKS_EVERY).await;
    }
}
