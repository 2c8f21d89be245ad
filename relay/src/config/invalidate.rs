//! `[invalidate]` and `[invalidate.rules.NAME]`: which topics the invalidator reads, and the keys of Redis that each record makes stale.

use crate::config::{
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
const TOPIC: Key = Key {
    path: "invalidate.rules.NAME.topic",
    kind: Kind::Text("the name of a topic"),
    fallback: Fallback::Required,
    meaning: "The topic whose records the rule looks at.",
};

pub(super) const KEYS: &[Key] = &[GROUP];
pub(super) const RULE_KEYS: &[Key] = &[TOPIC];

/// What the invalidator reads, and what becomes stale.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Invalidate {
    /// The consumer group.
    pub group: String,
    /// The rules, in the order of their names; at least one.
    pub rules: Vec<Rule>,
}

/// One rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    /// The name of its section.
    pub name: String,
    /// The topic whose records it looks at.
    pub topic: String,
}

impl Invalidate {
    pub(super) fn from_settings(settings: &mut Settings) -> Self {
        let names = settings.names(RULES);
        if names.is_empty() {
            settings.refuse(&TOPIC, "is wanted for at least one rule: write a section [invalidate.rules.NAME]");
        }
        let group = settings.checked(&GROUP, is_topic_name);
        let rules = names.iter().map(|name| {
            settings.in_section(name, |settings| Rule {
                name: name.clone(),
                topic: settings.checked(&TOPIC, is_topic_name),
            })
        });
        Self { group, rules: rules.collect() }
    }
}
