//! HMAC-SHA256 of Volcengine's open API: like AWS's, with other names and a bare secret.

use secrecy::ExposeSecret as _;

use super::canonical::{
    AUTHORIZATION, AccessKey, HOST, Signable, Signed, basic_date, canonical_headers, canonical_path, canonical_query,
    derived_key, hmac_hex, moment, sha256_hex,
};

const ALGORITHM: &str = "HMAC-SHA256";
const TERMINATOR: &str = "request";
const CONTENT_TYPE: &str = "content-type";
const DATE: &str = "x-date";
const CONTENT_SHA256: &str = "x-content-sha256";
const SECURITY_TOKEN: &str = "x-security-token";

/// Where a signature is good.
#[derive(Debug, Clone, Copy)]
pub struct Scope<'a> {
    pub region: &'a str,
    pub service: &'a str,
}

/// Signs a request: its content type, its host and every header that begins with `x-`.
pub fn sign(request: &Signable<'_>, key: &AccessKey, scope: Scope<'_>, unix: i64) -> Signed {
    let date = basic_date(moment(unix));
    let day = date.get(..8).unwrap_or(&date);
    let body_digest = sha256_hex(request.body);
    let own = [
        (HOST, Some(request.host)),
        (DATE, Some(&*date)),
        (CONTENT_SHA256, Some(&*body_digest)),
        (SECURITY_TOKEN, key.token()),
    ];
    let given = request.headers.iter().copied().filter(|(name, _)| is_signed(name));
    let added = own.into_iter().filter_map(|(name, value)| Some((name, value?)));
    let (lines, names) = canonical_headers(given.chain(added));
    let canonical_request = format!(
        "{}\n{}\n{}\n{lines}\n{names}\n{body_digest}",
        request.method,
        canonical_path(request.path),
        canonical_query(request.query),
    );
    let place = format!("{day}/{}/{}/{TERMINATOR}", scope.region, scope.service);
    let string_to_sign = format!("{ALGORITHM}\n{date}\n{place}\n{}", sha256_hex(&[&canonical_request]));
    let secret = key.secret.expose_secret().as_bytes();
    let signing_key = derived_key(secret, &[day, scope.region, scope.service, TERMINATOR]);
    let signature = hmac_hex(&signing_key, string_to_sign.as_bytes());
    let authorization = format!(
        "{ALGORITHM} Credential={}/{place}, SignedHeaders={names}, Signature={signature}",
        key.id
    );
    let mut headers = vec![
        (AUTHORIZATION, authorization),
        (CONTENT_SHA256, body_digest.clone()),
        (DATE, date.clone()),
    ];
    headers.extend(key.token().map(|token| (SECURITY_TOKEN, token.to_owned())));
    Signed {
        headers,
        canonical_request,
        string_to_sign,
        signature,
    }
}

/// What comes from here is not taken from the request.
fn is_signed(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    let own = matches!(&*name, DATE | CONTENT_SHA256 | SECURITY_TOKEN);
    !own && (name == CONTENT_TYPE || name.starts_with("x-"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::adapters::auth_schemes::tests::recorded;
    use bytes::Bytes;
    use proptest::prelude::*;

    #[test]
    fn every_recorded_signature_comes_out_step_by_step() {
        let recordings = recorded("volcengine-ark", |recorded| recorded.signing["signature"].is_string());
        assert!(!recordings.is_empty());
        for recorded in recordings {
            let key = AccessKey::new(recorded.input("access_key"), recorded.input("secret_key"));
            let scope = Scope {
                region: recorded.input("region"),
                service: recorded.input("service"),
            };
            let headers = recorded.all_headers();
            let signed = sign(
                &recorded.signable(&headers, std::slice::from_ref(&recorded.body)),
                &key,
                scope,
                recorded.unix(),
            );
            recorded.assert_signed(&signed);
            for (name, value) in &signed.headers {
                assert_eq!(recorded.header(name), Some(&**value), "{}: {name}", recorded.name);
            }
        }
    }

    fn signed(headers: &[(&str, &str)], body: &[u8], key: &AccessKey) -> Signed {
        let request = Signable {
            method: "POST",
            host: "open.volcengineapi.com",
            path: "/",
            query: "Version=2024-01-01&Action=GetApiKey",
            headers,
            body: &[Bytes::copy_from_slice(body)],
        };
        let scope = Scope {
            region: "cn-beijing",
            service: "ark",
        };
        sign(&request, key, scope, 7)
    }

    #[test]
    fn the_token_of_a_temporary_key_is_signed() {
        let signed = signed(&[], b"", &AccessKey::new("id", "secret").with_session_token("token"));
        assert!(signed.canonical_request.contains("\nx-security-token:token\n"));
        assert!(signed.headers.contains(&("x-security-token", "token".to_owned())));
    }

    proptest! {
        #[test]
        fn the_order_of_headers_does_not_matter_and_the_body_does(
            body in proptest::collection::vec(any::<u8>(), 0..100),
            value in "[!-~]{1,12}",
        ) {
            let key = AccessKey::new("id", "secret");
            let headers = [("Content-Type", "application/json"), ("X-More", &*value), ("accept", "a/b")];
            let turned = [("x-more", &*value), ("content-type", "  application/json ")];
            let plain = signed(&headers, &body, &key);
            prop_assert_eq!(&plain.signature, &signed(&turned, &body, &key).signature);
            let longer = [&*body, b"x"].concat();
            prop_assert_ne!(plain.signature, signed(&headers, &longer, &key).signature);
        }
    }
}
