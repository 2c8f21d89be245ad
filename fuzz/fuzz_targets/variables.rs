//! The environment's part of a configuration.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| postrider_relay::config::fuzzing::read_variables(data));
