//! What the user typed and where the mouse went, read from the client's frames.
//!
//! Read by hand rather than with `ironrdp_pdu::input`, which computes a length that an attacker can make negative.

use crate::{
    PlayerError,
    error::{take, take_u8, take_u16},
    wire::IO_CHANNEL,
};

/// A mouse button.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Button {
    /// The left one.
    Left,
    /// The right one.
    Right,
    /// The middle one, or the wheel pressed.
    Middle,
    /// The first side button, "back".
    Back,
    /// The second side button, "forward".
    Forward,
}

/// One thing the user did. Positions are in pixels of the screen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InputEvent {
    /// A key went down or up.
    Key {
        /// Scan code, set 1, without its prefix.
        scancode: u8,
        /// The scan code has the prefix E0.
        extended: bool,
        /// Down, or still down.
        down: bool,
    },
    /// A UTF-16 unit from an input method.
    Unicode {
        /// The unit.
        unit: u16,
        /// Down, or up.
        down: bool,
    },
    /// The mouse moved.
    MouseMove {
        /// From the left.
        x: u16,
        /// From the top.
        y: u16,
    },
    /// A mouse button went down or up.
    Button {
        /// Which.
        button: Button,
        /// Down, or up.
        down: bool,
        /// From the left.
        x: u16,
        /// From the top.
        y: u16,
    },
    /// The wheel was turned.
    Wheel {
        /// 120 is one notch; positive is up, or right.
        delta: i16,
        /// Sideways.
        horizontal: bool,
        /// From the left.
        x: u16,
        /// From the top.
        y: u16,
    },
}

impl InputEvent {
    /// Where the mouse is after this. Wheel events carry no position that can be relied on.
    pub fn position(&self) -> Option<(u16, u16)> {
        match *self {
            Self::MouseMove { x, y } | Self::Button { x, y, .. } => Some((x, y)),
            Self::Key { .. } | Self::Unicode { .. } | Self::Wheel { .. } => None,
        }
    }
}

/// Reads the events of a client frame: a fast-path input PDU (MS-RDPBCGR 2.2.8.1.2) or a slow-path input PDU
/// (2.2.8.1.1.3). Lock-key synchronisation, relative moves and time stamps are passed over.
///
/// # Errors
/// When the frame is no input, is cut short or holds an unknown kind of event.
pub fn decode(frame: &[u8]) -> Result<Vec<InputEvent>, PlayerError> {
    match frame.first() {
        Some(3) => slow_path(frame),
        _ => fast_path(frame),
    }
}

fn fast_path(frame: &[u8]) -> Result<Vec<InputEvent>, PlayerError> {
    const WHAT: &str = "a fast-path input PDU";
    let mut rest = frame;
    let header = take_u8(&mut rest, WHAT)?;
    if header & 3 != 0 || header >> 6 != 0 {
        return Err(PlayerError::malformed(
            WHAT,
            format!("it begins with {header:#04x}"),
        ));
    }
    let short = take_u8(&mut rest, WHAT)?;
    let length = match short & 0x80 {
        0 => usize::from(short),
        _ => usize::from(short & 0x7F) << 8 | usize::from(take_u8(&mut rest, WHAT)?),
    };
    if length != frame.len() {
        return Err(PlayerError::Truncated {
            what: WHAT,
            need: length,
            have: frame.len(),
        });
    }
    let count = match header >> 2 & 0x0F {
        0 => take_u8(&mut rest, WHAT)?,
        n => n,
    };
    let mut events = Vec::new();
    for _ in 0..count {
        let event = take_u8(&mut rest, WHAT)?;
        match event >> 5 {
            0 => events.push(InputEvent::Key {
                scancode: take_u8(&mut rest, WHAT)?,
                extended: event & 2 != 0,
                down: event & 1 == 0,
            }),
            1 => mouse(&mut rest, &mut events)?,
            2 => mouse_extended(&mut rest, &mut events)?,
            3 => {}
            4 => events.push(InputEvent::Unicode {
                unit: take_u16(&mut rest, WHAT)?,
                down: event & 1 == 0,
            }),
            5 => drop(take(&mut rest, 6, WHAT)?),
            6 => drop(take(&mut rest, 4, WHAT)?),
            other => {
                return Err(PlayerError::malformed(
                    WHAT,
                    format!("event {other} is unknown"),
                ));
            }
        }
    }
    Ok(events)
}

fn slow_path(frame: &[u8]) -> Result<Vec<InputEvent>, PlayerError> {
    const WHAT: &str = "a slow-path input PDU";
    let mut rest = frame;
    // TPKT, X.224 data
    let head = take(&mut rest, 7, WHAT)?;
    let length = usize::from(u16::from_be_bytes([head[2], head[3]]));
    if length != frame.len() {
        return Err(PlayerError::Truncated {
            what: WHAT,
            need: length,
            have: frame.len(),
        });
    }
    // MCS SendDataRequest: choice, initiator, channel, priority
    let mcs = take(&mut rest, 6, WHAT)?;
    let channel = u16::from_be_bytes([mcs[3], mcs[4]]);
    if mcs[0] >> 2 != 25 || channel != IO_CHANNEL {
        return Err(PlayerError::malformed(
            WHAT,
            format!("MCS PDU {} on channel {channel}", mcs[0] >> 2),
        ));
    }
    if take_u8(&mut rest, WHAT)? & 0x80 != 0 {
        take_u8(&mut rest, WHAT)?;
    }
    let control = take(&mut rest, 6, WHAT)?;
    let data = take(&mut rest, 12, WHAT)?;
    if control[2] & 0x0F != 7 || data[8] != 0x1C {
        return Err(PlayerError::malformed(WHAT, "it is another PDU"));
    }
    let count = take_u16(&mut rest, WHAT)?;
    take(&mut rest, 2, WHAT)?;
    let mut events = Vec::new();
    for _ in 0..count {
        // eventTime, which servers ignore
        take(&mut rest, 4, WHAT)?;
        let kind = take_u16(&mut rest, WHAT)?;
        let mut event = take(&mut rest, 6, WHAT)?;
        match kind {
            0x0000 | 0x0002 | 0x8004 => {}
            0x0004 | 0x0005 => {
                let flags = take_u16(&mut event, WHAT)?;
                let code = take_u16(&mut event, WHAT)?;
                let down = flags & 0x8000 == 0;
                events.push(match u8::try_from(code) {
                    Ok(scancode) if kind == 4 => InputEvent::Key {
                        scancode,
                        extended: flags & 0x0100 != 0,
                        down,
                    },
                    _ if kind == 5 => InputEvent::Unicode { unit: code, down },
                    _ => return Err(PlayerError::malformed(WHAT, format!("scan code {code:#x}"))),
                });
            }
            0x8001 => mouse(&mut event, &mut events)?,
            0x8002 => mouse_extended(&mut event, &mut events)?,
            other => {
                return Err(PlayerError::malformed(
                    WHAT,
                    format!("event {other:#06x} is unknown"),
                ));
            }
        }
    }
    Ok(events)
}

/// TS_POINTER_EVENT (MS-RDPBCGR 2.2.8.1.1.3.1.1.3)
fn mouse(rest: &mut &[u8], events: &mut Vec<InputEvent>) -> Result<(), PlayerError> {
    let (flags, x, y) = mouse_fields(rest)?;
    if flags & 0x0600 != 0 {
        // Nine bits, two's complement.
        let magnitude = i16::from(flags.to_le_bytes()[0]);
        let delta = if flags & 0x0100 != 0 {
            magnitude - 256
        } else {
            magnitude
        };
        events.push(InputEvent::Wheel {
            delta,
            horizontal: flags & 0x0400 != 0,
            x,
            y,
        });
        return Ok(());
    }
    if flags & 0x0800 != 0 {
        events.push(InputEvent::MouseMove { x, y });
    }
    let down = flags & 0x8000 != 0;
    for (bit, button) in [
        (0x1000, Button::Left),
        (0x2000, Button::Right),
        (0x4000, Button::Middle),
    ] {
        if flags & bit != 0 {
            events.push(InputEvent::Button { button, down, x, y });
        }
    }
    Ok(())
}

/// TS_POINTERX_EVENT (MS-RDPBCGR 2.2.8.1.1.3.1.1.4)
fn mouse_extended(rest: &mut &[u8], events: &mut Vec<InputEvent>) -> Result<(), PlayerError> {
    let (flags, x, y) = mouse_fields(rest)?;
    for (bit, button) in [(1, Button::Back), (2, Button::Forward)] {
        if flags & bit != 0 {
            events.push(InputEvent::Button {
                button,
                down: flags & 0x8000 != 0,
                x,
                y,
            });
        }
    }
    Ok(())
}

fn mouse_fields(rest: &mut &[u8]) -> Result<(u16, u16, u16), PlayerError> {
    const WHAT: &str = "a mouse event";
    Ok((
        take_u16(rest, WHAT)?,
        take_u16(rest, WHAT)?,
        take_u16(rest, WHAT)?,
    ))
}
