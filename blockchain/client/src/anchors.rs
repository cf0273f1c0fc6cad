//! LucidAnchors: its calls, what it tells of a session, and its events. Steps of a session's log and places in the contract's
//! storage are in `lucid_chain_types::anchors`.

use alloy_primitives::{Address, B256, Bytes, U64};
use alloy_rpc_types_eth::Log;
use alloy_sol_types::{SolCall, SolEvent, sol};
use lucid_chain_types::Height;
use lucid_chain_types::anchors::Moment;
use lucid_chain_types::contracts::LUCID_ANCHORS;
use serde_json::json;

use crate::{Client, ClientError};

sol! {
    interface Anchors {
        struct Session { address owner; uint64 size; uint8 status; bytes32 log; address opener; }
        struct Batch { address sender; uint32 count; uint64 height; }

        event SessionOpened(
            bytes32 indexed id, address indexed owner, address indexed opener, bytes32 sessionKey, bytes32 policyHash
        );
        event Checkpoint(bytes32 indexed id, uint64 size, bytes32 root);
        event SessionClosed(
            bytes32 indexed id, address indexed owner, bytes32 manifestHash, bytes32 merkleRoot, uint64 chunkCount
        );
        event SessionRegistered(
            bytes32 indexed id, address indexed owner, bytes32 sessionKey, bytes32 manifestHash, bytes32 merkleRoot,
            uint64 chunkCount
        );
        event CheckpointBatch(bytes32 indexed root, address indexed sender, uint32 count, bytes32 previous);

        function openSession(bytes32 id, address owner, bytes32 sessionKey, bytes32 policyHash) external;
        function checkpoint(bytes32 id, uint64 size, bytes32 root) external;
        function closeSession(bytes32 id, bytes32 manifestHash, bytes32 merkleRoot, uint64 chunkCount) external;
        function registerSession(
            bytes32 id, address owner, bytes32 sessionKey, bytes32 manifestHash, bytes32 merkleRoot, uint64 chunkCount
        ) external;
        function checkpointBatch(bytes32 root, uint32 count) external;
        function session(bytes32 id) external view returns (Session memory);
        function batch(bytes32 root) external view returns (Batch memory);
        function batchLog(address sender) external view returns (bytes32);
    }
}

/// Opens a session.
pub fn open(id: B256, owner: Address, session_key: B256, policy: B256) -> Bytes {
    let call = Anchors::openSessionCall {
        id,
        owner,
        sessionKey: session_key,
        policyHash: policy,
    };
    call.abi_encode().into()
}

/// Fixes a session's first `size` chunks.
pub fn checkpoint(id: B256, size: u64, root: B256) -> Bytes {
    Anchors::checkpointCall { id, size, root }
        .abi_encode()
        .into()
}

/// Closes a session.
pub fn close(id: B256, manifest: B256, root: B256, chunks: u64) -> Bytes {
    let call = Anchors::closeSessionCall {
        id,
        manifestHash: manifest,
        merkleRoot: root,
        chunkCount: chunks,
    };
    call.abi_encode().into()
}

/// Registers a finished session in one transaction.
pub fn register(
    id: B256,
    owner: Address,
    session_key: B256,
    manifest: B256,
    root: B256,
    chunks: u64,
) -> Bytes {
    let call = Anchors::registerSessionCall {
        id,
        owner,
        sessionKey: session_key,
        manifestHash: manifest,
        merkleRoot: root,
        chunkCount: chunks,
    };
    call.abi_encode().into()
}

/// Fixes checkpoints of many sessions: the root of a tree over `count` leaves (`lucid_chain_types::anchors::batch_root`).
pub fn batch(root: B256, count: u32) -> Bytes {
    Anchors::checkpointBatchCall { root, count }
        .abi_encode()
        .into()
}

/// What the contract has of a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Session {
    /// Whose it is.
    pub owner: Address,
    /// Chunks of a closed session; of an open one, those that its last own checkpoint covers.
    pub size: u64,
    /// Whether it is closed.
    pub closed: bool,
    /// End of its log.
    pub log: B256,
    /// Who may checkpoint and close it beside the owner.
    pub opener: Option<Address>,
}

/// What the contract has of a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Batch {
    /// Who sent it.
    pub sender: Address,
    /// How many leaves it has.
    pub count: u32,
    /// In which block.
    pub height: Height,
}

/// What the contract says happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "the fields are those of the Solidity's events")]
pub enum Event {
    /// A session was opened.
    Opened {
        id: B256,
        owner: Address,
        opener: Address,
        session_key: B256,
        policy: B256,
    },
    /// A session's first `size` chunks were fixed.
    Checkpoint { id: B256, size: u64, root: B256 },
    /// A session was closed.
    Closed {
        id: B256,
        owner: Address,
        manifest: B256,
        root: B256,
        chunks: u64,
    },
    /// A session was opened and closed in one transaction.
    Registered {
        id: B256,
        owner: Address,
        session_key: B256,
        manifest: B256,
        root: B256,
        chunks: u64,
    },
    /// Checkpoints of many sessions were fixed. `previous` is the end of the sender's batches before.
    Batch {
        root: B256,
        sender: Address,
        count: u32,
        previous: B256,
    },
}

impl Event {
    /// Reads a log; `None` if it is not one of this contract's.
    pub fn decode(log: &alloy_primitives::Log) -> Option<Self> {
        if log.address != LUCID_ANCHORS {
            return None;
        }
        match *log.topics().first()? {
            Anchors::SessionOpened::SIGNATURE_HASH => {
                let event = Anchors::SessionOpened::decode_log(log).ok()?.data;
                Some(Self::Opened {
                    id: event.id,
                    owner: event.owner,
                    opener: event.opener,
                    session_key: event.sessionKey,
                    policy: event.policyHash,
                })
            }
            Anchors::Checkpoint::SIGNATURE_HASH => {
                let event = Anchors::Checkpoint::decode_log(log).ok()?.data;
                Some(Self::Checkpoint {
                    id: event.id,
                    size: event.size,
                    root: event.root,
                })
            }
            Anchors::SessionClosed::SIGNATURE_HASH => {
                let event = Anchors::SessionClosed::decode_log(log).ok()?.data;
                Some(Self::Closed {
                    id: event.id,
                    owner: event.owner,
                    manifest: event.manifestHash,
                    root: event.merkleRoot,
                    chunks: event.chunkCount,
                })
            }
            Anchors::SessionRegistered::SIGNATURE_HASH => {
                let event = Anchors::SessionRegistered::decode_log(log).ok()?.data;
                Some(Self::Registered {
                    id: event.id,
                    owner: event.owner,
                    session_key: event.sessionKey,
                    manifest: event.manifestHash,
                    root: event.merkleRoot,
                    chunks: event.chunkCount,
                })
            }
            Anchors::CheckpointBatch::SIGNATURE_HASH => {
                let event = Anchors::CheckpointBatch::decode_log(log).ok()?.data;
                Some(Self::Batch {
                    root: event.root,
                    sender: event.sender,
                    count: event.count,
                    previous: event.previous,
                })
            }
            _ => None,
        }
    }
}

/// An event and where it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seen {
    /// What happened.
    pub event: Event,
    /// In which block.
    pub at: Moment,
    /// In which transaction.
    pub transaction: B256,
}

/// Which events are looked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Of {
    /// All of one session.
    Session(B256),
    /// Batches of one sender.
    Sender(Address),
}

impl Client {
    /// What is anchored of a session; `None` where the id is free.
    pub async fn session(&self, id: B256) -> Result<Option<Session>, ClientError> {
        let session = self
            .view(LUCID_ANCHORS, &Anchors::sessionCall { id })
            .await?;
        let closed = match session.status {
            0 => return Ok(None),
            1 => false,
            2 => true,
            other => {
                return Err(ClientError::Answer {
                    method: "eth_call",
                    reason: format!("a session has the unknown status {other}"),
                });
            }
        };
        Ok(Some(Session {
            owner: session.owner,
            size: session.size,
            closed,
            log: session.log,
            opener: (!session.opener.is_zero()).then_some(session.opener),
        }))
    }

    /// A batch of checkpoints; `None` where nobody has sent one with this root.
    pub async fn batch(&self, root: B256) -> Result<Option<Batch>, ClientError> {
        let batch = self
            .view(LUCID_ANCHORS, &Anchors::batchCall { root })
            .await?;
        Ok((batch.count != 0).then_some(Batch {
            sender: batch.sender,
            count: batch.count,
            height: Height(batch.height),
        }))
    }

    /// End of a sender's batches; zero where there are none.
    pub async fn batch_log(&self, sender: Address) -> Result<B256, ClientError> {
        self.view(LUCID_ANCHORS, &Anchors::batchLogCall { sender })
            .await
    }

    /// Events in blocks `first` to `last`, in their order. A node searches 10,000 blocks at once unless it is configured otherwise.
    pub async fn anchor_events(
        &self,
        of: Of,
        first: Height,
        last: Height,
    ) -> Result<Vec<Seen>, ClientError> {
        const METHOD: &str = "eth_getLogs";
        let topics = match of {
            Of::Session(id) => json!([
                [
                    Anchors::SessionOpened::SIGNATURE_HASH,
                    Anchors::Checkpoint::SIGNATURE_HASH,
                    Anchors::SessionClosed::SIGNATURE_HASH,
                    Anchors::SessionRegistered::SIGNATURE_HASH,
                ],
                id,
            ]),
            Of::Sender(sender) => json!([
                Anchors::CheckpointBatch::SIGNATURE_HASH,
                null,
                sender.into_word(),
            ]),
        };
        let filter = json!({
            "address": LUCID_ANCHORS,
            "topics": topics,
            "fromBlock": U64::from(first.0),
            "toBlock": U64::from(last.0),
        });
        let logs: Vec<Log> = self.request(METHOD, vec![filter]).await?;
        let seen = logs.iter().map(|log| {
            Some(Seen {
                event: Event::decode(&log.inner)?,
                at: Moment {
                    height: Height(log.block_number?),
                    time_s: log.block_timestamp?,
                },
                transaction: log.transaction_hash?,
            })
        });
        seen.collect::<Option<_>>()
            .ok_or_else(|| ClientError::Answer {
                method: METHOD,
                reason: "a log is not as the contract writes it, or does not say where it is"
                    .to_owned(),
            })
    }
}
