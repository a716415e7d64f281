//! What a caller's `Cache-Control` asks of a response cache (RFC 9111 §5.2.1).

/// The directives that mean something here; all others are ignored, as §5.2.3 wants it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CacheWish {
    pub no_store: bool,
    pub no_cache: bool,
    pub only_if_cached: bool,
    /// Seconds.
    pub max_age: Option<u64>,
    /// Seconds for which an answer has to stay fresh yet.
    pub min_fresh: Option<u64>,
}

impl CacheWish {
    /// Reads the values of all `Cache-Control` headers, and of `Pragma` where there is none (§5.4).
    pub fn read<'a>(cache_control: impl Iterator<Item = &'a str>, pragma: Option<&str>) -> Self {
        let mut wish = Self::default();
        let mut any = false;
        for directive in cache_control.flat_map(|value| value.split(',')) {
            any = true;
            let (name, argument) = match directive.split_once('=') {
                Some((name, argument)) => (name.trim(), Some(argument.trim().trim_matches('"'))),
                None => (directive.trim(), None),
            };
            // §1.2.2: a number that is too large counts as the largest; one that cannot be read is as strict as can be.
            let seconds = || {
                let digits = argument.filter(|digits| !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit()));
                digits.map(|digits| digits.parse().unwrap_or(u64::MAX))
            };
            match name.to_ascii_lowercase().as_str() {
                "no-store" => wish.no_store = true,
                "no-cache" => wish.no_cache = true,
                "only-if-cached" => wish.only_if_cached = true,
                "max-age" => {
                    let age = seconds().unwrap_or(0);
                    wish.max_age = Some(wish.max_age.map_or(age, |known| known.min(age)));
                }
                "min-fresh" => {
                    let fresh = seconds().unwrap_or(u64::MAX);
                    wish.min_fresh = Some(wish.min_fresh.map_or(fresh, |known| known.max(fresh)));
                }
                _ => {}
            }
        }
        if !any && pragma.is_some_and(|value| value.to_ascii_lowercase().contains("no-cache")) {
            wish.no_cache = true;
        }
        wish
    }

    /// Whether an answer of that age, which is kept for `ttl`, may be given (seconds).
    pub fn accepts(&self, age: u64, ttl: u64) -> bool {
        let young = self.max_age.is_none_or(|most| age <= most);
        let fresh = self.min_fresh.is_none_or(|least| ttl.saturating_sub(age) >= least);
        !self.no_store && !self.no_cache && young && fresh && age < ttl
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(values: &[&str]) -> CacheWish {
        CacheWish::read(values.iter().copied(), None)
    }

    #[test]
    fn directives_are_read_whatever_their_case_and_order() {
        assert_eq!(read(&[]), CacheWish::default());
        let wish = read(&["Max-Age=60, NO-CACHE", "private, min-fresh=\"5\",only-if-cached"]);
        assert!(wish.no_cache && wish.only_if_cached && !wish.no_store);
        assert_eq!((wish.max_age, wish.min_fresh), (Some(60), Some(5)));
        assert!(read(&["no-store"]).no_store);
        // The stricter of two, and of what cannot be read.
        assert_eq!(read(&["max-age=9, max-age=3"]).max_age, Some(3));
        assert_eq!(read(&["max-age=soon"]).max_age, Some(0));
        assert_eq!(read(&["max-age"]).max_age, Some(0));
        assert_eq!(read(&["max-age=99999999999999999999"]).max_age, Some(u64::MAX));
        assert_eq!(read(&["min-fresh"]).min_fresh, Some(u64::MAX));
        assert!(CacheWish::read([].into_iter(), Some("No-Cache")).no_cache);
        assert!(!CacheWish::read(["max-age=1"].into_iter(), Some("no-cache")).no_cache);
    }

    #[test]
    fn an_answer_is_given_while_it_is_young_enough_for_both() {
        for (values, age, accepted) in [
            (&[][..], 0, true),
            (&[], 9, true),
            (&[], 10, false),
            (&["max-age=5"], 5, true),
            (&["max-age=5"], 6, false),
            (&["max-age=0"], 0, true),
            (&["min-fresh=4"], 6, true),
            (&["min-fresh=4"], 7, false),
            (&["no-cache"], 0, false),
            (&["no-store"], 0, false),
        ] {
            assert_eq!(read(values).accepts(age, 10), accepted, "{values:?} {age}");
        }
    }
}
