//! The list of all settings, group by group: what loading, errors, `fanfare config` and the reference page walk.

use config::ValueKind;

use super::kind::{Flag, Hint, Kind};
use super::section::{Field, Section};
use super::{Config, kind};
use crate::config::ChannelRule;

/// The settings of one section; those of the group without a name stand at the top.
pub(crate) struct Group {
    pub(crate) name: &'static str,
    pub(crate) about: &'static str,
    pub(crate) settings: Vec<Setting>,
}

/// One setting of a [`Config`].
pub(crate) struct Setting {
    /// Its name in the file, with that of its section: `redis.url`.
    pub(crate) path: String,
    pub(crate) about: &'static str,
    pub(crate) is_secret: bool,
    pub(crate) takes_empty: bool,
    pub(crate) expected: fn() -> String,
    read: Read,
    write: Write,
}

type Read = Box<dyn Fn(&mut Config, &ValueKind) -> Result<(), Hint>>;
type Write = Box<dyn Fn(&Config) -> Option<String>>;

impl Setting {
    /// Its name within its section.
    pub(crate) fn key(&self) -> &str {
        self.path.rsplit('.').next().unwrap_or_default()
    }

    /// The environment variable that sets it.
    pub(crate) fn variable(&self) -> String {
        format!("{PREFIX}{}", self.path.to_uppercase().replace('.', "__"))
    }

    /// Reads `value` into `config`.
    pub(crate) fn read(&self, config: &mut Config, value: &ValueKind) -> Result<(), Hint> {
        (self.read)(config, value)
    }

    /// Its value in TOML, if it has one. Of a secret, only what may be shown.
    pub(crate) fn write(&self, config: &Config) -> Option<String> {
        (self.write)(config)
    }
}

/// What the name of every variable starts with. The second underscore keeps the variables apart that Kubernetes makes up for a service
/// called fanfare.
pub(crate) const PREFIX: &str = "FANFARE__";

/// The name of the array of channel rules.
pub(crate) const CHANNELS: &str = "channels";

/// The name of the array of keys of the API.
pub(crate) const API_KEYS: &str = "api.keys";

/// All settings but the channel rules.
pub(crate) fn groups() -> Vec<Group> {
    macro_rules! groups {
        ($($name:ident),+) => {
            vec![dev(), $(group(stringify!($name), |config| &config.$name, |config| &mut config.$name)),+]
        };
    }
    groups![
        listener, admin, api, redis, raw, centrifuge, tokens, backend, rates, limits, delivery, ping, drain, health,
        log, demo, node
    ]
}

fn dev() -> Group {
    let setting = Setting {
        path: "dev".into(),
        about: " Development mode: every channel is open to anyone, the demo page is on and every origin may connect. Refused on Kubernetes.\n",
        is_secret: false,
        takes_empty: false,
        expected: <Flag as Kind<bool>>::expected,
        read: Box::new(|config, value| Flag::read(value).map(|dev| config.dev = dev)),
        write: Box::new(|config| Flag::write(&config.dev)),
    };
    Group {
        name: "",
        about: "",
        settings: vec![setting],
    }
}

fn group<S: Section>(name: &'static str, get: fn(&Config) -> &S, get_mut: fn(&mut Config) -> &mut S) -> Group {
    let setting = |field: &'static Field<S>| Setting {
        path: format!("{name}.{}", field.key()),
        about: field.about,
        is_secret: field.is_secret,
        takes_empty: field.takes_empty,
        expected: field.expected,
        read: Box::new(move |config, value| (field.read)(get_mut(config), value)),
        write: Box::new(move |config| (field.write)(get(config))),
    };
    Group {
        name,
        about: S::ABOUT,
        settings: S::FIELDS.iter().map(setting).collect(),
    }
}

/// The fields of a channel rule as they stand in the file, each with its value in TOML.
pub(crate) fn rule_lines(rule: &ChannelRule) -> Vec<(&'static str, String)> {
    let line = |field: &Field<ChannelRule>| Some((field.key(), (field.write)(rule)?));
    ChannelRule::FIELDS.iter().filter_map(line).collect()
}

/// A declared meaning as one line.
pub(crate) fn one_line(about: &str) -> String {
    about.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// What may be shown of a value that was given.
pub(crate) fn shown(value: &ValueKind, is_secret: bool) -> String {
    match value {
        ValueKind::String(text) if is_secret => kind::quoted(&super::secret::masked(text)),
        _ if is_secret => "***".into(),
        ValueKind::String(text) => kind::quoted(text),
        ValueKind::Array(items) => {
            let items: Vec<_> = items.iter().map(|item| shown(&item.kind, false)).collect();
            format!("[{}]", items.join(", "))
        }
        ValueKind::Table(_) => "a table".into(),
        other => other.to_string(),
    }
}
