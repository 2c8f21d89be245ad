//! Looks at places again and again through sessions that stay open, and puts what is on one server together.

use std::collections::HashMap;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio_postgres::Client;

use crate::postgres::retention::WalRate;
use crate::slots::error::Error;
use crate::slots::facts::{self, Facts};
use crate::slots::list::{Instance, Listing, Options, Ours, Place, Unseen, judge};
use crate::slots::session;

/// Longest that the questions to one place may take. A session of a pooler's must not be told so itself: it is others', too.
const ANSWER_PATIENCE: Duration = Duration::from_secs(20);

/// What makes a server the same one: its port, and when it was started, in microseconds.
type Identity = (i32, i64);

/// A look at places, again and again.
#[derive(Debug)]
pub struct Survey {
    options: Options,
    eyes: Vec<Eye>,
    rates: HashMap<Identity, WalRate>,
}

/// A place, and the session through which it is looked at while that lives.
#[derive(Debug)]
struct Eye {
    place: Place,
    client: Option<Client>,
}

impl Survey {
    /// A look at these places, which are not connected to yet.
    #[must_use]
    pub fn of(places: Vec<Place>, options: Options) -> Self {
        let eyes = places.into_iter().map(|place| Eye { place, client: None }).collect();
        Self { options, eyes, rates: HashMap::new() }
    }

    /// Looks at all places at the same time. A session that is lost is opened anew.
    pub async fn look(&mut self) -> Listing {
        let mut looks = JoinSet::new();
        for (index, mut eye) in std::mem::take(&mut self.eyes).into_iter().enumerate() {
            looks.spawn(async move {
                let seen = eye.look().await;
                (index, eye, seen)
            });
        }
        let mut seen: Vec<_> = looks.join_all().await;
        seen.sort_by_key(|(index, ..)| *index);
        let mut listing = Listing { servers: Vec::new(), unseen: Vec::new() };
        let mut servers: Vec<(Identity, Vec<Seen>)> = Vec::new();
        for (_, eye, facts) in seen {
            let place = eye.place.clone();
            self.eyes.push(eye);
            match facts {
                Ok(facts) => {
                    let identity = identity(&facts);
                    match servers.iter_mut().find(|(known, _)| *known == identity) {
                        Some((_, seen)) => seen.push(Seen { place, facts }),
                        None => servers.push((identity, vec![Seen { place, facts }])),
                    }
                }
                Err(error) => listing.unseen.push(unseen(place.name, &error)),
            }
        }
        for (identity, seen) in servers {
            let instance = self.instance(identity, seen);
            listing.servers.extend(instance);
        }
        listing
    }

    /// One server of what was seen through each of its places.
    fn instance(&mut self, identity: Identity, seen: Vec<Seen>) -> Option<Instance> {
        let ours: Vec<Ours> = seen.iter().filter_map(|seen| seen.place.ours.clone()).collect();
        let places = seen.iter().map(|seen| seen.place.name.clone()).collect();
        // Of several figures for one disk the smallest is the safe one.
        let disk_bytes = seen.iter().filter_map(|seen| seen.place.disk_bytes).min();
        // Whoever sees more was asked by a role with more rights.
        let best = seen.iter().position(|seen| seen.facts.server.sees_all).unwrap_or_default();
        let publications: Vec<_> = seen.iter().flat_map(|seen| seen.facts.publications.clone()).collect();
        let Facts { server, slots, .. } = seen.into_iter().nth(best)?.facts;
        let window = self.options.window.as_secs_f64();
        let rate = self.rates.entry(identity).or_insert_with(|| WalRate::over(window));
        rate.add(server.clock, server.position.as_u64());
        let mut instance = Instance {
            places,
            wal_bytes_per_second: rate.bytes_per_second(),
            measured_seconds: rate.seconds(),
            wal_disk_bytes: disk_bytes,
            server,
            slots_in_all: slots.len(),
            slots: Vec::new(),
            publications: Vec::new(),
            hidden: None,
        };
        judge::judge(&mut instance, slots, publications, &ours, &self.options);
        Some(instance)
    }
}

/// What was seen through one place.
struct Seen {
    place: Place,
    facts: Facts,
}

impl Eye {
    async fn look(&mut self) -> Result<Facts, Error> {
        let client = match self.client.take().filter(|client| !client.is_closed()) {
            Some(client) => client,
            None => session::connect(&self.place.connect).await?,
        };
        let facts = tokio::time::timeout(ANSWER_PATIENCE, facts::read(&client)).await;
        let facts = facts.map_err(|_| Error::Silent { seconds: ANSWER_PATIENCE.as_secs() })??;
        self.client = Some(client);
        Ok(facts)
    }
}

#[expect(clippy::cast_possible_truncation, reason = "microseconds since 1970 fit")]
fn identity(facts: &Facts) -> Identity {
    (facts.server.port, (facts.server.started * 1e6) as i64)
}

fn unseen(place: String, error: &Error) -> Unseen {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        let said = error.to_string();
        // Some errors repeat their cause's text as their own, and tokio-postgres calls what the server said `db error`.
        if !text.contains(&said) && said != "db error" {
            text.push_str(": ");
            text.push_str(&said);
        }
        cause = error.source();
    }
    Unseen { place, error: text, help: error.help() }
}
