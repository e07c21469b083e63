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
