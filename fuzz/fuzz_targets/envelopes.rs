//! Records of topics, as workers read them.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| postrider_relay::shape::fuzzing::read_envelopes(data));
