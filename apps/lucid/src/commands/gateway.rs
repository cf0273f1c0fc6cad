//! `lucid gateway`: runs the recorder.

use std::{collections::BTreeMap, net::SocketAddr, sync::Arc};

use anyhow::{Context, Result};
use lucid_rdp::{Target, Trust, info::Credentials};
use lucid_recorder::{Gateway, Settings, target};
use lucid_service::monitor::{self, Verdict};
use tokio::net::TcpListener;
use zeroize::Zeroizing;

use crate::{
    App, anchoring,
    cli::GatewayArgs,
    commands,
    exit::{USAGE, exit},
    keyring, processes,
};

/// Runs until Ctrl-C or SIGTERM.
pub fn run(app: &App, args: &GatewayArgs) -> Result<()> {
    let home = app.home()?;
    let mut targets = target::load(&home)?;
    targets.extend(named_on_command_line(args)?);
    for (name, target) in &mut targets {
        if target.trust == Trust::AskFirstUse {
            trust_first_use(app, name, target)?;
        }
    }
    let configured = &app.settings.gateway;
    let recipients = if args.recipient.is_empty() {
        &configured.recipients
    } else {
        &args.recipient
    };
    let settings = Settings {
        max_sessions: configured.max_sessions,
        max_chunk: app.settings.chunk.max_bytes,
        policy_timeout: std::time::Duration::from_millis(configured.policy_timeout_ms),
        recipients: recipients
            .iter()
            .map(|path| keyring::public(path))
            .collect::<Result<_>>()?,
        targets,
    };
    let listen = args
        .listen
        .clone()
        .unwrap_or_else(|| configured.listen.clone());
    lucid_service::logs::init(app.settings.log.format, &app.settings.log.level)?;
    let mut gateway = Gateway::new(home, app.store()?, settings)?;
    let mut queue = None;
    if app.settings.chain.is_on() {
        let (anchoring, thread) = anchoring::start(app)?;
        queue = Some(thread);
        gateway = gateway.anchored(anchoring);
    }
    let gateway = Arc::new(gateway);

    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("starting")?;
    let served = runtime.block_on(async {
        let listener = TcpListener::bind(&listen).await.with_context(|| format!("listening on {listen}"))?;
        let address = listener.local_addr()?;
        let monitor = monitor(app, &gateway).await?;
        if app.ui.json {
            let fingerprint = gateway.fingerprint().to_string();
            let monitor = monitor.map(|at| at.to_string());
            app.ui.json(&serde_json::json!({
                "listen": address.to_string(), "fingerprint": fingerprint, "monitor": monitor,
            }))?;
        } else {
            app.ui.line(format!("gateway on {address}"));
            app.ui.line(format!("its certificate: SHA-256 {}", gateway.fingerprint()));
            app.ui.note("Let people in with 'lucid session mint --user NAME'. Ctrl-C ends every session and seals it.");
        }
        let signal = stop_signal()?;
        let with_parent = args.with_parent;
        let stop = async move {
            tokio::select! {
                () = signal => {}
                () = processes::parent_gone(), if with_parent => {}
            }
        };
        gateway.run(listener, stop).await.context("running the gateway")
    });
    // All that has the queue is gone with the runtime; what it writes just now is written.
    drop(runtime);
    if let Some(queue) = queue {
        let _ended = queue.join();
    }
    served
}

/// Starts `/health` and `/metrics` where they are wanted, and says where they are.
async fn monitor(app: &App, gateway: &Arc<Gateway>) -> Result<Option<SocketAddr>> {
    let listen = &app.settings.monitor.listen;
    if listen.is_empty() {
        return Ok(None);
    }
    let listener = TcpListener::bind(listen)
        .await
        .with_context(|| format!("listening on {listen}"))?;
    let address = listener.local_addr()?;
    let tables = [lucid_recorder::metrics::ALL, lucid_anchor::metrics::ALL];
    let metrics = monitor::install(&tables)?;
    // The gateway ends when it is stopped, whoever asks how it is.
    let gateway = Arc::downgrade(gateway);
    let router = monitor::router(metrics, move || {
        let health = gateway.upgrade().map(|gateway| gateway.health());
        Verdict {
            well: health.as_ref().is_some_and(|it| it.problems.is_empty()),
            json: serde_json::to_string(&health).unwrap_or_default(),
        }
    });
    tokio::spawn(monitor::serve(listener, router));
    Ok(Some(address))
}

/// Done at the first Ctrl-C or SIGTERM.
pub fn stop_signal() -> Result<impl Future<Output = ()>> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    Ok(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
    })
}

fn named_on_command_line(args: &GatewayArgs) -> Result<BTreeMap<String, Target>> {
    let password = match &args.target_password_file {
        Some(path) => Zeroizing::new(
            keyring::read_text(path)?
                .lines()
                .next()
                .unwrap_or_default()
                .to_owned(),
        ),
        None => Zeroizing::new(std::env::var("LUCID_TARGET_PASSWORD").unwrap_or_default()),
    };
    let pin = args
        .target_pin
        .as_deref()
        .map(str::parse)
        .transpose()
        .map_err(|e| exit(USAGE, format!("--target-pin: {e}")))?;
    let trust = pin.map_or(Trust::AskFirstUse, Trust::Pin);
    let read = |text: &String| {
        let credentials = Credentials {
            username: args.target_user.clone(),
            domain: String::new(),
            password: password.clone(),
        };
        target::from_argument(text, credentials, trust.clone())
            .map_err(|e| exit(USAGE, format!("--target: {e}")))
    };
    args.target.iter().map(read).collect()
}

/// Asks about a certificate that nobody has vouched for, and pins it where the target comes from the targets file.
fn trust_first_use(app: &App, name: &str, target: &mut Target) -> Result<()> {
    let shown = match commands::target::show(target) {
        Ok(shown) => shown,
        Err(error) => {
            // Down now is not down for ever; sessions to it are refused until it is pinned.
            app.ui.note(format!("target '{name}' cannot be asked for its certificate ({error:#}): it stays closed until it is pinned"));
            return Ok(());
        }
    };
    commands::target::confirm(name, target, shown)?;
    let home = app.home()?;
    if target::load(&home)?.contains_key(name) {
        target::set_pin(&home, name, &shown.to_string())?;
    } else {
        app.ui.note(format!("next time, give --target-pin {shown}"));
    }
    target.trust = Trust::Pin(shown);
    Ok(())
}
