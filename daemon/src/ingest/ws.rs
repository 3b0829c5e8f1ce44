//! The client's side of WebSocket (RFC 6455): a deframer that hands out payloads where they lie, and the few frames
//! that a client sends.
//!
//! Pure: bytes in, events out. The window is taken once; nothing is allocated afterwards. A message that was sent in
//! pieces is put together by moving its later pieces forward, over their headers.

use std::ops::Range;

/// The largest message that is accepted where a venue needs no more. Binance's largest frames are about a hundredth of it.
pub const MAX_MESSAGE_BYTES: usize = 4 << 20;
/// The longest frame header: two bytes and eight of length. Servers do not mask.
const MAX_HEADER_BYTES: usize = 10;
pub(super) const MAX_CONTROL_BYTES: usize = 125;

/// What the server sent.
#[derive(Debug, PartialEq, Eq)]
pub enum Event<'a> {
    /// A whole message, of text or bytes.
    Message(&'a [u8]),
    /// To be answered with a pong of the same payload.
    Ping(&'a [u8]),
    /// Unasked for, as a keep-alive.
    Pong,
    /// The server closes, for the reason of this code (1005 if it gave none).
    Close(u16),
}

/// How the server broke the protocol. Each carries the code with which to close.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum WsError {
    /// RFC 6455 §5.1: a client must close when it gets one.
    #[error("the server sent a masked frame")]
    Masked,
    /// No extension was negotiated that gives them a meaning.
    #[error("the server set reserved bits")]
    ReservedBits,
    /// Opcodes 3 to 7 and 11 to 15.
    #[error("the server used an opcode that has no meaning")]
    ReservedOpcode,
    /// Control frames are whole and have at most 125 bytes.
    #[error("the server sent a control frame in pieces or of more than 125 bytes")]
    BadControl,
    /// A continuation without a beginning, or a beginning inside a message.
    #[error("the server sent the pieces of a message out of order")]
    BadFragment,
    /// Not in the shortest form, or with the highest bit set.
    #[error("the server wrote a frame's length in a form that is not allowed")]
    BadLength,
    /// Larger than the deframer accepts.
    #[error("the server sent a message that is larger than any that was to be expected")]
    TooLarge,
    /// Text, or a close reason, that is not UTF-8.
    #[error("the server sent text that is not UTF-8")]
    BadText,
    /// A close frame of one byte, or with a code that may not be sent.
    #[error("the server sent a close frame that makes no sense")]
    BadClose,
}

impl WsError {
    /// The status code to close with: RFC 6455 §7.4.1.
    pub fn close_code(self) -> u16 {
        match self {
            Self::TooLarge => 1009,
            Self::BadText => 1007,
            _ => 1002,
        }
    }
}

/// Takes a stream of bytes apart.
#[derive(Debug)]
pub struct Deframer {
    window: Box<[u8]>,
    /// What was received and not looked at yet.
    unread: Range<usize>,
    /// The pieces of a message put together so far; it ends where the next piece goes.
    message: Range<usize>,
    /// Set inside a message: whether it is text.
    text: Option<bool>,
    /// The message was handed out and may be written over.
    handed_out: bool,
}

struct Header {
    last: bool,
    opcode: u8,
    payload: Range<usize>,
}

impl Default for Deframer {
    fn default() -> Self {
        Self::new(MAX_MESSAGE_BYTES)
    }
}

impl Deframer {
    /// A deframer for messages of at most `max_message_bytes`.
    pub fn new(max_message_bytes: usize) -> Self {
        // Room for a whole message and, behind it, the header and payload of a control frame.
        let window = max_message_bytes + 2 * MAX_HEADER_BYTES + MAX_CONTROL_BYTES;
        Self {
            window: vec![0; window].into_boxed_slice(),
            unread: 0..0,
            message: 0..0,
            text: None,
            handed_out: false,
        }
    }

    /// Where to receive to. Never empty as long as every event was taken.
    pub fn space(&mut self) -> &mut [u8] {
        self.forget_handed_out();
        let wanted = self.window.len() / 2;
        if self.window.len() - self.unread.end < wanted {
            self.move_forward();
        }
        &mut self.window[self.unread.end..]
    }

    /// Tells that the first `len` bytes of [`Deframer::space`] were received.
    pub fn received(&mut self, len: usize) {
        self.unread.end += len;
        debug_assert!(self.unread.end <= self.window.len());
    }

    /// The next event; `None` until more is received.
    pub fn next_event(&mut self) -> Result<Option<Event<'_>>, WsError> {
        self.forget_handed_out();
        loop {
            let Some(header) = self.header()? else {
                return Ok(None);
            };
            self.unread.start = header.payload.end;
            if header.opcode >= 8 {
                return self.control(header).map(Some);
            }
            self.append(&header)?;
            if header.last {
                let text = self.text.take().unwrap_or(false);
                self.handed_out = true;
                let message = &self.window[self.message.clone()];
                if text && std::str::from_utf8(message).is_err() {
                    return Err(WsError::BadText);
                }
                return Ok(Some(Event::Message(message)));
            }
        }
    }

    /// Reads a frame's header, if the whole frame is there, and checks it as far as it goes.
    fn header(&self) -> Result<Option<Header>, WsError> {
        let bytes = &self.window[self.unread.clone()];
        let [first, second, rest @ ..] = bytes else {
            return Ok(None);
        };
        let (last, opcode) = (first & 0x80 != 0, first & 0x0f);
        if first & 0x70 != 0 {
            return Err(WsError::ReservedBits);
        }
        if second & 0x80 != 0 {
            return Err(WsError::Masked);
        }
        let (len, header_len) = match second & 0x7f {
            126 => match rest.first_chunk::<2>() {
                Some(len) => (u64::from(u16::from_be_bytes(*len)), 4),
                None => return Ok(None),
            },
            127 => match rest.first_chunk::<8>() {
                Some(len) => (u64::from_be_bytes(*len), 10),
                None => return Ok(None),
            },
            len => (u64::from(len), 2),
        };
        let shortest = match len {
            0..126 => 2,
            126..=0xffff => 4,
            _ => 10,
        };
        match opcode {
            0 if self.text.is_none() => return Err(WsError::BadFragment),
            1 | 2 if self.text.is_some() => return Err(WsError::BadFragment),
            0..=2 | 8..=10 => {}
            _ => return Err(WsError::ReservedOpcode),
        }
        if header_len != shortest || len > i64::MAX as u64 {
            return Err(WsError::BadLength);
        }
        if opcode >= 8 && (!last || len > MAX_CONTROL_BYTES as u64) {
            return Err(WsError::BadControl);
        }
        // Refused by its header: nobody waits for the payload of a frame that will not be taken.
        let room = self.window.len() - 2 * MAX_HEADER_BYTES - MAX_CONTROL_BYTES;
        let so_far = if self.text.is_some() { self.message.len() } else { 0 };
        if opcode < 8 && len > (room - so_far) as u64 {
            return Err(WsError::TooLarge);
        }
        let start = self.unread.start + header_len;
        let payload = start..start + len as usize;
        Ok((payload.end <= self.unread.end).then_some(Header { last, opcode, payload }))
    }

    fn control(&self, header: Header) -> Result<Event<'_>, WsError> {
        let payload = &self.window[header.payload];
        match header.opcode {
            9 => Ok(Event::Ping(payload)),
            10 => Ok(Event::Pong),
            _ => match payload {
                [] => Ok(Event::Close(1005)),
                [high, low, reason @ ..] => {
                    let code = u16::from_be_bytes([*high, *low]);
                    let sendable = matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999);
                    if !sendable {
                        return Err(WsError::BadClose);
                    }
                    std::str::from_utf8(reason).map_err(|_| WsError::BadText)?;
                    Ok(Event::Close(code))
                }
                [_] => Err(WsError::BadClose),
            },
        }
    }

    /// Joins a piece to its message. The first piece stays where it is.
    fn append(&mut self, header: &Header) -> Result<(), WsError> {
        if header.opcode != 0 {
            self.text = Some(header.opcode == 1);
            self.message = header.payload.clone();
        } else {
            self.window.copy_within(header.payload.clone(), self.message.end);
            self.message.end += header.payload.len();
        }
        Ok(())
    }

    fn forget_handed_out(&mut self) {
        if std::mem::take(&mut self.handed_out) {
            self.message = self.unread.start..self.unread.start;
        }
    }

    /// Moves what is still needed to the front of the window.
    fn move_forward(&mut self) {
        let message = if self.text.is_some() { self.message.clone() } else { 0..0 };
        self.window.copy_within(message.clone(), 0);
        self.window.copy_within(self.unread.clone(), message.len());
        self.message = 0..message.len();
        self.unread = message.len()..message.len() + self.unread.len();
    }
}

/// Makes the frames that a client sends. Clients mask, so that proxies cannot be made to see what they like.
#[derive(Debug)]
pub struct Framer {
    mask: u64,
}

impl Framer {
    /// A framer whose masks follow from `seed`, which must not be guessable.
    pub fn new(seed: u64) -> Self {
        Self { mask: seed }
    }

    /// Appends a ping with `payload`, which is at most 125 bytes long.
    pub fn ping(&mut self, payload: &[u8], out: &mut Vec<u8>) {
        self.control(9, payload, out);
    }

    /// Appends a pong with `payload`, which is at most 125 bytes long, as pings are.
    pub fn pong(&mut self, payload: &[u8], out: &mut Vec<u8>) {
        self.control(10, payload, out);
    }

    /// Appends a close frame. 1005 means that no code was given, and must not be sent.
    pub fn close(&mut self, code: u16, out: &mut Vec<u8>) {
        let code = code.to_be_bytes();
        self.control(8, if code == 1005u16.to_be_bytes() { &[] } else { &code }, out);
    }

    /// Appends a message of text, in one frame.
    pub fn text(&mut self, text: &str, out: &mut Vec<u8>) {
        self.frame(1, text.as_bytes(), out);
    }

    /// How many bytes a frame with so much payload takes at the most.
    pub const fn frame_bytes(payload: usize) -> usize {
        MAX_HEADER_BYTES + size_of::<u32>() + payload
    }

    fn control(&mut self, opcode: u8, payload: &[u8], out: &mut Vec<u8>) {
        debug_assert!(payload.len() <= MAX_CONTROL_BYTES);
        self.frame(opcode, payload, out);
    }

    fn frame(&mut self, opcode: u8, payload: &[u8], out: &mut Vec<u8>) {
        out.push(0x80 | opcode);
        match payload.len() {
            len @ 0..126 => out.push(0x80 | len as u8),
            len @ 126..=0xffff => {
                out.push(0x80 | 126);
                out.extend((len as u16).to_be_bytes());
            }
            len => {
                out.push(0x80 | 127);
                out.extend((len as u64).to_be_bytes());
            }
        }
        let mask = self.next_mask();
        out.extend(mask);
        out.extend(payload.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask));
    }

    /// SplitMix64 (Steele, Lea, Flood 2014): each mask tells nothing useful about the next.
    fn next_mask(&mut self) -> [u8; 4] {
        self.mask = self.mask.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = (self.mask ^ (self.mask >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((mixed ^ (mixed >> 31)) as u32).to_be_bytes()
    }
}
