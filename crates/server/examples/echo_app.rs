//! The smallest app the end-to-end tests can run under Switchyard: it listens on `PORT` and answers every request with
//! what it saw, so that a test can read the headers that the gateway added. Standard library only.
//!
//! `/health` 200 (or 503 when `UNHEALTHY` is set), `/slow` answers after 300 ms, `/hang` after a minute, `/exit` ends the process with code 3,
//! anything else a JSON object `{pid, version, path, headers}`.
#![expect(
    clippy::disallowed_methods,
    reason = "an app of a user's, outside the product: it has no supervisor"
)]

use std::env;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::thread;
use std::time::Duration;

fn main() -> std::io::Result<()> {
    let port: u16 = env::var("PORT").ok().and_then(|p| p.parse().ok()).unwrap_or(3000);
    let listener = TcpListener::bind(("127.0.0.1", port))?;
    for stream in listener.incoming().flatten() {
        thread::spawn(move || serve(stream));
    }
    Ok(())
}

fn serve(stream: TcpStream) {
    let Ok(write_half) = stream.try_clone() else { return };
    let mut reader = BufReader::new(stream);
    let mut writer = write_half;
    while let Some((path, headers)) = read_head(&mut reader) {
        let (status, body) = answer(&path, &headers);
        let head = format!(
            "HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
            body.len()
        );
        if writer.write_all(head.as_bytes()).and_then(|()| writer.write_all(body.as_bytes())).is_err() {
            return;
        }
    }
}

/// Reads one request; its body, if it has a length, is read and forgotten.
fn read_head(reader: &mut BufReader<TcpStream>) -> Option<(String, Vec<(String, String)>)> {
    let mut line = String::new();
    reader.read_line(&mut line).ok().filter(|n| *n > 0)?;
    let path = line.split(' ').nth(1)?.to_owned();
    let mut headers = Vec::new();
    loop {
        let mut header = String::new();
        reader.read_line(&mut header).ok().filter(|n| *n > 0)?;
        let header = header.trim_end();
        if header.is_empty() {
            break;
        }
        let (name, value) = header.split_once(':')?;
        headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
    }
    let length = headers.iter().find(|(n, _)| n == "content-length").and_then(|(_, v)| v.parse().ok());
    let mut body = vec![0; length.unwrap_or(0)];
    reader.read_exact(&mut body).ok()?;
    Some((path, headers))
}

fn answer(path: &str, headers: &[(String, String)]) -> (&'static str, String) {
    match path {
        "/health" if env::var_os("UNHEALTHY").is_some() => ("503 Service Unavailable", "{}".to_owned()),
        "/health" => ("200 OK", "{}".to_owned()),
        "/exit" => std::process::exit(3),
        _ => {
            match path {
                "/slow" => thread::sleep(Duration::from_millis(300)),
                "/hang" => thread::sleep(Duration::from_secs(60)),
                _ => {}
            }
            ("200 OK", describe(path, headers))
        }
    }
}

fn describe(path: &str, headers: &[(String, String)]) -> String {
    let listed: Vec<String> =
        headers.iter().map(|(name, value)| format!("{}:{}", quote(name), quote(value))).collect();
    let version = env::var("APP_VERSION").unwrap_or_default();
    format!(
        "{{\"pid\":{},\"version\":{},\"path\":{},\"headers\":{{{}}}}}",
        std::process::id(),
        quote(&version),
        quote(path),
        listed.join(",")
    )
}

fn quote(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            c if c.is_control() => out.push(' '),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}
