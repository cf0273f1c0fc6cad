//! The Client Info PDU: the one place where passwords travel.
//!
//! ```text
//! client ─ user + one-time password ─▶ gateway ─ target's user + password ─▶ target
//!                                         └─ the same frame, password zeroed ─▶ recording
//! ```
//! Source: MS-RDPBCGR 2.2.1.11.

use zeroize::Zeroizing;

use crate::wire::{Malformed, u16_le, u32_le};

const SEC_INFO_PKT: u16 = 0x0040;
const INFO_AUTOLOGON: u32 = 0x0008;
const INFO_UNICODE: u32 = 0x0010;
const INFO_COMPRESSION: u32 = 0x0080;
const COMPRESSION_TYPE_MASK: u32 = 0x1E00;
const INFO_RAIL: u32 = 0x8000;
const INFO_PASSWORD_IS_SC_PIN: u32 = 0x0004_0000;
const INFO_HIDEF_RAIL: u32 = 0x0200_0000;
const SECURITY_HEADER: usize = 4;
const FIXED: usize = SECURITY_HEADER + 18;
const TIME_ZONE: usize = 172;

/// What the client said of its user.
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    /// User name.
    pub username: String,
    /// Domain, often empty.
    pub domain: String,
    /// Password.
    pub password: Zeroizing<String>,
}

impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Credentials")
            .field("username", &self.username)
            .field("domain", &self.domain)
            .finish_non_exhaustive()
    }
}

/// Strings of the info packet in wire order, as ranges in the user data, without terminators.
struct Layout {
    flags: u32,
    unicode: bool,
    strings: [std::ops::Range<usize>; 5],
    extra: usize,
}

const DOMAIN: usize = 0;
const USER: usize = 1;
const PASSWORD: usize = 2;
const SHELL: usize = 3;
const WORK_DIR: usize = 4;

fn layout(data: &[u8]) -> Result<Layout, Malformed> {
    let cut = Malformed("client info is cut short");
    if u16_le(data, 0).is_none_or(|flags| flags & SEC_INFO_PKT == 0) {
        return Err(Malformed("not a client info PDU"));
    }
    let flags = u32_le(data, SECURITY_HEADER + 4).ok_or(cut)?;
    let unicode = flags & INFO_UNICODE != 0;
    let terminator = if unicode { 2 } else { 1 };
    let mut at = FIXED;
    let mut strings: [std::ops::Range<usize>; 5] = Default::default();
    for (index, range) in strings.iter_mut().enumerate() {
        let len = usize::from(u16_le(data, SECURITY_HEADER + 8 + 2 * index).ok_or(cut)?);
        *range = at..at + len;
        at += len + terminator;
        if at > data.len() {
            return Err(cut);
        }
    }
    Ok(Layout {
        flags,
        unicode,
        strings,
        extra: at,
    })
}

fn text(bytes: &[u8], unicode: bool) -> String {
    if unicode {
        crate::gcc::utf16_until_nul(bytes)
    } else {
        bytes
            .iter()
            .take_while(|b| **b != 0)
            .map(|b| char::from(*b))
            .collect()
    }
}

/// Reads the user's credentials from the user data of a Client Info PDU.
pub fn read(data: &[u8]) -> Result<Credentials, Malformed> {
    let layout = layout(data)?;
    let field = |index: usize| text(&data[layout.strings[index].clone()], layout.unicode);
    Ok(Credentials {
        username: field(USER),
        domain: field(DOMAIN),
        password: Zeroizing::new(field(PASSWORD)),
    })
}

/// The same Client Info with other credentials: log on at once, no compression, no RemoteApp, no reconnect cookie.
pub fn rewrite(data: &[u8], credentials: &Credentials) -> Result<Zeroizing<Vec<u8>>, Malformed> {
    let layout = layout(data)?;
    let flags = (layout.flags | INFO_AUTOLOGON | INFO_UNICODE)
        & !(INFO_COMPRESSION
            | COMPRESSION_TYPE_MASK
            | INFO_RAIL
            | INFO_HIDEF_RAIL
            | INFO_PASSWORD_IS_SC_PIN);
    let shell = Zeroizing::new(text(&data[layout.strings[SHELL].clone()], layout.unicode));
    let work_dir = Zeroizing::new(text(
        &data[layout.strings[WORK_DIR].clone()],
        layout.unicode,
    ));
    let strings = [
        credentials.domain.as_str(),
        &credentials.username,
        &credentials.password,
        &shell,
        &work_dir,
    ];
    // Room for everything at once: a growing vector would leave copies of the password behind.
    let room = data.len() + strings.iter().map(|s| 2 * s.len() + 2).sum::<usize>();
    let mut out = Zeroizing::new(Vec::with_capacity(room));
    out.extend_from_slice(&data[..SECURITY_HEADER + 4]);
    out.extend_from_slice(&flags.to_le_bytes());
    for string in strings {
        let len = u16::try_from(string.encode_utf16().count() * 2)
            .map_err(|_| Malformed("a client info string is longer than its length field"))?;
        out.extend_from_slice(&len.to_le_bytes());
    }
    for string in strings {
        for unit in string.encode_utf16().chain([0]) {
            out.extend_from_slice(&unit.to_le_bytes());
        }
    }
    let extra = out.len();
    out.extend_from_slice(&data[layout.extra..]);
    blank_cookie(&mut out, extra);
    Ok(out)
}

/// Zeroes password and reconnect cookie, for the recording.
pub fn blank(data: &mut [u8]) -> Result<(), Malformed> {
    let layout = layout(data)?;
    data[layout.strings[PASSWORD].clone()].fill(0);
    blank_cookie(data, layout.extra);
    Ok(())
}

fn blank_cookie(data: &mut [u8], extra: usize) {
    let skip = |at: usize| Some(at + 2 + usize::from(u16_le(data, at)?));
    let cookie = skip(extra + 2)
        .and_then(skip)
        .map(|at| at + TIME_ZONE + 4 + 4)
        .and_then(|at| Some(at + 2..at + 2 + usize::from(u16_le(data, at)?)));
    if let Some(cookie) = cookie.filter(|range| range.start < data.len()) {
        let end = cookie.end.min(data.len());
        data[cookie.start..end].fill(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn sample(unicode: bool) -> Vec<u8> {
        let enc = |s: &str| -> Vec<u8> {
            if unicode {
                s.encode_utf16().flat_map(u16::to_le_bytes).collect()
            } else {
                s.as_bytes().to_vec()
            }
        };
        let strings = ["DOM", "operator1", "one-time-secret", "shell", "dir"].map(enc);
        let mut out = vec![0x40, 0, 0, 0, 0, 0, 0, 0];
        let flags = 0x0000_1E83 | if unicode { INFO_UNICODE } else { 0 };
        out.extend_from_slice(&flags.to_le_bytes());
        for s in &strings {
            out.extend_from_slice(&u16::try_from(s.len()).unwrap().to_le_bytes());
        }
        for s in &strings {
            out.extend_from_slice(s);
            out.extend_from_slice(if unicode { &[0, 0] } else { &[0] });
        }
        out.extend_from_slice(&[2, 0, 4, 0, b'1', 0, 0, 0, 4, 0, b'C', 0, 0, 0]);
        out.extend_from_slice(&[0; TIME_ZONE + 8]);
        out.extend_from_slice(&28u16.to_le_bytes());
        out.extend_from_slice(&[0xEE; 28]);
        out
    }

    fn target() -> Credentials {
        Credentials {
            username: "desk".into(),
            domain: String::new(),
            password: Zeroizing::new("Target-Secret-é".into()),
        }
    }

    #[test]
    fn credentials_are_read_in_both_character_sets() {
        for unicode in [true, false] {
            let read = read(&sample(unicode)).unwrap();
            assert_eq!(
                (read.username.as_str(), read.domain.as_str()),
                ("operator1", "DOM")
            );
            assert_eq!(read.password.as_str(), "one-time-secret");
        }
    }

    #[test]
    fn rewritten_info_carries_only_the_targets_credentials() {
        for unicode in [true, false] {
            let out = rewrite(&sample(unicode), &target()).unwrap();
            assert_eq!(read(&out).unwrap(), target());
            let layout = layout(&out).unwrap();
            assert_eq!(layout.flags & (INFO_COMPRESSION | COMPRESSION_TYPE_MASK), 0);
            assert_ne!(layout.flags & INFO_AUTOLOGON, 0);
            assert_eq!(text(&out[layout.strings[SHELL].clone()], true), "shell");
            assert!(!out.contains(&0xEE), "the reconnect cookie is gone");
        }
    }

    #[test]
    fn blanked_info_keeps_the_user_and_its_length_but_no_secret() {
        let mut data = sample(true);
        let before = data.len();
        blank(&mut data).unwrap();
        assert_eq!(data.len(), before);
        let read = read(&data).unwrap();
        assert_eq!(
            (read.username.as_str(), read.password.as_str()),
            ("operator1", "")
        );
        assert!(!data.contains(&0xEE));
        let secret: Vec<u8> = "secret".encode_utf16().flat_map(u16::to_le_bytes).collect();
        assert!(!data.windows(secret.len()).any(|w| w == secret));
    }

    #[test]
    fn debug_output_has_no_password() {
        assert!(!format!("{:?}", target()).contains("Secret"));
    }

    proptest! {
        #[test]
        fn any_damage_is_read_without_a_panic(at in 0usize..420, byte: u8, keep in 0usize..420) {
            let mut data = sample(true);
            if let Some(b) = data.get_mut(at) { *b = byte; }
            data.truncate(keep);
            let _ = read(&data);
            let _ = rewrite(&data, &target());
            let _ = blank(&mut data);
        }
    }
}
