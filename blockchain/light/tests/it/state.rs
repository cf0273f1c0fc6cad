//! Accounts and storage under a state root, against trees that `alloy-trie` builds.

use std::collections::BTreeMap;

use alloy_primitives::{Address, B256, U256, keccak256};
use alloy_trie::proof::ProofRetainer;
use alloy_trie::{EMPTY_ROOT_HASH, HashBuilder, KECCAK_EMPTY, Nibbles};
use lucid_light::{
    Account, LightError, MAX_NODE_BYTES, MAX_NODES, MAX_SLOTS, SlotProof, StateProof,
    VerifiedHeader,
};
use proptest::prelude::*;

use crate::support::verified;

/// A tree's root, and the nodes on the way to each of `keys`.
fn tree(values: &BTreeMap<B256, Vec<u8>>, keys: &[B256]) -> (B256, Vec<Vec<Vec<u8>>>) {
    let targets: Vec<Nibbles> = keys.iter().map(Nibbles::unpack).collect();
    let retainer = ProofRetainer::from_iter(targets.iter().copied());
    let mut builder = HashBuilder::default().with_proof_retainer(retainer);
    for (key, value) in values {
        builder.add_leaf(Nibbles::unpack(key), value);
    }
    let root = builder.root();
    let nodes = builder.take_proof_nodes();
    let of = |target: &Nibbles| {
        if root == EMPTY_ROOT_HASH {
            return vec![];
        }
        nodes
            .matching_nodes_sorted(target)
            .into_iter()
            .map(|(_, node)| node.to_vec())
            .collect()
    };
    (root, targets.iter().map(of).collect())
}

fn hashed_slot(slot: U256) -> B256 {
    keccak256(slot.to_be_bytes::<32>())
}

/// The account as a list in RLP, made by hand.
fn rlp(account: &Account) -> Vec<u8> {
    let mut fields = Vec::new();
    for number in [U256::from(account.nonce), account.balance] {
        fields.extend(alloy_rlp::encode(number));
    }
    for hash in [account.storage_root, account.code_hash] {
        fields.push(0xa0);
        fields.extend(hash);
    }
    // From 66 to 109 bytes: one length byte, and a list header with one more.
    let length = u8::try_from(fields.len()).unwrap();
    assert!(length > 55);
    [vec![0xf8, length], fields].concat()
}

struct World {
    accounts: BTreeMap<Address, Account>,
    storage: BTreeMap<U256, U256>,
    /// Whose storage it is.
    contract: Address,
}

impl World {
    fn new(accounts: usize, slots: u64) -> Self {
        let contract = Address::repeat_byte(0xcc);
        let storage: BTreeMap<U256, U256> = (0..slots)
            .map(|slot| (U256::from(slot * 7), U256::from(slot * slot + 1)))
            .collect();
        let values = storage
            .iter()
            .map(|(slot, value)| (hashed_slot(*slot), alloy_rlp::encode(value)));
        let (storage_root, _) = tree(&values.collect(), &[]);
        let mut all: BTreeMap<Address, Account> = (0..accounts)
            .map(|index| {
                let account = Account {
                    nonce: index as u64 * 300,
                    balance: U256::from(index).pow(U256::from(9)) + U256::ONE,
                    storage_root: EMPTY_ROOT_HASH,
                    code_hash: KECCAK_EMPTY,
                };
                (Address::from_word(keccak256([index as u8, 1])), account)
            })
            .collect();
        let code_hash = keccak256(b"code");
        all.insert(
            contract,
            Account {
                nonce: 1,
                balance: U256::MAX,
                storage_root,
                code_hash,
            },
        );
        Self {
            accounts: all,
            storage,
            contract,
        }
    }

    fn prove(&self, address: Address, slots: &[U256]) -> (VerifiedHeader, StateProof) {
        let values = self
            .accounts
            .iter()
            .map(|(address, account)| (keccak256(address), rlp(account)));
        let (root, mut nodes) = tree(&values.collect(), &[keccak256(address)]);
        let storage = if address == self.contract {
            &self.storage
        } else {
            &BTreeMap::new()
        };
        let values = storage
            .iter()
            .map(|(slot, value)| (hashed_slot(*slot), alloy_rlp::encode(value)));
        let keys: Vec<B256> = slots.iter().map(|slot| hashed_slot(*slot)).collect();
        let (_, slot_nodes) = tree(&values.collect(), &keys);
        let proof = StateProof {
            address,
            account: self.accounts.get(&address).copied(),
            nodes: nodes.remove(0),
            slots: slots
                .iter()
                .zip(slot_nodes)
                .map(|(slot, nodes)| SlotProof {
                    slot: *slot,
                    value: storage.get(slot).copied().unwrap_or_default(),
                    nodes,
                })
                .collect(),
        };
        (verified(|header| header.state_root = root), proof)
    }
}

/// Slots that hold something, and slots that do not.
fn some_slots() -> Vec<U256> {
    [0u64, 7, 8, 70, 1_000_000].map(U256::from).to_vec()
}

#[test]
fn accounts_and_slots_are_proven_and_so_is_their_absence() {
    for (accounts, slots) in [(0, 0), (1, 1), (2, 5), (200, 300)] {
        let world = World::new(accounts, slots);
        let absent = Address::repeat_byte(0xab);
        let first = world.accounts.keys().next().copied().unwrap();
        for address in [world.contract, first, absent] {
            let (header, proof) = world.prove(address, &some_slots());
            let proof = StateProof::decode(&proof.encode()).unwrap();
            let proven = header.account(&proof).unwrap();
            assert_eq!(proven.address, address);
            assert_eq!(proven.account, world.accounts.get(&address).copied());
            for slot in some_slots() {
                let held = world
                    .storage
                    .get(&slot)
                    .filter(|_| address == world.contract);
                assert_eq!(proven.slots[&slot], held.copied().unwrap_or_default());
            }
        }
    }
    // A state with nothing in it.
    let header = verified(|header| header.state_root = EMPTY_ROOT_HASH);
    let nothing = StateProof {
        address: Address::ZERO,
        account: None,
        nodes: vec![],
        slots: vec![],
    };
    assert_eq!(header.account(&nothing).unwrap().account, None);
}

#[test]
fn claims_that_are_not_so_are_refused() {
    let world = World::new(50, 50);
    let (header, valid) = world.prove(world.contract, &some_slots());
    let refused = |change: &dyn Fn(&mut StateProof)| {
        let mut proof = valid.clone();
        change(&mut proof);
        header.account(&proof).unwrap_err()
    };
    let account = |error| matches!(error, LightError::Account { .. });
    let with = |change: fn(&mut Account)| {
        account(refused(&|proof| change(proof.account.as_mut().unwrap())))
    };
    assert!(with(|account| account.nonce += 1));
    assert!(with(|account| account.balance -= U256::ONE));
    assert!(with(|account| account.code_hash = KECCAK_EMPTY));
    assert!(with(|account| account.storage_root = EMPTY_ROOT_HASH));
    assert!(account(refused(&|proof| proof.account = None)));
    assert!(account(refused(&|proof| proof.nodes.clear())));
    assert!(account(refused(&|proof| drop(proof.nodes.pop()))));
    assert!(account(refused(&|proof| drop(proof.nodes.remove(0)))));
    assert!(account(refused(&|proof| proof.nodes.push(vec![0x80]))));
    assert!(account(refused(&|proof| proof
        .nodes
        .push(proof.nodes[0].clone()))));
    assert!(account(refused(&|proof| proof.address = Address::ZERO)));

    let slot = |error| matches!(error, LightError::Slot { .. });
    for index in 0..valid.slots.len() {
        assert!(slot(
            refused(&|proof| proof.slots[index].value += U256::ONE)
        ));
        assert!(slot(refused(&|proof| drop(proof.slots[index].nodes.pop()))));
        assert!(slot(refused(&|proof| proof.slots[index].nodes.clear())));
        assert!(slot(refused(&|proof| proof.slots[index]
            .nodes
            .push(vec![0x80]))));
    }
    assert!(
        slot(refused(&|proof| proof.slots[0].value = U256::ZERO)),
        "a slot that holds something"
    );
    assert!(
        slot(refused(&|proof| proof.slots[2].value = U256::ONE)),
        "a slot that holds nothing"
    );
    assert!(slot(refused(&|proof| proof.slots[0].slot = U256::from(7))));
    assert_eq!(
        refused(&|proof| proof.slots[1].value = U256::from(9))
            .to_string()
            .split(": ")
            .next(),
        Some(
            format!(
                "slot 0x7 of {} is not as the proof says in the state after height 5",
                world.contract
            )
            .as_str()
        )
    );
    // The state of another block.
    let other = verified(|header| header.state_root = B256::ZERO);
    assert!(account(other.account(&valid).unwrap_err()));
    // Nothing is held by an account that is not there.
    let (header, mut absent) = world.prove(Address::ZERO, &[U256::ONE]);
    absent.slots[0].value = U256::ONE;
    assert!(slot(header.account(&absent).unwrap_err()));
    // Nodes that an empty tree does not have.
    absent.slots[0] = SlotProof {
        slot: U256::ONE,
        value: U256::ZERO,
        nodes: vec![vec![0x80]],
    };
    assert!(slot(header.account(&absent).unwrap_err()));
}

#[test]
fn every_flipped_byte_is_refused_or_says_something_else_that_is_so() {
    let world = World::new(40, 20);
    for address in [world.contract, Address::repeat_byte(0xab)] {
        let (header, proof) = world.prove(address, &some_slots());
        let bytes = proof.encode();
        for place in 0..bytes.len() {
            let mut flipped = bytes.clone();
            flipped[place] ^= 1 << (place % 8);
            let Ok(proven) = StateProof::decode(&flipped).and_then(|proof| header.account(&proof))
            else {
                continue;
            };
            // The nodes that show one key's absence can show another's.
            assert_eq!(proven.account, world.accounts.get(&proven.address).copied());
            for (slot, value) in proven.slots {
                let held = world
                    .storage
                    .get(&slot)
                    .filter(|_| proven.address == world.contract);
                assert_eq!(held.copied().unwrap_or_default(), value);
            }
            let file = 9..29;
            let slots = proof.slots.iter().any(|slot| slot.value.is_zero());
            assert!(file.contains(&place) || slots, "byte {place}");
        }
        for cut in 0..bytes.len() {
            assert!(StateProof::decode(&bytes[..cut]).is_err());
        }
    }
}

#[test]
fn bounds_are_named() {
    let proof = |nodes: usize, bytes: usize, slots: usize| {
        let slot = SlotProof {
            slot: U256::ZERO,
            value: U256::ZERO,
            nodes: vec![],
        };
        StateProof {
            address: Address::ZERO,
            account: None,
            nodes: vec![vec![0; bytes]; nodes],
            slots: vec![slot; slots],
        }
    };
    let header = verified(|_| {});
    for (proof, text) in [
        (
            proof(MAX_NODES + 1, 1, 0),
            "nodes of a state proof: 66 are more than the 65 that are allowed",
        ),
        (
            proof(1, MAX_NODE_BYTES + 1, 0),
            "bytes of a node of a state proof: 1025 are more than the 1024 that are allowed",
        ),
        (
            proof(0, 0, MAX_SLOTS + 1),
            "slots of a state proof: 1025 are more than the 1024 that are allowed",
        ),
    ] {
        assert_eq!(
            StateProof::decode(&proof.encode()).unwrap_err().to_string(),
            text
        );
        assert_eq!(header.account(&proof).unwrap_err().to_string(), text);
    }
    StateProof::decode(&proof(MAX_NODES, MAX_NODE_BYTES, MAX_SLOTS).encode()).unwrap();
}

/// No honest state has such nodes; a root that was certified for them must not stop the verifier either.
#[test]
fn paths_longer_than_a_key_are_refused() {
    let extension = |child: &[u8]| {
        // 40 nibbles, an even number: 21 bytes with their flag.
        let mut key = vec![0x00];
        key.extend([0x11; 20]);
        let mut fields = alloy_rlp::encode(key.as_slice());
        fields.extend(alloy_rlp::encode(child));
        [vec![0xc0 + fields.len() as u8], fields].concat()
    };
    let third = extension(&[0x22; 32]);
    let second = extension(keccak256(&third).as_slice());
    let first = extension(keccak256(&second).as_slice());
    let header = verified(|header| header.state_root = keccak256(&first));
    let proof = StateProof {
        address: Address::ZERO,
        account: None,
        nodes: vec![first, second, third],
        slots: vec![],
    };
    let error = header.account(&proof).unwrap_err().to_string();
    assert!(error.ends_with("a path is longer than a key"), "{error}");
}

/// The answer of a node as clients get it.
fn json(proof: &StateProof) -> String {
    let hex = |nodes: &[Vec<u8>]| -> Vec<String> {
        nodes
            .iter()
            .map(alloy_primitives::hex::encode_prefixed)
            .collect()
    };
    let account = proof.account.unwrap_or(Account {
        nonce: 0,
        balance: U256::ZERO,
        storage_root: EMPTY_ROOT_HASH,
        code_hash: KECCAK_EMPTY,
    });
    let slots: Vec<_> = proof
        .slots
        .iter()
        .enumerate()
        .map(|(index, slot)| {
            // Both ways clients name slots.
            let key = match index % 2 {
                0 => format!("{:#x}", slot.slot),
                _ => format!("{}", B256::from(slot.slot)),
            };
            serde_json::json!({ "key": key, "value": format!("{:#x}", slot.value), "proof": hex(&slot.nodes) })
        })
        .collect();
    serde_json::json!({
        "address": proof.address,
        "accountProof": hex(&proof.nodes),
        "balance": format!("{:#x}", account.balance),
        "codeHash": account.code_hash,
        "nonce": format!("{:#x}", account.nonce),
        "storageHash": account.storage_root,
        "storageProof": slots,
    })
    .to_string()
}

#[test]
fn answers_of_eth_get_proof_are_checked() {
    let world = World::new(30, 30);
    for address in [world.contract, Address::repeat_byte(0xab)] {
        let (header, proof) = world.prove(address, &some_slots());
        let read = StateProof::from_eth_get_proof(json(&proof).as_bytes()).unwrap();
        assert_eq!(read, proof);
        header.account(&read).unwrap();
    }
    // Some nodes give zeros for an account that is not there.
    let (header, proof) = world.prove(Address::repeat_byte(0xab), &[]);
    let zeros = json(&proof).replace(&KECCAK_EMPTY.to_string(), &B256::ZERO.to_string());
    let read = StateProof::from_eth_get_proof(zeros.as_bytes()).unwrap();
    assert_eq!(header.account(&read).unwrap().account, None);

    let refused = |text: &str| {
        StateProof::from_eth_get_proof(text.as_bytes())
            .unwrap_err()
            .to_string()
    };
    assert!(refused("{}").starts_with("the answer of eth_getProof is malformed: missing field"));
    assert!(refused("null").starts_with("the answer of eth_getProof is malformed"));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn any_state_proves_all_of_its_accounts(accounts in 0usize..120, slots in 0u64..120, pick in any::<usize>()) {
        let world = World::new(accounts, slots);
        let address = *world.accounts.keys().nth(pick % world.accounts.len()).unwrap();
        let wanted: Vec<U256> = (0..slots.min(20)).map(|slot| U256::from(slot * 7)).collect();
        let (header, proof) = world.prove(address, &wanted);
        let proven = header.account(&proof).unwrap();
        prop_assert_eq!(proven.account, world.accounts.get(&address).copied());
        prop_assert_eq!(proven.slots.len(), wanted.len());
    }

    #[test]
    fn junk_never_panics(junk in proptest::collection::vec(any::<u8>(), 0..300), nodes in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..64), 0..6)) {
        let _ = StateProof::decode(&junk);
        let _ = StateProof::decode(&[b"LUCIDSTA\x01", &junk[..]].concat());
        let _ = StateProof::from_eth_get_proof(&junk);
        // Nodes that do hang together by their hashes, under a root that was certified.
        let root = nodes.first().map_or(EMPTY_ROOT_HASH, keccak256);
        let header = verified(|header| header.state_root = root);
        let proof = StateProof { address: Address::ZERO, account: None, nodes, slots: vec![] };
        let _ = header.account(&proof);
    }
}
