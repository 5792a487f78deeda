//! From sources to a [`Config`]: defaults, then the file, the environment and the flags, each over the one before.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use config::{Map, Value, ValueKind};

use super::layers::{Layer, settings, unknown};
use super::mistakes::{Mistake, Mistakes, Subject, did_you_mean};
use super::section::{Field, Section};
use super::settings::{API_KEYS, CHANNELS, Group, Setting, groups, shown};
use super::{Config, Secret, StaticHeader, Tokens, check};
use crate::config::ChannelRule;
use crate::token::sources;

/// Where settings may come from.
#[derive(Debug, Clone, Default)]
pub struct Sources {
    /// The TOML file, if there is one.
    pub file: Option<PathBuf>,
    /// The environment.
    pub env: BTreeMap<String, String>,
    /// Flags of the command line.
    pub flags: Vec<Flag>,
}

/// A flag that sets a setting.
#[derive(Debug, Clone)]
pub struct Flag {
    /// The setting's name in the file.
    pub setting: &'static str,
    /// The flag's own name.
    pub flag: &'static str,
    /// What was given.
    pub value: String,
}

/// Settings without a mistake, and where each came from.
#[derive(Debug, Clone)]
pub struct Loaded {
    /// The settings.
    pub config: Config,
    /// The origin of each setting that is not the default, by its name in the file.
    pub origins: BTreeMap<String, String>,
}

/// Puts the settings together, or tells everything that is wrong with them.
pub fn load(sources: &Sources) -> Result<Loaded, Mistakes> {
    let groups = groups();
    let mut mistakes = Vec::new();
    let file = sources
        .file
        .as_deref()
        .map(|path| Layer::of_file(path, &groups, &mut mistakes));
    let env = Layer::of_environment(&sources.env, &groups, &mut mistakes);
    let layers = [file.unwrap_or_default(), env, Layer::of_flags(&sources.flags)];
    let origins = layers.iter().flat_map(Layer::origins).collect();

    let mut reading = Reading::new(
        Config {
            sources: origins,
            ..Config::default()
        },
        mistakes,
    );
    let mut values = merged(&layers);
    if is_dev(&values) {
        let [file, env, flags] = layers;
        values = merged(&[Layer::of_dev(), file, env, flags]);
    }
    for setting in settings(&groups) {
        reading.read_setting(setting, &values);
    }
    if let Some(rules) = values.get(CHANNELS) {
        reading.read_rules(rules);
    }
    reading.read_secret_files();
    reading.read_key_files();
    reading.check(&groups, &sources.env);
    match reading.mistakes.is_empty() {
        true => Ok(Loaded {
            config: reading.config,
            origins: reading.origins,
        }),
        false => Err(Mistakes(reading.mistakes)),
    }
}

fn merged(layers: &[Layer]) -> Map<String, Value> {
    let builder = layers
        .iter()
        .cloned()
        .fold(config::Config::builder(), |builder, layer| builder.add_source(layer));
    let merged = builder.build().expect("layers hold nothing but names of settings");
    merged.cache.into_table().expect("the top is a table")
}

/// The value of the setting called `path`.
fn find<'a>(values: &'a Map<String, Value>, path: &str) -> Option<&'a Value> {
    match path.split_once('.') {
        None => values.get(path),
        Some((section, key)) => match &values.get(section)?.kind {
            ValueKind::Table(section) => section.get(key),
            _ => None,
        },
    }
}

fn is_dev(values: &Map<String, Value>) -> bool {
    let mut config = Config::default();
    let dev = groups()
        .into_iter()
        .flat_map(|group| group.settings)
        .find(|setting| setting.path == "dev");
    if let (Some(dev), Some(value)) = (dev, values.get("dev")) {
        // A mistake here is told when all settings are read.
        let _ = dev.read(&mut config, &value.kind);
    }
    config.dev
}

/// A configuration on its way.
struct Reading {
    config: Config,
    origins: BTreeMap<String, String>,
    mistakes: Vec<Mistake>,
}

impl Reading {
    fn new(config: Config, mistakes: Vec<Mistake>) -> Self {
        Self {
            config,
            origins: BTreeMap::new(),
            mistakes,
        }
    }

    fn read_setting(&mut self, setting: &Setting, values: &Map<String, Value>) {
        let Some(value) = find(values, &setting.path) else {
            return;
        };
        let origin = value.origin().unwrap_or_default().to_owned();
        if let Err(hint) = setting.read(&mut self.config, &value.kind) {
            let value = Some(shown(&value.kind, setting.is_secret));
            let subject = Subject {
                name: setting.path.clone(),
                value,
                origin: origin.clone(),
            };
            self.mistakes
                .push(Mistake::of(subject, problem(&(setting.expected)(), hint)));
        }
        self.origins.insert(setting.path.clone(), origin);
    }

    fn read_rules(&mut self, rules: &Value) {
        let origin = rules.origin().unwrap_or_default().to_owned();
        let ValueKind::Array(rules) = &rules.kind else {
            let subject = Subject {
                name: CHANNELS.into(),
                value: Some(shown(&rules.kind, false)),
                origin,
            };
            self.mistakes
                .push(Mistake::of(subject, "expected rules, each below a line [[channels]]"));
            return;
        };
        for (number, rule) in rules.iter().enumerate() {
            let name = format!("{CHANNELS}[{number}]");
            match &rule.kind {
                ValueKind::Table(entries) => self.read_rule(&name, entries, &origin),
                other => {
                    let subject = Subject {
                        name,
                        value: Some(shown(other, false)),
                        origin: origin.clone(),
                    };
                    self.mistakes
                        .push(Mistake::of(subject, "expected a rule, below a line [[channels]]"));
                }
            }
        }
        self.origins.insert(CHANNELS.into(), origin);
    }

    fn read_rule(&mut self, name: &str, entries: &Map<String, Value>, origin: &str) {
        let mut rule = ChannelRule::default();
        let subject = |key: &str, value| Subject {
            name: format!("{name}.{key}"),
            value,
            origin: origin.to_owned(),
        };
        for (key, value) in entries {
            let Some(field) = ChannelRule::FIELDS.iter().find(|field| field.key() == key) else {
                let meant = did_you_mean(key, ChannelRule::FIELDS.iter().map(Field::key));
                self.mistakes
                    .push(Mistake::of(subject(key, None), unknown("setting of a rule", meant)));
                continue;
            };
            if let Err(hint) = (field.read)(&mut rule, &value.kind) {
                let value = Some(shown(&value.kind, field.is_secret));
                self.mistakes
                    .push(Mistake::of(subject(key, value), problem(&(field.expected)(), hint)));
            }
        }
        if !entries.contains_key("match") {
            self.mistakes.push(Mistake::of(
                subject("match", None),
                "a rule must say which channels it is for",
            ));
        }
        self.config.channels.push(rule);
    }

    /// Takes secrets from the files that are named instead of them.
    fn read_secret_files(&mut self) {
        let redis = self.config.redis.clone();
        if let Some(url) = self.read_secret("redis.url", redis.url.as_ref(), redis.url_file.as_deref()) {
            self.config.redis.url = Some(url);
        }
        if let Some(password) = self.read_secret(
            "redis.password",
            redis.password.as_ref(),
            redis.password_file.as_deref(),
        ) {
            self.config.redis.password = Some(password);
        }
        let admin = self.config.admin.clone();
        if let Some(key) = self.read_secret("admin.api_key", admin.api_key.as_ref(), admin.api_key_file.as_deref()) {
            self.config.admin.api_key = Some(key);
        }
        for (number, given) in self.config.api.keys.clone().iter().enumerate() {
            let name = format!("{API_KEYS}[{number}].key");
            if let Some(key) = self.read_secret(&name, given.key.as_ref(), given.key_file.as_deref()) {
                self.config.api.keys[number].key = Some(key);
            }
        }
        let tokens = self.config.tokens.clone();
        if let Some(secret) = self.read_secret(
            "tokens.hmac_secret",
            tokens.hmac_secret.as_ref(),
            tokens.hmac_secret_file.as_deref(),
        ) {
            self.config.tokens.hmac_secret = Some(secret);
        }
        self.read_static_headers();
    }

    /// Takes the backend's headers from the file that is named instead of them.
    fn read_static_headers(&mut self) {
        const NAME: &str = "backend.static_headers";
        let backend = self.config.backend.clone();
        let given = (!backend.static_headers.is_empty()).then(|| Secret::new("***"));
        let Some(text) = self.read_secret(NAME, given.as_ref(), backend.static_headers_file.as_deref()) else {
            return;
        };
        match StaticHeader::parse_lines(text.expose()) {
            Ok(headers) => self.config.backend.static_headers = headers,
            Err(hint) => {
                let subject = Subject {
                    name: NAME.into(),
                    value: None,
                    origin: self.origins.get(NAME).cloned().unwrap_or_default(),
                };
                let expected = "headers such as \"X-Key: KEY\", one a line";
                self.mistakes.push(Mistake::of(subject, problem(expected, hint)));
            }
        }
    }

    /// Looks into the files with keys; who checks tokens reads them again.
    fn read_key_files(&mut self) {
        let Tokens {
            public_key_file,
            jwks_file,
            ..
        } = &self.config.tokens;
        let files = [
            (
                "tokens.public_key_file",
                public_key_file,
                sources::flaw_of_public_key as fn(&Path) -> _,
            ),
            ("tokens.jwks_file", jwks_file, sources::flaw_of_key_set),
        ];
        for (name, path, flaw) in files {
            if let Some((path, flaw)) = path.as_ref().and_then(|path| Some((path, flaw(path)?))) {
                let subject = Subject {
                    name: name.into(),
                    value: Some(format!("{:?}", path.display().to_string())),
                    origin: self.origins.get(name).cloned().unwrap_or_default(),
                };
                self.mistakes.push(Mistake::of(subject, flaw.without_path()));
            }
        }
    }

    fn read_secret(&mut self, name: &str, given: Option<&Secret>, file: Option<&Path>) -> Option<Secret> {
        let (path, by_file) = (file?, format!("{name}_file"));
        let origin = |of: &str| self.origins.get(array(of)).cloned().unwrap_or_default();
        let named = Subject {
            name: by_file.clone(),
            value: Some(format!("{:?}", path.display().to_string())),
            origin: origin(&by_file),
        };
        if let Some(given) = given {
            let given = Subject {
                name: name.into(),
                value: Some(format!("{given:?}")),
                origin: origin(name),
            };
            self.mistakes.push(Mistake {
                subjects: vec![given, named],
                problem: "only one of the two may be set".into(),
            });
            return None;
        }
        let problem = match std::fs::read_to_string(path) {
            Ok(text) if text.trim_end_matches(['\r', '\n']).is_empty() => "the file is empty".to_owned(),
            Ok(text) => {
                self.origins.insert(name.into(), format!("file {}", path.display()));
                return Some(Secret::new(text.trim_end_matches(['\r', '\n'])));
            }
            Err(error) => format!("the file cannot be read: {error}"),
        };
        self.mistakes.push(Mistake::of(named, problem));
        None
    }

    /// Looks for settings that do not fit together, but only among those that were read.
    fn check(&mut self, groups: &[Group], env: &BTreeMap<String, String>) {
        for check::Conflict { between, problem } in check::conflicts(&self.config, env) {
            let is_wrong = |name: &str| {
                self.mistakes
                    .iter()
                    .any(|mistake| mistake.subjects.iter().any(|subject| subject.name == name))
            };
            if between.iter().any(|name| is_wrong(name)) {
                continue;
            }
            let subjects = between.into_iter().map(|name| self.subject(name, groups)).collect();
            self.mistakes.push(Mistake { subjects, problem });
        }
    }

    fn subject(&self, name: String, groups: &[Group]) -> Subject {
        let value = settings(groups)
            .find(|setting| setting.path == name)
            .and_then(|setting| setting.write(&self.config));
        let origin = self
            .origins
            .get(array(&name))
            .cloned()
            .unwrap_or_else(|| "default".into());
        Subject { name, value, origin }
    }
}

/// The name of the array that the setting called `name` is in; its own name in none.
fn array(name: &str) -> &str {
    name.split('[').next().unwrap_or(name)
}

fn problem(expected: &str, hint: Option<String>) -> String {
    match hint {
        Some(hint) => format!("expected {expected}; {hint}"),
        None => format!("expected {expected}"),
    }
}
