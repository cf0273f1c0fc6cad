use proptest::prelude::*;

use super::*;

const BITMAP_CAPS: [u8; 28] = [
    2, 0, 28, 0, 32, 0, 1, 0, 1, 0, 1, 0, 0, 4, 0, 3, 0, 0, 1, 0, 1, 0, 0, 0, 1, 0, 0, 0,
];

fn request(name: &str) -> ChannelRequest {
    ChannelRequest {
        name: name.into(),
        options: CHANNEL_OPTION_SHOW_PROTOCOL,
    }
}

/// Client ids 1002, 1003, 1004…; server ids 1020, 1010, 1011…, message channel 1030.
fn filter() -> Filter {
    let requests = [
        request("rdpdr"),
        request("rdpsnd"),
        request("cliprdr"),
        request("drdynvc"),
        request("rail"),
    ];
    let client = Ids {
        user: 1002,
        io: 1003,
        message: None,
        channels: (1004..1009).collect(),
    };
    let server = Ids {
        user: 1020,
        io: 1010,
        message: Some(1030),
        channels: (1011..1016).collect(),
    };
    Filter::new(client, server, &requests)
}

fn from_server(io: u16, data: &[u8]) -> Vec<u8> {
    wire::send_data(Direction::Out, 1020, io, data).unwrap()
}

fn share_control(kind: u16, body: &[u8]) -> Vec<u8> {
    let mut pdu = u16::try_from(body.len() + 6)
        .unwrap()
        .to_le_bytes()
        .to_vec();
    pdu.extend_from_slice(&(kind | 0x10).to_le_bytes());
    pdu.extend_from_slice(&1002u16.to_le_bytes());
    pdu.extend_from_slice(body);
    pdu
}

fn share_data(kind: u8, compression: u8, body: &[u8]) -> Vec<u8> {
    let mut data = vec![0xEA, 3, 1, 0, 0, 1, 0, 0, kind, compression, 0, 0];
    data.extend_from_slice(body);
    share_control(7, &data)
}

fn demand_active() -> Vec<u8> {
    let mut body = vec![0xEA, 3, 1, 0, 4, 0, 32, 0];
    body.extend_from_slice(b"RDP\0\x01\0\0\0");
    body.extend_from_slice(&BITMAP_CAPS);
    body.extend_from_slice(&[0; 4]);
    share_control(1, &body)
}

fn server_says(filter: &mut Filter, data: &[u8]) -> (Result<(), EndReason>, Output) {
    let mut out = Output::default();
    (
        filter.server_frame(1, &mut from_server(1010, data), &mut out),
        out,
    )
}

fn chunk(direction: Direction, index: u16, flags: u32, total: u32, body: &[u8]) -> Vec<u8> {
    let mut data = total.to_le_bytes().to_vec();
    data.extend_from_slice(&flags.to_le_bytes());
    data.extend_from_slice(body);
    match direction {
        Direction::In => wire::send_data(direction, 1002, 1004 + index, &data).unwrap(),
        Direction::Out => wire::send_data(direction, 1020, 1011 + index, &data).unwrap(),
    }
}

fn feed(filter: &mut Filter, direction: Direction, now_us: u64, mut frame: Vec<u8>) -> Output {
    let mut out = Output::default();
    match direction {
        Direction::In => filter.client_frame(now_us, &mut frame, &mut out),
        Direction::Out => filter.server_frame(now_us, &mut frame, &mut out),
    }
    .unwrap();
    out
}

fn clip(kind: u8, flags: u8, body: &[u8]) -> Vec<u8> {
    let mut pdu = vec![kind, 0, flags, 0];
    pdu.extend_from_slice(&u32::try_from(body.len()).unwrap().to_le_bytes());
    pdu.extend_from_slice(body);
    pdu
}

/// One-chunk frame of a PDU on the static channel `index`.
fn whole(direction: Direction, index: u16, pdu: &[u8]) -> Vec<u8> {
    chunk(direction, index, 3, u32::try_from(pdu.len()).unwrap(), pdu)
}

#[test]
fn what_could_not_be_replayed_ends_the_session() {
    use Unreplayable::*;
    let cases = [
        (share_data(2, 0, &[0, 0, 0, 0]), Orders),
        (share_data(2, 0, &[9, 0]), UnknownUpdate(9)),
        (share_data(2, 0x21, &[1, 0]), Compressed),
        (share_data(0x77, 0, &[]), UnknownPdu(0x77)),
        // A harmless PDU first: each PDU of a frame is looked at.
        (
            [share_data(0x28, 0, &[0; 8]), share_data(2, 0, &[0, 0])].concat(),
            Orders,
        ),
    ];
    for (data, expected) in cases {
        let mut filter = filter();
        server_says(&mut filter, &demand_active()).0.unwrap();
        let (result, out) = server_says(&mut filter, &data);
        assert_eq!(result, Err(EndReason::NotReplayable(expected)));
        assert!(out.to_client.is_empty() && out.events.is_empty());
    }
    let fast = |header: u8| {
        let compression: &[u8] = if header >> 6 == 0 { &[] } else { &[0x21] };
        let mut frame = vec![0, 0, header];
        frame.extend_from_slice(compression);
        frame.extend_from_slice(&[1, 0, 7]);
        frame[1] = u8::try_from(frame.len()).unwrap();
        filter().server_frame(0, &mut frame, &mut Output::default())
    };
    for code in [1, 2, 3, 5, 6, 8, 9, 10, 11, 12] {
        assert_eq!(fast(code), Ok(()));
        assert_eq!(fast(code | 0x80), Err(EndReason::NotReplayable(Compressed)));
    }
    assert_eq!(fast(0), Err(EndReason::NotReplayable(Orders)));
    assert_eq!(fast(4), Err(EndReason::NotReplayable(SurfaceCommands)));
    assert_eq!(fast(0x1F), Err(EndReason::NotReplayable(UnknownUpdate(15))));
}

#[test]
fn redirections_end_the_session() {
    let mut sleepy = filter();
    assert_eq!(
        server_says(&mut sleepy, &share_control(10, &[0; 20])).0,
        Err(EndReason::Redirected)
    );
    assert_eq!(
        server_says(&mut sleepy, &[0, 4, 0, 0, 0, 4, 40, 0, 0, 0]).0,
        Err(EndReason::Redirected)
    );
}

#[test]
fn licensing_passes_until_the_first_demand_active_and_never_after() {
    let license = [0x80, 0, 0, 0, 0xFF, 3, 8, 0, 7, 0, 0, 0];
    let mut filter = filter();
    let (result, out) = server_says(&mut filter, &license);
    assert_eq!(result, Ok(()));
    assert!(!out.to_client.is_empty());
    let (result, out) = server_says(&mut filter, &demand_active());
    assert_eq!(result, Ok(()));
    assert_eq!(filter.desktop(), Some((1024, 768)));
    let last = out.events.last().unwrap();
    assert_eq!(
        last.what,
        What::Record {
            stream: Stream::Resize,
            payload: Bytes::from_static(&[0, 4, 0, 3])
        }
    );
    assert!(matches!(
        server_says(&mut filter, &license).0,
        Err(EndReason::Malformed { .. })
    ));
    // The same size again is no resize.
    assert_eq!(server_says(&mut filter, &demand_active()).1.events.len(), 1);
}

#[test]
fn ids_are_those_of_the_side_a_frame_goes_to() {
    let mut filter = filter();
    let granted_control = share_data(0x14, 0, &[2, 0, 0xFC, 3, 0xEA, 3, 0, 0]);
    let (_, out) = server_says(&mut filter, &granted_control);
    let Ok(Mcs::SendDataIndication(header)) = wire::parse_mcs(&out.to_client) else {
        panic!()
    };
    assert_eq!((header.initiator, header.channel), (1002, 1003));
    assert_eq!(
        out.to_client[header.data.start + 20..][..2],
        1002u16.to_le_bytes()
    );

    let input = share_data(0x1C, 0, &[0; 8]);
    let out = feed(
        &mut filter,
        Direction::In,
        0,
        wire::send_data(Direction::In, 1002, 1003, &input).unwrap(),
    );
    let Ok(Mcs::SendDataRequest(header)) = wire::parse_mcs(&out.to_server) else {
        panic!()
    };
    assert_eq!((header.initiator, header.channel), (1020, 1010));
    assert_eq!(
        out.to_server[header.data.start + 4..][..2],
        1020u16.to_le_bytes()
    );
    assert!(matches!(
        out.events[0].what,
        What::Record {
            stream: Stream::Input,
            ..
        }
    ));
}

#[test]
fn the_message_channel_and_persistent_cache_keys_are_dropped() {
    let mut filter = filter();
    let out = feed(
        &mut filter,
        Direction::Out,
        0,
        from_server(1030, &[2, 0, 0, 0, 1, 2, 3, 4]),
    );
    assert!(out.to_client.is_empty() && out.events.is_empty());
    let keys = share_data(0x2B, 0, &[0; 30]);
    let out = feed(
        &mut filter,
        Direction::In,
        0,
        wire::send_data(Direction::In, 1002, 1003, &keys).unwrap(),
    );
    assert!(out.to_server.is_empty() && out.events.is_empty());
}

#[test]
fn the_servers_reconnect_cookie_reaches_neither_client_nor_recording() {
    let mut body = vec![
        3, 0, 0, 0, 0, 0, 1, 0, 0, 0, 28, 0, 0, 0, 28, 0, 0, 0, 1, 0, 0, 0, 5, 0, 0, 0,
    ];
    body.extend_from_slice(&[0xC7; 16]);
    body.extend_from_slice(&[0; 570]);
    let (_, out) = server_says(&mut filter(), &share_data(0x26, 0, &body));
    assert!(!out.to_client.contains(&0xC7));
}

#[test]
fn compressed_channel_chunks_end_the_session() {
    for direction in [Direction::In, Direction::Out] {
        let mut frame = chunk(direction, 2, 3 | CHANNEL_PACKET_COMPRESSED, 8, &[0; 8]);
        let mut out = Output::default();
        let result = match direction {
            Direction::In => filter().client_frame(0, &mut frame, &mut out),
            Direction::Out => filter().server_frame(0, &mut frame, &mut out),
        };
        assert_eq!(
            result,
            Err(EndReason::NotReplayable(Unreplayable::CompressedChannel))
        );
    }
}

#[test]
fn a_denied_channel_is_reported_at_once_and_then_with_a_count_every_ten_seconds() {
    let mut filter = filter();
    let sound = |filter: &mut Filter, now| {
        feed(
            filter,
            Direction::In,
            now,
            whole(Direction::In, 1, b"sound"),
        )
        .events
    };
    let counts = |events: &[TapEvent]| -> Vec<u32> {
        let count = |e: &TapEvent| match &e.what {
            What::ChannelDenied { count, .. } => Some(*count),
            _ => None,
        };
        events.iter().filter_map(count).collect()
    };
    assert_eq!(counts(&sound(&mut filter, 5)), [1]);
    assert!(counts(&sound(&mut filter, 6)).is_empty());
    assert!(counts(&sound(&mut filter, 7)).is_empty());
    assert_eq!(filter.next_tick(), Some(5 + DENIED_EVERY_US));
    let mut out = Output::default();
    filter.tick(5 + DENIED_EVERY_US, &mut out).unwrap();
    assert_eq!(counts(&out.events), [2]);
    assert_eq!(filter.next_tick(), None);
}

#[test]
fn what_a_server_said_first_on_a_closed_channel_is_delivered_by_a_grant_and_later_words_are_not() {
    let mut filter = filter();
    for word in [b"formats".as_slice(), b"second"] {
        assert!(
            feed(
                &mut filter,
                Direction::Out,
                0,
                whole(Direction::Out, 1, word)
            )
            .to_client
            .is_empty()
        );
    }
    let mut out = Output::default();
    filter
        .grant(Permission::AudioOut, 1000, "test", 1, &mut out)
        .unwrap();
    assert!(
        out.to_client.windows(7).any(|w| w == b"formats")
            && out.to_client.windows(6).any(|w| w == b"second")
    );
    assert!(
        !feed(
            &mut filter,
            Direction::Out,
            2,
            whole(Direction::Out, 1, b"wave")
        )
        .to_client
        .is_empty()
    );
    // The grant is over; what is dropped now is stale for the next one.
    assert!(
        feed(
            &mut filter,
            Direction::Out,
            1000,
            whole(Direction::Out, 1, b"stale")
        )
        .to_client
        .is_empty()
    );
    let mut out = Output::default();
    filter
        .grant(Permission::AudioOut, 9000, "test", 2000, &mut out)
        .unwrap();
    assert!(out.to_client.is_empty());
}

#[test]
fn a_pdu_is_judged_at_its_first_chunk_and_let_through_or_dropped_as_a_whole() {
    let mut filter = filter();
    filter
        .grant(Permission::AudioOut, 100, "test", 0, &mut Output::default())
        .unwrap();
    let mut send = |now, flags| {
        !feed(
            &mut filter,
            Direction::In,
            now,
            chunk(Direction::In, 1, flags, 9, b"abc"),
        )
        .to_server
        .is_empty()
    };
    assert!(send(99, CHANNEL_FLAG_FIRST));
    assert!(
        send(100, 0) && send(101, CHANNEL_FLAG_LAST),
        "it began in time"
    );
    assert!(!send(102, CHANNEL_FLAG_FIRST) && !send(103, CHANNEL_FLAG_LAST));
    assert!(!send(104, 0), "a chunk without a beginning");
}

#[test]
fn an_answer_of_the_gateways_own_waits_for_the_end_of_a_pdu_under_way() {
    let mut filter = filter();
    filter
        .grant(
            Permission::ClipboardOut,
            1000,
            "test",
            0,
            &mut Output::default(),
        )
        .unwrap();
    let list = clip(2, 0, &[1; 12]);
    let total = u32::try_from(list.len()).unwrap();
    let first = feed(
        &mut filter,
        Direction::Out,
        1,
        chunk(Direction::Out, 2, CHANNEL_FLAG_FIRST, total, &list[..10]),
    );
    assert!(!first.to_client.is_empty());
    feed(
        &mut filter,
        Direction::In,
        2,
        whole(Direction::In, 2, &clip(2, 0, &[])),
    );
    // Second list of the client in a denied direction: answered, but not in between.
    let refused = feed(
        &mut filter,
        Direction::In,
        3,
        whole(Direction::In, 2, &clip(2, 0, &[9; 6])),
    );
    assert!(refused.to_client.is_empty());
    let last = feed(
        &mut filter,
        Direction::Out,
        4,
        chunk(Direction::Out, 2, CHANNEL_FLAG_LAST, total, &list[10..]),
    );
    let fail = clip(3, 2, &[]);
    assert!(last.to_client.ends_with(&fail));
    let mut payload = vec![1];
    payload.extend_from_slice(&list);
    assert!(last.events.iter().any(|e| e.what
        == What::Record {
            stream: Stream::Clipboard,
            payload: payload.clone().into()
        }));
}

#[test]
fn a_pdu_longer_than_it_said_ends_the_session() {
    let mut filter = filter();
    let mut out = Output::default();
    let mut frame = chunk(Direction::In, 2, CHANNEL_FLAG_FIRST, 8, &clip(2, 0, &[]));
    filter.client_frame(0, &mut frame, &mut out).unwrap();
    let mut frame = chunk(Direction::In, 2, 0, 8, b"more");
    assert!(matches!(
        filter.client_frame(0, &mut frame, &mut out),
        Err(EndReason::Malformed { .. })
    ));
}

#[test]
fn unknown_static_channels_stay_shut_under_every_grant() {
    let mut filter = filter();
    for permission in Permission::ALL {
        filter
            .grant(permission, u64::MAX, "test", 0, &mut Output::default())
            .unwrap();
    }
    assert!(
        feed(
            &mut filter,
            Direction::Out,
            1,
            whole(Direction::Out, 4, b"rail")
        )
        .to_client
        .is_empty()
    );
    assert!(
        feed(
            &mut filter,
            Direction::In,
            1,
            whole(Direction::In, 4, b"rail")
        )
        .to_server
        .is_empty()
    );
}

proptest! {
    /// Arbitrary data in well-formed frames, on every channel, with grants coming and going.
    #[test]
    fn any_frames_are_checked_without_a_panic_and_everything_sent_was_recorded(
        frames in proptest::collection::vec((any::<bool>(), 0u16..8, 0u32..4, proptest::collection::vec(any::<u8>(), 0..40), any::<bool>(), 0usize..9), 0..60),
    ) {
        let mut filter = filter();
        for (now, (out_bound, channel, flags, body, raw, grant)) in frames.into_iter().enumerate() {
            let now = now as u64;
            let direction = if out_bound { Direction::Out } else { Direction::In };
            let mut frame = match (raw, channel) {
                (true, _) | (_, 7) => {
                    let io = if out_bound { 1010 } else { 1003 };
                    wire::send_data(direction, 1002, io, &body).unwrap()
                }
                _ => chunk(direction, channel, flags, 40, &body),
            };
            let mut out = Output::default();
            let _ = match direction {
                Direction::In => filter.client_frame(now, &mut frame, &mut out),
                Direction::Out => filter.server_frame(now, &mut frame, &mut out),
            };
            if let Some(permission) = Permission::ALL.get(grant) {
                let _ = filter.grant(*permission, now + 3, "test", now, &mut out);
            }
            let _ = filter.tick(now, &mut out);
            let recorded: usize = out.events.iter().map(|e| match &e.what {
                What::Record { stream: Stream::PduIn | Stream::PduOut | Stream::Input, payload } => payload.len(),
                _ => 0,
            }).sum();
            prop_assert_eq!(recorded, out.to_client.len() + out.to_server.len());
        }
    }

    #[test]
    fn any_bytes_are_checked_without_a_panic(mut bytes in proptest::collection::vec(any::<u8>(), 1..80), out_bound: bool) {
        let mut filter = filter();
        let mut out = Output::default();
        let _ = if out_bound { filter.server_frame(0, &mut bytes, &mut out) } else { filter.client_frame(0, &mut bytes, &mut out) };
    }

    /// With nothing granted, no byte of a client's channel data reaches the server, whatever it says on cliprdr or others.
    #[test]
    fn without_grants_nothing_a_client_puts_on_its_channels_comes_through(
        pdus in proptest::collection::vec((0u16..5, 0u8..14), 1..40),
    ) {
        let mut filter = filter();
        for (channel, kind) in pdus {
            let marked = clip(kind, 0, b"EXFILTRATE");
            let out = feed(&mut filter, Direction::In, 1, whole(Direction::In, channel, &marked));
            prop_assert!(!out.to_server.windows(10).any(|w| w == b"EXFILTRATE"));
        }
    }
}
