//! Messages from node to node: questions that are answered, and what is only told.
//!
//! A node has a subject for what is sent to it and one for the answers that it waits for; both name its run, so that nothing reaches a later one.
//! Whoever is asked and is not there is noticed at once, because nobody listens to its subject. Everything else that goes wrong is a question without an
//! answer in time: its outcome is unknown.

use std::collections::HashMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_nats::{Client, Message, StatusCode, Subscriber};
use tokio::sync::{Semaphore, oneshot};

use crate::cluster::lease::Life;
use crate::cluster::parts::{Gather, Head, cut};
use crate::domain::hex::Hex;
use crate::telemetry::clock::{Monotonic, ns};

use super::{Keeper, SUBSCRIBING, next};

/// How long the rest of a message is waited for.
const REST: Duration = Duration::from_secs(10);
/// So much of what a server takes is left for what it adds.
const HEADROOM_BYTES: usize = 1 << 10;
/// So many questions are answered at a time; the next ones wait their turn in the client.
const ANSWERING_MAX: usize = 1_024;

/// A future that may be polled by any thread.
pub type Answering<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// Takes what is sent to a node; the answer, where one is due.
pub type Serve = Arc<dyn Fn(Head, Vec<u8>) -> Answering<Option<Vec<u8>>> + Send + Sync>;

type Answered = oneshot::Sender<Result<Vec<u8>, String>>;

/// Sends messages to other nodes, and takes theirs.
#[derive(Clone)]
pub struct Post {
    keeper: Arc<Keeper>,
    me: Life,
    waiting: Arc<Mutex<HashMap<[u8; 16], Answered>>>,
}

impl Post {
    /// Takes what is sent to this node from now on, and hands it to `serve`.
    ///
    /// # Errors
    /// Why nothing can be heard.
    pub fn start(keeper: Arc<Keeper>, me: Life, serve: Serve) -> Result<Self, String> {
        let post = Self { keeper, me, waiting: Arc::default() };
        let (client, answers) = (post.keeper.client.clone(), format!("{}.*", post.subject("back", &post.me)));
        let here = post.subject("to", &post.me);
        let subscribe = async move {
            let told = |error: async_nats::SubscribeError| error.to_string();
            let subscribed =
                (client.subscribe(here).await.map_err(told)?, client.subscribe(answers).await.map_err(told)?);
            // Whoever learns of this node must be able to reach it.
            client.flush().await.map_err(|error| error.to_string())?;
            Ok(subscribed)
        };
        let (asked, answers) = post.keeper.threads.wait(SUBSCRIBING, subscribe)?;
        let client = post.keeper.client.clone();
        post.keeper.threads.spawn(serve_all(client, asked, serve));
        post.keeper.threads.spawn(take_answers(answers, Arc::clone(&post.waiting)));
        Ok(post)
    }

    /// Asks a node.
    ///
    /// # Errors
    /// Why there is no answer; the outcome is unknown, unless nobody is there.
    pub async fn ask(
        &self,
        to: Life,
        topic: u8,
        partition: u16,
        question: Vec<u8>,
        patience: Duration,
    ) -> Result<Vec<u8>, String> {
        let head = Head { topic, partition, id: random_id() };
        let (answered, answer) = oneshot::channel();
        self.waiting().insert(head.id, answered);
        let forget = Forget { post: self.clone(), id: head.id };
        let reply = format!("{}.{}", self.subject("back", &self.me), Hex(&head.id));
        let client = self.keeper.client.clone();
        let sent = send(client, self.subject("to", &to), Some(reply), head, question);
        // On the network's own runtime, so that this may be awaited on any.
        let (done, outcome) = oneshot::channel();
        self.keeper.threads.spawn(async move {
            let asked = async {
                sent.await?;
                answer.await.unwrap_or_else(|_| Err("this node is ending".to_owned()))
            };
            let told = tokio::time::timeout(patience, asked).await;
            drop(forget);
            _ = done.send(told.unwrap_or_else(|_| Err(format!("no answer within {patience:?}"))));
        });
        outcome.await.unwrap_or_else(|_| Err("this node is ending".to_owned()))
    }

    /// Tells a node something; it may be lost.
    pub fn tell(&self, to: &Life, topic: u8, partition: u16, message: Vec<u8>) {
        let head = Head { topic, partition, id: random_id() };
        let sent = send(self.keeper.client.clone(), self.subject("to", to), None, head, message);
        self.keeper.threads.spawn(async move {
            if let Err(why) = sent.await {
                tracing::debug!(partition, why, "what was told to a node is lost");
            }
        });
    }

    fn subject(&self, what: &str, life: &Life) -> String {
        format!("{}.{what}.{}.{}", self.keeper.name, life.node, life.boot)
    }

    fn waiting(&self) -> std::sync::MutexGuard<'_, HashMap<[u8; 16], Answered>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl std::fmt::Debug for Post {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Post").field("me", &self.me).finish_non_exhaustive()
    }
}

/// Forgets a question that nobody waits for any more.
struct Forget {
    post: Post,
    id: [u8; 16],
}

impl Drop for Forget {
    fn drop(&mut self) {
        self.post.waiting().remove(&self.id);
    }
}

async fn send(
    client: Client,
    subject: String,
    reply: Option<String>,
    head: Head,
    message: Vec<u8>,
) -> Result<(), String> {
    let part_bytes_max = client.server_info().max_payload.saturating_sub(HEADROOM_BYTES);
    for part in cut(head, &message, part_bytes_max)? {
        let sent = match &reply {
            Some(reply) => client.publish_with_reply(subject.clone(), reply.clone(), part.into()).await,
            None => client.publish(subject.clone(), part.into()).await,
        };
        sent.map_err(|error| error.to_string())?;
    }
    Ok(())
}

async fn serve_all(client: Client, mut asked: Subscriber, serve: Serve) {
    let (mut gather, clock) = (Gather::new(ns(REST)), Monotonic::system());
    let turns = Arc::new(Semaphore::new(ANSWERING_MAX));
    while let Some(Message { payload, reply, .. }) = next(&mut asked).await {
        let (head, message) = match gather.take(clock.now_ns(), &payload) {
            Ok(Some(whole)) => whole,
            Ok(None) => continue,
            Err(why) => {
                tracing::warn!(why, "a message of another node is lost");
                continue;
            }
        };
        let Ok(turn) = Arc::clone(&turns).acquire_owned().await else { return };
        let (answer, client) = (serve(head, message), client.clone());
        tokio::spawn(async move {
            if let (Some(answer), Some(reply)) = (answer.await, reply)
                && let Err(why) = send(client, reply.to_string(), None, head, answer).await
            {
                tracing::warn!(why, "an answer to another node is lost");
            }
            drop(turn);
        });
    }
}

async fn take_answers(mut answers: Subscriber, waiting: Arc<Mutex<HashMap<[u8; 16], Answered>>>) {
    let (mut gather, clock) = (Gather::new(ns(REST)), Monotonic::system());
    while let Some(answer) = next(&mut answers).await {
        let (id, told) = if answer.status == Some(StatusCode::NO_RESPONDERS) {
            let Some(id) = answer.subject.rsplit('.').next().and_then(id_of) else { continue };
            (id, Err("the node is not there any more".to_owned()))
        } else {
            match gather.take(clock.now_ns(), &answer.payload) {
                Ok(Some((head, bytes))) => (head.id, Ok(bytes)),
                Ok(None) => continue,
                Err(why) => {
                    tracing::warn!(why, "an answer of another node is lost");
                    continue;
                }
            }
        };
        let asked = waiting.lock().unwrap_or_else(PoisonError::into_inner).remove(&id);
        asked.into_iter().for_each(|asked| _ = asked.send(told.clone()));
    }
}

fn random_id() -> [u8; 16] {
    let mut id = [0; 16];
    getrandom::fill(&mut id).expect("the operating system gives random bytes");
    id
}

fn id_of(hex: &str) -> Option<[u8; 16]> {
    u128::from_str_radix(hex, 16).ok().filter(|_| hex.len() == 32).map(u128::to_be_bytes)
}
