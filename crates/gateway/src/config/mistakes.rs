//! What is wrong with the settings, for the person who wrote them.

use std::fmt;

/// Everything that is wrong with the settings.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct Mistakes(pub Vec<Mistake>);

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mistake {
    /// What it is about; several if they do not fit together, none if a whole file cannot be read.
    pub subjects: Vec<Subject>,
    /// What was expected, or what is wrong.
    pub problem: String,
}

/// A setting, or what was taken for one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subject {
    /// Its name in the file, such as `redis.url`.
    pub name: String,
    /// What was given, masked if it is a secret.
    pub value: Option<String>,
    /// Where it was given: a file, a variable, a flag, or the default.
    pub origin: String,
}

impl Mistake {
    /// A mistake in one setting.
    pub(crate) fn of(subject: Subject, problem: impl Into<String>) -> Self {
        Self {
            subjects: vec![subject],
            problem: problem.into(),
        }
    }
}

impl fmt::Display for Mistakes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.len() {
            1 => write!(f, "1 mistake in the settings:")?,
            count => write!(f, "{count} mistakes in the settings:")?,
        }
        self.0.iter().try_for_each(|mistake| write!(f, "\n{mistake}"))
    }
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for Subject { name, value, origin } in &self.subjects {
            match value {
                Some(value) => writeln!(f, "  {name} = {value}  ({origin})")?,
                None => writeln!(f, "  {name}  ({origin})")?,
            }
        }
        write!(f, "      {}", self.problem)
    }
}

/// The one of `known` that was most likely meant by `name`.
pub(crate) fn did_you_mean<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let last = |name: &str| name.rsplit(['.']).next().map(str::to_lowercase);
    let likeness = |known: &str| {
        let whole = strsim::normalized_damerau_levenshtein(&name.to_lowercase(), &known.to_lowercase());
        // The right key in the wrong section.
        if last(name) == last(known) {
            whole.max(0.7)
        } else {
            whole
        }
    };
    let best = known
        .map(|known| (likeness(known), known))
        .max_by(|one, other| one.0.total_cmp(&other.0));
    best.filter(|(likeness, _)| *likeness >= 0.6).map(|(_, known)| known)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(name: &str, expected: Option<&str>) {
        let known = [
            "listener.port",
            "listener.address",
            "redis.url",
            "limits.message_size",
            "dev",
        ];
        assert_eq!(did_you_mean(name, known.into_iter()), expected, "{name}");
    }

    #[test]
    fn what_was_meant() {
        check("listner.port", Some("listener.port"));
        check("listener.prot", Some("listener.port"));
        check("port", Some("listener.port"));
        check("Redis.URL", Some("redis.url"));
        check("limits.max_message_size", Some("limits.message_size"));
        check("completely.different", None);
    }

    #[test]
    fn a_mistake_names_setting_value_origin_and_what_was_expected() {
        let subject = Subject {
            name: "a.b".into(),
            value: Some("1".into()),
            origin: "variable X".into(),
        };
        let mistakes = Mistakes(vec![Mistake::of(subject, "expected text")]);
        assert_eq!(
            mistakes.to_string(),
            "1 mistake in the settings:\n  a.b = 1  (variable X)\n      expected text"
        );
    }
}
