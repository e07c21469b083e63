//! A server, by JSON bodies over HTTP: one that is started here, or one that runs.

use std::borrow::Cow;
use std::io::Write as _;
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::Command;

use serde_json::{Value, json};
use tempfile::TempDir;
use tokenweir::domain::limits::API_KEY_ORGANIZATIONS_MAX;
use tokenweir::edge::license_key::Issuer;
use tokenweir::meter::{Clock, Durability, Tokens};

use super::wire::head;
use super::{
    EPOCH, GRANTED, JournalSums, Receiver, Scene, Sender, Sums, Target, Verdict, Wire, camera_id, network,
};
use crate::failure::Outcome;
use crate::load::Item;
use crate::number::whole;
use crate::process::{Service, temporary_directory};

/// Connections that register cameras at a time.
const REGISTRARS: u64 = 16;

/// Which server.
#[derive(Clone, Debug)]
pub(crate) enum HttpPlan {
    /// One that is started on a temporary directory: this program, or the `weir` of this path.
    Start(Option<PathBuf>),
    /// One that runs, by its address, an operator key, and the file of an issuer that it trusts.
    Running { address: String, key: String, issuer: PathBuf },
}

/// A server with the organizations of a scene.
#[derive(Debug)]
pub(crate) struct Http {
    /// Its address.
    pub(crate) address: String,
    keys: Vec<Keys>,
    scene: Scene,
    server: Option<Server>,
}

/// A server that was started here; it ends with its handle.
#[derive(Debug)]
pub(crate) struct Server {
    /// Its address.
    pub(crate) address: String,
    /// Where it serves gRPC.
    pub(crate) grpc_url: String,
    /// An operator key.
    pub(crate) key: String,
    /// The file of an issuer that it trusts.
    issuer: PathBuf,
    service: Service,
    directory: TempDir,
}

/// The keys of some organizations.
#[derive(Clone, Debug)]
struct Keys {
    admin: String,
    gateway: String,
}

/// Starts a server on a temporary directory and waits until it is ready.
pub(crate) fn start_server(program: Option<&PathBuf>) -> Outcome<Server> {
    start_server_with(program, &[])
}

/// As [`start_server`], with more settings.
pub(crate) fn start_server_with(program: Option<&PathBuf>, settings: &[&str]) -> Outcome<Server> {
    let directory = temporary_directory()?;
    let program = program.cloned().map_or_else(std::env::current_exe, Ok)?;
    let key_file = directory.path().join("operator.key");
    let (issuer, issuers) = (directory.path().join("issuer.jwk"), directory.path().join("issuers"));
    std::fs::write(&issuers, Issuer::create(&issuer, None)?.public_line())?;
    let mut command = Command::new(program);
    // It names what this program starts, and is no setting.
    command.env_remove("WEIR_NATS_SERVER");
    command.arg("serve").arg("--data").arg(directory.path().join("data"));
    command.arg("--license-issuers").arg(&issuers);
    command.args([
        "--listen",
        "127.0.0.1:0",
        "--grpc-listen",
        "127.0.0.1:0",
        "--stop-with-stdin",
        "--log",
        "error",
        "--operator-key-file",
    ]);
    let service = Service::start("the server", command.arg(&key_file).args(settings))?;
    let line = service.wait_for("listening on http://")?;
    let address = line.rsplit_once("http://").map_or("", |(_, address)| address).trim().to_owned();
    let line = service.wait_for("grpc listening on ")?;
    let grpc_url = format!("http://{}", line.rsplit_once(' ').map_or("", |(_, address)| address).trim());
    service.wait_for("ready")?;
    // A node of a cluster that has an operator already makes none.
    let key = std::fs::read_to_string(&key_file).unwrap_or_default().trim().to_owned();
    Ok(Server { address, grpc_url, key, issuer, service, directory })
}

impl Server {
    /// Its process.
    pub(crate) fn pid(&self) -> u32 {
        self.service.pid()
    }

    /// Its data directory.
    pub(crate) fn data(&self) -> PathBuf {
        self.directory.path().join("data")
    }

    /// It, as one that runs already.
    pub(crate) fn plan(&self) -> HttpPlan {
        let (address, key, issuer) = (self.address.clone(), self.key.clone(), self.issuer.clone());
        HttpPlan::Running { address, key, issuer }
    }

    /// A license key of one license of so many tokens.
    pub(crate) fn license_key(&self, id: &str, tokens: u64) -> Outcome<String> {
        Ok(Issuer::open(&self.issuer)?.issue(id, &[(1, Tokens(tokens))], Clock::System.now())?)
    }

    /// Stops it in order; the folder of its data directory.
    pub(crate) fn stop(self) -> Outcome<TempDir> {
        self.service.stop()?;
        Ok(self.directory)
    }
}

impl Http {
    /// Finds or starts the server, and makes the organizations of the scene.
    pub(crate) fn new(plan: &HttpPlan, scene: &Scene) -> Outcome<Self> {
        let (server, address, key, issuer) = match plan {
            HttpPlan::Start(program) => {
                let server = start_server(program.as_ref())?;
                let (address, key, issuer) =
                    (server.address.clone(), server.key.clone(), server.issuer.clone());
                (Some(server), address, key, issuer)
            }
            HttpPlan::Running { address, key, issuer } => {
                let address = address.trim_start_matches("http://").trim_end_matches('/').to_owned();
                (None, address, key.clone(), issuer.clone())
            }
        };
        let issuer = Issuer::open(&issuer)?;
        let keys = make_organizations(&mut Wire::connect(&address)?, &key, &issuer, scene)?;
        let http = Self { address, keys, scene: scene.clone(), server };
        http.register_cameras()?;
        Ok(http)
    }

    /// The head of a request of debits for an organization, with a body of `length`.
    pub(crate) fn head(&self, organization: usize, length: usize) -> Outcome<Vec<u8>> {
        let path = debits_path(&self.scene, organization)?;
        Ok(head("POST", &path, &self.keys_of(organization).gateway, length))
    }

    /// A key that may debit organization `number`.
    pub(crate) fn gateway_key(&self, number: usize) -> &str {
        &self.keys_of(number).gateway
    }

    /// Where the server that was started here serves gRPC.
    pub(crate) fn grpc_url(&self) -> Option<&str> {
        self.server.as_ref().map(|server| server.grpc_url.as_str())
    }

    fn keys_of(&self, organization: usize) -> &Keys {
        &self.keys[organization / API_KEY_ORGANIZATIONS_MAX]
    }

    fn register_cameras(&self) -> Outcome {
        std::thread::scope(|scope| {
            let registrars: Vec<_> = (0..REGISTRARS.min(self.scene.cameras))
                .map(|first| scope.spawn(move || self.register_every(first)))
                .collect();
            let mut done = registrars.into_iter().map(|registrar| registrar.join().expect("no panic"));
            done.try_for_each(|outcome| outcome)
        })
    }

    fn register_every(&self, first: u64) -> Outcome {
        let mut wire = Wire::connect(&self.address)?;
        let step = usize::try_from(REGISTRARS).expect("a small number");
        for number in 0..self.scene.organizations {
            let organization = self.scene.organization(number)?;
            for camera in (first..self.scene.cameras).step_by(step) {
                let path = format!("/v1/organizations/{organization}/cameras/{}", camera_id(camera));
                let body = json!({"network": network(camera).as_str(), "cloud_ai": true});
                wire.call("PUT", &path, &self.keys_of(number).admin, &body)?;
            }
        }
        Ok(())
    }
}

impl Target for Http {
    fn connect(&self) -> Outcome<(Box<dyn Sender>, Box<dyn Receiver>)> {
        let wire = Wire::connect(&self.address)?;
        let heads = (0..self.scene.organizations)
            .map(|number| Ok((debits_path(&self.scene, number)?, self.keys_of(number).gateway.clone())))
            .collect::<Outcome<Vec<_>>>()?;
        let sender = HttpSender { stream: wire.writer()?, heads, body: Vec::new() };
        Ok((Box::new(sender), Box::new(HttpReceiver { wire })))
    }

    fn sums(&self) -> Outcome<Vec<Sums>> {
        let mut wire = Wire::connect(&self.address)?;
        let mut sums = Vec::new();
        for number in 0..self.scene.organizations {
            let path = format!("/v1/organizations/{}/summary", self.scene.organization(number)?);
            let summary = wire.call("GET", &path, &self.keys_of(number).admin, &Value::Null)?;
            let field = |name: &str| summary[name].as_u64().ok_or(format!("a summary without `{name}`"));
            sums.push(Sums {
                debits: field("debits_charged")?,
                tokens: field("used")?,
                available: field("available")?,
                granted: field("granted")?,
            });
        }
        Ok(sums)
    }

    fn journal(&self) -> Outcome<JournalSums> {
        let text = Wire::connect(&self.address)?.text("/metrics")?;
        let sum = |name: &str| {
            let lines = text.lines().filter(|line| line.starts_with(name));
            lines.filter_map(|line| line.rsplit_once(' ')?.1.parse::<f64>().ok()).map(whole).sum()
        };
        Ok(JournalSums {
            groups: sum("tokenweir_journal_groups_total"),
            bytes: sum("tokenweir_journal_bytes_total"),
        })
    }

    /// The server's process; zero for one that was not started here, and may be elsewhere.
    fn pid(&self) -> u32 {
        self.server.as_ref().map_or(0, |server| server.service.pid())
    }
}

struct HttpSender {
    stream: TcpStream,
    /// Path and key, by organization.
    heads: Vec<(String, String)>,
    body: Vec<u8>,
}

impl Sender for HttpSender {
    fn send(&mut self, organization: usize, items: &[Item]) -> Outcome {
        self.body.clear();
        write_body(&mut self.body, items)?;
        let (path, key) = &self.heads[organization];
        let mut request = head("POST", path, key, self.body.len());
        request.extend_from_slice(&self.body);
        Ok(self.stream.write_all(&request)?)
    }
}

struct HttpReceiver {
    wire: Wire,
}

impl Receiver for HttpReceiver {
    fn receive(&mut self, debits: usize, verdicts: &mut Vec<Verdict>) -> Outcome {
        let before = verdicts.len();
        let (status, body) = self.wire.read()?;
        if status == 200 {
            let text = std::str::from_utf8(body)?;
            verdicts.extend(text.split(r#"{"outcome":""#).skip(1).map(verdict));
        } else {
            let problem: Value = serde_json::from_slice(body).unwrap_or_default();
            let code = problem["code"].as_str().map_or_else(|| status.to_string(), str::to_owned);
            verdicts.extend(std::iter::repeat_n(Verdict::Refused(Cow::Owned(code)), debits));
        }
        let found = verdicts.len() - before;
        if found == debits {
            Ok(())
        } else {
            Err(format!("{debits} debits were answered with {found} outcomes").into())
        }
    }
}

/// Writes debits as a JSON array.
pub(crate) fn write_body(body: &mut Vec<u8>, items: &[Item]) -> Outcome {
    for (place, item) in items.iter().enumerate() {
        let Item { camera, seq, tokens } = item;
        let open = if place == 0 { '[' } else { ',' };
        let id = camera_id(u64::from(*camera));
        write!(body, r#"{open}{{"camera":"{id}","epoch":{EPOCH},"seq":{seq},"tokens":{tokens}}}"#)?;
    }
    body.push(b']');
    Ok(())
}

/// The verdict in what follows `"outcome":"`.
fn verdict(rest: &str) -> Verdict {
    match rest.as_bytes().first() {
        Some(b'c') => Verdict::Charged,
        Some(b'e') => Verdict::Exempt,
        Some(b'd') => Verdict::Duplicate,
        _ => {
            let code = rest.split_once(r#""code":""#).and_then(|(_, rest)| rest.split('"').next());
            Verdict::Refused(Cow::Owned(code.unwrap_or("unknown").to_owned()))
        }
    }
}

fn debits_path(scene: &Scene, organization: usize) -> Outcome<String> {
    let durability = match scene.durability {
        Durability::Durable => "durable",
        Durability::Applied => "applied",
    };
    Ok(format!("/v1/organizations/{}/debits?durability={durability}", scene.organization(organization)?))
}

/// Makes the organizations, their keys, and their tokens.
fn make_organizations(wire: &mut Wire, operator: &str, issuer: &Issuer, scene: &Scene) -> Outcome<Vec<Keys>> {
    let names = (0..scene.organizations).map(|number| Ok(scene.organization(number)?.to_string()));
    let names = names.collect::<Outcome<Vec<_>>>()?;
    for name in &names {
        wire.call("POST", "/v1/organizations", operator, &json!({"id": name, "name": "Load"}))?;
    }
    let mut keys = Vec::new();
    for some in names.chunks(API_KEY_ORGANIZATIONS_MAX) {
        let mut make = |role: &str| -> Outcome<String> {
            let body = json!({"label": "loadtest", "role": role, "organizations": some});
            let made = wire.call("POST", "/v1/keys", operator, &body)?;
            Ok(made["key"].as_str().ok_or("a key was made without a key")?.to_owned())
        };
        keys.push(Keys { admin: make("admin")?, gateway: make("gateway")? });
    }
    for (number, name) in names.iter().enumerate() {
        let key = issuer.issue(&format!("LOAD-{name}"), &[(1, Tokens(GRANTED))], Clock::System.now())?;
        let body = json!({ "key": key });
        let path = format!("/v1/organizations/{name}/licenses");
        wire.call("POST", &path, &keys[number / API_KEY_ORGANIZATIONS_MAX].admin, &body)?;
    }
    Ok(keys)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_is_an_array_of_debits() {
        let items = [Item { camera: 7, seq: 3, tokens: 5 }, Item { camera: 8, seq: 1, tokens: 9 }];
        let mut body = Vec::new();
        write_body(&mut body, &items).expect("memory takes all");
        let read: Value = serde_json::from_slice(&body).expect("it is JSON");
        let second = json!({"camera": "cam-000008", "epoch": 1, "seq": 1, "tokens": 9});
        assert_eq!((&read[1], read.as_array().map(Vec::len)), (&second, Some(2)));
    }

    #[test]
    fn verdicts_are_told_by_their_outcome() {
        for (rest, expected) in [
            (r#"charged"},"#, Verdict::Charged),
            (r#"exempt"}"#, Verdict::Exempt),
            (r#"duplicate","first":"charged"}"#, Verdict::Duplicate),
            (r#"refused","code":"busy","detail":"x"}"#, Verdict::Refused(Cow::Borrowed("busy"))),
        ] {
            assert_eq!(verdict(rest), expected);
        }
    }
}
