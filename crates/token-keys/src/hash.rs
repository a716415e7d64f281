//! Hashes that bind one token to another.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use oauth_wire::SigningAlg;
use sha2::{Digest, Sha256, Sha384, Sha512};

/// `at_hash`, `c_hash` and `s_hash` of OpenID Connect Core §3.1.3.6 and §3.3.2.11: the base64url form of the left half of the hash
/// that belongs to the algorithm by which the ID token is signed. For Ed25519 that is the SHA-512 inside it (RFC 8032 §5.1).
pub fn left_half_hash(alg: SigningAlg, text: &str) -> String {
    use SigningAlg::{EdDsa, Es256, Es384, Es512, Ps256, Ps384, Ps512, Rs256, Rs384, Rs512};
    match alg {
        Rs256 | Ps256 | Es256 => left_half(&Sha256::digest(text.as_bytes())),
        Rs384 | Ps384 | Es384 => left_half(&Sha384::digest(text.as_bytes())),
        Rs512 | Ps512 | Es512 | EdDsa => left_half(&Sha512::digest(text.as_bytes())),
    }
}

fn left_half(digest: &[u8]) -> String {
    let (left, _) = digest.split_at(digest.len() / 2);
    URL_SAFE_NO_PAD.encode(left)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_left_half_is_of_the_hash_that_belongs_to_the_algorithm() {
        // Examples of OpenID Connect Core appendices A.3 (at_hash) and A.4 (c_hash).
        assert_eq!(
            left_half_hash(SigningAlg::Rs256, "jHkWEdUXMU1BwAsC4vtUsZwnNvTIxEl0z9K3vx5KF0Y"),
            "77QmUPtjPfzWtF2AnpK9RQ"
        );
        assert_eq!(
            left_half_hash(
                SigningAlg::Es256,
                "Qcb0Orv1zh30vL1MPRsbm-diHiMwcLyZvn1arpZv-Jxf_11jnpEX3Tgfvk"
            ),
            "LDktKdoQak3Pk0cnXxCltA"
        );
        for alg in SigningAlg::ALL {
            let octets = match alg.as_str() {
                "EdDSA" => 32,
                other if other.ends_with("512") => 32,
                other if other.ends_with("384") => 24,
                _ => 16,
            };
            let hash = URL_SAFE_NO_PAD.decode(left_half_hash(*alg, "x")).unwrap();
            assert_eq!(hash.len(), octets, "{}", alg.as_str());
        }
    }
}
