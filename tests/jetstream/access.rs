//! How a node is let in by its servers: by password, by nkey, over TLS with a certificate, and not otherwise.

use std::path::PathBuf;

use tokenweir::cluster::demands::Demands;
use tokenweir::cluster::jetstream::{Access, Identity, Keeper, Setup};

use crate::fit;
use crate::pki::Authority;
use crate::servers::{Servers, Sync};

/// The seed of an nkey, and its public key: an example of the documentation of NATS.
const SEED: &str = "SUACSSL3UAHUDXKFSNVUZRF5UHPMWZ6BFDTJ7M6USDXIEDNPPQYYYCU3VY";
pub(crate) const NKEY: &str = "UDXU4RCSJNZOIQHZNWXHXORDPRTGNJAHAHFRGZNEEJCPQTT2M7NLCNF4";

fn connect(servers: &Servers, access: Access) -> Result<(), String> {
    let demands = Demands { is_sync_stated: true, ..fit(servers, "let-in").demands };
    let setup = Setup { access, system: None, demands, ..fit(servers, "let-in") };
    Keeper::connect(&setup).map(drop).map_err(|fault| fault.to_string())
}

#[test]
fn a_node_is_let_in_by_its_password_or_its_nkey_and_not_without() {
    let Some(servers) = Servers::start(1, Sync::Always) else { return };
    let folder = tempfile::tempdir().expect("a temporary directory");
    let file = |name: &str, text: &str| -> PathBuf {
        let path = folder.path().join(name);
        std::fs::write(&path, text).expect("written");
        path
    };
    let by = |identity| connect(&servers, Access { identity, ..servers.access("app") });
    by(Identity::User("app".to_owned(), "app".to_owned())).expect("the password fits");
    by(Identity::Nkey(file("seed", &format!("{SEED}\n")))).expect("the nkey fits");
    let refused = [
        Identity::Nobody,
        Identity::User("app".to_owned(), "wrong".to_owned()),
        Identity::Nkey(file("other", "SUANQDPB2RUOE4ETUA26CNX7FUKE5ZZKFCQIIW63OX225F2CO7UEXTM7ZY")),
    ];
    for identity in refused {
        let why = by(identity.clone()).expect_err("it does not fit");
        assert!(why.contains("authorization") && !why.contains("wrong"), "{identity:?}: {why}");
    }
    let missing = by(Identity::Credentials(folder.path().join("none"))).expect_err("there is no file");
    assert!(missing.contains("the credentials file") && missing.contains("none"), "{missing}");
    let unread = by(Identity::Nkey(folder.path().join("none"))).expect_err("there is no file");
    assert!(unread.contains("the nkey file"), "{unread}");
}

#[test]
fn a_node_reaches_its_servers_over_tls_with_a_certificate_of_its_own_and_not_without() {
    let folder = tempfile::tempdir().expect("a temporary directory");
    let authority = Authority::new(folder.path());
    let [server, server_key, node, node_key] =
        ["server.pem", "server.key", "node.pem", "node.key"].map(|name| folder.path().join(name));
    authority.certify(&server, &server_key);
    authority.certify(&node, &node_key);
    let ca = authority.ca();
    let tls =
        format!("tls {{ cert_file: {server:?}, key_file: {server_key:?}, ca_file: {ca:?}, verify: true }}\n");
    let over_tls = move |access| Access {
        authorities: Some(ca.clone()),
        certificate: Some((node.clone(), node_key.clone())),
        ..access
    };
    let Some(servers) = Servers::start_with(&tls, 1, Sync::Always, over_tls) else { return };
    let whole = servers.access("app");
    connect(&servers, whole.clone()).expect("each trusts the other");
    let bare = Access { certificate: None, ..whole.clone() };
    assert!(connect(&servers, bare).is_err(), "the servers demand a certificate");
    let untrusting = Access { authorities: None, ..whole };
    assert!(connect(&servers, untrusting).is_err(), "nobody here trusts the authority of the servers");
}
