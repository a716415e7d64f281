//! Pages of lists.

/// Some items, and where the next ones begin.
#[derive(Debug, Clone, PartialEq)]
pub struct Page<T, P> {
    pub items: Vec<T>,
    pub next: Option<P>,
}

impl<T, P> Page<T, P> {
    /// The page of `limit` items out of those that were found when one more was asked for: that one tells whether there is a next
    /// page, which begins behind the `place` of the last.
    pub fn cut(mut items: Vec<T>, limit: u32, place: impl FnOnce(&T) -> P) -> Self {
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        let more = items.len() > limit;
        items.truncate(limit);
        let next = items.last().filter(|_| more).map(place);
        Self { items, next }
    }

    pub fn empty() -> Self {
        Self {
            items: Vec::new(),
            next: None,
        }
    }

    /// The same page of other items.
    pub fn map<U>(self, change: impl FnMut(T) -> U) -> Page<U, P> {
        Page {
            items: self.items.into_iter().map(change).collect(),
            next: self.next,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_item_too_many_tells_of_a_next_page() {
        let cut = |found: &[u8]| Page::cut(found.to_vec(), 2, |last| *last);
        for (found, items, next) in [
            (&[][..], &[][..], None),
            (&[1], &[1], None),
            (&[1, 2], &[1, 2], None),
            (&[1, 2, 3], &[1, 2], Some(2)),
        ] {
            let items = items.to_vec();
            assert_eq!(cut(found), Page { items, next });
        }
    }
}
