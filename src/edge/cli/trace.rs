//! Reads a token trace in the format of the Azure public dataset, row by row.
//!
//! `TIMESTAMP,ContextTokens,GeneratedTokens`: a time without zone (read as UTC) with up to nine fractional digits, and two
//! counts. Lines may end with CRLF, and the last may end with nothing. A row that is anything else ends the reading with
//! its line number: a trace that is guessed at would charge guesses.

use std::io::{self, BufRead, Read as _};

use jiff::civil::DateTime;
use jiff::tz::TimeZone;

use crate::domain::time::Timestamp;

const HEADER: &str = "TIMESTAMP,ContextTokens,GeneratedTokens";
const LINE_BYTES_MAX: u64 = 256;

/// One row of a trace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Row {
    /// Its number, from 0.
    pub(super) number: u64,
    /// When the request arrived, in whole milliseconds.
    pub(super) time: Timestamp,
    /// Context and generated tokens together.
    pub(super) tokens: u64,
    /// How many bytes of the trace lie before the next row.
    pub(super) end: u64,
}

/// Why a trace cannot be read on.
#[derive(Debug, thiserror::Error)]
pub(super) enum TraceError {
    /// A line is not what the format says.
    #[error(
        "line {line} of the trace: {what}; nothing from this line on was sent; correct the line, then run the same command again"
    )]
    Line {
        /// The line, from 1.
        line: u64,
        /// What is wrong with it.
        what: String,
    },
    /// The file could not be read.
    #[error("the trace cannot be read: {0}")]
    Io(#[from] io::Error),
}

/// A trace while it is read.
#[derive(Debug)]
pub(super) struct Trace<R> {
    from: R,
    line: u64,
    bytes: u64,
    text: Vec<u8>,
    ended: bool,
}

impl<R: BufRead> Trace<R> {
    /// Reads the header.
    ///
    /// # Errors
    /// When it is another.
    pub(super) fn new(from: R) -> Result<Self, TraceError> {
        let mut trace = Self { from, line: 0, bytes: 0, text: Vec::new(), ended: false };
        let header = trace.next_line()?.map(str::to_owned);
        if header.as_deref() == Some(HEADER) {
            Ok(trace)
        } else {
            let what = format!("the header is `{HEADER}`, and `{}` is there", header.unwrap_or_default());
            Err(TraceError::Line { line: 1, what })
        }
    }

    fn row(&mut self) -> Result<Option<Row>, TraceError> {
        let Some(text) = self.next_line()? else { return Ok(None) };
        let parsed = parse(text);
        let line = self.line;
        let (time, tokens) = parsed.map_err(|what| TraceError::Line { line, what })?;
        Ok(Some(Row { number: line - 2, time, tokens, end: self.bytes }))
    }

    fn next_line(&mut self) -> Result<Option<&str>, TraceError> {
        self.text.clear();
        let read = (&mut self.from).take(LINE_BYTES_MAX).read_until(b'\n', &mut self.text)?;
        if read == 0 {
            return Ok(None);
        }
        self.line += 1;
        self.bytes += u64::try_from(read).unwrap_or(u64::MAX);
        let fail = |line, what: &str| TraceError::Line { line, what: what.to_owned() };
        if self.text.pop_if(|byte| *byte == b'\n').is_none() && u64::try_from(read) == Ok(LINE_BYTES_MAX) {
            return Err(fail(self.line, "it is longer than any row"));
        }
        self.text.pop_if(|byte| *byte == b'\r');
        std::str::from_utf8(&self.text).map(Some).map_err(|_| fail(self.line, "it is not text"))
    }
}

impl<R: BufRead> Iterator for Trace<R> {
    type Item = Result<Row, TraceError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.ended {
            return None;
        }
        let row = self.row().transpose();
        self.ended = !matches!(row, Some(Ok(_)));
        row
    }
}

fn parse(text: &str) -> Result<(Timestamp, u64), String> {
    let fields: Vec<_> = text.split(',').collect();
    let [time, context, generated] = fields[..] else {
        return Err(format!("a row has 3 fields, and {} are there", fields.len()));
    };
    let tokens = count(context)?.checked_add(count(generated)?);
    Ok((parse_time(time)?, tokens.ok_or("its tokens do not fit 64 bits")?))
}

fn parse_time(text: &str) -> Result<Timestamp, String> {
    let wrong = |_| format!("`{text}` is not a time like 2023-11-16 18:15:46.6805900");
    let time: DateTime = text.parse().map_err(wrong)?;
    let time = time.to_zoned(TimeZone::UTC).map_err(wrong)?.timestamp().as_millisecond();
    let ms = u64::try_from(time).unwrap_or(0);
    Timestamp::from_ms(ms).map_err(|invalid| invalid.to_string())
}

fn count(text: &str) -> Result<u64, String> {
    let wrong = || format!("`{text}` is not a count of tokens");
    let is_plain = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if is_plain { text.parse().map_err(|_| wrong()) } else { Err(wrong()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BUNDLED: &[u8] = include_bytes!("../../../data/azure-llm/AzureLLMInferenceTrace_conv.csv");

    fn read(text: &str) -> Result<Vec<(u64, u64)>, String> {
        let rows = Trace::new(text.as_bytes()).map_err(|error| error.to_string())?;
        rows.map(|row| row.map(|row| (row.time.ms(), row.tokens)).map_err(|error| error.to_string()))
            .collect()
    }

    #[test]
    fn the_bundled_trace_sums_to_what_its_publisher_counted() {
        let rows: Result<Vec<_>, _> = Trace::new(BUNDLED).expect("its header").collect();
        let rows = rows.expect("every row is whole");
        assert_eq!(rows.len(), 19_366);
        assert_eq!(rows.iter().map(|row| row.tokens).sum::<u64>(), 26_450_535);
        assert_eq!(rows.last().map(|row| row.end), u64::try_from(BUNDLED.len()).ok());
        assert!(rows.is_sorted_by_key(|row| row.time), "arrivals are in order");
    }

    #[test]
    fn line_ends_and_a_missing_last_one_make_no_difference() {
        let expected = Ok(vec![(1_700_158_546_680, 418), (1_700_158_550_995, 505)]);
        for end in ["\r\n", "\n"] {
            let text = [HEADER, "2023-11-16 18:15:46.6805900,374,44", "2023-11-16 18:15:50.9951690,396,109"];
            assert_eq!(read(&text.join(end)), expected);
            assert_eq!(read(&(text.join(end) + end)), expected);
        }
    }

    #[test]
    fn a_malformed_row_is_named_by_its_line() {
        for (row, what) in [
            ("", "1 are there"),
            ("2023-11-16 18:15:46,1", "2 are there"),
            ("2023-11-16 18:15:46,1,2,3", "4 are there"),
            ("yesterday,1,2", "`yesterday` is not a time"),
            ("1969-11-16 18:15:46,1,2", "a time lies after 1970"),
            ("2023-11-16 18:15:46,-1,2", "`-1` is not a count"),
            ("2023-11-16 18:15:46,1.5,2", "`1.5` is not a count"),
            ("2023-11-16 18:15:46,18446744073709551615,1", "do not fit"),
            ("2023-11-16 18:15:46,18446744073709551616,1", "is not a count"),
            (&"9".repeat(300), "longer than any row"),
        ] {
            let text = format!("{HEADER}\r\n2023-11-16 18:15:46.1,1,2\r\n{row}\r\n");
            let error = read(&text).expect_err(row);
            assert!(error.starts_with("line 3 of the trace:") && error.contains(what), "{row}: {error}");
        }
    }

    #[test]
    fn a_file_that_is_no_trace_is_refused_at_its_header() {
        for text in ["", "a,b\n", "\u{feff}TIMESTAMP"] {
            assert!(read(text).expect_err(text).starts_with("line 1 of the trace: the header is"), "{text}");
        }
    }

    #[test]
    fn reading_ends_with_the_first_malformed_row() {
        let text = format!("{HEADER}\nx,1,1\n2023-11-16 18:15:46.1,1,2\n");
        let mut trace = Trace::new(text.as_bytes()).expect("a header");
        assert!(trace.next().is_some_and(|row| row.is_err()));
        assert!(trace.next().is_none());
    }
}
