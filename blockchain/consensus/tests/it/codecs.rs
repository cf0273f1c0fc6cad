//! Bytes between engines.

use alloy_primitives::{Address as EvmAddress, B256};
use bytes::Bytes;
use lucid_chain_types::{
    BlockId, Height as ChainHeight, MAX_VALIDATORS, NodeId, Proposal as ChainProposal, Signature,
    SignedProposal, Vote as ChainVote, VoteKind,
};
use lucid_consensus::codec::{Borsh, CodecError, MAX_LIVENESS_BYTES};
use lucid_consensus::context::{
    Address, Height, Lucid, Part, PartInit, Proposal, Value, Vote, optional_round,
};
use lucid_consensus::parts::PART_BYTES;
use lucid_consensus::signing::ABSTAIN;
use malachite_app::app::streaming::{StreamContent, StreamId, StreamMessage};
use malachite_app::app::types::{Keypair, PeerId};
use malachite_codec::{Codec, HasEncodedLen};
use malachite_core::{LivenessMsg, ProposedValue, SignedConsensusMsg};
use malachite_sync::{RawDecidedValue, Request, Response, Status, ValueRequest, ValueResponse};
use malachite_types::{
    ExtendedCommitCertificate, ExtendedCommitSignature, NilOrVal, PolkaCertificate, PolkaSignature,
    Round, RoundCertificate, RoundCertificateType, RoundSignature, SignedMessage, ValidatorProof,
    Validity, VoteType,
};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

prop_compose! {
    fn hash()(bytes in any::<[u8; 32]>()) -> B256 { B256::new(bytes) }
}
prop_compose! {
    fn block()(hash in hash()) -> BlockId { BlockId(hash) }
}
prop_compose! {
    fn node()(bytes in any::<[u8; 20]>()) -> NodeId { NodeId(EvmAddress::from(bytes)) }
}
prop_compose! {
    fn signature()(a in any::<[u8; 32]>(), b in any::<[u8; 31]>()) -> Signature {
        let mut bytes = [0; 64];
        bytes[..32].copy_from_slice(&a);
        bytes[32..63].copy_from_slice(&b);
        Signature(bytes)
    }
}
prop_compose! {
    fn vote()(precommit: bool, height: u64, round: u32, block in option::of(block()), voter in node(), signature in signature())
        -> SignedMessage<Lucid, Vote>
    {
        let kind = if precommit { VoteKind::Precommit } else { VoteKind::Prevote };
        let vote = ChainVote { kind, height: ChainHeight(height), round, block, voter };
        SignedMessage::new(Vote::from_chain(&vote), signature)
    }
}
prop_compose! {
    fn chain_proposal()(height: u64, round: u32, block in block(), valid_round: Option<u32>, proposer in node(), signature in signature())
        -> SignedProposal
    {
        SignedProposal { proposal: ChainProposal { height: ChainHeight(height), round, block, valid_round, proposer }, signature }
    }
}
prop_compose! {
    fn polka()(height: u64, round: u32, value_id in block(), signatures in vec((node(), signature()), 0..=MAX_VALIDATORS))
        -> PolkaCertificate<Lucid>
    {
        let polka_signatures = signatures.into_iter().map(|(node, signature)| PolkaSignature::new(Address(node), signature)).collect();
        PolkaCertificate { height: Height(ChainHeight(height)), round: Round::new(round), value_id, polka_signatures }
    }
}
prop_compose! {
    fn rounds()(
        height: u64, round: u32, skip: bool,
        signatures in vec((any::<bool>(), option::of(block()), node(), signature()), 0..=MAX_VALIDATORS),
    ) -> RoundCertificate<Lucid> {
        let signatures = signatures.into_iter().map(|(prevote, block, node, signature)| {
            let kind = if prevote { VoteType::Prevote } else { VoteType::Precommit };
            RoundSignature::new(kind, block.map_or(NilOrVal::Nil, NilOrVal::Val), Address(node), signature)
        });
        RoundCertificate {
            height: Height(ChainHeight(height)),
            round: Round::new(round),
            cert_type: if skip { RoundCertificateType::Skip } else { RoundCertificateType::Precommit },
            round_signatures: signatures.collect(),
        }
    }
}
prop_compose! {
    fn decided()(
        height: u64, round: u32, value_id in block(), bytes in vec(any::<u8>(), 0..300),
        signatures in vec((node(), signature()), 0..=MAX_VALIDATORS),
    ) -> RawDecidedValue<Lucid> {
        let commit_signatures =
            signatures.into_iter().map(|(node, signature)| ExtendedCommitSignature::new(Address(node), signature, None)).collect();
        let certificate =
            ExtendedCommitCertificate { height: Height(ChainHeight(height)), round: Round::new(round), value_id, commit_signatures };
        RawDecidedValue::new(bytes.into(), certificate)
    }
}

fn part() -> impl Strategy<Value = Part> {
    prop_oneof![
        (chain_proposal(), any::<u32>())
            .prop_map(|(signed, size)| Part::Init(PartInit { signed, size })),
        (vec(any::<u8>(), 0..1_000), any::<bool>()).prop_map(|(bytes, last)| Part::Data {
            bytes: bytes.into(),
            last
        }),
    ]
}

fn peer(seed: u8) -> PeerId {
    let key = Keypair::ed25519_from_bytes([seed; 32]).unwrap();
    PeerId::from_bytes(&key.public().to_peer_id().to_bytes()).unwrap()
}

/// Encodes, decodes, and checks that nothing may follow and nothing be missing.
fn there_and_back<T>(value: &T) -> Result<T, TestCaseError>
where
    Borsh: Codec<T, Error = CodecError>,
{
    let bytes = Borsh.encode(value).unwrap();
    let longer = [&bytes[..], &[0]].concat();
    let decode = |bytes: Bytes| Codec::<T>::decode(&Borsh, bytes);
    prop_assert!(decode(longer.into()).is_err());
    prop_assert!(decode(bytes.slice(..bytes.len() - 1)).is_err());
    let mut other = bytes.to_vec();
    other[0] = 2;
    prop_assert!(matches!(decode(other.into()), Err(CodecError::Version(2))));
    Ok(decode(bytes).unwrap())
}

proptest! {
    #[test]
    fn every_message_comes_back(
        vote in vote(), proposal in chain_proposal(), polka in polka(), rounds in rounds(), part in part(),
        sequence: u64, stream: [u8; 16], tip: u64, lowest: u64, seed: u8, valid: bool, decided in vec(decided(), 0..4),
    ) {
        let signed = SignedMessage::new(Proposal::from_chain(&proposal.proposal), proposal.signature);
        for message in [SignedConsensusMsg::Vote(vote.clone()), SignedConsensusMsg::Proposal(signed)] {
            prop_assert_eq!(&there_and_back(&message)?, &message);
        }
        let polka_message = LivenessMsg::PolkaCertificate(polka.clone());
        for message in [LivenessMsg::Vote(vote), polka_message, LivenessMsg::SkipRoundCertificate(rounds)] {
            prop_assert_eq!(&there_and_back(&message)?, &message);
        }
        prop_assert_eq!(&there_and_back(&polka)?, &polka);
        prop_assert_eq!(&there_and_back(&part)?, &part);
        let message = StreamMessage::new(StreamId::new(Bytes::copy_from_slice(&stream)), sequence, StreamContent::Data(part));
        prop_assert_eq!(&there_and_back(&message)?, &message);
        let height = Height(ChainHeight(tip));
        let status = Status::<Lucid> { peer_id: peer(seed), tip_height: height, history_min_height: Height(ChainHeight(lowest)) };
        prop_assert_eq!(&there_and_back(&status)?, &status);
        let request = Request::ValueRequest(ValueRequest::<Lucid>::new(height..=Height(ChainHeight(lowest))));
        prop_assert_eq!(&there_and_back(&request)?, &request);
        let value = ProposedValue::<Lucid> {
            height,
            round: Round::new(proposal.proposal.round),
            valid_round: optional_round(proposal.proposal.valid_round),
            proposer: Address(proposal.proposal.proposer),
            value: Value(proposal.proposal.block),
            validity: Validity::from_bool(valid),
        };
        prop_assert_eq!(&there_and_back(&value)?, &value);
        let proof = ValidatorProof::<Lucid>::new(vec![seed; 32], peer(seed).to_bytes(), proposal.signature);
        prop_assert_eq!(&there_and_back(&proof)?, &proof);
        let response = Response::ValueResponse(ValueResponse::new(height, decided));
        prop_assert_eq!(&there_and_back(&response)?, &response);
        prop_assert_eq!(Borsh.encoded_len(&response).unwrap(), Borsh.encode(&response).unwrap().len());
    }

    #[test]
    fn noise_is_refused_without_harm(noise in vec(any::<u8>(), 0..400), versioned: bool) {
        let mut noise = noise;
        if versioned && let Some(first) = noise.first_mut() {
            *first = 1;
        }
        let noise = Bytes::from(noise);
        let _: Result<Part, _> = Borsh.decode(noise.clone());
        let _: Result<StreamMessage<Part>, _> = Borsh.decode(noise.clone());
        let _: Result<SignedConsensusMsg<Lucid>, _> = Borsh.decode(noise.clone());
        let _: Result<LivenessMsg<Lucid>, _> = Borsh.decode(noise.clone());
        let _: Result<PolkaCertificate<Lucid>, _> = Borsh.decode(noise.clone());
        let _: Result<ProposedValue<Lucid>, _> = Borsh.decode(noise.clone());
        let _: Result<ValidatorProof<Lucid>, _> = Borsh.decode(noise.clone());
        let _: Result<Status<Lucid>, _> = Borsh.decode(noise.clone());
        let _: Result<Request<Lucid>, _> = Borsh.decode(noise.clone());
        let _: Result<Response<Lucid>, _> = Borsh.decode(noise);
    }
}

#[test]
fn bounds_hold() {
    let signature = Signature([1; 64]);
    let polka = |count: usize| PolkaCertificate::<Lucid> {
        height: Height(ChainHeight(1)),
        round: Round::new(0),
        value_id: BlockId(B256::ZERO),
        polka_signatures: vec![PolkaSignature::new(Address(NodeId::default()), signature); count],
    };
    let decode = |count| -> Result<PolkaCertificate<Lucid>, _> {
        Borsh.decode(Borsh.encode(&polka(count)).unwrap())
    };
    assert!(decode(MAX_VALIDATORS).is_ok());
    assert!(matches!(
        decode(MAX_VALIDATORS + 1),
        Err(CodecError::Senseless(_))
    ));
    let large = Bytes::from(vec![1; MAX_LIVENESS_BYTES + 2]);
    let refused: Result<LivenessMsg<Lucid>, _> = Borsh.decode(large);
    assert!(matches!(refused, Err(CodecError::Decode(_))));
    let part = |size| Part::Data {
        bytes: vec![0; size].into(),
        last: true,
    };
    let decode = |size| -> Result<Part, _> { Borsh.decode(Borsh.encode(&part(size)).unwrap()) };
    assert!(decode(PART_BYTES).is_ok());
    assert!(decode(PART_BYTES + 1).is_err());
    let end = StreamMessage::<Part>::new(
        StreamId::new(Bytes::from(vec![0; 16])),
        0,
        StreamContent::Fin,
    );
    assert!(Borsh.encode(&end).is_err());
}

#[test]
fn an_abstention_is_not_sent() {
    let vote = ChainVote {
        kind: VoteKind::Prevote,
        height: ChainHeight(1),
        round: 0,
        block: None,
        voter: NodeId::default(),
    };
    let message =
        SignedConsensusMsg::<Lucid>::Vote(SignedMessage::new(Vote::from_chain(&vote), ABSTAIN));
    assert!(matches!(Borsh.encode(&message), Err(CodecError::Abstained)));
}

/// A change here is a change of the network's language: it needs a new version.
#[test]
fn a_vote_is_written_as_it_always_was() {
    let vote = ChainVote {
        kind: VoteKind::Precommit,
        height: ChainHeight(258),
        round: 3,
        block: Some(BlockId(B256::repeat_byte(0xab))),
        voter: NodeId(EvmAddress::repeat_byte(0xcd)),
    };
    let message = SignedConsensusMsg::<Lucid>::Vote(SignedMessage::new(
        Vote::from_chain(&vote),
        Signature([0xef; 64]),
    ));
    let expected = [
        &[1, 0, 2][..],
        &258_u64.to_le_bytes(),
        &3_u32.to_le_bytes(),
        &[1],
        &[0xab; 32],
        &[0xcd; 20],
        &[0xef; 64],
    ];
    assert_eq!(Borsh.encode(&message).unwrap(), expected.concat());
}
