//! Side by side: what the event router of Debezium 3.6.3.Final made of a row, as it was recorded from its jars by
//! `tests/debezium/EventRouterRun.java`, and what is made of it here. The tables of `docs/debezium.md` are these rows.

mod forms;
mod payloads;

use bytes::Bytes;

use super::*;
use crate::shape::filter::Filter;
use crate::shape::outbox::{Committed, FormOptions, Outbox, OutboxOptions};

const COMMIT_MS: i64 = 1_700_000_000_123;
const PAYLOAD: &str = r#"{"id": 1, "none": null, "empty": [], "t": 1.10}"#;
const TEXT: Column = Column { of: Type::Text, optional: false };
const JSON: Column = Column { of: Type::Json, optional: true };
const BYTES: Column = Column { of: Type::Bytes, optional: true };
const PLAIN: Converter = Converter::Json { schemas: false };
const SCHEMAS: Converter = Converter::Json { schemas: true };

/// A row and the options that shape it.
struct Input {
    id: Option<&'static str>,
    routed_by: Option<&'static str>,
    key: (Option<&'static str>, Column),
    payload: (Option<&'static str>, Column),
    further: Vec<(Option<&'static str>, Option<Column>)>,
    options: RouterOptions,
}

impl Input {
    fn new() -> Self {
        Self {
            id: Some("018f-id"),
            routed_by: Some("Order"),
            key: (Some("4\"2"), TEXT),
            payload: (Some(PAYLOAD), JSON),
            further: Vec::new(),
            options: RouterOptions {
                schema_name: "p.public.outbox".into(),
                topic_regex: "(?<routedByValue>.*)".into(),
                topic_replacement: "outbox.event.${routedByValue}".into(),
                placements: Vec::new(),
                expand: false,
                keep_nulls: false,
                keep_empty_arrays: false,
                tombstone_on_empty: false,
                timestamp: None,
                schema_version: None,
                key: Converter::Text,
                value: Converter::Text,
                header: Converter::Simple,
                position: None,
            },
        }
    }

    fn payload(mut self, payload: impl Into<Option<&'static str>>) -> Self {
        self.payload.0 = payload.into();
        self
    }

    fn bytes(mut self, hex: &'static str) -> Self {
        self.payload = (Some(hex), BYTES);
        self
    }

    fn key(mut self, key: impl Into<Option<&'static str>>, of: Type) -> Self {
        let key = key.into();
        self.key = (key, Column { of, optional: key.is_none() });
        self
    }

    fn converters(mut self, key: Converter, value: Converter) -> Self {
        (self.options.key, self.options.value) = (key, value);
        self
    }

    fn value(self, value: Converter) -> Self {
        self.converters(Converter::Text, value)
    }

    fn header(mut self, header: Converter) -> Self {
        self.options.header = header;
        self
    }

    fn topic(mut self, regex: &str, replacement: &str) -> Self {
        (self.options.topic_regex, self.options.topic_replacement) = (regex.into(), replacement.into());
        self
    }

    fn place(mut self, place: Place, alias: &str, value: impl Into<Option<&'static str>>, of: Type) -> Self {
        let value = value.into();
        self.options.placements.push(Placement { column: self.further.len(), place, alias: alias.into() });
        self.further.push((value, Some(Column { of, optional: value.is_none() })));
        self
    }

    fn missing(mut self, place: Place) -> Self {
        self.options.placements.push(Placement { column: self.further.len(), place, alias: "zz".into() });
        self.further.push((None, None));
        self
    }

    fn expand(mut self) -> Self {
        self.options.expand = true;
        self.value(PLAIN)
    }

    fn tombstone(mut self) -> Self {
        self.options.tombstone_on_empty = true;
        self
    }

    fn timestamp(mut self, value: impl Into<Option<&'static str>>, of: Type) -> Self {
        self.options.timestamp = Some(self.further.len());
        self.further.push((value.into(), Some(Column { of, optional: true })));
        self
    }

    fn version(mut self, version: &'static str) -> Self {
        self.options.schema_version = Some(self.further.len());
        self.further.push((Some(version), Some(Column { of: Type::Int32, optional: false })));
        self
    }

    fn keep_nulls(mut self) -> Self {
        self.options.keep_nulls = true;
        self
    }

    /// What is made of it, as far as `show` asks for it.
    fn ours(&self, show: Show) -> String {
        let options = OutboxOptions {
            route: 0,
            further: Vec::new(),
            filter: Filter::default(),
            form: FormOptions::Debezium(self.options.clone()),
        };
        let mut outbox = Outbox::new(&options).expect("valid");
        let further: Vec<_> = self.further.iter().map(|(value, _)| value.map(str::as_bytes)).collect();
        let row = OutboxRow {
            id: self.id.map(str::as_bytes),
            aggregate_type: self.routed_by.map(str::as_bytes),
            aggregate_id: self.key.0.map(str::as_bytes),
            payload: self.payload.0.map(str::as_bytes),
            further: &further,
            ..OutboxRow::default()
        };
        let types = RowTypes {
            id: Column { of: Type::Uuid, optional: false },
            aggregate_type: TEXT,
            aggregate_id: self.key.1,
            payload: self.payload.1,
            further: self.further.iter().map(|(_, column)| *column).collect(),
        };
        let mut messages = Messages::over(Bytes::new());
        let committed = Committed { position: EventPosition::new(1, 2, 3), timestamp_ms: COMMIT_MS };
        if let Shaped::Unfit(why) = outbox.shape(&row, &types, committed, &mut messages) {
            return format!("parked: {why}");
        }
        let message = messages.at(0).expect("one was shaped");
        let text =
            |bytes: Option<&[u8]>| bytes.map_or("no bytes".into(), |bytes| String::from_utf8_lossy(bytes).into_owned());
        match show {
            Show::Topic => message.topic().to_owned(),
            Show::Key => text(message.key()),
            Show::Value => text(message.value()),
            Show::Headers => {
                let headers = message.headers().map(|(name, value)| format!("{name}={}", text(value)));
                headers.collect::<Vec<_>>().join(" ")
            }
            Show::Time => {
                if message.timestamp_ms() == COMMIT_MS {
                    "the commit's".into()
                } else {
                    message.timestamp_ms().to_string()
                }
            }
            Show::Partition => message.partition().map_or("by the key".into(), |partition| partition.to_string()),
        }
    }
}

#[derive(Clone, Copy)]
enum Show {
    Topic,
    Key,
    Value,
    Headers,
    Time,
    Partition,
}

/// What a row is about, how it is made, what of it is compared, and what the event router made of it.
type Case = (&'static str, Input, Show, &'static str);

const DIES: &str = "the task dies: ";

fn row((what, input, show, debezium): &Case) -> String {
    let cell = |text: &str| match text.starts_with(DIES)
        || text.starts_with("parked: ")
        || text.starts_with("the c")
        || text == "no bytes"
        || text == "by the key"
    {
        true => text.to_owned(),
        false => format!("`{text}`"),
    };
    let what = if what.contains(['{', '[', '"']) || ["5", "null", "not json"].contains(what) {
        format!("`{what}`")
    } else {
        (*what).to_owned()
    };
    let ours = input.ours(*show);
    let ours = if ours == *debezium { "the same".to_owned() } else { cell(&ours) };
    format!("| {what} | {} | {ours} |", cell(debezium))
}

/// The document cannot say what is not so: its rows are these.
#[test]
fn the_documentation_compares_every_case_byte_by_byte() {
    let documentation = include_str!("../../../../docs/debezium.md");
    let cases: Vec<_> = forms::forms().iter().chain(&payloads::payloads()).map(row).collect();
    let missing: Vec<_> =
        cases.iter().filter(|row| !documentation.contains(&format!("{row}\n"))).map(String::as_str).collect();
    assert!(missing.is_empty(), "docs/debezium.md lacks these rows:\n{}", missing.join("\n"));
    let rows =
        documentation.lines().filter(|line| line.ends_with("| the same |") || line.contains("| parked: ")).count();
    assert!(rows <= cases.len(), "docs/debezium.md has rows of cases that do not exist");
}

#[test]
fn what_ends_the_event_router_ends_nothing_here() {
    let deaths: Vec<_> =
        forms::forms().into_iter().chain(payloads::payloads()).filter(|case| case.3.starts_with(DIES)).collect();
    assert_eq!(deaths.len(), 9);
    // Published, or told apart with a reason: never an error of the stream.
    for (what, input, show, _) in deaths {
        assert!(!input.ours(show).is_empty(), "{what}");
    }
}
