//! A new network: keys, the genesis file all share, and each node's configuration.
//!
//! ```text
//!  OUT/genesis.json          to give to everyone who checks the chain
//!     /funded.key            an account with coins, to begin with
//!     /node0, node1, …       folders for 'lucid node', see crate::home
//! ```

use std::fs;
use std::io::Write as _;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

use alloy_primitives::{Address, B256, U256};
use lucid_chain_types::{Genesis, GenesisAccount, GenesisParameter, NodeId, Pace, Validator};
use lucid_client::Wallet;
use lucid_poot::vrf::VrfSecret;

use crate::NodeError;
use crate::config::{NodeConfig, Role};
use crate::home::{Home, KeyFile};

/// 10¹⁸ wei.
pub const COIN: u64 = 1_000_000_000_000_000_000;
/// Coins an operator starts with: enough for the bond and years of beacons.
const OPERATOR_COINS: u64 = 1_000;
/// Coins of the account made to begin with.
const FUNDED_COINS: u64 = 1_000_000;
/// Coins set aside for work: at a tenth of a coin a slot they last 380 years.
const RESERVE_COINS: u64 = 10_000_000;

/// What a network is made from.
#[derive(Debug, Clone)]
pub struct NetworkOptions {
    /// Folder to make.
    pub out: PathBuf,
    /// Validators.
    pub validators: usize,
    /// Nodes that only follow.
    pub full: usize,
    /// The EVM's chain id.
    pub chain_id: u64,
    /// How fast the chain runs.
    pub pace: Pace,
    /// When slot 0 begins, ms since the Unix epoch.
    pub time_ms: u64,
    /// Where each node is.
    pub places: Vec<NodePlace>,
    /// Accounts that start with coins, besides the operators and the one that is made.
    pub accounts: Vec<GenesisAccount>,
    /// Governed parameters away from their defaults.
    pub parameters: Vec<GenesisParameter>,
    /// Whether the nodes keep chunks for others.
    pub custody: bool,
}

/// Addresses of one node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NodePlace {
    /// Address that peers reach it at.
    pub host: IpAddr,
    /// Port of votes and blocks.
    pub p2p: u16,
    /// Port of transactions and snapshots.
    pub gossip: u16,
    /// Port of JSON-RPC, on loopback.
    pub rpc: u16,
    /// Port of `/health` and `/metrics`, on loopback.
    pub monitor: u16,
    /// Port of chunks.
    pub custody: u16,
}

impl NodePlace {
    /// A node on an address of its own, with the usual ports (ARCHITECTURE.md).
    pub const fn alone(host: IpAddr) -> Self {
        Self {
            host,
            p2p: 26_656,
            gossip: 26_657,
            rpc: 8_545,
            monitor: 9_090,
            custody: 26_658,
        }
    }

    /// The `index`-th of several nodes on one machine: five ports each from `base` on.
    pub fn shared(base: u16, index: u16) -> Self {
        let first = base.saturating_add(index.saturating_mul(5));
        Self {
            host: IpAddr::V4(Ipv4Addr::LOCALHOST),
            p2p: first,
            gossip: first.saturating_add(1),
            rpc: first.saturating_add(2),
            monitor: first.saturating_add(3),
            custody: first.saturating_add(4),
        }
    }

    fn multiaddress(&self, port: u16) -> String {
        let family = if self.host.is_ipv4() { "ip4" } else { "ip6" };
        format!("/{family}/{}/tcp/{port}", self.host)
    }
}

/// A network that was made.
#[derive(Debug)]
pub struct Network {
    /// Its genesis.
    pub genesis: Genesis,
    /// Folders of its nodes, validators first.
    pub nodes: Vec<Home>,
    /// Key file of the account with coins.
    pub funded_key: PathBuf,
    /// That account.
    pub funded: Address,
}

/// Makes a network's files. The folder must not hold one yet; nothing is overwritten.
pub fn network(options: &NetworkOptions) -> Result<Network, NodeError> {
    let out = &options.out;
    let genesis_path = out.join("genesis.json");
    if genesis_path.exists() {
        return Err(NodeError::NetworkExists(genesis_path));
    }
    fs::create_dir_all(out).map_err(|source| NodeError::file(out, source))?;
    let count = options.validators + options.full;
    let nodes: Vec<Home> = (0..count)
        .map(|index| Home::new(out.join(format!("node{index}"))))
        .collect();

    let mut validators = Vec::new();
    let mut accounts = options.accounts.clone();
    for (index, home) in nodes.iter().enumerate() {
        home.make_key(KeyFile::Operator)?;
        home.make_key(KeyFile::Network)?;
        let node = home.node_id()?;
        accounts.push(coins(node.0, OPERATOR_COINS));
        if index < options.validators {
            validators.push(validator(home, node)?);
        }
    }
    let funded_key = out.join("funded.key");
    let funded = make_account(&funded_key)?;
    accounts.push(coins(funded, FUNDED_COINS));
    accounts.sort_by_key(|account| account.address);
    accounts.dedup_by(|later, first| {
        let same = later.address == first.address;
        if same {
            first.balance = first.balance.saturating_add(later.balance);
        }
        same
    });
    validators.sort_by_key(|validator| validator.node);
    let mut parameters = options.parameters.clone();
    parameters.sort_by(|a, b| a.key.cmp(&b.key));

    // Payment signers are rotated by vote (C5); until then they are accounts nobody else has: the first three operators, or
    // fresh ones where there are fewer.
    let mut payment_signers = [Address::ZERO; 3];
    for (index, signer) in payment_signers.iter_mut().enumerate() {
        *signer = match nodes.get(index) {
            Some(home) => home.node_id()?.0,
            None => make_account(&out.join(format!("payment-signer{index}.key")))?,
        };
    }
    let genesis = lucid_execution::complete_genesis(Genesis {
        version: Genesis::VERSION,
        chain_id: options.chain_id,
        time_ms: options.time_ms,
        pace: options.pace,
        validators,
        accounts,
        reward_reserve: U256::from(RESERVE_COINS) * U256::from(COIN),
        payment_signers,
        parameters,
        contracts_hash: B256::ZERO,
        state_root: B256::ZERO,
    })?;
    let text = genesis.to_json().map_err(|source| NodeError::Genesis {
        path: genesis_path.clone(),
        source,
    })?;
    for (index, home) in nodes.iter().enumerate() {
        write_new(&home.genesis_path(), &text)?;
        let role = if index < options.validators {
            Role::Validator
        } else {
            Role::Full
        };
        let config = node_config(index, role, &nodes, options)?;
        write_new(&home.config_path(), &config)?;
    }
    // Last, since it is what says that a network is there.
    write_new(&genesis_path, &text)?;
    Ok(Network {
        genesis,
        nodes,
        funded_key,
        funded,
    })
}

fn coins(address: Address, coins: u64) -> GenesisAccount {
    GenesisAccount {
        address,
        balance: U256::from(coins) * U256::from(COIN),
    }
}

fn validator(home: &Home, node: NodeId) -> Result<Validator, NodeError> {
    let consensus = home.make_key(KeyFile::Consensus)?;
    let vrf = VrfSecret::from_seed(&*home.make_key(KeyFile::Vrf)?);
    Ok(Validator {
        node,
        consensus_key: B256::new(
            ed25519_dalek::SigningKey::from_bytes(&consensus)
                .verifying_key()
                .to_bytes(),
        ),
        vrf_key: vrf.public(),
    })
}

fn make_account(path: &Path) -> Result<Address, NodeError> {
    let wallet = Wallet::generate()?;
    wallet.save(path)?;
    Ok(wallet.address())
}

/// A node's name among peers.
pub fn peer_id(home: &Home) -> Result<libp2p::PeerId, NodeError> {
    let mut seed = home.key(KeyFile::Network)?;
    let pair =
        libp2p::identity::Keypair::ed25519_from_bytes(seed.as_mut_slice()).map_err(|error| {
            NodeError::Key {
                path: home.key_path(KeyFile::Network),
                reason: error.to_string(),
            }
        })?;
    Ok(pair.public().to_peer_id())
}

fn node_config(
    index: usize,
    role: Role,
    nodes: &[Home],
    options: &NetworkOptions,
) -> Result<String, NodeError> {
    let places = &options.places;
    let Some(own) = places.get(index) else {
        return Err(NodeError::Places {
            nodes: nodes.len(),
            places: places.len(),
        });
    };
    let mut config = NodeConfig::default();
    config.node.moniker = format!("node{index}");
    config.node.role = role;
    config.p2p.listen = own.multiaddress(own.p2p);
    config.gossip.listen = own.multiaddress(own.gossip);
    config.rpc.listen = format!("127.0.0.1:{}", own.rpc);
    config.monitor.listen = format!("127.0.0.1:{}", own.monitor);
    config.custody.enabled = options.custody;
    config.custody.listen = SocketAddr::new(own.host, own.custody).to_string();
    for (other, (home, place)) in nodes.iter().zip(places).enumerate() {
        if other != index {
            let id = peer_id(home)?;
            config
                .p2p
                .peers
                .push(format!("{}/p2p/{id}", place.multiaddress(place.p2p)));
            config
                .gossip
                .peers
                .push(format!("{}/p2p/{id}", place.multiaddress(place.gossip)));
        }
    }
    let text = toml::to_string(&config).map_err(|error| NodeError::Encode(error.to_string()))?;
    Ok(format!(
        "# What each value means is said in configs/node.toml. On SIGHUP the file is read again.\n\n{text}"
    ))
}

fn write_new(path: &Path, text: &str) -> Result<(), NodeError> {
    let write = || {
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder)?;
        }
        let mut file = fs::OpenOptions::new()
            .write(true)
            .create_new(true)
            .open(path)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()
    };
    write().map_err(|source| NodeError::file(path, source))
}
