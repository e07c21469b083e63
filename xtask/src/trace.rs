//! The sums of the bundled token trace, taken straight from its file: what the demo must account for.

use std::path::Path;

/// What a trace holds.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Sums {
    /// Requests, the header not counted.
    pub(crate) rows: u64,
    /// Context and generated tokens of all rows.
    pub(crate) tokens: u64,
}

/// Reads a trace and adds it up.
///
/// # Errors
/// When the file cannot be read or a row is not `time,tokens,tokens`.
pub(crate) fn sums_of(file: &Path) -> Result<Sums, String> {
    let text = std::fs::read_to_string(file)
        .map_err(|error| format!("{} cannot be read: {error}", file.display()))?;
    add_up(&text)
}

fn add_up(text: &str) -> Result<Sums, String> {
    let mut sums = Sums { rows: 0, tokens: 0 };
    for (index, line) in text.lines().enumerate().skip(1) {
        let tokens =
            row(line).ok_or_else(|| format!("line {} of the trace is not a row: {line}", index + 1))?;
        sums.rows += 1;
        sums.tokens += tokens;
    }
    Ok(sums)
}

fn row(line: &str) -> Option<u64> {
    let mut fields = line.split(',').skip(1);
    let context: u64 = fields.next()?.parse().ok()?;
    let generated: u64 = fields.next()?.parse().ok()?;
    if fields.next().is_some() { None } else { context.checked_add(generated) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cargo::root;

    #[test]
    fn the_bundled_trace_has_the_published_sums() {
        let sums = sums_of(&root().join(crate::demo::TRACE)).expect("the trace is part of the repository");
        assert_eq!(sums, Sums { rows: 19_366, tokens: 26_450_535 });
    }

    #[test]
    fn a_row_that_is_not_three_fields_is_named_by_its_line() {
        let error = add_up("T,C,G\r\nt,1,2\r\nt,1\r\n").expect_err("line 3 is short");
        assert!(error.contains("line 3"), "{error}");
    }
}
