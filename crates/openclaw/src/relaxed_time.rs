//! Times as the Codex CLI reads them: RFC 3339, and the looser forms that other tools write.
//!
//! Tried on Codex CLI 0.171.0. It reads a space for `T`, spaces between the parts, numbers of fewer digits, offsets without
//! a colon, and `UTC`. It does not read a time without a zone, without seconds, or with `GMT`.

use jiff::Timestamp;

/// The time, if Codex reads it.
#[must_use]
pub(super) fn parse(text: &str) -> Option<Timestamp> {
    let mut rest = Rest(text.trim_matches(' '));
    let sign = rest.sign().unwrap_or('+');
    let year = rest.number(4..=4)?;
    let month = rest.after('-')?.number(1..=2)?;
    let day = rest.after('-')?.number(1..=2)?;
    if rest.0.starts_with(['T', 't']) {
        rest.0 = &rest.0[1..];
    } else if !rest.0.starts_with(' ') {
        return None;
    }
    let hour = rest.number(1..=2)?;
    let minute = rest.after(':')?.number(1..=2)?;
    let second = rest.after(':')?.number(1..=2)?;
    let fraction = rest.fraction()?;
    let zone = rest.zone()?;
    if sign != '+' {
        return None;
    }
    format!("{year:0>4}-{month:0>2}-{day:0>2}T{hour:0>2}:{minute:0>2}:{second:0>2}{fraction}{zone}").parse().ok()
}

/// The text that is still to be read.
struct Rest<'a>(&'a str);

impl<'a> Rest<'a> {
    fn after(&mut self, mark: char) -> Option<&mut Self> {
        self.0 = self.0.trim_start_matches(' ').strip_prefix(mark)?;
        Some(self)
    }

    /// A number with that many digits.
    fn number(&mut self, digits: std::ops::RangeInclusive<usize>) -> Option<&'a str> {
        let text = self.0.trim_start_matches(' ');
        let length = text.bytes().take(*digits.end()).take_while(u8::is_ascii_digit).count();
        let (number, rest) = text.split_at(length);
        self.0 = rest;
        digits.contains(&length).then_some(number)
    }

    fn sign(&mut self) -> Option<char> {
        let sign = self.0.chars().next().filter(|first| matches!(first, '+' | '-' | '\u{2212}'))?;
        self.0 = &self.0[sign.len_utf8()..];
        Some(if sign == '+' { '+' } else { '-' })
    }

    /// The digits after a point; only nine of them count.
    fn fraction(&mut self) -> Option<String> {
        let Some(text) = self.0.strip_prefix('.') else { return Some(String::new()) };
        let length = text.bytes().take_while(u8::is_ascii_digit).count();
        let (digits, rest) = text.split_at(length);
        self.0 = rest;
        (length > 0).then(|| format!(".{}", &digits[..length.min(9)]))
    }

    /// The zone at the end of the text.
    fn zone(&mut self) -> Option<String> {
        self.0 = self.0.trim_start_matches(' ');
        if self.0.eq_ignore_ascii_case("z") || self.0.eq_ignore_ascii_case("utc") {
            return Some("Z".to_owned());
        }
        let sign = self.sign()?;
        let hours = self.number(2..=2)?;
        self.0 = self.0.trim_start_matches([' ', ':']);
        let minutes = self.number(2..=2)?;
        self.0.is_empty().then(|| format!("{sign}{hours}:{minutes}"))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn times_that_the_codex_cli_reads_are_read_as_the_same_time() {
        let moment: Timestamp = "2026-09-21T14:13:20Z".parse().unwrap();
        for text in [
            "2026-09-21T14:13:20Z",
            "2026-09-21t14:13:20z",
            "2026-09-21 14:13:20+00:00",
            "2026-09-21T14:13:20+0000",
            "2026-09-21T14:13:20 UTC",
            "2026-09-21t14:13:20utc",
            "2026-09-21  16:13:20   +02 00",
            "2026-09-21T12:13:20\u{2212}02:00",
            "2026-9-21T14:13:20Z",
            "2026- 09-21T14: 13:20Z",
            " 2026-09-21T14:13:20Z ",
            "+2026-09-21T14:13:20Z",
            "2026-09-21T14:13:20.000Z",
        ] {
            assert_eq!(parse(text), Some(moment), "{text}");
        }
        let precise = parse("2026-09-21T14:13:20.1234567891234Z").unwrap();
        assert_eq!(precise.subsec_nanosecond(), 123_456_789);
        assert!(parse("2026-09-21T23:59:60Z").is_some());
    }

    #[test]
    fn times_that_the_codex_cli_refuses_are_refused() {
        for text in [
            "",
            "soon",
            "2026-09-21",
            "2026-09-21T14:13:20",
            "2026-09-21T14:13Z",
            "2026-09-21T14:13:20.Z",
            "2026-09-21T14:13:20,5Z",
            "2026-09-21T14:13:20+00",
            "2026-09-21T14:13:20+2:00",
            "2026-09-21T14:13:20GMT",
            "2026-09-21_14:13:20Z",
            "2026-09-21T24:00:00Z",
            "2026-13-21T14:13:20Z",
            "-2026-09-21T14:13:20Z",
            "1790000000",
            "2026-09-21T14:13:20Z and more",
        ] {
            assert_eq!(parse(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused_without_a_panic(text in "[0-9TtZz:+\\- .UC\u{2212}é]{0,40}") {
            let _read_or_not = parse(&text);
        }
    }
}
