//! Names of pages, read backwards: from a key of the cache to the fields that it was made of.

/// A pattern of keys, such as `feed:v1:{user_id}:*`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PageName {
    pieces: Vec<Piece>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Piece {
    Text(String),
    Field(String),
    Anything,
}

/// The fields of one key, by name.
pub type Fields = Vec<(String, String)>;

impl PageName {
    /// Reads `{field}`, `*` for anything, and `{{` and `}}` for braces.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(written: &str) -> Result<Self, String> {
        let (mut pieces, mut text, mut letters) = (Vec::new(), String::new(), written.chars().peekable());
        while let Some(letter) = letters.next() {
            let piece = match letter {
                '{' | '}' if letters.next_if_eq(&letter).is_some() => {
                    text.push(letter);
                    continue;
                }
                '{' => {
                    let name: String = letters.by_ref().take_while(|letter| *letter != '}').collect();
                    if name.is_empty() || !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_') {
                        return Err("holds a brace that begins no field; a brace itself is written twice".to_owned());
                    }
                    Piece::Field(name)
                }
                '}' => return Err("holds a brace that ends no field; a brace itself is written twice".to_owned()),
                '*' => Piece::Anything,
                _ => {
                    text.push(letter);
                    continue;
                }
            };
            if text.is_empty() && pieces.is_empty() {
                return Err("must begin with text of its own".to_owned());
            }
            if text.is_empty() {
                return Err("has nothing between two fields by which they could be told apart".to_owned());
            }
            pieces.push(Piece::Text(std::mem::take(&mut text)));
            pieces.push(piece);
        }
        if !text.is_empty() {
            pieces.push(Piece::Text(text));
        }
        if pieces.is_empty() { Err("is empty".to_owned()) } else { Ok(Self { pieces }) }
    }

    /// What every key begins with.
    #[must_use]
    pub fn prefix(&self) -> &str {
        if let Some(Piece::Text(text)) = self.pieces.first() { text } else { "" }
    }

    /// The fields that `key` was made of; `None` if it is another's.
    #[must_use]
    pub fn read(&self, key: &str) -> Option<Fields> {
        let (mut fields, mut rest) = (Fields::new(), key);
        let mut pieces = self.pieces.iter().peekable();
        while let Some(piece) = pieces.next() {
            if let Piece::Text(text) = piece {
                rest = rest.strip_prefix(text.as_str())?;
                continue;
            }
            // Up to the text that follows; the last one takes all that is left.
            let end = match pieces.peek() {
                Some(Piece::Text(next)) => rest.find(next.as_str())?,
                _ => rest.len(),
            };
            if let Piece::Field(name) = piece {
                if end == 0 {
                    return None;
                }
                fields.push((name.clone(), rest[..end].to_owned()));
            }
            rest = &rest[end..];
        }
        rest.is_empty().then_some(fields)
    }

    /// The text that these fields make of it; `None` if one is missing, or it holds a `*`.
    #[must_use]
    pub fn write(&self, fields: &Fields) -> Option<String> {
        let mut made = String::new();
        for piece in &self.pieces {
            match piece {
                Piece::Text(text) => made.push_str(text),
                Piece::Field(name) => made.push_str(value(fields, name)?),
                Piece::Anything => return None,
            }
        }
        Some(made)
    }

    /// The names of its fields.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.pieces.iter().filter_map(|piece| if let Piece::Field(name) = piece { Some(name.as_str()) } else { None })
    }
}

/// The value of a field.
#[must_use]
pub fn value<'a>(fields: &'a Fields, name: &str) -> Option<&'a str> {
    fields.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(pattern: &str, key: &str) -> Option<Vec<String>> {
        let name = PageName::parse(pattern).expect("a pattern");
        name.read(key).map(|fields| fields.into_iter().map(|(name, value)| format!("{name}={value}")).collect())
    }

    #[test]
    fn a_key_is_read_into_the_fields_that_it_was_made_of() {
        let some = |texts: &[&str]| Some(texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>());
        assert_eq!(fields("feed:v1:{user_id}:*", "feed:v1:42:0:20"), some(&["user_id=42"]));
        assert_eq!(fields("feed:v1:{{{user_id}}}:*", "feed:v1:{42}:0:20"), some(&["user_id=42"]));
        assert_eq!(fields("a:{x}:{y}", "a:1:2:3"), some(&["x=1", "y=2:3"]));
        assert_eq!(fields("profile:{id}", "profile:7"), some(&["id=7"]));
        for (pattern, key) in [("feed:{u}:*", "seen:1:2"), ("feed:{u}:*", "feed::2"), ("feed:{u}:x", "feed:1:xy")] {
            assert_eq!(fields(pattern, key), None, "{pattern} {key}");
        }
    }

    #[test]
    fn fields_make_a_text_again() {
        let page = PageName::parse("feed:v1:{user_id}:*").expect("a pattern");
        let fields = page.read("feed:v1:42:0:20").expect("one of its keys");
        let tag = PageName::parse("feed:{{{user_id}}}").expect("a text");
        assert_eq!(tag.write(&fields), Some("feed:{42}".to_owned()));
        assert_eq!(page.write(&fields), None);
        assert_eq!(PageName::parse("feed:{other}").expect("a text").write(&fields), None);
    }

    #[test]
    fn what_cannot_be_read_backwards_is_refused() {
        for (written, why) in [
            ("", "is empty"),
            ("{user}:feed", "begin with text"),
            ("*", "begin with text"),
            ("feed:{a}{b}", "between two fields"),
            ("feed:{a", "is one"),
            ("feed:{a b}", "begins no field"),
            ("feed:a}", "ends no field"),
        ] {
            match PageName::parse(written) {
                Err(error) => assert!(error.contains(why), "{written}: {error}"),
                Ok(_) => assert_eq!(why, "is one", "{written}"),
            }
        }
    }
}
