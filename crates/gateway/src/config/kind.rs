//! How a value of each kind is read from a file, a variable or a flag, and how it is written in TOML.
//!
//! Variables and flags are always text, so each kind takes text as well as its own TOML type. Nothing is guessed: a duration or size
//! without a unit is refused, not taken for seconds or bytes.

use std::fmt::Display;
use std::net::IpAddr;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use config::ValueKind;
use ipnet::IpNet;
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
/// A file.
pub(crate) struct FilePath;
/// Text that is never shown.
pub(crate) struct Hidden;
/// Something that parses itself from text, and has a [`Described`] form.
pub(crate) struct Parsed;
/// A network, or one address.
pub(crate) struct Network;
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

impl Described for IpAddr {
    const EXPECTED: &'static str = "an IP address such as \"0.0.0.0\" or \"::1\"";
}

impl Described for std::net::SocketAddr {
    const EXPECTED: &'static str = "an IP address and a port such as \"127.0.0.1:9000\"";
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
        match T::MOST {
            most if most > u32::MAX.into() => "a whole number, 0 or more".into(),
            most => format!("a whole number from 0 to {most}"),
        }
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
        let duration = humantime::parse_duration(text).map_err(|_| without_unit(text, "s"))?;
        match duration > LONGEST {
            true => Err(Some(format!("at most {}", written_duration(LONGEST)))),
            false => Ok(duration),
        }
    }

    fn write(value: &Duration) -> Option<String> {
        Some(quoted(&written_duration(*value)))
    }
}

/// No setting needs more, and sums of some of these never overflow.
const LONGEST: Duration = Duration::from_secs(30 * 24 * 60 * 60);

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

impl Kind<String> for Text {
    fn expected() -> String {
        "text".into()
    }

    fn read(value: &ValueKind) -> Result<String, Hint> {
        text(value).map(str::to_owned)
    }

    fn write(value: &String) -> Option<String> {
        Some(quoted(value))
    }
}

impl Kind<PathBuf> for FilePath {
    fn expected() -> String {
        "the path of a file".into()
    }

    fn read(value: &ValueKind) -> Result<PathBuf, Hint> {
        match text(value)? {
            "" => Err(None),
            path => Ok(path.into()),
        }
    }

    fn write(value: &PathBuf) -> Option<String> {
        Some(quoted(&value.to_string_lossy()))
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

impl Kind<IpNet> for Network {
    fn expected() -> String {
        "a network such as \"10.0.0.0/8\", or an address".into()
    }

    fn read(value: &ValueKind) -> Result<IpNet, Hint> {
        let text = text(value)?.trim();
        match text.parse::<IpAddr>() {
            Ok(address) => Ok(address.into()),
            Err(_) => text
                .parse()
                .map_err(|error: ipnet::AddrParseError| Some(error.to_string())),
        }
    }

    fn write(value: &IpNet) -> Option<String> {
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

#[cfg(test)]
mod tests {
    use std::fmt::Debug;
    use std::net::{IpAddr, Ipv6Addr};

    use super::*;

    /// Text is read as `expected`, and what is written is read as the same.
    #[track_caller]
    fn check<K: Kind<T>, T: PartialEq + Debug>(given: impl Into<ValueKind>, expected: Result<T, Option<&str>>) {
        let given = given.into();
        let read = K::read(&given);
        if let Ok(value) = &read
            && !K::IS_SECRET
            && let Some(written) = K::write(value)
        {
            let again = config::Config::builder()
                .add_source(config::File::from_str(
                    &format!("x = {written}"),
                    config::FileFormat::Toml,
                ))
                .build()
                .expect("what is written is TOML");
            let again = again.get::<config::Value>("x").expect("it is there");
            assert_eq!(K::read(&again.kind).as_ref().ok(), Some(value), "{given:?}");
        }
        assert_eq!(read, expected.map_err(|hint| hint.map(str::to_owned)), "{given:?}");
    }

    #[test]
    fn numbers() {
        check::<Number, u16>(3000, Ok(3000));
        check::<Number, u16>("3000", Ok(3000));
        check::<Number, u16>(" 3000 ", Ok(3000));
        check::<Number, u16>(65_536, Err(None));
        check::<Number, u16>(-1, Err(None));
        check::<Number, u16>("-1", Err(None));
        check::<Number, u16>("", Err(None));
        check::<Number, u16>("0x10", Err(None));
        check::<Number, u16>(1.5, Err(None));
        check::<Number, u16>(true, Err(None));
        check::<Number, u32>("4294967295", Ok(u32::MAX));
        check::<Number, usize>(i64::MAX, Ok(usize::MAX >> 1));
        check::<Number, usize>("99999999999999999999", Err(None));
    }

    #[test]
    fn flags() {
        check::<Flag, bool>(true, Ok(true));
        check::<Flag, bool>("true", Ok(true));
        check::<Flag, bool>("0", Ok(false));
        check::<Flag, bool>("yes", Err(None));
        check::<Flag, bool>(1, Err(None));
    }

    #[test]
    fn durations() {
        check::<Span, Duration>("500ms", Ok(Duration::from_millis(500)));
        check::<Span, Duration>("1m 30s", Ok(Duration::from_secs(90)));
        check::<Span, Duration>("1m30s", Ok(Duration::from_secs(90)));
        check::<Span, Duration>("0", Ok(Duration::ZERO));
        check::<Span, Duration>("0s", Ok(Duration::ZERO));
        check::<Span, Duration>("30", Err(Some("a number alone has no unit, write for example \"30s\"")));
        check::<Span, Duration>(30, Err(Some("a number alone has no unit, write for example \"30s\"")));
        check::<Span, Duration>("-1s", Err(None));
        check::<Span, Duration>("", Err(None));
        check::<Span, Duration>("soon", Err(None));
        check::<Span, Duration>("31days", Err(Some("at most 30days")));
        check::<Span, Duration>("99999999999999999999s", Err(None));
    }

    #[test]
    fn sizes() {
        check::<Size, usize>("64KiB", Ok(65_536));
        check::<Size, usize>("64 KiB", Ok(65_536));
        check::<Size, usize>("1MiB", Ok(1 << 20));
        check::<Size, usize>("2GiB", Ok(2 << 30));
        check::<Size, usize>("100B", Ok(100));
        check::<Size, usize>("0", Ok(0));
        check::<Size, usize>("64", Err(Some("a number alone has no unit, write for example \"64B\"")));
        check::<Size, usize>(64, Err(Some("a number alone has no unit, write for example \"64B\"")));
        check::<Size, usize>("64KB", Err(None));
        check::<Size, usize>("KiB", Err(None));
        check::<Size, usize>("", Err(None));
        check::<Size, usize>("-1B", Err(None));
        check::<Size, usize>("1.5MiB", Err(None));
        check::<Size, usize>("18446744073709551615GiB", Err(None));
        check::<Size, usize>("9223372036854775808B", Err(None));
    }

    #[test]
    fn text_that_looks_like_a_number_stays_as_it_is() {
        for text in ["00123", "1e5", "True", " padded ", ""] {
            check::<Text, String>(text, Ok(text.into()));
            check::<Hidden, Secret>(text, Ok(Secret::new(text)));
        }
        check::<Text, String>(5, Err(None));
        check::<Hidden, Secret>(5, Err(None));
        check::<FilePath, PathBuf>("/a b/c", Ok("/a b/c".into()));
        check::<FilePath, PathBuf>("", Err(None));
    }

    #[test]
    fn addresses_and_networks() {
        check::<Parsed, IpAddr>("::1", Ok(Ipv6Addr::LOCALHOST.into()));
        check::<Parsed, IpAddr>("localhost", Err(Some("invalid IP address syntax")));
        check::<Network, IpNet>("10.0.0.0/8", Ok("10.0.0.0/8".parse().expect("a network")));
        check::<Network, IpNet>("10.0.0.1", Ok("10.0.0.1/32".parse().expect("a network")));
        check::<Network, IpNet>("10.0.0.0/33", Err(Some("invalid IP address syntax")));
        check::<Parsed, globset::Glob>(
            "a{b",
            Err(Some(
                "error parsing glob 'a{b': unclosed alternate group; missing '}' (maybe escape '{' with '[{]'?)",
            )),
        );
    }

    #[test]
    fn lists() {
        let both = Ok(vec!["a".to_owned(), "b".to_owned()]);
        check::<List<Text>, Vec<String>>("a,b", both.clone());
        check::<List<Text>, Vec<String>>(" a , b ,", both.clone());
        check::<List<Text>, Vec<String>>(vec!["a", "b"], both);
        check::<List<Text>, Vec<String>>("", Ok(Vec::new()));
        check::<List<Text>, Vec<String>>("5", Ok(vec!["5".into()]));
        check::<List<Text>, Vec<String>>(5, Err(None));
        check::<List<Text>, Vec<String>>(vec![5], Err(None));
    }

    #[test]
    fn channels() {
        check::<ChannelOrOff, Option<Channel>>("", Ok(None));
        check::<ChannelOrOff, Option<Channel>>("news", Ok(Channel::parse("news").ok()));
        check::<ChannelOrOff, Option<Channel>>("a b", Err(Some("a channel name must not contain ' ' (at byte 1)")));
    }
}
