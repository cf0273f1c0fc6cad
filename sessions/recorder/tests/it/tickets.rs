//! Tickets are used once, by who has the password, and give nothing away.

use std::{fs, path::Path, sync::Barrier};

use lucid_recorder::{
    Home, RecorderError,
    ticket::{self, MintRequest, Minted},
};
use tempfile::TempDir;

const MINUTE: u64 = 60_000_000;
const NOW: u64 = 1_800_000_000_000_000;

fn request(user: &str) -> MintRequest {
    MintRequest {
        user: user.into(),
        target: "desk1".into(),
        valid_for_s: 600,
        policy: "every channel closed".into(),
    }
}

fn home() -> (TempDir, Home) {
    let dir = TempDir::new().unwrap();
    let home = Home::open(&dir.path().join("home")).unwrap();
    (dir, home)
}

fn mint(home: &Home) -> Minted {
    ticket::mint(home, &request("operator1"), NOW).unwrap()
}

fn only_ticket(home: &Home) -> std::path::PathBuf {
    let mut tickets = fs::read_dir(home.tickets())
        .unwrap()
        .map(|e| e.unwrap().path());
    tickets.find(|p| p.is_file()).unwrap()
}

/// Every file under a folder.
fn files(dir: &Path) -> Vec<std::path::PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path));
        } else {
            found.push(path);
        }
    }
    found
}

#[test]
fn a_ticket_gives_the_session_and_its_key_to_who_has_the_password() {
    let (_dir, home) = home();
    let minted = mint(&home);
    let claimed = ticket::claim(&home, "operator1", &minted.password, NOW + MINUTE).unwrap();
    assert_eq!(claimed.ticket, minted.ticket);
    assert_eq!(claimed.session_key.public(), minted.ticket.session_key);
    assert_eq!(claimed.ticket.host_key, home.identity().unwrap().public());
}

#[test]
fn a_claim_erases_the_key_so_that_nobody_signs_as_the_session_again() {
    let (_dir, home) = home();
    let minted = mint(&home);
    let ticket = only_ticket(&home);
    assert!(fs::read_to_string(&ticket).unwrap().contains("masked_key"));
    ticket::claim(&home, "operator1", &minted.password, NOW + MINUTE).unwrap();
    let used = files(&home.tickets());
    assert_eq!(used.len(), 1);
    assert!(!fs::read_to_string(&used[0]).unwrap().contains("masked_key"));

    // Put back by hand, the file is of no use to who has the password.
    fs::rename(&used[0], &ticket).unwrap();
    let again = ticket::claim(&home, "operator1", &minted.password, NOW + MINUTE);
    assert!(again.unwrap_err().to_string().contains("its key is gone"));
}

#[test]
fn of_sixteen_who_come_at_once_one_gets_in() {
    let (_dir, home) = home();
    for _ in 0..20 {
        let minted = mint(&home);
        let start = Barrier::new(16);
        let outcomes: Vec<Result<_, RecorderError>> = std::thread::scope(|scope| {
            let claim = || {
                start.wait();
                ticket::claim(&home, "operator1", &minted.password, NOW)
            };
            let all: Vec<_> = (0..16).map(|_| scope.spawn(claim)).collect();
            all.into_iter().map(|t| t.join().unwrap()).collect()
        });
        assert_eq!(outcomes.iter().filter(|o| o.is_ok()).count(), 1);
        for error in outcomes.into_iter().filter_map(Result::err) {
            assert!(
                matches!(error, RecorderError::UsedTicket { session, .. } if session == minted.ticket.session),
                "{error}"
            );
        }
    }
}

#[test]
fn a_used_ticket_stays_used_after_a_restart() {
    let (dir, home) = home();
    let minted = mint(&home);
    ticket::claim(&home, "operator1", &minted.password, NOW).unwrap();
    let home = Home::open(&dir.path().join("home")).unwrap();
    let error = ticket::claim(&home, "operator1", &minted.password, NOW)
        .unwrap_err()
        .to_string();
    let id = minted.ticket.session;
    assert_eq!(
        error,
        format!(
            "user 'operator1': the one-time password was used already for session {id}; mint another"
        )
    );
}

#[test]
fn an_expired_ticket_is_refused_and_used_up() {
    let (_dir, home) = home();
    let minted = mint(&home);
    let error = ticket::claim(&home, "operator1", &minted.password, NOW + 610_000_000).unwrap_err();
    assert!(
        error.to_string().contains("expired 10 s ago; mint another"),
        "{error}"
    );
    let error = ticket::claim(&home, "operator1", &minted.password, NOW).unwrap_err();
    assert!(
        matches!(error, RecorderError::UsedTicket { .. }),
        "turning the clock back does not help: {error}"
    );
}

#[test]
fn a_wrong_password_or_user_is_unknown_and_uses_nothing_up() {
    let (_dir, home) = home();
    let minted = mint(&home);
    let right = minted.password.as_str();
    let close = format!("{}a", &right[..right.len() - 1]);
    for (user, password) in [
        ("operator2", right),
        ("operator1", ""),
        ("operator1", "../../identity.key"),
        ("operator1", &close),
        ("", right),
    ] {
        if password == right && user == "operator1" {
            continue;
        }
        let error = ticket::claim(&home, user, password, NOW).unwrap_err();
        let expected = format!(
            "user '{user}': no ticket for this user and one-time password; mint one with 'lucid session mint --user {user}'"
        );
        assert_eq!(error.to_string(), expected);
    }
    ticket::claim(&home, "operator1", right, NOW).unwrap();
}

#[test]
fn the_border_of_user_and_password_is_part_of_the_ticket() {
    let (_dir, home) = home();
    let minted = ticket::mint(&home, &request("ab"), NOW).unwrap();
    let shifted = format!("b{}", minted.password.as_str());
    assert!(ticket::claim(&home, "a", &shifted, NOW).is_err());
    assert!(ticket::claim(&home, "ab", &minted.password, NOW).is_ok());
}

#[test]
fn a_damaged_ticket_is_refused_by_name_whatever_was_changed() {
    let fields = |text: &str| -> Vec<(usize, u8)> {
        // One letter in each field's value, and the braces.
        text.match_indices(": \"")
            .map(|(at, _)| at + 5)
            .chain([0])
            .map(|at| (at, text.as_bytes()[at]))
            .collect()
    };
    let (_dir, home) = home();
    mint(&home);
    let count = fields(&fs::read_to_string(only_ticket(&home)).unwrap()).len();
    fs::remove_file(only_ticket(&home)).unwrap();
    for nth in 0..count {
        let minted = mint(&home);
        let path = only_ticket(&home);
        let mut text = fs::read_to_string(&path).unwrap();
        let (at, old) = fields(&text)[nth];
        text.replace_range(at..=at, if old == b'A' { "B" } else { "A" });
        fs::write(&path, text).unwrap();
        let error = ticket::claim(&home, "operator1", &minted.password, NOW).unwrap_err();
        let text = error.to_string();
        assert!(
            text.contains("ticket") && !text.contains(minted.password.as_str()),
            "{text}"
        );
    }
    for bytes in [
        &b""[..],
        b"{}",
        b"null",
        &[0xFF; 100],
        &vec![b' '; 20 << 10],
    ] {
        let minted = mint(&home);
        fs::write(only_ticket(&home), bytes).unwrap();
        let error = ticket::claim(&home, "operator1", &minted.password, NOW).unwrap_err();
        assert!(!error.to_string().contains('\n'), "{error}");
    }
}

#[test]
fn a_ticket_of_another_host_is_refused() {
    let (dir, home) = home();
    let minted = mint(&home);
    let other = Home::open(&dir.path().join("other")).unwrap();
    mint(&other);
    fs::copy(
        only_ticket(&home),
        other
            .tickets()
            .join(only_ticket(&home).file_name().unwrap()),
    )
    .unwrap();
    let error = ticket::claim(&other, "operator1", &minted.password, NOW)
        .unwrap_err()
        .to_string();
    assert!(error.contains("another host minted it"), "{error}");
}

#[test]
fn neither_password_nor_session_key_is_anywhere_in_the_home_folder() {
    let (_dir, home) = home();
    let minted = mint(&home);
    for claimed in [false, true] {
        let mut secrets = vec![
            minted.password.as_bytes().to_vec(),
            minted.password.replace('-', "").into_bytes(),
        ];
        if claimed {
            let key = ticket::claim(&home, "operator1", &minted.password, NOW)
                .unwrap()
                .session_key
                .secret();
            secrets.push(key.to_vec());
            secrets.push(data_encoding::HEXLOWER.encode(key.as_ref()).into_bytes());
            secrets
                .push(data_encoding::BASE64_NOPAD.encode(key.as_ref()).as_bytes()[..40].to_vec());
        }
        for file in files(home.root()) {
            let bytes = fs::read(&file).unwrap();
            for secret in &secrets {
                assert!(
                    !bytes.windows(secret.len()).any(|w| w == secret),
                    "{}",
                    file.display()
                );
            }
        }
    }
}

#[test]
fn passwords_differ_and_are_twenty_letters_and_digits() {
    let (_dir, home) = home();
    let all: std::collections::BTreeSet<String> =
        (0..50).map(|_| mint(&home).password.to_string()).collect();
    assert_eq!(all.len(), 50);
    for password in all {
        assert_eq!(
            password.split('-').map(str::len).collect::<Vec<_>>(),
            [5; 4]
        );
        assert!(
            password
                .bytes()
                .all(|b| b == b'-' || matches!(b, b'a'..=b'z' | b'2'..=b'7')),
            "{password}"
        );
    }
}

#[test]
fn outstanding_lists_what_can_still_be_used_soonest_first() {
    let (_dir, home) = home();
    assert!(ticket::outstanding(&home, NOW).unwrap().is_empty());
    let minted: Vec<Minted> = [300, 100, 200]
        .map(|valid_for_s| {
            ticket::mint(
                &home,
                &MintRequest {
                    valid_for_s,
                    ..request("operator1")
                },
                NOW,
            )
            .unwrap()
        })
        .into();
    ticket::claim(&home, "operator1", &minted[0].password, NOW).unwrap();
    fs::write(home.tickets().join("damaged.ticket"), "{").unwrap();
    let ids = |now| -> Vec<String> {
        ticket::outstanding(&home, now)
            .unwrap()
            .into_iter()
            .map(|t| t.session)
            .collect()
    };
    let name = |nth: usize| minted[nth].ticket.session.to_string();
    assert_eq!(ids(NOW), [name(1), name(2)]);
    assert_eq!(ids(NOW + 150_000_000), [name(2)]);
}

#[test]
fn a_user_name_too_long_for_a_recording_is_not_minted() {
    let (_dir, home) = home();
    let error = ticket::mint(&home, &request(&"x".repeat(5000)), NOW).unwrap_err();
    assert!(!error.to_string().contains('\n'));
    assert!(ticket::outstanding(&home, NOW).unwrap().is_empty());
}
