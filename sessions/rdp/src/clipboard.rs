//! The clipboard channel, PDU by PDU: what passes, what is dropped, and what is answered so that neither peer hangs.
//!
//! ```text
//! owner ──FORMAT_LIST──▶ other ──FORMAT_DATA_REQUEST──▶ owner ──FORMAT_DATA_RESPONSE──▶ other
//! ```
//! Data flows from the owner; each direction of flow has its own permission. Source: MS-RDPECLIP 2.2.

use crate::wire::{Direction, u16_le, u32_le};

const MONITOR_READY: u16 = 1;
const FORMAT_LIST: u16 = 2;
const FORMAT_LIST_RESPONSE: u16 = 3;
const FORMAT_DATA_REQUEST: u16 = 4;
const FORMAT_DATA_RESPONSE: u16 = 5;
const TEMP_DIRECTORY: u16 = 6;
const CAPABILITIES: u16 = 7;
const FILE_CONTENTS_REQUEST: u16 = 8;
const FILE_CONTENTS_RESPONSE: u16 = 9;
const LOCK: u16 = 10;
const UNLOCK: u16 = 11;
const RESPONSE_OK: u16 = 1;
const RESPONSE_FAIL: u16 = 2;
/// The general capability flags there are (MS-RDPECLIP 2.2.2.1.1.1).
const GENERAL_FLAGS: u32 = 0x3E;

/// What to do with a clipboard PDU.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Let it through.
    Pass,
    /// Drop it without a word.
    Drop,
    /// Drop it and send this PDU back to its sender.
    Answer(Vec<u8>),
    /// Drop it and send this PDU on in its place.
    Replace(Vec<u8>),
}

/// A decision on a clipboard PDU.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision {
    /// What to do.
    pub step: Step,
    /// The flow of data the PDU belongs to, if it is about data: the permission asked for.
    pub flow: Option<Direction>,
}

/// Requests let through and not yet answered, for data that flows one way.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Flow {
    data: u32,
    files: u32,
}

/// The clipboard channel of one session.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Clipboard {
    into_desktop: Flow,
    out_of_desktop: Flow,
    client_list_seen: bool,
}

impl Clipboard {
    /// Decides on the PDU that begins with `head` and comes from the peer that sends `from`.
    /// `allowed` says whether data may flow in a direction now.
    pub fn decide(
        &mut self,
        from: Direction,
        head: &[u8],
        allowed: impl Fn(Direction) -> bool,
    ) -> Decision {
        let (Some(kind), Some(len)) = (u16_le(head, 0), u32_le(head, 4)) else {
            return Decision {
                step: Step::Drop,
                flow: None,
            };
        };
        let flow = match kind {
            FORMAT_LIST | FORMAT_DATA_RESPONSE | FILE_CONTENTS_RESPONSE => from,
            FORMAT_DATA_REQUEST | FILE_CONTENTS_REQUEST | LOCK | UNLOCK => from.reverse(),
            // The start-up is said again in the gateway's own words, so that nothing else rides on it.
            MONITOR_READY if from == Direction::Out => return start_up(pdu(MONITOR_READY, 0, &[])),
            FORMAT_LIST_RESPONSE => {
                let flags = u16_le(head, 2).unwrap_or(0) & (RESPONSE_OK | RESPONSE_FAIL);
                return start_up(pdu(FORMAT_LIST_RESPONSE, flags, &[]));
            }
            CAPABILITIES => {
                let Some((version, flags)) = u32_le(head, 16).zip(u32_le(head, 20)) else {
                    return Decision {
                        step: Step::Drop,
                        flow: None,
                    };
                };
                let mut body = vec![1, 0, 0, 0, 1, 0, 12, 0]; // one set, general, 12 bytes
                body.extend_from_slice(&version.min(2).to_le_bytes());
                body.extend_from_slice(&(flags & GENERAL_FLAGS).to_le_bytes());
                return start_up(pdu(CAPABILITIES, 0, &body));
            }
            // Where files pasted on the desktop are to be put: of use only while they may come in.
            TEMP_DIRECTORY if from == Direction::In => from,
            _ => {
                return Decision {
                    step: Step::Drop,
                    flow: None,
                };
            }
        };
        let open = allowed(flow);
        let pending = match flow {
            Direction::In => &mut self.into_desktop,
            Direction::Out => &mut self.out_of_desktop,
        };
        let stream_id = u32_le(head, 8).unwrap_or(0).to_le_bytes();
        let first_list = kind == FORMAT_LIST
            && from == Direction::In
            && !std::mem::replace(&mut self.client_list_seen, true);
        let pass_if_open = |refusal: Step| if open { Step::Pass } else { refusal };
        let step = match kind {
            // The client's first list ends the channel's start-up: an empty one says "ready, nothing to paste".
            FORMAT_LIST if first_list => pass_if_open(Step::Replace(pdu(FORMAT_LIST, 0, &[]))),
            FORMAT_LIST => {
                pass_if_open(Step::Answer(pdu(FORMAT_LIST_RESPONSE, RESPONSE_FAIL, &[])))
            }
            FORMAT_DATA_REQUEST if open => {
                pending.data = pending.data.saturating_add(1);
                Step::Pass
            }
            FORMAT_DATA_REQUEST => Step::Answer(pdu(FORMAT_DATA_RESPONSE, RESPONSE_FAIL, &[])),
            FILE_CONTENTS_REQUEST if open => {
                pending.files = pending.files.saturating_add(1);
                Step::Pass
            }
            FILE_CONTENTS_REQUEST => {
                Step::Answer(pdu(FILE_CONTENTS_RESPONSE, RESPONSE_FAIL, &stream_id))
            }
            // An answer nobody asked for would be a way in without a request.
            FORMAT_DATA_RESPONSE if pending.data == 0 => Step::Drop,
            FORMAT_DATA_RESPONSE => {
                pending.data -= 1;
                pass_if_open(Step::Replace(pdu(FORMAT_DATA_RESPONSE, RESPONSE_FAIL, &[])))
            }
            FILE_CONTENTS_RESPONSE if pending.files == 0 => Step::Drop,
            FILE_CONTENTS_RESPONSE => {
                pending.files -= 1;
                pass_if_open(Step::Replace(pdu(
                    FILE_CONTENTS_RESPONSE,
                    RESPONSE_FAIL,
                    &stream_id,
                )))
            }
            _ => pass_if_open(Step::Drop),
        };
        // An empty list carries nothing, so it is not an attempt to move anything.
        let silent = kind == TEMP_DIRECTORY || kind == FORMAT_LIST && len == 0;
        let flow = (!silent).then_some(flow);
        Decision { step, flow }
    }
}

fn start_up(own: Vec<u8>) -> Decision {
    Decision {
        step: Step::Replace(own),
        flow: None,
    }
}

fn pdu(kind: u16, flags: u16, body: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(8 + body.len());
    out.extend_from_slice(&kind.to_le_bytes());
    out.extend_from_slice(&flags.to_le_bytes());
    out.extend_from_slice(&u32::try_from(body.len()).unwrap_or(0).to_le_bytes());
    out.extend_from_slice(body);
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const DATA: [u16; 3] = [FORMAT_LIST, FORMAT_DATA_RESPONSE, FILE_CONTENTS_RESPONSE];

    #[test]
    fn a_denied_direction_answers_for_the_other_peer() {
        let mut clip = Clipboard::default();
        let mut ask =
            |from, kind, body: &[u8]| clip.decide(from, &pdu(kind, 0, body), |_| false).step;
        assert_eq!(ask(Direction::In, MONITOR_READY, &[]), Step::Drop);
        assert_eq!(
            ask(Direction::Out, MONITOR_READY, b"x"),
            Step::Replace(pdu(MONITOR_READY, 0, &[]))
        );
        assert_eq!(
            ask(Direction::In, FORMAT_LIST, b"fmt"),
            Step::Replace(pdu(FORMAT_LIST, 0, &[]))
        );
        assert_eq!(
            ask(Direction::In, FORMAT_LIST, b"fmt"),
            Step::Answer(pdu(FORMAT_LIST_RESPONSE, 2, &[]))
        );
        assert_eq!(
            ask(Direction::Out, FORMAT_LIST, b"fmt"),
            Step::Answer(pdu(FORMAT_LIST_RESPONSE, 2, &[]))
        );
        assert_eq!(
            ask(Direction::Out, FORMAT_DATA_REQUEST, &[13, 0, 0, 0]),
            Step::Answer(pdu(FORMAT_DATA_RESPONSE, 2, &[]))
        );
        let answer = Step::Answer(pdu(FILE_CONTENTS_RESPONSE, 2, &[7, 0, 0, 0]));
        assert_eq!(
            ask(Direction::Out, FILE_CONTENTS_REQUEST, &[7, 0, 0, 0, 1]),
            answer
        );
    }

    #[test]
    fn an_answer_after_the_grant_ended_becomes_a_failure_and_an_unasked_one_is_dropped() {
        let mut clip = Clipboard::default();
        let request = pdu(FORMAT_DATA_REQUEST, 0, &[13, 0, 0, 0]);
        let response = pdu(FORMAT_DATA_RESPONSE, 1, b"secret");
        assert_eq!(
            clip.decide(Direction::In, &response, |_| true).step,
            Step::Drop
        );
        assert_eq!(
            clip.decide(Direction::Out, &request, |_| true).step,
            Step::Pass
        );
        assert_eq!(
            clip.decide(Direction::In, &response, |_| false).step,
            Step::Replace(pdu(FORMAT_DATA_RESPONSE, 2, &[]))
        );
    }

    proptest! {
        #[test]
        fn no_data_passes_in_a_denied_direction_whatever_came_before(
            pdus in proptest::collection::vec((any::<bool>(), 0u16..14, any::<bool>(), any::<bool>(), proptest::collection::vec(any::<u8>(), 0..12)), 0..60),
        ) {
            let mut clip = Clipboard::default();
            for (out, kind, allow_in, allow_out, body) in pdus {
                let from = if out { Direction::Out } else { Direction::In };
                let allowed = |d| if d == Direction::In { allow_in } else { allow_out };
                let decision = clip.decide(from, &pdu(kind, 0, &body), allowed);
                if DATA.contains(&kind) && !allowed(from) {
                    prop_assert_ne!(&decision.step, &Step::Pass);
                }
                if let Step::Replace(sent) | Step::Answer(sent) = &decision.step {
                    prop_assert!(sent.len() <= 24, "what the gateway says itself carries no data");
                }
            }
        }

        #[test]
        fn any_bytes_get_a_decision(head in proptest::collection::vec(any::<u8>(), 0..20), out: bool, open: bool) {
            Clipboard::default().decide(if out { Direction::Out } else { Direction::In }, &head, |_| open);
        }
    }
}
