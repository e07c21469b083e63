//! The error of decoding: what was wrong with the bytes. Whoever read them adds the file and the offset.

use thiserror::Error;

/// Stored bytes that cannot be decoded; the text names what was wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("{0}")]
pub struct DecodeError(pub &'static str);
