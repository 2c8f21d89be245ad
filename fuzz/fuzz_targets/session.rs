//! A server that says anything while a session starts.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| postrider_relay::postgres::fuzzing::talk(data));
