//! One user's container, or all of them, from a terminal or a job: the same requests as over HTTP, answered by the same
//! code in this process, with the settings of `serve`.

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

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::time::Duration;

use serde_json::{Map, Value, json};
use tokio::time::Instant;

use super::logs::LogFormat;
use crate::domain::UserId;
use api::{Api, ApiResponse};
use args::{ListArgs, OneArgs, Promoted, ProvisionArgs, SettingsArgs, WaitArgs};
pub(super) use command::ContainerCommand;

/// Longest `GET …/wait` in seconds; short, so that progress shows.
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
            wait(&api, &args.user, &args.state, args.timeout_seconds, &args.on_timeout).await
        }
        Command::Provision(args) => {
            let body = provision_body(&args)?;
            change(args.settings, &args.user, "/provision".into(), body, &args.wait, "running").await
        }
        Command::Resize(args) => {
            let body = json!({"cpu": args.cpu, "memory_mib": args.memory_mib});
            match rollouts::users(&args.users)?.as_slice() {
                [user] if !args.users.is_job() => act(args.settings, user, "resize", body, &args.wait, "running").await,
                users => rollouts::job(args.settings, users, json!({"size": body}), args.wait.timeout_seconds).await,
            }
        }
        Command::Redeploy(args) => {
            let mut body = Map::from_iter([("force".to_owned(), Value::Bool(args.force))]);
            if args.unpin || args.image.is_some() {
                body.insert("image".into(), json!(args.image));
            }
            if let Some(release) = &args.release {
                body.insert("openclaw_version".into(), json!(release));
            }
            match rollouts::users(&args.users)?.as_slice() {
                [user] if !args.users.is_job() => {
                    act(args.settings, user, "redeploy", body.into(), &args.wait, "running").await
                }
                users => {
                    rollouts::job(args.settings, users, json!({"redeploy": body}), args.wait.timeout_seconds).await
                }
            }
        }
        Command::Stop(args) => act(args.settings, &args.user, "stop", json!({}), &args.wait, "stopped").await,
        Command::Start(args) => act(args.settings, &args.user, "start", json!({}), &args.wait, "running").await,
        Command::Cancel(args) => {
            let api = Api::open(args.settings).await?;
            let path = format!("/containers/{}/cancel", args.user);
            api.finish(api.change(&args.user, "POST", &path, Some(json!({}))).await?).await
        }
        Command::Delete(args) => {
            let api = Api::open(args.settings).await?;
            let data = if args.purge { "purge" } else { "keep" };
            let path = format!("/containers/{}?data={data}&force={}", args.user, args.force);
            let mut answer = api.change(&args.user, "DELETE", &path, None).await?;
            if answer.is_success() && !args.force {
                // Over HTTP it is on its way; here it was waited for.
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
            let answer = match (revision, follow) {
                (_, true) => api.call("DELETE", "/fleet/base", None).await?,
                (Some(revision), false) => api.call("PUT", "/fleet/base", Some(json!({"revision": revision}))).await?,
                (None, false) => api.call("PUT", "/fleet/base", Some(json!({"revision": "newest"}))).await?,
            };
            api.finish(answer).await
        }
    }
}

/// What is promoted, once this process has read who is on which base: it has just begun.
async fn counted(api: &Api, mut answer: ApiResponse) -> anyhow::Result<ApiResponse> {
    let deadline = Instant::now() + DEFINITIONS_WITHIN;
    let mut told = String::new();
    while answer.is_success() && Instant::now() < deadline {
        match answer.body["users"]["unread_definitions"].as_u64() {
            // Null: the list cannot be read, and what is promoted is told all the same.
            Some(0) | None => break,
            Some(unread) => api.tell(&format!("reading {unread} definitions"), &mut told),
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
        match api.call("GET", "/fleet/base", None).await {
            Ok(later) if later.is_success() => answer = later,
            // What is known is told.
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
    body: Value,
    waits: &WaitArgs,
    towards: &str,
) -> anyhow::Result<ExitCode> {
    change(settings, user, format!("/containers/{user}/{action}"), body, waits, towards).await
}

async fn change(
    settings: SettingsArgs,
    user: &UserId,
    path: String,
    body: Value,
    waits: &WaitArgs,
    towards: &str,
) -> anyhow::Result<ExitCode> {
    let api = Api::open(settings).await?;
    let answer = api.change(user, "POST", &path, Some(body)).await?;
    if !waits.wait || !answer.is_success() {
        return api.finish(answer).await;
    }
    wait(&api, user, towards, waits.timeout_seconds, "408").await
}

/// Waits in slices, and tells on standard error how far it is.
async fn wait(api: &Api, user: &UserId, state: &str, seconds: u64, on_timeout: &str) -> anyhow::Result<ExitCode> {
    let deadline = Instant::now() + Duration::from_secs(seconds);
    let mut told = String::new();
    loop {
        let left = deadline.saturating_duration_since(Instant::now()).as_secs();
        let slice = left.min(SLICE_SECONDS);
        let path = format!("/containers/{user}/wait?state={state}&timeout_seconds={slice}&on_timeout={on_timeout}");
        let answer = api.call("GET", &path, None).await?;
        // What failed does not come to run.
        let is_over = state == "running" && answer.body["state"] == "failed";
        let is_not_yet = answer.is_timeout() || answer.body["reached"] == false && !is_over;
        if !is_not_yet || left == 0 {
            return api.finish(answer).await;
        }
        api.tell(answer.body["message"].as_str().unwrap_or_default(), &mut told);
    }
}

async fn list(args: ListArgs) -> anyhow::Result<ExitCode> {
    let api = Api::open(args.settings).await?;
    let filters = [("state", args.state), ("openclaw_version", args.release), ("base_revision", args.base_revision)];
    let mut query = String::from("/containers?limit=1000");
    for (name, value) in filters {
        if let Some(value) = value {
            query.push_str(&format!("&{name}={}", api::encoded(&value)));
        }
    }
    let answer = all_containers(&api, &query).await?;
    api.finish(answer).await
}

/// All pages of the list as one, once every definition was read.
async fn all_containers(api: &Api, query: &str) -> anyhow::Result<ApiResponse> {
    let deadline = Instant::now() + DEFINITIONS_WITHIN;
    let (mut all, mut cursor, mut told) = (Vec::new(), None::<String>, String::new());
    loop {
        let next = cursor.as_deref().map_or_else(String::new, |cursor| format!("&cursor={}", api::encoded(cursor)));
        let mut answer = api.call("GET", &format!("{query}{next}"), None).await?;
        if !answer.is_success() {
            return Ok(answer);
        }
        if let Some(Value::Array(page)) = answer.body.get_mut("containers").map(Value::take) {
            all.extend(page);
        }
        let unread = answer.body["snapshot"]["unread_definitions"].as_u64().unwrap_or(0);
        if unread > 0 && Instant::now() < deadline {
            // This process has just begun, and has yet to read which release each of them runs.
            api.tell(&format!("reading {unread} definitions"), &mut told);
            tokio::time::sleep(Duration::from_millis(500)).await;
            (all, cursor) = (Vec::new(), None);
            continue;
        }
        cursor = answer.body["next_cursor"].as_str().map(str::to_owned);
        if cursor.is_none() {
            answer.body["containers"] = all.into();
            return Ok(answer);
        }
    }
}

fn provision_body(args: &ProvisionArgs) -> anyhow::Result<Value> {
    let mut body = Map::from_iter([("user_id".to_owned(), json!(args.user.as_str()))]);
    if let Some(file) = &args.auth_file {
        body.insert("auth".into(), sign_in::read(file)?);
    }
    if let (Some(cpu), Some(memory_mib)) = (args.cpu, args.memory_mib) {
        body.insert("size".into(), json!({"cpu": cpu, "memory_mib": memory_mib}));
    }
    let texts = [("provider", &args.provider), ("image", &args.image), ("openclaw_version", &args.release)];
    for (member, text) in texts {
        if let Some(text) = text {
            body.insert(member.into(), json!(text));
        }
    }
    for (member, pairs) in [("variables", &args.variables), ("secrets", &args.secrets), ("labels", &args.labels)] {
        if !pairs.is_empty() {
            body.insert(member.into(), json!(pairs.iter().cloned().collect::<BTreeMap<_, _>>()));
        }
    }
    Ok(body.into())
}
