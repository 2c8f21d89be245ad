//! What is left to run: pure, from the files and what the database remembers of earlier runs.
//!
//! Guarantee: what was applied and is not the same any more is refused before any statement runs, and so is a file that comes
//! before one that was applied.

use serde::Deserialize;
use sha2::{Digest, Sha256};

use crate::sinks::clickhouse::migrations::folder::Migration;

/// A statement that was applied, as the database remembers it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(super) struct Applied {
    /// The migration's version.
    pub(super) version: u32,
    /// Which statement of it; the first is 1.
    pub(super) statement: u32,
    /// How many the file had.
    pub(super) statements: u32,
    /// The migration's name.
    pub(super) name: String,
    /// Of the statement's text.
    pub(super) checksum: String,
}

/// A statement to run: the migration, and its place in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Step<'m> {
    /// The migration.
    pub(super) migration: &'m Migration,
    /// The statement; the first is 0.
    pub(super) statement: usize,
}

/// Why nothing may run.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PlanError {
    /// A statement that was applied is another now.
    #[error(
        "{name}.sql was applied, and statement {statement} (line {line}) is another now; put it back as it was, and write the change as a new migration"
    )]
    Changed {
        /// The file.
        name: String,
        /// Which statement; the first is 1.
        statement: u32,
        /// Where it begins.
        line: usize,
    },
    /// A file that was applied whole has more statements, or fewer.
    #[error(
        "{name}.sql was applied with {then} statements and has {now} now; put it back as it was, and write the change as a new migration"
    )]
    Recut {
        /// The file.
        name: String,
        /// How many it had.
        then: u32,
        /// How many it has.
        now: u32,
    },
    /// A new file comes before one that was applied.
    #[error("{name}.sql is new, but {after} was applied already: give it a version above {highest}")]
    Late {
        /// The file.
        name: String,
        /// The last that was applied.
        after: String,
        /// Its version.
        highest: u32,
    },
}

/// What is left to run, in order. Versions that were applied and are in no file, such as a newer release's, are left alone.
///
/// # Errors
/// If what was applied is another now.
pub(super) fn plan<'m>(migrations: &'m [Migration], applied: &[Applied]) -> Result<Vec<Step<'m>>, PlanError> {
    let last = applied.iter().max_by_key(|applied| applied.version);
    let mut steps = Vec::new();
    for migration in migrations {
        let known: Vec<&Applied> = applied.iter().filter(|applied| applied.version == migration.version).collect();
        if let Some(last) = last.filter(|last| known.is_empty() && last.version > migration.version) {
            let (name, after) = (migration.name.clone(), last.name.clone());
            return Err(PlanError::Late { name, after, highest: last.version });
        }
        check(migration, &known)?;
        let is_open = |statement: usize| !known.iter().any(|known| known.statement as usize == statement + 1);
        let open = (0..migration.statements.len()).filter(|statement| is_open(*statement));
        steps.extend(open.map(|statement| Step { migration, statement }));
    }
    Ok(steps)
}

/// Whether a file still says what was applied of it. A file of which not everything was applied may change behind that.
fn check(migration: &Migration, known: &[&Applied]) -> Result<(), PlanError> {
    let name = || migration.name.clone();
    let now = u32::try_from(migration.statements.len()).unwrap_or(u32::MAX);
    let whole = known.iter().find(|applied| applied.statements as usize == known.len());
    if let Some(whole) = whole.filter(|whole| whole.statements != now) {
        return Err(PlanError::Recut { name: name(), then: whole.statements, now });
    }
    for applied in known {
        let at = (applied.statement as usize).saturating_sub(1);
        let Some(statement) = migration.statements.get(at) else {
            return Err(PlanError::Recut { name: name(), then: applied.statement, now });
        };
        if checksum(&statement.text) != applied.checksum {
            return Err(PlanError::Changed { name: name(), statement: applied.statement, line: statement.line });
        }
    }
    Ok(())
}

/// SHA-256 of a statement's text, in hex.
pub(super) fn checksum(statement: &str) -> String {
    Sha256::digest(statement.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(version: u32, statements: &[&str]) -> Migration {
        Migration::parse(&format!("V{version}__file"), &statements.join(";\n")).expect("right")
    }

    /// The first `count` statements of a file, applied.
    fn applied(migration: &Migration, count: usize) -> Vec<Applied> {
        let numbered = migration.statements.iter().take(count).zip(1..);
        numbered
            .map(|(statement, number)| Applied {
                version: migration.version,
                statement: number,
                statements: migration.statements.len() as u32,
                name: migration.name.clone(),
                checksum: checksum(&statement.text),
            })
            .collect()
    }

    fn left(migrations: &[Migration], applied: &[Applied]) -> Vec<(u32, usize)> {
        let steps = plan(migrations, applied).expect("nothing changed");
        steps.into_iter().map(|step| (step.migration.version, step.statement)).collect()
    }

    #[test]
    fn what_was_not_applied_is_left_in_order() {
        let files = [file(1, &["select 1", "select 2"]), file(3, &["select 3"])];
        assert_eq!(left(&files, &[]), [(1, 0), (1, 1), (3, 0)]);
        assert_eq!(left(&files, &applied(&files[0], 2)), [(3, 0)]);
        assert_eq!(left(&files[..1], &applied(&files[0], 2)), []);
    }

    #[test]
    fn a_file_that_was_cut_off_goes_on_where_it_ended_and_may_be_mended_from_there() {
        let cut = file(1, &["select 1", "select wrong", "select 3"]);
        let known = applied(&cut, 1);
        assert_eq!(left(std::slice::from_ref(&cut), &known), [(1, 1), (1, 2)]);
        let mended = [file(1, &["select 1", "select 2", "select 3", "select 4"])];
        assert_eq!(left(&mended, &known), [(1, 1), (1, 2), (1, 3)]);
        let spoilt = [file(1, &["select 0", "select 2"])];
        assert!(
            plan(&spoilt, &known).expect_err("changed").to_string().contains("statement 1 (line 1) is another now")
        );
    }

    #[test]
    fn a_file_that_was_applied_must_stay() {
        let file_then = file(1, &["select 1", "select 2"]);
        let known = applied(&file_then, 2);
        for (now, says) in [
            (file(1, &["select 1", "select 3"]), "statement 2 (line 2) is another now"),
            (file(1, &["select 1", "select 2", "select 3"]), "was applied with 2 statements and has 3 now"),
            (file(1, &["select 1"]), "was applied with 2 statements and has 1 now"),
        ] {
            let error = plan(std::slice::from_ref(&now), &known).expect_err("changed").to_string();
            assert!(error.contains(says), "{error}");
        }
        // Notes between the statements may change.
        let noted = Migration::parse("V1__file", "-- a note\nselect 1;\n-- another\nselect 2;").expect("right");
        assert_eq!(left(&[noted], &known), []);
    }

    #[test]
    fn a_file_that_comes_too_late_is_refused_and_a_newer_release_is_left_alone() {
        let (old, new) = (file(1, &["select 1"]), file(2, &["select 2"]));
        let known = applied(&new, 1);
        let error = plan(&[old, new], &known).expect_err("late").to_string();
        assert!(
            error.contains("V1__file.sql is new, but V2__file was applied already: give it a version above 2"),
            "{error}"
        );
        assert_eq!(left(&[file(2, &["select 2"])], &[known, applied(&file(9, &["select 9"]), 1)].concat()), []);
    }
}
