//! The target `license_keys`; what it checks stands at [`fuzz::license_keys`].
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz::license_keys::fuzz(data));
