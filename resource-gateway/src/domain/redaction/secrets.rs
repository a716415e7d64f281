//! Secrets that are told by their shape or by the name of what holds them.

use std::borrow::Cow;

/// Shorter words are no secrets, whatever they begin with.
const SHORTEST: usize = 16;

/// What a word begins with, and what it then is.
const PREFIXES: &[(&str, &str)] = &[
    ("sk-ant-", "anthropic-key"),
    ("sk-", "api-key"),
    ("pk-", "api-key"),
    ("rk-", "api-key"),
    ("sk_live_", "api-key"),
    ("sk_test_", "api-key"),
    ("AIza", "google-key"),
    ("ya29.", "google-token"),
    ("AKIA", "aws-key"),
    ("ASIA", "aws-key"),
    ("AKID", "tencent-key"),
    ("LTAI", "aliyun-key"),
    ("ALTAK", "baidu-key"),
    ("ghp_", "github-token"),
    ("gho_", "github-token"),
    ("ghs_", "github-token"),
    ("github_pat_", "github-token"),
    ("glpat-", "gitlab-token"),
    ("xoxb-", "slack-token"),
    ("xoxp-", "slack-token"),
    ("hf_", "huggingface-token"),
    ("hga_", "access-token"),
    ("hgr_", "refresh-token"),
    ("hgk_", "access-key"),
    ("hgks_", "access-key-secret"),
    ("whsec_", "webhook-secret"),
    ("eyJ", "jwt"),
];

/// Members whose value is a secret whatever it looks like, without the signs between words.
const NAMES: &[&str] = &[
    "password",
    "passwd",
    "passphrase",
    "secret",
    "clientsecret",
    "secretkey",
    "secretaccesskey",
    "apikey",
    "accesstoken",
    "refreshtoken",
    "idtoken",
    "sessiontoken",
    "authtoken",
    "bearertoken",
    "token",
    "authorization",
    "cookie",
    "setcookie",
    "privatekey",
    "clientassertion",
    "codeverifier",
];

/// The same when something stands in front: `x-api-key`, `DB_PASSWORD`.
const NAME_ENDINGS: &[&str] = &[
    "apikey",
    "accesskey",
    "secretkey",
    "privatekey",
    "password",
    "clientsecret",
    "accesstoken",
    "refreshtoken",
    "authtoken",
    "authorization",
];

pub(super) fn is_secret_name(name: &str) -> bool {
    let letters: String = name
        .chars()
        .filter(char::is_ascii_alphanumeric)
        .map(|c| c.to_ascii_lowercase())
        .collect();
    NAMES.contains(&letters.as_str()) || NAME_ENDINGS.iter().any(|ending| letters.ends_with(ending))
}

/// A text with its secrets replaced by what they are.
pub(super) fn mask(text: &str) -> Cow<'_, str> {
    if text.len() < SHORTEST {
        return Cow::Borrowed(text);
    }
    let text = mask_keys(text);
    let mut masked: Option<String> = None;
    let (mut copied, mut after_bearer) = (0, false);
    for (start, word) in words(&text) {
        let found = if word.len() < SHORTEST {
            None
        } else if after_bearer {
            Some((0, "bearer-token"))
        } else {
            find_secret(word)
        };
        after_bearer = ["bearer", "dpop", "basic"]
            .iter()
            .any(|scheme| word.eq_ignore_ascii_case(scheme));
        let Some((lead, kind)) = found else { continue };
        let out = masked.get_or_insert_default();
        out.push_str(text.get(copied..start + lead).unwrap_or_default());
        out.push('[');
        out.push_str(kind);
        out.push(']');
        copied = start + word.len();
    }
    match masked {
        None => text,
        Some(mut out) => {
            out.push_str(text.get(copied..).unwrap_or_default());
            Cow::Owned(out)
        }
    }
}

/// Where in a word a secret begins, and what it is. These signs are parts of tokens, and stand before them as well: `KEY=sk-…`,
/// `https://…/ghp_…`.
fn find_secret(word: &str) -> Option<(usize, &'static str)> {
    let behind = word.match_indices(['=', '/', '+']).map(|(at, sign)| at + sign.len());
    std::iter::once(0).chain(behind).find_map(|at| {
        let rest = word.get(at..).filter(|rest| rest.len() >= SHORTEST)?;
        Some((at, kind_of(rest)?))
    })
}

fn kind_of(word: &str) -> Option<&'static str> {
    let kind = PREFIXES.iter().find(|(prefix, _)| word.starts_with(prefix));
    let (_, kind) = kind?;
    // Three parts make a JWT; other base64 may begin with the same letters.
    (*kind != "jwt" || word.matches('.').count() >= 2).then_some(*kind)
}

/// Runs of what tokens are made of, and where they begin. An escape of JSON stands between words, its letters included.
fn words(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let is_part =
        |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'~' | b'+' | b'/' | b'=');
    let bytes = text.as_bytes();
    let mut at = 0;
    std::iter::from_fn(move || {
        loop {
            match bytes.get(at)? {
                byte if is_part(*byte) => break,
                b'\\' => at += escape(bytes.get(at + 1..).unwrap_or_default()),
                _ => at += 1,
            }
        }
        let start = at;
        at += bytes.get(at..)?.iter().take_while(|byte| is_part(**byte)).count();
        Some((start, text.get(start..at)?))
    })
}

/// How long an escape is of whose backslash this is the rest; 1 if it is none.
fn escape(rest: &[u8]) -> usize {
    match rest {
        [b'u', a, b, c, d, ..] if [a, b, c, d].iter().all(|digit| digit.is_ascii_hexdigit()) => 6,
        [b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't', ..] => 2,
        _ => 1,
    }
}

/// Private keys in PEM, from the first line to the last.
fn mask_keys(text: &str) -> Cow<'_, str> {
    const MARK: &str = "PRIVATE KEY-----";
    if !text.contains(MARK) {
        return Cow::Borrowed(text);
    }
    let mut out = String::new();
    let mut rest = text;
    while let Some(mark) = rest.find(MARK) {
        let begin = rest
            .get(..mark)
            .and_then(|before| before.rfind("-----BEGIN"))
            .unwrap_or(mark);
        out.push_str(rest.get(..begin).unwrap_or_default());
        out.push_str("[private-key]");
        let behind = rest.get(mark + MARK.len()..).unwrap_or_default();
        // A key without its last line ends with the text.
        rest = behind
            .find(MARK)
            .and_then(|end| behind.get(end + MARK.len()..))
            .unwrap_or_default();
    }
    out.push_str(rest);
    Cow::Owned(out)
}
