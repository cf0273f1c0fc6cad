//! Validators whose keys are known, what they sign, and any value of every type.

use alloy_primitives::{Address, B256, U256};
use ed25519_dalek::{Signer, SigningKey};
use lucid_chain_types::{
    Block, BlockId, Body, Certificate, Evidence, Genesis, GenesisAccount, GenesisParameter, Header,
    Height, NodeId, Pace, Proposal, Signature, SignedProposal, SignedVote, SignerBitmap, Slot,
    Validator, ValidatorSet, Vote, VoteKind, evidence_hash, last_commit_hash, proposal_sign_bytes,
    receipts_root, transactions_root, vote_sign_bytes,
};
use proptest::collection::vec;
use proptest::prelude::*;

pub(crate) const GENESIS: B256 = B256::repeat_byte(0x9e);

/// Validator `index`'s secret key.
pub(crate) fn key(index: usize) -> SigningKey {
    SigningKey::from_bytes(&[index as u8 + 1; 32])
}

/// Validator `index`, whose place in [`set`] it is.
pub(crate) fn validator(index: usize) -> Validator {
    Validator {
        node: NodeId(Address::with_last_byte(index as u8 + 1)),
        consensus_key: B256::new(key(index).verifying_key().to_bytes()),
        vrf_key: B256::repeat_byte(index as u8),
    }
}

pub(crate) fn set(count: usize) -> ValidatorSet {
    ValidatorSet::new((0..count).map(validator).collect()).unwrap()
}

pub(crate) fn precommit(index: usize, height: u64, round: u32, block: BlockId) -> Vote {
    Vote {
        kind: VoteKind::Precommit,
        height: Height(height),
        round,
        block: Some(block),
        voter: validator(index).node,
    }
}

pub(crate) fn sign(index: usize, genesis: B256, vote: &Vote) -> Signature {
    Signature(key(index).sign(&vote_sign_bytes(genesis, vote)).to_bytes())
}

pub(crate) fn signed_vote(index: usize, vote: Vote) -> SignedVote {
    SignedVote {
        vote,
        signature: sign(index, GENESIS, &vote),
    }
}

pub(crate) fn signed_proposal(index: usize, proposal: Proposal) -> SignedProposal {
    let bytes = proposal_sign_bytes(GENESIS, &proposal);
    SignedProposal {
        proposal,
        signature: Signature(key(index).sign(&bytes).to_bytes()),
    }
}

/// A certificate of `block` by these of `total` validators.
pub(crate) fn certificate(
    total: usize,
    signers: &[usize],
    height: u64,
    round: u32,
    block: BlockId,
) -> Certificate {
    Certificate {
        height: Height(height),
        round,
        block,
        signers: SignerBitmap::new(total, signers.iter().copied()),
        signatures: signers
            .iter()
            .map(|&index| sign(index, GENESIS, &precommit(index, height, round, block)))
            .collect(),
    }
}

pub(crate) fn double_vote(index: usize) -> Evidence {
    let vote = |byte| precommit(index, 6, 0, BlockId(B256::repeat_byte(byte)));
    Evidence::votes(signed_vote(index, vote(1)), signed_vote(index, vote(2)))
}

pub(crate) fn double_proposal(index: usize) -> Evidence {
    let proposal = |byte| Proposal {
        height: Height(6),
        round: 1,
        block: BlockId(B256::repeat_byte(byte)),
        valid_round: None,
        proposer: validator(index).node,
    };
    Evidence::proposals(
        signed_proposal(index, proposal(1)),
        signed_proposal(index, proposal(2)),
    )
}

/// A block at height 7 whose header fits its body.
pub(crate) fn block() -> Block {
    let parent = BlockId(B256::repeat_byte(0x50));
    let body = Body {
        transactions: vec![vec![0x02, 1, 2, 3], vec![0x01; 40], vec![0x02; 300]],
        last_commit: Some(certificate(4, &[0, 1, 3], 6, 2, parent)),
        evidence: vec![double_vote(2), double_proposal(2)],
    };
    let set = set(4);
    let header = Header {
        version: Header::VERSION,
        chain_id: 7_700,
        height: Height(7),
        time_ms: 1_800_000_130_000,
        slot: Slot(1),
        round: 2,
        seal: false,
        proposer: validator(1).node,
        parent,
        last_commit_hash: last_commit_hash(body.last_commit.as_ref()),
        transactions_root: transactions_root(&body.transactions),
        evidence_hash: evidence_hash(&body.evidence),
        state_root: B256::repeat_byte(0x51),
        receipts_root: receipts_root(&[vec![1], vec![2], vec![3]]),
        gas_limit: 60_000_000,
        gas_used: 210_000,
        base_fee: 1_000_000,
        validators_hash: set.hash(),
        next_validators_hash: set.hash(),
        vrf_proof: [0x52; 80],
    };
    Block { header, body }
}

pub(crate) fn genesis() -> Genesis {
    Genesis {
        version: Genesis::VERSION,
        chain_id: 7_700,
        time_ms: 1_800_000_000_000,
        pace: Pace::DIRECT,
        validators: (0..4).map(validator).collect(),
        accounts: vec![
            GenesisAccount {
                address: Address::with_last_byte(1),
                balance: U256::from(5),
            },
            GenesisAccount {
                address: Address::with_last_byte(9),
                balance: U256::MAX,
            },
        ],
        reward_reserve: U256::from(1_000_000),
        payment_signers: [11, 12, 13].map(Address::with_last_byte),
        parameters: vec![GenesisParameter {
            key: "maxChunkSize".into(),
            value: U256::from(1 << 20),
        }],
        contracts_hash: B256::repeat_byte(0x61),
        state_root: B256::repeat_byte(0x62),
    }
}

pub(crate) fn any_b256() -> impl Strategy<Value = B256> {
    any::<[u8; 32]>().prop_map(B256::new)
}

pub(crate) fn any_block_id() -> impl Strategy<Value = BlockId> {
    any_b256().prop_map(BlockId)
}

pub(crate) fn any_node() -> impl Strategy<Value = NodeId> {
    any::<[u8; 20]>().prop_map(|bytes| NodeId(Address::new(bytes)))
}

fn any_signature() -> impl Strategy<Value = Signature> {
    (any::<[u8; 32]>(), any::<[u8; 32]>()).prop_map(|(r, s)| {
        let mut bytes = [0; 64];
        bytes[..32].copy_from_slice(&r);
        bytes[32..].copy_from_slice(&s);
        Signature(bytes)
    })
}

pub(crate) fn any_vote() -> impl Strategy<Value = Vote> {
    let kind = prop_oneof![Just(VoteKind::Prevote), Just(VoteKind::Precommit)];
    let block = proptest::option::of(any_block_id());
    (kind, any::<u64>(), any::<u32>(), block, any_node()).prop_map(
        |(kind, height, round, block, voter)| Vote {
            kind,
            height: Height(height),
            round,
            block,
            voter,
        },
    )
}

pub(crate) fn any_proposal() -> impl Strategy<Value = Proposal> {
    let valid = any::<Option<u32>>();
    (
        any::<u64>(),
        any::<u32>(),
        any_block_id(),
        valid,
        any_node(),
    )
        .prop_map(|(height, round, block, valid_round, proposer)| Proposal {
            height: Height(height),
            round,
            block,
            valid_round,
            proposer,
        })
}

pub(crate) fn any_evidence() -> impl Strategy<Value = Evidence> {
    let votes = [(); 2].map(|()| {
        (any_vote(), any_signature()).prop_map(|(vote, signature)| SignedVote { vote, signature })
    });
    let proposals = [(); 2].map(|()| {
        (any_proposal(), any_signature()).prop_map(|(proposal, signature)| SignedProposal {
            proposal,
            signature,
        })
    });
    prop_oneof![
        votes.prop_map(|[a, b]| Evidence::votes(a, b)),
        proposals.prop_map(|[a, b]| Evidence::proposals(a, b)),
    ]
}

pub(crate) fn any_certificate() -> impl Strategy<Value = Certificate> {
    let signers = (0usize..40).prop_flat_map(|total| (Just(total), vec(0..total.max(1), 0..8)));
    let signatures = vec(any_signature(), 0..8);
    (
        any::<u64>(),
        any::<u32>(),
        any_block_id(),
        signers,
        signatures,
    )
        .prop_map(
            |(height, round, block, (total, signers), signatures)| Certificate {
                height: Height(height),
                round,
                block,
                signers: SignerBitmap::new(total, signers),
                signatures,
            },
        )
}

pub(crate) fn any_header() -> impl Strategy<Value = Header> {
    let place = (any::<u64>(), any::<u64>(), any::<u64>(), any::<u64>());
    let made = (any::<u32>(), any::<bool>(), any_node(), any::<[u8; 16]>());
    let hashes = vec(any_b256(), 8);
    let gas = (any::<u64>(), any::<u64>(), any::<u64>());
    (place, made, hashes, gas).prop_map(|(place, made, hashes, gas)| Header {
        version: Header::VERSION,
        chain_id: place.0,
        height: Height(place.1),
        time_ms: place.2,
        slot: Slot(place.3),
        round: made.0,
        seal: made.1,
        proposer: made.2,
        parent: BlockId(hashes[0]),
        last_commit_hash: hashes[1],
        transactions_root: hashes[2],
        evidence_hash: hashes[3],
        state_root: hashes[4],
        receipts_root: hashes[5],
        gas_limit: gas.0,
        gas_used: gas.1,
        base_fee: gas.2,
        validators_hash: hashes[6],
        next_validators_hash: hashes[7],
        vrf_proof: std::array::from_fn(|i| made.3[i % 16]),
    })
}

/// Any block whose header fits its body.
pub(crate) fn any_block() -> impl Strategy<Value = Block> {
    let transactions = vec(vec(any::<u8>(), 0..60), 0..6);
    let commit = proptest::option::of(any_certificate());
    let evidence = vec(any_evidence(), 0..3);
    (any_header(), transactions, commit, evidence).prop_map(
        |(header, transactions, last_commit, evidence)| {
            let header = Header {
                last_commit_hash: last_commit_hash(last_commit.as_ref()),
                transactions_root: transactions_root(&transactions),
                evidence_hash: evidence_hash(&evidence),
                ..header
            };
            let body = Body {
                transactions,
                last_commit,
                evidence,
            };
            Block { header, body }
        },
    )
}
