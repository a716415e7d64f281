//! Tokens that are bought with an access key: where, and how the answer reads. When to buy is the application's business.

use std::{fmt, ops::RangeInclusive, time::Duration};

use http::{HeaderMap, HeaderValue, Method, Uri, header};
use secrecy::{ExposeSecret as _, SecretString};
use service_kit::Timestamp;

use super::keys::sensitive;
use crate::{
    domain::{
        fault::{Fault, FaultClass, VendorWords},
        vendor::{BaseUrl, Vendor},
    },
    ports::codec::{Bought, Outgoing},
};

/// A token is not used in the last minute of its time: calls take theirs, and clocks differ.
const MARGIN: Duration = Duration::from_secs(60);
/// Whatever a vendor says: a token that was taken back in silence must not stay for ever.
const LONGEST: Duration = Duration::from_secs(30 * 24 * 3600);
/// The option that names another place to buy tokens at: a proxy.
pub const TOKEN_URL: &str = "token_url";

/// Where tokens are bought: the option's place, else the vendor's own.
pub(super) fn place(vendor: &Vendor, own: &str) -> Result<BaseUrl, String> {
    let url = vendor.options.get(TOKEN_URL).map_or(own, String::as_str);
    BaseUrl::parse(url).map_err(|error| format!("its option {TOKEN_URL} {error}"))
}

/// A request below a place.
pub(super) fn request(method: Method, place: &BaseUrl, path_and_query: &str) -> Result<Outgoing, String> {
    let uri: Uri = format!("{}{path_and_query}", place.as_str())
        .parse()
        .map_err(|_| format!("its option {TOKEN_URL} is not an absolute URL"))?;
    let mut headers = HeaderMap::new();
    headers.insert(header::ACCEPT, HeaderValue::from_static("application/json"));
    headers.insert(header::ACCEPT_ENCODING, HeaderValue::from_static("identity"));
    Ok(Outgoing {
        method,
        uri,
        headers,
        body: Vec::new(),
        dialogue: None,
    })
}

/// A copy to be signed.
pub(super) fn copy(request: &Outgoing) -> Outgoing {
    Outgoing {
        method: request.method.clone(),
        uri: request.uri.clone(),
        headers: request.headers.clone(),
        body: request.body.clone(),
        dialogue: request.dialogue.clone(),
    }
}

/// The option that says for how many seconds a token is bought.
pub const TOKEN_SECONDS: &str = "token_seconds";
const SECONDS: RangeInclusive<u32> = 300..=2_592_000;

pub(super) fn token_seconds(vendor: &Vendor, usual: u32) -> Result<u32, String> {
    match vendor.options.get(TOKEN_SECONDS).map(|text| text.parse()) {
        None => Ok(usual),
        Some(Ok(seconds)) if SECONDS.contains(&seconds) => Ok(seconds),
        Some(_) => {
            let (least, most) = (SECONDS.start(), SECONDS.end());
            Err(format!(
                "its option {TOKEN_SECONDS} must be a number from {least} to {most}"
            ))
        }
    }
}

/// A token that ends at a Unix time.
pub(super) fn until(token: &str, ends: i64, at: Timestamp) -> Result<Bought, Fault> {
    let ends = Timestamp::from_seconds(ends).min(at + LONGEST);
    // A token with less than a margin left would be bought again for every call.
    match token.is_empty() || ends - MARGIN <= at {
        true => Err(Fault::of(FaultClass::InvalidReply)),
        false => Ok(Bought {
            token: SecretString::from(token),
            good_until: ends - MARGIN,
        }),
    }
}

/// Why no token was sold. The vendor's sentence stays out of it: it may repeat what it was asked with.
pub(super) fn refusal(status: u16, code: Option<&str>, class: Option<FaultClass>) -> Fault {
    Fault {
        status: Some(status),
        words: VendorWords {
            code: code.and_then(VendorWords::word),
            ..VendorWords::default()
        },
        ..Fault::of(class.unwrap_or_else(|| FaultClass::of_status(status)))
    }
}

/// Signs a request with a token as its bearer (RFC 6750 §2.1). Without one it leaves unsigned, and the vendor refuses it.
pub(super) fn bear(request: &mut Outgoing, token: Option<&SecretString>) {
    if let Some(value) = token.and_then(|token| sensitive(&format!("Bearer {}", token.expose_secret())).ok()) {
        request.headers.insert(header::AUTHORIZATION, value);
    }
}

/// A text that holds a secret, for `Debug` of those who hold one.
pub(super) fn redacted(name: &str, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    write!(f, "{name}([redacted])")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_good_until_a_minute_before_its_end_and_for_a_month_at_most() {
        let at = Timestamp::from_seconds(1000);
        assert_eq!(until("t", 1100, at).unwrap().good_until, Timestamp::from_seconds(1040));
        assert_eq!(until("t", i64::MAX, at).unwrap().good_until, at + LONGEST - MARGIN);
        for (token, ends) in [("t", 1060), ("t", 0), ("t", i64::MIN), ("", 5000)] {
            assert_eq!(until(token, ends, at).unwrap_err().class, FaultClass::InvalidReply);
        }
    }

    #[test]
    fn a_place_of_the_operators_is_looked_at() {
        let mut vendor = Vendor::named("v", "s");
        assert_eq!(place(&vendor, "https://own.test").unwrap().as_str(), "https://own.test");
        vendor
            .options
            .insert(TOKEN_URL.to_owned(), "http://127.0.0.1:9/x/".to_owned());
        assert_eq!(
            place(&vendor, "https://own.test").unwrap().as_str(),
            "http://127.0.0.1:9/x"
        );
        vendor.options.insert(TOKEN_URL.to_owned(), "ftp://a.test".to_owned());
        assert!(place(&vendor, "https://own.test").is_err());
    }
}
