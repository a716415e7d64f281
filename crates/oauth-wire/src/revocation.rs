//! Security events that end tokens before they expire, and the index a resource server asks.
//!
//! Events travel as Security Event Tokens (RFC 8417) fetched by poll (RFC 8936), subjects in the formats of RFC 9493.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

/// `events` member of a SET for one token.
pub const TOKEN_REVOKED: &str = "https://schemas.hexgate.dev/events/token-revoked";
/// `events` member of a SET for all tokens of one grant.
pub const GRANT_REVOKED: &str = "https://schemas.hexgate.dev/events/grant-revoked";
/// `events` member of a SET for all tokens of one browser session (OpenID CAEP 1.0 §3.1).
pub const SESSION_REVOKED: &str = "https://schemas.openid.net/secevent/caep/event-type/session-revoked";
/// `events` member of a SET for all tokens of one person issued up to a moment.
pub const SUBJECT_REVOKED: &str = "https://schemas.hexgate.dev/events/subject-revoked";
/// `events` member of a SET for all tokens of one client issued up to a moment.
pub const CLIENT_REVOKED: &str = "https://schemas.hexgate.dev/events/client-revoked";

/// What has been revoked. Times are seconds since the epoch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Revoked {
    Token { jti: String },
    Grant { grant: String },
    Session { sid: String },
    Subject { sub: String, before: i64 },
    Client { client_id: String, before: i64 },
}

/// A revocation and the moment from which it no longer matters, since every token that it ends has expired.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RevocationEvent {
    pub revoked: Revoked,
    /// Seconds since the epoch.
    pub until: i64,
}

/// A SET's claims do not hold an event of ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the security event is not one that this version understands")]
pub struct UnknownEvent;

impl RevocationEvent {
    /// The `sub_id` and `events` claims of the SET that carries this event.
    pub fn to_claims(&self, issuer: &str) -> Map<String, Value> {
        let opaque = |id: &str| json!({"format": "opaque", "id": id});
        let (uri, sub_id, before) = match &self.revoked {
            Revoked::Token { jti } => (
                TOKEN_REVOKED,
                json!({"format": "jwt_id", "iss": issuer, "jti": jti}),
                None,
            ),
            Revoked::Grant { grant } => (GRANT_REVOKED, opaque(grant), None),
            Revoked::Session { sid } => (SESSION_REVOKED, opaque(sid), None),
            Revoked::Subject { sub, before } => (
                SUBJECT_REVOKED,
                json!({"format": "iss_sub", "iss": issuer, "sub": sub}),
                Some(*before),
            ),
            Revoked::Client { client_id, before } => (CLIENT_REVOKED, opaque(client_id), Some(*before)),
        };
        let mut event = Map::from_iter([("exp_hint".to_owned(), json!(self.until))]);
        if let Some(before) = before {
            event.insert("before".to_owned(), json!(before));
        }
        let events = Map::from_iter([(uri.to_owned(), Value::Object(event))]);
        Map::from_iter([
            ("sub_id".to_owned(), sub_id),
            ("events".to_owned(), Value::Object(events)),
        ])
    }

    /// Reads the event out of a SET's claims.
    ///
    /// # Errors
    /// [`UnknownEvent`] when there is none, more than one, or one of another kind.
    pub fn from_claims(claims: &Map<String, Value>) -> Result<Self, UnknownEvent> {
        let events = claims.get("events").and_then(Value::as_object).ok_or(UnknownEvent)?;
        let mut entries = events.iter();
        let (Some((uri, event)), None) = (entries.next(), entries.next()) else {
            return Err(UnknownEvent);
        };
        let subject = |member: &str| {
            let value = claims.get("sub_id").and_then(|s| s.get(member)).and_then(Value::as_str);
            value.map(str::to_owned).ok_or(UnknownEvent)
        };
        let number = |member: &str| event.get(member).and_then(Value::as_i64).ok_or(UnknownEvent);
        let revoked = match uri.as_str() {
            TOKEN_REVOKED => Revoked::Token { jti: subject("jti")? },
            GRANT_REVOKED => Revoked::Grant { grant: subject("id")? },
            SESSION_REVOKED => Revoked::Session { sid: subject("id")? },
            SUBJECT_REVOKED => Revoked::Subject {
                sub: subject("sub")?,
                before: number("before")?,
            },
            CLIENT_REVOKED => Revoked::Client {
                client_id: subject("id")?,
                before: number("before")?,
            },
            _ => return Err(UnknownEvent),
        };
        Ok(Self {
            revoked,
            until: number("exp_hint")?,
        })
    }
}

/// What the index is asked about: the claims of one access token.
#[derive(Debug, Clone, Copy)]
pub struct TokenFacts<'a> {
    pub jti: &'a str,
    pub sid: Option<&'a str>,
    pub sub: &'a str,
    pub client_id: &'a str,
    /// The clients whose tokens it was made of (RFC 8693).
    pub via: &'a [String],
    /// Those who act by it, each by `sub`: see [`actors`].
    pub actors: &'a [String],
    /// Seconds since the epoch.
    pub iat: i64,
}

/// The part of a `jti` that names the grant the token came from (`<grant>.<random>`), if it came from one.
pub fn grant_of(jti: &str) -> Option<&str> {
    jti.split_once('.').map(|(grant, _)| grant)
}

/// Those who act by a token (`act`, RFC 8693 §4.1), whoever acts now in front. All of them, whatever bound the issuer has: one that was passed
/// over could not be revoked.
pub fn actors(claims: &Map<String, Value>) -> impl Iterator<Item = &Value> {
    std::iter::successors(claims.get("act"), |later| later.get("act"))
}

/// Every revocation that still matters, in memory: a handful of hash look-ups a request, no call to the provider.
#[derive(Debug, Default, Clone)]
pub struct RevocationIndex {
    tokens: HashMap<String, i64>,
    grants: HashMap<String, i64>,
    sessions: HashMap<String, i64>,
    subjects: HashMap<String, Cutoff>,
    clients: HashMap<String, Cutoff>,
}

#[derive(Debug, Clone, Copy)]
struct Cutoff {
    before: i64,
    until: i64,
}

impl RevocationIndex {
    /// Adds an event; adding it again changes nothing.
    pub fn add(&mut self, event: RevocationEvent) {
        let until = event.until;
        let latest = |slot: &mut i64| *slot = until.max(*slot);
        let cutoff = |map: &mut HashMap<String, Cutoff>, id: String, before: i64| {
            let slot = map.entry(id).or_insert(Cutoff { before, until });
            slot.before = slot.before.max(before);
            slot.until = slot.until.max(until);
        };
        match event.revoked {
            Revoked::Token { jti } => latest(self.tokens.entry(jti).or_insert(until)),
            Revoked::Grant { grant } => latest(self.grants.entry(grant).or_insert(until)),
            Revoked::Session { sid } => latest(self.sessions.entry(sid).or_insert(until)),
            Revoked::Subject { sub, before } => cutoff(&mut self.subjects, sub, before),
            Revoked::Client { client_id, before } => cutoff(&mut self.clients, client_id, before),
        }
    }

    /// Tells whether a token has been revoked.
    pub fn covers(&self, token: TokenFacts<'_>) -> bool {
        let cut = |map: &HashMap<String, Cutoff>, id: &str| map.get(id).is_some_and(|c| token.iat <= c.before);
        self.tokens.contains_key(token.jti)
            || grant_of(token.jti).is_some_and(|grant| self.grants.contains_key(grant))
            || token.sid.is_some_and(|sid| self.sessions.contains_key(sid))
            || cut(&self.subjects, token.sub)
            // What somebody does for another is no more theirs to do than what they do for themselves.
            || token.actors.iter().any(|sub| cut(&self.subjects, sub))
            || cut(&self.clients, token.client_id)
            || token.via.iter().any(|client_id| cut(&self.clients, client_id))
    }

    /// Forgets events that no longer matter at `now` (seconds since the epoch).
    pub fn prune(&mut self, now: i64) {
        for map in [&mut self.tokens, &mut self.grants, &mut self.sessions] {
            map.retain(|_, until| *until > now);
        }
        for map in [&mut self.subjects, &mut self.clients] {
            map.retain(|_, cutoff| cutoff.until > now);
        }
    }

    pub fn len(&self) -> usize {
        self.tokens.len() + self.grants.len() + self.sessions.len() + self.subjects.len() + self.clients.len()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn each_kind() -> Vec<Revoked> {
        vec![
            Revoked::Token { jti: "g1.a".into() },
            Revoked::Grant { grant: "g1".into() },
            Revoked::Session { sid: "s1".into() },
            Revoked::Subject {
                sub: "u1".into(),
                before: 100,
            },
            Revoked::Client {
                client_id: "c1".into(),
                before: 100,
            },
        ]
    }

    const TOKEN: TokenFacts<'_> = TokenFacts {
        jti: "g1.a",
        sid: Some("s1"),
        sub: "u1",
        client_id: "c1",
        via: &[],
        actors: &[],
        iat: 100,
    };

    #[test]
    fn every_kind_survives_the_journey_through_a_set() {
        for revoked in each_kind() {
            let event = RevocationEvent { revoked, until: 700 };
            assert_eq!(
                RevocationEvent::from_claims(&event.to_claims("https://op.example")),
                Ok(event)
            );
        }
    }

    #[test]
    fn every_kind_ends_the_token_that_it_names_and_no_other() {
        let other = TokenFacts {
            jti: "g2.a",
            sid: Some("s2"),
            sub: "u2",
            client_id: "c2",
            via: &[],
            actors: &[],
            iat: 100,
        };
        for revoked in each_kind() {
            let mut index = RevocationIndex::default();
            index.add(RevocationEvent {
                revoked: revoked.clone(),
                until: 700,
            });
            assert!(index.covers(TOKEN), "{revoked:?}");
            assert!(!index.covers(other), "{revoked:?}");
            index.prune(699);
            assert!(index.covers(TOKEN), "{revoked:?}");
            index.prune(700);
            assert!(index.is_empty());
        }
    }

    #[test]
    fn a_token_issued_after_the_cutoff_lives() {
        let mut index = RevocationIndex::default();
        index.add(RevocationEvent {
            revoked: Revoked::Subject {
                sub: "u1".into(),
                before: 100,
            },
            until: 700,
        });
        assert!(!index.covers(TokenFacts { iat: 101, ..TOKEN }));
    }

    #[test]
    fn a_token_ends_with_each_client_whose_token_it_was_made_of() {
        let mut index = RevocationIndex::default();
        index.add(RevocationEvent {
            revoked: Revoked::Client {
                client_id: "c1".into(),
                before: 100,
            },
            until: 700,
        });
        let covers = |via: &[&str]| {
            let via: Vec<String> = via.iter().map(|one| (*one).to_owned()).collect();
            index.covers(TokenFacts {
                client_id: "c2",
                via: &via,
                ..TOKEN
            })
        };
        assert!(covers(&["c1"]) && covers(&["c1", "c3"]) && covers(&["c3", "c1"]));
        assert!(!covers(&["c3"]) && !covers(&[]));
    }

    #[test]
    fn a_token_ends_with_each_person_who_acts_by_it() {
        let mut index = RevocationIndex::default();
        index.add(RevocationEvent {
            revoked: Revoked::Subject {
                sub: "helper".into(),
                before: 100,
            },
            until: 700,
        });
        let covers = |act: Value, iat: i64| {
            let claims = Map::from_iter([("act".to_owned(), act)]);
            let actors: Vec<String> = actors(&claims)
                .map(|act| act["sub"].as_str().unwrap().to_owned())
                .collect();
            index.covers(TokenFacts {
                actors: &actors,
                iat,
                ..TOKEN
            })
        };
        assert!(covers(json!({"sub": "helper"}), 100));
        assert!(covers(json!({"sub": "s1", "act": {"sub": "helper"}}), 100));
        assert!(covers(json!({"sub": "helper", "act": {"sub": "s1"}}), 100));
        assert!(!covers(json!({"sub": "helper"}), 101), "it was made afterwards");
        assert!(!covers(json!({"sub": "s1", "act": {"sub": "s2"}}), 100));
    }

    #[test]
    fn a_set_with_a_foreign_event_is_not_taken_for_ours() {
        let claims = json!({"events": {"https://example.org/other": {}}, "sub_id": {"format": "opaque", "id": "x"}});
        assert_eq!(
            RevocationEvent::from_claims(claims.as_object().unwrap()),
            Err(UnknownEvent)
        );
    }
}
