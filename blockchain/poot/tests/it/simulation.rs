//! Weeks of slots with crashing nodes, as the chain runs them: blocks, rounds, seals and a tally like that of WorkCredits.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use alloy_primitives::{B256, keccak256};
use lucid_chain_types::{
    NodeId, PROPOSAL_TIMEOUT_MS, SLOT_MS, Slot, WINDOW_SLOTS, quorum, seals, slot_of,
};
use lucid_poot::{
    LeadReason, LeaderRecord, Standing, Work, cool_down, demote, in_cooldown, missed, order_after,
    proposer,
};

use crate::{node, nodes};

const GENESIS_MS: u64 = 1_800_000_000_000;

/// Random numbers from a seed.
struct Random(B256);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = keccak256(self.0);
        u64::from_be_bytes(self.0[..8].try_into().unwrap())
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }
}

struct Node {
    up: bool,
    standing: Standing,
    /// Work and timeouts of each slot of the window.
    window: VecDeque<(Slot, Work, u64)>,
}

impl Node {
    fn now(&mut self, slot: Slot) -> &mut (Slot, Work, u64) {
        if self.window.back().is_none_or(|last| last.0 != slot) {
            self.window.push_back((slot, Work::default(), 0));
        }
        self.window.back_mut().unwrap()
    }
}

/// How a simulated chain behaves.
#[derive(Clone, Copy)]
struct Setting {
    nodes: usize,
    slots: u64,
    /// Chance in a thousand, at each block, that a node that is up goes down, and that one that is down comes back.
    crash: u64,
    recover: u64,
    /// Most nodes down at once.
    most_down: usize,
    /// Whether the chain sometimes stands for hours.
    stalls: bool,
}

struct Simulation {
    setting: Setting,
    random: Random,
    time_ms: u64,
    slot: Slot,
    nodes: Vec<Node>,
    /// The order the open slot began with, and the one of now.
    opened: Vec<NodeId>,
    order: Vec<NodeId>,
    next: Vec<NodeId>,
    missed: BTreeSet<NodeId>,
    seals_ms: Vec<u64>,
    records: Vec<LeaderRecord>,
}

impl Simulation {
    fn new(setting: Setting, seed: u64) -> Self {
        let nodes_ = (0..setting.nodes)
            .map(|index| Node {
                up: true,
                standing: Standing {
                    node: node(index),
                    ..Standing::default()
                },
                window: VecDeque::new(),
            })
            .collect();
        let order = nodes(setting.nodes);
        Self {
            setting,
            random: Random(B256::left_padding_from(&seed.to_be_bytes())),
            time_ms: GENESIS_MS,
            slot: Slot(0),
            nodes: nodes_,
            opened: order.clone(),
            order: order.clone(),
            next: order,
            missed: BTreeSet::new(),
            seals_ms: vec![],
            records: vec![],
        }
    }

    fn node(&mut self, id: NodeId) -> &mut Node {
        self.nodes
            .iter_mut()
            .find(|node| node.standing.node == id)
            .unwrap()
    }

    fn crash_and_recover(&mut self) {
        let mut down = self.nodes.iter().filter(|node| !node.up).count();
        for index in 0..self.nodes.len() {
            let dice = self.random.below(1_000);
            let node = &mut self.nodes[index];
            if node.up && dice < self.setting.crash && down < self.setting.most_down {
                (node.up, down) = (false, down + 1);
            } else if !node.up && dice < self.setting.recover {
                (node.up, down) = (true, down - 1);
            }
        }
    }

    /// Until the next block is due: soon where there is traffic, else at the slot's end.
    fn wait(&mut self) {
        let end = GENESIS_MS + (self.slot.0 + 1) * SLOT_MS;
        let gap = match self.random.below(10) {
            0 if self.setting.stalls && self.random.below(50) == 0 => {
                self.random.below(4 * 3_600_000)
            }
            0..4 => 1_000 + self.random.below(40_000),
            _ => end.saturating_sub(self.time_ms),
        };
        self.time_ms += gap.max(1_000);
    }

    fn block(&mut self) {
        self.wait();
        let mut round = 0;
        loop {
            self.crash_and_recover();
            let up = self.nodes.iter().filter(|node| node.up).count();
            let leader = proposer(&self.order, round).unwrap();
            if up < quorum(self.nodes.len()) {
                // Nothing is decided, rounds are not counted: nobody gets past a round without a quorum.
                self.time_ms += 1_000;
            } else if self.node(leader).up {
                self.decide(round, leader);
                return;
            } else {
                self.time_ms += PROPOSAL_TIMEOUT_MS;
                round += 1;
            }
        }
    }

    fn decide(&mut self, round: u32, leader: NodeId) {
        let slot = self.slot;
        assert_eq!(
            slot_of(GENESIS_MS, self.time_ms).max(slot),
            slot_of(GENESIS_MS, self.time_ms)
        );
        for id in missed(&self.order, round) {
            self.missed.insert(id);
            self.node(id).now(slot).2 += 1;
        }
        self.order = demote(&self.order, round as usize);
        for node in self.nodes.iter_mut().filter(|node| node.up) {
            let (_, work, _) = node.now(slot);
            work.validation += 1;
            work.uptime = 1;
        }
        if seals(GENESIS_MS, slot, self.time_ms) {
            self.seal(leader);
        }
    }

    fn seal(&mut self, winner: NodeId) {
        let slot = self.slot;
        self.check_cooldown(winner);
        let next_slot = slot_of(GENESIS_MS, self.time_ms).max(Slot(slot.0 + 1));
        self.seals_ms.push(self.time_ms - GENESIS_MS);
        self.records
            .push(LeaderRecord::new(slot, &self.opened, winner, next_slot).unwrap());

        let mut entered: Vec<NodeId> = self.missed.iter().copied().collect();
        entered.push(winner);
        for id in &entered {
            self.node(*id).standing.last_led = Some(slot);
        }
        for Node {
            standing, window, ..
        } in &mut self.nodes
        {
            while window
                .front()
                .is_some_and(|first| first.0.0 + WINDOW_SLOTS <= slot.0)
            {
                let (_, work, timeouts) = window.pop_front().unwrap();
                standing.work.validation -= work.validation;
                standing.work.uptime -= work.uptime;
                standing.timeouts -= timeouts;
            }
            if let Some((_, work, timeouts)) = window.back().filter(|last| last.0 == slot) {
                standing.work.validation += work.validation;
                standing.work.uptime += work.uptime;
                standing.timeouts += timeouts;
            }
        }
        self.order = cool_down(&self.next, &entered);
        let standings: Vec<Standing> = self.nodes.iter().map(|node| node.standing).collect();
        let random = B256::left_padding_from(&self.random.next().to_be_bytes());
        self.next = order_after(&standings, next_slot, &self.order, random).nodes();
        self.opened = self.order.clone();
        self.missed.clear();
        self.slot = next_slot;

        let mut sorted = self.order.clone();
        sorted.sort_unstable();
        assert_eq!(sorted, nodes(self.nodes.len()), "an order is a permutation");
    }

    /// Nobody leads inside its cooldown unless all others were in cooldown too, or failed.
    fn check_cooldown(&mut self, winner: NodeId) {
        let slot = self.slot;
        let cooling = |node: &Node| in_cooldown(node.standing.last_led, slot);
        let all = self
            .nodes
            .iter()
            .map(|node| (node.standing.node, cooling(node)));
        let all: BTreeMap<NodeId, bool> = all.collect();
        if all[&winner] {
            for (id, cooling) in &all {
                assert!(
                    *cooling || self.missed.contains(id),
                    "slot {slot}: {winner} led, {id} could"
                );
            }
        }
    }

    fn run(mut self) -> Self {
        while self.slot.0 < self.setting.slots {
            self.block();
        }
        for pair in self.records.windows(2) {
            assert!(pair[0].slot < pair[1].slot, "a slot has one leader");
        }
        for pair in self.seals_ms.windows(2) {
            assert!(
                pair[0] / SLOT_MS < pair[1] / SLOT_MS,
                "no two seals in one slot's time"
            );
        }
        let mut hours = BTreeMap::new();
        for seal in &self.seals_ms {
            *hours.entry(seal / 3_600_000).or_insert(0) += 1;
        }
        assert!(
            hours.values().all(|seals| *seals <= 30),
            "at most 30 seals an hour"
        );
        self
    }

    fn wins(&self) -> Vec<usize> {
        self.nodes
            .iter()
            .map(|node| {
                self.records
                    .iter()
                    .filter(|r| r.winner == node.standing.node)
                    .count()
            })
            .collect()
    }
}

#[test]
fn without_faults_all_lead_in_turn() {
    for count in [1, 2, 4, 7, 13] {
        let setting = Setting {
            nodes: count,
            slots: 2_000,
            crash: 0,
            recover: 0,
            most_down: 0,
            stalls: false,
        };
        let run = Simulation::new(setting, count as u64).run();
        assert_eq!(run.records.len(), 2_000, "every slot is sealed");
        assert!(run.records.iter().all(|r| r.reason == LeadReason::Primary));
        let wins = run.wins();
        let fair = 2_000 / count;
        assert!(
            wins.iter().all(|wins| wins.abs_diff(fair) <= 2),
            "{count} nodes: {wins:?}"
        );
        for run in run.records.windows(count) {
            let leaders: BTreeSet<_> = run.iter().map(|r| r.winner).collect();
            assert_eq!(leaders.len(), count, "everybody once in {count} slots");
        }
    }
}

#[test]
fn with_more_nodes_than_the_cooldown_the_best_lead() {
    let setting = Setting {
        nodes: 40,
        slots: 2_000,
        crash: 0,
        recover: 0,
        most_down: 0,
        stalls: false,
    };
    let run = Simulation::new(setting, 40).run();
    for run in run.records.windows(17) {
        let leaders: BTreeSet<_> = run.iter().map(|r| r.winner).collect();
        assert_eq!(leaders.len(), 17, "nobody twice within the cooldown");
    }
    // All work alike, so randomness gives all of them their turns.
    let wins = run.wins();
    assert!(wins.iter().all(|wins| (20..=90).contains(wins)), "{wins:?}");
}

#[test]
fn crashes_and_stalls_break_no_promise() {
    for count in [1, 2, 4, 7, 13, 40] {
        for (seed, stalls, most_down) in [
            (1, false, (count - 1) / 3),
            (2, true, (count - 1) / 3),
            (3, true, count),
        ] {
            let setting = Setting {
                nodes: count,
                slots: 2_500,
                crash: 40,
                recover: 100,
                most_down,
                stalls,
            };
            let run = Simulation::new(setting, seed).run();
            let wins = run.wins();
            if count <= 13 {
                // All of them work most of the time here.
                assert!(wins.iter().all(|wins| *wins > 0), "{count} nodes: {wins:?}");
            }
            // With fewer than four, one that is down stops the chain.
            if count >= 4 {
                let fallbacks = run
                    .records
                    .iter()
                    .filter(|r| r.reason == LeadReason::Fallback)
                    .count();
                assert!(fallbacks > 0);
            }
        }
    }
}

/// A node that is always down costs its slot 5 s now and then, and leads nothing.
#[test]
fn a_dead_node_is_soon_ranked_last() {
    let setting = Setting {
        nodes: 7,
        slots: 1_500,
        crash: 0,
        recover: 0,
        most_down: 0,
        stalls: false,
    };
    let mut simulation = Simulation::new(setting, 9);
    simulation.nodes[3].up = false;
    let run = simulation.run();
    assert_eq!(run.wins()[3], 0);
    let first = run
        .records
        .iter()
        .skip(20)
        .filter(|r| r.primary == node(3))
        .count();
    // Seven nodes are always in cooldown, so its turn comes round: but no more often than that.
    assert!(first <= 1_500 / 7 + 1, "{first}");
    assert!(
        run.wins()
            .iter()
            .enumerate()
            .all(|(index, wins)| index == 3 || *wins > 200)
    );
}
