//! The promises of Postrider, one file a promise, on real services.

mod tidy;
mod travel;
