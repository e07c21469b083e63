//! The faults, an entry each: what the server is started within, and what is done to it while clients load it.
//!
//! After an entry the server is killed where it still runs, and `world` judges what it leaves.

use std::time::Duration;

use rustix::process::{Resource, Signal};

use crate::process::{PATIENCE, text, weir};
use crate::within::Within::{FakedClock, Itself, NothingReserved, Strace};
use crate::within::{Within, strace};
use crate::world::Scene;

/// A fault.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Fault {
    pub(crate) name: &'static str,
    pub(crate) within: Within,
    pub(crate) load: Load,
    /// How long the senders of debits wait for an answer before they send again.
    pub(crate) patience: Duration,
    pub(crate) strike: fn(&mut Scene<'_>),
}

/// What clients do meanwhile.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Load {
    Everything,
    /// License keys and transfers alone.
    Moves,
}

/// More answers than a fault needs to be seen.
const PLENTY: u64 = 400;
/// Shorter than a pause.
const HASTE: Duration = Duration::from_millis(250);
const PAUSE_MS: u64 = 700;
const CLOCK_STEPS: [&str; 7] = ["+200h", "-100h", "+3h", "-1h", "+40h", "-200h", "+0"];

pub(crate) const KILLS: &[Fault] = &[
    on("kill -9 under load", Itself, |scene| _ = scene.answers(100 + scene.pick % 60)),
    on("kill -9 before a write", Strace("pwrite64:signal=KILL:when={}"), wait_for_it),
    on("kill -9 before a sync", Strace("fdatasync:signal=KILL:when={}"), wait_for_it),
    Fault {
        load: Load::Moves,
        ..on("kill -9 during transfers", Strace("fdatasync:signal=KILL:when={}"), wait_for_it)
    },
    on("kill -9 before a snapshot has its name", Strace("/^rename:signal=KILL:when={few}"), wait_for_it),
    on("kill -9 before a new name is synced", Strace("fsync:signal=KILL:when={few}"), wait_for_it),
    on("kill -9 before an old file is removed", Strace("/^unlink:signal=KILL:when={few}"), wait_for_it),
    on("kill -9 during recovery", Itself, kill_recoveries),
    on("kill -9 during shutdown", Itself, kill_shutdown),
    on("stop in order under load", Itself, stop_in_order),
];

pub(crate) const IO_ERRORS: &[Fault] = &[
    on("a sync fails: EIO", Strace("fdatasync:error=EIO:when={}"), wait_for_it),
    on("a write fails: EIO", Strace("pwrite64:error=EIO:when={}"), wait_for_it),
    on("a write fails: ENOSPC", Strace("pwrite64:error=ENOSPC:when={}"), wait_for_it),
    on("every rename fails: EIO", Strace("/^rename:error=EIO"), some_load),
    on("a directory cannot be synced: EIO", Strace("fsync:error=EIO:when={few}"), wait_for_it),
    on("no old file can be removed: EACCES", Strace("/^unlink:error=EACCES:when=4+"), some_load),
    on("syncs are slow", Strace("fdatasync:delay_enter=100000:when={}+7"), some_load),
];

pub(crate) const PROCESSES: &[Fault] = &[
    Fault { patience: HASTE, ..on("SIGSTOP pauses", Itself, stop_and_go_on) },
    on("a second server beside it", Itself, start_second),
    on("two servers at once after a kill", Itself, start_two),
    on("no more file descriptors", Itself, take_descriptors),
    on("no more memory", NothingReserved, take_memory),
];

pub(crate) const CLOCKS: &[Fault] = &[on("the clock jumps by hours and days", FakedClock, step_clock)];

pub(crate) const FULL_DISK: &[Fault] = &[
    on("the disk is full", Itself, |scene| {
        scene.answers(20);
        let filler = scene.fill_disk();
        assert!(scene.answers(u64::MAX), "a partition stops");
        std::fs::remove_file(filler).expect("there");
    }),
    on("the disk is full at the start", Itself, |scene| {
        scene.answers(40);
        scene.server.kill();
        let filler = scene.fill_disk();
        let mut again = scene.world.spawn(&[]);
        // It may serve from what it has until it needs a new segment, or say that it cannot start.
        scene.was_seen |= !again.is_ready();
        drop(again);
        std::fs::remove_file(filler).expect("there");
    }),
];

impl Fault {
    /// Whether it happens with every load that is long enough.
    pub(crate) fn must_be_seen(&self) -> bool {
        matches!(self.within, Strace(inject) if inject.ends_with(":when={}"))
    }
}

const fn on(name: &'static str, within: Within, strike: fn(&mut Scene<'_>)) -> Fault {
    Fault { name, within, load: Load::Everything, patience: PATIENCE, strike }
}

fn wait_for_it(scene: &mut Scene<'_>) {
    scene.answers(PLENTY);
}

fn some_load(scene: &mut Scene<'_>) {
    scene.answers(100);
}

/// Starts the server again and again, and kills it at each of the points where recovery changes something.
fn kill_recoveries(scene: &mut Scene<'_>) {
    scene.answers(60 + scene.pick);
    scene.server.kill();
    let is_missing = Strace("").missing().is_some();
    let calls = ["pwrite64", "fdatasync", "fsync"].iter().filter(|_| !is_missing);
    for within in calls.map(|call| strace(&format!("{call}:signal=KILL:when=1"))) {
        let mut server = scene.world.spawn(&within);
        // What recovery does not do is done as soon as it serves.
        if server.is_ready() {
            server.kill();
        }
    }
    let mut server = scene.world.spawn(&[]);
    server.line("listening on ").expect("it listens before it recovers");
    server.kill();
}

fn kill_shutdown(scene: &mut Scene<'_>) {
    scene.answers(60);
    scene.server.signal(Signal::INT);
    scene.pause(scene.pick % 16);
    scene.server.kill();
}

fn stop_in_order(scene: &mut Scene<'_>) {
    scene.answers(60);
    scene.server.signal(Signal::INT);
    assert_eq!(scene.server.ended().code(), Some(0), "{}", scene.world.log());
}

/// The clients lose patience, and send again what the server then finds twice when it goes on.
fn stop_and_go_on(scene: &mut Scene<'_>) {
    for _ in 0..3 {
        scene.answers(20);
        scene.server.signal(Signal::STOP);
        scene.pause(PAUSE_MS);
        scene.server.signal(Signal::CONT);
    }
    scene.answers(40);
}

/// A server is kept out while another one has the directory, even by one that stands still.
fn start_second(scene: &mut Scene<'_>) {
    let data = scene.world.data();
    let refused = || {
        let ended =
            weir(&["serve", "--data", text(&data), "--listen", "127.0.0.1:0", "--grpc-listen", "off"]);
        assert!(ended.code != 0 && ended.stderr.contains("is held by process"), "{ended:?}");
    };
    scene.answers(20);
    refused();
    scene.answers(20);
    scene.server.signal(Signal::STOP);
    refused();
    scene.server.signal(Signal::CONT);
    scene.answers(20);
}

/// Of two that start at the same time one serves.
fn start_two(scene: &mut Scene<'_>) {
    scene.answers(40);
    scene.server.kill();
    let mut two = [scene.world.spawn(&[]), scene.world.spawn(&[])];
    let ready = two.iter_mut().filter_map(|server| server.is_ready().then_some(())).count();
    assert_eq!(ready, 1, "{}", scene.world.log());
}

/// The server may open no file any more, until its partition needs one.
fn take_descriptors(scene: &mut Scene<'_>) {
    scene.answers(20);
    let before = scene.limit(Resource::Nofile, 0);
    scene.answers(PLENTY);
    scene.restore(Resource::Nofile, before);
}

/// The server gets no memory more than it has, and is sent what needs some.
fn take_memory(scene: &mut Scene<'_>) {
    scene.answers(20);
    scene.limit(Resource::As, 0);
    for _ in 0..20 {
        scene.send_large_body();
        if scene.answers(5) {
            return;
        }
    }
}

/// Hours and days forwards and backwards.
fn step_clock(scene: &mut Scene<'_>) {
    for step in CLOCK_STEPS {
        let (clock, next) = (scene.world.path("clock"), scene.world.path("clock.next"));
        std::fs::write(&next, step).and_then(|()| std::fs::rename(&next, &clock)).expect("written");
        scene.answers(12);
    }
}
