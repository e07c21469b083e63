//! The trail of administrative acts as it is read: pages, newest first, of this node or of all nodes of a cluster.
//!
//! Each node keeps its own log, and an act is in that of the node that carried it out, or refused it. A page of all nodes is merged by the time of the
//! acts, then by the names of the nodes; within a node the order is that of its log. The cursor names the place in each log, so what is recorded
//! meanwhile moves nothing, and nothing is read twice. A node that gave no answer is named on the page, and keeps its place.
//!
//! The node that is asked judges who may read; the others trust it. Deliberately absent: a node that was not heard since this one started is not known here.

use std::cmp::Reverse;
use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use tokio::sync::oneshot;

use crate::actors::auditor::{Order, PageOrder, Wanted};
use crate::actors::engine::Engine;
use crate::actors::messages::Unavailable;
use crate::actors::peers::{self, Answering, AuditPart, NodeQuestion, NodeReply, Nodes};
use crate::domain::ids::{ActorId, Lsn, OrgId};
use crate::domain::limits::{NODE_BYTES_MAX, NODES_ASKED_MAX, PAGE_ROWS_MAX};
use crate::domain::refusal::Invalid;
use crate::domain::time::Timestamp;
use crate::storage::audit::{Act, End, Ended, Page};

use super::access::{Action, Principal};
use super::error::Error;
use super::open::Meter;
use super::organization::{Organization, allow};

/// Acts that an operator reads, whatever organizations they are about.
const OF_OPERATORS: [&str; 4] =
    ["create_organization", "create_api_key", "revoke_api_key", "reload_settings"];
/// Below the first frame of a log there is nothing.
const BEGINNING: Lsn = Lsn(1);
/// No log reaches a place of more digits.
const PLACE_DIGITS_MAX: usize = 19;
/// What a cursor separates names and places by.
const SEPARATOR: char = '~';

/// An act as people see it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct AuditEntry {
    /// Its place in the log of its node; they rise, with gaps.
    pub id: Lsn,
    /// The node that has it in its log; none where there are no other nodes.
    pub node: Option<String>,
    /// When it was begun.
    pub at: Timestamp,
    /// Who did it.
    pub actor: ActorId,
    /// Who signed his token; none without one.
    pub issuer: Option<String>,
    /// Whom the token names.
    pub subject: Option<String>,
    /// Where he came in: `http`, `grpc`, `console` or `host`.
    pub edge: String,
    /// The address that he called from.
    pub peer: Option<String>,
    /// What he did, as a stable code.
    pub act: String,
    /// To which organizations.
    pub organizations: Vec<OrgId>,
    /// To what in them.
    pub target: Option<String>,
    /// `done`, `unknown`, or the code of the refusal.
    pub outcome: String,
    /// How many refusals of the same caller before this one were not recorded one by one.
    pub unrecorded: u64,
}

/// A page of the audit log, newest first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct AuditPage {
    /// The acts.
    pub entries: Vec<AuditEntry>,
    /// Where the next page begins; none at the beginning of the log. A page may be short, and not the last.
    pub next: Option<AuditCursor>,
    /// The names of nodes that gave no answer, so that their acts are missing here.
    pub incomplete: Vec<String>,
}

/// Where a page of the audit log begins. Its text is the number of a frame, or of several nodes names and numbers with `~` between.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AuditCursor {
    /// Of each node the frame below which it goes on. Where there are no other nodes, this one has no name.
    places: BTreeMap<String, Lsn>,
}

/// What a node answered, on its way into a page.
struct Source {
    node: String,
    acts: VecDeque<Ended>,
    /// Where its log goes on behind them; none at its beginning.
    more: Option<Lsn>,
    /// Below which frame it goes on, as far as the page came.
    place: Lsn,
}

impl Meter {
    /// The acts of operators, newest first: organizations created, API keys made and revoked, settings read again. In a cluster those of all nodes.
    ///
    /// # Errors
    /// [`Refusal::Forbidden`](super::Refusal::Forbidden) unless `who` is an operator or the host; or the log of this node cannot be read.
    pub async fn audit(
        &self,
        who: &Principal,
        after: Option<&AuditCursor>,
        rows: usize,
    ) -> Result<AuditPage, Error> {
        who.authorize(Action::ManageApiKeys)?;
        page(&self.engine, None, after, rows).await
    }

    /// Answers what a peer [asks](super::Peers::ask_node) of this node.
    #[must_use]
    pub fn answer_as_node(&self, request: &[u8]) -> Answering<Vec<u8>> {
        let (me, question) = (self.clone(), peers::decode(request));
        Box::pin(async move {
            let reply = match question {
                Some(NodeQuestion::Audit(part)) => own(&me.engine, part).await.ok().map(NodeReply::Audit),
                None => None,
            };
            peers::encode(&reply.unwrap_or(NodeReply::Unavailable))
        })
    }
}

impl Organization {
    /// The administrative acts in the organization, newest first. In a cluster those that any node has in its log.
    ///
    /// # Errors
    /// [`Refusal::Forbidden`](super::Refusal::Forbidden) unless an administrator asks; or the log of this node cannot be read.
    pub async fn audit(&self, after: Option<&AuditCursor>, rows: usize) -> Result<AuditPage, Error> {
        allow(self.rights.administer)?;
        page(&self.engine, Some(&self.org.id), after, rows).await
    }
}

async fn page(
    engine: &Engine,
    organization: Option<&OrgId>,
    after: Option<&AuditCursor>,
    rows: usize,
) -> Result<AuditPage, Error> {
    let nodes = engine.directory.nodes();
    let is_node = nodes.is_some();
    let Nodes { me, others } = nodes.unwrap_or_default();
    let none = AuditCursor::default();
    let places = &after.unwrap_or(&none).places;
    let part = |node: &str| {
        let below = places.get(node).copied();
        AuditPart { organization: organization.cloned(), below, rows }
    };
    // A node that another one knew, and this one does not, cannot be asked. Where there are no other nodes nobody knew any.
    let is_unknown = |node: &&String| !node.is_empty() && **node != me && !others.contains(node);
    let mut incomplete: Vec<String> = places.keys().filter(is_unknown).filter(|_| is_node).cloned().collect();
    let asked = others.iter().map(|node| (node.clone(), NodeQuestion::Audit(part(node)))).collect();
    let mut sources = vec![Source::new(own(engine, part(&me)).await?, me.clone(), places)];
    for (node, reply) in engine.directory.ask_nodes(asked).await {
        match reply {
            Some(NodeReply::Audit(page)) => sources.push(Source::new(page, node, places)),
            Some(NodeReply::Unavailable) | None => incomplete.push(node),
        }
    }
    sources.sort_by(|one, other| one.node.cmp(&other.node));
    incomplete.sort_unstable();
    let entries = merge(&mut sources, rows);
    let entry = |(node, ended)| AuditEntry::of(Some(node).filter(|_| is_node), ended);
    let entries = entries.into_iter().map(entry).collect();
    let next = next(&sources, &incomplete, places);
    Ok(AuditPage { entries, next, incomplete })
}

/// A part of this node's own log.
async fn own(engine: &Engine, part: AuditPart) -> Result<Page, Error> {
    let Some(auditor) = &engine.auditor else { return Ok(Page::default()) };
    let AuditPart { organization, below, rows } = part;
    let wanted: Wanted = match organization {
        Some(organization) => Box::new(move |act| act.organizations.contains(&organization)),
        None => Box::new(|act| act.organizations.is_empty() || OF_OPERATORS.contains(&&*act.act)),
    };
    let (reply, read) = oneshot::channel();
    auditor.send(Order::Page(PageOrder { below, rows: rows.min(PAGE_ROWS_MAX), wanted }, reply));
    Ok(read.await.unwrap_or(Err(Unavailable::Closing))?)
}

/// The newest acts of all, at most so many. It ends where a node may have more that come next.
fn merge(sources: &mut [Source], rows: usize) -> Vec<(String, Ended)> {
    let mut merged = Vec::new();
    while merged.len() < rows && sources.iter().all(|source| !source.acts.is_empty() || source.more.is_none())
    {
        // Of those of the same time the first node's.
        let newest = sources.iter_mut().filter(|source| !source.acts.is_empty());
        let newest = newest.min_by_key(|source| Reverse(source.acts.front().map(|ended| ended.act.at)));
        let Some(source) = newest else { break };
        if let Some(ended) = source.acts.pop_front() {
            source.place = ended.lsn;
            merged.push((source.node.clone(), ended));
        }
        if source.acts.is_empty() {
            source.place = source.more.unwrap_or(BEGINNING);
        }
    }
    merged
}

/// Where the next page begins; none when nothing is left of all that answered. Who did not keeps its place.
fn next(sources: &[Source], incomplete: &[String], places: &BTreeMap<String, Lsn>) -> Option<AuditCursor> {
    if sources.iter().all(|source| source.place <= BEGINNING) {
        return None;
    }
    let kept = incomplete.iter().filter_map(|node| Some((node.clone(), *places.get(node)?)));
    let reached = sources.iter().map(|source| (source.node.clone(), source.place));
    Some(AuditCursor { places: kept.chain(reached).collect() })
}

impl Source {
    fn new(Page { acts, next }: Page, node: String, places: &BTreeMap<String, Lsn>) -> Self {
        // What is recorded meanwhile is newer than this page, and on none that follows.
        let newest = acts.first().map(|ended| ended.lsn.next()).or(next).unwrap_or(BEGINNING);
        let place = places.get(&node).copied().map_or(newest, |place| place.min(newest));
        Self { node, acts: acts.into(), more: next, place }
    }
}

impl AuditEntry {
    fn of(node: Option<String>, Ended { lsn, act, end }: Ended) -> Self {
        let Act { at, actor, issuer, subject, edge, peer, act, organizations, target } = act;
        let End { outcome, unrecorded, .. } = end;
        Self {
            id: lsn,
            node,
            at,
            actor,
            issuer,
            subject,
            edge,
            peer,
            act,
            organizations,
            target,
            outcome,
            unrecorded,
        }
    }
}

impl fmt::Display for AuditCursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, (node, place)) in self.places.iter().enumerate() {
            if number > 0 {
                write!(f, "{SEPARATOR}")?;
            }
            match &**node {
                "" => write!(f, "{place}")?,
                node => write!(f, "{node}{SEPARATOR}{place}")?,
            }
        }
        Ok(())
    }
}

/// Whether a node may have this name; a cursor comes from outside and must go back as one.
fn is_node(name: &str) -> bool {
    let is_fit = |sign: u8| sign.is_ascii_alphanumeric() || b"-_.".contains(&sign);
    (1..=NODE_BYTES_MAX).contains(&name.len()) && name.bytes().all(is_fit)
}

impl FromStr for AuditCursor {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        let place = |text: &str| {
            let is_bounded = (1..=PLACE_DIGITS_MAX).contains(&text.len());
            let is_place = is_bounded && text.bytes().all(|digit| digit.is_ascii_digit());
            let place = is_place.then(|| text.parse().ok()).flatten();
            place.map(Lsn).ok_or(Invalid::AuditCursor)
        };
        if !text.contains(SEPARATOR) {
            return Ok(Self { places: BTreeMap::from([(String::new(), place(text)?)]) });
        }
        let mut places = BTreeMap::new();
        let mut parts = text.split(SEPARATOR);
        while let Some(node) = parts.next() {
            let at = place(parts.next().ok_or(Invalid::AuditCursor)?)?;
            if !is_node(node) || places.len() >= NODES_ASKED_MAX {
                return Err(Invalid::AuditCursor);
            }
            places.insert(node.to_owned(), at);
        }
        Ok(Self { places })
    }
}

impl Serialize for AuditCursor {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for AuditCursor {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        String::deserialize(from)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ended(lsn: u64, at: u64) -> Ended {
        let act = Act {
            at: Timestamp::from_ms(at).expect("a time"),
            actor: ActorId::new("host").expect("valid"),
            issuer: None,
            subject: None,
            edge: "host".to_owned(),
            peer: None,
            act: "act".to_owned(),
            organizations: Vec::new(),
            target: None,
        };
        let end = End { begun: None, outcome: "done".to_owned(), unrecorded: 0 };
        Ended { lsn: Lsn(lsn), act, end }
    }

    /// The log of a node: frames and times, oldest first.
    type Log = (&'static str, Vec<(u64, u64)>);

    /// A part of a log, as a node answers; a segment is three frames, and one is read at a time.
    fn part(log: &[(u64, u64)], below: Option<Lsn>, rows: usize) -> Page {
        let below = below.map_or(u64::MAX, |below| below.0);
        let mut left: Vec<_> = log.iter().filter(|(lsn, _)| *lsn < below).collect();
        left.reverse();
        let read = rows.min(3).min(left.len());
        let next = (read < left.len()).then(|| Lsn(left[read - 1].0));
        Page { acts: left[..read].iter().map(|(lsn, at)| ended(*lsn, *at)).collect(), next }
    }

    /// All pages of these logs, as nodes and frames.
    fn pages(logs: &[Log], rows: usize) -> Vec<Vec<(String, u64)>> {
        let (mut cursor, mut all) = (AuditCursor::default(), Vec::new());
        loop {
            let source = |(node, log): &Log| {
                let page = part(log, cursor.places.get(*node).copied(), rows);
                Source::new(page, (*node).to_owned(), &cursor.places)
            };
            let mut sources: Vec<_> = logs.iter().map(source).collect();
            let merged = merge(&mut sources, rows);
            all.push(merged.into_iter().map(|(node, ended)| (node, ended.lsn.0)).collect());
            match next(&sources, &[], &cursor.places) {
                Some(next) => cursor = next,
                None => return all,
            }
            assert!(all.len() < 100, "it ends");
        }
    }

    #[test]
    fn pages_of_all_nodes_hold_each_act_once_by_time_and_then_by_node() {
        let logs: [Log; 4] = [
            ("a", vec![(2, 10), (4, 30), (6, 50), (8, 70), (10, 70)]),
            ("b", vec![(2, 20), (9, 40), (11, 70)]),
            ("c", Vec::new()),
            ("d", (1..=9).map(|n| (2 * n, 60)).collect()),
        ];
        let mut expected: Vec<_> = logs
            .iter()
            .flat_map(|(node, log)| {
                log.iter().map(|(lsn, at)| (Reverse(*at), (*node).to_owned(), Reverse(*lsn)))
            })
            .collect();
        expected.sort();
        let expected: Vec<_> = expected.into_iter().map(|(_, node, Reverse(lsn))| (node, lsn)).collect();
        for rows in [1, 2, 3, 5, 100] {
            let pages = pages(&logs, rows);
            assert!(pages.iter().all(|page| page.len() <= rows), "{rows} rows");
            assert_eq!(pages.concat(), expected, "{rows} rows");
        }
    }

    #[test]
    fn who_gave_no_answer_keeps_its_place() {
        let places = BTreeMap::from([("a".to_owned(), Lsn(9)), ("b".to_owned(), Lsn(5))]);
        let mut sources = [Source::new(part(&[(2, 1), (4, 2)], Some(Lsn(9)), 1), "a".to_owned(), &places)];
        merge(&mut sources, 1);
        let next = next(&sources, &["b".to_owned(), "c".to_owned()], &places).expect("more follows");
        assert_eq!(next.to_string(), "a~4~b~5");
    }

    #[test]
    fn a_cursor_is_read_as_it_was_written_and_anything_else_is_refused() {
        for text in ["12", "a~7", "a.b-c_1~0~n2~9223372036854775807"] {
            assert_eq!(text.parse::<AuditCursor>().expect("a cursor").to_string(), text);
        }
        for text in
            ["", "~", "a", "a~", "~1", "a~b", "a~1~", "1~1~1", "-1", "+1", "a b~1", "18446744073709551615"]
        {
            assert_eq!(text.parse::<AuditCursor>(), Err(Invalid::AuditCursor), "{text}");
        }
    }
}
