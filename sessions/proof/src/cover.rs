//! A recording, or a part of one, held against what is anchored.

use std::ops::Range;

use lucid_chain_types::anchors::Moment;
use lucid_format::merkle::{self, Log};
use lucid_format::{FileKind, Index, SignedHead, SignedManifest};

use crate::ProofError;
use crate::verify::{Anchored, By};

/// What fixed some chunks first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fixed {
    /// A checkpoint while the session ran.
    Checkpoint(By),
    /// The closing.
    Close,
}

/// Chunks that were fixed by the same block.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Piece {
    /// Which, by their numbers in the session.
    pub chunks: Range<u32>,
    /// When they were fixed.
    pub at: Moment,
    /// By what.
    pub by: Fixed,
}

/// Which part of a recording is fixed by which block.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Coverage {
    /// From the first chunk to the last; each with the earliest block that fixes it.
    pub pieces: Vec<Piece>,
    /// Chunks at the end that nothing fixes: of a session that was still open.
    pub open: Range<u32>,
}

impl Anchored {
    /// Holds a recording or a disclosure against what is anchored. `lucid_format` has checked its signatures and that its chunks lead to
    /// its manifest's root (`Recording::open`); its chunks' bytes are checked by `lucid_format::verify`.
    ///
    /// # Errors
    /// What does not fit.
    pub fn covers(
        &self,
        head: &SignedHead,
        manifest: &SignedManifest,
        index: &Index,
    ) -> Result<Coverage, ProofError> {
        let session = head.ticket.session;
        if session != self.session() {
            return Err(ProofError::OtherSession {
                recording: session,
                proof: self.session(),
            });
        }
        if head.bytes() != self.head.bytes() {
            return Err(ProofError::OtherHead);
        }
        let whole = index.kind == FileKind::Recording;
        let chunks = manifest.manifest.chunks;
        // A shorter recording is said to be cut back, where a checkpoint shows it, before its manifest is looked at.
        if let Some(beyond) = self.checkpoints.iter().rev().find(|it| it.size > chunks) {
            return Err(ProofError::Rewound {
                recording: chunks,
                anchored: beyond.size,
                height: beyond.at.height,
            });
        }
        if whole {
            self.check_roots(index)?;
        }
        match &self.manifest {
            Some(anchored) if anchored.bytes() != manifest.bytes() => {
                let (recording, anchored) = (chunks, anchored.manifest.chunks);
                return Err(match recording.cmp(&anchored) {
                    std::cmp::Ordering::Less => ProofError::Shorter {
                        recording,
                        anchored,
                    },
                    std::cmp::Ordering::Greater => ProofError::Longer {
                        recording,
                        anchored,
                    },
                    std::cmp::Ordering::Equal => ProofError::OtherManifest,
                });
            }
            None if !whole => {
                return Err(ProofError::StillOpen {
                    height: self.height,
                });
            }
            _ => {}
        }
        let count = u32::try_from(index.chunks.len()).unwrap_or(u32::MAX);
        let shown = index.first..index.first.saturating_add(count);
        Ok(self.pieces(shown, whole))
    }

    /// Checks that each checkpoint has the root of the chunks it covers.
    fn check_roots(&self, index: &Index) -> Result<(), ProofError> {
        let mut checkpoints: Vec<_> = self.checkpoints.iter().collect();
        checkpoints.sort_by_key(|checkpoint| checkpoint.size);
        let mut log = Log::default();
        let mut chunks = index.chunks.iter();
        for checkpoint in checkpoints {
            while log.size() < checkpoint.size {
                // There are as many chunks as the manifest says, and no checkpoint is beyond that.
                let pushed = chunks
                    .next()
                    .is_some_and(|chunk| log.push(chunk.hash).is_ok());
                if !pushed {
                    break;
                }
            }
            let root = merkle::salted(&self.head.head.salt, log.size(), log.root());
            if root != checkpoint.root || log.size() != checkpoint.size {
                return Err(ProofError::Changed {
                    size: checkpoint.size,
                    height: checkpoint.at.height,
                });
            }
        }
        Ok(())
    }

    fn pieces(&self, shown: Range<u32>, whole: bool) -> Coverage {
        // In the order of the blocks: what comes later fixes only what is not fixed yet.
        let checkpoints = self
            .checkpoints
            .iter()
            .filter(|checkpoint| whole || checkpoint.linked)
            .map(|checkpoint| {
                (
                    checkpoint.size,
                    checkpoint.at,
                    Fixed::Checkpoint(checkpoint.by),
                )
            });
        let close = self.closed.map(|at| (u32::MAX, at, Fixed::Close));
        let (mut fixed, mut pieces) = (shown.start, Vec::new());
        for (size, at, by) in checkpoints.chain(close) {
            let end = size.min(shown.end);
            if end > fixed {
                pieces.push(Piece {
                    chunks: fixed..end,
                    at,
                    by,
                });
                fixed = end;
            }
        }
        Coverage {
            pieces,
            open: fixed..shown.end,
        }
    }
}
