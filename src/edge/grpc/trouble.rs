//! An answer that is no success: a status, with the stable code beside it in the metadata.

use std::borrow::Cow;

use tonic::codegen::http::{HeaderMap, Response};
use tonic::metadata::MetadataValue;
use tonic::{Code, Status};

use crate::domain::limits::GUESSES_MAX;
use crate::edge::bearers::Stranger;
use crate::edge::budget::Full;
use crate::edge::token::TokenError;
use crate::meter::{Error, Invalid, Meter, Refusal, Unavailable, status};
use crate::proto::v1;

/// The name under which the stable code stands in the metadata of a status.
const CODE_KEY: &str = "weir-code";

/// The name under which the partition stands that another node owns.
const PARTITION_KEY: &str = "weir-partition";
/// The name under which it stands where that node serves.
const OWNER_KEY: &str = "weir-owner";

/// Why a call or a stream is ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Trouble {
    status: Code,
    code: &'static str,
    detail: Cow<'static, str>,
    retryable: bool,
    /// The partition of another node that it is about.
    elsewhere: Option<u16>,
    /// Where that node serves.
    owner: Option<String>,
}

impl Trouble {
    /// No API key, or none that is known.
    pub(super) fn unauthenticated() -> Self {
        let detail = "this needs an api key that is known and not revoked, or a token; send it as `authorization: Bearer weir_...`";
        Self::new(Code::Unauthenticated, "unauthenticated", detail)
    }

    /// No known API key, once more from an address that sent too many such calls.
    pub(super) fn too_many_guesses(seconds: u64) -> Self {
        let detail = format!(
            "this address sent more than {GUESSES_MAX} calls without a known api key; a known key is taken at any time, others in {seconds} s"
        );
        Self::new(Code::ResourceExhausted, "too_many_guesses", detail)
    }

    /// The token that opened a stream expired.
    pub(super) fn expired() -> Self {
        let detail = "the token of the stream expired; all that was read is answered, open a new stream with a new token";
        Self::new(Code::Unauthenticated, TokenError::Expired.code(), detail)
    }

    /// The meter is still being opened.
    pub(super) fn recovering() -> Self {
        let detail = "the meter is recovering what its directory holds; nothing was done, retry shortly";
        Self::new(Code::Unavailable, "recovering", detail).later()
    }

    /// The server is stopping.
    pub(super) fn closing() -> Self {
        let detail =
            "the server is stopping; all that it read is answered, send the rest again after the restart";
        Self::new(Code::Unavailable, "closing", detail).later()
    }

    /// More streams are open than `most`.
    pub(super) fn too_many_streams(most: usize) -> Self {
        let detail = format!("{most} streams are open, which is the most; nothing was done, retry shortly");
        Self::new(Code::ResourceExhausted, "too_many_streams", detail).later()
    }

    /// The deadline of the call passed before its answer.
    pub(super) fn deadline() -> Self {
        let detail = "the deadline passed before the answer; whether it was carried out is not known, send it again under the same id";
        Self::new(Code::DeadlineExceeded, "deadline_exceeded", detail).later()
    }

    /// A stream has more in flight than it was granted.
    pub(super) fn over_credit(granted: u64) -> Self {
        let detail =
            format!("more than the {granted} debits granted are in flight; wait for acknowledgements");
        Self::new(Code::ResourceExhausted, "over_credit", detail)
    }

    /// A message that no client should send.
    pub(super) fn malformed(detail: impl Into<Cow<'static, str>>) -> Self {
        Self::new(Code::InvalidArgument, "malformed_message", detail)
    }

    /// The same as a message on the stream.
    pub(super) fn problem(&self) -> v1::Problem {
        let (code, detail) = (self.code.to_owned(), self.detail.clone().into_owned());
        let owner = self.owner.clone().unwrap_or_default();
        v1::Problem { code, detail, retryable: self.retryable, owner }
    }

    /// The same with where the owner of the partition serves, where it is about one.
    pub(super) fn naming_owner(self, meter: &Meter) -> Self {
        Self { owner: self.elsewhere.and_then(|partition| meter.owner(partition)?.grpc), ..self }
    }

    fn later(self) -> Self {
        Self { retryable: true, ..self }
    }

    fn new(status: Code, code: &'static str, detail: impl Into<Cow<'static, str>>) -> Self {
        Self { status, code, detail: detail.into(), retryable: false, elsewhere: None, owner: None }
    }
}

/// An answer that is about a partition of another node.
pub(super) fn about<B>(partition: u16, mut answer: Response<B>) -> Response<B> {
    answer.headers_mut().insert(PARTITION_KEY, partition.into());
    answer
}

/// The partition of another node that an answer is about.
pub(super) fn partition_elsewhere(headers: &HeaderMap) -> Option<u16> {
    headers.get(PARTITION_KEY)?.to_str().ok()?.parse().ok()
}

/// Adds to an answer `elsewhere` where the owner serves.
pub(super) fn name_owner(meter: &Meter, headers: &mut HeaderMap) {
    let owner = partition_elsewhere(headers).and_then(|partition| meter.owner(partition)?.grpc);
    if let Some(owner) = owner.and_then(|owner| owner.parse().ok()) {
        headers.insert(OWNER_KEY, owner);
    }
}

impl From<Error> for Trouble {
    fn from(error: Error) -> Self {
        Self {
            status: Code::from_i32(status::grpc(&error)),
            code: error.code(),
            detail: error.to_string().into(),
            retryable: error.is_retryable(),
            elsewhere: match error {
                Error::Unavailable(Unavailable::Elsewhere { partition }) => Some(partition),
                _ => None,
            },
            owner: None,
        }
    }
}

impl From<Stranger> for Trouble {
    fn from(stranger: Stranger) -> Self {
        match stranger {
            Stranger::Unknown => Self::unauthenticated(),
            Stranger::Guessing { seconds } => Self::too_many_guesses(seconds),
            Stranger::Token(error) => {
                let detail = error.to_string();
                match error {
                    TokenError::KeysPending => Self::new(Code::Unavailable, error.code(), detail).later(),
                    _ => Self::new(Code::Unauthenticated, error.code(), detail),
                }
            }
        }
    }
}

impl From<Full> for Trouble {
    fn from(full: Full) -> Self {
        let detail =
            format!("as much as the {} bytes that may be held is on its way; nothing was done", full.limit);
        Self::new(Code::ResourceExhausted, Refusal::Busy.code(), detail).later()
    }
}

impl From<Refusal> for Trouble {
    fn from(refusal: Refusal) -> Self {
        Self::from(Error::Refused(refusal))
    }
}

impl From<Invalid> for Trouble {
    fn from(invalid: Invalid) -> Self {
        Self::from(Refusal::Invalid(invalid))
    }
}

impl From<Trouble> for Status {
    fn from(trouble: Trouble) -> Self {
        let mut status = Self::new(trouble.status, trouble.detail);
        status.metadata_mut().insert(CODE_KEY, MetadataValue::from_static(trouble.code));
        if let Some(partition) = trouble.elsewhere {
            status.metadata_mut().insert(PARTITION_KEY, partition.into());
        }
        status
    }
}
