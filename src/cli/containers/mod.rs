//! Commands on one user's container, or on all, from a terminal or a job: the same requests as over HTTP, answered by the
//! same code in this process, with the settings of `serve`.

mod api;
mod args;
mod command;
mod cost;
mod gc;
mod rollout_args;
mod rollout_plan;
mod rollout_progress;
mod rollouts;
mod show;
mod sign_in;

use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use serde::Serialize;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::logs::LogFormat;
use crate::domain::{RawSize, State, UserId};
use crate::http::query::{Parameter as _, with_query};
use crate::http::requests::{
    ChangeBody, Cursor, Data, DeleteQuery, Limit, ListQuery, NoFields, Object, OnTimeout, PromoteRequest,
    ProvisionRequest, RedeployRequest, ResizeRequest, Seconds, StartRequest, WaitQuery,
};
use api::{Api, ApiResponse};
use args::{ListArgs, OneArgs, Promoted, ProvisionArgs, SettingsArgs, WaitArgs};
pub(super) use command::ContainerCommand;

/// Longest `GET …/wait` in seconds; short, so that progress is printed often.
const SLICE_SECONDS: u64 = 5;
/// How long `list` goes on reading definitions: 5,000 take about 4 minutes at AWS's documented rates.
const DEFINITIONS_WITHIN: Duration = Duration::from_secs(600);

/// Runs the command.
///
/// # Errors
/// When the settings or the files that it names cannot be used.
pub(super) async fn run(command: ContainerCommand) -> anyhow::Result<ExitCode> {
    use ContainerCommand as Command;
    match command {
        Command::Status(args) => get(args.settings, format!("/containers/{}", args.user)).await,
        Command::List(args) => list(args).await,
        Command::Wait(args) => {
            let api = Api::open(args.settings).await?;
            wait(&api, &args.user, args.state, args.timeout_seconds, args.on_timeout).await
        }
        Command::Provision(args) => {
            let request = provision_request(&args)?;
            change(args.settings, &args.user, "/provision".into(), &request, &args.wait, State::Running).await
        }
        Command::Resize(args) => {
            let size = RawSize { cpu: args.cpu, memory_mib: args.memory_mib };
            match rollouts::users(&args.users)?.as_slice() {
                [user] if !args.users.is_job() => {
                    let RawSize { cpu, memory_mib } = size;
                    let request = ResizeRequest { cpu, memory_mib, rollout_order: None };
                    act(args.settings, user, "resize", &request, &args.wait, State::Running).await
                }
                users => {
                    let change = ChangeBody { size: Some(Object(size)), ..ChangeBody::default() };
                    rollouts::job(args.settings, users, change, args.wait.timeout_seconds).await
                }
            }
        }
        Command::Redeploy(args) => {
            let image = if args.unpin { Some(None) } else { args.image.map(Some) };
            let request =
                RedeployRequest { image, openclaw_version: args.release, force: args.force, rollout_order: None };
            match rollouts::users(&args.users)?.as_slice() {
                [user] if !args.users.is_job() => {
                    act(args.settings, user, "redeploy", &request, &args.wait, State::Running).await
                }
                users => {
                    let change = ChangeBody { redeploy: Some(Object(request)), ..ChangeBody::default() };
                    rollouts::job(args.settings, users, change, args.wait.timeout_seconds).await
                }
            }
        }
        Command::Stop(args) => act(args.settings, &args.user, "stop", &NoFields {}, &args.wait, State::Stopped).await,
        Command::Start(args) => {
            act(args.settings, &args.user, "start", &StartRequest::default(), &args.wait, State::Running).await
        }
        Command::Cancel(args) => {
            let api = Api::open(args.settings).await?;
            let path = format!("/containers/{}/cancel", args.user);
            api.finish(api.change(&args.user, "POST", &path, Some(json!(NoFields {}))).await?).await
        }
        Command::Delete(args) => {
            let api = Api::open(args.settings).await?;
            let data = if args.purge { Data::Purge } else { Data::Keep };
            let query = DeleteQuery { data: Some(data), force: Some(args.force) };
            let path = with_query(&format!("/containers/{}", args.user), &query)?;
            let mut answer = api.change(&args.user, "DELETE", &path, None).await?;
            if answer.is_success() && !args.force {
                // Over HTTP the answer says "deleting"; this command has waited until it was done.
                answer.body["state"] = "deleted".into();
            }
            api.finish(answer).await
        }
        Command::Credentials(args) => sign_in::run(args).await,
        Command::Rollout(command) => rollouts::run(*command).await,
        Command::Gc(args) => gc::run(args).await,
        Command::Base(args) => {
            let api = Api::open(args.settings).await?;
            let answer = api.call("GET", "/fleet/base", None).await?;
            api.finish(counted(&api, answer).await?).await
        }
        Command::Capacity(args) => get(args.settings, "/fleet/capacity".into()).await,
        Command::Cost(args) => cost::run(args).await,
        Command::Promote(args) => {
            let Promoted { revision, newest: _, follow } = args.what;
            let api = Api::open(args.settings).await?;
            let answer = match follow {
                true => api.call("DELETE", "/fleet/base", None).await?,
                false => {
                    let revision = revision.unwrap_or_else(|| PromoteRequest::NEWEST.to_owned());
                    api.call("PUT", "/fleet/base", Some(json!(PromoteRequest { revision }))).await?
                }
            };
            api.finish(answer).await
        }
    }
}

/// The answer of `base`, once this new process has read which user is on which base.
async fn counted(api: &Api, mut answer: ApiResponse) -> anyhow::Result<ApiResponse> {
    let deadline = Instant::now() + DEFINITIONS_WITHIN;
    let mut told = String::new();
    while answer.is_success() && Instant::now() < deadline {
        match answer.body["users"]["unread_definitions"].as_u64() {
            // Null: the list cannot be read, but the promoted base is shown all the same.
            Some(0) | None => break,
            Some(unread) => api.tell(&format!("reading {unread} definitions"), &mut told),
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
        match api.call("GET", "/fleet/base", None).await {
            Ok(later) if later.is_success() => answer = later,
            // Show the last good answer.
            Ok(_) | Err(_) => break,
        }
    }
    Ok(answer)
}

async fn get(settings: SettingsArgs, path: String) -> anyhow::Result<ExitCode> {
    let api = Api::open(settings).await?;
    api.finish(api.call("GET", &path, None).await?).await
}

async fn act(
    settings: SettingsArgs,
    user: &UserId,
    action: &str,
    request: &impl Serialize,
    waits: &WaitArgs,
    towards: State,
) -> anyhow::Result<ExitCode> {
    change(settings, user, format!("/containers/{user}/{action}"), request, waits, towards).await
}

async fn change(
    settings: SettingsArgs,
    user: &UserId,
    path: String,
    request: &impl Serialize,
    waits: &WaitArgs,
    towards: State,
) -> anyhow::Result<ExitCode> {
    let api = Api::open(settings).await?;
    let answer = api.change(user, "POST", &path, Some(json!(request))).await?;
    if !waits.wait || !answer.is_success() {
        return api.finish(answer).await;
    }
    wait(&api, user, towards, waits.timeout_seconds, OnTimeout::RequestTimeout).await
}

/// Waits in slices, and tells on standard error how far it is.
async fn wait(api: &Api, user: &UserId, state: State, seconds: u64, on_timeout: OnTimeout) -> anyhow::Result<ExitCode> {
    let deadline = Instant::now() + Duration::from_secs(seconds);
    let mut told = String::new();
    loop {
        let left = deadline.saturating_duration_since(Instant::now()).as_secs();
        let slice = left.min(SLICE_SECONDS);
        let query =
            WaitQuery { state: Some(state), timeout_seconds: Some(Seconds(slice)), on_timeout: Some(on_timeout) };
        let path = with_query(&format!("/containers/{user}/wait"), &query)?;
        let answer = api.call("GET", &path, None).await?;
        // What failed does not come to run.
        let is_over = state == State::Running && answer.body["state"] == "failed";
        let is_not_yet = answer.is_timeout() || answer.body["reached"] == false && !is_over;
        if !is_not_yet || left == 0 {
            return api.finish(answer).await;
        }
        api.tell(answer.body["message"].as_str().unwrap_or_default(), &mut told);
    }
}

async fn list(args: ListArgs) -> anyhow::Result<ExitCode> {
    let api = Api::open(args.settings).await?;
    let answer = all_containers(&api, args.filters).await?;
    api.finish(answer).await
}

/// All pages of the list as one, once every definition was read.
async fn all_containers(api: &Api, mut query: ListQuery) -> anyhow::Result<ApiResponse> {
    let deadline = Instant::now() + DEFINITIONS_WITHIN;
    let (mut all, mut told) = (Vec::new(), String::new());
    query.limit = Some(Limit::MAX);
    loop {
        let mut answer = api.call("GET", &with_query("/containers", &query)?, None).await?;
        if !answer.is_success() {
            return Ok(answer);
        }
        if let Some(Value::Array(page)) = answer.body.get_mut("containers").map(Value::take) {
            all.extend(page);
        }
        let unread = answer.body["snapshot"]["unread_definitions"].as_u64().unwrap_or(0);
        if unread > 0 && Instant::now() < deadline {
            // This process has just started, and has not read yet which release each container runs.
            api.tell(&format!("reading {unread} definitions"), &mut told);
            tokio::time::sleep(Duration::from_millis(500)).await;
            (all, query.cursor) = (Vec::new(), None);
            continue;
        }
        // A cursor that is not understood is an error: without the rest, the list would look whole.
        let next = answer.body["next_cursor"].as_str();
        query.cursor =
            next.map(|text| Cursor::parse(text).context("the list has a cursor of another version")).transpose()?;
        if query.cursor.is_none() {
            answer.body["containers"] = all.into();
            return Ok(answer);
        }
    }
}

fn provision_request(args: &ProvisionArgs) -> anyhow::Result<ProvisionRequest> {
    let pairs = |pairs: &[(String, String)]| (!pairs.is_empty()).then(|| pairs.iter().cloned().collect());
    let size = args.cpu.zip(args.memory_mib).map(|(cpu, memory_mib)| Object(RawSize { cpu, memory_mib }));
    Ok(ProvisionRequest {
        user_id: args.user.to_string(),
        auth: args.auth_file.as_deref().map(sign_in::read).transpose()?,
        provider: args.provider,
        size,
        image: args.image.clone(),
        openclaw_version: args.release.clone(),
        variables: pairs(&args.variables),
        secrets: pairs(&args.secrets),
        labels: pairs(&args.labels),
        rollout_order: None,
    })
}
