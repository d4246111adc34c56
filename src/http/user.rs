//! The user in a path.

use axum::extract::{FromRequestParts, Path};
use axum::http::request::Parts;

use super::error::Problem;
use crate::domain::UserId;

/// `{user_id}` in a path.
pub(super) struct User(pub(super) UserId);

impl<S: Send + Sync> FromRequestParts<S> for User {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        // A path that is not UTF-8 once decoded has no valid user id.
        let text = match Path::<String>::from_request_parts(parts, state).await {
            Ok(Path(text)) => text,
            Err(_) => "\u{fffd}".to_owned(),
        };
        Ok(Self(UserId::parse(&text)?))
    }
}
