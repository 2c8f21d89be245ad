//! `[guard]`: how much WAL the slot may hold back, and what the relay does about it before the server's disk is full.

use std::path::PathBuf;
use std::time::Duration;

use crate::config::{
    key::{Fallback, Key, Kind},
    outbox::Outbox,
    secret::Secret,
    settings::Settings,
};

/// What the guard may do, in the order of [`Action`].
const ACTIONS: &[&str] = &["alert", "release", "spill"];

/// What follows a spill that is full, in the order of [`Then`].
const THEN: &[&str] = &["alert", "release"];

const ACTION: Key = Key {
    path: "guard.action",
    kind: Kind::Choice(ACTIONS),
    fallback: Fallback::Value("alert"),
    meaning: "What the relay does when its slot holds back more WAL than the budget. `alert`: it says so (metrics, log, webhook). `release`: it also drops the slot, so that the server may remove that WAL; the outbox table is the queue then, and the relay makes a new slot and publishes what was written meanwhile as soon as the broker takes it. `spill`: it reads the slot into files in `guard.spill_dir`, so that the server may remove that WAL, and delivers them first when the broker takes events again.",
};
const SPILL_DIR: Key = Key {
    path: "guard.spill_dir",
    kind: Kind::Text("the absolute path of a folder"),
    fallback: Fallback::Absent("nothing is spilled"),
    meaning: "Where `guard.action = \"spill\"` keeps what it reads, in a folder for each slot that only the relay's user can read. Values lie there as they are. It must outlive the process: in a container, a volume.",
};
const SPILL_BYTES_MAX: Key = Key {
    path: "guard.spill_bytes_max",
    kind: Kind::Integer { min: 1 << 20, max: i64::MAX },
    fallback: Fallback::Value("1073741824"),
    meaning: "Most bytes that a spill may take. It holds the rows of the published tables, not the WAL, which is as a rule larger.",
};
const SPILL_THEN: Key = Key {
    path: "guard.spill_then",
    kind: Kind::Choice(THEN),
    fallback: Fallback::Value("alert"),
    meaning: "What follows when the spill is full and the slot is over its budget again: `alert`, as without a spill, or `release`, as `guard.action = \"release\"` does. What was spilled is delivered first in any case.",
};
const WAL_BYTES_MAX: Key = Key {
    path: "guard.wal_bytes_max",
    kind: Kind::Integer { min: 0, max: i64::MAX },
    fallback: Fallback::Value("0"),
    meaning: "The budget: most bytes of WAL that the slot may hold back. 0: no budget in bytes.",
};
/// The server gives a slot up at a checkpoint after its limit is passed: a quarter is time to act.
const WAL_PERCENT_MAX: Key = Key {
    path: "guard.wal_percent_max",
    kind: Kind::Integer { min: 0, max: 100 },
    fallback: Fallback::Value("75"),
    meaning: "The budget as a share of the server's `max_slot_wal_keep_size`, in percent. 0: no such budget; nor is there one where that setting has no limit.",
};
const TIME_LEFT_MS_MIN: Key = Key {
    path: "guard.time_left_ms_min",
    kind: Kind::Integer { min: 0, max: 604_800_000 },
    fallback: Fallback::Value("0"),
    meaning: "The budget as time, in milliseconds: less than this must not be left until `max_slot_wal_keep_size` or `postgres.wal_disk_bytes` is reached, at the rate at which WAL is being written. 0: no such budget.",
};
const WARN_PERCENT: Key = Key {
    path: "guard.warn_percent",
    kind: Kind::Integer { min: 1, max: 100 },
    fallback: Fallback::Value("50"),
    meaning: "The share of the budget, in percent, from which on the guard warns.",
};
const INTERVAL_MS: Key = Key {
    path: "guard.interval_ms",
    kind: Kind::Integer { min: 100, max: 3_600_000 },
    fallback: Fallback::Value("5000"),
    meaning: "How often the guard looks, in milliseconds. What is written between two looks comes on top of the budget.",
};
const WEBHOOK_URL: Key = Key {
    path: "guard.webhook_url",
    kind: Kind::Secret,
    fallback: Fallback::Absent("nobody is told"),
    meaning: "Where each change of the guard's level is sent as a JSON object by HTTP POST: `http://…` or `https://…`. It may hold a secret and is never shown; POSTRIDER_GUARD_WEBHOOK_URL keeps it out of this file.",
};

pub(super) const KEYS: &[Key] = &[
    ACTION,
    SPILL_DIR,
    SPILL_BYTES_MAX,
    SPILL_THEN,
    WAL_BYTES_MAX,
    WAL_PERCENT_MAX,
    TIME_LEFT_MS_MIN,
    WARN_PERCENT,
    INTERVAL_MS,
    WEBHOOK_URL,
];

/// What the guard may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// It only says so.
    Alert,
    /// It drops the slot: the table is the queue.
    Release,
    /// It reads the slot into files: they are the queue.
    Spill,
}

/// Where a slot is spilled to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Spill {
    /// The folder of all slots.
    pub folder: PathBuf,
    /// Bytes that the spill of a slot may take.
    pub bytes_max: u64,
}

/// The budget, and what happens beyond it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Guard {
    /// What it may do.
    pub action: Action,
    /// Where the slot is spilled to, if that is what it does.
    pub spill: Option<Spill>,
    /// Whether it may drop the slot, at once or when the spill is full.
    pub may_release: bool,
    /// Most bytes that the slot may hold back, if there is such a budget.
    pub wal_bytes_max: Option<u64>,
    /// The same as a share of the server's own limit, in percent.
    pub wal_percent_max: Option<u64>,
    /// How much time must be left until a limit is reached.
    pub time_left_min: Option<Duration>,
    /// The share of the budget from which on it warns, in percent.
    pub warn_percent: u64,
    /// How often it looks.
    pub interval: Duration,
    /// Who is told.
    pub webhook_url: Option<Secret>,
}

impl Guard {
    pub(super) fn from_settings(settings: &mut Settings, outboxes: &[Outbox]) -> Self {
        let action = [Action::Alert, Action::Release, Action::Spill][settings.choice(&ACTION)];
        let then_releases = settings.choice(&SPILL_THEN) == 1;
        let spill = Self::spill(settings, action);
        let may_release = action == Action::Release || action == Action::Spill && then_releases;
        let without_table = outboxes.iter().any(|outbox| outbox.table.is_none());
        if may_release && without_table {
            settings.refuse(
                if action == Action::Release { &ACTION } else { &SPILL_THEN },
                "is \"release\", but an outbox has no table ([outbox] table = \"\"): its events are in the WAL alone, and would be lost with the slot",
            );
        }
        let webhook_url = settings.secret(&WEBHOOK_URL);
        if webhook_url.as_ref().is_some_and(|url| !is_http(url.expose())) {
            settings.refuse(&WEBHOOK_URL, "must begin with http:// or https:// and name a host");
        }
        let positive = |value: u64| (value > 0).then_some(value);
        Self {
            action,
            spill,
            may_release,
            wal_bytes_max: positive(settings.unsigned(&WAL_BYTES_MAX)),
            wal_percent_max: positive(settings.unsigned(&WAL_PERCENT_MAX)),
            time_left_min: positive(settings.unsigned(&TIME_LEFT_MS_MIN)).map(Duration::from_millis),
            warn_percent: settings.unsigned(&WARN_PERCENT),
            interval: settings.milliseconds(&INTERVAL_MS),
            webhook_url,
        }
    }

    fn spill(settings: &mut Settings, action: Action) -> Option<Spill> {
        let folder = settings.optional_text(&SPILL_DIR).map(PathBuf::from);
        let bytes_max = settings.unsigned(&SPILL_BYTES_MAX);
        if action != Action::Spill {
            return None;
        }
        match folder {
            None => settings.refuse(&ACTION, "is \"spill\", which needs a folder: set guard.spill_dir"),
            Some(folder) if !folder.is_absolute() => settings.refuse_allowed(&SPILL_DIR),
            Some(folder) => return Some(Spill { folder, bytes_max }),
        }
        None
    }
}

fn is_http(url: &str) -> bool {
    let rest = url.strip_prefix("http://").or_else(|| url.strip_prefix("https://"));
    rest.is_some_and(|rest| !rest.is_empty() && !rest.starts_with('/') && !rest.contains([' ', '\n']))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::tests::{errors, parse_with};

    #[test]
    fn by_default_three_quarters_of_the_servers_limit_are_an_alert() {
        let guard = parse_with("").expect("a configuration").guard;
        assert_eq!((guard.action, guard.wal_percent_max), (Action::Alert, Some(75)));
        assert_eq!((guard.wal_bytes_max, guard.time_left_min, guard.webhook_url), (None, None, None));
    }

    #[test]
    fn a_budget_of_zero_is_none() {
        let guard = parse_with("[guard]\nwal_percent_max = 0\nwal_bytes_max = 1\n").expect("a configuration").guard;
        assert_eq!((guard.wal_bytes_max, guard.wal_percent_max), (Some(1), None));
    }

    #[test]
    fn events_that_are_in_the_log_alone_must_not_be_released() {
        let text = "[guard]\naction = \"release\"\n[outbox]\nmessage_prefix = \"outbox\"\n";
        let errors = errors(parse_with(text));
        assert!(errors.iter().any(|error| error.contains("guard.action") && error.contains("no table")), "{errors:?}");
    }

    #[test]
    fn a_spill_needs_a_folder_of_its_own() {
        let refused = |text: &str, says: &str| {
            let errors = errors(parse_with(text));
            assert!(errors.iter().any(|error| error.contains(says)), "{text}: {errors:?}");
        };
        refused("[guard]\naction = \"spill\"\n", "guard.spill_dir");
        refused("[guard]\naction = \"spill\"\nspill_dir = \"here\"\n", "absolute path");
        refused("[guard]\nspill_bytes_max = 1000\n", "guard.spill_bytes_max");
        let spills = "[guard]\naction = \"spill\"\nspill_dir = \"/var/spill\"\n";
        let without_table = "[outbox]\nmessage_prefix = \"outbox\"\n";
        refused(&format!("{spills}spill_then = \"release\"\n{without_table}"), "guard.spill_then");
        let guard = parse_with(&format!("{spills}{without_table}")).expect("a configuration").guard;
        assert_eq!((guard.action, guard.may_release), (Action::Spill, false));
        assert_eq!(guard.spill, Some(Spill { folder: "/var/spill".into(), bytes_max: 1 << 30 }));
    }

    #[test]
    fn a_webhook_is_an_http_address_and_is_never_shown() {
        for url in ["ftp://h/secret", "https://", "http:///secret", "http://a b/secret"] {
            let errors = errors(parse_with(&format!("[guard]\nwebhook_url = {url:?}\n")));
            assert!(errors.iter().any(|error| error.contains("guard.webhook_url")), "{url}: {errors:?}");
            assert!(!errors.iter().any(|error| error.contains("secret")), "{errors:?}");
        }
        let config = parse_with("[guard]\nwebhook_url = \"https://h/secret\"\n").expect("a configuration");
        assert!(!format!("{config:?}").contains("h/secret"));
    }
}
