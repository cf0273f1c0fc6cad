use alloy_consensus::TxEip1559;
use alloy_primitives::{Address, U256};
use lucid_chain_types::contracts::{LUCID, LUCID_ANCHORS, WORK_CREDITS};
use proptest::prelude::*;

use crate::sessions::register;
use crate::support::{COIN, Setup, User, eip1559, legacy};

#[derive(Debug, Clone)]
enum Action {
    /// A registration, of few ids, so that some are taken.
    Register(u64),
    /// A payment, some of more than there is.
    Pay(u64, u64),
    Legacy,
    /// Bytes to a contract.
    Noise(u8, Vec<u8>),
    /// A price too low, or gas for half a block.
    Odd(u64, u64),
    Garbage(Vec<u8>),
}

fn action() -> impl Strategy<Value = Action> {
    prop_oneof![
        (0..40u64).prop_map(Action::Register),
        (0..6u64, 0..1_200u64).prop_map(|(to, coins)| Action::Pay(to, coins)),
        Just(Action::Legacy),
        (0..3u8, proptest::collection::vec(any::<u8>(), 0..100))
            .prop_map(|(to, data)| Action::Noise(to, data)),
        (999_990..1_000_010u64, 20_000..20_000_000u64).prop_map(|(fee, gas)| Action::Odd(fee, gas)),
        proptest::collection::vec(any::<u8>(), 0..60).prop_map(Action::Garbage),
    ]
}

/// Who, what, how far its nonce is off, and how long after the block before.
type Step = (Vec<(u64, Action, u64)>, u64, u32);

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let transaction = (
        0..6u64,
        action(),
        prop_oneof![8 => Just(0u64), 1 => 1..3u64],
    );
    let step = (
        proptest::collection::vec(transaction, 0..25),
        1..200_000u64,
        prop_oneof![4 => Just(0u32), 1 => 0..9u32],
    );
    proptest::collection::vec(step, 1..6)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// Whatever waits in a mempool: what one node builds the other accepts, and both end in the same state.
    #[test]
    fn what_is_built_is_valid(steps in steps()) {
        let (mut one, mut two) = (Setup::default().net(), Setup::default().net());
        for (list, wait, round) in steps {
            let mut ahead = [0; 6];
            let transactions = list.into_iter().map(|(who, action, gap)| {
                let user = User::new(who);
                let nonce = one.nonce(user.address) + ahead[who as usize] + gap;
                ahead[who as usize] += 1;
                match action {
                    Action::Register(seed) => user.call(nonce, LUCID_ANCHORS, &register(seed, user.address)),
                    Action::Pay(to, coins) => user.pay(nonce, User::new(to).address, U256::from(coins) * U256::from(COIN)),
                    Action::Legacy => user.sign(legacy(nonce, Address::with_last_byte(0x77))),
                    Action::Noise(to, data) => {
                        let to = [LUCID_ANCHORS, WORK_CREDITS, LUCID][usize::from(to)];
                        user.sign(TxEip1559 { value: U256::from(data.len()), ..eip1559(nonce, to, data) })
                    }
                    Action::Odd(fee, gas_limit) => user.sign(TxEip1559 {
                        max_fee_per_gas: fee.into(),
                        gas_limit,
                        ..eip1559(nonce, LUCID_ANCHORS, vec![])
                    }),
                    Action::Garbage(bytes) => bytes,
                }
            });
            let transactions: Vec<Vec<u8>> = transactions.collect();
            let offered = transactions.len();
            let built = match one.build(one.proposal(one.time_ms() + wait, round, transactions)) {
                Ok(built) => built,
                Err(error) => {
                    prop_assert!(matches!(
                        error,
                        lucid_execution::ExecutionError::Block(lucid_execution::BlockError::Empty { .. })
                    ), "{}", error);
                    continue;
                }
            };
            prop_assert_eq!(built.block.body.transactions.len() + built.left_out.len(), offered);
            prop_assert_eq!(built.executed.receipts.len(), built.block.body.transactions.len());
            let executed = two.validate(&built.block).unwrap();
            prop_assert_eq!(executed.prepared.root(), built.executed.prepared.root());
            prop_assert_eq!(&executed.receipts, &built.executed.receipts);
            prop_assert_eq!(&executed.next_order, &built.executed.next_order);
            one.commit(&built.block, built.executed);
            two.commit(&built.block, executed);
            prop_assert_eq!(one.state.root(), two.state.root());
        }
        // No coin was made: what there is, is what genesis gave, less what was burnt.
        let total: U256 = (0..6).map(|seed| one.balance(User::new(seed).address)).sum();
        prop_assert!(total <= U256::from(6_000) * U256::from(COIN));
    }
}
