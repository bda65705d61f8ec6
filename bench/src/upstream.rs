//! The service behind the gateways: one thread, 1 KiB bodies, keep-alive, no work.

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::LocalSet;

const BODY_BYTES: usize = 1024;
/// Longest head that is read.
const HEAD_BYTES_MAX: usize = 16 * 1024;

pub(crate) fn run(port: &str) -> Result<(), String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| format!("start a runtime: {error}"))?;
    runtime.block_on(LocalSet::new().run_until(accept(format!("127.0.0.1:{port}"))))
}

async fn accept(address: String) -> Result<(), String> {
    let listener = TcpListener::bind(&address).await.map_err(|error| format!("bind {address}: {error}"))?;
    let answer: &'static [u8] = Box::leak(answer().into_boxed_slice());
    loop {
        let (stream, _) = listener.accept().await.map_err(|error| format!("accept: {error}"))?;
        tokio::task::spawn_local(async move {
            // A connection that breaks is the peer's matter.
            let _ended = serve(stream, answer).await;
        });
    }
}

fn answer() -> Vec<u8> {
    let head = format!("HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: {BODY_BYTES}\r\n\r\n");
    [head.as_bytes(), &[b'x'; BODY_BYTES]].concat()
}

/// Answers each head that ends; requests have no bodies here.
async fn serve(mut stream: TcpStream, answer: &[u8]) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let mut buffer = vec![0_u8; HEAD_BYTES_MAX];
    let mut filled = 0;
    loop {
        let count = stream.read(&mut buffer[filled..]).await?;
        if count == 0 {
            return Ok(());
        }
        filled += count;
        while let Some(end) = memchr::memmem::find(&buffer[..filled], b"\r\n\r\n") {
            stream.write_all(answer).await?;
            buffer.copy_within(end + 4..filled, 0);
            filled -= end + 4;
        }
    }
}
