//! How a batch goes into the producer, message by message, so that none of a key can overtake another.

use std::sync::Arc;

use crate::pipeline::message::MessageRef;
use crate::pipeline::times::now_ms;
use crate::pipeline::{End, Error, Kind, Messages, Receipt};
use crate::sinks::kafka::admission::{largest_of, must_go_alone};
use crate::sinks::kafka::deliveries::Accepting;
use crate::sinks::kafka::producer::Dispatch;
use crate::sinks::kafka::questions::Run;
use crate::sinks::kafka::topics::TopicId;
use crate::sinks::kafka::{HEADER_MEMORY, Kafka, MESSAGE_MEMORY, await_room, delivered};
use crate::telemetry::failpoint::{Failpoint, reach};

/// What holds for all messages of a batch.
#[derive(Debug, Clone, Copy)]
struct Moment {
    /// Seconds since the sink was opened, from 1.
    second: u32,
    /// Milliseconds since 1970.
    now_ms: i64,
    /// What one message takes at most.
    largest: usize,
}

impl Kafka {
    /// Hands one message to the producer; false if a delivery failed instead, which the receipt tells.
    async fn publish(
        &mut self,
        message: &MessageRef<'_>,
        topic: TopicId,
        at: Moment,
        accepting: &mut Accepting<'_>,
    ) -> Result<bool, Error> {
        let alone = must_go_alone(self.topics.topic(topic), message, at.largest);
        let place = match message.partition().and_then(|partition| usize::try_from(partition).ok()) {
            Some(partition) => self.topics.topic_mut(topic).place_in(partition, at.second),
            None => self.topics.topic_mut(topic).place(message.key(), at.second),
        };
        // What overtook a refused record in a transaction is aborted with it.
        if (place.wait && self.transactions.is_none()) || alone {
            if !delivered(&self.producer, &self.deliveries).await {
                return Ok(false);
            }
            self.topics.settled();
        }
        if let (true, Some(partition)) = (place.first, place.partition) {
            self.topics.probe(topic, partition);
        }
        let clamped = self.topics.topic(topic).limits.clamp(message.timestamp_ms(), at.now_ms);
        if clamped.is_some() {
            self.metrics.kafka.clamped.inc();
        }
        let dispatch = Dispatch {
            ticket: accepting.ticket(),
            partition: place.partition.map(|partition| partition as i32),
            timestamp_ms: clamped.unwrap_or(message.timestamp_ms()),
            instead_of_ms: clamped.map(|_| message.timestamp_ms()),
        };
        self.batches.set_alone(alone);
        while let Err(not_taken) = self.producer.take(message, dispatch) {
            if !await_room(not_taken, &self.deliveries).await? {
                return Ok(false);
            }
        }
        accepting.accepted();
        reach(Failpoint::KafkaTaken);
        // A broker takes any first sequence number from a producer that it does not know yet, so that a request on its way
        // behind a refused one would overtake it. After a refusal there is none: one record at a time.
        if alone || self.batches.is_reduced() {
            let all = delivered(&self.producer, &self.deliveries).await;
            self.batches.set_alone(false);
            if all {
                self.topics.settled();
            }
            return Ok(all);
        }
        Ok(true)
    }

    /// Gives a batch to the producer: the receipt is that of its delivery.
    pub(super) async fn hand_over(&mut self, messages: Messages) -> Result<Receipt, Error> {
        reach(Failpoint::KafkaSend);
        self.insist_on_topics(&messages).await?;
        let memory =
            messages.bytes() + messages.len() * MESSAGE_MEMORY + messages.header_mark() as usize * HEADER_MEMORY;
        let names = messages.iter().map(|message| message.name()).collect();
        let deliveries = Arc::clone(&self.deliveries);
        let (mut accepting, receipt) = deliveries.begin(self.next(), names, memory).await;
        // Asked for once: the clock costs more than all else that is decided about a message here.
        let second = u32::try_from(self.started.elapsed().as_secs()).unwrap_or(u32::MAX).saturating_add(1);
        let at = Moment { second, now_ms: now_ms(), largest: largest_of(&messages) };
        let mut run = Run::default();
        for message in messages.iter() {
            // Whatever failed meanwhile took its successors with it: this message must not overtake them.
            if deliveries.is_troubled() {
                return Ok(receipt);
            }
            let Some(topic) = run.topic(&self.topics, &message) else {
                return Err(Error::new(End::Sink, Kind::Broken, "a topic was forgotten while a batch was sent"));
            };
            if !self.publish(&message, topic, at, &mut accepting).await? {
                return Ok(receipt);
            }
        }
        self.accepted += messages.len() as u64;
        reach(Failpoint::KafkaSent);
        Ok(receipt)
    }
}
