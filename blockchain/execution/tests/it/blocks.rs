//! Every way in which a block can be wrong has its own error.

use alloy_consensus::{TxEip1559, TxLegacy};
use alloy_primitives::{Address, B256, TxKind, U256};
use lucid_chain_types::contracts::LUCID_ANCHORS;
use lucid_chain_types::{Block, BlockId, Height, SignerBitmap, Slot};
use lucid_execution::{BlockError, ExecutionError, TransactionError};

use crate::sessions::register;
use crate::support::{COIN, Net, Setup, User, eip1559, legacy};

const TO: Address = Address::with_last_byte(0x77);

/// A chain of two blocks, and a third that is valid on it.
fn valid() -> (Net, Block) {
    let mut net = Setup::default().net();
    net.seal(vec![]);
    let user = User::new(0);
    net.next(vec![user.call(
        0,
        LUCID_ANCHORS,
        &register(0, user.address),
    )]);
    let transactions = (1..4)
        .map(|nonce| user.call(nonce, LUCID_ANCHORS, &register(nonce, user.address)))
        .collect();
    let block = net
        .build(net.proposal(net.time_ms() + 1_000, 0, transactions))
        .unwrap()
        .block;
    net.validate(&block).unwrap();
    (net, block)
}

fn refusal(net: &Net, block: &Block) -> BlockError {
    match net.validate(block) {
        Err(ExecutionError::Block(error)) => error,
        Err(own) => panic!("not the block's fault: {own}"),
        Ok(_) => panic!("accepted"),
    }
}

#[test]
fn each_field_of_a_header_is_checked() {
    let (net, block) = valid();
    let with = |change: &dyn Fn(&mut Block)| {
        let mut block = block.clone();
        change(&mut block);
        refusal(&net, &block)
    };
    macro_rules! refuses {
        ($pattern:pat, $change:expr) => {
            let error = with(&$change);
            assert!(matches!(error, $pattern), "{error}");
        };
    }
    refuses!(BlockError::Version(2), |b: &mut Block| b.header.version = 2);
    refuses!(BlockError::ChainId { .. }, |b: &mut Block| b
        .header
        .chain_id +=
        1);
    refuses!(BlockError::Height { .. }, |b: &mut Block| b.header.height =
        Height(2));
    refuses!(BlockError::Height { .. }, |b: &mut Block| b.header.height =
        Height(4));
    refuses!(BlockError::Parent { .. }, |b: &mut Block| b.header.parent =
        BlockId::default());
    let parent_time = net.time_ms();
    refuses!(BlockError::Time { .. }, |b: &mut Block| b.header.time_ms =
        parent_time);
    refuses!(BlockError::Time { .. }, |b: &mut Block| b.header.time_ms =
        0);
    refuses!(BlockError::Slot { .. }, |b: &mut Block| b.header.slot =
        Slot(0));
    refuses!(BlockError::Slot { .. }, |b: &mut Block| b.header.slot.0 +=
        1);
    refuses!(BlockError::Seal { .. }, |b: &mut Block| b.header.seal =
        true);
    let late = net.slot_end_ms();
    refuses!(BlockError::Seal { .. }, |b: &mut Block| b.header.time_ms =
        late);
    refuses!(BlockError::Proposer { .. }, |b: &mut Block| b
        .header
        .round = 1);
    let other = net.parent.order[1];
    refuses!(BlockError::Proposer { .. }, |b: &mut Block| b
        .header
        .proposer =
        other);
    refuses!(BlockError::Vrf, |b: &mut Block| {
        b.header.round = 1;
        b.header.proposer = other;
    });
    for byte in [0, 40, 79] {
        refuses!(BlockError::Vrf, |b: &mut Block| b.header.vrf_proof[byte] ^=
            1);
    }
    for (what, change) in [
        (
            "gas limit",
            &(|b: &mut Block| b.header.gas_limit += 1) as &dyn Fn(&mut Block),
        ),
        ("base fee", &|b: &mut Block| b.header.base_fee -= 1),
        ("validators hash", &|b: &mut Block| {
            b.header.validators_hash = B256::ZERO;
        }),
        ("last commit hash", &|b: &mut Block| {
            b.header.last_commit_hash = B256::ZERO;
        }),
        ("evidence hash", &|b: &mut Block| {
            b.header.evidence_hash = B256::ZERO;
        }),
        ("transactions root", &|b: &mut Block| {
            b.header.transactions_root = B256::ZERO;
        }),
        ("gas used", &|b: &mut Block| b.header.gas_used += 1),
        ("receipts root", &|b: &mut Block| {
            b.header.receipts_root = B256::ZERO;
        }),
        ("next validators hash", &|b: &mut Block| {
            b.header.next_validators_hash = B256::ZERO;
        }),
        ("state root", &|b: &mut Block| {
            b.header.state_root = B256::ZERO;
        }),
    ] {
        let error = with(change);
        assert!(
            matches!(&error, BlockError::Outcome { what: found, .. } if *found == what),
            "{what}: {error}"
        );
    }
}

#[test]
fn the_certificate_of_the_parent_is_checked() {
    let (net, block) = valid();
    let with = |change: &dyn Fn(&mut lucid_chain_types::Certificate)| {
        let mut block = block.clone();
        change(block.body.last_commit.as_mut().unwrap());
        refusal(&net, &block)
    };
    assert!(matches!(
        with(&|c| c.height = Height(1)),
        BlockError::OtherLastCommit
    ));
    assert!(matches!(
        with(&|c| c.block = BlockId::default()),
        BlockError::OtherLastCommit
    ));
    assert!(matches!(
        with(&|c| c.signatures[2].0[9] ^= 1),
        BlockError::LastCommit(_)
    ));
    assert!(matches!(with(&|c| c.round += 1), BlockError::LastCommit(_)));
    assert!(matches!(
        with(&|c| {
            c.signatures.pop();
        }),
        BlockError::LastCommit(_)
    ));
    assert!(matches!(
        with(&|c| {
            c.signatures.truncate(2);
            c.signers = SignerBitmap::new(4, 0..2);
        }),
        BlockError::LastCommit(_)
    ));
    // A true certificate, but not the one the header covers.
    assert!(matches!(
        with(&|c| {
            c.signatures.truncate(3);
            c.signers = SignerBitmap::new(4, 0..3);
        }),
        BlockError::Outcome {
            what: "last commit hash",
            ..
        }
    ));
    let mut none = block.clone();
    none.body.last_commit = None;
    assert!(matches!(refusal(&net, &none), BlockError::NoLastCommit));

    let fresh = Setup::default().net();
    let mut first = fresh
        .build(fresh.proposal(fresh.slot_end_ms(), 0, vec![]))
        .unwrap()
        .block;
    first.body.last_commit = block.body.last_commit;
    assert!(
        matches!(refusal(&fresh, &first), BlockError::NoLastCommit),
        "nothing is before the first block"
    );
}

#[test]
fn transactions_that_cannot_be_there_make_a_block_invalid() {
    use TransactionError as E;
    let (net, block) = valid();
    let user = User::new(0);
    let with = |bytes: Vec<u8>| {
        let mut block = block.clone();
        block.body.transactions.push(bytes);
        refusal(&net, &block)
    };
    macro_rules! refuses {
        ($pattern:pat, $bytes:expr) => {
            let error = with($bytes);
            assert!(
                matches!(
                    &error,
                    BlockError::Transaction {
                        index: 3,
                        source: $pattern
                    }
                ),
                "{error}"
            );
        };
    }
    refuses!(E::Malformed(_), vec![0xc0]);
    refuses!(E::Type(3), vec![3]);
    refuses!(
        E::ChainId { .. },
        user.sign(TxEip1559 {
            chain_id: 1,
            ..eip1559(4, TO, vec![])
        })
    );
    refuses!(
        E::NoChainId,
        user.sign(TxLegacy {
            chain_id: None,
            ..legacy(4, TO)
        })
    );
    refuses!(
        E::Create,
        user.sign(TxEip1559 {
            to: TxKind::Create,
            ..eip1559(4, TO, vec![0])
        })
    );
    refuses!(
        E::NonceTooLow {
            found: 3,
            expected: 4
        },
        user.pay(3, TO, U256::from(1))
    );
    refuses!(
        E::NonceTooHigh {
            found: 5,
            expected: 4
        },
        user.pay(5, TO, U256::from(1))
    );
    refuses!(E::Funds { .. }, user.pay(4, TO, U256::from(1_000 * COIN)));
    refuses!(E::Funds { .. }, User::new(555).pay(0, TO, U256::ZERO));
    refuses!(
        E::FeeBelowBase {
            max_fee: 999_999,
            base_fee: 1_000_000
        },
        user.sign(TxEip1559 {
            max_fee_per_gas: 999_999,
            ..eip1559(4, TO, vec![])
        })
    );
    refuses!(
        E::GasLimit { .. },
        user.sign(TxEip1559 {
            gas_limit: block.header.gas_limit + 1,
            ..eip1559(4, TO, vec![])
        })
    );
    let last = user.sign(TxEip1559 {
        gas_limit: block.header.gas_limit - 1_000,
        ..eip1559(4, TO, vec![])
    });
    assert!(matches!(with(last), BlockError::NoRoom { index: 3, .. }));

    let mut swapped = block.clone();
    swapped.body.transactions.swap(0, 1);
    assert!(matches!(
        refusal(&net, &swapped),
        BlockError::Transaction {
            index: 0,
            source: E::NonceTooHigh { .. }
        }
    ));
    let mut large = block;
    large.body.transactions = vec![vec![]; 20_001];
    assert!(matches!(refusal(&net, &large), BlockError::TooLarge));
}

#[test]
fn a_block_with_nothing_in_it_is_not_built_and_not_accepted() {
    let (net, mut block) = valid();
    block.body.transactions.clear();
    assert!(matches!(refusal(&net, &block), BlockError::Empty { .. }));
    let built = net.build(net.proposal(net.time_ms() + 1, 0, vec![]));
    assert!(matches!(
        built,
        Err(ExecutionError::Block(BlockError::Empty { .. }))
    ));
    // Nor one for whose transactions it is too early.
    let later = User::new(0).pay(99, TO, U256::from(1));
    let built = net.build(net.proposal(net.time_ms() + 1, 0, vec![later]));
    assert!(matches!(
        built,
        Err(ExecutionError::Block(BlockError::Empty { .. }))
    ));
}

#[test]
fn what_does_not_fit_is_left_out_with_its_reason() {
    let (mut net, probe) = valid();
    // What a payment leaves of the block's gas.
    let rest = probe.header.gas_limit - 21_000;
    let (user, other) = (User::new(0), User::new(1));
    let list = vec![
        user.pay(7, TO, U256::from(1)),
        vec![0xc0],
        user.pay(1, TO, U256::from(1)),
        other.sign(TxEip1559 {
            gas_limit: rest,
            ..eip1559(0, TO, vec![])
        }),
        User::new(2).sign(TxEip1559 {
            gas_limit: rest,
            ..eip1559(0, TO, vec![])
        }),
        User::new(555).pay(0, TO, U256::from(1)),
        user.pay(2, TO, U256::from(1)),
    ];
    let built = net
        .build(net.proposal(net.time_ms() + 1_000, 0, list.clone()))
        .unwrap();
    assert_eq!(
        built.block.body.transactions,
        [&list[2], &list[3], &list[6]].map(Clone::clone)
    );
    let reasons: Vec<_> = built
        .left_out
        .iter()
        .map(|left_out| &left_out.reason)
        .collect();
    assert!(
        matches!(
            reasons[..],
            [
                Some(TransactionError::NonceTooHigh { .. }),
                Some(TransactionError::Malformed(_)),
                None,
                Some(TransactionError::Funds { .. }),
            ]
        ),
        "{reasons:?}"
    );
    assert_eq!(built.left_out[1].hash, alloy_primitives::keccak256([0xc0]));
    let block = built.block;
    let executed = net.validate(&block).unwrap();
    net.commit(&block, executed);
}

#[test]
fn a_block_of_the_largest_size_decodes() {
    let net = Setup::default().net();
    // 121 kB each: 70 of them are more than a block holds, and gas would allow 8 MiB of zeros.
    let large: Vec<Vec<u8>> = (0..72)
        .map(|nonce| {
            User::new(nonce % 8).sign(TxEip1559 {
                gas_limit: 21_000 + 10 * 121_000,
                ..eip1559(nonce / 8, TO, vec![0; 121_000])
            })
        })
        .collect();
    let built = net
        .build(net.proposal(net.time_ms() + 1_000, 0, large))
        .unwrap();
    assert!(
        built
            .left_out
            .iter()
            .all(|left_out| left_out.reason.is_none())
    );
    assert!(!built.left_out.is_empty());
    let bytes = built.block.encode();
    assert_eq!(Block::decode(&bytes).unwrap(), built.block);
}

#[test]
fn a_state_or_validators_of_another_block_are_this_nodes_fault() {
    let (net, block) = valid();
    let mut parent = net.parent.clone();
    parent.header = None;
    let error = net.chain.validate(&parent, &net.state, &block).unwrap_err();
    assert!(
        matches!(error, ExecutionError::OtherState { .. }),
        "{error}"
    );
    let mut parent = net.parent.clone();
    parent.signers = Setup {
        validators: 5,
        ..Setup::default()
    }
    .genesis()
    .validator_set()
    .unwrap();
    let error = net.chain.validate(&parent, &net.state, &block).unwrap_err();
    assert!(
        matches!(error, ExecutionError::OtherValidators(_)),
        "{error}"
    );
    assert!(error.into_invalid().is_err());
}
