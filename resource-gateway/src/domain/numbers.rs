//! Counts as others write them.

/// A count that is written as a number of any form (`8`, `8.0`, `8e3`). `None` of what is no count.
pub fn written_count(text: &str) -> Option<u64> {
    let text = text.trim();
    text.parse().ok().or_else(|| whole_count(text.parse().ok()?))
}

/// A count that came as a float, rounded. `None` of what is no count.
pub fn whole_count(number: f64) -> Option<u64> {
    let count = Some(number).filter(|count| *count >= 0.0)?;
    format!("{count:.0}").parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_are_read_however_they_are_written() {
        for (text, count) in [
            ("8", 8),
            (" 8.0 ", 8),
            ("8e3", 8000),
            ("18446744073709551615", u64::MAX),
        ] {
            assert_eq!(written_count(text), Some(count), "{text}");
        }
        for text in ["", "eight", "-1", "NaN", "inf", "1e999", "1e20"] {
            assert_eq!(written_count(text), None, "{text}");
        }
    }
}
