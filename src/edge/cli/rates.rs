//! `weir rates`: set and list what events cost that bear no token count.

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use crate::domain::debit::UsageKind;
use crate::domain::ids::OrgId;
use crate::domain::rates::Unit;
use crate::edge::thousandths;

use super::client::{OrganizationArgs, ServerArgs};
use super::failure::Failure;
use super::output::{answer, field, rows, table};

/// Set and list rate cards: what events cost that bear no token count.
#[derive(Debug, Subcommand)]
pub enum RatesCommand {
    /// Set the prices, from now or from a time on (admin).
    Set(SetArgs),
    /// List the rate cards of an organization, the newest last.
    List(OrganizationArgs),
}

/// A rate card as it is to be.
#[derive(Args, Debug)]
pub struct SetArgs {
    /// The organization.
    pub organization: OrgId,
    /// A price: KIND:UNIT=TOKENS, as in video_search:image=1.5; the unit is event, image or second, tokens have at most three
    /// decimals. Give one for each kind and unit: those that are left out are unpriced.
    #[arg(long = "price", value_name = "KIND:UNIT=TOKENS", required = true, value_parser = price)]
    pub prices: Vec<Priced>,
    /// The time of the first events that they are for, RFC 3339; now when it is left out.
    #[arg(long, value_name = "TIME")]
    pub from: Option<String>,
    /// The server.
    #[command(flatten)]
    pub server: ServerArgs,
}

/// A price as it is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Priced {
    kind: UsageKind,
    unit: Unit,
    millitokens: u64,
}

/// Runs it.
pub(super) fn run(command: &RatesCommand) -> Result<(), Failure> {
    let path = |organization| format!("/v1/organizations/{organization}/rates");
    match command {
        RatesCommand::Set(args) => {
            let price = |price: &Priced| json!({ "kind": price.kind, "unit": price.unit, "millitokens": price.millitokens });
            let prices: Vec<_> = args.prices.iter().map(price).collect();
            let body = json!({ "from": args.from, "prices": prices });
            let card = args.server.client()?.put(&path(&args.organization), &body)?;
            answer(args.server.output(), &card, |card| lines(std::slice::from_ref(card)));
        }
        RatesCommand::List(args) => {
            let list = args.server.client()?.get(&path(&args.organization))?;
            answer(args.server.output(), &list, |list| lines(rows(list, "rates")));
        }
    }
    Ok(())
}

fn lines(cards: &[Value]) -> String {
    let of_card = |card: &Value| {
        let row = |price: &Value| {
            let tokens = price["millitokens"].as_u64().map(thousandths::write).unwrap_or_default();
            let from_card = ["version", "from", "by"].map(|name| field(card, name));
            let [version, from, by] = from_card;
            [version, from, field(price, "kind"), field(price, "unit"), tokens, by]
        };
        rows(card, "prices").iter().map(row).collect::<Vec<_>>()
    };
    let cells: Vec<_> = cards.iter().flat_map(of_card).collect();
    table(["card", "from", "kind", "per", "tokens", "by"], &cells)
}

fn price(text: &str) -> Result<Priced, String> {
    let parts = text.split_once('=').and_then(|(of, tokens)| Some((of.split_once(':')?, tokens)));
    let ((kind, unit), tokens) = parts.ok_or("a price is KIND:UNIT=TOKENS")?;
    let kind = UsageKind::from_name(kind).map_err(|unknown| unknown.to_string())?;
    let unit = Unit::ALL.into_iter().find(|known| known.name() == unit);
    let unit = unit.ok_or("the unit is event, image or second")?;
    let millitokens = thousandths::read(tokens).ok_or("tokens are a number with at most three decimals")?;
    Ok(Priced { kind, unit, millitokens })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_price_is_a_kind_a_unit_and_tokens() {
        let read = price("video_search:image=1.5");
        assert_eq!(read, Ok(Priced { kind: UsageKind::VideoSearch, unit: Unit::Image, millitokens: 1_500 }));
        for bad in [
            "",
            "1",
            "video_search:image",
            "video_search:frame=1",
            "mining:image=1",
            "other:event=.5",
            "other:event=1.2345",
            "other:event=-1",
            "other:event=1e3",
            "other:event=99999999999999999999",
        ] {
            assert!(price(bad).is_err(), "{bad}");
        }
    }
}
