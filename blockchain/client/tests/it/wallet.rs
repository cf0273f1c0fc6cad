use std::fs;
use std::os::unix::fs::PermissionsExt;

use alloy_consensus::transaction::SignerRecoverable;
use alloy_consensus::{Transaction, TxEip1559, TxEnvelope};
use alloy_eips::eip2718::Decodable2718;
use alloy_primitives::{B256, TxKind, U256, address, keccak256};
use lucid_client::{Wallet, WalletError};

/// A key that everybody knows, and its account: the first of anvil and hardhat.
const KNOWN: &str = "0xac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80";

#[test]
fn a_known_key_has_its_known_account() {
    let wallet = Wallet::from_hex(KNOWN).unwrap();
    assert_eq!(
        wallet.address(),
        address!("f39Fd6e51aad88F6F4ce6aB8827279cffFb92266")
    );
    assert_eq!(
        Wallet::from_hex(&KNOWN[2..]).unwrap().address(),
        wallet.address()
    );
}

#[test]
fn what_is_signed_recovers_to_the_signer() {
    let wallet = Wallet::generate().unwrap();
    for nonce in 0..16 {
        let bytes = wallet
            .sign(TxEip1559 {
                chain_id: 7,
                nonce,
                gas_limit: 21_000,
                max_fee_per_gas: 2,
                max_priority_fee_per_gas: 1,
                to: TxKind::Call(wallet.address()),
                value: U256::from(1),
                ..TxEip1559::default()
            })
            .unwrap();
        let transaction = TxEnvelope::decode_2718_exact(&bytes).unwrap();
        assert_eq!(transaction.recover_signer().unwrap(), wallet.address());
        assert_eq!(transaction.nonce(), nonce);
    }
    let hash = keccak256("data");
    let signature = wallet.sign_hash(hash).unwrap();
    assert!(
        signature.normalize_s().is_none(),
        "the low half is the only one that counts"
    );
}

#[test]
fn a_key_file_is_written_for_its_owner_and_read_back() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("key");
    let wallet = Wallet::generate().unwrap();
    wallet.save(&path).unwrap();
    assert_eq!(
        fs::metadata(&path).unwrap().permissions().mode() & 0o777,
        0o600
    );
    assert_eq!(Wallet::load(&path).unwrap().address(), wallet.address());
    assert!(
        matches!(wallet.save(&path), Err(WalletError::File { .. })),
        "a key is never overwritten"
    );
}

#[test]
fn a_key_file_that_others_can_read_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("key");
    Wallet::generate().unwrap().save(&path).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
    let error = Wallet::load(&path).unwrap_err();
    assert!(matches!(error, WalletError::Mode { mode: 0o640, .. }));
    assert!(error.to_string().contains("chmod 600"), "{error}");
}

#[test]
fn what_is_not_a_key_is_refused_and_not_shown() {
    let order = "0xfffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364141";
    let zero = B256::ZERO.to_string();
    let short = &KNOWN[..20];
    for text in [
        "",
        "0x",
        short,
        zero.as_str(),
        order,
        "0xzz",
        &format!("{KNOWN}00"),
    ] {
        let error = Wallet::from_hex(text).unwrap_err().to_string();
        assert!(text.len() < 4 || !error.contains(text), "{error}");
    }
    let shown = format!("{:?}", Wallet::from_hex(KNOWN).unwrap());
    assert!(!shown.contains("ac0974"), "{shown}");
}

#[test]
fn a_huge_file_is_not_read() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("key");
    fs::write(&path, vec![b' '; 1 << 20]).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    assert!(matches!(
        Wallet::load(&path),
        Err(WalletError::Malformed { .. })
    ));
}
