//! The gateway is killed while somebody types.

use std::{
    thread,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use lucid_format::Stream;

use crate::support::{Gateway, PATIENCE, Place, is_a_desktop};

fn wall_us() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    u64::try_from(since.as_micros()).unwrap()
}

#[test]
fn a_gateway_killed_in_mid_typing_loses_two_seconds_at_most_and_the_recording_says_it_was_cut() {
    let place = Place::new();
    let desktop = place.desktop("desktop");
    place.trust_desktop("desk1", &desktop);
    let gateway = Gateway::start(&place);
    let (id, password) = place.mint("operator1", "desk1");
    let mut client =
        place.log_in(&place.client_options("client", &gateway, "operator1", &password));
    client.mouse_click(300, 200).unwrap();
    let killed_us = thread::scope(|scope| {
        // Some ten seconds of keys; the client goes away before they are all typed.
        let typing = scope.spawn(|| client.type_text(&"echo the quick brown fox; ".repeat(25)));
        thread::sleep(Duration::from_millis(4500));
        gateway.kill();
        let killed_us = wall_us();
        let _ = typing.join().unwrap();
        killed_us
    });
    assert!(
        client.wait_for_exit(PATIENCE).is_some(),
        "the client is cut off"
    );

    assert_eq!(place.state(&id), "unsealed");
    assert_eq!(
        place.run(&["verify", &id]).code,
        1,
        "what is not sealed proves nothing yet"
    );
    place.ok(&["session", "recover", &id]);
    let verdict = place.run(&["verify", &id, "--key", "auditor.key"]);
    assert_eq!(verdict.code, 16, "{}", verdict.err);
    assert!(
        verdict.out.contains("CUT") && verdict.out.contains("the host's key, at recovery"),
        "{}",
        verdict.out
    );
    place.wait_for_audit("session-recovered", "sealed as cut");

    let told = place.read(&id);
    let last_key = told
        .records
        .iter()
        .rev()
        .find(|r| r.1 == Stream::Input)
        .unwrap()
        .0;
    let lost_us = killed_us - (told.started_us + last_key);
    // Two seconds, and what a busy machine takes between a key and the gateway.
    assert!(
        lost_us < 2_500_000,
        "the last {lost_us} µs of typing are lost"
    );
    let (_, picture) = told.last_picture();
    assert!(is_a_desktop(&picture));
    // The last second can be exported, although a torn chunk does not say when it ended.
    let last = (last_key / 1_000_000).to_string();
    place.ok(&[
        "export",
        &id,
        "--key",
        "auditor.key",
        "--to",
        "last.png",
        "--from",
        &last,
    ]);
    place.ok(&[
        "disclose",
        &id,
        "--key",
        "auditor.key",
        "--to",
        "part.lucid",
        "--from",
        &last,
    ]);
    assert_eq!(place.run(&["verify", "part.lucid"]).code, 16);
    place.ok(&["fsck"]);
}

#[test]
fn a_gateway_that_starts_again_seals_what_the_dead_one_left() {
    let place = Place::new();
    let desktop = place.desktop("desktop");
    place.trust_desktop("desk1", &desktop);
    let gateway = Gateway::start(&place);
    let (id, password) = place.mint("operator1", "desk1");
    let client = place.log_in(&place.client_options("client", &gateway, "operator1", &password));
    thread::sleep(Duration::from_millis(1500));
    gateway.kill();
    drop(client);
    let gateway = Gateway::start(&place);
    assert_eq!(place.state(&id), "cut");
    assert_eq!(
        place.json(&["session", "show", &id])["summary"]["reason"],
        "the recorder died; sealed when the gateway started"
    );
    // The ticket of the dead session is used up, and a new one works.
    place.refused(&place.client_options("again", &gateway, "operator1", &password));
    let (id, password) = place.mint("operator1", "desk1");
    place
        .log_in(&place.client_options("new", &gateway, "operator1", &password))
        .disconnect()
        .unwrap();
    place.wait_for_state(&id, "closed");
}
