//! The calls and events are those of the contract that `contracts/artifacts` holds.

use alloy_primitives::{Address, B256, Bytes, Log, keccak256};
use lucid_chain_types::contracts::LUCID_ANCHORS;
use lucid_client::anchors::{self, Event};
use serde_json::Value;

/// The signature of the function or event `name` in the artifact's ABI.
fn signature(kind: &str, name: &str) -> String {
    let artifact = include_str!("../../../../contracts/artifacts/LucidAnchors.json");
    let artifact: Value = serde_json::from_str(artifact).unwrap();
    let entries = artifact["abi"].as_array().unwrap();
    let entry = entries
        .iter()
        .find(|entry| entry["type"] == kind && entry["name"] == name)
        .unwrap();
    let types: Vec<&str> = entry["inputs"]
        .as_array()
        .unwrap()
        .iter()
        .map(|input| input["type"].as_str().unwrap())
        .collect();
    format!("{name}({})", types.join(","))
}

fn byte(byte: u8) -> B256 {
    B256::repeat_byte(byte)
}

fn number(number: u8) -> B256 {
    B256::with_last_byte(number)
}

/// A function's call data: its selector and these words.
fn data(name: &str, words: &[B256]) -> Bytes {
    let selector = keccak256(signature("function", name));
    [&selector[..4], &words.concat()].concat().into()
}

#[test]
fn call_data_is_what_the_contract_reads() {
    let owner = Address::repeat_byte(2);
    assert_eq!(
        anchors::open(byte(1), owner, byte(3), byte(4)),
        data(
            "openSession",
            &[byte(1), owner.into_word(), byte(3), byte(4)]
        )
    );
    assert_eq!(
        anchors::checkpoint(byte(1), 2, byte(3)),
        data("checkpoint", &[byte(1), number(2), byte(3)])
    );
    assert_eq!(
        anchors::close(byte(1), byte(2), byte(3), 4),
        data("closeSession", &[byte(1), byte(2), byte(3), number(4)])
    );
    assert_eq!(
        anchors::register(byte(1), owner, byte(3), byte(4), byte(5), 6),
        data(
            "registerSession",
            &[
                byte(1),
                owner.into_word(),
                byte(3),
                byte(4),
                byte(5),
                number(6)
            ]
        )
    );
    assert_eq!(
        anchors::batch(byte(1), 2),
        data("checkpointBatch", &[byte(1), number(2)])
    );
}

#[test]
fn events_are_what_the_contract_writes() {
    let (owner, other) = (Address::repeat_byte(2), Address::repeat_byte(3));
    let log = |name: &str, indexed: &[B256], data: &[B256]| {
        let topic = keccak256(signature("event", name));
        let topics = std::iter::once(topic).chain(indexed.iter().copied());
        Log::new_unchecked(LUCID_ANCHORS, topics.collect(), data.concat().into())
    };
    let (mine, theirs) = (owner.into_word(), other.into_word());
    let cases = [
        (
            log(
                "SessionOpened",
                &[byte(1), mine, theirs],
                &[byte(4), byte(5)],
            ),
            Event::Opened {
                id: byte(1),
                owner,
                opener: other,
                session_key: byte(4),
                policy: byte(5),
            },
        ),
        (
            log("Checkpoint", &[byte(1)], &[number(2), byte(3)]),
            Event::Checkpoint {
                id: byte(1),
                size: 2,
                root: byte(3),
            },
        ),
        (
            log(
                "SessionClosed",
                &[byte(1), mine],
                &[byte(3), byte(4), number(5)],
            ),
            Event::Closed {
                id: byte(1),
                owner,
                manifest: byte(3),
                root: byte(4),
                chunks: 5,
            },
        ),
        (
            log(
                "SessionRegistered",
                &[byte(1), mine],
                &[byte(3), byte(4), byte(5), number(6)],
            ),
            Event::Registered {
                id: byte(1),
                owner,
                session_key: byte(3),
                manifest: byte(4),
                root: byte(5),
                chunks: 6,
            },
        ),
        (
            log("CheckpointBatch", &[byte(1), mine], &[number(3), byte(4)]),
            Event::Batch {
                root: byte(1),
                sender: owner,
                count: 3,
                previous: byte(4),
            },
        ),
    ];
    for (log, event) in cases {
        assert_eq!(Event::decode(&log), Some(event));
        let elsewhere = Log {
            address: other,
            ..log.clone()
        };
        assert_eq!(Event::decode(&elsewhere), None);
        let cut = Log::new_unchecked(LUCID_ANCHORS, log.topics().to_vec(), Bytes::new());
        assert_eq!(Event::decode(&cut), None);
    }
}
