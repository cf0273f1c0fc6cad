//! No room: the session ends with its reason, and what was recorded stays valid.

use std::{
    io::BufRead,
    process::{Child, Command, Stdio},
};

use lucid_desktop::Client;

use crate::support::{Gateway, PATIENCE, Place, program, ran, wait_for};

/// Fills the recording until the session ends.
fn type_until_it_ends(client: &mut Client) {
    client.mouse_click(300, 200).unwrap();
    // Noise in many colours does not compress.
    let noise = "while :; do head -c 3000 /dev/urandom | base64 -w0 | sed 's/\\(..\\)/\\x1b[3\\1m\\1/g'; done\n";
    client.type_text(noise).unwrap();
    assert!(
        client.wait_for_exit(PATIENCE * 2).is_some(),
        "the session ends"
    );
}

#[test]
fn a_quota_that_is_reached_ends_the_session_with_its_reason_and_the_recording_is_complete() {
    let place = Place::new();
    let desktop = place.desktop("desktop");
    place.trust_desktop("desk1", &desktop);
    let gateway = Gateway::start_with(&place, |command| {
        command.env("LUCID_STORE_MAX_BYTES", (700 << 10).to_string());
    });
    let (id, password) = place.mint("operator1", "desk1");
    let mut client =
        place.log_in(&place.client_options("client", &gateway, "operator1", &password));
    type_until_it_ends(&mut client);
    place.wait_for_state(&id, "closed");
    place.wait_for_audit("session-failed", "no room for the recording");
    assert!(gateway.said().contains("make room with 'lucid prune'"));
    let proven = place.json(&["verify", &id, "--key", "auditor.key"]);
    assert_eq!(proven["complete"], true);
    assert!(
        proven["reason"]
            .as_str()
            .unwrap()
            .contains("its quota of 716800"),
        "{}",
        proven["reason"]
    );
    place.read(&id).last_picture();
    place.ok(&["fsck"]);
    // Nobody gets in until there is room, and then again.
    let (_, password) = place.mint("operator1", "desk1");
    place.refused(&place.client_options("next", &gateway, "operator1", &password));
    drop(gateway);
    let gateway = Gateway::start(&place);
    let (_, password) = place.mint("operator1", "desk1");
    place.log_in(&place.client_options("after", &gateway, "operator1", &password));
}

/// A mount namespace with a small disk for the store, gone with this.
struct SmallDisk(Child);

impl SmallDisk {
    fn mount(place: &Place) -> Self {
        let store = place.path("home/store");
        std::fs::create_dir_all(&store).unwrap();
        let script = "mount -t tmpfs -o size=1500k tmpfs \"$1\" && echo mounted && read -r _";
        let mut child = Command::new("setpriv")
            .args([
                "--pdeathsig",
                "KILL",
                "--",
                "unshare",
                "--mount",
                "sh",
                "-c",
                script,
                "sh",
            ])
            .arg(&store)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        std::io::BufReader::new(child.stdout.take().unwrap())
            .read_line(&mut line)
            .unwrap();
        assert_eq!(line, "mounted\n", "it needs CAP_SYS_ADMIN");
        Self(child)
    }

    /// A command inside.
    fn enter(&self) -> Command {
        let mut command = Command::new("setpriv");
        command.args([
            "--pdeathsig",
            "KILL",
            "--",
            "nsenter",
            "--mount",
            "--target",
            &self.0.id().to_string(),
            "--wd=.",
            "--",
        ]);
        command.arg(program());
        command
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        self.0.stdin = None;
        let _ = self.0.wait();
    }
}

#[test]
fn a_disk_that_fills_up_to_its_last_byte_leaves_a_valid_recording() {
    let place = Place::new();
    let desktop = place.desktop("desktop");
    place.trust_desktop("desk1", &desktop);
    let disk = SmallDisk::mount(&place);
    let mut command = disk.enter();
    place.environment(&mut command);
    // Nothing is kept free: the disk itself says when it is full.
    command.env("LUCID_STORE_MIN_FREE", "0");
    command.args([
        "gateway",
        "--json",
        "--listen",
        "127.0.0.1:0",
        "--recipient",
        "auditor.pub",
    ]);
    let gateway = Gateway::spawn(&place, command);
    let (id, password) = place.mint("operator1", "desk1");
    let mut client =
        place.log_in(&place.client_options("client", &gateway, "operator1", &password));
    type_until_it_ends(&mut client);
    place.wait_for_audit("session-failed", "No space left");
    place.wait_for_audit("session-recovered", "recording failed: no room");
    let inside = |args: &[&str]| {
        let mut command = disk.enter();
        place.environment(&mut command);
        ran(args, command.args(args).output().unwrap())
    };
    let shown = wait_for("the session to be sealed", || {
        let shown = inside(&["session", "show", &id]);
        shown.out.contains("cut").then_some(shown.out)
    });
    assert!(shown.contains("No space left"), "{shown}");
    let fsck = inside(&["fsck"]);
    assert_eq!(fsck.code, 0, "{} {}", fsck.out, fsck.err);
    let file = place.path("out.lucid");
    assert_eq!(
        inside(&["pack", &id, "--to", file.to_str().unwrap()]).code,
        0
    );
    assert_eq!(
        place
            .run(&["verify", "out.lucid", "--key", "auditor.key"])
            .code,
        16
    );
    place.read_file("out.lucid").last_picture();
}
