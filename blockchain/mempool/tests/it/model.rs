//! The pool against a model that keeps one list and computes everything anew, and so has no counters to get wrong.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use alloy_primitives::{Address, B256, U256};
use lucid_mempool::{Account, Candidate, Inserted, Limits, Mempool, Refused, Status};
use proptest::prelude::*;

use crate::support::{BASE_FEE, BLOCK_GAS, GAS, block, priced, sender};

const SENDERS: u64 = 5;
const SIZE: usize = 110;

#[derive(Clone)]
struct Item {
    candidate: Candidate,
    arrival: u64,
    at_ms: u64,
}

struct Model {
    limits: Limits,
    base_fee: u64,
    items: Vec<Item>,
    accounts: BTreeMap<Address, Account>,
    arrivals: u64,
}

impl Model {
    fn line(&self, sender: Address) -> Vec<&Item> {
        let mut line: Vec<&Item> = self
            .items
            .iter()
            .filter(|item| item.candidate.sender == sender)
            .collect();
        line.sort_by_key(|item| item.candidate.nonce);
        line
    }

    fn run(&self, sender: Address) -> Vec<&Item> {
        let first = self.accounts[&sender].nonce;
        (first..)
            .zip(self.line(sender))
            .take_while(|(nonce, item)| *nonce == item.candidate.nonce)
            .map(|(_, item)| item)
            .collect()
    }

    fn ready(&self, sender: Address) -> Vec<&Item> {
        let mut run = self.run(sender);
        let pays = |item: &&Item| item.candidate.max_fee >= u128::from(self.base_fee);
        let end = run.iter().take_while(|item| pays(item)).count();
        run.truncate(end);
        run
    }

    fn queued(&self, sender: Address) -> Vec<&Item> {
        let ready = self.ready(sender).len();
        self.line(sender).split_off(ready)
    }

    fn rank(&self, items: &[&Item]) -> u128 {
        let tips = items.iter().map(|item| item.candidate.tip(self.base_fee));
        tips.min().unwrap_or(u128::MAX)
    }

    fn senders(&self) -> Vec<Address> {
        self.accounts.keys().copied().collect()
    }

    fn bump(fee: u128) -> u128 {
        (fee * 110).div_ceil(100).max(fee + 1)
    }

    /// Nothing where it is refused; what was replaced and evicted else.
    fn insert(
        &mut self,
        candidate: Candidate,
        now: u64,
    ) -> Option<(Status, Option<B256>, Vec<B256>)> {
        let from = candidate.sender;
        let account = self.accounts[&from];
        if self
            .items
            .iter()
            .any(|item| item.candidate.hash == candidate.hash)
            || candidate.max_fee < u128::from(self.base_fee)
            || candidate.nonce < account.nonce
            || candidate.nonce
                > account.nonce + self.run(from).len() as u64 + self.limits.max_nonce_gap
        {
            return None;
        }
        let line = self.line(from);
        let old = line
            .iter()
            .find(|item| item.candidate.nonce == candidate.nonce)
            .map(|item| item.candidate.clone());
        if let Some(old) = &old
            && (candidate.max_fee < Self::bump(old.max_fee)
                || candidate.max_priority_fee < Self::bump(old.max_priority_fee)
                || candidate.tip(self.base_fee) < old.tip(self.base_fee))
        {
            return None;
        }
        let others: U256 = line
            .iter()
            .filter(|item| item.candidate.nonce != candidate.nonce)
            .map(|item| item.candidate.cost)
            .sum();
        if others + candidate.cost > account.balance {
            return None;
        }
        let executable = candidate.nonce <= account.nonce + self.ready(from).len() as u64;

        let mut rest = Self {
            limits: self.limits.clone(),
            base_fee: self.base_fee,
            items: self.items.clone(),
            accounts: self.accounts.clone(),
            arrivals: 0,
        };
        rest.items.retain(|item| {
            item.candidate.sender != from || item.candidate.nonce != candidate.nonce
        });
        let mut evicted = Vec::new();
        let own = rest.items.len()
            - rest
                .items
                .iter()
                .filter(|i| i.candidate.sender != from)
                .count();
        if own + 1 > self.limits.per_sender {
            let last = self.queued(from).last().copied().cloned();
            match last {
                Some(last) if executable && last.candidate.nonce > candidate.nonce => {
                    rest.items
                        .retain(|i| i.candidate.hash != last.candidate.hash);
                    evicted.push(last.candidate.hash);
                }
                _ => return None,
            }
        }
        let own_queued_after = if executable {
            0
        } else {
            rest.line(from).len() + 1 - self.ready(from).len()
        };
        let offer = self
            .line(from)
            .iter()
            .filter(|item| item.candidate.nonce < candidate.nonce)
            .map(|item| item.candidate.tip(self.base_fee))
            .fold(candidate.tip(self.base_fee), u128::min);
        let mut lost = 0;
        loop {
            let everybody: Vec<Address> =
                self.senders().into_iter().filter(|s| *s != from).collect();
            let own_queued = if executable { 0 } else { own_queued_after };
            let all_queued: usize = everybody
                .iter()
                .map(|s| rest.queued(*s).len())
                .sum::<usize>()
                + own_queued;
            let crowded = rest.items.len() + 1 > self.limits.count
                || (!executable && all_queued > self.limits.queued);
            if !crowded {
                break;
            }
            let most = everybody
                .iter()
                .map(|s| (rest.queued(*s).len(), *s))
                .max()
                .unwrap_or_default();
            let floor = if executable { 1 } else { own_queued_after + 1 };
            let victim = if most.0 >= floor {
                rest.queued(most.1).last().copied().cloned()
            } else if executable {
                let lowest = everybody
                    .iter()
                    .filter_map(|s| {
                        let ready = rest.ready(*s);
                        let tail = *ready.last()?;
                        Some((rest.rank(&ready), Reverse(tail.arrival), tail.clone()))
                    })
                    .min_by_key(|(rank, arrival, _)| (*rank, *arrival));
                let (rank, _, tail) = lowest?;
                lost += rank;
                if offer < Self::bump(rank) || offer <= lost {
                    return None;
                }
                Some(tail)
            } else {
                None
            };
            let victim = victim?;
            evicted.push(victim.candidate.hash);
            rest.items
                .retain(|i| i.candidate.hash != victim.candidate.hash);
        }
        self.items = rest.items;
        let nonce = candidate.nonce;
        self.items.push(Item {
            candidate,
            arrival: self.arrivals,
            at_ms: now,
        });
        self.arrivals += 1;
        let end = account.nonce + self.ready(from).len() as u64;
        let status = if nonce < end {
            Status::Pending
        } else {
            Status::Queued
        };
        Some((status, old.map(|old| old.hash), evicted))
    }

    fn cut(&mut self, sender: Address, from: u64) {
        self.items
            .retain(|item| item.candidate.sender != sender || item.candidate.nonce < from);
    }

    fn refresh(&mut self, old_base_fee: u64, now: u64, changed: &[(Address, Account)]) {
        let new_fee = self.base_fee;
        for who in self.senders() {
            self.base_fee = old_base_fee;
            let ready_end = self.accounts[&who].nonce + self.ready(who).len() as u64;
            self.base_fee = new_fee;
            if let Some((_, account)) = changed.iter().find(|(s, _)| *s == who) {
                self.accounts.insert(who, *account);
                self.items.retain(|item| {
                    item.candidate.sender != who || item.candidate.nonce >= account.nonce
                });
                let mut needed = U256::ZERO;
                let mut from = None;
                for item in self.line(who) {
                    needed += item.candidate.cost;
                    if needed > account.balance {
                        from = Some(item.candidate.nonce);
                        break;
                    }
                }
                if let Some(from) = from {
                    self.cut(who, from);
                }
            }
            let old = self.line(who).into_iter().find_map(|item| {
                let nonce = item.candidate.nonce;
                let ttl = if nonce < ready_end {
                    self.limits.ttl_ms
                } else {
                    self.limits.queued_ttl_ms
                };
                (item.at_ms + ttl <= now).then_some(nonce)
            });
            if let Some(nonce) = old {
                self.cut(who, nonce);
            }
        }
    }

    fn best(&self, gas_limit: u64) -> Vec<B256> {
        let mut lines: Vec<Vec<&Item>> = self.senders().iter().map(|s| self.ready(*s)).collect();
        let mut gas = gas_limit;
        let mut chosen = Vec::new();
        loop {
            let head = lines
                .iter_mut()
                .filter(|line| !line.is_empty())
                .max_by_key(|line| {
                    (
                        line[0].candidate.tip(self.base_fee),
                        Reverse(line[0].arrival),
                    )
                });
            let Some(line) = head else {
                break;
            };
            let item = line.remove(0);
            if item.candidate.gas_limit > gas {
                line.clear();
                continue;
            }
            gas -= item.candidate.gas_limit;
            chosen.push(item.candidate.hash);
        }
        chosen
    }
}

#[derive(Debug, Clone)]
enum Step {
    Insert {
        from: u64,
        ahead: u64,
        tip: u128,
        slack: u128,
        value: u64,
    },
    Block {
        take: usize,
        base_fee: u64,
        balance: u64,
    },
    Remove {
        which: usize,
    },
    Wait {
        ms: u64,
    },
}

fn step() -> impl Strategy<Value = Step> {
    let insert = (
        0..SENDERS,
        0_u64..10,
        0_u128..40,
        0_u128..60,
        0_u64..2_000_000,
    );
    prop_oneof![
        12 => insert.prop_map(|(from, ahead, tip, slack, value)| Step::Insert { from, ahead, tip, slack, value }),
        2 => (0_usize..4, 80_u64..140, 0_u64..60_000_000)
            .prop_map(|(take, base_fee, balance)| Step::Block { take, base_fee, balance }),
        1 => (0_usize..64).prop_map(|which| Step::Remove { which }),
        1 => (0_u64..60_000).prop_map(|ms| Step::Wait { ms }),
    ]
}

fn same(pool: &Mempool, model: &Model) -> Result<(), TestCaseError> {
    let counts = pool.counts();
    let pending: usize = model.senders().iter().map(|s| model.ready(*s).len()).sum();
    prop_assert_eq!(counts.pending, pending);
    prop_assert_eq!(counts.pending + counts.queued, model.items.len());
    prop_assert_eq!(counts.bytes, model.items.len() * SIZE);
    prop_assert!(model.items.len() <= model.limits.count);
    for who in model.senders() {
        let line = model.line(who);
        prop_assert!(line.len() <= model.limits.per_sender);
        let cost: U256 = line.iter().map(|item| item.candidate.cost).sum();
        prop_assert!(cost <= model.accounts[&who].balance);
        let ready = model.ready(who).len();
        for (index, item) in line.iter().enumerate() {
            let status = if index < ready {
                Status::Pending
            } else {
                Status::Queued
            };
            prop_assert_eq!(pool.status(item.candidate.hash), Some(status));
        }
        let next =
            (!line.is_empty()).then(|| model.accounts[&who].nonce + model.run(who).len() as u64);
        prop_assert_eq!(pool.nonce_after(who), next);
    }
    for gas in [BLOCK_GAS, 3 * GAS + 5] {
        let best = pool.best(model.base_fee, gas, 1 << 20);
        let best: Vec<B256> = best.iter().map(|c| c.hash).collect();
        prop_assert_eq!(best, model.best(gas));
    }
    Ok(())
}

fn run(steps: Vec<Step>, limits: Limits) -> Result<(), TestCaseError> {
    let mut pool = Mempool::new(limits.clone());
    pool.set_next_block(BASE_FEE, BLOCK_GAS);
    let start = Account {
        nonce: 3,
        balance: U256::from(60_000_000),
    };
    let mut model = Model {
        limits,
        base_fee: BASE_FEE,
        items: Vec::new(),
        accounts: (0..SENDERS).map(|n| (sender(n), start)).collect(),
        arrivals: 0,
    };
    let mut now = 1_000_000;
    for step in steps {
        match step {
            Step::Insert {
                from,
                ahead,
                tip,
                slack,
                value,
            } => {
                let account = model.accounts[&sender(from)];
                let nonce = (account.nonce + ahead).saturating_sub(1);
                let max_fee = u128::from(model.base_fee).saturating_sub(10) + tip + slack;
                let mut candidate = priced(from, nonce, max_fee, tip.min(max_fee), SIZE);
                candidate.cost += U256::from(value);
                let expected = model.insert(candidate.clone(), now);
                let found = pool.insert(candidate, account, model.base_fee, now);
                let found = found.ok().map(
                    |Inserted {
                         status,
                         replaced,
                         evicted,
                         ..
                     }| (status, replaced, evicted),
                );
                prop_assert_eq!(found, expected);
            }
            Step::Block {
                take,
                base_fee,
                balance,
            } => {
                let mut included = pool.best(model.base_fee, BLOCK_GAS, 1 << 20);
                included.truncate(take);
                let mut changed = BTreeMap::new();
                for candidate in &included {
                    let known = model.accounts[&candidate.sender];
                    let account = changed.entry(candidate.sender).or_insert(known);
                    account.nonce += 1;
                    account.balance = U256::from(balance);
                }
                let hashes: Vec<B256> = included.iter().map(|c| c.hash).collect();
                let changed: Vec<(Address, Account)> = changed.into_iter().collect();
                let old = std::mem::replace(&mut model.base_fee, base_fee);
                model.refresh(old, now, &changed);
                let changes = block(&mut pool, &hashes, &changed, base_fee, now);
                prop_assert_eq!(changes.included, hashes.len());
            }
            Step::Remove { which } => {
                if !model.items.is_empty() {
                    let item = model.items[which % model.items.len()].clone();
                    let before = model.items.len();
                    model.cut(item.candidate.sender, item.candidate.nonce);
                    let gone = pool.remove(item.candidate.hash);
                    prop_assert_eq!(gone.len(), before - model.items.len());
                }
            }
            Step::Wait { ms } => {
                now += ms;
                model.refresh(model.base_fee, now, &[]);
                pool.expire(now);
            }
        }
        same(&pool, &model)?;
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn the_pool_does_as_the_model(steps in proptest::collection::vec(step(), 1..80)) {
        let limits = Limits { ttl_ms: 100_000, queued_ttl_ms: 50_000, max_nonce_gap: 4, ..Limits::default() };
        run(steps, limits)?;
    }

    #[test]
    fn a_crowded_pool_does_as_the_model(steps in proptest::collection::vec(step(), 1..80)) {
        let limits = Limits {
            count: 12, queued: 5, per_sender: 5,
            ttl_ms: 100_000, queued_ttl_ms: 50_000, max_nonce_gap: 4,
            ..Limits::default()
        };
        run(steps, limits)?;
    }

    /// Sizes, fees and numbers of any kind: the bounds hold and nothing overflows.
    #[test]
    fn extremes_stay_within_bounds(
        items in proptest::collection::vec((0_u64..4, any::<u64>(), any::<u128>(), any::<u128>(), 0_usize..3000, any::<[u8; 32]>(), any::<u64>()), 1..60),
        balance in any::<[u8; 32]>(),
    ) {
        let limits = Limits { count: 8, bytes: 6_000, queued: 3, queued_bytes: 2_000, per_sender: 4, per_sender_bytes: 4_000, ..Limits::default() };
        let mut pool = Mempool::new(limits.clone());
        for (from, nonce, max_fee, tip, size, cost, base_fee) in items {
            let mut candidate = priced(from, nonce, max_fee, tip, size);
            candidate.cost = U256::from_be_bytes(cost);
            let account = Account { nonce: nonce.saturating_sub(base_fee % 3), balance: U256::from_be_bytes(balance) };
            let _: Result<Inserted, Refused> = pool.insert(candidate, account, base_fee, base_fee);
            let counts = pool.counts();
            prop_assert!(counts.pending + counts.queued <= limits.count);
            prop_assert!(counts.bytes <= limits.bytes);
            prop_assert!(pool.best(base_fee, u64::MAX, usize::MAX).len() <= counts.pending);
        }
    }
}
