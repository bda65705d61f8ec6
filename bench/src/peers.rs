//! nginx and haproxy as somebody who knows them would set them up for this: two workers, keep-alive on both sides,
//! pools deep enough, no log.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::process::{Process, free_port};

/// A proxy that runs, with the port that it listens at.
pub(crate) struct Peer {
    pub(crate) name: &'static str,
    pub(crate) process: Process,
    pub(crate) port: u16,
}

/// Starts nginx, when it is installed.
pub(crate) fn nginx(folder: &Path, upstream: u16) -> Result<Option<Peer>, String> {
    let Some(program) = find("nginx") else { return Ok(None) };
    let port = free_port()?;
    let here = folder.display();
    let config = format!(
        "worker_processes 2; pid {here}/nginx.pid; error_log {here}/nginx.errors; daemon off;
user root;
events {{ worker_connections 8192; }}
http {{
  access_log off;
  client_body_temp_path {here}/body; proxy_temp_path {here}/proxy; fastcgi_temp_path {here}/fastcgi;
  uwsgi_temp_path {here}/uwsgi; scgi_temp_path {here}/scgi;
  keepalive_requests 1000000000;
  upstream one {{ server 127.0.0.1:{upstream}; keepalive 1024; keepalive_requests 1000000000; }}
  server {{
    listen 127.0.0.1:{port} reuseport backlog=4096;
    location / {{ proxy_pass http://one; proxy_http_version 1.1; proxy_set_header Connection \"\"; proxy_set_header Host $host; }}
  }}
}}
"
    );
    // `user` is for root alone; anybody else gets a warning.
    let file = write(folder, "nginx.conf", &config)?;
    let mut command = Command::new(program);
    command.args(["-p", &here.to_string(), "-c", &file, "-e", &format!("{here}/nginx.errors")]);
    let mut process = Process::start("nginx", command, folder)?;
    process.wait_for_port(port)?;
    Ok(Some(Peer { name: "nginx, 2 workers, bare proxying", process, port }))
}

/// Starts haproxy, when it is installed.
pub(crate) fn haproxy(folder: &Path, upstream: u16) -> Result<Option<Peer>, String> {
    let Some(program) = find("haproxy") else { return Ok(None) };
    let port = free_port()?;
    let config = format!(
        "global
  nbthread 2
  maxconn 4096
defaults
  mode http
  timeout connect 5s
  timeout client 60s
  timeout server 60s
  http-reuse always
frontend in
  bind 127.0.0.1:{port}
  default_backend out
backend out
  server one 127.0.0.1:{upstream} pool-max-conn 1024
"
    );
    let file = write(folder, "haproxy.cfg", &config)?;
    let mut command = Command::new(program);
    command.args(["-db", "-f", &file]);
    let mut process = Process::start("haproxy", command, folder)?;
    process.wait_for_port(port)?;
    Ok(Some(Peer { name: "haproxy, 2 threads, bare proxying", process, port }))
}

fn write(folder: &Path, name: &str, text: &str) -> Result<String, String> {
    let file = folder.join(name);
    fs::write(&file, text).map_err(|error| format!("write {name}: {error}"))?;
    Ok(file.display().to_string())
}

/// Where PATH, or Debian's place for daemons, has a program.
pub(crate) fn find(name: &str) -> Option<std::path::PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::env::split_paths(&path).chain(["/usr/sbin".into(), "/usr/local/sbin".into()]);
    folders.map(|folder| folder.join(name)).find(|file| file.is_file())
}
