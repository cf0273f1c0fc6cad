//! One node, asked over HTTP.

use std::fmt::Debug;
use std::time::Duration;

use alloy_consensus::TxEip1559;
use alloy_eips::eip2930::AccessList;
use alloy_primitives::{Address, B256, Bytes, TxKind, U64, U256};
use alloy_rpc_types_eth::{FeeHistory, Transaction, TransactionReceipt};
use alloy_sol_types::{SolCall, SolEvent};
use data_encoding::BASE64;
use jsonrpsee_core::client::{ClientT, Error};
use jsonrpsee_core::params::BatchRequestBuilder;
use jsonrpsee_http_client::{HttpClient, HttpClientBuilder};
use lucid_chain_types::contracts::LUCID_GOVERNOR;
use lucid_chain_types::{Certificate, CertifiedBlock, Height, NodeId, Slot, decode};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use crate::governance::{Action, Governor, Proposal, ProposalState, calls};
use crate::wire::{
    BlockInfo, CertificateInfo, ModelCollection, ModelPage, ModelQuery, ModelStatus, Parameter,
    PeerInfo, Schedule, SlotInfo, SnapshotInfo, Status, Validators, Work,
};
use crate::{ClientError, Wallet};

/// How long a node may take for one answer.
const TIMEOUT: Duration = Duration::from_secs(30);
/// Most bytes of an answer: a proof of finality over many changes of the validator set is the largest.
const MAX_ANSWER: u32 = 64 << 20;
/// Most bytes of blocks in one answer: a full batch, or one block of the largest size.
const MAX_BLOCKS_BYTES: usize = CertifiedBlock::MAX_BYTES + (1 << 20);
/// How often a receipt is looked for.
const POLL: Duration = Duration::from_millis(200);
/// Gas above the estimate, in percent: what is touched may have grown by the time the transaction runs.
const GAS_MARGIN_PERCENT: u64 = 20;

/// A node.
#[derive(Debug, Clone)]
pub struct Client {
    http: HttpClient,
    url: String,
}

/// What a transaction should offer, wei a gas.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fees {
    /// At most in all: twice the next block's base fee and the tip, so that it stays valid through six full blocks.
    pub max_fee: u128,
    /// To the proposer.
    pub tip: u128,
}

/// A transaction to be made.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Order {
    /// The contract or account.
    pub to: Address,
    /// Wei to send along.
    pub value: U256,
    /// Call data.
    pub input: Bytes,
    /// Gas limit; `None` to ask the node.
    pub gas: Option<u64>,
    /// Nonce; `None` for the next.
    pub nonce: Option<u64>,
    /// Fees; `None` to ask the node.
    pub fees: Option<Fees>,
}

impl Client {
    /// The node at `url`, such as `http://127.0.0.1:8545`. Nothing is sent yet.
    pub fn new(url: &str) -> Result<Self, ClientError> {
        let fault = |reason: String| ClientError::Url {
            url: url.to_owned(),
            reason,
        };
        if !url.starts_with("http://") {
            return Err(fault("it has to begin with http://".to_owned()));
        }
        let http = HttpClientBuilder::default()
            .request_timeout(TIMEOUT)
            .max_response_size(MAX_ANSWER)
            .build(url)
            .map_err(|error| fault(error.to_string()))?;
        Ok(Self {
            http,
            url: url.to_owned(),
        })
    }

    /// Where the node is.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Any method.
    pub async fn request<T: DeserializeOwned>(
        &self,
        method: &'static str,
        params: Vec<Value>,
    ) -> Result<T, ClientError> {
        self.http
            .request(method, params)
            .await
            .map_err(|error| ClientError::of(method, &self.url, error))
    }

    /// Where the chain is, and how the node is.
    pub async fn status(&self) -> Result<Status, ClientError> {
        self.request("lucid_status", Vec::new()).await
    }

    /// The EVM's chain id.
    pub async fn chain_id(&self) -> Result<u64, ClientError> {
        let id: U64 = self.request("eth_chainId", Vec::new()).await?;
        Ok(id.to())
    }

    /// The last final block's height.
    pub async fn height(&self) -> Result<Height, ClientError> {
        let height: U64 = self.request("eth_blockNumber", Vec::new()).await?;
        Ok(Height(height.to()))
    }

    /// A block by number, id or `latest`, `None` if there is none.
    pub async fn block(&self, block: &str) -> Result<Option<BlockInfo>, ClientError> {
        let parameter = block
            .parse::<u64>()
            .map_or_else(|_| json!(block), |number| json!(number));
        self.request("lucid_block", vec![parameter]).await
    }

    /// A transaction that is in a block or waits.
    pub async fn transaction(&self, hash: B256) -> Result<Option<Transaction>, ClientError> {
        self.request("eth_getTransactionByHash", vec![json!(hash)])
            .await
    }

    /// What became of a transaction that is in a block.
    pub async fn receipt(&self, hash: B256) -> Result<Option<TransactionReceipt>, ClientError> {
        self.request("eth_getTransactionReceipt", vec![json!(hash)])
            .await
    }

    /// What became of many transactions, in their order, by one request; `None` for one that is in no block. A node takes 100 at
    /// once unless it is configured otherwise (`rpc.max_batch`).
    pub async fn receipts(
        &self,
        hashes: &[B256],
    ) -> Result<Vec<Option<TransactionReceipt>>, ClientError> {
        let answers = self
            .request_each("eth_getTransactionReceipt", hashes)
            .await?;
        answers.into_iter().collect()
    }

    /// A slot, the open one without a number.
    pub async fn slot(&self, slot: Option<Slot>) -> Result<SlotInfo, ClientError> {
        self.request("lucid_slot", vec![json!(slot)]).await
    }

    /// Who leads, now and next.
    pub async fn schedule(&self) -> Result<Schedule, ClientError> {
        self.request("lucid_schedule", Vec::new()).await
    }

    /// Who votes on a height, the next one without a number.
    pub async fn validators(&self, height: Option<Height>) -> Result<Validators, ClientError> {
        self.request("lucid_validators", vec![json!(height)]).await
    }

    /// Governed parameters.
    pub async fn params(&self) -> Result<Vec<Parameter>, ClientError> {
        self.request("lucid_params", Vec::new()).await
    }

    /// What a node has done, `None` if it never registered.
    pub async fn work(&self, node: NodeId) -> Result<Option<Work>, ClientError> {
        self.request("lucid_work", vec![json!(node)]).await
    }

    /// A proof that a block is final, to be read with `lucid_light::FinalityProof::decode`.
    pub async fn finality_proof(&self, height: Height) -> Result<Vec<u8>, ClientError> {
        let proof: Bytes = self
            .request("lucid_finalityProof", vec![json!(height)])
            .await?;
        Ok(proof.to_vec())
    }

    /// A block's certificate as the node tells it. Whoever relies on it checks it with `lucid-light`.
    pub async fn certificate(&self, height: Height) -> Result<Option<Certificate>, ClientError> {
        const METHOD: &str = "lucid_certificate";
        let Some(info) = self
            .request::<Option<CertificateInfo>>(METHOD, vec![json!(height)])
            .await?
        else {
            return Ok(None);
        };
        Certificate::decode(&info.certificate)
            .map(Some)
            .map_err(|error| ClientError::Answer {
                method: METHOD,
                reason: error.to_string(),
            })
    }

    /// Blocks from a height on with what makes them final, as many as the node puts into one answer; none above its head. Whoever
    /// relies on them checks their certificates.
    pub async fn blocks(&self, from: Height) -> Result<Vec<CertifiedBlock>, ClientError> {
        const METHOD: &str = "lucid_blocks";
        let answer: String = self.request(METHOD, vec![json!(from)]).await?;
        let fault = |reason: String| ClientError::Answer {
            method: METHOD,
            reason,
        };
        let list: Vec<Vec<u8>> = decode("an answer", &unbase(METHOD, &answer)?, MAX_BLOCKS_BYTES)
            .map_err(|error| fault(error.to_string()))?;
        list.iter()
            .map(|bytes| CertifiedBlock::decode(bytes).map_err(|error| fault(error.to_string())))
            .collect()
    }

    /// The newest snapshot that the node keeps, `None` if it keeps none: its height and manifest.
    pub async fn snapshot(&self) -> Result<Option<(Height, Vec<u8>)>, ClientError> {
        const METHOD: &str = "lucid_snapshot";
        let info: Option<SnapshotInfo> = self.request(METHOD, Vec::new()).await?;
        info.map(|info| Ok((info.height, unbase(METHOD, &info.manifest)?)))
            .transpose()
    }

    /// A piece of a snapshot, `None` if the node does not have it.
    pub async fn snapshot_piece(
        &self,
        height: Height,
        index: usize,
    ) -> Result<Option<Vec<u8>>, ClientError> {
        const METHOD: &str = "lucid_snapshotPiece";
        let piece: Option<String> = self
            .request(METHOD, vec![json!(height), json!(index)])
            .await?;
        piece.map(|piece| unbase(METHOD, &piece)).transpose()
    }

    /// Connected peers.
    pub async fn peers(&self) -> Result<Vec<PeerInfo>, ClientError> {
        self.request("lucid_peers", Vec::new()).await
    }

    /// How far the node's read model is.
    pub async fn read_model(&self) -> Result<ModelStatus, ClientError> {
        self.request("lucid_readModel", Vec::new()).await
    }

    /// A session of the read model by its id; it proves nothing.
    pub async fn session_document(&self, id: &str) -> Result<Option<Value>, ClientError> {
        self.request("lucid_session", vec![json!(id)]).await
    }

    /// A page of a collection of the read model; it proves nothing.
    pub async fn collection(
        &self,
        collection: ModelCollection,
        query: &ModelQuery,
    ) -> Result<ModelPage, ClientError> {
        self.request(collection.method(), vec![json!(query)]).await
    }

    /// An account's coins, wei.
    pub async fn balance(&self, account: Address) -> Result<U256, ClientError> {
        self.request("eth_getBalance", vec![json!(account), json!("latest")])
            .await
    }

    /// The nonce of an account's next transaction, after those that wait.
    pub async fn next_nonce(&self, account: Address) -> Result<u64, ClientError> {
        let nonce: U64 = self
            .request(
                "eth_getTransactionCount",
                vec![json!(account), json!("pending")],
            )
            .await?;
        Ok(nonce.to())
    }

    /// How many of an account's transactions are final.
    pub async fn final_nonce(&self, account: Address) -> Result<u64, ClientError> {
        let nonce: U64 = self
            .request(
                "eth_getTransactionCount",
                vec![json!(account), json!("latest")],
            )
            .await?;
        Ok(nonce.to())
    }

    /// What a transaction should offer now.
    pub async fn fees(&self) -> Result<Fees, ClientError> {
        const METHOD: &str = "eth_feeHistory";
        let tip: U256 = self.request("eth_maxPriorityFeePerGas", Vec::new()).await?;
        let history: FeeHistory = self
            .request(METHOD, vec![json!("0x1"), json!("latest"), json!([])])
            .await?;
        let missing = || ClientError::Answer {
            method: METHOD,
            reason: "no base fee".to_owned(),
        };
        let base_fee = history.base_fee_per_gas.last().ok_or_else(missing)?;
        let tip = u128::try_from(tip).unwrap_or(u128::MAX);
        Ok(Fees {
            max_fee: base_fee.saturating_mul(2).saturating_add(tip),
            tip,
        })
    }

    /// Runs a call on the newest state, without a transaction.
    pub async fn call(&self, to: Address, input: &Bytes) -> Result<Bytes, ClientError> {
        self.request(
            "eth_call",
            vec![json!({ "to": to, "input": input }), json!("latest")],
        )
        .await
    }

    /// Asks a contract's view, on the newest state.
    pub async fn view<C: SolCall>(&self, to: Address, call: &C) -> Result<C::Return, ClientError> {
        let answer = self.call(to, &call.abi_encode().into()).await?;
        C::abi_decode_returns(&answer).map_err(|error| ClientError::Answer {
            method: C::SIGNATURE,
            reason: error.to_string(),
        })
    }

    /// Gas a transaction would use.
    pub async fn estimate(&self, from: Address, order: &Order) -> Result<u64, ClientError> {
        let call =
            json!({ "from": from, "to": order.to, "input": order.input, "value": order.value });
        let gas: U64 = self.request("eth_estimateGas", vec![call]).await?;
        Ok(gas.to())
    }

    /// Sends a signed transaction.
    pub async fn send_raw(&self, transaction: &[u8]) -> Result<B256, ClientError> {
        let transaction = Bytes::copy_from_slice(transaction);
        self.request("eth_sendRawTransaction", vec![json!(transaction)])
            .await
    }

    /// Sends many signed transactions in one request, and says what became of each, in their order. A node takes 100 at once
    /// unless it is configured otherwise (`rpc.max_batch`).
    pub async fn send_raw_batch(
        &self,
        transactions: &[impl AsRef<[u8]>],
    ) -> Result<Vec<Result<B256, ClientError>>, ClientError> {
        let transactions: Vec<Bytes> = transactions
            .iter()
            .map(|bytes| Bytes::copy_from_slice(bytes.as_ref()))
            .collect();
        self.request_each("eth_sendRawTransaction", &transactions)
            .await
    }

    /// A method of one parameter, called once for each of these in one request; what became of each, in their order.
    async fn request_each<P: Serialize, T: DeserializeOwned + Debug + 'static>(
        &self,
        method: &'static str,
        parameters: &[P],
    ) -> Result<Vec<Result<T, ClientError>>, ClientError> {
        // An empty batch is an invalid request (JSON-RPC 2.0 section 6).
        if parameters.is_empty() {
            return Ok(Vec::new());
        }
        let mut batch = BatchRequestBuilder::new();
        for parameter in parameters {
            batch
                .insert(method, jsonrpsee_core::rpc_params![parameter])
                .map_err(|error| ClientError::Answer {
                    method,
                    reason: error.to_string(),
                })?;
        }
        let answers = self
            .http
            .batch_request::<T>(batch)
            .await
            .map_err(|error| ClientError::of(method, &self.url, error))?;
        Ok(answers
            .into_iter()
            .map(|answer| {
                answer.map_err(|error| {
                    ClientError::of(method, &self.url, Error::Call(error.into_owned()))
                })
            })
            .collect())
    }

    /// Fills in what is missing, signs, and sends.
    pub async fn send(&self, wallet: &Wallet, order: Order) -> Result<B256, ClientError> {
        let from = wallet.address();
        let gas_limit = match order.gas {
            Some(gas) => gas,
            None => {
                let estimate = self.estimate(from, &order).await?;
                estimate.saturating_add(estimate / 100 * GAS_MARGIN_PERCENT)
            }
        };
        let fees = match order.fees {
            Some(fees) => fees,
            None => self.fees().await?,
        };
        let nonce = match order.nonce {
            Some(nonce) => nonce,
            None => self.next_nonce(from).await?,
        };
        let transaction = TxEip1559 {
            chain_id: self.chain_id().await?,
            nonce,
            gas_limit,
            max_fee_per_gas: fees.max_fee,
            max_priority_fee_per_gas: fees.tip,
            to: TxKind::Call(order.to),
            value: order.value,
            access_list: AccessList::default(),
            input: order.input,
        };
        self.send_raw(&wallet.sign(transaction)?).await
    }

    /// Waits until a block has the transaction.
    pub async fn wait_for_receipt(
        &self,
        hash: B256,
        patience: Duration,
    ) -> Result<TransactionReceipt, ClientError> {
        let end = Instant::now() + patience;
        loop {
            if let Some(receipt) = self.receipt(hash).await? {
                return Ok(receipt);
            }
            if Instant::now() >= end {
                return Err(ClientError::NotIncluded {
                    hash,
                    waited: patience,
                });
            }
            sleep(POLL).await;
        }
    }

    /// Sends, waits, and turns a failure of the transaction into an error that says why, as far as running it again tells.
    pub async fn send_and_wait(
        &self,
        wallet: &Wallet,
        order: Order,
        patience: Duration,
    ) -> Result<TransactionReceipt, ClientError> {
        let (to, input, value) = (order.to, order.input.clone(), order.value);
        let hash = self.send(wallet, order).await?;
        let receipt = self.wait_for_receipt(hash, patience).await?;
        if receipt.status() {
            return Ok(receipt);
        }
        let call = json!({ "from": wallet.address(), "to": to, "input": input, "value": value });
        self.request::<Bytes>("eth_call", vec![call, json!("latest")])
            .await?;
        Err(ClientError::Failed { hash })
    }

    /// Proposes; the proposal's number.
    pub async fn propose(
        &self,
        wallet: &Wallet,
        action: &Action,
        description: &str,
        patience: Duration,
    ) -> Result<U256, ClientError> {
        let input = calls::propose(action, description).ok_or(ClientError::Key)?;
        let receipt = self.govern(wallet, input, patience).await?;
        receipt
            .inner
            .logs()
            .iter()
            .find_map(|log| Governor::ProposalCreated::decode_log(&log.inner).ok())
            .map(|event| event.id)
            .ok_or_else(|| ClientError::Answer {
                method: "eth_getTransactionReceipt",
                reason: "the governor did not say which number the proposal got".to_owned(),
            })
    }

    /// Sends one of [`calls`] to the governor and waits.
    pub async fn govern(
        &self,
        wallet: &Wallet,
        input: Bytes,
        patience: Duration,
    ) -> Result<TransactionReceipt, ClientError> {
        let order = Order {
            to: LUCID_GOVERNOR,
            input,
            ..Order::default()
        };
        self.send_and_wait(wallet, order, patience).await
    }

    /// A proposal.
    pub async fn proposal(&self, id: U256) -> Result<Proposal, ClientError> {
        let stored = self
            .view(LUCID_GOVERNOR, &Governor::proposalsCall { id })
            .await?;
        let state = self
            .view(LUCID_GOVERNOR, &Governor::stateCall { id })
            .await?;
        Ok(Proposal {
            id,
            proposer: stored.proposer,
            action: Action::decode(stored.action, &stored.data),
            state: ProposalState::from_code(state),
            created_slot: stored.createdSlot,
            end_slot: stored.endSlot,
            eligible: stored.eligibleAtStart,
            votes_for: stored.votesFor,
            votes_against: stored.votesAgainst,
            votes_abstain: stored.votesAbstain,
            eta: (stored.eta != 0).then_some(stored.eta),
        })
    }

    /// The newest proposals, newest first, `most` of them.
    pub async fn proposals(&self, most: usize) -> Result<Vec<Proposal>, ClientError> {
        let count = self
            .view(LUCID_GOVERNOR, &Governor::proposalCountCall {})
            .await?;
        let mut proposals = Vec::new();
        let mut id = count;
        while !id.is_zero() && proposals.len() < most {
            proposals.push(self.proposal(id).await?);
            id -= U256::from(1);
        }
        Ok(proposals)
    }
}

fn unbase(method: &'static str, text: &str) -> Result<Vec<u8>, ClientError> {
    BASE64
        .decode(text.as_bytes())
        .map_err(|error| ClientError::Answer {
            method,
            reason: error.to_string(),
        })
}
