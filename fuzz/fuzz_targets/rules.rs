//! The target `rules`; what it checks stands at [`fuzz::rules`].
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz::rules::fuzz(data));
