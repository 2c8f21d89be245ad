//! Patterns of what is published.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| postrider_relay::shape::fuzzing::filter_values(data));
