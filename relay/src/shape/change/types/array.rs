//! Arrays: <https://www.postgresql.org/docs/current/arrays.html#ARRAYS-IO>.

use std::borrow::Cow;

use crate::shape::change::types::misfit::Misfit;

/// Dimensions of an array at most: Postgres' own limit.
const DIMENSIONS_MAX: usize = 6;

/// Appends what `array_out` printed, as a list; `write` appends an element, which is null where it has no place.
///
/// Of several dimensions a list of lists is made if `nested`, else one list.
pub(super) fn write(
    text: &[u8],
    nested: bool,
    out: &mut Vec<u8>,
    mut write: impl FnMut(&[u8], &mut Vec<u8>) -> Result<(), Misfit>,
) -> Result<(), Misfit> {
    let mut rest = without_bounds(text).ok_or(Misfit::NotOfType)?;
    let (mut depth, mut first) = (0, true);
    // Elements stand in the innermost lists only.
    let mut innermost = None;
    loop {
        // Here a value is due, or a list of the next dimension.
        if let Some(after) = rest.strip_prefix(b"{").filter(|_| depth < innermost.unwrap_or(DIMENSIONS_MAX)) {
            if nested || depth == 0 {
                comma(&mut first, out);
                out.push(b'[');
                first = true;
            }
            depth += 1;
            rest = after;
            if !(depth == 1 && rest == b"}") {
                continue;
            }
        } else {
            let (element, after) = element(rest)
                .filter(|_| depth == *innermost.get_or_insert(depth) && depth > 0)
                .ok_or(Misfit::NotOfType)?;
            comma(&mut first, out);
            let at = out.len();
            match element {
                None => out.extend_from_slice(b"null"),
                Some(element) => match write(&element, out) {
                    Err(Misfit::NoPlace) => {
                        out.truncate(at);
                        out.extend_from_slice(b"null");
                    }
                    written => written?,
                },
            }
            rest = after;
        }
        while let Some(after) = rest.strip_prefix(b"}") {
            if depth == 0 {
                return Err(Misfit::NotOfType);
            }
            depth -= 1;
            if nested || depth == 0 {
                out.push(b']');
                first = false;
            }
            rest = after;
        }
        if depth == 0 {
            return if rest.is_empty() { Ok(()) } else { Err(Misfit::NotOfType) };
        }
        rest = rest.strip_prefix(b",").ok_or(Misfit::NotOfType)?;
    }
}

fn comma(first: &mut bool, out: &mut Vec<u8>) {
    if !std::mem::take(first) {
        out.push(b',');
    }
}

/// Without the bounds of dimensions that do not start at 1: `[0:1]={5,6}`.
fn without_bounds(text: &[u8]) -> Option<&[u8]> {
    if !text.starts_with(b"[") {
        return text.starts_with(b"{").then_some(text);
    }
    let at = text.iter().position(|byte| *byte == b'=')?;
    let are_bounds = |byte: &u8| byte.is_ascii_digit() || matches!(byte, b'[' | b':' | b']' | b'-');
    (text[..at].iter().all(are_bounds) && text[at + 1..].starts_with(b"{")).then_some(&text[at + 1..])
}

/// The element that a text begins with, `None` within if it is null, and what follows.
type Element<'t> = (Option<Cow<'t, [u8]>>, &'t [u8]);

fn element(text: &[u8]) -> Option<Element<'_>> {
    let Some(text) = text.strip_prefix(b"\"") else {
        let end = text.iter().position(|byte| matches!(byte, b',' | b'}' | b'{' | b'"' | b'\\'))?;
        let (plain, rest) = text.split_at(end);
        let ends = matches!(rest.first(), Some(b',' | b'}'));
        return (ends && end > 0).then_some(((plain != b"NULL").then_some(Cow::Borrowed(plain)), rest));
    };
    let mut plain = Cow::Borrowed(&text[..0]);
    let mut rest = text;
    loop {
        let at = rest.iter().position(|byte| matches!(byte, b'"' | b'\\'))?;
        let (before, from) = rest.split_at(at);
        if plain.is_empty() {
            plain = Cow::Borrowed(before);
        } else {
            plain.to_mut().extend_from_slice(before);
        }
        if from[0] == b'"' {
            return Some((Some(plain), &from[1..]));
        }
        plain.to_mut().push(*from.get(1)?);
        rest = &from[2..];
    }
}

/// Appends what `int2vectorout` or `oidvectorout` printed, as a list.
pub(super) fn write_vector(
    text: &[u8],
    out: &mut Vec<u8>,
    mut write: impl FnMut(&[u8], &mut Vec<u8>) -> Result<(), Misfit>,
) -> Result<(), Misfit> {
    out.push(b'[');
    if !text.is_empty() {
        for (at, number) in text.split(|byte| *byte == b' ').enumerate() {
            if at > 0 {
                out.push(b',');
            }
            write(number, out)?;
        }
    }
    out.push(b']');
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(text: &str, nested: bool) -> Result<String, Misfit> {
        let mut out = Vec::new();
        write(text.as_bytes(), nested, &mut out, |element, out| {
            crate::shape::json::quote(str::from_utf8(element).map_err(|_| Misfit::NotOfType)?, out);
            Ok(())
        })?;
        Ok(String::from_utf8(out).expect("text"))
    }

    #[test]
    fn elements_are_read_whatever_their_quotes() {
        for (text, flat, nested) in [
            ("{}", "[]", "[]"),
            (r#"{a,"b c","",NULL,"NULL"}"#, r#"["a","b c","",null,"NULL"]"#, r#"["a","b c","",null,"NULL"]"#),
            (r#"{"a\"b","\\","{}"}"#, r#"["a\"b","\\","{}"]"#, r#"["a\"b","\\","{}"]"#),
            ("{{1,2},{3,4}}", r#"["1","2","3","4"]"#, r#"[["1","2"],["3","4"]]"#),
            ("[0:0][-1:0]={{5,6}}", r#"["5","6"]"#, r#"[["5","6"]]"#),
            ("{{{1},{2}},{{3},{NULL}}}", r#"["1","2","3",null]"#, r#"[[["1"],["2"]],[["3"],[null]]]"#),
        ] {
            assert_eq!(written(text, false).as_deref(), Ok(flat), "{text}");
            assert_eq!(written(text, true).as_deref(), Ok(nested), "{text}");
        }
    }

    #[test]
    fn what_the_server_does_not_print_is_not_read() {
        for wrong in [
            "",
            "{",
            "}",
            "{}}",
            "{}{}",
            "{1",
            "{1}{2}",
            "{1,}",
            "{,}",
            "{1 2",
            "{\"a}",
            "{\"a\"b}",
            "{\"a\\",
            "{a\"b\"}",
            "[0:1]",
            "[0:1]={",
            "[x]={1}",
            "{{}",
            "{{},{}}",
            "{{{{{{{1}}}}}}}",
            "1",
            "{1},",
            "{1},{2}",
            "{{1}2}",
            "{1,{2}}",
            "{{1},2}",
        ] {
            for nested in [false, true] {
                assert_eq!(written(wrong, nested), Err(Misfit::NotOfType), "{wrong}");
            }
        }
    }
}
