//! A screen in memory on a display number that X picks itself.

use std::fs::File;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use crate::process::{Running, guarded, need, poll, read};
use crate::{DesktopError, Size};

#[derive(Debug)]
pub(crate) struct Xvfb {
    display: String,
    _server: Running,
}

impl Xvfb {
    /// Starts a screen of `size`, 24 bits deep. Its files go to `dir`.
    pub(crate) fn start(dir: &Path, size: Size) -> Result<Self, DesktopError> {
        need(&[("Xvfb", "xvfb")])?;
        let number = dir.join("xvfb.display");
        let log = dir.join("xvfb.log");
        // Xvfb picks a free number and says which (-displayfd): two started at once cannot pick the same.
        let mut command = guarded("sh");
        command
            .args(["-c", r#"exec Xvfb -displayfd 3 "$@" 3>"$0""#])
            .arg(&number);
        command.args([
            "-screen",
            "0",
            &format!("{}x{}x24", size.width, size.height),
        ]);
        command.args(["-nolisten", "tcp", "-noreset"]);
        File::create(&number).map_err(|source| DesktopError::File {
            path: number.clone(),
            source,
        })?;
        let mut server = Running::start("Xvfb", command, &log)?;
        let display = poll("display from Xvfb", Duration::from_secs(20), &log, || {
            server.check()?;
            let text = read(&number)?;
            // The newline comes last: without it the number may be half written.
            Ok(text.strip_suffix('\n').map(|number| format!(":{number}")))
        })?;
        Ok(Self {
            display,
            _server: server,
        })
    }

    /// The display's name, such as `:3`.
    pub(crate) fn display(&self) -> &str {
        &self.display
    }

    /// A helper that talks to this display.
    pub(crate) fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command
            .env("DISPLAY", &self.display)
            .env_remove("XAUTHORITY");
        command
    }

    /// A program that stays on this display until it or this process ends.
    pub(crate) fn start_on(
        &self,
        name: &str,
        mut command: Command,
        log: &Path,
    ) -> Result<Running, DesktopError> {
        command
            .env("DISPLAY", &self.display)
            .env_remove("XAUTHORITY");
        Running::start(name, command, log)
    }
}
