//! Proposals: taken apart and put together, handed to the node, made by it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use alloy_primitives::B256;
use bytes::Bytes;
use lucid_chain_types::{
    Block, BlockId, Certificate, Height as ChainHeight, Proposal, Signature, SignedProposal,
    SignerBitmap,
};
use malachite_app::app::streaming::{StreamContent, StreamMessage};
use malachite_app::app::types::PeerId;
use malachite_core::{LocallyProposedValue, ProposedValue};
use malachite_engine::host::SyncedValueOutcome;
use malachite_types::{CommitCertificate, Round, ValidatorSet as _, Validity};
use ractor::RpcReplyPort;

use super::{EarlyProposal, Shared, State};
use crate::context::{Address, Height, Lucid, Part, Value, optional_round, round_number};
use crate::event::{Event, Verdict};
use crate::guard::GuardError;
use crate::pack::{pack, unpack};
use crate::parts::Added;
use crate::signing::ABSTAIN;

/// Rounds ahead of ours whose proposals are taken; the engine drops messages of later ones too.
const ROUNDS_AHEAD: u32 = 10;
/// Blocks of one leader and round that are looked at: more than one is equivocation, and each costs an execution.
const BLOCKS_PER_ROUND: usize = 2;
/// Bytes of proposals of the next height that are kept while ours is not over.
const EARLY_BYTES: usize = 32 << 20;

impl Shared {
    /// Whether the head of a stream may be believed.
    pub(super) fn accepts(&self, state: &State, signed: &SignedProposal) -> bool {
        let proposal = &signed.proposal;
        let Some((height, validators)) = &state.start else {
            return false;
        };
        let validator = if proposal.height == *height {
            // Once the height is decided nothing more is wanted for it.
            if state.holding
                || proposal.round > state.round.saturating_add(ROUNDS_AHEAD)
                || state
                    .proposals
                    .contains_key(&(proposal.round, proposal.block))
            {
                return false;
            }
            let leader = validators.leader(Round::new(proposal.round));
            (leader.address.0 == proposal.proposer).then_some(leader)
        } else if proposal.height == height.next() && proposal.round <= ROUNDS_AHEAD {
            // Who leads the next height is not known yet, but only validators may ask us to keep something for it.
            validators.get_by_address(&Address(proposal.proposer))
        } else {
            None
        };
        validator.is_some_and(|validator| {
            let proposal = crate::context::Proposal::from_chain(proposal);
            self.verifier
                .proposal(&proposal, &signed.signature, &validator.key)
        })
    }

    /// Takes a piece of a proposal.
    pub(super) async fn part(
        self: &Arc<Self>,
        publisher: PeerId,
        message: StreamMessage<Part>,
        reply: RpcReplyPort<ProposedValue<Lucid>>,
    ) {
        let StreamContent::Data(part) = message.content else {
            return;
        };
        let stream = message.stream_id.to_bytes();
        let added = {
            let mut state = self.state();
            let mut assembler = std::mem::take(&mut state.assembler);
            let added = assembler.add(&publisher, &stream, message.sequence, part, |signed| {
                self.accepts(&state, signed)
            });
            state.assembler = assembler;
            added
        };
        match added {
            Added::Waiting => {}
            Added::Dropped(reason) => {
                tracing::debug!(%publisher, reason, "dropped a piece of a proposal");
            }
            Added::Complete { signed, packed } => {
                let Proposal {
                    height, proposer, ..
                } = signed.proposal;
                let early = {
                    let mut state = self.state();
                    let early = state
                        .start
                        .as_ref()
                        .is_some_and(|(current, _)| height > *current);
                    if early {
                        // One of each validator: none can push out the leader's.
                        let mut kept = state.early.iter();
                        let known = kept.any(|early| early.signed.proposal.proposer == proposer);
                        let held: usize = state.early.iter().map(|early| early.packed.len()).sum();
                        if !known && held.saturating_add(packed.len()) <= EARLY_BYTES {
                            state.early.push(EarlyProposal {
                                signed,
                                packed,
                                reply,
                            });
                        }
                        None
                    } else {
                        Some((signed, packed, reply))
                    }
                };
                match early {
                    None => self.saw(proposer, height, true).await,
                    Some((signed, packed, reply)) => {
                        tokio::spawn(Arc::clone(self).judge(signed, packed, reply));
                    }
                }
            }
        }
    }

    /// Hands the early proposals of a height that has begun to the node.
    pub(super) fn release(self: &Arc<Self>, height: ChainHeight) {
        let mut state = self.state();
        let (due, later): (Vec<_>, Vec<_>) = std::mem::take(&mut state.early)
            .into_iter()
            .partition(|early| early.signed.proposal.height == height);
        state.early = later;
        for early in due {
            // Now the leader is known.
            if self.accepts(&state, &early.signed) {
                tokio::spawn(Arc::clone(self).judge(early.signed, early.packed, early.reply));
            }
        }
    }

    /// Asks the node about a whole proposal.
    pub(super) async fn judge(
        self: Arc<Self>,
        signed: SignedProposal,
        packed: Bytes,
        reply: RpcReplyPort<ProposedValue<Lucid>>,
    ) {
        let proposal = signed.proposal;
        // Anybody can send other bytes under a leader's signature. They are dropped without a verdict: the leader's own may come.
        let Some(bytes) = unpack_block(packed, Some(proposal.block)).await else {
            tracing::debug!(height = %proposal.height, round = proposal.round, "the bytes of a proposal are not its block's");
            return;
        };
        {
            let mut state = self.state();
            let current = state
                .start
                .as_ref()
                .is_some_and(|(height, _)| *height == proposal.height);
            let of_round = state
                .proposals
                .range((proposal.round, BlockId(B256::ZERO))..)
                .take_while(|((round, _), _)| *round == proposal.round);
            if !current || of_round.count() >= BLOCKS_PER_ROUND {
                return;
            }
            if state
                .proposals
                .insert((proposal.round, proposal.block), signed)
                .is_some()
            {
                return;
            }
        }
        let verdict = self
            .ask(|reply| Event::Received {
                height: proposal.height,
                round: proposal.round,
                valid_round: proposal.valid_round,
                proposer: proposal.proposer,
                bytes,
                reply,
            })
            .await;
        let Some(verdict) = verdict else {
            // The node could not say; it may be asked again.
            self.state()
                .proposals
                .remove(&(proposal.round, proposal.block));
            return;
        };
        drop(reply.send(ProposedValue {
            height: Height(proposal.height),
            round: Round::new(proposal.round),
            valid_round: optional_round(proposal.valid_round),
            proposer: Address(proposal.proposer),
            value: Value(proposal.block),
            validity: Validity::from_bool(verdict == Verdict::Valid(proposal.block)),
        }));
    }

    /// This node leads a round.
    pub(super) async fn propose(
        self: Arc<Self>,
        height: ChainHeight,
        round: u32,
        timeout: Duration,
        reply: RpcReplyPort<LocallyProposedValue<Lucid>>,
    ) {
        let Some(signer) = &self.signer else {
            return;
        };
        // Before a restart a proposal was signed here: no other may be.
        let (block, signed, bytes) = if let Some(signed) = signer.history().proposed(height, round)
        {
            let proposal = signed.proposal;
            let bytes = self.ask(|reply| Event::Repropose {
                height,
                round,
                valid_round: proposal.valid_round,
                block: proposal.block,
                reply,
            });
            let Some(bytes) = bytes.await.flatten() else {
                tracing::warn!(%height, round, "the block that was proposed before the restart is gone; passing this round");
                return;
            };
            (proposal.block, signed, bytes)
        } else {
            let block = self.ask(|reply| Event::Propose {
                height,
                round,
                timeout,
                reply,
            });
            let Some(block) = block.await else {
                tracing::debug!(%height, round, "the node has nothing to propose");
                return;
            };
            let id = block.id();
            let signed = signer.proposal(Proposal {
                height,
                round,
                block: id,
                valid_round: None,
                proposer: self.node,
            });
            match signed.await {
                Ok(signed) if signed.signature != ABSTAIN => (id, signed, block.encode()),
                Ok(_) => return,
                Err(GuardError::Stopped) => return,
                Err(error) => {
                    tracing::error!(%error, "cannot sign a proposal");
                    return;
                }
            }
        };
        if let Some(packed) = pack_block(bytes).await {
            self.state().proposals.insert((round, block), signed);
            self.publish(signed, &packed);
            drop(reply.send(LocallyProposedValue::new(
                Height(height),
                Round::new(round),
                Value(block),
            )));
        }
    }

    /// A block has to travel again.
    pub(super) async fn restream(self: Arc<Self>, proposal: Proposal) {
        let signed = match &self.signer {
            Some(signer) if proposal.proposer == self.node => signer.proposal(proposal).await.ok(),
            _ => self
                .state()
                .proposals
                .get(&(proposal.round, proposal.block))
                .copied(),
        };
        let Some(signed) = signed.filter(|signed| signed.signature != ABSTAIN) else {
            return;
        };
        let bytes = self.ask(|reply| Event::Repropose {
            height: proposal.height,
            round: proposal.round,
            valid_round: proposal.valid_round,
            block: proposal.block,
            reply,
        });
        let Some(bytes) = bytes.await.flatten() else {
            tracing::warn!(height = %proposal.height, block = %proposal.block, "the node no longer has a block that has to travel again");
            return;
        };
        if let Some(packed) = pack_block(bytes).await {
            self.state()
                .proposals
                .insert((proposal.round, proposal.block), signed);
            self.publish(signed, &packed);
        }
    }

    pub(super) fn certificate(
        &self,
        certificate: &CommitCertificate<Lucid>,
    ) -> Option<Certificate> {
        let state = self.state();
        let (height, validators) = state.start.as_ref()?;
        if *height != certificate.height.0 {
            return None;
        }
        let validators = validators.chain();
        let signatures: BTreeMap<usize, Signature> = certificate
            .commit_signatures
            .iter()
            .filter_map(|signature| {
                Some((
                    validators.index_of(signature.address.0)?,
                    signature.signature,
                ))
            })
            .collect();
        Some(Certificate {
            height: *height,
            round: round_number(certificate.round),
            block: certificate.value_id,
            signers: SignerBitmap::new(validators.len(), signatures.keys().copied()),
            signatures: signatures.into_values().collect(),
        })
    }

    /// A peer's value with its certificate, which the engine has checked.
    pub(super) async fn synced(
        self: Arc<Self>,
        height: ChainHeight,
        round: Round,
        proposer: Address,
        packed: Bytes,
        reply: RpcReplyPort<SyncedValueOutcome<Lucid>>,
    ) {
        let outcome = match unpack_block(packed, None).await {
            None => SyncedValueOutcome::PeerFault,
            Some(bytes) => {
                let id = header_id(&bytes);
                let verdict = self.ask(|reply| Event::Synced {
                    height,
                    round: round_number(round),
                    proposer: proposer.0,
                    bytes,
                    reply,
                });
                match (verdict.await, id) {
                    (Some(verdict), Some(id)) => SyncedValueOutcome::Verdict(ProposedValue {
                        height: Height(height),
                        round,
                        valid_round: Round::Nil,
                        proposer,
                        value: Value(id),
                        validity: Validity::from_bool(verdict == Verdict::Valid(id)),
                    }),
                    _ => SyncedValueOutcome::LocalTransientError,
                }
            }
        };
        drop(reply.send(outcome));
    }
}

/// Unpacks and decodes off the actors' threads; nothing if the bytes are no block, or not the one they should be.
async fn unpack_block(packed: Bytes, id: Option<BlockId>) -> Option<Vec<u8>> {
    let work = move || {
        let bytes = unpack(&packed).ok()?;
        let block = Block::decode(&bytes).ok()?;
        id.is_none_or(|id| block.id() == id).then_some(bytes)
    };
    tokio::task::spawn_blocking(work).await.ok().flatten()
}

async fn pack_block(bytes: Vec<u8>) -> Option<Bytes> {
    let packed = tokio::task::spawn_blocking(move || pack(&bytes))
        .await
        .ok()?;
    packed
        .inspect_err(|error| tracing::error!(%error, "a block cannot be sent"))
        .ok()
}

fn header_id(block: &[u8]) -> Option<BlockId> {
    use lucid_chain_types::Header;
    Some(Header::decode(block.get(..Header::BYTES)?).ok()?.id())
}
