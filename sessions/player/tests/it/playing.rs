use lucid_format::{Marker, Record, Stream};
use lucid_player::{ChunkSpan, EventKind, Player, PlayerError, Screen, Typed, activity};

use crate::frames;

const S: u64 = 1_000_000;

struct Chunk {
    span: ChunkSpan,
    plaintext: Vec<u8>,
}

fn chunk(start_us: u64, end_us: u64, records: &[(u64, Stream, Vec<u8>)]) -> Chunk {
    let mut plaintext = Vec::new();
    for (time_us, stream, payload) in records {
        Record {
            time_us: *time_us,
            stream: *stream,
            payload,
        }
        .encode(&mut plaintext)
        .unwrap();
    }
    let keyframe = records.iter().any(|r| r.1 == Stream::Keyframe);
    Chunk {
        span: ChunkSpan {
            start_us,
            end_us,
            keyframe,
        },
        plaintext,
    }
}

fn grey(level: u8) -> Vec<u8> {
    frames::paint(0, 0, 4, 4, move |_, _| [level; 3])
}

fn keyframe(level: u8) -> Vec<u8> {
    let mut decoder = lucid_player::Decoder::new();
    decoder
        .apply(Stream::Resize, &frames::resize(4, 4))
        .unwrap();
    if level > 0 {
        decoder.apply(Stream::PduOut, &grey(level)).unwrap();
    }
    decoder.keyframe().unwrap()
}

/// Level 1 from 1 s, …; chunk 1 begins with a keyframe, 2 and 3 are silent, 4 begins with a keyframe at 45 s, 5 resizes at 55 s.
fn session() -> Vec<Chunk> {
    use Stream::{Heartbeat, Input, Keyframe, PduOut, Resize};
    let beat = || 0u64.to_le_bytes().to_vec();
    vec![
        chunk(
            0,
            10 * S,
            &[
                (0, Resize, frames::resize(4, 4)),
                (0, Keyframe, keyframe(0)),
                (S, PduOut, grey(1)),
                (9 * S, PduOut, grey(9)),
            ],
        ),
        chunk(
            10 * S,
            20 * S,
            &[
                (
                    11 * S,
                    Input,
                    frames::fast_input(&[&frames::mouse(0x0800, 2, 3)]),
                ),
                (12 * S, Keyframe, keyframe(9)),
                (12 * S, PduOut, grey(12)),
                (
                    15 * S,
                    Input,
                    frames::fast_input(&[&frames::key(0x1E, true), &frames::mouse(0x9000, 1, 1)]),
                ),
                (18 * S, PduOut, grey(18)),
            ],
        ),
        chunk(20 * S, 30 * S, &[(30 * S, Heartbeat, beat())]),
        chunk(30 * S, 40 * S, &[(40 * S, Heartbeat, beat())]),
        chunk(
            40 * S,
            50 * S,
            &[
                (45 * S, Keyframe, keyframe(18)),
                (45 * S, PduOut, grey(45)),
                (46 * S, PduOut, grey(46)),
            ],
        ),
        chunk(
            50 * S,
            60 * S,
            &[
                (55 * S, Resize, frames::resize(4, 4)),
                (55 * S, Keyframe, keyframe(0)),
                (56 * S, PduOut, grey(56)),
                (
                    57 * S,
                    Stream::Marker,
                    Marker::Note {
                        text: "hello".into(),
                    }
                    .encode()
                    .unwrap(),
                ),
            ],
        ),
    ]
}

fn player(chunks: &[Chunk]) -> Player {
    Player::new(chunks.iter().map(|c| c.span).collect()).unwrap()
}

/// Seeks, loading what is asked for; returns what had to be loaded.
fn seek(player: &mut Player, chunks: &[Chunk], time_us: u64) -> Vec<usize> {
    let mut loads = Vec::new();
    loop {
        match player.seek(time_us) {
            Ok(_) => return loads,
            Err(PlayerError::NeedsChunk { chunk }) => {
                player.load(chunk, chunks[chunk].plaintext.clone()).unwrap();
                loads.push(chunk);
            }
            Err(error) => panic!("{error}"),
        }
    }
}

fn level(screen: &Screen) -> u8 {
    screen.pixels()[0]
}

#[test]
fn a_cold_seek_shows_the_instant_and_loads_two_chunks_at_most() {
    let chunks = session();
    let cases = [
        (0, 0, vec![0]),
        (S / 2, 0, vec![0]),
        (S, 1, vec![0]),
        (10 * S, 9, vec![1]),
        (11 * S, 9, vec![1]),
        (12 * S, 12, vec![1]),
        (19 * S, 18, vec![1]),
        (25 * S, 18, vec![2, 1]),
        (39 * S, 18, vec![3, 1]),
        (41 * S, 18, vec![4]),
        (45 * S, 45, vec![4]),
        (52 * S, 46, vec![5, 4]),
        (55 * S, 0, vec![5]),
        (60 * S, 56, vec![5]),
        (99 * S, 56, vec![5]),
    ];
    for (time_us, shown, loads) in cases {
        let mut player = player(&chunks);
        assert_eq!(seek(&mut player, &chunks, time_us), loads, "at {time_us}");
        assert_eq!(level(player.screen()), shown, "at {time_us}");
    }
}

#[test]
fn playing_shows_what_seeking_shows() {
    let chunks = session();
    let mut playing = player(&chunks);
    seek(&mut playing, &chunks, 0);
    let mut seeking = player(&chunks);
    for time_us in (0..=60 * S).step_by(300_000) {
        while let Some(chunk) = playing.advance(time_us).unwrap().needs {
            playing
                .load(chunk, chunks[chunk].plaintext.clone())
                .unwrap();
        }
        assert_eq!(playing.now_us(), time_us);
        seek(&mut seeking, &chunks, time_us);
        assert!(playing.screen() == seeking.screen(), "at {time_us}");
    }
}

#[test]
fn seeking_back_forgets_what_came_after() {
    let chunks = session();
    let mut player = player(&chunks);
    for (time_us, shown) in [(46 * S, 46), (12 * S, 12), (S, 1), (0, 0), (18 * S, 18)] {
        seek(&mut player, &chunks, time_us);
        assert_eq!(level(player.screen()), shown);
    }
}

#[test]
fn the_overlay_is_told_what_happened() {
    let chunks = session();
    let mut player = player(&chunks);
    seek(&mut player, &chunks, 16 * S);
    assert_eq!(player.pointer(), Some((1, 1)));
    let kinds: Vec<EventKind> = player.take_events().into_iter().map(|e| e.kind).collect();
    let click = EventKind::Click {
        button: lucid_player::Button::Left,
        x: 1,
        y: 1,
    };
    assert_eq!(kinds, [EventKind::Typed(Typed::Text('a')), click]);
    assert!(player.take_events().is_empty());
    seek(&mut player, &chunks, 29 * S);
    assert!(player.take_events().is_empty(), "too long ago");
    seek(&mut player, &chunks, 60 * S);
    let kinds: Vec<EventKind> = player.take_events().into_iter().map(|e| e.kind).collect();
    assert_eq!(
        kinds,
        [EventKind::Marker(Marker::Note {
            text: "hello".into()
        })]
    );
}

#[test]
fn a_chunk_that_changes_the_screen_without_a_keyframe_is_refused() {
    let mut chunks = session();
    chunks[2] = chunk(20 * S, 30 * S, &[(21 * S, Stream::PduOut, grey(1))]);
    let error = player(&chunks)
        .load(2, chunks[2].plaintext.clone())
        .unwrap_err();
    assert!(
        error
            .to_string()
            .contains("chunk 2 changes the screen and has no keyframe"),
        "{error}"
    );
}

#[test]
fn chunks_before_the_first_keyframe_are_played_from_the_start() {
    let chunks = [
        chunk(
            0,
            10 * S,
            &[
                (0, Stream::Resize, frames::resize(4, 4)),
                (S, Stream::PduOut, grey(1)),
            ],
        ),
        chunk(10 * S, 20 * S, &[]),
        chunk(20 * S, 30 * S, &[(22 * S, Stream::PduOut, grey(22))]),
    ];
    let mut player = player(&chunks);
    seek(&mut player, &chunks, 25 * S);
    assert_eq!(level(player.screen()), 22);
    seek(&mut player, &chunks, 15 * S);
    assert_eq!(level(player.screen()), 1);
}

#[test]
fn memory_for_going_back_is_bounded() {
    let big = vec![0u8; 7 << 20];
    let chunks: Vec<Chunk> = (0..20u64)
        .map(|i| {
            let at = i * 10 * S;
            chunk(
                at,
                at + 10 * S,
                &[
                    (at, Stream::Keyframe, keyframe(7)),
                    (at + S, Stream::PduIn, big.clone()),
                ],
            )
        })
        .collect();
    let mut player = player(&chunks);
    for i in 0..20u64 {
        seek(&mut player, &chunks, i * 10 * S);
    }
    assert!((0..20).filter(|i| player.is_loaded(*i)).count() <= 7);
    assert!(player.is_loaded(19));
}

#[test]
fn records_outside_their_chunk_and_chunks_out_of_order_are_refused() {
    let chunks = session();
    assert!(
        player(&chunks)
            .load(0, chunks[1].plaintext.clone())
            .is_err()
    );
    let backwards = vec![chunks[1].span, chunks[0].span];
    assert!(
        Player::new(backwards)
            .unwrap_err()
            .to_string()
            .contains("not in order")
    );
    assert!(matches!(
        Player::new(vec![]).unwrap().seek(0),
        Err(PlayerError::NeedsChunk { chunk: 0 })
    ));
}

#[test]
fn activity_counts_what_happened_each_second() {
    let chunks = session();
    let counts = activity(&chunks[1].plaintext, chunks[1].span).unwrap();
    assert_eq!(counts, [0, 1, 1, 0, 0, 1, 0, 0, 1, 0, 0]);
    assert_eq!(
        activity(&chunks[2].plaintext, chunks[2].span).unwrap(),
        [0; 11]
    );
}
