//! What becomes of the values of a masked column.

use sha2::{Digest, Sha224, Sha256, Sha384, Sha512};

use crate::shape::change::options::{CaptureError, MaskForm};
use crate::shape::change::table::{Column, DataType, TypeKind};
use crate::shape::json;

/// The names of the hashes that there are.
const HASHES: &str = "SHA-224, SHA-256, SHA-384 or SHA-512";
/// What `atttypmod` of a `varchar(n)` or a `char(n)` is beyond n.
const LENGTH_OFFSET: i32 = 4;

/// A mask.
#[derive(Debug, Clone)]
pub(super) enum Mask {
    /// The text is cut after this many of Java's characters.
    Truncate(usize),
    /// This text stands for every value, null included.
    Asterisks(String),
    /// A hash that has read the salt, and how many of its digits the column has room for.
    Hash(Box<Salted>, usize),
}

/// A hash that has read the salt.
#[derive(Clone)]
pub(super) enum Salted {
    Sha224(Sha224),
    Sha256(Sha256),
    Sha384(Sha384),
    Sha512(Sha512),
}

impl std::fmt::Debug for Salted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Salted")
    }
}

impl Mask {
    pub(super) fn new(form: &MaskForm) -> Result<Self, CaptureError> {
        Ok(match form {
            MaskForm::Truncate(letters) => Self::Truncate(*letters),
            MaskForm::Asterisks(count) => Self::Asterisks("*".repeat(*count)),
            MaskForm::Hash { algorithm, salt } => {
                let salted = match algorithm.to_ascii_uppercase().as_str() {
                    "SHA-224" => Salted::Sha224(Sha224::new_with_prefix(salt)),
                    "SHA-256" => Salted::Sha256(Sha256::new_with_prefix(salt)),
                    "SHA-384" => Salted::Sha384(Sha384::new_with_prefix(salt)),
                    "SHA-512" => Salted::Sha512(Sha512::new_with_prefix(salt)),
                    _ => return Err(CaptureError::Hash { found: algorithm.clone(), known: HASHES }),
                };
                Self::Hash(Box::new(salted), usize::MAX)
            }
        })
    }

    /// It, for a column: a hash is no longer than the column's type allows.
    pub(super) fn of(&self, column: &Column) -> Self {
        match self {
            Self::Hash(salted, _) => Self::Hash(salted.clone(), length(&column.of, column.modifier)),
            other => other.clone(),
        }
    }

    /// Appends what becomes of a value, as JSON.
    pub(super) fn write(&self, text: &[u8], out: &mut Vec<u8>) {
        match self {
            Self::Truncate(letters) => json::quote(cut(&String::from_utf8_lossy(text), *letters), out),
            Self::Asterisks(asterisks) => json::quote(asterisks, out),
            Self::Hash(salted, length) => {
                out.push(b'"');
                match &**salted {
                    Salted::Sha224(hash) => hex(&hash.clone().chain_update(text).finalize(), *length, out),
                    Salted::Sha256(hash) => hex(&hash.clone().chain_update(text).finalize(), *length, out),
                    Salted::Sha384(hash) => hex(&hash.clone().chain_update(text).finalize(), *length, out),
                    Salted::Sha512(hash) => hex(&hash.clone().chain_update(text).finalize(), *length, out),
                }
                out.push(b'"');
            }
        }
    }

    /// The schema of a masked column, which says that it is masked.
    pub(super) fn schema(&self, schema: &str) -> String {
        let parameter = match self {
            Self::Truncate(letters) => format!(r#""truncateLength":"{letters}""#),
            Self::Asterisks(_) | Self::Hash(..) => r#""masked":"true""#.to_owned(),
        };
        // The parameters stand before the default and the field's name; within a string no quote stands alone.
        let ends = [r#","default":"#, r#","field":"#].into_iter().filter_map(|end| schema.find(end));
        let (before, after) = schema.split_at(ends.min().unwrap_or(schema.len().saturating_sub(1)));
        match before.strip_suffix('}') {
            Some(others) => format!("{others},{parameter}}}{after}"),
            None => format!(r#"{before},"parameters":{{{parameter}}}{after}"#),
        }
    }

    /// What becomes of a value that is not read from a row, given as JSON: a null, or what stands for a value that is not known.
    pub(super) fn constant(&self, value: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        match (self, serde_json::from_slice::<String>(value)) {
            (Self::Asterisks(asterisks), _) => json::quote(asterisks, &mut out),
            (_, Ok(text)) => self.write(text.as_bytes(), &mut out),
            (_, Err(_)) => out.extend_from_slice(value),
        }
        out
    }

    /// Whether two values cannot be told apart any more.
    pub(super) fn hides(&self, one: &[u8], other: &[u8]) -> bool {
        match self {
            Self::Asterisks(_) => true,
            Self::Truncate(letters) => {
                cut(&String::from_utf8_lossy(one), *letters) == cut(&String::from_utf8_lossy(other), *letters)
            }
            Self::Hash(..) => one == other,
        }
    }
}

/// Whether values of a type are published as the text that they are, which is what a mask can be put on.
pub(super) fn fits(of: &DataType) -> bool {
    match &of.kind {
        TypeKind::Base => matches!(
            of.name.as_str(),
            "text"
                | "varchar"
                | "bpchar"
                | "name"
                | "citext"
                | "json"
                | "jsonb"
                | "xml"
                | "uuid"
                | "inet"
                | "cidr"
                | "macaddr"
        ),
        TypeKind::Enum { .. } => true,
        TypeKind::Domain { base, .. } => fits(base),
        _ => false,
    }
}

/// The greatest length of a text of the type.
fn length(of: &DataType, modifier: i32) -> usize {
    match &of.kind {
        TypeKind::Domain { base, modifier } => length(base, *modifier),
        TypeKind::Base if matches!(of.name.as_str(), "varchar" | "bpchar") && modifier >= LENGTH_OFFSET => {
            usize::try_from(modifier - LENGTH_OFFSET).unwrap_or(usize::MAX)
        }
        _ => usize::MAX,
    }
}

/// The first `letters` of Java's characters. One that is two of them there is kept whole or not at all.
fn cut(text: &str, letters: usize) -> &str {
    let mut count = 0;
    let past = text.char_indices().find(|(_, letter)| {
        count += letter.len_utf16();
        count > letters
    });
    past.map_or(text, |(at, _)| &text[..at])
}

/// The first `length` digits of a hash.
fn hex(hash: &[u8], length: usize, out: &mut Vec<u8>) {
    let end = out.len().saturating_add(length);
    json::hex(hash, out);
    out.truncate(end);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn masked(mask: &Mask, text: &str) -> String {
        let mut out = Vec::new();
        mask.write(text.as_bytes(), &mut out);
        String::from_utf8(out).expect("text")
    }

    #[test]
    fn a_text_is_cut_between_letters_only() {
        for (letters, expected) in
            [(0, ""), (5, "grüße"), (6, "grüße "), (7, "grüße "), (8, "grüße 🐎"), (99, "grüße 🐎!")]
        {
            assert_eq!(cut("grüße 🐎!", letters), expected, "{letters}");
        }
    }

    #[test]
    fn a_hash_is_of_the_salt_and_the_text() {
        let salted = |algorithm: &str| Mask::new(&MaskForm::Hash { algorithm: algorithm.into(), salt: "Nacl".into() });
        let hash = masked(&salted("sha-256").expect("known"), "x");
        assert_eq!(hash, r#""da227d8f4c40c7cdf66a41ead0e2584be644f4d06cf6484c1e2c650c92f76dc8""#);
        for (algorithm, digits) in [("SHA-224", 56), ("SHA-384", 96), ("SHA-512", 128)] {
            assert_eq!(masked(&salted(algorithm).expect("known"), "x").len(), digits + 2);
        }
        assert_eq!(salted("MD5").expect_err("weak"), CaptureError::Hash { found: "MD5".into(), known: HASHES });
        assert!(!format!("{salted:?}", salted = salted("SHA-256")).contains("Nacl"));
    }

    #[test]
    fn a_schema_says_that_its_column_is_masked() {
        let mask = |form| Mask::new(&form).expect("valid");
        for (form, schema, expected) in [
            (
                MaskForm::Asterisks(1),
                r#"{"type":"string","optional":true,"field":"a"}"#,
                r#"{"type":"string","optional":true,"parameters":{"masked":"true"},"field":"a"}"#,
            ),
            (
                MaskForm::Truncate(7),
                r#"{"type":"string","optional":true,"parameters":{"allowed":"a"},"default":"a","field":"a"}"#,
                r#"{"type":"string","optional":true,"parameters":{"allowed":"a","truncateLength":"7"},"default":"a","field":"a"}"#,
            ),
            (
                MaskForm::Asterisks(1),
                r#"{"type":"string","optional":true}"#,
                r#"{"type":"string","optional":true,"parameters":{"masked":"true"}}"#,
            ),
        ] {
            assert_eq!(mask(form).schema(schema), expected);
        }
    }

    #[test]
    fn asterisks_hide_whether_there_is_a_value() {
        let mask = Mask::new(&MaskForm::Asterisks(3)).expect("valid");
        assert_eq!(masked(&mask, "secret"), r#""***""#);
        assert_eq!(mask.constant(b"null"), br#""***""#);
        let mask = Mask::new(&MaskForm::Truncate(2)).expect("valid");
        assert_eq!(mask.constant(b"null"), b"null");
        assert_eq!(mask.constant(br#""abc""#), br#""ab""#);
    }
}
