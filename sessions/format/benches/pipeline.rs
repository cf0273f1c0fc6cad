//! Records → chunk and chunk → verified, one thread each, beside `zstd -1` and `zstd -3` on the same bytes in the same run.
//!
//! `LUCID_BENCH_DATA=DIR cargo bench -p lucid-format`, with the three files that `tools/bench-data` makes in DIR. Without
//! them, bytes that compress about as well are made here.

#![allow(missing_docs, reason = "criterion's macro makes a public function")]
#![expect(
    clippy::expect_used,
    clippy::print_stderr,
    reason = "a benchmark stops and prints"
)]

use std::{hint::black_box, io::Cursor, path::Path, time::Duration};

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use lucid_format::{
    ChunkKey, ChunkPlace, ChunkView, Hash, Packed, Packer, Record, Sealer, SessionId, Stream,
};
use rand_core::{TryCryptoRng, TryRng};

/// A chunk's worth of plaintext.
const CHUNK: usize = lucid_format::DEFAULT_CHUNK_PLAINTEXT;
/// What a busy desktop sends in one frame.
const RECORD: usize = 32 << 10;

/// Random enough for a nonce that protects nothing.
struct Counter(u64);

impl TryRng for Counter {
    type Error = std::convert::Infallible;
    fn try_next_u32(&mut self) -> Result<u32, Self::Error> {
        Ok((self.try_next_u64()? >> 32) as u32)
    }
    fn try_next_u64(&mut self) -> Result<u64, Self::Error> {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        Ok(self.0)
    }
    fn try_fill_bytes(&mut self, out: &mut [u8]) -> Result<(), Self::Error> {
        for byte in out {
            *byte = (self.try_next_u64()? >> 56) as u8;
        }
        Ok(())
    }
}

impl TryCryptoRng for Counter {}

/// One chunk's plaintext of each data set.
fn data() -> Vec<(&'static str, Vec<u8>)> {
    let folder = std::env::var("LUCID_BENCH_DATA").ok();
    let names = ["desktop.bin", "typing.jsonl", "photo.bin"];
    let read = |name: &str| {
        let path = Path::new(folder.as_ref()?).join(name);
        let bytes = std::fs::read(path).ok()?;
        // From the middle, and short of a chunk by the records' headers.
        let from = bytes.len() / 2;
        Some(
            bytes
                .get(from..from + CHUNK / RECORD * (RECORD - 13))?
                .to_vec(),
        )
    };
    names
        .into_iter()
        .map(|name| (name, read(name).unwrap_or_else(|| made(name))))
        .collect()
}

fn made(name: &str) -> Vec<u8> {
    let (mut random, mut out) = (Counter(1), vec![0; CHUNK - CHUNK / RECORD * 13]);
    let _ = random.try_fill_bytes(&mut out);
    let (block, keep) = match name {
        "desktop.bin" => (512, 20),
        "typing.jsonl" => (64, 20),
        _ => return out,
    };
    // Repeat earlier blocks, so that about one in `keep` is new.
    for at in (block..out.len() - block).step_by(block) {
        let word = random.try_next_u64().unwrap_or(0);
        if word >> 40 & 0xff >= 256 / keep {
            let from = usize::try_from(word).unwrap_or(0) % at;
            out.copy_within(from..from + block, at);
        }
    }
    out
}

fn pack(data: &[u8]) -> (Vec<Packed>, lucid_format::Trailer) {
    let mut packer = Packer::new(0).expect("zstd");
    for (time_us, payload) in (0..).zip(data.chunks(RECORD - 13)) {
        let record = Record {
            time_us,
            stream: Stream::PduOut,
            payload,
        };
        packer.push(&record).expect("room");
    }
    packer.finish(1 << 20).expect("zstd")
}

fn sealer() -> Sealer {
    let place = ChunkPlace {
        session: SessionId([0; 16]),
        index: 0,
        prev: Hash::default(),
        start_us: 0,
        start_wall_us: 0,
    };
    Sealer::new(place, &key(), &mut Counter(7)).expect("memory")
}

fn key() -> ChunkKey {
    ChunkKey::from_bytes(&[1; 32])
}

fn seal(pieces: Vec<Packed>, trailer: lucid_format::Trailer) -> Vec<u8> {
    let mut sealer = sealer();
    let mut out = Vec::new();
    let mut pieces = pieces.into_iter().peekable();
    while let Some(piece) = pieces.next() {
        if pieces.peek().is_none() {
            out.append(&mut sealer.finish(piece, trailer).expect("bound").0);
            break;
        }
        out.append(&mut sealer.segment(piece).expect("bound"));
    }
    out
}

fn pipeline(c: &mut Criterion) {
    for (name, data) in data() {
        let mut group = c.benchmark_group(name);
        group
            .throughput(Throughput::Bytes(data.len() as u64))
            .sample_size(10)
            .measurement_time(Duration::from_secs(3))
            .warm_up_time(Duration::from_millis(500));
        for level in [1, 3] {
            group.bench_function(format!("zstd -{level} alone"), |b| {
                b.iter(|| zstd::bulk::compress(black_box(&data), level).expect("zstd"));
            });
        }
        group.bench_function("pack", |b| b.iter(|| pack(black_box(&data))));
        let (pieces, trailer) = pack(&data);
        group.bench_function("seal", |b| {
            b.iter_batched(
                || pieces.clone(),
                |pieces| seal(pieces, trailer.clone()),
                BatchSize::LargeInput,
            );
        });
        group.bench_function("pack and seal", |b| {
            b.iter(|| {
                let (pieces, trailer) = pack(black_box(&data));
                seal(pieces, trailer)
            });
        });
        let chunk = seal(pieces, trailer);
        group.bench_function("open and walk records", |b| {
            b.iter(|| {
                let view = ChunkView::parse(black_box(&chunk), false).expect("sound");
                let plain = view.open(&key()).expect("key");
                view.records(&plain).count()
            });
        });
        // From here on the bytes that count are the chunk's.
        group.throughput(Throughput::Bytes(chunk.len() as u64));
        group.bench_function("address and framing (verify without a key)", |b| {
            b.iter(|| {
                let mut bytes = Vec::with_capacity(chunk.len());
                let mut source = Cursor::new(black_box(&chunk));
                std::io::Read::read_to_end(&mut source, &mut bytes).expect("memory");
                let hash = Hash::of(&bytes);
                let view = ChunkView::parse(&bytes, false).expect("sound");
                (hash, view.header)
            });
        });
        eprintln!(
            "{name}: {} bytes of records, {} of chunk, {:.2} to 1",
            data.len(),
            chunk.len(),
            data.len() as f64 / chunk.len() as f64
        );
        group.finish();
    }
}

criterion_group!(benches, pipeline);
criterion_main!(benches);
