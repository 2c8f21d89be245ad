//! Our configuration as it is written: sections in the order of the documentation, values quoted as TOML wants them.

use std::collections::BTreeMap;

/// The sections, in their order.
const SECTIONS: [&str; 12] = [
    "postgres",
    "source",
    "outbox",
    "outbox.debezium",
    "capture",
    "capture.types",
    "capture.snapshot",
    "capture.masks",
    "capture.key_columns",
    "kafka",
    "kafka.properties",
    "topics",
];

/// Lines by section and key.
#[derive(Debug, Clone, Default)]
pub(super) struct Written(BTreeMap<usize, Vec<(String, String)>>);

impl Written {
    /// Sets `path`, such as `postgres.host`, to text.
    pub(super) fn text(&mut self, path: &str, value: &str) -> String {
        self.raw(path, &quoted(value))
    }

    /// Sets `path` to true or false.
    pub(super) fn flag(&mut self, path: &str, value: bool) -> String {
        self.raw(path, if value { "true" } else { "false" })
    }

    /// Sets `path` to a list of texts.
    pub(super) fn list(&mut self, path: &str, values: &[String]) -> String {
        let values: Vec<String> = values.iter().map(|value| quoted(value)).collect();
        self.raw(path, &format!("[{}]", values.join(", ")))
    }

    /// Sets `path` to a number if `value` is one, else to text, which the configuration will then refuse.
    pub(super) fn number_or_text(&mut self, path: &str, value: &str) -> String {
        let plain = value.parse::<i64>().map(|number| number.to_string());
        self.raw(path, &plain.unwrap_or_else(|_| quoted(value)))
    }

    fn raw(&mut self, path: &str, value: &str) -> String {
        // The longest section that fits: the rest of the path is the key, dots and all.
        let fits = |section: &str| path.strip_prefix(section).is_some_and(|rest| rest.starts_with('.'));
        let place =
            SECTIONS.iter().enumerate().filter(|(_, section)| fits(section)).max_by_key(|(_, section)| section.len());
        let (index, section) = place.map_or((0, SECTIONS[0]), |(index, section)| (index, *section));
        let key = path[section.len()..].trim_start_matches('.');
        let key = if key.contains('.') { quoted(key) } else { key.to_owned() };
        self.0.entry(index).or_default().push((key, value.to_owned()));
        format!("{path} = {value}")
    }

    /// The whole file.
    pub(super) fn toml(&self, opening: &str) -> String {
        let mut text = format!("# {opening}\n");
        for (index, lines) in &self.0 {
            text.push_str(&format!("\n[{}]\n", SECTIONS[*index]));
            for (key, value) in lines {
                text.push_str(&format!("{key} = {value}\n"));
            }
        }
        text
    }
}

/// A basic string: <https://toml.io/en/v1.0.0#string>.
fn quoted(text: &str) -> String {
    let mut quoted = String::from("\"");
    for letter in text.chars() {
        match letter {
            '"' => quoted.push_str("\\\""),
            '\\' => quoted.push_str("\\\\"),
            letter if letter.is_control() => quoted.push_str(&format!("\\u{:04X}", u32::from(letter))),
            letter => quoted.push(letter),
        }
    }
    quoted.push('"');
    quoted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sections_come_in_their_order_and_values_cannot_end_their_quotes() {
        let mut written = Written::default();
        written.text("outbox.debezium.route.by.field", "a\"b\\c\n");
        written.text("outbox.table", "public.o");
        assert_eq!(written.number_or_text("postgres.port", "5433"), "postgres.port = 5433");
        written.text("kafka.properties.message.max.bytes", "1");
        assert_eq!(
            written.toml("test"),
            "# test\n\n[postgres]\nport = 5433\n\n[outbox]\ntable = \"public.o\"\n\n[outbox.debezium]\n\
             \"route.by.field\" = \"a\\\"b\\\\c\\u000A\"\n\n[kafka.properties]\n\"message.max.bytes\" = \"1\"\n"
        );
    }
}
