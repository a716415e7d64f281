//! The installation's master key and what is derived from it.

use std::{
    fmt, fs,
    io::Write as _,
    os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
};

use base64::{
    Engine,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use openssl::{
    error::ErrorStack,
    hash::MessageDigest,
    md::Md,
    memcmp,
    pkey::{Id, PKey, Private},
    pkey_ctx::PkeyCtx,
    rand::rand_bytes,
    sign::Signer,
    symm::{Cipher, decrypt_aead, encrypt_aead},
};
use secrecy::SecretString;
use zeroize::Zeroizing;

const FILE: &str = "master.key";
const NONCE: usize = 12;
const TAG: usize = 16;

/// 256 bits from which every other secret of an installation is derived. All nodes share it.
#[derive(Clone)]
pub struct MasterKey(Zeroizing<[u8; 32]>);

/// Why the master key could not be had.
#[derive(Debug, thiserror::Error)]
pub enum MasterKeyError {
    #[error("master key {path}: {source}")]
    File { path: PathBuf, source: std::io::Error },
    #[error("master key {path} is not 32 bytes in base64")]
    Malformed { path: PathBuf },
    #[error("master key {path} is readable by others; its mode must be 0600")]
    Exposed { path: PathBuf },
    #[error("no randomness: {0}")]
    Random(#[from] ErrorStack),
}

/// A sealed value could not be opened: wrong key, wrong place, or changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the sealed value does not open with this master key in this place")]
pub struct SealError;

impl MasterKey {
    /// Loads `dir/master.key`, or makes it (mode 0600) when there is none. Of several processes that start at once one makes it.
    ///
    /// # Errors
    /// [`MasterKeyError`].
    pub fn load_or_create(dir: &Path) -> Result<Self, MasterKeyError> {
        let path = dir.join(FILE);
        if !path.exists() {
            Self::create(dir, &path)?;
        }
        Self::load(dir)
    }

    /// Loads `dir/master.key`.
    ///
    /// # Errors
    /// [`MasterKeyError`] when it is missing, malformed, or readable by other users.
    pub fn load(dir: &Path) -> Result<Self, MasterKeyError> {
        let path = dir.join(FILE);
        let io = |source| MasterKeyError::File {
            path: path.clone(),
            source,
        };
        let mode = fs::metadata(&path).map_err(io)?.permissions().mode();
        if mode & 0o077 != 0 {
            return Err(MasterKeyError::Exposed { path });
        }
        let text = Zeroizing::new(fs::read_to_string(&path).map_err(io)?);
        let bytes = Zeroizing::new(STANDARD.decode(text.trim()).unwrap_or_default());
        match <[u8; 32]>::try_from(bytes.as_slice()) {
            Ok(key) => Ok(Self(Zeroizing::new(key))),
            Err(_) => Err(MasterKeyError::Malformed { path }),
        }
    }

    fn create(dir: &Path, path: &Path) -> Result<(), MasterKeyError> {
        let io = |source| MasterKeyError::File {
            path: path.to_owned(),
            source,
        };
        fs::create_dir_all(dir).map_err(io)?;
        let mut key = Zeroizing::new([0u8; 32]);
        rand_bytes(key.as_mut())?;
        // Unique, since several processes may start at once (and all be process 1, in containers).
        let mut unique = [0u8; 8];
        rand_bytes(&mut unique)?;
        let draft = dir.join(format!("{FILE}.{}", URL_SAFE_NO_PAD.encode(unique)));
        let mut file = fs::OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&draft)
            .map_err(io)?;
        writeln!(file, "{}", STANDARD.encode(key.as_ref()))
            .and_then(|()| file.sync_all())
            .map_err(io)?;
        // A hard link appears whole or not at all, and only one of several racers gets to make it.
        let linked = fs::hard_link(&draft, path);
        fs::remove_file(&draft).map_err(io)?;
        // The name must outlive a power cut, as the rows that are sealed by the key do.
        fs::File::open(dir).and_then(|dir| dir.sync_all()).map_err(io)?;
        match linked {
            Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => Err(io(error)),
            Ok(()) | Err(_) => Ok(()),
        }
    }

    /// A key for one purpose (HKDF-SHA256, RFC 5869, `info` = purpose).
    ///
    /// # Errors
    /// When OpenSSL refuses.
    pub fn derive(&self, purpose: &str) -> Result<MacKey, ErrorStack> {
        MacKey::new(self.derive_bytes(purpose)?.as_ref())
    }

    pub(crate) fn derive_bytes(&self, purpose: &str) -> Result<Zeroizing<[u8; 32]>, ErrorStack> {
        let mut okm = Zeroizing::new([0u8; 32]);
        let mut context = PkeyCtx::new_id(Id::HKDF)?;
        context.derive_init()?;
        context.set_hkdf_md(Md::sha256())?;
        context.set_hkdf_salt(b"hexgate")?;
        context.set_hkdf_key(self.0.as_ref())?;
        context.add_hkdf_info(purpose.as_bytes())?;
        context.derive(Some(okm.as_mut()))?;
        Ok(okm)
    }

    /// The credential by which services of one installation know each other for one purpose.
    ///
    /// # Errors
    /// When OpenSSL refuses.
    pub fn service_credential(&self, purpose: &str) -> Result<SecretString, ErrorStack> {
        let bytes = self.derive_bytes(&format!("service-credential/{purpose}"))?;
        Ok(SecretString::from(format!(
            "hgs_{}",
            URL_SAFE_NO_PAD.encode(bytes.as_ref())
        )))
    }

    /// Seals a value for one place (AES-256-GCM). `place` is authenticated: table, column and row, so that a sealed value
    /// cannot be moved to another row.
    ///
    /// # Errors
    /// When OpenSSL refuses.
    pub fn seal(&self, place: &str, plain: &[u8]) -> Result<Vec<u8>, ErrorStack> {
        let key = self.derive_bytes("seal")?;
        let mut nonce = [0u8; NONCE];
        rand_bytes(&mut nonce)?;
        let mut tag = [0u8; TAG];
        let sealed = encrypt_aead(
            Cipher::aes_256_gcm(),
            key.as_ref(),
            Some(&nonce),
            place.as_bytes(),
            plain,
            &mut tag,
        )?;
        Ok([&nonce[..], &sealed, &tag].concat())
    }

    /// Opens what [`MasterKey::seal`] sealed for the same place.
    ///
    /// # Errors
    /// [`SealError`].
    pub fn unseal(&self, place: &str, sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, SealError> {
        let (nonce, rest) = sealed.split_at_checked(NONCE).ok_or(SealError)?;
        let (body, tag) = rest.split_at_checked(rest.len().saturating_sub(TAG)).ok_or(SealError)?;
        let key = self.derive_bytes("seal").map_err(|_| SealError)?;
        decrypt_aead(
            Cipher::aes_256_gcm(),
            key.as_ref(),
            Some(nonce),
            place.as_bytes(),
            body,
            tag,
        )
        .map(Zeroizing::new)
        .map_err(|_| SealError)
    }
}

impl fmt::Debug for MasterKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MasterKey([redacted])")
    }
}

/// A key for keyed hashes (HMAC-SHA256).
#[derive(Clone)]
pub struct MacKey(PKey<Private>);

impl MacKey {
    fn new(bytes: &[u8]) -> Result<Self, ErrorStack> {
        PKey::hmac(bytes).map(Self)
    }

    /// The MAC of `parts`, each preceded by its length so that no two lists of parts collide.
    ///
    /// # Errors
    /// When OpenSSL refuses.
    pub fn mac(&self, parts: &[&[u8]]) -> Result<[u8; 32], ErrorStack> {
        let mut signer = Signer::new(MessageDigest::sha256(), &self.0)?;
        for part in parts {
            signer.update(&(part.len() as u64).to_be_bytes())?;
            signer.update(part)?;
        }
        let mut mac = [0; 32];
        signer.sign(&mut mac)?;
        Ok(mac)
    }

    /// Compares in constant time.
    ///
    /// # Errors
    /// When OpenSSL refuses.
    pub fn verify(&self, parts: &[&[u8]], mac: &[u8]) -> Result<bool, ErrorStack> {
        let wanted = self.mac(parts)?;
        Ok(mac.len() == wanted.len() && memcmp::eq(&wanted, mac))
    }
}

impl fmt::Debug for MacKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MacKey([redacted])")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fresh() -> (tempfile::TempDir, MasterKey) {
        let dir = tempfile::tempdir().unwrap();
        let key = MasterKey::load_or_create(dir.path()).unwrap();
        (dir, key)
    }

    #[test]
    fn the_key_is_made_once_and_only_its_owner_may_read_it() {
        let (dir, key) = fresh();
        let again = MasterKey::load_or_create(dir.path()).unwrap();
        assert_eq!(key.0, again.0);
        let path = dir.path().join(FILE);
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        assert!(matches!(
            MasterKey::load(dir.path()),
            Err(MasterKeyError::Exposed { .. })
        ));
    }

    #[test]
    fn racing_processes_agree_on_one_key() {
        let dir = tempfile::tempdir().unwrap();
        let keys: Vec<_> = std::thread::scope(|scope| {
            let racers: Vec<_> = (0..8)
                .map(|_| scope.spawn(|| MasterKey::load_or_create(dir.path()).unwrap()))
                .collect();
            racers.into_iter().map(|racer| racer.join().unwrap()).collect()
        });
        assert!(keys.windows(2).all(|pair| pair[0].0 == pair[1].0));
    }

    #[test]
    fn a_sealed_value_opens_only_in_its_own_place_and_unchanged() {
        let (_dir, key) = fresh();
        let sealed = key.seal("vendor/secret_key/openai", b"sk-1").unwrap();
        assert_eq!(
            key.unseal("vendor/secret_key/openai", &sealed).unwrap().as_slice(),
            b"sk-1"
        );
        assert_eq!(key.unseal("vendor/secret_key/other", &sealed), Err(SealError));
        for at in 0..sealed.len() {
            let mut changed = sealed.clone();
            changed[at] ^= 1;
            assert_eq!(key.unseal("vendor/secret_key/openai", &changed), Err(SealError));
        }
        assert_eq!(key.unseal("vendor/secret_key/openai", &sealed[..10]), Err(SealError));
    }

    #[test]
    fn purposes_and_part_boundaries_separate_keyed_hashes() {
        let (_dir, key) = fresh();
        let (a, b) = (key.derive("a").unwrap(), key.derive("b").unwrap());
        assert_ne!(a.mac(&[b"x"]).unwrap(), b.mac(&[b"x"]).unwrap());
        assert_ne!(a.mac(&[b"ab", b"c"]).unwrap(), a.mac(&[b"a", b"bc"]).unwrap());
        assert!(a.verify(&[b"x"], &a.mac(&[b"x"]).unwrap()).unwrap());
        assert!(!a.verify(&[b"x"], b"short").unwrap());
    }
}
