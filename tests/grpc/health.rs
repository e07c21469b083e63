//! Health and reflection, which need no key.

use std::pin::Pin;
use std::task::{Context, Poll};

use tonic::Code;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;
use tonic_reflection::pb::v1 as reflection;

use crate::fixture::Fixture;
use crate::wire::Wire;

/// A stream of one message.
struct Once<T>(Option<T>);

impl<T: Unpin> futures_core::Stream for Once<T> {
    type Item = T;

    fn poll_next(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<T>> {
        Poll::Ready(self.0.take())
    }
}

fn check_health(server: &Fixture, expected: ServingStatus) {
    for service in ["", "tokenweir.v1.Metering"] {
        let request = HealthCheckRequest { service: service.to_owned() };
        let health = server.run(async { HealthClient::new(server.channel()).check(request).await });
        assert_eq!(health.expect("an answer").into_inner().status(), expected, "{service}");
    }
}

#[test]
fn until_the_meter_is_open_nothing_serves_and_every_call_is_recovering() {
    let mut server = Fixture::bound(|_| {});
    check_health(&server, ServingStatus::NotServing);
    let refused = server.run(Wire::open(&server, "weir_a_b")).err().expect("it recovers");
    assert_eq!(refused.code(), Code::Unavailable);
    assert_eq!(refused.metadata().get("weir-code").expect("a code"), "recovering");
    server.open();
    check_health(&server, ServingStatus::Serving);
}

#[test]
fn a_partition_that_stops_is_told_to_whoever_watches_and_to_whoever_asks() {
    let server = Fixture::start();
    let states = server.run(async {
        let mut watches = Vec::new();
        for service in ["", "tokenweir.v1.Metering"] {
            let request = HealthCheckRequest { service: service.to_owned() };
            let watch = HealthClient::new(server.channel()).watch(request).await.expect("it is known");
            watches.push(watch.into_inner());
        }
        let mut states = Vec::new();
        for watch in &mut watches {
            states.push(watch.message().await.expect("no fault").expect("a state").status());
        }
        server.lose_directory();
        for watch in &mut watches {
            states.push(watch.message().await.expect("no fault").expect("a state").status());
        }
        states
    });
    let (serving, not) = (ServingStatus::Serving, ServingStatus::NotServing);
    assert_eq!(states, [serving, serving, not, not]);
    check_health(&server, ServingStatus::NotServing);
}

#[test]
fn reflection_answers_in_both_versions() {
    let server = Fixture::start();
    let services = server.run(async {
        use reflection::server_reflection_client::ServerReflectionClient;
        use reflection::server_reflection_request::MessageRequest;
        use reflection::server_reflection_response::MessageResponse;
        let request = reflection::ServerReflectionRequest {
            message_request: Some(MessageRequest::ListServices(String::new())),
            ..Default::default()
        };
        let mut client = ServerReflectionClient::new(server.channel());
        let mut answers = client.server_reflection_info(Once(Some(request))).await.expect("v1").into_inner();
        match answers.message().await.expect("an answer").and_then(|answer| answer.message_response) {
            Some(MessageResponse::ListServicesResponse(list)) => list.service,
            other => panic!("a list, not {other:?}"),
        }
    });
    let names: Vec<&str> = services.iter().map(|service| service.name.as_str()).collect();
    assert!(
        names.contains(&"tokenweir.v1.Metering") && names.contains(&"grpc.health.v1.Health"),
        "{names:?}"
    );
    server.run(async {
        use old::server_reflection_client::ServerReflectionClient;
        use old::server_reflection_request::MessageRequest;
        use tonic_reflection::pb::v1alpha as old;
        let request = old::ServerReflectionRequest {
            message_request: Some(MessageRequest::FileContainingSymbol("tokenweir.v1.Metering".to_owned())),
            ..Default::default()
        };
        let mut client = ServerReflectionClient::new(server.channel());
        let mut answers =
            client.server_reflection_info(Once(Some(request))).await.expect("v1alpha").into_inner();
        let answer = answers.message().await.expect("an answer").and_then(|answer| answer.message_response);
        let text = format!("{answer:?}");
        assert!(text.contains("FileDescriptorResponse"), "{text}");
    });
}
