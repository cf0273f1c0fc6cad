//! The heart of the relay: every frame of an established connection, checked, patched in place, let through or not.
//!
//! ```text
//!            client_frame                 to_server
//! client ───────────────▶  Filter  ───────────────▶ target
//!        ◀───────────────          ◀───────────────
//!            to_client      │             server_frame
//!                           ▼ events
//!                        recorder
//! ```
//! Pure: no sockets, no clock. Whatever goes into `to_client` or `to_server` has its record in `events` first.
//! INVARIANT: a frame that cannot be read to its last byte is never let through; the session ends instead (S1, fail closed).

use bytes::Bytes;
use lucid_format::{MAX_PAYLOAD, Stream};

use crate::caps;
use crate::clipboard::{self, Clipboard};
use crate::devices::{self, Devices};
use crate::dynamic::{self, Dynamic};
use crate::error::{EndReason, Unreplayable};
use crate::gcc::ChannelRequest;
use crate::policy::{ChannelKind, Permission, Policy};
use crate::tap::{TapEvent, What};
use crate::wire::{
    self, CHANNEL_FLAG_FIRST, CHANNEL_FLAG_LAST, CHANNEL_FLAG_SHOW_PROTOCOL,
    CHANNEL_OPTION_SHOW_PROTOCOL, CHANNEL_PACKET_COMPRESSED, CHUNK_HEADER, Direction, Malformed,
    Mcs, SendData, u16_le, u32_le,
};

/// MCS ids of one side of the gateway.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ids {
    /// The client's user id.
    pub user: u16,
    /// The I/O channel.
    pub io: u16,
    /// The message channel, if there is one.
    pub message: Option<u16>,
    /// Static channels, in the client's order.
    pub channels: Vec<u16>,
}

/// What the filter wants sent and recorded. The caller takes from it; the filter only appends.
#[derive(Debug, Default)]
pub struct Output {
    /// Bytes for the client.
    pub to_client: Vec<u8>,
    /// Bytes for the target.
    pub to_server: Vec<u8>,
    /// Events for the recorder, in order.
    pub events: Vec<TapEvent>,
}

/// Bytes of a server's first PDUs kept back on a closed channel, so that its protocol can start on a later grant.
const MAX_HELD: usize = 64 * 1024;
/// A denied channel is reported at most this often, with a count.
const DENIED_EVERY_US: u64 = 10_000_000;
/// Largest clipboard PDU copied into its own record: one byte of the payload is the direction.
const MAX_CLIPBOARD: usize = MAX_PAYLOAD - 1;

/// What happens to the chunks of the PDU that is under way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    Pass,
    Drop,
    Hold,
    Collect,
}

/// One direction of one static channel.
#[derive(Debug, Default)]
struct Lane {
    under_way: Option<Verdict>,
    /// Bytes that PDU may still have, by its own word.
    left: usize,
    /// Clipboard PDU being let through, for its record; or device list being gathered.
    copy: Option<Vec<u8>>,
    /// Our own PDUs, waiting for a peer's PDU to end: chunks of two PDUs must not mix.
    waiting: Vec<Vec<u8>>,
    /// Whole frames kept back.
    held: Vec<Vec<u8>>,
    /// How many of them end a PDU or come before one that does.
    held_whole: usize,
    /// Something was dropped: what is held after it would not make sense.
    held_closed: bool,
}

impl Lane {
    fn hold(&mut self, frame: &[u8], last: bool) {
        let bytes: usize = self.held.iter().map(Vec::len).sum();
        if self.held_closed || bytes + frame.len() > MAX_HELD {
            self.held_closed = true;
            self.held.truncate(self.held_whole);
            return;
        }
        self.held.push(frame.to_vec());
        if last {
            self.held_whole = self.held.len();
        }
    }
}

#[derive(Debug)]
struct Channel {
    name: String,
    kind: ChannelKind,
    flags: u32,
    client_id: u16,
    server_id: u16,
    to_server: Lane,
    to_client: Lane,
}

impl Channel {
    fn lane(&mut self, direction: Direction) -> &mut Lane {
        match direction {
            Direction::In => &mut self.to_server,
            Direction::Out => &mut self.to_client,
        }
    }
}

#[derive(Debug)]
struct Denied {
    channel: String,
    permission: Option<Permission>,
    direction: Direction,
    count: u32,
    last_us: u64,
}

/// The checks of one session. See the module's head.
#[derive(Debug)]
pub struct Filter {
    client: Ids,
    server: Ids,
    channels: Vec<Channel>,
    policy: Policy,
    used: Vec<Permission>,
    clipboard: Clipboard,
    dynamic: Dynamic,
    devices: Devices,
    denied: Vec<Denied>,
    /// Capabilities were exchanged: licensing is over.
    active: bool,
    share_id: Option<u32>,
    desktop: Option<(u16, u16)>,
}

type Checked<T> = Result<T, EndReason>;

fn malformed(direction: Direction) -> impl Fn(Malformed) -> EndReason {
    move |what| EndReason::Malformed { direction, what }
}

impl Filter {
    /// A filter between a client that was given the ids `client` and a target that gave the ids `server`.
    pub fn new(client: Ids, server: Ids, requests: &[ChannelRequest]) -> Self {
        let channels = requests
            .iter()
            .zip(client.channels.iter().zip(&server.channels))
            .map(|(request, (client_id, server_id))| Channel {
                name: request.name.clone(),
                kind: ChannelKind::of(&request.name),
                flags: if request.options & CHANNEL_OPTION_SHOW_PROTOCOL != 0 {
                    CHANNEL_FLAG_SHOW_PROTOCOL
                } else {
                    0
                },
                client_id: *client_id,
                server_id: *server_id,
                to_server: Lane::default(),
                to_client: Lane::default(),
            })
            .collect();
        Self {
            client,
            server,
            channels,
            policy: Policy::default(),
            used: Vec::new(),
            clipboard: Clipboard::default(),
            dynamic: Dynamic::default(),
            devices: Devices::default(),
            denied: Vec::new(),
            active: false,
            share_id: None,
            desktop: None,
        }
    }

    /// The desktop's size in pixels, as the target last said.
    pub fn desktop(&self) -> Option<(u16, u16)> {
        self.desktop
    }

    /// Opens a permission until `until_us`, and delivers what was held back for it.
    pub fn grant(
        &mut self,
        permission: Permission,
        until_us: u64,
        by: &str,
        now_us: u64,
        out: &mut Output,
    ) -> Checked<()> {
        self.policy.grant(permission, until_us);
        self.used.retain(|p| *p != permission);
        let for_us = until_us.saturating_sub(now_us);
        out.events.push(TapEvent {
            time_us: now_us,
            what: What::Granted {
                permission,
                for_us,
                by: by.to_owned(),
            },
        });
        for index in 0..self.channels.len() {
            if !self.channel_open(self.channels[index].kind, now_us) {
                continue;
            }
            let lane = &mut self.channels[index].to_client;
            if lane.under_way == Some(Verdict::Hold) {
                lane.under_way = Some(if lane.held_closed {
                    Verdict::Drop
                } else {
                    Verdict::Pass
                });
            }
            // From here on the protocol runs; what is dropped after the grant would be stale for the next one.
            lane.held_closed = true;
            for frame in std::mem::take(&mut lane.held) {
                out.emit(Direction::Out, Stream::PduOut, &frame, now_us);
            }
        }
        match self.devices.granted(permission) {
            Some(list) => self.say_of_devices(&list, now_us, out),
            None => Ok(()),
        }
    }

    fn say_of_devices(&mut self, pdu: &[u8], now_us: u64, out: &mut Output) -> Checked<()> {
        match self
            .channels
            .iter()
            .position(|c| c.kind == ChannelKind::Devices)
        {
            Some(index) => self.say(index, Direction::In, pdu, now_us, out),
            None => Ok(()),
        }
    }

    fn ended(&mut self, permission: Permission, now_us: u64, out: &mut Output) -> Checked<()> {
        out.events.push(TapEvent {
            time_us: now_us,
            what: What::GrantEnded { permission },
        });
        match self.devices.ended(permission) {
            Some(list) => self.say_of_devices(&list, now_us, out),
            None => Ok(()),
        }
    }

    /// Takes a permission back.
    pub fn revoke(&mut self, permission: Permission, now_us: u64, out: &mut Output) -> Checked<()> {
        if self.policy.revoke(permission) {
            self.ended(permission, now_us, out)
        } else {
            Ok(())
        }
    }

    /// When [`Filter::tick`] is next worth calling, in µs since the session began.
    pub fn next_tick(&self) -> Option<u64> {
        let reports = self
            .denied
            .iter()
            .filter(|d| d.count > 0)
            .map(|d| d.last_us.saturating_add(DENIED_EVERY_US));
        reports.chain(self.policy.next_end()).min()
    }

    /// Ends grants whose time is over and reports what was denied since the last report.
    pub fn tick(&mut self, now_us: u64, out: &mut Output) -> Checked<()> {
        for permission in self.policy.expire(now_us) {
            self.ended(permission, now_us, out)?;
        }
        for denied in &mut self.denied {
            if denied.count > 0 && now_us >= denied.last_us.saturating_add(DENIED_EVERY_US) {
                denied.report(now_us, out);
            }
        }
        Ok(())
    }

    /// Reports what is left to report.
    pub fn finish(&mut self, now_us: u64, out: &mut Output) {
        for denied in self.denied.iter_mut().filter(|d| d.count > 0) {
            denied.report(now_us, out);
        }
    }

    fn deny(
        &mut self,
        channel: &str,
        permission: Option<Permission>,
        direction: Direction,
        now_us: u64,
        out: &mut Output,
    ) {
        let known = self
            .denied
            .iter()
            .position(|d| d.direction == direction && d.channel == channel);
        let index = known.unwrap_or_else(|| {
            self.denied.push(Denied {
                channel: channel.to_owned(),
                permission,
                direction,
                count: 0,
                last_us: 0,
            });
            self.denied.len() - 1
        });
        let denied = &mut self.denied[index];
        denied.permission = permission;
        denied.count = denied.count.saturating_add(1);
        if known.is_none() || now_us >= denied.last_us.saturating_add(DENIED_EVERY_US) {
            denied.report(now_us, out);
        }
    }

    fn permits(&mut self, permission: Permission, now_us: u64, out: &mut Output) -> bool {
        let open = self.policy.allows(permission, now_us);
        if open && !self.used.contains(&permission) {
            self.used.push(permission);
            out.events.push(TapEvent {
                time_us: now_us,
                what: What::GrantUsed { permission },
            });
        }
        open
    }

    fn permissions_of(kind: ChannelKind) -> &'static [Permission] {
        match kind {
            ChannelKind::Devices => &[
                Permission::Drives,
                Permission::Printers,
                Permission::Devices,
            ],
            ChannelKind::Sound => &[Permission::AudioOut],
            ChannelKind::Clipboard | ChannelKind::Dynamic | ChannelKind::Other => &[],
        }
    }

    fn channel_open(&self, kind: ChannelKind, now_us: u64) -> bool {
        Self::permissions_of(kind)
            .iter()
            .any(|p| self.policy.allows(*p, now_us))
    }

    /// Checks one whole frame from the client.
    pub fn client_frame(&mut self, now_us: u64, frame: &mut [u8], out: &mut Output) -> Checked<()> {
        let bad = malformed(Direction::In);
        if wire::is_fast_path(frame) {
            // Fast path towards the server is input and nothing else; encrypted input would be TLS inside TLS.
            if frame[0] & 0xC0 != 0 {
                return Err(bad(Malformed("fast-path input with encryption flags")));
            }
            out.emit(Direction::In, Stream::Input, frame, now_us);
            return Ok(());
        }
        match wire::parse_mcs(frame).map_err(&bad)? {
            Mcs::SendDataRequest(header) if header.channel == self.client.io => {
                let Some(stream) = self.client_io(&mut frame[header.data]).map_err(&bad)? else {
                    return Ok(());
                };
                wire::patch_ids(frame, self.server.user, self.server.io);
                out.emit(Direction::In, stream, frame, now_us);
                Ok(())
            }
            Mcs::SendDataRequest(header) => {
                self.channel_frame(Direction::In, now_us, frame, &header, out)
            }
            Mcs::Disconnect(_) => {
                out.emit(Direction::In, Stream::PduIn, frame, now_us);
                Ok(())
            }
            // Joins and attaches are over; a late one has nothing to say to the target.
            Mcs::Other(_) => Ok(()),
            Mcs::SendDataIndication(_) => Err(bad(Malformed("a client that speaks as a server"))),
        }
    }

    /// Patches the client's I/O channel data; says which stream it belongs to, `None` to drop it.
    fn client_io(&mut self, data: &mut [u8]) -> Result<Option<Stream>, Malformed> {
        if !self.active && is_license(data) {
            return Ok(Some(Stream::PduIn));
        }
        let mut stream = Stream::PduIn;
        let mut keep = false;
        let mut at = 0;
        while at < data.len() {
            let pdu = share_pdu(&mut data[at..])?;
            at += pdu.len();
            let Some(kind) = control_type(pdu) else {
                keep = true; // flow control
                continue;
            };
            if u16_le(pdu, 4) == Some(self.client.user) {
                pdu[4..6].copy_from_slice(&self.server.user.to_le_bytes());
            }
            keep |= match kind {
                3 => {
                    caps::normalise(pdu)?;
                    true
                }
                7 => {
                    let (kind, compression) = data_header(pdu)?;
                    if compression != 0 {
                        return Err(Malformed("compressed client data"));
                    }
                    if kind == PDU_INPUT {
                        stream = Stream::Input;
                    }
                    // Keys of a cache that is switched off: the target would only be confused.
                    kind != PDU_PERSISTENT_KEYS
                }
                _ => return Err(Malformed("unexpected share control PDU")),
            };
        }
        Ok(keep.then_some(stream))
    }

    /// Checks one whole frame from the target.
    pub fn server_frame(&mut self, now_us: u64, frame: &mut [u8], out: &mut Output) -> Checked<()> {
        let bad = malformed(Direction::Out);
        if wire::is_fast_path(frame) {
            for update in wire::fast_path_updates(frame).map_err(&bad)? {
                if update.compressed {
                    return Err(EndReason::NotReplayable(Unreplayable::Compressed));
                }
                match update.code {
                    0 => return Err(EndReason::NotReplayable(Unreplayable::Orders)),
                    4 => return Err(EndReason::NotReplayable(Unreplayable::SurfaceCommands)),
                    1 | 2 | 3 | 5 | 6 | 8..=12 => {}
                    other => {
                        return Err(EndReason::NotReplayable(Unreplayable::UnknownUpdate(
                            other.into(),
                        )));
                    }
                }
            }
            out.emit(Direction::Out, Stream::PduOut, frame, now_us);
            return Ok(());
        }
        match wire::parse_mcs(frame).map_err(&bad)? {
            // Multitransport, autodetection, heartbeats: the client was never told of this channel.
            Mcs::SendDataIndication(header) if Some(header.channel) == self.server.message => {
                Ok(())
            }
            Mcs::SendDataIndication(header) if header.channel == self.server.io => {
                let resize = self.server_io(&mut frame[header.data])?;
                let initiator = if header.initiator == self.server.user {
                    self.client.user
                } else {
                    header.initiator
                };
                wire::patch_ids(frame, initiator, self.client.io);
                out.emit(Direction::Out, Stream::PduOut, frame, now_us);
                if let Some((width, height)) = resize {
                    let mut payload = width.to_le_bytes().to_vec();
                    payload.extend_from_slice(&height.to_le_bytes());
                    out.record(Stream::Resize, Bytes::from(payload), now_us);
                }
                Ok(())
            }
            Mcs::SendDataIndication(header) => {
                self.channel_frame(Direction::Out, now_us, frame, &header, out)
            }
            Mcs::Disconnect(_) => {
                out.emit(Direction::Out, Stream::PduOut, frame, now_us);
                Ok(())
            }
            Mcs::Other(_) => Ok(()),
            Mcs::SendDataRequest(_) => Err(bad(Malformed("a server that speaks as a client"))),
        }
    }

    /// Checks and patches the target's I/O channel data; the new desktop size, if it changes here.
    fn server_io(&mut self, data: &mut [u8]) -> Checked<Option<(u16, u16)>> {
        let bad = malformed(Direction::Out);
        if !self.active {
            if is_license(data) {
                return Ok(None);
            }
            if is_redirection(data) {
                return Err(EndReason::Redirected);
            }
        }
        let mut resize = None;
        let mut at = 0;
        while at < data.len() {
            let pdu = share_pdu(&mut data[at..]).map_err(&bad)?;
            at += pdu.len();
            let Some(kind) = control_type(pdu) else {
                continue;
            };
            match kind {
                1 => {
                    let facts = caps::normalise(pdu).map_err(&bad)?;
                    if let Some(depth) = facts.bits_per_pixel.filter(|depth| *depth < 16) {
                        return Err(EndReason::NotReplayable(Unreplayable::ColourDepth(depth)));
                    }
                    self.active = true;
                    self.share_id = Some(facts.share_id);
                    if facts.desktop.is_some() && facts.desktop != self.desktop {
                        self.desktop = facts.desktop;
                        resize = facts.desktop;
                    }
                }
                6 => {}
                7 => self.server_data(pdu)?,
                10 => return Err(EndReason::Redirected),
                _ => return Err(bad(Malformed("unexpected share control PDU"))),
            }
        }
        Ok(resize)
    }

    fn server_data(&mut self, pdu: &mut [u8]) -> Checked<()> {
        let bad = malformed(Direction::Out);
        let (kind, compression) = data_header(pdu).map_err(&bad)?;
        if compression != 0 {
            return Err(EndReason::NotReplayable(Unreplayable::Compressed));
        }
        let body = &mut pdu[DATA_HEADER..];
        let (client, server) = (
            self.client.user.to_le_bytes(),
            self.server.user.to_le_bytes(),
        );
        // Control (granted control) and synchronize name the client's user id after their first field.
        let swap_user = |body: &mut [u8]| {
            if let Some(user) = body.get_mut(2..4).filter(|user| **user == server) {
                user.copy_from_slice(&client);
            }
        };
        match kind {
            PDU_UPDATE => match u16_le(body, 0) {
                Some(1..=3) | None => {}
                Some(0) => return Err(EndReason::NotReplayable(Unreplayable::Orders)),
                Some(other) => {
                    return Err(EndReason::NotReplayable(Unreplayable::UnknownUpdate(other)));
                }
            },
            PDU_CONTROL | PDU_SYNCHRONIZE => swap_user(body),
            PDU_SAVE_SESSION_INFO => blank_reconnect_cookie(body),
            // Pointer, sound, shutdown denied, font map, keyboard indicators and IME, error info, status, monitor layout.
            0x1B | 0x22 | 0x25 | 0x28 | 0x29 | 0x2D | 0x2F | 0x32 | 0x36 | 0x37 => {}
            other => return Err(EndReason::NotReplayable(Unreplayable::UnknownPdu(other))),
        }
        Ok(())
    }

    /// Checks one chunk on a static virtual channel.
    fn channel_frame(
        &mut self,
        direction: Direction,
        now_us: u64,
        frame: &mut [u8],
        header: &SendData,
        out: &mut Output,
    ) -> Checked<()> {
        let bad = malformed(direction);
        let found = self.channels.iter().position(|c| {
            header.channel
                == if direction == Direction::In {
                    c.client_id
                } else {
                    c.server_id
                }
        });
        let index = found.ok_or_else(|| bad(Malformed("data on a channel that does not exist")))?;
        let (initiator, id) = match direction {
            Direction::In => (self.server.user, self.channels[index].server_id),
            Direction::Out if header.initiator == self.server.user => {
                (self.client.user, self.channels[index].client_id)
            }
            Direction::Out => (header.initiator, self.channels[index].client_id),
        };
        wire::patch_ids(frame, initiator, id);
        let data = &mut frame[header.data.clone()];
        let chunk = wire::parse_chunk(data).map_err(&bad)?;
        if chunk.flags & CHANNEL_PACKET_COMPRESSED != 0 {
            return Err(EndReason::NotReplayable(Unreplayable::CompressedChannel));
        }
        if chunk.flags & CHANNEL_FLAG_FIRST != 0 {
            let verdict = self.judge(
                index,
                direction,
                chunk.flags,
                &mut data[CHUNK_HEADER..],
                now_us,
                out,
            )?;
            let clipboard = self.channels[index].kind == ChannelKind::Clipboard;
            let copy = verdict == Verdict::Collect || clipboard && verdict == Verdict::Pass;
            let lane = self.channels[index].lane(direction);
            lane.under_way = Some(verdict);
            lane.left = usize::try_from(chunk.total).unwrap_or(usize::MAX);
            lane.copy = copy.then(Vec::new);
        }
        let lane = self.channels[index].lane(direction);
        if lane.under_way.is_some() {
            let body = header.data.len() - CHUNK_HEADER;
            lane.left = lane
                .left
                .checked_sub(body)
                .ok_or_else(|| bad(Malformed("channel PDU longer than it said")))?;
        }
        // A chunk of a PDU whose beginning was never seen was never judged.
        let verdict = lane.under_way.unwrap_or(Verdict::Drop);
        if let Some(copy) = &mut lane.copy {
            let body = &frame[header.data.start + CHUNK_HEADER..];
            let room = MAX_CLIPBOARD - copy.len();
            copy.extend_from_slice(&body[..body.len().min(room)]);
        }
        let last = chunk.flags & CHANNEL_FLAG_LAST != 0;
        match verdict {
            Verdict::Pass => {
                let stream = if direction == Direction::In {
                    Stream::PduIn
                } else {
                    Stream::PduOut
                };
                out.emit(direction, stream, frame, now_us);
            }
            Verdict::Hold => lane.hold(frame, last),
            Verdict::Drop | Verdict::Collect => {}
        }
        if last {
            let lane = self.channels[index].lane(direction);
            lane.under_way = None;
            let copy = lane.copy.take();
            match copy {
                Some(list) if verdict == Verdict::Collect => {
                    self.announce(index, &list, now_us, out)?;
                }
                Some(pdu) => {
                    let mut payload = Vec::with_capacity(pdu.len() + 1);
                    payload.push(u8::from(direction == Direction::Out));
                    payload.extend_from_slice(&pdu);
                    out.record(Stream::Clipboard, Bytes::from(payload), now_us);
                }
                None => {}
            }
            let lane = self.channels[index].lane(direction);
            for own in std::mem::take(&mut lane.waiting) {
                self.say(index, direction, &own, now_us, out)?;
            }
        }
        Ok(())
    }

    /// Tells the target of those of the client's devices that a grant covers.
    fn announce(
        &mut self,
        index: usize,
        list: &[u8],
        now_us: u64,
        out: &mut Output,
    ) -> Checked<()> {
        let policy = &self.policy;
        let (shown, missing) = self
            .devices
            .announce(list, |permission| policy.allows(permission, now_us));
        for permission in missing {
            self.deny(
                &format!("rdpdr/{permission}"),
                Some(permission),
                Direction::In,
                now_us,
                out,
            );
        }
        match shown {
            Some(list) => self.say(index, Direction::In, &list, now_us, out),
            None => Ok(()),
        }
    }

    /// Decides on a channel PDU at its first chunk. `pdu` is what the chunk has of it.
    fn judge(
        &mut self,
        index: usize,
        direction: Direction,
        flags: u32,
        pdu: &mut [u8],
        now_us: u64,
        out: &mut Output,
    ) -> Checked<Verdict> {
        let kind = self.channels[index].kind;
        match kind {
            ChannelKind::Clipboard => {
                let policy = &self.policy;
                let decision = self.clipboard.decide(direction, pdu, |flow| {
                    policy.allows(Permission::clipboard(flow), now_us)
                });
                let permission = decision.flow.map(Permission::clipboard);
                match decision.step {
                    clipboard::Step::Pass => {
                        if let Some(permission) = permission {
                            self.permits(permission, now_us, out);
                        }
                        return Ok(Verdict::Pass);
                    }
                    clipboard::Step::Drop => {}
                    clipboard::Step::Answer(own) => {
                        self.say(index, direction.reverse(), &own, now_us, out)?;
                    }
                    clipboard::Step::Replace(own) => {
                        self.say(index, direction, &own, now_us, out)?;
                    }
                }
                if let Some(permission) = permission {
                    self.deny("cliprdr", Some(permission), direction, now_us, out);
                }
                Ok(Verdict::Drop)
            }
            ChannelKind::Dynamic => {
                let policy = &self.policy;
                let whole = flags & CHANNEL_FLAG_LAST != 0;
                let step = self
                    .dynamic
                    .decide(direction, pdu, whole, |permission| {
                        policy.allows(permission, now_us)
                    })
                    .map_err(malformed(direction))?;
                match step {
                    dynamic::Step::Pass => return Ok(Verdict::Pass),
                    dynamic::Step::Drop => {}
                    dynamic::Step::Denied(permission) => {
                        self.deny("drdynvc", Some(permission), direction, now_us, out);
                    }
                    dynamic::Step::Refuse {
                        answer,
                        name,
                        permission,
                    } => {
                        self.say(index, direction.reverse(), &answer, now_us, out)?;
                        // A server may invent names without end; the first dozen are told apart.
                        let name = if self.denied.len() < 64 {
                            format!("drdynvc/{name}")
                        } else {
                            "drdynvc".to_owned()
                        };
                        self.deny(&name, permission, direction, now_us, out);
                    }
                }
                Ok(Verdict::Drop)
            }
            ChannelKind::Devices | ChannelKind::Sound | ChannelKind::Other => {
                if kind == ChannelKind::Devices {
                    let policy = &self.policy;
                    let (step, permission) = self.devices.decide(direction, pdu, |permission| {
                        policy.allows(permission, now_us)
                    });
                    let verdict = match step {
                        devices::Step::Ordinary => None,
                        devices::Step::Pass => Some(Verdict::Pass),
                        devices::Step::Collect => Some(Verdict::Collect),
                        devices::Step::Drop => Some(Verdict::Drop),
                        devices::Step::Answer(own) => {
                            self.say(index, direction.reverse(), &own, now_us, out)?;
                            Some(Verdict::Drop)
                        }
                        devices::Step::Replace(own) => {
                            self.say(index, direction, &own, now_us, out)?;
                            Some(Verdict::Drop)
                        }
                    };
                    match verdict {
                        Some(Verdict::Drop) => {
                            self.deny("rdpdr", permission, direction, now_us, out);
                        }
                        Some(Verdict::Pass) => {
                            if let Some(permission) = permission {
                                self.permits(permission, now_us, out);
                            }
                        }
                        _ => {}
                    }
                    if let Some(verdict) = verdict {
                        return Ok(verdict);
                    }
                    if self.channel_open(kind, now_us) {
                        return Ok(Verdict::Pass);
                    }
                }
                for permission in Self::permissions_of(kind) {
                    if self.permits(*permission, now_us, out) {
                        return Ok(Verdict::Pass);
                    }
                }
                let name = self.channels[index].name.clone();
                self.deny(
                    &name,
                    Self::permissions_of(kind).first().copied(),
                    direction,
                    now_us,
                    out,
                );
                let holds = direction == Direction::Out && kind != ChannelKind::Other;
                Ok(if holds { Verdict::Hold } else { Verdict::Drop })
            }
        }
    }

    /// Sends a small PDU of our own on a static channel, after the PDU that is under way there.
    fn say(
        &mut self,
        index: usize,
        direction: Direction,
        pdu: &[u8],
        now_us: u64,
        out: &mut Output,
    ) -> Checked<()> {
        let channel = &mut self.channels[index];
        if channel.lane(direction).under_way == Some(Verdict::Pass) {
            // Bounded: one answer for each PDU of a peer that waits for it, and no peer may queue without limit.
            if channel.lane(direction).waiting.len() < 1024 {
                channel.lane(direction).waiting.push(pdu.to_vec());
            }
            return Ok(());
        }
        let (user, id, stream) = match direction {
            Direction::In => (self.server.user, channel.server_id, Stream::PduIn),
            Direction::Out => (self.client.user, channel.client_id, Stream::PduOut),
        };
        for frame in wire::channel_pdu(direction, user, id, channel.flags, pdu)
            .map_err(malformed(direction))?
        {
            out.emit(direction, stream, &frame, now_us);
        }
        Ok(())
    }

    /// What tells the client that the session is over: an error code it shows (if it knows the share), and a disconnect.
    pub fn farewell(&self, error: Option<u32>, now_us: u64, out: &mut Output) {
        if let (Some(code), Some(share_id)) = (error, self.share_id)
            && let Ok(frame) = error_info_frame(self.client.user, self.client.io, share_id, code)
        {
            out.emit(Direction::Out, Stream::PduOut, &frame, now_us);
        }
        out.emit(
            Direction::Out,
            Stream::PduOut,
            &wire::disconnect_frame(1),
            now_us,
        );
    }
}

/// A Set Error Info PDU (MS-RDPBCGR 2.2.5.1) in its frame.
pub fn error_info_frame(
    user: u16,
    io: u16,
    share_id: u32,
    code: u32,
) -> Result<Vec<u8>, Malformed> {
    let mut pdu = Vec::with_capacity(22);
    pdu.extend_from_slice(&22u16.to_le_bytes());
    pdu.extend_from_slice(&0x17u16.to_le_bytes());
    pdu.extend_from_slice(&0x03EAu16.to_le_bytes());
    pdu.extend_from_slice(&share_id.to_le_bytes());
    pdu.extend_from_slice(&[0, 1]);
    pdu.extend_from_slice(&4u16.to_le_bytes());
    pdu.extend_from_slice(&[0x2F, 0, 0, 0]);
    pdu.extend_from_slice(&code.to_le_bytes());
    wire::send_data(Direction::Out, user, io, &pdu)
}

impl Denied {
    fn report(&mut self, now_us: u64, out: &mut Output) {
        out.events.push(TapEvent {
            time_us: now_us,
            what: What::ChannelDenied {
                channel: self.channel.clone(),
                permission: self.permission,
                direction: self.direction,
                count: std::mem::take(&mut self.count),
            },
        });
        self.last_us = now_us;
    }
}

impl Output {
    pub(crate) fn record(&mut self, stream: Stream, payload: Bytes, time_us: u64) {
        self.events.push(TapEvent {
            time_us,
            what: What::Record { stream, payload },
        });
    }

    pub(crate) fn emit(
        &mut self,
        direction: Direction,
        stream: Stream,
        frame: &[u8],
        time_us: u64,
    ) {
        self.record(stream, Bytes::copy_from_slice(frame), time_us);
        match direction {
            Direction::In => self.to_server.extend_from_slice(frame),
            Direction::Out => self.to_client.extend_from_slice(frame),
        }
    }
}

const DATA_HEADER: usize = 18;
const PDU_UPDATE: u8 = 0x02;
const PDU_CONTROL: u8 = 0x14;
const PDU_INPUT: u8 = 0x1C;
const PDU_SYNCHRONIZE: u8 = 0x1F;
const PDU_SAVE_SESSION_INFO: u8 = 0x26;
const PDU_PERSISTENT_KEYS: u8 = 0x2B;

/// The share control PDU that `data` begins with. Several may share a frame.
fn share_pdu(data: &mut [u8]) -> Result<&mut [u8], Malformed> {
    let len = match u16_le(data, 0) {
        Some(0x8000) => 8, // flow control has a marker where the others have their length
        Some(len) => usize::from(len),
        None => return Err(Malformed("share control PDU is cut short")),
    };
    if len < 6 {
        return Err(Malformed("share control PDU shorter than its header"));
    }
    data.get_mut(..len)
        .ok_or(Malformed("share control PDU reaches past its frame"))
}

/// PDU type of a share control PDU; `None` for flow control.
fn control_type(pdu: &[u8]) -> Option<u16> {
    (u16_le(pdu, 0) != Some(0x8000)).then(|| u16_le(pdu, 2).unwrap_or(0) & 0x0F)
}

/// Type and compression byte of a share data PDU.
fn data_header(pdu: &[u8]) -> Result<(u8, u8), Malformed> {
    pdu.get(14)
        .copied()
        .zip(pdu.get(15).copied())
        .filter(|_| pdu.len() >= DATA_HEADER)
        .ok_or(Malformed("share data PDU is cut short"))
}

/// Whether I/O channel data before activation is a licensing PDU: a security header, then a preamble with a length.
fn is_license(data: &[u8]) -> bool {
    u16_le(data, 0).is_some_and(|flags| flags & 0x0080 != 0)
        && u16_le(data, 6).map(usize::from) == data.len().checked_sub(4)
}

/// Whether I/O channel data before activation is a standard redirection (security header, then its own flags).
fn is_redirection(data: &[u8]) -> bool {
    u16_le(data, 0).is_some_and(|flags| flags & 0x0400 != 0) && u16_le(data, 4) == Some(0x0400)
}

/// Zeroes the random bits of the auto-reconnect cookie: with them, a reader of the recording could take the session over.
fn blank_reconnect_cookie(body: &mut [u8]) {
    const EXTENDED_INFO: u32 = 3;
    const HAS_COOKIE: u32 = 1;
    let cookie = u32_le(body, 0) == Some(EXTENDED_INFO)
        && u32_le(body, 6).is_some_and(|fields| fields & HAS_COOKIE != 0);
    // info type 4, length 2, fields 4, then: field length 4, packet length 4, version 4, logon id 4, random 16
    if let Some(random) = body.get_mut(26..42).filter(|_| cookie) {
        random.fill(0);
    }
}

#[cfg(test)]
mod tests;
