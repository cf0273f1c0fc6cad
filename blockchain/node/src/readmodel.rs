//! Keeps the read model (requirement C8) behind the chain: from the ledger, block by block, in its own time.
//!
//! ```text
//!  ledger ──head──▶ follow ─▶ lucid_readmodel::step: the blocks that are missing, some hundred a write
//!                      │  slower than the chain, or its database gone: the chain does not notice
//!                      └──▶ ModelState ─▶ lucid-rpc
//! ```

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use alloy_primitives::B256;
use lucid_chain_types::Height;
use lucid_ledger::{Ledger, LedgerOptions};
use lucid_readmodel::{Collections, Embedded, Joined, ModelError, Position, join, step};
use lucid_rpc::ModelState;
use tokio::sync::watch;
use tokio::time::sleep;
use tracing::{info, warn};

use crate::config::DatabaseSection;
use crate::home::Home;
use crate::node::blocking;
use crate::{NodeError, metrics};

/// How long it waits after something went wrong, at first and at most.
const FIRST_WAIT: Duration = Duration::from_secs(1);
const LONGEST_WAIT: Duration = Duration::from_secs(60);

/// Which database, and where it is.
#[derive(Debug, Clone)]
pub(crate) struct Place {
    url: String,
    folder: PathBuf,
}

impl Place {
    pub(crate) fn of(home: &Home, section: &DatabaseSection) -> Self {
        Self {
            url: section.url.clone(),
            folder: home.readmodel(),
        }
    }

    fn open(&self, genesis: B256) -> Result<Arc<dyn Collections>, ModelError> {
        if self.url.is_empty() {
            return Ok(Arc::new(Embedded::open(&self.folder, genesis)?));
        }
        mongo(&self.url, genesis)
    }
}

#[cfg(feature = "mongodb")]
fn mongo(url: &str, genesis: B256) -> Result<Arc<dyn Collections>, ModelError> {
    Ok(Arc::new(lucid_readmodel::Mongo::open(url, genesis)?))
}

#[cfg(not(feature = "mongodb"))]
fn mongo(_: &str, _: B256) -> Result<Arc<dyn Collections>, ModelError> {
    Err(ModelError::Unsupported(
        crate::config::NO_MONGODB.to_owned(),
    ))
}

/// Follows the chain until the ledger is gone. Whatever goes wrong is told and tried again: a node does not stop for its read model.
pub(crate) async fn follow(
    ledger: Ledger,
    place: Place,
    state: watch::Sender<ModelState>,
) -> Result<(), NodeError> {
    let mut heads = ledger.watch();
    let mut wait = FIRST_WAIT;
    loop {
        heads.borrow_and_update();
        match catch_up(&ledger, &place, &state).await {
            Ok(()) => {
                wait = FIRST_WAIT;
                state.send_if_modified(|state| state.trouble.take().is_some());
                if heads.changed().await.is_err() {
                    return Ok(());
                }
            }
            Err(error) => {
                warn!(%error, wait_s = wait.as_secs(), "the read model is behind, and is tried again");
                // The embedded database writes no more after a failed write: it has to be opened again. A driver reconnects itself.
                let closed = matches!(error, NodeError::Model(ModelError::Database { .. }));
                state.send_modify(|state| {
                    state.trouble = Some(error.to_string());
                    state.store.take_if(|_| closed);
                });
                sleep(wait).await;
                wait = (wait * 2).min(LONGEST_WAIT);
            }
        }
    }
}

async fn catch_up(
    ledger: &Ledger,
    place: &Place,
    state: &watch::Sender<ModelState>,
) -> Result<(), NodeError> {
    let opened = state.borrow().store.clone();
    let store = match opened {
        Some(store) => store,
        None => {
            let (ledger, place) = (ledger.clone(), place.clone());
            let store = blocking(move || {
                let store = place.open(ledger.genesis_hash())?;
                match join(&ledger, &*store)? {
                    Joined::On => {}
                    Joined::Other { height } => warn!(%height, "the read model was of other blocks than the chain here: it is made anew"),
                    Joined::Missing { height, earliest } => warn!(%height, %earliest, "blocks between the read model and the chain here are missing: it is made anew without them"),
                }
                let at = store.position()?.map_or(Height::GENESIS, |at| at.height);
                metrics::read_model(at);
                Ok(store)
            })
            .await?;
            state.send_modify(|state| state.store = Some(store.clone()));
            store
        }
    };
    loop {
        let (ledger, store) = (ledger.clone(), store.clone());
        let begun = Instant::now();
        let Some(Position { height, .. }) = blocking(move || Ok(step(&ledger, &*store)?)).await?
        else {
            return Ok(());
        };
        metrics::read_model(height);
        // While it has much to catch up with it takes half a core, and leaves the other half to the chain.
        sleep(begun.elapsed()).await;
    }
}

/// What a rebuild came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rebuilt {
    /// The first block in it, and the last; `None` for a chain without blocks.
    pub blocks: Option<(Height, Height)>,
    /// The kind of its database.
    pub store: &'static str,
}

/// Makes the read model of a stopped node anew from its blocks. `progress` is told the height reached, and the head.
pub fn rebuild(
    home: &Home,
    section: &DatabaseSection,
    mut progress: impl FnMut(Height, Height),
) -> Result<Rebuilt, NodeError> {
    // Opened first: it is locked while its node runs.
    let ledger = Ledger::open(&home.data(), home.genesis()?, LedgerOptions::default())?;
    let place = Place::of(home, section);
    if place.url.is_empty() && place.folder.exists() {
        // It goes as a whole, whatever is wrong with it.
        let removed = if place.folder.is_dir() {
            fs::remove_dir_all(&place.folder)
        } else {
            fs::remove_file(&place.folder)
        };
        removed.map_err(|error| NodeError::file(&place.folder, error))?;
    }
    let store = place.open(ledger.genesis_hash())?;
    store.reset()?;
    let head = ledger.head().height;
    while let Some(at) = step(&ledger, &*store)? {
        progress(at.height, head);
    }
    let blocks = store.position()?.map(|at| (at.from, at.height));
    info!(?blocks, "the read model was made anew");
    Ok(Rebuilt {
        blocks,
        store: store.kind(),
    })
}
