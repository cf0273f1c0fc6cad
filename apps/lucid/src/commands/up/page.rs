//! The page of `lucid up`: the recordings of the store, and the player for each.
//!
//! It has no keys: what it hands out is ciphertext, and the player asks for a key file.

use std::collections::VecDeque;
use std::fmt::Write as _;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context, Result};
use axum::Router;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use lucid_format::SessionId;
use lucid_store::{SessionState, Store};

use crate::commands::replay::{Served, file, piece};
use crate::ui::{clock, date, size};

/// Recordings kept ready for players that ask for one piece after the other.
const READY: usize = 4;
/// Recordings listed, newest first.
const LISTED: usize = 200;

const HEAD: &str = "<!doctype html><html lang=en><meta charset=utf-8><meta name=viewport content='width=device-width'>\
    <meta name=color-scheme content='light dark'><meta http-equiv=refresh content=5><title>Lucid</title><style>\
    body{font:15px/1.5 system-ui,sans-serif;max-width:62rem;margin:2rem auto;padding:0 1rem}\
    table{border-collapse:collapse;width:100%}th,td{text-align:left;padding:.45rem .8rem .45rem 0;border-bottom:1px solid #8884}\
    th{font-weight:600;opacity:.7}code{font-size:.9em}.none{opacity:.7}</style><h1>Recordings</h1>";

#[derive(Clone)]
struct Page {
    store: Store,
    ready: Arc<Mutex<VecDeque<(SessionId, Served)>>>,
}

/// The page over a store.
pub fn router(store: Store) -> Router {
    let page = Page {
        store,
        ready: Arc::default(),
    };
    Router::new()
        .route("/", get(list))
        .route("/play/{id}/recording", get(recording))
        .route("/play/{id}/", get(|| async { file("") }))
        .route(
            "/play/{id}/{*file}",
            get(|Path((_, path)): Path<(String, String)>| async move { file(&path) }),
        )
        .with_state(page)
}

async fn list(State(page): State<Page>) -> Response {
    let made = tokio::task::spawn_blocking(move || page.list()).await;
    match made {
        Ok(Ok(html)) => {
            ([(header::CONTENT_TYPE, "text/html; charset=utf-8")], html).into_response()
        }
        _ => (
            StatusCode::INTERNAL_SERVER_ERROR,
            "the store cannot be read\n",
        )
            .into_response(),
    }
}

async fn recording(
    State(page): State<Page>,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Response {
    let Ok(id) = id.parse::<SessionId>() else {
        return (StatusCode::NOT_FOUND, "that is no session's id\n").into_response();
    };
    match tokio::task::spawn_blocking(move || page.served(id)).await {
        Ok(Ok(served)) => piece(served, headers).await,
        Ok(Err(error)) => (StatusCode::NOT_FOUND, format!("{error:#}\n")).into_response(),
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

impl Page {
    fn list(&self) -> Result<String> {
        let mut sessions = self.store.list()?.sessions;
        sessions.sort_by_key(|session| std::cmp::Reverse(session.started_us));
        let mut html = HEAD.to_owned();
        if sessions.is_empty() {
            html.push_str("<p class=none>Nothing is recorded yet. <code>lucid session mint --user NAME</code> lets somebody in.");
            return Ok(html);
        }
        html.push_str("<table><tr><th>began<th>who<th>desktop<th>length<th>size<th>session<th>");
        for session in sessions.iter().take(LISTED) {
            let sealed = matches!(session.state, SessionState::Closed | SessionState::Cut);
            let last = if sealed {
                format!("<a href='play/{}/'>play</a>", session.id)
            } else {
                format!("{:?}", session.state).to_lowercase()
            };
            write!(
                html,
                "<tr><td>{}<td>{}<td>{}<td>{}<td>{}<td><code>{}</code><td>{last}",
                date(session.started_us),
                escaped(&session.user),
                escaped(&session.target),
                clock(session.duration_us),
                size(session.bytes),
                session.id,
            )?;
        }
        html.push_str("</table>");
        Ok(html)
    }

    /// The packed recording, made when it is first asked for.
    fn served(&self, id: SessionId) -> Result<Served> {
        let lock = || self.ready.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, served)) = lock().iter().find(|(ready, _)| *ready == id) {
            return Ok(served.clone());
        }
        let mut file = tempfile::tempfile_in(self.store.root())
            .context("making a temporary file in the store")?;
        self.store.pack(id, &mut file, &mut |_, _| {})?;
        let served = Served::new(file)?;
        let mut ready = lock();
        ready.push_front((id, served.clone()));
        ready.truncate(READY);
        Ok(served)
    }
}

/// Text that came from outside, in a page.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_text_and_never_markup() {
        let name = "<script>&'\"</script>";
        assert_eq!(
            escaped(name),
            "&lt;script&gt;&amp;&#39;&quot;&lt;/script&gt;"
        );
    }
}
