//! Follows orders: what shall be delivered is written down before it is sent, and what became of it afterwards.

use std::collections::HashSet;
use std::sync::Arc;

use sha2::{Digest, Sha256};
use tokio::time::Instant;
use tracing::info;
use uuid::Uuid;

use crate::pipeline::dead_letters::DeadLetters;
use crate::pipeline::dead_letters::index::Work;
use crate::pipeline::dead_letters::letters::{Letters, News, Order, Returned, Stays, Step, Verb};
use crate::pipeline::error::Error;
use crate::pipeline::message::{Cut, Messages, Part};
use crate::pipeline::parking::KeyHash;
use crate::pipeline::sink::{AWAITED, Durable, Refused, Sink};
use crate::pipeline::times::now_ms;

impl<S: Sink, L: Letters> DeadLetters<S, L> {
    /// Follows one order, or lets one batch of letters go that wait for nothing any more; false if nothing is left to do.
    pub(super) async fn work(&mut self) -> Result<bool, Error> {
        self.learn().await?;
        let index = &self.index;
        self.rests.retain(|letter| index.state(letter).is_some_and(|state| !state.is_settled()));
        match self.next_work() {
            None => return Ok(false),
            Some(Work::Begin(order)) => self.begin(order).await?,
            Some(Work::Resume(order)) => self.deliver(order).await?,
            Some(Work::Release { topic, partition, offsets }) => {
                let order = Order {
                    id: Uuid::now_v7().as_u128(),
                    verb: Verb::Release,
                    step: Step::Asked,
                    topic,
                    partition,
                    offsets,
                    again: false,
                    by: self.options.by.clone(),
                    at_ms: now_ms(),
                    done_at_ms: None,
                    returned: Vec::new(),
                };
                // It names them, without which they could be another's.
                self.index.apply(News::Order(order.clone()));
                self.begin(order).await?;
            }
        }
        Ok(true)
    }

    /// Decides what the order delivers, writes that down and delivers it.
    async fn begin(&mut self, mut order: Order) -> Result<(), Error> {
        let (goes, stays) = self.index.decide(&order);
        (order.offsets, order.returned) = (goes, stays);
        let messages = self.fetch(&mut order).await?;
        let refused = if messages.is_empty() { Vec::new() } else { self.inner.admit(&messages).await? };
        self.leave(&mut order, &messages, &refused);
        if order.offsets.is_empty() {
            return self.done(order).await;
        }
        order.step = Step::Running;
        self.write(&[order.clone()]).await?;
        self.deliver(order).await
    }

    /// Delivers exactly what was written down.
    async fn deliver(&mut self, mut order: Order) -> Result<(), Error> {
        let mut messages = self.fetch(&mut order).await?;
        let refused = if messages.is_empty() { Vec::new() } else { self.inner.admit(&messages).await? };
        let gone = self.leave(&mut order, &messages, &refused);
        messages.remove(&gone);
        if messages.is_empty() {
            return self.done(order).await;
        }
        let fate = self.inner.send(messages).await?.await?;
        if let Some(split) = &fate.split {
            return self.cut(order, split.after).await;
        }
        self.conclude(order, &fate).await
    }

    /// What was delivered is settled, and what was refused after all is a letter again.
    async fn conclude(&mut self, mut order: Order, fate: &Durable) -> Result<(), Error> {
        let offsets = order.offsets.clone();
        for refused in &fate.refused {
            if let Some(&offset) = offsets.get(refused.index) {
                order.returned.push(Returned { offset, why: Stays::Refused, reason: refused.reason.clone() });
            }
        }
        let stays: HashSet<i64> = order.returned.iter().map(|returned| returned.offset).collect();
        order.offsets.retain(|offset| !stays.contains(offset));
        self.done(order).await
    }

    /// Makes two orders of one whose batch is refused for something in it: nothing of it was delivered.
    async fn cut(&mut self, mut order: Order, after: usize) -> Result<(), Error> {
        let (first, second) = order.offsets.split_at(after.min(order.offsets.len()));
        let half = |offsets: &[i64], which: u8| Order {
            id: half_of(order.id, which),
            offsets: offsets.to_vec(),
            returned: Vec::new(),
            ..order.clone()
        };
        let halves = [half(first, 1), half(second, 2)];
        self.write(&halves).await?;
        let moved = |offset| Returned { offset, why: Stays::Moved, reason: "its order was cut in two".to_owned() };
        order.returned.extend(order.offsets.drain(..).map(moved));
        self.done(order).await
    }

    async fn done(&mut self, mut order: Order) -> Result<(), Error> {
        (order.step, order.done_at_ms) = (Step::Done, Some(now_ms()));
        self.write(&[order.clone()]).await?;
        let refused = order.returned.iter().filter(|returned| returned.why == Stays::Refused).count();
        let metrics = &self.options.metrics.dead_letters;
        metrics.replayed.with_label_values(&["delivered"]).inc_by(order.offsets.len() as u64);
        metrics.replayed.with_label_values(&["refused"]).inc_by(refused as u64);
        let (verb, delivered, by) = (order.verb.word(), order.offsets.len(), order.by);
        info!(verb, delivered, refused, stayed = order.returned.len(), by, "delivered dead letters");
        Ok(())
    }

    async fn write(&mut self, orders: &[Order]) -> Result<(), Error> {
        self.letters.write(orders).await?;
        for order in orders {
            self.index.apply(News::Order(order.clone()));
        }
        self.show();
        Ok(())
    }

    /// The records of an order, as a batch of its own; what is gone, the order leaves.
    async fn fetch(&mut self, order: &mut Order) -> Result<Messages, Error> {
        let mut messages = self.letters.fetch(&self.index.places(order)).await?;
        let there: HashSet<i64> = messages.iter().map(|message| message.offset()).collect();
        let gone = |offset: &i64| Returned {
            offset: *offset,
            why: Stays::Gone,
            reason: "its record is no longer kept".to_owned(),
        };
        order.returned.extend(order.offsets.iter().filter(|offset| !there.contains(offset)).map(gone));
        order.offsets.retain(|offset| there.contains(offset));
        if let (Some(&first), Some(&last)) = (order.offsets.first(), order.offsets.last()) {
            messages.set_cut(Cut {
                topic: Arc::clone(&order.topic),
                partition: order.partition,
                first,
                last,
                part: Part::default(),
            });
            messages.set_salt(order.id);
        }
        if let Some(of) = self.options.topics.iter().find(|of| of.topic == order.topic) {
            messages.set_route(of.route);
        }
        Ok(messages)
    }

    /// Leaves what is refused, and what is behind it of its keys; the places that are gone.
    fn leave(&mut self, order: &mut Order, messages: &Messages, refused: &[Refused]) -> Vec<usize> {
        if refused.is_empty() {
            return Vec::new();
        }
        let at = |place: usize| messages.at(place).map(|message| message.offset());
        let (mut stays, mut keys): (HashSet<i64>, HashSet<KeyHash>) = Default::default();
        for refused in refused {
            let Some(offset) = at(refused.index) else { continue };
            stays.insert(offset);
            let key = self.index.key(order, offset);
            let waits = if key.is_some_and(|key| !keys.insert(key)) {
                refused.depends
            } else {
                // By a person's wish it is tried once, and he is told.
                let letter = order.identity(offset);
                let may_wait = order.verb == Verb::Release && refused.code == AWAITED;
                may_wait && self.rests.begin(letter, Instant::now())
            };
            let why = if waits { Stays::Behind } else { Stays::Refused };
            order.returned.push(Returned { offset, why, reason: refused.reason.clone() });
        }
        for offset in self.index.behind(order, &stays) {
            stays.insert(offset);
            let reason = "an earlier letter of its key stays".to_owned();
            order.returned.push(Returned { offset, why: Stays::Behind, reason });
        }
        order.offsets.retain(|offset| !stays.contains(offset));
        let is_gone = |place: &usize| at(*place).is_some_and(|offset| stays.contains(&offset));
        (0..messages.len()).filter(is_gone).collect()
    }
}

/// The name of one half of an order: the same whoever cuts it, and however often.
fn half_of(id: u128, which: u8) -> u128 {
    let digest = Sha256::new_with_prefix(id.to_be_bytes()).chain_update([which]).finalize();
    let mut half = [0; 16];
    half.copy_from_slice(&digest[..16]);
    u128::from_be_bytes(half).max(1)
}
