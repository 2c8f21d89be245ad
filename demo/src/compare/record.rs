//! A record of either side as it is compared: its topic without the side's prefix, its JSON, and what is masked in it.

use rdkafka::Message;
use rdkafka::message::{BorrowedMessage, Headers};

use crate::compare::difference::{Difference, compare};
use crate::compare::json::Json;

/// What stands for either side's prefix in everything that is compared.
const PREFIX: &str = "PREFIX";

/// Members that two readers of one log cannot agree on: when they looked, and who they are.
const MASKED_ABOVE: [&str; 3] = ["ts_ms", "ts_us", "ts_ns"];
const MASKED_IN_SOURCE: [&str; 5] = ["ts_ms", "ts_us", "ts_ns", "version", "xmin"];

/// A record, with the prefix taken off and the masks on.
#[derive(Debug, Clone)]
pub(super) struct Record {
    /// Its topic, without the prefix and the point after it.
    pub(super) topic: String,
    pub(super) key: Option<Json>,
    pub(super) value: Option<Json>,
    pub(super) headers: Json,
    /// The schemas of key, value and headers, as members of those names.
    schemas: Json,
    pub(super) identity: Identity,
}

/// Which change a record is of, by what both sides read in the same log.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Identity {
    /// A snapshot's row, known by its key alone.
    Row(String),
    /// An operation at a place of the log.
    Change { op: String, lsn: String },
    /// No value: it belongs to the deletion before it.
    Tombstone,
    /// The begin or end of a transaction.
    Boundary(String),
    /// None of these.
    Other,
}

impl Record {
    /// Reads a message of the side with this prefix.
    pub(super) fn read(message: &BorrowedMessage<'_>, prefix: &str) -> Self {
        let headers = message.headers().map_or_else(Vec::new, |headers| {
            headers
                .iter()
                .map(|header| (header.key.to_owned(), json_of(header.value, prefix).unwrap_or(Json::Null)))
                .collect()
        });
        let topic = message.topic().strip_prefix(prefix).unwrap_or(message.topic()).trim_start_matches('.').to_owned();
        Self::new(topic, json_of(message.key(), prefix), json_of(message.payload(), prefix), Json::Object(headers))
    }

    /// Takes the schemas out, puts the masks on and finds out what it is.
    fn new(topic: String, key: Option<Json>, value: Option<Json>, headers: Json) -> Self {
        let mut schemas = Vec::new();
        let mut without = |name: &str, json: Json| {
            let (schema, payload) = split(json);
            schemas.extend(schema.map(|schema| (name.to_owned(), schema)));
            payload
        };
        let key = key.map(|key| without("key", key));
        let mut value = value.map(|value| without("value", value));
        let headers = match headers {
            Json::Object(headers) => Json::Object(
                headers
                    .into_iter()
                    .map(|(name, value)| (name.clone(), without(&format!("headers.{name}"), value)))
                    .collect(),
            ),
            other => other,
        };
        let identity = identity(key.as_ref(), value.as_ref());
        if let Some(envelope) = &mut value {
            mask(envelope, &MASKED_ABOVE);
            if let Json::Object(members) = envelope {
                let sources = members.iter_mut().filter(|(name, _)| name == "source");
                sources.for_each(|(_, source)| mask(source, &MASKED_IN_SOURCE));
            }
        }
        Self { topic, key, value, headers, schemas: Json::Object(schemas), identity }
    }

    /// The operation: `c`, `u`, `d`, `r`, `t`, `m`, or what stands for the rest.
    pub(super) fn op(&self) -> &str {
        match &self.identity {
            Identity::Row(_) => "r",
            Identity::Change { op, .. } => op,
            Identity::Tombstone => "tombstone",
            Identity::Boundary(_) => "transaction",
            Identity::Other => "other",
        }
    }

    /// Every difference to the other side's record of the same change.
    pub(super) fn differences(&self, other: &Self) -> Vec<Difference> {
        let mut found = Vec::new();
        for (path, left, right) in [("key", &self.key, &other.key), ("value", &self.value, &other.value)] {
            match (left, right) {
                (Some(left), Some(right)) => compare(path, left, right, &mut found),
                (None, None) => {}
                (left, right) => {
                    found.push(Difference { path: path.to_owned(), left: left.clone(), right: right.clone() });
                }
            }
        }
        compare("headers", &self.headers, &other.headers, &mut found);
        compare("schema", &self.schemas, &other.schemas, &mut found);
        found
    }
}

/// A value's schema, if it carries one, and what it says.
fn split(json: Json) -> (Option<Json>, Json) {
    match json {
        Json::Object(mut members) if matches!(&*members, [(a, _), (b, _)] if a == "schema" && b == "payload") => {
            let payload = members.pop().map_or(Json::Null, |(_, payload)| payload);
            (members.pop().map(|(_, schema)| schema), payload)
        }
        other => (None, other),
    }
}

/// Replaces what is there by what its kind is: that it is there, and no null, is compared all the same.
fn mask(json: &mut Json, names: &[&str]) {
    let Json::Object(members) = json else { return };
    for (_, value) in members.iter_mut().filter(|(name, _)| names.contains(&name.as_str())) {
        match value {
            Json::Number(text) | Json::Text(text) => "MASKED".clone_into(text),
            _ => {}
        }
    }
}

fn identity(key: Option<&Json>, value: Option<&Json>) -> Identity {
    let Some(value) = value else { return Identity::Tombstone };
    let op = value.get("op").and_then(Json::text);
    let lsn = value.at(&["source", "lsn"]).and_then(Json::number);
    match (op, lsn, value.get("status").and_then(Json::text)) {
        (Some("r"), _, _) => Identity::Row(key.map(Json::to_string).unwrap_or_default()),
        (Some(op), Some(lsn), _) => Identity::Change { op: op.to_owned(), lsn: lsn.to_owned() },
        (_, _, Some(status)) => Identity::Boundary(status.to_owned()),
        _ => Identity::Other,
    }
}

/// The JSON of some bytes; what is none is said to be none, so that it can be compared and shown.
fn json_of(bytes: Option<&[u8]>, prefix: &str) -> Option<Json> {
    let text = String::from_utf8_lossy(bytes?).replace(prefix, PREFIX);
    Some(Json::parse(&text).unwrap_or_else(|| Json::Text(format!("no JSON: {text}"))))
}

#[cfg(test)]
mod tests {
    use crate::compare::json::Json;
    use crate::compare::record::{Identity, Record};

    fn record(value: &str) -> Record {
        Record::new("public.t".into(), Json::parse(r#"{"id":1}"#), Json::parse(value), Json::Object(Vec::new()))
    }

    #[test]
    fn exactly_the_moments_the_version_and_xmin_are_masked() {
        let left = record(
            r#"{"after":{"ts_ms":1},"source":{"version":"3","ts_ms":1,"ts_us":1,"ts_ns":1,"lsn":7,"xmin":3},"op":"c","ts_ms":1}"#,
        );
        let right = record(
            r#"{"after":{"ts_ms":2},"source":{"version":"p","ts_ms":2,"ts_us":2,"ts_ns":2,"lsn":8,"xmin":4},"op":"c","ts_ms":2}"#,
        );
        let paths: Vec<String> = left.differences(&right).into_iter().map(|difference| difference.path).collect();
        assert_eq!(paths, ["value.after.ts_ms", "value.source.lsn"]);
    }

    #[test]
    fn what_is_masked_must_still_be_there() {
        let left = record(r#"{"source":{"ts_ms":1,"xmin":null},"op":"c","ts_ms":1}"#);
        let right = record(r#"{"source":{"ts_ms":1,"xmin":3},"op":"c"}"#);
        let paths: Vec<String> = left.differences(&right).into_iter().map(|difference| difference.path).collect();
        assert_eq!(paths, ["value.source.xmin", "value.ts_ms"]);
    }

    #[test]
    fn a_change_is_known_by_its_place_in_the_log_with_a_schema_or_without() {
        let expected = Identity::Change { op: "c".into(), lsn: "7".into() };
        assert_eq!(record(r#"{"source":{"lsn":7},"op":"c"}"#).identity, expected);
        assert_eq!(record(r#"{"schema":{},"payload":{"source":{"lsn":7},"op":"c"}}"#).identity, expected);
        assert_eq!(record(r#"{"source":{"lsn":7},"op":"r"}"#).identity, Identity::Row(r#"{"id":1}"#.into()));
        assert_eq!(record(r#"{"status":"BEGIN","id":"1:2"}"#).identity, Identity::Boundary("BEGIN".into()));
    }
}
