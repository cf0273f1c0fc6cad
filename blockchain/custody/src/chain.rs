//! What the chain says about custody, asked of one node.

use alloy_primitives::{Address, B256, U256};
use alloy_sol_types::SolCall;
use lucid_chain_types::contracts::{LUCID_CHUNK_STORE, PARAM_REGISTRY, WORK_CREDITS};
use lucid_chain_types::{NodeId, Slot};
use lucid_client::Client;

use crate::CustodyError;
use crate::contract::{ChunkStore, Credits, Params};
use crate::plan::Lease;

/// Commitments of one answer.
pub const PAGE: u64 = 128;
/// Held numbers of one answer.
const HELD_PAGE: u64 = 4_096;
/// Most doors that are looked at.
const MAX_DOORS: usize = 1_024;

/// Where a node serves chunks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Door {
    /// The node.
    pub node: NodeId,
    /// Its address, such as `http://10.0.0.5:26658`. What a node says, so not to be trusted to be one.
    pub url: String,
}

/// The chain, through a node.
#[derive(Debug, Clone)]
pub struct Chain {
    client: Client,
}

impl Chain {
    /// Through this node.
    pub fn new(client: Client) -> Self {
        Self { client }
    }

    /// The node that is asked.
    pub fn client(&self) -> &Client {
        &self.client
    }

    async fn ask<C: SolCall>(&self, to: Address, call: C) -> Result<C::Return, CustodyError> {
        Ok(self.client.view(to, &call).await?)
    }

    /// The open slot.
    pub async fn slot(&self) -> Result<Slot, CustodyError> {
        Ok(Slot(
            self.ask(WORK_CREDITS, Credits::openSlotCall {}).await?,
        ))
    }

    /// What the open slot's challenges are drawn from.
    pub async fn seed(&self) -> Result<B256, CustodyError> {
        self.ask(WORK_CREDITS, Credits::seedCall {}).await
    }

    /// Whether this is a registered node that is not jailed.
    pub async fn is_node(&self, node: NodeId) -> Result<bool, CustodyError> {
        self.ask(WORK_CREDITS, Credits::isNodeCall { node: node.0 })
            .await
    }

    /// A governed parameter.
    pub async fn parameter(&self, key: &str) -> Result<U256, CustodyError> {
        let mut word = B256::ZERO;
        for (to, from) in word.iter_mut().zip(key.as_bytes()) {
            *to = *from;
        }
        self.ask(PARAM_REGISTRY, Params::getCall { key: word })
            .await
    }

    /// How many nodes are to hold a chunk.
    pub async fn replicas(&self) -> Result<usize, CustodyError> {
        Ok(self.parameter("chunkReplicas").await?.saturating_to())
    }

    /// Wei for so many bytes and slots.
    pub async fn fee(&self, bytes: u64, slots: u64) -> Result<U256, CustodyError> {
        let call = ChunkStore::feeCall {
            bytes_: U256::from(bytes),
            slots: U256::from(slots),
        };
        self.ask(LUCID_CHUNK_STORE, call).await
    }

    /// How many commitments there have been.
    pub async fn count(&self) -> Result<u64, CustodyError> {
        self.ask(LUCID_CHUNK_STORE, ChunkStore::countCall {}).await
    }

    /// Commitments from a number on, a [`PAGE`] at most, without those that are forgotten.
    pub async fn leases(&self, from: u64) -> Result<Vec<Lease>, CustodyError> {
        let call = ChunkStore::leasesCall { from, most: PAGE };
        let list = self.ask(LUCID_CHUNK_STORE, call).await?;
        Ok(list
            .into_iter()
            .filter(|stored| stored.number != 0)
            .map(Lease::from)
            .collect())
    }

    /// A commitment.
    pub async fn lease(&self, number: u64) -> Result<Option<Lease>, CustodyError> {
        let stored = self
            .ask(LUCID_CHUNK_STORE, ChunkStore::leaseCall { number })
            .await?;
        Ok((stored.number != 0).then(|| stored.into()))
    }

    /// A session's chunk.
    pub async fn chunk(&self, session: B256, index: u64) -> Result<Option<Lease>, CustodyError> {
        let call = ChunkStore::chunkCall {
            sessionId: session,
            index,
        };
        let stored = self.ask(LUCID_CHUNK_STORE, call).await?;
        Ok((stored.number != 0).then(|| stored.into()))
    }

    /// Who serves chunks, and where.
    pub async fn doors(&self) -> Result<Vec<Door>, CustodyError> {
        let list = self
            .ask(LUCID_CHUNK_STORE, ChunkStore::doorsCall {})
            .await?;
        Ok(list
            .into_iter()
            .take(MAX_DOORS)
            .map(|door| Door {
                node: NodeId(door.node),
                url: door.url,
            })
            .collect())
    }

    /// The numbers that a node says it holds, in the contract's order.
    pub async fn held(&self, node: NodeId) -> Result<Vec<u64>, CustodyError> {
        let mut numbers = Vec::new();
        loop {
            let call = ChunkStore::heldCall {
                node: node.0,
                from: U256::from(numbers.len()),
                most: U256::from(HELD_PAGE),
            };
            let page = self.ask(LUCID_CHUNK_STORE, call).await?;
            let whole = page.len() as u64 == HELD_PAGE;
            numbers.extend(page);
            if !whole {
                return Ok(numbers);
            }
        }
    }

    /// The questions to a node in the open slot: numbers and leaves. None where it holds nothing or has answered.
    pub async fn challenges(&self, node: NodeId) -> Result<Vec<(u64, u64)>, CustodyError> {
        let call = ChunkStore::challengesCall { node: node.0 };
        let answer = self.ask(LUCID_CHUNK_STORE, call).await?;
        Ok(answer.numbers.into_iter().zip(answer.leaves).collect())
    }

    /// The last slot that a node has answered in, and its credit for it.
    pub async fn proven(&self, node: NodeId) -> Result<Option<(Slot, u64)>, CustodyError> {
        let call = ChunkStore::provenCall { node: node.0 };
        let answer = self.ask(LUCID_CHUNK_STORE, call).await?;
        Ok(answer
            .slot
            .checked_sub(1)
            .map(|slot| (Slot(slot), answer.credit)))
    }

    /// Whether anyone may strike a node off the chunks it says it holds.
    pub async fn is_gone(&self, node: NodeId) -> Result<bool, CustodyError> {
        let silent = self
            .ask(LUCID_CHUNK_STORE, ChunkStore::silentCall { node: node.0 })
            .await?;
        Ok(silent || !self.is_node(node).await?)
    }
}
