//! The texts of the envelope that are the same for every change of a table: names, punctuation, and the schema.

use crate::shape::change::form::Slot;
use crate::shape::json;

/// What follows a snapshot's word, up to where the transaction stands: the block that says where a change comes from.
const SOURCE_SCHEMA: &str = concat!(
    r#"{"type":"struct","fields":["#,
    r#"{"type":"string","optional":false,"field":"version"},{"type":"string","optional":false,"field":"connector"},"#,
    r#"{"type":"string","optional":false,"field":"name"},{"type":"int64","optional":false,"field":"ts_ms"},"#,
    r#"{"type":"string","optional":true,"name":"io.debezium.data.Enum","version":1,"parameters":{"allowed":"#,
    r#""true,first,first_in_data_collection,last_in_data_collection,last,false,incremental"},"default":"false","#,
    r#""field":"snapshot"},{"type":"string","optional":false,"field":"db"},"#,
    r#"{"type":"string","optional":true,"field":"sequence"},{"type":"int64","optional":true,"field":"ts_us"},"#,
    r#"{"type":"int64","optional":true,"field":"ts_ns"},{"type":"string","optional":false,"field":"schema"},"#,
    r#"{"type":"string","optional":false,"field":"table"},{"type":"int64","optional":true,"field":"txId"},"#,
    r#"{"type":"int64","optional":true,"field":"lsn"},{"type":"int64","optional":true,"field":"xmin"},"#,
    r#"{"type":"string","optional":true,"field":"origin"},{"type":"int64","optional":true,"field":"origin_lsn"}],"#,
    r#""optional":false,"name":"io.debezium.connector.postgresql.Source","version":1,"field":"source"}"#,
);

const TRANSACTION_SCHEMA: &str = concat!(
    r#"{"type":"struct","fields":[{"type":"string","optional":false,"field":"id"},"#,
    r#"{"type":"int64","optional":false,"field":"total_order"},"#,
    r#"{"type":"int64","optional":false,"field":"data_collection_order"}],"#,
    r#""optional":true,"name":"event.block","version":1,"field":"transaction"}"#,
);

/// Of the value of a logical message; its schema does not depend on anything.
pub(super) fn message_schema(content: &str) -> String {
    format!(
        r#"{{"type":"struct","fields":[{{"type":"string","optional":false,"field":"op"}},{{"type":"int64","optional":true,"field":"ts_ms"}},{SOURCE_SCHEMA},{TRANSACTION_SCHEMA},{{"type":"struct","fields":[{{"type":"string","optional":true,"field":"prefix"}},{{"type":"{content}","optional":true,"field":"content"}}],"optional":false,"name":"io.debezium.connector.postgresql.Message","version":1,"field":"message"}}],"optional":false,"name":"io.debezium.connector.postgresql.MessageValue","version":1}}"#
    )
}

/// Of the key of a logical message.
pub(super) const MESSAGE_KEY_SCHEMA: &str = concat!(
    r#"{"type":"struct","fields":[{"type":"string","optional":true,"field":"prefix"}],"optional":false,"#,
    r#""name":"io.debezium.connector.postgresql.MessageKey","version":1}"#,
);

/// Of the key of a transaction's begin or end.
pub(super) const BOUNDARY_KEY_SCHEMA: &str = concat!(
    r#"{"type":"struct","fields":[{"type":"string","optional":false,"field":"id"}],"optional":false,"#,
    r#""name":"io.debezium.connector.common.TransactionMetadataKey","version":1}"#,
);

/// Of the value of a transaction's begin or end.
pub(super) const BOUNDARY_SCHEMA: &str = concat!(
    r#"{"type":"struct","fields":[{"type":"string","optional":false,"field":"status"},"#,
    r#"{"type":"string","optional":false,"field":"id"},{"type":"int64","optional":true,"field":"event_count"},"#,
    r#"{"type":"array","items":{"type":"struct","fields":[{"type":"string","optional":false,"field":"data_collection"},"#,
    r#"{"type":"int64","optional":false,"field":"event_count"}],"optional":true,"name":"event.collection","version":1},"#,
    r#""optional":true,"field":"data_collections"},{"type":"int64","optional":false,"field":"ts_ms"}],"optional":false,"#,
    r#""name":"io.debezium.connector.common.TransactionMetadataValue","version":1}"#,
);

/// A schema for text headers.
pub(super) const TEXT_SCHEMA: &str = r#"{"type":"string","optional":false}"#;

/// What stands around a payload: nothing, or its schema.
pub(super) fn around(schemas: bool, schema: &str) -> (Vec<u8>, Vec<u8>) {
    if schemas {
        (format!(r#"{{"schema":{schema},"payload":"#).into_bytes(), b"}".to_vec())
    } else {
        (Vec::new(), Vec::new())
    }
}

/// The schema of a change's value; `name` is what the names of a table's schemas begin with.
pub(super) fn value_schema(columns: &[Slot], name: &str) -> String {
    let row = |field: &str| {
        let schema = row_schema(columns, true, &format!("{name}.Value"));
        // The name of the field stands last.
        format!(r#"{},"field":"{field}"}}"#, schema.strip_suffix('}').unwrap_or(&schema))
    };
    let (before, after) = (row("before"), row("after"));
    let envelope = quoted(&format!("{name}.Envelope"));
    format!(
        r#"{{"type":"struct","fields":[{before},{after},{SOURCE_SCHEMA},{TRANSACTION_SCHEMA},{{"type":"string","optional":false,"field":"op"}},{{"type":"int64","optional":true,"field":"ts_ms"}},{{"type":"int64","optional":true,"field":"ts_us"}},{{"type":"int64","optional":true,"field":"ts_ns"}}],"optional":false,"name":{envelope},"version":2}}"#
    )
}

/// The schema of a key.
pub(super) fn key_schema(key: &[Slot], name: &str) -> String {
    row_schema(key, false, &format!("{name}.Key"))
}

fn row_schema(slots: &[Slot], optional: bool, name: &str) -> String {
    let fields: Vec<_> = slots.iter().map(|slot| slot.schema.as_str()).collect();
    let (fields, name) = (fields.join(","), quoted(name));
    format!(r#"{{"type":"struct","fields":[{fields}],"optional":{optional},"name":{name}}}"#)
}

/// A text as JSON.
pub(super) fn quoted(text: &str) -> String {
    let mut out = Vec::new();
    json::quote(text, &mut out);
    String::from_utf8_lossy(&out).into_owned()
}
