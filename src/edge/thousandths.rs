//! Amounts in thousandths as people write them: decimal numbers with at most three digits after the point.

/// A decimal number in thousandths.
pub(super) fn read(text: &str) -> Option<u64> {
    let (whole, decimals) = text.split_once('.').unwrap_or((text, ""));
    let is_number = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if whole.is_empty() || decimals.len() > 3 || !is_number(whole) || !is_number(decimals) {
        return None;
    }
    format!("{whole}{decimals:0<3}").parse().ok()
}

/// Thousandths as a decimal number.
pub(super) fn write(thousandths: u64) -> String {
    let text = format!("{}.{:03}", thousandths / 1_000, thousandths % 1_000);
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thousandths_are_read_and_written_with_up_to_three_decimals() {
        for (text, thousandths, written) in
            [("1", 1_000, "1"), ("1.5", 1_500, "1.5"), ("0.001", 1, "0.001"), ("10.250", 10_250, "10.25")]
        {
            assert_eq!(read(text), Some(thousandths), "{text}");
            assert_eq!(write(thousandths), written);
        }
        for bad in ["", ".5", "1.2345", "-1", "1e3", "1,5", "99999999999999999999"] {
            assert_eq!(read(bad), None, "{bad}");
        }
    }
}
