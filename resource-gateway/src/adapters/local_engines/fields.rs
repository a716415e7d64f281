//! The members of a request in JSON. One that an engine has no use for is refused, not left out.

use serde::de::DeserializeOwned;

use super::Refusal;
use crate::domain::json_object::JsonObject;

/// What a request says.
#[derive(Debug)]
pub(super) struct Fields<'a>(JsonObject<'a>);

impl<'a> Fields<'a> {
    /// Reads a request that may have these members and no others; `null` is as good as none.
    pub(super) fn read(body: &'a [u8], engine: &str, known: &[&str]) -> Result<Self, Refusal> {
        let object = JsonObject::parse(body).map_err(|_| Refusal {
            param: None,
            ..Refusal::invalid("", "The request is not a JSON object.")
        })?;
        let strange = object
            .members()
            .iter()
            .find(|member| !known.contains(&&*member.name) && member.value != "null");
        match strange {
            // A name may be as long as a body.
            Some(member) => {
                let name: String = member.name.chars().take(64).collect();
                Err(Refusal::unsupported(&name, engine))
            }
            None => Ok(Self(object)),
        }
    }

    /// A member's value, if it is there.
    pub(super) fn get<T: DeserializeOwned>(&self, name: &str, wanted: &str) -> Result<Option<T>, Refusal> {
        let wrong = || Refusal::invalid(name, format!("The field '{name}' {wanted}."));
        let member = self.0.get(name).map_err(|_| wrong())?;
        let value = member.map(|member| serde_json::from_str::<Option<T>>(member.value));
        Ok(value.transpose().map_err(|_| wrong())?.flatten())
    }

    /// A text that has to be there.
    pub(super) fn text(&self, name: &str) -> Result<String, Refusal> {
        const WANTED: &str = "must be a string";
        let missing = || Refusal::invalid(name, format!("The field '{name}' {WANTED}."));
        self.get(name, WANTED)?.ok_or_else(missing)
    }
}
