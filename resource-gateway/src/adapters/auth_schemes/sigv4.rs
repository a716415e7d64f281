//! AWS Signature Version 4, as every service but S3 wants it.

use std::fmt;

use http::{HeaderName, header};
use secrecy::{ExposeSecret as _, SecretString, zeroize::Zeroizing};
use service_kit::Timestamp;

use super::{
    Bearer,
    bought::redacted,
    canonical::{
        AUTHORIZATION, AccessKey, HOST, Signable, Signed, Slashes, basic_date, canonical_headers, canonical_query,
        derived_key, hmac_hex, moment, push_encoded, sha256_hex,
    },
    keys::{Secrets, access_key, sign_outgoing},
};
use crate::{
    domain::vendor::Vendor,
    ports::codec::{AuthScheme, Outgoing, Signer},
};

const ALGORITHM: &str = "AWS4-HMAC-SHA256";
const TERMINATOR: &str = "aws4_request";
const DATE: &str = "x-amz-date";
const SECURITY_TOKEN: &str = "x-amz-security-token";
/// The option that names the region where signatures are good.
pub const REGION: &str = "region";

/// Where a signature is good.
#[derive(Debug, Clone, Copy)]
pub struct Scope<'a> {
    pub region: &'a str,
    /// The name that the service signs by: `bedrock` for `bedrock-runtime`.
    pub service: &'a str,
}

/// Signs a request. Host, date and, of a temporary key, its token are signed with what the request wants signed.
pub fn sign(request: &Signable<'_>, key: &AccessKey, scope: Scope<'_>, unix: i64) -> Signed {
    let date = basic_date(moment(unix));
    let day = date.get(..8).unwrap_or(&date);
    let own = [
        (HOST, Some(request.host)),
        (DATE, Some(&*date)),
        (SECURITY_TOKEN, key.token()),
    ];
    let given = request.headers.iter().copied().filter(|(name, _)| is_signable(name));
    let added = own.into_iter().filter_map(|(name, value)| Some((name, value?)));
    let (lines, names) = canonical_headers(given.chain(added));
    let canonical_request = format!(
        "{}\n{}\n{}\n{lines}\n{names}\n{}",
        request.method,
        canonical_path(request.path),
        canonical_query(request.query),
        sha256_hex(request.body),
    );
    let place = format!("{day}/{}/{}/{TERMINATOR}", scope.region, scope.service);
    let string_to_sign = format!("{ALGORITHM}\n{date}\n{place}\n{}", sha256_hex(&[&canonical_request]));
    let secret = Zeroizing::new(format!("AWS4{}", key.secret.expose_secret()));
    let signing_key = derived_key(secret.as_bytes(), &[day, scope.region, scope.service, TERMINATOR]);
    let signature = hmac_hex(&signing_key, string_to_sign.as_bytes());
    let authorization = format!(
        "{ALGORITHM} Credential={}/{place}, SignedHeaders={names}, Signature={signature}",
        key.id
    );
    let mut headers = vec![(AUTHORIZATION, authorization), (DATE, date.clone())];
    headers.extend(key.token().map(|token| (SECURITY_TOKEN, token.to_owned())));
    Signed {
        headers,
        canonical_request,
        string_to_sign,
        signature,
    }
}

/// With a `secret_id` the credential is an access key that signs every call; without one `secret_key` is an API key of the service.
#[derive(Debug, Clone, Copy)]
pub struct SigV4 {
    pub service: &'static str,
}

struct SigV4Signer {
    key: AccessKey,
    region: String,
    service: &'static str,
    secrets: Secrets,
}

impl fmt::Debug for SigV4Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        redacted("SigV4Signer", f)
    }
}

impl AuthScheme for SigV4 {
    fn signer(&self, vendor: &Vendor) -> Result<Box<dyn Signer>, String> {
        let Some(key) = access_key(vendor)? else {
            return Bearer.signer(vendor);
        };
        let region = vendor.options.get(REGION).ok_or("it has no option region")?;
        Ok(Box::new(SigV4Signer {
            secrets: Secrets::of_key(&key),
            key,
            region: region.clone(),
            service: self.service,
        }))
    }
}

impl Signer for SigV4Signer {
    fn sign(&self, request: &mut Outgoing, at: Timestamp, _: Option<&SecretString>) {
        let scope = Scope {
            region: &self.region,
            service: self.service,
        };
        let is_signed = |name: &HeaderName| {
            *name == header::CONTENT_TYPE || *name == header::ACCEPT || name.as_str().starts_with("x-amz-")
        };
        sign_outgoing(request, is_signed, |signable| {
            sign(signable, &self.key, scope, at.as_seconds())
        });
    }

    fn is_shown_in(&self, text: &[u8]) -> bool {
        self.secrets.are_shown_in(text)
    }
}

/// What comes from here is not taken from elsewhere, and what proxies on the way change is not signed.
fn is_signable(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    let own = matches!(&*name, AUTHORIZATION | HOST | DATE | SECURITY_TOKEN);
    let changes = matches!(
        &*name,
        "connection" | "user-agent" | "accept-encoding" | "expect" | "x-amzn-trace-id" | "transfer-encoding"
    );
    !own && !changes && !name.starts_with("amz-sdk-")
}

/// The path as it stands on the wire, its dots resolved (RFC 3986 §5.2.4), encoded once more: a `%` of the wire becomes `%25`.
fn canonical_path(path: &str) -> String {
    let mut segments: Vec<&str> = Vec::new();
    for segment in path.split('/') {
        match segment {
            "" | "." => {}
            ".." => {
                segments.pop();
            }
            segment => segments.push(segment),
        }
    }
    let mut canonical = String::with_capacity(path.len() + 8);
    for segment in &segments {
        canonical.push('/');
        push_encoded(&mut canonical, segment.as_bytes(), Slashes::Encoded);
    }
    let is_directory = path.ends_with('/') || path.ends_with("/.") || path.ends_with("/..");
    if segments.is_empty() || is_directory {
        canonical.push('/');
    }
    canonical
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::adapters::auth_schemes::tests::{Recorded, outgoing, recorded, vendor};
    use bytes::Bytes;
    use proptest::prelude::*;

    const SCOPE: Scope<'_> = Scope {
        region: "us-east-1",
        service: "bedrock",
    };

    fn signed(recorded: &Recorded) -> Signed {
        let mut key = AccessKey::new(recorded.input("access_key_id"), recorded.input("secret_access_key"));
        if let Some(token) = recorded.inputs["session_token"].as_str() {
            key = key.with_session_token(token);
        }
        let scope = Scope {
            region: recorded.input("region"),
            service: recorded.input("service"),
        };
        let names = recorded.signed_names("SignedHeaders=", ",");
        let headers = recorded.headers_named(&names);
        sign(
            &recorded.signable(&headers, std::slice::from_ref(&recorded.body)),
            &key,
            scope,
            recorded.unix(),
        )
    }

    #[test]
    fn every_recorded_signature_comes_out_step_by_step() {
        let recordings = recorded("aws-bedrock", |recorded| recorded.signing["signature"].is_string());
        assert!(recordings.len() >= 13, "{}", recordings.len());
        for recorded in recordings {
            let signed = signed(&recorded);
            recorded.assert_signed(&signed);
            for (name, value) in &signed.headers {
                assert_eq!(recorded.header(name), Some(&**value), "{}: {name}", recorded.name);
            }
        }
    }

    #[test]
    fn a_call_of_a_vendor_leaves_with_the_recorded_signature() {
        let recordings = recorded("aws-bedrock", |recorded| recorded.signing["signature"].is_string());
        assert!(recordings.len() >= 13, "{}", recordings.len());
        for recorded in recordings {
            let mut secret = recorded.input("secret_access_key").to_owned();
            if let Some(token) = recorded.inputs["session_token"].as_str() {
                secret = format!("{secret} {token}");
            }
            let mut row = vendor(recorded.input("access_key_id"), &secret);
            row.options
                .insert(REGION.to_owned(), recorded.input("region").to_owned());
            let service = SigV4 { service: "bedrock" };
            let signer = service.signer(&row).unwrap();
            let mut request = recorded.outgoing(&["content-type"]);
            request.headers.insert("user-agent", "x/y".parse().unwrap());
            request.headers.extend(
                recorded
                    .header("accept")
                    .map(|accept| (header::ACCEPT, accept.parse().unwrap())),
            );
            signer.sign(&mut request, Timestamp::from_seconds(recorded.unix()), None);
            for name in ["authorization", "host", "x-amz-date", "x-amz-security-token"] {
                let sent = request.headers.get(name).map(|value| value.to_str().unwrap());
                assert_eq!(sent, recorded.header(name), "{}: {name}", recorded.name);
            }
            assert!(request.headers["authorization"].is_sensitive());
            assert!(signer.is_shown_in(b"x test-secret-key x"));
            assert_eq!(format!("{signer:?}"), "SigV4Signer([redacted])");
        }
    }

    #[test]
    fn without_an_id_the_secret_is_an_api_key_and_an_access_key_needs_a_region() {
        let scheme = SigV4 { service: "bedrock" };
        let mut row = vendor("id", "test-bedrock-api-key");
        assert!(scheme.signer(&row).is_err());
        row.credential.secret_id = None;
        let mut request = outgoing("POST", "https://a.test/x", &[], "{}");
        let signer = scheme.signer(&row).unwrap();
        signer.sign(&mut request, Timestamp::from_seconds(0), None);
        assert_eq!(request.headers["authorization"], "Bearer test-bedrock-api-key");
    }

    #[test]
    fn a_path_is_encoded_once_more_and_its_dots_are_resolved() {
        for (path, wanted) in [
            ("", "/"),
            ("/", "/"),
            ("/model/a%3Ab%2Fc/converse", "/model/a%253Ab%252Fc/converse"),
            ("/a/./b/../c", "/a/c"),
            ("//a//b/", "/a/b/"),
            ("/../..", "/"),
            ("/a/..", "/"),
            ("/a b+c", "/a%20b%2Bc"),
        ] {
            assert_eq!(canonical_path(path), wanted, "{path}");
        }
    }

    #[test]
    fn what_proxies_change_and_what_the_scheme_sets_is_not_taken_from_the_request() {
        let sign_with = |headers: &[(&str, &str)]| {
            let request = Signable {
                method: "POST",
                host: "h",
                path: "/p",
                query: "",
                headers,
                body: &[],
            };
            sign(&request, &AccessKey::new("i", "s"), SCOPE, 0)
        };
        let plain = sign_with(&[("content-type", "a/b")]);
        let more = sign_with(&[
            ("Content-Type", "a/b"),
            ("User-Agent", "x"),
            ("connection", "close"),
            ("amz-sdk-request", "attempt=1"),
            ("x-amz-date", "20000101T000000Z"),
            ("host", "elsewhere"),
            ("Authorization", "x"),
        ]);
        assert_eq!(plain.authorization(), more.authorization());
        assert!(
            plain
                .authorization()
                .contains("SignedHeaders=content-type;host;x-amz-date,")
        );
    }

    fn request_of<'a>(headers: &'a [(&'a str, &'a str)], body: &'a [Bytes]) -> Signable<'a> {
        Signable {
            method: "POST",
            host: "bedrock.test",
            path: "/model/m%3A0/converse",
            query: "",
            headers,
            body,
        }
    }

    proptest! {
        #[test]
        fn neither_the_order_of_headers_nor_spaces_nor_the_cut_of_the_body_matter(
            values in proptest::collection::vec("[a-z]{1,8}( [a-z]{1,8}){0,2}", 1..5),
            spaces in 1usize..4,
            body in proptest::collection::vec(any::<u8>(), 0..200),
            cut in 0usize..200,
        ) {
            let key = AccessKey::new("id", "secret");
            let names: Vec<_> = (0..values.len()).map(|at| format!("x-amz-{at}")).collect();
            let plain: Vec<_> = names.iter().map(|name| &**name).zip(values.iter().map(|value| &**value)).collect();
            let wide: Vec<_> = values
                .iter()
                .map(|value| format!("{0}{1}{0}", " ".repeat(spaces - 1), value.replace(' ', &" ".repeat(spaces))))
                .collect();
            let loud: Vec<_> = names.iter().map(|name| name.to_ascii_uppercase()).collect();
            let other: Vec<_> = loud.iter().map(|name| &**name).zip(wide.iter().map(|value| &**value)).rev().collect();
            let body = Bytes::from(body);
            let cut = cut.min(body.len());
            let whole = sign(&request_of(&plain, std::slice::from_ref(&body)), &key, SCOPE, 7);
            let pieces = sign(&request_of(&other, &[body.slice(..cut), body.slice(cut..)]), &key, SCOPE, 7);
            prop_assert_eq!(whole.authorization(), pieces.authorization());
        }

        #[test]
        fn a_changed_body_path_key_or_second_changes_the_signature(
            body in proptest::collection::vec(any::<u8>(), 1..100),
            at in any::<proptest::sample::Index>(),
            bit in 0u8..8,
        ) {
            let key = AccessKey::new("id", "secret");
            let pieces = [Bytes::from(body.clone())];
            let request = request_of(&[], &pieces);
            let plain = sign(&request, &key, SCOPE, 7).signature;
            let mut hurt = body;
            let at = at.index(hurt.len());
            hurt[at] ^= 1 << bit;
            let hurt = [Bytes::from(hurt)];
            prop_assert_ne!(&plain, &sign(&request_of(&[], &hurt), &key, SCOPE, 7).signature);
            prop_assert_ne!(&plain, &sign(&request, &key, SCOPE, 8).signature);
            prop_assert_ne!(&plain, &sign(&request, &AccessKey::new("id", "Secret"), SCOPE, 7).signature);
            let elsewhere = Signable { path: "/model/m%3A1/converse", ..request };
            prop_assert_ne!(&plain, &sign(&elsewhere, &key, SCOPE, 7).signature);
        }
    }
}
