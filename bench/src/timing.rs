//! `bench timing`: whether the time of a refusal tells anything (TORTURE A10).
//!
//! Two sorts of requests that are refused alike are sent in random order, each waited for. Welch's t says how far apart
//! their means are in terms of their own noise; below 4.5 nobody could tell (Goodwill and others, 2011, whose threshold
//! it is). The slowest tenth of all, which the scheduler of the machine made, is cut away for both alike, as dudect does.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use authority::key_format::{self, KeyKind};
use base::{Clock as _, SharedRandom, SystemClock, SystemRandom};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};

use crate::Plan;
use crate::report::{Table, median, say};
use crate::switchyard::Switchyard;

/// Checks of keys a round, of both sorts together.
const KEYS_A_ROUND: usize = 40_000;
/// Sign-ins a round: each hashes a password.
const LOGINS_A_ROUND: usize = 400;
/// Resets a round.
const RESETS_A_ROUND: usize = 4_000;
/// Share of the samples, from the fastest, that is compared.
const KEPT: f64 = 0.9;
/// Longest that one answer may take.
const ANSWER_MAX: Duration = Duration::from_secs(30);
const BASE62: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

pub(crate) fn run(plan: Plan) -> Result<(), String> {
    std::fs::create_dir_all("target").map_err(|error| format!("make target: {error}"))?;
    let folder =
        tempfile::tempdir_in("target").map_err(|error| format!("make a temporary folder: {error}"))?;
    let switchyard = Switchyard::start(folder.path(), None, 60)?;
    switchyard.tenant("acme", "pro")?;
    let key = switchyard.key("acme")?;
    let control = switchyard.control_address().parse().map_err(|error| format!("an address: {error}"))?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| format!("start a runtime: {error}"))?;
    let bench = Bench { control, clock: SystemClock::new(), random: SystemRandom::shared() };
    let rows = runtime.block_on(async {
        let mut rows = Vec::new();
        rows.push(bench.keys(&key, KEYS_A_ROUND * plan.rounds).await?);
        bench.accept(&switchyard).await?;
        rows.push(bench.logins(LOGINS_A_ROUND * plan.rounds).await?);
        rows.push(bench.resets(RESETS_A_ROUND * plan.rounds).await?);
        Ok::<_, String>(rows)
    })?;
    let head = ["what", "one sort", "other sort", "samples", "its median, us", "the other's, us", "Welch t"];
    Table {
        title: "What the time of a refusal tells (A10)".to_owned(),
        head: head.map(str::to_owned).to_vec(),
        rows,
        notes: vec![
            "|t| below 4.5 tells nothing. The slowest tenth is cut away for both sorts alike.".to_owned(),
        ],
    }
    .publish()
}

struct Bench {
    control: SocketAddr,
    clock: SystemClock,
    random: SharedRandom,
}

/// Times of both sorts, in microseconds.
#[derive(Default)]
struct Samples([Vec<f64>; 2]);

impl Bench {
    /// Keys that share all but the last bytes with one that works, and keys out of nothing; both are well-formed.
    async fn keys(&self, key: &str, count: usize) -> Result<Vec<String>, String> {
        let secret = secret_of(key).ok_or("a key that cannot be read")?;
        let kind = key_format::check(key).unwrap_or(KeyKind::Live);
        let mut stream = TcpStream::connect(self.control).await.map_err(told)?;
        stream.set_nodelay(true).map_err(told)?;
        let mut samples = Samples::default();
        for _ in 0..count {
            let sort = self.sort();
            let mut bytes = self.random.array::<{ key_format::SECRET_BYTES }>();
            if sort == 0 {
                bytes[..28].copy_from_slice(&secret[..28]);
            }
            let text = key_format::encode(kind, &bytes);
            let request =
                format!("GET /api/v1/me HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {text}\r\n\r\n");
            let began = self.clock.monotonic();
            let status = exchange(&mut stream, &request).await?;
            samples.0[sort].push((self.clock.monotonic() - began).as_secs_f64() * 1e6);
            expect(status, 401)?;
        }
        Ok(samples.row("key", ("begins like a valid one", "random")))
    }

    /// Somebody gets an account.
    async fn accept(&self, switchyard: &Switchyard) -> Result<(), String> {
        let member = json!({"email": "known@acme.example", "role": "viewer"});
        switchyard.post("/api/v1/tenants/acme/members", &member)?;
        let letters = switchyard.get("/api/v1/outbox?limit=1")?;
        let text = letters["data"][0]["text"].as_str().unwrap_or_default();
        let token = text.split("token=").nth(1).and_then(|rest| rest.split_whitespace().next());
        let token = token.ok_or("no link in the letter")?;
        let body = json!({"token": token, "password": "four words make it"});
        expect(self.post("/api/v1/auth/invitations", &body, 0).await?.0, 201)
    }

    /// Wrong passwords of an account and of none, each from an address of its own: nobody is slowed down.
    async fn logins(&self, count: usize) -> Result<Vec<String>, String> {
        let mut samples = Samples::default();
        for number in 0..count {
            let sort = self.sort();
            let email = self.address(sort);
            let body = json!({"email": email, "password": "not this one at all"});
            let (status, took) = self.post("/api/v1/auth/login", &body, number + 1).await?;
            expect(status, 401)?;
            samples.0[sort].push(took);
        }
        Ok(samples.row("sign-in", ("an account, wrong password", "no account")))
    }

    /// Asked-for resets of an account and of none.
    async fn resets(&self, count: usize) -> Result<Vec<String>, String> {
        let mut samples = Samples::default();
        for number in 0..count {
            let sort = self.sort();
            let body = json!({ "email": self.address(sort) });
            let (status, took) = self.post("/api/v1/auth/reset", &body, number + 1_000_000).await?;
            // The line behind the answer may be full for a moment; that is the same for both.
            if status == 202 {
                samples.0[sort].push(took);
            }
        }
        Ok(samples.row("reset", ("an account", "no account")))
    }

    fn sort(&self) -> usize {
        usize::from(self.random.array::<1>()[0] & 1)
    }

    /// Addresses of the same length, so that nothing but there being an account tells them apart.
    fn address(&self, sort: usize) -> &'static str {
        ["known@acme.example", "other@acme.example"][sort]
    }

    /// One request on a connection of its own, from the `number`th address of this machine: status and microseconds.
    async fn post(&self, path: &str, body: &Value, number: usize) -> Result<(u16, f64), String> {
        let [_, a, b, c] = u32::try_from(number + 2).unwrap_or(u32::MAX).to_be_bytes();
        let from = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(127, a, b, c)), 0);
        let socket = TcpSocket::new_v4().map_err(told)?;
        socket.bind(from).map_err(told)?;
        let mut stream = socket.connect(self.control).await.map_err(told)?;
        stream.set_nodelay(true).map_err(told)?;
        let body = body.to_string();
        let request = format!(
            "POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        let began = self.clock.monotonic();
        let status = exchange(&mut stream, &request).await?;
        Ok((status, (self.clock.monotonic() - began).as_secs_f64() * 1e6))
    }
}

/// Sends a request and reads its answer whole, as far as `Content-Length` says.
async fn exchange(stream: &mut TcpStream, request: &str) -> Result<u16, String> {
    let answer = async {
        stream.write_all(request.as_bytes()).await?;
        let mut read = Vec::with_capacity(2_048);
        loop {
            let head = memchr::memmem::find(&read, b"\r\n\r\n").map(|at| at + 4);
            if let Some(head) = head.filter(|head| read.len() >= head + length(&read[..*head])) {
                return Ok(read[..head].to_vec());
            }
            if stream.read_buf(&mut read).await? == 0 {
                return Err(std::io::Error::from(std::io::ErrorKind::UnexpectedEof));
            }
        }
    };
    let head = tokio::time::timeout(ANSWER_MAX, answer).await.map_err(|_| "no answer in time")?;
    let head = head.map_err(told)?;
    let status = head.get(9..12).and_then(|text| std::str::from_utf8(text).ok()?.parse().ok());
    status.ok_or_else(|| "an answer without a status".to_owned())
}

fn length(head: &[u8]) -> usize {
    let head = String::from_utf8_lossy(head).to_ascii_lowercase();
    let line = head.lines().find_map(|line| line.strip_prefix("content-length:"));
    line.and_then(|value| value.trim().parse().ok()).unwrap_or(0)
}

fn expect(status: u16, wanted: u16) -> Result<(), String> {
    if status == wanted { Ok(()) } else { Err(format!("{status} instead of {wanted}")) }
}

fn told(error: std::io::Error) -> String {
    format!("speak to the control API: {error}")
}

/// The random bytes of a key.
fn secret_of(key: &str) -> Option<[u8; key_format::SECRET_BYTES]> {
    let digits = key.rsplit('_').next()?.get(..43)?;
    let mut number = [0_u8; key_format::SECRET_BYTES];
    for digit in digits.bytes() {
        let mut carry = BASE62.iter().position(|one| *one == digit)?;
        for byte in number.iter_mut().rev() {
            let value = usize::from(*byte) * 62 + carry;
            *byte = u8::try_from(value % 256).ok()?;
            carry = value / 256;
        }
    }
    Some(number)
}

impl Samples {
    fn row(&self, what: &str, (one, other): (&str, &str)) -> Vec<String> {
        let mut all: Vec<f64> = self.0.iter().flatten().copied().collect();
        all.sort_by(f64::total_cmp);
        let cut = all.get((all.len() as f64 * KEPT) as usize).copied().unwrap_or(f64::INFINITY);
        let kept: Vec<Vec<f64>> =
            self.0.iter().map(|sort| sort.iter().copied().filter(|time| *time < cut).collect()).collect();
        let t = welch(&kept[0], &kept[1]);
        say(&format!("{what}: t = {t:.2} over {} samples", all.len()));
        vec![
            what.to_owned(),
            one.to_owned(),
            other.to_owned(),
            all.len().to_string(),
            format!("{:.1}", median(kept[0].iter().copied())),
            format!("{:.1}", median(kept[1].iter().copied())),
            format!("{t:.2}"),
        ]
    }
}

/// Welch's t of two samples.
fn welch(one: &[f64], other: &[f64]) -> f64 {
    let moments = |values: &[f64]| {
        let count = values.len() as f64;
        let mean = values.iter().sum::<f64>() / count;
        let variance = values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / (count - 1.0);
        (mean, variance / count)
    };
    let ((mean, error), (other_mean, other_error)) = (moments(one), moments(other));
    (mean - other_mean) / (error + other_error).sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bytes_of_a_key_are_read_back() {
        let secret: [u8; 32] = std::array::from_fn(|index| u8::try_from(index * 7).unwrap_or(0));
        assert_eq!(secret_of(&key_format::encode(KeyKind::Test, &secret)), Some(secret));
    }

    #[test]
    fn welch_tells_what_differs_from_what_does_not() {
        // The first worked example of the usual textbook table: unequal variances, t about -2.46.
        let one = [27.5, 21.0, 19.0, 23.6, 17.0, 17.9, 16.9, 20.1, 21.9, 22.6, 23.1, 19.6, 19.0, 21.7, 21.4];
        let other =
            [27.1, 22.0, 20.8, 23.4, 23.4, 23.5, 25.8, 22.0, 24.8, 20.2, 21.9, 22.1, 22.9, 30.5, 25.0];
        let t = welch(&one, &other);
        assert!((-3.0..-2.0).contains(&t), "{t}");
        assert!(welch(&one, &one).abs() < 1e-9);
    }
}
