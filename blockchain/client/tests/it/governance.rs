use alloy_primitives::{Address, U256, hex};
use lucid_client::{Action, Support, calls};

#[test]
fn actions_are_encoded_as_the_governor_decodes_them() {
    let param = Action::SetParam {
        key: "maxChunkSize".to_owned(),
        value: U256::from(65_536),
    };
    let (number, data) = param.encode().unwrap();
    assert_eq!(number, 0);
    assert_eq!(
        hex::encode(&data),
        format!(
            "{}{}{:064x}",
            hex::encode("maxChunkSize"),
            "00".repeat(20),
            65_536
        )
    );
    let node = Address::repeat_byte(0x11);
    let actions = [
        param,
        Action::RotateSigners([node, Address::repeat_byte(2), Address::repeat_byte(3)]),
        Action::SetValidator { node, active: true },
        Action::SetVerifier {
            kind: 1,
            verifier: node,
        },
    ];
    for (expected, action) in (0..).zip(actions) {
        let (number, data) = action.encode().unwrap();
        assert_eq!(number, expected);
        assert_eq!(data.len(), if number == 1 { 96 } else { 64 });
        assert_eq!(Action::decode(number, &data), Some(action));
    }
    assert_eq!(Action::decode(4, &[]), None);
    assert_eq!(Action::decode(0, &[1, 2, 3]), None);
}

#[test]
fn a_key_that_is_too_long_is_refused() {
    let action = Action::SetParam {
        key: "k".repeat(33),
        value: U256::ZERO,
    };
    assert_eq!(action.encode(), None);
    assert_eq!(calls::propose(&action, "no"), None);
}

#[test]
fn calls_begin_with_their_selectors() {
    // cast sig "vote(uint256,uint8)" and the others
    let id = U256::from(1);
    assert_eq!(hex::encode(&calls::vote(id, Support::For)[..4]), "943e8216");
    assert_eq!(hex::encode(&calls::queue(id)[..4]), "ddf0b009");
    assert_eq!(hex::encode(&calls::execute(id)[..4]), "fe0d94c1");
    assert_eq!(hex::encode(&calls::cancel(id)[..4]), "40e58ee5");
}
