//! What becomes of each option of a Debezium Postgres connector. Their names and defaults:
//! <https://debezium.io/documentation/reference/stable/connectors/postgresql.html#postgresql-connector-properties>

/// How an option is treated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Treatment {
    /// It becomes this key, its value as it is.
    Key(&'static str),
    /// A secret: this key names a file for it.
    SecretFile(&'static str),
    /// Read together with others, elsewhere.
    Elsewhere,
    /// There is nothing here that it would change.
    Needless(&'static str),
    /// Needless with one of these values; with another it would change what is published, for this reason.
    Usual(&'static [&'static str], &'static str),
    /// It cannot be taken over, for this reason.
    Refused(&'static str),
    /// It becomes this key, which is true or false.
    Flag(&'static str),
    /// It becomes this key: a list of expressions of so many names as patterns.
    Names(&'static str, usize),
}

use Treatment::{Elsewhere, Key, Needless, Refused, SecretFile, Usual};

/// By name or, with a `*` at its end, by the beginning of a name. The first that fits holds.
const TABLE: &[(&str, Treatment)] = &[
    ("connector.class", Elsewhere),
    ("plugin.name", Elsewhere),
    ("database.hostname", Key("postgres.host")),
    ("database.port", Key("postgres.port")),
    ("database.dbname", Key("postgres.database")),
    ("database.user", Key("postgres.user")),
    ("database.password", SecretFile("postgres.password_file")),
    ("database.sslmode", Elsewhere),
    ("database.sslrootcert", Key("postgres.tls_ca_file")),
    ("database.sslcert", Key("postgres.tls_certificate_file")),
    ("database.sslkey", Elsewhere),
    (
        "database.sslpassword",
        Refused("a client key that is encrypted is not read: store it decrypted, readable by the relay alone"),
    ),
    ("database.sslfactory", Refused("it names a Java class")),
    ("database.tcpkeepalive", Needless("the relay's connections are kept alive by the system and by the protocol")),
    ("database.tcpKeepAlive", Needless("the relay's connections are kept alive by the system and by the protocol")),
    ("database.initial.statements", Refused("the relay pins its session's settings itself")),
    ("database.query.timeout.ms", Needless("the relay's questions have limits of their own")),
    ("database.server.name", Elsewhere),
    ("topic.prefix", Elsewhere),
    ("slot.name", Elsewhere),
    ("publication.name", Elsewhere),
    (
        "slot.drop.on.stop",
        Usual(
            &["false"],
            "stopping the connector would drop the slot and all that it keeps: set it to false and restart the connector first",
        ),
    ),
    (
        "slot.max.retries",
        Needless("the relay waits for its slot for as long as it takes, with the back-off of [retry]"),
    ),
    (
        "slot.retry.delay.ms",
        Needless("the relay waits for its slot for as long as it takes, with the back-off of [retry]"),
    ),
    ("slot.stream.params", Usual(&[""], "the relay decides how the stream is read")),
    ("slot.failover", Needless("the slot is there already and stays as it is")),
    (
        "publication.autocreate.mode",
        Needless("the publication is there already; `postrider check` looks whether it is as it should be"),
    ),
    (
        "publish.via.partition.root",
        Needless("the publication is there already; `postrider check` looks whether it is as it should be"),
    ),
    ("table.include.list", Elsewhere),
    ("table.whitelist", Elsewhere),
    (
        "table.exclude.list",
        Refused("it takes in every other table: name the outbox table by table.include.list instead"),
    ),
    ("schema.include.list", Needless("the table is named with its schema")),
    ("schema.exclude.list", Needless("the table is named with its schema")),
    ("column.*", Refused("it leaves out or masks columns: an event is published as it was written")),
    ("message.key.columns", Usual(&[""], "the event router sets the key: table.field.event.key")),
    ("skipped.operations", Needless("an event is an inserted row, and nothing else is read")),
    ("tombstones.on.delete", Needless("an event is an inserted row, and nothing else is read")),
    (
        "snapshot.*",
        Needless("the relay goes on at the slot and takes no snapshot; rows older than the slot were published before"),
    ),
    ("incremental.snapshot.*", Needless("the relay goes on at the slot and takes no snapshot")),
    ("read.only", Needless("the relay writes nothing but what it parks")),
    ("signal.*", Needless("signals ask for snapshots, which the relay does not take")),
    ("notification.*", Needless("the relay tells by its metrics, its log and /status")),
    ("heartbeat.*", Needless("an idle outbox holds nothing back: the slot follows the server's keepalives")),
    (
        "provide.transaction.metadata",
        Usual(&["false"], "the relay writes no topic of transactions: each event carries its position instead"),
    ),
    ("transaction.*", Needless("the relay writes no topic of transactions")),
    ("topic.transaction", Needless("the relay writes no topic of transactions")),
    ("topic.heartbeat.prefix", Needless("the relay writes no heartbeats")),
    ("topic.naming.strategy", Needless("the event router names the topics")),
    ("topic.delimiter", Needless("the event router names the topics")),
    ("topic.cache.size", Needless("it bounds a cache of Debezium's")),
    ("topic.creation.enable", Needless("whether the relay creates topics is said under [topics]")),
    ("topic.creation.groups", Usual(&[""], "the relay creates all topics alike: create those that differ beforehand")),
    ("topic.creation.default.partitions", Key("topics.partitions")),
    ("topic.creation.default.replication.factor", Key("topics.replication_factor")),
    ("topic.creation.default.cleanup.policy", Key("topics.cleanup_policy")),
    ("topic.creation.default.retention.ms", Key("topics.retention_ms")),
    ("topic.creation.default.compression.type", Usual(&["producer"], "set it on the topic")),
    ("topic.creation.*", Refused("the relay creates all topics alike: create those that differ beforehand")),
    (
        "lsn.flush.mode",
        Usual(
            &["connector", "connector_and_driver"],
            "somebody else would confirm the slot, and what it confirms is forgotten before it is delivered",
        ),
    ),
    ("lsn.flush.*", Needless("a position is confirmed when all before it is durable")),
    (
        "flush.lsn.source",
        Usual(
            &["true"],
            "somebody else would confirm the slot, and what it confirms is forgotten before it is delivered",
        ),
    ),
    ("offset.*", Needless("the relay's own progress record stands for Debezium's offsets; it begins at the slot")),
    (
        "exactly.once.support",
        Usual(
            &["requested", ""],
            "the relay delivers at least once: consumers recognise a repetition by the header `id`",
        ),
    ),
    ("status.update.interval.ms", Needless("the relay follows the server's wal_sender_timeout")),
    ("xmin.fetch.interval.ms", Needless("events carry no xmin")),
    ("max.batch.size", Needless("the relay's limits are in bytes: source.in_flight_bytes_max")),
    ("max.queue.size", Needless("the relay's limits are in bytes: source.in_flight_bytes_max")),
    ("max.queue.size.in.bytes", Key("source.in_flight_bytes_max")),
    ("queue.provider.*", Needless("the relay's limits are in bytes: source.in_flight_bytes_max")),
    ("poll.*", Needless("the relay reads when something arrives")),
    ("tasks.max", Needless("a slot has one reader")),
    ("retriable.restart.connector.wait.ms", Needless("how long the relay waits is said under [retry]")),
    ("errors.max.retries", Needless("the relay tries for as long as it runs, with the back-off of [retry]")),
    ("errors.retry.*", Needless("how long the relay waits is said under [retry]")),
    ("errors.tolerance", Elsewhere),
    ("errors.log.*", Needless("the relay logs every error, and no row's values")),
    (
        "errors.deadletterqueue.*",
        Refused("Connect has none for sources: set on_refusal = \"dead_letter\" in [outbox] if you want one"),
    ),
    (
        "event.processing.failure.handling.mode",
        Usual(&["fail"], "the relay drops no event: what can never be delivered is parked or holds the stream"),
    ),
    ("event.converting.failure.handling.mode", Usual(&["fail", "warn"], "the relay drops no event")),
    (
        "decimal.handling.mode",
        Usual(&["precise", "string"], "a numeric column that is placed in a header would be written in another form"),
    ),
    (
        "time.precision.mode",
        Usual(
            &["adaptive", "adaptive_time_microseconds"],
            "a column of times that is placed in a header would be written in another form",
        ),
    ),
    ("hstore.handling.mode", Usual(&["json"], "a column of hstore would be written in another form")),
    ("interval.handling.mode", Usual(&["numeric"], "a column of intervals would be written in another form")),
    ("binary.handling.mode", Usual(&["bytes"], "a payload of bytea would be written in another form")),
    ("money.fraction.digits", Needless("an outbox holds no money type")),
    ("unavailable.value.placeholder", Needless("an inserted row carries every value")),
    ("schema.refresh.mode", Needless("the stream itself tells the relay what a table looks like")),
    ("schema.name.adjustment.mode", Usual(&["none"], "schema names would be written in another form")),
    ("schema.*", Needless("the relay keeps no history of schemas")),
    ("include.schema.changes", Needless("the Postgres connector has none")),
    ("include.schema.comments", Needless("no schema with comments is published")),
    ("include.unknown.datatypes", Needless("the relay takes any type by its text")),
    ("sourceinfo.struct.maker", Needless("the event router leaves the source block out")),
    ("custom.metric.tags", Needless("Prometheus adds labels where it scrapes")),
    ("replica.identity.autoset.values", Needless("insertions need no replica identity")),
    ("guardrail.*", Needless("the relay reads the tables that it is told")),
    ("openlineage.*", Refused("the relay sends no lineage events")),
    ("converters", Usual(&[""], "custom converters are Java classes")),
    ("post.processors", Usual(&[""], "post processors are Java classes")),
    ("key.converter*", Elsewhere),
    ("value.converter*", Elsewhere),
    ("header.converter*", Elsewhere),
    ("transforms*", Elsewhere),
    ("predicates*", Elsewhere),
    (
        "producer.override.acks",
        Usual(&["all", "-1"], "the relay counts an event as delivered only when every in-sync replica has it"),
    ),
    ("producer.override.linger.ms", Key("kafka.linger_ms")),
    ("producer.override.client.id", Key("kafka.client_id")),
    ("producer.override.max.request.size", Key("kafka.properties.message.max.bytes")),
    ("producer.override.compression.type", Elsewhere),
    ("producer.override.batch.size", Needless("the relay chooses the size of its requests")),
    ("producer.override.buffer.memory", Key("kafka.queue_bytes_max")),
    ("producer.override.enable.idempotence", Needless("the relay's producer always is idempotent")),
    (
        "producer.override.*",
        Refused("set the key of the same meaning under [kafka], or the librdkafka property under [kafka.properties]"),
    ),
    ("sink.type", Usual(&["kafka"], "the relay publishes to Kafka only")),
    ("sink.kafka.producer.bootstrap.servers", Elsewhere),
    ("sink.kafka.producer.key.serializer", Needless("the converters say the form of key and value")),
    ("sink.kafka.producer.value.serializer", Needless("the converters say the form of key and value")),
    (
        "sink.kafka.producer.acks",
        Usual(&["all", "-1"], "the relay counts an event as delivered only when every in-sync replica has it"),
    ),
    ("sink.kafka.producer.linger.ms", Key("kafka.linger_ms")),
    ("sink.kafka.producer.client.id", Key("kafka.client_id")),
    (
        "sink.*",
        Refused("set the key of the same meaning under [kafka], or the librdkafka property under [kafka.properties]"),
    ),
    ("quarkus.*", Needless("it is of the Java runtime; the relay's log is said under [log]")),
    ("internal.*", Needless("it is Debezium's own")),
];

/// What becomes of the option `name`; none if no connector that we know has it.
pub(super) fn treatment(name: &str) -> Option<Treatment> {
    find(TABLE, name)
}

/// The first of `table` that fits the option `name`.
pub(super) fn find(table: &[(&str, Treatment)], name: &str) -> Option<Treatment> {
    let fits = |pattern: &str| match pattern.strip_suffix('*') {
        Some(beginning) => name.starts_with(beginning),
        None => name == pattern,
    };
    table.iter().find(|(pattern, _)| fits(pattern)).map(|(_, treatment)| *treatment)
}

/// Whether the value of an option of this name must never be shown.
pub(super) fn is_secret(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    ["password", "secret", "jaas", "token", "credential", "basic.auth"].iter().any(|word| name.contains(word))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_exact_name_stands_before_the_beginning_that_would_hide_it() {
        for (index, (pattern, _)) in TABLE.iter().enumerate() {
            let hidden = TABLE[..index].iter().find(|(earlier, _)| {
                earlier.strip_suffix('*').is_some_and(|beginning| pattern.starts_with(beginning)) || earlier == pattern
            });
            assert_eq!(hidden.map(|(earlier, _)| earlier), None, "{pattern} is hidden");
        }
        assert_eq!(treatment("snapshot.mode"), treatment("snapshot.fetch.size"));
        assert_eq!(treatment("no.such.option"), None);
        assert!(is_secret("sasl.jaas.config") && is_secret("database.password") && !is_secret("database.user"));
    }
}
