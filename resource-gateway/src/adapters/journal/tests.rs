use std::{
    collections::BTreeSet,
    fs,
    path::Path,
    sync::{Arc, Mutex},
    time::Duration,
};

use async_trait::async_trait;
use proptest::prelude::*;
use service_kit::{SystemEntropy, Timestamp};

use super::{
    Journal, JournalOptions,
    frame::{self, Ending, Piece},
};
use crate::{
    domain::{
        crowding::MOST_COUNTING,
        ids::{ClientId, InterfaceName, NodeId, RequestId, Subject},
        interface::Capability,
        usage::{Charge, UsageRecord, UsageState},
    },
    ports::{
        config_source::{StoreError, StoreResult},
        usage::{UsageBatch, UsageSink as _, UsageStore, UsageUnavailable},
    },
};

fn record(id: &str) -> UsageRecord {
    UsageRecord {
        request_id: RequestId::new(id),
        time: Timestamp::from_seconds(1_900_000_000),
        tenant: None,
        client_id: ClientId::new("service"),
        sub: Subject::new("service"),
        interface: InterfaceName::new("chat"),
        capability: Capability::Chat,
        vendor: None,
        model: None,
        state: UsageState::Completed,
        stream: false,
        input_tokens: 3,
        output_tokens: 5,
        cached_input_tokens: None,
        reasoning_tokens: None,
        estimated: false,
        attempts: 1,
        duration_ms: 12,
        first_byte_ms: Some(4),
        images: 0,
        audio_ms: 0,
        characters: 0,
        cost: None,
        currency: None,
        price: None,
        access_key: None,
        node: None,
        charges: Vec::new(),
    }
}

fn save(journal: &Journal, record: &UsageRecord) {
    journal.take(record).unwrap();
    journal.flush();
}

/// How the store behaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mood {
    Well,
    Away,
    /// Refuses every statement, as without its table.
    Broken,
    /// Never answers.
    Silent,
    /// Takes this many more batches, then is away.
    Tires(usize),
}

/// A table in memory that is unique by request id.
#[derive(Debug)]
struct Table {
    mood: Mutex<Mood>,
    rows: Mutex<BTreeSet<String>>,
    /// Nodes that ended, each with the number of rows that there were by then.
    ended: Mutex<Vec<(String, usize)>>,
}

impl Table {
    fn new(mood: Mood) -> Arc<Self> {
        let rows = Mutex::default();
        let mood = Mutex::new(mood);
        let ended = Mutex::default();
        Arc::new(Self { mood, rows, ended })
    }

    fn set(&self, mood: Mood) {
        *self.mood.lock().unwrap() = mood;
    }

    fn ids(&self) -> Vec<String> {
        self.rows.lock().unwrap().iter().cloned().collect()
    }
}

#[async_trait]
impl UsageStore for Table {
    async fn insert_usage(&self, batch: &UsageBatch) -> StoreResult<()> {
        if *self.mood.lock().unwrap() == Mood::Silent {
            return std::future::pending().await;
        }
        let mut mood = self.mood.lock().unwrap();
        match *mood {
            Mood::Well | Mood::Silent => {}
            Mood::Away | Mood::Tires(0) => return Err(StoreError::Unavailable("gone".into())),
            Mood::Broken => return Err(StoreError::Failed("no such table".into())),
            Mood::Tires(more) => *mood = Mood::Tires(more - 1),
        }
        let records: Vec<UsageRecord> = serde_json::from_str(batch.as_json_array()).unwrap();
        if records
            .iter()
            .any(|record| record.request_id.as_str().contains("poison"))
        {
            return Err(StoreError::Failed("a bad value".into()));
        }
        let ids = records.into_iter().map(|record| record.request_id.to_string());
        self.rows.lock().unwrap().extend(ids);
        Ok(())
    }

    async fn end_node(&self, node: &NodeId) -> StoreResult<()> {
        if *self.mood.lock().unwrap() != Mood::Well {
            return Err(StoreError::Unavailable("gone".into()));
        }
        let rows = self.rows.lock().unwrap().len();
        self.ended.lock().unwrap().push((node.to_string(), rows));
        Ok(())
    }
}

fn options(dir: &Path) -> JournalOptions {
    JournalOptions {
        dir: dir.to_owned(),
        segment_bytes: 2_000,
        drain_interval: Duration::from_millis(1),
        adopt_interval: Duration::ZERO,
        batch_records: 3,
        ..JournalOptions::default()
    }
}

fn open(options: JournalOptions, table: &Arc<Table>) -> Journal {
    Journal::open(options, Arc::clone(table) as _, &SystemEntropy).unwrap()
}

fn ids(range: std::ops::Range<usize>) -> Vec<String> {
    range.map(|at| format!("r{at:03}")).collect()
}

/// Segments and directories that are left.
fn files(dir: &Path) -> usize {
    let homes = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    homes
        .filter(|path| path.is_dir())
        .map(|path| fs::read_dir(path).unwrap().count())
        .sum()
}

fn read_all(bytes: &[u8]) -> (Vec<String>, bool, bool) {
    let (mut at, mut ids, mut damaged) = (0, Vec::new(), false);
    loop {
        match frame::read(bytes, at, Ending::Final) {
            Piece::Record { text, end } => {
                let record: UsageRecord = serde_json::from_str(text).unwrap();
                ids.push(record.request_id.to_string());
                at = end;
            }
            Piece::Damage { end } => {
                damaged = true;
                at = end;
            }
            Piece::Torn => return (ids, damaged, true),
            Piece::End => return (ids, damaged, false),
            Piece::Partial => unreachable!("nothing follows what is final"),
        }
    }
}

fn three() -> (Vec<u8>, Vec<usize>) {
    let (mut bytes, mut ends) = (Vec::new(), Vec::new());
    for id in ["a", "b", "c"] {
        bytes.extend(frame::encode(&record(id)).unwrap());
        ends.push(bytes.len());
    }
    (bytes, ends)
}

#[test]
fn a_journal_cut_at_any_byte_keeps_every_record_before_the_cut() {
    let (bytes, ends) = three();
    for cut in 0..=bytes.len() {
        let whole = ends.iter().filter(|end| **end <= cut).count();
        let (ids, damaged, torn) = read_all(&bytes[..cut]);
        assert_eq!(ids, ["a", "b", "c"][..whole], "cut at {cut}");
        assert!(!damaged);
        assert_eq!(torn, cut != 0 && !ends.contains(&cut), "cut at {cut}");
    }
}

#[test]
fn one_changed_byte_costs_one_record() {
    let (bytes, ends) = three();
    for at in 0..bytes.len() {
        let mut changed = bytes.clone();
        changed[at] ^= 0x20;
        let hit = ends.iter().filter(|end| **end <= at).count();
        let (ids, ..) = read_all(&changed);
        let wanted: Vec<_> = ["a", "b", "c"]
            .into_iter()
            .enumerate()
            .filter(|(place, _)| *place != hit)
            .collect();
        assert_eq!(ids, wanted.iter().map(|(_, id)| *id).collect::<Vec<_>>(), "byte {at}");
    }
}

#[test]
fn zeros_behind_the_last_record_are_a_torn_tail() {
    let (mut bytes, _) = three();
    bytes.extend([0; 4096]);
    let (ids, damaged, torn) = read_all(&bytes);
    assert_eq!((ids.len(), damaged, torn), (3, false, true));
}

#[test]
fn numbers_and_texts_that_a_database_refuses_become_ones_that_it_takes() {
    let mut odd = record("odd");
    odd.input_tokens = u64::MAX;
    odd.sub = Subject::new("nul\0 and \\u0000");
    let bytes = frame::encode(&odd).unwrap();
    let Piece::Record { text, .. } = frame::read(&bytes, 0, Ending::Final) else {
        panic!("no record");
    };
    let back: UsageRecord = serde_json::from_str(text).unwrap();
    assert_eq!(back.input_tokens, i64::MAX.unsigned_abs());
    assert!(!back.sub.as_str().contains('\0'));
}

#[test]
fn a_record_without_end_is_refused() {
    let mut long = record("long");
    long.sub = Subject::new("x".repeat(frame::MAX_PAYLOAD));
    assert!(frame::encode(&long).is_err());
}

#[test]
fn a_record_with_too_many_charges_is_kept_without_them() {
    let mut long = record("long");
    let charge = |at: usize| Charge {
        key: format!("{at}{}", "k".repeat(1000)),
        budget: None,
        period: Timestamp::from_seconds(0),
    };
    // As many as may count a call, of the longest keys, and a grant's.
    long.charges = (0..=MOST_COUNTING).map(charge).collect();
    let (frame, shortened) = frame::encode_shortened(&long).unwrap();
    assert!(!shortened);
    let longest = frame.len();
    long.charges = (0..1000).map(charge).collect();
    let (frame, shortened) = frame::encode_shortened(&long).unwrap();
    assert!(shortened && frame.len() < longest);
    let Piece::Record { text, .. } = frame::read(&frame, 0, Ending::Final) else {
        panic!("no record");
    };
    let back: UsageRecord = serde_json::from_str(text).unwrap();
    assert_eq!((back.request_id.as_str(), back.charges.len()), ("long", 0));
}

proptest! {
    #[test]
    fn noise_between_records_never_hides_or_forges_one(
        noise in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..60), 4),
        sub in ".{0,40}",
    ) {
        let mut bytes = noise[0].clone();
        for (at, noise) in noise.iter().enumerate().skip(1) {
            let mut record = record(&format!("r{at}"));
            record.sub = Subject::new(sub.as_str());
            bytes.extend(frame::encode(&record).unwrap());
            bytes.extend(noise);
        }
        prop_assert_eq!(read_all(&bytes).0, ["r1", "r2", "r3"]);
    }
}

#[tokio::test]
async fn records_reach_the_database_and_leave_the_disk() {
    let dir = tempfile::tempdir().unwrap();
    let table = Table::new(Mood::Well);
    let journal = open(options(dir.path()), &table);
    for id in ids(0..20) {
        save(&journal, &record(&id));
    }
    assert_eq!(journal.status().pending_records, 20);
    assert!(files(dir.path()) > 5, "several segments were begun");
    assert!(journal.finish(Duration::from_secs(5)).await);
    assert_eq!(table.ids(), ids(0..20));
    let status = journal.status();
    assert_eq!((status.pending_bytes, status.pending_records), (0, 0));
    assert_eq!(files(dir.path()), 3, "lock, position and the segment under the pen");
}

#[tokio::test]
async fn what_is_taken_is_written_together_when_it_is_flushed_and_soon_without_that() {
    let dir = tempfile::tempdir().unwrap();
    let table = Table::new(Mood::Away);
    let options = JournalOptions {
        dir: dir.path().to_owned(),
        ..JournalOptions::default()
    };
    let journal = open(options, &table);
    let segment = journal.drain.lock().await.own_segment();
    let length = || fs::metadata(&segment).unwrap().len();
    for id in ids(0..3) {
        journal.take(&record(&id)).unwrap();
    }
    let status = journal.status();
    assert_eq!((length(), status.pending_records), (0, 3), "counted, not written");
    journal.flush();
    assert_eq!(length(), status.pending_bytes);
    journal.take(&record("r003")).unwrap();
    journal.turn().await;
    assert!(length() > status.pending_bytes);
    table.set(Mood::Well);
    assert!(journal.finish(Duration::from_secs(5)).await);
    assert_eq!(table.ids(), ids(0..4));
}

#[tokio::test]
async fn what_a_dead_process_left_is_handed_over_once_whatever_it_had_done_already() {
    // The first life ends after so many batches; the position may be lost on top.
    for batches in 0..8 {
        for lose_position in [false, true] {
            let dir = tempfile::tempdir().unwrap();
            let table = Table::new(Mood::Tires(batches));
            let first = open(options(dir.path()), &table);
            for id in ids(0..20) {
                save(&first, &record(&id));
            }
            assert!(!first.finish(Duration::from_millis(20)).await);
            drop(first);
            if lose_position {
                for home in fs::read_dir(dir.path()).unwrap() {
                    fs::write(home.unwrap().path().join("position"), b"garbage").unwrap();
                }
            }
            let second = open(options(dir.path()), &table);
            assert!(second.status().pending_bytes > 0);
            save(&second, &record("r020"));
            table.set(Mood::Well);
            assert!(second.finish(Duration::from_secs(5)).await);
            assert_eq!(
                table.ids(),
                ids(0..21),
                "{batches} batches, position lost: {lose_position}"
            );
            assert_eq!(files(dir.path()), 3, "the dead process's directory is gone");
        }
    }
}

#[tokio::test]
async fn a_living_process_keeps_its_own_journal() {
    let dir = tempfile::tempdir().unwrap();
    let (a_table, b_table) = (Table::new(Mood::Away), Table::new(Mood::Well));
    let a = open(options(dir.path()), &a_table);
    let b = open(options(dir.path()), &b_table);
    save(&a, &record("a"));
    save(&b, &record("b"));
    assert!(b.finish(Duration::from_secs(5)).await);
    assert_eq!(b_table.ids(), ["b"]);
    drop(a);
    b.turn().await;
    assert_eq!(b_table.ids(), ["a", "b"]);
}

#[tokio::test]
async fn what_a_dead_process_holds_is_let_go_once_its_last_record_is_there() {
    let dir = tempfile::tempdir().unwrap();
    let table = Table::new(Mood::Away);
    let first = open(options(dir.path()), &table);
    for id in ids(0..20) {
        save(&first, &record(&id));
    }
    let node = first.node().to_string();
    drop(first);
    let second = open(options(dir.path()), &table);
    second.turn().await;
    assert!(table.ended.lock().unwrap().is_empty());
    table.set(Mood::Well);
    assert!(second.finish(Duration::from_secs(5)).await);
    assert_eq!(*table.ended.lock().unwrap(), [(node, 20)]);
    // A process that lives ends nothing of its own.
    second.turn().await;
    assert_eq!(table.ended.lock().unwrap().len(), 1);
}

#[tokio::test]
async fn a_torn_tail_of_a_dead_process_costs_nothing_else() {
    let dir = tempfile::tempdir().unwrap();
    let table = Table::new(Mood::Away);
    let first = open(options(dir.path()), &table);
    save(&first, &record("whole"));
    let segment = first.drain.lock().await.own_segment();
    drop(first);
    let torn = frame::encode(&record("torn")).unwrap();
    let mut bytes = fs::read(&segment).unwrap();
    bytes.extend(&torn[..torn.len() / 2]);
    fs::write(&segment, bytes).unwrap();
    table.set(Mood::Well);
    let second = open(options(dir.path()), &table);
    assert!(second.finish(Duration::from_secs(5)).await);
    assert_eq!(table.ids(), ["whole"]);
    assert_eq!(second.status().damaged_bytes, 0);
}

#[tokio::test]
async fn new_calls_are_refused_at_the_cap_and_admitted_again_below_it() {
    let dir = tempfile::tempdir().unwrap();
    let table = Table::new(Mood::Away);
    let cap_bytes = 1_500;
    let capped = JournalOptions {
        cap_bytes,
        ..options(dir.path())
    };
    let journal = open(capped.clone(), &table);
    let mut taken = 0;
    while journal.admit().is_ok() {
        save(&journal, &record(&format!("r{taken:03}")));
        taken += 1;
    }
    assert!(taken > 1);
    assert!(matches!(journal.admit(), Err(UsageUnavailable::Full { bytes, cap }) if bytes >= cap && cap == cap_bytes));
    journal.turn().await;
    let status = journal.status();
    assert!(status.refusing.unwrap().contains("its cap is 1500"));
    assert!(status.store_error.unwrap().contains("unavailable"));
    // A refused call finds none, one that was admitted before still does.
    let refused = UsageRecord {
        state: UsageState::Rejected,
        ..record("refused")
    };
    assert!(matches!(journal.take(&refused), Err(UsageUnavailable::Full { .. })));
    save(&journal, &record(&format!("r{taken:03}")));
    drop(journal);

    // The cap holds over a restart.
    let journal = open(capped, &table);
    assert!(journal.admit().is_err());
    table.set(Mood::Well);
    assert!(journal.finish(Duration::from_secs(5)).await);
    journal.admit().unwrap();
    assert_eq!(table.ids(), ids(0..taken + 1));
    assert_eq!(journal.status().store_error, None);
}

#[tokio::test]
async fn one_record_that_the_database_refuses_is_set_aside_and_the_others_go_on() {
    let dir = tempfile::tempdir().unwrap();
    let table = Table::new(Mood::Well);
    let journal = open(options(dir.path()), &table);
    for id in ["r000", "poison", "r001", "r002", "r003"] {
        save(&journal, &record(id));
    }
    assert!(journal.finish(Duration::from_secs(5)).await);
    assert_eq!(table.ids(), ids(0..4));
    assert_eq!(journal.status().refused_records, 1);
    let aside = fs::read_to_string(dir.path().join("refused.jsonl")).unwrap();
    assert_eq!(aside.lines().count(), 1);
    assert!(aside.contains("poison"));
}

#[tokio::test]
async fn a_database_that_refuses_everything_gets_nothing_set_aside() {
    let dir = tempfile::tempdir().unwrap();
    let table = Table::new(Mood::Broken);
    let journal = open(options(dir.path()), &table);
    save(&journal, &record("r000"));
    assert!(!journal.finish(Duration::from_millis(20)).await);
    assert_eq!(journal.status().refused_records, 0);
    table.set(Mood::Well);
    assert!(journal.finish(Duration::from_secs(5)).await);
    assert_eq!(table.ids(), ["r000"]);
}

#[tokio::test]
async fn a_database_that_never_answers_counts_as_away() {
    let dir = tempfile::tempdir().unwrap();
    let table = Table::new(Mood::Silent);
    let options = JournalOptions {
        store_timeout: Duration::from_millis(10),
        ..options(dir.path())
    };
    let journal = open(options, &table);
    save(&journal, &record("r000"));
    journal.turn().await;
    assert!(journal.status().store_error.unwrap().contains("does not answer"));
    table.set(Mood::Well);
    assert!(journal.finish(Duration::from_secs(5)).await);
    assert_eq!(table.ids(), ["r000"]);
}

#[tokio::test]
async fn a_disk_that_refuses_stops_new_calls_and_loses_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let table = Table::new(Mood::Well);
    let journal = open(options(dir.path()), &table);
    // The next segment cannot be begun.
    let mut next = journal.drain.lock().await.own_segment();
    next.set_file_name("segment-0000000002");
    fs::create_dir(&next).unwrap();
    let mut taken = 0;
    while journal.admit().is_ok() {
        save(&journal, &record(&format!("r{taken:03}")));
        taken += 1;
    }
    assert!(matches!(journal.admit(), Err(UsageUnavailable::Disk(_))));
    // Of a call that was admitted before.
    save(&journal, &record(&format!("r{taken:03}")));
    assert!(matches!(journal.admit(), Err(UsageUnavailable::Disk(_))));
    fs::remove_dir(&next).unwrap();
    journal.flush();
    assert!(journal.admit().is_err(), "the disk is tried again by the drain alone");
    assert!(journal.finish(Duration::from_secs(5)).await);
    journal.admit().unwrap();
    assert_eq!(table.ids(), ids(0..taken + 1));
    assert_eq!(journal.status().lost_records, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn many_threads_and_a_running_drain_lose_and_double_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let table = Table::new(Mood::Well);
    let options = JournalOptions {
        batch_records: 100,
        segment_bytes: 50_000,
        ..options(dir.path())
    };
    let journal = Arc::new(open(options, &table));
    let tasks = service_kit::Tasks::default();
    let stop = tasks.stop_token();
    let following = Arc::clone(&journal);
    tasks.spawn(async move { following.follow(stop).await });
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let journal = &journal;
            scope.spawn(move || {
                for at in 0..500 {
                    save(journal, &record(&format!("{thread}-{at}")));
                }
            });
        }
    });
    assert!(tasks.drain(Duration::from_secs(5)).await);
    assert!(journal.finish(Duration::from_secs(10)).await);
    assert_eq!(table.ids().len(), 2000);
    assert_eq!(journal.status().damaged_bytes, 0);
}
