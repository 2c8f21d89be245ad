//! `postrider check`: configuration, database and broker looked at together. Nothing is ever changed.

mod capture;

use std::time::Duration;

use regex::Regex;

use crate::app::{kafka, postgres};
use crate::config::outbox::OnRefusal;
use crate::config::{self, Config};
use crate::finding::{Finding, Rule, Severity};
use crate::pipeline::Error;
use crate::sinks::kafka::check as broker;
use crate::slots::check as database;
use crate::slots::check::{Column, ExpectedPolling, Holds, Outbox};
use crate::slots::setup::Table;
use crate::sources::wal::{Verdict, verdict};

/// The largest event that the writer library and the table's limits let pass, with its headers and the record's frame.
const EVENT_BYTES_MAX: usize = 1_048_500;

static NO_BROKER: Rule = Rule {
    code: "kafka-null",
    severity: Severity::Warning,
    why: "Every event is acknowledged to Postgres and published nowhere.",
    mend: "Name brokers in `kafka.bootstrap_servers`.",
};
static MESSAGE_BYTES: Rule = Rule {
    code: "message-bytes",
    severity: Severity::Warning,
    why: "Events that the outbox takes are then refused before they are sent.",
    mend: "Leave message.max.bytes out of `[kafka.properties]`, or raise it.",
};
static PROGRESS_TOPIC: Rule = Rule {
    code: "topic-is-progress",
    severity: Severity::Warning,
    why: "An event of that kind could only go to the topic of the progress records, and is refused.",
    mend: "Give `outbox.topic` a beginning of its own, or `kafka.progress_topic` another name.",
};
static OTHER_SERVER: Rule = Rule {
    code: "progress-other-server",
    severity: Severity::Error,
    why: "Positions of two servers cannot be compared: the relay refuses to start, because nobody could tell what is missing.",
    mend: "Give this relay a progress topic of its own; after a restore or an upgrade, `postrider slot recover`.",
};
static GAP: Rule = Rule {
    code: "progress-gap",
    severity: Severity::Error,
    why: "What lies between the record of what was delivered and the slot may never have been published: the relay refuses to start.",
    mend: "`postrider slot recover`, which publishes from the table what is missing.",
};
static FOREIGN: Rule = Rule {
    code: "progress-foreign",
    severity: Severity::Error,
    why: "Under the slot's name the progress topic holds what no relay of this version wrote: the relay does not start.",
    mend: "Give this relay a progress topic of its own.",
};

const RULES: &[&Rule] = &[&NO_BROKER, &MESSAGE_BYTES, &PROGRESS_TOPIC, &OTHER_SERVER, &GAP, &FOREIGN];

/// Every rule there is.
pub fn rules() -> impl Iterator<Item = &'static Rule> {
    database::rules().chain(broker::rules()).chain(capture::RULES.iter().copied()).chain(RULES.iter().copied())
}

/// What the one who checks may choose.
#[derive(Debug, Clone)]
pub struct Options {
    /// Who has a wider view of the database than the relay's role.
    pub administrator: Option<config::postgres::Postgres>,
    /// A transaction is old when it is open for longer.
    pub old_after: Duration,
}

/// Looks at everything and returns what it found, the worst first.
///
/// # Errors
/// A configuration that the Kafka client cannot use.
pub async fn check(config: &Config, options: Options) -> Result<Vec<Finding>, Error> {
    let expected = expected_database(config, options);
    let in_database = database::check(&expected).await;
    let mut findings = in_database.findings;
    let captured = capture::describe(config, in_database.captured.clone()).await?;
    findings.extend(captured.findings);
    findings.extend(configured(config)?);
    if !config.kafka.has_broker() {
        findings.push(NO_BROKER.found("kafka.bootstrap_servers is \"null:\"").words(NO_BROKER.mend));
    } else {
        let at_broker = broker::check(&expected_broker(config, &in_database.aggregate_types, captured.topics)?).await;
        findings.extend(at_broker.findings);
        if let (Some(confirmed), Some(record)) = (in_database.confirmed, &at_broker.progress)
            // A relay may be running: the slot was read before the record, and the end of the log is read after it.
            && let Some((identity, history)) = database::identify(&expected).await
        {
            findings.extend(progress(config, verdict(&config.source.slot, confirmed, &identity, &history, record)));
        }
    }
    // Stable, so that within a severity the order is that of the way of an event.
    findings.sort_by_key(Finding::severity);
    Ok(findings)
}

/// What the configuration alone shows.
fn configured(config: &Config) -> Result<Vec<Finding>, Error> {
    let mut findings = Vec::new();
    let bytes = kafka::options(&config.kafka, &config.topics)?.message_bytes_max;
    if bytes < EVENT_BYTES_MAX {
        findings.push(
            MESSAGE_BYTES
                .found(format!(
                    "message.max.bytes is {bytes}, and the outbox takes events of up to {EVENT_BYTES_MAX} bytes"
                ))
                .configuration("kafka.properties.message.max.bytes", &EVENT_BYTES_MAX.to_string()),
        );
    }
    let progress = &config.kafka.progress_topic;
    if topic_patterns(config).iter().any(|pattern| pattern.is_match(progress)) {
        findings.push(
            PROGRESS_TOPIC
                .found(format!("outbox.topic can name the progress topic {progress:?}"))
                .configuration("outbox.topic", "\"outbox.event.{aggregate_type}\""),
        );
    }
    Ok(findings)
}

fn progress(config: &Config, verdict: Verdict) -> Option<Finding> {
    let own = format!("\"{}.{}\"", config.kafka.progress_topic, config.source.slot);
    match verdict {
        Verdict::GoesOn => None,
        Verdict::Foreign(error) => {
            Some(FOREIGN.found(error.chain()).configuration("kafka.progress_topic", &own))
        }
        Verdict::OtherServer(error) => Some(
            OTHER_SERVER
                .found(error.to_string())
                .configuration("kafka.progress_topic", &own)
                .words("if this server was restored or upgraded: `postrider slot recover` publishes from the table what is missing"),
        ),
        Verdict::Gap(error) => Some(
            GAP.found(error.to_string())
                .words("find out what is missing: the outbox table still holds the rows")
                .command("postrider slot recover --yes"),
        ),
    }
}

fn expected_database(config: &Config, options: Options) -> database::Expected {
    database::Expected {
        connect: postgres::options(&config.postgres, false),
        administrator: options.administrator.map(|postgres| postgres::options(&postgres, false)),
        slot: config.source.slot.clone(),
        publication: config.source.publication.clone(),
        has_outbox: !config.outboxes.is_empty(),
        tables: config.outboxes.iter().filter_map(outbox).collect(),
        capture: capture::expected(config),
        polling: polling(config),
        parks: config.outboxes.iter().any(|outbox| outbox.on_refusal == OnRefusal::Park)
            || config.capture.as_ref().is_some_and(|capture| capture.on_refusal == OnRefusal::Park),
        migrations: postrider::migrations::files().len(),
        old_after: options.old_after,
    }
}

/// How the outbox is polled, if it is, or may come to be.
fn polling(config: &Config) -> Option<ExpectedPolling> {
    let polling = &config.polling;
    config.source.may_poll().then(|| ExpectedPolling {
        deletes: polling.deletes,
        published_at: polling.published_at.clone(),
        found_by: std::iter::once(&polling.order).chain(&polling.xid).cloned().collect(),
        falls_back: config.source.falls_back,
    })
}

/// What is expected of an outbox's table, if it has one.
fn outbox(outbox: &config::outbox::Outbox) -> Option<Outbox> {
    let table = outbox.table.as_ref()?;
    let section = if outbox.name == "outbox" { "outbox".to_owned() } else { format!("outboxes.{}", outbox.name) };
    let columns = &outbox.columns;
    let content = if outbox.debezium.is_some() { Holds::Anything } else { Holds::Content };
    let mapped = [
        ("id", Some(&columns.id), Holds::Text),
        ("aggregate_type", columns.aggregate_type.as_ref(), Holds::Text),
        ("aggregate_id", columns.aggregate_id.as_ref(), Holds::Text),
        ("event_type", columns.event_type.as_ref(), Holds::Text),
        ("payload", columns.payload.as_ref(), content),
        ("payload_bytes", columns.payload_bytes.as_ref(), Holds::Bytes),
        ("headers", columns.headers.as_ref(), Holds::Object),
    ];
    let mut expected: Vec<Column> = mapped
        .into_iter()
        .filter_map(|(part, name, holds)| {
            let optional = matches!(part, "payload_bytes" | "headers");
            Some(Column { name: name?.clone(), key: format!("{section}.columns.{part}"), holds, optional })
        })
        .collect();
    for name in outbox.required_columns() {
        if !expected.iter().any(|column| column.name == name) {
            expected.push(Column { name, key: section.clone(), holds: Holds::Anything, optional: false });
        }
    }
    Some(Outbox {
        table: Table { schema: table.schema.clone(), name: table.name.clone() },
        section,
        columns: expected,
        aggregate_type: columns.aggregate_type.clone(),
    })
}

fn expected_broker(
    config: &Config,
    aggregate_types: &[Vec<String>],
    captured: Vec<broker::CapturedTopic>,
) -> Result<broker::Expected, Error> {
    let with_tables = config.outboxes.iter().filter(|outbox| outbox.table.is_some());
    let known = with_tables.zip(aggregate_types).filter(|(outbox, _)| outbox.debezium.is_none());
    let known = known.flat_map(|(outbox, types)| types.iter().filter_map(|name| topic_of(&outbox.topic, name)));
    let example = config.outboxes.iter().find_map(|outbox| topic_of(&outbox.topic, "postrider-check"));
    Ok(broker::Expected {
        options: kafka::delivering(&config.kafka, &config.topics, &config.source.slot)?,
        slot: config.source.slot.clone(),
        topics: topic_patterns(config),
        known: known.collect(),
        captured,
        example,
    })
}

/// The topic of an aggregate type, where nothing else decides over it.
fn topic_of(template: &str, aggregate_type: &str) -> Option<String> {
    let name = template.replace("{aggregate_type}", aggregate_type);
    let plain = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-'));
    (plain && !name.is_empty()).then_some(name)
}

/// What the names of event topics look like: any name where the template has a placeholder.
fn topic_patterns(config: &Config) -> Vec<Regex> {
    config.outboxes.iter().filter_map(topic_pattern_of).collect()
}

/// The names that the topics of an outbox can have.
pub(super) fn topic_pattern_of(outbox: &config::outbox::Outbox) -> Option<Regex> {
    match &outbox.debezium {
        None => topic_pattern(&outbox.topic),
        // The replacement is `text${group}text`, each group a placeholder; `$$` is the sign itself.
        Some(router) => topic_pattern(&router.topic_replacement.replace("${", "{")),
    }
}

fn topic_pattern(template: &str) -> Option<Regex> {
    let mut pattern = String::from("^");
    let mut rest = template;
    while let Some((literal, after)) = rest.split_once('{') {
        pattern.push_str(&regex::escape(literal));
        pattern.push_str("[A-Za-z0-9._-]+");
        rest = after.split_once('}').map_or("", |(_, after)| after);
    }
    pattern.push_str(&regex::escape(rest));
    pattern.push('$');
    Regex::new(&pattern).ok()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn a_template_matches_the_names_that_it_makes_and_no_others() {
        let pattern = topic_pattern("shop.{aggregate_type}.v1").expect("a pattern");
        for (name, matches) in [("shop.order.v1", true), ("shop.order.v2", false), ("shopXorder.v1", false)] {
            assert_eq!(pattern.is_match(name), matches, "{name}");
        }
        assert_eq!(topic_of("shop.{aggregate_type}", "order").as_deref(), Some("shop.order"));
        assert_eq!(topic_of("shop.{aggregate_type}", "or/der"), None);
        assert_eq!(topic_of("{event_type}.{aggregate_type}", "order"), None);
    }

    #[test]
    fn no_two_rules_share_a_code() {
        let codes: BTreeSet<_> = rules().map(|rule| rule.code).collect();
        assert_eq!(codes.len(), rules().count());
    }

    /// The table of `docs/check.md` is this text, so that it cannot differ from what the program finds.
    #[test]
    fn the_documentation_lists_every_finding_and_no_other() {
        let documentation = include_str!("../../../docs/check.md");
        let mut missing = String::new();
        for rule in rules() {
            let row = format!("| `{}` | {} | {} | {} |\n", rule.code, rule.severity.name(), rule.why, rule.mend);
            if !documentation.contains(&row) {
                missing.push_str(&row);
            }
        }
        assert!(missing.is_empty(), "docs/check.md lacks these rows:\n{missing}");
        let is_row = |line: &&str| line.starts_with("| `") && line.matches('|').count() >= 5;
        assert_eq!(
            documentation.lines().filter(is_row).count(),
            rules().count(),
            "docs/check.md has rows of no finding"
        );
    }
}
