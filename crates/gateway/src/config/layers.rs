//! What each source says: one layer for each of development mode, the file, the environment and the flags.
//!
//! A layer holds values by the names of settings that exist, each with its origin; what does not exist becomes a mistake here. The crate
//! `config` reads TOML and lays the layers over each other. Its own source for the environment is not used: it would guess types, which
//! damages passwords that look like numbers, and would not say which variable a value came from.

use std::collections::BTreeMap;
use std::path::Path;

use config::{ConfigError, File, FileFormat, Map, Source, Value, ValueKind};

use super::load::Flag;
use super::mistakes::{Mistake, Subject, did_you_mean};
use super::settings::{CHANNELS, Group, PREFIX, Setting, shown};

/// The values of one source.
#[derive(Debug, Clone, Default)]
pub(super) struct Layer(Map<String, Value>);

impl Source for Layer {
    fn clone_into_box(&self) -> Box<dyn Source + Send + Sync> {
        Box::new(self.clone())
    }

    fn collect(&self) -> Result<Map<String, Value>, ConfigError> {
        Ok(self.0.clone())
    }
}

impl Layer {
    /// What `--dev` changes, unless somebody says otherwise.
    pub(super) fn of_dev() -> Self {
        let origin = "development mode".to_owned();
        let mut layer = Self::default();
        layer.set("demo.enabled", &origin, true);
        layer.set("listener.allowed_origins", &origin, vec!["*"]);
        layer
    }

    /// What the TOML file at `path` says.
    pub(super) fn of_file(path: &Path, groups: &[Group], mistakes: &mut Vec<Mistake>) -> Self {
        let origin = format!("file {}", path.display());
        let mut layer = Self::default();
        match read_toml(path) {
            Ok(table) => table
                .into_iter()
                .for_each(|(name, value)| layer.take_entry(&name, value, &origin, groups, mistakes)),
            Err(problem) => mistakes.push(Mistake {
                subjects: Vec::new(),
                problem: format!("{origin}: {problem}"),
            }),
        }
        layer
    }

    /// What the environment says: `PORT` and `REDIS_URL`, and over them `FANFARE__SECTION__KEY`. Empty variables count as not set, except
    /// where empty is a value.
    pub(super) fn of_environment(
        env: &BTreeMap<String, String>,
        groups: &[Group],
        mistakes: &mut Vec<Mistake>,
    ) -> Self {
        let mut layer = Self::default();
        for (variable, path) in [("PORT", "listener.port"), ("REDIS_URL", "redis.url")] {
            if let Some(value) = env.get(variable).filter(|value| !value.is_empty()) {
                layer.set(path, &format!("variable {variable}"), value.as_str());
            }
        }
        for (variable, value) in env.iter().filter(|(variable, _)| variable.starts_with(PREFIX)) {
            let origin = format!("variable {variable}");
            match settings(groups).find(|setting| setting.variable() == *variable) {
                Some(setting) if value.is_empty() && !setting.takes_empty => {}
                Some(setting) => layer.set(&setting.path, &origin, value.as_str()),
                None => mistakes.push(unknown_variable(variable, groups)),
            }
        }
        layer
    }

    /// What the flags say.
    pub(super) fn of_flags(flags: &[Flag]) -> Self {
        let mut layer = Self::default();
        for Flag { setting, flag, value } in flags {
            layer.set(setting, &format!("flag {flag}"), value.as_str());
        }
        layer
    }

    /// Where the values came from, each place once.
    pub(super) fn origins(&self) -> Vec<String> {
        let mut origins: Vec<_> = self
            .0
            .values()
            .filter_map(|value| value.origin().map(str::to_owned))
            .collect();
        origins.sort();
        origins.dedup();
        origins
    }

    fn set(&mut self, path: &str, origin: &String, value: impl Into<ValueKind>) {
        self.0.insert(path.to_owned(), Value::new(Some(origin), value));
    }

    /// Takes one entry of the top of a file: a section, the channel rules, or a setting without a section.
    fn take_entry(&mut self, name: &str, value: Value, origin: &String, groups: &[Group], mistakes: &mut Vec<Mistake>) {
        let is_section = groups.iter().any(|group| !group.name.is_empty() && group.name == name);
        match value.kind {
            ValueKind::Table(entries) if is_section => {
                for (key, value) in entries {
                    self.take_setting(format!("{name}.{key}"), value, origin, groups, mistakes);
                }
            }
            kind if is_section => {
                let subject = Subject {
                    name: name.into(),
                    value: Some(shown(&kind, true)),
                    origin: origin.clone(),
                };
                mistakes.push(Mistake::of(
                    subject,
                    format!("expected a section: [{name}] and its settings below"),
                ));
            }
            kind @ ValueKind::Array(_) if name == CHANNELS => self.set(CHANNELS, origin, kind),
            kind if name == CHANNELS => {
                let subject = Subject {
                    name: name.into(),
                    value: Some(shown(&kind, false)),
                    origin: origin.clone(),
                };
                mistakes.push(Mistake::of(subject, "expected rules, each below a line [[channels]]"));
            }
            ValueKind::Table(_) => {
                let subject = Subject {
                    name: format!("[{name}]"),
                    value: None,
                    origin: origin.clone(),
                };
                let sections = groups
                    .iter()
                    .map(|group| group.name)
                    .chain([CHANNELS])
                    .filter(|name| !name.is_empty());
                mistakes.push(Mistake::of(subject, unknown("section", did_you_mean(name, sections))));
            }
            kind => match settings(groups).find(|setting| setting.path == name && name.contains('.')) {
                None => self.take_setting(name.to_owned(), Value::new(None, kind), origin, groups, mistakes),
                // A quoted name with a dot in it.
                Some(setting) => {
                    let section = name.split('.').next().unwrap_or_default();
                    let problem = format!(
                        "there is no such setting; write it as {} below [{section}]",
                        setting.key()
                    );
                    mistakes.push(Mistake::of(
                        Subject {
                            name: name.into(),
                            value: None,
                            origin: origin.clone(),
                        },
                        problem,
                    ));
                }
            },
        }
    }

    fn take_setting(
        &mut self,
        path: String,
        value: Value,
        origin: &String,
        groups: &[Group],
        mistakes: &mut Vec<Mistake>,
    ) {
        if let Some(setting) = settings(groups).find(|setting| setting.path == path) {
            // Tables lose their origin when layers are merged, and no setting is one.
            if let ValueKind::Table(_) = value.kind {
                let subject = Subject {
                    name: path,
                    value: Some(shown(&value.kind, setting.is_secret)),
                    origin: origin.clone(),
                };
                return mistakes.push(Mistake::of(subject, format!("expected {}", (setting.expected)())));
            }
            return self.set(&path, origin, value.kind);
        }
        // What is not known may well be a misspelt password.
        let known = settings(groups).map(|setting| setting.path.as_str());
        let problem = unknown("setting", did_you_mean(&path, known));
        mistakes.push(Mistake::of(
            Subject {
                name: path,
                value: None,
                origin: origin.clone(),
            },
            problem,
        ));
    }
}

/// Every setting of every group.
pub(super) fn settings(groups: &[Group]) -> impl Iterator<Item = &Setting> {
    groups.iter().flat_map(|group| &group.settings)
}

/// The problem with something that does not exist.
pub(super) fn unknown(what: &str, meant: Option<&str>) -> String {
    match meant {
        Some(meant) => format!("there is no such {what}; did you mean {meant}?"),
        None => format!("there is no such {what}; `fanfare config default` lists all"),
    }
}

fn unknown_variable(variable: &str, groups: &[Group]) -> Mistake {
    let subject = Subject {
        name: variable.into(),
        value: None,
        origin: "environment".into(),
    };
    if variable.starts_with("FANFARE__CHANNELS") {
        return Mistake::of(subject, "channel rules can only be set in a file, as [[channels]]");
    }
    let variables: Vec<_> = settings(groups).map(Setting::variable).collect();
    let path = variable.trim_start_matches(PREFIX).replace("__", ".");
    let meant = did_you_mean(&path, settings(groups).map(|setting| setting.path.as_str()));
    let meant = meant
        .and_then(|path| settings(groups).position(|setting| setting.path == path))
        .map(|at| variables[at].as_str());
    Mistake::of(subject, unknown("setting", meant))
}

fn read_toml(path: &Path) -> Result<Map<String, Value>, String> {
    let text = std::fs::read_to_string(path).map_err(|error| format!("cannot be read: {error}"))?;
    // Only the place and the message: a whole error shows the line, and in the line may be a password.
    text.parse::<toml::Table>().map_err(|error| {
        let before = &text[..error.span().map_or(0, |span| span.start.min(text.len()))];
        let line = before.matches('\n').count() + 1;
        let column = before.chars().rev().take_while(|letter| *letter != '\n').count() + 1;
        format!("line {line}, column {column}: not TOML: {}", error.message())
    })?;
    File::from_str(&text, FileFormat::Toml)
        .collect()
        .map_err(|_| "is not taken as TOML".to_owned())
}
