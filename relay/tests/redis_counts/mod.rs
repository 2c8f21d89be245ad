//! What is counted in Redis from a stream: each record once, however often and in whatever cuts it is delivered; and what is counted
//! about it: pages that an invalidation missed.

#![expect(clippy::unwrap_used, reason = "what these helpers cannot do is a failure of the test that asks for it")]

mod audit;
mod once;
mod scene;
mod score;
mod seen;
