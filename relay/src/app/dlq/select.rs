//! Which letters are meant.

use std::collections::HashSet;
use std::sync::Arc;

use crate::pipeline::dead_letters::Identity;
use crate::sinks::lots::letters::Details;

/// What must hold of a letter; what is not said, any does.
#[derive(Debug, Clone, Default)]
pub struct Selection {
    /// It is one of these.
    pub positions: HashSet<Identity>,
    /// Its record's topic.
    pub topic: Option<String>,
    /// Its record's partition.
    pub partition: Option<i32>,
    /// Its record's key.
    pub key: Option<String>,
    /// What its reason contains.
    pub reason: Option<String>,
    /// The class of its reason.
    pub code: Option<String>,
    /// It became a letter then or later, in milliseconds since 1970.
    pub since_ms: Option<i64>,
    /// It became a letter before then, in milliseconds since 1970.
    pub until_ms: Option<i64>,
}

impl Selection {
    /// Whether it holds of `letter`, whose newest reason is `reason`.
    pub(super) fn fits(&self, letter: &Details, reason: &str) -> bool {
        let identity = &letter.noted.identity;
        (self.positions.is_empty() || self.positions.contains(identity))
            && self.topic.as_ref().is_none_or(|topic| **topic == *identity.topic)
            && self.partition.is_none_or(|partition| partition == identity.partition)
            && self.key.as_ref().is_none_or(|key| letter.key.as_deref() == Some(key.as_bytes()))
            && self.reason.as_ref().is_none_or(|part| reason.contains(part.as_str()))
            && self.code.as_ref().is_none_or(|code| *code == letter.code)
            && self.since_ms.is_none_or(|since| letter.written_at_ms >= since)
            && self.until_ms.is_none_or(|until| letter.written_at_ms < until)
    }
}

/// Reads a position as `list` prints it.
///
/// # Errors
/// What would be one.
pub fn position(text: &str) -> Result<Identity, &'static str> {
    let wrong = "a position is topic/partition/offset, as `postrider dlq list` shows it";
    let mut parts = text.rsplitn(3, '/');
    let offset = parts.next().and_then(|offset| offset.parse().ok()).ok_or(wrong)?;
    let partition = parts.next().and_then(|partition| partition.parse().ok()).ok_or(wrong)?;
    let topic: Arc<str> = parts.next().filter(|topic| !topic.is_empty()).ok_or(wrong)?.into();
    Ok(Identity { topic, partition, offset })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::calendar::{iso8601, moment};

    #[test]
    fn positions_read_back_as_they_are_printed() {
        for text in ["cdc.users/0/12", "a/b/3/9223372036854775807"] {
            assert_eq!(position(text).map(|position| position.to_string()).as_deref(), Ok(text));
        }
        for text in ["", "t", "t/1", "/1/2", "t/x/2", "t/1/2x"] {
            assert!(position(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn moments_are_dates_times_or_how_long_ago_they_were() {
        let now = 1_760_783_445_000;
        for (text, expected) in [
            ("2025-10-18", "2025-10-18T00:00:00.000Z"),
            ("2025-10-18T10:30:45Z", "2025-10-18T10:30:45.000Z"),
            ("2000-02-29 01:02", "2000-02-29T01:02:00.000Z"),
            ("45s", "2025-10-18T10:30:00.000Z"),
            ("2h", "2025-10-18T08:30:45.000Z"),
            ("1d", "2025-10-17T10:30:45.000Z"),
        ] {
            assert_eq!(moment(text, now).map(iso8601).as_deref(), Ok(expected), "{text}");
        }
        for text in ["", "x", "-1h", "2025-13-01", "2025-10-18T25:00", "2025-10", "99999999999999999d"] {
            assert!(moment(text, now).is_err(), "{text:?}");
        }
    }
}
