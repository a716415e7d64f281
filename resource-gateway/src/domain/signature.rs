//! Request signatures of access keys: what is signed, byte for byte. docs/access-keys.md is the specification, and
//! docs/signers/vectors.json its examples.

use std::fmt::Write as _;

use time::{Date, Month};

/// The scheme of the `Authorization` header.
pub const SCHEME: &str = "HEXGATE-HMAC-SHA256";
pub const HOST: &str = "host";
pub const DATE: &str = "x-hexgate-date";
pub const CONTENT_SHA256: &str = "x-hexgate-content-sha256";
pub const NONCE: &str = "x-hexgate-nonce";
/// Headers of this family change what the gateway does, so none may stand in a request unsigned.
const FAMILY: &str = "x-hexgate-";
/// What every signature covers beside method, path and query.
const REQUIRED: [&str; 4] = [HOST, CONTENT_SHA256, DATE, NONCE];
/// A signature lives no longer than this many seconds, and no clock may differ by more.
pub const WINDOW: i64 = 300;
/// For how long after it came a request can be good at most: it may be dated ahead, and expires by its date.
pub const LONGEST_VALIDITY: i64 = 2 * WINDOW;
/// More signed headers than any request needs.
const MAX_SIGNED_HEADERS: usize = 64;

/// Why a signature was not even compared. The texts go to the caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SignatureFault {
    #[error(
        "the parameters of the Authorization header are Credential, Expires, SignedHeaders and Signature, each once"
    )]
    Parameters,
    #[error("Expires must be 1 to 300 seconds")]
    Expires,
    #[error("Signature must be 64 lower-case hexadecimal digits")]
    Signature,
    #[error("SignedHeaders must be names in lower case and in order, each once, with semicolons between")]
    HeaderList,
    #[error("host, x-hexgate-content-sha256, x-hexgate-date and x-hexgate-nonce must be signed")]
    Required,
    #[error("a header x-hexgate-... stands in the request unsigned")]
    Unsigned,
    #[error("a signed header is missing")]
    HeaderMissing,
    #[error("a signed header stands in the request more than once")]
    HeaderTwice,
    #[error("a signed header has a value that is not plain text")]
    HeaderText,
    #[error("x-hexgate-date must be like 2026-11-22T09:45:00Z")]
    Date,
    #[error("x-hexgate-nonce must have 16 to 64 of the characters A-Z a-z 0-9 - _")]
    Nonce,
    #[error("x-hexgate-content-sha256 must be 64 lower-case hexadecimal digits")]
    Digest,
    #[error("the path has a dot segment, an empty segment, or an encoded slash, backslash or control character")]
    Path,
    #[error("the path or the query has a percent sign that begins no encoding")]
    Encoding,
    #[error("the query has a plus sign: write %20 or %2B")]
    Plus,
}

/// A request as it arrived, as far as signatures cover it.
#[derive(Debug, Clone, Copy)]
pub struct SignedRequest<'a> {
    pub method: &'a str,
    /// As it was sent, not decoded.
    pub path: &'a str,
    /// As it was sent, without the question mark.
    pub query: Option<&'a str>,
    /// Names in lower case; `None` stands for a value that is not plain text.
    pub headers: &'a [(&'a str, Option<&'a str>)],
}

/// The parameters of an `Authorization` header of our scheme.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Authorization<'a> {
    pub credential: &'a str,
    /// Seconds after the date for which the signature is good.
    pub expires: u32,
    signed_headers: &'a str,
    pub signature: [u8; 32],
}

/// What a signed request says of itself. Nothing of it is to be believed before the signature was compared.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claimed<'a> {
    /// Seconds since the epoch.
    pub date: i64,
    pub nonce: &'a str,
    pub body_digest: [u8; 32],
    date_text: &'a str,
    canonical: String,
}

impl<'a> Authorization<'a> {
    /// Reads the header; `None` for another scheme.
    ///
    /// # Errors
    /// [`SignatureFault`].
    pub fn read(header: &'a str) -> Result<Option<Self>, SignatureFault> {
        // RFC 9110 §11.1: the scheme's name knows no case.
        let Some((scheme, parameters)) = header.split_once(' ') else {
            return match header.eq_ignore_ascii_case(SCHEME) {
                true => Err(SignatureFault::Parameters),
                false => Ok(None),
            };
        };
        if !scheme.eq_ignore_ascii_case(SCHEME) {
            return Ok(None);
        }
        let (mut credential, mut expires, mut signed_headers, mut signature) = (None, None, None, None);
        for parameter in parameters.split(',') {
            let (name, value) = parameter.trim().split_once('=').ok_or(SignatureFault::Parameters)?;
            let slot = match name {
                "Credential" => &mut credential,
                "Expires" => &mut expires,
                "SignedHeaders" => &mut signed_headers,
                "Signature" => &mut signature,
                _ => return Err(SignatureFault::Parameters),
            };
            if slot.replace(value).is_some() {
                return Err(SignatureFault::Parameters);
            }
        }
        let (Some(credential), Some(expires), Some(signed_headers), Some(signature)) =
            (credential, expires, signed_headers, signature)
        else {
            return Err(SignatureFault::Parameters);
        };
        Ok(Some(Self {
            credential,
            expires: seconds(expires).ok_or(SignatureFault::Expires)?,
            signed_headers,
            signature: unhex(signature).ok_or(SignatureFault::Signature)?,
        }))
    }

    /// What the request says of itself, and the text of it that the signature covers.
    ///
    /// # Errors
    /// [`SignatureFault`].
    pub fn claims<'r>(&self, request: &SignedRequest<'r>) -> Result<Claimed<'r>, SignatureFault> {
        let names = self.names()?;
        if REQUIRED.iter().any(|name| !names.contains(name)) {
            return Err(SignatureFault::Required);
        }
        let unsigned = |(name, _): &(&str, Option<&str>)| name.starts_with(FAMILY) && !names.contains(name);
        if request.headers.iter().any(unsigned) {
            return Err(SignatureFault::Unsigned);
        }
        let mut canonical = String::with_capacity(512);
        canonical.push_str(request.method);
        canonical.push('\n');
        push_path(&mut canonical, request.path)?;
        canonical.push('\n');
        push_query(&mut canonical, request.query.unwrap_or_default())?;
        canonical.push('\n');
        let (mut date, mut nonce, mut digest) = ("", "", "");
        for name in names {
            let value = sole_value(request.headers, name)?;
            match name {
                DATE => date = value,
                NONCE => nonce = value,
                CONTENT_SHA256 => digest = value,
                _ => {}
            }
            canonical.push_str(name);
            canonical.push(':');
            match name {
                // RFC 3986 §3.2.2: hosts know no case.
                HOST => canonical.extend(value.chars().map(|c| c.to_ascii_lowercase())),
                _ => canonical.push_str(value),
            }
            canonical.push('\n');
        }
        canonical.push('\n');
        canonical.push_str(self.signed_headers);
        Ok(Claimed {
            date: moment(date).ok_or(SignatureFault::Date)?,
            nonce: is_nonce(nonce).then_some(nonce).ok_or(SignatureFault::Nonce)?,
            body_digest: unhex(digest).ok_or(SignatureFault::Digest)?,
            date_text: date,
            canonical,
        })
    }

    /// The text whose HMAC is the signature; `digest` is the SHA-256 of [`Claimed::canonical`].
    pub fn string_to_sign(&self, claimed: &Claimed<'_>, digest: &[u8]) -> String {
        let (date, expires, credential) = (claimed.date_text, self.expires, self.credential);
        format!("{SCHEME}\n{date}\n{expires}\n{credential}\n{}", hex(digest))
    }

    /// The signed names: in order and each once, so that one request has one canonical form.
    fn names(&self) -> Result<Vec<&'a str>, SignatureFault> {
        let names: Vec<&str> = self.signed_headers.split(';').take(MAX_SIGNED_HEADERS + 1).collect();
        let in_order = names.is_sorted_by(|one, next| one < next);
        let well_formed = names
            .iter()
            .all(|name| !name.is_empty() && name.bytes().all(is_name_byte));
        match in_order && well_formed && names.len() <= MAX_SIGNED_HEADERS {
            true => Ok(names),
            false => Err(SignatureFault::HeaderList),
        }
    }
}

impl Claimed<'_> {
    /// The canonical request.
    pub fn canonical(&self) -> &str {
        &self.canonical
    }

    /// Whether the request is of this time, at `now` (seconds): its clock is right within the window, and it has not expired.
    pub fn is_fresh(&self, expires: u32, now: i64) -> bool {
        let age = now.saturating_sub(self.date);
        (-WINDOW..=i64::from(expires).min(WINDOW)).contains(&age)
    }
}

/// The one value of a header, without the white space around it. Two lines of one name could change places on the way.
fn sole_value<'r>(headers: &[(&str, Option<&'r str>)], name: &str) -> Result<&'r str, SignatureFault> {
    let mut found = headers.iter().filter(|(known, _)| *known == name);
    let (_, value) = found.next().ok_or(SignatureFault::HeaderMissing)?;
    if found.next().is_some() {
        return Err(SignatureFault::HeaderTwice);
    }
    let value = value.ok_or(SignatureFault::HeaderText)?.trim_matches([' ', '\t']);
    // A tab is legal inside, and ends no line.
    let plain = value.bytes().all(|byte| matches!(byte, b' '..=b'~' | b'\t'));
    plain.then_some(value).ok_or(SignatureFault::HeaderText)
}

/// Each segment decoded once and encoded anew (RFC 3986 §6.2.2), so that ways to write one path are one. What proxies and servers
/// resolve differently is refused.
fn push_path(canonical: &mut String, path: &str) -> Result<(), SignatureFault> {
    let inner = path.strip_prefix('/').ok_or(SignatureFault::Path)?;
    let mut segments = inner.split('/').peekable();
    while let Some(segment) = segments.next() {
        let decoded = decode(segment)?;
        let dots = matches!(decoded.as_slice(), b"." | b"..");
        let empty = decoded.is_empty() && segments.peek().is_some();
        if dots || empty || decoded.iter().any(|byte| matches!(byte, 0..=31 | 127 | b'/' | b'\\')) {
            return Err(SignatureFault::Path);
        }
        canonical.push('/');
        push_encoded(canonical, &decoded);
    }
    Ok(())
}

/// The parameters in the order of their names; those of one name stay in theirs, since it may mean something.
fn push_query(canonical: &mut String, query: &str) -> Result<(), SignatureFault> {
    // Forms read it as a space, everybody else as itself.
    if query.contains('+') {
        return Err(SignatureFault::Plus);
    }
    let mut parameters = Vec::new();
    for parameter in query.split('&').filter(|parameter| !parameter.is_empty()) {
        let (name, value) = parameter.split_once('=').unwrap_or((parameter, ""));
        let encoded = |text: &str| {
            let mut encoded = String::with_capacity(text.len());
            push_encoded(&mut encoded, &decode(text)?);
            Ok::<_, SignatureFault>(encoded)
        };
        parameters.push((encoded(name)?, encoded(value)?));
    }
    parameters.sort_by(|(one, _), (other, _)| one.cmp(other));
    for (at, (name, value)) in parameters.iter().enumerate() {
        if at > 0 {
            canonical.push('&');
        }
        canonical.push_str(name);
        canonical.push('=');
        canonical.push_str(value);
    }
    Ok(())
}

/// Percent-decoded once (RFC 3986 §2.1).
fn decode(text: &str) -> Result<Vec<u8>, SignatureFault> {
    let mut decoded = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        if byte != b'%' {
            decoded.push(byte);
            continue;
        }
        let mut digit = || bytes.next().and_then(|byte| char::from(byte).to_digit(16));
        let (Some(high), Some(low)) = (digit(), digit()) else {
            return Err(SignatureFault::Encoding);
        };
        decoded.push(u8::try_from(high * 16 + low).map_err(|_| SignatureFault::Encoding)?);
    }
    Ok(decoded)
}

/// RFC 3986 §2.3: unreserved characters stand for themselves, all others are encoded with upper-case digits.
fn push_encoded(to: &mut String, bytes: &[u8]) {
    for &byte in bytes {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => to.push(char::from(byte)),
            _ => {
                // Writing to a string cannot fail.
                let _ = write!(to, "%{byte:02X}");
            }
        }
    }
}

/// RFC 9110 §5.6.2, lower case.
fn is_name_byte(byte: u8) -> bool {
    byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

fn is_nonce(text: &str) -> bool {
    let legal = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    (16..=64).contains(&text.len()) && text.bytes().all(legal)
}

fn seconds(text: &str) -> Option<u32> {
    let plain = text.bytes().all(|byte| byte.is_ascii_digit()) && !text.starts_with('0');
    let seconds = text.parse().ok().filter(|_| plain)?;
    (1..=WINDOW).contains(&i64::from(seconds)).then_some(seconds)
}

/// `2026-11-22T09:45:00Z` as seconds since the epoch: that form of RFC 3339 and no other.
fn moment(text: &str) -> Option<i64> {
    let bytes: &[u8; 20] = text.as_bytes().try_into().ok()?;
    let marks = [(4, b'-'), (7, b'-'), (10, b'T'), (13, b':'), (16, b':'), (19, b'Z')];
    if marks.iter().any(|(at, mark)| bytes.get(*at) != Some(mark)) {
        return None;
    }
    let number = |from: usize, to: usize| {
        let digits = text.get(from..to)?;
        digits.bytes().all(|byte| byte.is_ascii_digit()).then_some(digits)
    };
    let small = |from: usize| number(from, from + 2)?.parse::<u8>().ok();
    let month = Month::try_from(small(5)?).ok()?;
    let date = Date::from_calendar_date(number(0, 4)?.parse().ok()?, month, small(8)?).ok()?;
    let moment = date.with_hms(small(11)?, small(14)?, small(17)?).ok()?;
    Some(moment.assume_utc().unix_timestamp())
}

/// Lower-case hexadecimal digits.
pub fn hex(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        // Writing to a string cannot fail.
        let _ = write!(text, "{byte:02x}");
    }
    text
}

fn unhex(text: &str) -> Option<[u8; 32]> {
    let digits: &[u8; 64] = text.as_bytes().try_into().ok()?;
    let mut bytes = [0; 32];
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        let digit = |at: usize| match pair.get(at)? {
            digit @ b'0'..=b'9' => Some(digit - b'0'),
            digit @ b'a'..=b'f' => Some(digit - b'a' + 10),
            _ => None,
        };
        *byte = digit(0)? * 16 + digit(1)?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SIGNED: &str = "host;x-hexgate-content-sha256;x-hexgate-date;x-hexgate-nonce";
    const DIGEST: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    fn headers() -> Vec<(&'static str, Option<&'static str>)> {
        vec![
            ("host", Some("gateway.test")),
            ("x-hexgate-date", Some("2026-11-22T09:45:00Z")),
            ("x-hexgate-content-sha256", Some(DIGEST)),
            ("x-hexgate-nonce", Some("0123456789abcdef")),
            ("accept", Some("*/*")),
        ]
    }

    fn authorization(signed: &str) -> String {
        format!("{SCHEME} Credential=hgk_1, Expires=300, SignedHeaders={signed}, Signature={DIGEST}")
    }

    fn canonical_of(
        path: &str,
        query: Option<&str>,
        headers: &[(&str, Option<&str>)],
    ) -> Result<String, SignatureFault> {
        let header = authorization(SIGNED);
        let read = Authorization::read(&header)?.unwrap();
        let request = SignedRequest {
            method: "POST",
            path,
            query,
            headers,
        };
        read.claims(&request).map(|claimed| claimed.canonical)
    }

    fn canonical(path: &str, query: &str) -> Result<String, SignatureFault> {
        canonical_of(path, Some(query), &headers())
    }

    #[test]
    fn the_canonical_request_is_what_the_documentation_says() {
        assert_eq!(
            canonical("/v1/a%7eb/%c3%bc:x", "z=1&a=b%20c&&a&q=%2f").unwrap(),
            format!(
                "POST\n/v1/a~b/%C3%BC%3Ax\na=b%20c&a=&q=%2F&z=1\nhost:gateway.test\nx-hexgate-content-sha256:{DIGEST}\n\
                 x-hexgate-date:2026-11-22T09:45:00Z\nx-hexgate-nonce:0123456789abcdef\n\n{SIGNED}"
            )
        );
    }

    #[test]
    fn paths_that_two_readers_resolve_differently_are_refused() {
        for (path, wanted) in [
            ("", Some(SignatureFault::Path)),
            ("v1", Some(SignatureFault::Path)),
            ("*", Some(SignatureFault::Path)),
            ("/", None),
            ("/v1/", None),
            ("//v1", Some(SignatureFault::Path)),
            ("/v1//chat", Some(SignatureFault::Path)),
            ("/v1/./chat", Some(SignatureFault::Path)),
            ("/v1/../admin", Some(SignatureFault::Path)),
            ("/v1/..", Some(SignatureFault::Path)),
            ("/v1/%2e%2E/admin", Some(SignatureFault::Path)),
            ("/v1/.%2e/admin", Some(SignatureFault::Path)),
            ("/v1/a%2fb", Some(SignatureFault::Path)),
            ("/v1/a%5Cb", Some(SignatureFault::Path)),
            ("/v1/a\\b", Some(SignatureFault::Path)),
            ("/v1/a%00", Some(SignatureFault::Path)),
            ("/v1/a%0ab", Some(SignatureFault::Path)),
            ("/v1/a%", Some(SignatureFault::Encoding)),
            ("/v1/a%4", Some(SignatureFault::Encoding)),
            ("/v1/a%zz", Some(SignatureFault::Encoding)),
            ("/v1/...", None),
        ] {
            assert_eq!(canonical(path, "").err(), wanted, "{path}");
        }
        // Encoded twice is another path than encoded once, and both differ from the plain one.
        let ways = ["/v1/a%252eb", "/v1/a.b", "/v1/a%2525b"].map(|path| canonical(path, "").unwrap());
        assert!(ways[0].contains("/v1/a%252eb") && ways[0] != ways[1] && ways[0] != ways[2]);
    }

    #[test]
    fn a_query_has_one_form_and_no_plus_sign() {
        assert_eq!(canonical("/", "b=1&a=2"), canonical("/", "a=2&&b=1&"));
        assert_eq!(canonical("/", "a=%7E"), canonical("/", "a=~"));
        assert_eq!(canonical("/", ""), canonical_of("/", None, &headers()));
        // Which of two comes first may decide, so their order is signed.
        assert_ne!(canonical("/", "a=1&a=2"), canonical("/", "a=2&a=1"));
        assert_ne!(canonical("/", "a=1%26b=2"), canonical("/", "a=1&b=2"));
        assert_ne!(canonical("/", "a%3D=1"), canonical("/", "a=%3D1"));
        assert_eq!(canonical("/", "a=b+c"), Err(SignatureFault::Plus));
        assert_eq!(canonical("/", "a=%"), Err(SignatureFault::Encoding));
    }

    #[test]
    fn every_header_of_ours_is_signed_once_and_in_plain_text() {
        let with = |more: (&'static str, Option<&'static str>)| {
            let mut headers = headers();
            headers.push(more);
            canonical_of("/", None, &headers).err()
        };
        assert_eq!(with(("x-other", Some("1"))), None);
        assert_eq!(with(("x-hexgate-shadow", Some("1"))), Some(SignatureFault::Unsigned));
        assert_eq!(with(("host", Some("evil.test"))), Some(SignatureFault::HeaderTwice));
        assert_eq!(with(("x-hexgate-nonce", Some("n"))), Some(SignatureFault::HeaderTwice));
        for (name, value, wanted) in [
            ("host", None, SignatureFault::HeaderText),
            ("host", Some("a\u{e9}"), SignatureFault::HeaderText),
            ("host", Some("a\nb"), SignatureFault::HeaderText),
            (
                "x-hexgate-date",
                Some("2026-11-22T09:45:00+00:00"),
                SignatureFault::Date,
            ),
            ("x-hexgate-date", Some("2026-02-30T09:45:00Z"), SignatureFault::Date),
            ("x-hexgate-date", Some("2026-11-22T24:00:00Z"), SignatureFault::Date),
            ("x-hexgate-date", Some("2026-11-22T09:45:60Z"), SignatureFault::Date),
            ("x-hexgate-date", Some("+026-11-22T09:45:00Z"), SignatureFault::Date),
            ("x-hexgate-nonce", Some("short"), SignatureFault::Nonce),
            ("x-hexgate-nonce", Some("0123456789abcde."), SignatureFault::Nonce),
            ("x-hexgate-content-sha256", Some("E3B0"), SignatureFault::Digest),
        ] {
            let mut headers = headers();
            headers.iter_mut().find(|(known, _)| *known == name).unwrap().1 = value;
            assert_eq!(canonical_of("/", None, &headers), Err(wanted), "{name}: {value:?}");
        }
        let mut missing = headers();
        missing.retain(|(name, _)| *name != "x-hexgate-nonce");
        assert_eq!(canonical_of("/", None, &missing), Err(SignatureFault::HeaderMissing));
    }

    #[test]
    fn an_authorization_header_has_one_form() {
        let (good, digest) = (authorization(SIGNED), DIGEST);
        let read = Authorization::read(&good).unwrap().unwrap();
        assert_eq!((read.credential, read.expires), ("hgk_1", 300));
        let lower = good.replace(SCHEME, "hexgate-hmac-sha256").replace(", ", ",");
        assert_eq!(Authorization::read(&lower).unwrap().unwrap(), read);
        for other in ["Bearer x", "Basic eDp5", "", "HEXGATE-HMAC-SHA2560 Credential=x"] {
            assert_eq!(Authorization::read(other), Ok(None), "{other}");
        }
        let refused = |text: String| Authorization::read(&text).err();
        for (text, wanted) in [
            (SCHEME.to_owned(), SignatureFault::Parameters),
            (format!("{SCHEME} "), SignatureFault::Parameters),
            (format!("{good},"), SignatureFault::Parameters),
            (format!("{good}, Expires=300"), SignatureFault::Parameters),
            (format!("{good}, More=1"), SignatureFault::Parameters),
            (good.replace("Expires=300, ", ""), SignatureFault::Parameters),
            (good.replace("=300", "=301"), SignatureFault::Expires),
            (good.replace("=300", "=0"), SignatureFault::Expires),
            (good.replace("=300", "=+30"), SignatureFault::Expires),
            (good.replace("=300", "=030"), SignatureFault::Expires),
            (good.replace("=300", "="), SignatureFault::Expires),
            (good.replace(digest, &digest.to_uppercase()), SignatureFault::Signature),
            (good.replace(digest, ""), SignatureFault::Signature),
            (format!("{good}0"), SignatureFault::Signature),
        ] {
            assert_eq!(refused(text.clone()), Some(wanted), "{text}");
        }
        for (signed, wanted) in [
            ("x-hexgate-nonce;host".to_owned(), SignatureFault::HeaderList),
            (format!("{SIGNED};{SIGNED}"), SignatureFault::HeaderList),
            (format!("Accept;{SIGNED}"), SignatureFault::HeaderList),
            (format!(";{SIGNED}"), SignatureFault::HeaderList),
            (String::new(), SignatureFault::HeaderList),
            ("host".to_owned(), SignatureFault::Required),
            (SIGNED.replace("host;", ""), SignatureFault::Required),
            (format!("absent;{SIGNED}"), SignatureFault::HeaderMissing),
        ] {
            let header = authorization(&signed);
            let read = Authorization::read(&header).unwrap().unwrap();
            let request = SignedRequest {
                method: "GET",
                path: "/",
                query: None,
                headers: &headers(),
            };
            assert_eq!(read.claims(&request).err(), Some(wanted), "{signed}");
        }
    }

    #[test]
    fn a_request_is_fresh_within_its_window() {
        let header = authorization(SIGNED);
        let read = Authorization::read(&header).unwrap().unwrap();
        let headers = headers();
        let request = SignedRequest {
            method: "GET",
            path: "/",
            query: None,
            headers: &headers,
        };
        let claimed = read.claims(&request).unwrap();
        assert_eq!(claimed.date, 1_795_340_700);
        for (expires, off, fresh) in [
            (300, 0, true),
            (300, 300, true),
            (300, 301, false),
            (10, 10, true),
            (10, 11, false),
            (10, -300, true),
            (10, -301, false),
            (u32::MAX, 301, false),
        ] {
            assert_eq!(claimed.is_fresh(expires, claimed.date + off), fresh, "{expires} {off}");
        }
        assert!(!claimed.is_fresh(300, i64::MAX) && !claimed.is_fresh(300, i64::MIN));
    }

    /// A text that is decoded to the given bytes: each one as itself or encoded, in either case.
    fn spelt(bytes: &[u8], ways: &[u8]) -> String {
        let mut text = String::new();
        for (byte, way) in bytes.iter().zip(ways.iter().cycle()) {
            let plain = byte.is_ascii_alphanumeric() || b"-._~:@!$'()*,".contains(byte);
            match way % 3 {
                0 if plain => text.push(char::from(*byte)),
                1 => write!(text, "%{byte:02x}").unwrap(),
                _ => write!(text, "%{byte:02X}").unwrap(),
            }
        }
        text
    }

    proptest! {
        #[test]
        fn nothing_makes_the_reader_fall(header in "\\PC{0,200}", path in "\\PC{0,60}", query in "\\PC{0,60}", value in "\\PC{0,20}") {
            let _ = Authorization::read(&header);
            let _ = canonical(&path, &query);
            let mut headers = headers();
            headers.push(("accept", Some(&value)));
            let _ = canonical_of(&path, Some(&query), &headers);
        }

        #[test]
        fn the_order_of_headers_does_not_matter(order in Just(headers()).prop_shuffle()) {
            prop_assert_eq!(canonical_of("/v1", Some("a=1"), &order), canonical("/v1", "a=1"));
        }

        #[test]
        fn ways_to_write_one_path_are_one_and_other_paths_are_others(
            one in proptest::collection::vec(proptest::collection::vec(33u8..=255, 1..6), 1..4),
            other in proptest::collection::vec(proptest::collection::vec(33u8..=255, 1..6), 1..4),
            ways in proptest::collection::vec(0u8..3, 1..9),
        ) {
            let text = |segments: &[Vec<u8>], ways: &[u8]| {
                let spelt: Vec<String> = segments.iter().map(|segment| spelt(segment, ways)).collect();
                format!("/{}", spelt.join("/"))
            };
            let first = canonical(&text(&one, &ways), "");
            prop_assert_eq!(&first, &canonical(&text(&one, &[2]), ""));
            if one != other && first.is_ok() {
                prop_assert_ne!(first, canonical(&text(&other, &ways), ""));
            }
        }

        #[test]
        fn ways_to_write_one_query_are_one_and_other_queries_are_others(
            one in proptest::collection::vec((proptest::collection::vec(any::<u8>(), 1..4), proptest::collection::vec(any::<u8>(), 0..4)), 1..4),
            other in proptest::collection::vec((proptest::collection::vec(any::<u8>(), 1..4), proptest::collection::vec(any::<u8>(), 0..4)), 1..4),
            ways in proptest::collection::vec(0u8..3, 1..9),
        ) {
            let text = |pairs: &[(Vec<u8>, Vec<u8>)], ways: &[u8]| {
                pairs.iter().map(|(name, value)| format!("{}={}", spelt(name, ways), spelt(value, ways))).collect::<Vec<_>>().join("&")
            };
            let first = canonical("/", &text(&one, &ways)).unwrap();
            prop_assert_eq!(&first, &canonical("/", &text(&one, &[1])).unwrap());
            let sorted = |pairs: &[(Vec<u8>, Vec<u8>)]| {
                let mut pairs = pairs.to_vec();
                pairs.sort_by_key(|(name, _)| spelt(name, &[2]));
                pairs
            };
            if sorted(&one) != sorted(&other) {
                prop_assert_ne!(first, canonical("/", &text(&other, &ways)).unwrap());
            }
        }
    }
}
