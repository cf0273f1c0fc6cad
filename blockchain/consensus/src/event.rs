//! What the engine asks and tells the node.

use std::time::Duration;

use lucid_chain_types::{Block, BlockId, Certificate, Evidence, Height, NodeId, ValidatorSet};
use tokio::sync::oneshot;

/// Where an answer goes. Dropping it says "I cannot answer now", which is never taken for a refusal.
pub type Reply<T> = oneshot::Sender<T>;

/// What a height runs with. The leader of round `r` is `order[r % order.len()]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Start {
    /// The height to decide next.
    pub height: Height,
    /// Who votes on it.
    pub validators: ValidatorSet,
    /// Who leads its rounds; validators only, not empty.
    pub order: Vec<NodeId>,
}

/// A proposal that the node has seen and stored, but that was not decided yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UndecidedBlock {
    /// Its height.
    pub height: Height,
    /// The round it was proposed in.
    pub round: u32,
    /// The block.
    pub block: BlockId,
    /// Who proposed it in that round.
    pub proposer: NodeId,
    /// The earlier round in which it had gathered a quorum of prevotes, if it was proposed again.
    pub valid_round: Option<u32>,
    /// What the node thought of it.
    pub valid: bool,
}

/// What the node thinks of a block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It is good, and it is stored: a vote for it may follow.
    Valid(BlockId),
    /// It must not be voted for.
    Invalid,
}

/// A final block, as the node hands it to a peer that catches up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DecidedBlock {
    /// Its certificate.
    pub certificate: Certificate,
    /// The validators who signed it: those of its height.
    pub validators: ValidatorSet,
    /// Its encoding.
    pub bytes: Vec<u8>,
}

/// What the engine asks of the node, and what it tells it. Events arrive in order; the node may answer them in any order, and
/// the engine goes on with other work while [`Event::Decided`] and [`Event::Finalized`] wait.
#[derive(Debug)]
pub enum Event {
    /// The engine runs, and a quorum of validators is connected or was waited for. The first height begins with the answer, which the
    /// node may hold as that to [`Event::Finalized`]; until then the engine does not catch up either.
    Ready {
        /// The height after the node's last block.
        reply: Reply<Start>,
    },
    /// A round began. The node answers at once with the proposals of this height and round that it has stored; there are some
    /// after a crash.
    StartedRound {
        /// The height.
        height: Height,
        /// The round.
        round: u32,
        /// Its leader.
        proposer: NodeId,
        /// Stored proposals.
        reply: Reply<Vec<UndecidedBlock>>,
    },
    /// This node leads: it builds a block, stores it and answers. If it drops the reply, the round passes without a proposal.
    Propose {
        /// The block's height.
        height: Height,
        /// The block's round.
        round: u32,
        /// How long the others wait for the proposal, in all.
        timeout: Duration,
        /// The block; stored before it is sent here.
        reply: Reply<Block>,
    },
    /// A block that the node has stored has to travel again: a quorum had prevoted for it in an earlier round, or this node proposed
    /// it before it was restarted.
    Repropose {
        /// The height.
        height: Height,
        /// The round it is proposed in.
        round: u32,
        /// The round of the quorum, if there was one.
        valid_round: Option<u32>,
        /// The block.
        block: BlockId,
        /// Its encoding, if the node has it.
        reply: Reply<Option<Vec<u8>>>,
    },
    /// A proposal arrived, signed by the round's leader; its body is that of its header. The node executes and stores it before it
    /// answers [`Verdict::Valid`]. A block that is proposed again arrives again.
    Received {
        /// The proposal's height.
        height: Height,
        /// The proposal's round.
        round: u32,
        /// The round of its quorum of prevotes, if it is proposed again.
        valid_round: Option<u32>,
        /// The round's leader, who signed it. The block's maker is in its header.
        proposer: NodeId,
        /// The block's encoding.
        bytes: Vec<u8>,
        /// What the node thinks of it.
        reply: Reply<Verdict>,
    },
    /// A block is final. The node commits block, state and certificate in one step and answers.
    Decided {
        /// Of the block.
        certificate: Certificate,
        /// Once it is committed.
        reply: Reply<()>,
    },
    /// Stragglers' precommits have been waited for. The node answers when the next height shall begin; it holds the answer while
    /// there is nothing to propose.
    Finalized {
        /// As in [`Event::Decided`], with late signatures.
        certificate: Certificate,
        /// Validators that were caught since the last height.
        evidence: Vec<Evidence>,
        /// The next height; the same height again if its block could not be committed.
        reply: Reply<Start>,
    },
    /// Others work on a later height or have decided it, so a held answer may be due. Sent at once if it was known before.
    Early {
        /// The height that the answer begins.
        height: Height,
        /// Nobody in particular: so many that at least one of them is honest, and the answer is due; once for each held answer. Or
        /// one validator who has proposed a block: the answer is due if it leads the height's first round, else it is one
        /// validator's word.
        proposer: Option<NodeId>,
    },
    /// From which height on the node can hand out blocks.
    MinHeight {
        /// The lowest height it has.
        reply: Reply<Height>,
    },
    /// A peer wants blocks.
    GetDecided {
        /// First height.
        from: Height,
        /// Last height, included.
        to: Height,
        /// Blocks from `from` on, without gaps, as far as the node has them; few are enough.
        reply: Reply<Vec<DecidedBlock>>,
    },
    /// A peer sent a block of the past together with a certificate, which the engine has checked. The node executes and stores
    /// it; [`Event::Decided`] follows.
    Synced {
        /// The block's height.
        height: Height,
        /// The round it was decided in.
        round: u32,
        /// Who led that round.
        proposer: NodeId,
        /// The block's encoding.
        bytes: Vec<u8>,
        /// What the node thinks of it.
        reply: Reply<Verdict>,
    },
}
