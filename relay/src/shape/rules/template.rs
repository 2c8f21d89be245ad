//! Texts with placeholders: what a rule makes of a record's fields.

use crate::shape::rules::field::{Facts, Field, Found, text};

/// The longest text that is made of a record, in bytes: no key of a cache is longer, and a field may be a megabyte.
pub const TEXT_BYTES_MAX: usize = 4096;

/// What a text is for, which decides what it may hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Use {
    /// A name in Redis, taken as it is.
    Name,
    /// A pattern: `*` in the template matches anything, and what comes from fields matches only itself.
    Pattern,
    /// A member of a set, or a parameter of a query.
    Value,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Piece {
    Text(Box<str>),
    Field(Field),
    /// One of the members over which the rule fans out.
    Member,
}

/// A text with placeholders.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Template {
    pieces: Vec<Piece>,
    purpose: Use,
}

/// A text made of a record that still has holes for a member.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Holed {
    /// The texts around the holes: one more than there are holes.
    parts: Vec<String>,
    purpose: Use,
}

impl Holed {
    /// The text for one member.
    ///
    /// # Errors
    /// If the member is empty, or the text would be too long.
    pub fn with(&self, member: &str) -> Result<String, String> {
        let [first, rest @ ..] = &self.parts[..] else { return Ok(String::new()) };
        let mut made = first.clone();
        for part in rest {
            append(&mut made, member, self.purpose).map_err(|why| format!("a member of the fan-out {why}"))?;
            made.push_str(part);
        }
        Ok(made)
    }

    /// Whether there is a hole at all.
    #[must_use]
    pub fn has_hole(&self) -> bool {
        self.parts.len() > 1
    }
}

impl Template {
    /// Reads a template: `{field}` for a field, `{member}` for a member if the rule fans out, `{{` and `}}` for braces.
    ///
    /// # Errors
    /// What is wrong with it, and what would be right.
    pub fn parse(written: &str, purpose: Use, fans_out: bool) -> Result<Self, String> {
        let pieces = pieces(written, fans_out)?;
        let begins_with_text = matches!(pieces.first(), Some(Piece::Text(text)) if !text.starts_with('*'));
        if pieces.is_empty() {
            return Err("is empty".to_owned());
        }
        if purpose != Use::Value && !begins_with_text {
            return Err("must begin with text of its own, such as `feed:`, or a record could name any key".to_owned());
        }
        let starred = pieces.iter().any(|piece| matches!(piece, Piece::Text(text) if text.contains('*')));
        match purpose {
            Use::Name if starred => Err("holds a `*`, which only `strategy = \"pattern\"` takes".to_owned()),
            Use::Pattern if !starred => {
                Err("holds no `*`: use `strategy = \"keys\"`, which needs no search".to_owned())
            }
            _ => Ok(Self { pieces, purpose }),
        }
    }

    /// Whether every text that it makes holds a hash tag, so that keys with the same one share a slot of a cluster.
    #[must_use]
    pub fn has_hash_tag(&self) -> bool {
        let mut shape = String::new();
        for piece in &self.pieces {
            match piece {
                Piece::Text(text) => shape.push_str(text),
                Piece::Field(_) | Piece::Member => shape.push('x'),
            }
        }
        let Some((_, rest)) = shape.split_once('{') else { return false };
        rest.find('}').is_some_and(|end| end > 0)
    }

    /// Its text for a record; `None` if the record lacks the image that a field is of.
    ///
    /// # Errors
    /// The field that is missing, null, empty or no scalar, without its value.
    pub fn render(&self, facts: &Facts<'_>) -> Result<Option<Holed>, String> {
        let mut parts = vec![String::new()];
        for piece in &self.pieces {
            let at = parts.len() - 1;
            match piece {
                Piece::Text(text) => parts[at].push_str(text),
                Piece::Member => parts.push(String::new()),
                Piece::Field(field) => match value(field, facts)? {
                    None => return Ok(None),
                    Some(text) => append(&mut parts[at], &text, self.purpose)
                        .map_err(|why| format!("the field `{}` {why}", field.name()))?,
                },
            }
        }
        Ok(Some(Holed { parts, purpose: self.purpose }))
    }

    /// Its text for a record, in a rule that does not fan out.
    ///
    /// # Errors
    /// As [`Template::render`].
    pub fn text(&self, facts: &Facts<'_>) -> Result<Option<String>, String> {
        Ok(self.render(facts)?.map(|mut holed| holed.parts.swap_remove(0)))
    }
}

/// A field's text; `None` if the record lacks the image.
fn value<'a>(field: &Field, facts: &Facts<'a>) -> Result<Option<std::borrow::Cow<'a, str>>, String> {
    let name = field.name();
    match field.find(facts) {
        Found::NoImage => Ok(None),
        Found::Missing => Err(field.missing(facts)),
        Found::Null => Err(format!(
            "the field `{name}` is null; let the rule apply only `when` it `is not null`, or let the table send whole \
             rows (REPLICA IDENTITY FULL)"
        )),
        Found::Unavailable => Err(format!(
            "the field `{name}` was not sent, for it is stored aside and was not changed; let the table send whole \
             rows (REPLICA IDENTITY FULL)"
        )),
        Found::Value(value) => {
            text(value).map(Some).ok_or_else(|| format!("the field `{name}` is an object or an array"))
        }
    }
}

/// Appends a text that comes from data.
fn append(made: &mut String, text: &str, purpose: Use) -> Result<(), String> {
    if text.is_empty() {
        return Err("is empty".to_owned());
    }
    match purpose {
        Use::Pattern => escape(made, text),
        Use::Name | Use::Value => made.push_str(text),
    }
    if made.len() > TEXT_BYTES_MAX {
        return Err(format!("makes a name of more than {TEXT_BYTES_MAX} bytes"));
    }
    Ok(())
}

/// Appends `text` so that as a glob-style pattern it matches only itself.
///
/// <https://redis.io/docs/latest/commands/keys/>
pub fn escape(made: &mut String, text: &str) {
    for letter in text.chars() {
        if matches!(letter, '*' | '?' | '[' | ']' | '\\') {
            made.push('\\');
        }
        made.push(letter);
    }
}

fn pieces(written: &str, fans_out: bool) -> Result<Vec<Piece>, String> {
    let (mut pieces, mut text, mut rest) = (Vec::new(), String::new(), written);
    while let Some(at) = rest.find(['{', '}']) {
        let (before, from) = rest.split_at(at);
        text.push_str(before);
        if from.starts_with("{{") || from.starts_with("}}") {
            text.push_str(&from[..1]);
            rest = &from[2..];
            continue;
        }
        let (piece, after) = placeholder(from, fans_out)?;
        if !text.is_empty() {
            pieces.push(Piece::Text(std::mem::take(&mut text).into()));
        }
        pieces.push(piece);
        rest = after;
    }
    text.push_str(rest);
    if !text.is_empty() {
        pieces.push(Piece::Text(text.into()));
    }
    Ok(pieces)
}

/// Reads the placeholder at the start of `from`; what follows it.
fn placeholder(from: &str, fans_out: bool) -> Result<(Piece, &str), String> {
    let Some((name, after)) = from.strip_prefix('{').and_then(|inner| inner.split_once('}')) else {
        return Err("holds a brace that belongs to no placeholder; a brace itself is written twice".to_owned());
    };
    if fans_out && name == "member" {
        return Ok((Piece::Member, after));
    }
    let field = Field::parse(name).ok_or_else(|| {
        format!("holds the placeholder `{{{name}}}`: write `{{field}}`, `{{after.field}}` or `{{before.field}}`")
    })?;
    Ok((Piece::Field(field), after))
}
