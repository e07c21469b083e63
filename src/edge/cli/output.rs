//! What commands print: lines, tables, JSON.
//!
//! A reader that goes away (`weir inspect | head`) ends the output, not the program with a fault.

use std::collections::BTreeSet;
use std::io::Write as _;

use clap::ValueEnum;
use serde::Serialize;
use serde_json::Value;

/// The lists of rows in answers.
const LISTS: [&str; 10] = [
    "organizations",
    "cameras",
    "licenses",
    "reservations",
    "keys",
    "rates",
    "thresholds",
    "notices",
    "webhooks",
    "deliveries",
];

/// Prints one line, or several, to standard output.
pub(super) fn print(text: &str) {
    // Nobody is left to be told when standard output is closed.
    drop(writeln!(std::io::stdout().lock(), "{text}"));
}

/// Prints text that ends its own lines to standard output.
pub(super) fn print_raw(text: &str) {
    drop(std::io::stdout().lock().write_all(text.as_bytes()));
}

/// Prints to standard error, where everything goes that is no result.
pub(super) fn note(text: &str) {
    drop(writeln!(std::io::stderr().lock(), "{text}"));
}

/// Prints a value as indented JSON.
pub(super) fn print_json(value: &impl Serialize) {
    print(&serde_json::to_string_pretty(value).expect("values of this program have text keys"));
}

/// Prints a value as JSON on one line.
pub(super) fn print_json_line(value: &impl Serialize) {
    print(&serde_json::to_string(value).expect("values of this program have text keys"));
}

/// How an answer is printed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// For people: lines and tables.
    #[default]
    Table,
    /// The answer itself.
    Json,
    /// The rows of the answer, with a line of column names first (RFC 4180).
    Csv,
}

impl From<bool> for Output {
    fn from(json: bool) -> Self {
        if json { Self::Json } else { Self::Table }
    }
}

/// Prints the answer itself, its rows, or what `text` makes of it.
pub(super) fn answer(output: impl Into<Output>, value: &Value, text: impl FnOnce(&Value) -> String) {
    match output.into() {
        Output::Json => print_json(value),
        Output::Csv => print(&csv(value)),
        Output::Table => print(&text(value)),
    }
}

/// The rows of an answer: those of its one list of rows, or the answer itself as the only one.
fn csv(value: &Value) -> String {
    // What has an id is itself a row.
    let lists = value
        .as_object()
        .filter(|_| value["id"].is_null())
        .into_iter()
        .flatten()
        .filter_map(|(name, list)| Some((name, list.as_array()?)));
    let mut lists = lists.filter(|(name, _)| LISTS.contains(&name.as_str()));
    match (lists.next(), lists.next()) {
        (Some((name, rows)), None) => csv_rows(name, rows),
        _ => csv_rows("", std::slice::from_ref(value)),
    }
}

fn csv_rows(name: &str, rows: &[Value]) -> String {
    let columns: BTreeSet<_> = rows.iter().filter_map(Value::as_object).flat_map(|row| row.keys()).collect();
    if columns.is_empty() {
        let lines = rows.iter().map(csv_cell);
        return std::iter::once(name.to_owned()).chain(lines).collect::<Vec<_>>().join("\n");
    }
    let head = columns.iter().map(|name| (*name).clone()).collect::<Vec<_>>().join(",");
    let line =
        |row: &Value| columns.iter().map(|name| csv_cell(&row[name.as_str()])).collect::<Vec<_>>().join(",");
    std::iter::once(head).chain(rows.iter().map(line)).collect::<Vec<_>>().join("\n")
}

/// One cell, in quotes where it needs them. What is itself a list or an object stands there as JSON.
fn csv_cell(value: &Value) -> String {
    let text = match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    // A program of tables takes a cell that begins so for a formula.
    let text = if text.starts_with(['=', '+', '-', '@']) { format!("'{text}") } else { text };
    let needs_quotes = text.contains([',', '"', '\n', '\r']);
    if needs_quotes { format!("\"{}\"", text.replace('"', "\"\"")) } else { text }
}

/// Rows in aligned columns; columns of numbers are aligned to the right.
pub(super) fn table<const N: usize>(head: [&str; N], rows: &[[String; N]]) -> String {
    let mut widths = head.map(|cell| cell.chars().count());
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let mut right = [true; N];
    for (column, right) in right.iter_mut().enumerate() {
        *right = !rows.is_empty() && rows.iter().all(|row| is_number(&row[column]));
    }
    let mut lines = vec![line(head, &widths, &right)];
    lines.extend(rows.iter().map(|row| line(row.each_ref().map(String::as_str), &widths, &right)));
    lines.join("\n")
}

/// A number with thousands apart.
pub(super) fn number(value: u64) -> String {
    let digits = value.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A field of an answer as text; empty when it is null or not there.
pub(super) fn field(value: &Value, name: &str) -> String {
    cell(&value[name])
}

/// A field of an answer that holds a number, with thousands apart.
pub(super) fn number_field(value: &Value, name: &str) -> String {
    value[name].as_u64().map_or_else(|| field(value, name), number)
}

/// The rows in a field of an answer; none when it is not an array.
pub(super) fn rows<'a>(value: &'a Value, name: &str) -> &'a [Value] {
    value[name].as_array().map_or(&[], Vec::as_slice)
}

/// `yes` or `no`.
pub(super) fn yes(value: &Value, name: &str) -> String {
    if value[name].as_bool() == Some(true) { "yes" } else { "no" }.to_owned()
}

fn cell(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        Value::Array(items) => items.iter().map(cell).collect::<Vec<_>>().join(" "),
        other => other.to_string(),
    }
}

fn is_number(cell: &str) -> bool {
    cell.bytes().all(|byte| byte.is_ascii_digit() || byte == b',')
}

fn line<const N: usize>(cells: [&str; N], widths: &[usize; N], right: &[bool; N]) -> String {
    let mut text = String::new();
    for (column, cell) in cells.into_iter().enumerate() {
        let fill = " ".repeat(widths[column] - cell.chars().count());
        let (before, after) = if right[column] { (fill.as_str(), "") } else { ("", fill.as_str()) };
        text.push_str(before);
        text.push_str(cell);
        text.push_str(after);
        text.push_str("  ");
    }
    text.trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn numbers_have_their_thousands_apart() {
        for (value, text) in [(0, "0"), (999, "999"), (1_000, "1,000"), (26_450_535, "26,450,535")] {
            assert_eq!(number(value), text);
        }
    }

    #[test]
    fn csv_has_the_rows_of_a_list_or_the_answer_as_its_only_row() {
        let list = json!({"keys": [{"id": "a", "label": "x, \"y\""}, {"id": "b", "by": "=1"}], "next": null});
        assert_eq!(csv(&list), "by,id,label\n,a,\"x, \"\"y\"\"\"\n'=1,b,");
        assert_eq!(csv(&json!({"organizations": ["a", "b"]})), "organizations\na\nb");
        assert_eq!(csv(&json!({"id": "a", "used": 7})), "id,used\na,7");
    }

    #[test]
    fn a_table_aligns_numbers_to_the_right_and_text_to_the_left() {
        let rows = [["north".into(), "1,000".into()], ["s".into(), "7".into()]];
        assert_eq!(
            table(["organization", "used"], &rows),
            "organization   used\nnorth         1,000\ns                 7"
        );
    }
}
