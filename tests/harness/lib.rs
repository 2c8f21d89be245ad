//! What the end-to-end tests stand on: a database of one's own, the relay as a process, a reader of topics, a proxy that cuts.
//!
//! A test makes a [`Site`], starts a [`Relay`] on it and reads what arrives with a [`TopicReader`]; [`demo::judge`] compares
//! that with the outbox. Nothing is waited for by time: [`until`] asks for a condition, and fails with its name.
//!
//! Architecture invariant: the relay is only ever the built binary, set up by its own verbs as a user would.

mod binary;
mod load;
mod pace;
mod proxy;
mod reader;
mod relay;
mod servers;
mod site;
mod topic;
mod wait;

pub use demo::findings::{Defect, Findings};
pub use load::Load;
pub use pace::pace;
pub use proxy::{Proxy, Seen, Verdict};
pub use reader::{Record, TopicReader};
pub use relay::{Ended, Launch, Relay};
pub use servers::{newest, of_major, oldest, shared};
pub use site::Site;
pub use topic::{admin, alter_topic, create_topic};
pub use wait::{PATIENCE, until, until_or};
