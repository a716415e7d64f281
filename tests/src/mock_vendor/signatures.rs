//! Signed requests, verified by a second implementation: a signature that holds here was not made by the same mistake.

use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use hmac::{Hmac, KeyInit as _, Mac as _};
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use super::{
    Credentials, credentials,
    shape::{Checked, Failure, refuse},
    wire::Request,
};

/// Seconds that a clock may differ.
const SKEW: i64 = 300;

#[expect(clippy::disallowed_methods, reason = "a vendor lives in real time")]
fn now() -> i64 {
    time::OffsetDateTime::now_utc().unix_timestamp()
}

fn hmac(key: &[u8], data: &[u8]) -> Vec<u8> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).unwrap();
    mac.update(data);
    mac.finalize().into_bytes().to_vec()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn hash(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

fn wrong<T>(said: impl Into<String>) -> Checked<T> {
    refuse(Failure::Credentials, said)
}

/// The parts of `SCHEME Credential=…, SignedHeaders=…, Signature=…`.
struct Signed<'r> {
    id: &'r str,
    scope: &'r str,
    headers: Vec<&'r str>,
    signature: &'r str,
}

fn parse<'r>(request: &'r Request, scheme: &str) -> Checked<Signed<'r>> {
    let header = request.header("authorization").unwrap_or_default();
    let Some(rest) = header.strip_prefix(scheme).and_then(|rest| rest.strip_prefix(' ')) else {
        return wrong(format!("Authorization is not {scheme}"));
    };
    let field = |name: &str| {
        rest.split(',')
            .map(str::trim)
            .find_map(|part| part.strip_prefix(name)?.strip_prefix('='))
    };
    let (Some(credential), Some(headers), Some(signature)) =
        (field("Credential"), field("SignedHeaders"), field("Signature"))
    else {
        return wrong("Authorization lacks Credential, SignedHeaders or Signature");
    };
    let Some((id, scope)) = credential.split_once('/') else {
        return wrong("Credential has no scope");
    };
    Ok(Signed {
        id,
        scope,
        headers: headers.split(';').collect(),
        signature,
    })
}

/// `name:value` of each signed header, as the sender must have sorted them.
fn canonical_headers(request: &Request, signed: &Signed, wanted: &[&str]) -> Checked<String> {
    let mut sorted = signed.headers.clone();
    sorted.sort_unstable();
    if sorted != signed.headers {
        return wrong("SignedHeaders are not sorted");
    }
    if let Some(missing) = wanted.iter().find(|name| !sorted.contains(*name)) {
        return wrong(format!("{missing} is not signed"));
    }
    let mut lines = String::new();
    for name in &signed.headers {
        let Some(value) = request.header(name) else {
            return wrong(format!("{name} is signed and missing"));
        };
        let value = value.split_whitespace().collect::<Vec<_>>().join(" ");
        lines.extend([name, ":", &value, "\n"]);
    }
    Ok(lines)
}

/// Percent-encodes all but what is unreserved.
fn encode(text: &str) -> String {
    text.bytes()
        .map(|byte| match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => char::from(byte).to_string(),
            other => format!("%{other:02X}"),
        })
        .collect()
}

/// AWS Signature Version 4, or an API key as bearer.
pub(super) fn sigv4(request: &Request, service: &str) -> Checked<()> {
    let account = credentials(request.vendor);
    if request
        .header("authorization")
        .is_some_and(|value| value.starts_with("Bearer "))
    {
        return request.bearer(account.key);
    }
    sigv4_at(request, service, account, now())
}

pub(super) fn sigv4_at(request: &Request, service: &str, account: Credentials, now: i64) -> Checked<()> {
    let signed = parse(request, "AWS4-HMAC-SHA256")?;
    if signed.id != account.id {
        return wrong("The security token included in the request is invalid.");
    }
    let scope: Vec<_> = signed.scope.split('/').collect();
    let [day, region, named, "aws4_request"] = scope[..] else {
        return wrong("Credential's scope is not date/region/service/aws4_request");
    };
    let stamp = request.header("x-amz-date").unwrap_or_default();
    if named != service || !stamp.starts_with(day) {
        return wrong("Credential's scope is another service's or day's");
    }
    let format = time::macros::format_description!("[year][month][day]T[hour][minute][second]Z");
    let Ok(moment) = time::PrimitiveDateTime::parse(stamp, format) else {
        return wrong("x-amz-date is no time");
    };
    if (moment.assume_utc().unix_timestamp() - now).abs() > SKEW {
        return wrong("Signature expired");
    }
    let mut wanted = vec!["host", "x-amz-date"];
    if request.header("x-amz-security-token").is_some() {
        wanted.push("x-amz-security-token");
    }
    let headers = canonical_headers(request, &signed, &wanted)?;
    // The path as it was sent, encoded once more.
    let path = request.path.split('/').map(encode).collect::<Vec<_>>().join("/");
    let names = signed.headers.join(";");
    let canonical = format!(
        "{}\n{path}\n{}\n{headers}\n{names}\n{}",
        request.method,
        request.query,
        hash(&request.body)
    );
    let to_sign = format!(
        "AWS4-HMAC-SHA256\n{stamp}\n{}\n{}",
        signed.scope,
        hash(canonical.as_bytes())
    );
    let mut key = format!("AWS4{}", account.key).into_bytes();
    for part in [day, region, service, "aws4_request"] {
        key = hmac(&key, part.as_bytes());
    }
    if hex(&hmac(&key, to_sign.as_bytes())) != signed.signature {
        return wrong("The request signature we calculated does not match the signature you provided.");
    }
    Ok(())
}

/// TC3-HMAC-SHA256.
pub(super) fn tc3(request: &Request, product: &str) -> Checked<()> {
    tc3_at(request, product, credentials(request.vendor), now())
}

pub(super) fn tc3_at(request: &Request, product: &str, account: Credentials, now: i64) -> Checked<()> {
    let signed = parse(request, "TC3-HMAC-SHA256")?;
    if signed.id != account.id {
        return wrong("The SecretId is not found");
    }
    let stamp = request.header("x-tc-timestamp").unwrap_or_default();
    let Some(moment) = stamp
        .parse()
        .ok()
        .and_then(|seconds| time::OffsetDateTime::from_unix_timestamp(seconds).ok())
    else {
        return wrong("X-TC-Timestamp is no time");
    };
    if (moment.unix_timestamp() - now).abs() > SKEW {
        return wrong("Signature expired");
    }
    let day = moment.date().to_string();
    if signed.scope != format!("{day}/{product}/tc3_request") {
        return wrong(format!("Credential's scope is not {day}/{product}/tc3_request"));
    }
    let headers = canonical_headers(request, &signed, &["content-type", "host"])?;
    let names = signed.headers.join(";");
    let canonical = format!(
        "POST\n/\n{}\n{headers}\n{names}\n{}",
        request.query,
        hash(&request.body)
    );
    let to_sign = format!(
        "TC3-HMAC-SHA256\n{stamp}\n{}\n{}",
        signed.scope,
        hash(canonical.as_bytes())
    );
    let mut key = format!("TC3{}", account.key).into_bytes();
    for part in [day.as_str(), product, "tc3_request"] {
        key = hmac(&key, part.as_bytes());
    }
    if hex(&hmac(&key, to_sign.as_bytes())) != signed.signature {
        return wrong("The provided credentials could not be validated.");
    }
    Ok(())
}

/// iFlytek's signed address: of three parameters in the query one signs the others and the first line of the request.
pub(super) fn spark(request: &Request) -> Checked<()> {
    spark_at(request, credentials(request.vendor), now())
}

pub(super) fn spark_at(request: &Request, account: Credentials, now: i64) -> Checked<()> {
    let (Some(authorization), Some(date), Some(host)) = (
        request.query("authorization"),
        request.query("date"),
        request.query("host"),
    ) else {
        return wrong("Unauthorized");
    };
    let format = time::macros::format_description!(
        "[weekday repr:short], [day] [month repr:short] [year] [hour]:[minute]:[second] GMT"
    );
    let fresh = time::PrimitiveDateTime::parse(&date, format)
        .is_ok_and(|moment| (moment.assume_utc().unix_timestamp() - now).abs() <= SKEW);
    if !fresh {
        return refuse(
            Failure::Forbidden,
            "HMAC signature cannot be verified, a valid date or x-date header is required for HMAC Authentication",
        );
    }
    let decoded = STANDARD.decode(authorization).unwrap_or_default();
    let decoded = String::from_utf8_lossy(&decoded);
    let part = |name: &str| {
        let mut parts = decoded.split(',').map(str::trim);
        parts.find_map(|part| part.strip_prefix(name)?.strip_prefix("=\"")?.strip_suffix('"'))
    };
    if part("api_key") != Some(account.id) {
        return wrong("HMAC signature cannot be verified: fail to retrieve credential");
    }
    if part("algorithm") != Some("hmac-sha256") || part("headers") != Some("host date request-line") {
        return wrong("HMAC signature cannot be verified: algorithm or headers");
    }
    if Some(host.as_str()) != request.header("host") {
        return wrong("HMAC signature cannot be verified: another host");
    }
    let to_sign = format!(
        "host: {host}\ndate: {date}\n{} {} HTTP/1.1",
        request.method, request.path
    );
    let expected = STANDARD.encode(hmac(account.key.as_bytes(), to_sign.as_bytes()));
    if part("signature") != Some(expected.as_str()) {
        return wrong("HMAC signature does not match");
    }
    Ok(())
}

/// Zhipu's token, made of `id.secret`.
pub(super) fn zhipu(token: &str, key: &str) -> Checked<()> {
    let parts: Vec<_> = token.split('.').collect();
    let ([header, payload, signature], Some((id, secret))) = (&parts[..], key.split_once('.')) else {
        return wrong("no token");
    };
    let read = |part: &str| {
        let bytes = URL_SAFE_NO_PAD.decode(part).unwrap_or_default();
        serde_json::from_slice::<Value>(&bytes).unwrap_or_default()
    };
    let expected = hmac(secret.as_bytes(), format!("{header}.{payload}").as_bytes());
    let (header, payload) = (read(header), read(payload));
    if header["alg"] != "HS256" || header["sign_type"] != "SIGN" || payload["api_key"] != id {
        return wrong("the token's header or api_key is wrong");
    }
    // Milliseconds, other than in any other token.
    if payload["exp"].as_i64().is_none_or(|exp| exp / 1000 < now()) {
        return wrong("the token has expired");
    }
    if URL_SAFE_NO_PAD.decode(signature).ok() != Some(expected) {
        return wrong("the token's signature does not hold");
    }
    Ok(())
}
