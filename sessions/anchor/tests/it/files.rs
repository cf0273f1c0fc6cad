//! What is on the disk: cut, changed, read by others, held by one.

use std::fs;
use std::path::Path;

use alloy_primitives::{Address, B256};
use lucid_anchor::book::{Book, Flight, Job, Outcome, Place, Record, Signed, Stage, Step};
use lucid_anchor::journal::{Journal, peek};
use lucid_anchor::{AnchorError, Anchors, Folder, Settings};
use lucid_client::Wallet;
use lucid_format::SessionId;
use proptest::prelude::*;
use tempfile::tempdir;

const ACCOUNT: Address = Address::repeat_byte(0xaa);
const ID: SessionId = SessionId([3; 16]);

fn open(id: SessionId) -> Job {
    Job::Open {
        id,
        owner: ACCOUNT,
        session_key: B256::repeat_byte(1),
        policy: B256::repeat_byte(2),
    }
}

fn story() -> Vec<Vec<Record>> {
    let job = |job| Record::Job { job, at_ms: 5 };
    let place = Place {
        height: 9,
        time: 10,
        transaction: B256::repeat_byte(4),
    };
    let signed = Signed {
        hash: B256::repeat_byte(4),
        raw: vec![1, 2, 3],
        max_fee: 7,
        tip: 1,
    };
    let flight = |step| Flight {
        step,
        signed: vec![signed.clone()],
        after: 8,
    };
    vec![
        vec![
            Record::Chain {
                genesis: B256::repeat_byte(6),
                chain_id: 1,
            },
            job(open(ID)),
        ],
        vec![Record::Flight {
            nonce: 0,
            flight: flight(Step::Open(ID)),
        }],
        vec![Record::Bump {
            nonce: 0,
            signed: signed.clone(),
        }],
        vec![
            Record::Outcome {
                nonce: 0,
                outcome: Outcome::Final(place),
            },
            job(Job::Checkpoint {
                id: ID,
                size: 3,
                root: B256::repeat_byte(5),
            }),
        ],
        vec![job(Job::Close {
            id: ID,
            manifest: B256::repeat_byte(7),
            root: B256::repeat_byte(8),
            chunks: 4,
        })],
        vec![Record::Flight {
            nonce: 1,
            flight: flight(Step::Close(ID)),
        }],
    ]
}

fn books() -> Vec<Book> {
    let mut book = Book::default();
    let mut books = vec![book.clone()];
    for records in story() {
        records.iter().for_each(|record| book.apply(record));
        books.push(book.clone());
    }
    books
}

fn written(path: &Path) -> Vec<u8> {
    let (mut journal, book) = Journal::open(path, ACCOUNT).unwrap();
    assert_eq!(book, Book::default());
    for records in story() {
        journal.append(&records).unwrap();
    }
    fs::read(path).unwrap()
}

#[test]
fn a_journal_cut_at_any_byte_says_what_its_whole_frames_say_and_goes_on() {
    let dir = tempdir().unwrap();
    let path = dir.path().join("journal");
    let whole = written(&path);
    let books = books();
    let header = whole.len() - {
        let cut = dir.path().join("none");
        drop(Journal::open(&cut, ACCOUNT).unwrap());
        whole.len() - fs::read(&cut).unwrap().len()
    };
    let mut seen = Vec::new();
    for cut in header..=whole.len() {
        fs::write(&path, &whole[..cut]).unwrap();
        let (_, peeked) = peek(&path).unwrap().unwrap();
        let (mut journal, book) = Journal::open(&path, ACCOUNT).unwrap();
        assert_eq!(peeked, book);
        let index = books.iter().position(|it| *it == book).unwrap();
        seen.push(index);
        // What is written behind the cut is read again.
        if let Some(records) = story().get(index) {
            journal.append(records).unwrap();
            drop(journal);
            assert_eq!(peek(&path).unwrap().unwrap().1, books[index + 1]);
        }
    }
    assert!(seen.is_sorted());
    assert_eq!(seen.first(), Some(&0));
    assert_eq!(seen.last(), Some(&story().len()));
}

#[test]
fn a_change_before_the_last_frame_is_damage_and_no_torn_end() {
    let dir = tempdir().unwrap();
    let path = dir.path().join("journal");
    let whole = written(&path);
    let mut refused = 0;
    for at in 0..whole.len() {
        let mut changed = whole.clone();
        changed[at] ^= 1;
        fs::write(&path, &changed).unwrap();
        match peek(&path) {
            Err(AnchorError::Damaged { .. }) => refused += 1,
            // Another account, or a length that leads nowhere: all from there on is torn as far as anybody can tell.
            Ok(Some((account, book))) => {
                assert!(account != ACCOUNT || book != *books().last().unwrap());
            }
            other => panic!("byte {at}: {other:?}"),
        }
    }
    assert!(refused > whole.len() / 2);
}

#[test]
fn compaction_says_the_same_with_less() {
    let dir = tempdir().unwrap();
    let path = dir.path().join("journal");
    let whole = written(&path);
    let (mut journal, book) = Journal::open(&path, ACCOUNT).unwrap();
    journal.compact(&book).unwrap();
    assert!(fs::read(&path).unwrap().len() < whole.len());
    assert_eq!(peek(&path).unwrap().unwrap().1, book);
    journal
        .append(&[Record::Job {
            job: open(SessionId([8; 16])),
            at_ms: 1,
        }])
        .unwrap();
    let (_, again) = peek(&path).unwrap().unwrap();
    assert_eq!(again.sessions.len(), 2);
    assert_eq!(again.flights, book.flights);
}

#[test]
fn a_journal_of_another_account_is_refused() {
    let dir = tempdir().unwrap();
    let path = dir.path().join("journal");
    written(&path);
    let error = Journal::open(&path, Address::repeat_byte(1)).unwrap_err();
    assert!(matches!(error, AnchorError::OtherAccount { .. }));
}

fn settings(folder: &Path, wallet: &Wallet) -> Settings {
    Settings {
        folder: folder.to_owned(),
        // Nobody listens there.
        urls: vec!["http://127.0.0.1:1".to_owned()],
        wallet: wallet.clone(),
        genesis: None,
        batch_from: 8,
        in_flight: 16,
    }
}

#[tokio::test]
async fn jobs_outlive_the_process_and_others_read_them_while_it_runs() {
    let dir = tempdir().unwrap();
    let wallet = Wallet::generate().unwrap();
    let (anchors, thread) = Anchors::start(settings(dir.path(), &wallet)).unwrap();
    anchors.submit_one(open(ID)).await.unwrap();
    anchors.submit_one(open(ID)).await.unwrap();
    let close = Job::Close {
        id: SessionId([4; 16]),
        manifest: B256::ZERO,
        root: B256::ZERO,
        chunks: 1,
    };
    let refused = anchors.submit_one(close).await.unwrap_err();
    assert!(refused.to_string().contains("open it first"), "{refused}");

    let folder = Folder::at(dir.path());
    let session = folder.session(ID).unwrap().unwrap();
    assert_eq!(session.opened, Stage::Queued);
    let locked = Anchors::start(settings(dir.path(), &wallet)).unwrap_err();
    assert!(matches!(locked, AnchorError::Locked { .. }));

    drop(anchors);
    thread.join().unwrap();
    let (anchors, thread) = Anchors::start(settings(dir.path(), &wallet)).unwrap();
    assert_eq!(anchors.session(ID).await.unwrap(), Some(session));
    anchors.forget(ID).await.unwrap();
    assert_eq!(anchors.session(ID).await.unwrap(), None);
    drop(anchors);
    thread.join().unwrap();
    assert_eq!(folder.session(ID).unwrap(), None);

    let other = Wallet::generate().unwrap();
    let error = Anchors::start(settings(dir.path(), &other)).unwrap_err();
    assert!(matches!(error, AnchorError::OtherAccount { .. }));
}

proptest! {
    #[test]
    fn arbitrary_bytes_are_no_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400), keep in 0_usize..200) {
        let dir = tempdir().unwrap();
        let path = dir.path().join("journal");
        let mut whole = written(&path);
        whole.truncate(keep.min(whole.len()));
        whole.extend(&bytes);
        fs::write(&path, &whole).unwrap();
        let _ = peek(&path);
        let _ = Journal::open(&path, ACCOUNT);
        let folder = Folder::at(dir.path());
        fs::create_dir(dir.path().join("sessions")).unwrap();
        fs::write(dir.path().join("sessions").join(ID.to_string()), &bytes).unwrap();
        fs::write(dir.path().join("batches.log"), &bytes).unwrap();
        let _ = folder.session(ID);
        let _ = folder.batches();
    }
}
