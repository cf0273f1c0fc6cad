//! `lucid up`: everything on this machine, in one process tree, from one command.
//!
//! ```text
//! lucid up ─┬─ lucid node …  (one a validator)      net/
//!           ├─ xrdp desktop                         up/desktop
//!           ├─ lucid gateway                        lucid.toml, auditor.pub, anchor.key
//!           └─ the page: recordings and the player
//! ```
//!
//! What it needs is made in the home folder at the first start and kept, so that the next start goes on from there and every other
//! command with that home finds chain and recordings. What dies is started again.

mod page;

use std::ffi::{OsStr, OsString};
use std::fmt::Display;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use alloy_primitives::{Address, U256};
use anyhow::{Context, Result};
use lucid_chain_types::GenesisAccount;
use lucid_client::Wallet;
use lucid_desktop::{Desktop, DesktopError, DesktopOptions};
use lucid_format::SecretKeys;
use lucid_node::config::NodeConfig;
use lucid_node::home::Home as NodeHome;
use lucid_node::init::{COIN, network};
use lucid_rdp::Trust;
use lucid_recorder::{ticket, write_new};
use serde::Deserialize;
use tokio::runtime::Runtime;

use crate::App;
use crate::cli::UpArgs;
use crate::commands::gateway::stop_signal;
use crate::commands::{keys, replay};
use crate::config::{self, Settings};
use crate::exit::{FAILURE, PROGRAM, USAGE, exit};
use crate::hosted::{own_desktop, runtime};
use crate::processes::{self, Node, Output, Process};
use crate::ui::Tone;

/// Coins the account of the gateway starts with: enough for years of checkpoints.
const COINS: u64 = 1_000_000;
/// How often it is looked whether all runs.
const LOOK: Duration = Duration::from_millis(500);
/// How long after a start it waits before the next, first and at most.
const PAUSE: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));
/// After so long a run the next end counts as the first.
const STEADY: Duration = Duration::from_secs(60);

/// Runs until Ctrl-C.
pub fn run(app: &App, args: &UpArgs) -> Result<()> {
    let home = app.home()?.root().to_owned();
    let settings = prepare(app, args)?;
    let runtime = runtime()?;
    let mut stop = {
        let _entered = runtime.enter();
        Box::pin(stop_signal()?)
    };

    let spinner = app.ui.spinner("starting the chain");
    let mut nodes = processes::start_all(&home.join("net"), false)?;
    let begun = runtime.block_on(async {
        tokio::select! {
            ready = processes::wait_until_ready(&mut nodes) => ready.map(|()| true),
            () = &mut stop => Ok(false),
        }
    });
    if !begun? {
        return Ok(());
    }
    spinner.finish_and_clear();
    let mut nodes: Vec<Kept<Node>> = nodes.into_iter().map(Kept::new).collect();
    let mut access = Kept::new(Access::start(app, args, &runtime)?);
    let (listener, url) = runtime.block_on(replay::listen(args.page_port))?;
    let serving = runtime.spawn(replay::guarded(listener, page::router(app.store()?)));
    announce(app, &settings, &access.running, &url)?;

    loop {
        let stopped = runtime.block_on(async {
            tokio::select! {
                () = &mut stop => true,
                () = tokio::time::sleep(LOOK) => false,
            }
        });
        if stopped {
            break;
        }
        if serving.is_finished() {
            return Err(exit(FAILURE, "the player's page ended".to_owned()));
        }
        for node in &mut nodes {
            node.keep(app, Node::check, |node| {
                *node = processes::start(node.home.clone(), false)?;
                Ok(())
            });
        }
        access.keep(app, Access::check, Access::again);
    }
    app.ui
        .note("stopping: sessions are sealed, then the chain ends");
    serving.abort();
    // Before the nodes: what it seals is still anchored.
    drop(access);
    Ok(())
}

/// Makes what is not there yet: the chain, the auditor's key, the configuration.
fn prepare(app: &App, args: &UpArgs) -> Result<Settings> {
    let home = app.home()?.root().to_owned();
    let net = home.join("net");
    let file = home.join("lucid.toml");
    if !net.join("genesis.json").exists() {
        if app.settings.chain.is_on() {
            let text = format!(
                "{} leads to a chain of its own: 'lucid up' makes one, so give it another --home",
                file.display()
            );
            return Err(exit(USAGE, text));
        }
        let path = home.join(&app.settings.chain.key);
        if !path.exists() {
            Wallet::generate()?.save(&path)?;
        }
        let mut options = processes::options(&net, args.validators, 0)?;
        options.accounts.push(GenesisAccount {
            address: account(&path)?,
            balance: U256::from(COINS) * U256::from(COIN),
        });
        network(&options)?;
    }
    let public = home.join("auditor.pub");
    if !public.exists() {
        let passphrase = ticket::new_password();
        write_new(
            &home.join("auditor.passphrase"),
            passphrase.as_bytes(),
            0o600,
        )?;
        // A run that was broken off in between has left its own.
        let passphrase = fs::read_to_string(home.join("auditor.passphrase"))?;
        let secret = SecretKeys::generate("auditor", &mut lucid_recorder::rng())?;
        keys::create(&secret, passphrase.trim_end(), &home)?;
    }
    if !file.exists() {
        let rpc: Vec<String> = rpc_urls(&net)?;
        let list = |items: &[String]| {
            let quoted: Vec<String> = items.iter().map(|item| format!("{item:?}")).collect();
            quoted.join(", ")
        };
        let text = format!(
            "# Made by 'lucid up'. 'lucid config show' has every value; configs/lucid.toml in the sources explains them.\n\
             [gateway]\nlisten = {:?}\nrecipients = [{}]\n\n[chain]\nurl = [{}]\ngenesis = \"net/genesis.json\"\n",
            args.listen,
            list(&[public.display().to_string()]),
            list(&rpc),
        );
        write_new(&file, text.as_bytes(), 0o644)?;
    }
    let settings = config::load(&home, None)?.value;
    if !settings.chain.is_on() {
        let text = format!(
            "{} has no chain.url: take the line from another home that 'lucid up' made, or give it another --home",
            file.display()
        );
        return Err(exit(USAGE, text));
    }
    Ok(settings)
}

fn account(key: &Path) -> Result<Address> {
    Ok(Wallet::load(key)?.address())
}

fn rpc_urls(net: &Path) -> Result<Vec<String>> {
    let nodes = (0..).map(|index| net.join(format!("node{index}")));
    nodes
        .take_while(|node| node.exists())
        .map(|node| {
            let home = NodeHome::new(node);
            let config = NodeConfig::load(&home.config_path())?.value;
            Ok(format!("http://{}", config.rpc.listen))
        })
        .collect()
}

/// Something that is started again when it ends.
struct Kept<T> {
    running: T,
    since: Instant,
    pause: Duration,
    /// When it may be started again, once it has ended.
    again: Option<Instant>,
}

impl<T> Kept<T> {
    fn new(running: T) -> Self {
        Self {
            running,
            since: Instant::now(),
            pause: PAUSE.0,
            again: None,
        }
    }

    /// Starts it again if `check` says that it has ended, after a pause that doubles with each time.
    fn keep(
        &mut self,
        app: &App,
        check: impl FnOnce(&mut T) -> Result<()>,
        start: impl FnOnce(&mut T) -> Result<()>,
    ) {
        let Err(ended) = check(&mut self.running) else {
            return;
        };
        let Some(at) = self.again else {
            if self.since.elapsed() > STEADY {
                self.pause = PAUSE.0;
            }
            let pause = self.pause;
            self.again = Some(Instant::now() + pause);
            self.pause = (pause * 2).min(PAUSE.1);
            let seconds = pause.as_secs();
            app.ui
                .note(format!("{ended:#}; it is started again in {seconds} s"));
            return;
        };
        if Instant::now() < at {
            return;
        }
        (self.again, self.since) = (None, Instant::now());
        if let Err(error) = start(&mut self.running) {
            app.ui.note(format!("{error:#}"));
        }
    }
}

/// What lets people in: the gateway, and the desktop that it leads to.
struct Access<'a> {
    app: &'a App,
    args: &'a UpArgs,
    runtime: &'a Runtime,
    home: PathBuf,
    /// INVARIANT: dropped before the desktop, so that its sessions end in order.
    gateway: Option<Process>,
    desktop: Option<Desktop>,
    told: Told,
}

/// What a gateway says when it is ready.
#[derive(Default, Deserialize)]
struct Told {
    listen: String,
    fingerprint: String,
}

impl<'a> Access<'a> {
    fn start(app: &'a App, args: &'a UpArgs, runtime: &'a Runtime) -> Result<Self> {
        let mut access = Self {
            app,
            args,
            runtime,
            home: app.home()?.root().to_owned(),
            gateway: None,
            desktop: None,
            told: Told::default(),
        };
        access.again()?;
        Ok(access)
    }

    fn check(&mut self) -> Result<()> {
        match &mut self.gateway {
            Some(gateway) => gateway.check()?,
            None => return Err(exit(FAILURE, "the gateway is not there".to_owned())),
        }
        if let Some(desktop) = &mut self.desktop {
            desktop.check()?;
        }
        Ok(())
    }

    /// Starts what does not run, the gateway in any case: it has to know the desktop's new password and certificate.
    fn again(&mut self) -> Result<()> {
        self.gateway = None;
        if self.desktop.as_mut().is_some_and(|it| it.check().is_err()) {
            self.desktop = None;
        }
        if self.desktop.is_none() && !self.args.no_desktop {
            let spinner = self
                .app
                .ui
                .spinner("starting a desktop (xrdp, xorgxrdp, openbox)");
            self.desktop = Some(self.start_desktop()?);
            spinner.finish_and_clear();
        }
        let mut arguments: Vec<OsString> = ["--json", "--home"].map(OsString::from).to_vec();
        arguments.push(self.home.clone().into());
        arguments.extend(["gateway", "--with-parent"].map(OsString::from));
        if let Some(desktop) = &self.desktop {
            let password = self.home.join("up/desktop.password");
            lucid_recorder::replace(&password, desktop.password().as_bytes(), 0o600)?;
            let target = own_desktop(self.runtime, desktop)?;
            let Trust::Pin(pin) = &target.trust else {
                return Err(exit(FAILURE, "the desktop shows no certificate".to_owned()));
            };
            for (flag, value) in [
                ("--target", desktop.addr().to_string()),
                ("--target-user", desktop.user().to_owned()),
                ("--target-password-file", password.display().to_string()),
                ("--target-pin", pin.to_string()),
            ] {
                arguments.extend([flag.into(), value.into()]);
            }
        }
        let arguments: Vec<&OsStr> = arguments.iter().map(OsString::as_os_str).collect();
        let log = self.home.join("gateway.log");
        let mut gateway = Process::start("the gateway", &arguments, log, Output::Heard)?;
        let line = gateway.first_line()?;
        self.told = serde_json::from_str(&line).context("what the gateway says of itself")?;
        self.gateway = Some(gateway);
        Ok(())
    }

    fn start_desktop(&self) -> Result<Desktop> {
        let options = DesktopOptions::new(self.home.join("up/desktop"));
        Desktop::start(&options).map_err(|error| match error {
            DesktopError::NotRoot { .. } | DesktopError::Missing { .. } => {
                let way_out = "or give --no-desktop and write targets.toml";
                exit(PROGRAM, format!("{error}; {way_out}"))
            }
            error => exit(PROGRAM, error.to_string()),
        })
    }
}

/// Says where everything is and what to do with it.
fn announce(app: &App, settings: &Settings, access: &Access<'_>, page: &str) -> Result<()> {
    let home = &access.home;
    let (key, passphrase) = (home.join("auditor.key"), home.join("auditor.passphrase"));
    let desktop = access.desktop.as_ref().map(|it| it.addr().to_string());
    let Told {
        listen,
        fingerprint,
    } = &access.told;
    if app.ui.json {
        return app.ui.json(&serde_json::json!({
            "home": home,
            "gateway": { "listen": listen, "fingerprint": fingerprint },
            "desktop": desktop,
            "rpc": settings.chain.url,
            "genesis": home.join(&settings.chain.genesis),
            "page": page,
            "key": key,
            "passphrase_file": passphrase,
        }));
    }
    let ui = app.ui;
    let row = |label: &str, text: &dyn Display| {
        let label = ui.paint(Tone::Faint, format!("{label:<9}"));
        ui.line(format!("  {label} {text}"));
    };
    ui.line(ui.paint(Tone::Good, "lucid is up"));
    row(
        "gateway",
        &format!("{listen}   certificate SHA-256 {fingerprint}"),
    );
    if let Some(desktop) = &desktop {
        row(
            "desktop",
            &format!("xrdp on {desktop}; its password is the gateway's alone"),
        );
    }
    let nodes = settings.chain.url.len();
    let first = settings.chain.url.first().map_or("", String::as_str);
    row("chain", &format!("{nodes} validators, JSON-RPC {first}"));
    row("page", &format!("{page}   recordings and the player"));
    row(
        "key",
        &format!("{}, passphrase in {}", key.display(), passphrase.display()),
    );
    let default = std::env::home_dir().map(|it| it.join(".lucid"));
    let flag = if default.as_ref() == Some(home) {
        String::new()
    } else {
        format!(" --home {}", home.display())
    };
    ui.line("Try, in another terminal:");
    ui.line(format!("  lucid{flag} session mint --user alice"));
    ui.line(format!(
        "  xfreerdp /v:{listen} /u:alice /p:THE-PASSWORD /cert:ignore"
    ));
    ui.line(format!("  lucid{flag} session list"));
    ui.note("Ctrl-C stops all of it; 'lucid up' then goes on where it was.");
    Ok(())
}
