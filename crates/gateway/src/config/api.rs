//! The settings of the server API, and how its keys are written: as an array of tables, or in one variable as TOML.
//!
//! Invariant: no text of a key is in a hint, and none is written.

use std::path::PathBuf;
use std::time::Duration;

use config::{File, FileFormat, Map, Source, Value, ValueKind};

use super::kind::{FilePath, Flag, Hidden, Hint, Kind, List, Maybe, Number, Size, Span, Text, Word};
use super::mistakes::did_you_mean;
use super::section::{Field, Section, section};
use super::{MIB, SECOND, Secret};
use crate::config::Call;

section! {
    /// The API for the application's servers, under /api on the admin listener.
    pub struct Api {
        /// Keys besides `admin.api_key`, each of which may be for some calls only. In the file each stands below a line `[[api.keys]]`; a variable has all of them in one line of TOML.
        keys: Vec<ApiKey> as Keys = Vec::new();
        /// Whether a key may also stand in the URL, as `?api_key=KEY`. Whatever logs URLs would then keep it.
        key_in_url: bool as Flag = false;
        /// Most bytes of one request.
        body_size: usize as Size = MIB;
        /// How long a request may take to come.
        body_timeout: Duration as Span = 10 * SECOND;
        /// Most members that the answer to one question about presence may have.
        presence_members: usize as Number = 100_000;
    }
}

section! {
    /// A key of the API, and what it is for.
    pub struct ApiKey {
        /// What it is called in the log.
        name: String as Text = String::new();
        /// The key, of at least 16 bytes; `openssl rand -hex 32` makes one.
        key: Option<Secret> as Maybe<Hidden> = None;
        /// File to read it from, instead of `key`.
        key_file: Option<PathBuf> as Maybe<FilePath> = None;
        /// Which calls it is for. A batch needs all that are in it.
        calls: Vec<Call> as List<Word> = Call::all().collect();
    }
}

/// The keys of the API.
pub(crate) struct Keys;

impl Kind<Vec<ApiKey>> for Keys {
    const IS_SECRET: bool = true;

    fn expected() -> String {
        "keys, each with a name, a key or a key_file, and the calls it is for".into()
    }

    fn read(value: &ValueKind) -> Result<Vec<ApiKey>, Hint> {
        match value {
            ValueKind::Array(keys) => keys
                .iter()
                .enumerate()
                .map(|(number, key)| read_key(number, &key.kind))
                .collect(),
            ValueKind::String(text) => Self::read(&in_toml(text)?),
            _ => Err(None),
        }
    }

    fn write(keys: &Vec<ApiKey>) -> Option<String> {
        let line = |key: &ApiKey| {
            let fields: Vec<_> = ApiKey::FIELDS
                .iter()
                .filter_map(|field| Some(format!("{} = {}", field.key(), (field.write)(key)?)))
                .collect();
            format!("{{ {} }}", fields.join(", "))
        };
        let keys: Vec<_> = keys.iter().map(line).collect();
        Some(format!("[{}]", keys.join(", ")))
    }
}

fn read_key(number: usize, value: &ValueKind) -> Result<ApiKey, Hint> {
    let ValueKind::Table(entries) = value else {
        return Err(None);
    };
    let mut key = ApiKey::default();
    for (name, value) in entries {
        let Some(field) = ApiKey::FIELDS.iter().find(|field| field.key() == name) else {
            let meant = did_you_mean(name, ApiKey::FIELDS.iter().map(Field::key));
            let meant = meant.map_or(String::new(), |meant| format!("; did you mean {meant}?"));
            // What is not known may be a key in the wrong place, so only its place is told.
            return Err(Some(format!("key {number} has a setting that does not exist{meant}")));
        };
        (field.read)(&mut key, &value.kind)
            .map_err(|_| Some(format!("{} of key {number} is not {}", field.key(), (field.expected)())))?;
    }
    Ok(key)
}

/// The value that `text` is in TOML.
fn in_toml(text: &str) -> Result<ValueKind, Hint> {
    let not_toml = || Some("it is not TOML such as [{name = \"shop\", key_file = \"/run/key\"}]".to_owned());
    let table: Result<Map<String, Value>, _> = File::from_str(&format!("keys = {text}"), FileFormat::Toml).collect();
    let value = table.ok().and_then(|mut table| table.remove("keys"));
    match value.map(|value| value.kind) {
        Some(array @ ValueKind::Array(_)) => Ok(array),
        _ => Err(not_toml()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: Result<&str, &str>) {
        let read = Keys::read(&text.into());
        let expected_error = expected.err().map(|hint| Err(Some(hint.to_owned())));
        match (&read, expected) {
            (Ok(keys), Ok(written)) => assert_eq!(Keys::write(keys).as_deref(), Some(written)),
            _ => assert_eq!(Some(read), expected_error, "{text}"),
        }
    }

    #[test]
    fn keys_are_read_from_a_line_and_never_written() {
        check("[]", Ok("[]"));
        check(
            "[{name = 'shop', key = 'hunter2', calls = ['publish', 'broadcast']}]",
            Ok(r#"[{ name = "shop", key = "***", calls = ["publish", "broadcast"] }]"#),
        );
        check(
            "[{name = 'a', key = 'b', hunter2 = 1}]",
            Err("key 0 has a setting that does not exist"),
        );
        check(
            "[{name = 'a', kee = 'b'}]",
            Err("key 0 has a setting that does not exist; did you mean key?"),
        );
        check("[{name = 'a'}, {name = 5}]", Err("name of key 1 is not text"));
        check(
            "hunter2",
            Err("it is not TOML such as [{name = \"shop\", key_file = \"/run/key\"}]"),
        );
        check(
            "5\nother = 1",
            Err("it is not TOML such as [{name = \"shop\", key_file = \"/run/key\"}]"),
        );
        let keys = Keys::read(&"[{name = 'a', key = 'b'}]".into()).expect("a key");
        assert_eq!(keys[0].calls, Call::all().collect::<Vec<_>>(), "a key is for all calls");
        assert!(Keys::read(&"[{name = 'a', calls = ['sing']}]".into()).is_err());
    }
}
