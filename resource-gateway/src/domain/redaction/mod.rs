//! What may be kept of a request's or an answer's text: data and secrets give way to what they were, and all of it ends at a
//! number of bytes.

mod secrets;
#[cfg(test)]
mod tests;

use std::fmt::Write as _;

use sha2::{Digest as _, Sha256};

use self::secrets::{is_secret_name, mask};

/// Shorter runs of base64 are words and ids.
const SHORTEST_DATA: usize = 256;
/// No secret that is told by its shape is longer.
const LONGEST_NAME: usize = 64;

/// How a text is cut down.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Redaction {
    /// Whether base64 data (pictures, sound, vectors) stays.
    pub keep_base64: bool,
    /// Bytes that are kept of the result.
    pub max_bytes: usize,
}

/// A text fit for storage.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Redacted {
    pub text: String,
    /// Whether the end is missing.
    pub cut: bool,
}

impl Redaction {
    /// Cuts a text down. The text is JSON, a stream of events with JSON in them, or anything else that is UTF-8; what is not is
    /// described by length and hash. The strings of JSON are looked at as they stand, escapes included.
    pub fn apply(self, bytes: &[u8]) -> Redacted {
        let Ok(text) = std::str::from_utf8(bytes) else {
            return self.cut(describe("binary", bytes.len(), bytes));
        };
        let mut out = String::with_capacity(text.len().min(self.max_bytes.saturating_add(1024)));
        let mut rest = text;
        // The name of the member whose value comes next.
        let mut name: Option<&str> = None;
        // How deep we are in the list or object that is a secret's value.
        let mut within = 0_usize;
        while let Some(start) = rest.find('"') {
            let (outside, quoted) = rest.split_at(start);
            // What stands between strings of JSON is numbers and signs; a text that is no JSON may hold anything.
            out.push_str(&mask(outside));
            if within > 0 || (is_colon(outside) && name.is_some_and(is_secret)) {
                within = depth(within, outside);
            }
            if !matches!(outside.trim(), "" | ":") {
                name = None;
            }
            let Some(end) = string_end(quoted) else {
                out.push_str(&mask(quoted));
                rest = "";
                break;
            };
            let (string, after) = quoted.split_at(end);
            let inner = string.get(1..string.len() - 1).unwrap_or_default();
            if within > 0 {
                // Names of members stay.
                match is_colon(after) || inner.is_empty() {
                    true => out.push_str(string),
                    false => out.push_str("\"[secret]\""),
                }
                name = None;
            } else if name.is_none() && is_colon(after) {
                out.push_str(string);
                name = Some(inner);
            } else {
                out.push('"');
                self.push_value(&mut out, name.take(), inner);
                out.push('"');
            }
            rest = after;
            // Past the limit nothing is worth the work.
            if out.len() > self.max_bytes {
                return self.cut(out);
            }
        }
        out.push_str(&mask(rest));
        self.cut(out)
    }

    fn push_value(self, out: &mut String, name: Option<&str>, value: &str) {
        if name.is_some_and(is_secret) && !value.is_empty() {
            return out.push_str("[secret]");
        }
        match data(value) {
            Some((lead, data)) if !self.keep_base64 => {
                out.push_str(lead);
                out.push_str(&describe("base64", data.len(), data.as_bytes()));
            }
            // Data is no place for secrets, and it would take long to look.
            Some(_) => out.push_str(value),
            None => out.push_str(&mask(value)),
        }
    }

    fn cut(self, mut text: String) -> Redacted {
        if text.len() <= self.max_bytes {
            return Redacted { text, cut: false };
        }
        let mut end = self.max_bytes;
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        text.truncate(end);
        Redacted { text, cut: true }
    }
}

fn is_secret(name: &str) -> bool {
    name.len() <= LONGEST_NAME && is_secret_name(name)
}

/// How deep one is behind these signs.
fn depth(before: usize, signs: &str) -> usize {
    signs.bytes().fold(before, |depth, byte| match byte {
        b'[' | b'{' => depth + 1,
        b']' | b'}' => depth.saturating_sub(1),
        _ => depth,
    })
}

fn is_colon(text: &str) -> bool {
    text.trim_start().starts_with(':')
}

/// Where a string that begins with its quote ends, the closing quote included.
fn string_end(quoted: &str) -> Option<usize> {
    let mut escaped = false;
    for (at, byte) in quoted.bytes().enumerate().skip(1) {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'"' => return Some(at + 1),
            _ => {}
        }
    }
    None
}

/// The base64 in a string, and what stands before it (`data:image/png;base64,`); `None` when it is text.
fn data(value: &str) -> Option<(&str, &str)> {
    if value.len() < SHORTEST_DATA {
        return None;
    }
    let begin = match value.find(";base64,") {
        Some(at) if value.starts_with("data:") => at + ";base64,".len(),
        _ => 0,
    };
    let (lead, data) = value.split_at(begin);
    let is_data = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/' | b'-' | b'_' | b'=' | b'\\');
    data.bytes().all(is_data).then_some((lead, data))
}

/// Length and hash stand in for data: enough to find the same data again, too little to see it.
fn describe(kind: &str, length: usize, bytes: &[u8]) -> String {
    let digest = Sha256::digest(bytes);
    let mut description = format!("[{kind} {length} bytes sha256:");
    for byte in digest.iter().take(16) {
        // Writing to a string cannot fail.
        let _ = write!(description, "{byte:02x}");
    }
    description.push(']');
    description
}
