//! The note beside a committed offset: how the batches that begin there are cut, and what the record before them was.
//!
//! Kafka keeps a text with every committed offset ([OffsetCommit]). Ours is
//! `postrider1 CHECK HASH END,END…`: a checksum over topic, partition, offset and the rest; the fingerprint of the last
//! acknowledged record, or `-`; and the ends of the cuts, each as its distance from the one before, the first from the offset.
//! A batch refused for what is in it is halved again and again, so that there are at most some thirty ends: the note stays far
//! below the 4096 bytes that a broker takes by default.
//!
//! [OffsetCommit]: https://kafka.apache.org/protocol.html#The_Messages_OffsetCommit

use std::fmt::Write;

/// What every note of ours begins with; the number rises when its form changes.
const MARK: &str = "postrider1";

/// What the notes of every version begin with.
const FAMILY: &str = "postrider";

/// A note in the form that is worked with.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Note {
    /// The fingerprint of the record before the offset, if it is known.
    pub(super) last: Option<u64>,
    /// The offset of the last record of each cut, rising; the first cut begins at the committed offset.
    pub(super) ends: Vec<i64>,
}

/// Why a text beside an offset is no note that can be relied on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unreadable {
    /// Another program wrote it.
    Foreign,
    /// A later version of ours wrote it.
    Newer,
    /// It is not as we wrote it, or it was written for another place.
    Damaged,
}

/// The place that a note is for: the same text elsewhere is damaged.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place<'a> {
    pub(super) topic: &'a str,
    pub(super) partition: i32,
    pub(super) offset: i64,
}

impl Note {
    /// As text.
    pub(super) fn encode(&self, place: Place<'_>) -> String {
        let body = self.body(place.offset);
        format!("{MARK} {:016x} {body}", check(place, &body))
    }

    fn body(&self, offset: i64) -> String {
        let mut text = self.last.map_or("-".to_owned(), |last| format!("{last:016x}"));
        let mut before = offset;
        for (index, end) in self.ends.iter().enumerate() {
            let separator = if index == 0 { ' ' } else { ',' };
            // Writing to a string cannot fail.
            let _ = write!(text, "{separator}{}", end.wrapping_sub(before));
            before = *end;
        }
        text
    }

    /// From text. No text at all is no note: whoever sets a group's offsets by hand leaves none.
    pub(super) fn decode(text: &str, place: Place<'_>) -> Result<Self, Unreadable> {
        if text.is_empty() {
            return Ok(Self::default());
        }
        let Some((mark, rest)) = text.split_once(' ').filter(|(mark, _)| mark.starts_with(FAMILY)) else {
            return Err(Unreadable::Foreign);
        };
        if mark != MARK {
            let is_version = mark[FAMILY.len()..].parse::<u32>().is_ok();
            return Err(if is_version { Unreadable::Newer } else { Unreadable::Foreign });
        }
        let (sum, body) = rest.split_once(' ').ok_or(Unreadable::Damaged)?;
        if sum != format!("{:016x}", check(place, body)) {
            return Err(Unreadable::Damaged);
        }
        Self::parse(body, place.offset).ok_or(Unreadable::Damaged)
    }

    fn parse(body: &str, offset: i64) -> Option<Self> {
        let (last, ends) = body.split_once(' ').map_or((body, None), |(last, ends)| (last, Some(ends)));
        let last = if last == "-" { None } else { Some(u64::from_str_radix(last, 16).ok()?) };
        let mut note = Self { last, ends: Vec::new() };
        let mut before = offset;
        for distance in ends.into_iter().flat_map(|ends| ends.split(',')) {
            let distance: i64 = distance.parse().ok()?;
            let end = before.checked_add(distance)?;
            // The first cut may be of the one record at the offset.
            if distance < i64::from(!note.ends.is_empty()) {
                return None;
            }
            note.ends.push(end);
            before = end;
        }
        Some(note)
    }
}

fn check(place: Place<'_>, body: &str) -> u64 {
    let mut sum = Fnv::default();
    sum.add(place.topic.as_bytes());
    sum.add(&place.partition.to_be_bytes());
    sum.add(&place.offset.to_be_bytes());
    sum.add(body.as_bytes());
    sum.0
}

/// What tells a record from another one at its offset: in a topic that was deleted and created anew, say.
pub(super) fn fingerprint(timestamp_ms: i64, key: Option<&[u8]>, value: Option<&[u8]>) -> u64 {
    let mut sum = Fnv::default();
    sum.add(&timestamp_ms.to_be_bytes());
    for part in [key, value] {
        // Null is not empty.
        sum.add(&[u8::from(part.is_some())]);
        sum.add(part.unwrap_or_default());
    }
    sum.0
}

/// [FNV-1a](http://www.isthe.com/chongo/tech/comp/fnv/) of 64 bits, each part with its length: against accidents only.
struct Fnv(u64);

impl Default for Fnv {
    fn default() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }
}

impl Fnv {
    fn add(&mut self, bytes: &[u8]) {
        for byte in (bytes.len() as u64).to_be_bytes().iter().chain(bytes) {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const PLACE: Place<'static> = Place { topic: "cdc.users", partition: 3, offset: 1000 };

    #[test]
    fn a_note_is_a_short_text_that_says_where_the_cuts_end() {
        let note = Note { last: Some(0xab), ends: vec![1000, 1499, 1999] };
        let text = note.encode(PLACE);
        assert!(text.starts_with("postrider1 ") && text.ends_with(" 00000000000000ab 0,499,500"), "{text}");
        assert_eq!(Note::decode(&text, PLACE), Ok(note));
    }

    #[test]
    fn no_text_is_no_note() {
        assert_eq!(Note::decode("", PLACE), Ok(Note::default()));
    }

    #[test]
    fn another_programs_text_a_later_versions_and_a_damaged_one_are_told_apart() {
        for (text, why) in [
            ("flink checkpoint 17", Unreadable::Foreign),
            ("x", Unreadable::Foreign),
            ("postriderx 1 2", Unreadable::Foreign),
            ("postrider2 whatever follows", Unreadable::Newer),
            ("postrider1 ", Unreadable::Damaged),
            ("postrider1 0000000000000000 - 5", Unreadable::Damaged),
        ] {
            assert_eq!(Note::decode(text, PLACE), Err(why), "{text}");
        }
        let text = Note { last: None, ends: vec![1005] }.encode(PLACE);
        for place in [Place { offset: 999, ..PLACE }, Place { partition: 4, ..PLACE }, Place { topic: "t", ..PLACE }] {
            assert_eq!(Note::decode(&text, place), Err(Unreadable::Damaged), "moved by hand");
        }
    }

    #[test]
    fn a_record_is_told_from_another_by_time_key_and_value() {
        let one = fingerprint(7, Some(b"k"), Some(b"v"));
        for other in [
            fingerprint(8, Some(b"k"), Some(b"v")),
            fingerprint(7, None, Some(b"v")),
            fingerprint(7, Some(b"k"), None),
            fingerprint(7, Some(b"kv"), Some(b"")),
        ] {
            assert_ne!(one, other);
        }
        assert_ne!(fingerprint(7, None, None), fingerprint(7, Some(b""), None));
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(last: Option<u64>, first in 0_i64..50, steps in prop::collection::vec(1_i64..1_000_000, 0..40)) {
            let mut ends: Vec<i64> = Vec::new();
            for step in steps {
                ends.push(ends.last().map_or(PLACE.offset + first, |end| end + step));
            }
            let note = Note { last, ends };
            let text = note.encode(PLACE);
            prop_assert!(text.len() < 1024, "{}", text.len());
            prop_assert_eq!(Note::decode(&text, PLACE), Ok(note));
        }

        #[test]
        fn whatever_stands_there_is_read_or_refused(text in ".{0,80}") {
            let _ = Note::decode(&text, PLACE);
            let _ = Note::decode(&format!("postrider1 {text}"), PLACE);
            let _ = Note::parse(&text, PLACE.offset);
        }

        #[test]
        fn a_changed_letter_is_noticed(at in 0_usize..60, letter in "[0-9a-f,]") {
            let text = Note { last: Some(77), ends: vec![1001, 1900] }.encode(PLACE);
            let at = at % text.len();
            let mut changed = text.clone();
            changed.replace_range(at..=at, &letter);
            prop_assume!(changed != text);
            prop_assert!(Note::decode(&changed, PLACE).is_err());
        }
    }
}
