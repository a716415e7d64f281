//! Which call of a tool a piece of a stream belongs to.
//!
//! OpenAI numbers the calls of an answer and tells name and id of each once, with its first piece. Of those who speak its format
//! some leave the numbers out, some give all calls the same, and some tell name and id with every piece.

/// The calls of an answer that have begun.
#[derive(Debug, Default)]
pub(super) struct Calls(Vec<Begun>);

#[derive(Debug)]
struct Begun {
    choice: u64,
    number: u32,
    /// What its vendor calls it.
    theirs: Option<u64>,
    id: String,
    name: String,
}

/// What a piece says of the call that it belongs to.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Told<'a> {
    pub(super) number: Option<u64>,
    pub(super) id: &'a str,
    pub(super) name: &'a str,
}

/// Where a piece belongs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) number: u32,
    /// It is the first one of its call.
    pub(super) begins: bool,
    /// It tells the call's name again.
    pub(super) repeats_name: bool,
}

/// More calls in one answer are not looked at.
const MOST_CALLS: usize = 1024;

impl Calls {
    /// Finds the call that a piece belongs to; notes it when it is new. `None`: it is of a call too many.
    pub(super) fn place(&mut self, choice: u64, told: Told<'_>) -> Option<Place> {
        match self.find(choice, told) {
            Some(known) => Some(Place {
                number: known.number,
                begins: false,
                repeats_name: !told.name.is_empty() && told.name == known.name,
            }),
            None if self.0.len() >= MOST_CALLS => None,
            None => Some(Place {
                number: self.begin(choice, told),
                begins: true,
                repeats_name: false,
            }),
        }
    }

    fn find(&self, choice: u64, told: Told<'_>) -> Option<&Begun> {
        let mut begun = self.0.iter().rev().filter(|begun| begun.choice == choice);
        let known = match (told.number, told.id) {
            (Some(_), _) => begun.find(|begun| begun.theirs == told.number),
            // Neither number nor id: more of the last one, unless it has a name.
            (None, "") => begun.next().filter(|_| told.name.is_empty()),
            (None, id) => begun.find(|begun| begun.id == id),
        };
        // Another call under the same number.
        let is_other = |begun: &&Begun| !told.id.is_empty() && !told.name.is_empty() && begun.id != told.id;
        known.filter(|begun| !is_other(begun))
    }

    fn begin(&mut self, choice: u64, told: Told<'_>) -> u32 {
        let numbers = self.0.iter().filter(|begun| begun.choice == choice);
        let numbers = numbers.map(|begun| begun.number);
        let next = numbers.clone().max().map_or(0, |last| last.saturating_add(1));
        let theirs = told.number.and_then(|number| u32::try_from(number).ok());
        let free = theirs.filter(|theirs| !numbers.clone().any(|number| number == *theirs));
        let number = free.unwrap_or(next);
        self.0.push(Begun {
            choice,
            number,
            theirs: told.number,
            id: told.id.to_owned(),
            name: told.name.to_owned(),
        });
        number
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(number: Option<u64>, id: &'static str, name: &'static str) -> Told<'static> {
        Told { number, id, name }
    }

    /// The number of each piece, with a `+` where a call begins and a `=` where its name comes again.
    fn numbers(pieces: &[Told<'_>]) -> String {
        let mut calls = Calls::default();
        let pieces = pieces.iter().map(|piece| {
            let place = calls.place(0, *piece).unwrap();
            let mark = match (place.begins, place.repeats_name) {
                (true, _) => "+",
                (false, true) => "=",
                (false, false) => "",
            };
            format!("{}{mark}", place.number)
        });
        pieces.collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn a_piece_goes_to_its_call_however_that_is_told() {
        let more = |number| told(number, "", "");
        for (pieces, wanted) in [
            // OpenAI's way.
            (
                vec![
                    told(Some(0), "a", "f"),
                    more(Some(0)),
                    told(Some(1), "b", "f"),
                    more(Some(0)),
                    more(Some(1)),
                ],
                "0+ 0 1+ 0 1",
            ),
            // No numbers.
            (
                vec![told(None, "a", "f"), more(None), told(None, "b", "f"), more(None)],
                "0+ 0 1+ 1",
            ),
            (vec![told(None, "", "f"), more(None), told(None, "", "f")], "0+ 0 1+"),
            (vec![more(None), more(None)], "0+ 0"),
            (
                vec![told(None, "a", "f"), told(None, "b", "f"), told(None, "a", "")],
                "0+ 1+ 0",
            ),
            // One number for all.
            (
                vec![told(Some(0), "a", "f"), told(Some(0), "b", "g"), more(Some(0))],
                "0+ 1+ 1",
            ),
            // Everything with every piece.
            (
                vec![told(Some(0), "a", "f"), told(Some(0), "a", "f"), told(Some(0), "a", "")],
                "0+ 0= 0",
            ),
            // An id of its own for each piece.
            (vec![told(Some(0), "a", "f"), told(Some(0), "b", "")], "0+ 0"),
            (
                vec![told(Some(7), "a", "f"), told(None, "b", "g"), told(Some(8), "c", "h")],
                "7+ 8+ 9+",
            ),
            (vec![told(Some(u64::MAX), "a", "f")], "0+"),
        ] {
            assert_eq!(numbers(&pieces), wanted, "{pieces:?}");
        }
    }

    #[test]
    fn choices_have_calls_of_their_own_and_memory_has_an_end() {
        let mut calls = Calls::default();
        for choice in [0, 1] {
            assert!(calls.place(choice, told(Some(0), "a", "f")).unwrap().begins);
        }
        for number in 0..5000 {
            calls.place(2, told(Some(number), "a", "f"));
        }
        assert_eq!(calls.0.len(), MOST_CALLS);
        // What is said of one too many belongs to no other.
        assert_eq!(calls.place(2, told(Some(4999), "", "")), None);
        assert_eq!(calls.place(1, told(Some(0), "", "")).map(|place| place.number), Some(0));
    }
}
