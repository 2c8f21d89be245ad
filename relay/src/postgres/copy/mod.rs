//! `COPY … TO STDOUT`: rows as the server prints them, in blocks of many, each block one buffer.
//!
//! Guarantee: a copy that did not come to its end is an error, never a shorter result, and a session that was left in the
//! middle of one cannot be used again. <https://www.postgresql.org/docs/current/protocol-flow.html#PROTOCOL-COPY>

mod row;

use std::io::ErrorKind;

use crate::postgres::chunk::{Chunk, HEADER_BYTES, Intake};
use crate::postgres::connection::Connection;
use crate::postgres::cursor::Cursor;
use crate::postgres::error::{During, Error, Kind, ServerError};

pub use row::{Fields, Rows};

/// The longest message Postgres can make, its own limit on one allocation. A longer one is not a message.
const FRAME_BYTES_MAX: usize = 1 << 30;

/// The text format's number in `CopyOutResponse`.
const TEXT: u8 = 0;

/// A copy under way. It holds its session until it is over.
#[derive(Debug)]
pub struct CopyOut<'c> {
    connection: &'c mut Connection,
    intake: Intake,
    /// How long the frame is that has begun to arrive; 0 while its header is incomplete.
    next_frame: usize,
    columns: usize,
    context: String,
    failure: Option<ServerError>,
    /// Whether the server is ready for the next command.
    over: bool,
}

/// Whole rows of a copy, in the order in which they came. Dropping it gives its buffer back.
#[derive(Debug)]
pub struct Block {
    chunk: Chunk,
    columns: usize,
}

impl Connection {
    /// Starts `sql`, a `COPY … TO STDOUT` in the text format with its usual delimiter and null. It may take as long as it takes.
    ///
    /// # Errors
    ///
    /// What the server reports, [`Kind::Protocol`] if it answers with something else than rows of text, or a lost connection.
    /// After a report the session can still be used.
    pub fn copy_out(&mut self, sql: &str) -> Result<CopyOut<'_>, Error> {
        let context = "copying rows out";
        self.send_query(sql, None)?;
        let mut failure = None;
        let columns = loop {
            let received = self.receive()?;
            match received.tag {
                b'H' => break columns(&received.body)?,
                b'E' => failure = Some(self.report(&received)?),
                b'S' => self.keep_parameter(&received.body)?,
                b'N' => {}
                b'Z' => {
                    return Err(failure.map_or_else(
                        || Error::new(Kind::Protocol, "the server ended a copy that had not begun"),
                        |report| Error::server(context, During::Query, report),
                    ));
                }
                tag => return Err(self.unexpected(tag, "instead of starting a copy")),
            }
        };
        let intake = Intake::new(&self.take_received());
        let mut copy = CopyOut {
            connection: self,
            intake,
            next_frame: 0,
            columns,
            context: context.to_owned(),
            failure: None,
            over: false,
        };
        copy.look_through()?;
        Ok(copy)
    }
}

/// How many columns `CopyOutResponse` announces.
fn columns(body: &[u8]) -> Result<usize, Error> {
    let mut cursor = Cursor::new(body);
    let mut read = || Ok((cursor.u8()?, cursor.u16()?));
    let (format, columns) = read().map_err(|error| Error::protocol("reading the announcement of a copy", error))?;
    if format != TEXT {
        return Err(Error::new(Kind::Protocol, "the server copies in another format than text"));
    }
    Ok(columns.into())
}

impl CopyOut<'_> {
    /// How many columns each row has.
    #[must_use]
    pub fn columns(&self) -> usize {
        self.columns
    }

    /// The next rows; `None` once all were handed out.
    ///
    /// # Errors
    ///
    /// What the server reports after rows that may have been handed out already, or a lost connection.
    pub fn next_block(&mut self) -> Result<Option<Block>, Error> {
        while !self.over {
            if self.intake.complete() > 0 && !self.intake.fits(self.next_frame) {
                return Ok(self.hand_over());
            }
            if self.intake.space().is_empty() {
                // The frame that has begun is longer than the buffer, and nothing stands before it.
                self.intake.hand_over(self.next_frame);
            }
            self.read()?;
            self.look_through()?;
        }
        match self.failure.take() {
            None => Ok(self.hand_over()),
            Some(report) => Err(Error::server(self.context.clone(), During::Query, report)),
        }
    }

    fn hand_over(&mut self) -> Option<Block> {
        let chunk = self.intake.hand_over(self.next_frame)?;
        Some(Block { chunk, columns: self.columns })
    }

    fn read(&mut self) -> Result<(), Error> {
        loop {
            match self.connection.read(self.intake.space()) {
                Ok(0) => return Err(self.connection.closed()),
                Ok(bytes) => {
                    self.intake.advance(bytes);
                    return Ok(());
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(self.connection.lost(error)),
            }
        }
    }

    /// Finds the frames in what was read.
    fn look_through(&mut self) -> Result<(), Error> {
        let data = self.intake.unscanned();
        let mut complete = 0;
        self.next_frame = 0;
        while let Some(&[tag, a, b, c, d]) = data[complete..].first_chunk::<HEADER_BYTES>() {
            let frame = (u32::from_be_bytes([a, b, c, d]) as usize).saturating_add(1);
            if !(HEADER_BYTES..=FRAME_BYTES_MAX).contains(&frame) {
                return Err(Error::new(Kind::Protocol, format!("{}: a message of {frame} bytes", self.context)));
            }
            let Some(bytes) = data[complete..].get(..frame) else {
                self.next_frame = frame;
                break;
            };
            match tag {
                // Rows; parameters that changed, notices, the copy's end and the command's.
                b'd' | b'S' | b'N' | b'c' | b'C' => {}
                b'E' => {
                    let report = ServerError::parse(&bytes[HEADER_BYTES..])
                        .map_err(|error| Error::protocol("reading an error report in a copy", error))?;
                    self.failure = Some(report);
                }
                b'Z' => self.over = true,
                tag => return Err(self.connection.unexpected(tag, "in a copy")),
            }
            complete += frame;
        }
        self.intake.mark_complete(complete);
        Ok(())
    }
}

impl Drop for CopyOut<'_> {
    fn drop(&mut self) {
        if !self.over {
            // What is still to come would be taken for the answer to the next command.
            self.connection.hang_up();
        }
    }
}

impl Block {
    /// Its size in bytes.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.chunk.len()
    }

    /// Its rows, with the escapes undone where they stand; `fields` is reused from block to block.
    ///
    /// # Errors
    ///
    /// A row that has not as many columns as the copy announced, or does not end.
    pub fn rows<'b>(&'b mut self, fields: &'b mut Fields) -> Result<Rows<'b>, Error> {
        let columns = self.columns;
        fields.read(self.chunk.bytes_mut(), columns).map_err(|error| Error::protocol("reading copied rows", error))
    }
}
