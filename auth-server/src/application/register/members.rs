//! The members of a struct, as serde knows them.

use serde::{
    Deserialize, Deserializer,
    de::{Error, Visitor},
};

/// The names of all members of `T`, a struct.
pub(super) fn members<T: for<'de> Deserialize<'de>>() -> &'static [&'static str] {
    match T::deserialize(Members) {
        Err(Names(names)) => names,
        Ok(_) => &[],
    }
}

/// Asks a type for its members instead of giving it any.
struct Members;

/// The answer, by way of serde's error.
#[derive(Debug, thiserror::Error)]
#[error("names of members")]
struct Names(&'static [&'static str]);

impl Error for Names {
    fn custom<T: std::fmt::Display>(_: T) -> Self {
        Self(&[])
    }
}

impl<'de> Deserializer<'de> for Members {
    type Error = Names;

    fn deserialize_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, Names> {
        Err(Names(&[]))
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        names: &'static [&'static str],
        _: V,
    ) -> Result<V::Value, Names> {
        Err(Names(names))
    }

    serde::forward_to_deserialize_any! {
        bool i8 i16 i32 i64 u8 u16 u32 u64 f32 f64 char str string bytes byte_buf option unit unit_struct newtype_struct seq
        tuple tuple_struct map enum identifier ignored_any
    }
}

#[cfg(test)]
mod tests {
    use crate::domain::client_protocol::ClientProtocol;

    #[test]
    fn the_members_of_a_struct_can_be_asked_for() {
        let members = super::members::<ClientProtocol>();
        assert!(
            members.contains(&"jwks") && members.contains(&"software_version"),
            "{members:?}"
        );
    }
}
