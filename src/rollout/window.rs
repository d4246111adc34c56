//! A maintenance window: hours in UTC, on some or all days of the week. Pure.

use openclaw::Invalid;
use serde::{Deserialize, Serialize};

const MINUTES_OF_A_DAY: i64 = 24 * 60;
const END_OF_DAY: (&str, u16) = ("24:00", 24 * 60);
const MINUTES_OF_A_WEEK: i64 = 7 * MINUTES_OF_A_DAY;
const MILLISECONDS_OF_A_MINUTE: i64 = 60_000;
/// The Unix epoch was a Thursday.
const EPOCH_SINCE_MONDAY: i64 = 3 * MINUTES_OF_A_DAY;

/// The names of the days, as they are written.
pub const DAYS: [&str; 7] = ["monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"];

/// When something may begin. A window that crosses midnight belongs to the day on which it opens.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Window {
    /// Days on which it opens, 0 being Monday; at least one.
    days: Vec<u8>,
    /// Minute of the day at which it opens.
    from: u16,
    /// Minute of the day at which it closes, 1,440 being the end of the day. If that is a whole day after `from`, it is open
    /// all day.
    to: u16,
}

impl Window {
    /// Reads `22:00`, `04:00` and names of days; without names, all days. The end of a day is `24:00`.
    ///
    /// # Errors
    /// The invalid field, below `field`.
    pub fn parse(days: Option<&[String]>, from: &str, to: &str, field: &str) -> Result<Self, Invalid> {
        let day = |(at, name): (usize, &String)| {
            let found = DAYS.iter().position(|day| day == name).and_then(|day| u8::try_from(day).ok());
            let fix = format!("send names of days: {}", DAYS.join(", "));
            found.ok_or_else(|| Invalid::new(format!("{field}.days[{at}]"), "it is not the name of a day", fix))
        };
        let mut days: Vec<u8> = match days {
            None => (0..7).collect(),
            Some([]) => {
                let fix = "name a day, or leave it out for all of them";
                return Err(Invalid::new(format!("{field}.days"), "it never opens", fix));
            }
            Some(names) => names.iter().enumerate().map(day).collect::<Result<_, _>>()?,
        };
        days.sort_unstable();
        days.dedup();
        let time = |text: &str, member: &str| {
            let fix = "send hours and minutes in UTC, such as 22:00";
            minute(text).ok_or_else(|| Invalid::new(format!("{field}.{member}"), "it is not a time of day", fix))
        };
        let from = time(from, "from")?;
        let to = if to == END_OF_DAY.0 { END_OF_DAY.1 } else { time(to, "to")? };
        if from == to {
            let fix = "send another end; a whole day is from 00:00 to 24:00";
            return Err(Invalid::new(format!("{field}.to"), "it closes when it opens", fix));
        }
        Ok(Self { days, from, to })
    }

    /// Whether something may begin at `now`, in milliseconds of the Unix epoch.
    #[must_use]
    pub fn is_open(&self, now: i64) -> bool {
        let length = match (i64::from(self.to) - i64::from(self.from)).rem_euclid(MINUTES_OF_A_DAY) {
            0 => MINUTES_OF_A_DAY,
            length => length,
        };
        let of_week = minute_of_week(now);
        self.openings().any(|opens| (of_week - opens).rem_euclid(MINUTES_OF_A_WEEK) < length)
    }

    /// When it opens next after `now`, both in milliseconds of the Unix epoch.
    #[must_use]
    pub fn opens_after(&self, now: i64) -> i64 {
        let of_week = minute_of_week(now);
        // A window that opens at this minute is already open.
        let until = |opens: i64| (opens - of_week - 1).rem_euclid(MINUTES_OF_A_WEEK) + 1;
        let minutes = self.openings().map(until).min().unwrap_or(MINUTES_OF_A_WEEK);
        (now.div_euclid(MILLISECONDS_OF_A_MINUTE) + minutes) * MILLISECONDS_OF_A_MINUTE
    }

    /// Minutes of the week at which it opens.
    fn openings(&self) -> impl Iterator<Item = i64> {
        self.days.iter().map(|day| i64::from(*day) * MINUTES_OF_A_DAY + i64::from(self.from))
    }
}

fn minute_of_week(now: i64) -> i64 {
    (now.div_euclid(MILLISECONDS_OF_A_MINUTE) + EPOCH_SINCE_MONDAY).rem_euclid(MINUTES_OF_A_WEEK)
}

fn minute(text: &str) -> Option<u16> {
    let (hours, minutes) = text.split_once(':')?;
    let number = |text: &str, most: u16| {
        let is_two_digits = text.len() == 2 && text.bytes().all(|byte| byte.is_ascii_digit());
        text.parse::<u16>().ok().filter(|number| is_two_digits && *number < most)
    };
    Some(number(hours, 24)? * 60 + number(minutes, 60)?)
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;

    fn window(days: &[&str], from: &str, to: &str) -> Window {
        let days: Vec<String> = days.iter().map(|day| (*day).to_owned()).collect();
        Window::parse((!days.is_empty()).then_some(&days), from, to, "w").unwrap()
    }

    fn at(text: &str) -> i64 {
        text.parse::<Timestamp>().unwrap().as_millisecond()
    }

    #[test]
    fn a_window_is_open_to_its_last_minute_and_belongs_to_the_day_on_which_it_opens() {
        // 2026-11-27 is a Friday.
        let rows = [
            (window(&[], "10:00", "12:00"), "2026-11-27T09:59:59Z", None),
            (window(&[], "10:00", "12:00"), "2026-11-27T10:00:00Z", Some(())),
            (window(&[], "10:00", "12:00"), "2026-11-27T11:59:59Z", Some(())),
            (window(&[], "10:00", "12:00"), "2026-11-27T12:00:00Z", None),
            (window(&["friday"], "22:00", "04:00"), "2026-11-28T03:59:00Z", Some(())),
            (window(&["friday"], "22:00", "04:00"), "2026-11-27T03:59:00Z", None),
            (window(&["sunday"], "22:00", "04:00"), "2026-11-30T01:00:00Z", Some(())),
            (window(&["saturday"], "00:00", "24:00"), "2026-11-28T23:59:59Z", Some(())),
            (window(&["saturday"], "00:00", "24:00"), "2026-11-29T00:00:00Z", None),
            (window(&["saturday"], "22:00", "24:00"), "2026-11-28T23:59:59Z", Some(())),
            (window(&["saturday"], "22:00", "24:00"), "2026-11-29T00:00:00Z", None),
            (window(&["monday"], "00:00", "01:00"), "1970-01-05T00:30:00Z", Some(())),
        ];
        for (window, now, open) in rows {
            assert_eq!(window.is_open(at(now)), open.is_some(), "{window:?} {now}");
        }
    }

    #[test]
    fn a_window_reports_when_it_opens_next() {
        let rows = [
            (window(&[], "10:00", "12:00"), "2026-11-27T09:59:59Z", "2026-11-27T10:00:00Z"),
            (window(&[], "10:00", "12:00"), "2026-11-27T10:00:00Z", "2026-11-28T10:00:00Z"),
            (window(&["monday", "friday"], "22:00", "04:00"), "2026-11-28T05:00:00Z", "2026-11-30T22:00:00Z"),
            (window(&["friday"], "22:00", "04:00"), "2026-11-27T22:00:30Z", "2026-12-04T22:00:00Z"),
        ];
        for (window, now, next) in rows {
            assert_eq!(window.opens_after(at(now)), at(next), "{window:?} {now}");
        }
    }

    #[test]
    fn an_invalid_window_is_refused_by_field() {
        let field =
            |days: Option<&[String]>, from, to| Window::parse(days, from, to, "window").unwrap_err().field().to_owned();
        assert_eq!(field(None, "24:00", "04:00"), "window.from");
        assert_eq!(field(None, "22:00", "4:00"), "window.to");
        assert_eq!(field(None, "22:00", "+4:00"), "window.to");
        assert_eq!(field(None, "24:00", "24:00"), "window.from");
        for same in ["22:00", "00:00"] {
            assert_eq!(field(None, same, same), "window.to", "it is not clear whether never or always is meant");
        }
        assert_eq!(field(Some(&[]), "22:00", "04:00"), "window.days");
        assert_eq!(field(Some(&["monday".into(), "Mon".into()]), "22:00", "04:00"), "window.days[1]");
    }
}
