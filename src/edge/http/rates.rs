//! Rate cards: what events cost that bear no token count.

use actix_web::http::Method;
use actix_web::{HttpRequest, HttpResponse, web};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::meter::{ActorId, Price, RateCard, Unit, UsageKind};

use super::auth::{Caller, InOrganization};
use super::body::{Asks, Json, administers, ok};
use super::describe::{Answer, Body, no_parameters, no_problems};
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
        parameters: no_parameters,
        body: None,
        answers: &[Answer::json::<List>(200, "The rate cards that are remembered.")],
        problems: no_problems,
        handler: || web::to(list),
    },
    Route {
        method: Method::PUT,
        path: "/v1/organizations/{org}/rates",
        right: Right::Administer,
        summary: "Set the prices of events that bear no token count, from now or from a time on.",
        parameters: no_parameters,
        body: Body::json::<ToSet>(),
        answers: &[Answer::json::<Card>(200, "The newest card.")],
        problems: no_problems,
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

async fn list(organization: InOrganization) -> Result<HttpResponse, Problem> {
    let rates = organization.0.rates().await?;
    Ok(ok(List { rates: rates.into_iter().map(Card::from).collect() }))
}

async fn set(organization: InOrganization, body: Json<ToSet>) -> Result<HttpResponse, Problem> {
    let ToSet { from, prices } = body.0;
    let price = |PriceBody { kind, unit, millitokens }| Price { kind, unit, millitokens };
    let prices = prices.into_iter().map(price).collect();
    let card = organization.0.set_rates(from.map(|TimeText(from)| from), prices).await?;
    Ok(ok(Card::from(card)))
}

impl From<RateCard> for Card {
    fn from(RateCard { version, from, at, by, prices }: RateCard) -> Self {
        let price = |Price { kind, unit, millitokens }| PriceBody { kind, unit, millitokens };
        let prices = prices.into_iter().map(price).collect();
        Self { version, from: from.into(), set_at: at.into(), by, prices }
    }
}
