//! Recorded RDP frames to pictures, natively and in the browser.
//!
//! Pure: bytes in, pixels out. It knows no file, no clock, no network, no key.
//!
//! ```text
//!  record ─▶ wire: fast-path │ TPKT ▸ MCS ▸ share data ─▶ update ─▶ bitmap (raw │ RLE │ planar) ─▶ Screen (RGBA)
//!     │                                                                                             │    ▲
//!     └─▶ input: keys, mouse ─▶ keyboard: "Ctrl+C" ─▶ overlay events                                ▼    │
//!                                                                                                 keyframe
//! ```
//!
//! Start reading at [`Decoder`] (one record after another) and [`Player`] (seeking in a recording's chunks).
//!
//! INVARIANT: fail closed. `ironrdp-session` skips what it cannot read with a warning, which is right for a client and wrong
//! for evidence; so this crate uses `ironrdp-pdu` and `ironrdp-graphics` directly and turns every update, drawing order,
//! surface command or compression it does not draw exactly into a [`PlayerError`]. A recorder that runs the same decoder
//! while it records ends the session instead of sealing a picture that nobody saw.

mod bitmap;
mod clipboard;
mod decoder;
mod error;
pub mod input;
mod keyboard;
pub mod keyframe;
mod player;
mod rle;
mod screen;
mod wire;

pub use clipboard::{ClipboardEvent, decode_clipboard};
pub use decoder::{Change, Decoder, MAX_UPDATE, is_graphics};
pub use error::PlayerError;
pub use input::{Button, InputEvent};
pub use keyboard::{Keyboard, Typed, key_label};
pub use player::{ChunkSpan, Event, EventKind, Player, Progress, activity};
pub use screen::{MAX_SIDE, Rect, Screen};
