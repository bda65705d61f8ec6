//! One end-to-end test on both stores, and a store that a test can make slow, unreachable or restart.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use crate::harness::Project;

/// Runs a test on a project whose store is embedded, then on one whose store is PostgreSQL.
pub fn on_both_stores(file: &str, test: impl Fn(&mut Project)) {
    test(&mut Project::new(file));
    let database = testkit::postgres();
    let mut project = Project::new(file);
    project.database_url = Some(database.url());
    test(&mut project);
}

/// What stands between Switchyard and PostgreSQL, and passes bytes on as long as the test lets it.
pub struct Line {
    addr: SocketAddr,
    state: Arc<State>,
}

#[derive(Default)]
struct State {
    delay_ms: AtomicU64,
    held: AtomicBool,
}

impl Line {
    /// A line to the server that this URL names; gives the URL that leads over it.
    pub fn to(url: &str) -> (Line, String) {
        let server =
            url.rsplit('@').next().and_then(|rest| rest.split('/').next()).expect("host and port").to_owned();
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let addr = listener.local_addr().expect("its address");
        let line = Line { addr, state: Arc::default() };
        let state = line.state.clone();
        let target = server.clone();
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let Ok(server) = TcpStream::connect(&target) else { continue };
                let (up, down) = (client.try_clone().expect("share"), server.try_clone().expect("share"));
                let (there, back) = (state.clone(), state.clone());
                std::thread::spawn(move || there.pass(client, server));
                std::thread::spawn(move || back.pass(down, up));
            }
        });
        let over = url.replace(&server, &line.addr.to_string());
        (line, over)
    }

    /// Every piece takes this long from now on.
    pub fn delay(&self, time: Duration) {
        self.state.delay_ms.store(u64::try_from(time.as_millis()).expect("short"), Ordering::SeqCst);
    }

    /// A black hole: nothing comes through, and nobody is told.
    pub fn hold(&self, held: bool) {
        self.state.held.store(held, Ordering::SeqCst);
    }
}

impl State {
    fn pass(&self, mut from: TcpStream, mut to: TcpStream) {
        let mut piece = vec![0; 64 * 1024];
        while let Ok(read @ 1..) = from.read(&mut piece) {
            std::thread::sleep(Duration::from_millis(self.delay_ms.load(Ordering::SeqCst)));
            while self.held.load(Ordering::SeqCst) {
                std::thread::sleep(Duration::from_millis(10));
            }
            if to.write_all(&piece[..read]).is_err() {
                break;
            }
        }
        let _ = to.shutdown(std::net::Shutdown::Both);
        let _ = from.shutdown(std::net::Shutdown::Both);
    }
}
