//! The task that drives the queue: the journal's disk, the nodes, the clock.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use alloy_consensus::TxEip1559;
use alloy_eips::eip2930::AccessList;
use alloy_primitives::{Address, B256, TxKind, keccak256};
use lucid_chain_types::contracts::LUCID_ANCHORS;
use lucid_client::{Client, ClientError, TransactionReceipt, Wallet};
use lucid_format::SessionId;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::Instant;
use tracing::{debug, info, warn};

use crate::book::{BatchEntry, Job, Outcome, Place, Record, Session, Signed, Stage, Step};
use crate::chain::{Looker, gas};
use crate::journal::Journal;
use crate::queue::{Action, Offer, Order, Queue, Receipt, Seen, Taken, Tuning, View};
use crate::{AnchorError, Folder, Lock, metrics};

/// Longest time one question to a node may take, all of its requests.
const PATIENCE: Duration = Duration::from_secs(15);
/// Transactions or hashes in one request. No more than the gap between nonces that nodes allow, so that the order in which a node
/// takes them up does not matter.
const AT_ONCE: usize = 16;
/// Jobs that wait to be taken.
const WAITING: usize = 1024;

/// What a queue is told.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Its folder. Each account has one of its own.
    pub folder: PathBuf,
    /// URLs of nodes, tried in turn.
    pub urls: Vec<String>,
    /// The account.
    pub wallet: Wallet,
    /// Genesis hash of the chain, `None` to take that of the first node that answers, for good.
    pub genesis: Option<B256>,
    /// From how many checkpoints due at once a batch is used.
    pub batch_from: usize,
    /// Most transactions that are on their way at once.
    pub in_flight: usize,
}

/// How the queue is.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize)]
pub struct Health {
    /// Whether the last node that was asked answered.
    pub connected: bool,
    /// What keeps it from working, if anything does.
    pub trouble: Option<String>,
    /// Sessions that are not settled.
    pub sessions: usize,
    /// Transactions on their way.
    pub in_flight: usize,
    /// Since when the oldest thing waits, ms since the Unix epoch.
    pub oldest_ms: Option<u64>,
    /// Records written since the start: what grows whenever anything is known that was not.
    pub written: u64,
}

/// A running queue. Clones are the same queue; it stops when all are gone.
#[derive(Debug, Clone)]
pub struct Anchors {
    commands: mpsc::Sender<Command>,
    changes: watch::Receiver<Health>,
    folder: Folder,
    account: Address,
}

/// Of jobs, in their order.
type Results = Vec<Result<(), AnchorError>>;

enum Command {
    Submit(Vec<Job>, oneshot::Sender<Results>),
    Session(SessionId, oneshot::Sender<Option<Session>>),
    Forget(SessionId),
}

impl Anchors {
    /// Takes the folder, reads its journal, and starts. The thread ends, and gives the folder up, when the last clone is gone.
    ///
    /// # Errors
    /// [`AnchorError::Locked`] when another process has it; a URL that is none; the disk's.
    pub fn start(settings: Settings) -> Result<(Self, JoinHandle<()>), AnchorError> {
        let clients = settings
            .urls
            .iter()
            .map(|url| Client::new(url).map(Arc::new))
            .collect::<Result<Vec<_>, _>>()?;
        let folder = Folder::at(settings.folder);
        let lock = folder.lock()?;
        let account = settings.wallet.address();
        let (journal, mut book) = Journal::open(&folder.journal(), account)?;
        folder.drop_batches(&book)?;
        match (book.chain, settings.genesis) {
            // Only the name counts; each node tells the chain id that goes with it.
            (None, Some(genesis)) => book.chain = Some((genesis, 0)),
            (Some((found, _)), Some(genesis)) if found != genesis => {
                return Err(AnchorError::OtherChain {
                    path: folder.journal(),
                    found,
                    genesis,
                });
            }
            _ => {}
        }
        let batches = book
            .flights
            .iter()
            .filter_map(|(nonce, flight)| Some((*nonce, batch_of(&flight.step)?)))
            .collect();
        let tuning = Tuning {
            account,
            batch_from: settings.batch_from,
            in_flight: settings.in_flight.max(1),
        };
        let settled = book
            .sessions
            .iter()
            .filter(|(_, s)| s.is_settled())
            .map(|(id, _)| *id)
            .collect();
        let queue = Queue::new(tuning, book);
        let (commands, inbox) = mpsc::channel(WAITING);
        let (health, changes) = watch::channel(Health::default());
        let driver = Driver {
            queue,
            journal,
            folder: folder.clone(),
            _lock: lock,
            clients,
            node: 0,
            wallet: settings.wallet,
            inbox,
            health,
            acks: Vec::new(),
            batches,
            settled,
            question: None,
            written: 0,
        };
        let anchors = Self {
            commands,
            changes,
            folder,
            account,
        };
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|e| AnchorError::io("starting the queue of", anchors.folder.root(), e))?;
        // A thread of its own: it waits for the disk, and nobody's relay may wait with it.
        let thread = std::thread::Builder::new()
            .name("anchors".to_owned())
            .spawn(move || runtime.block_on(driver.run()))
            .map_err(|e| AnchorError::io("starting the queue of", anchors.folder.root(), e))?;
        Ok((anchors, thread))
    }

    /// The account.
    pub fn account(&self) -> Address {
        self.account
    }

    /// The folder.
    pub fn folder(&self) -> &Folder {
        &self.folder
    }

    /// Takes jobs; they are on the disk when this returns, and will be anchored whatever happens. Taking one twice is taking it
    /// once.
    ///
    /// # Errors
    /// Of each job, when it does not follow from what is known; of all, when the queue has stopped.
    pub async fn submit(
        &self,
        jobs: Vec<Job>,
    ) -> Result<Vec<Result<(), AnchorError>>, AnchorError> {
        let (answer, wait) = oneshot::channel();
        self.command(Command::Submit(jobs, answer)).await?;
        wait.await.map_err(|_| self.stopped())
    }

    /// Takes one job.
    ///
    /// # Errors
    /// See [`submit`](Self::submit).
    pub async fn submit_one(&self, job: Job) -> Result<(), AnchorError> {
        let mut answers = self.submit(vec![job]).await?;
        answers.pop().unwrap_or_else(|| Err(self.stopped()))
    }

    /// What is known of a session.
    ///
    /// # Errors
    /// When the queue has stopped, or a file does not read.
    pub async fn session(&self, id: SessionId) -> Result<Option<Session>, AnchorError> {
        let (answer, wait) = oneshot::channel();
        self.command(Command::Session(id, answer)).await?;
        match wait.await.map_err(|_| self.stopped())? {
            Some(session) => Ok(Some(session)),
            None => self.folder.settled(id),
        }
    }

    /// Nobody will use a session: its opening is not sent, if it was not yet, and the queue does not keep it any longer. Nothing is
    /// done to one with checkpoints or an end, or with a transaction on its way.
    ///
    /// # Errors
    /// When the queue has stopped.
    pub async fn forget(&self, id: SessionId) -> Result<(), AnchorError> {
        self.command(Command::Forget(id)).await
    }

    /// How the queue is.
    pub fn health(&self) -> Health {
        self.changes.borrow().clone()
    }

    /// Changes whenever anything was written down or a node came or went.
    pub fn changes(&self) -> watch::Receiver<Health> {
        self.changes.clone()
    }

    /// Waits until something is true of a session, `patience` at most.
    ///
    /// # Errors
    /// [`AnchorError::Late`]; when the session is unknown or the queue has stopped.
    pub async fn wait<T>(
        &self,
        id: SessionId,
        patience: Duration,
        mut ready: impl FnMut(&Session) -> Option<T>,
    ) -> Result<T, AnchorError> {
        let mut changes = self.changes.clone();
        let deadline = Instant::now() + patience;
        loop {
            changes.borrow_and_update();
            let session = self
                .session(id)
                .await?
                .ok_or(crate::Refused::NotOpened { id })?;
            if let Some(value) = ready(&session) {
                return Ok(value);
            }
            match tokio::time::timeout_at(deadline, changes.changed()).await {
                Ok(Ok(())) => {}
                Ok(Err(_)) => return Err(self.stopped()),
                Err(_) => {
                    let why = self.health().trouble;
                    return Err(AnchorError::Late {
                        id,
                        seconds: patience.as_secs(),
                        why: why.unwrap_or_else(|| "it waits for a block".to_owned()),
                    });
                }
            }
        }
    }

    /// Waits until a session's opening is settled, `patience` at most.
    ///
    /// # Errors
    /// [`crate::Refused::Failed`] when it cannot be opened; see [`wait`](Self::wait).
    pub async fn wait_open(&self, id: SessionId, patience: Duration) -> Result<Place, AnchorError> {
        self.wait(id, patience, |session| match &session.opened {
            Stage::Final(place) => Some(Ok(*place)),
            Stage::Failed { why } => Some(Err(crate::Refused::Failed {
                id,
                why: why.clone(),
            }
            .into())),
            Stage::Queued | Stage::Sent { .. } => None,
        })
        .await?
    }

    async fn command(&self, command: Command) -> Result<(), AnchorError> {
        self.commands
            .send(command)
            .await
            .map_err(|_| self.stopped())
    }

    fn stopped(&self) -> AnchorError {
        let why = self.health().trouble;
        AnchorError::Stopped {
            why: why.unwrap_or_else(|| "see the logs".to_owned()),
        }
    }
}

/// What a node answered to a question.
enum Answer {
    View(View),
    Looked(Vec<(u64, Seen)>, u64),
    Sent(Vec<(u64, Taken)>),
}

type Question = Pin<Box<dyn Future<Output = Result<Answer, String>> + Send>>;

struct Driver {
    queue: Queue,
    journal: Journal,
    folder: Folder,
    _lock: Lock,
    clients: Vec<Arc<Client>>,
    /// Index of the node that is asked.
    node: usize,
    wallet: Wallet,
    inbox: mpsc::Receiver<Command>,
    health: watch::Sender<Health>,
    /// Who waits until jobs are on the disk.
    acks: Vec<(oneshot::Sender<Results>, Results)>,
    /// Batches on their way: nonce to root and leaves.
    batches: BTreeMap<u64, (B256, u32)>,
    /// Sessions that may go to files of their own.
    settled: BTreeSet<SessionId>,
    question: Option<Question>,
    /// Records written since the start.
    written: u64,
}

impl Driver {
    async fn run(mut self) {
        // What is wrong with the disk is wrong for good: who submits is told, and nothing is sent that was not written down.
        if let Err(error) = self.drive().await {
            tracing::error!(%error, "the anchor queue stops");
            self.health.send_modify(|health| {
                health.connected = false;
                health.trouble = Some(error.to_string());
            });
        }
    }

    async fn drive(&mut self) -> Result<(), AnchorError> {
        loop {
            let now = now_ms();
            let until = match self.queue.next(now) {
                Action::Keep(records) => {
                    self.keep(&records)?;
                    continue;
                }
                Action::Sign(orders) => {
                    let signed = self.sign(orders)?;
                    self.queue.signed(signed);
                    continue;
                }
                Action::Rest(until) => {
                    self.question = None;
                    Some(until)
                }
                action => {
                    if self.question.is_none() {
                        self.question = self.ask(action);
                    }
                    None
                }
            };
            self.acknowledge();
            if self.archive()? {
                continue;
            }
            self.tell();
            let pause =
                until.map(|until| Duration::from_millis(until.saturating_sub(now).min(3_600_000)));
            tokio::select! {
                command = self.inbox.recv() => match command {
                    Some(command) => {
                        self.command(command)?;
                        // Those that came together are written down together.
                        while let Ok(command) = self.inbox.try_recv() {
                            self.command(command)?;
                        }
                    }
                    None => return Ok(()),
                },
                answer = ask(&mut self.question), if self.question.is_some() => {
                    self.question = None;
                    self.answered(answer);
                }
                () = tokio::time::sleep(pause.unwrap_or_default()), if pause.is_some() => {}
            }
        }
    }

    fn command(&mut self, command: Command) -> Result<(), AnchorError> {
        match command {
            Command::Forget(id) => {
                let session = self.queue.book().sessions.get(&id).cloned();
                if self.queue.forget(id)
                    && let Some(session) = session.filter(|s| s.opened.is_final())
                {
                    self.folder.settle(id, session)?;
                }
            }
            Command::Session(id, answer) => {
                // Who asked may be gone.
                let _ = answer.send(self.queue.book().sessions.get(&id).cloned());
            }
            Command::Submit(jobs, answer) => {
                let results = jobs.into_iter().map(|job| self.submit(job)).collect();
                self.acks.push((answer, results));
            }
        }
        Ok(())
    }

    fn submit(&mut self, job: Job) -> Result<(), AnchorError> {
        let id = job.id();
        let known = self.queue.book().sessions.contains_key(&id);
        if !known && let Some(session) = self.folder.settled(id)? {
            // Nothing more will happen to it. Whether that is what the job wants is what the book would say of it.
            let mut book = crate::book::Book::default();
            book.sessions.insert(id, session);
            return match book.check(&job)? {
                false => Ok(()),
                true => Err(crate::Refused::Failed {
                    id,
                    why: "it is settled".to_owned(),
                }
                .into()),
            };
        }
        metrics::JOBS.add_labelled(1, &[("kind", kind_of(&job).into())]);
        Ok(self.queue.submit(job, now_ms())?)
    }

    /// Everything taken before is on the disk.
    fn acknowledge(&mut self) {
        for (answer, results) in self.acks.drain(..) {
            let _ = answer.send(results);
        }
    }

    /// Writes records down, and first what they rely on.
    fn keep(&mut self, records: &[Record]) -> Result<(), AnchorError> {
        let mut entries = Vec::new();
        for record in records {
            match record {
                Record::Flight { nonce, flight } => {
                    if let Step::Batch { root, leaves } = &flight.step {
                        self.folder.keep_batch(*root, leaves)?;
                    }
                    if let Some(batch) = batch_of(&flight.step) {
                        self.batches.insert(*nonce, batch);
                    }
                }
                Record::Outcome { nonce, outcome } => {
                    let batch = self.batches.remove(nonce);
                    if let (Some((root, count)), Outcome::Final(place)) = (batch, outcome) {
                        entries.push(BatchEntry {
                            root,
                            count,
                            place: *place,
                        });
                    }
                    count(outcome);
                }
                _ => {}
            }
        }
        if !entries.is_empty() {
            self.folder.log_batches(&entries)?;
        }
        // The disk is waited for here: nothing else of this queue may go on before it.
        self.journal.append(records)?;
        self.queue.kept();
        self.written += records.len() as u64;
        let touched = records.iter().any(|r| matches!(r, Record::Outcome { .. }));
        if touched {
            let book = self.queue.book();
            let settled = book.sessions.iter().filter(|(_, s)| s.is_settled());
            self.settled.extend(settled.map(|(id, _)| *id));
        }
        Ok(())
    }

    /// Moves settled sessions to files of their own. Whether there is something to write down because of it.
    fn archive(&mut self) -> Result<bool, AnchorError> {
        let settled = std::mem::take(&mut self.settled);
        if settled.is_empty() {
            return Ok(false);
        }
        for id in settled {
            if let Some(session) = self.queue.book().sessions.get(&id).cloned() {
                info!(session = %id, closed = session.closed.is_some(), "settled on the chain");
                self.folder.settle(id, session)?;
                self.queue.archived(id);
            }
        }
        if self.journal.is_long() {
            // What is in the book and not in the journal would be in both.
            while let Action::Keep(records) = self.queue.next(now_ms()) {
                self.keep(&records)?;
            }
            self.journal.compact(self.queue.book())?;
            self.folder.drop_batches(self.queue.book())?;
        }
        Ok(true)
    }

    fn sign(&self, orders: Vec<Order>) -> Result<Vec<(u64, Signed)>, AnchorError> {
        let mut signed = Vec::new();
        for order in orders {
            let transaction = TxEip1559 {
                chain_id: order.chain_id,
                nonce: order.nonce,
                gas_limit: gas(&order.step),
                max_fee_per_gas: order.offer.max_fee,
                max_priority_fee_per_gas: order.offer.tip,
                to: TxKind::Call(LUCID_ANCHORS),
                value: alloy_primitives::U256::ZERO,
                access_list: AccessList::default(),
                input: order.input,
            };
            let raw = self.wallet.sign(transaction)?;
            let transaction = Signed {
                hash: keccak256(&raw),
                raw,
                max_fee: order.offer.max_fee,
                tip: order.offer.tip,
            };
            signed.push((order.nonce, transaction));
        }
        Ok(signed)
    }

    fn ask(&self, action: Action) -> Option<Question> {
        let client = Arc::clone(self.clients.get(self.node)?);
        let account = self.queue_account();
        let question: Pin<Box<dyn Future<Output = Result<Answer, ClientError>> + Send>> =
            match action {
                Action::Ask(flights) => {
                    Box::pin(async move { view(&client, account, flights).await.map(Answer::View) })
                }
                Action::Look { steps, height } => {
                    let book = self.queue.book().clone();
                    Box::pin(async move {
                        let looker = Looker {
                            client: &client,
                            account,
                            book: &book,
                        };
                        // Before the contract is asked: what it says is then of this height or a later one.
                        let now = client.height().await?.0;
                        let mut seen = Vec::new();
                        for (nonce, step, after) in steps {
                            seen.push((nonce, looker.look(&step, after, now.max(height)).await?));
                        }
                        Ok(Answer::Looked(seen, now))
                    })
                }
                Action::Send(transactions) => {
                    Box::pin(async move { Ok(Answer::Sent(send(&client, transactions).await?)) })
                }
                Action::Keep(_) | Action::Sign(_) | Action::Rest(_) => return None,
            };
        Some(Box::pin(async move {
            match tokio::time::timeout(PATIENCE, question).await {
                Ok(answer) => answer.map_err(|error| error.to_string()),
                Err(_) => Err(format!("no answer in {} s", PATIENCE.as_secs())),
            }
        }))
    }

    fn queue_account(&self) -> Address {
        self.wallet.address()
    }

    fn answered(&mut self, answer: Result<Answer, String>) {
        let (now, random) = (now_ms(), random());
        let (was, failures) = (
            self.queue.trouble().map(str::to_owned),
            self.queue.failures(),
        );
        match answer {
            Ok(Answer::View(view)) => self.queue.saw(view, now, random),
            Ok(Answer::Looked(seen, height)) => self.queue.looked(seen, height, now, random),
            Ok(Answer::Sent(taken)) => {
                metrics::SENT.add(taken.len() as u64);
                self.queue.sent(taken, now, random);
            }
            Err(why) => self.queue.away(why, now, random),
        }
        let url = self
            .clients
            .get(self.node)
            .map_or("", |client| client.url());
        match self.queue.trouble() {
            Some(why) if self.queue.failures() > failures => {
                // Said once a trouble, not once an attempt.
                if was.as_deref() == Some(why) {
                    debug!(url, why, "the chain is still away");
                } else {
                    warn!(
                        url,
                        why, "the chain cannot be used now; what is to be anchored waits"
                    );
                }
                metrics::AWAY.add(1);
                self.node = (self.node + 1) % self.clients.len().max(1);
            }
            None if was.is_some() => info!(url, "the chain is back"),
            _ => {}
        }
    }

    fn tell(&self) {
        let book = self.queue.book();
        let oldest_ms = book.sessions.values().filter_map(waits_since).min();
        let health = Health {
            connected: self.queue.is_connected(),
            trouble: self.queue.trouble().map(str::to_owned),
            sessions: book.sessions.len(),
            in_flight: book.flights.len(),
            oldest_ms,
            written: self.written,
        };
        let age = oldest_ms.map_or(0, |since| now_ms().saturating_sub(since));
        metrics::SESSIONS.set_count(health.sessions as u64);
        metrics::IN_FLIGHT.set_count(health.in_flight as u64);
        metrics::OLDEST.set(Duration::from_millis(age).as_secs_f64());
        metrics::CONNECTED.set_count(u64::from(health.connected));
        // Who waits asks when this changes: telling the same again would keep both busy for ever.
        self.health.send_if_modified(|told| {
            let changed = *told != health;
            *told = health;
            changed
        });
    }
}

async fn ask(question: &mut Option<Question>) -> Result<Answer, String> {
    match question {
        Some(question) => question.await,
        None => std::future::pending().await,
    }
}

/// Since when something of a session waits.
fn waits_since(session: &Session) -> Option<u64> {
    if session.is_settled() {
        return None;
    }
    if !session.opened.is_final() {
        return Some(session.due_ms);
    }
    let checkpoint = session.moving().find(|c| !c.stage.is_settled());
    let closing = session.closed.as_ref().filter(|c| !c.stage.is_settled());
    checkpoint
        .map(|c| c.due_ms)
        .into_iter()
        .chain(closing.map(|c| c.due_ms))
        .min()
}

async fn view(
    client: &Client,
    account: Address,
    flights: Vec<(u64, Vec<B256>)>,
) -> Result<View, ClientError> {
    let status = client.status().await?;
    // After the height and before the receipts: a nonce that is used up here has its receipt in what comes next.
    let count = client.final_nonce(account).await?;
    let fees = client.fees().await?;
    let asked: Vec<(u64, B256)> = flights
        .into_iter()
        .filter(|(nonce, _)| *nonce < count)
        .flat_map(|(nonce, hashes)| hashes.into_iter().map(move |hash| (nonce, hash)))
        .collect();
    let mut used: BTreeMap<u64, Option<Receipt>> = BTreeMap::new();
    for asked in asked.chunks(AT_ONCE) {
        let hashes: Vec<B256> = asked.iter().map(|(_, hash)| *hash).collect();
        let receipts = client.receipts(&hashes).await?;
        for ((nonce, _), receipt) in asked.iter().zip(receipts) {
            let place = used.entry(*nonce).or_default();
            if let Some(receipt) = receipt {
                *place = Some(told(client, &receipt).await?);
            }
        }
    }
    Ok(View {
        genesis: status.genesis_hash,
        chain_id: status.chain_id,
        height: status.height.0,
        count,
        offer: Offer {
            max_fee: fees.max_fee,
            tip: fees.tip,
        },
        used,
    })
}

async fn told(client: &Client, receipt: &TransactionReceipt) -> Result<Receipt, ClientError> {
    let height = receipt.block_number.unwrap_or_default();
    let logged = receipt
        .inner
        .logs()
        .iter()
        .find_map(|log| log.block_timestamp);
    let time = match logged {
        Some(time) => time,
        None => {
            let block = client.block(&height.to_string()).await?;
            block.map_or(0, |block| block.time_ms / 1_000)
        }
    };
    Ok(Receipt {
        succeeded: receipt.status(),
        place: Place {
            height,
            time,
            transaction: receipt.transaction_hash,
        },
    })
}

async fn send(
    client: &Client,
    transactions: Vec<(u64, Vec<u8>)>,
) -> Result<Vec<(u64, Taken)>, ClientError> {
    let mut answers = Vec::new();
    for some in transactions.chunks(AT_ONCE) {
        let raw: Vec<&[u8]> = some.iter().map(|(_, raw)| raw.as_slice()).collect();
        let taken = client.send_raw_batch(&raw).await?;
        let taken = taken.into_iter().map(|answer| match answer {
            Ok(_) => Ok(Taken::Yes),
            Err(ClientError::Refused { message, .. }) => Ok(read_refusal(message)),
            Err(error) => Err(error),
        });
        for ((nonce, _), taken) in some.iter().zip(taken) {
            answers.push((*nonce, taken?));
        }
    }
    Ok(answers)
}

/// A node's words, which are those that Ethereum's tools look for.
fn read_refusal(message: String) -> Taken {
    let begins = |words: &str| message.starts_with(words);
    if begins("already known") {
        Taken::Yes
    } else if begins("nonce too low") {
        Taken::Used
    } else if begins("replacement transaction underpriced")
        || begins("max fee per gas less than block base fee")
    {
        Taken::Cheap
    } else {
        Taken::Later(message)
    }
}

fn batch_of(step: &Step) -> Option<(B256, u32)> {
    match step {
        Step::Batch { root, leaves } => Some((*root, u32::try_from(leaves.len()).ok()?)),
        _ => None,
    }
}

fn kind_of(job: &Job) -> &'static str {
    match job {
        Job::Open { .. } => "open",
        Job::Checkpoint { .. } => "checkpoint",
        Job::Close { .. } => "close",
    }
}

fn count(outcome: &Outcome) {
    let name = match outcome {
        Outcome::Final(_) => "final",
        Outcome::Taken => "taken",
        Outcome::Again => "again",
        Outcome::Failed(why) => {
            warn!(why, "something cannot be anchored");
            "failed"
        }
    };
    metrics::OUTCOMES.add_labelled(1, &[("outcome", name.into())]);
}

fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    u64::try_from(since.unwrap_or_default().as_millis()).unwrap_or(u64::MAX)
}

fn random() -> u64 {
    let mut bytes = [0; 8];
    // Without random numbers gateways come back at the same moment, and nothing worse.
    let _ = getrandom::fill(&mut bytes);
    u64::from_le_bytes(bytes)
}
