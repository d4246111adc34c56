//! The work that callers want done for a user, as one piece: which parts of earlier requests a later one replaces, what it
//! adds, and how the work is written down until it is done.

use std::fmt;

use jiff::Timestamp;
use openclaw::{ChatGptAuth, Provider, sha256_hex12};
use secrecy::{ExposeSecret as _, SecretSlice};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::intent::{Intent, SignInChange};
use super::plan::Refusal;
use super::target::{Definition, Desired, IfMissing, Target};
use crate::domain::{Phase, RolloutOrder, SpecPatch, State};
use crate::ledger::{Pending, Secret};

/// What is to be done for a user: first the delete, then the rest.
#[derive(Clone)]
pub(super) struct Work {
    /// Who asked last, and for what.
    pub(super) caller: String,
    pub(super) operation: String,
    /// When its first request arrived.
    pub(super) since: Timestamp,
    /// The phase that it has reached.
    pub(super) phase: Phase,
    delete: Option<Deletion>,
    /// The target of the last request, where it can be reached at once, without the base that the pending work needs. Not
    /// written down, because the pending work includes it.
    at_once: Option<Target>,
    present: Option<Target>,
    changes: Vec<Change>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct Deletion {
    purge: bool,
    force: bool,
}

/// A change of the sign-in that is not made yet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "change", rename_all = "snake_case")]
enum ChangeNote {
    /// `key` tells apart several that were sent.
    Send {
        key: String,
        force: bool,
    },
    Remove,
    Repair,
    RotateGatewayToken,
}

#[derive(Clone)]
struct Change {
    note: ChangeNote,
    /// `None` also where the sign-in was not read.
    auth: Option<Box<ChatGptAuth>>,
}

/// Work as it is written down.
#[derive(Serialize, Deserialize)]
pub(super) struct WorkNote {
    caller: String,
    pub(super) operation: String,
    pub(super) since: Timestamp,
    pub(super) phase: Phase,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    delete: Option<Deletion>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    present: Option<Target>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    changes: Vec<ChangeNote>,
}

/// Why work ended that only another request can fix, as it is written down.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct EndNote {
    pub(super) operation: String,
    pub(super) ended_at: Timestamp,
    /// The code that the request would have been answered with.
    pub(super) code: String,
    pub(super) detail: String,
}

/// Leaves out variables: AWS shows them, but logs must not.
impl fmt::Debug for Work {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { operation, since, phase, .. } = self;
        f.debug_struct("Work")
            .field("operation", operation)
            .field("since", since)
            .field("phase", phase)
            .finish_non_exhaustive()
    }
}

impl Work {
    /// The work of one request.
    pub(super) fn new(Intent { verb, user: _, target, sign_in, caller }: Intent) -> Self {
        let (delete, present) = match target {
            Target::Absent { purge, force } => (Some(Deletion { purge, force }), None),
            target @ Target::Present { .. } => (None, Some(target)),
        };
        Self {
            caller: caller.name().to_owned(),
            operation: verb.name().to_owned(),
            since: Timestamp::now(),
            phase: Phase::Queued,
            delete,
            at_once: None,
            present,
            changes: Change::of(sign_in).into_iter().collect(),
        }
    }

    /// The targets to converge to, one after the other.
    pub(super) fn targets(&self) -> Vec<Target> {
        let delete = self.delete.map(|Deletion { purge, force }| Target::Absent { purge, force });
        delete.into_iter().chain(self.at_once.clone()).chain(self.present.clone()).collect()
    }

    /// The changes of the sign-in to make, in order.
    pub(super) fn sign_in_changes(&self) -> Vec<SignInChange> {
        self.changes.iter().filter_map(Change::to_make).collect()
    }

    /// Whether it deletes the user's files.
    pub(super) fn purges(&self) -> bool {
        self.delete.as_ref().is_some_and(|delete| delete.purge)
    }

    pub(super) fn is_delete_alone(&self) -> bool {
        self.present.is_none()
    }

    /// Whether it is a delete that waits for nothing.
    pub(super) fn is_forced(&self) -> bool {
        self.delete.is_some_and(|delete| delete.force)
    }

    /// Whether no target needs files, see [`Target::needs_no_files`].
    pub(super) fn needs_no_files(&self) -> bool {
        self.targets().iter().all(Target::needs_no_files)
    }

    /// Notes that the delete is done.
    pub(super) fn deleted(&mut self) {
        self.delete = None;
    }

    /// Whether `target` can be reached at once, with more to do after it.
    pub(super) fn is_at_once(&self, target: &Target) -> bool {
        self.at_once.as_ref() == Some(target)
    }

    /// Notes that the sign-in is staged.
    pub(super) fn signed_in(&mut self) {
        self.changes.clear();
    }

    /// Notes that the requested restart has been made.
    pub(super) fn restarted(&mut self) {
        if let Some(Target::Present { restart, .. }) = &mut self.present {
            *restart = false;
        }
    }

    /// Merges `later` into this work. A delete makes earlier work needless, and no delete takes a purge back. What follows a
    /// delete is done after it. Of two changes the later one wins where they contradict each other.
    ///
    /// # Errors
    /// `later` cannot be done after this work. Nothing of this work is lost then.
    pub(super) fn then(self, later: Self) -> Result<Self, Refusal> {
        let Self { caller, operation, delete, present, changes, .. } = later;
        let since = self.since;
        let merged = |delete, present, changes| Self {
            caller,
            operation,
            since,
            phase: Phase::Queued,
            delete,
            at_once: None,
            present,
            changes,
        };
        if let Some(delete) = delete {
            let before = self.delete.unwrap_or(delete);
            let delete = Deletion { purge: delete.purge || before.purge, force: delete.force || before.force };
            return Ok(merged(Some(delete), present, changes));
        }
        let Some(present) = present else { return Ok(self) };
        match self.present {
            None if !present.may_create() => Err(Refusal::NotFound),
            None => Ok(merged(self.delete, Some(present), changes)),
            Some(before) => {
                let mut all = self.changes;
                if changes_provider(&present) {
                    all.retain(|change| !matches!(change.note, ChangeNote::Send { .. }));
                }
                for change in changes {
                    add(&mut all, change);
                }
                // A stop must not wait until somebody repairs the base.
                let is_kept = !present.needs_base() && before.needs_base() && self.delete.is_none();
                let at_once = is_kept.then(|| present.clone());
                Ok(Self { at_once, ..merged(self.delete, Some(before.then(present)?), all) })
            }
        }
    }

    /// Whether the note already says all that `later` asks for, so that `later` is accepted already.
    pub(super) fn includes(note: WorkNote, later: &Self) -> bool {
        let noted = Self::of_note(note, |_| None);
        let before = noted.to_note();
        let Ok(merged) = noted.then(later.clone()) else { return false };
        let after = merged.to_note();
        before.delete == after.delete && before.present == after.present && before.changes == after.changes
    }

    pub(super) fn to_note(&self) -> WorkNote {
        WorkNote {
            caller: self.caller.clone(),
            operation: self.operation.clone(),
            since: self.since,
            phase: self.phase,
            delete: self.delete,
            present: self.present.clone(),
            changes: self.changes.iter().map(|change| change.note.clone()).collect(),
        }
    }

    /// This work as the ledger keeps it.
    pub(super) fn to_pending(&self) -> Pending {
        let intent = serde_json::to_value(self.to_note()).unwrap_or_default();
        let sent: Vec<&ChatGptAuth> = self.changes.iter().filter_map(|change| change.auth.as_deref()).collect();
        let sign_in = (!sent.is_empty()).then(|| {
            let files = sent.into_iter().map(|auth| auth.to_sent_bytes());
            let bytes: Vec<u8> = files.flat_map(|file| file.expose_secret().to_vec()).collect();
            Secret::new(SecretSlice::from(bytes))
        });
        Pending { intent, sign_in }
    }

    /// Reads work from the ledger; `None` where a later version wrote something that this version does not know.
    pub(super) fn of_pending(Pending { intent, sign_in }: &Pending) -> Option<Self> {
        let note: WorkNote = serde_json::from_value(intent.clone()).ok()?;
        let bytes = sign_in.as_ref().map(|secret| secret.expose_secret()).unwrap_or_default();
        let files = serde_json::Deserializer::from_slice(bytes).into_iter::<Value>();
        let sent: Vec<ChatGptAuth> =
            files.map_while(Result::ok).filter_map(|file| ChatGptAuth::parse(file).ok()).collect();
        let work = Self::of_note(note, |key| sent.iter().find(|auth| key_of(auth) == key).cloned().map(Box::new));
        let is_whole = |change: &Change| !matches!(change.note, ChangeNote::Send { .. }) || change.auth.is_some();
        work.changes.iter().all(is_whole).then_some(work)
    }

    fn of_note(note: WorkNote, auth_of: impl Fn(&str) -> Option<Box<ChatGptAuth>>) -> Self {
        let WorkNote { caller, operation, since, phase, delete, present, changes } = note;
        let read = |note: ChangeNote| {
            let auth = if let ChangeNote::Send { key, .. } = &note { auth_of(key) } else { None };
            Change { note, auth }
        };
        let changes = changes.into_iter().map(read).collect();
        Self { caller, operation, since, phase, delete, at_once: None, present, changes }
    }
}

impl WorkNote {
    pub(super) fn read(intent: &Value) -> Option<Self> {
        serde_json::from_value(intent.clone()).ok()
    }

    /// The state of a user who has no service while this goes on.
    pub(super) fn state(&self) -> State {
        match &self.present {
            Some(present) if self.delete.is_none() => present.on_the_way(),
            Some(_) | None => State::Deleting,
        }
    }

    /// Whether the user is to have a container in the end.
    pub(super) fn makes_container(&self) -> bool {
        self.present.as_ref().is_some_and(Target::may_create)
    }
}

impl Change {
    fn of(change: SignInChange) -> Option<Self> {
        let (note, auth) = match change {
            SignInChange::None => return None,
            SignInChange::Send { auth, force } => (ChangeNote::Send { key: key_of(&auth), force }, Some(auth)),
            SignInChange::Remove => (ChangeNote::Remove, None),
            SignInChange::Repair => (ChangeNote::Repair, None),
            SignInChange::RotateGatewayToken => (ChangeNote::RotateGatewayToken, None),
        };
        Some(Self { note, auth })
    }

    fn to_make(&self) -> Option<SignInChange> {
        Some(match (&self.note, &self.auth) {
            (ChangeNote::Send { force, .. }, Some(auth)) => SignInChange::Send { auth: auth.clone(), force: *force },
            // The sign-in was not read: notes are only compared.
            (ChangeNote::Send { .. }, None) => return None,
            (ChangeNote::Remove, _) => SignInChange::Remove,
            (ChangeNote::Repair, _) => SignInChange::Repair,
            (ChangeNote::RotateGatewayToken, _) => SignInChange::RotateGatewayToken,
        })
    }
}

/// A key that tells sign-ins apart and reveals no token.
fn key_of(auth: &ChatGptAuth) -> String {
    sha256_hex12(auth.to_file_bytes().expose_secret())
}

/// Adds a change so that each is there once. One that is sent again counts where it came last, and a sign-out drops earlier
/// sign-ins.
fn add(all: &mut Vec<Change>, change: Change) {
    if change.note == ChangeNote::Remove {
        all.retain(|other| !matches!(other.note, ChangeNote::Send { .. } | ChangeNote::Remove));
    }
    let is_same = |other: &Change| match (&other.note, &change.note) {
        (ChangeNote::Send { key: one, .. }, ChangeNote::Send { key: other, .. }) => one == other,
        (one, other) => one == other,
    };
    all.retain(|other| !is_same(other));
    all.push(change);
}

/// Whether it makes earlier sign-ins useless.
fn changes_provider(present: &Target) -> bool {
    matches!(present, Target::Present { definition: Definition::Render(SpecPatch { provider: Some(kind), .. }), .. }
        if *kind != Provider::Chatgpt)
}

impl Target {
    /// Merges `later` into this target; both are of a user who is to have a container.
    fn then(self, later: Self) -> Result<Self, Refusal> {
        let (
            Self::Present { if_missing, definition, desired, restart, rollout_order, base },
            Self::Present {
                if_missing: later_if_missing,
                definition: later_definition,
                desired: later_desired,
                restart: later_restart,
                rollout_order: later_order,
                base: later_base,
            },
        ) = (self, later.clone())
        else {
            return Ok(later);
        };
        let if_missing = match (if_missing, later_if_missing) {
            (IfMissing::Refuse, IfMissing::Refuse) => IfMissing::Refuse,
            (IfMissing::Create, _) | (_, IfMissing::Create) => IfMissing::Create,
        };
        let definition = match (definition, later_definition) {
            (definition, Definition::Keep) => definition,
            (Definition::Keep, later) => later,
            (Definition::Render(patch), Definition::Render(later)) => Definition::Render(patch.then(later)?),
        };
        let desired = match later_desired {
            Desired::Unchanged => desired,
            Desired::Running | Desired::Stopped => later_desired,
        };
        let rollout_order = match (rollout_order, later_order) {
            // A caller who asked for never two tasks relies on it.
            (Some(RolloutOrder::Strict), _) | (_, Some(RolloutOrder::Strict)) => Some(RolloutOrder::Strict),
            (before, later) => later.or(before),
        };
        let base = base.then(later_base);
        Ok(Self::Present { if_missing, definition, desired, restart: restart || later_restart, rollout_order, base })
    }
}

#[cfg(test)]
mod tests;
