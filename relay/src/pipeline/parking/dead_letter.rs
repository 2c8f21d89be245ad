//! What a dead letter says of itself: why it is one, and where it belonged.

use crate::pipeline::message::MessageRef;

/// The header that says why the event could not be delivered.
pub const REASON: &str = "postrider-dead-letter-reason";
/// The header that names the topic that it was meant for.
pub const TOPIC: &str = "postrider-dead-letter-topic";
/// The header that names its route.
pub const ROUTE: &str = "postrider-dead-letter-route";
/// The header that carries its position, as 32 hexadecimal digits.
pub const POSITION: &str = "postrider-dead-letter-position";

/// The texts of a dead letter's headers.
pub(super) struct Labels {
    reason: String,
    topic: String,
    route: String,
    position: String,
}

impl Labels {
    /// Those of `message`, which is refused for `reason`.
    pub(super) fn of(message: &MessageRef<'_>, route: &str, reason: &str) -> Self {
        Self {
            reason: reason.to_owned(),
            topic: message.topic().to_owned(),
            route: route.to_owned(),
            position: format!("{:032x}", message.position()),
        }
    }

    /// Name and value of each.
    pub(super) fn headers(&self) -> [(&'static str, &[u8]); 4] {
        [
            (REASON, self.reason.as_bytes()),
            (TOPIC, self.topic.as_bytes()),
            (ROUTE, self.route.as_bytes()),
            (POSITION, self.position.as_bytes()),
        ]
    }
}
