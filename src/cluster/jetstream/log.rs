//! The log of one partition on JetStream.

use std::error::Error as _;
use std::sync::Arc;
use std::time::Duration;

use async_nats::HeaderMap;
use async_nats::header::{NATS_EXPECTED_LAST_SUBJECT_SEQUENCE, NATS_EXPECTED_STREAM, NATS_MESSAGE_ID};
use async_nats::jetstream::consumer::DeliverPolicy;
use async_nats::jetstream::consumer::pull::OrderedConfig;
use async_nats::jetstream::context::{Context, PublishError, PublishErrorKind};
use async_nats::jetstream::object_store::{DeleteErrorKind, GetErrorKind};
use async_nats::jetstream::stream::{LastRawMessageErrorKind, Stream};
use async_nats::jetstream::{self, ErrorCode};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE;
use tokio::io::AsyncReadExt as _;
use tokio::sync::mpsc;

use crate::cluster::remote::{Answer, OnRecord, Remote, Stored};

use super::streams::Journal;
use super::{Keeper, PATIENCE, Threads, next, told};

/// A snapshot may take so long.
const SLOW: Duration = Duration::from_secs(60);
/// How long the last record may take to be told.
const LAST: Duration = Duration::from_millis(500);
/// A subject is free again after so long.
const BUSY: Duration = Duration::from_micros(500);
/// Records are handed over in chunks of so many bytes or records, and so many chunks wait at most.
const CHUNK_BYTES: usize = 1 << 20;
const CHUNK_RECORDS: usize = 1_024;
const CHUNKS_MAX: usize = 2;
const PAUSE_MIN: Duration = Duration::from_millis(5);
/// A stream whose leader died has none for four to nine seconds, and serves again at once when it has one.
const PAUSE_MAX: Duration = Duration::from_millis(500);

/// The log of a partition, and its snapshots.
#[derive(Clone, Debug)]
pub struct JetStreamLog {
    keeper: Arc<Keeper>,
    journal: Journal,
    subject: String,
    /// How the names of its snapshots begin.
    prefix: String,
}

impl JetStreamLog {
    pub(super) fn new(keeper: Arc<Keeper>, partition: u16) -> Self {
        let journal = keeper.journal(partition).clone();
        let subject = format!("{}.p{partition:03}", journal.prefix);
        Self { keeper, journal, subject, prefix: format!("p{partition:03}/") }
    }

    fn object(&self, name: &str) -> String {
        format!("{}{name}", self.prefix)
    }
}

impl Remote for JetStreamLog {
    fn place(&self) -> String {
        format!("the log {}", self.subject)
    }

    fn append(&self, record: &[u8], expected: u64, id: &str) -> Answer {
        self.append_and(record, expected, id, &mut || {})
    }

    fn append_and(&self, record: &[u8], expected: u64, id: &str, meanwhile: &mut dyn FnMut()) -> Answer {
        let to = (self.subject.clone(), self.journal.name.clone());
        let answer = append(&self.keeper, to, (record, expected), Some(id), meanwhile);
        if matches!(answer, Answer::Stored(_)) {
            self.journal.watch.kept();
        }
        answer
    }

    fn last(&self) -> Result<Option<Stored>, String> {
        last(&self.keeper.threads, self.journal.stream.clone(), self.subject.clone())
    }

    fn read(&self, from: u64, until: u64, on_record: &mut OnRecord<'_>) -> Result<(), String> {
        if until == 0 || from > until {
            return Ok(());
        }
        let (stream, filter_subject) = (self.journal.stream.clone(), self.subject.clone());
        let (arrived, mut chunks) = mpsc::channel(CHUNKS_MAX);
        self.keeper.threads.spawn(async move {
            if let Err(why) = follow(&stream, filter_subject, (from, until), &arrived).await {
                _ = arrived.send(Err(why)).await;
            }
        });
        while let Some(chunk) = chunks.blocking_recv() {
            for record in chunk? {
                if on_record(record)?.is_break() {
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    fn first_from(&self, sequence: u64) -> Result<Option<Stored>, String> {
        let (stream, subject) = (self.journal.stream.clone(), self.subject.clone());
        let first = async move {
            match stream.get_first_raw_message_by_subject(subject, sequence).await {
                Ok(first) => Ok(Some(Stored { sequence: first.sequence, bytes: first.payload.to_vec() })),
                Err(error) if error.kind() == LastRawMessageErrorKind::NoMessageFound => Ok(None),
                Err(error) => Err(told(&error)),
            }
        };
        self.keeper.threads.wait(PATIENCE, first)
    }

    fn purge_before(&self, sequence: u64) -> Result<(), String> {
        let (stream, subject) = (self.journal.stream.clone(), self.subject.clone());
        let purge = async move {
            let purged = stream.purge().filter(subject).sequence(sequence).await;
            purged.map(drop).map_err(|error| told(&error))
        };
        self.keeper.threads.wait(SLOW, purge)
    }

    fn put(&self, name: &str, bytes: &[u8]) -> Result<(), String> {
        let (snapshots, name, bytes) = (self.keeper.snapshots.clone(), self.object(name), bytes.to_vec());
        let put = async move {
            let put = snapshots.put(name.as_str(), &mut &bytes[..]).await;
            put.map(drop).map_err(|error| told(&error))
        };
        self.keeper.threads.wait(SLOW, put)
    }

    fn get(&self, name: &str) -> Result<Option<Vec<u8>>, String> {
        let (snapshots, name) = (self.keeper.snapshots.clone(), self.object(name));
        let get = async move {
            let mut object = match snapshots.get(&name).await {
                Ok(object) => object,
                Err(error) if error.kind() == GetErrorKind::NotFound => return Ok(None),
                Err(error) => return Err(told(&error)),
            };
            let mut bytes = Vec::new();
            object.read_to_end(&mut bytes).await.map_err(|error| error.to_string())?;
            Ok(Some(bytes))
        };
        self.keeper.threads.wait(SLOW, get)
    }

    fn names(&self) -> Result<Vec<String>, String> {
        let (objects, prefix) = (self.keeper.objects.clone(), self.prefix.clone());
        let list = async move {
            let subjects = object_subject(&objects, "");
            let listed = objects.info_with_subjects(format!("{subjects}>")).await;
            let mut listed = listed.map_err(|error| told(&error))?;
            let mut names = Vec::new();
            while let Some(subject) = next(&mut listed).await {
                let (subject, _) = subject.map_err(|error| told(&error))?;
                let name = subject.strip_prefix(&subjects).and_then(|name| URL_SAFE.decode(name).ok());
                let name = name.and_then(|name| String::from_utf8(name).ok());
                names.extend(name.and_then(|name| name.strip_prefix(&prefix).map(str::to_owned)));
            }
            Ok(names)
        };
        self.keeper.threads.wait(PATIENCE, list)
    }

    fn remove(&self, name: &str) -> Result<(), String> {
        let (snapshots, objects, name) =
            (self.keeper.snapshots.clone(), self.keeper.objects.clone(), self.object(name));
        let remove = async move {
            match snapshots.delete(&name).await {
                Err(error) if error.kind() == DeleteErrorKind::NotFound => return Ok(()),
                deleted => deleted.map_err(|error| told(&error))?,
            }
            // The store remembers the name of what was deleted for ever; of names that never come again that grows without an end.
            let purged = objects.purge().filter(object_subject(&objects, &name)).await;
            purged.map(drop).map_err(|error| told(&error))
        };
        self.keeper.threads.wait(PATIENCE, remove)
    }

    fn pause(&self, tries: u32) {
        let pause = (PAUSE_MIN * (1 << tries.min(8))).min(PAUSE_MAX);
        let passed = async move {
            tokio::time::sleep(pause).await;
            Ok(())
        };
        _ = self.keeper.threads.wait(2 * pause, passed);
    }
}

/// The subject under which an object store tells of an object; how all of them begin for the empty name (ADR-20 of NATS).
fn object_subject(objects: &Stream, name: &str) -> String {
    let store = &objects.cached_info().config.name;
    format!("$O.{}.M.{}", store.strip_prefix("OBJ_").unwrap_or(store), URL_SAFE.encode(name))
}

/// Appends to a subject of a stream when its last message is at `expected`, and does `meanwhile` as soon as it was sent. The outcome is unknown when the connection is lost meanwhile, or the answer takes too
/// long: whoever waits for an answer that was lost waits for nothing.
pub(super) fn append(
    keeper: &Keeper,
    to: (String, String),
    (record, expected): (&[u8], u64),
    id: Option<&str>,
    meanwhile: &mut dyn FnMut(),
) -> Answer {
    let (context, record, id) = (keeper.context.clone(), record.to_vec(), id.map(str::to_owned));
    let mut lost = keeper.lost.clone();
    lost.mark_unchanged();
    let publish = async move {
        tokio::select! {
            answer = append_to(&context, to, record, expected, id.as_deref()) => Ok(answer),
            _ = lost.changed() => Err("the connection to the servers was lost".to_owned()),
        }
    };
    keeper.threads.wait_and(keeper.append_patience, publish, meanwhile).unwrap_or_else(Answer::Unknown)
}

/// The same, for one who awaits it. The leader of a stream acknowledges a record a moment before it takes a subject for free again; what comes in between is not
/// kept, whatever the last record is, and is sent again.
pub(super) async fn append_to(
    context: &Context,
    (subject, stream): (String, String),
    record: Vec<u8>,
    expected: u64,
    id: Option<&str>,
) -> Answer {
    let mut headers = HeaderMap::new();
    headers.insert(NATS_EXPECTED_LAST_SUBJECT_SEQUENCE, expected.to_string());
    headers.insert(NATS_EXPECTED_STREAM, stream);
    id.into_iter().for_each(|id| headers.insert(NATS_MESSAGE_ID, id));
    let acknowledged = loop {
        let sent =
            context.publish_with_headers(subject.clone(), headers.clone(), record.clone().into()).await;
        let acknowledged = match sent {
            Ok(under_way) => under_way.await,
            Err(error) => Err(error),
        };
        match acknowledged {
            Err(error) if is_busy(&error) => tokio::time::sleep(BUSY).await,
            acknowledged => break acknowledged,
        }
    };
    match acknowledged {
        Ok(acknowledged) if acknowledged.duplicate => Answer::Unknown("it was sent before".to_owned()),
        Ok(acknowledged) => Answer::Stored(acknowledged.sequence),
        Err(error) if error.kind() == PublishErrorKind::WrongLastSequence => Answer::Refused(told(&error)),
        Err(error) => Answer::Unknown(told(&error)),
    }
}

/// Whether the leader of the stream did not look at the last record, because one before it is not quite done.
fn is_busy(error: &PublishError) -> bool {
    let told = error.source().and_then(|source| source.downcast_ref::<jetstream::Error>());
    told.is_some_and(|told| told.error_code() == ErrorCode::STREAM_WRONG_LAST_SEQUENCE_CONSTANT)
}

/// The last message of a subject, as the leader of its stream has it. A stream without a leader does not answer, so it is not waited for long: an owner
/// asks again soon.
pub(super) fn last(threads: &Threads, stream: Stream, subject: String) -> Result<Option<Stored>, String> {
    threads.wait(LAST, async move { last_of(&stream, &subject).await })
}

/// The same, for one who awaits it as long as it takes.
pub(super) async fn last_of(stream: &Stream, subject: &str) -> Result<Option<Stored>, String> {
    match stream.get_last_raw_message_by_subject(subject).await {
        Ok(last) => Ok(Some(Stored { sequence: last.sequence, bytes: last.payload.to_vec() })),
        Err(error) if error.kind() == LastRawMessageErrorKind::NoMessageFound => Ok(None),
        Err(error) => Err(told(&error)),
    }
}

/// Sends on what is kept of a subject, from a sequence up to another, in chunks: on a busy machine whoever waits for each record alone waits for the
/// processor each time.
async fn follow(
    stream: &Stream,
    filter_subject: String,
    (from, until): (u64, u64),
    arrived: &mpsc::Sender<Result<Vec<Stored>, String>>,
) -> Result<(), String> {
    let deliver_policy = DeliverPolicy::ByStartSequence { start_sequence: from.max(1) };
    let config = OrderedConfig { filter_subject, deliver_policy, ..OrderedConfig::default() };
    let consumer = stream.create_consumer(config).await.map_err(|error| told(&error))?;
    let mut messages = consumer.messages().await.map_err(|error| told(&error))?;
    let (mut chunk, mut bytes) = (Vec::new(), 0);
    loop {
        let message = tokio::time::timeout(PATIENCE, next(&mut messages)).await;
        let message = message.map_err(|_| "the records stopped coming".to_owned())?;
        let message = message.ok_or("the records ended early")?.map_err(|error| told(&error))?;
        let sequence = message.info().map_err(|error| error.to_string())?.stream_sequence;
        if sequence <= until {
            bytes += message.payload.len();
            chunk.push(Stored { sequence, bytes: message.payload.to_vec() });
        }
        let is_last = sequence >= until;
        if is_last || bytes >= CHUNK_BYTES || chunk.len() >= CHUNK_RECORDS {
            bytes = 0;
            if arrived.send(Ok(std::mem::take(&mut chunk))).await.is_err() || is_last {
                return Ok(());
            }
        }
    }
}
