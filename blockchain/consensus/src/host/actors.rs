//! The actors.

use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use lucid_chain_types::{Evidence, Height as ChainHeight, Proposal, SignedProposal, SignedVote};
use malachite_core::{LivenessMsg, MisbehaviorEvidence, ProposedValue, VoteExtensionError};
use malachite_engine::host::{HostMsg, Next};
use malachite_engine::network::{Msg as NetworkMsg, NetworkEvent, NetworkRef};
use malachite_sync::RawDecidedValue;
use malachite_types::{ExtendedCommitCertificate, ExtendedCommitSignature, Round, Validity};
use ractor::{Actor, ActorProcessingErr, ActorRef};

use super::Shared;
use crate::context::{Address, Height, Lucid, Value, optional_round, round_number};
use crate::engine::{SYNC_BATCH, WatchedLog};
use crate::event::{DecidedBlock, Event, UndecidedBlock};
use crate::pack::pack;
use crate::signing::ABSTAIN;

fn evidence(found: MisbehaviorEvidence<Lucid>) -> Vec<Evidence> {
    let votes = found
        .votes
        .into_iter()
        .flat_map(|(_, pairs)| pairs)
        .map(|(a, b)| {
            let [a, b] = [a, b].map(|signed| SignedVote {
                vote: signed.message.to_chain(),
                signature: signed.signature,
            });
            Evidence::votes(a, b)
        });
    let proposals = found
        .proposals
        .into_iter()
        .flat_map(|(_, pairs)| pairs)
        .map(|(a, b)| {
            let [a, b] = [a, b].map(|signed| SignedProposal {
                proposal: signed.message.to_chain(),
                signature: signed.signature,
            });
            Evidence::proposals(a, b)
        });
    votes.chain(proposals).collect()
}

async fn raw_values(blocks: Vec<DecidedBlock>) -> Vec<RawDecidedValue<Lucid>> {
    let pack_all = move || {
        blocks
            .into_iter()
            .take(SYNC_BATCH)
            .map_while(
                |DecidedBlock {
                     certificate,
                     validators,
                     bytes,
                 }| {
                    let signers = certificate.signers.signers().zip(&certificate.signatures);
                    let commit_signatures = signers
                        .filter_map(|(index, signature)| {
                            let validator = validators.list().get(index)?;
                            Some(ExtendedCommitSignature::new(
                                Address(validator.node),
                                *signature,
                                None,
                            ))
                        })
                        .collect();
                    let certificate = ExtendedCommitCertificate {
                        height: Height(certificate.height),
                        round: Round::new(certificate.round),
                        value_id: certificate.block,
                        commit_signatures,
                    };
                    Some(RawDecidedValue::new(pack(&bytes).ok()?, certificate))
                },
            )
            .collect()
    };
    tokio::task::spawn_blocking(pack_all)
        .await
        .unwrap_or_default()
}

/// Answers the engine.
pub(crate) struct Host {
    shared: Arc<Shared>,
    log: Mutex<Option<WatchedLog>>,
}

impl Host {
    pub(crate) const fn new(shared: Arc<Shared>, log: Option<WatchedLog>) -> Self {
        Self {
            shared,
            log: Mutex::new(log),
        }
    }
}

#[async_trait]
impl Actor for Host {
    type Msg = HostMsg<Lucid>;
    type State = ();
    type Arguments = ();

    async fn pre_start(
        &self,
        _myself: ActorRef<Self::Msg>,
        _args: (),
    ) -> Result<(), ActorProcessingErr> {
        Ok(())
    }

    async fn post_stop(
        &self,
        _myself: ActorRef<Self::Msg>,
        _state: &mut (),
    ) -> Result<(), ActorProcessingErr> {
        // Before the node's stream ends, which may end the process.
        let log = self.log.lock().map(|mut log| log.take());
        if let Some(mut log) = log.unwrap_or_default() {
            log.set_aside_if_damaged();
        }
        self.shared.close();
        Ok(())
    }

    // Events leave in the order in which the engine asks; answers are waited for elsewhere. Answers that the engine no longer
    // waits for are dropped.
    async fn handle(
        &self,
        _myself: ActorRef<Self::Msg>,
        message: Self::Msg,
        _state: &mut (),
    ) -> Result<(), ActorProcessingErr> {
        let shared = Arc::clone(&self.shared);
        match message {
            HostMsg::ConsensusReady { reply_to } => {
                tokio::spawn(async move {
                    shared.wait_for_quorum().await;
                    let Some(answer) = shared.send(|reply| Event::Ready { reply }).await else {
                        return;
                    };
                    shared.hold().await;
                    if let Ok(start) = answer.await
                        && let Some(params) = shared.begin(&start)
                    {
                        drop(reply_to.send((Height(start.height), params)));
                    }
                });
            }
            HostMsg::StartedRound {
                height,
                round,
                proposer,
                role: _,
                reply_to,
            } => {
                let height = height.0;
                let round = round_number(round);
                shared.state().round = round;
                let answer = shared.send(|reply| Event::StartedRound {
                    height,
                    round,
                    proposer: proposer.0,
                    reply,
                });
                let answer = answer.await;
                tokio::spawn(async move {
                    let undecided = match answer {
                        Some(answer) => answer.await.unwrap_or_default(),
                        None => Vec::new(),
                    };
                    drop(reply_to.send(undecided.iter().map(proposed_value).collect()));
                    shared.release(height);
                });
            }
            HostMsg::GetValue {
                height,
                round,
                timeout,
                reply_to,
            } => {
                tokio::spawn(shared.propose(height.0, round_number(round), timeout, reply_to));
            }
            HostMsg::ExtendVote { reply_to, .. } => drop(reply_to.send(None)),
            HostMsg::VerifyVoteExtensions {
                extensions,
                reply_to,
                ..
            } => {
                let refused = extensions
                    .into_iter()
                    .map(|(address, ())| (address, Err(VoteExtensionError::InvalidVoteExtension)));
                drop(reply_to.send(refused.collect()));
            }
            HostMsg::RestreamValue {
                height,
                round,
                valid_round,
                address,
                value_id,
            } => {
                tokio::spawn(shared.restream(Proposal {
                    height: height.0,
                    round: round_number(round),
                    block: value_id,
                    valid_round: valid_round.as_u32(),
                    proposer: address.0,
                }));
            }
            HostMsg::GetHistoryMinHeight { reply_to } => {
                tokio::spawn(async move {
                    if let Some(height) = shared.ask(|reply| Event::MinHeight { reply }).await {
                        drop(reply_to.send(Height(height)));
                    }
                });
            }
            HostMsg::ReceivedProposalPart {
                from,
                published_by,
                part,
                reply_to,
            } => {
                shared
                    .part(published_by.unwrap_or(from), part, reply_to)
                    .await;
            }
            HostMsg::Decided {
                certificate,
                reply_to,
                ..
            } => {
                let Some(certificate) = shared.certificate(&certificate) else {
                    tracing::error!(height = %certificate.height, "a decision of another height than the one that runs");
                    return Ok(());
                };
                if let Some(answer) = shared
                    .send(|reply| Event::Decided { certificate, reply })
                    .await
                {
                    tokio::spawn(async move {
                        if answer.await.is_ok() {
                            drop(reply_to.send(()));
                        }
                    });
                }
            }
            HostMsg::Finalized {
                certificate,
                evidence: found,
                reply_to,
                ..
            } => {
                let Some(certificate) = shared.certificate(&certificate) else {
                    return Ok(());
                };
                let height = certificate.height;
                let evidence = evidence(found);
                let answer = shared.send(|reply| Event::Finalized {
                    certificate,
                    evidence,
                    reply,
                });
                let Some(answer) = answer.await else {
                    return Ok(());
                };
                // After the event, before its answer is looked at.
                shared.hold().await;
                tokio::spawn(async move {
                    let Ok(start) = answer.await else {
                        return;
                    };
                    if let Some(params) = shared.begin(&start) {
                        let start_height = Height(start.height);
                        drop(reply_to.send(if start.height > height {
                            Next::Start(start_height, params)
                        } else {
                            Next::Restart(start_height, params)
                        }));
                    }
                });
            }
            HostMsg::GetDecidedValues { range, reply_to } => {
                let from = range.start().0;
                let last = ChainHeight(from.0.saturating_add(SYNC_BATCH as u64 - 1));
                let to = range.end().0.min(last);
                tokio::spawn(async move {
                    let blocks = shared
                        .ask(|reply| Event::GetDecided { from, to, reply })
                        .await;
                    drop(reply_to.send(raw_values(blocks.unwrap_or_default()).await));
                });
            }
            HostMsg::ProcessSyncedValue {
                height,
                round,
                proposer,
                value_bytes,
                reply_to,
            } => {
                tokio::spawn(shared.synced(height.0, round, proposer, value_bytes, reply_to));
            }
        }
        Ok(())
    }
}

fn proposed_value(block: &UndecidedBlock) -> ProposedValue<Lucid> {
    ProposedValue {
        height: Height(block.height),
        round: Round::new(block.round),
        valid_round: optional_round(block.valid_round),
        proposer: Address(block.proposer),
        value: Value(block.block),
        validity: Validity::from_bool(block.valid),
    }
}

/// In front of the network's actor: what nobody would hear, or what carries no signature, is not published.
pub(crate) struct Gate {
    shared: Arc<Shared>,
    network: NetworkRef<Lucid>,
}

impl Gate {
    pub(crate) const fn new(shared: Arc<Shared>, network: NetworkRef<Lucid>) -> Self {
        Self { shared, network }
    }
}

#[async_trait]
impl Actor for Gate {
    type Msg = NetworkMsg<Lucid>;
    type State = ();
    type Arguments = ();

    async fn pre_start(
        &self,
        _myself: ActorRef<Self::Msg>,
        _args: (),
    ) -> Result<(), ActorProcessingErr> {
        Ok(())
    }

    async fn handle(
        &self,
        _myself: ActorRef<Self::Msg>,
        message: Self::Msg,
        _state: &mut (),
    ) -> Result<(), ActorProcessingErr> {
        let useful = match &message {
            NetworkMsg::PublishConsensusMsg(message) => {
                *message.signature() != ABSTAIN && self.shared.is_heard()
            }
            NetworkMsg::PublishLivenessMsg(LivenessMsg::Vote(vote)) => {
                vote.signature != ABSTAIN && self.shared.is_heard()
            }
            NetworkMsg::PublishLivenessMsg(_) | NetworkMsg::PublishProposalPart(_) => {
                self.shared.is_heard()
            }
            _ => true,
        };
        if useful {
            self.network.cast(message)?;
        }
        Ok(())
    }
}

/// Listens to the network.
pub(crate) struct Watcher {
    shared: Arc<Shared>,
}

impl Watcher {
    pub(crate) const fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }
}

/// A network event, as a message of our own.
pub(crate) struct Seen(NetworkEvent<Lucid>);

impl From<NetworkEvent<Lucid>> for Seen {
    fn from(event: NetworkEvent<Lucid>) -> Self {
        Self(event)
    }
}

#[async_trait]
impl Actor for Watcher {
    type Msg = Seen;
    type State = ();
    type Arguments = ();

    async fn pre_start(
        &self,
        _myself: ActorRef<Self::Msg>,
        _args: (),
    ) -> Result<(), ActorProcessingErr> {
        Ok(())
    }

    async fn handle(
        &self,
        _myself: ActorRef<Self::Msg>,
        Seen(event): Seen,
        _state: &mut (),
    ) -> Result<(), ActorProcessingErr> {
        self.shared.watch(event).await;
        Ok(())
    }
}
