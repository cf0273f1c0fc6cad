//! A chunk's plaintext: whatever the records are, encoding them again gives the same bytes.
#![no_main]

use libfuzzer_sys::fuzz_target;
use lucid_format::{Marker, Record, Records, Stream};
use lucid_fuzz::seeds;

fuzz_target!(
    init: seeds(|| {
        let mut plaintext = Vec::new();
        for (time_us, stream) in (0..).zip(Stream::ALL) {
            let record = Record { time_us, stream, payload: b"payload" };
            record.encode(&mut plaintext).expect("it encodes");
        }
        vec![plaintext]
    }),
    |data: &[u8]| {
        if let Ok(records) = Records::new(data, 0, u64::MAX).collect::<Result<Vec<_>, _>>() {
            let mut again = Vec::new();
            for record in &records {
                record.encode(&mut again).expect("what was read can be written");
                if record.stream == Stream::Marker {
                    let _checked = Marker::decode(record.payload);
                }
            }
            assert_eq!(again, data);
        }
        if let Ok(marker) = Marker::decode(data) {
            assert_eq!(marker.encode().expect("what was read can be written"), data);
        }
    }
);
