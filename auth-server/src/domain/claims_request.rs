//! The `claims` parameter (OpenID Connect Core §5.5): claims asked for one by one, and conditions on the sign-in.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::user::claim_names;

/// Longest parameter that is read, in bytes. How deep it nests is bounded by the reader of JSON.
const MAX_BYTES: usize = 8192;

/// What a valid parameter asks for. Members that are not known are passed over (§5.5).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ClaimsRequest {
    pub names: ClaimNames,
    /// The only subjects that will do (§5.5.1: `sub` with a value), as the client writes them.
    pub subjects: Option<BTreeSet<String>>,
    /// The context classes of which the sign-in must meet one (§5.5.1.1: an essential `acr`).
    pub essential_acr: Option<BTreeSet<String>>,
}

/// Claims about the person, by where they are to be answered.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ClaimNames {
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub userinfo: BTreeSet<String>,
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub id_token: BTreeSet<String>,
}

impl ClaimNames {
    pub fn is_empty(&self) -> bool {
        self.userinfo.is_empty() && self.id_token.is_empty()
    }

    /// All of them, each once.
    pub fn all(&self) -> BTreeSet<&str> {
        self.userinfo.iter().chain(&self.id_token).map(String::as_str).collect()
    }

    pub fn retain(&mut self, keep: impl Fn(&str) -> bool) {
        self.userinfo.retain(|name| keep(name));
        self.id_token.retain(|name| keep(name));
    }

    /// In the shape of the parameter, as a grant carries them; `None` when there are none.
    pub fn to_parameter(&self) -> Option<Map<String, Value>> {
        let members = |names: &BTreeSet<String>| names.iter().map(|name| (name.clone(), Value::Null)).collect();
        let parts = [("userinfo", &self.userinfo), ("id_token", &self.id_token)];
        let asked = parts.into_iter().filter(|(_, names)| !names.is_empty());
        let parameter: Map<String, Value> = asked
            .map(|(part, names)| (part.to_owned(), Value::Object(members(names))))
            .collect();
        (!parameter.is_empty()).then_some(parameter)
    }
}

/// Why a parameter is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ClaimsFault {
    #[error("claims is too long")]
    TooLong,
    #[error("claims is not a JSON object")]
    NotAnObject,
    #[error("claims has a userinfo or id_token that is not an object")]
    Part,
    #[error("claims asks for a claim by something other than null or an object")]
    Claim,
    #[error("claims has an essential that is not a boolean, or values that are not an array")]
    Demand,
    #[error("claims asks for a sub or an acr that is not text")]
    Value,
}

impl ClaimsFault {
    /// The same as a text that lives as long as the program.
    pub fn description(self) -> &'static str {
        match self {
            Self::TooLong => "claims is too long",
            Self::NotAnObject => "claims is not a JSON object",
            Self::Part => "claims has a userinfo or id_token that is not an object",
            Self::Claim => "claims asks for a claim by something other than null or an object",
            Self::Demand => "claims has an essential that is not a boolean, or values that are not an array",
            Self::Value => "claims asks for a sub or an acr that is not text",
        }
    }
}

/// How one claim is asked for (§5.5.1).
struct Demand<'a> {
    is_essential: bool,
    /// `value` and `values` together; `None` when neither is there.
    values: Option<Vec<&'a Value>>,
}

impl ClaimsRequest {
    /// Reads the parameter.
    ///
    /// # Errors
    /// [`ClaimsFault`].
    pub fn parse(text: &str) -> Result<Self, ClaimsFault> {
        if text.len() > MAX_BYTES {
            return Err(ClaimsFault::TooLong);
        }
        let asked: Map<String, Value> = serde_json::from_str(text).map_err(|_| ClaimsFault::NotAnObject)?;
        let mut request = Self::default();
        for (part, is_id_token) in [("userinfo", false), ("id_token", true)] {
            let claims = match asked.get(part) {
                // A null asks for nothing, as an absent member does.
                None | Some(Value::Null) => continue,
                Some(Value::Object(claims)) => claims,
                Some(_) => return Err(ClaimsFault::Part),
            };
            for (name, demand) in claims {
                let demand = Demand::read(demand)?;
                match name.as_str() {
                    "sub" => request.name_subjects(&demand)?,
                    "acr" if is_id_token => request.demand_acr(&demand)?,
                    known if claim_names().any(|one| one == known) => {
                        let names = match is_id_token {
                            true => &mut request.names.id_token,
                            false => &mut request.names.userinfo,
                        };
                        names.insert(name.clone());
                    }
                    _ => {}
                }
            }
        }
        Ok(request)
    }

    fn name_subjects(&mut self, demand: &Demand<'_>) -> Result<(), ClaimsFault> {
        let Some(named) = demand.texts()? else { return Ok(()) };
        // Named for the ID token and for userinfo: only who is both will do.
        self.subjects = Some(match self.subjects.take() {
            Some(before) => before.intersection(&named).cloned().collect(),
            None => named,
        });
        Ok(())
    }

    fn demand_acr(&mut self, demand: &Demand<'_>) -> Result<(), ClaimsFault> {
        let classes = demand.texts()?;
        // Voluntary, it is a wish: whatever class was met is told. Essential without a value, any class will do.
        self.essential_acr = classes.filter(|_| demand.is_essential);
        Ok(())
    }
}

impl<'a> Demand<'a> {
    fn read(demand: &'a Value) -> Result<Self, ClaimsFault> {
        let members = match demand {
            Value::Null => {
                return Ok(Self {
                    is_essential: false,
                    values: None,
                });
            }
            Value::Object(members) => members,
            _ => return Err(ClaimsFault::Claim),
        };
        let is_essential = match members.get("essential") {
            None => false,
            Some(Value::Bool(is_essential)) => *is_essential,
            Some(_) => return Err(ClaimsFault::Demand),
        };
        let values = match members.get("values") {
            None => None,
            Some(Value::Array(values)) => Some(values.iter().collect::<Vec<_>>()),
            Some(_) => return Err(ClaimsFault::Demand),
        };
        let values = match (members.get("value"), values) {
            (None, values) => values,
            (Some(one), values) => Some(values.into_iter().flatten().chain([one]).collect()),
        };
        Ok(Self { is_essential, values })
    }

    fn texts(&self) -> Result<Option<BTreeSet<String>>, ClaimsFault> {
        let Some(values) = &self.values else { return Ok(None) };
        let texts = values.iter().map(|value| value.as_str().map(str::to_owned));
        texts.collect::<Option<_>>().map(Some).ok_or(ClaimsFault::Value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(texts: &[&str]) -> BTreeSet<String> {
        texts.iter().map(|text| (*text).to_owned()).collect()
    }

    #[test]
    fn known_claims_are_told_apart_by_where_they_go_and_unknown_members_are_passed_over() {
        let request = ClaimsRequest::parse(
            r#"{"userinfo": {"name": {"essential": true}, "email": null, "shoe_size": null, "name#ja": null},
                "id_token": {"email": {"value": "x", "x": 1}, "auth_time": {"essential": true}},
                "access_token": 1}"#,
        )
        .unwrap();
        assert_eq!(request.names.userinfo, set(&["email", "name"]));
        assert_eq!(request.names.id_token, set(&["email"]));
        assert_eq!((request.subjects, request.essential_acr), (None, None));
        assert_eq!(ClaimsRequest::parse("{}"), Ok(ClaimsRequest::default()));
        assert_eq!(
            ClaimsRequest::parse(r#"{"userinfo": null}"#),
            Ok(ClaimsRequest::default())
        );
    }

    #[test]
    fn a_sub_with_values_names_who_will_do_and_two_lists_must_both_be_met() {
        let subjects = |text: &str| ClaimsRequest::parse(text).unwrap().subjects;
        assert_eq!(subjects(r#"{"id_token": {"sub": null}}"#), None);
        assert_eq!(subjects(r#"{"id_token": {"sub": {"value": "a"}}}"#), Some(set(&["a"])));
        assert_eq!(
            subjects(r#"{"userinfo": {"sub": {"values": ["a", "b"], "value": "c"}}}"#),
            Some(set(&["a", "b", "c"]))
        );
        assert_eq!(
            subjects(r#"{"userinfo": {"sub": {"value": "a"}}, "id_token": {"sub": {"values": ["a", "b"]}}}"#),
            Some(set(&["a"]))
        );
    }

    #[test]
    fn only_an_essential_acr_with_values_is_a_condition() {
        let acr = |text: &str| ClaimsRequest::parse(text).unwrap().essential_acr;
        assert_eq!(acr(r#"{"id_token": {"acr": {"values": ["2"]}}}"#), None);
        assert_eq!(acr(r#"{"id_token": {"acr": {"essential": true}}}"#), None);
        assert_eq!(acr(r#"{"userinfo": {"acr": {"essential": true, "value": "2"}}}"#), None);
        assert_eq!(
            acr(r#"{"id_token": {"acr": {"essential": true, "values": ["1", "2"]}}}"#),
            Some(set(&["1", "2"]))
        );
    }

    #[test]
    fn what_is_not_as_the_specification_says_is_refused() {
        let deep = format!("{}{}", r#"{"a":"#.repeat(200), "}".repeat(200));
        let long = format!(r#"{{"x": "{}"}}"#, "x".repeat(MAX_BYTES));
        for (text, fault) in [
            ("", ClaimsFault::NotAnObject),
            ("[]", ClaimsFault::NotAnObject),
            ("{", ClaimsFault::NotAnObject),
            (&deep, ClaimsFault::NotAnObject),
            (&long, ClaimsFault::TooLong),
            (r#"{"userinfo": []}"#, ClaimsFault::Part),
            (r#"{"id_token": "name"}"#, ClaimsFault::Part),
            (r#"{"userinfo": {"name": true}}"#, ClaimsFault::Claim),
            (r#"{"userinfo": {"name": {"essential": "yes"}}}"#, ClaimsFault::Demand),
            (r#"{"userinfo": {"name": {"values": "x"}}}"#, ClaimsFault::Demand),
            (r#"{"userinfo": {"sub": {"value": 1}}}"#, ClaimsFault::Value),
            (r#"{"id_token": {"acr": {"values": ["1", 2]}}}"#, ClaimsFault::Value),
        ] {
            assert_eq!(ClaimsRequest::parse(text), Err(fault), "{text}");
            assert_eq!(fault.to_string(), fault.description());
        }
    }

    #[test]
    fn names_are_written_back_in_the_shape_of_the_parameter() {
        let text = r#"{"userinfo":{"email":null},"id_token":{"name":null}}"#;
        let names = ClaimsRequest::parse(text).unwrap().names;
        assert_eq!(Value::Object(names.to_parameter().unwrap()).to_string(), text);
        assert_eq!(names.all(), BTreeSet::from(["email", "name"]));
        assert_eq!(ClaimNames::default().to_parameter(), None);
    }
}
