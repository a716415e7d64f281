//! Pieces that several pages show.

use askama::Template;
use oauth_wire::AI_SCOPE;
use url::Url;

use super::super::texts::{Scope, Texts};

/// An application (an OAuth client) as people see it. Everything but the name is optional.
#[derive(Debug, Clone)]
pub(crate) struct App {
    pub(crate) name: String,
    /// One letter in place of a logo.
    pub(crate) monogram: String,
    /// A path of ours.
    pub(crate) logo: Option<String>,
    pub(crate) website: Option<String>,
    pub(crate) policy: Option<String>,
    pub(crate) terms: Option<String>,
}

impl App {
    pub(crate) fn new(name: &str) -> Self {
        let name = self::name(name);
        Self {
            monogram: monogram(&name),
            name,
            logo: None,
            website: None,
            policy: None,
            terms: None,
        }
    }

    /// Sets where the logo is: a path of ours, since no page loads anything from elsewhere.
    #[must_use]
    pub(crate) fn logo(self, path: Option<String>) -> Self {
        Self {
            logo: path.filter(|path| path.starts_with('/') && !path.starts_with("//")),
            ..self
        }
    }

    /// Sets `client_uri`.
    #[must_use]
    pub(crate) fn website(self, uri: Option<&str>) -> Self {
        Self {
            website: web_only(uri),
            ..self
        }
    }

    /// Sets `policy_uri`.
    #[must_use]
    pub(crate) fn policy(self, uri: Option<&str>) -> Self {
        Self {
            policy: web_only(uri),
            ..self
        }
    }

    /// Sets `tos_uri`.
    #[must_use]
    pub(crate) fn terms(self, uri: Option<&str>) -> Self {
        Self {
            terms: web_only(uri),
            ..self
        }
    }

    pub(crate) fn has_links(&self) -> bool {
        self.website.is_some() || self.policy.is_some() || self.terms.is_some()
    }
}

/// An application's first letter as a picture, where a logo was to be.
#[derive(Debug, Template)]
#[template(path = "partials/letter.svg", escape = "html")]
pub(crate) struct LetterPicture {
    letter: String,
}

impl LetterPicture {
    pub(crate) fn of(name: &str) -> Self {
        Self {
            letter: monogram(&self::name(name)),
        }
    }
}

/// The person who is signed in.
#[derive(Debug, Clone)]
pub(crate) struct Person {
    pub(crate) name: String,
    pub(crate) username: String,
    pub(crate) monogram: String,
}

impl Person {
    /// `name` is the `name` claim; without one the username stands for it.
    pub(crate) fn new(name: Option<&str>, username: &str) -> Self {
        let username = self::name(username);
        let name = name
            .map(self::name)
            .filter(|name| !name.is_empty())
            .unwrap_or_else(|| username.clone());
        Self {
            monogram: monogram(&name),
            name,
            username,
        }
    }

    pub(crate) fn has_other_name(&self) -> bool {
        self.name != self.username
    }
}

/// One scope in words that a person understands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ScopeLine {
    /// The scope as the protocol writes it.
    pub(crate) scope: String,
    pub(crate) title: String,
    pub(crate) detail: String,
    /// The AI interface to which the scope is limited.
    pub(crate) interface: Option<String>,
    pub(crate) icon: &'static str,
    /// Nobody has defined it in words, so it is printed as code.
    pub(crate) verbatim: bool,
    /// Asked for the first time (only told when others were allowed before).
    pub(crate) new: bool,
}

impl ScopeLine {
    /// Puts a scope into words. An unknown scope is shown as it is: a guess at its meaning could mislead.
    pub(crate) fn new(texts: &Texts, scope: &str) -> Self {
        let known = |text: &Scope, icon| Self::titled(scope, text.title.to_string(), text.detail.to_string(), icon);
        let t = &texts.scope;
        match scope {
            "openid" => known(&t.openid, "person"),
            "profile" => known(&t.profile, "card"),
            "email" => known(&t.email, "mail"),
            "phone" => known(&t.phone, "phone"),
            "address" => known(&t.address, "pin"),
            "offline_access" => known(&t.offline_access, "clock"),
            "admin" => known(&t.admin, "shield"),
            other => match other.strip_prefix(AI_SCOPE).filter(|rest| !rest.is_empty()) {
                Some(rest) => Self::ai(texts, scope, rest),
                None => Self {
                    verbatim: true,
                    ..Self::titled(scope, name(scope), t.words.unknown.to_string(), "key")
                },
            },
        }
    }

    /// Claims that are asked for one by one, on one line; `None` when there are none.
    pub(crate) fn of_claims<'a>(texts: &Texts, claims: impl Iterator<Item = &'a str>) -> Option<Self> {
        let t = &texts.claim;
        let words: Vec<&str> = claims.map(|claim| t.word(claim).unwrap_or(claim)).collect();
        let list = words.join(" · ");
        (!words.is_empty()).then(|| Self::titled("claims", t.title.to_string(), list, "card"))
    }

    #[must_use]
    pub(crate) fn marked_new(self) -> Self {
        Self { new: true, ..self }
    }

    fn ai(texts: &Texts, scope: &str, rest: &str) -> Self {
        let t = &texts.scope;
        let (capability, interface) = match rest.split_once(':') {
            Some((capability, interface)) => (capability, Some(name(interface))),
            None => (rest, None),
        };
        let text = match capability {
            "chat" => Some(&t.chat),
            "embeddings" => Some(&t.embeddings),
            "transcription" => Some(&t.transcription),
            "speech" => Some(&t.speech),
            "image" => Some(&t.image),
            "ocr" => Some(&t.ocr),
            "labels" => Some(&t.labels),
            "faces" => Some(&t.faces),
            "moderation" => Some(&t.moderation),
            "rerank" => Some(&t.rerank),
            "raw" => Some(&t.raw),
            _ => None,
        };
        let (title, detail) = match text {
            Some(text) => (text.title.to_string(), text.detail.to_string()),
            None => (
                t.words.other_capability.with(name(capability)),
                t.words.other_detail.to_string(),
            ),
        };
        Self {
            interface,
            ..Self::titled(scope, title, detail, "spark")
        }
    }

    fn titled(scope: &str, title: String, detail: String, icon: &'static str) -> Self {
        Self {
            scope: scope.to_owned(),
            title,
            detail,
            interface: None,
            icon,
            verbatim: false,
            new: false,
        }
    }
}

/// A text from outside, fit for one line: no line breaks, no control characters, and none of the invisible characters that
/// turn the direction of what follows (an application called "\u{202e}elgooG" shall not read "Google").
pub(super) fn plain(text: &str) -> String {
    let words = text.split(|c: char| c.is_whitespace() || c.is_control());
    let visible = words.map(|word| word.chars().filter(|c| !is_invisible(*c)).collect::<String>());
    visible.filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" ")
}

/// A plain name, cut where it would push the buttons off the screen. Not for addresses: their end tells whose they are.
pub(super) fn name(text: &str) -> String {
    const LONGEST: usize = 120;
    let name = plain(text);
    match name.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}…", name.get(..end).unwrap_or_default().trim_end()),
        None => name,
    }
}

/// Zero-width, soft-hyphen, bidirectional formatting (UAX #9) and tag characters.
fn is_invisible(c: char) -> bool {
    matches!(
        c,
        '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}'
            | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}'
    )
}

fn monogram(name: &str) -> String {
    name.chars()
        .find(|c| c.is_alphanumeric())
        .map_or_else(|| "?".to_owned(), |c| c.to_uppercase().collect())
}

/// Only web addresses become links: a registered `javascript:` or `data:` address must not run here, whatever
/// the registration let through.
pub(super) fn web_only(uri: Option<&str>) -> Option<String> {
    let uri = uri?;
    let parsed = Url::parse(uri).ok()?;
    (matches!(parsed.scheme(), "https" | "http") && parsed.has_host()).then(|| uri.to_owned())
}
