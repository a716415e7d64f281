//! Every parser that reads bytes of strangers, as a function of bytes: none may panic, and what was read must read the same again.
//!
//! The fuzzing targets beside this file run them for as long as one likes; `auth-server/tests/it/fuzz.rs` runs them in every test run for a
//! while, on the same seeds.

use auth_server::{
    application::register::{
        fault::Faults,
        metadata::{self, Frame, Reach, Speaker},
    },
    domain::{
        ciba::BindingMessage,
        claims_request::ClaimsRequest,
        client_protocol::ClientProtocol,
        ids::{ClientId, TenantId},
    },
};
use oauth_wire::{
    AuthorizationDetails, BasicCredentials, ClientAuthMethod, CodeChallenge, CodeVerifier, Form, HmacAlg, Htu,
    RedirectUri, Scope, SigningAlg, TokenScheme,
};
use service_kit::peer::{DistinguishedName, PeerCertificate};
use token_keys::{
    ClientKeys, ExpectedProof, Jwks, peek_claims, peek_header, strict_json, verify_dpop_proof, verify_hmac,
};

/// A parser by name.
pub type Parser = (&'static str, fn(&[u8]));

/// All of them.
pub const PARSERS: &[Parser] = &[
    ("form", form),
    ("basic", basic),
    ("scope", scope),
    ("redirect_uri", redirect_uri),
    ("pkce", pkce),
    ("htu", htu),
    ("token_scheme", token_scheme),
    ("jwt", jwt),
    ("client_keys", client_keys),
    ("dpop", dpop),
    ("distinguished_name", distinguished_name),
    ("certificate", certificate),
    ("authorization_details", authorization_details),
    ("claims_request", claims_request),
    ("client_metadata", client_metadata),
    ("client_id", client_id),
    ("binding_message", binding_message),
];

/// What the parsers of texts are given: a header or a parameter has been made a string by then.
fn text(bytes: &[u8]) -> std::borrow::Cow<'_, str> {
    String::from_utf8_lossy(bytes)
}

pub fn form(bytes: &[u8]) {
    if let Ok(form) = Form::parse(bytes) {
        let again = Form::parse(form.encode().as_bytes());
        assert!(again.is_ok_and(|again| again == form));
    }
}

pub fn basic(bytes: &[u8]) {
    let _ = BasicCredentials::from_header(&text(bytes));
}

pub fn scope(bytes: &[u8]) {
    if let Ok(scope) = text(bytes).parse::<Scope>() {
        assert!(scope.to_string().parse::<Scope>().is_ok_and(|again| again == scope));
    }
}

pub fn redirect_uri(bytes: &[u8]) {
    let text = text(bytes);
    if let Ok(uri) = RedirectUri::parse(&text) {
        // Registered as it was written, and it is itself.
        assert!(uri.as_str() == text && uri.matches(&text));
    }
}

pub fn pkce(bytes: &[u8]) {
    let text = text(bytes);
    if let Ok(verifier) = CodeVerifier::parse(&text) {
        let challenge = CodeChallenge::of(&verifier);
        assert!(CodeChallenge::parse(challenge.as_str(), Some("S256")).is_ok());
    }
    let _ = CodeChallenge::parse(&text, Some("S256"));
}

pub fn htu(bytes: &[u8]) {
    if let Ok(htu) = Htu::parse(&text(bytes)) {
        assert!(htu.is(htu.as_str()), "normal form is a fixed point");
    }
}

pub fn token_scheme(bytes: &[u8]) {
    let _ = TokenScheme::read(&text(bytes));
}

pub fn jwt(bytes: &[u8]) {
    let text = text(bytes);
    let _ = peek_header(&text);
    let _ = peek_claims(&text);
    assert!(Jwks::from_keys([]).verify(&text).is_err());
    assert!(verify_hmac(&text, &[7; 64], HmacAlg::ALL).is_err());
}

pub fn client_keys(bytes: &[u8]) {
    if let Ok(keys) = ClientKeys::from_slice(bytes) {
        assert!(keys.verify("a.b.c", SigningAlg::ALL).is_err());
    }
}

pub fn dpop(bytes: &[u8]) {
    let uris: Vec<Htu> = Htu::parse("https://op.example/token").into_iter().collect();
    let expected = ExpectedProof {
        method: "POST",
        uris: &uris,
        now: 1_000_000,
        window_seconds: 60,
        access_token: None,
        jkt: None,
    };
    // Nobody signs by chance.
    assert!(verify_dpop_proof(&text(bytes), &expected).is_err());
}

pub fn distinguished_name(bytes: &[u8]) {
    let _ = text(bytes).parse::<DistinguishedName>();
    let _ = DistinguishedName::from_der(bytes);
}

pub fn certificate(bytes: &[u8]) {
    // The rest of the chain is as foreign as its first link.
    let _ = PeerCertificate::from_der(bytes, &[bytes.to_vec()], None);
}

pub fn authorization_details(bytes: &[u8]) {
    if let Ok(details) = AuthorizationDetails::parse(&text(bytes)) {
        let again = serde_json::to_string(&details).map(|written| AuthorizationDetails::parse(&written));
        assert!(again.is_ok_and(|again| again.is_ok_and(|again| again == details)));
    }
}

pub fn claims_request(bytes: &[u8]) {
    let Ok(request) = ClaimsRequest::parse(&text(bytes)) else {
        return;
    };
    // As a grant carries it on.
    if let Some(parameter) = request.names.to_parameter() {
        let again = ClaimsRequest::parse(&serde_json::Value::Object(parameter).to_string());
        assert!(again.is_ok_and(|again| again.names == request.names));
    }
}

/// What clients say of themselves: when they register, and in the document at their id.
pub fn client_metadata(bytes: &[u8]) {
    let Ok(told) = strict_json::object(bytes) else { return };
    for speaker in [Speaker::Operator, Speaker::Stranger] {
        let mut faults = Faults::default();
        let frame = Frame {
            client_id: ClientId::new("https://client.example/id"),
            tenant: TenantId::new("default"),
            speaker,
            default_method: ClientAuthMethod::ClientSecretBasic,
            reach: &Reach::default(),
        };
        let client = metadata::read(&told, frame, &mut faults);
        if faults.is_empty() {
            // As the database keeps it.
            let kept =
                serde_json::to_string(&client.protocol).map(|kept| serde_json::from_str::<ClientProtocol>(&kept));
            assert!(kept.is_ok_and(|kept| kept.is_ok_and(|kept| kept == client.protocol)));
        }
    }
}

pub fn client_id(bytes: &[u8]) {
    let text = text(bytes);
    if let Some(url) = ClientId::new(text.as_ref()).as_metadata_url() {
        assert!(url.as_str() == text && url.scheme() == "https" && url.has_host());
    }
}

pub fn binding_message(bytes: &[u8]) {
    let text = text(bytes);
    if let Some(message) = BindingMessage::parse(&text) {
        assert!(message.as_str() == text && !text.chars().any(char::is_control));
    }
}
