//! The import table of the relay: who may use whom, as a test. A new row, or a new name in one, is a design decision.

use std::collections::BTreeSet;
use std::path::Path;

use crate::tidy::source;

/// A row: a module of `relay/src`, and all that it may import of ours. Downwards only; `postgres` and `config` nothing.
const TABLE: &[(&str, &[&str])] = &[
    ("main", &["cli", "app", "config", "telemetry"]),
    ("cli", &["adopt", "app", "config", "slots", "pipeline", "finding", "telemetry", "top"]),
    (
        "app",
        &[
            "calendar",
            "config",
            "postgres",
            "kafka",
            "leases",
            "sources",
            "sinks",
            "slots",
            "jobs",
            "admin",
            "shape",
            "encode",
            "pipeline",
            "finding",
            "telemetry",
        ],
    ),
    ("sources", &["postgres", "kafka", "leases", "shape", "encode", "pipeline", "telemetry"]),
    ("sinks", &["calendar", "postgres", "kafka", "shape", "encode", "pipeline", "finding", "telemetry"]),
    // How brokers are reached: what reads from them and what writes to them share it.
    ("kafka", &["pipeline", "telemetry"]),
    // Who of several relays does what: agreed upon in the database.
    ("leases", &["postgres", "pipeline", "telemetry"]),
    ("slots", &["calendar", "postgres", "leases", "pipeline", "finding", "telemetry"]),
    ("jobs", &["shape", "encode", "pipeline", "telemetry"]),
    ("admin", &["pipeline", "telemetry"]),
    // A client of the admin endpoint: it knows the names of stages and how a quantile is taken, and no pipeline.
    ("top", &["telemetry"]),
    ("shape", &["calendar", "pipeline"]),
    ("encode", &["calendar", "pipeline"]),
    ("pipeline", &["telemetry"]),
    ("telemetry", &[]),
    ("postgres", &[]),
    ("config", &[]),
    // Pure: text in, text out; what it writes, the configuration itself reads back.
    ("adopt", &["config"]),
    ("finding", &[]),
    // Arithmetic of days, for whoever reads or prints a date.
    ("calendar", &[]),
];

/// Crates that only these modules may name: the core knows no broker, no database and no format of a file.
const CRATES: &[(&str, &[&str])] = &[
    ("rdkafka", &["kafka", "sinks", "sources"]),
    ("tokio_postgres", &["cli", "postgres", "leases", "slots", "sources", "sinks", "jobs"]),
    ("postgres_protocol", &["postgres", "sources", "slots"]),
    ("axum", &["admin"]),
    ("ratatui", &["top"]),
    ("toml", &["config"]),
    ("clap", &["main", "cli"]),
    ("miette", &["main", "cli"]),
];

/// What `file` (its path below `relay/src`) imports against the table, as sentences.
pub(crate) fn violations(file: &Path, text: &str) -> Vec<String> {
    let module = module_of(file);
    let Some((_, allowed)) = TABLE.iter().find(|(row, _)| *row == module) else {
        // The root of the library only declares the modules.
        return if module == "lib" { Vec::new() } else { vec![format!("module `{module}` has no row in the table")] };
    };
    let code = source::code(text);
    let ours = ["crate::", "postrider_relay::"].into_iter().flat_map(|root| roots(&code, root));
    let mut found: BTreeSet<String> = ours
        .filter(|used| *used != module && !allowed.contains(used) && TABLE.iter().any(|(row, _)| row == used))
        .map(|used| format!("`{module}` must not import `{used}`"))
        .collect();
    for (name, users) in CRATES {
        if !users.contains(&module) && !roots(&code, &format!("{name}::")).is_empty() {
            found.insert(format!("`{module}` must not know the crate `{name}`"));
        }
    }
    let depth = file.iter().filter(|part| *part != "mod.rs").count();
    if supers(&source::without_tests(&code)).into_iter().any(|ups| ups >= depth) {
        found.insert(format!("`super::` leads out of `{module}`: write `crate::…`, which this table can read"));
    }
    found.into_iter().collect()
}

/// The first-level module that a file below `relay/src` belongs to.
fn module_of(file: &Path) -> &str {
    let first = file.components().next().and_then(|part| part.as_os_str().to_str()).unwrap_or_default();
    first.strip_suffix(".rs").unwrap_or(first)
}

/// The names that follow `root` in paths and `use` trees of `code`, such as `a` and `b` of `crate::{a::x, b}`.
fn roots<'c>(code: &'c str, root: &str) -> Vec<&'c str> {
    let starts = code.match_indices(root).map(|(at, _)| at);
    let whole_words =
        starts.filter(|at| !code[..*at].ends_with(|letter: char| letter.is_alphanumeric() || letter == '_'));
    whole_words.flat_map(|at| first_names(code[at + root.len()..].trim_start())).collect()
}

/// The first name of a path, or those of each path of a group in braces.
fn first_names(path: &str) -> Vec<&str> {
    let Some(group) = path.strip_prefix('{') else { return name(path).into_iter().collect() };
    let mut names: Vec<&str> = name(group).into_iter().collect();
    let mut depth = 1_usize;
    for (at, letter) in group.char_indices() {
        match letter {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 1 => names.extend(name(&group[at + 1..])),
            _ => {}
        }
        if depth == 0 {
            break;
        }
    }
    names
}

fn name(text: &str) -> Option<&str> {
    let text = text.trim_start();
    let end = text.find(|letter: char| !letter.is_alphanumeric() && letter != '_').unwrap_or(text.len());
    (end > 0).then(|| &text[..end])
}

/// How far up each path of `code` that begins with `super::` leads.
fn supers(code: &str) -> Vec<usize> {
    const UP: &str = "super::";
    let mut found = Vec::new();
    let mut rest = code;
    while let Some(at) = rest.find(UP) {
        let is_word = !rest[..at].ends_with(|letter: char| letter.is_alphanumeric() || letter == '_');
        let path = &rest[at..];
        let end = path.trim_start_matches(UP);
        if is_word {
            found.push((path.len() - end.len()) / UP.len());
        }
        rest = end;
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(file: &str, text: &str) -> Vec<String> {
        violations(Path::new(file), text)
    }

    #[test]
    fn an_import_upwards_or_sideways_is_found_in_whatever_form_it_is_written() {
        for text in [
            "use crate::sinks::kafka::Kafka;",
            "use crate::{\n    pipeline::Source,\n    sinks,\n};",
            "use crate::{pipeline::{Sink, Source}, sinks::{self, kafka}};",
            "fn f() { crate::sinks::kafka::open() }",
            "type T = Vec<crate::sinks::Kafka>;",
            "pub(crate) use crate::sinks as other;",
        ] {
            assert_eq!(check("sources/wal/mod.rs", text), ["`sources` must not import `sinks`"], "{text}");
        }
    }

    #[test]
    fn what_the_table_allows_and_what_is_no_import_pass() {
        for text in [
            "use crate::pipeline::{Batch, Source};\nuse crate::postgres::lsn::EndLsn;",
            "use crate::sources::wal::record;",
            "// crate::sinks::kafka\nfn f() -> &'static str { \"crate::sinks\" }",
            "/// See [`crate::sinks`].\nfn f() {}",
            "pub(super) fn f() {}",
        ] {
            assert_eq!(check("sources/wal/mod.rs", text), Vec::<String>::new(), "{text}");
        }
    }

    #[test]
    fn the_leaves_import_nothing_of_ours() {
        assert_eq!(check("postgres/lsn.rs", "use crate::pipeline::Error;"), ["`postgres` must not import `pipeline`"]);
        assert_eq!(check("config/key.rs", "use crate::telemetry::Metrics;"), ["`config` must not import `telemetry`"]);
        assert_eq!(check("shape/mod.rs", "use crate::telemetry::Metrics;"), ["`shape` must not import `telemetry`"]);
    }

    #[test]
    fn only_the_composition_root_and_the_command_line_read_the_configuration() {
        let import = "use crate::config::Config;";
        for file in ["sources/wal/mod.rs", "sinks/kafka/mod.rs", "pipeline/pump.rs", "slots/setup.rs", "admin/mod.rs"] {
            assert_eq!(check(file, import).len(), 1, "{file}");
        }
        assert_eq!(check("app.rs", import), Vec::<String>::new());
        assert_eq!(check("main.rs", "use postrider_relay::config::Config;"), Vec::<String>::new());
        assert_eq!(check("main.rs", "fn main() { postrider_relay::sinks::open() }").len(), 1);
    }

    #[test]
    fn the_core_knows_no_broker_and_no_database() {
        assert_eq!(check("pipeline/pump.rs", "use rdkafka::ClientConfig;").len(), 1);
        assert_eq!(check("pipeline/pump.rs", "fn f(c: tokio_postgres::Client) {}").len(), 1);
        assert_eq!(check("sinks/kafka/mod.rs", "use rdkafka::ClientConfig;"), Vec::<String>::new());
    }

    #[test]
    fn super_does_not_lead_around_the_table() {
        assert_eq!(check("sources/mod.rs", "use super::sinks::kafka;").len(), 1);
        assert_eq!(check("sources/wal/cut.rs", "use super::super::super::sinks;").len(), 1);
        assert_eq!(check("sources/wal/cut.rs", "use super::record::Record;"), Vec::<String>::new());
        assert_eq!(check("app.rs", "#[cfg(test)]\nmod tests {\n    use super::*;\n}"), Vec::<String>::new());
    }

    #[test]
    fn a_module_that_the_table_does_not_know_must_get_a_row() {
        assert_eq!(check("cache/mod.rs", ""), ["module `cache` has no row in the table"]);
    }
}
