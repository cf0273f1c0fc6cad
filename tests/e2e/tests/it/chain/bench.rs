//! `lucid bench chain`, short: that it runs, measures everything it says, and leaves nothing. Figures are not looked at.

use std::path::Path;

use serde_json::Value;

use super::network::Bench;

#[test]
fn a_short_benchmark_measures_everything_there_is() {
    let bench = Bench::new();
    let said = bench.ok(&[
        "--json",
        "bench",
        "chain",
        "--accounts",
        "40",
        "--rate",
        "40",
        "--warm-up",
        "1",
        "--seconds",
        "5",
        "--idle",
        "1",
    ]);
    let said: Value = serde_json::from_str(&said).unwrap();
    let rows = said["sections"][0]["rows"].as_array().unwrap();
    let value = |what: &str| {
        let row = rows
            .iter()
            .find(|row| row["what"].as_str().unwrap().contains(what))
            .unwrap_or_else(|| panic!("no row '{what}': {said}"));
        let value = row["value"].as_f64();
        value.unwrap_or_else(|| panic!("'{what}' was not measured: {row}"))
    };
    for what in [
        "committed registrations",
        "interval p50",
        "finality p50",
        "finality p99",
        "block fill",
        "under load: memory",
        "leader killed",
        "before any load: memory",
        "after the load: memory",
        "limit: the same blocks",
    ] {
        assert!(value(what) > 0.0, "{what}");
    }
    for row in rows {
        let note = row["note"].as_str().unwrap_or_default();
        assert!(!note.contains("refused"), "{row}");
    }
    let left = Path::new("/proc").read_dir().unwrap().filter_map(|entry| {
        let line = std::fs::read(entry.ok()?.path().join("cmdline")).ok()?;
        let line = String::from_utf8_lossy(&line).into_owned();
        line.contains(bench.dir.path().to_str()?).then_some(line)
    });
    assert_eq!(left.collect::<Vec<_>>(), Vec::<String>::new());
}
