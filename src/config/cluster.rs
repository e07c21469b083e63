//! The settings of a node of a cluster: all begin with `cluster`, and mean nothing without it.

use std::path::PathBuf;
use std::time::Duration;

use super::settings::Settings;
use super::{ConfigError, NAMES, Switch};

/// How a node of a cluster is set up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClusterConfig {
    /// `cluster`: addresses of the servers of NATS, as `nats://a:4222` or `tls://a:4222`, with commas between. Default: none, and this is no node.
    pub servers: Vec<String>,
    /// `cluster_name`: how the names of streams and subjects begin; nodes of one cluster have the same. Default: `weir`.
    pub name: String,
    /// `cluster_node`: the name of this node, its own in the cluster. Default: the name of the machine and the port of HTTP.
    pub node: Option<String>,
    /// `cluster_http`: base of the HTTP addresses at which other nodes and clients reach this one. Default: that of `listen`.
    pub http: Option<String>,
    /// `cluster_grpc`: the same of gRPC. Default: that of `grpc_listen`.
    pub grpc: Option<String>,
    /// `cluster_user`, `cluster_password_file`, `cluster_nkey`, `cluster_credentials`: who this node is. Default: nobody.
    pub identity: NatsIdentity,
    /// `cluster_ca`: certificates of authorities, in addition to those that this machine trusts. Default: none.
    pub ca: Option<PathBuf>,
    /// `cluster_certificate`, `cluster_key`: the certificate and key of this client. Default: none.
    pub certificate: Option<(PathBuf, PathBuf)>,
    /// `cluster_system_user`, `cluster_system_password_file`, `cluster_system_credentials`: a user of the system account, who asks the servers how they are set up.
    pub system: NatsIdentity,
    /// `cluster_sync`: `asked`, or `stated`: the operator states that `sync_interval` is `always` on every server. Default: `asked`.
    pub is_sync_stated: bool,
    /// `cluster_replicas`: how many servers keep each stream, 1 to 5. Default: 3.
    pub replicas: usize,
    /// `cluster_streams`: how many streams keep the journals of a new cluster, 1 to 16, and no more than partitions. Default: 3.
    pub streams: u16,
    /// `cluster_development`: whether fewer copies and writes that are not synced are taken, `on` or `off`. Default: `off`.
    pub is_development: bool,
    /// `cluster_term_ms`: how long a node that is not heard is believed to live, 500 ms to a minute. Default: 2 seconds.
    pub term: Duration,
}

/// Who a client of NATS is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum NatsIdentity {
    /// Nobody, or whoever the certificate or the address names.
    #[default]
    Nobody,
    /// A user, and the file with the password.
    User(String, PathBuf),
    /// A file with the seed of an nkey.
    Nkey(PathBuf),
    /// A credentials file.
    Credentials(PathBuf),
}

impl Default for ClusterConfig {
    fn default() -> Self {
        Self {
            servers: Vec::new(),
            name: "weir".to_owned(),
            node: None,
            http: None,
            grpc: None,
            identity: NatsIdentity::Nobody,
            ca: None,
            certificate: None,
            system: NatsIdentity::Nobody,
            is_sync_stated: false,
            replicas: 3,
            streams: 3,
            is_development: false,
            term: Duration::from_secs(2),
        }
    }
}

impl ClusterConfig {
    /// How a cluster is reached by who is no node of it: from what the flags of the command line say, by name, and from the environment. None where
    /// no flag names its servers.
    ///
    /// # Errors
    /// When a value does not fit, or a flag is of a cluster and none names its servers.
    pub fn reached(flags: &[(&'static str, String)]) -> Result<Option<Self>, ConfigError> {
        let mut settings = Settings::default();
        if flags.iter().any(|(name, _)| *name == "cluster") {
            settings.add_environment(std::env::vars_os())?;
        }
        settings.add_flags(flags);
        Self::from_settings(&settings)
    }

    pub(super) fn from_settings(settings: &Settings) -> Result<Option<Self>, ConfigError> {
        let servers = settings.parsed::<Servers>("cluster", "addresses like nats://a:4222,nats://b:4222")?;
        let Some(Servers(servers)) = servers else {
            let mut others = NAMES.into_iter().filter(|name| name.starts_with("cluster_"));
            return match others.find(|name| settings.is_set(name)) {
                Some(name) => Err(ConfigError::Incomplete { name, missing: "cluster" }),
                None => Ok(None),
            };
        };
        let file = |name| settings.text(name).map(|name| name.map(PathBuf::from));
        let name = |name| {
            let word = settings.parsed::<Word>(name, "letters, digits, - and _");
            word.map(|word| word.map(|word| word.0))
        };
        let is_sync_stated = settings.parsed::<Sync>("cluster_sync", "asked or stated")?;
        let development = settings.parsed::<Switch>("cluster_development", "on or off")?;
        let d = Self::default();
        let term_ms = u64::try_from(d.term.as_millis()).unwrap_or(u64::MAX);
        let term_ms = settings.number("cluster_term_ms", term_ms, 500, 60_000)?;
        Ok(Some(Self {
            servers,
            name: name("cluster_name")?.unwrap_or(d.name),
            node: name("cluster_node")?,
            http: settings.text("cluster_http")?,
            grpc: settings.text("cluster_grpc")?,
            identity: identity(
                settings,
                ["cluster_user", "cluster_password_file", "cluster_credentials"],
                file("cluster_nkey")?,
            )?,
            ca: file("cluster_ca")?,
            certificate: settings
                .pair("cluster_certificate", "cluster_key")?
                .map(|(certificate, key)| (certificate.into(), key.into())),
            system: identity(
                settings,
                ["cluster_system_user", "cluster_system_password_file", "cluster_system_credentials"],
                None,
            )?,
            is_sync_stated: is_sync_stated.is_some_and(|sync| sync.0),
            replicas: settings.number("cluster_replicas", d.replicas, 1, 5)?,
            streams: settings.number("cluster_streams", d.streams, 1, 16)?,
            is_development: development.is_some_and(|switch| switch.0),
            term: Duration::from_millis(term_ms),
        }))
    }
}

fn identity(
    settings: &Settings,
    [user, password, credentials]: [&'static str; 3],
    nkey: Option<PathBuf>,
) -> Result<NatsIdentity, ConfigError> {
    let named = settings.pair(user, password)?;
    let given = settings.text(credentials)?.map(|path| NatsIdentity::Credentials(path.into()));
    let ways = [
        named.map(|(user, password)| NatsIdentity::User(user, password.into())),
        nkey.map(NatsIdentity::Nkey),
        given,
    ];
    let mut ways = ways.into_iter().flatten();
    match (ways.next(), ways.next()) {
        (way, None) => Ok(way.unwrap_or_default()),
        _ => Err(ConfigError::Excluded { name: credentials, other: user }),
    }
}

struct Servers(Vec<String>);

impl std::str::FromStr for Servers {
    type Err = ();

    /// A password in an address would be shown with the settings, so none is taken.
    fn from_str(text: &str) -> Result<Self, ()> {
        let is_address = |address: &str| {
            let host = address.strip_prefix("nats://").or_else(|| address.strip_prefix("tls://"));
            host.is_some_and(|host| !host.is_empty() && !host.contains(['@', '/', ' ']))
        };
        let servers: Vec<_> = text.split(',').map(|address| address.trim().to_owned()).collect();
        if servers.iter().all(|address| is_address(address)) { Ok(Self(servers)) } else { Err(()) }
    }
}

/// Part of a subject, and of the name of a stream.
struct Word(String);

impl std::str::FromStr for Word {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let is_fit = |sign: char| sign.is_ascii_alphanumeric() || "-_".contains(sign);
        let is_word = (1..=64).contains(&text.len()) && text.chars().all(is_fit);
        if is_word { Ok(Self(text.to_owned())) } else { Err(()) }
    }
}

struct Sync(bool);

impl std::str::FromStr for Sync {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        match text {
            "stated" => Ok(Self(true)),
            "asked" => Ok(Self(false)),
            _ => Err(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(flags: &[(&'static str, &str)]) -> Result<Option<ClusterConfig>, String> {
        let mut settings = Settings::default();
        let flags: Vec<_> = flags.iter().map(|(name, value)| (*name, (*value).to_owned())).collect();
        settings.add_flags(&flags);
        ClusterConfig::from_settings(&settings).map_err(|error| error.to_string())
    }

    #[test]
    fn without_servers_this_is_no_node_and_nothing_else_may_be_set() {
        assert_eq!(load(&[]), Ok(None));
        let why = load(&[("cluster_node", "a")]).expect_err("it means nothing");
        assert!(why.contains("`cluster_node`") && why.contains("`cluster`"), "{why}");
    }

    #[test]
    fn a_node_is_set_up_by_its_servers_alone() {
        let found = load(&[("cluster", "nats://a:4222, tls://b")]).expect("it fits").expect("it is set");
        assert_eq!(found.servers, ["nats://a:4222", "tls://b"]);
        assert_eq!((found.name.as_str(), found.replicas, found.streams), ("weir", 3, 3));
        assert_eq!(found.identity, NatsIdentity::Nobody);
        assert!(!found.is_sync_stated && !found.is_development);
    }

    #[test]
    fn what_does_not_fit_is_refused_by_its_name() {
        let refused = |flags: &[(&'static str, &str)], words: &[&str]| {
            let mut all = vec![("cluster", "nats://a")];
            all.extend(flags);
            let why = load(&all).expect_err("it does not fit");
            assert!(words.iter().all(|word| why.contains(word)), "{words:?} are not in: {why}");
        };
        for address in ["a:4222", "http://a", "nats://u:p@a", "nats://", "nats://a,,nats://b"] {
            let why = load(&[("cluster", address)]).expect_err("it is no address");
            assert!(why.contains("`cluster`"), "{why}");
        }
        refused(&[("cluster_name", "a.b")], &["cluster_name"]);
        refused(&[("cluster_user", "u")], &["cluster_user", "cluster_password_file"]);
        refused(&[("cluster_key", "k")], &["cluster_key", "cluster_certificate"]);
        refused(&[("cluster_nkey", "n"), ("cluster_credentials", "c")], &["cluster_credentials"]);
        refused(&[("cluster_sync", "yes")], &["asked or stated"]);
        refused(&[("cluster_replicas", "0")], &["cluster_replicas", "1 to 5"]);
        refused(&[("cluster_streams", "17")], &["cluster_streams", "1 to 16"]);
    }
}
