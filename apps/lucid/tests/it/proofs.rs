//! `lucid verify` with a proof, over the corpus in `tests/vectors/proof`. `lucid prove` needs a chain: `tests/e2e` has one.

use std::fs;
use std::path::PathBuf;

use serde_json::Value;

use crate::support::Sandbox;

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../tests/vectors/proof")
}

fn file(name: &str) -> String {
    folder().join(name).to_str().unwrap().to_owned()
}

/// Every good case is accepted and every forgery refused with its sentence; refusals are 11, of a newer version 13, of a broken file its own.
#[test]
fn the_corpus_is_judged_as_it_is_written_there() {
    let sandbox = Sandbox::new();
    let cases: Vec<Value> =
        serde_json::from_slice(&fs::read(folder().join("cases.json")).unwrap()).unwrap();
    assert!(cases.len() > 80);
    for case in &cases {
        let name = |part: &str| file(case[part].as_str().unwrap());
        let args = [
            "verify",
            &name("recording"),
            &name("proof"),
            "--genesis",
            &name("genesis"),
        ];
        let ran = sandbox.run(&args);
        match case["refusal"].as_str() {
            None => {
                let cut = case["recording"] == "cut.lucid";
                assert_eq!(ran.code, if cut { 16 } else { 0 }, "{case}: {}", ran.err);
                assert!(ran.out.contains("anchored"), "{case}: {}", ran.out);
            }
            Some(refusal) => {
                let version = refusal.contains("use a newer lucid");
                assert_eq!(
                    ran.code,
                    if version { 13 } else { 11 },
                    "{case}: {}",
                    ran.err
                );
                assert!(ran.err.contains(refusal), "{case}: {}", ran.err);
            }
        }
    }
}

#[test]
fn a_verified_proof_shows_which_part_was_fixed_when() {
    let sandbox = Sandbox::new();
    let verify = |recording: &str, proof: &str| {
        let (recording, proof, genesis) = (file(recording), file(proof), file("genesis.json"));
        sandbox.json(&["verify", &recording, &proof, "--genesis", &genesis])
    };
    let closed = verify("closed.lucid", "closed.lucidproof");
    let anchor = &closed["anchor"];
    let fixed = anchor["fixed"].as_array().unwrap();
    let shown: Vec<_> = fixed
        .iter()
        .map(|piece| {
            let number = |key: &str| piece[key].as_u64().unwrap();
            (
                number("first"),
                number("last"),
                piece["by"].as_str().unwrap(),
            )
        })
        .collect();
    assert_eq!(
        shown,
        [
            (0, 1, "checkpoint"),
            (2, 3, "batch"),
            (4, 4, "checkpoint"),
            (5, 8, "batch"),
            (9, 9, "checkpoint"),
            (10, 11, "close")
        ]
    );
    assert_eq!(anchor["closed"]["height"], anchor["height"]);
    assert!(anchor["transaction"].is_string());
    assert_eq!(anchor["not_fixed"], 0);

    let part = verify("part.lucid", "later.lucidproof");
    assert_eq!(part["anchor"]["fixed"][0]["first"], 3);
    assert_eq!(part["anchor"]["transaction"], Value::Null);

    let open = verify("closed.lucid", "open.lucidproof");
    assert_eq!(open["anchor"]["closed"], Value::Null);
    assert_eq!(open["anchor"]["not_fixed"], 2);
}

#[test]
fn a_proof_needs_its_genesis_file_and_a_chain_to_ask() {
    let sandbox = Sandbox::new();
    let (recording, proof) = (file("closed.lucid"), file("closed.lucidproof"));
    assert_eq!(sandbox.run(&["verify", &recording, &proof]).code, 2);
    let missing = sandbox.name("none.json");
    let ran = sandbox.run(&["verify", &recording, &proof, "--genesis", &missing]);
    assert_eq!(ran.code, 3, "{}", ran.err);
    let wrong = sandbox.write("wrong.json", "{}");
    let ran = sandbox.run(&["verify", &recording, &proof, "--genesis", &wrong]);
    assert_eq!(ran.code, 2, "{}", ran.err);

    let out = sandbox.name("x.lucidproof");
    let ran = sandbox.run(&["prove", "no-such-session", "--out", &out]);
    assert_eq!(ran.code, 3, "{}", ran.err);
    let part = file("part.lucid");
    let ran = sandbox.run(&["prove", &part, "--out", &out]);
    assert_eq!(ran.code, 2, "{}", ran.err);
    let ran = sandbox.run(&[
        "prove",
        &recording,
        "--out",
        &out,
        "--rpc",
        "http://127.0.0.1:1",
    ]);
    assert!(
        ran.code != 0 && ran.err.contains("does not answer"),
        "{}",
        ran.err
    );
    assert!(!std::path::Path::new(&out).exists());
}
