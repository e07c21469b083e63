//! Bodies of the HTTP edge, in each content type.

use serde_json::Value;
use tokenweir::edge::http::bodies::{self, Object};
use tokenweir::meter::{ActorId, DebitBatch, OrgId, Principal, Role};

use crate::bounded::{CLAIMED, bounded};
use crate::judged::judge;

const JSON: &str = "application/json";
const LINES: &str = "application/x-ndjson";
const MESSAGE_PACK: &str = "application/msgpack";
/// Most debits of a body here: few, so that short inputs meet the bound.
const DEBITS_MAX: usize = 40;
/// Values nest less deep than the shallowest format reads.
const DEPTH_MAX: usize = 8;
const OBJECTS: [Object; 10] = [
    Object::Organization,
    Object::Camera,
    Object::Unlimited,
    Object::LicenseKey,
    Object::Transfer,
    Object::ApiKey,
    Object::Reservation,
    Object::Rates,
    Object::Alerts,
    Object::Webhook,
];

/// The first byte chooses what the rest is read as.
pub fn fuzz(data: &[u8]) {
    let Some((choice, body)) = data.split_first() else { return };
    match usize::from(*choice) {
        0 => drop(debits(JSON, body)),
        1 => drop(debits(LINES, body)),
        2 => drop(debits(MESSAGE_PACK, body)),
        3 => same_in_every_format(body),
        4 => drop(events(&[], body)),
        5 => same_in_headers(body),
        other => object(OBJECTS[other % OBJECTS.len()], body),
    }
}

/// Debits become rows, each of which gets its outcome, or a problem of the sender's.
fn debits(media_type: &str, body: &[u8]) -> Option<DebitBatch> {
    let read = bounded(body.len(), (16 << 10, 128), || bodies::debits(media_type, body, DEBITS_MAX));
    let (mut batch, told) = match read {
        Ok(read) => read,
        Err(status) => return of_the_sender(status),
    };
    assert!(batch.len() <= DEBITS_MAX, "{} debits", batch.len());
    let refused = judge(&mut batch);
    assert!(
        told.is_sorted() && told.iter().all(|row| refused[*row]),
        "more is told of {told:?}, which are rows"
    );
    Some(batch)
}

/// The same debits are the same rows, whatever they are written in.
fn same_in_every_format(body: &[u8]) {
    let Ok(Value::Array(debits_of)) = serde_json::from_slice(body) else { return };
    if debits_of.iter().any(|debit| depth(debit) > DEPTH_MAX) {
        return;
    }
    let lines: Vec<_> = debits_of.iter().map(Value::to_string).collect();
    let packed = rmp_serde::to_vec_named(&debits_of).expect("any value can be packed");
    let of_lines = debits(LINES, lines.join("\n").as_bytes());
    let of_array = debits(JSON, Value::Array(debits_of).to_string().as_bytes());
    let of_pack = debits(MESSAGE_PACK, &packed);
    let told = |batch: Option<DebitBatch>| format!("{batch:?}");
    let (of_lines, of_array, of_pack) = (told(of_lines), told(of_array), told(of_pack));
    assert!(of_lines == of_array && of_array == of_pack, "{of_lines}\n{of_array}\n{of_pack}");
}

/// Every event is a row, or is refused.
fn events(headers: &[(&str, &[u8])], body: &[u8]) -> Option<Vec<DebitBatch>> {
    let organizations = ["acme", "other"].map(|id| OrgId::new(id).expect("valid")).to_vec();
    let id = ActorId::new("key").expect("valid");
    let who = Principal::Key { id, role: Role::Gateway, organizations };
    let read = || bodies::events((JSON, headers), body, DEBITS_MAX, &who);
    let (mut batches, count, refused) = match bounded(body.len(), (64 << 10, 256), read) {
        Ok(read) => read,
        Err(status) => return of_the_sender(status).map(|batch| vec![batch]),
    };
    assert!(count <= DEBITS_MAX, "{count} events");
    assert_eq!(batches.iter().map(DebitBatch::len).sum::<usize>() + refused, count);
    batches.iter_mut().for_each(|batch| drop(judge(batch)));
    Some(batches)
}

/// An event whose attributes are texts is the same debit when they stand in headers.
fn same_in_headers(body: &[u8]) {
    let Ok(Value::Object(mut event)) = serde_json::from_slice(body) else { return };
    let data = event.remove("data").unwrap_or(Value::Null);
    if !data.is_object() || depth(&data) > DEPTH_MAX || event.remove("data_base64").is_some() {
        return;
    }
    let texts = event.iter().filter_map(|(name, value)| Some((format!("ce-{name}"), value.as_str()?)));
    let headers: Vec<_> = texts.map(|(name, value)| (name, escaped(value))).collect();
    let is_name = |name: &str| name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'-');
    if headers.len() != event.len() || !headers.iter().all(|(name, _)| is_name(name)) {
        return;
    }
    let headers: Vec<_> = headers.iter().map(|(name, value)| (name.as_str(), value.as_bytes())).collect();
    let in_headers = events(&headers, data.to_string().as_bytes());
    event.insert("data".to_owned(), data);
    let in_body = events(&[], Value::Object(event).to_string().as_bytes());
    if !headers.is_empty() {
        assert_eq!(format!("{in_headers:?}"), format!("{in_body:?}"));
    }
}

fn escaped(text: &str) -> String {
    let byte = |byte: u8| match byte {
        b'!' | b'#' | b'$' | b'&'..=b'~' => char::from(byte).to_string(),
        _ => format!("%{byte:02X}"),
    };
    text.bytes().map(byte).collect()
}

/// An object that is read is read the same when it is written again.
fn object(object: Object, body: &[u8]) {
    match bounded(body.len(), (CLAIMED, 64), || bodies::object(object, body)) {
        Err(status) => drop(of_the_sender(status)),
        Ok(read) => {
            let value: Value = serde_json::from_slice(body).expect("an object was read from it");
            assert_eq!(bodies::object(object, value.to_string().as_bytes()), Ok(read));
        }
    }
}

fn of_the_sender(status: u16) -> Option<DebitBatch> {
    assert!((400..500).contains(&status), "{status}");
    None
}

fn depth(value: &Value) -> usize {
    match value {
        Value::Array(values) => 1 + values.iter().map(depth).max().unwrap_or(0),
        Value::Object(fields) => 1 + fields.values().map(depth).max().unwrap_or(0),
        _ => 0,
    }
}
