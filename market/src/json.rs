//! A reader for JSON that is already in memory, for decoders that know which fields they want.
//!
//! It makes no tree and does not allocate: members are visited in place, and values that nobody asks for are
//! checked and skipped. Strings are returned as they stand between their quotes, escapes and all.

/// Where and why a text is not the JSON that was expected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("byte {offset}: expected {expected}")]
pub struct JsonError {
    /// Offset of the byte where reading stopped.
    pub offset: usize,
    /// What should have stood there.
    pub expected: &'static str,
}

/// Arrays and objects inside one another beyond this depth are refused.
pub const MAX_DEPTH: u32 = 32;

/// A part of the text, as offsets into it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Span {
    /// Offset of the first byte.
    pub start: usize,
    /// Offset after the last byte.
    pub end: usize,
}

impl Span {
    /// The bytes of the span.
    pub fn of(self, text: &[u8]) -> &[u8] {
        &text[self.start..self.end]
    }
}

/// A position in a JSON text.
#[derive(Debug, Clone)]
pub struct Scanner<'a> {
    text: &'a [u8],
    at: usize,
}

impl<'a> Scanner<'a> {
    /// Begins at the start of `text`.
    pub fn new(text: &'a [u8]) -> Self {
        Self { text, at: 0 }
    }

    /// Begins within `text`, where a value begins that was found before: offsets count from the start of `text`.
    pub(crate) fn starting_at(text: &'a [u8], at: usize) -> Self {
        Self { text, at }
    }

    /// The offset of the next byte.
    pub fn offset(&self) -> usize {
        self.at
    }

    /// An error at this place.
    pub fn error(&self, expected: &'static str) -> JsonError {
        JsonError { offset: self.at, expected }
    }

    /// The next byte that is not white space, which stays unread.
    #[inline(always)]
    pub fn peek(&mut self) -> Option<u8> {
        match self.text.get(self.at) {
            Some(byte @ b'!'..) => Some(*byte), // What venues send has no white space.
            _ => self.peek_behind_white_space(),
        }
    }

    #[cold]
    fn peek_behind_white_space(&mut self) -> Option<u8> {
        while let Some(byte) = self.text.get(self.at) {
            if !matches!(byte, b' ' | b'\t' | b'\n' | b'\r') {
                return Some(*byte);
            }
            self.at += 1;
        }
        None
    }

    /// Reads `byte` if it comes next.
    #[inline]
    pub fn eat(&mut self, byte: u8) -> bool {
        let found = self.peek() == Some(byte);
        self.at += usize::from(found);
        found
    }

    /// Reads `byte` or fails.
    #[inline]
    pub fn expect(&mut self, byte: u8, expected: &'static str) -> Result<(), JsonError> {
        if self.eat(byte) { Ok(()) } else { Err(self.error(expected)) }
    }

    /// Checks that nothing follows.
    pub fn finish(&mut self) -> Result<(), JsonError> {
        if self.peek().is_none() { Ok(()) } else { Err(self.error("the end of the text")) }
    }

    /// Visits the members of an object. `member` is given each key and must read its value.
    #[inline]
    pub fn object<E: From<JsonError>>(
        &mut self,
        mut member: impl FnMut(&mut Self, &'a [u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        self.expect(b'{', "an object")?;
        if self.eat(b'}') {
            return Ok(());
        }
        loop {
            let key = self.string()?.of(self.text);
            self.expect(b':', "':'")?;
            member(self, key)?;
            if !self.eat(b',') {
                return Ok(self.expect(b'}', "',' or '}'")?);
            }
        }
    }

    /// Visits the elements of an array. `element` must read one value at each call.
    #[inline]
    pub fn array<E: From<JsonError>>(
        &mut self,
        mut element: impl FnMut(&mut Self) -> Result<(), E>,
    ) -> Result<(), E> {
        self.expect(b'[', "an array")?;
        if self.eat(b']') {
            return Ok(());
        }
        loop {
            element(self)?;
            if !self.eat(b',') {
                return Ok(self.expect(b']', "',' or ']'")?);
            }
        }
    }

    /// Reads a string and returns what stands between its quotes.
    #[inline]
    pub fn string(&mut self) -> Result<Span, JsonError> {
        self.expect(b'"', "a string")?;
        let start = self.at;
        loop {
            match self.text.get(self.at) {
                Some(b'"') => break,
                Some(b'\\') => self.escape()?,
                Some(0x20..) => self.at += 1,
                _ => return Err(self.error("the rest of a string")),
            }
        }
        let end = self.at;
        self.at += 1;
        Ok(Span { start, end })
    }

    #[cold]
    fn escape(&mut self) -> Result<(), JsonError> {
        let hex = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_hexdigit);
        match self.text.get(self.at + 1) {
            Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => self.at += 2,
            Some(b'u') if (2..6).all(|i| hex(self.text.get(self.at + i))) => self.at += 6,
            _ => return Err(self.error("an escape sequence")),
        }
        Ok(())
    }

    /// Reads a number and returns its text.
    #[inline]
    pub fn number(&mut self) -> Result<Span, JsonError> {
        self.peek();
        let start = self.at;
        self.at += usize::from(self.text.get(self.at) == Some(&b'-'));
        let leading_zero = self.text.get(self.at) == Some(&b'0');
        let whole = self.digits()?;
        if leading_zero && whole > 1 {
            return Err(JsonError { offset: start, expected: "a number without leading zeros" });
        }
        if self.text.get(self.at) == Some(&b'.') {
            self.at += 1;
            self.digits()?;
        }
        if matches!(self.text.get(self.at), Some(b'e' | b'E')) {
            self.at += 1;
            self.at += usize::from(matches!(self.text.get(self.at), Some(b'+' | b'-')));
            self.digits()?;
        }
        Ok(Span { start, end: self.at })
    }

    #[inline]
    fn digits(&mut self) -> Result<usize, JsonError> {
        let start = self.at;
        while self.text.get(self.at).is_some_and(u8::is_ascii_digit) {
            self.at += 1;
        }
        if self.at == start { Err(self.error("a digit")) } else { Ok(self.at - start) }
    }

    /// Reads a non-negative whole number.
    #[inline]
    pub fn unsigned(&mut self) -> Result<u64, JsonError> {
        self.peek();
        let start = self.at;
        let too_large = JsonError { offset: start, expected: "a whole number of 64 bits" };
        let mut value: u64 = 0;
        while let Some(digit) =
            self.text.get(self.at).map(|byte| byte.wrapping_sub(b'0')).filter(|digit| *digit < 10)
        {
            value = value.checked_mul(10).and_then(|v| v.checked_add(digit.into())).ok_or(too_large)?;
            self.at += 1;
        }
        let leading_zero = self.at > start + 1 && self.text[start] == b'0';
        let goes_on = matches!(self.text.get(self.at), Some(b'.' | b'e' | b'E'));
        if self.at == start || leading_zero || goes_on { Err(too_large) } else { Ok(value) }
    }

    /// Reads `true` or `false`.
    #[inline]
    pub fn boolean(&mut self) -> Result<bool, JsonError> {
        match self.peek() {
            Some(b't') => self.word(b"true").map(|()| true),
            Some(b'f') => self.word(b"false").map(|()| false),
            _ => Err(self.error("true or false")),
        }
    }

    fn word(&mut self, word: &'static [u8]) -> Result<(), JsonError> {
        if !self.text[self.at..].starts_with(word) {
            return Err(self.error("a JSON value"));
        }
        self.at += word.len();
        Ok(())
    }

    /// Checks and skips one value of any kind, and returns where it stands.
    pub fn skip(&mut self) -> Result<Span, JsonError> {
        self.peek();
        let start = self.at;
        self.skip_nested(0)?;
        Ok(Span { start, end: self.at })
    }

    fn skip_nested(&mut self, depth: u32) -> Result<(), JsonError> {
        if depth > MAX_DEPTH {
            return Err(self.error("fewer arrays and objects inside one another"));
        }
        match self.peek() {
            Some(b'"') => self.string().map(drop),
            Some(b'{') => self.object(|scanner, _| scanner.skip_nested(depth + 1)),
            Some(b'[') => self.array(|scanner| scanner.skip_nested(depth + 1)),
            Some(b't' | b'f') => self.boolean().map(drop),
            Some(b'n') => self.word(b"null"),
            Some(b'-' | b'0'..=b'9') => self.number().map(drop),
            _ => Err(self.error("a JSON value")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn valid(text: &[u8]) -> bool {
        let mut scanner = Scanner::new(text);
        scanner.skip().and_then(|_| scanner.finish()).is_ok()
    }

    fn json() -> impl Strategy<Value = serde_json::Value> {
        let leaf = prop_oneof![
            Just(serde_json::Value::Null),
            any::<bool>().prop_map(Into::into),
            any::<i64>().prop_map(Into::into),
            any::<f64>().prop_map(Into::into),
            any::<String>().prop_map(Into::into),
        ];
        leaf.prop_recursive(4, 32, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Into::into),
                prop::collection::vec((any::<String>(), inner), 0..4)
                    .prop_map(|members| members.into_iter().collect::<serde_json::Map<_, _>>().into()),
            ]
        })
    }

    proptest! {
        /// serde_json is the independent judge of what is JSON.
        #[test]
        fn accepts_what_serde_json_writes(value in json()) {
            prop_assert!(valid(value.to_string().as_bytes()));
            prop_assert!(valid(serde_json::to_string_pretty(&value).unwrap().as_bytes()));
        }

        #[test]
        fn agrees_with_serde_json_on_damaged_text(value in json(), cut in any::<prop::sample::Index>(), byte in 0x20u8..0x7f) {
            let mut text = value.to_string().into_bytes();
            let at = cut.index(text.len());
            text[at] = byte;
            let theirs = serde_json::from_slice::<serde::de::IgnoredAny>(&text).is_ok();
            prop_assert_eq!(valid(&text), theirs, "{}", String::from_utf8_lossy(&text));
        }
    }

    #[test]
    fn deep_nesting_is_refused_and_not_followed() {
        let deep = "[".repeat(100_000);
        assert!(!valid(deep.as_bytes()));
    }

    #[test]
    fn errors_say_where() {
        let error = Scanner::new(b"{\"a\": 1, }").skip().unwrap_err();
        assert_eq!(error.to_string(), "byte 9: expected a string");
    }
}
