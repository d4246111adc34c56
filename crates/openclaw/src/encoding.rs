//! Text that is not UTF-8 JSON although it looks like it to the person who saved it: from editors on Windows, and
//! PowerShell's `>`.

const UTF_8_BOM: &[u8] = b"\xef\xbb\xbf";
const UTF_16_BOMS: [&[u8]; 2] = [b"\xff\xfe", b"\xfe\xff"];

/// The encoding of the bytes, if JSON does not allow it, and what to do about it.
#[must_use]
pub fn not_json_because_of(bytes: &[u8]) -> Option<(&'static str, &'static str)> {
    if bytes.starts_with(UTF_8_BOM) {
        return Some(("begins with a byte-order mark (EF BB BF)", "save it as UTF-8 without BOM"));
    }
    let has_zeros = matches!(bytes, [first, second, ..] if (*first == 0) != (*second == 0));
    (has_zeros || UTF_16_BOMS.iter().any(|bom| bytes.starts_with(bom)))
        .then_some(("is UTF-16", "save it as UTF-8 without BOM; PowerShell's > writes UTF-16"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_encodings_of_other_editors_are_recognized() {
        let utf_16 = |bytes: fn(u16) -> [u8; 2]| "{}".encode_utf16().flat_map(bytes).collect::<Vec<u8>>();
        for (bytes, expected) in [
            (b"{}".to_vec(), None),
            (b"\r\n{}".to_vec(), None),
            (vec![], None),
            (b"\xef\xbb\xbf{}".to_vec(), Some("begins with a byte-order mark (EF BB BF)")),
            (utf_16(u16::to_le_bytes), Some("is UTF-16")),
            (utf_16(u16::to_be_bytes), Some("is UTF-16")),
            ([b"\xff\xfe".to_vec(), utf_16(u16::to_le_bytes)].concat(), Some("is UTF-16")),
            ([b"\xfe\xff".to_vec(), utf_16(u16::to_be_bytes)].concat(), Some("is UTF-16")),
        ] {
            assert_eq!(not_json_because_of(&bytes).map(|(problem, _)| problem), expected, "{bytes:?}");
        }
    }
}
