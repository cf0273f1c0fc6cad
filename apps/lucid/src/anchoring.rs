//! The anchor queue as configured: for the gateway, and for commands when no gateway runs.

use std::fs;
use std::io;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use lucid_anchor::{AnchorError, Anchors};
use lucid_chain_types::Genesis;
use lucid_client::Wallet;
use lucid_format::{Hash, Ticket};
use lucid_recorder::anchoring::{Anchoring, Opening};
use lucid_recorder::control::{self, Request};

use crate::App;
use crate::exit::{USAGE, exit};

/// Most transactions on their way at once: opening a thousand sessions takes a quarter of a minute of blocks then.
pub const IN_FLIGHT: usize = 64;

/// How often is looked whether another process has given the queue up.
const LOOK: Duration = Duration::from_millis(100);

/// Takes the queue for this process and starts it. A command that mints has it for as long as it waits for the chain; that is waited
/// for. The thread ends when the queue's last handle is gone.
pub fn start(app: &App) -> Result<(Anchoring, JoinHandle<()>)> {
    let deadline = Instant::now() + app.settings.chain.patience() + Duration::from_secs(5);
    loop {
        match try_start(app)? {
            Err(AnchorError::Locked { .. }) if Instant::now() < deadline => {
                std::thread::sleep(LOOK);
            }
            started => return Ok(started?),
        }
    }
}

type Started = (Anchoring, JoinHandle<()>);

fn try_start(app: &App) -> Result<Result<Started, AnchorError>> {
    let home = app.home()?;
    let chain = &app.settings.chain;
    let wallet = wallet(app)?;
    let owner = match chain.owner.as_str() {
        "" => wallet.address(),
        owner => owner
            .parse()
            .map_err(|e| exit(USAGE, format!("chain.owner: {e}")))?,
    };
    let genesis = home.root().join(&chain.genesis);
    let genesis = match fs::read(&genesis) {
        Ok(bytes) => {
            let read = Genesis::parse(&bytes);
            Some(read.with_context(|| genesis.display().to_string())?.hash())
        }
        Err(e) if e.kind() == io::ErrorKind::NotFound => None,
        Err(e) => return Err(e).with_context(|| genesis.display().to_string()),
    };
    let settings = lucid_anchor::Settings {
        folder: home.anchors(),
        urls: chain.url.clone(),
        wallet,
        genesis,
        batch_from: chain.batch_from,
        in_flight: IN_FLIGHT,
    };
    let (anchors, thread) = match Anchors::start(settings) {
        Ok(started) => started,
        Err(error) => return Ok(Err(error)),
    };
    let anchoring = Anchoring {
        anchors,
        owner,
        every: chain.pace(),
        patience: chain.patience(),
        offline: chain.offline,
    };
    Ok(Ok((anchoring, thread)))
}

/// Opens a fresh ticket's session on the chain, through the running gateway or, where none runs, from here.
pub fn open(app: &App, ticket: &Ticket) -> Result<Opening> {
    let socket = app.home()?.control();
    let deadline = Instant::now() + app.settings.chain.patience() + Duration::from_secs(5);
    let (anchoring, thread) = loop {
        if control::is_running(&socket) {
            let request = Request::Open {
                session: ticket.session.to_string(),
                session_key: Hash(ticket.session_key.0).to_hex(),
                policy: ticket.policy.to_hex(),
            };
            return Ok(control::ask(&socket, &request)?);
        }
        match try_start(app)? {
            // A gateway that starts, or another command that mints.
            Err(AnchorError::Locked { .. }) if Instant::now() < deadline => {
                std::thread::sleep(LOOK);
            }
            started => break started?,
        }
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("starting")?;
    let (id, key, policy) = (ticket.session, ticket.session_key, ticket.policy);
    let opened = runtime.block_on(anchoring.open(id, key, policy));
    // The queue is given up before this command ends.
    drop(anchoring);
    let _ended = thread.join();
    Ok(opened?)
}

/// The account's key, made at first use.
fn wallet(app: &App) -> Result<Wallet> {
    let path = app.home()?.root().join(&app.settings.chain.key);
    if !path.exists() {
        let wallet = Wallet::generate()?;
        match wallet.save(&path) {
            Ok(()) => app.ui.note(format!(
                "account {} was made for anchors ({}): send it coins",
                wallet.address(),
                path.display()
            )),
            // Another command was first.
            Err(_) if path.exists() => {}
            Err(error) => return Err(error.into()),
        }
    }
    Wallet::load(&path).map_err(|error| exit(USAGE, error.to_string()))
}
