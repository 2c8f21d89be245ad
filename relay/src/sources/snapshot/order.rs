//! What a signal asks for, in Debezium's words, and why one cannot be understood.
//! <https://debezium.io/documentation/reference/stable/configuration/signalling.html>

use serde::Deserialize;
use thiserror::Error;

use crate::postgres::condition::{self, BadCondition};

/// Something to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Order {
    /// Read tables.
    Start(Vec<Wanted>),
    /// End the reading of these tables; none: of all.
    Stop(Vec<Named>),
    /// Halt every reading.
    Pause,
    /// Go on with them.
    Resume,
    /// Write this to the log.
    Log(String),
}

/// Tables to be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Wanted {
    /// They.
    pub(crate) tables: Named,
    /// A condition on their rows.
    pub(crate) condition: Option<String>,
}

/// Tables by name, in which `*` stands for any characters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Named {
    /// Their schema.
    pub(crate) schema: String,
    /// Their name.
    pub(crate) name: String,
}

/// Why a signal is none.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub(crate) enum Unreadable {
    /// Another word.
    #[error("its type is none of execute-snapshot, stop-snapshot, pause-snapshot, resume-snapshot and log")]
    Kind,
    /// No JSON, or other members.
    #[error(
        "its data is not in the form {form}{place}", place = at.map(|(line, column)| format!(" (line {line}, column {column})")).unwrap_or_default()
    )]
    Data {
        /// What it should be.
        form: &'static str,
        /// Where it is not, as line and column.
        at: Option<(usize, usize)>,
    },
    /// A snapshot of a kind that is not taken while streaming.
    #[error(
        "its data asks for a snapshot of another type than \"incremental\": `[capture.snapshot] mode` and a restart take an initial one"
    )]
    Type,
    /// A name that is a regular expression, or none.
    #[error(
        "data-collections, number {number}, is not of the form schema.table; of regular expressions only `.*` and `\\.` are understood"
    )]
    Name {
        /// Which, from 1.
        number: usize,
    },
    /// A condition that is none.
    #[error("the filter of additional-conditions, number {number}, {why}")]
    Condition {
        /// Which, from 1.
        number: usize,
        /// Why.
        why: BadCondition,
    },
}

const FORM: &str = r#"{"data-collections": ["schema.table"], "type": "incremental"}"#;
const LOG_FORM: &str = r#"{"message": "…"}"#;

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Data {
    #[serde(default)]
    data_collections: Vec<String>,
    #[serde(default, rename = "type")]
    kind: Option<String>,
    #[serde(default)]
    additional_conditions: Vec<Additional>,
    /// The form of Debezium before 2.3.
    #[serde(default)]
    additional_condition: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Additional {
    data_collection: String,
    filter: String,
}

#[derive(Deserialize)]
struct Message {
    message: String,
}

impl Order {
    /// Understands a signal.
    ///
    /// # Errors
    /// Why it is none, without anything of its data.
    pub(crate) fn read(kind: &str, data: Option<&str>) -> Result<Self, Unreadable> {
        match kind.trim().to_ascii_lowercase().as_str() {
            "execute-snapshot" => start(&json(data.unwrap_or_default(), FORM)?),
            "stop-snapshot" => {
                let data: Data = json(data.filter(|data| !data.trim().is_empty()).unwrap_or("{}"), FORM)?;
                incremental(&data)?;
                Ok(Self::Stop(names(&data.data_collections)?))
            }
            "pause-snapshot" => Ok(Self::Pause),
            "resume-snapshot" => Ok(Self::Resume),
            "log" => Ok(Self::Log(json::<Message>(data.unwrap_or_default(), LOG_FORM)?.message)),
            _ => Err(Unreadable::Kind),
        }
    }
}

fn json<'d, T: Deserialize<'d>>(data: &'d str, form: &'static str) -> Result<T, Unreadable> {
    serde_json::from_str(data).map_err(|error| {
        let at = (error.line() > 0).then(|| (error.line(), error.column()));
        Unreadable::Data { form, at }
    })
}

fn start(data: &Data) -> Result<Order, Unreadable> {
    incremental(data)?;
    if data.data_collections.is_empty() {
        return Err(Unreadable::Data { form: FORM, at: None });
    }
    let filters: Vec<_> = data.additional_conditions.iter().map(|filter| filter.data_collection.clone()).collect();
    let filters = names(&filters)?;
    let conditions = data.additional_conditions.iter().map(|condition| condition.filter.as_str());
    for (number, text) in (1..).zip(conditions.chain(data.additional_condition.as_deref())) {
        condition::check(text).map_err(|why| Unreadable::Condition { number, why })?;
    }
    let wanted = |tables: Named| {
        let own = filters.iter().position(|filter| *filter == tables);
        let condition = own.map(|index| data.additional_conditions[index].filter.clone());
        Wanted { condition: condition.or_else(|| data.additional_condition.clone()), tables }
    };
    Ok(Order::Start(names(&data.data_collections)?.into_iter().map(wanted).collect()))
}

fn incremental(data: &Data) -> Result<(), Unreadable> {
    match data.kind.as_deref().map(str::to_ascii_lowercase).as_deref() {
        None | Some("incremental") => Ok(()),
        Some(_) => Err(Unreadable::Type),
    }
}

fn names(names: &[String]) -> Result<Vec<Named>, Unreadable> {
    (1..).zip(names).map(|(number, name)| Named::read(name).ok_or(Unreadable::Name { number })).collect()
}

impl Named {
    /// Reads `schema.table`, each part in double quotes or not. Debezium takes a regular expression: of it a dot may be
    /// escaped, and `.*` is `*`.
    pub(crate) fn read(text: &str) -> Option<Self> {
        let mut parts = vec![String::new()];
        let mut rest = text.trim().chars().peekable();
        let mut quoted = false;
        while let Some(letter) = rest.next() {
            let in_name = parts.len() == 2;
            let last = parts.last_mut()?;
            match letter {
                '"' if quoted && rest.peek() == Some(&'"') => {
                    rest.next();
                    last.push('"');
                }
                '"' => quoted = !quoted,
                _ if quoted => last.push(letter),
                '\\' if rest.next_if_eq(&'.').is_some() => parts.push(String::new()),
                '.' if rest.peek() == Some(&'*') && !last.is_empty() && in_name => {}
                '.' => parts.push(String::new()),
                '*' | '_' | '$' | '-' => last.push(letter),
                letter if letter.is_alphanumeric() => last.push(letter),
                _ => return None,
            }
        }
        match <[String; 2]>::try_from(parts) {
            Ok([schema, name]) if !quoted && !schema.is_empty() && !name.is_empty() => Some(Self { schema, name }),
            _ => None,
        }
    }

    /// Whether it may be more than one table.
    pub(crate) fn is_pattern(&self) -> bool {
        self.schema.contains('*') || self.name.contains('*')
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(schema: &str, name: &str) -> Named {
        Named { schema: schema.into(), name: name.into() }
    }

    #[test]
    fn what_debezium_understands_is_understood() {
        let data = r#"{"type":"INCREMENTAL","data-collections":["public.orders","sales\\.lines"],
            "additional-conditions":[{"data-collection":"public.orders","filter":"total > 5"}]}"#;
        let wanted = |tables, condition: Option<&str>| Wanted { tables, condition: condition.map(str::to_owned) };
        let both = vec![wanted(named("public", "orders"), Some("total > 5")), wanted(named("sales", "lines"), None)];
        assert_eq!(Order::read("execute-snapshot", Some(data)), Ok(Order::Start(both)));
        assert_eq!(Order::read("stop-snapshot", None), Ok(Order::Stop(Vec::new())));
        let one = r#"{"type":"incremental","data-collections":["public.orders"]}"#;
        assert_eq!(Order::read("stop-snapshot", Some(one)), Ok(Order::Stop(vec![named("public", "orders")])));
        assert_eq!(Order::read("pause-snapshot", Some("{}")), Ok(Order::Pause));
        assert_eq!(Order::read("resume-snapshot", None), Ok(Order::Resume));
        assert_eq!(Order::read("log", Some(r#"{"message":"hello {}"}"#)), Ok(Order::Log("hello {}".into())));
    }

    #[test]
    fn names_may_be_quoted_and_hold_the_one_wildcard() {
        for (text, schema, name) in [
            ("public.orders", "public", "orders"),
            (r#""Sales"."Order.Lines""#, "Sales", "Order.Lines"),
            (r#""a""b".c"#, "a\"b", "c"),
            (r"public\.orders", "public", "orders"),
            ("public.ord.*", "public", "ord*"),
            (r"public\.*", "public", "*"),
            ("public.*", "public", "*"),
        ] {
            assert_eq!(Named::read(text), Some(named(schema, name)), "{text}");
        }
        for text in ["orders", "a.b.c", "public.(a|b)", "public.", ".orders", "\"public.orders", "public.o+", ""] {
            assert_eq!(Named::read(text), None, "{text}");
        }
    }

    #[test]
    fn what_is_no_signal_is_told_without_its_data() {
        for (kind, data, says) in [
            ("start", None, "none of execute-snapshot"),
            ("execute-snapshot", None, "not in the form"),
            ("execute-snapshot", Some("{}"), "not in the form"),
            ("execute-snapshot", Some("secret"), "line 1, column 1"),
            ("execute-snapshot", Some(r#"{"data-collections":["a.b"],"type":"blocking"}"#), "another type"),
            ("execute-snapshot", Some(r#"{"data-collections":["a.b","secret"]}"#), "number 2"),
            (
                "execute-snapshot",
                Some(
                    r#"{"data-collections":["a.b"],"additional-conditions":[{"data-collection":"a.b","filter":"true) secret"}]}"#,
                ),
                "number 1, closes",
            ),
            ("log", Some("{}"), "message"),
        ] {
            let error = Order::read(kind, data).expect_err(says).to_string();
            assert!(error.contains(says) && !error.contains("secret"), "{error}");
        }
    }
}
