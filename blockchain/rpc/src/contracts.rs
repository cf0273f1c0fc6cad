//! Questions to the genesis contracts.

use lucid_chain_types::{Height, NodeId, Slot};
use lucid_client::wire::{Parameter, Work};
use lucid_execution::{Tallied, View};
use lucid_state::Historic;

use crate::backend::Backend;
use crate::error::CallResult;

/// Asks the contracts in the state after a height.
fn ask<T>(
    node: &Backend,
    height: Height,
    question: impl FnOnce(&mut View<'_, Historic>) -> Result<T, lucid_execution::ExecutionError>,
) -> CallResult<T> {
    let state = node.ledger.state_at(height)?;
    Ok(question(&mut node.ledger.chain().view(&state))?)
}

/// Every governed parameter.
pub(crate) fn params(node: &Backend, height: Height) -> CallResult<Vec<Parameter>> {
    let parameters = ask(node, height, |view| view.parameters())?;
    Ok(parameters
        .into_iter()
        .map(|it| Parameter {
            key: it.key,
            value: it.value,
            min: it.min,
            max: it.max,
        })
        .collect())
}

/// The slot after the open one, and who leads it.
pub(crate) fn next_order(node: &Backend, height: Height) -> CallResult<(Slot, Vec<NodeId>)> {
    ask(node, height, |view| view.next_order())
}

/// What a node has done, `None` if it is not registered.
pub(crate) fn work(node: &Backend, height: Height, entity: NodeId) -> CallResult<Option<Work>> {
    ask(node, height, |view| {
        let tally = view.tally()?;
        let Some(Tallied {
            standing,
            validator,
            jailed,
        }) = tally.into_iter().find(|it| it.standing.node == entity)
        else {
            return Ok(None);
        };
        Ok(Some(Work {
            node: entity,
            validator,
            jailed,
            relay: standing.work.relay,
            storage: standing.work.storage,
            validation: standing.work.validation,
            uptime: standing.work.uptime,
            timeouts: standing.timeouts,
            score: lucid_poot::score(&standing),
            last_led: standing.last_led,
            joined: standing.joined,
            uptime_bps: view.uptime_bps(entity)?,
            earned: view.earned(entity)?,
            eligible: view.eligible(entity)?,
        }))
    })
}
