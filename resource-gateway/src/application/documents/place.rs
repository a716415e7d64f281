//! Where something stands in what was sent.

use std::fmt;

/// The way from the root of a document or body to a part of it. Kept in steps: a member may be named with dots and brackets.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Place {
    /// Set when it is no part of what was sent: another row, or a line that could not be read.
    outside: Option<Box<str>>,
    steps: Vec<Step>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Step {
    Member(Box<str>),
    Index(usize),
}

impl Place {
    /// A place that nothing in what was sent is at.
    pub fn outside(what: impl Into<Box<str>>) -> Self {
        Self {
            outside: Some(what.into()),
            steps: Vec::new(),
        }
    }

    /// A member of the whole.
    pub fn of(member: &str) -> Self {
        Self::default().member(member)
    }

    #[must_use]
    pub fn member(&self, name: &str) -> Self {
        self.step(Step::Member(name.into()))
    }

    #[must_use]
    pub fn index(&self, at: usize) -> Self {
        self.step(Step::Index(at))
    }

    /// The place of what the rules of a row name, such as `routes[0].vendor`; empty: the row. None of these names holds a dot.
    #[must_use]
    pub fn below(&self, text: &str) -> Self {
        let mut place = self.clone();
        for part in text.split(['.', '[']).filter(|part| !part.is_empty()) {
            let index = part.strip_suffix(']').and_then(|digits| digits.parse().ok());
            place
                .steps
                .push(index.map_or_else(|| Step::Member(part.into()), Step::Index));
        }
        place
    }

    /// Whether it is that place or a part of what stands there.
    pub fn is_within(&self, outer: &Self) -> bool {
        self.outside == outer.outside && self.steps.starts_with(&outer.steps)
    }

    /// As RFC 6901 writes it; `None` for what is no part of what was sent.
    pub fn pointer(&self) -> Option<String> {
        let mut pointer = String::new();
        for step in &self.steps {
            pointer.push('/');
            match step {
                // RFC 6901 §3.
                Step::Member(name) => pointer.push_str(&name.replace('~', "~0").replace('/', "~1")),
                Step::Index(at) => pointer.push_str(&at.to_string()),
            }
        }
        self.outside.is_none().then_some(pointer)
    }

    fn step(&self, step: Step) -> Self {
        let mut place = self.clone();
        place.steps.push(step);
        place
    }
}

/// `interface[1].routes[0].vendor`, for people.
impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.outside.as_deref().unwrap_or_default())?;
        for (at, step) in self.steps.iter().enumerate() {
            match step {
                Step::Member(name) if at == 0 && self.outside.is_none() => f.write_str(name)?,
                Step::Member(name) => write!(f, ".{name}")?,
                Step::Index(at) => write!(f, "[{at}]")?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_written_for_people_and_as_pointers() {
        let root = Place::default();
        let route = root.member("routes").index(12).member("vendor");
        for (place, text, pointer) in [
            (root.clone(), "", Some("")),
            (route.clone(), "routes[12].vendor", Some("/routes/12/vendor")),
            (Place::of("a.b[0]/~"), "a.b[0]/~", Some("/a.b[0]~1~0")),
            (Place::outside("line 3, column 1"), "line 3, column 1", None),
            (
                Place::outside("interface \"gpt-4/1\" (stored earlier)").below("routes[0].vendor"),
                "interface \"gpt-4/1\" (stored earlier).routes[0].vendor",
                None,
            ),
        ] {
            assert_eq!(
                (place.to_string().as_str(), place.pointer().as_deref()),
                (text, pointer)
            );
        }
        assert_eq!(root.below("routes[12].vendor"), route);
        assert_eq!(root.below(""), root);
    }

    #[test]
    fn a_name_that_begins_like_another_is_no_part_of_it() {
        let place = |text: &str| Place::default().below(text);
        assert!(place("routes[0].vendor").is_within(&place("routes")));
        assert!(place("routes").is_within(&place("routes")));
        assert!(!place("routes_x").is_within(&place("routes")));
        assert!(!place("routes").is_within(&place("routes[0]")));
        assert!(!Place::outside("vendor \"a\"").below("pool").is_within(&place("")));
    }
}
