//! Request bodies for rollouts.

use std::collections::BTreeMap;

use openclaw::{Invalid, OpenClawVersion};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{RedeployRequest, given};
use crate::domain::{ImageRef, Labels, RawSize, RolloutOrder, Size, State, UserId, Variables};
use crate::http::App;
use crate::http::body::Object;
use crate::http::error::Problem;
use crate::http::openapi::schemas;
use crate::rollout::Wanted;
use crate::rollout::words::{Canaries, Change, Select, Share, Strategy, Window};

/// Largest number of users for a share or for the canaries.
const MOST_NAMED: u32 = 100_000;
/// Most users, and most waves, in a list.
const MOST_LISTED: usize = 10_000;
const MOST_WAVES: usize = 100;

/// `POST /rollouts`.
#[derive(Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct RolloutRequest {
    /// Whom it takes along; left out: everybody.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<SelectBody>, required = false)]
    pub(crate) select: Option<Object<SelectBody>>,
    #[schema(value_type = schemas::RolloutChange)]
    pub(crate) change: Object<ChangeBody>,
    /// How; each member that is left out has its default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<StrategyBody>, required = false)]
    pub(crate) strategy: Option<Object<StrategyBody>>,
    /// Whether the base is promoted at the end. Left out: when everybody is taken along.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) promote: Option<bool>,
    /// Also over a release from which OpenClaw cannot go back.
    #[serde(default)]
    pub(crate) accept_no_way_back: bool,
    /// Answers who would be taken along in which wave and what would change in their definitions, and changes nothing.
    #[serde(default)]
    pub(crate) dry_run: bool,
    /// The `digest` of the plan that a `dry_run` answered: it is started only if it would still do the same.
    #[schema(pattern = "^[0-9a-f]{64}$")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) plan: Option<String>,
}

/// Whom a rollout takes along. Everything that is given has to be so.
#[derive(Debug, Default, Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = RolloutSelect)]
pub(crate) struct SelectBody {
    /// These users alone.
    #[schema(max_items = 10000)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) users: Option<Vec<String>>,
    /// Users who are on this base.
    #[schema(pattern = "^([A-Za-z0-9_-]+:)?[1-9][0-9]{0,8}$")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) base_revision: Option<String>,
    /// Users who run this release.
    #[schema(schema_with = schemas::release, required = false)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) openclaw_version: Option<String>,
    /// So many of a hundred, by a hash of the user id.
    #[schema(minimum = 1, maximum = 100)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) percent: Option<u8>,
    /// Leaves stopped containers as they are.
    #[serde(default)]
    pub(crate) only_running: bool,
    /// Users in one of these states when it starts.
    #[schema(min_items = 1)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) states: Option<Vec<State>>,
    /// Users with all of these labels.
    #[schema(schema_with = schemas::labels, required = false)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) labels: Option<BTreeMap<String, String>>,
}

/// What is changed of each user: one of these; see [`schemas::RolloutChange`].
#[derive(Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ChangeBody {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) base_revision: Option<String>,
    #[serde(default, deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    pub(crate) image: Option<Option<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) size: Option<Object<RawSize>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) variable: Option<Object<VariableBody>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) restart: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) redeploy: Option<Object<RedeployRequest>>,
}

/// One variable.
#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct VariableBody {
    pub(crate) name: String,
    /// `None` takes it away.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) value: Option<String>,
}

/// When a rollout may begin with users.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = RolloutWindow)]
pub(crate) struct WindowBody {
    /// Days on which it opens, such as `saturday`; every day unless told otherwise.
    #[schema(schema_with = schemas::days, required = false)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) days: Option<Vec<String>>,
    /// When it opens, in UTC.
    #[schema(pattern = "^([01][0-9]|2[0-3]):[0-5][0-9]$", example = "22:00")]
    pub(crate) from: String,
    /// When it closes, in UTC; on the next day where that is before `from`. `24:00` is the end of the day.
    #[schema(pattern = "^(([01][0-9]|2[0-3]):[0-5][0-9]|24:00)$", example = "04:00")]
    pub(crate) to: String,
}

/// How users are taken along.
#[derive(Default, Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = RolloutStrategy)]
pub(crate) struct StrategyBody {
    /// How many go first; 1 unless told otherwise.
    #[schema(maximum = 100000)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) canaries: Option<u32>,
    /// Who goes first, in place of a number.
    #[schema(min_items = 1, max_items = 10000)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) canary_users: Option<Vec<String>>,
    /// The waves after the canaries: a number of users, or a share such as `25%` of those who are no canaries. The rest is
    /// the last.
    #[schema(schema_with = schemas::shares, required = false)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) waves: Option<Vec<ShareBody>>,
    /// Users who are on their way at a time; 10 unless told otherwise.
    #[schema(minimum = 1, maximum = 1000)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) max_parallel: Option<u32>,
    /// How long a user has to stay ready; 60 unless told otherwise.
    #[schema(maximum = 86400)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) soak_seconds: Option<u32>,
    /// How many may fail, as a number or a share; one more pauses it. 0 unless told otherwise.
    #[schema(schema_with = schemas::share, required = false)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) max_failures: Option<ShareBody>,
    /// How long a user may take to become ready; 900 unless told otherwise.
    #[schema(minimum = 30, maximum = 86400)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) deadline_seconds: Option<u32>,
    /// In which order a task is replaced. Left out: as the service is set.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) rollout_order: Option<RolloutOrder>,
    /// When it may begin with users. Left out: at any time.
    #[schema(value_type = Option<WindowBody>, required = false)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) window: Option<Object<WindowBody>>,
}

/// A number of users, or a share such as `25%`.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(untagged)]
pub(crate) enum ShareBody {
    /// So many.
    Users(u32),
    /// A share, in percent.
    Percent(String),
}

impl ShareBody {
    fn parse(&self, field: &str) -> Result<Share, Invalid> {
        let fix = "send a number of users, or a share such as \"25%\"";
        match self {
            Self::Users(users) if *users <= MOST_NAMED => Ok(Share::Users(*users)),
            Self::Users(_) => Err(Invalid::new(field, "it is more than there can be", fix)),
            Self::Percent(text) => {
                let percent = text.strip_suffix('%').and_then(|percent| percent.parse::<u8>().ok());
                // Only one spelling: not +25%, and not 025%.
                let percent = percent.filter(|percent| *percent <= 100 && format!("{percent}%") == *text);
                percent.map(Share::Percent).ok_or_else(|| Invalid::new(field, "it is no share", fix))
            }
        }
    }

    /// As [`Self::parse`], for a wave, which must not be empty.
    fn parse_wave(&self, at: usize) -> Result<Share, Invalid> {
        let field = format!("strategy.waves[{at}]");
        match self.parse(&field)? {
            Share::Users(0) | Share::Percent(0) => {
                let fix = "leave it out, or send a number from 1 on or a share such as \"25%\"";
                Err(Invalid::new(field, "it has nobody in it", fix))
            }
            share => Ok(share),
        }
    }
}

fn users(field: &str, texts: Vec<String>) -> Result<Vec<UserId>, Invalid> {
    if texts.len() > MOST_LISTED {
        let fix = format!("name at most {MOST_LISTED}, or select them by something that they have in common");
        return Err(Invalid::new(field, "there are too many", fix));
    }
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

impl VariableBody {
    fn parse(self) -> Result<Change, Invalid> {
        let Self { name, value } = self;
        let one = BTreeMap::from([(name.clone(), value.clone().unwrap_or_default())]);
        Variables::parse(one).map_err(|error| Invalid::new("change.variable", error.problem(), error.fix()))?;
        Ok(Change::Variable { name, value })
    }
}

impl WindowBody {
    fn parse(self) -> Result<Window, Invalid> {
        Window::parse(self.days.as_deref(), &self.from, &self.to, "strategy.window")
    }
}

impl RolloutRequest {
    /// That change, of everybody, in the usual way.
    pub(crate) fn of(change: ChangeBody) -> Self {
        Self {
            select: None,
            change: Object(change),
            strategy: None,
            promote: None,
            accept_no_way_back: false,
            dry_run: false,
            plan: None,
        }
    }

    pub(in crate::http) fn parse(self, app: &App) -> Result<(Wanted, bool), Problem> {
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
        if select.states.as_ref().is_some_and(Vec::is_empty) {
            let fix = "name a state, or leave it out for all of them";
            return Err(Invalid::new("select.states", "it leaves everybody out", fix).into());
        }
        let labels = select.labels.unwrap_or_default();
        Labels::parse(labels.clone()).map_err(|error| named(&format!("select.{}", error.field()), error))?;
        let is_list = select.users.is_some();
        let select = Select {
            is_list,
            users: select.users.map(|texts| users("select.users", texts)).transpose()?,
            base: select.base_revision.map(|text| base("select.base_revision", &text)).transpose()?,
            release: select.openclaw_version.map(release).transpose()?,
            percent,
            only_running: select.only_running,
            states: select.states.unwrap_or_default(),
            labels,
        };
        let image = |image: Option<String>| image.map(|image| ImageRef::parse(&image, "change.image")).transpose();
        let changes = [
            change.base_revision.map(Change::Base),
            change.image.map(image).transpose()?.map(Change::Image),
            change.size.map(|Object(raw)| Size::parse(raw, "change.size")).transpose()?.map(Change::Size),
            change.variable.map(|Object(variable)| variable.parse()).transpose()?,
            change.restart.filter(|restart| *restart).map(|_| Change::Restart),
            change.redeploy.map(|Object(redeploy)| redeploy.parse_change()).transpose()?,
        ];
        let mut given = changes.into_iter().flatten();
        let (Some(change), None) = (given.next(), given.next()) else {
            let fix = "send one of base_revision, image, size, variable, restart and redeploy";
            return Err(Invalid::new("change", "it has to be one thing", fix).into());
        };
        let change = match change {
            Change::Base(text) if text == "newest" => Change::Base(text),
            Change::Base(text) => Change::Base(base("change.base_revision", &text)?),
            other => other,
        };
        let waves = strategy.waves.unwrap_or_default();
        if waves.len() > MOST_WAVES {
            let fix = format!("send at most {MOST_WAVES}");
            return Err(Invalid::new("strategy.waves", "there are too many", fix).into());
        }
        let canaries = match (strategy.canary_users, strategy.canaries) {
            (Some(_), Some(_)) => {
                let fix = "send either canaries or canary_users";
                return Err(Invalid::new("strategy.canaries", "there are canaries by name, too", fix).into());
            }
            (Some(texts), None) if texts.is_empty() => {
                let fix = "name somebody, or send 0 canaries";
                return Err(Invalid::new("strategy.canary_users", "nobody is named", fix).into());
            }
            (Some(texts), None) => Canaries::Named(users("strategy.canary_users", texts)?),
            (None, number) => Canaries::Number(within("strategy.canaries", number, 1, 0, MOST_NAMED)?),
        };
        let max_failures = strategy.max_failures.unwrap_or(ShareBody::Users(0));
        let strategy = Strategy {
            canaries,
            waves: waves.iter().enumerate().map(|(at, wave)| wave.parse_wave(at)).collect::<Result<_, _>>()?,
            max_parallel: within("strategy.max_parallel", strategy.max_parallel, 10, 1, 1_000)?,
            soak_seconds: within("strategy.soak_seconds", strategy.soak_seconds, 60, 0, 86_400)?,
            max_failures: max_failures.parse("strategy.max_failures")?,
            deadline_seconds: within("strategy.deadline_seconds", strategy.deadline_seconds, 900, 30, 86_400)?,
            order: strategy.rollout_order,
            window: strategy.window.map(|Object(window)| window.parse()).transpose()?,
        };
        let (promotes, accepts_no_way_back) = (self.promote, self.accept_no_way_back);
        let plan = self.plan;
        if plan.as_ref().is_some_and(|plan| plan.len() != 64 || !plan.bytes().all(|byte| byte.is_ascii_hexdigit())) {
            let fix = "send plan.digest of the answer to a dry_run";
            return Err(Invalid::new("plan", "it is no digest of a plan", fix).into());
        }
        Ok((Wanted { select, change, strategy, promotes, accepts_no_way_back, plan }, self.dry_run))
    }
}
