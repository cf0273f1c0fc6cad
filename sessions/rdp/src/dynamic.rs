//! Dynamic virtual channels: which of them the server may open, and nothing for the rest.
//!
//! Open to all: Display Control, for resizing. By grant: sound and microphone. Everything else, EGFX first of all, is
//! refused in the client's name, so that the server goes on without it. Source: MS-RDPEDYC 2.2.

use std::collections::BTreeMap;

use crate::policy::Permission;
use crate::wire::{Direction, Malformed, u16_le, u32_le};

const CREATE: u8 = 1;
const DATA_FIRST: u8 = 2;
const DATA: u8 = 3;
const CLOSE: u8 = 4;
const CAPABILITIES: u8 = 5;
/// Version 3 adds compression and soft-sync (UDP); version 2 has neither.
const VERSION: u16 = 2;
/// `STATUS_UNSUCCESSFUL`: what a client answers that has no listener of that name.
const UNSUCCESSFUL: u32 = 0xC000_0001;
const MAX_OPEN: usize = 64;

/// What to do with a dynamic channel PDU.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Let it through.
    Pass,
    /// Drop it.
    Drop,
    /// Drop it; it used a channel that is closed for now.
    Denied(Permission),
    /// Drop it and send this PDU back to its sender; it asked for a channel of this name.
    Refuse {
        /// The failing answer.
        answer: Vec<u8>,
        /// Name of the channel.
        name: String,
        /// What would open it, if anything does.
        permission: Option<Permission>,
    },
}

/// Who may open the dynamic channel with this name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Rule {
    Always,
    With(Permission),
    Never,
}

fn rule(name: &str) -> Rule {
    match name {
        "Microsoft::Windows::RDS::DisplayControl" => Rule::Always,
        "AUDIO_INPUT" => Rule::With(Permission::AudioIn),
        "AUDIO_PLAYBACK_DVC" | "AUDIO_PLAYBACK_LOSSY_DVC" => Rule::With(Permission::AudioOut),
        _ => Rule::Never,
    }
}

/// The dynamic channels of one session.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Dynamic {
    /// Open channels by id, with the permission they need.
    open: BTreeMap<u32, Option<Permission>>,
}

impl Dynamic {
    /// Decides on a PDU that begins with `pdu`; `whole` says that nothing follows. May patch it in place.
    pub fn decide(
        &mut self,
        from: Direction,
        pdu: &mut [u8],
        whole: bool,
        allowed: impl Fn(Permission) -> bool,
    ) -> Result<Step, Malformed> {
        let cut = Malformed("dynamic channel PDU is cut short");
        let header = *pdu.first().ok_or(cut)?;
        let command = header >> 4;
        if command == CAPABILITIES {
            let version = u16_le(pdu, 2).ok_or(cut)?;
            if version > VERSION {
                pdu[2..4].copy_from_slice(&VERSION.to_le_bytes());
            }
            return Ok(Step::Pass);
        }
        if !matches!(command, CREATE | DATA_FIRST | DATA | CLOSE) {
            return Ok(Step::Drop); // compressed data and soft-sync were negotiated away
        }
        let (id, after) = match header & 3 {
            0 => (u32::from(*pdu.get(1).ok_or(cut)?), 2),
            1 => (u32::from(u16_le(pdu, 1).ok_or(cut)?), 3),
            _ => (u32_le(pdu, 1).ok_or(cut)?, 5),
        };
        match (command, from) {
            (CREATE, Direction::Out) => {
                if !whole {
                    return Err(Malformed("dynamic channel create in more than one chunk"));
                }
                let name = pdu[after..]
                    .iter()
                    .take_while(|b| **b != 0)
                    .map(|b| char::from(*b))
                    .collect::<String>();
                let permission = match rule(&name) {
                    Rule::Always => None,
                    Rule::With(permission) => Some(permission),
                    Rule::Never => return Ok(refuse(pdu, after, name, None)),
                };
                if permission.is_some_and(|p| !allowed(p)) || self.open.len() >= MAX_OPEN {
                    return Ok(refuse(pdu, after, name, permission));
                }
                self.open.insert(id, permission);
                Ok(Step::Pass)
            }
            (CREATE, Direction::In) => {
                if !self.open.contains_key(&id) {
                    return Ok(Step::Drop);
                }
                if u32_le(pdu, after).ok_or(cut)? & 0x8000_0000 != 0 {
                    self.open.remove(&id);
                }
                Ok(Step::Pass)
            }
            (CLOSE, _) => Ok(if self.open.remove(&id).is_some() {
                Step::Pass
            } else {
                Step::Drop
            }),
            _ => Ok(match self.open.get(&id) {
                None => Step::Drop,
                Some(Some(permission)) if !allowed(*permission) => Step::Denied(*permission),
                Some(_) => Step::Pass,
            }),
        }
    }
}

/// The answer of a client that has no such channel: the request's header and id, and a failing status.
fn refuse(pdu: &[u8], after: usize, name: String, permission: Option<Permission>) -> Step {
    let mut answer = pdu[..after].to_vec();
    answer[0] = CREATE << 4 | pdu[0] & 3;
    answer.extend_from_slice(&UNSUCCESSFUL.to_le_bytes());
    Step::Refuse {
        answer,
        name,
        permission,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn create(id: u8, name: &str) -> Vec<u8> {
        let mut pdu = vec![0x10, id];
        pdu.extend_from_slice(name.as_bytes());
        pdu.push(0);
        pdu
    }

    #[test]
    fn display_control_opens_and_its_data_passes_until_it_is_closed() {
        let mut dynamic = Dynamic::default();
        let mut ask =
            |from, mut pdu: Vec<u8>| dynamic.decide(from, &mut pdu, true, |_| false).unwrap();
        assert_eq!(ask(Direction::In, vec![0x30, 5, 1]), Step::Drop);
        assert_eq!(
            ask(
                Direction::Out,
                create(5, "Microsoft::Windows::RDS::DisplayControl")
            ),
            Step::Pass
        );
        assert_eq!(ask(Direction::In, vec![0x10, 5, 0, 0, 0, 0]), Step::Pass);
        assert_eq!(ask(Direction::In, vec![0x30, 5, 1]), Step::Pass);
        assert_eq!(ask(Direction::In, vec![0x40, 5]), Step::Pass);
        assert_eq!(ask(Direction::Out, vec![0x30, 5, 1]), Step::Drop);
    }

    #[test]
    fn graphics_is_refused_in_the_clients_name() {
        let mut pdu = create(7, "Microsoft::Windows::RDS::Graphics");
        let step = Dynamic::default()
            .decide(Direction::Out, &mut pdu, true, |_| true)
            .unwrap();
        let Step::Refuse { answer, .. } = step else {
            panic!("{step:?}")
        };
        assert_eq!(answer, [0x10, 7, 0x01, 0, 0, 0xC0]);
    }

    #[test]
    fn the_microphone_needs_its_grant_and_loses_it() {
        let mut dynamic = Dynamic::default();
        let mut pdu = create(3, "AUDIO_INPUT");
        assert!(matches!(
            dynamic.decide(Direction::Out, &mut pdu, true, |_| false),
            Ok(Step::Refuse { .. })
        ));
        assert_eq!(
            dynamic.decide(Direction::Out, &mut pdu, true, |_| true),
            Ok(Step::Pass)
        );
        let mut data = vec![0x30, 3, 9];
        assert_eq!(
            dynamic.decide(Direction::In, &mut data, true, |_| false),
            Ok(Step::Denied(Permission::AudioIn))
        );
    }

    #[test]
    fn version_three_becomes_version_two() {
        let mut pdu = vec![0x50, 0, 3, 0, 1, 2, 3, 4, 5, 6, 7, 8];
        assert_eq!(
            Dynamic::default().decide(Direction::Out, &mut pdu, true, |_| false),
            Ok(Step::Pass)
        );
        assert_eq!(pdu[2..4], [2, 0]);
    }

    proptest! {
        #[test]
        fn any_pdus_are_decided_without_a_panic_and_data_passes_only_on_open_channels(
            pdus in proptest::collection::vec((any::<bool>(), any::<bool>(), proptest::collection::vec(any::<u8>(), 0..12)), 0..40),
        ) {
            let mut dynamic = Dynamic::default();
            for (out, whole, mut pdu) in pdus {
                let from = if out { Direction::Out } else { Direction::In };
                if let Ok(step) = dynamic.decide(from, &mut pdu, whole, |_| false) {
                    let data = pdu.first().is_some_and(|b| matches!(b >> 4, DATA_FIRST | DATA | 6 | 7));
                    prop_assert!(!(data && step == Step::Pass), "no name in this test opens a channel");
                }
            }
        }
    }
}
