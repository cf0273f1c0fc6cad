//! What every store of the collections keeps to: one suite, for the embedded one always, and for MongoDB where `MONGODB_URI` says
//! where there is one.

use lucid_chain_types::Height;
use lucid_readmodel::{Applied, Collection, Collections, Embedded, Key, ModelError, Query};

use crate::support::{Chain, GENESIS, contents, hash, node};

/// The suite. `open` opens the same store each time, empty at first.
fn keeps_the_contract(open: &dyn Fn() -> Box<dyn Collections>) {
    let chain = Chain::fixed(120);
    let store = open();
    assert_eq!(store.position().unwrap(), None);
    assert!(
        contents(&*store)
            .values()
            .all(|documents| documents.is_empty())
    );

    // It begins where the first batch does, and goes on without a gap.
    assert_eq!(store.apply(&chain.batch(3, 10)).unwrap(), Applied::Now);
    let position = store.position().unwrap().unwrap();
    assert_eq!((position.from, position.height), (Height(3), Height(10)));
    assert_eq!(position.id, chain.batch(10, 10).id);
    assert_eq!(contents(&*store), chain.expected(3, 10));
    match store.apply(&chain.batch(12, 13)) {
        Err(ModelError::Gap {
            height,
            first,
            last,
        }) => {
            assert_eq!((height, first, last), (Height(10), Height(12), Height(13)));
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(store.position().unwrap(), Some(position));

    // What comes again changes nothing, and of what overlaps only the new counts.
    assert_eq!(store.apply(&chain.batch(3, 10)).unwrap(), Applied::Before);
    assert_eq!(store.apply(&chain.batch(7, 9)).unwrap(), Applied::Before);
    assert_eq!(contents(&*store), chain.expected(3, 10));
    assert_eq!(store.apply(&chain.batch(5, 40)).unwrap(), Applied::Now);
    assert_eq!(contents(&*store), chain.expected(3, 40));

    // It is there when it is opened again.
    drop(store);
    let store = open();
    assert_eq!(store.position().unwrap().unwrap().height, Height(40));
    store.apply(&chain.batch(41, 120)).unwrap();
    let all = contents(&*store);
    assert_eq!(all, chain.expected(3, 120));
    for collection in Collection::ALL {
        assert!(
            !all[collection.name()].is_empty(),
            "{collection:?} is tested"
        );
    }

    // One document by its key; none where there is none.
    for (id, document) in all.iter().flat_map(|(name, documents)| {
        let collection = Collection::ALL
            .into_iter()
            .find(|it| it.name() == *name)
            .unwrap();
        documents
            .iter()
            .map(move |(id, document)| (Key::parse(collection, id).unwrap(), document))
    }) {
        assert!(id.is_whole());
        assert_eq!(store.get(&id).unwrap().as_ref(), Some(document));
    }
    assert_eq!(store.get(&Key::session(hash(999))).unwrap(), None);

    reads_pages_in_order(&*store, &all);

    // Forgotten, and made anew from another height.
    store.reset().unwrap();
    assert_eq!(store.position().unwrap(), None);
    assert!(
        contents(&*store)
            .values()
            .all(|documents| documents.is_empty())
    );
    store.apply(&chain.batch(50, 60)).unwrap();
    assert_eq!(contents(&*store), chain.expected(50, 60));
}

fn reads_pages_in_order(store: &dyn Collections, all: &crate::support::Contents) {
    for collection in Collection::ALL {
        let mut keys: Vec<Key> = all[collection.name()]
            .keys()
            .map(|id| Key::parse(collection, id).unwrap())
            .collect();
        keys.sort_by_key(Key::bytes);
        for descending in [false, true] {
            let mut found = Vec::new();
            let mut query = Query {
                descending,
                ..Query::all(collection, 7)
            };
            loop {
                let page = store.query(&query).unwrap();
                assert!(page.items.len() <= 7);
                found.extend(
                    page.items
                        .iter()
                        .map(|it| it["_id"].as_str().unwrap().to_owned()),
                );
                let Some(next) = page.next else { break };
                assert_eq!(Some(&next), found.last());
                query.after = Some(Key::parse(collection, &next).unwrap());
            }
            let mut expected: Vec<String> = keys.iter().map(Key::to_string).collect();
            if descending {
                expected.reverse();
            }
            assert_eq!(found, expected, "{collection:?}, descending {descending}");
        }
        // Every first part that there is finds its own and no others.
        for key in &keys {
            let text = key.parts()[0].to_string();
            let prefix = Key::parse(collection, &text).unwrap();
            let page = store
                .query(&Query {
                    prefix: prefix.clone(),
                    ..Query::all(collection, 1_000)
                })
                .unwrap();
            let expected = keys.iter().filter(|key| prefix.covers(key)).count();
            assert_eq!(page.items.len(), expected);
            assert_eq!(page.next, None);
        }
    }
    // A place outside of what is asked for has nothing behind it.
    let other = Query {
        after: Some(Key::holder(2, node(1))),
        prefix: Key::holders(1),
        ..Query::all(Collection::ChunkHolders, 5)
    };
    assert!(store.query(&other).unwrap().items.is_empty());
    // A limit of nothing, or of too much, is one that can be kept.
    assert_eq!(
        store
            .query(&Query::all(Collection::WorkTally, 0))
            .unwrap()
            .items
            .len(),
        1
    );
    let most = store
        .query(&Query::all(Collection::TaskProofs, usize::MAX))
        .unwrap();
    assert_eq!(most.items.len(), all["task_proofs"].len().min(1_000));
}

#[test]
fn the_embedded_store_keeps_the_contract() {
    let folder = tempfile::tempdir().unwrap();
    keeps_the_contract(&|| Box::new(Embedded::open(folder.path(), GENESIS).unwrap()));
}

#[test]
fn the_store_of_another_chain_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    drop(Embedded::open(folder.path(), GENESIS).unwrap());
    let error = Embedded::open(folder.path(), hash(1)).unwrap_err();
    assert!(
        matches!(error, ModelError::OtherChain { found, .. } if found == GENESIS),
        "{error}"
    );
}

#[test]
fn two_processes_do_not_write_to_one_store() {
    let folder = tempfile::tempdir().unwrap();
    let _first = Embedded::open(folder.path(), GENESIS).unwrap();
    let error = Embedded::open(folder.path(), GENESIS).unwrap_err();
    assert!(matches!(error, ModelError::InUse { .. }), "{error}");
}

/// Whoever sets it wants MongoDB tested.
#[cfg(not(feature = "mongodb"))]
#[test]
fn mongodb_uri_is_not_set_in_vain() {
    assert!(
        std::env::var_os("MONGODB_URI").is_none(),
        "MONGODB_URI is set, but MongoDB is not in this build: cargo test -p lucid-readmodel --features mongodb"
    );
}

#[cfg_attr(
    not(feature = "mongodb"),
    ignore = "NOT RUN: needs --features mongodb, and MONGODB_URI of a MongoDB 7 that may be written to"
)]
#[test]
fn mongodb_keeps_the_contract_or_is_skipped_without_mongodb_uri() {
    #[cfg(feature = "mongodb")]
    mongodb();
}

#[cfg(feature = "mongodb")]
fn mongodb() {
    use std::io::Write as _;

    use lucid_readmodel::Mongo;

    let Ok(uri) = std::env::var("MONGODB_URI") else {
        // Past the harness, which keeps what passing tests print to itself.
        let text = "\n*** SKIPPED: MONGODB_URI is not set, MongoDB was NOT tested ***\n";
        std::io::stderr().write_all(text.as_bytes()).unwrap();
        return;
    };
    // A database of its own, so that nobody's documents are lost.
    let mut random = [0; 4];
    getrandom::fill(&mut random).unwrap();
    let name = format!("lucid_test_{:08x}", u32::from_be_bytes(random));
    let (base, options) = uri.split_once('?').unwrap_or((&uri, ""));
    let scheme = base.find("://").map_or(0, |at| at + 3);
    let hosts = base[scheme..]
        .find('/')
        .map_or(base.len(), |at| scheme + at);
    let url = format!("{}/{name}?{options}", &base[..hosts]);
    keeps_the_contract(&|| Box::new(Mongo::open(&url, GENESIS).unwrap()));
    let error = Mongo::open(&url, hash(1)).unwrap_err();
    assert!(matches!(error, ModelError::OtherChain { .. }), "{error}");
    Mongo::open(&url, GENESIS).unwrap().drop_database().unwrap();
}

/// The driver's blocking calls run beside a node's runtime, and say what is wrong without the password.
#[cfg(feature = "mongodb")]
#[test]
fn a_mongodb_that_is_not_there_is_an_error_and_no_password_is_told() {
    use lucid_readmodel::Mongo;

    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .build()
        .unwrap();
    let url = "mongodb://me:hunter2@127.0.0.1:1/lucid?serverSelectionTimeoutMS=100";
    let opened =
        runtime.block_on(async { tokio::task::spawn_blocking(|| Mongo::open(url, GENESIS)).await });
    let error = opened.unwrap().unwrap_err().to_string();
    assert!(error.starts_with("MongoDB: "), "{error}");
    assert!(!error.contains("hunter2"), "{error}");
    let error = Mongo::open("mongodb://me:hunter2@/?x=y", GENESIS).unwrap_err();
    assert!(!error.to_string().contains("hunter2"), "{error}");
}
