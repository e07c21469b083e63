//! `weir serve` with a certificate, and the commands that talk to it.

use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};

use crate::pki::Authority;
use crate::process::{
    Ended, PATIENCE, Running, license_key, operator_key, program, text, trusted_issuers, weir,
};
use crate::scene::Scene;

/// A server with a certificate, which says under which process id it runs.
struct Encrypted {
    running: Running,
    pid: Pid,
    url: String,
    key: String,
}

impl Encrypted {
    fn start(scene: &Scene, more: &[&str]) -> Self {
        Self::start_trusting(scene, more, None)
    }

    /// One that trusts this authority alone when it calls others.
    fn start_trusting(scene: &Scene, more: &[&str], authority: Option<&Path>) -> Self {
        let weir = program();
        let mut command = Command::new("sh");
        command.args(["-c", "echo pid $$; exec \"$0\" \"$@\""]).arg(weir.get_program());
        let (data, key) = (scene.data(), scene.path("operator.key"));
        command.args(["serve", "--listen", "127.0.0.1:0", "--log", "off", "--data", text(&data)]);
        command.args(["--operator-key-file", text(&key)]);
        command.args(["--tls-certificate", text(&scene.path("server.pem"))]);
        command.args(["--tls-key", text(&scene.path("server.key"))]).args(more);
        if let Some(authority) = authority {
            command.env("SSL_CERT_FILE", authority).env_remove("SSL_CERT_DIR");
        }
        let running = Running::start_command(command.process_group(0).stdin(Stdio::null()));
        let pid = running.wait_for("pid ").parse().expect("a number");
        let url = running.wait_for("listening on ");
        running.wait_for("ready");
        Self { running, pid: Pid::from_raw(pid).expect("a process id"), url, key: operator_key(&key) }
    }

    fn orgs(&self, trust: &[&str]) -> Ended {
        weir(&[&["orgs", "list", "--json", "--server", &self.url, "--key", &self.key], trust].concat())
    }

    fn hang_up(&self) {
        kill_process(self.pid, Signal::HUP).expect("it runs");
    }
}

fn certify(scene: &Scene, authority: &Authority) {
    authority.certify(&scene.path("server.pem"), &scene.path("server.key"));
}

fn trusting(path: &Path) -> [&str; 2] {
    ["--ca", text(path)]
}

#[test]
fn commands_reach_a_server_with_a_certificate_that_they_trust_and_no_other() {
    let scene = Scene::new();
    let authority = Authority::new(&scene.path("ca"));
    let other = Authority::new(&scene.path("other"));
    certify(&scene, &authority);
    let client_ca = authority.ca();
    let server = Encrypted::start(&scene, &["--tls-client-ca", text(&client_ca)]);
    assert!(server.url.starts_with("https://"), "{}", server.url);
    let identity = authority.identity();
    let shown = ["--ca", text(&client_ca), "--identity", text(&identity)];
    assert_eq!(server.orgs(&shown).json(), serde_json::json!({"organizations": [], "incomplete": []}));
    let (unlike, missing) = (other.ca(), scene.path("none.pem"));
    for (trust, code, part) in [
        (&trusting(&client_ca)[..], 1, "no answer"),
        (&["--ca", text(&unlike), "--identity", text(&identity)], 1, "invalid peer certificate"),
        (&["--ca", text(&missing)], 2, "none.pem cannot be read"),
        (
            &["--ca", text(&client_ca), "--identity", text(&client_ca)],
            2,
            "both a certificate and its private key",
        ),
    ] {
        let ended = server.orgs(trust);
        assert!(ended.code == code && ended.stderr.contains(part), "{trust:?}: {ended:?}");
    }
    assert_eq!(server.running.stop(), Some(0));
}

#[test]
fn sighup_reads_the_certificate_again_and_a_bad_one_is_told_and_not_taken() {
    let scene = Scene::new();
    let (first, second) = (Authority::new(&scene.path("first")), Authority::new(&scene.path("second")));
    certify(&scene, &first);
    let server = Encrypted::start(&scene, &[]);
    let (old, new) = (first.ca(), second.ca());
    certify(&scene, &second);
    assert_eq!(server.orgs(&trusting(&old)).code, 0, "nothing is read before the signal");
    server.hang_up();
    server.running.wait_for("certificate read again");
    assert_eq!((server.orgs(&trusting(&new)).code, server.orgs(&trusting(&old)).code), (0, 1));
    std::fs::write(scene.path("server.key"), "").expect("written");
    server.hang_up();
    let told = server.running.wait_for("certificate kept: ");
    assert!(told.contains("`tls_key`") && told.contains("server.key"), "{told}");
    assert_eq!(server.orgs(&trusting(&new)).code, 0);
    assert_eq!(server.running.stop(), Some(0));
}

#[test]
fn a_webhook_is_called_by_tls_where_its_certificate_is_trusted_and_nowhere_else() {
    let scene = Scene::new();
    let (authority, other) = (Authority::new(&scene.path("ca")), Authority::new(&scene.path("other")));
    certify(&scene, &authority);
    let (folder, ca) = (scene.path("issuer"), authority.ca());
    std::fs::create_dir_all(&folder).expect("a directory");
    let issuers = trusted_issuers(&folder);
    let more = ["--license-issuers", text(&issuers), "--webhook-private", "127.0.0.0/8"];
    for (round, trusted, told) in [("1", &ca, "status 404"), ("2", &other.ca(), "certificate")] {
        let server = Encrypted::start_trusting(&scene, &more, Some(trusted));
        let run = |key: &str, args: &[&str]| {
            let server = ["--json", "--server", &server.url, "--key", key, "--ca", text(&ca)];
            weir(&[args, &server].concat())
        };
        let org = format!("acme-{round}");
        run(&server.key, &["orgs", "create", &org]).json();
        let made =
            run(&server.key, &["key", "create", "--role", "admin", "--label", "a", "--org", &org]).json();
        let admin = made["key"].as_str().expect("shown once").to_owned();
        // The server calls itself: it has nothing under this path.
        let url = format!("{}/hook", server.url);
        run(&admin, &["webhooks", "set", &org, "self", "--url", &url]).json();
        run(&admin, &["license", "add", &org, &license_key(&folder, round, &[5])]).json();
        let begun = tokenweir::telemetry::clock::start();
        let last = loop {
            let page = run(&admin, &["webhooks", "deliveries", &org]).json();
            if page["deliveries"][0]["attempts"].as_u64() > Some(0) {
                break page["deliveries"][0]["last"].clone();
            }
            assert!(begun.elapsed() < PATIENCE, "it is not tried: {page}");
        };
        let error = last["error"].as_str().unwrap_or_default();
        assert!(error.contains(told), "{round}: {last}");
        server.running.kill();
    }
}
