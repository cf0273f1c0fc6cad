//! A chunk's framing, whole and torn, and its opening with a key.
#![no_main]

use libfuzzer_sys::fuzz_target;
use lucid_format::{ChunkView, FormatError, valid_prefix};
use lucid_fuzz::{SESSION, seeds};

fuzz_target!(
    init: seeds(|| {
        let chunks = SESSION.sections.iter().filter(|(tag, _)| tag == b"CHNK");
        chunks.flat_map(|(_, chunk)| [chunk.clone(), chunk[..chunk.len() - 1].to_vec()]).collect()
    }),
    |data: &[u8]| {
        let (whole, closed) = valid_prefix(data);
        assert!(whole <= data.len());
        let strict = ChunkView::parse(data, false);
        let torn = ChunkView::parse(data, true);
        if strict.is_ok() {
            assert!(torn.is_ok(), "what is whole is also good when torn ones are");
        }
        if whole > 0 {
            match ChunkView::parse(&data[..whole], !closed) {
                Ok(_) => {}
                // Segments answer for themselves and not for the header: one that says the chunk began after its end.
                Err(FormatError::Malformed { what: "a chunk trailer", .. }) => {}
                Err(error) => panic!("recovery keeps what cannot be read: {error}"),
            }
        }
        if let Ok(view) = torn
            && let Some(key) = SESSION.keys.chunk_key(view.header.index)
            && let Ok(plaintext) = view.open(&key)
        {
            view.records(&plaintext).for_each(drop);
        }
    }
);
