use borsh::{BorshDeserialize, BorshSerialize};

use crate::{
    FormatError, Hash, Keypair, PublicKey, RecipientId, SessionId, SigDomain, Signed, decode_exact,
    encode, hash::HEAD,
};

/// Most recipients a session's seed is wrapped to.
pub const MAX_RECIPIENTS: usize = 64;

/// Longest text in a ticket or head, in bytes.
const MAX_TEXT: usize = 256;

const VERSION: u16 = 1;

/// The permission to hold one session, given before it begins and signed by the host (requirement S7).
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Ticket {
    /// The single-use id.
    pub session: SessionId,
    /// The one-time key that will sign the head, the checkpoints and the manifest.
    pub session_key: PublicKey,
    /// The host that minted the ticket and will record.
    pub host_key: PublicKey,
    /// Who the session is for.
    pub user: String,
    /// Name of the target.
    pub target: String,
    /// When it was minted, µs since the Unix epoch.
    pub minted_us: u64,
    /// When it can no longer be used, µs since the Unix epoch.
    pub expires_us: u64,
    /// Hash of the channel policy in force ([`Hash::of_policy`]).
    pub policy: Hash,
}

/// What is known when recording starts; the first link of the chunks' hash chain.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Head {
    /// Format version of the whole recording.
    pub version: u16,
    /// The [`Ticket`], signed by the host.
    pub ticket: Signed,
    /// Wall clock at time 0 of the records, µs since the Unix epoch.
    pub started_us: u64,
    /// Random: keeps an anchored root from saying anything about the recording.
    pub salt: [u8; 32],
    /// Who the seed is wrapped to.
    pub recipients: Vec<RecipientId>,
    /// Hash of the wraps, which may later be destroyed ([`hash_wraps`](crate::hash_wraps)).
    pub wraps: Hash,
    /// Program and version that recorded.
    pub recorder: String,
    /// Address and name of the client.
    pub client: String,
}

/// A head that was checked: signatures, bounds, and that ticket and head belong together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignedHead {
    /// The head.
    pub head: Head,
    /// The ticket inside.
    pub ticket: Ticket,
    /// Hash that the first chunk's `prev` and the manifest name.
    pub hash: Hash,
    bytes: Vec<u8>,
}

impl Ticket {
    /// Signs the ticket as the host.
    ///
    /// # Errors
    /// When a text is too long, or the key is not the one the ticket names.
    pub fn sign(&self, host: &Keypair) -> Result<Signed, FormatError> {
        self.check()?;
        if host.public() != self.host_key {
            return Err(FormatError::WrongKey {
                what: "signing the ticket".into(),
            });
        }
        Ok(Signed::new(
            host,
            SigDomain::Ticket,
            encode("a ticket", self)?,
        ))
    }

    /// Reads a signed ticket and checks its signature against the host key it names.
    ///
    /// # Errors
    /// What does not hold.
    pub fn open(signed: &Signed) -> Result<Self, FormatError> {
        let ticket: Self = decode_exact("the ticket", &signed.body)?;
        ticket.check()?;
        signed.verify(&ticket.host_key, SigDomain::Ticket)?;
        Ok(ticket)
    }

    fn check(&self) -> Result<(), FormatError> {
        check_text("the ticket's user", &self.user)?;
        check_text("the ticket's target", &self.target)
    }
}

impl Head {
    /// The version this code writes.
    pub const VERSION: u16 = VERSION;
}

impl SignedHead {
    /// Signs `head` with the session's key.
    ///
    /// # Errors
    /// When a bound is exceeded, or the key is not the one the ticket names.
    #[expect(
        clippy::needless_pass_by_value,
        reason = "a head is signed once and not used again"
    )]
    pub fn sign(head: Head, session_key: &Keypair) -> Result<Self, FormatError> {
        let body = encode("the head", &head)?;
        Self::decode(&encode(
            "the head",
            &Signed::new(session_key, SigDomain::Head, body),
        )?)
    }

    /// Reads and checks a head.
    ///
    /// # Errors
    /// What does not hold.
    pub fn decode(bytes: &[u8]) -> Result<Self, FormatError> {
        let signed: Signed = decode_exact("the head", bytes)?;
        check_version("the head", &signed.body, VERSION)?;
        let head: Head = decode_exact("the head", &signed.body)?;
        if head.recipients.len() > MAX_RECIPIENTS {
            let value = head.recipients.len() as u64;
            return Err(FormatError::TooLarge {
                what: "the number of recipients",
                value,
                bound: MAX_RECIPIENTS as u64,
            });
        }
        check_text("the head's recorder", &head.recorder)?;
        check_text("the head's client", &head.client)?;
        let ticket = Ticket::open(&head.ticket)?;
        signed.verify(&ticket.session_key, SigDomain::Head)?;
        Ok(Self {
            head,
            ticket,
            hash: Hash::derive(HEAD, &[bytes]),
            bytes: bytes.to_vec(),
        })
    }

    /// The bytes, as they were signed and hashed.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}

pub(crate) fn check_version(
    what: &'static str,
    body: &[u8],
    known: u16,
) -> Result<(), FormatError> {
    let Some(found) = body.first_chunk::<2>() else {
        return Err(FormatError::Truncated {
            what,
            need: 2,
            have: body.len() as u64,
        });
    };
    let found = u16::from_le_bytes(*found);
    if found == known {
        Ok(())
    } else {
        Err(FormatError::Version { what, found, known })
    }
}

pub(crate) fn check_text(what: &'static str, text: &str) -> Result<(), FormatError> {
    if text.len() > MAX_TEXT {
        return Err(FormatError::TooLarge {
            what,
            value: text.len() as u64,
            bound: MAX_TEXT as u64,
        });
    }
    Ok(())
}
