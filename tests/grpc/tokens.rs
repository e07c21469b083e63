//! Tokens on gRPC: single calls, and streams that outlive them.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tempfile::TempDir;
use tokenweir::client::{CameraRef, Credential, Debit, Identity, UsageKind};
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

/// One token from the camera `a`, under this number.
fn debit(seq: u64) -> Debit<'static> {
    let identity = Identity::Seq { epoch: 1, seq };
    Debit { camera: CameraRef::Id("a"), identity, tokens: 1, kind: UsageKind::default(), time: None }
}

#[test]
fn a_client_whose_function_renews_its_token_streams_past_the_end_of_each() {
    let (server, signer, _directory) = trusting();
    let asked = Arc::new(AtomicU64::new(0));
    let count = Arc::clone(&asked);
    let credential = Credential::renewed(move || {
        count.fetch_add(1, Ordering::Relaxed);
        Ok(signer.token(&["north:gateway"], 2))
    });
    let client = server.client("", |config| config.credential = credential);
    let sent = server.run(async {
        let stream = client.stream("north");
        let mut sent = 0;
        while stream.lag().reconnects < 2 {
            // A new event after each reconnection, and the same one again until then.
            sent = 1 + stream.lag().reconnects;
            let outcome = stream.send(&debit(sent)).await.expect("room").await.expect("it is answered");
            assert!(["charged", "duplicate"].contains(&outcome.code()), "{outcome:?}");
        }
        stream.close().await.expect("all is answered");
        sent
    });
    assert!(asked.load(Ordering::Relaxed) >= 3, "{asked:?}");
    assert_eq!(server.available(), 10_000 - sent, "each is charged once");
}

#[test]
fn a_client_reads_its_token_again_from_a_file_when_the_server_takes_the_old_one_no_more() {
    let (server, signer, directory) = trusting();
    let path = directory.path().join("token");
    let renew = |seconds| std::fs::write(&path, signer.token(&["north:gateway"], seconds)).expect("written");
    renew(2);
    let client = server.client("", |config| config.credential = Credential::file(&path));
    server.run(async {
        let stream = client.stream("north");
        let charged = async |seq| {
            stream.send(&debit(seq)).await.expect("room").await.expect("it is answered").code().to_owned()
        };
        assert_eq!(charged(1).await, "charged");
        let refused = loop {
            match client.summary("north").await {
                Ok(_) => tokio::task::yield_now().await,
                Err(error) => break error,
            }
        };
        assert!(refused.is_retryable() && refused.to_string().contains("token_expired"), "{refused}");
        let waiting = stream.send(&debit(2)).await.expect("room");
        renew(600);
        assert_eq!(waiting.await.expect("it is answered").code(), "charged");
        client.summary("north").await.expect("it is let in");
        stream.close().await.expect("all is answered");
    });
    assert_eq!(server.available(), 9_998);
}
