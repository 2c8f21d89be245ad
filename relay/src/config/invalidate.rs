//! `[invalidate]` and `[invalidate.rules.NAME]`: which topics the invalidator reads, and the keys of Redis that each record makes stale.

use std::time::Duration;

use crate::config::{
    audit::{self, Audit},
    key::{Fallback, Key, Kind},
    outbox::is_topic_name,
    settings::Settings,
};

/// The table of the sections.
const RULES: &str = "invalidate.rules";

const GROUP: Key = Key {
    path: "invalidate.group",
    kind: Kind::Text("1 to 249 letters, digits, `.`, `_` and `-`"),
    fallback: Fallback::Value("postrider-invalidate"),
    meaning: "The consumer group of the invalidator: processes of one group share the partitions.",
};
/// Longer than a commit takes to become visible on a loaded primary; far shorter than a page lives.
const SECOND_PASS_MS: Key = Key {
    path: "invalidate.second_pass_ms",
    kind: Kind::Integer { min: 0, max: 60_000 },
    fallback: Fallback::Value("1000"),
    meaning: "How long after the first invalidation the second one comes, in milliseconds: it voids what was filled from before the change was visible to readers. 0 leaves it out. With synchronous replication it must be longer than a commit waits for the standby.",
};
const PENDING_BYTES_MAX: Key = Key {
    path: "invalidate.pending_bytes_max",
    kind: Kind::Integer { min: 1_048_576, max: 17_179_869_184 },
    fallback: Fallback::Value("134217728"),
    meaning: "Most bytes of records and names that wait for their second pass; then reading waits. What a single batch fans out to may go beyond it.",
};
const SWEEP_KEYS_PER_SECOND: Key = Key {
    path: "invalidate.sweep_keys_per_second",
    kind: Kind::Integer { min: 1000, max: 100_000_000 },
    fallback: Fallback::Value("500000"),
    meaning: "How many keys a second the search for patterns looks at, on each master.",
};
const AUDIT_INTERVAL_MS: Key = Key {
    path: "invalidate.audit_interval_ms",
    kind: Kind::Integer { min: 100, max: 86_400_000 },
    fallback: Fallback::Value("10000"),
    meaning: "How often pages of `[invalidate.audits]` are sampled, in milliseconds.",
};
const AUDIT_PAGES: Key = Key {
    path: "invalidate.audit_pages",
    kind: Kind::Integer { min: 1, max: 100_000 },
    fallback: Fallback::Value("100"),
    meaning: "How many pages of each kind a sample has: so many queries it asks.",
};
const DEDUPLICATE: Key = Key {
    path: "invalidate.deduplicate",
    kind: Kind::List("names of topics"),
    fallback: Fallback::Value(""),
    meaning: "Topics of events whose header `id` is theirs alone: an event that came before, as another record with the same id and time, is left out.",
};
const REMEMBER_MS: Key = Key {
    path: "invalidate.remember_ms",
    kind: Kind::Integer { min: 1000, max: 2_678_400_000 },
    fallback: Fallback::Value("86400000"),
    meaning: "How long an event of `deduplicate` is remembered in Redis, in milliseconds; some 200 bytes each.",
};
const TOPIC: Key = Key {
    path: "invalidate.rules.NAME.topic",
    kind: Kind::Text("the name of a topic"),
    fallback: Fallback::Required,
    meaning: "The topic whose records the rule looks at.",
};
const WHEN: Key = Key {
    path: "invalidate.rules.NAME.when",
    kind: Kind::List("conditions"),
    fallback: Fallback::Value(""),
    meaning: "What must hold of a record, all of it: `op in c,u,d`, `changed(field)`, `field = value`, `field != value`, `field is null`, `field is not null`. In a variable, put each condition in double quotes.",
};
const STRATEGY: Key = Key {
    path: "invalidate.rules.NAME.strategy",
    kind: Kind::Choice(&["generation", "tags", "keys", "pattern", "keep", "add", "score"]),
    fallback: Fallback::Required,
    meaning: "What the rule does: [invalidation.md](invalidation.md#strategies) tells them apart.",
};
const TARGETS: Key = Key {
    path: "invalidate.rules.NAME.targets",
    kind: Kind::List("texts with placeholders such as `feed:{author_id}`"),
    fallback: Fallback::Value(""),
    meaning: "What becomes stale: tags (`generation`, `tags`), keys (`keys`) or patterns (`pattern`).",
};
const QUERY: Key = Key {
    path: "invalidate.rules.NAME.query",
    kind: Kind::Text("a query whose first column is a text"),
    fallback: Fallback::Absent("the rule does not fan out over a query"),
    meaning: "Asked of the database of `[postgres]` for members: each of `targets` is made for each, at `{member}`.",
};
const PARAMETERS: Key = Key {
    path: "invalidate.rules.NAME.parameters",
    kind: Kind::List("fields"),
    fallback: Fallback::Value(""),
    meaning: "The fields that are the query's `$1`, `$2` and so on.",
};
const KEPT: Key = Key {
    path: "invalidate.rules.NAME.kept",
    kind: Kind::Text("the name of a rule"),
    fallback: Fallback::Absent("the rule does not fan out over a kept set"),
    meaning: "The rule with `strategy = \"keep\"` over whose set `key` the rule fans out, as over a query.",
};
const KEY: Key = Key {
    path: "invalidate.rules.NAME.key",
    kind: Kind::Text("a text with placeholders"),
    fallback: Fallback::Absent("required by `keep`, `kept`, `add` and `score`"),
    meaning: "The set: its name (`keep`, `kept`) or its key in Redis (`add`, `score`).",
};
const MEMBER: Key = Key {
    path: "invalidate.rules.NAME.member",
    kind: Kind::Text("a text with placeholders"),
    fallback: Fallback::Absent("required by `keep`, `add` and `score`"),
    meaning: "The member of the set.",
};
const PRESENT: Key = Key {
    path: "invalidate.rules.NAME.present",
    kind: Kind::List("conditions"),
    fallback: Fallback::Value(""),
    meaning: "What must hold of the row for the member to be in the set (`keep`); a row that is deleted never is.",
};
const WEIGHT: Key = Key {
    path: "invalidate.rules.NAME.weight",
    kind: Kind::Number { min: -1_000_000.0, max: 1_000_000.0 },
    fallback: Fallback::Value("1"),
    meaning: "The points that a record gives its member (`score`).",
};
const WINDOW_MS: Key = Key {
    path: "invalidate.rules.NAME.window_ms",
    kind: Kind::Integer { min: 1000, max: 2_678_400_000 },
    fallback: Fallback::Value("3600000"),
    meaning: "How far back points count, in milliseconds (`score`).",
};
const BUCKET_MS: Key = Key {
    path: "invalidate.rules.NAME.bucket_ms",
    kind: Kind::Integer { min: 1000, max: 86_400_000 },
    fallback: Fallback::Value("60000"),
    meaning: "In what steps points are forgotten, in milliseconds (`score`).",
};
const TOP: Key = Key {
    path: "invalidate.rules.NAME.top",
    kind: Kind::Integer { min: 1, max: 1_000_000 },
    fallback: Fallback::Value("50"),
    meaning: "How many members the list of the best has (`score`).",
};
const TTL_MS: Key = Key {
    path: "invalidate.rules.NAME.ttl_ms",
    kind: Kind::Integer { min: 1000, max: 2_678_400_000 },
    fallback: Fallback::Value("604800000"),
    meaning: "How long the set lives after its last change, in milliseconds (`add`, `score`).",
};
const MEMBERS_MAX: Key = Key {
    path: "invalidate.rules.NAME.members_max",
    kind: Kind::Integer { min: 1, max: 10_000_000 },
    fallback: Fallback::Value("10000"),
    meaning: "How many members the set may have (`add`).",
};

pub(super) const KEYS: &[Key] = &[
    GROUP,
    SECOND_PASS_MS,
    PENDING_BYTES_MAX,
    SWEEP_KEYS_PER_SECOND,
    DEDUPLICATE,
    REMEMBER_MS,
    AUDIT_INTERVAL_MS,
    AUDIT_PAGES,
];
pub(super) const RULE_KEYS: &[Key] = &[
    TOPIC,
    WHEN,
    STRATEGY,
    TARGETS,
    QUERY,
    PARAMETERS,
    KEPT,
    KEY,
    MEMBER,
    PRESENT,
    WEIGHT,
    WINDOW_MS,
    BUCKET_MS,
    TOP,
    TTL_MS,
    MEMBERS_MAX,
];

/// What the invalidator reads, and what becomes stale.
#[derive(Debug, Clone, PartialEq)]
pub struct Invalidate {
    /// The consumer group.
    pub group: String,
    /// How long after the first pass the second one comes; none if zero.
    pub second_pass: Duration,
    /// Bytes that may wait for their second pass.
    pub pending_bytes_max: u64,
    /// Keys that a search looks at in a second, on each master.
    pub sweep_keys_per_second: u64,
    /// Topics whose events are left out where they came before.
    pub deduplicate: Vec<String>,
    /// How long their events are remembered.
    pub remember: Duration,
    /// How often pages are sampled.
    pub audit_interval: Duration,
    /// How many pages a sample has.
    pub audit_pages: u64,
    /// The pages that are audited, in the order of their names.
    pub audits: Vec<Audit>,
    /// The rules, in the order of their names; at least one.
    pub rules: Vec<Rule>,
}

/// What a rule does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Strategy {
    /// Raises generations.
    Generation,
    /// Removes what tag sets name.
    Tags,
    /// Removes keys.
    Keys,
    /// Searches and removes keys.
    Pattern,
    /// Keeps a set as the stream says.
    Keep,
    /// Adds members to a set that expires.
    Add,
    /// Gives points to members.
    Score,
}

/// The strategies in the order of the key's words.
const STRATEGIES: [Strategy; 7] = [
    Strategy::Generation,
    Strategy::Tags,
    Strategy::Keys,
    Strategy::Pattern,
    Strategy::Keep,
    Strategy::Add,
    Strategy::Score,
];

/// One rule, as it is written: its conditions and templates are read where rules are applied.
#[derive(Debug, Clone, PartialEq)]
pub struct Rule {
    /// The name of its section.
    pub name: String,
    /// The topic whose records it looks at.
    pub topic: String,
    /// Conditions on the record.
    pub when: Vec<String>,
    /// What it does.
    pub strategy: Strategy,
    /// What becomes stale.
    pub targets: Vec<String>,
    /// The query to fan out over.
    pub query: Option<String>,
    /// The query's parameters.
    pub parameters: Vec<String>,
    /// The rule whose set is fanned out over.
    pub kept: Option<String>,
    /// The set.
    pub key: Option<String>,
    /// The member.
    pub member: Option<String>,
    /// Conditions on the row for the member to be in the set.
    pub present: Vec<String>,
    /// Points of a record.
    pub weight: f64,
    /// How far back points count.
    pub window: Duration,
    /// In what steps points are forgotten.
    pub bucket: Duration,
    /// Members of the list of the best.
    pub top: u64,
    /// How long the set lives.
    pub ttl: Duration,
    /// Members of the set.
    pub members_max: u64,
}

impl Invalidate {
    /// The consumer group alone, for who looks at its dead letters.
    pub(super) fn group(settings: &mut Settings) -> String {
        settings.checked(&GROUP, is_topic_name)
    }

    pub(super) fn from_settings(settings: &mut Settings) -> Self {
        let names = settings.names(RULES);
        if names.is_empty() {
            settings.refuse(&TOPIC, "is wanted for at least one rule: write a section [invalidate.rules.NAME]");
        }
        let rules = names.iter().map(|name| settings.in_section(name, |settings| Rule::from_settings(name, settings)));
        Self {
            rules: rules.collect(),
            group: settings.checked(&GROUP, is_topic_name),
            second_pass: settings.milliseconds(&SECOND_PASS_MS),
            pending_bytes_max: settings.unsigned(&PENDING_BYTES_MAX),
            sweep_keys_per_second: settings.unsigned(&SWEEP_KEYS_PER_SECOND),
            deduplicate: settings
                .list(&DEDUPLICATE, |topic| Some(topic.to_owned()).filter(|topic| is_topic_name(topic)))
                .unwrap_or_default(),
            remember: settings.milliseconds(&REMEMBER_MS),
            audit_interval: settings.milliseconds(&AUDIT_INTERVAL_MS),
            audit_pages: settings.unsigned(&AUDIT_PAGES),
            audits: audit::from_settings(settings),
        }
    }
}

impl Rule {
    fn from_settings(name: &str, settings: &mut Settings) -> Self {
        let list = |settings: &mut Settings, key| settings.list(key, |text| Some(unquoted(text))).unwrap_or_default();
        Self {
            name: name.to_owned(),
            topic: settings.checked(&TOPIC, is_topic_name),
            when: list(settings, &WHEN),
            strategy: STRATEGIES[settings.choice(&STRATEGY)],
            targets: list(settings, &TARGETS),
            query: settings.optional_text(&QUERY),
            parameters: list(settings, &PARAMETERS),
            kept: settings.optional_text(&KEPT),
            key: settings.optional_text(&KEY),
            member: settings.optional_text(&MEMBER),
            present: list(settings, &PRESENT),
            weight: settings.number(&WEIGHT).unwrap_or_default(),
            window: settings.milliseconds(&WINDOW_MS),
            bucket: settings.milliseconds(&BUCKET_MS),
            top: settings.unsigned(&TOP),
            ttl: settings.milliseconds(&TTL_MS),
            members_max: settings.unsigned(&MEMBERS_MAX),
        }
    }
}

/// An entry without the double quotes that keep its commas together in a variable.
fn unquoted(entry: &str) -> String {
    entry.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).unwrap_or(entry).to_owned()
}
