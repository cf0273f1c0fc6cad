//! The store from the command line: hold, prune, shred, fsck, recover, the audit log.

use std::{fs, path::PathBuf};

use crate::support::Sandbox;

fn chunk_files(sandbox: &Sandbox) -> Vec<PathBuf> {
    let folders = fs::read_dir(sandbox.path("home/store/chunks")).unwrap();
    let files = folders.flat_map(|f| fs::read_dir(f.unwrap().path()).unwrap());
    files.map(|f| f.unwrap().path()).collect()
}

#[test]
fn fsck_names_every_damaged_file_and_exits_with_17() {
    let sandbox = Sandbox::new();
    let recipient = sandbox.keys("auditor");
    let id = sandbox.session(&recipient);
    sandbox.ok(&["fsck"]);
    let files = chunk_files(&sandbox);
    assert!(files.len() >= 3);
    let mut bytes = fs::read(&files[0]).unwrap();
    bytes[50] ^= 1;
    fs::remove_file(&files[0]).unwrap();
    fs::write(&files[0], &bytes).unwrap();
    fs::remove_file(&files[1]).unwrap();
    let ran = sandbox.run(&["fsck"]);
    assert_eq!(ran.code, 17, "{}", ran.out);
    for file in &files[..2] {
        let name = file.file_name().unwrap().to_str().unwrap();
        assert!(ran.out.contains(name), "{name} is not in: {}", ran.out);
    }
    assert!(ran.out.contains("DAMAGED"), "{}", ran.out);
    let ran = sandbox.run(&["verify", &id]);
    assert_eq!(ran.code, 17, "{}", ran.err);
    assert_eq!(ran.err.lines().count(), 1);
}

#[test]
fn a_held_session_is_neither_pruned_nor_shredded() {
    let sandbox = Sandbox::new();
    let recipient = sandbox.keys("auditor");
    let (held, free) = (sandbox.session(&recipient), sandbox.session(&recipient));
    sandbox.ok(&[
        "session",
        "hold",
        &held,
        "--reason",
        "case 7, asked for by the court",
    ]);
    std::thread::sleep(std::time::Duration::from_millis(1100));
    let dry = sandbox.ok(&["prune", "--older-than", "1s", "--dry-run"]);
    assert!(
        dry.contains(&format!("would remove {free}")) && dry.contains("1 are held"),
        "{dry}"
    );
    assert_eq!(
        sandbox.json(&["session", "list"])["sessions"]
            .as_array()
            .unwrap()
            .len(),
        2
    );
    sandbox.ok(&["prune", "--older-than", "1s"]);
    let left = sandbox.json(&["session", "list"])["sessions"].clone();
    assert_eq!(
        (left.as_array().unwrap().len(), &left[0]["id"]),
        (1, &held.as_str().into())
    );
    sandbox.ok(&["verify", &held]);
    let ran = sandbox.run(&["session", "shred", &held, "--yes"]);
    assert!(
        ran.code != 0 && ran.err.contains("legal hold (case 7"),
        "{}",
        ran.err
    );
    sandbox.ok(&["session", "release", &held]);
    sandbox.ok(&["prune", "--older-than", "1s"]);
    assert!(chunk_files(&sandbox).is_empty());
    assert_eq!(
        sandbox.run(&["prune"]).code,
        2,
        "nothing says what is too old"
    );
}

#[test]
fn a_shredded_session_verifies_and_opens_for_nobody() {
    let sandbox = Sandbox::new();
    let recipient = sandbox.keys("auditor");
    let id = sandbox.session(&recipient);
    let opens = |args: &[&str]| sandbox.run(&[args, &["--key", "auditor.key"]].concat());
    assert_eq!(opens(&["verify", &id]).code, 0);
    let ran = sandbox.run(&["session", "shred", &id]);
    assert_eq!(ran.code, 2, "nobody can be asked: {}", ran.err);
    assert_eq!(opens(&["verify", &id]).code, 0);
    sandbox.ok(&["session", "shred", &id, "--yes"]);
    assert_eq!(sandbox.json(&["verify", &id])["keys_destroyed"], true);
    for args in [
        &["verify", &id][..],
        &["replay", &id, "--no-browser"],
        &["export", &id, "--to", "x.png"],
    ] {
        let ran = opens(args);
        assert_eq!(ran.code, 14, "{args:?}: {}", ran.err);
        assert!(ran.err.contains("destroyed"), "{}", ran.err);
    }
    let events: Vec<String> = sandbox
        .json(&["audit"])
        .as_array()
        .unwrap()
        .iter()
        .map(|e| e["event"].as_str().unwrap().to_owned())
        .collect();
    assert!(
        events.contains(&"session-shredded".to_owned()),
        "{events:?}"
    );
    sandbox.ok(&["fsck"]);
}

#[test]
fn a_session_whose_recorder_died_is_recovered_as_cut() {
    let sandbox = Sandbox::new();
    let recipient = sandbox.keys("auditor");
    let (id, mut writer) = sandbox.writer(&recipient);
    writer
        .tick(1_500_000, lucid_recorder::wall_clock_us())
        .unwrap();
    let ran = sandbox.run(&["session", "recover", &id]);
    assert!(
        ran.code != 0 && ran.err.contains("being recorded"),
        "{}",
        ran.err
    );
    drop(writer);
    let list = sandbox.ok(&["session", "list"]);
    assert!(list.contains("unsealed"), "{list}");
    assert_eq!(sandbox.run(&["verify", &id]).code, 1);
    let told = sandbox.ok(&["session", "recover"]);
    assert!(
        told.contains(&id) && told.contains("sealed as cut"),
        "{told}"
    );
    assert_eq!(sandbox.run(&["verify", &id]).code, 16);
    assert!(
        sandbox
            .run(&["session", "recover"])
            .err
            .contains("nothing to recover")
    );
}

#[test]
fn a_changed_audit_log_is_refused_and_a_torn_one_is_read() {
    let sandbox = Sandbox::new();
    for user in ["a", "b", "c"] {
        sandbox.ok(&["session", "mint", "--user", user]);
    }
    let path = sandbox.path("home/audit.jsonl");
    let text = fs::read_to_string(&path).unwrap();
    fs::write(&path, text.replace("for b on", "for x on")).unwrap();
    let ran = sandbox.run(&["audit"]);
    assert_eq!(ran.code, 11, "{}", ran.err);
    assert!(
        ran.err.contains("line 3") && ran.err.contains("was changed"),
        "{}",
        ran.err
    );
    fs::write(&path, &text[..text.len() - 30]).unwrap();
    sandbox.ok(&["session", "mint", "--user", "d"]);
    let told = sandbox.ok(&["audit"]);
    assert!(
        told.contains("torn-line") && told.contains("for d on"),
        "{told}"
    );
}

#[test]
fn without_a_gateway_its_commands_say_how_to_start_one() {
    let sandbox = Sandbox::new();
    let id = "aaaaaaaaaaaaaaaaaaaaaaaaaa";
    for args in [
        &["session", "end", id][..],
        &["session", "watch", id],
        &["session", "allow", id, "clipboard"],
        &["session", "deny", id, "clipboard"],
    ] {
        let ran = sandbox.run(args);
        assert!(
            ran.code != 0 && ran.err.contains("start one with 'lucid gateway'"),
            "{args:?}: {}",
            ran.err
        );
    }
}

#[test]
fn a_gateway_that_could_not_work_does_not_start() {
    let sandbox = Sandbox::new();
    sandbox.keys("auditor");
    let pin = "07".repeat(32);
    let to = [
        "gateway",
        "--listen",
        "127.0.0.1:0",
        "--target",
        "127.0.0.1:1",
        "--target-pin",
        &pin,
    ];
    let cases = [
        (
            &[
                "gateway",
                "--listen",
                "127.0.0.1:0",
                "--recipient",
                "auditor.pub",
            ][..],
            "no desktop to lead to",
        ),
        (&to[..], "nobody could ever open the recordings"),
        (
            &[&to[..], &["--recipient", "missing.pub"]].concat(),
            "missing.pub",
        ),
        (
            &[&to[..], &["--recipient", "auditor.key"]].concat(),
            "auditor.key",
        ),
        (
            &[
                "gateway",
                "--listen",
                "127.0.0.1:0",
                "--recipient",
                "auditor.pub",
                "--target",
                "nowhere",
            ],
            "HOST:PORT",
        ),
        (
            &[
                "gateway",
                "--listen",
                "127.0.0.1:0",
                "--recipient",
                "auditor.pub",
                "--target",
                "h:1",
                "--target-pin",
                "12",
            ],
            "--target-pin",
        ),
        (
            &[
                "gateway",
                "--listen",
                "256.0.0.1:0",
                "--recipient",
                "auditor.pub",
                "--target",
                "h:1",
                "--target-pin",
                &pin,
            ],
            "listening on",
        ),
    ];
    for (args, part) in cases {
        let ran = sandbox.run(args);
        assert!(
            ran.code != 0 && ran.err.contains(part),
            "{args:?}: {} {}",
            ran.code,
            ran.err
        );
    }
}
