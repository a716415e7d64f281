//! Encryption to a client (RFC 7516, compact form). Nothing is decrypted here.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use oauth_wire::{JweAlg, JweEnc};
use openssl::{
    aes::{AesKey, wrap_key},
    bn::{BigNum, BigNumContext},
    derive::Deriver,
    ec::EcKey,
    encrypt::Encrypter,
    error::ErrorStack,
    hash::MessageDigest,
    pkey::{Id, PKey, Private, Public},
    rand::rand_bytes,
    rsa::Padding,
    sha::Sha256,
    sign::Signer,
    symm::{Cipher, encrypt as encrypt_cbc, encrypt_aead},
};
use serde_json::{Map, Value, json};
use zeroize::Zeroizing;

use crate::public_key::PublicKey;

/// Why nothing was encrypted.
#[derive(Debug, thiserror::Error)]
pub enum EncryptError {
    #[error("the client has no key for {0}")]
    NoKey(&'static str),
    #[error("OpenSSL refused: {0}")]
    OpenSsl(#[from] ErrorStack),
}

type Secret = Zeroizing<Vec<u8>>;

/// Encrypts to a key that fits the algorithm. `header` has `alg` and `enc` already.
pub(crate) fn encrypt(
    payload: &[u8],
    mut header: Map<String, Value>,
    key: &PublicKey,
    alg: JweAlg,
    enc: JweEnc,
) -> Result<String, ErrorStack> {
    let (content_key, encrypted_key) = match alg {
        JweAlg::RsaOaep => wrap_by_rsa(key.pkey(), MessageDigest::sha1(), enc)?,
        JweAlg::RsaOaep256 => wrap_by_rsa(key.pkey(), MessageDigest::sha256(), enc)?,
        // RFC 7518 §4.6: the agreed key is the content key, or wraps it.
        JweAlg::EcdhEs => {
            let agreed = agree(key, &mut header, enc.as_str(), content_key_size(enc))?;
            (agreed, Vec::new())
        }
        JweAlg::EcdhEsA128Kw => wrap_by_agreed_key(&agree(key, &mut header, alg.as_str(), 16)?, enc)?,
        JweAlg::EcdhEsA256Kw => wrap_by_agreed_key(&agree(key, &mut header, alg.as_str(), 32)?, enc)?,
    };
    let mut token = URL_SAFE_NO_PAD.encode(Value::Object(header).to_string());
    // RFC 7516 §5.1 step 14: what is authenticated besides is the header as it goes out.
    let sealed = seal(payload, token.as_bytes(), &content_key, enc)?;
    for part in [&encrypted_key, &sealed.nonce, &sealed.text, &sealed.tag] {
        token.push('.');
        URL_SAFE_NO_PAD.encode_string(part, &mut token);
    }
    Ok(token)
}

fn content_key_size(enc: JweEnc) -> usize {
    match enc {
        JweEnc::A128Gcm => 16,
        JweEnc::A256Gcm | JweEnc::A128CbcHs256 => 32,
        JweEnc::A256CbcHs512 => 64,
    }
}

fn random(octets: usize) -> Result<Vec<u8>, ErrorStack> {
    let mut random = vec![0; octets];
    rand_bytes(&mut random)?;
    Ok(random)
}

/// RFC 7518 §4.3: RSAES-OAEP, with one hash for both of its uses.
fn wrap_by_rsa(key: &PKey<Public>, hash: MessageDigest, enc: JweEnc) -> Result<(Secret, Vec<u8>), ErrorStack> {
    let content_key = Zeroizing::new(random(content_key_size(enc))?);
    let mut encrypter = Encrypter::new(key)?;
    encrypter.set_rsa_padding(Padding::PKCS1_OAEP)?;
    encrypter.set_rsa_oaep_md(hash)?;
    encrypter.set_rsa_mgf1_md(hash)?;
    let mut wrapped = vec![0; encrypter.encrypt_len(&content_key)?];
    let length = encrypter.encrypt(&content_key, &mut wrapped)?;
    wrapped.truncate(length);
    Ok((content_key, wrapped))
}

/// RFC 7518 §4.4 (RFC 3394).
fn wrap_by_agreed_key(agreed: &[u8], enc: JweEnc) -> Result<(Secret, Vec<u8>), ErrorStack> {
    let content_key = Zeroizing::new(random(content_key_size(enc))?);
    let mut wrapped = vec![0; content_key.len() + 8];
    // Both fail only for sizes that the callers above never ask for; OpenSSL then says nothing on its stack.
    let key = AesKey::new_encrypt(agreed).map_err(|_| ErrorStack::get())?;
    wrap_key(&key, None, &mut wrapped, &content_key).map_err(|_| ErrorStack::get())?;
    Ok((content_key, wrapped))
}

/// RFC 7518 §4.6: agrees on a key with a key pair made for this one message, whose public half goes into the header as `epk`.
fn agree(key: &PublicKey, header: &mut Map<String, Value>, purpose: &str, octets: usize) -> Result<Secret, ErrorStack> {
    let (ephemeral, epk) = ephemeral_for(key)?;
    header.insert("epk".into(), epk);
    let mut deriver = Deriver::new(&ephemeral)?;
    deriver.set_peer(key.pkey())?;
    let agreed = Zeroizing::new(deriver.derive_to_vec()?);
    // We name no parties, neither here nor by `apu` and `apv` in the header.
    Ok(concat_kdf(&agreed, purpose, [b"", b""], octets))
}

fn ephemeral_for(key: &PublicKey) -> Result<(PKey<Private>, Value), ErrorStack> {
    let curve = key.member("crv");
    if key.pkey().id() == Id::X25519 {
        let ephemeral = PKey::generate_x25519()?;
        let x = URL_SAFE_NO_PAD.encode(ephemeral.raw_public_key()?);
        return Ok((ephemeral, json!({"kty": "OKP", "crv": curve, "x": x})));
    }
    let peer = key.pkey().ec_key()?;
    let group = peer.group();
    let ephemeral = EcKey::generate(group)?;
    let (mut x, mut y, mut context) = (BigNum::new()?, BigNum::new()?, BigNumContext::new()?);
    ephemeral
        .public_key()
        .affine_coordinates(group, &mut x, &mut y, &mut context)?;
    // RFC 7518 §6.2.1.2: coordinates have the size of the curve's field.
    let size = i32::try_from(group.degree().div_ceil(8)).unwrap_or(i32::MAX);
    let padded = |number: &BigNum| Ok::<_, ErrorStack>(URL_SAFE_NO_PAD.encode(number.to_vec_padded(size)?));
    let epk = json!({"kty": "EC", "crv": curve, "x": padded(&x)?, "y": padded(&y)?});
    Ok((PKey::from_ec_key(ephemeral)?, epk))
}

/// RFC 7518 §4.6.2: the Concat KDF of NIST SP 800-56A with SHA-256.
fn concat_kdf(agreed: &[u8], purpose: &str, [sender, receiver]: [&[u8]; 2], octets: usize) -> Secret {
    let length = |length: usize| u32::try_from(length).unwrap_or(u32::MAX).to_be_bytes();
    let mut derived = Zeroizing::new(Vec::with_capacity(octets.next_multiple_of(32)));
    for round in 1..=octets.div_ceil(32) {
        let mut hash = Sha256::new();
        hash.update(&length(round));
        hash.update(agreed);
        for field in [purpose.as_bytes(), sender, receiver] {
            hash.update(&length(field.len()));
            hash.update(field);
        }
        hash.update(&length(octets * 8));
        derived.extend_from_slice(&hash.finish());
    }
    derived.truncate(octets);
    derived
}

struct Sealed {
    nonce: Vec<u8>,
    text: Vec<u8>,
    tag: Vec<u8>,
}

fn seal(payload: &[u8], aad: &[u8], key: &[u8], enc: JweEnc) -> Result<Sealed, ErrorStack> {
    match enc {
        JweEnc::A128Gcm => seal_by_gcm(Cipher::aes_128_gcm(), payload, aad, key),
        JweEnc::A256Gcm => seal_by_gcm(Cipher::aes_256_gcm(), payload, aad, key),
        JweEnc::A128CbcHs256 => seal_by_cbc(Cipher::aes_128_cbc(), MessageDigest::sha256(), payload, aad, key),
        JweEnc::A256CbcHs512 => seal_by_cbc(Cipher::aes_256_cbc(), MessageDigest::sha512(), payload, aad, key),
    }
}

/// RFC 7518 §5.3. The key is used once, so that a random nonce never meets another.
fn seal_by_gcm(cipher: Cipher, payload: &[u8], aad: &[u8], key: &[u8]) -> Result<Sealed, ErrorStack> {
    let nonce = random(12)?;
    let mut tag = vec![0; 16];
    let text = encrypt_aead(cipher, key, Some(&nonce), aad, payload, &mut tag)?;
    Ok(Sealed { nonce, text, tag })
}

/// RFC 7518 §5.2.2.1: the first half of the key authenticates, the second encrypts.
fn seal_by_cbc(
    cipher: Cipher,
    hash: MessageDigest,
    payload: &[u8],
    aad: &[u8],
    key: &[u8],
) -> Result<Sealed, ErrorStack> {
    let (mac_key, cipher_key) = key.split_at(key.len() / 2);
    let nonce = random(16)?;
    let text = encrypt_cbc(cipher, cipher_key, Some(&nonce), payload)?;
    let key = PKey::hmac(mac_key)?;
    let mut signer = Signer::new(hash, &key)?;
    signer.update(aad)?;
    signer.update(&nonce)?;
    signer.update(&text)?;
    signer.update(&(aad.len() as u64 * 8).to_be_bytes())?;
    let mut tag = signer.sign_to_vec()?;
    tag.truncate(hash.size() / 2);
    Ok(Sealed { nonce, text, tag })
}

#[cfg(test)]
#[path = "jwe_tests.rs"]
mod tests;
