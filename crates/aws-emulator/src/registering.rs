//! Registrations of one family at once: ECS refuses too many (aws-facts §1), and does not document how many.

use super::error::ApiError;
use super::protocol::Operation;
use super::{Emulator, lock};

/// A registration under way, until it is dropped; or another call.
pub(super) struct Registering(Option<(Emulator, String)>);

impl Registering {
    /// Counts a registration, or refuses it as ECS does.
    pub(super) fn begin(emulator: &Emulator, operation: &Operation) -> Result<Self, ApiError> {
        let most = emulator.inner.options.most_registrations_at_once;
        let family = operation.input.as_ref().ok().and_then(|input| input.get("family")?.as_str());
        let is_registration = operation.service == "ecs" && operation.action == "RegisterTaskDefinition";
        let (Some(most), Some(family), true) = (most, family, is_registration) else { return Ok(Self(None)) };
        let key = format!("{}/{family}", operation.region);
        let mut registrations = lock(&emulator.inner.registrations);
        let under_way = registrations.entry(key.clone()).or_default();
        if *under_way >= most {
            let message = "Too many concurrent attempts to create a new revision of the specified family.";
            return Err(ApiError::client(message));
        }
        *under_way += 1;
        Ok(Self(Some((emulator.clone(), key))))
    }
}

impl Drop for Registering {
    fn drop(&mut self) {
        if let Some((emulator, key)) = self.0.take() {
            let mut registrations = lock(&emulator.inner.registrations);
            if let Some(under_way) = registrations.get_mut(&key) {
                *under_way = under_way.saturating_sub(1);
            }
        }
    }
}
