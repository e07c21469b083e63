//! Nodes in one process, the log that they share, and what carries their messages.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use tokenweir::cluster::ReplicatedStore;
use tokenweir::cluster::record::Owned;
use tokenweir::cluster::sim_log::SimLog;
use tokenweir::domain::hash;
use tokenweir::meter::{
    Answering, CameraId, CameraRef, CameraSpec, Config, Debit, Error, Identity, Meter, Name, NewOrganization,
    Nodes, OrgId, Organization, Outcome, Owner, PartitionRecovery, Peers, Principal, Tokens, UsageKind,
};
use tokenweir::storage::manifest::Stage;
use tokenweir::storage::sim_disk::SplitMix;
use tokenweir::storage::{DirectoryId, Fault, SimDisk};
use tokio::sync::Barrier;

pub(crate) const HOST: &Principal = &Principal::Host;
pub(crate) const PARTITIONS: u16 = 3;
const DIRECTORY: DirectoryId = DirectoryId([7; 16]);
/// Whatever takes longer than this never ends.
const PATIENCE: Duration = Duration::from_secs(60);

/// The nodes.
pub(crate) struct Cluster {
    pub(crate) net: Net,
    pub(crate) nodes: Vec<Meter>,
    logs: Vec<SimLog>,
    epochs: AtomicU64,
}

/// What carries messages, as a node sees it; all share one.
#[derive(Clone, Default)]
pub(crate) struct Net {
    shared: Arc<Mutex<Carried>>,
    me: usize,
}

impl std::fmt::Debug for Net {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Net")
    }
}

/// What carries out requests of callers at a node.
pub(crate) type CarryOut = Arc<dyn Fn(Vec<u8>) -> Answering<Vec<u8>> + Send + Sync>;

struct Carried {
    owners: BTreeMap<u16, Meter>,
    /// Which node each owner is.
    homes: BTreeMap<u16, usize>,
    edges: BTreeMap<usize, CarryOut>,
    /// All nodes, whatever they own.
    nodes: BTreeMap<usize, Meter>,
    /// Nodes that answer nothing.
    silent: BTreeSet<usize>,
    /// Where questions wait until so many of them are under way.
    gathering: Option<Arc<Barrier>>,
    /// Where each node serves gRPC.
    grpc: BTreeMap<usize, String>,
    /// Requests of callers, in their order.
    requests: Vec<Vec<u8>>,
    random: SplitMix,
    /// Of a hundred messages, so many are lost, so many come twice, and so many late.
    troubled: u64,
    late: Vec<(u16, Vec<u8>)>,
    told: u64,
}

impl Default for Carried {
    fn default() -> Self {
        let (owners, homes, edges) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
        let (nodes, silent, gathering) = (BTreeMap::new(), BTreeSet::new(), None);
        let (grpc, requests, late) = (BTreeMap::new(), Vec::new(), Vec::new());
        let (random, troubled, told) = (SplitMix(1), 0, 0);
        Self { owners, homes, edges, nodes, silent, gathering, grpc, requests, random, troubled, late, told }
    }
}

impl Net {
    /// From now on so many of a hundred messages are lost, so many doubled, and so many late.
    pub(crate) fn trouble(&self, troubled: u64) {
        self.carried().troubled = troubled;
    }

    /// What was told so far.
    pub(crate) fn told(&self) -> u64 {
        self.carried().told
    }

    /// Nobody is the owner of a partition any more, as far as the others know.
    pub(crate) fn forget(&self, partition: u16) {
        let mut carried = self.carried();
        carried.owners.remove(&partition);
        carried.homes.remove(&partition);
    }

    /// Others take a node for the owner of a partition, whether it is or not.
    pub(crate) fn believe(&self, partition: u16, node: usize) {
        self.carried().homes.insert(partition, node);
    }

    /// From now on a node answers nothing, or answers again.
    pub(crate) fn silence(&self, node: usize, is_silent: bool) {
        let silent = &mut self.carried().silent;
        if is_silent {
            silent.insert(node)
        } else {
            silent.remove(&node)
        };
    }

    /// From now on questions are answered when so many of them wait.
    pub(crate) fn gather(&self, count: usize) {
        self.carried().gathering = Some(Arc::new(Barrier::new(count)));
    }

    async fn gathered(&self) {
        let gathering = self.carried().gathering.clone();
        if let Some(gathering) = gathering {
            gathering.wait().await;
        }
    }

    /// Requests that are carried to this node are carried out there from now on.
    #[cfg(feature = "server")]
    pub(crate) fn serve(&self, node: usize, carry_out: CarryOut) {
        self.carried().edges.insert(node, carry_out);
    }

    /// A node serves gRPC there from now on.
    #[cfg(all(feature = "server", feature = "client"))]
    pub(crate) fn listen(&self, node: usize, url: String) {
        self.carried().grpc.insert(node, url);
    }

    /// The requests of callers that were carried, in their order.
    #[cfg(feature = "server")]
    pub(crate) fn requests(&self) -> Vec<Vec<u8>> {
        self.carried().requests.clone()
    }

    /// Everything that is late arrives now.
    pub(crate) fn deliver_late(&self) {
        let late = std::mem::take(&mut self.carried().late);
        late.iter().for_each(|(partition, message)| self.hear(*partition, message));
    }

    fn hear(&self, partition: u16, message: &[u8]) {
        let owner = self.carried().owners.get(&partition).cloned();
        owner.into_iter().for_each(|owner| owner.hear(message));
    }

    fn strikes(&self) -> bool {
        let mut carried = self.carried();
        carried.random.draw() % 100 < carried.troubled
    }

    fn carried(&self) -> MutexGuard<'_, Carried> {
        self.shared.lock().expect("no panic")
    }
}

impl Peers for Net {
    fn ask(&self, partition: u16, request: Vec<u8>) -> Answering<Result<Vec<u8>, String>> {
        let me = self.clone();
        Box::pin(async move {
            let owner = me.carried().owners.get(&partition).cloned().ok_or("nobody owns it")?;
            me.gathered().await;
            if me.strikes() {
                return Err("the question was lost".to_owned());
            }
            if me.strikes() {
                _ = owner.answer(partition, &request).await;
            }
            let answer = owner.answer(partition, &request).await;
            if me.strikes() { Err("the answer was lost".to_owned()) } else { Ok(answer) }
        })
    }

    fn carry(&self, partition: u16, request: Vec<u8>) -> Answering<Result<Vec<u8>, String>> {
        let edge = {
            let mut carried = self.carried();
            carried.requests.push(request.clone());
            carried.homes.get(&partition).and_then(|node| carried.edges.get(node)).cloned()
        };
        let is_lost = self.strikes();
        Box::pin(async move {
            let answer = edge.ok_or("nobody owns it")?(request).await;
            if is_lost { Err("the answer was lost".to_owned()) } else { Ok(answer) }
        })
    }

    fn tell(&self, partition: u16, message: Vec<u8>) {
        self.carried().told += 1;
        if self.strikes() {
            return;
        }
        if self.strikes() {
            self.hear(partition, &message);
        }
        if self.strikes() {
            self.carried().late.push((partition, message));
            return;
        }
        self.hear(partition, &message);
        let at = {
            let mut carried = self.carried();
            if carried.late.is_empty() { None } else { Some(carried.late.remove(0)) }
        };
        at.into_iter().for_each(|(partition, message)| self.hear(partition, &message));
    }

    fn owner(&self, partition: u16) -> Option<Owner> {
        let carried = self.carried();
        let node = carried.homes.get(&partition)?;
        Some(Owner { node: name_of(*node), http: None, grpc: carried.grpc.get(node).cloned() })
    }

    fn nodes(&self) -> Nodes {
        let carried = self.carried();
        let others = carried.nodes.keys().filter(|node| **node != self.me);
        Nodes { me: name_of(self.me), others: others.map(|node| name_of(*node)).collect() }
    }

    fn ask_node(&self, node: &str, request: Vec<u8>) -> Answering<Result<Vec<u8>, String>> {
        let me = self.clone();
        let found = {
            let carried = self.carried();
            let named = carried.nodes.iter().find(|(number, _)| name_of(**number) == node);
            named.filter(|(number, _)| !carried.silent.contains(number)).map(|(_, meter)| meter.clone())
        };
        Box::pin(async move {
            me.gathered().await;
            Ok(found.ok_or("it does not answer")?.answer_as_node(&request).await)
        })
    }

    fn carry_to(&self, node: &str, request: Vec<u8>) -> Answering<Result<Vec<u8>, String>> {
        let found = {
            let carried = self.carried();
            let named = carried.edges.iter().find(|(number, _)| name_of(**number) == node);
            named.filter(|(number, _)| !carried.silent.contains(number)).map(|(_, edge)| Arc::clone(edge))
        };
        Box::pin(async move { Ok(found.ok_or("it does not answer")?(request).await) })
    }
}

/// The name of a node.
pub(crate) fn name_of(node: usize) -> String {
    format!("node-{node}")
}

impl Cluster {
    /// So many nodes, of which none owns anything.
    pub(crate) fn idle(count: usize) -> Self {
        let net = Net::default();
        let node = |me| {
            let config = Config { partitions: PARTITIONS, ..Config::new(Path::new("d")) };
            let peers = Arc::new(Net { me, ..net.clone() });
            Meter::join_on(Arc::new(SimDisk::new()), config, DIRECTORY, peers).expect("new")
        };
        let nodes: Vec<_> = (0..count).map(node).collect();
        let logs = (0..PARTITIONS).map(|_| SimLog::default()).collect();
        net.carried().nodes = nodes.iter().cloned().enumerate().collect();
        Self { net, nodes, logs, epochs: AtomicU64::new(0) }
    }

    /// So many nodes that share the partitions evenly.
    pub(crate) fn of(count: usize) -> Self {
        let cluster = Self::idle(count);
        for partition in 0..PARTITIONS {
            cluster.take(usize::from(partition) % count, partition).expect("new");
        }
        cluster
    }

    /// A node takes a partition, whoever had it; the others know at once.
    pub(crate) fn take(&self, node: usize, partition: u16) -> Result<(), Fault> {
        self.recover(node, partition).map(drop)
    }

    /// The same, with what was found.
    pub(crate) fn recover(&self, node: usize, partition: u16) -> Result<PartitionRecovery, Fault> {
        let epoch = self.epochs.fetch_add(1, Ordering::SeqCst) + 1;
        let owned = Owned { directory: DIRECTORY, partition };
        let log = self.logs[usize::from(partition)].clone();
        let store = Arc::new(ReplicatedStore::new(Arc::new(log), owned, epoch));
        let found = tokio::task::block_in_place(|| self.nodes[node].take(store, Stage::BeingMade))?;
        self.net.carried().owners.insert(partition, self.nodes[node].clone());
        self.net.believe(partition, node);
        Ok(found)
    }

    /// A node makes ready to leave a partition; whether it wrote a snapshot.
    pub(crate) fn save(&self, node: usize, partition: u16) -> bool {
        tokio::task::block_in_place(|| self.nodes[node].save(partition))
    }

    /// A node leaves a partition in order.
    pub(crate) fn leave(&self, node: usize, partition: u16) {
        tokio::task::block_in_place(|| self.nodes[node].leave(&[partition]));
    }

    /// A partition goes from one node to another in order.
    pub(crate) fn move_to(&self, from: usize, to: usize, partition: u16) {
        self.leave(from, partition);
        self.take(to, partition).expect("whole");
    }

    /// The node that the others take for the owner of an organization's partition.
    pub(crate) fn owner(&self, id: &OrgId) -> Option<Meter> {
        self.net.carried().owners.get(&hash::partition(id, PARTITIONS)).cloned()
    }

    /// The handle of an organization at the node that owns it.
    pub(crate) fn handle(&self, id: &OrgId) -> Result<Organization, Error> {
        self.owner(id).expect("somebody owns it").organization(HOST, id)
    }

    /// A new organization without anything.
    pub(crate) async fn bare(&self, id: &OrgId) -> Organization {
        let meter = self.owner(id).expect("somebody owns it");
        let new = NewOrganization::new(id.clone(), Name::new("An organization").expect("valid"));
        meter.create_organization(HOST, new).await.expect("it is new");
        meter.organization(HOST, id).expect("just made")
    }

    /// A new organization with the camera `cam` and so many tokens.
    pub(crate) async fn organization(&self, id: &OrgId, tokens: u64) -> Organization {
        let organization = self.bare(id).await;
        organization.register_camera(camera()).await.expect("within bounds");
        organization.grant(vec![Tokens(tokens)]).await.expect("within bounds");
        organization
    }

    /// Sends a debit until it is answered for good, wherever its organization is.
    pub(crate) async fn debit(&self, id: &OrgId, seq: u64) -> Outcome {
        self.until(|| async {
            let answer = async { self.handle(id)?.debit(debit(seq)).await };
            match answer.await {
                Ok(reply) => Some(reply.outcome),
                Err(error) => {
                    assert_eq!(error.code(), "elsewhere", "{error}");
                    None
                }
            }
        })
        .await
    }

    /// What is available to an organization, when that can be told.
    pub(crate) async fn available(&self, id: &OrgId) -> u64 {
        self.until(|| async {
            let summary = async { self.handle(id)?.summary().await };
            summary.await.ok().map(|summary| summary.available.0)
        })
        .await
    }

    /// Asks again and again until there is an answer.
    pub(crate) async fn until<T, F: Future<Output = Option<T>>>(&self, mut ask: impl FnMut() -> F) -> T {
        let asked = async {
            loop {
                if let Some(answer) = ask().await {
                    return answer;
                }
                self.net.deliver_late();
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(PATIENCE, asked).await.expect("it ends")
    }

    /// Ends all nodes.
    pub(crate) async fn close(self) {
        self.net.carried().owners.clear();
        self.net.carried().nodes.clear();
        for node in self.nodes {
            node.close().await;
        }
    }
}

/// The organization with this number among those of a partition.
pub(crate) fn name_in(partition: u16, number: usize) -> OrgId {
    let all = (0..).map(|n| OrgId::new(&format!("org-{n}")).expect("valid"));
    all.filter(|org| hash::partition(org, PARTITIONS) == partition)
        .nth(number)
        .expect("there is no end of them")
}

/// A debit of one token by the camera `cam`.
pub(crate) fn debit(seq: u64) -> Debit<'static> {
    let identity = Identity::Seq { epoch: 1, seq };
    let kind = UsageKind::ContextualVideoAnalytics;
    Debit { camera: CameraRef::Id("cam"), identity, tokens: 1, kind, time: None }
}

/// The code of an error that must be one.
pub(crate) fn code<T: std::fmt::Debug>(result: Result<T, Error>) -> &'static str {
    result.expect_err("refused").code()
}

fn camera() -> CameraSpec {
    let (id, network) = (CameraId::new("cam").expect("valid"), Name::new("net").expect("valid"));
    CameraSpec { id, network, cloud_ai: true, pro_license: false }
}
