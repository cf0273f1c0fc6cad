//! Seeking and playing in chunks of any content: the player asks for what it needs and never for ever.
#![no_main]

use libfuzzer_sys::fuzz_target;
use lucid_format::{Record, Stream};
use lucid_fuzz::{Script, seeds, step};
use lucid_player::{ChunkSpan, Player, activity};

/// Microseconds a chunk covers here.
const SPAN: u64 = 100;

/// Loads what the player asks for until it is at `time_us`; `None` if a chunk is faulty.
fn go(player: &mut Player, chunks: &[Vec<u8>], time_us: u64) -> Option<()> {
    let mut at = player.chunk_at(time_us);
    for _ in 0..=2 * chunks.len() {
        match player.advance(time_us).ok()?.needs {
            None => return Some(()),
            Some(needed) => at = needed,
        }
        player.load(at, chunks.get(at)?.clone()).ok()?;
    }
    panic!("the player asks for chunk {at} for ever");
}

fuzz_target!(
    init: seeds(|| {
        let mut plaintext = Vec::new();
        for (time_us, stream, payload) in [(0, Stream::Resize, &[4, 0, 4, 0][..]), (7, Stream::Heartbeat, &[0; 8])] {
            Record { time_us, stream, payload }.encode(&mut plaintext).expect("it encodes");
        }
        vec![[vec![50, 60, 70, 1], step(&[], &plaintext), step(&[], b"")].concat()]
    }),
    |data: &[u8]| {
        let mut script = Script(data);
        let times = [script.byte(), script.byte(), script.byte()].map(u64::from);
        let keyframes = script.byte();
        let mut chunks = Vec::new();
        while script.more() && chunks.len() < 4 {
            chunks.push(script.bytes().to_vec());
        }
        let spans: Vec<_> = (0..)
            .zip(&chunks)
            .map(|(index, _)| ChunkSpan {
                start_us: index * SPAN,
                end_us: (index + 1) * SPAN,
                keyframe: keyframes >> index & 1 == 1,
            })
            .collect();
        for (span, chunk) in spans.iter().zip(&chunks) {
            let _seconds = activity(chunk, *span);
        }
        let Ok(mut player) = Player::new(spans) else { return };
        for (index, chunk) in chunks.iter().enumerate() {
            let _loaded = player.load(index, chunk.clone());
        }
        for time_us in times {
            let _change = player.seek(time_us);
            if player.seek(time_us).is_ok() && go(&mut player, &chunks, time_us + 30).is_none() {
                break;
            }
            player.take_events();
        }
    }
);
