//! What the sink asks before it takes messages: whether their topics are there, and whether they will take them.

use crate::pipeline::message::MessageRef;
use crate::pipeline::{End, Error, Kind, Messages, Refused};
use crate::sinks::kafka::admission::largest_of;
use crate::sinks::kafka::inspector::learn;
use crate::sinks::kafka::refusal::{Class, Refusal, name_message};
use crate::sinks::kafka::refusals::Refusing;
use crate::sinks::kafka::topics::{TopicId, Topics};
use crate::sinks::kafka::{Kafka, blocking, delivered, now_ms};

impl Kafka {
    /// Makes the topics of these messages known, or known to be unusable, and takes over what changed about topics.
    pub(super) async fn prepare(&mut self, messages: &Messages) -> Result<(), Error> {
        self.topics.refresh().await;
        self.take_over_changes().await?;
        let mut unknown: Vec<Box<str>> = Vec::new();
        for name in runs(messages) {
            if !self.topics.is_settled(name) && !unknown.iter().any(|other| **other == *name) {
                unknown.push(name.into());
            }
        }
        if unknown.is_empty() {
            return Ok(());
        }
        if self.topics.is_full(unknown.len()) && delivered(&self.producer, &self.deliveries).await {
            // What overtakes a refused record within a transaction is aborted with it.
            if self.transactions.is_none() {
                self.renew()?;
            }
            self.topics.forget();
        }
        self.topics.learn(unknown).await
    }

    /// Makes sure that every topic of a batch is known, although whoever sends has asked before.
    pub(super) async fn insist_on_topics(&mut self, messages: &Messages) -> Result<(), Error> {
        if runs(messages).all(|name| self.topics.find(name).is_some()) {
            return Ok(());
        }
        self.prepare(messages).await?;
        let mut run = Run::default();
        for message in messages.iter() {
            if run.topic(&self.topics, &message).is_none() {
                let refusal = self.topics.refusal(message.topic());
                let (reason, help) = refusal.map_or_else(Default::default, |refusal| (refusal.reason, refusal.help));
                let context = format!("kafka cannot take {}: {reason}", name_message(&message));
                return Err(Error::new(End::Sink, Kind::Refused, context).with_help(help));
            }
        }
        Ok(())
    }

    /// Uses what changed about topics, such as a new number of partitions, once nothing is in flight.
    pub(super) async fn take_over_changes(&mut self) -> Result<(), Error> {
        let changed = self.topics.changed();
        if changed.is_empty() || !delivered(&self.producer, &self.deliveries).await {
            return Ok(());
        }
        self.topics.settled();
        let (producer, timeout) = (self.producer.handle(), self.options.connect_timeout);
        // The producer must know a partition before a record names it.
        let known = blocking(move || {
            let known = changed.iter().map(|name| learn(&producer, name, timeout));
            Ok(known.collect::<Vec<usize>>())
        });
        self.topics.use_changes(&known.await?);
        Ok(())
    }

    /// Why each of these messages will never be taken, by their index.
    pub(super) fn judge(&self, messages: &Messages) -> Vec<(usize, Refusal)> {
        let (largest, now_ms) = (largest_of(messages), now_ms());
        let mut refused = Vec::new();
        let mut run = Run::default();
        for (index, message) in messages.iter().enumerate() {
            let verdict = match run.topic(&self.topics, &message) {
                Some(topic) => self.rules.check(self.topics.topic(topic), &message, largest, now_ms),
                None => Err(self.topics.refusal(message.topic()).unwrap_or_else(|| {
                    // Its answer aged between the question and this: it is asked again when the message is sent again.
                    Refusal::new(Class::Missing, "the topic cannot be used just now".into(), String::new())
                })),
            };
            if let Err(refusal) = verdict {
                refused.push((index, refusal));
            }
        }
        refused
    }

    /// Makes sure that what topics are said to refuse is what they refuse now: a person may have mended it.
    pub(super) async fn look_again(
        &mut self,
        messages: &Messages,
        refused: &[(usize, Refusal)],
    ) -> Result<bool, Error> {
        let mut names: Vec<Box<str>> = Vec::new();
        for (index, refusal) in refused {
            let is_the_topics = matches!(refusal.class, Class::Size | Class::Key | Class::Time);
            let topic = messages.at(*index).map(|message| message.topic());
            if let Some(topic) = topic.filter(|topic| is_the_topics && !names.iter().any(|name| **name == **topic)) {
                names.push(topic.into());
            }
        }
        let any = !names.is_empty();
        if any {
            self.topics.look_again(names).await?;
        }
        Ok(any)
    }

    /// What is refused, for whoever sends: what was `found`, and what brokers refused before.
    pub(super) fn report(&self, messages: &Messages, found: Vec<(usize, Refusal)>) -> Vec<Refused> {
        let mut refused: Vec<Refused> = Vec::new();
        for (index, refusal) in found {
            self.metrics.kafka.admission_refused.with_label_values(&[refusal.class.name()]).inc();
            let message = messages.at(index).expect("judged by its index");
            let reason = format!("kafka cannot take {}: {}", name_message(&message), refusal.reason);
            let help = (!refusal.help.is_empty()).then_some(refusal.help);
            refused.push(Refused { help, ..Refused::new(index, reason) });
        }
        let recalled = self.deliveries.refusals.recall(messages.iter().map(|message| message.name()));
        for (index, Refusing { refusal, overtaken, .. }) in recalled {
            if let Some(known) = refused.iter_mut().find(|known| known.index == index) {
                known.overtaken = overtaken;
                continue;
            }
            self.metrics.kafka.admission_refused.with_label_values(&[Class::Broker.name()]).inc();
            let help = (!refusal.help.is_empty()).then_some(refusal.help);
            refused.push(Refused { help, overtaken, ..Refused::new(index, refusal.reason) });
        }
        refused.sort_unstable_by_key(|refused| refused.index);
        refused
    }
}

/// Which topic a run of messages goes to: they come in runs, of which each has its topic's name at one place in memory.
#[derive(Default)]
pub(super) struct Run<'m> {
    name: &'m str,
    topic: Option<TopicId>,
}

impl<'m> Run<'m> {
    pub(super) fn topic(&mut self, topics: &Topics, message: &MessageRef<'m>) -> Option<TopicId> {
        let name = message.topic();
        if !std::ptr::eq(self.name, name) {
            self.name = name;
            self.topic = topics.find(name);
        }
        self.topic
    }
}

/// The names of the topics of a batch, one for each run of messages for the same one.
fn runs(messages: &Messages) -> impl Iterator<Item = &str> {
    let mut before = "";
    messages.iter().map(|message| message.topic()).filter(move |name| {
        let is_new = !std::ptr::eq(before, *name);
        before = name;
        is_new
    })
}
