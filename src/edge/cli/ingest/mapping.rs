//! From a JSON object of somebody else's to the fields of a debit.

use serde_json::{Map, Number, Value};

/// The fields that a debit may have.
const FIELDS: [&str; 9] =
    ["camera", "event_id", "epoch", "seq", "tokens", "images", "duration_ms", "kind", "time"];

/// Where a field is found: names of members and places in arrays, one inside the other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mapped {
    field: &'static str,
    path: Vec<String>,
}

/// A field that is the same in every debit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fixed {
    field: &'static str,
    value: String,
}

/// Reads `FIELD=PATH`.
pub(super) fn mapped(text: &str) -> Result<Mapped, String> {
    let (field, path) = text.split_once('=').ok_or("a mapping is FIELD=PATH, as in tokens=usage.total")?;
    Ok(Mapped { field: known(field)?, path: path.split('.').map(str::to_owned).collect() })
}

/// Reads `FIELD=VALUE`.
pub(super) fn fixed(text: &str) -> Result<Fixed, String> {
    let (field, value) = text.split_once('=').ok_or("a fixed field is FIELD=VALUE, as in camera=gate")?;
    Ok(Fixed { field: known(field)?, value: value.to_owned() })
}

fn known(field: &str) -> Result<&'static str, String> {
    let found = FIELDS.into_iter().find(|known| *known == field);
    found.ok_or_else(|| format!("a debit has no field `{field}`; it has {}", FIELDS.join(", ")))
}

/// The debit that `event` is: fields of the same name unless they are mapped or fixed. What is null or not there is left out.
pub(super) fn debit(event: &Value, mapping: &[Mapped], constants: &[Fixed]) -> Map<String, Value> {
    let mut debit = Map::new();
    for field in FIELDS {
        let place = mapping.iter().rev().find(|mapped| mapped.field == field);
        let found = match place {
            Some(mapped) => mapped.path.iter().try_fold(event, |value, name| inside(value, name)),
            None => event.get(field),
        };
        if let Some(value) = found.filter(|value| !value.is_null()) {
            debit.insert(field.to_owned(), value.clone());
        }
    }
    for Fixed { field, value } in constants {
        let number = value.parse::<u64>().ok().filter(|_| is_number(field));
        debit.insert((*field).to_owned(), number.map_or_else(|| value.as_str().into(), Value::from));
    }
    debit
}

fn is_number(field: &str) -> bool {
    !matches!(field, "camera" | "event_id" | "kind" | "time")
}

fn inside<'a>(value: &'a Value, name: &str) -> Option<&'a Value> {
    match value {
        Value::Array(items) => items.get(name.parse::<usize>().ok()?),
        value => value.get(name),
    }
}

/// Milliseconds of a number of seconds, as it is written; what is finer is cut off.
pub(super) fn ms_of_seconds(seconds: &Number) -> Option<u64> {
    let text = seconds.to_string();
    let (whole, fraction) = text.split_once('.').unwrap_or((&text, ""));
    let thousandths: String = fraction.chars().chain("000".chars()).take(3).collect();
    let (whole, thousandths): (u64, u64) = (whole.parse().ok()?, thousandths.parse().ok()?);
    whole.checked_mul(1_000)?.checked_add(thousandths)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn fields_are_found_by_name_by_path_or_are_fixed() {
        let event =
            json!({"camera": "gate", "usage": {"total": 5, "parts": [{"n": 7}]}, "tokens": 1, "time": null});
        let mapping =
            [mapped("tokens=usage.parts.0.n").expect("valid"), mapped("seq=no.where").expect("valid")];
        let fixed = [
            fixed("kind=other").expect("valid"),
            fixed("epoch=3").expect("valid"),
            fixed("event_id=3").expect("valid"),
        ];
        let expected = json!({"camera": "gate", "tokens": 7, "kind": "other", "epoch": 3, "event_id": "3"});
        assert_eq!(Value::Object(debit(&event, &mapping, &fixed)), expected);
        assert!(mapped("tokens").is_err() && mapped("colour=a").is_err() && super::fixed("x").is_err());
    }

    #[test]
    fn seconds_become_milliseconds_without_rounding() {
        for (text, ms) in [
            ("1607123961.837752", Some(1_607_123_961_837)),
            ("1607123961", Some(1_607_123_961_000)),
            ("0.5", Some(500)),
            ("-1", None),
            ("1e300", None),
        ] {
            let number = serde_json::from_str(text).expect("a number");
            assert_eq!(ms_of_seconds(&number), ms, "{text}");
        }
    }
}
