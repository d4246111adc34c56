//! Prepares a user's directory for a release: entry script, sign-in and settings are read, decided on and written in one
//! piece of work.

use std::sync::Arc;

use jiff::Timestamp;
use openclaw::openclaw_json::{Entries, Noted, Surroundings, merge_for};
use openclaw::{
    ChatGptAuth, CredentialPlan, CredentialUpdate, OnDisk, ProfileProvider, Release, Warning, unneeded,
    update_credentials,
};
use secrecy::SecretString;

use super::configuration::{self, ConfigurationEdit};
use super::error::StagingError;
use super::home::Home;
use super::{ATTEMPTS, Owner, Staged, Staging, StagingResult, credentials, entry};
use crate::domain::user_id::UserId;

/// What to do with the user's ChatGPT sign-in.
#[derive(Clone, Copy, Debug)]
pub enum ToStage<'a> {
    /// Put the freshest known sign-in where the release looks for it: the one that was sent, or one that is on disk
    /// already. An older one never overwrites it (incident 28), unless `force` is set.
    SignIn {
        /// The sign-in that was sent.
        sent: Option<&'a ChatGptAuth>,
        /// Whether it replaces even a fresher one.
        force: bool,
    },
    /// The user has another provider: remove the sign-in, and still prepare the directory for the release.
    Nothing,
}

type Decide = dyn Fn(&OnDisk, Timestamp) -> CredentialUpdate + Send + Sync;
type EntriesOf = dyn Fn(&CredentialPlan) -> Entries + Send + Sync;

/// The goal of one piece of work.
#[derive(Clone)]
struct Wanted {
    needs_entry: bool,
    decide: Arc<Decide>,
    settings: Option<Settings>,
}

/// The entries that `openclaw.json` must have.
#[derive(Clone)]
pub(super) struct Settings {
    entries: Arc<EntriesOf>,
    around: Surroundings,
}

/// Findings about `openclaw.json`, and the provider of the profile that it should name.
type Saying = (Noted, Option<ProfileProvider>);

/// The result of one try.
enum End {
    Done {
        placement: Box<CredentialUpdate>,
        /// Findings about `openclaw.json`, or why it was not changed.
        noted: Result<Saying, &'static str>,
    },
    /// A file may be half written and should be read again.
    HalfWritten,
    /// The files changed meanwhile. If there is a placement, the sign-in was written as decided.
    Disturbed(Option<Box<CredentialUpdate>>),
    /// The user already has a directory, but only new users were wanted.
    NotNew,
}

/// Which users' directories to prepare.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Whose {
    Anybody,
    /// Only users who have no directory yet.
    NewUsers,
}

impl Staging {
    /// Creates the user's directory, or corrects its owner and mode.
    ///
    /// # Errors
    /// When the directory cannot be used.
    pub async fn prepare(&self, user: &UserId) -> Result<(), StagingError> {
        let owner = self.owner;
        self.blocking(user, move |root, user| Home::make(root, user, owner)?.settle().map(drop)).await
    }

    /// Prepares the user's directory for `release`, and merges `entries`, for the port and workspace in `around`, into their
    /// `openclaw.json`; creates the gateway's token if there is none. A file that cannot be merged into is not changed, with a
    /// warning; a file that already has all entries is not written.
    ///
    /// # Errors
    /// When a file could not be written, or kept changing. Some files may then be in place; each is complete.
    pub async fn stage(
        &self,
        user: &UserId,
        release: &Release,
        what: ToStage<'_>,
        entries: impl Fn(&CredentialPlan) -> Entries + Send + Sync + 'static,
        around: Surroundings,
    ) -> Result<StagingResult, StagingError> {
        let settings = Settings { entries: Arc::new(entries), around };
        let arranged = self.arrange(user, release, what, Some(settings), Whose::Anybody).await?;
        arranged.ok_or_else(|| StagingError::Contended { path: format!("users/{user}"), attempts: 1 })
    }

    /// The same for a user who has no directory yet. For one who has, only the directory's owner and mode are corrected, and
    /// the result is `None`.
    ///
    /// # Errors
    /// As for [`stage`](Self::stage).
    pub async fn stage_new(
        &self,
        user: &UserId,
        release: &Release,
        what: ToStage<'_>,
        entries: impl Fn(&CredentialPlan) -> Entries + Send + Sync + 'static,
        around: Surroundings,
    ) -> Result<Option<StagingResult>, StagingError> {
        let settings = Settings { entries: Arc::new(entries), around };
        self.arrange(user, release, what, Some(settings), Whose::NewUsers).await
    }

    /// The same; without `openclaw.json` if `settings` is `None`.
    pub(super) async fn arrange(
        &self,
        user: &UserId,
        release: &Release,
        what: ToStage<'_>,
        settings: Option<Settings>,
        mut whose: Whose,
    ) -> Result<Option<StagingResult>, StagingError> {
        let (needs_entry, release) = (release.plan().needs_entry, release.clone());
        let decide: Arc<Decide> = match what {
            ToStage::SignIn { sent, force } => {
                let sent = sent.cloned();
                Arc::new(move |on_disk, now| update_credentials(&release, on_disk, sent.as_ref(), force, now))
            }
            ToStage::Nothing => Arc::new(move |on_disk, now| unneeded(&release, on_disk, now)),
        };
        let wanted = Wanted { needs_entry, decide, settings };
        let (owner, mut patience, mut attempts) = (self.owner, self.reread.times, 0);
        let mut earlier: Option<Box<CredentialUpdate>> = None;
        let mut moved_aside = Vec::new();
        while attempts < ATTEMPTS {
            let (wanted, is_patient) = (wanted.clone(), patience > 0);
            let tried = self.blocking(user, move |root, user| {
                let mut moved_aside = Vec::new();
                let end = Home::make(root, user, owner).and_then(|home| {
                    if whose == Whose::NewUsers && !home.is_new() {
                        return Ok(End::NotNew);
                    }
                    once(home, owner, &wanted, is_patient, &mut moved_aside)
                });
                Ok((end, moved_aside))
            });
            let (end, moved) = tried.await?;
            moved_aside.extend(moved);
            match end {
                Ok(End::Done { mut placement, noted }) => {
                    // The sign-in was written in an earlier try; another file made this second decision necessary.
                    if let Some(earlier) = earlier {
                        placement.decision = earlier.decision;
                        placement.needs_start |= earlier.needs_start;
                        let said = earlier.warnings.into_iter().filter(|said| !placement.warnings.contains(said));
                        let said: Vec<_> = said.collect();
                        placement.warnings.splice(..0, said);
                    }
                    return self.placed(user, *placement, noted, moved_aside).await.map(Some);
                }
                Ok(End::NotNew) => return Ok(None),
                Ok(End::HalfWritten) => {
                    patience -= 1;
                    tokio::time::sleep(self.reread.pause).await;
                }
                Ok(End::Disturbed(in_place)) => {
                    earlier = earlier.or(in_place);
                    attempts += 1;
                }
                Err(StagingError::Contended { .. }) => attempts += 1,
                Err(error) => return Err(error),
            }
            // After the first try the directory is no longer new.
            whose = Whose::Anybody;
        }
        Err(StagingError::Contended { path: format!("users/{user}"), attempts: ATTEMPTS })
    }

    async fn placed(
        &self,
        user: &UserId,
        placement: CredentialUpdate,
        noted: Result<Saying, &'static str>,
        moved_aside: Vec<String>,
    ) -> Result<StagingResult, StagingError> {
        let CredentialUpdate {
            changes: _,
            decision,
            live,
            needs_start,
            pending_since,
            plan,
            mut warnings,
            reauth_required,
        } = placement;
        let staged = decision.map(Staged::from);
        tracing::info!(
            user_id = %user,
            outcome = staged.map(|staged| staged.outcome.name()),
            reason = staged.map(|staged| staged.reason.name()),
            authority = plan.authority.name(),
            fingerprint = live.as_ref().map(|live| live.fingerprint.as_str()),
            ?moved_aside,
            "arranged the user's sign-in"
        );
        match noted {
            Ok((noted, profile)) => {
                warnings.extend(noted.warnings);
                warnings.extend(self.reads_elsewhere(user, noted.agent, profile).await?);
            }
            Err(problem) => {
                tracing::warn!(user_id = %user, problem, "openclaw.json was left alone");
                warnings.push(Warning::ConfigurationLeftAlone { problem });
            }
        }
        Ok(StagingResult { staged, live, needs_start, pending_since, plan, warnings, reauth_required, moved_aside })
    }
}

fn once(
    mut home: Home,
    owner: Option<Owner>,
    wanted: &Wanted,
    is_patient: bool,
    moved_aside: &mut Vec<String>,
) -> Result<End, StagingError> {
    let mut edits = if wanted.needs_entry { entry::edits(&mut home, owner, moved_aside)? } else { Vec::new() };
    let observed = credentials::prepare(&mut home, owner, moved_aside)?;
    let placement = (wanted.decide)(&observed.on_disk, Timestamp::now());
    let configuration = match &wanted.settings {
        Some(Settings { entries, around }) => {
            let entries = entries(&placement.plan);
            let edit = |existing: Option<&[u8]>, token: &SecretString| {
                let (merged, noted) = merge_for(existing, &entries, around, token);
                (merged, (noted, entries.profile))
            };
            configuration::plan(&mut home, owner, edit)?
        }
        None => ConfigurationEdit::Nothing((Noted::default(), None)),
    };
    if is_patient && (observed.may_be_half_written() || matches!(configuration, ConfigurationEdit::LeftAlone(_))) {
        home.settle()?;
        return Ok(End::HalfWritten);
    }
    edits.extend(credentials::edits(&observed, &placement.changes));
    let of_sign_in = edits.len();
    edits.extend(configuration.edit());
    let (all, done) = (edits.len(), home.apply_first(&edits, moved_aside)?);
    drop(edits);
    let is_placed = !placement.changes.is_empty() && done.is_some_and(|done| done >= of_sign_in);
    let placement = Box::new(placement);
    Ok(if done == Some(all) {
        End::Done { placement, noted: configuration.noted() }
    } else {
        End::Disturbed(is_placed.then_some(placement))
    })
}
