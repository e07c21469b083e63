//! Just enough JSON to read the report of the demo: integers and booleans of one flat object on one line.
//!
//! Deliberately absent: nesting, floats, escapes. What is not plainly readable is an error, never a guess.

/// The unsigned integer that the object holds under this key.
///
/// # Errors
/// When the key is missing, is there twice, or holds something else.
pub(crate) fn integer(object: &str, key: &str) -> Result<u64, String> {
    let text = value(object, key)?;
    text.parse().map_err(|_| format!("`{key}` is {text}, which is not an unsigned integer"))
}

/// The boolean that the object holds under this key.
///
/// # Errors
/// When the key is missing, is there twice, or holds something else.
pub(crate) fn boolean(object: &str, key: &str) -> Result<bool, String> {
    let text = value(object, key)?;
    text.parse().map_err(|_| format!("`{key}` is {text}, which is not true or false"))
}

fn value<'a>(object: &'a str, key: &str) -> Result<&'a str, String> {
    let inner = object.trim().strip_prefix('{').and_then(|rest| rest.strip_suffix('}'));
    let inner = inner.ok_or_else(|| format!("`{object}` is not a JSON object on one line"))?;
    let quoted = format!("\"{key}\"");
    let mut found = inner.match_indices(&quoted).filter_map(|(at, _)| {
        let rest = inner[at + quoted.len()..].trim_start().strip_prefix(':')?;
        Some(rest.split(',').next().unwrap_or(rest).trim())
    });
    match (found.next(), found.next()) {
        (Some(text), None) => Ok(text),
        (None, _) => Err(format!("`{key}` is missing")),
        (Some(_), Some(_)) => Err(format!("`{key}` is there twice")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OBJECT: &str =
        r#"{"rows":3, "charged" : 18446744073709551615,"name":"rows","conserved":true,"exempt":-1}"#;

    #[test]
    fn integers_and_booleans_are_read_with_and_without_spaces() {
        assert_eq!(integer(OBJECT, "rows"), Ok(3));
        assert_eq!(integer(OBJECT, "charged"), Ok(u64::MAX));
        assert_eq!(boolean(OBJECT, "conserved"), Ok(true));
    }

    #[test]
    fn a_value_of_another_kind_is_refused() {
        assert!(integer(OBJECT, "exempt").is_err());
        assert!(integer(OBJECT, "conserved").is_err());
        assert!(boolean(OBJECT, "rows").is_err());
    }

    #[test]
    fn a_missing_and_a_doubled_key_are_refused() {
        assert!(integer(OBJECT, "granted").is_err());
        assert!(integer(r#"{"rows":1,"rows":2}"#, "rows").is_err());
    }

    #[test]
    fn text_that_is_no_object_is_refused() {
        assert!(integer("\"rows\":1", "rows").is_err());
        assert!(integer("", "rows").is_err());
    }
}
