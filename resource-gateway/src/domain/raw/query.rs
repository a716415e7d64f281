//! Queries of raw calls. They go on as they are, or not at all.

/// Why a query is not passed on. The texts go to callers.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum QueryFault {
    #[error("is longer than 8192 bytes")]
    Long,
    #[error("holds a character that must be percent-encoded, or an encoding that readers take differently")]
    Character,
    #[error(
        "has the parameter {0:?}, by which callers prove who they are: the gateway does that, with its own credential"
    )]
    Credential(String),
    #[error("has the parameter {0:?}, by which some servers take the call for one of another method")]
    Method(String),
}

const LONGEST: usize = 8192;

/// Names of parameters that carry credentials, less everything that is no letter or digit (RFC 6750 §2.3, presigned URLs, and what
/// vendors made up).
const CREDENTIALS: [&str; 21] = [
    "accesskey",
    "accesskeyid",
    "accesstoken",
    "apikey",
    "appkey",
    "appsecret",
    "auth",
    "authkey",
    "authorization",
    "authtoken",
    "awsaccesskeyid",
    "clientsecret",
    "key",
    "password",
    "secret",
    "secretkey",
    "sig",
    "signature",
    "subscriptionkey",
    "token",
    "xapikey",
];
/// The same by their beginning.
const FAMILIES: [&str; 2] = ["xamz", "xgoog"];
/// Names of parameters that stand for a method, if their value is one.
const METHOD_NAMES: [&str; 4] = ["method", "httpmethod", "xhttpmethod", "xhttpmethodoverride"];
const METHODS: [&str; 7] = ["get", "head", "post", "put", "patch", "delete", "options"];

/// Checks a query as it stands in the request, without the question mark.
///
/// # Errors
/// [`QueryFault`].
pub fn check_query(query: &str) -> Result<(), QueryFault> {
    if query.len() > LONGEST {
        return Err(QueryFault::Long);
    }
    // RFC 3986 §3.4, and the brackets by which many clients write lists.
    let legal = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=:@/?%[]".contains(&byte);
    if !query.bytes().all(legal) {
        return Err(QueryFault::Character);
    }
    for (name, value) in parameters(query) {
        let (Some(name), Some(value)) = (decode(name), decode(value)) else {
            return Err(QueryFault::Character);
        };
        // What still separates or encodes something would be another name to whoever decodes twice.
        if name.contains(['%', '&', ';', '=']) {
            return Err(QueryFault::Character);
        }
        let folded = fold(&name);
        if CREDENTIALS.contains(&&*folded) || FAMILIES.iter().any(|family| folded.starts_with(family)) {
            return Err(QueryFault::Credential(shown(&name)));
        }
        let method = METHODS.iter().any(|method| value.trim().eq_ignore_ascii_case(method));
        if method && METHOD_NAMES.contains(&&*folded) {
            return Err(QueryFault::Method(shown(&name)));
        }
    }
    Ok(())
}

/// The parameter that a server may take for the field, in whatever spelling.
pub fn find_parameter(query: &str, field: &str) -> Option<String> {
    let wanted = fold(field);
    let mut names = parameters(query).filter_map(|(name, _)| decode(name));
    names.find(|name| fold(name) == wanted).map(|name| shown(&name))
}

/// Names and values as they are written. Some servers separate them by semicolons.
fn parameters(query: &str) -> impl Iterator<Item = (&str, &str)> {
    let parameters = query.split(['&', ';']).filter(|parameter| !parameter.is_empty());
    parameters.map(|parameter| parameter.split_once('=').unwrap_or((parameter, "")))
}

/// Decoded once, as forms are; `None` when a percent sign begins no encoding.
fn decode(text: &str) -> Option<String> {
    let mut decoded = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        decoded.push(match byte {
            b'+' => b' ',
            b'%' => {
                let mut digit = || bytes.next().and_then(|digit| char::from(digit).to_digit(16));
                let (high, low) = (digit()?, digit()?);
                u8::try_from(high * 16 + low).ok()?
            }
            other => other,
        });
    }
    Some(String::from_utf8_lossy(&decoded).into_owned())
}

/// The name of what a parameter is about (`a` of `a[b]` and `a.b`), in no spelling of its own.
fn fold(name: &str) -> String {
    let name = name.trim_start_matches(|c: char| !c.is_alphanumeric());
    let whole = name.split(['[', '.', '\0']).next().unwrap_or_default();
    let letters = whole.chars().filter(|c| c.is_alphanumeric());
    letters.flat_map(char::to_lowercase).collect()
}

fn shown(name: &str) -> String {
    name.chars().filter(|c| !c.is_control()).take(64).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn credentials_and_other_methods_are_found_however_they_are_written() {
        for query in [
            "",
            "a=1&b=%20c",
            "page_token=x",
            "keys=1",
            "tags[]=a&tags[]=b",
            "q=a%2Fb?c",
            "method=linear",
            "a;b",
            "x=%0A",
        ] {
            assert_eq!(check_query(query), Ok(()), "{query}");
        }
        for query in [
            "key=x",
            "a=1&access_token=x",
            "a=1;access_token=x",
            "API-Key=x",
            "apikey",
            "acc%65ss_token=x",
            "x-amz-signature=x",
            "token[]=x",
            "auth.token=x",
            "%00key=x",
            "+key=x",
            "_key=x",
            "key%00=x",
            "X-Goog-Credential=x",
            "client_secret=x",
            "sig=x",
        ] {
            assert!(
                matches!(check_query(query), Err(QueryFault::Credential(_))),
                "{query}: {:?}",
                check_query(query)
            );
        }
        for query in [
            "_method=DELETE",
            "method=delete",
            "X-HTTP-Method-Override=PUT",
            "_method=+delete",
            "_method=%44ELETE",
        ] {
            assert!(matches!(check_query(query), Err(QueryFault::Method(_))), "{query}");
        }
        for query in [
            "a=%",
            "a=%2",
            "a=%zz",
            "a%256b=1",
            "a%26token=1",
            "a\\b",
            "a=<b>",
            "a=\u{e9}",
            "a b",
            "a#b",
            "a={}",
        ] {
            assert_eq!(check_query(query), Err(QueryFault::Character), "{query}");
        }
        assert_eq!(check_query(&"a".repeat(8193)), Err(QueryFault::Long));
    }

    #[test]
    fn a_field_is_found_under_any_spelling() {
        for query in [
            "max_tokens=1",
            "a=1&maxTokens=1",
            "MAX-TOKENS=1",
            "max%5Ftokens=1",
            "max_tokens[]=1",
            "a;max_tokens",
        ] {
            assert!(find_parameter(query, "max_tokens").is_some(), "{query}");
        }
        for query in ["max=1", "tokens=1", "a=max_tokens", ""] {
            assert_eq!(find_parameter(query, "max_tokens"), None, "{query}");
        }
    }

    proptest! {
        /// A reader that splits on either sign and decodes any number of times finds no credential behind a query that passed.
        #[test]
        fn no_spelling_hides_a_token(
            parts in proptest::collection::vec(prop_oneof![
                Just("access_token"), Just("acc%65ss"), Just("_token"), Just("%61ccess_token"), Just("="), Just("&"), Just(";"), Just("%26"),
                Just("%2561"), Just("x"), Just("+"), Just("["), Just("]"), Just("%3b"),
            ], 0..10),
        ) {
            let query = parts.concat();
            if check_query(&query).is_ok() {
                for parameter in query.split(['&', ';']) {
                    let mut name = parameter.split('=').next().unwrap_or_default().to_owned();
                    for _ in 0..3 {
                        prop_assert_ne!(fold(&name), "accesstoken", "{}", query);
                        name = decode(&name).unwrap_or_default();
                    }
                }
            }
        }

        #[test]
        fn no_input_panics(query in "\\PC{0,60}", field in "\\PC{0,20}") {
            let _ = (check_query(&query), find_parameter(&query, &field));
        }
    }
}
