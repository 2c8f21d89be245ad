//! The content of a logical message that is an event.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| postrider_relay::shape::fuzzing::read_messages(data));
