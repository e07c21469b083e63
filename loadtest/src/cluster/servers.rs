//! Three servers of NATS JetStream on this machine, each syncing every write.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;
use tokenweir::cluster::demands::Demands;
use tokenweir::cluster::jetstream::{Access, Identity, Keeper, Setup};
use tokenweir::telemetry::clock;

use crate::failure::{Outcome, tell};
use crate::number::fraction;
use crate::process::{Cost, Service, find_program, free_port, pause, temporary_directory};
use crate::target::Wire;

/// Why nothing is measured where there is no server.
pub(super) const MISSING: &str =
    "there is no nats-server: set WEIR_NATS_SERVER to one, or run `cargo xtask cluster`, which fetches it";

const COUNT: u16 = 3;
/// How often they are started: what connects somewhere may have taken one of their ports meanwhile.
const TRIES_MAX: u32 = 3;
/// Much longer than a start takes.
const PATIENCE: Duration = Duration::from_secs(30);
/// The user of the streams; it is its password as well.
const USER: &str = "app";

/// The servers; they end with their handle.
pub(super) struct Servers {
    services: Vec<Service>,
    clients: Vec<u16>,
    monitors: Vec<u16>,
    folder: TempDir,
}

/// What went between some client and the servers.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Traffic {
    /// Messages from the client.
    pub(super) sent: u64,
    /// Messages to it.
    pub(super) received: u64,
}

impl Servers {
    /// Starts them; none where there is no program.
    pub(super) fn start() -> Outcome<Option<Self>> {
        let Some(program) = program() else { return Ok(None) };
        let mut tries = 1;
        loop {
            match Self::run(&program) {
                Err(failure) if tries < TRIES_MAX => tell(&format!("again: {failure}")),
                started => return started.map(Some),
            }
            tries += 1;
        }
    }

    fn run(program: &Path) -> Outcome<Self> {
        let folder = temporary_directory()?;
        let ports = || (0..COUNT).map(|_| free_port()).collect::<Outcome<Vec<u16>>>();
        let (clients, monitors, routes) = (ports()?, ports()?, ports()?);
        std::fs::write(folder.path().join(USER), USER)?;
        let all: Vec<_> = routes.iter().map(|port| format!("nats://127.0.0.1:{port}")).collect();
        let mut services = Vec::new();
        for server in 0..usize::from(COUNT) {
            let store = folder.path().join(server.to_string());
            let text = format!(
                "server_name: n{server}\nlisten: \"127.0.0.1:{}\"\nhttp: \"127.0.0.1:{}\"\n\
                 cluster {{ name: load, listen: \"127.0.0.1:{}\", routes: {all:?} }}\n\
                 jetstream {{ store_dir: {store:?}, max_file_store: 20GB, sync_interval: always }}\n\
                 accounts {{ APP {{ jetstream: enabled, users: [{{ user: {USER}, password: {USER} }}] }}\n\
                 SYS {{ users: [{{ user: sys, password: sys }}] }} }}\nsystem_account: SYS\n",
                clients[server], monitors[server], routes[server],
            );
            let file = folder.path().join(format!("{server}.conf"));
            std::fs::write(&file, text)?;
            services.push(Service::start("nats-server", Command::new(program).arg("-c").arg(file))?);
        }
        for service in &services {
            service.wait_for("Server is ready")?;
        }
        let servers = Self { services, clients, monitors, folder };
        servers.keeper("probe", 1)?;
        Ok(servers)
    }

    /// Their addresses.
    pub(super) fn addresses(&self) -> Vec<String> {
        self.clients.iter().map(|port| format!("nats://127.0.0.1:{port}")).collect()
    }

    /// The user of the streams, and the file with the password.
    pub(super) fn user(&self) -> (&'static str, PathBuf) {
        (USER, self.folder.path().join(USER))
    }

    /// Connects as nodes do, as soon as the servers serve.
    pub(super) fn keeper(&self, name: &str, streams: u16) -> Outcome<Keeper> {
        let identity = Identity::User(USER.to_owned(), USER.to_owned());
        let setup = Setup {
            name: name.to_owned(),
            access: Access { servers: self.addresses(), identity, ..Access::default() },
            system: None,
            demands: Demands { is_sync_stated: true, ..Demands::default() },
            streams,
            append_patience: Duration::from_secs(5),
        };
        let begun = clock::start();
        loop {
            match Keeper::connect(&setup) {
                Err(_) if begun.elapsed() < PATIENCE => pause(Duration::from_millis(100)),
                connected => return Ok(connected?),
            }
        }
    }

    /// What the three cost so far, together.
    pub(super) fn cost(&self) -> Cost {
        let all = self.services.iter().map(|service| Cost::of(service.pid()));
        all.fold(Cost::default(), |sum, one| Cost {
            cpu_seconds: sum.cpu_seconds + one.cpu_seconds,
            resident_bytes: sum.resident_bytes + one.resident_bytes,
            anonymous_bytes: sum.anonymous_bytes + one.anonymous_bytes,
            resident_bytes_max: sum.resident_bytes_max + one.resident_bytes_max,
        })
    }

    /// How many there are.
    pub(super) fn count() -> f64 {
        f64::from(COUNT)
    }

    /// What went to and from all connections of this name.
    pub(super) fn traffic(&self, name: &str) -> Outcome<Traffic> {
        let mut traffic = Traffic::default();
        for port in &self.monitors {
            let text = Wire::connect(&format!("127.0.0.1:{port}"))?.text("/connz")?;
            let told: Value = serde_json::from_str(&text)?;
            for connection in told["connections"].as_array().into_iter().flatten() {
                if connection["name"] == name {
                    traffic.sent += connection["in_msgs"].as_u64().unwrap_or(0);
                    traffic.received += connection["out_msgs"].as_u64().unwrap_or(0);
                }
            }
        }
        Ok(traffic)
    }
}

impl Traffic {
    /// How many of both a second since `before`.
    pub(super) fn rates(self, before: Self, took: Duration) -> (f64, f64) {
        let rate = |now: u64, then: u64| fraction(now - then) / took.as_secs_f64();
        (rate(self.sent, before.sent), rate(self.received, before.received))
    }
}

/// The program: what the variable names, or what `cargo xtask cluster` fetched, or the one of this machine.
fn program() -> Option<PathBuf> {
    let named = std::env::var_os("WEIR_NATS_SERVER").map(PathBuf::from);
    let beside =
        || Some(std::env::current_exe().ok()?.parent()?.parent()?.join("nats-server/bin/nats-server"));
    let is_there = |path: &PathBuf| path.is_file();
    named.filter(is_there).or_else(|| beside().filter(is_there)).or_else(|| find_program("nats-server"))
}
