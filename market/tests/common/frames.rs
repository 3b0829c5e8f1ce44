//! A frame of each kind of each venue, as its documentation or a recording has it, with numbers that are told apart.

pub(crate) mod kraken {
    pub(crate) const TRADES: &str = r#"{"channel":"trade","type":"update","data":[{"symbol":"BTC/USD","side":"sell","price":77120.1,"qty":0.00048389,"ord_type":"limit","trade_id":12,"timestamp":"2026-08-22T17:30:53.355059Z"},{"symbol":"BTC/USD","side":"buy","price":77120.0,"qty":1,"ord_type":"market","trade_id":11,"timestamp":"2026-08-22T17:30:53.355059Z"}]}"#;
    pub(crate) const BOOK: &str = r#"{"channel":"book","type":"update","data":[{"symbol":"BTC/USD","bids":[{"price":62807.0,"qty":0.00000000},{"price":62806.9,"qty":0.65540712}],"asks":[{"price":62818.8,"qty":1.5}],"checksum":4249465476,"timestamp":"2026-08-16T23:37:03.745044Z"}]}"#;
    pub(crate) const TICKER: &str = r#"{"channel":"ticker","type":"snapshot","data":[{"symbol":"BTC/USD","bid":0.1,"bid_qty":740.0,"ask":100.3,"ask_qty":7.12e-06,"last":100.2,"volume":997038.98383185,"vwap":0.10148,"low":0.09979,"high":0.10285,"change":-0.00017,"change_pct":-0.17}]}"#;
    pub(crate) const OHLC: &str = r#"{"channel":"ohlc","type":"snapshot","timestamp":"2023-10-04T16:26:30.524394914Z","data":[{"symbol":"BTC/USD","open":0.5,"high":0.6,"low":0.4,"close":0.5,"trades":12,"volume":30927.68066226,"vwap":0.5626,"interval_begin":"2023-10-04T16:20:00.000000000Z","interval":5,"timestamp":"2023-10-04T16:25:00.000000Z"},{"symbol":"BTC/USD","open":0.5,"high":0.5,"low":0.5,"close":0.5,"trades":0,"volume":0,"vwap":0.5626,"interval_begin":"2023-10-04T16:25:00.000000000Z","interval":5,"timestamp":"2023-10-04T16:30:00.000000Z"}]}"#;
    pub(crate) const HEARTBEAT: &str = r#"{"channel":"heartbeat"}"#;
    pub(crate) const STATUS: &str = r#"{"channel":"status","type":"update","data":[{"version":"2.0.10","system":"online","api_version":"v2","connection_id":3007355780899554854}]}"#;
    pub(crate) const ACK: &str = r#"{"method":"subscribe","result":{"channel":"book","depth":25,"snapshot":true,"symbol":"MINA/GBP"},"success":true,"time_in":"2026-08-16T23:37:04.849274Z","time_out":"2026-08-16T23:37:04.849309Z"}"#;
    pub(crate) const REFUSED: &str = r#"{"error":"Subscription depth not supported","method":"subscribe","success":false,"time_in":"2026-08-16T23:54:19.629313Z","time_out":"2026-08-16T23:54:19.629343Z"}"#;
    pub(crate) const ALL: [&str; 8] = [TRADES, BOOK, TICKER, OHLC, HEARTBEAT, STATUS, ACK, REFUSED];
}

pub(crate) mod coinbase {
    pub(crate) const MATCH: &str = r#"{"type":"match","trade_id":280232,"maker_order_id":"2a0d","taker_order_id":"3c82","side":"sell","size":"985","price":"0.00001305","product_id":"SKL-BTC","sequence":177100030,"time":"2021-04-17T16:43:37.089723Z"}"#;
    pub(crate) const TICKER: &str = r#"{"type":"ticker","sequence":177100030,"product_id":"SKL-BTC","price":"0.00001305","open_24h":"0.00001144","best_bid":"0.00001303","best_bid_size":"12.5","best_ask":"0.00001305","best_ask_size":"985.1","side":"buy","time":"2021-04-17T16:43:37.089723Z","trade_id":280232,"last_size":"985"}"#;
    pub(crate) const HEARTBEAT: &str = r#"{"type":"heartbeat","sequence":90,"last_trade_id":20,"product_id":"SKL-BTC","time":"2014-11-07T08:19:28.464459Z"}"#;
    pub(crate) const SNAPSHOT: &str = r#"{"type":"snapshot","product_id":"SKL-BTC","asks":[["0.00001305","4781.0"],["0.00001306","1230.5"]],"bids":[["0.00001302","7"]]}"#;
    pub(crate) const UPDATE: &str = r#"{"type":"l2update","product_id":"SKL-BTC","changes":[["sell","0.00001306","660.5"],["buy","0.00001302","0.00000000"]],"time":"2021-04-17T16:43:37.075687Z"}"#;
    pub(crate) const SUBSCRIPTIONS: &str =
        r#"{"type":"subscriptions","channels":[{"name":"level2","product_ids":["SKL-BTC"]}]}"#;
    pub(crate) const ERROR: &str =
        r#"{"type":"error","message":"Failed to subscribe","reason":"X-Y is not a valid product"}"#;
    pub(crate) const ALL: [&str; 7] = [MATCH, TICKER, HEARTBEAT, SNAPSHOT, UPDATE, SUBSCRIPTIONS, ERROR];
}

pub(crate) mod coinbase_advanced {
    pub(crate) const SNAPSHOT_TRADES: &str = r#"{"channel":"market_trades","client_id":"","timestamp":"2025-10-27T16:44:40.175203666Z","sequence_num":0,"events":[{"type":"snapshot","trades":[{"product_id":"BTC-USD","trade_id":"892262232","price":"115445.28","size":"0.00015604","time":"2025-10-27T16:44:39.600153Z","side":"BUY"},{"product_id":"BTC-USD","trade_id":"892262231","price":"115445.27","size":"1","time":"2025-10-27T16:44:39.500153Z","side":"SELL"}]}]}"#;
    pub(crate) const BOOK: &str = r#"{"channel":"l2_data","timestamp":"2026-04-07T14:30:01.456Z","sequence_num":17,"events":[{"type":"update","product_id":"BTC-USD","updates":[{"side":"bid","event_time":"2026-04-07T14:30:01.456789Z","price_level":"68900.00","new_quantity":"2.00000000"},{"side":"offer","event_time":"2026-04-07T14:30:01.456789Z","price_level":"68901.00","new_quantity":"0"}]}]}"#;
    pub(crate) const TICKER: &str = r#"{"channel":"ticker","client_id":"","timestamp":"2026-04-07T14:30:03.000000Z","sequence_num":12,"events":[{"type":"snapshot","tickers":[{"type":"ticker","product_id":"BTC-USD","price":"68900.50","volume_24_h":"15328.12345678","best_bid":"68900.00","best_bid_quantity":"1.50000000","best_ask":"68901.00","best_ask_quantity":"0.50000000"}]}]}"#;
    pub(crate) const CANDLES: &str = r#"{"channel":"candles","client_id":"","timestamp":"2026-04-07T14:30:05.000000Z","sequence_num":3,"events":[{"type":"update","candles":[{"start":"1775521800","high":"68950.00","low":"68850.00","open":"68900.00","close":"68920.50","volume":"42.15000000","product_id":"BTC-USD"}]}]}"#;
    pub(crate) const HEARTBEAT: &str = r#"{"channel":"heartbeats","client_id":"","timestamp":"2023-06-23T20:31:56.121961769Z","sequence_num":1,"events":[{"current_time":"2023-06-23 20:31:56.121961769 +0000 UTC m=+91717.525857105","heartbeat_counter":"3049"}]}"#;
    pub(crate) const SUBSCRIPTIONS: &str = r#"{"channel":"subscriptions","timestamp":"2026-04-07T14:30:00.000000Z","sequence_num":2,"events":[{"subscriptions":{"level2":["BTC-USD"]}}]}"#;
    pub(crate) const ERROR: &str = r#"{"type":"error","message":"authentication failure"}"#;
    pub(crate) const ALL: [&str; 7] =
        [SNAPSHOT_TRADES, BOOK, TICKER, CANDLES, HEARTBEAT, SUBSCRIPTIONS, ERROR];
}

pub(crate) mod binance {
    pub(crate) const ALL: [&str; 7] = [
        r#"{"stream":"btcusdt@trade","data":{"e":"trade","E":1723161255343,"s":"BTCUSDT","t":3735683259,"p":"61837.63000000","q":"0.02000000","T":1723161255342,"m":true,"M":true}}"#,
        r#"{"e":"aggTrade","E":1672515782136,"s":"BTCUSDT","a":12345,"p":"0.001","q":"100","f":100,"l":105,"T":1672515782130,"m":false,"M":true}"#,
        r#"{"stream":"btcusdt@kline_1m","data":{"e":"kline","E":1672515782136,"s":"BTCUSDT","k":{"t":1672515780000,"T":1672515839999,"s":"BTCUSDT","i":"1m","f":-1,"L":-1,"o":"0.0010","c":"0.0020","h":"0.0025","l":"0.0015","v":"1000","n":0,"x":false,"q":"1.0000","V":"500","Q":"0.500","B":"123456"}}}"#,
        r#"{"e":"depthUpdate","E":1672515782136,"s":"BTCUSDT","U":157,"u":160,"b":[["0.0024","10"]],"a":[["0.0026","100"],["0.0027","0.00000000"]]}"#,
        r#"{"stream":"btcusdt@bookTicker","data":{"u":50093239212,"s":"BTCUSDT","b":"61837.63000000","B":"3.78826000","a":"61837.64000000","A":"1.54698000"}}"#,
        r#"{"stream":"btcusdt@depth20","data":{"lastUpdateId":160,"bids":[["0.0024","10",[]]],"asks":[["0.0026","100",[]]]}}"#,
        r#"{"result":null,"id":1}"#,
    ];
}
