//! `lucid session`: mint, follow, steer, recover, shred.

use std::io::{BufRead, IsTerminal, Write};

use anyhow::{Context, Result};
use lucid_anchor::{Folder, book::Stage};
use lucid_format::SessionId;
use lucid_recorder::{
    Home,
    anchoring::Opening,
    audit::{AuditEntry, AuditLog},
    control::{self, LiveSession, Request, SessionEvent},
    recover,
    ticket::{self, MintRequest, Minted},
    wall_clock_us,
};
use lucid_store::{SessionState, SessionSummary, StoreError};

use crate::{
    App, anchoring,
    cli::SessionCommand,
    exit::{NOT_FOUND, USAGE, exit},
    ui::{Tone, clock, date, size, table},
};

/// Runs a subcommand.
pub fn run(app: &App, command: SessionCommand) -> Result<()> {
    match command {
        SessionCommand::Mint {
            user,
            target,
            valid_for,
        } => mint(app, user, target, valid_for),
        SessionCommand::List => list(app),
        SessionCommand::Show { id } => show(app, parse(&id)?),
        SessionCommand::Watch { id } => watch(app, parse(&id)?),
        SessionCommand::End { id, reason } => {
            steer(app, &id, |session| Request::End { session, reason })
        }
        SessionCommand::Allow {
            id,
            channel,
            duration,
        } => {
            let for_ms = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
            let by = std::env::var("USER").unwrap_or_else(|_| "operator".to_owned());
            steer(app, &id, |session| Request::Allow {
                session,
                channel,
                for_ms,
                by,
            })
        }
        SessionCommand::Deny { id, channel } => {
            steer(app, &id, |session| Request::Deny { session, channel })
        }
        SessionCommand::Recover { id } => recover_sessions(app, id.as_deref()),
        SessionCommand::Shred { id, yes } => shred(app, parse(&id)?, yes),
        SessionCommand::Hold { id, reason } => {
            app.store()?.hold(parse(&id)?, &reason)?;
            log(app, "session-held", &id, &reason)
        }
        SessionCommand::Release { id } => {
            app.store()?.release(parse(&id)?)?;
            log(app, "session-released", &id, "")
        }
    }
}

fn parse(id: &str) -> Result<SessionId> {
    id.parse()
        .map_err(|e: lucid_format::FormatError| exit(USAGE, e.to_string()))
}

fn mint(app: &App, user: String, target: String, valid_for: std::time::Duration) -> Result<()> {
    let home = app.home()?;
    let policy = app.settings.policy();
    let request = MintRequest {
        user,
        target,
        valid_for_s: valid_for.as_secs(),
        policy,
    };
    let minted = ticket::mint(&home, &request, wall_clock_us())?;
    let id = minted.ticket.session.to_string();
    let opening = if app.settings.chain.is_on() {
        Some(open_on_chain(app, &home, &minted)?)
    } else {
        None
    };
    log(
        app,
        "session-minted",
        &id,
        &format!("for {} on {}", request.user, request.target),
    )?;
    if app.ui.json {
        let mut answer = serde_json::json!({
            "session": id, "user": request.user, "target": request.target,
            "password": minted.password.as_str(), "expires_us": minted.ticket.expires_us,
        });
        if let Some(opening) = &opening {
            answer["anchor"] = serde_json::to_value(opening)?;
        }
        return app.ui.json(&answer);
    }
    app.ui.line(format!("session   {id}"));
    app.ui.line(format!("user      {}", request.user));
    app.ui.line(format!(
        "password  {}",
        app.ui.paint(Tone::Strong, minted.password.as_str())
    ));
    app.ui.line(format!(
        "valid     once, until {}",
        date(minted.ticket.expires_us)
    ));
    match &opening {
        None => {}
        Some(Opening::Final {
            height,
            transaction,
            ..
        }) => app.ui.line(format!(
            "anchored  final in block {height}, transaction {transaction}"
        )),
        Some(Opening::Queued { why }) => app.ui.line(format!(
            "anchored  {}: {why}; the recording will say so",
            app.ui.paint(Tone::Bad, "not yet, the opening is queued")
        )),
    }
    app.ui.note("The password is shown this once. Log in with any RDP client that offers TLS; see docs/sessions/clients.md.");
    Ok(())
}

/// Opens a fresh ticket's session on the chain. A ticket whose session cannot be opened is taken back.
fn open_on_chain(app: &App, home: &Home, minted: &Minted) -> Result<Opening> {
    let spinner = app.ui.spinner("opening the session on the chain");
    let opened = anchoring::open(app, &minted.ticket);
    spinner.finish_and_clear();
    if opened.is_err() {
        ticket::withdraw(home, minted)?;
    }
    opened.context("the session cannot be opened on the chain, and nothing was minted")
}

fn list(app: &App) -> Result<()> {
    let home = app.home()?;
    let tickets = ticket::outstanding(&home, wall_clock_us())?;
    let live: Vec<LiveSession> = control::ask(&home.control(), &Request::List).unwrap_or_default();
    let listing = app.store()?.list()?;
    if app.ui.json {
        let damaged: Vec<_> = listing
            .damaged
            .iter()
            .map(|d| serde_json::json!({"id": d.id.to_string(), "error": d.error.to_string()}))
            .collect();
        return app.ui.json(&serde_json::json!({
            "tickets": tickets, "live": live, "sessions": listing.sessions, "damaged": damaged,
        }));
    }
    let mut rows = Vec::new();
    for t in &tickets {
        let until = format!("until {}", date(t.expires_us));
        rows.push(vec![
            t.session.clone(),
            "ticket".into(),
            t.user.clone(),
            t.target.clone(),
            until,
            "-".into(),
            "-".into(),
        ]);
    }
    for s in &listing.sessions {
        let mut state = state(s);
        if s.hold.is_some() {
            state.push_str(", held");
        }
        let live = live.iter().find(|l| l.session == s.id.to_string());
        let bytes = live.map_or(s.bytes, |l| l.bytes);
        rows.push(vec![
            s.id.to_string(),
            state,
            s.user.clone(),
            s.target.clone(),
            date(s.started_us),
            clock(s.duration_us),
            size(bytes),
        ]);
    }
    table(
        app.ui,
        &[
            "SESSION", "STATE", "USER", "TARGET", "STARTED", "LENGTH", "SIZE",
        ],
        &rows,
    );
    for damaged in &listing.damaged {
        app.ui.note(format!(
            "{} cannot be read: {} ('lucid fsck' says more)",
            damaged.id, damaged.error
        ));
    }
    Ok(())
}

fn state(summary: &SessionSummary) -> String {
    let word = match summary.state {
        SessionState::Live => "recording",
        SessionState::Unsealed => "unsealed",
        SessionState::Closed => "sealed",
        SessionState::Cut => "cut",
    };
    if summary.shredded_us.is_some() {
        format!("{word}, shredded")
    } else {
        word.to_owned()
    }
}

fn show(app: &App, id: SessionId) -> Result<()> {
    let anchors = Folder::at(app.home()?.anchors()).session(id)?;
    let (session, anchors) = match (app.store()?.session(id), anchors) {
        (Err(StoreError::NoSession { .. }), Some(anchors)) => {
            return show_anchors(app, id, &anchors);
        }
        (session, anchors) => (session?, anchors),
    };
    let summary = &session.summary;
    if app.ui.json {
        let chunks: Vec<String> = session.chunks.iter().map(|h| h.to_hex()).collect();
        let recipients: Vec<String> = session
            .head
            .head
            .recipients
            .iter()
            .map(|r| data_encoding::HEXLOWER.encode(&r.0))
            .collect();
        return app.ui.json(&serde_json::json!({
            "summary": summary, "host_key": session.head.ticket.host_key.to_string(),
            "recipients": recipients, "chunks": chunks,
            "root": session.manifest.as_ref().map(|m| m.manifest.root.to_hex()),
            "anchors": anchors,
        }));
    }
    let row = |label: &str, text: String| row(app, label, &text);
    row("session", id.to_string());
    row("state", state(summary));
    row(
        "who",
        format!(
            "{} on {}, from {}",
            summary.user, summary.target, summary.client
        ),
    );
    row(
        "when",
        format!(
            "{}, {} long",
            date(summary.started_us),
            clock(summary.duration_us)
        ),
    );
    row(
        "chunks",
        format!("{}, {}", summary.chunks, size(summary.bytes)),
    );
    let recipients: Vec<String> = session
        .head
        .head
        .recipients
        .iter()
        .map(ToString::to_string)
        .collect();
    row("recipients", recipients.join(", "));
    row("host", session.head.ticket.host_key.to_string());
    if let Some(manifest) = &session.manifest {
        row("root", manifest.manifest.root.to_string());
        row("end", manifest.manifest.reason.clone());
    }
    if let Some(hold) = &summary.hold {
        row("held", hold.clone());
    }
    if let Some(at) = summary.shredded_us {
        row("shredded", date(at));
    }
    if let Some(anchors) = &anchors {
        anchor_rows(app, anchors);
    }
    Ok(())
}

fn row(app: &App, label: &str, text: &str) {
    app.ui.line(format!(
        "{} {text}",
        app.ui.paint(Tone::Faint, format!("{label:<10}"))
    ));
}

/// A session that the chain knows and the store does not: nobody came yet, or its recording is gone.
fn show_anchors(app: &App, id: SessionId, anchors: &lucid_anchor::book::Session) -> Result<()> {
    if app.ui.json {
        return app
            .ui
            .json(&serde_json::json!({ "session": id.to_string(), "anchors": anchors }));
    }
    row(app, "session", &id.to_string());
    row(app, "state", "no recording here");
    anchor_rows(app, anchors);
    Ok(())
}

/// What is on the chain. Of many checkpoints the last ones are shown; `--json` has all.
fn anchor_rows(app: &App, anchors: &lucid_anchor::book::Session) {
    const SHOWN: usize = 5;
    row(app, "owner", &anchors.owner.to_string());
    row(app, "opened", &stage(app, &anchors.opened));
    let all = anchors.checkpoints.len();
    let last = all.saturating_sub(SHOWN);
    if last > 0 {
        row(app, "checkpoint", &format!("… {last} before these"));
    }
    for checkpoint in &anchors.checkpoints[last..] {
        let batch = checkpoint.batch.map_or("", |_| ", in a batch");
        let text = format!(
            "{} chunks {}{batch}",
            checkpoint.size,
            stage(app, &checkpoint.stage)
        );
        row(app, "checkpoint", &text);
    }
    if let Some(closing) = &anchors.closed {
        let text = format!("{} chunks {}", closing.chunks, stage(app, &closing.stage));
        row(app, "closed", &text);
    }
}

fn stage(app: &App, stage: &Stage) -> String {
    match stage {
        Stage::Queued => "queued".to_owned(),
        Stage::Sent { nonce } => format!("sent, nonce {nonce}"),
        Stage::Final(place) if place.height == 0 => {
            format!(
                "{}, the block is not known here",
                app.ui.paint(Tone::Good, "final")
            )
        }
        Stage::Final(place) => format!(
            "{} in block {}, {}, transaction {}",
            app.ui.paint(Tone::Good, "final"),
            place.height,
            date(place.time.saturating_mul(1_000_000)),
            place.transaction
        ),
        Stage::Failed { why } => format!("{}: {why}", app.ui.paint(Tone::Bad, "failed")),
    }
}

fn watch(app: &App, id: SessionId) -> Result<()> {
    let mut failed = None;
    control::watch(&app.home()?.control(), id, |event| {
        let ended = matches!(event, SessionEvent::Ended { .. });
        if app.ui.json {
            failed = app.ui.json(&event).err();
        } else {
            app.ui.line(describe(&event));
        }
        !ended && failed.is_none()
    })?;
    failed.map_or(Ok(()), Err)
}

fn describe(event: &SessionEvent) -> String {
    let way = |to_desktop: &bool| {
        if *to_desktop {
            "to the desktop"
        } else {
            "from the desktop"
        }
    };
    match event {
        SessionEvent::Chunks { progress } => {
            format!(
                "{}  {} chunks, {} records, {}",
                clock(progress.last_us),
                progress.chunks,
                progress.records,
                size(progress.bytes)
            )
        }
        SessionEvent::Denied {
            channel,
            to_desktop,
            count,
        } => format!("denied   {channel}, {count} PDUs {}", way(to_desktop)),
        SessionEvent::Granted { channel, for_ms } => {
            format!("granted  {channel} for {} s", for_ms / 1000)
        }
        SessionEvent::GrantEnded { channel } => format!("closed   {channel}"),
        SessionEvent::Note { text } => format!("note     {text}"),
        SessionEvent::Ended { reason } => format!("ended    {reason}"),
    }
}

fn steer(app: &App, id: &str, request: impl FnOnce(String) -> Request) -> Result<()> {
    let id = parse(id)?;
    let request = request(id.to_string());
    let answer: String = control::ask(&app.home()?.control(), &request)?;
    let event = match request {
        Request::Allow { .. } => "channel-allowed",
        Request::Deny { .. } => "channel-denied",
        _ => "session-end-ordered",
    };
    log(app, event, &id.to_string(), &answer)
}

fn recover_sessions(app: &App, id: Option<&str>) -> Result<()> {
    let store = app.store()?;
    let host = app.home()?.identity()?;
    let unsealed = match id {
        Some(id) => vec![parse(id)?],
        None => store
            .list()?
            .sessions
            .iter()
            .filter(|s| s.state == SessionState::Unsealed)
            .map(|s| s.id)
            .collect(),
    };
    if unsealed.is_empty() {
        app.ui.note("there is nothing to recover");
    }
    for id in unsealed {
        let manifest = recover(
            &store,
            &host,
            id,
            "the recorder died; sealed by 'lucid session recover'",
        )?;
        let what = format!(
            "{} long, {} chunks, {}",
            clock(manifest.duration_us),
            manifest.chunks,
            size(manifest.chunk_bytes)
        );
        log(
            app,
            "session-recovered",
            &id.to_string(),
            &format!("sealed as cut: {what}"),
        )?;
    }
    Ok(())
}

fn shred(app: &App, id: SessionId, yes: bool) -> Result<()> {
    let store = app.store()?;
    let summary = store
        .session(id)
        .map_err(|e| exit(NOT_FOUND, e.to_string()))?
        .summary;
    if !yes {
        if !std::io::stdin().is_terminal() {
            return Err(exit(
                USAGE,
                "nobody can be asked: give --yes to destroy the keys",
            ));
        }
        let mut terminal = std::io::stderr();
        write!(
            terminal,
            "This destroys the keys of session {id} ({}, {}). It cannot be undone, here or from backups of this store \
             that are shredded too. Type the last four characters of the id to go on: ",
            summary.user,
            clock(summary.duration_us)
        )?;
        terminal.flush()?;
        let mut answer = String::new();
        std::io::stdin().lock().read_line(&mut answer)?;
        if !id.to_string().ends_with(answer.trim()) || answer.trim().len() != 4 {
            return Err(exit(USAGE, "not shredded"));
        }
    }
    store.shred(id, wall_clock_us())?;
    log(
        app,
        "session-shredded",
        &id.to_string(),
        "keys destroyed; it still verifies",
    )
}

/// Writes to the audit log, and tells the person.
fn log(app: &App, event: &str, id: &str, detail: &str) -> Result<()> {
    let entry = AuditEntry {
        time_us: wall_clock_us(),
        event: event.to_owned(),
        session: Some(id.to_owned()),
        user: None,
        peer: None,
        detail: detail.to_owned(),
        prev: String::new(),
    };
    AuditLog::at(app.home()?.audit())
        .append(entry)
        .context("writing the audit log")?;
    if event != "session-minted" {
        let text = format!(
            "{id}: {event}{}{detail}",
            if detail.is_empty() { "" } else { ", " }
        );
        if app.ui.json {
            app.ui
                .json(&serde_json::json!({ "session": id, "event": event, "detail": detail }))?;
        } else {
            app.ui.line(text);
        }
    }
    Ok(())
}
