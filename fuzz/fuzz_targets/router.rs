//! Rows in the form of Debezium's event router.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| postrider_relay::shape::fuzzing::route_rows(data));
