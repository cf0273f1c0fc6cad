//! Time, the network, and what goes wrong with them.

use std::cmp::Reverse;
use std::collections::{BTreeSet, BinaryHeap};
use std::rc::Rc;

use bytes::Bytes;
use lucid_chain_types::{Certificate, SignedProposal};
use lucid_consensus::context::{Lucid, Proposal, Vote};
use malachite_types::{PolkaCertificate, RoundCertificate, SignedMessage};

use super::app::Rules;
use super::byzantine::Conspiracy;
use super::checker::{Checker, Rule};
use super::disk::Tail;
use super::node::{Local, Node, Stop};
use super::plan::{Break, CALM, Fault, MS, Micros, Plan, SECOND, Weather, Wipe};
use super::rng::{Rng, mix};
use super::verifier::Verifier;

/// Heights that every honest node decides after healing.
const MORE_HEIGHTS: u64 = 3;
/// Time they have for it.
const RECOVERY: Micros = 180 * SECOND;
/// A transaction comes about this often, if nodes wait for them.
const TRANSACTION_EVERY: Micros = 1_500 * MS;

/// What nodes send to each other.
#[derive(Debug, Clone)]
pub(crate) enum Message {
    Vote(SignedMessage<Lucid, Vote>),
    Proposal(SignedMessage<Lucid, Proposal>),
    Polka(PolkaCertificate<Lucid>),
    Round(RoundCertificate<Lucid>),
    /// A proposal's parts, put together.
    Body {
        signed: SignedProposal,
        packed: Bytes,
    },
    /// The sender's last height.
    Status(u64),
    /// For the blocks of these heights.
    Ask(u64, u64),
    Answer(Vec<(Certificate, Bytes)>),
    Transaction(u64),
}

pub(crate) enum Event {
    Message {
        from: usize,
        to: usize,
        message: Rc<Message>,
    },
    /// Something inside a node, unless it was restarted since.
    Local {
        node: usize,
        epoch: u32,
        what: Box<Local>,
    },
    /// A busy node may go on.
    Wake(usize, u32),
    Fault(Fault),
    Start(usize),
    /// Somebody sends a transaction.
    Transaction(u64),
}

/// What waits for a busy node.
pub(crate) enum Task {
    Message(usize, Rc<Message>),
    Local(Box<Local>),
}

struct Scheduled {
    at: Micros,
    number: u64,
    event: Event,
}

impl PartialEq for Scheduled {
    fn eq(&self, other: &Self) -> bool {
        (self.at, self.number) == (other.at, other.number)
    }
}

impl Eq for Scheduled {}

impl PartialOrd for Scheduled {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Scheduled {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.at, self.number).cmp(&(other.at, other.number))
    }
}

/// What happened, as a hash and, if asked for, as text.
pub(crate) struct Trace {
    hash: u64,
    print: bool,
}

impl Trace {
    pub(crate) fn add(&mut self, numbers: &[u64], text: impl FnOnce() -> String) {
        for number in numbers {
            self.hash = mix(self.hash.rotate_left(17) ^ number);
        }
        if self.print {
            println!("{}", text());
        }
    }
}

/// What a run came to.
#[derive(Debug, Clone, Default)]
pub(crate) struct Report {
    pub(crate) violation: Option<(Rule, String)>,
    pub(crate) trace: u64,
    pub(crate) events: u64,
    pub(crate) heights: u64,
    pub(crate) rounds: u32,
    pub(crate) crashes: u64,
    pub(crate) hangs: u64,
    pub(crate) repeats: u64,
    pub(crate) refusals: u64,
    pub(crate) synced: u64,
    pub(crate) accused: u64,
    /// From healing until all had decided what they must; nothing if that was not asked for or did not happen.
    pub(crate) recovery: Option<Micros>,
    /// Whether more forgot, or are Byzantine, than progress can bear.
    pub(crate) beyond: bool,
    /// Where the nodes stand, if they then made none.
    pub(crate) stopped: Option<String>,
}

pub(crate) struct World {
    pub(crate) now: Micros,
    number: u64,
    queue: BinaryHeap<Reverse<Scheduled>>,
    pub(crate) rng: Rng,
    pub(crate) plan: Plan,
    pub(crate) rules: Rc<Rules>,
    pub(crate) verifier: Rc<Verifier>,
    pub(crate) nodes: Vec<Node>,
    pub(crate) checker: Checker,
    pub(crate) trace: Trace,
    pub(crate) report: Report,
    weather: Weather,
    pub(crate) groups: Option<Vec<u8>>,
    cuts: BTreeSet<(usize, usize)>,
    healed: Option<Micros>,
    goal: u64,
    /// Nodes that lost their log.
    forgetful: BTreeSet<usize>,
    pub(crate) salt: u64,
    pub(crate) conspiracy: Conspiracy,
}

impl World {
    pub(crate) fn new(plan: Plan, mut rng: Rng, print: bool) -> Self {
        let salt = rng.next();
        let byzantine = plan.mischief.iter().map(Option::is_some).collect();
        let rules = Rc::new(Rules::new(byzantine, plan.change_every, plan.slot, salt));
        let nodes = (0..plan.mischief.len()).map(|index| Node::new(index, &plan, &rules));
        let mut world = Self {
            now: 0,
            number: 0,
            queue: BinaryHeap::new(),
            nodes: nodes.collect(),
            checker: Checker::new(&rules),
            rules,
            verifier: Rc::new(Verifier {
                blind: plan.broken == Break::QuorumUnseen,
                ..Verifier::default()
            }),
            trace: Trace { hash: salt, print },
            report: Report::default(),
            weather: plan.weather,
            groups: None,
            cuts: BTreeSet::new(),
            healed: None,
            goal: u64::MAX,
            forgetful: BTreeSet::new(),
            salt,
            conspiracy: Conspiracy::default(),
            rng,
            plan,
        };
        for node in 0..world.nodes.len() {
            let wait = world.rng.below(500 * MS);
            world.schedule(wait, Event::Start(node));
        }
        for (at, fault) in world.plan.faults.clone() {
            world.schedule(at, Event::Fault(fault));
        }
        world.schedule(0, Event::Transaction(1));
        world
    }

    pub(crate) fn schedule(&mut self, after: Micros, event: Event) {
        self.number += 1;
        self.queue.push(Reverse(Scheduled {
            at: self.now + after,
            number: self.number,
            event,
        }));
    }

    /// Something happens inside a node later.
    pub(crate) fn later(&mut self, node: usize, after: Micros, what: Local) {
        let epoch = self.nodes[node].epoch;
        let what = Box::new(what);
        self.schedule(after, Event::Local { node, epoch, what });
    }

    /// Hands a message to the network.
    pub(crate) fn send(&mut self, from: usize, to: usize, message: &Rc<Message>) {
        let weather = self.weather;
        if self.rng.chance(weather.loss) {
            return;
        }
        let copies = 1 + u64::from(self.rng.chance(weather.twice));
        for _ in 0..copies {
            let mut time = self.rng.range(weather.least, weather.most);
            if self.rng.chance(weather.late) {
                time += self.rng.range(SECOND, 10 * SECOND);
            }
            let message = Rc::clone(message);
            self.schedule(time, Event::Message { from, to, message });
        }
    }

    pub(crate) fn send_all(&mut self, from: usize, message: Message) {
        let message = Rc::new(message);
        for to in 0..self.nodes.len() {
            if to != from {
                self.send(from, to, &message);
            }
        }
    }

    fn connected(&self, from: usize, to: usize) -> bool {
        let apart = self
            .groups
            .as_ref()
            .is_some_and(|groups| groups[from] != groups[to]);
        !apart && !self.cuts.contains(&(from, to))
    }

    /// Runs to the end.
    pub(crate) fn run(mut self) -> Report {
        while let Some(Reverse(Scheduled { at, event, .. })) = self.queue.pop() {
            self.now = at;
            self.report.events += 1;
            self.step(event);
            if self.checker.failed() || self.is_done() {
                break;
            }
        }
        self.report.violation = self.checker.take();
        self.report.trace = self.trace.hash;
        self.report.heights = self.checker.height();
        self.report.rounds = self.checker.rounds;
        self.report.accused = self.checker.accused.len() as u64;
        self.report
    }

    fn honest(&self) -> impl Iterator<Item = &Node> {
        self.nodes.iter().filter(|node| node.mischief.is_none())
    }

    fn is_done(&mut self) -> bool {
        let Some(healed) = self.healed else {
            return false;
        };
        let byzantine = self.nodes.len() - self.honest().count();
        self.report.beyond = byzantine + self.forgetful.len() > self.rules.tolerance();
        if self
            .honest()
            .all(|node| node.store.state.height >= self.goal)
        {
            self.report.recovery = Some(self.now - healed);
            return true;
        }
        if self.now < healed + RECOVERY {
            return false;
        }
        let stand: Vec<String> = self.nodes.iter().map(Node::stand).collect();
        let (time, goal) = (RECOVERY / SECOND, self.goal);
        let what = format!(
            "{time}s after healing not all are at {goal}: {}",
            stand.join("; ")
        );
        if self.report.beyond {
            self.report.stopped = Some(what);
        } else {
            self.checker.fail(Rule::Liveness, what);
        }
        true
    }

    fn step(&mut self, event: Event) {
        match event {
            Event::Message { from, to, message } => {
                if self.connected(from, to) && self.nodes[to].run.is_some() {
                    self.arrive(to, Task::Message(from, message));
                }
            }
            Event::Local { node, epoch, what } => {
                if self.nodes[node].epoch == epoch && self.nodes[node].run.is_some() {
                    self.arrive(node, Task::Local(what));
                }
            }
            Event::Wake(node, epoch) => {
                let this = &mut self.nodes[node];
                if this.epoch != epoch {
                    return;
                }
                this.awake = false;
                if let Some(task) = this.inbox.pop_front() {
                    self.work(node, task);
                }
            }
            Event::Start(node) => {
                if self.nodes[node].run.is_none() {
                    self.start(node);
                }
            }
            Event::Transaction(number) => {
                if self.plan.idle {
                    let message = Rc::new(Message::Transaction(number));
                    for to in 0..self.nodes.len() {
                        self.send(to, to, &message);
                    }
                    let wait = self
                        .rng
                        .range(TRANSACTION_EVERY / 2, TRANSACTION_EVERY * 3 / 2);
                    self.schedule(wait, Event::Transaction(number + 1));
                }
            }
            Event::Fault(fault) => self.fault(fault),
        }
    }

    /// A node takes one thing after another, in the order in which they come.
    fn arrive(&mut self, node: usize, task: Task) {
        let this = &mut self.nodes[node];
        if this.inbox.is_empty() && this.busy_until <= self.now {
            self.work(node, task);
        } else {
            this.inbox.push_back(task);
            self.wake(node);
        }
    }

    fn wake(&mut self, node: usize) {
        let this = &mut self.nodes[node];
        if !this.awake && !this.inbox.is_empty() {
            this.awake = true;
            let (epoch, wait) = (this.epoch, this.busy_until.saturating_sub(self.now));
            self.schedule(wait, Event::Wake(node, epoch));
        }
    }

    fn work(&mut self, node: usize, task: Task) {
        let now = self.now;
        self.nodes[node].busy_until = now + self.nodes[node].cost;
        let result = match task {
            Task::Message(from, message) => {
                self.trace_message(from, node, &message);
                self.receive(node, from, &message)
            }
            Task::Local(what) => {
                self.trace.add(&[now, node as u64, what.tag()], || {
                    format!("{:>10} {node} {what:?}", now / MS)
                });
                self.local(node, *what)
            }
        };
        self.finish(node, result);
        self.wake(node);
    }

    fn fault(&mut self, fault: Fault) {
        let now = self.now;
        self.trace
            .add(&[now, 99], || format!("{:>10} {fault:?}", now / MS));
        match fault {
            Fault::Crash {
                node,
                fuse: None,
                tail,
                wipe,
                down,
            } => {
                self.crash(node, tail, wipe, down);
            }
            Fault::Crash {
                node,
                fuse: Some(effects),
                tail,
                wipe,
                down,
            } => {
                self.nodes[node].fuse = Some((effects, tail, wipe, down));
            }
            Fault::Partition(groups) => self.groups = Some(groups),
            Fault::Cut(from, to) => drop(self.cuts.insert((from, to))),
            Fault::Mend => {
                self.groups = None;
                self.cuts.clear();
            }
            Fault::Pause { node, time } => {
                let node = &mut self.nodes[node];
                node.busy_until = node.busy_until.max(now + time);
            }
            Fault::Heal => {
                self.weather = CALM;
                self.groups = None;
                self.cuts.clear();
                for index in 0..self.nodes.len() {
                    let node = &mut self.nodes[index];
                    node.fuse = None;
                    node.cost = node.cost.min(MS);
                    node.busy_until = node.busy_until.min(now + MS);
                    if node.run.is_none() {
                        self.start(index);
                    }
                }
                self.healed = Some(now);
                self.goal = self.checker.height() + MORE_HEIGHTS;
            }
        }
    }

    /// The node's process ends, and begins again later.
    pub(crate) fn crash(&mut self, index: usize, tail: Tail, wipe: Wipe, down: Micros) {
        let node = &mut self.nodes[index];
        node.fuse = None;
        if node.run.take().is_none() {
            return;
        }
        node.epoch += 1;
        node.inbox.clear();
        node.awake = false;
        self.report.crashes += 1;
        let now = self.now;
        self.trace.add(&[now, 98, index as u64], || {
            format!("{:>10} {index} crashes: {tail:?} {wipe:?}", now / MS)
        });
        node.log.crash(tail, &mut self.rng);
        if wipe != Wipe::Nothing {
            node.log.delete();
            self.forgetful.insert(index);
        }
        if wipe == Wipe::Everything {
            node.store.clear(&self.rules);
        }
        if self.plan.broken == Break::Bodies {
            node.store.forget_bodies();
        }
        self.schedule(down, Event::Start(index));
    }

    /// What a node's handler came to.
    pub(crate) fn finish(&mut self, node: usize, result: Result<(), Stop>) {
        let now = self.now;
        match result {
            Ok(()) => {}
            Err(Stop::Crash) => {
                if let Some((_, tail, wipe, down)) = self.nodes[node].fuse.take() {
                    self.crash(node, tail, wipe, down);
                }
            }
            Err(Stop::Error(error)) => {
                if self.nodes[node].mischief.is_none() {
                    let what = format!("node {node} stops: {error}");
                    self.checker.fail(Rule::Engine, what);
                }
                self.crash(node, Tail::Torn, Wipe::Nothing, SECOND);
            }
            Err(Stop::Hang(error)) => {
                // The crate sets the log aside and stops; the guard knows what was signed.
                self.trace.add(&[now, 97, node as u64], || {
                    format!("{:>10} {node} cannot replay its log: {error}", now / MS)
                });
                self.report.hangs += 1;
                self.crash(node, Tail::Lost, Wipe::Log, SECOND);
            }
        }
    }

    fn trace_message(&mut self, from: usize, to: usize, message: &Message) {
        let now = self.now;
        let id = |block: &lucid_chain_types::BlockId| {
            u64::from_be_bytes([0, 1, 2, 3, 4, 5, 6, 7].map(|at: usize| block.0[at]))
        };
        let vote_block = |vote: &Vote| vote.to_chain().block.map_or(0, |block| id(&block));
        let numbers = match message {
            Message::Vote(vote) => [
                1,
                vote.message.height.0.0,
                vote.message.round.as_i64() as u64,
                vote_block(&vote.message),
            ],
            Message::Proposal(it) => [
                2,
                it.message.height.0.0,
                it.message.round.as_i64() as u64,
                id(&it.message.value.0),
            ],
            Message::Polka(it) => [3, it.height.0.0, it.round.as_i64() as u64, id(&it.value_id)],
            Message::Round(it) => [
                4,
                it.height.0.0,
                it.round.as_i64() as u64,
                it.round_signatures.len() as u64,
            ],
            Message::Body { signed, .. } => [
                5,
                signed.proposal.height.0,
                u64::from(signed.proposal.round),
                id(&signed.proposal.block),
            ],
            Message::Status(tip) => [6, *tip, 0, 0],
            Message::Ask(from, to) => [7, *from, *to, 0],
            Message::Answer(values) => [8, values.len() as u64, 0, 0],
            Message::Transaction(number) => [9, *number, 0, 0],
        };
        let [kind, a, b, c] = numbers;
        self.trace
            .add(&[now, from as u64, to as u64, kind, a, b, c], || {
                let name = match message {
                    Message::Vote(vote) => format!("{:?} {}/{} {c:x}", vote.message.kind, a, b),
                    Message::Proposal(it) => {
                        format!("Proposal {a}/{b} {c:x} pol {}", it.message.pol_round)
                    }
                    Message::Polka(_) => format!("Polka {a}/{b} {c:x}"),
                    Message::Round(it) => format!("Round {a}/{b} {:?} of {c}", it.cert_type),
                    Message::Body { .. } => format!("Body {a}/{b} {c:x}"),
                    other => format!("{other:?}").chars().take(80).collect(),
                };
                format!("{:>10} {from}→{to} {name}", now / MS)
            });
    }
}
