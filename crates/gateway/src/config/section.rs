//! How a setting is declared: once, with its meaning, type, kind and default.
//!
//! From one declaration come the field of the struct, its default, and a [`Field`] that reads, writes and explains it. The reference page,
//! `fanfare config default`, the names of variables and the errors all walk the same list.

use config::ValueKind;

use super::kind::Hint;

/// Knows its own fields.
pub(crate) trait Section: Default + 'static {
    /// What the settings are for.
    const ABOUT: &'static str;
    /// Each setting, in the order of the declaration.
    const FIELDS: &'static [Field<Self>];
}

/// One setting of the section `S`.
pub(crate) struct Field<S> {
    /// The name of the field of the struct.
    pub(crate) name: &'static str,
    /// What it does.
    pub(crate) about: &'static str,
    /// Whether its value must never be shown.
    pub(crate) is_secret: bool,
    /// Whether an empty variable is a value for it.
    pub(crate) takes_empty: bool,
    /// What a value looks like, to follow "expected".
    pub(crate) expected: fn() -> String,
    /// Reads a value into the section.
    pub(crate) read: fn(&mut S, &ValueKind) -> Result<(), Hint>,
    /// Writes the value as TOML, if there is one.
    pub(crate) write: fn(&S) -> Option<String>,
}

impl<S> Field<S> {
    /// Its name in the file.
    pub(crate) fn key(&self) -> &'static str {
        self.name.trim_start_matches("r#")
    }
}

/// Declares a struct of settings: `/// meaning` and then `name: Type as Kind = default;`.
macro_rules! section {
    (
        $(#[doc = $about:literal])+
        pub struct $section:ident {
            $(
                $(#[doc = $meaning:literal])+
                $field:ident: $type:ty as $kind:ty = $default:expr;
            )+
        }
    ) => {
        $(#[doc = $about])+
        #[derive(Debug, Clone, PartialEq)]
        pub struct $section {
            $(
                $(#[doc = $meaning])+
                pub $field: $type,
            )+
        }

        impl Default for $section {
            fn default() -> Self {
                Self { $($field: $default,)+ }
            }
        }

        impl $crate::config::section::Section for $section {
            const ABOUT: &'static str = concat!($($about, "\n",)+);
            const FIELDS: &'static [$crate::config::section::Field<Self>] = &[
                $($crate::config::section::Field {
                    name: stringify!($field),
                    about: concat!($($meaning, "\n",)+),
                    is_secret: <$kind as $crate::config::kind::Kind<$type>>::IS_SECRET,
                    takes_empty: <$kind as $crate::config::kind::Kind<$type>>::TAKES_EMPTY,
                    expected: <$kind as $crate::config::kind::Kind<$type>>::expected,
                    read: |section, value| {
                        section.$field = <$kind as $crate::config::kind::Kind<$type>>::read(value)?;
                        Ok(())
                    },
                    write: |section| <$kind as $crate::config::kind::Kind<$type>>::write(&section.$field),
                },)+
            ];
        }
    };
}

/// Declares an enum of settings: each variant with its word and its meaning.
macro_rules! words {
    (
        $(#[doc = $about:literal])+
        pub enum $name:ident {
            $($(#[doc = $meaning:literal])+ $variant:ident = $word:literal,)+
        }
        $(refused: $refusal:expr;)?
    ) => {
        $(#[doc = $about])+
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum $name {
            $($(#[doc = $meaning])+ $variant,)+
        }

        impl $crate::config::kind::Words for $name {
            const WORDS: &'static [(&'static str, Self)] = &[$(($word, Self::$variant),)+];
            $(fn refusal(word: &str) -> $crate::config::kind::Hint {
                $refusal(word)
            })?
        }
    };
}

pub(crate) use {section, words};
