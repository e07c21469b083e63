//! The leased meter: what it grants, reports, and gives back, while the meter is there and while it is not.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokenweir::client::{
    CameraRef, Client, Debit, Error, Identity, LeaseConfig, LeaseStatus, LeasedMeter, Monotonic, NotPaid,
    Paid, UsageKind, WhenUnreachable,
};
use tokenweir::meter::Timestamp;
use tokenweir::telemetry::clock::Clock;

use crate::fixture::Fixture;

const MINUTE_NS: u64 = 60_000_000_000;

/// What was granted and not charged: the sequence number, and why.
type Lost = Arc<Mutex<Vec<(u64, String)>>>;

/// A leased meter, the hand of its clock, and what it lost.
pub(crate) struct Leased {
    pub(crate) meter: LeasedMeter,
    pub(crate) hand: Arc<AtomicU64>,
    pub(crate) lost: Lost,
    pub(crate) client: Client,
}

impl Leased {
    /// Starts one with leases of 100 tokens, on a clock that stands.
    pub(crate) fn start(server: &Fixture, change: impl FnOnce(&mut LeaseConfig)) -> Self {
        Self::start_at(server, &server.url(), change)
    }

    pub(crate) fn start_at(server: &Fixture, url: &str, change: impl FnOnce(&mut LeaseConfig)) -> Self {
        let client = server.client_of(url, &server.gateway, |config| {
            config.backoff_min = Duration::from_millis(1);
            config.backoff_max = Duration::from_millis(5);
        });
        let (clock, hand) = Monotonic::manual();
        let mut config = LeaseConfig { clock, ..LeaseConfig::new(100) };
        (config.report_every, config.answer_timeout) = (Duration::from_millis(1), Duration::from_secs(20));
        change(&mut config);
        let lost = Lost::default();
        let told = Arc::clone(&lost);
        let _entered = server.runtime.enter();
        let meter = LeasedMeter::start(&client, "north", config, move |lost| {
            let Identity::Seq { seq, .. } = lost.debit.identity else { panic!("{lost:?}") };
            told.lock().expect("no panic").push((seq, lost.why.to_owned()));
        });
        Self { meter: meter.expect("within bounds"), hand, lost, client }
    }

    /// Debits camera `a` for these events, a token each, and counts how many were granted before one was not.
    fn spend(&self, seqs: std::ops::Range<u64>) -> Result<u64, NotPaid> {
        let camera = self.meter.camera("a").expect("an id");
        let mut granted = 0;
        for seq in seqs {
            self.meter.debit(&debit(camera, seq, 1))?;
            granted += 1;
        }
        Ok(granted)
    }

    pub(crate) async fn until(&self, holds: impl Fn(&LeaseStatus) -> bool) -> LeaseStatus {
        loop {
            let status = self.meter.status();
            if holds(&status) {
                return status;
            }
            tokio::task::yield_now().await;
        }
    }

    pub(crate) fn lost(&self) -> Vec<(u64, String)> {
        self.lost.lock().expect("no panic").clone()
    }
}

pub(crate) fn debit(camera: CameraRef<'_>, seq: u64, tokens: u64) -> Debit<'_> {
    let identity = Identity::Seq { epoch: 1, seq };
    Debit { camera, identity, tokens, kind: UsageKind::VideoSearch, time: None }
}

fn at(ms: u64) -> Timestamp {
    Timestamp::from_ms(1_750_000_000_000 + ms).expect("in range")
}

/// What the pool can pay, and what open reservations hold of it.
async fn figures(client: &Client) -> (u64, u64) {
    let summary = client.summary("north").await.expect("an answer");
    (summary.available, summary.held)
}

#[test]
fn r12_a_lease_is_renewed_before_it_is_dry_and_closing_reports_all_and_gives_back_the_rest() {
    let server = Fixture::start();
    let leased = Leased::start(&server, |config| config.renew_below = 50);
    server.run(async {
        leased.meter.ready().await.expect("a lease");
        for round in 0..20 {
            assert_eq!(leased.spend(60 * round..60 * round + 60), Ok(60), "it is never dry");
            leased.until(|status| status.leases == round + 2).await;
        }
        leased.meter.close().await.expect("all is reported");
        assert_eq!(leased.spend(1_200..1_201), Err(NotPaid::Closed));
        let status = leased.meter.status();
        assert_eq!((status.reported_debits, status.reported_tokens, status.unanswered), (1_200, 1_200, 0));
        assert_eq!(figures(&leased.client).await, (8_800, 0));
    });
    assert_eq!(leased.lost(), []);
}

#[test]
fn r12_many_threads_never_spend_more_than_the_pool_has_and_all_they_spend_is_charged() {
    let server = Fixture::start();
    let cameras: Vec<String> = (0..4).map(|camera| format!("t{camera}")).collect();
    cameras.iter().for_each(|camera| server.camera(camera));
    let leased = Leased::start(&server, |config| (config.tokens, config.renew_below) = (500, 400));
    server.run(async { leased.meter.ready().await.expect("a lease") });
    let spend = |id: &String| {
        let camera = leased.meter.camera(id).expect("an id");
        let (mut granted, mut seq) = (0, 1);
        while granted < 4_000 {
            match leased.meter.debit(&debit(camera, seq, 3)) {
                Ok(paid) => {
                    assert_eq!(paid, Paid::Leased);
                    (granted, seq) = (granted + 1, seq + 1);
                }
                Err(NotPaid::Full) => std::thread::yield_now(),
                Err(_) if leased.meter.status().leases > 15 && is_short(&leased.meter.status()) => break,
                Err(_) => std::thread::yield_now(),
            }
        }
        granted
    };
    let granted: u64 = std::thread::scope(|scope| {
        let threads: Vec<_> = cameras.iter().map(|id| scope.spawn(move || spend(id))).collect();
        threads.into_iter().map(|thread| thread.join().expect("no panic")).sum()
    });
    server.run(async {
        leased.meter.close().await.expect("all is reported");
        assert_eq!(figures(&leased.client).await, (10_000 - 3 * granted, 0));
    });
    assert!(3 * granted > 9_000, "{granted}: the pool is used up to what a lease holds");
    assert_eq!(leased.lost(), []);
}

fn is_short(status: &LeaseStatus) -> bool {
    matches!(&status.trouble, Some(Error::Refused { code, .. }) if code == "insufficient_tokens")
}

#[test]
fn r14_a_lease_bridges_a_restart_of_the_server() {
    let mut server = Fixture::start();
    let leased = Leased::start(&server, |_| {});
    server.run(leased.meter.ready()).expect("a lease");
    assert_eq!(leased.spend(0..30), Ok(30));
    let addresses = server.halt();
    assert_eq!(leased.spend(30..60), Ok(30), "the lease lasts");
    server.resume(addresses);
    server.run(async {
        leased.meter.close().await.expect("all is reported");
        assert_eq!(figures(&leased.client).await, (9_940, 0));
    });
    assert_eq!(leased.lost(), []);
}

/// Takes a lease, loses the server, and sets the clock: until when is it spent?
fn check_last_moment(grace: Duration, last_ns: u64) {
    let mut server = Fixture::start();
    let leased = Leased::start(&server, |config| config.grace = grace);
    server.run(leased.meter.ready()).expect("a lease");
    let addresses = server.halt();
    leased.hand.store(last_ns - 1, Ordering::Relaxed);
    assert_eq!(leased.spend(0..1), Ok(1));
    leased.hand.store(last_ns, Ordering::Relaxed);
    assert_eq!(leased.spend(1..2), Err(NotPaid::Ended));
    server.run(leased.until(|status| status.is_unreachable));
    assert_eq!(leased.spend(1..2), Err(NotPaid::Ended), "closed unless it was chosen otherwise");
    server.resume(addresses);
    server.run(async {
        leased.until(|status| status.leases == 2).await;
        assert_eq!(leased.spend(1..2), Ok(1));
        leased.meter.close().await.expect("all is reported");
        assert_eq!(figures(&leased.client).await, (9_998, 0));
    });
}

#[test]
fn a_lease_whose_time_is_over_is_spent_no_more_counted_from_before_it_was_asked_for() {
    check_last_moment(Duration::ZERO, MINUTE_NS / 8 * 7);
}

#[test]
fn a_lease_is_spent_for_the_grace_that_was_chosen_and_no_longer() {
    check_last_moment(Duration::from_secs(9), MINUTE_NS / 8 * 7 + 9_000_000_000);
}

/// A meter that granted these tokens while its server was away, after a lease that was spent to its last token.
fn granted_openly(server: &mut Fixture, tokens_max: u64) -> Leased {
    let leased =
        Leased::start(server, |config| config.when_unreachable = WhenUnreachable::Grant { tokens_max });
    server.run(leased.meter.ready()).expect("a lease");
    let addresses = server.halt();
    leased.hand.store(MINUTE_NS, Ordering::Relaxed);
    server.run(leased.until(|status| status.is_unreachable));
    let camera = leased.meter.camera("a").expect("an id");
    for seq in 0..5 {
        assert_eq!(leased.meter.debit(&debit(camera, seq, 10)), Ok(Paid::Open));
    }
    assert_eq!(leased.meter.debit(&debit(camera, 5, 1)), Err(NotPaid::Ended), "the bound");
    assert_eq!(leased.meter.status().open_left, 0);
    server.resume(addresses);
    leased
}

#[test]
fn what_was_granted_while_the_meter_was_unreachable_is_bounded_and_charged_afterwards() {
    let mut server = Fixture::start();
    let leased = granted_openly(&mut server, 50);
    server.run(async {
        leased.until(|status| status.unanswered == 0 && status.leases == 2).await;
        assert_eq!((leased.meter.status().open_left, leased.lost()), (50, Vec::new()));
        leased.meter.close().await.expect("all is reported");
        assert_eq!(leased.client.summary("north").await.expect("an answer").used, 50);
    });
}

#[test]
fn r12_what_an_empty_pool_cannot_pay_afterwards_is_told_debit_by_debit() {
    let mut server = Fixture::start();
    let leased = Leased::start(&server, |config| {
        config.when_unreachable = WhenUnreachable::Grant { tokens_max: 50 };
        config.tokens = 10_000;
    });
    server.run(leased.meter.ready()).expect("a lease");
    let camera = leased.meter.camera("a").expect("an id");
    assert_eq!(leased.meter.debit(&debit(camera, 100, 10_000)), Ok(Paid::Leased));
    server.run(leased.until(|status| status.unanswered == 0 && is_short(status)));
    assert!(!leased.meter.status().is_unreachable, "a refusal is an answer");
    assert_eq!(leased.meter.debit(&debit(camera, 101, 1)), Err(NotPaid::Dry), "nor is it a reason to grant");
    let addresses = server.halt();
    server.run(leased.until(|status| status.is_unreachable));
    for seq in 101..104 {
        assert_eq!(leased.meter.debit(&debit(camera, seq, 10)), Ok(Paid::Open));
    }
    server.resume(addresses);
    server.run(leased.until(|status| status.unanswered == 0));
    let status = leased.meter.status();
    assert_eq!((status.uncharged_debits, status.uncharged_tokens, status.open_left), (3, 30, 50));
    let lost: Vec<(u64, String)> = (101..104).map(|seq| (seq, "insufficient_tokens".to_owned())).collect();
    assert_eq!((leased.lost(), server.available()), (lost, 0));
}

#[test]
fn r12_what_a_crashed_gateway_did_not_report_is_not_charged_and_comes_back_at_expiry() {
    let (clock, hand) = Clock::manual(at(0));
    let server = Fixture::start_by(clock);
    let leased = Leased::start(&server, |config| config.report_every = Duration::from_secs(3_600));
    let client = leased.client.clone();
    server.run(async {
        leased.meter.ready().await.expect("a lease");
        assert_eq!(leased.spend(0..70), Ok(70));
        drop(leased);
        hand.store(at(60_000 - 1).ms(), Ordering::Relaxed);
        assert_eq!(figures(&client).await, (9_900, 100), "held to the last moment");
        hand.store(at(60_000).ms(), Ordering::Relaxed);
        assert_eq!(figures(&client).await, (10_000, 0), "at once");
        assert_eq!(client.reservations("north").await.expect("listed"), []);
        assert_eq!(client.summary("north").await.expect("an answer").used, 0);
    });
}

#[test]
fn r12_what_a_lease_that_ended_early_at_the_server_does_not_pay_is_paid_by_the_pool() {
    let (clock, hand) = Clock::manual(at(0));
    let server = Fixture::start_by(clock);
    let leased = Leased::start(&server, |_| {});
    server.run(async {
        leased.meter.ready().await.expect("a lease");
        hand.store(at(60_000).ms(), Ordering::Relaxed);
        assert_eq!(leased.spend(0..20), Ok(20), "the gateway does not know");
        leased.until(|status| status.unanswered == 0).await;
        assert_eq!(figures(&leased.client).await, (9_980, 0));
        leased.meter.close().await.expect("all is reported");
    });
    assert_eq!(leased.lost(), []);
}

#[test]
fn a_debit_that_the_server_refuses_is_told_and_its_neighbours_are_charged() {
    let server = Fixture::start();
    let leased = Leased::start(&server, |_| {});
    server.run(async {
        leased.meter.ready().await.expect("a lease");
        for (camera, seq) in [("a", 1), ("off", 2), ("nowhere", 3), ("free", 4), ("b", 5), ("a", 1)] {
            leased.meter.debit(&debit(CameraRef::Id(camera), seq, 5)).expect("granted");
        }
        let event = Debit { identity: Identity::EventId(b"e"), ..debit(CameraRef::Id("a"), 0, 1) };
        assert!(matches!(leased.meter.debit(&event), Err(NotPaid::Invalid(_))), "it has no time");
        assert!(matches!(leased.meter.debit(&debit(CameraRef::Id("a"), 9, 0)), Err(NotPaid::Invalid(_))));
        leased.meter.close().await.expect("all is reported");
        let status = leased.meter.status();
        assert_eq!((status.reported_debits, status.uncharged_debits), (4, 2));
        assert_eq!(figures(&leased.client).await, (10_000 - 15, 0), "no analytics, so not exempt");
    });
    let lost = [(2, "cloud_ai_disabled".to_owned()), (3, "unknown_camera".to_owned())];
    assert_eq!(leased.lost(), lost);
}

#[test]
fn a_key_that_is_revoked_closes_the_meter_and_every_debit_that_cannot_be_reported_is_told() {
    let server = Fixture::start();
    let leased = Leased::start(&server, |config| config.report_every = Duration::from_millis(50));
    server.run(leased.meter.ready()).expect("a lease");
    server.revoke(&server.gateway);
    assert_eq!(leased.spend(0..3), Ok(3));
    let ended = server.run(leased.meter.close());
    assert!(matches!(&ended, Err(Error::Refused { code, .. }) if code == "unauthenticated"), "{ended:?}");
    let lost: Vec<u64> = leased.lost().into_iter().map(|(seq, _)| seq).collect();
    assert_eq!((lost, leased.meter.status().unanswered), (vec![0, 1, 2], 0));
    assert!(server.run(leased.meter.ready()).is_err());
}

#[test]
fn a_lease_out_of_its_bounds_is_refused_at_the_start() {
    let server = Fixture::start();
    let client = server.client(&server.gateway, |_| {});
    let _entered = server.runtime.enter();
    let good = LeaseConfig::new(100);
    for bad in [
        LeaseConfig::new(0),
        LeaseConfig::new(1 << 40),
        LeaseConfig { ttl: Duration::from_millis(999), ..good.clone() },
        LeaseConfig { ttl: Duration::from_secs(86_401), ..good },
    ] {
        let refused = LeasedMeter::start(&client, "north", bad, |_| {}).err();
        assert!(matches!(refused, Some(Error::Invalid(_))), "{refused:?}");
    }
}
