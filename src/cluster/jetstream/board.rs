//! What the nodes share, on the servers: the table of leases is a key of a bucket, beats are messages that nobody keeps.

use std::sync::Arc;

use crate::cluster::node::{Board, OnBeat};
use crate::cluster::remote::{Answer, Remote, Stored};

use super::log::{append, last};
use super::{Keeper, SUBSCRIBING, next};

/// The board of a cluster.
#[derive(Clone, Debug)]
pub struct JetStreamBoard(Arc<Keeper>);

impl JetStreamBoard {
    /// The board that all nodes with the same name of streams share.
    #[must_use]
    pub fn new(keeper: Arc<Keeper>) -> Self {
        Self(keeper)
    }

    fn table(&self) -> String {
        format!("$KV.{}-leases.table", self.0.name)
    }

    fn beats(&self) -> String {
        format!("{}.beat", self.0.name)
    }
}

impl Board for JetStreamBoard {
    fn read(&self) -> Result<Option<Stored>, String> {
        last(&self.0.threads, self.0.leases.clone(), self.table())
    }

    fn write(&self, table: &[u8], behind: u64) -> Answer {
        let stream = format!("KV_{}-leases", self.0.name);
        append(&self.0, (self.table(), stream), (table, behind), None, &mut || {})
    }

    fn say(&self, beat: &[u8]) {
        let (client, subject, beat) = (self.0.client.clone(), self.beats(), beat.to_vec());
        self.0.threads.spawn(async move {
            // It only fails when it is too long, which a beat is not, or when the connection ended for good.
            _ = client.publish(subject, beat.into()).await;
        });
    }

    fn listen(&self, heard: OnBeat) -> Result<(), String> {
        let (client, subject) = (self.0.client.clone(), self.beats());
        let subscribe = async move { client.subscribe(subject).await.map_err(|error| error.to_string()) };
        let mut beats = self.0.threads.wait(SUBSCRIBING, subscribe)?;
        self.0.threads.spawn(async move {
            while let Some(beat) = next(&mut beats).await {
                heard(&beat.payload);
            }
        });
        Ok(())
    }

    fn log(&self, partition: u16) -> Arc<dyn Remote> {
        Arc::new(self.0.partition(partition))
    }
}
