//! Rate cards: what events cost that bear no token count, which prices there were, and setting new ones after a look at what they make.
//!
//! A form sets prices only if the newest card is still the one that its page showed.

use actix_web::HttpResponse;
use actix_web::http::StatusCode;
use askama::Template;

use crate::domain::limits::RATE_MILLITOKENS_MAX;
use crate::edge::http::Problem;
use crate::edge::http::route::Right;
use crate::edge::thousandths;
use crate::meter::{
    Action, Expected, Invalid, OrgId, Precondition, Price, RateCard, Refusal, Subject, Tag, Timestamp, Unit,
    UsageKind,
};

use super::answer;
use super::route::{Route, form, page};
use super::session::Notice;
use super::shell::Shell;
use super::text::{self, Count, Time};
use super::visit::Visit;

/// What is answered here.
pub(super) const ROUTES: &[Route] = &[
    page(RATES, Right::Read, |visit| Box::pin(show(visit))),
    form(RATES, Right::Administer, Some("set_rates"), |visit| Box::pin(set(visit))),
];

const RATES: &str = "/console/organizations/{org}/rates";

#[derive(Template)]
#[template(path = "console/rates.html")]
struct RatesPage {
    shell: Shell,
    id: String,
    name: String,
    is_admin: bool,
    tag: String,
    cards: Vec<Card>,
    /// The fields of the form, kind by kind.
    asked: Vec<Kind>,
    from: String,
    preview: Option<Preview>,
    problem: Option<String>,
}

/// A rate card as it is shown.
struct Card {
    version: u32,
    standing: Standing,
    from: Time,
    at: Time,
    by: String,
    prices: Vec<String>,
}

/// When a card prices events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Standing {
    /// Those of now.
    Now,
    /// Those of a time to come.
    Later,
    /// Those of a time that is past.
    Before,
}

/// The fields of a kind: one for each unit.
struct Kind {
    label: &'static str,
    fields: Vec<Field>,
}

/// A field for the price of a kind and a unit; empty for none.
struct Field {
    name: String,
    label: String,
    value: String,
}

/// What new prices would make.
struct Preview {
    /// From when on; now where it is none.
    from: Option<Time>,
    rows: Vec<Row>,
}

/// What is to become of one price, and what events of that kind would cost.
struct Row {
    of: String,
    before: Option<String>,
    after: Option<String>,
    sample: &'static str,
    costs: [Option<String>; 2],
}

async fn show(visit: Visit) -> Result<HttpResponse, Problem> {
    rates_page(&visit, StatusCode::OK, None, None).await
}

async fn set(visit: Visit) -> Result<HttpResponse, Problem> {
    let (organization, _) = visit.organization().await?;
    let (from, prices) = match asked(&visit) {
        Ok(asked) => asked,
        Err(problem) => return refused(&visit, &problem).await,
    };
    if visit.form.text("step") != "set" {
        return rates_page(&visit, StatusCode::OK, Some((from, prices)), None).await;
    }
    let precondition = Precondition { subject: Subject::Rates, expected: vec![shown(&visit)?] };
    match organization.clone().provided(precondition).set_rates(from, prices).await {
        Ok(card) => {
            let text = format!("The prices are set; they are version {}.", card.version);
            visit.visitor.leave(Notice::new(text));
            Ok(answer::see_other(&path(organization.id())))
        }
        Err(error) => refused(&visit, &error.into()).await,
    }
}

/// The page again, with why nothing was set.
async fn refused(visit: &Visit, problem: &Problem) -> Result<HttpResponse, Problem> {
    visit.note(problem);
    let status = StatusCode::from_u16(problem.status()).unwrap_or(StatusCode::BAD_REQUEST);
    rates_page(visit, status, None, Some(problem.detail().to_owned())).await
}

async fn rates_page(
    visit: &Visit,
    status: StatusCode,
    preview: Option<(Option<Timestamp>, Vec<Price>)>,
    problem: Option<String>,
) -> Result<HttpResponse, Problem> {
    let (organization, summary) = visit.organization().await?;
    let cards = organization.rates().await?;
    let (now, newest) = (visit.visitor.meter.now(), cards.last());
    let is_filled = preview.is_some() || problem.is_some();
    let value = |kind, unit| match newest.filter(|_| !is_filled) {
        Some(card) => find(&card.prices, kind, unit).map_or_else(String::new, thousandths::write),
        None => visit.form.text(&field(kind, unit)).to_owned(),
    };
    let tag = newest.map_or_else(|| "none".to_owned(), |card| format!("{:016x}", Tag::of_rates(card).0));
    // A preview is of the card that it was asked beside: if another came meanwhile, what is sent next is refused.
    let tag = if preview.is_some() { visit.form.text("tag").to_owned() } else { tag };
    let before = newest.map_or(&[][..], |card| &card.prices);
    let page = RatesPage {
        shell: Shell::of(&visit.visitor, &visit.request, "Rate cards"),
        id: organization.id().to_string(),
        name: summary.name.to_string(),
        is_admin: visit.visitor.may(Action::Administer(organization.id())),
        tag,
        asked: UsageKind::ALL.into_iter().map(|kind| Kind::new(kind, &value)).collect(),
        from: visit.form.text("from").to_owned(),
        preview: preview.map(|(from, prices)| Preview::new(from, before, &prices)),
        cards: newest_first(&cards, now),
        problem,
    };
    Ok(answer::page_with(status, &page))
}

/// The prices that a form asks for, and from when on.
fn asked(visit: &Visit) -> Result<(Option<Timestamp>, Vec<Price>), Problem> {
    let from = match visit.form.text("from") {
        "" => None,
        text => Some(text::time(text)?),
    };
    let mut prices = Vec::new();
    for (kind, unit) in UsageKind::ALL.into_iter().flat_map(|kind| Unit::ALL.map(|unit| (kind, unit))) {
        let text = visit.form.text(&field(kind, unit)).replace([',', '_', ' '], "");
        if text.is_empty() {
            continue;
        }
        let millitokens = thousandths::read(&text).ok_or_else(|| {
            let of = of(kind, unit);
            Problem::invalid(format!(
                "the price of {of} is a number with at most three digits after the point"
            ))
        })?;
        prices.push(Price { kind, unit, millitokens });
    }
    let is_price = |price: &Price| (1..=RATE_MILLITOKENS_MAX).contains(&price.millitokens);
    if prices.is_empty() || !prices.iter().all(is_price) {
        return Err(Refusal::Invalid(Invalid::Prices).into());
    }
    Ok((from, prices))
}

/// That the newest card is the one that the page showed.
fn shown(visit: &Visit) -> Result<Expected, Problem> {
    match visit.form.text("tag") {
        "none" => Ok(Expected::Absent),
        tag => {
            let tag = u64::from_str_radix(tag, 16).map_err(|_| Refusal::PreconditionFailed)?;
            Ok(Expected::OneOf(vec![Tag(tag)]))
        }
    }
}

fn newest_first(cards: &[RateCard], now: Timestamp) -> Vec<Card> {
    let applies = cards.iter().rposition(|card| card.from <= now);
    let card = |(place, card): (usize, &RateCard)| Card {
        version: card.version,
        standing: match applies {
            Some(applies) if place == applies => Standing::Now,
            Some(applies) if place < applies => Standing::Before,
            _ => Standing::Later,
        },
        from: Time(card.from),
        at: Time(card.at),
        by: card.by.to_string(),
        prices: card.prices.iter().map(told).collect(),
    };
    cards.iter().enumerate().rev().map(card).collect()
}

impl Kind {
    fn new(kind: UsageKind, value: &impl Fn(UsageKind, Unit) -> String) -> Self {
        let fields = Unit::ALL.map(|unit| Field {
            name: field(kind, unit),
            label: of(kind, unit),
            value: value(kind, unit),
        });
        Self { label: text::kind(kind), fields: fields.into() }
    }
}

impl Preview {
    fn new(from: Option<Timestamp>, before: &[Price], after: &[Price]) -> Self {
        let all = UsageKind::ALL.into_iter().flat_map(|kind| Unit::ALL.map(|unit| (kind, unit)));
        let row = |(kind, unit)| {
            let prices = [find(before, kind, unit), find(after, kind, unit)];
            prices.iter().any(Option::is_some).then(|| Row::new(kind, unit, prices))
        };
        Self { from: from.map(Time), rows: all.filter_map(row).collect() }
    }
}

impl Row {
    fn new(kind: UsageKind, unit: Unit, [before, after]: [Option<u64>; 2]) -> Self {
        let (sample, count) = match unit {
            Unit::Event => ("an event", 1),
            Unit::Image => ("100 images", 100),
            Unit::Second => ("an hour", 3_600_000),
        };
        let cost = |millitokens| match (Price { kind, unit, millitokens }).of(count) {
            Ok(tokens) => format!("{} tokens", Count(tokens.into())),
            Err(_) => "more than a debit may have".to_owned(),
        };
        let costs = [before.map(cost), after.map(cost)];
        let [before, after] = [before, after].map(|price| price.map(thousandths::write));
        Self { of: of(kind, unit), before, after, sample, costs }
    }
}

fn find(prices: &[Price], kind: UsageKind, unit: Unit) -> Option<u64> {
    let price = prices.iter().find(|price| (price.kind, price.unit) == (kind, unit))?;
    Some(price.millitokens)
}

fn told(price: &Price) -> String {
    format!("{}: {}", of(price.kind, price.unit), thousandths::write(price.millitokens))
}

fn of(kind: UsageKind, unit: Unit) -> String {
    format!("{}, per {}", text::kind(kind), unit.name())
}

fn field(kind: UsageKind, unit: Unit) -> String {
    format!("{}.{}", kind.name(), unit.name())
}

fn path(organization: &OrgId) -> String {
    format!("/console/organizations/{organization}/rates")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_preview_tells_what_becomes_of_each_price_and_what_events_would_cost() {
        let price = |kind, unit, millitokens| Price { kind, unit, millitokens };
        let before =
            [price(UsageKind::VideoSearch, Unit::Image, 1_500), price(UsageKind::Other, Unit::Event, 2_000)];
        let after = [
            price(UsageKind::VideoSearch, Unit::Image, 15),
            price(UsageKind::VideoSearch, Unit::Second, 1_000_000_000),
        ];
        let preview = Preview::new(None, &before, &after);
        let told: Vec<_> = preview
            .rows
            .iter()
            .map(|row| {
                let or = |text: &Option<String>| text.clone().unwrap_or_else(|| "-".to_owned());
                let [was, will] = row.costs.each_ref().map(or);
                format!("{}|{}|{}|{was}|{will}", row.of, or(&row.before), or(&row.after))
            })
            .collect();
        assert_eq!(
            told,
            [
                "Video search, per image|1.5|0.015|150 tokens|2 tokens",
                "Video search, per second|-|1000000|-|more than a debit may have",
                "Other, per event|2|-|2 tokens|-",
            ]
        );
    }
}
