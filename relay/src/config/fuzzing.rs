//! What fuzzers call here: whatever is in the file and in the variables, a mistake is named with its place and never with a secret.

use std::ffi::OsString;
use std::io;

use crate::config::Config;
use crate::config::error::Origin;
use crate::config::key;

/// The password that every start is given, to be looked for in whatever is said.
const PASSWORD: &str = "correct-horse-battery";

/// What a start needs at least.
const LEAST: [(&str, &str); 3] = [
    ("POSTRIDER_POSTGRES_DATABASE", "shop"),
    ("POSTRIDER_POSTGRES_PASSWORD", PASSWORD),
    ("POSTRIDER_KAFKA_BOOTSTRAP_SERVERS", "broker:9092"),
];

/// A configuration file as it is.
///
/// # Panics
/// If a mistake has no place or shows the password.
pub fn read_file(data: &[u8]) {
    let Ok(text) = str::from_utf8(data) else { return };
    judge(text, &[]);
}

/// Lines of `number=value`, the number being that of a key: each is the value of that key's variable.
///
/// # Panics
/// As [`read_file`].
pub fn read_variables(data: &[u8]) {
    let Ok(text) = str::from_utf8(data) else { return };
    let keys: Vec<String> = key::all().map(key::Key::variable).collect();
    let variables: Vec<(String, String)> = text
        .split('\0')
        .filter_map(|line| {
            let (number, value) = line.split_once('=')?;
            let name = match number.parse::<usize>() {
                Ok(number) => keys[number % keys.len()].clone(),
                Err(_) => format!("POSTRIDER_{number}"),
            };
            Some((name, value.to_owned()))
        })
        .collect();
    judge("", &variables);
}

/// The name of a table: what is accepted is what SQL would read, and in quotes it is the same.
///
/// # Panics
/// If it is not.
pub fn read_tables(data: &[u8]) {
    let Some((schema, name)) = str::from_utf8(data).ok().and_then(table) else { return };
    let quoted = |name: &str| format!("\"{}\"", name.replace('"', "\"\""));
    let written = format!("{}.{}", quoted(&schema), quoted(&name));
    assert_eq!(table(&written), Some((schema, name)));
}

/// Schema and name of the table that `text` means as a value of `outbox.table`, if it may be one.
#[must_use]
pub fn table(text: &str) -> Option<(String, String)> {
    let least = LEAST.into_iter().chain([("POSTRIDER_OUTBOX_TABLE", text)]);
    let variables = least.map(|(name, value)| (OsString::from(name), OsString::from(value)));
    let read = |_: &std::path::Path| Ok::<_, io::Error>(String::new());
    let config = Config::parse("postrider.toml", "", variables, read).ok()?;
    let table = config.outboxes.into_iter().next()?.table?;
    Some((table.schema, table.name))
}

fn judge(text: &str, variables: &[(String, String)]) {
    let least = LEAST.iter().map(|(name, value)| (OsString::from(name), OsString::from(value)));
    let given = variables.iter().map(|(name, value)| (OsString::from(name), OsString::from(value)));
    // A secret's file is there and holds the password, whatever its name.
    let read = |_: &std::path::Path| Ok::<_, io::Error>(format!("{PASSWORD}\n"));
    let config = Config::parse("postrider.toml", text, least.chain(given), read);
    let said = match &config {
        Ok(config) => format!("{config:?}"),
        Err(error) => {
            assert!(!error.problems().is_empty(), "refused without a reason");
            for problem in error.problems() {
                assert_place(problem.origin(), text);
            }
            error.to_string()
        }
    };
    let holds = |(name, value): &(String, String)| name.contains(PASSWORD) || value.contains(PASSWORD);
    let own = text.contains(PASSWORD) || variables.iter().any(holds);
    assert!(own || !said.contains(PASSWORD), "the password is shown");
}

fn assert_place(origin: &Origin, text: &str) {
    if let Origin::File { name, line, column } = origin {
        let lines = text.split('\n').count();
        assert!(name == "postrider.toml" && (1..=lines).contains(line), "line {line} of {lines}");
        let letters = text.split('\n').nth(line - 1).map_or(0, |line| line.chars().count());
        assert!((1..=letters + 1).contains(column), "column {column} of {letters}");
    }
}
