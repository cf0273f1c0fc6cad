//! Engine's logs that cannot be replayed.

use std::time::Duration;

use alloy_primitives::B256;
use lucid_chain_types::{BlockId, Height, Vote, VoteKind};
use lucid_consensus::codec::Borsh;
use lucid_consensus::context;
use malachite_core::Input;
use malachite_engine::wal::encode_entry;
use malachite_types::{Round, SignedMessage, Timeout};
use malachite_wal::Log;

use crate::chain::{Node, cluster, key, node};

/// A log in which a vote of our own does not follow from what is before and after it: the simulation's seed 524 wrote one.
fn write_contradiction(path: &std::path::Path) {
    let vote = Vote {
        kind: VoteKind::Prevote,
        height: Height(1),
        round: 0,
        block: Some(BlockId(B256::repeat_byte(9))),
        voter: node(0),
    };
    let signed = key(0).vote(vote);
    let vote = SignedMessage::new(context::Vote::from_chain(&vote), signed.signature);
    let entries = [
        Input::Vote(vote),
        Input::TimeoutElapsed(Timeout::propose(Round::new(0))),
    ];
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    let mut log = Log::open(path).unwrap();
    log.reset(1).unwrap();
    for entry in entries {
        let mut bytes = Vec::new();
        encode_entry(entry, &Borsh, &mut bytes).unwrap();
        log.append(&bytes).unwrap();
    }
    log.flush().unwrap();
}

async fn goes_on(node: &mut Node) {
    node.start().await;
    node.reach(2).await;
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_that_contradicts_itself_is_set_aside_and_the_next_start_works() {
    let home = tempfile::tempdir().unwrap();
    let mut node = cluster(home.path(), 1, 1, 0).remove(0);
    let path = home.path().join("node0/wal/consensus.wal");
    let aside = path.with_extension("damaged");
    write_contradiction(&path);
    node.start().await;
    let ended = tokio::time::timeout(Duration::from_secs(60), node.ended()).await;
    assert!(ended.is_ok(), "the engine neither goes on nor stops");
    assert!(aside.exists() && !path.exists());
    goes_on(&mut node).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_with_half_a_head_does_not_keep_a_node_down() {
    for head in [&b""[..], b"\0\0\0\x01", &[0; 12]] {
        let home = tempfile::tempdir().unwrap();
        let mut node = cluster(home.path(), 1, 1, 0).remove(0);
        let path = home.path().join("node0/wal/consensus.wal");
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, head).unwrap();
        goes_on(&mut node).await;
    }
}
