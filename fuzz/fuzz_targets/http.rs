//! The target `http`; what it checks stands at [`fuzz::http`].
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz::http::fuzz(data));
