//! Finality, proven and checked on the command line.

use std::fs;

use super::network::{Network, Plan};

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
    let told: serde_json::Value = serde_json::from_str(&verified.out).unwrap();
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
