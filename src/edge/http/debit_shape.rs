//! What debits and their answer look like, for the description of the interface. They are read and written by hand; the tests below
//! hold this against the hand.

use utoipa::openapi::schema::{AdditionalProperties, ArrayBuilder, ObjectBuilder, OneOfBuilder, Type};
use utoipa::openapi::{AllOfBuilder, Ref, RefOr, Schema};
use utoipa::{PartialSchema, ToSchema};

use crate::domain::limits;
use crate::meter::{Lsn, Tokens, UsageKind};

use super::schemas::{id, time_read, whole};

/// A body of debits: an array of them, or one.
pub(super) struct Debits;

impl PartialSchema for Debits {
    fn schema() -> RefOr<Schema> {
        let array = ArrayBuilder::new().items(Ref::from_schema_name(Debit::name()));
        let array = array.max_items(Some(limits::BATCH_DEBITS_MAX));
        OneOfBuilder::new().item(array).item(Ref::from_schema_name(Debit::name())).into()
    }
}

impl ToSchema for Debits {
    fn schemas(schemas: &mut Vec<(String, RefOr<Schema>)>) {
        schemas.push((Debit::name().into_owned(), Debit::schema()));
    }
}

/// One debit.
struct Debit;

impl PartialSchema for Debit {
    fn schema() -> RefOr<Schema> {
        let text = ObjectBuilder::new().schema_type(Type::String);
        let text = text.min_length(Some(1)).max_length(Some(limits::EVENT_ID_BYTES_MAX));
        let text =
            text.description(Some("Names the event, in at most 128 bytes; the same on every repetition."));
        let own = ObjectBuilder::new()
            .property("camera", id("The camera."))
            .property("epoch", whole(0, u64::from(u32::MAX), "The generation of the camera's counter."))
            .property(
                "seq",
                whole(0, u64::MAX, "The number of the event in its epoch; the same on every repetition."),
            )
            .property("event_id", text)
            .property("time", time_read())
            .property("tokens", whole(1, u64::from(limits::DEBIT_TOKENS_MAX), "What the event costs."))
            .property("images", quantity("Images, to be priced where there are no tokens."))
            .property("duration_ms", quantity("Milliseconds, to be priced where there are neither."))
            .property("kind", UsageKind::schema())
            .required("camera")
            .additional_properties(Some(AdditionalProperties::FreeForm(false)));
        let by_seq = ObjectBuilder::new().required("epoch").required("seq");
        let by_id = ObjectBuilder::new().required("event_id").required("time");
        AllOfBuilder::new().item(own).item(OneOfBuilder::new().item(by_seq).item(by_id)).into()
    }
}

impl ToSchema for Debit {}

fn quantity(text: &str) -> ObjectBuilder {
    whole(1, u64::from(limits::DEBIT_TOKENS_MAX), text)
}

/// A body of CloudEvents 1.0: one, or an array of them. In the binary mode the body is the data alone.
pub(super) struct CloudEvents;

impl PartialSchema for CloudEvents {
    fn schema() -> RefOr<Schema> {
        let event = || Ref::from_schema_name(CloudEvent::name());
        OneOfBuilder::new().item(event()).item(ArrayBuilder::new().items(event())).into()
    }
}

impl ToSchema for CloudEvents {
    fn schemas(schemas: &mut Vec<(String, RefOr<Schema>)>) {
        schemas.push((CloudEvent::name().into_owned(), CloudEvent::schema()));
    }
}

/// One CloudEvent.
struct CloudEvent;

impl PartialSchema for CloudEvent {
    fn schema() -> RefOr<Schema> {
        let text = |text| ObjectBuilder::new().schema_type(Type::String).description(Some(text));
        let data = ObjectBuilder::new()
            .property("tokens", whole(1, u64::from(limits::DEBIT_TOKENS_MAX), "What the event costs."))
            .property("kind", UsageKind::schema())
            .property("images", quantity("Images, to be priced where there are no tokens."))
            .property("duration_ms", quantity("Milliseconds, to be priced where there are neither."))
            .property(
                "network",
                text("The network that the camera is to be in; in another one it is refused."),
            )
            .property("organization", id("The organization that is charged."));
        let attributes = [
            ("specversion", "1.0."),
            ("id", "With the source: names the event; the same on every repetition."),
            ("source", "Where the event is from, a URI reference."),
            ("type", "The type of the event; any."),
            ("subject", "The camera."),
            ("time", "The event's time, RFC 3339."),
        ];
        let event = ObjectBuilder::new().property("data", data);
        let event = event.property("organization", id("The organization that is charged."));
        attributes
            .into_iter()
            .fold(event, |event, (name, about)| event.property(name, text(about)).required(name))
            .into()
    }
}

impl ToSchema for CloudEvent {}

/// What became of a batch, in the order of its debits.
#[derive(ToSchema)]
#[expect(dead_code, reason = "the answer is written by hand; this is its shape")]
pub(super) struct Judged {
    results: Vec<Judgement>,
    /// What the pool could pay after it.
    available: Tokens,
    lsn: Lsn,
    durability: Durability,
}

#[derive(ToSchema)]
#[expect(dead_code, reason = "the answer is written by hand; this is its shape")]
struct Judgement {
    outcome: Outcome,
    /// Of a duplicate: how it was first judged.
    first: Option<First>,
    /// Of a refused debit: why, for programs.
    code: Option<String>,
    /// Of a refused debit: why, for people.
    detail: Option<String>,
}

#[derive(ToSchema)]
#[schema(rename_all = "snake_case")]
#[expect(dead_code, reason = "the answer is written by hand; this is its shape")]
enum Outcome {
    Charged,
    Exempt,
    Duplicate,
    Refused,
}

#[derive(ToSchema)]
#[schema(rename_all = "snake_case")]
#[expect(dead_code, reason = "the answer is written by hand; this is its shape")]
enum First {
    Charged,
    Exempt,
}

#[derive(ToSchema)]
#[schema(rename_all = "snake_case")]
#[expect(dead_code, reason = "the answer is written by hand; this is its shape")]
enum Durability {
    Durable,
    Applied,
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::super::debit_rows::{Format, Rows};
    use super::*;

    /// Whether the hand takes it: an invalid row asks for no tokens.
    fn is_read(debit: &Value) -> bool {
        let mut rows = Rows::default();
        rows.read(Format::Json, debit.to_string().as_bytes(), 1).expect("it is JSON");
        rows.batch.tokens().eq([7])
    }

    fn without(debit: &Value, field: &str) -> Value {
        let fields = debit.as_object().expect("an object").iter().filter(|(name, _)| *name != field);
        fields.map(|(name, value)| (name.clone(), value.clone())).collect()
    }

    #[test]
    fn a_debit_is_read_as_it_is_described() {
        let described = serde_json::to_value(Debit::schema()).expect("a schema is JSON");
        let own = &described["allOf"][0];
        let by_seq = json!({"camera": "c", "epoch": 0, "seq": 0, "tokens": 7, "kind": "other", "time": 1,
            "images": 1, "duration_ms": 1});
        let by_id = json!({"camera": "c", "event_id": "e", "time": "2026-01-02T03:04:05Z", "tokens": 7});
        assert!(is_read(&by_seq) && is_read(&by_id));
        let mut named: Vec<_> = [&by_seq, &by_id]
            .into_iter()
            .flat_map(|debit| debit.as_object().expect("an object").keys())
            .collect();
        named.sort_unstable();
        named.dedup();
        assert!(own["properties"].as_object().expect("properties").keys().eq(named), "{own}");
        let required = |schema: &Value| -> Vec<String> {
            schema["required"]
                .as_array()
                .expect("names")
                .iter()
                .filter_map(Value::as_str)
                .map(str::to_owned)
                .collect()
        };
        let of_each =
            [(&by_seq, &described["allOf"][1]["oneOf"][0]), (&by_id, &described["allOf"][1]["oneOf"][1])];
        for (debit, identity) in of_each {
            for field in required(own).into_iter().chain(required(identity)) {
                assert!(!is_read(&without(debit, &field)), "{field} is required of {debit}");
            }
            let mut unknown = debit.clone();
            unknown["other"] = json!(1);
            assert!(!is_read(&unknown), "{unknown}");
        }
        assert!(
            is_read(&json!({"camera": "c", "epoch": 0, "seq": 0, "tokens": 7})),
            "the rest may be left out"
        );
    }
}
