//! Every caller on every call of the service and in every kind of organization; the calls are those of the descriptors that the server ships.

use protox::prost_reflect::prost::Message as _;
use protox::prost_reflect::{DescriptorPool, DynamicMessage, MethodDescriptor, Value};
use tokenweir::proto::DESCRIPTORS;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::codegen::http::uri::PathAndQuery;
use tonic::{Code, Status};

use crate::fixture::Fixture;
use crate::signer::Signer;
use crate::wire::{Wire, signed};

/// Messages as bytes.
#[derive(Clone, Copy, Default)]
struct Bytes;

impl Codec for Bytes {
    type Encode = Vec<u8>;
    type Decode = Vec<u8>;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self
    }

    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Encoder for Bytes {
    type Item = Vec<u8>;
    type Error = Status;

    fn encode(&mut self, item: Vec<u8>, to: &mut EncodeBuf<'_>) -> Result<(), Status> {
        prost::bytes::BufMut::put_slice(to, &item);
        Ok(())
    }
}

impl Decoder for Bytes {
    type Item = Vec<u8>;
    type Error = Status;

    fn decode(&mut self, from: &mut DecodeBuf<'_>) -> Result<Option<Vec<u8>>, Status> {
        let mut bytes = vec![0; prost::bytes::Buf::remaining(from)];
        prost::bytes::Buf::copy_to_slice(from, &mut bytes);
        Ok(Some(bytes))
    }
}

/// The roles that may call a method for an organization of theirs. A method without a line here fails the test.
fn allowed(method: &str) -> &'static [&'static str] {
    match method {
        "Debit" | "DebitBatch" | "Reserve" => &["gateway"],
        "Summary" | "Reservations" => &["admin", "viewer", "gateway"],
        "ReleaseReservation" => &["admin", "gateway"],
        "Transfer" => &["admin"],
        // Whoever is known may open one; what he opens on it is judged then, as that of a gateway.
        "Stream" => &["operator", "admin", "viewer", "gateway"],
        other => panic!("{other} has no rule: say here who may call it"),
    }
}

fn methods() -> Vec<MethodDescriptor> {
    let pool = DescriptorPool::decode(DESCRIPTORS).expect("descriptors");
    let service = pool.get_service_by_name("tokenweir.v1.Metering").expect("the service");
    service.methods().collect()
}

/// A request about an organization; whatever else it names is absent.
fn request(method: &MethodDescriptor, organization: &str) -> Vec<u8> {
    let mut message = DynamicMessage::new(method.input());
    for (field, text) in
        [("organization", organization), ("source", organization), ("target", organization), ("id", "x")]
    {
        if method.input().get_field_by_name(field).is_some() {
            message.set_field_by_name(field, Value::String(text.to_owned()));
        }
    }
    message.encode_to_vec()
}

/// How a call is answered.
async fn call(server: &Fixture, method: &MethodDescriptor, organization: &str, bearer: &str) -> Code {
    if method.is_client_streaming() {
        return Wire::open(server, bearer).await.err().map_or(Code::Ok, |status| status.code());
    }
    let mut client = tonic::client::Grpc::new(server.channel());
    client.ready().await.expect("it listens");
    let path = format!("/tokenweir.v1.Metering/{}", method.name());
    let path = PathAndQuery::try_from(path).expect("a path");
    let answer = client.unary(signed(request(method, organization), bearer), path, Bytes).await;
    answer.err().map_or(Code::Ok, |status| status.code())
}

#[test]
fn r1_r11_every_caller_gets_from_every_call_what_his_role_may_and_learns_of_no_other_organization() {
    let directory = tempfile::tempdir().expect("a directory");
    let signer = Signer::trusted(directory.path(), "k1");
    let list = Signer::list(directory.path());
    let server = Fixture::start_with(|config| config.token_issuers = Some(list));
    for role in ["operator", "admin", "viewer", "gateway"] {
        let (key, claim) = match role {
            "operator" => (server.key(role, &[]), role.to_owned()),
            _ => (server.key(role, &["north"]), format!("north:{role}")),
        };
        for bearer in [key, signer.token(&[&claim], 600)] {
            for method in methods() {
                let may = allowed(method.name()).contains(&role);
                for organization in ["north", "other", "nowhere"] {
                    let code = server.run(call(&server, &method, organization, &bearer));
                    let is_own = organization == "north" || method.is_client_streaming();
                    let what = format!("{role} {} {organization}: {code:?}", method.name());
                    assert_eq!(may && is_own, code != Code::PermissionDenied, "{what}");
                    assert_ne!(code, Code::Unauthenticated, "{what}");
                }
            }
        }
    }
}

#[test]
fn nobody_gets_anything_from_any_call() {
    let server = Fixture::start();
    for method in methods() {
        assert_eq!(
            server.run(call(&server, &method, "north", "")),
            Code::Unauthenticated,
            "{}",
            method.name()
        );
    }
}
