//! A folder of migrations: files named `V1__what_it_does.sql`, of which each is a list of statements.
//!
//! Guarantee: a statement that cannot run twice is refused before any statement runs. ClickHouse has no transactions of DDL: what
//! was cut off is run again, from the statement whose end nobody saw.

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
};

use crate::sinks::clickhouse::migrations::script::{Statement, Unended, statements, words};

/// A file of statements.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Migration {
    /// Its number: migrations run in this order.
    pub version: u32,
    /// The file's name, less `.sql`.
    pub name: String,
    /// At least one.
    pub statements: Vec<Statement>,
}

/// Why a folder cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FolderError {
    /// It cannot be read.
    #[error("cannot read {}", path.display())]
    Unreadable {
        /// The folder or file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// There is no migration in it.
    #[error("{} holds no file that is named like V1__what_it_does.sql", path.display())]
    Empty {
        /// The folder.
        path: PathBuf,
    },
    /// A file's name says no version.
    #[error("{name} has no name of the form V1__what_it_does.sql")]
    Name {
        /// The file's name.
        name: String,
    },
    /// Two files have the same version.
    #[error("{first} and {second} have the same version: give one of them another")]
    Twice {
        /// One file.
        first: String,
        /// The other.
        second: String,
    },
    /// A file holds no statement.
    #[error("{name}.sql holds no statement")]
    NoStatement {
        /// The file.
        name: String,
    },
    /// A file ends in the middle of something.
    #[error("{name}.sql: {source}")]
    Unended {
        /// The file.
        name: String,
        /// What does not end.
        source: Unended,
    },
    /// A statement could not be run a second time.
    #[error("{name}.sql, line {line}: the statement cannot be run twice, as it must when a run is cut off: {mend}")]
    Once {
        /// The file.
        name: String,
        /// Where it begins.
        line: usize,
        /// How to write it.
        mend: &'static str,
    },
}

/// Reads every migration of a folder, in the order of their versions. Files that do not end in `.sql` are left alone.
///
/// # Errors
/// If the folder or a file in it cannot be used.
pub fn read(folder: &Path) -> Result<Vec<Migration>, FolderError> {
    let unreadable = |path: &Path| {
        let path = path.to_owned();
        move |source| FolderError::Unreadable { path, source }
    };
    let mut found: BTreeMap<u32, Migration> = BTreeMap::new();
    for entry in fs::read_dir(folder).map_err(unreadable(folder))? {
        let path = entry.map_err(unreadable(folder))?.path();
        if path.extension().is_none_or(|extension| extension != "sql") {
            continue;
        }
        let name = path.file_stem().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let text = fs::read_to_string(&path).map_err(unreadable(&path))?;
        let migration = Migration::parse(&name, &text)?;
        if let Some(other) = found.get(&migration.version) {
            let mut names = [format!("{}.sql", other.name), format!("{name}.sql")];
            names.sort_unstable();
            let [first, second] = names;
            return Err(FolderError::Twice { first, second });
        }
        found.insert(migration.version, migration);
    }
    match found.is_empty() {
        true => Err(FolderError::Empty { path: folder.to_owned() }),
        false => Ok(found.into_values().collect()),
    }
}

impl Migration {
    /// A migration of a file's name, less `.sql`, and its text.
    ///
    /// # Errors
    /// If the name says no version, or the text is not a list of statements that can each run twice.
    pub fn parse(name: &str, text: &str) -> Result<Self, FolderError> {
        let name = name.to_owned();
        let Some(version) = version(&name) else { return Err(FolderError::Name { name: format!("{name}.sql") }) };
        let statements = match statements(text) {
            Ok(statements) if statements.is_empty() => return Err(FolderError::NoStatement { name }),
            Ok(statements) => statements,
            Err(source) => return Err(FolderError::Unended { name, source }),
        };
        for statement in &statements {
            if let Some(mend) = once(&statement.text) {
                return Err(FolderError::Once { name, line: statement.line, mend });
            }
        }
        Ok(Self { version, name, statements })
    }
}

/// The number of `V1__what_it_does`.
fn version(name: &str) -> Option<u32> {
    let (number, what) = name.strip_prefix('V')?.split_once("__")?;
    let is_right = !what.is_empty() && number.bytes().all(|digit| digit.is_ascii_digit());
    number.parse().ok().filter(|number| is_right && *number > 0)
}

/// How to write a statement that would fail, or undo itself, when it is run again.
fn once(statement: &str) -> Option<&'static str> {
    let words = words(statement);
    let follows = |first: &str, wanted: &[&str]| {
        let at = words.iter().position(|word| word == first);
        at.is_some_and(|at| words[at + 1..].iter().map(String::as_str).take(8).any(|word| wanted.contains(&word)))
    };
    match words.first().map(String::as_str) {
        Some("CREATE" | "ATTACH") if !has(&words, &["IF", "NOT", "EXISTS"]) && !has(&words, &["OR", "REPLACE"]) => {
            Some("write IF NOT EXISTS or OR REPLACE")
        }
        Some("DROP" | "DETACH") if !has(&words, &["IF", "EXISTS"]) => Some("write IF EXISTS"),
        Some("EXCHANGE") => Some("it would undo itself; create a new table under another name instead"),
        Some("RENAME") if !has(&words, &["IF", "EXISTS"]) => Some("write IF EXISTS"),
        Some("ALTER") if follows("ADD", PARTS) && !has(&words, &["IF", "NOT", "EXISTS"]) => {
            Some("write ADD … IF NOT EXISTS")
        }
        Some("ALTER") if (follows("DROP", PARTS) || follows("RENAME", PARTS)) && !has(&words, &["IF", "EXISTS"]) => {
            Some("write IF EXISTS")
        }
        _ => None,
    }
}

/// The parts of a table that ALTER adds, drops and renames.
const PARTS: &[&str] = &["COLUMN", "INDEX", "PROJECTION", "CONSTRAINT", "STATISTICS"];

fn has(words: &[String], wanted: &[&str]) -> bool {
    words.windows(wanted.len()).any(|window| window == wanted)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(name: &str, text: &str) -> String {
        Migration::parse(name, text).expect_err("refused").to_string()
    }

    #[test]
    fn a_file_says_its_version_by_its_name() {
        let parsed = Migration::parse("V12__more_tables", "create table if not exists a (b Int8) engine = Memory");
        assert_eq!(parsed.expect("right").version, 12);
        for name in ["more", "V__a", "V0__a", "Va__b", "V1__", "V1_a", "v1__a", "V-1__a", "V99999999999__a"] {
            assert!(refused(name, "select 1").contains("V1__what_it_does.sql"), "{name}");
        }
    }

    #[test]
    fn a_file_that_is_no_list_of_statements_is_refused() {
        assert_eq!(refused("V1__a", "-- nothing\n;"), "V1__a.sql holds no statement");
        assert_eq!(
            refused("V1__a", "select 1;\nselect 'b"),
            "V1__a.sql: a quoted text that begins on line 2 does not end"
        );
    }

    #[test]
    fn a_statement_that_cannot_run_twice_is_refused_with_the_mend() {
        for (statement, mend) in [
            ("create table a (b Int8) engine = Memory", "OR REPLACE"),
            ("create table a engine = Memory as select 'if not exists'", "OR REPLACE"),
            ("drop view a", "IF EXISTS"),
            ("alter table a add column b Int8", "IF NOT EXISTS"),
            ("alter table a drop column b", "IF EXISTS"),
            ("alter table a rename column b to c", "IF EXISTS"),
            ("rename table a to b", "IF EXISTS"),
            ("exchange tables a and b", "undo itself"),
        ] {
            let said = refused("V1__a", &format!("select 1;\n{statement};"));
            assert!(said.starts_with("V1__a.sql, line 2:") && said.contains(mend), "{said}");
        }
        for statement in [
            "create or replace view a as select 1",
            "create materialized view if not exists a to b as select 1",
            "drop table if exists a",
            "alter table a add column if not exists b Int8 after c",
            "alter table a add index if not exists b c type minmax",
            "alter table a modify setting non_replicated_deduplication_window = 1000",
            "alter table a modify column b Int64",
            "insert into a select * from b",
            "rename table if exists a to b",
        ] {
            assert!(Migration::parse("V1__a", statement).is_ok(), "{statement}");
        }
    }
}
