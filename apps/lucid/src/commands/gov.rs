//! `lucid gov`: proposals and votes.

use std::time::Duration;

use alloy_primitives::{Address, U256};
use anyhow::{Context, Result};
use lucid_client::{Action, Client, Support, Wallet, calls};

use crate::App;
use crate::cli::{GovCommand, ProposalArgs, ProposeCommand, SignerArgs, VoteArg};
use crate::commands::chain::block_on;
use crate::exit::{USAGE, exit};
use crate::ui::table;

/// How long a transaction may take to be final.
const PATIENCE: Duration = Duration::from_secs(60);
/// Proposals that are listed.
const LISTED: usize = 50;

/// Proposes, votes or lists.
pub fn run(app: &App, command: &GovCommand) -> Result<()> {
    match command {
        GovCommand::Propose(command) => propose(app, command),
        GovCommand::Vote { id, vote, signer } => {
            let support = match vote {
                VoteArg::For => Support::For,
                VoteArg::Against => Support::Against,
                VoteArg::Abstain => Support::Abstain,
            };
            govern(app, signer, calls::vote(U256::from(*id), support))
        }
        GovCommand::Queue { id, signer } => govern(app, signer, calls::queue(U256::from(*id))),
        GovCommand::Execute { id, signer } => govern(app, signer, calls::execute(U256::from(*id))),
        GovCommand::List(rpc) => list(app, &rpc.rpc),
    }
}

fn account(text: &str) -> Result<Address> {
    text.parse().map_err(|_| {
        exit(
            USAGE,
            format!("'{text}' is no account: 0x and 40 hex digits are expected"),
        )
    })
}

fn propose(app: &App, command: &ProposeCommand) -> Result<()> {
    let (
        action,
        ProposalArgs {
            description,
            signer,
        },
    ) = match command {
        ProposeCommand::Param {
            parameter,
            value,
            proposal,
        } => {
            let value = value
                .parse()
                .map_err(|_| exit(USAGE, format!("'{value}' is no number")))?;
            (
                Action::SetParam {
                    key: parameter.clone(),
                    value,
                },
                proposal,
            )
        }
        ProposeCommand::Signers { signers, proposal } => {
            let accounts: Vec<Address> = signers
                .iter()
                .map(|text| account(text))
                .collect::<Result<_>>()?;
            let accounts = accounts
                .try_into()
                .map_err(|_| exit(USAGE, "three signers are needed"))?;
            (Action::RotateSigners(accounts), proposal)
        }
        ProposeCommand::Validator {
            node,
            remove,
            proposal,
        } => {
            let action = Action::SetValidator {
                node: account(node)?,
                active: !remove,
            };
            (action, proposal)
        }
    };
    let (client, wallet) = (Client::new(&signer.rpc.rpc)?, Wallet::load(&signer.key)?);
    let id = block_on(client.propose(&wallet, &action, description, PATIENCE))?;
    if app.ui.json {
        return app.ui.json(&serde_json::json!({ "id": id.to_string() }));
    }
    app.ui.line(format!("proposal {id}"));
    app.ui.note(format!(
        "Vote with 'lucid gov vote {id} for --key OPERATOR.key'."
    ));
    Ok(())
}

fn govern(app: &App, signer: &SignerArgs, input: alloy_primitives::Bytes) -> Result<()> {
    let (client, wallet) = (Client::new(&signer.rpc.rpc)?, Wallet::load(&signer.key)?);
    let receipt = block_on(client.govern(&wallet, input, PATIENCE))?;
    let hash = receipt.transaction_hash;
    if app.ui.json {
        return app
            .ui
            .json(&serde_json::json!({ "transaction": hash, "block": receipt.block_number }));
    }
    app.ui.line(format!(
        "done in block {}, transaction {hash}",
        receipt.block_number.context("no block")?
    ));
    Ok(())
}

fn list(app: &App, url: &str) -> Result<()> {
    let proposals = block_on(Client::new(url)?.proposals(LISTED))?;
    let rows: Vec<Vec<String>> = proposals
        .iter()
        .map(|proposal| {
            vec![
                proposal.id.to_string(),
                format!("{:?}", proposal.state),
                proposal
                    .action
                    .as_ref()
                    .map_or_else(|| "?".to_owned(), |action| format!("{action:?}")),
                format!(
                    "{}/{}/{}",
                    proposal.votes_for, proposal.votes_against, proposal.votes_abstain
                ),
                proposal.eligible.to_string(),
                proposal.end_slot.to_string(),
                proposal
                    .eta
                    .map_or_else(|| "-".to_owned(), |eta| eta.to_string()),
            ]
        })
        .collect();
    if app.ui.json {
        let list: Vec<_> = rows
            .iter()
            .map(|row| serde_json::json!({ "id": row[0], "state": row[1], "action": row[2], "votes": row[3], "eligible": row[4], "endSlot": row[5], "eta": row[6] }))
            .collect();
        return app.ui.json(&list);
    }
    if rows.is_empty() {
        app.ui.line("no proposals");
        return Ok(());
    }
    table(
        app.ui,
        &[
            "id",
            "state",
            "action",
            "for/against/abstain",
            "eligible",
            "ends in slot",
            "from slot",
        ],
        &rows,
    );
    Ok(())
}
