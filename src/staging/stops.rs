//! Why a user's container last stopped, kept beside the locks: ECS forgets a stopped task after about an hour.
//!
//! Only ever an explanation: whether a container runs is what ECS says. One small file a user, which goes with them.

use std::path::Path;

use super::Staging;
use super::error::StagingError;
use super::jail::{Found, Name};
use super::locks;
use super::write::replace;
use crate::domain::LastStop;
use crate::domain::user_id::UserId;

impl Staging {
    /// What was noted last; nothing when it cannot be understood.
    pub async fn last_stop(&self, user: &UserId) -> Result<Option<LastStop>, StagingError> {
        self.blocking(user, read).await
    }

    /// Notes a stop, unless the very same is noted.
    pub async fn note_stop(&self, user: &UserId, stop: LastStop) -> Result<(), StagingError> {
        self.blocking(user, move |root, user| {
            if read(root, user)?.is_some_and(|noted| noted.is_same(&stop)) {
                return Ok(());
            }
            let bytes = serde_json::to_vec(&stop).unwrap_or_default();
            replace(&locks::directory(root)?, &file_name(user), &bytes, None, || Ok(true)).map(drop)
        })
        .await
    }
}

fn read(root: &Path, user: &UserId) -> Result<Option<LastStop>, StagingError> {
    Ok(match locks::directory(root)?.read(&file_name(user))? {
        Found::Regular(bytes) => serde_json::from_slice(&bytes).ok(),
        Found::Missing | Found::TooLarge(_) | Found::Other(_) => None,
    })
}

/// No user id has a full stop in it.
pub(super) fn file_name(user: &UserId) -> Name {
    Name::of(user).plus(".stop")
}
