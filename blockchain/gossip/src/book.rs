//! Whom to dial, and when. Pure: the time and the randomness are handed in.

use std::collections::HashMap;
use std::net::IpAddr;

use libp2p::multiaddr::Protocol;
use libp2p::{Multiaddr, PeerId};

use crate::wire::MAX_ADDRESSES;

/// Most peers learned from others.
const MAX_LEARNED: usize = 256;
/// Most of them learned from one.
const MAX_LEARNED_FROM_ONE: usize = 32;
/// A learned peer that did not answer so many times is forgotten.
const MAX_FAILURES: u32 = 6;
/// First pause after a failure; it doubles with each.
const FIRST_PAUSE_MS: u64 = 1_000;
/// Longest pause before a configured peer is tried again. It is expected to come back.
const LONGEST_CONFIGURED_PAUSE_MS: u64 = 30_000;
/// Longest pause before a learned one is.
const LONGEST_LEARNED_PAUSE_MS: u64 = 10 * 60_000;
/// A dial that brought no answer at all is over by then.
const DIALING_MS: u64 = 60_000;

/// A peer to dial.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Due {
    /// Who.
    pub peer: PeerId,
    /// Where it may be.
    pub addresses: Vec<Multiaddr>,
}

#[derive(Debug, Clone)]
struct Entry {
    addresses: Vec<Multiaddr>,
    /// Who told of it; none where it is configured.
    teller: Option<PeerId>,
    failures: u32,
    next_ms: u64,
}

/// Addresses of peers: the configured ones, and a bounded number of those others told of.
#[derive(Debug)]
pub struct Book {
    own: PeerId,
    entries: HashMap<PeerId, Entry>,
}

impl Book {
    /// An empty one. `own` is never in it.
    #[must_use]
    pub fn new(own: PeerId) -> Self {
        Self {
            own,
            entries: HashMap::new(),
        }
    }

    /// Adds a peer to keep a connection to, or an address of it.
    pub fn configure(&mut self, peer: PeerId, address: Multiaddr, now_ms: u64) {
        if peer == self.own {
            return;
        }
        let entry = self.entries.entry(peer).or_insert_with(|| Entry {
            addresses: Vec::new(),
            teller: None,
            failures: 0,
            next_ms: now_ms,
        });
        if entry.teller.take().is_some() {
            entry.addresses.clear();
        }
        entry.failures = 0;
        entry.next_ms = now_ms;
        if !entry.addresses.contains(&address) {
            entry.addresses.push(address);
        }
    }

    /// Forgets a peer. Returns whether it was configured.
    pub fn remove(&mut self, peer: &PeerId) -> bool {
        self.entries
            .remove(peer)
            .is_some_and(|entry| entry.teller.is_none())
    }

    /// Whether a peer is configured.
    #[must_use]
    pub fn is_configured(&self, peer: &PeerId) -> bool {
        self.entries
            .get(peer)
            .is_some_and(|entry| entry.teller.is_none())
    }

    /// The configured peers.
    pub fn configured(&self) -> impl Iterator<Item = &PeerId> {
        self.entries
            .iter()
            .filter(|(_, entry)| entry.teller.is_none())
            .map(|(peer, _)| peer)
    }

    /// Takes down what `teller` says. Of itself it may say anew where it is; of others only what was not known. What was
    /// configured stays as it is. Returns whether something was new.
    pub fn learn(
        &mut self,
        teller: PeerId,
        peer: PeerId,
        mut addresses: Vec<Multiaddr>,
        now_ms: u64,
    ) -> bool {
        addresses.truncate(MAX_ADDRESSES);
        if peer == self.own || addresses.is_empty() {
            return false;
        }
        if let Some(entry) = self.entries.get_mut(&peer) {
            if entry.teller.is_none() || teller != peer || entry.addresses == addresses {
                return false;
            }
            entry.addresses = addresses;
            return true;
        }
        let learned = self.entries.values().filter_map(|entry| entry.teller);
        let (all, from_teller) = learned.fold((0, 0), |(all, same), other| {
            (all + 1, same + usize::from(other == teller))
        });
        if all >= MAX_LEARNED || from_teller >= MAX_LEARNED_FROM_ONE {
            return false;
        }
        let entry = Entry {
            addresses,
            teller: Some(teller),
            failures: 0,
            next_ms: now_ms,
        };
        self.entries.insert(peer, entry);
        true
    }

    /// Peers to dial now: every configured one that is not connected, and up to `wanted` others. They are taken to be dialed.
    pub fn due(
        &mut self,
        connected: impl Fn(&PeerId) -> bool,
        wanted: usize,
        now_ms: u64,
    ) -> Vec<Due> {
        let mut due: Vec<(&PeerId, &mut Entry)> = self
            .entries
            .iter_mut()
            .filter(|(peer, entry)| entry.next_ms <= now_ms && !connected(peer))
            .collect();
        due.sort_by_key(|(peer, entry)| (entry.teller.is_some(), entry.next_ms, **peer));
        let mut others = wanted;
        due.into_iter()
            .filter(|(_, entry)| {
                if entry.teller.is_none() {
                    return true;
                }
                let chosen = others > 0;
                others = others.saturating_sub(1);
                chosen
            })
            .map(|(peer, entry)| {
                entry.next_ms = now_ms.saturating_add(DIALING_MS);
                Due {
                    peer: *peer,
                    addresses: entry.addresses.clone(),
                }
            })
            .collect()
    }

    /// A connection is there.
    pub fn connected(&mut self, peer: &PeerId) {
        if let Some(entry) = self.entries.get_mut(peer) {
            entry.failures = 0;
        }
    }

    /// A connection is gone, or a dial failed: the next attempt is after a pause that doubles, give or take a quarter of it
    /// (`random`), so that nodes that lost each other at once do not come back at once.
    pub fn failed(&mut self, peer: &PeerId, random: u64, now_ms: u64) {
        let Some(entry) = self.entries.get_mut(peer) else {
            return;
        };
        let longest = match entry.teller {
            None => LONGEST_CONFIGURED_PAUSE_MS,
            Some(_) if entry.failures >= MAX_FAILURES => {
                self.entries.remove(peer);
                return;
            }
            Some(_) => LONGEST_LEARNED_PAUSE_MS,
        };
        let pause = FIRST_PAUSE_MS
            .saturating_mul(1 << entry.failures.min(20))
            .min(longest);
        entry.failures = entry.failures.saturating_add(1);
        let jittered = pause - pause / 4 + random % (pause / 2 + 1);
        entry.next_ms = now_ms.saturating_add(jittered);
    }

    /// Addresses of the given peers, to tell others: up to `most` of them, from one chosen by `random` on.
    #[must_use]
    pub fn share(&self, peers: &[PeerId], most: usize, random: u64) -> Vec<Multiaddr> {
        let from = usize::try_from(random % (peers.len().max(1) as u64)).unwrap_or(0);
        let (after, before) = peers.split_at_checked(from).unwrap_or((&[], peers));
        before
            .iter()
            .chain(after)
            .filter_map(|peer| {
                let address = self.entries.get(peer)?.addresses.first()?;
                address.clone().with_p2p(*peer).ok()
            })
            .take(most)
            .collect()
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }
}

/// The IP address and port of a plain TCP address, which is the only kind taken from others.
pub(crate) fn plain_tcp(address: &Multiaddr) -> Option<(IpAddr, u16)> {
    let mut parts = address.iter();
    let ip = match parts.next()? {
        Protocol::Ip4(ip) => IpAddr::V4(ip),
        Protocol::Ip6(ip) => IpAddr::V6(ip),
        _ => return None,
    };
    match (parts.next()?, parts.next()) {
        (Protocol::Tcp(port), None) if port != 0 => Some((ip, port)),
        _ => None,
    }
}

/// Whether an address means the same machine wherever it is used. Others may only tell of those, unless they are neighbours
/// themselves: else anybody could make us dial into our own network.
pub(crate) fn is_public(ip: IpAddr) -> bool {
    match ip.to_canonical() {
        IpAddr::V4(ip) => {
            let [a, b, ..] = ip.octets();
            let shared = a == 100 && (64..128).contains(&b); // RFC 6598
            let reserved = a == 0 || a >= 240;
            !(ip.is_private()
                || ip.is_loopback()
                || ip.is_link_local()
                || ip.is_documentation()
                || ip.is_multicast()
                || shared
                || reserved)
        }
        IpAddr::V6(ip) => {
            !(ip.is_loopback()
                || ip.is_unspecified()
                || ip.is_multicast()
                || ip.is_unique_local()
                || ip.is_unicast_link_local())
        }
    }
}
