//! JSON as it was written: members in their order, numbers as their text, so that a comparison sees what a parser would forgive.

use std::fmt;

/// A JSON value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Json {
    Null,
    Bool(bool),
    /// The text between the commas.
    Number(String),
    /// What the text means, its escapes undone: how a letter is escaped is no matter of what is said.
    Text(String),
    List(Vec<Json>),
    Object(Vec<(String, Json)>),
}

/// How deep values may lie in each other; deeper than any envelope with its schema.
const DEPTH_MAX: usize = 128;

impl Json {
    /// Parses one value and nothing after it.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let mut reader = Reader { text, at: 0 };
        let value = reader.value(0)?;
        reader.blanks();
        (reader.at == text.len()).then_some(value)
    }

    /// The member of an object.
    pub(super) fn get(&self, name: &str) -> Option<&Self> {
        match self {
            Self::Object(members) => members.iter().find(|(found, _)| found == name).map(|(_, value)| value),
            _ => None,
        }
    }

    /// The member of a member, and so on.
    pub(super) fn at(&self, path: &[&str]) -> Option<&Self> {
        path.iter().try_fold(self, |value, name| value.get(name))
    }

    /// The text of a text.
    pub(super) fn text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            _ => None,
        }
    }

    /// The text of a number.
    pub(super) fn number(&self) -> Option<&str> {
        match self {
            Self::Number(text) => Some(text),
            _ => None,
        }
    }
}

impl fmt::Display for Json {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Null => f.write_str("null"),
            Self::Bool(value) => write!(f, "{value}"),
            Self::Number(text) => f.write_str(text),
            Self::Text(text) => write!(f, "{}", serde_json::Value::from(text.as_str())),
            Self::List(values) => {
                f.write_str("[")?;
                for (index, value) in values.iter().enumerate() {
                    write!(f, "{}{value}", if index == 0 { "" } else { "," })?;
                }
                f.write_str("]")
            }
            Self::Object(members) => {
                f.write_str("{")?;
                for (index, (name, value)) in members.iter().enumerate() {
                    let comma = if index == 0 { "" } else { "," };
                    write!(f, "{comma}{}:{value}", serde_json::Value::from(name.as_str()))?;
                }
                f.write_str("}")
            }
        }
    }
}

struct Reader<'t> {
    text: &'t str,
    at: usize,
}

impl Reader<'_> {
    fn value(&mut self, depth: usize) -> Option<Json> {
        self.blanks();
        let value = match self.peek()? {
            _ if depth > DEPTH_MAX => return None,
            b'{' => self.object(depth)?,
            b'[' => self.list(depth)?,
            b'"' => Json::Text(self.string()?),
            b't' => self.word("true", Json::Bool(true))?,
            b'f' => self.word("false", Json::Bool(false))?,
            b'n' => self.word("null", Json::Null)?,
            _ => self.number()?,
        };
        Some(value)
    }

    fn object(&mut self, depth: usize) -> Option<Json> {
        let mut members = Vec::new();
        self.at += 1;
        self.blanks();
        if self.taken(b'}') {
            return Some(Json::Object(members));
        }
        loop {
            self.blanks();
            let name = self.string()?;
            self.blanks();
            self.taken(b':').then_some(())?;
            members.push((name, self.value(depth + 1)?));
            self.blanks();
            if self.taken(b'}') {
                return Some(Json::Object(members));
            }
            self.taken(b',').then_some(())?;
        }
    }

    fn list(&mut self, depth: usize) -> Option<Json> {
        let mut values = Vec::new();
        self.at += 1;
        self.blanks();
        if self.taken(b']') {
            return Some(Json::List(values));
        }
        loop {
            values.push(self.value(depth + 1)?);
            self.blanks();
            if self.taken(b']') {
                return Some(Json::List(values));
            }
            self.taken(b',').then_some(())?;
        }
    }

    /// A text; one without escapes, as nearly all are, is copied at once.
    fn string(&mut self) -> Option<String> {
        let begin = self.at;
        self.taken(b'"').then_some(())?;
        let mut escaped = false;
        loop {
            match self.peek()? {
                b'"' => break,
                b'\\' => {
                    escaped = true;
                    self.at += 2;
                }
                _ => self.at += 1,
            }
        }
        self.at += 1;
        let written = self.text.get(begin..self.at)?;
        if escaped { serde_json::from_str(written).ok() } else { Some(written[1..written.len() - 1].to_owned()) }
    }

    fn number(&mut self) -> Option<Json> {
        let begin = self.at;
        while self.peek().is_some_and(|byte| matches!(byte, b'0'..=b'9' | b'-' | b'+' | b'.' | b'e' | b'E')) {
            self.at += 1;
        }
        (self.at > begin).then(|| Json::Number(self.text[begin..self.at].to_owned()))
    }

    fn word(&mut self, word: &str, means: Json) -> Option<Json> {
        self.text[self.at..].starts_with(word).then(|| {
            self.at += word.len();
            means
        })
    }

    fn blanks(&mut self) {
        while self.peek().is_some_and(|byte| matches!(byte, b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn taken(&mut self, byte: u8) -> bool {
        let found = self.peek() == Some(byte);
        self.at += usize::from(found);
        found
    }
}

#[cfg(test)]
mod tests {
    use crate::compare::json::Json;

    #[test]
    fn members_keep_their_order_and_numbers_their_text() {
        let text = r#"{"b":1.10,"a":[true,null,-0.0,1E+2,{}],"a b":"é\"\u0041"}"#;
        let json = Json::parse(text).unwrap();
        assert_eq!(json.to_string(), r#"{"b":1.10,"a":[true,null,-0.0,1E+2,{}],"a b":"é\"A"}"#);
        assert_eq!(json.get("b").and_then(Json::number), Some("1.10"));
        assert_eq!(json.get("a b").and_then(Json::text), Some("é\"A"));
    }

    #[test]
    fn blanks_between_are_nothing_and_what_is_no_json_is_refused() {
        assert_eq!(Json::parse(" { \"a\" : [ ] } "), Json::parse("{\"a\":[]}"));
        for wrong in ["", "{", "[1,]", "{\"a\"}", "\"", "\"\\", "1 2", "nul", "{a:1}"] {
            assert_eq!(Json::parse(wrong), None, "{wrong}");
        }
    }
}
