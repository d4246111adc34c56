//! The format of a record in its lock file: always complete, even if the writer is killed.
//!
//! The file is locked, so it cannot be replaced by rename. Instead it has two slots, and a write uses the one with the
//! older record. A record is ignored if its length or checksum is wrong.

use std::os::fd::OwnedFd;

use openclaw::sha256_hex12;
use rustix::io::Errno;
use serde::{Deserialize, Serialize};

use super::Record;
use crate::domain::service::revision;

/// Size of a slot: room for about three hundred revisions; two or three are usual.
const SLOT_BYTES: usize = 32 * 1024;
const SLOTS: usize = 2;
const MAGIC: &str = "openclaw-ledger-1";

/// The content of a slot.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Entry {
    /// Marks the holder: different for every acquisition.
    pub(super) generation: String,
    /// Whether there is a note on accepted work of the user, see `pending_files`.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(super) is_noted: bool,
    #[serde(flatten)]
    pub(super) record: Record,
}

/// The newest complete entry and its slot.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Newest {
    pub(super) entry: Entry,
    /// 0: there is no entry, or one in the old format.
    sequence: u64,
    slot: usize,
}

impl Newest {
    /// Reads the file; an incomplete entry is ignored.
    pub(super) fn read(file: &OwnedFd) -> Result<Self, Errno> {
        let mut bytes = vec![0; SLOT_BYTES * SLOTS];
        let length = read_at_most(file, &mut bytes)?;
        bytes.truncate(length);
        Ok(Self::of(&bytes))
    }

    fn of(bytes: &[u8]) -> Self {
        let whole = bytes.chunks(SLOT_BYTES).enumerate().filter_map(|(slot, bytes)| {
            let (sequence, entry) = decode(bytes)?;
            Some(Self { entry, sequence, slot })
        });
        // A file in the old format stays readable in the first slot until the second is complete.
        whole.max_by_key(|found| found.sequence).unwrap_or_else(|| Self { entry: former(bytes), ..Self::default() })
    }

    /// Replaces this entry, durable when it returns. Until then readers see the old one.
    pub(super) fn replace(&self, file: &OwnedFd, entry: Entry) -> Result<Self, Errno> {
        let next = Self { entry, sequence: self.sequence + 1, slot: (self.slot + 1) % SLOTS };
        let bytes = encode(next.sequence, &next.entry).ok_or(Errno::FBIG)?;
        write_at(file, &bytes, next.slot * SLOT_BYTES)?;
        rustix::fs::fsync(file)?;
        Ok(next)
    }
}

fn encode(sequence: u64, entry: &Entry) -> Option<Vec<u8>> {
    let payload = serde_json::to_string(entry).ok()?;
    let text = format!("{MAGIC} {sequence} {} {}\n{payload}", payload.len(), checksum(sequence, payload.as_bytes()));
    (text.len() <= SLOT_BYTES).then(|| text.into_bytes())
}

fn decode(bytes: &[u8]) -> Option<(u64, Entry)> {
    let end = bytes.iter().position(|byte| *byte == b'\n')?;
    let mut words = std::str::from_utf8(&bytes[..end]).ok()?.split(' ');
    let (magic, sequence, length, sum) = (words.next()?, words.next()?, words.next()?, words.next()?);
    let sequence: u64 = sequence.parse().ok()?;
    let start = end + 1;
    let payload = bytes.get(start..start.checked_add(length.parse().ok()?)?)?;
    let is_whole = magic == MAGIC && sum == checksum(sequence, payload);
    is_whole.then(|| serde_json::from_slice(payload).ok()).flatten().map(|entry| (sequence, entry))
}

fn checksum(sequence: u64, payload: &[u8]) -> String {
    sha256_hex12(&[sequence.to_string().as_bytes(), b" ", payload].concat())
}

/// Reads a file in the old format: one ARN per line, and sometimes a part of one after a crash, which used to block its user.
fn former(bytes: &[u8]) -> Entry {
    let text = String::from_utf8_lossy(bytes);
    let lines = text.lines().map(|line| line.trim_matches('\0')).filter(|line| !line.is_empty());
    let names_revision = |line: &&str| {
        let named = line.split_once(":task-definition/").is_some_and(|(start, _)| start.starts_with("arn:"));
        named && revision(line).is_some()
    };
    let (named, rest): (Vec<&str>, Vec<&str>) = lines.partition(names_revision);
    if !rest.is_empty() {
        tracing::warn!(lines = rest.len(), "a lock file has lines that name no revision; they are ignored");
    }
    let revisions = named.into_iter().map(str::to_owned).collect();
    Entry { record: Record::default().with_revisions(revisions), ..Entry::default() }
}

fn read_at_most(file: &OwnedFd, bytes: &mut [u8]) -> Result<usize, Errno> {
    let mut length = 0;
    while length < bytes.len() {
        match rustix::io::pread(file, &mut bytes[length..], length as u64) {
            Ok(0) => break,
            Ok(read) => length += read,
            Err(Errno::INTR) => {}
            Err(errno) => return Err(errno),
        }
    }
    Ok(length)
}

fn write_at(file: &OwnedFd, mut bytes: &[u8], at: usize) -> Result<(), Errno> {
    let mut at = at as u64;
    while !bytes.is_empty() {
        match rustix::io::pwrite(file, bytes, at) {
            Ok(written) => {
                bytes = &bytes[written..];
                at += written as u64;
            }
            Err(Errno::INTR) => {}
            Err(errno) => return Err(errno),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(generation: &str, revisions: &[&str]) -> Entry {
        let revisions = revisions.iter().map(|&arn| arn.to_owned()).collect();
        Entry {
            generation: generation.to_owned(),
            is_noted: false,
            record: Record::default().with_revisions(revisions),
        }
    }

    fn file() -> OwnedFd {
        tempfile::tempfile().unwrap().into()
    }

    fn content(file: &OwnedFd) -> Vec<u8> {
        let mut bytes = vec![0; SLOT_BYTES * SLOTS];
        let length = read_at_most(file, &mut bytes).unwrap();
        bytes.truncate(length);
        bytes
    }

    const ARN: &str = "arn:aws:ecs:eu-west-1:123456789012:task-definition/openclaw-dev-user:990";

    #[test]
    fn the_last_written_entry_is_read() {
        let file = file();
        let mut newest = Newest::read(&file).unwrap();
        assert_eq!(newest.entry, Entry::default());
        for n in 0..5 {
            newest = newest.replace(&file, entry(&n.to_string(), &[ARN])).unwrap();
            assert_eq!(Newest::read(&file).unwrap(), newest);
        }
    }

    #[test]
    fn a_write_that_is_cut_off_at_any_point_leaves_the_previous_entry() {
        let file = file();
        let first = Newest::read(&file).unwrap().replace(&file, entry("one", &[ARN])).unwrap();
        let second = first.replace(&file, entry("two", &[ARN, "arn:b"])).unwrap();
        let old = content(&file);
        second.replace(&file, entry("three", &[])).unwrap();
        let new = content(&file);
        let changed: Vec<usize> = (0..new.len()).filter(|at| old.get(*at) != new.get(*at)).collect();
        assert!(changed.len() > 20);
        for cut in &changed[1..] {
            let torn: Vec<u8> = new[..*cut].iter().chain(&old[*cut..]).copied().collect();
            assert_eq!(Newest::of(&torn).entry.generation, "two", "cut at {cut}");
        }
        assert_eq!(Newest::of(&new).entry.generation, "three");
    }

    #[test]
    fn a_file_in_the_old_format_is_read_and_remains_of_a_crash_are_ignored() {
        let file = file();
        let former = format!("{ARN}\nrn:aws:ecs:eu-west-1:123456789012:task-definition/openclaw-dev-user:990\n\nx\n");
        write_at(&file, former.as_bytes(), 0).unwrap();
        let read = Newest::read(&file).unwrap();
        assert_eq!(read.entry, entry("", &[ARN]));
        read.replace(&file, entry("one", &[ARN])).unwrap();
        // The new entry is in the other slot, so the old one stays until the new one is complete.
        assert!(content(&file).starts_with(former.as_bytes()));
        assert_eq!(Newest::read(&file).unwrap().entry, entry("one", &[ARN]));
    }

    #[test]
    fn members_of_a_later_version_are_kept() {
        let file = file();
        let payload = r#"{"generation":"g","revisions":[],"accepted":{"desired":1}}"#;
        let header = format!("{MAGIC} 7 {} {}\n", payload.len(), checksum(7, payload.as_bytes()));
        write_at(&file, format!("{header}{payload}").as_bytes(), 0).unwrap();
        let read = Newest::read(&file).unwrap();
        let record = read.entry.record.with_revisions([ARN.to_owned()].into());
        read.replace(&file, Entry { generation: "h".to_owned(), is_noted: false, record }).unwrap();
        assert!(String::from_utf8_lossy(&content(&file)).contains(r#""accepted":{"desired":1}"#));
    }

    #[test]
    fn an_entry_that_does_not_fit_is_refused_and_the_old_one_stays() {
        let file = file();
        let first = Newest::read(&file).unwrap().replace(&file, entry("one", &[])).unwrap();
        let many: Vec<String> = (0..1_000).map(|n| format!("{ARN}{n}")).collect();
        let many: Vec<&str> = many.iter().map(String::as_str).collect();
        assert_eq!(first.replace(&file, entry("two", &many)).unwrap_err(), Errno::FBIG);
        assert_eq!(Newest::read(&file).unwrap(), first);
    }
}
