//! `weir verify`: replays everything in a stopped data directory, or in the streams of a cluster, and checks that it holds what it must.
//!
//! Each partition is replayed as a start would replay it, from its newest snapshot, and once more over its whole
//! kept history, from its very first frame or from the oldest snapshot that it goes on from; both states must be
//! equal byte for byte (I8). Every snapshot and every frame that is kept is read. A digest of each state, and of
//! all, tells whether two directories hold the same. Then the invariants are checked over all partitions together.
//! Nothing is written: a torn tail stays as it is, and is no error, because what it held was never acknowledged.
//!
//! A cluster goes on meanwhile, and its partitions are not seen at one moment. What they contradict each other in is looked at again, in
//! the longest cut through all of them that is consistent; such a cut holds at least what the first look saw, or something is lost.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Args;
use serde::Serialize;
use sha2::{Digest as _, Sha256};

use crate::domain::hex::Hex;
use crate::domain::ids::{Lsn, OrgId, OrgNumber};
use crate::domain::invariants::check_directory;
use crate::domain::pool::{Pool, Totals};
use crate::domain::registry::Registry;
use crate::domain::tokens::Tokens;
use crate::storage::audit;
use crate::storage::backup::BackupManifest;
use crate::storage::event_codec;
use crate::storage::reader::Start;
use crate::storage::replay::{self, PartitionState};
use crate::storage::snapshot_codec::{self, PartitionImage, PoolImage};
use crate::storage::{DirectoryLock, Disk, Fault, Layout, Manifest, Pieces, RealDisk, Store, TornTail};

use super::failure::Failure;
use super::output::{number, print, print_json, table};
use super::verify_audit::{self, AuditReport};
use super::verify_cut::{broken_in_a_cut, low_epochs};
use super::verify_place::{Given, Place, PlaceArgs, TRIES_MAX, extent};

/// What to verify.
#[derive(Args, Debug)]
pub struct VerifyArgs {
    /// What to read: a data directory that no server holds, a backup, or a cluster.
    #[command(flatten)]
    pub place: PlaceArgs,
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
}

/// What verification found.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    directory: PathBuf,
    id: String,
    /// Whether nothing is damaged and every invariant holds.
    pub(super) clean: bool,
    partitions: Vec<PartitionReport>,
    /// The audit log; none where there is none yet.
    audit: Option<AuditReport>,
    totals: TotalsReport,
    /// SHA-256 over the digests of the partitions, in their order; none when something is damaged.
    digest: Option<String>,
    violations: Vec<ViolationReport>,
}

#[derive(Debug, Default, Serialize)]
struct PartitionReport {
    partition: u16,
    /// Frames that are kept.
    frames: u64,
    segments: usize,
    /// What is kept on a stream; none of files.
    #[serde(skip_serializing_if = "Option::is_none")]
    stream: Option<StreamReport>,
    last_lsn: u64,
    /// The newest readable snapshot; zero for none.
    snapshot_lsn: u64,
    snapshots: usize,
    organizations: usize,
    torn_tail: Option<TornReport>,
    /// Whether the last frame says that the journal was closed in order.
    closed_cleanly: bool,
    /// Whether the first frame ever is still there.
    replayed_from_first: bool,
    /// What the second replay, of the whole kept history, began with: the lsn of a snapshot, or zero for the first
    /// frame. None when that is what the first replay began with, or something is damaged.
    compared_from: Option<u64>,
    /// SHA-256 of the state as a snapshot would hold it, in hexadecimal; none when something is damaged.
    digest: Option<String>,
    damage: Vec<DamageReport>,
}

#[derive(Debug, Serialize)]
struct TornReport {
    file: PathBuf,
    offset: u64,
    bytes: u64,
    lsn: u64,
}

#[derive(Debug, Serialize)]
struct StreamReport {
    records: u64,
    /// How many epochs wrote them.
    epochs: u64,
    /// The epoch of the newest.
    newest_epoch: u64,
    /// Records of deposed owners, which were never acknowledged.
    dropped: u64,
}

#[derive(Debug, Serialize)]
struct DamageReport {
    /// The file, or the log.
    file: Option<PathBuf>,
    /// Where in the file.
    offset: Option<u64>,
    /// Which record of the log.
    #[serde(skip_serializing_if = "Option::is_none")]
    sequence: Option<u64>,
    lsn: Option<u64>,
    message: String,
}

#[derive(Debug, Default, Serialize)]
struct TotalsReport {
    organizations: usize,
    granted: u64,
    used: u64,
    exempt: u64,
    available: u64,
    held: u64,
    in_transit: u64,
    debits_charged: u64,
    debits_exempt: u64,
}

#[derive(Debug, Serialize)]
pub(super) struct ViolationReport {
    pub(super) invariant: &'static str,
    pub(super) what: String,
}

/// A verified directory: the report, and the pools that were replayed.
#[derive(Debug)]
pub(super) struct Verified {
    /// What was found.
    pub(super) report: Report,
    pools: Vec<Pool>,
}

impl Verified {
    /// What an organization's pool can pay, and its totals; none when there is no such organization.
    pub(super) fn totals_of(&self, organization: &OrgId) -> Option<(Tokens, Totals)> {
        let pool = self.pools.iter().find(|pool| pool.id == *organization)?;
        Some((pool.available(), pool.totals))
    }

    /// Whether any organization has a webhook.
    pub(super) fn has_webhooks(&self) -> bool {
        self.pools.iter().flat_map(|pool| &pool.alerts).any(|alerts| !alerts.webhooks.is_empty())
    }
}

/// Runs it.
pub(super) fn run(args: &VerifyArgs) -> Result<(), Failure> {
    let report = match args.place.given()? {
        Given::Directory(directory) => read(directory)?,
        Given::Cluster(streams) => read_place(&Place::streams(streams), None)?,
    }
    .report;
    if args.json {
        print_json(&report);
    } else {
        print(&text(&report));
    }
    if report.clean {
        return Ok(());
    }
    Err(Failure::new(faults(&report).join("\n")))
}

/// Everything that is wrong, for people.
pub(super) fn faults(report: &Report) -> Vec<String> {
    let damage = report.partitions.iter().flat_map(|partition| &partition.damage);
    let mut messages: Vec<_> = damage.map(|damage| damage.message.clone()).collect();
    messages.extend(report.audit.iter().filter_map(|audit| audit.damage.clone()));
    messages.extend(report.violations.iter().map(|violation| {
        format!("invariant {} does not hold: {}; nothing was changed", violation.invariant, violation.what)
    }));
    messages
}

/// Replays and checks a directory.
///
/// # Errors
/// When it cannot be opened. Damage and broken invariants are in the report.
pub(super) fn read(directory: &Path) -> Result<Verified, Failure> {
    let (manifest, layout, _lock) = open(directory)?;
    if let Some(backup) = BackupManifest::read(&RealDisk, &layout).map_err(failure)? {
        backup.check_files(&RealDisk, &layout).map_err(failure)?;
    }
    let disk: Arc<dyn Disk> = Arc::new(RealDisk);
    let audit = verify_audit::read(&audit::home(&disk, &layout, manifest.directory))?;
    read_place(&Place::files(directory, &manifest, layout), audit)
}

/// Replays and checks all partitions.
fn read_place(place: &Place, audit: Option<AuditReport>) -> Result<Verified, Failure> {
    let (mut states, mut reports, mut violations) = (Vec::new(), Vec::new(), Vec::new());
    for store in place.open_all().map_err(failure)? {
        let (state, report) = settled_state(place, store, &mut violations)?;
        states.push(state);
        reports.push(report);
    }
    let is_whole = reports.iter().all(|report| report.damage.is_empty());
    let seen: Vec<_> = reports.iter().map(|report| Lsn(report.last_lsn)).collect();
    let (registry, pools) = together(states);
    if is_whole {
        let mut broken = broken_invariants(&registry, &pools);
        if place.is_live() && !broken.is_empty() {
            broken = broken_in_a_cut(place, &seen, broken)?;
        }
        violations.extend(broken);
    }
    let newest = |report: &PartitionReport| Some((report.partition, report.stream.as_ref()?.newest_epoch));
    violations.extend(low_epochs(place, reports.iter().filter_map(newest))?);
    let report = Report {
        directory: place.name.clone(),
        id: place.id.to_string(),
        clean: is_whole && violations.is_empty() && audit.as_ref().is_none_or(|audit| audit.damage.is_none()),
        digest: digest_of_all(&reports),
        partitions: reports,
        audit,
        totals: totals_of(&pools),
        violations,
    };
    Ok(Verified { report, pools })
}

/// What all partitions hold together.
pub(super) fn together(mut states: Vec<PartitionState>) -> (Registry, Vec<Pool>) {
    let registry = states.first_mut().map(|state| std::mem::take(&mut state.registry)).unwrap_or_default();
    (registry, states.into_iter().flat_map(|state| state.pools).flatten().collect())
}

/// The state of a partition, read again where retention took away what was being read.
fn settled_state(
    place: &Place,
    mut store: Arc<dyn Store>,
    violations: &mut Vec<ViolationReport>,
) -> Result<(PartitionState, PartitionReport), Failure> {
    let partition = store.partition();
    let is_made = place.made[usize::from(partition)];
    for tries in 1.. {
        // Looked at before the end is: a snapshot that holds more than what is seen came in between.
        let (before, mut broken) = (extent(&*store), Vec::new());
        if tries > 1 {
            store = place.open(partition).map_err(failure)?;
        }
        let mut report = PartitionReport { partition, ..PartitionReport::default() };
        let state = partition_state(&*store, is_made, &mut report, &mut broken);
        let is_damaged = state.is_err() || !report.damage.is_empty();
        // The first time it was opened with all others, a while ago.
        let is_first = place.is_live() && tries == 1;
        if is_damaged && tries < TRIES_MAX && (is_first || extent(&*store) != before) {
            continue;
        }
        violations.append(&mut broken);
        return Ok((state?, report));
    }
    unreachable!("the last try is answered")
}

/// Checks that there is a data directory, for commands that must not make one.
///
/// # Errors
/// When there is none.
pub(super) fn expect_directory(directory: &Path) -> Result<(), Failure> {
    if Layout::new(directory).manifest().exists() {
        return Ok(());
    }
    Err(Failure::usage(format!(
        "{} is no data directory: it has no manifest; nothing was changed; give the directory that `weir serve` was started on",
        directory.display()
    )))
}

/// Opens a directory or a backup for reading only, and keeps writers out.
///
/// # Errors
/// When it is neither, is held by a writer, or is of a newer format.
pub(super) fn open(directory: &Path) -> Result<(Manifest, Layout, DirectoryLock), Failure> {
    let layout = Layout::new(directory);
    let lock = DirectoryLock::shared(&layout.lock()).map_err(failure)?;
    if let Some(backup) = BackupManifest::read(&RealDisk, &layout).map_err(failure)? {
        return Ok((backup.source(), layout, lock));
    }
    expect_directory(directory)?;
    let manifest = Manifest::read(&RealDisk, &layout).map_err(failure)?;
    let manifest = manifest.ok_or_else(|| Failure::usage("the manifest went away while it was read"))?;
    Ok((manifest, layout, lock))
}

/// Damage ends with exit code 1; what could not be opened at all, with 2.
pub(super) fn failure(fault: Fault) -> Failure {
    if is_damage(&fault) { fault.into() } else { Failure::usage(fault.to_string()) }
}

fn is_damage(fault: &Fault) -> bool {
    fault.is_damage() || matches!(fault, Fault::Undecodable { .. })
}

fn partition_state(
    store: &dyn Store,
    is_made: bool,
    report: &mut PartitionReport,
    violations: &mut Vec<ViolationReport>,
) -> Result<PartitionState, Failure> {
    let mut state = PartitionState::default();
    let check_made = |next| if is_made { replay::check_made(store, next) } else { Ok(()) };
    if !store.is_begun().map_err(failure)? {
        check_made(Lsn(1)).or_else(|fault| note_damage(report, fault))?;
        return Ok(state);
    }
    match store.first() {
        Ok(first) => report.replayed_from_first = first == Some(Lsn(1)),
        Err(fault) => note_damage(report, fault)?,
    }
    check_snapshots(store, report)?;
    match state.scan(store) {
        Ok((reading, base)) => {
            report.last_lsn = reading.next.0 - 1;
            report.snapshot_lsn = base.snapshot.0;
            report.torn_tail = reading.torn.map(torn);
            check_made(reading.next).or_else(|fault| note_damage(report, fault))?;
        }
        Err(fault) => note_damage(report, fault)?,
    }
    report.organizations = state.pools.iter().flatten().count();
    let mut whole = PartitionState::default();
    match read_every_frame(store, report, &mut whole) {
        Err(fault) => note_damage(report, fault)?,
        Ok(from) if report.damage.is_empty() => {
            let stored = bytes(report.partition, &mut state);
            report.digest = Some(Hex(&Sha256::digest(&stored)).to_string());
            if from.0 < report.snapshot_lsn {
                report.compared_from = Some(from.0);
                violations.extend(difference(report, &stored, &bytes(report.partition, &mut whole)));
            }
        }
        Ok(_) => {}
    }
    Ok(state)
}

/// What I8 forbids: that the two replays of a partition differ.
fn difference(report: &PartitionReport, stored: &[u8], whole: &[u8]) -> Option<ViolationReport> {
    let at = stored.iter().zip(whole).position(|(one, other)| one != other);
    let at = at.or_else(|| (stored.len() != whole.len()).then(|| stored.len().min(whole.len())))?;
    let what = format!(
        "partition {}: a replay from the snapshot at lsn {} differs from a replay of all kept frames, \
         first at byte {at} of the stored state",
        report.partition, report.snapshot_lsn
    );
    Some(ViolationReport { invariant: "I8", what })
}

/// Reads all frames that are kept, and carries out those that the oldest snapshot does not hold, from which they go on; answers with its lsn, zero
/// for the first frame.
fn read_every_frame(
    store: &dyn Store,
    report: &mut PartitionReport,
    state: &mut PartitionState,
) -> Result<Lsn, Fault> {
    let (start, begun) = replay::beginning(store)?;
    *state = begun;
    let (mut frames, mut closed) = (0, false);
    let read = store.read(Start::Oldest, &mut |frame| {
        frames += 1;
        closed = frame.meta.kind == event_codec::CLOSED;
        state.replay_frame(frame)
    });
    report.frames = frames;
    report.closed_cleanly = closed && read.is_ok();
    match read?.pieces {
        Pieces::Segments(segments) => report.segments = usize::try_from(segments).unwrap_or(usize::MAX),
        Pieces::Records { all, epochs, newest_epoch, dropped } => {
            report.stream = Some(StreamReport { records: all, epochs, newest_epoch, dropped });
        }
    }
    Ok(if let Start::After(lsn) = start { lsn } else { Lsn(0) })
}

fn digest_of_all(partitions: &[PartitionReport]) -> Option<String> {
    let mut all = Sha256::new();
    for partition in partitions {
        all.update(partition.digest.as_ref()?);
    }
    Some(Hex(&all.finalize()).to_string())
}

fn check_snapshots(store: &dyn Store, report: &mut PartitionReport) -> Result<(), Failure> {
    let lsns = store.snapshots().map_err(failure)?;
    report.snapshots = lsns.len();
    for lsn in lsns {
        if let Err(fault) = replay::load_snapshot(store, lsn) {
            note_damage(report, fault)?;
        }
    }
    Ok(())
}

/// Adds damage to the report, once for each place; anything else ends the verification.
fn note_damage(report: &mut PartitionReport, fault: Fault) -> Result<(), Failure> {
    if !is_damage(&fault) {
        return Err(failure(fault));
    }
    let message = fault.to_string();
    let (file, offset, sequence, lsn) = match fault {
        Fault::Corrupt { path, offset, lsn, .. } => (Some(path), Some(offset), None, lsn),
        Fault::Missing { path, .. } => (Some(path), None, None, None),
        Fault::DamagedLog { place, sequence, lsn, .. } => (Some(place.into()), None, Some(sequence), lsn),
        _ => (None, None, None, None),
    };
    if report.damage.iter().all(|known| known.message != message) {
        report.damage.push(DamageReport { file, offset, sequence, lsn: lsn.map(|lsn| lsn.0), message });
    }
    Ok(())
}

/// The state as a snapshot would hold it.
fn bytes(partition: u16, state: &mut PartitionState) -> Vec<u8> {
    let numbered = state.pools.iter_mut().zip(0..);
    let image = |(pool, number): (&mut Option<Pool>, u32)| {
        pool.as_mut().map(|pool| PoolImage::take(pool, OrgNumber(number)))
    };
    let pools = numbered.filter_map(image).collect();
    let registry = (partition == 0).then(|| state.registry.clone());
    snapshot_codec::encode(&PartitionImage { registry, pools })
}

pub(super) fn broken_invariants(registry: &Registry, pools: &[Pool]) -> Vec<ViolationReport> {
    let found = check_directory(registry, pools.iter()).into_iter();
    found.map(|violation| ViolationReport { invariant: violation.id, what: violation.what }).collect()
}

fn totals_of(pools: &[Pool]) -> TotalsReport {
    let mut totals = TotalsReport { organizations: pools.len(), ..TotalsReport::default() };
    for pool in pools {
        totals.granted += pool.totals.granted.0;
        totals.used += pool.totals.used.0;
        totals.exempt += pool.totals.exempt.0;
        totals.available += pool.available().0;
        totals.held += pool.reservations.held().0;
        totals.debits_charged += pool.totals.debits_charged;
        totals.debits_exempt += pool.totals.debits_exempt;
    }
    // I1 says that what is neither used nor in a pool is in transit; whether it holds is checked apart from this.
    let in_pools = totals.available.saturating_add(totals.held);
    totals.in_transit = totals.granted.saturating_sub(totals.used).saturating_sub(in_pools);
    totals
}

fn torn(tail: TornTail) -> TornReport {
    TornReport { file: tail.path, offset: tail.offset, bytes: tail.bytes, lsn: tail.lsn.0 }
}

fn close_of(partition: &PartitionReport) -> &'static str {
    match (partition.frames, partition.closed_cleanly) {
        (0, _) => "empty",
        (_, true) => "clean",
        (_, false) => "not closed",
    }
}

fn text(report: &Report) -> String {
    let row = |partition: &PartitionReport| {
        [
            partition.partition.to_string(),
            number(partition.frames),
            match &partition.stream {
                Some(stream) => format!("{} of {} epochs", number(stream.records), stream.epochs),
                None => partition.segments.to_string(),
            },
            number(partition.last_lsn),
            number(partition.snapshot_lsn),
            partition.organizations.to_string(),
            partition.torn_tail.as_ref().map_or("none".to_owned(), |torn| format!("{} bytes", torn.bytes)),
            close_of(partition).to_owned(),
            if partition.damage.is_empty() { "none" } else { "found" }.to_owned(),
        ]
    };
    let rows: Vec<_> = report.partitions.iter().map(row).collect();
    let head = [
        "partition",
        "frames",
        if report.partitions.iter().any(|partition| partition.stream.is_some()) {
            "records"
        } else {
            "segments"
        },
        "last lsn",
        "snapshot",
        "organizations",
        "torn tail",
        "close",
        "damage",
    ];
    let mut lines = vec![table(head, &rows)];
    for partition in &report.partitions {
        lines.extend(partition.torn_tail.as_ref().map(|torn| {
            format!(
                "{} has a torn tail of {} bytes at byte {}: a group that was never acknowledged; the next start cuts it",
                torn.file.display(),
                torn.bytes,
                torn.offset
            )
        }));
    }
    let totals = &report.totals;
    lines.push(format!(
        "granted {} = used {} + available {} + held {} + in transit {} (exempt {}), {} debits charged, {} exempt",
        number(totals.granted),
        number(totals.used),
        number(totals.available),
        number(totals.held),
        number(totals.in_transit),
        number(totals.exempt),
        number(totals.debits_charged),
        number(totals.debits_exempt)
    ));
    lines.extend(report.audit.as_ref().map(verify_audit::text));
    lines.extend(report.digest.as_ref().map(|digest| format!("digest {digest}")));
    if report.clean {
        lines.push(
            "clean: every frame and snapshot reads back, and every invariant holds; nothing was changed"
                .to_owned(),
        );
    }
    lines.join("\n")
}
