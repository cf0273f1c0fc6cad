//! Golden vectors: every node has to compute the same schedule, so a change here is a change of the chain's rules.
//!
//! `LUCID_BLESS=1 cargo test -p lucid-poot vectors` writes them anew.

use std::{collections::BTreeMap, fs, path::PathBuf};

use alloy_primitives::{B256, address};
use data_encoding::HEXLOWER;
use lucid_chain_types::{BlockId, Slot, vrf_input};
use lucid_poot::vrf::{VrfSecret, verify};
use lucid_poot::{LeaderRecord, Standing, TaskKind, TaskProof, Work, ranking, score};

use crate::{node, nodes};

fn standing(index: usize) -> Standing {
    let units = index as u64;
    Standing {
        node: node(index),
        // The last four are equal.
        work: Work {
            relay: units.min(4) * 1_000,
            storage: units.min(4) * 300,
            validation: 5_000,
            uptime: 5_000 - units.min(4) * 7,
        },
        timeouts: u64::from(index == 3),
        last_led: (index % 3 == 1).then_some(Slot(995 - units)),
        joined: Slot(0),
    }
}

#[test]
fn every_vector_is_what_this_code_makes() {
    let mut made = BTreeMap::new();
    let mut is = |name: String, bytes: &[u8]| made.insert(name, HEXLOWER.encode(bytes));

    let secret = VrfSecret::from_seed(&[7; 32]);
    let input = vrf_input(
        B256::repeat_byte(0x9e),
        Slot(5),
        BlockId(B256::repeat_byte(0x11)),
    );
    let proof = secret.prove(&input);
    let random = verify(secret.public(), &input, &proof).unwrap();
    is("vrf: secret key".into(), &[7; 32]);
    is("vrf: public key".into(), secret.public().as_slice());
    is(
        "vrf: input of slot 5 after block 11..11, genesis 9e..9e".into(),
        &input,
    );
    is("vrf: proof".into(), &proof);
    is("vrf: randomness".into(), random.as_slice());

    let standings: Vec<Standing> = (0..8).map(standing).collect();
    for (index, standing) in standings.iter().enumerate() {
        is(
            format!("standing {index}: borsh"),
            &borsh::to_vec(standing).unwrap(),
        );
        is(
            format!("standing {index}: score"),
            &score(standing).to_be_bytes(),
        );
    }
    for slot in [1_000, 1_008] {
        let order = ranking(&standings, Slot(slot), random).nodes();
        is(
            format!("order for slot {slot}"),
            &borsh::to_vec(&order).unwrap(),
        );
    }
    let record = LeaderRecord::new(Slot(7), &nodes(4), node(2), Slot(8)).unwrap();
    is(
        "leader record of slot 7".into(),
        &borsh::to_vec(&record).unwrap(),
    );

    let proof = TaskProof {
        node: node(1),
        slot: Slot(77),
        kind: TaskKind::Uptime,
        value: 1,
        evidence: vec![],
        signature: vec![],
    };
    let digest = proof.digest(7_700, address!("00000000000000000000000000000000004c0007"));
    is(
        "beacon of node 2 for slot 77 on chain 7700: digest".into(),
        digest.as_slice(),
    );

    let path =
        PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../tests/vectors/chain/poot.json");
    if std::env::var_os("LUCID_BLESS").is_some() {
        fs::write(path, serde_json::to_string_pretty(&made).unwrap() + "\n").unwrap();
        return;
    }
    let stored: BTreeMap<String, String> =
        serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap();
    for (name, hex) in &made {
        assert_eq!(stored.get(name), Some(hex), "{name}");
    }
    assert_eq!(stored.len(), made.len(), "vectors that nothing checks");
}
