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
mod places;
mod pump;
mod stream;

use std::sync::Arc;
use std::time::Duration;

use tokio::time::sleep;
use tonic::codegen::http::Uri;
use tonic::codegen::http::uri::InvalidUri;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint};
use tonic::{Code, Request, Response, Status};

use crate::proto::v1;
use crate::proto::v1::metering_client::MeteringClient;

use error::with_sources;
use places::{ELSEWHERE, Places};
use pump::jittered;

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

/// A client of one server, or of a cluster: given any of its nodes it learns which one owns an organization, asks there, and follows when that moves. Cheap
/// to clone; clones share connections.
#[derive(Clone, Debug)]
pub struct Client {
    config: Config,
    places: Arc<Places>,
}

type Service = MeteringClient<Channel>;

/// How often a call is made while its organization is on the move: with the default pauses for some six seconds.
const CALLS_MAX: u32 = 8;
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
        let places = Arc::new(Places::new(&config.url, service(&config, &config.url)?));
        Ok(Self { config, places })
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
        let organization = request.organization.clone();
        self.call(&organization, request, |mut service, request| async move { service.debit(request).await })
            .await
    }

    /// A batch of debits, answered by itself.
    ///
    /// # Errors
    /// As [`Self::debit`].
    pub async fn debit_batch(&self, request: v1::DebitBatchRequest) -> Result<v1::DebitBatchReply, Error> {
        let organization = request.organization.clone();
        self.call(
            &organization,
            request,
            |mut service, request| async move { service.debit_batch(request).await },
        )
        .await
    }

    /// The AI Token Summary of an organization.
    ///
    /// # Errors
    /// When the call fails.
    pub async fn summary(&self, organization: &str) -> Result<v1::SummaryReply, Error> {
        let request = v1::SummaryRequest { organization: organization.to_owned() };
        self.call(organization, request, |mut service, request| async move { service.summary(request).await })
            .await
    }

    /// Holds tokens back for work whose cost is known only afterwards.
    ///
    /// # Errors
    /// When the call fails; the same request again is answered with where that reservation stands.
    pub async fn reserve(&self, request: v1::ReserveRequest) -> Result<v1::Reservation, Error> {
        let organization = request.organization.clone();
        let reply =
            self.call(&organization, request, |mut service, request| async move {
                service.reserve(request).await
            })
            .await?;
        Ok(reply.reservation.unwrap_or_default())
    }

    /// Gives back what a reservation still holds. One that ended is left as it ended, and answered.
    ///
    /// # Errors
    /// When the call fails; to release it again is safe.
    pub async fn release(&self, organization: &str, id: &ReservationId) -> Result<v1::Reservation, Error> {
        let request =
            v1::ReleaseReservationRequest { organization: organization.to_owned(), id: id.to_string() };
        let release =
            |mut service: Service, request| async move { service.release_reservation(request).await };
        let reply = self.call(organization, request, release).await?;
        Ok(reply.reservation.unwrap_or_default())
    }

    /// The open reservations of an organization, those that expire first first.
    ///
    /// # Errors
    /// When the call fails.
    pub async fn reservations(&self, organization: &str) -> Result<Vec<v1::Reservation>, Error> {
        let request = v1::ReservationsRequest { organization: organization.to_owned() };
        let list = |mut service: Service, request| async move { service.reservations(request).await };
        Ok(self.call(organization, request, list).await?.reservations)
    }

    /// Moves a whole pool.
    ///
    /// # Errors
    /// When the call fails; the same request again tells where the transfer stands.
    pub async fn transfer(&self, request: v1::TransferRequest) -> Result<v1::TransferReply, Error> {
        let source = request.source.clone();
        self.call(&source, request, |mut service, request| async move { service.transfer(request).await })
            .await
    }

    /// Makes a call where its organization is served. While that moves it is made again, under the ids that it bears.
    async fn call<T: Clone, R, F: Future<Output = Result<Response<R>, Status>>>(
        &self,
        organization: &str,
        message: T,
        ask: impl Fn(Service, Request<T>) -> F,
    ) -> Result<R, Error> {
        let (mut pause, mut calls) = (self.config.backoff_min, 0);
        loop {
            let at = self.places.of(organization);
            let status = match ask(at.service.clone(), self.signed(message.clone())?).await {
                Ok(answer) => {
                    let owner = answer.metadata().get("weir-owner").and_then(|owner| owner.to_str().ok());
                    owner.map(|owner| self.places.learn(&self.config, organization, &at, owner));
                    return Ok(answer.into_inner());
                }
                Err(status) => status,
            };
            let told = |name| status.metadata().get(name).and_then(|value| value.to_str().ok());
            let goes_on = match (told("weir-code"), told("weir-owner")) {
                (Some(ELSEWHERE), Some(owner))
                    if self.places.learn(&self.config, organization, &at, owner) =>
                {
                    pause = Duration::ZERO;
                    true
                }
                (Some(ELSEWHERE), _) => true,
                (Some("closing" | "recovering"), _) => self.places.pass_over(organization, &at),
                (None, _) if status.code() == Code::Unavailable => self.places.pass_over(organization, &at),
                _ => false,
            };
            calls += 1;
            if !goes_on || calls == CALLS_MAX {
                return Err(self.judge(status));
            }
            sleep(jittered(pause)).await;
            pause = (pause * 2).max(self.config.backoff_min).min(self.config.backoff_max);
        }
    }

    fn signed<T>(&self, message: T) -> Result<Request<T>, Error> {
        let mut request = Request::new(message);
        request.metadata_mut().insert("authorization", self.config.credential.authorization()?);
        Ok(request)
    }

    /// What is to be made of a failure of this client.
    fn judge(&self, error: impl Into<Error>) -> Error {
        self.config.credential.judge(error.into())
    }
}

/// The service at this URL. The connection is made when it is first used.
///
/// # Errors
/// When the URL or the certificates cannot be used.
fn service(config: &Config, url: &str) -> Result<Service, Error> {
    let channel = endpoint(config, url)?
        .http2_keep_alive_interval(KEEP_ALIVE)
        .keep_alive_timeout(KEEP_ALIVE)
        .tcp_nodelay(true)
        .connect_lazy();
    Ok(MeteringClient::new(channel))
}

fn endpoint(config: &Config, url: &str) -> Result<Endpoint, Error> {
    let uri: Uri = url.parse().map_err(|error: InvalidUri| Error::Url(error.to_string()))?;
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
