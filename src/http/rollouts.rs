//! Rollouts over the fleet.

use std::collections::BTreeMap;

use axum::Extension;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::App;
use super::body::{Json, Object, OptionalJson};
use super::code::Code;
use super::error::Problem;
use super::openapi::{self, schemas};
use super::requests::{NoFields, RedeployRequest, given};
use crate::domain::{ImageRef, Invalid, OpenClawVersion, RawSize, RolloutOrder, Size, UserId};
use crate::reconcile::Caller;
use crate::rollout::words::{Canaries, Change, Journal, Rollout, RolloutState, Select, Share, Stage, Strategy};
use crate::rollout::{Action, Figures, Planned, RolloutError, Wanted, plan};

/// Messages of one reason that are shown.
const MOST_MESSAGES: usize = 3;
/// Users of an answer; `dry_run` has all.
const MOST_NAMED: u32 = 100_000;

/// `POST /rollouts`.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RolloutRequest {
    /// Whom it takes along; left out: everybody.
    #[serde(default)]
    #[schema(value_type = Option<SelectBody>, required = false)]
    select: Option<Object<SelectBody>>,
    #[schema(value_type = ChangeBody)]
    change: Object<ChangeBody>,
    /// How; each member that is left out has its default.
    #[serde(default)]
    #[schema(value_type = Option<StrategyBody>, required = false)]
    strategy: Option<Object<StrategyBody>>,
    /// Whether the base is promoted at the end. Left out: when everybody is taken along.
    promote: Option<bool>,
    /// Also over a release from which OpenClaw cannot go back.
    #[serde(default)]
    accept_no_way_back: bool,
    /// Answers who would be taken along in which wave, and changes nothing.
    #[serde(default)]
    dry_run: bool,
}

/// Whom a rollout takes along. Everything that is given has to be so.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = RolloutSelect)]
pub(super) struct SelectBody {
    /// These users alone.
    #[schema(max_items = 10000)]
    users: Option<Vec<String>>,
    /// Users who are on this base.
    #[schema(pattern = "^([A-Za-z0-9_-]+:)?[1-9][0-9]{0,8}$")]
    base_revision: Option<String>,
    /// Users who run this release.
    #[schema(schema_with = schemas::release, required = false)]
    openclaw_version: Option<String>,
    /// So many of a hundred, by a hash of the user id.
    #[schema(minimum = 1, maximum = 100)]
    percent: Option<u8>,
    /// Leaves stopped containers as they are.
    #[serde(default)]
    only_running: bool,
}

/// What is changed of each user: one of these.
#[derive(Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = RolloutChange)]
pub(super) struct ChangeBody {
    /// A revision of the base family, such as `42`, or `newest`.
    #[schema(pattern = "^(newest|([A-Za-z0-9_-]+:)?[1-9][0-9]{0,8})$")]
    base_revision: Option<String>,
    /// An image to pin; null takes the pin away.
    #[serde(default, deserialize_with = "given")]
    #[schema(schema_with = schemas::image, required = false)]
    image: Option<Option<String>>,
    /// A Fargate size.
    #[schema(schema_with = schemas::optional_size, required = false)]
    size: Option<Object<RawSize>>,
    /// Another task of the same.
    restart: Option<bool>,
    /// As a redeploy of one user: the promoted base, or the newest.
    #[schema(value_type = Option<RedeployRequest>, required = false)]
    redeploy: Option<Object<RedeployRequest>>,
}

/// How users are taken along.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = RolloutStrategy)]
pub(super) struct StrategyBody {
    /// How many go first; 1 unless told otherwise.
    #[schema(maximum = 100000)]
    canaries: Option<u32>,
    /// Who goes first, in place of a number.
    canary_users: Option<Vec<String>>,
    /// The waves after the canaries: a number of users, or a share such as `25%` of those who are no canaries. The rest is
    /// the last.
    #[schema(schema_with = schemas::shares, required = false)]
    waves: Option<Vec<ShareBody>>,
    /// Users who are on their way at a time; 10 unless told otherwise.
    #[schema(minimum = 1, maximum = 1000)]
    max_parallel: Option<u32>,
    /// How long a user has to stay ready; 60 unless told otherwise.
    #[schema(maximum = 86400)]
    soak_seconds: Option<u32>,
    /// How many may fail, as a number or a share; one more pauses it. 0 unless told otherwise.
    #[schema(schema_with = schemas::share, required = false)]
    max_failures: Option<ShareBody>,
    /// How long a user may take to become ready; 900 unless told otherwise.
    #[schema(minimum = 30, maximum = 86400)]
    deadline_seconds: Option<u32>,
    /// In which order a task is replaced. Left out: as the service is set.
    rollout_order: Option<RolloutOrder>,
}

/// A number of users, or a share such as `25%`.
#[derive(Debug, Clone, Deserialize)]
#[serde(untagged)]
pub(super) enum ShareBody {
    /// So many.
    Users(u32),
    /// So many of a hundred.
    Percent(String),
}

impl ShareBody {
    fn parse(&self, field: &str) -> Result<Share, Invalid> {
        let fix = "send a number of users, or a share such as \"25%\"";
        match self {
            Self::Users(users) if *users <= MOST_NAMED => Ok(Share::Users(*users)),
            Self::Users(_) => Err(Invalid::new(field, "it is more than there can be", fix)),
            Self::Percent(text) => {
                let percent = text.strip_suffix('%').and_then(|percent| percent.parse().ok());
                let percent = percent.filter(|percent| *percent <= 100);
                percent.map(Share::Percent).ok_or_else(|| Invalid::new(field, "it is no share", fix))
            }
        }
    }
}

fn users(field: &str, texts: Vec<String>) -> Result<Vec<UserId>, Invalid> {
    let parsed = texts.iter().enumerate().map(|(at, text)| {
        let invalid = |error: Invalid| Invalid::new(format!("{field}[{at}]"), error.problem(), error.fix());
        UserId::parse(text).map_err(invalid)
    });
    parsed.collect()
}

fn within(field: &str, value: Option<u32>, default: u32, least: u32, most: u32) -> Result<u32, Invalid> {
    let value = value.unwrap_or(default);
    let fix = format!("send a whole number from {least} to {most}");
    if (least..=most).contains(&value) { Ok(value) } else { Err(Invalid::new(field, "it is out of range", fix)) }
}

impl RolloutRequest {
    fn parse(self, app: &App) -> Result<(Wanted, bool), Problem> {
        let select = self.select.map_or_else(SelectBody::default, |Object(select)| select);
        let strategy = self.strategy.map_or_else(StrategyBody::default, |Object(strategy)| strategy);
        let Object(change) = self.change;
        let named = |field: &str, error: Invalid| Invalid::new(field, error.problem(), error.fix());
        let base = |field: &str, text: &str| app.reconciler.base_revision(text).map_err(|error| named(field, error));
        let release =
            |text: String| OpenClawVersion::from_tag(&text).map_err(|error| named("select.openclaw_version", error));
        let percent = match select.percent {
            Some(percent) if !(1..=100).contains(&percent) => {
                return Err(Invalid::new("select.percent", "it is out of range", "send a number from 1 to 100").into());
            }
            percent => percent,
        };
        let is_list = select.users.is_some();
        let select = Select {
            is_list,
            users: select.users.map(|texts| users("select.users", texts)).transpose()?,
            base: select.base_revision.map(|text| base("select.base_revision", &text)).transpose()?,
            release: select.openclaw_version.map(release).transpose()?,
            percent,
            only_running: select.only_running,
        };
        let image = |image: Option<String>| image.map(|image| ImageRef::parse(&image, "change.image")).transpose();
        let changes = [
            change.base_revision.map(Change::Base),
            change.image.map(image).transpose()?.map(Change::Image),
            change.size.map(|Object(raw)| Size::parse(raw, "change.size")).transpose()?.map(Change::Size),
            change.restart.filter(|restart| *restart).map(|_| Change::Restart),
            change.redeploy.map(|Object(redeploy)| redeploy.parse_change()).transpose()?,
        ];
        let mut given = changes.into_iter().flatten();
        let (Some(change), None) = (given.next(), given.next()) else {
            let fix = "send one of base_revision, image, size, restart and redeploy";
            return Err(Invalid::new("change", "it has to be one thing", fix).into());
        };
        let change = match change {
            Change::Base(text) if text == "newest" => Change::Base(text),
            Change::Base(text) => Change::Base(base("change.base_revision", &text)?),
            other => other,
        };
        let share = |at: usize, share: &ShareBody| share.parse(&format!("strategy.waves[{at}]"));
        let waves = strategy.waves.unwrap_or_default();
        let canaries = match (strategy.canary_users, strategy.canaries) {
            (Some(_), Some(_)) => {
                let fix = "send either canaries or canary_users";
                return Err(Invalid::new("strategy.canaries", "there are canaries by name, too", fix).into());
            }
            (Some(texts), None) => Canaries::Named(users("strategy.canary_users", texts)?),
            (None, number) => Canaries::Number(within("strategy.canaries", number, 1, 0, MOST_NAMED)?),
        };
        let max_failures = strategy.max_failures.unwrap_or(ShareBody::Users(0));
        let strategy = Strategy {
            canaries,
            waves: waves.iter().enumerate().map(|(at, wave)| share(at, wave)).collect::<Result<_, _>>()?,
            max_parallel: within("strategy.max_parallel", strategy.max_parallel, 10, 1, 1_000)?,
            soak_seconds: within("strategy.soak_seconds", strategy.soak_seconds, 60, 0, 86_400)?,
            max_failures: max_failures.parse("strategy.max_failures")?,
            deadline_seconds: within("strategy.deadline_seconds", strategy.deadline_seconds, 900, 30, 86_400)?,
            order: strategy.rollout_order,
        };
        let (promotes, accepts_no_way_back) = (self.promote, self.accept_no_way_back);
        Ok((Wanted { select, change, strategy, promotes, accepts_no_way_back }, self.dry_run))
    }
}

/// A rollout.
#[derive(Serialize, ToSchema)]
#[schema(as = Rollout)]
pub(super) struct RolloutBody {
    id: String,
    #[schema(schema_with = schemas::rollout_state)]
    state: &'static str,
    /// `forward`, or `back` after a rollback was asked for.
    #[schema(pattern = "^(forward|back)$")]
    direction: &'static str,
    /// Why it is paused.
    #[schema(required)]
    reason: Option<String>,
    #[schema(format = DateTime)]
    created_at: String,
    created_by: String,
    #[schema(format = DateTime)]
    changed_at: String,
    changed_by: String,
    /// What is changed, in words.
    change: String,
    /// The base that new users get until it is over; null where it changes no base.
    #[schema(required)]
    promoted_before: Option<String>,
    /// Whether the base is promoted at the end.
    promotes: bool,
    #[schema(required)]
    progress: Option<ProgressBody>,
}

/// How far a rollout is.
#[derive(Serialize, ToSchema)]
#[schema(as = RolloutProgress)]
struct ProgressBody {
    percent: u8,
    /// Users by how far they are.
    users: FiguresBody,
    waves: Vec<WaveBody>,
    /// Users who failed, by reason.
    failed: Vec<FailedBody>,
    /// Users who were left out, by reason.
    skipped: BTreeMap<String, usize>,
    /// What it waits for: `user`, `soak`, `resume` or null.
    #[schema(required)]
    waits_for: Option<&'static str>,
    /// At the pace so far; null while nobody is through.
    #[schema(required)]
    ends_in_seconds: Option<u64>,
}

/// Users by how far they are.
#[derive(Serialize, ToSchema)]
#[schema(as = RolloutUsers)]
struct FiguresBody {
    all: usize,
    waiting: usize,
    on_the_way: usize,
    soaking: usize,
    done: usize,
    failed: usize,
    skipped: usize,
}

/// A wave.
#[derive(Serialize, ToSchema)]
#[schema(as = RolloutWave)]
struct WaveBody {
    /// Canaries are 0.
    wave: u32,
    users: usize,
    /// Done, failed or left out.
    through: usize,
    /// Who is in it; with `dry_run` alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    user_ids: Option<Vec<String>>,
}

/// Users who failed for one reason.
#[derive(Serialize, ToSchema)]
#[schema(as = RolloutFailure)]
struct FailedBody {
    code: String,
    users: usize,
    /// Of these, back on what they had.
    back: usize,
    /// The first three.
    messages: Vec<String>,
}

/// Rollouts.
#[derive(Serialize, ToSchema)]
#[schema(as = RolloutList)]
pub(super) struct RolloutsBody {
    rollouts: Vec<RolloutBody>,
}

type IdPath = Result<Path<String>, PathRejection>;

fn id_in(path: IdPath) -> String {
    path.map_or_else(|_| "\u{fffd}".to_owned(), |Path(id)| id)
}

/// Start a rollout
///
/// Takes users along in waves, and pauses by itself when too many fail. With `dry_run` it says who would be in which wave.
#[utoipa::path(post, path = "/rollouts", operation_id = "start_rollout", tag = "fleet", request_body = RolloutRequest,
    responses(
        (status = 201, description = "Started", body = RolloutBody),
        (status = 200, description = "With `dry_run`: what would be started", body = RolloutBody),
        openapi::StartsRollout))]
pub(super) async fn start(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    Json(request): Json<RolloutRequest>,
) -> Result<Response, Problem> {
    let (mut wanted, is_dry) = request.parse(&app)?;
    if wanted.change == Change::Base("newest".to_owned()) {
        let newest = app.reconciler.fleet_base().await?.newest;
        wanted.change = Change::Base(
            newest.ok_or_else(|| Problem::new(Code::BaseUnusable, "the base family has no ACTIVE revision"))?,
        );
    }
    let (status, planned) = match is_dry {
        true => (StatusCode::OK, app.rollouts.plan(&caller, wanted).await?),
        false => (StatusCode::CREATED, app.rollouts.start(&caller, wanted).await?),
    };
    let Planned { rollout, waves } = planned;
    let mut by_wave: BTreeMap<u32, Vec<String>> = BTreeMap::new();
    for (user, wave) in waves {
        by_wave.entry(wave).or_default().push(user.to_string());
    }
    let mut body = RolloutBody::new(&rollout);
    let all = by_wave.values().map(Vec::len).sum();
    body.progress = Some(ProgressBody {
        percent: 0,
        users: FiguresBody { all, waiting: all, on_the_way: 0, soaking: 0, done: 0, failed: 0, skipped: 0 },
        waves: by_wave
            .into_iter()
            .map(|(wave, ids)| WaveBody { wave, users: ids.len(), through: 0, user_ids: is_dry.then_some(ids) })
            .collect(),
        failed: Vec::new(),
        skipped: BTreeMap::new(),
        waits_for: None,
        ends_in_seconds: None,
    });
    Ok((status, axum::Json(body)).into_response())
}

/// All rollouts that are kept
#[utoipa::path(get, path = "/rollouts", operation_id = "list_rollouts", tag = "fleet",
    responses((status = 200, description = "The newest first", body = RolloutsBody), openapi::OfFleet))]
pub(super) async fn list(State(app): State<App>) -> Result<Response, Problem> {
    let rollouts = app.rollouts.list().await?;
    let rollouts = rollouts.iter().map(RolloutBody::new).collect();
    Ok(axum::Json(RolloutsBody { rollouts }).into_response())
}

/// How far a rollout is
#[utoipa::path(get, path = "/rollouts/{rollout_id}", operation_id = "get_rollout", tag = "fleet",
    params(openapi::OfRollout),
    responses((status = 200, description = "How far it is", body = RolloutBody), openapi::OfOneRollout))]
pub(super) async fn show(State(app): State<App>, path: IdPath) -> Result<Response, Problem> {
    respond(&app, &id_in(path)).await
}

async fn respond(app: &App, id: &str) -> Result<Response, Problem> {
    let (rollout, journal) = app.rollouts.get(id).await?;
    let mut body = RolloutBody::new(&rollout);
    body.progress = Some(ProgressBody::new(&rollout, &journal));
    Ok(axum::Json(body).into_response())
}

async fn act(app: &App, caller: &Caller, path: IdPath, action: Action) -> Result<Response, Problem> {
    let id = id_in(path);
    app.rollouts.act(caller, &id, action).await?;
    respond(app, &id).await
}

/// Pause a rollout
///
/// It begins with nobody more. Who is on the way is brought to an end.
#[utoipa::path(post, path = "/rollouts/{rollout_id}/pause", operation_id = "pause_rollout", tag = "fleet",
    params(openapi::OfRollout), request_body = Option<NoFields>,
    responses((status = 200, description = "Paused", body = RolloutBody), openapi::ChangesRollout))]
pub(super) async fn pause(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    path: IdPath,
    OptionalJson(NoFields {}): OptionalJson<NoFields>,
) -> Result<Response, Problem> {
    act(&app, &caller, path, Action::Pause).await
}

/// Go on with a rollout
///
/// Users who have failed so far count no more.
#[utoipa::path(post, path = "/rollouts/{rollout_id}/resume", operation_id = "resume_rollout", tag = "fleet",
    params(openapi::OfRollout), request_body = Option<NoFields>,
    responses((status = 200, description = "Going on", body = RolloutBody), openapi::ChangesRollout))]
pub(super) async fn resume(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    path: IdPath,
    OptionalJson(NoFields {}): OptionalJson<NoFields>,
) -> Result<Response, Problem> {
    act(&app, &caller, path, Action::Resume).await
}

/// Give a rollout up
///
/// Whoever was moved stays where they are.
#[utoipa::path(post, path = "/rollouts/{rollout_id}/abort", operation_id = "abort_rollout", tag = "fleet",
    params(openapi::OfRollout), request_body = Option<NoFields>,
    responses((status = 200, description = "Given up", body = RolloutBody), openapi::ChangesRollout))]
pub(super) async fn abort(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    path: IdPath,
    OptionalJson(NoFields {}): OptionalJson<NoFields>,
) -> Result<Response, Problem> {
    act(&app, &caller, path, Action::Abort).await
}

/// Take everybody back
///
/// Whoever was moved goes back to what they had, through the same waves and gates. Also of a rollout that is over.
#[utoipa::path(post, path = "/rollouts/{rollout_id}/rollback", operation_id = "roll_back_rollout", tag = "fleet",
    params(openapi::OfRollout), request_body = Option<NoFields>,
    responses((status = 200, description = "On the way back", body = RolloutBody), openapi::ChangesRollout))]
pub(super) async fn rollback(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    path: IdPath,
    OptionalJson(NoFields {}): OptionalJson<NoFields>,
) -> Result<Response, Problem> {
    act(&app, &caller, path, Action::Rollback).await
}

impl RolloutBody {
    fn new(rollout: &Rollout) -> Self {
        let change = match &rollout.change {
            Change::Base(to) => format!("base {to}"),
            Change::Image(Some(image)) => format!("image {}", image.as_str()),
            Change::Image(None) => "no image pin".to_owned(),
            Change::Size(size) => format!("size {} CPU units, {} MiB", size.cpu(), size.memory_mib()),
            Change::Restart => "restart".to_owned(),
            Change::Redeploy { .. } => "redeploy".to_owned(),
        };
        Self {
            id: rollout.id.clone(),
            state: rollout.state.name(),
            direction: if rollout.is_back { "back" } else { "forward" },
            reason: rollout.reason.clone(),
            created_at: rollout.created_at.to_string(),
            created_by: rollout.created_by.clone(),
            changed_at: rollout.changed_at.to_string(),
            changed_by: rollout.changed_by.clone(),
            change,
            promoted_before: rollout.promoted_before.clone(),
            promotes: rollout.promotes,
            progress: None,
        }
    }
}

impl ProgressBody {
    fn new(rollout: &Rollout, journal: &Journal) -> Self {
        let figures = Figures::of(journal);
        let (mut waves, mut failed, mut skipped) = (BTreeMap::<u32, WaveBody>::new(), BTreeMap::new(), BTreeMap::new());
        for (user, person) in &journal.people {
            let empty = WaveBody { wave: person.wave, users: 0, through: 0, user_ids: None };
            let wave = waves.entry(person.wave).or_insert(empty);
            wave.users += 1;
            match &person.stage {
                Stage::Waiting | Stage::Begun | Stage::Sent { .. } | Stage::Ready { .. } => continue,
                Stage::Done => {}
                Stage::Failed { code, detail, is_back } => {
                    let empty = FailedBody { code: code.clone(), users: 0, back: 0, messages: Vec::new() };
                    let reason = failed.entry(code.clone()).or_insert(empty);
                    reason.users += 1;
                    reason.back += usize::from(*is_back);
                    if reason.messages.len() < MOST_MESSAGES {
                        reason.messages.push(format!("{user}: {detail}"));
                    }
                }
                Stage::Skipped { why } => *skipped.entry(why.clone()).or_default() += 1,
            }
            wave.through += 1;
        }
        let through = figures.done + figures.failed + figures.skipped;
        let percent = (through * 100).checked_div(figures.all).unwrap_or(100);
        let waits_for = match plan::waits_for(rollout, journal) {
            plan::WaitsFor::Nothing => None,
            plan::WaitsFor::User => Some("user"),
            plan::WaitsFor::Soak => Some("soak"),
            plan::WaitsFor::Resume => Some("resume"),
        };
        let left = u64::try_from(figures.all.saturating_sub(through)).unwrap_or(u64::MAX);
        let elapsed = Timestamp::now().as_second().saturating_sub(rollout.created_at.as_second());
        let done = u64::try_from(figures.done).unwrap_or(u64::MAX);
        let is_running = rollout.state == RolloutState::Running && !rollout.is_back;
        let ends_in_seconds = (left * u64::try_from(elapsed).unwrap_or(0)).checked_div(done).filter(|_| is_running);
        Self {
            percent: u8::try_from(percent).unwrap_or(100),
            users: FiguresBody {
                all: figures.all,
                waiting: figures.waiting,
                on_the_way: figures.on_the_way,
                soaking: figures.soaking,
                done: figures.done,
                failed: figures.failed,
                skipped: figures.skipped,
            },
            waves: waves.into_values().collect(),
            failed: failed.into_values().collect(),
            skipped,
            waits_for,
            ends_in_seconds,
        }
    }
}

impl From<RolloutError> for Problem {
    fn from(error: RolloutError) -> Self {
        match error {
            RolloutError::Invalid(invalid) => invalid.into(),
            RolloutError::List(refused) => refused.into(),
            RolloutError::Converge(error) => error.into(),
            RolloutError::NotFound { .. } => Self::new(Code::RolloutNotFound, error.to_string()),
            RolloutError::UnderWay { .. } => Self::new(Code::RolloutUnderWay, error.to_string()),
            RolloutError::NotNow { .. } => Self::new(Code::RolloutOver, error.to_string()),
        }
    }
}
