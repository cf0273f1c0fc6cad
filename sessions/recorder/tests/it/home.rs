//! The home folder and the host's identity.

use std::{fs, os::unix::fs::PermissionsExt, sync::Barrier};

use lucid_recorder::{Home, RecorderError, write_new};
use tempfile::TempDir;

#[test]
fn only_its_owner_can_enter_it_and_read_the_identity() {
    let dir = TempDir::new().unwrap();
    let home = Home::open(&dir.path().join("a/b")).unwrap();
    home.identity().unwrap();
    let mode = |path: &std::path::Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(home.root()), 0o700);
    assert_eq!(mode(&home.root().join("identity.key")), 0o600);
}

#[test]
fn first_starts_at_once_agree_on_one_identity() {
    for _ in 0..20 {
        let dir = TempDir::new().unwrap();
        let home = Home::open(dir.path()).unwrap();
        let start = Barrier::new(8);
        let keys: Vec<_> = std::thread::scope(|scope| {
            let first = || {
                start.wait();
                home.identity().unwrap().public()
            };
            let all: Vec<_> = (0..8).map(|_| scope.spawn(first)).collect();
            all.into_iter().map(|t| t.join().unwrap()).collect()
        });
        assert!(keys.iter().all(|k| *k == keys[0]));
        assert_eq!(home.identity().unwrap().public(), keys[0]);
        assert_eq!(
            fs::read_dir(dir.path()).unwrap().count(),
            1,
            "no temporary files are left"
        );
    }
}

#[test]
fn a_damaged_identity_is_refused_and_never_replaced() {
    let dir = TempDir::new().unwrap();
    let home = Home::open(dir.path()).unwrap();
    let path = dir.path().join("identity.key");
    for text in ["", "00", &"zz".repeat(32), &"ab".repeat(33)] {
        fs::write(&path, text).unwrap();
        let error = home.identity().unwrap_err();
        assert!(matches!(error, RecorderError::Identity { .. }), "{error}");
        assert!(!error.to_string().contains("abab"), "{error}");
        assert_eq!(fs::read_to_string(&path).unwrap(), text);
    }
    fs::write(&path, [0xFF, 0xFE]).unwrap();
    assert!(home.identity().is_err());
}

#[test]
fn a_file_is_written_once_and_never_over_another() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("file");
    assert!(write_new(&path, b"first", 0o600).unwrap());
    assert!(!write_new(&path, b"second", 0o600).unwrap());
    assert_eq!(fs::read(&path).unwrap(), b"first");
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    assert!(write_new(&dir.path().join("missing/file"), b"", 0o600).is_err());
}
