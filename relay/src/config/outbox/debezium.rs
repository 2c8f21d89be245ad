//! `outbox.debezium`: the options of Debezium's outbox event router under their own names, as a connector's configuration has them.

use std::collections::BTreeMap;

use regex::Regex;

use crate::config::{
    error::Origin,
    key::{Fallback, Key, Kind},
    outbox::columns::Columns,
    postgres::is_name,
    settings::Settings,
};

/// The key that stands in `[outbox]` itself.
pub(super) const KEY: Key = Key {
    path: "outbox.debezium",
    kind: Kind::Properties,
    fallback: Fallback::Absent("the event router's own defaults hold"),
    meaning: "With `compatibility = \"debezium\"`: the event router's options and the converters by the names they have in a connector's configuration, without `transforms.outbox.`.",
};

/// The event router's options, with its defaults where nothing is given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Debezium {
    /// `table.field.event.id`.
    pub id: String,
    /// `table.field.event.key`.
    pub key: String,
    /// `table.field.event.type`; read only for filters.
    pub event_type: String,
    /// `table.field.event.payload`.
    pub payload: String,
    /// `table.field.event.timestamp`.
    pub timestamp: Option<String>,
    /// `table.field.event.schema.version`.
    pub schema_version: Option<String>,
    /// `route.by.field`.
    pub route_by: String,
    /// `route.topic.regex`, as this program's regular expressions write it; it must match the whole value.
    pub topic_regex: String,
    /// `route.topic.replacement`, as this program's regular expressions write it.
    pub topic_replacement: String,
    /// `table.fields.additional.placement`, in its order.
    pub placements: Vec<Placement>,
    /// `table.field.additional.missing` is `ignore`.
    pub missing_ignored: bool,
    /// `table.expand.json.payload`.
    pub expand: bool,
    /// `table.json.payload.null.behavior` is not `ignore`: nulls of an expanded payload are kept.
    pub keep_nulls: bool,
    /// `table.json.payload.empty.array.behavior` is not `ignore`: empty arrays of an expanded payload are kept.
    pub keep_empty_arrays: bool,
    /// `route.tombstone.on.empty.payload`.
    pub tombstone_on_empty: bool,
    /// `key.converter`.
    pub key_converter: Converter,
    /// `value.converter`.
    pub value_converter: Converter,
    /// `header.converter`.
    pub header_converter: Converter,
    /// `topic.prefix`: the first part of an envelope's schema name.
    pub prefix: String,
}

/// A further column and where it goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Placement {
    /// The column.
    pub column: String,
    /// Where its value goes.
    pub place: Place,
    /// The name it gets there.
    pub alias: String,
}

/// Where a further column's value goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// Into a header.
    Header,
    /// Into the value, beside the payload.
    Envelope,
    /// It is the number of the partition.
    Partition,
}

/// How a typed value becomes bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Converter {
    /// `StringConverter`: the value's text.
    Text,
    /// `SimpleHeaderConverter`: the value's text, bytes in Base64.
    Simple,
    /// `JsonConverter`; with the value's schema around it, or without.
    Json {
        /// `schemas.enable`.
        schemas: bool,
    },
    /// `BinaryDataConverter` or `ByteArrayConverter`: bytes as they are, and nothing else.
    Binary,
}

/// The options as given, each taken out as it is read, so that what remains is unknown.
struct Options<'s> {
    settings: &'s mut Settings,
    path: String,
    given: BTreeMap<String, (String, Origin)>,
}

impl Debezium {
    pub(super) fn from_settings(settings: &mut Settings) -> Self {
        let given = settings.properties(&KEY);
        let mut options = Options { path: settings.path(&KEY).into_owned(), settings, given };
        let schemas = [options.schemas("key"), options.schemas("value"), options.schemas("header")];
        let (topic_regex, topic_replacement) = options.topic();
        let router = Self {
            id: options.column("table.field.event.id", "id"),
            key: options.column("table.field.event.key", "aggregateid"),
            event_type: options.column("table.field.event.type", "type"),
            payload: options.column("table.field.event.payload", "payload"),
            timestamp: options.optional_column("table.field.event.timestamp"),
            schema_version: options.optional_column("table.field.event.schema.version"),
            route_by: options.column("route.by.field", "aggregatetype"),
            topic_regex,
            topic_replacement,
            placements: options.placements(),
            missing_ignored: options.choice("table.field.additional.missing", &["error", "ignore"]) == 1,
            expand: options.choice("table.expand.json.payload", &["false", "true"]) == 1,
            keep_nulls: options.choice("table.json.payload.null.behavior", &["ignore", "optional_bytes"]) == 1,
            keep_empty_arrays: options
                .choice("table.json.payload.empty.array.behavior", &["ignore", "optional_string"])
                == 1,
            tombstone_on_empty: options.choice("route.tombstone.on.empty.payload", &["false", "true"]) == 1,
            key_converter: options.converter("key.converter", schemas[0]),
            value_converter: options.converter("value.converter", schemas[1]),
            header_converter: options.header_converter(schemas[2]),
            prefix: options.text("topic.prefix").unwrap_or_default(),
        };
        options.without_effect();
        options.nothing_else();
        router.check(options.settings);
        router
    }

    /// Refuses the options of a router that is not asked for.
    pub(super) fn refuse_options(settings: &mut Settings) {
        let path = settings.path(&KEY).into_owned();
        for (name, (_, origin)) in settings.properties(&KEY) {
            settings
                .refuse_at(origin, format!("`{path}.{name}` has an effect only with `compatibility = \"debezium\"`"));
        }
    }

    /// The columns that filters and the table's check go by.
    pub(super) fn columns(&self, settings: &Settings) -> Columns {
        // Only what a filter asks for is read: a router's table need not have a type.
        let filters = ["filter.event_types", "filter.event_types_except"];
        let typed = filters.iter().any(|key| settings.is_given(&settings.path_below(key)));
        Columns {
            id: self.id.clone(),
            aggregate_type: Some(self.route_by.clone()),
            aggregate_id: Some(self.key.clone()),
            event_type: typed.then(|| self.event_type.clone()),
            payload: Some(self.payload.clone()),
            payload_bytes: None,
            headers: None,
        }
    }

    /// The columns that are read beside the mapped ones, each once.
    pub(super) fn further_columns(&self) -> Vec<String> {
        let placed = self.placements.iter().map(|placement| &placement.column);
        let mut columns: Vec<String> = Vec::new();
        for column in placed.chain(&self.timestamp).chain(&self.schema_version) {
            if !columns.contains(column) {
                columns.push(column.clone());
            }
        }
        columns
    }

    /// Those of them that must be there.
    #[must_use]
    pub fn required_columns(&self) -> Vec<String> {
        let placed = self.placements.iter().filter(|_| !self.missing_ignored).map(|placement| &placement.column);
        placed.chain(&self.timestamp).chain(&self.schema_version).cloned().collect()
    }

    fn check(&self, settings: &mut Settings) {
        let envelope = self.placements.iter().any(|placement| placement.place == Place::Envelope);
        let refused = match self.value_converter {
            Converter::Json { schemas: true } if self.expand => Some(
                "expands payloads whose schema the event router guesses from each message: that is where it loses fields. \
                 Set value.converter.schemas.enable = false",
            ),
            Converter::Text | Converter::Simple if envelope => {
                Some("places columns in the envelope, which StringConverter prints in no form that can be read again")
            }
            Converter::Binary if envelope || self.expand => {
                Some("makes values that are no bytes, which value.converter does not take")
            }
            _ => None,
        };
        if let Some(refused) = refused {
            settings.refuse(&KEY, refused);
        }
    }
}

impl Options<'_> {
    fn text(&mut self, name: &str) -> Option<String> {
        self.given.remove(name).map(|(text, _)| text)
    }

    fn refuse(&mut self, name: &str, origin: Origin, message: &str) {
        let message = format!("`{}.{name}` {message}", self.path);
        self.settings.refuse_at(origin, message);
    }

    fn optional_column(&mut self, name: &str) -> Option<String> {
        let (column, origin) = self.given.remove(name)?;
        if column.is_empty() {
            return None;
        }
        if !is_name(&column) {
            self.refuse(name, origin, "must name a column as in the catalog, at most 63 bytes");
        }
        Some(column)
    }

    fn column(&mut self, name: &str, default: &str) -> String {
        self.optional_column(name).unwrap_or_else(|| default.to_owned())
    }

    /// The index of the chosen word; the first is the default.
    fn choice(&mut self, name: &str, words: &[&str]) -> usize {
        let Some((text, origin)) = self.given.remove(name) else { return 0 };
        let chosen = words.iter().position(|word| word.eq_ignore_ascii_case(text.trim()));
        if chosen.is_none() {
            self.refuse(name, origin, &format!("must be one of {}", words.join(", ")));
        }
        chosen.unwrap_or_default()
    }

    /// `route.topic.regex` and `route.topic.replacement`.
    fn topic(&mut self) -> (String, String) {
        const REGEX: &str = "route.topic.regex";
        const REPLACEMENT: &str = "route.topic.replacement";
        let (text, origin) =
            self.given.remove(REGEX).unwrap_or_else(|| ("(?<routedByValue>.*)".to_owned(), Origin::Nowhere));
        let regex = match Regex::new(&text) {
            Ok(regex) => regex,
            Err(error) => {
                let why = error.to_string();
                let why = why.lines().last().unwrap_or_default().trim_start_matches("error: ");
                self.refuse(REGEX, origin, &format!("cannot be used: {why}; write it without what only Java knows"));
                return (String::new(), String::new());
            }
        };
        let (text, origin) = self
            .given
            .remove(REPLACEMENT)
            .unwrap_or_else(|| ("outbox.event.${routedByValue}".to_owned(), Origin::Nowhere));
        match replacement(&text, &regex) {
            Ok(replacement) => (regex.as_str().to_owned(), replacement),
            Err(why) => {
                self.refuse(REPLACEMENT, origin, &why);
                (regex.as_str().to_owned(), String::new())
            }
        }
    }

    /// `table.fields.additional.placement`: `column:place[:alias]`, separated by commas.
    fn placements(&mut self) -> Vec<Placement> {
        const NAME: &str = "table.fields.additional.placement";
        let Some((text, origin)) = self.given.remove(NAME) else { return Vec::new() };
        let parse = |entry: &str| {
            let mut parts = entry.trim().split(':').map(str::trim);
            let (column, place) = (parts.next()?.to_owned(), parts.next()?.to_ascii_lowercase());
            let place = match place.as_str() {
                "header" => Place::Header,
                "envelope" => Place::Envelope,
                "partition" => Place::Partition,
                _ => return None,
            };
            let alias = parts.next().map_or_else(|| column.clone(), str::to_owned);
            let whole = parts.next().is_none() && is_name(&column) && !alias.is_empty();
            whole.then_some(Placement { column, place, alias })
        };
        let entries = text.split(',').filter(|entry| !entry.trim().is_empty());
        let placements: Option<Vec<_>> = entries.map(parse).collect();
        if placements.is_none() {
            let message = "must be column:header, column:envelope or column:partition, each with :alias or without, separated by commas";
            self.refuse(NAME, origin, message);
        }
        placements.unwrap_or_default()
    }

    /// `schemas.enable` of a converter, which is on unless it is switched off; of headers it matters to JSON only too.
    fn schemas(&mut self, of: &str) -> bool {
        self.choice(&format!("{of}.converter.schemas.enable"), &["true", "false"]) == 0
    }

    fn converter(&mut self, name: &str, schemas: bool) -> Converter {
        let Some((text, origin)) = self.given.remove(name) else {
            let message = format!(
                "`{}.{name}` is required: name the converter that the Connect worker or the connector has, such as \
                 org.apache.kafka.connect.storage.StringConverter",
                self.path
            );
            self.settings.refuse_at(Origin::Nowhere, message);
            return Converter::Text;
        };
        let converter = converter(&text, schemas).filter(|converter| *converter != Converter::Simple);
        if converter.is_none() {
            let message = "must be StringConverter, JsonConverter, ByteArrayConverter or BinaryDataConverter, with its package or \
                           without, or string, json, json-schema or binary";
            self.refuse(name, origin, message);
        }
        converter.unwrap_or(Converter::Text)
    }

    fn header_converter(&mut self, schemas: bool) -> Converter {
        const NAME: &str = "header.converter";
        let Some((text, origin)) = self.given.remove(NAME) else { return Converter::Simple };
        let converter = converter(&text, schemas).filter(|converter| *converter != Converter::Binary);
        if converter.is_none() {
            let message =
                "must be SimpleHeaderConverter, StringConverter or JsonConverter, with its package or without";
            self.refuse(NAME, origin, message);
        }
        converter.unwrap_or(Converter::Simple)
    }

    /// Options that cannot change what is published here: their usual values are taken, the others refused with the reason.
    fn without_effect(&mut self) {
        for (name, usual, why) in [
            (
                "table.op.invalid.behavior",
                &["warn", "error"][..],
                "the relay reads insertions only, so no update can stop it",
            ),
            (
                "field.name.adjustment.mode",
                &["none"],
                "adjusted names are how the event router loses fields: leave it `none`",
            ),
            ("tracing.operation.name", &["debezium-read"], "the relay writes no span of its own into events"),
            ("tracing.with.context.field.only", &["false", "true"], "the relay writes no span of its own into events"),
            (
                "tracing.span.context.field",
                &["tracingspancontext"],
                "write `traceparent` into a column of its own and place it as a header: column:header:traceparent",
            ),
        ] {
            if let Some((text, origin)) = self.given.remove(name)
                && !usual.contains(&text.trim())
            {
                self.refuse(name, origin, &format!("cannot be `{text}` here: {why}"));
            }
        }
    }

    fn nothing_else(&mut self) {
        for (name, (_, origin)) in std::mem::take(&mut self.given) {
            self.refuse(&name, origin, "is no option of the event router; docs/debezium.md lists every one");
        }
    }
}

fn converter(text: &str, schemas: bool) -> Option<Converter> {
    Some(match text.trim().rsplit('.').next()? {
        "StringConverter" | "string" => Converter::Text,
        "SimpleHeaderConverter" | "simple" => Converter::Simple,
        "JsonConverter" => Converter::Json { schemas },
        "json" => Converter::Json { schemas: false },
        "json-schema" => Converter::Json { schemas: true },
        "BinaryDataConverter" | "ByteArrayConverter" | "ByteBufferConverter" | "binary" => Converter::Binary,
        _ => return None,
    })
}

/// Java's form of a replacement, in that of the crate `regex`, every group in braces.
/// <https://docs.oracle.com/en/java/javase/17/docs/api/java.base/java/util/regex/Matcher.html#appendReplacement(java.lang.StringBuilder,java.lang.String)>
fn replacement(java: &str, regex: &Regex) -> Result<String, String> {
    let mut out = String::new();
    let mut rest = java;
    while let Some(at) = rest.find(['$', '\\']) {
        out.push_str(&rest[..at]);
        let sign = &rest[at..=at];
        rest = &rest[at + 1..];
        let next = rest.chars().next();
        let group = if sign == "\\" {
            let Some(next) = next else { return Err("ends with a backslash that escapes nothing".to_owned()) };
            push_text(&mut out, next);
            rest = &rest[next.len_utf8()..];
            continue;
        } else if let Some(name) = rest.strip_prefix('{') {
            let Some((name, after)) = name.split_once('}') else { return Err("has a `${` without `}`".to_owned()) };
            rest = after;
            name.to_owned()
        } else if next.is_some_and(|next| next.is_ascii_digit()) {
            // As many digits as still name a group, the first in any case.
            let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
            let is_group = |end: &usize| rest[..*end].parse::<usize>().is_ok_and(|group| group < regex.captures_len());
            let end = (1..=digits).take_while(is_group).last().unwrap_or(1);
            let group = rest[..end].to_owned();
            rest = &rest[end..];
            group
        } else if next == Some('$') {
            return Err("has `$$`: Debezium Server's files write `$${`, here it is `${`".to_owned());
        } else {
            return Err("has a `$` that names no group: write `\\$` for the sign itself".to_owned());
        };
        let known = match group.parse::<usize>() {
            Ok(number) => number < regex.captures_len(),
            Err(_) => regex.capture_names().flatten().any(|name| name == group),
        };
        if !known {
            return Err(format!("names the group {group}, which `route.topic.regex` does not have"));
        }
        out.push_str(&format!("${{{group}}}"));
    }
    out.push_str(rest);
    Ok(out)
}

fn push_text(out: &mut String, letter: char) {
    if letter == '$' {
        out.push('$');
    }
    out.push(letter);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_replacement_of_java_says_the_same_in_our_form() {
        let regex = Regex::new("(?<first>a)(b)").expect("valid");
        for (java, ours) in [
            ("t", Ok("t")),
            ("x.${first}", Ok("x.${first}")),
            ("$1-$2", Ok("${1}-${2}")),
            ("$12", Ok("${1}2")),
            ("$0", Ok("${0}")),
            ("\\$1", Ok("$$1")),
            ("\\a", Ok("a")),
            ("$${first}", Err("here it is `${`")),
            ("${other}", Err("does not have")),
            ("$3", Err("does not have")),
            ("$", Err("names no group")),
            ("${first", Err("without `}`")),
            ("\\", Err("escapes nothing")),
        ] {
            match (replacement(java, &regex), ours) {
                (Ok(found), Ok(expected)) => assert_eq!(found, expected, "{java}"),
                (Err(found), Err(expected)) => assert!(found.contains(expected), "{java}: {found}"),
                (found, _) => panic!("{java}: {found:?}"),
            }
        }
    }
}
