//! A connection that a test can cut: a port that passes on all that comes to it.

use crate::fleet::Fleet;
use std::{
    net::{Shutdown, TcpListener, TcpStream},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
};

/// Passes connections on to another port of this machine until they are cut.
pub(crate) struct Proxy {
    port: u16,
    links: Arc<Mutex<Vec<TcpStream>>>,
    made: Arc<AtomicUsize>,
    closed: Arc<AtomicBool>,
}

impl Proxy {
    /// One on the way to a host of a fleet, whose key the file `known` has.
    pub(crate) fn on_the_way_to(fleet: &Fleet, host: &str) -> Self {
        let proxy = Self::start(fleet.sshd.port());
        fleet.vary(host, &format!("ansible_port={}", proxy.port()));
        fleet.place.file("known", &format!("[127.0.0.1]:{} {}\n", proxy.port(), fleet.sshd.host_key()));
        proxy
    }

    pub(crate) fn start(to: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let (links, made) = (Arc::new(Mutex::new(Vec::new())), Arc::new(AtomicUsize::new(0)));
        let (kept, count) = (Arc::clone(&links), Arc::clone(&made));
        let closed = Arc::new(AtomicBool::new(false));
        let refuses = Arc::clone(&closed);
        std::thread::spawn(move || {
            for near in listener.incoming().map_while(Result::ok) {
                if refuses.load(Ordering::SeqCst) {
                    continue;
                }
                let Ok(far) = TcpStream::connect(("127.0.0.1", to)) else { continue };
                count.fetch_add(1, Ordering::SeqCst);
                kept.lock().unwrap().extend([near.try_clone().unwrap(), far.try_clone().unwrap()]);
                pass(near.try_clone().unwrap(), far.try_clone().unwrap());
                pass(far, near);
            }
        });
        Self { port, links, made, closed }
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// How many connections have come so far.
    pub(crate) fn made(&self) -> usize {
        self.made.load(Ordering::SeqCst)
    }

    /// Cuts every connection, and lets no other through until [`Proxy::heal`].
    pub(crate) fn cut_off(&self) {
        self.closed.store(true, Ordering::SeqCst);
        self.cut();
    }

    pub(crate) fn heal(&self) {
        self.closed.store(false, Ordering::SeqCst);
    }

    /// Cuts every connection that stands. The next one is passed on again.
    pub(crate) fn cut(&self) {
        for link in self.links.lock().unwrap().drain(..) {
            // One that has ended by itself is cut already.
            let _ = link.shutdown(Shutdown::Both);
        }
    }
}

fn pass(mut from: TcpStream, mut to: TcpStream) {
    std::thread::spawn(move || {
        let _ = std::io::copy(&mut from, &mut to);
        let _ = to.shutdown(Shutdown::Write);
    });
}
