//! What fuzzers call here: whatever a server sends, nothing panics, nothing is skipped, and every division of the same bytes
//! means the same.

mod session;

use bytes::BytesMut;

use crate::postgres::chunk::{Frames, Intake};
use crate::postgres::copy::Fields;
use crate::postgres::lsn::{CommitLsn, EndLsn, RecordLsn};
use crate::postgres::options::Host;
use crate::postgres::passfile::{self, Wanted};
use crate::postgres::pgoutput::{self, Message, Tuple};
use crate::postgres::quote;
use crate::postgres::scan::scan;

pub use session::talk;

/// How many reads the first bytes of an input may describe.
const READS_MAX: usize = 16;

/// A stream of frames, read in pieces: what is handed over, piece by piece, is what one scan of the whole finds.
///
/// # Panics
/// If it is not.
pub fn frames(data: &[u8]) {
    let (lengths, stream) = reads(data);
    let whole = scan(stream);
    let mut intake = Intake::new(b"");
    let (mut handed, mut received, mut asked, mut inside) = (BytesMut::new(), 0, false, None);
    let (mut rest, mut end) = (stream, None);
    for length in lengths.into_iter().chain(std::iter::repeat(usize::MAX)) {
        if rest.is_empty() || end.is_some() {
            break;
        }
        let space = intake.space();
        let length = length.clamp(1, rest.len()).min(space.len());
        space[..length].copy_from_slice(&rest[..length]);
        intake.advance(length);
        rest = &rest[length..];
        let found = scan(intake.unscanned());
        intake.mark_complete(found.complete);
        received = found.received.max(received);
        asked |= found.reply_requested;
        inside = found.in_transaction.or(inside);
        // A frame of up to a gibibyte gets a buffer of its own; nothing as long is fed here.
        if !intake.fits(found.next_frame) && found.next_frame > 2 * stream.len() {
            return;
        }
        if !intake.fits(found.next_frame) || length.is_multiple_of(3) {
            let chunk = intake.hand_over(found.next_frame);
            handed.extend_from_slice(chunk.as_deref().unwrap_or_default());
        }
        end = found.end;
    }
    handed.extend_from_slice(intake.hand_over(0).as_deref().unwrap_or_default());
    assert_eq!(handed, stream[..whole.complete]);
    assert_eq!((received, asked, inside), (whole.received, whole.reply_requested, whole.in_transaction));
    assert_eq!(end.map(|end| end.kind()), whole.end.map(|end| end.kind()));
    assert!(Frames::new(&handed).count() <= stream.len() / 5);
}

/// The lengths of the reads that `data` begins with, and the stream after them.
fn reads(data: &[u8]) -> (Vec<usize>, &[u8]) {
    let Some((&count, mut rest)) = data.split_first() else { return (Vec::new(), data) };
    let mut lengths = Vec::new();
    for _ in 0..usize::from(count) % READS_MAX {
        let Some((length, after)) = rest.split_first_chunk() else { break };
        lengths.push(u16::from_be_bytes(*length).into());
        rest = after;
    }
    (lengths, rest)
}

/// One message of pgoutput: what is read of it is all of it, and one byte less or more is an error.
///
/// # Panics
/// If it is not.
pub fn decode(data: &[u8]) {
    let Ok(message) = pgoutput::decode(data) else { return };
    walk(&message);
    assert!(pgoutput::decode(&data[..data.len() - 1]).is_err(), "it ends before its end");
    let longer = [data, &[0]].concat();
    assert!(pgoutput::decode(&longer).is_err(), "it ends after its end");
}

/// A block of copied rows, as wide as the first byte says: what is read of it prints as what it was, and no value holds what
/// divides values.
///
/// # Panics
/// If it does not.
pub fn copies(data: &[u8]) {
    let Some((&columns, rows)) = data.split_first() else { return };
    let (columns, mut block, mut fields) = (usize::from(columns % 8), rows.to_vec(), Fields::default());
    let Ok(read) = fields.read(&mut block, columns) else { return };
    let mut again = Vec::new();
    for row in 0..read.len() {
        assert_eq!(read.values(row).len(), columns);
        let values: Vec<Vec<u8>> = read.values(row).map(|value| value.map_or(b"\\N".to_vec(), copied)).collect();
        let line = [values.join(&b'\t'), b"\n".to_vec()].concat();
        again.push(b'd');
        again.extend((line.len() as u32 + 4).to_be_bytes());
        again.extend(line);
    }
    let mut fields = Fields::default();
    let printed = fields.read(&mut again, columns).expect("what was printed can be read");
    assert_eq!(printed.len(), read.len());
    assert!((0..read.len()).all(|row| printed.values(row).eq(read.values(row))), "a value changed on its way");
}

/// A value as the server prints it into a copy.
fn copied(value: &[u8]) -> Vec<u8> {
    let escape = |byte: &u8| match byte {
        b'\\' => b"\\\\".to_vec(),
        b'\t' => b"\\t".to_vec(),
        b'\n' => b"\\n".to_vec(),
        other => vec![*other],
    };
    value.iter().flat_map(escape).collect()
}

/// Reads every part of a message that is read only on demand.
fn walk(message: &Message<'_>) {
    match message {
        Message::Relation(relation) => assert_eq!(relation.columns().count(), relation.columns().len()),
        Message::Insert(insert) => walk_tuple(&insert.new),
        Message::Update(update) => {
            walk_tuple(&update.new);
            let _ = update.old.map(|old| walk_tuple(&old.tuple()));
        }
        Message::Delete(delete) => walk_tuple(&delete.old.tuple()),
        Message::Truncate(truncate) => assert_eq!(truncate.relations().count(), truncate.relations().len()),
        _ => {}
    }
}

fn walk_tuple(tuple: &Tuple<'_>) {
    assert_eq!(tuple.columns().count(), tuple.len(), "a column that was counted cannot be read");
}

/// A file of passwords: a line that is written for a place is found behind whatever lines are not for it.
///
/// # Panics
/// If it is not.
pub fn passwords(data: &[u8]) {
    let Ok(text) = str::from_utf8(data) else { return };
    let (host, password) = text.split_once('\n').unwrap_or((text, "secret"));
    let wanted = Wanted { host: &Host::Tcp(host.to_owned()), port: 5432, database: "shop", user: "relay" };
    let first = passfile::find(&format!("{text}\n"), &wanted);
    let escaped = |text: &str| text.replace('\\', "\\\\").replace(':', "\\:");
    if host.contains(['\r', '\n']) || host.starts_with('#') || password.contains(['\r', '\n']) {
        return;
    }
    let line = format!("{}:5432:shop:relay:{}", escaped(host), escaped(password));
    let found = passfile::find(&format!("{text}\n{line}\n"), &wanted);
    assert_eq!(found, first.or_else(|| Some(password.to_owned())));
}

/// The text of a log sequence number, and names in their quotes.
///
/// # Panics
/// If what is read does not print as what it was, or if a name ends its quotes.
pub fn texts(data: &[u8]) {
    let Ok(text) = str::from_utf8(data) else { return };
    if let Ok(lsn) = text.parse::<EndLsn>() {
        assert_eq!(lsn.to_string().parse(), Ok(lsn));
        assert_eq!(text.parse(), Ok(CommitLsn::new(lsn.as_u64())));
        assert_eq!(text.parse(), Ok(RecordLsn::new(lsn.as_u64())));
        let (high, low) = text.split_once('/').expect("two halves were read");
        let halves = u64::from_str_radix(high, 16).ok().zip(u64::from_str_radix(low, 16).ok());
        assert_eq!(halves.map(|(high, low)| high << 32 | low), Some(lsn.as_u64()));
    }
    assert_eq!(unquoted(&quote::identifier(text), '"').as_deref(), Some(text));
    assert_eq!(unquoted(&quote::literal(text), '\'').as_deref(), Some(text));
    let names: Vec<String> = text.split('\n').map(str::to_owned).collect();
    let list = unquoted(&quote::publication_names(&names), '\'').expect("one literal");
    assert_eq!(identifiers(&list).as_ref(), Some(&names));
}

/// Reads a quoted text as the server's lexer does: two quotes are one, and one ends it. `None` if anything follows.
fn unquoted(quoted: &str, quote: char) -> Option<String> {
    let mut inner = quoted.strip_prefix(quote)?.chars();
    let mut text = String::new();
    while let Some(letter) = inner.next() {
        if letter != quote {
            text.push(letter);
        } else if inner.as_str().is_empty() {
            return Some(text);
        } else if inner.next() == Some(quote) {
            text.push(quote);
        } else {
            return None;
        }
    }
    None
}

/// Reads a list of quoted identifiers, separated by commas.
fn identifiers(list: &str) -> Option<Vec<String>> {
    let (mut names, mut open, mut start) = (Vec::new(), false, 0);
    for (at, letter) in list.char_indices() {
        match letter {
            '"' => open = !open,
            ',' if !open => {
                names.push(unquoted(&list[start..at], '"')?);
                start = at + 1;
            }
            _ => {}
        }
    }
    names.push(unquoted(&list[start..], '"')?);
    Some(names)
}
