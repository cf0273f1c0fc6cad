//! A value that is never shown.

use std::fmt;
use std::fs;
use std::path::PathBuf;

use serde::de::{Error as _, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use zeroize::Zeroizing;

/// What is shown instead.
const REDACTED: &str = "[redacted]";
/// A secret longer than this is a wrong file, not a secret (bytes).
const MAX_LEN: u64 = 64 * 1024;
/// The key [`crate::config`] hands an environment variable's value over with. No TOML file can hold it by accident.
pub(crate) const FROM_ENVIRONMENT: &str = "\0environment";

/// Said of a secret in a place where others read it.
const MISPLACED: &str = "a secret must not be written here; put it in a file and write { file = \"PATH\" }, or use the environment";

/// A password or the like. It comes from a file of its own (`password = { file = "/run/secrets/desk1" }`, the line end
/// left away) or from the environment, never from `lucid.toml` or a flag, where others read it. It prints as `[redacted]`
/// and is wiped from memory when dropped.
pub struct Secret(Zeroizing<String>);

impl Secret {
    /// Wraps a value that came from elsewhere.
    pub fn new(value: String) -> Self {
        Self(Zeroizing::new(value))
    }

    /// The secret itself. Keep the borrow short, and never format it.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(REDACTED)
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(REDACTED)
    }
}

impl Serialize for Secret {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(REDACTED)
    }
}

impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Source)
    }
}

/// Reads where a secret is, and then the secret.
struct Source;

impl<'de> Visitor<'de> for Source {
    type Value = Secret;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a secret's place: { file = \"PATH\" }")
    }

    // Not the defaults: those would print the secret in the error. A password may look like a number, or be `true`.
    fn visit_str<E: serde::de::Error>(self, _secret: &str) -> Result<Secret, E> {
        Err(E::custom(MISPLACED))
    }

    fn visit_i64<E: serde::de::Error>(self, _secret: i64) -> Result<Secret, E> {
        Err(E::custom(MISPLACED))
    }

    fn visit_f64<E: serde::de::Error>(self, _secret: f64) -> Result<Secret, E> {
        Err(E::custom(MISPLACED))
    }

    fn visit_bool<E: serde::de::Error>(self, _secret: bool) -> Result<Secret, E> {
        Err(E::custom(MISPLACED))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Secret, A::Error> {
        let wrong = || A::Error::custom("a secret's place is written { file = \"PATH\" }");
        let (key, value) = map.next_entry::<String, String>()?.ok_or_else(wrong)?;
        if map.next_key::<String>()?.is_some() {
            return Err(wrong());
        }
        match key.as_str() {
            FROM_ENVIRONMENT => Ok(Secret::new(value)),
            "file" => read(&PathBuf::from(value)).map_err(A::Error::custom),
            _ => Err(wrong()),
        }
    }
}

fn read(path: &PathBuf) -> Result<Secret, String> {
    let name = path.display();
    let len = fs::metadata(path)
        .map_err(|error| format!("the secret's file {name}: {error}"))?
        .len();
    if len > MAX_LEN {
        return Err(format!(
            "the secret's file {name} has {len} bytes; a secret has at most {MAX_LEN}"
        ));
    }
    let text = fs::read_to_string(path)
        .map(Zeroizing::new)
        .map_err(|error| format!("the secret's file {name}: {error}"))?;
    let secret = text.strip_suffix('\n').unwrap_or(&text);
    let secret = secret.strip_suffix('\r').unwrap_or(secret);
    if secret.is_empty() {
        return Err(format!("the secret's file {name} is empty"));
    }
    Ok(Secret::new(secret.to_owned()))
}
