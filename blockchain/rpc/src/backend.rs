//! What the methods work on, and the lanes they work in.

use std::sync::Arc;

use alloy_eips::{BlockId as BlockParam, BlockNumberOrTag};
use alloy_primitives::B256;
use lucid_chain_types::{BlockId, Height};
use lucid_ledger::{Ledger, Pool};
use lucid_state::Historic;
use metrics::SharedString;
use tokio::sync::{broadcast, watch};

use crate::blocks::Blocks;
use crate::error::{CallError, CallResult};
use crate::gate::Gate;
use crate::limits::SharedLimits;
use crate::metrics::RPC_REFUSED;
use crate::network::NetworkInfo;
use crate::subscriptions::{NEWS, News};

/// Everything that touches the database or runs the EVM goes through one of these, on a thread that may block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lane {
    /// Takes a core for a while, and may be told to give up.
    Execution,
    /// Looks something up.
    Read,
    /// Takes a transaction: reads must not keep it waiting.
    Submission,
    /// Looks something up in the read model, whose database may be far away, or gone: nothing else waits for it.
    Model,
}

pub(crate) struct Backend {
    pub(crate) ledger: Ledger,
    pub(crate) pool: Pool,
    pub(crate) network: NetworkInfo,
    pub(crate) limits: SharedLimits,
    pub(crate) blocks: Blocks,
    /// New blocks, once for all subscribers.
    pub(crate) news: broadcast::Sender<Arc<News>>,
    heads: watch::Receiver<Height>,
    executions: Arc<Gate>,
    reads: Arc<Gate>,
    submissions: Arc<Gate>,
    models: Arc<Gate>,
}

impl Backend {
    pub(crate) fn new(
        ledger: Ledger,
        pool: Pool,
        network: NetworkInfo,
        limits: SharedLimits,
    ) -> Self {
        Self {
            heads: ledger.watch(),
            blocks: Blocks::new(&ledger),
            ledger,
            pool,
            network,
            limits,
            news: broadcast::channel(NEWS).0,
            executions: Arc::default(),
            reads: Arc::default(),
            submissions: Arc::default(),
            models: Arc::default(),
        }
    }

    /// Waits for a place in the lane and runs `work` there.
    pub(crate) async fn run<T: Send + 'static>(
        self: Arc<Self>,
        lane: Lane,
        work: impl FnOnce(&Self) -> CallResult<T> + Send + 'static,
    ) -> CallResult<T> {
        let limits = self.limits.get();
        let (gate, most, name) = match lane {
            Lane::Execution => (&self.executions, limits.max_executions, "executions"),
            Lane::Read => (&self.reads, limits.max_reads, "reads"),
            Lane::Submission => (&self.submissions, limits.max_submissions, "submissions"),
            Lane::Model => (&self.models, limits.max_model_reads, "read model"),
        };
        let Some(place) = gate.enter(most, limits.patience).await else {
            RPC_REFUSED.add_labelled(1, &[("reason", SharedString::const_str(name))]);
            return Err(CallError::Busy);
        };
        let running = tokio::task::spawn_blocking(move || {
            // Held by the work, not by who waits for it: work that nobody waits for any more still takes a core.
            let _place = place;
            work(&self)
        });
        let outcome = if lane == Lane::Execution {
            let time = limits.execution_time;
            tokio::time::timeout(time, running).await.map_err(|_| {
                CallError::Refused(format!("execution aborted (timeout = {}s)", time.as_secs()))
            })?
        } else {
            running.await
        };
        outcome.map_err(|error| CallError::Internal(error.to_string()))?
    }

    /// The last final block's height.
    pub(crate) fn height(&self) -> Height {
        *self.heads.borrow()
    }

    pub(crate) fn watch(&self) -> watch::Receiver<Height> {
        self.heads.clone()
    }

    /// The height that a parameter names, `None` if there is no such block.
    pub(crate) fn find(&self, block: BlockParam) -> CallResult<Option<Height>> {
        let head = self.height();
        let height = match block {
            BlockParam::Hash(hash) => return self.find_id(hash.block_hash),
            BlockParam::Number(BlockNumberOrTag::Number(number)) => Height(number),
            BlockParam::Number(BlockNumberOrTag::Earliest) => Height::GENESIS,
            // INVARIANT: a block is in the ledger only when it is final, so all of these are one.
            BlockParam::Number(
                BlockNumberOrTag::Latest
                | BlockNumberOrTag::Finalized
                | BlockNumberOrTag::Safe
                | BlockNumberOrTag::Pending,
            ) => head,
        };
        Ok((height <= head).then_some(height))
    }

    /// As [`Self::find`], `None` also for a block from before this node's first.
    pub(crate) fn find_kept(&self, block: BlockParam) -> CallResult<Option<Height>> {
        let kept =
            |height: &Height| *height == Height::GENESIS || *height >= self.ledger.earliest();
        Ok(self.find(block)?.filter(kept))
    }

    pub(crate) fn find_id(&self, hash: B256) -> CallResult<Option<Height>> {
        if hash == self.ledger.genesis_hash() {
            return Ok(Some(Height::GENESIS));
        }
        Ok(self.ledger.height_of(BlockId(hash))?)
    }

    /// As [`Self::find`], for calls that need the block.
    pub(crate) fn resolve(&self, block: BlockParam) -> CallResult<Height> {
        self.find(block)?.ok_or(CallError::UnknownBlock)
    }

    pub(crate) fn state(&self, block: BlockParam) -> CallResult<Historic> {
        let height = self.resolve(block)?;
        Ok(self.ledger.state_at(height)?)
    }
}
