//! JOSE vocabulary (RFC 7518, RFC 8037).

use serde::{Deserialize, Serialize};

use crate::grant::wire_enum;

wire_enum! {
    /// Asymmetric signature algorithms that are accepted at all. `none` and the symmetric ones are not among them.
    SigningAlg {
        Rs256 = "RS256",
        Ps256 = "PS256",
        Es256 = "ES256",
        /// With Ed25519 only (RFC 8037 §3.1); Ed448 is not offered.
        EdDsa = "EdDSA",
        Rs384 = "RS384",
        Rs512 = "RS512",
        Ps384 = "PS384",
        Ps512 = "PS512",
        Es384 = "ES384",
        Es512 = "ES512",
    }
}

wire_enum! {
    /// Symmetric signature algorithms (RFC 7518 §3.2): for assertions that a client signs with its secret, and nothing else.
    HmacAlg { Hs256 = "HS256", Hs384 = "HS384", Hs512 = "HS512" }
}

wire_enum! {
    /// How the content key of an encrypted token is given to its reader (RFC 7518 §4.1). `RSA1_5` is not among them, since it can be
    /// attacked by padding oracles, and neither are the symmetric ones.
    JweAlg {
        RsaOaep = "RSA-OAEP",
        RsaOaep256 = "RSA-OAEP-256",
        EcdhEs = "ECDH-ES",
        EcdhEsA128Kw = "ECDH-ES+A128KW",
        EcdhEsA256Kw = "ECDH-ES+A256KW",
    }
}

wire_enum! {
    /// How the content of an encrypted token is encrypted (RFC 7518 §5.1).
    JweEnc {
        A128CbcHs256 = "A128CBC-HS256",
        A256CbcHs512 = "A256CBC-HS512",
        A128Gcm = "A128GCM",
        A256Gcm = "A256GCM",
    }
}

impl SigningAlg {
    /// What this version signs with.
    pub const ISSUED: [Self; 4] = [Self::Rs256, Self::Ps256, Self::Es256, Self::EdDsa];

    /// What a DPoP proof may be signed with (RFC 9449 §5.1): FAPI 2.0 §5.4.1 knows PS256, ES256 and EdDSA, and their longer kin are
    /// no weaker. PKCS #1 v1.5 is not among them.
    pub const DPOP: [Self; 7] = [
        Self::Ps256,
        Self::Es256,
        Self::EdDsa,
        Self::Ps384,
        Self::Ps512,
        Self::Es384,
        Self::Es512,
    ];

    /// The algorithms that a key of this type (and curve) may verify: the key decides, never a token's header.
    pub fn allowed_for(kty: &str, crv: Option<&str>) -> &'static [Self] {
        match (kty, crv) {
            ("RSA", _) => &[
                Self::Rs256,
                Self::Ps256,
                Self::Rs384,
                Self::Rs512,
                Self::Ps384,
                Self::Ps512,
            ],
            ("EC", Some("P-256")) => &[Self::Es256],
            ("EC", Some("P-384")) => &[Self::Es384],
            ("EC", Some("P-521")) => &[Self::Es512],
            ("OKP", Some("Ed25519")) => &[Self::EdDsa],
            _ => &[],
        }
    }

    /// A list of names for a sentence: `RS256, PS256 or ES256`.
    pub fn listed(algs: &[Self]) -> String {
        let names: Vec<&str> = algs.iter().map(|alg| alg.as_str()).collect();
        match names.split_last() {
            Some((last, [])) => (*last).to_owned(),
            Some((last, rest)) => format!("{} or {last}", rest.join(", ")),
            None => String::new(),
        }
    }
}

impl JweAlg {
    /// Tells whether a key of this type (and curve) can be encrypted to by this algorithm (RFC 7518 §4.1, RFC 8037 §3.2).
    pub fn fits(self, kty: &str, crv: Option<&str>) -> bool {
        match self {
            Self::RsaOaep | Self::RsaOaep256 => kty == "RSA",
            Self::EcdhEs | Self::EcdhEsA128Kw | Self::EcdhEsA256Kw => matches!(
                (kty, crv),
                ("EC", Some("P-256" | "P-384" | "P-521")) | ("OKP", Some("X25519"))
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_word_is_read_back() {
        assert!(
            SigningAlg::ALL
                .iter()
                .all(|one| SigningAlg::from_wire(one.as_str()) == Some(*one))
        );
        assert!(
            HmacAlg::ALL
                .iter()
                .all(|one| HmacAlg::from_wire(one.as_str()) == Some(*one))
        );
        assert!(
            JweAlg::ALL
                .iter()
                .all(|one| JweAlg::from_wire(one.as_str()) == Some(*one))
        );
        assert!(
            JweEnc::ALL
                .iter()
                .all(|one| JweEnc::from_wire(one.as_str()) == Some(*one))
        );
    }

    #[test]
    fn no_weak_word_is_known() {
        for word in ["none", "None", "HS256", "rs256", "RSA1_5", "dir", ""] {
            assert_eq!(SigningAlg::from_wire(word), None, "{word}");
            assert_eq!(JweAlg::from_wire(word), None, "{word}");
        }
        assert!(!SigningAlg::DPOP.iter().any(|alg| alg.as_str().starts_with("RS")));
    }

    #[test]
    fn a_list_reads_like_a_sentence() {
        assert_eq!(SigningAlg::listed(&SigningAlg::ISSUED), "RS256, PS256, ES256 or EdDSA");
        assert_eq!(SigningAlg::listed(&[SigningAlg::Es256]), "ES256");
        assert_eq!(SigningAlg::listed(&[]), "");
    }
}
