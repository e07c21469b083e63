//! The messages and services of the gRPC API, as generated from `proto/tokenweir/v1/metering.proto`.
//!
//! Deliberately absent: anything written by hand. What the messages mean is said in that file.

/// Version 1.
pub mod v1 {
    #![expect(
        clippy::all,
        clippy::allow_attributes,
        clippy::allow_attributes_without_reason,
        reason = "generated"
    )]
    #![expect(missing_docs, clippy::as_conversions, reason = "generated")]

    tonic::include_proto!("tokenweir.v1");
}

/// The descriptors of the API, as reflection serves them.
pub const DESCRIPTORS: &[u8] = tonic::include_file_descriptor_set!("metering");
