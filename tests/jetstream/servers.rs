//! Servers of NATS JetStream on this machine, to be killed.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use tokenweir::cluster::jetstream::{Access, Identity, Keeper};
use tokenweir::storage::Fault;
use tokenweir::telemetry::clock;

use crate::access::NKEY;
use crate::fit;

/// Much longer than a start takes.
const PATIENCE: Duration = Duration::from_secs(30);

/// When writes are synced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sync {
    Always,
    /// As servers do where nothing is set.
    TwoMinutes,
}

/// How servers are reached, with what more they ask for.
type Reach = Box<dyn Fn(Access) -> Access>;

/// Servers, killed when they are dropped.
pub(crate) struct Servers {
    program: PathBuf,
    folder: tempfile::TempDir,
    ports: Vec<u16>,
    running: Vec<Option<Child>>,
    reach: Reach,
}

impl Servers {
    /// Starts so many servers, as one cluster; none where there is no program.
    pub(crate) fn start(count: usize, sync: Sync) -> Option<Self> {
        Self::start_with("", count, sync, |access| access)
    }

    /// The same, with more in their configuration, and what that asks of who reaches them.
    pub(crate) fn start_with(
        more: &str,
        count: usize,
        sync: Sync,
        reach: impl Fn(Access) -> Access + 'static,
    ) -> Option<Self> {
        let Some(program) =
            std::env::var_os("WEIR_NATS_SERVER").map(PathBuf::from).filter(|path| path.exists())
        else {
            println!("skipped: there is no nats-server; `cargo xtask cluster` fetches it");
            return None;
        };
        let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a temporary directory");
        let listeners: Vec<_> =
            (0..2 * count).map(|_| TcpListener::bind("127.0.0.1:0").expect("a free port")).collect();
        let port = |listener: &TcpListener| listener.local_addr().expect("bound").port();
        let ports: Vec<u16> = listeners.iter().map(port).collect();
        drop(listeners);
        let (clients, routes) = ports.split_at(count);
        for (server, port) in clients.iter().enumerate() {
            let text = configuration(folder.path(), server, *port, routes, sync) + more;
            std::fs::write(configured(folder.path(), server), text).expect("written");
        }
        let ports = clients.to_vec();
        let running = (0..count).map(|_| None).collect();
        let mut servers = Self { program, folder, ports, running, reach: Box::new(reach) };
        (0..count).for_each(|server| servers.restart(server));
        servers.wait();
        Some(servers)
    }

    /// How many there are, running or not.
    pub(crate) fn count(&self) -> usize {
        self.ports.len()
    }

    /// All servers, as this user, whose password is the same word.
    pub(crate) fn access(&self, user: &str) -> Access {
        let servers = self.ports.iter().map(|port| format!("nats://127.0.0.1:{port}")).collect();
        let identity = Identity::User(user.to_owned(), user.to_owned());
        (self.reach)(Access { servers, identity, ..Access::default() })
    }

    /// Kills a server where it stands.
    pub(crate) fn kill(&mut self, server: usize) {
        if let Some(mut child) = self.running[server].take() {
            child.kill().expect("it can be killed");
            child.wait().expect("it ended");
        }
    }

    /// Starts a server that does not run.
    pub(crate) fn restart(&mut self, server: usize) {
        let log = self.folder.path().join(format!("{server}.log"));
        let log = std::fs::OpenOptions::new().create(true).append(true).open(log).expect("a log");
        let child = Command::new(&self.program)
            .arg("-c")
            .arg(configured(self.folder.path(), server))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn();
        self.running[server] = Some(child.expect("it starts"));
    }

    /// Waits until the servers have a leader and all of them answer.
    pub(crate) fn wait(&self) {
        let begun = clock::start();
        let probe = fit(self, "probe");
        loop {
            match Keeper::connect(&probe) {
                Err(Fault::Unfit { what, .. }) if !what.contains("did not answer") => return,
                Err(why) => assert!(begun.elapsed() < PATIENCE, "the servers do not serve: {why}"),
                Ok(_) => return,
            }
            std::thread::park_timeout(Duration::from_millis(50));
        }
    }
}

impl Drop for Servers {
    fn drop(&mut self) {
        (0..self.running.len()).for_each(|server| self.kill(server));
    }
}

fn configured(folder: &Path, server: usize) -> PathBuf {
    folder.join(format!("{server}.conf"))
}

fn configuration(folder: &Path, server: usize, port: u16, routes: &[u16], sync: Sync) -> String {
    let sync = if sync == Sync::Always { "sync_interval: always" } else { "" };
    let store = folder.join(server.to_string());
    let all: Vec<_> = routes.iter().map(|port| format!("nats://127.0.0.1:{port}")).collect();
    let cluster = if routes.len() == 1 {
        String::new()
    } else {
        format!("cluster {{ name: test, listen: \"127.0.0.1:{}\", routes: {all:?} }}", routes[server])
    };
    format!(
        "server_name: n{server}\nlisten: \"127.0.0.1:{port}\"\n{cluster}\n\
         jetstream {{ store_dir: {store:?}, max_file_store: 2GB, {sync} }}\n\
         accounts {{ APP {{ jetstream: enabled, users: [{{ user: app, password: app }}, {{ nkey: {NKEY} }}] }}\n\
         SYS {{ users: [{{ user: sys, password: sys }}] }} }}\nsystem_account: SYS\n"
    )
}
