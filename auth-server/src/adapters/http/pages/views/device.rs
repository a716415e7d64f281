use askama::Template;

use super::{App, CallLine, Page, Person, ScopeLine};

/// `/device`: the code that a device shows. Posts `user_code`.
#[derive(Debug, Template)]
#[template(path = "pages/device.html")]
pub(crate) struct DevicePage {
    pub(crate) page: Page,
    /// Filled in from the address or from the attempt before.
    pub(crate) user_code: String,
    pub(crate) problem: Option<DeviceProblem>,
    pub(crate) csrf: String,
}

/// Why the last attempt did not succeed. A code that was never given out and one that has been used read alike.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum DeviceProblem {
    Unknown,
    Throttled {
        seconds: u64,
    },
    /// The CSRF token is too old.
    FormExpired,
    /// The code was right, but has expired or was decided on meanwhile.
    Gone,
}

impl DevicePage {
    fn problem_text(&self) -> Option<String> {
        const MINUTE: u64 = 60;
        let t = &self.page.t;
        Some(match self.problem? {
            DeviceProblem::Unknown => t.connect.unknown.to_string(),
            DeviceProblem::FormExpired => t.connect.expired.to_string(),
            DeviceProblem::Gone => t.connect.gone.to_string(),
            DeviceProblem::Throttled { seconds } if seconds <= 2 * MINUTE => {
                t.login.throttled_seconds.with(seconds.max(1))
            }
            DeviceProblem::Throttled { seconds } => t.login.throttled_minutes.with(seconds.div_ceil(MINUTE)),
        })
    }

    /// Whether assistive technology shall call the field wrong.
    fn field_is_wrong(&self) -> bool {
        self.problem == Some(DeviceProblem::Unknown)
    }
}

/// `/device/consent`: which application asks for what, and whether the device is the person's own. Posts `action` = `allow`, `deny` or
/// `switch` (sign in as someone else).
#[derive(Debug, Template)]
#[template(path = "pages/device_consent.html")]
pub(crate) struct DeviceConsentPage {
    pub(crate) page: Page,
    pub(crate) app: App,
    pub(crate) user: Person,
    pub(crate) scopes: Vec<ScopeLine>,
    /// What AI calls are asked for in detail (RFC 9396).
    pub(crate) calls: Vec<CallLine>,
    /// What was left of them the last time was more than was asked for, or nothing.
    pub(crate) choice_is_wrong: bool,
    /// To be compared with what the device shows.
    pub(crate) user_code: String,
    pub(crate) request: Option<String>,
    pub(crate) csrf: String,
}

/// `/device/done`: what was decided.
#[derive(Debug, Template)]
#[template(path = "pages/device_done.html")]
pub(crate) struct DeviceDonePage {
    pub(crate) page: Page,
    pub(crate) outcome: DeviceOutcome,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum DeviceOutcome {
    Allowed,
    Denied,
}
