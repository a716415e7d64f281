//! Assertions that a client signs with its secret (`client_secret_jwt`, OpenID Connect Core §9).

use oauth_wire::HmacAlg;
use openssl::{error::ErrorStack, hash::MessageDigest, memcmp, pkey::PKey, sign::Signer};

use crate::jwt::{ForeignJwt, Parts, VerifyError};

/// Verifies a compact JWS that was signed with a shared secret (RFC 7518 §3.2). `allowed` comes from the client's registration. It is a
/// function of its own, so that no public key is ever taken for a secret. Claims are the caller's to check.
///
/// # Errors
/// [`VerifyError`]; [`VerifyError::ShortSecret`] when the secret has fewer octets than the hash.
pub fn verify_hmac(token: &str, secret: &[u8], allowed: &[HmacAlg]) -> Result<ForeignJwt, VerifyError> {
    let parts = Parts::of(token)?;
    let alg = HmacAlg::from_wire(&parts.alg)
        .filter(|alg| allowed.contains(alg))
        .ok_or(VerifyError::AlgorithmNotAllowed)?;
    let hash = match alg {
        HmacAlg::Hs256 => MessageDigest::sha256(),
        HmacAlg::Hs384 => MessageDigest::sha384(),
        HmacAlg::Hs512 => MessageDigest::sha512(),
    };
    // RFC 7518 §3.2: a key of the hash's size or larger.
    if secret.len() < hash.size() {
        return Err(VerifyError::ShortSecret);
    }
    let wanted = mac(hash, secret, parts.signed.as_bytes()).map_err(|_| VerifyError::BadSignature)?;
    // In constant time: the comparison must not tell how much of a guess is right.
    if wanted.len() != parts.signature.len() || !memcmp::eq(&wanted, &parts.signature) {
        return Err(VerifyError::BadSignature);
    }
    parts.verified(alg.as_str())
}

fn mac(hash: MessageDigest, secret: &[u8], signed: &[u8]) -> Result<Vec<u8>, ErrorStack> {
    let key = PKey::hmac(secret)?;
    Signer::new(hash, &key)?.sign_oneshot_to_vec(signed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
    use proptest::prelude::*;

    // RFC 7515 appendix A.1.
    const SECRET: &str = "AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr_T-1qS0gZH75aKtMN3Yj0iPS4hcgUuTwjAzZr1Z9CAow";
    const TOKEN: &str = "eyJ0eXAiOiJKV1QiLA0KICJhbGciOiJIUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ.dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";

    fn secret() -> Vec<u8> {
        URL_SAFE_NO_PAD.decode(SECRET).unwrap()
    }

    fn signed(alg: &str, hash: MessageDigest, secret: &[u8]) -> String {
        let header = URL_SAFE_NO_PAD.encode(format!(r#"{{"alg":"{alg}"}}"#));
        let signed = format!("{header}.{}", URL_SAFE_NO_PAD.encode(r#"{"iss":"c"}"#));
        let mac = mac(hash, secret, signed.as_bytes()).unwrap();
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(mac))
    }

    #[test]
    fn the_example_of_rfc_7515_holds_and_only_for_its_own_secret() {
        let jwt = verify_hmac(TOKEN, &secret(), &[HmacAlg::Hs256]).unwrap();
        assert_eq!((jwt.alg, &jwt.claims["iss"]), ("HS256", &"joe".into()));
        assert!(jwt.is_typ("JWT"));
        let mut other = secret();
        other[0] ^= 1;
        let reason = |token: &str, secret: &[u8], allowed: &[HmacAlg]| verify_hmac(token, secret, allowed).unwrap_err();
        assert_eq!(reason(TOKEN, &other, &[HmacAlg::Hs256]), VerifyError::BadSignature);
        assert_eq!(
            reason(TOKEN, &secret()[..31], &[HmacAlg::Hs256]),
            VerifyError::ShortSecret
        );
        assert_eq!(
            reason(TOKEN, &secret(), &[HmacAlg::Hs512]),
            VerifyError::AlgorithmNotAllowed
        );
        assert_eq!(reason(TOKEN, &secret(), &[]), VerifyError::AlgorithmNotAllowed);
        let (signed, signature) = TOKEN.rsplit_once('.').unwrap();
        assert_eq!(
            reason(&format!("{signed}."), &secret(), &[HmacAlg::Hs256]),
            VerifyError::BadSignature
        );
        let cut = format!("{signed}.{}", &signature[..40]);
        assert_eq!(reason(&cut, &secret(), &[HmacAlg::Hs256]), VerifyError::BadSignature);
    }

    #[test]
    fn a_secret_is_at_least_as_long_as_the_hash() {
        for (alg, hash, octets) in [
            (HmacAlg::Hs256, MessageDigest::sha256(), 32),
            (HmacAlg::Hs384, MessageDigest::sha384(), 48),
            (HmacAlg::Hs512, MessageDigest::sha512(), 64),
        ] {
            let secret = vec![7; octets];
            let token = signed(alg.as_str(), hash, &secret);
            assert_eq!(verify_hmac(&token, &secret, HmacAlg::ALL).unwrap().alg, alg.as_str());
            let short = &secret[1..];
            let token = signed(alg.as_str(), hash, short);
            assert_eq!(
                verify_hmac(&token, short, HmacAlg::ALL).unwrap_err(),
                VerifyError::ShortSecret
            );
        }
    }

    proptest! {
        #[test]
        fn no_token_panics(token in "\\PC{0,80}|[A-Za-z0-9_-]{0,30}\\.[A-Za-z0-9_-]{0,30}\\.[A-Za-z0-9_-]{0,30}") {
            prop_assert!(verify_hmac(&token, &secret(), HmacAlg::ALL).is_err());
        }
    }
}
