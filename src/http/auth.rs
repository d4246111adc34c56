//! Bearer authentication and scopes.

use axum::extract::{Request, State};
use axum::http::header::AUTHORIZATION;
use axum::http::{HeaderMap, Method};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::App;
use super::code::Code;
use super::error::Problem;
use crate::config::Scope;
use crate::reconcile::Caller;

/// Lets a request through when its token has the scope that its method needs: GET reads, everything else changes one
/// user. The scope comes from the token, never from what the caller claims (incident 32).
pub(super) async fn require_token(State(app): State<App>, request: Request, next: Next) -> Response {
    let reads = request.method() == Method::GET || request.method() == Method::HEAD;
    require(needed(reads), &app, request, next).await
}

/// The scope for a method that reads, and for one that does not.
pub(super) const fn needed(reads: bool) -> Scope {
    if reads { Scope::Read } else { Scope::Provision }
}

/// As [`require_token`], for routes whose answer is a secret: also reading needs the scope `provision`.
pub(super) async fn require_provision(State(app): State<App>, request: Request, next: Next) -> Response {
    require(Scope::Provision, &app, request, next).await
}

/// As [`require_token`], for changes that concern all users: they need the scope `admin`.
pub(super) async fn require_admin(State(app): State<App>, request: Request, next: Next) -> Response {
    require(Scope::Admin, &app, request, next).await
}

async fn require(needed: Scope, app: &App, mut request: Request, next: Next) -> Response {
    match authorize(needed, app, request.headers()) {
        Ok(caller) => request.extensions_mut().insert(caller),
        Err(problem) => return problem.into_response(),
    };
    next.run(request).await
}

/// The caller who owns the token, if the token has the scope.
pub(super) fn authorize(needed: Scope, app: &App, headers: &HeaderMap) -> Result<Caller, Problem> {
    let presented = headers.get(AUTHORIZATION).and_then(|header| header.to_str().ok());
    let Some(token) = presented.and_then(bearer) else {
        let detail = "send the header Authorization: Bearer <token>";
        return Err(Problem::new(Code::Unauthorized, detail));
    };
    let found = app.tokens.borrow().find(token).map(|(name, scope)| (name.to_owned(), scope));
    let Some((name, scope)) = found else {
        return Err(Problem::new(Code::Unauthorized, "the token is not one of the accepted ones"));
    };
    if scope < needed {
        let detail = format!("the token {name:?} may not do this; it needs the scope {}", scope_name(needed));
        return Err(Problem::new(Code::Forbidden, detail));
    }
    tracing::debug!(caller = name, "authenticated");
    Ok(Caller::new(&name))
}

fn bearer(header: &str) -> Option<&str> {
    let (scheme, token) = header.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

/// The name of a scope in the tokens file.
pub(super) const fn scope_name(scope: Scope) -> &'static str {
    match scope {
        Scope::Read => "read",
        Scope::Provision => "provision",
        Scope::Admin => "admin",
    }
}
