//! Changes of captured tables: whatever a table is like, whatever is configured and whatever a row holds, a change becomes records of
//! JSON that hold the row, or is told apart.

use arbitrary::{Arbitrary, Unstructured};
use bytes::Bytes;
use serde::Deserialize;
use serde_json::Value as Json;
use serde_json::value::RawValue;

use crate::pipeline::{MessageRef, Messages};
use crate::shape::change::Capture;
use crate::shape::change::options::{
    CaptureOptions, ChangeForm, HeaderForm, KeyOptions, MaskForm, MaskOptions, Skipped,
};
use crate::shape::change::row::{Change, Old, Snapshot, Stamp, Value};
use crate::shape::change::table::{Column, DataType, Identity, Table, TypeKind};
use crate::shape::outbox::Shaped;
use crate::shape::position::EventPosition;
use crate::shape::record::Record;

/// The most columns of a table.
const COLUMNS_MAX: usize = 5;
/// The types that columns can have here: OID, name, and whether the text that a value is published as is the value's own.
const TYPES: [(u32, &str, bool); 22] = [
    (25, "text", true),
    (1043, "varchar", true),
    (1042, "bpchar", true),
    (16, "bool", false),
    (17, "bytea", false),
    (20, "int8", false),
    (21, "int2", false),
    (23, "int4", false),
    (26, "oid", false),
    (114, "json", true),
    (3802, "jsonb", true),
    (600, "point", false),
    (700, "float4", false),
    (701, "float8", false),
    (790, "money", false),
    (1082, "date", false),
    (1083, "time", false),
    (1114, "timestamp", false),
    (1184, "timestamptz", false),
    (1186, "interval", false),
    (1560, "bit", false),
    (1700, "numeric", false),
];

#[derive(Debug, Arbitrary)]
struct Field<'f> {
    name: &'f str,
    of: u8,
    is_array: bool,
    modifier: u8,
    optional: bool,
    default: Option<&'f str>,
    mask: u8,
}

#[derive(Debug, Clone, Copy, Arbitrary)]
enum Cell<'c> {
    Null,
    Unchanged,
    Text(&'c str),
    Bytes(&'c [u8]),
}

#[derive(Debug, Arbitrary)]
struct Case<'c> {
    debezium: bool,
    json_headers: bool,
    schemas: bool,
    tombstones: bool,
    skip_unchanged: bool,
    skipped: [bool; 4],
    key: u8,
    chosen_key: bool,
    identity: u8,
    whole: bool,
    operation: u8,
    fields: Vec<Field<'c>>,
    new: [Cell<'c>; COLUMNS_MAX],
    old: [Cell<'c>; COLUMNS_MAX],
}

impl Field<'_> {
    fn own_text(&self) -> bool {
        TYPES[usize::from(self.of) % TYPES.len()].2 && !self.is_array && self.mask(0).is_none()
    }

    fn mask(&self, place: usize) -> Option<MaskOptions> {
        let mask = match self.mask % 8 {
            1 => MaskForm::Truncate(usize::from(self.modifier)),
            2 => MaskForm::Asterisks(usize::from(self.modifier)),
            3 => MaskForm::Hash { algorithm: "SHA-256".to_owned(), salt: "salt".to_owned() },
            _ => return None,
        };
        Some(MaskOptions { columns: format!("s.t.{}", self.name(place)), mask })
    }

    /// Names differ, as in a table; none has a star, which is a pattern's.
    fn name(&self, place: usize) -> String {
        format!("{}{place}", self.name.replace(['*', '.'], "_"))
    }

    fn column(&self, place: usize) -> Column {
        let (oid, name, _) = TYPES[usize::from(self.of) % TYPES.len()];
        let of = |oid, name: &str, kind| DataType { oid, schema: "pg_catalog".to_owned(), name: name.to_owned(), kind };
        let element = of(oid, name, TypeKind::Base);
        let of = match self.is_array {
            true => of(60_000, &format!("_{name}"), TypeKind::Array { element: Box::new(element) }),
            false => element,
        };
        let default = self.default.map(str::to_owned);
        let modifier = i32::from(self.modifier) - 1;
        let has_default = default.is_some();
        Column { name: self.name(place), of, modifier, optional: self.optional, default, has_default, generated: false }
    }
}

impl Case<'_> {
    fn table(&self) -> Table {
        let columns: Vec<_> = self.fields.iter().enumerate().map(|(place, field)| field.column(place)).collect();
        let key = (0..columns.len()).filter(|place| self.key >> place & 1 == 1).collect();
        let identities = [Identity::Default, Identity::Full, Identity::Index, Identity::Nothing];
        let identity = identities[usize::from(self.identity) % identities.len()];
        Table { schema: "s".to_owned(), name: "t".to_owned(), columns, key, identity }
    }

    fn options(&self, table: &Table) -> CaptureOptions {
        let [create, update, delete, truncate] = self.skipped;
        let chosen = table.columns.first().filter(|_| self.chosen_key);
        CaptureOptions {
            form: if self.debezium { ChangeForm::Debezium } else { ChangeForm::Native },
            headers: if self.json_headers { HeaderForm::Json } else { HeaderForm::Simple },
            schemas: self.schemas,
            tombstones: self.tombstones,
            skip_unchanged: self.skip_unchanged,
            skipped: Skipped { create, update, delete, truncate },
            masks: self.fields.iter().enumerate().filter_map(|(place, field)| field.mask(place)).collect(),
            keys: chosen
                .map(|column| KeyOptions { tables: "s.t".to_owned(), columns: vec![column.name.clone()] })
                .into_iter()
                .collect(),
            run_id: Some("a \"run\"".to_owned()),
            ..CaptureOptions::usual("db", "p", "{table}")
        }
    }

    fn change<'v>(&self, new: &'v [Value<'v>], old: &'v [Value<'v>]) -> Change<'v> {
        let old = Old { values: old, whole: self.whole };
        match self.operation % 6 {
            0 => Change::Insert { new },
            1 => Change::Update { old: None, new },
            2 => Change::Update { old: Some(old), new },
            3 => Change::Delete { old },
            4 => Change::Read { row: new },
            _ => Change::Truncate,
        }
    }
}

fn values<'c>(cells: &[Cell<'c>], count: usize) -> Vec<Value<'c>> {
    let value = |cell: &Cell<'c>| match *cell {
        Cell::Null => Value::Null,
        Cell::Unchanged => Value::Unchanged,
        Cell::Text(text) => Value::Text(text.as_bytes()),
        Cell::Bytes(bytes) => Value::Text(bytes),
    };
    cells.iter().take(count).map(value).collect()
}

/// A value that carries its schema, or not.
#[derive(Deserialize)]
struct WithSchema<'w> {
    #[serde(borrow)]
    schema: &'w RawValue,
    #[serde(borrow)]
    payload: &'w RawValue,
}

/// One change of a captured table: its records are JSON, rise in position, are as many as was counted, and hold the row's texts.
///
/// # Panics
/// If not.
pub fn shape_changes(data: &[u8]) {
    let Ok(mut case) = Case::arbitrary(&mut Unstructured::new(data)) else { return };
    case.fields.truncate(COLUMNS_MAX);
    let table = case.table();
    let mut capture = Capture::new(&case.options(&table)).expect("options of our own");
    let Ok(form) = capture.describe(&table) else { return };
    let (new, old) = (values(&case.new, table.columns.len()), values(&case.old, table.columns.len()));
    let change = case.change(&new, &old);
    let stamp = Stamp {
        position: EventPosition::new(1, 2, 3),
        commit_us: i64::from(case.operation),
        now_us: -1,
        xid: None,
        lsn: Some(u64::MAX),
        last_commit_lsn: None,
        snapshot: Snapshot::False,
        origin: Some("\"\\"),
        origin_lsn: None,
        transaction: None,
    };
    let mut messages = Messages::over(Bytes::new());
    let shaped = capture.shape(&form, change, &stamp, &mut messages);
    let events = messages.iter().filter(|message| message.value().is_some()).count();
    assert_eq!(events as u64, capture.events(&form, &change), "what is counted is what is published");
    assert_eq!(shaped == Shaped::Filtered, messages.is_empty());
    assert_eq!(matches!(shaped, Shaped::Unfit(_)), !messages.unfit().is_empty());
    assert!(messages.iter().map(|message| message.position()).is_sorted_by(|one, next| one < next));
    for message in messages.iter() {
        read(message, &case, &new);
    }
}

/// Reads a record as a consumer does.
fn read(message: MessageRef<'_>, case: &Case<'_>, new: &[Value<'_>]) {
    let payload = |bytes: &[u8]| {
        let text = str::from_utf8(bytes).expect("UTF-8").to_owned();
        if case.schemas {
            let found: WithSchema<'_> = serde_json::from_str(&text).expect("a schema and a payload");
            serde_json::from_str::<Json>(found.schema.get()).expect("a schema");
            return found.payload.get().to_owned();
        }
        text
    };
    if let Some(key) = message.key() {
        serde_json::from_str::<Json>(&payload(key)).expect("a key");
    }
    let Some(value) = message.value() else { return };
    let record = Record::read(&message).expect("a worker reads what the relay writes");
    assert!(matches!(record, Record::Change(_)), "a change is read as one");
    if let Record::Change(change) = record {
        let expected = if case.debezium { change.version } else { Some(message.position()) };
        assert_eq!(change.version, expected);
    }
    let value: Json = serde_json::from_str(&payload(value)).expect("a value");
    let Some(after) = value["after"].as_object() else { return };
    for (place, (field, value)) in case.fields.iter().zip(new).enumerate() {
        if let (Value::Text(text), true) = (value, field.own_text()) {
            let found = after[&field.name(place)].as_str().expect("a string");
            assert_eq!(found, String::from_utf8_lossy(text), "a text is published as it is");
        }
    }
}
