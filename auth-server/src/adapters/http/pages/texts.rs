//! The words of the pages, one keyed file per language.
//!
//! The files are compiled in and read once at start into structs that know every key: a missing, misspelt or left-over
//! key, an empty text, or a text without the place for its value is an error before the first page is served.

mod lang;
#[cfg(test)]
mod tests;

use std::{fmt, sync::Arc};

use serde::Deserialize;

pub(crate) use lang::Lang;

/// All languages, loaded once by the composition root and cloned by pointer into each page.
#[derive(Debug, Clone)]
pub(crate) struct Catalogue {
    en: Arc<Texts>,
    zh: Arc<Texts>,
}

/// A text file that does not hold exactly what the pages need.
#[derive(Debug, thiserror::Error)]
#[error("texts of language {lang} cannot be read")]
pub(crate) struct TextsError {
    lang: &'static str,
    #[source]
    cause: toml::de::Error,
}

impl Catalogue {
    /// Reads the files that are compiled into the binary.
    pub(crate) fn builtin() -> Result<Self, TextsError> {
        Ok(Self {
            en: read(Lang::En)?,
            zh: read(Lang::Zh)?,
        })
    }

    pub(crate) fn texts(&self, lang: Lang) -> Arc<Texts> {
        match lang {
            Lang::En => Arc::clone(&self.en),
            Lang::Zh => Arc::clone(&self.zh),
        }
    }
}

fn read(lang: Lang) -> Result<Arc<Texts>, TextsError> {
    toml::from_str(source(lang)).map(Arc::new).map_err(|cause| TextsError {
        lang: lang.tag(),
        cause,
    })
}

fn source(lang: Lang) -> &'static str {
    match lang {
        Lang::En => include_str!("../../../../../templates/texts/en.toml"),
        Lang::Zh => include_str!("../../../../../templates/texts/zh.toml"),
    }
}

/// A text without a value in it. Never empty, never with a `{}` that nobody would fill.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub(crate) struct Text(String);

/// A text around one value. Templates print `before`, the (isolated, escaped) value and `after`, so that a language
/// decides where the value stands while the template decides how it is marked up.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub(crate) struct Phrase {
    pub(crate) before: String,
    pub(crate) after: String,
}

/// A phrase around a number, in the two plural forms that the languages here need.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Counted {
    one: Phrase,
    many: Phrase,
}

/// Why a text is refused.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BadText {
    #[error("the text is empty")]
    Empty,
    #[error("the text has a {{}} but no value belongs there")]
    StrayPlace,
    #[error("the text needs exactly one {{}} for its value")]
    NoPlace,
}

impl TryFrom<String> for Text {
    type Error = BadText;

    fn try_from(text: String) -> Result<Self, BadText> {
        if text.trim().is_empty() {
            return Err(BadText::Empty);
        }
        if text.contains("{}") {
            return Err(BadText::StrayPlace);
        }
        Ok(Self(text))
    }
}

impl fmt::Display for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Text {
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for Phrase {
    type Error = BadText;

    fn try_from(text: String) -> Result<Self, BadText> {
        let (before, after) = text.split_once("{}").ok_or(BadText::NoPlace)?;
        if after.contains("{}") {
            return Err(BadText::NoPlace);
        }
        if before.trim().is_empty() && after.trim().is_empty() {
            return Err(BadText::Empty);
        }
        Ok(Self {
            before: before.to_owned(),
            after: after.to_owned(),
        })
    }
}

impl Phrase {
    /// The whole text as plain characters, for attributes and for values that need no markup.
    pub(crate) fn with(&self, value: impl fmt::Display) -> String {
        format!("{}{value}{}", self.before, self.after)
    }
}

impl Counted {
    pub(crate) fn with(&self, count: u64) -> String {
        match count {
            1 => self.one.with(count),
            _ => self.many.with(count),
        }
    }
}

/// Declares structs whose fields are the keys of one table of the files.
macro_rules! tables {
    ($($(#[$doc:meta])* $name:ident { $($field:ident: $kind:ty),+ $(,)? })+) => {$(
        $(#[$doc])*
        #[derive(Debug, Deserialize)]
        #[serde(deny_unknown_fields)]
        pub(crate) struct $name { $(pub(crate) $field: $kind),+ }
    )+};
}

tables! {
    /// One language, whole.
    Texts {
        site: Site, home: Home, login: Login, consent: Consent, error: Errors, logout: Logout, logged_out: LoggedOut,
        account: Account, form_post: FormPost, connect: Connect, approve: Approve, time: Times, device: Devices, scope: Scopes,
        claim: Claims,
    }
    Site { tagline: Text, home: Text, new_tab: Text, privacy: Text, terms: Text, app_links: Text }
    Home {
        title: Text, heading: Text, lead: Text, account_heading: Text, account_text: Text, account_link: Text,
        greeting: Phrase, developer_heading: Text, developer_text: Text, issuer: Text, discovery: Text, keys: Text,
    }
    Login {
        title: Text, heading: Text, to_app: Phrase, to_account: Text, again: Text, username: Text, password: Text,
        submit: Text, cancel: Text, wrong: Text, expired: Text, busy: Text, throttled_seconds: Counted,
        throttled_minutes: Counted,
    }
    Consent {
        title: Text, heading: Text, asks: Phrase, user: Text, switch: Text, scopes: Text, new: Text, returns: Phrase,
        revoke: Text, identified: Phrase, device: Text, allow: Text, deny: Text, calls: Calls,
    }
    /// What AI calls a person is asked for in detail (RFC 9396).
    Calls {
        heading: Text, cost: Phrase, no_cost: Text, amount: Phrase, until: Phrase, no_end: Text, end: Text, narrow: Text,
        problem: Text,
    }
    Errors {
        request: Text, hint: Text, bad_request: Explained, not_found: Explained,
        method_not_allowed: Explained, too_many_requests: Explained, internal: Explained, unavailable: Explained,
    }
    Explained { heading: Text, text: Text }
    Logout { title: Text, heading: Text, asks: Phrase, text: Text, user: Text, confirm: Text, cancel: Text }
    LoggedOut { title: Text, heading: Text, text: Text, back: Phrase, account: Text, onwards: Phrase, frame: Text }
    Account {
        title: Text, heading: Text, sign_out: Text, profile: Text, username: Text, email: Text, phone: Text,
        verified: Text, unverified: Text, sessions: Text, sessions_text: Text, no_sessions: Text, this_session: Text,
        signed_in: Phrase, last_seen: Phrase, end_session: Text, end_session_of: Phrase, end_others: Text, end_all: Text,
        apps: Text, apps_text: Text, no_apps: Text, no_apps_text: Text, granted: Phrase, remove_app: Text, remove_app_of: Phrase,
        flash: Flashes,
    }
    Flashes { session_ended: Text, others_ended: Text, app_removed: Text, request_gone: Text, expired: Text }
    FormPost { title: Text, heading: Text, text: Phrase, r#continue: Text }
    Connect {
        title: Text, heading: Text, lead: Text, code: Text, hint: Text, submit: Text, unknown: Text, expired: Text,
        gone: Text, ask_heading: Text, asks: Phrase, compare: Text, warning: Text, allow: Text, deny: Text,
        allowed_heading: Text, allowed_text: Text, denied_heading: Text, denied_text: Text,
    }
    Approve {
        title: Text, heading: Text, asks: Phrase, asked: Phrase, compare: Text, warning: Text, allow: Text, deny: Text,
        allowed_heading: Text, allowed_text: Text, denied_heading: Text, denied_text: Text, account: Text, list: Text,
        list_text: Text, look: Text, look_at: Phrase,
    }
    Times { date: Text, months: [Text; 12], now: Text, minutes: Counted, hours: Counted, days: Counted }
    Devices { on: Text, browser: Text, unknown: Text }
    /// Scopes in words. The names of the tables are the scopes themselves, those of AI capabilities without `ai:`.
    Scopes {
        openid: Scope, profile: Scope, email: Scope, phone: Scope, address: Scope, offline_access: Scope, admin: Scope,
        chat: Scope, embeddings: Scope, transcription: Scope, speech: Scope, image: Scope, ocr: Scope, labels: Scope,
        faces: Scope, moderation: Scope, rerank: Scope, raw: Scope, words: ScopeWords,
    }
    Scope { title: Text, detail: Text }
    /// Claims in words, by their names in the protocol, for a list.
    Claims {
        title: Text, name: Text, given_name: Text, family_name: Text, middle_name: Text, nickname: Text,
        preferred_username: Text, profile: Text, picture: Text, website: Text, gender: Text, birthdate: Text,
        zoneinfo: Text, locale: Text, updated_at: Text, email: Text, email_verified: Text, phone_number: Text,
        phone_number_verified: Text, address: Text,
    }
    ScopeWords { other_capability: Phrase, other_detail: Text, interface: Phrase, unknown: Text }
}

impl Claims {
    /// A claim in words; `None` for one that is not known.
    pub(crate) fn word(&self, claim: &str) -> Option<&str> {
        let text = match claim {
            "name" => &self.name,
            "given_name" => &self.given_name,
            "family_name" => &self.family_name,
            "middle_name" => &self.middle_name,
            "nickname" => &self.nickname,
            "preferred_username" => &self.preferred_username,
            "profile" => &self.profile,
            "picture" => &self.picture,
            "website" => &self.website,
            "gender" => &self.gender,
            "birthdate" => &self.birthdate,
            "zoneinfo" => &self.zoneinfo,
            "locale" => &self.locale,
            "updated_at" => &self.updated_at,
            "email" => &self.email,
            "email_verified" => &self.email_verified,
            "phone_number" => &self.phone_number,
            "phone_number_verified" => &self.phone_number_verified,
            "address" => &self.address,
            _ => return None,
        };
        Some(text.as_str())
    }
}
