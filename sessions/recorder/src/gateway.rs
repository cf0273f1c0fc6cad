//! Who comes in, and what happens to them.

use std::{
    collections::BTreeMap,
    fs,
    net::SocketAddr,
    os::unix::fs::PermissionsExt,
    sync::Arc,
    time::{Duration, Instant},
};

use lucid_format::{
    Head, Keypair, Manifest, Marker, PublicKeys, SessionId, SessionSeed, SignedHead, hash_wraps,
    wrap_seed,
};
use lucid_rdp::{
    Acceptor, Fingerprint, Identity, PendingClient, Rejection, Session, SessionHandle, Target, tap,
};
use lucid_store::{OpenSession, Store};
use tokio::{
    net::{TcpListener, TcpStream, UnixListener},
    sync::{Semaphore, broadcast, watch},
    task::JoinSet,
};
use tracing::{info, warn};

use crate::{
    Home, Progress, RecorderError, SessionWriter,
    anchoring::Anchoring,
    audit::{AuditEntry, AuditLog},
    control::{self, Live, LiveSession, Sessions},
    metrics,
    recording::{self, Reports, recover},
    ticket::{self, Claimed},
    wall_clock_us,
};

/// How long a refused client waits for its answer: guessing passwords stays slow.
const REFUSAL_DELAY: Duration = Duration::from_secs(1);
/// How long sessions get to end when the gateway stops.
const DRAIN: Duration = Duration::from_secs(10);
/// How long the ends of the last sessions get to become final when the gateway stops.
const LAST_ANCHORS: Duration = Duration::from_secs(5);
/// Clients that may be in the handshake at once.
const MAX_HANDSHAKES: usize = 64;
/// Events a watcher may lag behind.
const EVENTS: usize = 256;

/// What a gateway is told.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Sessions at once.
    pub max_sessions: usize,
    /// Plaintext bytes at which a chunk closes (`maxChunkSize`).
    pub max_chunk: usize,
    /// Longest a channel may be opened for (`policyTimeoutMs`).
    pub policy_timeout: Duration,
    /// Who recordings are sealed to.
    pub recipients: Vec<PublicKeys>,
    /// Where clients may go.
    pub targets: BTreeMap<String, Target>,
}

/// How a gateway is, for `/health`.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Health {
    /// `ok` or `unhealthy`.
    pub status: &'static str,
    /// Sessions that run.
    pub sessions: usize,
    /// The anchor queue, where there is one.
    pub anchors: Option<lucid_anchor::Health>,
    /// What is wrong, for people.
    pub problems: Vec<String>,
}

/// A gateway: listens, lets in who has a ticket, records.
pub struct Gateway {
    home: Home,
    store: Store,
    settings: Settings,
    identity: Keypair,
    acceptor: Acceptor,
    fingerprint: Fingerprint,
    audit: AuditLog,
    sessions: Sessions,
    handshakes: Arc<Semaphore>,
    places: Arc<Semaphore>,
    anchoring: Option<Anchoring>,
}

impl Gateway {
    /// Prepares a gateway; makes its certificate on first use and seals what an earlier one left behind.
    ///
    /// # Errors
    /// When there is no recipient or target, or the home folder cannot be used.
    pub fn new(home: Home, store: Store, settings: Settings) -> Result<Self, RecorderError> {
        if settings.recipients.is_empty() {
            let way_out = "name a public key with --recipient or gateway.recipients ('lucid keys new' makes one)";
            return Err(RecorderError::Control(format!(
                "nobody could ever open the recordings: {way_out}"
            )));
        }
        if settings.targets.is_empty() {
            let way_out = "give --target HOST:PORT or write targets.toml";
            return Err(RecorderError::Control(format!(
                "there is no desktop to lead to: {way_out}"
            )));
        }
        let (certificate, key) = home.tls();
        let tls = Identity::load_or_create(&certificate, &key)?;
        let identity = home.identity()?;
        let audit = AuditLog::at(home.audit());
        let places = Arc::new(Semaphore::new(settings.max_sessions));
        let gateway = Self {
            home,
            store,
            settings,
            identity,
            acceptor: Acceptor::new(&tls)?,
            fingerprint: tls.fingerprint(),
            audit,
            sessions: Sessions::default(),
            handshakes: Arc::new(Semaphore::new(MAX_HANDSHAKES)),
            places,
            anchoring: None,
        };
        gateway.recover_all()?;
        Ok(gateway)
    }

    /// Sessions are anchored on the chain from now on.
    #[must_use]
    pub fn anchored(self, anchoring: Anchoring) -> Self {
        Self {
            anchoring: Some(anchoring),
            ..self
        }
    }

    /// How it is, now.
    pub fn health(&self) -> Health {
        let anchors = self.anchoring.as_ref().map(|it| it.anchors.health());
        let mut problems = Vec::new();
        if let Some(why) = anchors.as_ref().and_then(|it| it.trouble.as_ref()) {
            problems.push(format!("nothing can be anchored: {why}"));
        }
        Health {
            status: if problems.is_empty() {
                "ok"
            } else {
                "unhealthy"
            },
            sessions: self.sessions.all().len(),
            anchors,
            problems,
        }
    }

    /// SHA-256 of the certificate that clients see.
    pub fn fingerprint(&self) -> Fingerprint {
        self.fingerprint
    }

    /// Serves until `stop` is done; then ends the running sessions and waits for their recordings to be sealed.
    ///
    /// # Errors
    /// When the control socket cannot be made, or another gateway runs in the same home folder.
    pub async fn run(
        self: Arc<Self>,
        listener: TcpListener,
        stop: impl Future<Output = ()>,
    ) -> Result<(), RecorderError> {
        let control = self.control_socket()?;
        let mut tasks = JoinSet::new();
        // Dropped, and with it ended, when the gateway stops.
        let mut anchoring = JoinSet::new();
        metrics::SESSIONS.set_count(0);
        if let Some(it) = self.anchoring.clone() {
            if let Err(error) = it.forget_unused(&self.home, &self.store).await {
                warn!(%error, "openings of tickets that nobody used are kept");
            }
            anchoring.spawn(it.keep_pace(self.sessions.clone()));
            anchoring.spawn(self.clone().catch_up());
        }
        tokio::pin!(stop);
        loop {
            tokio::select! {
                () = &mut stop => break,
                accepted = listener.accept() => match accepted {
                    Ok((tcp, peer)) => drop(tasks.spawn(self.clone().client(tcp, peer))),
                    // Out of file descriptors, as a rule: waiting lets sessions end.
                    Err(error) => {
                        warn!(%error, "a client could not be accepted");
                        tokio::time::sleep(Duration::from_millis(200)).await;
                    }
                },
                accepted = control.accept() => if let Ok((stream, _)) = accepted {
                    let (sessions, longest) = (self.sessions.clone(), self.settings.policy_timeout);
                    let anchoring = self.anchoring.clone();
                    // A command line that goes away in the middle of an answer is no fault.
                    tokio::spawn(async move { control::answer(stream, sessions, longest, anchoring).await.ok() });
                },
                Some(_) = tasks.join_next(), if !tasks.is_empty() => {}
            }
        }
        drop(listener);
        for live in self.sessions.all() {
            // It may have ended by itself in this instant.
            let _ = live.handle.end("the gateway is stopping").await;
        }
        let drained =
            tokio::time::timeout(DRAIN, async { while tasks.join_next().await.is_some() {} }).await;
        if drained.is_err() {
            warn!(
                "some sessions did not end in {} s: 'lucid session recover' seals them",
                DRAIN.as_secs()
            );
        }
        if let Some(anchoring) = &self.anchoring {
            anchoring.drain(LAST_ANCHORS).await;
        }
        fs::remove_file(self.home.control())
            .map_err(|e| RecorderError::io("removing", &self.home.control(), e))
    }

    fn control_socket(&self) -> Result<UnixListener, RecorderError> {
        let path = self.home.control();
        if std::os::unix::net::UnixStream::connect(&path).is_ok() {
            let message = format!(
                "a gateway runs in {} already: stop it, or use another --home",
                self.home.root().display()
            );
            return Err(RecorderError::Control(message));
        }
        // What an earlier gateway left when it died.
        let _ = fs::remove_file(&path);
        let fault = |e| RecorderError::io("listening on", &path, e);
        let listener = UnixListener::bind(&path).map_err(fault)?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).map_err(fault)?;
        Ok(listener)
    }

    fn recover_all(&self) -> Result<(), RecorderError> {
        for session in self.store.list()?.sessions {
            if session.state == lucid_store::SessionState::Unsealed {
                match recover(
                    &self.store,
                    &self.identity,
                    session.id,
                    "the recorder died; sealed when the gateway started",
                ) {
                    Ok(manifest) => self.log(
                        "session-recovered",
                        Some(session.id),
                        None,
                        None,
                        summary(&manifest),
                    ),
                    Err(error) => {
                        warn!(session = %session.id, %error, "an unsealed session could not be recovered");
                    }
                }
            }
        }
        Ok(())
    }

    /// Anchors what earlier gateways sealed and did not anchor.
    async fn catch_up(self: Arc<Self>) {
        let Some(anchoring) = &self.anchoring else {
            return;
        };
        match anchoring.catch_up(&self.store).await {
            Ok(0) => {}
            Ok(sessions) => info!(sessions, "sealed sessions that are not closed on the chain"),
            Err(error) => {
                warn!(%error, "the store could not be searched for what is to be anchored");
            }
        }
    }

    /// Anchors the end of a session. What fails is made good at the next start.
    async fn close_on_chain(&self, id: SessionId) {
        if let Some(anchoring) = &self.anchoring
            && let Err(error) = anchoring.close(&self.store, id).await
        {
            warn!(session = %id, %error, "the end of a session cannot be anchored now");
        }
    }

    /// One client, from its first byte to the end of its session.
    async fn client(self: Arc<Self>, tcp: TcpStream, peer: SocketAddr) {
        let Ok(handshake) = self.handshakes.clone().acquire_owned().await else {
            return;
        };
        let client = match self.acceptor.accept(tcp, peer).await {
            Ok(client) => client,
            Err(error) => {
                return self.log("client-refused", None, None, Some(peer), error.to_string());
            }
        };
        let user = client.username().to_owned();
        let claimed = match self.clone().claim(&client).await {
            Ok(claimed) => claimed,
            Err(error) => {
                self.log(
                    "client-refused",
                    None,
                    Some(&user),
                    Some(peer),
                    error.to_string(),
                );
                tokio::time::sleep(REFUSAL_DELAY).await;
                return client.reject(Rejection::Denied).await;
            }
        };
        let id = claimed.ticket.session;
        let unavailable = async |client: PendingClient, why: String| {
            self.log("client-refused", Some(id), Some(&user), Some(peer), why);
            client.reject(Rejection::Unavailable).await;
        };
        let note = match &self.anchoring {
            None => None,
            Some(anchoring) => match anchoring.admit(&claimed.ticket).await {
                Ok(note) => note,
                Err(error) => return unavailable(client, error.to_string()).await,
            },
        };
        let Ok(place) = self.places.clone().try_acquire_owned() else {
            let why = format!(
                "{} sessions are running, which is the limit",
                self.settings.max_sessions
            );
            return unavailable(client, why).await;
        };
        let target = match self.target(&claimed.ticket.target) {
            Ok(target) => target.clone(),
            Err(error) => return unavailable(client, error.to_string()).await,
        };
        let client_name = format!("{peer} {}", client.client_name());
        let (session, handle) = match Session::connect(client, &target).await {
            Ok(connected) => connected,
            Err((error, client)) => {
                self.log(
                    "target-failed",
                    Some(id),
                    Some(&user),
                    Some(peer),
                    error.to_string(),
                );
                return client.reject(Rejection::TargetFailed).await;
            }
        };
        drop(handshake);
        let ended = self
            .clone()
            .session(session, handle, claimed, client_name, peer, note)
            .await;
        drop(place);
        match ended {
            Ok(manifest) => self.log(
                "session-ended",
                Some(id),
                Some(&user),
                Some(peer),
                summary(&manifest),
            ),
            Err(error) => {
                self.log(
                    "session-failed",
                    Some(id),
                    Some(&user),
                    Some(peer),
                    error.to_string(),
                );
                let why = format!("recording failed: {error}");
                // It is sealed already when only its last chunk was refused.
                match recover(&self.store, &self.identity, id, &why) {
                    Ok(manifest) => self.log(
                        "session-recovered",
                        Some(id),
                        Some(&user),
                        Some(peer),
                        summary(&manifest),
                    ),
                    Err(RecorderError::Store(lucid_store::StoreError::Sealed { .. })) => {}
                    Err(error) => {
                        warn!(session = %id, %error, "what was recorded could not be sealed: 'lucid session recover' will");
                    }
                }
            }
        }
        self.close_on_chain(id).await;
    }

    async fn claim(self: Arc<Self>, client: &PendingClient) -> Result<Claimed, RecorderError> {
        let (user, password) = (client.username().to_owned(), client.password().clone());
        blocking(move || ticket::claim(&self.home, &user, &password, wall_clock_us())).await
    }

    fn target(&self, name: &str) -> Result<&Target, RecorderError> {
        self.settings.targets.get(name).ok_or_else(|| {
            let known: Vec<&str> = self.settings.targets.keys().map(String::as_str).collect();
            RecorderError::UnknownTarget {
                name: name.to_owned(),
                known: known.join(", "),
            }
        })
    }

    async fn session(
        self: Arc<Self>,
        session: Session,
        handle: SessionHandle,
        claimed: Claimed,
        client_name: String,
        peer: SocketAddr,
        note: Option<String>,
    ) -> Result<Manifest, RecorderError> {
        let ticket = claimed.ticket.clone();
        let id = ticket.session;
        let (start, started_us) = (Instant::now(), wall_clock_us());
        let mut first = vec![Marker::Started {
            wall_us: started_us,
            client: client_name.clone(),
            target: ticket.target.clone(),
        }];
        first.extend(note.map(|text| Marker::Note { text }));
        let gateway = self.clone();
        let writer = blocking(move || gateway.open(claimed, started_us, &client_name)).await?;

        let (progress, progress_seen) = watch::channel(Progress::default());
        let (events, _) = broadcast::channel(EVENTS);
        let (covered, covered_seen) = watch::channel(None);
        let info = LiveSession {
            session: id.to_string(),
            user: ticket.user.clone(),
            target: ticket.target,
            peer: peer.to_string(),
            started_us,
            chunks: 0,
            bytes: 0,
            records: 0,
        };
        self.sessions.insert(
            id,
            Live {
                info,
                handle,
                progress: progress_seen,
                events: events.clone(),
                covered: covered_seen,
            },
        );
        self.log(
            "session-started",
            Some(id),
            Some(&ticket.user),
            Some(peer),
            String::new(),
        );

        let (sender, receiver) = tap::channel();
        let reports = Reports {
            progress,
            events,
            covered,
        };
        let runtime = tokio::runtime::Handle::current();
        let recorder =
            blocking(move || recording::record(writer, receiver, start, first, &reports, &runtime));
        let relay = session.run(sender, start);
        let (recorded, end) = tokio::join!(recorder, relay);
        self.sessions.remove(id);
        info!(session = %id, reason = %end.reason, bytes_in = end.bytes_in, bytes_out = end.bytes_out, "session over");
        recorded
    }

    /// Makes the session in the store: seed, wraps, head.
    fn open(
        &self,
        claimed: Claimed,
        started_us: u64,
        client: &str,
    ) -> Result<SessionWriter, RecorderError> {
        let mut rng = crate::rng();
        let seed = SessionSeed::generate(&mut rng);
        let id = claimed.ticket.session;
        let wraps = wrap_seed(&seed, id, &self.settings.recipients, &mut rng)?;
        let mut salt = [0; 32];
        rand_core::Rng::fill_bytes(&mut rng, &mut salt);
        let head = Head {
            version: Head::VERSION,
            ticket: claimed.signed,
            started_us,
            salt,
            recipients: self
                .settings
                .recipients
                .iter()
                .map(PublicKeys::id)
                .collect(),
            wraps: hash_wraps(&wraps)?,
            recorder: concat!("lucid ", env!("CARGO_PKG_VERSION")).to_owned(),
            client: crate::writer::cut(client),
        };
        let head = SignedHead::sign(head, &claimed.session_key)?;
        let open: OpenSession = self.store.create_session(&head, &wraps)?;
        Ok(SessionWriter::new(
            open,
            claimed.session_key,
            &seed,
            self.settings.max_chunk,
        ))
    }

    /// Writes to the audit log and the program's own.
    fn log(
        &self,
        event: &str,
        session: Option<SessionId>,
        user: Option<&str>,
        peer: Option<SocketAddr>,
        detail: String,
    ) {
        metrics::event(event);
        let session = session.map(|s| s.to_string());
        info!(event, session, user, ?peer, detail, "audit");
        let entry = AuditEntry {
            time_us: wall_clock_us(),
            event: event.to_owned(),
            session,
            user: user.map(str::to_owned),
            peer: peer.map(|p| p.to_string()),
            detail,
            prev: String::new(),
        };
        if let Err(error) = self.audit.append(entry) {
            warn!(%error, "the audit log could not be written");
        }
    }
}

fn summary(manifest: &Manifest) -> String {
    let seconds = manifest.duration_us / 1_000_000;
    format!(
        "{}; {seconds} s, {} chunks, {} bytes",
        manifest.reason, manifest.chunks, manifest.chunk_bytes
    )
}

/// Runs what waits for a disk on a thread that may wait.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, RecorderError> + Send + 'static,
) -> Result<T, RecorderError> {
    let crashed = |e: tokio::task::JoinError| {
        RecorderError::Control(format!("a recorder thread crashed: {e}"))
    };
    tokio::task::spawn_blocking(work).await.map_err(crashed)?
}
