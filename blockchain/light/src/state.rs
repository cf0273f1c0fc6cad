//! Accounts and their storage under a header's state root: Ethereum's tree and `eth_getProof`'s proofs.

use std::collections::BTreeMap;

use alloy_primitives::{Address, B256, Bytes, U64, U256, keccak256};
use alloy_rlp::{Decodable, Encodable};
use alloy_trie::nodes::TrieNode;
use alloy_trie::proof::verify_proof;
use alloy_trie::{EMPTY_ROOT_HASH, KECCAK_EMPTY, Nibbles};
use borsh::{BorshDeserialize, BorshSerialize};
use serde::Deserialize;

use crate::file::{Kind, at_most};
use crate::{LightError, VerifiedHeader};

/// Most nodes on the way to a value: one a nibble of its key, and the leaf.
pub const MAX_NODES: usize = 65;
/// Most bytes of a node; a full branch has 532.
pub const MAX_NODE_BYTES: usize = 1_024;
/// Most slots in a proof.
pub const MAX_SLOTS: usize = 1_024;
/// Most bytes of a state proof, as file or as JSON.
pub const MAX_STATE_PROOF_BYTES: usize = 16 << 20;

const KIND: Kind = Kind {
    magic: b"LUCIDSTA",
    version: StateProof::VERSION,
    what: "a state proof",
    max_bytes: MAX_STATE_PROOF_BYTES,
};

/// What the state has of an account.
#[derive(Debug, Clone, Copy, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Account {
    /// Transactions sent.
    pub nonce: u64,
    /// In wei.
    pub balance: U256,
    /// Root of its storage.
    pub storage_root: B256,
    /// Keccak of its code.
    pub code_hash: B256,
}

impl Account {
    /// What the state tree holds: the list of the four fields.
    fn rlp(&self) -> Vec<u8> {
        let fields: [&dyn Encodable; 4] = [
            &self.nonce,
            &self.balance,
            &self.storage_root,
            &self.code_hash,
        ];
        let payload_length = fields.iter().map(|field| field.length()).sum();
        let mut rlp = Vec::new();
        alloy_rlp::Header {
            list: true,
            payload_length,
        }
        .encode(&mut rlp);
        for field in fields {
            field.encode(&mut rlp);
        }
        rlp
    }
}

/// A slot of an account's storage, with the nodes that lead to it.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct SlotProof {
    /// Which.
    pub slot: U256,
    /// What it holds; zero where it holds nothing, which is proven too.
    pub value: U256,
    /// From the storage root down; none for an account without storage.
    pub nodes: Vec<Vec<u8>>,
}

/// An account and some of its storage, with the nodes that lead to them.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct StateProof {
    /// Whose.
    pub address: Address,
    /// What the state has of it; `None` where it has nothing, which is proven too.
    pub account: Option<Account>,
    /// From the state root down.
    pub nodes: Vec<Vec<u8>>,
    /// Of its storage.
    pub slots: Vec<SlotProof>,
}

/// What a [`StateProof`] has proven.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProvenAccount {
    /// Whose.
    pub address: Address,
    /// What the state has of it; `None`: no such account.
    pub account: Option<Account>,
    /// Its slots that the proof was about; zero: holds nothing.
    pub slots: BTreeMap<U256, U256>,
}

impl StateProof {
    /// The version this code reads and writes.
    pub const VERSION: u8 = 1;

    /// The proof file.
    pub fn encode(&self) -> Vec<u8> {
        KIND.encode(self)
    }

    /// Reads a proof file; proves nothing yet.
    pub fn decode(bytes: &[u8]) -> Result<Self, LightError> {
        let proof: Self = KIND.decode(bytes)?;
        proof.check_bounds()?;
        Ok(proof)
    }

    /// Reads the `result` of an `eth_getProof` answer (EIP-1186); proves nothing yet.
    pub fn from_eth_get_proof(json: &[u8]) -> Result<Self, LightError> {
        at_most("bytes of eth_getProof", json.len(), MAX_STATE_PROOF_BYTES)?;
        let answer: EthGetProof =
            serde_json::from_slice(json).map_err(|error| LightError::Json(error.to_string()))?;
        // There is no `null` for "no such account": its fields are those of an empty one, with or without hashes.
        let none = answer.nonce.is_zero()
            && answer.balance.is_zero()
            && [B256::ZERO, KECCAK_EMPTY].contains(&answer.code_hash)
            && [B256::ZERO, EMPTY_ROOT_HASH].contains(&answer.storage_hash);
        let account = Account {
            nonce: answer.nonce.to(),
            balance: answer.balance,
            storage_root: answer.storage_hash,
            code_hash: answer.code_hash,
        };
        let nodes = |nodes: Vec<Bytes>| nodes.into_iter().map(Vec::from).collect();
        let proof = Self {
            address: answer.address,
            account: (!none).then_some(account),
            nodes: nodes(answer.account_proof),
            slots: answer
                .storage_proof
                .into_iter()
                .map(|proof| SlotProof {
                    slot: proof.key,
                    value: proof.value,
                    nodes: nodes(proof.proof),
                })
                .collect(),
        };
        proof.check_bounds()?;
        Ok(proof)
    }

    fn check_bounds(&self) -> Result<(), LightError> {
        at_most("slots of a state proof", self.slots.len(), MAX_SLOTS)?;
        let slots = self.slots.iter().map(|slot| &slot.nodes);
        for nodes in std::iter::once(&self.nodes).chain(slots) {
            at_most("nodes of a state proof", nodes.len(), MAX_NODES)?;
            for node in nodes {
                at_most(
                    "bytes of a node of a state proof",
                    node.len(),
                    MAX_NODE_BYTES,
                )?;
            }
        }
        Ok(())
    }
}

impl VerifiedHeader {
    /// Checks a proof against the state after this block.
    pub fn account(&self, proof: &StateProof) -> Result<ProvenAccount, LightError> {
        proof.check_bounds()?;
        let StateProof {
            address, account, ..
        } = *proof;
        let height = self.height();
        let value = account.map(|account| account.rlp());
        check(
            self.header().state_root,
            keccak256(address),
            value,
            &proof.nodes,
        )
        .map_err(|reason| LightError::Account {
            address,
            height,
            reason,
        })?;
        let storage_root = account.map_or(EMPTY_ROOT_HASH, |account| account.storage_root);
        let mut slots = BTreeMap::new();
        for SlotProof { slot, value, nodes } in &proof.slots {
            let slot = *slot;
            let held = (!value.is_zero()).then(|| alloy_rlp::encode(value));
            check(
                storage_root,
                keccak256(slot.to_be_bytes::<32>()),
                held,
                nodes,
            )
            .map_err(|reason| LightError::Slot {
                address,
                slot,
                height,
                reason,
            })?;
            slots.insert(slot, *value);
        }
        Ok(ProvenAccount {
            address,
            account,
            slots,
        })
    }
}

/// Checks that the tree under `root` has `value` at `key`, or has nothing there.
fn check(root: B256, key: B256, value: Option<Vec<u8>>, nodes: &[Vec<u8>]) -> Result<(), String> {
    // One encoding of "nothing": an empty tree has no nodes.
    if root == EMPTY_ROOT_HASH && !nodes.is_empty() {
        return Err("there are nodes of an empty tree".into());
    }
    let nodes: Vec<Bytes> = nodes
        .iter()
        .map(|node| Bytes::copy_from_slice(node))
        .collect();
    let key = Nibbles::unpack(key);
    // `verify_proof` panics on a path that is longer than a key. No honest state has one, so this needs more than two thirds of
    // lying validators; they shall not stop a verifier either.
    let mut length = 0;
    for node in &nodes {
        let node = TrieNode::decode(&mut node.as_ref()).map_err(|error| error.to_string())?;
        walk(&node, &key, &mut length)?;
    }
    verify_proof(root, key, value, &nodes).map_err(|error| error.to_string())
}

/// Adds to `length` the nibbles that `node`, and what it holds in place, takes of a way to `key`.
fn walk(node: &TrieNode, key: &Nibbles, length: &mut usize) -> Result<(), String> {
    let child = match node {
        TrieNode::EmptyRoot => None,
        TrieNode::Leaf(leaf) => {
            *length += leaf.key.len();
            None
        }
        TrieNode::Extension(extension) => {
            *length += extension.key.len();
            Some(&extension.child)
        }
        TrieNode::Branch(branch) => {
            let next = key.get(*length);
            *length += 1;
            next.filter(|next| branch.state_mask.is_bit_set(*next))
                .and_then(|next| {
                    let before = (0..next).filter(|nibble| branch.state_mask.is_bit_set(*nibble));
                    branch.stack.get(before.count())
                })
        }
    };
    if *length > key.len() {
        return Err("a path is longer than a key".into());
    }
    match child {
        Some(child) if !child.is_hash() => {
            let child =
                TrieNode::decode(&mut child.as_slice()).map_err(|error| error.to_string())?;
            walk(&child, key, length)
        }
        _ => Ok(()),
    }
}

/// EIP-1186.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct EthGetProof {
    address: Address,
    account_proof: Vec<Bytes>,
    balance: U256,
    code_hash: B256,
    nonce: U64,
    storage_hash: B256,
    storage_proof: Vec<EthStorageProof>,
}

#[derive(Deserialize)]
struct EthStorageProof {
    /// 32 bytes or a number, whichever was asked for.
    key: U256,
    value: U256,
    proof: Vec<Bytes>,
}
