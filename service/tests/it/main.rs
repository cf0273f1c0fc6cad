//! The configuration of a made-up daemon.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "helpers of tests are tests"
)]

use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;

use lucid_service::config::{ConfigFile, Faults, Flag, Loaded, Origin, Sources, load};
use lucid_service::{Secret, ServiceError};
use serde::{Deserialize, Serialize};

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
struct Config {
    gateway: Gateway,
    recorder: Recorder,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(default)]
struct Gateway {
    listen: SocketAddr,
    max_sessions: u16,
    name: String,
    allow: Vec<u16>,
    password: Option<Secret>,
}

impl Default for Gateway {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 3389)),
            max_sessions: 20,
            name: "gateway".into(),
            allow: Vec::new(),
            password: None,
        }
    }
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(default)]
struct Recorder {
    chunk_seconds: u32,
    flush_seconds: u32,
}

impl Default for Recorder {
    fn default() -> Self {
        Self {
            chunk_seconds: 10,
            flush_seconds: 1,
        }
    }
}

fn check(config: &Config, faults: &mut Faults) {
    if config.recorder.flush_seconds > config.recorder.chunk_seconds {
        faults.add(
            "recorder.flush_seconds",
            "must not be above recorder.chunk_seconds",
        );
    }
}

fn read(
    text: &str,
    environment: &[(&str, &str)],
    flags: &[(&str, &str)],
) -> Result<Loaded<Config>, ServiceError> {
    let file = Some((PathBuf::from("lucid.toml"), text.to_owned()));
    let environment = environment
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect();
    let flags = flags.iter().map(|(key, value)| {
        let flag = format!("--{}", key.rsplit('.').next().unwrap());
        Flag {
            flag,
            key: (*key).to_owned(),
            value: (*value).to_owned(),
        }
    });
    load(
        Sources {
            file,
            environment,
            flags: flags.collect(),
        },
        check,
    )
}

/// The faults, one a line.
fn faults(text: &str, environment: &[(&str, &str)], flags: &[(&str, &str)]) -> String {
    match read(text, environment, flags) {
        Err(ServiceError::Config(faults)) => faults
            .list()
            .iter()
            .map(|fault| format!("{fault}\n"))
            .collect(),
        other => panic!("no faults: {other:?}"),
    }
}

#[test]
fn without_any_source_the_defaults_hold() {
    let config = load(Sources::default(), check).unwrap().value;
    assert_eq!(config.gateway.listen.to_string(), "127.0.0.1:3389");
    assert_eq!(config.recorder.chunk_seconds, 10);
}

#[test]
fn flags_win_over_the_environment_and_that_over_the_file() {
    let text = "[gateway]\nmax_sessions = 1\nname = \"file\"\nallow = [1]\n";
    let environment = [
        ("LUCID_GATEWAY_MAX_SESSIONS", "2"),
        ("LUCID_GATEWAY_NAME", "true"),
    ];
    let loaded = read(text, &environment, &[("gateway.max_sessions", "3")]).unwrap();
    assert_eq!(loaded.value.gateway.max_sessions, 3);
    assert_eq!(
        loaded.value.gateway.name, "true",
        "a text stays one whatever it looks like"
    );
    assert_eq!(loaded.value.gateway.allow, [1]);
    assert_eq!(
        loaded.origin("gateway.max_sessions"),
        Some(&Origin::Flag("--max_sessions".into()))
    );
    assert_eq!(
        loaded.origin("gateway.name"),
        Some(&Origin::Environment("LUCID_GATEWAY_NAME".into()))
    );
    assert_eq!(
        loaded.origin("gateway.allow"),
        Some(&Origin::File {
            path: "lucid.toml".into(),
            line: 4
        })
    );
    assert_eq!(loaded.origin("gateway.listen"), None);
}

#[test]
fn all_faults_are_reported_at_once_each_with_its_place() {
    let text = "[gateway]\nlisten = \"nowhere\"\nallow = [1, \"two\"]\nlisen = 1\n\n[recorder]\nflush_seconds = 60\n\n[recoder]\n";
    let environment = [
        ("LUCID_GATEWAY_MAX_SESSIONS", "many"),
        ("LUCID_GATEWAY_NAM", "x"),
    ];
    let found = faults(text, &environment, &[("recorder.chunk_seconds", "-1")]);
    let expected = [
        "lucid.toml line 3: gateway.allow[1]: invalid type: string \"two\", expected u16",
        "lucid.toml line 2: gateway.listen: invalid socket address syntax",
        "LUCID_GATEWAY_MAX_SESSIONS: gateway.max_sessions: invalid type: string \"many\", expected u16",
        "--chunk_seconds: recorder.chunk_seconds: invalid value: integer `-1`, expected u32",
        "lucid.toml line 4: gateway.lisen: there is no such key; there are allow, listen, max_sessions, name",
        "LUCID_GATEWAY_NAM: gateway.nam: there is no such key; there are allow, listen, max_sessions, name",
        "lucid.toml line 9: recoder: there is no such key; there are gateway, recorder",
        "lucid.toml line 7: recorder.flush_seconds: must not be above recorder.chunk_seconds",
    ];
    for line in expected {
        assert!(
            found.lines().any(|found| found == line),
            "no line {line:?} in\n{found}"
        );
    }
    assert_eq!(found.lines().count(), expected.len(), "{found}");
    let message = read(text, &environment, &[]).unwrap_err().to_string();
    assert!(
        message.starts_with("the configuration has 7 faults\n  "),
        "{message}"
    );
}

#[test]
fn a_broken_file_is_one_fault_with_its_line_beside_those_of_the_other_sources() {
    let found = faults(
        "[gateway]\nmax_sessions = = 3\n",
        &[("LUCID_RECORDER_CHUNK_SECONDS", "soon")],
        &[],
    );
    assert!(found.starts_with("lucid.toml line 2: "), "{found}");
    assert!(
        found.contains("LUCID_RECORDER_CHUNK_SECONDS: recorder.chunk_seconds: "),
        "{found}"
    );
}

#[test]
fn variables_of_no_section_are_not_ours() {
    read(
        "",
        &[
            ("LUCID_HOME", "/x"),
            ("LUCID_TOOLS_DIR", "/y"),
            ("LUCIDGATEWAY_NAME", "z"),
        ],
        &[],
    )
    .unwrap();
}

#[test]
fn a_section_that_is_no_table_is_a_fault_and_not_a_panic() {
    let found = faults("gateway = 3\n", &[], &[]);
    assert!(
        found.starts_with("lucid.toml line 1: gateway: invalid type: integer `3`"),
        "{found}"
    );
    // A stronger layer can still set a key of it.
    let loaded = read("gateway = 3\n", &[("LUCID_GATEWAY_NAME", "x")], &[]).unwrap();
    assert_eq!(loaded.value.gateway.name, "x");
}

#[test]
fn a_secret_comes_from_its_file_or_the_environment_only() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("password"), "hunter2\n").unwrap();
    fs::write(
        dir.path().join("lucid.toml"),
        "[gateway]\npassword = { file = \"password\" }\n",
    )
    .unwrap();
    // A relative path is relative to the file that names it.
    let file = ConfigFile::Named(dir.path().join("lucid.toml"));
    let loaded: Loaded<Config> = load(Sources::gather(file, Vec::new()).unwrap(), check).unwrap();
    assert_eq!(loaded.value.gateway.password.unwrap().expose(), "hunter2");

    for password in ["hunter2", "123456", "true", "{ file = \"x\" }", "1.5"] {
        let loaded = read("", &[("LUCID_GATEWAY_PASSWORD", password)], &[]).unwrap();
        assert_eq!(loaded.value.gateway.password.unwrap().expose(), password);
    }

    for password in ["hunter2", "123456", "1.25"] {
        for found in [
            faults(&format!("[gateway]\npassword = \"{password}\""), &[], &[]),
            faults("", &[], &[("gateway.password", password)]),
        ] {
            assert!(
                found.contains("gateway.password: a secret must not be written here"),
                "{found}"
            );
            assert!(!found.contains(password), "{found}");
        }
    }
}

#[test]
fn a_secret_whose_file_is_missing_or_empty_says_which() {
    let found = faults(
        "[gateway]\npassword = { file = \"/nowhere/password\" }",
        &[],
        &[],
    );
    assert!(
        found.contains(
            "line 2: gateway.password: the secret's file /nowhere/password: No such file"
        ),
        "{found}"
    );
    let found = faults("[gateway]\npassword = { file = \"/dev/null\" }", &[], &[]);
    assert!(
        found.contains("the secret's file /dev/null is empty"),
        "{found}"
    );
}

#[test]
fn a_secret_is_redacted_wherever_it_is_printed() {
    let loaded = read(
        "[gateway]\nmax_sessions = 7\n",
        &[("LUCID_GATEWAY_PASSWORD", "hunter2")],
        &[],
    )
    .unwrap();
    let explained = loaded.explain();
    for text in [
        format!("{loaded:?}"),
        explained.clone(),
        Secret::new("hunter2".into()).to_string(),
    ] {
        assert!(
            text.contains("[redacted]") && !text.contains("hunter2"),
            "{text}"
        );
    }
    assert_eq!(
        explained,
        "[gateway]\n\
         allow = []                 # default\n\
         listen = \"127.0.0.1:3389\"  # default\n\
         max_sessions = 7           # lucid.toml line 2\n\
         name = \"gateway\"           # default\n\
         password = \"[redacted]\"    # LUCID_GATEWAY_PASSWORD\n\
         \n\
         [recorder]\n\
         chunk_seconds = 10  # default\n\
         flush_seconds = 1   # default\n"
    );
}

#[test]
fn a_named_file_must_be_there_and_the_usual_one_need_not() {
    let nowhere = PathBuf::from("/nowhere/lucid.toml");
    assert!(
        Sources::gather(ConfigFile::IfPresent(nowhere.clone()), Vec::new())
            .unwrap()
            .file
            .is_none()
    );
    let error = Sources::gather(ConfigFile::Named(nowhere), Vec::new())
        .unwrap_err()
        .to_string();
    assert!(
        error.starts_with("the configuration file /nowhere/lucid.toml: No such file"),
        "{error}"
    );
}
