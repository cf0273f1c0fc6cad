//! Records go through a chunk's plaintext unchanged and in order.

use lucid_format::{
    ErrorKind, MAX_PAYLOAD, Marker, Packer, RECORD_HEADER, Record, Records, Stream,
};
use proptest::prelude::*;

use crate::support::Owned;

fn encode(records: &[Owned]) -> Vec<u8> {
    let mut out = Vec::new();
    for record in records {
        record.record().encode(&mut out).unwrap();
    }
    out
}

prop_compose! {
    fn any_records()(
        list in prop::collection::vec((0..1000u64, 0..8usize, prop::collection::vec(any::<u8>(), 0..50)), 0..20)
    ) -> Vec<Owned> {
        let mut time = 0;
        list.into_iter().map(|(step, stream, payload)| {
            time += step;
            Owned::new(time, Stream::ALL[stream], &payload)
        }).collect()
    }
}

proptest! {
    #[test]
    fn what_was_written_is_read(records in any_records()) {
        let bytes = encode(&records);
        let length: usize = records.iter().map(|r| r.record().encoded_len()).sum();
        prop_assert_eq!(bytes.len(), length);
        let end = records.last().map_or(0, |r| r.time_us);
        let read: Vec<Owned> = Records::new(&bytes, 0, end).map(|r| r.unwrap().into()).collect();
        prop_assert_eq!(read, records);
    }

    #[test]
    fn a_cut_is_seen_unless_it_falls_between_two_records(records in any_records(), cut in any::<prop::sample::Index>()) {
        let bytes = encode(&records);
        let cut = cut.index(bytes.len() + 1);
        let mut border = 0;
        let borders: Vec<usize> = std::iter::once(0)
            .chain(records.iter().map(|r| { border += r.record().encoded_len(); border }))
            .collect();
        let fault = Records::new(&bytes[..cut], 0, u64::MAX).find_map(Result::err);
        prop_assert_eq!(fault.is_none(), borders.contains(&cut));
        prop_assert!(fault.is_none_or(|e| e.kind() == ErrorKind::Truncated));
    }
}

#[test]
fn an_unknown_stream_is_refused_and_ends_the_walk() {
    let mut bytes = encode(&std::array::from_fn::<_, 3, _>(|_| {
        Owned::new(1, Stream::Input, b"x")
    }));
    for stream in [0, 9, 255] {
        bytes[14 + 8] = stream;
        let mut records = Records::new(&bytes, 0, 9);
        assert!(records.next().unwrap().is_ok());
        assert_eq!(
            records.next().unwrap().unwrap_err().kind(),
            ErrorKind::Malformed
        );
        assert!(records.next().is_none());
    }
}

#[test]
fn times_stay_in_order_and_inside_the_chunk() {
    let walk = |times: [u64; 2], start, end| {
        let bytes = encode(&times.map(|t| Owned::new(t, Stream::PduIn, b"")));
        Records::new(&bytes, start, end)
            .collect::<Result<Vec<_>, _>>()
            .map(|r| r.len())
    };
    assert_eq!(walk([5, 5], 5, 5), Ok(2));
    for (times, start, end) in [([6, 5], 0, 9), ([4, 5], 5, 9), ([5, 10], 0, 9)] {
        let error = walk(times, start, end).unwrap_err();
        assert!(error.to_string().contains("is outside"), "{error}");
    }
}

#[test]
fn a_payload_longer_than_a_chunk_is_refused_by_the_writer() {
    let payload = vec![0; MAX_PAYLOAD + 1];
    let record = Record {
        time_us: 0,
        stream: Stream::Keyframe,
        payload: &payload,
    };
    let error = record.encode(&mut Vec::new()).unwrap_err();
    assert_eq!(
        error.to_string(),
        "a record's payload would exceed its bound of 16777203"
    );
    let mut packer = Packer::new(0).unwrap();
    assert!(!packer.has_room(&record));
    assert!(packer.push(&record).is_err());
    let fits = Record {
        payload: &payload[1..],
        ..record
    };
    assert!(packer.has_room(&fits));
    packer.push(&fits).unwrap();
    assert_eq!(packer.plaintext(), MAX_PAYLOAD + RECORD_HEADER);
    let empty = Record {
        payload: &[],
        ..record
    };
    assert!(packer.push(&empty).is_err(), "the chunk is full");
}

#[test]
fn the_packer_refuses_time_that_runs_backwards() {
    let mut packer = Packer::new(100).unwrap();
    let record = Owned::new(99, Stream::Input, b"");
    let error = packer.push(&record.record()).unwrap_err();
    assert_eq!(
        error.to_string(),
        "a record does not decode: its time 99 µs is before the last one's, 100 µs"
    );
}

#[test]
fn stream_numbers_never_change() {
    let numbers: Vec<u8> = Stream::ALL.iter().map(|s| s.number()).collect();
    assert_eq!(numbers, [1, 2, 3, 4, 5, 6, 7, 8]);
    for number in 0..=255 {
        assert_eq!(
            Stream::from_u8(number).map(Stream::number),
            (1..=8).contains(&number).then_some(number)
        );
    }
}

#[test]
fn markers_go_round_and_their_texts_are_cut() {
    let markers = [
        Marker::Started {
            wall_us: 1,
            client: "c".into(),
            target: "t".into(),
        },
        Marker::ChannelDenied {
            permission: "drives".into(),
            to_desktop: true,
            count: 2,
        },
        Marker::Granted {
            permission: "clipboard-in".into(),
            for_ms: 3,
            by: "admin".into(),
        },
        Marker::GrantEnded {
            permission: "clipboard-in".into(),
        },
        Marker::Note { text: "n".into() },
        Marker::Ended {
            wall_us: 4,
            reason: "r".into(),
        },
    ];
    for marker in markers {
        assert_eq!(
            Marker::decode(&marker.clone().encode().unwrap()).unwrap(),
            marker
        );
    }
    // 'é' is two bytes: the cut falls on a border of characters.
    let text = format!("x{}", "é".repeat(Marker::MAX_TEXT));
    let Marker::Note { text: cut } =
        Marker::decode(&Marker::Note { text: text.clone() }.encode().unwrap()).unwrap()
    else {
        panic!("another marker came back")
    };
    assert_eq!(cut, text[..Marker::MAX_TEXT - 1]);

    let long = borsh::to_vec(&Marker::Note { text }).unwrap();
    assert_eq!(
        Marker::decode(&long).unwrap_err().to_string(),
        "a marker's text claims 2049, and the bound is 1024: refused unread"
    );
    assert_eq!(
        Marker::decode(&[6]).unwrap_err().kind(),
        ErrorKind::Malformed
    );
    let followed = [
        Marker::Note {
            text: String::new(),
        }
        .encode()
        .unwrap(),
        vec![0],
    ]
    .concat();
    assert_eq!(
        Marker::decode(&followed).unwrap_err().kind(),
        ErrorKind::Malformed
    );
}
