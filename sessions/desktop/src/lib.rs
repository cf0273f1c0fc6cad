//! A real remote desktop and a real client, without a screen, that vanish when their guards are dropped.
//!
//! `lucid demo` and the tests talk to the programs users have: xrdp with xorgxrdp ([`Desktop`]), freerdp-shadow-cli with
//! network level authentication ([`ShadowDesktop`]) and xfreerdp ([`Client`]), all Debian packages (`scripts/setup`).
//!
//! ```text
//!  Client                               Desktop (own mount and process namespace)
//!  ┌───────────────────────┐            ┌──────────────────────────────────────────────┐
//!  │ Xvfb ◀─ xdotool, xclip│            │ sh (init) ─ xrdp ─ sesman ─ Xorg, openbox,   │
//!  │   ▲      import       │   RDP      │                             xterm, chansrv   │
//!  │ xfreerdp ─────────────┼───────────▶│ private /etc/xrdp, passwd, shadow, /home, /tmp│
//!  └───────────────────────┘ 127.0.0.1  └──────────────────────────────────────────────┘
//! ```
//!
//! - **Nothing survives.** A desktop lives in a process namespace: when its init ends, the kernel ends the rest, xrdp's
//!   detached X session included. Init ends when the pipe to this process closes, so a `kill -9` of the test is enough.
//!   Everything else is started with a parent-death signal (`process.rs`).
//! - **Nothing is shared.** Ports are picked free, X displays too; the desktop's user and password exist in a private copy
//!   of `/etc/passwd` only. Any number of desktops and clients run side by side, and beside those of other programs.
//! - **Nothing waits blindly.** Each wait polls for what it waits for, has a deadline, and names the log on failure.
//!
//! Start reading at [`Desktop::start`] and [`Client::connect`]; `tests/it/main.rs` shows both in use.

mod client;
mod desktop;
mod error;
mod process;
mod shadow;
mod xvfb;

pub use client::{Client, ClientOptions};
pub use desktop::{Desktop, DesktopOptions, Security};
pub use error::DesktopError;
pub use shadow::{ShadowDesktop, ShadowOptions};

/// The solid background of every desktop this crate starts (sRGB). [`Client::wait_for_picture`] looks for it: a login
/// screen or a half-drawn window has no such area.
pub const BACKGROUND: [u8; 3] = [0x20, 0x40, 0x60];

/// A size in pixels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Size {
    /// Pixels from left to right.
    pub width: u16,
    /// Pixels from top to bottom.
    pub height: u16,
}

impl Size {
    /// 1024×768, what the documentation's figures are measured at.
    pub const XGA: Self = Self {
        width: 1024,
        height: 768,
    };
}
