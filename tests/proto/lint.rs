//! How a schema is written: its package is versioned, names have the usual cases, enums begin with a value that says nothing,
//! calls name their messages, and everything has a comment.

use protox::prost_reflect::prost_types::{DescriptorProto, EnumDescriptorProto, FileDescriptorProto};

use crate::planted;

/// Enums whose first value is the usual choice, so that whoever says nothing makes it.
const WITH_A_DEFAULT: [&str; 2] = ["UsageKind", "Durability"];

/// Numbers of the fields of a file's descriptor, of which the places of comments are made.
const MESSAGES: i32 = 4;
const ENUMS: i32 = 5;
const SERVICES: i32 = 6;
/// Fields of a message, values of an enum, calls of a service.
const MEMBERS: i32 = 2;

/// What is wrong with a schema.
pub(crate) fn check(schema: &FileDescriptorProto) -> Vec<String> {
    let mut faults = Vec::new();
    if schema.syntax() != "proto3" {
        faults.push(format!("{}: write proto3", schema.name()));
    }
    check_package(schema, &mut faults);
    for (place, message) in (0..).zip(&schema.message_type) {
        check_message(message, &mut faults);
        let members = message.field.iter().map(|field| field.name());
        check_comments(schema, [MESSAGES, place], message.name(), members, &mut faults);
    }
    for (place, listed) in (0..).zip(&schema.enum_type) {
        check_enum(listed, &mut faults);
        let members = listed.value.iter().map(|value| value.name());
        check_comments(schema, [ENUMS, place], listed.name(), members, &mut faults);
    }
    for (place, service) in (0..).zip(&schema.service) {
        require(is_pascal(service.name()), service.name(), "a service is PascalCase", &mut faults);
        for method in &service.method {
            let named = |suffix| format!(".{}.{}{suffix}", schema.package(), method.name());
            let pair = (method.input_type(), method.output_type());
            let is_paired = pair == (&named("Request"), &named("Reply"));
            require(is_pascal(method.name()), method.name(), "a call is PascalCase", &mut faults);
            require(is_paired, method.name(), "call X takes XRequest and gives XReply", &mut faults);
        }
        let members = service.method.iter().map(|method| method.name());
        check_comments(schema, [SERVICES, place], service.name(), members, &mut faults);
    }
    faults
}

fn check_package(schema: &FileDescriptorProto, faults: &mut Vec<String>) {
    let package = schema.package();
    let version = package.rsplit('.').next().and_then(|last| last.strip_prefix('v'));
    let is_versioned = version.is_some_and(|version| version.parse::<u32>().is_ok_and(|version| version > 0));
    require(is_versioned && package.contains('.'), package, "a package ends with its version, as v1", faults);
    let folder = schema.name().rsplit_once('/').map_or("", |(folder, _)| folder);
    require(
        folder == package.replace('.', "/"),
        schema.name(),
        "a file lies in the folder of its package",
        faults,
    );
}

fn check_message(message: &DescriptorProto, faults: &mut Vec<String>) {
    let name = message.name();
    require(is_pascal(name), name, "a message is PascalCase", faults);
    let has_none = message.nested_type.is_empty() && message.enum_type.is_empty();
    require(has_none, name, "messages and enums are declared beside each other, not within", faults);
    let fields = message.field.iter().map(|field| field.name());
    // An optional field has a oneof of its own, which nobody named.
    let oneofs = message.oneof_decl.iter().map(|oneof| oneof.name().trim_start_matches('_'));
    for member in fields.chain(oneofs) {
        require(is_snake(member), &format!("{name}.{member}"), "a field is lower_snake_case", faults);
    }
}

fn check_enum(listed: &EnumDescriptorProto, faults: &mut Vec<String>) {
    let name = listed.name();
    require(is_pascal(name), name, "an enum is PascalCase", faults);
    let prefix = upper_snake(name) + "_";
    for value in &listed.value {
        let text = value.name();
        let is_upper = text.chars().all(|c| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_');
        require(
            is_upper && text.starts_with(&prefix),
            text,
            "a value is the name of its enum and its own",
            faults,
        );
    }
    let says_nothing =
        listed.value.first().is_some_and(|value| value.name() == format!("{prefix}UNSPECIFIED"));
    let rule = "the first value is UNSPECIFIED, or the enum is listed as having a default";
    require(says_nothing || WITH_A_DEFAULT.contains(&name), name, rule, faults);
}

/// Everything at a place and its members must have a comment.
fn check_comments<'a>(
    schema: &FileDescriptorProto,
    place: [i32; 2],
    name: &str,
    members: impl Iterator<Item = &'a str>,
    faults: &mut Vec<String>,
) {
    let locations = schema.source_code_info.iter().flat_map(|info| &info.location);
    let commented: Vec<&[i32]> = locations
        .filter(|location| !location.leading_comments().trim().is_empty())
        .map(|location| location.path.as_slice())
        .collect();
    require(commented.contains(&&place[..]), name, "it has no comment", faults);
    for (number, member) in (0..).zip(members) {
        let path = [place[0], place[1], MEMBERS, number];
        require(commented.contains(&&path[..]), &format!("{name}.{member}"), "it has no comment", faults);
    }
}

fn require(holds: bool, name: &str, rule: &str, faults: &mut Vec<String>) {
    if !holds {
        faults.push(format!("{name}: {rule}"));
    }
}

fn is_pascal(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_uppercase()) && name.chars().all(|c| c.is_ascii_alphanumeric())
}

fn is_snake(name: &str) -> bool {
    let is_part =
        |part: &str| !part.is_empty() && part.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit());
    name.starts_with(|c: char| c.is_ascii_lowercase()) && name.split('_').all(is_part)
}

/// `UsageKind` as `USAGE_KIND`.
fn upper_snake(pascal: &str) -> String {
    let mut text = String::new();
    for c in pascal.chars() {
        if c.is_ascii_uppercase() && !text.is_empty() {
            text.push('_');
        }
        text.push(c.to_ascii_uppercase());
    }
    text
}

const GOOD: &str = r#"syntax = "proto3";
package tokenweir.v1;
// A service.
service S {
  // A call.
  rpc Get(GetRequest) returns (GetReply);
}
// A request.
message GetRequest {
  // A field.
  optional E some_field = 1;
}
// A reply.
message GetReply {
}
// An enum.
enum E {
  // Nothing.
  E_UNSPECIFIED = 0;
}
"#;

fn check_fault(from: &str, to: &str, name: &str, rule: &str) {
    assert!(GOOD.contains(from), "{from}");
    let faults = check(&planted(&GOOD.replace(from, to)));
    assert!(faults.iter().any(|fault| fault.starts_with(name) && fault.contains(rule)), "{to}: {faults:?}");
}

#[test]
fn a_schema_by_rule_has_no_fault() {
    assert_eq!(check(&planted(GOOD)), Vec::<String>::new());
}

#[test]
fn each_planted_fault_is_found() {
    check_fault("proto3", "proto2", "tokenweir/v1/metering.proto", "proto3");
    check_fault("tokenweir.v1", "tokenweir", "tokenweir", "version");
    check_fault("tokenweir.v1", "tokenweir.v2", "tokenweir/v1/metering.proto", "folder");
    check_fault("service S", "service s", "s", "PascalCase");
    check_fault("rpc Get(", "rpc get(", "get", "PascalCase");
    check_fault("Get(GetRequest)", "Get(GetReply)", "Get", "XRequest");
    check_fault("message GetReply {", "message GetReply { message Inner {}", "GetReply", "not within");
    check_fault("some_field", "someField", "GetRequest.someField", "lower_snake_case");
    check_fault("some_field", "some__field", "GetRequest.some__field", "lower_snake_case");
    check_fault("E_UNSPECIFIED", "UNSPECIFIED", "UNSPECIFIED", "name of its enum");
    check_fault("E_UNSPECIFIED", "E_FIRST", "E", "UNSPECIFIED");
    for (comment, name) in [
        ("// A service.", "S"),
        ("// A call.", "S.Get"),
        ("// A request.", "GetRequest"),
        ("// A field.", "GetRequest.some_field"),
        ("// An enum.", "E"),
        ("// Nothing.", "E.E_UNSPECIFIED"),
    ] {
        check_fault(comment, "", name, "no comment");
    }
}
