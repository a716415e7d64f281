//! Request objects: parameters that the client has signed (RFC 9101; OpenID Connect Core §6).
//!
//! Two specifications read them differently. For RFC 9101 the object is the request, and nothing beside it counts; for OpenID Connect Core
//! what stands beside it fills gaps. The stricter reading holds for every object that says by its `typ` that it follows RFC 9101, and for every
//! client that has to sign its requests or that binds its tokens. docs/adr/0008-requests-by-reference.md says why.

use oauth_wire::{Form, OAuthErrorCode, ResponseMode};
use serde_json::{Map, Value};

use super::{
    Authorize, AuthorizeError, Delivery, ErrorResponse, page,
    validate::{Entrance, is_web},
};
use crate::{application::client_keyring::ClientKeyError, domain::client::Client};

/// `typ` of RFC 9101 §10.8.
const OBJECT_TYP: &str = "oauth-authz-req+jwt";
/// How far a client's clock may be ahead of ours, in seconds.
const SKEW: i64 = 60;
/// FAPI 2.0 Message Signing §5.3.1: how long an object may last, and therefore how old it may be, in seconds.
const LONGEST: i64 = 60 * 60;

/// Parameters that are text and nothing else.
const TEXTS: [&str; 18] = [
    "response_type",
    "client_id",
    "redirect_uri",
    "scope",
    "state",
    "nonce",
    "response_mode",
    "prompt",
    "display",
    "ui_locales",
    "claims_locales",
    "id_token_hint",
    "login_hint",
    "acr_values",
    "code_challenge",
    "code_challenge_method",
    "dpop_jkt",
    "max_age",
];
/// Parameters that are JSON: in an object they stand as they are.
const STRUCTURES: [&str; 3] = ["claims", "authorization_details", "registration"];
/// Claims of the object itself (RFC 7519 §4.1).
const OWN_CLAIMS: [&str; 7] = ["iss", "sub", "aud", "exp", "nbf", "iat", "jti"];

/// What is wrong with an object, for the client's developer.
type Fault = &'static str;

/// Parameters out of an object that can be believed.
struct Opened {
    parameters: Vec<(String, String)>,
    /// Nothing beside the object counts.
    stands_alone: bool,
}

impl Authorize {
    /// The parameters that count: those of the request object, if there is one, and those beside it as far as they may.
    pub(super) async fn unpack(
        &self,
        mut form: Form,
        client: &Client,
        entrance: Entrance,
    ) -> Result<Form, AuthorizeError> {
        let (by_value, by_reference) = (form.take("request"), form.take("request_uri"));
        let refuse = |form: &Form, error, fault| refusal(form, client, error, fault);
        let object = match (by_value, by_reference) {
            (None, None) if !client.protocol.require_signed_request_object => return Ok(form),
            (None, None) => {
                let fault = match entrance {
                    Entrance::Browser => "request is missing: this client signs its requests, or pushes them",
                    Entrance::Push => "request is missing: this client signs its requests",
                };
                return Err(refuse(&form, OAuthErrorCode::InvalidRequest, fault));
            }
            // RFC 9101 §5: one of them.
            (Some(_), Some(_)) => {
                let fault = "request and request_uri exclude each other";
                return Err(refuse(&form, OAuthErrorCode::InvalidRequest, fault));
            }
            (Some(object), None) => object,
            (None, Some(uri)) => match self.fetch(client, &uri).await {
                Ok(object) => object,
                Err(fault) => return Err(refuse(&form, OAuthErrorCode::InvalidRequestUri, fault)),
            },
        };
        let opened = match self.open(client, &object).await {
            Ok(opened) => opened,
            Err(fault) => return Err(refuse(&form, OAuthErrorCode::InvalidRequestObject, fault)),
        };
        opened
            .merge(&form)
            .map_err(|fault| refuse(&form, OAuthErrorCode::InvalidRequestObject, fault))
    }

    /// The object at an address that the client has registered (RFC 9101 §5.2; OpenID Connect Core §6.2). Strangers
    /// make us ask there with every link, and may have registered the client: see `client_documents` for what holds them back.
    async fn fetch(&self, client: &Client, uri: &str) -> Result<String, Fault> {
        let registered = &client.protocol.request_uris;
        // The fragment tells versions of what is there apart; without one in the registration each is as good.
        let bare = uri.split_once('#').map(|(bare, _)| bare);
        if !registered
            .iter()
            .any(|known| known == uri || Some(known.as_str()) == bare)
        {
            return Err("request_uri is not registered for this client");
        }
        let fetched = self.documents.request_object(uri).await;
        fetched.map_err(|error| {
            tracing::info!(client.id = %client.client_id, %error, "a request object could not be fetched");
            "request_uri could not be fetched"
        })
    }

    /// Checks signature and claims of an object.
    async fn open(&self, client: &Client, object: &str) -> Result<Opened, Fault> {
        let allowed = client.signing_algs(client.protocol.request_object_signing_alg);
        let jwt = self
            .client_keys
            .verify(client, object, &allowed)
            .await
            .map_err(|error| unverified(client, &error))?;
        let is_typed = jwt.is_typ(OBJECT_TYP);
        // RFC 8725 §3.11: a token that says that it is something else is something else.
        if !is_typed && jwt.typ.is_some() && !jwt.is_typ("JWT") {
            return Err("request has a typ other than oauth-authz-req+jwt and JWT");
        }
        let is_strict = client.protocol.require_signed_request_object || client.is_sender_constrained();
        let stands_alone = is_typed || is_strict;
        self.check_claims(client, &jwt.claims, stands_alone)?;
        let strictness = match is_strict {
            true => Strictness::Fapi,
            false => Strictness::Usual,
        };
        check_times(&jwt.claims, self.clock.now().as_seconds(), strictness)?;
        Ok(Opened {
            parameters: parameters(jwt.claims)?,
            stands_alone,
        })
    }

    /// Who made the object, and for whom. `whole`: nothing that identifies may be missing.
    fn check_claims(&self, client: &Client, claims: &Map<String, Value>, whole: bool) -> Result<(), Fault> {
        let own = client.client_id.as_str();
        let is_own = |name: &str| match claims.get(name) {
            None => !whole,
            Some(value) => value.as_str() == Some(own),
        };
        if !is_own("iss") {
            return Err("iss of request is not the client");
        }
        // RFC 9101 §5.2.1: the same as outside; with PAR the client that authenticated (RFC 9126 §3).
        if !is_own("client_id") {
            return Err("client_id of request is not the client");
        }
        // RFC 9101 §10.8: or the object could be taken for the client's assertion.
        if claims.get("sub").and_then(Value::as_str) == Some(own) {
            return Err("sub of request is the client, as in an assertion");
        }
        let issuer = self.policy.issuer.as_str();
        let is_for_us = match claims.get("aud") {
            None => !whole,
            Some(Value::Array(all)) => all.iter().any(|one| one.as_str() == Some(issuer)),
            Some(one) => one.as_str() == Some(issuer),
        };
        if !is_for_us {
            return Err("aud of request is not this issuer");
        }
        // RFC 9101 §4.
        if claims.contains_key("request") || claims.contains_key("request_uri") {
            return Err("request holds request or request_uri itself");
        }
        Ok(())
    }
}

/// An error about the object goes to the client if the request names a redirect URI that is registered beside the object: what is inside
/// cannot be believed.
fn refusal(form: &Form, client: &Client, error: OAuthErrorCode, fault: Fault) -> AuthorizeError {
    let Some(redirect_uri) = form
        .get("redirect_uri")
        .filter(|uri| client.redirect_uri(uri).is_some())
    else {
        return page(error, fault);
    };
    AuthorizeError::Redirect(Box::new(ErrorResponse {
        client: client.client_id.clone(),
        redirect_uri: redirect_uri.to_owned(),
        response_mode: form
            .get("response_mode")
            .and_then(ResponseMode::from_wire)
            .filter(|mode| Delivery::of(*mode) != Delivery::Form || is_web(redirect_uri))
            .unwrap_or(ResponseMode::Query),
        error,
        description: fault,
        state: form
            .get("state")
            .filter(|state| state.len() <= super::MAX_VALUE_BYTES)
            .map(str::to_owned),
    }))
}

fn unverified(client: &Client, error: &ClientKeyError) -> Fault {
    use token_keys::VerifyError as E;
    match error {
        ClientKeyError::None => "request cannot be verified: the client has registered no keys",
        ClientKeyError::Verify(E::Malformed) => "request is not a JWT",
        ClientKeyError::Verify(E::AlgorithmNotAllowed) => {
            "request is signed by an algorithm that the client may not use"
        }
        ClientKeyError::Verify(E::UnknownKey | E::BadSignature | E::ShortSecret) => {
            "request is not signed by the client"
        }
        ClientKeyError::Unavailable(_) | ClientKeyError::Unreadable(_) | ClientKeyError::Encrypt(_) => {
            tracing::info!(client.id = %client.client_id, %error, "a client's keys could not be used");
            "request cannot be verified: the keys of the client could not be read"
        }
    }
}

/// Which rules about time hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Strictness {
    /// RFC 9101: what is there must hold.
    Usual,
    /// FAPI 2.0 Message Signing §5.3.1: `exp` and `nbf` must be there, and close.
    Fapi,
}

fn check_times(claims: &Map<String, Value>, now: i64, strictness: Strictness) -> Result<(), Fault> {
    let (exp, nbf, iat) = (date(claims, "exp")?, date(claims, "nbf")?, date(claims, "iat")?);
    if exp.is_some_and(|exp| now >= exp) {
        return Err("request has expired (exp)");
    }
    if nbf.is_some_and(|nbf| nbf > now.saturating_add(SKEW)) {
        return Err("request is not valid yet (nbf)");
    }
    if iat.is_some_and(|iat| iat > now.saturating_add(SKEW)) {
        return Err("request was issued in the future (iat)");
    }
    if strictness == Strictness::Usual {
        return Ok(());
    }
    let Some(exp) = exp else {
        return Err("request has no exp");
    };
    let Some(nbf) = nbf else {
        return Err("request has no nbf");
    };
    if exp.saturating_sub(nbf) > LONGEST {
        return Err("request lasts longer than 60 minutes (exp, nbf)");
    }
    Ok(())
}

/// A `NumericDate` (RFC 7519 §2), which may have a fraction.
fn date(claims: &Map<String, Value>, name: &str) -> Result<Option<i64>, Fault> {
    let Some(value) = claims.get(name) else { return Ok(None) };
    #[expect(
        clippy::cast_possible_truncation,
        reason = "the cast saturates, and a moment that far away is refused or expired as it would be itself"
    )]
    let whole = value
        .as_i64()
        .or_else(|| value.as_f64().map(|seconds| seconds.floor() as i64));
    whole
        .map(Some)
        .ok_or("request has an exp, nbf or iat that is not a number")
}

/// The claims of an object as parameters (RFC 9101 §4): text as it is, numbers in digits, JSON as JSON. Claims that are no parameters are passed
/// over, whatever they are.
fn parameters(claims: Map<String, Value>) -> Result<Vec<(String, String)>, Fault> {
    const WRONG_TYPE: Fault = "request holds a parameter of the wrong type";
    let mut parameters = Vec::with_capacity(claims.len());
    for (name, value) in claims {
        let is_known = |known: &[&str]| known.contains(&name.as_str());
        if is_known(&OWN_CLAIMS) {
            continue;
        }
        match value {
            Value::String(text) if text.contains('\0') => return Err("request holds a NUL character"),
            // RFC 6749 §3.1: empty is absent.
            Value::String(text) if text.is_empty() => {}
            Value::String(text) => parameters.push((name, text)),
            Value::Number(number) if name == "max_age" => parameters.push((name, number.to_string())),
            Value::Object(_) | Value::Array(_) if is_known(&STRUCTURES) => parameters.push((name, value.to_string())),
            // RFC 8707 §2.1: several are an array.
            Value::Array(all) if name == "resource" => {
                for one in all {
                    let Value::String(one) = one else {
                        return Err(WRONG_TYPE);
                    };
                    parameters.push((name.clone(), one));
                }
            }
            _ if is_known(&TEXTS) || is_known(&STRUCTURES) || name == "resource" => return Err(WRONG_TYPE),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => {}
        }
    }
    Ok(parameters)
}

impl Opened {
    fn merge(self, beside: &Form) -> Result<Form, Fault> {
        if self.stands_alone {
            return Ok(self.parameters.into_iter().collect());
        }
        let inside = |name: &str| self.parameters.iter().any(|(known, _)| known == name);
        // OpenID Connect Core §6.1: must match what is inside, if that is there.
        let inner_type = self.parameters.iter().find(|(name, _)| name == "response_type");
        if let (Some((_, inner)), Some(outer)) = (inner_type, beside.get("response_type"))
            && inner != outer
        {
            return Err("response_type of request is not the one beside it");
        }
        let filling: Vec<(String, String)> = beside
            .iter()
            .filter(|(name, _)| !inside(name))
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect();
        Ok(filling.into_iter().chain(self.parameters).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const NOW: i64 = 1_000_000;

    fn times(claims: Value, strictness: Strictness) -> Result<(), Fault> {
        check_times(claims.as_object().unwrap(), NOW, strictness)
    }

    #[test]
    fn times_hold_at_their_edges() {
        use Strictness::{Fapi, Usual};
        for (claims, usual, fapi) in [
            (json!({"exp": NOW + 1, "nbf": NOW}), true, true),
            (json!({"exp": NOW, "nbf": NOW - 10}), false, false),
            (json!({"exp": 1_000_000.5, "nbf": NOW}), false, false),
            (json!({"exp": NOW + 300, "nbf": NOW + 8}), true, true),
            (json!({"exp": NOW + 300, "nbf": NOW + 60}), true, true),
            (json!({"exp": NOW + 300, "nbf": NOW + 61}), false, false),
            (json!({"exp": NOW + 300, "nbf": NOW, "iat": NOW + 60}), true, true),
            (json!({"exp": NOW + 300, "nbf": NOW, "iat": NOW + 61}), false, false),
            (json!({"exp": NOW + 3600, "nbf": NOW}), true, true),
            (json!({"exp": NOW + 3601, "nbf": NOW}), true, false),
            (json!({"exp": NOW + 1, "nbf": NOW - 3599}), true, true),
            (json!({"exp": NOW + 1, "nbf": NOW - 3600}), true, false),
            (json!({"exp": NOW + 300}), true, false),
            (json!({"nbf": NOW}), true, false),
            (json!({}), true, false),
            (json!({"exp": i64::MAX, "nbf": i64::MIN}), true, false),
            (json!({"exp": 1e300}), true, false),
            (json!({"exp": "soon"}), false, false),
            (json!({"nbf": null}), false, false),
            (json!({"iat": [1]}), false, false),
        ] {
            assert_eq!(times(claims.clone(), Usual).is_ok(), usual, "{claims}");
            assert_eq!(times(claims.clone(), Fapi).is_ok(), fapi, "{claims}");
        }
    }

    fn read(claims: Value) -> Result<Vec<(String, String)>, Fault> {
        parameters(claims.as_object().unwrap().clone())
    }

    #[test]
    fn claims_become_parameters_and_those_of_the_object_itself_do_not() {
        let pairs = read(json!({
            "iss": "a", "exp": 1, "jti": "x", "state": "s", "nonce": "", "max_age": 10,
            "claims": {"userinfo": {"name": null}}, "resource": ["a", "b"], "custom": {"x": [1]}, "other": true,
        }))
        .unwrap();
        let pairs: Vec<(&str, &str)> = pairs
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
            .collect();
        assert_eq!(
            pairs,
            [
                ("state", "s"),
                ("max_age", "10"),
                ("claims", r#"{"userinfo":{"name":null}}"#),
                ("resource", "a"),
                ("resource", "b"),
            ]
        );
    }

    #[test]
    fn a_parameter_of_the_wrong_type_or_with_a_nul_is_refused() {
        for claims in [
            json!({"state": 1}),
            json!({"scope": ["openid"]}),
            json!({"nonce": null}),
            json!({"redirect_uri": {"x": 1}}),
            json!({"claims": 1}),
            json!({"claims": true}),
            json!({"resource": [1]}),
            json!({"resource": {}}),
            json!({"max_age": true}),
            json!({"state": "a\u{0}b"}),
        ] {
            assert!(read(claims.clone()).is_err(), "{claims}");
        }
    }

    fn opened(stands_alone: bool) -> Opened {
        Opened {
            parameters: [("scope", "inside"), ("resource", "r1"), ("response_type", "code")]
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .to_vec(),
            stands_alone,
        }
    }

    #[test]
    fn what_stands_beside_an_object_fills_gaps_or_does_not_count() {
        let beside: Form = [
            ("scope", "outside"),
            ("state", "s"),
            ("resource", "r2"),
            ("resource", "r3"),
        ]
        .into_iter()
        .collect();
        assert_eq!(
            opened(false).merge(&beside).unwrap().encode(),
            "response_type=code&scope=inside&state=s&resource=r1"
        );
        assert_eq!(
            opened(true).merge(&beside).unwrap().encode(),
            "response_type=code&scope=inside&resource=r1"
        );
        let other: Form = [("response_type", "token")].into_iter().collect();
        assert!(opened(false).merge(&other).is_err());
        assert!(opened(true).merge(&other).is_ok());
    }
}
