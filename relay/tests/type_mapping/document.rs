//! The table of `docs/types.md`, read and written.

use std::collections::BTreeMap;
use std::path::PathBuf;

/// What stands in the head of each of its parts.
const HEAD: &str = "| column | options | value | schema | Debezium | Postrider | why |";

/// What repeats the schema above.
const DITTO: &str = "〃";

/// What says that Postrider writes the same.
const SAME: &str = "same";

/// Of a longer value Debezium's cell keeps this many letters and an ellipsis.
const VALUE_MAX: usize = 300;

/// The document, line by line.
pub(crate) struct Document {
    lines: Vec<String>,
}

/// A row of the table.
pub(crate) struct Row {
    /// Its line, from 0: the number of its row in Postgres.
    pub(crate) line: usize,
    /// The column's type, and what follows it in `create table`.
    pub(crate) column: String,
    /// `name=value`, with blanks between.
    pub(crate) options: String,
    /// The value in SQL; before it may stand what happens next to its row.
    pub(crate) value: String,
    pub(crate) debezium: Written,
    /// What the cell says that Postrider writes.
    pub(crate) postrider: String,
    pub(crate) why: String,
}

impl Row {
    /// What Postrider writes; none where the cell is cut, or there is no value.
    pub(crate) fn ours(&self) -> Option<Written> {
        let cell = self.postrider.as_str();
        let (json, schema) = if let Some(schema) = cell.strip_prefix("same, as `") {
            (self.debezium.json.as_str(), schema.trim_end_matches('`'))
        } else if let Some((json, schema)) = cell.split_once("` as `") {
            (json, schema)
        } else if cell == SAME {
            (self.debezium.json.as_str(), self.debezium.schema.as_str())
        } else {
            (cell, self.debezium.schema.as_str())
        };
        let is_value = !json.starts_with('(') && !json.ends_with('…') && !schema.is_empty();
        is_value.then(|| Written { schema: schema.to_owned(), json: json.to_owned() })
    }
}

/// A value as JSON and its schema; an empty schema if there is none.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Written {
    pub(crate) schema: String,
    pub(crate) json: String,
}

pub(crate) fn path() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../docs/types.md")
}

impl Document {
    pub(crate) fn read() -> Self {
        let text = std::fs::read_to_string(path()).expect("the document");
        Self { lines: text.lines().map(str::to_owned).collect() }
    }

    /// The statements that make the types.
    pub(crate) fn setup(&self) -> String {
        let block = self.lines.iter().skip_while(|line| *line != "```sql").skip(1);
        let lines: Vec<&str> = block.take_while(|line| *line != "```").map(String::as_str).collect();
        lines.join("\n")
    }

    pub(crate) fn rows(&self) -> Vec<Row> {
        let (mut rows, mut inside, mut schema) = (Vec::new(), false, String::new());
        for (line, text) in self.lines.iter().enumerate() {
            inside = text == HEAD || inside && text.starts_with('|');
            if !inside || text == HEAD || text.starts_with("|---") {
                continue;
            }
            let cells = cells(text);
            let [column, options, value, said, json, postrider, why] = cells.as_slice() else {
                panic!("line {}: {} cells", line + 1, cells.len())
            };
            if said != DITTO {
                schema.clone_from(said);
            }
            rows.push(Row {
                line,
                column: column.clone(),
                options: options.clone(),
                value: value.clone(),
                debezium: Written { schema: schema.clone(), json: json.clone() },
                postrider: postrider.clone(),
                why: why.clone(),
            });
        }
        rows
    }

    /// With what Postrider wrote in its cells.
    pub(crate) fn filled(&self, rows: &[Row], written: &BTreeMap<usize, Written>) -> String {
        let mut lines = self.lines.clone();
        for row in rows {
            let ours = cell(&row.debezium, &written[&row.line]);
            let line = &lines[row.line];
            let bars: Vec<usize> = bars(line).collect();
            lines[row.line] = format!("{} {ours} {}", &line[..=bars[5]], &line[bars[6]..]);
        }
        lines.join("\n") + "\n"
    }
}

/// What stands in Postrider's cell.
fn cell(debezium: &Written, ours: &Written) -> String {
    let cut = debezium.json.strip_suffix('…').filter(|_| debezium.json.chars().count() > VALUE_MAX);
    let is_same = cut.map_or(debezium.json == ours.json, |start| ours.json.starts_with(start));
    let code = |text: &str| format!("`{}`", text.replace('|', "\\|"));
    match (is_same, debezium.schema == ours.schema) {
        (true, true) => SAME.to_owned(),
        (_, true) => code(&ours.json),
        (true, false) => format!("same, as {}", code(&ours.schema)),
        (false, false) if ours.schema.is_empty() => code(&ours.json),
        (false, false) => format!("{} as {}", code(&ours.json), code(&ours.schema)),
    }
}

/// The cells of a row, without the marks of code.
fn cells(line: &str) -> Vec<String> {
    let bars: Vec<usize> = bars(line).collect();
    let plain = |cell: &str| {
        let cell = cell.trim().replace("\\|", "|");
        match cell.strip_prefix('`').and_then(|rest| rest.strip_suffix('`')) {
            Some(code) if !code.is_empty() => code.to_owned(),
            _ => cell,
        }
    };
    bars.windows(2).map(|ends| plain(&line[ends[0] + 1..ends[1]])).collect()
}

/// The bars between cells: those without a backslash before them.
fn bars(line: &str) -> impl Iterator<Item = usize> {
    line.char_indices().filter(|(at, letter)| *letter == '|' && !line[..*at].ends_with('\\')).map(|(at, _)| at)
}
