//! Who may depend on whom: the table of ARCHITECTURE.md, held against `cargo metadata` and the sources.
//!
//! It starts no peer: `cargo test -p lucid-e2e arrows` takes a second.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

/// One row of the table.
struct Row {
    folder: &'static str,
    name: &'static str,
    may_use: &'static [&'static str],
}

const fn row(folder: &'static str, name: &'static str, may_use: &'static [&'static str]) -> Row {
    Row {
        folder,
        name,
        may_use,
    }
}

/// The crates there are. A crate may use those named in its row and no others of the workspace. Nobody
/// names the web page, the programs and the tests.
const TABLE: &[Row] = &[
    row("service", "lucid-service", &[]),
    row("sessions/format", "lucid-format", &[]),
    row("sessions/store", "lucid-store", &["lucid-format"]),
    row("sessions/player", "lucid-player", &["lucid-format"]),
    row(
        "sessions/proof",
        "lucid-proof",
        &["lucid-chain-types", "lucid-format", "lucid-light"],
    ),
    row("sessions/rdp", "lucid-rdp", &["lucid-format"]),
    row(
        "sessions/recorder",
        "lucid-recorder",
        &[
            "lucid-format",
            "lucid-store",
            "lucid-player",
            "lucid-rdp",
            "lucid-service",
        ],
    ),
    row(
        "sessions/player-wasm",
        "lucid-player-wasm",
        &["lucid-format", "lucid-light", "lucid-player", "lucid-proof"],
    ),
    row("sessions/desktop", DESKTOP, &[]),
    row("blockchain/types", "lucid-chain-types", &[]),
    row("blockchain/poot", "lucid-poot", &["lucid-chain-types"]),
    row("blockchain/light", "lucid-light", &["lucid-chain-types"]),
    row("blockchain/state", "lucid-state", &[]),
    row(
        "blockchain/execution",
        "lucid-execution",
        &["lucid-chain-types", "lucid-poot", "lucid-state"],
    ),
    row(
        "blockchain/mempool",
        "lucid-mempool",
        &["lucid-chain-types"],
    ),
    row("blockchain/gossip", "lucid-gossip", &["lucid-chain-types"]),
    row(
        "blockchain/ledger",
        "lucid-ledger",
        &[
            "lucid-chain-types",
            "lucid-execution",
            "lucid-light",
            "lucid-mempool",
            "lucid-poot",
            "lucid-state",
        ],
    ),
    row(
        "blockchain/consensus",
        "lucid-consensus",
        &["lucid-chain-types"],
    ),
    row("blockchain/client", "lucid-client", &["lucid-chain-types"]),
    row(
        "blockchain/custody",
        "lucid-custody",
        &["lucid-chain-types", "lucid-client"],
    ),
    row(
        "blockchain/rpc",
        "lucid-rpc",
        &[
            "lucid-chain-types",
            "lucid-client",
            "lucid-execution",
            "lucid-ledger",
            "lucid-light",
            "lucid-mempool",
            "lucid-poot",
            "lucid-state",
        ],
    ),
    row(
        "blockchain/node",
        "lucid-node",
        &[
            "lucid-chain-types",
            "lucid-client",
            "lucid-consensus",
            "lucid-custody",
            "lucid-execution",
            "lucid-gossip",
            "lucid-ledger",
            "lucid-mempool",
            "lucid-poot",
            "lucid-rpc",
            "lucid-service",
        ],
    ),
    row("apps/lucid", "lucid", ALL),
    row("tests/e2e", "lucid-e2e", ALL),
];

const ALL: &[&str] = &[
    "lucid-service",
    "lucid-format",
    "lucid-store",
    "lucid-player",
    "lucid-proof",
    "lucid-rdp",
    "lucid-recorder",
    "lucid-chain-types",
    "lucid-poot",
    "lucid-light",
    "lucid-state",
    "lucid-execution",
    "lucid-mempool",
    "lucid-gossip",
    "lucid-ledger",
    "lucid-consensus",
    "lucid-client",
    "lucid-custody",
    "lucid-rpc",
    "lucid-node",
    DESKTOP,
];

/// Starts real desktops. `lucid demo` has one, and every crate's tests may.
const DESKTOP: &str = "lucid-desktop";

/// What a crate's tests use and the crate itself may not: proofs are tested on a real chain.
const TESTS_USE: &[(&str, &str)] = &[
    ("lucid-proof", "lucid-client"),
    ("lucid-proof", "lucid-execution"),
    ("lucid-proof", "lucid-ledger"),
    ("lucid-proof", "lucid-poot"),
];

/// All code for this payment system is under `payment-systems`, and of the workspace it may use only this.
const PAYMENT_SYSTEMS: &str = "payment-systems/";
const PAYMENT_SYSTEMS_MAY_USE: &[&str] = &["lucid-service", "lucid-light"];

/// IronRDP's parts that parse and paint; the others connect, authenticate and wait, and belong to the gateway alone.
const IRONRDP_PURE: &[&str] = &["ironrdp-core", "ironrdp-graphics", "ironrdp-pdu"];

/// Crates that wait, open sockets or do TLS.
const NETWORK: &[&str] = &[
    "tokio",
    "mio",
    "socket2",
    "rustls",
    "tokio-rustls",
    "sspi",
    "ironrdp-connector",
];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .ancestors()
        .nth(2)
        .unwrap()
        .to_owned()
}

fn metadata() -> Value {
    let output = Command::new(env!("CARGO"))
        // One platform is enough, and spares the download of what only others need.
        .args(["metadata", "--format-version", "1", "--locked"])
        .args(["--filter-platform", "x86_64-unknown-linux-gnu"])
        .current_dir(root())
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "cargo metadata: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    serde_json::from_slice(&output.stdout).unwrap()
}

fn text<'v>(value: &'v Value, key: &str) -> &'v str {
    value[key].as_str().unwrap()
}

/// A crate of the workspace as its manifest has it.
struct Member {
    name: String,
    /// From the workspace's root, without the file name.
    folder: String,
    /// `(crate, is it for tests only)`.
    uses: BTreeSet<(String, bool)>,
}

fn members(metadata: &Value) -> Vec<Member> {
    let ids = metadata["workspace_members"].as_array().unwrap();
    let packages = metadata["packages"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|package| ids.contains(&package["id"]));
    packages
        .map(|package| {
            let manifest = Path::new(text(package, "manifest_path"));
            let folder = manifest.parent().unwrap().strip_prefix(root()).unwrap();
            let uses = package["dependencies"].as_array().unwrap().iter();
            Member {
                name: text(package, "name").to_owned(),
                folder: folder.to_string_lossy().into_owned(),
                uses: uses
                    .map(|used| (text(used, "name").to_owned(), used["kind"] == "dev"))
                    .collect(),
            }
        })
        .collect()
}

#[test]
fn every_crate_is_in_the_table_and_uses_only_what_its_row_says() {
    let members = members(&metadata());
    let names: BTreeSet<&str> = members.iter().map(|member| member.name.as_str()).collect();
    let mut faults = Vec::new();
    for Member { name, folder, uses } in &members {
        let of_workspace = uses
            .iter()
            .filter(|(used, _)| names.contains(used.as_str()));
        if folder.starts_with(PAYMENT_SYSTEMS) {
            for (used, _) in of_workspace {
                let own = members
                    .iter()
                    .any(|it| it.name == *used && it.folder.starts_with(PAYMENT_SYSTEMS));
                if !own && !PAYMENT_SYSTEMS_MAY_USE.contains(&used.as_str()) {
                    faults.push(format!(
                        "{name} may use {PAYMENT_SYSTEMS_MAY_USE:?} and not {used}"
                    ));
                }
            }
            continue;
        }
        let Some(row) = TABLE.iter().find(|row| row.name == name) else {
            faults.push(format!(
                "{name} in {folder} is not in the table: give it a row in ARCHITECTURE.md and in {}",
                file!()
            ));
            continue;
        };
        if row.folder != folder {
            faults.push(format!(
                "{name} is in {folder}, the table says {}",
                row.folder
            ));
        }
        for (used, dev) in of_workspace {
            let tests_use = TESTS_USE.contains(&(name.as_str(), used.as_str()));
            let allowed =
                row.may_use.contains(&used.as_str()) || *dev && (used == DESKTOP || tests_use);
            if !allowed {
                faults.push(format!("{name} may use {:?} and not {used}", row.may_use));
            }
        }
    }
    for row in TABLE.iter().filter(|row| !names.contains(row.name)) {
        faults.push(format!(
            "{} is in the table and not in the workspace: take its row out",
            row.name
        ));
    }
    assert!(faults.is_empty(), "\n{}", faults.join("\n"));
}

#[test]
fn only_the_gateway_names_ironrdps_network_parts() {
    for Member { name, uses, .. } in members(&metadata()) {
        for (used, _) in uses
            .iter()
            .filter(|(used, _)| used.starts_with("ironrdp") || used == "sspi")
        {
            let allowed = name == "lucid-rdp"
                || (name == "lucid-player" && IRONRDP_PURE.contains(&used.as_str()));
            assert!(
                allowed,
                "{name} may not name {used}: only lucid-rdp does, and lucid-player {IRONRDP_PURE:?}"
            );
        }
    }
}

#[test]
fn only_the_consensus_crate_names_the_bft_engine() {
    for Member { name, uses, .. } in members(&metadata()) {
        let engine = uses
            .iter()
            .find(|(used, _)| used.starts_with("arc-malachitebft"));
        assert!(
            engine.is_none() || name == "lucid-consensus",
            "{name} may not name {engine:?}: only lucid-consensus does"
        );
    }
}

#[test]
fn the_pure_crates_bring_in_no_network_library() {
    let metadata = metadata();
    let names: BTreeMap<&str, &str> = metadata["packages"]
        .as_array()
        .unwrap()
        .iter()
        .map(|package| (text(package, "id"), text(package, "name")))
        .collect();
    let nodes: BTreeMap<&str, &Value> = metadata["resolve"]["nodes"]
        .as_array()
        .unwrap()
        .iter()
        .map(|node| (text(node, "id"), node))
        .collect();
    for pure in [
        "lucid-format",
        "lucid-player",
        "lucid-player-wasm",
        "lucid-proof",
        "lucid-chain-types",
        "lucid-poot",
        "lucid-light",
        "lucid-mempool",
    ] {
        let start = *names.iter().find(|(_, name)| **name == pure).unwrap().0;
        let mut seen = BTreeSet::from([start]);
        let mut todo = vec![start];
        while let Some(id) = todo.pop() {
            for dependency in nodes[id]["deps"].as_array().unwrap() {
                // `kind` is null for what a crate is built from, `dev` and `build` are not in it.
                let built_from = dependency["dep_kinds"]
                    .as_array()
                    .unwrap()
                    .iter()
                    .any(|kind| kind["kind"].is_null());
                let id = text(dependency, "pkg");
                if built_from && seen.insert(id) {
                    todo.push(id);
                }
            }
        }
        let found: Vec<_> = seen
            .iter()
            .map(|id| names[id])
            .filter(|name| NETWORK.contains(name))
            .collect();
        assert!(
            found.is_empty(),
            "{pure} is pure, and brings in {found:?}: see `cargo tree -p {pure} -i {found:?}`"
        );
    }
}

/// Files below `folder` with one of these endings, products and packages left out.
fn files(folder: &Path, endings: &[&str], found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap().flatten() {
        let path = entry.path();
        let name = entry.file_name().to_string_lossy().into_owned();
        if entry.file_type().unwrap().is_dir() {
            if !name.starts_with('.')
                && !["target", "node_modules", "dist"].contains(&name.as_str())
            {
                files(&path, endings, found);
            }
        } else if endings.iter().any(|ending| name.ends_with(ending)) {
            found.push(path);
        }
    }
}

/// The words of a source text: `TronClient`, `tron_client` and `TRON-CLIENT` have the word `tron`, `electron` has not.
fn words(text: &str) -> BTreeSet<String> {
    let mut words = BTreeSet::new();
    let mut word = String::new();
    let mut last = ' ';
    for letter in text.chars().chain([' ']) {
        if !letter.is_ascii_alphabetic()
            || (last.is_ascii_lowercase() && letter.is_ascii_uppercase())
        {
            words.insert(std::mem::take(&mut word).to_ascii_lowercase());
        }
        if letter.is_ascii_alphabetic() {
            word.push(letter);
        }
        last = letter;
    }
    words
}

#[test]
fn no_code_outside_payment_systems_knows_tron() {
    let root = root();
    let allowed = [
        PAYMENT_SYSTEMS,
        "docs/",
        "contracts/tron/",
        "tests/e2e/tests/it/arrows.rs",
    ];
    let mut sources = Vec::new();
    files(
        &root,
        &[".rs", ".ts", ".svelte", ".js", ".sol"],
        &mut sources,
    );
    for path in sources {
        let name = path
            .strip_prefix(&root)
            .unwrap()
            .to_string_lossy()
            .into_owned();
        if allowed.iter().any(|allowed| name.starts_with(allowed)) {
            continue;
        }
        let text = String::from_utf8_lossy(&fs::read(&path).unwrap()).into_owned();
        assert!(
            !words(&text).contains("tron"),
            "{name} names TRON: that code belongs under {PAYMENT_SYSTEMS}"
        );
    }
}

#[test]
fn the_pure_crates_know_no_files_sockets_clocks_or_randomness() {
    // Modules of std, whether written std::fs or std::{fs, io}; and names that give the same away.
    let modules = ["env", "fs", "net", "os", "process", "thread"];
    let names = [
        "getrandom",
        "Instant",
        "OsRng",
        "SysRng",
        "SystemTime",
        "tokio",
    ];
    for folder in [
        "sessions/format/src",
        "sessions/player/src",
        "blockchain/types/src",
        "blockchain/poot/src",
        "blockchain/light/src",
        "blockchain/mempool/src",
        "blockchain/execution/src",
    ] {
        let mut sources = Vec::new();
        files(&root().join(folder), &[".rs"], &mut sources);
        assert!(!sources.is_empty(), "{folder} has no sources");
        for path in sources {
            let text = fs::read_to_string(&path).unwrap();
            // A crate's own unit tests may do what they like; they come last in a file.
            let text = text.split("#[cfg(test)]").next().unwrap();
            let code: String = text
                .lines()
                .map(|line| line.split("//").next().unwrap().to_owned() + "\n")
                .collect();
            let identifiers: BTreeSet<&str> = code
                .split(|c: char| !c.is_alphanumeric() && c != '_')
                .collect();
            for name in names {
                assert!(
                    !identifiers.contains(name),
                    "{} names {name}: it is handed in by the caller",
                    path.display()
                );
            }
            let used = std_modules(&code);
            let found: Vec<_> = modules
                .iter()
                .filter(|module| used.contains(**module))
                .collect();
            assert!(
                found.is_empty(),
                "{} uses {found:?} of std: files, sockets and processes belong to the crates around it",
                path.display()
            );
        }
    }
}

/// The modules of std a source text names, as `std::fs` or inside `std::{…}`.
fn std_modules(code: &str) -> BTreeSet<&str> {
    let mut modules = BTreeSet::new();
    for used in code.split("std::").skip(1) {
        let list = match used.strip_prefix('{') {
            Some(list) => list.split(';').next().unwrap(),
            None => used
                .split(|c: char| !c.is_alphanumeric() && c != '_')
                .next()
                .unwrap(),
        };
        modules.extend(list.split(|c: char| !c.is_alphanumeric() && c != '_'));
    }
    modules
}

#[test]
fn the_scans_find_what_they_look_for() {
    assert!(words("struct TronClient;").contains("tron"));
    assert!(words("mod tron_node; // TRON-20").contains("tron"));
    assert!(!words("electron, neutrons, strong").contains("tron"));
    assert!(std_modules("use std::fs;").contains("fs"));
    assert!(std_modules("use std::{io, fs::{self, File}};\nlet x = 1;").contains("fs"));
    assert!(!std_modules("use std::io::Read; let fs = 1;").contains("fs"));
}
