//! Blocks in pieces.

use alloy_primitives::B256;
use bytes::Bytes;
use lucid_chain_types::{BlockId, Height, MAX_BLOCK_BYTES, Proposal, SignedProposal};
use lucid_consensus::context::{Part, PartInit};
use lucid_consensus::pack::{MAX_PACKED_BYTES, PackError, pack, unpack};
use lucid_consensus::parts::{
    Added, Assembler, HEADLESS_BYTES, MAX_STREAM_BYTES, MAX_STREAMS, PART_BYTES, STREAMS_PER_PEER,
    cut,
};
use proptest::prelude::*;

use crate::chain::{key, node};

fn signed(block: u8) -> SignedProposal {
    key(0).proposal(Proposal {
        height: Height(1),
        round: 0,
        block: BlockId(B256::repeat_byte(block)),
        valid_round: None,
        proposer: node(0),
    })
}

fn name(stream: u8) -> Bytes {
    Bytes::copy_from_slice(&[stream; 16])
}

fn data(size: usize) -> Part {
    Part::Data {
        bytes: Bytes::from(vec![0; size]),
        last: false,
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn pieces_in_any_order_from_any_publisher_make_the_block(
        sizes in proptest::collection::vec(0..5 * PART_BYTES, 1..4),
        order in proptest::collection::vec(any::<usize>(), 60),
        twice in any::<bool>(),
    ) {
        let blocks: Vec<Bytes> = sizes
            .iter()
            .enumerate()
            .map(|(stream, size)| (0..*size).map(|byte| (byte ^ stream) as u8).collect::<Vec<_>>().into())
            .collect();
        let mut pieces: Vec<(usize, u64, Part)> = blocks
            .iter()
            .enumerate()
            .flat_map(|(stream, block)| (0..).zip(cut(signed(stream as u8), block)).map(move |(at, part)| (stream, at, part)))
            .collect();
        for (at, random) in order.iter().enumerate() {
            let at = at % pieces.len();
            let other = random % pieces.len();
            pieces.swap(at, other);
        }
        let mut assembler = Assembler::default();
        let mut whole = vec![None; blocks.len()];
        for (stream, sequence, part) in pieces {
            let publisher = stream % 2;
            let added = assembler.add(&publisher, &name(stream as u8), sequence, part.clone(), |_| true);
            if let Added::Complete { signed: head, packed } = added {
                prop_assert_eq!(head, signed(stream as u8));
                prop_assert!(whole[stream].replace(packed).is_none());
            } else {
                prop_assert_eq!(added, Added::Waiting);
                if twice {
                    prop_assert_eq!(assembler.add(&publisher, &name(stream as u8), sequence, part, |_| true), Added::Waiting);
                }
            }
        }
        for (block, whole) in blocks.iter().zip(whole) {
            prop_assert_eq!(Some(block), whole.as_ref());
        }
        prop_assert_eq!((assembler.streams(), assembler.bytes()), (0, 0));
    }

    #[test]
    fn packing_is_undone_by_unpacking(block in proptest::collection::vec(any::<u8>(), 0..4_000), repeat in 1..4_usize) {
        let block = block.repeat(repeat);
        let packed = pack(&block).unwrap();
        prop_assert!(packed.len() <= block.len() + 5);
        prop_assert_eq!(unpack(&packed).unwrap(), block);
    }

    #[test]
    fn noise_does_not_unpack_to_more_than_it_says(mut noise in proptest::collection::vec(any::<u8>(), 0..500)) {
        if let Some(kind) = noise.first_mut() {
            *kind %= 3;
        }
        if let Ok(block) = unpack(&noise) {
            prop_assert!(block.len() <= MAX_BLOCK_BYTES);
        }
    }
}

#[test]
fn a_block_that_grows_when_unpacked_is_refused() {
    let zeros = vec![0; MAX_BLOCK_BYTES];
    let mut packed = pack(&zeros).unwrap().to_vec();
    assert!(packed.len() < 10_000);
    assert_eq!(unpack(&packed).unwrap().len(), MAX_BLOCK_BYTES);
    // The same bytes under a smaller size.
    packed[1..5].copy_from_slice(&1_000_u32.to_le_bytes());
    assert_eq!(unpack(&packed), Err(PackError::Malformed));
    packed[1..5].copy_from_slice(&u32::MAX.to_le_bytes());
    assert_eq!(unpack(&packed), Err(PackError::TooLarge(u32::MAX as usize)));
    assert_eq!(
        pack(&vec![0; MAX_BLOCK_BYTES + 1]),
        Err(PackError::TooLarge(MAX_BLOCK_BYTES + 1))
    );
}

#[test]
fn only_heads_that_are_believed_make_room_for_a_block() {
    let mut assembler = Assembler::default();
    for sequence in 1..=(HEADLESS_BYTES / PART_BYTES) as u64 {
        assert_eq!(
            assembler.add(&0, &name(0), sequence, data(PART_BYTES), |_| true),
            Added::Waiting
        );
    }
    let next = (HEADLESS_BYTES / PART_BYTES) as u64 + 1;
    let dropped = assembler.add(&0, &name(0), next, data(PART_BYTES), |_| true);
    assert_eq!(dropped, Added::Dropped("too much without a head"));
    let head = |size| {
        Part::Init(PartInit {
            signed: signed(1),
            size,
        })
    };
    let dropped = assembler.add(&0, &name(0), 0, head(100 * PART_BYTES as u32), |_| false);
    assert!(matches!(dropped, Added::Dropped(_)));
    assert_eq!((assembler.streams(), assembler.bytes()), (0, 0));
    let dropped = assembler.add(&0, &name(0), 0, head(MAX_PACKED_BYTES as u32 + 1), |_| true);
    assert_eq!(dropped, Added::Dropped("a block that is too large"));
    assert_eq!(
        assembler.add(&0, &name(0), 0, head(100 * PART_BYTES as u32), |_| true),
        Added::Waiting
    );
    assert_eq!(
        assembler.add(&0, &name(0), next, data(PART_BYTES), |_| true),
        Added::Waiting
    );
    for (sequence, size) in [(0, 1), (1_000, 1), (1, PART_BYTES + 1)] {
        let dropped = assembler.add(&0, &name(0), sequence, data(size), |_| true);
        assert_eq!(dropped, Added::Dropped("a piece that no block has"));
    }
    // More bytes than the head announced.
    assert_eq!(
        assembler.add(&0, &name(1), 0, head(10), |_| true),
        Added::Waiting
    );
    let dropped = assembler.add(&0, &name(1), 1, data(11), |_| true);
    assert_eq!(
        dropped,
        Added::Dropped("pieces that do not make up the block")
    );
}

#[test]
fn a_flood_of_streams_is_bounded_and_pushes_out_its_own() {
    let mut assembler = Assembler::default();
    for stream in 0..100 {
        assembler.add(&0, &name(stream), 1, data(10), |_| true);
    }
    assert_eq!(
        (assembler.streams(), assembler.bytes()),
        (STREAMS_PER_PEER, STREAMS_PER_PEER * 10)
    );
    for publisher in 1..1_000 {
        for stream in 0..8 {
            for sequence in 1..40 {
                assembler.add(
                    &publisher,
                    &name(stream),
                    sequence,
                    data(PART_BYTES),
                    |_| true,
                );
            }
        }
    }
    assert!(assembler.streams() <= MAX_STREAMS && assembler.bytes() <= MAX_STREAM_BYTES);
    assembler.forget(&1);
    // What stays headless from one height to the next goes.
    assembler.retain(|_| true);
    assert!(assembler.streams() > 0);
    assembler.retain(|_| true);
    assert_eq!((assembler.streams(), assembler.bytes()), (0, 0));
}
