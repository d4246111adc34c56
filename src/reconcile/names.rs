//! Deterministic tokens, and the tags that say which user owns a resource.

use sha2::{Digest, Sha256};

use crate::aws::PosixOwner;
use crate::domain::{Coordinates, TAG_BASE_FAMILY, TAG_FILE_SYSTEM, TAG_USER, UserId};

/// The ClientToken of a user's access point. It is the same for the same access point, whoever asks and however often, so
/// that a retry finds the first one (incident 20). 64 characters, the most that EFS takes.
pub(super) fn access_point_token(file_system_id: &str, user: &UserId, owner: PosixOwner) -> String {
    sha256_hex(&format!("{file_system_id}|{}|{}:{}", user.access_point_path(), owner.uid, owner.gid))
}

/// The clientToken of CreateService. It comes from the digest, so that a retry is recognized. A service created again after
/// a delete is not taken for the old one: it has another access point and so another digest, or at least another `after`,
/// what the deleted one ran last. 32 of 36 characters.
pub(super) fn service_token(user: &UserId, digest: &str, after: Option<&str>) -> String {
    let mut token = sha256_hex(&format!("{}|{digest}|{}", user.service_name(), after.unwrap_or_default()));
    token.truncate(32);
    token
}

/// Tags of everything that belongs to a user.
pub(super) fn tags(at: &Coordinates, user: &UserId) -> Vec<(String, String)> {
    vec![
        ("Name".into(), user.service_name()),
        (TAG_USER.into(), user.to_string()),
        (TAG_BASE_FAMILY.into(), at.base_family.as_str().to_owned()),
    ]
}

/// Tags of a user's role, which is found in no place that names its environment.
pub(super) fn role_tags(at: &Coordinates, user: &UserId) -> Vec<(String, String)> {
    let mut tags = tags(at, user);
    tags.push((TAG_FILE_SYSTEM.into(), at.file_system_id.clone()));
    tags
}

fn sha256_hex(text: &str) -> String {
    hex::encode(Sha256::digest(text.as_bytes()))
}
