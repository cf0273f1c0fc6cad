use lucid_player::{Button, InputEvent, decode_clipboard, input, key_label};

use crate::frames::{self, fast_input, key, mouse};

#[test]
fn fast_path_input_is_read() {
    let frame = fast_input(&[
        &key(0x1E, true),
        &[0x03, 0x48],
        &mouse(0x0800, 300, 2),
        &mouse(0x9000, 5, 6),
        &mouse(0x0388, 0, 0),
        &[0x40, 2, 0x80, 1, 0, 2, 0],
        &[0x80, 0x3D, 0xD8],
        &[0x61],
        &[0xC0, 1, 2, 3, 4],
    ]);
    let events = input::decode(&frame).unwrap();
    assert_eq!(
        events,
        [
            InputEvent::Key {
                scancode: 0x1E,
                extended: false,
                down: true
            },
            InputEvent::Key {
                scancode: 0x48,
                extended: true,
                down: false
            },
            InputEvent::MouseMove { x: 300, y: 2 },
            InputEvent::Button {
                button: Button::Left,
                down: true,
                x: 5,
                y: 6
            },
            InputEvent::Wheel {
                delta: -120,
                horizontal: false,
                x: 0,
                y: 0
            },
            InputEvent::Button {
                button: Button::Forward,
                down: true,
                x: 1,
                y: 2
            },
            InputEvent::Unicode {
                unit: 0xD83D,
                down: true
            },
        ]
    );
}

#[test]
fn slow_path_input_is_read() {
    let frame = frames::slow_input(&[
        (0x0004, [0, 1, 0x1C, 0, 0, 0]),
        (0x0004, [0, 0xC0, 0x1E, 0, 0, 0]),
        (0x8001, [0, 0x18, 7, 0, 8, 0]),
        (0x0000, [0; 6]),
    ]);
    let events = input::decode(&frame).unwrap();
    assert_eq!(
        events,
        [
            InputEvent::Key {
                scancode: 0x1C,
                extended: true,
                down: true
            },
            InputEvent::Key {
                scancode: 0x1E,
                extended: false,
                down: false
            },
            InputEvent::MouseMove { x: 7, y: 8 },
            InputEvent::Button {
                button: Button::Left,
                down: false,
                x: 7,
                y: 8
            },
        ]
    );
}

#[test]
fn what_is_no_input_is_refused() {
    for frame in [
        &[][..],
        &[4, 3, 0],
        &[4, 3, 0xE0],
        &[0x44, 2],
        &frames::slow_update(&[3, 0]),
    ] {
        assert!(input::decode(frame).is_err(), "{frame:02x?}");
    }
}

#[test]
fn keys_have_labels() {
    assert_eq!(key_label(0x1E, false), Some("a"));
    assert_eq!(key_label(0x1C, true), Some("Enter"));
    assert_eq!(key_label(0x4B, true), Some("Left"));
    assert_eq!(key_label(0x4B, false), Some("4"));
    assert_eq!(key_label(0x7F, false), None);
}

#[test]
fn clipboard_text_is_shown_and_the_rest_is_counted() {
    let response = |direction: u8, flags: u16, data: &[u8]| {
        let mut out = vec![direction, 5, 0];
        out.extend(flags.to_le_bytes());
        out.extend(u32::try_from(data.len()).unwrap().to_le_bytes());
        out.extend_from_slice(data);
        decode_clipboard(&out).unwrap()
    };
    let text: Vec<u8> = "Grüße\0"
        .encode_utf16()
        .flat_map(u16::to_le_bytes)
        .collect();
    let event = response(0, 1, &text).unwrap();
    assert_eq!((event.to_desktop, event.text.as_str()), (true, "Grüße"));
    let event = response(1, 1, &[1, 0, 2]).unwrap();
    assert_eq!(
        (event.to_desktop, event.text.as_str()),
        (false, "3 bytes that are no text")
    );
    assert_eq!(response(0, 2, &[]), None, "refused by the other side");
    assert!(decode_clipboard(&[2, 5, 0]).is_err());
    assert!(decode_clipboard(&[0, 5, 0, 1, 0, 9, 0, 0, 0]).is_err());
}
