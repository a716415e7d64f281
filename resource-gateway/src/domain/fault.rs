//! What went wrong with a vendor, in neutral words, and what the caller is told about it.

use std::time::Duration;

use http::HeaderMap;

/// The kind of a vendor's failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FaultClass {
    InvalidRequest,
    Authentication,
    Permission,
    NotFound,
    RateLimit,
    /// Waiting does not help: no balance, or a quota used up.
    QuotaExceeded,
    ContentFilter,
    Overloaded,
    ServerError,
    Timeout,
    /// The connection could not be made, or broke.
    Transport,
    /// The vendor said that all is well and sent something else than an answer.
    InvalidReply,
    /// The vendor sent a call that is passed on elsewhere. Neither we nor the caller go there with a credential.
    Redirect,
    /// The vendor reports as an error that there is nothing to find: no text, no face.
    NoResult,
    /// The vendor was not asked: its format has no words for what the caller wants. Another one may have.
    Unsupported,
    /// The vendor is a program of this machine, and it is not installed. Another vendor may be there.
    NotInstalled,
    /// So much is being fetched for other calls that there is no room for what this one needs. It may go without that elsewhere.
    NoRoom,
    /// The answer lies behind a URL that is not fetched here, or is larger than what is. The vendor has done its part.
    NotFetched,
}

impl FaultClass {
    pub const ALL: [Self; 18] = [
        Self::InvalidRequest,
        Self::Authentication,
        Self::Permission,
        Self::NotFound,
        Self::RateLimit,
        Self::QuotaExceeded,
        Self::ContentFilter,
        Self::Overloaded,
        Self::ServerError,
        Self::Timeout,
        Self::Transport,
        Self::InvalidReply,
        Self::Redirect,
        Self::NoResult,
        Self::Unsupported,
        Self::NotInstalled,
        Self::NoRoom,
        Self::NotFetched,
    ];

    /// What a status means when the body says nothing.
    pub fn of_status(status: u16) -> Self {
        match status {
            401 => Self::Authentication,
            402 => Self::QuotaExceeded,
            403 => Self::Permission,
            404 => Self::NotFound,
            408 | 504 => Self::Timeout,
            429 => Self::RateLimit,
            503 | 529 => Self::Overloaded,
            400..=499 => Self::InvalidRequest,
            500..=599 => Self::ServerError,
            // Neither success nor failure: a redirect, which is not followed because it would carry the key along.
            _ => Self::InvalidReply,
        }
    }

    /// For metrics and logs.
    pub fn label(self) -> &'static str {
        match self {
            Self::InvalidRequest => "invalid_request",
            Self::Authentication => "authentication",
            Self::Permission => "permission",
            Self::NotFound => "not_found",
            Self::RateLimit => "rate_limit",
            Self::QuotaExceeded => "quota_exceeded",
            Self::ContentFilter => "content_filter",
            Self::Overloaded => "overloaded",
            Self::ServerError => "server_error",
            Self::Timeout => "timeout",
            Self::Transport => "transport",
            Self::InvalidReply => "invalid_reply",
            Self::Redirect => "redirect",
            Self::NoResult => "no_result",
            Self::Unsupported => "unsupported",
            Self::NotInstalled => "not_installed",
            Self::NoRoom => "no_room",
            Self::NotFetched => "not_fetched",
        }
    }

    /// Whether another attempt may have more luck.
    pub fn is_retryable(self) -> bool {
        match self {
            Self::RateLimit
            | Self::Overloaded
            | Self::ServerError
            | Self::Timeout
            | Self::Transport
            | Self::InvalidReply
            | Self::Unsupported
            | Self::NotInstalled
            | Self::NoRoom => true,
            Self::InvalidRequest
            | Self::Authentication
            | Self::Permission
            | Self::NotFound
            | Self::QuotaExceeded
            | Self::ContentFilter
            | Self::Redirect
            | Self::NoResult
            | Self::NotFetched => false,
        }
    }
}

/// The vendor's own words of a failure. Callers see the first three of them, and those only where the failure is theirs.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct VendorWords {
    pub message: Option<Box<str>>,
    pub param: Option<Box<str>>,
    pub code: Option<Box<str>>,
    pub traces: Option<Box<Traces>>,
}

/// What only operators are told. Apart from the rest, so that a failure stays small.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Traces {
    /// What kind of failure it is, for vendors that say so beside the code, or instead of one.
    pub kind: Option<Box<str>>,
    /// The vendor's name for the request: its support asks for it.
    pub request_id: Option<Box<str>>,
}

impl Traces {
    /// Of what stands in an answer, as far as these are words.
    pub fn of(kind: Option<&str>, request_id: Option<&str>) -> Option<Box<Self>> {
        let word = |word: Option<&str>| word.and_then(VendorWords::word);
        let traces = Self {
            kind: word(kind),
            request_id: word(request_id),
        };
        (traces != Self::default()).then(|| Box::new(traces))
    }
}

/// Of a vendor's message so much is passed on, in characters.
pub const MAX_MESSAGE_CHARS: usize = 1000;
const MAX_WORD_CHARS: usize = 128;

impl VendorWords {
    /// A message without more words, clipped. What is blank is none.
    pub fn of_message(message: &str) -> Self {
        let message: Box<str> = message.chars().take(MAX_MESSAGE_CHARS).collect();
        Self {
            message: Some(message).filter(|message| !message.trim().is_empty()),
            ..Self::default()
        }
    }

    /// A code, a kind or a name of a request, if it is that: a word and no sentence.
    pub fn word(word: &str) -> Option<Box<str>> {
        let is_legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.' | ':' | '/' | '=' | '+');
        let is_word = !word.is_empty() && word.len() <= MAX_WORD_CHARS && word.chars().all(is_legal);
        is_word.then(|| word.into())
    }

    /// The name of the request that stands in an answer's headers, unless its body had one.
    pub fn find_request_id(&mut self, headers: &HeaderMap) {
        const HEADERS: [&str; 6] = [
            "x-request-id",
            "request-id",
            "x-amzn-requestid",
            "apim-request-id",
            "x-tt-logid",
            "x-bce-request-id",
        ];
        let in_header = |name: &&str| Self::word(headers.get(*name)?.to_str().ok()?);
        if self.request_id().is_none()
            && let Some(name) = HEADERS.iter().find_map(in_header)
        {
            self.traces.get_or_insert_default().request_id = Some(name);
        }
    }

    pub fn kind(&self) -> Option<&str> {
        self.traces.as_ref()?.kind.as_deref()
    }

    pub fn request_id(&self) -> Option<&str> {
        self.traces.as_ref()?.request_id.as_deref()
    }

    /// Takes a secret out: there are vendors that quote the key that they were called with, or the address with a token in it.
    pub fn hide(&mut self, secret: &str) {
        if secret.is_empty() {
            return;
        }
        self.hide_text(secret);
        let quoted: String = form_urlencoded::byte_serialize(secret.as_bytes()).collect();
        if quoted != secret {
            self.hide_text(&quoted);
        }
    }

    fn hide_text(&mut self, secret: &str) {
        let traces = self.traces.as_deref_mut();
        let traces = traces
            .into_iter()
            .flat_map(|traces| [&mut traces.kind, &mut traces.request_id]);
        let words = [&mut self.message, &mut self.param, &mut self.code];
        for word in words.into_iter().chain(traces) {
            if let Some(text) = word.as_deref().filter(|text| text.contains(secret)) {
                *word = Some(text.replace(secret, "[secret]").into());
            }
        }
    }
}

/// When to try again, as the vendor said it. Passed on as it came: without it callers come back in storms.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RetryHints {
    pub retry_after: Option<Box<str>>,
    pub retry_after_ms: Option<Box<str>>,
    pub should_retry: Option<Box<str>>,
}

impl RetryHints {
    /// How long the vendor asks to wait from `now` (seconds): `retry-after-ms` before `Retry-After`, which holds seconds or a date
    /// (RFC 9110 §10.2.3).
    pub fn wait(&self, now: i64) -> Option<Duration> {
        let number = |text: &str| text.trim().parse::<f64>().ok();
        let millis = self
            .retry_after_ms
            .as_deref()
            .and_then(number)
            .map(|millis| millis / 1000.0);
        let after = self.retry_after.as_deref();
        let seconds = millis
            .or_else(|| after.and_then(number))
            .or_else(|| after.and_then(|text| seconds_until(text, now)))?;
        Duration::try_from_secs_f64(seconds.clamp(0.0, LONGEST_WAIT_S)).ok()
    }
}

/// Whatever is longer is as good as never.
const LONGEST_WAIT_S: f64 = 86_400.0;

/// A date as HTTP writes it: `Sun, 06 Nov 1994 08:49:37 GMT` (RFC 9110 §5.6.7).
fn seconds_until(date: &str, now: i64) -> Option<f64> {
    let format = time::macros::format_description!(
        "[weekday repr:short], [day] [month repr:short] [year] [hour]:[minute]:[second] GMT"
    );
    let moment = time::PrimitiveDateTime::parse(date.trim(), format).ok()?;
    let seconds = moment.assume_utc().unix_timestamp().saturating_sub(now);
    i32::try_from(seconds.min(i64::from(i32::MAX))).ok().map(f64::from)
}

/// A vendor's failure.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    pub class: FaultClass,
    /// None when no answer came.
    pub status: Option<u16>,
    pub words: VendorWords,
    pub hints: RetryHints,
    /// It is the end of work that was begun: who asks for it once more is told the same.
    pub ended: bool,
}

impl Fault {
    /// A failure about which nothing more is known.
    pub fn of(class: FaultClass) -> Self {
        Self {
            class,
            status: None,
            words: VendorWords::default(),
            hints: RetryHints::default(),
            ended: false,
        }
    }

    /// The same as the end of work that was begun.
    #[must_use]
    pub fn of_ended_work(self) -> Self {
        Self { ended: true, ..self }
    }

    /// A request that was not made, in the words in which the caller is told why.
    pub fn unsupported(error: PublicError) -> Self {
        Self {
            class: FaultClass::Unsupported,
            status: Some(error.status),
            words: VendorWords {
                message: Some(error.message),
                param: error.param,
                code: error.code,
                ..VendorWords::default()
            },
            hints: RetryHints::default(),
            ended: false,
        }
    }

    /// A program that is missing here. Its name is ours, so the caller may be told.
    pub fn not_installed(program: &str) -> Self {
        let message = format!("The program '{program}', which does this here, is not installed.");
        Self {
            words: VendorWords {
                message: Some(message.into()),
                ..VendorWords::default()
            },
            ..Self::of(FaultClass::NotInstalled)
        }
    }

    /// What was to be fetched for the call has no place here now.
    pub fn no_room() -> Self {
        Self {
            hints: RetryHints {
                retry_after: Some("1".into()),
                ..RetryHints::default()
            },
            ..Self::of(FaultClass::NoRoom)
        }
    }

    /// Whether another attempt may have more luck; the vendor's own word goes before the class.
    pub fn is_retryable(&self) -> bool {
        match self.hints.should_retry.as_deref() {
            Some("true") => true,
            Some("false") => false,
            _ => self.class.is_retryable(),
        }
    }

    /// Whether it says something about the address that was asked, so that others may do better. What is wrong with the request, or
    /// with our account, does not: it would be the same everywhere, and one caller's mistakes must not close an address to all.
    pub fn blames_address(&self) -> bool {
        let ours = matches!(
            self.class,
            FaultClass::Unsupported | FaultClass::NotInstalled | FaultClass::NoRoom
        );
        self.class.is_retryable() && !ours
    }

    /// What the caller is told. What the caller did wrong comes in the vendor's words; what went wrong at the vendor or with
    /// our account there comes in ours, since the vendor's may name hosts, accounts and keys.
    pub fn to_public(&self) -> PublicError {
        let known = |code: &str| self.words.code.clone().unwrap_or_else(|| code.into());
        let said = |otherwise: &str| self.words.message.clone().unwrap_or_else(|| otherwise.into());
        let (status, kind, code, message) = match self.class {
            FaultClass::InvalidRequest | FaultClass::Unsupported => (
                self.status.filter(|status| (400..500).contains(status)).unwrap_or(400),
                ErrorKind::InvalidRequest,
                self.words.code.clone(),
                said("The provider refused the request."),
            ),
            FaultClass::ContentFilter => (
                400,
                ErrorKind::InvalidRequest,
                Some(known("content_filter")),
                said("The provider's content filter refused the request."),
            ),
            FaultClass::NotFound => (
                404,
                ErrorKind::InvalidRequest,
                Some(known("not_found")),
                said("The provider does not know what was asked for."),
            ),
            FaultClass::NoResult => (
                422,
                ErrorKind::InvalidRequest,
                Some("no_result".into()),
                said("The provider found nothing in what was sent."),
            ),
            FaultClass::Authentication | FaultClass::Permission => ours(
                502,
                "upstream_refused",
                "The provider did not accept the gateway's credentials.",
            ),
            FaultClass::RateLimit => (
                429,
                ErrorKind::RateLimit,
                Some("rate_limit_exceeded".into()),
                "The provider's rate limit is reached. Try again later.".into(),
            ),
            FaultClass::QuotaExceeded => (
                429,
                ErrorKind::Quota,
                Some("insufficient_quota".into()),
                "The gateway's quota at the provider is used up.".into(),
            ),
            FaultClass::Overloaded => ours(
                503,
                "upstream_overloaded",
                "The provider is overloaded. Try again later.",
            ),
            FaultClass::ServerError => ours(502, "upstream_error", "The provider failed."),
            FaultClass::Timeout => ours(504, "upstream_timeout", "The provider did not answer in time."),
            FaultClass::Transport => ours(
                502,
                "upstream_unreachable",
                "The connection to the provider failed or was cut.",
            ),
            FaultClass::InvalidReply => ours(
                502,
                "upstream_invalid_reply",
                "The provider's answer could not be understood.",
            ),
            FaultClass::Redirect => ours(
                502,
                "upstream_redirect",
                "The provider sent the call elsewhere, and the gateway follows nobody.",
            ),
            FaultClass::NotInstalled => ours(503, "engine_missing", &said("The engine is not installed.")),
            FaultClass::NoRoom => no_room(),
            FaultClass::NotFetched => not_fetched(),
        };
        PublicError {
            status,
            kind,
            code,
            message,
            param: self.words.param.clone(),
            hints: self.public_hints(),
        }
    }

    fn public_hints(&self) -> RetryHints {
        let mut hints = self.hints.clone();
        if matches!(
            self.class,
            FaultClass::Authentication
                | FaultClass::Permission
                | FaultClass::Redirect
                | FaultClass::NotInstalled
                | FaultClass::NotFetched
        ) {
            // The SDKs retry every 5xx; an operator has to act before this one goes away.
            hints.should_retry = Some("false".into());
        }
        hints
    }
}

fn ours(status: u16, code: &str, message: &str) -> (u16, ErrorKind, Option<Box<str>>, Box<str>) {
    (status, ErrorKind::Upstream, Some(code.into()), message.into())
}

fn no_room() -> (u16, ErrorKind, Option<Box<str>>, Box<str>) {
    let message = "So much is being fetched now that there is no room for what this call needs. Try again later.";
    (503, ErrorKind::Server, Some("fetching_busy".into()), message.into())
}

fn not_fetched() -> (u16, ErrorKind, Option<Box<str>>, Box<str>) {
    let message = "The provider's answer lies where nothing is fetched from, or is too large to be fetched.";
    ours(502, "result_not_fetched", message)
}

/// `type` of an error object: a fixed vocabulary.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorKind {
    InvalidRequest,
    Authentication,
    Permission,
    RateLimit,
    Quota,
    Upstream,
    /// The gateway itself.
    Server,
}

impl ErrorKind {
    pub const ALL: [Self; 7] = [
        Self::InvalidRequest,
        Self::Authentication,
        Self::Permission,
        Self::RateLimit,
        Self::Quota,
        Self::Upstream,
        Self::Server,
    ];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::InvalidRequest => "invalid_request_error",
            Self::Authentication => "authentication_error",
            Self::Permission => "permission_error",
            Self::RateLimit => "rate_limit_error",
            Self::Quota => "insufficient_quota",
            Self::Upstream => "upstream_error",
            Self::Server => "server_error",
        }
    }

    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == word)
    }
}

/// An error in words that any caller may read; the edge renders it in the caller's dialect.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublicError {
    pub status: u16,
    pub kind: ErrorKind,
    pub code: Option<Box<str>>,
    pub message: Box<str>,
    pub param: Option<Box<str>>,
    pub hints: RetryHints,
}

impl PublicError {
    pub fn new(status: u16, kind: ErrorKind, code: &str, message: impl Into<Box<str>>) -> Self {
        Self {
            status,
            kind,
            code: Some(code.into()),
            message: message.into(),
            param: None,
            hints: RetryHints::default(),
        }
    }

    /// 400 with the name of the field that is wrong.
    pub fn invalid(param: Option<&str>, code: &str, message: impl Into<Box<str>>) -> Self {
        let error = Self::new(400, ErrorKind::InvalidRequest, code, message);
        Self {
            param: param.map(Into::into),
            ..error
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fault(status: u16) -> Fault {
        let words = VendorWords {
            message: Some("vendor's words".into()),
            param: Some("temperature".into()),
            code: Some("some_code".into()),
            ..VendorWords::default()
        };
        Fault {
            status: Some(status),
            words,
            ..Fault::of(FaultClass::of_status(status))
        }
    }

    #[test]
    fn each_status_of_a_vendor_has_one_meaning_for_the_caller() {
        for (upstream, status, code) in [
            (302, 502, "upstream_invalid_reply"),
            (400, 400, "some_code"),
            (401, 502, "upstream_refused"),
            (402, 429, "insufficient_quota"),
            (403, 502, "upstream_refused"),
            (404, 404, "some_code"),
            (408, 504, "upstream_timeout"),
            (409, 409, "some_code"),
            (413, 413, "some_code"),
            (422, 422, "some_code"),
            (429, 429, "rate_limit_exceeded"),
            (500, 502, "upstream_error"),
            (502, 502, "upstream_error"),
            (503, 503, "upstream_overloaded"),
            (504, 504, "upstream_timeout"),
            (529, 503, "upstream_overloaded"),
        ] {
            let public = fault(upstream).to_public();
            assert_eq!(
                (public.status, public.code.as_deref()),
                (status, Some(code)),
                "{upstream}"
            );
            let own_words = &*public.message == "vendor's words";
            assert_eq!(own_words, matches!(upstream, 400 | 404 | 409 | 413 | 422), "{upstream}");
        }
    }

    #[test]
    fn a_vendors_word_on_retrying_goes_before_the_class() {
        let mut fault = fault(500);
        assert!(fault.is_retryable());
        fault.hints.should_retry = Some("false".into());
        assert!(!fault.is_retryable());
    }

    #[test]
    fn a_wait_is_read_however_it_is_written() {
        let wait = |after: Option<&str>, millis: Option<&str>| {
            let hints = RetryHints {
                retry_after: after.map(Into::into),
                retry_after_ms: millis.map(Into::into),
                should_retry: None,
            };
            hints.wait(784_111_777).map(|wait| wait.as_millis())
        };
        for (after, millis, wanted) in [
            (None, None, None),
            (Some("7"), None, Some(7000)),
            (Some("0.5"), None, Some(500)),
            (Some("7"), Some("7100"), Some(7100)),
            (Some("7"), Some("soon"), Some(7000)),
            (Some("-3"), None, Some(0)),
            (Some("1e300"), None, Some(86_400_000)),
            (Some("inf"), None, Some(86_400_000)),
            (Some("NaN"), None, None),
            (Some("Sun, 06 Nov 1994 08:49:47 GMT"), None, Some(10_000)),
            (Some("Sun, 06 Nov 1994 08:49:27 GMT"), None, Some(0)),
            (Some("Fri, 31 Dec 9999 23:59:59 GMT"), None, Some(86_400_000)),
            (Some("tomorrow"), None, None),
        ] {
            assert_eq!(wait(after, millis), wanted, "{after:?} {millis:?}");
        }
    }

    #[test]
    fn a_key_that_the_vendor_quotes_is_taken_out_of_its_words() {
        let mut words = VendorWords {
            message: Some("key k-123 is not k-123".into()),
            param: Some("k-123".into()),
            code: Some("bad_key".into()),
            traces: Traces::of(Some("of-k-123"), Some("k-123")),
        };
        words.hide("");
        words.hide("k-123");
        assert_eq!(words.message.as_deref(), Some("key [secret] is not [secret]"));
        assert_eq!(words.param.as_deref(), Some("[secret]"));
        assert_eq!(words.code.as_deref(), Some("bad_key"));
        assert_eq!(words.kind(), Some("of-[secret]"));
        assert_eq!(words.request_id(), Some("[secret]"));
    }

    #[test]
    fn words_are_words_and_messages_end() {
        let long = "m".repeat(MAX_MESSAGE_CHARS + 1);
        let clipped = VendorWords::of_message(&long).message.unwrap();
        assert_eq!(clipped.len(), MAX_MESSAGE_CHARS);
        assert_eq!(VendorWords::of_message(" \n").message, None);
        let edge = "w".repeat(MAX_WORD_CHARS);
        assert_eq!(VendorWords::word(&edge).as_deref(), Some(edge.as_str()));
        for none in [
            "",
            "two words",
            "line\n",
            "\"",
            "\u{e9}",
            &"w".repeat(MAX_WORD_CHARS + 1),
        ] {
            assert_eq!(VendorWords::word(none), None, "{none:?}");
        }
    }

    #[test]
    fn a_request_has_the_name_that_its_vendor_gave_it() {
        let headers = |name: &'static str| HeaderMap::from_iter([(name.parse().unwrap(), "req_1".parse().unwrap())]);
        for name in ["x-request-id", "request-id", "x-amzn-requestid", "apim-request-id"] {
            let mut words = VendorWords::default();
            words.find_request_id(&headers(name));
            assert_eq!(words.request_id(), Some("req_1"), "{name}");
            words.traces = Traces::of(None, Some("body"));
            words.find_request_id(&headers(name));
            assert_eq!(words.request_id(), Some("body"), "the body's goes first");
        }
    }

    #[test]
    fn nobody_is_told_to_retry_what_only_an_operator_can_mend() {
        assert_eq!(fault(401).to_public().hints.should_retry.as_deref(), Some("false"));
    }
}
