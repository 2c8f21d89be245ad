//! Reading big-endian fields out of one received message: never past its end, every error with the offset it stands at.

use crate::postgres::error::{DecodeError, Fault};

/// A place in one message's bytes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Cursor<'a> {
    data: &'a [u8],
    at: usize,
}

impl<'a> Cursor<'a> {
    pub(crate) const fn new(data: &'a [u8]) -> Self {
        Self { data, at: 0 }
    }

    /// Bytes consumed so far.
    pub(crate) const fn offset(&self) -> usize {
        self.at
    }

    /// What has not been consumed yet.
    pub(crate) fn rest(&self) -> &'a [u8] {
        &self.data[self.at..]
    }

    #[inline]
    pub(crate) fn take(&mut self, length: usize) -> Result<&'a [u8], DecodeError> {
        let rest = self.rest();
        if length > rest.len() {
            let missing = length - rest.len();
            return Err(DecodeError::new(self.data.len(), Fault::Truncated { missing }));
        }
        self.at += length;
        Ok(&rest[..length])
    }

    #[inline]
    fn array<const N: usize>(&mut self) -> Result<[u8; N], DecodeError> {
        let mut array = [0; N];
        array.copy_from_slice(self.take(N)?);
        Ok(array)
    }

    #[inline]
    pub(crate) fn u8(&mut self) -> Result<u8, DecodeError> {
        self.array::<1>().map(|[byte]| byte)
    }

    #[inline]
    pub(crate) fn u16(&mut self) -> Result<u16, DecodeError> {
        self.array().map(u16::from_be_bytes)
    }

    #[inline]
    pub(crate) fn u32(&mut self) -> Result<u32, DecodeError> {
        self.array().map(u32::from_be_bytes)
    }

    #[inline]
    pub(crate) fn i32(&mut self) -> Result<i32, DecodeError> {
        self.array().map(i32::from_be_bytes)
    }

    #[inline]
    pub(crate) fn u64(&mut self) -> Result<u64, DecodeError> {
        self.array().map(u64::from_be_bytes)
    }

    #[inline]
    pub(crate) fn i64(&mut self) -> Result<i64, DecodeError> {
        self.array().map(i64::from_be_bytes)
    }

    /// An `Int32` that counts bytes or items, so that a negative one is an error.
    #[inline]
    pub(crate) fn length(&mut self) -> Result<usize, DecodeError> {
        let at = self.at;
        let length = self.i32()?;
        usize::try_from(length).map_err(|_| DecodeError::new(at, Fault::NegativeLength { length }))
    }

    /// Bytes up to a terminating zero, as text.
    pub(crate) fn text(&mut self) -> Result<&'a str, DecodeError> {
        let at = self.at;
        let rest = self.rest();
        let end = rest.iter().position(|&byte| byte == 0).ok_or(DecodeError::new(at, Fault::Unterminated))?;
        self.at += end + 1;
        std::str::from_utf8(&rest[..end]).map_err(|error| DecodeError::new(at + error.valid_up_to(), Fault::NotUtf8))
    }

    /// Succeeds only at the end of the message.
    #[inline]
    pub(crate) fn finish(self) -> Result<(), DecodeError> {
        match self.rest().len() {
            0 => Ok(()),
            bytes => Err(DecodeError::new(self.at, Fault::TrailingBytes { bytes })),
        }
    }
}
