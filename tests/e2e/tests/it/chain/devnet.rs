//! `lucid devnet`: one command, a whole network, and nothing left of it.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use alloy_primitives::Address;
use lucid_client::{Client, Order, Wallet};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use super::network::{Bench, clean};
use crate::support::{PATIENCE, program, wait_for};

struct Devnet(Child);

impl Devnet {
    fn start(bench: &Bench) -> (Self, Value) {
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", "--"]).arg(program());
        command.args(["devnet", "--json", "--rpc-port", "0"]);
        clean(&mut command, bench.dir.path());
        let log = fs::File::create(bench.path("devnet.log")).unwrap();
        let mut child = command.stdout(Stdio::piped()).stderr(log).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap())
            .read_line(&mut line)
            .unwrap();
        let it = Self(child);
        let told = serde_json::from_str(&line).unwrap_or_else(|e| {
            let log = fs::read_to_string(bench.path("devnet.log")).unwrap();
            panic!("the devnet said '{line}' ({e}): {log}")
        });
        (it, told)
    }

    fn nodes(&self) -> Vec<String> {
        let id = self.0.id();
        let mut nodes = Vec::new();
        // A process is a child of the thread that started it.
        for thread in fs::read_dir(format!("/proc/{id}/task")).unwrap() {
            let children = fs::read_to_string(thread.unwrap().path().join("children")).unwrap();
            nodes.extend(children.split_whitespace().map(str::to_owned));
        }
        nodes
    }
}

impl Drop for Devnet {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn wait_until_gone(processes: &[String]) {
    wait_for("the nodes to be gone", || {
        let gone = |id: &String| !Path::new("/proc").join(id).exists();
        processes.iter().all(gone).then_some(())
    });
}

#[test]
fn a_devnet_serves_until_it_is_stopped_and_leaves_nothing() {
    let bench = Bench::new();
    let (mut devnet, told) = Devnet::start(&bench);
    let rpc: Vec<&str> = told["rpc"]
        .as_array()
        .unwrap()
        .iter()
        .map(|url| url.as_str().unwrap())
        .collect();
    assert_eq!(rpc.len(), 4);
    let wallet = Wallet::from_hex(told["funded"]["privateKey"].as_str().unwrap()).unwrap();
    let address: Address = told["funded"]["address"].as_str().unwrap().parse().unwrap();
    assert_eq!(wallet.address(), address);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let client = Client::new(rpc[3]).unwrap();
        assert_eq!(client.chain_id().await.unwrap(), told["chainId"]);
        let order = Order {
            to: Address::repeat_byte(1),
            value: "1000".parse().unwrap(),
            ..Order::default()
        };
        let receipt = client
            .send_and_wait(&wallet, order, PATIENCE)
            .await
            .unwrap();
        let there = Client::new(rpc[0]).unwrap();
        let same = there
            .wait_for_receipt(receipt.transaction_hash, PATIENCE)
            .await
            .unwrap();
        assert_eq!(same.block_hash, receipt.block_hash);
        let balance = there.balance(Address::repeat_byte(1)).await.unwrap();
        assert_eq!(balance.to_string(), "1000");
    });

    // Ctrl-C.
    let nodes = devnet.nodes();
    assert_eq!(nodes.len(), 4);
    kill_process(Pid::from_child(&devnet.0), Signal::INT).unwrap();
    let status = wait_for("the devnet to stop", || devnet.0.try_wait().unwrap());
    assert!(status.success(), "{status}");
    wait_until_gone(&nodes);
    assert!(!Path::new(told["dir"].as_str().unwrap()).exists());

    // Killed, it cannot stop its nodes; they notice.
    let (devnet, _) = Devnet::start(&bench);
    let nodes = devnet.nodes();
    assert_eq!(nodes.len(), 4);
    drop(devnet);
    wait_until_gone(&nodes);
}

/// `scripts/setup` installs them (`npm --prefix tests/clients ci`).
#[test]
fn stock_clients_work_with_a_devnet() {
    let bench = Bench::new();
    let (_devnet, told) = Devnet::start(&bench);
    let key = told["funded"]["privateKey"].as_str().unwrap();
    let scripts = Path::new(env!("CARGO_MANIFEST_DIR")).join("../clients");
    let runs = [
        ("node", "viem.mjs"),
        ("node", "ethers.mjs"),
        ("bash", "cast.sh"),
        ("node", "anvil-compare.mjs"),
    ];
    for ((program, script), node) in runs.iter().zip(told["rpc"].as_array().unwrap()) {
        let output = Command::new(program)
            .args([script, node.as_str().unwrap(), key])
            .arg("../../contracts/artifacts")
            .current_dir(&scripts)
            .output()
            .unwrap();
        let (out, err) = (
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr),
        );
        assert!(output.status.success(), "{script}: {out}{err}");
        print!("{out}");
    }
}
