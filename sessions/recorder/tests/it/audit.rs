//! The audit log: what is changed in it shows, and what a power cut does to it is no end of it.

use std::{fs, io::Write};

use lucid_recorder::{
    RecorderError,
    audit::{AuditEntry, AuditLog, TORN},
};
use tempfile::TempDir;

fn entry(event: &str, detail: &str) -> AuditEntry {
    AuditEntry {
        time_us: 7,
        event: event.into(),
        session: None,
        user: Some("operator1".into()),
        peer: None,
        detail: detail.into(),
        prev: String::new(),
    }
}

struct Fixture {
    dir: TempDir,
    log: AuditLog,
}

impl Fixture {
    fn new(lines: usize) -> Self {
        let dir = TempDir::new().unwrap();
        let log = AuditLog::at(dir.path().join("audit.jsonl"));
        for n in 0..lines {
            log.append(entry("client-refused", &format!("reason {n}")))
                .unwrap();
        }
        Self { dir, log }
    }

    fn path(&self) -> std::path::PathBuf {
        self.dir.path().join("audit.jsonl")
    }

    fn text(&self) -> String {
        fs::read_to_string(self.path()).unwrap()
    }

    fn write(&self, text: impl AsRef<[u8]>) {
        fs::write(self.path(), text).unwrap();
    }

    fn events(&self) -> Vec<String> {
        self.log
            .read()
            .unwrap()
            .into_iter()
            .map(|e| e.event)
            .collect()
    }

    fn fault(&self) -> (usize, String) {
        match self.log.read().unwrap_err() {
            RecorderError::Audit { line, why, .. } => (line, why),
            other => panic!("{other}"),
        }
    }
}

#[test]
fn a_log_reads_as_it_was_written_and_one_that_is_not_there_is_empty() {
    let fixture = Fixture::new(3);
    let read = fixture.log.read().unwrap();
    let details: Vec<&str> = read.iter().map(|e| e.detail.as_str()).collect();
    assert_eq!(details, ["reason 0", "reason 1", "reason 2"]);
    assert!(Fixture::new(0).log.read().unwrap().is_empty());
}

#[test]
fn only_its_owner_can_read_it() {
    use std::os::unix::fs::PermissionsExt;
    let fixture = Fixture::new(1);
    let mode = fs::metadata(fixture.path()).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}

#[test]
fn a_changed_line_is_found() {
    let fixture = Fixture::new(4);
    fixture.write(fixture.text().replace("reason 1", "reason X"));
    assert_eq!(
        fixture.fault(),
        (3, "it does not name the line before".into())
    );
    let message = fixture.log.read().unwrap_err().to_string();
    assert!(
        message.ends_with("line 3: it does not name the line before: the audit log was changed"),
        "{message}"
    );
}

#[test]
fn dropped_swapped_repeated_and_inserted_lines_are_found() {
    let fixture = Fixture::new(4);
    let text = fixture.text();
    let lines: Vec<&str> = text.lines().collect();
    let forged = lines[1].replace("reason 1", "reason X");
    let cases: [(&[&str], usize); 6] = [
        (&[lines[1], lines[2], lines[3]], 1),
        (&[lines[0], lines[2], lines[3]], 2),
        (&[lines[0], lines[2], lines[1], lines[3]], 2),
        (&[lines[0], lines[1], lines[1], lines[2]], 3),
        (&[lines[0], lines[1], &forged, lines[2]], 3),
        (&[lines[0], "", lines[1]], 3),
    ];
    for (lines, line) in cases {
        fixture.write(lines.join("\n") + "\n");
        assert_eq!(fixture.fault().0, line, "{lines:?}");
    }
}

#[test]
fn a_line_torn_by_a_power_cut_at_any_byte_is_shown_and_the_log_goes_on() {
    let whole = Fixture::new(3).text().into_bytes();
    let two = whole
        .iter()
        .enumerate()
        .filter(|(_, b)| **b == b'\n')
        .nth(1)
        .unwrap()
        .0
        + 1;
    for cut in two + 1..whole.len() {
        let fixture = Fixture::new(0);
        fixture.write(&whole[..cut]);
        // All of a line but its end is a whole entry.
        let third = if cut == whole.len() - 1 {
            "client-refused"
        } else {
            TORN
        };
        assert_eq!(
            fixture.events(),
            ["client-refused", "client-refused", third],
            "cut at {cut}"
        );
        fixture.log.append(entry("session-started", "")).unwrap();
        fixture.log.append(entry("session-ended", "")).unwrap();
        let events = [
            "client-refused",
            "client-refused",
            third,
            "session-started",
            "session-ended",
        ];
        assert_eq!(fixture.events(), events, "cut at {cut}");
    }
}

#[test]
fn a_tail_of_zeros_or_noise_from_a_power_cut_is_shown_and_the_log_goes_on() {
    for tail in [vec![0; 200], vec![0xFF; 77], vec![b'{', 0xC3]] {
        let fixture = Fixture::new(2);
        let mut file = fs::OpenOptions::new()
            .append(true)
            .open(fixture.path())
            .unwrap();
        file.write_all(&tail).unwrap();
        fixture.log.append(entry("session-started", "")).unwrap();
        assert_eq!(
            fixture.events(),
            ["client-refused", "client-refused", TORN, "session-started"]
        );
        let torn = &fixture.log.read().unwrap()[2];
        assert!(
            torn.detail.contains(&format!("{} bytes", tail.len())),
            "{}",
            torn.detail
        );
    }
}

#[test]
fn a_torn_line_that_is_changed_or_dropped_later_is_found() {
    let fixture = Fixture::new(2);
    let text = fixture.text();
    fixture.write(&text[..text.len() - 20]);
    fixture.log.append(entry("session-started", "")).unwrap();
    let text = fixture.text();
    let lines: Vec<&str> = text.lines().collect();
    fixture.write([lines[0], &lines[1][..30], lines[2]].join("\n") + "\n");
    assert_eq!(fixture.fault().0, 3);
    fixture.write([lines[0], lines[2]].join("\n") + "\n");
    assert_eq!(fixture.fault().0, 2);
}

#[test]
fn a_line_without_end_is_refused_and_not_read_into_memory() {
    let fixture = Fixture::new(1);
    let mut file = fs::OpenOptions::new()
        .append(true)
        .open(fixture.path())
        .unwrap();
    file.write_all(&vec![b'x'; 40 << 20]).unwrap();
    assert_eq!(
        fixture.fault(),
        (2, "it is longer than any line that is written".into())
    );
}

#[test]
fn whatever_a_client_calls_itself_the_line_can_be_read_back() {
    let fixture = Fixture::new(0);
    for text in [
        "\u{1}".repeat(100_000),
        "ü".repeat(100_000),
        "\n\"\\".repeat(50_000),
    ] {
        let mut long = entry("client-refused", &text);
        long.user = Some(text.clone());
        long.session = Some(text.clone());
        long.peer = Some(text);
        fixture.log.append(long).unwrap();
    }
    let read = fixture.log.read().unwrap();
    assert_eq!(read.len(), 3);
    assert!(read.iter().all(|e| (500..=512).contains(&e.detail.len())));
}

#[test]
fn writers_at_once_make_one_chain() {
    let fixture = Fixture::new(0);
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                for n in 0..25 {
                    fixture
                        .log
                        .append(entry("client-refused", &n.to_string()))
                        .unwrap();
                    fixture.log.read().unwrap();
                }
            });
        }
    });
    assert_eq!(fixture.log.read().unwrap().len(), 200);
}
