//! A block of copied rows.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| postrider_relay::postgres::fuzzing::copies(data));
