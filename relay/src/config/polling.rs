//! `[polling]`: how the outbox is read where `source.mode`, or once `source.fallback`, is "polling".

use std::time::Duration;

use crate::config::{
    capture::Capture,
    key::{Fallback, Key, Kind},
    outbox::Outbox,
    postgres::is_name,
    settings::Settings,
    source::Source,
};

const AFTER: Key = Key {
    path: "polling.after",
    kind: Kind::Choice(&["mark", "delete"]),
    fallback: Fallback::Value("mark"),
    meaning: "What becomes of a row that is delivered: `mark` sets its `published_at`, `delete` deletes it.",
};
const BUCKETS: Key = Key {
    path: "polling.buckets",
    kind: Kind::Integer { min: 1, max: 1024 },
    fallback: Fallback::Value("16"),
    meaning: "Into how many parts the keys are cut that relays share: a power of two, at least as many as relays, the same for all of them. To change it, stop them all.",
};
const LEASE_MS: Key = Key {
    path: "polling.lease_ms",
    kind: Kind::Integer { min: 500, max: 600_000 },
    fallback: Fallback::Value("10000"),
    meaning: "How long the part of a relay that says nothing any more stays with it, in milliseconds: what a crash of one of several costs.",
};
const IDLE_WAIT_MIN_MS: Key = Key {
    path: "polling.idle_wait_min_ms",
    kind: Kind::Integer { min: 1, max: 60_000 },
    fallback: Fallback::Value("10"),
    meaning: "How long a relay rests before it looks again after something came, in milliseconds. Each rest in which nothing comes is twice as long as the one before.",
};
const IDLE_WAIT_MAX_MS: Key = Key {
    path: "polling.idle_wait_max_ms",
    kind: Kind::Integer { min: 1, max: 60_000 },
    fallback: Fallback::Value("200"),
    meaning: "The longest rest, in milliseconds: how late an event can be found after silence.",
};
const SWEEP_INTERVAL_MS: Key = Key {
    path: "polling.sweep_interval_ms",
    kind: Kind::Integer { min: 100, max: 86_400_000 },
    fallback: Fallback::Value("60000"),
    meaning: "How often everything that waits is looked through from the beginning, in milliseconds: it finds rows whose `published_at` somebody took away, and those that were restored.",
};
const BATCH_ROWS_MAX: Key = Key {
    path: "polling.batch_rows_max",
    kind: Kind::Integer { min: 1, max: 100_000 },
    fallback: Fallback::Value("2000"),
    meaning: "Rows that are read at once, at most; a page ends after 1 MiB as well.",
};
const NOTIFY_CHANNEL: Key = Key {
    path: "polling.notify_channel",
    kind: Kind::Text("the name of a channel, at most 63 bytes"),
    fallback: Fallback::Absent("nobody is listened to"),
    meaning: "A channel whose notifications end a rest early. It takes a session of its own: through a pooler in transaction mode nothing arrives, and the rests alone decide.",
};
const ORDER_COLUMN: Key = column(
    "polling.order_column",
    "seq",
    "Column with a whole number that rises in the order of insertion; unique and not null.",
);
const XID_COLUMN: Key = column(
    "polling.xid_column",
    "xid",
    "Column of type xid8 with the writing transaction (`default pg_current_xact_id()`). \"\" or a table without it: every look begins at the oldest row that waits.",
);
const PUBLISHED_AT_COLUMN: Key = column(
    "polling.published_at_column",
    "published_at",
    "Column of type timestamptz that is null until the row is published. \"\" or a table without it goes only with `after = \"delete\"`.",
);
const CREATED_AT_COLUMN: Key = column(
    "polling.created_at_column",
    "created_at",
    "Column with the time of the event, which becomes the record's. \"\" or a table without it: the time of reading.",
);

const fn column(path: &'static str, default: &'static str, meaning: &'static str) -> Key {
    const COLUMN: &str = "the name of a column as in the catalog, at most 63 bytes, or \"\" for none";
    Key { path, kind: Kind::Text(COLUMN), fallback: Fallback::Value(default), meaning }
}

pub(super) const KEYS: &[Key] = &[
    AFTER,
    BUCKETS,
    LEASE_MS,
    IDLE_WAIT_MIN_MS,
    IDLE_WAIT_MAX_MS,
    SWEEP_INTERVAL_MS,
    BATCH_ROWS_MAX,
    NOTIFY_CHANNEL,
    ORDER_COLUMN,
    XID_COLUMN,
    PUBLISHED_AT_COLUMN,
    CREATED_AT_COLUMN,
];

/// How the outbox is polled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Polling {
    /// Whether delivered rows are deleted rather than marked.
    pub deletes: bool,
    /// Parts that the keys are cut into.
    pub buckets: u16,
    /// How long a part stays with a relay that says nothing.
    pub lease: Duration,
    /// The shortest rest.
    pub idle_min: Duration,
    /// The longest rest.
    pub idle_max: Duration,
    /// How often everything is looked through.
    pub sweep_interval: Duration,
    /// Rows of a page.
    pub batch_rows_max: usize,
    /// A channel to listen to.
    pub notify_channel: Option<String>,
    /// The column of the order.
    pub order: String,
    /// The column of the transaction.
    pub xid: Option<String>,
    /// The column that says whether a row was published.
    pub published_at: Option<String>,
    /// The column of the time.
    pub created_at: Option<String>,
}

impl Polling {
    pub(super) fn from_settings(settings: &mut Settings) -> Self {
        let deletes = settings.choice(&AFTER) == 1;
        let buckets = u16::try_from(settings.unsigned(&BUCKETS)).unwrap_or(u16::MAX);
        if !buckets.is_power_of_two() {
            settings.refuse(&BUCKETS, "must be a power of two, such as 16");
        }
        let polling = Self {
            deletes,
            buckets,
            lease: settings.milliseconds(&LEASE_MS),
            idle_min: settings.milliseconds(&IDLE_WAIT_MIN_MS),
            idle_max: settings.milliseconds(&IDLE_WAIT_MAX_MS),
            sweep_interval: settings.milliseconds(&SWEEP_INTERVAL_MS),
            batch_rows_max: usize::try_from(settings.unsigned(&BATCH_ROWS_MAX)).unwrap_or(usize::MAX),
            notify_channel: settings.parsed(&NOTIFY_CHANNEL, |name| is_name(name).then(|| name.to_owned())),
            order: settings.checked(&ORDER_COLUMN, is_name),
            xid: optional(settings, &XID_COLUMN),
            published_at: optional(settings, &PUBLISHED_AT_COLUMN),
            created_at: optional(settings, &CREATED_AT_COLUMN),
        };
        if polling.idle_max < polling.idle_min {
            settings.refuse(&IDLE_WAIT_MAX_MS, "is shorter than `polling.idle_wait_min_ms`");
        }
        if !deletes && polling.published_at.is_none() {
            settings.refuse(
                &PUBLISHED_AT_COLUMN,
                "is \"\", so that nothing can be marked: set `polling.after` to \"delete\"",
            );
        }
        polling
    }

    /// Refuses what cannot be polled.
    pub(super) fn check(settings: &mut Settings, source: &Source, outboxes: &[Outbox], capture: Option<&Capture>) {
        if !source.may_poll() {
            return;
        }
        if capture.is_some() {
            source.refuse_polling(settings, "and the changes of [capture] are only in the log");
        }
        if let Some(outbox) = outboxes.iter().find(|outbox| outbox.table.is_none() || outbox.message_prefix.is_some()) {
            let message = format!(
                "and the messages of the outbox `{}` are only in the log: it can have no message_prefix",
                outbox.name
            );
            source.refuse_polling(settings, &message);
        }
    }
}

fn optional(settings: &mut Settings, key: &Key) -> Option<String> {
    Some(settings.checked(key, |name| name.is_empty() || is_name(name))).filter(|name| !name.is_empty())
}

#[cfg(test)]
mod tests {
    use crate::config::Config;
    use crate::config::source::Mode;

    fn parse(text: &str) -> Result<Config, String> {
        let text =
            format!("[postgres]\nurl = \"postgres://relay@db/shop\"\n[kafka]\nbootstrap_servers = \"k:9092\"\n{text}");
        Config::parse("test.toml", &text, [], |_| Err(std::io::ErrorKind::NotFound.into()))
            .map_err(|error| format!("{error:?}"))
    }

    #[test]
    fn polling_is_chosen_by_the_mode_and_has_defaults() {
        let config = parse("[source]\nmode = \"polling\"").expect("right");
        assert_eq!(config.source.mode, Mode::Polling);
        assert_eq!((config.polling.buckets, config.polling.deletes), (16, false));
        assert_eq!(config.polling.xid.as_deref(), Some("xid"));
        assert_eq!(parse("").expect("right").source.mode, Mode::Wal);
    }

    #[test]
    fn what_cannot_be_polled_is_refused() {
        for (text, says) in [
            ("[polling]\nbuckets = 12", "power of two"),
            ("[polling]\nidle_wait_min_ms = 500", "shorter"),
            ("[polling]\npublished_at_column = \"\"", "polling.after"),
            ("[source]\nmode = \"polling\"\n[outbox]\nmessage_prefix = \"shop\"", "message_prefix"),
            ("delivery = \"exactly-once\"\n[source]\nmode = \"polling\"", "at-least-once"),
            ("[source]\nmode = \"polling\"\n[capture]\ntables = [\"public.users\"]", "[capture]"),
            ("[source]\nfallback = \"polling\"\n[capture]\ntables = [\"public.users\"]", "source.fallback"),
            ("[source]\nmode = \"polling\"\nfallback = \"polling\"", "already"),
        ] {
            let refused = parse(text).expect_err(text);
            assert!(refused.contains(says), "{text}: {refused}");
        }
    }
}
