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
    /// Whether the last of the frames stand inside a transaction, whose rest the server is sending already.
    pub(crate) in_transaction: Option<bool>,
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
            (b'd', Some(b'w')) if body.len() >= XLOG_DATA_BYTES_MIN => {
                self.hear(&body[9..]);
                self.place(&body[XLOG_DATA_BYTES_MIN..]);
            }
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
    fn place(&mut self, message: &[u8]) {
        match message {
            [b'C', ..] => self.in_transaction = Some(false),
            // A logical message outside any transaction.
            [b'M', 0, ..] | [] => {}
            _ => self.in_transaction = Some(true),
        }
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

#[cfg(test)]
mod tests {
    use super::*;

    fn message(tag: u8, body: &[u8]) -> Vec<u8> {
        [&[tag][..], &(body.len() as u32 + 4).to_be_bytes(), body].concat()
    }

    fn xlog_data(end: u64, data: &[u8]) -> Vec<u8> {
        message(b'd', &[b"w", &1_u64.to_be_bytes()[..], &end.to_be_bytes(), &[0; 8], data].concat())
    }

    fn keepalive(end: u64, reply: u8) -> Vec<u8> {
        message(b'd', &[b"k", &end.to_be_bytes()[..], &[0; 8], &[reply]].concat())
    }

    fn report(tag: u8, severity: &str, code: &str) -> Vec<u8> {
        message(tag, format!("S{severity}\0V{severity}\0C{code}\0Mpublication \"outbox\"\0\0").as_bytes())
    }

    #[test]
    fn every_cut_leaves_the_whole_frames_and_tells_how_long_the_next_one_is() {
        let frames =
            [xlog_data(7, b"hello"), keepalive(9, 0), message(b'S', b"a\0b\0"), xlog_data(8, b""), keepalive(5, 1)];
        let stream = frames.concat();
        for cut in 0..=stream.len() {
            let scan = scan(&stream[..cut]);
            let mut whole = 0;
            let next = frames.iter().find(|frame| {
                let fits = whole + frame.len() <= cut;
                whole += if fits { frame.len() } else { 0 };
                !fits
            });
            assert_eq!(scan.complete, whole, "cut at {cut}");
            let header_is_there = cut - whole >= HEADER_BYTES;
            assert_eq!(scan.next_frame, next.map_or(0, |frame| if header_is_there { frame.len() } else { 0 }));
            assert!(scan.end.is_none());
        }
        let scan = scan(&stream);
        assert_eq!((scan.received, scan.reply_requested), (9, true));
    }

    #[test]
    fn the_last_message_tells_whether_a_transaction_is_still_arriving() {
        for (messages, inside) in [
            (vec![], None),
            (vec![&b"B..."[..]], Some(true)),
            (vec![b"B...", b"I..."], Some(true)),
            (vec![b"B...", b"M\x01..."], Some(true)),
            (vec![b"B...", b"I...", b"C..."], Some(false)),
            (vec![b"C...", b"M\0..."], Some(false)),
            (vec![b"M\0..."], None),
        ] {
            let frames: Vec<u8> = messages.iter().flat_map(|message| xlog_data(1, message)).collect();
            assert_eq!(scan(&[frames, keepalive(2, 0)].concat()).in_transaction, inside, "{messages:?}");
        }
    }

    #[test]
    fn the_end_comes_after_every_whole_frame_before_it() {
        let before = [xlog_data(7, b"x"), keepalive(7, 0)].concat();
        for (last, kind) in [
            (report(b'E', "FATAL", "57P01"), Kind::Unavailable),
            (report(b'E', "ERROR", "42704"), Kind::PublicationMissing),
            (report(b'E', "ERROR", "XX000"), Kind::Rejected),
            (report(b'N', "WARNING", "55000"), Kind::PublicationMissing),
            (report(b'N', "WARNING", "42704"), Kind::PublicationMissing),
            (message(b'c', b""), Kind::Unavailable),
            (message(b'C', b"COPY 0\0"), Kind::Unavailable),
            (message(b'Z', b"I"), Kind::Protocol),
            (message(b'N', b"Mcut"), Kind::Protocol),
            (message(b'd', b""), Kind::Protocol),
            (message(b'd', b"x"), Kind::Protocol),
            (message(b'd', &[b'w'; XLOG_DATA_BYTES_MIN - 1]), Kind::Protocol),
            (message(b'd', &[b'k'; KEEPALIVE_BYTES + 1]), Kind::Protocol),
            (b"d\0\0\0\x03".to_vec(), Kind::Protocol),
            (b"d\x40\0\0\0".to_vec(), Kind::Protocol),
            (b"d\xff\xff\xff\xff".to_vec(), Kind::Protocol),
        ] {
            let scan = scan(&[before.clone(), last.clone(), keepalive(99, 0)].concat());
            assert_eq!((scan.complete, scan.received), (before.len(), 7), "{last:?}");
            assert_eq!(scan.end.map(|end| end.kind()), Some(kind), "{last:?}");
        }
    }

    #[test]
    fn a_notice_that_is_no_gap_is_passed_over() {
        for harmless in
            [report(b'N', "NOTICE", "00000"), report(b'N', "WARNING", "01000"), report(b'N', "LOG", "42704")]
        {
            let scan = scan(&harmless);
            assert!(scan.end.is_none());
            assert_eq!(scan.complete, harmless.len());
        }
    }

    #[test]
    fn the_longest_message_postgres_can_make_is_accepted() {
        let scan = scan(b"d\x3f\xff\xff\xff");
        assert_eq!((scan.next_frame, scan.end.is_none()), (1 << 30, true));
    }
}
