//! What goes wrong in a run, drawn from its seed before it begins.

use lucid_chain_types::Pace;

use super::disk::Tail;
use super::rng::Rng;

/// Microseconds of virtual time.
pub(crate) type Micros = u64;
pub(crate) const MS: Micros = 1_000;
pub(crate) const SECOND: Micros = 1_000 * MS;

/// A rule that is broken on purpose, to see the checker notice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Break {
    /// None is.
    Nothing,
    /// No guard, and crashes lose the engine's log.
    Guard,
    /// Two thirds less one vote decide.
    Quorum,
    /// The same, and nobody looks at certificates: only disagreement can show it.
    QuorumUnseen,
    /// Nodes take every block that decodes.
    Validity,
    /// Blocks are voted for before they are stored.
    Bodies,
    /// Values of peers are believed without their certificates.
    Sync,
    /// The guard does not hold a node to a lock that its engine has forgotten.
    Lock,
}

/// How a Byzantine node misbehaves. It keeps to the engine's rules where nothing is said.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Mischief {
    /// Sends nothing to most peers.
    pub(crate) silent: bool,
    /// Proposes one block to some, another to the others.
    pub(crate) equivocate: bool,
    /// Proposes blocks that break a rule of the app.
    pub(crate) invalid: bool,
    /// Votes differently towards different peers.
    pub(crate) double_vote: bool,
    /// Votes at once for everything that it sees.
    pub(crate) eager: bool,
    /// Sends again what it has seen before.
    pub(crate) replay: bool,
    /// Signs votes and proposals of other heights and rounds, and forges certificates.
    pub(crate) spam: bool,
    /// Answers those who catch up with lies.
    pub(crate) false_sync: bool,
    /// Fills the queues for later heights.
    pub(crate) flood: bool,
    /// Tells the sides of a partition different stories.
    pub(crate) divide: bool,
}

impl Mischief {
    fn draw(rng: &mut Rng) -> Self {
        let mut mischief = Self {
            silent: rng.chance(100),
            equivocate: rng.chance(400),
            invalid: rng.chance(250),
            double_vote: rng.chance(400),
            eager: rng.chance(250),
            replay: rng.chance(300),
            spam: rng.chance(300),
            false_sync: rng.chance(300),
            flood: rng.chance(40),
            divide: rng.chance(600),
        };
        if rng.chance(100) {
            mischief = Self {
                silent: true,
                ..Self::default()
            };
        }
        mischief
    }
}

/// What else a crash takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wipe {
    Nothing,
    /// The engine's log.
    Log,
    /// The log and the chain; only the guard's file is left.
    Everything,
}

#[derive(Debug, Clone)]
pub(crate) enum Fault {
    Crash {
        node: usize,
        /// Effects of the engine until then; at once if there is none.
        fuse: Option<u32>,
        tail: Tail,
        wipe: Wipe,
        down: Micros,
    },
    /// Nodes of different groups do not hear each other.
    Partition(Vec<u8>),
    /// Nothing from one reaches the other.
    Cut(usize, usize),
    /// Ends partitions and cuts.
    Mend,
    Pause {
        node: usize,
        time: Micros,
    },
    /// All that goes wrong by itself ends; Byzantine nodes stay as they are.
    Heal,
}

/// How messages travel.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Weather {
    pub(crate) least: Micros,
    pub(crate) most: Micros,
    /// Messages in 1,000 that get lost, that arrive twice, and that take very long.
    pub(crate) loss: u64,
    pub(crate) twice: u64,
    pub(crate) late: u64,
}

/// After healing.
pub(crate) const CALM: Weather = Weather {
    least: 2 * MS,
    most: 60 * MS,
    loss: 0,
    twice: 0,
    late: 0,
};

#[derive(Debug, Clone)]
pub(crate) struct Plan {
    pub(crate) broken: Break,
    pub(crate) pace: Pace,
    pub(crate) mischief: Vec<Option<Mischief>>,
    /// Nodes begin a height only when there is something to propose.
    pub(crate) idle: bool,
    pub(crate) change_every: u64,
    pub(crate) slot: u64,
    pub(crate) weather: Weather,
    /// How far a node's clock is ahead, ms, and how long its seconds are, in millionths.
    pub(crate) clocks: Vec<(u64, u64)>,
    /// Time that a node takes for an event.
    pub(crate) costs: Vec<Micros>,
    /// Whether the guard hears late what the engine's log remembers.
    pub(crate) late_memory: bool,
    pub(crate) faults: Vec<(Micros, Fault)>,
}

impl Plan {
    /// No faults.
    pub(crate) fn quiet(nodes: usize) -> Self {
        Self {
            broken: Break::Nothing,
            pace: Pace::DIRECT,
            mischief: vec![None; nodes],
            idle: false,
            change_every: 0,
            slot: 4,
            weather: CALM,
            clocks: vec![(0, 1_000_000); nodes],
            costs: vec![200; nodes],
            late_memory: false,
            faults: vec![(10 * SECOND, Fault::Heal)],
        }
    }

    pub(crate) fn draw(rng: &mut Rng, broken: Break) -> Self {
        let nodes = rng.range(4, 8) as usize;
        let byzantine = rng.index((nodes - 1) / 3 + 1);
        let mut indices: Vec<usize> = (0..nodes).collect();
        rng.shuffle(&mut indices);
        let mut plan = Self::quiet(nodes);
        plan.broken = broken;
        for index in &indices[..byzantine] {
            plan.mischief[*index] = Some(Mischief::draw(rng));
        }
        match broken {
            Break::Nothing | Break::Guard | Break::Bodies | Break::Lock => {}
            _ => {
                // A broken rule shows only where somebody takes advantage.
                let mischief = plan.mischief[indices[0]].get_or_insert_default();
                mischief.equivocate = broken != Break::Validity;
                mischief.double_vote = mischief.equivocate;
                mischief.invalid = broken == Break::Validity;
                mischief.false_sync = broken == Break::Sync;
                mischief.silent = false;
            }
        }
        let honest: Vec<usize> = (0..nodes)
            .filter(|index| plan.mischief[*index].is_none())
            .collect();
        plan.pace = match rng.below(10) {
            0..=5 => Pace::DIRECT,
            6..=8 => Pace {
                block_interval_ms: 300,
                propose_timeout_ms: 1_500,
                vote_timeout_ms: 250,
            },
            _ => Pace::TOR,
        };
        plan.idle = rng.chance(350);
        plan.change_every = if rng.chance(400) { rng.range(1, 6) } else { 0 };
        plan.slot = rng.range(1, 9);
        plan.late_memory = rng.chance(300);
        let (least, most) = match rng.below(4) {
            0 => (MS, 20 * MS),
            1 => (20 * MS, 200 * MS),
            2 => (5 * MS, 800 * MS),
            _ => (150 * MS, 600 * MS),
        };
        plan.weather = Weather {
            least,
            most,
            loss: *rng.pick(&[0, 0, 10, 50, 150, 300]),
            twice: *rng.pick(&[0, 20, 200]),
            late: *rng.pick(&[0, 0, 10, 60]),
        };
        let drift = if rng.chance(150) { 300_000 } else { 20_000 };
        for clock in &mut plan.clocks {
            *clock = (rng.below(10_000), 1_000_000 - drift + rng.below(2 * drift));
        }
        for cost in &mut plan.costs {
            *cost = if rng.chance(150) {
                rng.range(2, 25) * MS
            } else {
                rng.range(50, 500)
            };
        }
        let heal = rng.range(12 * SECOND, 30 * SECOND);
        plan.faults.clear();
        let storm = broken == Break::Lock || (broken == Break::Nothing && rng.chance(100));
        plan.draw_crashes(rng, &honest, heal, storm);
        plan.draw_partitions(rng, &honest, heal);
        for _ in 0..rng.below(3) {
            let fault = Fault::Pause {
                node: *rng.pick(&honest),
                time: rng.range(300 * MS, 6 * SECOND),
            };
            plan.faults.push((rng.below(heal), fault));
        }
        plan.faults.push((heal, Fault::Heal));
        plan
    }

    fn draw_crashes(&mut self, rng: &mut Rng, honest: &[usize], heal: Micros, storm: bool) {
        let forget = storm || self.broken == Break::Guard;
        let nodes = self.mischief.len();
        // One of: nobody forgets; as many as can be borne; anybody.
        let forgetful: &[usize] = match rng.below(10) {
            _ if forget => honest,
            0..=4 => &[],
            5..=7 => &honest[..((nodes - 1) / 3 + honest.len() - nodes).min(honest.len())],
            _ => honest,
        };
        let zeros = rng.chance(200);
        let mut count = rng.below(6);
        if forget {
            count += 8;
        }
        for _ in 0..count {
            let at = rng.range(200 * MS, heal);
            let node = *rng.pick(honest);
            let together = rng.chance(120);
            let who = if together { honest } else { &[node][..] };
            for node in who {
                let tail = match rng.below(4) {
                    0 => Tail::Lost,
                    1 if zeros => Tail::Zeros,
                    _ => Tail::Torn,
                };
                let wipe = match rng.below(4) {
                    _ if forget => Wipe::Log,
                    0 | 1 if forgetful.contains(node) => Wipe::Log,
                    2 if forgetful.contains(node) => Wipe::Everything,
                    _ => Wipe::Nothing,
                };
                let fault = Fault::Crash {
                    node: *node,
                    fuse: rng.chance(600).then(|| rng.below(80) as u32),
                    tail,
                    wipe,
                    down: if rng.chance(500) {
                        rng.range(10 * MS, 500 * MS)
                    } else {
                        rng.range(500 * MS, 9 * SECOND)
                    },
                };
                self.faults.push((at, fault));
            }
        }
    }

    fn draw_partitions(&mut self, rng: &mut Rng, honest: &[usize], heal: Micros) {
        let nodes = self.mischief.len();
        for _ in 0..rng.below(4) {
            let from = rng.below(heal);
            let fault = match rng.below(4) {
                0 => Fault::Partition((0..nodes).map(|_| rng.below(2) as u8).collect()),
                1 => {
                    let mut groups = vec![0; nodes];
                    groups[*rng.pick(honest)] = 1;
                    Fault::Partition(groups)
                }
                2 => Fault::Partition((0..nodes).map(|_| rng.below(3) as u8).collect()),
                _ => Fault::Cut(rng.index(nodes), rng.index(nodes)),
            };
            self.faults.push((from, fault));
            let to = from + rng.range(500 * MS, 12 * SECOND);
            self.faults.push((to.min(heal), Fault::Mend));
        }
    }
}
