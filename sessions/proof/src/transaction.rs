//! Just enough of an Ethereum transaction to see whom it calls with what.

use alloy_primitives::{Address, B256, U256};
use alloy_rlp::{Decodable, Header};
use lucid_chain_types::anchors::{Closed, Opened};
use lucid_chain_types::contracts::LUCID_ANCHORS;

/// First bytes of `closeSession(bytes32,bytes32,bytes32,uint64)`.
const CLOSE: [u8; 4] = [0x65, 0x9f, 0x24, 0xee];
/// First bytes of `registerSession(bytes32,address,bytes32,bytes32,bytes32,uint64)`.
const REGISTER: [u8; 4] = [0x6b, 0xd5, 0x31, 0x04];

/// Whether a signed transaction (EIP-2718) is the one that opened (where it was registered) and closed a session.
pub(crate) fn closes(bytes: &[u8], opened: &Opened, registered: bool, closed: &Closed) -> bool {
    let chunks = B256::from(U256::from(closed.chunks));
    let end = [closed.manifest, closed.root, chunks];
    let input = if registered {
        let begin = [opened.id, opened.owner.into_word(), opened.session_key];
        [
            &REGISTER,
            begin.concat().as_slice(),
            end.concat().as_slice(),
        ]
        .concat()
    } else {
        [&CLOSE, opened.id.as_slice(), end.concat().as_slice()].concat()
    };
    target_and_input(bytes) == Some((LUCID_ANCHORS, input.as_slice()))
}

/// Whom a transaction goes to, and its call data.
fn target_and_input(bytes: &[u8]) -> Option<(Address, &[u8])> {
    // Fields before the receiver: nonce, two fees or one, gas; EIP-2930 and EIP-1559 begin with the chain id.
    let (skip, list) = match bytes.split_first()? {
        (1, list) => (4, list),
        (2, list) => (5, list),
        (0xc0.., _) => (3, bytes),
        _ => return None,
    };
    let mut list = list;
    let mut fields = Header::decode_bytes(&mut list, true).ok()?;
    if !list.is_empty() {
        return None;
    }
    for _ in 0..skip {
        Header::decode_bytes(&mut fields, false).ok()?;
    }
    let to = Address::decode(&mut fields).ok()?;
    Header::decode_bytes(&mut fields, false).ok()?;
    let input = Header::decode_bytes(&mut fields, false).ok()?;
    Some((to, input))
}
