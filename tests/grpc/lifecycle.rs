//! The end of a server, as its streams see it.

use tokenweir::config::GrpcListen;
use tokenweir::proto::v1::stream_request::Request as Word;
use tonic::Code;

use crate::fixture::Fixture;
use crate::wire::{Wire, batch};

#[test]
fn a_stream_gets_its_answers_before_a_stopping_server_ends_it() {
    let mut server = Fixture::start();
    let (mut wire, opened) = server.run(async {
        let mut wire = Wire::open(&server, &server.gateway).await.expect("a stream");
        let opened = wire.handles("north", &["a"]).await;
        (wire, opened)
    });
    for number in 1..=100_u32 {
        let seq = i64::from(number);
        wire.say(Word::DebitBatch(batch(number.into(), opened.organization, &opened.cameras, seq)));
    }
    let first = server.run(wire.ack()).last_batch;
    let running = server.take_server();
    let stopping = server.runtime.spawn(running.stop());
    let acked = server.run(async {
        let mut acked = first;
        loop {
            match wire.next().await {
                Ok(Some(tokenweir::proto::v1::stream_reply::Reply::Ack(ack))) => {
                    assert_eq!(ack.first_batch, acked + 1);
                    acked = ack.last_batch;
                }
                Ok(Some(tokenweir::proto::v1::stream_reply::Reply::Problem(problem))) => {
                    assert_eq!((problem.code.as_str(), problem.retryable), ("closing", true));
                }
                Ok(other) => panic!("the stream ends with a problem, not with {other:?}"),
                Err(status) => {
                    assert_eq!(status.code(), Code::Unavailable);
                    return acked;
                }
            }
        }
    });
    assert!((1..=100).contains(&acked));
    server.run(stopping).expect("no panic").expect("it stopped in order");
}

#[test]
fn grpc_can_be_switched_off_and_goes_beside_http_otherwise() {
    let directory = tempfile::tempdir().expect("a directory");
    let mut config = tokenweir::config::Config::new(directory.path());
    config.listen = "127.0.0.1:8080".parse().expect("an address");
    assert_eq!(config.grpc_address(), Some("127.0.0.1:8081".parse().expect("an address")));
    config.grpc_listen = GrpcListen::Off;
    assert_eq!(config.grpc_address(), None);
}
