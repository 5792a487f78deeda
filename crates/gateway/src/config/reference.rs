//! What the settings look like to people: a file of defaults, a list of variables, the settings in force, and the reference page.

use std::fmt::Write;

use super::section::Section;
use super::settings::{API_KEYS, CHANNELS, Setting, groups, one_line, rule_lines};
use super::{ApiKey, Config, Loaded};
use crate::config::ChannelRule;

/// A TOML file with every setting at its default, each explained.
pub fn default_toml() -> String {
    let config = Config::default();
    let mut page = String::from("# Every setting with its default. Remove what you do not change.\n");
    for group in groups() {
        if !group.name.is_empty() {
            write_line(
                &mut page,
                format_args!("\n# {}\n[{}]", one_line(group.about), group.name),
            );
        }
        for setting in &group.settings {
            write_line(&mut page, format_args!("# {}", one_line(setting.about)));
            match setting.write(&config) {
                Some(value) => write_line(&mut page, format_args!("{} = {value}", setting.key())),
                None => write_line(
                    &mut page,
                    format_args!("# {} =    # {}", setting.key(), (setting.expected)()),
                ),
            }
        }
    }
    page.push_str(EXAMPLE_RULES);
    page
}

const EXAMPLE_RULES: &str = "
# Who may do what in which channel: the first rule that matches counts, without one a channel is closed.
# [[channels]]
# match = \"room-*\"
# subscribe = \"anyone\"
# publish = \"subscribers\"
";

/// Every variable with its default, each explained, in the form of an environment file.
pub fn env_file() -> String {
    let config = Config::default();
    let mut page = String::from(
        "# Every variable with its default. An empty variable counts as not set, but FANFARE__RAW__CHANNEL.\n",
    );
    for setting in groups().iter().flat_map(|group| &group.settings) {
        let value = setting
            .write(&config)
            .map(|value| as_variable(&value))
            .unwrap_or_default();
        write_line(
            &mut page,
            format_args!("# {}\n{}={value}", one_line(setting.about), setting.variable()),
        );
    }
    page
}

/// A TOML value as the text of a variable.
fn as_variable(value: &str) -> String {
    fn text(value: &toml::Value) -> String {
        match value {
            toml::Value::String(text) => text.clone(),
            toml::Value::Array(items) => items.iter().map(text).collect::<Vec<_>>().join(","),
            other => other.to_string(),
        }
    }
    let table: toml::Table = format!("value = {value}").parse().expect("kinds write TOML");
    text(&table["value"])
}

/// The settings in force as TOML, each with its origin. Secrets are masked.
pub fn show(loaded: &Loaded) -> String {
    let origin = |name: &str| loaded.origins.get(name).map_or("default", String::as_str);
    let mut page = String::new();
    for group in groups() {
        if !group.name.is_empty() {
            write_line(&mut page, format_args!("\n[{}]", group.name));
        }
        for setting in &group.settings {
            let line = match setting.write(&loaded.config) {
                Some(value) => format!("{} = {value}", setting.key()),
                None => format!("# {} is not set", setting.key()),
            };
            write_line(&mut page, format_args!("{line:<40} # {}", origin(&setting.path)));
        }
    }
    for rule in &loaded.config.channels {
        write_line(&mut page, format_args!("\n[[{CHANNELS}]]"));
        for (key, value) in rule_lines(rule) {
            write_line(
                &mut page,
                format_args!("{:<40} # {}", format!("{key} = {value}"), origin(CHANNELS)),
            );
        }
    }
    page
}

/// The page about all settings, in Markdown.
pub fn reference_page() -> String {
    let config = Config::default();
    let mut page = String::from(INTRODUCTION);
    for group in groups() {
        match group.name {
            "" => page.push_str("\n## At the top\n\n"),
            name => write_line(&mut page, format_args!("\n## [{name}]\n\n{}\n", one_line(group.about))),
        }
        page.push_str("| setting | variable | default | meaning | expected |\n|---|---|---|---|---|\n");
        for setting in &group.settings {
            write_line(&mut page, format_args!("{}", row(setting, &config)));
        }
    }
    let rules = one_line(ChannelRule::ABOUT) + " Rules can only be set in the file.";
    table_of(&mut page, CHANNELS, &rules, &ChannelRule::default(), &["match"]);
    let keys = one_line(ApiKey::ABOUT);
    table_of(&mut page, API_KEYS, &keys, &ApiKey::default(), &["name"]);
    page
}

/// A table of the settings that each table of an array has.
fn table_of<S: Section>(page: &mut String, array: &str, about: &str, default: &S, needed: &[&str]) {
    write_line(page, format_args!("\n## [[{array}]]\n\n{about}\n"));
    page.push_str("| setting | default | meaning | expected |\n|---|---|---|---|\n");
    for field in S::FIELDS {
        let written = match needed.contains(&field.key()) {
            true => "must be given".into(),
            false => (field.write)(default).map_or_else(String::new, |value| format!("`{value}`")),
        };
        let (about, expected) = (one_line(field.about), (field.expected)());
        write_line(
            page,
            format_args!(
                "| `{}` | {written} | {} | {} |",
                field.key(),
                cell(&about),
                cell(&expected)
            ),
        );
    }
}

fn row(setting: &Setting, config: &Config) -> String {
    let default = setting
        .write(config)
        .map(|value| format!("`{value}`"))
        .unwrap_or_default();
    let about = one_line(setting.about);
    let variable = setting.variable();
    format!(
        "| `{}` | `{variable}` | {default} | {} | {} |",
        setting.path,
        cell(&about),
        cell(&(setting.expected)())
    )
}

fn cell(text: &str) -> String {
    text.replace('|', "\\|")
}

fn write_line(page: &mut String, line: std::fmt::Arguments<'_>) {
    writeln!(page, "{line}").expect("a string takes everything");
}

const INTRODUCTION: &str = "\
# Settings

<!-- Generated by `fanfare config reference`; do not edit. -->

Every setting has a default. A TOML file changes it, a variable of the environment changes what the file says, and a flag what the variable says:

| from | how | wins over |
|---|---|---|
| default | below, or `fanfare config default` | |
| file | `--config FILE`; without it `/etc/fanfare/fanfare.toml`, if there is one | default |
| environment | `PORT` and `REDIS_URL` | file |
| environment | `FANFARE__SECTION__KEY`, listed by `fanfare config env` | `PORT`, `REDIS_URL` |
| flag | `--port`, `--redis-url`, `--dev`, `--log`, `--log-format` | environment |

An empty variable counts as not set; only `FANFARE__RAW__CHANNEL` may be empty, which turns the bare channel off. In a variable, a list is written with
commas. Durations and sizes have units (`\"500ms\"`, `\"1m 30s\"`; `\"64KiB\"`, `\"1MiB\"`); only `\"0\"` goes without.

Unknown settings are refused, in the file and as `FANFARE__` variables, and all mistakes are told at once, each with its origin. `fanfare config check`
looks for mistakes without starting anything, `fanfare config show` prints what is in force and where it came from. Secrets are never shown; each can be
read from a file that the setting of the same name with `_file` names.
";
