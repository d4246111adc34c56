//! Digests that tell things apart.

use sha2::{Digest as _, Sha256};

/// SHA-256 in hex.
#[must_use]
pub fn sha256_hex(bytes: &[u8]) -> String {
    hex::encode(Sha256::digest(bytes))
}

/// The first 12 hex digits of SHA-256: enough to tell names or sign-ins apart, useless for anything else.
#[must_use]
pub fn sha256_hex12(bytes: &[u8]) -> String {
    hex::encode(&Sha256::digest(bytes)[..6])
}
