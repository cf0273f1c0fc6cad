//! How fast recordings are verified, beside hashing the same bytes and nothing else.

use std::{
    fs::File,
    io::{BufReader, Read},
    path::Path,
    time::Instant,
};

use anyhow::Result;
use lucid_format::{KeySource, Recording, VerifyOptions};

use super::{
    Bench, pipeline,
    report::{Row, median, number, rate},
};

const TARGET: f64 = 500.0;

/// Measures a recording of each data set. Verification runs on one thread.
pub fn run(bench: &Bench<'_>) -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    for (name, file) in bench.data()? {
        let dir = tempfile::tempdir_in(&bench.scratch)?;
        let (_, store, id, seed) = pipeline::seal_file(file, dir.path())?;
        let packed = dir.path().join("packed.lucid");
        store
            .pack(id, File::create(&packed)?, &mut |_, _| {})?
            .sync_all()?;

        let limit = bench.repeat(&format!("{name}: BLAKE3"), || hash(&packed))?;
        let keys = seed.keys(id);
        let keyless = bench.repeat(&format!("{name}: verify"), || verify(&packed, None))?;
        let opened = bench.repeat(&format!("{name}: verify with key"), || {
            verify(&packed, Some(&keys))
        })?;

        let hashing = median(&limit).unwrap_or(f64::NAN);
        let part = |runs: &[f64]| {
            format!(
                "{} of hashing alone",
                number(median(runs).unwrap_or(f64::NAN) / hashing)
            )
        };
        let plaintext = std::fs::metadata(file)?.len();
        let ciphertext = std::fs::metadata(&packed)?.len();
        rows.push(Row::new(
            format!("{name}: BLAKE3 of the file, one thread"),
            "MB/s",
            &limit,
        ));
        rows.push(
            Row::new(format!("{name}: verify"), "MB/s", &keyless)
                .ratio(part(&keyless))
                .at_least(TARGET),
        );
        #[expect(
            clippy::cast_precision_loss,
            reason = "bytes of a benchmark are far below 2^52"
        )]
        let content = median(&opened).unwrap_or(f64::NAN) * plaintext as f64 / ciphertext as f64;
        let note = format!("{} MB/s of content decrypted and read", number(content));
        rows.push(
            Row::new(format!("{name}: verify --key"), "MB/s", &opened)
                .ratio(part(&opened))
                .note(note),
        );
    }
    Ok(rows)
}

/// What `b3sum --num-threads 1` does.
fn hash(path: &Path) -> Result<f64> {
    let begin = Instant::now();
    let mut file = File::open(path)?;
    let (mut hasher, mut buffer, mut bytes) = (blake3::Hasher::new(), vec![0; 64 << 10], 0);
    loop {
        let read = file.read(&mut buffer)?;
        if read == 0 {
            break;
        }
        hasher.update(&buffer[..read]);
        bytes += read as u64;
    }
    std::hint::black_box(hasher.finalize());
    Ok(rate(bytes, begin.elapsed()))
}

fn verify(path: &Path, keys: Option<&KeySource>) -> Result<f64> {
    let begin = Instant::now();
    let file = BufReader::with_capacity(1 << 20, File::open(path)?);
    let mut recording = Recording::open(file)?;
    let proven = lucid_format::verify(
        &mut recording,
        VerifyOptions {
            keys,
            progress: None,
        },
    )?;
    Ok(rate(proven.bytes, begin.elapsed()))
}
