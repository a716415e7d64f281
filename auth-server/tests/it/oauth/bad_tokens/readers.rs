//! Every place that reads a signed token. To add one is to write one of these, and to name it in [`super::walk_every_reader`].

use http::Method;
use oauth_wire::{JWT_BEARER_ASSERTION, SigningAlg};
use serde_json::{Value, json};
use test_kit::{TestKey, header as header_of, token_hash};

use super::world::{AGENT, EXCHANGER, KEYED, World, next_jti};
use crate::{
    app::{ALICE, Call, DESK, Fields, ISSUER, OWN, RESOURCE_SERVER, Reply, SERVICE, TestApp, bytes_under_mac, fields},
    oauth::bad_input::voices::{Expected, Voice},
};

/// With what good tokens are signed.
pub(super) enum Signer {
    Key(Box<TestKey>),
    Mac(&'static str),
}

impl Signer {
    pub(super) fn sign(&self, header: impl AsRef<[u8]>, claims: impl AsRef<[u8]>) -> String {
        let (header, claims) = (header.as_ref(), claims.as_ref());
        match self {
            Self::Key(key) => key.sign_bytes(header, claims),
            Self::Mac(secret) => bytes_under_mac(secret.as_bytes(), header, claims),
        }
    }

    /// What everybody knows of the key.
    pub(super) fn public(&self) -> Value {
        match self {
            Self::Key(key) => key.public(),
            Self::Mac(_) => Value::Null,
        }
    }
}

/// Hurts that do no harm at some place, and why.
pub(super) type Harmless = &'static [(&'static str, &'static [&'static str])];

pub(super) trait Reader {
    /// For the table.
    fn name(&self) -> &'static str;
    /// Which of the tokens of [`World::strangers`] are its own.
    fn kinds(&self) -> &'static [&'static str];
    fn now(&self) -> i64;
    fn signer(&self) -> &Signer;
    /// Header and claims of a good token, never twice the same.
    fn good(&self) -> (Value, Value);
    /// The claims that are looked at; others do no harm, whatever they are.
    fn reads(&self) -> &'static [&'static str];
    fn harmless(&self) -> Harmless;
    /// Whether a token works once.
    fn is_single_use(&self) -> bool;
    /// Sends a token; `None` when HTTP does not let it through.
    async fn present(&self, token: &str) -> Option<Reply>;
    /// Whether the reply is what a good token gets, or what a bad one does.
    fn judge(&self, reply: &Reply, is_good: bool) -> Result<(), String>;
}

fn of(voice: Voice, codes: &'static [&'static str], reply: &Reply, is_good: bool) -> Result<(), String> {
    let expected = match is_good {
        true => Expected::Accepted,
        false => Expected::Refused(codes),
    };
    voice.judge(reply, &expected, true)
}

/// A header, unless HTTP forbids the value.
fn in_header<'a>(call: Call<'a>, name: &'static str, value: &str) -> Option<Call<'a>> {
    let is_legal = http::HeaderValue::from_bytes(value.as_bytes()).is_ok();
    is_legal.then(|| call.header_bytes(name, value.as_bytes()))
}

const ONE_WHO_SIGNS: (&str, &[&str]) = (
    "nothing in a header says where keys come from, so nothing is followed",
    &[
        "jku beside the right key",
        "x5u beside the right key",
        "x5t beside the right key",
        "zip",
    ],
);
const OTHER_CONTENT: (&str, &[&str]) = (
    "what nobody reads may be anything that is JSON and not too long",
    &[
        "a NUL in another claim",
        "hostile names",
        "100 lists deep",
        "300 other claims",
        "claims after a space",
    ],
);
/// `private_key_jwt` and `client_secret_jwt` (RFC 7523 §3).
pub(super) struct Assertion<'a> {
    pub(super) world: &'a World,
    pub(super) client: &'static str,
    pub(super) signer: Signer,
}

impl Reader for Assertion<'_> {
    fn name(&self) -> &'static str {
        match self.signer {
            Signer::Key(_) => "private_key_jwt",
            Signer::Mac(_) => "client_secret_jwt",
        }
    }

    fn kinds(&self) -> &'static [&'static str] {
        // Each names its client.
        &["assertion", "assertion by a secret"]
    }

    fn now(&self) -> i64 {
        self.world.app.now()
    }

    fn signer(&self) -> &Signer {
        &self.signer
    }

    fn good(&self) -> (Value, Value) {
        let now = self.now();
        let header = match &self.signer {
            Signer::Key(key) => json!({"alg": key.alg().as_str(), "kid": "k1", "typ": "JWT"}),
            Signer::Mac(_) => json!({"alg": "HS256", "kid": "k1", "typ": "JWT"}),
        };
        let claims = json!({
            "iss": self.client, "sub": self.client, "aud": ISSUER, "jti": next_jti(),
            "iat": now, "nbf": now, "exp": now + 60,
        });
        (header, claims)
    }

    fn reads(&self) -> &'static [&'static str] {
        &["iss", "sub", "aud", "exp", "nbf", "iat", "jti"]
    }

    fn harmless(&self) -> Harmless {
        const COMMON: &[(&str, &[&str])] = &[
            ONE_WHO_SIGNS,
            OTHER_CONTENT,
            (
                "rfc7523bis: most say nothing of their kind, or that they are a JWT",
                &[
                    "typ missing",
                    "typ jwt",
                    "typ client-authentication+jwt",
                    "typ application/jwt",
                ],
            ),
            (
                "RFC 7523 §3: neither nbf nor iat is needed, nor limited in the past",
                &[
                    "nbf missing",
                    "iat missing",
                    "nbf past",
                    "iat past",
                    "nbf zero",
                    "iat zero",
                ],
            ),
            ("up to an hour ahead", &["exp future"]),
            (
                "an id that is text, in whatever characters, up to 256",
                &[
                    "jti of another",
                    "jti with a slash",
                    "jti in another case",
                    "jti with a NUL",
                    "jti with a space",
                    "jti a bidi override",
                ],
            ),
        ];
        const BY_KEY: &[(&str, &[&str])] = &[
            COMMON[0],
            COMMON[1],
            COMMON[2],
            COMMON[3],
            COMMON[4],
            COMMON[5],
            ("a client of one key need not name it", &["no kid"]),
        ];
        const BY_SECRET: &[(&str, &[&str])] = &[
            COMMON[0],
            COMMON[1],
            COMMON[2],
            COMMON[3],
            COMMON[4],
            COMMON[5],
            (
                "a secret has no name",
                &[
                    "no kid",
                    "unknown kid",
                    "kid a path",
                    "kid a statement",
                    "kid with a NUL",
                ],
            ),
        ];
        match self.signer {
            Signer::Key(_) => BY_KEY,
            Signer::Mac(_) => BY_SECRET,
        }
    }

    fn is_single_use(&self) -> bool {
        true
    }

    async fn present(&self, token: &str) -> Option<Reply> {
        let form = fields([
            ("token", "unknown"),
            ("client_assertion_type", JWT_BEARER_ASSERTION),
            ("client_assertion", token),
        ]);
        Some(
            self.world
                .app
                .call(Method::POST, "/oauth2/revoke")
                .form(&form)
                .send()
                .await,
        )
    }

    fn judge(&self, reply: &Reply, is_good: bool) -> Result<(), String> {
        of(Voice::Json, &["invalid_client"], reply, is_good)
    }
}

/// Assertions that are grants (RFC 7523 §2.1): of an issuer that the operator lists, about a person, and of a client about itself.
pub(super) struct Grant<'a> {
    pub(super) world: &'a World,
    pub(super) issuer: &'static str,
    pub(super) signer: Signer,
}

impl Grant<'_> {
    fn is_of_client(&self) -> bool {
        self.issuer == KEYED.id
    }
}

impl Reader for Grant<'_> {
    fn name(&self) -> &'static str {
        match self.is_of_client() {
            true => "grant of a client",
            false => "grant of an issuer",
        }
    }

    fn kinds(&self) -> &'static [&'static str] {
        match self.is_of_client() {
            // The same, until it is used as one or the other.
            true => &["assertion"],
            false => &["grant of an issuer"],
        }
    }

    fn now(&self) -> i64 {
        self.world.app.now()
    }

    fn signer(&self) -> &Signer {
        &self.signer
    }

    fn good(&self) -> (Value, Value) {
        let now = self.now();
        let sub = match self.is_of_client() {
            true => KEYED.id,
            false => ALICE.name,
        };
        let claims = json!({
            "iss": self.issuer, "sub": sub, "aud": ISSUER, "jti": next_jti(), "iat": now, "nbf": now, "exp": now + 60,
        });
        (json!({"alg": "ES256", "kid": "k1", "typ": "JWT"}), claims)
    }

    fn reads(&self) -> &'static [&'static str] {
        &["iss", "sub", "aud", "exp", "nbf", "iat", "jti"]
    }

    fn harmless(&self) -> Harmless {
        const COMMON: &[(&str, &[&str])] = &[
            ONE_WHO_SIGNS,
            OTHER_CONTENT,
            (
                "most say nothing of their kind, or that they are a JWT",
                &["typ missing", "typ jwt", "typ application/jwt"],
            ),
            (
                "RFC 7523 §3: neither nbf nor iat is needed, nor limited in the past",
                &[
                    "nbf missing",
                    "iat missing",
                    "nbf past",
                    "iat past",
                    "nbf zero",
                    "iat zero",
                ],
            ),
            ("us alone, in whichever form", &["aud in a list"]),
            (
                "an id that is text, in whatever characters, up to 256",
                &[
                    "jti of another",
                    "jti with a slash",
                    "jti in another case",
                    "jti with a NUL",
                    "jti with a space",
                    "jti a bidi override",
                ],
            ),
            ("an issuer of one key need not name it", &["no kid"]),
        ];
        const OF_CLIENT: &[(&str, &[&str])] = &[
            COMMON[0],
            COMMON[1],
            COMMON[2],
            COMMON[3],
            COMMON[4],
            COMMON[5],
            COMMON[6],
            ("up to an hour ahead", &["exp future"]),
        ];
        const OF_ISSUER: &[(&str, &[&str])] = &[
            COMMON[0],
            COMMON[1],
            COMMON[2],
            COMMON[3],
            COMMON[4],
            COMMON[5],
            COMMON[6],
            (
                "user names are folded, as on the sign-in page",
                &["sub in another case", "sub with a space"],
            ),
        ];
        match self.is_of_client() {
            true => OF_CLIENT,
            false => OF_ISSUER,
        }
    }

    fn is_single_use(&self) -> bool {
        true
    }

    async fn present(&self, token: &str) -> Option<Reply> {
        let form = fields([
            ("grant_type", "urn:ietf:params:oauth:grant-type:jwt-bearer"),
            ("assertion", token),
        ]);
        let app = &self.world.app;
        Some(match self.is_of_client() {
            true => {
                let own = self.world.assertion();
                let (header, claims) = own.good();
                let proof = crate::app::proof(&own.signer.sign(header.to_string(), claims.to_string()));
                let call = app.call(Method::POST, "/oauth2/token");
                call.form(&form.plus(&proof)).send().await
            }
            false => app.token(AGENT, &form).await,
        })
    }

    fn judge(&self, reply: &Reply, is_good: bool) -> Result<(), String> {
        // One that is empty is none.
        of(Voice::Json, &["invalid_grant", "invalid_request"], reply, is_good)
    }
}

/// DPoP proofs (RFC 9449 §4.3): at the token endpoint, and at userinfo with a token that is bound.
pub(super) struct Proof<'a> {
    pub(super) world: &'a World,
    pub(super) signer: Signer,
    /// The token that the proof goes with.
    pub(super) token: Option<String>,
}

impl Reader for Proof<'_> {
    fn name(&self) -> &'static str {
        match self.token {
            Some(_) => "DPoP at userinfo",
            None => "DPoP at token",
        }
    }

    fn kinds(&self) -> &'static [&'static str] {
        match self.token {
            Some(_) => &["proof for userinfo"],
            None => &["proof for the token endpoint"],
        }
    }

    fn now(&self) -> i64 {
        self.world.app.now()
    }

    fn signer(&self) -> &Signer {
        &self.signer
    }

    fn good(&self) -> (Value, Value) {
        let header = json!({"alg": "ES256", "typ": "dpop+jwt", "jwk": self.signer.public()});
        let jti = next_jti();
        let claims = match &self.token {
            Some(token) => json!({
                "jti": jti, "htm": "GET", "htu": format!("{ISSUER}/userinfo"), "iat": self.now(), "ath": token_hash(token),
            }),
            None => json!({"jti": jti, "htm": "POST", "htu": format!("{ISSUER}/oauth2/token"), "iat": self.now()}),
        };
        (header, claims)
    }

    fn reads(&self) -> &'static [&'static str] {
        match self.token {
            Some(_) => &["jti", "htm", "htu", "iat", "ath", "nonce"],
            None => &["jti", "htm", "htu", "iat", "nonce"],
        }
    }

    fn harmless(&self) -> Harmless {
        const COMMON: &[(&str, &[&str])] = &[
            ONE_WHO_SIGNS,
            OTHER_CONTENT,
            (
                "the key is the one in the header, whatever its name",
                &[
                    "no kid",
                    "unknown kid",
                    "kid a path",
                    "kid a statement",
                    "kid with a NUL",
                    "kid null",
                    "kid a number",
                ],
            ),
            (
                "RFC 9449 §4.2: an id that is text, up to 256 characters; here nobody demands a nonce",
                &[
                    "jti of another",
                    "jti with a slash",
                    "jti in another case",
                    "jti with a NUL",
                    "jti with a space",
                    "jti a bidi override",
                    "nonce missing",
                    "nonce of another",
                    "nonce with a slash",
                    "nonce with a NUL",
                    "nonce with a space",
                    "nonce a bidi override",
                ],
            ),
        ];
        const AT_TOKEN: &[(&str, &[&str])] = &[
            COMMON[0],
            COMMON[1],
            COMMON[2],
            COMMON[3],
            (
                "a token that is not yet bound may be bound to any key",
                &["another key in jwk"],
            ),
        ];
        match self.token {
            Some(_) => COMMON,
            None => AT_TOKEN,
        }
    }

    fn is_single_use(&self) -> bool {
        true
    }

    async fn present(&self, proof: &str) -> Option<Reply> {
        let app = &self.world.app;
        let call = match &self.token {
            Some(token) => app
                .call(Method::GET, "/userinfo")
                .header("authorization", &format!("DPoP {token}")),
            None => app
                .call(Method::POST, "/oauth2/token")
                .basic(SERVICE.id, SERVICE.secret.unwrap())
                .form(&fields([("grant_type", "client_credentials")])),
        };
        Some(in_header(call, "dpop", proof)?.send().await)
    }

    fn judge(&self, reply: &Reply, is_good: bool) -> Result<(), String> {
        match self.token {
            Some(_) => of(Voice::Bearer, &["invalid_dpop_proof", "invalid_token"], reply, is_good),
            None => of(Voice::Json, &["invalid_dpop_proof"], reply, is_good),
        }
    }
}

/// Where a token of the provider's own is shown to it again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    HintAtAuthorize,
    HintAtLogout,
    HintAtBackchannel,
    Userinfo,
    Introspection,
    Exchange,
}

const ISSUED: (&str, &[&str]) = (
    "signed by the provider, which writes no other times",
    &[
        "exp future",
        "exp far future",
        "exp the largest",
        "iat past",
        "iat future",
        "iat far future",
        "iat zero",
        "iat negative",
        "iat the largest",
        "iat the smallest",
    ],
);
const ANY_ID: (&str, &[&str]) = (
    "an id is whatever the provider gave it",
    &[
        "jti of another",
        "jti empty",
        "jti with a slash",
        "jti in another case",
        "jti with a NUL",
        "jti with a space",
        "jti of 257 characters",
        "jti of 5000 characters",
        "jti a bidi override",
    ],
);
const ACCESS_TYPE: (&str, &[&str]) = ("the same media type", &["typ application/at+jwt", "typ AT+JWT"]);
const ID_TYPE: (&str, &[&str]) = ("the same media type", &["typ jwt", "typ application/jwt"]);
const ANY_SUB: &[&str] = &[
    "sub of another",
    "sub empty",
    "sub with a slash",
    "sub in another case",
    "sub with a NUL",
    "sub with a space",
    "sub of 257 characters",
    "sub of 5000 characters",
    "sub a bidi override",
];

/// ID tokens as hints, access tokens where they open something.
pub(super) struct OwnToken<'a> {
    pub(super) world: &'a World,
    pub(super) place: Place,
    pub(super) signer: Signer,
    /// What was really issued.
    pub(super) header: Value,
    pub(super) claims: Value,
}

impl Reader for OwnToken<'_> {
    fn name(&self) -> &'static str {
        match self.place {
            Place::HintAtAuthorize => "hint at authorize",
            Place::HintAtLogout => "hint at logout",
            Place::HintAtBackchannel => "hint at backchannel",
            Place::Userinfo => "token at userinfo",
            Place::Introspection => "token introspected",
            Place::Exchange => "token exchanged",
        }
    }

    fn kinds(&self) -> &'static [&'static str] {
        match self.place {
            // Only its own client's will do there.
            Place::HintAtBackchannel => &[],
            Place::HintAtAuthorize | Place::HintAtLogout => &["ID token"],
            Place::Userinfo | Place::Exchange => &["access token"],
            Place::Introspection => &["access token", "bound access token", "refresh token"],
        }
    }

    fn now(&self) -> i64 {
        self.world.app.now()
    }

    fn signer(&self) -> &Signer {
        &self.signer
    }

    fn good(&self) -> (Value, Value) {
        (self.header.clone(), self.claims.clone())
    }

    fn reads(&self) -> &'static [&'static str] {
        match self.place {
            Place::HintAtAuthorize => &["iss", "sub"],
            Place::HintAtLogout | Place::HintAtBackchannel => &["iss", "sub", "aud"],
            Place::Introspection => &["iss", "sub", "exp", "iat", "jti", "client_id"],
            Place::Userinfo | Place::Exchange => &["iss", "sub", "aud", "exp", "iat", "jti", "client_id"],
        }
    }

    fn harmless(&self) -> Harmless {
        match self.place {
            Place::HintAtAuthorize => &[
                ONE_WHO_SIGNS,
                OTHER_CONTENT,
                ID_TYPE,
                ("nobody is signed in by that name, so somebody may sign in", ANY_SUB),
            ],
            Place::HintAtBackchannel => &[ONE_WHO_SIGNS, OTHER_CONTENT, ID_TYPE],
            Place::HintAtLogout => &[
                ONE_WHO_SIGNS,
                OTHER_CONTENT,
                ID_TYPE,
                ("whose session it is says the sid", ANY_SUB),
            ],
            Place::Userinfo => &[
                ONE_WHO_SIGNS,
                OTHER_CONTENT,
                ACCESS_TYPE,
                ISSUED,
                ANY_ID,
                (
                    "RFC 9068 §2.2: a token may be for several",
                    &["aud in a list", "aud beside another"],
                ),
            ],
            Place::Introspection => &[
                ONE_WHO_SIGNS,
                OTHER_CONTENT,
                ACCESS_TYPE,
                ISSUED,
                ANY_ID,
                ("people are not looked up: their end is told by revocation", ANY_SUB),
            ],
            Place::Exchange => &[
                ONE_WHO_SIGNS,
                OTHER_CONTENT,
                ACCESS_TYPE,
                ISSUED,
                (
                    "an id is whatever the provider gave it, as long as it names a grant",
                    &["jti with a slash", "jti in another case", "jti with a space"],
                ),
                (
                    "whoever the provider made it for, the new one is for nobody else",
                    &[
                        "aud of another",
                        "aud in a list",
                        "aud beside another",
                        "aud a list of another",
                        "aud with a slash",
                        "aud in another case",
                    ],
                ),
            ],
        }
    }

    fn is_single_use(&self) -> bool {
        false
    }

    async fn present(&self, token: &str) -> Option<Reply> {
        let app = &self.world.app;
        match self.place {
            Place::HintAtAuthorize => Some(app.get(&OWN.ask().with("id_token_hint", token).path()).await),
            Place::HintAtLogout => {
                let form = fields([
                    ("id_token_hint", token),
                    ("post_logout_redirect_uri", "https://web.example/"),
                ]);
                Some(app.get(&format!("/connect/logout?{}", form.encode())).await)
            }
            Place::HintAtBackchannel => {
                let form = fields([("scope", "openid"), ("id_token_hint", token)]);
                Some(app.ask(DESK, &form).await)
            }
            Place::Userinfo => {
                let call = app.call(Method::GET, "/userinfo");
                Some(
                    in_header(call, "authorization", &format!("Bearer {token}"))?
                        .send()
                        .await,
                )
            }
            Place::Introspection => Some(app.introspect(RESOURCE_SERVER, token).await),
            Place::Exchange => Some(app.token(EXCHANGER, &exchange(token)).await),
        }
    }

    fn judge(&self, reply: &Reply, is_good: bool) -> Result<(), String> {
        match self.place {
            Place::HintAtAuthorize => of(Voice::Authorize, &["invalid_request"], reply, is_good),
            Place::HintAtLogout => of(Voice::Page, &["invalid_request"], reply, is_good),
            Place::HintAtBackchannel => of(Voice::Json, &["invalid_request", "unknown_user_id"], reply, is_good),
            Place::Userinfo => of(Voice::Bearer, &["invalid_token", "none"], reply, is_good),
            Place::Exchange => of(Voice::Json, &["invalid_request"], reply, is_good),
            // RFC 7662 §2.2: what is no good token is no error either.
            Place::Introspection => {
                of(Voice::Json, &[], reply, true)?;
                let told = reply.body.starts_with(br#"{"active":true"#);
                match told == is_good {
                    true => Ok(()),
                    false => Err(reply.text()),
                }
            }
        }
    }
}

pub(super) fn exchange(token: &str) -> Fields {
    fields([
        ("grant_type", "urn:ietf:params:oauth:grant-type:token-exchange"),
        ("subject_token", token),
        ("subject_token_type", "urn:ietf:params:oauth:token-type:access_token"),
    ])
}

/// Request objects (RFC 9101).
pub(super) struct RequestObject<'a> {
    pub(super) world: &'a World,
    pub(super) signer: Signer,
}

impl Reader for RequestObject<'_> {
    fn name(&self) -> &'static str {
        "request object"
    }

    fn kinds(&self) -> &'static [&'static str] {
        &["request object"]
    }

    fn now(&self) -> i64 {
        self.world.app.now()
    }

    fn signer(&self) -> &Signer {
        &self.signer
    }

    fn good(&self) -> (Value, Value) {
        let header = json!({"alg": "ES256", "kid": "k1", "typ": "oauth-authz-req+jwt"});
        (header, self.world.request_claims())
    }

    fn reads(&self) -> &'static [&'static str] {
        &["iss", "aud", "exp", "nbf", "iat", "client_id"]
    }

    fn harmless(&self) -> Harmless {
        &[
            ONE_WHO_SIGNS,
            (
                OTHER_CONTENT.0,
                &[
                    "hostile names",
                    "100 lists deep",
                    "300 other claims",
                    "claims after a space",
                ],
            ),
            ("a client of one key need not name it", &["no kid"]),
            (
                "OpenID Connect Core §6.1: objects of before RFC 9101 say nothing of their kind",
                &["typ missing", "typ JWT", "typ jwt", "typ application/jwt"],
            ),
            (
                "RFC 9101 §5.2: one of several readers may be this one",
                &["aud in a list", "aud beside another"],
            ),
            (
                "RFC 9101 §4: times need not be there; those that are must hold",
                &[
                    "exp missing",
                    "nbf missing",
                    "iat missing",
                    "exp future",
                    "exp far future",
                    "exp the largest",
                    "exp beyond the largest",
                    "exp beyond every clock",
                    "nbf past",
                    "nbf zero",
                    "nbf negative",
                    "nbf the smallest",
                    "nbf before every clock",
                    "iat past",
                    "iat zero",
                    "iat negative",
                    "iat the smallest",
                    "iat before every clock",
                ],
            ),
        ]
    }

    fn is_single_use(&self) -> bool {
        false
    }

    async fn present(&self, token: &str) -> Option<Reply> {
        let ask = KEYED.ask().with("request", token);
        let query = ask.fields.encode();
        // By POST with a cookie, as the address would be too long for some of them; the cookie says that this is no strangers' form.
        let call = self
            .world
            .app
            .call(Method::POST, "/oauth2/authorize")
            .header("cookie", "hexgate_session=x");
        Some(call.raw("application/x-www-form-urlencoded", query).send().await)
    }

    fn judge(&self, reply: &Reply, is_good: bool) -> Result<(), String> {
        of(Voice::Authorize, &["invalid_request_object"], reply, is_good)
    }
}

/// The parts of a token that was issued.
pub(super) fn parts_of(token: &str) -> (Value, Value) {
    use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
    let payload = token.split('.').nth(1).unwrap();
    let claims = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(payload).unwrap()).unwrap();
    (header_of(token), claims)
}

pub(super) async fn provider(app: &TestApp, header: &Value) -> Signer {
    let alg = SigningAlg::from_wire(header["alg"].as_str().unwrap()).unwrap();
    Signer::Key(Box::new(app.provider_key(alg).await))
}
