//! The begins and ends of transactions as records of their own, and the place of each event in its transaction.

use std::convert::Infallible;
use std::sync::Arc;

use crate::pipeline::Messages;
use crate::shape::change::envelope::{BOUNDARY_KEY_SCHEMA, BOUNDARY_SCHEMA, around};
use crate::shape::change::form::Form;
use crate::shape::change::options::{CaptureOptions, ChangeForm};
use crate::shape::change::row::{InTransaction, Stamp};
use crate::shape::change::source::At;
use crate::shape::change::{Capture, hash_map, source};
use crate::shape::json;

/// What logical messages are called among the tables of a transaction.
const MESSAGES: &str = "message";

/// A transaction's begin or end.
#[derive(Debug, Clone, Copy)]
pub enum Boundary<'c> {
    /// It begins.
    Begin,
    /// It ends, after so many events.
    End(&'c EventCounts),
}

/// Counts the events of a transaction: in all, and of each table. Begun anew at each begin; what is not published again after a
/// restart is counted all the same.
#[derive(Debug, Clone, Default)]
pub struct EventCounts {
    total: u64,
    tables: Vec<(String, u64)>,
    /// The most tables that a transaction had, which the order of their names depends on.
    most: usize,
}

impl EventCounts {
    /// A transaction begins.
    pub fn clear(&mut self) {
        self.total = 0;
        self.tables.clear();
    }

    /// Counts `events` of a table's change, see [`Capture::events`]; the place of the first of them.
    pub fn count(&mut self, form: &Form, events: u64) -> Option<InTransaction> {
        self.add(form.table(), events)
    }

    /// Counts a logical message that is published; its place.
    pub fn count_message(&mut self) -> Option<InTransaction> {
        self.add(MESSAGES, 1)
    }

    fn add(&mut self, name: &str, events: u64) -> Option<InTransaction> {
        if events == 0 {
            return None;
        }
        // Changes of one table come in runs; a transaction has few tables.
        let at = self.tables.iter().rposition(|(table, _)| table == name).unwrap_or_else(|| {
            self.tables.push((name.to_owned(), 0));
            self.most = self.most.max(self.tables.len());
            self.tables.len() - 1
        });
        let place = InTransaction { total_order: self.total + 1, data_collection_order: self.tables[at].1 + 1 };
        self.total += events;
        self.tables[at].1 += events;
        Some(place)
    }

    /// The tables in the order in which they are told: that of Java's `HashMap`, or that in which they came.
    fn in_order(&self, form: ChangeForm) -> Vec<&(String, u64)> {
        let mut tables: Vec<_> = self.tables.iter().collect();
        if form == ChangeForm::Debezium {
            hash_map::order(&mut tables, self.most, |(name, _)| name);
        }
        tables
    }
}

/// The texts around a boundary's key and value, and its topic.
#[derive(Debug)]
pub(super) struct Boundaries {
    topic: Arc<str>,
    around_key: (Vec<u8>, Vec<u8>),
    around_value: (Vec<u8>, Vec<u8>),
}

impl Boundaries {
    pub(super) fn new(options: &CaptureOptions) -> Option<Self> {
        let topic = options.transaction_topic.as_deref()?;
        Some(Self {
            topic: Arc::from(topic),
            around_key: around(options.schemas, BOUNDARY_KEY_SCHEMA),
            around_value: around(options.schemas, BOUNDARY_SCHEMA),
        })
    }
}

impl Capture {
    /// Adds the record of a transaction's begin or end, whose `stamp` says where the WAL speaks of it; nothing without a topic of
    /// transactions.
    pub fn transaction(&mut self, boundary: Boundary<'_>, stamp: &Stamp<'_>, messages: &mut Messages) {
        let (set, at) = (&*self.set, At { stamp, texts: &self.stamped });
        let Some(Boundaries { topic, around_key, around_value }) = &set.boundaries else { return };
        let Ok(key) = messages.write(|out| {
            out.extend_from_slice(&around_key.0);
            out.extend_from_slice(br#"{"id":"#);
            source::transaction_id(stamp, out);
            out.push(b'}');
            out.extend_from_slice(&around_key.1);
            Ok::<(), Infallible>(())
        });
        let Ok(value) = messages.write(|out| {
            out.extend_from_slice(&around_value.0);
            let status = if matches!(boundary, Boundary::Begin) { "BEGIN" } else { "END" };
            out.extend_from_slice(format!(r#"{{"status":"{status}","id":"#).as_bytes());
            source::transaction_id(stamp, out);
            match boundary {
                Boundary::Begin => out.extend_from_slice(br#","event_count":null,"data_collections":null"#),
                Boundary::End(counts) => {
                    out.extend_from_slice(
                        format!(r#","event_count":{},"data_collections":["#, counts.total).as_bytes(),
                    );
                    for (index, (table, count)) in counts.in_order(set.options.form).into_iter().enumerate() {
                        out.extend_from_slice(if index > 0 { b"," } else { b"" });
                        out.extend_from_slice(br#"{"data_collection":"#);
                        json::quote(table, out);
                        out.extend_from_slice(format!(r#","event_count":{count}}}"#).as_bytes());
                    }
                    out.push(b']');
                }
            }
            out.extend_from_slice(br#","ts_ms":"#);
            json::integer(stamp.commit_us.div_euclid(1000), out);
            out.push(b'}');
            out.extend_from_slice(&around_value.1);
            Ok::<(), Infallible>(())
        });
        let mark = messages.header_mark();
        set.position(0, at, messages);
        let message = set.message(topic, (Some(key), Some(value)), mark, 0, at, messages);
        messages.push(message);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_are_told_in_the_order_of_a_java_hash_map() {
        let mut counts = EventCounts::default();
        let names = "users,orders,order_items,likes,posts,comments,follows,a,b,Aa,BB,payments,inventory,audit";
        for name in names.split(',') {
            counts.add(&format!("cdc.{name}"), 1);
        }
        let told = |counts: &EventCounts, form| {
            let names = counts.in_order(form).into_iter().map(|(name, _)| name.trim_start_matches("cdc.").to_owned());
            names.collect::<Vec<_>>().join(",")
        };
        // As recorded from Debezium, where the table stays as large as it was.
        let recorded = "orders,users,order_items,likes,follows,audit,Aa,BB,comments,inventory,b,posts,a,payments";
        assert_eq!(told(&counts, ChangeForm::Debezium), recorded);
        assert_eq!(told(&counts, ChangeForm::Native), names);
        counts.clear();
        for name in names.split(',').take(9) {
            counts.add(&format!("cdc.{name}"), 1);
        }
        assert_eq!(told(&counts, ChangeForm::Debezium), "orders,users,order_items,likes,follows,comments,b,posts,a");
    }

    #[test]
    fn places_are_counted_from_one_in_all_and_by_table() {
        let mut counts = EventCounts::default();
        let place = |place: Option<InTransaction>| place.map(|place| (place.total_order, place.data_collection_order));
        assert_eq!(place(counts.add("a", 1)), Some((1, 1)));
        assert_eq!(place(counts.add("b", 2)), Some((2, 1)));
        assert_eq!(place(counts.add("a", 0)), None);
        assert_eq!(place(counts.add("a", 1)), Some((4, 2)));
        assert_eq!(place(counts.count_message()), Some((5, 1)));
        counts.clear();
        assert_eq!(place(counts.add("b", 1)), Some((1, 1)));
    }
}
