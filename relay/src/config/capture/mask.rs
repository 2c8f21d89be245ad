//! `[capture.masks]`: columns whose values leave the database cut, covered or hashed.

use std::{
    io,
    path::{Path, PathBuf},
};

use crate::config::{
    capture::pattern::ColumnPattern,
    error::Origin,
    key::{Fallback, Key, Kind},
    secret::Secret,
    settings::Settings,
};

/// Longest text that is left or put in the place of one, in characters: Postgres' own limit of `varchar`.
const CHARACTERS_MAX: u32 = 10_485_760;

/// It stands in `[capture]` itself.
pub(super) const KEY: Key = Key {
    path: "capture.masks",
    kind: Kind::Properties,
    fallback: Fallback::Absent("every column is published as it is"),
    meaning: "Columns whose values are not published as they are, as a table of \"schema.table.column\" = \"truncate:N\" (the first N characters), \"mask:N\" (N asterisks) or \"hash:SHA-256:FILE\" (the hash of the salt in FILE and the value; SHA-224, SHA-384 and SHA-512 too), in which `*` stands for any characters of a name. Where several match a column, the one with the fewest `*` holds. In the variable: column=mask, separated by `;` or line breaks.",
};

/// What the columns are and what becomes of their values.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mask {
    /// The columns.
    pub columns: ColumnPattern,
    /// What becomes of their values.
    pub with: MaskWith,
}

/// What becomes of a value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MaskWith {
    /// Its first characters are left.
    Truncate(u32),
    /// As many asterisks stand in its place.
    Asterisks(u32),
    /// A hash of the salt and the value stands in its place, in hexadecimal digits.
    Hash {
        /// The algorithm.
        algorithm: HashAlgorithm,
        /// What is hashed before the value.
        salt: Secret,
    },
}

/// How a value is hashed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HashAlgorithm {
    /// SHA-224.
    Sha224,
    /// SHA-256.
    Sha256,
    /// SHA-384.
    Sha384,
    /// SHA-512.
    Sha512,
}

/// The masks in the order in which they are tried: that with the fewest `*` first.
pub(super) fn from_settings(
    settings: &mut Settings,
    read: &impl Fn(&Path) -> io::Result<String>,
) -> Vec<(Mask, Origin)> {
    let mut masks = Vec::new();
    for (name, (text, origin)) in settings.properties(&KEY) {
        let columns = ColumnPattern::parse(&name)
            .ok_or("must be schema.table.column, in single quotes as a whole where a part of it needs double quotes");
        let with = parse(&text, read);
        match columns.map_err(str::to_owned).and_then(|columns| Ok(Mask { columns, with: with? })) {
            Ok(mask) => masks.push((mask, origin)),
            Err(message) => settings.refuse_at(origin, format!("`{}.{name}` {message}", KEY.path)),
        }
    }
    masks.sort_by_cached_key(|(mask, _)| mask.columns.to_string().matches('*').count());
    masks
}

fn parse(text: &str, read: &impl Fn(&Path) -> io::Result<String>) -> Result<MaskWith, String> {
    const ALLOWED: &str = "must be \"truncate:N\", \"mask:N\" or \"hash:ALGORITHM:FILE\"";
    let (kind, rest) = text.split_once(':').ok_or(ALLOWED)?;
    match kind {
        "truncate" | "mask" => {
            let characters = rest.parse().ok().filter(|characters| *characters <= CHARACTERS_MAX);
            let characters =
                characters.ok_or(format!("must have a whole number of at most {CHARACTERS_MAX} after `{kind}:`"))?;
            Ok(if kind == "mask" { MaskWith::Asterisks(characters) } else { MaskWith::Truncate(characters) })
        }
        "hash" => {
            let (algorithm, file) = rest.split_once(':').ok_or(ALLOWED)?;
            let algorithm = match algorithm.to_ascii_uppercase().as_str() {
                "SHA-224" => HashAlgorithm::Sha224,
                "SHA-256" => HashAlgorithm::Sha256,
                "SHA-384" => HashAlgorithm::Sha384,
                "SHA-512" => HashAlgorithm::Sha512,
                _ => return Err("must have SHA-224, SHA-256, SHA-384 or SHA-512 after `hash:`".to_owned()),
            };
            Ok(MaskWith::Hash { algorithm, salt: salt(Path::new(file), read)? })
        }
        _ => Err(ALLOWED.to_owned()),
    }
}

/// What the file holds, less a line break at its end.
fn salt(file: &Path, read: &impl Fn(&Path) -> io::Result<String>) -> Result<Secret, String> {
    let shown = PathBuf::from(file);
    let shown = shown.display();
    let text = read(file).map_err(|error| format!("names {shown}, which cannot be read: {error}"))?;
    let text = text.strip_suffix('\n').map_or(text.as_str(), |line| line.strip_suffix('\r').unwrap_or(line));
    match text.is_empty() {
        true => Err(format!("names {shown}, which is empty: a hash without salt can be looked up in a table")),
        false => Ok(Secret::new(text)),
    }
}
