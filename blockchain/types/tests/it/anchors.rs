//! LucidAnchors' hashes and trees. That the contract has the same is shown in lucid-execution.

use alloy_primitives::{Address, B256, U256, hex, keccak256};
use lucid_chain_types::Height;
use lucid_chain_types::anchors::{
    BatchSent, CheckpointSent, Closed, MAX_BATCH_PATH, Moment, Opened, anchor_id, batch_log_slot,
    batch_path, batch_root, batch_root_of_path, checkpoint_leaf, head_slot, log_slot,
};
use proptest::prelude::*;

#[test]
fn ids_and_slots_are_where_solidity_has_them() {
    let id = anchor_id([7; 16]);
    assert_eq!(id[..16], [7; 16]);
    assert_eq!(id[16..], [0; 16]);
    // cast index bytes32 ID 0
    let slot = keccak256([id.as_slice(), &[0; 32]].concat());
    assert_eq!(head_slot(id), U256::from_be_bytes(slot.0));
    assert_eq!(log_slot(id), head_slot(id) + U256::from(1));
    let sender = Address::repeat_byte(9);
    let mut key = [0; 64];
    key[12..32].copy_from_slice(sender.as_slice());
    key[63] = 2;
    assert_eq!(
        batch_log_slot(sender),
        U256::from_be_bytes(keccak256(key).0)
    );
}

#[test]
fn steps_hash_their_words_in_order() {
    let at = Moment {
        height: Height(5),
        time_s: 6,
    };
    let byte = B256::repeat_byte;
    let word = |n: u8| B256::with_last_byte(n);
    let hash = |words: &[B256]| keccak256(words.concat());
    let (owner, opener) = (Address::repeat_byte(1), Address::repeat_byte(2));
    let opened = Opened {
        id: byte(3),
        owner,
        opener,
        session_key: byte(4),
        policy: byte(5),
        at,
    };
    let opened_words = [
        word(1),
        byte(3),
        owner.into_word(),
        opener.into_word(),
        byte(4),
        byte(5),
        word(5),
        word(6),
    ];
    assert_eq!(opened.log(), hash(&opened_words));
    let checkpoint = CheckpointSent {
        size: 7,
        root: byte(8),
        at,
    };
    assert_eq!(
        checkpoint.after(byte(9)),
        hash(&[word(2), byte(9), word(7), byte(8), word(5), word(6)])
    );
    let closed = Closed {
        manifest: byte(10),
        root: byte(11),
        chunks: 12,
        batches: byte(13),
        at,
    };
    let closed_words = [
        word(3),
        byte(9),
        byte(10),
        byte(11),
        word(12),
        byte(13),
        word(5),
        word(6),
    ];
    assert_eq!(closed.after(byte(9)), hash(&closed_words));
    let batch = BatchSent {
        root: byte(14),
        count: 15,
        at,
    };
    assert_eq!(
        batch.after(byte(9)),
        hash(&[word(4), byte(9), byte(14), word(15), word(5), word(6)])
    );
}

#[test]
fn a_batch_of_five_has_the_tree_of_the_documentation() {
    let leaves: [B256; 5] = std::array::from_fn(|i| {
        checkpoint_leaf(anchor_id([i as u8; 16]), i as u64, B256::repeat_byte(1))
    });
    let pair = |a: B256, b: B256| keccak256([a.min(b), a.max(b)].concat());
    let [a, b, c, d, e] = leaves;
    let left = pair(pair(a, b), pair(c, d));
    assert_eq!(batch_root(&leaves), Some(pair(left, e)));
    assert_eq!(batch_path(&leaves, 2), Some(vec![d, pair(a, b), e]));
    assert_eq!(batch_path(&leaves, 4), Some(vec![left]));
    assert_eq!(batch_path(&leaves, 5), None);
    assert_eq!(batch_root(&[]), None);
    assert_eq!(batch_root(&[a]), Some(a));
    // By another implementation of keccak.
    assert_eq!(
        a,
        B256::new(hex!(
            "b49e7e3c25d8498bd348d1b01fbe0fd05e4355888f0bc566530c82b5ff8cd724"
        ))
    );
}

proptest! {
    #[test]
    fn paths_lead_to_the_root_and_those_of_others_do_not(count in 1usize..200, at in 0usize..200, other in 0usize..200) {
        let leaves: Vec<B256> = (0..count as u64)
            .map(|size| checkpoint_leaf(B256::ZERO, size, B256::ZERO))
            .collect();
        let (at, other) = (at % count, other % count);
        let path = batch_path(&leaves, at).unwrap();
        prop_assert!(path.len() <= MAX_BATCH_PATH);
        let root = batch_root(&leaves).unwrap();
        prop_assert_eq!(batch_root_of_path(leaves[at], &path), root);
        // A neighbour has the same path but for the first step, so only what is not in the tree is always refused.
        let stranger = checkpoint_leaf(B256::ZERO, (count + other) as u64, B256::ZERO);
        prop_assert_ne!(batch_root_of_path(stranger, &path), root);
    }
}
