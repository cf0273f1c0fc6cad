use lucid_format::Stream;
use lucid_player::{Change, Decoder, PlayerError, Rect, is_graphics};

use crate::frames::{self, Bitmap, COMPRESSED, RAW, bitmaps, fast_path, update};

pub(crate) fn screen(width: u16, height: u16) -> Decoder {
    let mut decoder = Decoder::new();
    decoder
        .apply(Stream::Resize, &frames::resize(width, height))
        .unwrap();
    decoder
}

fn pixel(decoder: &Decoder, x: usize, y: usize) -> [u8; 4] {
    let at = (y * usize::from(decoder.screen().width()) + x) * 4;
    decoder.screen().pixels()[at..at + 4].try_into().unwrap()
}

fn one(bpp: u16, flags: u16, row_width: u16, data: &[u8]) -> Vec<u8> {
    update(
        1,
        &bitmaps(&[Bitmap {
            x: 1,
            y: 1,
            width: 2,
            height: 2,
            row_width,
            bpp,
            flags,
            data,
        }]),
    )
}

/// Red, green (top row), blue, white (bottom row) at 1,1.
fn shows_the_four_colours(frame: &[u8]) {
    let mut decoder = screen(4, 4);
    let change = decoder.apply(Stream::PduOut, frame).unwrap();
    assert_eq!(
        change.painted,
        Some(Rect {
            x: 1,
            y: 1,
            width: 2,
            height: 2
        })
    );
    assert_eq!(pixel(&decoder, 1, 1), [255, 0, 0, 255]);
    assert_eq!(pixel(&decoder, 2, 1), [0, 255, 0, 255]);
    assert_eq!(pixel(&decoder, 1, 2), [0, 0, 255, 255]);
    assert_eq!(pixel(&decoder, 2, 2), [255, 255, 255, 255]);
    assert_eq!(pixel(&decoder, 0, 0), [0, 0, 0, 255]);
    assert_eq!(pixel(&decoder, 3, 3), [0, 0, 0, 255]);
}

#[test]
fn raw_bitmaps_of_every_depth_show_the_same_picture() {
    let [r, g, b, w] = [0xF800u16, 0x07E0, 0x001F, 0xFFFF].map(u16::to_le_bytes);
    shows_the_four_colours(&one(16, RAW, 2, &[b, w, r, g].concat()));
    let [r, g, b, w] = [0x7C00u16, 0x03E0, 0x001F, 0x7FFF].map(u16::to_le_bytes);
    shows_the_four_colours(&one(15, RAW, 2, &[b, w, r, g].concat()));
    // Two pixels of three bytes are padded to eight.
    shows_the_four_colours(&one(
        24,
        RAW,
        2,
        &[255, 0, 0, 255, 255, 255, 9, 9, 0, 0, 255, 0, 255, 0, 9, 9],
    ));
    shows_the_four_colours(&one(
        24,
        RAW,
        2,
        &[255, 0, 0, 255, 255, 255, 0, 0, 255, 0, 255, 0],
    ));
    shows_the_four_colours(&one(
        32,
        RAW,
        2,
        &[255, 0, 0, 7, 255, 255, 255, 7, 0, 0, 255, 7, 0, 255, 0, 7],
    ));
}

#[test]
fn padding_at_the_end_of_rows_is_not_shown() {
    let row = |a: [u8; 2], b: [u8; 2]| [a, b, [7, 7], [7, 7]].concat();
    let [r, g, b, w] = [0xF800u16, 0x07E0, 0x001F, 0xFFFF].map(u16::to_le_bytes);
    shows_the_four_colours(&one(16, RAW, 4, &[row(b, w), row(r, g)].concat()));
}

#[test]
fn run_length_bitmaps_show_the_same_picture() {
    let [r, g, b, w] = [0xF800u16, 0x07E0, 0x001F, 0xFFFF].map(u16::to_le_bytes);
    let colours = [&[0x84][..], &[b, w, r, g].concat()].concat();
    shows_the_four_colours(&one(16, COMPRESSED, 2, &colours));
    // With TS_CD_HEADER: first row size, body size, scan width, uncompressed size.
    let headed = [&[0, 0, 9, 0, 4, 0, 8, 0][..], &colours].concat();
    shows_the_four_colours(&one(16, 0x0001, 2, &headed));
    shows_the_four_colours(&one(
        24,
        COMPRESSED,
        2,
        &[0x84, 255, 0, 0, 255, 255, 255, 0, 0, 255, 0, 255, 0],
    ));
}

#[test]
fn planar_bitmaps_show_the_same_picture() {
    // No alpha, no run lengths: three planes bottom-up and a byte of padding.
    shows_the_four_colours(&one(
        32,
        COMPRESSED,
        2,
        &[0x20, 0, 255, 255, 0, 0, 255, 0, 255, 255, 255, 0, 0, 0],
    ));
}

#[test]
fn palette_bitmaps_need_a_palette() {
    let frame = one(8, RAW, 4, &[2, 3, 0, 0, 0, 1, 0, 0]);
    let mut decoder = screen(4, 4);
    let error = decoder.apply(Stream::PduOut, &frame).unwrap_err();
    assert_eq!(
        error.to_string(),
        "an 8-bit bitmap is malformed: no palette was sent before it"
    );

    let mut palette = vec![2, 0, 0, 0, 0, 1, 0, 0];
    palette.extend([[255, 0, 0], [0, 255, 0], [0, 0, 255], [255, 255, 255]].concat());
    palette.resize(8 + 768, 0);
    for palette in [update(2, &palette), frames::slow_update(&palette)] {
        let mut decoder = screen(4, 4);
        assert_eq!(decoder.apply(Stream::PduOut, &palette), Ok(Change::NOTHING));
        decoder.apply(Stream::PduOut, &frame).unwrap();
        assert_eq!(pixel(&decoder, 1, 1), [255, 0, 0, 255]);
        assert_eq!(pixel(&decoder, 2, 2), [255, 255, 255, 255]);
        // A keyframe carries the palette on.
        let mut later = Decoder::new();
        later
            .apply(Stream::Keyframe, &decoder.keyframe().unwrap())
            .unwrap();
        later.apply(Stream::PduOut, &frame).unwrap();
        assert_eq!(later.screen(), decoder.screen());
    }
}

#[test]
fn slow_path_updates_are_drawn() {
    let data = [255, 0, 0, 7, 255, 255, 255, 7, 0, 0, 255, 7, 0, 255, 0, 7];
    let body = bitmaps(&[Bitmap {
        x: 1,
        y: 1,
        width: 2,
        height: 2,
        row_width: 2,
        bpp: 32,
        flags: RAW,
        data: &data,
    }]);
    shows_the_four_colours(&frames::slow_update(&body));
}

#[test]
fn fragments_are_put_together_in_order() {
    let data = [255, 0, 0, 7, 255, 255, 255, 7, 0, 0, 255, 7, 0, 255, 0, 7];
    let body = bitmaps(&[Bitmap {
        x: 0,
        y: 0,
        width: 2,
        height: 2,
        row_width: 2,
        bpp: 32,
        flags: RAW,
        data: &data,
    }]);
    let mut decoder = screen(2, 2);
    let (a, b) = body.split_at(9);
    let (b, c) = b.split_at(11);
    for (part, data) in [(2, a), (3, b)] {
        assert_eq!(
            decoder.apply(Stream::PduOut, &fast_path(&[(1, part, data)])),
            Ok(Change::NOTHING)
        );
        assert!(decoder.mid_update());
    }
    let change = decoder
        .apply(Stream::PduOut, &fast_path(&[(1, 1, c), (3, 0, &[])]))
        .unwrap();
    assert!(change.painted.is_some() && !decoder.mid_update());
    assert_eq!(pixel(&decoder, 1, 1), [255; 4]);
}

#[test]
fn fragments_out_of_order_are_refused() {
    let last = fast_path(&[(1, 1, &[0; 4])]);
    let error = screen(2, 2).apply(Stream::PduOut, &last).unwrap_err();
    assert!(
        error.to_string().contains("its first fragment is missing"),
        "{error}"
    );
    let mut decoder = screen(2, 2);
    decoder
        .apply(Stream::PduOut, &fast_path(&[(1, 2, &[0; 4])]))
        .unwrap();
    assert!(
        decoder
            .apply(Stream::PduOut, &update(1, &[1, 0, 0, 0]))
            .is_err()
    );
    let mut decoder = screen(2, 2);
    decoder
        .apply(Stream::PduOut, &fast_path(&[(1, 2, &[0; 4])]))
        .unwrap();
    assert!(
        decoder
            .apply(Stream::PduOut, &fast_path(&[(2, 3, &[0; 4])]))
            .is_err()
    );
}

#[test]
fn an_update_of_endless_fragments_is_refused() {
    let mut decoder = screen(2, 2);
    let data = vec![0; 16000];
    decoder
        .apply(Stream::PduOut, &fast_path(&[(1, 2, &data)]))
        .unwrap();
    let next = fast_path(&[(1, 3, &data)]);
    let error = (0..2000)
        .find_map(|_| decoder.apply(Stream::PduOut, &next).err())
        .unwrap();
    assert!(matches!(error, PlayerError::TooLarge { .. }), "{error}");
}

#[test]
fn what_cannot_be_replayed_is_refused_by_name() {
    let cases: Vec<(Vec<u8>, &str)> = vec![
        (
            update(0, &[1, 0, 0x09, 0x02]),
            "a primary drawing order, number 0x02",
        ),
        (
            update(0, &[1, 0, 0x03, 9, 0, 0, 0, 5]),
            "a secondary drawing order, number 0x05",
        ),
        (
            update(0, &[1, 0, 0x36]),
            "an alternate secondary drawing order, number 0x0d",
        ),
        (
            frames::slow_update(&[0, 0, 0, 0, 1, 0, 0, 0, 0x09, 0x0A]),
            "a primary drawing order, number 0x0a",
        ),
        (
            update(4, &[6, 0]),
            "surface command 6 (stream surface bits)",
        ),
        (update(4, &[4, 0]), "surface command 4 (frame marker)"),
        (update(7, &[]), "fast-path update 0x7"),
        (update(0xD, &[]), "fast-path update 0xd"),
        (frames::slow_update(&[9, 0]), "slow-path graphics update 9"),
        (
            frames::from_desktop(1003, &frames::share_data(0x02, 0x21, &[3, 0])),
            "share data PDU 0x02 with bulk compression",
        ),
        (
            frames::from_desktop(1003, &frames::share_data(0x99, 0, &[])),
            "share data PDU 0x99",
        ),
        (
            frames::from_desktop(1003, &[6, 0, 0x19, 0, 0, 0]),
            "share control PDU 9",
        ),
        (
            vec![0, 6, 0x81, 0x20, 0, 0],
            "fast-path update 0x1 with bulk compression",
        ),
        (vec![0x80, 2], "an encrypted or signed fast-path frame"),
        (one(4, RAW, 2, &[0; 8]), "a bitmap with 4 bits a pixel"),
        (one(16, 0x0800, 2, &[0; 8]), "a bitmap with flags 0x0800"),
    ];
    for (frame, name) in cases {
        let error = screen(4, 4)
            .apply(Stream::PduOut, &frame)
            .unwrap_err()
            .to_string();
        assert!(error.contains(name), "{name}: {error}");
        assert!(error.contains("a recording cannot replay"), "{error}");
    }
}

#[test]
fn malformed_bitmaps_are_refused() {
    let at = |x, y| {
        update(
            1,
            &bitmaps(&[Bitmap {
                x,
                y,
                width: 2,
                height: 2,
                row_width: 2,
                bpp: 32,
                flags: RAW,
                data: &[0; 16],
            }]),
        )
    };
    let cases: Vec<(Vec<u8>, &str)> = vec![
        (at(4, 0), "a bitmap at 4,0 lies outside the 4×4 screen"),
        (
            one(32, RAW, 2, &[0; 15]),
            "a raw bitmap is cut short: 16 bytes needed, 15 there",
        ),
        (
            one(16, COMPRESSED, 2, &[0x63, 0, 0]),
            "a compressed bitmap's pixels is cut short",
        ),
        (
            one(16, COMPRESSED, 2, &[0x65, 0, 0]),
            "a run ends 2 bytes after",
        ),
        (
            one(32, COMPRESSED, 2, &[0x10, 1]),
            "a planar bitmap is malformed",
        ),
        (one(16, RAW, 1, &[0; 8]), "1×2 pixels are drawn to 2×2"),
        (one(16, RAW, 900, &[0; 8]), "900×2 pixels are drawn to 2×2"),
        (update(1, &[1, 0, 2, 0]), "a bitmap update is malformed"),
        (update(1, &[2, 0, 0, 0]), "its updateType is 2"),
    ];
    for (frame, name) in cases {
        let error = screen(4, 4)
            .apply(Stream::PduOut, &frame)
            .unwrap_err()
            .to_string();
        assert!(error.contains(name), "{name}: {error}");
    }
    assert!(
        Decoder::new().apply(Stream::PduOut, &at(0, 0)).is_err(),
        "no screen yet"
    );
}

#[test]
fn a_bitmap_over_the_edge_is_clipped() {
    let mut decoder = screen(4, 4);
    let frame = frames::paint(3, 3, 2, 2, |x, y| {
        if (x, y) == (0, 0) {
            [9, 8, 7]
        } else {
            [1, 1, 1]
        }
    });
    let change = decoder.apply(Stream::PduOut, &frame).unwrap();
    assert_eq!(
        change.painted,
        Some(Rect {
            x: 3,
            y: 3,
            width: 1,
            height: 1
        })
    );
    assert_eq!(pixel(&decoder, 3, 3), [9, 8, 7, 255]);
}

#[test]
fn other_frames_change_nothing() {
    let frames = [
        frames::from_desktop(1004, &[1, 2, 3]),
        frames::from_desktop(1003, &[0x80, 0, 0, 0, 3, 3, 3]),
        // xrdp's licensing, with something in the upper half of the flags
        frames::from_desktop(1003, &[0x80, 0, 0x3E, 0x01, 1, 2, 0x3E, 1]),
        frames::from_desktop(1003, &[0x80, 0, 0x10, 0, 0xFF, 2, 0x10, 0]),
        frames::from_desktop(1003, &frames::share_data(0x26, 0, &[0; 30])),
        frames::from_desktop(1003, &[0, 0x80, 0, 0, 0x41, 0, 0, 0]),
        frames::from_desktop(
            1003,
            &[
                &frames::share_data(0x28, 0, &[0; 8])[..],
                &frames::share_data(0x02, 0, &[3, 0, 0, 0]),
            ]
            .concat(),
        ),
        vec![3, 0, 0, 11, 6, 0xD0, 0, 0, 0, 0, 0],
        update(3, &[]),
        update(0, &[0, 0]),
    ];
    for frame in frames {
        assert_eq!(
            screen(4, 4).apply(Stream::PduOut, &frame),
            Ok(Change::NOTHING),
            "{frame:02x?}"
        );
        assert!(
            !is_graphics(Stream::PduOut, &frame) || frame[3] == 0,
            "{frame:02x?}"
        );
    }
    for stream in [
        Stream::PduIn,
        Stream::Clipboard,
        Stream::Marker,
        Stream::Heartbeat,
    ] {
        assert_eq!(screen(4, 4).apply(stream, &[1]), Ok(Change::NOTHING));
    }
}

#[test]
fn pointer_updates_are_told() {
    for frame in [
        update(5, &[]),
        update(6, &[]),
        update(10, &[0, 0]),
        frames::from_desktop(
            1003,
            &frames::share_data(0x1B, 0, &[1, 0, 0, 0, 0, 0x7F, 0, 0]),
        ),
    ] {
        assert!(screen(4, 4).apply(Stream::PduOut, &frame).unwrap().pointer);
        assert!(!is_graphics(Stream::PduOut, &frame));
    }
    let mut decoder = screen(4, 4);
    decoder
        .apply(Stream::PduOut, &update(8, &[3, 0, 2, 0]))
        .unwrap();
    assert_eq!(decoder.pointer(), Some((3, 2)));
}

#[test]
fn graphics_are_told_from_the_rest_without_decoding() {
    assert!(is_graphics(
        Stream::PduOut,
        &frames::paint(0, 0, 1, 1, |_, _| [0; 3])
    ));
    assert!(is_graphics(Stream::PduOut, &fast_path(&[(1, 3, &[])])));
    assert!(is_graphics(
        Stream::PduOut,
        &frames::slow_update(&[1, 0, 0, 0])
    ));
    assert!(is_graphics(Stream::PduOut, &[0xFF]), "in doubt");
    assert!(!is_graphics(Stream::PduOut, &update(2, &[])));
    assert!(!is_graphics(Stream::Keyframe, &[]));
}

#[test]
fn screens_have_bounds() {
    for (width, height) in [(0, 1), (1, 0), (8193, 1), (1, 8193)] {
        let error = Decoder::new()
            .apply(Stream::Resize, &frames::resize(width, height))
            .unwrap_err();
        assert_eq!(error, PlayerError::ScreenSize { width, height });
    }
    assert!(Decoder::new().apply(Stream::Resize, &[1, 0, 1]).is_err());
    assert!(
        Decoder::new()
            .apply(Stream::Resize, &[1, 0, 1, 0, 0])
            .is_err()
    );
}
