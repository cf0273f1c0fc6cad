//! The client of lucid-client against the server: both sides read the same answers.

use std::time::Duration;

use alloy_primitives::{Address, U256};
use lucid_chain_types::contracts::LUCID_ANCHORS;
use lucid_chain_types::{Height, NodeId, Slot};
use lucid_client::{Action, Client, ClientError, Heads, Order, Support, calls};

use crate::support::{CHAIN_ID, Solo, register_call};

#[tokio::test]
async fn every_typed_method_reads_its_answer() {
    let solo = Solo::start().await;
    let client = Client::new(&solo.url()).unwrap();
    let hash = solo.register(1);
    assert!(
        client
            .transaction(hash)
            .await
            .unwrap()
            .unwrap()
            .block_hash
            .is_none()
    );
    let block = solo.mine();
    solo.seal();
    assert_eq!(client.status().await.unwrap().height, Height(2));
    assert_eq!(client.chain_id().await.unwrap(), CHAIN_ID);
    assert_eq!(client.height().await.unwrap(), Height(2));
    for name in ["1", "0x1", &block.id().to_string()] {
        assert_eq!(
            client.block(name).await.unwrap().unwrap().id,
            block.id(),
            "{name}"
        );
    }
    assert_eq!(
        client.block("latest").await.unwrap().unwrap().height,
        Height(2)
    );
    assert!(client.block("99").await.unwrap().is_none());
    assert_eq!(
        client
            .transaction(hash)
            .await
            .unwrap()
            .unwrap()
            .block_number,
        Some(1)
    );
    assert!(client.receipt(hash).await.unwrap().unwrap().status());
    assert!(client.slot(None).await.unwrap().open);
    assert_eq!(
        client
            .slot(Some(Slot(0)))
            .await
            .unwrap()
            .record
            .unwrap()
            .winner,
        solo.node
    );
    assert_eq!(client.schedule().await.unwrap().order, [solo.node]);
    assert_eq!(client.validators(None).await.unwrap().height, Height(3));
    assert_eq!(client.validators(Some(Height(1))).await.unwrap().quorum, 1);
    assert!(
        client
            .params()
            .await
            .unwrap()
            .iter()
            .any(|it| it.key == "votingPeriod")
    );
    assert!(client.work(solo.node).await.unwrap().unwrap().validator);
    assert!(client.work(NodeId::default()).await.unwrap().is_none());
    let proof = client.finality_proof(Height(1)).await.unwrap();
    assert_eq!(
        lucid_light::FinalityProof::decode(&proof).unwrap().header,
        block.header
    );
    assert_eq!(
        client.certificate(Height(1)).await.unwrap().unwrap().block,
        block.id()
    );
    assert!(client.certificate(Height(9)).await.unwrap().is_none());
    assert_eq!(client.peers().await.unwrap(), []);
    assert!(client.balance(solo.rich.address()).await.unwrap() > U256::ZERO);
    assert_eq!(client.next_nonce(solo.rich.address()).await.unwrap(), 1);
    let fees = client.fees().await.unwrap();
    assert!(fees.max_fee > fees.tip);
    assert_eq!(client.proposals(10).await.unwrap(), []);
}

#[tokio::test]
async fn a_transaction_is_filled_in_signed_sent_and_awaited() {
    let solo = Solo::start().await;
    let client = Client::new(&solo.url()).unwrap();
    let order = Order {
        to: LUCID_ANCHORS,
        input: register_call(4, solo.rich.address()),
        ..Order::default()
    };
    let hash = client.send(&solo.rich, order.clone()).await.unwrap();
    let patience = Duration::from_millis(300);
    let early = client.wait_for_receipt(hash, patience).await.unwrap_err();
    assert!(early.to_string().contains(&hash.to_string()), "{early}");
    solo.mine();
    assert!(
        client
            .wait_for_receipt(hash, patience)
            .await
            .unwrap()
            .status()
    );

    let twice = client.send(&solo.rich, order.clone()).await.unwrap_err();
    assert!(matches!(twice, ClientError::Reverted(_)), "{twice:?}");
    assert_eq!(
        twice.to_string(),
        format!(
            "the contract refuses: SessionExists {{ id: 0x{} }}",
            "04".repeat(32)
        )
    );

    // With gas given nothing is estimated, so the failure comes with the receipt.
    let blind = Order {
        gas: Some(200_000),
        ..order
    };
    let sending = {
        let (client, wallet) = (client.clone(), solo.rich.clone());
        tokio::spawn(async move {
            client
                .send_and_wait(&wallet, blind, Duration::from_secs(20))
                .await
        })
    };
    while solo.pool.status().pending == 0 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    solo.mine();
    assert!(matches!(
        sending.await.unwrap().unwrap_err(),
        ClientError::Reverted(_)
    ));
}

#[tokio::test]
async fn refusals_of_the_node_and_of_contracts_are_told_apart() {
    let solo = Solo::start().await;
    let client = Client::new(&solo.url()).unwrap();
    let error = client.send_raw(&[1, 2, 3]).await.unwrap_err();
    assert!(
        matches!(error, ClientError::Refused { code: -32_000, .. }),
        "{error:?}"
    );
    let action = Action::SetParam {
        key: "maxChunkSize".to_owned(),
        value: U256::from(1 << 20),
    };
    let patience = Duration::from_millis(200);
    let error = client
        .propose(&solo.rich, &action, "smaller chunks", patience)
        .await
        .unwrap_err();
    let text = error.to_string();
    assert!(text.contains("NotEligible"), "{text}");
    let error = client
        .govern(
            &solo.rich,
            calls::vote(U256::from(1), Support::For),
            patience,
        )
        .await
        .unwrap_err();
    assert!(error.to_string().contains("UnknownProposal"), "{error}");
    let call = client
        .call(Address::repeat_byte(9), &Default::default())
        .await
        .unwrap();
    assert!(call.is_empty(), "an account returns nothing");
}

#[tokio::test]
async fn a_batch_says_of_each_transaction_what_became_of_it() {
    let solo = Solo::start().await;
    let client = Client::new(&solo.url()).unwrap();
    let to = Address::repeat_byte(9);
    let batch = [
        solo.signed(0, to, 1, Default::default()),
        vec![1, 2, 3],
        solo.signed(1, to, 1, Default::default()),
    ];
    let answers = client.send_raw_batch(&batch).await.unwrap();
    assert_eq!(answers.len(), 3);
    for index in [0, 2] {
        let hash = answers[index].as_ref().unwrap();
        assert_eq!(*hash, alloy_primitives::keccak256(&batch[index]));
    }
    assert!(matches!(
        answers[1],
        Err(ClientError::Refused { code: -32_000, .. })
    ));
    assert_eq!(solo.mine().body.transactions.len(), 2);
}

#[tokio::test]
async fn final_blocks_are_told_as_they_come_until_the_node_is_gone() {
    let solo = Solo::start().await;
    let mut heads = Heads::subscribe(&solo.url()).await.unwrap();
    for height in 1..=3 {
        solo.register(height);
        let block = solo.mine();
        let head = heads.next().await.unwrap().unwrap();
        assert_eq!(head.number, u64::from(height));
        assert_eq!(head.hash, block.id().0);
    }
    solo.rpc.stop().await;
    assert!(heads.next().await.is_none());
    let error = Heads::subscribe("https://there").await.unwrap_err();
    assert!(matches!(error, ClientError::Url { .. }), "{error:?}");
}
