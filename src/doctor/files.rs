//! The file system with users' files.

use std::path::{Path, PathBuf};

use tokio::time::timeout;

use super::{Check, DEADLINE, timed_out};
use crate::config::OwnerArg;
use crate::domain::with_causes;
use crate::files::Files;
use crate::staging::{Diagnosis, Owner, Staging, StagingError, StagingErrorKind, file_system_of, other_file_system};

const NAME: &str = "efs_root";

/// The result at the root, before it is known which file system should be there.
pub(super) struct Examined {
    check: Check,
    /// The root and the id in it.
    found: Option<(PathBuf, String)>,
}

impl Examined {
    /// The check, after a comparison with the file system of the settings, `expected`.
    pub(super) fn against(self, expected: Option<&str>) -> Check {
        match (self.found, expected) {
            (Some((root, found)), Some(expected)) if found != expected => {
                let error = other_file_system(&root, found, expected).to_string();
                let (message, fix) = error.split_once("; ").unwrap_or((&error, "mount the right one"));
                Check::fail(NAME, "other_file_system", message, Some(fix.to_owned()))
            }
            (Some(_) | None, _) => self.check,
        }
    }
}

/// Checks that it is a file system that `serve` accepts, and that files can be written there, given to their owner, and locked.
pub(super) async fn efs_root(files: Option<&Files>, owner: OwnerArg) -> Examined {
    let without_id = |check| Examined { check, found: None };
    let Some(files) = files else {
        return without_id(Check::skip(NAME, "not given", Some("set PROVISIONER_EFS_ROOT")));
    };
    let root = files.root();
    // On a hanging NFS mount even the first open hangs.
    match timeout(DEADLINE, file_system_of(files)).await {
        Err(_) => without_id(timed_out(NAME)),
        Ok(Ok(None)) => {
            let message =
                format!("{}: it has no id of a file system, so maybe nothing is mounted on it", root.display());
            let fix = "mount the file system's root there, and start serve with --initialize the first time";
            without_id(Check::fail(NAME, "not_initialized", message, Some(fix.into())))
        }
        Ok(Ok(Some(id))) => Examined { check: usable(files, owner).await, found: Some((root.to_owned(), id)) },
        Ok(Err(error)) => {
            without_id(Check::fail(NAME, "unusable", with_causes_at(root, &error), Some(fix(&error).into())))
        }
    }
}

async fn usable(files: &Files, owner: OwnerArg) -> Check {
    let (uid, gid) = (owner.owner.uid, owner.owner.gid);
    let root = files.root();
    let shown = root.display();
    let Ok(found) = timeout(DEADLINE, diagnose(files, owner)).await else { return timed_out(NAME) };
    let Diagnosis { owner: given, is_nfs } = match found {
        Ok(diagnosis) => diagnosis,
        Err(error) => return Check::fail(NAME, "unusable", with_causes_at(root, &error), Some(fix(&error).into())),
    };
    if let Err(error) = given {
        let fix = format!(
            "run as root, with elasticfilesystem:ClientRootAccess where the mount uses IAM; or without root as {uid}:{gid} \
             and PROVISIONER_OWNER=-"
        );
        return Check::fail(NAME, "owner_not_settable", with_causes_at(root, &error), Some(fix));
    }
    let owners = match owner.chown {
        true => format!("files belong to {uid}:{gid}"),
        false => "owners are left alone".to_owned(),
    };
    let message = format!("{shown} can be written, locks work, and {owners}");
    // Without a change of owners, this is a developer's own disk.
    if owner.chown && !is_nfs {
        let fix = "mount the file system's root there: mount -t efs -o tls,iam <file system>:/ <directory>";
        return Check::warn(
            NAME,
            "not_nfs",
            format!("{message}; but it is not on NFS, so not on EFS"),
            Some(fix.into()),
        );
    }
    Check::pass(NAME, message)
}

async fn diagnose(files: &Files, owner: OwnerArg) -> Result<Diagnosis, StagingError> {
    let chown = owner.chown.then_some(Owner { uid: owner.owner.uid, gid: owner.owner.gid });
    Staging::open(files, chown).await?.diagnose().await
}

fn with_causes_at(root: &Path, error: &StagingError) -> String {
    format!("{}: {}", root.display(), with_causes(error))
}

const fn fix_of_kind(kind: StagingErrorKind) -> &'static str {
    match kind {
        StagingErrorKind::Operator => {
            "set PROVISIONER_EFS_ROOT to where the file system's root is mounted, read-write, with locks, and run as root"
        }
        StagingErrorKind::Retryable | StagingErrorKind::Tenant => "check that the mount is healthy, and try again",
    }
}

fn fix(error: &StagingError) -> &'static str {
    fix_of_kind(error.kind())
}
