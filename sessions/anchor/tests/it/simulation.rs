//! The queue against a simulated chain whose nodes lose, delay, reorder and repeat, lag behind, forget receipts, and are away for
//! days, while somebody else uses the account and the process dies between any two actions. Every run is a function of its seed.

use std::collections::{BTreeMap, BTreeSet};

use alloy_primitives::{Address, B256, keccak256};
use lucid_anchor::book::{Book, Job, Leaf, Place, Record, Session, Signed, Stage, Step};
use lucid_anchor::{Action, Offer, Order, Queue, Receipt, Refused, Seen, Taken, Tuning, View};
use lucid_format::SessionId;

const ACCOUNT: Address = Address::repeat_byte(0xaa);
const STRANGER: Address = Address::repeat_byte(0xbb);
const OWNER: Address = Address::repeat_byte(0xcc);
const GENESIS: B256 = B256::repeat_byte(7);

/// Seeds of an ordinary run; `LUCID_SEEDS=20000` for a long one.
fn seeds() -> u64 {
    let wanted = std::env::var("LUCID_SEEDS").ok();
    wanted.map_or(1_500, |text| text.parse().unwrap())
}

struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        // SplitMix64
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, most: u64) -> u64 {
        self.next() % most
    }

    fn one_in(&mut self, many: u64) -> bool {
        self.below(many) == 0
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Stored {
    opener: Address,
    owner: Address,
    session_key: B256,
    policy: B256,
    size: u64,
    closed: Option<(B256, B256, u64)>,
}

/// What a block is executed on.
#[derive(Clone, Default)]
struct State {
    nonce: u64,
    sessions: BTreeMap<SessionId, Stored>,
    batches: BTreeMap<B256, Address>,
    /// Steps that were done, in order: what, and where.
    done: Vec<(Done, Place)>,
    receipts: BTreeMap<B256, Receipt>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Done {
    Open(SessionId),
    Checkpoint(Leaf, Option<B256>),
    Close(SessionId),
}

#[derive(Clone)]
struct Transaction {
    nonce: u64,
    max_fee: u128,
    step: Step,
    /// The session as it was when this was signed.
    sessions: BTreeMap<SessionId, Session>,
}

struct Chain {
    /// The state after each block, the first is genesis.
    states: Vec<State>,
    /// Everything that was ever signed.
    known: BTreeMap<B256, Transaction>,
    /// What nodes have, by nonce.
    pool: BTreeMap<u64, B256>,
    base_fee: u128,
}

impl Chain {
    fn height(&self) -> u64 {
        self.states.len() as u64 - 1
    }

    fn head(&self) -> &State {
        self.states.last().unwrap()
    }

    fn take(&mut self, hash: B256) -> Taken {
        let transaction = &self.known[&hash];
        if transaction.nonce < self.head().nonce {
            return Taken::Used;
        }
        if transaction.max_fee < self.base_fee {
            return Taken::Cheap;
        }
        if let Some(other) = self.pool.get(&transaction.nonce).copied()
            && other != hash
            && self.known[&other].max_fee * 110 > transaction.max_fee * 100
        {
            return Taken::Cheap;
        }
        self.pool.insert(transaction.nonce, hash);
        Taken::Yes
    }

    /// A block with some of what is there.
    fn mine(&mut self, random: &mut Random, foreign: bool) {
        let mut state = self.head().clone();
        let height = self.height() + 1;
        if foreign {
            // Somebody sends a transaction of their own from the account.
            state.nonce += 1;
        }
        for _ in 0..random.below(6) {
            let Some(hash) = self.pool.get(&state.nonce).copied() else {
                break;
            };
            let transaction = &self.known[&hash];
            if transaction.max_fee < self.base_fee {
                break;
            }
            let place = Place {
                height,
                time: 1_000_000 + height,
                transaction: hash,
            };
            let done = execute(&mut state, transaction, place);
            state.receipts.insert(
                hash,
                Receipt {
                    succeeded: done,
                    place,
                },
            );
            state.nonce += 1;
        }
        let nonce = state.nonce;
        self.pool.retain(|n, _| *n >= nonce);
        self.states.push(state);
    }
}

/// The contract's rules.
fn execute(state: &mut State, transaction: &Transaction, place: Place) -> bool {
    match &transaction.step {
        Step::Open(id) => {
            if state.sessions.contains_key(id) {
                return false;
            }
            let session = &transaction.sessions[id];
            let stored = Stored {
                opener: ACCOUNT,
                owner: session.owner,
                session_key: session.session_key,
                policy: session.policy,
                size: 0,
                closed: None,
            };
            state.sessions.insert(*id, stored);
            state.done.push((Done::Open(*id), place));
        }
        Step::Checkpoint(leaf) => {
            let Some(stored) = state.sessions.get_mut(&leaf.id) else {
                return false;
            };
            if stored.opener != ACCOUNT || stored.closed.is_some() || leaf.size <= stored.size {
                return false;
            }
            stored.size = leaf.size;
            state.done.push((Done::Checkpoint(*leaf, None), place));
        }
        Step::Batch { root, leaves } => {
            if state.batches.contains_key(root) {
                return false;
            }
            state.batches.insert(*root, ACCOUNT);
            for leaf in leaves {
                state
                    .done
                    .push((Done::Checkpoint(*leaf, Some(*root)), place));
            }
        }
        Step::Close(id) => {
            let closing = transaction.sessions[id].closed.clone().unwrap();
            let Some(stored) = state.sessions.get_mut(id) else {
                return false;
            };
            if stored.opener != ACCOUNT || stored.closed.is_some() || closing.chunks < stored.size {
                return false;
            }
            stored.closed = Some((closing.manifest, closing.root, closing.chunks));
            stored.size = closing.chunks;
            state.done.push((Done::Close(*id), place));
        }
    }
    true
}

/// As the driver looks at the contract.
fn look(state: &State, book: &Book, step: &Step) -> Seen {
    let place_of = |wanted: &dyn Fn(&Done) -> bool| {
        let found = state.done.iter().find(|(done, _)| wanted(done));
        found.map(|(_, place)| *place)
    };
    let never = |why: &str| Seen::Never(why.to_owned());
    match step {
        Step::Open(id) => match state.sessions.get(id) {
            None => Seen::Absent,
            Some(stored) if stored.opener != ACCOUNT => never("taken"),
            Some(_) => Seen::Ours(place_of(&|done| *done == Done::Open(*id)).unwrap()),
        },
        Step::Checkpoint(leaf) => match state.sessions.get(&leaf.id) {
            None => never("not open"),
            Some(stored) if stored.closed.is_none() && stored.size < leaf.size => Seen::Absent,
            Some(_) => place_of(&|done| *done == Done::Checkpoint(*leaf, None))
                .map_or_else(|| never("another"), Seen::Ours),
        },
        Step::Batch { root, leaves } => match state.batches.get(root) {
            None => Seen::Absent,
            Some(sender) if *sender != ACCOUNT => never("another's"),
            Some(_) => {
                let first = Done::Checkpoint(leaves[0], Some(*root));
                Seen::Ours(place_of(&|done| *done == first).unwrap())
            }
        },
        Step::Close(id) => match state.sessions.get(id) {
            None => never("not open"),
            Some(stored) => match stored.closed {
                None => Seen::Absent,
                Some(closed) => {
                    let ours = book.sessions[id].closed.as_ref().unwrap();
                    if closed == (ours.manifest, ours.root, ours.chunks) {
                        Seen::Ours(place_of(&|done| *done == Done::Close(*id)).unwrap())
                    } else {
                        never("another manifest")
                    }
                }
            },
        },
    }
}

/// What a session's gateway wants, and how much of it the queue has acknowledged.
struct Script {
    jobs: Vec<Job>,
    acknowledged: usize,
    squatted: bool,
}

/// The chain's faults: one in this many.
#[derive(Clone, Copy)]
struct Faults {
    crash: u64,
    away: u64,
    lost: u64,
    lag: u64,
    forget: u64,
    foreign: u64,
}

struct World {
    random: Random,
    chain: Chain,
    disk: Vec<Record>,
    archive: BTreeMap<SessionId, Session>,
    queue: Queue,
    scripts: BTreeMap<SessionId, Script>,
    now_ms: u64,
    away_until: u64,
    faults: Option<Faults>,
    tuning: Tuning,
}

struct Crashed;

impl World {
    fn new(seed: u64) -> Self {
        let mut random = Random(seed);
        let tuning = Tuning {
            account: ACCOUNT,
            batch_from: 2 + usize::try_from(random.below(4)).unwrap(),
            in_flight: 1 + usize::try_from(random.below(20)).unwrap(),
        };
        let mut genesis = State {
            nonce: random.below(3),
            ..State::default()
        };
        let mut scripts = BTreeMap::new();
        for number in 0..1 + random.below(9) {
            let id = SessionId([u8::try_from(number).unwrap() + 1; 16]);
            let (session_key, policy) = (B256::repeat_byte(1), B256::repeat_byte(2));
            let mut jobs = vec![Job::Open {
                id,
                owner: OWNER,
                session_key,
                policy,
            }];
            let mut size = 0;
            for _ in 0..random.below(5) {
                size += 1 + random.below(3);
                let root = keccak256([id.0.as_slice(), &size.to_le_bytes()].concat());
                jobs.push(Job::Checkpoint { id, size, root });
            }
            jobs.push(Job::Close {
                id,
                manifest: keccak256(id.0),
                root: B256::repeat_byte(9),
                chunks: size + random.below(2),
            });
            let squatted = random.one_in(12);
            if squatted {
                let stored = Stored {
                    opener: STRANGER,
                    owner: OWNER,
                    session_key,
                    policy,
                    size: 0,
                    closed: None,
                };
                genesis.sessions.insert(id, stored);
            }
            let script = Script {
                jobs,
                acknowledged: 0,
                squatted,
            };
            scripts.insert(id, script);
        }
        let rate = |random: &mut Random, usual: u64| usual + random.below(usual * 4);
        let faults = Faults {
            crash: rate(&mut random, 12),
            away: rate(&mut random, 8),
            lost: rate(&mut random, 5),
            lag: rate(&mut random, 6),
            forget: rate(&mut random, 10),
            foreign: rate(&mut random, 40),
        };
        Self {
            random,
            chain: Chain {
                states: vec![genesis],
                known: BTreeMap::new(),
                pool: BTreeMap::new(),
                base_fee: 100,
            },
            disk: Vec::new(),
            archive: BTreeMap::new(),
            queue: Queue::new(tuning, Book::default()),
            scripts,
            now_ms: 1_000_000,
            away_until: 0,
            faults: Some(faults),
            tuning,
        }
    }

    fn fault(&mut self, rate: impl Fn(&Faults) -> u64) -> bool {
        match self.faults {
            Some(faults) => self.random.one_in(rate(&faults)),
            None => false,
        }
    }

    fn restart(&mut self) {
        let mut book = Book::default();
        self.disk.iter().for_each(|record| book.apply(record));
        if self.random.one_in(4) {
            // Compacted, which changes nothing.
            let mut again = Book::default();
            book.records().iter().for_each(|record| again.apply(record));
            assert_eq!(book, again);
            self.disk = book.records();
        }
        self.queue = Queue::new(self.tuning, book);
        self.now_ms += self.random.below(10_000);
    }

    /// The gateway hands in the next job of some session, or one that it handed in before.
    fn submit(&mut self) -> Result<(), Crashed> {
        let ids: Vec<SessionId> = self.scripts.keys().copied().collect();
        let id = ids[usize::try_from(self.random.below(ids.len() as u64)).unwrap()];
        let script = &self.scripts[&id];
        let again = script.acknowledged > 0 && self.random.one_in(5);
        let index = script.acknowledged - usize::from(again);
        let Some(job) = script.jobs.get(index).copied() else {
            return Ok(());
        };
        if self.archive.contains_key(&id) {
            self.acknowledge(id, index);
            return Ok(());
        }
        match self.queue.submit(job, self.now_ms) {
            Ok(()) => {
                // Who submits is told once it is on the disk.
                while let Action::Keep(records) = self.queue.next(self.now_ms) {
                    self.keep(records)?;
                }
            }
            Err(Refused::Failed { .. }) => assert!(self.scripts[&id].squatted, "{job:?}"),
            Err(refused) => panic!("{job:?}: {refused}"),
        }
        self.acknowledge(id, index);
        Ok(())
    }

    fn acknowledge(&mut self, id: SessionId, index: usize) {
        let script = self.scripts.get_mut(&id).unwrap();
        script.acknowledged = script.acknowledged.max(index + 1);
    }

    fn keep(&mut self, records: Vec<Record>) -> Result<(), Crashed> {
        if self.fault(|f| f.crash * 3) {
            return Err(Crashed);
        }
        self.disk.extend(records);
        if self.fault(|f| f.crash * 3) {
            return Err(Crashed);
        }
        self.queue.kept();
        Ok(())
    }

    /// The state that the node which is asked has.
    fn node(&mut self) -> Option<State> {
        if self.now_ms < self.away_until || self.fault(|f| f.away) {
            return None;
        }
        let behind = if self.fault(|f| f.lag) {
            self.random.below(5)
        } else {
            0
        };
        let height = self.chain.height().saturating_sub(behind);
        Some(self.chain.states[usize::try_from(height).unwrap()].clone())
    }

    fn act(&mut self) -> Result<bool, Crashed> {
        if self.fault(|f| f.crash) {
            return Err(Crashed);
        }
        let settled: Vec<SessionId> = self
            .queue
            .book()
            .sessions
            .iter()
            .filter(|(_, session)| session.is_settled())
            .map(|(id, _)| *id)
            .collect();
        for id in settled {
            let session = self.queue.book().sessions[&id].clone();
            self.archive.insert(id, session);
            self.queue.archived(id);
        }
        let (now, random) = (self.now_ms, self.random.next());
        match self.queue.next(now) {
            Action::Keep(records) => self.keep(records)?,
            Action::Ask(flights) => match self.node() {
                None => self.queue.away("away".to_owned(), now, random),
                Some(state) => {
                    let view = self.view(&state, &flights);
                    self.queue.saw(view, now, random);
                }
            },
            Action::Look { steps, .. } => match self.node() {
                None => self.queue.away("away".to_owned(), now, random),
                Some(state) => {
                    let book = self.queue.book();
                    let seen = steps
                        .iter()
                        .map(|(nonce, step, _)| (*nonce, look(&state, book, step)));
                    let seen = seen.collect();
                    let height = self.height_of(&state);
                    self.queue.looked(seen, height, now, random);
                }
            },
            Action::Sign(orders) => {
                let signed = orders.iter().map(|order| self.sign(order)).collect();
                self.queue.signed(signed);
            }
            Action::Send(transactions) => self.send(transactions, random)?,
            Action::Rest(until) => {
                assert!(until == u64::MAX || until > now, "it rests in the past");
                return Ok(until == u64::MAX);
            }
        }
        Ok(false)
    }

    fn height_of(&self, state: &State) -> u64 {
        let same = |it: &State| it.nonce == state.nonce && it.done.len() == state.done.len();
        // Blocks without a difference are as good as each other.
        self.chain.states.iter().rposition(same).unwrap() as u64
    }

    fn view(&mut self, state: &State, flights: &[(u64, Vec<B256>)]) -> View {
        let forgets = self.fault(|f| f.forget);
        let mut used = BTreeMap::new();
        for (nonce, hashes) in flights.iter().filter(|(nonce, _)| *nonce < state.nonce) {
            let receipt = hashes
                .iter()
                .find_map(|hash| state.receipts.get(hash))
                .copied();
            used.insert(*nonce, receipt.filter(|_| !forgets));
        }
        View {
            genesis: GENESIS,
            chain_id: 1,
            height: self.height_of(state),
            count: state.nonce,
            offer: Offer {
                max_fee: self.chain.base_fee * 2 + 1,
                tip: 1,
            },
            used,
        }
    }

    fn sign(&mut self, order: &Order) -> (u64, Signed) {
        let sessions = order.step.sessions().into_iter();
        let sessions = sessions.map(|id| (id, self.queue.book().sessions[&id].clone()));
        let transaction = Transaction {
            nonce: order.nonce,
            max_fee: order.offer.max_fee,
            step: order.step.clone(),
            sessions: sessions.collect(),
        };
        let mut raw = order.nonce.to_le_bytes().to_vec();
        raw.extend(order.offer.max_fee.to_le_bytes());
        raw.extend(order.offer.tip.to_le_bytes());
        raw.extend(&order.input);
        let hash = keccak256(&raw);
        self.chain.known.insert(hash, transaction);
        let signed = Signed {
            hash,
            raw,
            max_fee: order.offer.max_fee,
            tip: order.offer.tip,
        };
        (order.nonce, signed)
    }

    fn send(&mut self, transactions: Vec<(u64, Vec<u8>)>, random: u64) -> Result<(), Crashed> {
        if self.now_ms < self.away_until || self.fault(|f| f.away) {
            self.queue.away("away".to_owned(), self.now_ms, random);
            return Ok(());
        }
        let mut answers = Vec::new();
        for (nonce, raw) in transactions {
            // What is sent was written down: it is what makes a restart know of it.
            let hash = keccak256(&raw);
            let kept = self.disk.iter().any(|record| match record {
                Record::Flight { flight, .. } => flight.signed.iter().any(|s| s.hash == hash),
                Record::Bump { signed, .. } => signed.hash == hash,
                _ => false,
            });
            assert!(kept, "nonce {nonce} was sent before it was written down");
            if self.fault(|f| f.lost) {
                // The node says yes and loses it.
                answers.push((nonce, Taken::Yes));
                continue;
            }
            let taken = self.chain.take(hash);
            answers.push((nonce, taken));
            if self.fault(|f| f.crash * 4) {
                return Err(Crashed);
            }
        }
        if self.fault(|f| f.lost) {
            // It took them, and the answer is lost.
            self.queue.away("no answer".to_owned(), self.now_ms, random);
        } else {
            self.queue.sent(answers, self.now_ms, random);
        }
        Ok(())
    }

    /// What goes on meanwhile.
    fn surroundings(&mut self) {
        self.now_ms += self.random.below(400);
        if self.random.one_in(3) {
            let foreign = self.fault(|f| f.foreign);
            self.chain.mine(&mut self.random, foreign);
        }
        if self.fault(|f| f.lost) {
            // Something that was sent once comes back from somewhere.
            let count = self.chain.known.len() as u64;
            if count > 0 {
                let index = usize::try_from(self.random.below(count)).unwrap();
                let hash = *self.chain.known.keys().nth(index).unwrap();
                let kept = self.disk.iter().any(|record| match record {
                    Record::Flight { flight, .. } => flight.signed.iter().any(|s| s.hash == hash),
                    Record::Bump { signed, .. } => signed.hash == hash,
                    _ => false,
                });
                if kept {
                    self.chain.take(hash);
                }
            }
        }
        if self.fault(|f| f.lost * 2) {
            self.chain.pool.clear();
        }
        if self.fault(|f| f.away * 10) {
            let days = self.random.below(3 * 24 * 3_600_000);
            self.away_until = self.now_ms + days;
            // The queue asks at least once a minute; nobody waits for that here.
            if self.random.one_in(2) {
                self.now_ms = self.away_until;
            }
        }
        if self.random.one_in(20) {
            self.chain.base_fee = 50 + u128::from(self.random.below(400));
        }
    }

    fn step(&mut self) -> bool {
        let crashed = if self.random.one_in(4) {
            self.submit().map(|()| false)
        } else {
            self.act()
        };
        self.surroundings();
        match crashed {
            Ok(idle) => idle,
            Err(Crashed) => {
                self.restart();
                false
            }
        }
    }

    fn run(&mut self) {
        for _ in 0..400 + self.random.below(800) {
            self.step();
        }
        self.faults = None;
        self.away_until = 0;
        for _ in 0..200_000 {
            let idle = self.step();
            let all = self
                .scripts
                .values()
                .all(|s| s.acknowledged == s.jobs.len());
            if idle && all && self.queue.is_idle() {
                return;
            }
            if let Action::Rest(until) = self.queue.clone().next(self.now_ms) {
                self.now_ms = self.now_ms.max(until.min(self.now_ms + 60_000));
            }
        }
        panic!("it does not come to an end: {:?}", self.queue.book());
    }

    fn check(&self) {
        let done = &self.chain.head().done;
        let mut counts: BTreeMap<Done, usize> = BTreeMap::new();
        for (done, _) in done {
            // The same checkpoint counts once, in a batch or not.
            let key = match done {
                Done::Checkpoint(leaf, _) => Done::Checkpoint(*leaf, None),
                other => *other,
            };
            *counts.entry(key).or_default() += 1;
        }
        for (done, count) in &counts {
            assert_eq!(*count, 1, "{done:?} is on the chain {count} times");
        }
        for (id, script) in &self.scripts {
            let session = self
                .archive
                .get(id)
                .unwrap_or_else(|| panic!("{id} is not settled"));
            if script.squatted {
                assert!(matches!(session.opened, Stage::Failed { .. }));
                continue;
            }
            let place = |wanted: Done| {
                let found = done.iter().position(|(done, _)| *done == wanted);
                let index = found.unwrap_or_else(|| panic!("{wanted:?} is not on the chain"));
                (index, done[index].1)
            };
            let (opened, at) = place(Done::Open(*id));
            assert_eq!(session.opened, Stage::Final(at));
            let closing = session.closed.as_ref().unwrap();
            let (closed, at) = place(Done::Close(*id));
            assert_eq!(closing.stage, Stage::Final(at));
            let stored = &self.chain.head().sessions[id];
            assert_eq!(
                stored.closed,
                Some((closing.manifest, closing.root, closing.chunks))
            );
            // What is said of the checkpoints is what is there, all of it, and in order.
            let mut told = BTreeSet::new();
            let mut last = (opened, 0);
            for checkpoint in &session.checkpoints {
                let leaf = Leaf {
                    id: *id,
                    size: checkpoint.size,
                    root: checkpoint.root,
                };
                let (index, at) = place(Done::Checkpoint(leaf, checkpoint.batch));
                assert_eq!(checkpoint.stage, Stage::Final(at));
                assert!(index > last.0 && checkpoint.size > last.1 && index < closed);
                last = (index, checkpoint.size);
                told.insert(leaf);
            }
            let there: BTreeSet<Leaf> = done
                .iter()
                .filter_map(|(done, _)| match done {
                    Done::Checkpoint(leaf, _) if leaf.id == *id => Some(*leaf),
                    _ => None,
                })
                .collect();
            assert_eq!(told, there);
        }
    }
}

#[test]
fn every_step_is_anchored_exactly_once_whatever_happens() {
    let only = std::env::var("LUCID_SEED").ok();
    let only: Option<u64> = only.map(|text| text.parse().unwrap());
    let seeds = only.map_or(0..seeds(), |seed| seed..seed + 1);
    for seed in seeds {
        let run = std::panic::catch_unwind(|| {
            let mut world = World::new(seed);
            world.run();
            world.check();
        });
        if let Err(cause) = run {
            eprintln!("LUCID_SEED={seed} shows it again");
            std::panic::resume_unwind(cause);
        }
    }
}
