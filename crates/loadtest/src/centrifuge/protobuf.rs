//! The Protobuf encoding: each command or reply after its length.
//!
//! Only the few fields that matter are looked at; others are passed over by their wire type, as the format allows. A length that does not fit
//! what is there is noticed on every level that is looked into.

use super::{Answer, Command, Malformed, Parts, Push, Refusal, Reply};

const NOT_A_REPLY: Malformed = Malformed("something that is not a Protobuf reply");

/// Field numbers.
mod field {
    pub(super) const ID: u32 = 1;
    pub(super) const ERROR: u32 = 2;
    pub(super) const PUSH: u32 = 4;

    // The same in commands and replies, except publish and subscribe.
    pub(super) const CONNECT: u32 = 4;
    pub(super) const SUBSCRIBE: u32 = 5;
    pub(super) const PUBLISH: u32 = 7;
    pub(super) const CONNECTED: u32 = 5;
    pub(super) const SUBSCRIBED: u32 = 6;
    pub(super) const PUBLISHED: u32 = 8;

    pub(super) const CONNECT_TOKEN: u32 = 1;
    pub(super) const CONNECTED_PONG: u32 = 8;
    pub(super) const SUBSCRIBE_CHANNEL: u32 = 1;
    pub(super) const PUBLISH_CHANNEL: u32 = 1;
    pub(super) const PUBLISH_DATA: u32 = 2;
    pub(super) const ERROR_CODE: u32 = 1;
    pub(super) const ERROR_MESSAGE: u32 = 2;

    pub(super) const PUSH_CHANNEL: u32 = 2;
    pub(super) const PUSH_PUBLICATION: u32 = 4;
    pub(super) const PUSH_UNSUBSCRIBE: u32 = 7;
    pub(super) const PUSH_DISCONNECT: u32 = 11;
    pub(super) const PUBLICATION_DATA: u32 = 4;
    pub(super) const UNSUBSCRIBE_CODE: u32 = 2;
    pub(super) const DISCONNECT_CODE: u32 = 1;
}

/// The value of a field.
#[derive(Debug, Clone, Copy)]
enum Value<'a> {
    Number(u64),
    Bytes(&'a [u8]),
    /// One of a fixed size, which no field that matters has.
    Fixed,
}

/// Appends `command` with its length to `message`.
pub(super) fn write(command: &Command<'_>, message: &mut Vec<u8>) {
    let (id, number, request) = match command {
        Command::Connect { id, token } => {
            let mut request = Vec::new();
            if let Some(token) = token {
                put_bytes(&mut request, field::CONNECT_TOKEN, token.as_bytes());
            }
            (*id, field::CONNECT, request)
        }
        Command::Subscribe { id, channel } => {
            let mut request = Vec::new();
            put_bytes(&mut request, field::SUBSCRIBE_CHANNEL, channel.as_str().as_bytes());
            (*id, field::SUBSCRIBE, request)
        }
        Command::Publish { id, channel, data } => {
            let mut request = Vec::new();
            put_bytes(&mut request, field::PUBLISH_CHANNEL, channel.as_str().as_bytes());
            put_bytes(&mut request, field::PUBLISH_DATA, data);
            (*id, field::PUBLISH, request)
        }
        Command::Pong => {
            put_number(message, 0);
            return;
        }
    };
    let mut command = Vec::new();
    put_number(&mut command, u64::from(field::ID << 3));
    put_number(&mut command, id.into());
    put_bytes(&mut command, number, &request);
    put_number(message, command.len() as u64);
    message.extend_from_slice(&command);
}

/// Takes one reply with its length from the front of `message`.
pub(super) fn read<'a>(message: &mut &'a [u8]) -> Result<Reply<'a>, Malformed> {
    let mut fields = bytes(message)?;
    if fields.is_empty() {
        return Ok(Reply::Ping);
    }
    let mut parts = Parts::default();
    while !fields.is_empty() {
        match take(&mut fields)? {
            (field::PUSH, Value::Bytes(value)) => parts.push = Some(push(value)?),
            (field::ID, Value::Number(id)) => parts.id = small(id)?,
            (field::PUBLISHED, Value::Bytes(_)) => parts.answer = Some(Answer::Published),
            (field::SUBSCRIBED, Value::Bytes(_)) => parts.answer = Some(Answer::Subscribed),
            (field::CONNECTED, Value::Bytes(value)) => {
                let wants_pongs = number_of(value, field::CONNECTED_PONG)? != 0;
                parts.answer = Some(Answer::Connected { wants_pongs });
            }
            (field::ERROR, Value::Bytes(value)) => parts.refusal = Some(refusal(value)?),
            _ => {}
        }
    }
    parts.into_reply()
}

fn push(mut fields: &[u8]) -> Result<Push<'_>, Malformed> {
    let mut push = Push::default();
    while !fields.is_empty() {
        match take(&mut fields)? {
            (field::PUSH_CHANNEL, Value::Bytes(channel)) => push.channel = channel,
            (field::PUSH_PUBLICATION, Value::Bytes(value)) => {
                push.publication = Some(bytes_of(value, field::PUBLICATION_DATA)?);
            }
            (field::PUSH_UNSUBSCRIBE, Value::Bytes(value)) => {
                push.ended = Some(small(number_of(value, field::UNSUBSCRIBE_CODE)?)?);
            }
            (field::PUSH_DISCONNECT, Value::Bytes(value)) => {
                push.ended = Some(small(number_of(value, field::DISCONNECT_CODE)?)?);
            }
            _ => {}
        }
    }
    Ok(push)
}

fn refusal(fields: &[u8]) -> Result<Refusal, Malformed> {
    let message = bytes_of(fields, field::ERROR_MESSAGE)?.unwrap_or_default();
    Ok(Refusal {
        code: small(number_of(fields, field::ERROR_CODE)?)?,
        message: String::from_utf8_lossy(message).into_owned(),
    })
}

/// The bytes in field `wanted`, if it is there.
fn bytes_of(mut fields: &[u8], wanted: u32) -> Result<Option<&[u8]>, Malformed> {
    let mut found = None;
    while !fields.is_empty() {
        if let (number, Value::Bytes(bytes)) = take(&mut fields)?
            && number == wanted
        {
            found = Some(bytes);
        }
    }
    Ok(found)
}

/// The number in field `wanted`; one that is not there is 0.
fn number_of(mut fields: &[u8], wanted: u32) -> Result<u64, Malformed> {
    let mut found = 0;
    while !fields.is_empty() {
        if let (number, Value::Number(value)) = take(&mut fields)?
            && number == wanted
        {
            found = value;
        }
    }
    Ok(found)
}

/// Takes one field.
fn take<'a>(fields: &mut &'a [u8]) -> Result<(u32, Value<'a>), Malformed> {
    let key = number(fields)?;
    let value = match key & 7 {
        0 => Value::Number(number(fields)?),
        1 => fixed(fields, 8)?,
        2 => Value::Bytes(bytes(fields)?),
        5 => fixed(fields, 4)?,
        _ => return Err(NOT_A_REPLY),
    };
    match small(key >> 3)? {
        0 => Err(NOT_A_REPLY),
        number => Ok((number, value)),
    }
}

/// Takes a length and so many bytes.
fn bytes<'a>(text: &mut &'a [u8]) -> Result<&'a [u8], Malformed> {
    let length = usize::try_from(number(text)?).map_err(|_| NOT_A_REPLY)?;
    let (bytes, rest) = text.split_at_checked(length).ok_or(NOT_A_REPLY)?;
    *text = rest;
    Ok(bytes)
}

fn fixed<'a>(text: &mut &[u8], length: usize) -> Result<Value<'a>, Malformed> {
    *text = text.get(length..).ok_or(NOT_A_REPLY)?;
    Ok(Value::Fixed)
}

/// Takes a number of seven bits a byte, the lowest first.
fn number(text: &mut &[u8]) -> Result<u64, Malformed> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let (byte, rest) = text.split_first().ok_or(NOT_A_REPLY)?;
        *text = rest;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Ok(value);
        }
    }
    Err(NOT_A_REPLY)
}

fn small(number: u64) -> Result<u32, Malformed> {
    u32::try_from(number).map_err(|_| NOT_A_REPLY)
}

fn put_bytes(out: &mut Vec<u8>, number: u32, bytes: &[u8]) {
    put_number(out, u64::from(number << 3 | 2));
    put_number(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

fn put_number(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push(number.to_le_bytes()[0] | 0x80);
        number >>= 7;
    }
    out.push(number.to_le_bytes()[0]);
}

#[cfg(test)]
mod tests;
