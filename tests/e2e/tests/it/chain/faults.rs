//! Machines that are wrong: clocks, disks, files, lines.

use std::fs;
use std::io::{Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::lines::Line;
use super::network::{Network, Plan, listen_of};
use crate::support::{Ran, ran};

const ALL: [usize; 4] = [0, 1, 2, 3];

#[test]
fn nodes_whose_clocks_are_wrong_follow_and_do_not_stop_the_chain() {
    let mut network = Network::prepare(Plan::FOUR);
    // More than a block's time may be off: the one ahead proposes blocks that nobody takes, the one behind takes nobody's.
    network.nodes[1].skew_ms = 30_000;
    network.nodes[2].skew_ms = -30_000;
    for node in &mut network.nodes {
        node.start();
    }
    network.wait_until_up(&ALL);
    let mut sent = Vec::new();
    for node in [0, 3, 1, 2] {
        sent.push(network.register(node));
        network.wait_for_receipts(&[0], &sent);
    }
    network.wait_for_receipts(&ALL, &sent);
    network.converge(&ALL);
    // They know it themselves.
    let skew = |node: usize| {
        let metrics = network.nodes[node].metrics();
        let line = metrics
            .lines()
            .find_map(|line| line.strip_prefix("lucid_clock_skew_seconds "));
        line.unwrap().parse::<f64>().unwrap()
    };
    assert!(skew(2) < -20.0, "{}", skew(2));
    assert!(skew(1) > 20.0, "{}", skew(1));
}

/// A small disk of its own for a folder.
struct Disk(PathBuf);

impl Disk {
    /// Moves the folder onto a disk of so many MiB.
    fn under(folder: &Path, mebibytes: u32) -> Self {
        let aside = folder.with_extension("aside");
        fs::rename(folder, &aside).unwrap();
        fs::create_dir(folder).unwrap();
        let size = format!("size={mebibytes}m,mode=700");
        done(
            Command::new("mount")
                .args(["-t", "tmpfs", "-o", &size, "none"])
                .arg(folder),
        );
        let disk = Self(folder.to_owned());
        done(
            Command::new("cp")
                .arg("-a")
                .arg(aside.join("."))
                .arg(folder),
        );
        disk
    }

    /// Takes all but so many MiB of what is free.
    fn fill(&self, but: u64) -> PathBuf {
        let stat = rustix::fs::statvfs(&self.0).unwrap();
        let free = stat.f_bavail * stat.f_frsize;
        let path = self.0.join("ballast");
        let mut file = fs::File::create(&path).unwrap();
        for _ in 0..(free.saturating_sub(but << 20) / 4_096) {
            // The node writes, too.
            if file.write_all(&[1; 4_096]).is_err() {
                break;
            }
        }
        path
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("--lazy").arg(&self.0).output();
    }
}

fn done(command: &mut Command) {
    let output = command.output().unwrap();
    let err = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {err}");
}

fn set(network: &Network, node: usize, from: &str, to: &str) {
    let file = network.nodes[node].home.join("node.toml");
    let config = fs::read_to_string(&file).unwrap();
    assert!(config.contains(from), "{config}");
    fs::write(&file, config.replace(from, to)).unwrap();
}

#[test]
fn a_node_whose_disk_is_full_stops_in_time_and_goes_on_when_there_is_room() {
    let mut network = Network::prepare(Plan::FOUR);
    let disk = Disk::under(&network.nodes[3].home, 400);
    let least = 40 << 20;
    set(
        &network,
        3,
        "min_free = 268435456",
        &format!("min_free = {least}"),
    );
    for node in &mut network.nodes {
        node.start();
    }
    network.wait_until_up(&ALL);
    let mut sent = vec![network.register(0)];
    network.wait_for_receipts(&ALL, &sent);

    let ballast = disk.fill(20);
    let status = network.nodes[3].ended();
    assert_eq!(status.code(), Some(3), "{status}");
    sent.push(network.register(0));
    network.wait_for_receipts(&[0, 1, 2], &sent);
    let refused = run(&network, 3);
    assert_eq!(refused.code, 3, "{}", refused.err);
    assert!(refused.err.contains("min_free"), "{}", refused.err);

    // The disk is full in the middle of what it writes: nothing that it did not promise is there, and all that it did.
    set(&network, 3, &format!("min_free = {least}"), "min_free = 0");
    fs::remove_file(ballast).unwrap();
    network.nodes[3].start();
    network.wait_until_up(&[3]);
    let ballast = disk.fill(0);
    let load = network.load(0);
    let status = network.nodes[3].ended();
    assert_eq!(status.code(), Some(3), "{status}");
    fs::remove_file(ballast).unwrap();
    network.nodes[3].start();
    network.wait_until_up(&[3]);
    let sent = load.end(&network);
    network.wait_for_receipts(&ALL, &sent);
    network.converge(&ALL);
    for node in &mut network.nodes {
        node.kill();
    }
    drop(disk);
}

fn run(network: &Network, node: usize) -> Ran {
    ran(&["node"], network.nodes[node].command().output().unwrap())
}

/// Turns a byte in the middle of a file over.
fn spoil(file: &Path) {
    let length = fs::metadata(file).unwrap().len();
    let mut file = fs::File::options()
        .read(true)
        .write(true)
        .open(file)
        .unwrap();
    let mut byte = [0];
    file.seek(SeekFrom::Start(length / 2)).unwrap();
    file.read_exact(&mut byte).unwrap();
    file.seek(SeekFrom::Start(length / 2)).unwrap();
    file.write_all(&[!byte[0]]).unwrap();
}

fn files(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files(&path, found);
        } else if fs::metadata(&path).unwrap().len() > 0 {
            found.push(path);
        }
    }
}

#[test]
fn a_damaged_file_is_found_out_and_never_changes_what_a_node_says() {
    let mut network = Network::start(Plan::FOUR);
    let sent: Vec<_> = (0..6).map(|_| network.register(0)).collect();
    network.wait_for_receipts(&ALL, &sent);
    assert!(network.nodes[3].stop().success());
    let home = network.nodes[3].home.clone();
    let whole = home.with_extension("whole");
    done(Command::new("cp").arg("-a").args([&home, &whole]));

    let mut names = Vec::new();
    for folder in ["data", "consensus"] {
        files(&whole.join(folder), &mut names);
    }
    names.push(whole.join("mempool.journal"));
    let mut refused = 0;
    for name in &names {
        let name = name.strip_prefix(&whole).unwrap();
        spoil(&home.join(name));
        network.nodes[3].start();
        let outcome = network.outcome(3);
        eprintln!("{}: {outcome:?}", name.display());
        match outcome {
            // It says which chain it has, and it is the others'.
            None => {
                let height = network.height(0);
                network.all_agree(&[0, 3], height);
                network.nodes[3].kill();
            }
            Some((code, text)) => {
                refused += 1;
                assert!(
                    [2, 17].contains(&code),
                    "{}: {code}: {text}",
                    name.display()
                );
                assert!(text.contains("damaged"), "{}: {text}", name.display());
            }
        }
        fs::remove_dir_all(&home).unwrap();
        done(Command::new("cp").arg("-a").args([&whole, &home]));
    }
    assert!(refused > 0, "a damaged database was taken for a whole one");

    // What is refused comes back from the others once it is out of the way.
    network.nodes[3].wipe();
    network.nodes[3].start();
    network.wait_until_up(&[3]);
    network.converge(&ALL);
}

#[test]
fn slow_lines_make_blocks_later_and_no_different() {
    let mut network = Network::prepare(Plan::FOUR);
    // Every connection goes through a line that takes its time, each way.
    let mut lines = Vec::new();
    let configs: Vec<PathBuf> = network
        .nodes
        .iter()
        .map(|node| node.home.join("node.toml"))
        .collect();
    for (section, suffix) in [("p2p", ""), ("gossip", "")] {
        for to in &configs {
            let listen = listen_of(&fs::read_to_string(to).unwrap(), section);
            let port = listen.rsplit('/').next().unwrap().to_owned();
            let line = Line::to(port.parse().unwrap(), Duration::from_millis(200));
            for from in configs.iter().filter(|from| *from != to) {
                let config = fs::read_to_string(from).unwrap();
                let peer = format!("/tcp/{port}{suffix}");
                assert!(config.contains(&peer), "{config}");
                let config = config.replace(&peer, &format!("/tcp/{}{suffix}", line.port()));
                fs::write(from, config).unwrap();
            }
            lines.push(line);
        }
    }
    for node in 0..network.nodes.len() {
        set(&network, node, "discovery = true", "discovery = false");
        network.nodes[node].start();
    }
    network.wait_until_up(&ALL);
    let load = network.load(0);
    network.wait_for_height(0, 5);
    let sent = load.end(&network);
    network.wait_for_receipts(&ALL, &sent);
    network.converge(&ALL);
    // Of two nodes that call each other one call is enough; but all of it went through lines.
    let used = lines.iter().filter(|line| line.carried() > 10_000).count();
    assert!(used >= 4, "{used} lines were used");
}

#[test]
fn seven_validators_bear_the_loss_of_two_and_halt_without_three() {
    let mut network = Network::start(Plan {
        validators: 7,
        ..Plan::FOUR
    });
    let all: Vec<usize> = (0..7).collect();
    let mut sent = vec![network.register(0)];
    network.wait_for_receipts(&all, &sent);
    // The first two in order, so that the next height needs its third leader.
    let order = network.schedule(0).order;
    let dead: Vec<usize> = order[..3]
        .iter()
        .map(|node| network.place_of(*node))
        .collect();
    let rest: Vec<usize> = all
        .iter()
        .copied()
        .filter(|node| !dead.contains(node))
        .collect();
    network.nodes[dead[0]].kill();
    network.nodes[dead[1]].kill();
    sent.push(network.register(rest[0]));
    let height = network.wait_for_receipts(&rest, &sent);
    assert!(network.nodes[rest[0]].block(height).unwrap().round >= 2);

    network.nodes[dead[2]].kill();
    let waiting = network.register(rest[0]);
    network.stands_still(rest[0], 4);
    for node in dead {
        network.nodes[node].start();
    }
    network.wait_until_up(&all);
    sent.push(waiting);
    network.wait_for_receipts(&all, &sent);
    network.converge(&all);
}

#[test]
fn an_idle_chain_seals_its_slots() {
    let network = Network::prepare(Plan::FOUR);
    // A chain that was made almost a slot ago.
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let made = u64::try_from(now.as_millis()).unwrap() - 112_000;
    for node in &network.nodes {
        let file = node.home.join("genesis.json");
        let mut genesis: serde_json::Value =
            serde_json::from_slice(&fs::read(&file).unwrap()).unwrap();
        assert!(genesis["timeMs"].is_u64(), "{genesis}");
        genesis["timeMs"] = made.into();
        fs::write(&file, serde_json::to_vec(&genesis).unwrap()).unwrap();
    }
    let mut network = network;
    for node in &mut network.nodes {
        node.start();
    }
    network.wait_until_up(&ALL);
    assert_eq!(network.height(0), 0);
    for node in ALL {
        network.wait_for_height(node, 1);
    }
    let block = network.nodes[0].block(1).unwrap();
    assert!(block.seal, "{block:?}");
    assert!(block.transactions.is_empty());
    network.all_agree(&ALL, 1);
    let slot = network.bench.ok(&[
        "--json",
        "chain",
        "slot",
        "0",
        "--rpc",
        &network.nodes[2].url,
    ]);
    let slot: serde_json::Value = serde_json::from_str(&slot).unwrap();
    assert_eq!(slot["slot"], 0, "{slot}");
    assert!(slot["record"]["winner"].is_string(), "{slot}");
    // One block a slot, and no more.
    network.stands_still(0, 5);
}
