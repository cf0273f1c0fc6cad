//! The relay: frames from both sides, grants that come and go. Whatever is let through is recorded, byte for byte, and
//! without a grant nothing of a clipboard is.
#![no_main]

use libfuzzer_sys::fuzz_target;
use lucid_format::Stream;
use lucid_fuzz::{Script, seeds, step};
use lucid_rdp::Permission;
use lucid_rdp::filter::{Filter, Ids, Output};
use lucid_rdp::gcc::ChannelRequest;
use lucid_rdp::tap::What;
use lucid_rdp::wire::{self, Direction};

const CHANNELS: [&str; 5] = ["cliprdr", "drdynvc", "rdpdr", "rdpsnd", "other"];

fn ids(first: u16) -> Ids {
    Ids {
        user: first,
        io: 1003,
        message: Some(first + 20),
        channels: (first + 1..).take(CHANNELS.len()).collect(),
    }
}

/// A capability list: what a client's clipboard says first.
const CLIPBOARD_CAPS: &[u8] = &[
    7, 0, 0, 0, 16, 0, 0, 0, 1, 0, 0, 0, 1, 0, 12, 0, 2, 0, 0, 0, 2, 0, 0, 0,
];

fuzz_target!(
    init: seeds(|| {
        let clipboard = |kind| step(&[kind, 0, 3, 0, 0, 0], CLIPBOARD_CAPS);
        let grant = [4, 0, 200];
        let dynamic = [step(&[2, 1, 3, 0, 0, 0], &[0x50, 0, 2, 0]), step(&[2, 1, 3, 0, 0, 0], b"\x10\x01AUDIO_INPUT\0")].concat();
        let devices = step(&[1, 2, 3, 0, 0, 0], b"rDAD\x01\0\0\0\x08\0\0\0\x01\0\0\0C:\0\0\0\0\0\0\0\0\0\0");
        vec![
            [&grant[..], &clipboard(1), &clipboard(2)].concat(),
            dynamic,
            [&[4, 2, 200][..], &devices, &[5, 2]].concat(),
            step(&[0], &[0x04, 0x05, 0x00, 0x1E, 0x00]),
            step(&[3], b"\x00\x05\x00\x01\x02\x00\x00\x00"),
        ]
    }),
    |data: &[u8]| {
        let (client, server) = (ids(1007), ids(1107));
        let requests = CHANNELS.map(|name| ChannelRequest { name: name.into(), options: 0x8080_0000 });
        let mut filter = Filter::new(client.clone(), server.clone(), &requests);
        let mut out = Output::default();
        let (mut now_us, mut granted) = (0, false);
        let mut script = Script(data);
        let mut ended = false;
        while script.more() && !ended {
            now_us += u64::from(script.0.len() as u8) * 10_000;
            let step = script.byte();
            let result = match step % 7 {
                kind @ (0 | 3) => {
                    let mut frame = script.bytes().to_vec();
                    // The gateway hands over whole frames only.
                    if wire::frame_len(&frame) != Ok(Some(frame.len())) {
                        continue;
                    }
                    if kind == 0 {
                        filter.client_frame(now_us, &mut frame, &mut out)
                    } else {
                        filter.server_frame(now_us, &mut frame, &mut out)
                    }
                }
                kind @ (1 | 2) => {
                    // A channel's chunk; number 255 is the I/O channel, whose PDUs have no chunk header.
                    let number = script.byte();
                    let flags = u32::from_le_bytes([script.byte(), script.byte(), script.byte(), script.byte()]);
                    let body = script.bytes();
                    let (side, direction) = if kind == 1 { (&client, Direction::In) } else { (&server, Direction::Out) };
                    let user = if kind == 1 { side.user } else { 1002 };
                    let frame = match side.channels.get(usize::from(number % 16)) {
                        None => wire::send_data(direction, user, side.io, body),
                        Some(channel) => {
                            let total = (flags >> 24) as usize + body.len();
                            let header = [(total as u32).to_le_bytes(), (flags & 0x00FF_FFFF).to_le_bytes()].concat();
                            wire::send_data(direction, user, *channel, &[&header, body].concat())
                        }
                    };
                    let Ok(mut frame) = frame else { continue };
                    if kind == 1 {
                        filter.client_frame(now_us, &mut frame, &mut out)
                    } else {
                        filter.server_frame(now_us, &mut frame, &mut out)
                    }
                }
                4 => {
                    let permission = Permission::ALL[usize::from(script.byte()) % Permission::ALL.len()];
                    granted = true;
                    let until_us = now_us + u64::from(script.byte()) * 100_000;
                    filter.grant(permission, until_us, "fuzz", now_us, &mut out)
                }
                5 => {
                    let permission = Permission::ALL[usize::from(script.byte()) % Permission::ALL.len()];
                    filter.revoke(permission, now_us, &mut out)
                }
                _ => filter.tick(now_us, &mut out),
            };
            ended = result.is_err();
        }
        filter.finish(now_us, &mut out);

        let (mut sent, mut received) = (Vec::new(), Vec::new());
        let mut last_us = 0;
        for event in &out.events {
            assert!(event.time_us >= last_us, "events come in order of time");
            last_us = event.time_us;
            match &event.what {
                What::Record { stream: Stream::PduIn | Stream::Input, payload } => sent.extend_from_slice(payload),
                What::Record { stream: Stream::PduOut, payload } => received.extend_from_slice(payload),
                What::Record { stream: Stream::Clipboard, .. } => assert!(granted, "clipboard without a grant"),
                _ => {}
            }
        }
        assert!(sent == out.to_server, "what the target is sent is recorded");
        assert!(received == out.to_client, "what the client is sent is recorded");
        for mut bytes in [&out.to_server[..], &out.to_client[..]] {
            while !bytes.is_empty() {
                let len = wire::frame_len(bytes).ok().flatten().expect("whole frames are sent");
                bytes = bytes.get(len..).expect("whole frames are sent");
            }
        }
    }
);
