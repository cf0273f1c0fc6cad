//! The xrdp desktop.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{ChildStdin, Command, Stdio};
use std::time::Duration;

use crate::process::{
    Running, free_port, guarded, last_line, listens, make_dir, need, poll, random, read, run, write,
};
use crate::{BACKGROUND, DesktopError};

/// The id of the desktop's user inside its namespace: above what adduser hands out, below what systemd hands out.
const USER_ID: u32 = 60_990;
/// How long xrdp may take to listen. Measured: 0.2 s alone, 2 s with both cores busy.
const START: Duration = Duration::from_secs(30);
/// How often a start is tried when another program took the port in between.
const TRIES: u32 = 5;

/// The first process of the desktop's namespaces: `sh -c INIT init DIR USER UID`. It makes the private view of the file
/// system, starts the two services and waits for the end of its input. It never touches a file outside `DIR`.
const INIT: &str = r#"
set -eu
dir=$1 user=$2 uid=$3
mkdir -p /run/xrdp
mount --bind "$dir/etc" /etc/xrdp
for file in passwd shadow group; do mount --bind "$dir/$file" "/etc/$file"; done
mount -t tmpfs -o mode=1777 tmpfs /tmp
mount -t tmpfs -o mode=0755 tmpfs /run/xrdp
mkdir -m 3777 /run/xrdp/sockdir
mount -t tmpfs -o mode=0755 tmpfs /home
mkdir -m 0700 "/home/$user"
echo "PS1='\\u@desktop:\\w\\$ '" >"/home/$user/.bashrc"
chown -R "$uid:$uid" "/home/$user"
cd /
PATH=$PATH:/usr/sbin
{ xrdp-sesman --nodaemon; echo "xrdp-sesman ended: $?" >>/etc/xrdp/ended; } >/etc/xrdp/sesman.out 2>&1 &
{ xrdp --nodaemon; echo "xrdp ended: $?" >>/etc/xrdp/ended; } >/etc/xrdp/xrdp.out 2>&1 &
read -r _ || :
"#;

/// How the desktop's RDP connection is protected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Security {
    /// TLS only: what Lucid's gateway asks of a target.
    Tls,
    /// RDP's own encryption only: a target the gateway must refuse.
    Rdp,
}

/// What to start. [`DesktopOptions::new`] has the defaults.
#[derive(Debug, Clone)]
pub struct DesktopOptions {
    /// Where configuration, logs and the certificate go; made if missing. Each desktop needs its own.
    pub dir: PathBuf,
    /// The name of the desktop's only user.
    pub user: String,
    /// The user's password; a random one unless set.
    pub password: Option<String>,
    /// How the connection is protected.
    pub security: Security,
    /// Shell lines run in the session once the window manager and the terminal are up.
    pub startup: String,
}

impl DesktopOptions {
    /// A desktop for user `operator` with TLS and one terminal window.
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        Self {
            dir: dir.into(),
            user: "operator".into(),
            password: None,
            security: Security::Tls,
            startup: String::new(),
        }
    }
}

/// A running xrdp on a loopback port. Dropping it ends xrdp and every session in it.
#[derive(Debug)]
pub struct Desktop {
    addr: SocketAddr,
    user: String,
    password: String,
    dir: PathBuf,
    /// INVARIANT: dropped before `init`, whose input it is: that is what ends the namespace.
    input: Option<ChildStdin>,
    init: Running,
}

impl Desktop {
    /// Starts a desktop and returns once it listens. A session, with its own X server, begins at each first login.
    pub fn start(options: &DesktopOptions) -> Result<Self, DesktopError> {
        let uid = rustix::process::geteuid().as_raw();
        if uid != 0 {
            return Err(DesktopError::NotRoot { uid });
        }
        need(&[
            ("xrdp", "xrdp"),
            ("xrdp-sesman", "xrdp"),
            ("openbox", "openbox"),
            ("xterm", "xterm"),
            ("xsetroot", "x11-xserver-utils"),
            ("xauth", "xauth"),
            ("openssl", "openssl"),
        ])?;
        if !Path::new("/etc/X11/xrdp/xorg.conf").exists() {
            return Err(DesktopError::Missing {
                program: "xorgxrdp",
                package: "xorgxrdp",
            });
        }
        let mut tries = 1;
        loop {
            match Self::start_once(options) {
                Err(DesktopError::Ended { .. }) if tries < TRIES => tries += 1,
                result => return result,
            }
        }
    }

    fn start_once(options: &DesktopOptions) -> Result<Self, DesktopError> {
        let port = free_port()?;
        let sesman_port = free_port()?;
        make_dir(&options.dir)?;
        let dir = fs::canonicalize(&options.dir).map_err(|source| DesktopError::File {
            path: options.dir.clone(),
            source,
        })?;
        let password = match &options.password {
            Some(password) => password.clone(),
            None => format!("Rdp-{:016x}", u64::from_le_bytes(random()?)),
        };
        write_accounts(&dir, &options.user, &password)?;
        write_config(&dir.join("etc"), options, port, sesman_port)?;

        let mut command = guarded("unshare");
        command.args([
            "--mount",
            "--pid",
            "--fork",
            "--kill-child=KILL",
            "--mount-proc",
            "sh",
            "-c",
            INIT,
            "init",
        ]);
        command
            .arg(&dir)
            .args([&options.user, &USER_ID.to_string()]);
        command
            .env("XAUTHORITY", "")
            .env_remove("DISPLAY")
            .stdin(Stdio::piped());
        let mut init = Running::start(
            "the desktop's namespace (it needs CAP_SYS_ADMIN)",
            command,
            &dir.join("init.log"),
        )?;
        let input = init.child_mut().stdin.take();
        let mut desktop = Self {
            addr: SocketAddr::from((Ipv4Addr::LOCALHOST, port)),
            user: options.user.clone(),
            password,
            dir,
            input,
            init,
        };
        let log = desktop.log();
        let ended = desktop.dir.join("etc/ended");
        poll("listening xrdp", START, &log, || {
            desktop.init.check()?;
            if ended.exists() {
                // Another program took one of the ports: end the namespace, so that `Ended` says what xrdp said.
                desktop.stop();
                let status = desktop.init.exit_status().unwrap_or_default();
                return Err(DesktopError::Ended {
                    program: "xrdp".into(),
                    status,
                    last: last_line(&ended),
                    log: log.clone(),
                });
            }
            Ok((listens(port) && listens(sesman_port)).then_some(()))
        })?;
        Ok(desktop)
    }

    /// An error with its last words if it has ended.
    pub fn check(&mut self) -> Result<(), DesktopError> {
        self.init.check()
    }

    /// Where clients connect.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// The desktop's only user.
    pub fn user(&self) -> &str {
        &self.user
    }

    /// That user's password.
    pub fn password(&self) -> &str {
        &self.password
    }

    /// The TLS certificate the desktop shows (PEM, self-signed, for 127.0.0.1).
    pub fn certificate(&self) -> PathBuf {
        self.dir.join("etc/cert.pem")
    }

    /// xrdp's log; `sesman.log` beside it is the login service's.
    pub fn log(&self) -> PathBuf {
        self.dir.join("etc/xrdp.log")
    }

    /// Runs a program inside the newest session, as its user and on its display, and gives what it printed. Fails while
    /// nobody has logged in.
    pub fn run_in_session(&self, program: &str, args: &[&str]) -> Result<Vec<u8>, DesktopError> {
        let init = self.init_pid()?;
        let display = self
            .session_displays()?
            .pop()
            .ok_or_else(|| DesktopError::Tool {
                program: program.into(),
                detail: "nobody has logged in yet".into(),
            })?;
        let mut command = Command::new("nsenter");
        command.args([
            "--target",
            &init,
            "--mount",
            "--pid",
            "--",
            "setpriv",
            "--clear-groups",
        ]);
        command
            .args([
                &format!("--reuid={USER_ID}"),
                &format!("--regid={USER_ID}"),
                "--",
                program,
            ])
            .args(args);
        let home = format!("/home/{}", self.user);
        command
            .env("DISPLAY", format!(":{display}"))
            .env("XAUTHORITY", format!("{home}/.Xauthority"))
            .env("HOME", home);
        run(command)
    }

    /// The displays of the sessions' X servers, oldest first.
    fn session_displays(&self) -> Result<Vec<u32>, DesktopError> {
        let namespace = self.process_namespace()?;
        let proc = Path::new("/proc");
        let entries = fs::read_dir(proc).map_err(|source| DesktopError::File {
            path: proc.into(),
            source,
        })?;
        let mut displays: Vec<u32> = entries
            .flatten()
            .filter(|entry| {
                fs::read_link(entry.path().join("ns/pid")).is_ok_and(|link| link == namespace)
            })
            .filter_map(|entry| {
                // sesman starts `/usr/lib/xorg/Xorg :20460 -auth …`.
                let line = fs::read_to_string(entry.path().join("cmdline")).ok()?;
                let mut words = line.split('\0');
                words.next()?.ends_with("/Xorg").then_some(())?;
                words.next()?.strip_prefix(':')?.parse().ok()
            })
            .collect();
        displays.sort_unstable();
        Ok(displays)
    }

    /// The process id, seen from here, of the namespace's first process: the only child of `unshare`.
    fn init_pid(&self) -> Result<String, DesktopError> {
        let id = self.init.id();
        let children = read(Path::new(&format!("/proc/{id}/task/{id}/children")))?;
        children
            .split_ascii_whitespace()
            .next()
            .map(str::to_owned)
            .ok_or_else(|| DesktopError::Tool {
                program: "unshare".into(),
                detail: "the desktop's namespace has ended".into(),
            })
    }

    /// The process namespace everything of this desktop runs in, as `/proc/PID/ns/pid` shows it: tests look for it after
    /// the end.
    pub fn process_namespace(&self) -> Result<PathBuf, DesktopError> {
        let link = PathBuf::from(format!("/proc/{}/ns/pid", self.init_pid()?));
        fs::read_link(&link).map_err(|source| DesktopError::File { path: link, source })
    }

    fn stop(&mut self) {
        // End of input ends init; the kernel then kills the namespace, and unshare returns when the last one is gone.
        self.input = None;
        let _status = self.init.wait_exit(Duration::from_secs(5));
    }
}

impl Drop for Desktop {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Copies of the account files with one more user in them. On the machine itself no account is made.
fn write_accounts(dir: &Path, user: &str, password: &str) -> Result<(), DesktopError> {
    let mut openssl = Command::new("openssl");
    openssl.args(["passwd", "-6", "--", password]);
    let hash = String::from_utf8_lossy(&run(openssl)?).trim().to_owned();
    for (name, line) in [
        (
            "passwd",
            format!("{user}:x:{USER_ID}:{USER_ID}::/home/{user}:/bin/bash"),
        ),
        ("shadow", format!("{user}:{hash}:19000:0:99999:7:::")),
        ("group", format!("{user}:x:{USER_ID}:")),
    ] {
        let source = Path::new("/etc").join(name);
        let mine = dir.join(name);
        // Copying keeps the mode: shadow stays readable by root only.
        fs::copy(&source, &mine).map_err(|error| DesktopError::File {
            path: source.clone(),
            source: error,
        })?;
        let prefix = format!("{user}:");
        let mut lines: Vec<_> = read(&source)?
            .lines()
            .filter(|line| !line.starts_with(&prefix))
            .map(str::to_owned)
            .collect();
        lines.push(line);
        write(&mine, &(lines.join("\n") + "\n"))?;
    }
    Ok(())
}

/// The folder that becomes `/etc/xrdp`: the machine's key maps and keys, our two ini files, certificate and session script.
///
/// xrdp 0.9 reads the login service's port from `/etc/xrdp/sesman.ini` whatever `--config` says, and reaches the session's
/// sockets only when the service is on 127.0.0.1: several desktops at once therefore need a private `/etc/xrdp`.
fn write_config(
    etc: &Path,
    options: &DesktopOptions,
    port: u16,
    sesman_port: u16,
) -> Result<(), DesktopError> {
    let system = Path::new("/etc/xrdp");
    make_dir(etc)?;
    let entries = fs::read_dir(system).map_err(|source| DesktopError::File {
        path: system.into(),
        source,
    })?;
    for entry in entries.flatten() {
        let name = entry.file_name();
        if name.to_string_lossy().starts_with("km-")
            || name == "rsakeys.ini"
            || name == "xrdp_keyboard.ini"
        {
            let path = entry.path();
            fs::copy(&path, etc.join(&name))
                .map_err(|source| DesktopError::File { path, source })?;
        }
    }
    let ended = etc.join("ended");
    if ended.exists() {
        fs::remove_file(&ended).map_err(|source| DesktopError::File {
            path: ended,
            source,
        })?;
    }

    // RSA: xrdp 0.9 loads nothing else.
    let mut openssl = Command::new("openssl");
    openssl.args([
        "req",
        "-x509",
        "-newkey",
        "rsa:2048",
        "-nodes",
        "-days",
        "30",
        "-subj",
        "/CN=xrdp-desktop",
    ]);
    openssl
        .args(["-addext", "subjectAltName=IP:127.0.0.1", "-keyout"])
        .arg(etc.join("key.pem"));
    openssl.arg("-out").arg(etc.join("cert.pem"));
    run(openssl)?;

    let layer = match options.security {
        Security::Tls => "tls",
        Security::Rdp => "rdp",
    };
    write(
        &etc.join("xrdp.ini"),
        &format!(
            "[Globals]\nini_version=1\nfork=true\nport=tcp://127.0.0.1:{port}\ntcp_nodelay=true\ntcp_keepalive=true\n\
             security_layer={layer}\ncrypt_level=high\ncertificate=/etc/xrdp/cert.pem\nkey_file=/etc/xrdp/key.pem\n\
             ssl_protocols=TLSv1.2, TLSv1.3\nallow_channels=true\nallow_multimon=true\nbitmap_cache=true\n\
             bitmap_compression=true\nbulk_compression=true\nmax_bpp=32\nnew_cursors=true\nuse_fastpath=both\n\
             [Logging]\nLogFile=/etc/xrdp/xrdp.log\nLogLevel=INFO\nEnableSyslog=false\n\
             [Channels]\nrdpdr=true\nrdpsnd=true\ndrdynvc=true\ncliprdr=true\n\
             [Xorg]\nname=Xorg\nlib=libxup.so\nusername=ask\npassword=ask\nip=127.0.0.1\nport=-1\ncode=20\n"
        ),
    )?;
    // X listens on an abstract socket too, which no mount hides: a display number of its own for each desktop.
    let first_display = 1_000 + u32::from(u16::from_le_bytes(random()?) % 2_000) * 10;
    write(
        &etc.join("sesman.ini"),
        &format!(
            "[Globals]\nListenAddress=127.0.0.1\nListenPort={sesman_port}\nEnableUserWindowManager=false\n\
             UserWindowManager=startwm.sh\nDefaultWindowManager=/etc/xrdp/startwm.sh\nReconnectScript=/bin/true\n\
             [Security]\nAllowRootLogin=false\nMaxLoginRetry=4\nAlwaysGroupCheck=false\n\
             RestrictOutboundClipboard=none\nRestrictInboundClipboard=none\n\
             [Sessions]\nX11DisplayOffset={first_display}\nMaxSessions=9\nKillDisconnected=false\nDisconnectedTimeLimit=0\n\
             IdleTimeLimit=0\nPolicy=Default\n\
             [Logging]\nLogFile=/etc/xrdp/sesman.log\nLogLevel=INFO\nEnableSyslog=false\n\
             [Xorg]\nparam=/usr/lib/xorg/Xorg\nparam=-config\nparam=xrdp/xorg.conf\nparam=-noreset\nparam=-nolisten\n\
             param=tcp\nparam=-logfile\nparam=.xorgxrdp.%s.log\n\
             [Chansrv]\nFuseMountName=thinclient_drives\nFileUmask=077\n\
             [ChansrvLogging]\nLogLevel=INFO\nEnableSyslog=false\n[SessionVariables]\n"
        ),
    )?;
    write_session(etc, Path::new("/etc/xrdp"), &options.startup)
}

/// Writes `startwm.sh`, the session: the background, a window manager, and once that manages windows a terminal in a font
/// that can be read, and `startup`. The scripts are written to `dir` and run as if they were in `seen_as`.
pub(crate) fn write_session(dir: &Path, seen_as: &Path, startup: &str) -> Result<(), DesktopError> {
    let [red, green, blue] = BACKGROUND;
    let windows = seen_as.join("windows.sh");
    // A window opened while openbox starts up is never shown, so openbox itself starts the windows.
    let session = format!(
        "#!/bin/sh\nxsetroot -solid '#{red:02x}{green:02x}{blue:02x}'\nexec openbox --startup \"sh '{}'\"\n",
        windows.display()
    );
    let terminal = "xterm -fa 'DejaVu Sans Mono' -fs 11 -geometry 80x24+40+40 -title terminal &";
    write(&dir.join("windows.sh"), &format!("{terminal}\n{startup}\n"))?;
    let script = dir.join("startwm.sh");
    write(&script, &session)?;
    // sesman runs it as a program.
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).map_err(|source| {
        DesktopError::File {
            path: script,
            source,
        }
    })
}
