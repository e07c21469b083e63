//! PostgreSQL, started here, with synchronous commits.

use std::fs::Permissions;
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use postgres::{Client, NoTls, Statement};
use tempfile::TempDir;
use tokenweir::telemetry::clock;

use super::have;
use crate::compare::{Measured, Probe};
use crate::failure::Outcome;
use crate::number::{per_second, u64_of};
use crate::process::{Service, find_program, free_port, output};

const ORGANIZATIONS: i32 = 1_000;
const CAMERAS: i32 = 10;
const BATCH_ORGANIZATIONS: i32 = 4;
const BATCH_CAMERAS: i32 = 10_000;
const BATCH: i32 = 500;
const CLIENTS: i32 = 16;
const GRANTED: i64 = 9_000_000_000_000;

/// The tables and functions. A debit that the balance cannot pay raises, which takes the whole call back.
const SCHEMA: &str = "
CREATE TABLE pool (org int PRIMARY KEY, balance bigint NOT NULL) WITH (fillfactor = 10);
CREATE TABLE camera (org int, camera int, seq bigint NOT NULL, PRIMARY KEY (org, camera)) WITH (fillfactor = 50);
CREATE FUNCTION debit(o int, c int, s bigint, t bigint) RETURNS int LANGUAGE plpgsql AS $$
BEGIN
  UPDATE camera SET seq = s WHERE org = o AND camera = c AND seq < s;
  IF NOT FOUND THEN RETURN 0; END IF;
  UPDATE pool SET balance = balance - t WHERE org = o AND balance >= t;
  IF NOT FOUND THEN RAISE 'insufficient tokens'; END IF;
  RETURN 1;
END $$;
CREATE FUNCTION debit_many(o int, cs int[], ss bigint[], ts bigint[]) RETURNS int LANGUAGE plpgsql AS $$
DECLARE total bigint; charged int;
BEGIN
  WITH d AS (SELECT * FROM unnest(cs, ss, ts) AS d(camera, seq, tokens)),
  u AS (UPDATE camera k SET seq = d.seq FROM d WHERE k.org = o AND k.camera = d.camera AND k.seq < d.seq RETURNING d.tokens)
  SELECT sum(tokens), count(*) INTO total, charged FROM u;
  IF charged = 0 THEN RETURN 0; END IF;
  UPDATE pool SET balance = balance - total WHERE org = o AND balance >= total;
  IF NOT FOUND THEN RAISE 'insufficient tokens'; END IF;
  RETURN charged;
END $$;";

/// Every probe of PostgreSQL; why there is none where it is not there.
pub(crate) fn probes() -> Outcome<Result<Vec<Probe>, String>> {
    // The system's package puts the programs beside the PATH, so they are looked for before and after.
    if folder().is_none()
        && let Err(reason) = have("initdb", "postgresql")
        && folder().is_none()
    {
        return Ok(Err(reason));
    }
    let mut postgres = Postgres::start()?;
    Ok(Ok(vec![Probe::new("postgresql", move |length| postgres.measure(length))]))
}

struct Postgres {
    /// The directory of the socket and the port: how to connect.
    connection: String,
    round: i64,
    #[expect(dead_code, reason = "kept for its end: the process goes with it")]
    service: Service,
    #[expect(dead_code, reason = "kept for its end: the directory goes with it")]
    directory: TempDir,
}

/// The folder of the server's programs: of the newest version that the system has.
fn folder() -> Option<PathBuf> {
    if let Some(path) = find_program("initdb").and_then(|path| path.canonicalize().ok()) {
        return path.parent().map(Path::to_owned);
    }
    let versions = std::fs::read_dir("/usr/lib/postgresql").ok()?;
    let folders = versions.filter_map(|version| Some(version.ok()?.path().join("bin")));
    folders.filter(|folder| folder.join("initdb").is_file()).max()
}

/// A command that runs as the account of the database when this process is root, which the server refuses to be.
fn as_account(program: &Path) -> Outcome<Command> {
    let mut command = Command::new(program);
    if let Some((user, group)) = account()? {
        command.uid(user).gid(group);
    }
    Ok(command)
}

fn account() -> Outcome<Option<(u32, u32)>> {
    let id = |flag, user: &[&str]| output("id", &[&[flag], user].concat());
    if id("-u", &[]).as_deref() != Some("0") {
        return Ok(None);
    }
    let of = |flag| id(flag, &["postgres"]).ok_or("there is no account `postgres`");
    Ok(Some((of("-u")?.parse()?, of("-g")?.parse()?)))
}

impl Postgres {
    fn start() -> Outcome<Self> {
        let folder = folder().ok_or("the programs of postgresql are nowhere to be found")?;
        // Where its own account may go: not below the working directory, which may be somebody's home.
        let directory = tempfile::Builder::new().prefix("loadtest-pg-").tempdir_in("/var/tmp")?;
        if let Some((user, group)) = account()? {
            chown(directory.path(), Some(user), Some(group))?;
        }
        std::fs::set_permissions(directory.path(), Permissions::from_mode(0o700))?;
        let (data, port) = (directory.path().join("data"), free_port()?);
        let mut made = as_account(&folder.join("initdb"))?;
        made.args(["--auth=trust", "--username=postgres", "--encoding=UTF8", "--no-sync", "-D"]).arg(&data);
        let made = made.current_dir(directory.path()).stdin(Stdio::null()).output()?;
        if !made.status.success() {
            return Err(format!("initdb: {}", String::from_utf8_lossy(&made.stderr)).into());
        }
        let mut command = as_account(&folder.join("postgres"))?;
        command.current_dir(directory.path()).arg("-D").arg(&data);
        for setting in [
            &format!("port={port}"),
            &format!("unix_socket_directories={}", directory.path().display()),
            "listen_addresses=",
            "synchronous_commit=on",
            "fsync=on",
            "wal_level=minimal",
            "max_wal_senders=0",
            "shared_buffers=512MB",
            "max_wal_size=8GB",
            "checkpoint_timeout=1h",
            "autovacuum=off",
            "jit=off",
        ] {
            command.arg("-c").arg(setting);
        }
        let service = Service::start("postgresql", &mut command)?;
        service.wait_for("ready to accept connections")?;
        let connection =
            format!("host={} port={port} user=postgres dbname=postgres", directory.path().display());
        let postgres = Self { connection, round: 0, service, directory };
        postgres.fill()?;
        Ok(postgres)
    }

    fn fill(&self) -> Outcome {
        let mut client = self.connect()?;
        client.batch_execute(SCHEMA)?;
        let all = ORGANIZATIONS + BATCH_ORGANIZATIONS;
        client.batch_execute(&format!(
            "INSERT INTO pool SELECT o, {GRANTED} FROM generate_series(0, {all} - 1) o;
             INSERT INTO camera SELECT o, c, 0 FROM generate_series(0, {ORGANIZATIONS} - 1) o, generate_series(0, {CAMERAS} - 1) c;
             INSERT INTO camera SELECT o, c, 0 FROM generate_series({ORGANIZATIONS}, {all} - 1) o, generate_series(0, {BATCH_CAMERAS} - 1) c;"
        ))?;
        client.batch_execute("VACUUM ANALYZE")?;
        Ok(())
    }

    fn connect(&self) -> Outcome<Client> {
        Ok(Client::connect(&self.connection, NoTls)?)
    }

    fn measure(&mut self, length: Duration) -> Measured {
        // Numbers of a later round lie above those of an earlier one.
        self.round += 1;
        let base = self.round << 40;
        let single = self.clients(CLIENTS, |client, place, begun| {
            let statement = client.prepare("SELECT debit($1, $2, $3, $4)")?;
            one_after_the_other(client, &statement, (place, base), length, begun)
        })?;
        let many = self.clients(BATCH_ORGANIZATIONS, |client, place, begun| {
            let statement = client.prepare("SELECT debit_many($1, $2, $3, $4)")?;
            many_at_a_time(client, &statement, (place, base), length, begun)
        })?;
        self.connect()?.batch_execute("VACUUM")?;
        Ok(vec![("postgres_single", single), ("postgres_500", many)])
    }

    /// Debits a second of so many clients, each a thread with a connection.
    fn clients(
        &self,
        count: i32,
        work: impl Fn(&mut Client, i32, std::time::Instant) -> Outcome<u64> + Sync,
    ) -> Outcome<f64> {
        let clients = (0..count).map(|_| self.connect()).collect::<Outcome<Vec<_>>>()?;
        let begun = clock::start();
        let debits = std::thread::scope(|scope| {
            let working: Vec<_> = (0..count)
                .zip(clients)
                .map(|(place, mut client)| {
                    let work = &work;
                    scope.spawn(move || work(&mut client, place, begun))
                })
                .collect();
            let done = working.into_iter().map(|client| client.join().expect("clients do not panic"));
            done.collect::<Outcome<Vec<u64>>>()
        })?;
        Ok(per_second(debits.iter().sum(), begun.elapsed()))
    }
}

fn one_after_the_other(
    client: &mut Client,
    statement: &Statement,
    (place, base): (i32, i64),
    length: Duration,
    begun: std::time::Instant,
) -> Outcome<u64> {
    let mut sent = 0;
    while begun.elapsed() < length {
        // Each client has organizations of its own: the sixteenth part.
        let turn = i32::try_from(sent % i64::from(ORGANIZATIONS / CLIENTS))?;
        let (org, camera) = (place + turn * CLIENTS, i32::try_from(sent / 62 % i64::from(CAMERAS))?);
        let row = client.query_one(statement, &[&org, &camera, &(base + sent + 1), &(1 + sent % 2_000)])?;
        if row.get::<_, i32>(0) != 1 {
            return Err("postgresql did not charge a debit".into());
        }
        sent += 1;
    }
    Ok(u64::try_from(sent)?)
}

fn many_at_a_time(
    client: &mut Client,
    statement: &Statement,
    (place, base): (i32, i64),
    length: Duration,
    begun: std::time::Instant,
) -> Outcome<u64> {
    let (mut lap, mut debits) = (0_i64, 0);
    while begun.elapsed() < length {
        let first = i32::try_from(lap % i64::from(BATCH_CAMERAS / BATCH))? * BATCH;
        let cameras: Vec<i32> = (first..first + BATCH).collect();
        let seqs = vec![base + lap + 1; cameras.len()];
        let tokens: Vec<i64> = (1..=i64::from(BATCH)).collect();
        let row = client.query_one(statement, &[&(ORGANIZATIONS + place), &cameras, &seqs, &tokens])?;
        if row.get::<_, i32>(0) != BATCH {
            return Err("postgresql did not charge a batch whole".into());
        }
        debits += u64_of(cameras.len());
        lap += 1;
    }
    Ok(debits)
}
