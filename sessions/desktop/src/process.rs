//! Starting and ending programs so that none is left behind.

use std::fs::{self, File};
use std::io::{self, Read};
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{OnceLock, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::DesktopError;

/// How often a wait looks again.
const POLL: Duration = Duration::from_millis(50);
/// How long a program may take to end by itself before it is killed.
const GRACE: Duration = Duration::from_secs(2);

/// A running program that is ended on drop.
#[derive(Debug)]
pub(crate) struct Running {
    name: String,
    child: Child,
    log: PathBuf,
}

impl Running {
    /// Starts `command`, its output going to `log`. Unless the command says otherwise (`stdout`), both streams go there.
    pub(crate) fn start(
        name: &str,
        mut command: Command,
        log: &Path,
    ) -> Result<Self, DesktopError> {
        let file = |path: &Path| {
            File::create(path).map_err(|source| DesktopError::File {
                path: path.into(),
                source,
            })
        };
        let out = file(log)?;
        let err = out.try_clone().map_err(|source| DesktopError::File {
            path: log.into(),
            source,
        })?;
        command.stdout(out).stderr(err);
        let child = spawn(command).map_err(|source| DesktopError::Spawn {
            program: name.into(),
            source,
        })?;
        Ok(Self {
            name: name.into(),
            child,
            log: log.into(),
        })
    }

    pub(crate) fn child_mut(&mut self) -> &mut Child {
        &mut self.child
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn log(&self) -> &Path {
        &self.log
    }

    /// `Some` once the program has ended.
    pub(crate) fn exit_status(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().ok().flatten()
    }

    /// An error if the program has ended, with its last words.
    pub(crate) fn check(&mut self) -> Result<(), DesktopError> {
        match self.exit_status() {
            None => Ok(()),
            Some(status) => Err(DesktopError::Ended {
                program: self.name.clone(),
                status,
                last: last_line(&self.log),
                log: self.log.clone(),
            }),
        }
    }

    /// Waits until the program has ended by itself, at most `limit`.
    pub(crate) fn wait_exit(&mut self, limit: Duration) -> Option<ExitStatus> {
        let deadline = Instant::now() + limit;
        loop {
            let status = self.exit_status();
            if status.is_some() || Instant::now() >= deadline {
                return status;
            }
            thread::sleep(POLL);
        }
    }

    /// Asks the program to end, and insists after a grace period.
    pub(crate) fn stop(&mut self) {
        if self.exit_status().is_none() {
            // The child has not been waited for, so its id cannot have been given to another process.
            let _gone = kill_process(Pid::from_child(&self.child), Signal::TERM);
            if self.wait_exit(GRACE).is_none() {
                let _gone = self.child.kill();
                let _status = self.child.wait();
            }
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stop();
    }
}

/// A command that the kernel kills when this process ends, however it ends.
pub(crate) fn guarded(program: &str) -> Command {
    let mut command = Command::new("setpriv");
    command
        .args(["--pdeathsig", "KILL", "--", program])
        .stdin(Stdio::null());
    command
}

type Job = (Command, mpsc::Sender<io::Result<Child>>);

/// Starts `command` from a thread that lives as long as the process.
///
/// The parent-death signal is sent when the *thread* that started the child ends, so a child started from a test's or
/// a pool's thread would die with that thread, not with the process.
fn spawn(command: Command) -> io::Result<Child> {
    static KEEPER: OnceLock<mpsc::Sender<Job>> = OnceLock::new();
    let keeper = KEEPER.get_or_init(|| {
        let (jobs, queue) = mpsc::channel::<Job>();
        // If no thread can be made the queue is dropped, and every send below fails.
        let _thread = thread::Builder::new()
            .name("desktop-keeper".into())
            .spawn(move || {
                for (mut command, reply) in queue {
                    let _gone = reply.send(command.spawn());
                }
            });
        jobs
    });
    let (reply, answer) = mpsc::channel();
    keeper
        .send((command, reply))
        .map_err(|_| io::Error::other("the thread that starts programs is gone"))?;
    answer
        .recv()
        .map_err(|_| io::Error::other("the thread that starts programs is gone"))?
}

/// An error unless each `(program, package)` is in PATH.
pub(crate) fn need(programs: &[(&'static str, &'static str)]) -> Result<(), DesktopError> {
    // xrdp lives in /usr/sbin, which not every shell has in its PATH.
    let path = std::env::var_os("PATH").unwrap_or_default();
    let dirs: Vec<_> = std::env::split_paths(&path)
        .chain(["/usr/sbin".into(), "/usr/bin".into()])
        .collect();
    for &(program, package) in programs {
        if !dirs.iter().any(|dir| dir.join(program).is_file()) {
            return Err(DesktopError::Missing { program, package });
        }
    }
    Ok(())
}

/// Runs a short helper and gives its output; its failure is an error with its own words.
pub(crate) fn run(mut command: Command) -> Result<Vec<u8>, DesktopError> {
    let program = command.get_program().to_string_lossy().into_owned();
    let output = command
        .stdin(Stdio::null())
        .output()
        .map_err(|source| DesktopError::Spawn {
            program: program.clone(),
            source,
        })?;
    if output.status.success() {
        return Ok(output.stdout);
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let detail = said
        .lines()
        .rfind(|line| !line.trim().is_empty())
        .unwrap_or("no message")
        .trim();
    Err(DesktopError::Tool {
        program,
        detail: format!("{detail} ({})", output.status),
    })
}

/// Polls `ready` until it gives a value, it fails, or `limit` is over.
pub(crate) fn poll<T>(
    what: &str,
    limit: Duration,
    log: &Path,
    mut ready: impl FnMut() -> Result<Option<T>, DesktopError>,
) -> Result<T, DesktopError> {
    let deadline = Instant::now() + limit;
    loop {
        if let Some(value) = ready()? {
            return Ok(value);
        }
        if Instant::now() >= deadline {
            return Err(DesktopError::Timeout {
                what: what.into(),
                seconds: limit.as_secs(),
                log: log.into(),
            });
        }
        thread::sleep(POLL);
    }
}

/// The last line of a log that is not empty.
pub(crate) fn last_line(log: &Path) -> String {
    let text = fs::read(log)
        .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
        .unwrap_or_default();
    text.lines()
        .rfind(|line| !line.trim().is_empty())
        .unwrap_or("it said nothing")
        .trim()
        .to_owned()
}

/// Whether something listens on this TCP port, without connecting: servers log and count probes.
pub(crate) fn listens(port: u16) -> bool {
    // sesman listens on ::ffff:127.0.0.1, which is in the second table.
    ["/proc/net/tcp", "/proc/net/tcp6"].iter().any(|table| {
        // proc(5): local address as HEXIP:HEXPORT, remote address, state; 0A is LISTEN.
        fs::read_to_string(table)
            .unwrap_or_default()
            .lines()
            .skip(1)
            .any(|line| {
                let mut fields = line.split_ascii_whitespace().skip(1);
                let local = fields.next().and_then(|address| address.split_once(':'));
                let state = fields.nth(1);
                state == Some("0A")
                    && local.is_some_and(|(_, hex)| u16::from_str_radix(hex, 16) == Ok(port))
            })
    })
}

/// A port that is free now. It is taken from below the range the system gives to outgoing connections, so it stays free
/// unless another program picks the same number in the next second; starting then fails and is tried again.
pub(crate) fn free_port() -> Result<u16, DesktopError> {
    const TRIES: u32 = 200;
    for _ in 0..TRIES {
        let port = 20_000 + u16::from_le_bytes(random()?) % 12_000;
        if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            return Ok(port);
        }
    }
    Err(DesktopError::NoPort { tries: TRIES })
}

/// Bytes from the system's random source.
pub(crate) fn random<const N: usize>() -> Result<[u8; N], DesktopError> {
    const SOURCE: &str = "/dev/urandom";
    let mut bytes = [0; N];
    File::open(SOURCE)
        .and_then(|mut file| file.read_exact(&mut bytes))
        .map_err(|source| DesktopError::File {
            path: SOURCE.into(),
            source,
        })?;
    Ok(bytes)
}

pub(crate) fn make_dir(path: &Path) -> Result<(), DesktopError> {
    fs::create_dir_all(path).map_err(|source| DesktopError::File {
        path: path.into(),
        source,
    })
}

pub(crate) fn write(path: &Path, text: &str) -> Result<(), DesktopError> {
    fs::write(path, text).map_err(|source| DesktopError::File {
        path: path.into(),
        source,
    })
}

pub(crate) fn read(path: &Path) -> Result<String, DesktopError> {
    fs::read_to_string(path).map_err(|source| DesktopError::File {
        path: path.into(),
        source,
    })
}
