//! One session from minting to shredding: what a user sees is what the recording shows, and nothing else of it leaks.

use std::{fs, process::Command};

use lucid_format::{Marker, Stream};
use serde_json::Value;

use crate::{
    replay::in_browser,
    support::{Gateway, Place, differing, is_a_desktop, settled},
};

/// The arrow that an export draws for the pointer, in pixels.
const POINTER: usize = 12 * 17;

fn read_png(path: &std::path::Path) -> (u32, u32, Vec<u8>, String) {
    let decoder = png::Decoder::new(std::io::BufReader::new(fs::File::open(path).unwrap()));
    let mut reader = decoder.read_info().unwrap();
    let mut pixels = vec![0; reader.output_buffer_size().unwrap()];
    let info = reader.next_frame(&mut pixels).unwrap();
    assert_eq!(info.color_type, png::ColorType::Rgba);
    let rgb = pixels
        .chunks_exact(4)
        .flat_map(|p| [p[0], p[1], p[2]])
        .collect();
    let comment = reader
        .info()
        .uncompressed_latin1_text
        .iter()
        .find(|t| t.keyword == "Comment");
    let utf8 = reader
        .info()
        .utf8_text
        .iter()
        .find(|t| t.keyword == "Comment")
        .map(|t| t.get_text().unwrap());
    (
        info.width,
        info.height,
        rgb,
        comment.map(|c| c.text.clone()).or(utf8).unwrap_or_default(),
    )
}

#[test]
fn a_session_is_recorded_verified_replayed_exported_disclosed_and_shredded() {
    let place = Place::new();
    let desktop = place.desktop("desktop");
    place.trust_desktop("desk1", &desktop);
    // Even the wordiest log has no secrets.
    let gateway = Gateway::start_with(&place, |command| {
        command.env("LUCID_LOG", "trace");
    });
    let (id, password) = place.mint("operator1", "desk1");
    let client = place.log_in(&place.client_options("client", &gateway, "operator1", &password));
    client.mouse_click(300, 200).unwrap();
    for n in 0..7 {
        client
            .type_text(&format!("echo round {n}; ls /usr\n"))
            .unwrap();
        std::thread::sleep(std::time::Duration::from_secs(2));
    }
    let (size, seen) = settled(&client);
    client.disconnect().unwrap();
    place.wait_for_state(&id, "closed");

    // It verifies, and says what it is.
    let proven = place.json(&["verify", &id, "--key", "auditor.key"]);
    assert_eq!(
        (&proven["complete"], &proven["opened"]),
        (&true.into(), &true.into())
    );
    assert_eq!(
        (&proven["user"], &proven["target"]),
        (&"operator1".into(), &"desk1".into())
    );
    assert_eq!(proven["reason"], "the client disconnected");

    // The last picture is what the client saw.
    let told = place.read(&id);
    let (recorded_size, recorded) = told.last_picture();
    assert_eq!(recorded_size, size);
    assert!(is_a_desktop(&seen));
    assert_eq!(
        differing(&recorded, &seen),
        0,
        "the client's screenshot has no pointer, and neither has the decoder's"
    );
    assert!(
        told.chunks.len() >= 2 && told.count(Stream::Input) > 50 && told.count(Stream::PduOut) > 20
    );
    assert!(
        matches!(told.markers().first(), Some(Marker::Started { target, .. }) if target == "desk1")
    );
    assert!(
        matches!(told.markers().last(), Some(Marker::Ended { reason, .. }) if reason == "the client disconnected")
    );

    // No secret is anywhere. What the user typed is in the recording, and in the clear nowhere.
    let secrets = [password.as_str(), desktop.password()];
    assert_eq!(place.files_with(&secrets), Vec::<String>::new());
    for secret in secrets {
        assert!(!told.mentions(secret));
    }
    assert!(
        told.mentions("operator"),
        "the search does find what is there"
    );
    let used = place.refused(&place.client_options("again", &gateway, "operator1", &password));
    assert!(used.contains("ERRINFO_SERVER_DENIED_CONNECTION"), "{used}");
    place.wait_for_audit("client-refused", "was used already for session");
    assert_eq!(place.files_with(&secrets), Vec::<String>::new());

    // A still and a video, which say what they come from.
    let file = format!("{id}.lucid");
    let key = ["--key", "auditor.key"];
    let end = (told.duration_us / 1_000_000 + 1).to_string();
    place.ok(&[
        &[
            "export",
            &file,
            "--to",
            "last.png",
            "--from",
            &(told.duration_us / 1_000_000).to_string(),
        ],
        &key[..],
    ]
    .concat());
    let (width, height, still, comment) = read_png(&place.path("last.png"));
    assert_eq!(
        (width, height),
        (u32::from(size.width), u32::from(size.height))
    );
    assert!(differing(&still, &seen) <= POINTER);
    assert!(
        comment.contains(&id) && comment.contains(proven["root"].as_str().unwrap()),
        "{comment}"
    );
    place.ok(&[
        &["export", &file, "--to", "all.mp4", "--fps", "5"],
        &key[..],
    ]
    .concat());
    let probe = Command::new("ffprobe")
        .args([
            "-v",
            "error",
            "-show_format",
            "-show_streams",
            "-of",
            "json",
        ])
        .arg(place.path("all.mp4"))
        .output()
        .unwrap();
    let probe: Value = serde_json::from_slice(&probe.stdout).unwrap();
    let seconds: f64 = probe["format"]["duration"]
        .as_str()
        .unwrap()
        .parse()
        .unwrap();
    let expected = told.duration_us as f64 / 1e6;
    assert!(
        (seconds - expected).abs() < 1.0,
        "{seconds} s of {expected} s"
    );
    assert!(
        probe["format"]["tags"]["comment"]
            .as_str()
            .unwrap()
            .contains(&format!("Derived from Lucid recording {id}"))
    );
    assert_eq!(probe["streams"][0]["width"], size.width);
    let beyond = place.run(
        &[
            &["export", &file, "--to", "none.png", "--from", &end],
            &key[..],
        ]
        .concat(),
    );
    assert_eq!(beyond.code, 2, "{}", beyond.err);
    let no_ffmpeg = place
        .command(&[&["export", &file, "--to", "none.mp4"], &key[..]].concat())
        .env("PATH", "/nowhere")
        .output()
        .unwrap();
    assert_eq!(no_ffmpeg.status.code(), Some(20));
    assert!(String::from_utf8_lossy(&no_ffmpeg.stderr).contains("apt-get install ffmpeg"));
    assert!(!place.path("none.mp4").exists());

    // The web player shows it too, and takes the key out of the address.
    let last = told.duration_us / 1_000_000;
    let (page, canvas) = in_browser(&place, &[&[file.as_str()], &key[..]].concat(), last);
    assert_eq!(page["complaints"], serde_json::json!([]));
    assert_eq!(
        (&page["verified"]["ok"], &page["verified"]["bad"]),
        (&told.chunks.len().into(), &0.into())
    );
    assert_eq!(
        (&page["width"], &page["height"]),
        (&size.width.into(), &size.height.into())
    );
    assert_eq!(differing(&canvas, &seen), 0);
    assert!(
        !page["address"].as_str().unwrap().contains("#k="),
        "{}",
        page["address"]
    );

    // One chunk of it for somebody else: provable, and it opens nothing more.
    let (from, until) = told.chunks[1];
    let at = |us: u64| format!("{}.{:06}", us / 1_000_000, us % 1_000_000);
    let middle = at((from + until) / 2);
    place.ok(&[
        &[
            "disclose",
            &file,
            "--to",
            "part.lucid",
            "--from",
            &middle,
            "--until",
            &middle,
        ],
        &key[..],
    ]
    .concat());
    let part = place.json(&["verify", "part.lucid"]);
    assert_eq!(
        (&part["kind"], &part["chunks"], &part["opened"]),
        (&"disclosure".into(), &1.into(), &true.into())
    );
    assert_eq!(part["root"], proven["root"]);
    let disclosed = place.read_file("part.lucid");
    assert_eq!(disclosed.chunks, [(from, until)]);
    assert!(
        disclosed
            .records
            .iter()
            .all(|r| (from..=until).contains(&r.0))
    );
    place.ok(&["export", "part.lucid", "--to", "part.png"]);
    let again = place.run(&[&["disclose", "part.lucid", "--to", "more.lucid"], &key[..]].concat());
    assert_eq!(again.code, 2, "{}", again.err);

    // Shredded, it proves what it proved, and nobody opens it.
    place.ok(&["session", "shred", &id, "--yes"]);
    let after = place.json(&["verify", &id]);
    assert_eq!(
        (&after["complete"], &after["root"], &after["keys_destroyed"]),
        (&true.into(), &proven["root"], &true.into())
    );
    for args in [
        &["replay", &id, "--no-browser"][..],
        &["export", &id, "--to", "none.png"],
    ] {
        assert_eq!(place.run(&[args, &key[..]].concat()).code, 14, "{args:?}");
    }
    place.ok(&["fsck"]);
    assert!(gateway.stop().success());
}
