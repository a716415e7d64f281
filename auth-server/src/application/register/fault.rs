//! What is wrong with a registration.

use std::fmt;

/// One wrong member of a client's metadata.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// Its name, with the place in a list if it is one: `redirect_uris[1]`.
    pub member: String,
    pub reason: String,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.member, self.reason)
    }
}

/// Longest list of faults that is told, in bytes: what they quote comes from strangers.
const MAX_TOLD: usize = 1000;

/// The faults in one line.
pub fn told(faults: &[Fault]) -> String {
    let mut told = faults.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ");
    told.truncate(told.floor_char_boundary(MAX_TOLD));
    told
}

/// Every fault of one client: whoever mends a registration wants to know all of them.
#[derive(Debug, Default)]
pub struct Faults(Vec<Fault>);

impl Faults {
    pub fn add(&mut self, member: impl Into<String>, reason: impl Into<String>) {
        self.0.push(Fault {
            member: member.into(),
            reason: reason.into(),
        });
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn iter(&self) -> impl Iterator<Item = &Fault> {
        self.0.iter()
    }
}

impl IntoIterator for Faults {
    type Item = Fault;
    type IntoIter = std::vec::IntoIter<Fault>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}
