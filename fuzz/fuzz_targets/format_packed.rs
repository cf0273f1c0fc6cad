//! Hostile content under a valid seal: zstd frames of any kind, a trailer of any claim.
#![no_main]

use libfuzzer_sys::fuzz_target;
use lucid_format::{
    ChunkPlace, ChunkView, Hash, MAX_CHUNK_PLAINTEXT, Packed, Packer, Record, Sealer, SessionId,
    Stream,
};
use lucid_fuzz::{SESSION, Script, rng, seeds, step};

fuzz_target!(
    init: seeds(|| {
        let mut packer = Packer::new(0).expect("zstd works");
        for time_us in 0..40 {
            let record = Record { time_us, stream: Stream::PduOut, payload: &[7; 100] };
            packer.push(&record).expect("there is room");
        }
        let (pieces, trailer) = packer.finish(40).expect("it packs");
        let claims = [&trailer.plaintext.to_le_bytes()[..], &trailer.records.to_le_bytes()[..1]].concat();
        vec![[claims, pieces.iter().flat_map(|piece| step(&[1], piece.data())).collect()].concat()]
    }),
    |data: &[u8]| {
        let mut script = Script(data);
        let plaintext = u32::from_le_bytes([script.byte(), script.byte(), script.byte(), script.byte()]);
        let (_, mut trailer) = Packer::new(0).and_then(|packer| packer.finish(1_000)).expect("an empty chunk packs");
        trailer.plaintext = plaintext;
        trailer.records = script.byte().into();
        let key = SESSION.keys.chunk_key(0).expect("the session has a first chunk");
        let place = ChunkPlace {
            session: SessionId([1; 16]),
            index: 0,
            prev: Hash([2; 32]),
            start_us: 0,
            start_wall_us: 0,
        };
        let mut sealer = Sealer::new(place, &key, &mut rng()).expect("it seals");
        let mut chunk = Vec::new();
        let mut pieces = Vec::new();
        while script.more() && pieces.len() < 16 {
            let zstd = script.byte() & 1 == 1;
            let piece = script.bytes().to_vec();
            pieces.push(if zstd { Packed::zstd(piece) } else { Packed::stored(piece) });
        }
        let last = pieces.pop().unwrap_or_else(|| Packed::stored(Vec::new()));
        for piece in pieces {
            chunk.extend(sealer.segment(piece).expect("it is small"));
        }
        chunk.extend(sealer.finish(last, trailer).expect("it is small").0);

        let Ok(view) = ChunkView::parse(&chunk, false) else { return };
        if let Ok(opened) = view.open(&key) {
            assert_eq!(opened.len(), plaintext as usize, "a chunk holds what it states");
            assert!(opened.len() <= MAX_CHUNK_PLAINTEXT);
            view.records(&opened).for_each(drop);
        }
    }
);
