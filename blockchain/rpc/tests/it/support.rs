//! A chain of one validator in this process, and raw HTTP.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use alloy_consensus::TxEip1559;
use alloy_primitives::{Address, B256, Bytes, TxKind, U256, keccak256};
use ed25519_dalek::{Signer, SigningKey};
use lucid_chain_types::contracts::LUCID_ANCHORS;
use lucid_chain_types::{
    Block, Certificate, Genesis, GenesisAccount, NodeId, Pace, SLOT_MS, Signature, SignerBitmap,
    Validator, Vote, VoteKind, open_slot_after, vote_sign_bytes, vrf_input,
};
use lucid_client::Wallet;
use lucid_execution::{Proposal, complete_genesis};
use lucid_ledger::{Ledger, LedgerOptions, Pool};
use lucid_poot::vrf::VrfSecret;
use lucid_readmodel::{Embedded, step};
use lucid_rpc::{ModelState, NetworkInfo, RpcHandle, RpcLimits, RpcSettings, serve};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::watch;

pub(crate) const CHAIN_ID: u64 = 77_001;
pub(crate) const GENESIS_TIME: u64 = 1_790_000_000_000;

/// What the funded account has at genesis: 1,000 LUCID.
pub(crate) fn fortune() -> U256 {
    U256::from(10).pow(U256::from(21))
}

pub(crate) struct Solo {
    pub(crate) ledger: Ledger,
    pub(crate) pool: Pool,
    pub(crate) rpc: RpcHandle,
    pub(crate) rich: Wallet,
    pub(crate) node: NodeId,
    key: SigningKey,
    vrf: VrfSecret,
    /// Of the last block.
    time_ms: Mutex<u64>,
    pub(crate) model: watch::Sender<ModelState>,
    _model_folder: TempDir,
    _folder: TempDir,
}

/// A wallet that is the same in every run.
pub(crate) fn wallet(name: &str) -> Wallet {
    Wallet::from_bytes(&keccak256(name).0).unwrap()
}

impl Solo {
    pub(crate) async fn start() -> Self {
        Self::with(RpcSettings::default(), GENESIS_TIME).await
    }

    pub(crate) async fn limited(limits: RpcLimits) -> Self {
        Self::with(
            RpcSettings {
                limits,
                ..RpcSettings::default()
            },
            GENESIS_TIME,
        )
        .await
    }

    pub(crate) async fn with(settings: RpcSettings, genesis_time: u64) -> Self {
        let key = SigningKey::from_bytes(&keccak256("consensus").0);
        let vrf = VrfSecret::from_seed(&keccak256("vrf").0);
        let node = NodeId(wallet("operator").address());
        let rich = wallet("rich");
        let mut accounts = [rich.address(), wallet("filler").address()]
            .map(|address| GenesisAccount {
                address,
                balance: fortune(),
            })
            .to_vec();
        accounts.sort_by_key(|account| account.address);
        let genesis = complete_genesis(Genesis {
            version: Genesis::VERSION,
            chain_id: CHAIN_ID,
            time_ms: genesis_time,
            pace: Pace::DIRECT,
            validators: vec![Validator {
                node,
                consensus_key: B256::new(key.verifying_key().to_bytes()),
                vrf_key: vrf.public(),
            }],
            accounts,
            reward_reserve: fortune(),
            payment_signers: [1, 2, 3].map(Address::repeat_byte),
            parameters: Vec::new(),
            contracts_hash: B256::ZERO,
            state_root: B256::ZERO,
        })
        .unwrap();
        let folder = tempfile::tempdir().unwrap();
        let ledger = Ledger::open(folder.path(), genesis, LedgerOptions::default()).unwrap();
        Self::of(settings, ledger, folder).await
    }

    /// Another node of the chain, which begins with a snapshot of this one.
    pub(crate) async fn join_by_snapshot(&self) -> Self {
        let mut making = self.ledger.snapshot().unwrap();
        let mut pieces = Vec::new();
        while let Some(piece) = making.next().unwrap() {
            pieces.push(piece);
        }
        let genesis = self.ledger.trusted_genesis().unwrap();
        let snapshot = making.finish().unwrap().verify(&genesis).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let genesis = self.ledger.genesis().clone();
        let ledger = Ledger::open(folder.path(), genesis, LedgerOptions::default()).unwrap();
        ledger
            .import(&snapshot, |index| Ok(pieces[index].clone()))
            .unwrap();
        Self::of(RpcSettings::default(), ledger, folder).await
    }

    async fn of(settings: RpcSettings, ledger: Ledger, folder: TempDir) -> Self {
        let key = SigningKey::from_bytes(&keccak256("consensus").0);
        let vrf = VrfSecret::from_seed(&keccak256("vrf").0);
        let node = NodeId(wallet("operator").address());
        let rich = wallet("rich");
        let head = ledger.head().header;
        let time_ms = head.map_or(ledger.genesis().time_ms, |header| header.time_ms);
        let pool = Pool::new(ledger.clone(), lucid_mempool::Limits::default());
        let settings = RpcSettings {
            listen: ([127, 0, 0, 1], 0).into(),
            ..settings
        };
        let model_folder = tempfile::tempdir().unwrap();
        let store = Embedded::open(model_folder.path(), ledger.genesis_hash()).unwrap();
        let model = watch::channel(ModelState {
            store: Some(Arc::new(store)),
            trouble: None,
        });
        let model = model.0;
        let network = NetworkInfo {
            node: Some(node),
            model: Some(model.subscribe()),
            ..NetworkInfo::alone("lucid/test")
        };
        let rpc = serve(settings, ledger.clone(), pool.clone(), network)
            .await
            .unwrap();
        Self {
            ledger,
            pool,
            rpc,
            rich,
            node,
            key,
            vrf,
            time_ms: Mutex::new(time_ms),
            model,
            _model_folder: model_folder,
            _folder: folder,
        }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.rpc.local_addr)
    }

    /// A block with what waits, a second after the last. There are no empty ones: where nothing waits, somebody else sends
    /// something.
    pub(crate) fn mine(&self) -> Block {
        if !self.pool.has_ready() {
            let filler = wallet("filler");
            let nonce = self.pool.next_nonce(filler.address()).unwrap();
            let bytes = sign(&filler, nonce, filler.address(), 0, Bytes::new());
            self.pool.submit(&bytes, true).unwrap();
        }
        let time_ms = *self.time_ms.lock().unwrap() + 1_000;
        self.mine_at(time_ms)
    }

    /// A block that closes its slot.
    pub(crate) fn seal(&self) -> Block {
        let genesis = self.ledger.genesis().time_ms;
        let open = open_slot_after(genesis, self.ledger.head().header.as_ref());
        self.mine_at(genesis + (open.0 + 1) * SLOT_MS)
    }

    pub(crate) fn mine_at(&self, time_ms: u64) -> Block {
        let head = self.ledger.head();
        let genesis = self.ledger.genesis_hash();
        let slot = open_slot_after(self.ledger.genesis().time_ms, head.header.as_ref());
        let proposal = Proposal {
            time_ms,
            round: 0,
            proposer: self.node,
            vrf_proof: self.vrf.prove(&vrf_input(genesis, slot, head.id)),
            last_commit: self.ledger.certificate(head.height).unwrap(),
            evidence: Vec::new(),
            transactions: self.pool.best(4 << 20),
        };
        let built = self.ledger.build(proposal).unwrap();
        let block = built.block;
        let vote = Vote {
            kind: VoteKind::Precommit,
            height: block.header.height,
            round: 0,
            block: Some(block.id()),
            voter: self.node,
        };
        let certificate = Certificate {
            height: block.header.height,
            round: 0,
            block: block.id(),
            signers: SignerBitmap::new(1, [0]),
            signatures: vec![Signature(
                self.key.sign(&vote_sign_bytes(genesis, &vote)).to_bytes(),
            )],
        };
        self.ledger
            .commit(&block, built.executed, &certificate)
            .unwrap();
        self.pool.on_block(&block).unwrap();
        *self.time_ms.lock().unwrap() = time_ms;
        block
    }

    /// Brings the read model up to date, as a node does behind its head.
    pub(crate) fn follow(&self) {
        let store = self.model.borrow().store.clone().unwrap();
        while step(&self.ledger, &*store).unwrap().is_some() {}
    }

    /// A signed transaction of the rich account's.
    pub(crate) fn signed(&self, nonce: u64, to: Address, value: u64, input: Bytes) -> Vec<u8> {
        sign(&self.rich, nonce, to, value, input)
    }

    /// Puts a transaction of the rich account's, with its next nonce, into the pool.
    pub(crate) fn submit(&self, to: Address, value: u64, input: Bytes) -> B256 {
        let nonce = self.pool.next_nonce(self.rich.address()).unwrap();
        self.pool
            .submit(&self.signed(nonce, to, value, input), true)
            .unwrap()
    }

    /// Registers the session that this byte is repeated in.
    pub(crate) fn register(&self, byte: u8) -> B256 {
        self.submit(LUCID_ANCHORS, 0, register_call(byte, self.rich.address()))
    }

    pub(crate) async fn ask(&self, method: &str, params: Value) -> Value {
        let answer = self.answer(method, params).await;
        assert!(answer.get("error").is_none(), "{method}: {answer}");
        answer["result"].clone()
    }

    pub(crate) async fn refused(&self, method: &str, params: Value) -> (i64, String) {
        let answer = self.answer(method, params).await;
        let error = answer
            .get("error")
            .unwrap_or_else(|| panic!("{method} was answered: {answer}"));
        (
            error["code"].as_i64().unwrap(),
            error["message"].as_str().unwrap().to_owned(),
        )
    }

    pub(crate) async fn answer(&self, method: &str, params: Value) -> Value {
        let body =
            json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": params }).to_string();
        let (status, body) = self.post(body.as_bytes()).await;
        assert_eq!(status, 200, "{method}: {body}");
        serde_json::from_str(&body).unwrap_or_else(|error| panic!("{method}: {error}: {body}"))
    }

    pub(crate) async fn post(&self, body: &[u8]) -> (u16, String) {
        let head = format!(
            "POST / HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
            body.len()
        );
        exchange(self.rpc.local_addr, &[head.as_bytes(), body].concat()).await
    }
}

pub(crate) fn sign(wallet: &Wallet, nonce: u64, to: Address, value: u64, input: Bytes) -> Vec<u8> {
    wallet
        .sign(TxEip1559 {
            chain_id: CHAIN_ID,
            nonce,
            gas_limit: 600_000,
            max_fee_per_gas: 10_000_000_000,
            max_priority_fee_per_gas: 1_000,
            to: TxKind::Call(to),
            value: U256::from(value),
            input,
            ..TxEip1559::default()
        })
        .unwrap()
}

/// `registerSession` of LucidAnchors.
pub(crate) fn register_call(byte: u8, owner: Address) -> Bytes {
    let selector =
        &keccak256("registerSession(bytes32,address,bytes32,bytes32,bytes32,uint64)")[..4];
    let word = B256::repeat_byte(byte);
    let chunks = B256::from(U256::from(byte));
    [
        selector,
        word.as_slice(),
        owner.into_word().as_slice(),
        word.as_slice(),
        word.as_slice(),
        word.as_slice(),
        chunks.as_slice(),
    ]
    .concat()
    .into()
}

/// Sends bytes and reads until the other side closes: status and body.
pub(crate) async fn exchange(address: std::net::SocketAddr, request: &[u8]) -> (u16, String) {
    let mut stream = TcpStream::connect(address).await.unwrap();
    // The server may close before it has read all of an oversized request.
    let _ = stream.write_all(request).await;
    let mut answer = Vec::new();
    let _ = tokio::time::timeout(Duration::from_secs(20), stream.read_to_end(&mut answer))
        .await
        .expect("an answer");
    let answer = String::from_utf8_lossy(&answer).into_owned();
    let status = answer
        .get(9..12)
        .and_then(|status| status.parse().ok())
        .unwrap_or(0);
    let body = answer
        .split_once("\r\n\r\n")
        .map(|(_, body)| body.to_owned())
        .unwrap_or_default();
    (status, body)
}

/// A hex quantity as a number.
pub(crate) fn number(value: &Value) -> u64 {
    let text = value
        .as_str()
        .unwrap_or_else(|| panic!("{value} is not a quantity"));
    u64::from_str_radix(text.strip_prefix("0x").unwrap(), 16).unwrap()
}
