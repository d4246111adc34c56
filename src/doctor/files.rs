//! The file system with users' files.

use std::path::Path;

use tokio::time::timeout;

use super::{Check, DEADLINE, timed_out};
use crate::config::OwnerArg;
use crate::domain::with_causes;
use crate::staging::{Diagnosis, Owner, Staging, StagingError, StagingErrorKind};

const NAME: &str = "efs_root";

/// Whether files can be written there, given to their owner, and locked.
pub(super) async fn efs_root(root: Option<&Path>, owner: OwnerArg) -> Check {
    let Some(root) = root else { return Check::skip(NAME, "not given", Some("set PROVISIONER_EFS_ROOT")) };
    let (uid, gid) = (owner.owner.uid, owner.owner.gid);
    let shown = root.display();
    let Ok(found) = timeout(DEADLINE, diagnose(root, owner)).await else { return timed_out(NAME) };
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
    // Whoever leaves owners alone develops on a disk of their own.
    if owner.chown && !is_nfs {
        let fix = "mount the file system's root there: mount -t efs -o tls,iam <file system>:/ <directory>";
        return Check::warn(
            NAME,
            "not_nfs",
            format!("{message}; but it is on no NFS, so not on EFS"),
            Some(fix.into()),
        );
    }
    Check::pass(NAME, message)
}

async fn diagnose(root: &Path, owner: OwnerArg) -> Result<Diagnosis, StagingError> {
    let path = root.to_owned();
    let chown = owner.chown.then_some(Owner { uid: owner.owner.uid, gid: owner.owner.gid });
    // On a wedged NFS mount the very first open hangs, and so would the deadline if it were asked for on this thread.
    let opened = tokio::task::spawn_blocking(move || Staging::open(&path, chown)).await;
    opened.map_err(StagingError::CutShort)??.diagnose().await
}

fn with_causes_at(root: &Path, error: &StagingError) -> String {
    format!("{}: {}", root.display(), with_causes(error))
}

const fn fix_of_kind(kind: StagingErrorKind) -> &'static str {
    match kind {
        StagingErrorKind::Operator => {
            "set PROVISIONER_EFS_ROOT to where the file system's root is mounted, read-write, with locks, and run as root"
        }
        StagingErrorKind::Retryable | StagingErrorKind::Tenant => "see whether the mount is healthy, and try again",
    }
}

fn fix(error: &StagingError) -> &'static str {
    fix_of_kind(error.kind())
}
