//! Stock clients against a chain in this process. `scripts/setup` installs them (`npm --prefix tests/clients ci`).

use std::path::Path;
use std::time::Duration;

use lucid_rpc::RpcSettings;

use crate::support::{Solo, now_ms};

async fn run(program: &str, script: &str) {
    let scripts = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/clients");
    let solo = Solo::with(RpcSettings::default(), now_ms() - 5_000).await;
    // Blocks every 250 ms if there is something for them, as a validator would make them.
    let child = tokio::process::Command::new(program)
        .arg(script)
        .arg(solo.url())
        .arg(solo.rich.to_hex().as_str())
        .arg("../../contracts/artifacts")
        .current_dir(&scripts)
        .kill_on_drop(true)
        .status();
    tokio::pin!(child);
    let mut tick = tokio::time::interval(Duration::from_millis(250));
    let status = loop {
        tokio::select! {
            status = &mut child => break status.unwrap(),
            _ = tick.tick() => {
                if solo.pool.has_ready() {
                    solo.mine_at(now_ms());
                }
            }
        }
    };
    assert!(status.success(), "{script}: {status}");
}

#[tokio::test(flavor = "multi_thread")]
async fn viem() {
    run("node", "viem.mjs").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn ethers() {
    run("node", "ethers.mjs").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn cast() {
    run("bash", "cast.sh").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn anvil() {
    run("node", "anvil-compare.mjs").await;
}
