//! `lucid audit`: the log of who came in and what was opened.

use anyhow::Result;
use lucid_recorder::audit::AuditLog;

use crate::{
    App,
    ui::{date, table},
};

/// Shows the log; fails when its chain does not hold.
pub fn run(app: &App) -> Result<()> {
    let entries = AuditLog::at(app.home()?.audit()).read()?;
    if app.ui.json {
        return app.ui.json(&entries);
    }
    let dash = |text: &Option<String>| text.clone().unwrap_or_else(|| "-".to_owned());
    let rows: Vec<Vec<String>> = entries
        .iter()
        .map(|e| {
            vec![
                date(e.time_us),
                e.event.clone(),
                dash(&e.user),
                dash(&e.peer),
                dash(&e.session),
                e.detail.clone(),
            ]
        })
        .collect();
    table(
        app.ui,
        &["TIME", "EVENT", "USER", "CLIENT", "SESSION", "DETAIL"],
        &rows,
    );
    app.ui
        .note(format!("{} entries, the hash chain holds", entries.len()));
    Ok(())
}
