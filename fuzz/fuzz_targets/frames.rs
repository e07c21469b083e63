//! The target `frames`; what it checks stands at [`fuzz::frames`].
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz::frames::fuzz(data));
