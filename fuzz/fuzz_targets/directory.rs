//! The target `directory`; what it checks stands at [`fuzz::directory`].
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz::directory::fuzz(data));
