//! A key, and transactions signed with it.

use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use alloy_consensus::{SignableTransaction, TxEip1559};
use alloy_eips::eip2718::Encodable2718;
use alloy_primitives::{Address, B256, Signature, hex};
use secp256k1::{Message, PublicKey, Secp256k1, SecretKey};
use zeroize::Zeroizing;

/// Bytes of a key file that are read at most: 0x, 64 digits, and blanks around them.
const MAX_FILE: u64 = 256;

/// A secp256k1 key. It is erased when it is dropped and never shown.
#[derive(Clone)]
pub struct Wallet {
    key: Zeroizing<[u8; 32]>,
    address: Address,
}

/// Why a key cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum WalletError {
    /// The file.
    #[error("the key file {path}: {source}")]
    File {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Others could read it.
    #[error(
        "the key file {path} can be read by others (mode {mode:03o}); 'chmod 600 {path}' and think about who has it"
    )]
    Mode {
        /// The file.
        path: PathBuf,
        /// Its mode.
        mode: u32,
    },
    /// Not a key.
    #[error("{what} is not a key: 0x and 64 hex digits, from 1 to the order of secp256k1")]
    Malformed {
        /// Where it came from.
        what: String,
    },
    /// No random numbers.
    #[error("the system has no random numbers: {0}")]
    Random(getrandom::Error),
}

impl Wallet {
    /// A new key.
    pub fn generate() -> Result<Self, WalletError> {
        let mut bytes = Zeroizing::new([0; 32]);
        loop {
            getrandom::fill(bytes.as_mut()).map_err(WalletError::Random)?;
            // One in 2¹²⁸ is no key.
            if let Ok(wallet) = Self::from_bytes(&bytes) {
                return Ok(wallet);
            }
        }
    }

    /// This key.
    pub fn from_bytes(bytes: &[u8; 32]) -> Result<Self, WalletError> {
        let malformed = || WalletError::Malformed {
            what: "the number".to_owned(),
        };
        let mut secret = SecretKey::from_byte_array(bytes).map_err(|_| malformed())?;
        let public = PublicKey::from_secret_key(&Secp256k1::signing_only(), &secret);
        secret.non_secure_erase();
        Ok(Self {
            key: Zeroizing::new(*bytes),
            address: address_of(&public),
        })
    }

    /// A key as text: 64 hex digits, with or without 0x.
    pub fn from_hex(text: &str) -> Result<Self, WalletError> {
        Self::parse(text, "the text")
    }

    fn parse(text: &str, what: &str) -> Result<Self, WalletError> {
        let malformed = || WalletError::Malformed {
            what: what.to_owned(),
        };
        let mut bytes = Zeroizing::new([0; 32]);
        hex::decode_to_slice(text.trim(), bytes.as_mut()).map_err(|_| malformed())?;
        Self::from_bytes(&bytes).map_err(|_| malformed())
    }

    /// Reads a key file that only its owner can read.
    pub fn load(path: &Path) -> Result<Self, WalletError> {
        let fault = |source| WalletError::File {
            path: path.to_owned(),
            source,
        };
        let file = File::open(path).map_err(fault)?;
        let mode = file.metadata().map_err(fault)?.mode() & 0o777;
        if mode & 0o077 != 0 {
            return Err(WalletError::Mode {
                path: path.to_owned(),
                mode,
            });
        }
        let mut text = Zeroizing::new(String::new());
        file.take(MAX_FILE)
            .read_to_string(&mut text)
            .map_err(fault)?;
        Self::parse(&text, &path.display().to_string())
    }

    /// Writes the key to a new file that only its owner can read.
    pub fn save(&self, path: &Path) -> Result<(), WalletError> {
        let fault = |source| WalletError::File {
            path: path.to_owned(),
            source,
        };
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(path)
            .map_err(fault)?;
        let text = self.to_hex();
        file.write_all(text.as_bytes())
            .and_then(|()| file.write_all(b"\n"))
            .and_then(|()| file.sync_all())
            .map_err(fault)
    }

    /// The key as text, for a file.
    pub fn to_hex(&self) -> Zeroizing<String> {
        Zeroizing::new(hex::encode_prefixed(self.key.as_slice()))
    }

    /// The account.
    pub fn address(&self) -> Address {
        self.address
    }

    /// Signs a hash, such as that of a transaction or of EIP-712 data.
    pub fn sign_hash(&self, hash: B256) -> Result<Signature, WalletError> {
        let malformed = |_| WalletError::Malformed {
            what: "the wallet's number".to_owned(),
        };
        let mut secret = SecretKey::from_byte_array(&self.key).map_err(malformed)?;
        let signed = Secp256k1::signing_only()
            .sign_ecdsa_recoverable(&Message::from_digest(hash.0), &secret);
        secret.non_secure_erase();
        let (recovery, bytes) = signed.serialize_compact();
        let odd = i32::from(recovery) & 1 == 1;
        Ok(Signature::from_bytes_and_parity(&bytes, odd))
    }

    /// Signs a transaction; the bytes are what `eth_sendRawTransaction` takes.
    pub fn sign(&self, transaction: TxEip1559) -> Result<Vec<u8>, WalletError> {
        let signature = self.sign_hash(transaction.signature_hash())?;
        Ok(transaction.into_signed(signature).encoded_2718())
    }
}

fn address_of(public: &PublicKey) -> Address {
    let uncompressed = public.serialize_uncompressed();
    Address::from_raw_public_key(&uncompressed[1..])
}

impl fmt::Debug for Wallet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Wallet({})", self.address)
    }
}
