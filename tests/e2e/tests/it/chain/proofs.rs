//! Finality, and the anchors of recordings, proven and checked on the command line.

use std::fs;
use std::path::Path;

use alloy_primitives::{B256, Bytes};
use lucid_chain_types::anchors::{anchor_id, batch_path, batch_root, checkpoint_leaf};
use lucid_chain_types::contracts::LUCID_ANCHORS;
use lucid_client::{Client, Order, anchors};
use lucid_format::merkle::{self, Log};
use lucid_format::{Hash, Recording};
use serde_json::{Value, json};

use super::network::{Network, Plan};
use crate::support::PATIENCE;

#[test]
fn finality_is_proven_to_whoever_has_the_genesis_file_and_a_flipped_byte_is_refused() {
    let network = Network::start(Plan {
        validators: 1,
        full: 0,
        apart: false,
        custody: false,
    });
    let sent = network.register(0);
    let height = network.wait_for_receipts(&[0], &[sent]).to_string();
    let (bench, rpc) = (&network.bench, &network.nodes[0].url);
    bench.ok(&[
        "chain",
        "prove-finality",
        &height,
        "--rpc",
        rpc,
        "--out",
        "proof",
    ]);
    let verify = |proof: &str, genesis: &str| {
        bench.run(&[
            "--json",
            "chain",
            "verify-finality",
            proof,
            "--genesis",
            genesis,
        ])
    };
    let genesis = "net/genesis.json";
    let verified = verify("proof", genesis);
    assert_eq!(verified.code, 0, "{}", verified.err);
    let told: Value = serde_json::from_str(&verified.out).unwrap();
    let block = network.nodes[0].block(height.parse().unwrap()).unwrap();
    assert_eq!(told["height"], block.height.0);
    assert_eq!(told["block"], block.id.to_string());
    assert_eq!(told["stateRoot"], block.state_root.to_string());

    // lucid-light's own tests flip every bit; here it is the exit code that counts.
    let proof = fs::read(bench.path("proof")).unwrap();
    for at in (0..proof.len()).step_by(proof.len() / 12) {
        let mut flipped = proof.clone();
        flipped[at] ^= 1;
        fs::write(bench.path("flipped"), flipped).unwrap();
        let refused = verify("flipped", genesis);
        assert_eq!(
            refused.code, 11,
            "byte {at}: {} {}",
            refused.out, refused.err
        );
        assert!(refused.err.contains("refused"), "{}", refused.err);
        assert!(refused.out.is_empty());
    }
    fs::write(bench.path("short"), &proof[..proof.len() - 1]).unwrap();
    assert_eq!(verify("short", genesis).code, 11);
    fs::write(bench.path("long"), [&proof[..], &[0]].concat()).unwrap();
    assert_eq!(verify("long", genesis).code, 11);
    assert_eq!(verify("nothing", genesis).code, 3);

    // Another network's genesis.
    bench.init(
        "other",
        Plan {
            validators: 1,
            full: 0,
            apart: false,
            custody: false,
        },
    );
    assert_eq!(verify("proof", "other/genesis.json").code, 11);

    // There is no such block yet, and the proof goes to a pipe as well.
    let ahead = bench.run(&["chain", "prove-finality", "1000", "--rpc", rpc]);
    assert_ne!(ahead.code, 0);
    assert!(ahead.out.is_empty());
    // What a person sees.
    let status = bench.ok(&["chain", "status", "--rpc", rpc]);
    assert!(
        status.contains(&format!("height      {height}")),
        "{status}"
    );
    let status: serde_json::Value =
        serde_json::from_str(&bench.ok(&["chain", "status", "--rpc", rpc, "--json"])).unwrap();
    assert_eq!(status["block"], block.id.to_string());
}

/// A recording of the corpus, and what the contract is told of it.
struct Known {
    file: String,
    id: B256,
    session_key: B256,
    policy: B256,
    manifest: B256,
    root: B256,
    chunks: u32,
    salt: [u8; 32],
    addresses: Vec<Hash>,
}

impl Known {
    fn open(name: &str) -> Self {
        let file = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("../vectors/proof")
            .join(name);
        let recording = Recording::open(fs::File::open(&file).unwrap()).unwrap();
        let (ticket, manifest) = (&recording.head.ticket, &recording.manifest);
        Self {
            file: file.to_str().unwrap().to_owned(),
            id: anchor_id(ticket.session.0),
            session_key: B256::new(ticket.session_key.0),
            policy: B256::new(ticket.policy.0),
            manifest: B256::new(manifest.hash().0),
            root: B256::new(manifest.manifest.root.0),
            chunks: manifest.manifest.chunks,
            salt: recording.head.head.salt,
            addresses: recording.index.chunks.iter().map(|c| c.hash).collect(),
        }
    }

    fn root_of(&self, size: u32) -> B256 {
        let mut log = Log::default();
        for chunk in &self.addresses[..size as usize] {
            log.push(*chunk).unwrap();
        }
        B256::new(merkle::salted(&self.salt, size, log.root()).0)
    }
}

/// Issue 4: the proof of a session that runs, of one that is closed, and of one that was registered, from a node to a verifier who
/// has the genesis file and nothing else; and what becomes of a copy that was changed.
#[test]
fn anchors_are_proven_from_a_node_and_verified_with_the_genesis_file() {
    let network = Network::start(Plan {
        validators: 1,
        full: 0,
        apart: false,
        custody: false,
    });
    let (bench, rpc) = (&network.bench, network.nodes[0].url.as_str());
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let client = Client::new(rpc).unwrap();
    let account = network.account.wallet();
    let send = |input: Bytes| {
        let order = Order {
            to: LUCID_ANCHORS,
            input,
            ..Order::default()
        };
        let sent = runtime.block_on(client.send_and_wait(account, order, PATIENCE));
        sent.unwrap().block_number.unwrap()
    };
    let prove = |known: &Known, out: &str, more: &[&str]| {
        let args = [
            "--json",
            "prove",
            &known.file,
            "--out",
            out,
            "--rpc",
            rpc,
            "--genesis",
            "net/genesis.json",
        ];
        let told: Value = serde_json::from_str(&bench.ok(&[&args, more].concat())).unwrap();
        assert_eq!(told["verified"], true);
        told
    };
    let verify = |recording: &str, proof: &str| {
        let args = [
            "--json",
            "verify",
            recording,
            proof,
            "--genesis",
            "net/genesis.json",
        ];
        let told: Value = serde_json::from_str(&bench.ok(&args)).unwrap();
        let anchor = &told["anchor"];
        let fixed = anchor["fixed"].as_array().unwrap().iter();
        let fixed: Vec<(u64, u64, String)> = fixed
            .map(|piece| {
                let number = |key: &str| piece[key].as_u64().unwrap();
                let by = piece["by"].as_str().unwrap().to_owned();
                (number("last"), number("height"), by)
            })
            .collect();
        (fixed, anchor["not_fixed"].as_u64().unwrap(), anchor.clone())
    };
    let by = |last: u64, height: u64, by: &str| (last, height, by.to_owned());

    let office = Known::open("closed.lucid");
    let missing = bench.run(&["prove", &office.file, "--out", "none", "--rpc", rpc]);
    assert_eq!(missing.code, 3, "{}", missing.err);
    // Other sessions' batches from before, which the closing binds too.
    send(anchors::batch(B256::repeat_byte(1), 4));
    send(anchors::open(
        office.id,
        account.address(),
        office.session_key,
        office.policy,
    ));
    let first = send(anchors::checkpoint(office.id, 4, office.root_of(4)));
    let mut leaves = vec![B256::repeat_byte(5), B256::repeat_byte(6)];
    leaves.push(checkpoint_leaf(office.id, 8, office.root_of(8)));
    let root = batch_root(&leaves).unwrap();
    let second = send(anchors::batch(root, 3));
    send(anchors::batch(B256::repeat_byte(2), 4));
    let batched = json!([
        { "batch": null, "size": 4, "root": office.root_of(4) },
        { "batch": root, "size": 8, "root": office.root_of(8), "path": batch_path(&leaves, 2) },
    ]);
    fs::write(bench.path("batched.json"), batched.to_string()).unwrap();
    let with_batches = ["--batched", "batched.json"];

    prove(&office, "open", &with_batches);
    let (fixed, not_fixed, anchor) = verify(&office.file, "open");
    assert_eq!(fixed, [by(3, first, "checkpoint"), by(7, second, "batch")]);
    assert_eq!((not_fixed, &anchor["closed"]), (4, &Value::Null));
    prove(&office, "open-plain", &[]);
    assert_eq!(verify(&office.file, "open-plain").1, 8);

    let third = send(anchors::close(
        office.id,
        office.manifest,
        office.root,
        office.chunks.into(),
    ));
    send(anchors::batch(B256::repeat_byte(3), 4));
    let told = prove(&office, "closed", &with_batches);
    assert!(told["transaction"].is_string());
    let whole = [
        by(3, first, "checkpoint"),
        by(7, second, "batch"),
        by(11, third, "close"),
    ];
    let (fixed, not_fixed, anchor) = verify(&office.file, "closed");
    assert_eq!((fixed.as_slice(), not_fixed), (whole.as_slice(), 0));
    assert_eq!(anchor["height"], third);
    prove(&office, "closed-plain", &[]);
    let (fixed, ..) = verify(&office.file, "closed-plain");
    assert_eq!(fixed, [by(3, first, "checkpoint"), by(11, third, "close")]);
    let part = Known::open("part.lucid");
    let (fixed, ..) = verify(&part.file, "closed");
    assert_eq!(fixed, [by(3, first, "checkpoint"), by(7, second, "batch")]);

    let quick = Known::open("registered.lucid");
    let at = send(anchors::register(
        quick.id,
        account.address(),
        quick.session_key,
        quick.manifest,
        quick.root,
        quick.chunks.into(),
    ));
    prove(&quick, "registered", &[]);
    assert_eq!(verify(&quick.file, "registered").0, [by(1, at, "close")]);

    // Copies that were cut back or changed.
    for bad in ["bad-rewound.lucid", "bad-rewritten.lucid", "second.lucid"] {
        let bad = Known::open(bad).file;
        let refused = bench.run(&["verify", &bad, "closed", "--genesis", "net/genesis.json"]);
        assert_eq!(refused.code, 11, "{bad}: {}", refused.err);
        assert!(refused.err.contains("refused"), "{}", refused.err);
    }
}
