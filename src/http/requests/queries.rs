//! What travels in the queries of requests. The command line sends the same.

use std::borrow::Cow;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use clap::Args;
use openclaw::OpenClawVersion;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::domain::{State, UserId};
use crate::http::query;
use crate::reconcile::{Caller, Intent};

/// `GET /containers`.
#[derive(Debug, Default, Args, Deserialize, Serialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct ListQuery {
    /// Only containers in this state
    #[arg(long, value_parser = query::read::<State>)]
    #[serde(default, with = "query::optional", skip_serializing_if = "Option::is_none")]
    pub(crate) state: Option<State>,
    /// Only containers of this release, such as `2026.4.25`
    #[arg(id = "release", long, value_name = "RELEASE", value_parser = query::read::<OpenClawVersion>)]
    #[serde(default, with = "query::optional", skip_serializing_if = "Option::is_none")]
    #[param(value_type = Option<String>, pattern = "^v?[2-9][0-9]{3}\\.([1-9]|1[0-2])\\.(0|[1-9][0-9]{0,3})(-.*)?$")]
    pub(crate) openclaw_version: Option<OpenClawVersion>,
    /// Only containers of this base, such as `openclaw-dev:42`, or its number
    #[arg(long, value_name = "REVISION", value_parser = query::read::<BaseRevision>)]
    #[serde(default, with = "query::optional", skip_serializing_if = "Option::is_none")]
    #[param(value_type = Option<String>, pattern = "^([A-Za-z0-9_-]+:)?[0-9]{1,9}$")]
    pub(crate) base_revision: Option<BaseRevision>,
    /// How many at most; 50 unless told otherwise
    #[arg(skip)]
    #[serde(default, with = "query::optional", skip_serializing_if = "Option::is_none")]
    #[param(value_type = Option<u32>, minimum = 1, maximum = 1000)]
    pub(crate) limit: Option<Limit>,
    /// The `next_cursor` of the page before, unchanged
    #[arg(skip)]
    #[serde(default, with = "query::optional", skip_serializing_if = "Option::is_none")]
    #[param(value_type = Option<String>, format = "cursor")]
    pub(crate) cursor: Option<Cursor>,
    /// Takes a new snapshot first, unless the last is younger than 30 s
    #[arg(skip)]
    #[serde(default, with = "query::optional", skip_serializing_if = "Option::is_none")]
    pub(crate) fresh: Option<bool>,
}

/// A base revision, by its name or its number alone.
#[derive(Debug, Clone)]
pub(crate) struct BaseRevision(pub(crate) String);

impl query::Parameter for BaseRevision {
    fn expected() -> Cow<'static, str> {
        "a base revision, such as openclaw-dev:42, or its number alone".into()
    }

    fn parse(text: &str) -> Option<Self> {
        let number = text.rsplit_once(':').map_or(text, |(_, number)| number);
        number.parse::<u32>().is_ok().then(|| Self(text.to_owned()))
    }

    fn to_text(&self) -> String {
        self.0.clone()
    }
}

/// How many containers a page has.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limit(pub(crate) usize);

impl Limit {
    pub(crate) const MAX: Self = Self(1_000);
}

impl query::Parameter for Limit {
    fn expected() -> Cow<'static, str> {
        format!("a whole number from 1 to {}", Self::MAX.0).into()
    }

    fn parse(text: &str) -> Option<Self> {
        text.parse().ok().filter(|limit| (1..=Self::MAX.0).contains(limit)).map(Self)
    }

    fn to_text(&self) -> String {
        self.0.to_string()
    }
}

/// Where a page ends: the last user on it.
#[derive(Debug, Clone)]
pub(crate) struct Cursor(pub(crate) UserId);

impl Cursor {
    /// Begins every cursor, so that one of another form can be told from it one day.
    const PREFIX: &'static str = "after:";
}

impl query::Parameter for Cursor {
    fn expected() -> Cow<'static, str> {
        "the next_cursor of an answer, unchanged".into()
    }

    fn parse(text: &str) -> Option<Self> {
        let decoded = String::from_utf8(URL_SAFE_NO_PAD.decode(text).ok()?).ok()?;
        UserId::parse(decoded.strip_prefix(Self::PREFIX)?).ok().map(Self)
    }

    fn to_text(&self) -> String {
        URL_SAFE_NO_PAD.encode(format!("{}{}", Self::PREFIX, self.0))
    }
}

/// `GET /containers/{user_id}/wait`.
#[derive(Debug, Default, Deserialize, Serialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct WaitQuery {
    /// For which; `running` unless told otherwise
    #[serde(default, with = "query::optional", skip_serializing_if = "Option::is_none")]
    pub(crate) state: Option<State>,
    /// For how long; 30 unless told otherwise, and 55 at most
    #[serde(default, with = "query::optional", skip_serializing_if = "Option::is_none")]
    #[param(value_type = Option<u32>, minimum = 0, maximum = 60)]
    pub(crate) timeout_seconds: Option<Seconds>,
    /// The status when it was not in time; 408 unless told otherwise
    #[serde(default, with = "query::optional", skip_serializing_if = "Option::is_none")]
    #[param(inline)]
    pub(crate) on_timeout: Option<OnTimeout>,
}

/// How long a request may wait.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Seconds(pub(crate) u64);

impl Seconds {
    const MAX: u64 = 60;
}

impl query::Parameter for Seconds {
    fn expected() -> Cow<'static, str> {
        format!("a whole number from 0 to {}", Self::MAX).into()
    }

    fn parse(text: &str) -> Option<Self> {
        text.parse().ok().filter(|seconds| *seconds <= Self::MAX).map(Self)
    }

    fn to_text(&self) -> String {
        self.0.to_string()
    }
}

/// The status of an answer to a wait that was over before the container was in the state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
pub(crate) enum OnTimeout {
    /// 408, which generic HTTP clients repeat by themselves.
    #[serde(rename = "408")]
    RequestTimeout,
    /// 200, which says in `reached` that it is not.
    #[serde(rename = "200")]
    Ok,
}

impl query::Parameter for OnTimeout {
    fn expected() -> Cow<'static, str> {
        "200 or 408".into()
    }

    fn parse(text: &str) -> Option<Self> {
        [Self::RequestTimeout, Self::Ok].into_iter().find(|known| known.to_text() == text)
    }

    fn to_text(&self) -> String {
        match self {
            Self::RequestTimeout => "408".to_owned(),
            Self::Ok => "200".to_owned(),
        }
    }
}

/// `DELETE /containers/{user_id}`.
#[derive(Debug, Default, Deserialize, Serialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct DeleteQuery {
    /// `purge` removes the user's files, too; `keep` unless told otherwise
    #[serde(default, with = "query::optional", skip_serializing_if = "Option::is_none")]
    #[param(value_type = Option<String>, pattern = "^(keep|purge)$")]
    pub(crate) data: Option<Data>,
    /// Does not wait for the tasks to stop, and goes on past what cannot be removed: `not_removed` says what
    #[serde(default, with = "query::optional", skip_serializing_if = "Option::is_none")]
    pub(crate) force: Option<bool>,
}

impl DeleteQuery {
    pub(in crate::http) fn parse(&self, caller: &Caller, user: UserId) -> Intent {
        let purge = matches!(self.data, Some(Data::Purge));
        Intent::delete(caller, user, purge, self.force.unwrap_or(false))
    }
}

/// What becomes of the user's files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Data {
    Keep,
    Purge,
}

impl query::Parameter for Data {
    fn expected() -> Cow<'static, str> {
        "leave it out to keep the user's files, or write data=purge to remove them".into()
    }

    fn parse(text: &str) -> Option<Self> {
        [Self::Keep, Self::Purge].into_iter().find(|known| known.to_text() == text)
    }

    fn to_text(&self) -> String {
        match self {
            Self::Keep => "keep".to_owned(),
            Self::Purge => "purge".to_owned(),
        }
    }
}
