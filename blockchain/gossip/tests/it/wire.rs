//! Encodings: what is written is read, and nothing else is.

use bytes::Bytes;
use lucid_chain_types::Height;
use lucid_gossip::{
    Hello, MAX_BATCH_BYTES, MAX_BATCH_TRANSACTIONS, MAX_MESSAGE_BYTES, Request, Response,
    WireError, decode_batch, encode_batch,
};
use proptest::collection::vec;
use proptest::prelude::*;

fn transactions() -> impl Strategy<Value = Vec<Bytes>> {
    vec(vec(any::<u8>(), 1..600).prop_map(Bytes::from), 1..60)
}

fn hello() -> impl Strategy<Value = Hello> {
    let heights = vec(any::<u64>().prop_map(Height), 0..=16);
    let addresses = |most| vec(vec(any::<u8>(), 0..=192), 0..=most);
    (
        any::<[u8; 32]>(),
        any::<u64>(),
        any::<u64>(),
        heights,
        addresses(4),
        addresses(16),
    )
        .prop_map(
            |(genesis, height, earliest, snapshots, addresses, peers)| Hello {
                genesis_hash: genesis.into(),
                height: Height(height),
                earliest: Height(earliest),
                snapshots,
                addresses,
                peers,
            },
        )
}

fn request() -> impl Strategy<Value = Request> {
    prop_oneof![
        hello().prop_map(Request::Hello),
        Just(Request::Manifest),
        (any::<u64>(), any::<u32>()).prop_map(|(height, index)| Request::Piece {
            height: Height(height),
            index
        }),
    ]
}

fn response() -> impl Strategy<Value = Response> {
    prop_oneof![
        hello().prop_map(Response::Hello),
        Just(Response::Busy),
        proptest::option::of(vec(any::<u8>(), 0..2000)).prop_map(Response::Snapshot),
    ]
}

proptest! {
    #[test]
    fn batches_are_read_as_written(list in transactions()) {
        let message = encode_batch(&list).unwrap();
        prop_assert!(message.len() <= MAX_MESSAGE_BYTES);
        prop_assert_eq!(decode_batch(&message).unwrap(), list);
    }

    #[test]
    fn requests_and_answers_are_read_as_written(request in request(), response in response()) {
        prop_assert_eq!(Request::decode(&request.encode()), Ok(request));
        prop_assert_eq!(Response::decode(&response.encode()), Ok(response));
    }

    #[test]
    fn junk_makes_nothing_worse_than_an_error(mut bytes in vec(any::<u8>(), 0..2000), packed in 0_u8..3) {
        let _ = Request::decode(&bytes);
        let _ = Response::decode(&bytes);
        let _ = decode_batch(&bytes);
        // And past the first two bytes.
        if bytes.len() > 2 {
            bytes[0] = 1;
            bytes[1] = packed;
        }
        if let Ok(list) = decode_batch(&bytes) {
            prop_assert!(!list.is_empty() && list.iter().all(|one| !one.is_empty()));
        }
    }

    #[test]
    fn a_cut_message_is_refused(list in transactions(), place in any::<prop::sample::Index>()) {
        let message = encode_batch(&list).unwrap();
        prop_assert!(decode_batch(&message[..place.index(message.len())]).is_err());
    }

    #[test]
    fn more_after_the_end_is_refused(list in transactions(), request in request(), more in vec(any::<u8>(), 1..20)) {
        let message = [encode_batch(&list).unwrap(), more.clone()].concat();
        prop_assert!(decode_batch(&message).is_err());
        prop_assert!(Request::decode(&[request.encode(), more].concat()).is_err());
    }

    #[test]
    fn a_flipped_bit_never_panics(list in transactions(), place in any::<prop::sample::Index>(), flip in 1_u8..) {
        let mut message = encode_batch(&list).unwrap();
        let place = place.index(message.len());
        message[place] ^= flip;
        if let Ok(list) = decode_batch(&message) {
            prop_assert!(list.len() <= MAX_BATCH_TRANSACTIONS);
        }
    }
}

#[test]
fn batches_are_packed_above_a_kibibyte_only() {
    let small = encode_batch(&[Bytes::from(vec![0; 900])]).unwrap();
    assert_eq!((small[0], small[1]), (1, 0));
    let large = encode_batch(&vec![Bytes::from(vec![0; 900]); 2]).unwrap();
    assert_eq!((large[0], large[1]), (1, 1));
    assert!(large.len() < 200);
}

#[test]
fn bounds_of_a_batch() {
    let one = Bytes::from_static(b"1");
    assert!(encode_batch(&[]).is_err());
    assert!(encode_batch(&vec![one.clone(); MAX_BATCH_TRANSACTIONS]).is_ok());
    assert!(encode_batch(&vec![one; MAX_BATCH_TRANSACTIONS + 1]).is_err());
    let large = vec![Bytes::from(vec![0; 100 << 10]); 3];
    assert!(matches!(
        encode_batch(&large),
        Err(WireError::TooLarge { .. })
    ));
    assert!(matches!(
        decode_batch(&vec![1; MAX_MESSAGE_BYTES + 1]),
        Err(WireError::TooLarge { .. })
    ));
}

#[test]
fn a_bomb_stops_at_the_bound() {
    for size in [MAX_BATCH_BYTES + 1, 256 << 20] {
        let bomb = zstd::bulk::compress(&vec![0; size], 1).unwrap();
        assert!(decode_batch(&[&[1, 1], &bomb[..]].concat()).is_err());
    }
}

#[test]
fn lists_of_a_greeting_are_bounded() {
    let long = [
        Hello {
            snapshots: vec![Height(1); 17],
            ..Hello::default()
        },
        Hello {
            addresses: vec![Vec::new(); 5],
            ..Hello::default()
        },
        Hello {
            peers: vec![Vec::new(); 17],
            ..Hello::default()
        },
        Hello {
            peers: vec![vec![0; 193]],
            ..Hello::default()
        },
    ];
    for hello in long {
        assert!(Request::decode(&Request::Hello(hello.clone()).encode()).is_err());
        assert!(Response::decode(&Response::Hello(hello).encode()).is_err());
    }
}

#[test]
fn what_a_newer_program_sends_is_named() {
    let error = decode_batch(&[2, 0, 0, 0, 0, 0]).unwrap_err();
    assert_eq!(
        error.to_string(),
        "a transaction batch has the unknown version 2"
    );
    let error = decode_batch(&[1, 7, 0, 0, 0, 0]).unwrap_err();
    assert_eq!(
        error.to_string(),
        "a transaction batch has the unknown version 7"
    );
}
