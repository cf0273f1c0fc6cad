//! The values of the keyspaces, and their bytes. Decoders take exactly what the encoders write.

use alloy_primitives::{B256, U256};
use alloy_rlp::{Encodable, Header};
use alloy_trie::KECCAK_EMPTY;

use crate::Account;
use crate::trie::{self, Child};

/// Layout of all keyspaces; a change of any of them raises it.
pub(crate) const VERSION: u8 = 1;

/// An account with the root of its storage tree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct AccountRecord {
    pub(crate) account: Account,
    pub(crate) storage: Option<Child>,
}

impl AccountRecord {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(128);
        out.extend_from_slice(&self.account.nonce.to_be_bytes());
        let balance = self.account.balance.to_be_bytes_trimmed_vec();
        out.push(balance.len().to_le_bytes()[0]);
        out.extend_from_slice(&balance);
        if self.account.code_hash == KECCAK_EMPTY {
            out.push(0);
        } else {
            out.push(1);
            out.extend_from_slice(&self.account.code_hash.0);
        }
        encode_root(self.storage.as_ref(), &mut out);
        out
    }

    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        let (nonce, bytes) = bytes.split_first_chunk::<8>()?;
        let (&len, bytes) = bytes.split_first()?;
        let (balance, bytes) = bytes.split_at_checked(usize::from(len))?;
        let (&has_code, mut bytes) = bytes.split_first()?;
        let code_hash = match has_code {
            0 => KECCAK_EMPTY,
            1 => {
                let (hash, rest) = bytes.split_first_chunk::<32>()?;
                bytes = rest;
                B256::new(*hash)
            }
            _ => return None,
        };
        let account = Account {
            nonce: u64::from_be_bytes(*nonce),
            balance: decode_u256(balance)?,
            code_hash,
        };
        let storage = decode_root(&mut bytes)?;
        bytes.is_empty().then_some(Self { account, storage })
    }

    pub(crate) fn storage_root(&self) -> B256 {
        trie::root_hash(self.storage.as_ref())
    }

    /// The value of the account's leaf (yellow paper, 4.1).
    pub(crate) fn rlp(&self) -> Vec<u8> {
        account_rlp(&self.account, &self.storage_root())
    }
}

pub(crate) fn account_rlp(account: &Account, storage_root: &B256) -> Vec<u8> {
    let payload_length = account.nonce.length()
        + account.balance.length()
        + storage_root.length()
        + account.code_hash.length();
    let mut out = Vec::with_capacity(payload_length + 2);
    Header {
        list: true,
        payload_length,
    }
    .encode(&mut out);
    account.nonce.encode(&mut out);
    account.balance.encode(&mut out);
    storage_root.encode(&mut out);
    account.code_hash.encode(&mut out);
    out
}

/// A slot's value: big-endian without leading zeros.
pub(crate) fn encode_u256(value: U256) -> Vec<u8> {
    value.to_be_bytes_trimmed_vec()
}

pub(crate) fn decode_u256(bytes: &[u8]) -> Option<U256> {
    if bytes.first() == Some(&0) {
        return None;
    }
    U256::try_from_be_slice(bytes)
}

/// The root of a tree: 0 for an empty one, else 1 (a leaf) or 2 (a branch), and the child.
fn encode_root(root: Option<&Child>, out: &mut Vec<u8>) {
    match root {
        None => out.push(0),
        Some(child) => {
            out.push(if matches!(child, Child::Leaf { .. }) {
                1
            } else {
                2
            });
            child.encode(out);
        }
    }
}

fn decode_root(bytes: &mut &[u8]) -> Option<Option<Child>> {
    let (&kind, rest) = bytes.split_first()?;
    *bytes = rest;
    match kind {
        0 => Some(None),
        1 | 2 => Some(Some(Child::decode(bytes, kind == 1, 0)?)),
        _ => None,
    }
}

pub(crate) fn root_bytes(root: Option<&Child>) -> Vec<u8> {
    let mut out = Vec::with_capacity(64);
    encode_root(root, &mut out);
    out
}

pub(crate) fn root_from_bytes(mut bytes: &[u8]) -> Option<Option<Child>> {
    let root = decode_root(&mut bytes)?;
    bytes.is_empty().then_some(root)
}

/// Where the state is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Head {
    pub(crate) height: u64,
    /// The oldest height that can still be read.
    pub(crate) oldest: u64,
    /// History of heights up to this one is deleted. Behind `oldest` while there is more to delete than one block may.
    pub(crate) pruned: u64,
    pub(crate) root: Option<Child>,
}

impl Head {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = vec![VERSION];
        out.extend_from_slice(&self.height.to_be_bytes());
        out.extend_from_slice(&self.oldest.to_be_bytes());
        out.extend_from_slice(&self.pruned.to_be_bytes());
        encode_root(self.root.as_ref(), &mut out);
        out
    }

    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        let (&VERSION, bytes) = bytes.split_first()? else {
            return None;
        };
        let (height, bytes) = bytes.split_first_chunk()?;
        let (oldest, bytes) = bytes.split_first_chunk()?;
        let (pruned, bytes) = bytes.split_first_chunk()?;
        Some(Self {
            height: u64::from_be_bytes(*height),
            oldest: u64::from_be_bytes(*oldest),
            pruned: u64::from_be_bytes(*pruned),
            root: root_from_bytes(bytes)?,
        })
    }
}
