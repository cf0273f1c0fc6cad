//! The EVM as it runs here: Ethereum's Prague rules, without anything that could bring in code.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use alloy_primitives::{Address, B256, Bytes, U256};
use alloy_sol_types::SolCall;
use lucid_state::{Account, StateChanges, StateError, StateReader};
use revm::bytecode::{Bytecode, opcode};
use revm::context::result::{EVMError, ExecutionResult, Output};
use revm::context::{BlockEnv, CfgEnv, Context, ContextSetters as _, Journal, TxEnv};
use revm::database::CacheDB;
use revm::database_interface::{DBErrorMarker, DatabaseCommit as _, DatabaseRef};
use revm::handler::{
    EthPrecompiles, ExecuteEvm as _, Handler as _, MainBuilder as _, MainnetEvm, MainnetHandler,
};
use revm::interpreter::Instruction;
use revm::precompile::Precompiles;
use revm::precompile::secp256k1::ECRECOVER;
use revm::primitives::hardfork::SpecId;
use revm::primitives::{StorageKey, StorageValue, TxKind};
use revm::state::{AccountInfo, EvmState};

use crate::ExecutionError;
use crate::receipt::Log;
use lucid_chain_types::contracts::SYSTEM;

/// Ethereum's rules this chain runs by. A later set is a new version of the format.
const RULES: SpecId = SpecId::PRAGUE;

/// Gas of each of the chain's own calls. A seal walks over all registered nodes (at most 1024) and, after a standstill, over
/// their whole window; it must never run out, or the chain would stop.
const SYSTEM_GAS: u64 = 10_000_000_000;

/// `ecrecover` alone: what the contracts call (EIP-712 proofs of work, ERC-20 permits). Pairings, modular powers and
/// point evaluations are code nobody here runs, and each has had consensus bugs somewhere.
static PRECOMPILES: LazyLock<Precompiles> = LazyLock::new(|| {
    let mut set = Precompiles::default();
    set.extend([ECRECOVER]);
    set
});

/// The state's errors, as revm wants them.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub(crate) struct DbError(#[from] StateError);

impl DBErrorMarker for DbError {}

/// A state as revm reads it.
pub(crate) struct Base<'a, R>(&'a R);

impl<R: StateReader> DatabaseRef for Base<'_, R> {
    type Error = DbError;

    fn basic_ref(&self, address: Address) -> Result<Option<AccountInfo>, DbError> {
        let account = self.0.account(address)?;
        Ok(account.map(|account| AccountInfo {
            balance: account.balance,
            nonce: account.nonce,
            code_hash: account.code_hash,
            code: None,
            ..AccountInfo::default()
        }))
    }

    fn code_by_hash_ref(&self, hash: B256) -> Result<Bytecode, DbError> {
        Ok(Bytecode::new_raw(self.0.code(hash)?))
    }

    fn storage_ref(&self, address: Address, slot: StorageKey) -> Result<StorageValue, DbError> {
        Ok(self.0.storage(address, slot)?)
    }

    fn block_hash_ref(&self, _number: u64) -> Result<B256, DbError> {
        // BLOCKHASH is no instruction here (see `Machine::new`).
        Ok(B256::ZERO)
    }
}

/// What a block tells contracts about itself.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Environment {
    pub(crate) chain_id: u64,
    pub(crate) number: u64,
    pub(crate) time_ms: u64,
    pub(crate) gas_limit: u64,
    pub(crate) base_fee: u64,
    pub(crate) beneficiary: Address,
    pub(crate) randomness: B256,
}

type Db<'a, R> = CacheDB<Base<'a, R>>;
type Ctx<'a, R> = Context<BlockEnv, TxEnv, CfgEnv, Db<'a, R>, Journal<Db<'a, R>>, ()>;

/// An EVM on a state, which keeps what changes.
pub(crate) struct Machine<'a, R: StateReader> {
    evm: MainnetEvm<Ctx<'a, R>>,
    changes: StateChanges,
    system_logs: Vec<Log>,
}

/// What a call of the chain itself came to.
pub(crate) struct SystemCall {
    pub(crate) output: Bytes,
    pub(crate) state: EvmState,
    logs: Vec<alloy_primitives::Log>,
}

/// Why a transaction did not run.
pub(crate) enum NotRun {
    /// It is invalid now.
    Invalid(revm::context::result::InvalidTransaction),
    /// This node's fault.
    Own(ExecutionError),
}

impl<'a, R: StateReader> Machine<'a, R> {
    pub(crate) fn new(state: &'a R, environment: &Environment) -> Self {
        let Environment {
            chain_id,
            number,
            time_ms,
            gas_limit,
            base_fee,
            beneficiary,
            randomness,
        } = *environment;
        let block = BlockEnv {
            number: U256::from(number),
            beneficiary,
            timestamp: U256::from(time_ms / 1_000),
            gas_limit,
            basefee: base_fee,
            difficulty: U256::ZERO,
            prevrandao: Some(randomness),
            ..BlockEnv::default()
        };
        let mut context: Ctx<'a, R> = Context::new(CacheDB::new(Base(state)), RULES);
        context.block = block;
        context.cfg.set_spec_and_mainnet_gas_params(RULES);
        context.cfg.chain_id = chain_id;
        // A block's gas is bounded as a whole; one batch may use all of it.
        context.cfg.tx_gas_limit_cap = Some(u64::MAX);
        let mut evm = context.build_mainnet();
        // Requirement C9: nothing can bring code in, and nothing depends on block hashes that a snapshot does not carry.
        let table = evm.instruction.instruction_table_mut();
        for forbidden in [
            opcode::CREATE,
            opcode::CREATE2,
            opcode::SELFDESTRUCT,
            opcode::CALLCODE,
            opcode::BLOCKHASH,
            opcode::BLOBHASH,
            opcode::BLOBBASEFEE,
        ] {
            table[usize::from(forbidden)] = Instruction::unknown();
        }
        evm.precompiles = EthPrecompiles {
            precompiles: &PRECOMPILES,
            spec: RULES,
        };
        Self {
            evm,
            changes: StateChanges::default(),
            system_logs: Vec::new(),
        }
    }

    /// Runs a transaction and keeps what it changed.
    pub(crate) fn transact(&mut self, transaction: TxEnv) -> Result<ExecutionResult, NotRun> {
        let outcome = self
            .evm
            .transact(transaction)
            .map_err(|error| match error {
                EVMError::Transaction(invalid) => NotRun::Invalid(invalid),
                EVMError::Database(error) => NotRun::Own(error.0.into()),
                other => NotRun::Own(ExecutionError::System {
                    what: "a transaction",
                    reason: other.to_string(),
                }),
            })?;
        self.keep(outcome.state);
        Ok(outcome.result)
    }

    /// Runs a transaction and forgets what it changed.
    pub(crate) fn simulate(&mut self, transaction: TxEnv) -> Result<ExecutionResult, NotRun> {
        self.evm
            .transact(transaction)
            .map(|outcome| outcome.result)
            .map_err(|error| match error {
                EVMError::Transaction(invalid) => NotRun::Invalid(invalid),
                EVMError::Database(error) => NotRun::Own(error.0.into()),
                other => NotRun::Own(ExecutionError::System {
                    what: "a call",
                    reason: other.to_string(),
                }),
            })
    }

    /// Lets calls be simulated that no sender could pay for.
    pub(crate) fn without_fees(&mut self) {
        let cfg = &mut self.evm.ctx.cfg;
        cfg.disable_balance_check = true;
        cfg.disable_base_fee = true;
        cfg.disable_nonce_check = true;
        cfg.disable_eip3607 = true;
    }

    /// The chain's own call: no fee, and its failure is a failure of the block.
    pub(crate) fn system<C: SolCall>(
        &mut self,
        what: &'static str,
        to: Address,
        call: &C,
    ) -> Result<(), ExecutionError> {
        let SystemCall { state, logs, .. } = self.system_raw(what, to, call.abi_encode().into())?;
        self.keep(state);
        self.system_logs.extend(logs.iter().map(Log::from));
        Ok(())
    }

    /// Takes the logs of the system calls up to here.
    pub(crate) fn take_system_logs(&mut self) -> Vec<Log> {
        std::mem::take(&mut self.system_logs)
    }

    /// Reads through a contract.
    pub(crate) fn view<C: SolCall>(
        &mut self,
        what: &'static str,
        to: Address,
        call: &C,
    ) -> Result<C::Return, ExecutionError> {
        let SystemCall { output, .. } = self.system_raw(what, to, call.abi_encode().into())?;
        C::abi_decode_returns(&output).map_err(|error| ExecutionError::System {
            what,
            reason: error.to_string(),
        })
    }

    pub(crate) fn system_raw(
        &mut self,
        what: &'static str,
        to: Address,
        data: Bytes,
    ) -> Result<SystemCall, ExecutionError> {
        self.evm.ctx.set_tx(TxEnv {
            caller: SYSTEM,
            kind: TxKind::Call(to),
            data,
            gas_limit: SYSTEM_GAS,
            ..TxEnv::default()
        });
        let result: Result<ExecutionResult, EVMError<DbError>> =
            MainnetHandler::default().run_system_call(&mut self.evm);
        // Also after a failure: what is left in the journal belongs to nothing.
        let state = self.evm.finalize();
        let result = result.map_err(|error| match error {
            EVMError::Database(error) => error.0.into(),
            other => ExecutionError::System {
                what,
                reason: other.to_string(),
            },
        })?;
        match result {
            ExecutionResult::Success {
                output: Output::Call(output),
                logs,
                ..
            } => Ok(SystemCall {
                output,
                state,
                logs,
            }),
            other => Err(ExecutionError::System {
                what,
                reason: describe(&other),
            }),
        }
    }

    /// Puts an account there, as genesis does.
    pub(crate) fn place(&mut self, address: Address, account: Account, code: Option<Bytes>) {
        let bytecode = code.clone().map(Bytecode::new_raw);
        let code_hash = bytecode
            .as_ref()
            .map_or(account.code_hash, Bytecode::hash_slow);
        if let Some(code) = code {
            self.changes.code.insert(code_hash, code);
        }
        let info = AccountInfo {
            balance: account.balance,
            nonce: account.nonce,
            code_hash,
            code: bytecode,
            ..AccountInfo::default()
        };
        self.evm
            .ctx
            .journaled_state
            .database
            .insert_account_info(address, info);
        self.changes.accounts.insert(
            address,
            Some(Account {
                code_hash,
                ..account
            }),
        );
    }

    /// Gives a placed account a balance.
    pub(crate) fn fund(&mut self, address: Address, balance: U256) {
        if let Some(Some(account)) = self.changes.accounts.get_mut(&address) {
            account.balance = balance;
        }
    }

    /// Drops code that nothing has any more.
    pub(crate) fn forget_code(&mut self, hash: B256) {
        self.changes.code.remove(&hash);
    }

    pub(crate) fn keep(&mut self, state: EvmState) {
        for (address, account) in &state {
            if !account.is_touched() {
                continue;
            }
            // EIP-161: what is touched and empty is not kept.
            let now = (!account.is_empty()).then_some(Account {
                nonce: account.info.nonce,
                balance: account.info.balance,
                code_hash: account.info.code_hash,
            });
            self.changes.accounts.insert(*address, now);
            let slots: BTreeMap<U256, U256> = account
                .changed_storage_slots()
                .map(|(slot, value)| (*slot, value.present_value))
                .collect();
            if !slots.is_empty() {
                self.changes
                    .storage
                    .entry(*address)
                    .or_default()
                    .extend(slots);
            }
        }
        self.evm.ctx.journaled_state.database.commit(state);
    }

    pub(crate) fn into_changes(self) -> StateChanges {
        self.changes
    }
}

/// A failure in words, with the revert reason where there is one.
pub(crate) fn describe(result: &ExecutionResult) -> String {
    match result {
        ExecutionResult::Success { .. } => "it succeeded".into(),
        ExecutionResult::Halt { reason, .. } => format!("{reason:?}"),
        ExecutionResult::Revert { output, .. } => alloy_sol_types::decode_revert_reason(output)
            .unwrap_or_else(|| format!("it reverted with {output}")),
    }
}
