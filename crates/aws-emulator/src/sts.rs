//! STS: the identity of the caller.

use super::error::Outcome;
use super::here::{Action, Here};
use super::ids::ACCOUNT;
use super::input::Input;
use serde_json::json;

pub(crate) const ACTIONS: &[Action<Here>] = &[("GetCallerIdentity", get_caller_identity)];

fn get_caller_identity(_: &mut Here, _: Input<'_>) -> Outcome {
    Ok(json!({
        "Arn": format!("arn:aws:iam::{ACCOUNT}:user/emulator"),
        "UserId": "AIDAEMULATOR",
        "Account": ACCOUNT,
    }))
}
