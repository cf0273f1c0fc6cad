//! A session in a store of its own, for the parts of the benchmark that need no gateway.

use std::path::Path;

use anyhow::Result;
use lucid_format::{
    Hash, Head, Keypair, SecretKeys, SessionId, SessionSeed, SignedHead, Ticket, hash_wraps,
    wrap_seed,
};
use lucid_recorder::wall_clock_us;
use lucid_store::{OpenSession, Store};

/// Everything that writes and reads one session.
pub struct Session {
    /// The store it is in.
    pub store: Store,
    /// It, begun.
    pub open: OpenSession,
    /// Signs its checkpoints and its manifest.
    pub key: Keypair,
    /// Its chunks' keys grow from this.
    pub seed: SessionSeed,
}

/// Begins a session in a new store in `dir`.
pub fn begin(dir: &Path) -> Result<Session> {
    let mut rng = lucid_recorder::rng();
    let (host, key) = (Keypair::generate(&mut rng), Keypair::generate(&mut rng));
    let auditor = SecretKeys::generate("auditor", &mut rng)?;
    let seed = SessionSeed::generate(&mut rng);
    let mut id = [0; 16];
    getrandom::fill(&mut id)?;
    let mut salt = [0; 32];
    getrandom::fill(&mut salt)?;
    let now_us = wall_clock_us();
    let wraps = wrap_seed(&seed, SessionId(id), &[auditor.public()], &mut rng)?;
    let ticket = Ticket {
        session: SessionId(id),
        session_key: key.public(),
        host_key: host.public(),
        user: "operator1".to_owned(),
        target: "desk1".to_owned(),
        minted_us: now_us,
        expires_us: now_us + 600_000_000,
        policy: Hash::of_policy("benchmark"),
    };
    let head = Head {
        version: Head::VERSION,
        ticket: ticket.sign(&host)?,
        started_us: now_us,
        salt,
        recipients: vec![auditor.public().id()],
        wraps: hash_wraps(&wraps)?,
        recorder: "lucid bench".to_owned(),
        client: "benchmark".to_owned(),
    };
    let store = Store::open(dir.join("store"))?;
    let open = store.create_session(&SignedHead::sign(head, &key)?, &wraps)?;
    Ok(Session {
        store,
        open,
        key,
        seed,
    })
}
