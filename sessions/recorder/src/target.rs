//! The targets file: which desktops there are, and what the gateway logs in with. The people who use a session never see
//! any of it (requirement S1).

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
    time::Duration,
};

use lucid_rdp::{Security, Target, Trust, info::Credentials};
use rustix::fs::{FlockOperation, flock};
use serde::Deserialize;
use zeroize::Zeroizing;

use crate::{Home, RecorderError, home};

/// Largest targets or password file that is read.
const MAX_FILE: u64 = 1 << 20;

/// Limit on reaching a target and logging in, NLA included.
const TIMEOUT: Duration = Duration::from_secs(20);

#[derive(Clone, Copy, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
enum SecurityName {
    #[default]
    Auto,
    Tls,
    Nla,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    address: String,
    #[serde(default)]
    user: String,
    #[serde(default)]
    domain: String,
    password_file: Option<PathBuf>,
    password_env: Option<String>,
    #[serde(default)]
    security: SecurityName,
    pin: Option<String>,
    #[serde(default)]
    ca: bool,
}

/// Reads the targets file; an absent file has no targets. All faults are reported together.
///
/// # Errors
/// [`RecorderError::Targets`].
pub fn load(home: &Home) -> Result<BTreeMap<String, Target>, RecorderError> {
    let path = home.targets();
    let text = match read_bounded(&path) {
        Ok(text) => text,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(BTreeMap::new()),
        Err(e) => return Err(RecorderError::io("reading", &path, e)),
    };
    parse(&text, home.root(), &|name| std::env::var(name).ok())
        .map_err(|faults| RecorderError::Targets { path, faults })
}

fn parse(
    text: &str,
    folder: &Path,
    environment: &dyn Fn(&str) -> Option<String>,
) -> Result<BTreeMap<String, Target>, Vec<String>> {
    let entries: BTreeMap<String, toml::Value> =
        toml::from_str(text).map_err(|e| vec![e.message().to_owned()])?;
    let (mut targets, mut faults) = (BTreeMap::new(), Vec::new());
    for (name, value) in entries {
        let read = value
            .try_into::<Entry>()
            .map_err(|e| e.message().to_owned());
        match read.and_then(|entry| resolve(entry, folder, environment)) {
            Ok(target) => drop(targets.insert(name, target)),
            Err(why) => faults.push(format!("[{name}] {why}")),
        }
    }
    if faults.is_empty() {
        Ok(targets)
    } else {
        Err(faults)
    }
}

fn resolve(
    entry: Entry,
    folder: &Path,
    environment: &dyn Fn(&str) -> Option<String>,
) -> Result<Target, String> {
    let (host, port) = split_address(&entry.address)?;
    let password = match (&entry.password_file, &entry.password_env) {
        (Some(file), None) => {
            let file = folder.join(file);
            let text = read_bounded(&file)
                .map_err(|e| format!("password_file {}: {e}", file.display()))?;
            Zeroizing::new(text.trim_end_matches(['\r', '\n']).to_owned())
        }
        (None, Some(variable)) => Zeroizing::new(
            environment(variable).ok_or_else(|| format!("password_env {variable} is not set"))?,
        ),
        (None, None) => Zeroizing::default(),
        (Some(_), Some(_)) => {
            return Err("both password_file and password_env are there: keep one".into());
        }
    };
    let trust = match (entry.pin, entry.ca) {
        (Some(pin), false) => Trust::Pin(pin.parse().map_err(|e| format!("pin: {e}"))?),
        (None, true) => Trust::Authorities,
        (None, false) => Trust::AskFirstUse,
        (Some(_), true) => return Err("both pin and ca are there: keep one".into()),
    };
    let security = match entry.security {
        SecurityName::Auto => Security::Auto,
        SecurityName::Tls => Security::Tls,
        SecurityName::Nla => Security::Nla,
    };
    let credentials = Credentials {
        username: entry.user,
        domain: entry.domain,
        password,
    };
    Ok(Target {
        host,
        port,
        credentials,
        security,
        trust,
        timeout: TIMEOUT,
    })
}

/// A target that is named on the command line: `HOST:PORT` is called `default`, else `NAME=HOST:PORT`.
///
/// # Errors
/// What is wrong with the text.
pub fn from_argument(
    text: &str,
    credentials: Credentials,
    trust: Trust,
) -> Result<(String, Target), String> {
    let (name, address) = text.split_once('=').unwrap_or(("default", text));
    let (host, port) = split_address(address)?;
    Ok((
        name.to_owned(),
        Target {
            host,
            port,
            credentials,
            security: Security::Auto,
            trust,
            timeout: TIMEOUT,
        },
    ))
}

fn split_address(address: &str) -> Result<(String, u16), String> {
    let bad = || {
        format!(
            "address '{address}' is not HOST:PORT, such as desk1.example:3389 or [2001:db8::1]:3389"
        )
    };
    let (host, port) = address.rsplit_once(':').ok_or_else(bad)?;
    let bare = host.strip_prefix('[').and_then(|h| h.strip_suffix(']'));
    if host.is_empty() || (bare.is_none() && host.contains(':')) {
        return Err(bad());
    }
    Ok((
        bare.unwrap_or(host).to_owned(),
        port.parse().map_err(|_| bad())?,
    ))
}

/// Sets the pin of `name` in the targets file, leaving everything else in it as it was.
///
/// # Errors
/// When the target is not in the file, or the disk fails.
pub fn set_pin(home: &Home, name: &str, pin: &str) -> Result<(), RecorderError> {
    let path = home.targets();
    let fault = |why: String| RecorderError::Targets {
        path: path.clone(),
        faults: vec![why],
    };
    // Two pins set at once: the second reads what the first wrote.
    let lock = |e| RecorderError::io("locking", home.root(), e);
    let folder = fs::File::open(home.root()).map_err(lock)?;
    flock(&folder, FlockOperation::LockExclusive).map_err(|e| lock(e.into()))?;
    let text = read_bounded(&path).map_err(|e| RecorderError::io("reading", &path, e))?;
    let mut document: toml_edit::DocumentMut = text
        .parse()
        .map_err(|e: toml_edit::TomlError| fault(e.to_string()))?;
    let table = document.get_mut(name).and_then(|t| t.as_table_like_mut());
    let table = table.ok_or_else(|| fault(format!("there is no target [{name}]")))?;
    table.insert("pin", toml_edit::value(pin));
    home::replace(&path, document.to_string().as_bytes(), 0o600)
}

fn read_bounded(path: &Path) -> io::Result<String> {
    if fs::metadata(path)?.len() > MAX_FILE {
        return Err(io::Error::other(format!("larger than {MAX_FILE} bytes")));
    }
    fs::read_to_string(path)
}
