//! SoupBinTCP 3.00, the client's side: numbered messages over TCP, as exchanges send them to one client each.
//!
//! Source of the format: Nasdaq, "SoupBinTCP" 3.00. A packet is its length, a letter for its type, and a payload. The
//! server says at login which number its next message has; the numbers of the others follow from counting. So a client
//! that was cut off asks for the next number, and nothing is missing.
//!
//! [`Client`] is a state machine without socket or clock: bytes and the time go in, messages come out, and what is to be
//! sent is returned. It receives into a window of its own, of fixed size, and allocates nothing once it is made.

use crate::Integrity;
use crate::moldudp64::Session;

/// The longest packet: its length field has 16 bits.
pub const MAX_PACKET_BYTES: usize = 2 + u16::MAX as usize;

/// Bytes of a login request.
pub const LOGIN_BYTES: usize = 49;

/// A client that sent nothing for so long must send a heartbeat.
pub const HEARTBEAT_NS: u64 = 1_000_000_000;

/// A server that sent nothing for so long is gone; it sends a heartbeat each second.
pub const SILENCE_NS: u64 = 15_000_000_000;

/// Why bytes are not what a server sends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SoupError {
    /// A packet without even a type.
    #[error("the server sent a packet of length 0; check that the port speaks SoupBinTCP")]
    Empty,
    /// A type that no server sends.
    #[error("the server sent a packet of type {0:#04x}; check that the port speaks SoupBinTCP")]
    UnknownType(u8),
    /// A packet whose type has another length.
    #[error(
        "the server sent a packet of type '{kind}' with {len} bytes of payload, which that type never has"
    )]
    Length {
        /// Its type.
        kind: char,
        /// Bytes after the type.
        len: usize,
    },
    /// A login answer whose sequence number is none, or leaves no room for a message.
    #[error("the server accepted the login with a sequence number that is not a number above 0")]
    Sequence,
    /// A packet that its time is not right for, such as a message before the login.
    #[error("the server sent a packet of type '{0}' at the wrong time")]
    Unexpected(char),
    /// The connection is over; see [`Client::connect`].
    #[error("bytes came after the connection was over; connect again")]
    Closed,
}

/// Why a login cannot be requested.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the {field} must be at most {max} printable ASCII characters")]
pub struct LoginError {
    field: &'static str,
    max: usize,
}

/// What a client sends where it has sent nothing else for [`HEARTBEAT_NS`].
pub const HEARTBEAT: [u8; 3] = [0, 1, b'R'];

/// What a client sends to have the server close the connection.
pub const LOGOUT: [u8; 3] = [0, 1, b'O'];

/// How many bytes the first packet has, once that can be told.
pub fn packet_length(bytes: &[u8]) -> Option<usize> {
    bytes.first_chunk().map(|len| 2 + usize::from(u16::from_be_bytes(*len)))
}

/// What a server sends once it has accepted a login, for those who cut and count packets by themselves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ServerPacket<'a> {
    /// The next numbered message.
    Sequenced(&'a [u8]),
    /// A message without a number, text for people, or a heartbeat: nothing that counts.
    Other,
    /// The session is over.
    End,
}

impl<'a> ServerPacket<'a> {
    /// Reads a whole packet.
    pub fn parse(packet: &'a [u8]) -> Result<Self, SoupError> {
        let [_, _, kind, payload @ ..] = packet else { return Err(SoupError::Empty) };
        match (kind, payload.len()) {
            (b'S', _) => Ok(Self::Sequenced(payload)),
            (b'H', 0) | (b'U' | b'+', _) => Ok(Self::Other),
            (b'Z', 0) => Ok(Self::End),
            (b'H' | b'Z', len) => Err(SoupError::Length { kind: (*kind).into(), len }),
            (b'A' | b'J', _) => Err(SoupError::Unexpected((*kind).into())),
            (other, _) => Err(SoupError::UnknownType(*other)),
        }
    }
}

/// Who logs in, and where to begin.
#[derive(Clone, PartialEq, Eq)]
pub struct Login {
    username: [u8; 6],
    password: [u8; 10],
    session: Session,
    sequence: u64,
}

impl Login {
    /// An empty session is the one under way. Sequence number 1 is the session's first message, 0 the next one that the
    /// server happens to send.
    pub fn new(username: &str, password: &str, session: &str, sequence: u64) -> Result<Self, LoginError> {
        let mut padded_left = field::<10>("session", session)?;
        padded_left.rotate_right(10 - session.len());
        Ok(Self {
            username: field("username", username)?,
            password: field("password", password)?,
            session: Session(padded_left),
            sequence,
        })
    }
}

impl core::fmt::Debug for Login {
    /// Without the password.
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        let (session, sequence) = (self.session, self.sequence);
        f.debug_struct("Login")
            .field("session", &session)
            .field("sequence", &sequence)
            .finish_non_exhaustive()
    }
}

/// A text, padded with blanks on the right.
fn field<const N: usize>(field: &'static str, text: &str) -> Result<[u8; N], LoginError> {
    let mut padded = [b' '; N];
    match padded.get_mut(..text.len()) {
        Some(place) if text.bytes().all(|byte| (b' '..=b'~').contains(&byte)) => {
            place.copy_from_slice(text.as_bytes());
            Ok(padded)
        }
        _ => Err(LoginError { field, max: N }),
    }
}

/// Why a server refused a login.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reject {
    /// Wrong user name or password.
    NotAuthorized,
    /// The session does not exist. The next login asks for the one under way.
    SessionNotAvailable,
    /// A reason that the protocol does not name.
    Other(u8),
}

/// What the server said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event<'a> {
    /// It accepted the login.
    Accepted {
        /// The session.
        session: Session,
        /// The number of the next message.
        next: u64,
        /// `Ok`: it is the one asked for, or the session's first. `Gap`: these were asked for and will not come.
        /// `Unverifiable`: the server chose where to begin, and what came before is not known.
        integrity: Integrity,
    },
    /// It refused the login and will close the connection.
    Rejected(Reject),
    /// The next message.
    Message {
        /// Its number, by counting.
        sequence: u64,
        /// What it says.
        body: &'a [u8],
    },
    /// A message without a number.
    Unsequenced(&'a [u8]),
    /// Text for people.
    Debug(&'a [u8]),
    /// The session is over. The next login asks for the one that follows, from its first message.
    End {
        /// The number that no message will have.
        next: u64,
    },
}

/// What the connection is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// There is none, or it is over.
    Closed,
    /// The login was requested.
    LoggingIn,
    /// Messages come.
    Streaming,
}

/// A client: bytes and the time go in, messages come out. What it returns as an array is to be sent.
pub struct Client {
    login: Login,
    window: Box<[u8]>,
    start: usize,
    end: usize,
    state: State,
    session: Option<Session>,
    /// The next message to come out, once there is a session.
    next: u64,
    /// The number of the next message that the server sends: less than `next` if it begins too early.
    position: u64,
    sent_ns: u64,
    received_ns: u64,
    duplicates: u64,
}

impl Client {
    /// A client that is not connected. The window has at least [`MAX_PACKET_BYTES`].
    pub fn new(login: Login, window_bytes: usize) -> Self {
        Self {
            login,
            window: vec![0; window_bytes.max(MAX_PACKET_BYTES)].into(),
            start: 0,
            end: 0,
            state: State::Closed,
            session: None,
            next: 0,
            position: 0,
            sent_ns: 0,
            received_ns: 0,
            duplicates: 0,
        }
    }

    /// What the connection is doing.
    pub fn state(&self) -> State {
        self.state
    }

    /// Messages that the server repeated after a new login; they did not come out again.
    pub fn duplicates(&self) -> u64 {
        self.duplicates
    }

    /// A connection was made: this is to be sent on it. It asks for what follows the last message received, if any.
    pub fn connect(&mut self, now_ns: u64) -> [u8; LOGIN_BYTES] {
        (self.start, self.end) = (0, 0);
        self.state = State::LoggingIn;
        (self.sent_ns, self.received_ns) = (now_ns, now_ns);
        let (session, sequence) = self.request();
        let mut packet = [b' '; LOGIN_BYTES];
        packet[..3].copy_from_slice(&[0, LOGIN_BYTES as u8 - 2, b'L']);
        packet[3..9].copy_from_slice(&self.login.username);
        packet[9..19].copy_from_slice(&self.login.password);
        packet[19..29].copy_from_slice(&session.0);
        write_number(&mut packet[29..], sequence);
        packet
    }

    fn request(&self) -> (Session, u64) {
        self.session.map_or((self.login.session, self.login.sequence), |session| (session, self.next))
    }

    /// Where the next received bytes belong. It is never empty.
    pub fn space(&mut self) -> &mut [u8] {
        if self.window.len() - self.start < MAX_PACKET_BYTES {
            // The packet that begins here might not fit behind here.
            self.window.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, self.end - self.start);
        }
        &mut self.window[self.end..]
    }

    /// So many bytes were received into [`Client::space`]. After an error the connection is over.
    pub fn received(
        &mut self,
        len: usize,
        now_ns: u64,
        emit: &mut impl FnMut(Event<'_>),
    ) -> Result<(), SoupError> {
        self.end = self.end.saturating_add(len).min(self.window.len());
        self.received_ns = now_ns;
        let result = if self.state == State::Closed { Err(SoupError::Closed) } else { self.packets(emit) };
        if result.is_err() {
            self.state = State::Closed;
            (self.start, self.end) = (0, 0);
        }
        result
    }

    fn packets(&mut self, emit: &mut impl FnMut(Event<'_>)) -> Result<(), SoupError> {
        while let Some((len, rest)) = self.window[self.start..self.end].split_first_chunk() {
            let len = usize::from(u16::from_be_bytes(*len));
            if rest.len() < len {
                break;
            }
            let body = self.start + 2..self.start + 2 + len;
            self.start = body.end;
            let Some((&kind, _)) = self.window[body.clone()].split_first() else {
                return Err(SoupError::Empty);
            };
            self.packet(kind, body.start + 1..body.end, emit)?;
        }
        if self.start == self.end {
            (self.start, self.end) = (0, 0);
        }
        Ok(())
    }

    fn packet(
        &mut self,
        kind: u8,
        payload: core::ops::Range<usize>,
        emit: &mut impl FnMut(Event<'_>),
    ) -> Result<(), SoupError> {
        let payload = &self.window[payload];
        let length = SoupError::Length { kind: kind.into(), len: payload.len() };
        match (self.state, kind) {
            (State::Closed, _) => return Err(SoupError::Closed),
            (_, b'+') => emit(Event::Debug(payload)),
            (_, b'H') => payload.is_empty().then_some(()).ok_or(length)?,
            (State::LoggingIn, b'A') => {
                let payload = payload.try_into().map_err(|_| length)?;
                emit(self.accepted(payload)?);
            }
            (State::LoggingIn, b'J') => {
                let [reason] = payload.try_into().map_err(|_| length)?;
                emit(self.rejected(reason));
            }
            (State::Streaming, b'S') => {
                let sequence = self.position;
                self.position = sequence.checked_add(1).ok_or(SoupError::Sequence)?;
                if sequence < self.next {
                    self.duplicates += 1;
                } else {
                    self.next = self.position;
                    emit(Event::Message { sequence, body: payload });
                }
            }
            (State::Streaming, b'U') => emit(Event::Unsequenced(payload)),
            (State::Streaming, b'Z') => {
                payload.is_empty().then_some(()).ok_or(length)?;
                self.state = State::Closed;
                self.session = None;
                (self.login.session, self.login.sequence) = (Session([b' '; 10]), 1);
                emit(Event::End { next: self.next });
            }
            (_, b'A' | b'J' | b'S' | b'U' | b'Z') => return Err(SoupError::Unexpected(kind.into())),
            _ => return Err(SoupError::UnknownType(kind)),
        }
        Ok(())
    }

    fn accepted(&mut self, payload: [u8; 30]) -> Result<Event<'static>, SoupError> {
        let [session @ .., _, _, _, _, _, _, _, _, _, _, _, _, _, _, _, _, _, _, _, _] = payload;
        let session = Session(session);
        self.position =
            read_number(&payload[10..]).filter(|number| *number > 0).ok_or(SoupError::Sequence)?;
        let (position, (_, wanted)) = (self.position, self.request());
        let other = self.session.is_some_and(|old| old != session);
        let earlier = self.session.is_none() && position < wanted;
        let integrity = if other || earlier || wanted == 0 {
            self.next = position;
            if position == 1 { Integrity::Ok } else { Integrity::Unverifiable }
        } else if position > wanted {
            self.next = position;
            Integrity::Gap { from: wanted, to: position - 1 }
        } else {
            self.next = wanted;
            Integrity::Ok
        };
        self.session = Some(session);
        self.state = State::Streaming;
        Ok(Event::Accepted { session, next: self.next, integrity })
    }

    fn rejected(&mut self, reason: u8) -> Event<'static> {
        self.state = State::Closed;
        Event::Rejected(match reason {
            b'A' => Reject::NotAuthorized,
            b'S' => {
                self.session = None;
                (self.login.session, self.login.sequence) = (Session([b' '; 10]), 1);
                Reject::SessionNotAvailable
            }
            other => Reject::Other(other),
        })
    }

    /// What is to be sent now, if nothing was for a second. Counts as sent.
    pub fn heartbeat(&mut self, now_ns: u64) -> Option<[u8; 3]> {
        let due = self.state == State::Streaming && now_ns.saturating_sub(self.sent_ns) >= HEARTBEAT_NS;
        due.then(|| {
            self.sent_ns = now_ns;
            [0, 1, b'R']
        })
    }

    /// Something else was sent.
    pub fn sent(&mut self, now_ns: u64) {
        self.sent_ns = now_ns;
    }

    /// Whether the server was silent for so long that the connection should be made anew.
    pub fn is_silent(&self, now_ns: u64) -> bool {
        self.state != State::Closed && now_ns.saturating_sub(self.received_ns) >= SILENCE_NS
    }

    /// When [`Client::heartbeat`] or [`Client::is_silent`] should be asked next.
    pub fn wake_at_ns(&self) -> Option<u64> {
        let silence_ns = self.received_ns.saturating_add(SILENCE_NS);
        match self.state {
            State::Closed => None,
            State::LoggingIn => Some(silence_ns),
            State::Streaming => Some(silence_ns.min(self.sent_ns.saturating_add(HEARTBEAT_NS))),
        }
    }

    /// Asks the server to close the connection.
    pub fn logout(&mut self, now_ns: u64) -> [u8; 3] {
        self.sent_ns = now_ns;
        [0, 1, b'O']
    }
}

/// A decimal number, padded with blanks on the left.
fn write_number(field: &mut [u8], mut number: u64) {
    field.fill(b' ');
    for place in field.iter_mut().rev() {
        *place = b'0' + (number % 10) as u8;
        number /= 10;
        if number == 0 {
            break;
        }
    }
}

fn read_number(field: &[u8]) -> Option<u64> {
    let digits = field.trim_ascii();
    let all_digits = !digits.is_empty() && digits.iter().all(u8::is_ascii_digit);
    all_digits.then(|| core::str::from_utf8(digits).ok()?.parse().ok())?
}
