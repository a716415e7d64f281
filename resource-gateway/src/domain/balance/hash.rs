//! Keys that calls are told apart by, and where keys belong. Every gateway gives the same answer, so the functions are fixed.

/// Spreads a number over all bits.
pub fn mix(number: u64) -> u64 {
    let z = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// A number for some words (FNV-1a, spread). Whoever may choose words can make two collide: that gives them one address in
/// common and nothing else.
pub fn hash_of(words: &[&str]) -> u64 {
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    for word in words {
        for byte in word.bytes().chain([0xff]) {
            hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }
    mix(hash)
}

/// How strongly a key belongs to a place: it goes where this is greatest. In proportion to the shares, keys spread over places
/// (weighted rendezvous hashing); a place's rank does not depend on the others, which is why nothing else moves when one goes.
pub fn rank(key: u64, seed: u64, share: u64) -> f64 {
    let bits = mix(key ^ seed.rotate_left(23)) >> 11;
    #[expect(clippy::cast_precision_loss, reason = "53 bits and shares below 2^53 are exact")]
    let (chance, share) = ((bits as f64 + 0.5) / (1_u64 << 53) as f64, share as f64);
    -share / chance.ln()
}

/// What decides which calls belong together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HashKey {
    /// The person or service that the token speaks of.
    User,
    /// The OAuth client.
    Client,
    /// The session of the identity provider that the token came from; where it has none, the user at the client.
    Session,
    /// A header of the request, in lower case; where it is missing, the user.
    Header(Box<str>),
}

/// The text names no key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidHashKey {
    #[error("must be user, client, session or header:NAME")]
    Unknown,
    #[error("does not name a header that a request can have")]
    Header,
    #[error("must not name a header that holds credentials")]
    Credential,
}

const HEADER_PREFIX: &str = "header:";

impl HashKey {
    /// Reads `user`, `client`, `session` or `header:NAME`.
    ///
    /// # Errors
    /// [`InvalidHashKey`].
    pub fn parse(text: &str) -> Result<Self, InvalidHashKey> {
        match text {
            "user" => return Ok(Self::User),
            "client" => return Ok(Self::Client),
            "session" => return Ok(Self::Session),
            _ => {}
        }
        let name = text.strip_prefix(HEADER_PREFIX).ok_or(InvalidHashKey::Unknown)?;
        let name = name.to_ascii_lowercase();
        // RFC 9110 §5.6.2: a header's name is a token.
        let legal = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
        if name.is_empty() || name.len() > 64 || !name.bytes().all(legal) {
            return Err(InvalidHashKey::Header);
        }
        if matches!(
            name.as_str(),
            "authorization" | "proxy-authorization" | "cookie" | "dpop"
        ) {
            return Err(InvalidHashKey::Credential);
        }
        Ok(Self::Header(name.into()))
    }

    /// As it was written.
    pub fn to_text(&self) -> String {
        match self {
            Self::User => "user".to_owned(),
            Self::Client => "client".to_owned(),
            Self::Session => "session".to_owned(),
            Self::Header(name) => format!("{HEADER_PREFIX}{name}"),
        }
    }
}
