//! What the queue says to `LucidAnchors` and what it reads there.

use alloy_primitives::{Address, B256, Bytes, U256};
use alloy_sol_types::{SolCall, SolEvent, sol};
use lucid_chain_types::contracts::LUCID_ANCHORS;
use lucid_client::{Client, ClientError};
use lucid_format::SessionId;

use crate::book::{Book, Leaf, Place, Step};
use crate::queue::Seen;

sol! {
    interface Anchors {
        event SessionOpened(bytes32 indexed id, address indexed owner, address indexed opener, bytes32 sessionKey, bytes32 policyHash);
        event Checkpoint(bytes32 indexed id, uint64 size, bytes32 root);
        event SessionClosed(bytes32 indexed id, address indexed owner, bytes32 manifestHash, bytes32 merkleRoot, uint64 chunkCount);
        event CheckpointBatch(bytes32 indexed root, address indexed sender, uint32 count);
        function openSession(bytes32 id, address owner, bytes32 sessionKey, bytes32 policyHash) external;
        function checkpoint(bytes32 id, uint64 size, bytes32 root) external;
        function closeSession(bytes32 id, bytes32 manifestHash, bytes32 merkleRoot, uint64 chunkCount) external;
        function checkpointBatch(bytes32 root, uint32 count) external;
        function session(bytes32 id) external view;
        function batch(bytes32 root) external view returns (address sender, uint32 count, uint64 height);
    }
}

/// Blocks that are searched in one request: what a node allows.
const SEARCH: u64 = 10_000;
/// Bytes of an answer of the contract that are read at most.
const MAX_WORDS: usize = 64;

/// A session's id on the chain: its 16 bytes, then zeros.
pub fn anchor_id(id: SessionId) -> B256 {
    let mut bytes = [0; 32];
    bytes[..16].copy_from_slice(&id.0);
    B256::from(bytes)
}

/// Gas that is enough for a step. What is not used is not paid, and all of it has to be there.
pub(crate) fn gas(step: &Step) -> u64 {
    match step {
        Step::Open(_) => 200_000,
        Step::Checkpoint(_) | Step::Batch { .. } | Step::Close(_) => 150_000,
    }
}

/// The call for a step, `None` when its session is gone.
pub(crate) fn input(step: &Step, book: &Book) -> Option<Bytes> {
    let call = match step {
        Step::Open(id) => {
            let session = book.sessions.get(id)?;
            Anchors::openSessionCall {
                id: anchor_id(*id),
                owner: session.owner,
                sessionKey: session.session_key,
                policyHash: session.policy,
            }
            .abi_encode()
        }
        Step::Checkpoint(leaf) => Anchors::checkpointCall {
            id: anchor_id(leaf.id),
            size: leaf.size,
            root: leaf.root,
        }
        .abi_encode(),
        Step::Batch { root, leaves } => Anchors::checkpointBatchCall {
            root: *root,
            count: u32::try_from(leaves.len()).ok()?,
        }
        .abi_encode(),
        Step::Close(id) => {
            let closing = book.sessions.get(id)?.closed.as_ref()?;
            Anchors::closeSessionCall {
                id: anchor_id(*id),
                manifestHash: closing.manifest,
                merkleRoot: closing.root,
                chunkCount: closing.chunks,
            }
            .abi_encode()
        }
    };
    Some(call.into())
}

/// A session as the contract has it.
struct Stored {
    owner: Address,
    size: u64,
    closed: bool,
    opener: Address,
}

/// Asks the contract, on one node.
pub(crate) struct Looker<'a> {
    pub(crate) client: &'a Client,
    pub(crate) account: Address,
    pub(crate) book: &'a Book,
}

impl Looker<'_> {
    /// Whether a step is done. It is in a block after `after` if it is.
    pub(crate) async fn look(
        &self,
        step: &Step,
        after: u64,
        height: u64,
    ) -> Result<Seen, ClientError> {
        let blocks = (after.saturating_add(1), height);
        match step {
            Step::Open(id) => self.look_open(*id, blocks).await,
            Step::Checkpoint(leaf) => self.look_checkpoint(leaf, blocks).await,
            Step::Close(id) => self.look_close(*id, blocks).await,
            Step::Batch { root, .. } => self.look_batch(*root, blocks).await,
        }
    }

    async fn look_open(&self, id: SessionId, blocks: (u64, u64)) -> Result<Seen, ClientError> {
        let Some(stored) = self.stored(id).await? else {
            return Ok(Seen::Absent);
        };
        let Some(session) = self.book.sessions.get(&id) else {
            return Ok(Seen::Never("it is not known here any more".to_owned()));
        };
        if stored.opener != self.account || stored.owner != session.owner {
            let Stored { owner, opener, .. } = stored;
            return Ok(Seen::Never(format!(
                "its id was taken by {opener} for {owner}: mint another"
            )));
        }
        let same = |event: Anchors::SessionOpened| {
            (event.sessionKey, event.policyHash) == (session.session_key, session.policy)
        };
        let topics = [Anchors::SessionOpened::SIGNATURE_HASH, anchor_id(id)];
        self.find(
            topics,
            blocks,
            same,
            "it was opened with another key or policy",
        )
        .await
    }

    async fn look_checkpoint(&self, leaf: &Leaf, blocks: (u64, u64)) -> Result<Seen, ClientError> {
        let Some(stored) = self.stored(leaf.id).await? else {
            return Ok(Seen::Never(
                "the session is not open on the chain".to_owned(),
            ));
        };
        if !stored.closed && stored.size < leaf.size {
            return Ok(self.party(&stored).unwrap_or(Seen::Absent));
        }
        let same = |event: Anchors::Checkpoint| (event.size, event.root) == (leaf.size, leaf.root);
        let topics = [Anchors::Checkpoint::SIGNATURE_HASH, anchor_id(leaf.id)];
        let seen = self
            .find(topics, blocks, same, "another checkpoint came first")
            .await?;
        // That the session has as many chunks does not say whose checkpoint that was.
        Ok(match seen {
            Seen::Ours(Place { height: 0, .. }) => {
                Seen::Never("the session's end came first".to_owned())
            }
            seen => seen,
        })
    }

    async fn look_close(&self, id: SessionId, blocks: (u64, u64)) -> Result<Seen, ClientError> {
        let Some(stored) = self.stored(id).await? else {
            return Ok(Seen::Never(
                "the session is not open on the chain".to_owned(),
            ));
        };
        let Some(closing) = self.book.sessions.get(&id).and_then(|s| s.closed.as_ref()) else {
            return Ok(Seen::Never("it is not known here any more".to_owned()));
        };
        if !stored.closed {
            if closing.chunks < stored.size {
                let (chunks, size) = (closing.chunks, stored.size);
                return Ok(Seen::Never(format!(
                    "it has {chunks} chunks, and {size} are checkpointed"
                )));
            }
            return Ok(self.party(&stored).unwrap_or(Seen::Absent));
        }
        let same = |event: Anchors::SessionClosed| {
            (event.manifestHash, event.merkleRoot, event.chunkCount)
                == (closing.manifest, closing.root, closing.chunks)
        };
        let topics = [Anchors::SessionClosed::SIGNATURE_HASH, anchor_id(id)];
        self.find(topics, blocks, same, "it was closed with another manifest")
            .await
    }

    async fn look_batch(&self, root: B256, blocks: (u64, u64)) -> Result<Seen, ClientError> {
        let call = Anchors::batchCall { root }.abi_encode().into();
        let answer = self.client.call(LUCID_ANCHORS, &call).await?;
        let batch = Anchors::batchCall::abi_decode_returns(&answer)
            .map_err(|error| unreadable(error.to_string()))?;
        if batch.count == 0 {
            return Ok(Seen::Absent);
        }
        let sender = batch.sender;
        if sender != self.account {
            return Ok(Seen::Never(format!("{sender} sent the same batch first")));
        }
        let topics = [Anchors::CheckpointBatch::SIGNATURE_HASH, root];
        let any = |_: Anchors::CheckpointBatch| true;
        self.find(topics, blocks, any, "it is not known where")
            .await
    }

    /// Why this account may not go on with a session, if it may not.
    fn party(&self, stored: &Stored) -> Option<Seen> {
        let Stored { owner, opener, .. } = stored;
        (self.account != *owner && self.account != *opener).then(|| {
            Seen::Never(format!(
                "the session is one of {owner}, opened by {opener}, and not of this account"
            ))
        })
    }

    async fn stored(&self, id: SessionId) -> Result<Option<Stored>, ClientError> {
        let call = Anchors::sessionCall { id: anchor_id(id) }.abi_encode();
        let answer = self.client.call(LUCID_ANCHORS, &call.into()).await?;
        let words: Vec<U256> = answer
            .chunks_exact(32)
            .take(MAX_WORDS)
            .map(U256::from_be_slice)
            .collect();
        // Owner, size, status, what it commits to, opener.
        let ([owner, size, status, ..], Some(opener)) = (words.as_slice(), words.last()) else {
            return Err(unreadable(format!("{} bytes", answer.len())));
        };
        let address = |word: &U256| Address::from_word(B256::from(*word));
        let owner = address(owner);
        if status.is_zero() {
            return Ok(None);
        }
        Ok(Some(Stored {
            owner,
            size: u64::try_from(*size).map_err(|e| unreadable(e.to_string()))?,
            closed: *status == U256::from(2),
            opener: Some(address(opener))
                .filter(|a| !a.is_zero())
                .unwrap_or(owner),
        }))
    }

    /// The event that says so, newest blocks first; before `first` too, for the journal that knew of it may be lost. A node need
    /// not keep those blocks: then it is done, and where is not known.
    async fn find<E: SolEvent>(
        &self,
        topics: [B256; 2],
        (first, last): (u64, u64),
        same: impl Fn(E) -> bool,
        otherwise: &str,
    ) -> Result<Seen, ClientError> {
        let mut to = last;
        while to > 0 {
            let from = if to >= first {
                first.max(to.saturating_sub(SEARCH - 1))
            } else {
                to.saturating_sub(SEARCH - 1).max(1)
            };
            let logs = match self.client.logs(LUCID_ANCHORS, &topics, from, to).await {
                Err(ClientError::Refused { .. }) if to < first => break,
                logs => logs?,
            };
            let mut others = false;
            for log in logs.into_iter().rev() {
                let Ok(event) = E::decode_log(&log.inner) else {
                    continue;
                };
                if same(event.data) {
                    return Ok(Seen::Ours(Place {
                        height: log.block_number.unwrap_or_default(),
                        time: log.block_timestamp.unwrap_or_default(),
                        transaction: log.transaction_hash.unwrap_or_default(),
                    }));
                }
                others = true;
            }
            if others {
                return Ok(Seen::Never(otherwise.to_owned()));
            }
            to = from - 1;
        }
        Ok(Seen::Ours(Place {
            height: 0,
            time: 0,
            transaction: B256::ZERO,
        }))
    }
}

fn unreadable(reason: String) -> ClientError {
    ClientError::Answer {
        method: "eth_call",
        reason,
    }
}
