//! A publisher that does nothing but what a log must: one message of a subject in flight, which names the sequence of the one before it.

use std::error::Error as _;
use std::time::Duration;

use async_nats::HeaderMap;
use async_nats::header::{NATS_EXPECTED_LAST_SUBJECT_SEQUENCE, NATS_EXPECTED_STREAM, NATS_MESSAGE_ID};
use async_nats::jetstream::context::PublishError;
use async_nats::jetstream::stream::{Config, DiscardPolicy, StorageType};
use async_nats::jetstream::{self, Context, ErrorCode};
use rand::rngs::StdRng;
use rand::{RngCore as _, SeedableRng as _};
use tokenweir::telemetry::clock;
use tokio::runtime::{Builder, Runtime};

use super::engine::streams;
use super::servers::Servers;
use crate::failure::Outcome;
use crate::number::per_second;

/// As long as a record of one debit.
const SHORT_BYTES: usize = 128;

/// The publisher.
pub(super) struct Bare {
    runtime: Runtime,
    subjects: Vec<Subject>,
}

#[derive(Clone)]
struct Subject {
    context: Context,
    subject: String,
    stream: String,
    /// The sequence of the last message.
    last: u64,
    /// Messages so far.
    count: u64,
}

impl Bare {
    /// Makes streams like those of a cluster, with so many subjects.
    pub(super) fn new(servers: &Servers, name: &str, subjects: u16) -> Outcome<Self> {
        // As many threads as a node has for it.
        let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        let (addresses, (user, _)) = (servers.addresses(), servers.user());
        let subjects = runtime.block_on(async {
            let options = async_nats::ConnectOptions::new().user_and_password(user.into(), user.into());
            let context = jetstream::new(options.connect(addresses).await?);
            for number in 0..streams(subjects) {
                context.create_stream(config(name, number)).await?;
            }
            let subject = |number: u16| {
                let stream = config(name, number % streams(subjects)).name;
                let subject = format!("{stream}.p{number:03}");
                Subject { context: context.clone(), subject, stream, last: 0, count: 0 }
            };
            Outcome::Ok((0..subjects).map(subject).collect())
        })?;
        Ok(Self { runtime, subjects })
    }

    /// Messages of so many bytes a second, of all subjects.
    pub(super) fn rate(&mut self, length: Duration, bytes: usize) -> Outcome<f64> {
        let payload = payload(bytes);
        let begun = clock::start();
        let publish = |mut subject: Subject| {
            let payload = payload.clone();
            async move {
                while begun.elapsed() < length {
                    subject.publish(payload.clone()).await?;
                }
                Outcome::Ok(subject)
            }
        };
        let tasks: Vec<_> =
            self.subjects.iter().map(|subject| self.runtime.spawn(publish(subject.clone()))).collect();
        let mut published = 0;
        for (subject, task) in self.subjects.iter_mut().zip(tasks) {
            let reached = self.runtime.block_on(task)??;
            published += reached.count - subject.count;
            *subject = reached;
        }
        Ok(per_second(published, begun.elapsed()))
    }

    /// One short message; how long it took.
    pub(super) fn one(&mut self) -> Outcome<Duration> {
        let (payload, begun) = (payload(SHORT_BYTES), clock::start());
        self.runtime.block_on(self.subjects[0].publish(payload))?;
        Ok(begun.elapsed())
    }
}

impl Subject {
    async fn publish(&mut self, payload: Vec<u8>) -> Outcome {
        self.count += 1;
        let mut headers = HeaderMap::new();
        headers.insert(NATS_EXPECTED_LAST_SUBJECT_SEQUENCE, self.last.to_string());
        headers.insert(NATS_EXPECTED_STREAM, self.stream.as_str());
        headers.insert(NATS_MESSAGE_ID, format!("{}/{}", self.subject, self.count));
        loop {
            let (subject, headers, payload) = (self.subject.clone(), headers.clone(), payload.clone());
            let sent = self.context.publish_with_headers(subject, headers, payload.into()).await?;
            match sent.await {
                Ok(kept) => {
                    self.last = kept.sequence;
                    return Ok(());
                }
                // The one before is acknowledged and not quite done.
                Err(error) if is_busy(&error) => tokio::task::yield_now().await,
                Err(error) => return Err(error.into()),
            }
        }
    }
}

/// Whether the server did not look at the last message, because the one before is under way.
fn is_busy(error: &PublishError) -> bool {
    let told = error.source().and_then(|source| source.downcast_ref::<jetstream::Error>());
    told.is_some_and(|told| told.error_code() == ErrorCode::STREAM_WRONG_LAST_SEQUENCE_CONSTANT)
}

fn config(name: &str, number: u16) -> Config {
    let name = format!("bare-{name}-{number}");
    Config {
        subjects: vec![format!("{name}.*")],
        name,
        discard: DiscardPolicy::New,
        storage: StorageType::File,
        num_replicas: 3,
        deny_delete: true,
        ..Config::default()
    }
}

/// Bytes that nothing can make shorter.
fn payload(bytes: usize) -> Vec<u8> {
    let mut payload = vec![0; bytes];
    StdRng::seed_from_u64(1).fill_bytes(&mut payload);
    payload
}
