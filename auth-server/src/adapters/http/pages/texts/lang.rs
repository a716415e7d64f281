//! The languages and how one is chosen.

/// A language that the pages speak.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Lang {
    #[default]
    En,
    /// Simplified Chinese.
    Zh,
}

impl Lang {
    /// Used by tests that hold for every language.
    #[cfg(test)]
    pub(crate) const ALL: [Self; 2] = [Self::En, Self::Zh];

    /// The BCP 47 tag for `<html lang>`.
    pub(crate) fn tag(self) -> &'static str {
        match self {
            Self::En => "en",
            Self::Zh => "zh-Hans",
        }
    }

    /// The language alone, without script or region.
    pub(crate) fn primary(self) -> &'static str {
        self.tag().split('-').next().unwrap_or_default()
    }

    /// The writing direction for `<html dir>`.
    pub(crate) fn dir(self) -> &'static str {
        match self {
            Self::En | Self::Zh => "ltr",
        }
    }

    /// Chooses the language of a page.
    ///
    /// `ui_locales` is the request parameter (OpenID Connect Core §3.1.2.1: space-separated, in order of preference;
    /// unknown ones are no error), `accept_language` the header (RFC 9110 §12.5.4). What the application asks goes first,
    /// because it knows which language the person was just reading.
    pub(crate) fn negotiate(ui_locales: Option<&str>, accept_language: Option<&str>) -> Self {
        ui_locales
            .and_then(|list| list.split_ascii_whitespace().find_map(Self::look_up))
            .or_else(|| accept_language.and_then(|header| preferred(header).into_iter().find_map(Self::look_up)))
            .unwrap_or_default()
    }

    /// RFC 4647 §3.4 "lookup": cuts subtags from the end of the range until a language matches.
    fn look_up(range: &str) -> Option<Self> {
        let mut rest = range;
        loop {
            if let Some(lang) = Self::exactly(rest) {
                return Some(lang);
            }
            let (shorter, _) = rest.rsplit_once('-')?;
            // A singleton (`-x`, `-u`) only introduces what followed it, so it goes as well.
            rest = match shorter.rsplit_once('-') {
                Some((before, singleton)) if singleton.len() == 1 => before,
                _ => shorter,
            };
        }
    }

    fn exactly(tag: &str) -> Option<Self> {
        // RFC 4647 §2: tags are compared without regard to case.
        ["en"]
            .iter()
            .any(|known| tag.eq_ignore_ascii_case(known))
            .then_some(Self::En)
            .or_else(|| {
                ["zh", "zh-hans"]
                    .iter()
                    .any(|known| tag.eq_ignore_ascii_case(known))
                    .then_some(Self::Zh)
            })
    }
}

/// The ranges of an `Accept-Language` header, best first. The wildcard says nothing about which language to prefer, so
/// lookup skips it (RFC 4647 §3.4), and a weight of zero means "not this" (RFC 9110 §12.4.2).
fn preferred(header: &str) -> Vec<&str> {
    // No browser sends more than a handful; a header made to be long shall not cost a long sort.
    const MOST: usize = 32;
    let mut ranges: Vec<(u16, &str)> = header
        .split(',')
        .take(MOST)
        .filter_map(|item| {
            let (range, weight) = item.split_once(';').unwrap_or((item, "q=1"));
            Some((thousandths(weight)?, range.trim()))
        })
        .filter(|(weight, range)| *weight > 0 && !range.is_empty() && *range != "*")
        .collect();
    ranges.sort_by_key(|(weight, _)| std::cmp::Reverse(*weight));
    ranges.into_iter().map(|(_, range)| range).collect()
}

/// A weight as `0..=1000`; `None` when it is malformed, which drops the item.
fn thousandths(weight: &str) -> Option<u16> {
    let (name, value) = weight.split_once('=')?;
    if !name.trim().eq_ignore_ascii_case("q") {
        return None;
    }
    let (whole, fraction) = value.trim().split_once('.').unwrap_or((value.trim(), ""));
    if fraction.len() > 3 || !fraction.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let part: u16 = format!("{fraction:0<3}").parse().ok()?;
    match whole {
        "0" => Some(part),
        "1" if part == 0 => Some(1000),
        _ => None,
    }
}
