//! Finding frames in what was read: which are complete, what they ask of the reader itself, and whether the stream goes on.

use crate::postgres::chunk::HEADER_BYTES;
use crate::postgres::error::{During, Error, Kind, ServerError};

/// The longest message Postgres can make, its own limit on one allocation. A longer one is not a message.
const FRAME_BYTES_MAX: usize = 1 << 30;

/// Kind, start, end and time, before an `XLogData`'s payload.
const XLOG_DATA_BYTES_MIN: usize = 25;

/// Kind, end, time and whether an answer is wanted.
const KEEPALIVE_BYTES: usize = 18;

/// What a stretch of received bytes holds.
#[derive(Debug, Default)]
pub(crate) struct Scan {
    /// How many of the bytes are complete frames.
    pub(crate) complete: usize,
    /// How long the frame after them is, header included; 0 while its header is incomplete.
    pub(crate) next_frame: usize,
    /// The highest position that the frames tell of; 0 if none does.
    pub(crate) received: u64,
    /// Whether the server wants to hear from us now.
    pub(crate) reply_requested: bool,
    /// Why nothing comes after the complete frames.
    pub(crate) end: Option<Error>,
}

/// Walks `data`, which starts with a frame.
pub(crate) fn scan(data: &[u8]) -> Scan {
    let mut scan = Scan::default();
    while let Some(&[tag, a, b, c, d]) = data[scan.complete..].first_chunk::<HEADER_BYTES>() {
        let frame = (u32::from_be_bytes([a, b, c, d]) as usize).saturating_add(1);
        if !(HEADER_BYTES..=FRAME_BYTES_MAX).contains(&frame) {
            scan.end = Some(malformed(&format!("a message {:?} of {frame} bytes", char::from(tag))));
            break;
        }
        scan.next_frame = frame;
        let Some(bytes) = data[scan.complete..].get(..frame) else { break };
        let body = &bytes[HEADER_BYTES..];
        if let Err(end) = scan.take(tag, body) {
            scan.end = Some(end);
            break;
        }
        scan.complete += frame;
        scan.next_frame = 0;
    }
    scan
}

impl Scan {
    #[inline]
    fn take(&mut self, tag: u8, body: &[u8]) -> Result<(), Error> {
        match (tag, body.first()) {
            (b'd', Some(b'w')) if body.len() >= XLOG_DATA_BYTES_MIN => self.hear(&body[9..]),
            (b'd', Some(b'k')) if body.len() == KEEPALIVE_BYTES => {
                self.hear(&body[1..]);
                self.reply_requested |= body[KEEPALIVE_BYTES - 1] != 0;
            }
            // A parameter changed; none of those we pinned can, from outside.
            (b'S', _) => {}
            (b'N', _) => judge_notice(body)?,
            (b'E', _) => return Err(reported(body)),
            // A server that shuts down completes the command without ending the copy first.
            (b'c' | b'C', _) => {
                return Err(Error::new(
                    Kind::Unavailable,
                    "the server closed the stream, as it does when it shuts down",
                ));
            }
            (b'd', kind) => {
                let kind = kind.map(|&kind| char::from(kind));
                return Err(malformed(&format!("replication message {kind:?} of {} bytes", body.len())));
            }
            (tag, _) => return Err(malformed(&format!("message {:?} in the stream", char::from(tag)))),
        }
        Ok(())
    }

    #[inline]
    fn hear(&mut self, position: &[u8]) {
        if let Some(position) = position.first_chunk() {
            self.received = self.received.max(u64::from_be_bytes(*position));
        }
    }
}

/// A notice changes nothing, but for one: from PostgreSQL 18 on a publication that does not exist at this place in the WAL is
/// only warned about and skipped, with everything it would have published.
fn judge_notice(body: &[u8]) -> Result<(), Error> {
    let notice = ServerError::parse(body).map_err(|error| Error::protocol("reading a notice in the stream", error))?;
    if notice.severity == "WARNING" && matches!(notice.code.as_str(), "42704" | "55000") {
        return Err(Error::with_source(Kind::PublicationMissing, PUBLICATION_MISSING, notice));
    }
    Ok(())
}

const PUBLICATION_MISSING: &str = "a publication does not exist at this place in the WAL, so its changes cannot be read; \
     it must be created before the slot, and stay";

fn reported(body: &[u8]) -> Error {
    let report = match ServerError::parse(body) {
        Ok(report) => report,
        Err(error) => return Error::protocol("reading an error report in the stream", error),
    };
    let context = match report.code.as_str() {
        "42704" => PUBLICATION_MISSING,
        "57P01" | "57P02" => "the server ended the replication session",
        _ => "the server broke off the stream",
    };
    Error::server(context, During::Stream, report)
}

fn malformed(what: &str) -> Error {
    Error::new(Kind::Protocol, format!("the server sent what the streaming protocol does not allow: {what}"))
}
