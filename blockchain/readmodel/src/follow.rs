//! From the ledger into the collections: whoever calls [`step`] until it has nothing to do has them up to date.

use lucid_chain_types::{Block, Body, Height};
use lucid_ledger::{Ledger, LedgerError};

use crate::{Batch, BlockView, Collections, ModelError, Position, needs_transactions, project};

/// Most blocks of one write, and the changes after which no more are added to it.
const MAX_BLOCKS: u64 = 128;
const MAX_CHANGES: usize = 2_000;

/// How collections that are opened stand to the chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Joined {
    /// They are of its blocks, or empty. They may be ahead of a chain that was restored: it will come to the same blocks.
    On,
    /// They were of other blocks, and are empty now.
    Other {
        /// Where they were.
        height: Height,
    },
    /// The chain here began later, with a snapshot; what was kept cannot be joined on to, and they are empty now.
    Missing {
        /// Where they were.
        height: Height,
        /// The first block that is here.
        earliest: Height,
    },
}

/// Holds collections against the chain, and empties those that it does not go on from.
pub fn join(ledger: &Ledger, store: &dyn Collections) -> Result<Joined, ModelError> {
    let Some(Position { height, id, .. }) = store.position()? else {
        return Ok(Joined::On);
    };
    let earliest = ledger.earliest();
    // Below the first block that is here, a header is here where it changed the validators.
    let header = ledger.header(height)?;
    let joined = if header.is_some_and(|header| header.id() != id) {
        Joined::Other { height }
    } else if height.next() < earliest {
        Joined::Missing { height, earliest }
    } else {
        return Ok(Joined::On);
    };
    store.reset()?;
    Ok(joined)
}

/// Adds the next blocks, as many as one write takes, and says where that leads; `None` where there are none.
pub fn step(ledger: &Ledger, store: &dyn Collections) -> Result<Option<Position>, ModelError> {
    let first = store
        .position()?
        .map_or_else(|| ledger.earliest(), |at| at.height.next());
    let head = ledger.head().height;
    if first > head {
        return Ok(None);
    }
    store.apply(&collect(ledger, first, head)?)?;
    store.position()
}

/// The changes of blocks from `first` on, at most to `head`.
fn collect(ledger: &Ledger, first: Height, head: Height) -> Result<Batch, ModelError> {
    let mut changes = Vec::new();
    let (mut last, mut id) = (first, Default::default());
    let most = head.0.min(first.0.saturating_add(MAX_BLOCKS - 1));
    for height in (first.0..=most).map(Height) {
        let missing = || LedgerError::Damaged {
            what: format!("block {height}"),
            reason: "it is not there".to_owned(),
        };
        let receipts = ledger.receipts(height)?.ok_or_else(missing)?;
        // Most blocks are about nothing that is kept: of those the header is enough.
        let Block { header, body } = if needs_transactions(&receipts) {
            ledger.block(height)?.ok_or_else(missing)?
        } else {
            Block {
                header: ledger.header(height)?.ok_or_else(missing)?,
                body: Body::default(),
            }
        };
        let leader = if header.seal {
            ledger.leader_record(header.slot)?
        } else {
            None
        };
        let of_block = project(&BlockView {
            header: &header,
            transactions: &body.transactions,
            receipts: &receipts,
            system: &ledger.system_record(height)?,
            leader: leader.as_ref(),
        })?;
        changes.extend(of_block.into_iter().map(|change| (height, change)));
        (last, id) = (height, header.id());
        if changes.len() >= MAX_CHANGES {
            break;
        }
    }
    Ok(Batch {
        first,
        last,
        id,
        changes,
    })
}
