//! What this validator has signed at the height it signed last, kept so that it never signs two things of which it may sign one
//! (requirement L3), whatever happened to the engine's log or the database.
//!
//! [`History`] decides and does no I/O; [`Guard`] keeps a history in a file of its own.
//!
//! ```text
//!  file = magic ‖ copy A ‖ copy B          copy = checksum ‖ number ‖ length ‖ borsh(history)
//!  sign: write A, sync ─▶ the signature may leave ─▶ write B, sync
//! ```
//! While one copy is written the other is whole, so a crash leaves the last history or the one before it, whose successor never
//! left. Both copies damaged means that something else than a crash happened, and the guard refuses to start.

use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use alloy_primitives::B256;
use borsh::{BorshDeserialize, BorshSerialize};
use lucid_chain_types::{Height, Proposal, SignedProposal, SignedVote, Vote, VoteKind};

/// Something signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub enum Signed {
    /// A vote.
    Vote(SignedVote),
    /// A proposal.
    Proposal(SignedProposal),
}

/// Something to be signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Message {
    /// A vote.
    Vote(Vote),
    /// A proposal.
    Proposal(Proposal),
}

/// A round's steps in the order in which a validator takes them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Step {
    Propose,
    Prevote,
    Precommit,
}

impl Message {
    /// Its height.
    pub const fn height(&self) -> Height {
        match self {
            Self::Vote(vote) => vote.height,
            Self::Proposal(proposal) => proposal.height,
        }
    }

    /// Its round.
    pub const fn round(&self) -> u32 {
        match self {
            Self::Vote(vote) => vote.round,
            Self::Proposal(proposal) => proposal.round,
        }
    }

    const fn step(&self) -> Step {
        match self {
            Self::Proposal(_) => Step::Propose,
            Self::Vote(Vote {
                kind: VoteKind::Prevote,
                ..
            }) => Step::Prevote,
            Self::Vote(Vote {
                kind: VoteKind::Precommit,
                ..
            }) => Step::Precommit,
        }
    }

    const fn place(&self) -> (u32, Step) {
        (self.round(), self.step())
    }
}

impl Refusal {
    /// What a validator may try to sign where it must not sign `message`: its vote for nothing, which lets the round end.
    pub fn instead(&self, message: &Message) -> Option<Message> {
        match (self, message) {
            (Self::Place { .. } | Self::Locked { .. }, Message::Vote(vote)) => {
                vote.block.map(|_| {
                    Message::Vote(Vote {
                        block: None,
                        ..*vote
                    })
                })
            }
            _ => None,
        }
    }
}

impl Signed {
    /// What was signed.
    pub const fn message(&self) -> Message {
        match self {
            Self::Vote(signed) => Message::Vote(signed.vote),
            Self::Proposal(signed) => Message::Proposal(signed.proposal),
        }
    }

    /// A precommit for a block is a promise to prevote for no other until a later quorum says otherwise.
    fn lock(&self) -> Option<Vote> {
        match self {
            Self::Vote(SignedVote { vote, .. })
                if vote.kind == VoteKind::Precommit && vote.block.is_some() =>
            {
                Some(*vote)
            }
            _ => None,
        }
    }
}

/// Why a signature is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// A later height was begun.
    #[error("height {height} is over, height {last} was signed")]
    Height {
        /// What was asked.
        height: Height,
        /// What was signed.
        last: Height,
    },
    /// A later round or step of this height was begun, and nothing is on record here.
    #[error("a later round or step of height {height} was signed, in round {last}")]
    Place {
        /// The height.
        height: Height,
        /// The round that was signed last.
        last: u32,
    },
    /// Another message was signed at this place.
    #[error("something else was signed in this place of height {height}")]
    Conflict {
        /// The height.
        height: Height,
    },
    /// Before the restart this validator locked on another block, and the engine does not remember it.
    #[error(
        "before the restart a precommit for another block was signed in round {round} of height {height}"
    )]
    Locked {
        /// The height.
        height: Height,
        /// The precommit's round.
        round: u32,
    },
}

/// What the guard says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// Sign it, once it is on record.
    Sign,
    /// This was signed in the same place before: send that.
    Repeat(Signed),
    /// Do not sign it.
    Refuse(Refusal),
}

/// Most signatures kept of one height: 21 rounds and more, so that even validators which all lost their logs meet again in a round
/// they remember.
const MAX_SIGNED: usize = 64;

/// What was signed at the height that was signed last, in order.
#[derive(Debug, Clone, Default, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct History {
    signed: Vec<Signed>,
    /// The last precommit for a block, if a run before this one made it and the engine has not shown that it remembers.
    #[borsh(skip)]
    inherited: Option<Vote>,
}

impl History {
    /// The height that was signed last.
    pub fn height(&self) -> Option<Height> {
        self.signed.last().map(|signed| signed.message().height())
    }

    /// What may be done about `message`.
    pub fn ask(&self, message: &Message) -> Answer {
        let Some(last) = self.signed.last().map(Signed::message) else {
            return Answer::Sign;
        };
        let height = message.height();
        if height > last.height() {
            return Answer::Sign;
        }
        if height < last.height() {
            return Answer::Refuse(Refusal::Height {
                height,
                last: last.height(),
            });
        }
        let here = self
            .signed
            .iter()
            .find(|signed| signed.message().place() == message.place());
        if let Some(earlier) = here {
            // A vote in the same place may always be sent again. A proposal only if it is the one that is asked for: the
            // engine would look for the parts of the other.
            return match message {
                Message::Proposal(_) if earlier.message() != *message => {
                    Answer::Refuse(Refusal::Conflict { height })
                }
                _ => Answer::Repeat(*earlier),
            };
        }
        let top = self
            .signed
            .iter()
            .map(|signed| signed.message().place())
            .max();
        if let Some(top) = top.filter(|top| message.place() < *top) {
            // A vote for nothing promises nothing, so one that was left out may be made up for. Where all forgot their log, these votes
            // take them through the rounds that they had skipped.
            let nothing = matches!(message, Message::Vote(Vote { block: None, .. }));
            if nothing && self.is_complete() {
                return Answer::Sign;
            }
            return Answer::Refuse(Refusal::Place {
                height,
                last: top.0,
            });
        }
        match (message, self.inherited) {
            (
                Message::Vote(Vote {
                    kind: VoteKind::Prevote,
                    block: Some(block),
                    ..
                }),
                Some(lock),
            ) if lock.height == height && lock.block != Some(*block) => {
                Answer::Refuse(Refusal::Locked {
                    height,
                    round: lock.round,
                })
            }
            _ => Answer::Sign,
        }
    }

    /// Whether nothing of this height was dropped.
    const fn is_complete(&self) -> bool {
        self.signed.len() < MAX_SIGNED
    }

    /// Records what [`History::ask`] allowed.
    pub fn record(&mut self, signed: Signed) {
        if self.height() != Some(signed.message().height()) {
            self.signed.clear();
            self.inherited = None;
        }
        if signed.lock().is_some() {
            // The engine knows this lock: it has just made it.
            self.inherited = None;
        }
        if self.signed.len() == MAX_SIGNED {
            // The oldest goes, but never the lock.
            let lock = self
                .signed
                .iter()
                .rposition(|signed| signed.lock().is_some());
            self.signed.remove(usize::from(lock == Some(0)));
        }
        self.signed.push(signed);
    }

    /// The proposal that was signed in a round.
    pub fn proposed(&self, height: Height, round: u32) -> Option<SignedProposal> {
        self.signed.iter().find_map(|signed| match signed {
            Signed::Proposal(signed)
                if signed.proposal.height == height && signed.proposal.round == round =>
            {
                Some(*signed)
            }
            _ => None,
        })
    }

    /// The engine has read this vote of ours in its log.
    pub fn remembers(&mut self, vote: &Vote) {
        if self.inherited.as_ref() == Some(vote) {
            self.inherited = None;
        }
    }

    /// A new run begins: what was locked on is known here, but perhaps not to the engine.
    pub fn inherit(&mut self) {
        self.inherited = self.signed.iter().rev().find_map(Signed::lock);
    }
}

/// Why the guard cannot work.
#[derive(Debug, thiserror::Error)]
pub enum GuardError {
    /// The file cannot be read or written.
    #[error("the record of what this validator signed ({path}): {error}")]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        error: io::Error,
    },
    /// Neither copy is whole.
    #[error(
        "the record of what this validator signed is damaged ({path}). Without it the validator could sign twice and lose its \
         bond. Restore nothing older in its place. If you are sure that this key signs nowhere else, wait until the chain is \
         past the height at which this validator stopped, then delete the file and start again"
    )]
    Damaged {
        /// The file.
        path: PathBuf,
    },
    /// It was written by a later version.
    #[error(
        "the record of what this validator signed ({path}) was written by a later version of this program"
    )]
    Version {
        /// The file.
        path: PathBuf,
    },
    /// Another process has it open.
    #[error(
        "another process signs with the record {path}: two processes must not run one validator"
    )]
    Locked {
        /// The file.
        path: PathBuf,
    },
    /// The engine was stopped.
    #[error("the signer has stopped")]
    Stopped,
}

/// Name and version of the file's format.
const MAGIC: &[u8; 16] = b"LUCID-SIGNED\0\0\0\x01";
/// Room of a copy: a history of [`MAX_SIGNED`] signatures needs less.
const COPY_BYTES: usize = 16 << 10;
/// Where the copies begin: each in pages of its own, so that writing one cannot tear the other.
const COPY_AT: [u64; 2] = [4 << 10, (4 << 10) + COPY_BYTES as u64];
const HEAD_BYTES: usize = 32 + 8 + 4;

/// A history in a file.
#[derive(Debug)]
pub struct Guard {
    path: PathBuf,
    file: File,
    history: History,
    /// Number of the last write; grows.
    number: u64,
    /// Whether the second copy is older than the first.
    unsettled: bool,
    closed: bool,
}

impl Guard {
    /// Opens the file, or makes it.
    pub fn open(path: &Path) -> Result<Self, GuardError> {
        let failed = |error| GuardError::Io {
            path: path.to_owned(),
            error,
        };
        if !path.try_exists().map_err(failed)? {
            Self::create(path).map_err(failed)?;
        }
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .open(path)
            .map_err(failed)?;
        match rustix::fs::flock(&file, rustix::fs::FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(rustix::io::Errno::WOULDBLOCK) => {
                return Err(GuardError::Locked {
                    path: path.to_owned(),
                });
            }
            Err(error) => return Err(failed(error.into())),
        }
        let mut bytes = Vec::new();
        file.by_ref()
            .take(COPY_AT[1] + COPY_BYTES as u64)
            .read_to_end(&mut bytes)
            .map_err(failed)?;
        let (mut history, number) = read(&bytes, path)?;
        history.inherit();
        let mut guard = Self {
            path: path.to_owned(),
            file,
            history,
            number,
            unsettled: true,
            closed: false,
        };
        // Whichever copy was whole is the truth now; both are made so.
        guard
            .write(0)
            .and_then(|()| guard.settle_copy())
            .map_err(failed)?;
        Ok(guard)
    }

    /// Signs `message` with `sign`, or hands back what was signed in its place before: what this returns may leave.
    pub fn sign(
        &mut self,
        message: &Message,
        sign: impl FnOnce() -> Signed,
    ) -> Result<Result<Signed, Refusal>, GuardError> {
        if self.closed {
            return Err(GuardError::Stopped);
        }
        match self.history.ask(message) {
            Answer::Sign => {}
            Answer::Repeat(earlier) => return Ok(Ok(earlier)),
            Answer::Refuse(refusal) => return Ok(Err(refusal)),
        }
        self.settle()?;
        let before = self.history.clone();
        let signed = sign();
        self.history.record(signed);
        self.number = self.number.saturating_add(1);
        self.unsettled = true;
        match self.write(0) {
            Ok(()) => Ok(Ok(signed)),
            Err(error) => {
                self.history = before;
                Err(self.failed(error))
            }
        }
    }

    /// Signs nothing any more and lets go of the file.
    pub fn close(&mut self) {
        self.closed = true;
        if let Err(error) = rustix::fs::flock(&self.file, rustix::fs::FlockOperation::Unlock) {
            tracing::warn!(%error, "the signer's record stays locked until this process ends");
        }
    }

    /// Brings the second copy up to date. The next signature does it if nobody did before.
    pub fn settle(&mut self) -> Result<(), GuardError> {
        self.settle_copy().map_err(|error| self.failed(error))
    }

    /// What was signed.
    pub const fn history(&self) -> &History {
        &self.history
    }

    /// See [`History::remembers`].
    pub fn remembers(&mut self, vote: &Vote) {
        self.history.remembers(vote);
    }

    fn failed(&self, error: io::Error) -> GuardError {
        GuardError::Io {
            path: self.path.clone(),
            error,
        }
    }

    fn settle_copy(&mut self) -> io::Result<()> {
        if self.unsettled && !self.closed {
            self.write(1)?;
            self.unsettled = false;
        }
        Ok(())
    }

    fn write(&self, copy: usize) -> io::Result<()> {
        self.file
            .write_all_at(&encode(&self.history, self.number)?, COPY_AT[copy])?;
        self.file.sync_data()
    }

    /// A file exists under its name only when it is whole and on disk.
    fn create(path: &Path) -> io::Result<()> {
        let folder = path.parent().unwrap_or_else(|| Path::new("."));
        std::fs::create_dir_all(folder)?;
        let temporary = path.with_extension("new");
        let file = File::create(&temporary)?;
        let mut bytes = vec![0; usize::try_from(COPY_AT[1]).unwrap_or(0) + COPY_BYTES];
        bytes[..MAGIC.len()].copy_from_slice(MAGIC);
        let copy = encode(&History::default(), 0)?;
        for at in COPY_AT {
            let at = usize::try_from(at).unwrap_or(0);
            bytes[at..at + copy.len()].copy_from_slice(&copy);
        }
        file.write_all_at(&bytes, 0)?;
        file.sync_all()?;
        std::fs::rename(&temporary, path)?;
        File::open(folder)?.sync_all()
    }
}

/// One copy: checksum, number, length, history.
fn encode(history: &History, number: u64) -> io::Result<Vec<u8>> {
    let body = borsh::to_vec(history)?;
    let length = u32::try_from(body.len()).map_err(io::Error::other)?;
    let mut bytes = vec![0; 32];
    bytes.extend_from_slice(&number.to_le_bytes());
    bytes.extend_from_slice(&length.to_le_bytes());
    bytes.extend_from_slice(&body);
    if bytes.len() > COPY_BYTES {
        return Err(io::Error::other("the history does not fit"));
    }
    let checksum = checksum(&bytes[32..]);
    bytes[..32].copy_from_slice(checksum.as_slice());
    Ok(bytes)
}

fn decode(copy: &[u8]) -> Option<(History, u64)> {
    let length = usize::try_from(u32::from_le_bytes(copy.get(40..44)?.try_into().ok()?)).ok()?;
    let checked = copy.get(32..HEAD_BYTES.checked_add(length)?)?;
    if checksum(checked).as_slice() != &copy[..32] {
        return None;
    }
    let number = u64::from_le_bytes(checked[..8].try_into().ok()?);
    let history = borsh::from_slice(&checked[12..]).ok()?;
    Some((history, number))
}

fn checksum(bytes: &[u8]) -> B256 {
    B256::new(blake3::derive_key(
        "lucid chain 2026 signer guard v1",
        bytes,
    ))
}

fn read(bytes: &[u8], path: &Path) -> Result<(History, u64), GuardError> {
    let damaged = || GuardError::Damaged {
        path: path.to_owned(),
    };
    let magic = bytes.get(..MAGIC.len()).ok_or_else(damaged)?;
    if magic != MAGIC {
        let (name, version) = magic.split_at(MAGIC.len() - 1);
        let later = name == &MAGIC[..MAGIC.len() - 1] && version > &MAGIC[MAGIC.len() - 1..];
        return Err(if later {
            GuardError::Version {
                path: path.to_owned(),
            }
        } else {
            damaged()
        });
    }
    let copies = COPY_AT
        .iter()
        .filter_map(|at| decode(bytes.get(usize::try_from(*at).ok()?..)?));
    copies.max_by_key(|(_, number)| *number).ok_or_else(damaged)
}
