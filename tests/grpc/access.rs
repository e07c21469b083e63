//! Who may call, and what he is told otherwise.

use tokenweir::proto::v1::metering_client::MeteringClient;
use tokenweir::proto::v1::stream_request::Request as Word;
use tokenweir::proto::v1::{DebitRequest, Outcome, SummaryRequest};
use tonic::Code;

use crate::fixture::Fixture;
use crate::wire::{Wire, batch, signed};

#[test]
fn without_a_known_key_no_stream_is_opened() {
    let server = Fixture::start();
    for key in ["", "weir_a_b", "x"] {
        let refused = server.run(Wire::open(&server, key)).err().expect("the key is not known");
        assert_eq!(refused.code(), Code::Unauthenticated, "{key}");
        let stable = refused.metadata().get("weir-code").expect("a code");
        assert_eq!(stable, "unauthenticated");
    }
}

#[test]
fn r11_an_organization_that_the_key_does_not_name_is_forbidden_and_spoils_no_other() {
    let server = Fixture::start();
    server.run(async {
        let mut wire = Wire::open(&server, &server.gateway).await.expect("a stream");
        for foreign in ["other", "nowhere"] {
            let opened = wire.handles(foreign, &["a"]).await;
            assert_eq!(opened.problem.expect("a problem").code, "forbidden");
        }
        let opened = wire.handles("north", &["a"]).await;
        assert_eq!(
            wire.outcomes(batch(1, opened.organization, &opened.cameras, 1)).await,
            [Outcome::Charged]
        );
    });
}

#[test]
fn a_role_that_may_not_debit_gets_no_handles() {
    let server = Fixture::start();
    server.run(async {
        let mut wire = Wire::open(&server, &server.admin).await.expect("a stream");
        let opened = wire.handles("north", &["a"]).await;
        assert_eq!(opened.problem.expect("a problem").code, "forbidden");
        let client = server.client(&server.admin, |_| {});
        let request = DebitRequest { organization: "north".to_owned(), ..DebitRequest::default() };
        drop(client.debit(request).await.expect_err("it has neither the right nor an identity"));
    });
    assert_eq!(server.available(), 10_000);
}

#[test]
fn a_key_that_is_revoked_ends_its_stream_at_the_next_debit() {
    let server = Fixture::start();
    let key = server.key("gateway", &["north"]);
    let (mut wire, opened) = server.run(async {
        let mut wire = Wire::open(&server, &key).await.expect("a stream");
        let opened = wire.handles("north", &["a"]).await;
        (wire, opened)
    });
    server.revoke(&key);
    server.run(async {
        wire.say(Word::DebitBatch(batch(1, opened.organization, &opened.cameras, 1)));
        let (code, status) = wire.failure().await;
        assert_eq!((code.as_str(), status.code()), ("unauthenticated", Code::Unauthenticated));
    });
    assert_eq!(server.available(), 10_000);
}

#[test]
fn one_stream_more_than_there_may_be_is_refused_until_another_ends() {
    let server = Fixture::start_with(|config| config.grpc_streams_max = 1);
    server.run(async {
        let mut first = Wire::open(&server, &server.gateway).await.expect("a stream");
        let refused = Wire::open(&server, &server.gateway).await.err().expect("one too many");
        assert_eq!(refused.code(), Code::ResourceExhausted);
        first.end();
        assert_eq!(first.next().await.expect("it ends well"), None);
        drop(first);
    });
}

#[test]
fn a_message_longer_than_the_bound_is_refused() {
    let server = Fixture::start_with(|config| config.grpc_message_bytes_max = 1 << 10);
    server.run(async {
        let mut service = MeteringClient::new(server.channel());
        let long = SummaryRequest { organization: "x".repeat(2_000) };
        let refused = service.summary(signed(long, &server.gateway)).await.expect_err("it is too long");
        assert_eq!(refused.code(), Code::OutOfRange);
    });
}
