//! The ledger: what is final, and the one way to add to it.

use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

use alloy_primitives::B256;
use lucid_chain_types::{
    Block, BlockId, Certificate, CertifiedBlock, Genesis, Header, Height, MAX_BLOCK_BYTES, NodeId,
    Slot, ValidatorSet,
};
use lucid_execution::{
    Built, Chain, Executed, ExecutionError, NextBlock, Parent, Proposal, Receipt, SystemRecord,
    View, genesis_changes,
};
use lucid_light::TrustedGenesis;
use lucid_poot::LeaderRecord;
use lucid_state::{Historic, State, StateOptions};
use tokio::sync::watch;

use crate::LedgerError;
use crate::store::{Added, Place, Store, Undecided};

/// How a ledger is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LedgerOptions {
    /// Heights whose state can still be read and proven.
    pub history: u64,
    /// Bytes of the database's cache.
    pub cache: u64,
    /// When what is committed is on the disk.
    pub durability: Durability,
}

/// When what is committed is on the disk. Either way a crash leaves whole blocks, the first ones without a gap.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Durability {
    /// Before a commit returns: what a node does that votes.
    #[default]
    EachBlock,
    /// Once [`Ledger::persist`] returns: for a chain that is restored from a file, which can be read again.
    OnPersist,
}

impl Default for LedgerOptions {
    fn default() -> Self {
        Self {
            history: 256,
            cache: 16 << 20,
            durability: Durability::EachBlock,
        }
    }
}

/// Where the chain is.
#[derive(Debug, Clone)]
pub struct Head {
    /// The last final block; 0 before the first.
    pub height: Height,
    /// Its id; the genesis hash before the first block.
    pub id: BlockId,
    /// Its header.
    pub header: Option<Header>,
    /// The first block that is here: 1, or the block of the snapshot that the chain here began with.
    pub earliest: Height,
    /// Who votes on the next block.
    pub validators: ValidatorSet,
    /// Who leads its rounds.
    pub order: Vec<NodeId>,
    /// What it charges and holds.
    pub next: NextBlock,
}

/// One node's ledger. Cheap to clone; its calls block for microseconds, but for those that execute.
#[derive(Clone)]
pub struct Ledger(pub(crate) Arc<Inner>);

pub(crate) struct Inner {
    path: PathBuf,
    pub(crate) chain: Chain,
    pub(crate) store: Store,
    pub(crate) state: State,
    head: RwLock<Head>,
    watch: watch::Sender<Height>,
}

impl Ledger {
    /// Opens the ledger in a folder, and makes it from genesis where there is none.
    pub fn open(
        folder: &Path,
        genesis: Genesis,
        options: LedgerOptions,
    ) -> Result<Self, LedgerError> {
        let chain = Chain::new(genesis);
        let store = Store::open(folder, options, chain.genesis_hash())?;
        let state = State::open(
            &store.db,
            StateOptions {
                history: options.history,
                ..StateOptions::default()
            },
        )?;
        let height = store.head()?;
        match state.height() {
            None => begin(&chain, &store, &state)?,
            Some(found) if found == height.0 => {}
            // INVARIANT: one batch moves both, so this is a damaged disk and not a crash.
            Some(found) => {
                return Err(LedgerError::damaged(
                    "the database",
                    format!("the state is of height {found}, the blocks end at {height}"),
                ));
            }
        }
        let head = read_head(&chain, &store, &state)?;
        Ok(Self(Arc::new(Inner {
            path: folder.to_owned(),
            chain,
            store,
            state,
            head: RwLock::new(head),
            watch: watch::channel(height).0,
        })))
    }

    /// Its folder.
    pub fn path(&self) -> &Path {
        &self.0.path
    }

    /// What the chain started from.
    pub fn genesis(&self) -> &Genesis {
        self.0.chain.genesis()
    }

    /// The chain's name in every signature.
    pub fn genesis_hash(&self) -> B256 {
        self.0.chain.genesis_hash()
    }

    /// What proofs of this chain are checked with.
    pub fn trusted_genesis(&self) -> Result<TrustedGenesis, LedgerError> {
        TrustedGenesis::new(self.genesis())
            .map_err(|error| LedgerError::damaged("the genesis file", error))
    }

    /// The chain's rules.
    pub fn chain(&self) -> &Chain {
        &self.0.chain
    }

    /// Where the chain is.
    pub fn head(&self) -> Head {
        self.0
            .head
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Follows the head.
    pub fn watch(&self) -> watch::Receiver<Height> {
        self.0.watch.subscribe()
    }

    /// The first block that is here: 1, or the block of the snapshot that the chain here began with.
    pub fn earliest(&self) -> Height {
        self.head().earliest
    }

    /// A header. Below [`Self::earliest`] only those are here that change the validator set.
    pub fn header(&self, height: Height) -> Result<Option<Header>, LedgerError> {
        self.0.store.header(height)
    }

    /// Number of a block.
    pub fn height_of(&self, id: BlockId) -> Result<Option<Height>, LedgerError> {
        self.0.store.height_of(id)
    }

    /// A block; `None` where only its header is here, or nothing.
    pub fn block(&self, height: Height) -> Result<Option<Block>, LedgerError> {
        let (Some(header), Some(body)) = (self.0.store.header(height)?, self.0.store.body(height)?)
        else {
            return Ok(None);
        };
        Ok(Some(Block { header, body }))
    }

    /// A block's certificate.
    pub fn certificate(&self, height: Height) -> Result<Option<Certificate>, LedgerError> {
        self.0.store.certificate(height)
    }

    /// The receipts of a block's transactions; `None` where there is no such block.
    pub fn receipts(&self, height: Height) -> Result<Option<Vec<Receipt>>, LedgerError> {
        let head = self.head();
        if height < head.earliest || height > head.height {
            return Ok(None);
        }
        self.0.store.receipts(height).map(Some)
    }

    /// Where a transaction is.
    pub fn transaction_place(&self, hash: B256) -> Result<Option<Place>, LedgerError> {
        self.0.store.place(hash)
    }

    /// A validator set by its hash.
    pub fn validator_set(&self, hash: B256) -> Result<Option<ValidatorSet>, LedgerError> {
        self.0.store.set(hash)
    }

    /// Heights up to `last` whose block changes the validator set.
    pub fn set_changes(&self, last: Height) -> Result<Vec<Height>, LedgerError> {
        self.0.store.set_changes(last)
    }

    /// Who led a slot that is over.
    pub fn leader_record(&self, slot: Slot) -> Result<Option<LeaderRecord>, LedgerError> {
        self.0.store.leader(slot)
    }

    /// What a block's own calls left behind: empty for most blocks.
    pub fn system_record(&self, height: Height) -> Result<SystemRecord, LedgerError> {
        self.0.store.system(height)
    }

    /// The state at the head.
    pub fn state(&self) -> &State {
        &self.0.state
    }

    /// The state after a block, of the last heights.
    pub fn state_at(&self, height: Height) -> Result<Historic, LedgerError> {
        Ok(self.0.state.at(height.0)?)
    }

    /// Reads a state through the contracts.
    pub fn view<'a>(&self, state: &'a Historic) -> View<'a, Historic> {
        self.0.chain.view(state)
    }

    /// What the next block is built and checked on.
    pub fn parent(&self) -> Result<Parent, LedgerError> {
        let head = self.head();
        let signers = match &head.header {
            None => head.validators.clone(),
            Some(header) => self.set_of(header.validators_hash)?,
        };
        Ok(Parent {
            header: head.header,
            signers,
            validators: head.validators,
            order: head.order,
        })
    }

    pub(crate) fn set_of(&self, hash: B256) -> Result<ValidatorSet, LedgerError> {
        self.0.store.set(hash)?.ok_or_else(|| {
            LedgerError::damaged("the validator sets", format!("{hash} is not there"))
        })
    }

    /// Builds a block on the head.
    pub fn build(&self, proposal: Proposal) -> Result<Built, LedgerError> {
        Ok(self
            .0
            .chain
            .build(&self.parent()?, &self.0.state, proposal)?)
    }

    /// Checks a block on the head.
    pub fn validate(&self, block: &Block) -> Result<Executed, LedgerError> {
        Ok(self
            .0
            .chain
            .validate(&self.parent()?, &self.0.state, block)?)
    }

    /// Adds a block: itself, its state and its certificate in one atomic, synced write. When this returns, no crash takes it back.
    pub fn commit(
        &self,
        block: &Block,
        executed: Executed,
        certificate: &Certificate,
    ) -> Result<(), LedgerError> {
        let head = self.head();
        let height = block.header.height;
        if height != head.height.next() {
            return Err(LedgerError::NotNext {
                found: height,
                head: head.height,
            });
        }
        let Executed {
            prepared,
            receipts,
            next_validators,
            next_order,
            leader,
            system,
        } = executed;
        let mut batch = self.0.store.batch();
        self.0.state.commit(height.0, &prepared, &mut batch)?;
        self.0.store.add_block(
            &mut batch,
            block,
            &Added {
                receipts: &receipts,
                leader: leader.as_ref(),
                system: &system,
                next_validators: &next_validators,
            },
            certificate,
        )?;
        self.0.store.write(batch)?;
        self.0.state.committed(height.0, &prepared)?;
        let state = self.0.state.latest()?;
        let next = self.view(&state).next_block(Some(&block.header))?;
        *self.0.head.write().unwrap_or_else(PoisonError::into_inner) = Head {
            height,
            id: block.id(),
            header: Some(block.header.clone()),
            earliest: head.earliest,
            validators: next_validators,
            order: next_order,
            next,
        };
        self.0.watch.send_replace(height);
        Ok(())
    }

    /// Waits until all that was committed is on the disk; see [`Durability`].
    pub fn persist(&self) -> Result<(), LedgerError> {
        self.0.store.persist()
    }

    /// Goes on from what the database says now.
    pub(crate) fn reload(&self) -> Result<(), LedgerError> {
        let head = read_head(&self.0.chain, &self.0.store, &self.0.state)?;
        let height = head.height;
        *self.0.head.write().unwrap_or_else(PoisonError::into_inner) = head;
        self.0.watch.send_replace(height);
        Ok(())
    }

    /// A block with what makes it final; `None` where it is not here.
    pub fn certified(&self, height: Height) -> Result<Option<CertifiedBlock>, LedgerError> {
        let (Some(block), Some(certificate)) = (self.block(height)?, self.certificate(height)?)
        else {
            return Ok(None);
        };
        let header = &block.header;
        let next_validators = if header.next_validators_hash == header.validators_hash {
            None
        } else {
            Some(self.set_of(header.next_validators_hash)?)
        };
        Ok(Some(CertifiedBlock {
            block,
            certificate,
            next_validators,
        }))
    }

    /// Takes a certificate of the head with more signatures than the one that is here: late voters get their credit for it.
    pub fn extend_certificate(&self, certificate: &Certificate) -> Result<(), LedgerError> {
        let head = self.head();
        let Some(header) = head.header else {
            return Ok(());
        };
        if certificate.height != head.height || certificate.block != head.id {
            return Ok(());
        }
        let has = self
            .certificate(head.height)?
            .map_or(0, |kept| kept.signatures.len());
        let signers = self.set_of(header.validators_hash)?;
        // The engine checked it; checking again keeps a bad one from ever reaching a proof.
        if certificate.signatures.len() <= has
            || certificate.verify(self.genesis_hash(), &signers).is_err()
        {
            return Ok(());
        }
        self.0.store.replace_certificate(certificate)
    }

    /// Puts a proposed block on disk, before this node votes for it.
    pub fn put_undecided(&self, height: Height, undecided: &Undecided) -> Result<(), LedgerError> {
        self.0.store.put_undecided(height, undecided)
    }

    /// The blocks proposed in a round of a height.
    pub fn undecided(&self, height: Height, round: u32) -> Result<Vec<Undecided>, LedgerError> {
        self.0.store.undecided(height, round)
    }

    /// A block that was proposed at a height, in whichever round.
    pub fn undecided_block(
        &self,
        height: Height,
        block: BlockId,
    ) -> Result<Option<Undecided>, LedgerError> {
        self.0.store.undecided_block(height, block)
    }

    /// Executes a decided block again that is on disk only, as after a crash between decision and commit.
    pub fn replay_undecided(
        &self,
        certificate: &Certificate,
    ) -> Result<(Block, Executed), LedgerError> {
        let missing = || {
            LedgerError::damaged(
                format!("the decided block {}", certificate.height),
                "it is not on disk",
            )
        };
        let stored = self
            .undecided_block(certificate.height, certificate.block)?
            .ok_or_else(missing)?;
        let block = Block::decode(&stored.bytes).map_err(|error| {
            LedgerError::decode(format!("the decided block {}", certificate.height), &error)
        })?;
        debug_assert!(stored.bytes.len() <= MAX_BLOCK_BYTES);
        let executed = self.validate(&block)?;
        Ok((block, executed))
    }
}

/// Where the database says that the chain is.
fn read_head(chain: &Chain, store: &Store, state: &State) -> Result<Head, LedgerError> {
    let height = store.head()?;
    let header = match height {
        Height::GENESIS => None,
        height => Some(store.header(height)?.ok_or_else(|| {
            LedgerError::damaged(format!("block {height}"), "its header is not there")
        })?),
    };
    if let Some(header) = &header
        && header.state_root != state.root()
    {
        return Err(LedgerError::damaged(
            "the state",
            format!(
                "its root is {}, block {height} says {}",
                state.root(),
                header.state_root
            ),
        ));
    }
    let (validators, order) = chain.leadership(&state.latest()?)?;
    let next = chain.view(&state.latest()?).next_block(header.as_ref())?;
    Ok(Head {
        height,
        id: header
            .as_ref()
            .map_or(BlockId(chain.genesis_hash()), Header::id),
        header,
        earliest: store.earliest()?,
        validators,
        order,
        next,
    })
}

/// Writes the genesis state.
pub(crate) fn begin(chain: &Chain, store: &Store, state: &State) -> Result<(), LedgerError> {
    let genesis = chain.genesis();
    let prepared = state.prepare(&genesis_changes(genesis)?)?;
    if prepared.root() != genesis.state_root {
        return Err(LedgerError::GenesisRoot {
            said: genesis.state_root,
            made: prepared.root(),
        });
    }
    let set = genesis
        .validator_set()
        .map_err(|error| LedgerError::damaged("the genesis file", error))?;
    let mut batch = store.batch();
    state.commit(0, &prepared, &mut batch)?;
    store.add_set(&mut batch, &set)?;
    store.write(batch)?;
    state.committed(0, &prepared)?;
    Ok(())
}

impl LedgerError {
    /// The block's fault in words, or this node's own error back.
    pub fn into_invalid(self) -> Result<lucid_execution::BlockError, Self> {
        match self {
            Self::Execution(ExecutionError::Block(error)) => Ok(error),
            own => Err(own),
        }
    }
}
