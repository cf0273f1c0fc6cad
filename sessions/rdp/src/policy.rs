//! Which channels may carry what, and until when. Default deny.
//!
//! Time is microseconds since the session began, handed in by the caller: nothing here reads a clock.

use std::fmt;
use std::str::FromStr;

use crate::wire::Direction;

/// Something a session may be allowed for a while.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Permission {
    /// Copy on the client, paste on the desktop.
    ClipboardIn,
    /// Copy on the desktop, paste on the client.
    ClipboardOut,
    /// The client's drives on the desktop.
    Drives,
    /// The client's printers on the desktop.
    Printers,
    /// The desktop's sound on the client.
    AudioOut,
    /// The client's microphone on the desktop.
    AudioIn,
    /// The client's smart cards and serial and parallel ports on the desktop.
    Devices,
}

impl Permission {
    /// Every permission.
    pub const ALL: [Self; 7] = [
        Self::ClipboardIn,
        Self::ClipboardOut,
        Self::Drives,
        Self::Printers,
        Self::AudioOut,
        Self::AudioIn,
        Self::Devices,
    ];

    /// Its name on the command line, in the audit log and in recordings.
    pub fn name(self) -> &'static str {
        match self {
            Self::ClipboardIn => "clipboard-in",
            Self::ClipboardOut => "clipboard-out",
            Self::Drives => "drives",
            Self::Printers => "printers",
            Self::AudioOut => "audio-out",
            Self::AudioIn => "audio-in",
            Self::Devices => "devices",
        }
    }

    /// The clipboard permission for data that flows this way.
    pub fn clipboard(direction: Direction) -> Self {
        match direction {
            Direction::In => Self::ClipboardIn,
            Direction::Out => Self::ClipboardOut,
        }
    }
}

impl fmt::Display for Permission {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A name that is no permission.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "no permission is called `{0}`; there are clipboard-in, clipboard-out, drives, printers, audio-out, audio-in, devices"
)]
pub struct UnknownPermission(pub String);

impl FromStr for Permission {
    type Err = UnknownPermission;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .into_iter()
            .find(|p| p.name() == name)
            .ok_or_else(|| UnknownPermission(name.to_owned()))
    }
}

/// What a static virtual channel is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChannelKind {
    /// `cliprdr`: policy is applied PDU by PDU.
    Clipboard,
    /// `drdynvc`: policy is applied dynamic channel by dynamic channel.
    Dynamic,
    /// `rdpdr`: drives, printers, smart cards, ports; policy is applied when a device is announced.
    Devices,
    /// `rdpsnd`: sound.
    Sound,
    /// Anything else: always closed.
    Other,
}

impl ChannelKind {
    /// The kind of the static channel with this name.
    pub fn of(name: &str) -> Self {
        match name.to_ascii_lowercase().as_str() {
            "cliprdr" => Self::Clipboard,
            "drdynvc" => Self::Dynamic,
            "rdpdr" => Self::Devices,
            "rdpsnd" => Self::Sound,
            _ => Self::Other,
        }
    }
}

/// The grants of one session.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Policy {
    grants: Vec<(Permission, u64)>,
}

impl Policy {
    /// Opens `permission` until `until_us`; a later end replaces an earlier one and the other way round.
    pub fn grant(&mut self, permission: Permission, until_us: u64) {
        self.grants.retain(|(p, _)| *p != permission);
        self.grants.push((permission, until_us));
    }

    /// Takes a permission back; whether it was there.
    pub fn revoke(&mut self, permission: Permission) -> bool {
        let before = self.grants.len();
        self.grants.retain(|(p, _)| *p != permission);
        self.grants.len() != before
    }

    /// Whether `permission` is open at `now_us`. A grant no longer counts at its very end.
    pub fn allows(&self, permission: Permission, now_us: u64) -> bool {
        self.grants
            .iter()
            .any(|(p, until)| *p == permission && now_us < *until)
    }

    /// Removes the grants that have ended, and names them.
    pub fn expire(&mut self, now_us: u64) -> Vec<Permission> {
        let ended = self
            .grants
            .iter()
            .filter(|(_, until)| now_us >= *until)
            .map(|(p, _)| *p)
            .collect();
        self.grants.retain(|(_, until)| now_us < *until);
        ended
    }

    /// When the next grant ends.
    pub fn next_end(&self) -> Option<u64> {
        self.grants.iter().map(|(_, until)| *until).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn nothing_is_allowed_by_default() {
        assert!(
            Permission::ALL
                .into_iter()
                .all(|p| !Policy::default().allows(p, 0))
        );
    }

    #[test]
    fn names_read_back() {
        for permission in Permission::ALL {
            assert_eq!(permission.name().parse(), Ok(permission));
        }
        assert!("clipboard".parse::<Permission>().is_err());
    }

    proptest! {
        #[test]
        fn a_grant_opens_its_permission_and_no_other_until_its_end(which in 0usize..7, until: u64, now: u64) {
            let granted = Permission::ALL[which];
            let mut policy = Policy::default();
            policy.grant(granted, until);
            for permission in Permission::ALL {
                prop_assert_eq!(policy.allows(permission, now), permission == granted && now < until);
            }
            let ended = policy.expire(now);
            prop_assert_eq!(!ended.is_empty(), now >= until);
            prop_assert_eq!(policy.allows(granted, now), now < until);
        }

        #[test]
        fn after_any_history_a_permission_is_open_only_if_its_last_word_was_an_open_grant(
            history in proptest::collection::vec((0usize..7, proptest::option::of(0u64..100)), 0..20), now in 0u64..100,
        ) {
            let mut policy = Policy::default();
            let mut last = [None; 7];
            for (which, until) in history {
                last[which] = until;
                match until {
                    Some(until) => policy.grant(Permission::ALL[which], until),
                    None => { policy.revoke(Permission::ALL[which]); }
                }
            }
            for (which, permission) in Permission::ALL.into_iter().enumerate() {
                prop_assert_eq!(policy.allows(permission, now), last[which].is_some_and(|until| now < until));
            }
        }
    }
}
