//! No venue's decoder takes memory for a message once it is made, nor does what is done with a book on its way.

mod common;

use common::frames;
use market::protocol::BookProof;
use market::{Book, Instrument, Instruments, Message, Scale, Venue};

#[test]
fn no_decoder_allocates_for_a_message() {
    // ITCH's messages are not text; its reader has a test of its own.
    for venue in Venue::ALL.into_iter().filter(|venue| *venue != Venue::Itch) {
        let (symbols, frames): (&[&str], &[&str]) = match venue {
            Venue::Binance => (&["BTCUSDT"], &frames::binance::ALL),
            Venue::Kraken => (&["BTC/USD"], &frames::kraken::ALL),
            Venue::Coinbase => (&["SKL-BTC"], &frames::coinbase::ALL),
            // The second is found through its alias.
            Venue::CoinbaseAdvanced => (&["BTC-USD", "ETH-USDC"], &frames::coinbase_advanced::ALL),
            Venue::Itch => unreachable!(),
        };
        let mut table = Instruments::default();
        for symbol in symbols {
            table.add(Instrument::new(venue, *symbol));
        }
        let mut frames: Vec<_> = frames.iter().map(|frame| frame.to_string()).collect();
        let aliased: Vec<_> = frames.iter().map(|frame| frame.replace("BTC-USD", "ETH-USD")).collect();
        let broken: Vec<_> = frames.iter().map(|frame| frame.replace("00", "-")).collect();
        let strange: Vec<_> = frames.iter().map(|frame| frame.replace("BTC", "XYZ")).collect();
        frames.extend([aliased, broken, strange].concat());

        let protocol = venue.protocol();
        let mut decoder = protocol.decoder();
        let mut book = Book::new(100);
        let scale = Scale { price_digits: 8, qty_digits: 8 };
        let (mut messages, mut errors, mut last) = (0, 0, 0);
        let mut work = || {
            for frame in &frames {
                let result = decoder.decode(frame.as_bytes(), &table, &mut |message| {
                    messages += 1;
                    if let Message::Book { change, .. } = message {
                        if change.is_snapshot {
                            book.reset(&change.levels, None);
                        } else {
                            book.apply(&change.levels);
                        }
                        if let BookProof::Checksum { depth, of } = protocol.proof().book {
                            book.truncate(depth);
                            last = of(&book, scale);
                        }
                    }
                });
                errors += usize::from(result.is_err());
            }
        };
        let info = allocation_counter::measure(&mut work);
        assert_eq!(info.count_total, 0, "{venue}");
        assert!(messages > frames.len() / 2 && errors > 2, "{venue}: {messages} messages, {errors} errors");
    }
}
