use borsh::{BorshDeserialize, BorshSerialize};

use crate::{
    FormatError, Hash, Keypair, SessionId, SigDomain, Signed, SignedHead, decode_exact, encode,
    hash::MANIFEST,
    head::{check_text, check_version},
    merkle,
};

const VERSION: u16 = 1;

/// The state of the Merkle log after a chunk, signed by the session's key while the session runs. What is anchored.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Checkpoint {
    /// Which session.
    pub session: SessionId,
    /// Chunks in the log.
    pub chunks: u32,
    /// Address of the last of them.
    pub last_chunk: Hash,
    /// Salted root of the log ([`merkle::salted`]).
    pub root: Hash,
    /// Time of the last record, µs since the session began.
    pub end_us: u64,
    /// Wall clock when it was signed, µs since the Unix epoch.
    pub wall_us: u64,
}

impl Checkpoint {
    /// Signs with the session's key.
    ///
    /// # Errors
    /// Never in practice: encoding to memory.
    pub fn sign(&self, session_key: &Keypair) -> Result<Signed, FormatError> {
        Ok(Signed::new(
            session_key,
            SigDomain::Checkpoint,
            encode("a checkpoint", self)?,
        ))
    }

    /// Reads a checkpoint and checks that `head`'s session signed it.
    ///
    /// # Errors
    /// What does not hold.
    pub fn open(signed: &Signed, head: &SignedHead) -> Result<Self, FormatError> {
        signed.verify(&head.ticket.session_key, SigDomain::Checkpoint)?;
        let checkpoint: Self = decode_exact("a checkpoint", &signed.body)?;
        if checkpoint.session != head.ticket.session {
            return Err(FormatError::tampered(
                "a checkpoint",
                "it is of another session",
            ));
        }
        Ok(checkpoint)
    }
}

/// How a recording came to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub enum Ending {
    /// The session ended and its own key signed the manifest.
    Closed,
    /// The recorder died; recovery kept what was there, and the host's key signed the manifest.
    Cut,
}

/// What a recording is, all of it, signed.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Manifest {
    /// Format version.
    pub version: u16,
    /// Which session.
    pub session: SessionId,
    /// Hash of the head ([`SignedHead::hash`]).
    pub head: Hash,
    /// Number of chunks: nothing follows, nothing is missing.
    pub chunks: u32,
    /// Salted root of the Merkle log over all chunks.
    pub root: Hash,
    /// Time of the last record, µs since the session began.
    pub duration_us: u64,
    /// Wall clock when it was sealed, µs since the Unix epoch.
    pub sealed_us: u64,
    /// Bytes of all chunks.
    pub chunk_bytes: u64,
    /// Closed or cut; says which key signed.
    pub ending: Ending,
    /// Why the session ended.
    pub reason: String,
}

/// A manifest whose signature was checked against the head's ticket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignedManifest {
    /// The manifest.
    pub manifest: Manifest,
    bytes: Vec<u8>,
}

impl Manifest {
    /// The version this code writes.
    pub const VERSION: u16 = VERSION;

    /// Whether this manifest is about a log with this `root` and `size`.
    pub fn commits_to(&self, head: &SignedHead, root: Hash, size: u32) -> bool {
        self.chunks == size && self.root == merkle::salted(&head.head.salt, size, root)
    }
}

impl SignedManifest {
    /// Signs with the session's key when closed, with the host's when cut.
    ///
    /// # Errors
    /// When the key is not the one `head` names for that ending.
    pub fn sign(
        manifest: &Manifest,
        head: &SignedHead,
        key: &Keypair,
    ) -> Result<Self, FormatError> {
        let signed = Signed::new(key, SigDomain::Manifest, encode("the manifest", manifest)?);
        Self::decode(&encode("the manifest", &signed)?, head)
    }

    /// Reads and checks a manifest of the recording that `head` begins.
    ///
    /// # Errors
    /// What does not hold.
    pub fn decode(bytes: &[u8], head: &SignedHead) -> Result<Self, FormatError> {
        let signed: Signed = decode_exact("the manifest", bytes)?;
        check_version("the manifest", &signed.body, VERSION)?;
        let manifest: Manifest = decode_exact("the manifest", &signed.body)?;
        check_text("the manifest's reason", &manifest.reason)?;
        let key = match manifest.ending {
            Ending::Closed => &head.ticket.session_key,
            Ending::Cut => &head.ticket.host_key,
        };
        signed.verify(key, SigDomain::Manifest)?;
        if manifest.session != head.ticket.session || manifest.head != head.hash {
            return Err(FormatError::tampered(
                "the manifest",
                "it is of another recording",
            ));
        }
        Ok(Self {
            manifest,
            bytes: bytes.to_vec(),
        })
    }

    /// Its hash, signature and all: what is anchored when the session is closed.
    pub fn hash(&self) -> Hash {
        Hash::derive(MANIFEST, &[&self.bytes])
    }

    /// The bytes, as they were signed.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}
