//! Bytes between engines and in the engine's log: `version ‖ borsh`, bounded, with nothing after it.
//!
//! Votes and proposals are the chain's own types; what the engine adds to them has a `Wire` type here.

use borsh::{BorshDeserialize, BorshSerialize};
use bytes::Bytes;
use lucid_chain_types::{
    BlockId, DecodeError, Height as ChainHeight, MAX_VALIDATORS, NodeId, Signature, SignedProposal,
    SignedVote, VoteKind, decode,
};
use malachite_app::app::streaming::{StreamContent, StreamId, StreamMessage};
use malachite_app::app::types::PeerId;
use malachite_codec::{Codec, HasEncodedLen};
use malachite_core::{LivenessMsg, ProposedValue, SignedConsensusMsg};
use malachite_sync::{RawDecidedValue, Request, Response, Status, ValueRequest, ValueResponse};
use malachite_types::{
    ExtendedCommitCertificate, ExtendedCommitSignature, NilOrVal, PolkaCertificate, PolkaSignature,
    Round, RoundCertificate, RoundCertificateType, RoundSignature, SignedMessage, ValidatorProof,
    Validity, VoteType,
};

use crate::context::{
    Address, Height, Lucid, Part, PartInit, Proposal, Value, Vote, optional_round, round_number,
};
use crate::pack::MAX_PACKED_BYTES;
use crate::parts::PART_BYTES;
use crate::signing::ABSTAIN;

/// First byte of every message.
const VERSION: u8 = 1;
/// Most bytes of a vote or a proposal.
pub const MAX_CONSENSUS_BYTES: usize = 512;
/// Most bytes of a message that helps stragglers: a certificate with every validator's signature.
pub const MAX_LIVENESS_BYTES: usize = 16 << 10;
/// Most bytes of a part with its stream's name.
pub const MAX_PART_BYTES: usize = PART_BYTES + 512;
/// Most bytes of a request or a status.
pub const MAX_SMALL_BYTES: usize = 512;
/// Most bytes of an answer with decided blocks. One block always fits.
pub const MAX_RESPONSE_BYTES: usize = MAX_PACKED_BYTES + (64 << 10);
/// Bytes that name a stream.
pub const STREAM_ID_BYTES: usize = 16;

/// Why a message is not sent, or not read.
#[derive(Debug, thiserror::Error)]
pub enum CodecError {
    /// From a later program, or noise.
    #[error("a message of version {0}, this program knows version {VERSION}")]
    Version(u8),
    /// Too large or malformed.
    #[error(transparent)]
    Decode(#[from] DecodeError),
    /// Well-formed, but senseless.
    #[error("{0}")]
    Senseless(&'static str),
    /// The signer's guard forbade this message.
    #[error("this validator abstains")]
    Abstained,
    /// Writing failed.
    #[error("encoding failed: {0}")]
    Encode(#[from] std::io::Error),
}

/// The one codec, of network and log.
#[derive(Debug, Clone, Copy, Default)]
pub struct Borsh;

#[derive(BorshSerialize, BorshDeserialize)]
enum WireConsensus {
    Vote(SignedVote),
    Proposal(SignedProposal),
}

#[derive(BorshSerialize, BorshDeserialize)]
enum WireLiveness {
    Vote(SignedVote),
    Polka(WirePolka),
    Round(WireRound),
}

#[derive(BorshSerialize, BorshDeserialize)]
struct WirePolka {
    height: ChainHeight,
    round: u32,
    block: BlockId,
    signatures: Vec<(NodeId, Signature)>,
}

#[derive(BorshSerialize, BorshDeserialize)]
struct WireRound {
    height: ChainHeight,
    round: u32,
    skip: bool,
    signatures: Vec<(VoteKind, Option<BlockId>, NodeId, Signature)>,
}

#[derive(BorshSerialize, BorshDeserialize)]
enum WirePart {
    Init { signed: SignedProposal, size: u32 },
    Data { bytes: Vec<u8>, last: bool },
}

#[derive(BorshSerialize, BorshDeserialize)]
struct WireStream {
    stream: [u8; STREAM_ID_BYTES],
    sequence: u64,
    part: WirePart,
}

#[derive(BorshSerialize, BorshDeserialize)]
struct WireStatus {
    peer: Vec<u8>,
    tip: ChainHeight,
    lowest: ChainHeight,
}

#[derive(BorshSerialize, BorshDeserialize)]
struct WireRequest {
    from: ChainHeight,
    to: ChainHeight,
}

#[derive(BorshSerialize, BorshDeserialize)]
struct WireResponse {
    start: ChainHeight,
    values: Vec<WireDecided>,
}

#[derive(BorshSerialize, BorshDeserialize)]
struct WireDecided {
    height: ChainHeight,
    round: u32,
    block: BlockId,
    signatures: Vec<(NodeId, Signature)>,
    bytes: Vec<u8>,
}

#[derive(BorshSerialize, BorshDeserialize)]
struct WireProposed {
    height: ChainHeight,
    round: u32,
    valid_round: Option<u32>,
    proposer: NodeId,
    block: BlockId,
    valid: bool,
}

#[derive(BorshSerialize, BorshDeserialize)]
struct WireProof {
    key: [u8; 32],
    peer: Vec<u8>,
    signature: Signature,
}

fn write<T: BorshSerialize>(value: &T) -> Result<Bytes, CodecError> {
    let mut bytes = vec![VERSION];
    value.serialize(&mut bytes)?;
    Ok(bytes.into())
}

fn read<T: BorshDeserialize>(
    what: &'static str,
    bytes: &[u8],
    limit: usize,
) -> Result<T, CodecError> {
    match bytes.split_first() {
        Some((&VERSION, body)) => Ok(decode(what, body, limit)?),
        Some((version, _)) => Err(CodecError::Version(*version)),
        None => Err(CodecError::Senseless("an empty message")),
    }
}

fn few<T>(signatures: &[T]) -> Result<(), CodecError> {
    if signatures.len() > MAX_VALIDATORS {
        return Err(CodecError::Senseless("more signatures than validators"));
    }
    Ok(())
}

fn present(signature: Signature) -> Result<Signature, CodecError> {
    if signature == ABSTAIN {
        Err(CodecError::Abstained)
    } else {
        Ok(signature)
    }
}

fn vote_out(vote: &SignedMessage<Lucid, Vote>) -> Result<SignedVote, CodecError> {
    Ok(SignedVote {
        vote: vote.message.to_chain(),
        signature: present(vote.signature)?,
    })
}

fn vote_in(signed: &SignedVote) -> SignedMessage<Lucid, Vote> {
    SignedMessage::new(Vote::from_chain(&signed.vote), signed.signature)
}

fn proposal_out(proposal: &SignedMessage<Lucid, Proposal>) -> Result<SignedProposal, CodecError> {
    Ok(SignedProposal {
        proposal: proposal.message.to_chain(),
        signature: present(proposal.signature)?,
    })
}

fn proposal_in(signed: &SignedProposal) -> SignedMessage<Lucid, Proposal> {
    SignedMessage::new(Proposal::from_chain(&signed.proposal), signed.signature)
}

fn polka_out(certificate: &PolkaCertificate<Lucid>) -> WirePolka {
    WirePolka {
        height: certificate.height.0,
        round: round_number(certificate.round),
        block: certificate.value_id,
        signatures: certificate
            .polka_signatures
            .iter()
            .map(|signature| (signature.address.0, signature.signature))
            .collect(),
    }
}

fn polka_in(wire: WirePolka) -> Result<PolkaCertificate<Lucid>, CodecError> {
    few(&wire.signatures)?;
    Ok(PolkaCertificate {
        height: Height(wire.height),
        round: Round::new(wire.round),
        value_id: wire.block,
        polka_signatures: wire
            .signatures
            .into_iter()
            .map(|(node, signature)| PolkaSignature::new(Address(node), signature))
            .collect(),
    })
}

fn round_out(certificate: &RoundCertificate<Lucid>) -> WireRound {
    WireRound {
        height: certificate.height.0,
        round: round_number(certificate.round),
        skip: certificate.cert_type == RoundCertificateType::Skip,
        signatures: certificate
            .round_signatures
            .iter()
            .map(|signature| {
                let kind = match signature.vote_type {
                    VoteType::Prevote => VoteKind::Prevote,
                    VoteType::Precommit => VoteKind::Precommit,
                };
                let block = match signature.value_id {
                    NilOrVal::Nil => None,
                    NilOrVal::Val(block) => Some(block),
                };
                (kind, block, signature.address.0, signature.signature)
            })
            .collect(),
    }
}

fn round_in(wire: WireRound) -> Result<RoundCertificate<Lucid>, CodecError> {
    few(&wire.signatures)?;
    Ok(RoundCertificate {
        height: Height(wire.height),
        round: Round::new(wire.round),
        cert_type: if wire.skip {
            RoundCertificateType::Skip
        } else {
            RoundCertificateType::Precommit
        },
        round_signatures: wire
            .signatures
            .into_iter()
            .map(|(kind, block, node, signature)| {
                let kind = match kind {
                    VoteKind::Prevote => VoteType::Prevote,
                    VoteKind::Precommit => VoteType::Precommit,
                };
                RoundSignature::new(
                    kind,
                    block.map_or(NilOrVal::Nil, NilOrVal::Val),
                    Address(node),
                    signature,
                )
            })
            .collect(),
    })
}

fn part_out(part: &Part) -> WirePart {
    match part {
        Part::Init(PartInit { signed, size }) => WirePart::Init {
            signed: *signed,
            size: *size,
        },
        Part::Data { bytes, last } => WirePart::Data {
            bytes: bytes.to_vec(),
            last: *last,
        },
    }
}

fn part_in(part: WirePart) -> Result<Part, CodecError> {
    match part {
        WirePart::Init { signed, size } => Ok(Part::Init(PartInit { signed, size })),
        WirePart::Data { bytes, last } if bytes.len() <= PART_BYTES => Ok(Part::Data {
            bytes: bytes.into(),
            last,
        }),
        WirePart::Data { .. } => Err(CodecError::Senseless("a part is too large")),
    }
}

impl Codec<Part> for Borsh {
    type Error = CodecError;

    fn decode(&self, bytes: Bytes) -> Result<Part, CodecError> {
        part_in(read("a part", &bytes, MAX_PART_BYTES)?)
    }

    fn encode(&self, part: &Part) -> Result<Bytes, CodecError> {
        write(&part_out(part))
    }
}

impl Codec<StreamMessage<Part>> for Borsh {
    type Error = CodecError;

    fn decode(&self, bytes: Bytes) -> Result<StreamMessage<Part>, CodecError> {
        let wire: WireStream = read("a part", &bytes, MAX_PART_BYTES)?;
        Ok(StreamMessage::new(
            StreamId::new(Bytes::copy_from_slice(&wire.stream)),
            wire.sequence,
            StreamContent::Data(part_in(wire.part)?),
        ))
    }

    fn encode(&self, message: &StreamMessage<Part>) -> Result<Bytes, CodecError> {
        let stream = message.stream_id.to_bytes();
        let stream = stream
            .as_ref()
            .try_into()
            .map_err(|_| CodecError::Senseless("a stream's name has 16 bytes"))?;
        // A stream's end follows from the size at its head.
        let StreamContent::Data(part) = &message.content else {
            return Err(CodecError::Senseless("a stream has no message for its end"));
        };
        write(&WireStream {
            stream,
            sequence: message.sequence,
            part: part_out(part),
        })
    }
}

impl Codec<SignedConsensusMsg<Lucid>> for Borsh {
    type Error = CodecError;

    fn decode(&self, bytes: Bytes) -> Result<SignedConsensusMsg<Lucid>, CodecError> {
        Ok(
            match read("a consensus message", &bytes, MAX_CONSENSUS_BYTES)? {
                WireConsensus::Vote(vote) => SignedConsensusMsg::Vote(vote_in(&vote)),
                WireConsensus::Proposal(proposal) => {
                    SignedConsensusMsg::Proposal(proposal_in(&proposal))
                }
            },
        )
    }

    fn encode(&self, message: &SignedConsensusMsg<Lucid>) -> Result<Bytes, CodecError> {
        write(&match message {
            SignedConsensusMsg::Vote(vote) => WireConsensus::Vote(vote_out(vote)?),
            SignedConsensusMsg::Proposal(proposal) => {
                WireConsensus::Proposal(proposal_out(proposal)?)
            }
        })
    }
}

impl Codec<LivenessMsg<Lucid>> for Borsh {
    type Error = CodecError;

    fn decode(&self, bytes: Bytes) -> Result<LivenessMsg<Lucid>, CodecError> {
        Ok(
            match read("a liveness message", &bytes, MAX_LIVENESS_BYTES)? {
                WireLiveness::Vote(vote) => LivenessMsg::Vote(vote_in(&vote)),
                WireLiveness::Polka(polka) => LivenessMsg::PolkaCertificate(polka_in(polka)?),
                WireLiveness::Round(round) => LivenessMsg::SkipRoundCertificate(round_in(round)?),
            },
        )
    }

    fn encode(&self, message: &LivenessMsg<Lucid>) -> Result<Bytes, CodecError> {
        write(&match message {
            LivenessMsg::Vote(vote) => WireLiveness::Vote(vote_out(vote)?),
            LivenessMsg::PolkaCertificate(polka) => WireLiveness::Polka(polka_out(polka)),
            LivenessMsg::SkipRoundCertificate(round) => WireLiveness::Round(round_out(round)),
        })
    }
}

impl Codec<PolkaCertificate<Lucid>> for Borsh {
    type Error = CodecError;

    fn decode(&self, bytes: Bytes) -> Result<PolkaCertificate<Lucid>, CodecError> {
        polka_in(read("a certificate", &bytes, MAX_LIVENESS_BYTES)?)
    }

    fn encode(&self, certificate: &PolkaCertificate<Lucid>) -> Result<Bytes, CodecError> {
        write(&polka_out(certificate))
    }
}

impl Codec<ProposedValue<Lucid>> for Borsh {
    type Error = CodecError;

    fn decode(&self, bytes: Bytes) -> Result<ProposedValue<Lucid>, CodecError> {
        let wire: WireProposed = read("a proposed block", &bytes, MAX_SMALL_BYTES)?;
        Ok(ProposedValue {
            height: Height(wire.height),
            round: Round::new(wire.round),
            valid_round: optional_round(wire.valid_round),
            proposer: Address(wire.proposer),
            value: Value(wire.block),
            validity: Validity::from_bool(wire.valid),
        })
    }

    fn encode(&self, value: &ProposedValue<Lucid>) -> Result<Bytes, CodecError> {
        write(&WireProposed {
            height: value.height.0,
            round: round_number(value.round),
            valid_round: value.valid_round.as_u32(),
            proposer: value.proposer.0,
            block: value.value.0,
            valid: value.validity.is_valid(),
        })
    }
}

impl Codec<ValidatorProof<Lucid>> for Borsh {
    type Error = CodecError;

    fn decode(&self, bytes: Bytes) -> Result<ValidatorProof<Lucid>, CodecError> {
        let wire: WireProof = read("a validator's proof", &bytes, MAX_SMALL_BYTES)?;
        Ok(ValidatorProof::new(
            wire.key.to_vec(),
            wire.peer,
            wire.signature,
        ))
    }

    fn encode(&self, proof: &ValidatorProof<Lucid>) -> Result<Bytes, CodecError> {
        let key = proof.public_key.as_slice().try_into();
        write(&WireProof {
            key: key.map_err(|_| CodecError::Senseless("a key has 32 bytes"))?,
            peer: proof.peer_id.clone(),
            signature: proof.signature,
        })
    }
}

impl Codec<Status<Lucid>> for Borsh {
    type Error = CodecError;

    fn decode(&self, bytes: Bytes) -> Result<Status<Lucid>, CodecError> {
        let wire: WireStatus = read("a status", &bytes, MAX_SMALL_BYTES)?;
        Ok(Status {
            peer_id: PeerId::from_bytes(&wire.peer)
                .map_err(|_| CodecError::Senseless("not a peer's id"))?,
            tip_height: Height(wire.tip),
            history_min_height: Height(wire.lowest),
        })
    }

    fn encode(&self, status: &Status<Lucid>) -> Result<Bytes, CodecError> {
        write(&WireStatus {
            peer: status.peer_id.to_bytes(),
            tip: status.tip_height.0,
            lowest: status.history_min_height.0,
        })
    }
}

impl Codec<Request<Lucid>> for Borsh {
    type Error = CodecError;

    fn decode(&self, bytes: Bytes) -> Result<Request<Lucid>, CodecError> {
        let wire: WireRequest = read("a request", &bytes, MAX_SMALL_BYTES)?;
        Ok(Request::ValueRequest(ValueRequest::new(
            Height(wire.from)..=Height(wire.to),
        )))
    }

    fn encode(&self, request: &Request<Lucid>) -> Result<Bytes, CodecError> {
        let Request::ValueRequest(request) = request;
        write(&WireRequest {
            from: request.range.start().0,
            to: request.range.end().0,
        })
    }
}

impl Codec<Response<Lucid>> for Borsh {
    type Error = CodecError;

    fn decode(&self, bytes: Bytes) -> Result<Response<Lucid>, CodecError> {
        let wire: WireResponse = read("an answer", &bytes, MAX_RESPONSE_BYTES)?;
        let values = wire.values.into_iter().map(|decided| {
            few(&decided.signatures)?;
            let certificate = ExtendedCommitCertificate {
                height: Height(decided.height),
                round: Round::new(decided.round),
                value_id: decided.block,
                commit_signatures: decided
                    .signatures
                    .into_iter()
                    .map(|(node, signature)| {
                        ExtendedCommitSignature::new(Address(node), signature, None)
                    })
                    .collect(),
            };
            Ok(RawDecidedValue::new(decided.bytes.into(), certificate))
        });
        let values = values.collect::<Result<Vec<_>, CodecError>>()?;
        Ok(Response::ValueResponse(ValueResponse::new(
            Height(wire.start),
            values,
        )))
    }

    fn encode(&self, response: &Response<Lucid>) -> Result<Bytes, CodecError> {
        let Response::ValueResponse(response) = response;
        write(&WireResponse {
            start: response.start_height.0,
            values: response
                .values
                .iter()
                .map(|value| WireDecided {
                    height: value.certificate.height.0,
                    round: round_number(value.certificate.round),
                    block: value.certificate.value_id,
                    signatures: value
                        .certificate
                        .commit_signatures
                        .iter()
                        .map(|signature| (signature.address.0, signature.signature))
                        .collect(),
                    bytes: value.value_bytes.to_vec(),
                })
                .collect(),
        })
    }
}

impl HasEncodedLen<Response<Lucid>> for Borsh {
    fn encoded_len(&self, response: &Response<Lucid>) -> Result<usize, CodecError> {
        let Response::ValueResponse(response) = response;
        let values = response.values.iter().map(|value| {
            let signatures = value.certificate.commit_signatures.len() * (20 + 64);
            8 + 4 + 32 + 4 + signatures + 4 + value.value_bytes.len()
        });
        Ok(1 + 8 + 4 + values.sum::<usize>())
    }
}
