//! The file: TOML text becomes values with their place, each under a known key; what is not known is a problem that names the nearest key.

use std::ops::Range;

use toml::de::{DeTable, DeValue};

use crate::config::{
    error::{ConfigError, Origin, Problem},
    key::{self, Key, Kind},
    nearest::nearest,
    relays::{self, RELAYS},
    settings::{Given, Scalar},
};

/// Reads `text` into values by key path. A property of an open table is under its full path, such as
/// `kafka.properties.socket.keepalive.enable`.
///
/// # Errors
/// Text that is not TOML: nothing else can be said about it then.
pub(super) fn parse(name: &str, text: &str, problems: &mut Vec<Problem>) -> Result<relays::Given, ConfigError> {
    let mut reader = Reader { name, text, problems, relay: None, given: relays::Given::default() };
    let table = DeTable::parse(text).map_err(|error| {
        // Only the message: the error's own text would show the line, which may hold a password.
        let origin = reader.origin(error.span().unwrap_or_default());
        ConfigError::new(vec![Problem::new(origin, format!("not valid TOML: {}", error.message()))])
    })?;
    reader.table("", table.get_ref());
    Ok(reader.given)
}

struct Reader<'a> {
    name: &'a str,
    text: &'a str,
    problems: &'a mut Vec<Problem>,
    /// The relay whose section is being read.
    relay: Option<String>,
    given: relays::Given,
}

impl Reader<'_> {
    fn table(&mut self, prefix: &str, table: &DeTable<'_>) {
        for (name, value) in table {
            let path = join(prefix, name.get_ref());
            if path == RELAYS && self.relay.is_none() {
                self.relays(name.span(), value.get_ref());
                continue;
            }
            if let Some(relay) = &self.relay
                && prefix.is_empty()
                && key::is_section(&path)
                && !relays::may_differ(&path)
            {
                self.problem(name.span(), relays::not_of_a_relay(relay, &path));
                continue;
            }
            match (key::by_path(&path), value.get_ref()) {
                (Some(Key { kind: Kind::Properties, .. }), DeValue::Table(properties)) => {
                    self.properties(&path, properties);
                }
                (Some(_), scalar) => self.insert(path, value.span(), scalar),
                (None, DeValue::Table(inner)) if path.starts_with("outboxes.") && inner.is_empty() => {
                    let path = self.shown(&path);
                    let message = format!("`{path}` is empty: give it at least `table` or `message_prefix`");
                    self.problem(name.span(), message);
                }
                (None, DeValue::Table(inner)) if inner.is_empty() && key::in_section(&path).is_some() => {
                    let path = self.shown(&path);
                    self.problem(name.span(), format!("`{path}` is empty: give it its keys, or leave it out"));
                }
                (None, DeValue::Table(inner)) if key::is_section(&path) => self.table(&path, inner),
                (None, _) if key::is_section(&path) => {
                    let path = self.shown(&path);
                    self.problem(name.span(), format!("`{path}` is a section: write [{path}] and its keys below"));
                }
                (None, _) => self.problem(name.span(), self.unknown(&path)),
            }
        }
    }

    /// The tables of the relays, each read as if it were the whole file.
    fn relays(&mut self, span: Range<usize>, value: &DeValue<'_>) {
        let DeValue::Table(tables) = value else {
            self.problem(span, format!("`{RELAYS}` is a section: write [{RELAYS}.NAME.source] and its keys below"));
            return;
        };
        for (name, value) in tables {
            let (span, name) = (name.span(), name.get_ref());
            match value.get_ref() {
                _ if !key::is_section_name(name) => self.problem(span, relays::not_a_name(name)),
                DeValue::Table(own) if !own.is_empty() => {
                    self.given.relays.entry(name.to_string()).or_default();
                    self.relay = Some(name.to_string());
                    self.table("", own);
                    self.relay = None;
                }
                _ => self.problem(
                    span,
                    format!(
                        "`{RELAYS}.{name}` is empty: write [{RELAYS}.{name}.source] with a `slot`, or leave it out"
                    ),
                ),
            }
        }
    }

    /// `path` as it stands in the file.
    fn shown(&self, path: &str) -> String {
        self.relay.as_ref().map_or_else(|| path.to_owned(), |relay| format!("{RELAYS}.{relay}.{path}"))
    }

    fn unknown(&self, path: &str) -> String {
        let message = unknown(path);
        match &self.relay {
            None => message,
            Some(_) => message.replacen(&format!("`{path}`"), &format!("`{}`", self.shown(path)), 1).replacen(
                "did you mean `",
                &format!("did you mean `{}", self.shown("")),
                1,
            ),
        }
    }

    /// An open table. A dotted name nests in TOML, so nested tables are joined again.
    fn properties(&mut self, prefix: &str, table: &DeTable<'_>) {
        for (name, value) in table {
            let path = join(prefix, name.get_ref());
            match value.get_ref() {
                DeValue::Table(inner) => self.properties(&path, inner),
                scalar => self.insert(path, value.span(), scalar),
            }
        }
    }

    fn insert(&mut self, path: String, span: Range<usize>, value: &DeValue<'_>) {
        let given = Given { scalar: scalar(value), origin: self.origin(span), own: self.relay.is_some() };
        let values = match &self.relay {
            Some(relay) => self.given.relays.entry(relay.clone()).or_default(),
            None => &mut self.given.shared,
        };
        values.insert(path, given);
    }

    fn problem(&mut self, span: Range<usize>, message: String) {
        let origin = self.origin(span);
        self.problems.push(Problem::new(origin, message));
    }

    fn origin(&self, span: Range<usize>) -> Origin {
        let before = self.text.get(..span.start).unwrap_or(self.text);
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        Origin::File {
            name: self.name.to_owned(),
            line: before.matches('\n').count() + 1,
            column: before[line_start..].chars().count() + 1,
        }
    }
}

fn join(prefix: &str, name: &str) -> String {
    if prefix.is_empty() { name.to_owned() } else { format!("{prefix}.{name}") }
}

fn unknown(path: &str) -> String {
    if path.strip_prefix("outboxes.").is_some_and(|name| !name.contains('.')) {
        return format!(
            "`{path}` cannot be: an outbox is named by at most 63 lower-case letters and digits, and not `outbox`"
        );
    }
    if let Some((name, _)) = path.strip_prefix("outboxes.").and_then(|below| below.split_once('.')) {
        let further = |path: &str| path.strip_prefix("outbox.").map(|rest| format!("outboxes.{name}.{rest}"));
        let known: Vec<String> = key::all().filter_map(|key| further(key.path)).collect();
        if let Some(known) = nearest(path, known.iter().map(String::as_str)) {
            return format!("unknown key `{path}`; did you mean `{known}`?");
        }
    }
    if let Some((table, name, rest)) = key::in_section(path) {
        if !key::is_section_name(name) {
            return format!(
                "`{table}.{name}` cannot be: a section is named by at most 63 lower-case letters, digits and `_`, the first a letter"
            );
        }
        let known: Vec<&str> =
            key::all().filter_map(|key| key.path.strip_prefix(table)?.strip_prefix(".NAME.")).collect();
        if let Some(known) = nearest(rest.unwrap_or_default(), known.into_iter()) {
            return format!("unknown key `{path}`; did you mean `{table}.{name}.{known}`?");
        }
    }
    let sections = key::all().filter_map(|key| key.path.rsplit_once('.').map(|(section, _)| section));
    match nearest(path, key::all().map(|key| key.path).chain(sections)) {
        Some(known) => format!("unknown key `{path}`; did you mean `{known}`?"),
        None => format!("unknown key `{path}`; docs/configuration.md lists every key"),
    }
}

fn scalar(value: &DeValue<'_>) -> Scalar {
    match value {
        DeValue::String(text) => Scalar::Text(text.to_string()),
        DeValue::Boolean(value) => Scalar::Boolean(*value),
        DeValue::Integer(integer) => i64::from_str_radix(integer.as_str(), integer.radix())
            .map_or(Scalar::Other("an integer too large"), Scalar::Integer),
        DeValue::Float(float) => float.as_str().parse().map_or(Scalar::Other("a float"), Scalar::Number),
        DeValue::Datetime(_) => Scalar::Other("a date"),
        DeValue::Array(entries) => entries
            .iter()
            .map(|entry| entry.get_ref().as_str().map(str::to_owned))
            .collect::<Option<_>>()
            .map_or(Scalar::Other("an array that holds more than strings"), Scalar::List),
        DeValue::Table(_) => Scalar::Other("a table"),
    }
}
