//! Grant types, response types, response modes, prompts.

use serde::{Deserialize, Serialize};

macro_rules! wire_enum {
    ($(#[$meta:meta])* $name:ident { $($(#[$vmeta:meta])* $variant:ident = $text:literal),+ $(,)? }) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        pub enum $name { $($(#[$vmeta])* #[serde(rename = $text)] $variant),+ }

        impl $name {
            /// Every value that is known.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// The word on the wire.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text),+ }
            }

            /// Reads the word on the wire.
            pub fn from_wire(text: &str) -> Option<Self> {
                match text { $($text => Some(Self::$variant),)+ _ => None }
            }
        }
    };
}
pub(crate) use wire_enum;

wire_enum! {
    /// `grant_type` values that this version issues tokens for.
    GrantType {
        AuthorizationCode = "authorization_code",
        RefreshToken = "refresh_token",
        ClientCredentials = "client_credentials",
        /// Not part of OAuth 2.1; first-party clients only.
        Password = "password",
        /// RFC 8628 §3.4.
        DeviceCode = "urn:ietf:params:oauth:grant-type:device_code",
        /// RFC 8693 §2.1.
        TokenExchange = "urn:ietf:params:oauth:grant-type:token-exchange",
        /// RFC 7523 §2.1.
        JwtBearer = "urn:ietf:params:oauth:grant-type:jwt-bearer",
        /// CIBA §10.1.
        Ciba = "urn:openid:params:grant-type:ciba",
    }
}

wire_enum! {
    /// `response_type` values. The implicit and hybrid flows are not offered.
    ResponseType { Code = "code" }
}

wire_enum! {
    /// `response_mode` values.
    ResponseMode {
        Query = "query",
        FormPost = "form_post",
        /// JARM §2.3: the default of the response type, in a JWT.
        Jwt = "jwt",
        QueryJwt = "query.jwt",
        FormPostJwt = "form_post.jwt",
    }
}

wire_enum! {
    /// `display` values (OpenID Connect Core §3.1.2.1).
    Display { Page = "page", Popup = "popup", Touch = "touch", Wap = "wap" }
}

wire_enum! {
    /// `prompt` values (OpenID Connect Core §3.1.2.1).
    Prompt { None = "none", Login = "login", Consent = "consent", SelectAccount = "select_account" }
}
