//! The read model beside a running chain: followed, killed, caught up with, and made anew.

use serde_json::Value;

use super::network::{Network, Plan};

/// Every collection, as the command line gives it.
fn shown(network: &Network) -> Vec<Value> {
    let url = &network.nodes[0].url;
    let collections = [
        "sessions",
        "chunks",
        "task_proofs",
        "work_tally",
        "leader_schedule",
    ];
    let show = |collection: &&str| {
        let args = [
            "--json", "chain", "index", "show", collection, "--limit", "200", "--rpc", url,
        ];
        let page: Value = serde_json::from_str(&network.bench.ok(&args)).unwrap();
        assert!(
            page["next"].is_null(),
            "{collection} has more than one page"
        );
        page["items"].clone()
    };
    collections.iter().map(show).collect()
}

fn status(network: &Network) -> Value {
    let args = [
        "--json",
        "chain",
        "index",
        "status",
        "--rpc",
        &network.nodes[0].url,
    ];
    serde_json::from_str(&network.bench.ok(&args)).unwrap()
}

/// Waits until the read model has the block.
fn wait_for(network: &Network, height: u64) {
    network.wait("the read model to follow", |it| {
        let status = status(it);
        assert!(status["trouble"].is_null(), "{status}");
        (status["height"].as_u64()? >= height).then_some(())
    });
}

#[test]
fn the_read_model_follows_the_chain_over_kills_and_is_the_same_made_anew() {
    let mut network = Network::start(Plan {
        validators: 1,
        full: 0,
        apart: false,
        custody: false,
    });
    let mut sent = 0;
    let mut height = 0;
    // Killed while blocks come in: what was not written then is caught up with.
    for _ in 0..3 {
        let load = network.load(0);
        network.wait_for_height(0, height + 3);
        let transactions = load.end(&network);
        height = network.wait_for_receipts(&[0], &transactions);
        // Every fourth of a load registers a session.
        sent += transactions.len() / 4;
        network.nodes[0].kill();
        network.nodes[0].start();
        network.wait_until_up(&[0]);
        network.recount(0);
    }
    wait_for(&network, height);
    let before = shown(&network);
    assert_eq!(before[0].as_array().unwrap().len(), sent.min(200));
    let told = status(&network);
    assert_eq!(
        (&told["from"], &told["complete"]),
        (&1.into(), &true.into()),
        "{told}"
    );
    let metric = network.nodes[0].metrics();
    let reached = metric
        .lines()
        .find_map(|line| line.strip_prefix("lucid_readmodel_height "));
    assert!(reached.unwrap().parse::<f64>().unwrap() >= 1.0);

    // One session by the id that it has on the chain, and as people see it.
    let url = network.nodes[0].url.clone();
    let id = before[0][0]["_id"].as_str().unwrap().to_owned();
    let show = [
        "chain", "index", "show", "sessions", "--key", &id, "--rpc", &url,
    ];
    let person = network.bench.ok(&show);
    assert!(
        person.contains(&id) && person.contains("closed"),
        "{person}"
    );
    let program = network.bench.ok(&[&["--json"], &show[..]].concat());
    let program: Value = serde_json::from_str(&program).unwrap();
    assert_eq!(program, before[0][0]);
    let nothing = "ab".repeat(16);
    let missing = [
        "chain", "index", "show", "sessions", "--key", &nothing, "--rpc", &url,
    ];
    assert_eq!(network.bench.run(&missing).code, 3);
    let page = [
        "chain", "index", "show", "sessions", "--limit", "1", "--rpc", &url,
    ];
    let page = network.bench.run(&page);
    assert!(page.err.contains("--after"), "{} {}", page.out, page.err);

    // Not while the node runs; then from the blocks alone, whatever was there.
    let home = network.nodes[0].home.clone();
    let folder = home.to_str().unwrap().to_owned();
    let rebuild = [
        "--json",
        "chain",
        "index",
        "rebuild",
        "--node-home",
        &folder,
    ];
    let running = network.bench.run(&rebuild);
    assert_eq!(running.code, 3, "{}", running.err);
    assert!(running.err.contains("stop the node"), "{}", running.err);
    assert!(network.nodes[0].stop().success());
    for entry in std::fs::read_dir(home.join("readmodel")).unwrap() {
        let path = entry.unwrap().path();
        if path.is_file() {
            std::fs::write(&path, b"not a database").unwrap();
        }
    }
    let made: Value = serde_json::from_str(&network.bench.ok(&rebuild)).unwrap();
    assert_eq!(made["from"], 1);
    assert!(made["height"].as_u64().unwrap() >= height);
    network.nodes[0].start();
    network.wait_until_up(&[0]);
    wait_for(&network, height);
    assert_eq!(shown(&network)[0], before[0]);

    // A read model that cannot be opened keeps nobody from making blocks, and says why.
    assert!(network.nodes[0].stop().success());
    std::fs::remove_dir_all(home.join("readmodel")).unwrap();
    std::fs::write(home.join("readmodel"), b"no folder").unwrap();
    network.nodes[0].start();
    network.wait_until_up(&[0]);
    network.recount(0);
    let transaction = network.register(0);
    network.wait_for_receipts(&[0], &[transaction]);
    network.wait("the trouble to be told", |it| {
        status(it)["trouble"]
            .as_str()
            .map(|text| assert!(text.contains("readmodel"), "{text}"))
    });
}
