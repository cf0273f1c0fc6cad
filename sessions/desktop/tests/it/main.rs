//! Real programs, so these take seconds. They need root and the packages of `scripts/setup`.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "helpers of tests are tests"
)]

use std::collections::HashSet;
use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use lucid_desktop::{
    Client, ClientOptions, Desktop, DesktopError, DesktopOptions, ShadowDesktop, ShadowOptions,
    Size,
};

const PICTURE: Duration = Duration::from_secs(60);

fn desktop(dir: &Path) -> Desktop {
    Desktop::start(&DesktopOptions::new(dir.join("desktop"))).unwrap()
}

fn client_of(desktop: &Desktop, dir: &Path) -> ClientOptions {
    ClientOptions::new(
        dir.join("client"),
        desktop.addr(),
        desktop.user(),
        desktop.password(),
    )
}

/// The processes whose entry in /proc says yes.
fn processes(matches: impl Fn(&Path) -> bool) -> Vec<PathBuf> {
    let entries = fs::read_dir("/proc")
        .unwrap()
        .flatten()
        .map(|entry| entry.path());
    entries.filter(|path| matches(path)).collect()
}

fn in_namespace(namespace: &Path) -> Vec<PathBuf> {
    processes(|process| fs::read_link(process.join("ns/pid")).is_ok_and(|link| link == namespace))
}

/// Whether a process was started with `word` in its command line or environment.
fn mentioning(word: &str) -> Vec<PathBuf> {
    let me = std::process::id().to_string();
    let has = |file: PathBuf| {
        fs::read(file).is_ok_and(|bytes| String::from_utf8_lossy(&bytes).contains(word))
    };
    processes(|process| {
        !process.ends_with(&me) && (has(process.join("cmdline")) || has(process.join("environ")))
    })
}

#[test]
fn a_client_sees_the_desktop_types_resizes_and_nothing_is_left() {
    let dir = tempfile::tempdir().unwrap();
    let desktop = desktop(dir.path());
    let namespace = desktop.process_namespace().unwrap();
    let mut options = client_of(&desktop, dir.path());
    options.dynamic_resolution = true;
    let mut client = Client::connect(&options).unwrap();
    client.wait_for_picture(PICTURE).unwrap();

    let (size, before) = client.screenshot_rgb().unwrap();
    assert_eq!(size, Size::XGA);
    let colours: HashSet<&[u8]> = before.chunks_exact(3).collect();
    assert!(colours.len() > 40, "{} colours", colours.len());
    client.screenshot(&dir.path().join("shot.png")).unwrap();
    assert!(
        fs::read(dir.path().join("shot.png"))
            .unwrap()
            .starts_with(b"\x89PNG")
    );

    client.mouse_click(300, 200).unwrap();
    client.type_text("echo typed >/tmp/proof\n").unwrap();
    let mut typed = Vec::new();
    for _ in 0..100 {
        typed = desktop
            .run_in_session("cat", &["/tmp/proof"])
            .unwrap_or_default();
        if !typed.is_empty() {
            break;
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    assert_eq!(typed, b"typed\n");

    let larger = Size {
        width: 1280,
        height: 960,
    };
    client.resize_window(larger).unwrap();
    client
        .wait_for("larger picture", PICTURE, |size, _| size == larger)
        .unwrap();
    client.wait_for_picture(PICTURE).unwrap();

    let home = options.dir.to_string_lossy().into_owned();
    assert!(
        in_namespace(&namespace).len() > 5,
        "xrdp, sesman, Xorg, openbox, xterm"
    );
    assert!(!mentioning(&home).is_empty());
    drop(client);
    assert_eq!(mentioning(&home), Vec::<PathBuf>::new());
    drop(desktop);
    assert_eq!(in_namespace(&namespace), Vec::<PathBuf>::new());
}

#[test]
fn two_desktops_run_side_by_side_and_the_clipboard_goes_both_ways() {
    let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (first, second) = (desktop(one.path()), desktop(two.path()));
    assert_ne!(first.addr(), second.addr());
    let mut clients = [(&first, one.path()), (&second, two.path())]
        .map(|(to, dir)| Client::connect(&client_of(to, dir)).unwrap());
    for client in &mut clients {
        client.wait_for_picture(PICTURE).unwrap();
    }

    let [client, _] = &mut clients;
    client.clipboard_set("from the client").unwrap();
    let mut pasted = Vec::new();
    for _ in 0..50 {
        pasted = first
            .run_in_session(
                "timeout",
                &["2", "xclip", "-selection", "clipboard", "-out"],
            )
            .unwrap_or_default();
        if pasted == b"from the client" {
            break;
        }
        std::thread::sleep(Duration::from_millis(200));
    }
    assert_eq!(String::from_utf8_lossy(&pasted), "from the client");

    first
        .run_in_session(
            "sh",
            &[
                "-c",
                "printf 'from the desktop' | xclip -selection clipboard -in >/dev/null 2>&1",
            ],
        )
        .unwrap();
    let mut copied = String::new();
    for _ in 0..50 {
        copied = client.clipboard_get().unwrap_or_default();
        if copied == "from the desktop" {
            break;
        }
        std::thread::sleep(Duration::from_millis(200));
    }
    assert_eq!(copied, "from the desktop");
}

#[test]
fn a_wrong_password_shows_no_desktop() {
    let dir = tempfile::tempdir().unwrap();
    let desktop = desktop(dir.path());
    let mut options = client_of(&desktop, dir.path());
    options.password = "wrong".into();
    let mut client = Client::connect(&options).unwrap();
    // xrdp shows its own login box then; the login service's log says why.
    let refused = client.wait_for_picture(Duration::from_secs(5)).unwrap_err();
    assert!(
        refused.to_string().starts_with("no picture after 5 s"),
        "{refused}"
    );
    assert!(refused.to_string().contains("xfreerdp.log"), "{refused}");
}

#[test]
fn network_level_authentication_lets_in_the_right_password_only() {
    let dir = tempfile::tempdir().unwrap();
    let shadow = ShadowDesktop::start(&ShadowOptions::new(dir.path().join("shadow"))).unwrap();
    let mut options = ClientOptions::new(
        dir.path().join("client"),
        shadow.addr(),
        shadow.user(),
        shadow.password(),
    );
    options.extra.push("/sec:nla".into());
    let mut client = Client::connect(&options).unwrap();
    client.wait_for_picture(PICTURE).unwrap();
    drop(client);

    options.password = "wrong".into();
    let mut client = Client::connect(&options).unwrap();
    let status = client
        .wait_for_exit(Duration::from_secs(30))
        .expect("a refused client ends");
    assert!(!status.success());
    assert!(
        client.output().unwrap().to_lowercase().contains("fail"),
        "{}",
        client.output().unwrap()
    );
    let refused = client.wait_for_picture(PICTURE).unwrap_err();
    assert!(matches!(refused, DesktopError::Ended { .. }), "{refused}");
}

#[test]
fn the_end_of_the_thread_that_started_it_does_not_end_a_client() {
    let dir = tempfile::tempdir().unwrap();
    let shadow = std::thread::scope(|scope| {
        let start =
            || ShadowDesktop::start(&ShadowOptions::new(dir.path().join("shadow"))).unwrap();
        scope.spawn(start).join().unwrap()
    });
    let mut options = ClientOptions::new(
        dir.path().join("client"),
        shadow.addr(),
        shadow.user(),
        shadow.password(),
    );
    options.extra.push("/sec:nla".into());
    Client::connect(&options)
        .unwrap()
        .wait_for_picture(PICTURE)
        .unwrap();
}

#[test]
fn nothing_is_left_when_the_program_is_killed() {
    let dir = tempfile::tempdir().unwrap();
    let mut program = Command::new(std::env::current_exe().unwrap())
        .args([
            "--ignored",
            "--exact",
            "--nocapture",
            "hold_a_desktop_and_a_client",
        ])
        .env("TMPDIR", dir.path())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(program.stdout.take().unwrap()).lines();
    let namespace = lines
        .map_while(Result::ok)
        .find_map(|line| line.strip_prefix("namespace ").map(PathBuf::from))
        .unwrap();
    let home = dir.path().to_string_lossy().into_owned();
    assert!(!in_namespace(&namespace).is_empty());
    assert!(!mentioning(&home).is_empty());

    program.kill().unwrap();
    program.wait().unwrap();
    for _ in 0..100 {
        if in_namespace(&namespace).is_empty() && mentioning(&home).is_empty() {
            return;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    panic!(
        "left: {:?} {:?}",
        in_namespace(&namespace),
        mentioning(&home)
    );
}

/// The program the test above kills.
#[test]
#[ignore = "runs until it is killed"]
fn hold_a_desktop_and_a_client() {
    let dir = tempfile::tempdir().unwrap();
    let desktop = desktop(dir.path());
    let mut client = Client::connect(&client_of(&desktop, dir.path())).unwrap();
    client.wait_for_picture(PICTURE).unwrap();
    println!(
        "namespace {}",
        desktop.process_namespace().unwrap().display()
    );
    std::thread::sleep(Duration::from_secs(600));
}
