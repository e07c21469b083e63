//! The target `snapshot`; what it checks stands at [`fuzz::snapshot`].
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz::snapshot::fuzz(data));
