use ironrdp_pdu::fast_path::{Fragmentation, UpdateCode};
use lucid_format::Stream;

use crate::{
    PlayerError, Rect, Screen,
    bitmap::{self, Palette, Scratch},
    error::{take, take_u8, take_u16, take_u32},
    input::{self, InputEvent},
    keyframe,
    wire::{self, Update},
};

/// Most bytes a fast-path update may have when its fragments are put together.
pub const MAX_UPDATE: usize = 16 << 20;

/// First byte of a TPKT header (RFC 1006): a slow-path frame.
const TPKT: u8 = 3;

/// What one record changed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Change {
    /// The pixels that changed lie in this rectangle.
    pub painted: Option<Rect>,
    /// The screen has a new size, and all of it changed.
    pub resized: bool,
    /// The mouse pointer moved, or the desktop gave it another shape.
    pub pointer: bool,
}

impl Change {
    /// Nothing changed.
    pub const NOTHING: Self = Self {
        painted: None,
        resized: false,
        pointer: false,
    };

    fn paint(&mut self, rect: Option<Rect>) {
        self.painted = match (self.painted, rect) {
            (Some(a), Some(b)) => Some(a.union(b)),
            (a, b) => a.or(b),
        };
    }

    /// Both changes, one after the other.
    pub(crate) fn merge(&mut self, other: Self) {
        if other.resized {
            self.painted = None;
        }
        self.paint(other.painted);
        self.resized |= other.resized;
        self.pointer |= other.pointer;
    }
}

/// Applies records one by one and holds the screen they make.
///
/// After an error the screen may be half drawn: the decoder is not to be used any more (except to load a keyframe).
#[derive(Debug, Default)]
pub struct Decoder {
    screen: Screen,
    palette: Option<Box<Palette>>,
    pointer: Option<(u16, u16)>,
    /// Fragments of a fast-path update whose last one has not come.
    pending: Option<(UpdateCode, Vec<u8>)>,
    scratch: Scratch,
}

impl Decoder {
    /// A decoder without a screen: the first thing it can use is a resize or a keyframe.
    pub fn new() -> Self {
        Self::default()
    }

    /// The picture.
    pub fn screen(&self) -> &Screen {
        &self.screen
    }

    /// Where the mouse pointer was last seen, in pixels.
    pub fn pointer(&self) -> Option<(u16, u16)> {
        self.pointer
    }

    /// Whether fragments of an update are waiting for the rest.
    ///
    /// Fragments may straddle the border of two chunks, and a keyframe holds none: a recorder writes a keyframe only where
    /// this is `false`.
    pub fn mid_update(&self) -> bool {
        self.pending.is_some()
    }

    /// The screen as a keyframe record's payload ([`keyframe`](crate::keyframe) has the encoding).
    ///
    /// # Errors
    /// [`PlayerError::TooLarge`] when the picture does not fit into a record, which only a screen of more than
    /// [`keyframe::ALWAYS_FITS`] pixels can be; [`PlayerError::ScreenSize`] before the first resize.
    pub fn keyframe(&self) -> Result<Vec<u8>, PlayerError> {
        keyframe::encode(&self.screen, self.palette.as_deref(), self.pointer)
    }

    /// Applies one record.
    ///
    /// # Errors
    /// What could not be drawn exactly, and why.
    pub fn apply(&mut self, stream: Stream, payload: &[u8]) -> Result<Change, PlayerError> {
        match stream {
            // Before the desktop says its size it cannot draw: what its I/O channel carries then is licensing, whose
            // headers are not those of a share.
            Stream::PduOut if self.screen.pixels().is_empty() && payload.first() == Some(&TPKT) => {
                Ok(Change::NOTHING)
            }
            Stream::PduOut => self.frame(payload),
            // A client may send what only its desktop understands. The frame is kept as it is; the picture does not need it.
            Stream::Input => Ok(self.input(&input::decode(payload).unwrap_or_default())),
            Stream::Resize => self.resize(payload),
            Stream::Keyframe => {
                let frame = keyframe::decode(payload)?;
                let resized = (frame.screen.width(), frame.screen.height())
                    != (self.screen.width(), self.screen.height());
                self.screen = frame.screen;
                self.palette = frame.palette;
                self.pointer = frame.pointer.or(self.pointer);
                self.pending = None;
                Ok(Change {
                    painted: self.screen.bounds(),
                    resized,
                    pointer: true,
                })
            }
            Stream::PduIn | Stream::Clipboard | Stream::Marker | Stream::Heartbeat => {
                Ok(Change::NOTHING)
            }
        }
    }

    fn resize(&mut self, mut payload: &[u8]) -> Result<Change, PlayerError> {
        let width = take_u16(&mut payload, "a resize")?;
        let height = take_u16(&mut payload, "a resize")?;
        if !payload.is_empty() {
            return Err(PlayerError::malformed(
                "a resize",
                format!("{} bytes follow it", payload.len()),
            ));
        }
        self.screen = Screen::new(width, height)?;
        Ok(Change {
            painted: self.screen.bounds(),
            resized: true,
            pointer: false,
        })
    }

    /// Follows the mouse.
    pub(crate) fn input(&mut self, events: &[InputEvent]) -> Change {
        let mut change = Change::NOTHING;
        for event in events {
            if let Some(at) = event.position() {
                change.pointer |= self.pointer != Some(at);
                self.pointer = Some(at);
            }
        }
        change
    }

    fn frame(&mut self, payload: &[u8]) -> Result<Change, PlayerError> {
        let mut change = Change::NOTHING;
        wire::updates(payload, |update| {
            change.merge(self.update(update)?);
            Ok(())
        })?;
        Ok(change)
    }

    fn update(&mut self, update: Update<'_>) -> Result<Change, PlayerError> {
        match update {
            Update::SlowGraphics(data) => self.slow_graphics(data),
            Update::SlowPointer(data) => self.slow_pointer(data),
            Update::Fast { code, part, data } => {
                const WHAT: &str = "a fragmented fast-path update";
                match (part, &mut self.pending) {
                    (Fragmentation::Single, None) => self.fast(code, data),
                    (Fragmentation::First, None) => {
                        self.pending = Some((code, data.to_vec()));
                        Ok(Change::NOTHING)
                    }
                    (Fragmentation::Next | Fragmentation::Last, Some((first, whole))) => {
                        if *first != code {
                            let reason = format!("it begins as {first:?} and goes on as {code:?}");
                            return Err(PlayerError::malformed(WHAT, reason));
                        }
                        let value = whole.len() + data.len();
                        if value > MAX_UPDATE {
                            return Err(PlayerError::TooLarge {
                                what: WHAT,
                                value,
                                bound: MAX_UPDATE,
                            });
                        }
                        whole.extend_from_slice(data);
                        if part == Fragmentation::Next {
                            return Ok(Change::NOTHING);
                        }
                        let whole = std::mem::take(whole);
                        self.pending = None;
                        self.fast(code, &whole)
                    }
                    (Fragmentation::Single | Fragmentation::First, Some(_)) => {
                        Err(PlayerError::malformed(
                            WHAT,
                            "another update begins before its last fragment",
                        ))
                    }
                    (Fragmentation::Next | Fragmentation::Last, None) => Err(
                        PlayerError::malformed(WHAT, "its first fragment is missing"),
                    ),
                }
            }
        }
    }

    /// A whole fast-path update (MS-RDPBCGR 2.2.9.1.2.1).
    fn fast(&mut self, code: UpdateCode, mut data: &[u8]) -> Result<Change, PlayerError> {
        match code {
            UpdateCode::Orders => orders(data, 0),
            UpdateCode::Bitmap => {
                let kind = take_u16(&mut data, "a bitmap update")?;
                if kind != 1 {
                    return Err(PlayerError::malformed(
                        "a bitmap update",
                        format!("its updateType is {kind}"),
                    ));
                }
                self.bitmap(data)
            }
            UpdateCode::Palette => {
                take(&mut data, 2, "a palette update")?;
                self.set_palette(data)
            }
            UpdateCode::Synchronize => Ok(Change::NOTHING),
            UpdateCode::SurfaceCommands => {
                let command = take_u16(&mut data, "a surface command")?;
                let name = match command {
                    1 => "set surface bits",
                    4 => "frame marker",
                    6 => "stream surface bits",
                    _ => "unknown",
                };
                Err(PlayerError::unsupported(format!(
                    "surface command {command} ({name})"
                )))
            }
            UpdateCode::PositionPointer => {
                let at = (
                    take_u16(&mut data, "a pointer position")?,
                    take_u16(&mut data, "a pointer position")?,
                );
                self.pointer = Some(at);
                Ok(Change {
                    pointer: true,
                    ..Change::NOTHING
                })
            }
            UpdateCode::HiddenPointer
            | UpdateCode::DefaultPointer
            | UpdateCode::ColorPointer
            | UpdateCode::CachedPointer
            | UpdateCode::NewPointer
            | UpdateCode::LargePointer => Ok(Change {
                pointer: true,
                ..Change::NOTHING
            }),
        }
    }

    /// A slow-path graphics update (MS-RDPBCGR 2.2.9.1.1.3).
    fn slow_graphics(&mut self, mut data: &[u8]) -> Result<Change, PlayerError> {
        match take_u16(&mut data, "a graphics update")? {
            0 => {
                take(&mut data, 2, "a graphics update")?;
                orders(data, 2)
            }
            1 => self.bitmap(data),
            2 => self.set_palette(data),
            3 => Ok(Change::NOTHING),
            other => Err(PlayerError::unsupported(format!(
                "slow-path graphics update {other}"
            ))),
        }
    }

    /// A slow-path pointer update (MS-RDPBCGR 2.2.9.1.1.4).
    fn slow_pointer(&mut self, mut data: &[u8]) -> Result<Change, PlayerError> {
        const WHAT: &str = "a pointer update";
        let kind = take_u16(&mut data, WHAT)?;
        take(&mut data, 2, WHAT)?;
        match kind {
            3 => self.pointer = Some((take_u16(&mut data, WHAT)?, take_u16(&mut data, WHAT)?)),
            1 | 6 | 7 | 8 | 9 => {}
            other => {
                return Err(PlayerError::unsupported(format!(
                    "slow-path pointer update {other}"
                )));
            }
        }
        Ok(Change {
            pointer: true,
            ..Change::NOTHING
        })
    }

    fn bitmap(&mut self, data: &[u8]) -> Result<Change, PlayerError> {
        let painted = bitmap::draw(
            data,
            &mut self.screen,
            self.palette.as_deref(),
            &mut self.scratch,
        )?;
        Ok(Change {
            painted,
            ..Change::NOTHING
        })
    }

    /// Palette data after `updateType` (MS-RDPBCGR 2.2.9.1.1.3.1.1.1).
    fn set_palette(&mut self, mut data: &[u8]) -> Result<Change, PlayerError> {
        const WHAT: &str = "a palette update";
        take(&mut data, 2, WHAT)?;
        let count = take_u32(&mut data, WHAT)?;
        if count != 256 {
            return Err(PlayerError::malformed(
                WHAT,
                format!("it has {count} colours instead of 256"),
            ));
        }
        let mut palette = Box::new([[0; 3]; 256]);
        for (to, from) in palette
            .iter_mut()
            .zip(take(&mut data, 768, WHAT)?.as_chunks::<3>().0)
        {
            *to = *from;
        }
        self.palette = Some(palette);
        Ok(Change::NOTHING)
    }
}

/// Drawing orders are refused; a list of none is harmless, and some servers send it. `padding` bytes follow the count.
fn orders(mut data: &[u8], padding: usize) -> Result<Change, PlayerError> {
    const WHAT: &str = "a list of drawing orders";
    let count = take_u16(&mut data, WHAT)?;
    if count == 0 {
        return Ok(Change::NOTHING);
    }
    take(&mut data, padding, WHAT)?;
    let flags = take_u8(&mut data, WHAT)?;
    let what = match flags & 3 {
        1 if flags & 8 != 0 => format!(
            "a primary drawing order, number {:#04x}",
            take_u8(&mut data, WHAT)?
        ),
        1 => "a primary drawing order".to_owned(),
        2 => format!(
            "an alternate secondary drawing order, number {:#04x}",
            flags >> 2
        ),
        // orderLength, extraFlags
        3 => match data.get(4) {
            Some(kind) => format!("a secondary drawing order, number {kind:#04x}"),
            None => "a secondary drawing order".to_owned(),
        },
        _ => "a drawing order of no known class".to_owned(),
    };
    Err(PlayerError::unsupported(what))
}

/// Whether this frame from the desktop may change pixels, without decoding it: a recorder writes a keyframe before the first
/// such record of a chunk. `true` when in doubt: [`Decoder::apply`] then has the last word.
pub fn is_graphics(stream: Stream, payload: &[u8]) -> bool {
    if stream != Stream::PduOut {
        return false;
    }
    let mut graphics = false;
    let read = wire::updates(payload, |update| {
        graphics |= match update {
            Update::Fast { code, .. } => {
                matches!(
                    code,
                    UpdateCode::Orders | UpdateCode::Bitmap | UpdateCode::SurfaceCommands
                )
            }
            Update::SlowGraphics([0 | 1, 0, ..]) => true,
            Update::SlowGraphics([2 | 3, 0, ..]) | Update::SlowPointer(_) => false,
            Update::SlowGraphics(_) => true,
        };
        Ok(())
    });
    graphics || read.is_err()
}
