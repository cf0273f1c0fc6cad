//! Claims of work.

use alloy_primitives::{Address, address};
use alloy_sol_types::{SolStruct, eip712_domain};
use lucid_chain_types::Slot;
use lucid_poot::{
    EIP712_NAME, EIP712_VERSION, MAX_PROOF_CREDIT, MAX_TASK_EVIDENCE, TaskError, TaskKind,
    TaskProof, WorkVerifier, credit,
};
use proptest::prelude::*;

use crate::node;

mod sol {
    #![allow(missing_docs, reason = "generated")]
    alloy_sol_types::sol! {
        struct TaskProof { address node; uint64 slot; uint8 kind; uint64 value; bytes evidence; }
    }
}

const WORK_CREDITS: Address = address!("00000000000000000000000000000000004c0007");

fn proof(kind: TaskKind, slot: u64, value: u64) -> TaskProof {
    TaskProof {
        node: node(1),
        slot: Slot(slot),
        kind,
        value,
        evidence: vec![1, 2, 3],
        signature: vec![],
    }
}

/// Says that everything is proven, up to `.0`.
struct UpTo(u64);

impl WorkVerifier for UpTo {
    fn verify(&self, _: &TaskProof) -> u64 {
        self.0
    }
}

proptest! {
    /// Against another implementation of EIP-712.
    #[test]
    fn the_digest_is_that_of_eip_712(
        chain_id in any::<u64>(), contract in any::<[u8; 20]>(), who in any::<[u8; 20]>(), slot in any::<u64>(),
        kind in 0usize..4, value in any::<u64>(), evidence in proptest::collection::vec(any::<u8>(), 0..99),
    ) {
        let kind = [TaskKind::Relay, TaskKind::Storage, TaskKind::Validation, TaskKind::Uptime][kind];
        let ours = TaskProof { node: Address::new(who).into(), slot: Slot(slot), kind, value, evidence, signature: vec![9] };
        let theirs = sol::TaskProof {
            node: ours.node.0,
            slot,
            kind: kind as u8,
            value,
            evidence: ours.evidence.clone().into(),
        };
        let domain = eip712_domain! {
            name: EIP712_NAME,
            version: EIP712_VERSION,
            chain_id: chain_id,
            verifying_contract: Address::new(contract),
        };
        prop_assert_eq!(ours.digest(chain_id, Address::new(contract)), theirs.eip712_signing_hash(&domain));
    }
}

#[test]
fn a_digest_is_of_one_chain_and_contract() {
    let proof = proof(TaskKind::Uptime, 5, 1);
    let digest = proof.digest(1, WORK_CREDITS);
    assert_ne!(proof.digest(2, WORK_CREDITS), digest);
    assert_ne!(proof.digest(1, Address::ZERO), digest);
}

#[test]
fn beacons_count_one_in_the_last_two_slots() {
    let beacon = |slot, follows| credit(&proof(TaskKind::Uptime, slot, 77), Slot(9), follows, None);
    assert_eq!(
        (beacon(9, true), beacon(8, true), beacon(9, false)),
        (Ok(1), Ok(1), Ok(1))
    );
    for (slot, follows, oldest) in [(7, true, 8), (10, true, 8), (8, false, 9)] {
        let refused = TaskError::SlotNotOpen {
            slot: Slot(slot),
            open: Slot(9),
            oldest: Slot(oldest),
        };
        assert_eq!(beacon(slot, follows), Err(refused));
    }
    assert_eq!(
        beacon(7, true).unwrap_err().to_string(),
        "the proof is for slot 7; slots 8 to 9 can be claimed"
    );
    assert_eq!(
        credit(&proof(TaskKind::Uptime, 0, 1), Slot(0), true, None),
        Ok(1)
    );
}

#[test]
fn relay_and_storage_bring_what_their_verifier_finds() {
    for kind in [TaskKind::Relay, TaskKind::Storage] {
        let brings =
            |value, found| credit(&proof(kind, 9, value), Slot(9), true, Some(&UpTo(found)));
        assert_eq!((brings(50, 40), brings(40, 50)), (Ok(40), Ok(40)));
        assert_eq!(brings(u64::MAX, u64::MAX), Ok(MAX_PROOF_CREDIT));
        let nothing = Err(TaskError::NotProven {
            node: node(1),
            slot: Slot(9),
        });
        assert_eq!((brings(50, 0), brings(0, 50)), (nothing.clone(), nothing));
        assert_eq!(
            credit(&proof(kind, 9, 1), Slot(9), true, None),
            Err(TaskError::NoVerifier(kind))
        );
    }
    let claimed = proof(TaskKind::Validation, 9, 1);
    let refused = credit(&claimed, Slot(9), true, Some(&UpTo(1))).unwrap_err();
    assert_eq!(
        refused.to_string(),
        "proofs of Validation are not accepted: nothing verifies them"
    );
    let large = TaskProof {
        evidence: vec![0; MAX_TASK_EVIDENCE + 1],
        ..proof(TaskKind::Relay, 9, 1)
    };
    assert_eq!(
        credit(&large, Slot(9), true, Some(&UpTo(1))),
        Err(TaskError::EvidenceTooLarge(MAX_TASK_EVIDENCE + 1))
    );
}
