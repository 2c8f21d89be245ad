//! A row's columns, read in place.

use crate::postgres::cursor::Cursor;
use crate::postgres::error::{DecodeError, Fault};

/// A row, its columns in the order of the relation's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tuple<'a> {
    columns: u16,
    data: &'a [u8],
}

impl<'a> Tuple<'a> {
    /// How many columns it has.
    #[must_use]
    pub fn len(&self) -> usize {
        self.columns.into()
    }

    /// Whether it has no columns at all.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.columns == 0
    }

    /// The columns, in order.
    #[must_use]
    pub fn columns(&self) -> Columns<'a> {
        Columns { remaining: self.columns, data: self.data }
    }

    /// Walks the whole tuple once, so that [`Columns`] can iterate without checking for errors.
    #[inline]
    pub(crate) fn decode(cursor: &mut Cursor<'a>) -> Result<Self, DecodeError> {
        let columns = cursor.u16()?;
        let start = cursor.rest();
        let from = cursor.offset();
        for _ in 0..columns {
            let at = cursor.offset();
            match cursor.u8()? {
                b'n' | b'u' => {}
                b't' | b'b' => {
                    let length = cursor.length()?;
                    cursor.take(length)?;
                }
                found => return Err(DecodeError::new(at, Fault::Unknown { what: "kind of column value", found })),
            }
        }
        Ok(Self { columns, data: &start[..cursor.offset() - from] })
    }
}

/// One value of a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Column<'a> {
    /// Null.
    Null,
    /// A large value, stored out of line, that this update did not change: it was not sent.
    Unchanged,
    /// What the type's output function prints, in UTF-8.
    Text(&'a [u8]),
    /// What the type's send function writes; only if the stream was started with the option `binary`, which ours never is.
    Binary(&'a [u8]),
}

/// The values of a row, in order.
#[derive(Debug, Clone)]
pub struct Columns<'a> {
    remaining: u16,
    data: &'a [u8],
}

impl<'a> Iterator for Columns<'a> {
    type Item = Column<'a>;

    #[inline]
    fn next(&mut self) -> Option<Column<'a>> {
        self.remaining = self.remaining.checked_sub(1)?;
        let (&kind, rest) = self.data.split_first()?;
        if kind == b'n' || kind == b'u' {
            self.data = rest;
            return Some(if kind == b'n' { Column::Null } else { Column::Unchanged });
        }
        let (length, rest) = rest.split_first_chunk()?;
        let (value, rest) = rest.split_at_checked(u32::from_be_bytes(*length) as usize)?;
        self.data = rest;
        Some(if kind == b't' { Column::Text(value) } else { Column::Binary(value) })
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.remaining.into(), Some(self.remaining.into()))
    }
}

impl ExactSizeIterator for Columns<'_> {}
