//! A SoupBinTCP connection: logged in on the cold plane, counted on the hot thread.
//!
//! What holds: no message is taken twice, and after a break the login asks for the one that follows the last one
//! taken. The number of that is the one thing that both planes share.

use super::CloseReason;
use super::transport::{BadPacket, MAX_PACKET_BYTES};
use anyhow::{Context, bail, ensure};
use market::moldudp64::Session;
use market::soupbintcp::{self, Client, Event, HEARTBEAT, HEARTBEAT_NS, Login, Reject, ServerPacket};
use std::sync::atomic::{AtomicU64, Ordering::*};
use std::sync::{Arc, Mutex, PoisonError};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// No number: nothing was taken yet; or the session is over, and the next one begins with its first message.
const NOTHING: u64 = 0;
const OVER: u64 = u64::MAX;

/// Who logs in, and to what.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct SoupPlan {
    pub(crate) username: String,
    pub(crate) password: String,
    /// The session; the one under way without a name.
    pub(crate) session: String,
    /// Whether the session is taken from its first message, or from the next one.
    pub(crate) from_start: bool,
}

impl std::fmt::Debug for SoupPlan {
    /// Without the password.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SoupPlan").field("username", &self.username).finish_non_exhaustive()
    }
}

/// Where a feed is to go on.
#[derive(Debug, Default)]
pub(crate) struct Resume {
    /// The session of the latest login. The hot thread does not look here.
    session: Mutex<Option<Session>>,
    /// The number of the next message to be taken. Written by the hot thread.
    next: AtomicU64,
}

impl Resume {
    /// The session and the number to ask for.
    fn wanted(&self, plan: &SoupPlan) -> (String, u64) {
        match (self.session(), self.next.load(Acquire)) {
            (_, OVER) => (String::new(), 1),
            (Some(session), next) if next != NOTHING => (session.to_string(), next),
            _ => (plan.session.clone(), plan.from_start.into()),
        }
    }

    fn session(&self) -> Option<Session> {
        *self.session.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes note of the session that the server has chosen. Whether it is the one that was followed.
    fn follows(&self, session: Session) -> bool {
        self.session.lock().unwrap_or_else(PoisonError::into_inner).replace(session) == Some(session)
    }
}

/// Logs in on a new connection. What the server sends behind its answer is not read yet.
pub(super) async fn login(
    stream: &mut TcpStream,
    plan: &SoupPlan,
    resume: &Arc<Resume>,
) -> anyhow::Result<SoupLink> {
    let (session, sequence) = resume.wanted(plan);
    let login = Login::new(&plan.username, &plan.password, &session, sequence)?;
    let mut client = Client::new(login, 0);
    stream.write_all(&client.connect(0)).await?;
    let mut answer = None;
    while answer.is_none() {
        let mut packet =
            stream.read_u16().await.context("the server closed instead of answering the login")?;
        let space = client.space();
        space[..2].copy_from_slice(&packet.to_be_bytes());
        packet = packet.min(MAX_ANSWER_BYTES);
        stream.read_exact(&mut space[2..2 + usize::from(packet)]).await?;
        client.received(2 + usize::from(packet), 0, &mut |event| match event {
            Event::Accepted { session, next, .. } => answer = Some(Ok((session, next))),
            Event::Rejected(reject) => answer = Some(Err(reject)),
            _ => {}
        })?;
    }
    let (session, position) = match answer.context("no answer")? {
        Ok(accepted) => accepted,
        Err(Reject::SessionNotAvailable) => {
            resume.next.store(OVER, Release);
            bail!(
                "the server has no session '{session}' with message {sequence}: the one under way is asked for next"
            );
        }
        Err(Reject::NotAuthorized) => bail!("the server refused the login: check username and password"),
        Err(Reject::Other(code)) => bail!("the server refused the login with code {code:#04x}"),
    };
    ensure!(position != OVER, "the server's sequence number leaves no room for a message");
    let is_same = resume.follows(session);
    tracing::info!("logged in to session '{session}' from message {position}");
    Ok(SoupLink { resume: resume.clone(), position, is_same, sent_ns: 0, has_begun: false })
}

/// Longer packets than this are not answers to a login, nor text before it.
const MAX_ANSWER_BYTES: u16 = 4_096;

/// The length of the first packet of a stream.
pub(super) fn packet_length(bytes: &[u8]) -> Result<Option<usize>, BadPacket> {
    const _: () = assert!(soupbintcp::MAX_PACKET_BYTES <= MAX_PACKET_BYTES);
    Ok(soupbintcp::packet_length(bytes))
}

/// What the hot thread knows of a connection.
#[derive(Debug)]
pub(crate) struct SoupLink {
    resume: Arc<Resume>,
    /// The number of the next message that the server sends.
    position: u64,
    /// Whether it is the session that was followed before.
    is_same: bool,
    sent_ns: u64,
    has_begun: bool,
}

/// What a packet brought, or a connection's beginning.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Came<'a> {
    Nothing,
    /// A message that was not there before.
    Message(&'a [u8]),
    /// A session begins: whether with its first message, and whether nothing was lost before it.
    Begin {
        is_whole: bool,
        is_proven: bool,
    },
    /// These messages were not sent again.
    Lost(u64, u64),
}

impl SoupLink {
    /// The connection is here: what that means. Only the first call says something.
    pub(super) fn begin(&mut self) -> Came<'static> {
        if std::mem::replace(&mut self.has_begun, true) {
            return Came::Nothing;
        }
        let is_whole = self.position == 1;
        let next = self.resume.next.load(Relaxed);
        let came = match next {
            NOTHING => Came::Begin { is_whole, is_proven: true },
            OVER => Came::Begin { is_whole, is_proven: is_whole },
            next if self.is_same && self.position > next => Came::Lost(next, self.position - 1),
            _ if self.is_same => return Came::Nothing,
            _ => Came::Begin { is_whole, is_proven: false },
        };
        self.resume.next.store(self.position, Release);
        came
    }

    /// Takes a packet.
    pub(super) fn packet<'a>(&mut self, packet: &'a [u8]) -> Result<Came<'a>, CloseReason> {
        match ServerPacket::parse(packet) {
            Ok(ServerPacket::Sequenced(body)) => {
                let sequence = self.position;
                self.position += 1; // 2^64 messages do not come.
                if sequence < self.resume.next.load(Relaxed) {
                    return Ok(Came::Nothing);
                }
                self.resume.next.store(self.position, Release);
                Ok(Came::Message(body))
            }
            Ok(ServerPacket::Other) => Ok(Came::Nothing),
            Ok(ServerPacket::End) => {
                self.resume.next.store(OVER, Release);
                Ok(Came::Nothing)
            }
            Err(_) => Err(BadPacket("it is none that SoupBinTCP has at this place").into()),
        }
    }

    /// What is to be sent now, if nothing was for a second. Counts as sent.
    pub(super) fn heartbeat(&mut self, now_ns: u64) -> Option<[u8; 3]> {
        let is_due = now_ns.saturating_sub(self.sent_ns) >= HEARTBEAT_NS;
        is_due.then(|| {
            self.sent_ns = now_ns;
            HEARTBEAT
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn session(name: &[u8; 10]) -> Session {
        Session(*name)
    }

    /// A connection as after a login that was answered so.
    fn link(resume: &Arc<Resume>, name: &[u8; 10], position: u64) -> SoupLink {
        let is_same = resume.follows(session(name));
        SoupLink { resume: resume.clone(), position, is_same, sent_ns: 0, has_begun: false }
    }

    fn plan() -> SoupPlan {
        SoupPlan { username: "u".into(), password: "p".into(), session: "DAY".into(), from_start: true }
    }

    #[test]
    fn a_login_asks_for_what_follows() {
        let resume = Arc::new(Resume::default());
        assert_eq!(resume.wanted(&plan()), ("DAY".into(), 1));
        assert_eq!(resume.wanted(&SoupPlan { from_start: false, ..plan() }), ("DAY".into(), 0));
        let mut first = link(&resume, b"DAY       ", 1);
        assert_eq!(resume.wanted(&plan()), ("DAY".into(), 1), "it has not arrived yet");
        assert_eq!(first.begin(), Came::Begin { is_whole: true, is_proven: true });
        assert_eq!(first.begin(), Came::Nothing);
        assert_eq!(first.packet(b"\0\x03Shi").unwrap(), Came::Message(b"hi"));
        assert_eq!(first.packet(b"\0\x01H").unwrap(), Came::Nothing);
        assert_eq!(resume.wanted(&plan()), ("DAY".into(), 2));
        // The server goes back by one: that message is not taken again.
        let mut second = link(&resume, b"DAY       ", 1);
        assert_eq!(second.begin(), Came::Nothing);
        assert_eq!(second.packet(b"\0\x03Shi").unwrap(), Came::Nothing);
        assert_eq!(second.packet(b"\0\x03Sho").unwrap(), Came::Message(b"ho"));
        assert_eq!(link(&resume, b"DAY       ", 7).begin(), Came::Lost(3, 6));
        assert_eq!(resume.wanted(&plan()), ("DAY".into(), 7));
        // The old connection, for as long as it is there beside the new one, brings what is there already.
        assert_eq!(second.packet(b"\0\x03Sha").unwrap(), Came::Nothing);
        assert!(second.packet(b"\0\x03Aha").is_err());
    }

    #[test]
    fn a_session_ends_and_another_one_begins() {
        let resume = Arc::new(Resume::default());
        let mut first = link(&resume, b"DAY       ", 5);
        assert_eq!(first.begin(), Came::Begin { is_whole: false, is_proven: true });
        assert_eq!(first.packet(b"\0\x01Z").unwrap(), Came::Nothing);
        assert_eq!(resume.wanted(&plan()), (String::new(), 1));
        assert_eq!(link(&resume, b"NEXT      ", 1).begin(), Came::Begin { is_whole: true, is_proven: true });
        assert_eq!(link(&resume, b"OTHER     ", 1).begin(), Came::Begin { is_whole: true, is_proven: false });
    }

    #[test]
    fn it_speaks_once_a_second() {
        let mut link = link(&Arc::default(), b"DAY       ", 1);
        assert_eq!(link.heartbeat(HEARTBEAT_NS), Some(HEARTBEAT));
        assert_eq!(link.heartbeat(2 * HEARTBEAT_NS - 1), None);
        assert_eq!(link.heartbeat(2 * HEARTBEAT_NS), Some(HEARTBEAT));
    }
}
