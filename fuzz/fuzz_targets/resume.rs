//! A stream that keeps the protocol, cut and resumed anywhere.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| postrider_relay::sources::wal::fuzzing::cut_and_resume(data));
