//! Finds out what servers and streams are: the streams by asking for them, the servers by a question on the system account that each of them answers.
//!
//! Without a user of the system account only the version of the server that this client is connected to is known, and nothing of its syncs.

use std::time::Duration;

use async_nats::Client;
use async_nats::jetstream::context::Context;
use async_nats::jetstream::stream::{DiscardPolicy, Info, PersistenceMode, RetentionPolicy, StorageType};
use serde::Deserialize;

use crate::cluster::demands::{Facts, ServerFact, StreamFact};

use super::{Access, next};

/// For so long servers may answer the question.
const ANSWERS: Duration = Duration::from_secs(2);
const QUESTION: &str = "$SYS.REQ.SERVER.PING.JSZ";

/// What a server answers, as far as it is asked here.
#[derive(Debug, Deserialize)]
struct Answer {
    server: Server,
    data: Option<Data>,
}

#[derive(Debug, Deserialize)]
struct Server {
    name: String,
    #[serde(rename = "ver")]
    version: String,
}

#[derive(Debug, Deserialize)]
struct Data {
    config: Option<Settings>,
}

#[derive(Debug, Deserialize)]
struct Settings {
    #[serde(default)]
    sync_always: bool,
}

pub(super) async fn gather(
    client: &Client,
    context: &Context,
    streams: Vec<String>,
    system: Option<&Access>,
) -> Result<Facts, String> {
    let mut facts = Facts { payload_bytes_max: client.server_info().max_payload, ..Facts::default() };
    for name in streams {
        let found = context.get_stream(&name).await.map_err(|error| format!("the stream {name}: {error}"))?;
        facts.streams.push(of_stream(found.cached_info()));
    }
    facts.servers = match system {
        Some(access) => ask(access, &facts.streams).await?,
        None => {
            let info = client.server_info();
            vec![ServerFact { name: info.server_name, version: info.version, syncs_always: None }]
        }
    };
    Ok(facts)
}

fn of_stream(info: &Info) -> StreamFact {
    let config = &info.config;
    let is_bucket = config.name.starts_with("KV_");
    let is_bound = |most: i64| most > 0;
    let cluster = info.cluster.as_ref();
    let leader = cluster.and_then(|cluster| cluster.leader.clone());
    let followers =
        cluster.into_iter().flat_map(|cluster| cluster.replicas.iter().map(|peer| peer.name.clone()));
    StreamFact {
        name: config.name.clone(),
        peers: leader.into_iter().chain(followers).collect(),
        replicas: config.num_replicas,
        is_file: config.storage == StorageType::File,
        discards_new: config.discard == DiscardPolicy::New,
        // Of a bucket the newest value of a key is what counts.
        forgets: config.retention != RetentionPolicy::Limits
            || !config.max_age.is_zero()
            || is_bound(config.max_messages)
            || (!is_bucket && is_bound(config.max_messages_per_subject)),
        answers_before_writing: config.persist_mode == Some(PersistenceMode::Async),
    }
}

/// Asks every server, until all that keep a stream have answered or the time is over.
async fn ask(access: &Access, streams: &[StreamFact]) -> Result<Vec<ServerFact>, String> {
    let told = |error: &dyn std::fmt::Display| format!("the system account: {error}");
    let (system, _) = access.connect("weir, settings").await.map_err(|error| told(&error))?;
    let inbox = system.new_inbox();
    let mut answers = system.subscribe(inbox.clone()).await.map_err(|error| told(&error))?;
    let question = r#"{"config":true}"#.into();
    system.publish_with_reply(QUESTION, inbox, question).await.map_err(|error| told(&error))?;
    let mut servers: Vec<ServerFact> = Vec::new();
    let missing = |servers: &[ServerFact]| {
        let is_known = |peer: &String| servers.iter().any(|server| server.name == *peer);
        servers.is_empty() || streams.iter().flat_map(|stream| &stream.peers).any(|peer| !is_known(peer))
    };
    let end = tokio::time::Instant::now() + ANSWERS;
    while missing(&servers) {
        let Ok(Some(message)) = tokio::time::timeout_at(end, next(&mut answers)).await else { break };
        let Ok(answer) = serde_json::from_slice::<Answer>(&message.payload) else { continue };
        let syncs_always = answer.data.and_then(|data| data.config).map(|config| config.sync_always);
        servers.push(ServerFact { name: answer.server.name, version: answer.server.version, syncs_always });
    }
    if servers.is_empty() {
        return Err("no server answered on the system account; give a user of that account".to_owned());
    }
    Ok(servers)
}
