//! TC3-HMAC-SHA256 of Tencent Cloud's API 3.0.

use std::fmt;

use http::{HeaderName, HeaderValue, header};
use secrecy::{ExposeSecret as _, SecretString, zeroize::Zeroizing};
use service_kit::Timestamp;

use super::{
    bought::redacted,
    canonical::{AUTHORIZATION, AccessKey, Signable, Signed, day, derived_key, hmac_hex, moment, sha256_hex},
    keys::{Secrets, needed_access_key, sign_outgoing},
};
use crate::{
    domain::vendor::Vendor,
    ports::codec::{AuthScheme, Outgoing, Signer},
};

const ALGORITHM: &str = "TC3-HMAC-SHA256";
const TERMINATOR: &str = "tc3_request";
const TIMESTAMP: &str = "x-tc-timestamp";
const TOKEN: &str = "x-tc-token";
/// The only headers that must be signed; what else is sent is left alone, as the vendor's own libraries do.
const SIGNED_HEADERS: &str = "content-type;host";
const CONTENT_TYPE: &str = "content-type";

/// Signs a request to a product (`hunyuan`, `ocr`, …), which is the first part of its host. Of the headers only the content type
/// is signed, exactly as it is sent.
pub fn sign(request: &Signable<'_>, key: &AccessKey, product: &str, unix: i64) -> Signed {
    let date = day(moment(unix));
    let content_type = request
        .headers
        .iter()
        .find(|(name, _)| name.eq_ignore_ascii_case(CONTENT_TYPE))
        .map_or("", |(_, value)| value.trim());
    let canonical_request = format!(
        "{}\n{}\n{}\ncontent-type:{content_type}\nhost:{}\n\n{SIGNED_HEADERS}\n{}",
        request.method,
        match request.path {
            "" => "/",
            path => path,
        },
        request.query,
        request.host,
        sha256_hex(request.body),
    );
    let place = format!("{date}/{product}/{TERMINATOR}");
    let string_to_sign = format!("{ALGORITHM}\n{unix}\n{place}\n{}", sha256_hex(&[&canonical_request]));
    let secret = Zeroizing::new(format!("TC3{}", key.secret.expose_secret()));
    let signing_key = derived_key(secret.as_bytes(), &[&date, product, TERMINATOR]);
    let signature = hmac_hex(&signing_key, string_to_sign.as_bytes());
    let authorization = format!(
        "{ALGORITHM} Credential={}/{place}, SignedHeaders={SIGNED_HEADERS}, Signature={signature}",
        key.id
    );
    let mut headers = vec![(AUTHORIZATION, authorization), (TIMESTAMP, unix.to_string())];
    headers.extend(key.token().map(|token| (TOKEN, token.to_owned())));
    Signed {
        headers,
        canonical_request,
        string_to_sign,
        signature,
    }
}

/// Products by the version of their API, which every call names: no two have the same. Behind a proxy the host tells nothing.
const PRODUCTS: [(&str, &str); 5] = [
    ("2023-09-01", "hunyuan"),
    ("2018-11-19", "ocr"),
    ("2019-06-14", "asr"),
    ("2020-03-03", "iai"),
    ("2019-05-29", "tiia"),
];
const VERSION: &str = "x-tc-version";
const HOSTS: &str = ".tencentcloudapi.com";
const REGION_HEADER: HeaderName = HeaderName::from_static("x-tc-region");
/// The option that names the vendor's region: goes along with every call, a job's later steps among them.
pub const REGION: &str = "region";

/// Signs every call. `secret_id` is what the vendor calls `SecretId`, `secret_key` its `SecretKey`.
#[derive(Debug, Clone, Copy)]
pub struct Tc3;

struct Tc3Signer {
    key: AccessKey,
    region: Option<HeaderValue>,
    secrets: Secrets,
}

impl fmt::Debug for Tc3Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        redacted("Tc3Signer", f)
    }
}

impl AuthScheme for Tc3 {
    fn signer(&self, vendor: &Vendor) -> Result<Box<dyn Signer>, String> {
        let key = needed_access_key(vendor)?;
        let region = vendor.options.get(REGION).map(|region| HeaderValue::from_str(region));
        let region = region.transpose();
        Ok(Box::new(Tc3Signer {
            region: region.map_err(|_| format!("its option {REGION} holds characters that a header cannot carry"))?,
            secrets: Secrets::of_key(&key),
            key,
        }))
    }
}

impl Signer for Tc3Signer {
    fn sign(&self, request: &mut Outgoing, at: Timestamp, _: Option<&SecretString>) {
        let product = product_of(request);
        if let Some(region) = &self.region {
            // In the place of a codec's own idea.
            request.headers.insert(REGION_HEADER, region.clone());
        }
        sign_outgoing(
            request,
            |name| name == header::CONTENT_TYPE,
            |signable| sign(signable, &self.key, &product, at.as_seconds()),
        );
    }

    fn is_shown_in(&self, text: &[u8]) -> bool {
        self.secrets.are_shown_in(text)
    }
}

/// The product that a call is for: by its host if that is the vendor's own, else by the version that it names.
fn product_of(request: &Outgoing) -> String {
    let host = request.uri.host().unwrap_or_default();
    let by_host = host.split('.').next().unwrap_or_default();
    let version = request.headers.get(VERSION).map(http::HeaderValue::as_bytes);
    let by_version = PRODUCTS.iter().find(|(known, _)| Some(known.as_bytes()) == version);
    match by_version {
        Some((_, product)) if !host.ends_with(HOSTS) => (*product).to_owned(),
        _ => by_host.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::adapters::auth_schemes::tests::{outgoing, recorded, vendor};
    use bytes::Bytes;
    use proptest::prelude::*;

    #[test]
    fn every_recorded_signature_comes_out_step_by_step() {
        let recordings = recorded("tencent", |recorded| recorded.signing["signature"].is_string());
        assert!(recordings.len() >= 21, "{}", recordings.len());
        for recorded in recordings {
            let key = AccessKey::new(recorded.input("secret_id"), recorded.input("secret_key"));
            let names = recorded.signed_names("SignedHeaders=", ",");
            let headers = recorded.headers_named(&names);
            let request = recorded.signable(&headers, std::slice::from_ref(&recorded.body));
            let signed = sign(&request, &key, recorded.input("service"), recorded.unix());
            recorded.assert_signed(&signed);
            for (name, value) in &signed.headers {
                assert_eq!(recorded.header(name), Some(&**value), "{}: {name}", recorded.name);
            }
        }
    }

    #[test]
    fn a_call_of_a_vendor_leaves_with_the_recorded_signature() {
        let recordings = recorded("tencent", |recorded| recorded.signing["signature"].is_string());
        assert!(recordings.len() >= 21, "{}", recordings.len());
        for recorded in recordings {
            let row = vendor(recorded.input("secret_id"), recorded.input("secret_key"));
            let signer = Tc3.signer(&row).unwrap();
            let mut request = recorded.outgoing(&["content-type", "x-tc-action", "x-tc-version"]);
            signer.sign(&mut request, Timestamp::from_seconds(recorded.unix()), None);
            for name in ["authorization", "host", "x-tc-timestamp"] {
                let sent = request.headers.get(name).map(|value| value.to_str().unwrap());
                assert_eq!(sent, recorded.header(name), "{}: {name}", recorded.name);
            }
            assert!(signer.is_shown_in(b"test-secret-key"));
            assert_eq!(format!("{signer:?}"), "Tc3Signer([redacted])");
        }
    }

    #[test]
    fn the_product_is_that_of_the_host_or_behind_a_proxy_that_of_the_version() {
        for (uri, version, wanted) in [
            ("https://ocr.tencentcloudapi.com/", "2018-11-19", "ocr"),
            ("https://ocr.ap-guangzhou.tencentcloudapi.com/", "", "ocr"),
            ("http://127.0.0.1:8080/", "2023-09-01", "hunyuan"),
            ("http://127.0.0.1:8080/", "2019-06-14", "asr"),
            ("http://127.0.0.1:8080/", "2020-03-03", "iai"),
            ("http://127.0.0.1:8080/", "2019-05-29", "tiia"),
            ("https://other.test/", "1999-01-01", "other"),
        ] {
            let request = outgoing("POST", uri, &[("x-tc-version", version)], "");
            assert_eq!(product_of(&request), wanted, "{uri} {version}");
        }
    }

    fn signed(headers: &[(&str, &str)], body: &[u8], unix: i64) -> Signed {
        let key = AccessKey::new("id", "secret").with_session_token("token");
        let request = Signable {
            method: "POST",
            host: "ocr.tencentcloudapi.com",
            path: "/",
            query: "",
            headers,
            body: &[Bytes::copy_from_slice(body)],
        };
        sign(&request, &key, "ocr", unix)
    }

    #[test]
    fn the_region_of_the_row_goes_along_once() {
        let mut row = vendor("id", "secret-secret");
        row.options.insert(REGION.to_owned(), "ap-singapore".to_owned());
        let headers = [("content-type", "application/json"), ("x-tc-region", "ap-guangzhou")];
        let mut request = outgoing("POST", "https://iai.tencentcloudapi.com/", &headers, "{}");
        Tc3.signer(&row)
            .unwrap()
            .sign(&mut request, Timestamp::from_seconds(7), None);
        let regions: Vec<_> = request.headers.get_all("x-tc-region").iter().collect();
        assert_eq!(regions, ["ap-singapore"]);
        row.options.insert(REGION.to_owned(), "a\nb".to_owned());
        assert!(Tc3.signer(&row).is_err());
    }

    #[test]
    fn the_date_is_that_of_the_timestamp_in_utc_and_the_token_of_a_temporary_key_goes_along() {
        let last_second = signed(&[], b"", 1_741_996_799);
        assert!(last_second.authorization().contains("/2025-03-14/ocr/"));
        let next_day = signed(&[], b"", 1_741_996_800);
        assert!(next_day.authorization().contains("/2025-03-15/ocr/"));
        assert!(next_day.headers.contains(&("x-tc-token", "token".to_owned())));
        assert!(next_day.headers.contains(&("x-tc-timestamp", "1741996800".to_owned())));
    }

    proptest! {
        #[test]
        fn the_content_type_and_the_body_are_signed_and_other_headers_are_not(
            body in proptest::collection::vec(any::<u8>(), 0..100),
            other in "[ -~]{0,20}",
        ) {
            let plain = signed(&[("content-type", "application/json")], &body, 7).signature;
            let more = [("X-TC-Action", &*other), ("Content-Type", " application/json ")];
            prop_assert_eq!(&plain, &signed(&more, &body, 7).signature);
            let charset = [("content-type", "application/json; charset=utf-8")];
            prop_assert_ne!(&plain, &signed(&charset, &body, 7).signature);
            let longer = [&*body, b"x"].concat();
            prop_assert_ne!(&plain, &signed(&[("content-type", "application/json")], &longer, 7).signature);
        }
    }
}
