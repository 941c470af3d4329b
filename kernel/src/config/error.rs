//! What can be wrong with a command line, said in one line.
//!
//! Built by the parser, printed by `main`. Each message names the key, the value found and what
//! is allowed (with the default), so that it can be mended without opening the manual.
#![forbid(unsafe_code)]

use alloc::string::String;
use core::fmt;

/// Why a command line is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ConfigError {
    /// A byte that is not UTF-8 text.
    NotText {
        /// The byte.
        byte: u8,
        /// Its position.
        at: usize,
    },
    /// A word without `=`.
    NotKeyValue {
        /// The word.
        word: String,
    },
    /// A key that does not exist.
    UnknownKey {
        /// The key.
        key: String,
        /// Its value.
        value: String,
    },
    /// A key given twice.
    Repeated {
        /// The key.
        key: &'static str,
        /// The second value.
        value: String,
    },
    /// A value that the key does not take.
    BadValue {
        /// The key.
        key: &'static str,
        /// The value found.
        value: String,
        /// What is allowed, and the default.
        allowed: &'static str,
    },
    /// Two settings that cannot both hold.
    Conflict {
        /// The setting that is refused.
        key: &'static str,
        /// Its value.
        value: String,
        /// What it contradicts and what would be allowed.
        why: String,
    },
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("bad configuration: ")?;
        match self {
            Self::NotText { byte, at } => {
                write!(
                    f,
                    "byte {byte:#04x} at {at}: the command line must be UTF-8 text"
                )
            }
            Self::NotKeyValue { word } => {
                write!(
                    f,
                    "'{word}': expected key=value; keys: {}",
                    super::keys::Names
                )
            }
            Self::UnknownKey { key, value } => {
                write!(
                    f,
                    "{key}={value}: unknown key; keys: {}",
                    super::keys::Names
                )
            }
            Self::Repeated { key, value } => {
                write!(f, "{key}={value}: given twice; a key may be given once")
            }
            Self::BadValue {
                key,
                value,
                allowed,
            } => {
                write!(f, "{key}={value}: allowed: {allowed}")
            }
            Self::Conflict { key, value, why } => write!(f, "{key}={value}: {why}"),
        }
    }
}

impl core::error::Error for ConfigError {}
