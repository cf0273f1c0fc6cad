//! The chain's part of the command line.

use std::net::IpAddr;
use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum, ValueHint};

/// `lucid node`
#[derive(Debug, Args)]
pub struct NodeArgs {
    /// Folder of the node, made by 'lucid chain init' [default: node in the home folder]
    #[arg(long = "node-home", value_hint = ValueHint::DirPath)]
    pub folder: Option<PathBuf>,
    /// How a node without a chain comes by one; where there is one already, it goes on from that
    #[arg(long, value_enum, default_value_t = SyncArg::Blocks)]
    pub sync: SyncArg,
    /// End when standard input does: for a program that starts nodes and must not leave any behind
    #[arg(long, hide = true)]
    pub with_parent: bool,
}

/// How a node without a chain comes by one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum SyncArg {
    /// Fetch every block since genesis and execute it: slowest, and the node then has the whole chain
    Blocks,
    /// Begin with a peer's newest snapshot, proven final from the genesis file on: minutes, and no block from before it
    Snapshot,
}

/// `lucid devnet`
#[derive(Debug, Args)]
pub struct DevnetArgs {
    /// Validators to run
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u16).range(1..=16))]
    pub validators: u16,
    /// Keep the chain in this folder and go on with it next time [default: a new chain in a temporary folder]
    #[arg(long, value_hint = ValueHint::DirPath)]
    pub dir: Option<PathBuf>,
    /// Port of the first node's JSON-RPC; the others follow. 0 picks free ports [default: 8545]
    #[arg(long, default_value_t = 8545)]
    pub rpc_port: u16,
    /// Show the nodes' logs
    #[arg(long)]
    pub logs: bool,
}

/// `lucid chain`
#[derive(Debug, Subcommand)]
pub enum ChainCommand {
    /// Make genesis, keys and configurations for a new network
    Init(InitArgs),
    /// Where the chain is, and how this node is
    Status(RpcArgs),
    /// Show a block: its time, leader, roots and transactions
    Block {
        /// Its number, its id, or 'latest'
        block: String,
        #[command(flatten)]
        rpc: RpcArgs,
    },
    /// A transaction and what became of it
    Tx {
        /// Its hash
        hash: String,
        #[command(flatten)]
        rpc: RpcArgs,
    },
    /// Who led a slot, and why
    Slot {
        /// Its number; without it, the open slot
        slot: Option<u64>,
        #[command(flatten)]
        rpc: RpcArgs,
    },
    /// Who votes, and in which order they lead
    Validators(RpcArgs),
    /// Governed parameters and their bounds
    Params(RpcArgs),
    /// Work credits of a node
    Work {
        /// The node's account
        node: String,
        #[command(flatten)]
        rpc: RpcArgs,
    },
    /// Print a proof that a block is final, for 'verify-finality'
    ProveFinality {
        /// The block's number
        height: u64,
        /// Write to this file [default: standard output]
        #[arg(long, value_hint = ValueHint::FilePath)]
        out: Option<PathBuf>,
        #[command(flatten)]
        rpc: RpcArgs,
    },
    /// Copy a running node's chain into a file, checked from genesis on while it is written; no keys. A file that is there goes on
    Backup(BackupArgs),
    /// Write the state after one block into a file that a node can begin with: a running node's newest, or a stopped node's last
    Snapshot(SnapshotArgs),
    /// Make a node's chain from such a file: every certificate checked, every block executed
    Restore(RestoreArgs),
    /// The read model: sessions, chunks, work and schedules to look up
    #[command(subcommand)]
    Index(IndexCommand),
    /// Check such a proof, offline: the genesis file is all that is trusted
    VerifyFinality {
        /// The proof
        #[arg(value_hint = ValueHint::FilePath)]
        proof: PathBuf,
        /// The genesis file
        #[arg(long, value_hint = ValueHint::FilePath)]
        genesis: PathBuf,
    },
}

/// `lucid chain index`
#[derive(Debug, Subcommand)]
pub enum IndexCommand {
    /// How far a node's read model is, and from which block on
    Status(RpcArgs),
    /// List documents of a collection, or those with a key; they prove nothing
    Show(ShowArgs),
    /// Make the read model of a stopped node anew from its blocks
    Rebuild {
        /// Folder of the node [default: node in the home folder]
        #[arg(long, value_hint = ValueHint::DirPath)]
        node_home: Option<PathBuf>,
    },
}

/// `lucid chain index show`
#[derive(Debug, Args)]
pub struct ShowArgs {
    /// What to list
    #[arg(value_enum)]
    pub collection: CollectionArg,
    /// A key, or its first parts: a session's ID; SESSION:INDEX, SLOT:NODE:TYPE, EPOCH:NODE, SLOT
    #[arg(long)]
    pub key: Option<String>,
    /// Most documents
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u16).range(1..=1_000))]
    pub limit: u16,
    /// Go on behind this key: the 'next' of the page before
    #[arg(long)]
    pub after: Option<String>,
    /// The largest key first
    #[arg(long)]
    pub newest_first: bool,
    #[command(flatten)]
    pub rpc: RpcArgs,
}

/// A collection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
#[value(rename_all = "snake_case")]
pub enum CollectionArg {
    /// Sessions, in the order in which they were opened or registered.
    Sessions,
    /// Chunks, with the nodes that hold them; at most 200 at once.
    Chunks,
    /// Work by slot and node.
    TaskProofs,
    /// Credits, score and rank by hour and node.
    WorkTally,
    /// Who was to lead a slot, and who did.
    LeaderSchedule,
}

/// `lucid chain backup`
#[derive(Debug, Args)]
pub struct BackupArgs {
    /// File to write. If there is one, the blocks since are added; an interrupted run leaves FILE.part and goes on with it
    #[arg(long, value_hint = ValueHint::FilePath)]
    pub out: PathBuf,
    /// Begin with the node's newest snapshot in place of block 1: smaller, restored faster, without the blocks before
    #[arg(long)]
    pub from_snapshot: bool,
    /// The chain's genesis file [default: that of the node in the home folder]
    #[arg(long, value_hint = ValueHint::FilePath)]
    pub genesis: Option<PathBuf>,
    #[command(flatten)]
    pub rpc: RpcArgs,
}

/// `lucid chain snapshot`
#[derive(Debug, Args)]
pub struct SnapshotArgs {
    /// File to write; must not be there yet
    #[arg(long, value_hint = ValueHint::FilePath)]
    pub out: PathBuf,
    /// Folder of a node that does not run: a snapshot is taken of its chain as it is now
    #[arg(long, value_hint = ValueHint::DirPath, conflicts_with_all = ["genesis", "rpc"])]
    pub node_home: Option<PathBuf>,
    /// The chain's genesis file [default: that of the node in the home folder]
    #[arg(long, value_hint = ValueHint::FilePath)]
    pub genesis: Option<PathBuf>,
    #[command(flatten)]
    pub rpc: RpcArgs,
}

/// `lucid chain restore`
#[derive(Debug, Args)]
pub struct RestoreArgs {
    /// A file of 'lucid chain backup' or 'lucid chain snapshot'
    #[arg(value_hint = ValueHint::FilePath)]
    pub file: PathBuf,
    /// Folder of the node: it has its genesis.json, and no chain yet [default: node in the home folder]
    #[arg(long, value_hint = ValueHint::DirPath)]
    pub node_home: Option<PathBuf>,
}

/// Which node to ask.
#[derive(Debug, Clone, Args)]
pub struct RpcArgs {
    /// JSON-RPC address of a node
    #[arg(long, env = "LUCID_RPC_URL", default_value = "http://127.0.0.1:8545", value_hint = ValueHint::Url)]
    pub rpc: String,
}

/// `lucid chain init`
#[derive(Debug, Args)]
pub struct InitArgs {
    /// Validators the chain starts with
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u16).range(1..=100))]
    pub validators: u16,
    /// Nodes that only follow, to make folders for as well
    #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(u16).range(0..=100))]
    pub full: u16,
    /// Folder to write to; must not hold a network yet
    #[arg(long, value_hint = ValueHint::DirPath)]
    pub out: PathBuf,
    /// The EVM's chain id
    #[arg(long, default_value_t = 19_450_927)]
    pub chain_id: u64,
    /// direct: blocks a second apart; tor: four seconds, for validators that meet over Tor
    #[arg(long, value_enum, default_value_t = PaceArg::Direct)]
    pub pace: PaceArg,
    /// Address of each node, in order; without it all are on 127.0.0.1 with ports of their own
    #[arg(long, value_delimiter = ',')]
    pub hosts: Vec<IpAddr>,
    /// First port of the first node on one address: peers, transactions, JSON-RPC, monitoring and chunks follow each other
    #[arg(long, default_value_t = 26_600)]
    pub base_port: u16,
    /// An account that starts with coins: ADDRESS=LUCID; besides the operators and one made for you (funded.key)
    #[arg(long, value_name = "ADDRESS=LUCID")]
    pub fund: Vec<String>,
    /// A governed parameter that does not start at its default: KEY=VALUE
    #[arg(long, value_name = "KEY=VALUE")]
    pub param: Vec<String>,
    /// Let the nodes keep encrypted chunks for others
    #[arg(long)]
    pub custody: bool,
}

/// How fast a chain runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum PaceArg {
    /// 1 s.
    Direct,
    /// 4 s.
    Tor,
}

/// `lucid gov`
#[derive(Debug, Subcommand)]
pub enum GovCommand {
    /// Propose a change
    #[command(subcommand)]
    Propose(ProposeCommand),
    /// Vote on a proposal
    Vote {
        /// Its number
        id: u64,
        /// How
        #[arg(value_enum)]
        vote: VoteArg,
        #[command(flatten)]
        signer: SignerArgs,
    },
    /// Put an accepted proposal into the timelock
    Queue {
        /// Its number
        id: u64,
        #[command(flatten)]
        signer: SignerArgs,
    },
    /// Carry out a proposal whose timelock is over
    Execute {
        /// Its number
        id: u64,
        #[command(flatten)]
        signer: SignerArgs,
    },
    /// List proposals, the newest first: what they do and how the votes stand
    List(RpcArgs),
}

/// What can be proposed: nothing else is possible.
#[derive(Debug, Subcommand)]
pub enum ProposeCommand {
    /// Set a governed parameter within its bounds
    Param {
        /// Its name, see 'lucid chain params'
        parameter: String,
        /// Its new value
        value: String,
        #[command(flatten)]
        proposal: ProposalArgs,
    },
    /// Replace the three payment signers
    Signers {
        /// Three accounts
        #[arg(num_args = 3)]
        signers: Vec<String>,
        #[command(flatten)]
        proposal: ProposalArgs,
    },
    /// Admit a registered node to the validators, or remove one
    Validator {
        /// The node's account
        node: String,
        /// Remove it
        #[arg(long)]
        remove: bool,
        #[command(flatten)]
        proposal: ProposalArgs,
    },
}

/// About a proposal.
#[derive(Debug, Args)]
pub struct ProposalArgs {
    /// Why
    #[arg(long)]
    pub description: String,
    #[command(flatten)]
    pub signer: SignerArgs,
}

/// Who signs a transaction, and where it goes.
#[derive(Debug, Args)]
pub struct SignerArgs {
    /// Key file of the node's operator
    #[arg(long, value_hint = ValueHint::FilePath)]
    pub key: PathBuf,
    #[command(flatten)]
    pub rpc: RpcArgs,
}

/// A vote.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum VoteArg {
    /// Accept it.
    For,
    /// Refuse it.
    Against,
    /// Be counted, take no side.
    Abstain,
}
