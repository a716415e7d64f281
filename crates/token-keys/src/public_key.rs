//! Public keys that others gave us, as JWKs (RFC 7517, RFC 7518 §6, RFC 8037 §2).

use std::fmt;

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use oauth_wire::SigningAlg;
use openssl::{
    bn::{BigNum, BigNumContext},
    ec::{EcGroup, EcKey, EcPoint},
    ecdsa::EcdsaSig,
    error::ErrorStack,
    hash::MessageDigest,
    nid::Nid,
    pkey::{Id, PKey, Public},
    rsa::{Padding, Rsa},
    sign::{RsaPssSaltlen, Verifier},
    x509::X509Ref,
};
use serde_json::{Map, Value};

use crate::pair::thumbprint;

/// RFC 7518 §3.3: 2048 bits at least. More than 8192 would let a client buy our time with its signatures.
const RSA_BITS: std::ops::RangeInclusive<i32> = 2048..=8192;

/// Public exponents in use have 17 bits; a long one makes every verification slow.
const MAX_EXPONENT_BITS: i32 = 64;

/// Members that only private keys have (RFC 7518 §6.2.2, §6.3.2; RFC 8037 §2). Whoever sends one has given the key away.
const PRIVATE_MEMBERS: &[&str] = &["d", "p", "q", "dp", "dq", "qi", "oth"];

/// Why a JWK cannot be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum KeyFault {
    #[error("the key is not a JSON object")]
    NotAnObject,
    #[error("the key's type or curve is not supported")]
    UnknownType,
    #[error("the key is symmetric")]
    Symmetric,
    #[error("the key holds private members")]
    Private,
    #[error("the key's member `{0}` is missing or malformed")]
    Member(&'static str),
    #[error("the RSA key must have 2048 to 8192 bits and an odd exponent of at most 64 bits")]
    RsaSize,
    #[error("the key is not a point on its curve")]
    NotOnCurve,
}

/// A sound public key. It was checked once and is ready to use.
#[derive(Clone)]
pub(crate) struct PublicKey {
    /// The members that make the key (RFC 7638 §3.2), and no others.
    members: Map<String, Value>,
    /// What it may verify: nothing, for a curve that signs nothing (X25519).
    algs: &'static [SigningAlg],
    pkey: PKey<Public>,
}

impl PublicKey {
    /// Reads a JWK. Members that say what a key is for (`use`, `alg`, `key_ops`) are the caller's to look at.
    pub(crate) fn from_jwk(jwk: &Map<String, Value>) -> Result<Self, KeyFault> {
        let kty = text(jwk, "kty")?;
        if kty == "oct" || jwk.contains_key("k") {
            return Err(KeyFault::Symmetric);
        }
        if PRIVATE_MEMBERS.iter().any(|name| jwk.contains_key(*name)) {
            return Err(KeyFault::Private);
        }
        let crv = match kty {
            "EC" | "OKP" => Some(text(jwk, "crv")?),
            _ => None,
        };
        let (pkey, names): (_, &[&str]) = match (kty, crv) {
            ("RSA", _) => (rsa(jwk)?, &["e", "kty", "n"]),
            ("EC", Some("P-256")) => (ec(jwk, Nid::X9_62_PRIME256V1, 32)?, &["crv", "kty", "x", "y"]),
            ("EC", Some("P-384")) => (ec(jwk, Nid::SECP384R1, 48)?, &["crv", "kty", "x", "y"]),
            ("EC", Some("P-521")) => (ec(jwk, Nid::SECP521R1, 66)?, &["crv", "kty", "x", "y"]),
            ("OKP", Some("Ed25519")) => (edwards(jwk, Id::ED25519)?, &["crv", "kty", "x"]),
            ("OKP", Some("X25519")) => (edwards(jwk, Id::X25519)?, &["crv", "kty", "x"]),
            _ => return Err(KeyFault::UnknownType),
        };
        let members = names
            .iter()
            .filter_map(|name| Some(((*name).to_owned(), jwk.get(*name)?.clone())))
            .collect();
        Ok(Self {
            members,
            algs: SigningAlg::allowed_for(kty, crv),
            pkey,
        })
    }

    /// The algorithms that this key may verify.
    pub(crate) fn algs(&self) -> &'static [SigningAlg] {
        self.algs
    }

    pub(crate) fn member(&self, name: &str) -> Option<&str> {
        self.members.get(name).and_then(Value::as_str)
    }

    pub(crate) fn pkey(&self) -> &PKey<Public> {
        &self.pkey
    }

    /// RFC 7638 thumbprint. The encodings were checked, so one key has one thumbprint.
    pub(crate) fn thumbprint(&self) -> Option<String> {
        thumbprint(&self.members)
    }

    /// Tells whether the certificate is of this key.
    pub(crate) fn is_key_of(&self, certificate: &X509Ref) -> bool {
        certificate
            .public_key()
            .is_ok_and(|certified| self.pkey.public_eq(&certified))
    }

    /// Tells whether a signature holds. An algorithm that does not fit the key verifies nothing.
    pub(crate) fn verifies(&self, alg: SigningAlg, signed: &[u8], signature: &[u8]) -> bool {
        self.algs.contains(&alg) && verify(&self.pkey, alg, signed, signature).unwrap_or(false)
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("PublicKey").field(&self.members).finish()
    }
}

fn text<'a>(jwk: &'a Map<String, Value>, name: &'static str) -> Result<&'a str, KeyFault> {
    jwk.get(name).and_then(Value::as_str).ok_or(KeyFault::Member(name))
}

/// The decoder is strict: no padding, no other alphabet, no stray bits at the end.
fn decoded(jwk: &Map<String, Value>, name: &'static str) -> Result<Vec<u8>, KeyFault> {
    URL_SAFE_NO_PAD
        .decode(text(jwk, name)?)
        .map_err(|_| KeyFault::Member(name))
}

/// RFC 7518 §2, Base64urlUInt: the fewest octets that hold the number.
fn number(jwk: &Map<String, Value>, name: &'static str) -> Result<BigNum, KeyFault> {
    let octets = decoded(jwk, name)?;
    if octets.first().is_none_or(|first| *first == 0) {
        return Err(KeyFault::Member(name));
    }
    BigNum::from_slice(&octets).map_err(|_| KeyFault::Member(name))
}

fn rsa(jwk: &Map<String, Value>) -> Result<PKey<Public>, KeyFault> {
    let (n, e) = (number(jwk, "n")?, number(jwk, "e")?);
    let exponent_is_sound = e.is_bit_set(0) && (2..=MAX_EXPONENT_BITS).contains(&e.num_bits());
    if !RSA_BITS.contains(&n.num_bits()) || !n.is_bit_set(0) || !exponent_is_sound {
        return Err(KeyFault::RsaSize);
    }
    Rsa::from_public_components(n, e)
        .and_then(PKey::from_rsa)
        .map_err(|_| KeyFault::Member("n"))
}

fn ec(jwk: &Map<String, Value>, curve: Nid, size: usize) -> Result<PKey<Public>, KeyFault> {
    let (x, y) = (decoded(jwk, "x")?, decoded(jwk, "y")?);
    // RFC 7518 §6.2.1.2: the full size of a coordinate, leading zeros included.
    if x.len() != size {
        return Err(KeyFault::Member("x"));
    }
    if y.len() != size {
        return Err(KeyFault::Member("y"));
    }
    // SEC 1 §2.3.3, uncompressed. OpenSSL reads a point only when it lies on the curve; the point at infinity has no such form.
    let encoded = [&[4], x.as_slice(), y.as_slice()].concat();
    let built = || -> Result<PKey<Public>, ErrorStack> {
        let group = EcGroup::from_curve_name(curve)?;
        let mut context = BigNumContext::new()?;
        let point = EcPoint::from_bytes(&group, &encoded, &mut context)?;
        PKey::from_ec_key(EcKey::from_public_key(&group, &point)?)
    };
    built().map_err(|_| KeyFault::NotOnCurve)
}

fn edwards(jwk: &Map<String, Value>, curve: Id) -> Result<PKey<Public>, KeyFault> {
    // OpenSSL takes 32 octets and no others. Both curves let every such string be read; one that is no point verifies nothing.
    PKey::public_key_from_raw_bytes(&decoded(jwk, "x")?, curve).map_err(|_| KeyFault::Member("x"))
}

fn verify(key: &PKey<Public>, alg: SigningAlg, signed: &[u8], signature: &[u8]) -> Result<bool, ErrorStack> {
    use SigningAlg::{EdDsa, Es256, Es384, Es512, Ps256, Ps384, Ps512, Rs256, Rs384, Rs512};
    let hash = match alg {
        Rs256 | Ps256 | Es256 => MessageDigest::sha256(),
        Rs384 | Ps384 | Es384 => MessageDigest::sha384(),
        Rs512 | Ps512 | Es512 => MessageDigest::sha512(),
        EdDsa => return Verifier::new_without_digest(key)?.verify_oneshot(signature, signed),
    };
    let mut verifier = Verifier::new(hash, key)?;
    match alg {
        Ps256 | Ps384 | Ps512 => {
            // RFC 7518 §3.5: the hash is also MGF1's, and the salt is as long as the hash.
            verifier.set_rsa_padding(Padding::PKCS1_PSS)?;
            verifier.set_rsa_mgf1_md(hash)?;
            verifier.set_rsa_pss_saltlen(RsaPssSaltlen::DIGEST_LENGTH)?;
        }
        Es256 => return verifier.verify_oneshot(&der_of::<32>(signature)?, signed),
        Es384 => return verifier.verify_oneshot(&der_of::<48>(signature)?, signed),
        Es512 => return verifier.verify_oneshot(&der_of::<66>(signature)?, signed),
        EdDsa | Rs256 | Rs384 | Rs512 => {}
    }
    verifier.verify_oneshot(signature, signed)
}

/// RFC 7518 §3.4: R and S side by side, each at its full size `N`; OpenSSL wants them in DER. A signature of another length is none.
fn der_of<const N: usize>(signature: &[u8]) -> Result<Vec<u8>, ErrorStack> {
    match signature.split_at_checked(N) {
        Some((r, s)) if s.len() == N => {
            EcdsaSig::from_private_components(BigNum::from_slice(r)?, BigNum::from_slice(s)?)?.to_der()
        }
        _ => Ok(Vec::new()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn read(jwk: &Value) -> Result<PublicKey, KeyFault> {
        PublicKey::from_jwk(jwk.as_object().unwrap())
    }

    fn with(jwk: &Value, name: &str, value: Value) -> Value {
        let mut jwk = jwk.clone();
        jwk[name] = value;
        jwk
    }

    fn p256() -> Value {
        // RFC 7515 appendix A.3.
        json!({
            "kty": "EC", "crv": "P-256",
            "x": "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU",
            "y": "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0",
        })
    }

    #[test]
    fn the_es256_example_of_rfc_7515_holds_and_a_changed_one_does_not() {
        let key = read(&p256()).unwrap();
        let signed = b"eyJhbGciOiJFUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ";
        let text = "DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q";
        let mut signature = URL_SAFE_NO_PAD.decode(text).unwrap();
        assert!(key.verifies(SigningAlg::Es256, signed, &signature));
        assert!(!key.verifies(SigningAlg::Es384, signed, &signature));
        assert!(!key.verifies(SigningAlg::Rs256, signed, &signature));
        assert!(!key.verifies(SigningAlg::Es256, signed, &[0; 64]));
        assert!(!key.verifies(SigningAlg::Es256, signed, &signature[..63]));
        assert!(!key.verifies(SigningAlg::Es256, signed, &[&signature[..], &[0]].concat()));
        signature[0] ^= 1;
        assert!(!key.verifies(SigningAlg::Es256, signed, &signature));
    }

    #[test]
    fn the_ed25519_example_of_rfc_8037_holds() {
        let jwk = json!({"kty": "OKP", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"});
        let key = read(&jwk).unwrap();
        // Appendix A.3 and A.5.
        assert_eq!(key.thumbprint().unwrap(), "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k");
        let signed = b"eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc";
        let text = "hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg";
        let signature = URL_SAFE_NO_PAD.decode(text).unwrap();
        assert!(key.verifies(SigningAlg::EdDsa, signed, &signature));
        assert!(!key.verifies(SigningAlg::EdDsa, b"other", &signature));
        assert!(!key.verifies(SigningAlg::Es256, signed, &signature));
    }

    #[test]
    fn a_key_that_is_not_whole_and_sound_is_refused_with_its_reason() {
        let ec = p256();
        let shift = URL_SAFE_NO_PAD.encode(
            [
                &[0u8; 1][..],
                &URL_SAFE_NO_PAD.decode(ec["x"].as_str().unwrap()).unwrap(),
            ]
            .concat(),
        );
        let rsa = |n: &[u8], e: &str| json!({"kty": "RSA", "n": URL_SAFE_NO_PAD.encode(n), "e": e});
        let odd = |octets: usize| [&[0x80][..], &vec![0; octets - 2], &[1]].concat();
        for (jwk, fault) in [
            (json!({}), KeyFault::Member("kty")),
            (json!({"kty": 1}), KeyFault::Member("kty")),
            (json!({"kty": "XYZ"}), KeyFault::UnknownType),
            (json!({"kty": "oct", "k": "AAAA"}), KeyFault::Symmetric),
            (with(&ec, "k", json!("AAAA")), KeyFault::Symmetric),
            (with(&ec, "d", json!("AAAA")), KeyFault::Private),
            (with(&ec, "d", Value::Null), KeyFault::Private),
            (with(&ec, "crv", json!("P-257")), KeyFault::UnknownType),
            (with(&ec, "crv", json!("secp256k1")), KeyFault::UnknownType),
            (with(&ec, "crv", json!("P-384")), KeyFault::Member("x")),
            (with(&ec, "x", ec["y"].clone()), KeyFault::NotOnCurve),
            (with(&ec, "x", json!(shift)), KeyFault::Member("x")),
            (with(&ec, "y", json!("x_FE=")), KeyFault::Member("y")),
            (with(&ec, "y", Value::Null), KeyFault::Member("y")),
            (
                json!({"kty": "OKP", "crv": "Ed448", "x": "AAAA"}),
                KeyFault::UnknownType,
            ),
            (
                json!({"kty": "OKP", "crv": "Ed25519", "x": "AAAA"}),
                KeyFault::Member("x"),
            ),
            (
                json!({"kty": "OKP", "crv": "X25519", "x": "AAAA"}),
                KeyFault::Member("x"),
            ),
            (rsa(&odd(128), "AQAB"), KeyFault::RsaSize),
            (rsa(&[&[0x7f][..], &odd(255)].concat(), "AQAB"), KeyFault::RsaSize),
            (rsa(&odd(1025), "AQAB"), KeyFault::RsaSize),
            (rsa(&odd(256), "AQ"), KeyFault::RsaSize),
            (rsa(&odd(256), "Ag"), KeyFault::RsaSize),
            (rsa(&odd(256), "AQAAAAAAAAAB"), KeyFault::RsaSize),
            (rsa(&odd(256), "AAEAAQ"), KeyFault::Member("e")),
            (rsa(&[&[0][..], &odd(256)].concat(), "AQAB"), KeyFault::Member("n")),
        ] {
            assert_eq!(read(&jwk).unwrap_err(), fault, "{jwk}");
        }
        assert!(read(&rsa(&odd(256), "AQAB")).is_ok() && read(&rsa(&odd(1024), "Aw")).is_ok());
    }
}
