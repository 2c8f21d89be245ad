//! A batch between being encoded and being sent: its parts come one after the other, and leave as one insert for each table.
//!
//! Guarantee: what the inserts are, and their tokens, depends on the batch alone, and not on the parts it came in.

use crate::encode::native::Block;
use crate::pipeline::{Cut, End, Error, Kind, Messages};
use crate::sinks::clickhouse::client::{Collapse, TableName};
use crate::sinks::clickhouse::insert::{Insert, Removal, Work};
use crate::sinks::clickhouse::prepare::Prepared;
use crate::sinks::clickhouse::token::Contents;

/// The rows that a part gives to one table.
#[derive(Debug)]
pub(super) struct Piece {
    /// The feed's name.
    pub(super) feed: String,
    /// The table.
    pub(super) table: TableName,
    /// Whether it may refuse rows that fit its columns.
    pub(super) may_refuse: bool,
    /// The rows.
    pub(super) block: Block,
    /// When those that replace each other do so.
    pub(super) collapse: Collapse,
}

/// What is encoded of a batch so far.
#[derive(Debug)]
pub(super) struct Gathering {
    contents: Contents,
    first: Option<i64>,
    tables: Vec<Gathered>,
    removals: Vec<Removal>,
    messages: usize,
    oldest_ms: Option<i64>,
}

/// The rows for one table: those of the first part, and of further ones.
#[derive(Debug)]
struct Gathered {
    first: Piece,
    further: Vec<Block>,
}

impl Gathered {
    fn blocks(&self) -> impl Iterator<Item = &Block> {
        std::iter::once(&self.first.block).chain(&self.further)
    }
}

impl Gathering {
    /// Nothing yet, of the batch that begins with these messages.
    pub(super) fn beginning_with(messages: &Messages, salt: &str) -> Self {
        Self {
            contents: Contents::new(salt, messages.salt()),
            first: messages.cut().map(|cut| cut.first),
            tables: Vec::new(),
            removals: Vec::new(),
            messages: 0,
            oldest_ms: None,
        }
    }

    /// Takes the next part of the batch.
    ///
    /// # Errors
    /// If the table was altered since the last part: the batch must come again from its first.
    pub(super) fn add(&mut self, prepared: Prepared, messages: &Messages) -> Result<(), Error> {
        self.contents.add(messages);
        self.messages += messages.len();
        self.oldest_ms = messages.iter().map(|message| message.timestamp_ms()).chain(self.oldest_ms).min();
        self.removals.extend(prepared.removals);
        for piece in prepared.pieces {
            match self.tables.iter_mut().find(|of| of.first.feed == piece.feed && of.first.table == piece.table) {
                None => self.tables.push(Gathered { first: piece, further: Vec::new() }),
                Some(of) if of.first.block.is_like(&piece.block) => of.further.push(piece.block),
                Some(of) => {
                    return Err(again(&format!("table {} was altered while a batch for it was read", of.first.table)));
                }
            }
        }
        Ok(())
    }

    /// What it holds, in bytes.
    pub(super) fn bytes(&self) -> usize {
        self.tables.iter().flat_map(Gathered::blocks).map(Block::bytes).sum()
    }

    /// The batch is complete: its inserts. `cut` is that of its last part.
    pub(super) fn close(mut self, cut: Option<&Cut>) -> Work {
        self.contents.close(cut.map(|cut| (&*cut.topic, cut.partition, self.first.unwrap_or(cut.first), cut.last)));
        // What may refuse goes first: once a table has the rows, the batch cannot be cut any more.
        self.tables.sort_by_key(|of| !of.first.may_refuse);
        let inserts = self.tables.into_iter().map(|of| {
            let rows = of.blocks().map(Block::rows).sum();
            let Piece { feed, table, block, collapse, .. } = of.first;
            let columns = block.columns.iter().map(|column| column.name().to_owned()).collect();
            let token = self.contents.token(&table.quoted(), &feed);
            let mut out = Vec::new();
            Block::write_all(std::iter::once(block).chain(of.further).collect(), &mut out);
            Insert { table, columns, token, block: out.into(), rows, collapse }
        });
        Work {
            inserts: inserts.collect(),
            removals: self.removals,
            messages: self.messages,
            oldest_ms: self.oldest_ms,
            previous: None,
        }
    }
}

/// Why a batch must come again from its first part.
pub(super) fn again(why: &str) -> Error {
    Error::new(End::Sink, Kind::Refused, why).at_once().with_help("It is read again from its first record.")
}
