//! A chain in one file: backups, and snapshots that are handed on.
//!
//! ```text
//! file     = "LUCIDARC", version u8 = 1, frames
//! frame    = kind u8, length u32 (little endian), payload, check [32]
//! check    = BLAKE3 (context below) of: the check before, kind, length, payload;
//!            before the first frame: of magic and version
//! frames   = head, [ manifest, piece … ], block …, end
//!
//! kind       payload                                                      at most
//! 1 head     genesis hash [32]                                            32 bytes
//! 2 manifest of a snapshot (snapshot.rs)                                  4 MiB
//! 3 piece    of it; as many as it says, in their order                    1 MiB
//! 4 block    zstd(borsh { block, certificate, next validators, if any })  8 MiB and a little
//! 5 end      height of the last block, u64 (little endian)                8 bytes; nothing follows
//! ```
//!
//! Blocks follow each other from 1 on, or from the one after the snapshot's. Reader and writer run the same checks, frame by frame:
//! genesis → changes of the validator set → each block's certificate, and each block names the one before. What is in an archive is
//! final; that its transactions make the state that the headers name is checked when it is restored, by executing them. There are
//! no keys in it.

use std::io::{Read, Write};

use alloy_primitives::B256;
use lucid_chain_types::{BlockId, CertifiedBlock, Height};
use lucid_execution::decode_all;
use lucid_light::{SetChange, Trust, TrustedGenesis};

use crate::LedgerError;
use crate::ledger::Ledger;
use crate::snapshot::{
    MAX_SNAPSHOT_MANIFEST_BYTES, MAX_SNAPSHOT_PIECE_BYTES, SnapshotManifest, VerifiedSnapshot,
};
use crate::store::unpack;

const MAGIC: &[u8; 8] = b"LUCIDARC";
const VERSION: u8 = 1;
const CONTEXT: &str = "lucid chain 2026 archive frame v1";

const HEAD: u8 = 1;
const MANIFEST: u8 = 2;
const PIECE: u8 = 3;
const BLOCK: u8 = 4;
const END: u8 = 5;

/// Kind and length.
const FRAME_HEAD: usize = 5;
/// zstd makes a little more of what it cannot pack.
const MAX_PACKED_BLOCK: usize = CertifiedBlock::MAX_BYTES + (64 << 10);
/// zstd's own default.
const ZSTD_LEVEL: i32 = 3;
/// Blocks that are read and checked ahead of the one that is executed.
const AHEAD: usize = 4;

/// What comes out of an archive.
#[derive(Debug)]
pub enum Item {
    /// The snapshot that the archive begins with; its pieces follow.
    Snapshot(Box<VerifiedSnapshot>),
    /// A piece of the snapshot, in their order.
    Piece(Vec<u8>),
    /// A block that is final.
    Block(Box<CertifiedBlock>),
}

/// How far an archive is, as reader and writer see it: what may come next, and what the last check was.
#[derive(Debug, Clone)]
struct Course {
    genesis: TrustedGenesis,
    check: [u8; 32],
    trust: Trust,
    /// The last block; genesis before the first.
    height: Height,
    id: BlockId,
    /// The snapshot whose pieces come now, the number of the next, and what has come of its block.
    snapshot: Option<(VerifiedSnapshot, usize, Vec<u8>)>,
}

impl Course {
    fn new(genesis: &TrustedGenesis) -> Self {
        Self {
            genesis: genesis.clone(),
            check: chained(&[MAGIC, &[VERSION]]),
            trust: genesis.trust(),
            height: Height::GENESIS,
            id: BlockId(genesis.hash()),
            snapshot: None,
        }
    }

    /// Takes a manifest.
    fn manifest(&mut self, manifest: SnapshotManifest) -> Result<VerifiedSnapshot, LedgerError> {
        if self.height != Height::GENESIS || self.snapshot.is_some() {
            return Err(refused("a snapshot can only be its beginning"));
        }
        let snapshot = manifest.verify(&self.genesis)?;
        self.snapshot = Some((snapshot.clone(), 0, Vec::new()));
        Ok(snapshot)
    }

    /// Takes the next piece.
    fn piece(&mut self, piece: &[u8]) -> Result<(), LedgerError> {
        let Some((snapshot, index, tip)) = &mut self.snapshot else {
            return Err(refused("a piece belongs to no snapshot"));
        };
        snapshot.check(*index, piece)?;
        let (tips, all) = (snapshot.tip_pieces(), snapshot.manifest().pieces());
        if *index < tips {
            tip.extend_from_slice(piece);
        }
        if *index + 1 == tips {
            let block = snapshot
                .tip(tip)
                .inspect_err(|_| tip.truncate(tip.len() - piece.len()))?;
            tip.clear();
            for change in snapshot.changes() {
                self.trust.advance(change).map_err(unproven)?;
            }
            advance(&mut self.trust, &block)?;
            self.height = snapshot.height();
            self.id = snapshot.header().id();
        }
        *index += 1;
        if *index == all {
            self.snapshot = None;
        }
        Ok(())
    }

    /// Takes the next block.
    fn block(&mut self, block: &CertifiedBlock) -> Result<(), LedgerError> {
        let header = &block.block.header;
        if self.snapshot.is_some() {
            return Err(refused("its snapshot is not whole"));
        }
        if header.height != self.height.next() || header.parent != self.id {
            return Err(LedgerError::Archive(format!(
                "block {} does not follow block {}",
                header.height, self.height
            )));
        }
        let verified = self
            .trust
            .verify(header, &block.certificate)
            .map_err(unproven)?;
        advance(&mut self.trust, block)?;
        (self.height, self.id) = (header.height, verified.id());
        Ok(())
    }
}

/// Takes over the validators after a block, where it changes them.
fn advance(trust: &mut Trust, block: &CertifiedBlock) -> Result<(), LedgerError> {
    let header = &block.block.header;
    match &block.next_validators {
        Some(next) => {
            let change = SetChange {
                header: header.clone(),
                certificate: block.certificate.clone(),
                next_validators: next.clone(),
            };
            trust.advance(&change).map_err(unproven)?;
            Ok(())
        }
        None if header.next_validators_hash == header.validators_hash => Ok(()),
        None => Err(LedgerError::Archive(format!(
            "block {} changes the validators, and they are not there",
            header.height
        ))),
    }
}

fn refused(reason: &str) -> LedgerError {
    LedgerError::Archive(reason.to_owned())
}

#[expect(clippy::needless_pass_by_value, reason = "an adapter for map_err")]
fn unproven(error: lucid_light::LightError) -> LedgerError {
    LedgerError::Archive(error.to_string())
}

fn chained(parts: &[&[u8]]) -> [u8; 32] {
    let mut hasher = blake3::Hasher::new_derive_key(CONTEXT);
    for part in parts {
        hasher.update(part);
    }
    *hasher.finalize().as_bytes()
}

/// Writes an archive, and checks what goes into it. Without [`ArchiveWriter::finish`] it has no end, which a reader notices.
#[derive(Debug)]
pub struct ArchiveWriter<W> {
    output: W,
    course: Course,
}

impl<W: Write> ArchiveWriter<W> {
    /// Begins an archive of the chain with this genesis.
    pub fn new(mut output: W, genesis: &TrustedGenesis) -> Result<Self, LedgerError> {
        output
            .write_all(&[&MAGIC[..], &[VERSION]].concat())
            .map_err(LedgerError::ArchiveFile)?;
        let mut writer = Self {
            output,
            course: Course::new(genesis),
        };
        let hash = writer.course.genesis.hash();
        writer.frame(HEAD, hash.as_slice())?;
        Ok(writer)
    }

    /// The last block in it; 0 before the first.
    #[must_use]
    pub fn height(&self) -> Height {
        self.course.height
    }

    /// Where pieces of a snapshot are to come: the snapshot, and the number of the next.
    #[must_use]
    pub fn open_snapshot(&self) -> Option<(&VerifiedSnapshot, usize)> {
        let (snapshot, next, _) = self.course.snapshot.as_ref()?;
        Some((snapshot, *next))
    }

    /// Begins it with a snapshot; its pieces have to follow.
    pub fn snapshot(&mut self, manifest: SnapshotManifest) -> Result<(), LedgerError> {
        let bytes = manifest.encode();
        self.course.manifest(manifest)?;
        self.frame(MANIFEST, &bytes)
    }

    /// Adds the next piece of the snapshot.
    pub fn piece(&mut self, piece: &[u8]) -> Result<(), LedgerError> {
        self.course.piece(piece)?;
        self.frame(PIECE, piece)
    }

    /// Adds the next block.
    pub fn block(&mut self, block: &CertifiedBlock) -> Result<(), LedgerError> {
        self.course.block(block)?;
        let packed =
            zstd::bulk::compress(&block.encode(), ZSTD_LEVEL).map_err(LedgerError::ArchiveFile)?;
        self.frame(BLOCK, &packed)
    }

    /// Ends it and gives the output back, flushed.
    pub fn finish(mut self) -> Result<W, LedgerError> {
        if self.course.snapshot.is_some() {
            return Err(refused("its snapshot is not whole"));
        }
        let height = self.course.height.0.to_le_bytes();
        self.frame(END, &height)?;
        self.output.flush().map_err(LedgerError::ArchiveFile)?;
        Ok(self.output)
    }

    fn frame(&mut self, kind: u8, payload: &[u8]) -> Result<(), LedgerError> {
        // INVARIANT: no payload is longer than a block, so the number fits.
        let length = u32::try_from(payload.len())
            .unwrap_or(u32::MAX)
            .to_le_bytes();
        let check = chained(&[&self.course.check, &[kind], &length, payload]);
        let parts: [&[u8]; 4] = [&[kind], &length, payload, &check];
        for part in parts {
            self.output
                .write_all(part)
                .map_err(LedgerError::ArchiveFile)?;
        }
        self.course.check = check;
        Ok(())
    }
}

/// Reads an archive, and checks all that can be checked without executing it.
#[derive(Debug)]
pub struct ArchiveReader<R> {
    input: R,
    course: Course,
    /// Bytes of the whole frames that were read, without the end.
    position: u64,
    ended: bool,
}

impl<R: Read> ArchiveReader<R> {
    /// Begins to read; refuses what is no archive of the chain with this genesis.
    pub fn open(mut input: R, genesis: &TrustedGenesis) -> Result<Self, LedgerError> {
        let mut magic = [0; 9];
        read(&mut input, &mut magic)?;
        if magic[..8] != *MAGIC {
            return Err(refused("it is no archive of a chain"));
        }
        if magic[8] != VERSION {
            return Err(LedgerError::Archive(format!(
                "it has version {}, this program knows {VERSION}",
                magic[8]
            )));
        }
        let mut reader = Self {
            input,
            course: Course::new(genesis),
            position: magic.len() as u64,
            ended: false,
        };
        let Frame {
            kind,
            payload,
            check,
        } = reader.frame()?;
        if kind != HEAD {
            return Err(refused("it does not begin with its head"));
        }
        let hash = B256::try_from(&payload[..]).map_err(|_| refused("its head is malformed"))?;
        if hash != genesis.hash() {
            return Err(LedgerError::Archive(format!(
                "it is of the chain with genesis {hash}, not of {}",
                genesis.hash()
            )));
        }
        reader.course.check = check;
        reader.position += (FRAME_HEAD + payload.len() + check.len()) as u64;
        Ok(reader)
    }

    /// The last block that was read; 0 before the first.
    #[must_use]
    pub fn height(&self) -> Height {
        self.course.height
    }

    /// What comes next; `None` after the end, and only there.
    #[expect(
        clippy::should_implement_trait,
        reason = "a failed iterator must not be taken for one that has ended"
    )]
    pub fn next(&mut self) -> Result<Option<Item>, LedgerError> {
        if self.ended {
            return Ok(None);
        }
        // INVARIANT: what is refused changes nothing in the course, and counts for nothing in the position: an archive that is
        // resumed goes on after the last good frame.
        let Frame {
            kind,
            payload,
            check,
        } = self.frame()?;
        let size = (FRAME_HEAD + payload.len() + check.len()) as u64;
        let item = match kind {
            MANIFEST => {
                let manifest = SnapshotManifest::decode(&payload)?;
                Item::Snapshot(Box::new(self.course.manifest(manifest)?))
            }
            PIECE => {
                self.course.piece(&payload)?;
                Item::Piece(payload)
            }
            BLOCK => {
                let bytes = unpack(&payload, CertifiedBlock::MAX_BYTES)
                    .map_err(|_| refused("a block does not unpack within its bounds"))?;
                let block = CertifiedBlock::decode(&bytes)
                    .map_err(|error| LedgerError::Archive(error.to_string()))?;
                self.course.block(&block)?;
                Item::Block(Box::new(block))
            }
            END => {
                if payload != self.course.height.0.to_le_bytes() || self.course.snapshot.is_some() {
                    return Err(refused("its end is not where it says"));
                }
                let mut more = [0];
                if self
                    .input
                    .read(&mut more)
                    .map_err(LedgerError::ArchiveFile)?
                    != 0
                {
                    return Err(refused("something follows its end"));
                }
                self.ended = true;
                return Ok(None);
            }
            _ => return Err(refused("it has a frame that does not belong there")),
        };
        self.course.check = check;
        self.position += size;
        Ok(Some(item))
    }

    fn frame(&mut self) -> Result<Frame, LedgerError> {
        let mut head = [0; FRAME_HEAD];
        read(&mut self.input, &mut head)?;
        let [kind, length @ ..] = head;
        let size = u32::from_le_bytes(length) as usize;
        let most = match kind {
            HEAD => 32,
            MANIFEST => MAX_SNAPSHOT_MANIFEST_BYTES,
            PIECE => MAX_SNAPSHOT_PIECE_BYTES,
            BLOCK => MAX_PACKED_BLOCK,
            END => 8,
            _ => return Err(refused("it has a frame of an unknown kind")),
        };
        if size > most {
            return Err(refused("a frame of it is too long"));
        }
        let mut payload = vec![0; size];
        read(&mut self.input, &mut payload)?;
        let mut check = [0; 32];
        read(&mut self.input, &mut check)?;
        if check != chained(&[&self.course.check, &[kind], &length, &payload]) {
            return Err(refused("a frame of it is damaged"));
        }
        Ok(Frame {
            kind,
            payload,
            check,
        })
    }

    /// Reads on to the end, or to the first thing that is cut or refused, and goes on writing there. `seek` is told how many bytes of
    /// the archive stay and gives the output at that place.
    pub fn resume<W: Write>(
        mut self,
        mut read: impl FnMut(Height),
        seek: impl FnOnce(R, u64) -> std::io::Result<W>,
    ) -> Result<ArchiveWriter<W>, LedgerError> {
        loop {
            match self.next() {
                Ok(Some(_)) => read(self.course.height),
                Ok(None) | Err(LedgerError::Archive(_) | LedgerError::Snapshot(_)) => break,
                Err(other) => return Err(other),
            }
        }
        Ok(ArchiveWriter {
            output: seek(self.input, self.position).map_err(LedgerError::ArchiveFile)?,
            course: self.course,
        })
    }
}

struct Frame {
    kind: u8,
    payload: Vec<u8>,
    check: [u8; 32],
}

/// Fills `bytes`; an input that ends before is an archive that was cut.
fn read(input: &mut impl Read, bytes: &mut [u8]) -> Result<(), LedgerError> {
    input.read_exact(bytes).map_err(|error| {
        if error.kind() == std::io::ErrorKind::UnexpectedEof {
            refused("it is cut: it ends before its end")
        } else {
            LedgerError::ArchiveFile(error)
        }
    })
}

/// What a restore has done so far, or in all.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Restored {
    /// The last block.
    pub height: Height,
    /// Blocks executed.
    pub blocks: u64,
    /// Transactions in them.
    pub transactions: u64,
}

impl Ledger {
    /// Takes in an archive: its snapshot, if it begins with one and the ledger is at genesis, and every block after it, each of
    /// them executed and held against its header. Blocks that are here already are compared, so that an archive that was
    /// restored in part goes on. `done` is told after each step. All of it is on the disk when this returns.
    ///
    /// Reading, certificates and signatures go on a thread of their own, ahead of the execution.
    pub fn restore<R: Read + Send>(
        &self,
        mut archive: ArchiveReader<R>,
        mut done: impl FnMut(Restored),
    ) -> Result<Restored, LedgerError> {
        let mut total = Restored {
            height: self.head().height,
            ..Restored::default()
        };
        let mut first = archive.next()?;
        if let Some(Item::Snapshot(snapshot)) = &first {
            self.restore_snapshot(snapshot, &mut archive)?;
            total.height = self.head().height;
            done(total);
            first = archive.next()?;
        }
        let chain_id = self.genesis().chain_id;
        std::thread::scope(|scope| {
            let (sender, items) = std::sync::mpsc::sync_channel(AHEAD);
            scope.spawn(move || {
                let mut next = Ok(first);
                loop {
                    if let Ok(Some(Item::Block(block))) = &next {
                        // Whoever decodes these again has the senders from memory; what is wrong with them is found there.
                        let _known = decode_all(&block.block.body.transactions, chain_id);
                    }
                    let more = matches!(next, Ok(Some(_)));
                    if sender.send(next).is_err() || !more {
                        return;
                    }
                    next = archive.next();
                }
            });
            for item in items {
                match item? {
                    Some(Item::Block(block)) => {
                        self.restore_block(&block, &mut total)?;
                        done(total);
                    }
                    Some(_) => return Err(refused("it has a frame that does not belong there")),
                    None => break,
                }
            }
            Ok(())
        })?;
        self.persist()?;
        Ok(total)
    }

    fn restore_snapshot<R: Read>(
        &self,
        snapshot: &VerifiedSnapshot,
        archive: &mut ArchiveReader<R>,
    ) -> Result<(), LedgerError> {
        let mut piece = || match archive.next()? {
            Some(Item::Piece(piece)) => Ok(piece),
            _ => Err(refused("its snapshot is not whole")),
        };
        if self.head().height == Height::GENESIS {
            // Asked for in their order, as they come.
            return self.import(snapshot, |_| piece());
        }
        let known = self.header(snapshot.height())?.map(|header| header.id());
        if known != Some(snapshot.header().id()) {
            return Err(LedgerError::NotEmpty(self.head().height));
        }
        for _ in 0..snapshot.manifest().pieces() {
            piece()?;
        }
        Ok(())
    }

    fn restore_block(
        &self,
        certified: &CertifiedBlock,
        total: &mut Restored,
    ) -> Result<(), LedgerError> {
        let CertifiedBlock {
            block, certificate, ..
        } = certified;
        let height = block.header.height;
        let head = self.head();
        if height <= head.height {
            if self.header(height)?.map(|header| header.id()) != Some(block.id()) {
                return Err(LedgerError::NotEmpty(head.height));
            }
            return Ok(());
        }
        let executed = match self.validate(block) {
            Ok(executed) => executed,
            Err(error) => {
                return Err(match error.into_invalid() {
                    Ok(fault) => LedgerError::Archive(format!("block {height}: {fault}")),
                    Err(own) => own,
                });
            }
        };
        self.commit(block, executed, certificate)?;
        total.height = height;
        total.blocks += 1;
        total.transactions += block.body.transactions.len() as u64;
        Ok(())
    }
}
