//! A server of this crate as a node, in the process of the test: let in by credentials, and told by `/readyz` when another one has taken its name.

use std::path::{Path, PathBuf};

use tempfile::TempDir;
use tokenweir::cluster::jetstream::{Access, Identity, Keeper};
use tokenweir::config::{ClusterConfig, Config, NatsIdentity};
use tokenweir::server::Server;
use tokenweir::telemetry::clock;
use tokio::runtime::Runtime;

use crate::fit;
use crate::operator::Operator;
use crate::servers::{Servers, Sync};
use crate::told::readiness_at;

/// A server in operator mode, and the credentials of a user of its account and of one of the system account.
fn operated(operator: &Operator, folder: &Path) -> Option<(Servers, [PathBuf; 2])> {
    let credentials = [operator.user(folder), operator.system_user(folder)];
    let [user, system] = credentials.clone();
    let reach = move |access: Access| {
        let is_system = access.identity == Identity::User("sys".to_owned(), "sys".to_owned());
        let identity = Identity::Credentials(if is_system { system.clone() } else { user.clone() });
        Access { identity, ..access }
    };
    let servers = Servers::start_of(&operator.configuration(), Sync::Always, reach)?;
    Some((servers, credentials))
}

struct Node {
    server: Server,
    runtime: Runtime,
    _folder: TempDir,
}

impl Node {
    fn start(servers: &Servers, [user, system]: &[PathBuf; 2]) -> Self {
        let folder = tempfile::tempdir().expect("a temporary directory");
        let mut config = Config::new(folder.path().join("data"));
        config.listen = "127.0.0.1:0".parse().expect("an address");
        (config.reports, config.alerts.is_on, config.partitions) = (false, false, 2);
        config.cluster = Some(ClusterConfig {
            servers: servers.access("app").servers,
            node: Some("n".to_owned()),
            identity: NatsIdentity::Credentials(user.clone()),
            system: NatsIdentity::Credentials(system.clone()),
            replicas: 1,
            ..ClusterConfig::default()
        });
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
        let (runtime, server) = (runtime.expect("a runtime"), Server::bind(&config).expect("a free port"));
        runtime.block_on(server.open()).expect("it is let in, and the servers do");
        Self { server, runtime, _folder: folder }
    }

    fn expect_told(&self, expected: (u16, &str)) {
        let begun = clock::start();
        loop {
            let (status, word) = readiness_at(&format!("http://{}", self.server.address()));
            if (status, word.as_str()) == expected {
                return;
            }
            assert!(begun.elapsed() < crate::FAILOVER_MAX, "{status} {word}, {expected:?} is due");
            std::thread::park_timeout(std::time::Duration::from_millis(10));
        }
    }

    fn stop(self) {
        self.runtime.block_on(self.server.stop()).expect("in order");
    }
}

#[test]
fn a_node_with_credentials_is_let_in_by_servers_in_operator_mode_and_ends_when_another_takes_its_name() {
    let folder = tempfile::tempdir().expect("a temporary directory");
    let Some((servers, credentials)) = operated(&Operator::new(), folder.path()) else { return };
    let first = Node::start(&servers, &credentials);
    first.expect_told((200, "ready"));
    let second = Node::start(&servers, &credentials);
    first.expect_told((503, "ended"));
    second.expect_told((200, "ready"));
    first.stop();
    second.stop();
}

#[test]
fn credentials_of_another_operator_are_refused() {
    let folder = tempfile::tempdir().expect("a temporary directory");
    let Some((servers, _)) = operated(&Operator::new(), folder.path()) else { return };
    let other = Identity::Credentials(Operator::new().user(folder.path()));
    let mut setup = fit(&servers, "other");
    setup.access = Access { identity: other, ..setup.access };
    let why = Keeper::connect(&setup).expect_err("nobody here signed them").to_string();
    assert!(why.contains("authorization"), "{why}");
}
