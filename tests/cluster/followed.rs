//! The gRPC client, given a node that owns nothing of what it asks for: it learns where that is, goes there, and follows.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokenweir::client::CameraRef;
use tokenweir::client::{
    Client, Config as ClientConfig, Debit, DebitStream, Identity, ReservationId, UsageKind, code,
};
use tokenweir::config::Config;
use tokenweir::edge::bearers::Bearers;
use tokenweir::edge::budget::Budget;
use tokenweir::edge::grpc::Listener;
use tokenweir::meter::{Answering, Name, NewApiKey, OrgId, Role};
use tokenweir::proto::v1;

use crate::nodes::{Cluster, HOST, PARTITIONS, name_in};

struct Edges {
    cluster: Cluster,
    edges: Vec<Listener>,
    ids: Vec<OrgId>,
    key: String,
}

impl Edges {
    async fn start() -> Self {
        let cluster = Cluster::of(3);
        let ids: Vec<_> = (0..PARTITIONS).map(|partition| name_in(partition, 0)).collect();
        for id in &ids {
            cluster.organization(id, 1_000_000).await;
        }
        let label = Name::new("a key").expect("valid");
        let new = NewApiKey { label, role: Role::Gateway, organizations: ids.clone() };
        let owner = cluster.owner(&ids[0]).expect("owned");
        let (_, key) = owner.create_api_key(HOST, new).await.expect("within bounds");
        let mut edges = Vec::new();
        for (node, meter) in cluster.nodes.iter().enumerate() {
            let config = Config::new("unused");
            let shared = (Arc::new(Budget::new(&config)), Arc::new(Bearers::default()));
            let address = "127.0.0.1:0".parse().expect("an address");
            let listener = Listener::start(&config, address, None, shared).expect("a free port");
            listener.serve(meter.clone()).await;
            cluster.net.listen(node, format!("http://{}", listener.address()));
            let inbox = listener.inbox();
            let carry_out = move |call| -> Answering<Vec<u8>> {
                let inbox = inbox.clone();
                Box::pin(async move { inbox.answer(call).await })
            };
            cluster.net.serve(node, Arc::new(carry_out));
            edges.push(listener);
        }
        Self { cluster, edges, ids, key }
    }

    fn url(&self, node: usize) -> String {
        format!("http://{}", self.edges[node].address())
    }

    /// A client that is given one node.
    fn client(&self, node: usize) -> Client {
        Client::connect(ClientConfig::new(self.url(node), &self.key)).expect("a url")
    }

    async fn stop(self) {
        for listener in self.edges {
            listener.stop().await.expect("in order");
        }
        self.cluster.close().await;
    }
}

fn debit(seq: u64) -> Debit<'static> {
    let identity = Identity::Seq { epoch: 1, seq };
    let kind = UsageKind::ContextualVideoAnalytics;
    Debit { camera: CameraRef::Id("cam"), identity, tokens: 1, kind, time: None }
}

async fn must_charge(stream: &DebitStream, seqs: impl Iterator<Item = u64>) -> u64 {
    let mut sent = Vec::new();
    for seq in seqs {
        sent.push(stream.send(&debit(seq)).await.expect("taken"));
    }
    let mut charged = 0;
    for sent in sent {
        let answer = sent.await.expect("acknowledged");
        assert!(answer.is_admitted(), "{}", code(answer.outcome));
        charged += 1;
    }
    charged
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_of_any_node_reaches_every_organization_with_every_call() {
    let edges = Edges::start().await;
    for node in 0..3 {
        let client = edges.client(node);
        for id in &edges.ids {
            let organization = id.to_string();
            let seq =
                v1::debit::Identity::Seq(v1::Seq { epoch: 2, seq: 1 + u64::try_from(node).expect("small") });
            let debit =
                v1::Debit { camera: "cam".into(), tokens: 3, identity: Some(seq), ..Default::default() };
            let request = v1::DebitRequest {
                organization: organization.clone(),
                debit: Some(debit),
                ..Default::default()
            };
            let charged = client.debit(request).await.expect("charged");
            assert_eq!(charged.result.expect("one").code, "charged");
            let reservation = ReservationId::new(&format!("r{node}")).expect("valid");
            let request = v1::ReserveRequest {
                organization: organization.clone(),
                id: reservation.to_string(),
                tokens: 5,
                ttl_ms: 60_000,
            };
            client.reserve(request).await.expect("held");
            assert_eq!(client.reservations(&organization).await.expect("listed").len(), 1);
            client.release(&organization, &reservation).await.expect("given back");
            assert_eq!(
                client.summary(&organization).await.expect("read").used,
                3 * (1 + u64::try_from(node).expect("small"))
            );
        }
    }
    edges.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn r13_i3_i4_a_stream_follows_its_organization_and_nothing_is_lost_or_charged_twice() {
    let edges = Edges::start().await;
    let (client, id) = (edges.client(0), edges.ids[1].clone());
    let stream = client.stream(id.as_str());
    let over = Arc::new(AtomicBool::new(false));
    let sender = {
        let (stream, over) = (stream.clone(), Arc::clone(&over));
        tokio::spawn(async move {
            let mut charged = 0;
            while !over.load(Ordering::Acquire) {
                charged += must_charge(&stream, charged + 1..=charged + 50).await;
            }
            charged
        })
    };
    let mut at = 1;
    for _ in 0..12 {
        let before = edges.cluster.nodes[at].durable(1);
        edges
            .cluster
            .until(|| async { (edges.cluster.nodes[at].durable(1).0 > before.0 + 3).then_some(()) })
            .await;
        let to = (at + 1) % 3;
        edges.cluster.move_to(at, to, 1);
        at = to;
    }
    over.store(true, Ordering::Release);
    let charged = sender.await.expect("no panic");
    stream.close().await.expect("acknowledged");
    let summary = edges.cluster.handle(&id).expect("here").summary().await.expect("read");
    assert_eq!((summary.totals.debits_charged, summary.totals.used.0), (charged, charged));
    edges.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_goes_on_when_the_node_that_it_was_given_is_gone() {
    let mut edges = Edges::start().await;
    let (client, id) = (edges.client(0), edges.ids[1].clone());
    let stream = client.stream(id.as_str());
    assert_eq!(must_charge(&stream, 1..=10).await, 10);
    edges.edges.remove(0).stop().await.expect("in order");
    edges.cluster.move_to(1, 2, 1);
    assert_eq!(must_charge(&stream, 11..=20).await, 10);
    assert_eq!(client.summary(id.as_str()).await.expect("read").used, 20);
    stream.close().await.expect("acknowledged");
    edges.stop().await;
}

/// A call as any client makes it, of one node alone.
async fn plain(
    edges: &Edges,
    url: String,
    seq: u64,
) -> Result<tonic::Response<v1::DebitReply>, tonic::Status> {
    let channel = tonic::transport::Endpoint::from_shared(url).expect("a url").connect().await;
    let mut client = v1::metering_client::MeteringClient::new(channel.expect("it listens"));
    let identity = Some(v1::debit::Identity::Seq(v1::Seq { epoch: 1, seq }));
    let debit = v1::Debit { camera: "cam".into(), tokens: 3, identity, ..Default::default() };
    let organization = edges.ids[1].to_string();
    let mut request =
        tonic::Request::new(v1::DebitRequest { organization, debit: Some(debit), ..Default::default() });
    let authorization = format!("Bearer {}", edges.key).parse().expect("text");
    request.metadata_mut().insert("authorization", authorization);
    client.debit(request).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r13_i4_any_node_has_the_owner_answer_a_call_of_any_client_and_names_him() {
    let edges = Edges::start().await;
    for node in 0..3 {
        let answer =
            plain(&edges, edges.url(node), 1 + u64::try_from(node).expect("small")).await.expect("charged");
        let named = answer.metadata().get("weir-owner").map(|owner| owner.to_str().expect("text").to_owned());
        let owner = (node != 1).then(|| edges.url(1));
        assert_eq!(named, owner, "of node {node}");
        assert_eq!(answer.into_inner().result.expect("one").code, "charged");
    }
    let summary = edges.cluster.handle(&edges.ids[1]).expect("here").summary().await.expect("read");
    assert_eq!((summary.totals.debits_charged, summary.totals.used.0), (3, 9));
    edges.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r11_r13_i4_a_call_that_is_carried_is_judged_by_the_owner_waits_while_the_organization_moves_and_is_charged_once()
 {
    let mut edges = Edges::start().await;
    edges.cluster.net.trouble(60);
    for seq in 1..=10 {
        let answer = plain(&edges, edges.url(0), seq).await.expect("charged").into_inner();
        let code = answer.result.expect("one").code;
        assert!(code == "charged" || code == "duplicate", "{code}: its first answer may be lost");
    }
    edges.cluster.net.trouble(0);
    edges.cluster.leave(1, 1);
    let waits = plain(&edges, edges.url(0), 11);
    let back = async { edges.cluster.take(2, 1).expect("taken") };
    let (answer, ()) = tokio::join!(waits, back);
    assert_eq!(answer.expect("charged").into_inner().result.expect("one").code, "charged");
    let summary = edges.cluster.handle(&edges.ids[1]).expect("here").summary().await.expect("read");
    assert_eq!((summary.totals.debits_charged, summary.totals.used.0), (11, 33));
    "weir_none_none".clone_into(&mut edges.key);
    assert_eq!(
        plain(&edges, edges.url(0), 12).await.expect_err("nobody").code(),
        tonic::Code::Unauthenticated
    );
    edges.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_that_waits_for_an_owner_does_not_hold_up_a_server_that_stops() {
    let mut edges = Edges::start().await;
    edges.cluster.leave(1, 1);
    let (url, asked) = (edges.url(0), edges.edges.remove(0));
    let begun = tokenweir::telemetry::clock::start();
    let stop = async {
        tokio::time::sleep(std::time::Duration::from_millis(300)).await;
        asked.stop().await.expect("in order");
    };
    let (answer, ()) = tokio::join!(plain(&edges, url, 1), stop);
    assert_eq!(answer.expect_err("nobody owns it").code(), tonic::Code::Unavailable);
    assert!(begun.elapsed() < std::time::Duration::from_secs(3), "it took {:?}", begun.elapsed());
    edges.stop().await;
}
