//! The pool: admission, eviction, what a block takes and what it changes.

use std::cmp::{Ordering, Reverse};
use std::collections::{BTreeSet, BinaryHeap, HashMap, HashSet};
use std::sync::Arc;

use alloy_primitives::{Address, B256, U256};
use lucid_chain_types::{MAX_BLOCK_TRANSACTIONS, MAX_TRANSACTION_BYTES};

use crate::error::Refused;
use crate::journal::{JournalEntry, encode_journal};
use crate::limits::Limits;
use crate::line::{Asking, Entry, Line};
use crate::{Account, Candidate};

/// Most pending transactions that one newcomer evicts: a bound on the work it causes.
const MAX_EVICTED: usize = 64;
/// No transaction uses less gas.
const LEAST_GAS: u64 = 21_000;
/// What a block's encoding adds to a transaction: its length.
const LENGTH_BYTES: usize = 4;

/// Where a transaction waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// It can be in the next block.
    Pending,
    /// It waits for another transaction or for a lower base fee.
    Queued,
}

/// What an insertion changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Inserted {
    /// Where the transaction waits. Only pending ones are worth gossiping: queued ones cost their sender nothing.
    pub status: Status,
    /// What it took the place of.
    pub replaced: Option<B256>,
    /// What had to go for it.
    pub evicted: Vec<B256>,
    /// Transactions of the same sender that waited for it and are pending now.
    pub promoted: Vec<B256>,
}

/// What the pool has to know of a new block.
#[derive(Debug, Clone, Copy)]
pub struct BlockUpdate<'a> {
    /// Hashes of its transactions.
    pub included: &'a [B256],
    /// Accounts as they are after it: at least those among the pool's senders that it changed.
    pub accounts: &'a [(Address, Account)],
    /// Base fee of the block after it, wei a gas.
    pub base_fee: u64,
    /// Gas limit of the block after it.
    pub gas_limit: u64,
    /// Now, ms since the Unix epoch.
    pub now_ms: u64,
}

/// Why a transaction left the pool without a block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DropReason {
    /// Another transaction used its nonce.
    Superseded,
    /// Its sender's balance is below what all before it and itself cost.
    Unpayable,
    /// It, or one it had to wait for, waited too long.
    Expired,
    /// The bounds became smaller.
    Evicted,
}

/// A transaction that left the pool without a block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Dropped {
    /// Which.
    pub hash: B256,
    /// Why.
    pub reason: DropReason,
}

/// What a block or time changed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Changes {
    /// How many of the block's transactions were here.
    pub included: usize,
    /// What left otherwise.
    pub dropped: Vec<Dropped>,
    /// What is pending now and was queued.
    pub promoted: Vec<B256>,
}

/// What an import brought.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Restored {
    /// How many are in the pool again.
    pub kept: usize,
    /// How many waited too long.
    pub expired: usize,
    /// How many were refused, most of them because a block has them.
    pub refused: usize,
}

/// How full the pool is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Pending transactions.
    pub pending: usize,
    /// Queued transactions.
    pub queued: usize,
    /// Bytes of all.
    pub bytes: usize,
    /// Senders.
    pub senders: usize,
}

/// A transaction in the pool.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Waiting {
    /// Where it waits.
    pub status: Status,
    /// When it came, ms since the Unix epoch.
    pub at_ms: u64,
    /// The transaction.
    pub candidate: Arc<Candidate>,
}

/// Transactions that wait for a block.
///
/// INVARIANT: `by_hash`, the totals and the two orders describe exactly the lines in `lines`. A line is changed only between
/// [`Mempool::detach`] and [`Mempool::attach`].
#[derive(Debug)]
pub struct Mempool {
    limits: Limits,
    asking: Asking,
    lines: HashMap<Address, Line>,
    by_hash: HashMap<B256, Arc<Candidate>>,
    /// Who is evicted first: lowest rank, then the tail that came last.
    tails: BTreeSet<Tail>,
    /// Who has how many queued.
    queues: BTreeSet<(usize, Address)>,
    total: Total,
    /// Arrivals so far.
    arrivals: u64,
}

type Tail = (u128, Reverse<u64>, Address);

#[derive(Debug, Clone, Copy, Default)]
struct Total {
    count: usize,
    bytes: usize,
    pending: usize,
    pending_bytes: usize,
}

/// What has to be freed.
#[derive(Debug, Clone, Copy)]
struct Need {
    count: usize,
    bytes: usize,
}

impl Need {
    const fn is_met(self) -> bool {
        self.count == 0 && self.bytes == 0
    }

    fn free(&mut self, entry: &Entry) {
        self.count = self.count.saturating_sub(1);
        self.bytes = self.bytes.saturating_sub(entry.candidate.bytes.len());
    }
}

/// What an insertion will do.
struct Plan {
    /// Nonces of the sender's own that go.
    own: Vec<u64>,
    /// What goes of others.
    victims: Vec<(Address, u64)>,
}

/// What a newcomer offers for room.
#[derive(Clone, Copy)]
struct Offer {
    rank: u128,
    weight: u128,
}

impl Mempool {
    /// An empty pool. Until [`Mempool::set_next_block`] or [`Mempool::on_block`] any gas limit is taken to fit a block.
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        Self {
            limits,
            asking: Asking {
                base_fee: 0,
                gas_limit: u64::MAX,
            },
            lines: HashMap::new(),
            by_hash: HashMap::new(),
            tails: BTreeSet::new(),
            queues: BTreeSet::new(),
            total: Total::default(),
            arrivals: 0,
        }
    }

    /// Takes a transaction in. `account` is its sender's as of the newest block, `base_fee` the next block's.
    ///
    /// Nothing changes where it is refused.
    pub fn insert(
        &mut self,
        candidate: Candidate,
        account: Account,
        base_fee: u64,
        now_ms: u64,
    ) -> Result<Inserted, Refused> {
        if base_fee != self.asking.base_fee {
            self.set_next_block(base_fee, self.asking.gas_limit);
        }
        let arrival = self.arrivals;
        let inserted = self.admit(candidate, account, arrival, now_ms)?;
        self.arrivals += 1;
        Ok(inserted)
    }

    /// What the next block asks of transactions. `on_block` does it too; this is for the start.
    pub fn set_next_block(&mut self, base_fee: u64, gas_limit: u64) {
        self.asking = Asking {
            base_fee,
            gas_limit,
        };
        let asking = self.asking;
        for line in self.lines.values_mut() {
            line.settle(asking);
        }
        self.recount();
    }

    fn admit(
        &mut self,
        candidate: Candidate,
        account: Account,
        arrival: u64,
        at_ms: u64,
    ) -> Result<Inserted, Refused> {
        self.check_alone(&candidate)?;
        let sender = candidate.sender;
        let mut line = self.detach(sender).unwrap_or_else(|| Line::new(account));
        self.follow(&mut line, account);
        let plan = match self.plan(&line, &candidate) {
            Ok(plan) => plan,
            Err(refused) => {
                self.attach(sender, line);
                return Err(refused);
            }
        };

        let mut evicted = Vec::new();
        for nonce in &plan.own {
            if let Some(entry) = line.take(*nonce) {
                self.forget(&entry);
                evicted.push(entry.candidate.hash);
            }
        }
        if !plan.own.is_empty() {
            line.settle(self.asking);
        }
        let candidate = Arc::new(candidate);
        let nonce = candidate.nonce;
        let ready_before = line.pending_end();
        self.by_hash.insert(candidate.hash, Arc::clone(&candidate));
        let entry = Entry {
            candidate,
            arrival,
            at_ms,
        };
        let replaced = line.put(entry, self.asking).map(|old| {
            self.forget(&old);
            old.candidate.hash
        });
        let status = status_of(&line, nonce);
        let promoted = promoted(&line, ready_before)
            .filter(|entry| entry.candidate.nonce != nonce)
            .map(|entry| entry.candidate.hash)
            .collect();
        self.attach(sender, line);
        for (victim, nonce) in plan.victims {
            evicted.extend(self.evict(victim, nonce));
        }
        Ok(Inserted {
            status,
            replaced,
            evicted,
            promoted,
        })
    }

    /// What can be said of a transaction without its sender.
    fn check_alone(&self, candidate: &Candidate) -> Result<(), Refused> {
        if self.by_hash.contains_key(&candidate.hash) {
            return Err(Refused::Known(candidate.hash));
        }
        if candidate.bytes.len() > MAX_TRANSACTION_BYTES {
            return Err(Refused::TooLarge {
                bytes: candidate.bytes.len(),
                limit: MAX_TRANSACTION_BYTES,
            });
        }
        // One that no block has room for would hold its place for nothing.
        if candidate.gas_limit > self.asking.gas_limit {
            return Err(Refused::GasAboveBlock {
                gas: candidate.gas_limit,
                limit: self.asking.gas_limit,
            });
        }
        if candidate.max_priority_fee > candidate.max_fee {
            return Err(Refused::TipAboveFee {
                max_priority_fee: candidate.max_priority_fee,
                max_fee: candidate.max_fee,
            });
        }
        if candidate.max_fee < u128::from(self.asking.base_fee) {
            return Err(Refused::BelowBaseFee {
                max_fee: candidate.max_fee,
                base_fee: self.asking.base_fee,
            });
        }
        if candidate.nonce == u64::MAX {
            return Err(Refused::NonceAtMaximum(candidate.nonce));
        }
        Ok(())
    }

    /// Brings a detached line up to its account. A state from before the last block, which a caller may have read while the
    /// block came, is passed over.
    fn follow(&mut self, line: &mut Line, account: Account) {
        if account.nonce < line.account.nonce || account == line.account {
            return;
        }
        let moved = account.nonce != line.account.nonce;
        line.account = account;
        if moved {
            for entry in line.prune() {
                self.forget(&entry);
            }
            line.settle(self.asking);
        }
    }

    /// Decides on a transaction beside its sender's others (the detached `line`) and everybody's (the rest of the pool).
    fn plan(&self, line: &Line, candidate: &Candidate) -> Result<Plan, Refused> {
        let nonce = candidate.nonce;
        if nonce < line.account.nonce {
            return Err(Refused::NonceTooLow {
                sender: candidate.sender,
                nonce,
                next: line.account.nonce,
            });
        }
        let missing = line.missing();
        if nonce > missing.saturating_add(self.limits.max_nonce_gap) {
            return Err(Refused::NonceGap {
                nonce,
                missing,
                gap: self.limits.max_nonce_gap,
            });
        }
        let replaced = line.entries.get(&nonce);
        let (old_count, old_bytes, old_cost) = match replaced {
            Some(old) => {
                self.check_replacement(&old.candidate, candidate)?;
                (1, old.candidate.bytes.len(), old.candidate.cost)
            }
            None => (0, 0, U256::ZERO),
        };
        let needed = line
            .cost
            .saturating_sub(old_cost)
            .saturating_add(candidate.cost);
        if needed > line.account.balance {
            return Err(Refused::InsufficientFunds {
                sender: candidate.sender,
                balance: line.account.balance,
                needed,
            });
        }

        let executable = nonce <= line.pending_end();
        let mut count = line.entries.len() + 1 - old_count;
        let mut bytes = line.bytes + candidate.bytes.len() - old_bytes;
        let fits = |count: usize, bytes: usize| {
            count <= self.limits.per_sender && bytes <= self.limits.per_sender_bytes
        };
        let mut own = Vec::new();
        if executable {
            for entry in line.waiting().rev() {
                if fits(count, bytes) || entry.candidate.nonce <= nonce {
                    break;
                }
                own.push(entry.candidate.nonce);
                count -= 1;
                bytes -= entry.candidate.bytes.len();
            }
        }
        if !fits(count, bytes) {
            return Err(Refused::SenderFull {
                sender: candidate.sender,
                count: line.entries.len(),
                bytes: line.bytes,
            });
        }

        // The totals are without the detached line.
        let mut need = Need {
            count: (self.total.count + count).saturating_sub(self.limits.count),
            bytes: (self.total.bytes + bytes).saturating_sub(self.limits.bytes),
        };
        let victims = if executable {
            let mut victims = self.queue_victims(&mut need, 1);
            if !need.is_met() {
                let offer = Offer {
                    rank: line
                        .rank_below(nonce, self.asking.base_fee)
                        .min(candidate.tip(self.asking.base_fee)),
                    weight: candidate.weight(),
                };
                self.tail_victims(&mut need, Some(offer), &mut victims)?;
            }
            victims
        } else {
            let queued = count - line.pending;
            let queued_bytes = bytes - line.pending_bytes;
            let all_queued = self.total.count - self.total.pending + queued;
            let all_queued_bytes = self.total.bytes - self.total.pending_bytes + queued_bytes;
            need.count = need
                .count
                .max(all_queued.saturating_sub(self.limits.queued));
            need.bytes = need
                .bytes
                .max(all_queued_bytes.saturating_sub(self.limits.queued_bytes));
            // Only from those who have more queued than the sender then has: two cannot push each other out in turns.
            let victims = self.queue_victims(&mut need, queued + 1);
            if !need.is_met() {
                return Err(Refused::QueueFull);
            }
            victims
        };
        Ok(Plan { own, victims })
    }

    /// A replacement pays more for a gas and not less in all: a small one in the place of a large one that made room for
    /// itself would get that room cheaply.
    fn check_replacement(&self, old: &Candidate, new: &Candidate) -> Result<(), Refused> {
        let base_fee = self.asking.base_fee;
        let max_fee = self.limits.bumped(old.max_fee);
        let paid_before = product(old.weight(), old.tip(base_fee));
        let paid = product(new.weight(), new.tip(base_fee));
        let tip = self.limits.bumped(old.max_priority_fee);
        if new.max_fee >= max_fee && new.max_priority_fee >= tip && paid >= paid_before {
            return Ok(());
        }
        let by_size = old
            .tip(base_fee)
            .saturating_mul(old.weight())
            .div_ceil(new.weight());
        let tip = tip.max(by_size);
        Err(Refused::Underpriced {
            replaces: old.hash,
            max_fee: max_fee.max(tip.saturating_add(u128::from(base_fee))),
            max_priority_fee: tip,
        })
    }

    /// Queued transactions to evict: each time the last of who has most, as long as that is at least `floor`.
    fn queue_victims(&self, need: &mut Need, floor: usize) -> Vec<(Address, u64)> {
        let mut victims = Vec::new();
        let mut untouched = self.queues.iter().rev().copied().peekable();
        let mut touched: BTreeSet<(usize, Address)> = BTreeSet::new();
        while !need.is_met() {
            let most = if touched.last() > untouched.peek() {
                touched.pop_last()
            } else {
                untouched.next()
            };
            let Some((count, sender)) = most.filter(|(count, _)| *count >= floor) else {
                break;
            };
            let Some((line, entry)) = self.lines.get(&sender).and_then(|line| {
                let entry = line.waiting().rev().nth(line.queued() - count)?;
                Some((line, entry))
            }) else {
                break;
            };
            debug_assert!(count <= line.queued());
            victims.push((sender, entry.candidate.nonce));
            need.free(entry);
            if count > 1 {
                touched.insert((count - 1, sender));
            }
        }
        victims
    }

    /// Pending transactions to evict: each time the tail of the lowest rank. With an offer only while it is worth it.
    fn tail_victims(
        &self,
        need: &mut Need,
        offer: Option<Offer>,
        victims: &mut Vec<(Address, u64)>,
    ) -> Result<(), Refused> {
        let base_fee = self.asking.base_fee;
        let mut untouched = self.tails.iter().copied().peekable();
        let mut touched: BTreeSet<Tail> = BTreeSet::new();
        let mut taken: HashMap<Address, usize> = HashMap::new();
        let mut lost = U256::ZERO;
        let mut evicted = 0;
        while !need.is_met() {
            let lowest = match (touched.first(), untouched.peek()) {
                (Some(a), Some(b)) if a < b => touched.pop_first(),
                (Some(_), None) => touched.pop_first(),
                _ => untouched.next(),
            };
            let Some((rank, _, sender)) = lowest else {
                return Err(Refused::Full { tip: u128::MAX });
            };
            let Some(line) = self.lines.get(&sender) else {
                return Err(Refused::Full { tip: rank });
            };
            let gone = taken.entry(sender).or_default();
            let mut rest = line.ready().rev().skip(*gone);
            let Some(entry) = rest.next() else {
                return Err(Refused::Full { tip: rank });
            };
            if let Some(offer) = offer {
                lost = lost.saturating_add(product(entry.candidate.weight(), rank));
                evicted += 1;
                let outranked = offer.rank >= self.limits.bumped(rank);
                let outpaid = product(offer.weight, offer.rank) > lost;
                if !outranked || !outpaid || evicted > MAX_EVICTED {
                    return Err(Refused::Full { tip: rank });
                }
            }
            victims.push((sender, entry.candidate.nonce));
            need.free(entry);
            *gone += 1;
            if let Some(tail) = rest.next() {
                let rank = line.rank_below(entry.candidate.nonce, base_fee);
                touched.insert((rank, Reverse(tail.arrival), sender));
            }
        }
        Ok(())
    }

    /// Transactions for a block, in an order it can have them: by tip, each sender's by nonce; of equal tips the one that came
    /// first, then the smaller hash. They fit the gas and the bytes.
    #[must_use]
    pub fn best(&self, base_fee: u64, gas_limit: u64, byte_limit: usize) -> Vec<Arc<Candidate>> {
        let asking = Asking {
            base_fee,
            gas_limit,
        };
        let heads: Vec<Head<'_>> = self
            .lines
            .values()
            .filter(|line| line.pending > 0)
            .filter_map(|line| Head::next(line.entries.values().take(line.pending), asking))
            .collect();
        let mut heads = BinaryHeap::from(heads);
        let mut chosen = Vec::new();
        let mut gas = gas_limit;
        let mut bytes = byte_limit;
        while let Some(head) = heads.pop() {
            let candidate = &head.entry.candidate;
            let size = candidate.bytes.len() + LENGTH_BYTES;
            if candidate.gas_limit > gas || size > bytes {
                // Its sender's others cannot go before it; those of other senders may still fit.
                continue;
            }
            gas -= candidate.gas_limit;
            bytes -= size;
            chosen.push(Arc::clone(candidate));
            if gas < LEAST_GAS || bytes == 0 || chosen.len() >= MAX_BLOCK_TRANSACTIONS {
                break;
            }
            heads.extend(Head::next(head.rest, asking));
        }
        chosen
    }

    /// Follows a block: what is in it leaves, accounts are looked at again, what is too old goes, what waited for one of these
    /// becomes pending.
    pub fn on_block(&mut self, block: BlockUpdate<'_>) -> Changes {
        self.asking = Asking {
            base_fee: block.base_fee,
            gas_limit: block.gas_limit,
        };
        let mut accounts: HashMap<Address, Account> = block.accounts.iter().copied().collect();
        let included: HashSet<B256> = block.included.iter().copied().collect();
        for candidate in included.iter().filter_map(|hash| self.by_hash.get(hash)) {
            let Some(line) = self.lines.get(&candidate.sender) else {
                continue;
            };
            // A caller that names no account for it: the nonce at least is known.
            let account = accounts.entry(candidate.sender).or_insert(line.account);
            account.nonce = account.nonce.max(candidate.nonce.saturating_add(1));
        }
        let mut changes = Changes::default();
        self.refresh(block.now_ms, &accounts, &included, &mut changes);
        changes
    }

    /// Drops what waited too long. `on_block` does it too; an idle chain needs this from time to time.
    pub fn expire(&mut self, now_ms: u64) -> Vec<Dropped> {
        let mut changes = Changes::default();
        self.refresh(now_ms, &HashMap::new(), &HashSet::new(), &mut changes);
        changes.dropped
    }

    fn refresh(
        &mut self,
        now_ms: u64,
        accounts: &HashMap<Address, Account>,
        included: &HashSet<B256>,
        changes: &mut Changes,
    ) {
        let asking = self.asking;
        let limits = &self.limits;
        let by_hash = &mut self.by_hash;
        self.lines.retain(|sender, line| {
            let ready_before = line.pending_end();
            let mut drop = |entries: Vec<Entry>, reason: DropReason| {
                for entry in entries {
                    let hash = entry.candidate.hash;
                    by_hash.remove(&hash);
                    if reason == DropReason::Superseded && included.contains(&hash) {
                        changes.included += 1;
                    } else {
                        changes.dropped.push(Dropped { hash, reason });
                    }
                }
            };
            if let Some(&account) = accounts.get(sender)
                && account.nonce >= line.account.nonce
            {
                line.account = account;
                drop(line.prune(), DropReason::Superseded);
                if let Some(nonce) = line.unpayable() {
                    drop(line.cut(nonce), DropReason::Unpayable);
                }
            }
            let too_old = line.entries.iter().find_map(|(&nonce, entry)| {
                let ttl = if nonce < ready_before {
                    limits.ttl_ms
                } else {
                    limits.queued_ttl_ms
                };
                (entry.at_ms.saturating_add(ttl) <= now_ms).then_some(nonce)
            });
            if let Some(nonce) = too_old {
                drop(line.cut(nonce), DropReason::Expired);
            }
            line.settle(asking);
            let newly = promoted(line, ready_before).map(|entry| entry.candidate.hash);
            changes.promoted.extend(newly);
            !line.entries.is_empty()
        });
        // Hash maps have no order of their own; what is reported has one.
        changes.dropped.sort_unstable_by_key(|dropped| dropped.hash);
        changes.promoted.sort_unstable();
        self.recount();
    }

    /// Takes a transaction out, and with it all of its sender's after it. For those that a block's maker found it cannot run.
    pub fn remove(&mut self, hash: B256) -> Vec<B256> {
        let Some(candidate) = self.by_hash.get(&hash).map(Arc::clone) else {
            return Vec::new();
        };
        let Some(mut line) = self.detach(candidate.sender) else {
            return Vec::new();
        };
        let mut gone = Vec::new();
        for entry in line.cut(candidate.nonce) {
            self.forget(&entry);
            gone.push(entry.candidate.hash);
        }
        line.settle(self.asking);
        self.attach(candidate.sender, line);
        gone
    }

    /// Changes the bounds, and evicts what is beyond the ones for the whole pool. A sender above a smaller bound of its own keeps
    /// what it has and gets no more in.
    pub fn set_limits(&mut self, limits: Limits) -> Vec<Dropped> {
        self.limits = limits;
        let mut need = Need {
            count: self.total.count.saturating_sub(self.limits.count),
            bytes: self.total.bytes.saturating_sub(self.limits.bytes),
        };
        let mut victims = self.queue_victims(&mut need, 1);
        let emptied = self.tail_victims(&mut need, None, &mut victims);
        debug_assert!(emptied.is_ok(), "an empty pool is within any bounds");
        victims
            .into_iter()
            .filter_map(|(sender, nonce)| self.evict(sender, nonce))
            .map(|hash| Dropped {
                hash,
                reason: DropReason::Evicted,
            })
            .collect()
    }

    /// Empties the pool.
    pub fn clear(&mut self) {
        self.lines.clear();
        self.by_hash.clear();
        self.recount();
    }

    /// A transaction that waits.
    #[must_use]
    pub fn get(&self, hash: B256) -> Option<Arc<Candidate>> {
        self.by_hash.get(&hash).map(Arc::clone)
    }

    /// Whether a transaction waits, and where.
    #[must_use]
    pub fn status(&self, hash: B256) -> Option<Status> {
        let candidate = self.by_hash.get(&hash)?;
        let line = self.lines.get(&candidate.sender)?;
        Some(status_of(line, candidate.nonce))
    }

    /// The first nonce of a sender with transactions here that none of them has.
    #[must_use]
    pub fn nonce_after(&self, sender: Address) -> Option<u64> {
        self.lines.get(&sender).map(Line::missing)
    }

    /// Who has transactions here, in no order.
    pub fn senders(&self) -> impl Iterator<Item = Address> {
        self.lines.keys().copied()
    }

    /// How full the pool is.
    #[must_use]
    pub fn counts(&self) -> Counts {
        Counts {
            pending: self.total.pending,
            queued: self.total.count - self.total.pending,
            bytes: self.total.bytes,
            senders: self.lines.len(),
        }
    }

    /// The bounds.
    #[must_use]
    pub const fn limits(&self) -> &Limits {
        &self.limits
    }

    /// Up to `limit` transactions, by sender and nonce.
    #[must_use]
    pub fn content(&self, limit: usize) -> Vec<Waiting> {
        let mut lines: Vec<(&Address, &Line)> = self.lines.iter().collect();
        lines.sort_unstable_by_key(|(sender, _)| **sender);
        lines
            .into_iter()
            .flat_map(|(_, line)| line.entries.values().map(move |entry| (line, entry)))
            .take(limit)
            .map(|(line, entry)| Waiting {
                status: status_of(line, entry.candidate.nonce),
                at_ms: entry.at_ms,
                candidate: Arc::clone(&entry.candidate),
            })
            .collect()
    }

    /// The journal's bytes ([`crate::decode_journal`] reads them).
    #[must_use]
    pub fn export(&self) -> Vec<u8> {
        let mut entries: Vec<&Entry> = self
            .lines
            .values()
            .flat_map(|line| line.entries.values())
            .collect();
        entries.sort_unstable_by_key(|entry| entry.arrival);
        let entries: Vec<JournalEntry> = entries
            .into_iter()
            .map(|entry| JournalEntry {
                at_ms: entry.at_ms,
                bytes: entry.candidate.bytes.to_vec(),
            })
            .collect();
        encode_journal(&entries)
    }

    /// Takes in what a journal held, decoded anew and in its order, each with the time it first came.
    pub fn import(
        &mut self,
        entries: Vec<(u64, Candidate)>,
        account: impl Fn(Address) -> Option<Account>,
        base_fee: u64,
        now_ms: u64,
    ) -> Restored {
        if base_fee != self.asking.base_fee {
            self.set_next_block(base_fee, self.asking.gas_limit);
        }
        let mut entries: Vec<(u64, (u64, Candidate))> = (self.arrivals..).zip(entries).collect();
        self.arrivals += entries.len() as u64;
        // A replacement came after its successors; the gap rule wants it before them.
        entries.sort_by_key(|(_, (_, candidate))| candidate.nonce);
        let mut restored = Restored::default();
        for (arrival, (at_ms, candidate)) in entries {
            // A clock that was set back must not make anything immortal.
            let at_ms = at_ms.min(now_ms);
            if at_ms.saturating_add(self.limits.ttl_ms) <= now_ms {
                restored.expired += 1;
                continue;
            }
            let kept = account(candidate.sender)
                .is_some_and(|account| self.admit(candidate, account, arrival, at_ms).is_ok());
            if kept {
                restored.kept += 1;
            } else {
                restored.refused += 1;
            }
        }
        restored
    }

    fn forget(&mut self, entry: &Entry) {
        self.by_hash.remove(&entry.candidate.hash);
    }

    fn evict(&mut self, sender: Address, nonce: u64) -> Option<B256> {
        let mut line = self.detach(sender)?;
        let entry = line.take(nonce);
        if let Some(entry) = &entry {
            self.forget(entry);
        }
        line.settle(self.asking);
        self.attach(sender, line);
        entry.map(|entry| entry.candidate.hash)
    }

    /// Takes a line out of the pool's sums and orders.
    fn detach(&mut self, sender: Address) -> Option<Line> {
        let line = self.lines.remove(&sender)?;
        self.total.count -= line.entries.len();
        self.total.bytes -= line.bytes;
        self.total.pending -= line.pending;
        self.total.pending_bytes -= line.pending_bytes;
        if let Some(tail) = tail_of(&line, sender) {
            self.tails.remove(&tail);
        }
        if line.queued() > 0 {
            self.queues.remove(&(line.queued(), sender));
        }
        Some(line)
    }

    /// Puts a line into the pool's sums and orders. An empty one goes.
    fn attach(&mut self, sender: Address, line: Line) {
        if line.entries.is_empty() {
            return;
        }
        self.count(sender, &line);
        self.lines.insert(sender, line);
    }

    fn count(&mut self, sender: Address, line: &Line) {
        self.total.count += line.entries.len();
        self.total.bytes += line.bytes;
        self.total.pending += line.pending;
        self.total.pending_bytes += line.pending_bytes;
        self.tails.extend(tail_of(line, sender));
        if line.queued() > 0 {
            self.queues.insert((line.queued(), sender));
        }
    }

    /// Makes the sums and orders anew, after every line may have changed.
    fn recount(&mut self) {
        self.total = Total::default();
        self.tails.clear();
        self.queues.clear();
        let lines = std::mem::take(&mut self.lines);
        for (sender, line) in &lines {
            self.count(*sender, line);
        }
        self.lines = lines;
    }
}

/// A sender's next transaction for a block.
struct Head<'a> {
    tip: u128,
    entry: &'a Entry,
    rest: Rest<'a>,
}

type Rest<'a> = std::iter::Take<std::collections::btree_map::Values<'a, u64, Entry>>;

impl<'a> Head<'a> {
    fn next(mut rest: Rest<'a>, asking: Asking) -> Option<Self> {
        let entry = rest.next()?;
        asking.met_by(&entry.candidate).then(|| Self {
            tip: entry.candidate.tip(asking.base_fee),
            entry,
            rest,
        })
    }
}

impl Ord for Head<'_> {
    fn cmp(&self, other: &Self) -> Ordering {
        self.tip
            .cmp(&other.tip)
            .then_with(|| other.entry.arrival.cmp(&self.entry.arrival))
            .then_with(|| other.entry.candidate.hash.cmp(&self.entry.candidate.hash))
    }
}

impl PartialOrd for Head<'_> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Head<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Head<'_> {}

fn tail_of(line: &Line, sender: Address) -> Option<Tail> {
    let tail = line.ready().next_back()?;
    Some((line.rank, Reverse(tail.arrival), sender))
}

fn status_of(line: &Line, nonce: u64) -> Status {
    if nonce < line.pending_end() {
        Status::Pending
    } else {
        Status::Queued
    }
}

/// Pending entries that were not when the pending ones ended at `before`.
fn promoted(line: &Line, before: u64) -> impl Iterator<Item = &Entry> {
    let end = line.pending_end();
    line.entries.range(before.min(end)..end).map(|(_, e)| e)
}

fn product(weight: u128, tip: u128) -> U256 {
    U256::from(weight).saturating_mul(U256::from(tip))
}
