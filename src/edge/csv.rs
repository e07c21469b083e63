//! Comma-separated values as RFC 4180 says: lines end with CRLF; a field with a comma, a quote or a line end stands in quotes, and
//! quotes in it are doubled.

use std::fmt::Display;

/// One line in the making.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Csv {
    line: String,
    fields: usize,
}

impl Csv {
    /// Adds a field.
    #[must_use]
    pub fn field(mut self, value: impl Display) -> Self {
        if self.fields > 0 {
            self.line.push(',');
        }
        self.fields += 1;
        let text = value.to_string();
        if text.contains([',', '"', '\r', '\n']) {
            self.line.push('"');
            self.line.push_str(&text.replace('"', "\"\""));
            self.line.push('"');
        } else {
            self.line.push_str(&text);
        }
        self
    }

    /// Adds a field; an empty one for nothing.
    #[must_use]
    pub fn optional(self, value: Option<impl Display>) -> Self {
        match value {
            Some(value) => self.field(value),
            None => self.field(""),
        }
    }

    /// The line, with its end.
    #[must_use]
    pub fn end(mut self) -> String {
        self.line.push_str("\r\n");
        self.line
    }
}

/// The first line, with the names of the fields.
#[must_use]
pub fn head(names: &[&str]) -> String {
    names.iter().fold(Csv::default(), Csv::field).end()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_with_commas_quotes_and_line_ends_are_quoted_and_others_are_not() {
        let line =
            Csv::default().field("plain").field("a,b").field("say \"no\"").field("two\r\nlines").field(7);
        let line = line.optional(None::<u64>).optional(Some("é")).end();
        assert_eq!(line, "plain,\"a,b\",\"say \"\"no\"\"\",\"two\r\nlines\",7,,é\r\n");
        assert_eq!(head(&["a", "b"]), "a,b\r\n");
    }
}
