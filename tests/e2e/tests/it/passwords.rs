//! One-time passwords: wrong, of another user, expired. (Used again: see `recording` and `crash`.)

use std::{net::TcpListener, thread, time::Duration};

use crate::support::{Gateway, Place, Target};

#[test]
fn a_wrong_or_expired_password_is_refused_before_the_target_is_touched_and_the_audit_log_says_why()
{
    let place = Place::new();
    let target = TcpListener::bind("127.0.0.1:0").unwrap();
    target.set_nonblocking(true).unwrap();
    place.write_targets(&[Target {
        name: "desk1",
        addr: target.local_addr().unwrap(),
        user: "svc",
        password: "the-targets-own-secret",
        security: "tls",
    }]);
    // Pinned by hand: nobody answers there.
    let file = place.path("home/targets.toml");
    let text = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, format!("{text}pin = \"{}\"\n", "07".repeat(32))).unwrap();
    let gateway = Gateway::start(&place);
    let (id, right) = place.mint("operator1", "desk1");
    let expired = place.json(&[
        "session",
        "mint",
        "--user",
        "operator1",
        "--target",
        "desk1",
        "--valid-for",
        "1s",
    ]);
    let expired = expired["password"].as_str().unwrap().to_owned();
    thread::sleep(Duration::from_millis(1200));
    let (_, nowhere) = place.mint("operator1", "desk9");

    let cases = [
        (
            "guessed",
            "operator1",
            "aaaaa-bbbbb-ccccc-ddddd",
            "no ticket for this user and one-time password",
        ),
        ("empty", "operator1", "", "no ticket"),
        ("stolen", "mallory", &right, "user 'mallory': no ticket"),
        ("expired", "operator1", &expired, "expired"),
        (
            "nowhere",
            "operator1",
            &nowhere,
            "target 'desk9' is unknown; the gateway knows: desk1",
        ),
    ];
    for (name, user, password, why) in cases {
        let said = place.refused(&place.client_options(name, &gateway, user, password));
        let expected = if name == "nowhere" {
            "ERRINFO"
        } else {
            "ERRINFO_SERVER_DENIED_CONNECTION"
        };
        assert!(said.contains(expected), "{name}: {said}");
        let entry = place.wait_for_audit("client-refused", why);
        assert_eq!(entry["user"], user);
        assert!(
            entry["peer"].as_str().unwrap().starts_with("127.0.0.1:"),
            "{entry}"
        );
        assert!(gateway.said().contains(why), "the log says so too");
    }
    assert!(target.accept().is_err(), "the target was not touched");
    let secrets = [
        right.as_str(),
        &expired,
        &nowhere,
        "aaaaa-bbbbb-ccccc-ddddd",
        "the-targets-own-secret",
    ];
    assert_eq!(place.files_with(&secrets), Vec::<String>::new());
    // None of it used up the ticket of who is expected.
    let tickets = place.json(&["session", "list"])["tickets"].clone();
    assert!(
        tickets
            .as_array()
            .unwrap()
            .iter()
            .any(|t| t["session"] == id.as_str())
    );
}
