//! The token that Zhipu takes instead of the bare key.

use std::{fmt, sync::Arc, time::Duration};

use arc_swap::ArcSwapOption;
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use secrecy::{ExposeSecret as _, SecretString};
use service_kit::Timestamp;

use super::{
    Bearer,
    bought::{bear, redacted},
    canonical::hmac,
    keys::{Secrets, secret_key},
};
use crate::{
    domain::vendor::Vendor,
    ports::codec::{AuthScheme, Outgoing, Signer},
};

/// A token is good for this long. Times are in milliseconds, unlike in other JWTs (RFC 7519 §2).
const LIFETIME_MS: i64 = 210_000;
/// And is used for this long: the rest is for slow calls and clocks that differ.
const KEPT: Duration = Duration::from_secs(180);
/// The option that says how a key is shown: as it is, or as [`JWT`].
pub const AUTH: &str = "auth";
pub const JWT: &str = "jwt";

/// A key of the form `ID.SECRET`.
#[derive(Clone)]
pub struct ZhipuKey {
    id: Box<str>,
    secret: SecretString,
}

impl fmt::Debug for ZhipuKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ZhipuKey([redacted])")
    }
}

impl ZhipuKey {
    /// Cuts a key in two; `None` when it has no such form.
    pub fn read(key: &str) -> Option<Self> {
        let (id, secret) = key.trim().split_once('.')?;
        (!id.is_empty() && !secret.is_empty() && !secret.contains('.')).then(|| Self {
            id: id.into(),
            secret: SecretString::from(secret),
        })
    }

    /// The token of a moment.
    pub fn token(&self, unix: i64) -> SecretString {
        let now = unix.saturating_mul(1000);
        let header = serde_json::json!({"alg": "HS256", "sign_type": "SIGN", "typ": "JWT"});
        let payload = serde_json::json!({
            "api_key": self.id,
            "exp": now.saturating_add(LIFETIME_MS),
            "timestamp": now,
        });
        let [header, payload] = [header, payload].map(|part| URL_SAFE_NO_PAD.encode(part.to_string()));
        let signing_input = format!("{header}.{payload}");
        let mac = hmac(self.secret.expose_secret().as_bytes(), signing_input.as_bytes());
        SecretString::from(format!("{signing_input}.{}", URL_SAFE_NO_PAD.encode(mac)))
    }
}

/// The key as the bearer of calls, or with the option `auth = "jwt"` tokens made of it, so that the secret itself stays here.
#[derive(Debug, Clone, Copy)]
pub struct Zhipu;

struct JwtSigner {
    key: ZhipuKey,
    /// The last token, and until when it is used.
    kept: ArcSwapOption<(Timestamp, SecretString)>,
    secrets: Secrets,
}

impl fmt::Debug for JwtSigner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        redacted("JwtSigner", f)
    }
}

impl AuthScheme for Zhipu {
    fn signer(&self, vendor: &Vendor) -> Result<Box<dyn Signer>, String> {
        match vendor.options.get(AUTH).map(String::as_str) {
            None => return Bearer.signer(vendor),
            Some(JWT) => {}
            Some(_) => return Err(format!("its option {AUTH} must be {JWT}")),
        }
        let key = secret_key(vendor).and_then(ZhipuKey::read);
        let key = key.ok_or("its secret_key is not of the form ID.SECRET")?;
        Ok(Box::new(JwtSigner {
            secrets: Secrets::of(key.secret.expose_secret()),
            key,
            kept: ArcSwapOption::empty(),
        }))
    }
}

impl Signer for JwtSigner {
    fn sign(&self, request: &mut Outgoing, at: Timestamp, _: Option<&SecretString>) {
        if let Some(kept) = self.kept.load().as_deref() {
            let (until, token) = kept;
            // A clock that was set back must not keep a token of the future.
            if (*until - KEPT..*until).contains(&at) {
                return bear(request, Some(token));
            }
        }
        let token = self.key.token(at.as_seconds());
        bear(request, Some(&token));
        self.kept.store(Some(Arc::new((at + KEPT, token))));
    }

    fn is_shown_in(&self, text: &[u8]) -> bool {
        self.secrets.are_shown_in(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::adapters::auth_schemes::tests::{outgoing, recorded, vendor};
    use serde_json::Value;

    fn parts(token: &str) -> (Value, Value, Vec<u8>) {
        let parts: Vec<_> = token
            .split('.')
            .map(|part| URL_SAFE_NO_PAD.decode(part).unwrap())
            .collect();
        let [header, payload, mac] = &*parts else {
            panic!("three parts: {token}")
        };
        let json = |part: &[u8]| serde_json::from_slice(part).unwrap();
        (json(header), json(payload), mac.clone())
    }

    #[test]
    fn the_parts_of_a_token_are_those_that_the_vendors_library_sends() {
        let recordings = recorded("zhipu", |recorded| recorded.signing["token"].is_string());
        assert!(!recordings.is_empty());
        for recorded in recordings {
            let token = ZhipuKey::read(recorded.input("api_key"))
                .unwrap()
                .token(recorded.unix());
            let (header, payload, mac) = parts(token.expose_secret());
            assert_eq!(header, recorded.signing["header"]);
            assert_eq!(payload, recorded.signing["payload"]);
            let (_, _, wanted) = parts(
                recorded
                    .header("authorization")
                    .unwrap()
                    .strip_prefix("Bearer ")
                    .unwrap(),
            );
            // The members stand in the same order, so that even the signatures are the same.
            assert_eq!(mac, wanted, "{}", recorded.name);
        }
    }

    #[test]
    fn a_key_has_two_parts_and_shows_neither() {
        for broken in ["", "plain", ".secret", "id.", "id.secret.more"] {
            assert!(ZhipuKey::read(broken).is_none(), "{broken}");
        }
        let key = ZhipuKey::read(" id.secret\n").unwrap();
        assert_eq!(format!("{key:?}"), "ZhipuKey([redacted])");
        let (_, payload, _) = parts(key.token(10).expose_secret());
        assert_eq!(
            payload,
            serde_json::json!({"api_key": "id", "exp": 220_000, "timestamp": 10_000})
        );
    }

    #[test]
    fn what_stands_in_an_id_cannot_leave_its_text() {
        let key = ZhipuKey::read("a\",\"exp\":9.secret").unwrap();
        let (_, payload, _) = parts(key.token(0).expose_secret());
        assert_eq!(payload["api_key"], "a\",\"exp\":9");
        assert_eq!(payload["exp"], 210_000);
    }

    #[test]
    fn a_token_is_kept_for_three_minutes() {
        let mut row = vendor("", "testid0001.testsecret0001");
        row.credential.secret_id = None;
        row.options.insert(AUTH.to_owned(), JWT.to_owned());
        let signer = Zhipu.signer(&row).unwrap();
        let made_at = |at: i64| {
            let mut request = outgoing("POST", "https://a.test/x", &[], "{}");
            signer.sign(&mut request, Timestamp::from_seconds(at), None);
            let value = request.headers["authorization"].to_str().unwrap().to_owned();
            let (_, payload, _) = parts(value.strip_prefix("Bearer ").unwrap());
            payload["timestamp"].as_i64().unwrap() / 1000
        };
        for (at, wanted) in [
            (1000, 1000),
            (1179, 1000),
            (1180, 1180),
            (1181, 1180),
            (900, 900),
            (901, 900),
        ] {
            assert_eq!(made_at(at), wanted, "{at}");
        }
        assert!(signer.is_shown_in(b"testsecret0001") && !signer.is_shown_in(b"testid0001"));
        assert_eq!(format!("{signer:?}"), "JwtSigner([redacted])");
    }

    #[test]
    fn a_key_is_its_own_bearer_unless_tokens_are_wanted() {
        let mut row = vendor("", "id.secret-secret");
        row.credential.secret_id = None;
        let mut request = outgoing("POST", "https://a.test/x", &[], "{}");
        Zhipu
            .signer(&row)
            .unwrap()
            .sign(&mut request, Timestamp::from_seconds(0), None);
        assert_eq!(request.headers["authorization"], "Bearer id.secret-secret");
        row.options.insert(AUTH.to_owned(), "other".to_owned());
        assert!(Zhipu.signer(&row).is_err());
        let mut row = vendor("", "no-dot-in-it");
        row.options.insert(AUTH.to_owned(), JWT.to_owned());
        assert!(Zhipu.signer(&row).is_err());
    }
}
