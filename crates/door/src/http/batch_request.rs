//! The JSON of a batch, parsed strictly: a member that is unknown, given twice, `null`, or of no use to its operation is
//! refused, since what a client meant by it would otherwise silently not happen.
//!
//! Texts without escapes are not copied: keys and values are slices of the body.

use std::borrow::Cow;
use std::fmt;

use base64::Engine as _;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use bytes::Bytes;
use ringfort_types::limits::{BATCH_OPERATIONS_MAX, VERSION_MAX};
use ringfort_types::request::{Condition, Operation};
use ringfort_types::{Code, Key, Refusal, Version};
use serde::de::{Deserialize, Deserializer, Error as _, SeqAccess, Visitor};

use super::kv;
use super::member::{Member, present};
use super::object::Object;

/// Base64 of requests: with padding or without.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// Parses the body of a batch into its operations and whether they are atomic.
pub(crate) fn parse(
    body: &Bytes,
    value_bytes_max: usize,
) -> Result<(Vec<Operation>, bool), Refusal> {
    let Object(request): Object<Request<'_>> = serde_json::from_slice(body)
        .map_err(|error| invalid(format!("the body is not a batch: {error}")))?;
    let operations = request.ops.0;
    if operations.is_empty() {
        return Err(invalid("the batch has no operations".to_owned()));
    }
    let operations = operations.into_iter().enumerate().map(|(position, members)| {
        let operation = OperationRequest::of(members, position)?;
        operation.check(body, value_bytes_max).map_err(|mut refusal| {
            refusal.detail = format!("ops[{position}]: {}", refusal.detail).into();
            refusal
        })
    });
    let operations = operations.collect::<Result<Vec<_>, _>>()?;
    let atomic = request.atomic.map_or(Ok(false), |member| member.bool("atomic"))?;
    if atomic {
        one_hash_tag(&operations)?;
    }
    Ok((operations, atomic))
}

fn one_hash_tag(operations: &[Operation]) -> Result<(), Refusal> {
    let tag = operations.first().map(|operation| operation.key().hash_tag());
    let other = operations.iter().position(|operation| Some(operation.key().hash_tag()) != tag);
    let Some(position) = other else {
        return Ok(());
    };
    let detail = format!(
        "the key of ops[{position}] does not share the hash tag of ops[0]: the keys of an atomic batch share one {{tag}} \
         or are one key"
    );
    Err(Refusal::not_applied(Code::CrossShard, detail))
}

fn invalid(detail: String) -> Refusal {
    Refusal::not_applied(Code::InvalidArgument, detail)
}

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Request<'a> {
    #[serde(borrow)]
    ops: Operations<'a>,
    #[serde(borrow, default, deserialize_with = "present")]
    atomic: Option<Member<'a>>,
}

/// A list that is not read further than a batch may go.
struct Operations<'a>(Vec<OperationMembers<'a>>);

impl<'de: 'a, 'a> Deserialize<'de> for Operations<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ListVisitor;

        impl<'de> Visitor<'de> for ListVisitor {
            type Value = Operations<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "a list of 1 to {BATCH_OPERATIONS_MAX} operations")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
                let mut operations = Vec::new();
                loop {
                    let position = operations.len();
                    let next = list.next_element();
                    let named = |error| A::Error::custom(format_args!("ops[{position}]: {error}"));
                    let Some(Object(operation)) = next.map_err(named)? else {
                        return Ok(Operations(operations));
                    };
                    if operations.len() == BATCH_OPERATIONS_MAX {
                        return Err(A::Error::custom(format_args!(
                            "more than {BATCH_OPERATIONS_MAX} operations"
                        )));
                    }
                    operations.push(operation);
                }
            }
        }
        deserializer.deserialize_seq(ListVisitor)
    }
}

/// An operation as it stands: every member known, none twice, of whatever types.
#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct OperationMembers<'a> {
    #[serde(borrow, default, deserialize_with = "present")]
    op: Option<Member<'a>>,
    #[serde(borrow, default, deserialize_with = "present")]
    key: Option<Member<'a>>,
    #[serde(borrow, default, deserialize_with = "present")]
    key_b64: Option<Member<'a>>,
    #[serde(borrow, default, deserialize_with = "present")]
    value: Option<Member<'a>>,
    #[serde(borrow, default, deserialize_with = "present")]
    value_b64: Option<Member<'a>>,
    #[serde(borrow, default, deserialize_with = "present")]
    ttl: Option<Member<'a>>,
    #[serde(borrow, default, deserialize_with = "present")]
    if_version: Option<Member<'a>>,
}

#[derive(Clone, Copy)]
enum Kind {
    Get,
    Put,
    Delete,
}

/// An operation whose members are of the right types.
struct OperationRequest<'a> {
    op: Kind,
    key: Option<Cow<'a, str>>,
    key_b64: Option<Cow<'a, str>>,
    value: Option<Cow<'a, str>>,
    value_b64: Option<Cow<'a, str>>,
    ttl: Option<Cow<'a, str>>,
    if_version: Option<u64>,
}

impl<'a> OperationRequest<'a> {
    /// Checks the types of the members of the operation at this position.
    fn of(members: OperationMembers<'a>, position: usize) -> Result<Self, Refusal> {
        let text = |member: &str, given: Option<Member<'a>>| {
            given.map(|given| given.text(format_args!("ops[{position}].{member}"))).transpose()
        };
        let op = members.op.ok_or_else(|| invalid(format!("ops[{position}].op is missing")))?;
        let kinds = [("get", Kind::Get), ("put", Kind::Put), ("delete", Kind::Delete)];
        let version = |given: Member<'a>| given.whole(format_args!("ops[{position}].if_version"));
        Ok(Self {
            op: op.choice(format_args!("ops[{position}].op"), &kinds)?,
            key: text("key", members.key)?,
            key_b64: text("key_b64", members.key_b64)?,
            value: text("value", members.value)?,
            value_b64: text("value_b64", members.value_b64)?,
            ttl: text("ttl", members.ttl)?,
            if_version: members.if_version.map(version).transpose()?,
        })
    }
}

impl OperationRequest<'_> {
    fn check(self, body: &Bytes, value_bytes_max: usize) -> Result<Operation, Refusal> {
        let key = one_of("key", self.key, self.key_b64, body)?
            .ok_or_else(|| invalid("it names no key (key or key_b64)".to_owned()))?;
        let key = Key::new(key).map_err(|error| kv::refuse_key(&error))?;
        let value = one_of("value", self.value, self.value_b64, body)?;
        let misplaced = |member, given: bool| match given {
            true => Err(invalid(format!("{member} has no meaning for this operation"))),
            false => Ok(()),
        };
        if !matches!(self.op, Kind::Put) {
            misplaced("value", value.is_some())?;
            misplaced("ttl", self.ttl.is_some())?;
        }
        let condition = match self.if_version {
            None => Condition::Always,
            Some(version @ 0..=VERSION_MAX) => Condition::version(Version(version)),
            Some(_) => return Err(invalid(format!("if_version is from 0 to {VERSION_MAX}"))),
        };
        match self.op {
            Kind::Get => {
                misplaced("if_version", self.if_version.is_some())?;
                Ok(Operation::Get { key })
            }
            Kind::Delete => Ok(Operation::Delete { key, condition }),
            Kind::Put => {
                let value = value.ok_or_else(|| {
                    invalid("a put needs a value (value or value_b64)".to_owned())
                })?;
                check_value(&value, value_bytes_max)?;
                let ttl = self.ttl.map(|text| kv::parse_ttl(&text, "ttl")).transpose()?;
                Ok(Operation::Put { key, value, ttl, condition })
            }
        }
    }
}

fn check_value(value: &Bytes, bytes_max: usize) -> Result<(), Refusal> {
    let bytes = value.len();
    if bytes <= bytes_max {
        return Ok(());
    }
    let detail =
        format!("the value has {bytes} bytes; the limit is {bytes_max} (limits.max_value_bytes)");
    Err(Refusal::not_applied(Code::TooLarge, detail))
}

/// The bytes of `name` or `name_b64`; both is an error.
fn one_of(
    name: &'static str,
    text: Option<Cow<'_, str>>,
    base64: Option<Cow<'_, str>>,
    body: &Bytes,
) -> Result<Option<Bytes>, Refusal> {
    match (text, base64) {
        (None, None) => Ok(None),
        (Some(Cow::Borrowed(text)), None) => Ok(Some(body.slice_ref(text.as_bytes()))),
        (Some(Cow::Owned(text)), None) => Ok(Some(text.into_bytes().into())),
        (None, Some(base64)) => match BASE64.decode(base64.as_bytes()) {
            Ok(bytes) => Ok(Some(bytes.into())),
            Err(error) => Err(invalid(format!("{name}_b64 is not Base64: {error}"))),
        },
        (Some(_), Some(_)) => Err(invalid(format!("{name} and {name}_b64 exclude each other"))),
    }
}
