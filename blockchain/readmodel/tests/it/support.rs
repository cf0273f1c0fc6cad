//! Blocks full of events, the changes they make, and the plainest store there is.

use std::collections::BTreeMap;

use alloy_primitives::{Address, B256, Bytes, U256};
use alloy_sol_types::{SolEvent, sol};
use lucid_chain_types::contracts::{LUCID_ANCHORS, LUCID_CHUNK_STORE, WORK_CREDITS};
use lucid_chain_types::{BlockId, Header, Height, NodeId, Slot, VRF_PROOF_BYTES};
use lucid_execution::{Log, Receipt, SystemRecord, Tallied};
use lucid_poot::{LeaderRecord, Standing, Work};
use lucid_readmodel::{
    Batch, BlockView, Change, Collection, Collections, Document, MAX_PAGE, Query, project,
};

sol! {
    event SessionOpened(bytes32 indexed id, address indexed owner, address indexed opener, bytes32 sessionKey, bytes32 policyHash);
    event Checkpoint(bytes32 indexed id, uint64 size, bytes32 root);
    event SessionClosed(bytes32 indexed id, address indexed owner, bytes32 manifestHash, bytes32 merkleRoot, uint64 chunkCount);
    event SessionRegistered(bytes32 indexed id, address indexed owner, bytes32 sessionKey, bytes32 manifestHash, bytes32 merkleRoot, uint64 chunkCount);
    event ChunkCommitted(bytes32 indexed sessionId, uint64 indexed index, bytes32 indexed chunkHash, uint64 number, uint32 size, uint64 expiry);
    event CustodyAccepted(uint64 indexed number, address indexed node);
    event CustodyReleased(uint64 indexed number, address indexed node);
    event ProofAccepted(address indexed node, uint8 kind, uint64 slot, uint64 value);
    event Credited(address indexed node, uint8 kind, uint64 slot, uint64 value);

    struct TaskProof { address node; uint64 slot; uint8 kind; uint64 value; bytes evidence; bytes signature; }
    function submit(TaskProof[] calldata proofs) external;
}

pub(crate) const GENESIS: B256 = B256::repeat_byte(0x6e);
const SLOT: u64 = 10;

/// A contract's log.
pub(crate) fn log<E: SolEvent>(address: Address, event: &E) -> Log {
    let data = event.encode_log_data();
    Log {
        address,
        topics: data.topics().to_vec(),
        data: data.data,
    }
}

pub(crate) fn hash(of: u64) -> B256 {
    B256::from(U256::from(of + 1).rotate_left(200))
}

pub(crate) fn node(of: u64) -> Address {
    Address::with_last_byte(u8::try_from(of % 250).unwrap() + 1)
}

/// Something that happens in a block: what, to whom, with which numbers.
pub(crate) type Event = (u8, u64, u64);

fn event_log((what, whom, number): Event) -> Log {
    let (id, who) = (hash(whom), node(number));
    match what % 8 {
        0 => log(
            LUCID_ANCHORS,
            &SessionOpened {
                id,
                owner: who,
                opener: node(whom),
                sessionKey: hash(number),
                policyHash: hash(7),
            },
        ),
        1 => log(
            LUCID_ANCHORS,
            &Checkpoint {
                id,
                size: number.wrapping_neg(),
                root: hash(number),
            },
        ),
        2 => log(
            LUCID_ANCHORS,
            &SessionClosed {
                id,
                owner: who,
                manifestHash: hash(number),
                merkleRoot: hash(number + 1),
                chunkCount: number,
            },
        ),
        3 => log(
            LUCID_ANCHORS,
            &SessionRegistered {
                id,
                owner: who,
                sessionKey: hash(1),
                manifestHash: hash(2),
                merkleRoot: hash(3),
                chunkCount: number,
            },
        ),
        4 => log(
            LUCID_CHUNK_STORE,
            &ChunkCommitted {
                sessionId: id,
                index: number.wrapping_neg(),
                chunkHash: hash(number),
                number,
                size: 9,
                expiry: 720,
            },
        ),
        5 => log(LUCID_CHUNK_STORE, &CustodyAccepted { number, node: who }),
        6 => log(LUCID_CHUNK_STORE, &CustodyReleased { number, node: who }),
        _ => log(
            WORK_CREDITS,
            &ProofAccepted {
                node: who,
                kind: u8::try_from(whom % 2).unwrap(),
                slot: number,
                value: whom,
            },
        ),
    }
}

/// Everything that a block is projected from.
pub(crate) struct Made {
    pub(crate) header: Header,
    pub(crate) transactions: Vec<Vec<u8>>,
    pub(crate) receipts: Vec<Receipt>,
    pub(crate) system: SystemRecord,
    pub(crate) leader: Option<LeaderRecord>,
}

impl Made {
    pub(crate) fn view(&self) -> BlockView<'_> {
        BlockView {
            header: &self.header,
            transactions: &self.transactions,
            receipts: &self.receipts,
            system: &self.system,
            leader: self.leader.as_ref(),
        }
    }

    pub(crate) fn changes(&self) -> Vec<Change> {
        project(&self.view()).unwrap()
    }
}

pub(crate) fn receipt(logs: Vec<Log>) -> Receipt {
    Receipt {
        success: true,
        tx_type: 2,
        gas_used: 21_000,
        cumulative_gas_used: 21_000,
        effective_gas_price: 1,
        logs,
    }
}

/// A block with one transaction an event. Every fifth seals a slot.
pub(crate) fn block(height: u64, events: &[Event]) -> Made {
    let slot = height / 5;
    let seal = height % 5 == 4;
    let header = Header {
        version: Header::VERSION,
        chain_id: 1,
        height: Height(height),
        time_ms: 1_700_000_000_000 + height * 1_000,
        slot: Slot(slot),
        round: 0,
        seal,
        proposer: NodeId(node(slot)),
        parent: BlockId(hash(height)),
        last_commit_hash: B256::ZERO,
        transactions_root: B256::ZERO,
        evidence_hash: B256::ZERO,
        state_root: B256::ZERO,
        receipts_root: B256::ZERO,
        gas_limit: 1,
        gas_used: 1,
        base_fee: 1,
        validators_hash: B256::ZERO,
        next_validators_hash: B256::ZERO,
        vrf_proof: [0; VRF_PROOF_BYTES],
    };
    let mut system = SystemRecord::default();
    let mut leader = None;
    if seal {
        for whose in 0..3u64 {
            for (kind, value) in [(2, SLOT + whose), (3, 1)] {
                let credited = Credited {
                    node: node(whose),
                    kind,
                    slot,
                    value,
                };
                system.logs.push(log(WORK_CREDITS, &credited));
            }
            system.tally.push(Tallied {
                standing: Standing {
                    node: NodeId(node(whose)),
                    work: Work {
                        validation: height * (whose / 2 + 1),
                        uptime: slot,
                        ..Work::default()
                    },
                    ..Standing::default()
                },
                validator: whose != 1,
                jailed: false,
            });
        }
        let order = [0, 1, 2].map(|whose| NodeId(node(whose)));
        leader = LeaderRecord::new(Slot(slot), &order, NodeId(node(slot % 3)), Slot(slot + 1));
    }
    Made {
        header,
        transactions: events
            .iter()
            .map(|event| format!("{event:?}").into_bytes())
            .collect(),
        receipts: events
            .iter()
            .map(|event| receipt(vec![event_log(*event)]))
            .collect(),
        system,
        leader,
    }
}

/// A chain: its block 1 is the first.
pub(crate) struct Chain(pub(crate) Vec<Made>);

impl Chain {
    pub(crate) fn new(events: &[Vec<Event>]) -> Self {
        Self(
            (1..)
                .zip(events)
                .map(|(height, events)| block(height, events))
                .collect(),
        )
    }

    /// One that is the same in every process.
    pub(crate) fn fixed(blocks: u64) -> Self {
        let events = |height: u64| {
            let one = |nth: u64| {
                let mixed = (height * 31 + nth).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 16;
                (
                    u8::try_from(mixed % 8).unwrap(),
                    mixed / 8 % 5,
                    mixed / 64 % 7,
                )
            };
            (0..height % 4).map(one).collect::<Vec<_>>()
        };
        Self::new(&(1..=blocks).map(events).collect::<Vec<_>>())
    }

    pub(crate) fn head(&self) -> u64 {
        self.0.len() as u64
    }

    /// The changes of blocks `first` to `last`.
    pub(crate) fn batch(&self, first: u64, last: u64) -> Batch {
        let made = &self.0[usize::try_from(first - 1).unwrap()..usize::try_from(last).unwrap()];
        Batch {
            first: Height(first),
            last: Height(last),
            id: made.last().unwrap().header.id(),
            changes: made
                .iter()
                .flat_map(|made| {
                    made.changes()
                        .into_iter()
                        .map(|change| (made.header.height, change))
                })
                .collect(),
        }
    }

    /// What the collections hold after block `last`, made one change after the other.
    pub(crate) fn expected(&self, from: u64, last: u64) -> Contents {
        let mut contents: Contents = Collection::ALL
            .map(|it| (it.name(), BTreeMap::new()))
            .into();
        for (_, change) in self.batch(from, last).changes {
            let documents = contents.get_mut(change.key().collection().name()).unwrap();
            match change {
                Change::Set { key, fields } => {
                    let document = documents.entry(key.to_string()).or_default();
                    for (name, value) in fields {
                        document.insert(name, value);
                    }
                }
                Change::Remove { key } => {
                    documents.remove(&key.to_string());
                }
            }
        }
        contents
    }
}

pub(crate) type Contents = BTreeMap<&'static str, BTreeMap<String, Document>>;

/// Everything in a store, read page by page.
pub(crate) fn contents(store: &dyn Collections) -> Contents {
    let all = |collection| {
        let mut found = BTreeMap::new();
        let mut query = Query::all(collection, MAX_PAGE);
        loop {
            let page = store.query(&query).unwrap();
            for document in page.items {
                let id = document["_id"].as_str().unwrap().to_owned();
                assert!(
                    found.insert(id, document).is_none(),
                    "a document came twice"
                );
            }
            match page.next {
                None => return found,
                Some(next) => {
                    query.after = Some(lucid_readmodel::Key::parse(collection, &next).unwrap());
                }
            }
        }
    };
    Collection::ALL
        .map(|collection| (collection.name(), all(collection)))
        .into()
}

pub(crate) fn signature(byte: u8) -> Bytes {
    vec![byte; 65].into()
}
