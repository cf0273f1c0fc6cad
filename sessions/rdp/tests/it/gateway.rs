//! A gateway on a free loopback port, with everything it taps kept in memory.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use lucid_format::Stream;
use lucid_rdp::info::Credentials;
use lucid_rdp::tap::{self, TapEvent, What};
use lucid_rdp::{
    Acceptor, Identity, Rejection, Security, Session, SessionEnd, SessionHandle, Target, Trust,
};
use tokio::runtime::Runtime;

pub(crate) const ONE_TIME: &str = "one-time-7f3a9c";

#[derive(Default)]
pub(crate) struct Seen {
    pub(crate) events: Vec<TapEvent>,
    pub(crate) errors: Vec<String>,
    pub(crate) handles: Vec<SessionHandle>,
    pub(crate) ends: Vec<SessionEnd>,
}

pub(crate) struct Gateway {
    pub(crate) addr: SocketAddr,
    seen: Arc<Mutex<Seen>>,
    runtime: Option<Runtime>,
}

impl Drop for Gateway {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_timeout(Duration::from_secs(5));
        }
    }
}

pub(crate) fn target(addr: SocketAddr, user: &str, password: &str, security: Security) -> Target {
    Target {
        host: addr.ip().to_string(),
        port: addr.port(),
        credentials: Credentials {
            username: user.to_owned(),
            domain: String::new(),
            password: password.to_owned().into(),
        },
        security,
        trust: Trust::AskFirstUse,
        timeout: Duration::from_secs(10),
    }
}

/// The target with the certificate it shows pinned.
pub(crate) fn pinned(mut target: Target) -> Target {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    target.trust = Trust::Pin(runtime.block_on(target.show_certificate()).unwrap());
    target
}

impl Gateway {
    pub(crate) fn start(target: Target) -> Self {
        Self::start_with(target, Duration::from_secs(30), true)
    }

    /// `records` false: the recorder goes away at the first event.
    pub(crate) fn start_with(target: Target, timeout: Duration, records: bool) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .unwrap();
        let dir = tempfile::tempdir().unwrap();
        let identity =
            Identity::load_or_create(&dir.path().join("g.crt"), &dir.path().join("g.key")).unwrap();
        let acceptor = Acceptor::new(&identity).unwrap().with_timeout(timeout);
        let listener = runtime
            .block_on(tokio::net::TcpListener::bind("127.0.0.1:0"))
            .unwrap();
        let addr = listener.local_addr().unwrap();
        let seen = Arc::new(Mutex::new(Seen::default()));
        let shared = seen.clone();
        runtime.spawn(async move {
            while let Ok((tcp, peer)) = listener.accept().await {
                let (acceptor, target, seen) = (acceptor.clone(), target.clone(), shared.clone());
                tokio::spawn(async move {
                    let client = match acceptor.accept(tcp, peer).await {
                        Ok(client) => client,
                        Err(error) => return seen.lock().unwrap().errors.push(error.to_string()),
                    };
                    if client.password().as_str() != ONE_TIME {
                        seen.lock()
                            .unwrap()
                            .errors
                            .push("wrong one-time password".into());
                        return client.reject(Rejection::Denied).await;
                    }
                    let (session, handle) = match Session::connect(client, &target).await {
                        Ok(pair) => pair,
                        Err((error, client)) => {
                            seen.lock().unwrap().errors.push(error.to_string());
                            return client.reject(Rejection::TargetFailed).await;
                        }
                    };
                    seen.lock().unwrap().handles.push(handle);
                    let (sender, mut receiver) = tap::channel();
                    let recorder = seen.clone();
                    let recording = tokio::spawn(async move {
                        while let Some(events) = receiver.recv().await {
                            if !records {
                                break;
                            }
                            recorder.lock().unwrap().events.extend(events);
                        }
                    });
                    let end = session.run(sender, Instant::now()).await;
                    recording.await.unwrap();
                    seen.lock().unwrap().ends.push(end);
                });
            }
        });
        Self {
            addr,
            seen,
            runtime: Some(runtime),
        }
    }

    pub(crate) fn seen<T>(&self, look: impl FnOnce(&Seen) -> T) -> T {
        look(&self.seen.lock().unwrap())
    }

    /// Waits until `look` finds something.
    pub(crate) fn wait_for<T>(&self, what: &str, look: impl Fn(&Seen) -> Option<T>) -> T {
        let end = Instant::now() + Duration::from_secs(30);
        loop {
            if let Some(found) = self.seen(&look) {
                return found;
            }
            let errors = self.seen(|s| s.errors.clone());
            assert!(
                Instant::now() < end,
                "no {what} after 30 s; errors: {errors:?}"
            );
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    pub(crate) fn block_on<T>(&self, future: impl Future<Output = T>) -> T {
        self.runtime.as_ref().unwrap().block_on(future)
    }

    pub(crate) fn handle(&self) -> SessionHandle {
        self.wait_for("session", |s| s.handles.last().cloned())
    }
}

impl Seen {
    pub(crate) fn payloads(&self, wanted: Stream) -> impl Iterator<Item = &[u8]> {
        self.events
            .iter()
            .filter_map(move |event| match &event.what {
                What::Record { stream, payload } if *stream == wanted => Some(payload.as_ref()),
                _ => None,
            })
    }

    pub(crate) fn sizes(&self) -> Vec<(u16, u16)> {
        let le = |p: &[u8], at: usize| u16::from_le_bytes([p[at], p[at + 1]]);
        self.payloads(Stream::Resize)
            .map(|p| (le(p, 0), le(p, 2)))
            .collect()
    }

    /// Whether any record holds `text`, in UTF-8 or UTF-16.
    pub(crate) fn records_contain(&self, text: &str) -> bool {
        let wide: Vec<u8> = text.encode_utf16().flat_map(u16::to_le_bytes).collect();
        self.events.iter().any(|event| match &event.what {
            What::Record { payload, .. } => [text.as_bytes(), &wide].iter().any(|needle| {
                payload
                    .windows(needle.len())
                    .any(|window| window == *needle)
            }),
            _ => false,
        })
    }
}
