//! Log sequence numbers and quoted names.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| postrider_relay::postgres::fuzzing::texts(data));
