//! Records of slots that are over.

use lucid_chain_types::Slot;
use lucid_poot::{LeadReason, LeaderRecord};

use crate::{node, nodes};

#[test]
fn a_record_says_who_led_and_why() {
    let reason = |winner, sealed_in| {
        let record = LeaderRecord::new(Slot(7), &nodes(3), node(winner), Slot(sealed_in)).unwrap();
        assert_eq!(
            (record.primary, &record.fallbacks[..]),
            (node(0), &[node(1), node(2)][..])
        );
        assert_eq!(
            borsh::from_slice::<LeaderRecord>(&borsh::to_vec(&record).unwrap()).unwrap(),
            record
        );
        record.reason
    };
    assert_eq!(reason(0, 8), LeadReason::Primary);
    assert_eq!(reason(2, 8), LeadReason::Fallback);
    assert_eq!(reason(0, 9), LeadReason::Late);
    assert_eq!(reason(1, 900), LeadReason::Late);
    assert_eq!(LeaderRecord::new(Slot(7), &[], node(0), Slot(8)), None);
    assert_eq!(
        [LeadReason::Primary, LeadReason::Fallback, LeadReason::Late].map(LeadReason::code),
        [0, 1, 2]
    );
}
