//! From the first byte that is listened for to the last that is kept.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;

use serde_json::json;
use tokenweir::config::Config;
use tokenweir::server::{FirstKey, ServeError, Server};

use crate::fixture::{DEBITS, Fixture, NORTH};

#[test]
fn until_the_meter_is_open_everything_is_recovering() {
    let mut server = Fixture::bound(|_| {});
    assert_eq!(server.get("/healthz", "").expect(200), json!({"status": "alive"}));
    assert_eq!(server.get("/readyz", "").expect(503), json!({"status": "recovering"}));
    let refused = server.get("/v1/organizations", "weir_a_b");
    refused.check_problem(503, "recovering");
    assert_eq!(refused.header("retry-after"), "1");
    server.open();
    let ready = server.get("/readyz", "").expect(200);
    assert_eq!((&ready["status"], ready["partitions"].as_array().map(Vec::len)), (&json!("ready"), Some(2)));
    assert!(
        ready["partitions"][0]["durable_lsn"].is_u64() && ready["partitions"][0]["snapshot_lsn"].is_u64()
    );
    server.get("/v1/organizations", &server.operator).expect(200);
}

#[test]
fn a_stop_and_a_start_keep_everything_and_make_no_second_operator_key() {
    let directory = tempfile::tempdir().expect("a directory");
    let key_file = directory.path().join("operator.key");
    let config = config(&directory, Some(&key_file));
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    for start in 0..2 {
        let server = Server::bind(&config).expect("a free port");
        let key = runtime.block_on(server.open()).expect("a sound directory");
        assert_eq!(key, (start == 0).then(|| FirstKey::Written(key_file.clone())));
        runtime.block_on(server.stop()).expect("it served to the end");
    }
    let key = std::fs::read_to_string(&key_file).expect("the key was written");
    assert!(key.starts_with("weir_") && key.ends_with('\n'));
    let mode =
        std::os::unix::fs::PermissionsExt::mode(&key_file.metadata().expect("it is there").permissions());
    assert_eq!(mode & 0o777, 0o600);
}

#[test]
fn a_key_file_that_is_there_already_is_not_overwritten_and_no_key_is_made() {
    let directory = tempfile::tempdir().expect("a directory");
    let key_file = directory.path().join("operator.key");
    std::fs::write(&key_file, "precious").expect("written");
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let server = Server::bind(&config(&directory, Some(&key_file))).expect("a free port");
    let refused = runtime.block_on(server.open()).expect_err("the file is there");
    assert!(matches!(refused, ServeError::KeyFile { .. }), "{refused}");
    runtime.block_on(server.stop()).expect("it stops");
    assert_eq!(std::fs::read_to_string(&key_file).expect("still there"), "precious");
    let server = Server::bind(&config(&directory, None)).expect("a free port");
    let key = runtime.block_on(server.open()).expect("a sound directory");
    assert!(matches!(key, Some(FirstKey::ToShow(_))), "the first key is still to be made");
    runtime.block_on(server.stop()).expect("it stops");
}

#[test]
fn a_directory_that_another_server_holds_is_not_opened() {
    let directory = tempfile::tempdir().expect("a directory");
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let config = config(&directory, None);
    let (first, second) = (Server::bind(&config).expect("a port"), Server::bind(&config).expect("a port"));
    runtime.block_on(first.open()).expect("a sound directory");
    let refused = runtime.block_on(second.open()).expect_err("the directory is held");
    assert!(matches!(refused, ServeError::Open(_)), "{refused}");
    runtime.block_on(second.stop()).expect("it stops");
    runtime.block_on(first.stop()).expect("it stops");
}

#[test]
fn an_address_in_use_is_refused_by_its_name() {
    let directory = tempfile::tempdir().expect("a directory");
    let mut config = config(&directory, None);
    let first = Server::bind(&config).expect("a free port");
    config.listen = first.address();
    let refused = Server::bind(&config).expect_err("the port is taken").to_string();
    assert!(refused.contains(&first.address().to_string()), "{refused}");
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    runtime.block_on(first.stop()).expect("it stops");
}

#[test]
fn r14_what_was_acknowledged_is_there_after_a_restart() {
    let server = Fixture::populated();
    server
        .post(DEBITS, &server.gateway, &json!({"camera": "cam", "epoch": 1, "seq": 1, "tokens": 400}))
        .expect(200);
    let before = server.get(&format!("{NORTH}/licenses"), &server.viewer).expect(200);
    let viewer = server.viewer.clone();
    let directory = server.stop();
    let mut server = Fixture::bound(|config| config.data_dir = directory.path().join("data"));
    server.open();
    assert_eq!(server.operator, "", "the first operator key is made once");
    assert_eq!(server.get(&format!("{NORTH}/licenses"), &viewer).expect(200), before);
}

#[test]
fn a_request_in_flight_is_finished_while_the_server_stops() {
    let server = Fixture::populated();
    let address = server.address();
    let body = json!({"camera": "cam", "epoch": 1, "seq": 1, "tokens": 400}).to_string();
    let head = format!(
        "POST {DEBITS} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {}\r\nContent-Type: application/json\r\n\
         Expect: 100-continue\r\nContent-Length: {}\r\n\r\n",
        server.gateway,
        body.len()
    );
    let mut stream = server.connect();
    stream.write_all(head.as_bytes()).expect("sent");
    let mut interim = [0; 12];
    stream.read_exact(&mut interim).expect("an interim answer");
    let stopping = std::thread::spawn(move || server.stop());
    while TcpStream::connect(address).is_ok() {}
    stream.write_all(body.as_bytes()).expect("sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer");
    assert!(answer.contains("HTTP/1.1 200") && answer.contains(r#"{"outcome":"charged"}"#), "{answer}");
    drop(stopping.join().expect("the server stops"));
}

fn config(directory: &tempfile::TempDir, operator_key_file: Option<&std::path::Path>) -> Config {
    let mut config = Config::new(directory.path().join("data"));
    config.listen = "127.0.0.1:0".parse().expect("an address");
    config.segment_bytes_min = 64 << 10;
    config.operator_key_file = operator_key_file.map(Into::into);
    config
}
