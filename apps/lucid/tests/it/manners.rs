//! Help, JSON, completions, man pages, colours, configuration.

use std::{collections::BTreeSet, fs, process::Command};

use crate::support::{Sandbox, ran};

/// Every command with its subcommands, as the help lists them.
fn commands(sandbox: &Sandbox, path: &[&str], found: &mut Vec<Vec<String>>) {
    let help = sandbox.ok(&[path, &["--help"]].concat());
    let listed = help.split("Commands:\n").nth(1).unwrap_or_default();
    for line in listed.lines().take_while(|l| !l.is_empty()) {
        // Names stand two spaces in, their descriptions and what wraps of them further.
        let Some(name) = line.strip_prefix("  ").filter(|l| !l.starts_with(' ')) else {
            continue;
        };
        let name = name.split_whitespace().next().unwrap();
        if name != "help" {
            let path: Vec<&str> = path.iter().copied().chain([name]).collect();
            found.push(path.iter().map(ToString::to_string).collect());
            commands(sandbox, &path, found);
        }
    }
}

fn all_commands(sandbox: &Sandbox) -> Vec<Vec<String>> {
    let mut found = Vec::new();
    commands(sandbox, &[], &mut found);
    found
}

#[test]
fn every_command_has_help_that_says_what_it_does() {
    let sandbox = Sandbox::new();
    let all = all_commands(&sandbox);
    assert!(all.len() > 35, "{all:?}");
    for command in &all {
        let args: Vec<&str> = command
            .iter()
            .map(String::as_str)
            .chain(["--help"])
            .collect();
        let help = sandbox.ok(&args);
        assert!(help.contains("Usage: lucid"), "{command:?}: {help}");
        assert!(
            help.lines().next().unwrap().len() > 15,
            "{command:?}: {help}"
        );
    }
    let listing = sandbox.ok(&["--help"]);
    assert!(listing.contains("Exit codes:") && listing.contains("16 sound but cut"));
    assert!(!sandbox.path("home").exists(), "help makes no home folder");
}

#[test]
fn who_stops_reading_changes_nothing() {
    let sandbox = Sandbox::new();
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let mut command = sandbox.command(&["config", "show"]);
    let output = command.stdout(writer).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    assert!(output.stderr.is_empty(), "{output:?}");
}

#[test]
fn usage_faults_exit_with_2() {
    let sandbox = Sandbox::new();
    for args in [
        &["no-such-command"][..],
        &["verify"],
        &["session", "mint"],
        &["demo", "--seconds", "1"],
        &["export", "x", "--to", "x.mp4", "--from", "later"],
        &["session", "show", "not-an-id"],
    ] {
        assert_eq!(sandbox.run(args).code, 2, "{args:?}");
    }
    assert_eq!(
        sandbox
            .run(&["session", "show", "aaaaaaaaaaaaaaaaaaaaaaaaaa"])
            .code,
        3
    );
    assert!(sandbox.ok(&["--version"]).starts_with("lucid 0."));
}

#[test]
fn completions_are_made_for_each_shell_and_know_every_command() {
    let sandbox = Sandbox::new();
    for shell in ["bash", "zsh", "fish"] {
        let script = sandbox.ok(&["completions", shell]);
        for command in all_commands(&sandbox) {
            assert!(
                script.contains(command.last().unwrap()),
                "{shell}: {command:?}"
            );
        }
        let file = sandbox.write(shell, script);
        // Shells that are here read it.
        if let Ok(output) = Command::new(shell).args(["-n", &file]).output() {
            assert!(
                output.status.success(),
                "{shell}: {}",
                String::from_utf8_lossy(&output.stderr)
            );
        }
    }
}

#[test]
fn there_is_a_man_page_for_every_command() {
    let sandbox = Sandbox::new();
    sandbox.ok(&["man", "man"]);
    let pages: BTreeSet<String> = fs::read_dir(sandbox.path("man"))
        .unwrap()
        .map(|e| e.unwrap().file_name().into_string().unwrap())
        .collect();
    for command in all_commands(&sandbox) {
        let page = format!("lucid-{}.1", command.join("-"));
        assert!(pages.contains(&page), "{page} is not among {pages:?}");
        let text = fs::read_to_string(sandbox.path("man").join(&page)).unwrap();
        assert!(
            text.contains(".SH NAME") && text.contains(".SH SYNOPSIS"),
            "{page}"
        );
    }
    assert!(pages.contains("lucid.1"));
}

#[test]
fn everything_that_lists_or_tells_can_do_so_as_json() {
    let sandbox = Sandbox::new();
    let recipient = sandbox.keys("auditor");
    let id = sandbox.session(&recipient);
    assert_eq!(sandbox.json(&["keys", "new", "other"])["name"], "other");
    assert_eq!(
        sandbox.json(&["keys", "show", "auditor.pub"])["name"],
        "auditor"
    );
    assert_eq!(
        sandbox.json(&["keys", "show", "auditor.key"])["secret"],
        true
    );
    let minted = sandbox.json(&[
        "session",
        "mint",
        "--user",
        "operator2",
        "--target",
        "desk2",
    ]);
    assert_eq!(minted["password"].as_str().unwrap().len(), 23);
    let list = sandbox.json(&["session", "list"]);
    assert_eq!(list["tickets"][0]["session"], minted["session"]);
    assert_eq!(
        (&list["sessions"][0]["id"], &list["sessions"][0]["state"]),
        (&id.as_str().into(), &"closed".into())
    );
    let show = sandbox.json(&["session", "show", &id]);
    assert_eq!(
        show["summary"]["chunks"],
        show["chunks"].as_array().unwrap().len()
    );
    assert_eq!(sandbox.json(&["verify", &id])["complete"], true);
    assert_eq!(
        sandbox.json(&["pack", &id, "--to", "packed.lucid"])["file"],
        "packed.lucid"
    );
    assert_eq!(
        sandbox.json(&["session", "hold", &id, "--reason", "case 7"])["event"],
        "session-held"
    );
    assert_eq!(
        sandbox.json(&["session", "release", &id])["session"],
        id.as_str()
    );
    assert_eq!(sandbox.json(&["fsck"])["findings"], serde_json::json!([]));
    assert_eq!(
        sandbox.json(&["prune", "--older-than", "1d", "--dry-run"])["removed"],
        serde_json::json!([])
    );
    let told = sandbox.json(&[
        "disclose",
        &id,
        "--key",
        "auditor.key",
        "--from",
        "0",
        "--until",
        "5",
        "--to",
        "part.lucid",
    ]);
    assert_eq!((&told["first"], &told["last"]), (&0.into(), &0.into()));
    assert_eq!(sandbox.json(&["audit"]).as_array().unwrap().len(), 3);
    assert_eq!(sandbox.json(&["config", "check"])["sound"], true);
    assert_eq!(
        sandbox.json(&["config", "show"])["gateway"]["listen"],
        "127.0.0.1:3389"
    );
    fs::write(
        sandbox.path("home/targets.toml"),
        "[desk1]\naddress = \"127.0.0.1:1\"\nuser = \"svc\"\n",
    )
    .unwrap();
    assert_eq!(sandbox.json(&["target", "list"])[0]["user"], "svc");
    let unreachable = sandbox.run(&["target", "trust", "desk1", "--json"]);
    let told: serde_json::Value = serde_json::from_str(&unreachable.err).unwrap();
    assert!(
        told["error"]
            .as_str()
            .unwrap()
            .contains("cannot be reached"),
        "{told}"
    );
}

#[test]
fn a_terminal_gets_colours_unless_it_says_no() {
    let sandbox = Sandbox::new();
    sandbox.ok(&["session", "mint", "--user", "operator1"]);
    let in_a_terminal = |no_color: Option<&str>| {
        let mut command = Command::new("script");
        let home = sandbox.name("home");
        command.args([
            "-qec",
            &format!("{} --home {home} session list", env!("CARGO_BIN_EXE_lucid")),
            "/dev/null",
        ]);
        command.env_remove("NO_COLOR").env("TERM", "xterm-256color");
        if let Some(value) = no_color {
            command.env("NO_COLOR", value);
        }
        ran(
            &["session", "list"],
            command.stdin(std::process::Stdio::null()).output().unwrap(),
        )
        .out
    };
    assert!(in_a_terminal(None).contains("\x1b[2mSESSION"));
    assert!(
        in_a_terminal(Some("")).contains("\x1b["),
        "an empty NO_COLOR is none"
    );
    assert!(!in_a_terminal(Some("1")).contains('\x1b'));
    assert!(
        !sandbox.ok(&["session", "list"]).contains('\x1b'),
        "a pipe gets none either"
    );
}

#[test]
fn the_configuration_is_checked_with_all_its_faults_at_once() {
    let sandbox = Sandbox::new();
    assert_eq!(
        sandbox.ok(&["config", "check"]),
        "the configuration is sound\n"
    );
    fs::create_dir_all(sandbox.path("home")).unwrap();
    let text = "[gateway]\nlisten = \"nowhere\"\nmax_sessions = 0\nrecipients = [\"missing.pub\"]\n[chunk]\nmax_bytes = 7\ntypo = 1\n";
    fs::write(sandbox.path("home/lucid.toml"), text).unwrap();
    let args = ["config", "check"];
    let ran_with = |name: &str, value: &str| {
        ran(
            &args,
            sandbox.command(&args).env(name, value).output().unwrap(),
        )
    };
    let told = ran_with("LUCID_GATEWAY_POLICY_TIMEOUT_MS", "12");
    assert_eq!(told.code, 2);
    for part in [
        "6 faults",
        "gateway.listen",
        "gateway.max_sessions",
        "missing.pub",
        "chunk.max_bytes",
        "typo",
        "LUCID_GATEWAY_POLICY_TIMEOUT_MS",
    ] {
        assert!(told.err.contains(part), "{part} is not in: {}", told.err);
    }
    // Whatever needs the configuration refuses to work with one that is wrong.
    assert_eq!(sandbox.run(&["session", "list"]).code, 2);
    assert_eq!(
        sandbox
            .run(&["config", "check", "--config", "no-such-file.toml"])
            .code,
        3
    );
    fs::remove_file(sandbox.path("home/lucid.toml")).unwrap();
    let shown = ran(
        &["config", "show"],
        sandbox
            .command(&["config", "show"])
            .env("LUCID_GATEWAY_MAX_SESSIONS", "3")
            .output()
            .unwrap(),
    );
    assert!(
        shown.out.contains("LUCID_GATEWAY_MAX_SESSIONS"),
        "{}",
        shown.out
    );
}

#[test]
fn keys_are_never_written_over_others_nor_with_a_weak_passphrase() {
    let sandbox = Sandbox::new();
    sandbox.keys("auditor");
    let before = fs::read(sandbox.path("auditor.key")).unwrap();
    assert_eq!(sandbox.run(&["keys", "new", "auditor"]).code, 2);
    assert_eq!(fs::read(sandbox.path("auditor.key")).unwrap(), before);
    let args = ["keys", "new", "weak"];
    let weak = ran(
        &args,
        sandbox
            .command(&args)
            .env("LUCID_PASSPHRASE", "short")
            .output()
            .unwrap(),
    );
    assert_eq!(weak.code, 2);
    assert!(
        !weak.err.contains("short") || weak.err.contains("shorter"),
        "{}",
        weak.err
    );
    assert!(!sandbox.path("weak.key").exists());
    for bad in ["../escape", "", "a/b"] {
        assert_ne!(sandbox.run(&["keys", "new", bad]).code, 0, "{bad}");
    }
}
