//! The whole configuration of the server.
//!
//! A setting comes from the flags of the command line, else from the environment (`WEIR_` and its name in capitals), else from a
//! TOML file, else it has its default. An unknown name and a value that does not fit are errors that name the setting and
//! where it stands: a misspelt bound must not silently be the default.

mod cluster;
mod networks;
mod settings;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use crate::domain::limits::{BATCH_DEBITS_MAX, PARTITIONS_MAX, RETENTION_MS_MAX, RETENTION_MS_MIN};
use crate::meter;

use settings::Settings;

pub use cluster::{ClusterConfig, NatsIdentity};
pub use networks::Networks;

/// Where the server listens unless configured.
pub const LISTEN_DEFAULT: &str = "127.0.0.1:8080";

/// The names of all settings, in files and in the environment.
pub const NAMES: [&str; 60] = [
    "data_dir",
    "listen",
    "grpc_listen",
    "grpc_workers",
    "grpc_message_bytes_max",
    "grpc_credit_debits",
    "grpc_streams_max",
    "workers",
    "partitions",
    "retention_ms",
    "snapshot_bytes",
    "snapshot_period_ms",
    "journal_keep_bytes",
    "reports",
    "reports_journal_bytes_max",
    "reports_events_max",
    "console",
    "alerts",
    "webhook_key",
    "webhook_private",
    "webhook_timeout_ms",
    "segment_bytes_min",
    "segment_bytes_max",
    "in_flight_max",
    "body_bytes_max",
    "bodies_bytes_max",
    "batch_debits_max",
    "connections_max",
    "request_timeout_ms",
    "keep_alive_ms",
    "transfer_wait_ms",
    "stop_timeout_ms",
    "log",
    "log_format",
    "operator_key_file",
    "license_issuers",
    "token_issuers",
    "tls_certificate",
    "tls_key",
    "tls_client_ca",
    "cluster",
    "cluster_name",
    "cluster_node",
    "cluster_http",
    "cluster_grpc",
    "cluster_user",
    "cluster_password_file",
    "cluster_nkey",
    "cluster_credentials",
    "cluster_ca",
    "cluster_certificate",
    "cluster_key",
    "cluster_system_user",
    "cluster_system_password_file",
    "cluster_system_credentials",
    "cluster_sync",
    "cluster_replicas",
    "cluster_streams",
    "cluster_development",
    "cluster_term_ms",
];

/// How the server is set up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// `data_dir`: the data directory; made when it is not there. Default: `weir-data`.
    pub data_dir: PathBuf,
    /// `listen`: address and port of the HTTP server; port 0 takes a free one. Default: `127.0.0.1:8080`.
    pub listen: SocketAddr,
    /// `grpc_listen`: address and port of the gRPC server, or `off`; port 0 takes a free one. Default: that of `listen`, one port higher.
    pub grpc_listen: GrpcListen,
    /// `grpc_workers`: threads that serve gRPC, 1 to 256. Default: 2.
    pub grpc_workers: usize,
    /// `grpc_message_bytes_max`: longest gRPC message, 1 KiB to 256 MiB. Default: 4 MiB.
    pub grpc_message_bytes_max: u64,
    /// `grpc_credit_debits`: debits that one gRPC stream may have in flight, 1 to 16,777,216. Default: 16,384.
    pub grpc_credit_debits: u64,
    /// `grpc_streams_max`: most open gRPC streams. Default: 1,024.
    pub grpc_streams_max: usize,
    /// `workers`: threads that serve HTTP, 1 to 256. Default: 2.
    pub workers: usize,
    /// `partitions`: partitions of a new data directory, 1 to 64. Default: the cores.
    pub partitions: u16,
    /// `retention_ms`: how long event ids of new organizations are remembered, 1 minute to 35 days. Default: 24 hours.
    pub retention_ms: u64,
    /// `snapshot_bytes`: journal growth after which a partition is snapshotted. Default: 64 MiB.
    pub snapshot_bytes: u64,
    /// `snapshot_period_ms`: time after which a partition is snapshotted when anything was journaled. Default: 15 minutes.
    pub snapshot_period_ms: u64,
    /// `journal_keep_bytes`: journal that each partition keeps for restoring to a point in time, in bytes of segments, beyond
    /// what a start needs. Default: 0.
    pub journal_keep_bytes: u64,
    /// `reports`: whether reports are kept, `on` or `off`. Default: `on`.
    pub reports: bool,
    /// `reports_journal_bytes_max`: journal that each partition keeps until it is reported, in bytes of segments, beyond what a
    /// start needs. Default: 1 GiB.
    pub reports_journal_bytes_max: u64,
    /// `reports_events_max`: debits of each organization that its AI event log keeps, up to 1,000,000. Default: 20,000.
    pub reports_events_max: usize,
    /// `console`: whether the console is served on the address of HTTP, `on` or `off`. Default: `on`.
    pub console: bool,
    /// `alerts`, `webhook_key`, `webhook_private`, `webhook_timeout_ms`: thresholds and webhooks.
    pub alerts: AlertsConfig,
    /// `segment_bytes_min`: length of a partition's first journal segment, from 64 KiB. Default: 4 MiB.
    pub segment_bytes_min: u64,
    /// `segment_bytes_max`: length of the largest journal segments, up to 1 GiB. Default: 64 MiB.
    pub segment_bytes_max: u64,
    /// `in_flight_max`: debits that one organization may have in flight, at least a whole batch. Default: 65,536.
    pub in_flight_max: u64,
    /// `body_bytes_max`: longest request body, 1 KiB to 256 MiB. Default: 8 MiB.
    pub body_bytes_max: u64,
    /// `bodies_bytes_max`: most bytes of request bodies and of messages of single gRPC calls held at once, at least one of
    /// either; of one key a quarter, and at least one. Default: 256 MiB.
    pub bodies_bytes_max: u64,
    /// `batch_debits_max`: most debits of one body, 1 to 10,000. Default: 10,000.
    pub batch_debits_max: usize,
    /// `connections_max`: most connections that may ask for anything; lowered with a warning when the process may not open as many
    /// files. Default: 1,024.
    pub connections_max: usize,
    /// `request_timeout_ms`: longest time that a request head, and then its body, may take to arrive, from 1 second. Default: 15 seconds.
    pub request_timeout_ms: u64,
    /// `keep_alive_ms`: how long an idle connection is kept, from 1 second. Default: 60 seconds.
    pub keep_alive_ms: u64,
    /// `transfer_wait_ms`: longest time that a caller of a transfer may wait for its end. Default: 10 seconds.
    pub transfer_wait_ms: u64,
    /// `stop_timeout_ms`: time that requests in flight get when the server stops, in whole seconds. Default: 10 seconds.
    pub stop_timeout_ms: u64,
    /// `log`: what is logged, as a filter of `tracing`. Default: `info,actix_server=warn`.
    pub log: String,
    /// `log_format`: `text` or `json`. Default: `text`.
    pub log_format: LogFormat,
    /// `operator_key_file`: where the first operator key is written, readable by its owner alone. Default: it is printed.
    pub operator_key_file: Option<PathBuf>,
    /// `license_issuers`: file with the public keys of issuers whose license keys are believed. Default: nobody's are.
    pub license_issuers: Option<PathBuf>,
    /// `token_issuers`: TOML file with the issuers whose tokens are taken beside API keys. Default: nobody's are.
    pub token_issuers: Option<PathBuf>,
    /// `tls_certificate`, `tls_key`, `tls_client_ca`: TLS on both edges. Default: none.
    pub tls: Option<TlsFiles>,
    /// `cluster` and what begins so: this is a node of a cluster, whose journals are kept by servers of NATS. Default: it is not.
    pub cluster: Option<ClusterConfig>,
}

/// How thresholds are watched and webhooks called.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AlertsConfig {
    /// `alerts`: whether it is done at all, `on` or `off`. Default: `on`.
    pub is_on: bool,
    /// `webhook_key`: file that the secrets of webhooks are derived from, made when it is not there. Default: `webhooks.key` in
    /// the data directory.
    pub key: Option<PathBuf>,
    /// `webhook_private`: networks that are not of the internet and that webhooks may lie in all the same, with commas. Default: none.
    pub private: Networks,
    /// `webhook_timeout_ms`: longest time that a webhook may take to answer, up to a minute. Default: 10 seconds.
    pub timeout_ms: u64,
}

impl Default for AlertsConfig {
    fn default() -> Self {
        Self { is_on: true, key: None, private: Networks::default(), timeout_ms: 10_000 }
    }
}

/// Files of TLS, each in PEM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsFiles {
    /// `tls_certificate`: the server's certificate, then those that lead to its authority.
    pub certificate: PathBuf,
    /// `tls_key`: its private key.
    pub key: PathBuf,
    /// `tls_client_ca`: authorities of client certificates; without one of theirs nobody is served. Default: none is asked for.
    pub client_ca: Option<PathBuf>,
}

/// Where gRPC is served.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum GrpcListen {
    /// Where HTTP is served, one port higher; on a free port when HTTP takes a free one.
    #[default]
    BesideHttp,
    /// On this address.
    At(SocketAddr),
    /// Nowhere.
    Off,
}

/// How log lines look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// Why a configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// A file cannot be read as TOML.
    #[error("the configuration cannot be read: {0}")]
    Unreadable(#[from] config::ConfigError),
    /// There is no such setting.
    #[error("{place}: there is no setting `{name}`; the settings are {}", NAMES.join(", "))]
    Unknown {
        /// Its name.
        name: String,
        /// Where it stands.
        place: String,
    },
    /// A value does not fit its setting.
    #[error("{place}: `{name}` is {expected}, not {found}")]
    Value {
        /// The setting.
        name: &'static str,
        /// Where it stands.
        place: String,
        /// What fits.
        expected: String,
        /// What was found.
        found: String,
    },
    /// A setting means nothing without another one.
    #[error("`{name}` is set and `{missing}` is not; set it as well, or neither")]
    Incomplete {
        /// The setting.
        name: &'static str,
        /// The other one.
        missing: &'static str,
    },
    /// Two settings exclude each other.
    #[error(
        "`{name}` and `{other}`, or what goes with it, are both set; there is one way to say who this is, leave the other out"
    )]
    Excluded {
        /// The setting.
        name: &'static str,
        /// The other one.
        other: &'static str,
    },
}

impl Config {
    /// The defaults, on this data directory.
    #[must_use]
    pub fn new(data_dir: impl Into<PathBuf>) -> Self {
        let meter = meter::Config::new(data_dir);
        Self {
            data_dir: meter.directory,
            listen: LISTEN_DEFAULT.parse().expect("a valid address"),
            grpc_listen: GrpcListen::BesideHttp,
            grpc_workers: 2,
            grpc_message_bytes_max: 4 << 20,
            grpc_credit_debits: 16_384,
            grpc_streams_max: 1_024,
            workers: 2,
            partitions: meter.partitions,
            retention_ms: meter.retention_ms,
            snapshot_bytes: meter.snapshot_bytes,
            snapshot_period_ms: meter.snapshot_period_ms,
            journal_keep_bytes: meter.journal_keep_bytes,
            reports: true,
            reports_journal_bytes_max: 1 << 30,
            reports_events_max: 20_000,
            console: true,
            alerts: AlertsConfig::default(),
            segment_bytes_min: meter.segment_bytes_min,
            segment_bytes_max: meter.segment_bytes_max,
            in_flight_max: meter.in_flight_max,
            body_bytes_max: 8 << 20,
            bodies_bytes_max: 256 << 20,
            batch_debits_max: BATCH_DEBITS_MAX,
            connections_max: 1_024,
            request_timeout_ms: 15_000,
            keep_alive_ms: 60_000,
            transfer_wait_ms: 10_000,
            stop_timeout_ms: 10_000,
            log: "info,actix_server=warn".to_owned(),
            log_format: LogFormat::Text,
            operator_key_file: None,
            license_issuers: None,
            token_issuers: None,
            tls: None,
            cluster: None,
        }
    }

    /// Loads the configuration: from a file if there is one, from the environment of the process, and from
    /// what the flags of the command line say, by name.
    ///
    /// # Errors
    /// When the file cannot be read, when a setting is unknown, or when a value does not fit.
    pub fn load(file: Option<&Path>, flags: &[(&'static str, String)]) -> Result<Self, ConfigError> {
        Ok(Self::load_with_places(file, flags)?.0)
    }

    /// The same, and what is set: the name, the value and the place of each setting that is not left to its default.
    ///
    /// # Errors
    /// As [`Self::load`].
    pub fn load_with_places(
        file: Option<&Path>,
        flags: &[(&'static str, String)],
    ) -> Result<(Self, Vec<[String; 3]>), ConfigError> {
        let mut settings = Settings::default();
        if let Some(file) = file {
            settings.add_file(file)?;
        }
        settings.add_environment(std::env::vars_os())?;
        settings.add_flags(flags);
        Ok((Self::from_settings(&settings)?, settings.shown()))
    }

    /// Where gRPC is served; none when it is off.
    #[must_use]
    pub fn grpc_address(&self) -> Option<SocketAddr> {
        match self.grpc_listen {
            GrpcListen::Off => None,
            GrpcListen::At(address) => Some(address),
            GrpcListen::BesideHttp => {
                let port = match self.listen.port() {
                    0 => 0,
                    port => port.checked_add(1).unwrap_or(0),
                };
                Some(SocketAddr::new(self.listen.ip(), port))
            }
        }
    }

    /// What the meter needs of it.
    #[must_use]
    pub fn meter(&self) -> meter::Config {
        meter::Config {
            partitions: self.partitions,
            retention_ms: self.retention_ms,
            snapshot_bytes: self.snapshot_bytes,
            snapshot_period_ms: self.snapshot_period_ms,
            journal_keep_bytes: self.journal_keep_bytes,
            segment_bytes_min: self.segment_bytes_min,
            segment_bytes_max: self.segment_bytes_max,
            in_flight_max: self.in_flight_max,
            ..meter::Config::new(&self.data_dir)
        }
    }

    fn from_settings(settings: &Settings) -> Result<Self, ConfigError> {
        const DAY_MS: u64 = 24 * 60 * 60 * 1_000;
        let d = Self::new("weir-data");
        let batch_debits_max =
            settings.number("batch_debits_max", d.batch_debits_max, 1, BATCH_DEBITS_MAX)?;
        let segment_bytes_min =
            settings.number("segment_bytes_min", d.segment_bytes_min, 64 << 10, 1 << 30)?;
        let segment_max = d.segment_bytes_max.max(segment_bytes_min);
        let body_bytes_max = settings.number("body_bytes_max", d.body_bytes_max, 1 << 10, 256 << 20)?;
        let grpc_message_bytes_max =
            settings.number("grpc_message_bytes_max", d.grpc_message_bytes_max, 1 << 10, 256 << 20)?;
        let batch = u64::try_from(batch_debits_max).unwrap_or(u64::MAX);
        Ok(Self {
            data_dir: settings.text("data_dir")?.map_or(d.data_dir, PathBuf::from),
            listen: settings.parsed("listen", "an address and port like 127.0.0.1:8080")?.unwrap_or(d.listen),
            grpc_listen: settings
                .parsed("grpc_listen", "an address and port like 127.0.0.1:8081, or off")?
                .unwrap_or_default(),
            grpc_workers: settings.number("grpc_workers", d.grpc_workers, 1, 256)?,
            grpc_message_bytes_max,
            grpc_credit_debits: settings.number("grpc_credit_debits", d.grpc_credit_debits, 1, 1 << 24)?,
            grpc_streams_max: settings.number("grpc_streams_max", d.grpc_streams_max, 1, 1 << 20)?,
            workers: settings.number("workers", d.workers, 1, 256)?,
            partitions: settings.number("partitions", d.partitions, 1, PARTITIONS_MAX)?,
            retention_ms: retention_ms(settings, d.retention_ms)?,
            snapshot_bytes: settings.number("snapshot_bytes", d.snapshot_bytes, 64 << 10, 1 << 40)?,
            snapshot_period_ms: settings.number("snapshot_period_ms", d.snapshot_period_ms, 1_000, DAY_MS)?,
            journal_keep_bytes: settings.number("journal_keep_bytes", d.journal_keep_bytes, 0, 1 << 50)?,
            reports: switch(settings, "reports")?,
            reports_journal_bytes_max: settings.number(
                "reports_journal_bytes_max",
                d.reports_journal_bytes_max,
                0,
                1 << 50,
            )?,
            reports_events_max: settings.number("reports_events_max", d.reports_events_max, 0, 1_000_000)?,
            console: switch(settings, "console")?,
            alerts: AlertsConfig::from_settings(settings)?,
            segment_bytes_min,
            segment_bytes_max: settings.number(
                "segment_bytes_max",
                segment_max,
                segment_bytes_min,
                1 << 30,
            )?,
            in_flight_max: settings.number("in_flight_max", d.in_flight_max, batch, 1 << 24)?,
            body_bytes_max,
            bodies_bytes_max: settings.number(
                "bodies_bytes_max",
                d.bodies_bytes_max,
                body_bytes_max.max(grpc_message_bytes_max),
                1 << 40,
            )?,
            batch_debits_max,
            connections_max: settings.number("connections_max", d.connections_max, 1, 1 << 20)?,
            request_timeout_ms: settings.number("request_timeout_ms", d.request_timeout_ms, 1_000, DAY_MS)?,
            keep_alive_ms: settings.number("keep_alive_ms", d.keep_alive_ms, 1_000, DAY_MS)?,
            transfer_wait_ms: settings.number("transfer_wait_ms", d.transfer_wait_ms, 1, DAY_MS)?,
            stop_timeout_ms: settings.number("stop_timeout_ms", d.stop_timeout_ms, 1_000, DAY_MS)?,
            log: settings.text("log")?.unwrap_or(d.log),
            log_format: settings.parsed("log_format", "text or json")?.unwrap_or_default(),
            operator_key_file: settings.text("operator_key_file")?.map(PathBuf::from),
            license_issuers: settings.text("license_issuers")?.map(PathBuf::from),
            token_issuers: settings.text("token_issuers")?.map(PathBuf::from),
            tls: TlsFiles::from_settings(settings)?,
            cluster: ClusterConfig::from_settings(settings)?,
        })
    }
}

fn retention_ms(settings: &Settings, default: u64) -> Result<u64, ConfigError> {
    settings.number("retention_ms", default, RETENTION_MS_MIN, RETENTION_MS_MAX)
}

/// What is on unless it is switched off.
fn switch(settings: &Settings, name: &'static str) -> Result<bool, ConfigError> {
    Ok(settings.parsed::<Switch>(name, "on or off")?.is_none_or(|switch| switch.0))
}

impl AlertsConfig {
    fn from_settings(settings: &Settings) -> Result<Self, ConfigError> {
        let d = Self::default();
        let networks = "networks like 10.0.0.0/8,fd00::/8 with commas between";
        Ok(Self {
            is_on: switch(settings, "alerts")?,
            key: settings.text("webhook_key")?.map(PathBuf::from),
            private: settings.parsed("webhook_private", networks)?.unwrap_or_default(),
            timeout_ms: settings.number("webhook_timeout_ms", d.timeout_ms, 100, 60_000)?,
        })
    }
}

impl TlsFiles {
    fn from_settings(settings: &Settings) -> Result<Option<Self>, ConfigError> {
        let client_ca = settings.text("tls_client_ca")?.map(PathBuf::from);
        match settings.pair("tls_certificate", "tls_key")? {
            Some((certificate, key)) => {
                Ok(Some(Self { certificate: certificate.into(), key: key.into(), client_ca }))
            }
            None if client_ca.is_some() => {
                Err(ConfigError::Incomplete { name: "tls_client_ca", missing: "tls_certificate" })
            }
            None => Ok(None),
        }
    }
}

/// What is on or off.
struct Switch(bool);

impl std::str::FromStr for Switch {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        match text {
            "on" => Ok(Self(true)),
            "off" => Ok(Self(false)),
            _ => Err(()),
        }
    }
}

impl std::str::FromStr for GrpcListen {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        if text == "off" { Ok(Self::Off) } else { text.parse().map(Self::At).map_err(|_| ()) }
    }
}

impl std::str::FromStr for LogFormat {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        match text {
            "text" => Ok(Self::Text),
            "json" => Ok(Self::Json),
            _ => Err(()),
        }
    }
}
