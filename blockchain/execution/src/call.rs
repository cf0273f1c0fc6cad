//! Reading: `eth_call`, gas estimates, and what the contracts know, typed.

use alloy_primitives::{Address, B256, Bytes, TxKind, U256};
use lucid_chain_types::{Header, Height, NodeId, Slot, ValidatorSet};
use lucid_state::StateReader;
use revm::context::TxEnv;
use revm::context::result::{ExecutionResult, Output};

use crate::block::{Chain, next_block, nodes, prev_randao, tally, validator_set};
use crate::contracts::interfaces::{LucidAnchors, ParamRegistry, Session, WorkCredits};
use crate::evm::{Environment, Machine, NotRun};
use crate::fees::NextBlock;
use crate::receipt::Tallied;
use crate::transaction::MIN_GAS;
use crate::{ExecutionError, TransactionError};
use lucid_chain_types::contracts::{LUCID_ANCHORS, PARAM_REGISTRY, WORK_CREDITS};

/// A call that changes nothing.
#[derive(Debug, Clone, Default)]
pub struct Call {
    /// Who calls.
    pub from: Address,
    /// What is called.
    pub to: Address,
    /// Coins sent along, wei.
    pub value: U256,
    /// Call data.
    pub data: Bytes,
    /// Most gas to use.
    pub gas: u64,
}

/// What a call came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CallOutcome {
    /// It returned.
    Returned {
        /// What.
        output: Bytes,
        /// Gas used.
        gas_used: u64,
    },
    /// It reverted.
    Reverted {
        /// The reason, ABI-encoded.
        output: Bytes,
        /// Gas used.
        gas_used: u64,
    },
    /// It failed and used all its gas.
    Failed {
        /// Why.
        reason: String,
    },
}

/// A governed parameter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parameter {
    /// Its key.
    pub key: String,
    /// Its value.
    pub value: U256,
    /// Least value.
    pub min: U256,
    /// Most.
    pub max: U256,
}

/// A state read through the contracts.
pub struct View<'a, R: StateReader> {
    machine: Machine<'a, R>,
}

impl Chain {
    fn after(&self, header: Option<&Header>) -> Environment {
        let Some(header) = header else {
            return self.reading(Height::GENESIS);
        };
        Environment {
            chain_id: header.chain_id,
            number: header.height.0,
            time_ms: header.time_ms,
            gas_limit: u64::MAX,
            base_fee: header.base_fee,
            beneficiary: header.proposer.0,
            randomness: prev_randao(header),
        }
    }

    /// Runs a call on the state after a block; on genesis where there is no header.
    pub fn call<R: StateReader>(
        &self,
        state: &R,
        header: Option<&Header>,
        call: &Call,
    ) -> Result<CallOutcome, ExecutionError> {
        let mut machine = Machine::new(state, &self.after(header));
        machine.without_fees();
        simulate(&mut machine, call, call.gas)
    }

    /// The least gas limit with which a call succeeds, at most [`Call::gas`]; the outcome with all of it where none does.
    pub fn estimate_gas<R: StateReader>(
        &self,
        state: &R,
        header: Option<&Header>,
        call: &Call,
    ) -> Result<Result<u64, CallOutcome>, ExecutionError> {
        let mut machine = Machine::new(state, &self.after(header));
        machine.without_fees();
        let all = simulate(&mut machine, call, call.gas)?;
        let CallOutcome::Returned { gas_used, .. } = all else {
            return Ok(Err(all));
        };
        // What it used is a lower bound, and mostly enough; but of the gas it forwards a call may keep a 64th back (EIP-150), and
        // refunds come last.
        let (mut fails, mut works) = (gas_used.saturating_sub(1), call.gas.max(gas_used));
        let mut guesses = [gas_used, gas_used + gas_used / 32].into_iter();
        while works - fails > 1 + works / 100 {
            let middle = fails + (works - fails) / 2;
            let guess = guesses.next().unwrap_or(middle).clamp(fails + 1, works - 1);
            if matches!(
                simulate(&mut machine, call, guess)?,
                CallOutcome::Returned { .. }
            ) {
                works = guess;
            } else {
                fails = guess;
            }
        }
        Ok(Ok(works))
    }

    /// The state after a block, read through the contracts.
    pub fn view<'a, R: StateReader>(&self, state: &'a R) -> View<'a, R> {
        View {
            machine: Machine::new(state, &self.reading(Height::GENESIS)),
        }
    }
}

fn simulate<R: StateReader>(
    machine: &mut Machine<'_, R>,
    call: &Call,
    gas: u64,
) -> Result<CallOutcome, ExecutionError> {
    let transaction = TxEnv {
        caller: call.from,
        gas_limit: gas.max(MIN_GAS),
        kind: TxKind::Call(call.to),
        value: call.value,
        data: call.data.clone(),
        chain_id: None,
        ..TxEnv::default()
    };
    match machine.simulate(transaction) {
        Ok(result) => {
            let gas_used = result.tx_gas_used();
            Ok(match result {
                ExecutionResult::Success {
                    output: Output::Call(output) | Output::Create(output, _),
                    ..
                } => CallOutcome::Returned { output, gas_used },
                ExecutionResult::Revert { output, .. } => {
                    CallOutcome::Reverted { output, gas_used }
                }
                ExecutionResult::Halt { reason, .. } => CallOutcome::Failed {
                    reason: format!("{reason:?}"),
                },
            })
        }
        Err(NotRun::Invalid(invalid)) => Ok(CallOutcome::Failed {
            reason: TransactionError::Other(invalid.to_string()).to_string(),
        }),
        Err(NotRun::Own(error)) => Err(error),
    }
}

impl<R: StateReader> View<'_, R> {
    /// Who votes.
    pub fn validators(&mut self) -> Result<ValidatorSet, ExecutionError> {
        let call = WorkCredits::validatorsCall {};
        validator_set(
            self.machine
                .view("WorkCredits.validators", WORK_CREDITS, &call)?,
        )
    }

    /// All registered nodes.
    pub fn tally(&mut self) -> Result<Vec<Tallied>, ExecutionError> {
        tally(&mut self.machine)
    }

    /// Who leads the open slot, in which order.
    pub fn current_order(&mut self) -> Result<(Slot, Vec<NodeId>), ExecutionError> {
        let call = WorkCredits::currentOrderCall {};
        let current = self
            .machine
            .view("WorkCredits.currentOrder", WORK_CREDITS, &call)?;
        Ok((Slot(current.slot), nodes(current.order)))
    }

    /// Who leads the slot after it.
    pub fn next_order(&mut self) -> Result<(Slot, Vec<NodeId>), ExecutionError> {
        let next = self.machine.view(
            "WorkCredits.nextOrder",
            WORK_CREDITS,
            &WorkCredits::nextOrderCall {},
        )?;
        Ok((Slot(next.slot), nodes(next.order)))
    }

    /// What the block after `parent`, whose state this is, charges and holds.
    pub fn next_block(&mut self, parent: Option<&Header>) -> Result<NextBlock, ExecutionError> {
        next_block(&mut self.machine, parent)
    }

    /// Governed parameters and their bounds.
    pub fn parameters(&mut self) -> Result<Vec<Parameter>, ExecutionError> {
        let list = self.machine.view(
            "ParamRegistry.list",
            PARAM_REGISTRY,
            &ParamRegistry::listCall {},
        )?;
        let rows = list
            .keys
            .iter()
            .zip(&list.values)
            .zip(list.mins.iter().zip(&list.maxs));
        Ok(rows
            .map(|((key, value), (min, max))| Parameter {
                key: text(key),
                value: *value,
                min: *min,
                max: *max,
            })
            .collect())
    }

    /// Share of slots a node was up in since it joined, in the window, 1/10,000.
    pub fn uptime_bps(&mut self, node: NodeId) -> Result<u16, ExecutionError> {
        let call = WorkCredits::uptimeBpsCall { node: node.0 };
        self.machine
            .view("WorkCredits.uptimeBps", WORK_CREDITS, &call)
    }

    /// What a node has earned, wei.
    pub fn earned(&mut self, node: NodeId) -> Result<U256, ExecutionError> {
        self.machine.view(
            "WorkCredits.earned",
            WORK_CREDITS,
            &WorkCredits::earnedCall { node: node.0 },
        )
    }

    /// What is anchored of a session; its status is 0 where nothing is.
    pub fn session(&mut self, id: B256) -> Result<Session, ExecutionError> {
        let call = LucidAnchors::sessionCall { id };
        self.machine
            .view("LucidAnchors.session", LUCID_ANCHORS, &call)
    }

    /// Whether a node may vote in governance.
    pub fn eligible(&mut self, node: NodeId) -> Result<bool, ExecutionError> {
        self.machine.view(
            "WorkCredits.eligible",
            WORK_CREDITS,
            &WorkCredits::eligibleCall { node: node.0 },
        )
    }
}

fn text(word: &B256) -> String {
    let length = word.iter().position(|byte| *byte == 0).unwrap_or(32);
    String::from_utf8_lossy(&word[..length]).into_owned()
}
