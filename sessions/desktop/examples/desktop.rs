//! A desktop to try things on: prints where it is and stays until Enter is pressed.
//!
//! `cargo run -p lucid-desktop --example desktop -- DIR` (root; logs in DIR)
#![allow(clippy::print_stdout, reason = "an example talks to its user")]

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use lucid_desktop::{Client, ClientOptions, Desktop, DesktopError, DesktopOptions};

fn main() -> Result<(), DesktopError> {
    let dir = std::env::args_os()
        .nth(1)
        .map_or_else(|| std::env::temp_dir().join("lucid-desktop"), PathBuf::from);
    let desktop = Desktop::start(&DesktopOptions::new(dir.join("desktop")))?;
    println!(
        "desktop  {}  user {}  password {}",
        desktop.addr(),
        desktop.user(),
        desktop.password()
    );
    let options = ClientOptions::new(
        dir.join("client"),
        desktop.addr(),
        desktop.user(),
        desktop.password(),
    );
    let mut client = Client::connect(&options)?;
    println!("client   display {}", client.display());
    match client.wait_for_picture(Duration::from_secs(60)) {
        Ok(()) => println!("picture  {}", dir.join("client.png").display()),
        Err(error) => println!("{error}"),
    }
    client.screenshot(&dir.join("client.png"))?;
    println!("Enter ends it.");
    let _read = io::stdin().read_line(&mut String::new());
    Ok(())
}
