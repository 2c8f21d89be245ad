//! `docs/clickhouse-types.md` is the test: every value of `docs/types.md`, as the relay publishes it with its schema, goes into a column
//! of the type that is derived from the schema, and what the engine then holds is what stands there.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::path::PathBuf;

use postrider_relay::encode::native::{Block, Column, Reading, Schema, Type, Unavailable, What, derive};

use super::database::Database;
use crate::type_mapping::document::{Document, Row};

/// What the two tables of the document begin with.
const STORED: &str = "| Postgres | options | ClickHouse | value | stored as |\n|---|---|---|---|---|\n";
const MISFITS: &str = "| Postgres | options | ClickHouse | value | why it is refused |\n|---|---|---|---|---|\n";

/// A longer text is cut to so many letters.
const SHOWN_MAX: usize = 80;

/// A row whose value has a column, and how it gets there.
struct Case {
    row: Row,
    of: Type,
    reading: Reading,
    json: String,
}

#[tokio::test]
async fn each_value_is_stored_as_the_documentation_says() {
    let (cases, mut wrong) = cases();
    assert!(cases.len() > 800, "only {} values", cases.len());
    let names: BTreeMap<&str, String> = {
        let types: BTreeSet<&str> = cases.iter().map(|case| case.of.text()).collect();
        types.into_iter().enumerate().map(|(at, of)| (of, format!("c{at}"))).collect()
    };
    let (stored, misfits) = stored(&cases, &names).await;
    let (mut shown, mut refused) = (String::new(), String::new());
    // What only another option or a default says again is left out.
    let mut seen = BTreeSet::new();
    for case in &cases {
        let Row { column, options, value, line, .. } = &case.row;
        let head = format!("| {} | {} | {} | {} |", code(column), code(options), code(case.of.text()), code(value));
        if let Some(what) = misfits.get(line) {
            if seen.insert((column, case.of.text(), value.as_str())) {
                writeln!(refused, "{head} {what} |").unwrap();
            }
            continue;
        }
        let own = names.keys().position(|of| *of == case.of.text()).unwrap();
        let text = &stored[line][own];
        if (case.json == "null" && !case.of.is_collection()) != (text == "ᴺᵁᴸᴸ") {
            wrong.push(format!("line {}: {} is stored as {text}", line + 1, case.json));
        }
        let is_telling = case.json != "null" && !text.is_empty() && !column.contains(" default ");
        if is_telling && !value.starts_with("deleted") && seen.insert((column, case.of.text(), "")) {
            writeln!(shown, "{head} {} |", code(text)).unwrap();
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    held(&shown, &refused);
}

/// What the engine shows of each value, by its line, and why the others are not there.
async fn stored(
    cases: &[Case],
    names: &BTreeMap<&str, String>,
) -> (BTreeMap<usize, Vec<String>>, BTreeMap<usize, What>) {
    let database = Database::new().await;
    let list: Vec<String> = names.iter().map(|(of, name)| format!("{name} {of}")).collect();
    database.command(&format!("create table {{db}}.t (line UInt32, {}) engine = Memory", list.join(", "))).await;

    let mut block = Block::new(vec![Column::new("line", Type::parse("UInt32").expect("a type"))]);
    block
        .columns
        .extend(names.iter().map(|(of, name)| Column::new(name, Type::parse(of).expect("a type")).emptying_null()));
    let mut misfits = BTreeMap::new();
    for case in cases {
        let rows = block.rows();
        let own = 1 + names.keys().position(|of| *of == case.of.text()).expect("its column");
        if let Err(misfit) = block.columns[own].push_json(&case.json, &case.reading) {
            misfits.insert(case.row.line, misfit.what);
            continue;
        }
        block.columns[0].push_i64(case.row.line as i64).expect("a number");
        block.columns.iter_mut().filter(|column| column.rows() == rows).for_each(Column::push_empty);
    }
    database.insert("t", block, "1").await.expect("the server takes it");
    let stored = database
        .lines(&format!("select * from {}.t settings output_format_json_validate_utf8 = 1", database.name))
        .await;
    let stored: BTreeMap<usize, Vec<String>> =
        stored.into_iter().map(|mut row| (row.remove(0).parse().expect("a line"), row)).collect();
    (stored, misfits)
}

/// Every value of the other document that is there in full. What stands for one that is not known is told, and is none.
fn cases() -> (Vec<Case>, Vec<String>) {
    let unavailable = Unavailable::new("__debezium_unavailable_value");
    let (mut cases, mut wrong) = (Vec::new(), Vec::new());
    for row in Document::read().rows() {
        let Some(written) = row.ours() else { continue };
        if row.value.starts_with("unchanged") {
            if !unavailable.is(&written.json) && written.json != "null" {
                wrong.push(format!("line {}: {} is taken for a value", row.line + 1, written.json));
            }
            continue;
        }
        let Ok(schema) = Schema::parse(&written.schema) else {
            wrong.push(format!("line {}: {} is no schema", row.line + 1, written.schema));
            continue;
        };
        let (of, reading) = (derive::column_type(&schema, false), schema.reading());
        cases.push(Case { row, of, reading, json: written.json });
    }
    (cases, wrong)
}

/// A cell of code, cut where it is long.
fn code(text: &str) -> String {
    if text.is_empty() {
        return String::new();
    }
    let cut: String =
        text.chars().take(SHOWN_MAX).map(|letter| if letter.is_control() { '␀' } else { letter }).collect();
    let more = if text.chars().count() > SHOWN_MAX { "…" } else { "" };
    format!("`{}{more}`", cut.replace('|', "\\|").replace('`', "'"))
}

fn held(shown: &str, refused: &str) {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../docs/clickhouse-types.md");
    let before = std::fs::read_to_string(&path).expect("the document");
    let mut now = before.clone();
    for (head, rows) in [(STORED, shown), (MISFITS, refused)] {
        let start = now.find(head).unwrap_or_else(|| panic!("no table begins with {head}")) + head.len();
        let old: usize =
            now[start..].split_inclusive('\n').take_while(|line| line.starts_with('|')).map(str::len).sum();
        now.replace_range(start..start + old, rows);
    }
    if now != before {
        let place = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join("clickhouse-types.md");
        std::fs::write(&place, &now).expect("the folder of tests");
        let wrong: Vec<_> = now.lines().zip(before.lines()).filter(|(now, then)| now != then).take(5).collect();
        panic!("docs/clickhouse-types.md is not what is stored; {} is: {wrong:#?}", place.display());
    }
}
