//! What is kept of blocks, and under which keys.

use std::io::Read as _;
use std::path::{Path, PathBuf};

use alloy_primitives::B256;
use borsh::{BorshDeserialize, BorshSerialize};
use fjall::{Database, Keyspace, KeyspaceCreateOptions, OwnedWriteBatch, PersistMode};
use lucid_chain_types::{
    Block, BlockId, Body, Certificate, Header, Height, MAX_BLOCK_BYTES, NodeId, Slot, ValidatorSet,
    decode,
};
use lucid_execution::{Receipt, SystemRecord};
use lucid_light::SetChange;
use lucid_poot::LeaderRecord;

use crate::LedgerError;
use crate::ledger::{Durability, LedgerOptions};

/// Version of this layout.
const VERSION: u8 = 1;
/// Bodies and receipts are compressed at this level: blocks are written once a second, and read rarely.
const ZSTD_LEVEL: i32 = 1;
/// Most bytes of one block's receipts, decompressed.
const MAX_RECEIPTS_BYTES: usize = 256 << 20;
/// Memory for what is written and not sorted into files yet, a keyspace: of blocks and all that comes with each transaction, and
/// of the rest. fjall's default, 64 MiB for each, makes a busy node hundreds of MiB large.
const LARGE_MEMTABLE: u64 = 8 << 20;
const SMALL_MEMTABLE: u64 = 1 << 20;
/// Bytes of the database's journal. It bounds how much is read again at a start, and what an idle chain keeps on the disk.
const JOURNAL: u64 = 128 << 20;
/// Most blocks kept that were proposed and not decided, a height: enough for the rounds of some minutes in which nothing is
/// decided, half a GiB where each is as large as it may be.
const MAX_UNDECIDED: usize = 64;

const KEY_VERSION: &[u8] = b"version";
const KEY_GENESIS: &[u8] = b"genesis";
const KEY_HEAD: &[u8] = b"head";
/// Where there is none, the chain is here from block 1 on.
const KEY_EARLIEST: &[u8] = b"earliest";

/// Where a transaction is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Place {
    /// Its block.
    pub height: Height,
    /// Its place in it, from 0.
    pub index: u32,
}

/// A block that was proposed and is not decided: what this node must still have after a crash if it voted for it.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Undecided {
    /// The block.
    pub block: BlockId,
    /// The round of the proposal.
    pub round: u32,
    /// The earlier round it was prevoted in, if it was proposed again.
    pub valid_round: Option<u32>,
    /// Who proposed it in this round.
    pub proposer: NodeId,
    /// Whether this node found it valid.
    pub valid: bool,
    /// The encoded block.
    pub bytes: Vec<u8>,
}

/// What executing a block found out, besides its state.
pub(crate) struct Added<'a> {
    pub(crate) receipts: &'a [Receipt],
    pub(crate) leader: Option<&'a LeaderRecord>,
    pub(crate) system: &'a SystemRecord,
    pub(crate) next_validators: &'a ValidatorSet,
}

/// The keyspaces. All keys that hold a height or slot are big-endian, so that they sort.
#[derive(Clone)]
pub(crate) struct Store {
    pub(crate) db: Database,
    path: PathBuf,
    durability: Durability,
    meta: Keyspace,
    headers: Keyspace,
    bodies: Keyspace,
    certificates: Keyspace,
    receipts: Keyspace,
    ids: Keyspace,
    transactions: Keyspace,
    sets: Keyspace,
    set_changes: Keyspace,
    slots: Keyspace,
    system: Keyspace,
    undecided: Keyspace,
}

impl Store {
    pub(crate) fn open(
        path: &Path,
        options: LedgerOptions,
        genesis: B256,
    ) -> Result<Self, LedgerError> {
        let fault = |fault| LedgerError::Database {
            path: path.to_owned(),
            fault,
        };
        let db = Database::builder(path)
            .cache_size(options.cache)
            .max_journaling_size(JOURNAL)
            .open()
            .map_err(|source| match source {
                fjall::Error::Locked => LedgerError::InUse {
                    path: path.to_owned(),
                },
                source => fault(source),
            })?;
        let sized = |name: &str, memtable| {
            let options = || KeyspaceCreateOptions::default().max_memtable_size(memtable);
            db.keyspace(name, options).map_err(fault)
        };
        let large = |name| sized(name, LARGE_MEMTABLE);
        let keyspace = |name| sized(name, SMALL_MEMTABLE);
        let store = Self {
            path: path.to_owned(),
            durability: options.durability,
            meta: keyspace("meta")?,
            headers: keyspace("headers")?,
            bodies: large("bodies")?,
            certificates: keyspace("certificates")?,
            receipts: large("receipts")?,
            ids: keyspace("ids")?,
            transactions: large("transactions")?,
            sets: keyspace("validator-sets")?,
            set_changes: keyspace("set-changes")?,
            slots: keyspace("slots")?,
            system: keyspace("system")?,
            undecided: large("undecided")?,
            db,
        };
        store.check_origin(genesis)?;
        Ok(store)
    }

    fn check_origin(&self, genesis: B256) -> Result<(), LedgerError> {
        match self.get(&self.meta, KEY_VERSION)? {
            None => {
                let mut batch = self.batch();
                batch.insert(&self.meta, KEY_VERSION, [VERSION]);
                batch.insert(&self.meta, KEY_GENESIS, genesis.as_slice());
                return self.write(batch);
            }
            Some(version) if version.as_ref() == [VERSION] => {}
            Some(version) => {
                return Err(LedgerError::Version {
                    path: self.path.clone(),
                    found: version.first().copied().unwrap_or_default(),
                    expected: VERSION,
                });
            }
        }
        let found = self.get(&self.meta, KEY_GENESIS)?.unwrap_or_default();
        if found.as_ref() == genesis.as_slice() {
            return Ok(());
        }
        Err(LedgerError::OtherChain {
            path: self.path.clone(),
            found: B256::try_from(found.as_ref()).unwrap_or_default(),
            expected: genesis,
        })
    }

    pub(crate) fn fault(&self, fault: fjall::Error) -> LedgerError {
        LedgerError::Database {
            path: self.path.clone(),
            fault,
        }
    }

    fn get(
        &self,
        keyspace: &Keyspace,
        key: &[u8],
    ) -> Result<Option<fjall::UserValue>, LedgerError> {
        keyspace.get(key).map_err(|source| self.fault(source))
    }

    /// A batch that is on the disk once it is written; or, where the ledger was opened so, once [`Self::persist`] returns.
    pub(crate) fn batch(&self) -> OwnedWriteBatch {
        let mode = match self.durability {
            Durability::EachBlock => Some(PersistMode::SyncData),
            Durability::OnPersist => None,
        };
        self.db.batch().durability(mode)
    }

    /// Waits until all that was written is on the disk.
    pub(crate) fn persist(&self) -> Result<(), LedgerError> {
        self.db
            .persist(PersistMode::SyncAll)
            .map_err(|source| self.fault(source))
    }

    pub(crate) fn write(&self, batch: OwnedWriteBatch) -> Result<(), LedgerError> {
        batch.commit().map_err(|source| self.fault(source))
    }

    /// The last committed height; 0 before the first block.
    pub(crate) fn head(&self) -> Result<Height, LedgerError> {
        self.height_at(KEY_HEAD, Height::GENESIS)
    }

    /// The first block that is here; 1 unless the chain here began with a snapshot.
    pub(crate) fn earliest(&self) -> Result<Height, LedgerError> {
        self.height_at(KEY_EARLIEST, Height(1))
    }

    fn height_at(&self, key: &[u8], default: Height) -> Result<Height, LedgerError> {
        match self.get(&self.meta, key)? {
            None => Ok(default),
            Some(bytes) => big_endian(&bytes)
                .map(Height)
                .ok_or_else(|| LedgerError::damaged("a height in 'meta'", "not eight bytes")),
        }
    }

    /// Adds to a batch what proves a change of the validator set, without the block that made it.
    pub(crate) fn add_set_change(
        &self,
        batch: &mut OwnedWriteBatch,
        change: &SetChange,
    ) -> Result<(), LedgerError> {
        let key = change.header.height.0.to_be_bytes();
        batch.insert(&self.headers, key, change.header.encode());
        batch.insert(
            &self.certificates,
            key,
            encode("a certificate", &change.certificate)?,
        );
        batch.insert(&self.set_changes, key, []);
        self.add_set(batch, &change.next_validators)
    }

    /// Says in a batch that no block below this one is here.
    pub(crate) fn set_earliest(&self, batch: &mut OwnedWriteBatch, height: Height) {
        batch.insert(&self.meta, KEY_EARLIEST, height.0.to_be_bytes());
    }

    /// Adds a block to a batch; the head is moved by it.
    pub(crate) fn add_block(
        &self,
        batch: &mut OwnedWriteBatch,
        block: &Block,
        executed: &Added<'_>,
        certificate: &Certificate,
    ) -> Result<(), LedgerError> {
        let Header {
            height,
            slot,
            validators_hash,
            next_validators_hash,
            ..
        } = block.header;
        let key = height.0.to_be_bytes();
        batch.insert(&self.headers, key, block.header.encode());
        batch.insert(&self.bodies, key, compress("a body", &block.body)?);
        batch.insert(
            &self.certificates,
            key,
            encode("a certificate", certificate)?,
        );
        if !executed.receipts.is_empty() {
            batch.insert(
                &self.receipts,
                key,
                compress("receipts", &executed.receipts)?,
            );
        }
        if !executed.system.is_empty() {
            batch.insert(
                &self.system,
                key,
                compress("a system record", &executed.system)?,
            );
        }
        batch.insert(&self.ids, block.id().0.as_slice(), key);
        for (index, bytes) in (0..).zip(&block.body.transactions) {
            let hash = alloy_primitives::keccak256(bytes);
            let place = encode("a place", &Place { height, index })?;
            batch.insert(&self.transactions, hash.as_slice(), place);
        }
        if validators_hash != next_validators_hash {
            batch.insert(&self.set_changes, key, []);
            self.add_set(batch, executed.next_validators)?;
        }
        if let Some(record) = executed.leader {
            batch.insert(
                &self.slots,
                slot.0.to_be_bytes(),
                encode("a leader record", record)?,
            );
        }
        for guard in self.undecided.range(..height.next().0.to_be_bytes()) {
            let key = guard.key().map_err(|source| self.fault(source))?;
            batch.remove(&self.undecided, key);
        }
        batch.insert(&self.meta, KEY_HEAD, key);
        Ok(())
    }

    /// Takes the place of the certificate that is here.
    pub(crate) fn replace_certificate(&self, certificate: &Certificate) -> Result<(), LedgerError> {
        let key = certificate.height.0.to_be_bytes();
        // Not synced: the one that is here is as good, only shorter.
        self.certificates
            .insert(key, encode("a certificate", certificate)?)
            .map_err(|source| self.fault(source))
    }

    pub(crate) fn add_set(
        &self,
        batch: &mut OwnedWriteBatch,
        set: &ValidatorSet,
    ) -> Result<(), LedgerError> {
        batch.insert(
            &self.sets,
            set.hash().as_slice(),
            encode("a validator set", set)?,
        );
        Ok(())
    }

    pub(crate) fn header(&self, height: Height) -> Result<Option<Header>, LedgerError> {
        let Some(bytes) = self.get(&self.headers, &height.0.to_be_bytes())? else {
            return Ok(None);
        };
        Header::decode(&bytes)
            .map(Some)
            .map_err(|error| LedgerError::decode(format!("the header of block {height}"), &error))
    }

    pub(crate) fn body(&self, height: Height) -> Result<Option<Body>, LedgerError> {
        self.compressed(
            &self.bodies,
            &height.0.to_be_bytes(),
            "a body",
            MAX_BLOCK_BYTES,
        )
    }

    pub(crate) fn receipts(&self, height: Height) -> Result<Vec<Receipt>, LedgerError> {
        let key = height.0.to_be_bytes();
        let receipts = self.compressed(&self.receipts, &key, "receipts", MAX_RECEIPTS_BYTES)?;
        Ok(receipts.unwrap_or_default())
    }

    /// What the block's own calls left behind; nothing where the block was taken in by a version that did not keep it.
    pub(crate) fn system(&self, height: Height) -> Result<SystemRecord, LedgerError> {
        let key = height.0.to_be_bytes();
        let record = self.compressed(&self.system, &key, "a system record", MAX_RECEIPTS_BYTES)?;
        Ok(record.unwrap_or_default())
    }

    pub(crate) fn certificate(&self, height: Height) -> Result<Option<Certificate>, LedgerError> {
        let key = height.0.to_be_bytes();
        self.plain(
            &self.certificates,
            &key,
            "a certificate",
            Certificate::MAX_BYTES,
        )
    }

    pub(crate) fn height_of(&self, id: BlockId) -> Result<Option<Height>, LedgerError> {
        let Some(bytes) = self.get(&self.ids, id.0.as_slice())? else {
            return Ok(None);
        };
        big_endian(&bytes)
            .map(|height| Some(Height(height)))
            .ok_or_else(|| LedgerError::damaged("the index of block ids", "not eight bytes"))
    }

    pub(crate) fn place(&self, transaction: B256) -> Result<Option<Place>, LedgerError> {
        self.plain(
            &self.transactions,
            transaction.as_slice(),
            "a transaction's place",
            12,
        )
    }

    pub(crate) fn set(&self, hash: B256) -> Result<Option<ValidatorSet>, LedgerError> {
        self.plain(
            &self.sets,
            hash.as_slice(),
            "a validator set",
            ValidatorSet::MAX_BYTES,
        )
    }

    /// Heights whose block changes the validator set, up to and with `last`.
    pub(crate) fn set_changes(&self, last: Height) -> Result<Vec<Height>, LedgerError> {
        self.set_changes
            .range(..=last.0.to_be_bytes())
            .map(|guard| {
                let key = guard.key().map_err(|source| self.fault(source))?;
                big_endian(&key).map(Height).ok_or_else(|| {
                    LedgerError::damaged("the list of set changes", "not eight bytes")
                })
            })
            .collect()
    }

    pub(crate) fn leader(&self, slot: Slot) -> Result<Option<LeaderRecord>, LedgerError> {
        self.plain(
            &self.slots,
            &slot.0.to_be_bytes(),
            "a leader record",
            64 << 10,
        )
    }

    /// Puts a proposed block on disk. Returns only when it is synced. Where a height has gone through many rounds, those of its
    /// lowest rounds make room: what could still be decided has been proposed again since.
    pub(crate) fn put_undecided(
        &self,
        height: Height,
        undecided: &Undecided,
    ) -> Result<(), LedgerError> {
        let mut key = round_prefix(height, undecided.round);
        key.extend_from_slice(undecided.block.0.as_slice());
        let mut kept = self.undecided_keys(&height.0.to_be_bytes())?;
        kept.retain(|it| *it != key);
        let mut batch = self.batch();
        let excess = (kept.len() + 1).saturating_sub(MAX_UNDECIDED);
        for oldest in kept.drain(..excess) {
            batch.remove(&self.undecided, oldest);
        }
        batch.insert(&self.undecided, key, encode("a proposed block", undecided)?);
        self.write(batch)
    }

    /// The blocks proposed in a round.
    pub(crate) fn undecided(
        &self,
        height: Height,
        round: u32,
    ) -> Result<Vec<Undecided>, LedgerError> {
        let keys = self.undecided_keys(&round_prefix(height, round))?;
        keys.iter()
            .filter_map(|key| self.undecided_at(height, key).transpose())
            .collect()
    }

    /// A block that was proposed at a height, in whichever round.
    pub(crate) fn undecided_block(
        &self,
        height: Height,
        block: BlockId,
    ) -> Result<Option<Undecided>, LedgerError> {
        let keys = self.undecided_keys(&height.0.to_be_bytes())?;
        match keys.iter().find(|key| key.ends_with(block.0.as_slice())) {
            Some(key) => self.undecided_at(height, key),
            None => Ok(None),
        }
    }

    /// In the order of their rounds.
    fn undecided_keys(&self, prefix: &[u8]) -> Result<Vec<Vec<u8>>, LedgerError> {
        self.undecided
            .prefix(prefix)
            .map(|guard| Ok(guard.key().map_err(|source| self.fault(source))?.to_vec()))
            .collect()
    }

    fn undecided_at(&self, height: Height, key: &[u8]) -> Result<Option<Undecided>, LedgerError> {
        let Some(bytes) = self.get(&self.undecided, key)? else {
            return Ok(None);
        };
        decode("a proposed block", &bytes, MAX_BLOCK_BYTES + 128)
            .map(Some)
            .map_err(|error| LedgerError::decode(format!("a block proposed at {height}"), &error))
    }

    fn plain<T: BorshDeserialize>(
        &self,
        keyspace: &Keyspace,
        key: &[u8],
        what: &'static str,
        limit: usize,
    ) -> Result<Option<T>, LedgerError> {
        let Some(bytes) = self.get(keyspace, key)? else {
            return Ok(None);
        };
        decode(what, &bytes, limit)
            .map(Some)
            .map_err(|error| LedgerError::decode(what, &error))
    }

    fn compressed<T: BorshDeserialize>(
        &self,
        keyspace: &Keyspace,
        key: &[u8],
        what: &'static str,
        limit: usize,
    ) -> Result<Option<T>, LedgerError> {
        let Some(bytes) = self.get(keyspace, key)? else {
            return Ok(None);
        };
        let bytes = unpack(&bytes, limit).map_err(|error| LedgerError::damaged(what, error))?;
        decode(what, &bytes, limit)
            .map(Some)
            .map_err(|error| LedgerError::decode(what, &error))
    }
}

/// Unpacks zstd, and stops just above the limit: what is longer is refused by whoever decodes it.
pub(crate) fn unpack(packed: &[u8], limit: usize) -> std::io::Result<Vec<u8>> {
    // As a stream, since a buffer of the whole limit would be made for every block.
    let mut bytes = Vec::new();
    zstd::stream::read::Decoder::new(packed)?
        .take(limit as u64 + 1)
        .read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn round_prefix(height: Height, round: u32) -> Vec<u8> {
    [&height.0.to_be_bytes()[..], &round.to_be_bytes()].concat()
}

fn big_endian(bytes: &[u8]) -> Option<u64> {
    bytes.try_into().ok().map(u64::from_be_bytes)
}

pub(crate) fn encode<T: BorshSerialize>(
    what: &'static str,
    value: &T,
) -> Result<Vec<u8>, LedgerError> {
    borsh::to_vec(value).map_err(|error| LedgerError::damaged(what, error))
}

fn compress<T: BorshSerialize>(what: &'static str, value: &T) -> Result<Vec<u8>, LedgerError> {
    let bytes = encode(what, value)?;
    zstd::bulk::compress(&bytes, ZSTD_LEVEL).map_err(|error| LedgerError::damaged(what, error))
}
