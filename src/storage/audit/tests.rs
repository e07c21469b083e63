//! The audit log on a simulated disk: pages, acts that a crash interrupted, crashes at every operation, damage.

use super::*;
use crate::storage::SimDisk;
use crate::storage::sim_disk::CrashPlan;

/// The body of the first entry, as version 1 has it.
const FROZEN: &str = concat!(
    "83a361637489a26174cf000001a3185c5001a56163746f72a8636f72703a616e6ea6697373756572b268747470733a2f",
    "2f69642e6578616d706c65a77375626a656374a3616e6ea465646765a468747470a470656572a831302e302e302e37a3",
    "616374af72656769737465725f63616d657261ad6f7267616e697a6174696f6e7391a56e6f727468a6746172676574a8",
    "63616d6572612d31a3656e64c0ab6f6c646573745f6f70656e01",
);

fn log_on(disk: &SimDisk) -> Result<(AuditLog, Vec<(Lsn, Act)>)> {
    let disk: Arc<dyn Disk> = Arc::new(disk.clone());
    AuditLog::open(home(&disk, &Layout::new("d"), DirectoryId([7; 16])))
}

fn opened(disk: &SimDisk) -> AuditLog {
    log_on(disk).expect("it opens").0
}

fn act(number: u64, organization: &str) -> Act {
    Act {
        at: Timestamp::from_ms(1_800_000_000_000 + number).expect("a time"),
        actor: ActorId::new("corp:ann").expect("an id"),
        issuer: Some("https://id.example".to_owned()),
        subject: Some("ann".to_owned()),
        edge: "http".to_owned(),
        peer: Some("10.0.0.7".to_owned()),
        act: "register_camera".to_owned(),
        organizations: vec![OrgId::new(organization).expect("an id")],
        target: Some(format!("camera-{number}")),
    }
}

fn end(begun: Option<Lsn>) -> Option<End> {
    Some(End { begun, outcome: "done".to_owned(), unrecorded: 0 })
}

/// Records an act with its outcome, in two groups.
fn record(log: &mut AuditLog, number: u64, organization: &str) -> Result<()> {
    let begun = log.append(vec![(act(number, organization), None)])?;
    log.append(vec![(act(number, organization), end(Some(begun)))]).map(drop)
}

/// The numbers of all ended acts of an organization, page by page, as they were told: newest first.
fn numbers(log: &AuditLog, organization: &str, rows: usize) -> Vec<u64> {
    let (mut numbers, mut below) = (Vec::new(), None);
    let wanted = |act: &Act| act.organizations[0].as_str() == organization;
    loop {
        let page = log.page(below, rows, &wanted).expect("readable");
        assert!(page.acts.len() <= rows);
        numbers.extend(page.acts.iter().map(|ended| ended.act.at.ms() - 1_800_000_000_000));
        below = page.next;
        if below.is_none() {
            return numbers;
        }
    }
}

#[test]
fn the_bytes_of_an_entry_are_frozen() {
    let disk = SimDisk::new();
    opened(&disk).append(vec![(act(1, "north"), None)]).expect("durable");
    let path = Layout::new("d").audit().segment(0, Lsn(1));
    let bytes = disk.read(&path).expect("read");
    let Next::Frame(frame) = frame::next(&bytes, SEGMENT_HEADER_BYTES) else { panic!("a frame") };
    assert_eq!((frame.meta.kind, frame.meta.version), (253, 1));
    let hex: String = frame.body.iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(hex, FROZEN);
}

#[test]
fn acts_are_listed_newest_first_in_pages_of_any_size_over_many_segments() {
    let disk = SimDisk::new();
    let mut log = opened(&disk);
    for number in 0..3_000 {
        record(&mut log, number, if number % 3 == 0 { "north" } else { "south" }).expect("durable");
    }
    let expected: Vec<u64> = (0..3_000).rev().filter(|number| number % 3 == 0).collect();
    for log in [log, opened(&disk)] {
        for rows in [1_000, 7] {
            assert_eq!(numbers(&log, "north", rows), expected, "{rows} rows");
        }
        assert!(numbers(&log, "nobody", 10).is_empty());
    }
}

#[test]
fn an_act_without_an_outcome_is_found_at_the_next_opening_however_long_ago_it_began() {
    let disk = SimDisk::new();
    let mut log = opened(&disk);
    record(&mut log, 0, "north").expect("durable");
    let lost = log.append(vec![(act(1, "north"), None)]).expect("durable");
    for number in 2..1_500 {
        record(&mut log, number, "north").expect("durable");
    }
    let (mut log, open) = log_on(&disk).expect("it opens");
    assert_eq!(open, [(lost, act(1, "north"))]);
    log.append(vec![(act(1, "north"), end(Some(lost)))]).expect("durable");
    assert_eq!(log_on(&disk).expect("it opens").1, []);
}

#[test]
fn a_crash_at_every_operation_and_inside_every_write_leaves_what_was_durable_and_a_log_that_goes_on() {
    let done =
        |log: &mut AuditLog| (0..40).take_while(|number| record(log, *number, "north").is_ok()).count();
    let disk = SimDisk::new();
    let whole = done(&mut opened(&disk));
    assert_eq!(whole, 40);
    let operations = disk.operations();
    for stop in (0..operations).step_by(3) {
        for bytes in [0, 30, 200] {
            let disk = SimDisk::new();
            disk.stop_at(stop, bytes);
            let acknowledged = log_on(&disk).map_or(0, |(mut log, _)| done(&mut log));
            for after in [disk.restart(), disk.crash(CrashPlan::LoseUnsynced)] {
                let (mut log, open) = log_on(&after).expect("a legal prefix");
                let kept = numbers(&log, "north", 100);
                assert!(kept.len() >= acknowledged && open.len() <= 1, "{stop} {bytes}: {kept:?} {open:?}");
                let newest = u64::try_from(kept.len()).expect("few");
                assert_eq!(kept, (0..newest).rev().collect::<Vec<_>>(), "{stop} {bytes}");
                record(&mut log, newest, "north").expect("it goes on");
                assert_eq!(numbers(&opened(&after), "north", 100).len(), kept.len() + 1);
            }
        }
    }
}

#[test]
fn a_log_that_could_not_be_written_once_writes_nothing_more() {
    let disk = SimDisk::new();
    let mut log = opened(&disk);
    record(&mut log, 0, "north").expect("durable");
    disk.fail_sync(0);
    drop(record(&mut log, 1, "north").expect_err("the medium does not have it"));
    let fault = record(&mut log, 2, "north").expect_err("it stopped");
    assert!(matches!(fault, Fault::Poisoned { .. }), "{fault}");
    assert_eq!(numbers(&log, "north", 10), [0]);
}

#[test]
fn entries_of_a_newer_release_and_damage_are_told_and_nothing_is_changed() {
    let disk = SimDisk::new();
    let mut log = opened(&disk);
    (0..3).for_each(|number| record(&mut log, number, "north").expect("durable"));
    let path = Layout::new("d").audit().segment(0, Lsn(1));
    let mut bytes = disk.read(&path).expect("read");
    bytes[SEGMENT_HEADER_BYTES + 40] ^= 1;
    disk.tamper(&path, &bytes);
    assert!(matches!(log_on(&disk), Err(Fault::Corrupt { .. })));
    assert_eq!(disk.read(&path).expect("read"), bytes);
}
