//! A column of an insert: takes one value a row.

use crate::encode::native::fields::Fields;
use crate::encode::native::fixed;
use crate::encode::native::misfit::{Misfit, What};
use crate::encode::native::reading::Reading;
use crate::encode::native::shape::Shape;
use crate::encode::native::store::{self, Store};
use crate::encode::native::text;
use crate::encode::native::types::Type;
use crate::encode::native::value::{Text, Value};
use crate::encode::native::wide::Wide;

/// A column of an insert: its name, its type, and a value for each row.
///
/// What refuses a value leaves the column as it was.
#[derive(Debug, Clone)]
pub struct Column {
    name: String,
    of: Type,
    /// The name and the type, as they stand in a block.
    head: Vec<u8>,
    store: Store,
    rules: Rules,
    emptied: u64,
}

/// What a column does beyond storing values as they are.
#[derive(Debug, Clone, Copy, Default)]
struct Rules {
    /// Null becomes empty where the type holds no null.
    empties: bool,
    /// Times lose the digits that the type has not.
    rounds: bool,
}

impl Column {
    /// An empty column.
    #[must_use]
    pub fn new(name: impl Into<String>, of: Type) -> Self {
        let (name, store) = (name.into(), Store::new(of.shape()));
        let mut head = Vec::new();
        store::text(name.as_bytes(), &mut head);
        store::text(of.shape().to_string().as_bytes(), &mut head);
        Self { name, of, head, store, rules: Rules::default(), emptied: 0 }
    }

    /// Takes null for the type's empty value (`[]`, `{}`) where the type holds no null: lists and maps hold none.
    /// [`emptied`](Self::emptied) counts them.
    #[must_use]
    pub fn emptying_null(mut self) -> Self {
        self.rules.empties = true;
        self
    }

    /// Lets times and dates lose what is finer than the type, instead of refusing them.
    #[must_use]
    pub fn rounding_times(mut self) -> Self {
        self.rules.rounds = true;
        self
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its type.
    #[must_use]
    pub fn of(&self) -> &Type {
        &self.of
    }

    /// How many values it has.
    #[must_use]
    pub fn rows(&self) -> usize {
        self.store.rows()
    }

    /// How many bytes its values are.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.store.len()
    }

    /// How many nulls became empty values since it was made.
    #[must_use]
    pub fn emptied(&self) -> u64 {
        self.emptied
    }

    /// Forgets what follows the first `rows` values.
    pub fn truncate(&mut self, rows: usize) {
        self.store.truncate(rows);
    }

    /// Forgets all values, and keeps the room that they took.
    pub fn clear(&mut self) {
        self.truncate(0);
    }

    /// Takes the value that `json` is; one JSON value, as a parser found it.
    ///
    /// # Errors
    /// What the type cannot hold as it is.
    pub fn push_json(&mut self, json: &str, reading: &Reading) -> Result<(), Misfit> {
        let pushed = Value::read(json).and_then(|value| self.push(value, reading));
        pushed.map_err(|what| self.misfit(what))
    }

    /// Takes a text, as it is.
    ///
    /// # Errors
    /// What the type cannot hold as it is: a text that is no number, in a column of numbers.
    pub fn push_str(&mut self, value: &str) -> Result<(), Misfit> {
        self.push(Value::Text(Text::plain(value)), &Reading::Plain).map_err(|what| self.misfit(what))
    }

    /// Takes bytes, as they are.
    ///
    /// # Errors
    /// If the column holds no text, or none so long.
    pub fn push_bytes(&mut self, value: &[u8]) -> Result<(), Misfit> {
        put_bytes(self.of.shape(), &mut self.store, value).map_err(|what| self.misfit(what))
    }

    /// Takes an integer; of a column of times, what that counts.
    ///
    /// # Errors
    /// If the column holds no integers, or none so large.
    pub fn push_i64(&mut self, value: i64) -> Result<(), Misfit> {
        put_integer(self.of.shape(), &mut self.store, value < 0, u128::from(value.unsigned_abs()))
            .map_err(|what| self.misfit(what))
    }

    /// Takes an integer.
    ///
    /// # Errors
    /// If the column holds no integers, or none so large.
    pub fn push_u128(&mut self, value: u128) -> Result<(), Misfit> {
        put_integer(self.of.shape(), &mut self.store, false, value).map_err(|what| self.misfit(what))
    }

    /// Takes null.
    ///
    /// # Errors
    /// If the type holds none, and the column does not empty it.
    pub fn push_null(&mut self) -> Result<(), Misfit> {
        self.push(Value::Null, &Reading::Plain).map_err(|what| self.misfit(what))
    }

    /// Takes the type's empty value: null, zero, or a text, list or map of nothing. For what is not known and never read, such
    /// as the columns of a deleted row beside its key.
    pub fn push_empty(&mut self) {
        self.store.push_default();
    }

    /// Appends the column, of the values of these, which are one column's.
    pub(super) fn write(columns: &[&Self], out: &mut Vec<u8>) {
        let Some(first) = columns.first() else { return };
        out.extend_from_slice(&first.head);
        let stores: Vec<&Store> = columns.iter().map(|column| &column.store).collect();
        Store::write(&stores, out);
    }

    /// Takes the values out; room for as many stays.
    pub(super) fn take(&mut self) -> Self {
        let Self { name, of, head, rules, emptied, .. } = &*self;
        let (name, of, head, rules, emptied) = (name.clone(), of.clone(), head.clone(), *rules, *emptied);
        Self { name, of, head, store: self.store.take(), rules, emptied }
    }

    pub(super) fn len(&self) -> usize {
        self.head.len() + self.store.len()
    }

    #[inline]
    fn push(&mut self, value: Value<'_>, reading: &Reading) -> Result<(), What> {
        let shape = self.of.shape();
        if let (Value::Null, true) = (value, self.rules.empties && !matches!(shape, Shape::Nullable(_))) {
            self.emptied += 1;
            self.store.push_default();
            return Ok(());
        }
        push(shape, &mut self.store, value, reading, self.rules)
    }

    #[cold]
    fn misfit(&self, what: What) -> Misfit {
        Misfit { column: self.name.clone(), wanted: self.of.text().to_owned(), what }
    }
}

/// Takes one value, or leaves the store as it was.
fn push(shape: &Shape, store: &mut Store, value: Value<'_>, reading: &Reading, rules: Rules) -> Result<(), What> {
    match (store, shape) {
        (Store::Fixed { bytes, .. }, shape) => {
            if let Value::Null = value {
                return Err(What::Null);
            }
            let start = bytes.len();
            fixed::push(shape, value, reading, rules.rounds, bytes).inspect_err(|_| bytes.truncate(start))
        }
        (Store::Text { bytes, ends }, shape) => push_text(shape, value, reading, bytes, ends),
        (Store::Nullable { nulls, inner }, Shape::Nullable(of)) => {
            if let Value::Null = value {
                nulls.push(1);
                inner.push_default();
                return Ok(());
            }
            push(of, inner, value, reading, rules)?;
            nulls.push(0);
            Ok(())
        }
        (Store::List { ends, inner }, shape) => {
            let start = inner.rows();
            push_list(shape, inner, value, reading, rules).inspect_err(|_| inner.truncate(start))?;
            ends.push(inner.rows() as u64);
            Ok(())
        }
        (Store::Tuple(members), shape) => {
            let start = members.iter().map(Store::rows).min().unwrap_or(0);
            push_tuple(shape, members, value, reading, rules)
                .inspect_err(|_| members.iter_mut().for_each(|member| member.truncate(start)))
        }
        _ => Err(What::Kind),
    }
}

/// Takes a text, with its length before it.
#[inline]
fn push_text(
    shape: &Shape,
    value: Value<'_>,
    reading: &Reading,
    bytes: &mut Vec<u8>,
    ends: &mut Vec<usize>,
) -> Result<(), What> {
    let is_json = matches!(shape, Shape::Json);
    if let (Value::Text(text), Reading::Plain | Reading::Captured | Reading::Json, false) = (value, reading, is_json)
        && let Some(text) = text.verbatim()
    {
        store::text(text.as_bytes(), bytes);
        ends.push(bytes.len());
        return Ok(());
    }
    // The length is known when the text is: one byte is left for it, and more are made where it needs them.
    let start = bytes.len();
    bytes.push(0);
    let appended = if is_json { text::document(value, bytes) } else { text::append(value, reading, bytes) };
    appended.inspect_err(|_| bytes.truncate(start))?;
    let len = bytes.len() - start - 1;
    if len < 0x80 {
        bytes[start] = len as u8;
    } else {
        let mut length = Vec::with_capacity(10);
        store::varuint(len as u64, &mut length);
        bytes.splice(start..=start, length);
    }
    ends.push(bytes.len());
    Ok(())
}

fn push_list(shape: &Shape, inner: &mut Store, value: Value<'_>, reading: &Reading, rules: Rules) -> Result<(), What> {
    match (shape, value) {
        (_, Value::Null) => Err(What::Null),
        (_, Value::Text(text)) if matches!(reading, Reading::Json | Reading::Captured | Reading::Plain) => {
            // A document in a text, as `json` and `hstore` are written.
            let text = text.decoded()?;
            let json: &serde_json::value::RawValue = serde_json::from_str(&text).map_err(|_| What::Unreadable)?;
            let value = Value::read(json.get())?;
            if let Value::Text(_) = value {
                Err(What::Kind)
            } else {
                push_list(shape, inner, value, &Reading::Plain, rules)
            }
        }
        (Shape::Array(of), Value::Array(json)) => {
            let (mut fields, reading) = (Fields::of(json), reading.element());
            while let Some(element) = fields.element()? {
                push(of, inner, Value::read(element)?, reading, rules)?;
            }
            Ok(())
        }
        (Shape::Map(key, of), Value::Object(json)) => {
            let Store::Tuple(pair) = inner else { return Err(What::Kind) };
            let [keys, values] = pair.as_mut_slice() else { return Err(What::Kind) };
            let (mut fields, reading) = (Fields::of(json), reading.element());
            while let Some((name, value)) = fields.member()? {
                push(key, keys, Value::Text(name), &Reading::Plain, rules)?;
                push(of, values, Value::read(value)?, reading, rules)?;
            }
            Ok(())
        }
        // Maps of other keys than texts are lists of pairs.
        (Shape::Map(key, of), Value::Array(json)) => {
            let Store::Tuple(pair) = inner else { return Err(What::Kind) };
            let [keys, values] = pair.as_mut_slice() else { return Err(What::Kind) };
            let (mut fields, reading) = (Fields::of(json), reading.element());
            while let Some(element) = fields.element()? {
                let Value::Array(json) = Value::read(element)? else { return Err(What::Kind) };
                let mut parts = Fields::of(json);
                let (first, second) = (parts.element()?, parts.element()?);
                let (Some(first), Some(second), None) = (first, second, parts.element()?) else {
                    return Err(What::Kind);
                };
                push(key, keys, Value::read(first)?, &Reading::Plain, rules)?;
                push(of, values, Value::read(second)?, reading, rules)?;
            }
            Ok(())
        }
        _ => Err(What::Kind),
    }
}

fn push_tuple(
    shape: &Shape,
    members: &mut [Store],
    value: Value<'_>,
    reading: &Reading,
    rules: Rules,
) -> Result<(), What> {
    match (shape, value) {
        (_, Value::Null) => Err(What::Null),
        (Shape::Point, Value::Object(json)) => {
            let of = [(Some("x"), &Shape::Float64), (Some("y"), &Shape::Float64)];
            push_members(&of, members, json, reading, rules, true)
        }
        (Shape::Point, Value::Array(json)) => {
            push_places(&[&Shape::Float64, &Shape::Float64], members, json, reading, rules)
        }
        (Shape::Tuple(of), Value::Object(json)) => {
            let of: Vec<_> = of.iter().map(|(name, of)| (name.as_deref(), of)).collect();
            push_members(&of, members, json, reading, rules, false)
        }
        (Shape::Tuple(of), Value::Array(json)) => {
            let of: Vec<_> = of.iter().map(|(_, of)| of).collect();
            push_places(&of, members, json, reading, rules)
        }
        _ => Err(What::Kind),
    }
}

/// Takes an object's members by name. One that is missing is null; one that the type has not is refused, unless `others` may be.
fn push_members(
    of: &[(Option<&str>, &Shape)],
    stores: &mut [Store],
    json: &str,
    reading: &Reading,
    rules: Rules,
    others: bool,
) -> Result<(), What> {
    let rows: Vec<usize> = stores.iter().map(Store::rows).collect();
    let mut fields = Fields::of(json);
    while let Some((name, value)) = fields.member()? {
        let name = name.decoded()?;
        match of.iter().position(|(own, _)| *own == Some(&*name)) {
            // Said twice, which would be two rows.
            Some(at) if stores[at].rows() > rows[at] => return Err(What::Malformed),
            Some(at) => push(of[at].1, &mut stores[at], Value::read(value)?, reading.member(&name), rules)?,
            None if others => {}
            None => return Err(What::Member),
        }
    }
    for ((store, rows), (_, of)) in stores.iter_mut().zip(rows).zip(of) {
        if store.rows() == rows {
            push(of, store, Value::Null, &Reading::Plain, rules)?;
        }
    }
    Ok(())
}

/// Takes a list's elements by place.
fn push_places(of: &[&Shape], stores: &mut [Store], json: &str, reading: &Reading, rules: Rules) -> Result<(), What> {
    let mut fields = Fields::of(json);
    for (of, store) in of.iter().zip(stores) {
        let element = fields.element()?.ok_or(What::Member)?;
        push(of, store, Value::read(element)?, reading.element(), rules)?;
    }
    if fields.element()?.is_none() { Ok(()) } else { Err(What::Member) }
}

fn put_bytes(shape: &Shape, store: &mut Store, value: &[u8]) -> Result<(), What> {
    match (store, shape) {
        (Store::Text { bytes, ends }, _) => {
            store::text(value, bytes);
            ends.push(bytes.len());
            Ok(())
        }
        (Store::Nullable { nulls, inner }, Shape::Nullable(of)) => {
            put_bytes(of, inner, value)?;
            nulls.push(0);
            Ok(())
        }
        (Store::Fixed { bytes, .. }, Shape::FixedString(width)) if value.len() <= *width => {
            bytes.extend_from_slice(value);
            bytes.resize(bytes.len() + width - value.len(), 0);
            Ok(())
        }
        (_, Shape::FixedString(_)) => Err(What::TooLong),
        _ => Err(What::Kind),
    }
}

fn put_integer(shape: &Shape, store: &mut Store, negative: bool, magnitude: u128) -> Result<(), What> {
    match (store, shape) {
        (Store::Nullable { nulls, inner }, Shape::Nullable(of)) => {
            put_integer(of, inner, negative, magnitude)?;
            nulls.push(0);
            Ok(())
        }
        (Store::Fixed { bytes, .. }, Shape::Integer { width, signed }) => {
            let laid_out = Wide::from_u128(magnitude).bytes(negative, *signed, *width).ok_or(What::Overflow)?;
            bytes.extend_from_slice(&laid_out[..*width]);
            Ok(())
        }
        (Store::Fixed { bytes, .. }, Shape::Bool) if magnitude <= 1 && !negative => {
            bytes.push(magnitude as u8);
            Ok(())
        }
        (Store::Fixed { bytes, .. }, Shape::DateTime64(..) | Shape::Time64(_)) => {
            let laid_out = Wide::from_u128(magnitude).bytes(negative, true, 8).ok_or(What::Overflow)?;
            bytes.extend_from_slice(&laid_out[..8]);
            Ok(())
        }
        (Store::Text { bytes, ends }, Shape::String) => {
            let digits = format!("{}{magnitude}", if negative { "-" } else { "" });
            store::text(digits.as_bytes(), bytes);
            ends.push(bytes.len());
            Ok(())
        }
        _ => Err(What::Kind),
    }
}
