//! Signs requests to Hexgate's gateway with an access key (docs/access-keys.md). Needs the standard library alone: copy the file.
//!
//! ```text
//! let headers = sign(&Key { id: "hgk_…", secret: "hgks_…" }, &Request { method: "POST", url, body, headers: &[] }, &Stamp { date, nonce, expires: 300 })?;
//! ```

use std::{collections::BTreeMap, fmt::Write as _};

const SCHEME: &str = "HEXGATE-HMAC-SHA256";

/// An access key.
#[derive(Debug, Clone, Copy)]
pub struct Key<'a> {
    pub id: &'a str,
    pub secret: &'a str,
}

/// What is to be sent.
#[derive(Debug, Clone, Copy)]
pub struct Request<'a> {
    pub method: &'a str,
    /// As it goes over the wire.
    pub url: &'a str,
    pub body: &'a [u8],
    /// Further headers to sign.
    pub headers: &'a [(&'a str, &'a str)],
}

/// What makes the signature the only one of its kind.
#[derive(Debug, Clone, Copy)]
pub struct Stamp<'a> {
    /// UTC, like `2026-11-22T09:45:00Z`.
    pub date: &'a str,
    /// 16 to 64 of the characters A-Z a-z 0-9 - _, never used before.
    pub nonce: &'a str,
    /// Seconds, 1 to 300.
    pub expires: u32,
}

/// A signed request, and the texts on the way for whoever looks for a difference.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signed {
    /// To be sent, `authorization` included.
    pub headers: BTreeMap<String, String>,
    pub canonical_request: String,
    pub string_to_sign: String,
}

/// Signs a request.
///
/// # Errors
/// What is wrong with the URL.
pub fn sign(key: &Key<'_>, request: &Request<'_>, stamp: &Stamp<'_>) -> Result<Signed, &'static str> {
    let (host, path, query) = split(request.url)?;
    let mut headers: BTreeMap<String, String> = request
        .headers
        .iter()
        .map(|(name, value)| (name.to_ascii_lowercase(), (*value).to_owned()))
        .collect();
    for (name, value) in [
        ("host", host.to_ascii_lowercase()),
        ("x-hexgate-date", stamp.date.to_owned()),
        ("x-hexgate-nonce", stamp.nonce.to_owned()),
        ("x-hexgate-content-sha256", hex(&sha256(request.body))),
    ] {
        headers.insert(name.to_owned(), value);
    }
    let names = headers.keys().cloned().collect::<Vec<_>>().join(";");
    let mut canonical = format!(
        "{}\n{}\n{}\n",
        request.method,
        canonical_path(path)?,
        canonical_query(query)?
    );
    for (name, value) in &headers {
        let _ = writeln!(canonical, "{name}:{}", value.trim_matches([' ', '\t']));
    }
    let _ = write!(canonical, "\n{names}");
    let digest = hex(&sha256(canonical.as_bytes()));
    let text = format!("{SCHEME}\n{}\n{}\n{}\n{digest}", stamp.date, stamp.expires, key.id);
    let signature = hex(&hmac_sha256(key.secret.as_bytes(), text.as_bytes()));
    let authorization = format!(
        "{SCHEME} Credential={}, Expires={}, SignedHeaders={names}, Signature={signature}",
        key.id, stamp.expires
    );
    headers.insert("authorization".to_owned(), authorization);
    Ok(Signed {
        headers,
        canonical_request: canonical,
        string_to_sign: text,
    })
}

fn split(url: &str) -> Result<(&str, &str, &str), &'static str> {
    let (_, rest) = url.split_once("://").ok_or("the URL has no scheme")?;
    let rest = rest.split('#').next().unwrap_or_default();
    let (before, query) = rest.split_once('?').unwrap_or((rest, ""));
    let (authority, path) = before.split_at(before.find('/').unwrap_or(before.len()));
    let host = authority.rsplit('@').next().unwrap_or_default();
    Ok((host, if path.is_empty() { "/" } else { path }, query))
}

fn canonical_path(path: &str) -> Result<String, &'static str> {
    let segments: Vec<&str> = path.split('/').skip(1).collect();
    let mut canonical = String::new();
    for (at, segment) in segments.iter().enumerate() {
        let decoded = decode(segment)?;
        if matches!(decoded.as_slice(), b"." | b"..") || (decoded.is_empty() && at + 1 < segments.len()) {
            return Err("the path has dot segments or empty ones");
        }
        if decoded.iter().any(|byte| matches!(byte, 0..=31 | 127 | b'/' | b'\\')) {
            return Err("the path has an encoded slash, backslash or control character");
        }
        canonical.push('/');
        canonical.push_str(&encode(&decoded));
    }
    Ok(canonical)
}

fn canonical_query(query: &str) -> Result<String, &'static str> {
    if query.contains('+') {
        return Err("the query has a plus sign; write %20 or %2B");
    }
    let mut parameters = Vec::new();
    for parameter in query.split('&').filter(|parameter| !parameter.is_empty()) {
        let (name, value) = parameter.split_once('=').unwrap_or((parameter, ""));
        parameters.push((encode(&decode(name)?), encode(&decode(value)?)));
    }
    // Stable: parameters of one name keep their order.
    parameters.sort_by(|(one, _), (other, _)| one.cmp(other));
    let texts: Vec<String> = parameters
        .iter()
        .map(|(name, value)| format!("{name}={value}"))
        .collect();
    Ok(texts.join("&"))
}

fn decode(text: &str) -> Result<Vec<u8>, &'static str> {
    let mut decoded = Vec::new();
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        if byte == b'%' {
            let mut digit = || bytes.next().and_then(|digit| char::from(digit).to_digit(16));
            match (digit(), digit()) {
                (Some(high), Some(low)) => decoded.push((high * 16 + low) as u8),
                _ => return Err("a percent sign begins no encoding; write %25"),
            }
        } else {
            decoded.push(byte);
        }
    }
    Ok(decoded)
}

/// RFC 3986 §2.3: all but unreserved characters are encoded.
fn encode(bytes: &[u8]) -> String {
    let mut encoded = String::new();
    for &byte in bytes {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            let _ = write!(encoded, "%{byte:02X}");
        }
    }
    encoded
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// HMAC (RFC 2104).
fn hmac_sha256(key: &[u8], text: &[u8]) -> [u8; 32] {
    let mut block = [0; 64];
    if key.len() > block.len() {
        block[..32].copy_from_slice(&sha256(key));
    } else {
        block[..key.len()].copy_from_slice(key);
    }
    let padded = |pad: u8| block.iter().map(|byte| byte ^ pad).collect::<Vec<u8>>();
    let inner = sha256(&[&padded(0x36)[..], text].concat());
    sha256(&[&padded(0x5c)[..], &inner].concat())
}

/// The constants of FIPS 180-4 §4.2.2.
#[rustfmt::skip]
const K: [u32; 64] = [
    0x428a_2f98, 0x7137_4491, 0xb5c0_fbcf, 0xe9b5_dba5, 0x3956_c25b, 0x59f1_11f1, 0x923f_82a4, 0xab1c_5ed5,
    0xd807_aa98, 0x1283_5b01, 0x2431_85be, 0x550c_7dc3, 0x72be_5d74, 0x80de_b1fe, 0x9bdc_06a7, 0xc19b_f174,
    0xe49b_69c1, 0xefbe_4786, 0x0fc1_9dc6, 0x240c_a1cc, 0x2de9_2c6f, 0x4a74_84aa, 0x5cb0_a9dc, 0x76f9_88da,
    0x983e_5152, 0xa831_c66d, 0xb003_27c8, 0xbf59_7fc7, 0xc6e0_0bf3, 0xd5a7_9147, 0x06ca_6351, 0x1429_2967,
    0x27b7_0a85, 0x2e1b_2138, 0x4d2c_6dfc, 0x5338_0d13, 0x650a_7354, 0x766a_0abb, 0x81c2_c92e, 0x9272_2c85,
    0xa2bf_e8a1, 0xa81a_664b, 0xc24b_8b70, 0xc76c_51a3, 0xd192_e819, 0xd699_0624, 0xf40e_3585, 0x106a_a070,
    0x19a4_c116, 0x1e37_6c08, 0x2748_774c, 0x34b0_bcb5, 0x391c_0cb3, 0x4ed8_aa4a, 0x5b9c_ca4f, 0x682e_6ff3,
    0x748f_82ee, 0x78a5_636f, 0x84c8_7814, 0x8cc7_0208, 0x90be_fffa, 0xa450_6ceb, 0xbef9_a3f7, 0xc671_78f2,
];

/// SHA-256 (FIPS 180-4 §6.2).
fn sha256(message: &[u8]) -> [u8; 32] {
    let mut state: [u32; 8] = [
        0x6a09_e667,
        0xbb67_ae85,
        0x3c6e_f372,
        0xa54f_f53a,
        0x510e_527f,
        0x9b05_688c,
        0x1f83_d9ab,
        0x5be0_cd19,
    ];
    let mut padded = message.to_vec();
    padded.push(0x80);
    padded.resize((padded.len() + 8).next_multiple_of(64), 0);
    let bits = (message.len() as u64 * 8).to_be_bytes();
    let end = padded.len();
    padded[end - 8..].copy_from_slice(&bits);
    for block in padded.chunks_exact(64) {
        let mut w = [0u32; 64];
        for (word, bytes) in w.iter_mut().zip(block.chunks_exact(4)) {
            *word = bytes.iter().fold(0, |word, byte| word << 8 | u32::from(*byte));
        }
        for t in 16..64 {
            let s0 = w[t - 15].rotate_right(7) ^ w[t - 15].rotate_right(18) ^ (w[t - 15] >> 3);
            let s1 = w[t - 2].rotate_right(17) ^ w[t - 2].rotate_right(19) ^ (w[t - 2] >> 10);
            w[t] = w[t - 16].wrapping_add(s0).wrapping_add(w[t - 7]).wrapping_add(s1);
        }
        let [mut a, mut b, mut c, mut d, mut e, mut f, mut g, mut h] = state;
        for t in 0..64 {
            let s1 = e.rotate_right(6) ^ e.rotate_right(11) ^ e.rotate_right(25);
            let t1 = h
                .wrapping_add(s1)
                .wrapping_add((e & f) ^ (!e & g))
                .wrapping_add(K[t])
                .wrapping_add(w[t]);
            let s0 = a.rotate_right(2) ^ a.rotate_right(13) ^ a.rotate_right(22);
            let t2 = s0.wrapping_add((a & b) ^ (a & c) ^ (b & c));
            (h, g, f, e, d, c, b, a) = (g, f, e, d.wrapping_add(t1), c, b, a, t1.wrapping_add(t2));
        }
        for (sum, word) in state.iter_mut().zip([a, b, c, d, e, f, g, h]) {
            *sum = sum.wrapping_add(word);
        }
    }
    let mut digest = [0; 32];
    for (bytes, word) in digest.chunks_exact_mut(4).zip(state) {
        bytes.copy_from_slice(&word.to_be_bytes());
    }
    digest
}
