//! Tokens on gRPC: single calls, and streams that outlive them.

use tempfile::TempDir;
use tokenweir::proto::v1::stream_request::Request as Word;
use tokenweir::proto::v1::{Outcome, SummaryRequest, metering_client::MeteringClient};
use tonic::Code;

use crate::fixture::Fixture;
use crate::signer::Signer;
use crate::wire::{Wire, batch, signed};

/// A server that trusts an issuer, and its directory of lists.
fn trusting() -> (Fixture, Signer, TempDir) {
    let directory = tempfile::tempdir().expect("a directory");
    let signer = Signer::trusted(directory.path(), "k1");
    let list = Signer::list(directory.path());
    (Fixture::start_with(|config| config.token_issuers = Some(list)), signer, directory)
}

#[test]
fn a_token_does_what_its_roles_may_and_one_that_does_not_count_is_told_why() {
    let (server, signer, _directory) = trusting();
    server.run(async {
        let mut service = MeteringClient::new(server.channel());
        let mut told = async |organization: &str, roles: &[&str], seconds| {
            let request = SummaryRequest { organization: organization.to_owned() };
            let answer = service.summary(signed(request, &signer.token(roles, seconds))).await;
            answer.err().map(|status| {
                let code = status.metadata().get("weir-code").expect("a code");
                (status.code(), code.to_str().expect("text").to_owned())
            })
        };
        assert_eq!(told("north", &["north:viewer"], 60).await, None);
        let forbidden = (Code::PermissionDenied, "forbidden".to_owned());
        assert_eq!(told("other", &["north:viewer"], 60).await, Some(forbidden));
        let expired = (Code::Unauthenticated, "token_expired".to_owned());
        assert_eq!(told("north", &["north:viewer"], -1).await, Some(expired));
    });
}

#[test]
fn a_stream_answers_what_it_read_and_ends_when_its_token_does() {
    let (server, signer, _directory) = trusting();
    server.run(async {
        let token = signer.token(&["north:gateway"], 3);
        let mut wire = Wire::open(&server, &token).await.expect("a stream");
        let opened = wire.handles("north", &["a"]).await;
        let charged = wire.outcomes(batch(1, opened.organization, &opened.cameras, 1)).await;
        assert_eq!(charged, [Outcome::Charged]);
        let (code, status) = wire.failure().await;
        assert_eq!((code.as_str(), status.code()), ("token_expired", Code::Unauthenticated));
    });
    assert_eq!(server.available(), 9_999);
}

#[test]
fn a_stream_ends_at_its_next_debit_when_its_token_was_revoked_and_a_second_has_passed() {
    let (server, signer, directory) = trusting();
    server.run(async {
        let token = signer.token(&["north:gateway"], 600);
        let mut wire = Wire::open(&server, &token).await.expect("a stream");
        let opened = wire.handles("north", &["a"]).await;
        let list = Signer::list(directory.path());
        let revoked = std::fs::read_to_string(&list).expect("read") + "revoked_subjects = [\"ann\"]\n";
        std::fs::write(&list, revoked).expect("written");
        server.server().reload_token_issuers().expect("a list");
        // It is believed for at most a second that a token is still taken: so many batches cannot all fit in.
        for number in 1.. {
            let word = batch(number, opened.organization, &opened.cameras, i64::from(number == 1));
            wire.say(Word::DebitBatch(word));
            match wire.next().await {
                Ok(Some(tokenweir::proto::v1::stream_reply::Reply::Ack(_))) => {}
                Ok(Some(tokenweir::proto::v1::stream_reply::Reply::Problem(problem))) => {
                    return assert_eq!(problem.code, "token_revoked");
                }
                other => panic!("an answer or the end, not {other:?}"),
            }
        }
    });
}
