//! Servers of NATS JetStream on this machine, to be killed.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use async_nats::jetstream::stream::PeerInfo;
use futures_util::TryStreamExt as _;
use rustix::process::{Pid, Signal, kill_process};
use tokenweir::cluster::jetstream::{Access, Identity, Keeper};
use tokenweir::storage::Fault;
use tokenweir::telemetry::clock;

use crate::access::NKEY;
use crate::fit;
use crate::network::Network;

/// Much longer than a start takes.
const PATIENCE: Duration = Duration::from_secs(30);
/// A leader hears each copy every second.
const HEARD: Duration = Duration::from_secs(2);

/// When writes are synced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sync {
    Always,
    /// As servers do where nothing is set.
    TwoMinutes,
}

/// Where a server is: what it is started by, and the addresses of its clients and of the other servers.
struct Place {
    within: Vec<String>,
    client: String,
    route: String,
}

/// How servers are reached, with what more they ask for.
type Reach = Box<dyn Fn(Access) -> Access>;

/// Servers, killed when they are dropped.
pub(crate) struct Servers {
    program: PathBuf,
    folder: tempfile::TempDir,
    places: Vec<Place>,
    running: Vec<Option<Child>>,
    reach: Reach,
}

impl Servers {
    /// Starts so many servers, as one cluster; none where there is no program.
    pub(crate) fn start(count: usize, sync: Sync) -> Option<Self> {
        Self::start_with("", count, sync, |access| access)
    }

    /// The same, each on a host of a network.
    pub(crate) fn start_at(network: &Network, hosts: &[u8], sync: Sync) -> Option<Self> {
        let place = |host: &u8| {
            let address = network.address(*host);
            let (client, route) = (format!("{address}:4222"), format!("{address}:6222"));
            Place { within: network.within(*host), client, route }
        };
        Self::start_in(hosts.iter().map(place).collect(), &accounts(), sync, |access| access)
    }

    /// The same, with more in their configuration, and what that asks of who reaches them.
    pub(crate) fn start_with(
        more: &str,
        count: usize,
        sync: Sync,
        reach: impl Fn(Access) -> Access + 'static,
    ) -> Option<Self> {
        Self::start_in(places(count), &(accounts() + more), sync, reach)
    }

    /// One server with accounts of another kind.
    pub(crate) fn start_of(
        accounts: &str,
        sync: Sync,
        reach: impl Fn(Access) -> Access + 'static,
    ) -> Option<Self> {
        Self::start_in(places(1), accounts, sync, reach)
    }

    fn start_in(
        places: Vec<Place>,
        accounts: &str,
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
        for server in 0..places.len() {
            let text = configuration(folder.path(), server, &places, sync) + accounts;
            std::fs::write(configured(folder.path(), server), text).expect("written");
        }
        let count = places.len();
        let running = (0..count).map(|_| None).collect();
        let mut servers = Self { program, folder, places, running, reach: Box::new(reach) };
        (0..count).for_each(|server| servers.restart(server));
        servers.wait();
        Some(servers)
    }

    /// How many there are, running or not.
    pub(crate) fn count(&self) -> usize {
        self.places.len()
    }

    /// All servers, as this user, whose password is the same word.
    pub(crate) fn access(&self, user: &str) -> Access {
        let servers = self.places.iter().map(|place| format!("nats://{}", place.client)).collect();
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

    /// Stops a server as an operator does: it hands over what it leads, and ends.
    pub(crate) fn stop(&mut self, server: usize) {
        let mut child = self.running[server].take().expect("it runs");
        let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw).expect("a process id");
        kill_process(pid, Signal::TERM).expect("it was not waited for yet");
        child.wait().expect("it ends");
    }

    /// Starts a server that does not run.
    pub(crate) fn restart(&mut self, server: usize) {
        let log = self.folder.path().join(format!("{server}.log"));
        let log = std::fs::OpenOptions::new().create(true).append(true).open(log).expect("a log");
        let mut command = match &self.places[server].within[..] {
            [] => Command::new(&self.program),
            [first, rest @ ..] => {
                let mut command = Command::new(first);
                command.args(rest).arg(&self.program);
                command
            }
        };
        let child = command
            .arg("-c")
            .arg(configured(self.folder.path(), server))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn();
        self.running[server] = Some(child.expect("it starts"));
    }

    /// Waits until every stream has a leader that has just heard all its copies. A server that was away may be away for seconds more, and when it is back
    /// others are elected.
    pub(crate) fn settle(&self) {
        self.wait();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let begun = clock::start();
        while !runtime.block_on(self.are_settled()).unwrap_or(false) {
            assert!(begun.elapsed() < PATIENCE, "the copies of a stream do not hear each other");
            std::thread::park_timeout(Duration::from_millis(200));
        }
    }

    async fn are_settled(&self) -> Result<bool, async_nats::Error> {
        let Access { servers, .. } = self.access("app");
        let options = async_nats::ConnectOptions::with_user_and_password("app".into(), "app".into());
        let context = async_nats::jetstream::new(options.connect(servers).await?);
        let mut streams = context.streams();
        while let Some(stream) = streams.try_next().await? {
            let copies = stream.cluster.unwrap_or_default();
            let is_heard = |copy: &PeerInfo| copy.current && !copy.offline && copy.active < HEARD;
            if copies.leader.is_none() || !copies.replicas.iter().all(is_heard) {
                return Ok(false);
            }
        }
        Ok(true)
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

fn configuration(folder: &Path, server: usize, places: &[Place], sync: Sync) -> String {
    let sync = if sync == Sync::Always { "sync_interval: always" } else { "" };
    let store = folder.join(server.to_string());
    let all: Vec<_> = places.iter().map(|place| format!("nats://{}", place.route)).collect();
    let Place { client, route, .. } = &places[server];
    let cluster = if places.len() == 1 {
        String::new()
    } else {
        format!("cluster {{ name: test, listen: {route:?}, routes: {all:?} }}")
    };
    format!(
        "server_name: n{server}\nlisten: {client:?}\n{cluster}\n\
         jetstream {{ store_dir: {store:?}, max_file_store: 2GB, {sync} }}\n"
    )
}

/// A user of an account that may keep streams, by password or nkey, and one of the system account.
fn accounts() -> String {
    format!(
        "accounts {{ APP {{ jetstream: enabled, users: [{{ user: app, password: app }}, {{ nkey: {NKEY} }}] }}\n\
         SYS {{ users: [{{ user: sys, password: sys }}] }} }}\nsystem_account: SYS\n"
    )
}

/// Free places on this machine.
fn places(count: usize) -> Vec<Place> {
    let listeners: Vec<_> =
        (0..2 * count).map(|_| TcpListener::bind("127.0.0.1:0").expect("a free port")).collect();
    let address = |at: usize| listeners[at].local_addr().expect("bound").to_string();
    let place =
        |server| Place { within: Vec::new(), client: address(2 * server), route: address(2 * server + 1) };
    (0..count).map(place).collect()
}
