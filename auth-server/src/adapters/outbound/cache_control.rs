//! For how long a host lets its reply be kept.

use std::time::Duration;

use reqwest::header::{AGE, CACHE_CONTROL, HeaderMap};

/// Longer than this nothing is kept, whatever the host says.
const MAX: Duration = Duration::from_hours(24);

/// `None` when the host does not say; zero when it forbids it, or when what it says cannot be understood (RFC 9111 §4.2.1).
pub(super) fn keep_for(headers: &HeaderMap) -> Option<Duration> {
    let mut told = None;
    for value in headers.get_all(CACHE_CONTROL) {
        let Ok(value) = value.to_str() else {
            return Some(Duration::ZERO);
        };
        for directive in value.split(',') {
            let (name, argument) = directive.split_once('=').unwrap_or((directive, ""));
            match name.trim().to_ascii_lowercase().as_str() {
                "no-store" | "no-cache" => return Some(Duration::ZERO),
                "max-age" => {
                    let seconds = seconds(argument);
                    // Twice: the shorter one holds.
                    told = Some(told.map_or(seconds, |earlier: u64| earlier.min(seconds)));
                }
                _ => {}
            }
        }
    }
    let age = headers.get(AGE).map_or(0, |age| age.to_str().map_or(u64::MAX, seconds));
    told.map(|told| Duration::from_secs(told.saturating_sub(age)).min(MAX))
}

/// RFC 9111 §1.2.2: more than fits is as much as fits; §5.2: an argument may be quoted.
fn seconds(text: &str) -> u64 {
    let digits = text.trim().trim_matches('"');
    match !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit()) {
        true => digits.parse().unwrap_or(u64::MAX),
        false => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(fields: &[(&'static str, &'static str)]) -> Option<u64> {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            headers.append(*name, value.parse().unwrap());
        }
        keep_for(&headers).map(|length| length.as_secs())
    }

    #[test]
    fn a_lifetime_is_read_as_hosts_write_it() {
        for (fields, wanted) in [
            (&[][..], None),
            (&[("cache-control", "public")], None),
            (&[("cache-control", "max-age=60")], Some(60)),
            (&[("cache-control", "public, Max-Age=60, must-revalidate")], Some(60)),
            (&[("cache-control", "max-age=\"60\"")], Some(60)),
            (&[("cache-control", "max-age=60"), ("age", "20")], Some(40)),
            (&[("cache-control", "max-age=60"), ("age", "90")], Some(0)),
            (&[("cache-control", "max-age=60, no-store")], Some(0)),
            (&[("cache-control", "no-cache")], Some(0)),
            (
                &[("cache-control", "max-age=60"), ("cache-control", "no-store")],
                Some(0),
            ),
            (&[("cache-control", "max-age=60, max-age=30")], Some(30)),
            (&[("cache-control", "max-age=-1")], Some(0)),
            (&[("cache-control", "max-age=")], Some(0)),
            (&[("cache-control", "max-age=1e9")], Some(0)),
            (&[("cache-control", "max-age=99999999999999999999999")], Some(86_400)),
            (&[("cache-control", "s-maxage=60")], None),
        ] {
            assert_eq!(told(fields), wanted, "{fields:?}");
        }
    }

    #[test]
    fn an_age_that_cannot_be_read_does_not_lengthen_it() {
        assert_eq!(told(&[("cache-control", "max-age=60"), ("age", "x")]), Some(60));
    }
}
