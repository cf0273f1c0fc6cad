//! The programs Lucid is measured against, on the same file, with output on the same file system.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};

use super::report::cpu;

/// One of them.
pub struct Peer {
    /// As people call it.
    pub name: &'static str,
    /// Programs it needs.
    needs: &'static [&'static str],
    /// Stores a file; takes the file and an empty folder.
    run: fn(&Path, &Path) -> Result<Run>,
}

/// How it went.
pub struct Run {
    /// Wall time.
    pub took: Duration,
    /// User and system time of all processes and threads, in hundredths of a second.
    pub cpu: Duration,
    /// Bytes it left on the disk.
    pub bytes: u64,
}

/// All of them. The second ends as Lucid does: with everything on the disk.
pub const ALL: [Peer; 5] = [
    Peer {
        name: ZSTD_AGE,
        needs: &["zstd", "age", "age-keygen"],
        run: |file, dir| zstd_age(file, dir, false),
    },
    Peer {
        name: ZSTD_AGE_SYNCED,
        needs: &["zstd", "age", "age-keygen"],
        run: |file, dir| zstd_age(file, dir, true),
    },
    Peer {
        name: "restic",
        needs: &["restic"],
        run: restic,
    },
    Peer {
        name: "borg -C zstd,1",
        needs: &["borg"],
        run: borg,
    },
    Peer {
        name: "rustic",
        needs: &["rustic"],
        run: rustic,
    },
];

/// The first peer.
pub const ZSTD_AGE: &str = "zstd -1 | age";
/// The second.
pub const ZSTD_AGE_SYNCED: &str = "zstd -1 | age, then fdatasync";

impl Peer {
    /// The first program it needs that is not there.
    pub fn lacks(&self) -> Option<&'static str> {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let there =
            |program: &&str| std::env::split_paths(&path).any(|dir| dir.join(program).is_file());
        self.needs.iter().find(|program| !there(program)).copied()
    }

    /// Runs it once.
    pub fn run(&self, file: &Path, scratch: &Path) -> Result<Run> {
        let dir = tempfile::tempdir_in(scratch)?;
        (self.run)(file, dir.path()).with_context(|| self.name)
    }
}

/// A command that finds nothing of this user's and leaves nothing behind.
fn command(program: &str, dir: &Path) -> Command {
    let mut command = Command::new(program);
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped());
    command
        .env("HOME", dir)
        .env("XDG_CACHE_HOME", dir.join("cache"))
        .env("XDG_CONFIG_HOME", dir.join("config"));
    command
}

fn run(mut command: Command) -> Result<Duration> {
    let begin = Instant::now();
    let output = command.output()?;
    let took = begin.elapsed();
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        bail!(
            "{}: {}",
            output.status,
            said.lines().last().unwrap_or_default()
        );
    }
    Ok(took)
}

fn zstd_age(file: &Path, dir: &Path, sync: bool) -> Result<Run> {
    let key = dir.join("key");
    let mut keygen = command("age-keygen", dir);
    keygen.arg("-o").arg(&key);
    run(keygen)?;
    let text = fs::read_to_string(&key)?;
    let recipient = text
        .lines()
        .find_map(|l| l.strip_prefix("# public key: "))
        .context("age-keygen names no public key")?;

    let out = dir.join("out");
    let (before, begin) = (cpu()?.1, Instant::now());
    let mut zstd = command("zstd", dir);
    zstd.args(["-1", "-T1", "-q", "-c"])
        .arg(file)
        .stdout(Stdio::piped());
    let mut zstd = zstd.spawn()?;
    let pipe = zstd.stdout.take().context("zstd has no output")?;
    let mut age = command("age", dir);
    age.args(["-r", recipient, "-o"]).arg(&out).stdin(pipe);
    run(age)?;
    if !zstd.wait()?.success() {
        bail!("zstd failed");
    }
    if sync {
        File::open(&out)?.sync_data()?;
    }
    Ok(Run {
        took: begin.elapsed(),
        cpu: cpu()?.1.saturating_sub(before),
        bytes: fs::metadata(&out)?.len(),
    })
}

fn restic(file: &Path, dir: &Path) -> Result<Run> {
    let repository = dir.join("repository");
    let restic = || {
        let mut restic = command("restic", dir);
        restic
            .env("RESTIC_PASSWORD", "benchmark")
            .arg("-q")
            .arg("-r")
            .arg(&repository);
        restic
    };
    let mut init = restic();
    init.args(["init", "--repository-version", "2"]);
    run(init)?;
    let mut backup = restic();
    backup.arg("backup");
    stored(file, &repository, backup)
}

fn borg(file: &Path, dir: &Path) -> Result<Run> {
    let repository = dir.join("repository");
    let borg = || {
        let mut borg = command("borg", dir);
        borg.env("BORG_PASSPHRASE", "benchmark")
            .env("BORG_BASE_DIR", dir);
        borg
    };
    let mut init = borg();
    init.args(["init", "-e", "repokey-blake2"]).arg(&repository);
    run(init)?;
    let mut archive = repository.clone().into_os_string();
    archive.push("::archive");
    let mut create = borg();
    create.args(["create", "-C", "zstd,1"]).arg(archive);
    stored(file, &repository, create)
}

fn rustic(file: &Path, dir: &Path) -> Result<Run> {
    let repository = dir.join("repository");
    let rustic = || {
        let mut rustic = command("rustic", dir);
        rustic
            .env("RUSTIC_PASSWORD", "benchmark")
            .arg("--no-progress")
            .arg("-r")
            .arg(&repository);
        rustic
    };
    let mut init = rustic();
    init.arg("init");
    run(init)?;
    let mut backup = rustic();
    backup.arg("backup");
    stored(file, &repository, backup)
}

/// Times `store` with the file as its last argument, and measures what the repository grew by.
fn stored(file: &Path, repository: &Path, mut store: Command) -> Result<Run> {
    store.arg(file);
    let (before, cpu_before) = (size(repository)?, cpu()?.1);
    let took = run(store)?;
    Ok(Run {
        took,
        cpu: cpu()?.1.saturating_sub(cpu_before),
        bytes: size(repository)? - before,
    })
}

fn size(dir: &Path) -> Result<u64> {
    let mut total = 0;
    let mut folders: Vec<PathBuf> = vec![dir.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder)? {
            let entry = entry?;
            if entry.file_type()?.is_dir() {
                folders.push(entry.path());
            } else {
                total += entry.metadata()?.len();
            }
        }
    }
    Ok(total)
}
