//! The fuzzers' corpus as ordinary tests: what once led somewhere in the code still does no harm.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;

use postrider_relay::config::fuzzing as config;
use postrider_relay::encode::fuzzing as encode;
use postrider_relay::postgres::connection::Connection;
use postrider_relay::postgres::fuzzing as postgres;
use postrider_relay::postgres::options::{ConnectOptions, Host, Secret};
use postrider_relay::shape::fuzzing as shape;
use postrider_relay::sources::wal::fuzzing as wal;
use xtask::services;

/// A function that judges one input.
type Target = fn(&[u8]);

/// Every target of `fuzz/fuzz_targets`, with the function that it calls.
const TARGETS: &[(&str, Target)] = &[
    ("changes", shape::shape_changes),
    ("columns", encode::fill_columns),
    ("copies", postgres::copies),
    ("decode", postgres::decode),
    ("envelopes", shape::read_envelopes),
    ("file", config::read_file),
    ("filters", shape::filter_values),
    ("frames", postgres::frames),
    ("globs", shape::match_globs),
    ("headers", shape::read_headers),
    ("hostile", wal::cut_anything),
    ("messages", shape::read_messages),
    ("passwords", postgres::passwords),
    ("records", wal::read_records),
    ("resume", wal::cut_and_resume),
    ("router", shape::route_rows),
    ("rows", shape::shape_rows),
    ("session", postgres::talk),
    ("tables", config::read_tables),
    ("texts", postgres::texts),
    ("topics", shape::name_topics),
    ("types", shape::write_types),
    ("variables", config::read_variables),
];

fn fuzz(below: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../fuzz").join(below)
}

fn names_in(folder: &str) -> BTreeSet<String> {
    let entries = fs::read_dir(fuzz(folder)).expect(folder).map(|entry| entry.expect("an entry").path());
    entries.filter_map(|path| Some(path.file_stem()?.to_str()?.to_owned())).collect()
}

#[test]
fn each_file_of_the_corpus_passes_through_its_target() {
    for (name, target) in TARGETS {
        let folder = fuzz("corpus").join(name);
        let files: Vec<_> = fs::read_dir(&folder).expect(name).map(|entry| entry.expect("an entry").path()).collect();
        assert!(files.len() >= 3, "{name} has {} files", files.len());
        for file in files {
            target(&fs::read(&file).expect("a file of the tree can be read"));
        }
        // What every fuzzer tries first.
        target(b"");
    }
}

#[test]
fn each_fuzz_target_is_replayed_and_each_replayed_one_is_fuzzed() {
    let replayed: BTreeSet<String> = TARGETS.iter().map(|(name, _)| (*name).to_owned()).collect();
    let manifest = fs::read_to_string(fuzz("Cargo.toml")).expect("the fuzzers' manifest");
    assert_eq!(names_in("fuzz_targets"), replayed);
    assert_eq!(names_in("corpus"), replayed);
    for name in replayed {
        assert!(manifest.contains(&format!("path = \"fuzz_targets/{name}.rs\"")), "{name} is not in the manifest");
    }
}

#[test]
fn a_table_that_the_configuration_accepts_is_the_one_that_postgres_reads() {
    let server = services::current().expect("the services run").postgres;
    let mut session = Connection::connect(&ConnectOptions {
        password: Some(Secret::new(&server.password)),
        replication: false,
        ..ConnectOptions::new(Host::Tcp(server.host.clone()), server.port, "postgres", &server.user)
    })
    .expect("the server lets us in");
    let mut accepted = 0;
    for file in fs::read_dir(fuzz("corpus/tables")).expect("the corpus").map(|entry| entry.expect("an entry").path()) {
        let text = fs::read_to_string(&file).expect("a text");
        let Some((schema, name)) = config::table(&text) else { continue };
        accepted += 1;
        let sql = format!("select p[1], p[2], cardinality(p) from parse_ident('{}') p", text.replace('\'', "''"));
        let rows = session.simple_query(&sql).expect("Postgres reads it too");
        assert_eq!(rows, [[Some(schema), Some(name), Some("2".to_owned())]], "{text}");
    }
    assert!(accepted >= 5, "only {accepted} were accepted");
}
