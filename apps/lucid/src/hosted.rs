//! A gateway inside this process, for the demonstration and the benchmarks.

use std::{collections::BTreeMap, net::SocketAddr, path::Path, sync::Arc, time::Duration};

use anyhow::{Context, Result};
use lucid_desktop::Desktop;
use lucid_format::{DEFAULT_CHUNK_PLAINTEXT, PublicKeys};
use lucid_rdp::{Fingerprint, Security, Target, Trust, info::Credentials};
use lucid_recorder::{
    Gateway, Home, RecorderError, Settings,
    anchoring::Anchoring,
    ticket::{self, MintRequest, Minted},
    wall_clock_us,
};
use lucid_store::Store;
use tokio::{net::TcpListener, runtime::Runtime, sync::oneshot, task::JoinHandle};

/// Name of the one desktop that it leads to.
pub const TARGET: &str = "desk1";
/// How long things that should take a second may take on a slow machine.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Two threads, as many as the machine that the targets are for has cores.
pub fn runtime() -> Result<Runtime> {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .context("starting threads")
}

/// A desktop the gateway may lead to.
pub fn target(address: SocketAddr, trust: Trust, user: &str, password: &str) -> Target {
    let credentials = Credentials {
        username: user.to_owned(),
        domain: String::new(),
        password: password.to_owned().into(),
    };
    Target {
        host: address.ip().to_string(),
        port: address.port(),
        credentials,
        security: Security::Tls,
        trust,
        timeout: PATIENCE,
    }
}

/// A desktop that this process has just started, so it may vouch for its certificate.
pub fn own_desktop(runtime: &Runtime, desktop: &Desktop) -> Result<Target> {
    let (user, password) = (desktop.user(), desktop.password());
    let mut target = target(desktop.addr(), Trust::AskFirstUse, user, password);
    target.trust = Trust::Pin(runtime.block_on(target.show_certificate())?);
    Ok(target)
}

/// A gateway in this process, with a home folder and a store of its own.
pub struct Hosted {
    /// Where clients connect.
    pub address: SocketAddr,
    /// Where it records.
    pub store: Store,
    /// Its home folder.
    pub home: Home,
    /// SHA-256 of the certificate that clients see.
    pub fingerprint: Fingerprint,
    stop: oneshot::Sender<()>,
    task: JoinHandle<Result<(), RecorderError>>,
}

impl Hosted {
    /// Starts it on a free port, with its home in `dir`; what it records is sealed to `recipient`, and anchored if it is said how.
    pub fn start(
        runtime: &Runtime,
        dir: &Path,
        recipient: PublicKeys,
        target: Target,
        max_sessions: usize,
        anchoring: Option<Anchoring>,
    ) -> Result<Self> {
        let home = Home::open(&dir.join("home"))?;
        let store = Store::open(home.store())?;
        let settings = Settings {
            max_sessions,
            max_chunk: DEFAULT_CHUNK_PLAINTEXT,
            policy_timeout: PATIENCE,
            recipients: vec![recipient],
            targets: BTreeMap::from([(TARGET.to_owned(), target)]),
        };
        let mut gateway = Gateway::new(home.clone(), store.clone(), settings)?;
        if let Some(anchoring) = anchoring {
            gateway = gateway.anchored(anchoring);
        }
        let gateway = Arc::new(gateway);
        let fingerprint = gateway.fingerprint();
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0"))?;
        let address = listener.local_addr()?;
        let (stop, stopped) = oneshot::channel::<()>();
        let task =
            runtime.spawn(gateway.run(listener, async { stopped.await.unwrap_or_default() }));
        Ok(Self {
            address,
            store,
            home,
            fingerprint,
            stop,
            task,
        })
    }

    /// Lets `user` in once, under a channel `policy` in words.
    pub fn mint(&self, user: &str, policy: &str) -> Result<Minted> {
        let request = MintRequest {
            user: user.to_owned(),
            target: TARGET.to_owned(),
            valid_for_s: 600,
            policy: policy.to_owned(),
        };
        Ok(ticket::mint(&self.home, &request, wall_clock_us())?)
    }

    /// Ends what runs and waits until it is sealed.
    pub fn stop(self, runtime: &Runtime) -> Result<()> {
        // The receiver is gone only if the gateway has stopped by itself, which joining tells.
        let _ = self.stop.send(());
        runtime
            .block_on(self.task)
            .context("the gateway crashed")?
            .context("the gateway failed")
    }
}
