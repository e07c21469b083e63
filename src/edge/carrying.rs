//! How a request of a caller is carried to the owner of its partition, for both edges, and how it lies in bytes: a head that says what it is, and a body as it
//! was sent.
//!
//! | bytes | field | meaning |
//! |---|---|---|
//! | 0 | format | 1: over HTTP, 2: over gRPC |
//! | 1..5 | head length | little endian |
//! | .. | head | a named map of MessagePack; fields are only ever added |
//! | .. | body | as it was sent |

use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout};

use crate::domain::limits::CARRIED_WAIT_MS;
use crate::meter::Meter;

/// How long to wait before the owner is looked for again.
const PAUSE: Duration = Duration::from_millis(50);

/// What came, or is answered, over HTTP.
pub const HTTP: u8 = 1;
/// What came, or is answered, over gRPC.
pub const GRPC: u8 = 2;

/// A head and a body as bytes.
pub(super) fn encode(format: u8, head: &impl Serialize, body: &[u8]) -> Vec<u8> {
    let head = rmp_serde::to_vec_named(head).expect("a vector takes all that is written");
    let length = u32::try_from(head.len()).expect("headers are bounded");
    let mut bytes = Vec::with_capacity(5 + head.len() + body.len());
    bytes.push(format);
    bytes.extend_from_slice(&length.to_le_bytes());
    bytes.extend_from_slice(&head);
    bytes.extend_from_slice(body);
    bytes
}

/// What bytes hold; none when they are of another format.
pub(super) fn decode<T: DeserializeOwned>(format: u8, bytes: &[u8]) -> Option<(T, &[u8])> {
    let (length, rest) = bytes.strip_prefix(&[format])?.split_first_chunk::<4>()?;
    let (head, body) = rest.split_at_checked(usize::try_from(u32::from_le_bytes(*length)).ok()?)?;
    Some((rmp_serde::from_slice(head).ok()?, body))
}

/// Asks whoever owns the partition until one gives an answer that can be `read`; none within [`CARRIED_WAIT_MS`], or once `places` is closed by a server that
/// stops, which then learns of no other owner.
pub(super) async fn ask<T>(
    (meter, places): (&Meter, &Semaphore),
    partition: u16,
    message: &[u8],
    read: impl Fn(&[u8]) -> Option<T>,
) -> Option<T> {
    let asked = async {
        while !places.is_closed() {
            match meter.carry(partition, message.to_vec()).await {
                Ok(answer) => {
                    if let Some(answer) = read(&answer) {
                        return Some(answer);
                    }
                }
                Err(why) => tracing::debug!(partition, why, "what was carried waits for an owner"),
            }
            sleep(PAUSE).await;
        }
        None
    };
    timeout(Duration::from_millis(CARRIED_WAIT_MS), asked).await.ok().flatten()
}
