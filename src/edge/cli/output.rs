//! What commands print: lines, tables, JSON.
//!
//! A reader that goes away (`weir inspect | head`) ends the output, not the program with a fault.

use std::io::Write as _;

use serde::Serialize;
use serde_json::Value;

/// Prints one line, or several, to standard output.
pub(super) fn print(text: &str) {
    // Nobody is left to be told when standard output is closed.
    drop(writeln!(std::io::stdout().lock(), "{text}"));
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

/// Prints the answer itself, or what `text` makes of it.
pub(super) fn answer(json: bool, value: &Value, text: impl FnOnce(&Value) -> String) {
    if json {
        print_json(value);
    } else {
        print(&text(value));
    }
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
    use super::*;

    #[test]
    fn numbers_have_their_thousands_apart() {
        for (value, text) in [(0, "0"), (999, "999"), (1_000, "1,000"), (26_450_535, "26,450,535")] {
            assert_eq!(number(value), text);
        }
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
