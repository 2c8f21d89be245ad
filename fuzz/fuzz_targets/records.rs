//! Progress records.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| postrider_relay::sources::wal::fuzzing::read_records(data));
