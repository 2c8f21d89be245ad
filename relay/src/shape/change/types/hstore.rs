//! `hstore`: <https://www.postgresql.org/docs/current/hstore.html>.
//!
//! Its pairs come in the order in which Java's `HashMap` hands them out, because that is what Debezium fills.

use std::borrow::Cow;

use crate::shape::change::hash_map;
use crate::shape::change::types::misfit::Misfit;
use crate::shape::change::types::options::Hstore;
use crate::shape::json;

/// A key and its value.
type Pair<'t> = (Cow<'t, str>, Option<Cow<'t, str>>);

/// Appends what `hstore_out` printed.
pub(super) fn write(text: &[u8], form: Hstore, out: &mut Vec<u8>) -> Result<(), Misfit> {
    let text = str::from_utf8(text).map_err(|_| Misfit::NotOfType)?;
    let mut pairs = read(text).ok_or(Misfit::NotOfType)?;
    let count = pairs.len();
    hash_map::order(&mut pairs, count, |(key, _)| key);
    let mut object = Vec::new();
    match form {
        Hstore::Map => print(&pairs, json::quote, out),
        Hstore::Json => {
            print(&pairs, quote, &mut object);
            json::quote(str::from_utf8(&object).map_err(|_| Misfit::NotOfType)?, out);
        }
    }
    Ok(())
}

/// `"a"=>"1", "b"=>NULL`
fn read(text: &str) -> Option<Vec<Pair<'_>>> {
    let mut pairs = Vec::new();
    let mut rest = text;
    while !rest.is_empty() {
        if !pairs.is_empty() {
            rest = rest.strip_prefix(", ")?;
        }
        let (key, after) = quoted(rest)?;
        let after = after.strip_prefix("=>")?;
        let (value, after) = match after.strip_prefix("NULL") {
            Some(after) => (None, after),
            None => quoted(after).map(|(value, after)| (Some(value), after))?,
        };
        pairs.push((key, value));
        rest = after;
    }
    Some(pairs)
}

/// The text in quotes that another begins with, and what follows.
fn quoted(text: &str) -> Option<(Cow<'_, str>, &str)> {
    let text = text.strip_prefix('"')?;
    let mut plain = Cow::Borrowed("");
    let mut rest = text;
    loop {
        let at = rest.find(['"', '\\'])?;
        let (before, from) = rest.split_at(at);
        plain = if plain.is_empty() { Cow::Borrowed(before) } else { plain + before };
        if let Some(after) = from.strip_prefix('"') {
            return Some((plain, after));
        }
        let mut letters = from[1..].chars();
        plain.to_mut().push(letters.next()?);
        rest = letters.as_str();
    }
}

/// Appends the pairs as an object.
fn print(pairs: &[Pair<'_>], quote: fn(&str, &mut Vec<u8>), out: &mut Vec<u8>) {
    out.push(b'{');
    for (at, (key, value)) in pairs.iter().enumerate() {
        if at > 0 {
            out.push(b',');
        }
        quote(key, out);
        out.push(b':');
        match value {
            Some(value) => quote(value, out),
            None => out.extend_from_slice(b"null"),
        }
    }
    out.push(b'}');
}

/// As [`json::quote`], but letters beyond the 16-bit plane stand for themselves: this goes into another string, which escapes
/// them.
fn quote(text: &str, out: &mut Vec<u8>) {
    out.push(b'"');
    for part in text.split_inclusive(|letter| letter > '\u{ffff}') {
        let narrow = part.trim_end_matches(|letter| letter > '\u{ffff}');
        json::escape(narrow, out);
        out.extend_from_slice(&part.as_bytes()[narrow.len()..]);
    }
    out.push(b'"');
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(text: &str, form: Hstore) -> Result<String, Misfit> {
        let mut out = Vec::new();
        write(text.as_bytes(), form, &mut out)?;
        Ok(String::from_utf8(out).expect("text"))
    }

    #[test]
    fn a_larger_map_has_more_places() {
        let pairs: Vec<String> = (0..26).map(|at| format!("\"k{at}\"=>\"{at}\"")).collect();
        let written = written(&pairs.join(", "), Hstore::Map).expect("a map");
        let keys = written.split('"').filter(|part| part.starts_with('k')).collect::<Vec<_>>().join(" ");
        // As Java's own map hands them out.
        assert_eq!(
            keys,
            "k11 k10 k13 k12 k15 k14 k17 k16 k19 k18 k0 k1 k2 k3 k20 k4 k5 k22 k6 k21 k7 k24 k8 k23 k9 k25"
        );
    }

    #[test]
    fn what_the_server_does_not_print_is_not_read() {
        for wrong in
            ["a", "\"a\"", "\"a\"=>", "\"a\"=>1", "\"a\"=>\"1\",\"b\"=>\"2\"", "\"a\"=>\"1\" ", "\"a\"=>\"\\", "\"a\\"]
        {
            assert_eq!(written(wrong, Hstore::Json), Err(Misfit::NotOfType), "{wrong}");
        }
    }
}
