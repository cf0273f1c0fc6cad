//! xfreerdp on a screen in memory, with hands and eyes.

use std::collections::HashSet;
use std::io::Write as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use crate::process::{Running, guarded, make_dir, need, poll, read, run};
use crate::xvfb::Xvfb;
use crate::{BACKGROUND, DesktopError, Size};

/// The title given to the client's window, to find it by.
const TITLE: &str = "lucid-desktop-client";
/// A picture has more colours than this: the smoothed edges of a terminal's text alone make about a hundred.
const MIN_COLOURS: usize = 40;
/// How far a background pixel may be from [`BACKGROUND`] per channel: lossy codecs move it a little.
const TOLERANCE: u8 = 8;

/// What to connect to and how. [`ClientOptions::new`] has the defaults.
#[derive(Debug, Clone)]
pub struct ClientOptions {
    /// Where logs go; made if missing. Each client needs its own.
    pub dir: PathBuf,
    /// The server.
    pub addr: SocketAddr,
    /// The user's name.
    pub user: String,
    /// The user's password.
    pub password: String,
    /// The size of the remote screen at the start.
    pub size: Size,
    /// The largest size [`Client::resize_window`] can be asked for.
    pub largest: Size,
    /// Whether the clipboard channel is asked for.
    pub clipboard: bool,
    /// Whether the remote screen follows the window's size.
    pub dynamic_resolution: bool,
    /// More arguments for xfreerdp, such as `/sec:nla` or `/gfx`.
    pub extra: Vec<String>,
}

impl ClientOptions {
    /// 1024×768 with the clipboard, without dynamic resolution.
    pub fn new(
        dir: impl Into<PathBuf>,
        addr: SocketAddr,
        user: impl Into<String>,
        password: impl Into<String>,
    ) -> Self {
        Self {
            dir: dir.into(),
            addr,
            user: user.into(),
            password: password.into(),
            size: Size::XGA,
            largest: Size {
                width: 1600,
                height: 1200,
            },
            clipboard: true,
            dynamic_resolution: false,
            extra: Vec::new(),
        }
    }
}

/// A running xfreerdp. Dropping it disconnects.
#[derive(Debug)]
pub struct Client {
    /// Holds the clipboard's content for as long as it is ours (X has no other place for it).
    clipboard: Option<Running>,
    // Dropped in this order: the client before its screen.
    program: Running,
    screen: Xvfb,
    dir: PathBuf,
}

impl Client {
    /// Starts the client. It returns at once: use [`Client::wait_for_picture`], or [`Client::wait_for_exit`] when the
    /// connection is to be refused.
    pub fn connect(options: &ClientOptions) -> Result<Self, DesktopError> {
        need(&[
            ("xfreerdp", "freerdp2-x11"),
            ("xdotool", "xdotool"),
            ("import", "imagemagick"),
            ("xclip", "xclip"),
        ])?;
        make_dir(&options.dir)?;
        let ClientOptions {
            dir, addr, size, ..
        } = options;
        let screen = Xvfb::start(
            dir,
            Size {
                width: options.largest.width.max(size.width),
                height: options.largest.height.max(size.height),
            },
        )?;
        let toggle = |on: bool, name: &str| format!("{}{name}", if on { '+' } else { '-' });
        let mut command = guarded("xfreerdp");
        command.args([
            format!("/v:{addr}"),
            format!("/u:{}", options.user),
            format!("/p:{}", options.password),
        ]);
        command.args([
            format!("/size:{}x{}", size.width, size.height),
            format!("/title:{TITLE}"),
        ]);
        // No decorations and no window manager: the window is the remote screen, pixel for pixel, at 0,0.
        command.args([
            "/cert:ignore",
            "/bpp:32",
            "/window-position:0x0",
            "-decorations",
        ]);
        command.arg(toggle(options.clipboard, "clipboard"));
        if options.dynamic_resolution {
            command.arg("/dynamic-resolution");
        }
        command.args(&options.extra);
        // It keeps known hosts under HOME: a fresh one, so no run depends on the one before.
        command.env("HOME", dir).env_remove("XDG_CONFIG_HOME");
        let program = screen.start_on("xfreerdp", command, &dir.join("xfreerdp.log"))?;
        Ok(Self {
            clipboard: None,
            program,
            screen,
            dir: dir.clone(),
        })
    }

    /// The X display the client is on, such as `:3`.
    pub fn display(&self) -> &str {
        self.screen.display()
    }

    /// Waits until one of this crate's desktops is drawn: more than 40 colours, and the background over at least a tenth
    /// of the picture. A client that ended meanwhile is an error with its last words.
    pub fn wait_for_picture(&mut self, limit: Duration) -> Result<(), DesktopError> {
        self.wait_for("picture", limit, |_, pixels| {
            let colours: HashSet<&[u8]> = pixels.chunks_exact(3).collect();
            let near = |pixel: &[u8]| {
                pixel
                    .iter()
                    .zip(BACKGROUND)
                    .all(|(a, b)| a.abs_diff(b) <= TOLERANCE)
            };
            let background = pixels.chunks_exact(3).filter(|pixel| near(pixel)).count();
            colours.len() > MIN_COLOURS && background * 30 > pixels.len()
        })
    }

    /// Waits until `good` says so of what the client shows (size, then RGB rows from the top).
    pub fn wait_for(
        &mut self,
        what: &str,
        limit: Duration,
        mut good: impl FnMut(Size, &[u8]) -> bool,
    ) -> Result<(), DesktopError> {
        let log = self.program.log().to_owned();
        poll(what, limit, &log, || {
            self.program.check()?;
            // Until the window is there the helpers fail, which is no reason to stop waiting.
            let Ok((size, pixels)) = self.screenshot_rgb() else {
                return Ok(None);
            };
            Ok(good(size, &pixels).then_some(()))
        })
    }

    /// Types `text` where the remote keyboard focus is, 15 ms a key. A line feed is the return key.
    pub fn type_text(&self, text: &str) -> Result<(), DesktopError> {
        // xdotool types a line feed as the key Linefeed, which no keyboard has and RDP cannot send.
        for (index, line) in text.split('\n').enumerate() {
            if index > 0 {
                self.key("Return")?;
            }
            if !line.is_empty() {
                self.xdotool(&["type", "--delay", "15", "--", line])?;
            }
        }
        Ok(())
    }

    /// Presses and releases a key or a combination, named as X names it: `Return`, `ctrl+c`, `alt+F4`.
    pub fn key(&self, name: &str) -> Result<(), DesktopError> {
        self.xdotool(&["key", "--delay", "15", "--", name])
            .map(drop)
    }

    /// Moves the pointer to a place on the remote screen, in pixels.
    pub fn mouse_move(&self, x: u16, y: u16) -> Result<(), DesktopError> {
        self.xdotool(&["mousemove", &x.to_string(), &y.to_string()])
            .map(drop)
    }

    /// Moves there and clicks the first button.
    pub fn mouse_click(&self, x: u16, y: u16) -> Result<(), DesktopError> {
        self.xdotool(&[
            "mousemove",
            &x.to_string(),
            &y.to_string(),
            "sleep",
            "0.05",
            "click",
            "1",
        ])
        .map(drop)
    }

    /// Presses the first button at `from`, moves to `to` in ten steps and lets go.
    pub fn mouse_drag(&self, from: (u16, u16), to: (u16, u16)) -> Result<(), DesktopError> {
        let between = |from: u16, to: u16, step: i32| {
            i32::from(from) + (i32::from(to) - i32::from(from)) * step / 10
        };
        let mut words = vec![
            "mousemove".to_owned(),
            from.0.to_string(),
            from.1.to_string(),
        ];
        words.extend(["sleep", "0.1", "mousedown", "1"].map(str::to_owned));
        for step in 1..=10 {
            words.extend(["sleep".into(), "0.04".into(), "mousemove".into()]);
            words.extend([
                between(from.0, to.0, step).to_string(),
                between(from.1, to.1, step).to_string(),
            ]);
        }
        words.extend(["sleep", "0.1", "mouseup", "1"].map(str::to_owned));
        self.xdotool(&words.iter().map(String::as_str).collect::<Vec<_>>())
            .map(drop)
    }

    /// Gives the client's window another size; with dynamic resolution the remote screen follows. At most
    /// [`ClientOptions::largest`].
    pub fn resize_window(&self, size: Size) -> Result<(), DesktopError> {
        let window = self.window()?;
        self.xdotool(&[
            "windowsize",
            &window,
            &size.width.to_string(),
            &size.height.to_string(),
        ])
        .map(drop)
    }

    /// Writes what the client shows as a PNG file. The pointer is not in it.
    pub fn screenshot(&self, file: &Path) -> Result<(), DesktopError> {
        let mut import = self.import()?;
        import
            .arg("+repage")
            .arg(format!("png24:{}", file.display()));
        run(import).map(drop)
    }

    /// What the client shows: its size, and its pixels as red, green, blue, rows from the top. The pointer is not in it.
    pub fn screenshot_rgb(&self) -> Result<(Size, Vec<u8>), DesktopError> {
        let size = self.window_size()?;
        let mut import = self.import()?;
        import.args(["-depth", "8", "rgb:-"]);
        let pixels = run(import)?;
        if pixels.len() != usize::from(size.width) * usize::from(size.height) * 3 {
            return Err(DesktopError::Tool {
                program: "import".into(),
                detail: format!(
                    "{} bytes for {}×{} pixels",
                    pixels.len(),
                    size.width,
                    size.height
                ),
            });
        }
        Ok((size, pixels))
    }

    /// Puts `text` on the client's clipboard, as copying in a local program would.
    pub fn clipboard_set(&mut self, text: &str) -> Result<(), DesktopError> {
        self.clipboard = None;
        let mut xclip = guarded("xclip");
        // -quiet keeps it in the foreground, where the guard holds it.
        xclip
            .args(["-quiet", "-selection", "clipboard", "-in"])
            .stdin(Stdio::piped());
        let log = self.dir.join("xclip.log");
        let mut running = self.screen.start_on("xclip", xclip, &log)?;
        if let Some(mut input) = running.child_mut().stdin.take() {
            input
                .write_all(text.as_bytes())
                .map_err(|source| DesktopError::File {
                    path: log.clone(),
                    source,
                })?;
        }
        poll("clipboard owner", Duration::from_secs(5), &log, || {
            running.check()?;
            Ok((self.clipboard_get().ok().as_deref() == Some(text)).then_some(()))
        })?;
        self.clipboard = Some(running);
        Ok(())
    }

    /// The text on the client's clipboard, as pasting into a local program would give. Fails when there is none.
    pub fn clipboard_get(&self) -> Result<String, DesktopError> {
        // The owner may be a remote program that never answers.
        let mut command = self.screen.command("timeout");
        command.args(["5", "xclip", "-selection", "clipboard", "-out"]);
        Ok(String::from_utf8_lossy(&run(command)?).into_owned())
    }

    /// How xfreerdp ended; `None` while it runs.
    pub fn exit_status(&mut self) -> Option<ExitStatus> {
        self.program.exit_status()
    }

    /// Waits until xfreerdp has ended by itself, at most `limit`; `None` if it still runs.
    pub fn wait_for_exit(&mut self, limit: Duration) -> Option<ExitStatus> {
        self.program.wait_exit(limit)
    }

    /// What xfreerdp has printed, for the reason a connection was refused.
    pub fn output(&self) -> Result<String, DesktopError> {
        read(self.program.log())
    }

    /// Disconnects, as closing the window would, and gives all xfreerdp printed.
    pub fn disconnect(mut self) -> Result<String, DesktopError> {
        self.program.stop();
        self.output()
    }

    /// The X id of the client's window.
    fn window(&self) -> Result<String, DesktopError> {
        let found = self.xdotool(&["search", "--onlyvisible", "--name", &format!("^{TITLE}$")])?;
        found
            .lines()
            .next()
            .map(str::to_owned)
            .ok_or_else(|| DesktopError::Tool {
                program: "xdotool".into(),
                detail: "the client has no window".into(),
            })
    }

    /// The size of the client's window: that of the remote screen.
    fn window_size(&self) -> Result<Size, DesktopError> {
        let window = self.window()?;
        let text = self.xdotool(&["getwindowgeometry", "--shell", &window])?;
        let field = |name: &str| {
            text.lines()
                .find_map(|line| line.strip_prefix(name)?.parse().ok())
        };
        match (field("WIDTH="), field("HEIGHT=")) {
            (Some(width), Some(height)) => Ok(Size { width, height }),
            _ => Err(DesktopError::Tool {
                program: "xdotool".into(),
                detail: format!("odd geometry: {text}"),
            }),
        }
    }

    /// `import` set up to take the window's area from the root window: the pixels on the screen, not the window's own
    /// idea of them.
    fn import(&self) -> Result<std::process::Command, DesktopError> {
        let Size { width, height } = self.window_size()?;
        let mut import = self.screen.command("import");
        import.args([
            "-silent",
            "-window",
            "root",
            "-crop",
            &format!("{width}x{height}+0+0"),
        ]);
        Ok(import)
    }

    fn xdotool(&self, args: &[&str]) -> Result<String, DesktopError> {
        let mut command = self.screen.command("xdotool");
        command.args(args);
        Ok(String::from_utf8_lossy(&run(command)?).into_owned())
    }
}
