//! What travels: messages whose bytes lie in one arena per batch, so that nothing is allocated or counted per message.
//!
//! A source fills [`Messages`] with spans of the buffer it read; what it has to make itself (an unescaped header, a
//! position) goes to a side buffer. A sink reads [`MessageRef`]s. Dropping the batch gives the buffer back to its pool.

mod cut;
mod name;
mod redirect;

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;

use crate::pipeline::times::Times;

pub use cut::{Cut, Part};
pub use redirect::ELSEWHERE;

/// The largest arena or side buffer that spans can address, in bytes.
pub const ARENA_BYTES_MAX: usize = (SIDE - 1) as usize;

/// The bit of a span's offset that says: in the side buffer.
const SIDE: u32 = 1 << 31;

/// Bytes of a batch: an offset and a length into its arena or its side buffer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    offset: u32,
    len: u32,
}

impl Span {
    /// The bytes of the arena at `range`, which lies within [`ARENA_BYTES_MAX`].
    #[must_use]
    pub fn arena(range: Range<usize>) -> Self {
        debug_assert!(range.end <= ARENA_BYTES_MAX, "a span beyond the addressable arena");
        Self { offset: range.start as u32, len: (range.end - range.start) as u32 }
    }

    /// Length in bytes.
    #[must_use]
    pub fn len(self) -> usize {
        self.len as usize
    }

    /// Whether it covers no byte.
    #[must_use]
    pub fn is_empty(self) -> bool {
        self.len == 0
    }

    /// A part of it, by its place in it.
    #[must_use]
    pub fn within(self, part: Range<usize>) -> Self {
        debug_assert!(part.start <= part.end && part.end <= self.len(), "a part beyond its span");
        Self { offset: self.offset + part.start as u32, len: (part.end - part.start) as u32 }
    }

    fn range(self) -> Range<usize> {
        let start = (self.offset & !SIDE) as usize;
        start..start + self.len as usize
    }
}

/// The name of a header: one that the relay writes, or one of the event's own.
#[derive(Debug, Clone, Copy)]
pub enum HeaderName {
    /// A name known at compile time.
    Static(&'static str),
    /// A name that the writer chose; UTF-8.
    Span(Span),
}

/// One header of a message.
#[derive(Debug, Clone, Copy)]
pub struct Header {
    /// Its name.
    pub name: HeaderName,
    /// Its value; `None` is Kafka's null value, not an empty one.
    pub value: Option<Span>,
}

/// One record on its way to a sink. Its spans point into the [`Messages`] that hold it.
#[derive(Debug, Clone)]
pub struct Message {
    /// The topic, interned by the source.
    pub topic: Arc<str>,
    /// What orders it and chooses its partition; `None` promises no order.
    pub key: Option<Span>,
    /// The record's value; `None` is a tombstone.
    pub value: Option<Span>,
    /// Its headers: a range of the batch's header list.
    pub headers: Range<u32>,
    /// When its transaction committed, in milliseconds since 1970.
    pub timestamp_ms: i64,
    /// What names it in its source, greater than that of every message before it; 0 if the source has no such name.
    pub position: u128,
    /// The number of the route it takes: what to do if it cannot be delivered is told by route.
    pub route: u16,
}

/// A message that its source could not shape: it must not be sent, and must not be lost.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unfit {
    /// Its place in the batch, from 0.
    pub index: usize,
    /// Why, without any byte of it.
    pub reason: String,
}

/// A partition that was chosen for a message, in the topic that it had then.
#[derive(Debug)]
struct Chosen {
    index: usize,
    partition: i32,
    topic: Arc<str>,
}

/// The messages of one batch, with the bytes they point into.
#[derive(Debug, Default)]
pub struct Messages {
    arena: Bytes,
    side: Vec<u8>,
    headers: Vec<Header>,
    list: Vec<Message>,
    unfit: Vec<Unfit>,
    /// The messages whose key does not choose their partition, in order: most batches have none.
    partitions: Vec<Chosen>,
    /// The names of the messages that have one, at their places; no longer than the list, and empty for most batches.
    names: Vec<u128>,
    times: Times,
    cut: Option<Cut>,
    salt: u128,
}

/// A little more than so many, for what is never quite alike.
fn with_slack(len: usize) -> usize {
    len + len / 8
}

impl Messages {
    /// No messages yet, over the bytes that arena spans will point into.
    #[must_use]
    pub fn over(arena: Bytes) -> Self {
        Self {
            arena,
            side: Vec::new(),
            headers: Vec::new(),
            list: Vec::new(),
            unfit: Vec::new(),
            partitions: Vec::new(),
            names: Vec::new(),
            times: Times::default(),
            cut: None,
            salt: 0,
        }
    }

    /// Takes the messages out; room for as many stays, over no arena.
    #[must_use]
    pub fn take(&mut self) -> Self {
        let left = Self {
            side: Vec::with_capacity(with_slack(self.side.len())),
            headers: Vec::with_capacity(with_slack(self.headers.len())),
            list: Vec::with_capacity(with_slack(self.list.len())),
            ..Self::default()
        };
        std::mem::replace(self, left)
    }

    /// What it was cut out of; `None` unless its source reads such a log.
    #[must_use]
    pub fn cut(&self) -> Option<&Cut> {
        self.cut.as_ref()
    }

    /// Where it stands in its batch.
    #[must_use]
    pub fn part(&self) -> Part {
        self.cut.as_ref().map_or_else(Part::default, |cut| cut.part)
    }

    /// Notes what it was cut out of.
    pub fn set_cut(&mut self, cut: Cut) {
        self.cut = Some(cut);
    }

    /// What tells a delivery on purpose from the first one of the same records: 0 for the first, else the name of the order
    /// by which they are delivered again. A sink that knows what it took before takes it into account.
    #[must_use]
    pub fn salt(&self) -> u128 {
        self.salt
    }

    /// Notes that the batch is delivered again, by the order of that name.
    pub fn set_salt(&mut self, salt: u128) {
        self.salt = salt;
    }

    /// When it reached the places on its way.
    #[must_use]
    pub fn times(&self) -> Times {
        self.times
    }

    /// Notes when it reached a place.
    pub fn times_mut(&mut self) -> &mut Times {
        &mut self.times
    }

    /// Copies `bytes` to the side buffer.
    pub fn keep(&mut self, bytes: &[u8]) -> Span {
        let offset = self.side.len();
        self.side.extend_from_slice(bytes);
        debug_assert!(self.side.len() <= ARENA_BYTES_MAX, "a side buffer beyond the addressable size");
        Span { offset: offset as u32 | SIDE, len: bytes.len() as u32 }
    }

    /// Lets `write` append to the side buffer; the span of what it appended. Nothing stays of what fails.
    ///
    /// # Errors
    /// What `write` says.
    #[inline]
    pub fn write<E>(&mut self, write: impl FnOnce(&mut Vec<u8>) -> Result<(), E>) -> Result<Span, E> {
        let offset = self.side.len();
        let written = write(&mut self.side);
        if written.is_err() {
            self.side.truncate(offset);
        }
        debug_assert!(self.side.len() <= ARENA_BYTES_MAX, "a side buffer beyond the addressable size");
        written.map(|()| Span { offset: offset as u32 | SIDE, len: self.side.len().saturating_sub(offset) as u32 })
    }

    /// The span of `bytes`: where they lie if that is in the arena, else a copy of them in the side buffer.
    pub fn span_of(&mut self, bytes: &[u8]) -> Span {
        let offset = bytes.as_ptr().addr().wrapping_sub(self.arena.as_ptr().addr());
        match offset.checked_add(bytes.len()) {
            Some(end) if end <= self.arena.len() => Span::arena(offset..end),
            _ => self.keep(bytes),
        }
    }

    /// Decodes pairs of hexadecimal digits to the side buffer; `None` if they are not that.
    pub fn keep_hex(&mut self, digits: &[u8]) -> Option<Span> {
        let offset = self.side.len();
        let (pairs, rest) = digits.as_chunks::<2>();
        for [high, low] in pairs {
            let (Some(high), Some(low)) = ((*high as char).to_digit(16), (*low as char).to_digit(16)) else {
                self.side.truncate(offset);
                return None;
            };
            self.side.push((high << 4 | low) as u8);
        }
        rest.is_empty().then_some(Span { offset: offset as u32 | SIDE, len: pairs.len() as u32 })
    }

    /// Adds a header to the message that the next [`Messages::push`] makes.
    pub fn header(&mut self, name: HeaderName, value: Option<Span>) {
        self.headers.push(Header { name, value });
    }

    /// How many headers were added so far: where the next message's own begin.
    #[must_use]
    pub fn header_mark(&self) -> u32 {
        self.headers.len() as u32
    }

    /// Forgets the headers added since `mark`, for a message that turns out not to be sent with them.
    pub fn header_truncate(&mut self, mark: u32) {
        self.headers.truncate(mark as usize);
    }

    /// Adds a message.
    pub fn push(&mut self, message: Message) {
        self.list.push(message);
    }

    /// Adds a message that must not be sent. What could be read of it travels along.
    pub fn push_unfit(&mut self, message: Message, reason: impl Into<String>) {
        self.unfit.push(Unfit { index: self.list.len(), reason: reason.into() });
        self.list.push(message);
    }

    /// Sends the message that was added last to this partition, whatever its key says.
    pub fn choose_partition(&mut self, partition: i32) {
        if let Some(last) = self.list.last() {
            let topic = Arc::clone(&last.topic);
            self.partitions.push(Chosen { index: self.list.len() - 1, partition, topic });
        }
    }

    /// The messages that must not be sent, in order.
    #[must_use]
    pub fn unfit(&self) -> &[Unfit] {
        &self.unfit
    }

    /// Takes the messages at `indexes`, which rise, out of the batch; what else it says of them, it forgets too.
    pub fn remove(&mut self, indexes: &[usize]) {
        let (mut next, mut index) = (indexes.iter().peekable(), 0);
        self.list.retain(|_| {
            let keep = next.next_if(|next| **next == index).is_none();
            index += 1;
            keep
        });
        let mut index = 0;
        self.names.retain(|_| {
            index += 1;
            indexes.binary_search(&(index - 1)).is_err()
        });
        self.unfit.retain_mut(|unfit| {
            let gone = indexes.partition_point(|index| *index < unfit.index);
            let keep = indexes.get(gone) != Some(&unfit.index);
            unfit.index -= gone;
            keep
        });
        self.partitions.retain_mut(|chosen| {
            let gone = indexes.partition_point(|removed| *removed < chosen.index);
            let keep = indexes.get(gone) != Some(&chosen.index);
            chosen.index -= gone;
            keep
        });
    }

    /// How many messages.
    #[must_use]
    pub fn len(&self) -> usize {
        self.list.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// The memory that the batch holds, in bytes: what the limits in flight count.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.arena.len()
            + self.side.len()
            + self.headers.len() * size_of::<Header>()
            + self.list.len() * size_of::<Message>()
    }

    /// The bytes that were made for the batch, beside those that it points at where they were read.
    #[must_use]
    pub fn made_bytes(&self) -> usize {
        self.side.len()
    }

    /// Key and value bytes of all messages: what is published, without headers.
    #[must_use]
    pub fn payload_bytes(&self) -> usize {
        self.list.iter().map(|m| m.key.map_or(0, Span::len) + m.value.map_or(0, Span::len)).sum()
    }

    /// The bytes of a span of this batch.
    #[must_use]
    pub fn get(&self, span: Span) -> &[u8] {
        if span.offset & SIDE == 0 { &self.arena[span.range()] } else { &self.side[span.range()] }
    }

    /// The messages in order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = MessageRef<'_>> {
        self.list.iter().enumerate().map(|(index, message)| MessageRef { messages: self, message, index })
    }

    /// The message at `index`, counted from 0 in the order of pushing.
    #[must_use]
    pub fn at(&self, index: usize) -> Option<MessageRef<'_>> {
        self.list.get(index).map(|message| MessageRef { messages: self, message, index })
    }
}

/// A message together with the bytes it points into.
#[derive(Debug, Clone, Copy)]
pub struct MessageRef<'a> {
    messages: &'a Messages,
    message: &'a Message,
    index: usize,
}

impl<'a> MessageRef<'a> {
    /// The topic to publish to.
    #[must_use]
    pub fn topic(&self) -> &'a str {
        &self.message.topic
    }

    /// The key's bytes.
    #[must_use]
    pub fn key(&self) -> Option<&'a [u8]> {
        self.message.key.map(|span| self.messages.get(span))
    }

    /// The value's bytes; `None` is a tombstone.
    #[must_use]
    pub fn value(&self) -> Option<&'a [u8]> {
        self.message.value.map(|span| self.messages.get(span))
    }

    /// When its transaction committed, in milliseconds since 1970.
    #[must_use]
    pub fn timestamp_ms(&self) -> i64 {
        self.message.timestamp_ms
    }

    /// What names it in its source; 0 if the source has no such name.
    #[must_use]
    pub fn position(&self) -> u128 {
        self.message.position
    }

    /// Where it lies in its partition, of a source that names its messages so.
    #[must_use]
    pub fn offset(&self) -> i64 {
        i64::try_from(self.message.position).unwrap_or(i64::MAX)
    }

    /// The number of its route.
    #[must_use]
    pub fn route(&self) -> u16 {
        self.message.route
    }

    /// Of which partition, and which offsets, the batch is that it came with, if it was read from Kafka.
    #[must_use]
    pub fn cut(&self) -> Option<&Cut> {
        self.messages.cut()
    }

    /// The partition to send it to; `None` leaves it to the key.
    #[must_use]
    pub fn partition(&self) -> Option<i32> {
        let partitions = &self.messages.partitions;
        if partitions.is_empty() {
            return None;
        }
        let at = partitions.binary_search_by_key(&self.index, |chosen| chosen.index).ok()?;
        // Sent elsewhere, as a dead letter is, the number means nothing.
        Some(&partitions[at]).filter(|chosen| *chosen.topic == *self.message.topic).map(|chosen| chosen.partition)
    }

    /// How many headers it carries.
    #[must_use]
    pub fn header_count(&self) -> usize {
        self.message.headers.len()
    }

    /// Its headers in order: name and value. A name that is not UTF-8 cannot come from Postgres and reads as empty.
    pub fn headers(&self) -> impl ExactSizeIterator<Item = (&'a str, Option<&'a [u8]>)> + use<'a> {
        let messages = self.messages;
        let range = self.message.headers.start as usize..self.message.headers.end as usize;
        messages.headers[range].iter().map(move |header| {
            let name = match header.name {
                HeaderName::Static(name) => name,
                HeaderName::Span(span) => str::from_utf8(messages.get(span)).unwrap_or_default(),
            };
            (name, header.value.map(|span| messages.get(span)))
        })
    }

    /// The value of the header `name`, if it is there.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&'a [u8]> {
        self.headers().find(|(n, _)| *n == name).and_then(|(_, value)| value)
    }
}

#[cfg(test)]
#[path = "message_tests.rs"]
mod tests;
