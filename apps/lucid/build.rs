//! The page that `lucid replay` serves is part of the program. This checks that it was built, and builds the program anew
//! when it changed.

use std::path::Path;

fn main() {
    let dist = "../../sessions/player/web/dist";
    println!("cargo::rerun-if-changed={dist}");
    println!("cargo::rerun-if-changed={dist}/.stamp");
    if !Path::new(dist).join("index.html").exists() {
        println!(
            "cargo::error=the web player is not built: run scripts/setup once, or scripts/build-player"
        );
    }
}
