//! TXT records of a name, as the machine's name servers have them (RFC 1035, with the larger datagrams of RFC 6891).
//!
//! A stub resolver: it asks a recursive one and follows the aliases in its answer. An answer counts if it comes from the server
//! that was asked, has the query's number and repeats its question; one that is cut off is asked for again over TCP.
//!
//! Deliberately absent: a cache (what is asked for has just changed), search domains, DNSSEC (the machine's own resolver is trusted
//! with addresses already), and all other types of records.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use base::SharedRandom;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};

/// Where the system names its resolvers (resolv.conf(5)).
const RESOLV_CONF: &str = "/etc/resolv.conf";
/// Servers that are asked, as the system's own resolver does.
const SERVERS_MAX: usize = 3;
/// Rounds over all servers.
const ROUNDS: usize = 2;
/// Wait for one answer.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(2);
/// A datagram that passes every network unbroken.
const DATAGRAM_BYTES_MAX: usize = 1_232;
/// An answer over TCP: as much as its length field can say.
const ANSWER_BYTES_MAX: usize = 65_535;
/// Records of an answer that are read.
const RECORDS_MAX: usize = 256;
/// Aliases that are followed.
const ALIASES_MAX: usize = 8;
/// A name, in bytes (RFC 1035, 2.3.4).
const NAME_BYTES_MAX: usize = 253;

const TYPE_CNAME: u16 = 5;
const TYPE_TXT: u16 = 16;
const TYPE_OPT: u16 = 41;
const CLASS_IN: u16 = 1;

/// Why there is no answer: neither yes nor no.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DnsError {
    /// The name is longer than names can be, or a label is.
    #[error("the name is too long for a name server")]
    Name,
    /// No server answered in time, or none could.
    #[error("no name server answers: {0}")]
    Unavailable(String),
}

/// Asks name servers.
#[derive(Clone)]
pub struct Dns {
    /// Empty: those of the system, read anew for each question.
    servers: Vec<SocketAddr>,
    random: SharedRandom,
}

impl fmt::Debug for Dns {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Dns").field("servers", &self.servers).finish_non_exhaustive()
    }
}

impl Dns {
    /// Asks the servers that the system names.
    pub fn system(random: SharedRandom) -> Dns {
        Dns { servers: Vec::new(), random }
    }

    /// Asks these.
    pub fn of(servers: Vec<SocketAddr>, random: SharedRandom) -> Dns {
        Dns { servers, random }
    }

    /// The texts of a name, each with its parts joined; none when the name has none or does not exist. Takes twelve seconds at
    /// most.
    ///
    /// # Errors
    /// [`DnsError`] when that is not known.
    pub async fn txt(&self, name: &str) -> Result<Vec<String>, DnsError> {
        let question = question(name)?;
        let servers = if self.servers.is_empty() { system_servers() } else { self.servers.clone() };
        let mut last = "the system names none".to_owned();
        for _ in 0..ROUNDS {
            for server in servers.iter().take(SERVERS_MAX) {
                match self.ask(*server, &question).await {
                    Ok(texts) => return Ok(texts),
                    Err(error) => last = format!("{server}: {error}"),
                }
            }
        }
        Err(DnsError::Unavailable(last))
    }

    async fn ask(&self, server: SocketAddr, question: &[u8]) -> Result<Vec<String>, String> {
        let mut number = [0; 2];
        self.random.fill(&mut number);
        let query = query(number, question);
        let within = |error: tokio::time::error::Elapsed| error.to_string();
        let reply =
            tokio::time::timeout(ANSWER_TIME_MAX, by_datagram(server, &query)).await.map_err(within)?;
        match read(&reply.map_err(|error| error.to_string())?, number, question) {
            Ok(texts) => Ok(texts),
            Err(Unread::CutOff) => {
                let reply =
                    tokio::time::timeout(ANSWER_TIME_MAX, by_stream(server, &query)).await.map_err(within)?;
                read(&reply.map_err(|error| error.to_string())?, number, question)
                    .map_err(|unread| unread.to_string())
            }
            Err(unread) => Err(unread.to_string()),
        }
    }
}

fn system_servers() -> Vec<SocketAddr> {
    let text = std::fs::read_to_string(RESOLV_CONF).unwrap_or_default();
    let named = text.lines().filter_map(|line| {
        let mut words = line.split_whitespace();
        let address = (words.next() == Some("nameserver")).then(|| words.next()).flatten()?;
        Some(SocketAddr::new(address.parse().ok()?, 53))
    });
    named.take(SERVERS_MAX).collect()
}

async fn by_datagram(server: SocketAddr, query: &[u8]) -> std::io::Result<Vec<u8>> {
    let any = match server.ip() {
        IpAddr::V4(_) => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        IpAddr::V6(_) => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
    };
    let socket = UdpSocket::bind(SocketAddr::new(any, 0)).await?;
    socket.connect(server).await?;
    socket.send(query).await?;
    let mut reply = vec![0; DATAGRAM_BYTES_MAX];
    loop {
        let length = socket.recv(&mut reply).await?;
        // A datagram of another number is no answer to this; the true one may still come.
        if reply.get(..2) == query.get(..2) {
            reply.truncate(length);
            return Ok(reply);
        }
    }
}

async fn by_stream(server: SocketAddr, query: &[u8]) -> std::io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect(server).await?;
    let length = u16::try_from(query.len()).unwrap_or(u16::MAX);
    stream.write_all(&[&length.to_be_bytes(), query].concat()).await?;
    let length = usize::from(stream.read_u16().await?).min(ANSWER_BYTES_MAX);
    let mut reply = vec![0; length];
    stream.read_exact(&mut reply).await?;
    Ok(reply)
}

/// Name, type and class, as they stand in a message.
fn question(name: &str) -> Result<Vec<u8>, DnsError> {
    let name = name.trim_end_matches('.');
    if name.is_empty() || name.len() > NAME_BYTES_MAX {
        return Err(DnsError::Name);
    }
    let mut question = Vec::with_capacity(name.len() + 6);
    for label in name.split('.') {
        let length = u8::try_from(label.len()).ok().filter(|length| (1..=63).contains(length));
        question.push(length.ok_or(DnsError::Name)?);
        question.extend(label.bytes().map(|byte| byte.to_ascii_lowercase()));
    }
    question.push(0);
    question.extend(TYPE_TXT.to_be_bytes());
    question.extend(CLASS_IN.to_be_bytes());
    Ok(question)
}

/// One question, recursion desired, and the size of datagram that is taken.
fn query(number: [u8; 2], question: &[u8]) -> Vec<u8> {
    let mut query = Vec::with_capacity(question.len() + 23);
    query.extend(number);
    query.extend([0x01, 0x00, 0, 1, 0, 0, 0, 0, 0, 1]);
    query.extend(question);
    query.push(0);
    query.extend(TYPE_OPT.to_be_bytes());
    query.extend((DATAGRAM_BYTES_MAX as u16).to_be_bytes());
    query.extend([0; 6]);
    query
}

/// Why a message is no answer.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
enum Unread {
    #[error("the answer is cut off")]
    CutOff,
    #[error("the answer cannot be read")]
    Malformed,
    #[error("the answer is to another question")]
    Other,
    #[error("the server failed with code {0}")]
    Failed(u8),
}

fn read(message: &[u8], number: [u8; 2], question: &[u8]) -> Result<Vec<String>, Unread> {
    let mut reader = Reader { message, at: 0 };
    let head: [u8; 12] = reader.take(12)?.try_into().map_err(|_| Unread::Malformed)?;
    if head[..2] != number || head[2] & 0x80 == 0 || head[4..6] != [0, 1] {
        return Err(Unread::Other);
    }
    let asked = reader.take(question.len())?;
    if !asked.eq_ignore_ascii_case(question) {
        return Err(Unread::Other);
    }
    if head[2] & 0x02 != 0 {
        return Err(Unread::CutOff);
    }
    match head[3] & 0x0f {
        0 => {}
        // There is no such name.
        3 => return Ok(Vec::new()),
        code => return Err(Unread::Failed(code)),
    }
    let count = usize::from(u16::from_be_bytes([head[6], head[7]])).min(RECORDS_MAX);
    let mut records = Vec::with_capacity(count);
    for _ in 0..count {
        records.push(reader.record()?);
    }
    let mut owner = Reader { message: question, at: 0 }.name()?;
    for _ in 0..ALIASES_MAX {
        let alias = records.iter().find(|record| record.owner == owner && record.kind == TYPE_CNAME);
        let Some(alias) = alias else { break };
        owner = Reader { message, at: alias.at }.name()?;
    }
    let texts = records.iter().filter(|record| record.owner == owner && record.kind == TYPE_TXT);
    texts.map(|record| text(message.get(record.at..record.end).unwrap_or_default())).collect()
}

/// The character strings of one record, joined.
fn text(mut data: &[u8]) -> Result<String, Unread> {
    let mut bytes = Vec::with_capacity(data.len());
    while let [length, rest @ ..] = data {
        let length = usize::from(*length);
        bytes.extend(rest.get(..length).ok_or(Unread::Malformed)?);
        data = &rest[length..];
    }
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

struct Record {
    owner: Vec<u8>,
    kind: u16,
    /// Where its data is in the message.
    at: usize,
    end: usize,
}

struct Reader<'a> {
    message: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    fn take(&mut self, count: usize) -> Result<&'a [u8], Unread> {
        let end = self.at.checked_add(count).ok_or(Unread::Malformed)?;
        let taken = self.message.get(self.at..end).ok_or(Unread::Malformed)?;
        self.at = end;
        Ok(taken)
    }

    fn number(&mut self) -> Result<u16, Unread> {
        let bytes = self.take(2)?;
        Ok(u16::from_be_bytes([bytes[0], bytes[1]]))
    }

    fn record(&mut self) -> Result<Record, Unread> {
        let owner = self.name()?;
        let (kind, _class) = (self.number()?, self.number()?);
        self.take(4)?;
        let length = usize::from(self.number()?);
        let at = self.at;
        self.take(length)?;
        Ok(Record { owner, kind, at, end: self.at })
    }

    /// A name in lower case. A pointer leads to what stands before it, so that following them ends.
    fn name(&mut self) -> Result<Vec<u8>, Unread> {
        let mut name = Vec::new();
        let (mut at, mut behind) = (self.at, None);
        loop {
            let length = *self.message.get(at).ok_or(Unread::Malformed)?;
            if length & 0xc0 == 0xc0 {
                let low = *self.message.get(at + 1).ok_or(Unread::Malformed)?;
                let to = (usize::from(length & 0x3f) << 8) | usize::from(low);
                if to >= at {
                    return Err(Unread::Malformed);
                }
                behind.get_or_insert(at + 2);
                at = to;
                continue;
            }
            if length > 63 || name.len() > NAME_BYTES_MAX {
                return Err(Unread::Malformed);
            }
            if length == 0 {
                self.at = behind.unwrap_or(at + 1);
                return Ok(name);
            }
            let label = self.message.get(at + 1..at + 1 + usize::from(length)).ok_or(Unread::Malformed)?;
            name.extend(label.iter().map(u8::to_ascii_lowercase));
            name.push(b'.');
            at += 1 + usize::from(length);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NUMBER: [u8; 2] = [7, 9];

    /// A reply to the question: flags, then each record's owner (a pointer or name), type and data.
    fn reply(flags: [u8; 2], question: &[u8], records: &[(&[u8], u16, Vec<u8>)]) -> Vec<u8> {
        let mut reply = Vec::from(NUMBER);
        reply.extend(flags);
        reply.extend([0, 1, 0, u8::try_from(records.len()).unwrap(), 0, 0, 0, 0]);
        reply.extend(question);
        for (owner, kind, data) in records {
            reply.extend(*owner);
            reply.extend(kind.to_be_bytes());
            reply.extend([0, 1, 0, 0, 0, 60]);
            reply.extend(u16::try_from(data.len()).unwrap().to_be_bytes());
            reply.extend(data);
        }
        reply
    }

    fn strings(parts: &[&str]) -> Vec<u8> {
        parts
            .iter()
            .flat_map(|part| [&[u8::try_from(part.len()).unwrap()], part.as_bytes()].concat())
            .collect()
    }

    const ASKED: &[u8] = &[0xc0, 12];
    const FINE: [u8; 2] = [0x81, 0x80];

    #[test]
    fn texts_are_joined_from_their_parts_and_aliases_are_followed() {
        let question = question("_switchyard.Acme.example").unwrap();
        let plain = reply(FINE, &question, &[(ASKED, TYPE_TXT, strings(&["one ", "text"]))]);
        assert_eq!(read(&plain, NUMBER, &question).unwrap(), ["one text"]);
        let target = b"\x03txt\x05other\x00";
        let alias = reply(
            FINE,
            &question,
            &[
                (ASKED, TYPE_CNAME, target.to_vec()),
                (target, TYPE_TXT, strings(&["there"])),
                (b"\x05other\x00", TYPE_TXT, strings(&["not asked for"])),
            ],
        );
        assert_eq!(read(&alias, NUMBER, &question).unwrap(), ["there"]);
        let none = reply([0x81, 0x83], &question, &[]);
        assert_eq!(read(&none, NUMBER, &question).unwrap(), Vec::<String>::new());
    }

    #[test]
    fn what_is_no_answer_is_none() {
        let question = question("acme.example").unwrap();
        let good = reply(FINE, &question, &[(ASKED, TYPE_TXT, strings(&["text"]))]);
        assert_eq!(read(&good, [7, 8], &question), Err(Unread::Other));
        let elsewhere = super::question("evil.example").unwrap();
        assert_eq!(read(&good, NUMBER, &elsewhere), Err(Unread::Other));
        assert_eq!(read(&reply([0x83, 0x80], &question, &[]), NUMBER, &question), Err(Unread::CutOff));
        assert_eq!(read(&reply([0x81, 0x82], &question, &[]), NUMBER, &question), Err(Unread::Failed(2)));
        // A pointer to itself, and every cut of a good one.
        let at = u8::try_from(12 + question.len()).unwrap();
        let circle = reply(FINE, &question, &[(&[0xc0, at], TYPE_TXT, strings(&["text"]))]);
        assert_eq!(read(&circle, NUMBER, &question), Err(Unread::Malformed));
        for end in 0..good.len() {
            assert!(read(&good[..end], NUMBER, &question).is_err(), "cut at {end}");
        }
    }

    #[test]
    fn names_are_as_long_as_names_can_be() {
        assert!(question(&format!("{}.example", "a".repeat(63))).is_ok());
        assert_eq!(question(&format!("{}.example", "a".repeat(64))), Err(DnsError::Name));
        assert_eq!(question(&"a.".repeat(127)), question(&"a.".repeat(127)));
        assert_eq!(question("a..example"), Err(DnsError::Name));
    }
}
