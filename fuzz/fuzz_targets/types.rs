//! Values of captured columns.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| postrider_relay::shape::fuzzing::write_types(data));
