//! The messages and services of the gRPC API, as generated from `proto/tokenweir/v1/metering.proto`.
//!
//! Deliberately absent: anything written by hand. What the messages mean is said in that file.

/// Version 1.
pub mod v1 {
    #![expect(missing_docs, clippy::all, reason = "generated")]
    #![cfg_attr(
        any(feature = "server", feature = "client"),
        expect(clippy::allow_attributes_without_reason, reason = "generated")
    )]
    #![cfg_attr(
        feature = "server",
        expect(
            clippy::allow_attributes,
            clippy::as_conversions,
            clippy::too_many_lines,
            reason = "generated"
        )
    )]

    tonic::include_proto!("tokenweir.v1");
}

/// The descriptors of the API, as reflection serves them.
pub const DESCRIPTORS: &[u8] = tonic::include_file_descriptor_set!("metering");
