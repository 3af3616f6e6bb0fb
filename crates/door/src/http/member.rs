//! Members of JSON objects, read as whatever they are and checked once their name is known for the message.
//!
//! What serde derives is lenient where a client's mistake should be told: an enum's unit variant may also stand as
//! `{"put":null}`. And its messages name a type, but not the member that has another.

use std::borrow::Cow;
use std::fmt;

use ringfort_types::{Code, Refusal};
use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::query;

/// The value of a member.
#[derive(Debug, PartialEq)]
pub(crate) enum Member<'a> {
    /// A string, borrowed from the body where it holds no escapes.
    Text(Cow<'a, str>),
    /// A number that is written without sign, fraction and exponent, and fits.
    Whole(u64),
    /// `true` or `false`.
    Bool(bool),
    /// Anything else, as a message shows it.
    Other(Cow<'static, str>),
}

impl<'a> Member<'a> {
    /// The string; else the refusal, in which the member is called by its name.
    pub(crate) fn text(self, name: impl fmt::Display) -> Result<Cow<'a, str>, Refusal> {
        match self {
            Self::Text(text) => Ok(text),
            other => Err(other.refuse(name, "a string")),
        }
    }

    /// The whole number.
    pub(crate) fn whole(self, name: impl fmt::Display) -> Result<u64, Refusal> {
        match self {
            Self::Whole(number) => Ok(number),
            other => Err(other.refuse(name, "a whole number")),
        }
    }

    /// `true` or `false`.
    pub(crate) fn bool(self, name: impl fmt::Display) -> Result<bool, Refusal> {
        match self {
            Self::Bool(value) => Ok(value),
            other => Err(other.refuse(name, "true or false")),
        }
    }

    /// What belongs to the string among these.
    pub(crate) fn choice<T: Copy>(
        self,
        name: impl fmt::Display,
        choices: &[(&str, T)],
    ) -> Result<T, Refusal> {
        let found = match &self {
            Self::Text(text) => choices.iter().find(|(word, _)| word == text),
            _ => None,
        };
        let words = || choices.iter().map(|(word, _)| *word).collect::<Vec<_>>();
        found
            .map(|(_, choice)| *choice)
            .ok_or_else(|| self.refuse(name, &format!("one of {:?}", words())))
    }

    fn refuse(&self, name: impl fmt::Display, expected: &str) -> Refusal {
        let got: Cow<'_, str> = match self {
            Self::Text(text) => query::shown(text.as_bytes()).into(),
            Self::Whole(number) => number.to_string().into(),
            Self::Bool(value) => value.to_string().into(),
            Self::Other(shown) => shown.as_ref().into(),
        };
        let detail = format!("{name} is {expected}; got {got}");
        Refusal::not_applied(Code::InvalidArgument, detail)
    }
}

/// A member that is there is not `null`: a client whose variable was not set means something else than one that leaves the
/// member out.
pub(crate) fn present<'de, D, T>(deserializer: D) -> Result<Option<T>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de>,
{
    T::deserialize(deserializer).map(Some)
}

impl<'de: 'a, 'a> Deserialize<'de> for Member<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct MemberVisitor;

        impl<'de> Visitor<'de> for MemberVisitor {
            type Value = Member<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a value")
            }

            fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Self::Value, E> {
                Ok(Member::Text(Cow::Borrowed(text)))
            }

            fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
                Ok(Member::Text(Cow::Owned(text.to_owned())))
            }

            fn visit_u64<E>(self, number: u64) -> Result<Self::Value, E> {
                Ok(Member::Whole(number))
            }

            fn visit_i64<E>(self, number: i64) -> Result<Self::Value, E> {
                Ok(Member::Other(number.to_string().into()))
            }

            fn visit_f64<E>(self, number: f64) -> Result<Self::Value, E> {
                Ok(Member::Other(format!("{number:?}").into()))
            }

            fn visit_bool<E>(self, value: bool) -> Result<Self::Value, E> {
                Ok(Member::Bool(value))
            }

            fn visit_unit<E>(self) -> Result<Self::Value, E> {
                Ok(Member::Other("null".into()))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
                while list.next_element::<IgnoredAny>()?.is_some() {}
                Ok(Member::Other("a list".into()))
            }

            fn visit_map<A: MapAccess<'de>>(self, mut object: A) -> Result<Self::Value, A::Error> {
                while object.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
                Ok(Member::Other("an object".into()))
            }
        }
        deserializer.deserialize_any(MemberVisitor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(json: &str) -> Member<'_> {
        serde_json::from_str(json).unwrap()
    }

    #[test]
    fn members_are_what_they_are_written_as() {
        for (json, member) in [
            (r#""a""#, Member::Text(Cow::Borrowed("a"))),
            (r#""\u0061""#, Member::Text(Cow::Borrowed("a"))),
            ("18446744073709551615", Member::Whole(u64::MAX)),
            ("true", Member::Bool(true)),
            ("-1", Member::Other("-1".into())),
            ("17.0", Member::Other("17.0".into())),
            ("1e3", Member::Other("1000.0".into())),
            ("18446744073709551616", Member::Other("1.8446744073709552e19".into())),
            ("null", Member::Other("null".into())),
            ("[[[]],{}]", Member::Other("a list".into())),
            (r#"{"a":[1]}"#, Member::Other("an object".into())),
        ] {
            assert_eq!(read(json), member, "{json}");
        }
        assert!(serde_json::from_str::<Member<'_>>("[1").is_err());
    }

    #[test]
    fn a_refusal_names_the_member_and_shows_what_it_is() {
        let refusal = read(r#"{"put":null}"#).choice("ops[0].op", &[("put", ())]).unwrap_err();
        assert_eq!(refusal.detail, r#"ops[0].op is one of ["put"]; got an object"#);
        let refusal = read(r#""17""#).whole("ops[3].if_version").unwrap_err();
        assert_eq!(refusal.detail, r#"ops[3].if_version is a whole number; got "17""#);
        assert_eq!(read("1").bool("atomic").unwrap_err().detail, "atomic is true or false; got 1");
        assert_eq!(read("true").text("ttl").unwrap_err().detail, "ttl is a string; got true");
    }
}
