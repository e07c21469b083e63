//! Well-behaved clients, one over HTTP and one over gRPC, that are served while others misbehave.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::Scope;
use std::time::Duration;

use serde_json::json;
use tokenweir::client::{CameraRef, Client, Config, Debit, Identity, Outcome, UsageKind};
use tokenweir::telemetry::clock;

use crate::fort::{DEBITS, Fort, PATIENCE};

/// What the bystanders know of each other.
#[derive(Debug, Default)]
pub(crate) struct Bystanders {
    is_over: AtomicBool,
    /// The epoch of the numbers of their debits.
    epoch: u32,
    /// Debits that were acknowledged over HTTP, and over gRPC.
    pub(crate) served: [AtomicU64; 2],
}

/// How often a debit is sent before it counts as not served.
const TRIES: u32 = 3;
/// Between two debits of a bystander.
const PACE: Duration = Duration::from_millis(5);

impl Bystanders {
    pub(crate) fn of_epoch(epoch: u32) -> Self {
        Self { epoch, ..Self::default() }
    }

    /// Starts both; each answers with how long its debits took, in order.
    pub(crate) fn start<'scope>(
        &'scope self,
        scope: &'scope Scope<'scope, '_>,
        fort: &'scope Fort,
    ) -> [std::thread::ScopedJoinHandle<'scope, Vec<Duration>>; 2] {
        [scope.spawn(|| self.over_http(fort)), scope.spawn(|| self.over_grpc(fort))]
    }

    /// Waits until each has been served so many times more.
    pub(crate) fn wait_for(&self, more: u64) {
        let begun = clock::start();
        let before = [0, 1].map(|edge: usize| self.served[edge].load(Ordering::Acquire));
        for (edge, before) in before.into_iter().enumerate() {
            while self.served[edge].load(Ordering::Acquire) < before + more {
                assert!(begun.elapsed() < PATIENCE, "bystander {edge} is not served any more");
                std::thread::park_timeout(PACE);
            }
        }
    }

    pub(crate) fn end(&self) {
        self.is_over.store(true, Ordering::Release);
    }

    fn over_http(&self, fort: &Fort) -> Vec<Duration> {
        let agent: ureq::Agent =
            ureq::Agent::config_builder().proxy(None).timeout_global(Some(PATIENCE)).build().into();
        self.serve(0, |seq| {
            let body =
                json!([{ "camera": "http", "epoch": self.epoch, "seq": seq, "tokens": 1 }]).to_string();
            let send = || {
                let request = agent.post(format!("{}{DEBITS}", fort.url()));
                let request = request.header("authorization", format!("Bearer {}", fort.gateway));
                let mut answer = request.header("content-type", "application/json").send(&body).ok()?;
                answer.body_mut().read_to_string().ok()
            };
            // A connection may be closed just as a request is sent; it is sent again under its id.
            let answer = (0..TRIES).find_map(|_| send()).expect("it is served");
            assert!(answer.contains(r#""charged""#), "{answer}");
        })
    }

    fn over_grpc(&self, fort: &Fort) -> Vec<Duration> {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
        let runtime = runtime.expect("a runtime");
        let _entered = runtime.enter();
        let client = Client::connect(Config::new(fort.grpc_url(), fort.gateway.clone())).expect("a client");
        let stream = client.stream("acme");
        let took = self.serve(1, |seq| {
            let (camera, identity) = (CameraRef::Id("grpc"), Identity::Seq { epoch: self.epoch, seq });
            let debit = Debit { camera, identity, tokens: 1, kind: UsageKind::default(), time: None };
            let answer = runtime.block_on(async { stream.send(&debit).await.expect("room").await });
            let answer = answer.expect("an answer");
            assert!(answer.outcome == Outcome::Charged && !answer.resent, "{answer:?}");
        });
        runtime.block_on(stream.close()).expect("it ends well");
        took
    }

    fn serve(&self, edge: usize, debit: impl Fn(u64)) -> Vec<Duration> {
        let mut took = Vec::new();
        for seq in 1.. {
            if self.is_over.load(Ordering::Acquire) {
                break;
            }
            let begun = clock::start();
            debit(seq);
            took.push(begun.elapsed());
            self.served[edge].fetch_add(1, Ordering::AcqRel);
            std::thread::park_timeout(PACE);
        }
        took
    }
}
