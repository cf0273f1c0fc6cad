//! A bare gateway on one port, for trying things by hand: any user with the password `once` gets in.
//!
//! `cargo run -p lucid-rdp --example relay -- 127.0.0.1:3390 127.0.0.1:3389 USER PASSWORD tls|nla|auto [PERMISSION…]`

#![allow(
    clippy::print_stdout,
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a tool for developers"
)]

use std::time::{Duration, Instant};

use lucid_rdp::info::Credentials;
use lucid_rdp::tap::{self, What};
use lucid_rdp::{Acceptor, Identity, Permission, Rejection, Security, Session, Target, Trust};

#[tokio::main]
async fn main() {
    tracing_subscriber::fmt()
        .with_max_level(tracing_subscriber::filter::LevelFilter::INFO)
        .init();
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [listen, address, user, password, security, permissions @ ..] = &args[..] else {
        println!("usage: relay LISTEN TARGET USER PASSWORD tls|nla|auto [PERMISSION…]");
        return;
    };
    let permissions: Vec<Permission> = permissions
        .iter()
        .map(|p| p.parse().expect("a permission"))
        .collect();
    let dir = std::env::temp_dir().join("lucid-relay");
    let identity =
        Identity::load_or_create(&dir.join("gateway.crt"), &dir.join("gateway.key")).unwrap();
    println!("certificate {}", identity.fingerprint());
    let (host, port) = address.rsplit_once(':').expect("HOST:PORT");
    let mut target = Target {
        host: host.to_owned(),
        port: port.parse().unwrap(),
        credentials: Credentials {
            username: user.clone(),
            domain: String::new(),
            password: password.clone().into(),
        },
        security: match security.as_str() {
            "tls" => Security::Tls,
            "nla" => Security::Nla,
            _ => Security::Auto,
        },
        trust: Trust::AskFirstUse,
        timeout: Duration::from_secs(10),
    };
    let shown = target.show_certificate().await.unwrap();
    println!("pinning {shown}");
    target.trust = Trust::Pin(shown);
    let acceptor = Acceptor::new(&identity).unwrap();
    let listener = tokio::net::TcpListener::bind(listen).await.unwrap();
    loop {
        let (tcp, peer) = listener.accept().await.unwrap();
        let (acceptor, target, permissions) =
            (acceptor.clone(), target.clone(), permissions.clone());
        tokio::spawn(async move {
            let client = match acceptor.accept(tcp, peer).await {
                Ok(client) => client,
                Err(error) => return println!("refused: {error}"),
            };
            println!("{client:?}");
            if client.password().as_str() != "once" {
                println!("wrong password");
                return client.reject(Rejection::Denied).await;
            }
            let (session, handle) = match Session::connect(client, &target).await {
                Ok(pair) => pair,
                Err((error, client)) => {
                    println!("target: {error}");
                    return client.reject(Rejection::TargetFailed).await;
                }
            };
            let (sender, mut receiver) = tap::channel();
            let session = tokio::spawn(session.run(sender, Instant::now()));
            for permission in permissions {
                handle
                    .grant(permission, Duration::from_secs(3600), "example")
                    .await
                    .unwrap();
            }
            let mut streams = std::collections::BTreeMap::<String, (u64, u64)>::new();
            while let Some(events) = receiver.recv().await {
                for event in events {
                    match event.what {
                        What::Record { stream, payload } => {
                            let entry = streams.entry(format!("{stream:?}")).or_default();
                            entry.0 += 1;
                            entry.1 += payload.len() as u64;
                            if stream == lucid_format::Stream::Resize {
                                println!("{} resize {payload:?}", event.time_us);
                            }
                        }
                        other => println!("{} {other:?}", event.time_us),
                    }
                }
            }
            println!("{:?} {streams:?}", session.await.unwrap());
        });
    }
}
