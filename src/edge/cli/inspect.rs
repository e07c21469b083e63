//! `weir inspect`: what a stopped data directory holds, for people.
//!
//! Reads only. Names of organizations and cameras come from a replay; where damage keeps that from its end, numbers stand
//! in their place. Secrets and key hashes are never shown.

use std::path::PathBuf;
use std::sync::Arc;

use clap::Args;
use serde::Serialize;
use serde_json::{Value, json};

use crate::domain::ids::{Lsn, OrgNumber};
use crate::storage::event_codec::{self, DecodedDebits};
use crate::storage::reader::{self, Start};
use crate::storage::replay::PartitionState;
use crate::storage::{
    Fault, FrameRef, Home, Layout, Manifest, RealDisk, recovery, replay, snapshot, snapshot_codec,
};

use super::data_key::time_text;
use super::failure::Failure;
use super::inspect_frame::{self, Names};
use super::output::{number, print, print_json, table};
use super::verify;

/// What to inspect.
#[derive(Args, Debug)]
pub struct InspectArgs {
    /// The data directory; no server may hold it.
    pub directory: PathBuf,
    /// Only this partition.
    #[arg(long, value_name = "N")]
    pub partition: Option<u16>,
    /// The first frame to show.
    #[arg(long, value_name = "LSN", default_value_t = 1)]
    pub from: u64,
    /// How many frames to show of each partition; 0 for none.
    #[arg(long, value_name = "N", default_value_t = 100)]
    pub limit: usize,
    /// Show every debit of a frame.
    #[arg(long)]
    pub rows: bool,
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Serialize)]
struct PartitionView {
    partition: u16,
    segments: Vec<SegmentView>,
    snapshots: Vec<SnapshotView>,
    frames: Vec<FrameView>,
    /// Whether frames follow after those that are shown.
    more: bool,
    damage: Option<String>,
}

#[derive(Debug, Serialize)]
struct SegmentView {
    file: String,
    first_lsn: u64,
    bytes: u64,
}

#[derive(Debug, Serialize)]
struct SnapshotView {
    file: String,
    lsn: u64,
    bytes: usize,
    organizations: usize,
    cameras: u64,
    available: u64,
    used: u64,
    transfers: usize,
    api_keys: usize,
    damage: Option<String>,
}

#[derive(Debug, Serialize)]
struct FrameView {
    lsn: u64,
    offset: usize,
    bytes: usize,
    kind: &'static str,
    version: u8,
    #[serde(flatten)]
    content: Value,
}

/// Runs it.
pub(super) fn run(args: &InspectArgs) -> Result<(), Failure> {
    let (manifest, layout, _lock) = verify::open(&args.directory)?;
    if args.partition.is_some_and(|partition| partition >= manifest.partitions) {
        let message = format!("the directory has partitions 0 to {}", manifest.partitions.saturating_sub(1));
        return Err(Failure::usage(message));
    }
    let wanted = (0..manifest.partitions).filter(|number| args.partition.is_none_or(|only| only == *number));
    let views: Result<Vec<_>, _> = wanted.map(|number| partition(args, &manifest, &layout, number)).collect();
    let views = views?;
    if args.json {
        print_json(&json!({
            "directory": args.directory, "manifest": manifest_value(&manifest), "partitions": views
        }));
    } else {
        print_text(&manifest, &views);
    }
    let damage: Vec<_> = views.iter().flat_map(damage_of).collect();
    if damage.is_empty() { Ok(()) } else { Err(Failure::new(damage.join("\n"))) }
}

fn damage_of(view: &PartitionView) -> impl Iterator<Item = String> {
    let snapshots = view.snapshots.iter().filter_map(|snapshot| snapshot.damage.clone());
    snapshots.chain(view.damage.clone())
}

fn manifest_value(manifest: &Manifest) -> Value {
    json!({
        "id": manifest.directory.to_string(), "partitions": manifest.partitions,
        "created_at": crate::domain::time::Timestamp::from_ms(manifest.created_at_ms).map(time_text).ok()
    })
}

fn partition(
    args: &InspectArgs,
    manifest: &Manifest,
    layout: &Layout,
    number: u16,
) -> Result<PartitionView, Failure> {
    let home = Home {
        disk: Arc::new(RealDisk),
        layout: layout.clone(),
        partition: number,
        directory: manifest.directory,
    };
    let mut view = PartitionView {
        partition: number,
        segments: Vec::new(),
        snapshots: Vec::new(),
        frames: Vec::new(),
        more: false,
        damage: None,
    };
    if !layout.journal(number).exists() {
        view.damage = replay::check_made(&home, Lsn(1)).err().map(|fault| fault.to_string());
        return Ok(view);
    }
    let segments = reader::list_segments(&home).map_err(verify::failure)?;
    for first in &segments {
        let path = layout.segment(number, *first);
        let bytes = std::fs::metadata(&path).map_err(|error| Failure::usage(error.to_string()))?.len();
        view.segments.push(SegmentView { file: path.display().to_string(), first_lsn: first.0, bytes });
    }
    for lsn in snapshot::list(&home).map_err(verify::failure)? {
        view.snapshots.push(snapshot_view(&home, lsn));
    }
    if args.limit > 0 {
        frames(args, &home, &mut view);
    }
    Ok(view)
}

fn frames(args: &InspectArgs, home: &Home, view: &mut PartitionView) {
    let mut state = PartitionState::default();
    // Whatever keeps the replay from its end is met again, and told, when the frames themselves are read.
    drop(state.scan(home));
    let mut debits = DecodedDebits::new();
    let read = recovery::scan_partition(home, Start::Oldest, &mut |frame| {
        if frame.meta.lsn.0 < args.from {
            return Ok(());
        }
        if view.frames.len() == args.limit {
            view.more = true;
            return Ok(());
        }
        view.frames.push(frame_view(args, &state, frame, &mut debits)?);
        Ok(())
    });
    view.damage = read.err().map(|fault| fault.to_string());
}

fn frame_view(
    args: &InspectArgs,
    state: &PartitionState,
    frame: FrameRef<'_>,
    debits: &mut DecodedDebits,
) -> Result<FrameView, Fault> {
    let undecodable = |what: String| Fault::Undecodable { lsn: frame.meta.lsn, what };
    let (kind, content) = match frame.meta.kind {
        event_codec::DEBITS => {
            event_codec::decode_debits(frame.body, debits).map_err(|error| undecodable(error.to_string()))?;
            let names = names(state, debits.org);
            ("debits", inspect_frame::debits(&names, debits.charges(), args.rows))
        }
        event_codec::ORG_EVENT => {
            let read = event_codec::decode_org_event(frame.body);
            let (org, event) = read.map_err(|error| undecodable(error.to_string()))?;
            ("event", inspect_frame::event(&names(state, org), &event))
        }
        event_codec::REGISTRY_EVENT => {
            let read = event_codec::decode_registry_event(frame.body);
            (
                "registry",
                inspect_frame::registry_event(&read.map_err(|error| undecodable(error.to_string()))?),
            )
        }
        event_codec::CLOSED => ("closed", json!({})),
        _ => ("unknown", json!({})),
    };
    let (lsn, version) = (frame.meta.lsn.0, frame.meta.version);
    Ok(FrameView { lsn, offset: frame.offset, bytes: frame.body.len(), kind, version, content })
}

fn names(state: &PartitionState, org: OrgNumber) -> Names<'_> {
    Names { number: org, pool: state.pools.get(org.index()).and_then(Option::as_ref) }
}

fn snapshot_view(home: &Home, lsn: Lsn) -> SnapshotView {
    let file = home.layout.snapshot(home.partition, lsn).display().to_string();
    let mut view = SnapshotView {
        file,
        lsn: lsn.0,
        bytes: 0,
        organizations: 0,
        cameras: 0,
        available: 0,
        used: 0,
        transfers: 0,
        api_keys: 0,
        damage: None,
    };
    let loaded = match snapshot::load(home, lsn) {
        Ok(loaded) => loaded,
        Err(fault) => return SnapshotView { damage: Some(fault.to_string()), ..view },
    };
    view.bytes = loaded.body.len();
    match snapshot_codec::decode(&loaded.body) {
        Err(error) => view.damage = Some(format!("{}: {error}; nothing was changed", view.file)),
        Ok(decoded) => {
            view.organizations = decoded.pools.len();
            let pools = || decoded.pools.iter().map(|(_, pool)| pool);
            view.cameras = pools().map(|pool| u64::from(pool.cameras.registered())).sum();
            view.available = pools().map(|pool| pool.available().0).sum();
            view.used = pools().map(|pool| pool.totals.used.0).sum();
            if let Some(registry) = &decoded.registry {
                (view.transfers, view.api_keys) = (registry.transfers.len(), registry.api_keys.len());
            }
        }
    }
    view
}

fn print_text(manifest: &Manifest, views: &[PartitionView]) {
    print(&format!("directory {} with {} partitions", manifest.directory, manifest.partitions));
    for view in views {
        print(&format!("\npartition {}", view.partition));
        for segment in &view.segments {
            let bytes = number(segment.bytes);
            print(&format!("segment {} from lsn {}: {bytes} bytes", segment.file, segment.first_lsn));
        }
        for snapshot in &view.snapshots {
            print(&format!(
                "snapshot {}: {} organizations, {} cameras, {} available, {} used",
                snapshot.file,
                snapshot.organizations,
                number(snapshot.cameras),
                number(snapshot.available),
                number(snapshot.used)
            ));
        }
        if !view.frames.is_empty() {
            let rows: Vec<_> = view.frames.iter().map(frame_row).collect();
            print(&table(["lsn", "offset", "kind", "organization", "at", "what"], &rows));
        }
        if view.more {
            let next = view.frames.last().map_or(1, |frame| frame.lsn + 1);
            print(&format!(
                "more frames follow; show them with --partition {} --from {next}",
                view.partition
            ));
        }
    }
}

fn frame_row(frame: &FrameView) -> [String; 6] {
    let text = |name: &str| super::output::field(&frame.content, name);
    let (lsn, offset) = (frame.lsn.to_string(), frame.offset.to_string());
    [
        lsn,
        offset,
        frame.kind.to_owned(),
        text("organization"),
        text("at"),
        inspect_frame::words(&frame.content),
    ]
}
