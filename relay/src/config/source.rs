//! `[source]`: the replication slot and the publication that are read, and how much may be on its way at once.

use crate::config::{
    key::{Fallback, Key, Kind},
    postgres::is_name,
    settings::Settings,
};

/// Longest name of a slot, in bytes.
const SLOT_BYTES_MAX: usize = 63;

const SLOT: Key = Key {
    path: "source.slot",
    kind: Kind::Text("1 to 63 lower-case letters, digits and underscores"),
    fallback: Fallback::Value("postrider"),
    meaning: "The replication slot that remembers what Postgres must keep. One relay reads it at a time; it names the progress record too.",
};
const MODE: Key = Key {
    path: "source.mode",
    kind: Kind::Choice(&["wal", "polling"]),
    fallback: Fallback::Value("wal"),
    meaning: "`wal` reads the replication slot; `polling` looks at the outbox table again and again, by [polling], and needs neither slot nor `wal_level`.",
};
const FALLBACK: Key = Key {
    path: "source.fallback",
    kind: Kind::Choice(&["none", "polling"]),
    fallback: Fallback::Value("none"),
    meaning: "What a relay does whose slot is lost: `none` ends with an error, `polling` goes on from the outbox table, by [polling], until `postrider slot recover` made the slot anew.",
};
const PUBLICATION: Key = Key {
    path: "source.publication",
    kind: Kind::Text("the name of a publication, at most 63 bytes"),
    fallback: Fallback::Value("postrider"),
    meaning: "The publication that lists the outbox table.",
};
/// Some 35 000 usual events: enough to keep a broker busy over its round trip, little enough for a sidecar.
const IN_FLIGHT_BYTES_MAX: Key = Key {
    path: "source.in_flight_bytes_max",
    kind: Kind::Integer { min: 65_536, max: 1_073_741_824 },
    fallback: Fallback::Value("16777216"),
    meaning: "Most bytes that may be read and not yet durable at the broker. A larger transaction is carried in parts.",
};

pub(super) const KEYS: &[Key] = &[MODE, FALLBACK, SLOT, PUBLICATION, IN_FLIGHT_BYTES_MAX];

/// How events are read from Postgres.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// From the log, through a slot.
    Wal,
    /// From the table.
    Polling,
}

/// What is read from Postgres.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    /// How.
    pub mode: Mode,
    /// Whether the outbox is polled once the slot is lost.
    pub falls_back: bool,
    /// The replication slot.
    pub slot: String,
    /// The publication that lists the outbox table.
    pub publication: String,
    /// Most bytes that may be read and not yet durable.
    pub in_flight_bytes_max: usize,
}

impl Source {
    pub(super) fn from_settings(settings: &mut Settings) -> Self {
        let source = Self {
            mode: if settings.choice(&MODE) == 1 { Mode::Polling } else { Mode::Wal },
            falls_back: settings.choice(&FALLBACK) == 1,
            slot: settings.checked(&SLOT, is_slot_name),
            publication: settings.checked(&PUBLICATION, is_name),
            in_flight_bytes_max: usize::try_from(settings.unsigned(&IN_FLIGHT_BYTES_MAX)).unwrap_or(usize::MAX),
        };
        if source.mode == Mode::Polling && source.falls_back {
            settings.refuse(&FALLBACK, "is for a relay that reads a slot: `source.mode` is \"polling\" already");
        }
        source
    }

    /// Whether the outbox is polled, or may come to be.
    #[must_use]
    pub fn may_poll(&self) -> bool {
        self.mode == Mode::Polling || self.falls_back
    }

    /// Records that polling, which is asked for, does not go with something else.
    pub(super) fn refuse_polling(&self, settings: &mut Settings, message: &str) {
        let key = if self.mode == Mode::Polling { &MODE } else { &FALLBACK };
        settings.refuse(key, &format!("is \"polling\", {message}"));
    }
}

/// Whether `name` can name a slot: the server's own rule.
/// <https://www.postgresql.org/docs/current/warm-standby.html#STREAMING-REPLICATION-SLOTS-MANIPULATION>
#[must_use]
pub fn is_slot_name(name: &str) -> bool {
    (1..=SLOT_BYTES_MAX).contains(&name.len())
        && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_')
}
