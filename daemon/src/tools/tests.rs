//! What the tools share.

use super::*;

#[test]
fn nothing_reaches_a_terminal_that_moves_its_cursor() {
    for (bytes, text) in [
        (&b"{\"a\":\"b\\n\"}"[..], "{\"a\":\"b\\n\"}"),
        (b"a\x1b[2Jb\n\tc\0", "a\\u{1b}[2Jb\\n\\tc\\u{0}"),
        (b"\xff\xc3", "\\xff\\xc3"),
        ("é€\u{202e}x\u{200b}\u{85}".as_bytes(), "é€\\u{202e}x\\u{200b}\\u{85}"),
        (b"", ""),
    ] {
        assert_eq!(printable(bytes, None), text);
    }
}

#[test]
fn a_line_is_cut_where_a_terminal_ends() {
    for (width, text) in [(9, "12345678"), (8, "12345678"), (7, "123456…"), (2, "1…"), (1, "…")] {
        assert_eq!(printable(b"12345678", Some(width)), text, "{width}");
        assert!(text.chars().count() <= width);
    }
    // An escape is whole or not there.
    assert_eq!(printable(b"a\x1bb", Some(5)), "a…");
}

#[test]
fn a_span_has_a_time_in_it() {
    let [early, late] = [when::When(5), when::When(6)].map(Some);
    assert_eq!(span(early, late).unwrap(), Span { from_ns: 5, until_ns: 6 });
    assert_eq!(span(None, None).unwrap(), Span::ALL);
    assert!(span(late, early).is_err_and(|error| error.is_usage()));
    assert!(span(early, early).is_err_and(|error| error.is_usage()));
}

#[test]
fn instruments_and_kinds_are_named_as_elsewhere() {
    let kraken = symbol("kraken:XBT/USD").unwrap();
    assert_eq!((kraken.venue, kraken.symbol.as_str()), (Venue::Kraken, "XBT/USD"));
    assert_eq!(kraken.to_string(), "kraken:XBT/USD");
    for wrong in ["BTCUSDT", "binance:", "nyse:IBM", "binance:BTC USDT", ":", ""] {
        assert!(symbol(wrong).is_err(), "{wrong}");
    }
    for known in Kind::ALL {
        assert_eq!(kind(known.name()), Ok(known));
    }
    assert!(kind("frames").is_err_and(|error| error.contains("messages_lost")));
}
