//! Rows in the form of Debezium's event router: whatever is configured and whatever a column holds, what is said to be JSON is.

use arbitrary::{Arbitrary, Unstructured};
use bytes::Bytes;
use serde::de::IgnoredAny;
use serde_json::value::RawValue;

use crate::pipeline::Messages;
use crate::shape::debezium::{Converter, Place, Placement, RouterOptions};
use crate::shape::filter::Filter;
use crate::shape::outbox::{Committed, FormOptions, Outbox, OutboxOptions, Shaped};
use crate::shape::position::EventPosition;
use crate::shape::row::{Column, OutboxRow, RowTypes, Type};

/// Columns beside the mapped ones.
const FURTHER: usize = 3;

#[derive(Debug, Clone, Copy, Arbitrary)]
enum Form {
    Text,
    Simple,
    Json { schemas: bool },
    Binary,
}

impl Form {
    fn converter(self) -> Converter {
        match self {
            Self::Text => Converter::Text,
            Self::Simple => Converter::Simple,
            Self::Json { schemas } => Converter::Json { schemas },
            Self::Binary => Converter::Binary,
        }
    }
}

/// A column, with a value of its type unless the server is not one.
#[derive(Debug, Arbitrary)]
struct Value<'v> {
    of: u8,
    optional: bool,
    number: i64,
    text: Option<&'v str>,
}

impl Value<'_> {
    fn column(&self) -> Column {
        const OIDS: [u32; 12] = [16, 17, 20, 21, 23, 25, 114, 1114, 1184, 2950, 3802, 600];
        Column { of: Type::of(OIDS[usize::from(self.of) % OIDS.len()]), optional: self.optional }
    }

    fn text(&self, genuine: bool) -> Option<String> {
        let text = self.text?;
        let number = self.number;
        Some(match self.column().of {
            _ if !genuine => text.to_owned(),
            Type::Boolean => if number & 1 == 0 { "f" } else { "t" }.to_owned(),
            Type::Int16 => (number as i16).to_string(),
            Type::Int32 => (number as i32).to_string(),
            Type::Int64 => number.to_string(),
            Type::Bytes => format!("\\x{number:016x}"),
            Type::Json if serde_json::from_str::<&RawValue>(text).is_err() => format!("{{\"n\": [{number}]}}"),
            _ => text.to_owned(),
        })
    }
}

#[derive(Debug, Arbitrary)]
struct Case<'c> {
    genuine: bool,
    expand: bool,
    keep_nulls: bool,
    keep_empty_arrays: bool,
    tombstone_on_empty: bool,
    timestamp: bool,
    schema_version: bool,
    places: [u8; FURTHER],
    forms: [Form; 3],
    id: Value<'c>,
    aggregate_type: Value<'c>,
    aggregate_id: Value<'c>,
    payload: Value<'c>,
    further: [Value<'c>; FURTHER],
}

impl Case<'_> {
    fn options(&self) -> RouterOptions {
        let place = |(column, place): (usize, &u8)| {
            let places = [None, Some(Place::Header), Some(Place::Envelope), Some(Place::Partition)];
            let place = places[usize::from(*place) % places.len()]?;
            Some(Placement { column, place, alias: format!("column \"{column}\"") })
        };
        let [key, value, header] = self.forms.map(Form::converter);
        RouterOptions {
            schema_name: "shop.public.outbox".to_owned(),
            topic_regex: "(?<routed>.*)".to_owned(),
            topic_replacement: "outbox.event.${routed}".to_owned(),
            placements: self.places.iter().enumerate().filter_map(place).collect(),
            expand: self.expand,
            keep_nulls: self.keep_nulls,
            keep_empty_arrays: self.keep_empty_arrays,
            tombstone_on_empty: self.tombstone_on_empty,
            timestamp: self.timestamp.then_some(0),
            schema_version: self.schema_version.then_some(1),
            key,
            value,
            header,
            position: Some("postrider-position".to_owned()),
        }
    }
}

/// One row in the event router's form: it is whole or unfit, and what a JSON converter wrote is JSON.
///
/// # Panics
/// If it is not.
pub fn route_rows(data: &[u8]) {
    let Ok(case) = Case::arbitrary(&mut Unstructured::new(data)) else { return };
    let options = OutboxOptions {
        route: 0,
        further: (0..FURTHER).map(|column| format!("further_{column}")).collect(),
        filter: Filter::default(),
        form: FormOptions::Debezium(case.options()),
    };
    let mut outbox = Outbox::new(&options).expect("expressions and templates of our own");
    let types = RowTypes {
        id: case.id.column(),
        aggregate_type: case.aggregate_type.column(),
        aggregate_id: case.aggregate_id.column(),
        payload: case.payload.column(),
        further: case.further.iter().map(|value| Some(value.column())).collect(),
    };
    let text = |value: &Value<'_>| value.text(case.genuine);
    let [id, aggregate_type] = [text(&case.id), text(&case.aggregate_type)];
    let [aggregate_id, payload] = [text(&case.aggregate_id), text(&case.payload)];
    let further = case.further.each_ref().map(text);
    let row = OutboxRow {
        id: id.as_deref().map(str::as_bytes),
        aggregate_type: aggregate_type.as_deref().map(str::as_bytes),
        aggregate_id: aggregate_id.as_deref().map(str::as_bytes),
        payload: payload.as_deref().map(str::as_bytes),
        further: &further.each_ref().map(|value| value.as_deref().map(str::as_bytes)),
        ..OutboxRow::default()
    };
    let mut messages = Messages::over(Bytes::new());
    let committed = Committed { position: EventPosition::new(1, 2, 3), timestamp_ms: 4 };
    let shaped = outbox.shape(&row, &types, committed, &mut messages);
    let message = messages.at(0).expect("every row becomes a message");
    if shaped != Shaped::Whole || !case.genuine {
        return;
    }
    let [key, value, _] = case.forms;
    for (form, bytes) in [(key, message.key()), (value, message.value())] {
        if let (Form::Json { .. }, Some(bytes)) = (form, bytes) {
            serde_json::from_slice::<IgnoredAny>(bytes).expect("a JSON converter writes JSON");
        }
    }
}
