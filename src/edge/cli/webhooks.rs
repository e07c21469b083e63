//! `weir webhooks`: set and list webhooks, show and replace their secrets, show deliveries and send them again.

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use crate::domain::alerts::{Topic, WebhookUrl};
use crate::domain::ids::{OrgId, WebhookId};

use super::alerts::millis;
use super::client::{OrganizationArgs, ServerArgs};
use super::failure::Failure;
use super::output::{answer, field, number_field, rows, table};

/// Set and list webhooks: addresses that are called when something happens to an organization.
#[derive(Debug, Subcommand)]
pub enum WebhooksCommand {
    /// Set the address of a webhook, and what it is called for; one that was off is called again (admin).
    Set(SetArgs),
    /// List the webhooks of an organization.
    List(OrganizationArgs),
    /// Remove a webhook; what waits for it is not sent (admin).
    Remove(OneArgs),
    /// Show the secrets that deliveries to a webhook are signed with (admin).
    Secret(OneArgs),
    /// Give a webhook a new secret; the one before counts for a while too (admin).
    Rotate(RotateArgs),
    /// List deliveries, newest first.
    Deliveries(DeliveriesArgs),
    /// Show a delivery, its attempts and its message.
    Delivery(DeliveryArgs),
    /// Send the message of a delivery again, under the same id (admin).
    Replay(DeliveryArgs),
}

/// A webhook as it is to be.
#[derive(Args, Debug)]
pub struct SetArgs {
    /// The organization.
    pub organization: OrgId,
    /// The webhook's name.
    pub webhook: WebhookId,
    /// Where it is: https://host/path.
    #[arg(long, value_name = "URL", value_parser = url)]
    pub url: String,
    /// What it is called for: alert.fired, license.added, transfer.finished, reservation.expired or organization.exhausted; may
    /// be given several times, and is everything when it is left out.
    #[arg(long = "topic", value_name = "TOPIC", value_parser = topic)]
    pub topics: Vec<Topic>,
    /// The server.
    #[command(flatten)]
    pub server: ServerArgs,
}

/// Which webhook.
#[derive(Args, Debug)]
pub struct OneArgs {
    /// The organization.
    pub organization: OrgId,
    /// The webhook's name.
    pub webhook: WebhookId,
    /// The server.
    #[command(flatten)]
    pub server: ServerArgs,
}

/// Which secret, and for how long the one before counts.
#[derive(Args, Debug)]
pub struct RotateArgs {
    /// The organization.
    pub organization: OrgId,
    /// The webhook's name.
    pub webhook: WebhookId,
    /// For how long the secret before counts too, up to 7d.
    #[arg(long, value_name = "TIME", default_value = "24h", value_parser = time)]
    pub overlap: u64,
    /// The server.
    #[command(flatten)]
    pub server: ServerArgs,
}

/// Which deliveries.
#[derive(Args, Debug)]
pub struct DeliveriesArgs {
    /// The organization.
    pub organization: OrgId,
    /// Those of this webhook alone.
    #[arg(long, value_name = "NAME")]
    pub webhook: Option<WebhookId>,
    /// Those that stand there alone: pending, delivered, failed, cancelled or off.
    #[arg(long, value_name = "STATE")]
    pub state: Option<String>,
    /// At most so many.
    #[arg(long, value_name = "N", default_value_t = 50)]
    pub limit: usize,
    /// Those before this number.
    #[arg(long, value_name = "NUMBER")]
    pub before: Option<u64>,
    /// The server.
    #[command(flatten)]
    pub server: ServerArgs,
}

/// Which delivery.
#[derive(Args, Debug)]
pub struct DeliveryArgs {
    /// The organization.
    pub organization: OrgId,
    /// The delivery's number.
    pub number: u64,
    /// The server.
    #[command(flatten)]
    pub server: ServerArgs,
}

/// Runs it.
pub(super) fn run(command: &WebhooksCommand) -> Result<(), Failure> {
    let all = |organization| format!("/v1/organizations/{organization}/webhooks");
    let of = |organization| format!("/v1/organizations/{organization}/deliveries");
    match command {
        WebhooksCommand::Set(args) => {
            let path = format!("{}/{}", all(&args.organization), args.webhook);
            let body = json!({ "url": args.url, "topics": args.topics });
            let webhook = args.server.client()?.put(&path, &body)?;
            answer(args.server.output(), &webhook, |webhook| webhooks(std::slice::from_ref(webhook)));
        }
        WebhooksCommand::List(args) => {
            let list = args.server.client()?.get(&all(&args.organization))?;
            answer(args.server.output(), &list, |list| webhooks(rows(list, "webhooks")));
        }
        WebhooksCommand::Remove(args) => {
            let path = format!("{}/{}", all(&args.organization), args.webhook);
            args.server.client()?.delete(&path)?;
            let removed = json!({ "id": args.webhook, "removed": true });
            answer(args.server.output(), &removed, |_| format!("removed {}", args.webhook));
        }
        WebhooksCommand::Secret(args) => {
            let path = format!("{}/{}/secret", all(&args.organization), args.webhook);
            let secrets = args.server.client()?.get(&path)?;
            answer(args.server.output(), &secrets, secret);
        }
        WebhooksCommand::Rotate(args) => {
            let path = format!("{}/{}/secret", all(&args.organization), args.webhook);
            let body = json!({ "overlap_ms": args.overlap });
            let webhook = args.server.client()?.post(&path, &body)?;
            answer(args.server.output(), &webhook, |webhook| webhooks(std::slice::from_ref(webhook)));
        }
        WebhooksCommand::Deliveries(args) => {
            let page = args.server.client()?.get(&format!("{}?{}", of(&args.organization), asked(args)))?;
            answer(args.server.output(), &page, |page| deliveries(page, rows(page, "deliveries")));
        }
        WebhooksCommand::Delivery(args) => {
            let path = format!("{}/{}", of(&args.organization), args.number);
            let delivery = args.server.client()?.get(&path)?;
            show(&args.server, &delivery);
        }
        WebhooksCommand::Replay(args) => {
            let body = json!({ "replay": args.number });
            let delivery = args.server.client()?.post(&of(&args.organization), &body)?;
            show(&args.server, &delivery);
        }
    }
    Ok(())
}

fn asked(args: &DeliveriesArgs) -> String {
    let mut asked = vec![format!("limit={}", args.limit)];
    asked.extend(args.webhook.as_ref().map(|webhook| format!("webhook={webhook}")));
    asked.extend(args.state.as_ref().map(|state| format!("state={state}")));
    asked.extend(args.before.map(|before| format!("before={before}")));
    asked.join("&")
}

fn show(server: &ServerArgs, delivery: &Value) {
    answer(server.output(), delivery, |delivery| {
        let tried = |attempt: &Value| ["at", "took_ms", "status", "error"].map(|name| field(attempt, name));
        let cells: Vec<_> = rows(delivery, "tried").iter().map(tried).collect();
        let head = deliveries(delivery, std::slice::from_ref(delivery));
        let attempts = table(["tried", "took_ms", "status", "error"], &cells);
        format!("{head}\n\n{attempts}\n\n{}", delivery["message"])
    });
}

fn webhooks(list: &[Value]) -> String {
    let row = |one: &Value| {
        let topics = field(one, "topics");
        let topics = if topics.is_empty() { "all".to_owned() } else { topics };
        let [id, url, state] = ["id", "url", "state"].map(|name| field(one, name));
        [id, url, topics, state, number_field(one, "pending"), field(one, "previous_secret_until")]
    };
    let cells: Vec<_> = list.iter().map(row).collect();
    table(["webhook", "url", "topics", "state", "pending", "two secrets until"], &cells)
}

fn secret(secrets: &Value) -> String {
    let mut text = field(secrets, "secret");
    if secrets["previous"].is_string() {
        let [previous, until] = ["previous", "previous_until"].map(|name| field(secrets, name));
        text.push_str(&format!("\n{previous} (until {until})"));
    }
    text
}

fn deliveries(page: &Value, list: &[Value]) -> String {
    let row = |one: &Value| {
        let status = field(&one["last"], "status");
        let last = if status.is_empty() { field(&one["last"], "error") } else { status };
        let [number, at, webhook, topic] =
            ["number", "made_at", "webhook", "topic"].map(|name| field(one, name));
        let [state, attempts, due] = ["state", "attempts", "due_at"].map(|name| field(one, name));
        [number, at, webhook, topic, state, attempts, last, due]
    };
    let cells: Vec<_> = list.iter().map(row).collect();
    let next = page["next"].as_u64().map_or(String::new(), |next| format!("\nmore: --before {next}"));
    let head = ["number", "at", "webhook", "topic", "state", "attempts", "last", "next attempt"];
    format!("{}{next}", table(head, &cells))
}

fn url(text: &str) -> Result<String, String> {
    WebhookUrl::new(text).map(|url| url.as_str().to_owned()).map_err(|invalid| invalid.to_string())
}

fn topic(text: &str) -> Result<Topic, String> {
    let names = Topic::ALL.map(Topic::name).join(", ");
    Topic::of_name(text).ok_or_else(|| format!("a topic is one of {names}"))
}

fn time(text: &str) -> Result<u64, String> {
    millis(text).ok_or_else(|| "a time is like 90s, 5m, 24h or 7d".to_owned())
}
