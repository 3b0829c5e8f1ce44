//! What the tests of all venues' decoders share: collecting messages, and breaking frames.
#![allow(dead_code)] // Each test file uses a part.

pub(crate) mod faults;
pub(crate) mod frames;

use market::protocol::Decoder;
use market::{BookSide, DecodeError, Instruments, Message, decimal};
use proptest::prelude::*;
use proptest::test_runner::TestCaseError;
use std::io::Read;
use std::path::Path;

/// A frame, a part of it, what stands in its place, and why that is refused. `|` marks the byte that is named.
pub(crate) type Refusal<'a> = (&'a str, &'a str, &'a str, &'a str);

/// All messages of a frame.
pub(crate) fn decode<'f>(
    decoder: &'f mut dyn Decoder,
    frame: &'f [u8],
    instruments: &Instruments,
) -> Result<Vec<Message<'f>>, DecodeError> {
    let mut messages = Vec::new();
    decoder.decode(frame, instruments, &mut |message| messages.push(message))?;
    Ok(messages)
}

/// The levels of all books and tops of books.
pub(crate) fn listed(messages: &[Message<'_>]) -> Vec<(BookSide, i64, i64)> {
    let mut list = Vec::new();
    for message in messages {
        if let Message::Book { change: market::BookChange { levels, .. }, .. }
        | Message::BookTop { levels, .. } = message
        {
            levels.for_each(|side, level| list.push((side, level.price, level.qty)));
        }
    }
    list
}

/// A number in units of 10^-`digits`.
pub(crate) fn digits(text: &str, digits: u8) -> i64 {
    decimal::parse(text.as_bytes(), digits).unwrap()
}

/// Checks that a broken frame is refused at the marked byte (at the frame's end without a mark), for that reason.
pub(crate) fn is_refused(decoder: &mut dyn Decoder, table: &Instruments, refusal: &Refusal<'_>) {
    let (frame, from, to, reason) = refusal;
    assert!(frame.contains(from), "{from} is not in the frame");
    let marked = frame.replacen(from, to, 1);
    let offset = marked.find('|').unwrap_or(marked.len());
    let frame = marked.replace('|', "");
    let error = decode(decoder, frame.as_bytes(), table).unwrap_err();
    assert_eq!(error.to_string(), format!("byte {offset}: {reason}"), "{frame}");
    assert_eq!(error.offset(), offset);
}

/// Every frame cut off anywhere is an error here, since each is one JSON object.
pub(crate) fn every_cut_is_refused_or_smaller(decoder: &mut dyn Decoder, table: &Instruments, frame: &str) {
    for end in 0..frame.len() {
        let mut seen = 0;
        let result = decoder.decode(&frame.as_bytes()[..end], table, &mut |_| seen += 1);
        let error = result.expect_err(&frame[..end]);
        assert!(error.offset() <= end, "{error} in {}", &frame[..end]);
        assert_eq!(seen, 0, "something was told of {}", &frame[..end]);
    }
}

/// One of `frames` with a few bytes changed, and how much of it is left.
pub(crate) fn damage(frames: &'static [&'static str]) -> impl Strategy<Value = (Vec<u8>, usize)> {
    // Half of the bytes are such that the text may still be JSON.
    let byte = prop_oneof![any::<u8>(), prop::sample::select(br#"{}[]",:\ 0123456789.-+eEtfnZ"#.to_vec())];
    let edits = prop::collection::vec((any::<prop::sample::Index>(), byte), 1..4);
    (prop::sample::select(frames), edits, any::<prop::sample::Index>()).prop_map(|(frame, edits, cut)| {
        let mut frame = frame.as_bytes().to_vec();
        for (at, byte) in edits {
            let at = at.index(frame.len());
            frame[at] = byte;
        }
        let cut = cut.index(frame.len());
        (frame, cut)
    })
}

/// Damage anywhere: never a panic, an error lies within the frame, and what was told can be read.
pub(crate) fn no_damage(
    decoder: &mut dyn Decoder,
    table: &Instruments,
    (frame, cut): &(Vec<u8>, usize),
) -> Result<(), TestCaseError> {
    for frame in [&frame[..], &frame[..*cut]] {
        let mut messages = Vec::new();
        let result = decoder.decode(frame, table, &mut |message| messages.push(message));
        listed(&messages);
        if let Err(error) = result {
            prop_assert!(error.offset() <= frame.len(), "{} in {}", error, String::from_utf8_lossy(frame));
        }
    }
    Ok(())
}

/// A recorded file as text, unpacked if its name ends in `.gz`. Prints that the test is skipped where it is absent.
pub(crate) fn recorded(name: &str) -> Option<String> {
    let mut above = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors();
    let path = above.by_ref().map(|folder| folder.join("shared/data").join(name)).find(|path| path.is_file());
    let Some(bytes) = path.map(|path| std::fs::read(path).unwrap()) else {
        println!("skipped: no recorded data: {name}");
        return None;
    };
    let mut text = String::new();
    if bytes.starts_with(&[0x1f, 0x8b]) {
        flate2::read::MultiGzDecoder::new(&bytes[..]).read_to_string(&mut text).unwrap();
    } else {
        text = String::from_utf8(bytes).unwrap();
    }
    Some(text)
}
