//! Transfer Shared AI to Org: a whole pool to another organization (R11).
//!
//! The page of confirmation bears the id of the transfer, so that a form that is sent twice begins one. What moves is shown before, and
//! the name of the organization that gets it is typed by hand.

use std::time::Duration;

use actix_web::HttpResponse;
use actix_web::http::StatusCode;
use askama::Template;

use crate::edge::http::Problem;
use crate::edge::http::route::Right;
use crate::meter::{Action, OrgId, Summary, TransferId, TransferState, TransferView, Until};

use super::answer;
use super::route::{Route, form, page};
use super::session::random_text;
use super::shell::Shell;
use super::text::{Count, Data, Time};
use super::visit::{Visit, path_id};

/// What is answered here.
pub(super) const ROUTES: &[Route] = &[
    page("/console/organizations/{org}/transfer", Right::Administer, |visit| Box::pin(ask(visit))),
    form("/console/organizations/{org}/transfer", Right::Administer, Some("begin_transfer"), |visit| {
        Box::pin(begin(visit))
    }),
    page("/console/transfers/{transfer}", Right::ReadEither, |visit| Box::pin(show(visit))),
];

/// How long a form waits for the end, in milliseconds; then the page of the transfer tells where it stands.
const WAIT_MS: u64 = 2_000;
/// Licenses that are listed before they move; the others are told by their number.
const LICENSES: usize = 50;

#[derive(Template)]
#[template(path = "console/transfer_ask.html")]
struct AskPage {
    shell: Shell,
    source: String,
    source_name: String,
    targets: Vec<(String, String)>,
    chosen: Option<Chosen>,
    problem: Option<String>,
}

/// A transfer that is to be confirmed.
struct Chosen {
    id: String,
    target: String,
    target_name: String,
    target_before: Data,
    balance: Data,
    held: Data,
    reservations: Count,
    licenses: Vec<(String, Data)>,
    licenses_all: usize,
    is_nothing: bool,
}

#[derive(Template)]
#[template(path = "console/transfer.html")]
struct TransferPage {
    shell: Shell,
    id: String,
    source: String,
    target: String,
    by: String,
    state: &'static str,
    told: &'static str,
    is_ended: bool,
    is_finished: bool,
    tokens: Data,
    licenses: Count,
    refusal: Option<String>,
    begun_at: Time,
    ended_at: Option<Time>,
    waits_for: Option<Count>,
    links: Vec<String>,
}

async fn ask(visit: Visit) -> Result<HttpResponse, Problem> {
    ask_page(&visit, StatusCode::OK, None).await
}

async fn begin(visit: Visit) -> Result<HttpResponse, Problem> {
    let visitor = &visit.visitor;
    let source: OrgId = path_id(&visit.request, "org")?;
    let target: OrgId = visit.form.text("target").parse()?;
    let id: TransferId = visit.form.text("id").parse()?;
    let administers = [&source, &target].into_iter().all(|id| visitor.may(Action::Administer(id)));
    if administers && visit.form.text("name") != name_of(&visit, &target).await?.name.as_str().trim() {
        let problem = "This is not the name of the organization that gets the pool. Nothing was moved.";
        return ask_page(&visit, StatusCode::BAD_REQUEST, Some(problem.to_owned())).await;
    }
    let transfer = visitor.meter.transfer(&visitor.principal, id.clone(), (source, target), Until::Ended);
    let wait = Duration::from_millis(WAIT_MS.min(visitor.state.limits.transfer_wait_ms));
    // One that takes longer goes on by itself.
    if let Ok(ended) = actix_rt::time::timeout(wait, transfer).await {
        ended?;
    }
    Ok(answer::see_other(&format!("/console/transfers/{id}")))
}

async fn show(visit: Visit) -> Result<HttpResponse, Problem> {
    let visitor = &visit.visitor;
    let id: TransferId = path_id(&visit.request, "transfer")?;
    let transfer = visitor.meter.transfer_status(&visitor.principal, id).await?;
    let waits_for = match transfer.state {
        TransferState::Begun if visitor.may(Action::Read(&transfer.source)) => {
            let open = name_of(&visit, &transfer.source).await?.reservations;
            Some(Count(u64::try_from(open).unwrap_or(u64::MAX))).filter(|open| open.0 > 0)
        }
        _ => None,
    };
    let readable =
        [&transfer.source, &transfer.target].into_iter().filter(|id| visitor.may(Action::Read(id)));
    let links = readable.map(ToString::to_string).collect();
    let shell = Shell::of(visitor, &visit.request, "Transfer Shared AI to Org");
    let shell = shell.within(visitor, &visit.request, &transfer.source);
    Ok(answer::page(&TransferPage::new(shell, transfer, waits_for, links)))
}

async fn ask_page(
    visit: &Visit,
    status: StatusCode,
    problem: Option<String>,
) -> Result<HttpResponse, Problem> {
    let (organization, summary) = visit.organization().await?;
    let source = organization.id();
    let mut targets = Vec::new();
    for id in visit.visitor.organizations().into_iter().filter(|id| *id != source) {
        if visit.visitor.may(Action::Administer(id)) {
            targets.push((id.to_string(), name_of(visit, id).await?.name.to_string()));
        }
    }
    let target = Some(visit.form.text("target")).filter(|target| !target.is_empty());
    let chosen = match target {
        None => None,
        Some(target) => {
            let target = name_of(visit, &target.parse()?).await?;
            let licenses = organization.licenses().await?;
            let listed = licenses.iter().take(LICENSES);
            let listed = listed.map(|license| (license.id.to_string(), license.remaining.into())).collect();
            Some(Chosen::new(visit.form.text("id"), &summary, &target, (listed, licenses.len())))
        }
    };
    let page = AskPage {
        shell: Shell::of(&visit.visitor, &visit.request, "Transfer Shared AI to Org"),
        source: source.to_string(),
        source_name: summary.name.to_string(),
        targets,
        chosen,
        problem,
    };
    Ok(answer::page_with(status, &page))
}

/// The summary of an organization that the visitor may read.
async fn name_of(visit: &Visit, id: &OrgId) -> Result<Summary, Problem> {
    Ok(visit.visitor.meter.summary(&visit.visitor.principal, id).await?)
}

impl Chosen {
    fn new(
        id: &str,
        source: &Summary,
        target: &Summary,
        (licenses, licenses_all): (Vec<(String, Data)>, usize),
    ) -> Self {
        let made_up = || format!("console-{}", &random_text()[..24]);
        let balance = source.available.plus(source.held);
        Self {
            id: if id.is_empty() { made_up() } else { id.to_owned() },
            target: target.organization.to_string(),
            target_name: target.name.to_string(),
            target_before: target.available.into(),
            balance: balance.into(),
            held: source.held.into(),
            reservations: Count(u64::try_from(source.reservations).unwrap_or(u64::MAX)),
            is_nothing: balance.0 == 0 && licenses_all == 0,
            licenses,
            licenses_all,
        }
    }
}

impl TransferPage {
    fn new(shell: Shell, transfer: TransferView, waits_for: Option<Count>, links: Vec<String>) -> Self {
        let (state, told) = match transfer.state {
            TransferState::Begun => ("Begun", "Both sides are being prepared. Nothing has moved yet."),
            TransferState::Committed => {
                ("Committed", "It will be carried out on both sides, whatever happens.")
            }
            TransferState::Aborting => ("Aborting", "It is being undone on both sides."),
            TransferState::Finished => {
                ("Finished", "The whole pool has moved. Each license kept its history.")
            }
            TransferState::Aborted => ("Aborted", "It was undone on both sides. Nothing has moved."),
        };
        Self {
            shell,
            id: transfer.id.to_string(),
            source: transfer.source.to_string(),
            target: transfer.target.to_string(),
            by: transfer.by.to_string(),
            state,
            told,
            is_ended: transfer.state.is_ended(),
            is_finished: transfer.state == TransferState::Finished,
            tokens: transfer.tokens.into(),
            licenses: Count(transfer.licenses.into()),
            refusal: transfer.refusal,
            begun_at: Time(transfer.begun_at),
            ended_at: transfer.ended_at.map(Time),
            waits_for,
            links,
        }
    }
}
