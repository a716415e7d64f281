//! JOSE vocabulary (RFC 7518, RFC 8037).

use serde::{Deserialize, Serialize};

use crate::grant::wire_enum;

wire_enum! {
    /// Signature algorithms that are accepted at all. `none` and the symmetric ones are not among them.
    SigningAlg {
        Rs256 = "RS256",
        Ps256 = "PS256",
        Es256 = "ES256",
        EdDsa = "EdDSA",
    }
}

impl SigningAlg {
    /// What this version signs with.
    pub const ISSUED: [Self; 2] = [Self::Rs256, Self::Es256];

    /// The algorithms that a key of this type (and curve) may verify: the key decides, never a token's header.
    pub fn allowed_for(kty: &str, crv: Option<&str>) -> &'static [Self] {
        match (kty, crv) {
            ("RSA", _) => &[Self::Rs256, Self::Ps256],
            ("EC", Some("P-256")) => &[Self::Es256],
            ("OKP", Some("Ed25519")) => &[Self::EdDsa],
            _ => &[],
        }
    }
}
