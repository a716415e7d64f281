//! bce-auth-v1 of Baidu's cloud.

use secrecy::ExposeSecret as _;

use super::canonical::{
    AUTHORIZATION, AccessKey, HOST, Signable, Signed, Slashes, canonical_path, encoded, extended_date, hmac_hex,
    moment, query_pairs,
};

const VERSION: &str = "bce-auth-v1";
/// Signed when the `Authorization` header names none.
const DEFAULT_HEADERS: [&str; 4] = [HOST, "content-md5", "content-length", "content-type"];
const FAMILY: &str = "x-bce-";

/// Which headers of a request are signed.
#[derive(Debug, Clone, Copy)]
pub enum SignedNames<'a> {
    /// Host, length, type, digest and all `x-bce-…`. The verifier takes them as they arrive: nothing on the way may add one.
    Default,
    /// These, in this order. The host is signed, named or not.
    These(&'a [&'a str]),
}

/// For how long a signature is good, and what it covers.
#[derive(Debug, Clone, Copy)]
pub struct Terms<'a> {
    pub valid_seconds: u32,
    pub names: SignedNames<'a>,
}

/// Signs a request. The body is covered as far as a signed `content-md5` covers it.
pub fn sign(request: &Signable<'_>, key: &AccessKey, terms: Terms<'_>, unix: i64) -> Signed {
    let prefix = format!(
        "{VERSION}/{}/{}/{}",
        key.id,
        extended_date(moment(unix)),
        terms.valid_seconds
    );
    let (lines, names) = canonical_headers(request, terms.names);
    let canonical_request = format!(
        "{}\n{}\n{}\n{lines}",
        request.method,
        canonical_path(request.path),
        canonical_query(request.query)
    );
    // The hexadecimal text is the key, not the bytes that it stands for.
    let signing_key = hmac_hex(key.secret.expose_secret().as_bytes(), prefix.as_bytes());
    let signature = hmac_hex(signing_key.as_bytes(), canonical_request.as_bytes());
    Signed {
        headers: vec![(AUTHORIZATION, format!("{prefix}/{names}/{signature}"))],
        canonical_request,
        string_to_sign: String::new(),
        signature,
    }
}

/// Sorted as text, so that `a-b=` stands before `a=`.
fn canonical_query(query: &str) -> String {
    let mut pairs: Vec<_> = query_pairs(query)
        .into_iter()
        // The rule book leaves it out: a signature in the query does not sign itself.
        .filter(|(name, _)| !name.eq_ignore_ascii_case(AUTHORIZATION))
        .map(|(name, value)| format!("{name}={value}"))
        .collect();
    pairs.sort();
    pairs.join("&")
}

/// The sorted lines of what is signed, and its names as the `Authorization` header gives them.
fn canonical_headers(request: &Signable<'_>, names: SignedNames<'_>) -> (String, String) {
    let given = request.headers.iter().copied();
    let others = given.filter(|(name, _)| !name.eq_ignore_ascii_case(HOST));
    let mut lines: Vec<_> = std::iter::once((HOST, request.host))
        .chain(others)
        .map(|(name, value)| (name.to_ascii_lowercase(), value.trim()))
        .filter(|(name, value)| !value.is_empty() && names.has(name))
        .map(|(name, value)| {
            let encoded = |text: &str| encoded(text.as_bytes(), Slashes::Encoded);
            format!("{}:{}", encoded(&name), encoded(value))
        })
        .collect();
    lines.sort();
    (lines.join("\n"), names.told())
}

impl SignedNames<'_> {
    /// Whether a header, its name in lower case, is signed.
    fn has(self, name: &str) -> bool {
        match self {
            Self::Default => DEFAULT_HEADERS.contains(&name) || name.starts_with(FAMILY),
            Self::These(names) => name == HOST || names.iter().any(|known| known.eq_ignore_ascii_case(name)),
        }
    }

    fn told(self) -> String {
        match self {
            Self::Default => String::new(),
            Self::These(names) => {
                let names: Vec<_> = names.iter().map(|name| name.to_ascii_lowercase()).collect();
                match names.iter().any(|name| name == HOST) {
                    true => names.join(";"),
                    false => [&[HOST.to_owned()], &*names].concat().join(";"),
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::adapters::auth_schemes::tests::recorded;
    use proptest::prelude::*;

    #[test]
    fn every_recorded_signature_comes_out_step_by_step() {
        let recordings = recorded("baidu-qianfan", |recorded| recorded.signing["signature"].is_string());
        assert!(recordings.len() >= 3, "{}", recordings.len());
        for recorded in recordings {
            let key = AccessKey::new(recorded.input("access_key"), recorded.input("secret_key"));
            let names = recorded.signing["signed_headers"].as_str().unwrap();
            let names: Vec<_> = names.split(';').filter(|name| !name.is_empty()).collect();
            let terms = Terms {
                valid_seconds: u32::try_from(recorded.inputs["expire_seconds"].as_u64().unwrap()).unwrap(),
                names: match names.is_empty() {
                    true => SignedNames::Default,
                    false => SignedNames::These(&names),
                },
            };
            let headers = recorded.all_headers();
            let signed = sign(&recorded.signable(&headers, &[]), &key, terms, recorded.unix());
            recorded.assert_signed(&signed);
            assert_eq!(signed.string_to_sign, "");
        }
    }

    fn signed(path: &str, query: &str, headers: &[(&str, &str)], names: SignedNames<'_>) -> Signed {
        let request = Signable {
            method: "GET",
            host: "bce.test",
            path,
            query,
            headers,
            body: &[],
        };
        let terms = Terms {
            valid_seconds: 60,
            names,
        };
        sign(&request, &AccessKey::new("id", "secret"), terms, 7)
    }

    #[test]
    fn a_query_is_sorted_as_text_and_a_signature_in_it_is_left_out() {
        let signed = signed("/", "a=1&a-b=2&authorization=x&c", &[], SignedNames::Default);
        assert_eq!(signed.canonical_request, "GET\n/\na-b=2&a=1&c=\nhost:bce.test");
    }

    #[test]
    fn a_path_is_encoded_once_however_it_was_written() {
        let wanted = "GET\n/%E5%9B%BE/a~b\n\nhost:bce.test";
        for path in ["/图/a~b", "/%e5%9b%be/a%7Eb"] {
            assert_eq!(signed(path, "", &[], SignedNames::Default).canonical_request, wanted);
        }
    }

    #[test]
    fn the_host_is_signed_whether_it_is_named_or_not() {
        let headers = [("x-bce-date", "today"), ("empty", " ")];
        let signed = signed("/", "", &headers, SignedNames::These(&["X-Bce-Date", "empty"]));
        assert_eq!(signed.canonical_request, "GET\n/\n\nhost:bce.test\nx-bce-date:today");
        assert!(signed.authorization().contains("/60/host;x-bce-date;empty/"));
    }

    proptest! {
        #[test]
        fn neither_the_order_of_headers_nor_spaces_around_them_matter(
            values in proptest::collection::vec("[!-~]{1,8}", 1..5),
        ) {
            let names: Vec<_> = (0..values.len()).map(|at| format!("x-bce-{at}")).collect();
            let plain: Vec<_> = names.iter().map(|name| &**name).zip(values.iter().map(|value| &**value)).collect();
            let wide: Vec<_> = values.iter().map(|value| format!("  {value}\t")).collect();
            let other: Vec<_> = names.iter().map(|name| &**name).zip(wide.iter().map(|value| &**value)).rev().collect();
            let first = signed("/", "", &plain, SignedNames::Default);
            prop_assert_eq!(&first.signature, &signed("/", "", &other, SignedNames::Default).signature);
            let more: Vec<_> = plain.iter().copied().chain([("accept", "*/*"), ("x-bce-more", "1")]).collect();
            prop_assert_ne!(&first.signature, &signed("/", "", &more, SignedNames::Default).signature);
        }
    }
}
