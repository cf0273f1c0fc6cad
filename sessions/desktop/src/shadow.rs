//! A desktop behind network level authentication (NLA, CredSSP): freerdp-shadow-cli sharing a screen in memory.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use crate::desktop::write_session;
use crate::process::{Running, free_port, guarded, listens, make_dir, need, poll, run, write};
use crate::xvfb::Xvfb;
use crate::{DesktopError, Size};

/// How often a start is tried when another program took the port in between.
const TRIES: u32 = 5;

/// What to start. [`ShadowOptions::new`] has the defaults.
#[derive(Debug, Clone)]
pub struct ShadowOptions {
    /// Where logs, accounts and the certificate go; made if missing. Each desktop needs its own.
    pub dir: PathBuf,
    /// The only account's name.
    pub user: String,
    /// Its password.
    pub password: String,
    /// The size of the shared screen: a client cannot change it.
    pub size: Size,
}

impl ShadowOptions {
    /// A 1024×768 screen for user `operator`.
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        Self {
            dir: dir.into(),
            user: "operator".into(),
            password: "Nla-Test-1".into(),
            size: Size::XGA,
        }
    }
}

/// A running freerdp-shadow-cli that takes NLA only. Dropping it ends it and its screen. Needs no root.
#[derive(Debug)]
pub struct ShadowDesktop {
    addr: SocketAddr,
    options: ShadowOptions,
    // Dropped in this order: the server before the screen it shares.
    server: Running,
    _session: Running,
    _screen: Xvfb,
}

impl ShadowDesktop {
    /// Starts the screen, a terminal on it and the server, and returns once it listens.
    pub fn start(options: &ShadowOptions) -> Result<Self, DesktopError> {
        need(&[
            ("freerdp-shadow-cli", "freerdp2-shadow-x11"),
            ("winpr-hash", "winpr-utils"),
            ("openbox", "openbox"),
            ("xterm", "xterm"),
            ("xsetroot", "x11-xserver-utils"),
        ])?;
        make_dir(&options.dir)?;
        let dir = fs::canonicalize(&options.dir).map_err(|source| DesktopError::File {
            path: options.dir.clone(),
            source,
        })?;
        let options = ShadowOptions {
            dir,
            ..options.clone()
        };
        let screen = Xvfb::start(&options.dir, options.size)?;
        write_session(&options.dir, &options.dir, "")?;
        let mut command = guarded("sh");
        command.arg(options.dir.join("startwm.sh"));
        let session = screen.start_on("the session", command, &options.dir.join("session.log"))?;

        let mut hash = Command::new("winpr-hash");
        hash.args(["-u", &options.user, "-p", &options.password, "-f", "sam"]);
        let sam = options.dir.join("sam");
        write(&sam, &String::from_utf8_lossy(&run(hash)?))?;

        let mut tries = 1;
        let (server, addr) = loop {
            match serve(&options, &screen) {
                Err(DesktopError::Ended { .. }) if tries < TRIES => tries += 1,
                result => break result?,
            }
        };
        Ok(Self {
            addr,
            options,
            server,
            _session: session,
            _screen: screen,
        })
    }

    /// Where clients connect.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// The only account's name.
    pub fn user(&self) -> &str {
        &self.options.user
    }

    /// Its password.
    pub fn password(&self) -> &str {
        &self.options.password
    }

    /// The server's log.
    pub fn log(&self) -> PathBuf {
        self.server.log().into()
    }
}

fn serve(options: &ShadowOptions, screen: &Xvfb) -> Result<(Running, SocketAddr), DesktopError> {
    let port = free_port()?;
    let mut command = guarded("freerdp-shadow-cli");
    command.args([
        &format!("/port:{port}"),
        "/bind-address:127.0.0.1",
        "/sec:nla",
        "+auth",
    ]);
    command.arg(format!("/sam-file:{}", options.dir.join("sam").display()));
    // It keeps its certificate under HOME.
    command
        .env("HOME", &options.dir)
        .env_remove("XDG_CONFIG_HOME");
    let mut server = screen.start_on(
        "freerdp-shadow-cli",
        command,
        &options.dir.join("shadow.log"),
    )?;
    let log = server.log().to_owned();
    poll(
        "listening freerdp-shadow-cli",
        Duration::from_secs(30),
        &log,
        || {
            server.check()?;
            Ok(listens(port).then_some(()))
        },
    )?;
    Ok((server, SocketAddr::from((Ipv4Addr::LOCALHOST, port))))
}
