//! Names of tables.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| postrider_relay::config::fuzzing::read_tables(data));
