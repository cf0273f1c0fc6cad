//! What the writer makes of a session's events, on a clock that the test moves.

use lucid_format::{CHUNK_SPAN_US, Ending, Marker, Stream};
use lucid_player::{ChunkSpan, Decoder, Player, PlayerError, is_graphics};
use lucid_recorder::RecorderError;

use crate::{
    frames::{bitmap, fast_path, key, paint, resize, unknown},
    support::{Chunk, SECOND, Session, WALL_US, all, play},
};

const CHUNK: usize = 1 << 20;

fn markers(chunks: &[Chunk]) -> Vec<Marker> {
    all(chunks)
        .filter(|r| r.1 == Stream::Marker)
        .map(|r| Marker::decode(&r.2).unwrap())
        .collect()
}

/// Shows the end of each chunk from that chunk and what the player asks for, and compares with playing from the start.
fn every_chunk_shows_what_a_full_decode_shows(chunks: &[Chunk]) {
    let spans: Vec<ChunkSpan> = chunks
        .iter()
        .map(|c| ChunkSpan {
            start_us: c.start_us,
            end_us: c.end_us.unwrap(),
            keyframe: c.keyframe,
        })
        .collect();
    let mut full = Decoder::new();
    for (nth, chunk) in chunks.iter().enumerate() {
        play(&mut full, &chunk.records);
        let mut player = Player::new(spans.clone()).unwrap();
        let mut loaded = 0;
        loop {
            // Of two chunks that meet in one instant the later one is on: the last µs belongs to this one.
            let at = spans[nth].end_us.min(
                spans
                    .get(nth + 1)
                    .map_or(u64::MAX, |s| s.start_us.saturating_sub(1)),
            );
            match player.seek(at) {
                Ok(_) => break,
                Err(PlayerError::NeedsChunk { chunk }) => {
                    player.load(chunk, chunks[chunk].plaintext.clone()).unwrap();
                    loaded += 1;
                }
                Err(error) => panic!("chunk {nth}: {error}"),
            }
        }
        assert!(loaded <= 2, "chunk {nth} needed {loaded} chunks to be seen");
        assert!(
            player.screen() == full.screen(),
            "chunk {nth} shows another picture"
        );
    }
}

#[test]
fn a_silent_session_says_every_ten_seconds_that_it_was_there() {
    let mut session = Session::new(CHUNK);
    let started = Marker::Started {
        wall_us: WALL_US,
        client: "c".into(),
        target: "t".into(),
    };
    session
        .writer()
        .marker(0, WALL_US, started.clone())
        .unwrap();
    session.wait_until(65 * SECOND).unwrap();
    let manifest = session.finish("over").unwrap();
    assert_eq!(
        (manifest.ending, manifest.duration_us),
        (Ending::Closed, 65 * SECOND)
    );

    let chunks = session.read();
    let beats: Vec<(u64, u64)> = all(&chunks)
        .filter(|r| r.1 == Stream::Heartbeat)
        .map(|r| (r.0, u64::from_le_bytes(r.2[..].try_into().unwrap())))
        .collect();
    let expected: Vec<_> = (1..=6)
        .map(|n| (n * CHUNK_SPAN_US, WALL_US + n * CHUNK_SPAN_US))
        .collect();
    assert_eq!(beats, expected);
    let ended = Marker::Ended {
        wall_us: WALL_US + 65 * SECOND,
        reason: "over".into(),
    };
    assert_eq!(markers(&chunks), [started, ended]);
    // No instant is without a chunk.
    assert!(
        chunks
            .windows(2)
            .all(|w| w[0].end_us == Some(w[1].start_us))
    );
    assert_eq!(chunks.len(), 7);
}

#[test]
fn a_chunk_lasts_ten_seconds_at_most() {
    let mut session = Session::new(CHUNK);
    for n in 0..130 {
        session
            .record(n * 250_000, Stream::Input, &key(30))
            .unwrap();
    }
    session.finish("over").unwrap();
    let chunks = session.read();
    assert!(
        chunks
            .iter()
            .all(|c| c.end_us.unwrap() - c.start_us <= CHUNK_SPAN_US)
    );
    assert_eq!(chunks.len(), 4);
    assert_eq!(all(&chunks).filter(|r| r.1 == Stream::Input).count(), 130);
    assert!(
        all(&chunks).all(|r| r.1 != Stream::Heartbeat),
        "input is sign enough"
    );
}

#[test]
fn a_chunk_closes_before_its_plaintext_passes_the_bound() {
    let bound = 128 << 10;
    let mut session = Session::new(bound);
    session.record(0, Stream::Resize, &resize(64, 64)).unwrap();
    for n in 0..100 {
        session
            .record(n * 1000, Stream::PduOut, &paint(0, 0, 48, n))
            .unwrap();
    }
    session.finish("over").unwrap();
    let chunks = session.read();
    assert!(chunks.len() > 5, "{}", chunks.len());
    assert!(chunks.iter().all(|c| c.plaintext.len() <= bound));
    every_chunk_shows_what_a_full_decode_shows(&chunks);
}

#[test]
fn a_record_larger_than_the_bound_has_a_chunk_of_its_own() {
    let mut session = Session::new(64 << 10);
    session.record(0, Stream::Input, &key(30)).unwrap();
    session
        .record(1, Stream::Clipboard, &vec![0; 300 << 10])
        .unwrap();
    session.record(2, Stream::Input, &key(31)).unwrap();
    session.finish("over").unwrap();
    let chunks = session.read();
    assert_eq!(chunks.len(), 3);
    assert_eq!(chunks[1].records[0].2.len(), 300 << 10);
}

#[test]
fn every_chunk_with_graphics_plays_by_itself() {
    let mut session = Session::new(CHUNK);
    session
        .record(0, Stream::Resize, &resize(200, 100))
        .unwrap();
    // Ten seconds of pictures, then twenty-five of typing only, then a new size and pictures again.
    for n in 0..40 {
        session
            .record(
                n * 250_000,
                Stream::PduOut,
                &paint((n % 20) as u16 * 5, 7, 40, n),
            )
            .unwrap();
    }
    for n in 0..100 {
        session
            .record(10 * SECOND + n * 250_000, Stream::Input, &key(30))
            .unwrap();
    }
    session
        .record(36 * SECOND, Stream::Resize, &resize(90, 120))
        .unwrap();
    for n in 0..60 {
        session
            .record(
                37 * SECOND + n * 500_000,
                Stream::PduOut,
                &paint(9, (n % 8) as u16 * 9, 50, n),
            )
            .unwrap();
    }
    session.finish("over").unwrap();
    let chunks = session.read();
    let with_graphics = |c: &&Chunk| c.records.iter().any(|r| is_graphics(r.1, &r.2));
    assert!(chunks.iter().filter(with_graphics).count() >= 4);
    assert!(chunks.iter().filter(|c| !with_graphics(c)).count() >= 2);
    let mut full = Decoder::new();
    for chunk in &chunks {
        play(&mut full, &chunk.records);
        if with_graphics(&chunk) {
            assert!(chunk.keyframe);
            let mut alone = Decoder::new();
            play(&mut alone, &chunk.records);
            assert!(alone.screen() == full.screen());
        }
    }
    every_chunk_shows_what_a_full_decode_shows(&chunks);
}

#[test]
fn a_resize_is_followed_by_the_cleared_screen_so_that_a_chunk_of_it_alone_shows_that() {
    let mut session = Session::new(CHUNK);
    session.record(0, Stream::Resize, &resize(64, 64)).unwrap();
    session
        .record(1, Stream::PduOut, &paint(0, 0, 30, 1))
        .unwrap();
    session
        .record(15 * SECOND, Stream::Resize, &resize(40, 20))
        .unwrap();
    session.finish("over").unwrap();
    let chunks = session.read();
    let last = chunks.last().unwrap();
    assert!(last.keyframe);
    assert!(!last.records.iter().any(|r| is_graphics(r.1, &r.2)));
    let mut alone = Decoder::new();
    play(&mut alone, &last.records);
    assert_eq!((alone.screen().width(), alone.screen().height()), (40, 20));
}

#[test]
fn an_update_in_fragments_over_the_border_of_two_chunks_is_shown() {
    let mut session = Session::new(CHUNK);
    session.record(0, Stream::Resize, &resize(64, 64)).unwrap();
    session
        .record(1, Stream::PduOut, &paint(0, 0, 30, 1))
        .unwrap();
    let data = bitmap(5, 5, 30, 2);
    let (a, b) = data.split_at(1000);
    session
        .record(9_990_000, Stream::PduOut, &fast_path(&[(1, 2, a)]))
        .unwrap();
    session
        .record(10_010_000, Stream::PduOut, &fast_path(&[(1, 1, b)]))
        .unwrap();
    session
        .record(10_020_000, Stream::PduOut, &paint(20, 20, 30, 3))
        .unwrap();
    session
        .record(25_000_000, Stream::PduOut, &paint(1, 20, 30, 4))
        .unwrap();
    session.finish("over").unwrap();
    let chunks = session.read();
    assert!(chunks.len() >= 3);
    every_chunk_shows_what_a_full_decode_shows(&chunks);
}

#[test]
fn nothing_is_missing_from_the_open_chunk_for_longer_than_a_second() {
    let mut session = Session::new(CHUNK);
    let times: Vec<u64> = (0..25).map(|n| n * 370_000).collect();
    for (nth, at) in times.iter().enumerate() {
        session.record(*at, Stream::Input, &key(1)).unwrap();
        let open = session.store.open_chunk(session.id).unwrap();
        let kept = open.map_or(0, |bytes| session.open(&bytes).records.len());
        if let Some(oldest) = times[..=nth].get(kept) {
            assert!(
                at - oldest <= SECOND,
                "at {at} µs what came at {oldest} µs is not in the file"
            );
        }
    }
}

#[test]
fn records_keep_their_order_when_the_clock_of_an_event_lags() {
    let mut session = Session::new(CHUNK);
    session.record(5 * SECOND, Stream::Input, &key(1)).unwrap();
    let wall = session.wall_us();
    session
        .writer()
        .record(4 * SECOND, wall, Stream::Input, &key(2))
        .unwrap();
    session.finish("over").unwrap();
    let chunks = session.read();
    let times: Vec<u64> = all(&chunks).map(|r| r.0).collect();
    assert_eq!(times, [5 * SECOND, 5 * SECOND, 5 * SECOND]);
}

#[test]
fn an_update_that_cannot_be_replayed_ends_the_session_and_the_recording_plays_to_its_end() {
    let mut session = Session::new(CHUNK);
    session.record(0, Stream::Resize, &resize(64, 64)).unwrap();
    session
        .record(1, Stream::PduOut, &paint(0, 0, 30, 1))
        .unwrap();
    let error = session.record(2, Stream::PduOut, &unknown()).unwrap_err();
    assert!(matches!(error, RecorderError::FailClosed(_)));
    let text = error.to_string();
    assert!(
        text.contains("fast-path update 0xd") && text.contains("ended"),
        "{text}"
    );
    session.finish(&text).unwrap();
    let chunks = session.read();
    assert!(
        matches!(markers(&chunks).last(), Some(Marker::Ended { reason, .. }) if reason.contains("0xd"))
    );
    every_chunk_shows_what_a_full_decode_shows(&chunks);
}

#[test]
fn long_reasons_are_cut_at_a_letter() {
    let mut session = Session::new(CHUNK);
    session.record(0, Stream::Input, &key(1)).unwrap();
    let manifest = session.finish(&"ü".repeat(500)).unwrap();
    assert_eq!(manifest.reason, "ü".repeat(120));
}
