//! Frames as desktops and clients send them, made by hand.

/// A fast-path frame around whole updates or fragments: (update code, fragmentation, data).
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

/// One whole fast-path update.
pub(crate) fn update(code: u8, data: &[u8]) -> Vec<u8> {
    fast_path(&[(code, 0, data)])
}

/// A bitmap in an update.
#[derive(Clone)]
pub(crate) struct Bitmap<'a> {
    pub(crate) x: u16,
    pub(crate) y: u16,
    /// Of the rectangle.
    pub(crate) width: u16,
    pub(crate) height: u16,
    /// Of the rows, with their padding.
    pub(crate) row_width: u16,
    pub(crate) bpp: u16,
    pub(crate) flags: u16,
    pub(crate) data: &'a [u8],
}

pub(crate) const RAW: u16 = 0;
pub(crate) const COMPRESSED: u16 = 0x0401;

/// The data of a bitmap update, from its `updateType`.
pub(crate) fn bitmaps(all: &[Bitmap<'_>]) -> Vec<u8> {
    let mut out = vec![1, 0];
    out.extend(u16::try_from(all.len()).unwrap().to_le_bytes());
    for b in all {
        let fields = [
            b.x,
            b.y,
            b.x + b.width - 1,
            b.y + b.height - 1,
            b.row_width,
            b.height,
            b.bpp,
            b.flags,
            u16::try_from(b.data.len()).unwrap(),
        ];
        out.extend(fields.iter().flat_map(|f| f.to_le_bytes()));
        out.extend_from_slice(b.data);
    }
    out
}

/// A frame that paints one raw 32-bit rectangle; `color` gives red, green, blue at x, y of the rectangle.
pub(crate) fn paint(
    x: u16,
    y: u16,
    width: u16,
    height: u16,
    color: impl Fn(u16, u16) -> [u8; 3],
) -> Vec<u8> {
    let mut data = Vec::new();
    for row in (0..height).rev() {
        for column in 0..width {
            let [r, g, b] = color(column, row);
            data.extend([b, g, r, 0]);
        }
    }
    update(
        1,
        &bitmaps(&[Bitmap {
            x,
            y,
            width,
            height,
            row_width: width,
            bpp: 32,
            flags: RAW,
            data: &data,
        }]),
    )
}

/// User data of a PDU from the desktop on `channel`, in MCS, X.224 and TPKT.
pub(crate) fn from_desktop(channel: u16, data: &[u8]) -> Vec<u8> {
    mcs(26, channel, data)
}

fn mcs(choice: u8, channel: u16, data: &[u8]) -> Vec<u8> {
    let mut body = vec![2, 0xF0, 0x80, choice << 2, 0, 1];
    body.extend(channel.to_be_bytes());
    body.push(0x70);
    body.extend((u16::try_from(data.len()).unwrap() | 0x8000).to_be_bytes());
    body.extend_from_slice(data);
    let length = u16::try_from(body.len() + 4).unwrap();
    [&[3, 0][..], &length.to_be_bytes(), &body].concat()
}

/// A share data PDU.
pub(crate) fn share_data(kind: u8, compression: u8, body: &[u8]) -> Vec<u8> {
    let length = u16::try_from(body.len() + 18).unwrap();
    let mut out = Vec::new();
    out.extend(length.to_le_bytes());
    out.extend([0x17, 0, 0xEA, 3, 1, 0, 1, 0, 0, 1]);
    out.extend(length.to_le_bytes());
    out.extend([kind, compression, 0, 0]);
    out.extend_from_slice(body);
    out
}

/// A slow-path graphics update from the desktop, from its `updateType`.
pub(crate) fn slow_update(body: &[u8]) -> Vec<u8> {
    from_desktop(1003, &share_data(2, 0, body))
}

/// A fast-path input frame.
pub(crate) fn fast_input(events: &[&[u8]]) -> Vec<u8> {
    let body = events.concat();
    let length = u8::try_from(body.len() + 2).unwrap();
    [
        &[u8::try_from(events.len()).unwrap() << 2, length][..],
        &body,
    ]
    .concat()
}

pub(crate) fn key(scancode: u8, down: bool) -> [u8; 2] {
    [u8::from(!down), scancode]
}

pub(crate) fn mouse(flags: u16, x: u16, y: u16) -> [u8; 7] {
    let (f, x, y) = (flags.to_le_bytes(), x.to_le_bytes(), y.to_le_bytes());
    [0x20, f[0], f[1], x[0], x[1], y[0], y[1]]
}

/// A slow-path input frame: (event type, six bytes).
pub(crate) fn slow_input(events: &[(u16, [u8; 6])]) -> Vec<u8> {
    let mut body = Vec::new();
    body.extend(u16::try_from(events.len()).unwrap().to_le_bytes());
    body.extend([0, 0]);
    for (kind, event) in events {
        body.extend([0; 4]);
        body.extend(kind.to_le_bytes());
        body.extend(event);
    }
    mcs(25, 1003, &share_data(0x1C, 0, &body))
}

pub(crate) fn resize(width: u16, height: u16) -> Vec<u8> {
    [width.to_le_bytes(), height.to_le_bytes()].concat()
}
