//! The stages of the pipeline on their own: what goes in comes out, and what was changed in between is found.

use std::fs;

use crate::support::Sandbox;

fn noise(len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    blake3::Hasher::new().finalize_xof().fill(&mut bytes);
    bytes
}

#[test]
fn a_file_that_is_cut_and_joined_is_the_same_file() {
    let sandbox = Sandbox::new();
    for (nth, content) in [Vec::new(), vec![1], noise(250_000), vec![0; 1 << 20]]
        .into_iter()
        .enumerate()
    {
        let file = sandbox.write(&format!("file{nth}"), &content);
        let (pieces, joined) = (
            sandbox.name(&format!("pieces{nth}")),
            sandbox.name(&format!("joined{nth}")),
        );
        let told = sandbox.json(&["chunk", &file, "--to", &pieces, "--size", "100000"]);
        assert_eq!(told["bytes_in"], content.len());
        assert_eq!(told["files"], content.len().div_ceil(100_000).max(1));
        sandbox.ok(&["chunk", "--join", &pieces, "--to", &joined]);
        assert_eq!(fs::read(&joined).unwrap(), content);
    }
    let ran = sandbox.run(&[
        "chunk",
        &sandbox.name("file1"),
        "--to",
        &sandbox.name("pieces1"),
    ]);
    assert_eq!(
        ran.code, 2,
        "a folder that holds something is not written into: {}",
        ran.err
    );
    fs::write(sandbox.path("pieces2/00000001.zst"), noise(90)).unwrap();
    let ran = sandbox.run(&[
        "chunk",
        "--join",
        &sandbox.name("pieces2"),
        "--to",
        &sandbox.name("never"),
    ]);
    assert!(
        ran.code != 0 && ran.err.contains("00000001.zst"),
        "{}",
        ran.err
    );
    assert!(!sandbox.path("never").exists());
}

#[test]
fn sealed_files_open_with_the_key_and_a_change_among_them_is_found() {
    let sandbox = Sandbox::new();
    sandbox.keys("auditor");
    sandbox.keys("stranger");
    fs::create_dir(sandbox.path("plain")).unwrap();
    for n in 0..4 {
        sandbox.write(&format!("plain/{n}"), noise(1000 + n));
    }
    let told = sandbox.json(&[
        "encrypt",
        "plain",
        "--to",
        "sealed",
        "--recipient",
        "auditor.pub",
    ]);
    assert_eq!(told["files"], 4);
    let open = |from: &str, to: &str, key: &str| {
        sandbox.run(&["encrypt", "--open", from, "--to", to, "--key", key])
    };
    assert_eq!(open("sealed", "opened", "auditor.key").code, 0);
    for n in 0..4 {
        assert_eq!(
            fs::read(sandbox.path(&format!("opened/{n:08}"))).unwrap(),
            noise(1000 + n)
        );
    }
    let ran = open("sealed", "other", "stranger.key");
    assert_eq!(ran.code, 15, "{}", ran.err);

    let chunk = |n: u32| sandbox.path(&format!("sealed/{n:08}.chunk"));
    let bytes = fs::read(chunk(2)).unwrap();
    let change = |bytes: &[u8]| fs::write(chunk(2), bytes).unwrap();
    change(&[&bytes[..bytes.len() - 1], &[!bytes[bytes.len() - 1]]].concat());
    assert_eq!(open("sealed", "flipped", "auditor.key").code, 11);
    change(&bytes[..bytes.len() - 9]);
    assert_eq!(open("sealed", "short", "auditor.key").code, 10);
    change(&fs::read(chunk(1)).unwrap());
    assert_eq!(open("sealed", "repeated", "auditor.key").code, 11);
    fs::remove_file(chunk(2)).unwrap();
    assert_eq!(open("sealed", "dropped", "auditor.key").code, 11);
    for plain in ["flipped", "short", "repeated", "dropped"] {
        assert!(!sandbox.path(&format!("{plain}/00000002")).exists());
    }
}

#[test]
fn a_merkle_proof_holds_for_its_file_and_no_other() {
    let sandbox = Sandbox::new();
    for n in 0..5 {
        sandbox.write(&n.to_string(), format!("file {n}"));
    }
    let all = ["0", "1", "2", "3", "4"];
    let root = sandbox.json(&[&["merkle", "root"], &all[..]].concat())["root"]
        .as_str()
        .unwrap()
        .to_owned();
    for n in all {
        let proof = sandbox.ok(&[&["merkle", "prove", "--position", n], &all[..]].concat());
        let proof = sandbox.write("proof", proof);
        sandbox.ok(&["merkle", "check", n, "--proof", &proof, "--root", &root]);
        assert_eq!(
            sandbox.json(&["merkle", "check", n, "--proof", &proof, "--root", &root])["size"],
            5
        );
        for other in all.iter().filter(|o| **o != n) {
            assert_eq!(
                sandbox
                    .run(&["merkle", "check", other, "--proof", &proof, "--root", &root])
                    .code,
                11
            );
        }
        assert_eq!(
            sandbox
                .run(&[
                    "merkle",
                    "check",
                    n,
                    "--proof",
                    &proof,
                    "--root",
                    &"11".repeat(32)
                ])
                .code,
            11
        );
    }
    assert_eq!(
        sandbox
            .run(&["merkle", "prove", "--position", "5", "0", "1"])
            .code,
        2
    );
    assert_ne!(
        sandbox
            .run(&["merkle", "check", "0", "--proof", "1", "--root", &root])
            .code,
        0
    );
    assert_eq!(sandbox.run(&["merkle", "root", "missing"]).code, 3);
}
