//! How the server is doing. Asked without a key, by what keeps it running and what watches it.

use actix_web::http::header::RETRY_AFTER;
use actix_web::http::{Method, StatusCode};
use actix_web::{HttpResponse, web};
use serde::Serialize;
use utoipa::ToSchema;

use crate::meter::{Lsn, PartitionStatus};

use super::body::ok;
use super::describe::{Answer, no_parameters, no_problems};
use super::route::{Right, Route};
use super::state::State;

/// What is answered here.
pub(super) const ROUTES: &[Route] = &[
    Route {
        method: Method::GET,
        path: "/healthz",
        right: Right::None,
        summary: "The process answers.",
        parameters: no_parameters,
        body: None,
        answers: &[Answer::json::<Health>(200, "It does.")],
        problems: no_problems,
        handler: || web::to(alive),
    },
    Route {
        method: Method::GET,
        path: "/readyz",
        right: Right::None,
        summary: "Whether requests are served, and where each partition stands.",
        parameters: no_parameters,
        body: None,
        answers: &[
            Answer::json::<Health>(200, "They are."),
            Answer::json::<Health>(503, "They are not, or not all.")
                .with(&[("Retry-After", "Seconds to wait.")]),
        ],
        problems: no_problems,
        handler: || web::to(ready),
    },
    Route {
        method: Method::GET,
        path: "/metrics",
        right: Right::None,
        summary: "The metrics as Prometheus text.",
        parameters: no_parameters,
        body: None,
        answers: &[Answer::of::<String>(200, "The metrics.", PROMETHEUS_TEXT)],
        problems: no_problems,
        handler: || web::to(metrics),
    },
];

const PROMETHEUS_TEXT: &str = "text/plain; version=0.0.4; charset=utf-8";

#[derive(Serialize, ToSchema)]
struct Health {
    status: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    partitions: Option<Vec<Partition>>,
}

#[derive(Serialize, ToSchema)]
#[schema(as = PartitionStatus)]
struct Partition {
    partition: u16,
    durable_lsn: Lsn,
    snapshot_lsn: Lsn,
    #[serde(skip_serializing_if = "Option::is_none")]
    failure: Option<String>,
}

/// The process answers.
pub(super) async fn alive() -> HttpResponse {
    ok(Health { status: "alive", reason: None, partitions: None })
}

/// Whether requests are served: not while the meter is being opened, and not all of them when a partition stopped.
pub(super) async fn ready(state: web::Data<State>) -> HttpResponse {
    let Some(meter) = state.meter() else {
        return unready(Health { status: "recovering", reason: None, partitions: None });
    };
    let status = meter.status();
    let is_poisoned = status.iter().any(PartitionStatus::is_poisoned);
    let partitions = Some(status.into_iter().map(Partition::from).collect());
    match state.trouble() {
        Some((status, reason)) => unready(Health { status, reason: Some(reason), partitions }),
        None if is_poisoned => unready(Health { status: "poisoned", reason: None, partitions }),
        None => ok(Health { status: "ready", reason: None, partitions }),
    }
}

/// The metrics as Prometheus text.
pub(super) async fn metrics(state: web::Data<State>) -> HttpResponse {
    HttpResponse::Ok().content_type(PROMETHEUS_TEXT).body((state.render_metrics)())
}

fn unready(health: Health) -> HttpResponse {
    HttpResponse::build(StatusCode::SERVICE_UNAVAILABLE).insert_header((RETRY_AFTER, "1")).json(health)
}

impl From<PartitionStatus> for Partition {
    fn from(status: PartitionStatus) -> Self {
        Self {
            partition: status.partition,
            durable_lsn: status.durable,
            snapshot_lsn: status.snapshot,
            failure: status.failure.map(|failure| failure.to_string()),
        }
    }
}
