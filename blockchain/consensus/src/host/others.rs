//! What the other validators are at, so that a node that holds its answer hears when they go on.

use std::collections::HashMap;

use lucid_chain_types::{Height as ChainHeight, NodeId, ValidatorSet as ChainValidators};
use malachite_engine::network::NetworkEvent;
use malachite_types::ValidatorSet as _;

use super::{Shared, State};
use crate::context::{Address, Lucid, PublicKey, Vote};
use crate::event::Event;

/// Messages for later heights than this many ahead of ours count as if they were for that one: a lie is forgotten soon.
const PLAUSIBLE_LEAD: u64 = 8;
/// Peers whose proofs are kept; more than connections are allowed.
const MAX_PEERS: usize = 1_024;

impl Shared {
    /// A validator was seen at work on a height.
    pub(super) async fn saw(&self, validator: NodeId, height: ChainHeight, proposes: bool) {
        {
            let mut state = self.state();
            let current = state.start.as_ref().map_or(0, |(height, _)| height.0);
            let plausible = height.min(ChainHeight(current.saturating_add(PLAUSIBLE_LEAD)));
            let raise = |heights: &mut HashMap<NodeId, ChainHeight>| {
                let known = heights.entry(validator).or_default();
                *known = plausible.max(*known);
            };
            raise(&mut state.seen);
            if proposes {
                raise(&mut state.proposed);
            }
        }
        self.remind().await;
    }

    /// The node holds its answer from now on.
    pub(super) async fn hold(&self) {
        {
            let mut state = self.state();
            state.holding = true;
            state.began = None;
            state.told = false;
            state.told_of.clear();
        }
        // Others may have gone on before.
        self.remind().await;
    }

    /// Tells a node that holds its answer that others have gone on.
    pub(super) async fn remind(&self) {
        let mut due = Vec::new();
        let next = {
            let mut state = self.state();
            let Some((current, validators)) = state.start.clone() else {
                return;
            };
            if !state.holding || state.told {
                return;
            }
            // Never the height that others claim: a lie would be believed for long.
            let next = current.next();
            let proposers = state.proposed.iter();
            let proposers: Vec<NodeId> = proposers
                .filter(|(_, height)| **height > current)
                .map(|(proposer, _)| *proposer)
                .collect();
            due.extend(
                proposers
                    .into_iter()
                    .filter(|proposer| state.told_of.insert(*proposer))
                    .map(Some),
            );
            if self.others_went_on(&state, current, validators.chain()) {
                state.told = true;
                due.push(None);
            }
            next
        };
        for proposer in due {
            self.tell(Event::Early {
                height: next,
                proposer,
            })
            .await;
        }
    }

    /// Whether so many have gone on from a height that an honest validator is among them.
    pub(super) fn others_went_on(
        &self,
        state: &State,
        current: ChainHeight,
        validators: &ChainValidators,
    ) -> bool {
        // A node that never leads loses nothing when it is woken for nothing.
        if self.signer.is_none() || validators.get(self.node).is_none() {
            return state.seen.values().any(|height| *height > current)
                || state.tips.values().any(|tip| *tip > current);
        }
        let faulty = validators.len() - validators.quorum();
        let gone = validators.list().iter().filter(|validator| {
            let seen = state.seen.get(&validator.node);
            seen.is_some_and(|height| *height > current)
                || state.tips.iter().any(|(peer, tip)| {
                    *tip > current && state.proofs.get(peer) == Some(&validator.consensus_key)
                })
        });
        gone.count() > faulty
    }
    /// What the network actor says.
    pub(super) async fn watch(&self, event: NetworkEvent<Lucid>) {
        match event {
            NetworkEvent::Listening(address) => {
                self.listening.send_replace(Some(address.to_string()));
            }
            NetworkEvent::PeerDisconnected(peer) => {
                let mut state = self.state();
                state.proofs.remove(&peer);
                state.listeners.remove(&peer);
                state.tips.remove(&peer);
                state.assembler.forget(&peer);
            }
            // The engine tells of one of a connection's subscriptions only; the others are sent with it.
            NetworkEvent::PeerSubscribed(peer, _) => {
                let mut state = self.state();
                if state.listeners.len() < MAX_PEERS {
                    state.listeners.insert(peer);
                }
                drop(state);
                self.peers.notify_waiters();
            }
            NetworkEvent::ValidatorProofReceived { peer_id, proof } => {
                if let Some(key) = self.verifier.proof(&proof) {
                    let mut state = self.state();
                    if state.proofs.len() < MAX_PEERS {
                        state.proofs.insert(peer_id, key);
                    }
                    drop(state);
                    self.peers.notify_waiters();
                }
            }
            NetworkEvent::Vote(_, vote) => {
                let Vote {
                    height, address, ..
                } = vote.message;
                let known = |state: &State| state.seen.get(&address.0).copied();
                if let Some(key) = self.early_key(address, height.0, known)
                    && self.verifier.vote(&vote.message, &vote.signature, &key)
                {
                    self.saw(address.0, height.0, false).await;
                }
            }
            NetworkEvent::Proposal(_, proposal) => {
                let (height, address) = (proposal.message.height, proposal.message.address);
                let known = |state: &State| state.proposed.get(&address.0).copied();
                if let Some(key) = self.early_key(address, height.0, known)
                    && self
                        .verifier
                        .proposal(&proposal.message, &proposal.signature, &key)
                {
                    self.saw(address.0, height.0, true).await;
                }
            }
            NetworkEvent::Status(peer, status) => {
                {
                    let mut state = self.state();
                    if state.tips.len() < MAX_PEERS || state.tips.contains_key(&peer) {
                        state.tips.insert(peer, status.tip_height.0);
                    }
                }
                self.remind().await;
            }
            _ => {}
        }
    }

    /// The key to check a message with, if it would show that a validator works on a later height than is known of it.
    pub(super) fn early_key(
        &self,
        validator: Address,
        height: ChainHeight,
        known: impl Fn(&State) -> Option<ChainHeight>,
    ) -> Option<PublicKey> {
        let state = self.state();
        let (current, validators) = state.start.as_ref()?;
        let known = known(&state).unwrap_or_default();
        (height > *current && height > known)
            .then(|| validators.get_by_address(&validator).map(|it| it.key))?
    }
}
