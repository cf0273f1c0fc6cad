use crate::{
    PlayerError,
    error::{take, take_u8, take_u16, take_u32},
};

/// Longest text that is shown, in characters.
const MAX_SHOWN: usize = 400;

/// What a clipboard record says, for people to read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClipboardEvent {
    /// `true` from the client to the desktop.
    pub to_desktop: bool,
    /// The text, or what it is instead.
    pub text: String,
}

/// Reads a clipboard record: direction, then a CLIPRDR PDU (MS-RDPECLIP 2.2.1). `None` for PDUs that carry no content.
///
/// # Errors
/// When the record is cut short or its direction is neither 0 nor 1.
pub fn decode_clipboard(payload: &[u8]) -> Result<Option<ClipboardEvent>, PlayerError> {
    const WHAT: &str = "a clipboard record";
    let mut rest = payload;
    let to_desktop = match take_u8(&mut rest, WHAT)? {
        0 => true,
        1 => false,
        other => return Err(PlayerError::malformed(WHAT, format!("direction {other}"))),
    };
    let kind = take_u16(&mut rest, WHAT)?;
    let flags = take_u16(&mut rest, WHAT)?;
    let length = usize::try_from(take_u32(&mut rest, WHAT)?).unwrap_or(usize::MAX);
    let data = take(&mut rest, length, WHAT)?;
    let text = match (kind, flags & 1) {
        // format data response, OK
        (5, 1) => readable(data),
        // file contents response, OK
        (9, 1) => format!("{} bytes of a file", data.len()),
        _ => return Ok(None),
    };
    Ok(Some(ClipboardEvent { to_desktop, text }))
}

/// Text, if it is UTF-16 text (the response does not name its format), else how much it is.
fn readable(data: &[u8]) -> String {
    let units: Vec<u16> = data
        .as_chunks::<2>()
        .0
        .iter()
        .map(|u| u16::from_le_bytes(*u))
        .collect();
    let units = units.split(|u| *u == 0).next().unwrap_or_default();
    let text: Result<String, _> = char::decode_utf16(units.iter().copied())
        .take(MAX_SHOWN)
        .collect();
    match text {
        Ok(text)
            if data.len().is_multiple_of(2) && !text.is_empty() && !text.contains(is_binary) =>
        {
            text
        }
        _ => format!("{} bytes that are no text", data.len()),
    }
}

fn is_binary(c: char) -> bool {
    c.is_control() && !matches!(c, '\n' | '\r' | '\t')
}
