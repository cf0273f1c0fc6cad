//! Lines between nodes that take their time. The kernel of a test machine may not have netem.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

/// A port that leads to another, each byte some time later.
pub(super) struct Line {
    port: u16,
    carried: Arc<AtomicU64>,
    ended: Arc<AtomicBool>,
}

impl Line {
    pub(super) fn to(target: u16, delay: Duration) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let line = Self {
            port: listener.local_addr().unwrap().port(),
            carried: Arc::default(),
            ended: Arc::default(),
        };
        let (carried, ended) = (Arc::clone(&line.carried), Arc::clone(&line.ended));
        thread::spawn(move || {
            for near in listener.incoming().flatten() {
                if ended.load(Ordering::Relaxed) {
                    return;
                }
                let Ok(far) = TcpStream::connect((Ipv4Addr::LOCALHOST, target)) else {
                    continue;
                };
                for (from, to) in [(&near, &far), (&far, &near)] {
                    let (from, to) = (from.try_clone().unwrap(), to.try_clone().unwrap());
                    carry(from, to, delay, Arc::clone(&carried));
                }
            }
        });
        line
    }

    pub(super) fn port(&self) -> u16 {
        self.port
    }

    /// Bytes, both ways.
    pub(super) fn carried(&self) -> u64 {
        self.carried.load(Ordering::Relaxed)
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::Relaxed);
        // The listener waits for a last one.
        let _ = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port));
    }
}

fn carry(mut from: TcpStream, mut to: TcpStream, delay: Duration, carried: Arc<AtomicU64>) {
    let (sender, on_the_way) = mpsc::channel::<(Instant, Vec<u8>)>();
    thread::spawn(move || {
        let mut buffer = vec![0; 64 << 10];
        while let Ok(read @ 1..) = from.read(&mut buffer) {
            carried.fetch_add(read as u64, Ordering::Relaxed);
            if sender
                .send((Instant::now() + delay, buffer[..read].to_vec()))
                .is_err()
            {
                return;
            }
        }
    });
    thread::spawn(move || {
        for (due, bytes) in on_the_way {
            thread::sleep(due.saturating_duration_since(Instant::now()));
            if to.write_all(&bytes).is_err() {
                break;
            }
        }
        let _ = to.shutdown(Shutdown::Both);
    });
}
