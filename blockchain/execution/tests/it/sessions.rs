use alloy_primitives::{Address, B256, U256, keccak256};
use lucid_chain_types::anchors::{self, Moment};
use lucid_chain_types::contracts::LUCID_ANCHORS;
use lucid_chain_types::{Block, BlockId};
use lucid_execution::interfaces::LucidAnchors;
use lucid_execution::logs_bloom;
use lucid_state::StateReader;

use crate::support::{Setup, User};

pub(crate) fn register(seed: u64, owner: Address) -> LucidAnchors::registerSessionCall {
    let word = |kind: u64| keccak256([kind.to_be_bytes(), seed.to_be_bytes()].concat());
    LucidAnchors::registerSessionCall {
        id: word(0),
        owner,
        sessionKey: word(1),
        manifestHash: word(2),
        merkleRoot: word(3),
        chunkCount: 7,
    }
}

#[test]
fn a_session_is_registered_once() {
    let mut net = Setup::default().net();
    let (one, two) = (User::new(0), User::new(1));
    let call = register(1, one.address);
    let (block, receipts) = net.next(vec![one.call(0, LUCID_ANCHORS, &call)]);
    assert!(receipts[0].success);
    assert_eq!(block.header.gas_used, receipts[0].gas_used);
    assert_eq!(receipts[0].logs.len(), 1);
    assert_eq!(receipts[0].logs[0].topics[1], call.id);
    assert!(!logs_bloom(&receipts[0].logs).is_zero());
    let session = net.ask(LUCID_ANCHORS, &LucidAnchors::sessionCall { id: call.id });
    assert_eq!(
        (session.owner, session.size, session.status),
        (one.address, 7, 2)
    );

    // Again, by the same and by another: the transactions are in the block and pay, and do nothing.
    let (_, receipts) = net.next(vec![
        one.call(1, LUCID_ANCHORS, &call),
        two.call(0, LUCID_ANCHORS, &call),
    ]);
    assert!(
        receipts
            .iter()
            .all(|receipt| !receipt.success && receipt.logs.is_empty())
    );
    assert_eq!(
        receipts[1].cumulative_gas_used,
        receipts[0].gas_used + receipts[1].gas_used
    );
    assert_eq!((net.nonce(one.address), net.nonce(two.address)), (2, 1));
    assert_eq!(
        net.ask(LUCID_ANCHORS, &LucidAnchors::sessionCall { id: call.id }),
        session
    );
}

#[test]
fn a_session_is_opened_checkpointed_and_closed() {
    let mut net = Setup::default().net();
    let (owner, other) = (User::new(0), User::new(1));
    let id = B256::repeat_byte(5);
    let checkpoint = |size| LucidAnchors::checkpointCall {
        id,
        size,
        root: B256::repeat_byte(6),
    };
    let open = LucidAnchors::openSessionCall {
        id,
        owner: owner.address,
        sessionKey: B256::repeat_byte(1),
        policyHash: B256::repeat_byte(2),
    };
    let close = LucidAnchors::closeSessionCall {
        id,
        manifestHash: B256::repeat_byte(3),
        merkleRoot: B256::repeat_byte(4),
        chunkCount: 20,
    };
    let (first, receipts) = net.next(vec![
        owner.call(0, LUCID_ANCHORS, &open),
        owner.call(1, LUCID_ANCHORS, &checkpoint(10)),
        owner.call(2, LUCID_ANCHORS, &checkpoint(10)),
        other.call(0, LUCID_ANCHORS, &checkpoint(15)),
        owner.call(3, LUCID_ANCHORS, &checkpoint(20)),
    ]);
    let did: Vec<bool> = receipts.iter().map(|receipt| receipt.success).collect();
    assert_eq!(did, [true, true, false, false, true]);
    let batch = LucidAnchors::checkpointBatchCall {
        root: B256::repeat_byte(7),
        count: 3,
    };
    let (second, receipts) = net.next(vec![
        other.call(1, LUCID_ANCHORS, &close),
        owner.call(4, LUCID_ANCHORS, &batch),
        owner.call(5, LUCID_ANCHORS, &close),
        owner.call(6, LUCID_ANCHORS, &checkpoint(30)),
    ]);
    let did: Vec<bool> = receipts.iter().map(|receipt| receipt.success).collect();
    assert_eq!(did, [false, true, true, false]);
    let session = net.ask(LUCID_ANCHORS, &LucidAnchors::sessionCall { id });
    assert_eq!((session.status, session.size), (2, 20));

    // The log is the chain of these steps, and both words are where a state proof looks for them.
    let at = |block: &Block| Moment {
        height: block.header.height,
        time_s: block.header.time_ms / 1_000,
    };
    let opened = anchors::Opened {
        id,
        owner: owner.address,
        opener: owner.address,
        session_key: open.sessionKey,
        policy: open.policyHash,
        at: at(&first),
    };
    let log = [10, 20].into_iter().fold(opened.log(), |log, size| {
        let sent = anchors::CheckpointSent {
            size,
            root: checkpoint(size).root,
            at: at(&first),
        };
        sent.after(log)
    });
    let sent = anchors::BatchSent {
        root: batch.root,
        count: batch.count,
        at: at(&second),
    };
    let batches = sent.after(B256::ZERO);
    let closed = anchors::Closed {
        manifest: close.manifestHash,
        root: close.merkleRoot,
        chunks: close.chunkCount,
        batches,
        at: at(&second),
    };
    assert_eq!(session.log, closed.after(log));
    let call = LucidAnchors::batchLogCall {
        sender: owner.address,
    };
    assert_eq!(net.ask(LUCID_ANCHORS, &call), batches);
    let state = net.state.latest().unwrap();
    let stored = |slot: U256| state.storage(LUCID_ANCHORS, slot).unwrap();
    assert_eq!(
        stored(anchors::log_slot(id)),
        U256::from_be_bytes(session.log.0)
    );
    assert_eq!(
        stored(anchors::batch_log_slot(owner.address)),
        U256::from_be_bytes(batches.0)
    );
}

#[test]
fn a_registered_session_was_opened_and_closed_in_one_block() {
    let mut net = Setup::default().net();
    let (owner, opener) = (User::new(0), User::new(1));
    let call = register(3, owner.address);
    let (block, _) = net.next(vec![opener.call(0, LUCID_ANCHORS, &call)]);
    let at = Moment {
        height: block.header.height,
        time_s: block.header.time_ms / 1_000,
    };
    let opened = anchors::Opened {
        id: call.id,
        owner: owner.address,
        opener: opener.address,
        session_key: call.sessionKey,
        policy: B256::ZERO,
        at,
    };
    let closed = anchors::Closed {
        manifest: call.manifestHash,
        root: call.merkleRoot,
        chunks: call.chunkCount,
        batches: B256::ZERO,
        at,
    };
    let session = net.ask(LUCID_ANCHORS, &LucidAnchors::sessionCall { id: call.id });
    assert_eq!(session.log, closed.after(opened.log()));
}

#[test]
fn a_batchs_tree_is_the_contracts() {
    let mut net = Setup::default().net();
    let user = User::new(0);
    let id = |n: u8| B256::repeat_byte(n);
    let leaf = |n: u8| anchors::checkpoint_leaf(id(n), n.into(), B256::repeat_byte(n + 1));
    let leaves: Vec<B256> = (1..=7).map(leaf).collect();
    let root = anchors::batch_root(&leaves).unwrap();
    let mut calls: Vec<_> = (1..=7)
        .map(|n| {
            let open = LucidAnchors::openSessionCall {
                id: id(n),
                owner: user.address,
                sessionKey: B256::ZERO,
                policyHash: B256::ZERO,
            };
            user.call(u64::from(n) - 1, LUCID_ANCHORS, &open)
        })
        .collect();
    let batch = LucidAnchors::checkpointBatchCall { root, count: 7 };
    calls.push(user.call(7, LUCID_ANCHORS, &batch));
    net.next(calls);
    for n in 1..=7 {
        let path = anchors::batch_path(&leaves, usize::from(n) - 1).unwrap();
        let asked = |id: B256| LucidAnchors::inBatchCall {
            batchRoot: root,
            id,
            size: n.into(),
            root: B256::repeat_byte(n + 1),
            path: path.clone(),
        };
        assert!(net.ask(LUCID_ANCHORS, &asked(id(n))));
        assert!(!net.ask(LUCID_ANCHORS, &asked(id(n % 7 + 1))));
    }
}

#[test]
fn the_same_blocks_give_the_same_roots_and_a_reopened_state_goes_on() {
    let blocks = |mut net: crate::support::Net, reopen: bool| {
        let user = User::new(0);
        let mut ids: Vec<BlockId> = vec![];
        for nonce in 0..5 {
            if reopen {
                net = net.reopen();
            }
            let call = register(nonce, user.address);
            ids.push(
                net.next(vec![user.call(nonce, LUCID_ANCHORS, &call)])
                    .0
                    .id(),
            );
        }
        ids.push(net.seal(vec![]).0.id());
        (ids, net.state.root())
    };
    let once = blocks(Setup::default().net(), false);
    assert_eq!(once, blocks(Setup::default().net(), false));
    assert_eq!(once, blocks(Setup::default().net(), true));
}
