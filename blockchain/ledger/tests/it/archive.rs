//! Chains in a file: every byte counts, and what was restored is the chain.

use std::io::{Cursor, Seek as _, SeekFrom};

use lucid_chain_types::Height;
use lucid_ledger::{ArchiveReader, ArchiveWriter, Item, Ledger, LedgerError, Restored};
use proptest::prelude::*;

use crate::snapshot::take;
use crate::support::{Net, assert_same};

fn blocks(writer: &mut ArchiveWriter<Vec<u8>>, ledger: &Ledger) {
    while writer.height() < ledger.head().height {
        let next = writer.height().next();
        writer
            .block(&ledger.certified(next).unwrap().unwrap())
            .unwrap();
    }
}

/// The whole chain, or its snapshot now.
fn whole(net: &Net) -> Vec<u8> {
    let mut writer = ArchiveWriter::new(Vec::new(), &net.trusted()).unwrap();
    blocks(&mut writer, &net.ledger);
    writer.finish().unwrap()
}

fn begun(net: &Net) -> ArchiveWriter<Vec<u8>> {
    let (manifest, pieces) = take(net);
    let mut writer = ArchiveWriter::new(Vec::new(), &net.trusted()).unwrap();
    writer.snapshot(manifest).unwrap();
    for piece in &pieces {
        assert!(writer.open_snapshot().is_some());
        writer.piece(piece).unwrap();
    }
    assert!(writer.open_snapshot().is_none());
    writer
}

/// Reads to the end.
fn read(net: &Net, bytes: &[u8]) -> Result<Height, LedgerError> {
    let mut reader = ArchiveReader::open(bytes, &net.trusted())?;
    while reader.next()?.is_some() {}
    Ok(reader.height())
}

fn restore(net: &Net, ledger: &Ledger, bytes: &[u8]) -> Result<Restored, LedgerError> {
    ledger.restore(ArchiveReader::open(bytes, &net.trusted())?, |_| ())
}

fn chain() -> Net {
    let mut net = Net::new(4);
    net.pay();
    net.seal();
    net.seal();
    net.shut_out();
    net
}

#[test]
fn a_chain_is_restored_from_its_blocks() {
    let mut net = chain();
    let height = net.ledger.head().height;
    let bytes = whole(&net);
    assert_eq!(read(&net, &bytes).unwrap(), height);
    let folder = tempfile::tempdir().unwrap();
    let ledger = net.open(folder.path());
    // What was restored in part goes on; what is there already is compared.
    let cut = restore(&net, &ledger, &bytes[..bytes.len() / 2]).unwrap_err();
    assert!(cut.to_string().contains("it is cut"), "{cut}");
    let half = ledger.head().height;
    assert!(Height::GENESIS < half && half < height);
    let rest = restore(&net, &ledger, &bytes).unwrap();
    assert_eq!((rest.height, rest.blocks), (height, height.0 - half.0));
    assert_eq!(restore(&net, &ledger, &bytes).unwrap().blocks, 0);
    assert_eq!(ledger.earliest(), Height(1));
    assert_same(&mut net, &ledger, 1);
}

#[test]
fn a_chain_is_restored_from_a_snapshot_and_what_came_after_it() {
    let mut net = chain();
    let base = net.ledger.head().height;
    let mut writer = begun(&net);
    assert_eq!(writer.height(), base);
    net.pay();
    net.seal();
    blocks(&mut writer, &net.ledger);
    let bytes = writer.finish().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let ledger = net.open(folder.path());
    let restored = restore(&net, &ledger, &bytes).unwrap();
    assert_eq!((restored.blocks, restored.transactions), (2, 1));
    assert_eq!(ledger.earliest(), base);
    assert_eq!(restore(&net, &ledger, &bytes).unwrap().blocks, 0);
    assert_same(&mut net, &ledger, base.0);

    // Into another history of the same length: refused, untouched.
    let mut other = Net::new(4);
    other.seal();
    let id = other.ledger.head().id;
    let outcome = restore(&net, &other.ledger, &bytes);
    assert!(matches!(outcome, Err(LedgerError::NotEmpty(_))));
    assert_eq!(other.ledger.head().id, id);
}

#[test]
fn an_archive_with_any_byte_changed_or_missing_is_refused() {
    let mut net = Net::new(1);
    net.pay();
    let mut writer = begun(&net);
    net.pay();
    blocks(&mut writer, &net.ledger);
    for bytes in [whole(&net), writer.finish().unwrap()] {
        read(&net, &bytes).unwrap();
        // The pieces of the state are long, and one frame: some bytes of it say as much as all.
        let step = if bytes.len() > 8_192 { 13 } else { 1 };
        for at in (0..bytes.len()).step_by(step) {
            let mut flipped = bytes.clone();
            flipped[at] ^= 1 << (at % 8);
            assert!(read(&net, &flipped).is_err(), "byte {at}");
        }
        for cut in (0..bytes.len()).step_by(step) {
            assert!(read(&net, &bytes[..cut]).is_err(), "cut at {cut}");
        }
        assert!(read(&net, &[&bytes[..], &[0]].concat()).is_err());
        assert!(read(&net, &[&bytes[..], &bytes].concat()).is_err());
    }
    let other = Net::with(1, 2, Default::default());
    let refused = read(&other, &whole(&net)).unwrap_err().to_string();
    assert!(refused.contains("it is of the chain"), "{refused}");
}

#[test]
fn a_writer_takes_nothing_that_a_reader_would_refuse() {
    let mut net = chain();
    net.pay();
    let height = net.ledger.head().height;
    let certified = |height: u64| net.ledger.certified(Height(height)).unwrap().unwrap();
    let mut writer = ArchiveWriter::new(Vec::new(), &net.trusted()).unwrap();
    assert!(writer.block(&certified(2)).is_err());
    let mut forged = certified(1);
    forged.certificate.signatures[0].0[5] ^= 1;
    assert!(writer.block(&forged).is_err());
    let mut other = certified(1);
    other.block.header.time_ms += 1;
    assert!(writer.block(&other).is_err());
    assert_eq!(writer.height(), Height::GENESIS);
    for height in 1..=height.0 {
        // Validators that a block changes have to be there.
        let mut without = certified(height);
        if without.next_validators.take().is_some() {
            assert!(writer.block(&without).is_err());
        }
        writer.block(&certified(height)).unwrap();
    }
    // Snapshots begin an archive, and have to be whole.
    let (manifest, pieces) = take(&net);
    assert!(writer.snapshot(manifest.clone()).is_err());
    assert!(writer.piece(&pieces[0]).is_err());
    writer.finish().unwrap();
    let mut writer = ArchiveWriter::new(Vec::new(), &net.trusted()).unwrap();
    writer.snapshot(manifest).unwrap();
    assert!(writer.piece(&pieces[1]).is_err());
    writer.piece(&pieces[0]).unwrap();
    assert!(writer.block(&certified(1)).is_err());
    assert!(writer.finish().is_err());
}

#[test]
fn an_archive_that_was_cut_anywhere_or_is_old_is_gone_on_with() {
    let mut net = Net::new(1);
    net.pay();
    let begun = begun(&net).finish().unwrap();
    net.pay();
    net.pay();
    let now = whole(&net);
    for (from, step) in [(now.clone(), 41), (begun, 9_973)] {
        for cut in (41..=from.len()).step_by(step).chain([from.len()]) {
            // With something torn behind, as a crash leaves it.
            let part = [&from[..cut], &[0xa5; 7][..(cut % 7)]].concat();
            let Ok(reader) = ArchiveReader::open(Cursor::new(part), &net.trusted()) else {
                assert!(cut < 80, "cut at {cut}");
                continue;
            };
            let seek = |mut input: Cursor<Vec<u8>>, position| {
                input.seek(SeekFrom::Start(position))?;
                input.get_mut().truncate(usize::try_from(position).unwrap());
                Ok(input)
            };
            let mut writer = reader.resume(|_| (), seek).unwrap();
            if let Some((snapshot, next)) = writer.open_snapshot() {
                assert_eq!(snapshot.height(), Height(1));
                assert!(next < snapshot.manifest().pieces());
                continue;
            }
            while writer.height() < net.ledger.head().height {
                let next = writer.height().next();
                let block = net.ledger.certified(next).unwrap().unwrap();
                writer.block(&block).unwrap();
            }
            let bytes = writer.finish().unwrap().into_inner();
            assert_eq!(read(&net, &bytes).unwrap(), net.ledger.head().height);
            if from == now {
                assert_eq!(bytes, now, "cut at {cut}");
            }
        }
    }
}

#[test]
fn blocks_that_do_not_execute_to_what_they_say_end_a_restore() {
    // Certified by the validators, and still not what the rules make of it: more than a third would have to lie.
    let mut net = Net::new(1);
    net.pay();
    let mut liar = Net::new(1);
    let mut block = net.ledger.certified(Height(1)).unwrap().unwrap();
    block.block.header.state_root.0[0] ^= 1;
    block.certificate = liar.certify(&block.block, 1);
    let mut writer = ArchiveWriter::new(Vec::new(), &net.trusted()).unwrap();
    writer.block(&block).unwrap();
    let bytes = writer.finish().unwrap();
    assert_eq!(read(&net, &bytes).unwrap(), Height(1));
    let refused = restore(&net, &liar.ledger, &bytes).unwrap_err().to_string();
    assert!(refused.contains("block 1"), "{refused}");
    assert_eq!(liar.ledger.head().height, Height::GENESIS);
    liar.pay();
}

proptest! {
    #[test]
    fn no_bytes_are_taken_for_an_archive(
        bytes in prop::collection::vec(any::<u8>(), 0..300),
        kind in 0u8..7,
        length in prop_oneof![0u32..400, any::<u32>()],
    ) {
        use std::sync::LazyLock;
        static EMPTY: LazyLock<(Net, Vec<u8>)> = LazyLock::new(|| {
            let net = Net::new(1);
            let bytes = whole(&net);
            (net, bytes)
        });
        let (net, empty) = &*EMPTY;
        prop_assert!(read(net, &bytes).is_err());
        // After a sound head, without its end.
        let head = &empty[..empty.len() - 45];
        let frame = [head, &[kind], &length.to_le_bytes(), &bytes].concat();
        let mut reader = ArchiveReader::open(&frame[..], &net.trusted()).unwrap();
        let next = reader.next();
        prop_assert!(!matches!(next, Ok(Some(Item::Block(_) | Item::Piece(_)))));
        prop_assert!(next.is_err());
    }
}
