//! The command line, as clap sees it: help texts and man pages come from here.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueHint};

use crate::ui::parse_clock;

mod chain;

pub use chain::{
    BackupArgs, ChainCommand, DevnetArgs, GovCommand, InitArgs, NodeArgs, PaceArg, ProposalArgs,
    ProposeCommand, RestoreArgs, RpcArgs, SignerArgs, SnapshotArgs, SyncArg, VoteArg,
};

/// Records remote-desktop sessions so that nobody can change them unnoticed.
#[derive(Debug, Parser)]
#[command(
    name = "lucid",
    version,
    max_term_width = 100,
    arg_required_else_help = true
)]
#[command(
    after_help = "Exit codes: 0 done · 1 failed · 2 usage or configuration · 3 not there · 10 cut short · 11 changed · \
    12 malformed · 13 newer version · 14 no key · 15 wrong key · 16 sound but cut · 17 store damaged · 20 a helper program failed"
)]
pub struct Cli {
    /// Folder with keys, tickets and recordings [default: ~/.lucid]
    #[arg(long, global = true, env = "LUCID_HOME", value_hint = ValueHint::DirPath)]
    pub home: Option<PathBuf>,
    /// Configuration file [default: lucid.toml in the home folder, if there]
    #[arg(long, global = true, env = "LUCID_CONFIG", value_hint = ValueHint::FilePath)]
    pub config: Option<PathBuf>,
    /// Print JSON instead of text
    #[arg(long, global = true)]
    pub json: bool,
    /// Print results only: no progress, no notes
    #[arg(long, short, global = true)]
    pub quiet: bool,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Record a real desktop session from start to replay, on this machine, with nothing to configure
    Demo(DemoArgs),
    /// Make and show keys
    #[command(subcommand)]
    Keys(KeysCommand),
    /// Run the RDP gateway that records
    Gateway(GatewayArgs),
    /// Mint, follow and end sessions
    #[command(subcommand)]
    Session(SessionCommand),
    /// Check and pin the certificates of desktops
    #[command(subcommand)]
    Target(TargetCommand),
    /// Write the proof of a recording's anchor: one file that is checked offline
    Prove(ProveArgs),
    /// Check a recording: every chunk, order, end and signature; with a proof, when each part was anchored
    Verify(VerifyArgs),
    /// Open a recording in the web player
    Replay(ReplayArgs),
    /// Make a video of a recording (needs ffmpeg)
    Export(ExportArgs),
    /// Cut out a time range with its keys and nothing else, provable against the same signatures
    Disclose(DiscloseArgs),
    /// Write a recording of the store into one .lucid file
    Pack(PackArgs),
    /// Check every file of the chunk store
    Fsck,
    /// Remove old recordings by age and size; held ones stay
    Prune(PruneArgs),
    /// Cut a file into compressed pieces, or join them (the first stage on its own)
    Chunk(ChunkArgs),
    /// Seal a folder's files as chunks, or open them (the second stage on its own)
    Encrypt(EncryptArgs),
    /// Merkle root and proofs over files (the third stage on its own)
    #[command(subcommand)]
    Merkle(MerkleCommand),
    /// Show the audit log and check its hash chain
    Audit,
    /// Run a node of the chain
    Node(NodeArgs),
    /// Run a whole network on this machine, until Ctrl-C
    Devnet(DevnetArgs),
    /// Make a network, ask its nodes, prove and check finality
    #[command(subcommand)]
    Chain(ChainCommand),
    /// Propose, vote and carry out what was decided
    #[command(subcommand)]
    Gov(GovCommand),
    /// Show or check the configuration
    #[command(subcommand)]
    Config(ConfigCommand),
    /// Measure the pipeline, the gateway, verification and the chain against named peers
    Bench(BenchArgs),
    /// Print a shell completion script
    Completions {
        /// Which shell
        shell: clap_complete::Shell,
    },
    /// Write man pages into a folder
    Man {
        /// The folder
        #[arg(value_hint = ValueHint::DirPath)]
        dir: PathBuf,
    },
}

/// `lucid demo`
#[derive(Debug, Args)]
pub struct DemoArgs {
    /// Keep recording, picture and video in this folder
    #[arg(long, value_hint = ValueHint::DirPath)]
    pub out: Option<PathBuf>,
    /// Seconds of typing and moving windows
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u64).range(5..=600))]
    pub seconds: u64,
    /// Leave the web player open at the end, until Ctrl-C
    #[arg(long)]
    pub replay: bool,
}

/// `lucid keys`
#[derive(Debug, Subcommand)]
pub enum KeysCommand {
    /// Make a key pair: NAME.key (secret, sealed with a passphrase) and NAME.pub (to give away)
    New {
        /// Letters, digits, '-', '_' and '.'
        name: String,
        /// Folder to write to
        #[arg(long, default_value = ".", value_hint = ValueHint::DirPath)]
        dir: PathBuf,
        #[command(flatten)]
        passphrase: PassphraseArgs,
    },
    /// Show what a .pub or .key file is
    Show {
        /// The file
        #[arg(value_hint = ValueHint::FilePath)]
        file: PathBuf,
    },
}

/// Where a passphrase comes from.
#[derive(Debug, Args)]
pub struct PassphraseArgs {
    /// Read the passphrase from the first line of this file [default: $LUCID_PASSPHRASE, else ask]
    #[arg(long, value_hint = ValueHint::FilePath)]
    pub passphrase_file: Option<PathBuf>,
}

/// A secret key, where one is needed.
#[derive(Debug, Args)]
pub struct KeyArgs {
    /// Secret key of a recipient
    #[arg(long, value_hint = ValueHint::FilePath)]
    pub key: Option<PathBuf>,
    #[command(flatten)]
    pub passphrase: PassphraseArgs,
}

/// `lucid gateway`
#[derive(Debug, Args)]
pub struct GatewayArgs {
    /// Desktop to lead to: HOST:PORT (its name is then 'default') or NAME=HOST:PORT; more in targets.toml
    #[arg(long)]
    pub target: Vec<String>,
    /// User to log in with at targets given on the command line
    #[arg(long, default_value = "")]
    pub target_user: String,
    /// File with that user's password [default: $LUCID_TARGET_PASSWORD]
    #[arg(long, value_hint = ValueHint::FilePath)]
    pub target_password_file: Option<PathBuf>,
    /// SHA-256 of the certificate of targets given on the command line [default: ask]
    #[arg(long)]
    pub target_pin: Option<String>,
    /// Public key to seal recordings to; more than one may be given
    #[arg(long, value_hint = ValueHint::FilePath)]
    pub recipient: Vec<PathBuf>,
    /// Where to listen [default: 127.0.0.1:3389]
    #[arg(long)]
    pub listen: Option<String>,
}

/// `lucid session`
#[derive(Debug, Subcommand)]
pub enum SessionCommand {
    /// Mint a single-use session id and its one-time RDP password
    Mint {
        /// RDP user name to log in with
        #[arg(long)]
        user: String,
        /// Name of the target
        #[arg(long, default_value = "default")]
        target: String,
        /// How long it may be used (such as 10m)
        #[arg(long, default_value = "10m", value_parser = humantime::parse_duration)]
        valid_for: std::time::Duration,
    },
    /// List tickets and sessions
    List,
    /// Show one session
    Show {
        /// The session's id
        id: String,
    },
    /// Follow a running session: chunks, channels, end
    Watch {
        /// The session's id
        id: String,
    },
    /// End a running session
    End {
        /// The session's id
        id: String,
        /// Why; it goes into the recording
        #[arg(long, default_value = "ended by the operator")]
        reason: String,
    },
    /// Open a channel of a running session for a bounded time
    Allow {
        /// The session's id
        id: String,
        /// clipboard (both ways), clipboard-in, clipboard-out, drives, printers, audio-out, audio-in, devices
        channel: String,
        /// How long (such as 5m); policyTimeoutMs bounds it
        #[arg(long = "for", default_value = "5m", value_parser = humantime::parse_duration)]
        duration: std::time::Duration,
    },
    /// Close a channel before its time
    Deny {
        /// The session's id
        id: String,
        /// As for allow
        channel: String,
    },
    /// Seal a session whose recorder died, and mark it as cut
    Recover {
        /// The session's id; without it, every such session
        id: Option<String>,
    },
    /// Destroy the wrapped keys of a session: it still verifies and can never be opened again
    Shred {
        /// The session's id
        id: String,
        /// Do it without asking
        #[arg(long)]
        yes: bool,
    },
    /// Keep a session whatever its age (legal hold)
    Hold {
        /// The session's id
        id: String,
        /// Who holds it and why
        #[arg(long)]
        reason: String,
    },
    /// End a legal hold
    Release {
        /// The session's id
        id: String,
    },
}

/// `lucid target`
#[derive(Debug, Subcommand)]
pub enum TargetCommand {
    /// List the targets of targets.toml
    List,
    /// Show a target's certificate and pin it
    Trust {
        /// Name of the target
        name: String,
        /// The fingerprint that is expected; without it, ask
        #[arg(long)]
        fingerprint: Option<String>,
    },
}

/// `lucid prove`
#[derive(Debug, Args)]
pub struct ProveArgs {
    /// The id of a session in the store, or a .lucid file
    pub recording: String,
    /// Where to write the proof
    #[arg(long, value_hint = ValueHint::FilePath)]
    pub out: PathBuf,
    #[command(flatten)]
    pub rpc: RpcArgs,
    /// Genesis file to check the proof with [default: genesis.json in the home folder, if there]
    #[arg(long, value_hint = ValueHint::FilePath)]
    pub genesis: Option<PathBuf>,
    /// Keep every checkpoint, however large the proof becomes
    #[arg(long)]
    pub all: bool,
    /// Checkpoints that were sent in batches: a JSON list of {batch, size, root, path}
    #[arg(long, value_hint = ValueHint::FilePath)]
    pub batched: Option<PathBuf>,
}

/// `lucid verify`
#[derive(Debug, Args)]
pub struct VerifyArgs {
    /// A .lucid file, or the id of a session in the store
    pub recording: String,
    /// Its proof file, from 'lucid prove': checks also when it was anchored, offline
    #[arg(value_hint = ValueHint::FilePath, requires = "genesis")]
    pub proof: Option<PathBuf>,
    /// The chain's genesis file, from a source that you trust
    #[arg(long, value_hint = ValueHint::FilePath, requires = "proof")]
    pub genesis: Option<PathBuf>,
    #[command(flatten)]
    pub key: KeyArgs,
    /// Public key (hex) of the host that must have recorded it
    #[arg(long)]
    pub host_key: Option<String>,
}

/// `lucid replay`
#[derive(Debug, Args)]
pub struct ReplayArgs {
    /// A .lucid file, or the id of a session in the store
    pub recording: String,
    /// Its proof file: the page then shows when it was anchored
    #[arg(long, value_hint = ValueHint::FilePath, requires = "genesis")]
    pub proof: Option<PathBuf>,
    /// The chain's genesis file, from a source that you trust
    #[arg(long, value_hint = ValueHint::FilePath, requires = "proof")]
    pub genesis: Option<PathBuf>,
    #[command(flatten)]
    pub key: KeyArgs,
    /// Loopback port [default: a free one]
    #[arg(long, default_value_t = 0)]
    pub port: u16,
    /// Print the address and open no browser
    #[arg(long)]
    pub no_browser: bool,
}

/// `lucid export`
#[derive(Debug, Args)]
pub struct ExportArgs {
    /// A .lucid file, or the id of a session in the store
    pub recording: String,
    #[command(flatten)]
    pub key: KeyArgs,
    /// Video to write (.mp4, .mkv or .webm), or a still (.png) of the moment --from
    #[arg(long, value_hint = ValueHint::FilePath)]
    pub to: PathBuf,
    #[command(flatten)]
    pub range: RangeArgs,
    /// Frames a second
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=60))]
    pub fps: u32,
}

/// A part of a recording.
#[derive(Debug, Args)]
pub struct RangeArgs {
    /// Begin here, as HH:MM:SS since the session began
    #[arg(long, value_parser = parse_clock)]
    pub from: Option<u64>,
    /// End here
    #[arg(long, value_parser = parse_clock)]
    pub until: Option<u64>,
}

/// `lucid disclose`
#[derive(Debug, Args)]
pub struct DiscloseArgs {
    /// A .lucid file, or the id of a session in the store
    pub recording: String,
    #[command(flatten)]
    pub key: KeyArgs,
    #[command(flatten)]
    pub range: RangeArgs,
    /// File to write
    #[arg(long, value_hint = ValueHint::FilePath)]
    pub to: PathBuf,
}

/// `lucid pack`
#[derive(Debug, Args)]
pub struct PackArgs {
    /// The session's id
    pub id: String,
    /// File to write [default: ID.lucid]
    #[arg(long, value_hint = ValueHint::FilePath)]
    pub to: Option<PathBuf>,
}

/// `lucid prune`
#[derive(Debug, Args)]
pub struct PruneArgs {
    /// Remove recordings older than this (such as 90d) [default: store.max_age_days of the configuration]
    #[arg(long, value_parser = humantime::parse_duration)]
    pub older_than: Option<std::time::Duration>,
    /// Remove the oldest until the store holds at most this many bytes
    #[arg(long)]
    pub max_bytes: Option<u64>,
    /// Say what would go, and change nothing
    #[arg(long)]
    pub dry_run: bool,
}

/// `lucid chunk`
#[derive(Debug, Args)]
pub struct ChunkArgs {
    /// File to cut; with --join, folder of pieces
    #[arg(value_hint = ValueHint::AnyPath)]
    pub from: PathBuf,
    /// Folder to write NNNNNNNN.zst to; with --join, file to write
    #[arg(long, value_hint = ValueHint::AnyPath)]
    pub to: PathBuf,
    /// Bytes a piece, before compression
    #[arg(long, default_value_t = lucid_format::DEFAULT_CHUNK_PLAINTEXT)]
    pub size: usize,
    /// Put the pieces together again
    #[arg(long)]
    pub join: bool,
}

/// `lucid encrypt`
#[derive(Debug, Args)]
pub struct EncryptArgs {
    /// Folder of files to seal, in the order of their names; with --open, folder of sealed ones
    #[arg(value_hint = ValueHint::DirPath)]
    pub from: PathBuf,
    /// Folder to write to
    #[arg(long, value_hint = ValueHint::DirPath)]
    pub to: PathBuf,
    /// Public key to seal to; more than one may be given
    #[arg(long, value_hint = ValueHint::FilePath, required_unless_present = "open")]
    pub recipient: Vec<PathBuf>,
    /// Open instead of sealing
    #[arg(long, requires = "key")]
    pub open: bool,
    #[command(flatten)]
    pub key: KeyArgs,
}

/// `lucid merkle`
#[derive(Debug, Subcommand)]
pub enum MerkleCommand {
    /// Root over files, in the order given
    Root {
        /// The files
        #[arg(required = true, value_hint = ValueHint::FilePath)]
        files: Vec<PathBuf>,
    },
    /// Proof that one of the files is under the root
    Prove {
        /// The files
        #[arg(required = true, value_hint = ValueHint::FilePath)]
        files: Vec<PathBuf>,
        /// Position of the file to prove, from 0
        #[arg(long)]
        position: u32,
    },
    /// Check a proof that `prove --json` printed
    Check {
        /// The file the proof is for
        #[arg(value_hint = ValueHint::FilePath)]
        file: PathBuf,
        /// The proof
        #[arg(long, value_hint = ValueHint::FilePath)]
        proof: PathBuf,
        /// The root that is trusted, in hex
        #[arg(long)]
        root: String,
    },
}

/// `lucid config`
#[derive(Debug, Subcommand)]
pub enum ConfigCommand {
    /// Read the whole configuration and report every fault at once
    Check,
    /// Print the configuration in force and where each value came from; secrets are redacted
    Show,
}

/// `lucid bench`
#[derive(Debug, Args)]
pub struct BenchArgs {
    /// What to measure [default: all]
    #[arg(value_parser = ["pipeline", "memory", "verify", "gateway", "office", "chain"])]
    pub what: Vec<String>,
    /// Megabytes of each data set
    #[arg(long, default_value_t = 96)]
    pub megabytes: u32,
    /// Runs of which the median counts
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=99))]
    pub runs: u32,
    /// Write a session of so many minutes and say what it cost: 'memory' runs itself again with this
    #[arg(long, hide = true)]
    pub child: Option<String>,
    /// Of `lucid bench chain`.
    #[command(flatten)]
    pub chain: ChainBenchArgs,
}

/// `lucid bench chain`
#[derive(Debug, Args)]
#[command(next_help_heading = "Chain")]
pub struct ChainBenchArgs {
    /// Validators, each a process
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u16).range(1..=16))]
    pub validators: u16,
    /// Accounts with coins at genesis; the first 2,000 of them send
    #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(1..=2_000_000))]
    pub accounts: u32,
    /// Registrations a second; 0 sends as many as blocks take
    #[arg(long, default_value_t = 1_200, value_parser = clap::value_parser!(u32).range(0..=20_000))]
    pub rate: u32,
    /// Seconds of load that are not measured: the gas limit grows to it block by block
    #[arg(long, default_value_t = 30, value_parser = clap::value_parser!(u64).range(0..=600))]
    pub warm_up: u64,
    /// Seconds of load that are measured
    #[arg(long, default_value_t = 30, value_parser = clap::value_parser!(u64).range(3..=3_600))]
    pub seconds: u64,
    /// Seconds without load that are measured
    #[arg(long, default_value_t = 30, value_parser = clap::value_parser!(u64).range(1..=3_600))]
    pub idle: u64,
}
