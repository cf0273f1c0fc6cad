//! Tickets: single-use session ids and their one-time passwords (requirement S7).
//!
//! ```text
//! mint ─▶ tickets/LOOKUP.ticket ──claim (rename)──▶ tickets/used/LOOKUP.ticket
//! ```
//!
//! LOOKUP is a hash of user and password, so a ticket is found by what the client shows and the password itself is
//! nowhere. The session's one-time signing key is in the ticket, masked with a hash of the same password: until the client
//! comes nobody on the host can sign as that session, and the claim erases it. The rename is the claim: of two clients
//! with one password, one finds no file, across restarts and crashes too.

use std::{fs, io, path::Path};

use lucid_format::{Hash, Keypair, PublicKey, SessionId, Signed, Ticket};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::{Home, RecorderError, home};

const LOOKUP: &str = "lucid 2026-11 ticket lookup v1";
const MASK: &str = "lucid 2026-11 ticket mask v1";
/// Random bytes of a one-time password: 100 bits and a half, out of reach of guessing.
const PASSWORD_CHARS: usize = 20;
const MAX_TICKET_FILE: u64 = 16 << 10;

/// What to mint.
#[derive(Debug, Clone)]
pub struct MintRequest {
    /// Who the session is for; the RDP user name to log in with.
    pub user: String,
    /// Name of the target.
    pub target: String,
    /// How long the ticket may be used, in s.
    pub valid_for_s: u64,
    /// The channel policy, in words; its hash goes into the ticket.
    pub policy: String,
}

/// A fresh ticket and its password, which is shown once.
#[derive(Debug)]
pub struct Minted {
    /// The ticket.
    pub ticket: Ticket,
    /// The one-time RDP password.
    pub password: Zeroizing<String>,
}

/// A claimed ticket: the session may begin.
#[derive(Debug)]
pub struct Claimed {
    /// The ticket.
    pub ticket: Ticket,
    /// The ticket as the host signed it.
    pub signed: Signed,
    /// The session's one-time key.
    pub session_key: Keypair,
}

/// A ticket that has not been used, for listings.
#[derive(Debug, Clone, Serialize)]
pub struct Outstanding {
    /// The session's id.
    pub session: String,
    /// Who it is for.
    pub user: String,
    /// Name of the target.
    pub target: String,
    /// When it expires, µs since the Unix epoch.
    pub expires_us: u64,
}

#[derive(Serialize, Deserialize)]
struct TicketFile {
    version: u16,
    /// Signed ticket, base64 of body and of signature.
    body: String,
    signature: String,
    /// The session's secret key, masked; erased by the claim.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    masked_key: Option<String>,
}

/// Mints a ticket at `now_us`.
///
/// # Errors
/// When a text is too long or the disk fails.
pub fn mint(home: &Home, request: &MintRequest, now_us: u64) -> Result<Minted, RecorderError> {
    let host = home.identity()?;
    let mut rng = crate::rng();
    let session_key = Keypair::generate(&mut rng);
    let mut id = [0; 16];
    rand_core::Rng::fill_bytes(&mut rng, &mut id);
    let password = new_password();
    let ticket = Ticket {
        session: SessionId(id),
        session_key: session_key.public(),
        host_key: host.public(),
        user: request.user.clone(),
        target: request.target.clone(),
        minted_us: now_us,
        expires_us: now_us.saturating_add(request.valid_for_s.saturating_mul(1_000_000)),
        policy: Hash::of_policy(&request.policy),
    };
    let signed = ticket.sign(&host)?;
    let encode = |bytes: &[u8]| data_encoding::BASE64.encode(bytes);
    let file = TicketFile {
        version: 1,
        body: encode(&signed.body),
        signature: encode(&signed.signature),
        masked_key: Some(encode(
            mask(&session_key.secret(), &password, ticket.session).as_ref(),
        )),
    };
    let folder = home.tickets();
    home::make_dir(&folder.join("used"))?;
    let text = text(&file)?;
    home::write_new(
        &folder.join(file_name(&ticket.user, &password)),
        text.as_bytes(),
        0o600,
    )?;
    Ok(Minted { ticket, password })
}

/// Takes back a ticket that nobody was told of: its session could not be opened on the chain.
///
/// # Errors
/// The disk's.
pub fn withdraw(home: &Home, minted: &Minted) -> Result<(), RecorderError> {
    let path = home
        .tickets()
        .join(file_name(&minted.ticket.user, &minted.password));
    fs::remove_file(&path).map_err(|e| RecorderError::io("removing", &path, e))?;
    home::sync_dir(&home.tickets())
}

/// Claims the ticket that `user` and `password` name. Whatever the outcome, a ticket that was found is used up.
///
/// # Errors
/// [`RecorderError::UnknownTicket`], [`RecorderError::UsedTicket`], [`RecorderError::ExpiredTicket`], or the disk's.
pub fn claim(
    home: &Home,
    user: &str,
    password: &str,
    now_us: u64,
) -> Result<Claimed, RecorderError> {
    let folder = home.tickets();
    let used_folder = folder.join("used");
    let name = file_name(user, password);
    let (fresh, used) = (folder.join(&name), used_folder.join(&name));
    match fs::rename(&fresh, &used) {
        Ok(()) => {}
        Err(e) if e.kind() == io::ErrorKind::NotFound => {
            let user = user.to_owned();
            return Err(match read(&used) {
                Ok(file) => RecorderError::UsedTicket {
                    user,
                    session: open(&file)?.0.session,
                },
                Err(_) => RecorderError::UnknownTicket { user },
            });
        }
        Err(e) => return Err(RecorderError::io("claiming", &fresh, e)),
    }
    home::sync_dir(&used_folder)?;
    home::sync_dir(&folder)?;

    let mut file = read(&used)?;
    // From here on the key is in this process only: after the end nobody can sign as this session again.
    let masked = file.masked_key.take();
    home::replace(&used, text(&file)?.as_bytes(), 0o600)?;
    let (ticket, signed) = open(&file)?;
    if now_us > ticket.expires_us {
        let seconds_ago = (now_us - ticket.expires_us) / 1_000_000;
        return Err(RecorderError::ExpiredTicket {
            user: user.to_owned(),
            session: ticket.session,
            seconds_ago,
        });
    }
    let masked = bytes::<32>(&masked.ok_or_else(|| damaged("its key is gone"))?)?;
    let session_key = Keypair::from_secret(&mask(&masked, password, ticket.session));
    // The mask has no tag: that the key fits the signed ticket is the check.
    if session_key.public() != ticket.session_key || ticket.host_key != host_key(home)? {
        return Err(damaged("its key does not fit, or another host minted it"));
    }
    Ok(Claimed {
        ticket,
        signed,
        session_key,
    })
}

/// Tickets that can still be used at `now_us`, soonest to expire first.
///
/// # Errors
/// When the folder cannot be read.
pub fn outstanding(home: &Home, now_us: u64) -> Result<Vec<Outstanding>, RecorderError> {
    let folder = home.tickets();
    let entries = match fs::read_dir(&folder) {
        Ok(entries) => entries,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(e) => return Err(RecorderError::io("reading", &folder, e)),
    };
    let mut found = Vec::new();
    for entry in entries {
        let path = entry
            .map_err(|e| RecorderError::io("reading", &folder, e))?
            .path();
        if path.extension().is_some_and(|e| e == "ticket")
            && let Ok((ticket, _)) = read(&path).and_then(|file| open(&file))
            && ticket.expires_us >= now_us
        {
            let session = ticket.session.to_string();
            found.push(Outstanding {
                session,
                user: ticket.user,
                target: ticket.target,
                expires_us: ticket.expires_us,
            });
        }
    }
    found.sort_by_key(|t| t.expires_us);
    Ok(found)
}

fn host_key(home: &Home) -> Result<PublicKey, RecorderError> {
    Ok(home.identity()?.public())
}

fn file_name(user: &str, password: &str) -> String {
    let mut hasher = blake3::Hasher::new_derive_key(LOOKUP);
    hasher
        .update(&(user.len() as u64).to_le_bytes())
        .update(user.as_bytes())
        .update(password.as_bytes());
    format!("{}.ticket", hasher.finalize().to_hex())
}

/// Masks and unmasks: each password masks one key once, so exclusive-or with a hash of it is a one-time pad.
fn mask(secret: &[u8; 32], password: &str, session: SessionId) -> Zeroizing<[u8; 32]> {
    let mut hasher = blake3::Hasher::new_derive_key(MASK);
    let pad = hasher
        .update(&session.0)
        .update(password.as_bytes())
        .finalize();
    let mut out = Zeroizing::new(*secret);
    out.iter_mut()
        .zip(pad.as_bytes())
        .for_each(|(o, p)| *o ^= p);
    out
}

/// A new password: 100 random bits as twenty base32 characters in four groups, easy to read out.
pub fn new_password() -> Zeroizing<String> {
    let mut random = Zeroizing::new([0; 13]);
    rand_core::Rng::fill_bytes(&mut crate::rng(), random.as_mut());
    let text = Zeroizing::new(
        data_encoding::BASE32_NOPAD
            .encode(random.as_ref())
            .to_ascii_lowercase(),
    );
    let groups: Vec<&str> = (0..PASSWORD_CHARS / 5)
        .map(|g| &text[g * 5..g * 5 + 5])
        .collect();
    Zeroizing::new(groups.join("-"))
}

fn text(file: &TicketFile) -> Result<String, RecorderError> {
    serde_json::to_string_pretty(file).map_err(|e| RecorderError::Control(e.to_string()))
}

fn read(path: &Path) -> Result<TicketFile, RecorderError> {
    let len = fs::metadata(path)
        .map_err(|e| RecorderError::io("reading", path, e))?
        .len();
    if len > MAX_TICKET_FILE {
        return Err(damaged("it is far too long"));
    }
    let text = fs::read_to_string(path).map_err(|e| RecorderError::io("reading", path, e))?;
    let file: TicketFile = serde_json::from_str(&text).map_err(|e| damaged(&e.to_string()))?;
    if file.version == 1 {
        Ok(file)
    } else {
        Err(damaged("it was written by a newer lucid"))
    }
}

fn open(file: &TicketFile) -> Result<(Ticket, Signed), RecorderError> {
    let body = data_encoding::BASE64
        .decode(file.body.as_bytes())
        .map_err(|e| damaged(&e.to_string()))?;
    let signed = Signed {
        body,
        signature: *bytes(&file.signature)?,
    };
    Ok((Ticket::open(&signed)?, signed))
}

fn bytes<const N: usize>(text: &str) -> Result<Zeroizing<[u8; N]>, RecorderError> {
    let bytes = Zeroizing::new(
        data_encoding::BASE64
            .decode(text.as_bytes())
            .map_err(|e| damaged(&e.to_string()))?,
    );
    bytes
        .as_slice()
        .try_into()
        .map(Zeroizing::new)
        .map_err(|_| damaged("a field has the wrong length"))
}

fn damaged(why: &str) -> RecorderError {
    RecorderError::Control(format!(
        "the ticket's file is damaged ({why}): mint another"
    ))
}
