//! Right and wrong outboxes.

use std::ffi::OsString;
use std::io;

use crate::config::{
    Config,
    error::ConfigError,
    outbox::{Converter, OnRefusal, Place},
};

const NAME: &str = "postrider.toml";
const MINIMUM: &str = "postgres.database = \"shop\"\nkafka.bootstrap_servers = \"localhost:9092\"\n";

fn parse(text: &str, pairs: &[(&str, &str)]) -> Result<Config, ConfigError> {
    let variables: Vec<(OsString, OsString)> = pairs.iter().map(|(name, value)| (name.into(), value.into())).collect();
    Config::parse(NAME, text, variables, |_| Err(io::ErrorKind::NotFound.into()))
}

/// Parses `extra` beside what is required.
fn parse_with(extra: &str) -> Result<Config, ConfigError> {
    parse(&format!("{MINIMUM}{extra}"), &[])
}

fn errors(result: Result<Config, ConfigError>) -> Vec<String> {
    let error = result.expect_err("the configuration should be refused");
    error.problems().iter().map(ToString::to_string).collect()
}

#[test]
fn further_outboxes_have_the_keys_of_the_first_and_defaults_of_their_own() {
    let config = parse(
        &format!(
            "{MINIMUM}
             [outboxes.orders]
             table = 'sales.orders_outbox'
             topic = 'orders.{{event_type}}'
             key = '{{column:tenant}}/{{aggregate_id}}'
             on_refusal = 'dead_letter'
             dead_letter_topic = 'orders.dead'
             columns.headers = ''
             headers_from = {{ tenant = 'tenant', region = 'Region' }}
             filter.event_types = 'Order*, Refund'

             [outboxes.audit]
             message_prefix = 'audit'
             header_names.event_type = ''"
        ),
        &[("POSTRIDER_OUTBOXES_ORDERS_COLUMNS_ID", "event_id"), ("POSTRIDER_OUTBOXES_EXTRA_TABLE", "public.extra")],
    )
    .unwrap();
    let [audit, extra, orders] = &config.outboxes[..] else { panic!("three, in the order of their names: {config:?}") };
    assert_eq!((audit.name.as_str(), &audit.table, audit.message_prefix.as_deref()), ("audit", &None, Some("audit")));
    assert_eq!((audit.headers.id.as_deref(), audit.headers.event_type.as_deref()), (Some("id"), None));
    assert_eq!(extra.table.as_ref().unwrap().to_string(), "public.extra");
    assert_eq!(orders.topic, "orders.{event_type}");
    assert_eq!(orders.columns.id, "event_id");
    assert_eq!(orders.on_refusal, OnRefusal::DeadLetter("orders.dead".to_owned()));
    assert_eq!(orders.filter.event_types.only, ["Order*", "Refund"]);
    assert_eq!(orders.further_columns(), ["tenant", "Region"]);
    assert!(orders.required_columns().contains(&"Region".to_owned()));

    // [outbox] is there beside them only if something is said of it.
    let both = parse_with("outbox.topic = 'a'\noutboxes.b.table = 'public.b'").unwrap();
    assert_eq!(both.outboxes.iter().map(|outbox| outbox.name.as_str()).collect::<Vec<_>>(), ["outbox", "b"]);
}

#[test]
fn an_outbox_that_cannot_be_says_why() {
    for (extra, place, expected) in [
        (
            "outboxes.Bad.table = 'a.b'",
            "3:10",
            "`outboxes.Bad` cannot be: an outbox is named by at most 63 lower-case letters and digits, and not `outbox`",
        ),
        ("[outboxes.empty]", "3:11", "`outboxes.empty` is empty: give it at least `table` or `message_prefix`"),
        ("outboxes.a.tabel = 'a.b'", "3:12", "unknown key `outboxes.a.tabel`; did you mean `outboxes.a.table`?"),
        (
            "outboxes.a.table = 'ab'",
            "3:20",
            "`outboxes.a.table` must be a schema and a table joined by a dot, with double quotes around a name that is not plain lower case",
        ),
        (
            "[outbox]\ntable = 'a.b'\n[outboxes.c]\ntable = 'a.b'",
            "6:9",
            "`outboxes.c.table` is that of the outbox `outbox` too: an event takes one route",
        ),
        (
            "outboxes.outbox.table = 'a.b'",
            "3:10",
            "`outboxes.outbox` cannot be: an outbox is named by at most 63 lower-case letters and digits, and not `outbox`",
        ),
        (
            "outbox.columns.event_type = ''\noutbox.topic = '{event_type}'",
            "4:16",
            "`outbox.topic` names {event_type}, for which [outbox.columns] names no column",
        ),
        (
            "outbox.on_refusal = 'dead_letter'",
            "3:21",
            "`outbox.on_refusal` is \"dead_letter\", for which `outbox.dead_letter_topic` must name a topic",
        ),
        (
            "outbox.headers_from.id = 'x'",
            "3:26",
            "`outbox.headers_from.id` has the name of a header that the relay writes itself",
        ),
        (
            "outbox.headers_from.postrider-x = 'x'",
            "3:35",
            "`outbox.headers_from.postrider-x` has the name of a header that the relay writes itself",
        ),
        (
            "outbox.header_names.id = 'event_type'",
            "default",
            "`outbox.header_names.event_type` is the name of two headers: each needs its own",
        ),
        (
            "outbox.filter.event_types = 'a,,b'",
            "3:29",
            "`outbox.filter.event_types` must be names separated by commas, in which `*` stands for any characters",
        ),
        (
            "outbox.columns.payload = ''\noutbox.columns.payload_bytes = ''",
            "3:26",
            "`outbox.columns.payload` is \"\", and so is `outbox.columns.payload_bytes`: one of them must name a column",
        ),
        (
            "outbox.debezium.x = '1'",
            "3:21",
            "`outbox.debezium.x` has an effect only with `compatibility = \"debezium\"`",
        ),
    ] {
        let place = if place == "default" { String::new() } else { format!("{NAME}:{place}: ") };
        assert_eq!(errors(parse_with(extra)), [format!("{place}{expected}")], "{extra}");
    }
}

const CONVERTERS: &str =
    "outbox.compatibility = 'debezium'\n[outbox.debezium]\nkey.converter = 'string'\nvalue.converter = 'string'\n";

#[test]
fn the_options_of_debezium_are_taken_under_their_own_names() {
    let text = format!(
        "{CONVERTERS}
         table.field.event.id = 'event_id'
         \"table.field.event.key\" = 'k'
         table.field.event.timestamp = 'at'
         table.fields.additional.placement = 'type:header:eventType, tenant:envelope,p:partition'
         table.field.additional.missing = 'ignore'
         table.expand.json.payload = true
         route.by.field = 'kind'
         route.topic.regex = '(?<first>[a-z]+)-(.*)'
         route.topic.replacement = 'x.${{first}}.$2'
         route.tombstone.on.empty.payload = true
         \"value.converter\" = 'org.apache.kafka.connect.json.JsonConverter'
         \"value.converter.schemas.enable\" = false
         table.op.invalid.behavior = 'warn'"
    )
    .replacen("value.converter = 'string'\n", "", 1);
    let outbox = parse_with(&text).unwrap().outboxes.remove(0);
    let router = outbox.debezium.as_ref().unwrap();
    assert_eq!((router.id.as_str(), router.key.as_str(), router.payload.as_str()), ("event_id", "k", "payload"));
    assert_eq!(router.topic_replacement, "x.${first}.${2}");
    assert_eq!(router.value_converter, Converter::Json { schemas: false });
    assert_eq!(router.key_converter, Converter::Text);
    let placements: Vec<_> = router.placements.iter().map(|p| (p.column.as_str(), p.place, p.alias.as_str())).collect();
    assert_eq!(
        placements,
        [("type", Place::Header, "eventType"), ("tenant", Place::Envelope, "tenant"), ("p", Place::Partition, "p")]
    );
    assert!(router.expand && router.tombstone_on_empty && router.missing_ignored);
    assert_eq!(outbox.required_columns(), ["event_id", "kind", "k", "payload", "at"]);
}

#[test]
fn an_option_of_debezium_that_cannot_be_had_says_why() {
    for (extra, expected) in [
        ("nope = 'x'", "nope` is no option of the event router"),
        ("route.topic.regex = '(?=x)'", "route.topic.regex` cannot be used: look-around"),
        ("route.topic.replacement = '${x}'", "names the group x, which `route.topic.regex` does not have"),
        (
            "table.fields.additional.placement = 'a:nowhere'",
            "must be column:header, column:envelope or column:partition",
        ),
        ("table.op.invalid.behavior = 'fatal'", "the relay reads insertions only"),
        ("field.name.adjustment.mode = 'avro'", "adjusted names are how the event router loses fields"),
        (
            "table.fields.additional.placement = 'a:envelope'",
            "StringConverter prints in no form that can be read again",
        ),
        ("table.field.event.id = ''\nheader.converter = 'binary'", "must be SimpleHeaderConverter"),
    ] {
        let found = errors(parse_with(&format!("{CONVERTERS}{extra}")));
        assert!(found.len() == 1 && found[0].contains(expected), "{extra}: {found:?}");
    }
    let found = errors(parse_with("outbox.compatibility = 'debezium'\noutbox.topic = 'x'\noutbox.columns.id = 'x'"));
    assert_eq!(found.len(), 4, "{found:?}");
    assert!(found.iter().any(|line| line.contains("key.converter` is required")), "{found:?}");
    assert!(found.iter().any(|line| line.contains("`outbox.topic` does not go with")), "{found:?}");
}
