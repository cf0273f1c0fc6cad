//! Transactions that wait, checked against the state at the head.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use alloy_consensus::Transaction as _;
use alloy_primitives::{Address, B256, Bytes};
use lucid_chain_types::Block;
use lucid_execution::{LeftOut, NextBlock, Transaction, TransactionError, decode_all};
use lucid_mempool::{Account, BlockUpdate, Candidate, Limits, Mempool, decode_journal};
use lucid_state::StateReader as _;
use tokio::sync::{broadcast, watch};

use crate::{Ledger, LedgerError, SubmitError};

/// Transactions that arrive and are not taken notice of at once; who falls behind asks for what it missed.
const ARRIVALS: usize = 8_192;

/// How full the pool is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PoolStatus {
    /// Transactions that could be in the next block.
    pub pending: usize,
    /// Transactions that wait for another before them.
    pub queued: usize,
    /// Bytes of both.
    pub bytes: usize,
    /// Transactions refused since the start.
    pub refused: u64,
}

/// A transaction that was taken.
#[derive(Debug, Clone)]
pub struct Arrival {
    /// Its hash.
    pub hash: B256,
    /// Its encoding.
    pub bytes: Bytes,
    /// Whether it came from a user of this node, so that this node has to tell the others.
    pub local: bool,
}

/// The node's mempool. Cheap to clone.
#[derive(Clone)]
pub struct Pool(Arc<Inner>);

struct Inner {
    ledger: Ledger,
    mempool: Mutex<Mempool>,
    arrivals: broadcast::Sender<Arrival>,
    changes: watch::Sender<u64>,
    refused: AtomicU64,
}

impl Pool {
    /// An empty pool over a ledger.
    pub fn new(ledger: Ledger, limits: Limits) -> Self {
        let pool = Self(Arc::new(Inner {
            ledger,
            mempool: Mutex::new(Mempool::new(limits)),
            arrivals: broadcast::channel(ARRIVALS).0,
            changes: watch::channel(0).0,
            refused: AtomicU64::new(0),
        }));
        let NextBlock {
            base_fee,
            gas_limit,
        } = pool.0.ledger.head().next;
        pool.mempool().set_next_block(base_fee, gas_limit);
        pool
    }

    fn mempool(&self) -> MutexGuard<'_, Mempool> {
        self.0
            .mempool
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a transaction, or says why not.
    pub fn submit(&self, bytes: &[u8], local: bool) -> Result<B256, SubmitError> {
        self.take(bytes, local).inspect_err(|_| {
            self.0.refused.fetch_add(1, Ordering::Relaxed);
        })
    }

    fn take(&self, bytes: &[u8], local: bool) -> Result<B256, SubmitError> {
        let ledger = &self.0.ledger;
        let transaction = Transaction::decode(bytes, ledger.genesis().chain_id)?;
        let NextBlock {
            base_fee,
            gas_limit,
        } = self.0.ledger.head().next;
        let wants = transaction.envelope.gas_limit();
        if wants > gas_limit {
            return Err(TransactionError::GasLimit {
                limit: wants,
                block: gas_limit,
            }
            .into());
        }
        let account = self.account(transaction.sender)?;
        let candidate = candidate(&transaction);
        self.mempool()
            .insert(candidate, account, base_fee, now_ms())?;
        // Nobody may be listening; then nobody needs to know.
        let _listeners = self.0.arrivals.send(Arrival {
            hash: transaction.hash,
            bytes: transaction.bytes,
            local,
        });
        self.0
            .changes
            .send_modify(|count| *count = count.wrapping_add(1));
        Ok(transaction.hash)
    }

    fn account(&self, address: Address) -> Result<Account, LedgerError> {
        let account = self
            .0
            .ledger
            .state()
            .latest()?
            .account(address)?
            .unwrap_or_default();
        Ok(Account {
            nonce: account.nonce,
            balance: account.balance,
        })
    }

    /// Transactions for the next block, best first.
    pub fn best(&self, byte_limit: usize) -> Vec<Vec<u8>> {
        let NextBlock {
            base_fee,
            gas_limit,
        } = self.0.ledger.head().next;
        // More than fits: what a transaction may use is more than what it does use.
        let best = self
            .mempool()
            .best(base_fee, gas_limit.saturating_mul(2), byte_limit);
        best.iter()
            .map(|candidate| candidate.bytes.to_vec())
            .collect()
    }

    /// Whether there is anything for the next block.
    pub fn has_ready(&self) -> bool {
        self.mempool().counts().pending > 0
    }

    /// Changes whenever a transaction is taken.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.0.changes.subscribe()
    }

    /// Transactions as they are taken.
    pub fn arrivals(&self) -> broadcast::Receiver<Arrival> {
        self.0.arrivals.subscribe()
    }

    /// Drops what can never be included; what only found no room stays.
    pub fn left_out(&self, list: &[LeftOut]) {
        let mut mempool = self.mempool();
        for left_out in list {
            let gone = match &left_out.reason {
                None
                | Some(
                    TransactionError::NonceTooHigh { .. } | TransactionError::FeeBelowBase { .. },
                ) => false,
                Some(_) => true,
            };
            if gone {
                mempool.remove(left_out.hash);
            }
        }
    }

    /// Takes a committed block into account.
    pub fn on_block(&self, block: &Block) -> Result<(), LedgerError> {
        let state = self.0.ledger.state().latest()?;
        let chain_id = self.0.ledger.genesis().chain_id;
        // Whose nonce or balance has moved against what waits. Others can only have been paid, which is looked at when they send.
        let decoded = decode_all(&block.body.transactions, chain_id);
        let transactions: Vec<Transaction> = decoded.into_iter().flatten().collect();
        let senders: BTreeSet<Address> = transactions.iter().map(|it| it.sender).collect();
        let mut accounts = Vec::with_capacity(senders.len());
        for sender in senders {
            let account = state.account(sender)?.unwrap_or_default();
            accounts.push((
                sender,
                Account {
                    nonce: account.nonce,
                    balance: account.balance,
                },
            ));
        }
        let included: Vec<B256> = transactions.iter().map(|it| it.hash).collect();
        let NextBlock {
            base_fee,
            gas_limit,
        } = self.0.ledger.head().next;
        self.mempool().on_block(BlockUpdate {
            included: &included,
            accounts: &accounts,
            base_fee,
            gas_limit,
            now_ms: now_ms(),
        });
        Ok(())
    }

    /// A transaction that waits.
    pub fn get(&self, hash: B256) -> Option<Bytes> {
        self.mempool()
            .get(hash)
            .map(|candidate| candidate.bytes.clone())
    }

    /// The nonce for an account's next transaction, after those that wait.
    pub fn next_nonce(&self, sender: Address) -> Result<u64, LedgerError> {
        let account = self.account(sender)?;
        Ok(self
            .mempool()
            .nonce_after(sender)
            .unwrap_or(account.nonce)
            .max(account.nonce))
    }

    /// How full it is.
    pub fn status(&self) -> PoolStatus {
        let counts = self.mempool().counts();
        PoolStatus {
            pending: counts.pending,
            queued: counts.queued,
            bytes: counts.bytes,
            refused: self.0.refused.load(Ordering::Relaxed),
        }
    }

    /// Takes new bounds.
    pub fn set_limits(&self, limits: Limits) {
        self.mempool().set_limits(limits);
    }

    /// Everything that waits, to be kept over a restart.
    pub fn export(&self) -> Vec<u8> {
        self.mempool().export()
    }

    /// Takes back what [`Pool::export`] gave; says how many are still good.
    pub fn import(&self, journal: &[u8]) -> Result<usize, lucid_mempool::JournalError> {
        let chain_id = self.0.ledger.genesis().chain_id;
        let entries = decode_journal(journal)?.into_iter().filter_map(|entry| {
            let transaction = Transaction::decode(&entry.bytes, chain_id).ok()?;
            Some((entry.at_ms, candidate(&transaction)))
        });
        let entries = entries.collect();
        let base_fee = self.0.ledger.head().next.base_fee;
        let account = |sender| self.account(sender).ok();
        let restored = self.mempool().import(entries, account, base_fee, now_ms());
        Ok(restored.kept)
    }
}

impl SubmitError {
    /// Whether the transaction can never have been good, so that a peer should not have sent it on.
    pub fn is_forged(&self) -> bool {
        matches!(
            self,
            Self::Invalid(
                TransactionError::Malformed(_)
                    | TransactionError::Signature
                    | TransactionError::TooLarge { .. }
                    | TransactionError::Type(_)
                    | TransactionError::NoChainId
                    | TransactionError::ChainId { .. }
                    | TransactionError::Create
            )
        )
    }
}

fn candidate(transaction: &Transaction) -> Candidate {
    Candidate {
        hash: transaction.hash,
        sender: transaction.sender,
        nonce: transaction.envelope.nonce(),
        gas_limit: transaction.envelope.gas_limit(),
        max_fee: transaction.envelope.max_fee_per_gas(),
        max_priority_fee: transaction.max_priority_fee(),
        cost: transaction.cost(),
        bytes: transaction.bytes.clone(),
    }
}

fn now_ms() -> u64 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
