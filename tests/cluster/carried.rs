//! Any node takes any request: the HTTP edges of three nodes, which carry to each other what they do not own.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use serde_json::{Value, json};
use tokenweir::config::Config;
use tokenweir::domain::limits::SEQ_WINDOW;
use tokenweir::edge::bearers::Bearers;
use tokenweir::edge::budget::Budget;
use tokenweir::edge::http::{Limits, Listener, State, route};
use tokenweir::edge::license_key::Trusted;
use tokenweir::meter::{ActorId, Name, NewApiKey, OrgId, Role};

use crate::nodes::{Cluster, HOST, PARTITIONS, name_in};

pub(crate) const FORM: &str = "application/x-www-form-urlencoded";

/// Three nodes with their edges, an organization in each partition, and keys for all.
pub(crate) struct Edges {
    pub(crate) cluster: Cluster,
    pub(crate) edges: Vec<(Arc<State>, Listener)>,
    agent: ureq::Agent,
    pub(crate) ids: Vec<OrgId>,
    pub(crate) admin: String,
    gateway: String,
    gateway_id: ActorId,
}

pub(crate) struct Answer {
    status: u16,
    headers: ureq::http::HeaderMap,
    pub(crate) text: String,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("{error}: {}", self.text))
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }

    pub(crate) fn expect(&self, status: u16) -> &Self {
        assert_eq!(self.status, status, "{}", self.text);
        self
    }
}

impl Edges {
    pub(crate) async fn start() -> Self {
        let cluster = Cluster::of(3);
        let ids: Vec<_> = (0..PARTITIONS).map(|partition| name_in(partition, 0)).collect();
        for id in &ids {
            cluster.organization(id, 10_000).await;
        }
        let owner = cluster.owner(&name_in(0, 0)).expect("owned");
        let mut keys = Vec::new();
        for role in [Role::Admin, Role::Gateway] {
            let label = Name::new("a key").expect("valid");
            let new = NewApiKey { label, role, organizations: ids.clone() };
            keys.push(owner.create_api_key(HOST, new).await.expect("within bounds"));
        }
        let edge = |(node, meter): (usize, &tokenweir::meter::Meter)| {
            let mut config = Config::new("unused");
            config.listen = "127.0.0.1:0".parse().expect("an address");
            config.workers = 1;
            let issuers = Arc::new(Trusted::load(None).expect("none"));
            let shared = (Arc::new(Budget::new(&config)), Arc::new(Bearers::default()));
            let state = State::new(Limits::from(&config), issuers, shared, Box::new(String::new));
            let state = Arc::new(state);
            let listener = Listener::start(&config, &state, None).expect("a free port");
            let inbox = listener.inbox();
            let carry_out = move |request| {
                let inbox = inbox.clone();
                let answer: tokenweir::meter::Answering<_> =
                    Box::pin(async move { inbox.answer(request).await });
                answer
            };
            cluster.net.serve(node, Arc::new(carry_out));
            state.serve(meter.clone());
            (state, listener)
        };
        let edges = cluster.nodes.iter().enumerate().map(edge).collect();
        let agent = ureq::Agent::config_builder().http_status_as_error(false).max_redirects(0).build().into();
        let [(_, admin), (gateway_id, gateway)] = <[_; 2]>::try_from(keys).expect("two");
        Self { cluster, edges, agent, ids, admin, gateway, gateway_id }
    }

    /// Calls a node.
    pub(crate) fn call(
        &self,
        node: usize,
        (method, path): (&str, &str),
        headers: &[(&str, &str)],
        body: &str,
    ) -> Answer {
        let url = format!("http://{}{path}", self.edges[node].1.address());
        let mut request = ureq::http::Request::builder().method(method).uri(url);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(body.to_owned()).expect("a request");
        tokio::task::block_in_place(|| {
            let mut answer = self.agent.run(request).expect("the node answers");
            let text = answer.body_mut().read_to_string().expect("text");
            Answer { status: answer.status().as_u16(), headers: answer.headers().clone(), text }
        })
    }

    /// Calls a node with a key and a body of JSON.
    pub(crate) fn ask(&self, node: usize, key: &str, call: (&str, &str), body: &Value) -> Answer {
        let bearer = format!("Bearer {key}");
        let headers = [("authorization", bearer.as_str()), ("content-type", "application/json")];
        self.call(node, call, &headers, &if body.is_null() { String::new() } else { body.to_string() })
    }

    fn debit(&self, node: usize, id: &OrgId, seq: u64) -> Answer {
        let body = json!([{ "camera": "cam", "epoch": 1, "seq": seq, "tokens": 1 }]);
        self.ask(node, &self.gateway, ("POST", &format!("/v1/organizations/{id}/debits")), &body)
    }

    pub(crate) async fn stop(self) {
        for (_, listener) in self.edges {
            listener.stop().await.expect("in order");
        }
        self.cluster.close().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r10_r12_r13_every_node_answers_for_every_organization_as_its_owner_does() {
    let edges = Edges::start().await;
    let mut seq = 0;
    for id in &edges.ids {
        let path = format!("/v1/organizations/{id}");
        for node in 0..3 {
            seq += 1;
            let charged = edges.debit(node, id, seq);
            assert_eq!(charged.expect(200).json()["results"][0]["outcome"], "charged");
            let again = edges.debit((node + 1) % 3, id, seq);
            assert_eq!(again.expect(200).json()["results"][0]["outcome"], "duplicate");
            let reserve = json!({ "id": format!("r{node}"), "tokens": 5, "ttl_ms": 60_000 });
            edges.ask(node, &edges.gateway, ("POST", &format!("{path}/reservations")), &reserve).expect(200);
            let camera = json!({ "network": "net", "cloud_ai": true });
            let made = format!("{path}/cameras/at-{node}");
            edges.ask(node, &edges.admin, ("PUT", &made), &camera).expect(200);
        }
        let summaries: Vec<_> = (0..3)
            .map(|node| edges.ask(node, &edges.admin, ("GET", &format!("{path}/summary")), &Value::Null))
            .collect();
        for summary in &summaries {
            let summary = summary.expect(200).json();
            assert_eq!(
                (&summary["used"], &summary["held"], &summary["cameras"]),
                (&json!(3), &json!(15), &json!(4))
            );
        }
    }
    edges.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_route_of_an_organization_is_carried_with_its_whole_body_query_and_headers() {
    let edges = Edges::start().await;
    let id = &edges.ids[1];
    let of_organization = route::all().filter(|route| route.path.contains("{org}"));
    let mut count = 0;
    for route in of_organization {
        let path = route.path.replace("{org}", id.as_str()).replace(['{', '}'], "");
        let path = format!("{path}?nonsense=1");
        for key in [&edges.admin, &edges.gateway] {
            let asked = |node| {
                let answer = edges.ask(node, key, (route.method.as_str(), &path), &json!({ "nonsense": 1 }));
                (answer.status, answer.header("content-type").to_owned(), answer.text)
            };
            let (here, there) = (asked(1), asked(0));
            assert_eq!(here, there, "{route:?}");
            assert_ne!(here.0, 503, "{route:?}: {}", here.2);
        }
        count += 1;
    }
    assert!(count > 20, "{count} routes");
    let camera = format!("/v1/organizations/{id}/cameras/cam");
    let tag =
        edges.ask(0, &edges.admin, ("GET", &camera), &Value::Null).expect(200).header("etag").to_owned();
    let bearer = format!("Bearer {}", edges.admin);
    let put = |node, tag: &str| {
        let headers =
            [("authorization", bearer.as_str()), ("content-type", "application/json"), ("if-match", tag)];
        let camera_body = json!({ "network": "other", "cloud_ai": true }).to_string();
        edges.call(node, ("PUT", &camera), &headers, &camera_body).status
    };
    assert_eq!((put(0, "\"0\""), put(0, &tag), put(2, &tag)), (412, 200, 412));
    edges.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_same_request_under_its_key_is_answered_as_the_first_time_whichever_nodes_it_came_to() {
    let edges = Edges::start().await;
    let path = format!("/v1/organizations/{}/debits", edges.ids[2]);
    let bearer = format!("Bearer {}", edges.gateway);
    let headers = [
        ("authorization", bearer.as_str()),
        ("content-type", "application/json"),
        ("idempotency-key", "\"k\""),
    ];
    let body = json!([{ "camera": "cam", "epoch": 1, "seq": 1, "tokens": 7 }]).to_string();
    let answers: Vec<_> =
        [0, 1, 2].map(|node| edges.call(node, ("POST", &path), &headers, &body)).into_iter().collect();
    let first = answers[0].expect(200);
    assert_eq!(
        (first.json()["results"][0]["outcome"].as_str(), first.header("idempotency-replayed")),
        (Some("charged"), "")
    );
    for again in &answers[1..] {
        assert_eq!(
            (again.expect(200).text.as_str(), again.header("idempotency-replayed")),
            (first.text.as_str(), "true")
        );
    }
    edges.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn r13_r14_requests_wait_while_a_partition_moves_and_are_charged_once() {
    let edges = Edges::start().await;
    let id = edges.ids[1].clone();
    edges.cluster.net.trouble(10);
    let acknowledged = AtomicU64::new(0);
    std::thread::scope(|scope| {
        let send = |node| {
            let (edges, id, acknowledged) = (&edges, &id, &acknowledged);
            scope.spawn(move || {
                let runtime =
                    tokio::runtime::Builder::new_multi_thread().worker_threads(1).build().expect("a runtime");
                runtime.block_on(async {
                    // One sender may be done before another began: no number is too old even then.
                    for seq in 0..SEQ_WINDOW / 3 {
                        let seq = 1 + seq * 3 + u64::try_from(node).expect("small");
                        let answer = edges.debit(node, id, seq);
                        let outcome = answer.expect(200).json()["results"][0]["outcome"].clone();
                        assert!(outcome == "charged" || outcome == "duplicate", "{}", answer.text);
                        acknowledged.fetch_add(1, Ordering::Relaxed);
                    }
                });
            })
        };
        let senders = [0, 1, 2].map(send);
        // A sender that was answered otherwise ended with a panic.
        let send_on = || senders.iter().any(|sender| !sender.is_finished());
        let mut at = 1;
        while send_on() {
            let before = acknowledged.load(Ordering::Relaxed);
            // Others believe for a while that it is still there.
            edges.cluster.leave(at, 1);
            at = (at + 1) % 3;
            edges.cluster.take(at, 1).expect("whole");
            while send_on() && acknowledged.load(Ordering::Relaxed) < before + 5 {
                std::thread::yield_now();
            }
        }
    });
    edges.cluster.net.trouble(0);
    let path = format!("/v1/organizations/{id}/summary");
    let summary = edges.ask(0, &edges.admin, ("GET", &path), &Value::Null).expect(200).json();
    let sent = json!(SEQ_WINDOW / 3 * 3);
    assert_eq!((&summary["debits_charged"], &summary["used"]), (&sent, &sent), "{summary}");
    edges.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_that_disagree_about_an_owner_carry_nothing_in_circles_and_a_node_that_stops_says_elsewhere() {
    let edges = Edges::start().await;
    let id = &edges.ids[1];
    edges.cluster.net.believe(1, 2);
    std::thread::scope(|scope| {
        let asked = scope.spawn(|| {
            let runtime =
                tokio::runtime::Builder::new_multi_thread().worker_threads(1).build().expect("a runtime");
            runtime
                .block_on(async { edges.debit(0, id, 1).expect(200).json()["results"][0]["outcome"].clone() })
        });
        while edges.cluster.net.requests().len() < 3 {
            std::thread::yield_now();
        }
        // All of them came from the first node: one at a time, and none from the second.
        assert!(edges.cluster.net.requests().len() < 10);
        edges.cluster.net.believe(1, 1);
        assert_eq!(asked.join().expect("no panic"), "charged");
    });
    edges.edges[0].0.part();
    let answer = edges.debit(0, id, 2);
    assert_eq!((answer.status, answer.header("retry-after")), (503, "1"));
    assert_eq!(answer.json()["code"], "elsewhere");
    edges.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r1_the_owner_judges_anew_who_calls_and_what_he_may_do() {
    let edges = Edges::start().await;
    let id = &edges.ids[1];
    edges.debit(0, id, 1).expect(200);
    let carried = edges.cluster.net.requests().pop().expect("one");
    let path = format!("/v1/organizations/{id}/licenses");
    let forbidden = edges.ask(0, &edges.gateway, ("POST", &path), &json!({ "key": "x" }));
    assert_eq!(forbidden.expect(403).json()["code"], "forbidden");
    let owner = edges.cluster.owner(&name_in(0, 0)).expect("owned");
    owner.revoke_api_key(HOST, edges.gateway_id.clone()).await.expect("known");
    edges
        .cluster
        .until(|| async {
            edges.cluster.nodes[1].principal_of_key(&edges.gateway_id).is_none().then_some(())
        })
        .await;
    let answer = edges.edges[1].1.inbox().answer(carried).await;
    let text = String::from_utf8_lossy(&answer);
    assert!(text.contains("unauthenticated"), "{text}");
    edges.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pages_and_forms_of_an_organization_work_at_every_node_with_the_session_of_one() {
    let edges = Edges::start().await;
    let (id, node) = (&edges.ids[1], 0);
    let origin = format!("http://{}", edges.edges[node].1.address());
    let form = |path: &str, headers: &[(&str, &str)], fields: &str| {
        let headers: Vec<_> =
            [("content-type", FORM), ("origin", origin.as_str())].iter().chain(headers).copied().collect();
        edges.call(node, ("POST", path), &headers, fields)
    };
    let entered = form("/console/sign-in", &[], &format!("key={}", edges.admin));
    let cookie = entered.expect(303).header("set-cookie").split(';').next().expect("a pair").to_owned();
    let session = [("cookie", cookie.as_str())];
    let get = |path: &str| edges.call(node, ("GET", path), &session, "");
    let cameras = format!("/console/organizations/{id}/cameras");
    let page = get(&cameras);
    assert!(page.expect(200).text.contains("cam") && page.header("content-type").starts_with("text/html"));
    let csrf = page
        .text
        .split_once("name=\"csrf\" value=\"")
        .and_then(|(_, rest)| rest.split('"').next())
        .expect("a form");
    let foreign = form(&cameras, &session, "camera=new&network=net");
    assert_eq!(foreign.status, 403, "without the token of its session: {}", foreign.text);
    let registered = form(&cameras, &session, &format!("csrf={csrf}&camera=new&network=net&cloud_ai=on"));
    let to = registered.expect(303).header("location").to_owned();
    assert!(get(&to).expect(200).text.contains("Camera new was registered."), "it is told once");
    assert!(!get(&to).expect(200).text.contains("Camera new was registered."), "and no more");
    let stranger = edges.call(node, ("GET", &cameras), &[("cookie", "weir-session=guessed")], "");
    assert_eq!(stranger.status, 303);
    edges.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_node_lists_the_organizations_of_all_and_says_which_partitions_it_cannot_tell_of() {
    let edges = Edges::start().await;
    let mut all: Vec<_> = edges.ids.iter().map(ToString::to_string).collect();
    all.sort_unstable();
    let list = |node, query: &str| {
        edges
            .ask(node, &edges.admin, ("GET", &format!("/v1/organizations{query}")), &Value::Null)
            .expect(200)
            .json()
    };
    for node in 0..3 {
        let page = list(node, "");
        assert_eq!(
            (&page["organizations"], &page["next"], &page["incomplete"]),
            (&json!(all), &Value::Null, &json!([]))
        );
        let (mut after, mut found) = (String::new(), Vec::new());
        while found.len() < all.len() {
            let page = list(node, &format!("?limit=1{after}"));
            let id = page["organizations"][0].as_str().expect("one").to_owned();
            after = format!("&after={id}");
            found.push(id);
        }
        assert_eq!(found, all);
    }
    edges.cluster.net.forget(2);
    let page = list(0, "");
    assert_eq!((page["organizations"].as_array().map(Vec::len), &page["incomplete"]), (Some(2), &json!([2])));
    edges.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r13_events_of_organizations_of_several_nodes_are_each_charged_by_its_owner() {
    let edges = Edges::start().await;
    let event = |id: &OrgId, camera: &str, number: u64| {
        let licenses =
            edges.ask(0, &edges.admin, ("GET", &format!("/v1/organizations/{id}/licenses")), &Value::Null);
        let time = licenses.expect(200).json()["licenses"][0]["added_at"].clone();
        json!({ "specversion": "1.0", "type": "analysis", "source": "here", "id": format!("e{number}"),
                "subject": camera, "time": time, "organization": id, "data": { "tokens": 2 } })
    };
    let bearer = format!("Bearer {}", edges.gateway);
    let headers =
        [("authorization", bearer.as_str()), ("content-type", "application/cloudevents-batch+json")];
    for node in 0..3 {
        let number = u64::try_from(node).expect("small");
        let mut events: Vec<_> = edges.ids.iter().map(|id| event(id, "cam", number)).collect();
        let all = edges.call(node, ("POST", "/v1/events"), &headers, &json!(events).to_string());
        assert_eq!(all.status, 204, "{}", all.text);
        events.push(event(&edges.ids[(node + 1) % 3], "nowhere", number));
        let some = edges.call(node, ("POST", "/v1/events"), &headers, &json!(events).to_string());
        let problem = some.expect(422).json();
        assert_eq!(
            (&problem["events"][0]["index"], &problem["events"][0]["code"]),
            (&json!(3), &json!("unknown_camera"))
        );
        assert_eq!(problem["events"].as_array().map(Vec::len), Some(1), "{problem}");
    }
    for id in &edges.ids {
        let path = format!("/v1/organizations/{id}/summary");
        let summary = edges.ask(0, &edges.admin, ("GET", &path), &Value::Null).expect(200).json();
        assert_eq!((&summary["debits_charged"], &summary["used"]), (&json!(3), &json!(6)), "{summary}");
    }
    edges.stop().await;
}
