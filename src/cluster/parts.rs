//! Messages between nodes that may be longer than what the servers carry at once: cut into parts, and put together again.
//!
//! | bytes | field | meaning |
//! |---|---|---|
//! | 0 | format | 1 |
//! | 1 | topic | what kind of message it is |
//! | 2..4 | partition | whose owner it is for |
//! | 4..20 | id | of the whole message; an answer has that of its question |
//! | 20..22 | part | which part this is, from 0 |
//! | 22..24 | parts | how many there are |
//! | 24.. | | a part of the message |
//!
//! All numbers are little endian. Parts of a message come in order or not at all, so a part that is not the next one ends its message: it is lost, as any message may
//! be. What is held is bounded in bytes and in time.

use std::collections::BTreeMap;

/// The newest format.
pub const PARTS_FORMAT: u8 = 1;

/// The longest message, in bytes.
pub const MESSAGE_BYTES_MAX: usize = 64 << 20;

/// The most bytes of unfinished messages that are held.
pub const HELD_BYTES_MAX: usize = 256 << 20;

/// The length of what stands before a part.
pub const HEAD_BYTES: usize = 24;

/// What a message is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    /// What kind of message.
    pub topic: u8,
    /// Whose owner it is for.
    pub partition: u16,
    /// Its id.
    pub id: [u8; 16],
}

/// Cuts a message into parts, each with its head no longer than `part_bytes_max`.
///
/// # Errors
/// When the message is too long.
pub fn cut(head: Head, message: &[u8], part_bytes_max: usize) -> Result<Vec<Vec<u8>>, String> {
    if message.len() > MESSAGE_BYTES_MAX {
        return Err(format!("a message of {} bytes is longer than {MESSAGE_BYTES_MAX}", message.len()));
    }
    let room = part_bytes_max.saturating_sub(HEAD_BYTES).max(1);
    let parts = u16::try_from(message.len().div_ceil(room).max(1))
        .map_err(|_| format!("{} bytes take too many parts of {room}", message.len()))?;
    let part = |number: u16| {
        let begin = usize::from(number) * room;
        let bytes = &message[begin..message.len().min(begin + room)];
        let mut part = Vec::with_capacity(HEAD_BYTES + bytes.len());
        part.extend_from_slice(&[PARTS_FORMAT, head.topic]);
        part.extend_from_slice(&head.partition.to_le_bytes());
        part.extend_from_slice(&head.id);
        part.extend_from_slice(&number.to_le_bytes());
        part.extend_from_slice(&parts.to_le_bytes());
        part.extend_from_slice(bytes);
        part
    };
    Ok((0..parts).map(part).collect())
}

/// Puts messages together.
#[derive(Debug)]
pub struct Gather {
    patience_ns: u64,
    open: BTreeMap<[u8; 16], Open>,
    held: usize,
}

#[derive(Debug)]
struct Open {
    head: Head,
    next: u16,
    parts: u16,
    bytes: Vec<u8>,
    since_ns: u64,
}

impl Gather {
    /// Waits so long for the rest of a message.
    #[must_use]
    pub fn new(patience_ns: u64) -> Self {
        Self { patience_ns, open: BTreeMap::new(), held: 0 }
    }

    /// Takes a part; the message when it is whole.
    ///
    /// # Errors
    /// Why the part, and its message with it, is of no use.
    pub fn take(&mut self, now_ns: u64, part: &[u8]) -> Result<Option<(Head, Vec<u8>)>, String> {
        self.forget_old(now_ns);
        let Some((fields, bytes)) = part.split_first_chunk::<HEAD_BYTES>() else {
            return Err(format!("{} bytes are no part of a message", part.len()));
        };
        if fields[0] != PARTS_FORMAT {
            return Err(format!("a part has format {}, this release reads {PARTS_FORMAT}", fields[0]));
        }
        let number = |at: usize| u16::from_le_bytes([fields[at], fields[at + 1]]);
        let id = fields[4..20].try_into().expect("16 bytes");
        let head = Head { topic: fields[1], partition: number(2), id };
        let (number, parts) = (number(20), number(22));
        let mut open = match self.close(&id) {
            None if number == 0 => Open { head, next: 0, parts, bytes: Vec::new(), since_ns: now_ns },
            Some(open) if (open.head, open.next, open.parts) == (head, number, parts) => open,
            _ => return Err(format!("part {number} of {parts} is not the next one")),
        };
        let length = open.bytes.len() + bytes.len();
        if length > MESSAGE_BYTES_MAX || self.held + length > HELD_BYTES_MAX {
            return Err(format!("there is no room for {length} bytes"));
        }
        open.bytes.extend_from_slice(bytes);
        open.next = number.checked_add(1).ok_or("there are too many parts")?;
        if open.next >= parts {
            return Ok(Some((head, open.bytes)));
        }
        self.held += length;
        self.open.insert(id, open);
        Ok(None)
    }

    fn close(&mut self, id: &[u8; 16]) -> Option<Open> {
        let open = self.open.remove(id)?;
        self.held -= open.bytes.len();
        Some(open)
    }

    fn forget_old(&mut self, now_ns: u64) {
        let is_old = |open: &Open| now_ns.saturating_sub(open.since_ns) > self.patience_ns;
        let old: Vec<_> = self.open.iter().filter(|(_, open)| is_old(open)).map(|(id, _)| *id).collect();
        old.iter().for_each(|id| drop(self.close(id)));
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn head(id: u8) -> Head {
        Head { topic: 3, partition: 513, id: [id; 16] }
    }

    proptest! {
        #[test]
        fn messages_come_out_whole_whatever_their_parts_are_mixed_with(
            messages in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..300), 1..5),
            room in HEAD_BYTES + 1..HEAD_BYTES + 64,
            picks in prop::collection::vec(any::<usize>(), 1..50),
        ) {
            let cut = |(id, message): (u8, &Vec<u8>)| cut(head(id), message, room).unwrap().into_iter();
            let mut queues: Vec<_> = (0_u8..).zip(&messages).map(cut).collect();
            let (mut gather, mut whole, mut picks) = (Gather::new(10), Vec::new(), picks.into_iter().cycle());
            while queues.iter().any(|queue| queue.len() > 0) {
                let at = picks.next().unwrap() % queues.len();
                // A queue that is empty lets the next one come first.
                let at = (at..queues.len()).chain(0..at).find(|at| queues[*at].len() > 0).unwrap();
                let part = queues[at].next().unwrap();
                prop_assert!(part.len() <= room);
                whole.extend(gather.take(0, &part).unwrap());
            }
            whole.sort_by_key(|(head, _)| head.id);
            let wanted: Vec<_> = (0_u8..).map(head).zip(messages).collect();
            prop_assert_eq!(whole, wanted);
            prop_assert_eq!((gather.held, gather.open.len()), (0, 0));
        }

        #[test]
        fn any_bytes_are_taken_or_refused(parts in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..40), 0..20)) {
            let mut gather = Gather::new(10);
            for mut part in parts {
                part.iter_mut().take(1).for_each(|format| *format %= 2);
                _ = gather.take(0, &part);
            }
        }
    }

    #[test]
    fn a_message_with_a_part_missing_is_lost_and_its_room_is_free() {
        let parts = cut(head(1), &[7; 100], HEAD_BYTES + 30).expect("short");
        assert_eq!(parts.len(), 4);
        let mut gather = Gather::new(10);
        assert_eq!(gather.take(0, &parts[0]), Ok(None));
        assert!(gather.take(0, &parts[2]).is_err());
        assert!(gather.take(0, &parts[3]).is_err());
        assert_eq!(gather.held, 0);
    }

    #[test]
    fn what_does_not_come_in_time_or_does_not_fit_is_lost() {
        let parts = cut(head(1), &[7; 100], HEAD_BYTES + 60).expect("short");
        let mut gather = Gather::new(10);
        assert_eq!(gather.take(0, &parts[0]), Ok(None));
        assert!(gather.take(11, &parts[1]).is_err(), "it was forgotten");
        assert!(cut(head(1), &vec![0; MESSAGE_BYTES_MAX + 1], 1 << 20).is_err());
        gather.held = HELD_BYTES_MAX;
        assert!(gather.take(20, &parts[0]).expect_err("full").contains("no room"));
    }
}
