//! A client of the gRPC API, made for gateways.
//!
//! [`Client`] holds the connection; [`DebitStream`] sends the debits of one organization: it gathers single debits into batches by
//! size and linger, keeps as many in flight as the server grants, and when the connection breaks it opens another and sends again
//! what was not acknowledged, under the same ids, so that nothing is charged twice. What it holds is bounded:
//! when the window is full, sending waits or says so. [`LeasedMeter`] spends a reservation locally and reports what it was spent for.
//! Deliberately absent: anything on disk. What was not
//! acknowledged when the program ends is its caller's to send again.

mod answer;
mod batch;
mod core;
mod credential;
mod error;
mod lease;
mod outbound;
mod pump;
mod stream;

use std::time::Duration;

use tonic::codegen::http::Uri;
use tonic::codegen::http::uri::InvalidUri;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint};
use tonic::{Request, Response, Status};

use crate::proto::v1;
use crate::proto::v1::metering_client::MeteringClient;

use error::with_sources;

pub use crate::domain::debit::{CameraRef, Debit, FirstOutcome, Identity, Measured, UsageKind};
pub use crate::domain::ids::ReservationId;
pub use crate::domain::rates::Unit;
pub use crate::domain::time::Timestamp;
pub use crate::proto::v1::{Durability, Outcome};
pub use crate::telemetry::clock::Monotonic;
pub use answer::{Answer, Sent, code};
pub use batch::Chargeable;
pub use credential::Credential;
pub use error::Error;
pub use lease::{LeaseConfig, LeaseStatus, LeasedMeter, NotPaid, Paid, Uncharged, WhenUnreachable};
pub use stream::{DebitStream, Lag};

/// How a client works. Start from [`Config::new`] and change what you need.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where the server is, as `http://127.0.0.1:8081`, or `https` where it has a certificate.
    pub url: String,
    /// An API key, or a token that is renewed.
    pub credential: Credential,
    /// Debits of a batch that is sent without waiting for more, 1 to 10,000. Default: 512.
    pub batch_debits: usize,
    /// How long a debit waits for others to share its batch. Default: 1 ms.
    pub linger: Duration,
    /// Most debits that are held until they are acknowledged. Default: 65,536.
    pub window_debits: usize,
    /// When the server acknowledges. Default: durable.
    pub durability: Durability,
    /// Pause before the first attempt to connect again; it doubles from attempt to attempt. Default: 50 ms.
    pub backoff_min: Duration,
    /// Longest pause. Default: 5 s.
    pub backoff_max: Duration,
    /// Authorities of the server's certificate, in PEM, where the URL begins with `https`. Default: those of this machine.
    pub ca_pem: Option<Vec<u8>>,
    /// Client certificate and its private key, in PEM, for a server that demands one. Default: none is shown.
    pub identity_pem: Option<Vec<u8>>,
}

impl Config {
    /// The defaults, for a server and an API key, or another [`Credential`].
    #[must_use]
    pub fn new(url: impl Into<String>, credential: impl Into<Credential>) -> Self {
        Self {
            url: url.into(),
            credential: credential.into(),
            batch_debits: 512,
            linger: Duration::from_millis(1),
            window_debits: 65_536,
            durability: Durability::Durable,
            backoff_min: Duration::from_millis(50),
            backoff_max: Duration::from_secs(5),
            ca_pem: None,
            identity_pem: None,
        }
    }
}

/// A client of one server. Cheap to clone; clones share the connection.
#[derive(Clone, Debug)]
pub struct Client {
    config: Config,
    service: MeteringClient<Channel>,
}

/// How often a silent connection is asked for a sign of life, and how long it has to give one.
const KEEP_ALIVE: Duration = Duration::from_secs(10);

impl Client {
    /// A client of the configured server. The connection is made when it is first used, and again when it broke: a
    /// gateway may start before its server. Call it where a tokio runtime runs.
    ///
    /// # Errors
    /// When the URL, the key or the certificates cannot be used. A token that is renewed is first asked for by a call.
    pub fn connect(config: Config) -> Result<Self, Error> {
        if let Err(Error::Key) = config.credential.authorization() {
            return Err(Error::Key);
        }
        let channel = endpoint(&config)?
            .http2_keep_alive_interval(KEEP_ALIVE)
            .keep_alive_timeout(KEEP_ALIVE)
            .tcp_nodelay(true)
            .connect_lazy();
        Ok(Self { config, service: MeteringClient::new(channel) })
    }

    /// A stream of debits of one organization. It works by itself until it is closed, or its last clone is dropped.
    #[must_use]
    pub fn stream(&self, organization: &str) -> DebitStream {
        DebitStream::start(self.clone(), organization)
    }

    /// One debit, answered by itself.
    ///
    /// # Errors
    /// When the call fails; whether it was charged is then not known, and sending it again under the same id is safe.
    pub async fn debit(&self, request: v1::DebitRequest) -> Result<v1::DebitReply, Error> {
        self.answer(self.service().debit(self.signed(request)?).await)
    }

    /// A batch of debits, answered by itself.
    ///
    /// # Errors
    /// As [`Self::debit`].
    pub async fn debit_batch(&self, request: v1::DebitBatchRequest) -> Result<v1::DebitBatchReply, Error> {
        self.answer(self.service().debit_batch(self.signed(request)?).await)
    }

    /// The AI Token Summary of an organization.
    ///
    /// # Errors
    /// When the call fails.
    pub async fn summary(&self, organization: &str) -> Result<v1::SummaryReply, Error> {
        let request = v1::SummaryRequest { organization: organization.to_owned() };
        self.answer(self.service().summary(self.signed(request)?).await)
    }

    /// Holds tokens back for work whose cost is known only afterwards.
    ///
    /// # Errors
    /// When the call fails; the same request again is answered with where that reservation stands.
    pub async fn reserve(&self, request: v1::ReserveRequest) -> Result<v1::Reservation, Error> {
        let reply = self.answer(self.service().reserve(self.signed(request)?).await)?;
        Ok(reply.reservation.unwrap_or_default())
    }

    /// Gives back what a reservation still holds. One that ended is left as it ended, and answered.
    ///
    /// # Errors
    /// When the call fails; to release it again is safe.
    pub async fn release(&self, organization: &str, id: &ReservationId) -> Result<v1::Reservation, Error> {
        let (organization, id) = (organization.to_owned(), id.to_string());
        let request = v1::ReleaseReservationRequest { organization, id };
        let reply = self.answer(self.service().release_reservation(self.signed(request)?).await)?;
        Ok(reply.reservation.unwrap_or_default())
    }

    /// The open reservations of an organization, those that expire first first.
    ///
    /// # Errors
    /// When the call fails.
    pub async fn reservations(&self, organization: &str) -> Result<Vec<v1::Reservation>, Error> {
        let request = v1::ReservationsRequest { organization: organization.to_owned() };
        Ok(self.answer(self.service().reservations(self.signed(request)?).await)?.reservations)
    }

    /// Moves a whole pool.
    ///
    /// # Errors
    /// When the call fails; the same request again tells where the transfer stands.
    pub async fn transfer(&self, request: v1::TransferRequest) -> Result<v1::TransferReply, Error> {
        self.answer(self.service().transfer(self.signed(request)?).await)
    }

    fn service(&self) -> MeteringClient<Channel> {
        self.service.clone()
    }

    fn signed<T>(&self, message: T) -> Result<Request<T>, Error> {
        let mut request = Request::new(message);
        request.metadata_mut().insert("authorization", self.config.credential.authorization()?);
        Ok(request)
    }

    fn answer<T>(&self, answer: Result<Response<T>, Status>) -> Result<T, Error> {
        answer.map(Response::into_inner).map_err(|status| self.judge(status))
    }

    /// What is to be made of a failure of this client.
    fn judge(&self, error: impl Into<Error>) -> Error {
        self.config.credential.judge(error.into())
    }
}

fn endpoint(config: &Config) -> Result<Endpoint, Error> {
    let uri: Uri = config.url.parse().map_err(|error: InvalidUri| Error::Url(error.to_string()))?;
    let endpoint = match uri.scheme_str() {
        Some("http") => return Ok(Endpoint::from(uri)),
        Some("https") => Endpoint::from(uri),
        _ => return Err(Error::Url("it begins neither with http:// nor with https://".to_owned())),
    };
    let mut tls = match &config.ca_pem {
        Some(ca) => ClientTlsConfig::new().ca_certificate(Certificate::from_pem(ca)),
        None => ClientTlsConfig::new().with_native_roots(),
    };
    if let Some(pem) = &config.identity_pem {
        tls = tls.identity(tonic::transport::Identity::from_pem(pem, pem));
    }
    endpoint.tls_config(tls).map_err(|error| Error::Certificates(with_sources(&error)))
}
