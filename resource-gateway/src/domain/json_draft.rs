//! Changes of a JSON object that are collected before any of them is made. What nobody touches is neither copied nor read
//! again, however long it is: a rule about `temperature` costs the same beside ten megabytes of pictures.

use std::borrow::Cow;

use super::json_object::{Edit, JsonError, JsonObject, apply, quoted};

/// An object, and what is to become of its members.
#[derive(Debug)]
pub struct Draft<'a> {
    object: JsonObject<'a>,
    /// By the member's place.
    changes: Vec<(usize, Change)>,
    added: Vec<(String, String)>,
    steps: usize,
}

#[derive(Debug)]
enum Change {
    /// Within the value as it was.
    Edits(Vec<Edit>),
    Value(String),
    Removed,
}

#[derive(Debug, Clone, Copy)]
enum Place {
    Member(usize),
    Added(usize),
}

impl<'a> Draft<'a> {
    /// Reads an object.
    ///
    /// # Errors
    /// [`JsonError::Malformed`].
    pub fn parse(text: &'a [u8]) -> Result<Self, JsonError> {
        Ok(Self {
            object: JsonObject::parse(text)?,
            changes: Vec::new(),
            added: Vec::new(),
            steps: 0,
        })
    }

    pub fn object(&self) -> &JsonObject<'a> {
        &self.object
    }

    pub fn is_untouched(&self) -> bool {
        self.changes.is_empty() && self.added.is_empty()
    }

    /// How often something was changed: as long as it stays the same, so do the edits.
    pub fn steps(&self) -> usize {
        self.steps
    }

    /// The member's value as it is now.
    ///
    /// # Errors
    /// As for [`JsonObject::get`].
    pub fn get(&self, name: &str) -> Result<Option<Cow<'_, str>>, JsonError> {
        Ok(self.find(name)?.map(|place| self.value(place)))
    }

    /// Gives the member another value, whether it is there or not.
    ///
    /// # Errors
    /// As for [`JsonObject::get`].
    pub fn set(&mut self, name: &str, value: String) -> Result<(), JsonError> {
        self.steps += 1;
        match self.find(name)? {
            Some(Place::Member(at)) => self.change(at, Change::Value(value)),
            Some(Place::Added(at)) => {
                if let Some((_, old)) = self.added.get_mut(at) {
                    *old = value;
                }
            }
            None => self.added.push((name.to_owned(), value)),
        }
        Ok(())
    }

    /// Changes places within the member's value, as [`Self::get`] gives it. Nothing happens when it is missing.
    ///
    /// # Errors
    /// As for [`JsonObject::get`].
    pub fn edit(&mut self, name: &str, edits: Vec<Edit>) -> Result<(), JsonError> {
        if edits.is_empty() {
            return Ok(());
        }
        self.steps += 1;
        match self.find(name)? {
            Some(Place::Member(at)) if !self.changes.iter().any(|(changed, _)| *changed == at) => {
                self.changes.push((at, Change::Edits(edits)));
            }
            Some(place) => {
                // Changed before: the places are those of the changed text.
                let value = apply(&self.value(place), edits);
                match place {
                    Place::Member(at) => self.change(at, Change::Value(value)),
                    Place::Added(at) => {
                        if let Some((_, old)) = self.added.get_mut(at) {
                            *old = value;
                        }
                    }
                }
            }
            None => {}
        }
        Ok(())
    }

    /// Takes the member out; says whether it was there.
    ///
    /// # Errors
    /// As for [`JsonObject::get`].
    pub fn remove(&mut self, name: &str) -> Result<bool, JsonError> {
        match self.find(name)? {
            Some(Place::Member(at)) => self.change(at, Change::Removed),
            Some(Place::Added(at)) => drop(self.added.remove(at)),
            None => return Ok(false),
        }
        self.steps += 1;
        Ok(true)
    }

    /// All changes as edits of the object's text, in its order, none of which overlap.
    pub fn edits(&self) -> Vec<Edit> {
        if self.is_untouched() {
            return Vec::new();
        }
        let members = self.object.members();
        let is_removed = |at: usize| matches!(self.find_change(at), Some(Change::Removed));
        let first_kept = (0..members.len()).find(|at| !is_removed(*at));
        let mut edits = Vec::with_capacity(self.changes.len() + 1);
        if !self.added.is_empty() {
            let at = self.object.opening();
            let added: Vec<_> = self
                .added
                .iter()
                .map(|(name, value)| format!("{}:{value}", quoted(name)))
                .collect();
            let comma = if first_kept.is_some() { "," } else { "" };
            edits.push(Edit {
                range: at..at,
                with: added.join(",") + comma,
            });
        }
        for (at, change) in &self.changes {
            let Some(member) = members.get(*at) else { continue };
            match change {
                Change::Edits(inner) => {
                    edits.extend(inner.iter().map(|edit| edit.clone().shifted(member.range.start)));
                }
                Change::Value(value) => edits.push(Edit {
                    range: member.range.clone(),
                    with: value.clone(),
                }),
                // Behind a member that stays, the comma in front goes along; before all of those, the comma behind.
                Change::Removed => {
                    let range = match first_kept {
                        Some(kept) if kept < *at => self.value_end(at - 1)..member.range.end,
                        _ => self.begin(*at)..self.begin(at + 1),
                    };
                    edits.push(Edit {
                        range,
                        with: String::new(),
                    });
                }
            }
        }
        // A new member goes before what is taken away at the same place.
        edits.sort_by_key(|edit| (edit.range.start, edit.range.end));
        edits
    }

    fn find(&self, name: &str) -> Result<Option<Place>, JsonError> {
        // An added member cannot stand beside one of the text, unless that one is removed.
        if let Some(at) = self.added.iter().position(|(added, _)| added == name) {
            return Ok(Some(Place::Added(at)));
        }
        let place = self.object.position(name)?;
        Ok(place
            .filter(|at| !matches!(self.find_change(*at), Some(Change::Removed)))
            .map(Place::Member))
    }

    fn find_change(&self, at: usize) -> Option<&Change> {
        self.changes
            .iter()
            .find(|(changed, _)| *changed == at)
            .map(|(_, change)| change)
    }

    fn change(&mut self, at: usize, change: Change) {
        match self.changes.iter_mut().find(|(changed, _)| *changed == at) {
            Some((_, old)) => *old = change,
            None => self.changes.push((at, change)),
        }
    }

    fn value(&self, place: Place) -> Cow<'_, str> {
        match place {
            Place::Added(at) => self
                .added
                .get(at)
                .map(|(_, value)| value.as_str())
                .unwrap_or_default()
                .into(),
            Place::Member(at) => {
                let text = self
                    .object
                    .members()
                    .get(at)
                    .map(|member| member.value)
                    .unwrap_or_default();
                match self.find_change(at) {
                    None | Some(Change::Removed) => text.into(),
                    Some(Change::Value(value)) => value.into(),
                    Some(Change::Edits(edits)) => apply(text, edits.clone()).into(),
                }
            }
        }
    }

    fn value_end(&self, at: usize) -> usize {
        self.object
            .members()
            .get(at)
            .map_or(self.object.opening(), |member| member.range.end)
    }

    /// Where the member begins, its white space included: behind the comma before it. For the place behind the last one: its end.
    fn begin(&self, at: usize) -> usize {
        let Some(before) = at.checked_sub(1) else {
            return self.object.opening();
        };
        let end = self.value_end(before);
        if at >= self.object.members().len() {
            return end;
        }
        // Between a value and the next name there is white space and one comma (RFC 8259 §4).
        let gap = self.object.text().get(end..).unwrap_or_default();
        end + gap.find(',').map_or(0, |comma| comma + 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::{Map, Value, json};

    fn after(text: &str, change: impl FnOnce(&mut Draft<'_>)) -> String {
        let mut draft = Draft::parse(text.as_bytes()).unwrap();
        change(&mut draft);
        apply(text, draft.edits())
    }

    #[test]
    fn what_is_taken_out_takes_one_comma_along() {
        let text = r#"{ "a" : 1 , "b":2,"c" : 3 }"#;
        for (names, wanted) in [
            (vec!["a"], r#"{ "b":2,"c" : 3 }"#),
            (vec!["b"], r#"{ "a" : 1,"c" : 3 }"#),
            (vec!["c"], r#"{ "a" : 1 , "b":2 }"#),
            (vec!["a", "b"], r#"{"c" : 3 }"#),
            (vec!["a", "c"], r#"{ "b":2 }"#),
            (vec!["c", "b"], r#"{ "a" : 1 }"#),
            (vec!["b", "a", "c"], r"{ }"),
        ] {
            let got = after(text, |draft| {
                for name in &names {
                    assert!(draft.remove(name).unwrap());
                }
                assert!(!draft.remove("d").unwrap());
            });
            assert_eq!(got, wanted, "{names:?}");
        }
    }

    #[test]
    fn changes_of_changes_add_up() {
        let got = after(r#"{"a":[1],"b":2}"#, |draft| {
            let edit = |at: usize, with: &str| Edit {
                range: at..at,
                with: with.to_owned(),
            };
            draft.edit("a", vec![edit(2, ",2")]).unwrap();
            assert_eq!(draft.get("a").unwrap().unwrap(), "[1,2]");
            draft.edit("a", vec![edit(4, ",3")]).unwrap();
            draft.remove("b").unwrap();
            assert_eq!(draft.get("b").unwrap(), None);
            draft.set("b", "{}".into()).unwrap();
            draft.edit("b", vec![edit(1, "\"x\":1")]).unwrap();
            draft.edit("none", vec![edit(0, "x")]).unwrap();
        });
        assert_eq!(got, r#"{"b":{"x":1},"a":[1,2,3]}"#);
    }

    #[derive(Debug, Clone)]
    enum Step {
        Set(String, Value),
        Remove(String),
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            ("[a-d]", 0..100u8).prop_map(|(name, value)| Step::Set(name, json!({"v": value}))),
            "[a-d]".prop_map(Step::Remove),
        ]
    }

    proptest! {
        #[test]
        fn any_changes_come_to_what_they_would_on_the_parsed_value(
            names in proptest::collection::btree_set("[a-d]", 0..4),
            steps in proptest::collection::vec(step(), 0..8),
            pretty in any::<bool>(),
        ) {
            let mut value: Map<String, Value> = names.into_iter().map(|name| (name, json!([1, "x"]))).collect();
            let text = if pretty { serde_json::to_string_pretty(&value).unwrap() } else { json!(value).to_string() };
            let mut draft = Draft::parse(text.as_bytes()).unwrap();
            for step in steps {
                match step {
                    Step::Set(name, to) => {
                        draft.set(&name, to.to_string()).unwrap();
                        value.insert(name, to);
                    }
                    Step::Remove(name) => {
                        let was_there = value.remove(&name).is_some();
                        prop_assert_eq!(draft.remove(&name).unwrap(), was_there);
                    }
                }
            }
            let got: Map<String, Value> = serde_json::from_str(&apply(&text, draft.edits())).unwrap();
            prop_assert_eq!(got, value);
        }
    }
}
