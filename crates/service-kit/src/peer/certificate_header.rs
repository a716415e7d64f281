//! A client's certificate in a header of the proxy that terminated TLS: URL-encoded PEM, as nginx writes it
//! (`$ssl_client_escaped_cert`), or the structured field of RFC 9440.

use std::sync::Arc;

use base64::{
    Engine as _, alphabet,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};
use http::{HeaderMap, HeaderName};

use super::{
    Authorities, BadCertificate, PeerCertificate,
    certificate::{MAX_CERTIFICATE_BYTES, MAX_CHAIN},
};

/// RFC 9440 §2.2.
const CLIENT_CERT: &str = "client-cert";
/// RFC 9440 §2.3: the rest of the chain, if the proxy hands it over.
const CLIENT_CERT_CHAIN: HeaderName = HeaderName::from_static("client-cert-chain");
/// Base64 takes four bytes for three; escapes and line ends may take as much again.
const MAX_HEADER_BYTES: usize = MAX_CERTIFICATE_BYTES * 3;

/// RFC 8941 §4.2.7: padding that is missing is no reason to fail.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// Why a header is not used.
#[derive(Debug, thiserror::Error)]
pub(super) enum BadHeader {
    /// A proxy that appends instead of replacing would let clients choose.
    #[error("the header came more than once")]
    Doubled,
    #[error("the header is too long")]
    TooLong,
    #[error("the header is neither URL-encoded PEM nor a byte sequence of RFC 9440")]
    Malformed,
    #[error(transparent)]
    Certificate(#[from] BadCertificate),
}

/// `None` when the header is absent or empty: the client showed no certificate.
pub(super) fn read(
    headers: &HeaderMap,
    name: &HeaderName,
    authorities: Option<&Arc<Authorities>>,
) -> Result<Option<PeerCertificate>, BadHeader> {
    let mut values = headers.get_all(name).iter();
    let Some(value) = values.next() else { return Ok(None) };
    if values.next().is_some() {
        return Err(BadHeader::Doubled);
    }
    if value.len() > MAX_HEADER_BYTES {
        return Err(BadHeader::TooLong);
    }
    let text = value.to_str().map_err(|_| BadHeader::Malformed)?.trim();
    if text.is_empty() {
        return Ok(None);
    }
    let der = match text.starts_with(':') {
        true => byte_sequence(text),
        false => escaped_pem(text),
    };
    let der = der.ok_or(BadHeader::Malformed)?;
    let chain = match name == CLIENT_CERT {
        true => chain(headers)?,
        false => Vec::new(),
    };
    Ok(Some(PeerCertificate::from_der(&der, &chain, authorities.cloned())?))
}

fn chain(headers: &HeaderMap) -> Result<Vec<Vec<u8>>, BadHeader> {
    let mut chain = Vec::new();
    for line in headers.get_all(CLIENT_CERT_CHAIN) {
        let line = line.to_str().map_err(|_| BadHeader::Malformed)?;
        // Base64 has no comma.
        for link in line.split(',').map(str::trim).filter(|link| !link.is_empty()) {
            if chain.len() == MAX_CHAIN || link.len() > MAX_HEADER_BYTES {
                return Err(BadHeader::TooLong);
            }
            chain.push(byte_sequence(link).ok_or(BadHeader::Malformed)?);
        }
    }
    Ok(chain)
}

/// `:…:` (RFC 8941 §3.3.5).
fn byte_sequence(text: &str) -> Option<Vec<u8>> {
    BASE64.decode(text.strip_prefix(':')?.strip_suffix(':')?).ok()
}

/// One certificate. Read by hand: OpenSSL's reader would take other things as well, and ask the terminal for a passphrase.
fn escaped_pem(text: &str) -> Option<Vec<u8>> {
    let pem = unescaped(text)?;
    let body = pem.trim().strip_prefix("-----BEGIN CERTIFICATE-----")?;
    let body = body.strip_suffix("-----END CERTIFICATE-----")?;
    // Some proxies fold lines with spaces or tabs.
    let body: String = body.split_ascii_whitespace().collect();
    BASE64.decode(body).ok()
}

/// Percent-decoding (RFC 3986 §2.1). A plus sign is one, as base64 has it.
fn unescaped(text: &str) -> Option<String> {
    let mut plain = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        if byte != b'%' {
            plain.push(byte);
            continue;
        }
        let ([high, low], after) = after.split_first_chunk::<2>()?;
        let digit = |byte: u8| char::from(byte).to_digit(16);
        plain.push(u8::try_from(digit(*high)? << 4 | digit(*low)?).ok()?);
        rest = after;
    }
    String::from_utf8(plain).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NAME: HeaderName = HeaderName::from_static("client-cert");

    proptest! {
        #[test]
        fn garbage_is_refused_and_never_panics(
            value in "[!-~ ]{0,120}|:[A-Za-z0-9+/=]{0,120}:|-----BEGIN CERTIFICATE-----[ -~]{0,80}-----END CERTIFICATE-----|(%[0-9A-Fa-f]{2}){0,40}",
            chain in "(:[A-Za-z0-9+/=]{0,20}: ?,? ?){0,12}",
        ) {
            let mut headers = HeaderMap::new();
            headers.insert(NAME, value.parse().unwrap());
            headers.insert(CLIENT_CERT_CHAIN, chain.parse().unwrap());
            let read = read(&headers, &NAME, None);
            prop_assert_eq!(read.is_ok(), value.trim().is_empty());
        }
    }

    #[test]
    fn a_plus_sign_is_no_space() {
        assert_eq!(unescaped("a+b%2Bc%20d"), Some("a+b+c d".to_owned()));
        for bad in ["%", "%2", "%+1", "%zz", "%ff"] {
            assert_eq!(unescaped(bad), None, "{bad}");
        }
    }
}
