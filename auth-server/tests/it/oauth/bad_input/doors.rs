//! Every endpoint that reads parameters, what it knows of each, and how a good request is made.

use std::sync::atomic::{AtomicU64, Ordering};

use auth_server::domain::ciba::{BindingMessage, NotificationToken};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use http::Method;
use oauth_wire::SigningAlg;
use serde_json::json;
use test_kit::TestKey;

use super::voices::Voice;
use crate::app::{
    ALICE, BACKCHANNEL, CHALLENGE, Code, DESK, Fields, GATEWAY, KIOSK, LEGACY, OWN, RESOURCE_SERVER, Reply, SERVICE,
    TestApp, TestClient, WEB, asking, fields,
};

/// An endpoint, and at the token endpoint a grant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Door {
    Authorize,
    AuthorizePost,
    Par,
    Code,
    Refresh,
    Password,
    ClientCredentials,
    DeviceCode,
    TokenExchange,
    JwtBearer,
    Ciba,
    Introspect,
    Revoke,
    Userinfo,
    DeviceAuthorization,
    Backchannel,
    Logout,
}

/// What an endpoint knows of a parameter.
#[derive(Debug, Clone, Copy)]
pub(super) struct Parameter {
    pub(super) name: &'static str,
    /// A good value, where the good request has none.
    pub(super) sample: &'static str,
    /// The errors without it; none where it may be left out.
    pub(super) missing: &'static [&'static str],
    pub(super) values: Values,
    /// The errors stand on a page even where others are told by redirect.
    pub(super) on_page: bool,
    pub(super) is_repeatable: bool,
}

/// Which values do.
#[derive(Debug, Clone, Copy)]
pub(super) enum Values {
    /// The good one alone, and those of which this tells that they mean the same or are as good; for others there are these errors.
    Only(&'static [&'static str], fn(value: &str, good: &str) -> bool),
    /// Any text, up to so many bytes where it is kept.
    Text(Option<usize>),
    /// Any text: what is not known is answered as such, not refused.
    Lookup,
}

const NEVER: fn(&str, &str) -> bool = |_, _| false;

const fn parameter(name: &'static str, values: Values) -> Parameter {
    Parameter {
        name,
        sample: "x",
        missing: &[],
        values,
        on_page: false,
        is_repeatable: false,
    }
}

const fn only(name: &'static str, errors: &'static [&'static str]) -> Parameter {
    parameter(name, Values::Only(errors, NEVER))
}

const fn text(name: &'static str) -> Parameter {
    parameter(name, Values::Text(None))
}

impl Parameter {
    const fn needed(self, missing: &'static [&'static str]) -> Self {
        Self { missing, ..self }
    }

    const fn sample(self, sample: &'static str) -> Self {
        Self { sample, ..self }
    }

    const fn unless(self, is_as_good: fn(&str, &str) -> bool) -> Self {
        let values = match self.values {
            Values::Only(errors, _) => Values::Only(errors, is_as_good),
            other => other,
        };
        Self { values, ..self }
    }

    const fn up_to(self, bytes: usize) -> Self {
        Self {
            values: Values::Text(Some(bytes)),
            ..self
        }
    }

    const fn on_page(self) -> Self {
        Self { on_page: true, ..self }
    }

    const fn repeatable(self) -> Self {
        Self {
            is_repeatable: true,
            ..self
        }
    }
}

/// Some of the same words, or none, however many spaces lie between them.
fn of_the_words(value: &str, good: &str) -> bool {
    let mut words = value.split(' ').filter(|word| !word.is_empty());
    words.all(|word| good.split(' ').any(|known| known == word))
}

fn is_json_object(value: &str, _: &str) -> bool {
    serde_json::from_str::<serde_json::Map<String, serde_json::Value>>(value).is_ok()
}

fn is_number(value: &str, _: &str) -> bool {
    !value.is_empty() && value.bytes().all(|b| b.is_ascii_digit()) && value.parse::<u64>().is_ok()
}

/// A SHA-256 digest.
fn is_digest(value: &str, _: &str) -> bool {
    URL_SAFE_NO_PAD.decode(value).is_ok_and(|digest| digest.len() == 32)
}

fn same_name(value: &str, good: &str) -> bool {
    value.trim().to_lowercase() == good
}

const INVALID_REQUEST: &[&str] = &["invalid_request"];
const INVALID_CLIENT: &[&str] = &["invalid_client"];
const INVALID_GRANT: &[&str] = &["invalid_grant"];

/// RFC 6749 §4.1.1, OpenID Connect Core §3.1.2.1, RFC 7636, RFC 8707, RFC 9101, RFC 9396, RFC 9449 §10.
const AUTHORIZE: &[Parameter] = &[
    only("response_type", &["unsupported_response_type"]).needed(INVALID_REQUEST),
    only("client_id", INVALID_CLIENT).needed(INVALID_REQUEST).on_page(),
    only("redirect_uri", INVALID_REQUEST).needed(INVALID_REQUEST).on_page(),
    only("scope", &["invalid_scope"]).unless(of_the_words),
    text("state").up_to(4096).on_page(),
    text("nonce").up_to(4096),
    only("code_challenge", INVALID_REQUEST)
        .needed(INVALID_REQUEST)
        .unless(is_digest),
    only("code_challenge_method", INVALID_REQUEST).needed(INVALID_REQUEST),
    only("response_mode", INVALID_REQUEST),
    only("prompt", INVALID_REQUEST).sample("none").unless(of_the_words),
    only("max_age", INVALID_REQUEST).sample("10000").unless(is_number),
    only("display", INVALID_REQUEST),
    text("ui_locales").sample("en").up_to(4096).on_page(),
    text("claims_locales").sample("en"),
    text("login_hint").sample("alice").up_to(4096).on_page(),
    text("acr_values").sample("1"),
    only("id_token_hint", INVALID_REQUEST),
    only("claims", INVALID_REQUEST)
        .sample(r#"{"userinfo":{"name":null}}"#)
        .unless(is_json_object),
    only("resource", &["invalid_target"]).sample(GATEWAY).repeatable(),
    only("authorization_details", &["invalid_authorization_details"]),
    only("dpop_jkt", INVALID_REQUEST).sample(CHALLENGE).unless(is_digest),
    only("registration", &["registration_not_supported"]),
    text("no_such_parameter"),
];

/// RFC 6749 §2.3.1, by the body.
const CLIENT: &[Parameter] = &[
    only("client_id", INVALID_CLIENT).needed(INVALID_CLIENT),
    only("client_secret", INVALID_CLIENT).needed(INVALID_CLIENT),
    // Beside a secret these are a second method.
    only("client_assertion", INVALID_REQUEST),
    only("client_assertion_type", INVALID_REQUEST),
];

/// Beside an `Authorization` header.
const BASIC_CLIENT: &[Parameter] = &[
    only("client_id", INVALID_REQUEST).sample("resource_server"),
    only("client_secret", INVALID_REQUEST),
    only("client_assertion", INVALID_REQUEST),
    only("client_assertion_type", INVALID_REQUEST),
];

/// Of every grant.
const GRANT: &[Parameter] = &[
    only("grant_type", &["unsupported_grant_type"]).needed(INVALID_REQUEST),
    only("resource", &["invalid_target"]).sample(GATEWAY).repeatable(),
    only("authorization_details", &["invalid_authorization_details"]),
    text("no_such_parameter"),
];

/// RFC 8693 §2.1.
const EXCHANGE: &[Parameter] = &[
    only("subject_token", INVALID_REQUEST).needed(INVALID_REQUEST),
    only("subject_token_type", INVALID_REQUEST).needed(INVALID_REQUEST),
    // The two belong together.
    only("actor_token", INVALID_REQUEST).needed(INVALID_REQUEST),
    only("actor_token_type", INVALID_REQUEST).needed(INVALID_REQUEST),
    only("requested_token_type", INVALID_REQUEST).sample(ACCESS_TOKEN),
    only("audience", &["invalid_target"]).sample(GATEWAY).repeatable(),
];

/// CIBA §7.1.
const BACKCHANNEL_REQUEST: &[Parameter] = &[
    only("scope", &["invalid_scope"])
        .needed(INVALID_REQUEST)
        .unless(is_openid),
    only("login_hint", &["unknown_user_id", "invalid_request"])
        .needed(INVALID_REQUEST)
        .unless(same_name),
    // Beside the login_hint these are a second hint.
    only("id_token_hint", INVALID_REQUEST),
    only("login_hint_token", INVALID_REQUEST),
    only("binding_message", &["invalid_binding_message"]).unless(can_be_shown),
    only("client_notification_token", INVALID_REQUEST).unless(is_bearer),
    only("requested_expiry", INVALID_REQUEST)
        .sample("60")
        .unless(|value, _| value.bytes().all(|b| b.is_ascii_digit()) && value.bytes().any(|b| b != b'0')),
    text("acr_values").sample("1"),
    only("user_code", INVALID_REQUEST),
    only("request", INVALID_REQUEST),
    only("request_uri", INVALID_REQUEST),
    only("claims", INVALID_REQUEST)
        .sample(r#"{"userinfo":{"name":null}}"#)
        .unless(is_json_object),
    only("resource", &["invalid_target"]).sample(GATEWAY).repeatable(),
    only("authorization_details", &["invalid_authorization_details"]),
    text("no_such_parameter"),
];

fn is_openid(value: &str, _: &str) -> bool {
    of_the_words(value, "openid") && value.contains("openid")
}

fn can_be_shown(value: &str, _: &str) -> bool {
    BindingMessage::parse(value).is_some()
}

fn is_bearer(value: &str, _: &str) -> bool {
    NotificationToken::parse(value.to_owned()).is_some()
}

/// OpenID Connect RP-Initiated Logout §2.
const LOGOUT: &[Parameter] = &[
    only("id_token_hint", INVALID_REQUEST).needed(INVALID_REQUEST),
    only("client_id", INVALID_REQUEST),
    only("post_logout_redirect_uri", INVALID_REQUEST),
    text("state").up_to(4096),
    text("ui_locales").sample("en").up_to(4096),
    text("logout_hint"),
    text("no_such_parameter"),
];

const ACCESS_TOKEN: &str = "urn:ietf:params:oauth:token-type:access_token";

/// A service that passes on what it is sent, and signs for itself by the key of RFC 8037 appendix A.
const COURIER: TestClient = TestClient {
    id: "courier",
    secret: Some("courier-secret-8d8d"),
    redirect_uri: "",
    scope: "ai:chat",
};
pub(super) const DOCUMENT: &str = r#"
[[client]]
client_id = "courier"
client_secret = "courier-secret-8d8d"
grant_types = [
    "client_credentials",
    "urn:ietf:params:oauth:grant-type:token-exchange",
    "urn:ietf:params:oauth:grant-type:jwt-bearer",
]
response_types = []
scope = "ai:chat openid"
jwks = { keys = [{ kty = "OKP", crv = "Ed25519", x = "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo" }] }
"#;
const KEY_OF_RFC_8037: &str = r#"{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo","d":"nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A"}"#;
static NEXT: AtomicU64 = AtomicU64::new(0);

const SCOPE: Parameter = only("scope", &["invalid_scope"]).unless(of_the_words);

impl Door {
    pub(super) const ALL: [Self; 17] = [
        Self::Authorize,
        Self::AuthorizePost,
        Self::Par,
        Self::Code,
        Self::Refresh,
        Self::Password,
        Self::ClientCredentials,
        Self::DeviceCode,
        Self::TokenExchange,
        Self::JwtBearer,
        Self::Ciba,
        Self::Introspect,
        Self::Revoke,
        Self::Userinfo,
        Self::DeviceAuthorization,
        Self::Backchannel,
        Self::Logout,
    ];

    pub(super) fn parameters(self) -> Vec<Parameter> {
        let token = only("token", &[]).needed(INVALID_REQUEST);
        let token = Parameter {
            values: Values::Lookup,
            ..token
        };
        let (shared, own): (&[&[Parameter]], Vec<Parameter>) = match self {
            // Where else than here it may be read is judged in the suite of request objects.
            Self::Authorize | Self::AuthorizePost => (&[AUTHORIZE], Vec::new()),
            Self::Par => {
                let of_client = |one: &&Parameter| CLIENT.iter().any(|known| known.name == one.name);
                let own = AUTHORIZE.iter().filter(|one| !of_client(one)).copied();
                let reference = only("request_uri", INVALID_REQUEST);
                (&[CLIENT], own.chain([reference]).collect())
            }
            Self::Code => (
                &[CLIENT, GRANT],
                vec![
                    only("code", INVALID_GRANT).needed(INVALID_REQUEST),
                    // OAuth 2.1 §4.1.3 dropped it; a client that sends it must be right.
                    only("redirect_uri", INVALID_GRANT),
                    only("code_verifier", INVALID_GRANT).needed(INVALID_GRANT),
                ],
            ),
            Self::Refresh => (
                &[CLIENT, GRANT],
                vec![only("refresh_token", INVALID_GRANT).needed(INVALID_REQUEST), SCOPE],
            ),
            Self::Password => (
                &[GRANT],
                vec![
                    only("client_id", INVALID_CLIENT).needed(INVALID_CLIENT),
                    only("username", INVALID_GRANT)
                        .needed(INVALID_REQUEST)
                        .unless(same_name),
                    only("password", INVALID_GRANT).needed(INVALID_REQUEST),
                    SCOPE,
                ],
            ),
            Self::ClientCredentials => (&[CLIENT, GRANT], vec![SCOPE]),
            Self::DeviceCode => (
                &[CLIENT, GRANT],
                vec![only("device_code", INVALID_GRANT).needed(INVALID_REQUEST)],
            ),
            Self::TokenExchange => (&[CLIENT, GRANT, EXCHANGE], vec![SCOPE]),
            Self::JwtBearer => (
                &[CLIENT, GRANT],
                vec![only("assertion", INVALID_GRANT).needed(INVALID_REQUEST), SCOPE],
            ),
            Self::Ciba => (
                &[CLIENT, GRANT],
                vec![only("auth_req_id", INVALID_GRANT).needed(INVALID_REQUEST)],
            ),
            Self::Backchannel => (&[CLIENT, BACKCHANNEL_REQUEST], Vec::new()),
            Self::Introspect => (
                &[BASIC_CLIENT],
                vec![token, text("token_type_hint"), text("no_such_parameter")],
            ),
            Self::Revoke => (
                &[CLIENT],
                vec![token, text("token_type_hint"), text("no_such_parameter")],
            ),
            Self::Userinfo => (
                &[],
                vec![
                    only("access_token", &["invalid_token"]).needed(&["none"]),
                    text("no_such_parameter"),
                ],
            ),
            Self::DeviceAuthorization => (
                &[CLIENT],
                vec![
                    SCOPE,
                    only("resource", &["invalid_target"]).sample(GATEWAY).repeatable(),
                    only("authorization_details", &["invalid_authorization_details"]),
                    text("no_such_parameter"),
                ],
            ),
            Self::Logout => (&[LOGOUT], Vec::new()),
        };
        shared.iter().flat_map(|list| list.iter().copied()).chain(own).collect()
    }

    pub(super) fn voice(self) -> Voice {
        match self {
            Self::Authorize | Self::AuthorizePost => Voice::Authorize,
            Self::Userinfo => Voice::Bearer,
            Self::Logout => Voice::Page,
            _ => Voice::Json,
        }
    }

    pub(super) fn path(self) -> &'static str {
        match self {
            Self::Authorize | Self::AuthorizePost => "/oauth2/authorize",
            Self::Par => "/oauth2/par",
            Self::Code
            | Self::Refresh
            | Self::Password
            | Self::ClientCredentials
            | Self::DeviceCode
            | Self::TokenExchange
            | Self::JwtBearer
            | Self::Ciba => "/oauth2/token",
            Self::Backchannel => BACKCHANNEL,
            Self::Introspect => "/oauth2/introspect",
            Self::Revoke => "/oauth2/revoke",
            Self::Userinfo => "/userinfo",
            Self::DeviceAuthorization => "/oauth2/device_authorization",
            Self::Logout => "/connect/logout",
        }
    }

    pub(super) fn by_query(self) -> bool {
        matches!(self, Self::Authorize | Self::Logout)
    }

    /// Whether a success uses something up, so that the next request needs another.
    pub(super) fn is_spent_by_success(self) -> bool {
        matches!(
            self,
            Self::Code | Self::Refresh | Self::DeviceCode | Self::JwtBearer | Self::Ciba
        )
    }
}

/// Makes good requests.
pub(super) struct Desk<'a> {
    app: &'a TestApp,
    /// Of a browser in which Alice is signed in.
    cookies: String,
    id_token: String,
    access_token: String,
    web_token: String,
    machine_token: String,
}

impl<'a> Desk<'a> {
    pub(super) async fn open(app: &'a TestApp) -> Self {
        // What a client id that is an address leads to: somebody who knows of no client.
        app.hosts
            .put("https://evil.example/cb", crate::app::reply(404, "text/html", "no"));
        let mut browser = app.signed_in(ALICE).await;
        let code = browser.consented_code(ALICE, &OWN.ask()).await;
        let tokens = app.exchange(&code).await.expect_tokens();
        let mut other = app.browser();
        let code = other.consented_code(ALICE, &WEB.ask()).await;
        let web = app.exchange(&code).await.expect_tokens();
        let pairs = browser.cookies.iter().map(|(name, value)| format!("{name}={value}"));
        Self {
            app,
            cookies: pairs.collect::<Vec<_>>().join("; "),
            id_token: web.id_token,
            access_token: tokens.access_token,
            web_token: web.access_token,
            machine_token: app.client_credentials(COURIER).await.expect_tokens().access_token,
        }
    }

    /// A request that succeeds.
    pub(super) async fn good(&self, door: Door) -> Fields {
        let client = |client: TestClient| fields([("client_id", client.id), ("client_secret", client.secret.unwrap())]);
        let ask = || OWN.ask().fields.and("response_mode", "query").and("display", "page");
        match door {
            Door::Authorize | Door::AuthorizePost => ask().and("id_token_hint", &self.id_token),
            Door::Par => ask()
                .and("id_token_hint", &self.id_token)
                .plus(&fields([("client_secret", OWN.secret.unwrap())])),
            Door::Code => self.code().await.form().plus(&client(OWN)),
            Door::Refresh => {
                let tokens = self.app.exchange(&self.code().await).await.expect_tokens();
                crate::app::refresh_form(&tokens.refresh_token)
                    .plus(&client(OWN))
                    .and("scope", "openid profile")
            }
            Door::Password => fields([
                ("grant_type", "password"),
                ("client_id", "console"),
                ("username", ALICE.name),
                ("password", ALICE.password),
                ("scope", "openid profile"),
            ]),
            Door::ClientCredentials => client(SERVICE)
                .and("grant_type", "client_credentials")
                .and("scope", "ai:chat ai:embeddings"),
            Door::DeviceCode => {
                let codes = self.app.device(KIOSK).await;
                self.app.allow_device(ALICE, &codes).await;
                client(KIOSK)
                    .and("grant_type", "urn:ietf:params:oauth:grant-type:device_code")
                    .and("device_code", &codes.device_code)
            }
            Door::TokenExchange => client(COURIER).plus(&fields([
                ("grant_type", "urn:ietf:params:oauth:grant-type:token-exchange"),
                ("subject_token", self.web_token.as_str()),
                ("subject_token_type", ACCESS_TOKEN),
                ("actor_token", self.machine_token.as_str()),
                ("actor_token_type", ACCESS_TOKEN),
                ("scope", "ai:chat openid"),
            ])),
            Door::JwtBearer => {
                let key = TestKey::from_private(SigningAlg::EdDsa, KEY_OF_RFC_8037.as_bytes());
                let claims = json!({
                    "iss": COURIER.id, "sub": COURIER.id, "aud": self.app.issuer, "exp": self.app.now() + 60,
                    "jti": format!("door-{}", NEXT.fetch_add(1, Ordering::Relaxed)),
                });
                client(COURIER)
                    .and("grant_type", "urn:ietf:params:oauth:grant-type:jwt-bearer")
                    .and("assertion", &key.sign(json!({}), &claims))
                    .and("scope", "ai:chat")
            }
            Door::Ciba => {
                let id = self.app.asked(DESK, &asking(DESK, ALICE)).await;
                self.app.answer_request(ALICE, "approve-allow").await;
                client(DESK)
                    .and("grant_type", "urn:openid:params:grant-type:ciba")
                    .and("auth_req_id", &id)
            }
            Door::Backchannel => client(DESK).plus(&asking(DESK, ALICE)),
            Door::Introspect => fields([
                ("token", self.access_token.as_str()),
                ("token_type_hint", "access_token"),
            ]),
            // A token of another client's, so that it lives on.
            Door::Revoke => client(LEGACY)
                .and("token", "unknown")
                .and("token_type_hint", "access_token"),
            Door::Userinfo => fields([("access_token", self.access_token.as_str())]),
            Door::DeviceAuthorization => client(KIOSK).and("scope", "openid ai:chat"),
            Door::Logout => fields([
                ("id_token_hint", self.id_token.as_str()),
                ("client_id", WEB.id),
                ("post_logout_redirect_uri", "https://web.example/"),
                ("state", crate::app::STATE),
            ]),
        }
    }

    /// What every request to this door carries in its head.
    pub(super) fn headers(&self, door: Door) -> Vec<(&'static str, String)> {
        match door {
            Door::Authorize | Door::AuthorizePost => vec![("cookie", self.cookies.clone())],
            Door::Introspect => {
                let pair = format!("{}:{}", RESOURCE_SERVER.id, RESOURCE_SERVER.secret.unwrap());
                vec![("authorization", format!("Basic {}", crate::app::base64(&pair)))]
            }
            _ => Vec::new(),
        }
    }

    pub(super) async fn send(&self, door: Door, encoded: &[u8]) -> Reply {
        let with_headers = |mut call: crate::app::Call<'a>| {
            for (name, value) in self.headers(door) {
                call = call.header(name, &value);
            }
            call
        };
        if door.by_query() {
            let path = [door.path().as_bytes(), b"?", encoded].concat();
            return with_headers(self.app.call_bytes(Method::GET, &path)).send().await;
        }
        let call = with_headers(self.app.call(Method::POST, door.path()));
        call.raw("application/x-www-form-urlencoded", encoded).send().await
    }

    async fn code(&self) -> Code {
        let path = OWN.ask().path();
        let reply = self
            .app
            .call(Method::GET, &path)
            .header("cookie", &self.cookies)
            .send()
            .await;
        Code {
            value: reply.expect_code(),
            client: OWN,
            redirect_uri: OWN.redirect_uri.to_owned(),
            has_challenge: true,
        }
    }
}
