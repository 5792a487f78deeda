//! How a value of each kind is read from a file, a variable or a flag, and how it is written in TOML.
//!
//! Variables and flags are always text, so each kind takes text as well as its own TOML type. Nothing is guessed: a duration or size
//! without a unit is refused, not taken for seconds or bytes.

use std::fmt::Display;
use std::str::FromStr;
use std::time::Duration;

use config::ValueKind;
use protocol::Channel;

use super::secret::Secret;

/// Why a value was not taken, if there is more to say than what was expected.
pub(crate) type Hint = Option<String>;

/// One way to read and write a `T`.
pub(crate) trait Kind<T> {
    /// Whether values must never be shown.
    const IS_SECRET: bool = false;
    /// Whether an empty variable is a value. Usually it counts as not set.
    const TAKES_EMPTY: bool = false;

    /// What a value looks like, to follow "expected".
    fn expected() -> String;
    /// Reads a value.
    fn read(value: &ValueKind) -> Result<T, Hint>;
    /// Writes a value as TOML; `None` if it is the absence of one.
    fn write(value: &T) -> Option<String>;
}

/// A whole number.
pub(crate) struct Number;
/// Yes or no.
pub(crate) struct Flag;
/// A duration with its unit.
pub(crate) struct Span;
/// A number of bytes with its unit.
pub(crate) struct Size;
/// Any text.
pub(crate) struct Text;
/// Text that is never shown.
pub(crate) struct Hidden;
/// Something that parses itself from text, and has a [`Described`] form.
pub(crate) struct Parsed;
/// One of a few words.
pub(crate) struct Word;
/// A channel, or nothing for an empty text.
pub(crate) struct ChannelOrOff;
/// Something that may be left out.
pub(crate) struct Maybe<K>(K);
/// Several, as a TOML array or with commas.
pub(crate) struct List<K>(K);

/// Says what text a type parses itself from.
pub(crate) trait Described {
    /// To follow "expected".
    const EXPECTED: &'static str;
}

impl Described for std::net::IpAddr {
    const EXPECTED: &'static str = "an IP address such as \"0.0.0.0\" or \"::1\"";
}

impl Described for std::net::SocketAddr {
    const EXPECTED: &'static str = "an IP address and a port such as \"127.0.0.1:9000\"";
}

impl Described for ipnet::IpNet {
    const EXPECTED: &'static str = "a network such as \"10.0.0.0/8\"";
}

impl Described for globset::Glob {
    const EXPECTED: &'static str = "a pattern such as \"room-*\"";
}

/// The words of an enum.
pub(crate) trait Words: Copy + PartialEq + 'static {
    /// Each word with what it stands for.
    const WORDS: &'static [(&'static str, Self)];
    /// What to say of a word that is known but not taken.
    fn refusal(_word: &str) -> Hint {
        None
    }
}

/// `text` as a TOML string.
pub(crate) fn quoted(text: &str) -> String {
    toml::Value::String(text.into()).to_string()
}

fn text(value: &ValueKind) -> Result<&str, Hint> {
    match value {
        ValueKind::String(text) => Ok(text),
        _ => Err(None),
    }
}

impl<T: TryFrom<i64> + FromStr + Display + Bounded> Kind<T> for Number {
    fn expected() -> String {
        format!("a whole number from 0 to {}", T::MOST)
    }

    fn read(value: &ValueKind) -> Result<T, Hint> {
        match value {
            ValueKind::I64(number) => T::try_from(*number).map_err(|_| None),
            ValueKind::String(text) => text.trim().parse().map_err(|_| None),
            _ => Err(None),
        }
    }

    fn write(value: &T) -> Option<String> {
        Some(value.to_string())
    }
}

/// The largest value that a setting of this type takes.
pub(crate) trait Bounded {
    /// That value.
    const MOST: u64;
}

impl Bounded for u16 {
    const MOST: u64 = 65_535;
}

impl Bounded for u32 {
    const MOST: u64 = 4_294_967_295;
}

impl Bounded for usize {
    const MOST: u64 = i64::MAX as u64;
}

impl Kind<bool> for Flag {
    fn expected() -> String {
        "true or false".into()
    }

    fn read(value: &ValueKind) -> Result<bool, Hint> {
        match value {
            ValueKind::Boolean(value) => Ok(*value),
            ValueKind::String(text) => match text.trim() {
                "true" | "1" => Ok(true),
                "false" | "0" => Ok(false),
                _ => Err(None),
            },
            _ => Err(None),
        }
    }

    fn write(value: &bool) -> Option<String> {
        Some(value.to_string())
    }
}

impl Kind<Duration> for Span {
    fn expected() -> String {
        "a duration with its unit such as \"500ms\", \"5s\" or \"1m 30s\"".into()
    }

    fn read(value: &ValueKind) -> Result<Duration, Hint> {
        if let ValueKind::I64(number) = value {
            return Err(Some(format!(
                "a number alone has no unit, write for example \"{number}s\""
            )));
        }
        let text = text(value)?.trim();
        if text.is_empty() {
            return Err(None);
        }
        humantime::parse_duration(text).map_err(|_| without_unit(text, "s"))
    }

    fn write(value: &Duration) -> Option<String> {
        Some(quoted(&written_duration(*value)))
    }
}

/// `duration` as [`Span`] reads it.
pub(crate) fn written_duration(duration: Duration) -> String {
    match duration.is_zero() {
        true => "0".into(),
        false => humantime::format_duration(duration).to_string(),
    }
}

fn without_unit(text: &str, unit: &str) -> Hint {
    let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then(|| format!("a number alone has no unit, write for example \"{text}{unit}\""))
}

/// Units of [`Size`], the largest first.
const UNITS: [(&str, usize); 3] = [("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)];

impl Kind<usize> for Size {
    fn expected() -> String {
        "a size with its unit (B, KiB, MiB, GiB) such as \"64KiB\"".into()
    }

    fn read(value: &ValueKind) -> Result<usize, Hint> {
        if let ValueKind::I64(number) = value {
            return Err(Some(format!(
                "a number alone has no unit, write for example \"{number}B\""
            )));
        }
        let text = text(value)?.trim();
        if text == "0" {
            return Ok(0);
        }
        let digits = text.bytes().take_while(u8::is_ascii_digit).count();
        let (number, unit) = (&text[..digits], text[digits..].trim_start());
        let factor = match unit {
            "" => return Err(without_unit(text, "B")),
            "B" => 1,
            _ => UNITS.iter().find(|(name, _)| *name == unit).ok_or(None)?.1,
        };
        let size = number.parse::<usize>().map_err(|_| None)?.checked_mul(factor);
        size.filter(|size| *size as u64 <= usize::MOST).ok_or(None)
    }

    fn write(value: &usize) -> Option<String> {
        let written = match UNITS
            .iter()
            .find(|(_, factor)| *value > 0 && value.is_multiple_of(*factor))
        {
            Some((unit, factor)) => format!("{}{unit}", value / factor),
            None if *value == 0 => "0".into(),
            None => format!("{value}B"),
        };
        Some(quoted(&written))
    }
}

impl<T: From<String> + AsRef<std::ffi::OsStr>> Kind<T> for Text {
    fn expected() -> String {
        "text".into()
    }

    fn read(value: &ValueKind) -> Result<T, Hint> {
        text(value).map(|text| text.to_owned().into())
    }

    fn write(value: &T) -> Option<String> {
        Some(quoted(&value.as_ref().to_string_lossy()))
    }
}

impl Kind<Secret> for Hidden {
    const IS_SECRET: bool = true;

    fn expected() -> String {
        "text (never shown)".into()
    }

    fn read(value: &ValueKind) -> Result<Secret, Hint> {
        text(value).map(Secret::new)
    }

    fn write(value: &Secret) -> Option<String> {
        Some(quoted(&value.to_string()))
    }
}

impl<T: FromStr<Err: Display> + Display + Described> Kind<T> for Parsed {
    fn expected() -> String {
        T::EXPECTED.into()
    }

    fn read(value: &ValueKind) -> Result<T, Hint> {
        text(value)?
            .trim()
            .parse()
            .map_err(|error: T::Err| Some(error.to_string()))
    }

    fn write(value: &T) -> Option<String> {
        Some(quoted(&value.to_string()))
    }
}

impl<T: Words> Kind<T> for Word {
    fn expected() -> String {
        let words: Vec<_> = T::WORDS.iter().map(|(word, _)| format!("\"{word}\"")).collect();
        words.join(" or ")
    }

    fn read(value: &ValueKind) -> Result<T, Hint> {
        let word = text(value)?.trim();
        let known = T::WORDS.iter().find(|(known, _)| *known == word);
        known.map(|(_, value)| *value).ok_or_else(|| T::refusal(word))
    }

    fn write(value: &T) -> Option<String> {
        T::WORDS
            .iter()
            .find(|(_, known)| known == value)
            .map(|(word, _)| quoted(word))
    }
}

impl Kind<Option<Channel>> for ChannelOrOff {
    const TAKES_EMPTY: bool = true;

    fn expected() -> String {
        "a channel name, or \"\" for none".into()
    }

    fn read(value: &ValueKind) -> Result<Option<Channel>, Hint> {
        match text(value)? {
            "" => Ok(None),
            name => Channel::parse(name).map(Some).map_err(|error| Some(error.to_string())),
        }
    }

    fn write(value: &Option<Channel>) -> Option<String> {
        Some(quoted(value.as_ref().map_or("", Channel::as_str)))
    }
}

impl<T, K: Kind<T>> Kind<Option<T>> for Maybe<K> {
    const IS_SECRET: bool = K::IS_SECRET;

    fn expected() -> String {
        K::expected()
    }

    fn read(value: &ValueKind) -> Result<Option<T>, Hint> {
        K::read(value).map(Some)
    }

    fn write(value: &Option<T>) -> Option<String> {
        value.as_ref().and_then(K::write)
    }
}

impl<T, K: Kind<T>> Kind<Vec<T>> for List<K> {
    fn expected() -> String {
        format!("a list, each {}", K::expected())
    }

    fn read(value: &ValueKind) -> Result<Vec<T>, Hint> {
        match value {
            ValueKind::Array(items) => items.iter().map(|item| K::read(&item.kind)).collect(),
            ValueKind::String(text) => {
                let items = text.split(',').map(str::trim).filter(|item| !item.is_empty());
                items.map(|item| K::read(&item.into())).collect()
            }
            _ => Err(None),
        }
    }

    fn write(value: &Vec<T>) -> Option<String> {
        let items: Vec<_> = value.iter().filter_map(K::write).collect();
        Some(format!("[{}]", items.join(", ")))
    }
}
