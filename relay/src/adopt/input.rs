//! A connector's options as they are written: the JSON of Kafka Connect's REST interface, or Debezium Server's properties.

use std::collections::BTreeMap;

use serde_json::Value;

/// Longest file that is read, in bytes: a thousand times a real one.
const FILE_BYTES_MAX: usize = 1024 * 1024;

/// What the names of Debezium Server's own options begin with.
const SERVER: &str = "debezium.";

/// Why a file holds no connector.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InputError {
    /// Too long to be one.
    #[error("longer than 1 MiB: this is no connector's configuration")]
    TooLong,
    /// Text that is neither JSON nor properties.
    #[error("line {line}: neither JSON nor a properties file: expected name=value")]
    Line {
        /// The line, from 1.
        line: usize,
    },
    /// JSON that is broken.
    #[error("not valid JSON at line {line}, column {column}")]
    Json {
        /// The line, from 1.
        line: usize,
        /// The column, from 1.
        column: usize,
    },
    /// JSON of another form.
    #[error("the JSON is not an object of options, nor one with the members \"name\" and \"config\"")]
    Form,
    /// A value that no option has.
    #[error("option {name:?} is not a string, a number or a boolean")]
    Value {
        /// The option.
        name: String,
    },
    /// The same option twice.
    #[error("line {line}: option {name:?} is there twice")]
    Twice {
        /// The line, from 1.
        line: usize,
        /// The option.
        name: String,
    },
}

/// A connector's options by their names in Kafka Connect.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Input {
    /// The connector's name, where the file tells it.
    pub(super) name: Option<String>,
    /// Whether it is Debezium Server's: then there is no worker beside it.
    pub(super) is_server: bool,
    /// The options. Those of the Server's sink keep their names.
    pub(super) options: BTreeMap<String, String>,
}

impl Input {
    pub(super) fn read(text: &str) -> Result<Self, InputError> {
        if text.len() > FILE_BYTES_MAX {
            return Err(InputError::TooLong);
        }
        if text.trim_start().starts_with(['{', '[', '"']) { Self::json(text) } else { Self::properties(text) }
    }

    fn json(text: &str) -> Result<Self, InputError> {
        // Only the place: serde's own text may show a value.
        let value: Value = serde_json::from_str(text)
            .map_err(|error| InputError::Json { line: error.line(), column: error.column() })?;
        let Value::Object(mut members) = value else { return Err(InputError::Form) };
        let mut name = None;
        if members.get("config").is_some_and(Value::is_object) {
            name = members.get("name").and_then(Value::as_str).map(str::to_owned);
            let Some(Value::Object(config)) = members.remove("config") else { return Err(InputError::Form) };
            members = config;
        }
        let mut options = BTreeMap::new();
        for (option, value) in members {
            let text = match value {
                Value::String(text) => text,
                Value::Number(number) => number.to_string(),
                Value::Bool(value) => value.to_string(),
                // Connect takes null for an option that is not set.
                Value::Null => continue,
                Value::Array(_) | Value::Object(_) => return Err(InputError::Value { name: option }),
            };
            options.insert(option, text);
        }
        let inner = options.remove("name");
        Ok(Self { name: name.or(inner), is_server: false, options })
    }

    /// The form of <https://docs.oracle.com/en/java/javase/17/docs/api/java.base/java/util/Properties.html#load(java.io.Reader)>,
    /// as far as people write it.
    fn properties(text: &str) -> Result<Self, InputError> {
        let mut input = Self::default();
        let mut lines = text.lines().enumerate();
        while let Some((index, line)) = lines.next() {
            let mut entry = line.trim_start().to_owned();
            if entry.is_empty() || entry.starts_with(['#', '!']) {
                continue;
            }
            while entry.ends_with('\\') && !entry.ends_with("\\\\") {
                entry.pop();
                let Some((_, next)) = lines.next() else { break };
                entry.push_str(next.trim_start());
            }
            let at = entry.find(['=', ':']).ok_or(InputError::Line { line: index + 1 })?;
            let (name, value) = (entry[..at].trim(), unescaped(entry[at + 1..].trim()));
            if name.is_empty() || name.contains(char::is_whitespace) {
                return Err(InputError::Line { line: index + 1 });
            }
            let (name, value) = input.normal(name, value);
            if input.options.insert(name.clone(), value).is_some() {
                return Err(InputError::Twice { line: index + 1, name });
            }
        }
        input.formats();
        input.name = input.options.remove("name");
        Ok(input)
    }

    /// The name that Connect has for an option of Debezium Server.
    fn normal(&mut self, name: &str, value: String) -> (String, String) {
        let Some(rest) = name.strip_prefix(SERVER) else { return (name.to_owned(), value) };
        self.is_server = true;
        // Quarkus would replace `${`, so that these files write it with two signs.
        let value = value.replace("$${", "${");
        let name = rest.strip_prefix("source.").unwrap_or(rest);
        (name.to_owned(), value)
    }

    /// `format.value` and its like become converters.
    fn formats(&mut self) {
        for part in ["key", "value", "header"] {
            let schemas = self.options.remove(&format!("format.{part}.schemas.enable"));
            let format = self.options.remove(&format!("format.{part}"));
            if let Some(format) = format {
                let converter = match format.to_ascii_lowercase().as_str() {
                    "json" => "org.apache.kafka.connect.json.JsonConverter".to_owned(),
                    "simplestring" => "org.apache.kafka.connect.storage.StringConverter".to_owned(),
                    "binary" => "io.debezium.converters.BinaryDataConverter".to_owned(),
                    _ => format,
                };
                self.options.insert(format!("{part}.converter"), converter);
            }
            if let Some(schemas) = schemas {
                self.options.insert(format!("{part}.converter.schemas.enable"), schemas);
            }
        }
    }
}

fn unescaped(value: &str) -> String {
    let mut text = String::new();
    let mut letters = value.chars();
    while let Some(letter) = letters.next() {
        match letter {
            '\\' => match letters.next() {
                Some('n') => text.push('\n'),
                Some('t') => text.push('\t'),
                Some('r') => text.push('\r'),
                Some(other) => text.push(other),
                None => {}
            },
            _ => text.push(letter),
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_rest_form_and_the_bare_form_say_the_same() {
        let bare = Input::read(r#"{"name": "o", "slot.name": "s", "tasks.max": 1, "x": true, "y": null}"#).unwrap();
        let wrapped =
            Input::read(r#"{"name": "o", "config": {"slot.name": "s", "tasks.max": "1", "x": "true"}, "tasks": []}"#);
        assert_eq!(wrapped.unwrap(), bare);
        assert_eq!(bare.name.as_deref(), Some("o"));
    }

    #[test]
    fn the_properties_of_debezium_server_get_the_names_that_connect_has() {
        let text = "# comment\ndebezium.source.slot.name = s\ndebezium.transforms=outbox\n\
                    debezium.transforms.outbox.route.topic.replacement=a.$${routedByValue}\n\
                    debezium.format.value=json\ndebezium.format.value.schemas.enable=false\n\
                    debezium.source.table.include.list=public\\\\.a,\\\n   public.b\nquarkus.log.level=INFO\n";
        let input = Input::read(text).unwrap();
        assert!(input.is_server);
        let option = |name: &str| input.options.get(name).map(String::as_str);
        assert_eq!(option("slot.name"), Some("s"));
        assert_eq!(option("transforms.outbox.route.topic.replacement"), Some("a.${routedByValue}"));
        assert_eq!(option("value.converter"), Some("org.apache.kafka.connect.json.JsonConverter"));
        assert_eq!(option("value.converter.schemas.enable"), Some("false"));
        assert_eq!(option("table.include.list"), Some("public\\.a,public.b"));
        assert_eq!(option("quarkus.log.level"), Some("INFO"));
    }

    #[test]
    fn what_is_no_connector_is_refused_with_its_place_and_without_its_values() {
        for (text, says) in [
            ("{\"database.password\": \"hunter2\",\n oops}", "line 2, column"),
            ("[1]", "not an object"),
            ("{\"a\": [\"hunter2\"]}", "option \"a\" is not"),
            ("a=1\nhunter2\n", "line 2: neither"),
            ("a=1\na=hunter2\n", "line 2: option \"a\" is there twice"),
        ] {
            let error = Input::read(text).unwrap_err().to_string();
            assert!(error.contains(says), "{error}");
            assert!(!error.contains("hunter2"), "{error}");
        }
        assert_eq!(Input::read(&" ".repeat(FILE_BYTES_MAX + 1)), Err(InputError::TooLong));
    }

    proptest! {
        #[test]
        fn no_text_can_make_it_panic(text in any::<String>()) {
            let _ = Input::read(&text);
        }
    }
}
