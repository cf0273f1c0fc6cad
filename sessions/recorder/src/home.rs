use std::{
    fs, io,
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use lucid_format::Keypair;
use zeroize::Zeroizing;

use crate::RecorderError;

/// The folder that holds everything a host keeps: `~/.lucid`, `--home` or `LUCID_HOME`.
///
/// ```text
/// identity.key   this host's Ed25519 key (0600)      tls/       the gateway's certificate
/// targets.toml   desktops and their credentials      tickets/   minted and used tickets
/// store/         chunks and sessions                 audit.jsonl  hash-chained log
/// anchors/       what is anchored on the chain, or will be
/// keys/          recipients' public keys, and secret ones of people who work here
/// ```
#[derive(Debug, Clone)]
pub struct Home {
    root: PathBuf,
}

impl Home {
    /// Opens the folder, making it (0700) when it is not there.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn open(root: &Path) -> Result<Self, RecorderError> {
        make_dir(root)?;
        Ok(Self {
            root: root.to_owned(),
        })
    }

    /// The folder itself.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Chunks and sessions.
    pub fn store(&self) -> PathBuf {
        self.root.join("store")
    }

    /// Tickets.
    pub fn tickets(&self) -> PathBuf {
        self.root.join("tickets")
    }

    /// Key files.
    pub fn keys(&self) -> PathBuf {
        self.root.join("keys")
    }

    /// The targets file.
    pub fn targets(&self) -> PathBuf {
        self.root.join("targets.toml")
    }

    /// The gateway's certificate and key.
    pub fn tls(&self) -> (PathBuf, PathBuf) {
        (
            self.root.join("tls/gateway.crt"),
            self.root.join("tls/gateway.key"),
        )
    }

    /// The audit log.
    pub fn audit(&self) -> PathBuf {
        self.root.join("audit.jsonl")
    }

    /// The running gateway's control socket.
    pub fn control(&self) -> PathBuf {
        self.root.join("gateway.sock")
    }

    /// The anchor queue's folder.
    pub fn anchors(&self) -> PathBuf {
        self.root.join("anchors")
    }

    /// This host's identity, made on first use.
    ///
    /// # Errors
    /// When the file cannot be read or made, or is not 32 bytes of hex.
    pub fn identity(&self) -> Result<Keypair, RecorderError> {
        let path = self.root.join("identity.key");
        match fs::read_to_string(&path) {
            Ok(text) => {
                let text = Zeroizing::new(text);
                let secret = data_encoding::HEXLOWER
                    .decode(text.trim().as_bytes())
                    .ok()
                    .map(Zeroizing::new);
                let secret: Option<&[u8; 32]> =
                    secret.as_ref().and_then(|s| s.as_slice().try_into().ok());
                secret
                    .map(Keypair::from_secret)
                    .ok_or(RecorderError::Identity { path })
            }
            Err(e) if e.kind() == io::ErrorKind::NotFound => {
                let key = Keypair::generate(&mut crate::rng());
                let text = Zeroizing::new(format!(
                    "{}\n",
                    data_encoding::HEXLOWER.encode(key.secret().as_ref())
                ));
                // Two first starts at once: one wins, and both use what it wrote.
                if write_new(&path, text.as_bytes(), 0o600)? {
                    Ok(key)
                } else {
                    self.identity()
                }
            }
            Err(e) => Err(RecorderError::io("reading", &path, e)),
        }
    }
}

/// Makes a folder that only its owner can enter.
pub(crate) fn make_dir(path: &Path) -> Result<(), RecorderError> {
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .map_err(|e| RecorderError::io("making folder", path, e))
}

/// Writes a file whole or not at all, and never over another; `false` when one is there already.
///
/// # Errors
/// When writing fails.
pub fn write_new(path: &Path, bytes: &[u8], mode: u32) -> Result<bool, RecorderError> {
    let fault = |e| RecorderError::io("writing", path, e);
    let folder = path.parent().unwrap_or(Path::new("."));
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}.tmp", crate::random_name()));
    let temporary = folder.join(name);
    let mut file = fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(&temporary)
        .map_err(fault)?;
    let written = io::Write::write_all(&mut file, bytes).and_then(|()| file.sync_all());
    let linked = written.and_then(|()| fs::hard_link(&temporary, path));
    fs::remove_file(&temporary).map_err(fault)?;
    match linked {
        Ok(()) => sync_dir(folder).map(|()| true),
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists => Ok(false),
        Err(e) => Err(fault(e)),
    }
}

/// Puts a file in the place of another, whole or not at all.
pub fn replace(path: &Path, bytes: &[u8], mode: u32) -> Result<(), RecorderError> {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}.new", crate::random_name()));
    let fresh = path.with_file_name(name);
    write_new(&fresh, bytes, mode)?;
    fs::rename(&fresh, path).map_err(|e| RecorderError::io("replacing", path, e))?;
    sync_dir(path.parent().unwrap_or(Path::new(".")))
}

/// Makes renames in a folder survive a power cut.
pub(crate) fn sync_dir(path: &Path) -> Result<(), RecorderError> {
    fs::File::open(path)
        .and_then(|d| d.sync_all())
        .map_err(|e| RecorderError::io("syncing", path, e))
}
