//! The habits of the tree, held by tests: who imports whom, what a file begins with, how long it is, what it must not say.

mod imports;
mod source;
mod tree;

use std::collections::BTreeSet;
use std::path::Path;

use tree::File;

/// Longest file of code, in lines.
const LINES_MAX: usize = 500;

/// Files that may be longer, with the reason.
const LONGER: &[(&str, &str)] = &[];

/// All that may stand in the root.
const ROOT: &[&str] = &[
    ".cargo",
    ".ci",
    ".clippy.toml",
    ".dockerignore",
    ".github",
    ".gitignore",
    "CHANGELOG.md",
    "Cargo.lock",
    "Cargo.toml",
    "DEVELOPERS.md",
    "Dockerfile",
    "LICENSE-APACHE",
    "LICENSE-MIT",
    "README.md",
    "clickhouse",
    "demo",
    "deploy",
    "docker-compose.yml",
    "docs",
    "examples",
    "fuzz",
    "kits",
    "migrations",
    "proto",
    "relay",
    "rustfmt.toml",
    "src",
    "tests",
    "xtask",
];

/// Names of files that say nothing of what is in them.
const EMPTY_NAMES: &[&str] =
    &["util", "utils", "common", "helper", "helpers", "misc", "base", "manager", "shared", "stuff"];

/// Words that belong to one machine, to one mirror, or into a list of things to do; each in two halves, so that this
/// file does not hold them.
const FORBIDDEN: &[(&str, &str)] = &[
    ("/wo", "rk/"),
    ("/ro", "ot/"),
    ("/home", "/user"),
    ("repo.maven.ap", "ache.org"),
    ("repo1.mav", "en.org"),
    ("registry.npm", "js.org"),
    ("files.python", "hosted.org"),
    ("static.cra", "tes.io"),
    ("index.cra", "tes.io"),
    ("deb.deb", "ian.org"),
    ("proxy.gol", "ang.org"),
    ("TO", "DO"),
    ("FIX", "ME"),
    ("XX", "X:"),
];

fn assert_none(found: &[String]) {
    assert!(found.is_empty(), "\n{}\n", found.join("\n"));
}

fn rust() -> impl Iterator<Item = File> {
    tree::files().into_iter().filter(|file| file.is("rs"))
}

fn text_of(path: &str) -> Option<String> {
    std::fs::read_to_string(tree::root().join(path)).ok()
}

#[test]
fn modules_of_the_relay_import_only_what_the_table_allows() {
    let mut found = Vec::new();
    for file in rust() {
        if let Ok(below) = file.path.strip_prefix("relay/src") {
            let violations = imports::violations(below, &file.text);
            found.extend(violations.into_iter().map(|violation| format!("{}: {violation}", file.path.display())));
        }
    }
    assert_none(&found);
}

#[test]
fn what_a_service_links_and_what_is_only_a_client_know_no_relay() {
    for (manifest, forbidden) in [
        ("Cargo.toml", "rdkafka.workspace"),
        ("Cargo.toml", "postrider-relay.workspace"),
        ("demo/Cargo.toml", "postrider-relay"),
        ("xtask/Cargo.toml", "postrider-relay"),
    ] {
        let text = text_of(manifest).expect(manifest);
        assert!(!text.contains(forbidden), "{manifest} must not depend on {forbidden}");
    }
}

#[test]
fn every_file_says_first_what_it_is() {
    let found: Vec<String> =
        rust().filter(|file| !begins_with_docs(&file.text)).map(|file| file.path.display().to_string()).collect();
    assert_none(&found);
}

fn begins_with_docs(text: &str) -> bool {
    let first = text.lines().next().unwrap_or_default();
    first.strip_prefix("//! ").is_some_and(|sentence| sentence.trim().len() > 10)
}

#[test]
fn no_file_is_longer_than_a_reader_can_hold() {
    let mut found = Vec::new();
    for file in rust() {
        let lines = file.text.lines().count();
        let exempt = LONGER.iter().any(|(path, _)| file.path == Path::new(path));
        match (lines > LINES_MAX, exempt) {
            (true, false) => found.push(format!("{}: {lines} lines, at most {LINES_MAX}", file.path.display())),
            (false, true) => found.push(format!("{}: needs no exemption any more", file.path.display())),
            _ => {}
        }
    }
    assert_none(&found);
}

#[test]
fn nothing_unwraps_outside_tests() {
    let mut found = Vec::new();
    for file in rust().filter(|file| !file.is_test()) {
        found.extend(unwraps(&file.text).into_iter().map(|line| format!("{}:{line}", file.path.display())));
    }
    assert_none(&found);
}

/// Lines of code, from 1, that unwrap outside tests.
fn unwraps(text: &str) -> Vec<usize> {
    let code = source::without_tests(&source::code(text));
    let unwraps = |line: &str| line.contains(".unwrap()") || line.contains(".unwrap_err()") || line.contains("panic!(");
    code.lines().enumerate().filter(|(_, line)| unwraps(line)).map(|(index, _)| index + 1).collect()
}

#[test]
fn nothing_names_a_machine_a_mirror_or_a_thing_to_do() {
    let mut found = Vec::new();
    for file in tree::files().into_iter().filter(|file| file.path != Path::new("Cargo.lock")) {
        found.extend(forbidden(&file.text).into_iter().map(|what| format!("{}: {what}", file.path.display())));
    }
    assert_none(&found);
}

fn forbidden(text: &str) -> Vec<String> {
    let words = FORBIDDEN.iter().map(|(first, second)| format!("{first}{second}"));
    words.filter(|word| text.contains(word.as_str())).collect()
}

#[test]
fn the_name_of_a_file_is_the_noun_it_defines() {
    let says_nothing = |file: &File| {
        let name = file.path.file_stem().and_then(|name| name.to_str()).unwrap_or_default();
        EMPTY_NAMES.contains(&name)
    };
    let found: Vec<String> = rust().filter(says_nothing).map(|file| file.path.display().to_string()).collect();
    assert_none(&found);
}

#[test]
fn the_name_of_a_test_is_a_sentence_of_behaviour() {
    let mut found = Vec::new();
    for file in rust() {
        let names = test_names(&source::code(&file.text));
        let labels = names.into_iter().filter(|name| name.split('_').count() < 3 || name.starts_with("test_"));
        found.extend(labels.map(|name| format!("{}: {name}", file.path.display())));
    }
    assert_none(&found);
}

/// The functions of `code` that follow a test attribute.
fn test_names(code: &str) -> Vec<String> {
    let attributes = ["#[test]", "#[tokio::test"];
    let mut names = Vec::new();
    let mut awaited = false;
    for line in code.lines().map(str::trim) {
        awaited |= attributes.iter().any(|attribute| line.starts_with(attribute));
        if let Some((_, after)) = line.split_once("fn ").filter(|_| awaited) {
            awaited = false;
            names.extend(after.split_once('(').map(|(name, _)| name.to_owned()));
        }
    }
    names
}

#[test]
fn a_migration_tells_the_operator_its_locks_first() {
    let migrations = tree::files().into_iter().filter(|file| file.is("sql") && file.path.starts_with("migrations"));
    let silent = migrations.filter(|file| !tells_locks(&file.text));
    assert_none(&silent.map(|file| file.path.display().to_string()).collect::<Vec<_>>());
}

fn tells_locks(sql: &str) -> bool {
    let mut opening = sql.lines().take_while(|line| line.starts_with("--"));
    let note = opening.any(|line| line.contains("To the operator"));
    note && opening.any(|line| line.contains("Locks:"))
}

#[test]
fn every_metric_is_documented_and_every_documented_metric_exists() {
    let docs = text_of("docs/metrics.md").expect("the page of metrics");
    let (told, known) = (metric_names(&docs, '`'), metrics_of_the_code());
    assert!(known.len() > 10, "only {} metrics were found in the code", known.len());
    assert_eq!(told.difference(&known).collect::<Vec<_>>(), Vec::<&String>::new(), "documented, but not there");
    assert_eq!(known.difference(&told).collect::<Vec<_>>(), Vec::<&String>::new(), "there, but not documented");
}

#[test]
fn every_metric_that_an_alert_or_the_manual_names_exists() {
    let known = metrics_of_the_code();
    let mut found = Vec::new();
    for file in tree::files().into_iter().filter(|file| file.is("md") || file.is("yml") || file.is("json")) {
        let named = if file.is("md") { metric_names(&file.text, '`') } else { metric_words(&file.text) };
        let unknown =
            named.iter().filter(|name| !NO_METRICS.contains(&name.as_str()) && !known.contains(series_of(name)));
        found.extend(unknown.map(|name| format!("{}: {name}", file.path.display())));
    }
    assert_none(&found);
}

/// Names of ours that look like metrics and are a role, a crate, a publication and a table.
const NO_METRICS: &[&str] = &["postrider_writer", "postrider_relay", "postrider_capture", "postrider_migrations"];

/// The metric that a series belongs to: a histogram has three.
fn series_of(name: &str) -> &str {
    ["_bucket", "_sum", "_count"].into_iter().find_map(|suffix| name.strip_suffix(suffix)).unwrap_or(name)
}

/// Every word of a text that begins as our metrics do.
fn metric_words(text: &str) -> BTreeSet<String> {
    let words = text.split(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_');
    words.filter(|word| word.starts_with("postrider_")).map(str::to_owned).collect()
}

/// The names of the sections' declarations.
fn metrics_of_the_code() -> BTreeSet<String> {
    let sections = rust().filter(|file| file.path.starts_with("relay/src/telemetry/metrics"));
    sections.flat_map(|file| metric_names(&file.text, '"')).collect()
}

/// Every `postrider_…` between two of `quote`; labels do not belong to the name.
fn metric_names(text: &str, quote: char) -> BTreeSet<String> {
    let quoted = text.lines().flat_map(|line| line.split(quote).skip(1).step_by(2));
    let names = quoted.map(|name| name.split('{').next().unwrap_or_default());
    let is_name =
        |name: &&str| name.starts_with("postrider_") && name.bytes().all(|b| b.is_ascii_lowercase() || b == b'_');
    names.filter(is_name).map(str::to_owned).collect()
}

#[test]
fn the_commands_that_the_manual_shows_exist() {
    let mut found = Vec::new();
    for file in tree::files().into_iter().filter(|file| file.is("md")) {
        for command in commands(&file.text) {
            if !exists(&command) {
                found.push(format!("{}: {command}", file.path.display()));
            }
        }
    }
    assert_none(&found);
}

/// Our commands in the code blocks and code words of a page, each as far as its verb.
fn commands(page: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for (at, _) in page.match_indices("cargo xtask ").chain(page.match_indices("postrider ")) {
        let begins = page[..at].ends_with(['`', '\n', '$', ' ']) && !page[..at].ends_with(". ");
        let line = page[at..].lines().next().unwrap_or_default();
        let verb = line.trim_start_matches("cargo xtask ").trim_start_matches("postrider ");
        let verb = verb.split(|letter: char| !letter.is_ascii_lowercase()).next().unwrap_or_default();
        // Prose says "postrider does": only what stands in code counts.
        let in_code = page[..at].matches('`').count() % 2 == 1 || page[..at].ends_with("\n");
        if begins && in_code && !verb.is_empty() {
            found.insert(format!("{}{verb}", &line[..line.len().min(line.find(verb).unwrap_or_default())]));
        }
    }
    found
}

fn exists(command: &str) -> bool {
    let (folder, verb) = match command.strip_prefix("cargo xtask ") {
        Some(verb) => ("xtask/src/main.rs", verb),
        None => ("relay/src/cli", command.trim_start_matches("postrider ")),
    };
    let listed = text_of(folder).is_some_and(|text| text.to_lowercase().contains(&format!("    {verb}(")));
    listed || text_of(&format!("{folder}/{verb}.rs")).is_some()
}

#[test]
fn the_root_holds_only_what_belongs_there() {
    let known: BTreeSet<&str> = ROOT.iter().copied().collect();
    let strange: Vec<String> =
        tree::root_entries().into_iter().filter(|entry| !known.contains(entry.as_str())).collect();
    assert_none(&strange);
}

/// Each rule finds what it is for: a rule that cannot fail holds nothing.
mod rules {
    use super::*;

    #[test]
    fn a_file_without_a_first_sentence_is_found() {
        assert!(begins_with_docs("//! What this is for.\n"));
        for text in ["", "use std::fs;\n//! Late.", "// Only a comment of some length.", "//!", "//! short"] {
            assert!(!begins_with_docs(text), "{text}");
        }
    }

    #[test]
    fn an_unwrap_is_found_in_code_and_nowhere_else() {
        assert_eq!(unwraps("fn a() {\n    b().unwrap();\n}"), [2]);
        assert_eq!(unwraps("fn a() {\n    panic!(\"no\")\n}"), [2]);
        assert_eq!(unwraps("// b().unwrap()\nfn a() { c(\".unwrap()\"); d().unwrap_or(1); }"), Vec::<usize>::new());
        assert_eq!(unwraps("#[cfg(test)]\nmod tests {\n    fn a() { b().unwrap(); }\n}"), Vec::<usize>::new());
    }

    #[test]
    fn a_word_of_one_machine_is_found() {
        for (first, second) in FORBIDDEN {
            assert_eq!(forbidden(&format!("see {first}{second} for it")), [format!("{first}{second}")]);
        }
        assert_eq!(forbidden("rootless work at home"), Vec::<String>::new());
    }

    #[test]
    fn a_name_that_is_no_sentence_is_found_whatever_stands_before_it() {
        let code = "#[test]\nfn works() {}\n#[tokio::test(flavor = \"x\")]\nasync fn it_works() {}\nfn no_test() {}";
        assert_eq!(test_names(code), ["works", "it_works"]);
    }

    #[test]
    fn a_migration_without_a_note_is_found() {
        assert!(tells_locks("-- A table.\n--\n-- To the operator\n--   Locks: none.\n\ncreate table a ();"));
        assert!(!tells_locks("create table a ();\n-- To the operator\n--   Locks: none.\n"));
        assert!(!tells_locks("-- To the operator\n--   Rights: none.\n"));
    }

    #[test]
    fn metrics_are_found_in_tables_and_in_code() {
        let page = "| `postrider_errors_total{end=\"sink\"}` | `postrider_up` | postrider_prose `postrider run` |";
        let expected = BTreeSet::from(["postrider_errors_total".to_owned(), "postrider_up".to_owned()]);
        assert_eq!(metric_names(page, '`'), expected);
        let rule = "expr: rate(postrider_delivery_seconds_bucket[5m]) > postrider_lost and postrider_up == 0";
        let words: Vec<_> = metric_words(rule).into_iter().map(|word| series_of(&word).to_owned()).collect();
        assert_eq!(words, ["postrider_delivery_seconds", "postrider_lost", "postrider_up"]);
    }

    #[test]
    fn commands_are_found_in_code_and_not_in_prose() {
        let page = "Here postrider does it. `cargo xtask demo --kills 3`\n```\npostrider run\ncargo xtask fly\n```\n";
        let found: Vec<String> = commands(page).into_iter().collect();
        assert_eq!(found, ["cargo xtask demo", "cargo xtask fly", "postrider run"]);
        assert!(!exists("cargo xtask fly") && !exists("postrider fly"));
        assert!(exists("cargo xtask demo"));
    }
}
