//! What clients rely on, one line each: names, numbers, types and labels. Lines may be added, and none may go or change.

use protox::prost_reflect::prost_types::field_descriptor_proto::{Label, Type};
use protox::prost_reflect::prost_types::{
    DescriptorProto, FieldDescriptorProto, FileDescriptorProto, MethodDescriptorProto,
};

use crate::planted;

/// How a schema differs from what was recorded.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Changes {
    /// Recorded lines that it does not have.
    pub(crate) broken: Vec<String>,
    /// Lines that are not recorded.
    pub(crate) new: Vec<String>,
}

/// Compares a schema with the recorded lines.
pub(crate) fn compare(recorded: &str, schema: &FileDescriptorProto) -> Changes {
    let now = lines(schema);
    let recorded: Vec<&str> = recorded.lines().filter(|line| !line.trim().is_empty()).collect();
    let broken = recorded.iter().filter(|line| !now.iter().any(|now| now == *line));
    let new = now.iter().filter(|line| !recorded.contains(&line.as_str()));
    Changes { broken: broken.map(ToString::to_string).collect(), new: new.cloned().collect() }
}

fn lines(schema: &FileDescriptorProto) -> Vec<String> {
    let mut lines = vec![format!("package {}", schema.package())];
    for service in &schema.service {
        lines.extend(service.method.iter().map(|method| rpc(service.name(), method)));
    }
    for message in &schema.message_type {
        lines.push(format!("message {}", message.name()));
        lines.extend(message.field.iter().map(|named| field(message, named)));
    }
    for listed in &schema.enum_type {
        let values = listed.value.iter();
        lines.extend(
            values.map(|value| format!("enum {} {} = {}", listed.name(), value.name(), value.number())),
        );
    }
    lines
}

fn rpc(service: &str, method: &MethodDescriptorProto) -> String {
    let streamed = |is_stream: bool| if is_stream { "stream " } else { "" };
    let (input, output) = (method.input_type(), method.output_type());
    let (sends, gets) = (streamed(method.client_streaming()), streamed(method.server_streaming()));
    format!("rpc {service}.{} ({sends}{input}) returns ({gets}{output})", method.name())
}

fn field(message: &DescriptorProto, field: &FieldDescriptorProto) -> String {
    let label = match field.label() {
        Label::Repeated => "repeated ".to_owned(),
        _ if field.proto3_optional() => "optional ".to_owned(),
        _ => match field.oneof_index.and_then(|index| message.oneof_decl.get(usize::try_from(index).ok()?)) {
            Some(oneof) => format!("oneof {} ", oneof.name()),
            None => String::new(),
        },
    };
    let kind = match field.r#type() {
        Type::Message | Type::Enum => field.type_name().to_owned(),
        scalar => scalar.as_str_name().trim_start_matches("TYPE_").to_lowercase(),
    };
    format!("message {} {label}{kind} {} = {}", message.name(), field.name(), field.number())
}

const BEFORE: &str = r#"syntax = "proto3"; package tokenweir.v1;
service S { rpc Get(A) returns (stream A); }
message A { uint32 one = 1; repeated B two = 2; oneof which { string three = 3; bytes four = 4; } optional E five = 5; }
message B {}
enum E { E_UNSPECIFIED = 0; E_ONE = 1; }"#;

fn check_change(from: &str, to: &str, broken: &[&str], new: &[&str]) {
    let recorded = lines(&planted(BEFORE)).join("\n");
    assert!(BEFORE.contains(from), "{from}");
    let changes = compare(&recorded, &planted(&BEFORE.replace(from, to)));
    assert_eq!((changes.broken, changes.new), (owned(broken), owned(new)), "{from} -> {to}");
}

fn owned(lines: &[&str]) -> Vec<String> {
    lines.iter().map(ToString::to_string).collect()
}

#[test]
fn a_schema_that_did_not_change_has_no_changes() {
    check_change("", "", &[], &[]);
    check_change("uint32 one = 1; ", "/* one */ uint32 one = 1;\n", &[], &[]);
}

#[test]
fn a_change_that_clients_would_feel_is_found() {
    let one = "message A uint32 one = 1";
    check_change("uint32 one = 1;", "", &[one], &[]);
    check_change("one = 1", "one = 9", &[one], &["message A uint32 one = 9"]);
    check_change("one = 1", "first = 1", &[one], &["message A uint32 first = 1"]);
    check_change("uint32 one", "uint64 one", &[one], &["message A uint64 one = 1"]);
    check_change("uint32 one", "repeated uint32 one", &[one], &["message A repeated uint32 one = 1"]);
    check_change("uint32 one", "optional uint32 one", &[one], &["message A optional uint32 one = 1"]);
    let three = "message A oneof which string three = 3";
    check_change(
        "oneof which { string three = 3; ",
        "string three = 3; oneof which { ",
        &[three],
        &["message A string three = 3"],
    );
    check_change(
        "repeated B two",
        "repeated A two",
        &["message A repeated .tokenweir.v1.B two = 2"],
        &["message A repeated .tokenweir.v1.A two = 2"],
    );
    check_change("E_ONE = 1", "E_ONE = 2", &["enum E E_ONE = 1"], &["enum E E_ONE = 2"]);
    check_change("E_ONE = 1;", "", &["enum E E_ONE = 1"], &[]);
    check_change(
        "enum E { E_UNSPECIFIED",
        "enum E { E_NONE",
        &["enum E E_UNSPECIFIED = 0"],
        &["enum E E_NONE = 0"],
    );
    let get = "rpc S.Get (.tokenweir.v1.A) returns (stream .tokenweir.v1.A)";
    check_change(
        "returns (stream A)",
        "returns (A)",
        &[get],
        &["rpc S.Get (.tokenweir.v1.A) returns (.tokenweir.v1.A)"],
    );
    check_change(
        "Get(A)",
        "Get(B)",
        &[get],
        &["rpc S.Get (.tokenweir.v1.B) returns (stream .tokenweir.v1.A)"],
    );
}

#[test]
fn what_is_new_is_told_and_breaks_nothing() {
    check_change("message B {}", "message B { bool six = 6; }", &[], &["message B bool six = 6"]);
    check_change("E_ONE = 1;", "E_ONE = 1; E_TWO = 2;", &[], &["enum E E_TWO = 2"]);
    check_change("message B {}", "message B {} message C {}", &[], &["message C"]);
}
