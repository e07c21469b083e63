//! A server that is a node of a cluster: the servers of NATS, the node, and the meter that serves what it owns, put together.
//!
//! The meter asks other nodes by [`Letters`], and the letters of others are handed to the meter; so each holds the other, until the server stops and
//! [`Clustered::stop`] parts them.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::cluster::jetstream::{JetStreamBoard, Keeper, Post, Serve, Setup};
use crate::cluster::lease::{Addresses, Life, is_name};
use crate::cluster::node::{self, Board, Host, Lookout, Node};
use crate::config::{ClusterConfig, Config};
use crate::domain::limits::CARRIED_WAIT_MS;
use crate::edge::streams;
use crate::edge::{carrying, grpc, http};
use crate::meter::{self, Answering, Meter, Nodes, Owner, Peers};
use crate::storage::manifest::Stage;
use crate::storage::{DirectoryId, Fault, Store};
use crate::telemetry::clock::{self, Clock};

use super::ServeError;
use super::followers::Followers;

/// A question to the owner of a partition; [`Meter::answer`] answers it.
const ASKED: u8 = 0;
/// What is told to the owner of a partition; [`Meter::hear`] hears it.
const TOLD: u8 = 1;
/// A request that a caller of another node made; [`Inboxes::answer`] answers it.
const CARRIED: u8 = 2;
/// A question to a node, whatever it owns; [`Meter::answer_as_node`] answers it.
const NODE_ASKED: u8 = 3;
/// How long an answer to what was carried is waited for.
const CARRY_PATIENCE: Duration = Duration::from_millis(CARRIED_WAIT_MS);
/// How often it is looked whether somebody else became the owner.
const LOOK: Duration = Duration::from_millis(100);
/// Longer than anybody waits for the answer of a node.
const NODE_PATIENCE: Duration = Duration::from_secs(2);
/// An order may wait ten seconds for its answer.
const ASK_PATIENCE: Duration = Duration::from_secs(12);

/// What makes a server a node.
#[derive(Debug)]
pub(super) struct Clustered {
    node: Node,
    keeper: Arc<Keeper>,
    me: Life,
    served: Served,
    followers: Arc<Followers>,
}

/// What serves other nodes: nothing before the meter is there, and after the server stopped.
type Served = Arc<Mutex<Option<(Meter, Inboxes)>>>;

/// The ways in for what other nodes carry here.
#[derive(Clone, Debug)]
pub(super) struct Inboxes {
    pub(super) http: http::Inbox,
    /// None where gRPC is not served.
    pub(super) grpc: Option<grpc::Inbox>,
}

impl Inboxes {
    async fn answer(&self, message: Vec<u8>) -> Vec<u8> {
        match (&self.grpc, is_call(&message)) {
            (Some(grpc), true) => grpc.answer(message).await,
            (None, true) => grpc::Inbox::again(),
            (_, false) => self.http.answer(message).await,
        }
    }

    /// The answer of a node that carries nothing out now.
    fn again(message: &[u8]) -> Vec<u8> {
        if is_call(message) { grpc::Inbox::again() } else { http::Inbox::again() }
    }
}

/// Whether it came over gRPC.
fn is_call(message: &[u8]) -> bool {
    message.first() == Some(&carrying::GRPC)
}

/// Messages to and from the other nodes.
#[derive(Debug)]
struct Letters {
    me: String,
    post: Post,
    lookout: Lookout,
}

#[derive(Debug)]
struct Partitions {
    meter: Meter,
    followers: Arc<Followers>,
}

impl Clustered {
    /// Connects to the servers, joins the cluster, and starts a meter that serves what comes to this node, and what `follow`s it. Blocks.
    ///
    /// # Errors
    /// When servers or settings do not do, or the meter cannot be started.
    pub(super) fn join(
        config: &Config,
        addresses: (SocketAddr, Option<SocketAddr>),
        (meter, inboxes): (meter::Config, Inboxes),
        follow: impl FnOnce(&Meter, DirectoryId) -> Arc<Followers>,
    ) -> Result<(Self, Meter), ServeError> {
        let cluster = config.cluster.as_ref().expect("it is a node");
        let me = life(cluster, addresses.0)?;
        let addresses = self_addresses(config, cluster, addresses)?;
        let setup = streams::setup(cluster).map_err(ServeError::Cluster)?;
        let setup = Setup { streams: setup.streams.min(config.partitions), ..setup };
        let keeper = Arc::new(Keeper::connect(&setup).map_err(ServeError::Cluster)?);
        let board: Arc<dyn Board> = Arc::new(JetStreamBoard::new(Arc::clone(&keeper)));
        let mut new = [0; 16];
        getrandom::fill(&mut new).expect("the operating system gives random bytes");
        let leases =
            node::found(&*board, DirectoryId(new), config.partitions).map_err(ServeError::Cluster)?;
        let (served, lookout) = (Served::default(), Lookout::default());
        let post = Post::start(Arc::clone(&keeper), me.clone(), serve(Arc::clone(&served)));
        let cause = |cause| Fault::Remote { action: "listen at", place: "the servers".to_owned(), cause };
        let post = post.map_err(cause).map_err(ServeError::Cluster)?;
        let letters = Letters { me: me.node.clone(), post, lookout: lookout.clone() };
        let partitions = u16::try_from(leases.holders.len()).expect("a table is bounded");
        let meter = meter::Config { partitions, ..meter };
        let meter = Meter::join(meter, leases.directory, Arc::new(letters))?;
        *served.lock().unwrap_or_else(PoisonError::into_inner) = Some((meter.clone(), inboxes));
        let followers = follow(&meter, leases.directory);
        let host = Arc::new(Partitions { meter: meter.clone(), followers: Arc::clone(&followers) });
        let node = node::Setup { life: me.clone(), addresses, term: cluster.term, lookout };
        let node = Node::start(node, &leases, board, host).map_err(super::system("start the node"))?;
        Ok((Self { node, keeper, me, served, followers }, meter))
    }

    /// Gives everything to others and ends; nothing is served here any more. Blocks.
    pub(super) fn stop(&self) {
        self.node.leave();
        *self.served.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// What follows the partitions that it serves.
    pub(super) fn followers(&self) -> Arc<Followers> {
        Arc::clone(&self.followers)
    }

    /// Whether somebody owns partition 0: this node, or another.
    pub(super) fn first_owner(&self) -> Option<Whose> {
        let sight = self.node.lookout().sight();
        let (life, _) = sight.owners.first()?.as_ref()?;
        Some(if *life == self.me { Whose::Ours } else { Whose::Theirs })
    }

    /// Why this node ended by itself, if it did.
    pub(super) fn ended(&self) -> Option<String> {
        self.node.lookout().sight().ended.clone()
    }

    /// What keeps this node from serving, for its readiness.
    pub(super) fn trouble(&self) -> impl Fn() -> Option<(&'static str, String)> + Send + Sync + use<> {
        let (keeper, lookout) = (Arc::clone(&self.keeper), self.node.lookout().clone());
        move || {
            let sight = lookout.sight();
            if let Some(why) = &sight.ended {
                return Some(("ended", why.clone()));
            }
            if !sight.is_heard {
                let why = "the servers do not carry what this node says; see that it reaches them".to_owned();
                return Some(("cut_off", why));
            }
            let (stream, stalled) = keeper.stalled()?;
            let why = format!(
                "the stream {stream} has kept nothing for {} s, though it was asked to; see that two of its three servers are there and that it has a leader",
                stalled.as_secs()
            );
            Some(("stalled", why))
        }
    }
}

/// Who owns a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Whose {
    Ours,
    Theirs,
}

impl Letters {
    fn to(&self, partition: u16) -> Result<Life, String> {
        owner(&self.lookout, partition).ok_or_else(|| format!("nobody owns partition {partition} now"))
    }

    /// Asks a node, whatever it owns.
    fn ask_at(&self, node: &str, topic: u8, request: Vec<u8>) -> Answering<Result<Vec<u8>, String>> {
        let to = self.lookout.sight().others.iter().find(|life| life.node == node).cloned();
        let (post, to) = (self.post.clone(), to.ok_or_else(|| format!("no node {node} is known")));
        Box::pin(async move { post.ask(to?, topic, 0, request, NODE_PATIENCE).await })
    }
}

fn owner(lookout: &Lookout, partition: u16) -> Option<Life> {
    let sight = lookout.sight();
    let (life, _) = sight.owners.get(usize::from(partition))?.as_ref()?;
    Some(life.clone())
}

impl Peers for Letters {
    fn ask(&self, partition: u16, request: Vec<u8>) -> Answering<Result<Vec<u8>, String>> {
        let (post, to) = (self.post.clone(), self.to(partition));
        Box::pin(async move { post.ask(to?, ASKED, partition, request, ASK_PATIENCE).await })
    }

    fn carry(&self, partition: u16, request: Vec<u8>) -> Answering<Result<Vec<u8>, String>> {
        let (post, lookout, to) = (self.post.clone(), self.lookout.clone(), self.to(partition));
        Box::pin(async move {
            let to = to?;
            let moved = async {
                while owner(&lookout, partition).as_ref() == Some(&to) {
                    tokio::time::sleep(LOOK).await;
                }
                // What it carried out before it left is answered on the way.
                tokio::time::sleep(LOOK).await;
            };
            tokio::select! {
                answer = post.ask(to.clone(), CARRIED, partition, request, CARRY_PATIENCE) => answer,
                () = moved => Err("somebody else became the owner".to_owned()),
            }
        })
    }

    fn tell(&self, partition: u16, message: Vec<u8>) {
        if let Ok(to) = self.to(partition) {
            self.post.tell(&to, TOLD, partition, message);
        }
    }

    fn owner(&self, partition: u16) -> Option<Owner> {
        let sight = self.lookout.sight();
        let (life, Addresses { http, grpc }) = sight.owners.get(usize::from(partition))?.as_ref()?;
        Some(Owner { node: life.node.clone(), http: Some(http.clone()), grpc: grpc.clone() })
    }

    fn nodes(&self) -> Nodes {
        let others = self.lookout.sight().others.iter().map(|life| life.node.clone()).collect();
        Nodes { me: self.me.clone(), others }
    }

    fn ask_node(&self, node: &str, request: Vec<u8>) -> Answering<Result<Vec<u8>, String>> {
        self.ask_at(node, NODE_ASKED, request)
    }

    fn carry_to(&self, node: &str, request: Vec<u8>) -> Answering<Result<Vec<u8>, String>> {
        self.ask_at(node, CARRIED, request)
    }
}

impl Host for Partitions {
    fn take(&self, store: Arc<dyn Store>, stage: Stage) -> Result<(), Fault> {
        self.followers.expect(store.partition());
        self.meter.take(Arc::clone(&store), stage).map(|recovery| super::report_one(&recovery))?;
        self.followers.take(store);
        Ok(())
    }

    fn save(&self, partition: u16) {
        let begun = clock::start();
        if self.meter.save(partition) {
            tracing::info!(partition, took = ?begun.elapsed(), "wrote a snapshot for whoever takes it");
        }
    }

    fn leave(&self, partition: u16) {
        self.followers.leave(partition);
        self.meter.leave(&[partition]);
    }

    fn serves(&self, partition: u16) -> bool {
        self.meter.status().iter().any(|status| status.partition == partition && status.failure.is_none())
    }
}

/// Hands what other nodes send to the meter.
fn serve(served: Served) -> Serve {
    Arc::new(move |head, message| {
        let served = served.lock().unwrap_or_else(PoisonError::into_inner).clone();
        Box::pin(async move {
            let Some((meter, inboxes)) = served else {
                return (head.topic == CARRIED).then(|| Inboxes::again(&message));
            };
            match head.topic {
                CARRIED => Some(inboxes.answer(message).await),
                ASKED => Some(meter.answer(head.partition, &message).await),
                NODE_ASKED => Some(meter.answer_as_node(&message).await),
                TOLD => {
                    meter.hear(&message);
                    None
                }
                topic => {
                    tracing::warn!(topic, "a message of another node is of a newer release");
                    None
                }
            }
        })
    })
}

/// This run of this node. Boots rise with the machine's clock; that two runs of a node have the same one is kept out by what is random of it.
fn life(cluster: &ClusterConfig, listen: SocketAddr) -> Result<Life, ServeError> {
    let node = cluster.node.clone().unwrap_or_else(|| {
        let machine = rustix::system::uname();
        format!("{}-{}", machine.nodename().to_string_lossy(), listen.port())
    });
    if !is_name(&node) {
        let why =
            format!("`{node}` cannot be the name of a node; set `cluster_node` to letters, digits, - and _");
        return Err(ServeError::Node(why));
    }
    let mut random = [0; 4];
    getrandom::fill(&mut random).expect("the operating system gives random bytes");
    let random = u64::from(u32::from_le_bytes(random) >> 12);
    Ok(Life { node, boot: (Clock::System.now().ms() << 20) | random })
}

/// Where others reach this node.
fn self_addresses(
    config: &Config,
    cluster: &ClusterConfig,
    (http, grpc): (SocketAddr, Option<SocketAddr>),
) -> Result<Addresses, ServeError> {
    let scheme = if config.tls.is_some() { "https" } else { "http" };
    let base = |told: &Option<String>, name: &str, address: SocketAddr| match told {
        Some(told) => Ok(told.trim_end_matches('/').to_owned()),
        None if address.ip().is_unspecified() => Err(ServeError::Node(format!(
            "this node listens on {address}, which tells nobody where it is; set `{name}` to the address at which others reach it"
        ))),
        None => Ok(format!("{scheme}://{address}")),
    };
    Ok(Addresses {
        http: base(&cluster.http, "cluster_http", http)?,
        grpc: grpc.map(|grpc| base(&cluster.grpc, "cluster_grpc", grpc)).transpose()?,
    })
}
