//! Snapshots of the chain: the state after a block, that block, and the proof that it is final.
//!
//! ```text
//! manifest = "LUCIDSNP", version u8 = 1, borsh { proof, state, tip }
//!            proof   a finality proof file (lucid-light): every change of the validator set, header, certificate
//!            state   a manifest of lucid-state
//!            tip     BLAKE3 of each piece of the tip
//! pieces   = those of the tip, then those of the state; none above 1 MiB
//! tip      = zstd(borsh { block, receipts, next validators where the block changes them }), cut into pieces of 1 MiB
//! ```
//!
//! Who takes one trusts the genesis file alone: the proof leads from it to the header, the header names the state's root and the
//! roots of the block's parts, and the manifest's hashes only serve to find a bad piece when it comes. A ledger that began with a
//! snapshot has no block below it, and makes finality proofs all the same, since the changes of the set are in the proof.

use alloy_primitives::B256;
use borsh::{BorshDeserialize, BorshSerialize};
use lucid_chain_types::{Block, CertifiedBlock, Header, Height, MAX_BLOCK_BYTES, decode};
use lucid_execution::{Receipt, SystemRecord, receipts_root};
use lucid_light::{FinalityProof, SetChange, TrustedGenesis, VerifiedHeader, verify};
use lucid_state::{MAX_PIECE_BYTES, Manifest, Pieces};

use crate::LedgerError;
use crate::ledger::{Ledger, begin};
use crate::store::{Added, encode, unpack};

const MAGIC: &[u8; 8] = b"LUCIDSNP";
const VERSION: u8 = 1;

/// Most bytes of a manifest: an answer of lucid-gossip holds it. With 20 validators that is the manifest of a state of some fifty
/// gigabytes and seven hundred changes of the set.
pub const MAX_SNAPSHOT_MANIFEST_BYTES: usize = (4 << 20) - 1024;
/// No piece is longer.
pub const MAX_SNAPSHOT_PIECE_BYTES: usize = MAX_PIECE_BYTES;
/// Most bytes of a block, its receipts and the next validators. A block's gas bounds its receipts far below that.
const MAX_TIP_BYTES: usize = MAX_BLOCK_BYTES + (56 << 20);
/// A snapshot is read at once and written once: what it is packed with is zstd's own default.
const ZSTD_LEVEL: i32 = 3;

/// What a snapshot is of, and what it consists of. Read from outside, it says nothing until it is verified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SnapshotManifest {
    proof: FinalityProof,
    state: Manifest,
    tip: Vec<B256>,
}

#[derive(BorshSerialize, BorshDeserialize)]
struct Encoded {
    proof: Vec<u8>,
    state: Vec<u8>,
    tip: Vec<B256>,
}

/// The block of a snapshot.
#[derive(BorshSerialize, BorshDeserialize)]
struct Tip {
    block: CertifiedBlock,
    receipts: Vec<Receipt>,
}

impl SnapshotManifest {
    /// Its encoding.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let encoded = Encoded {
            proof: self.proof.encode(),
            state: self.state.encode(),
            tip: self.tip.clone(),
        };
        let mut bytes = MAGIC.to_vec();
        bytes.push(VERSION);
        let written = encoded.serialize(&mut bytes);
        debug_assert!(written.is_ok(), "writing to memory does not fail");
        bytes
    }

    /// Reads a manifest of this version within its bounds; refuses all else.
    pub fn decode(bytes: &[u8]) -> Result<Self, LedgerError> {
        let refused = |reason: &str| LedgerError::Snapshot(reason.to_owned());
        if bytes.len() > MAX_SNAPSHOT_MANIFEST_BYTES {
            return Err(refused("its manifest is too long"));
        }
        let rest = bytes
            .strip_prefix(MAGIC)
            .ok_or_else(|| refused("this is no manifest of a snapshot"))?;
        let (version, rest) = rest
            .split_first()
            .ok_or_else(|| refused("its manifest is cut"))?;
        if *version != VERSION {
            return Err(LedgerError::Snapshot(format!(
                "its manifest has version {version}, this program knows {VERSION}"
            )));
        }
        let Encoded { proof, state, tip } = decode("a manifest", rest, MAX_SNAPSHOT_MANIFEST_BYTES)
            .map_err(LedgerError::snapshot)?;
        if tip.is_empty() || tip.len() > MAX_TIP_BYTES.div_ceil(MAX_PIECE_BYTES) {
            return Err(refused("its block has no pieces, or too many"));
        }
        let proof = FinalityProof::decode(&proof).map_err(LedgerError::snapshot)?;
        Ok(Self {
            proof,
            state: Manifest::decode(&state)?,
            tip,
        })
    }

    /// The block after which it is the state, as it says.
    #[must_use]
    pub fn height(&self) -> Height {
        self.proof.header.height
    }

    /// How many pieces there are.
    #[must_use]
    pub fn pieces(&self) -> usize {
        self.tip.len() + self.state.pieces.len()
    }

    /// BLAKE3 over the hashes of all pieces. Nodes that make a snapshot of one block get the same, whatever votes each of them
    /// has collected for it.
    #[must_use]
    pub fn contents(&self) -> B256 {
        let mut hasher = blake3::Hasher::new_derive_key("lucid chain 2026 snapshot contents v1");
        hasher.update(&self.height().0.to_le_bytes());
        for hash in self.tip.iter().chain(&self.state.pieces) {
            hasher.update(hash.as_slice());
        }
        B256::new(*hasher.finalize().as_bytes())
    }

    /// Checks the proof from the genesis file on, and that the state is the proven block's.
    pub fn verify(self, genesis: &TrustedGenesis) -> Result<VerifiedSnapshot, LedgerError> {
        let header = verify(genesis, &self.proof).map_err(LedgerError::snapshot)?;
        let named = (header.height().0, header.header().state_root);
        if (self.state.height, self.state.root) != named {
            return Err(LedgerError::Snapshot(
                "its state is not that of the block it proves".to_owned(),
            ));
        }
        Ok(VerifiedSnapshot {
            manifest: self,
            header,
        })
    }
}

/// A manifest whose block is final. It cannot be made without its proof.
#[derive(Debug, Clone)]
pub struct VerifiedSnapshot {
    manifest: SnapshotManifest,
    header: VerifiedHeader,
}

impl VerifiedSnapshot {
    /// What it consists of.
    #[must_use]
    pub fn manifest(&self) -> &SnapshotManifest {
        &self.manifest
    }

    /// Its block's header.
    #[must_use]
    pub fn header(&self) -> &VerifiedHeader {
        &self.header
    }

    /// The block after which it is the state.
    #[must_use]
    pub fn height(&self) -> Height {
        self.header.height()
    }

    /// How many of the pieces, the first, are of the block.
    pub(crate) fn tip_pieces(&self) -> usize {
        self.manifest.tip.len()
    }

    /// The changes of the validator set below the block.
    pub(crate) fn changes(&self) -> &[SetChange] {
        &self.manifest.proof.changes
    }

    /// The block, with its certificate, from the pieces of it.
    pub(crate) fn tip(&self, packed: &[u8]) -> Result<CertifiedBlock, LedgerError> {
        let mut block = Tip::read(packed, &self.header)?.block;
        block.certificate = self.manifest.proof.certificate.clone();
        Ok(block)
    }

    /// Whether these bytes are the piece with this number.
    pub fn check(&self, index: usize, piece: &[u8]) -> Result<(), LedgerError> {
        let tip = &self.manifest.tip;
        let expected = tip.get(index).or_else(|| {
            self.manifest
                .state
                .pieces
                .get(index.checked_sub(tip.len())?)
        });
        let refused = |reason: &str| LedgerError::Snapshot(format!("piece {index} of it {reason}"));
        let expected = expected.ok_or_else(|| refused("does not exist"))?;
        if piece.len() > MAX_PIECE_BYTES {
            return Err(refused("is too long"));
        }
        if blake3::hash(piece).as_bytes() != &expected.0 {
            return Err(refused("is not what the manifest says"));
        }
        Ok(())
    }
}

impl LedgerError {
    #[expect(
        clippy::needless_pass_by_value,
        reason = "callers hand over errors they are done with"
    )]
    fn snapshot(error: impl ToString) -> Self {
        Self::Snapshot(error.to_string())
    }
}

/// Makes the pieces of a snapshot one by one, while blocks go on.
pub struct Making {
    proof: FinalityProof,
    tip: Vec<B256>,
    /// The pieces of the tip that were not taken yet, the last first.
    waiting: Vec<Vec<u8>>,
    state: Pieces,
}

impl Making {
    /// The block after which it is the state.
    #[must_use]
    pub fn height(&self) -> Height {
        Height(self.state.height())
    }

    /// The next piece; `None` after the last.
    #[expect(
        clippy::should_implement_trait,
        reason = "a failed iterator must not be taken for one that has ended"
    )]
    pub fn next(&mut self) -> Result<Option<Vec<u8>>, LedgerError> {
        match self.waiting.pop() {
            Some(piece) => Ok(Some(piece)),
            None => Ok(self.state.next()?),
        }
    }

    /// The manifest of all pieces, once the last was taken.
    pub fn finish(self) -> Result<SnapshotManifest, LedgerError> {
        let manifest = SnapshotManifest {
            proof: self.proof,
            state: self.state.finish()?,
            tip: self.tip,
        };
        if manifest.encode().len() > MAX_SNAPSHOT_MANIFEST_BYTES {
            return Err(LedgerError::Snapshot(
                "the chain has more state and changes of validators than one manifest holds"
                    .to_owned(),
            ));
        }
        Ok(manifest)
    }
}

impl Ledger {
    /// Begins a snapshot of the chain as it is now. Holds the database's view of this moment until it is dropped.
    pub fn snapshot(&self) -> Result<Making, LedgerError> {
        let state = self.0.state.snapshot()?;
        let height = Height(state.height());
        // INVARIANT: a block is written in one batch with its state, so it is there whatever has come after it.
        let missing = || LedgerError::damaged(format!("block {height}"), "it is not whole");
        if height == Height::GENESIS {
            return Err(LedgerError::Snapshot(
                "there is no block yet; genesis is all that is needed".to_owned(),
            ));
        }
        let tip = Tip {
            block: self.certified(height)?.ok_or_else(missing)?,
            receipts: self.receipts(height)?.ok_or_else(missing)?,
        };
        // Which votes a node has of a block is its own; what comes after must not depend on it.
        let proof = self.finality_proof(height)?;
        let packed = encode("the block of a snapshot", &tip.without_votes())?;
        let packed = zstd::bulk::compress(&packed, ZSTD_LEVEL)
            .map_err(|error| LedgerError::damaged("the block of a snapshot", error))?;
        let mut waiting: Vec<Vec<u8>> =
            packed.chunks(MAX_PIECE_BYTES).map(<[u8]>::to_vec).collect();
        let tip = waiting
            .iter()
            .map(|piece| B256::new(*blake3::hash(piece).as_bytes()))
            .collect();
        waiting.reverse();
        Ok(Making {
            proof,
            tip,
            waiting,
            state,
        })
    }

    /// Begins the chain here with a snapshot. `piece` gives the pieces, each of which is checked once more. On any failure, and
    /// after a crash in between, the ledger is at genesis, as it was.
    pub fn import(
        &self,
        snapshot: &VerifiedSnapshot,
        piece: impl FnMut(usize) -> Result<Vec<u8>, LedgerError>,
    ) -> Result<(), LedgerError> {
        let head = self.head();
        if head.height != Height::GENESIS {
            return Err(LedgerError::NotEmpty(head.height));
        }
        if snapshot.manifest.proof.genesis_hash != self.genesis_hash() {
            return Err(LedgerError::Snapshot("it is of another chain".to_owned()));
        }
        let outcome = self.take_in(snapshot, piece);
        if outcome.is_err() {
            let inner = &*self.0;
            // The genesis state had to go first; where nothing came in its place it comes back.
            if inner.state.height().is_none() {
                begin(&inner.chain, &inner.store, &inner.state)?;
            }
        }
        outcome
    }

    fn take_in(
        &self,
        snapshot: &VerifiedSnapshot,
        mut piece: impl FnMut(usize) -> Result<Vec<u8>, LedgerError>,
    ) -> Result<(), LedgerError> {
        let SnapshotManifest { proof, state, tip } = &snapshot.manifest;
        let mut checked = |index: usize| {
            let bytes = piece(index)?;
            snapshot.check(index, &bytes)?;
            Ok::<_, LedgerError>(bytes)
        };
        let mut packed = Vec::new();
        for index in 0..tip.len() {
            packed.extend(checked(index)?);
        }
        let Tip { block, receipts } = Tip::read(&packed, &snapshot.header)?;

        let inner = &*self.0;
        let mut batch = inner.store.batch();
        let genesis = inner.chain.genesis().validator_set();
        let genesis = genesis.map_err(|error| LedgerError::damaged("the genesis file", error))?;
        inner.store.add_set(&mut batch, &genesis)?;
        for change in &proof.changes {
            inner.store.add_set_change(&mut batch, change)?;
        }
        let next = block
            .next_validators
            .as_ref()
            .unwrap_or(snapshot.header.validators());
        inner.store.add_block(
            &mut batch,
            &block.block,
            &Added {
                receipts: &receipts,
                leader: None,
                // A snapshot does not carry them: nobody but who executes the block can say what they are.
                system: &SystemRecord::default(),
                next_validators: next,
            },
            &proof.certificate,
        )?;
        inner.store.set_earliest(&mut batch, snapshot.height());

        inner.state.clear()?;
        let root = snapshot.header.header().state_root;
        let mut restore = inner
            .state
            .restore(state.clone(), snapshot.height().0, root)?;
        for index in 0..state.pieces.len() {
            restore.feed(index, &checked(tip.len() + index)?)?;
        }
        // The state's head and all of the above in one write: before it, this is a ledger without a state, which begins at genesis
        // when it is opened.
        restore.finish_with(batch)?;
        self.reload()
    }
}

impl Tip {
    /// The same bytes on every node: the certificate goes into the proof.
    fn without_votes(mut self) -> Self {
        let certificate = &mut self.block.certificate;
        certificate.round = 0;
        certificate.signers = lucid_chain_types::SignerBitmap::new(0, []);
        certificate.signatures.clear();
        self
    }

    /// Unpacks, and holds everything against the header.
    fn read(packed: &[u8], header: &VerifiedHeader) -> Result<Self, LedgerError> {
        let refused = |reason: &str| LedgerError::Snapshot(format!("its block {reason}"));
        let bytes = unpack(packed, MAX_TIP_BYTES)
            .map_err(|_| refused("does not unpack within its bounds"))?;
        let tip: Self = decode("the block of a snapshot", &bytes, MAX_TIP_BYTES)
            .map_err(LedgerError::snapshot)?;
        // The block's own decoder checks that the body is the header's.
        let block = CertifiedBlock::decode(&tip.block.encode()).map_err(LedgerError::snapshot)?;
        let Block { header: named, .. } = &block.block;
        if named.id() != header.id() {
            return Err(refused("is not the proven one"));
        }
        let Header {
            receipts_root: root,
            ..
        } = *named;
        if receipts_root(&tip.receipts) != root {
            return Err(refused("has other receipts"));
        }
        Ok(Self {
            block,
            receipts: tip.receipts,
        })
    }
}
