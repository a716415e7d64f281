//! Times and devices in words.

use time::{OffsetDateTime, UtcOffset, format_description::well_known::Rfc3339};

use super::super::texts::Texts;

/// A moment, for `<time datetime>` and for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Moment {
    /// RFC 3339.
    pub(crate) iso: String,
    pub(crate) text: String,
}

impl Moment {
    /// The date and time in UTC. `at` is in Unix seconds; one outside the calendar shows as the beginning of it.
    pub(crate) fn on(texts: &Texts, at: i64) -> Self {
        let moment = calendar(at);
        let t = &texts.time;
        let month = t.months.get(usize::from(u8::from(moment.month())).saturating_sub(1));
        let text = t
            .date
            .as_str()
            .replace("{day}", &moment.day().to_string())
            .replace("{month}", &month.map(ToString::to_string).unwrap_or_default())
            .replace("{year}", &moment.year().to_string())
            .replace("{time}", &format!("{:02}:{:02}", moment.hour(), moment.minute()));
        Self { iso: iso(moment), text }
    }

    /// How long ago, and the date once that is more than a month.
    pub(crate) fn ago(texts: &Texts, at: i64, now: i64) -> Self {
        const MINUTE: u64 = 60;
        const HOUR: u64 = 60 * MINUTE;
        const DAY: u64 = 24 * HOUR;
        const MONTH: u64 = 30 * DAY;
        let t = &texts.time;
        let text = match u64::try_from(now.saturating_sub(at)).unwrap_or(0) {
            0..MINUTE => t.now.to_string(),
            seconds @ MINUTE..HOUR => t.minutes.with(seconds / MINUTE),
            seconds @ HOUR..DAY => t.hours.with(seconds / HOUR),
            seconds @ DAY..MONTH => t.days.with(seconds / DAY),
            _ => return Self::on(texts, at),
        };
        Self {
            iso: iso(calendar(at)),
            text,
        }
    }
}

fn calendar(at: i64) -> OffsetDateTime {
    OffsetDateTime::from_unix_timestamp(at)
        .unwrap_or(OffsetDateTime::UNIX_EPOCH)
        .to_offset(UtcOffset::UTC)
}

fn iso(moment: OffsetDateTime) -> String {
    // Years beyond 9999 have no RFC 3339 form; an empty attribute is harmless.
    moment.format(&Rfc3339).unwrap_or_default()
}

/// What someone signed in with, as far as the `User-Agent` header tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Device {
    pub(crate) name: String,
    pub(crate) kind: DeviceKind,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum DeviceKind {
    Desktop,
    Mobile,
    Unknown,
}

impl DeviceKind {
    pub(crate) fn icon(self) -> &'static str {
        match self {
            Self::Desktop => "desktop",
            Self::Mobile => "mobile",
            Self::Unknown => "terminal",
        }
    }
}

/// Product tokens and the browsers they mean. Order matters: nearly all browsers also claim to be others.
const BROWSERS: [(&str, &str); 13] = [
    ("Edg/", "Edge"),
    ("EdgA/", "Edge"),
    ("EdgiOS/", "Edge"),
    ("OPR/", "Opera"),
    ("SamsungBrowser/", "Samsung Internet"),
    ("MicroMessenger/", "WeChat"),
    ("FxiOS/", "Firefox"),
    ("Firefox/", "Firefox"),
    ("CriOS/", "Chrome"),
    ("HeadlessChrome/", "Chrome"),
    ("Chrome/", "Chrome"),
    ("Safari/", "Safari"),
    ("curl/", "curl"),
];

const SYSTEMS: [(&str, &str, DeviceKind); 8] = [
    ("iPhone", "iPhone", DeviceKind::Mobile),
    ("iPad", "iPad", DeviceKind::Mobile),
    ("HarmonyOS", "HarmonyOS", DeviceKind::Mobile),
    ("Android", "Android", DeviceKind::Mobile),
    ("Windows", "Windows", DeviceKind::Desktop),
    ("Mac OS X", "macOS", DeviceKind::Desktop),
    ("CrOS", "ChromeOS", DeviceKind::Desktop),
    ("Linux", "Linux", DeviceKind::Desktop),
];

impl Device {
    /// Names browser and system by fixed words; nothing of the header itself is printed.
    pub(crate) fn from_user_agent(texts: &Texts, user_agent: Option<&str>) -> Self {
        let sent = user_agent.unwrap_or_default();
        let browser = BROWSERS
            .iter()
            .find(|(token, _)| sent.contains(token))
            .map(|(_, name)| *name);
        let system = SYSTEMS.iter().find(|(token, ..)| sent.contains(token));
        let t = &texts.device;
        let name = match (browser, system) {
            (None, None) => t.unknown.to_string(),
            (Some(browser), None) => browser.to_owned(),
            (browser, Some((_, system, _))) => {
                t.on.as_str()
                    .replace("{browser}", browser.unwrap_or(t.browser.as_str()))
                    .replace("{system}", system)
            }
        };
        Self {
            name,
            kind: system.map_or(DeviceKind::Unknown, |(.., kind)| *kind),
        }
    }
}
