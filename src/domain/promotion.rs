//! Which base users' definitions are rendered from: the newest, or the promoted one.

use jiff::Timestamp;
use openclaw::Invalid;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::service::revision;
use super::{BaseError, BaseFamily};

/// The promoted base. Without one, the newest ACTIVE revision of the family is used.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Promotion {
    /// `family:revision`.
    pub revision: String,
    /// When it was promoted.
    pub promoted_at: Timestamp,
    /// Name of the token that promoted it.
    pub by: String,
    /// The rollout that is moving the fleet to another base.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rollout: Option<UnderWay>,
    /// Id of the rollout that promoted it when it ended. Promoting the same base by hand clears this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at_end_of: Option<String>,
}

/// A rollout to another base that has not ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UnderWay {
    /// Its id.
    pub id: String,
    /// The base that it moves users to, `family:revision`.
    pub to: String,
}

/// The base that a target asks for.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BaseChoice {
    /// The base that the user has now, if any base is promoted; otherwise the newest.
    #[default]
    Kept,
    /// The promoted base; without one the newest.
    Promoted,
    /// This revision, `family:revision`, which must be ACTIVE.
    Named(String),
    /// This revision, which the user had before. It may be deregistered.
    Former(String),
}

/// The revision to describe.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BaseSource {
    /// The newest ACTIVE revision of the family.
    Newest,
    /// The promoted revision, which must be ACTIVE.
    Promoted(String),
    /// The revision that the user has; if it no longer exists, the promoted one.
    Own {
        /// The user's revision.
        own: String,
        /// The promoted revision.
        promoted: String,
    },
    /// The revision that the target names.
    Named(String),
    /// The revision that the user had before.
    Former(String),
}

impl BaseChoice {
    /// Whether it is the default, for a target that names no base.
    #[must_use]
    pub fn is_kept(&self) -> bool {
        *self == Self::Kept
    }

    /// Combines this choice with a later one: a named base stays until another base is named.
    #[must_use]
    pub fn then(self, later: Self) -> Self {
        match (self, later) {
            (_, later @ (Self::Named(_) | Self::Former(_))) => later,
            (before @ (Self::Named(_) | Self::Former(_)), Self::Kept | Self::Promoted) => before,
            (Self::Promoted, _) | (_, Self::Promoted) => Self::Promoted,
            (Self::Kept, Self::Kept) => Self::Kept,
        }
    }

    /// Whether the result of [`Self::source`] depends on the user's own base.
    #[must_use]
    pub fn hangs_on_own(&self, promotion: Option<&Promotion>) -> bool {
        match self {
            Self::Kept => promotion.is_some(),
            Self::Promoted => promotion.is_some_and(|promotion| promotion.rollout.is_some()),
            Self::Named(_) | Self::Former(_) => false,
        }
    }

    /// The revision to describe, for a user whose definition was rendered from `own` (an ARN or `family:revision`).
    ///
    /// With a promotion, a user keeps their base, so that nobody changes base by accident; only a redeploy or a rollout moves
    /// them to another one. A redeploy does not undo the move of a rollout that is still running.
    #[must_use]
    pub fn source(&self, promotion: Option<&Promotion>, own: Option<&str>, family: &str) -> BaseSource {
        let Some(promotion) = promotion else {
            return match self {
                Self::Named(revision) => BaseSource::Named(revision.clone()),
                Self::Former(revision) => BaseSource::Former(revision.clone()),
                Self::Kept | Self::Promoted => BaseSource::Newest,
            };
        };
        let promoted = || promotion.revision.clone();
        let own = own.map(short).filter(|own| revision(own).is_some_and(|(of, _)| of == family));
        match self {
            Self::Named(revision) => BaseSource::Named(revision.clone()),
            Self::Former(revision) => BaseSource::Former(revision.clone()),
            Self::Kept => match own {
                Some(own) => BaseSource::Own { own: own.to_owned(), promoted: promoted() },
                None => BaseSource::Promoted(promoted()),
            },
            Self::Promoted => match promotion.rollout.as_ref().filter(|rollout| own == Some(&rollout.to)) {
                Some(rollout) => BaseSource::Own { own: rollout.to.clone(), promoted: promoted() },
                None => BaseSource::Promoted(promoted()),
            },
        }
    }
}

/// `family:revision` of an ARN.
fn short(task_definition: &str) -> &str {
    task_definition.rsplit('/').next().unwrap_or(task_definition)
}

/// Why the promoted base, or the base that a rollout moves users to, cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum PromotedBaseError {
    /// The revision does not exist in AWS.
    #[error("the base {revision} is promoted, and there is no such revision")]
    Gone {
        /// `family:revision`.
        revision: String,
    },
    /// It was deregistered.
    #[error("the base {revision} is promoted, and is {status}: infrastructure has deregistered it")]
    NotActive {
        /// `family:revision`.
        revision: String,
        /// The status that ECS reports.
        status: String,
    },
    /// The settings name another family.
    #[error("the base {revision} is promoted, and the base family of the settings is {family}")]
    OtherFamily {
        /// `family:revision`.
        revision: String,
        /// The family of the settings.
        family: String,
    },
    /// It cannot be cloned.
    #[error("the base {revision} is promoted, and cannot be cloned: {why}")]
    Unusable {
        /// `family:revision`.
        revision: String,
        /// Why.
        why: Box<BaseError>,
    },
}

impl PromotedBaseError {
    /// What an operator should do.
    #[must_use]
    pub const fn fix(&self) -> &'static str {
        "promote another revision of the base family (`promote REVISION`), or follow the newest again (`promote --follow`)"
    }

    /// The same problem for a revision that a caller named in `field`.
    #[must_use]
    pub fn of_field(&self, field: &str) -> Invalid {
        let problem = match self {
            Self::Gone { revision } => format!("there is no revision {revision}"),
            Self::NotActive { revision, status } => format!("{revision} is {status}"),
            Self::OtherFamily { revision, family } => format!("{revision} is not of the base family {family}"),
            Self::Unusable { revision, why } => format!("{revision} cannot be cloned: {why}"),
        };
        Invalid::new(field, problem, "name an ACTIVE revision of the base family; GET /fleet/base names the newest")
    }
}

/// Reads which revision is meant: `42`, `family:42` or an ARN, of the family of the settings.
///
/// # Errors
/// When the text is not a revision, or is one of another family.
pub fn base_revision(text: &str, family: &BaseFamily) -> Result<String, Invalid> {
    let fix = "name a revision of the base family, such as openclaw-dev:42, or its number";
    let name = short(text);
    let (of, number) = name.rsplit_once(':').unwrap_or((family.as_str(), name));
    let is_number = !number.is_empty() && number.len() <= 9 && number.bytes().all(|byte| byte.is_ascii_digit());
    match number.parse::<u32>() {
        Ok(number) if is_number && number > 0 && of == family.as_str() => Ok(format!("{of}:{number}")),
        Ok(_) if is_number && of != family.as_str() => {
            let problem = format!("it is of the family {of:?}, and the base family is {}", family.as_str());
            Err(Invalid::new("revision", problem, fix))
        }
        Ok(_) | Err(_) => Err(Invalid::new("revision", "it is not a revision", fix)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn promotion(rollout_to: Option<&str>) -> Promotion {
        let rollout = rollout_to.map(|to| UnderWay { id: "r-1".into(), to: to.into() });
        let (revision, promoted_at, by) = ("base:41".into(), Timestamp::UNIX_EPOCH, "ops".into());
        Promotion { revision, promoted_at, by, rollout, at_end_of: None }
    }

    fn own(own: &str) -> BaseSource {
        BaseSource::Own { own: own.into(), promoted: "base:41".into() }
    }

    #[test]
    fn without_a_promotion_all_users_follow_the_newest_base() {
        for choice in [BaseChoice::Kept, BaseChoice::Promoted] {
            assert_eq!(choice.source(None, Some("base:7"), "base"), BaseSource::Newest);
            assert!(!choice.hangs_on_own(None));
        }
        assert_eq!(BaseChoice::Named("base:7".into()).source(None, None, "base"), BaseSource::Named("base:7".into()));
    }

    #[test]
    fn with_a_promotion_users_keep_their_base_and_new_users_get_the_promoted_one() {
        let promoted = BaseSource::Promoted("base:41".into());
        let kept = |own| BaseChoice::Kept.source(Some(&promotion(None)), own, "base");
        assert_eq!(kept(Some("arn:aws:ecs:eu-west-1:123456789012:task-definition/base:7")), own("base:7"));
        assert_eq!(kept(None), promoted);
        assert_eq!(kept(Some("former-family:7")), promoted, "the settings name another family now");
        assert_eq!(BaseChoice::Promoted.source(Some(&promotion(None)), Some("base:7"), "base"), promoted);
    }

    #[test]
    fn a_redeploy_does_not_undo_the_move_of_a_running_rollout() {
        let redeploy = |own| BaseChoice::Promoted.source(Some(&promotion(Some("base:42"))), Some(own), "base");
        assert_eq!(redeploy("base:42"), own("base:42"));
        assert_eq!(redeploy("base:40"), BaseSource::Promoted("base:41".into()));
    }

    #[test]
    fn a_named_base_stays_until_another_one_is_named() {
        let named = |number: u32| BaseChoice::Named(format!("base:{number}"));
        assert_eq!(named(1).then(BaseChoice::Kept), named(1));
        assert_eq!(named(1).then(BaseChoice::Promoted), named(1));
        assert_eq!(named(1).then(named(2)), named(2));
        assert_eq!(BaseChoice::Promoted.then(BaseChoice::Kept), BaseChoice::Promoted);
        assert_eq!(BaseChoice::Kept.then(BaseChoice::Promoted), BaseChoice::Promoted);
    }

    #[test]
    fn a_revision_is_accepted_in_every_form_but_only_of_the_base_family() {
        let family = BaseFamily::parse("base").unwrap();
        for text in ["42", "base:42", "arn:aws:ecs:eu-west-1:123456789012:task-definition/base:42"] {
            assert_eq!(base_revision(text, &family).unwrap(), "base:42", "{text}");
        }
        for text in ["", "base", "base:", "base:x", "0", "+4", "4294967296", "other:42", "base:1:2", "newest"] {
            assert_eq!(base_revision(text, &family).unwrap_err().field(), "revision", "{text}");
        }
    }
}
