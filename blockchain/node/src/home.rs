//! A node's folder: where things are, and its keys.
//!
//! ```text
//!  HOME/genesis.json         what the chain starts from; the same for all
//!      /node.toml            this node's configuration
//!      /keys/operator.key    secp256k1: the account that earns, votes in governance and leads
//!           /consensus.key   Ed25519: votes and proposals
//!           /vrf.key         ECVRF (RFC 9381)
//!           /network.key     Ed25519: the node's name among peers
//!      /data/                blocks and state
//!      /readmodel/           the read model, where it is the embedded one; made from the blocks
//!      /snapshots/           the newest two snapshots, see state.snapshot_every
//!      /custody/             chunks kept for others, see lucid_custody::files
//!      /consensus/           write-ahead log, and the signer's memory of what it signed
//! ```
//!
//! A key file is 64 hex digits, readable by its owner only.

use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use alloy_primitives::{B256, hex};
use lucid_chain_types::{Genesis, NodeId};
use lucid_client::Wallet;
use zeroize::{Zeroize as _, Zeroizing};

use crate::NodeError;

/// A node's folder.
#[derive(Debug, Clone)]
pub struct Home(PathBuf);

/// Names of the key files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyFile {
    /// secp256k1.
    Operator,
    /// Ed25519, for votes.
    Consensus,
    /// Ed25519 curve, for the VRF.
    Vrf,
    /// Ed25519, for libp2p.
    Network,
}

impl KeyFile {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Operator, Self::Consensus, Self::Vrf, Self::Network];

    const fn name(self) -> &'static str {
        match self {
            Self::Operator => "operator.key",
            Self::Consensus => "consensus.key",
            Self::Vrf => "vrf.key",
            Self::Network => "network.key",
        }
    }
}

/// 32 secret bytes, wiped when dropped.
pub type SecretBytes = Zeroizing<[u8; 32]>;

impl Home {
    /// The folder at a path, which need not be there yet.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self(path.into())
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// The genesis file.
    pub fn genesis_path(&self) -> PathBuf {
        self.0.join("genesis.json")
    }

    /// The configuration.
    pub fn config_path(&self) -> PathBuf {
        self.0.join("node.toml")
    }

    /// Blocks and state.
    pub fn data(&self) -> PathBuf {
        self.0.join("data")
    }

    /// The embedded read model.
    pub fn readmodel(&self) -> PathBuf {
        self.0.join("readmodel")
    }

    /// Snapshots of the chain, for others and for backups.
    pub fn snapshots(&self) -> PathBuf {
        self.0.join("snapshots")
    }

    /// Chunks kept for others.
    pub fn custody(&self) -> PathBuf {
        self.0.join("custody")
    }

    /// The engine's files.
    pub fn consensus(&self) -> PathBuf {
        self.0.join("consensus")
    }

    /// Waiting transactions, kept over a restart.
    pub fn mempool_path(&self) -> PathBuf {
        self.0.join("mempool.journal")
    }

    /// A key file.
    pub fn key_path(&self, key: KeyFile) -> PathBuf {
        self.0.join("keys").join(key.name())
    }

    /// Reads and checks the genesis file.
    pub fn genesis(&self) -> Result<Genesis, NodeError> {
        let path = self.genesis_path();
        let bytes = fs::read(&path).map_err(|source| NodeError::file(&path, source))?;
        Genesis::parse(&bytes).map_err(|source| NodeError::Genesis { path, source })
    }

    /// Makes a key, unless it is there already: keys are never overwritten.
    pub fn make_key(&self, key: KeyFile) -> Result<SecretBytes, NodeError> {
        let path = self.key_path(key);
        if path.exists() {
            return self.key(key);
        }
        let mut secret = SecretBytes::default();
        loop {
            getrandom::fill(secret.as_mut())
                .map_err(|error| NodeError::file(&path, io::Error::other(error.to_string())))?;
            // One in 2^128 draws is no secp256k1 key.
            if key != KeyFile::Operator || Wallet::from_bytes(&secret).is_ok() {
                break;
            }
        }
        write_key(&path, &secret)?;
        Ok(secret)
    }

    /// Reads a key.
    pub fn key(&self, key: KeyFile) -> Result<SecretBytes, NodeError> {
        read_key(&self.key_path(key))
    }

    /// The node's name on the chain: the operator's account.
    pub fn node_id(&self) -> Result<NodeId, NodeError> {
        let path = self.key_path(KeyFile::Operator);
        match Wallet::from_bytes(&*self.key(KeyFile::Operator)?) {
            Ok(wallet) => Ok(NodeId(wallet.address())),
            Err(error) => Err(NodeError::Key {
                path,
                reason: error.to_string(),
            }),
        }
    }
}

/// Reads a key file: 64 hex digits, for its owner's eyes only.
fn read_key(path: &Path) -> Result<SecretBytes, NodeError> {
    let fault = |reason: String| NodeError::Key {
        path: path.to_owned(),
        reason,
    };
    let metadata = fs::metadata(path).map_err(|source| NodeError::file(path, source))?;
    let mode = metadata.permissions().mode() & 0o777;
    if mode & 0o077 != 0 {
        return Err(fault(format!(
            "others may read it (mode {mode:03o}); run: chmod 600 {}",
            path.display()
        )));
    }
    if metadata.len() > 128 {
        return Err(fault(
            "it is too long for a key: 64 hex digits are expected".into(),
        ));
    }
    let text =
        Zeroizing::new(fs::read_to_string(path).map_err(|source| NodeError::file(path, source))?);
    let mut secret = SecretBytes::default();
    let digits = text.trim();
    hex::decode_to_slice(digits.strip_prefix("0x").unwrap_or(digits), secret.as_mut())
        .map_err(|_| fault("it is not 64 hex digits".into()))?;
    Ok(secret)
}

/// Writes a key file that was not there.
fn write_key(path: &Path, secret: &[u8; 32]) -> Result<(), NodeError> {
    let write = || {
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder)?;
            fs::set_permissions(folder, fs::Permissions::from_mode(0o700))?;
        }
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(path)?;
        let mut text = hex::encode(secret);
        text.push('\n');
        let written = file
            .write_all(text.as_bytes())
            .and_then(|()| file.sync_all());
        text.zeroize();
        written
    };
    write().map_err(|source| NodeError::file(path, source))
}

/// A genesis hash as people compare it: the first eight bytes.
pub fn short(hash: B256) -> String {
    hex::encode(&hash[..8])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_made_once_and_kept_from_others() {
        let folder = tempfile::tempdir().unwrap();
        let home = Home::new(folder.path());
        let made = home.make_key(KeyFile::Operator).unwrap();
        assert_eq!(home.make_key(KeyFile::Operator).unwrap(), made);
        assert_eq!(home.key(KeyFile::Operator).unwrap(), made);
        let path = home.key_path(KeyFile::Operator);
        assert_eq!(
            fs::metadata(&path).unwrap().permissions().mode() & 0o777,
            0o600
        );
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        let error = home.key(KeyFile::Operator).unwrap_err().to_string();
        assert!(error.contains("chmod 600"), "{error}");
    }
}
