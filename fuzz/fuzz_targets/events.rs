//! The target `events`; what it checks stands at [`fuzz::events`].
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz::events::fuzz(data));
