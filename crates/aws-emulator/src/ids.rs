//! Identifiers in the forms that AWS uses.

use std::iter::repeat_with;

/// The account that owns every resource.
pub(crate) const ACCOUNT: &str = "123456789012";

/// `length` random lower-case hexadecimal digits.
pub(crate) fn hex(length: usize) -> String {
    repeat_with(|| fastrand::digit(16)).take(length).collect()
}

/// `length` random decimal digits, the first not 0.
pub(crate) fn digits(length: usize) -> String {
    let first = std::iter::once_with(|| char::from(b'1' + fastrand::u8(0..9)));
    let rest = repeat_with(|| fastrand::digit(10));
    first.chain(rest).take(length).collect()
}

/// An ARN in the emulator's account.
pub(crate) fn arn(service: &str, region: &str, resource: &str) -> String {
    format!("arn:aws:{service}:{region}:{ACCOUNT}:{resource}")
}

/// The form of a request id.
pub(crate) fn request_id() -> String {
    format!("{}-{}-{}-{}-{}", hex(8), hex(4), hex(4), hex(4), hex(12))
}
