use askama::Template;

use super::{App, Page};

/// `/login`: username and password. Posts `username`, `password` and `action` = `login` or `cancel`.
#[derive(Debug, Template)]
#[template(path = "pages/login.html")]
pub(crate) struct LoginPage {
    pub(crate) page: Page,
    /// The application that waits; none when someone came for the account page.
    pub(crate) app: Option<App>,
    pub(crate) purpose: LoginPurpose,
    /// Filled in from `login_hint` or from the attempt before.
    pub(crate) username: String,
    pub(crate) problem: Option<LoginProblem>,
    /// The authorization request to return to.
    pub(crate) request: Option<String>,
    pub(crate) csrf: String,
}

/// Why the form is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LoginPurpose {
    /// Nobody is signed in.
    SignIn,
    /// Someone is, but must prove it once more (`prompt=login`, `max_age`).
    ProveAgain,
}

/// Why the last attempt did not succeed. An unknown user and a wrong password read alike.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LoginProblem {
    WrongCredentials,
    Throttled {
        seconds: u64,
    },
    /// The CSRF token or the authorization request is too old.
    FormExpired,
    /// Too many passwords are being checked at once.
    Busy,
}

impl LoginPage {
    fn problem_text(&self) -> Option<String> {
        const MINUTE: u64 = 60;
        let t = &self.page.t.login;
        Some(match self.problem? {
            LoginProblem::WrongCredentials => t.wrong.to_string(),
            LoginProblem::FormExpired => t.expired.to_string(),
            LoginProblem::Busy => t.busy.to_string(),
            LoginProblem::Throttled { seconds } if seconds <= 2 * MINUTE => t.throttled_seconds.with(seconds.max(1)),
            LoginProblem::Throttled { seconds } => t.throttled_minutes.with(seconds.div_ceil(MINUTE)),
        })
    }

    /// Whether assistive technology shall call the two fields wrong.
    fn fields_are_wrong(&self) -> bool {
        self.problem == Some(LoginProblem::WrongCredentials)
    }
}
