//! The bytes of a column, as the format has them: every kind of type in buffers that grow, and that can be cut back to a row.

use crate::encode::native::shape::Shape;

/// What a column holds so far.
#[derive(Debug, Clone)]
pub(super) enum Store {
    /// Values of as many bytes each.
    Fixed {
        width: usize,
        bytes: Vec<u8>,
    },
    /// Texts, each after its length; and where each ends.
    Text {
        bytes: Vec<u8>,
        ends: Vec<usize>,
    },
    /// A one for each null, and a value in every place.
    Nullable {
        nulls: Vec<u8>,
        inner: Box<Store>,
    },
    /// Where each list ends, and the elements of all. A map is a list of pairs.
    List {
        ends: Vec<u64>,
        inner: Box<Store>,
    },
    Tuple(Vec<Store>),
}

impl Store {
    /// Room for values of that shape.
    pub(super) fn new(shape: &Shape) -> Self {
        match shape {
            Shape::String | Shape::Json => Self::Text { bytes: Vec::new(), ends: Vec::new() },
            Shape::Nullable(of) => Self::Nullable { nulls: Vec::new(), inner: Box::new(Self::new(of)) },
            Shape::Array(of) => Self::List { ends: Vec::new(), inner: Box::new(Self::new(of)) },
            Shape::Map(key, value) => {
                let pair = Self::Tuple(vec![Self::new(key), Self::new(value)]);
                Self::List { ends: Vec::new(), inner: Box::new(pair) }
            }
            Shape::Tuple(members) => Self::Tuple(members.iter().map(|(_, of)| Self::new(of)).collect()),
            Shape::Point => Self::Tuple(vec![Self::new(&Shape::Float64), Self::new(&Shape::Float64)]),
            of => Self::Fixed { width: of.width().unwrap_or(1), bytes: Vec::new() },
        }
    }

    /// How many values there are.
    pub(super) fn rows(&self) -> usize {
        match self {
            Self::Fixed { width, bytes } => bytes.len() / width,
            Self::Text { ends, .. } => ends.len(),
            Self::Nullable { nulls, .. } => nulls.len(),
            Self::List { ends, .. } => ends.len(),
            Self::Tuple(members) => members.first().map_or(0, Self::rows),
        }
    }

    /// Forgets what follows the first `rows` values.
    pub(super) fn truncate(&mut self, rows: usize) {
        match self {
            Self::Fixed { width, bytes } => bytes.truncate(rows * *width),
            Self::Text { bytes, ends } => {
                ends.truncate(rows);
                bytes.truncate(ends.last().copied().unwrap_or(0));
            }
            Self::Nullable { nulls, inner } => {
                nulls.truncate(rows);
                inner.truncate(rows);
            }
            Self::List { ends, inner } => {
                ends.truncate(rows);
                inner.truncate(ends.last().map_or(0, |end| *end as usize));
            }
            Self::Tuple(members) => members.iter_mut().for_each(|member| member.truncate(rows)),
        }
    }

    /// What the server takes for a value that is not given: null, zero, or empty.
    pub(super) fn push_default(&mut self) {
        match self {
            Self::Fixed { width, bytes } => bytes.resize(bytes.len() + *width, 0),
            Self::Text { bytes, ends } => {
                bytes.push(0);
                ends.push(bytes.len());
            }
            Self::Nullable { nulls, inner } => {
                nulls.push(1);
                inner.push_default();
            }
            Self::List { ends, .. } => ends.push(ends.last().copied().unwrap_or(0)),
            Self::Tuple(members) => members.iter_mut().for_each(Self::push_default),
        }
    }

    /// How many bytes it is when written.
    pub(super) fn len(&self) -> usize {
        match self {
            Self::Fixed { bytes, .. } | Self::Text { bytes, .. } => bytes.len(),
            Self::Nullable { nulls, inner } => nulls.len() + inner.len(),
            Self::List { ends, inner } => ends.len() * 8 + inner.len(),
            Self::Tuple(members) => members.iter().map(Self::len).sum(),
        }
    }

    /// Appends the values of stores of one shape, one after the other, as the format has them.
    pub(super) fn write(stores: &[&Self], out: &mut Vec<u8>) {
        let Some(first) = stores.first() else { return };
        match first {
            Self::Fixed { .. } | Self::Text { .. } => {
                for store in stores {
                    if let Self::Fixed { bytes, .. } | Self::Text { bytes, .. } = store {
                        out.extend_from_slice(bytes);
                    }
                }
            }
            Self::Nullable { .. } => {
                let parts = stores.iter().filter_map(|store| match store {
                    Self::Nullable { nulls, inner } => Some((nulls, &**inner)),
                    _ => None,
                });
                let (nulls, inners): (Vec<&Vec<u8>>, Vec<&Self>) = parts.unzip();
                nulls.into_iter().for_each(|nulls| out.extend_from_slice(nulls));
                Self::write(&inners, out);
            }
            Self::List { .. } => {
                let parts = stores.iter().filter_map(|store| match store {
                    Self::List { ends, inner } => Some((ends, &**inner)),
                    _ => None,
                });
                let (lists, inners): (Vec<&Vec<u64>>, Vec<&Self>) = parts.unzip();
                // Where a list ends counts from the first element of all.
                let mut before = 0;
                for ends in lists {
                    ends.iter().for_each(|end| out.extend_from_slice(&(before + end).to_le_bytes()));
                    before += ends.last().copied().unwrap_or(0);
                }
                Self::write(&inners, out);
            }
            Self::Tuple(members) => {
                for at in 0..members.len() {
                    let members = stores.iter().filter_map(|store| match store {
                        Self::Tuple(members) => members.get(at),
                        _ => None,
                    });
                    Self::write(&members.collect::<Vec<_>>(), out);
                }
            }
        }
    }

    /// Takes the values out; room for about as many stays.
    pub(super) fn take(&mut self) -> Self {
        // Values of one length take as much again, others a little more or less.
        let about = |len: usize| len + len / 8;
        let empty = match self {
            Self::Fixed { width, bytes } => Self::Fixed { width: *width, bytes: Vec::with_capacity(bytes.len()) },
            Self::Text { bytes, ends } => {
                Self::Text { bytes: Vec::with_capacity(about(bytes.len())), ends: Vec::with_capacity(ends.len()) }
            }
            Self::Nullable { nulls, inner } => {
                let values = inner.take();
                let empty = Self::Nullable {
                    nulls: Vec::with_capacity(nulls.len()),
                    inner: std::mem::replace(inner, Box::new(values)),
                };
                return std::mem::replace(self, empty);
            }
            Self::List { ends, inner } => {
                let values = inner.take();
                let empty = Self::List {
                    ends: Vec::with_capacity(ends.len()),
                    inner: std::mem::replace(inner, Box::new(values)),
                };
                return std::mem::replace(self, empty);
            }
            Self::Tuple(members) => return Self::Tuple(members.iter_mut().map(Self::take).collect()),
        };
        std::mem::replace(self, empty)
    }
}

/// A length as the format has it: seven bits a byte, the lowest first.
#[inline]
pub(super) fn varuint(mut value: u64, out: &mut Vec<u8>) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// A text behind its length.
#[inline]
pub(super) fn text(value: &[u8], out: &mut Vec<u8>) {
    varuint(value.len() as u64, out);
    out.extend_from_slice(value);
}
