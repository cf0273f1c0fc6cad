use crate::PlayerError;

/// Longest side of a screen, in pixels (the most Windows servers offer, MS-RDPBCGR 3.3.5.3.3 note 46).
pub const MAX_SIDE: u16 = 8192;

/// A rectangle of the screen, in pixels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rect {
    /// Left edge.
    pub x: u16,
    /// Top edge.
    pub y: u16,
    /// Width, at least 1.
    pub width: u16,
    /// Height, at least 1.
    pub height: u16,
}

impl Rect {
    /// The smallest rectangle around both.
    #[must_use]
    pub fn union(self, other: Self) -> Self {
        let (x, y) = (self.x.min(other.x), self.y.min(other.y));
        let right = (self.x + self.width).max(other.x + other.width);
        let bottom = (self.y + self.height).max(other.y + other.height);
        Self {
            x,
            y,
            width: right - x,
            height: bottom - y,
        }
    }
}

/// The picture: RGBA, 8 bits each, alpha always 255, rows top-down without padding.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Screen {
    width: u16,
    height: u16,
    pixels: Vec<u8>,
}

impl Screen {
    /// A black screen.
    ///
    /// # Errors
    /// [`PlayerError::ScreenSize`].
    pub fn new(width: u16, height: u16) -> Result<Self, PlayerError> {
        if !(1..=MAX_SIDE).contains(&width) || !(1..=MAX_SIDE).contains(&height) {
            return Err(PlayerError::ScreenSize { width, height });
        }
        Ok(Self {
            width,
            height,
            pixels: [0, 0, 0, 255].repeat(usize::from(width) * usize::from(height)),
        })
    }

    /// Width in pixels; 0 before the first resize.
    pub fn width(&self) -> u16 {
        self.width
    }

    /// Height in pixels; 0 before the first resize.
    pub fn height(&self) -> u16 {
        self.height
    }

    /// `width * height * 4` bytes, RGBA, top-down.
    pub fn pixels(&self) -> &[u8] {
        &self.pixels
    }

    /// Bytes of one row.
    pub(crate) fn stride(&self) -> usize {
        usize::from(self.width) * 4
    }

    pub(crate) fn pixels_mut(&mut self) -> &mut [u8] {
        &mut self.pixels
    }

    /// The rectangle that is the whole screen.
    pub(crate) fn bounds(&self) -> Option<Rect> {
        (self.width > 0).then_some(Rect {
            x: 0,
            y: 0,
            width: self.width,
            height: self.height,
        })
    }

    /// The part of the bytes of row `y` that lies in `rect`, which must lie on the screen.
    pub(crate) fn row_mut(&mut self, rect: Rect, y: u16) -> &mut [u8] {
        let start = usize::from(y) * self.stride() + usize::from(rect.x) * 4;
        &mut self.pixels[start..start + usize::from(rect.width) * 4]
    }
}
