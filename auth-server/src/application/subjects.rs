//! The `sub` by which a client knows a person: the person's own, or one for the client's sector alone (OpenID Connect Core §8).
//!
//! A pairwise `sub` is the person's own one, sealed deterministically in the context of the sector, so that it is the same each time and can
//! be read back without a table. docs/adr/0009-pairwise-subjects.md tells the construction and what follows from it.

use std::{sync::Arc, time::Duration};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use oauth_wire::Revoked;
use serde_json::{Map, Value};
use token_keys::SivKey;

use crate::{
    application::token_error::TokenError,
    domain::{client::Client, client_protocol::SubjectType, ids::UserId, sector::SectorFault},
    ports::store::{Sectors, StoreResult, StoreTx},
};

/// What is sealed has a multiple of this length, so that the length of a pairwise `sub` does not tell people apart.
const BLOCK: usize = 32;
/// Ends what is sealed; zeros follow.
const END: u8 = 0x80;
/// Longest `sub` of an account: made pairwise it stays below the 255 characters of OpenID Connect Core §2.
pub const MAX_SUB: usize = 128;
/// Sectors and people that are known to have been noted.
const KNOWN: u64 = 100_000;
const KNOWN_FOR: Duration = Duration::from_secs(600);

/// Makes and reads the subjects that clients see.
#[derive(Clone)]
pub struct Subjects {
    key: SivKey,
    sectors: Arc<dyn Sectors>,
    noted: moka::sync::Cache<(UserId, String), ()>,
}

impl std::fmt::Debug for Subjects {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Subjects").finish_non_exhaustive()
    }
}

/// A person under the name by which a client knows them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subject {
    pub sub: String,
    /// Present when the name is pairwise.
    pub sector: Option<String>,
}

/// A client is registered for pairwise subjects, and there is no sector that they could be for.
#[derive(Debug, thiserror::Error)]
#[error("the client has no sector: sector_identifier_uri {0}")]
struct NoSector(SectorFault);

#[derive(Debug, thiserror::Error)]
#[error("the account's sub has more than {MAX_SUB} characters, too many to be made pairwise")]
struct TooLong;

impl Subjects {
    /// `key` is derived from the master key for this purpose alone.
    pub fn new(key: SivKey, sectors: Arc<dyn Sectors>) -> Self {
        let noted = moka::sync::Cache::builder()
            .max_capacity(KNOWN)
            .time_to_live(KNOWN_FOR)
            .build();
        Self { key, sectors, noted }
    }

    /// The person as the client knows them.
    ///
    /// # Errors
    /// When the registration names no sector (no client is registered so), or OpenSSL refuses.
    pub fn shown_to(&self, client: &Client, user: &UserId) -> Result<Subject, TokenError> {
        match client.protocol.subject_type {
            SubjectType::Public => Ok(Subject {
                sub: user.as_str().to_owned(),
                sector: None,
            }),
            SubjectType::Pairwise => {
                let sector = client.sector().map_err(|fault| TokenError::internal(NoSector(fault)))?;
                Ok(Subject {
                    sub: self.in_sector(&sector, user)?,
                    sector: Some(sector),
                })
            }
        }
    }

    /// As [`Subjects::shown_to`], for somebody who is about to get tokens: the sector is noted, so that it hears when they end.
    ///
    /// # Errors
    /// Further when the account is not active, or the store fails.
    pub async fn disclose(&self, client: &Client, user: &UserId) -> Result<Subject, TokenError> {
        let subject = self.shown_to(client, user)?;
        if let Some(sector) = &subject.sector {
            let pair = (user.clone(), sector.clone());
            if !self.noted.contains_key(&pair) {
                if !self.sectors.note_sector(user, sector).await? {
                    return Err(TokenError::InvalidGrant("the account is not active"));
                }
                self.noted.insert(pair, ());
            }
        }
        Ok(subject)
    }

    /// The person whom the client means by a `sub` that it was given.
    pub fn known_to(&self, client: &Client, sub: &str) -> Option<UserId> {
        match client.protocol.subject_type {
            SubjectType::Public => Some(UserId::new(sub)),
            SubjectType::Pairwise => self.read(&client.sector().ok()?, sub),
        }
    }

    /// The person whom a sector knows by a pairwise `sub`.
    pub fn read(&self, sector: &str, sub: &str) -> Option<UserId> {
        let sealed = URL_SAFE_NO_PAD.decode(sub).ok()?;
        let padded = self.key.unseal(sector.as_bytes(), &sealed).ok()?;
        let end = padded.iter().rposition(|octet| *octet == END)?;
        std::str::from_utf8(padded.get(..end)?).ok().map(UserId::new)
    }

    /// The person (or the client) whom a token of ours, or an `act` in it, names by `sub` and `sector`.
    pub fn named_by(&self, claims: &Map<String, Value>) -> Option<String> {
        let text = |name: &str| claims.get(name).and_then(Value::as_str);
        let shown = text("sub")?;
        match text("sector") {
            None => Some(shown.to_owned()),
            Some(sector) => self.read(sector, shown).map(|user| user.as_str().to_owned()),
        }
    }

    /// What is revoked when a person's tokens are: one subject per name that the person has.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn names_of(&self, tx: &mut dyn StoreTx, user: &UserId, before: i64) -> StoreResult<Vec<Revoked>> {
        let mut names = vec![user.as_str().to_owned()];
        for sector in tx.sectors_of(user).await? {
            let name = self.in_sector(&sector, user);
            names.push(name.map_err(|error| crate::ports::store::StoreError::Failed(error.into()))?);
        }
        Ok(names.into_iter().map(|sub| Revoked::Subject { sub, before }).collect())
    }

    fn in_sector(&self, sector: &str, user: &UserId) -> Result<String, TokenError> {
        let sub = user.as_str().as_bytes();
        if sub.len() > MAX_SUB {
            return Err(TokenError::internal(TooLong));
        }
        let mut padded = sub.to_vec();
        padded.push(END);
        padded.resize(padded.len().next_multiple_of(BLOCK), 0);
        let sealed = self.key.seal(sector.as_bytes(), &padded);
        Ok(URL_SAFE_NO_PAD.encode(sealed.map_err(TokenError::internal)?))
    }
}

#[cfg(test)]
mod tests {
    use async_trait::async_trait;
    use proptest::prelude::*;
    use token_keys::MasterKey;

    use super::*;

    struct Everybody;

    #[async_trait]
    impl Sectors for Everybody {
        async fn note_sector(&self, _: &UserId, _: &str) -> StoreResult<bool> {
            Ok(true)
        }
    }

    fn subjects() -> Subjects {
        let master = MasterKey::load_or_create(tempfile::tempdir().unwrap().path()).unwrap();
        Subjects::new(master.siv("pairwise-subject").unwrap(), Arc::new(Everybody))
    }

    #[test]
    fn a_person_has_one_name_in_a_sector_and_another_in_the_next() {
        let subjects = subjects();
        let alice = UserId::new("user-alice");
        let name = subjects.in_sector("a.example", &alice).unwrap();
        assert_eq!(subjects.in_sector("a.example", &alice).unwrap(), name);
        assert_ne!(subjects.in_sector("b.example", &alice).unwrap(), name);
        assert_eq!(subjects.read("a.example", &name), Some(alice));
        assert_eq!(subjects.read("b.example", &name), None);
        assert_eq!(super::tests::subjects().read("a.example", &name), None);
    }

    #[test]
    fn names_of_different_people_have_one_length_that_every_client_takes() {
        let subjects = subjects();
        let length = |sub: &str| subjects.in_sector("a.example", &UserId::new(sub)).unwrap().len();
        assert_eq!(length("a"), 64);
        assert_eq!(length(&"a".repeat(31)), 64);
        assert!(length(&"a".repeat(MAX_SUB)) <= 255);
        assert!(
            subjects
                .in_sector("a.example", &UserId::new("a".repeat(MAX_SUB + 1)))
                .is_err()
        );
    }

    proptest! {
        #[test]
        fn every_sub_comes_back(sub in "[ -~]{1,128}", sector in "[a-z.]{1,30}") {
            let subjects = subjects();
            let user = UserId::new(sub);
            let name = subjects.in_sector(&sector, &user).unwrap();
            prop_assert!(name.len() <= 255 && name.is_ascii());
            prop_assert_eq!(subjects.read(&sector, &name), Some(user));
        }

        #[test]
        fn no_text_panics_or_is_somebody(text in "\\PC{0,80}|[A-Za-z0-9_-]{0,90}") {
            prop_assert_eq!(subjects().read("a.example", &text), None);
        }
    }
}
