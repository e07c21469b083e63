//! The seam between nodes: what one asks of the owner of a partition, and what it tells it.
//!
//! Whoever carries the messages may lose, double, delay and reorder them. A question whose answer is lost has an unknown outcome: an order is
//! repeated under its id. What is told is repeated until it is answered, or is told anew with every change and asked for every second.
//!
//! A message is a version byte and a named map of MessagePack; fields and variants are only ever added, so that nodes of two releases understand
//! each other during an upgrade. What cannot be decoded is answered as unavailable, or not heard.
//!
//! Deliberately absent: who owns what, and addresses. Nodes trust each other as far as their servers let them in.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;
use std::future::Future;
use std::ops::Bound;
use std::pin::Pin;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::domain::ids::{ActorId, KeyId, Lsn, OrgId, TransferId};
use crate::domain::registry::{ApiKey, Transfer};
use crate::domain::summary::Summary;
use crate::protocol::coordinator::{Answer, Order};
use crate::protocol::message::{ToCoordinator, ToOrg};
use crate::storage::audit;

const VERSION: u8 = 1;

/// So many names of keys and organizations make a page of API keys: some hundred kilobytes.
const PAGE_NAMES: usize = 2_048;

/// A future that may be polled by any thread.
pub type Answering<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// The other nodes, as far as the owner of a partition needs them.
pub trait Peers: Send + Sync + Debug {
    /// Asks the owner of a partition, whose [`Meter::answer`](crate::meter::Meter::answer) gives the answer. An order may take ten
    /// seconds to be answered. It is polled on a runtime that has timers and nothing else.
    ///
    /// # Errors
    /// Why there is no answer: nobody owns the partition, or the outcome is unknown.
    fn ask(&self, partition: u16, request: Vec<u8>) -> Answering<Result<Vec<u8>, String>>;

    /// Tells the owner of a partition, who [hears](crate::meter::Meter::hear) it. It may be lost, and it may come twice. It does not wait. A pool on its
    /// way is a message of up to 16 MiB.
    fn tell(&self, partition: u16, message: Vec<u8>);

    /// Has the owner of a partition carry out a whole request of a caller, at the edge that it came to. It ends without an answer when somebody else becomes the
    /// owner. It is polled as [`Self::ask`] is.
    ///
    /// # Errors
    /// Why there is no answer; whether it was carried out is not known then.
    fn carry(&self, partition: u16, request: Vec<u8>) -> Answering<Result<Vec<u8>, String>>;

    /// Where the owner of a partition serves, as far as is known.
    fn owner(&self, partition: u16) -> Option<Owner>;

    /// The nodes that are known of.
    fn nodes(&self) -> Nodes;

    /// Asks a node, whatever it owns, whose [`Meter::answer_as_node`](crate::meter::Meter::answer_as_node) gives the answer. It is polled as
    /// [`Self::ask`] is.
    ///
    /// # Errors
    /// Why there is no answer: no such node is known, or none came.
    fn ask_node(&self, node: &str, request: Vec<u8>) -> Answering<Result<Vec<u8>, String>>;

    /// Has a node, whatever it owns, carry out a whole request of a caller, at the edge that it came to. It is polled as [`Self::ask`] is.
    ///
    /// # Errors
    /// Why there is no answer; whether it was carried out is not known then.
    fn carry_to(&self, node: &str, request: Vec<u8>) -> Answering<Result<Vec<u8>, String>>;
}

/// The nodes of a cluster, as one of them knows them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Nodes {
    /// The name of this one.
    pub me: String,
    /// The names of the others that were heard since this one started, in order, whether they live or not.
    pub others: Vec<String>,
}

/// Where a node serves.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Owner {
    /// Its name in the cluster.
    pub node: String,
    /// Where it serves HTTP, as a URL; none when it does not.
    pub http: Option<String>,
    /// Where it serves gRPC, as a URL; none when it does not.
    pub grpc: Option<String>,
}

/// What the owner of a partition is asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Question {
    /// Carry out an order; to the coordinator.
    Order(Order),
    /// Whether a license key was claimed; to the coordinator.
    IsClaimed(KeyId),
    /// Where a transfer stands; to the coordinator.
    Transfer(TransferId),
    /// The API keys behind this one, unless they are as known; to the coordinator.
    ApiKeys { after: Option<ActorId>, known: Option<KeysVersion> },
    /// Whether one of these organizations does not exist; to the owner of their partition.
    IsAnyUnknown(Vec<OrgId>),
    /// The AI Token Summary of an organization; to the owner of its partition.
    Summary(OrgId),
    /// The organizations that are at a node; to the owner of any partition there.
    Organizations(Listing),
}

/// Which organizations are asked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Listing {
    /// Those behind this one.
    pub(crate) after: Option<OrgId>,
    /// At most so many.
    pub(crate) rows: usize,
    /// These alone; all where none are named.
    pub(crate) named: Option<Vec<OrgId>>,
}

/// Organizations in order, and the partitions that they are all of.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Listed {
    pub(crate) organizations: BTreeSet<OrgId>,
    pub(crate) partitions: BTreeSet<u16>,
}

/// What it answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Reply {
    /// To an order.
    Order(Answer),
    /// Yes or no.
    Is(bool),
    /// The transfer.
    Transfer(Option<Transfer>),
    /// A page of API keys.
    ApiKeys(KeysPage),
    /// The summary; none when there is no such organization.
    Summary(Option<Box<Summary>>),
    /// Organizations that are here.
    Organizations(Listed),
    /// It could not be served here and now.
    Unavailable,
}

/// What a node is asked, whatever it owns.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum NodeQuestion {
    /// A part of its audit log.
    Audit(AuditPart),
}

/// Which part of an audit log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct AuditPart {
    /// The acts in this organization; those of operators where none is named.
    pub(crate) organization: Option<OrgId>,
    /// Below this frame; the newest where none is named.
    pub(crate) below: Option<Lsn>,
    /// At most so many.
    pub(crate) rows: usize,
}

/// What a node answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum NodeReply {
    /// A part of its audit log.
    Audit(audit::Page),
    /// It could not be told here and now.
    Unavailable,
}

/// What the owner of a partition is told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Message {
    /// From the coordinator to an organization.
    ToOrg { organization: OrgId, message: ToOrg },
    /// From an organization to the coordinator.
    ToCoordinator(ToCoordinator),
    /// An API key was made or revoked.
    ApiKey { id: ActorId, key: ApiKey },
}

/// Tells two states of the API keys apart: a key is made once, revoked once, and never removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct KeysVersion {
    made: usize,
    revoked: usize,
}

/// API keys in the order of their ids; none when they are as known.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct KeysPage {
    pub(crate) version: KeysVersion,
    pub(crate) keys: Vec<(ActorId, ApiKey)>,
    /// More follow.
    pub(crate) more: bool,
}

impl KeysPage {
    /// The keys behind `after`; none when they are of the version that is known.
    pub(crate) fn of(
        all: &BTreeMap<ActorId, ApiKey>,
        after: Option<&ActorId>,
        known: Option<KeysVersion>,
    ) -> Self {
        let revoked = all.values().filter(|key| key.revoked_at.is_some()).count();
        let version = KeysVersion { made: all.len(), revoked };
        if known == Some(version) {
            return Self { version, keys: Vec::new(), more: false };
        }
        let begin = after.map_or(Bound::Unbounded, Bound::Excluded);
        let mut behind = all.range((begin, Bound::Unbounded));
        let (mut keys, mut names) = (Vec::new(), 0);
        while names < PAGE_NAMES
            && let Some((id, key)) = behind.next()
        {
            names += 1 + key.organizations.len();
            keys.push((id.clone(), key.clone()));
        }
        Self { version, keys, more: behind.next().is_some() }
    }
}

/// A question, an answer or a message as bytes.
pub(crate) fn encode(value: &impl Serialize) -> Vec<u8> {
    let mut bytes = vec![VERSION];
    rmp_serde::encode::write_named(&mut bytes, value).expect("a vector takes all that is written");
    bytes
}

/// What bytes hold; none when they are of another version, or of nothing that is known.
pub(crate) fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Option<T> {
    let rest = bytes.strip_prefix(&[VERSION])?;
    rmp_serde::from_slice(rest).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::event::Cargo;
    use crate::domain::ids::Name;
    use crate::domain::registry::Role;
    use crate::domain::time::Timestamp;
    use crate::domain::tokens::Tokens;
    use crate::protocol::coordinator::{TransferOrder, Until};

    fn org(id: &str) -> OrgId {
        OrgId::new(id).expect("valid")
    }

    fn actor(id: &str) -> ActorId {
        ActorId::new(id).expect("valid")
    }

    fn check<T: Serialize + DeserializeOwned + PartialEq + Debug>(value: &T, frozen: &str) {
        let bytes = encode(value);
        let printable: String = bytes.iter().flat_map(|byte| byte.escape_ascii()).map(char::from).collect();
        assert_eq!(printable, frozen);
        assert_eq!(decode::<T>(&bytes).as_ref(), Some(value));
        for cut in 0..bytes.len() {
            assert_eq!(decode::<T>(&bytes[..cut]), None, "{cut} bytes of {value:?}");
        }
    }

    #[test]
    fn messages_between_nodes_are_what_another_release_wrote() {
        let id = TransferId::new("t").expect("valid");
        let order = TransferOrder { id: id.clone(), source: org("a"), target: org("b"), by: actor("k") };
        check(
            &Question::Order(Order::Transfer { order, until: Until::Begun }),
            r"\x01\x81\xa5order\x81\xa8transfer\x82\xa5order\x84\xa2id\xa1t\xa6source\xa1a\xa6target\xa1b\xa2by\xa1k\xa5until\xa5begun",
        );
        check(&Reply::Unavailable, r"\x01\xabunavailable");
        let part = AuditPart { organization: Some(org("a")), below: Some(Lsn(9)), rows: 2 };
        check(
            &NodeQuestion::Audit(part),
            r"\x01\x81\xa5audit\x83\xacorganization\xa1a\xa5below\t\xa4rows\x02",
        );
        check(
            &NodeReply::Audit(audit::Page { acts: Vec::new(), next: Some(Lsn(3)) }),
            r"\x01\x81\xa5audit\x82\xa4acts\x90\xa4next\x03",
        );
        let (by, source) = (actor("k"), org("a"));
        let vote = Ok(Cargo { tokens: Tokens(5), licenses: Vec::new(), by, source });
        let answer = ToCoordinator::OutPrepared { transfer: id, vote };
        check(
            &Message::ToCoordinator(answer),
            r"\x01\x81\xaeto_coordinator\x81\xacout_prepared\x82\xa8transfer\xa1t\xa4vote\x81\xa2Ok\x84\xa6source\xa1a\xa2by\xa1k\xa6tokens\x05\xa8licenses\x90",
        );
    }

    #[test]
    fn pages_of_api_keys_hold_each_key_once_and_none_when_nothing_changed() {
        let key = |revoked| ApiKey {
            hash: [1; 32],
            label: Name::new("a key").expect("valid"),
            role: Role::Viewer,
            organizations: vec![org("a"), org("b")],
            by: actor("host"),
            created_at: Timestamp::FIRST,
            revoked_at: revoked,
        };
        let mut all: BTreeMap<_, _> = (0..2_000).map(|n| (actor(&format!("key-{n}")), key(None))).collect();
        let (mut after, mut got, mut pages) = (None, BTreeMap::new(), 0);
        let version = loop {
            let page = KeysPage::of(&all, after.as_ref(), None);
            after = page.keys.last().map(|(id, _)| id.clone());
            got.extend(page.keys);
            pages += 1;
            if !page.more {
                break page.version;
            }
        };
        assert_eq!((got == all, pages), (true, 3));
        assert!(KeysPage::of(&all, None, Some(version)).keys.is_empty());
        all.insert(actor("key-7"), key(Some(Timestamp::FIRST)));
        assert!(!KeysPage::of(&all, None, Some(version)).keys.is_empty(), "one was revoked");
    }
}
