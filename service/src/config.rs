//! One typed struct from defaults, `lucid.toml`, the environment and flags.
//!
//! The caller's struct has one field a section, and each section one field a key; every field has a default
//! (`#[serde(default)]`), section names have no underscore. Faults do not stop the reading: a value that does not fit is
//! noted, taken out, and the rest is read on, so that one run shows all of them.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::{env, fmt, fs, io};

use serde::Serialize;
use serde::de::DeserializeOwned;
use toml::de::{DeTable, DeValue};
use toml::{Table, Value};

use crate::ServiceError;
use crate::secret::FROM_ENVIRONMENT;

/// Environment variables are `LUCID_SECTION_KEY`.
const PREFIX: &str = "LUCID_";

/// Where a configuration comes from, weakest first.
#[derive(Debug, Default)]
pub struct Sources {
    /// The configuration file, if there is one: its path, for messages, and its text.
    pub file: Option<(PathBuf, String)>,
    /// The environment, as [`std::env::vars`] gives it. Only `LUCID_SECTION_KEY` is read.
    pub environment: Vec<(String, String)>,
    /// Flags the user gave.
    pub flags: Vec<Flag>,
}

/// A flag that sets a key.
#[derive(Debug, Clone)]
pub struct Flag {
    /// What the user typed, such as `--listen`.
    pub flag: String,
    /// The key it sets, such as `gateway.listen`.
    pub key: String,
    /// The value, as typed.
    pub value: String,
}

/// Where one value came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// The configuration file.
    File {
        /// The file.
        path: PathBuf,
        /// The line, counted from 1.
        line: usize,
    },
    /// An environment variable.
    Environment(String),
    /// A flag.
    Flag(String),
}

/// The configuration file to read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ConfigFile {
    /// The user named it: it must be there.
    Named(PathBuf),
    /// The usual place: defaults do without it.
    IfPresent(PathBuf),
}

impl Sources {
    /// The sources of a running program: a file, its environment, and the flags it was given.
    pub fn gather(file: ConfigFile, flags: Vec<Flag>) -> Result<Self, ServiceError> {
        let (path, required) = match file {
            ConfigFile::Named(path) => (path, true),
            ConfigFile::IfPresent(path) => (path, false),
        };
        let file = match fs::read_to_string(&path) {
            Ok(text) => Some((path, text)),
            Err(error) if error.kind() == io::ErrorKind::NotFound && !required => None,
            Err(source) => return Err(ServiceError::ConfigFile { path, source }),
        };
        let utf8 = |(name, value): (OsString, OsString)| {
            Some((name.into_string().ok()?, value.into_string().ok()?))
        };
        Ok(Self {
            file,
            environment: env::vars_os().filter_map(utf8).collect(),
            flags,
        })
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File { path, line } => write!(f, "{} line {line}", path.display()),
            Self::Environment(name) | Self::Flag(name) => f.write_str(name),
        }
    }
}

/// Something wrong, where it is, and what to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// Where the value was given; `None` if it was not given at all.
    pub origin: Option<Origin>,
    /// The key, such as `gateway.listen`; empty for a fault of the whole file.
    pub key: String,
    /// What is wrong.
    pub message: String,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(origin) = &self.origin {
            write!(f, "{origin}: ")?;
        }
        if !self.key.is_empty() {
            write!(f, "{}: ", self.key)?;
        }
        f.write_str(&self.message)
    }
}

/// All faults of a configuration.
#[derive(Debug, Default)]
pub struct Faults {
    faults: Vec<Fault>,
    origins: BTreeMap<String, Origin>,
}

impl Faults {
    /// Notes that the value of `key` cannot be used; where it came from is added. For a check of values that fit their
    /// types but not each other.
    pub fn add(&mut self, key: &str, message: impl Into<String>) {
        // A fault inside a list belongs to the key that holds the list.
        let origin = ancestors(key)
            .find_map(|key| self.origins.get(key))
            .cloned();
        self.faults.push(Fault {
            origin,
            key: key.into(),
            message: message.into(),
        });
    }

    /// The faults, in the order they were found.
    pub fn list(&self) -> &[Fault] {
        &self.faults
    }
}

impl fmt::Display for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.faults.len() {
            1 => f.write_str("the configuration has a fault")?,
            count => write!(f, "the configuration has {count} faults")?,
        }
        self.faults
            .iter()
            .try_for_each(|fault| write!(f, "\n  {fault}"))
    }
}

/// A configuration that can be used, and where each of its values came from.
#[derive(Debug)]
pub struct Loaded<T> {
    /// The configuration.
    pub value: T,
    origins: BTreeMap<String, Origin>,
}

impl<T: Serialize> Loaded<T> {
    /// Where the value of a key came from; `None` if it is the default.
    pub fn origin(&self, key: &str) -> Option<&Origin> {
        self.origins.get(key)
    }

    /// The whole configuration as TOML, secrets redacted, with the origin of each value behind it.
    pub fn explain(&self) -> String {
        let Ok(table) = Table::try_from(&self.value) else {
            return String::new();
        };
        let line = |key: &str, path: &str, value: &Value| {
            // The origin of a table inside a section is that of any of its keys.
            let inside = format!("{path}.");
            let origin = self
                .origins
                .iter()
                .find(|(key, _)| *key == path || key.starts_with(&inside));
            (
                format!("{key} = {value}"),
                origin.map_or_else(|| "default".to_owned(), |(_, origin)| origin.to_string()),
            )
        };
        // Keys before sections: in TOML a key after a section's head belongs to the section.
        let top: Vec<_> = table
            .iter()
            .filter(|(_, v)| !v.is_table())
            .map(|(key, v)| line(key, key, v))
            .collect();
        let mut blocks = vec![aligned(&top)];
        for (section, keys) in table
            .iter()
            .filter_map(|(name, value)| Some((name, value.as_table()?)))
        {
            let lines: Vec<_> = keys
                .iter()
                .map(|(key, v)| line(key, &format!("{section}.{key}"), v))
                .collect();
            blocks.push(format!("[{section}]\n{}", aligned(&lines)));
        }
        blocks.retain(|block| !block.is_empty());
        blocks.join("\n")
    }
}

/// Lines with their comments in one column.
fn aligned(lines: &[(String, String)]) -> String {
    let width = lines
        .iter()
        .map(|(line, _)| line.chars().count())
        .max()
        .unwrap_or(0);
    lines
        .iter()
        .map(|(line, comment)| format!("{line:width$}  # {comment}\n"))
        .collect()
}

/// Reads a configuration. `check` sees the typed struct and notes what types cannot say.
pub fn load<T>(
    sources: Sources,
    check: impl FnOnce(&T, &mut Faults),
) -> Result<Loaded<T>, ServiceError>
where
    T: Default + Serialize + DeserializeOwned,
{
    let mut layers = Layers::default();
    if let Some((path, text)) = &sources.file {
        layers.read_file(path, text);
    }
    let known = known_keys::<T>();
    layers.read_environment(sources.environment, &known);
    for Flag { flag, key, value } in sources.flags {
        layers.set(&key, &value, Origin::Flag(flag));
    }
    let value: T = layers.deserialize(&known);
    check(&value, &mut layers.faults);
    if layers.faults.faults.is_empty() {
        Ok(Loaded {
            value,
            origins: layers.faults.origins,
        })
    } else {
        Err(ServiceError::Config(layers.faults))
    }
}

/// The sections of a struct and their keys. Keys whose default is nothing (`Option::None`) are not among them.
fn known_keys<T: Default + Serialize>() -> BTreeMap<String, Vec<String>> {
    let table = Table::try_from(T::default()).unwrap_or_default();
    let keys = |value: &Value| {
        value
            .as_table()
            .map(|keys| keys.keys().cloned().collect())
            .unwrap_or_default()
    };
    table
        .iter()
        .map(|(section, value)| (section.clone(), keys(value)))
        .collect()
}

/// The merged layers, and what is wrong with them so far.
#[derive(Default)]
struct Layers {
    table: Table,
    /// For values that came as text: other ways to read them, tried in turn until one fits the struct.
    readings: BTreeMap<String, Vec<Value>>,
    faults: Faults,
}

impl Layers {
    fn read_file(&mut self, path: &Path, text: &str) {
        let line = |offset: usize| {
            text.as_bytes()
                .iter()
                .take(offset)
                .filter(|&&byte| byte == b'\n')
                .count()
                + 1
        };
        let origin = |offset| Origin::File {
            path: path.into(),
            line: line(offset),
        };
        let (places, errors) = DeTable::parse_recoverable(text);
        for error in &errors {
            self.faults.faults.push(Fault {
                origin: Some(origin(error.span().map_or(0, |span| span.start))),
                key: String::new(),
                message: error.message().to_owned(),
            });
        }
        // What could be read of a broken file is not used: its values would be reported where the cause is the syntax.
        if errors.is_empty() {
            note_places(places.get_ref(), "", &mut |key, offset| {
                self.faults.origins.insert(key, origin(offset));
            });
            self.table = text.parse().unwrap_or_default();
            if let Some(folder) = path.parent() {
                resolve_secret_files(&mut self.table, folder);
            }
        }
    }

    fn read_environment(
        &mut self,
        variables: Vec<(String, String)>,
        known: &BTreeMap<String, Vec<String>>,
    ) {
        for (name, value) in variables {
            let Some((section, key)) = name
                .strip_prefix(PREFIX)
                .and_then(|rest| rest.split_once('_'))
            else {
                continue;
            };
            let (section, key) = (section.to_ascii_lowercase(), key.to_ascii_lowercase());
            // Other programs of the family have variables of the same shape (LUCID_TOOLS_DIR): not ours, not a fault.
            if known.contains_key(&section) {
                self.set(
                    &format!("{section}.{key}"),
                    &value,
                    Origin::Environment(name),
                );
            }
        }
    }

    /// Sets a key to a text whose type is not known yet.
    fn set(&mut self, key: &str, text: &str, origin: Origin) {
        let mut readings = Vec::new();
        if matches!(origin, Origin::Environment(_)) {
            readings.push(Value::Table(Table::from_iter([(
                FROM_ENVIRONMENT.to_owned(),
                Value::from(text),
            )])));
        }
        if let Ok(mut table) = format!("value = {text}").parse::<Table>() {
            readings.extend(table.remove("value").filter(|value| !value.is_str()));
        }
        let mut table = &mut self.table;
        let mut parts: Vec<&str> = key.split('.').collect();
        let last = parts.pop().unwrap_or(key);
        for part in parts {
            let entry = table
                .entry(part)
                .or_insert_with(|| Value::Table(Table::new()));
            if !entry.is_table() {
                *entry = Value::Table(Table::new());
            }
            let Value::Table(inner) = entry else { return };
            table = inner;
        }
        table.insert(last.to_owned(), Value::from(text));
        self.readings.insert(key.to_owned(), readings);
        // What the file had below this key is gone with it.
        let below = format!("{key}.");
        self.faults
            .origins
            .retain(|other, _| !other.starts_with(&below));
        self.faults.origins.insert(key.to_owned(), origin);
    }

    /// The typed struct, with its default in place of each value that is wrong.
    fn deserialize<T: Default + DeserializeOwned>(
        &mut self,
        known: &BTreeMap<String, Vec<String>>,
    ) -> T {
        // What to say of a key once no reading is left.
        let mut messages: BTreeMap<String, String> = BTreeMap::new();
        loop {
            let mut unknown = Vec::new();
            let mut note =
                |path: serde_ignored::Path<'_>| unknown.push(path.to_string().replace(".?", ""));
            let deserializer =
                serde_ignored::Deserializer::new(Value::Table(self.table.clone()), &mut note);
            let error = match serde_path_to_error::deserialize(deserializer) {
                Ok(value) => {
                    for key in unknown {
                        self.faults.add(&key, unknown_message(&key, known));
                    }
                    return value;
                }
                Err(error) => error,
            };
            let path = error.path().to_string();
            let message = error.inner().message().trim().to_owned();
            // The nearest key that is there: a fault in a list's element takes out the list.
            let Some(key) = ancestors(&path)
                .find(|key| find(&mut self.table, key).is_some())
                .map(str::to_owned)
            else {
                self.faults.add(&path, message);
                return T::default();
            };
            let value = find(&mut self.table, &key);
            // A text that is no secret was also tried as one; what serde says of that try is no help.
            let as_secret = value
                .as_deref()
                .and_then(Value::as_table)
                .is_some_and(|t| t.contains_key(FROM_ENVIRONMENT));
            let message = match messages.remove(&key) {
                Some(earlier) if as_secret => earlier,
                _ => message,
            };
            match (self.readings.get_mut(&key).and_then(Vec::pop), value) {
                (Some(reading), Some(value)) => {
                    *value = reading;
                    messages.insert(key, message);
                }
                _ => {
                    self.faults.add(&path, message);
                    remove(&mut self.table, &key);
                }
            }
        }
    }
}

fn unknown_message(key: &str, known: &BTreeMap<String, Vec<String>>) -> String {
    let names = match key.rsplit_once('.') {
        None => known.keys().cloned().collect(),
        Some((section, _)) => known.get(section).cloned().unwrap_or_default(),
    };
    if names.is_empty() {
        "there is no such key".into()
    } else {
        format!("there is no such key; there are {}", names.join(", "))
    }
}

/// `a.b.c`, `a.b`, `a`.
fn ancestors(key: &str) -> impl Iterator<Item = &str> {
    std::iter::successors(Some(key), |key| {
        key.rfind(['.', '[']).and_then(|end| key.get(..end))
    })
}

fn find<'t>(table: &'t mut Table, key: &str) -> Option<&'t mut Value> {
    match key.split_once('.') {
        None => table.get_mut(key),
        Some((first, rest)) => find(table.get_mut(first)?.as_table_mut()?, rest),
    }
}

fn remove(table: &mut Table, key: &str) {
    match key.split_once('.') {
        None => {
            table.remove(key);
        }
        Some((first, rest)) => {
            if let Some(inner) = table.get_mut(first).and_then(Value::as_table_mut) {
                remove(inner, rest);
            }
        }
    }
}

/// Calls `note` with each key of a file and the byte it begins at.
fn note_places(table: &DeTable<'_>, above: &str, note: &mut impl FnMut(String, usize)) {
    for (name, value) in table {
        let key = if above.is_empty() {
            name.get_ref().to_string()
        } else {
            format!("{above}.{}", name.get_ref())
        };
        if let DeValue::Table(inner) = value.get_ref() {
            note_places(inner, &key, note);
        }
        note(key, name.span().start);
    }
}

/// Makes the paths of secrets' files relative to the configuration file that names them.
fn resolve_secret_files(table: &mut Table, folder: &Path) {
    for (_, value) in table.iter_mut() {
        let Value::Table(inner) = value else { continue };
        let alone = inner.len() == 1;
        match inner.get_mut("file") {
            Some(Value::String(file)) if alone => {
                *file = folder.join(&*file).to_string_lossy().into_owned();
            }
            _ => resolve_secret_files(inner, folder),
        }
    }
}
