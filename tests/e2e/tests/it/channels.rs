//! The clipboard: closed until it is opened, and only for so long.

use std::{thread, time::Duration};

use lucid_desktop::{Client, Desktop};
use lucid_format::{Marker, Stream};

use crate::support::{Gateway, Place, wait_for};

fn paste_on_desktop(desktop: &Desktop) -> String {
    let got = desktop.run_in_session("timeout", &["5", "xclip", "-selection", "clipboard", "-o"]);
    got.map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
        .unwrap_or_default()
}

fn copy_on_desktop(desktop: &Desktop, text: &str) {
    let script =
        format!("printf %s '{text}' | setsid xclip -selection clipboard -i >/dev/null 2>&1");
    desktop.run_in_session("sh", &["-c", &script]).unwrap();
}

fn crosses(client: &mut Client, desktop: &Desktop, there: &str, back: &str) -> (bool, bool) {
    client.clipboard_set(there).unwrap();
    thread::sleep(Duration::from_millis(1500));
    let went = paste_on_desktop(desktop) == there;
    copy_on_desktop(desktop, back);
    thread::sleep(Duration::from_millis(1500));
    (went, client.clipboard_get().unwrap_or_default() == back)
}

#[test]
fn the_clipboard_is_closed_both_ways_until_it_is_allowed_and_closes_again_and_all_of_it_is_recorded()
 {
    let place = Place::new();
    let desktop = place.desktop("desktop");
    place.trust_desktop("desk1", &desktop);
    let gateway = Gateway::start(&place);
    let (id, password) = place.mint("operator1", "desk1");
    let mut client =
        place.log_in(&place.client_options("client", &gateway, "operator1", &password));
    thread::sleep(Duration::from_secs(2));
    assert_eq!(
        crosses(&mut client, &desktop, "in-denied", "out-denied"),
        (false, false)
    );

    let told = place.ok(&["session", "allow", &id, "clipboard", "--for", "12s"]);
    assert!(told.contains("open for 12 s"), "{told}");
    client.clipboard_set("in-allowed").unwrap();
    wait_for("the allowed text on the desktop", || {
        (paste_on_desktop(&desktop) == "in-allowed").then_some(())
    });
    copy_on_desktop(&desktop, "out-allowed");
    wait_for("the allowed text on the client", || {
        (client.clipboard_get().unwrap_or_default() == "out-allowed").then_some(())
    });
    thread::sleep(Duration::from_secs(12));
    assert_eq!(
        crosses(&mut client, &desktop, "in-too-late", "out-too-late"),
        (false, false)
    );

    // Longer than policyTimeoutMs is cut; a channel that is no channel is refused; closing before its time works.
    let told = place.ok(&["session", "allow", &id, "drives", "--for", "1day"]);
    assert!(told.contains("open for 300 s"), "{told}");
    place.ok(&["session", "deny", &id, "drives"]);
    let wrong = place.run(&["session", "allow", &id, "telepathy"]);
    assert!(
        wrong.code != 0 && wrong.err.contains("telepathy"),
        "{}",
        wrong.err
    );
    client.disconnect().unwrap();
    place.wait_for_state(&id, "closed");

    let told = place.read(&id);
    let markers = told.markers();
    for (permission, to_desktop) in [("clipboard-in", true), ("clipboard-out", false)] {
        let denied = |m: &Marker| matches!(m, Marker::ChannelDenied { permission: p, to_desktop: d, count } if p == permission && *d == to_desktop && *count > 0);
        let granted = |m: &Marker| matches!(m, Marker::Granted { permission: p, for_ms: 12_000, by } if p == permission && by == "tester");
        let used = |m: &Marker| matches!(m, Marker::Note { text } if *text == format!("the grant of {permission} was used"));
        let ended =
            |m: &Marker| matches!(m, Marker::GrantEnded { permission: p } if p == permission);
        let order: Vec<usize> = [&denied as &dyn Fn(&Marker) -> bool, &granted, &used, &ended]
            .iter()
            .map(|is| {
                markers
                    .iter()
                    .position(is)
                    .unwrap_or_else(|| panic!("{permission}: {markers:#?}"))
            })
            .collect();
        assert!(order.is_sorted(), "{permission}: {markers:#?}");
    }
    assert!(markers.iter().any(|m| matches!(m, Marker::Granted { permission, for_ms: 300_000, .. } if permission == "drives")));
    assert!(told.mentions("in-allowed") && told.mentions("out-allowed"));
    assert!(
        told.records
            .iter()
            .any(|r| r.1 == Stream::Clipboard && r.2[0] == 0)
    );
    assert!(
        told.records
            .iter()
            .any(|r| r.1 == Stream::Clipboard && r.2[0] == 1)
    );
    for text in ["in-denied", "out-denied", "in-too-late", "out-too-late"] {
        assert!(!told.mentions(text), "{text} did not pass, and is not kept");
    }
    place.wait_for_audit("channel-allowed", "clipboard is open for 12 s");
}
