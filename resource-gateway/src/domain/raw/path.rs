//! Paths of raw calls. What two servers could take for two different places is refused and never mended: whatever stands between us
//! and the vendor's own router gets to see exactly what was compared with the list.

/// Why a path is not passed on. The texts go to callers and operators.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PathFault {
    #[error("must begin with one slash")]
    NoSlash,
    #[error("is longer than 2048 bytes")]
    Long,
    #[error("has an empty segment")]
    Empty,
    #[error("has a segment of dots")]
    Dots,
    #[error("holds a character that a path cannot have here")]
    Character,
    #[error("has an encoded character that servers read differently")]
    Encoded,
    #[error("has a * that is not a whole segment, or a ** that is not the last one")]
    Wildcard,
}

const LONGEST: usize = 2048;
/// One segment of any text.
const ANY: &str = "*";
/// One segment or more.
const REST: &str = "**";

/// Checks a path as it stands in the request, not decoded.
///
/// # Errors
/// [`PathFault`].
pub fn check_path(path: &str) -> Result<(), PathFault> {
    if path.len() > LONGEST {
        return Err(PathFault::Long);
    }
    let Some(rest) = path.strip_prefix('/') else {
        return Err(PathFault::NoSlash);
    };
    check_characters(path)?;
    let mut segments = rest.split('/').peekable();
    while let Some(segment) = segments.next() {
        // A slash at the end is a path of its own, and means one thing.
        if segment.is_empty() && (segments.peek().is_some() || rest.is_empty()) {
            return Err(PathFault::Empty);
        }
        // RFC 3986 §5.2.4 removes one and two; some servers take more of them for the same.
        if !segment.is_empty() && segment.bytes().all(|byte| byte == b'.') {
            return Err(PathFault::Dots);
        }
    }
    Ok(())
}

/// RFC 3986 §3.3: pchar, less the semicolon, behind which some servers see parameters and cut them off.
fn check_characters(path: &str) -> Result<(), PathFault> {
    let mut bytes = path.bytes();
    while let Some(byte) = bytes.next() {
        match byte {
            b'%' => {
                let mut digit = || bytes.next().and_then(|digit| char::from(digit).to_digit(16));
                let (Some(high), Some(low)) = (digit(), digit()) else {
                    return Err(PathFault::Character);
                };
                // What would be a separator, a dot, or another encoding once it is decoded; controls, and NUL with them.
                let decoded = u8::try_from(high * 16 + low).unwrap_or(0);
                if decoded.is_ascii_control() || b"/\\.;%?#".contains(&decoded) {
                    return Err(PathFault::Encoded);
                }
            }
            other if other.is_ascii_alphanumeric() || b"/:@!$&'()*+,=-._~".contains(&other) => {}
            _ => return Err(PathFault::Character),
        }
    }
    Ok(())
}

/// Which paths a route is for: `/v1/things`, `/v1/things/*/parts`, `/v1/things/**`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PathPattern(Box<str>);

impl PathPattern {
    /// Reads a pattern: a path in which `*` stands for a segment and `**`, as the last one, for one or more.
    ///
    /// # Errors
    /// [`PathFault`].
    pub fn parse(text: &str) -> Result<Self, PathFault> {
        check_path(text)?;
        let mut segments = text.split('/').peekable();
        while let Some(segment) = segments.next() {
            let whole = segment == ANY || (segment == REST && segments.peek().is_none());
            if segment.contains('*') && !whole {
                return Err(PathFault::Wildcard);
            }
        }
        Ok(Self(text.into()))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether a checked path is one of them. Texts are compared as they are: another spelling is another path.
    pub fn covers(&self, path: &str) -> bool {
        self.matches(path, |segment| !segment.is_empty())
    }

    /// Whether every path of the other is one of this, too.
    pub fn includes(&self, other: &Self) -> bool {
        self.matches(&other.0, |segment| !segment.is_empty() && segment != REST)
    }

    fn matches(&self, path: &str, is_one: impl Fn(&str) -> bool) -> bool {
        let (mut wanted, mut there) = (self.0.split('/'), path.split('/'));
        loop {
            return match (wanted.next(), there.next()) {
                (None, None) => true,
                (Some(REST), Some(segment)) => !segment.is_empty(),
                (Some(ANY), Some(segment)) if is_one(segment) => continue,
                (Some(wanted), Some(segment)) if wanted == segment && wanted != ANY => continue,
                _ => false,
            };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn hostile_paths_are_refused_and_plain_ones_pass() {
        for (path, wanted) in [
            ("/v1/things", Ok(())),
            ("/v1/things/", Ok(())),
            ("/v1/th%20ings/a:b@c+d=e", Ok(())),
            ("/v1/%E6%97%A5", Ok(())),
            ("/v1/a..b/.well-known", Ok(())),
            ("", Err(PathFault::NoSlash)),
            ("v1", Err(PathFault::NoSlash)),
            ("http://evil/x", Err(PathFault::NoSlash)),
            ("@evil/x", Err(PathFault::NoSlash)),
            ("/", Err(PathFault::Empty)),
            ("//evil/x", Err(PathFault::Empty)),
            ("/a//b", Err(PathFault::Empty)),
            ("/a/../b", Err(PathFault::Dots)),
            ("/a/./b", Err(PathFault::Dots)),
            ("/a/..", Err(PathFault::Dots)),
            ("/a/.../b", Err(PathFault::Dots)),
            ("/a;x=1/b", Err(PathFault::Character)),
            ("/a/..;/b", Err(PathFault::Character)),
            ("/a\\b", Err(PathFault::Character)),
            ("/a b", Err(PathFault::Character)),
            ("/a\u{e9}", Err(PathFault::Character)),
            ("/a?b", Err(PathFault::Character)),
            ("/a#b", Err(PathFault::Character)),
            ("/a%", Err(PathFault::Character)),
            ("/a%2", Err(PathFault::Character)),
            ("/a%zz", Err(PathFault::Character)),
            ("/a/%2e%2e/b", Err(PathFault::Encoded)),
            ("/a/%2E./b", Err(PathFault::Encoded)),
            ("/a%2fb", Err(PathFault::Encoded)),
            ("/a%5Cb", Err(PathFault::Encoded)),
            ("/a%252fb", Err(PathFault::Encoded)),
            ("/a%3bb", Err(PathFault::Encoded)),
            ("/a%00", Err(PathFault::Encoded)),
            ("/a%0d%0aX:1", Err(PathFault::Encoded)),
            ("/a%7f", Err(PathFault::Encoded)),
        ] {
            assert_eq!(check_path(path), wanted, "{path:?}");
        }
        assert_eq!(check_path(&format!("/{}", "a".repeat(2048))), Err(PathFault::Long));
    }

    #[test]
    fn a_pattern_covers_whole_segments_and_no_other_spelling() {
        for (pattern, path, covered) in [
            ("/things", "/things", true),
            ("/things", "/things/", false),
            ("/things", "/thingsandmore", false),
            ("/things", "/Things", false),
            ("/things", "/%74hings", false),
            ("/things/", "/things/", true),
            ("/things/*", "/things/1", true),
            ("/things/*", "/things/", false),
            ("/things/*", "/things", false),
            ("/things/*", "/things/1/parts", false),
            ("/things/*/parts", "/things/1/parts", true),
            ("/things/*/parts", "/things/1/2/parts", false),
            ("/things/*/parts", "/things/parts", false),
            ("/things/**", "/things/1", true),
            ("/things/**", "/things/1/parts/", true),
            ("/things/**", "/things/", false),
            ("/things/**", "/things", false),
            ("/**", "/a/b", true),
            ("/*/b", "/*/b", true),
        ] {
            let read = PathPattern::parse(pattern).unwrap();
            assert_eq!(read.covers(path), covered, "{pattern} {path}");
        }
        for wrong in [
            "", "v1", "/", "/a*", "/*a", "/**/a", "/a/***", "/a/../*", "/a//*", "/a?b", "/a b",
        ] {
            assert!(PathPattern::parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_pattern_knows_which_others_it_leaves_nothing_to() {
        for (one, other, includes) in [
            ("/a", "/a", true),
            ("/*", "/a", true),
            ("/*", "/*", true),
            ("/a", "/*", false),
            ("/**", "/a/*/b", true),
            ("/a/**", "/a/**", true),
            ("/a/*", "/a/**", false),
            ("/a/**", "/a", false),
            ("/a/*/c", "/a/b/c", true),
            ("/a/b/c", "/a/*/c", false),
        ] {
            let read = |text| PathPattern::parse(text).unwrap();
            assert_eq!(read(one).includes(&read(other)), includes, "{one} {other}");
        }
    }

    /// What the laxest server makes of a path: it decodes until nothing changes, knows both slashes, cuts parameters off and resolves
    /// dots.
    fn laxest(path: &str) -> Vec<String> {
        let mut bytes = path.as_bytes().to_vec();
        loop {
            let mut decoded = Vec::new();
            let mut at = 0;
            while at < bytes.len() {
                let hex = bytes.get(at + 1..at + 3).and_then(|hex| std::str::from_utf8(hex).ok());
                let byte = hex.and_then(|hex| u8::from_str_radix(hex, 16).ok());
                if let Some(byte) = byte.filter(|_| bytes[at] == b'%') {
                    decoded.push(byte);
                    at += 3;
                } else {
                    decoded.push(bytes[at]);
                    at += 1;
                }
            }
            if decoded == bytes {
                break;
            }
            bytes = decoded;
        }
        let text = String::from_utf8_lossy(&bytes).replace('\\', "/");
        let text = text.split(['?', '#', '\0']).next().unwrap_or_default();
        let mut resolved = Vec::new();
        for segment in text.split('/') {
            match segment.split(';').next().unwrap_or_default() {
                "" | "." => {}
                ".." => drop(resolved.pop()),
                name => resolved.push(name.to_owned()),
            }
        }
        resolved
    }

    proptest! {
        #[test]
        fn no_path_leaves_the_place_that_is_listed(
            rest in proptest::collection::vec(prop_oneof![
                Just("a"), Just("/"), Just("."), Just(".."), Just("%2e"), Just("%2E"), Just("%2f"), Just("%5c"), Just("%25"), Just("\\"),
                Just(";"), Just("%3b"), Just("%00"), Just("//"), Just("?"), Just("#"), Just("@"), Just(":"), Just("%41"), Just("\t"),
            ], 0..12),
        ) {
            let pattern = PathPattern::parse("/safe/**").unwrap();
            let path = format!("/safe/{}", rest.concat());
            if check_path(&path).is_ok() && pattern.covers(&path) {
                let seen = laxest(&path);
                prop_assert_eq!(seen.first().map(String::as_str), Some("safe"), "{}", path);
                // Every reader sees as many segments as there are.
                prop_assert_eq!(seen.len(), path.trim_matches('/').split('/').count(), "{}", path);
            }
        }

        #[test]
        fn no_input_panics(path in "\\PC{0,60}") {
            let _ = (check_path(&path), PathPattern::parse(&path));
        }
    }
}
