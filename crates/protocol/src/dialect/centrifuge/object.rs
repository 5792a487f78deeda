//! From a JSON object to a message.
//!
//! What serde derives for a struct takes an array too, and no name twice. Here only an object is one; of members with the same name the
//! last counts, and what is not there has its zero value. Does not know which messages there are: `build.rs` writes them down.

use bytes::Bytes;
use serde::Deserialize;
use serde::de::MapAccess;
use serde_json::value::RawValue;

/// Makes a message readable, with the way that each of its members is read: [`value`] or [`raw`].
macro_rules! object {
    ($message:ident { $($member:ident: $read:ident,)* }) => {
        impl<'de> serde::Deserialize<'de> for $message {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                #[derive(serde::Deserialize)]
                #[serde(field_identifier)]
                #[allow(non_camel_case_types, reason = "these are the names in JSON")]
                enum Name {
                    $($member,)*
                    #[serde(other)]
                    Unknown,
                }
                struct Object;
                impl<'de> serde::de::Visitor<'de> for Object {
                    type Value = $message;

                    fn expecting(&self, to: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                        to.write_str("an object")
                    }

                    fn visit_map<A: serde::de::MapAccess<'de>>(self, mut members: A) -> Result<$message, A::Error> {
                        #[allow(unused_mut, reason = "some messages are empty")]
                        let mut message = $message::default();
                        while let Some(found) = members.next_key()? {
                            match found {
                                $(Name::$member => message.$member = $read(&mut members)?,)*
                                Name::Unknown => {
                                    members.next_value::<serde::de::IgnoredAny>()?;
                                }
                            }
                        }
                        Ok(message)
                    }
                }
                deserializer.deserialize_map(Object)
            }
        }
    };
}

pub(super) use object;

/// What a member is, by its type.
pub(super) fn value<'de, T: Deserialize<'de>, A: MapAccess<'de>>(members: &mut A) -> Result<T, A::Error> {
    members.next_value()
}

/// The JSON text that a member is.
pub(super) fn raw<'de, A: MapAccess<'de>>(members: &mut A) -> Result<Bytes, A::Error> {
    let raw: Box<str> = members.next_value::<Box<RawValue>>()?.into();
    Ok(Bytes::from(raw.into_string()))
}
