//! Topics, keys, headers, values, times and partitions.

use super::{Case, Input, PAYLOAD, PLAIN, SCHEMAS, Show};
use crate::shape::debezium::{Converter, Place};
use crate::shape::row::Type;

#[expect(clippy::too_many_lines, reason = "a table, a case a line")]
pub(super) fn forms() -> Vec<Case> {
    use Place::{Envelope, Header, Partition};
    use Show::{Headers, Key, Time, Topic, Value};
    let i = Input::new;
    let both = |converter| i().converters(converter, converter);
    vec![
        ("value, StringConverter", i(), Value, PAYLOAD),
        (
            "value, JsonConverter without schemas",
            both(PLAIN),
            Value,
            r#""{\"id\": 1, \"none\": null, \"empty\": [], \"t\": 1.10}""#,
        ),
        (
            "value, JsonConverter with schemas",
            both(SCHEMAS),
            Value,
            r#"{"schema":{"type":"string","optional":true,"name":"io.debezium.data.Json","version":1},"payload":"{\"id\": 1, \"none\": null, \"empty\": [], \"t\": 1.10}"}"#,
        ),
        (
            "value with control characters and an emoji, JsonConverter",
            i().payload("\"a\\b\u{1}\u{1f}\t\n\r\u{c}\u{8}/é🐎<>&'").value(PLAIN),
            Value,
            r#""\"a\\b\u0001\u001F\t\n\r\f\b/é\uD83D\uDC0E<>&'""#,
        ),
        ("null payload, StringConverter", i().payload(None), Value, "no bytes"),
        ("null payload, JsonConverter without schemas", i().payload(None).value(PLAIN), Value, "null"),
        (
            "null payload, JsonConverter with schemas",
            i().payload(None).value(SCHEMAS),
            Value,
            r#"{"schema":{"type":"string","optional":true,"name":"io.debezium.data.Json","version":1},"payload":null}"#,
        ),
        (
            "null payload, `route.tombstone.on.empty.payload`",
            i().payload(None).value(PLAIN).tombstone(),
            Value,
            "no bytes",
        ),
        (
            "blank text payload, `route.tombstone.on.empty.payload`",
            i().payload("  ").value(PLAIN).tombstone(),
            Value,
            "no bytes",
        ),
        (
            "null payload in an envelope, `route.tombstone.on.empty.payload`",
            i().payload(None).value(PLAIN).tombstone().place(Envelope, "eventType", "OrderCreated", Type::Text),
            Value,
            "no bytes",
        ),
        (
            "null payload, BinaryDataConverter",
            i().payload(None).value(Converter::Binary),
            Value,
            "the task dies: requires a delegate.converter.type",
        ),
        ("bytea payload, JsonConverter", i().bytes("\\x00ff41").value(PLAIN), Value, r#""AP9B""#),
        (
            "bytea payload, JsonConverter with schemas",
            i().bytes("\\x00ff41").value(SCHEMAS),
            Value,
            r#"{"schema":{"type":"bytes","optional":true},"payload":"AP9B"}"#,
        ),
        (
            "bytea payload, BinaryDataConverter or ByteArrayConverter",
            i().bytes("\\x4142").value(Converter::Binary),
            Value,
            "AB",
        ),
        ("bytea payload, StringConverter", i().bytes("\\x4142"), Value, "java.nio.HeapByteBuffer[pos=0 lim=2 cap=2]"),
        (
            "jsonb payload, BinaryDataConverter or ByteArrayConverter",
            i().value(Converter::Binary),
            Value,
            "the task dies: Invalid schema type for ByteArrayConverter: STRING",
        ),
        ("text key, StringConverter", i(), Key, "4\"2"),
        ("text key, JsonConverter without schemas", both(PLAIN), Key, r#""4\"2""#),
        (
            "text key, JsonConverter with schemas",
            both(SCHEMAS),
            Key,
            r#"{"schema":{"type":"string","optional":false},"payload":"4\"2"}"#,
        ),
        (
            "uuid key, JsonConverter with schemas",
            both(SCHEMAS).key("018f-id", Type::Uuid),
            Key,
            r#"{"schema":{"type":"string","optional":false,"name":"io.debezium.data.Uuid","version":1},"payload":"018f-id"}"#,
        ),
        ("bigint key, JsonConverter without schemas", both(PLAIN).key("42", Type::Int64), Key, "42"),
        (
            "bigint key, JsonConverter with schemas",
            both(SCHEMAS).key("42", Type::Int64),
            Key,
            r#"{"schema":{"type":"int64","optional":false},"payload":42}"#,
        ),
        ("null key, StringConverter", i().key(None, Type::Text), Key, "no bytes"),
        ("null key, JsonConverter without schemas", both(PLAIN).key(None, Type::Text), Key, "null"),
        (
            "null key, JsonConverter with schemas",
            both(SCHEMAS).key(None, Type::Text),
            Key,
            r#"{"schema":{"type":"string","optional":true},"payload":null}"#,
        ),
        ("topic", i(), Topic, "outbox.event.Order"),
        ("topic of an empty routing value", Input { routed_by: Some(""), ..i() }, Topic, "outbox.event."),
        (
            "topic of a null routing value",
            Input { routed_by: None, ..i() },
            Topic,
            "the task dies: NullPointerException",
        ),
        (
            "topic, `route.topic.regex` with groups",
            i().topic("(O)(?<rest>.*)", "${1}-${rest}-$$${1}0"),
            Topic,
            "O-rder-$O0",
        ),
        ("topic, `route.topic.regex` that does not match the whole value", i().topic("Ord", "y"), Topic, "Order"),
        ("headers, SimpleHeaderConverter", i(), Headers, "id=018f-id"),
        ("headers of a null id", Input { id: None, ..i() }, Headers, "id=no bytes"),
        (
            "placed headers, SimpleHeaderConverter",
            i().place(Header, "eventType", "OrderCreated", Type::Text)
                .place(Header, "n", "5", Type::Int32)
                .place(Header, "b", "\\x4142", Type::Bytes)
                .place(Header, "bool", "t", Type::Boolean)
                .place(Header, "nul", None, Type::Text),
            Headers,
            "id=018f-id eventType=OrderCreated n=5 b=QUI= bool=true nul=no bytes",
        ),
        (
            "placed headers, StringConverter",
            i().header(Converter::Text)
                .place(Header, "eventType", "OrderCreated", Type::Text)
                .place(Header, "n", "5", Type::Int32)
                .place(Header, "nul", None, Type::Text),
            Headers,
            "id=018f-id eventType=OrderCreated n=5 nul=no bytes",
        ),
        (
            "placed headers, JsonConverter without schemas",
            i().header(PLAIN)
                .place(Header, "eventType", "OrderCreated", Type::Text)
                .place(Header, "n", "5", Type::Int32)
                .place(Header, "b", "\\x4142", Type::Bytes)
                .place(Header, "bool", "t", Type::Boolean)
                .place(Header, "nul", None, Type::Text),
            Headers,
            r#"id="018f-id" eventType="OrderCreated" n=5 b="QUI=" bool=true nul=null"#,
        ),
        (
            "placed headers, JsonConverter with schemas",
            i().header(SCHEMAS).place(Header, "n", "5", Type::Int32).place(Header, "nul", None, Type::Text),
            Headers,
            r#"id={"schema":{"type":"string","optional":false,"name":"io.debezium.data.Uuid","version":1},"payload":"018f-id"} n={"schema":{"type":"int32","optional":false},"payload":5} nul={"schema":{"type":"string","optional":true},"payload":null}"#,
        ),
        (
            "envelope, JsonConverter without schemas",
            i().value(PLAIN)
                .place(Envelope, "eventType", "OrderCreated", Type::Text)
                .place(Envelope, "n", "5", Type::Int32)
                .place(Envelope, "nul", None, Type::Text)
                .place(Envelope, "bool", "t", Type::Boolean),
            Value,
            r#"{"payload":"{\"id\": 1, \"none\": null, \"empty\": [], \"t\": 1.10}","eventType":"OrderCreated","n":5,"nul":null,"bool":true}"#,
        ),
        (
            "envelope, JsonConverter with schemas, `table.field.event.schema.version`",
            i().value(SCHEMAS).place(Envelope, "eventType", "OrderCreated", Type::Text).version("5"),
            Value,
            r#"{"schema":{"type":"struct","fields":[{"type":"string","optional":true,"name":"io.debezium.data.Json","version":1,"field":"payload"},{"type":"string","optional":false,"field":"eventType"}],"optional":false,"name":"p.public.outbox.Order.Value","version":5},"payload":{"payload":"{\"id\": 1, \"none\": null, \"empty\": [], \"t\": 1.10}","eventType":"OrderCreated"}}"#,
        ),
        (
            "envelope around bytea",
            i().bytes("\\x4142").value(PLAIN).place(Envelope, "eventType", "OrderCreated", Type::Text),
            Value,
            r#"{"payload":"QUI=","eventType":"OrderCreated"}"#,
        ),
        (
            "envelope around a null payload",
            i().payload(None).value(PLAIN).place(Envelope, "eventType", "OrderCreated", Type::Text),
            Value,
            r#"{"payload":null,"eventType":"OrderCreated"}"#,
        ),
        (
            "envelope of a column that is missing, `table.field.additional.missing = ignore`",
            i().payload("{}").value(PLAIN).missing(Envelope),
            Value,
            r#"{"payload":"{}"}"#,
        ),
        ("partition, an integer column", i().place(Partition, "n", "5", Type::Int32), Show::Partition, "5"),
        ("partition, a null", i().place(Partition, "n", None, Type::Int32), Show::Partition, "by the key"),
        (
            "partition, a text",
            i().place(Partition, "n", "OrderCreated", Type::Text),
            Show::Partition,
            "the task dies: Field 'type' is not of type INT32",
        ),
        ("time without a column", i(), Time, "the connector's clock"),
        (
            "time, a timestamp column",
            i().timestamp("2020-09-13 12:26:40.456789", Type::Timestamp),
            Time,
            "1600000000456",
        ),
        ("time, a null", i().timestamp(None, Type::Timestamp), Time, "the connector's clock"),
        (
            "time, a timestamptz column",
            i().timestamp("2020-09-13 12:26:40+00", Type::TimestampTz),
            Time,
            "the task dies: Field 'at' is not of type INT64",
        ),
        (
            "time, a bigint column",
            i().timestamp("1600000000456", Type::Int64),
            Time,
            "the task dies: Unsupported field type INT64",
        ),
    ]
}
