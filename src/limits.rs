//! The limits of an event. SQL's `postrider.emit` and the table's own constraints hold the same numbers.
//!
//! Together they keep every event, with the headers that the relay adds, below a broker's default
//! `max.message.bytes` (1 048 588 bytes), so that an event that was accepted here is not refused there.

/// Bytes of an aggregate type. A topic name has at most 249 characters, and a template adds some of its own.
pub const AGGREGATE_TYPE_BYTES_MAX: usize = 200;

/// Bytes of an aggregate id, which becomes the record's key.
pub const AGGREGATE_ID_BYTES_MAX: usize = 512;

/// Bytes of an event type, which becomes a header of the record.
pub const EVENT_TYPE_BYTES_MAX: usize = 255;

/// Bytes of a payload: of the raw bytes, or of the text that Postgres prints for the `jsonb`.
///
/// Postgres prints a `jsonb` with a space after each colon and comma and writes exponents out (`1e3` is `1000`), so the text
/// can be longer than what was written; the text that travels is the one that counts.
pub const PAYLOAD_BYTES_MAX: usize = 1_000_000;

/// Levels of nested arrays and objects in a JSON payload. Postgres itself gives up near 6000 with its default `max_stack_depth`.
pub const PAYLOAD_DEPTH_MAX: usize = 1_000;

/// Headers of one event.
pub const HEADERS_MAX: usize = 64;

/// Bytes of all header names and values of one event together.
pub const HEADERS_BYTES_MAX: usize = 32_768;

/// Bytes of a header's name.
pub const HEADER_NAME_BYTES_MAX: usize = 255;

/// Bytes of a header's value. W3C asks for 8192 bytes of `baggage` to be carried.
pub const HEADER_VALUE_BYTES_MAX: usize = 8_192;

/// Bytes of a consumer's name in the inbox.
pub const CONSUMER_BYTES_MAX: usize = 255;

/// Rows that [`crate::write_all`] sends in one statement; a larger set takes several round trips.
pub const STATEMENT_ROWS_MAX: usize = 5_000;

/// Bytes of payloads after which [`crate::write_all`] closes a statement, which bounds what driver and server hold at once.
pub const STATEMENT_BYTES_MAX: usize = 8 * 1024 * 1024;
