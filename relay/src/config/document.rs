//! The file: TOML text becomes values with their place, each under a known key; what is not known is a problem that names the nearest key.

use std::{collections::BTreeMap, ops::Range};

use toml::de::{DeTable, DeValue};

use crate::config::{
    error::{ConfigError, Origin, Problem},
    key::{self, Key, Kind},
    nearest::nearest,
    settings::{Given, Scalar},
};

/// Reads `text` into values by key path. A property of an open table is under its full path, such as
/// `kafka.properties.socket.keepalive.enable`.
///
/// # Errors
/// Text that is not TOML: nothing else can be said about it then.
pub(super) fn parse(
    name: &str,
    text: &str,
    problems: &mut Vec<Problem>,
) -> Result<BTreeMap<String, Given>, ConfigError> {
    let mut reader = Reader { name, text, problems, values: BTreeMap::new() };
    let table = DeTable::parse(text).map_err(|error| {
        // Only the message: the error's own text would show the line, which may hold a password.
        let origin = reader.origin(error.span().unwrap_or_default());
        ConfigError::new(vec![Problem::new(origin, format!("not valid TOML: {}", error.message()))])
    })?;
    reader.table("", table.get_ref());
    Ok(reader.values)
}

struct Reader<'a> {
    name: &'a str,
    text: &'a str,
    problems: &'a mut Vec<Problem>,
    values: BTreeMap<String, Given>,
}

impl Reader<'_> {
    fn table(&mut self, prefix: &str, table: &DeTable<'_>) {
        for (name, value) in table {
            let path = join(prefix, name.get_ref());
            match (key::by_path(&path), value.get_ref()) {
                (Some(Key { kind: Kind::Properties, .. }), DeValue::Table(properties)) => {
                    self.properties(&path, properties);
                }
                (Some(_), scalar) => self.insert(path, value.span(), scalar),
                (None, DeValue::Table(inner)) if path.starts_with("outboxes.") && inner.is_empty() => {
                    self.problem(
                        name.span(),
                        format!("`{path}` is empty: give it at least `table` or `message_prefix`"),
                    );
                }
                (None, DeValue::Table(inner)) if inner.is_empty() && key::in_section(&path).is_some() => {
                    self.problem(name.span(), format!("`{path}` is empty: give it its keys, or leave it out"));
                }
                (None, DeValue::Table(inner)) if key::is_section(&path) => self.table(&path, inner),
                (None, _) if key::is_section(&path) => {
                    self.problem(name.span(), format!("`{path}` is a section: write [{path}] and its keys below"));
                }
                (None, _) => self.problem(name.span(), unknown(&path)),
            }
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
        let origin = self.origin(span);
        self.values.insert(path, Given { scalar: scalar(value), origin });
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
