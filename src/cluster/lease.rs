//! Who has which partition: one table that the servers keep, changed whole by compare and set.
//!
//! One value for all partitions makes the revision at which a node reads itself as a holder an epoch of that partition: at no other
//! revision is anybody else its holder, and a later holder reads a higher one. So epochs rise and are nobody else's, which is all that
//! [`takeover`](super::takeover) asks.
//!
//! A lease is as good as its holder's life. Whether that goes on is heard in [`Beat`]s and judged by [`member`](super::member) with a clock of its own;
//! when it judges wrongly, the fence keeps the log whole.
//!
//! Decoding never panics and never allocates past the longest table.

use serde::{Deserialize, Serialize};

use crate::domain::limits::{NODE_BYTES_MAX, PARTITIONS_MAX};
use crate::storage::DirectoryId;

/// The newest format of a table, and of a beat.
pub const LEASE_FORMAT: u8 = 1;

/// The longest table or beat that is read, in bytes.
const BYTES_MAX: usize = 64 << 10;

/// The longest address in a beat, in bytes.
const ADDRESS_BYTES_MAX: usize = 256;

/// A run of a node, from its start to its end.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Life {
    /// The name of the node.
    pub node: String,
    /// Which run of it this is: higher than those before it.
    pub boot: u64,
}

/// The table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leases {
    /// The identity of the data, in every record and snapshot.
    pub directory: DirectoryId,
    /// Who holds each partition.
    pub holders: Vec<Option<Life>>,
    /// Whether each partition was ever served: an empty log of one that was is damage, and of one that was not a new one.
    pub made: Vec<bool>,
}

/// What a node says of itself, several times in a term.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Beat {
    /// Who says it.
    pub life: Life,
    /// Whether it takes what is placed on it: not while it does not know the others yet, and not when it leaves.
    pub takes: bool,
    /// The revision of the newest table that it knows.
    pub revision: u64,
    /// Where it serves.
    pub addresses: Addresses,
}

/// Where a node serves.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Addresses {
    /// The base of its HTTP addresses, as `http://10.0.0.7:8080`.
    pub http: String,
    /// The base of its gRPC addresses; none where it serves none.
    pub grpc: Option<String>,
}

/// The table as it is stored.
#[derive(Debug, Serialize, Deserialize)]
struct StoredLeases {
    #[serde(with = "serde_bytes")]
    directory: Vec<u8>,
    holders: Vec<Option<Life>>,
    made: Vec<bool>,
}

/// Whether a node may be called so: letters, digits, `-`, `_` and `.`, so that it can stand in a subject.
#[must_use]
pub fn is_name(node: &str) -> bool {
    let is_fit = |sign: char| sign.is_ascii_alphanumeric() || "-_.".contains(sign);
    let is_whole = |part: &str| !part.is_empty();
    node.len() <= NODE_BYTES_MAX && node.chars().all(is_fit) && node.split('.').all(is_whole)
}

impl Leases {
    /// The first table: nobody has anything.
    ///
    /// # Panics
    /// When there are no partitions or too many: a bug of the caller.
    #[must_use]
    pub fn new(directory: DirectoryId, partitions: u16) -> Self {
        assert!((1..=PARTITIONS_MAX).contains(&partitions), "{partitions} partitions");
        Self { directory, holders: vec![None; partitions.into()], made: vec![false; partitions.into()] }
    }

    /// The bytes of the table.
    ///
    /// # Panics
    /// Never: a table can always be written.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let (directory, holders) = (self.directory.0.to_vec(), self.holders.clone());
        encode(&StoredLeases { directory, holders, made: self.made.clone() })
    }

    /// Reads a table.
    ///
    /// # Errors
    /// What is wrong with it, in words.
    pub fn decode(bytes: &[u8]) -> Result<Self, String> {
        let stored: StoredLeases = decode(bytes)?;
        let directory = stored.directory.try_into().map_err(|_| "its directory is no identity".to_owned())?;
        if !(1..=usize::from(PARTITIONS_MAX)).contains(&stored.holders.len()) {
            return Err(format!("it has {} partitions", stored.holders.len()));
        }
        if stored.made.len() != stored.holders.len() {
            return Err(format!(
                "it has {} partitions and tells of {}",
                stored.holders.len(),
                stored.made.len()
            ));
        }
        stored.holders.iter().flatten().try_for_each(check)?;
        Ok(Self { directory: DirectoryId(directory), holders: stored.holders, made: stored.made })
    }
}

impl Beat {
    /// The bytes of the beat.
    ///
    /// # Panics
    /// Never: a beat can always be written.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        encode(self)
    }

    /// Reads a beat.
    ///
    /// # Errors
    /// What is wrong with it, in words.
    pub fn decode(bytes: &[u8]) -> Result<Self, String> {
        let beat: Self = decode(bytes)?;
        check(&beat.life)?;
        let Addresses { http, grpc } = &beat.addresses;
        if http.len().max(grpc.as_ref().map_or(0, String::len)) > ADDRESS_BYTES_MAX {
            return Err("an address is too long".to_owned());
        }
        Ok(beat)
    }
}

fn check(life: &Life) -> Result<(), String> {
    if is_name(&life.node) { Ok(()) } else { Err(format!("`{}` names no node", life.node.escape_debug())) }
}

fn encode(what: &impl Serialize) -> Vec<u8> {
    let mut bytes = vec![LEASE_FORMAT];
    rmp_serde::encode::write_named(&mut bytes, what).expect("writing to memory never fails");
    bytes
}

fn decode<T: for<'a> Deserialize<'a>>(bytes: &[u8]) -> Result<T, String> {
    let [format, body @ ..] = bytes else { return Err("it is empty".to_owned()) };
    if *format > LEASE_FORMAT {
        return Err(format!("it has format {format}, this release reads up to {LEASE_FORMAT}"));
    }
    if bytes.len() > BYTES_MAX {
        return Err(format!("it has {} bytes, {BYTES_MAX} is the most", bytes.len()));
    }
    rmp_serde::from_slice(body).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn life(node: &str) -> Life {
        Life { node: node.to_owned(), boot: 7 }
    }

    #[test]
    fn a_table_and_a_beat_are_read_as_they_were_written() {
        let mut leases = Leases::new(DirectoryId([3; 16]), 64);
        leases.holders[5] = Some(life("a.b-c_1"));
        leases.made[63] = true;
        assert_eq!(Leases::decode(&leases.encode()), Ok(leases));
        let addresses = Addresses { http: "http://127.0.0.1:8080".to_owned(), grpc: None };
        let beat = Beat { life: life("n1"), takes: true, revision: 9, addresses };
        assert_eq!(Beat::decode(&beat.encode()), Ok(beat));
    }

    #[test]
    fn what_is_no_table_is_refused_in_words() {
        let refused = |bytes: &[u8], word: &str| {
            let why = Leases::decode(bytes).expect_err("it is none");
            assert!(why.contains(word), "{why}");
        };
        refused(b"", "empty");
        refused(&[LEASE_FORMAT + 1, 0x80], "format 2");
        refused(&[LEASE_FORMAT; BYTES_MAX + 1], "bytes");
        let stored = |directory: Vec<u8>, holders: Vec<Option<Life>>| {
            let made = vec![true; holders.len()];
            encode(&StoredLeases { directory, holders, made })
        };
        let short = StoredLeases { directory: vec![1; 16], holders: vec![None], made: Vec::new() };
        refused(&encode(&short), "tells of 0");
        refused(&stored(vec![1; 3], vec![None]), "identity");
        refused(&stored(vec![1; 16], Vec::new()), "0 partitions");
        refused(&stored(vec![1; 16], vec![None; 65]), "65 partitions");
        refused(&stored(vec![1; 16], vec![Some(life("a*b"))]), "names no node");
    }

    #[test]
    fn a_name_of_a_node_can_stand_in_a_subject() {
        assert!(["n1", "host.example-1_a", &"a".repeat(64)].iter().all(|name| is_name(name)));
        assert!(
            ["", ".", "a..b", "a b", "a>", "*", "\u{e9}", &"a".repeat(65)].iter().all(|name| !is_name(name))
        );
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            _ = Leases::decode(&bytes);
            _ = Beat::decode(&bytes);
        }
    }
}
