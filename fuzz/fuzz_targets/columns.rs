//! Values for columns of ClickHouse.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| postrider_relay::encode::fuzzing::fill_columns(data));
