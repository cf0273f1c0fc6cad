//! Golden vectors: these bytes never change without a new version number.
//!
//! `LUCID_BLESS=1 cargo test -p lucid-chain-types vectors` writes them anew: only for a new version, or to add one.

use std::{collections::BTreeMap, fs, path::PathBuf};

use alloy_primitives::B256;
use data_encoding::HEXLOWER;
use lucid_chain_types::{
    Block, BlockId, Certificate, Domain, Genesis, Height, Proposal, Slot, Vote, VoteKind,
    evidence_hash, last_commit_hash, merkle_path, merkle_root, proposal_sign_bytes, receipts_root,
    transactions_root, vote_sign_bytes, vrf_input,
};

use crate::support::{
    GENESIS, block, certificate, double_proposal, double_vote, genesis, key, precommit, set, sign,
    signed_proposal, validator,
};

fn file(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("../../tests/vectors/chain")
        .join(name)
}

fn blessing() -> bool {
    std::env::var_os("LUCID_BLESS").is_some()
}

/// Vectors made now, and compared with the stored ones at the end.
struct Vectors(BTreeMap<String, String>);

impl Vectors {
    fn is(&mut self, name: &str, bytes: &[u8]) {
        self.0.insert(name.into(), HEXLOWER.encode(bytes));
    }

    fn check(self, name: &str) {
        let path = file(name);
        if blessing() {
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, serde_json::to_string_pretty(&self.0).unwrap() + "\n").unwrap();
            return;
        }
        let text =
            fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let stored: BTreeMap<String, String> = serde_json::from_str(&text).unwrap();
        for (name, hex) in &self.0 {
            assert_eq!(stored.get(name), Some(hex), "{name}");
        }
        assert_eq!(stored.len(), self.0.len(), "vectors that nothing checks");
    }
}

#[test]
fn every_vector_is_what_this_code_makes() {
    let mut v = Vectors(BTreeMap::new());
    let block = block();
    for index in 0..4 {
        v.is(
            &format!("input: Ed25519 secret key of validator {index}"),
            &key(index).to_bytes(),
        );
        v.is(
            &format!("input: node id of validator {index}"),
            validator(index).node.0.as_slice(),
        );
    }
    v.is(
        "input: genesis hash in all signatures here",
        GENESIS.as_slice(),
    );

    // Signatures.
    let vote = precommit(1, 7, 2, block.id());
    v.is("vote: precommit: borsh", &borsh::to_vec(&vote).unwrap());
    v.is(
        "vote: precommit: sign-bytes",
        &vote_sign_bytes(GENESIS, &vote),
    );
    v.is("vote: precommit: signature", &sign(1, GENESIS, &vote).0);
    let nil = Vote {
        kind: VoteKind::Prevote,
        block: None,
        ..vote
    };
    v.is(
        "vote: prevote for none: sign-bytes",
        &vote_sign_bytes(GENESIS, &nil),
    );
    for valid_round in [None, Some(1)] {
        let proposal = Proposal {
            height: Height(7),
            round: 2,
            block: block.id(),
            valid_round,
            proposer: validator(1).node,
        };
        let name = format!("proposal, valid round {valid_round:?}");
        v.is(
            &format!("{name}: sign-bytes"),
            &proposal_sign_bytes(GENESIS, &proposal),
        );
        v.is(
            &format!("{name}: signature"),
            &signed_proposal(1, proposal).signature.0,
        );
    }
    v.is(
        "vrf input of slot 5 after block 11..11",
        &vrf_input(GENESIS, Slot(5), BlockId(B256::repeat_byte(0x11))),
    );

    // What blocks are made of.
    v.is("header", &block.header.encode());
    v.is("header: id", block.id().0.as_slice());
    v.is("block", &block.encode());
    v.is(
        "block: transactions root",
        transactions_root(&block.body.transactions).as_slice(),
    );
    v.is(
        "block: last commit hash",
        last_commit_hash(block.body.last_commit.as_ref()).as_slice(),
    );
    v.is(
        "block: last commit hash of none",
        last_commit_hash(None).as_slice(),
    );
    v.is(
        "block: evidence hash",
        evidence_hash(&block.body.evidence).as_slice(),
    );
    v.is(
        "block: evidence hash of none",
        evidence_hash(&[]).as_slice(),
    );
    v.is(
        "receipts root of 01, 02, 03",
        receipts_root(&[vec![1], vec![2], vec![3]]).as_slice(),
    );
    v.is(
        "evidence: two votes",
        &borsh::to_vec(&double_vote(2)).unwrap(),
    );
    v.is(
        "evidence: two proposals",
        &borsh::to_vec(&double_proposal(2)).unwrap(),
    );
    for total in [1, 4, 9] {
        let signers: Vec<usize> = (0..total).filter(|i| total == 1 || i % 4 != 2).collect();
        let made = certificate(total, &signers, 7, 2, block.id());
        made.verify(GENESIS, &set(total)).unwrap();
        v.is(
            &format!("certificate by {} of {total}", signers.len()),
            &borsh::to_vec(&made).unwrap(),
        );
        v.is(
            &format!("validator set of {total}"),
            &borsh::to_vec(&set(total)).unwrap(),
        );
        v.is(
            &format!("validator set of {total}: hash"),
            set(total).hash().as_slice(),
        );
    }

    // The tree, over leaves that are their position in 32 bytes, big-endian.
    let leaves: Vec<B256> = (0..13).map(B256::with_last_byte).collect();
    for count in 0..=13 {
        v.is(
            &format!("tree: root of {count:02} transactions"),
            merkle_root(Domain::TransactionLeaf, &leaves[..count]).as_slice(),
        );
    }
    let path = merkle_path(Domain::TransactionLeaf, &leaves, 9).unwrap();
    v.is(
        "tree: path of transaction 9 of 13",
        path.concat().as_slice(),
    );

    v.is("genesis: borsh", &borsh::to_vec(&genesis()).unwrap());
    v.is("genesis: hash", genesis().hash().as_slice());
    v.check("types.json");

    let json = genesis().to_json().unwrap() + "\n";
    if blessing() {
        fs::write(file("genesis.json"), json).unwrap();
    } else {
        assert_eq!(fs::read_to_string(file("genesis.json")).unwrap(), json);
    }
}

/// Without making anything: what is stored is read and verified.
#[test]
fn every_stored_vector_is_read_and_verified() {
    if blessing() {
        return;
    }
    let text = fs::read_to_string(file("types.json")).unwrap();
    let stored: BTreeMap<String, String> = serde_json::from_str(&text).unwrap();
    let bytes = |name: &str| HEXLOWER.decode(stored[name].as_bytes()).unwrap();
    let block = Block::decode(&bytes("block")).unwrap();
    assert_eq!(block.id().0.as_slice(), bytes("header: id"));
    let certificate = Certificate::decode(&bytes("certificate by 3 of 4")).unwrap();
    assert_eq!(certificate.block, block.id());
    certificate
        .verify(
            B256::from_slice(&bytes("input: genesis hash in all signatures here")),
            &borsh::from_slice(&bytes("validator set of 4")).unwrap(),
        )
        .unwrap();
    let genesis = Genesis::parse(&fs::read(file("genesis.json")).unwrap()).unwrap();
    assert_eq!(genesis.hash().as_slice(), bytes("genesis: hash"));
}
