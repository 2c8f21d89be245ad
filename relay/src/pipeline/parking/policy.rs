//! What to do with a message that cannot be delivered, by route.

use std::sync::Arc;

/// A route's name, and what it does with a message that cannot be delivered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RoutePolicy {
    /// Its name, for people.
    pub name: String,
    /// What is done.
    pub on_refusal: OnRefusal,
}

/// What is done with a message that cannot be delivered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OnRefusal {
    /// It is parked, and later messages of its key with it; all others go on.
    Park,
    /// The stream waits until it can be delivered.
    Block,
    /// It goes to this topic instead, and its key goes on.
    DeadLetter(Arc<str>),
}

/// The routes by number.
#[derive(Debug, Clone)]
pub struct Policies(Arc<[RoutePolicy]>);

impl Policies {
    /// The policy of each route, the first of which has the number 0.
    #[must_use]
    pub fn new(routes: Vec<RoutePolicy>) -> Self {
        Self(routes.into())
    }

    /// The policy of a route; a number that nobody gave parks.
    pub(super) fn of(&self, route: u16) -> &OnRefusal {
        self.0.get(usize::from(route)).map_or(&OnRefusal::Park, |route| &route.on_refusal)
    }

    /// The name of a route.
    pub(super) fn name(&self, route: u16) -> &str {
        self.0.get(usize::from(route)).map_or("", |route| &route.name)
    }
}
