//! `lucid demo`: the main job with nothing to configure.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    process::Stdio,
};

use crate::support::{Place, wait_for};

/// Processes with `word` in their environment or command line.
fn mentioning(word: &str) -> Vec<PathBuf> {
    let has = |path: PathBuf| {
        fs::read(path).is_ok_and(|bytes| String::from_utf8_lossy(&bytes).contains(word))
    };
    let processes = fs::read_dir("/proc").unwrap().flatten().map(|e| e.path());
    processes
        .filter(|p| has(p.join("environ")) || has(p.join("cmdline")))
        .collect()
}

/// The process namespaces of processes with `word` in their environment or command line, other than this one.
fn namespaces(word: &str) -> BTreeSet<PathBuf> {
    let of = |process: &Path| fs::read_link(process.join("ns/pid")).ok();
    let mine = of(Path::new("/proc/self")).unwrap();
    let found = mentioning(word);
    found
        .iter()
        .filter_map(|p| of(p))
        .filter(|namespace| *namespace != mine)
        .collect()
}

/// Processes in one of these namespaces.
fn inside(namespaces: &BTreeSet<PathBuf>) -> Vec<PathBuf> {
    let processes = fs::read_dir("/proc").unwrap().flatten().map(|e| e.path());
    let is_in =
        |p: &PathBuf| fs::read_link(p.join("ns/pid")).is_ok_and(|ns| namespaces.contains(&ns));
    processes.filter(is_in).collect()
}

#[test]
fn a_demo_that_is_killed_leaves_nothing_running_either() {
    let place = Place::new();
    let mark = format!("lucid-e2e-killed-{}", std::process::id());
    let temporary = place.path(&mark);
    fs::create_dir(&temporary).unwrap();
    let mut demo = place
        .command(&["demo", "--seconds", "60"])
        .env("TMPDIR", &temporary)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    // Until desktop and client are up.
    let namespaces = wait_for("the demo's client", || {
        let client = mentioning(&mark)
            .iter()
            .any(|p| fs::read_to_string(p.join("comm")).is_ok_and(|name| name == "xfreerdp\n"));
        client.then(|| namespaces(&mark))
    });
    assert!(
        inside(&namespaces).len() > 2,
        "xrdp, xrdp-sesman and their first process"
    );
    demo.kill().unwrap();
    demo.wait().unwrap();
    wait_for("everything it started to end", || {
        (mentioning(&mark).is_empty() && inside(&namespaces).is_empty()).then_some(())
    });
}

#[test]
fn the_demo_records_proves_and_leaves_nothing_running() {
    let place = Place::new();
    let mark = format!("lucid-e2e-demo-{}", std::process::id());
    let temporary = place.path(&mark);
    fs::create_dir(&temporary).unwrap();
    // Everything it starts inherits the mark, or has a folder of that name in its arguments.
    let output = place
        .command(&["demo", "--seconds", "5", "--out", "made"])
        .env("TMPDIR", &temporary)
        .output()
        .unwrap();
    let (out, err) = (
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
    assert_eq!(output.status.code(), Some(0), "{out}\n{err}");
    for part in [
        "complete and unchanged",
        "one bit flipped",
        "refused",
        "the proof is refused",
        "closed in block",
        "differ",
    ] {
        assert!(out.contains(part), "{part} is not in: {out}");
    }
    assert_eq!(mentioning(&mark), Vec::<PathBuf>::new());
    assert_eq!(
        fs::read_dir(&temporary).unwrap().count(),
        0,
        "nothing is left in the temporary folder"
    );
    for made in [
        "demo.lucid",
        "demo.lucidproof",
        "genesis.json",
        "demo.png",
        "demo.mp4",
        "demo-client.png",
        "auditor.key",
        "auditor.pub",
    ] {
        assert!(
            fs::metadata(place.path("made").join(made)).unwrap().len() > 100,
            "{made}"
        );
    }
    // Nothing else of the session or its chain is left.
    let verdict = place.json(&[
        "verify",
        "made/demo.lucid",
        "made/demo.lucidproof",
        "--genesis",
        "made/genesis.json",
    ]);
    assert_eq!(verdict["complete"], true);
    assert!(verdict["anchor"]["closed"]["height"].as_u64().unwrap() > 1);
    assert_eq!(verdict["anchor"]["not_fixed"], 0);
    // It keeps its hands off what is there already.
    assert_ne!(
        place.run(&["demo", "--seconds", "5", "--out", "made"]).code,
        0
    );
}
