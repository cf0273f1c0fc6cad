//! Targets with network level authentication, and targets that are not as they should be.

use std::{
    io,
    net::{SocketAddr, TcpListener, TcpStream},
    thread,
};

use lucid_desktop::{Desktop, DesktopOptions, Security, ShadowDesktop, ShadowOptions};

use crate::support::{Gateway, Place, Target, is_a_desktop, settled};

#[test]
fn an_nla_target_gets_the_injected_credentials_and_the_client_never_sees_them() {
    let place = Place::new();
    let desktop = ShadowDesktop::start(&ShadowOptions::new(place.path("shadow"))).unwrap();
    let target = |name, password| Target {
        name,
        addr: desktop.addr(),
        user: desktop.user(),
        password,
        security: "nla",
    };
    place.trust_targets(&[
        target("desk1", desktop.password()),
        target("wrong", "not-the-password"),
    ]);
    // Even the wordiest log has no secrets.
    let gateway = Gateway::start_with(&place, |command| {
        command.env("LUCID_LOG", "trace");
    });
    let (id, password) = place.mint("operator1", "desk1");
    let client = place.log_in(&place.client_options("client", &gateway, "operator1", &password));
    let (_, seen) = settled(&client);
    assert!(is_a_desktop(&seen));
    let said = client.disconnect().unwrap();
    assert!(!said.contains(desktop.password()));
    place.wait_for_state(&id, "closed");
    assert!(is_a_desktop(&place.read(&id).last_picture().1));

    let (id, password) = place.mint("operator1", "wrong");
    let said = place.refused(&place.client_options("wrong", &gateway, "operator1", &password));
    assert!(!said.contains("not-the-password"), "{said}");
    let entry = place.wait_for_audit(
        "target-failed",
        "check user and password in the target file",
    );
    assert_eq!(entry["session"], id.as_str());
    assert_eq!(place.state(&id), "none", "nothing was recorded");
    assert!(gateway.said().contains(" DEBUG "));
    let secrets = [desktop.password(), "not-the-password", &password];
    assert_eq!(place.files_with(&secrets), Vec::<String>::new());
}

/// Passes connections on to `to`, on a port of its own, from when it is started.
fn forward(listener: TcpListener, to: SocketAddr) {
    thread::spawn(move || {
        for one in listener.incoming().flatten() {
            let Ok(other) = TcpStream::connect(to) else {
                return;
            };
            for (mut from, mut into) in [
                (one.try_clone().unwrap(), other.try_clone().unwrap()),
                (other, one),
            ] {
                thread::spawn(move || io::copy(&mut from, &mut into));
            }
        }
    });
}

#[test]
fn a_target_that_is_down_or_without_tls_or_unknown_or_another_is_refused_and_named() {
    let place = Place::new();
    let desktop = place.desktop("desktop");
    let mut options = DesktopOptions::new(place.path("old"));
    options.security = Security::Rdp;
    let old = Desktop::start(&options).unwrap();
    let closed = TcpListener::bind("127.0.0.1:0").unwrap();
    let (closed_addr, unknown_addr) = (
        closed.local_addr().unwrap(),
        TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap(),
    );
    drop(closed);
    let target = |name, addr| Target {
        name,
        addr,
        user: desktop.user(),
        password: desktop.password(),
        security: "auto",
    };
    place.write_targets(&[
        target("unknown", unknown_addr),
        target("down", closed_addr),
        target("old", old.addr()),
        target("other", desktop.addr()),
    ]);
    let file = place.path("home/targets.toml");
    let text = std::fs::read_to_string(&file).unwrap();
    let pin = format!("pin = \"{}\"\n", "07".repeat(32));
    let pinned: String = text
        .split_inclusive('\n')
        .flat_map(|line| {
            let pin = if line == "[down]\n" || line == "[old]\n" || line == "[other]\n" {
                pin.as_str()
            } else {
                ""
            };
            [line, pin]
        })
        .collect();
    std::fs::write(&file, pinned).unwrap();
    let gateway = Gateway::start(&place);
    // It was down when the gateway wanted to know its certificate, and now shows one that nobody vouched for.
    forward(TcpListener::bind(unknown_addr).unwrap(), desktop.addr());
    for (name, why) in [
        ("unknown", "shows the unknown certificate"),
        ("down", "cannot be reached"),
        ("old", "refuses TLS or network level authentication"),
        ("other", "not the pinned 07:07"),
    ] {
        let (id, password) = place.mint("operator1", name);
        let said = place.refused(&place.client_options(name, &gateway, "operator1", &password));
        assert!(said.contains("ERRINFO"), "{name}: {said}");
        let entry = place.wait_for_audit("target-failed", why);
        assert_eq!(
            (&entry["session"], &entry["user"]),
            (&id.as_str().into(), &"operator1".into())
        );
        assert!(gateway.said().contains(why), "the log says so too");
        assert_eq!(place.state(&id), "none");
    }
    assert_eq!(
        place.files_with(&[desktop.password()]),
        Vec::<String>::new()
    );

    // A certificate nobody vouched for, and nobody to ask: the gateway does not start.
    place.write_targets(&[target("desk1", desktop.addr())]);
    let refused = place.run(&[
        "gateway",
        "--listen",
        "127.0.0.1:0",
        "--recipient",
        "auditor.pub",
        "--home",
        "home",
    ]);
    assert_eq!(refused.code, 2);
    assert!(
        refused.err.contains("lucid target trust desk1")
            && refused.err.contains("nobody can be asked"),
        "{}",
        refused.err
    );
}
