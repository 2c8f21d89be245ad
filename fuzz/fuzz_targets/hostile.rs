//! A stream that keeps nothing.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| postrider_relay::sources::wal::fuzzing::cut_anything(data));
