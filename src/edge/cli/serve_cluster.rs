//! The flags of a cluster: how its servers are reached, for all that use them, and what makes `weir serve` a node.

use clap::Args;

/// How the servers of a cluster are reached.
#[derive(Args, Debug, Default)]
#[command(next_help_heading = "Cluster")]
pub struct AccessArgs {
    /// Servers of NATS that keep the journals, with commas.
    #[arg(long, value_name = "URLS")]
    pub cluster: Option<String>,
    /// How the names of streams and subjects begin [default: weir].
    #[arg(long, value_name = "NAME")]
    pub cluster_name: Option<String>,
    /// User of NATS to be.
    #[arg(long, value_name = "NAME")]
    pub cluster_user: Option<String>,
    /// Password of that user.
    #[arg(long, value_name = "FILE")]
    pub cluster_password_file: Option<String>,
    /// Seed of the nkey to be.
    #[arg(long, value_name = "FILE")]
    pub cluster_nkey: Option<String>,
    /// Credentials to have.
    #[arg(long, value_name = "FILE")]
    pub cluster_credentials: Option<String>,
    /// Authorities of the servers' certificates, in PEM.
    #[arg(long, value_name = "FILE")]
    pub cluster_ca: Option<String>,
    /// Certificate for the servers, in PEM.
    #[arg(long, value_name = "FILE")]
    pub cluster_certificate: Option<String>,
    /// Its private key, in PEM.
    #[arg(long, value_name = "FILE")]
    pub cluster_key: Option<String>,
}

/// How a node of a cluster is set up.
#[derive(Args, Debug, Default)]
#[command(next_help_heading = "Cluster")]
pub struct ClusterArgs {
    /// How the servers are reached; with them this is a node of their cluster.
    #[command(flatten)]
    pub access: AccessArgs,
    /// Name of this node [default: the machine's, and the port of HTTP].
    #[arg(long, value_name = "NAME")]
    pub cluster_node: Option<String>,
    /// Where others reach this node by HTTP [default: --listen].
    #[arg(long, value_name = "URL")]
    pub cluster_http: Option<String>,
    /// Where others reach this node by gRPC [default: --grpc-listen].
    #[arg(long, value_name = "URL")]
    pub cluster_grpc: Option<String>,
    /// User of the system account, who asks the servers how they are set up.
    #[arg(long, value_name = "NAME")]
    pub cluster_system_user: Option<String>,
    /// Password of that user.
    #[arg(long, value_name = "FILE")]
    pub cluster_system_password_file: Option<String>,
    /// Credentials of a user of the system account.
    #[arg(long, value_name = "FILE")]
    pub cluster_system_credentials: Option<String>,
    /// Whether servers are `asked` if they sync each write, or it is `stated` that they do.
    #[arg(long, value_name = "HOW")]
    pub cluster_sync: Option<String>,
    /// How many servers keep each stream.
    #[arg(long, value_name = "N")]
    pub cluster_replicas: Option<String>,
    /// How many streams keep the journals of a new cluster.
    #[arg(long, value_name = "N")]
    pub cluster_streams: Option<String>,
    /// Take servers that may lose what they acknowledged: `on` or `off`.
    #[arg(long, value_name = "ON|OFF")]
    pub cluster_development: Option<String>,
    /// How long a node that is not heard is believed to live.
    #[arg(long, value_name = "MS")]
    pub cluster_term_ms: Option<String>,
}

impl AccessArgs {
    /// Names of settings and what the flags say of them.
    pub(super) fn flags(&self) -> Vec<(&'static str, &Option<String>)> {
        vec![
            ("cluster", &self.cluster),
            ("cluster_name", &self.cluster_name),
            ("cluster_user", &self.cluster_user),
            ("cluster_password_file", &self.cluster_password_file),
            ("cluster_nkey", &self.cluster_nkey),
            ("cluster_credentials", &self.cluster_credentials),
            ("cluster_ca", &self.cluster_ca),
            ("cluster_certificate", &self.cluster_certificate),
            ("cluster_key", &self.cluster_key),
        ]
    }

    /// Each flag given, with this value.
    #[cfg(test)]
    fn all(value: &str) -> Self {
        let set = || Some(value.to_owned());
        Self {
            cluster: set(),
            cluster_name: set(),
            cluster_user: set(),
            cluster_password_file: set(),
            cluster_nkey: set(),
            cluster_credentials: set(),
            cluster_ca: set(),
            cluster_certificate: set(),
            cluster_key: set(),
        }
    }
}

impl ClusterArgs {
    /// Names of settings and what the flags say of them.
    pub(super) fn flags(&self) -> Vec<(&'static str, &Option<String>)> {
        let own = [
            ("cluster_node", &self.cluster_node),
            ("cluster_http", &self.cluster_http),
            ("cluster_grpc", &self.cluster_grpc),
            ("cluster_system_user", &self.cluster_system_user),
            ("cluster_system_password_file", &self.cluster_system_password_file),
            ("cluster_system_credentials", &self.cluster_system_credentials),
            ("cluster_sync", &self.cluster_sync),
            ("cluster_replicas", &self.cluster_replicas),
            ("cluster_streams", &self.cluster_streams),
            ("cluster_development", &self.cluster_development),
            ("cluster_term_ms", &self.cluster_term_ms),
        ];
        self.access.flags().into_iter().chain(own).collect()
    }

    /// Each flag given, with this value.
    #[cfg(test)]
    pub(super) fn all(value: &str) -> Self {
        let set = || Some(value.to_owned());
        Self {
            access: AccessArgs::all(value),
            cluster_node: set(),
            cluster_http: set(),
            cluster_grpc: set(),
            cluster_system_user: set(),
            cluster_system_password_file: set(),
            cluster_system_credentials: set(),
            cluster_sync: set(),
            cluster_replicas: set(),
            cluster_streams: set(),
            cluster_development: set(),
            cluster_term_ms: set(),
        }
    }
}
