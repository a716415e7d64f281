//! Who and what exists in the standard world, and what they send.

use form_urlencoded::Serializer;

use super::ISSUER;

/// PKCE as in RFC 7636 appendix B.
pub(crate) const VERIFIER: &str = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
pub(crate) const CHALLENGE: &str = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM";
pub(crate) const STATE: &str = "state-4711";
pub(crate) const NONCE: &str = "nonce-4711";

/// An application, and what it asks for when a test says nothing else.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TestClient {
    pub(crate) id: &'static str,
    pub(crate) secret: Option<&'static str>,
    pub(crate) redirect_uri: &'static str,
    pub(crate) scope: &'static str,
}

/// A third-party application with a secret.
pub(crate) const WEB: TestClient = TestClient {
    id: "web",
    secret: Some("web-secret-5f0c"),
    redirect_uri: "https://web.example/callback",
    scope: "openid profile ai:chat",
};
/// A single-page application.
pub(crate) const SPA: TestClient = TestClient {
    id: "spa",
    secret: None,
    redirect_uri: "https://spa.example/cb",
    scope: "openid profile",
};
/// An application on a person's own machine.
pub(crate) const NATIVE: TestClient = TestClient {
    id: "native",
    secret: None,
    redirect_uri: "http://127.0.0.1/cb",
    scope: "openid",
};
/// The operator's own application: no consent page.
pub(crate) const OWN: TestClient = TestClient {
    id: "own",
    secret: Some("own-secret-77a1"),
    redirect_uri: "https://own.example/cb",
    scope: "openid profile email",
};
/// The operator's console: may use the password grant.
pub(crate) const CONSOLE: TestClient = TestClient {
    id: "console",
    secret: None,
    redirect_uri: "",
    scope: "openid profile admin",
};
/// A machine.
pub(crate) const SERVICE: TestClient = TestClient {
    id: "service",
    secret: Some("service-secret-1b2c"),
    redirect_uri: "",
    scope: "ai:chat",
};
/// An API that may introspect anything.
pub(crate) const RESOURCE_SERVER: TestClient = TestClient {
    id: "resource_server",
    secret: Some("resource-secret-9d3e"),
    redirect_uri: "",
    scope: "",
};
/// A machine that may do nothing.
pub(crate) const NOBODY: TestClient = TestClient {
    id: "nobody",
    secret: Some("nobody-secret-0000"),
    redirect_uri: "",
    scope: "",
};
/// Another installation's gateway.
pub(crate) const RECEIVER: TestClient = TestClient {
    id: "receiver",
    secret: Some("receiver-secret-3c3c"),
    redirect_uri: "",
    scope: "",
};
/// A confidential application that cannot do PKCE, and wants other algorithms.
pub(crate) const LEGACY: TestClient = TestClient {
    id: "legacy",
    secret: Some("legacy-secret-8e8e"),
    redirect_uri: "https://legacy.example/cb?tenant=1",
    scope: "openid",
};
/// An application of another tenant.
pub(crate) const ELSEWHERE: TestClient = TestClient {
    id: "elsewhere",
    secret: Some("elsewhere-secret-6d6d"),
    redirect_uri: "https://elsewhere.example/cb",
    scope: "openid",
};

/// A television: public, and without a browser of its own.
pub(crate) const TV: TestClient = TestClient {
    id: "tv",
    secret: None,
    redirect_uri: "",
    scope: "openid profile ai:chat",
};
/// A console of the operator's, with a secret, without refresh tokens.
pub(crate) const KIOSK: TestClient = TestClient {
    id: "kiosk",
    secret: Some("kiosk-secret-2a2a"),
    redirect_uri: "",
    scope: "openid",
};

/// A bank, whose people confirm on a device of their own what they have begun at its counter.
pub(crate) const BANK: TestClient = TestClient {
    id: "bank",
    secret: Some("bank-secret-4b4b"),
    redirect_uri: "",
    scope: "openid profile ai:chat",
};
/// The operator's own help desk: needs no consent elsewhere, gets no refresh tokens.
pub(crate) const DESK: TestClient = TestClient {
    id: "desk",
    secret: Some("desk-secret-6d6d"),
    redirect_uri: "",
    scope: "openid",
};

/// A person.
#[derive(Debug, Clone, Copy)]
pub(crate) struct TestUser {
    pub(crate) name: &'static str,
    pub(crate) password: &'static str,
    pub(crate) sub: &'static str,
    pub(crate) tenant: &'static str,
}

pub(crate) const ALICE: TestUser = TestUser {
    name: "alice",
    password: "correct horse battery staple",
    sub: "user-alice",
    tenant: "default",
};
pub(crate) const BOB: TestUser = TestUser {
    name: "bob",
    password: "tr0ub4dor&3",
    sub: "user-bob",
    tenant: "default",
};
pub(crate) const ADMIN: TestUser = TestUser {
    name: "root",
    password: "toor toor toor",
    sub: "user-root",
    tenant: "default",
};
/// The other tenant has somebody with Alice's user name.
pub(crate) const OTHER_ALICE: TestUser = TestUser {
    name: "alice",
    password: "another alice entirely",
    sub: "user-alice-2",
    tenant: "other",
};

pub(crate) const WORLD: &str = r#"
[[tenant]]
id = "other"
name = "Other"

[[role]]
name = "administrator"
permissions = ["users:write", "clients:write"]

[[client]]
client_id = "web"
client_secret = "web-secret-5f0c"
client_name = "Web application"
redirect_uris = ["https://web.example/callback", "https://web.example/second"]
post_logout_redirect_uris = ["https://web.example/", "https://web.example/bye?from=op"]
grant_types = ["authorization_code", "refresh_token"]
scope = "openid profile email phone address offline_access ai:chat ai:embeddings"
logo_uri = "https://cdn.web.example/logo.png"
policy_uri = "https://web.example/policy"
tos_uri = "https://web.example/terms"

[[client]]
client_id = "spa"
client_name = "Single-page application"
redirect_uris = ["https://spa.example/cb"]
post_logout_redirect_uris = ["https://spa.example/"]
grant_types = ["authorization_code", "refresh_token"]
scope = "openid profile offline_access ai:chat"
token_endpoint_auth_method = "none"

[[client]]
client_id = "native"
redirect_uris = ["http://127.0.0.1/cb", "http://[::1]/cb", "com.example.app:/cb"]
scope = "openid"
token_endpoint_auth_method = "none"

[[client]]
client_id = "own"
client_secret = "own-secret-77a1"
redirect_uris = ["https://own.example/cb"]
grant_types = ["authorization_code", "refresh_token"]
scope = "openid profile email admin"
token_endpoint_auth_method = "client_secret_post"
auto_approve = true

[[client]]
client_id = "console"
grant_types = ["password", "refresh_token"]
response_types = []
scope = "openid profile offline_access admin"
token_endpoint_auth_method = "none"
first_party = true
auto_approve = true

[[client]]
client_id = "service"
client_secret = "service-secret-1b2c"
grant_types = ["client_credentials"]
response_types = []
scope = "ai:chat ai:embeddings"
ai_interfaces = ["support"]
access_token_ttl = 120

[[client]]
client_id = "resource_server"
client_secret = "resource-secret-9d3e"
grant_types = []
response_types = []
permissions = ["token:introspect"]

[[client]]
client_id = "nobody"
client_secret = "nobody-secret-0000"
grant_types = []
response_types = []

[[client]]
client_id = "receiver"
client_secret = "receiver-secret-3c3c"
grant_types = []
response_types = []
permissions = ["events:poll"]

[[client]]
client_id = "legacy"
client_secret = "legacy-secret-8e8e"
redirect_uris = ["https://legacy.example/cb?tenant=1"]
scope = "openid"
require_pkce = false
auto_approve = true
id_token_signed_response_alg = "ES256"
access_token_signing_alg = "RS256"

[[client]]
client_id = "elsewhere"
client_secret = "elsewhere-secret-6d6d"
tenant = "other"
redirect_uris = ["https://elsewhere.example/cb"]
scope = "openid"
auto_approve = true

[[client]]
client_id = "tv"
client_name = "Living-room TV"
grant_types = ["urn:ietf:params:oauth:grant-type:device_code", "refresh_token"]
response_types = []
scope = "openid profile offline_access ai:chat"
token_endpoint_auth_method = "none"

[[client]]
client_id = "kiosk"
client_secret = "kiosk-secret-2a2a"
grant_types = ["urn:ietf:params:oauth:grant-type:device_code"]
response_types = []
scope = "openid ai:chat"
auto_approve = true

[[client]]
client_id = "bank"
client_secret = "bank-secret-4b4b"
client_name = "Corner Bank"
grant_types = ["urn:openid:params:grant-type:ciba", "refresh_token"]
response_types = []
scope = "openid profile email offline_access ai:chat"
backchannel_token_delivery_mode = "poll"

[[client]]
client_id = "desk"
client_secret = "desk-secret-6d6d"
grant_types = ["urn:openid:params:grant-type:ciba"]
response_types = []
scope = "openid"
auto_approve = true
backchannel_token_delivery_mode = "poll"

[[user]]
sub = "user-alice"
username = "alice"
password = "correct horse battery staple"
name = "Alice Liddell"
given_name = "Alice"
family_name = "Liddell"
middle_name = "Pleasance"
nickname = "Ally"
preferred_username = "alice.l"
profile = "https://alice.example/profile"
picture = "https://alice.example/picture.png"
website = "https://alice.example/"
email = "alice@example.org"
email_verified = true
gender = "female"
birthdate = "1990-05-04"
zoneinfo = "Europe/London"
locale = "en-GB"
phone_number = "+44 20 7946 0000"
phone_number_verified = false
[user.address]
formatted = "1 River Bank\nOxford"
street_address = "1 River Bank"
locality = "Oxford"
region = "Oxfordshire"
postal_code = "OX1 1AA"
country = "United Kingdom"

[[user]]
sub = "user-bob"
username = "bob"
password = "tr0ub4dor&3"

[[user]]
sub = "user-root"
username = "root"
password = "toor toor toor"
roles = ["administrator"]

[[user]]
sub = "user-alice-2"
username = "alice"
tenant = "other"
password = "another alice entirely"
"#;

/// Parameters in the order in which they are sent.
#[derive(Debug, Clone, Default)]
pub(crate) struct Fields(Vec<(String, String)>);

pub(crate) fn fields<const N: usize>(pairs: [(&str, &str); N]) -> Fields {
    Fields(
        pairs
            .into_iter()
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect(),
    )
}

impl Fields {
    /// Sets a parameter.
    pub(crate) fn with(self, name: &str, value: &str) -> Self {
        self.without(name).and(name, value)
    }

    pub(crate) fn without(mut self, name: &str) -> Self {
        self.0.retain(|(known, _)| known != name);
        self
    }

    /// Adds a parameter, a second time if need be.
    pub(crate) fn and(mut self, name: &str, value: &str) -> Self {
        self.0.push((name.to_owned(), value.to_owned()));
        self
    }

    /// These and those.
    pub(crate) fn plus(mut self, more: &Self) -> Self {
        self.0.extend(more.0.iter().cloned());
        self
    }

    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.0
            .iter()
            .find(|(known, _)| known == name)
            .map(|(_, value)| value.as_str())
    }

    pub(crate) fn names(&self) -> Vec<String> {
        self.0.iter().map(|(name, _)| name.clone()).collect()
    }

    pub(crate) fn encode(&self) -> String {
        Serializer::new(String::new()).extend_pairs(&self.0).finish()
    }
}

/// An authorization request.
#[derive(Debug, Clone)]
pub(crate) struct Ask {
    pub(crate) client: TestClient,
    pub(crate) fields: Fields,
}

impl TestClient {
    /// A request with all that good clients send.
    pub(crate) fn ask(self) -> Ask {
        let fields = fields([
            ("response_type", "code"),
            ("client_id", self.id),
            ("redirect_uri", self.redirect_uri),
            ("scope", self.scope),
            ("state", STATE),
            ("nonce", NONCE),
            ("code_challenge", CHALLENGE),
            ("code_challenge_method", "S256"),
        ]);
        Ask { client: self, fields }
    }
}

impl Ask {
    pub(crate) fn with(self, name: &str, value: &str) -> Self {
        Self {
            fields: self.fields.with(name, value),
            ..self
        }
    }

    pub(crate) fn without(self, name: &str) -> Self {
        Self {
            fields: self.fields.without(name),
            ..self
        }
    }

    pub(crate) fn and(self, name: &str, value: &str) -> Self {
        Self {
            fields: self.fields.and(name, value),
            ..self
        }
    }

    pub(crate) fn path(&self) -> String {
        format!("/oauth2/authorize?{}", self.fields.encode())
    }
}

/// A code, with what belongs to its exchange.
#[derive(Debug, Clone)]
pub(crate) struct Code {
    pub(crate) value: String,
    pub(crate) client: TestClient,
    pub(crate) redirect_uri: String,
    pub(crate) has_challenge: bool,
}

impl Code {
    /// The exchange as the client sends it.
    pub(crate) fn form(&self) -> Fields {
        let form = fields([
            ("grant_type", "authorization_code"),
            ("code", &self.value),
            ("redirect_uri", &self.redirect_uri),
        ]);
        if self.has_challenge {
            form.with("code_verifier", VERIFIER)
        } else {
            form
        }
    }
}

pub(crate) fn refresh_form(token: &str) -> Fields {
    fields([("grant_type", "refresh_token"), ("refresh_token", token)])
}

/// An address that is not of this provider.
pub(crate) fn is_elsewhere(location: &str, issuer: &str) -> bool {
    !location.starts_with('/') && !location.starts_with(issuer) && !location.starts_with(ISSUER)
}
