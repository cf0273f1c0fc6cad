//! The `.lucid` file: no byte of it is free, and its index is believed in nothing.

use std::io::{self, Cursor, Read, Seek, SeekFrom, Write};

use lucid_format::{
    ErrorKind, FileKind, FormatError, Index, MAX_INDEX_BYTES, Recording, RecordingWriter, Span,
};

use crate::support::{assemble, check, check_with, close, scene};

#[test]
fn the_writer_makes_what_the_specification_says() {
    let scene = scene("layout", 3);
    assert_eq!(
        scene.file(),
        assemble(FileKind::Recording, 0, &scene.sections(), |_| ())
    );
}

#[test]
fn any_changed_byte_of_a_recording_is_refused() {
    let scene = scene("bytes", 2);
    let file = scene.file();
    assert!(check(&file).unwrap().complete);
    for byte in 0..file.len() {
        for mask in [1 << (byte % 8), 0xff] {
            let mut changed = file.clone();
            changed[byte] ^= mask;
            let result = check(&changed);
            assert!(result.is_err(), "byte {byte} xor {mask:#x}: {result:?}");
        }
    }
}

#[test]
fn any_changed_byte_of_a_disclosure_is_refused() {
    let scene = scene("bytes", 5);
    let file = scene.disclosure(1, 2);
    check(&file).unwrap();
    for byte in 0..file.len() {
        for mask in [1 << (byte % 8), 0xff] {
            let mut changed = file.clone();
            changed[byte] ^= mask;
            let result = check(&changed);
            assert!(result.is_err(), "byte {byte} xor {mask:#x}: {result:?}");
        }
    }
}

#[test]
fn a_file_cut_anywhere_is_refused_as_cut_short() {
    let file = scene("cut", 2).file();
    for cut in 0..file.len() {
        let error = check(&file[..cut]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Truncated, "cut at {cut}: {error}");
    }
    assert_eq!(
        check(b"").unwrap_err().to_string(),
        "the recording is cut short: 16 bytes needed, 0 there; fetch the file again from where it came"
    );
}

#[test]
fn bytes_taken_from_or_put_into_the_middle_are_noticed() {
    let file = scene("middle", 2).file();
    for at in [16, 20, 28, 700, file.len() / 2, file.len() - 13] {
        let (before, after) = file.split_at(at);
        assert!(check(&[before, &after[1..]].concat()).is_err());
        assert!(check(&[before, b"x", after].concat()).is_err());
        assert!(check(&[before, &[0; 12], after].concat()).is_err());
    }
    assert!(check(&[&file[..], b"x"].concat()).is_err());
    assert!(check(&[&file[..], &file].concat()).is_err());
}

#[test]
fn what_is_no_recording_is_said_not_to_be_one() {
    for bytes in [
        &b"PK\x03\x04 a zip file, long enough to have a footer"[..],
        b"x",
        b"LUCIDREX",
    ] {
        assert_eq!(
            check(bytes).unwrap_err().to_string(),
            "this is not a Lucid recording: it starts with other bytes"
        );
    }
}

#[test]
fn a_later_version_or_another_kind_is_refused() {
    let file = scene("version", 1).file();
    let with = |at: usize, value: u8| {
        let mut changed = file.clone();
        changed[at] = value;
        check(&changed).unwrap_err()
    };
    let error = with(8, 2);
    assert_eq!(error.kind(), ErrorKind::Version);
    assert_eq!(
        error.to_string(),
        "the recording has version 2, and this program reads version 1: use a newer lucid"
    );
    assert_eq!(with(9, 1).kind(), ErrorKind::Version);
    for at in 11..16 {
        assert_eq!(with(at, 1).kind(), ErrorKind::Malformed);
    }
    assert_eq!(with(10, 2).kind(), ErrorKind::Malformed);
    assert_eq!(
        with(10, 1).to_string(),
        "the recording does not decode: its first bytes and its index name two kinds"
    );
}

#[test]
fn sections_stand_in_their_order_and_only_once() {
    let scene = scene("order", 2);
    let good = scene.sections();
    assert_eq!(good.len(), 5);
    let build = |order: &[usize]| {
        let sections: Vec<_> = order.iter().map(|i| good[*i].clone()).collect();
        check(&assemble(FileKind::Recording, 0, &sections, |_| ()))
    };
    assert!(build(&[0, 1, 2, 3, 4]).is_ok());
    for order in [
        &[1, 0, 2, 3, 4][..],
        &[0, 2, 1, 3, 4],
        &[0, 1, 2, 4, 3],
        &[4, 0, 1, 2, 3],
        &[0, 0, 1, 2, 3, 4],
        &[0, 1, 1, 2, 3, 4],
        &[0, 1, 2, 3, 4, 4],
    ] {
        assert_eq!(
            build(order).unwrap_err().kind(),
            ErrorKind::Tampered,
            "{order:?}"
        );
    }
}

#[test]
fn a_section_that_the_index_does_not_name_is_refused() {
    let scene = scene("hidden", 2);
    let file = assemble(FileKind::Recording, 0, &scene.sections(), |index| {
        index.wraps = None;
    });
    let error = check(&file).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Tampered);
    assert!(
        error
            .to_string()
            .starts_with("the index was changed: it says byte"),
        "{error}"
    );
}

#[test]
fn sections_of_the_other_kind_of_file_are_refused() {
    let scene = scene("kinds", 2);
    for edit in [
        (|index: &mut Index| index.keys = index.wraps.take()) as fn(&mut Index),
        |index| index.proof = index.wraps.take(),
        |index| index.first = 1,
        |index| index.kind = FileKind::Disclosure,
    ] {
        let error = check(&assemble(FileKind::Recording, 0, &scene.sections(), edit)).unwrap_err();
        assert_eq!(
            error.to_string(),
            "the index does not decode: its sections are not those of its kind of file"
        );
    }
}

#[test]
fn spans_outside_the_file_or_above_their_bound_are_refused_unread() {
    let scene = scene("spans", 2);
    let error = |edit: fn(&mut Index)| {
        check(&assemble(FileKind::Recording, 0, &scene.sections(), edit)).unwrap_err()
    };
    assert_eq!(
        error(|i| i.head.len = u64::MAX).to_string(),
        "a section of the recording claims 18446744073709551615, and the bound is 262144: refused unread"
    );
    assert_eq!(
        error(|i| i.chunks[1].len = u32::MAX).to_string(),
        "a section of the recording claims 4294967295, and the bound is 17825792: refused unread"
    );
    assert_eq!(
        error(|i| i.manifest.offset = u64::MAX).kind(),
        ErrorKind::Truncated
    );
    assert_eq!(
        error(|i| i.chunks[0].offset = u64::MAX).kind(),
        ErrorKind::Truncated
    );
    assert_eq!(
        error(|i| i.chunks[0].offset = 0).kind(),
        ErrorKind::Truncated
    );
    assert_eq!(error(|i| i.chunks.swap(0, 1)).kind(), ErrorKind::Tampered);
    assert_eq!(
        error(|i| i.chunks[1] = i.chunks[0].clone()).kind(),
        ErrorKind::Tampered
    );
}

#[test]
fn an_index_with_a_huge_length_is_refused_unread() {
    let mut file = scene("huge", 1).file();
    let at = file.len() - 12;
    file[at..at + 4].copy_from_slice(&u32::MAX.to_le_bytes());
    assert_eq!(
        check(&file).unwrap_err().to_string(),
        "the index claims 4294967295, and the bound is 16777216: refused unread"
    );
    // Longer than the file, and so long that it would begin inside the preamble.
    for len in [
        u32::try_from(MAX_INDEX_BYTES).unwrap(),
        u32::try_from(at).unwrap(),
        u32::try_from(at - 20).unwrap(),
    ] {
        file[at..at + 4].copy_from_slice(&len.to_le_bytes());
        assert_eq!(check(&file).unwrap_err().kind(), ErrorKind::Truncated);
    }
    // A count of chunks that the index does not hold.
    let mut index = borsh::to_vec(&0u8).unwrap();
    index.extend_from_slice(&[0xff; 100]);
    let error = check(&close(b"LUCIDREC\x01\0\0\0\0\0\0\0".to_vec(), &index)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Malformed);
}

#[test]
fn the_index_may_say_nothing_that_the_chunks_do_not_say() {
    let scene = scene("index", 3);
    for edit in [
        (|i: &mut Index| i.chunks[1].start_us += 1) as fn(&mut Index),
        |i| i.chunks[1].end_us += 1,
        |i| i.chunks[1].keyframe ^= true,
        |i| i.chunks[1].hash = i.chunks[0].hash,
        |i| i.chunks[2].end_us = 0,
    ] {
        let error = check(&assemble(FileKind::Recording, 0, &scene.sections(), edit)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Tampered, "{error}");
    }
}

#[test]
fn one_chunk_is_read_and_checked_by_itself() {
    let scene = scene("random access", 5);
    let file = scene.file();
    let mut recording = Recording::open(Cursor::new(&file)).unwrap();
    for nth in [3, 0, 4, 3] {
        assert_eq!(recording.chunk(nth).unwrap(), scene.chunks[nth]);
    }
    assert_eq!(
        recording.chunk(5).unwrap_err().to_string(),
        "the recording does not decode: it has no chunk 5"
    );
    assert_eq!(recording.leaves(), crate::support::leaves(&scene.chunks));
}

/// A disk that fails after some bytes, for reading and for writing.
struct Failing(Cursor<Vec<u8>>, usize);

impl Failing {
    fn spend(&mut self, bytes: usize) -> io::Result<()> {
        self.1 = self
            .1
            .checked_sub(bytes)
            .ok_or_else(|| io::Error::from(io::ErrorKind::StorageFull))?;
        Ok(())
    }
}

impl Read for Failing {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.0.read(buffer)?;
        self.spend(read)?;
        Ok(read)
    }
}

impl Seek for Failing {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.0.seek(to)
    }
}

impl Write for Failing {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.spend(bytes.len())?;
        self.0.write(bytes)
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_disk_that_fails_underneath_is_an_io_error() {
    let scene = scene("disk", 2);
    let file = scene.file();
    for room in [0, 10, 100, 1000] {
        let disk = Failing(Cursor::new(file.clone()), room);
        let error = Recording::open(disk).err().unwrap();
        assert_eq!(error.kind(), ErrorKind::Io);
        let disk = Failing(Cursor::new(Vec::new()), room);
        let written = RecordingWriter::recording(disk, &scene.head, Some(&scene.wraps))
            .and_then(|mut w| w.chunk(&scene.chunks[0]));
        let error = written.unwrap_err();
        assert_eq!(error.to_string(), "writing the recording: no storage space");
    }
}

/// Runs itself in a process of its own, whose memory nobody else uses.
#[test]
fn hostile_lengths_take_little_memory() {
    const INSIDE: &str = "LUCID_TEST_HOSTILE_MEMORY";
    if std::env::var_os(INSIDE).is_none() {
        let status = std::process::Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "container::hostile_lengths_take_little_memory"])
            .env(INSIDE, "1")
            .status();
        assert!(status.unwrap().success());
        return;
    }
    let scene = scene("memory", 1);
    let file = scene.file();
    // Every four and eight bytes in turn become a huge length; and an index of 16 MiB that holds nothing but zeros.
    for at in 0..file.len() - 8 {
        for value in [u32::MAX, 0x0fff_ffff, 0x00ff_ffff] {
            let mut changed = file.clone();
            changed[at..at + 4].copy_from_slice(&value.to_le_bytes());
            assert!(check_with(&changed, &scene.keys()).is_err());
        }
    }
    let huge = close(file[..file.len() / 2].to_vec(), &vec![0; MAX_INDEX_BYTES]);
    assert!(check(&huge).is_err());
    let peak = std::fs::read_to_string("/proc/self/status").unwrap();
    let peak = peak.lines().find(|l| l.starts_with("VmHWM:")).unwrap();
    let kib: u64 = peak.split_whitespace().nth(1).unwrap().parse().unwrap();
    assert!(kib < 96 << 10, "{kib} KiB were in use at once");
}

#[test]
fn a_span_names_its_own_place() {
    let scene = scene("span", 2);
    let file = scene.file();
    let footer = &file[file.len() - 12..];
    let span = Index::locate(file.len() as u64, footer).unwrap();
    let Span { offset, len } = span;
    assert_eq!(offset + len + Index::FOOTER_LEN, file.len() as u64);
    let index = Index::decode(
        &file[usize::try_from(offset).unwrap()..file.len() - 12],
        file.len() as u64,
    )
    .unwrap();
    let first: FormatError = Index::decode(b"", 0).unwrap_err();
    assert_eq!(first.kind(), ErrorKind::Malformed);
    assert_eq!(index.chunks.len(), 2);
    assert_eq!(index.chunks[0].span().len, scene.chunks[0].len() as u64);
}
