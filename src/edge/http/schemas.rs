//! How the values of the meter look in JSON, for the description of the interface.

use serde::Serialize;
use serde_json::Value;
use utoipa::openapi::schema::{KnownFormat, ObjectBuilder, OneOfBuilder, SchemaFormat, Type};
use utoipa::openapi::{RefOr, Schema};
use utoipa::{PartialSchema, ToSchema};

use crate::domain::limits;
use crate::meter::{
    ActorId, AlertId, AuditCursor, KeyId, LicenseId, LicenseStatus, Lsn, Measure, Name, OrgId, ReservationId,
    ReservationStatus, Role, Tokens, Topic, TransferId, TransferState, Unit, UsageKind, WebhookId,
    WebhookUrl,
};

use super::time_text::TimeText;

/// What ids are made of; `.` and `..` are none, because they mean another path.
pub(super) const ID_PATTERN: &str = r"^(?!\.{1,2}$)[A-Za-z0-9._:-]+$";
/// What names are made of: anything but control characters.
const NAME_PATTERN: &str = r"^[^\u0000-\u001f\u007f-\u009f]+$";

/// What places in the audit log are made of: the number of a frame, or names of nodes with one each.
const CURSOR_PATTERN: &str =
    r"^([0-9]{1,19}|[A-Za-z0-9._-]{1,64}~[0-9]{1,19}(~[A-Za-z0-9._-]{1,64}~[0-9]{1,19}){0,511})$";

macro_rules! schema {
    ($($name:ty => $schema:expr,)*) => {
        $(
            impl PartialSchema for $name {
                fn schema() -> RefOr<Schema> {
                    $schema.into()
                }
            }
            impl ToSchema for $name {}
        )*
    };
}

schema! {
    OrgId => id("Names an organization."),
    LicenseId => id("Names a license."),
    KeyId => id("Names a license key."),
    TransferId => id("Names a transfer; chosen by the caller, who repeats it under the same name."),
    ReservationId => id("Names a reservation; chosen by the caller, who repeats it under the same name."),
    ActorId => id("Names who did something: an API key, or the host."),
    AlertId => id("Names a threshold."),
    WebhookId => id("Names a webhook."),
    WebhookUrl => url(),
    Measure => one_of(&Measure::ALL, "What a threshold is compared with."),
    Topic => one_of(&Topic::ALL, "What a webhook is called for."),
    Name => name(),
    Tokens => whole(0, limits::POOL_TOKENS_MAX, "An amount of AI tokens."),
    Lsn => ObjectBuilder::new().schema_type(Type::Integer).minimum(Some(0)).description(Some("A number of a journal frame.")),
    AuditCursor => ObjectBuilder::new().schema_type(Type::String).pattern(Some(CURSOR_PATTERN)).description(Some("A place in the audit log.")),
    UsageKind => one_of(&UsageKind::ALL, "What the tokens are used for."),
    Unit => one_of(&Unit::ALL, "Of what a price is; a duration is counted in milliseconds."),
    Role => one_of(&[Role::Operator, Role::Admin, Role::Viewer, Role::Gateway], "What an API key may do."),
    LicenseStatus => one_of(&[LicenseStatus::Active, LicenseStatus::UsedUp], "Whether a license still holds tokens."),
    ReservationStatus => one_of(
        &[ReservationStatus::Open, ReservationStatus::Settled, ReservationStatus::Released, ReservationStatus::Expired],
        "Where a reservation stands.",
    ),
    TransferState => one_of(
        &[
            TransferState::Begun,
            TransferState::Committed,
            TransferState::Aborting,
            TransferState::Finished,
            TransferState::Aborted,
        ],
        "Where a transfer stands.",
    ),
    TimeText => time("A point in time: RFC 3339 in UTC with milliseconds."),
}

/// What URLs of webhooks are made of.
const URL_PATTERN: &str = r#"^https?://[^\s"<>@^`{|}#/?:\\][^\s"<>@^`{|}#/?\\]*([/?][^\s"<>^`{|}#\\]*)?$"#;

/// A point in time as it is read.
pub(super) fn time_read() -> Schema {
    let ms = whole(1, limits::TIMESTAMP_MS_MAX, "Milliseconds since 1970.");
    OneOfBuilder::new()
        .item(time("RFC 3339 with any offset."))
        .item(ms)
        .description(Some("A point in time after 1970 and before the year 10000."))
        .into()
}

/// A whole number.
pub(super) fn whole(least: u64, most: u64, text: &str) -> ObjectBuilder {
    let number = ObjectBuilder::new().schema_type(Type::Integer).description(Some(text));
    number.minimum(Some(least)).maximum(Some(most))
}

/// An id that people choose.
pub(super) fn id(text: &str) -> ObjectBuilder {
    let id = ObjectBuilder::new().schema_type(Type::String).description(Some(text)).pattern(Some(ID_PATTERN));
    id.min_length(Some(1)).max_length(Some(limits::ID_BYTES_MAX))
}

fn name() -> ObjectBuilder {
    let text = "A name for people: at most 128 bytes of UTF-8, without control characters.";
    let name = ObjectBuilder::new().schema_type(Type::String).description(Some(text));
    name.pattern(Some(NAME_PATTERN)).min_length(Some(1)).max_length(Some(limits::NAME_BYTES_MAX))
}

fn url() -> ObjectBuilder {
    let text = "The URL of a webhook: `https://host/path`, without a user and a fragment; `http` in allowed networks alone.";
    let url = ObjectBuilder::new().schema_type(Type::String).description(Some(text));
    url.pattern(Some(URL_PATTERN)).max_length(Some(limits::WEBHOOK_URL_BYTES_MAX))
}

fn time(text: &str) -> ObjectBuilder {
    let time = ObjectBuilder::new().schema_type(Type::String).description(Some(text));
    time.format(Some(SchemaFormat::KnownFormat(KnownFormat::DateTime)))
}

/// Names as the values themselves write them.
fn one_of<T: Serialize>(values: &[T], text: &str) -> ObjectBuilder {
    let name = |value| serde_json::to_value(value).unwrap_or(Value::Null);
    let names: Vec<_> = values.iter().map(name).collect();
    ObjectBuilder::new().schema_type(Type::String).description(Some(text)).enum_values(Some(names))
}
