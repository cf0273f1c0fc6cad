use crate::input::InputEvent;

/// What to show for a key press.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Typed {
    /// A character that goes into running text.
    Text(char),
    /// A key or combination with a name: `Enter`, `Ctrl+C`.
    Chord(String),
}

/// Turns key events into what a reader understands.
///
/// Labels are those of a US keyboard: the recording holds positions of keys, not the layout the desktop had in force.
#[derive(Debug, Clone, Default)]
pub struct Keyboard {
    shift: bool,
    ctrl: bool,
    alt: bool,
    win: bool,
    caps: bool,
    high_surrogate: Option<u16>,
}

impl Keyboard {
    /// Takes one event; gives what to show, if anything.
    pub fn feed(&mut self, event: &InputEvent) -> Option<Typed> {
        match *event {
            InputEvent::Key {
                scancode,
                extended,
                down,
            } => self.key(scancode, extended, down),
            InputEvent::Unicode { unit, down: true } => self.unicode(unit),
            _ => None,
        }
    }

    fn key(&mut self, scancode: u8, extended: bool, down: bool) -> Option<Typed> {
        match (scancode, extended) {
            (0x2A | 0x36, _) => self.shift = down,
            (0x1D, _) => self.ctrl = down,
            (0x38, _) => self.alt = down,
            (0x5B | 0x5C, true) => self.win = down,
            (0x3A, false) => self.caps ^= down,
            _ if down => return self.pressed(scancode, extended),
            _ => {}
        }
        None
    }

    fn pressed(&self, scancode: u8, extended: bool) -> Option<Typed> {
        let label = key_label(scancode, extended)?;
        let mut chars = label.chars();
        let printable = match (label, chars.next(), chars.next()) {
            ("Space", ..) => Some(' '),
            (_, Some(c), None) => Some(c),
            _ => None,
        };
        match printable {
            Some(c) if !(self.ctrl || self.alt || self.win) => {
                let upper = if c.is_ascii_alphabetic() {
                    self.shift != self.caps
                } else {
                    self.shift
                };
                Some(Typed::Text(if upper { shifted(c) } else { c }))
            }
            _ => {
                let held = [
                    (self.ctrl, "Ctrl"),
                    (self.alt, "Alt"),
                    (self.win, "Win"),
                    (self.shift, "Shift"),
                ];
                let mut chord: String = held
                    .iter()
                    .filter(|h| h.0)
                    .map(|h| format!("{}+", h.1))
                    .collect();
                match printable {
                    Some(c) if c != ' ' => chord.extend(c.to_uppercase()),
                    _ => chord.push_str(label),
                }
                Some(Typed::Chord(chord))
            }
        }
    }

    fn unicode(&mut self, unit: u16) -> Option<Typed> {
        if (0xD800..0xDC00).contains(&unit) {
            self.high_surrogate = Some(unit);
            return None;
        }
        let units = self.high_surrogate.take().into_iter().chain([unit]);
        char::decode_utf16(units).last()?.ok().map(Typed::Text)
    }
}

/// The name of a key on a US keyboard: its unshifted character, or a word. `None` when the scan code has no key.
pub fn key_label(scancode: u8, extended: bool) -> Option<&'static str> {
    if extended {
        return Some(match scancode {
            0x1C => "Enter",
            0x1D => "Ctrl",
            0x35 => "/",
            0x37 => "PrtSc",
            0x38 => "AltGr",
            0x46 => "Break",
            0x47 => "Home",
            0x48 => "Up",
            0x49 => "PgUp",
            0x4B => "Left",
            0x4D => "Right",
            0x4F => "End",
            0x50 => "Down",
            0x51 => "PgDn",
            0x52 => "Insert",
            0x53 => "Delete",
            0x5B | 0x5C => "Win",
            0x5D => "Menu",
            _ => return None,
        });
    }
    #[rustfmt::skip]
    const LABELS: [&str; 0x59] = [
        "", "Esc", "1", "2", "3", "4", "5", "6", "7", "8", "9", "0", "-", "=", "Backspace", "Tab",
        "q", "w", "e", "r", "t", "y", "u", "i", "o", "p", "[", "]", "Enter", "Ctrl", "a", "s",
        "d", "f", "g", "h", "j", "k", "l", ";", "'", "`", "Shift", "\\", "z", "x", "c", "v",
        "b", "n", "m", ",", ".", "/", "Shift", "*", "Alt", "Space", "CapsLock", "F1", "F2", "F3", "F4", "F5",
        "F6", "F7", "F8", "F9", "F10", "NumLock", "ScrollLock", "7", "8", "9", "-", "4", "5", "6", "+", "1",
        "2", "3", "0", ".", "SysRq", "", "<", "F11", "F12",
    ];
    LABELS
        .get(usize::from(scancode))
        .copied()
        .filter(|l| !l.is_empty())
}

fn shifted(c: char) -> char {
    match c {
        '1' => '!',
        '2' => '@',
        '3' => '#',
        '4' => '$',
        '5' => '%',
        '6' => '^',
        '7' => '&',
        '8' => '*',
        '9' => '(',
        '0' => ')',
        '-' => '_',
        '=' => '+',
        '[' => '{',
        ']' => '}',
        ';' => ':',
        '\'' => '"',
        '`' => '~',
        '\\' => '|',
        ',' => '<',
        '.' => '>',
        '/' => '?',
        '<' => '>',
        c => c.to_ascii_uppercase(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn press(keyboard: &mut Keyboard, keys: &[(u8, bool)]) -> Vec<Typed> {
        keys.iter()
            .filter_map(|&(scancode, down)| {
                keyboard.feed(&InputEvent::Key {
                    scancode,
                    extended: false,
                    down,
                })
            })
            .collect()
    }

    #[test]
    fn shift_and_caps_lock_make_capitals_and_signs() {
        let mut keyboard = Keyboard::default();
        let typed = press(
            &mut keyboard,
            &[
                (0x2A, true),
                (0x1E, true),
                (0x02, true),
                (0x2A, false),
                (0x1E, true),
                (0x3A, true),
                (0x1E, true),
                (0x02, true),
            ],
        );
        assert_eq!(typed, ['A', '!', 'a', 'A', '1'].map(Typed::Text));
    }

    #[test]
    fn combinations_have_names() {
        let mut keyboard = Keyboard::default();
        let typed = press(
            &mut keyboard,
            &[
                (0x1C, true),
                (0x1D, true),
                (0x2E, true),
                (0x2A, true),
                (0x39, true),
            ],
        );
        assert_eq!(
            typed,
            ["Enter", "Ctrl+C", "Ctrl+Shift+Space"].map(|s| Typed::Chord(s.into()))
        );
    }

    #[test]
    fn surrogate_pairs_become_one_character() {
        let mut keyboard = Keyboard::default();
        assert_eq!(
            keyboard.feed(&InputEvent::Unicode {
                unit: 0xD83D,
                down: true
            }),
            None
        );
        assert_eq!(
            keyboard.feed(&InputEvent::Unicode {
                unit: 0xDE00,
                down: true
            }),
            Some(Typed::Text('😀'))
        );
        assert_eq!(
            keyboard.feed(&InputEvent::Unicode {
                unit: 0xDE00,
                down: true
            }),
            None
        );
    }
}
