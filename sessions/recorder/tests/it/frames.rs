//! Frames as desktops send them, made by hand.

/// A fast-path frame around updates or fragments: (update code, fragmentation, data).
pub(crate) fn fast_path(updates: &[(u8, u8, &[u8])]) -> Vec<u8> {
    let mut body = Vec::new();
    for (code, part, data) in updates {
        body.push(code | part << 4);
        body.extend(u16::try_from(data.len()).unwrap().to_le_bytes());
        body.extend_from_slice(data);
    }
    let length = u16::try_from(body.len() + 3).unwrap() | 0x8000;
    [&[0][..], &length.to_be_bytes(), &body].concat()
}

/// The data of a bitmap update with one raw 32-bit rectangle whose pixels follow from `seed`.
pub(crate) fn bitmap(x: u16, y: u16, side: u16, seed: u64) -> Vec<u8> {
    let mut pixels = vec![0; usize::from(side) * usize::from(side) * 4];
    blake3::Hasher::new()
        .update(&seed.to_le_bytes())
        .finalize_xof()
        .fill(&mut pixels);
    let fields = [
        1,
        1,
        x,
        y,
        x + side - 1,
        y + side - 1,
        side,
        side,
        32,
        0,
        u16::try_from(pixels.len()).unwrap(),
    ];
    let mut data: Vec<u8> = fields.iter().flat_map(|f| f.to_le_bytes()).collect();
    data.extend(pixels);
    data
}

/// A frame that paints such a rectangle.
pub(crate) fn paint(x: u16, y: u16, side: u16, seed: u64) -> Vec<u8> {
    fast_path(&[(1, 0, &bitmap(x, y, side, seed))])
}

/// A frame with an update that nobody knows.
pub(crate) fn unknown() -> Vec<u8> {
    fast_path(&[(0xD, 0, &[1, 2, 3])])
}

/// Payload of a resize record.
pub(crate) fn resize(width: u16, height: u16) -> Vec<u8> {
    [width.to_le_bytes(), height.to_le_bytes()].concat()
}

/// A fast-path input frame: one key, down and up.
pub(crate) fn key(scancode: u8) -> Vec<u8> {
    vec![2 << 2, 6, 0, scancode, 1, scancode]
}
