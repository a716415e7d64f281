//! What the provider should do, in as few words as possible: no keys, no database, no HTTP.

use std::collections::BTreeSet;

pub(super) const ACCESS_TTL: i64 = 600;
pub(super) const CODE_TTL: i64 = 60;
pub(super) const IDLE_TTL: i64 = 500;
pub(super) const ABSOLUTE_TTL: i64 = 1_000;
pub(super) const SESSION_TTL: i64 = 700;
pub(super) const LOST_REPLY: i64 = 10;

/// Everything, by the order in which it was made.
#[derive(Debug, Default)]
pub(super) struct Model {
    pub(super) now: i64,
    pub(super) users: Vec<User>,
    pub(super) clients: Vec<Client>,
    pub(super) sessions: Vec<Session>,
    pub(super) codes: Vec<Code>,
    pub(super) grants: Vec<Grant>,
    pub(super) accesses: Vec<Access>,
    /// What has come up so far, so that a run can tell that it tried everything.
    pub(super) seen: BTreeSet<&'static str>,
}

/// Every case that a run must have come to.
pub(super) const CASES: [&str; 17] = [
    "a code is exchanged",
    "a code is exchanged twice",
    "a code has expired",
    "a code outlives its session",
    "a code is gone with its person's lock or its client",
    "a refresh",
    "a lost reply",
    "a reuse",
    "a refresh after the family's end",
    "a refresh after the session's end",
    "a refresh for offline use after the session's end",
    "a refresh of a token that has idled",
    "a refresh beyond the absolute end",
    "a refresh by another client",
    "a disabled client",
    "a locked person",
    "a token that a session took with it",
];

#[derive(Debug)]
pub(super) struct User {
    pub(super) is_active: bool,
    /// Tokens of this second and before are over.
    pub(super) cutoff: i64,
}

#[derive(Debug)]
pub(super) struct Client {
    pub(super) is_active: bool,
    pub(super) cutoff: i64,
    /// Its grants outlive the browser session.
    pub(super) is_offline: bool,
}

#[derive(Debug)]
pub(super) struct Session {
    pub(super) user: usize,
    pub(super) ends_at: i64,
    pub(super) is_over: bool,
    /// Whether its tokens ended with it; those of a person who was locked end by the person's cutoff.
    pub(super) took_tokens: bool,
}

#[derive(Debug)]
pub(super) struct Code {
    pub(super) client: usize,
    pub(super) session: usize,
    pub(super) expires_at: i64,
    pub(super) is_gone: bool,
    /// What it was exchanged for.
    pub(super) grant: Option<usize>,
}

#[derive(Debug)]
pub(super) struct Grant {
    pub(super) user: usize,
    pub(super) client: usize,
    pub(super) session: Option<usize>,
    /// Access tokens of an ended grant are over; its family is as well.
    pub(super) is_ended: bool,
    pub(super) family_over: bool,
    pub(super) generation: usize,
    pub(super) rotated_at: i64,
    pub(super) idle_until: i64,
    pub(super) absolute_until: i64,
}

#[derive(Debug)]
pub(super) struct Access {
    pub(super) grant: usize,
    pub(super) issued_at: i64,
    pub(super) session: Option<usize>,
    pub(super) is_revoked: bool,
}

/// What a token request is answered with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Answer {
    Tokens,
    InvalidGrant,
    InvalidClient,
}

impl Model {
    pub(super) fn is_live(&self, session: usize) -> bool {
        let session = &self.sessions[session];
        !session.is_over && self.now < session.ends_at
    }

    pub(super) fn is_good(&self, access: usize) -> bool {
        let access = &self.accesses[access];
        let grant = &self.grants[access.grant];
        let (user, client) = (&self.users[grant.user], &self.clients[grant.client]);
        self.now < access.issued_at + ACCESS_TTL
            && !access.is_revoked
            && !grant.is_ended
            && !access.session.is_some_and(|session| self.sessions[session].took_tokens)
            && access.issued_at > user.cutoff
            && access.issued_at > client.cutoff
            && client.is_active
    }

    /// Whether the refresh token of that generation would be answered by a rotation.
    pub(super) fn is_current(&self, grant: usize, generation: usize) -> bool {
        let family = &self.grants[grant];
        generation == family.generation && self.lives(family) && self.has_person(family)
    }

    fn lives(&self, family: &Grant) -> bool {
        !family.family_over && self.now < family.idle_until && self.now < family.absolute_until
    }

    /// The person may still use it: is active and, unless it is for offline use, signed in.
    fn has_person(&self, grant: &Grant) -> bool {
        let is_signed_in = grant.session.is_none_or(|session| self.is_live(session));
        self.users[grant.user].is_active && (is_signed_in || self.clients[grant.client].is_offline)
    }

    pub(super) fn sign_in(&mut self, user: usize) -> bool {
        if !self.users[user].is_active {
            return false;
        }
        self.sessions.push(Session {
            user,
            ends_at: self.now + SESSION_TTL,
            is_over: false,
            took_tokens: false,
        });
        true
    }

    /// Whether the browser of that session gets a code.
    pub(super) fn authorize(&mut self, session: usize, client: usize) -> bool {
        if !self.is_live(session) || !self.clients[client].is_active {
            return false;
        }
        self.codes.push(Code {
            client,
            session,
            expires_at: self.now + CODE_TTL,
            is_gone: false,
            grant: None,
        });
        true
    }

    pub(super) fn exchange(&mut self, code: usize) -> Answer {
        let Code {
            client,
            session,
            expires_at,
            is_gone,
            grant,
        } = self.codes[code];
        let user = self.sessions[session].user;
        if !self.clients[client].is_active {
            return self.note("a disabled client", Answer::InvalidClient);
        }
        if is_gone {
            return self.note(
                "a code is gone with its person's lock or its client",
                Answer::InvalidGrant,
            );
        }
        if let Some(grant) = grant {
            self.seen.insert("a code is exchanged twice");
            // RFC 6749 §4.1.2: who comes second takes it from who came first.
            self.end(grant);
            return Answer::InvalidGrant;
        }
        if self.now >= expires_at {
            return self.note("a code has expired", Answer::InvalidGrant);
        }
        if !self.users[user].is_active || !self.is_live(session) {
            return self.note("a code outlives its session", Answer::InvalidGrant);
        }
        self.codes[code].grant = Some(self.grants.len());
        self.grant(user, client, Some(session));
        self.note("a code is exchanged", Answer::Tokens)
    }

    fn note(&mut self, case: &'static str, answer: Answer) -> Answer {
        self.seen.insert(case);
        answer
    }

    pub(super) fn password(&mut self, user: usize, client: usize) -> Answer {
        if !self.clients[client].is_active {
            return Answer::InvalidClient;
        }
        if !self.users[user].is_active {
            return self.note("a locked person", Answer::InvalidGrant);
        }
        self.grant(user, client, None);
        Answer::Tokens
    }

    fn grant(&mut self, user: usize, client: usize, session: Option<usize>) {
        let absolute_until = self.now + ABSOLUTE_TTL;
        self.grants.push(Grant {
            user,
            client,
            session,
            is_ended: false,
            family_over: false,
            generation: 1,
            rotated_at: self.now,
            idle_until: (self.now + IDLE_TTL).min(absolute_until),
            absolute_until,
        });
        self.issue(self.grants.len() - 1, session);
    }

    fn issue(&mut self, grant: usize, session: Option<usize>) {
        self.accesses.push(Access {
            grant,
            issued_at: self.now,
            session,
            is_revoked: false,
        });
    }

    pub(super) fn refresh(&mut self, grant: usize, generation: usize, by: usize) -> Answer {
        let family = &self.grants[grant];
        if !self.clients[by].is_active {
            return self.note("a disabled client", Answer::InvalidClient);
        }
        let refused = match family {
            _ if by != family.client => Some("a refresh by another client"),
            _ if !self.users[family.user].is_active => Some("a locked person"),
            _ if !self.has_person(family) => Some("a refresh after the session's end"),
            _ if family.family_over => Some("a refresh after the family's end"),
            _ if self.now >= family.absolute_until => Some("a refresh beyond the absolute end"),
            _ if self.now >= family.idle_until => Some("a refresh of a token that has idled"),
            _ => None,
        };
        if let Some(case) = refused {
            return self.note(case, Answer::InvalidGrant);
        }
        let is_lost_reply = generation + 1 == family.generation && self.now < family.rotated_at + LOST_REPLY;
        if generation < family.generation && !is_lost_reply {
            self.end(grant);
            return self.note("a reuse", Answer::InvalidGrant);
        }
        self.seen
            .insert(match family.session.is_some_and(|session| !self.is_live(session)) {
                _ if is_lost_reply => "a lost reply",
                true => "a refresh for offline use after the session's end",
                false => "a refresh",
            });
        let session = family.session.filter(|session| self.is_live(*session));
        let now = self.now;
        let family = &mut self.grants[grant];
        if !is_lost_reply {
            family.generation += 1;
            family.rotated_at = now;
            family.idle_until = (now + IDLE_TTL).min(family.absolute_until);
        }
        self.issue(grant, session);
        Answer::Tokens
    }

    fn end(&mut self, grant: usize) {
        self.grants[grant].is_ended = true;
        self.grants[grant].family_over = true;
    }

    pub(super) fn revoke_access(&mut self, access: usize) -> Answer {
        let client = self.grants[self.accesses[access].grant].client;
        if !self.clients[client].is_active {
            return Answer::InvalidClient;
        }
        self.accesses[access].is_revoked = true;
        Answer::Tokens
    }

    pub(super) fn revoke_refresh(&mut self, grant: usize) -> Answer {
        if !self.clients[self.grants[grant].client].is_active {
            return Answer::InvalidClient;
        }
        // What ended the family before took the access tokens that had to go.
        if !self.grants[grant].family_over {
            self.end(grant);
        }
        Answer::Tokens
    }

    pub(super) fn sign_out(&mut self, session: usize) {
        if !self.is_live(session) {
            return;
        }
        self.sessions[session].is_over = true;
        self.sessions[session].took_tokens = true;
        if self.accesses.iter().any(|access| access.session == Some(session)) {
            self.seen.insert("a token that a session took with it");
        }
        for grant in &mut self.grants {
            if grant.session == Some(session) && !self.clients[grant.client].is_offline {
                grant.family_over = true;
            }
        }
    }

    /// Signed out everywhere by the operator, or locked.
    pub(super) fn end_everything_of(&mut self, user: usize) {
        self.users[user].cutoff = self.now + 1;
        for session in &mut self.sessions {
            session.is_over |= session.user == user;
        }
        for grant in &mut self.grants {
            grant.family_over |= grant.user == user;
        }
        for code in &mut self.codes {
            code.is_gone |= self.sessions[code.session].user == user;
        }
    }

    pub(super) fn disable(&mut self, client: usize) {
        self.clients[client].is_active = false;
        self.clients[client].cutoff = self.now + 1;
        for grant in &mut self.grants {
            grant.family_over |= grant.client == client;
        }
        for code in &mut self.codes {
            code.is_gone |= code.client == client;
        }
    }

    /// The person takes back what they allowed an application.
    pub(super) fn remove_app(&mut self, session: usize, client: usize) {
        if !self.is_live(session) {
            return;
        }
        let user = self.sessions[session].user;
        for grant in &mut self.grants {
            if grant.user == user && grant.client == client && !grant.family_over {
                grant.is_ended = true;
                grant.family_over = true;
            }
        }
        for code in &mut self.codes {
            if code.client == client && self.sessions[code.session].user == user && !code.is_gone {
                code.is_gone = true;
                if let Some(grant) = code.grant {
                    self.grants[grant].is_ended = true;
                }
            }
        }
    }
}
