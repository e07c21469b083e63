//! The target `grpc`; what it checks stands at [`fuzz::grpc`].
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz::grpc::fuzz(data));
