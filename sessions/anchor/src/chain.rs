//! What the queue says to `LucidAnchors` and what it reads there.

use alloy_primitives::{Address, B256, Bytes};
use lucid_chain_types::Height;
use lucid_chain_types::anchors::{self, checkpoint_leaf};
use lucid_client::anchors::{self as calls, Event, Of, Session as Stored};
use lucid_client::{Client, ClientError};
use lucid_format::SessionId;

use crate::book::{Book, Leaf, Place, Step};
use crate::queue::Seen;

/// Blocks that are searched in one request: what a node allows.
const SEARCH: u64 = 10_000;
/// Where something is that the contract has and no block that the node keeps tells of.
const SOMEWHERE: Place = Place {
    height: 0,
    time: 0,
    transaction: B256::ZERO,
};

/// A session's id on the chain.
pub fn anchor_id(id: SessionId) -> B256 {
    anchors::anchor_id(id.0)
}

/// A checkpoint's leaf in the tree of a batch.
pub fn hash_leaf(leaf: &Leaf) -> B256 {
    checkpoint_leaf(anchor_id(leaf.id), leaf.size, leaf.root)
}

/// Gas that is enough for a step. What is not used is not paid, and all of it has to be there.
pub(crate) fn gas(step: &Step) -> u64 {
    match step {
        Step::Open(_) => 200_000,
        Step::Checkpoint(_) | Step::Batch { .. } | Step::Close(_) => 150_000,
    }
}

/// The call for a step, `None` when its session is gone.
pub(crate) fn input(step: &Step, book: &Book) -> Option<Bytes> {
    Some(match step {
        Step::Open(id) => {
            let session = book.sessions.get(id)?;
            let (key, policy) = (session.session_key, session.policy);
            calls::open(anchor_id(*id), session.owner, key, policy)
        }
        Step::Checkpoint(leaf) => calls::checkpoint(anchor_id(leaf.id), leaf.size, leaf.root),
        Step::Batch { root, leaves } => calls::batch(*root, u32::try_from(leaves.len()).ok()?),
        Step::Close(id) => {
            let closing = book.sessions.get(id)?.closed.as_ref()?;
            let (manifest, root, chunks) = (closing.manifest, closing.root, closing.chunks);
            calls::close(anchor_id(*id), manifest, root, chunks)
        }
    })
}

/// Asks the contract, on one node, whether steps are done.
pub(crate) struct Looker<'a> {
    pub(crate) client: &'a Client,
    pub(crate) account: Address,
    pub(crate) book: &'a Book,
}

impl Looker<'_> {
    /// Whether a step is done, as of block `height`. Only if it was done before the journal began, it is in block `after` or
    /// before.
    pub(crate) async fn look(
        &self,
        step: &Step,
        after: u64,
        height: u64,
    ) -> Result<Seen, ClientError> {
        let blocks = (after.saturating_add(1), height);
        match step {
            Step::Open(id) => self.open(*id, blocks).await,
            Step::Checkpoint(leaf) => self.checkpoint(leaf, blocks).await,
            Step::Close(id) => self.close(*id, blocks).await,
            Step::Batch { root, .. } => self.batch(*root, blocks).await,
        }
    }

    async fn open(&self, id: SessionId, blocks: (u64, u64)) -> Result<Seen, ClientError> {
        let anchor = anchor_id(id);
        let Some(stored) = self.client.session(anchor).await? else {
            return Ok(Seen::Absent);
        };
        let Some(session) = self.book.sessions.get(&id) else {
            return Ok(never("it is not known here any more"));
        };
        let opener = stored.opener.unwrap_or(stored.owner);
        if opener != self.account || stored.owner != session.owner {
            let owner = stored.owner;
            return Ok(Seen::Never(format!(
                "its id was taken by {opener} for {owner}: mint another"
            )));
        }
        let found = self
            .find(Of::Session(anchor), blocks, |event| match event {
                Event::Opened {
                    session_key,
                    policy,
                    ..
                } => Some((*session_key, *policy) == (session.session_key, session.policy)),
                Event::Registered { .. } => Some(false),
                _ => None,
            })
            .await?;
        Ok(match found {
            Found::Same(place) => Seen::Ours(place),
            Found::Nothing => Seen::Ours(SOMEWHERE),
            Found::Other => never("it was opened with another key or policy"),
        })
    }

    async fn checkpoint(&self, leaf: &Leaf, blocks: (u64, u64)) -> Result<Seen, ClientError> {
        let anchor = anchor_id(leaf.id);
        let Some(stored) = self.client.session(anchor).await? else {
            return Ok(never("the session is not open on the chain"));
        };
        if !stored.closed && stored.size < leaf.size {
            return Ok(self.stranger(&stored).unwrap_or(Seen::Absent));
        }
        let found = self
            .find(Of::Session(anchor), blocks, |event| match event {
                Event::Checkpoint { size, root, .. } => {
                    (*size <= leaf.size).then_some((*size, *root) == (leaf.size, leaf.root))
                }
                Event::Opened { .. } | Event::Registered { .. } => Some(false),
                _ => None,
            })
            .await?;
        Ok(match found {
            Found::Same(place) => Seen::Ours(place),
            Found::Other | Found::Nothing => {
                never("another checkpoint or the session's end came first")
            }
        })
    }

    async fn close(&self, id: SessionId, blocks: (u64, u64)) -> Result<Seen, ClientError> {
        let anchor = anchor_id(id);
        let Some(stored) = self.client.session(anchor).await? else {
            return Ok(never("the session is not open on the chain"));
        };
        let Some(closing) = self.book.sessions.get(&id).and_then(|s| s.closed.as_ref()) else {
            return Ok(never("it is not known here any more"));
        };
        if !stored.closed {
            if closing.chunks < stored.size {
                let (chunks, size) = (closing.chunks, stored.size);
                return Ok(Seen::Never(format!(
                    "it has {chunks} chunks, and {size} are checkpointed"
                )));
            }
            return Ok(self.stranger(&stored).unwrap_or(Seen::Absent));
        }
        let found = self
            .find(Of::Session(anchor), blocks, |event| match event {
                Event::Closed {
                    manifest,
                    root,
                    chunks,
                    ..
                } => Some(
                    (*manifest, *root, *chunks) == (closing.manifest, closing.root, closing.chunks),
                ),
                Event::Registered { .. } => Some(false),
                _ => None,
            })
            .await?;
        Ok(match found {
            Found::Same(place) => Seen::Ours(place),
            Found::Other => never("it was closed with another manifest"),
            Found::Nothing => {
                never("it is closed, and the node does not keep the block that says how")
            }
        })
    }

    async fn batch(&self, root: B256, blocks: (u64, u64)) -> Result<Seen, ClientError> {
        let Some(batch) = self.client.batch(root).await? else {
            return Ok(Seen::Absent);
        };
        if batch.sender != self.account {
            let sender = batch.sender;
            return Ok(Seen::Never(format!("{sender} sent the same batch first")));
        }
        let found = self
            .find(Of::Sender(self.account), blocks, |event| match event {
                Event::Batch { root: found, .. } => (*found == root).then_some(true),
                _ => None,
            })
            .await?;
        Ok(Seen::Ours(match found {
            Found::Same(place) => place,
            Found::Other | Found::Nothing => SOMEWHERE,
        }))
    }

    /// That this account may not go on with a session, if it may not.
    fn stranger(&self, stored: &Stored) -> Option<Seen> {
        let owner = stored.owner;
        (self.account != owner && Some(self.account) != stored.opener).then(|| {
            Seen::Never(format!(
                "the session is one of {owner}, and this account did not open it"
            ))
        })
    }

    /// The newest event that `same` knows: `Some(true)` when it is the one, `Some(false)` when it shows that there is none. Blocks
    /// before `first` are searched too, for the journal that knew of it may be lost; a node need not keep those.
    async fn find(
        &self,
        of: Of,
        (first, last): (u64, u64),
        same: impl Fn(&Event) -> Option<bool>,
    ) -> Result<Found, ClientError> {
        let mut to = last;
        while to > 0 {
            let lowest = if to >= first { first } else { 1 };
            let from = lowest.max(to.saturating_sub(SEARCH - 1)).max(1);
            let events = self
                .client
                .anchor_events(of, Height(from), Height(to))
                .await;
            let events = match events {
                Err(ClientError::Refused { .. }) if to < first => break,
                events => events?,
            };
            for seen in events.iter().rev() {
                match same(&seen.event) {
                    Some(true) => {
                        return Ok(Found::Same(Place {
                            height: seen.at.height.0,
                            time: seen.at.time_s,
                            transaction: seen.transaction,
                        }));
                    }
                    Some(false) => return Ok(Found::Other),
                    None => {}
                }
            }
            to = from - 1;
        }
        Ok(Found::Nothing)
    }
}

enum Found {
    Same(Place),
    Other,
    Nothing,
}

fn never(why: &str) -> Seen {
    Seen::Never(why.to_owned())
}
