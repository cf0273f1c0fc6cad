//! Several sessions at once: listed, shown, watched, resized, ended.

use std::{fs::File, process::Stdio, thread, time::Duration};

use lucid_desktop::Size;
use lucid_format::{Marker, Stream};
use serde_json::Value;

use crate::support::{Gateway, PATIENCE, Place, Target, differing, settled, wait_for};

#[test]
fn two_sessions_on_two_desktops_are_recorded_apart_and_each_can_be_watched_and_ended() {
    let place = Place::new();
    let (one, two) = (place.desktop("one"), place.desktop("two"));
    place.trust_targets(&[
        Target {
            name: "desk1",
            addr: one.addr(),
            user: one.user(),
            password: one.password(),
            security: "tls",
        },
        Target {
            name: "desk2",
            addr: two.addr(),
            user: two.user(),
            password: two.password(),
            security: "tls",
        },
    ]);
    let gateway = Gateway::start_with(&place, |command| {
        command.env("LUCID_GATEWAY_MAX_SESSIONS", "2");
    });
    let (id1, password1) = place.mint("operator1", "desk1");
    let (id2, password2) = place.mint("operator2", "desk2");
    let mut options = place.client_options("client1", &gateway, "operator1", &password1);
    options.dynamic_resolution = true;
    let mut client1 = place.log_in(&options);
    let mut client2 =
        place.log_in(&place.client_options("client2", &gateway, "operator2", &password2));

    // One home folder has one gateway.
    let second = place.run(&[
        "gateway",
        "--listen",
        "127.0.0.1:0",
        "--recipient",
        "auditor.pub",
    ]);
    assert!(
        second.code != 0 && second.err.contains("a gateway runs in"),
        "{}",
        second.err
    );

    // Both are listed; a third is one too many.
    let live = place.json(&["session", "list"])["live"].clone();
    let mut users: Vec<&str> = live
        .as_array()
        .unwrap()
        .iter()
        .map(|l| l["user"].as_str().unwrap())
        .collect();
    users.sort_unstable();
    assert_eq!(users, ["operator1", "operator2"]);
    assert_eq!(place.state(&id1), "live");
    assert!(place.ok(&["session", "list"]).contains("recording"));
    assert!(
        place
            .ok(&["session", "show", &id1])
            .contains("operator1 on desk1")
    );
    let (_, password3) = place.mint("operator3", "desk1");
    place.refused(&place.client_options("client3", &gateway, "operator3", &password3));
    place.wait_for_audit(
        "client-refused",
        "2 sessions are running, which is the limit",
    );

    let watched = place.path("watched");
    let mut watch = place
        .command(&["session", "watch", &id2, "--json"])
        .stdout(Stdio::from(File::create(&watched).unwrap()))
        .spawn()
        .unwrap();

    // The first one's desktop follows its window.
    let larger = Size {
        width: 1280,
        height: 900,
    };
    client1.resize_window(larger).unwrap();
    client1
        .wait_for("larger picture", PATIENCE, |size, _| size == larger)
        .unwrap();
    client1.wait_for_picture(PATIENCE).unwrap();
    client1.mouse_click(300, 200).unwrap();
    client1
        .type_text("echo only on the first desktop\n")
        .unwrap();
    let (size, seen) = settled(&client1);

    // The second is ended by the operator. The first goes on.
    let said = place.ok(&["session", "end", &id2, "--reason", "the shift is over"]);
    assert!(said.contains("ending"), "{said}");
    assert!(
        client2.wait_for_exit(PATIENCE).is_some(),
        "the client is told"
    );
    assert!(
        client2
            .output()
            .unwrap()
            .contains("ERRINFO_RPC_INITIATED_DISCONNECT")
    );
    place.wait_for_state(&id2, "closed");
    let status = wait_for("the watcher to end with its session", || {
        watch.try_wait().unwrap()
    });
    assert!(status.success());
    let events: Vec<Value> = std::fs::read_to_string(&watched)
        .unwrap()
        .lines()
        .map(|l| serde_json::from_str(l).unwrap())
        .collect();
    assert_eq!(events.first().unwrap()["event"], "chunks");
    let last = events.last().unwrap();
    assert_eq!(last["event"], "ended");
    assert!(
        last["reason"]
            .as_str()
            .unwrap()
            .contains("the shift is over"),
        "{last}"
    );
    assert_eq!(place.state(&id1), "live");
    let again = place.run(&["session", "end", &id2]);
    assert!(
        again.code != 0 && again.err.contains("is not running here"),
        "{}",
        again.err
    );

    // Ctrl-C ends the rest in order.
    thread::sleep(Duration::from_millis(300));
    assert!(gateway.stop().success());
    assert!(client1.wait_for_exit(PATIENCE).is_some());
    assert_eq!(place.state(&id1), "closed");

    let first = place.read(&id1);
    let (recorded_size, recorded) = first.last_picture();
    assert_eq!(recorded_size, size);
    assert_eq!(size, larger);
    assert_eq!(differing(&recorded, &seen), 0);
    assert!(first.count(Stream::Resize) >= 2);
    assert!(
        first.reason.contains("the gateway is stopping"),
        "{}",
        first.reason
    );
    let second = place.read(&id2);
    assert!(
        second.reason.contains("the shift is over"),
        "{}",
        second.reason
    );
    assert!(
        matches!(second.markers().last(), Some(Marker::Ended { reason, .. }) if reason.contains("the shift is over"))
    );
    for id in [&id1, &id2] {
        assert_eq!(
            place.json(&["verify", id, "--key", "auditor.key"])["complete"],
            true
        );
    }
}
