//! Rate cards: what events cost that bear no token count.

use actix_web::http::Method;
use actix_web::{HttpRequest, HttpResponse, web};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::meter::{ActorId, Price, RateCard, Refusal, Subject, Tag, Unit, UsageKind};

use super::auth::{Caller, InOrganization};
use super::body::{Asks, Json, administers, ok};
use super::conditions::{Conditions, TAGGED, condition_headers, tagged};
use super::describe::{Answer, Body};
use super::problem::Problem;
use super::route::{Right, Route};
use super::schemas::time_read;
use super::time_text::TimeText;

/// What is answered here.
pub(super) const ROUTES: &[Route] = &[
    Route {
        method: Method::GET,
        path: "/v1/organizations/{org}/rates",
        right: Right::Read,
        summary: "List the rate cards, the newest last.",
        parameters: condition_headers,
        body: None,
        answers: &[
            Answer::json::<List>(200, "The rate cards that are remembered.").with(TAGGED),
            Answer::empty(304, "The newest card is that of If-None-Match.").with(TAGGED),
        ],
        problems: || vec![Refusal::PreconditionFailed.into()],
        handler: || web::to(list),
    },
    Route {
        method: Method::PUT,
        path: "/v1/organizations/{org}/rates",
        right: Right::Administer,
        summary: "Set the prices of events that bear no token count, from now or from a time on.",
        parameters: condition_headers,
        body: Body::json::<ToSet>(),
        answers: &[Answer::json::<Card>(200, "The newest card.").with(TAGGED)],
        problems: || vec![Refusal::PreconditionFailed.into()],
        handler: || web::to(set),
    },
];

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = NewRateCard)]
pub(super) struct ToSet {
    /// The time of the first events that the prices are for; now when it is left out.
    #[serde(default)]
    #[schema(schema_with = time_read, required = false)]
    from: Option<TimeText>,
    #[schema(min_items = 1)]
    prices: Vec<PriceBody>,
}

#[derive(Debug, Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = Price)]
struct PriceBody {
    #[serde(default)]
    kind: UsageKind,
    unit: Unit,
    /// Thousandths of a token for one.
    #[schema(minimum = 1, maximum = 1_000_000_000_000_u64)]
    millitokens: u64,
}

#[derive(Serialize, ToSchema)]
#[schema(as = RateCard)]
struct Card {
    version: u32,
    from: TimeText,
    set_at: TimeText,
    by: ActorId,
    prices: Vec<PriceBody>,
}

#[derive(Serialize, ToSchema)]
#[schema(as = RateCardList)]
struct List {
    rates: Vec<Card>,
}

impl Asks for ToSet {
    fn allow(caller: &Caller, request: &HttpRequest) -> Result<(), Problem> {
        administers(caller, request)
    }
}

async fn list(organization: InOrganization, conditions: Conditions) -> Result<HttpResponse, Problem> {
    let rates = organization.0.rates().await?;
    let tag = rates.last().map(Tag::of_rates);
    let answer = if conditions.have_seen(tag)? {
        HttpResponse::NotModified().finish()
    } else {
        ok(List { rates: rates.into_iter().map(Card::from).collect() })
    };
    Ok(if let Some(tag) = tag { tagged(answer, tag) } else { answer })
}

async fn set(
    organization: InOrganization,
    conditions: Conditions,
    body: Json<ToSet>,
) -> Result<HttpResponse, Problem> {
    let organization = conditions.apply(organization.0, Subject::Rates);
    let ToSet { from, prices } = body.0;
    let price = |PriceBody { kind, unit, millitokens }| Price { kind, unit, millitokens };
    let prices = prices.into_iter().map(price).collect();
    let card = organization.set_rates(from.map(|TimeText(from)| from), prices).await?;
    let tag = Tag::of_rates(&card);
    Ok(tagged(ok(Card::from(card)), tag))
}

impl From<RateCard> for Card {
    fn from(RateCard { version, from, at, by, prices }: RateCard) -> Self {
        let price = |Price { kind, unit, millitokens }| PriceBody { kind, unit, millitokens };
        let prices = prices.into_iter().map(price).collect();
        Self { version, from: from.into(), set_at: at.into(), by, prices }
    }
}
