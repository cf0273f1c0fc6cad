//! How `lucid session …` speaks with a running gateway: one JSON object a line over a Unix socket that only its owner can
//! open (0600).

use std::{
    collections::BTreeMap,
    io::{BufRead, BufReader, Read, Write},
    os::unix::net::UnixStream as BlockingStream,
    path::Path,
    str::FromStr,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use lucid_format::{Hash, PublicKey, SessionId};
use lucid_rdp::{Permission, SessionHandle};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt},
    net::UnixStream,
    sync::{broadcast, watch},
};

use crate::{
    Progress, RecorderError,
    anchoring::{Anchoring, Covered, Opening},
    metrics,
};

/// Longest line either side reads.
const MAX_LINE: u64 = 64 << 10;

/// What can be asked of a gateway.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "kebab-case")]
pub enum Request {
    /// The running sessions.
    List,
    /// End a session.
    End {
        /// Its id.
        session: String,
        /// Why.
        reason: String,
    },
    /// Open a channel for a while.
    Allow {
        /// Its id.
        session: String,
        /// Name of a permission, or `clipboard` for both ways.
        channel: String,
        /// How long, in ms.
        for_ms: u64,
        /// Who asks.
        by: String,
    },
    /// Close a channel.
    Deny {
        /// Its id.
        session: String,
        /// As for `Allow`.
        channel: String,
    },
    /// Open a session on the chain; the answer is an [`Opening`], once it is final or queued.
    Open {
        /// Its id.
        session: String,
        /// The ticket's key, in hex.
        session_key: String,
        /// The ticket's policy, in hex.
        policy: String,
    },
    /// Follow a session: the answer is a line an event.
    Watch {
        /// Its id.
        session: String,
    },
}

/// A running session.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LiveSession {
    /// Its id.
    pub session: String,
    /// Who it is for.
    pub user: String,
    /// Name of the target.
    pub target: String,
    /// Address of the client.
    pub peer: String,
    /// When it began, µs since the Unix epoch.
    pub started_us: u64,
    /// Chunks closed so far.
    pub chunks: u32,
    /// Bytes of closed chunks.
    pub bytes: u64,
    /// Records so far.
    pub records: u64,
}

/// Something worth telling who watches a session.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
pub enum SessionEvent {
    /// Chunks were closed.
    Chunks {
        /// What there is now.
        #[serde(flatten)]
        progress: Progress,
    },
    /// PDUs of a closed channel were dropped.
    Denied {
        /// The permission, or the channel's name.
        channel: String,
        /// `true` from client to desktop.
        to_desktop: bool,
        /// How many.
        count: u32,
    },
    /// A channel was opened.
    Granted {
        /// The permission.
        channel: String,
        /// How long, in ms.
        for_ms: u64,
    },
    /// A grant ended.
    GrantEnded {
        /// The permission.
        channel: String,
    },
    /// Anything else.
    Note {
        /// In words.
        text: String,
    },
    /// The session ended; nothing follows.
    Ended {
        /// Why.
        reason: String,
    },
}

#[derive(Debug, Serialize, Deserialize)]
enum Answer<T> {
    #[serde(rename = "ok")]
    Ok(T),
    #[serde(rename = "error")]
    Error(String),
}

/// Whether a gateway answers at a socket.
pub fn is_running(socket: &Path) -> bool {
    BlockingStream::connect(socket).is_ok()
}

/// Asks a running gateway something it answers with one line.
///
/// # Errors
/// When no gateway runs, or it says no.
pub fn ask<T: DeserializeOwned>(socket: &Path, request: &Request) -> Result<T, RecorderError> {
    let mut lines = send(socket, request)?;
    next_line(&mut lines)?
        .ok_or_else(|| RecorderError::Control("the gateway closed the connection".into()))
}

/// Follows a session until it ends or `each` says `false`.
///
/// # Errors
/// When no gateway runs, or it says no.
pub fn watch(
    socket: &Path,
    session: SessionId,
    mut each: impl FnMut(SessionEvent) -> bool,
) -> Result<(), RecorderError> {
    let mut lines = send(
        socket,
        &Request::Watch {
            session: session.to_string(),
        },
    )?;
    while let Some(event) = next_line(&mut lines)? {
        if !each(event) {
            break;
        }
    }
    Ok(())
}

fn send(socket: &Path, request: &Request) -> Result<BufReader<BlockingStream>, RecorderError> {
    let none = |e: std::io::Error| {
        RecorderError::Control(format!(
            "no gateway answers at {} ({e}): start one with 'lucid gateway'",
            socket.display()
        ))
    };
    let mut stream = BlockingStream::connect(socket).map_err(none)?;
    let mut line =
        serde_json::to_string(request).map_err(|e| RecorderError::Control(e.to_string()))?;
    line.push('\n');
    stream.write_all(line.as_bytes()).map_err(none)?;
    Ok(BufReader::new(stream))
}

fn next_line<T: DeserializeOwned>(
    lines: &mut BufReader<BlockingStream>,
) -> Result<Option<T>, RecorderError> {
    let bad = |e: &dyn std::fmt::Display| {
        RecorderError::Control(format!("the gateway's answer cannot be read: {e}"))
    };
    let mut line = String::new();
    if lines
        .by_ref()
        .take(MAX_LINE)
        .read_line(&mut line)
        .map_err(|e| bad(&e))?
        == 0
    {
        return Ok(None);
    }
    match serde_json::from_str(&line).map_err(|e| bad(&e))? {
        Answer::Ok(value) => Ok(Some(value)),
        Answer::Error(why) => Err(RecorderError::Control(why)),
    }
}

/// The permissions that a channel's name on the command line stands for.
///
/// # Errors
/// When there is no such channel.
pub fn permissions(channel: &str) -> Result<Vec<Permission>, RecorderError> {
    if channel == "clipboard" {
        return Ok(vec![Permission::ClipboardIn, Permission::ClipboardOut]);
    }
    Permission::from_str(channel)
        .map(|p| vec![p])
        .map_err(|e| RecorderError::Control(e.to_string()))
}

/// A running session as the gateway holds it.
#[derive(Clone)]
pub(crate) struct Live {
    pub(crate) info: LiveSession,
    pub(crate) handle: SessionHandle,
    pub(crate) progress: watch::Receiver<Progress>,
    pub(crate) events: broadcast::Sender<SessionEvent>,
    pub(crate) covered: watch::Receiver<Option<Covered>>,
}

/// The running sessions.
#[derive(Clone, Default)]
pub(crate) struct Sessions(Arc<Mutex<BTreeMap<SessionId, Live>>>);

impl Sessions {
    pub(crate) fn insert(&self, id: SessionId, live: Live) {
        let mut sessions = self.lock();
        sessions.insert(id, live);
        metrics::SESSIONS.set_count(sessions.len() as u64);
    }

    pub(crate) fn remove(&self, id: SessionId) {
        let mut sessions = self.lock();
        sessions.remove(&id);
        metrics::SESSIONS.set_count(sessions.len() as u64);
    }

    pub(crate) fn all(&self) -> Vec<Live> {
        self.lock().values().cloned().collect()
    }

    /// The closed chunks of every session that has some.
    pub(crate) fn covered(&self) -> Vec<(SessionId, Covered)> {
        let sessions = self.lock();
        let covered = sessions
            .iter()
            .map(|(id, live)| Some((*id, (*live.covered.borrow())?)));
        covered.flatten().collect()
    }

    fn get(&self, id: &str) -> Result<Live, RecorderError> {
        let id: SessionId = id.parse()?;
        self.lock().get(&id).cloned().ok_or_else(|| {
            RecorderError::Control(format!(
                "session {id} is not running here: 'lucid session list' shows what is"
            ))
        })
    }

    // A panic while holding the lock leaves a whole map behind: it is only inserted to and removed from.
    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<SessionId, Live>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Answers one connection.
pub(crate) async fn answer(
    stream: UnixStream,
    sessions: Sessions,
    longest_grant: Duration,
    anchoring: Option<Anchoring>,
) -> std::io::Result<()> {
    let (reader, mut writer) = stream.into_split();
    let mut line = String::new();
    tokio::io::BufReader::new(reader.take(MAX_LINE))
        .read_line(&mut line)
        .await?;
    let request =
        serde_json::from_str::<Request>(&line).map_err(|e| RecorderError::Control(e.to_string()));
    let answered = match request {
        Ok(Request::Watch { session }) => match sessions.get(&session) {
            Ok(live) => return watch_session(live, &mut writer).await,
            Err(error) => Err(error),
        },
        Ok(Request::List) => Ok(serde_json::to_value(
            sessions.all().into_iter().map(current).collect::<Vec<_>>(),
        )?),
        Ok(Request::Open {
            session,
            session_key,
            policy,
        }) => open(anchoring, &session, &session_key, &policy)
            .await
            .and_then(|opening| {
                serde_json::to_value(opening).map_err(|e| RecorderError::Control(e.to_string()))
            }),
        Ok(request) => steer(request, &sessions, longest_grant)
            .await
            .map(serde_json::Value::from),
        Err(error) => Err(error),
    };
    let answer = answered.map_or_else(|e| Answer::Error(e.to_string()), Answer::Ok);
    send_line(&mut writer, &answer).await
}

async fn open(
    anchoring: Option<Anchoring>,
    session: &str,
    session_key: &str,
    policy: &str,
) -> Result<Opening, RecorderError> {
    let Some(anchoring) = anchoring else {
        let way_out = "set chain.url where it starts, or leave it out here";
        return Err(RecorderError::Control(format!(
            "the running gateway anchors nothing: {way_out}"
        )));
    };
    let key = PublicKey(Hash::from_hex(session_key)?.0);
    anchoring
        .open(session.parse()?, key, Hash::from_hex(policy)?)
        .await
}

fn current(live: Live) -> LiveSession {
    let progress = *live.progress.borrow();
    LiveSession {
        chunks: progress.chunks,
        bytes: progress.bytes,
        records: progress.records,
        ..live.info
    }
}

/// Does what changes a session, and says in words what was done.
async fn steer(
    request: Request,
    sessions: &Sessions,
    longest_grant: Duration,
) -> Result<String, RecorderError> {
    let over = |_| RecorderError::Control("the session has just ended".into());
    match request {
        Request::End { session, reason } => {
            sessions
                .get(&session)?
                .handle
                .end(&reason)
                .await
                .map_err(over)?;
            Ok("ending".into())
        }
        Request::Allow {
            session,
            channel,
            for_ms,
            by,
        } => {
            let lasts = Duration::from_millis(for_ms).min(longest_grant);
            let live = sessions.get(&session)?;
            for permission in permissions(&channel)? {
                live.handle
                    .grant(permission, lasts, &by)
                    .await
                    .map_err(over)?;
            }
            Ok(format!("{channel} is open for {} s", lasts.as_secs()))
        }
        Request::Deny { session, channel } => {
            let live = sessions.get(&session)?;
            for permission in permissions(&channel)? {
                live.handle.revoke(permission).await.map_err(over)?;
            }
            Ok(format!("{channel} is closed"))
        }
        Request::List | Request::Watch { .. } | Request::Open { .. } => {
            Err(RecorderError::Control("not a change".into()))
        }
    }
}

async fn watch_session(
    live: Live,
    writer: &mut (impl AsyncWriteExt + Unpin),
) -> std::io::Result<()> {
    let mut events = live.events.subscribe();
    let progress = *live.progress.borrow();
    drop(live);
    send_line(writer, &Answer::Ok(SessionEvent::Chunks { progress })).await?;
    loop {
        match events.recv().await {
            Ok(event) => send_line(writer, &Answer::Ok(event)).await?,
            Err(broadcast::error::RecvError::Lagged(missed)) => {
                let text = format!("{missed} events were too fast to show");
                send_line(writer, &Answer::Ok(SessionEvent::Note { text })).await?;
            }
            Err(broadcast::error::RecvError::Closed) => return Ok(()),
        }
    }
}

async fn send_line(
    writer: &mut (impl AsyncWriteExt + Unpin),
    value: &impl Serialize,
) -> std::io::Result<()> {
    let mut line = serde_json::to_vec(value)?;
    line.push(b'\n');
    writer.write_all(&line).await
}
