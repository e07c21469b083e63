//! `weir ingest frigate`: the events of a Frigate camera recorder become debits, one for each that ended.
//!
//! Frigate says on one MQTT topic how each tracked object begins, changes and ends; its id is the event id of the debit. A
//! message is acknowledged to the broker after its debit is on the server's disk. So whatever ends in between, the broker
//! delivers it again, and the id charges it once. Each connection has a client of its own: an acknowledgement never goes to another
//! connection than the one that its message came by. Deliberately absent: TLS to the broker.

use std::thread::park_timeout;
use std::time::Duration;

use clap::{Args, ValueEnum};
use rumqttc::{Client, Connection, Event, MqttOptions, Outgoing, Packet, Publish, QoS};
use serde_json::{Map, Value, json};

use crate::domain::debit::UsageKind;
use crate::domain::ids::OrgId;
use crate::edge::cli::client::ServerArgs;
use crate::edge::cli::failure::Failure;
use crate::edge::cli::output::{note, print, print_json};

use super::deliver::Delivery;
use super::mapping::ms_of_seconds;

const SCHEME: &str = "mqtt://";
const PORT: u16 = 1_883;
/// A message may hold a small picture.
const MESSAGE_BYTES_MAX: usize = 4 << 20;
const KEEP_ALIVE: Duration = Duration::from_secs(30);
/// How long to wait before the next connection.
const PAUSE: Duration = Duration::from_secs(1);

/// Which broker to listen to, and what an event costs.
#[derive(Args, Debug)]
pub struct FrigateArgs {
    /// URL of the broker: mqtt://[USER:PASSWORD@]HOST[:PORT].
    #[arg(long, env = "WEIR_MQTT", value_name = "URL", hide_env_values = true, value_parser = broker)]
    pub mqtt: Broker,
    /// The organization.
    #[arg(long)]
    pub org: OrgId,
    /// The topic.
    #[arg(long, default_value = "frigate/events")]
    pub topic: String,
    /// The name under which the broker keeps what was not acknowledged; weir-ORG when it is left out. No two may have the same.
    #[arg(long, value_name = "NAME")]
    pub client_id: Option<String>,
    /// What the tokens are used for.
    #[arg(long, default_value = "contextual_video_analytics", value_parser = kind)]
    pub kind: UsageKind,
    /// Tokens of an event; the rate card prices it when they are left out.
    #[arg(long)]
    pub tokens: Option<u64>,
    /// What the rate card prices.
    #[arg(long, value_enum, default_value_t = Per::Event, conflicts_with = "tokens")]
    pub per: Per,
    /// End after so many events.
    #[arg(long, value_name = "N")]
    pub events: Option<u64>,
    /// The server.
    #[command(flatten)]
    pub server: ServerArgs,
}

/// What of an event is priced.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Per {
    /// The event.
    Event,
    /// Its duration.
    Second,
}

/// Where a broker is, and as whom to connect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Broker {
    host: String,
    port: u16,
    credentials: Option<(String, String)>,
}

/// How a connection ended.
enum Ended {
    Broken(String),
    Done,
}

/// Runs it.
pub(super) fn run(args: &FrigateArgs) -> Result<(), Failure> {
    let mut delivery = Delivery::new(args.server.client()?, &args.org, None);
    let mut bad = 0;
    loop {
        let (client, mut connection) = Client::new(options(args), 64);
        match listen(args, &client, &mut connection, (&mut delivery, &mut bad))? {
            Ended::Done => break,
            Ended::Broken(cause) => {
                note(&format!("the connection to the broker broke: {cause}; connecting again"));
            }
        }
        park_timeout(PAUSE);
    }
    if args.server.json {
        print_json(&json!({ "bad_messages": bad, "debits": delivery.counts }));
    } else {
        print(&format!("{bad} messages were no events; {}", delivery.counts.text()));
    }
    match bad + delivery.counts.refused() {
        0 => Ok(()),
        _ => Err(Failure::refused("some events were refused, or no events; what they were is above")),
    }
}

/// Takes messages until the connection ends.
fn listen(
    args: &FrigateArgs,
    client: &Client,
    connection: &mut Connection,
    (delivery, bad): (&mut Delivery, &mut u64),
) -> Result<Ended, Failure> {
    for event in connection.iter() {
        match event {
            Ok(Event::Incoming(Packet::ConnAck(_))) => client.subscribe(&args.topic, QoS::AtLeastOnce)?,
            Ok(Event::Incoming(Packet::SubAck(_))) => print("subscribed"),
            Ok(Event::Incoming(Packet::Publish(message))) => {
                *bad += u64::from(!take(args, &message, delivery)?);
                client.ack(&message)?;
                if args.events.is_some_and(|most| delivery.counts.sent >= most) {
                    client.disconnect()?;
                }
            }
            Ok(Event::Outgoing(Outgoing::Disconnect)) => return Ok(Ended::Done),
            Ok(_) => {}
            Err(error) => return Ok(Ended::Broken(error.to_string())),
        }
    }
    Ok(Ended::Broken("it was closed".to_owned()))
}

/// Charges what a message says; whether it says anything. When this returns, the server has answered for good.
fn take(args: &FrigateArgs, message: &Publish, delivery: &mut Delivery) -> Result<bool, Failure> {
    match debit(&message.payload, args) {
        Ok(None) => {}
        Ok(Some(debit)) => {
            let place = format!("event {}", debit["event_id"]);
            delivery.deliver(vec![(place, debit)])?;
        }
        Err(what) => {
            note(&format!("a message on {}: {what}", message.topic));
            return Ok(false);
        }
    }
    Ok(true)
}

/// The debit of an event that ended; none for one that goes on, and for one that was none.
fn debit(message: &[u8], args: &FrigateArgs) -> Result<Option<Map<String, Value>>, String> {
    let message: Value =
        serde_json::from_slice(message).map_err(|error| format!("it is no json: {error}"))?;
    let event = &message["after"];
    match message["type"].as_str() {
        Some("end") if event["false_positive"] != true => {}
        Some("new" | "update" | "end") => return Ok(None),
        _ => return Err("it is no event of frigate".to_owned()),
    }
    let time = |name: &str| {
        let seconds = event[name].as_number().and_then(ms_of_seconds);
        seconds.ok_or_else(|| format!("the event has no {name} in seconds"))
    };
    let (begun, ended) = (time("start_time")?, time("end_time")?);
    let (mut debit, text) = (Map::new(), |name: &str| event[name].as_str());
    debit.insert("camera".to_owned(), text("camera").ok_or("the event has no camera")?.into());
    debit.insert("event_id".to_owned(), text("id").ok_or("the event has no id")?.into());
    debit.insert("time".to_owned(), ended.into());
    debit.insert("kind".to_owned(), args.kind.name().into());
    if let Some(tokens) = args.tokens {
        debit.insert("tokens".to_owned(), tokens.into());
    } else if args.per == Per::Second {
        debit.insert("duration_ms".to_owned(), ended.saturating_sub(begun).max(1).into());
    }
    Ok(Some(debit))
}

fn options(args: &FrigateArgs) -> MqttOptions {
    let Broker { host, port, credentials } = &args.mqtt;
    let id = args.client_id.clone().unwrap_or_else(|| format!("weir-{}", args.org));
    let mut options = MqttOptions::new(id, host, *port);
    options.set_keep_alive(KEEP_ALIVE).set_clean_session(false).set_manual_acks(true);
    options.set_max_packet_size(MESSAGE_BYTES_MAX, MESSAGE_BYTES_MAX);
    if let Some((user, password)) = credentials {
        options.set_credentials(user, password);
    }
    options
}

fn broker(url: &str) -> Result<Broker, String> {
    let rest = url.strip_prefix(SCHEME).ok_or("a broker is mqtt://[USER:PASSWORD@]HOST[:PORT]")?;
    let (user, place) = rest.rsplit_once('@').map_or((None, rest), |(user, place)| (Some(user), place));
    let credentials = user.map(|user| user.split_once(':').unwrap_or((user, "")));
    let (host, port) = place.trim_end_matches('/').rsplit_once(':').unwrap_or((place, ""));
    let port = if port.is_empty() { Ok(PORT) } else { port.parse() };
    let port = port.map_err(|_| "the port of the broker is a number up to 65535")?;
    if host.is_empty() {
        return Err("the url of the broker names no host".to_owned());
    }
    let credentials = credentials.map(|(user, password)| (user.to_owned(), password.to_owned()));
    Ok(Broker { host: host.trim_end_matches('/').to_owned(), port, credentials })
}

fn kind(name: &str) -> Result<UsageKind, String> {
    UsageKind::from_name(name).map_err(|unknown| unknown.to_string())
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    /// A message as the documentation of Frigate shows it.
    const UPDATE: &str = include_str!("../../../../data/frigate/events_update.json");

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        args: FrigateArgs,
    }

    fn args(more: &[&str]) -> FrigateArgs {
        let line = ["x", "--mqtt", "mqtt://broker", "--org", "acme"];
        Line::try_parse_from([&line[..], more].concat()).expect("a line").args
    }

    fn ended() -> String {
        UPDATE.replace("\"update\"", "\"end\"").replace("\"end_time\":null", "\"end_time\":1607123965.5")
    }

    #[test]
    fn an_event_is_a_debit_when_it_ends_and_no_earlier() {
        assert_eq!(debit(UPDATE.as_bytes(), &args(&[])), Ok(None));
        let false_positive = ended().replace("\"false_positive\":false", "\"false_positive\":true");
        assert_eq!(debit(false_positive.as_bytes(), &args(&[])), Ok(None));
        let mut expected = json!({"camera": "front_door", "event_id": "1607123955.475377-mxklsc",
            "time": 1_607_123_965_500_u64, "kind": "contextual_video_analytics"});
        let made =
            |more: &[&str]| debit(ended().as_bytes(), &args(more)).expect("an event").map(Value::Object);
        assert_eq!(made(&[]), Some(expected.clone()));
        expected["duration_ms"] = 10_025.into();
        assert_eq!(made(&["--per", "second"]), Some(expected.clone()));
        expected.as_object_mut().expect("an object").remove("duration_ms");
        expected["tokens"] = 7.into();
        expected["kind"] = "other".into();
        assert_eq!(made(&["--tokens", "7", "--kind", "other"]), Some(expected));
    }

    #[test]
    fn what_is_no_event_is_told() {
        let without = |part: &str| ended().replace(part, "\"x\"");
        for bad in [
            "",
            "{}",
            "[]",
            "{\"type\":\"end\"}",
            &without("\"id\""),
            &without("\"camera\""),
            &without("\"end_time\""),
        ] {
            assert!(debit(bad.as_bytes(), &args(&[])).is_err(), "{bad}");
        }
    }

    #[test]
    fn the_url_of_a_broker_has_a_host_and_may_have_more() {
        let broker_at = |host: &str, port, credentials: Option<(&str, &str)>| {
            let credentials = credentials.map(|(user, password)| (user.to_owned(), password.to_owned()));
            Ok(Broker { host: host.to_owned(), port, credentials })
        };
        assert_eq!(broker("mqtt://nvr"), broker_at("nvr", 1_883, None));
        assert_eq!(broker("mqtt://nvr:7/"), broker_at("nvr", 7, None));
        assert_eq!(broker("mqtt://me:p@ss:w@nvr:7"), broker_at("nvr", 7, Some(("me", "p@ss:w"))));
        for bad in ["nvr", "mqtts://nvr", "mqtt://", "mqtt://nvr:x", "mqtt://nvr:65536"] {
            assert!(broker(bad).is_err(), "{bad}");
        }
    }
}
