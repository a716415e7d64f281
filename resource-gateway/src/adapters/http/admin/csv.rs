//! Comma-separated values ([RFC 4180]) that no spreadsheet takes for anything but values.
//!
//! [RFC 4180]: https://www.rfc-editor.org/rfc/rfc4180

use std::fmt::{Display, Write as _};

use bytes::Bytes;

/// Lines under the pen.
#[derive(Debug, Default)]
pub(super) struct Lines {
    text: String,
    begun: bool,
}

impl Lines {
    /// A text that others chose. One that a spreadsheet would take for a formula gets an apostrophe in front.
    pub(super) fn text(&mut self, text: &str) {
        self.separate();
        let is_formula = text.starts_with(['=', '+', '-', '@', '\t', '\r']);
        if !is_formula && !text.contains([',', '"', '\r', '\n', ';']) {
            self.text.push_str(text);
            return;
        }
        // RFC 4180 §2: such fields stand in quotes, and a quote in them stands there twice.
        self.text.push('"');
        if is_formula {
            self.text.push('\'');
        }
        self.text.push_str(&text.replace('"', "\"\""));
        self.text.push('"');
    }

    /// An absent text is an empty field.
    pub(super) fn optional_text(&mut self, text: Option<&str>) {
        self.text(text.unwrap_or_default());
    }

    /// A number or the like, which needs no quotes.
    pub(super) fn value(&mut self, value: impl Display) {
        self.separate();
        // Writing to a string never fails.
        let _ = write!(self.text, "{value}");
    }

    pub(super) fn optional_value(&mut self, value: Option<impl Display>) {
        match value {
            Some(value) => self.value(value),
            None => self.separate(),
        }
    }

    pub(super) fn end(&mut self) {
        self.text.push_str("\r\n");
        self.begun = false;
    }

    pub(super) fn into_bytes(self) -> Bytes {
        self.text.into()
    }

    fn separate(&mut self) {
        if std::mem::replace(&mut self.begun, true) {
            self.text.push(',');
        }
    }
}

/// The first line.
pub(super) fn header<'n>(names: impl IntoIterator<Item = &'n str>) -> Bytes {
    let mut lines = Lines::default();
    names.into_iter().for_each(|name| lines.text(name));
    lines.end();
    lines.into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_come_out_as_they_are_and_never_as_formulas() {
        let mut lines = Lines::default();
        for text in [
            "plain",
            "a,b",
            "say \"hi\"",
            "two\r\nlines",
            "=1+1",
            "+1",
            "-1",
            "@SUM(A1)",
            "\tx",
            "a=b",
            "",
        ] {
            lines.text(text);
        }
        lines.value(-5);
        lines.optional_value(None::<i64>);
        lines.optional_text(None);
        lines.end();
        assert_eq!(
            lines.into_bytes(),
            "plain,\"a,b\",\"say \"\"hi\"\"\",\"two\r\nlines\",\"'=1+1\",\"'+1\",\"'-1\",\"'@SUM(A1)\",\"'\tx\",a=b,,-5,,\r\n"
        );
    }
}
