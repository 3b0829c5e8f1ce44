//! Messages made wrong: functions from a venue's text to one that it should not have sent.
//!
//! What holds: what comes out is JSON still. Text in which there is nothing to make wrong gives `None`.

use super::super::venue::Kind;

/// Every bid becomes an ask and every ask a bid, by their names.
pub(super) fn crossed(text: &str, kind: Kind) -> Option<String> {
    let pairs: &[(&str, &str)] = match kind {
        Kind::Binance => &[(r#""b":"#, r#""a":"#), (r#""B":"#, r#""A":"#), (r#""bids":"#, r#""asks":"#)],
        Kind::Kraken => {
            &[(r#""bids":"#, r#""asks":"#), (r#""bid":"#, r#""ask":"#), (r#""bid_qty":"#, r#""ask_qty":"#)]
        }
        Kind::CoinbaseExchange => &[
            (r#"["buy","#, r#"["sell","#),
            (r#""bids":"#, r#""asks":"#),
            (r#""best_bid":"#, r#""best_ask":"#),
        ],
        Kind::CoinbaseAdvanced => &[
            (r#""side":"bid""#, r#""side":"offer""#),
            (r#""best_bid":"#, r#""best_ask":"#),
            (r#""best_bid_quantity":"#, r#""best_ask_quantity":"#),
        ],
    };
    let crossed = pairs.iter().fold(text.to_owned(), |text, (bid, ask)| swap(&text, bid, ask));
    (crossed != text).then_some(crossed)
}

/// All of one word for all of another.
fn swap(text: &str, one: &str, other: &str) -> String {
    let parts = text.split(one).map(|part| part.replace(other, one));
    parts.collect::<Vec<_>>().join(other)
}

/// The checksum, off by one bit.
pub(super) fn checksum(text: &str) -> Option<String> {
    number(text, r#""checksum":"#, |sum| sum ^ 1)
}

/// Binance's update ids, too high by `jump`.
pub(super) fn updates(text: &str, jump: u64) -> Option<String> {
    let first = number(text, r#""U":"#, |id| id + jump)?;
    number(&first, r#""u":"#, |id| id + jump)
}

/// Advanced Trade's number of the message, too high by `jump`.
pub(super) fn sequence(text: &str, jump: u64) -> Option<String> {
    number(text, r#""sequence_num":"#, |number| number + jump)
}

/// A message of a type that no client knows. On Advanced Trade it has the number of the message it comes before.
pub(super) fn unknown(text: &str, kind: Kind) -> String {
    match kind {
        Kind::Binance => r#"{"e":"novelty","E":1,"what":["nobody",{"knows":null}]}"#.to_owned(),
        Kind::Kraken => r#"{"channel":"novelty","type":"update","data":[{"what":1e-05}]}"#.to_owned(),
        Kind::CoinbaseExchange => r#"{"type":"novelty","what":["nobody","knows"],"sequence":1}"#.to_owned(),
        Kind::CoinbaseAdvanced => {
            let number = find(text, r#""sequence_num":"#).map_or("0", |(from, to)| &text[from..to]);
            format!(
                r#"{{"channel":"novelty","client_id":"","timestamp":"","sequence_num":{number},"events":[]}}"#
            )
        }
    }
}

/// Where the digits after a key are.
fn find(text: &str, key: &str) -> Option<(usize, usize)> {
    let from = text.find(key)? + key.len();
    let len = text[from..].bytes().take_while(u8::is_ascii_digit).count();
    (len > 0).then_some((from, from + len))
}

/// The number after a key, changed.
fn number(text: &str, key: &str, change: impl Fn(u64) -> u64) -> Option<String> {
    let (from, to) = find(text, key)?;
    let changed = change(text[from..to].parse().ok()?);
    Some(format!("{}{changed}{}", &text[..from], &text[to..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_should_be_wrong_is() {
        let depth = r#"{"e":"depthUpdate","U":4,"u":9,"b":[["1","2"]],"a":[["3","4"]]}"#;
        assert_eq!(
            crossed(depth, Kind::Binance).unwrap(),
            r#"{"e":"depthUpdate","U":4,"u":9,"a":[["1","2"]],"b":[["3","4"]]}"#
        );
        assert_eq!(
            updates(depth, 3).unwrap(),
            r#"{"e":"depthUpdate","U":7,"u":12,"b":[["1","2"]],"a":[["3","4"]]}"#
        );
        assert_eq!(updates(r#"{"u":5,"b":"1"}"#, 3), None, "a quote has no first update");
        assert_eq!(checksum(r#"{"checksum":8,"x":1}"#).unwrap(), r#"{"checksum":9,"x":1}"#);
        assert_eq!(checksum("{}"), None);
        let l2 = r#"{"type":"l2update","changes":[["buy","1","2"],["sell","3","4"]]}"#;
        assert_eq!(
            crossed(l2, Kind::CoinbaseExchange).unwrap(),
            r#"{"type":"l2update","changes":[["sell","1","2"],["buy","3","4"]]}"#
        );
        assert_eq!(sequence(r#"{"sequence_num":7}"#, 2).unwrap(), r#"{"sequence_num":9}"#);
        assert!(unknown(r#"{"sequence_num":7}"#, Kind::CoinbaseAdvanced).contains(r#""sequence_num":7,"#));
    }
}
