//! `lucid prove`: a recording's proof file, from the store and a node of the chain.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::Path;

use alloy_primitives::{Address, B256, U64, keccak256};
use anyhow::{Context, Result};
use lucid_chain_types::Height;
use lucid_chain_types::anchors::{
    BatchSent, CheckpointSent, Closed, Moment, Opened, anchor_id, batch_log_slot, log_slot,
};
use lucid_chain_types::contracts::LUCID_ANCHORS;
use lucid_client::anchors::{Event, Of, Seen};
use lucid_client::{Client, ClientError};
use lucid_format::{Hash, SessionId, SignedHead, SignedManifest};
use lucid_light::{FinalityProof, StateProof, TransactionProof, TrustedGenesis};
use lucid_proof::{
    Anchored, BatchLeaf, Evidence, Opening, Proof, Recorded, Story, TARGET_BYTES, Transaction,
};
use serde::Deserialize;
use serde_json::json;

use crate::App;
use crate::cli::ProveArgs;
use crate::commands::chain::block_on;
use crate::commands::verify;
use crate::exit::{FAILURE, NOT_FOUND, TAMPERED, USAGE, exit};
use crate::recording;
use crate::ui::{date, size};

/// Blocks searched in one request; halved where the node allows fewer.
const WINDOW: u64 = 10_000;
/// How far the chain's clock and the gateway's may be apart, ms.
const CLOCKS_APART_MS: u64 = 3_600_000;
/// Most bytes of a file with batched checkpoints.
const MAX_BATCHED: u64 = 64 << 20;

/// What the store or a file has of a session.
struct Source {
    head: SignedHead,
    manifest: Option<SignedManifest>,
    chunks: Vec<Hash>,
}

/// A checkpoint in a batch, as the gateway's anchor queue keeps it; one without a batch had a transaction of its own.
#[derive(Deserialize)]
struct Batched {
    batch: Option<B256>,
    size: u64,
    root: B256,
    #[serde(default)]
    path: Vec<B256>,
}

type Leaves = BTreeMap<B256, BatchLeaf>;

/// Makes the proof, checks it where the genesis file is there, and writes it.
pub fn run(app: &App, args: &ProveArgs) -> Result<()> {
    let source = source(app, &args.recording)?;
    let leaves = match &args.batched {
        None => Leaves::new(),
        Some(path) => batched(path)?,
    };
    let genesis = genesis(app, args.genesis.as_deref())?;
    let client = Client::new(&args.rpc.rpc)?;
    let spinner = app.ui.spinner("asking the chain");
    let made = block_on(async {
        Asker {
            client: &client,
            source: &source,
            leaves: &leaves,
        }
        .prove((!args.all).then_some(TARGET_BYTES))
        .await
    });
    spinner.finish_and_clear();
    let proof = made?;
    let checked = genesis
        .map(|genesis| proof.verify(&genesis))
        .transpose()
        .map_err(|error| exit(TAMPERED, format!("the proof would be refused: {error}")))?;
    let bytes = proof.encode();
    recording::write_atomically(&args.out, |file| Ok(file.write_all(&bytes)?))?;
    show(app, args, &source, &proof, bytes.len(), checked.as_ref())
}

fn source(app: &App, name: &str) -> Result<Source> {
    if Path::new(name).exists() {
        let recording = recording::open(app, name)?;
        if recording.disclosed.is_some() {
            return Err(exit(
                USAGE,
                format!("{name} is a part of a recording: prove the whole, which proves its parts"),
            ));
        }
        return Ok(Source {
            chunks: recording.index.chunks.iter().map(|c| c.hash).collect(),
            head: recording.head,
            manifest: Some(recording.manifest),
        });
    }
    let id: SessionId = name.parse().map_err(|_| {
        exit(
            NOT_FOUND,
            format!("there is no file '{name}', and it is no session id"),
        )
    })?;
    let stored = app.store()?.session(id)?;
    Ok(Source {
        head: stored.head,
        manifest: stored.manifest,
        chunks: stored.chunks,
    })
}

fn batched(path: &Path) -> Result<Leaves> {
    let name = || path.display().to_string();
    if std::fs::metadata(path).with_context(name)?.len() > MAX_BATCHED {
        return Err(exit(USAGE, format!("{} is too large", name())));
    }
    let bytes = std::fs::read(path).with_context(name)?;
    let list: Vec<Batched> = serde_json::from_slice(&bytes)
        .map_err(|error| exit(USAGE, format!("{}: {error}", name())))?;
    let leaves = list.into_iter().filter_map(|one| {
        let leaf = BatchLeaf {
            size: u32::try_from(one.size).ok()?,
            root: one.root,
            path: one.path,
        };
        Some((one.batch?, leaf))
    });
    Ok(leaves.collect())
}

/// The genesis file that was named, or that of the home folder if there is one.
fn genesis(app: &App, named: Option<&Path>) -> Result<Option<TrustedGenesis>> {
    let default = app.home()?.root().join("genesis.json");
    match named {
        Some(path) => verify::genesis(path).map(Some),
        None if default.exists() => verify::genesis(&default).map(Some),
        None => Ok(None),
    }
}

fn show(
    app: &App,
    args: &ProveArgs,
    source: &Source,
    proof: &Proof,
    bytes: usize,
    checked: Option<&Anchored>,
) -> Result<()> {
    let session = source.head.ticket.session;
    if app.ui.json {
        return app.ui.json(&json!({
            "session": session.to_string(),
            "file": args.out,
            "bytes": bytes,
            "opened": { "height": proof.opened.at.height, "time": proof.opened.at.time_s },
            "checkpoints": proof.checkpoints.len(),
            "batches": proof.batches.steps.len(),
            "closed": proof.closed.map(|at| json!({ "height": at.height, "time": at.time_s })),
            "transaction": proof.transaction.as_ref().map(|it| keccak256(&it.bytes)),
            "verified": checked.is_some(),
        }));
    }
    let ui = app.ui;
    let end = proof.closed.map_or_else(
        || "still open".to_owned(),
        |at| {
            format!(
                "closed in block {} ({})",
                at.height,
                date(at.time_s.saturating_mul(1_000_000))
            )
        },
    );
    ui.line(format!(
        "{}: session {session}, {} checkpoints, {end}; {}",
        args.out.display(),
        proof.checkpoints.len() + proof.batches.steps.len(),
        size(bytes as u64)
    ));
    if checked.is_none() {
        ui.note("Not checked: give --genesis FILE. 'lucid verify RECORDING PROOF --genesis FILE' needs no network.");
    }
    Ok(())
}

/// Collects from a node what a proof needs.
struct Asker<'a> {
    client: &'a Client,
    source: &'a Source,
    leaves: &'a Leaves,
}

impl Asker<'_> {
    async fn prove(&self, most: Option<usize>) -> Result<Proof> {
        let session = self.source.head.ticket.session;
        let id = anchor_id(session.0);
        // What comes later is left for another proof.
        let head = self.client.height().await?;
        let events = self.events(id, head).await?;
        let Some(first) = events.first() else {
            return Err(exit(
                NOT_FOUND,
                format!(
                    "session {session} is not anchored on the chain of {} (block {head})",
                    self.client.url()
                ),
            ));
        };
        let (opened, closed) = self.ends(first, events.last()).await?;
        let checkpoints: Vec<CheckpointSent> = events
            .iter()
            .filter_map(|seen| match seen.event {
                Event::Checkpoint { size, root, .. } => Some(CheckpointSent {
                    size,
                    root,
                    at: seen.at,
                }),
                _ => None,
            })
            .collect();
        let mut story = Story {
            opened,
            checkpoints,
            batches_start: B256::ZERO,
            batches: Vec::new(),
            closed: closed.as_ref().map(|(at, ..)| *at),
        };

        // The state at the closing block, where the node still has it: then the transaction is under the same header.
        let height = match story.closed {
            Some(at) if self.state(at.height, &[log_slot(id)]).await.is_ok() => at.height,
            _ => head,
        };
        match &closed {
            Some((at, transaction, event)) if !opened.registered => {
                let closer = self.sender(*transaction).await?;
                let stored = self.word(height, log_slot(id)).await?;
                let log = self.log(id, &story);
                let leads = |batches| event.after(*at, batches).after(log) == stored;
                self.batches(&mut story, closer, at.height, leads).await?;
            }
            None if !self.leaves.is_empty() => {
                let stored = self.word(head, batch_log_slot(opened.opener)).await?;
                let leads = |batches| batches == stored;
                self.batches(&mut story, opened.opener, head, leads).await?;
                if story.batches.is_empty() {
                    story.batches_start = B256::ZERO;
                }
            }
            _ => {}
        }

        let transaction = match &closed {
            Some((at, hash, _)) if at.height == height => Some(self.transaction(*at, *hash).await?),
            _ => None,
        };
        let evidence = Evidence {
            finality: FinalityProof::decode(&self.client.finality_proof(height).await?)?,
            state: self.state(height, &story.slots(id)).await?,
            transaction,
        };
        let manifest = match (&self.source.manifest, story.closed) {
            (_, None) => None,
            (Some(manifest), Some(_)) => Some(manifest.bytes()),
            (None, Some(at)) => {
                return Err(exit(
                    FAILURE,
                    format!(
                        "session {session} was closed in block {}, and its recording here is not sealed",
                        at.height
                    ),
                ));
            }
        };
        let recorded = Recorded {
            head: self.source.head.bytes(),
            manifest,
            chunks: &self.source.chunks,
        };
        Ok(Proof::build(recorded, &story, &evidence, most)?)
    }

    /// The session's events up to a block, from the block at which its ticket was minted on; from the first where they began earlier.
    async fn events(&self, id: B256, head: Height) -> Result<Vec<Seen>> {
        let minted_ms = self.source.head.ticket.minted_us / 1_000;
        let start = self
            .block_at(minted_ms.saturating_sub(CLOCKS_APART_MS), head)
            .await?;
        let ended =
            |seen: &Seen| matches!(seen.event, Event::Closed { .. } | Event::Registered { .. });
        let events = self.search(Of::Session(id), start, head, ended).await?;
        let begins = events.first().is_some_and(|seen| {
            matches!(seen.event, Event::Opened { .. } | Event::Registered { .. })
        });
        if !begins && start.0 > 1 {
            return self.search(Of::Session(id), Height(1), head, ended).await;
        }
        Ok(events)
    }

    /// The first block that is not older than a time.
    async fn block_at(&self, time_ms: u64, head: Height) -> Result<Height> {
        let (mut low, mut high) = (1, head.0.max(1));
        while low < high {
            let middle = low + (high - low) / 2;
            let block = self.client.block(&middle.to_string()).await?;
            // A node that began with a snapshot has no older blocks.
            if block.is_none_or(|block| block.time_ms < time_ms) {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        Ok(Height(low))
    }

    /// Events from one block to another, until one ends the search.
    async fn search(
        &self,
        of: Of,
        first: Height,
        last: Height,
        ended: impl Fn(&Seen) -> bool,
    ) -> Result<Vec<Seen>> {
        let (mut found, mut from, mut window) = (Vec::new(), first.0, WINDOW);
        while from <= last.0 {
            let to = from.saturating_add(window - 1).min(last.0);
            match self
                .client
                .anchor_events(of, Height(from), Height(to))
                .await
            {
                Ok(seen) => {
                    found.extend(seen);
                    if found.last().is_some_and(&ended) {
                        break;
                    }
                    from = to + 1;
                }
                Err(ClientError::Refused { .. }) if window > 1 => window /= 2,
                Err(error) => return Err(error.into()),
            }
        }
        Ok(found)
    }

    /// How the session was opened and, with its transaction, closed.
    async fn ends(
        &self,
        first: &Seen,
        last: Option<&Seen>,
    ) -> Result<(Opening, Option<(Moment, B256, Ending)>)> {
        let opening = match first.event {
            Event::Opened { owner, opener, .. } => Opening {
                owner,
                opener,
                registered: false,
                at: first.at,
            },
            Event::Registered { owner, .. } => Opening {
                owner,
                opener: self.sender(first.transaction).await?,
                registered: true,
                at: first.at,
            },
            other => {
                anyhow::bail!("the node's first event of the session is {other:?}, not its opening")
            }
        };
        let closed = last.and_then(|seen| match seen.event {
            Event::Closed {
                manifest,
                root,
                chunks,
                ..
            }
            | Event::Registered {
                manifest,
                root,
                chunks,
                ..
            } => Some((
                seen.at,
                seen.transaction,
                Ending {
                    manifest,
                    root,
                    chunks,
                },
            )),
            _ => None,
        });
        Ok((opening, closed))
    }

    /// Who sent a transaction. Nobody but people call the contract: there are no other contracts that could.
    async fn sender(&self, transaction: B256) -> Result<Address> {
        let receipt = self.client.receipt(transaction).await?;
        Ok(receipt
            .with_context(|| format!("the node has no receipt of transaction {transaction}"))?
            .from)
    }

    /// The log before the closing.
    fn log(&self, id: B256, story: &Story) -> B256 {
        let ticket = &self.source.head.ticket;
        let opened = Opened {
            id,
            owner: story.opened.owner,
            opener: story.opened.opener,
            session_key: B256::new(ticket.session_key.0),
            policy: B256::new(ticket.policy.0),
            at: story.opened.at,
        };
        let checkpoints = story.checkpoints.iter();
        checkpoints.fold(opened.log(), |log, checkpoint| checkpoint.after(log))
    }

    /// Finds the end of the sender's chain of batches that `leads` to what the chain has, and tells its steps from the first with a
    /// checkpoint of this session on.
    async fn batches(
        &self,
        story: &mut Story,
        sender: Address,
        last: Height,
        leads: impl Fn(B256) -> bool,
    ) -> Result<()> {
        let sent = |seen: &Seen| match seen.event {
            Event::Batch {
                root,
                count,
                previous,
                ..
            } => Some((
                previous,
                BatchSent {
                    root,
                    count,
                    at: seen.at,
                },
            )),
            _ => None,
        };
        let of = Of::Sender(sender);
        let mut seen = self
            .search(of, story.opened.at.height, last, |_| false)
            .await?;
        // None while the session ran: the last one before it.
        let mut to = story.opened.at.height.0;
        while seen.is_empty() && to > 1 && !leads(B256::ZERO) {
            let from = to.saturating_sub(WINDOW).max(1);
            seen = self
                .search(of, Height(from), Height(to - 1), |_| false)
                .await?;
            to = from;
        }
        let mut steps: Vec<(B256, BatchSent)> = seen.iter().filter_map(sent).collect();
        // Of those in the closing block, the last may have come after the closing.
        let end = loop {
            let end = match steps.last() {
                Some((previous, step)) => step.after(*previous),
                None => seen
                    .iter()
                    .find_map(sent)
                    .map_or(B256::ZERO, |(previous, _)| previous),
            };
            if leads(end) || steps.is_empty() {
                break end;
            }
            steps.pop();
        };
        let ours = |step: &BatchSent| {
            let leaf = self.leaves.get(&step.root);
            leaf.filter(|_| step.at >= story.opened.at).cloned()
        };
        let begin = steps.iter().position(|(_, step)| ours(step).is_some());
        let steps = &steps[begin.unwrap_or(steps.len())..];
        story.batches_start = steps.first().map_or(end, |(previous, _)| *previous);
        story.batches = steps.iter().map(|(_, step)| (*step, ours(step))).collect();
        Ok(())
    }

    async fn state(&self, height: Height, slots: &[alloy_primitives::U256]) -> Result<StateProof> {
        let answer: serde_json::Value = self
            .client
            .request(
                "eth_getProof",
                vec![
                    json!(LUCID_ANCHORS),
                    json!(slots),
                    json!(U64::from(height.0)),
                ],
            )
            .await?;
        Ok(StateProof::from_eth_get_proof(&serde_json::to_vec(
            &answer,
        )?)?)
    }

    /// A word of the contract's storage, as the node says.
    async fn word(&self, height: Height, slot: alloy_primitives::U256) -> Result<B256> {
        let state = self.state(height, &[slot]).await?;
        let word = state.slots.first().map(|slot| slot.value);
        Ok(B256::from(word.unwrap_or_default()))
    }

    async fn transaction(&self, at: Moment, hash: B256) -> Result<Transaction> {
        let blocks = self.client.blocks(at.height).await?;
        let transactions = blocks
            .first()
            .filter(|block| block.block.header.height == at.height)
            .map(|block| &block.block.body.transactions)
            .with_context(|| format!("the node does not give block {}", at.height))?;
        let place = transactions
            .iter()
            .position(|bytes| keccak256(bytes) == hash)
            .and_then(|index| Some((index, TransactionProof::of(transactions, index)?)));
        let (index, proof) =
            place.with_context(|| format!("transaction {hash} is not in block {}", at.height))?;
        Ok(Transaction {
            bytes: transactions[index].clone(),
            place: proof.place,
        })
    }
}

/// What the chain says a session was closed with.
struct Ending {
    manifest: B256,
    root: B256,
    chunks: u64,
}

impl Ending {
    fn after(&self, at: Moment, batches: B256) -> Closed {
        Closed {
            manifest: self.manifest,
            root: self.root,
            chunks: self.chunks,
            batches,
            at,
        }
    }
}
