//! For whoever copies the chain: blocks with what makes them final, and snapshots. Bytes are in base64, which makes less of them
//! than hex does.

use data_encoding::BASE64;
use lucid_chain_types::Height;
use lucid_client::wire::SnapshotInfo;

use crate::backend::Backend;
use crate::error::{CallError, CallResult};
use crate::params::{Arguments, Number};

/// Blocks in one answer.
const MAX_BLOCKS: u64 = 200;
/// Bytes of blocks in one answer, but for the first, which is always there.
const MAX_BYTES: usize = 4 << 20;

/// Blocks from a height on, in their order: as many as there are and one answer holds.
pub(crate) fn blocks(node: &Backend, args: &mut Arguments<'_>) -> CallResult<String> {
    let from = Height(args.next::<Number>("from")?.0);
    let most = args
        .optional::<Number>("most")?
        .map_or(MAX_BLOCKS, |number| number.0)
        .min(MAX_BLOCKS);
    let earliest = node.ledger.earliest();
    if from < earliest {
        return Err(CallError::NotKept {
            height: from,
            earliest,
        });
    }
    // Base64 makes a third more of it.
    let room = usize::try_from(node.limits.get().max_response / 2).unwrap_or(usize::MAX);
    let room = room.min(MAX_BYTES);
    let (mut found, mut bytes) = (Vec::new(), 0);
    let last = node
        .height()
        .0
        .min(from.0.saturating_add(most).saturating_sub(1));
    for height in (from.0..=last).map(Height) {
        let Some(block) = node.ledger.certified(height)? else {
            break;
        };
        let block = block.encode();
        bytes += block.len();
        if bytes > room && !found.is_empty() {
            break;
        }
        found.push(block);
    }
    let encoded = borsh::to_vec(&found).map_err(|error| CallError::Internal(error.to_string()))?;
    Ok(BASE64.encode(&encoded))
}

/// The newest snapshot that this node keeps.
pub(crate) fn snapshot(node: &Backend, _: &mut Arguments<'_>) -> CallResult<Option<SnapshotInfo>> {
    let Some(snapshots) = &node.network.snapshots else {
        return Ok(None);
    };
    for height in snapshots.heights()? {
        // One may go while this is looking.
        if let Some(manifest) = snapshots.manifest(height)? {
            let manifest = BASE64.encode(&manifest);
            return Ok(Some(SnapshotInfo { height, manifest }));
        }
    }
    Ok(None)
}

/// A piece of a snapshot.
pub(crate) fn piece(node: &Backend, args: &mut Arguments<'_>) -> CallResult<Option<String>> {
    let height = Height(args.next::<Number>("height")?.0);
    let index = args.next::<Number>("index")?.0;
    let (Some(snapshots), Ok(index)) = (&node.network.snapshots, u32::try_from(index)) else {
        return Ok(None);
    };
    let piece = snapshots.piece(height, index)?;
    Ok(piece.map(|piece| BASE64.encode(&piece)))
}
