//! The targets file.

use std::fs;

use lucid_rdp::{Security, Trust, info::Credentials};
use lucid_recorder::{Home, RecorderError, target};
use tempfile::TempDir;

const PIN: &str = "0707070707070707070707070707070707070707070707070707070707070707";

fn home(targets: &str) -> (TempDir, Home) {
    let dir = TempDir::new().unwrap();
    let home = Home::open(dir.path()).unwrap();
    fs::write(home.targets(), targets).unwrap();
    (dir, home)
}

fn credentials(password: &str) -> Credentials {
    Credentials {
        username: "u".into(),
        domain: String::new(),
        password: password.to_owned().into(),
    }
}

#[test]
fn targets_are_read_with_their_credentials_and_trust() {
    let (_dir, home) = home(&format!(
        "[desk1]\naddress = \"10.0.0.5:3389\"\nuser = \"svc\"\ndomain = \"CORP\"\npassword_file = \"desk1.password\"\nsecurity = \"nla\"\npin = \"{PIN}\"\n\
         [desk2]\naddress = \"[2001:db8::1]:3390\"\nca = true\n[desk3]\naddress = \"desk3.example:3389\"\n"
    ));
    fs::write(
        home.root().join("desk1.password"),
        "secret with spaces \r\n",
    )
    .unwrap();
    let targets = target::load(&home).unwrap();
    let desk1 = &targets["desk1"];
    assert_eq!((desk1.host.as_str(), desk1.port), ("10.0.0.5", 3389));
    assert_eq!(
        (
            desk1.credentials.username.as_str(),
            desk1.credentials.domain.as_str()
        ),
        ("svc", "CORP")
    );
    assert_eq!(desk1.credentials.password.as_str(), "secret with spaces ");
    assert!(desk1.security == Security::Nla && matches!(desk1.trust, Trust::Pin(_)));
    assert_eq!(
        (targets["desk2"].host.as_str(), targets["desk2"].port),
        ("2001:db8::1", 3390)
    );
    assert!(targets["desk2"].trust == Trust::Authorities);
    assert!(
        targets["desk3"].trust == Trust::AskFirstUse && targets["desk3"].security == Security::Auto
    );
}

#[test]
fn a_home_without_targets_file_has_no_targets() {
    let dir = TempDir::new().unwrap();
    assert!(
        target::load(&Home::open(dir.path()).unwrap())
            .unwrap()
            .is_empty()
    );
}

#[test]
fn all_faults_of_a_targets_file_are_reported_at_once() {
    let (_dir, home) = home(
        "[a]\naddress = \"nowhere\"\n[b]\naddress = \"h:1\"\npassword_file = \"missing\"\n[c]\naddress = \"h:1\"\npin = \"12\"\n\
         [d]\naddress = \"h:1\"\npin = \"12\"\nca = true\n[e]\naddress = \"h:1\"\ntypo = 1\n[f]\nuser = \"x\"\n[g]\naddress = \"h:1\"\nsecurity = \"none\"\n\
         [h]\naddress = \"h:1\"\npassword_env = \"LUCID_TEST_NO_SUCH_VARIABLE\"\n[i]\naddress = \"h:1\"\npassword_file = \"x\"\npassword_env = \"y\"\n\
         [j]\naddress = \"2001:db8::1:3389\"\n[k]\naddress = \"h:99999\"\n[good]\naddress = \"h:1\"\n",
    );
    let RecorderError::Targets { faults, .. } = target::load(&home).unwrap_err() else {
        panic!("another error")
    };
    let parts = [
        ("[a] ", "'nowhere' is not HOST:PORT"),
        ("[b] ", "password_file"),
        ("[c] ", "pin: "),
        ("[d] ", "both pin and ca"),
        ("[e] ", "typo"),
        ("[f] ", "address"),
        ("[g] ", "none"),
        ("[h] ", "LUCID_TEST_NO_SUCH_VARIABLE is not set"),
        ("[i] ", "both password_file and password_env"),
        ("[j] ", "is not HOST:PORT"),
        ("[k] ", "is not HOST:PORT"),
    ];
    assert_eq!(faults.len(), parts.len(), "{faults:#?}");
    for (fault, (name, part)) in faults.iter().zip(parts) {
        assert!(fault.starts_with(name) && fault.contains(part), "{fault}");
    }
}

#[test]
fn a_file_that_is_no_toml_or_far_too_large_is_refused() {
    for text in ["[desk1\n", "address = ", &"#\n".repeat(1 << 20)] {
        let (_dir, home) = home(text);
        assert!(target::load(&home).is_err());
    }
}

#[test]
fn no_error_shows_a_password() {
    let (_dir, home) = home("[desk1]\naddress = \"h\"\npassword_file = \"p\"\n");
    fs::write(home.root().join("p"), "hunter2-hunter2").unwrap();
    let error = target::load(&home).unwrap_err();
    assert!(!format!("{error} {error:?}").contains("hunter2"));
    let (_, given) =
        target::from_argument("h:1", credentials("hunter2"), Trust::AskFirstUse).unwrap();
    assert!(!format!("{given:?}").contains("hunter2"));
}

#[test]
fn a_target_on_the_command_line_is_called_default_unless_named() {
    let read = |text| target::from_argument(text, credentials("x"), Trust::AskFirstUse);
    let (name, target) = read("10.0.0.5:3389").unwrap();
    assert_eq!(
        (name.as_str(), target.address().as_str()),
        ("default", "10.0.0.5:3389")
    );
    let (name, target) = read("desk1=[::1]:3389").unwrap();
    assert_eq!((name.as_str(), target.port), ("desk1", 3389));
    for bad in [
        "", "10.0.0.5", "desk1=", ":3389", "::1:3389", "h:0x1", "h:-1",
    ] {
        assert!(read(bad).is_err(), "{bad}");
    }
}

#[test]
fn pinning_keeps_the_rest_of_the_file_as_it_was() {
    let text = "# desks of floor 3\n[desk1]  # the window seat\naddress = \"10.0.0.5:3389\"\nuser = \"svc\"   # aligned\n\n[desk2]\naddress = \"10.0.0.6:3389\"\n";
    let (_dir, home) = home(text);
    target::set_pin(&home, "desk1", PIN).unwrap();
    let written = fs::read_to_string(home.targets()).unwrap();
    assert_eq!(written.replace(&format!("pin = \"{PIN}\"\n"), ""), text);
    assert!(matches!(
        target::load(&home).unwrap()["desk1"].trust,
        Trust::Pin(_)
    ));
    // Again, and for another.
    let other = PIN.replace("07", "08");
    target::set_pin(&home, "desk1", &other).unwrap();
    target::set_pin(&home, "desk2", &other).unwrap();
    let written = fs::read_to_string(home.targets()).unwrap();
    assert_eq!(written.replace(&format!("pin = \"{other}\"\n"), ""), text);
    let error = target::set_pin(&home, "desk9", PIN)
        .unwrap_err()
        .to_string();
    assert!(error.contains("there is no target [desk9]"), "{error}");
    use std::os::unix::fs::PermissionsExt;
    assert_eq!(
        fs::metadata(home.targets()).unwrap().permissions().mode() & 0o777,
        0o600
    );
}

#[test]
fn pins_set_at_once_are_all_kept() {
    let text: String = (0..12)
        .map(|n| format!("[desk{n}]\naddress = \"10.0.0.{n}:3389\"\n"))
        .collect();
    let (_dir, home) = home(&text);
    std::thread::scope(|scope| {
        for n in 0..12 {
            let home = &home;
            scope.spawn(move || target::set_pin(home, &format!("desk{n}"), PIN).unwrap());
        }
    });
    let targets = target::load(&home).unwrap();
    assert_eq!(targets.len(), 12);
    assert!(targets.values().all(|t| matches!(t.trust, Trust::Pin(_))));
}
