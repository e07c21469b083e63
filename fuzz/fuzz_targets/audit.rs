//! The target `audit`; what it checks stands at [`fuzz::audit`].
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz::audit::fuzz(data));
