//! What servers and streams must be for a log to be trusted: what was found out about them in, a refusal with the setting and the remedy out.
//!
//! A keeper promises that what it acknowledged survives. Servers that do not sync each write, one copy, memory, or a bound that pushes old records out break that without
//! a word, so a start refuses them. Absent on purpose: how facts are gathered.

/// The oldest servers that may keep a log.
pub const VERSION_MIN: (u64, u64, u64) = (2, 15, 1);

/// What a message must be able to hold: the longest record, with its headers.
pub const PAYLOAD_BYTES_MIN: usize = 640 << 10;

/// What is demanded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Demands {
    /// How many servers keep each stream.
    pub replicas: usize,
    /// Whether the operator states that `sync_interval` is `always` on every server, where no system account is there to ask.
    pub is_sync_stated: bool,
    /// Whether fewer copies and writes that are not synced are taken, for development: an acknowledged debit may be lost then.
    pub is_development: bool,
}

/// What was found out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    /// The servers that answered.
    pub servers: Vec<ServerFact>,
    /// The streams.
    pub streams: Vec<StreamFact>,
    /// The longest message that the server takes, in bytes.
    pub payload_bytes_max: usize,
}

/// A server.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ServerFact {
    /// Its name.
    pub name: String,
    /// Its version, as it says it.
    pub version: String,
    /// Whether it syncs each write before it answers; none where it could not be asked.
    pub syncs_always: Option<bool>,
}

/// A stream.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StreamFact {
    /// Its name.
    pub name: String,
    /// The servers that keep it.
    pub peers: Vec<String>,
    /// How many it asks for.
    pub replicas: usize,
    /// Whether it is on file storage.
    pub is_file: bool,
    /// Whether a full one refuses what is new.
    pub discards_new: bool,
    /// Whether records go by themselves: by age, by number, by interest.
    pub forgets: bool,
    /// Whether it answers before it wrote.
    pub answers_before_writing: bool,
}

impl Default for Demands {
    /// Three copies, each of which syncs, as asked of the servers themselves.
    fn default() -> Self {
        Self { replicas: 3, is_sync_stated: false, is_development: false }
    }
}

impl Demands {
    /// Judges the facts.
    ///
    /// # Errors
    /// The first thing that does not do, with the setting and the remedy.
    pub fn judge(&self, facts: &Facts) -> Result<(), String> {
        facts.servers.iter().try_for_each(|server| self.server(server))?;
        facts.streams.iter().try_for_each(|stream| self.stream(stream, facts))?;
        if facts.payload_bytes_max < PAYLOAD_BYTES_MIN {
            return Err(format!(
                "`max_payload` is {}, a record takes up to {PAYLOAD_BYTES_MIN}; set `max_payload: 1MB` on every server",
                facts.payload_bytes_max
            ));
        }
        Ok(())
    }

    fn server(&self, server: &ServerFact) -> Result<(), String> {
        let ServerFact { name, version, syncs_always } = server;
        if parse(version).is_none_or(|version| version < VERSION_MIN) {
            let (major, minor, patch) = VERSION_MIN;
            return Err(format!(
                "server {name} has version {version}, {major}.{minor}.{patch} is the oldest that may keep a journal; upgrade it"
            ));
        }
        match syncs_always {
            _ if self.is_development => Ok(()),
            Some(true) => Ok(()),
            Some(false) => Err(format!(
                "server {name} does not sync each write: a power cut takes back what it acknowledged; set \
                 `sync_interval: always` in its `jetstream` block and restart it"
            )),
            None if self.is_sync_stated => Ok(()),
            None => Err(format!(
                "it is unknown whether server {name} syncs each write; give a user of the system account, who can ask, or state that \
                 `sync_interval: always` is set on every server"
            )),
        }
    }

    fn stream(&self, stream: &StreamFact, facts: &Facts) -> Result<(), String> {
        let name = &stream.name;
        if !self.is_development && (stream.replicas < self.replicas || !stream.is_file) {
            return Err(format!(
                "stream {name} has {} copies{}; it must have {} on file storage: `num_replicas: {}`, `storage: file`",
                stream.replicas,
                if stream.is_file { "" } else { " in memory" },
                self.replicas,
                self.replicas
            ));
        }
        if stream.answers_before_writing {
            return Err(format!(
                "stream {name} answers before it wrote; set its `persist_mode` to `default`"
            ));
        }
        if !stream.discards_new {
            return Err(format!(
                "stream {name} drops its oldest records when it is full; set its `discard` to `new`, so that it refuses instead"
            ));
        }
        if stream.forgets {
            return Err(format!(
                "stream {name} forgets records by itself; set its `retention` to `limits` and its `max_age`, `max_msgs` and \
                 `max_msgs_per_subject` to none: records are purged below verified snapshots"
            ));
        }
        let is_known = |peer: &String| facts.servers.iter().any(|server| server.name == *peer);
        match stream.peers.iter().find(|peer| !is_known(peer)) {
            Some(peer) if !self.is_sync_stated && !self.is_development => Err(format!(
                "server {peer}, which keeps stream {name}, did not answer; start it, or state that `sync_interval: always` is set on every server"
            )),
            _ => Ok(()),
        }
    }
}

/// The three numbers of a version; what follows them, as of a preview, does not count.
fn parse(version: &str) -> Option<(u64, u64, u64)> {
    let mut numbers = version.split(|sign: char| !sign.is_ascii_digit()).map(|part| part.parse().ok());
    Some((numbers.next()??, numbers.next()??, numbers.next()??))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fit() -> Facts {
        let server = |name: &str| ServerFact {
            name: name.to_owned(),
            version: "2.15.1".to_owned(),
            syncs_always: Some(true),
        };
        let stream = StreamFact {
            name: "journal".to_owned(),
            peers: vec!["a".to_owned(), "b".to_owned(), "c".to_owned()],
            replicas: 3,
            is_file: true,
            discards_new: true,
            ..StreamFact::default()
        };
        Facts {
            servers: vec![server("a"), server("b"), server("c")],
            streams: vec![stream],
            payload_bytes_max: 1 << 20,
        }
    }

    fn check(demands: Demands, change: fn(&mut Facts), told: Option<&[&str]>) {
        let mut facts = fit();
        change(&mut facts);
        let judged = demands.judge(&facts);
        match told {
            None => assert_eq!(judged, Ok(()), "{facts:?}"),
            Some(words) => {
                let why = judged.expect_err("it is not fit");
                assert!(words.iter().all(|word| why.contains(word)), "{words:?} are not in: {why}");
            }
        }
    }

    #[test]
    fn r14_each_thing_that_could_lose_an_acknowledged_debit_is_refused_with_its_setting() {
        let check = |change, words| check(Demands::default(), change, Some(words));
        check(|facts| facts.servers[1].version = "2.14.9".to_owned(), &["server b", "2.15.1", "upgrade"]);
        check(|facts| facts.servers[1].version = "odd".to_owned(), &["server b"]);
        check(|facts| facts.servers[2].syncs_always = Some(false), &["server c", "sync_interval: always"]);
        check(|facts| facts.servers[2].syncs_always = None, &["unknown", "system account"]);
        check(|facts| facts.streams[0].replicas = 1, &["1 copies", "num_replicas: 3"]);
        check(|facts| facts.streams[0].is_file = false, &["in memory", "storage: file"]);
        check(|facts| facts.streams[0].discards_new = false, &["discard", "new"]);
        check(|facts| facts.streams[0].forgets = true, &["max_age", "limits"]);
        check(|facts| facts.streams[0].answers_before_writing = true, &["persist_mode"]);
        check(|facts| drop(facts.servers.pop()), &["server c", "did not answer"]);
        check(|facts| facts.payload_bytes_max = 64 << 10, &["max_payload: 1MB"]);
    }

    #[test]
    fn r14_what_is_stated_or_for_development_is_taken_and_nothing_else() {
        check(Demands::default(), |_| {}, None);
        let stated = Demands { is_sync_stated: true, ..Demands::default() };
        check(stated, |facts| facts.servers[0].syncs_always = None, None);
        check(stated, |facts| facts.servers[0].syncs_always = Some(false), Some(&["sync_interval"]));
        check(stated, |facts| facts.streams[0].replicas = 1, Some(&["num_replicas"]));
        let development = Demands { is_development: true, ..Demands::default() };
        check(development, |facts| facts.streams[0].replicas = 1, None);
        check(development, |facts| facts.servers[0].syncs_always = Some(false), None);
        check(development, |facts| facts.streams[0].discards_new = false, Some(&["discard"]));
        check(development, |facts| facts.servers[0].version = "2.10.0".to_owned(), Some(&["upgrade"]));
    }

    #[test]
    fn newer_versions_and_previews_are_read_by_their_numbers() {
        assert_eq!(parse("2.15.1"), Some((2, 15, 1)));
        assert_eq!(parse("2.16.0-RC.2"), Some((2, 16, 0)));
        assert_eq!(parse("2.15"), None);
    }
}
