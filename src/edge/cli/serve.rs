//! The flags of `weir serve`. Each names a setting of the server's configuration; what they mean is said there.

use std::io::Read as _;
use std::path::PathBuf;

use clap::Args;
use rustix::process::{Signal, getpid, kill_process};

use crate::config::{Config, ConfigError};

use super::failure::Failure;
use super::serve_cluster::ClusterArgs;

/// How the server is set up: flags come before `WEIR_<SETTING>` in the environment, and these before the file.
#[derive(Args, Debug, Default)]
pub struct ServeArgs {
    /// TOML file with settings.
    #[arg(long, env = "WEIR_CONFIG", value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// The data directory; made when it is not there [default: weir-data].
    #[arg(long, alias = "data-dir", value_name = "DIR")]
    pub data: Option<String>,
    /// Address and port to listen on; port 0 takes a free one [default: 127.0.0.1:8080].
    #[arg(long, value_name = "ADDR")]
    pub listen: Option<String>,
    /// Address and port of gRPC, or off [default: that of --listen, one port higher].
    #[arg(long, value_name = "ADDR")]
    pub grpc_listen: Option<String>,
    /// Threads that serve gRPC.
    #[arg(long, value_name = "N")]
    pub grpc_workers: Option<String>,
    /// Longest gRPC message.
    #[arg(long, value_name = "BYTES")]
    pub grpc_message_bytes_max: Option<String>,
    /// Debits that one gRPC stream may have in flight.
    #[arg(long, value_name = "N")]
    pub grpc_credit_debits: Option<String>,
    /// Most open gRPC streams.
    #[arg(long, value_name = "N")]
    pub grpc_streams_max: Option<String>,
    /// Where the first operator key of a new data directory is written; it is printed otherwise.
    #[arg(long, value_name = "FILE")]
    pub operator_key_file: Option<String>,
    /// Public keys of issuers whose license keys are believed, one a line; SIGHUP reads it again [default: nobody's are].
    #[arg(long, value_name = "FILE")]
    pub license_issuers: Option<String>,
    /// Issuers whose tokens are taken beside API keys, in TOML; SIGHUP reads it again [default: nobody's are].
    #[arg(long, value_name = "FILE")]
    pub token_issuers: Option<String>,
    /// Certificate of the server in PEM, for TLS on HTTP and gRPC; SIGHUP reads it again.
    #[arg(long, value_name = "FILE")]
    pub tls_certificate: Option<String>,
    /// Private key of the certificate, in PEM.
    #[arg(long, value_name = "FILE")]
    pub tls_key: Option<String>,
    /// Authorities of client certificates in PEM; without one of theirs nobody is served.
    #[arg(long, value_name = "FILE")]
    pub tls_client_ca: Option<String>,
    /// Threads that serve HTTP.
    #[arg(long, value_name = "N")]
    pub workers: Option<String>,
    /// Partitions of a new data directory [default: the cores].
    #[arg(long, value_name = "N")]
    pub partitions: Option<String>,
    /// What is logged, as `info` or `tokenweir=debug`.
    #[arg(long, value_name = "FILTER")]
    pub log: Option<String>,
    /// How log lines look: text or json.
    #[arg(long, value_name = "FORMAT")]
    pub log_format: Option<String>,
    /// How long event ids of new organizations are remembered.
    #[arg(long, value_name = "MS")]
    pub retention_ms: Option<String>,
    /// Journal growth after which a partition is snapshotted.
    #[arg(long, value_name = "BYTES")]
    pub snapshot_bytes: Option<String>,
    /// Time after which a partition is snapshotted when anything was journaled.
    #[arg(long, value_name = "MS")]
    pub snapshot_period_ms: Option<String>,
    /// Journal that each partition keeps for restoring to a point in time.
    #[arg(long, value_name = "BYTES")]
    pub journal_keep_bytes: Option<String>,
    /// Whether reports are kept: `on` or `off`.
    #[arg(long, value_name = "ON|OFF")]
    pub reports: Option<String>,
    /// Journal that each partition keeps until it is reported.
    #[arg(long, value_name = "BYTES")]
    pub reports_journal_bytes_max: Option<String>,
    /// Debits of each organization that its AI event log keeps.
    #[arg(long, value_name = "N")]
    pub reports_events_max: Option<String>,
    /// Whether the console is served: `on` or `off`.
    #[arg(long, value_name = "ON|OFF")]
    pub console: Option<String>,
    /// Whether thresholds are watched and webhooks called: `on` or `off`.
    #[arg(long, value_name = "ON|OFF")]
    pub alerts: Option<String>,
    /// File that the secrets of webhooks are derived from.
    #[arg(long, value_name = "FILE")]
    pub webhook_key: Option<String>,
    /// Networks that are not of the internet and that webhooks may lie in.
    #[arg(long, value_name = "NETWORKS")]
    pub webhook_private: Option<String>,
    /// Longest time that a webhook may take to answer.
    #[arg(long, value_name = "MS")]
    pub webhook_timeout_ms: Option<String>,
    /// Length of a partition's first journal segment.
    #[arg(long, value_name = "BYTES")]
    pub segment_bytes_min: Option<String>,
    /// Length of the largest journal segments.
    #[arg(long, value_name = "BYTES")]
    pub segment_bytes_max: Option<String>,
    /// Debits that one organization may have in flight.
    #[arg(long, value_name = "N")]
    pub in_flight_max: Option<String>,
    /// Longest request body.
    #[arg(long, value_name = "BYTES")]
    pub body_bytes_max: Option<String>,
    /// Most bytes of request bodies held at once, and a quarter of it for one key.
    #[arg(long, value_name = "BYTES")]
    pub bodies_bytes_max: Option<String>,
    /// Most debits of one body.
    #[arg(long, value_name = "N")]
    pub batch_debits_max: Option<String>,
    /// Most connections that are served; a few more are answered on /healthz, /readyz and /metrics.
    #[arg(long, value_name = "N")]
    pub connections_max: Option<String>,
    /// Longest time that a request head, and then its body, may take to arrive.
    #[arg(long, value_name = "MS")]
    pub request_timeout_ms: Option<String>,
    /// How long an idle connection is kept.
    #[arg(long, value_name = "MS")]
    pub keep_alive_ms: Option<String>,
    /// Longest time that a caller of a transfer may wait for its end.
    #[arg(long, value_name = "MS")]
    pub transfer_wait_ms: Option<String>,
    /// Time that requests in flight get when the server stops.
    #[arg(long, value_name = "MS")]
    pub stop_timeout_ms: Option<String>,
    /// A node of a cluster.
    #[command(flatten)]
    pub cluster: ClusterArgs,
    /// Stop in order when standard input closes: for a program that starts the server and must not outlive it.
    #[arg(long)]
    pub stop_with_stdin: bool,
}

impl ServeArgs {
    /// The configuration from all sources.
    ///
    /// # Errors
    /// When a setting cannot be read or does not fit.
    pub fn load(&self) -> Result<Config, Failure> {
        let usage = |error: ConfigError| Failure::usage(error.to_string());
        Config::load(self.config.as_deref(), &self.flags()).map_err(usage)
    }

    /// The configuration from all sources, and what of it is set: name, value and place.
    ///
    /// # Errors
    /// As [`Self::load`].
    pub fn load_with_places(&self) -> Result<(Config, Vec<[String; 3]>), Failure> {
        let usage = |error: ConfigError| Failure::usage(error.to_string());
        Config::load_with_places(self.config.as_deref(), &self.flags()).map_err(usage)
    }

    /// Stops this process in order when standard input closes, if that was asked for.
    pub fn watch_stdin(&self) {
        if self.stop_with_stdin {
            std::thread::spawn(|| {
                // Whatever ends the reading, a close or a fault: nobody is on the other side any more.
                drop(std::io::stdin().lock().read_to_end(&mut Vec::new()));
                _ = kill_process(getpid(), Signal::TERM);
            });
        }
    }

    fn flags(&self) -> Vec<(&'static str, String)> {
        let flags = [
            ("data_dir", &self.data),
            ("listen", &self.listen),
            ("grpc_listen", &self.grpc_listen),
            ("grpc_workers", &self.grpc_workers),
            ("grpc_message_bytes_max", &self.grpc_message_bytes_max),
            ("grpc_credit_debits", &self.grpc_credit_debits),
            ("grpc_streams_max", &self.grpc_streams_max),
            ("operator_key_file", &self.operator_key_file),
            ("license_issuers", &self.license_issuers),
            ("token_issuers", &self.token_issuers),
            ("tls_certificate", &self.tls_certificate),
            ("tls_key", &self.tls_key),
            ("tls_client_ca", &self.tls_client_ca),
            ("workers", &self.workers),
            ("partitions", &self.partitions),
            ("log", &self.log),
            ("log_format", &self.log_format),
            ("retention_ms", &self.retention_ms),
            ("snapshot_bytes", &self.snapshot_bytes),
            ("snapshot_period_ms", &self.snapshot_period_ms),
            ("segment_bytes_min", &self.segment_bytes_min),
            ("journal_keep_bytes", &self.journal_keep_bytes),
            ("reports", &self.reports),
            ("reports_journal_bytes_max", &self.reports_journal_bytes_max),
            ("reports_events_max", &self.reports_events_max),
            ("console", &self.console),
            ("alerts", &self.alerts),
            ("webhook_key", &self.webhook_key),
            ("webhook_private", &self.webhook_private),
            ("webhook_timeout_ms", &self.webhook_timeout_ms),
            ("segment_bytes_max", &self.segment_bytes_max),
            ("in_flight_max", &self.in_flight_max),
            ("body_bytes_max", &self.body_bytes_max),
            ("bodies_bytes_max", &self.bodies_bytes_max),
            ("batch_debits_max", &self.batch_debits_max),
            ("connections_max", &self.connections_max),
            ("request_timeout_ms", &self.request_timeout_ms),
            ("keep_alive_ms", &self.keep_alive_ms),
            ("transfer_wait_ms", &self.transfer_wait_ms),
            ("stop_timeout_ms", &self.stop_timeout_ms),
        ];
        let flags = flags.into_iter().chain(self.cluster.flags());
        flags.filter_map(|(name, value)| Some((name, value.clone()?))).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::config::NAMES;

    #[test]
    fn every_setting_has_a_flag() {
        let set = || Some("1".to_owned());
        let args = ServeArgs {
            config: None,
            data: set(),
            listen: set(),
            grpc_listen: set(),
            grpc_workers: set(),
            grpc_message_bytes_max: set(),
            grpc_credit_debits: set(),
            grpc_streams_max: set(),
            operator_key_file: set(),
            license_issuers: set(),
            token_issuers: set(),
            tls_certificate: set(),
            tls_key: set(),
            tls_client_ca: set(),
            workers: set(),
            partitions: set(),
            log: set(),
            log_format: set(),
            retention_ms: set(),
            snapshot_bytes: set(),
            snapshot_period_ms: set(),
            segment_bytes_min: set(),
            journal_keep_bytes: set(),
            reports: set(),
            reports_journal_bytes_max: set(),
            reports_events_max: set(),
            console: set(),
            alerts: set(),
            webhook_key: set(),
            webhook_private: set(),
            webhook_timeout_ms: set(),
            segment_bytes_max: set(),
            in_flight_max: set(),
            body_bytes_max: set(),
            bodies_bytes_max: set(),
            batch_debits_max: set(),
            connections_max: set(),
            request_timeout_ms: set(),
            keep_alive_ms: set(),
            transfer_wait_ms: set(),
            stop_timeout_ms: set(),
            cluster: ClusterArgs::all("1"),
            stop_with_stdin: false,
        };
        let flags: BTreeSet<_> = args.flags().into_iter().map(|(name, _)| name).collect();
        assert_eq!(flags, NAMES.into_iter().collect());
    }
}
