//! A chain whose keys are all known.

use alloy_primitives::{Address, B256, U256};
use ed25519_dalek::{Signer, SigningKey};
use lucid_chain_types::{
    BlockId, Certificate, Genesis, Header, Height, NodeId, Pace, Signature, SignerBitmap, Slot,
    Validator, ValidatorSet, Vote, VoteKind, receipts_root, transactions_root, vote_sign_bytes,
};
use lucid_light::{FinalityProof, SetChange, TrustedGenesis, VerifiedHeader, verify};

pub(crate) const CHAIN_ID: u64 = 7_700;

/// Validator `index`'s secret key.
pub(crate) fn key(index: usize) -> SigningKey {
    SigningKey::from_bytes(&[index as u8 + 1; 32])
}

/// The set of these validators.
pub(crate) fn set(indexes: &[usize]) -> ValidatorSet {
    let validators = indexes.iter().map(|&index| Validator {
        node: node(index),
        consensus_key: B256::new(key(index).verifying_key().to_bytes()),
        vrf_key: B256::repeat_byte(index as u8),
    });
    ValidatorSet::new(validators.collect()).unwrap()
}

fn node(index: usize) -> NodeId {
    NodeId(Address::with_last_byte(index as u8 + 1))
}

pub(crate) fn genesis() -> Genesis {
    Genesis {
        version: Genesis::VERSION,
        chain_id: CHAIN_ID,
        time_ms: 1_800_000_000_000,
        pace: Pace::DIRECT,
        validators: set(&[0, 1, 2, 3]).list().to_vec(),
        accounts: vec![],
        reward_reserve: U256::from(1_000),
        payment_signers: [11, 12, 13].map(Address::with_last_byte),
        parameters: vec![],
        contracts_hash: B256::repeat_byte(0x61),
        state_root: B256::repeat_byte(0x62),
    }
}

pub(crate) fn trusted() -> TrustedGenesis {
    TrustedGenesis::new(&genesis()).unwrap()
}

pub(crate) fn transactions() -> Vec<Vec<u8>> {
    (0..11u8).map(|index| vec![2, index, index]).collect()
}

pub(crate) fn receipts() -> Vec<Vec<u8>> {
    (0..11u8)
        .map(|index| vec![1; usize::from(index) * 10])
        .collect()
}

pub(crate) fn header(height: u64, validators: &ValidatorSet, next: &ValidatorSet) -> Header {
    Header {
        version: Header::VERSION,
        chain_id: CHAIN_ID,
        height: Height(height),
        time_ms: 1_800_000_000_000 + height * 1_000,
        slot: Slot(height / 100),
        round: 0,
        seal: false,
        proposer: validators.list()[0].node,
        parent: BlockId(B256::repeat_byte(0x50)),
        last_commit_hash: B256::repeat_byte(0x51),
        transactions_root: transactions_root(&transactions()),
        evidence_hash: B256::repeat_byte(0x52),
        state_root: B256::repeat_byte(0x53),
        receipts_root: receipts_root(&receipts()),
        gas_limit: 60_000_000,
        gas_used: 210_000,
        base_fee: 1_000_000,
        validators_hash: validators.hash(),
        next_validators_hash: next.hash(),
        vrf_proof: [0x54; 80],
    }
}

/// A certificate of `header` by these validators, of the set that the header names or claims to be of.
pub(crate) fn certify(header: &Header, set: &ValidatorSet, signers: &[usize]) -> Certificate {
    let mut places: Vec<(usize, usize)> = signers
        .iter()
        .map(|&signer| (set.index_of(node(signer)).unwrap(), signer))
        .collect();
    places.sort_unstable();
    let sign = |signer: usize| {
        let vote = Vote {
            kind: VoteKind::Precommit,
            height: header.height,
            round: 1,
            block: Some(header.id()),
            voter: node(signer),
        };
        let bytes = vote_sign_bytes(genesis().hash(), &vote);
        Signature(key(signer).sign(&bytes).to_bytes())
    };
    Certificate {
        height: header.height,
        round: 1,
        block: header.id(),
        signers: SignerBitmap::new(set.len(), places.iter().map(|(place, _)| *place)),
        signatures: places.iter().map(|(_, signer)| sign(*signer)).collect(),
    }
}

pub(crate) fn change(height: u64, from: &[usize], to: &[usize]) -> SetChange {
    let (from_set, to_set) = (set(from), set(to));
    let header = header(height, &from_set, &to_set);
    SetChange {
        certificate: certify(&header, &from_set, &from[..from_set.quorum()]),
        header,
        next_validators: to_set,
    }
}

/// Height 90, after changes at 10 and 40: {0,1,2,3} to {1,2,3,4} to {4,5,6,7}.
pub(crate) fn proof() -> FinalityProof {
    let changes = vec![
        change(10, &[0, 1, 2, 3], &[1, 2, 3, 4]),
        change(40, &[1, 2, 3, 4], &[4, 5, 6, 7]),
    ];
    proof_of(
        changes,
        header(90, &set(&[4, 5, 6, 7]), &set(&[4, 5, 6, 7])),
        &[4, 6, 7],
    )
}

pub(crate) fn proof_of(
    changes: Vec<SetChange>,
    header: Header,
    signers: &[usize],
) -> FinalityProof {
    let last = changes
        .last()
        .map_or(set(&[0, 1, 2, 3]), |change| change.next_validators.clone());
    FinalityProof {
        genesis_hash: genesis().hash(),
        changes,
        certificate: certify(&header, &last, signers),
        header,
    }
}

/// A verified header with this change to it.
pub(crate) fn verified(change: impl FnOnce(&mut Header)) -> VerifiedHeader {
    let mut header = header(5, &set(&[0, 1, 2, 3]), &set(&[0, 1, 2, 3]));
    change(&mut header);
    verify(&trusted(), &proof_of(vec![], header, &[0, 1, 2])).unwrap()
}
