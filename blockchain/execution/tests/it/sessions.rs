use alloy_primitives::{Address, B256, keccak256};
use lucid_chain_types::BlockId;
use lucid_chain_types::contracts::LUCID_ANCHORS;
use lucid_execution::interfaces::LucidAnchors;
use lucid_execution::logs_bloom;

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
    let (_, receipts) = net.next(vec![
        owner.call(0, LUCID_ANCHORS, &open),
        owner.call(1, LUCID_ANCHORS, &checkpoint(10)),
        owner.call(2, LUCID_ANCHORS, &checkpoint(10)),
        other.call(0, LUCID_ANCHORS, &checkpoint(15)),
        owner.call(3, LUCID_ANCHORS, &checkpoint(20)),
    ]);
    let did: Vec<bool> = receipts.iter().map(|receipt| receipt.success).collect();
    assert_eq!(did, [true, true, false, false, true]);
    let (_, receipts) = net.next(vec![
        other.call(1, LUCID_ANCHORS, &close),
        owner.call(4, LUCID_ANCHORS, &close),
        owner.call(5, LUCID_ANCHORS, &checkpoint(30)),
    ]);
    let did: Vec<bool> = receipts.iter().map(|receipt| receipt.success).collect();
    assert_eq!(did, [false, true, false]);
    let session = net.ask(LUCID_ANCHORS, &LucidAnchors::sessionCall { id });
    assert_eq!((session.status, session.size), (2, 20));
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
