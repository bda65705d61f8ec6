//! What goes on for longer than a request: streams of events and sockets.

use std::net::SocketAddr;
use std::time::Duration;

use http_body_util::BodyExt as _;
use lifecycle::{Stop, StopHandle, Supervisor, TaskKind};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::api_app::{App, apps};

/// The app on a socket.
struct Listener {
    addr: SocketAddr,
    handle: StopHandle,
    supervisor: Supervisor,
}

impl Listener {
    fn of(app: &App) -> Listener {
        let supervisor = Supervisor::new(base::SystemClock::shared());
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let listener = lifecycle::bind_tcp(any, "test", "test").unwrap();
        let addr = listener.local_addr().unwrap();
        let (handle, stop) = Stop::pair();
        let tasks = supervisor.tasks(TaskKind::Listener, "connections");
        let server = app.app.server.clone();
        supervisor.spawn(TaskKind::Listener, "listener", async move {
            Ok(server.serve(listener, tasks, stop).await?)
        });
        Listener { addr, handle, supervisor }
    }

    async fn end(self) {
        self.handle.stop();
        self.supervisor.stop(Duration::from_secs(10)).await.unwrap();
    }
}

/// A worker on a socket. The caller is the first client that the app made: its operator.
struct Worker(TcpStream);

impl Worker {
    async fn connect(listener: &Listener) -> Worker {
        let mut stream = TcpStream::connect(listener.addr).await.unwrap();
        let head = "GET /api/v1/queues/runs/socket HTTP/1.1\r\nHost: a\r\nx-test-caller: 0\r\nConnection: Upgrade\r\n\
                    Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
        stream.write_all(head.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        while !answer.ends_with(b"\r\n\r\n") {
            answer.push(stream.read_u8().await.unwrap());
        }
        assert!(answer.starts_with(b"HTTP/1.1 101 "), "{}", String::from_utf8_lossy(&answer));
        Worker(stream)
    }

    async fn say(&mut self, message: Value) {
        let payload = message.to_string().into_bytes();
        let length = u16::try_from(payload.len()).unwrap();
        // A mask of zeroes leaves the bytes as they are.
        let mut frame = vec![0x81, 0xfe];
        frame.extend(length.to_be_bytes());
        frame.extend([0; 4]);
        frame.extend(payload);
        self.0.write_all(&frame).await.unwrap();
    }

    async fn hear(&mut self) -> Value {
        let head = self.0.read_u8().await.unwrap();
        assert_eq!(head, 0x81, "a text message");
        let length = match self.0.read_u8().await.unwrap() {
            126 => usize::from(self.0.read_u16().await.unwrap()),
            short => usize::from(short),
        };
        let mut payload = vec![0; length];
        self.0.read_exact(&mut payload).await.unwrap();
        serde_json::from_slice(&payload).unwrap()
    }
}

#[tokio::test]
async fn jobs_come_over_a_socket_as_there_is_room() {
    apps(|app: App| async move {
        let listener = Listener::of(&app);
        let service = app.service();
        let mut worker = Worker::connect(&listener).await;
        worker.say(json!({"type": "ready", "slots": 1, "lease": "1m", "worker": "w1"})).await;
        let first = app.add(&service, json!({"payload": {"n": 1}})).await;
        let second = app.add(&service, json!({"payload": {"n": 2}})).await;
        let message = worker.hear().await;
        assert_eq!((&message["type"], &message["job"]["id"]), (&json!("job"), &json!(first)));
        let lease = &message["job"]["lease"];
        worker.say(json!({"type": "heartbeat", "jobs": [{"id": first, "lease": lease}]})).await;
        let beat = worker.hear().await;
        assert_eq!((&beat["type"], &beat["data"][0]["cancel"]), (&json!("leases"), &json!(false)));
        worker.say(json!({"type": "progress", "id": first, "lease": lease, "percent": 40})).await;
        assert_eq!(worker.hear().await["type"], "leases");
        worker.say(json!({"type": "complete", "jobs": [{"id": first, "lease": lease, "result": 1}]})).await;
        assert_eq!(worker.hear().await["data"][0]["status"], "completed");
        // There was room for one; the second comes when there is room again.
        worker.say(json!({"type": "ready", "slots": 1})).await;
        let message = worker.hear().await;
        assert_eq!(message["job"]["id"], json!(second));
        // A worker hears that its job was cancelled.
        service.post(&format!("/api/v1/jobs/{second}/cancel"), Value::Null).await.ok(200);
        let notice = worker.hear().await;
        assert_eq!((&notice["type"], &notice["id"]), (&json!("cancel"), &json!(second)));
        let failed =
            json!({"type": "fail", "id": second, "lease": message["job"]["lease"], "error": "stopped"});
        worker.say(failed).await;
        assert_eq!(worker.hear().await["data"][0]["status"], "cancelled");
        worker.say(json!({"type": "dance"})).await;
        assert_eq!(worker.hear().await["error"]["code"], "invalid");
        drop(worker);
        listener.end().await;
    })
    .await;
}

#[tokio::test]
async fn events_are_a_stream_that_goes_on_where_it_was_cut() {
    apps(|app: App| async move {
        let service = app.service();
        let read = |after: Option<u64>| {
            let app = app.clone();
            async move {
                let mut request =
                    http::Request::get("/api/v1/queues/runs/events").header("x-test-caller", "0");
                if let Some(after) = after {
                    request = request.header("last-event-id", after.to_string());
                }
                let request = request.body(String::new()).unwrap();
                let response = app.app.server.handle(request.map(Into::into), None).await;
                assert_eq!(response.status(), 200);
                assert_eq!(response.headers()["content-type"], "text/event-stream");
                response.into_body()
            }
        };
        let mut body = read(None).await;
        let id = app.add(&service, json!({"payload": 1})).await;
        let job = app.claim(&service).await;
        service.post(&format!("/api/v1/jobs/{id}/complete"), json!({"lease": job["lease"]})).await.ok(200);
        let mut seen: Vec<(u64, String)> = Vec::new();
        while !seen.iter().any(|(_, kind)| kind == "completed") {
            let chunk = body.frame().await.unwrap().unwrap().into_data().unwrap();
            seen.extend(events(&String::from_utf8_lossy(&chunk)));
        }
        let kinds: Vec<&str> = seen.iter().map(|(_, kind)| kind.as_str()).collect();
        assert_eq!(kinds, ["added", "active", "completed"]);
        // Once more from the second on.
        let mut body = read(Some(seen[0].0)).await;
        let mut again = Vec::new();
        while again.len() < 2 {
            let chunk = body.frame().await.unwrap().unwrap().into_data().unwrap();
            again.extend(events(&String::from_utf8_lossy(&chunk)));
        }
        assert_eq!(again[..2], seen[1..3]);
    })
    .await;
}

/// Numbers and kinds of the events of a chunk.
fn events(chunk: &str) -> Vec<(u64, String)> {
    let of = |event: &str, name: &str| {
        event.lines().find_map(|line| line.strip_prefix(name)).map(|text| text.trim().to_owned())
    };
    let all = chunk.split("\n\n").filter(|event| event.contains("data:"));
    all.map(|event| (of(event, "id:").unwrap().parse().unwrap(), of(event, "event:").unwrap())).collect()
}
