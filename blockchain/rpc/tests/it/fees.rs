use alloy_primitives::{Address, Bytes};
use serde_json::json;

use crate::support::{Solo, number};

#[tokio::test]
async fn fee_history_ends_with_the_base_fee_of_the_next_block() {
    let solo = Solo::start().await;
    for byte in 1..=5 {
        solo.register(byte);
        solo.mine();
    }
    let history = solo
        .ask("eth_feeHistory", json!(["0x3", "latest", [10, 50.5, 100]]))
        .await;
    assert_eq!(history["oldestBlock"], json!("0x3"));
    assert_eq!(history["baseFeePerGas"].as_array().unwrap().len(), 4);
    assert_eq!(history["gasUsedRatio"].as_array().unwrap().len(), 3);
    for rewards in history["reward"].as_array().unwrap() {
        assert_eq!(
            rewards,
            &json!(["0x3e8", "0x3e8", "0x3e8"]),
            "all pay a tip of 1000"
        );
    }
    let ratio = history["gasUsedRatio"][0].as_f64().unwrap();
    assert!(ratio > 0.001 && ratio < 0.01, "{ratio}");
    let next = number(&history["baseFeePerGas"][3]);
    assert_eq!(solo.mine().header.base_fee, next, "the next block has it");

    assert!(
        solo.ask("eth_feeHistory", json!([3, "latest", []]))
            .await
            .get("reward")
            .is_none_or(|it| it.is_null())
    );
    let all = solo.ask("eth_feeHistory", json!(["0xffff", "0x4"])).await;
    assert_eq!(all["oldestBlock"], json!("0x0"), "genesis is one of them");
    assert_eq!(all["gasUsedRatio"].as_array().unwrap().len(), 5);
    let none = solo.ask("eth_feeHistory", json!(["0x0", "latest"])).await;
    assert_eq!(none["gasUsedRatio"], json!([]));
}

#[tokio::test]
async fn percentiles_are_checked() {
    let solo = Solo::start().await;
    for percentiles in [
        json!([101]),
        json!([-1]),
        json!([50, 40]),
        json!(vec![1; 101]),
    ] {
        let (code, text) = solo
            .refused("eth_feeHistory", json!(["0x1", "latest", percentiles]))
            .await;
        assert_eq!(code, -32_602, "{text}");
    }
    assert_eq!(
        solo.refused("eth_feeHistory", json!(["0x1", "0x64"]))
            .await
            .0,
        -32_000
    );
}

#[tokio::test]
async fn a_transaction_at_the_suggested_price_is_included() {
    let solo = Solo::start().await;
    let price = number(&solo.ask("eth_gasPrice", json!([])).await);
    let tip = number(&solo.ask("eth_maxPriorityFeePerGas", json!([])).await);
    assert!(tip >= 1 && price > tip);
    let bytes = solo
        .rich
        .sign(alloy_consensus::TxEip1559 {
            chain_id: crate::support::CHAIN_ID,
            gas_limit: 21_000,
            max_fee_per_gas: price.into(),
            max_priority_fee_per_gas: tip.into(),
            to: Address::repeat_byte(1).into(),
            ..Default::default()
        })
        .unwrap();
    solo.ask("eth_sendRawTransaction", json!([Bytes::from(bytes)]))
        .await;
    assert_eq!(solo.mine().body.transactions.len(), 1);
}
