//! TLS on both edges.

use std::io::Read as _;
use std::net::TcpStream;
use std::path::Path;
use std::sync::Arc;

use tempfile::TempDir;
use tokenweir::client::{Client, Config as ClientConfig, Error};
use tokenweir::config::{Config, TlsFiles};
use tokenweir::server::Server;
use ureq::tls::{Certificate, ClientCert, PemItem, RootCerts, TlsConfig, parse_pem};

use crate::fixture::Fixture;
use crate::pki::Authority;

/// An authority with a certificate of the server.
struct Scene {
    directory: TempDir,
    authority: Authority,
    files: TlsFiles,
}

impl Scene {
    fn new() -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let authority = Authority::new(&directory.path().join("ca"));
        let path = |name: &str| directory.path().join(name);
        let files = TlsFiles { certificate: path("server.pem"), key: path("server.key"), client_ca: None };
        authority.certify(&files.certificate, &files.key);
        Self { directory, authority, files }
    }

    fn other_authority(&self) -> Authority {
        Authority::new(&self.directory.path().join("other"))
    }

    fn start(&self) -> Fixture {
        Fixture::start_encrypted(self.files.clone(), trust(&self.authority, None))
    }

    /// A server that demands certificates of the same authority.
    fn start_demanding(&mut self) -> Fixture {
        self.files.client_ca = Some(self.authority.ca());
        let identity = self.authority.identity();
        Fixture::start_encrypted(self.files.clone(), trust(&self.authority, Some(&identity)))
    }
}

/// What a client of HTTP trusts, and what it shows.
fn trust(authority: &Authority, identity: Option<&Path>) -> TlsConfig {
    let ca = Certificate::from_pem(&read(&authority.ca())).expect("a certificate");
    let identity = identity.map(|path| {
        let (mut chain, mut key) = (Vec::new(), None);
        for item in parse_pem(&read(path)) {
            match item.expect("pem") {
                PemItem::Certificate(certificate) => chain.push(certificate),
                PemItem::PrivateKey(found) => key = Some(found),
                _ => {}
            }
        }
        ClientCert::new_with_certs(&chain, key.expect("a key"))
    });
    TlsConfig::builder()
        .root_certs(RootCerts::new_with_certs(&[ca]))
        .client_cert(identity)
        .unversioned_rustls_crypto_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
        .build()
}

fn read(path: &Path) -> Vec<u8> {
    std::fs::read(path).expect("it was written")
}

/// A client of gRPC that trusts this authority.
fn client(server: &Fixture, authority: &Authority, change: impl FnOnce(&mut ClientConfig)) -> Client {
    server.client(&server.gateway, |config| {
        config.ca_pem = Some(read(&authority.ca()));
        change(config);
    })
}

/// Checks that a call is not answered, for a reason that is told.
fn check_refused(server: &Fixture, client: &Client, reason: &str) {
    let error = server.run(client.summary("north")).expect_err("it is not served");
    assert!(matches!(error, Error::Unavailable { .. }), "{error}");
    assert!(error.to_string().contains(reason), "{error}");
}

#[test]
fn both_edges_serve_whoever_trusts_the_authority() {
    let scene = Scene::new();
    let server = scene.start();
    let client = client(&server, &scene.authority, |_| {});
    let summary = server.run(client.summary("north")).expect("it is trusted");
    assert_eq!((summary.available, server.available()), (10_000, 10_000));
}

#[test]
fn a_client_that_does_not_encrypt_gets_no_answer_on_either_edge() {
    let scene = Scene::new();
    let server = scene.start();
    let grpc = server.url().replace("https", "http");
    let plain = server.client_of(&grpc, &server.gateway, |_| {});
    check_refused(&server, &plain, "");
    let health = format!("http://{}/healthz", server.server().address());
    drop(ureq::get(&health).call().expect_err("it is no http"));
}

#[test]
fn a_client_of_another_authority_trusts_neither_edge() {
    let scene = Scene::new();
    let server = scene.start();
    let other = scene.other_authority();
    check_refused(&server, &client(&server, &other, |_| {}), "invalid peer certificate");
    let agent: ureq::Agent = ureq::Agent::config_builder().tls_config(trust(&other, None)).build().into();
    let health = format!("https://{}/healthz", server.server().address());
    let error = agent.get(&health).call().expect_err("it is not trusted");
    assert!(error.to_string().contains("invalid peer certificate"), "{error}");
}

#[test]
fn a_client_certificate_is_demanded_on_both_edges_where_it_is_configured() {
    let mut scene = Scene::new();
    let server = scene.start_demanding();
    let shows = |path: &Path| {
        let pem = Some(read(path));
        client(&server, &scene.authority, |config| config.identity_pem = pem)
    };
    let identity = scene.authority.identity();
    assert_eq!(server.run(shows(&identity).summary("north")).expect("it is known").available, 10_000);
    check_refused(&server, &shows(&scene.other_authority().identity()), "");
    check_refused(&server, &client(&server, &scene.authority, |_| {}), "");
    let health = format!("https://{}/healthz", server.server().address());
    let call = |identity: Option<&Path>| {
        let trust = trust(&scene.authority, identity);
        let agent: ureq::Agent = ureq::Agent::config_builder().tls_config(trust).build().into();
        agent.get(&health).call()
    };
    assert!(call(Some(&identity)).is_ok());
    drop(call(None).expect_err("it shows no certificate"));
}

#[test]
fn handshakes_that_are_never_finished_hold_up_nobody_and_are_ended() {
    let scene = Scene::new();
    let server = scene.start();
    let grpc = server.server().grpc_address().expect("grpc is on");
    let silent = |address| (0..300).map(move |_| TcpStream::connect(address).expect("it listens"));
    let mut silent: Vec<_> = silent(grpc).chain(silent(server.server().address())).collect();
    let client = client(&server, &scene.authority, |_| {});
    assert_eq!(server.run(client.summary("north")).expect("it is served").available, server.available());
    for stream in &mut silent {
        // The end of the stream: the server closed it.
        assert_eq!(stream.read(&mut [0]).expect("no fault"), 0);
    }
}

#[test]
fn a_new_certificate_is_shown_to_new_connections_and_a_bad_one_never() {
    let scene = Scene::new();
    let server = scene.start();
    let other = scene.other_authority();
    other.certify(&scene.files.certificate, &scene.files.key);
    let before = client(&server, &scene.authority, |_| {});
    drop(server.run(before.summary("north")).expect("the old one is shown until it is reloaded"));
    server.server().reload().expect("it is sound");
    drop(server.run(client(&server, &other, |_| {}).summary("north")).expect("the new one is shown"));
    check_refused(&server, &client(&server, &scene.authority, |_| {}), "invalid peer certificate");
    drop(server.run(before.summary("north")).expect("an open connection goes on"));
    std::fs::write(&scene.files.certificate, "").expect("written");
    let error = server.server().reload().expect_err("it is empty").to_string();
    assert!(error.contains("tls_certificate") && error.contains("no certificate"), "{error}");
    drop(server.run(client(&server, &other, |_| {}).summary("north")).expect("the last good one is kept"));
}

#[test]
fn clients_are_judged_by_the_authorities_that_were_read_last_and_bad_ones_are_never_taken() {
    let mut scene = Scene::new();
    let server = scene.start_demanding();
    let other = scene.other_authority();
    let shows = |identity: &Path| {
        let pem = Some(read(identity));
        client(&server, &scene.authority, |config| config.identity_pem = pem)
    };
    let (old, new) = (scene.authority.identity(), other.identity());
    let known = |identity: &Path| server.run(shows(identity).summary("north")).is_ok();
    assert_eq!((known(&old), known(&new)), (true, false));
    let own = read(&scene.authority.ca());
    std::fs::copy(other.ca(), scene.authority.ca()).expect("written");
    server.server().reload().expect("they are sound");
    std::fs::write(scene.authority.ca(), own).expect("written");
    assert_eq!((known(&old), known(&new)), (false, true));
    std::fs::write(scene.directory.path().join("server.key"), "").expect("written");
    drop(server.server().reload().expect_err("the key is empty"));
    assert_eq!((known(&old), known(&new)), (false, true), "all stays as it was");
}

#[test]
fn files_that_cannot_be_used_are_named_with_their_setting_and_nothing_starts() {
    let scene = Scene::new();
    let check = |change: &dyn Fn(&mut TlsFiles), parts: [&str; 3]| {
        let mut config = Config::new(scene.directory.path().join("data"));
        config.listen = "127.0.0.1:0".parse().expect("an address");
        let mut files = scene.files.clone();
        change(&mut files);
        config.tls = Some(files);
        let error = Server::bind(&config).expect_err("it does not start").to_string();
        assert!(parts.iter().all(|part| error.contains(part)), "{error}");
        assert!(error.ends_with("nothing was started"), "{error}");
    };
    let path = |name: &str| scene.directory.path().join(name);
    std::fs::write(path("text.pem"), "no pem\n").expect("written");
    let unlike = scene.other_authority();
    unlike.certify(&path("unlike.pem"), &path("unlike.key"));
    check(&|files| files.certificate = path("none.pem"), ["`tls_certificate`", "none.pem", "No such file"]);
    check(&|files| files.certificate = path("text.pem"), ["`tls_certificate`", "text.pem", "no certificate"]);
    check(
        &|files| files.certificate = path("server.key"),
        ["`tls_certificate`", "server.key", "no certificate"],
    );
    check(&|files| files.key = path("none.key"), ["`tls_key`", "none.key", "No such file"]);
    check(&|files| files.key = path("server.pem"), ["`tls_key`", "server.pem", "no private key"]);
    check(&|files| files.key = path("unlike.key"), ["`tls_key`", "unlike.key", "not the key of"]);
    check(
        &|files| files.client_ca = Some(path("text.pem")),
        ["`tls_client_ca`", "text.pem", "no certificate"],
    );
}
