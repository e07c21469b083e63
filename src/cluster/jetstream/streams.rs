//! The streams of the journals: how many there are, and which servers lead them.
//!
//! Partition `p` is a subject of stream `p` modulo their number, which is decided once, with the first node of a cluster, and stands beside the
//! table of leases. A cluster that has the one stream `NAME-journal` keeps it as its only one.
//!
//! A stream whose leader dies keeps nothing until another leads it. So leaders are spread over the servers: when the streams are made, and again some
//! time after a server came back. A leader hands over to the server that is named, which takes no election.
//!
//! Absent on purpose: who keeps a stream, which the servers decide when it is made.

use std::collections::BTreeMap;
use std::time::Duration;

use async_nats::jetstream::context::{Context, GetStreamErrorKind};
use async_nats::jetstream::stream::{Config, DiscardPolicy, Info, RetentionPolicy, StorageType, Stream};
use async_nats::jetstream::{ErrorCode, response::Response};
use serde::Deserialize;
use serde_json::json;

use crate::cluster::remote::Answer;

use super::Setup;
use super::log::{append_to, last_of};
use super::watch::Watch;

/// For so long an id of a record is recognised by the servers. What comes later is refused for its sequence.
const DUPLICATES: Duration = Duration::from_secs(120);
/// How often a node looks who leads.
const LOOK: Duration = Duration::from_secs(10);
/// How often who leads new streams is looked at, and the pause between: they have a leader, and all of them, in a moment.
const NEW_LOOKS: u32 = 20;
const NEW_PAUSE: Duration = Duration::from_millis(100);

/// A stream of journals.
#[derive(Clone, Debug)]
pub(super) struct Journal {
    pub(super) stream: Stream,
    pub(super) name: String,
    /// How its subjects begin.
    pub(super) prefix: String,
    pub(super) watch: Watch,
}

/// A stream, and how its subjects begin.
pub(super) type Open = (Stream, String);

/// The streams of a cluster, in their order.
pub(super) type Opened = Vec<Open>;

/// Who leads a stream, and which other servers could: they have all of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Led {
    leader: String,
    able: Vec<String>,
    /// Whether other servers that keep it lag, or are away.
    is_behind: bool,
}

/// What the servers say to a leader's handing over.
#[derive(Debug, Deserialize)]
struct HandedOver {
    success: bool,
}

/// How the subjects of a stream begin.
fn prefix(name: &str, streams: u16, number: u16) -> String {
    if streams == 1 { format!("{name}.journal") } else { format!("{name}.journal.{number}") }
}

/// The name of the stream whose subjects begin so.
pub(super) fn name_of(prefix: &str) -> String {
    prefix.replace('.', "-")
}

/// Opens the streams; makes those that are not there, and spreads their leaders then.
pub(super) async fn open(context: &Context, leases: &Stream, setup: &Setup) -> Result<Opened, String> {
    let streams = count(context, leases, setup).await?;
    let (mut opened, mut is_new) = (Vec::new(), false);
    for number in 0..streams {
        let prefix = prefix(&setup.name, streams, number);
        let config = config(setup, &prefix);
        let found = stream(context, &config.name).await?;
        is_new |= found.is_none();
        let stream = match found {
            Some(stream) => stream,
            None => make(context, config).await?,
        };
        opened.push((stream, prefix));
    }
    if is_new {
        spread(context, &opened).await;
    }
    Ok(opened)
}

/// The streams that are there; makes none.
pub(super) async fn find(context: &Context, leases: &Stream, name: &str) -> Result<Opened, String> {
    let streams = known(leases, name).await?.unwrap_or(1);
    let mut found = Vec::new();
    for number in 0..streams {
        let prefix = prefix(name, streams, number);
        let stream = stream(context, &name_of(&prefix)).await?;
        let stream = stream.ok_or_else(|| format!("the stream {} is not there", name_of(&prefix)))?;
        found.push((stream, prefix));
    }
    Ok(found)
}

/// How many streams there are: what is written beside the table, or is written there now.
async fn count(context: &Context, leases: &Stream, setup: &Setup) -> Result<u16, String> {
    if let Some(number) = known(leases, &setup.name).await? {
        return Ok(number);
    }
    let only = name_of(&prefix(&setup.name, 1, 0));
    let streams = if stream(context, &only).await?.is_some() { 1 } else { setup.streams.max(1) };
    let to = (fact(&setup.name), format!("KV_{}-leases", setup.name));
    match append_to(context, to, streams.to_string().into_bytes(), 0, None).await {
        Answer::Stored(_) => Ok(streams),
        // Another node may have been quicker; whoever opens again finds what it wrote.
        Answer::Refused(why) | Answer::Unknown(why) => Err(format!("the number of streams: {why}")),
    }
}

/// How many streams there are, as it is written.
async fn known(leases: &Stream, name: &str) -> Result<Option<u16>, String> {
    let Some(stored) = last_of(leases, &fact(name)).await? else { return Ok(None) };
    let number = std::str::from_utf8(&stored.bytes).ok().and_then(|text| text.parse().ok());
    match number.filter(|number| *number > 0) {
        Some(number) => Ok(Some(number)),
        None => Err(format!("`streams` in the bucket {name}-leases is no number of streams")),
    }
}

/// Where the number of streams is written.
fn fact(name: &str) -> String {
    format!("$KV.{name}-leases.streams")
}

fn config(setup: &Setup, prefix: &str) -> Config {
    Config {
        name: name_of(prefix),
        subjects: vec![format!("{prefix}.*")],
        retention: RetentionPolicy::Limits,
        discard: DiscardPolicy::New,
        storage: StorageType::File,
        num_replicas: setup.demands.replicas,
        duplicate_window: DUPLICATES,
        deny_delete: true,
        ..Config::default()
    }
}

/// The stream as it is, which is never changed; none where there is none.
async fn stream(context: &Context, name: &str) -> Result<Option<Stream>, String> {
    match context.get_stream(name).await {
        Ok(found) => Ok(Some(found)),
        Err(error) => match error.kind() {
            GetStreamErrorKind::JetStream(told) if told.error_code() == ErrorCode::STREAM_NOT_FOUND => {
                Ok(None)
            }
            _ => Err(format!("the stream {name}: {error}")),
        },
    }
}

async fn make(context: &Context, config: Config) -> Result<Stream, String> {
    let name = config.name.clone();
    context.create_stream(config).await.map_err(|error| format!("the stream {name} cannot be made: {error}"))
}

impl Journal {
    /// A stream, with what watches it.
    pub(super) fn new(((stream, prefix), watch): (Open, Watch)) -> Self {
        Self { stream, name: name_of(&prefix), prefix, watch }
    }
}

/// Spreads the leaders from now on. Leaders change for a moment when servers come and go, so one is moved only when the same is found twice.
pub(super) async fn keep_spread(context: Context, journals: Opened) {
    let mut due = None;
    loop {
        tokio::time::sleep(LOOK).await;
        let found = uneven(&leaders(&journals).await);
        if found.is_some() && found == due {
            hand_over(&context, &journals, found.as_ref()).await;
        }
        due = found;
    }
}

/// Moves leaders until they are spread. It is no failure when they are not: they are looked at again later.
async fn spread(context: &Context, journals: &Opened) {
    for _ in 0..NEW_LOOKS {
        let all = leaders(journals).await;
        let found = uneven(&all);
        if found.is_none() && all.iter().all(|led| !led.is_behind) {
            return;
        }
        hand_over(context, journals, found.as_ref()).await;
        tokio::time::sleep(NEW_PAUSE).await;
    }
}

/// Who leads each stream, as far as that is told.
async fn leaders(journals: &Opened) -> Vec<Led> {
    let mut all = Vec::new();
    for (stream, _) in journals {
        all.push(stream.get_info().await.map(|info| led(&info)).unwrap_or_default());
    }
    all
}

/// The servers that lead the streams.
pub(super) async fn leading(journals: &Opened) -> Vec<String> {
    leaders(journals).await.into_iter().map(|led| led.leader).collect()
}

fn led(info: &Info) -> Led {
    let Some(cluster) = &info.cluster else { return Led::default() };
    let able = cluster.replicas.iter().filter(|peer| peer.current && !peer.offline);
    Led {
        leader: cluster.leader.clone().unwrap_or_default(),
        able: able.map(|peer| peer.name.clone()).collect(),
        is_behind: cluster.leader.is_none() || cluster.replicas.iter().any(|peer| !peer.current),
    }
}

/// A stream, and the server that is to lead it; none while no server leads two more than another that could. Nobody is moved while a stream has no leader.
fn uneven(all: &[Led]) -> Option<(usize, String)> {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for led in all {
        if led.leader.is_empty() {
            return None;
        }
        *counts.entry(&led.leader).or_default() += 1;
    }
    let count = |server: &str| counts.get(server).copied().unwrap_or(0);
    let moves = all.iter().enumerate().filter_map(|(number, led)| {
        let least = led.able.iter().min_by_key(|server| (count(server), server.as_str()))?;
        (count(&led.leader) >= count(least) + 2).then(|| (number, least.clone()))
    });
    moves.into_iter().next()
}

/// Has the leader of a stream hand over.
async fn hand_over(context: &Context, journals: &Opened, to: Option<&(usize, String)>) {
    let Some((number, server)) = to else { return };
    let name = name_of(&journals[*number].1);
    let wish = json!({ "placement": { "preferred": server } });
    let answer = context.request(format!("STREAM.LEADER.STEPDOWN.{name}"), &wish).await;
    match answer {
        Ok(Response::Ok(HandedOver { success })) => {
            tracing::info!(name, server, success, "the leader of a stream hands over");
        }
        Ok(Response::Err { error }) => {
            tracing::debug!(name, server, %error, "the leader of a stream does not hand over");
        }
        Err(error) => {
            tracing::debug!(name, server, %error, "the leader of a stream does not answer");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn led(leader: &str, able: &[&str]) -> Led {
        let able = able.iter().map(|&name| name.to_owned()).collect();
        Led { leader: leader.to_owned(), able, is_behind: false }
    }

    /// Moves leaders as they are found to be uneven; who leads at the end.
    fn settled(mut all: Vec<Led>) -> Vec<String> {
        for _ in 0..all.len() {
            let Some((number, to)) = uneven(&all) else { break };
            let led = &mut all[number];
            let from = std::mem::replace(&mut led.leader, to.clone());
            led.able.retain(|server| *server != to);
            led.able.push(from);
        }
        all.into_iter().map(|led| led.leader).collect()
    }

    #[test]
    fn leaders_are_spread_over_the_servers_that_could_lead() {
        let all = || vec![led("a", &["b", "c"]); 3];
        assert_eq!(settled(all()), ["b", "c", "a"]);
        let even = vec![led("a", &["b", "c"]), led("a", &["b", "c"]), led("b", &["a", "c"]), led("c", &[])];
        assert_eq!(uneven(&even), None, "four streams of three servers");
        assert_eq!(uneven(&[led("a", &["b", "c"])]), None, "one stream");
    }

    #[test]
    fn nobody_is_moved_to_a_server_that_lags_or_while_a_stream_has_no_leader() {
        let lagging = vec![led("a", &["b"]), led("a", &["b"]), led("b", &["a"])];
        assert_eq!(uneven(&lagging), None, "`c` has not all of it yet");
        assert_eq!(uneven(&[led("a", &["b", "c"]), led("a", &["b", "c"]), Led::default()]), None);
    }

    #[test]
    fn the_only_stream_has_the_name_that_it_always_had() {
        assert_eq!(prefix("weir", 1, 0), "weir.journal");
        assert_eq!(prefix("weir", 3, 2), "weir.journal.2");
    }
}
