//! Rows in the text format of COPY: <https://www.postgresql.org/docs/current/sql-copy.html#SQL-COPY-FILE-FORMATS>.

use crate::postgres::chunk::HEADER_BYTES;
use crate::postgres::error::{DecodeError, Fault};

/// Marks a null among the places of values.
const NULL: u32 = u32::MAX;

/// Where the values of a block's rows lie: memory that is used again for the next block.
#[derive(Debug, Default)]
pub struct Fields {
    /// Start and length of each value, row by row.
    places: Vec<(u32, u32)>,
}

/// The rows of one block.
#[derive(Debug, Clone, Copy)]
pub struct Rows<'b> {
    data: &'b [u8],
    places: &'b [(u32, u32)],
    columns: usize,
    rows: usize,
}

impl Fields {
    /// Finds the rows among the frames of `data`, and undoes their escapes in place: that never lengthens anything.
    pub(crate) fn read<'b>(&'b mut self, data: &'b mut [u8], columns: usize) -> Result<Rows<'b>, DecodeError> {
        self.places.clear();
        let (mut at, mut rows) = (0, 0);
        while let Some(&[tag, a, b, c, d]) = data[at..].first_chunk::<HEADER_BYTES>() {
            let end = at.saturating_add(u32::from_be_bytes([a, b, c, d]) as usize).saturating_add(1);
            let start = at + HEADER_BYTES;
            if end > data.len() || end < start {
                return Err(DecodeError::new(at, Fault::Truncated { missing: end.saturating_sub(data.len()) }));
            }
            if tag == b'd' {
                self.row(data, start, end, columns)?;
                rows += 1;
            }
            at = end;
        }
        Ok(Rows { data, places: &self.places, columns, rows })
    }

    /// One row: values between tabs, ended by a line feed.
    fn row(&mut self, data: &mut [u8], start: usize, end: usize, columns: usize) -> Result<(), DecodeError> {
        let Some(end) = end.checked_sub(1).filter(|end| *end >= start && data[*end] == b'\n') else {
            return Err(DecodeError::new(end, Fault::Unterminated));
        };
        let (first, mut at) = (self.places.len(), start);
        // A row of no columns is an empty line, and so is one of a single empty text.
        if columns > 0 {
            loop {
                at = self.value(data, at, end);
                if at >= end {
                    break;
                }
                at += 1;
                if at == end {
                    self.places.push((at as u32, 0));
                    break;
                }
            }
        }
        let found = self.places.len() - first;
        let wanted = columns;
        if found != wanted || (columns == 0 && start < end) {
            return Err(DecodeError::new(start, Fault::Columns { found, wanted }));
        }
        Ok(())
    }

    /// One value; returns where the tab behind it stands, or `end`.
    #[inline]
    fn value(&mut self, data: &mut [u8], start: usize, end: usize) -> usize {
        let length = data[start..end].iter().position(|&byte| byte == b'\t' || byte == b'\\').unwrap_or(end - start);
        let at = start + length;
        if at == end || data[at] == b'\t' {
            self.places.push((start as u32, length as u32));
            return at;
        }
        self.escaped(data, start, at, end)
    }

    /// The rest of a value whose first backslash stands at `at`.
    #[cold]
    fn escaped(&mut self, data: &mut [u8], start: usize, mut at: usize, end: usize) -> usize {
        let behind = at + 2;
        if at == start && data[at + 1..end].first() == Some(&b'N') && (behind == end || data[behind] == b'\t') {
            self.places.push((NULL, 0));
            return behind;
        }
        let mut written = at;
        while at < end && data[at] != b'\t' {
            let mut byte = data[at];
            if byte == b'\\' && at + 1 < end {
                at += 1;
                byte = unescaped(data[at]);
            }
            data[written] = byte;
            written += 1;
            at += 1;
        }
        self.places.push((start as u32, (written - start) as u32));
        at
    }
}

/// What a backslash before `letter` stands for. The server never writes the octal and hexadecimal forms.
fn unescaped(letter: u8) -> u8 {
    match letter {
        b'b' => 0x08,
        b'f' => 0x0c,
        b'n' => b'\n',
        b'r' => b'\r',
        b't' => b'\t',
        b'v' => 0x0b,
        other => other,
    }
}

impl<'b> Rows<'b> {
    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.rows
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rows == 0
    }

    /// The values of the row at `index`, which is below [`Rows::len`], in the order of the columns; `None` is null.
    pub fn values(&self, index: usize) -> impl ExactSizeIterator<Item = Option<&'b [u8]>> + use<'b> {
        let data = self.data;
        self.places[index * self.columns..(index + 1) * self.columns].iter().map(move |&(start, length)| match start {
            NULL => None,
            start => Some(&data[start as usize..][..length as usize]),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(tag: u8, body: &[u8]) -> Vec<u8> {
        let mut frame = vec![tag];
        frame.extend((body.len() as u32 + 4).to_be_bytes());
        frame.extend(body);
        frame
    }

    fn read(frames: &[Vec<u8>], columns: usize) -> Result<Vec<Vec<Option<Vec<u8>>>>, DecodeError> {
        let (mut data, mut fields) = (frames.concat(), Fields::default());
        let rows = fields.read(&mut data, columns)?;
        Ok((0..rows.len()).map(|row| rows.values(row).map(|value| value.map(<[u8]>::to_vec)).collect()).collect())
    }

    fn texts(row: &[Option<&[u8]>]) -> Vec<Option<Vec<u8>>> {
        row.iter().map(|value| value.map(<[u8]>::to_vec)).collect()
    }

    #[test]
    fn values_nulls_and_empty_texts_are_told_apart() {
        let rows = read(&[frame(b'd', b"1\t\\N\t\ttext\n"), frame(b'd', b"\t\\\\N\t\\N\t\n")], 4).unwrap();
        let none: Option<&[u8]> = None;
        assert_eq!(rows[0], texts(&[Some(b"1"), none, Some(b""), Some(b"text")]));
        assert_eq!(rows[1], texts(&[Some(b""), Some(b"\\N"), none, Some(b"")]));
    }

    #[test]
    fn every_escape_becomes_its_byte_and_leaves_its_neighbours_alone() {
        let rows = read(&[frame(b'd', b"a\\tb\\nc\\rd\\\\e\\bf\\fg\\vh\tx\\.\ty\n")], 3).unwrap();
        assert_eq!(rows, [texts(&[Some(b"a\tb\nc\rd\\e\x08f\x0cg\x0bh"), Some(b"x."), Some(b"y")])]);
    }

    #[test]
    fn what_begins_as_a_null_and_goes_on_is_none() {
        assert_eq!(read(&[frame(b'd', b"\\Nope\t\\\\N\n")], 2).unwrap(), [texts(&[Some(b"Nope"), Some(b"\\N")])]);
    }

    #[test]
    fn rows_of_one_column_or_of_none_are_lines() {
        assert_eq!(
            read(&[frame(b'd', b"\n"), frame(b'd', b"\\N\n")], 1).unwrap(),
            [texts(&[Some(b"")]), texts(&[None])]
        );
        let rows = read(&[frame(b'd', b"\n"), frame(b'N', b"?"), frame(b'd', b"\n")], 0).unwrap();
        assert_eq!(rows, [texts(&[]), texts(&[])]);
    }

    #[test]
    fn a_row_of_the_wrong_width_or_without_an_end_is_an_error() {
        for (body, columns) in
            [(&b"1\t2\n"[..], 1), (b"1\t2\n", 3), (b"1", 1), (b"", 1), (b"1\n", 0), (b"1\t\n", 1), (b"\\N\n", 2)]
        {
            assert!(read(&[frame(b'd', body)], columns).is_err(), "{body:?} {columns}");
        }
        let whole = frame(b'd', b"1\n");
        read(&[whole[..whole.len() - 1].to_vec()], 1).expect_err("a frame that is cut");
    }
}
