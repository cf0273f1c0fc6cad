//! The device channel (`rdpdr`): drives, printers, smart cards and ports apart, though they share one channel.
//!
//! The client announces its devices once; the gateway keeps the list and tells the server only of those that a grant
//! covers. A later grant announces more, the end of a grant takes them away again, and a request for a device that is
//! not allowed is refused in the client's name, so that the desktop does not hang. Source: MS-RDPEFS 2.2.

use crate::policy::Permission;
use crate::wire::{Direction, u16_le, u32_le};

const CORE: u16 = 0x4472;
const DEVICE_LIST_ANNOUNCE: u16 = 0x4441;
const DEVICE_LIST_REMOVE: u16 = 0x444D;
const IO_REQUEST: u16 = 0x4952;
const IO_COMPLETION: u16 = 0x4943;
const ACCESS_DENIED: u32 = 0xC000_0022;
/// Bytes of device announcements kept; a client that has more gets the rest refused.
const MAX_KEPT: usize = 256 * 1024;
/// Type, id, name and data length of one announced device.
const ENTRY: usize = 20;

/// What to do with a device PDU.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// It is about no device: the channel's own rule decides.
    Ordinary,
    /// Let it through.
    Pass,
    /// Drop it.
    Drop,
    /// Gather the whole of it and hand it to [`Devices::announce`].
    Collect,
    /// Drop it and send this PDU back to its sender.
    Answer(Vec<u8>),
    /// Drop it and send this PDU on in its place.
    Replace(Vec<u8>),
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Device {
    id: u32,
    permission: Option<Permission>,
    entry: Vec<u8>,
    announced: bool,
}

/// The client's devices in one session.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Devices {
    known: Vec<Device>,
}

/// Which permission a device of this type needs (MS-RDPEFS 2.2.1.3).
fn permission_for(kind: u32) -> Option<Permission> {
    match kind {
        0x08 => Some(Permission::Drives),
        0x04 => Some(Permission::Printers),
        0x01 | 0x02 | 0x20 => Some(Permission::Devices),
        _ => None,
    }
}

impl Devices {
    /// Decides on the PDU that begins with `head`, and names the permission it needs, if it is about a known device.
    pub fn decide(
        &mut self,
        from: Direction,
        head: &[u8],
        allowed: impl Fn(Permission) -> bool,
    ) -> (Step, Option<Permission>) {
        let (Some(CORE), Some(kind)) = (u16_le(head, 0), u16_le(head, 2)) else {
            // Printer and other components: configuration of devices the server already knows.
            return (Step::Ordinary, None);
        };
        match (kind, from) {
            (DEVICE_LIST_ANNOUNCE, Direction::In) => (Step::Collect, None),
            (DEVICE_LIST_REMOVE, Direction::In) => {
                let removed = |id: u32| {
                    head.get(8..)
                        .unwrap_or_default()
                        .chunks_exact(4)
                        .any(|b| u32_le(b, 0) == Some(id))
                };
                self.known.retain(|device| !removed(device.id));
                (Step::Ordinary, None)
            }
            (IO_REQUEST, Direction::Out) | (IO_COMPLETION, Direction::In) => {
                let (Some(id), Some(completion)) = (
                    u32_le(head, 4),
                    u32_le(head, if kind == IO_REQUEST { 12 } else { 8 }),
                ) else {
                    return (Step::Drop, None);
                };
                let device = self.known.iter().find(|d| d.id == id && d.announced);
                let permission = device.and_then(|d| d.permission);
                if permission.is_some_and(allowed) {
                    return (Step::Pass, permission);
                }
                let failure = completion_failed(id, completion);
                (
                    if kind == IO_REQUEST {
                        Step::Answer(failure)
                    } else {
                        Step::Replace(failure)
                    },
                    permission,
                )
            }
            _ => (Step::Ordinary, None),
        }
    }

    /// Takes the client's whole device list and gives what the server may see of it, and the permissions that were
    /// missing for the rest.
    pub fn announce(
        &mut self,
        pdu: &[u8],
        allowed: impl Fn(Permission) -> bool,
    ) -> (Option<Vec<u8>>, Vec<Permission>) {
        let count = u32_le(pdu, 4).unwrap_or(0);
        let (mut at, mut shown, mut missing) = (8, Vec::new(), Vec::new());
        for _ in 0..count {
            let (Some(kind), Some(id), Some(len)) =
                (u32_le(pdu, at), u32_le(pdu, at + 4), u32_le(pdu, at + 16))
            else {
                break;
            };
            let len = usize::try_from(len)
                .unwrap_or(usize::MAX)
                .saturating_add(ENTRY);
            let Some(entry) = at.checked_add(len).and_then(|end| pdu.get(at..end)) else {
                break;
            };
            at += len;
            let kept: usize = self.known.iter().map(|d| d.entry.len()).sum();
            self.known.retain(|d| d.id != id);
            if kept + entry.len() > MAX_KEPT {
                continue;
            }
            let permission = permission_for(kind);
            let announced = permission.is_some_and(&allowed);
            if announced {
                shown.push(entry.to_vec());
            } else {
                missing.extend(permission);
            }
            self.known.push(Device {
                id,
                permission,
                entry: entry.to_vec(),
                announced,
            });
        }
        (list(&shown), missing)
    }

    /// The PDU that tells the server of the devices a new grant covers, if there are any.
    pub fn granted(&mut self, permission: Permission) -> Option<Vec<u8>> {
        let mut shown = Vec::new();
        for device in self
            .known
            .iter_mut()
            .filter(|d| d.permission == Some(permission) && !d.announced)
        {
            device.announced = true;
            shown.push(device.entry.clone());
        }
        list(&shown)
    }

    /// The PDU that takes the devices of a grant that ended from the server, if it has any.
    pub fn ended(&mut self, permission: Permission) -> Option<Vec<u8>> {
        let mut ids = Vec::new();
        for device in self
            .known
            .iter_mut()
            .filter(|d| d.permission == Some(permission) && d.announced)
        {
            device.announced = false;
            ids.push(device.id.to_le_bytes().to_vec());
        }
        pdu_with_items(DEVICE_LIST_REMOVE, &ids)
    }
}

fn list(entries: &[Vec<u8>]) -> Option<Vec<u8>> {
    pdu_with_items(DEVICE_LIST_ANNOUNCE, entries)
}

fn pdu_with_items(kind: u16, items: &[Vec<u8>]) -> Option<Vec<u8>> {
    let count = u32::try_from(items.len()).ok().filter(|count| *count > 0)?;
    let mut pdu = Vec::new();
    pdu.extend_from_slice(&CORE.to_le_bytes());
    pdu.extend_from_slice(&kind.to_le_bytes());
    pdu.extend_from_slice(&count.to_le_bytes());
    pdu.extend(items.iter().flatten());
    Some(pdu)
}

/// A device I/O completion that refuses. The five zero bytes are "nothing" in every kind of completion.
fn completion_failed(device: u32, completion: u32) -> Vec<u8> {
    let mut pdu = Vec::with_capacity(21);
    pdu.extend_from_slice(&CORE.to_le_bytes());
    pdu.extend_from_slice(&IO_COMPLETION.to_le_bytes());
    pdu.extend_from_slice(&device.to_le_bytes());
    pdu.extend_from_slice(&completion.to_le_bytes());
    pdu.extend_from_slice(&ACCESS_DENIED.to_le_bytes());
    pdu.extend_from_slice(&[0; 5]);
    pdu
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn entry(kind: u32, id: u32, data: &[u8]) -> Vec<u8> {
        let mut out = kind.to_le_bytes().to_vec();
        out.extend_from_slice(&id.to_le_bytes());
        out.extend_from_slice(b"DEVICE\0\0");
        out.extend_from_slice(&u32::try_from(data.len()).unwrap().to_le_bytes());
        out.extend_from_slice(data);
        out
    }

    fn request(id: u32) -> Vec<u8> {
        let mut out = vec![0x72, 0x44, 0x52, 0x49];
        for field in [id, 0, 77, 3, 0] {
            out.extend_from_slice(&field.to_le_bytes());
        }
        out
    }

    #[test]
    fn only_devices_a_grant_covers_are_announced_and_later_grants_announce_more() {
        let (drive, printer) = (entry(8, 1, b"c"), entry(4, 2, &[9; 3000]));
        let all = list(&[drive.clone(), printer.clone(), entry(0x99, 3, b"")]).unwrap();
        let mut devices = Devices::default();
        let (shown, missing) = devices.announce(&all, |p| p == Permission::Drives);
        assert_eq!(
            (shown, missing),
            (list(&[drive]), vec![Permission::Printers])
        );
        assert_eq!(devices.granted(Permission::Printers), list(&[printer]));
        assert_eq!(devices.granted(Permission::Printers), None);
        let removed = devices.ended(Permission::Drives).unwrap();
        assert_eq!(removed, [0x72, 0x44, 0x4D, 0x44, 1, 0, 0, 0, 1, 0, 0, 0]);
    }

    #[test]
    fn a_request_for_a_device_that_is_not_allowed_is_answered_with_a_refusal() {
        let mut devices = Devices::default();
        devices.announce(&list(&[entry(8, 1, b"")]).unwrap(), |_| true);
        let mut ask = |id, open: bool| devices.decide(Direction::Out, &request(id), |_| open).0;
        assert_eq!(ask(1, true), Step::Pass);
        assert_eq!(ask(1, false), Step::Answer(completion_failed(1, 77)));
        assert_eq!(ask(9, true), Step::Answer(completion_failed(9, 77)));
        let mut data = completion_failed(1, 77);
        data.extend_from_slice(b"contents of a file");
        assert_eq!(
            devices.decide(Direction::In, &data, |_| false).0,
            Step::Replace(completion_failed(1, 77))
        );
    }

    proptest! {
        #[test]
        fn any_list_is_read_without_a_panic_and_shows_nothing_without_a_grant(bytes in proptest::collection::vec(any::<u8>(), 0..120)) {
            let mut devices = Devices::default();
            prop_assert_eq!(devices.announce(&bytes, |_| false).0, None);
            for from in [Direction::In, Direction::Out] {
                let step = devices.decide(from, &bytes, |_| false).0;
                prop_assert_ne!(step, Step::Pass);
            }
        }
    }
}
