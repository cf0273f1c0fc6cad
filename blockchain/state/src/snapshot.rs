//! Snapshots: the whole state in pieces that a stranger may serve, and the way back.
//!
//! Pieces hold what the leaves hold, sorted by key; the trees are rebuilt from them. A manifest names the pieces by hash, so
//! that a piece is refused as it arrives; the manifest itself is trusted for nothing: the rebuilt root must be the one that
//! a certificate vouches for, or nothing is kept.
//!
//! ```text
//! manifest = version u8, height u64, root, accounts u64, slots u64, codes u64, u32 n, n x BLAKE3 of a piece    (borsh)
//! piece    = zstd(version u8, codes, groups);  group = key of account, account unless it began in the piece before, slots
//! ```

use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use alloy_primitives::{B256, U256, keccak256};
use alloy_trie::nybbles::Nibbles;
use alloy_trie::{HashBuilder, KECCAK_EMPTY};
use borsh::{BorshDeserialize, BorshSerialize};
use fjall::{OwnedWriteBatch, PersistMode, Readable};

use crate::record::{self, AccountRecord, Head};
use crate::store::{Keyspaces, RESTORING, State};
use crate::trie::{self, Branch, Change, Child, Source};
use crate::view::{View, damaged};
use crate::{Account, MAX_CODE_BYTES, Result, StateError, keys};

/// Layout of manifests and pieces.
const VERSION: u8 = 1;

/// No piece is longer, packed or not. Code may take a quarter of it.
pub const MAX_PIECE_BYTES: usize = 1 << 20;

/// A piece is closed when its content has reached this size; the rest is room for one more entry, and for zstd, which can
/// make a little more of what it cannot pack.
const FULL_BYTES: usize = MAX_PIECE_BYTES - MAX_CODE_BYTES - 16 * 1024;

/// At most so many pieces: some fifty gigabytes of state.
pub const MAX_PIECES: usize = 1 << 16;

/// The longest manifest.
pub const MAX_MANIFEST_BYTES: usize = 128 + 32 * MAX_PIECES;

/// Three is zstd's own default: a snapshot is made beside the blocks, and what it holds is mostly hashes.
const ZSTD_LEVEL: i32 = 3;

/// How many keys are built into a tree, or written, at a time while restoring.
const KEYS_AT_ONCE: usize = 1 << 14;

/// What a snapshot consists of.
#[derive(Clone, Debug, PartialEq, Eq, BorshDeserialize)]
pub struct Manifest {
    version: u8,
    /// The block after which it is the state.
    pub height: u64,
    /// The state root of that block.
    pub root: B256,
    /// Number of accounts.
    pub accounts: u64,
    /// Number of slots of all accounts.
    pub slots: u64,
    /// Number of different codes.
    pub codes: u64,
    /// BLAKE3 of each piece.
    pub pieces: Vec<B256>,
}

impl Manifest {
    /// Its canonical bytes.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut out = vec![self.version];
        out.extend_from_slice(&self.height.to_le_bytes());
        out.extend_from_slice(&self.root.0);
        for count in [self.accounts, self.slots, self.codes] {
            out.extend_from_slice(&count.to_le_bytes());
        }
        // INVARIANT: at most MAX_PIECES, so the number fits.
        out.extend_from_slice(
            &u32::try_from(self.pieces.len())
                .unwrap_or(u32::MAX)
                .to_le_bytes(),
        );
        for piece in &self.pieces {
            out.extend_from_slice(&piece.0);
        }
        out
    }

    /// Reads a manifest of this version within its bounds; refuses all else.
    pub fn decode(bytes: &[u8]) -> Result<Self> {
        if bytes.len() > MAX_MANIFEST_BYTES {
            return Err(StateError::ManifestRefused("it is too long"));
        }
        let manifest = Self::try_from_slice(bytes)
            .map_err(|_| StateError::ManifestRefused("it does not decode"))?;
        manifest.check()?;
        Ok(manifest)
    }

    fn check(&self) -> Result<()> {
        if self.version != VERSION {
            return Err(StateError::ManifestRefused(
                "its version is unknown; update this program",
            ));
        }
        if self.pieces.len() > MAX_PIECES {
            return Err(StateError::ManifestRefused("it has too many pieces"));
        }
        Ok(())
    }
}

#[derive(Debug, Default, BorshSerialize, BorshDeserialize)]
struct Piece {
    version: u8,
    /// Each code once, in the piece of the first account that has it.
    codes: Vec<Vec<u8>>,
    groups: Vec<Group>,
}

/// An account and slots of it.
#[derive(Debug, BorshSerialize, BorshDeserialize)]
struct Group {
    key: B256,
    /// `None` if the piece before has it. INVARIANT: only in the first group of a piece.
    account: Option<PackedAccount>,
    slots: Vec<(B256, [u8; 32])>,
}

#[derive(Debug, BorshSerialize, BorshDeserialize)]
struct PackedAccount {
    nonce: u64,
    balance: [u8; 32],
    code_hash: B256,
}

/// Sizes of the parts of a piece's content.
const PIECE_BYTES: usize = 1 + 4 + 4;
const GROUP_BYTES: usize = 32 + 1 + 4;
const ACCOUNT_BYTES: usize = 8 + 32 + 32;
const SLOT_BYTES: usize = 64;

/// Makes the pieces of a snapshot one by one, while blocks go on.
pub struct Pieces {
    view: Arc<View>,
    rows: fjall::Iter,
    piece: Piece,
    bytes: usize,
    /// Key of the account whose slots come now.
    owner: Option<B256>,
    codes: HashSet<B256>,
    manifest: Manifest,
    ended: bool,
}

impl State {
    /// A snapshot of the state as it is now. Holds the database's view of this moment until it is dropped.
    pub fn snapshot(&self) -> Result<Pieces> {
        let view = self.0.view();
        let head = view.head.as_ref().ok_or(StateError::Empty)?;
        let manifest = Manifest {
            version: VERSION,
            height: head.height,
            root: view.root,
            accounts: 0,
            slots: 0,
            codes: 0,
            pieces: Vec::new(),
        };
        Ok(Pieces {
            rows: view.snapshot.iter(&view.keyspaces.flat),
            view,
            piece: Piece {
                version: VERSION,
                ..Piece::default()
            },
            bytes: PIECE_BYTES,
            owner: None,
            codes: HashSet::new(),
            manifest,
            ended: false,
        })
    }

    /// Begins to restore a snapshot into this state, which must be empty. `height` and `root` are those of a certified
    /// block.
    pub fn restore(&self, manifest: Manifest, height: u64, root: B256) -> Result<Restore> {
        manifest.check()?;
        if manifest.height != height || manifest.root != root {
            return Err(StateError::ManifestRefused("it is of another block"));
        }
        if self.height().is_some() {
            return Err(StateError::NotEmpty);
        }
        if self.0.restoring.swap(true, Ordering::AcqRel) {
            return Err(StateError::Restoring);
        }
        let fed = vec![false; manifest.pieces.len()];
        let restore = Restore {
            state: self.clone(),
            manifest,
            fed,
            complete: false,
        };
        let keyspaces = &restore.state.0.keyspaces;
        keyspaces.meta.insert(RESTORING, [VERSION])?;
        keyspaces.db.persist(PersistMode::SyncAll)?;
        Ok(restore)
    }
}

impl Pieces {
    /// The block after which the state is as the pieces have it.
    #[must_use]
    pub fn height(&self) -> u64 {
        self.manifest.height
    }

    /// The next piece; `None` after the last.
    #[expect(
        clippy::should_implement_trait,
        reason = "a failed iterator must not be taken for one that has ended"
    )]
    pub fn next(&mut self) -> Result<Option<Vec<u8>>> {
        while self.bytes < FULL_BYTES {
            let Some(row) = self.rows.next() else {
                self.ended = true;
                break;
            };
            let (key, value) = row.into_inner()?;
            self.add(&key, &value)?;
        }
        if self.piece.groups.is_empty() {
            return Ok(None);
        }
        if self.manifest.pieces.len() == MAX_PIECES {
            return Err(StateError::TooLargeForSnapshot);
        }
        let piece = std::mem::replace(
            &mut self.piece,
            Piece {
                version: VERSION,
                ..Piece::default()
            },
        );
        self.bytes = PIECE_BYTES;
        let packed =
            borsh::to_vec(&piece).and_then(|bytes| zstd::bulk::compress(&bytes, ZSTD_LEVEL));
        let packed = packed.map_err(|error| StateError::Packing(error.to_string()))?;
        self.manifest
            .pieces
            .push(B256::new(*blake3::hash(&packed).as_bytes()));
        Ok(Some(packed))
    }

    /// The manifest of all pieces, once the last was taken.
    pub fn finish(self) -> Result<Manifest> {
        if !self.ended || !self.piece.groups.is_empty() {
            return Err(StateError::PiecesLeft);
        }
        Ok(self.manifest)
    }

    fn add(&mut self, key: &[u8], value: &[u8]) -> Result<()> {
        if let Ok(key) = B256::try_from(key) {
            let account = AccountRecord::decode(value)
                .ok_or_else(|| damaged("an account", &key.0))?
                .account;
            if account.code_hash != KECCAK_EMPTY && self.codes.insert(account.code_hash) {
                let code = self.view.read_code(account.code_hash)?;
                self.bytes += 4 + code.len();
                self.piece.codes.push(code.to_vec());
                self.manifest.codes += 1;
            }
            self.owner = Some(key);
            let balance = account.balance.to_be_bytes();
            let account = PackedAccount {
                nonce: account.nonce,
                balance,
                code_hash: account.code_hash,
            };
            self.piece.groups.push(Group {
                key,
                account: Some(account),
                slots: Vec::new(),
            });
            self.bytes += GROUP_BYTES + ACCOUNT_BYTES;
            self.manifest.accounts += 1;
            return Ok(());
        }
        let (owner, slot) = key
            .split_at_checked(32)
            .ok_or_else(|| damaged("a row", key))?;
        let slot = B256::try_from(slot).map_err(|_| damaged("a slot", key))?;
        let value = record::decode_u256(value).ok_or_else(|| damaged("a slot", key))?;
        let owner = self
            .owner
            .filter(|account| account.as_slice() == owner)
            .ok_or_else(|| damaged("the account of a slot", key))?;
        if self.piece.groups.is_empty() {
            self.piece.groups.push(Group {
                key: owner,
                account: None,
                slots: Vec::new(),
            });
            self.bytes += GROUP_BYTES;
        }
        if let Some(group) = self.piece.groups.last_mut() {
            group.slots.push((slot, value.to_be_bytes()));
        }
        self.bytes += SLOT_BYTES;
        self.manifest.slots += 1;
        Ok(())
    }
}

/// A snapshot on its way into an empty state. Dropped before [`Restore::finish`] has succeeded, it leaves the state empty.
pub struct Restore {
    state: State,
    manifest: Manifest,
    fed: Vec<bool>,
    complete: bool,
}

impl Restore {
    /// The pieces that are still to come.
    pub fn missing(&self) -> impl Iterator<Item = usize> + '_ {
        self.fed
            .iter()
            .enumerate()
            .filter(|(_, fed)| !**fed)
            .map(|(index, _)| index)
    }

    /// Takes a piece; any order, and again does no harm. A refused piece leaves no trace and may be had from another peer.
    pub fn feed(&mut self, index: usize, packed: &[u8]) -> Result<()> {
        let refused = |reason| StateError::PieceRefused { index, reason };
        let expected = self
            .manifest
            .pieces
            .get(index)
            .ok_or_else(|| refused("the manifest has no such piece"))?;
        if packed.len() > MAX_PIECE_BYTES {
            return Err(refused("it is too long"));
        }
        if blake3::hash(packed).as_bytes() != &expected.0 {
            return Err(refused("its hash is not the manifest's"));
        }
        if self.fed[index] {
            return Ok(());
        }
        let piece = decode_piece(packed).map_err(refused)?;
        let keyspaces = &self.state.0.keyspaces;
        let mut batch = keyspaces.db.batch();
        for code in &piece.codes {
            batch.insert(&keyspaces.code, keccak256(code).as_slice(), code.as_slice());
        }
        for group in &piece.groups {
            if let Some(packed) = &group.account {
                let account = Account {
                    nonce: packed.nonce,
                    balance: U256::from_be_bytes(packed.balance),
                    code_hash: packed.code_hash,
                };
                batch.insert(
                    &keyspaces.flat,
                    group.key.as_slice(),
                    AccountRecord {
                        account,
                        storage: None,
                    }
                    .encode(),
                );
            }
            for (slot, value) in &group.slots {
                let value = record::encode_u256(U256::from_be_bytes(*value));
                batch.insert(
                    &keyspaces.flat,
                    keys::flat_slot(&group.key, slot).as_slice(),
                    value,
                );
            }
        }
        batch.commit()?;
        self.fed[index] = true;
        Ok(())
    }

    /// Rebuilds the trees and, if they have the certified root, makes the state visible. On any failure nothing is kept.
    pub fn finish(self) -> Result<()> {
        let batch = self.state.0.keyspaces.db.batch();
        self.finish_with(batch)
    }

    /// As [`Restore::finish`]; what is in the caller's batch is there with the state, in one atomic write, or not at all.
    pub fn finish_with(mut self, mut batch: OwnedWriteBatch) -> Result<()> {
        let missing = self.missing().count();
        if missing > 0 {
            return Err(StateError::PiecesMissing(missing));
        }
        let keyspaces = self.state.0.keyspaces.clone();
        let root = rebuild(&keyspaces, &self.manifest)?;
        let height = self.manifest.height;
        keyspaces.write_head(
            &mut batch,
            &Head {
                height,
                oldest: height,
                pruned: height,
                root,
            },
        );
        batch.remove(&keyspaces.meta, RESTORING);
        batch.commit()?;
        keyspaces.db.persist(PersistMode::SyncAll)?;
        self.complete = true;
        self.state.0.reload()?;
        self.state.0.restoring.store(false, Ordering::Release);
        Ok(())
    }
}

impl Drop for Restore {
    fn drop(&mut self) {
        if !self.complete {
            // If this fails, the marker is still there and the next start clears.
            if self.state.0.keyspaces.clear().is_ok() {
                self.state.0.restoring.store(false, Ordering::Release);
            }
        }
    }
}

fn decode_piece(packed: &[u8]) -> Result<Piece, &'static str> {
    let bytes = zstd::bulk::decompress(packed, MAX_PIECE_BYTES)
        .map_err(|_| "it does not unpack within its bounds")?;
    let piece = Piece::try_from_slice(&bytes).map_err(|_| "it does not decode")?;
    if piece.version != VERSION {
        return Err("its version is unknown");
    }
    if piece
        .codes
        .iter()
        .any(|code| code.is_empty() || code.len() > MAX_CODE_BYTES)
    {
        return Err("a code is empty or too long");
    }
    if piece
        .groups
        .windows(2)
        .any(|pair| pair[0].key >= pair[1].key)
    {
        return Err("its accounts are not in order");
    }
    if piece
        .groups
        .iter()
        .skip(1)
        .any(|group| group.account.is_none())
    {
        return Err("an account is missing");
    }
    for group in &piece.groups {
        if group.slots.windows(2).any(|pair| pair[0].0 >= pair[1].0) {
            return Err("its slots are not in order");
        }
        if group.slots.iter().any(|(_, value)| *value == [0; 32]) {
            return Err("a slot is empty");
        }
    }
    Ok(piece)
}

/// A tree as it grows: straight from the keyspaces, which nobody else uses meanwhile.
struct Growing<'a> {
    keyspaces: &'a Keyspaces,
    owner: Option<B256>,
}

impl Source for Growing<'_> {
    fn branch(&self, path: &Nibbles) -> Result<Branch> {
        let key = keys::node(self.owner.as_ref(), path);
        let bytes = self.keyspaces.nodes.get(&*key)?;
        bytes
            .and_then(|bytes| Branch::decode(bytes, path.len()))
            .ok_or_else(|| damaged("a rebuilt branch", &key))
    }

    fn value(&self, key: &B256) -> Result<Vec<u8>> {
        let row = match &self.owner {
            None => self
                .keyspaces
                .flat
                .get(key)?
                .and_then(|bytes| Some(AccountRecord::decode(&bytes)?.rlp())),
            Some(owner) => self
                .keyspaces
                .flat
                .get(keys::flat_slot(owner, key))?
                .map(|bytes| alloy_rlp::encode(&*bytes)),
        };
        row.ok_or_else(|| damaged("a restored row", &key.0))
    }
}

/// A tree of sorted leaves: ours, built some thousands at a time, and the reference's, which must agree.
struct Growth {
    owner: Option<B256>,
    root: Option<Child>,
    waiting: Vec<Change>,
    reference: HashBuilder,
}

impl Growth {
    fn new(owner: Option<B256>) -> Self {
        Self {
            owner,
            root: None,
            waiting: Vec::new(),
            reference: HashBuilder::default(),
        }
    }

    fn add(&mut self, keyspaces: &Keyspaces, key: B256, value: Vec<u8>) -> Result<()> {
        self.reference
            .add_leaf(Nibbles::unpack_array(&key.0), &value);
        self.waiting.push(Change {
            key,
            value: Some(value),
        });
        if self.waiting.len() >= KEYS_AT_ONCE {
            self.write(keyspaces)
        } else {
            Ok(())
        }
    }

    fn write(&mut self, keyspaces: &Keyspaces) -> Result<()> {
        let source = Growing {
            keyspaces,
            owner: self.owner,
        };
        let (root, written) = trie::apply(&source, self.root.take(), &self.waiting)?;
        self.root = root;
        self.waiting.clear();
        let mut batch = keyspaces.db.batch();
        for branch in written {
            let key = keys::node(self.owner.as_ref(), &branch.path);
            match branch.new {
                Some(new) => batch.insert(&keyspaces.nodes, &*key, new),
                None => batch.remove(&keyspaces.nodes, &*key),
            }
        }
        batch.commit()?;
        Ok(())
    }

    fn finish(mut self, keyspaces: &Keyspaces) -> Result<Option<Child>> {
        self.write(keyspaces)?;
        let (ours, reference) = (trie::root_hash(self.root.as_ref()), self.reference.root());
        if ours != reference {
            return Err(StateError::Damaged(format!(
                "a rebuilt tree has root {ours}, its leaves have {reference}"
            )));
        }
        Ok(self.root)
    }
}

/// Builds all trees over the restored rows, and checks everything that the manifest and the certified root say.
fn rebuild(keyspaces: &Keyspaces, manifest: &Manifest) -> Result<Option<Child>> {
    let snapshot = keyspaces.db.snapshot();
    let mut accounts = Growth::new(None);
    // The rows of accounts, whose storage roots are known only now.
    let mut rows: Vec<(B256, AccountRecord)> = Vec::new();
    let mut codes = BTreeSet::new();
    let (mut account_count, mut slot_count) = (0u64, 0u64);
    let mut open: Option<(B256, AccountRecord, Growth)> = None;

    let mut close = |open: &mut Option<(B256, AccountRecord, Growth)>, last: bool| -> Result<()> {
        if let Some((key, mut record, growth)) = open.take() {
            record.storage = growth.finish(keyspaces)?;
            rows.push((key, record));
        }
        // The rows go first: a tree that grows reads the leaves it moves from them.
        if last || rows.len() >= KEYS_AT_ONCE {
            let mut batch = keyspaces.db.batch();
            for (key, record) in &rows {
                batch.insert(&keyspaces.flat, key.as_slice(), record.encode());
            }
            batch.commit()?;
            for (key, record) in rows.drain(..) {
                accounts.add(keyspaces, key, record.rlp())?;
            }
        }
        Ok(())
    };
    for row in snapshot.iter(&keyspaces.flat) {
        let (key, value) = row.into_inner()?;
        if let Ok(key) = B256::try_from(&*key) {
            close(&mut open, false)?;
            let record = AccountRecord::decode(&value)
                .ok_or_else(|| damaged("a restored account", &key.0))?;
            if record.account.code_hash != KECCAK_EMPTY {
                codes.insert(record.account.code_hash);
            }
            account_count += 1;
            open = Some((key, record, Growth::new(Some(key))));
        } else {
            let slot = key.get(32..).and_then(|slot| B256::try_from(slot).ok());
            let (Some((owner, _, growth)), Some(slot)) = (&mut open, slot) else {
                return Err(damaged("the account of a restored slot", &key));
            };
            if !key.starts_with(owner.as_slice()) {
                return Err(damaged("the account of a restored slot", &key));
            }
            slot_count += 1;
            growth.add(keyspaces, slot, alloy_rlp::encode(&*value))?;
        }
    }
    close(&mut open, true)?;
    let root = accounts.finish(keyspaces)?;
    let rebuilt = trie::root_hash(root.as_ref());
    if rebuilt != manifest.root {
        return Err(StateError::RootMismatch {
            certified: manifest.root,
            rebuilt,
        });
    }
    let stored: BTreeSet<_> = snapshot
        .iter(&keyspaces.code)
        .map(|row| Ok(B256::try_from(&*row.key()?).unwrap_or_default()))
        .collect::<Result<_>>()?;
    if let Some(missing) = codes.difference(&stored).next() {
        return Err(StateError::UnknownCode(*missing));
    }
    if stored.len() != codes.len() {
        return Err(StateError::ManifestRefused(
            "its pieces hold code that no account has",
        ));
    }
    if (manifest.accounts, manifest.slots) != (account_count, slot_count)
        || u64::try_from(codes.len()) != Ok(manifest.codes)
    {
        return Err(StateError::ManifestRefused(
            "its numbers are not those of its pieces",
        ));
    }
    Ok(root)
}
