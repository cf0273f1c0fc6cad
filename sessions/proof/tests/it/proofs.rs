//! What proofs show, how large they are, and that nothing in them can be changed.

use lucid_chain_types::Height;
use lucid_proof::{Fixed, Proof, ProofError, TARGET_BYTES};
use proptest::prelude::*;

use crate::support::{Anchoring, Sender, check, net, scene};

#[test]
fn a_proof_says_which_chunks_were_fixed_by_which_block() {
    let mut net = net();
    let office = scene("office", 12);
    let (owner, mut gateway) = (Sender::new(1), Sender::new(2));
    let mut session = Anchoring::open(&mut net, &office, &mut gateway, owner.address());
    session.checkpoint(&mut net, &mut gateway, 3);
    session.batch(&mut net, &mut gateway, Some(7));
    session.close(&mut net, &mut gateway);
    let proof = session.prove(&net, net.ledger.head().height, None);
    let anchored = proof.verify(&net.trusted()).unwrap();
    assert_eq!(anchored.session(), office.id);
    assert_eq!(anchored.host_key(), office.host.public());
    assert_eq!(anchored.owner, owner.address());
    assert_eq!(anchored.opener, gateway.address());
    assert!(anchored.transaction.is_some());
    let genesis = net.genesis.to_json().unwrap();
    let shown = |file: &[u8], proof: &Proof| {
        let coverage = check(file, &proof.encode(), genesis.as_bytes()).unwrap();
        let pieces: Vec<_> = coverage
            .pieces
            .iter()
            .map(|piece| (piece.chunks.clone(), piece.at.height.0, piece.by))
            .collect();
        (pieces, coverage.open)
    };
    use lucid_proof::By::{Batch, Checkpoint};
    let (pieces, open) = shown(&office.file(), &proof);
    assert_eq!(
        pieces,
        [
            (0..3, 2, Fixed::Checkpoint(Checkpoint)),
            (3..7, 3, Fixed::Checkpoint(Batch)),
            (7..12, 4, Fixed::Close)
        ]
    );
    assert!(open.is_empty());
    let (pieces, _) = shown(&office.disclosure(5, 8), &proof);
    assert_eq!(
        pieces,
        [(5..7, 3, Fixed::Checkpoint(Batch)), (7..9, 4, Fixed::Close)]
    );
    // Before it was closed: the end is not anchored.
    let mut before = session.story.clone();
    before.closed = None;
    let still_open = crate::support::prove(&net, &office, &before, Height(3), None).unwrap();
    let (pieces, open) = shown(&office.file(), &still_open);
    assert_eq!(pieces.len(), 2);
    assert_eq!(open, 7..12);
}

/// Whatever bit of a proof is flipped, it is refused.
#[test]
fn no_bit_of_a_proof_can_be_flipped() {
    let mut net = net();
    let office = scene("office", 5);
    let (owner, mut gateway) = (Sender::new(1), Sender::new(2));
    let mut session = Anchoring::open(&mut net, &office, &mut gateway, owner.address());
    session.checkpoint(&mut net, &mut gateway, 2);
    session.batch(&mut net, &mut gateway, Some(4));
    session.close(&mut net, &mut gateway);
    let genesis = net.trusted();
    let good = session.prove(&net, net.ledger.head().height, None).encode();
    Proof::decode(&good).unwrap().verify(&genesis).unwrap();
    for place in 0..good.len() {
        let mut bad = good.clone();
        bad[place] ^= 1 << (place % 8);
        let result = Proof::decode(&bad).and_then(|proof| proof.verify(&genesis));
        assert!(result.is_err(), "byte {place} of {}", good.len());
    }
}

/// The target of issue 4: an hour with a checkpoint every 30 s, chunks of 10 s, four validators.
#[test]
fn a_proof_of_an_hour_fits_and_a_change_of_validators_adds_little() {
    let hour = |change: bool, most| {
        let mut net = net();
        let office = scene("hour", 360);
        let (owner, mut gateway) = (Sender::new(1), Sender::new(2));
        let mut session = Anchoring::open(&mut net, &office, &mut gateway, owner.address());
        for checkpoint in 1..=120 {
            session.checkpoint(&mut net, &mut gateway, checkpoint * 3);
            if change && checkpoint == 60 {
                net.shut_out();
            }
        }
        session.close(&mut net, &mut gateway);
        let proof = session.prove(&net, net.ledger.head().height, most);
        let anchored = proof.verify(&net.trusted()).unwrap();
        assert_eq!(anchored.checkpoints.len(), 120);
        let linked = anchored.checkpoints.iter().filter(|it| it.linked).count();
        (proof.encode().len(), linked)
    };
    let (plain, linked) = hour(false, Some(TARGET_BYTES));
    assert!(plain < TARGET_BYTES, "{plain} bytes");
    assert_eq!(linked, 120, "nothing had to be left out of {plain} bytes");
    let (changed, _) = hour(true, None);
    let (whole, _) = hour(false, None);
    assert!(changed - whole <= 1_024, "{} bytes", changed - whole);
    let (thin, linked) = hour(false, Some(12_000));
    assert!(
        thin <= 12_000 && (2..120).contains(&linked),
        "{thin} bytes, {linked}"
    );
}

#[test]
fn a_free_id_and_a_proof_of_nothing_are_refused() {
    let mut net = net();
    let office = scene("office", 2);
    let (owner, mut gateway) = (Sender::new(1), Sender::new(2));
    net.pay();
    let mut session = Anchoring::open(&mut net, &office, &mut gateway, owner.address());
    session.close(&mut net, &mut gateway);
    let early = session.prove(&net, Height(1), None);
    assert!(matches!(
        early.verify(&net.trusted()),
        Err(ProofError::NotAnchored { .. })
    ));
}

proptest! {
    /// Reading never panics, and what is read is written the same.
    #[test]
    fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..400), prefix in any::<bool>()) {
        let bytes = if prefix { [b"LUCIDPRF\x01".as_slice(), &bytes].concat() } else { bytes };
        if let Ok(proof) = Proof::decode(&bytes) {
            prop_assert_eq!(proof.encode(), bytes);
        }
    }
}
