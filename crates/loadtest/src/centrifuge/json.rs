//! The JSON encoding: one text for each command or reply, on lines of their own.
//!
//! Servers write without whitespace, and members in any order; values that are of no use are passed over by their quotes and brackets. So
//! what is not JSON between two quotes or inside of a payload is not seen here: the payload is for its reader to check.

use super::{Answer, Command, Malformed, Parts, Push, Refusal, Reply};

const NOT_A_REPLY: Malformed = Malformed("something that is not a JSON reply");

/// Appends `command` as another line of `message`.
pub(super) fn write(command: &Command<'_>, message: &mut Vec<u8>) {
    if !message.is_empty() {
        message.push(b'\n');
    }
    match command {
        Command::Connect { id, token: None } => {
            message.extend_from_slice(format!(r#"{{"id":{id},"connect":{{}}}}"#).as_bytes());
        }
        Command::Connect { id, token: Some(token) } => {
            // A token comes from the command line, so it may be anything.
            let token = serde_json::Value::from(*token);
            message.extend_from_slice(format!(r#"{{"id":{id},"connect":{{"token":{token}}}}}"#).as_bytes());
        }
        Command::Subscribe { id, channel } => {
            let channel = channel.as_str(); // never needs escaping
            message.extend_from_slice(format!(r#"{{"id":{id},"subscribe":{{"channel":"{channel}"}}}}"#).as_bytes());
        }
        Command::Publish { id, channel, data } => {
            let channel = channel.as_str();
            let head = format!(r#"{{"id":{id},"publish":{{"channel":"{channel}","data":"#);
            message.extend_from_slice(head.as_bytes());
            message.extend_from_slice(data);
            message.extend_from_slice(b"}}");
        }
        Command::Pong => message.extend_from_slice(b"{}"),
    }
}

/// Takes one line from the front of `message`.
pub(super) fn read<'a>(message: &mut &'a [u8]) -> Result<Reply<'a>, Malformed> {
    let reply = if let Some(rest) = message.strip_prefix(b"{}") {
        *message = rest;
        Reply::Ping
    } else {
        reply(message)?
    };
    if message.is_empty() || take(message, b'\n') {
        Ok(reply)
    } else {
        Err(NOT_A_REPLY)
    }
}

fn reply<'a>(text: &mut &'a [u8]) -> Result<Reply<'a>, Malformed> {
    let mut parts = Parts::default();
    object(text, |name, value| {
        match name {
            b"push" => parts.push = Some(push(value)?),
            b"id" => parts.id = number(value)?,
            b"publish" => parts.answer = Some(empty(value, Answer::Published)?),
            b"subscribe" => parts.answer = Some(empty(value, Answer::Subscribed)?),
            b"connect" => parts.answer = Some(connected(value)?),
            b"error" => parts.refusal = Some(refusal(value)?),
            _ => skip(value)?,
        }
        Ok(())
    })?;
    parts.into_reply()
}

fn push<'a>(text: &mut &'a [u8]) -> Result<Push<'a>, Malformed> {
    let mut push = Push::default();
    object(text, |name, value| {
        match name {
            b"channel" => push.channel = string(value)?,
            b"pub" => push.publication = Some(member(value, b"data", raw)?),
            b"unsubscribe" | b"disconnect" => push.ended = Some(member(value, b"code", number)?.unwrap_or(0)),
            _ => skip(value)?,
        }
        Ok(())
    })?;
    Ok(push)
}

/// An object whose members do not matter.
fn empty(text: &mut &[u8], answer: Answer) -> Result<Answer, Malformed> {
    object(text, |_, value| skip(value))?;
    Ok(answer)
}

fn connected(text: &mut &[u8]) -> Result<Answer, Malformed> {
    let pong = member(text, b"pong", raw)?;
    Ok(Answer::Connected {
        wants_pongs: pong == Some(b"true"),
    })
}

fn refusal(text: &mut &[u8]) -> Result<Refusal, Malformed> {
    let mut refusal = Refusal {
        code: 0,
        message: String::new(),
    };
    object(text, |name, value| {
        match name {
            b"code" => refusal.code = number(value)?,
            b"message" => refusal.message = String::from_utf8_lossy(string(value)?).into_owned(),
            _ => skip(value)?,
        }
        Ok(())
    })?;
    Ok(refusal)
}

/// Takes an object and reads its member `wanted`, if there is one.
fn member<'a, T>(
    text: &mut &'a [u8],
    wanted: &[u8],
    read: impl Fn(&mut &'a [u8]) -> Result<T, Malformed>,
) -> Result<Option<T>, Malformed> {
    let mut found = None;
    object(text, |name, value| {
        if name == wanted {
            found = Some(read(value)?);
            Ok(())
        } else {
            skip(value)
        }
    })?;
    Ok(found)
}

/// Takes an object; `member` gets each name, and takes the value.
fn object<'a>(
    text: &mut &'a [u8],
    mut member: impl FnMut(&'a [u8], &mut &'a [u8]) -> Result<(), Malformed>,
) -> Result<(), Malformed> {
    expect(text, b'{')?;
    if take(text, b'}') {
        return Ok(());
    }
    loop {
        let name = string(text)?;
        expect(text, b':')?;
        member(name, text)?;
        if take(text, b'}') {
            return Ok(());
        }
        expect(text, b',')?;
    }
}

/// Takes a string and gives what is between its quotes, as it is written.
fn string<'a>(text: &mut &'a [u8]) -> Result<&'a [u8], Malformed> {
    let length = string_length(text)?;
    let (string, rest) = text.split_at(length);
    *text = rest;
    Ok(&string[1..length - 1])
}

/// Takes a value of any kind and gives it as it is written.
fn raw<'a>(text: &mut &'a [u8]) -> Result<&'a [u8], Malformed> {
    let length = match text.first() {
        Some(b'"') => string_length(text)?,
        Some(b'{' | b'[') => nested_length(text)?,
        _ => text
            .iter()
            .position(|byte| matches!(byte, b',' | b'}' | b']' | b'\n'))
            .filter(|length| *length > 0)
            .ok_or(NOT_A_REPLY)?,
    };
    let (value, rest) = text.split_at(length);
    *text = rest;
    Ok(value)
}

fn skip(text: &mut &[u8]) -> Result<(), Malformed> {
    raw(text).map(drop)
}

fn number(text: &mut &[u8]) -> Result<u32, Malformed> {
    let digits = std::str::from_utf8(raw(text)?).map_err(|_| NOT_A_REPLY)?;
    digits.parse().map_err(|_| NOT_A_REPLY)
}

/// The length of the string at the start of `text`, its quotes included.
fn string_length(text: &[u8]) -> Result<usize, Malformed> {
    if text.first() != Some(&b'"') {
        return Err(NOT_A_REPLY);
    }
    let mut at = 1;
    loop {
        match text.get(at) {
            Some(b'"') => return Ok(at + 1),
            Some(b'\\') => at += 2,
            Some(b'\n') | None => return Err(NOT_A_REPLY),
            Some(_) => at += 1,
        }
    }
}

/// The length of the object or array at the start of `text`.
fn nested_length(text: &[u8]) -> Result<usize, Malformed> {
    let mut at = 0;
    let mut depth = 0_usize;
    loop {
        match text.get(at) {
            Some(b'"') => {
                at += string_length(&text[at..])?;
                continue;
            }
            Some(b'{' | b'[') => depth += 1,
            Some(b'}' | b']') if depth == 1 => return Ok(at + 1),
            Some(b'}' | b']') => depth -= 1,
            Some(b'\n') | None => return Err(NOT_A_REPLY),
            Some(_) => {}
        }
        at += 1;
    }
}

fn expect(text: &mut &[u8], byte: u8) -> Result<(), Malformed> {
    take(text, byte).then_some(()).ok_or(NOT_A_REPLY)
}

/// Takes `byte` from the front of `text`, if it is there.
fn take(text: &mut &[u8], byte: u8) -> bool {
    match text.split_first() {
        Some((first, rest)) if *first == byte => {
            *text = rest;
            true
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests;
