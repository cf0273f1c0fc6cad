//! Chunks at the nodes: committed, pushed, held, proven, fetched, lost, replaced and forgotten.

use std::collections::BTreeSet;
use std::fs;

use alloy_primitives::{B256, U256};
use alloy_sol_types::{SolCall as _, sol};
use bytes::Bytes;
use lucid_chain_types::NodeId;
use lucid_client::{Client, Order};
use lucid_custody::chain::Chain;
use lucid_custody::contract::{ChunkStore, Commitment};
use lucid_custody::plan::Lease;
use lucid_custody::{place, session, transfer, tree};
use tokio::runtime::Runtime;

use super::network::{Network, Plan};
use crate::support::PATIENCE;

sol! {
    function openSession(bytes32 id, address owner, bytes32 sessionKey, bytes32 policyHash) external;
}

const SESSION: B256 = B256::repeat_byte(0x5e);
/// Slots that the chunks are paid for.
const SLOTS: u64 = 60;

fn content(seed: u64, len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    blake3::Hasher::new()
        .update(&seed.to_le_bytes())
        .finalize_xof()
        .fill(&mut bytes);
    bytes
}

/// A network that keeps chunks, and a session with some.
struct Keeping {
    net: Network,
    chunks: Vec<Vec<u8>>,
    runtime: Runtime,
}

impl Keeping {
    fn start(lens: &[usize]) -> Self {
        let mut net = Network::prepare(Plan {
            custody: true,
            ..Plan::FOUR
        });
        for node in &net.nodes {
            node.configure("every_seconds = 5", "every_seconds = 1");
            node.configure("grace_seconds = 120", "grace_seconds = 2");
        }
        for node in &mut net.nodes {
            node.start();
        }
        net.wait_until_up(&[0, 1, 2, 3]);
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let chunks = lens.iter().zip(0..).map(|(len, seed)| content(seed, *len));
        let it = Self {
            chunks: chunks.collect(),
            net,
            runtime,
        };
        it.wait("the nodes' doors", |it| {
            (it.ask(0, async |chain| chain.doors().await.unwrap()).len() == 4).then_some(())
        });
        it
    }

    /// The chain as a node has it.
    fn ask<T>(&self, node: usize, question: impl AsyncFnOnce(Chain) -> T) -> T {
        let client = Client::new(&self.net.nodes[node].url).unwrap();
        self.runtime.block_on(question(Chain::new(client)))
    }

    fn wait<T>(&self, what: &str, mut ready: impl FnMut(&Self) -> Option<T>) -> T {
        self.net.wait(what, |_| ready(self))
    }

    /// Sends a call; what its gas cost, wei.
    fn send(&self, order: Order) -> U256 {
        let wallet = &self.net.account.wallet;
        let sent = self.ask(0, async |chain| {
            let sent = chain.client().send_and_wait(wallet, order, PATIENCE);
            sent.await.unwrap()
        });
        U256::from(sent.gas_used) * U256::from(sent.effective_gas_price)
    }

    /// Opens the session and commits to its chunks.
    fn commit(&self) {
        let open = openSessionCall {
            id: SESSION,
            owner: self.net.account.address(),
            sessionKey: B256::ZERO,
            policyHash: B256::ZERO,
        };
        self.send(Order {
            to: lucid_chain_types::contracts::LUCID_ANCHORS,
            input: open.abi_encode().into(),
            ..Order::default()
        });
        let pieces: Vec<(u64, Commitment)> = (0..)
            .zip(&self.chunks)
            .map(|(index, bytes)| (index, Commitment::of(bytes).unwrap()))
            .collect();
        let due = || {
            self.ask(0, async |chain| {
                session::commits_due(&chain, SESSION, &pieces, SLOTS).await
            })
        };
        let bytes = self.chunks.iter().map(|bytes| bytes.len() as u64).sum();
        let fee = self.ask(0, async |chain| chain.fee(bytes, SLOTS).await.unwrap());
        let before = self.balance();
        let mut gas = U256::ZERO;
        for call in due().unwrap() {
            assert!(call.value > fee);
            gas += self.send(Order {
                to: call.to,
                value: call.value,
                input: call.input,
                ..Order::default()
            });
        }
        assert!(fee > U256::ZERO);
        assert_eq!(
            before - self.balance(),
            fee + gas,
            "what is too much comes back"
        );
        assert_eq!(due().unwrap(), [], "again there is nothing to do");
    }

    fn balance(&self) -> U256 {
        let address = self.net.account.address();
        self.ask(0, async |chain| {
            chain.client().balance(address).await.unwrap()
        })
    }

    /// A chunk's lease, as node `at` has it.
    fn lease(&self, at: usize, index: usize) -> Option<Lease> {
        self.ask(at, async |chain| {
            chain.chunk(SESSION, index as u64).await.unwrap()
        })
    }

    fn url(&self, node: NodeId) -> String {
        let doors = self.ask(self.up(), async |chain| chain.doors().await.unwrap());
        doors
            .into_iter()
            .find(|door| door.node == node)
            .unwrap()
            .url
    }

    /// A node that runs, for questions.
    fn up(&self) -> usize {
        let up = |node: &usize| self.net.nodes[*node].status().is_ok();
        (0..4).find(up).unwrap()
    }

    fn push(&self, door: &str, number: u64, bytes: &[u8], hash: B256) -> Result<(), String> {
        let bytes = Bytes::copy_from_slice(bytes);
        self.runtime
            .block_on(transfer::push(door, number, hash, bytes))
            .map_err(|error| error.to_string())
    }

    /// Waits until every chunk has three holders, none of them `without`.
    fn wait_for_holders(&self, without: Option<NodeId>) {
        let at = self.up();
        self.wait("three holders of each chunk", |it| {
            let whole = (0..it.chunks.len()).all(|index| {
                let holders = it.lease(at, index).unwrap().holders;
                holders.len() == 3 && !without.is_some_and(|node| holders.contains(&node))
            });
            whole.then_some(())
        });
    }

    /// Every chunk comes whole from any single holder that runs.
    fn fetch_all(&self) {
        let at = self.up();
        for (index, bytes) in self.chunks.iter().enumerate() {
            let lease = self.lease(at, index).unwrap();
            for holder in &lease.holders {
                let door = self.url(*holder);
                let fetched =
                    self.runtime
                        .block_on(transfer::fetch_bytes(&[door], lease.hash, lease.size));
                assert!(fetched.unwrap() == *bytes, "chunk {index} from {holder}");
            }
        }
    }

    fn held(&self, node: NodeId) -> usize {
        self.ask(self.up(), async |chain| {
            chain.held(node).await.unwrap().len()
        })
    }

    /// So many slots later, once the chain has noticed.
    fn jump(&mut self, slots: i64) {
        let open = |it: &Self| it.ask(it.up(), async |chain| chain.slot().await.unwrap());
        let before = open(self);
        self.net.jump(slots);
        self.wait("the slot to be sealed", |it| {
            (open(it) > before).then_some(())
        });
    }

    /// Waits until all that hold something and run have answered in the open slot.
    fn wait_for_answers(&self) {
        let at = self.up();
        self.wait("answers to the slot's challenges", |it| {
            let all = (0..4).all(|node| {
                let Ok(status) = it.net.nodes[node].status() else {
                    return true;
                };
                let id = status.node.unwrap();
                it.ask(at, async |chain| {
                    let slot = chain.slot().await.unwrap();
                    let held = chain.held(id).await.unwrap();
                    let proven = chain.proven(id).await.unwrap();
                    held.is_empty() || proven.is_some_and(|(last, _)| last >= slot)
                })
            });
            all.then_some(())
        });
    }

    fn counted(&self, node: usize, metric: &str) -> u64 {
        let metrics = self.net.nodes[node].metrics();
        let line = metrics
            .lines()
            .find_map(|line| line.strip_prefix(metric)?.strip_prefix(' '));
        line.map_or(0, |value| value.parse().unwrap())
    }

    /// Chunks on a node's disk.
    fn on_disk(&self, node: usize) -> usize {
        let mut count = 0;
        for folder in fs::read_dir(self.net.nodes[node].home.join("custody/chunks")).unwrap() {
            for file in fs::read_dir(folder.unwrap().path()).unwrap() {
                count += usize::from(file.unwrap().path().extension().is_none());
            }
        }
        count
    }
}

#[test]
fn chunks_are_held_proven_replaced_and_forgotten() {
    let mut it = Keeping::start(&[1, 1_024, 70_000, 300_000, 65_536, 2_000_000]);
    it.commit();
    let nodes: Vec<NodeId> = (0..4)
        .map(|node| it.net.nodes[node].status().unwrap().node.unwrap())
        .collect();

    // One node is given each chunk; the others fetch it from there.
    for (index, bytes) in it.chunks.iter().enumerate() {
        let lease = it.lease(0, index).unwrap();
        let order = place::order(lease.hash, &nodes);
        let (first, last) = (it.url(order[0]), it.url(order[3]));
        let refused = it.push(&last, lease.number, bytes, lease.hash);
        assert!(refused.unwrap_err().contains("403"), "not its turn");
        let refused = it.push(&first, lease.number + 1_000, bytes, lease.hash);
        assert!(refused.unwrap_err().contains("404"), "nobody committed");
        let mut forged = bytes.clone();
        forged[0] ^= 1;
        let refused = it.push(&first, lease.number, &forged, lease.hash);
        assert!(refused.unwrap_err().contains("409"), "other bytes");
        it.push(&first, lease.number, bytes, lease.hash).unwrap();
        it.push(&first, lease.number, bytes, lease.hash).unwrap();
    }
    it.wait_for_holders(None);
    it.fetch_all();

    // They answer challenges, in the next slots too.
    for _ in 0..2 {
        it.jump(1);
        it.wait_for_answers();
    }
    for node in 0..4 {
        assert_eq!(it.counted(node, "lucid_custody_lost_total"), 0);
    }

    // One dies. The others strike it off, and the fourth takes its chunks.
    let gone = 2;
    it.net.nodes[gone].kill();
    for _ in 0..3 {
        it.jump(1);
        it.wait_for_answers();
    }
    it.wait_for_holders(Some(nodes[gone]));
    it.fetch_all();
    assert_eq!(it.held(nodes[gone]), 0);
    // It comes back, and what it has no duty for goes from its disk.
    it.net.nodes[gone].start();
    it.net.wait_until_up(&[gone]);
    it.wait(
        "the disk of the node that was struck off to be swept",
        |it| (it.on_disk(gone) == 0).then_some(()),
    );

    // The time that was paid for is over.
    it.jump(i64::try_from(SLOTS).unwrap());
    it.wait("the chunks to be forgotten", |it| {
        let none = (0..it.chunks.len()).all(|index| it.lease(0, index).is_none());
        let swept = (0..4).all(|node| it.on_disk(node) == 0);
        (none && swept).then_some(())
    });
    assert!(nodes.iter().all(|node| it.held(*node) == 0));
}

#[test]
fn who_lost_its_chunks_is_found_out_and_replaced() {
    let mut it = Keeping::start(&[700_000; 5]);
    it.commit();
    for (index, bytes) in it.chunks.iter().enumerate() {
        let lease = it.lease(0, index).unwrap();
        let bytes = Bytes::copy_from_slice(bytes);
        let pushed = it.ask(0, async |chain| {
            session::push_due(&chain, &lease, &bytes).await
        });
        assert!(pushed.unwrap());
    }
    it.wait_for_holders(None);

    // The holder of most loses its disk, and gets one that most do not fit on again.
    let ids: Vec<NodeId> = (0..4)
        .map(|node| it.net.nodes[node].status().unwrap().node.unwrap())
        .collect();
    let poor = (0..4).max_by_key(|node| it.held(ids[*node])).unwrap();
    let before = it.held(ids[poor]);
    assert!(before >= 4);
    it.net.nodes[poor].stop();
    fs::remove_dir_all(it.net.nodes[poor].home.join("custody")).unwrap();
    it.net.nodes[poor].configure("quota = 17179869184", "quota = 1048576");
    it.net.nodes[poor].start();
    it.net.wait_until_up(&[poor]);
    for _ in 0..40 {
        if it.held(ids[poor]) <= 1 {
            break;
        }
        it.jump(1);
        it.wait_for_answers();
    }
    assert!(it.held(ids[poor]) <= 1, "it says that it holds what it has");
    it.wait_for_holders_of_the_rest(ids[poor]);
    it.fetch_all();
    // Owners ask by session and index.
    for (index, bytes) in (0..).zip(&it.chunks) {
        let fetched = it.ask(0, async |chain| {
            session::fetch(&chain, SESSION, index).await
        });
        assert!(fetched.unwrap().as_ref() == Some(bytes), "chunk {index}");
        let lease = it.lease(0, usize::try_from(index).unwrap()).unwrap();
        let bytes = Bytes::copy_from_slice(bytes);
        let pushed = it.ask(0, async |chain| {
            session::push_due(&chain, &lease, &bytes).await
        });
        assert!(!pushed.unwrap(), "it has holders");
    }
    let none = it.ask(0, async |chain| {
        session::fetch(&chain, SESSION, session::HEAD).await
    });
    assert!(none.unwrap().is_none());
}

impl Keeping {
    /// Waits until every chunk has three holders, and a node that lost its disk at most one of them.
    fn wait_for_holders_of_the_rest(&self, poor: NodeId) {
        self.wait_for_holders(None);
        let holds: BTreeSet<usize> = (0..self.chunks.len())
            .filter(|index| {
                self.lease(self.up(), *index)
                    .unwrap()
                    .holders
                    .contains(&poor)
            })
            .collect();
        assert!(holds.len() <= 1, "{holds:?}");
    }
}

#[test]
fn the_contract_opens_the_same_leaves() {
    let it = Keeping::start(&[]);
    let mut asked = 0;
    for (seed, len) in [(1, 1), (2, 1_024), (3, 1_025), (4, 3_000), (5, 70_001)] {
        let bytes = content(seed, len);
        let root = tree::root(&bytes).unwrap();
        for index in 0..tree::leaves(len as u64) {
            let mut opening = tree::open(&bytes, index).unwrap();
            for honest in [true, false] {
                if !honest {
                    opening.leaf[0] ^= 1;
                }
                let call = ChunkStore::verifyLeafCall {
                    root,
                    size: U256::from(len),
                    index: U256::from(index),
                    leaf: opening.leaf.clone().into(),
                    path: opening.path.clone(),
                };
                let to = lucid_chain_types::contracts::LUCID_CHUNK_STORE;
                let answer = it.ask(0, async |chain| {
                    chain.client().call(to, &call.abi_encode().into()).await
                });
                let opens = ChunkStore::verifyLeafCall::abi_decode_returns(&answer.unwrap());
                assert_eq!(opens.unwrap(), honest, "leaf {index} of {len} bytes");
                assert_eq!(tree::verify(root, len as u64, index, &opening), honest);
                asked += 1;
            }
        }
    }
    assert_eq!(asked, 2 * (1 + 1 + 2 + 3 + 69));
}
