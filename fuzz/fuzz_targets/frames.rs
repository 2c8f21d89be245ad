//! Frames of a replication stream, cut anywhere.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| postrider_relay::postgres::fuzzing::frames(data));
