use std::path::Path;
use std::time::{Duration, Instant};

use lucid_desktop::{
    Client, ClientOptions, Desktop, DesktopOptions, ShadowDesktop, ShadowOptions, Size,
};
use lucid_format::Stream;
use lucid_rdp::tap::What;
use lucid_rdp::wire::{self, Mcs};
use lucid_rdp::{EndReason, Fingerprint, Permission, Security, Trust};

use crate::gateway::{Gateway, ONE_TIME, pinned, target};

const PICTURE: Duration = Duration::from_secs(60);

fn desktop(dir: &Path) -> Desktop {
    Desktop::start(&DesktopOptions::new(dir.join("desktop"))).unwrap()
}

fn gateway_to(desktop: &Desktop) -> Gateway {
    Gateway::start(pinned(target(
        desktop.addr(),
        desktop.user(),
        desktop.password(),
        Security::Tls,
    )))
}

fn client_options(gateway: &Gateway, dir: &Path) -> ClientOptions {
    ClientOptions::new(dir.join("client"), gateway.addr, "operator1", ONE_TIME)
}

fn end_of(gateway: &Gateway) -> EndReason {
    gateway.wait_for("end", |s| s.ends.last().map(|end| end.reason.clone()))
}

/// Frames with bitmap updates in what the client was sent: freerdp-shadow-cli draws on the fast path, xrdp, when it may
/// not use orders, on the slow one.
fn bitmap_updates(gateway: &Gateway) -> usize {
    let draws = |frame: &[u8]| {
        if wire::is_fast_path(frame) {
            return wire::fast_path_updates(frame)
                .unwrap()
                .iter()
                .any(|update| update.code == 1);
        }
        let Ok(Mcs::SendDataIndication(header)) = wire::parse_mcs(frame) else {
            return false;
        };
        let data = &frame[header.data];
        header.channel == 1003
            && data.len() > 20
            && data[2] == 0x17
            && data[14] == 2
            && data[18] == 1
    };
    gateway.seen(|s| {
        s.payloads(Stream::PduOut)
            .filter(|frame| draws(frame))
            .count()
    })
}

#[test]
fn a_tls_session_shows_the_desktop_and_its_record_has_input_pictures_and_no_password() {
    let dir = tempfile::tempdir().unwrap();
    let desktop = desktop(dir.path());
    let gateway = gateway_to(&desktop);
    let mut client = Client::connect(&client_options(&gateway, dir.path())).unwrap();
    client.wait_for_picture(PICTURE).unwrap();
    client.mouse_click(300, 200).unwrap();
    client.type_text("touch /tmp/typed-here\n").unwrap();
    let typed = Instant::now() + Duration::from_secs(20);
    while desktop
        .run_in_session("test", &["-e", "/tmp/typed-here"])
        .is_err()
    {
        assert!(
            Instant::now() < typed,
            "what was typed did not reach the desktop"
        );
        std::thread::sleep(Duration::from_millis(100));
    }
    client.disconnect().unwrap();
    assert_eq!(end_of(&gateway), EndReason::ClientClosed);

    assert!(bitmap_updates(&gateway) > 0);
    gateway.seen(|s| {
        assert_eq!(s.sizes(), [(1024, 768)]);
        assert!(s.payloads(Stream::Input).count() > 20);
        let wide: Vec<u8> = desktop
            .user()
            .encode_utf16()
            .flat_map(u16::to_le_bytes)
            .collect();
        let info = s.payloads(Stream::PduIn).next().unwrap();
        assert!(
            info.windows(wide.len()).any(|w| w == wide),
            "the first record is the client info, with its user"
        );
        assert!(!s.records_contain(ONE_TIME));
        assert!(!s.records_contain(desktop.password()));
        assert!(s.events.is_sorted_by_key(|event| event.time_us));
        assert_eq!(
            s.events.last().unwrap().what,
            What::Ended {
                reason: EndReason::ClientClosed
            }
        );
    });
}

#[test]
fn an_nla_target_takes_the_injected_credentials_and_a_wrong_password_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let desktop = ShadowDesktop::start(&ShadowOptions::new(dir.path().join("shadow"))).unwrap();
    for security in [Security::Nla, Security::Auto] {
        let gateway = Gateway::start(pinned(target(
            desktop.addr(),
            desktop.user(),
            desktop.password(),
            security,
        )));
        let mut client = Client::connect(&client_options(&gateway, dir.path())).unwrap();
        client.wait_for_picture(PICTURE).unwrap();
        client.disconnect().unwrap();
        assert_eq!(end_of(&gateway), EndReason::ClientClosed);
        assert!(bitmap_updates(&gateway) > 0);
        assert!(!gateway.seen(|s| s.records_contain(desktop.password())));
    }
    let gateway = Gateway::start(pinned(target(
        desktop.addr(),
        desktop.user(),
        "wrong",
        Security::Nla,
    )));
    let mut client = Client::connect(&client_options(&gateway, dir.path())).unwrap();
    let error = gateway.wait_for("error", |s| s.errors.first().cloned());
    assert!(
        error.contains(desktop.user()) && error.contains("check user and password"),
        "{error}"
    );
    assert!(
        !client
            .wait_for_exit(Duration::from_secs(20))
            .unwrap()
            .success()
    );
}

#[test]
fn an_unknown_or_wrong_certificate_and_a_target_that_is_down_are_refused_with_their_reason() {
    let dir = tempfile::tempdir().unwrap();
    let desktop = desktop(dir.path());
    let good = pinned(target(
        desktop.addr(),
        desktop.user(),
        desktop.password(),
        Security::Tls,
    ));
    let Trust::Pin(print) = &good.trust else {
        panic!("not pinned")
    };
    let print = print.to_string();
    let closed = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let mut unknown = good.clone();
    unknown.trust = Trust::AskFirstUse;
    let mut wrong = good.clone();
    wrong.trust = Trust::Pin(Fingerprint([7; 32]));
    let mut authorities = good.clone();
    authorities.trust = Trust::Authorities;
    let mut down = good.clone();
    down.port = closed.port();
    let mut nla = good.clone();
    nla.security = Security::Nla;
    let cases = [
        (unknown, "unknown certificate"),
        (wrong, "not the pinned"),
        (authorities, ""),
        (down, "cannot be reached"),
        (nla, "refuses network level authentication"),
    ];
    for (index, (target, words)) in cases.into_iter().enumerate() {
        let gateway = Gateway::start(target);
        let mut options = client_options(&gateway, dir.path());
        options.dir = dir.path().join(format!("client{index}"));
        let mut client = Client::connect(&options).unwrap();
        let error = gateway.wait_for("error", |s| s.errors.first().cloned());
        assert!(error.contains(words), "{error}");
        assert_eq!(error.contains(&print), index < 2, "{error}");
        let status = client
            .wait_for_exit(Duration::from_secs(20))
            .expect("the client is told");
        assert!(!status.success());
        assert!(gateway.seen(|s| s.events.is_empty()));
    }
}

#[test]
fn a_target_without_tls_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let mut options = DesktopOptions::new(dir.path().join("desktop"));
    options.security = lucid_desktop::Security::Rdp;
    let desktop = Desktop::start(&options).unwrap();
    let mut target = target(
        desktop.addr(),
        desktop.user(),
        desktop.password(),
        Security::Auto,
    );
    target.trust = Trust::Pin(Fingerprint([7; 32]));
    let gateway = Gateway::start(target);
    let _client = Client::connect(&client_options(&gateway, dir.path())).unwrap();
    let error = gateway.wait_for("error", |s| s.errors.first().cloned());
    assert!(
        error.contains("refuses TLS or network level authentication"),
        "{error}"
    );
}

#[test]
fn a_wrong_one_time_password_is_told_to_the_client_and_reaches_no_target() {
    let dir = tempfile::tempdir().unwrap();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let gateway = Gateway::start(target(
        listener.local_addr().unwrap(),
        "x",
        "y",
        Security::Tls,
    ));
    let mut options = client_options(&gateway, dir.path());
    options.password = "guessed".into();
    let mut client = Client::connect(&options).unwrap();
    let status = client
        .wait_for_exit(Duration::from_secs(20))
        .expect("the client is told");
    assert!(!status.success());
    let said = client.output().unwrap();
    assert!(said.contains("ERRINFO_SERVER_DENIED_CONNECTION"), "{said}");
    assert!(listener.accept().is_err(), "the target was not touched");
}

#[test]
fn the_clipboard_is_closed_until_a_direction_is_allowed_and_then_only_that_direction_works() {
    let dir = tempfile::tempdir().unwrap();
    let desktop = desktop(dir.path());
    let gateway = gateway_to(&desktop);
    let mut client = Client::connect(&client_options(&gateway, dir.path())).unwrap();
    client.wait_for_picture(PICTURE).unwrap();
    let paste_on_desktop = || {
        let got =
            desktop.run_in_session("timeout", &["5", "xclip", "-selection", "clipboard", "-o"]);
        got.map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
            .unwrap_or_default()
    };
    let copy_on_desktop = |text: &str| {
        let script =
            format!("printf %s '{text}' | setsid xclip -selection clipboard -i >/dev/null 2>&1");
        desktop.run_in_session("sh", &["-c", &script]).unwrap();
    };
    std::thread::sleep(Duration::from_secs(2));

    client.clipboard_set("from-client-denied").unwrap();
    std::thread::sleep(Duration::from_secs(2));
    assert_ne!(paste_on_desktop(), "from-client-denied");
    copy_on_desktop("from-desktop-denied");
    std::thread::sleep(Duration::from_secs(2));
    assert_ne!(
        client.clipboard_get().unwrap_or_default(),
        "from-desktop-denied"
    );
    let denied = |s: &crate::gateway::Seen, wanted: Permission| {
        s.events.iter().any(|e| matches!(e.what, What::ChannelDenied { permission: Some(p), .. } if p == wanted)).then_some(())
    };
    gateway.wait_for("denied copy into the desktop", |s| {
        denied(s, Permission::ClipboardIn)
    });
    assert!(!gateway.seen(|s| s.records_contain("denied")));

    let handle = gateway.handle();
    gateway
        .block_on(handle.grant(Permission::ClipboardIn, Duration::from_secs(600), "test"))
        .unwrap();
    gateway.wait_for("grant", |s| {
        s.events
            .iter()
            .any(|e| matches!(e.what, What::Granted { .. }))
            .then_some(())
    });
    client.clipboard_set("from-client-allowed").unwrap();
    let end = Instant::now() + Duration::from_secs(20);
    while paste_on_desktop() != "from-client-allowed" {
        assert!(Instant::now() < end, "the allowed direction does not work");
        std::thread::sleep(Duration::from_millis(300));
    }
    copy_on_desktop("from-desktop-still-shut");
    std::thread::sleep(Duration::from_secs(2));
    assert_ne!(
        client.clipboard_get().unwrap_or_default(),
        "from-desktop-still-shut"
    );

    gateway
        .block_on(handle.revoke(Permission::ClipboardIn))
        .unwrap();
    gateway
        .block_on(handle.grant(Permission::ClipboardOut, Duration::from_secs(600), "test"))
        .unwrap();
    copy_on_desktop("from-desktop-allowed");
    let end = Instant::now() + Duration::from_secs(20);
    while client.clipboard_get().unwrap_or_default() != "from-desktop-allowed" {
        assert!(Instant::now() < end, "the other direction does not work");
        std::thread::sleep(Duration::from_millis(300));
    }
    gateway.seen(|s| {
        for permission in [Permission::ClipboardIn, Permission::ClipboardOut] {
            assert!(
                s.events
                    .iter()
                    .any(|e| e.what == What::GrantUsed { permission }),
                "{permission}"
            );
        }
        assert!(
            s.payloads(Stream::Clipboard)
                .any(|p| p[0] == 0 && contains_wide(p, "from-client-allowed"))
        );
        assert!(
            s.payloads(Stream::Clipboard)
                .any(|p| p[0] == 1 && contains_wide(p, "from-desktop-allowed"))
        );
        assert!(!s.records_contain("still-shut"));
    });
}

fn contains_wide(payload: &[u8], text: &str) -> bool {
    let wide: Vec<u8> = text.encode_utf16().flat_map(u16::to_le_bytes).collect();
    payload.windows(wide.len()).any(|w| w == wide)
}

#[test]
fn a_resized_window_resizes_the_desktop_and_the_record_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let desktop = desktop(dir.path());
    let gateway = gateway_to(&desktop);
    let mut options = client_options(&gateway, dir.path());
    options.dynamic_resolution = true;
    let mut client = Client::connect(&options).unwrap();
    client.wait_for_picture(PICTURE).unwrap();
    client
        .resize_window(Size {
            width: 1280,
            height: 900,
        })
        .unwrap();
    let sizes = gateway.wait_for("resize", |s| {
        Some(s.sizes()).filter(|sizes| sizes.len() > 1)
    });
    assert_eq!(sizes.last(), Some(&(1280, 900)));
    client.wait_for_picture(PICTURE).unwrap();
    client.disconnect().unwrap();
    assert_eq!(end_of(&gateway), EndReason::ClientClosed);
}

#[test]
fn a_drive_grant_starts_the_device_channel_that_was_held_back() {
    let dir = tempfile::tempdir().unwrap();
    let desktop = desktop(dir.path());
    let gateway = gateway_to(&desktop);
    let mut options = client_options(&gateway, dir.path());
    options
        .extra
        .push(format!("/drive:shared,{}", dir.path().display()));
    let mut client = Client::connect(&options).unwrap();
    client.wait_for_picture(PICTURE).unwrap();
    let rdpdr = |s: &crate::gateway::Seen| {
        s.payloads(Stream::PduIn)
            .any(|p| p.windows(4).any(|w| w == b"rDCC"))
    };
    gateway.wait_for("refusal", |s| {
        s.events
            .iter()
            .any(|e| matches!(&e.what, What::ChannelDenied { channel, .. } if channel == "rdpdr"))
            .then_some(())
    });
    assert!(!gateway.seen(rdpdr));
    gateway
        .block_on(
            gateway
                .handle()
                .grant(Permission::Drives, Duration::from_secs(600), "test"),
        )
        .unwrap();
    gateway.wait_for("the client's answer", |s| rdpdr(s).then_some(()));
}

#[test]
fn an_order_to_end_reaches_the_client_and_a_recorder_that_fails_ends_the_session() {
    let dir = tempfile::tempdir().unwrap();
    let desktop = desktop(dir.path());
    let gateway = gateway_to(&desktop);
    let mut client = Client::connect(&client_options(&gateway, dir.path())).unwrap();
    client.wait_for_picture(PICTURE).unwrap();
    gateway
        .block_on(gateway.handle().end("shift is over"))
        .unwrap();
    assert_eq!(end_of(&gateway), EndReason::Ordered("shift is over".into()));
    assert!(client.wait_for_exit(Duration::from_secs(20)).is_some());
    assert!(
        client
            .output()
            .unwrap()
            .contains("ERRINFO_RPC_INITIATED_DISCONNECT")
    );

    let to = pinned(target(
        desktop.addr(),
        desktop.user(),
        desktop.password(),
        Security::Tls,
    ));
    let deaf = Gateway::start_with(to, Duration::from_secs(30), false);
    let mut options = client_options(&deaf, dir.path());
    options.dir = dir.path().join("client2");
    let mut client = Client::connect(&options).unwrap();
    assert_eq!(end_of(&deaf), EndReason::RecorderFailed);
    assert!(client.wait_for_exit(Duration::from_secs(20)).is_some());
}

#[test]
fn a_client_that_offers_everything_gets_a_picture_that_can_be_replayed() {
    let dir = tempfile::tempdir().unwrap();
    let desktop = desktop(dir.path());
    let everything = [
        "/gfx",
        "/rfx",
        "/nsc",
        "/jpeg",
        "/network:auto",
        "+multitransport",
        "+compression",
        "+bitmap-cache",
        "+glyph-cache",
        "+offscreen-cache",
        "+heartbeat",
        "/sound",
        "/microphone",
        "/smartcard",
        "/dynamic-resolution",
    ];
    for (index, extra) in [
        &everything[..],
        &["/bpp:8"],
        &["/bpp:15"],
        &["/bpp:16"],
        &["/bpp:24"],
    ]
    .into_iter()
    .enumerate()
    {
        let gateway = gateway_to(&desktop);
        let mut options = client_options(&gateway, dir.path());
        options.dir = dir.path().join(format!("client{index}"));
        options.extra.extend(extra.iter().map(ToString::to_string));
        let client = Client::connect(&options).unwrap();
        let drawn = Instant::now() + PICTURE;
        while bitmap_updates(&gateway) == 0 {
            assert!(
                Instant::now() < drawn,
                "{extra:?}: {}",
                client.output().unwrap()
            );
            std::thread::sleep(Duration::from_millis(100));
        }
        std::thread::sleep(Duration::from_secs(1));
        assert_eq!(gateway.seen(|s| s.ends.clone()), [], "{extra:?}");
        client.disconnect().unwrap();
        assert_eq!(end_of(&gateway), EndReason::ClientClosed);
    }
}
