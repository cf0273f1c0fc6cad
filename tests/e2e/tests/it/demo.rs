//! `lucid demo`: the main job with nothing to configure.

use std::{fs, path::PathBuf};

use crate::support::Place;

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
    let verdict = place.json(&["verify", "made/demo.lucid"]);
    assert_eq!(verdict["complete"], true);
    // It keeps its hands off what is there already.
    assert_ne!(
        place.run(&["demo", "--seconds", "5", "--out", "made"]).code,
        0
    );
}
